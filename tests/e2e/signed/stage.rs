//! A registry with a bundle, signatures of every kind on it, and a deployer who trusts keys and certificates.

use std::collections::BTreeMap;

use bulla::client::stores::Stores;
use bulla::client::verify::{Looked, Verifier, VerifyError};
use bulla::envelope::{notary, sigstore_bundle, simple_signing};
use bulla::keys::{MemorySigner, Signer as _};
use bulla::oci::{Content, Descriptor, Digest, Reference, media_type};
use bulla::sig::dsse::sigstore_algorithms;
use bulla::sig::x509::Certificate;
use bulla::sig::{Scheme, SubjectKey};
use bulla::store::registry::RegistryConfig;
use bulla::time::UnixTime;
use bulla::trust::{
    AnchorReport, Check, Code, Outcome, Report, Rescissions, SignerAnchor, Subject, TrustFile, Trusts,
    Verdict,
};
use serde_json::{Value, json};

use crate::registry::{Config, Quirks, Registry, sha256};
use crate::servers::config;

pub(super) const REPO: &str = "team/app";

/// A file of testdata.
pub(super) fn testdata(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(testdata(name)).unwrap()
}

/// The public key of a cosign key pair in testdata.
pub(super) fn cosign_key(kind: &str) -> SubjectKey {
    SubjectKey::from_pem(&text(&format!("sigstore/{kind}.pub"))).unwrap()
}

/// A certificate of testdata: of a file with a chain the last one.
pub(super) fn certificate(name: &str) -> Certificate {
    Certificate::from_pem(&text(name)).unwrap().pop().unwrap()
}

/// The bundle that all of testdata was made for.
pub(super) fn subject() -> Content {
    Content::new(media_type::OCI_MANIFEST, testdata("subject.json"))
}

/// A new signer, of the kind that every tool takes.
pub(super) fn signer() -> MemorySigner {
    MemorySigner::generate(Scheme::EcdsaP256).unwrap()
}

pub(super) fn key_of(signer: &MemorySigner) -> SubjectKey {
    SubjectKey::from(signer.public_key())
}

/// What `cosign sign` writes.
pub(super) async fn sigstore_bundle(signer: &MemorySigner, digest: &Digest) -> Vec<u8> {
    let draft = sigstore_bundle::Draft::sign(digest, &BTreeMap::new());
    let key = key_of(signer);
    let signature = signer.sign_as(sigstore_algorithms(key.kind())[0], &draft.message()).await.unwrap();
    draft.finish(&key, &signature).unwrap()
}

/// Payload and signature of a `.sig` layer.
pub(super) async fn simple_signature(signer: &MemorySigner, digest: &Digest) -> (Vec<u8>, Vec<u8>) {
    let payload = simple_signing::payload("example.com/team/app", digest, &BTreeMap::new());
    let signature = signer.sign(&payload).await.unwrap();
    (payload, signature)
}

/// A deployer with anchors for everything at the registry.
pub(super) struct Stage {
    pub(super) registry: Registry,
    pub(super) bundle: Content,
    pub(super) trust: TrustFile,
    pub(super) now: UnixTime,
    pub(super) config: RegistryConfig,
    home: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn new(quirks: Quirks) -> Self {
        let registry = Registry::start(Config { quirks, ..Config::default() }).await;
        let bundle = subject();
        let stage = Self {
            registry,
            bundle,
            trust: TrustFile::default(),
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
            config: config(),
            home: tempfile::tempdir().unwrap(),
        };
        stage.put(Some("v1"), media_type::OCI_MANIFEST, &testdata("subject.json"));
        stage
    }

    fn put(&self, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> String {
        self.registry.put_manifest(REPO, tag, media_type, bytes.to_vec())
    }

    /// Trust these for everything on the registry.
    pub(super) fn trust(&mut self, trusts: Trusts) -> SignerAnchor {
        self.trust_for("*", trusts)
    }

    pub(super) fn trust_for(&mut self, scope: &str, trusts: Trusts) -> SignerAnchor {
        let anchor = SignerAnchor::new(scope.parse().unwrap(), trusts, Rescissions::Nowhere).unwrap();
        self.trust.signers.push(anchor.clone());
        anchor
    }

    /// A statement, as `trust.json` has it.
    pub(super) fn state(&mut self, statement: Value) {
        self.trust.statements.push(serde_json::from_value(statement).unwrap());
    }

    /// Hang an artifact on the bundle; its digest.
    pub(super) fn hang(&self, artifact_type: Option<&str>, config: &str, layers: &[Value]) -> String {
        self.hang_on(self.bundle.descriptor(), artifact_type, config, layers)
    }

    pub(super) fn hang_on(
        &self,
        subject: &Descriptor,
        artifact_type: Option<&str>,
        config: &str,
        layers: &[Value],
    ) -> String {
        let config = self.layer(config, b"{}");
        let mut doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
            "subject": subject.bare(),
        });
        if let Some(t) = artifact_type {
            doc["artifactType"] = t.into();
        }
        let bytes = serde_json::to_vec(&doc).unwrap();
        let digest = self.put(None, media_type::OCI_MANIFEST, &bytes);
        if self.no_api() {
            let entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len()});
            self.list(subject, vec![entry]);
        }
        digest
    }

    fn no_api(&self) -> bool {
        let mut no = false;
        self.registry.quirks(|q| no = q.no_referrers_api);
        no
    }

    /// Add to the list at the referrers tag.
    pub(super) fn list(&self, subject: &Descriptor, entries: Vec<Value>) {
        let tag = subject.digest.referrers_tag();
        let known = self.registry.manifest(REPO, tag.as_str()).map(|(.., bytes)| bytes);
        let mut index = known.map_or_else(
            || json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}),
            |bytes| serde_json::from_slice(&bytes).unwrap(),
        );
        index["manifests"].as_array_mut().unwrap().extend(entries);
        self.put(Some(tag.as_str()), media_type::OCI_INDEX, &serde_json::to_vec(&index).unwrap());
    }

    /// A blob, as a layer of this type.
    pub(super) fn layer(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = self.registry.put_blob(REPO, bytes.to_vec());
        assert_eq!(digest, sha256(bytes));
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub(super) fn hang_bundle(&self, bytes: &[u8]) -> String {
        let v3 = sigstore_bundle::MEDIA_TYPE;
        self.hang(Some(v3), media_type::OCI_EMPTY, &[self.layer(v3, bytes)])
    }

    /// A signature of the Notary Project in the new form of manifest, or in the one that notation 1 writes.
    pub(super) fn hang_notary(&self, envelope: &str, bytes: &[u8], legacy: bool) -> String {
        let layer = self.layer(envelope, bytes);
        match legacy {
            false => self.hang(Some(notary::ARTIFACT_TYPE), media_type::OCI_EMPTY, &[layer]),
            true => self.hang(None, notary::ARTIFACT_TYPE, &[layer]),
        }
    }

    pub(super) fn simple_layer(&self, payload: &[u8], signature: &[u8]) -> Value {
        use base64::Engine as _;
        let mut layer = self.layer(simple_signing::MEDIA_TYPE, payload);
        let signature = base64::engine::general_purpose::STANDARD.encode(signature);
        layer["annotations"] = json!({simple_signing::SIGNATURE: signature});
        layer
    }

    /// cosign's tag, with these layers.
    pub(super) fn sig_tag(&self, layers: &[Value]) {
        let config = self.layer("application/vnd.oci.image.config.v1+json", b"{}");
        let doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
        });
        let tag = format!("{}.sig", self.bundle.digest().referrers_tag());
        self.put(Some(&tag), media_type::OCI_MANIFEST, &serde_json::to_vec(&doc).unwrap());
    }

    pub(super) fn at(&self, selector: &str) -> Reference {
        format!("{}/{REPO}{selector}", self.registry.host()).parse().unwrap()
    }

    pub(super) fn by_digest(&self) -> Reference {
        self.at(&format!("@{}", self.bundle.digest()))
    }

    pub(super) async fn verify_as(
        &self,
        reference: &Reference,
        named: Option<&Subject>,
    ) -> Result<Report, VerifyError> {
        let stores = Stores::new(self.config.clone());
        let verifier = Verifier {
            places: &stores,
            trust: &self.trust,
            memory: &self.home.path().join("memory"),
            now: self.now,
            clock_override: false,
            looked: &Looked::default(),
        };
        verifier.verify(reference, named).await
    }

    pub(super) async fn verify(&self, reference: &Reference) -> Report {
        self.verify_as(reference, None).await.unwrap()
    }

    /// The verdict in a line, by tag.
    pub(super) async fn says(&self) -> String {
        says(&self.verify(&self.at(":v1")).await)
    }
}

/// `trusted`, or the verdict and the code that explains it.
pub(super) fn says(report: &Report) -> String {
    match report.because() {
        None => report.verdict().as_str().to_owned(),
        Some(check) => {
            assert_ne!(report.verdict(), Verdict::Trusted);
            format!("{}: {}", report.verdict().as_str(), check.code)
        }
    }
}

/// Every check of the report.
pub(super) fn checks(report: &Report) -> Vec<&Check> {
    let anchors = report.anchors.iter().flat_map(AnchorReport::all_checks);
    let signatures = report.signatures.iter().flat_map(|s| s.all_checks());
    report.checks.iter().chain(anchors).chain(signatures).collect()
}

/// Whether one of this code ended so.
pub(super) fn has(report: &Report, code: Code, outcome: &Outcome) -> bool {
    checks(report).iter().any(|c| c.code == code && c.outcome == *outcome)
}
