//! `init`, `trust` and `verify` on an OCI layout.

use std::path::Path;

use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

/// A home whose owner made the collection in `layout`.
struct Owner {
    dir: tempfile::TempDir,
}

impl Owner {
    /// One that has not run init yet.
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn bulla(&self) -> Bulla {
        Bulla::at(&self.dir.path().join("home")).var("BULLA_PASSWORD", "p")
    }

    fn init(&self, more: &str) -> Ran {
        let (at, root) = (self.path("layout"), self.path("1.root.json"));
        self.bulla().run(&format!("init {NAME} --at oci:{at} --root-file {root} {more}"))
    }
}

fn code(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn init_makes_keys_root_state_anchor_and_says_what_next() {
    let owner = Owner::new();
    let text = owner.init("").ok();
    for word in [
        "created   example.com/team/app  at oci:",
        ":bulla.",
        "keys      app-root, app-targets, app-releases, app-online",
        "bulla trust add example.com/team/app --root ",
        "Move app-root and app-targets off this machine",
        "bulla renew oci:",
        "First deadline: the timestamp expires 2026-05-08T12:00:00Z.",
    ] {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    let root = std::fs::read(owner.path("1.root.json")).unwrap();
    let fingerprint = bulla::oci::Digest::sha256(&root).to_string();
    assert!(text.contains(&fingerprint));
    assert_eq!(owner.bulla().run("key list").ok().lines().count(), 4);
    let anchors = owner.bulla().run("trust list --format json").json();
    assert_eq!(anchors["result"]["anchors"][0]["scope"], NAME);
    assert_eq!(anchors["result"]["anchors"][0]["fingerprint"], fingerprint.as_str());

    let again = owner.init("--format json");
    assert_eq!((again.exit, code(&again).as_str()), (1, "init.exists"));
    let other_home = Owner { dir: tempfile::tempdir().unwrap() };
    let at = owner.path("layout");
    let there =
        other_home.bulla().run(&format!("init {NAME} --at oci:{at} --format json --root-file {at}/x"));
    assert_eq!((there.exit, code(&there).as_str()), (1, "init.exists"));
    assert_eq!(other_home.bulla().run("key list").ok(), "", "no keys are made in vain");
}

#[test]
fn init_in_json_and_with_given_keys() {
    let owner = Owner::new();
    for name in ["one", "two", "day"] {
        owner.bulla().run(&format!("key generate {name} --dangerously-unencrypted")).ok();
    }
    let shared = owner.init("--root-key one --online-key one --format json");
    assert_eq!((shared.exit, code(&shared).as_str()), (2, "init.shared-root-key"));
    let wide = owner.init("--root-key one --root-key two --format json");
    assert_eq!((wide.exit, code(&wide).as_str()), (2, "usage"));
    let high = owner.init("--root-key one --root-key one --root-threshold 2 --targets-key day --releases-key day --online-key day --format json");
    assert_eq!((high.exit, code(&high).as_str()), (2, "usage"), "one key twice is one key");
    for bad in
        ["--expires tip=3d", "--expires root=soon", "--profile none", "--at alpine", "--at host.example/x:v1"]
    {
        assert_eq!(owner.init(bad).exit, 2, "{bad}");
    }

    let keys = "--root-key one --root-key two --root-threshold 2 --targets-key one --releases-key day --online-key day";
    let json = owner.init(&format!("{keys} --profile cnab-301 --expires root=730d --format json")).json();
    let result = &json["result"];
    assert_eq!(result["collection"], NAME);
    assert_eq!(
        (&result["root"]["threshold"], &result["root"]["expires"]),
        (&2.into(), &"2028-04-30T12:00:00Z".into())
    );
    let roles: Vec<_> = result["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| (k["name"].as_str().unwrap(), k["generated"].as_bool()))
        .collect();
    assert!(roles.contains(&("two", Some(false))) && roles.contains(&("day", Some(false))), "{roles:?}");
    assert_eq!(result["deadlines"][0]["expires"], "2026-05-02T12:00:00Z");
    assert!(json["notes"].as_array().unwrap().iter().any(|n| n["code"] == "key.unencrypted"), "{json:#}");
}

#[test]
fn a_deployer_trusts_by_file_and_by_fingerprint_and_never_at_first_use() {
    let owner = Owner::new();
    owner.init("").ok();
    let root = owner.path("1.root.json");
    let at = owner.path("layout");
    let deployer = tempfile::tempdir().unwrap();
    let bulla = || Bulla::at(deployer.path());

    let said = bulla().run(&format!("trust fingerprint {root} --format json")).json();
    let fingerprint = said["result"]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!((&said["result"]["collection"], &said["result"]["threshold"]), (&NAME.into(), &1.into()));

    assert_eq!(bulla().run(&format!("trust add {NAME}")).exit, 2, "no root, no trust");
    for (arguments, exit, error) in [
        (format!("oci:{at} --root {root}"), 2, "usage"),
        (format!("{NAME}:v1 --root {root}"), 2, "usage"),
        (format!("example.com/team/* --root {root}"), 2, "usage"),
        (format!("{NAME} --root sha256:12"), 2, "usage"),
        (format!("{NAME} --root {root} --state-at oci:{at}:v1"), 2, "usage"),
        (format!("mirror.example.net/app --root {root}"), 1, "trust.collection"),
        (format!("{NAME} --root {at}/index.json"), 1, "trust.root-invalid"),
        (format!("{NAME} --root {at}/gone.json"), 3, "file.unreadable"),
        (format!("127.0.0.1:1/app --collection {NAME} --root {fingerprint}"), 3, "registry.unreachable"),
    ] {
        let ran = bulla().run(&format!("trust add {arguments} --format json"));
        assert_eq!((ran.exit, code(&ran).as_str()), (exit, error), "trust add {arguments}: {ran:#?}");
    }
    assert_eq!(bulla().run("trust list --format json").json()["result"]["anchors"], serde_json::json!([]));

    let mirror = format!("trust add mirror.example.net/app --collection {NAME} --root {root}");
    let added = bulla().run(&mirror).ok();
    assert!(
        added.starts_with("added  ") && added.contains(&fingerprint) && added.contains("1 of 1 keys"),
        "{added}"
    );
    assert!(bulla().run(&mirror).ok().starts_with("unchanged"));
    let ids = || {
        let list = bulla().run("trust list --format json").json();
        let ids: Vec<String> = list["result"]["anchors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["id"].as_str().unwrap().to_owned())
            .collect();
        ids
    };
    let [id] = &ids()[..] else { panic!("one anchor") };
    assert_eq!(bulla().run("trust remove nobody").exit, 2);
    let exported = bulla().run("trust export").ok();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("trust.json"), &exported).unwrap();
    assert!(Bulla::at(other.path()).run("trust list").ok().contains(id.as_str()));
    assert!(bulla().run(&format!("trust remove {id}")).ok().starts_with("removed"));
    assert_eq!(ids(), [""; 0]);

    std::fs::write(deployer.path().join("trust.json"), "{\"schemaVersion\": 1, \"anchor\": []}").unwrap();
    let broken = bulla().run("trust list --format json");
    assert_eq!((broken.exit, code(&broken).as_str()), (3, "config.invalid"));
    assert!(broken.out.contains("line 1"), "{}", broken.out);
}

/// What verify answers about a bundle that nobody vouched for, and about whom nobody is trusted.
#[test]
fn verify_without_a_release_or_without_an_anchor() {
    let owner = Owner::new();
    owner.init("").ok();
    let at = owner.path("layout");
    let tag = std::fs::read_to_string(Path::new(&at).join("index.json")).unwrap();
    let state = tag.split('"').find(|w| w.starts_with("bulla.")).unwrap().to_owned();
    let ran = owner.bulla().run(&format!("verify oci:{at}:{state} --format json"));
    let json = ran.json();
    assert_eq!((ran.exit, &json["error"]), (1, &serde_json::Value::Null), "{json:#}");
    let bundle = &json["result"]["bundles"][0];
    assert_eq!(
        (&bundle["verdict"], &bundle["because"]["code"]),
        (&"not-trusted".into(), &"bundle.tag.unlisted".into())
    );
    let text = owner.bulla().run(&format!("verify oci:{at}:{state}"));
    assert!(
        text.out.starts_with("not trusted") && text.out.contains("because bundle.tag.unlisted"),
        "{}",
        text.out
    );
    assert!(text.out.contains("tuf.timestamp"), "the whole report: {}", text.out);

    let nobody = tempfile::tempdir().unwrap();
    let ran = Bulla::at(nobody.path()).run(&format!("verify oci:{at}:{state} --format json"));
    assert_eq!((ran.exit, code(&ran).as_str()), (2, "anchor.ambiguous"));
    let ran = Bulla::at(nobody.path()).run(&format!("verify oci:{at}:{state} --as {NAME} --format json"));
    assert_eq!(
        (ran.exit, ran.json()["result"]["bundles"][0]["because"]["code"].as_str()),
        (1, Some("anchor.none"))
    );
    assert_eq!(owner.bulla().run(&format!("verify oci:{at}")).exit, 2);
    let gone = owner.bulla().run(&format!("verify oci:{at}:gone oci:{at}:{state} --format json"));
    assert_eq!(
        (gone.exit, gone.json()["result"]["bundles"].as_array().unwrap().len()),
        (3, 2),
        "the worst counts"
    );
    let expired = owner.bulla().now("2026-06-01T00:00:00Z").run(&format!("verify oci:{at}:{state}"));
    assert!(expired.out.contains("tuf.timestamp.expired"), "{}", expired.out);
    let moved = owner
        .bulla()
        .var("BULLA_DANGEROUS_NOW", "2026-05-02T00:00:00Z")
        .run(&format!("verify oci:{at}:{state}"));
    assert!(moved.out.contains("waived      clock.override"), "{}", moved.out);
}

/// An anchor that cannot vouch for anything is listed as that.
#[test]
fn an_unusable_anchor_is_called_so() {
    let home = tempfile::tempdir().unwrap();
    let garbage = bytes::Bytes::from_static(b"{}");
    let anchor = bulla::trust::Anchor::tuf(NAME.parse().unwrap(), NAME.parse().unwrap(), garbage, Vec::new());
    let mut file = bulla::trust::TrustFile::default();
    file.anchors.push(anchor);
    std::fs::write(home.path().join("trust.json"), file.to_bytes()).unwrap();
    let text = Bulla::at(home.path()).run("trust list").ok();
    assert!(text.lines().any(|l| l.starts_with("unusable  ")), "{text}");
    let json = Bulla::at(home.path()).run("trust list --format json").json();
    assert!(json["result"]["anchors"][0]["problem"].is_string(), "{json:#}");
}
