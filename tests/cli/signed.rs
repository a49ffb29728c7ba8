//! A bundle in a layout and on a registry, people with keys, and deployers with trust files: what the tests of signatures share.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::oci::Digest;
use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::{Value, json};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Quirks, Registry};
use crate::run::{Bulla, Ran};

/// A repository of a registry and a layout, each with the tags v1 (an index) and v2 (an image).
pub(crate) struct Shop {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: Registry,
    /// What v1 names.
    pub(crate) v1: String,
    /// What v2 names.
    pub(crate) v2: String,
}

/// `testdata/signatures`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/signatures").join(name)
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    /// Without the referrers API.
    pub(crate) async fn plain() -> Self {
        let quirks = Quirks { no_referrers_api: true, ..Quirks::default() };
        Self::with(Config { quirks, ..Config::default() }).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = OciDir::create(dir.path().join("build")).await.unwrap();
        let (root, _) = bundles::two_arch(&store, "signed").await;
        store.push_manifest(&root, Some(&bundles::tag("v1"))).await.unwrap();
        let other = bundles::image(&store, "other").await;
        store.push_manifest(&other, Some(&bundles::tag("v2"))).await.unwrap();
        store.flush().await.unwrap();
        let registry = Registry::start(config).await;
        let (v1, v2) = (root.digest().to_string(), other.digest().to_string());
        let shop = Self { dir, registry, v1, v2 };
        let build = shop.layout("build");
        shop.by("builder", format!("copy {build}:v1 {build}:v2 {}", shop.at())).await.ok();
        shop.registry.clear();
        shop
    }

    /// The repository.
    pub(crate) fn at(&self) -> String {
        self.repository("team/app")
    }

    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A layout as a reference without a tag.
    pub(crate) fn layout(&self, name: &str) -> String {
        format!("oci:{}", self.path(name))
    }

    pub(crate) fn bulla(&self, who: &str) -> Bulla {
        Bulla::at(&self.dir.path().join(who)).var("BULLA_PASSWORD", "password")
    }

    pub(crate) async fn by(&self, who: &str, line: String) -> Ran {
        run(self.bulla(who), line).await
    }

    /// Gives somebody the key `release`: of this kind, with the chain that `chain` returns.
    pub(crate) async fn key(&self, who: &str, kind: &str) {
        let file = data(&format!("notation/{kind}.key.pem"));
        self.by(who, format!("key import {} release", file.display())).await.ok();
    }

    /// The certificate chain of a key of this kind.
    pub(crate) fn chain(kind: &str) -> String {
        data(&format!("notation/{kind}.chain.pem")).display().to_string()
    }

    /// Somebody signs; `more` are further arguments.
    pub(crate) async fn sign(&self, who: &str, reference: &str, more: &str) -> Ran {
        self.by(who, format!("sign {reference} --key release {more}")).await
    }

    /// An anchor that trusts the key of somebody.
    pub(crate) fn key_anchor(&self, id: &str, scope: &str, who: &str) -> Value {
        let pem = std::fs::read_to_string(self.dir.path().join(who).join("keys/release.pub")).unwrap();
        pem_anchor(id, scope, &pem)
    }

    /// Writes somebody's trust file.
    pub(crate) fn trust(&self, who: &str, document: &Value) {
        let mut all = json!({"schemaVersion": 2, "anchors": [], "statements": []});
        for (name, value) in document.as_object().unwrap() {
            all[name] = value.clone();
        }
        let home = self.dir.path().join(who);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("trust.json"), all.to_string()).unwrap();
    }

    /// The verdict on one reference: exit code, and the code of the check that explains it.
    pub(crate) async fn verify(&self, who: &str, line: &str) -> (u8, String) {
        verdict(&self.by(who, format!("verify {line} --format json")).await)
    }

    /// The report on one reference.
    pub(crate) async fn report(&self, who: &str, line: &str) -> Value {
        self.by(who, format!("verify {line} --format json")).await.json()["result"]["bundles"][0].clone()
    }
}

/// An anchor that trusts this public key.
pub(crate) fn pem_anchor(id: &str, scope: &str, pem: &str) -> Value {
    json!({"id": id, "kind": "key", "scope": scope, "key": {"spki": body(pem)}})
}

/// An anchor that trusts whom the CA of this PEM file certified.
pub(crate) fn ca_anchor(id: &str, scope: &str, file: &Path) -> Value {
    let der = STANDARD.decode(body(&std::fs::read_to_string(file).unwrap())).unwrap();
    let certificate = json!({"sha256": Digest::sha256(&der).hex(), "data": STANDARD.encode(&der)});
    json!({"id": id, "kind": "ca", "scope": scope, "certificate": certificate})
}

/// So many of these must have signed what the scope covers.
pub(crate) fn demand(scope: &str, threshold: u32, from: &[&str]) -> Value {
    json!({"scope": scope, "require": {"signatures": {"threshold": threshold, "from": from}}})
}

pub(crate) fn verdict(ran: &Ran) -> (u8, String) {
    let json = ran.json();
    let first = &json["result"]["bundles"][0];
    let code = first["because"]["code"].as_str().or_else(|| json["error"]["code"].as_str());
    (ran.exit, code.unwrap_or("trusted").to_owned())
}

/// Whether a signature was refused with this code: a check of the report that failed, and no note.
pub(crate) fn failed(report: &Value, code: &str) -> bool {
    let checks = report["signatures"].as_array().into_iter().flatten();
    checks.chain([&report["because"]]).any(|check| check["code"] == code && check["outcome"] == "fail")
}

pub(crate) fn trusted() -> (u8, String) {
    (0, "trusted".to_owned())
}

/// The base64 of the first block of a PEM file.
fn body(pem: &str) -> String {
    let block = pem.split("-----").nth(2).unwrap();
    block.split_whitespace().collect()
}
