//! Commands against OCI layouts and the in-process registry.

use std::path::{Path, PathBuf};

use bulla::store::layout::OciDir;
use bulla::store::{Manage, Store as _};

use crate::bundles::{self, Rich};
use crate::registry::{Action, Auth, Config, Fault, Registry};
use crate::run::{Bulla, Ran};

/// Runs bulla beside the registry of the test, not inside its runtime.
pub async fn run(bulla: Bulla, line: String) -> Ran {
    tokio::task::spawn_blocking(move || bulla.run(&line)).await.unwrap()
}

/// A layout with the rich bundle, tagged v1.
async fn layout(at: &Path) -> (PathBuf, Rich) {
    let dir = at.join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    let rich = bundles::rich(&store, "cli").await;
    store.flush().await.unwrap();
    (dir, rich)
}

#[tokio::test(flavor = "multi_thread")]
async fn tree_of_a_layout() {
    let home = tempfile::tempdir().unwrap();
    let (dir, rich) = layout(home.path()).await;
    let reference = format!("oci:{}:v1", dir.display());
    let drawn = run(Bulla::at(home.path()), format!("tree {reference}")).await.ok();
    let lines: Vec<&str> = drawn.lines().collect();
    let digest = |c: &bulla::oci::Content| c.digest().to_string();
    assert_eq!(lines[0], reference);
    assert!(lines[1].starts_with(&format!("{}  image index, 2 platforms  ", digest(&rich.root))), "{drawn}");
    assert!(
        lines[2].starts_with(&format!("├─ linux/amd64  {}  image manifest  ", digest(&rich.children[0]))),
        "{drawn}"
    );
    assert!(
        lines[4].starts_with(&format!("│  └─ {}  application/vnd.example.scan  ", digest(&rich.on_child))),
        "{drawn}"
    );
    assert!(lines[4].ends_with("not understood"), "{drawn}");
    assert!(
        lines[7].starts_with(&format!("└─ tag {}  {}  cosign signatures", rich.sig_tag, digest(&rich.sig))),
        "{drawn}"
    );
    assert!(lines[7].ends_with("  understood"), "signatures of others are judged by verify: {drawn}");
    assert!(lines[8].starts_with(&format!("state {}  {}", rich.state_tag, digest(&rich.state))), "{drawn}");
    assert_eq!(lines.len(), 9, "{drawn}");

    let json = run(Bulla::at(home.path()), format!("tree {reference} --format json")).await.json();
    let root = &json["result"]["root"];
    assert_eq!((&root["kind"], &root["children"][1]["platform"]), (&"index".into(), &"linux/arm64".into()));
    assert_eq!(root["referrers"][0]["referrers"][0]["digest"], digest(&rich.on_referrer));
    assert_eq!(json["result"]["states"][0]["tag"], rich.state_tag.as_str());
}

/// What a bad reference, place or answer comes to: the arguments after the command, exit code, error code.
#[tokio::test(flavor = "multi_thread")]
async fn bad_references_and_places() {
    let home = tempfile::tempdir().unwrap();
    let (dir, _) = layout(home.path()).await;
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (dir, empty) = (dir.display(), empty.display());
    for (argument, exit, code) in [
        ("alpine".to_owned(), 2, "usage"),
        ("alpine:3".to_owned(), 2, "usage"),
        ("registry.example.com/team/app".to_owned(), 2, "usage"),
        (format!("oci:{dir}"), 2, "usage"),
        (format!("oci:{dir}@sha256:00"), 2, "usage"),
        (format!("oci:{dir}:v2"), 3, "ref.absent"),
        (format!("oci:{dir}@sha256:{}", "0".repeat(64)), 3, "ref.absent"),
        (format!("oci:{empty}:v1"), 3, "layout.invalid"),
        (format!("oci:{empty}/gone:v1"), 3, "layout.invalid"),
        ("127.0.0.1:1/team/app:v1".to_owned(), 3, "registry.unreachable"),
        (format!("oci:{dir}:v1 --username me"), 2, "usage"),
        (format!("oci:{dir}:v1 --username me --password-stdin"), 2, "usage"),
        (format!("oci:{dir}:v1 --cert x.pem"), 2, "usage"),
        (format!("oci:{dir}:v1 --concurrency 0"), 2, "usage"),
    ] {
        let ran = run(Bulla::at(home.path()), format!("tree {argument} --format json")).await;
        assert_eq!(
            (ran.exit, ran.json()["error"]["code"].as_str()),
            (exit, Some(code)),
            "{argument}: {ran:#?}"
        );
        let text = run(Bulla::at(home.path()), format!("tree {argument}")).await;
        assert_eq!((text.exit, text.out.as_str()), (exit, ""), "{argument}");
        assert!(text.err.starts_with("error: "), "{argument}: {}", text.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_refuses() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(Config::default()).await;
    let reference = format!("{}/team/app:v1", registry.host());
    for (status, code, exit) in [
        (401, "registry.unauthorized", 3),
        (403, "registry.forbidden", 3),
        (404, "ref.absent", 3),
        (418, "registry.unsupported", 3),
    ] {
        registry.fault(Fault::on("GET", "/v2/team/app/manifests/*").status(status));
        let ran = run(Bulla::at(home.path()), format!("tree {reference} --format json")).await;
        assert_eq!(
            (ran.exit, ran.json()["error"]["code"].as_str()),
            (exit, Some(code)),
            "{status}: {ran:#?}"
        );
        assert!(ran.out.contains(&registry.host().to_string()), "{status}: {}", ran.out);
        registry.behave();
    }
}

/// A list of referrers that cannot be read is no empty branch.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_with_an_unreadable_branch_is_not_drawn() {
    let home = tempfile::tempdir().unwrap();
    let (dir, rich) = layout(home.path()).await;
    let digest = rich.on_root.digest();
    let blob = dir.join(format!("blobs/sha256/{}", digest.hex()));
    std::fs::write(&blob, b"tampered").unwrap();
    let ran = run(Bulla::at(home.path()), format!("tree oci:{}:v1 --format json", dir.display())).await;
    assert_eq!(ran.exit, 3, "{ran:#?}");
    assert!(ran.json()["result"].is_null(), "{ran:#?}");
}

/// What a registry or a line can do to a copy: the fault, the code, a word of the reason.
#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_are_named() {
    let home = tempfile::tempdir().unwrap();
    let (dir, rich) = layout(home.path()).await;
    let registry = Registry::start(Config::default()).await;
    let at = format!("{}/team/app", registry.host());
    run(Bulla::at(home.path()), format!("copy oci:{}:v1 {at}", dir.display())).await.ok();
    let manifest = "/v2/team/app/manifests/*";
    let blob = "/v2/team/app/blobs/*";
    for (i, (path, action, code, word)) in [
        (
            manifest,
            Action::Status { status: 429, code: "TOOMANYREQUESTS".into(), retry_after: Some("0".into()) },
            "registry.throttled",
            "too many requests",
        ),
        (
            manifest,
            Action::Status { status: 503, code: "UNKNOWN".into(), retry_after: Some("0".into()) },
            "registry.fault",
            "503",
        ),
        (manifest, Action::Endless, "manifest.size", "4194304"),
        // Four answers, each of them nine bytes.
        (blob, Action::Shorten(9), "blob.truncated", "36"),
        (blob, Action::WrongBytes, "blob.digest", "sha256:"),
    ]
    .into_iter()
    .enumerate()
    {
        registry.fault(Fault::on("GET", path).action(action));
        let target = home.path().join(format!("target{i}"));
        let line = format!("copy {at}:v1 oci:{} --format json", target.display());
        let ran = run(Bulla::at(home.path()), line).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some(code)), "{ran:#?}");
        let error = &ran.json()["error"];
        assert!(error["reason"].as_str().unwrap().contains(word), "{error:#}");
        assert!(error["message"].as_str().unwrap().contains("source: "), "{error:#}");
        registry.behave();
    }

    // A manifest of a type that nobody knows: shown as it is, and said to be none.
    registry.put_manifest("team/app", Some("odd"), "application/vnd.example.odd+json", "{}");
    let odd = run(Bulla::at(home.path()), format!("inspect {at}:odd --format json")).await;
    assert_eq!((odd.exit, odd.json()["error"]["code"].as_str()), (3, Some("manifest.type")), "{odd:#?}");
    assert!(odd.out.contains("application/vnd.example.odd+json"), "{}", odd.out);
    let tree = run(Bulla::at(home.path()), format!("tree {at}@{}", rich.root.digest())).await;
    assert_eq!(tree.exit, 0, "{tree:#?}");
}

/// The login of the command line, and what is said without one.
#[tokio::test(flavor = "multi_thread")]
async fn logging_in() {
    let home = tempfile::tempdir().unwrap();
    let auth = Auth::basic("me", "secret");
    let registry = Registry::start(Config { auth, ..Config::default() }).await;
    let (dir, _) = layout(home.path()).await;
    let line = format!("copy oci:{}:v1 {}/team/app", dir.display(), registry.host());
    let anonymous = run(Bulla::at(home.path()), format!("{line} --format json")).await;
    assert_eq!(
        (anonymous.exit, anonymous.json()["error"]["code"].as_str()),
        (3, Some("registry.unauthorized"))
    );
    let wrong = Bulla::at(home.path()).stdin(b"guess\n");
    let wrong = run(wrong, format!("{line} --username me --password-stdin")).await;
    assert!(wrong.exit == 3 && !wrong.err.contains("guess"), "{wrong:#?}");
    let right = Bulla::at(home.path()).stdin(b"secret\n");
    run(right, format!("{line} --username me --password-stdin")).await.ok();
}

/// Sizes are only declared: any two may add up to more than a number holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_absurd_sizes_is_drawn() {
    use bulla::oci::{Descriptor, Digest, Packer, media_type};
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    let absurd = |text: &str| Descriptor::new("a/b", Digest::sha256(text.as_bytes()), u64::MAX);
    let manifest =
        |artifact_type: &str| Packer::new(artifact_type).layer(absurd("1")).layer(absurd("2")).build();
    let tag = |t: &str| t.parse().unwrap();
    store.push_manifest(&manifest("a/bundle"), Some(&tag("v1"))).await.unwrap();
    let state = Some(tag("bulla.0123456789abcdef"));
    store.push_manifest(&manifest(media_type::BULLA_STATE), state.as_ref()).await.unwrap();
    store.flush().await.unwrap();
    let tree = format!("tree oci:{}:v1", dir.display());
    assert!(run(Bulla::at(home.path()), tree.clone()).await.ok().contains("18446.7 PB"));
    let json = run(Bulla::at(home.path()), format!("{tree} --format json")).await.json();
    assert_eq!(json["result"]["states"][0]["size"], u64::MAX);
}
