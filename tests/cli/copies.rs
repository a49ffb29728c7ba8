//! `bulla copy` between registries and layouts.

use bulla::store::Manage as _;
use bulla::store::layout::OciDir;

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Fault, Registry};
use crate::run::{Bulla, Ran};

async fn copy(home: &std::path::Path, arguments: String) -> Ran {
    run(Bulla::at(home), format!("copy {arguments}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_with_everything_counted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dir = home.join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    let rich = bundles::rich(&store, "copies").await;
    store.flush().await.unwrap();
    let registry = Registry::start(Config::default()).await;
    let (dir, host) = (dir.display(), registry.host());

    let text = copy(home, format!("oci:{dir}:v1 {host}/team/app")).await.ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("copied    oci:{dir}:v1  ->  {host}/team/app:v1"));
    assert_eq!(lines[1].trim(), rich.root.digest().to_string());
    assert!(lines[2].contains("referrers 3   states 1   tags 3"), "{text}");
    assert_eq!(lines[3], "checked   3 of 3 referrers listed at the destination");

    let json = copy(home, format!("{host}/team/app:v1 {host}/mirror/app:v2 --format json")).await.json();
    let result = &json["result"];
    assert_eq!(result["destination"], format!("{host}/mirror/app:v2"));
    assert_eq!(
        (&result["digest"], &result["referrers"]["listed"]),
        (&rich.root.digest().to_string().into(), &3.into())
    );
    assert_eq!(result["states"][0]["action"], "copied");
    let tags: Vec<String> = registry.tags("mirror/app").into_iter().map(|(tag, _)| tag).collect();
    for tag in ["v2", rich.sig_tag.as_str(), rich.state_tag.as_str()] {
        assert!(tags.iter().any(|t| t == tag), "{tag} of {tags:?}");
    }

    let back = home.join("back");
    copy(home, format!("{host}/mirror/app:v2 oci:{}", back.display())).await.ok();
    let drawn = |dir: String, tag: &str| run(Bulla::at(home), format!("tree oci:{dir}:{tag}"));
    let (before, after) =
        (drawn(dir.to_string(), "v1").await.ok(), drawn(back.display().to_string(), "v2").await.ok());
    assert!(before.lines().skip(1).eq(after.lines().skip(1)), "{before}\n{after}");

    let again = copy(home, format!("{host}/mirror/app:v2 oci:{} --format json", back.display())).await.json();
    assert_eq!(again["result"]["copied"]["bytes"], 0, "{again:#}");
    assert_eq!(again["result"]["states"][0]["action"], "same");

    let digest = rich.root.digest();
    let bare = home.join("bare");
    let untagged =
        copy(home, format!("oci:{dir}@{digest} oci:{} --format json", bare.display())).await.json();
    assert_eq!(untagged["result"]["destination"], format!("oci:{}", bare.display()));
    let tagged = untagged["result"]["tags"].as_array().unwrap();
    assert!(!tagged.iter().any(|t| t == "v1"), "{tagged:?}");
}

/// The state at the destination is kept when nothing here can tell which is newer, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_differs_is_kept_and_reported() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (one, two) = (home.join("one"), home.join("two"));
    for (dir, seed) in [(&one, "one"), (&two, "two")] {
        let store = OciDir::create(dir).await.unwrap();
        bundles::rich(&store, seed).await;
        store.flush().await.unwrap();
    }
    let ran = copy(home, format!("oci:{}:v1 oci:{}:new", one.display(), two.display())).await;
    assert_eq!(ran.exit, 0, "{ran:#?}");
    assert!(ran.err.contains("bulla.0123456789abcdef stays as it is"), "{}", ran.err);
    assert!(ran.err.contains("cannot tell which is newer"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_copy_is_said_with_its_end() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dir = home.join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    bundles::rich(&store, "stops").await;
    store.flush().await.unwrap();
    let registry = Registry::start(Config::default()).await;
    let (dir, host) = (dir.display(), registry.host());
    let at = format!("{host}/team/app");
    copy(home, format!("oci:{dir}:v1 {at}")).await.ok();
    let file = home.join("file");
    std::fs::write(&file, "").unwrap();
    let full = home.join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("something"), "").unwrap();

    for (arguments, exit, code, word) in [
        (format!("{at} oci:{dir}"), 2, "usage", "names no bundle"),
        (format!("{at}:v1 oci:{dir}@sha256:{}", "0".repeat(64)), 2, "usage", "names a digest"),
        (
            format!("{at}:v1 registry.example.com/x --username me --password-stdin"),
            2,
            "usage",
            "one registry",
        ),
        (format!("{at}:gone oci:{dir}/new"), 3, "ref.absent", "source"),
        (format!("oci:{dir}:v1 oci:{}/new", file.display()), 3, "file.unwritable", "destination"),
        (format!("oci:{dir}:v1 oci:{}", full.display()), 3, "layout.invalid", "destination"),
        (format!("oci:{dir}:v1 127.0.0.1:1/x"), 3, "registry.unreachable", "destination"),
    ] {
        let ran = copy(home, format!("{arguments} --format json")).await;
        assert_eq!(
            (ran.exit, ran.json()["error"]["code"].as_str()),
            (exit, Some(code)),
            "{arguments}: {ran:#?}"
        );
        assert!(ran.out.contains(word), "{arguments}: {}", ran.out);
    }
    let new = format!("{dir}/new");
    assert!(!std::path::Path::new(&new).exists(), "no directory for a bundle that is not there");

    for (method, path, status, code) in [
        ("GET", "/v2/team/app/referrers/*", 403, "copy.referrers"),
        ("GET", "/v2/team/app/blobs/*", 403, "registry.forbidden"),
    ] {
        registry.fault(Fault::on(method, path).status(status));
        let target = home.join(format!("t{code}"));
        let ran = copy(home, format!("{at}:v1 oci:{}:v1 --format json", target.display())).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some(code)), "{ran:#?}");
        assert!(ran.out.contains("source: "), "{}", ran.out);
        let tree = run(Bulla::at(home), format!("tree oci:{}:v1", target.display())).await;
        assert_eq!(tree.exit, 3, "no tag without all the rest");
        registry.behave();
    }
    registry.fault(Fault::on("PUT", "/v2/mirror/app/manifests/*").status(403));
    let ran = copy(home, format!("{at}:v1 {host}/mirror/app:v1 --format json")).await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some("registry.forbidden")), "{ran:#?}");
    assert!(ran.out.contains("destination: "), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_of_a_registry_is_a_note() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dir = home.join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    bundles::rich(&store, "warned").await;
    store.flush().await.unwrap();
    let registry = Registry::start(Config::default()).await;
    registry.quirks(|q| q.warning = Some("this registry closes in May".into()));
    let (dir, host) = (dir.display(), registry.host());
    let ran = copy(home, format!("oci:{dir}:v1 {host}/team/app")).await;
    assert_eq!((ran.exit, ran.err.matches("closes in May").count()), (0, 1), "{ran:#?}");
    // Also when the command fails.
    let json = copy(home, format!("{host}/team/absent:v1 oci:{}:v1 --format json", home.join("x").display()));
    let json = json.await.json();
    assert_eq!(json["exitCode"], 3);
    let want = serde_json::json!([{"code": "registry.warning", "message": format!("{host} says: this registry closes in May")}]);
    assert_eq!(json["notes"], want);
}
