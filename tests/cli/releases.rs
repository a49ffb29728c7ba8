//! The main job from the command line: init, publish, renew, copy, verify.

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::Value;

use crate::bundles;
use crate::places::run;
use crate::registry::{Action, Config, Fault, Registry};
use crate::run::{Bulla, Ran};

pub(crate) const NAME: &str = "example.com/team/app";

/// A publisher with a build in a layout and a collection on a registry.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: Registry,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let stage =
            Self { dir: tempfile::tempdir().unwrap(), registry: Registry::start(Config::default()).await };
        let store = OciDir::create(stage.dir.path().join("build")).await.unwrap();
        let (root, _) = bundles::two_arch(&store, "release").await;
        store.push_manifest(&root, Some(&bundles::tag("v1"))).await.unwrap();
        let other = bundles::image(&store, "other").await;
        store.push_manifest(&other, Some(&bundles::tag("v2"))).await.unwrap();
        store.flush().await.unwrap();
        stage
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The repository that `init` was told.
    pub(crate) fn at(&self) -> String {
        format!("{}/team/app", self.registry.host())
    }

    pub(crate) async fn by(&self, home: &str, line: String) -> Ran {
        run(Bulla::at(&self.dir.path().join(home)).var("BULLA_PASSWORD", "p"), line).await
    }

    pub(crate) async fn later(&self, home: &str, now: &str, line: String) -> Ran {
        let bulla = Bulla::at(&self.dir.path().join(home)).var("BULLA_PASSWORD", "p");
        run(bulla.now(now), line).await
    }

    pub(crate) async fn init(&self) {
        let line = format!("init {NAME} --at {} --root-file {}", self.at(), self.path("1.root.json"));
        self.by("publisher", line).await.ok();
    }

    pub(crate) async fn publish(&self, tag: &str) -> Ran {
        let line = format!("publish --from oci:{}:{tag} {} --tag {tag}", self.path("build"), self.at());
        self.by("publisher", line).await
    }

    /// A home that trusts the collection for the repository and under its name.
    pub(crate) async fn deployer(&self) {
        for scope in [self.at(), NAME.to_owned()] {
            let root = self.path("1.root.json");
            self.by("deployer", format!("trust add {scope} --collection {NAME} --root {root}")).await.ok();
        }
    }
}

fn because(json: &Value) -> String {
    json["result"]["bundles"][0]["because"]["code"].as_str().unwrap_or("trusted").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn published_copied_anywhere_and_it_still_verifies() {
    let stage = Stage::new().await;
    stage.init().await;
    let text = stage.publish("v1").await.ok();
    assert!(text.starts_with("released  ") && text.contains("tags v1   parts 2"), "{text}");
    assert!(text.contains("valid until 2026-05-08T12:00:00Z"), "{text}");
    stage.deployer().await;
    let at = stage.at();

    let ran = stage.by("deployer", format!("verify {at}:v1")).await;
    assert!(ran.exit == 0 && ran.out.starts_with("trusted "), "{ran:#?}");
    let json = stage.by("publisher", format!("tree {at}:v1 --format json")).await.json();
    assert_eq!(json["result"]["root"]["referrers"][0]["kind"], "seal");
    assert_eq!(json["result"]["root"]["referrers"][0]["collection"], NAME);
    let digest = json["result"]["root"]["digest"].as_str().unwrap().to_owned();

    let (stick, mirror) = (stage.path("stick"), format!("{}/mirror/app", stage.registry.host()));
    stage.by("deployer", format!("copy {at}:v1 oci:{stick}")).await.ok();
    stage.by("deployer", format!("copy oci:{stick}:v1 {mirror}")).await.ok();
    let ran = stage.by("deployer", format!("verify oci:{stick}:v1 --as {NAME}")).await;
    assert_eq!(ran.exit, 0, "{ran:#?}");
    let unknown = stage.by("deployer", format!("verify {mirror}:v1 --format json")).await;
    assert_eq!((unknown.exit, because(&unknown.json()).as_str()), (1, "anchor.none"));
    let root = stage.path("1.root.json");
    stage.by("deployer", format!("trust add {mirror} --collection {NAME} --root {root}")).await.ok();
    stage.by("deployer", format!("verify {mirror}:v1 {mirror}@{digest}")).await.ok();

    // By its fingerprint alone, another installation gets the same root from the registry.
    let said = stage.by("other", format!("trust fingerprint {root}")).await.ok();
    let fingerprint = said.lines().next().unwrap();
    stage.by("other", format!("trust add {at} --collection {NAME} --root {fingerprint}")).await.ok();
    stage.by("other", format!("verify {at}:v1")).await.ok();
    let wrong =
        format!("trust add {mirror} --collection {NAME} --root sha256:{} --format json", "0".repeat(64));
    let wrong = stage.by("other", wrong).await;
    assert_eq!((wrong.exit, wrong.json()["error"]["code"].as_str()), (1, Some("trust.fingerprint")));

    // Expired a month on; waived where a statement with a reason says so.
    let late = "2026-05-21T12:00:00Z";
    let line = format!("verify oci:{stick}:v1 --as {NAME} --format json");
    let expired = stage.later("deployer", late, line.clone()).await;
    assert_eq!((expired.exit, because(&expired.json()).as_str()), (1, "tuf.timestamp.expired"));
    let file = stage.dir.path().join("deployer/trust.json");
    let mut trust: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    trust["statements"] =
        serde_json::json!([{"scope": NAME, "maxStaleness": "30d", "reason": "a monthly stick"}]);
    std::fs::write(&file, trust.to_string()).unwrap();
    let waived = stage.later("deployer", late, format!("verify oci:{stick}:v1 --as {NAME}")).await;
    assert!(waived.exit == 0 && waived.out.contains("(waived: a monthly stick)"), "{waived:#?}");
    let too_late = stage.later("deployer", "2026-06-10T12:00:00Z", line).await;
    assert_eq!(too_late.exit, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_online_key_it_is_submitted_and_renew_admits_it() {
    let stage = Stage::new().await;
    stage.init().await;
    let home = stage.dir.path().join("publisher");
    let online = home.join("keys/app-online.pem");
    let away = stage.dir.path().join("app-online.pem");
    std::fs::rename(&online, &away).unwrap();
    let ran = stage.publish("v1").await;
    assert!(ran.exit == 0 && ran.out.starts_with("submitted "), "{ran:#?}");
    assert!(ran.out.contains("waits at bulla."), "{}", ran.out);
    stage.deployer().await;
    let at = stage.at();
    let not_yet = stage.by("deployer", format!("verify {at}@{} --format json", digest(&stage).await)).await;
    assert_eq!((not_yet.exit, because(&not_yet.json()).as_str()), (1, "bundle.digest.unlisted"));

    std::fs::rename(&away, &online).unwrap();
    std::fs::rename(home.join("keys/app-releases.pem"), &away).unwrap();
    let renewed = stage.by("publisher", format!("renew {at} --format json")).await;
    let json = renewed.json();
    assert_eq!((renewed.exit, json["result"]["status"].as_str()), (0, Some("renewed")), "{json:#}");
    assert_eq!(json["result"]["admitted"][0]["role"], "targets/releases");
    assert_eq!(json["result"]["finished"]["tags"]["v1"], digest(&stage).await);
    stage.by("deployer", format!("verify {at}:v1")).await.ok();
    let current = stage.by("publisher", format!("renew {at}")).await.ok();
    assert!(current.starts_with("current   example.com/team/app   nothing due"), "{current}");

    let next_day = stage.later("publisher", "2026-05-02T13:00:00Z", format!("renew {at}")).await.ok();
    assert!(next_day.starts_with("renewed ") && next_day.contains("timestamp "), "{next_day}");
    let overdue = stage.later("publisher", "2026-07-20T12:00:00Z", format!("renew {at} --format json")).await;
    assert_eq!(
        (overdue.exit, overdue.json()["error"]["code"].as_str()),
        (1, Some("renew.overdue")),
        "{overdue:#?}"
    );
    assert!(overdue.json()["result"].is_object(), "a result although something waits");
}

async fn digest(stage: &Stage) -> String {
    let line = format!("tree oci:{}:v1 --format json", stage.path("build"));
    stage.by("other", line).await.json()["result"]["root"]["digest"].as_str().unwrap().to_owned()
}

/// Arguments, exit code, error code.
#[tokio::test(flavor = "multi_thread")]
async fn what_stops_publish_and_renew() {
    let stage = Stage::new().await;
    let at = stage.at();
    let none = stage.by("publisher", format!("renew {at} --format json")).await;
    assert_eq!((none.exit, none.json()["error"]["code"].as_str()), (2, Some("anchor.none")));
    stage.init().await;
    stage.publish("v1").await.ok();
    let build = stage.path("build");
    for (line, exit, code) in [
        (format!("publish {at}"), 2, "usage"),
        (format!("publish {at}:v1 registry.example.com/x:v1"), 2, "usage"),
        (format!("publish {at}:v1 {at}:v2 --tag x"), 2, "usage"),
        (format!("publish --from oci:{build}:v1 {at}:v1"), 2, "usage"),
        (format!("publish --from oci:{build} {at}"), 2, "usage"),
        (format!("publish {at}:gone"), 3, "ref.absent"),
        (format!("publish --from oci:{build}:gone {at} --tag x"), 3, "ref.absent"),
        ("publish registry.example.com/other:v1".to_owned(), 2, "anchor.none"),
        (format!("renew {at}:v1"), 2, "usage"),
        (format!("renew {at} --role tip"), 2, "usage"),
        (format!("renew {at} --online-key nobody"), 3, "key.absent"),
    ] {
        let ran = stage.by("publisher", format!("{line} --format json")).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (exit, Some(code)), "{line}: {ran:#?}");
    }
    let wrong = Bulla::at(&stage.dir.path().join("publisher")).var("BULLA_PASSWORD", "q");
    let wrong = run(wrong, format!("renew {at} --role timestamp --format json")).await;
    assert_eq!((wrong.exit, wrong.json()["error"]["code"].as_str()), (3, Some("key.password")), "{wrong:#?}");

    // Another installation with the keys, but without memory.
    let root = stage.path("1.root.json");
    stage.by("second", format!("trust add {at} --collection {NAME} --root {root}")).await.ok();
    std::fs::create_dir_all(stage.path("second/keys")).unwrap();
    for entry in std::fs::read_dir(stage.path("publisher/keys")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), std::path::Path::new(&stage.path("second/keys")).join(entry.file_name()))
            .unwrap();
    }
    let forgetful = stage.by("second", format!("publish {at}:v1 --format json")).await;
    assert_eq!((forgetful.exit, forgetful.json()["error"]["code"].as_str()), (3, Some("memory.missing")));
    let mut args: Vec<String> =
        format!("publish {at}:v1 --dangerously-without-memory").split(' ').map(str::to_owned).collect();
    args.push("a new machine".into());
    let home = stage.dir.path().join("second");
    let told = tokio::task::spawn_blocking(move || Bulla::at(&home).var("BULLA_PASSWORD", "p").args(args));
    let told = told.await.unwrap();
    assert!(told.exit == 0 && told.err.contains("memory.waived"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_decodes_states_seals_and_bundles() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    let at = stage.at();
    let text = stage.by("anyone", format!("inspect {at}")).await.ok();
    for word in
        ["state ", "not verified", "names    example.com/team/app", "submission ", "1 of 1: signed by"]
    {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    assert!(text.contains(&format!("{NAME}:v1   ")) && text.contains("since 2026-05-01T12:00:00Z"), "{text}");

    let json = stage.by("anyone", format!("inspect {at} --format json")).await.json();
    let state = &json["result"]["states"][0];
    assert_eq!(
        (&state["kind"], &state["collection"], &state["verified"]),
        (&"state".into(), &NAME.into(), &false.into())
    );
    let roles: Vec<_> =
        state["roles"].as_array().unwrap().iter().map(|r| r["role"].as_str().unwrap()).collect();
    assert_eq!(roles.len(), 6, "{roles:?}");
    assert!(
        state["files"]
            .as_array()
            .unwrap()
            .iter()
            .any(|f| f["name"] == "timestamp.json" && f["inline"] == true)
    );

    let reference = state["reference"].as_str().unwrap();
    let raw = stage.by("anyone", format!("inspect {reference} --file 1.root.json")).await.ok();
    assert_eq!(raw.as_bytes(), std::fs::read(stage.path("1.root.json")).unwrap());
    let tree = stage.by("anyone", format!("tree {at}:v1 --format json")).await.json();
    let seal = tree["result"]["root"]["referrers"][0]["digest"].as_str().unwrap().to_owned();
    let seal = stage.by("anyone", format!("inspect {at}@{seal} --format json")).await.json();
    assert_eq!(
        (&seal["result"]["kind"], &seal["result"]["subject"]),
        (&"seal".into(), &tree["result"]["root"]["digest"])
    );
    let bundle = stage.by("anyone", format!("inspect {at}:v1")).await.ok();
    assert!(bundle.contains("linux/arm64") && bundle.contains("image.index.v1+json"), "{bundle}");

    for (line, exit, code) in [
        (format!("inspect {reference} --file 9.root.json"), 2, "inspect.file"),
        (format!("inspect {at}:v1 --file x"), 2, "inspect.file"),
        (format!("inspect {at}:gone"), 3, "ref.absent"),
        (format!("inspect {}/empty", stage.registry.host()), 3, "ref.absent"),
    ] {
        let ran = stage.by("anyone", line.clone()).await;
        assert_eq!(ran.exit, exit, "{line}: {ran:#?}");
        if !line.contains("--file") {
            let ran = stage.by("anyone", format!("{line} --format json")).await;
            assert_eq!(ran.json()["error"]["code"], code, "{line}: {ran:#?}");
        }
    }
    assert_eq!(
        stage.by("anyone", format!("inspect {reference} --file 1.root.json --format json")).await.exit,
        2
    );
}

/// A key of the key folder is warned of as one that was named is.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_can_read_are_noted() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    stage.init().await;
    let key = stage.dir.path().join("publisher/keys/app-online.pem");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for line in [
        format!("publish --from oci:{}:v1 {} --tag v1", stage.path("build"), stage.at()),
        format!("renew {} --role timestamp", stage.at()),
    ] {
        let ran = stage.by("publisher", line).await;
        assert_eq!((ran.exit, ran.err.matches("(key.permissions)").count()), (0, 1), "{ran:#?}");
    }
}

/// Whoever meets a damaged live state while publishing is told who puts it right.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_stops_publish_and_names_renew() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    let state = stage.registry.tags("team/app").into_iter().find(|(tag, _)| tag.len() == "bulla.".len() + 16);
    let tag = state.unwrap().0;
    let (_, media_type, bytes) = stage.registry.manifest("team/app", &tag).unwrap();
    let good: Value = serde_json::from_slice(&bytes).unwrap();
    let (mut foreign, mut damaged) = (good.clone(), good);
    foreign["artifactType"] = "application/vnd.example".into();
    for layer in damaged["layers"].as_array_mut().unwrap() {
        layer.as_object_mut().unwrap().remove("data");
        layer["size"] = 1.into();
    }
    for (document, code, exit) in [(foreign, "state.invalid", 1), (damaged, "blob.digest", 3)] {
        let (content_type, body) = (media_type.clone(), document.to_string().into());
        let answer = Action::Answer { status: 200, content_type, body };
        let path = format!("/v2/team/app/manifests/{tag}");
        stage.registry.fault(Fault::on("GET", &path).action(answer));
        let line =
            format!("publish --from oci:{}:v2 {} --tag v2 --format json", stage.path("build"), stage.at());
        let ran = stage.by("publisher", line).await;
        let json = ran.json();
        assert_eq!((ran.exit, &json["error"]["code"]), (exit, &code.into()), "{ran:#?}");
        assert!(json["error"]["next"].as_str().unwrap().contains("bulla renew"), "{json:#}");
        stage.registry.behave();
    }
}
