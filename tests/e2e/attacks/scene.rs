//! A registry with a bundle and its collection's state, and a deployer with a home.

use std::path::PathBuf;

use bulla::client::memory::Memory;
use bulla::client::state::{self, Kind, Packed};
use bulla::client::stores::Stores;
use bulla::client::verify::Verifier;
use bulla::oci::{Content, Descriptor, Reference, media_type};
use bulla::store::registry::RegistryConfig;
use bulla::time::UnixTime;
use bulla::trust::{Anchor, Code, Evidence, Outcome, Report, Statement, TrustFile, Verdict};
use bulla::tuf::{About, Bundle, Claim, Files, Remembered};
use serde_json::json;

use super::sim::{NOW, Sim};
use crate::registry::{Config, Quirks, Registry};
use crate::servers::{config, place};

pub(super) const REPO: &str = "team/app";

/// The deployer, and everything the attacker may change.
pub(super) struct Scene {
    pub(super) registry: Registry,
    pub(super) sim: Sim,
    pub(super) bundle: Content,
    pub(super) home: tempfile::TempDir,
    pub(super) statements: Vec<Statement>,
    pub(super) now: UnixTime,
    /// `:v1` or `@sha256:...`, as typed after the repository.
    pub(super) selector: String,
    pub(super) config: RegistryConfig,
    /// Further places of the state.
    pub(super) state_at: Vec<Reference>,
}

/// An image manifest.
pub(super) fn image(text: &str) -> Content {
    let config = Descriptor::of("application/vnd.oci.image.config.v1+json", text.as_bytes());
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [],
    });
    Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap())
}

/// List a bundle under a tag and its digest.
pub(super) fn list(sim: &mut Sim, bundle: &Content, tag: &str) {
    let entry = |claim| Bundle {
        digest: bundle.digest().clone(),
        length: bundle.descriptor().size,
        about: About {
            claim: Some(claim),
            tags: [tag.parse().unwrap()].into(),
            ..About::new(NOW, sim.releases_key.public().key_id(), bundle.media_type())
        },
        custom: Default::default(),
    };
    let (by_tag, by_digest) = (entry(Claim::Tag).to_json(), entry(Claim::Release).to_json());
    sim.entries.insert(Sim::name().tag_path(&tag.parse().unwrap()), by_tag);
    sim.entries.insert(Sim::name().release_path(bundle.digest()), by_digest);
}

impl Scene {
    /// Version 5 of everything, live; `v1` names the bundle.
    pub(super) async fn new() -> Self {
        Self::on(Config::default()).await
    }

    /// The same on a registry with quirks.
    pub(super) async fn with(quirks: Quirks) -> Self {
        Self::on(Config { quirks, ..Config::default() }).await
    }

    /// The same on any registry.
    pub(super) async fn on(server: Config) -> Self {
        let registry = Registry::start(server).await;
        let (mut sim, bundle) = (Sim::new(), image("bundle"));
        list(&mut sim, &bundle, "v1");
        sim.at_version(5, NOW);
        place(&registry, REPO, Some("v1"), &bundle);
        let scene = Self {
            registry,
            sim,
            bundle,
            home: tempfile::tempdir().unwrap(),
            statements: vec![],
            now: NOW,
            selector: ":v1".into(),
            config: config(),
            state_at: vec![],
        };
        scene.serve();
        scene
    }

    /// Serve the sim's state.
    pub(super) fn serve(&self) {
        self.serve_files(&self.sim.files());
    }

    /// Serve these files as the state.
    pub(super) fn serve_files(&self, files: &Files) {
        self.push(&state::pack(Kind::State, files, None), Some(Sim::name().state_tag().as_str()));
    }

    /// Take the state away.
    pub(super) fn remove_state(&self) {
        self.registry.set_tag(REPO, Sim::name().state_tag().as_str(), None);
    }

    /// Hang a seal of these files on the bundle.
    pub(super) fn hang(&self, files: &Files) -> Content {
        let packed = state::pack(Kind::Seal, files, Some(self.bundle.descriptor()));
        self.push(&packed, None);
        packed.manifest
    }

    /// Serve these files as the state at another registry.
    pub(super) fn serve_at(&self, registry: &Registry, files: &Files) {
        let packed = state::pack(Kind::State, files, None);
        push(registry, &packed, Some(Sim::name().state_tag().as_str()));
    }

    fn push(&self, packed: &Packed, tag: Option<&str>) {
        push(&self.registry, packed, tag);
    }

    /// The path of the state's manifest on the registry.
    pub(super) fn state_path() -> String {
        format!("/v2/{REPO}/manifests/{}", Sim::name().state_tag())
    }

    pub(super) fn reference(&self) -> Reference {
        format!("{}/{REPO}{}", self.registry.host(), self.selector).parse().unwrap()
    }

    pub(super) fn anchor(&self) -> Anchor {
        let scope = format!("{}/{REPO}", self.registry.host()).parse().unwrap();
        Anchor::tuf(scope, Sim::name(), self.sim.roots[0].clone(), self.state_at.clone())
    }

    pub(super) fn memory_dir(&self) -> PathBuf {
        self.home.path().join("memory")
    }

    /// What is remembered.
    pub(super) fn memory(&self) -> Option<Remembered> {
        Memory::in_dir(&self.memory_dir(), &Sim::name()).load(&self.sim.roots[0]).unwrap()
    }

    /// Verify with connections and proofs that earlier verifications made.
    pub(super) async fn verify_over(&self, stores: &Stores) -> Report {
        let mut trust = TrustFile::default();
        trust.anchors.push(self.anchor());
        self.verify_by(trust, stores).await
    }

    /// Verify by other anchors.
    pub(super) async fn verify_by(&self, mut trust: TrustFile, stores: &Stores) -> Report {
        trust.statements.clone_from(&self.statements);
        let verifier = Verifier {
            places: stores,
            trust: &trust,
            memory: &self.memory_dir(),
            now: self.now,
            clock_override: false,
            looked: &Default::default(),
        };
        verifier.verify(&self.reference(), None).await.unwrap()
    }

    /// Verify as a new process.
    pub(super) async fn verify(&self) -> Report {
        self.verify_over(&Stores::new(self.config.clone())).await
    }

    /// The verdict in a line.
    pub(super) async fn outcome(&self) -> String {
        outcome(&self.verify().await)
    }

    /// It must be trusted.
    pub(super) async fn trusted(&self) -> Report {
        let report = self.verify().await;
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
        report
    }
}

/// Put an artifact of files on a registry.
pub(super) fn push(registry: &Registry, packed: &Packed, tag: Option<&str>) {
    for blob in &packed.blobs {
        registry.put_blob(REPO, blob.bytes().clone());
    }
    place(registry, REPO, tag, &packed.manifest);
}

/// `trusted by <evidence>`, `no: <code>` or `undecided: <code>`.
pub(super) fn outcome(report: &Report) -> String {
    let because = || report.because().unwrap().code.as_str();
    match report.verdict() {
        Verdict::Trusted => format!("trusted by {}", report.anchors[0].evidence.unwrap().as_str()),
        Verdict::NotTrusted => format!("no: {}", because()),
        Verdict::NotChecked => "not checked".into(),
        Verdict::Undecided => format!("undecided: {}", because()),
    }
}

/// Whether the report holds a check of this code and outcome.
pub(super) fn has(report: &Report, code: Code, outcome: &Outcome) -> bool {
    let all = report.checks.iter().chain(report.anchors.iter().flat_map(|a| &a.checks));
    all.into_iter().any(|c| c.code == code && c.outcome == *outcome)
}

/// What an attack on the honest state comes to: for a first-time verifier, and for one that remembers that state.
pub(super) async fn both(attack: impl Fn(&mut Scene)) -> [String; 2] {
    let mut first = Scene::new().await;
    attack(&mut first);
    let mut remembers = Scene::new().await;
    let report = remembers.trusted().await;
    assert_eq!(report.anchors[0].evidence, Some(Evidence::State));
    attack(&mut remembers);
    [first.outcome().await, remembers.outcome().await]
}
