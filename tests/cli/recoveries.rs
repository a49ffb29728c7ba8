//! Recovery from a good state, by commands: a thief with the releases and online keys has driven every version up to the last one.

use std::sync::Arc;

use bulla::client::signing::OpenKeys;
use bulla::keys::{KeyFolder, NoPrompt, Password, Passwords, Signer, open};
use bulla::oci::Selector;
use bulla::store::Store as _;
use bulla::store::registry::{Hosts, RegistryConfig};
use serde_json::Value;

use crate::releases::{NAME, Stage};
use crate::run::NOW;
use crate::thief::{Deed, steal};

const LATER: &str = "2026-05-01T14:00:00Z";

fn because(json: &Value) -> String {
    json["result"]["bundles"][0]["because"]["code"].as_str().unwrap_or("trusted").to_owned()
}

fn code(json: &Value) -> &str {
    json["error"]["code"].as_str().unwrap_or("none")
}

/// The digest of a tag, in the repository.
async fn digest(stage: &Stage, reference: &str) -> String {
    let tree = stage.by("publisher", format!("tree {reference} --format json")).await.json();
    tree["result"]["root"]["digest"].as_str().unwrap().to_owned()
}

impl Stage {
    fn key(&self, name: &str) -> Arc<dyn Signer> {
        let password = Password::new("p".to_owned().into()).unwrap();
        let passwords = Passwords::new(Some(password), Arc::new(NoPrompt));
        let folder = KeyFolder::new(self.path("publisher/keys"));
        open(&name.parse().unwrap(), &folder, &passwords).unwrap().signer.into()
    }

    fn id(&self, name: &str) -> String {
        self.key(name).public_key().key_id().to_string()
    }

    async fn json(&self, home: &str, line: String) -> Value {
        self.later(home, LATER, format!("{line} --format json")).await.json()
    }

    /// A bundle that nobody released lies in the repository; the thief releases it.
    async fn steal(&self) -> String {
        let at = self.at();
        self.by("publisher", format!("copy oci:{}:v2 {at}:evil", self.path("build"))).await.ok();
        let evil = digest(self, &format!("{at}:evil")).await;
        let hosts = Hosts::new(RegistryConfig { certs_dirs: Vec::new(), ..RegistryConfig::default() });
        let store = hosts.repository(&at.parse().unwrap());
        let image = store.resolve(&Selector::Digest(evil.parse().unwrap())).await.unwrap().unwrap();
        let keys = OpenKeys(vec![self.key("app-releases"), self.key("app-online")]);
        let deed = Deed { release: Some(image.descriptor()), own_key: None };
        steal(&store, &NAME.parse().unwrap(), &keys, NOW.parse().unwrap(), &deed).await;
        evil
    }

    /// New keys for everything that was stolen, and the options that put them in.
    async fn replacements(&self) -> String {
        for key in ["new-releases", "new-online"] {
            self.by("publisher", format!("key generate {key}")).await.ok();
        }
        let (releases, online) = (self.id("app-releases"), self.id("app-online"));
        ["releases", "revocations"]
            .map(|r| format!("--add-key {r}=new-releases --remove-key {r}={releases} "))
            .concat()
            + &["snapshot", "timestamp"]
                .map(|r| format!("--add-key {r}=new-online --remove-key {r}={online} "))
                .concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_goes_back_to_what_is_remembered_and_everybody_follows() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let at = stage.at();
    let evil = stage.steal().await;
    stage.by("deployer", format!("verify {at}@{evil}")).await.ok();
    let keys = stage.replacements().await;
    let file = stage.path("recovery.json");

    // Nobody who saw the thief's state would follow without other online keys: it is not even proposed.
    let releases = stage.id("app-releases");
    let half = format!("--add-key releases=new-releases --remove-key releases={releases}");
    let propose =
        |keys: &str| format!("tuf propose {at} --on-good memory {keys} --description stolen --output {file}");
    let refused = stage.json("publisher", propose(&half)).await;
    assert_eq!((&refused["exitCode"], code(&refused)), (&1.into(), "recovery.floors"), "{refused:#}");
    assert!(!std::path::Path::new(&file).exists());
    let online = format!("--add-key snapshot=new-online --add-key timestamp=new-online {half}");
    let beside = stage.json("publisher", propose(&online)).await;
    assert_eq!(code(&beside), "recovery.floors", "the stolen key could still sign alone");

    let said = stage.later("publisher", LATER, propose(&keys)).await.ok();
    let greatest = ((1_u64 << 53) - 1).to_string();
    for part in [
        format!("falls away  what was published since: timestamp {greatest}"),
        format!("targets/releases {greatest} goes back to 2"),
        evil.clone(),
        "changes on that earlier state".to_owned(),
    ] {
        assert!(said.contains(&part), "{part} is not in\n{said}");
    }
    // Who remembers the thief's state signs nothing older by mistake, and sees what would fall away.
    let stale = stage.json("deployer", format!("tuf approve {file} --show")).await;
    assert_eq!(code(&stale), "proposal.stale");
    let shown = stage.json("deployer", format!("tuf approve {file} --show --discard-newer")).await;
    assert!(shown["result"]["discards"]["back"].to_string().contains(&evil), "{shown:#}");
    stage.later("publisher", LATER, format!("tuf approve {file} --yes")).await.ok();

    let commit = format!("tuf commit {file} --at {at}");
    assert_eq!(code(&stage.json("publisher", commit.clone()).await), "proposal.stale");
    let unasked = stage.json("publisher", format!("{commit} --discard-newer")).await;
    assert_eq!((&unasked["exitCode"], code(&unasked)), (&3.into(), "proposal.unasked"));
    assert_eq!(code(&stage.json("publisher", format!("{commit} --yes")).await), "usage");
    stage.by("deployer", format!("verify {at}@{evil}")).await.ok();
    // Without the new online key nothing can go in, and nothing is submitted for the thief to read.
    let away = stage.path("new-online.pem");
    std::fs::rename(stage.path("publisher/keys/new-online.pem"), &away).unwrap();
    let keyless = stage.json("publisher", format!("{commit} --discard-newer --yes")).await;
    assert_eq!(code(&keyless), "key.missing", "{keyless:#}");
    std::fs::rename(away, stage.path("publisher/keys/new-online.pem")).unwrap();
    let done = stage.json("publisher", format!("{commit} --discard-newer --yes")).await;
    assert_eq!((&done["exitCode"], &done["result"]["status"]), (&0.into(), &"committed".into()), "{done:#}");

    for home in ["deployer", "fresh"] {
        let root = stage.path("1.root.json");
        stage.by(home, format!("trust add {at} --collection {NAME} --root {root}")).await.ok();
        let bad = stage.json(home, format!("verify {at}@{evil}")).await;
        assert_eq!(because(&bad), "bundle.digest.unlisted", "{home}: {bad:#}");
        stage.later(home, LATER, format!("verify {at}:v1")).await.ok();
    }
    let audit = stage.later("deployer", LATER, format!("audit {at} --signed-by {}", &releases[..8])).await;
    assert!(audit.exit == 1 && audit.out.contains("not in the live line"), "{audit:#?}");
    assert!(audit.out.lines().any(|l| l.starts_with("HERE") && l.contains(&evil)), "{}", audit.out);

    // What was published since stays when it is committed a second time.
    let line = format!("publish --from oci:{}:v2 {at} --tag v2", stage.path("build"));
    stage.later("publisher", LATER, line).await.ok();
    let again = stage.json("publisher", format!("{commit} --discard-newer --yes")).await;
    assert_eq!(again["exitCode"], 0, "{again:#}");
    stage.later("deployer", LATER, format!("verify {at}:v2 {at}:v1")).await.ok();
    let resealed = stage.json("publisher", format!("renew {at} --reseal")).await;
    assert_eq!(resealed["result"]["finished"]["seals"].as_array().unwrap().len(), 2, "{resealed:#}");
}

/// The owner saw the thief's state, too; a stick did not. What was revoked after the stick was written stays revoked.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_goes_back_to_a_stick_and_revocations_made_since_are_kept() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    let at = stage.at();
    let line = format!("publish --from oci:{}:v2 {at} --tag v2", stage.path("build"));
    stage.by("publisher", line).await.ok();
    let (bad, stick) = (digest(&stage, &format!("{at}:v2")).await, format!("oci:{}", stage.path("stick")));
    stage.by("publisher", format!("copy {at}:v1 {stick}")).await.ok();
    stage.later("publisher", "2026-05-01T13:00:00Z", format!("revoke {at}@{bad} --reason CVE")).await.ok();
    stage.deployer().await;
    stage.steal().await;
    stage.later("publisher", LATER, format!("verify {at}:v1")).await.ok();
    let (keys, file) = (stage.replacements().await, stage.path("recovery.json"));
    let line = format!("tuf propose {at} --on-good {stick} {keys} --description stolen --output {file}");
    let proposed = stage.json("publisher", line).await;
    assert_eq!(proposed["exitCode"], 0, "{proposed:#}");
    assert_eq!(proposed["result"]["discards"]["revocations"], serde_json::json!([]), "{proposed:#}");
    let stale = stage.json("publisher", format!("tuf approve {file} --yes")).await;
    assert_eq!(code(&stale), "proposal.stale");
    stage.later("publisher", LATER, format!("tuf approve {file} --yes --discard-newer")).await.ok();
    let line = format!("tuf commit {file} --at {at} --discard-newer --yes");
    let done = stage.json("publisher", line).await;
    assert_eq!(done["exitCode"], 0, "{done:#}");
    for home in ["deployer", "publisher"] {
        let refused = stage.json(home, format!("verify {at}@{bad}")).await;
        assert_eq!(because(&refused), "revocation.bundle", "{home}: {refused:#}");
        stage.later(home, LATER, format!("verify {at}:v1")).await.ok();
    }
}
