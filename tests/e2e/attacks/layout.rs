//! The same on an OCI layout that came on a stick: no server, and everything in the folder is the attacker's.

use std::path::{Path, PathBuf};

use bulla::client::places::Places;
use bulla::client::state::{self, Kind, Packed};
use bulla::client::stores::Stores;
use bulla::client::verify::Verifier;
use bulla::oci::{Content, Digest, Reference, Tag, empty_descriptor};
use bulla::store::{BytesSource, Manage};
use bulla::time::UnixTime;
use bulla::trust::{Anchor, TrustFile};

use super::scene::{image, list, outcome};
use super::sim::{DAY, NOW, Sim, SimKey};
use crate::servers::config;

struct Stick {
    dir: tempfile::TempDir,
    sim: Sim,
    bundle: Content,
    memory: tempfile::TempDir,
    now: UnixTime,
}

impl Stick {
    /// The bundle as v1, with the state at version 5 and a seal.
    async fn new() -> Self {
        let (mut sim, bundle) = (Sim::new(), image("bundle"));
        list(&mut sim, &bundle, "v1");
        sim.at_version(5, NOW);
        let (dir, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stick = Self { dir, sim, bundle, memory, now: NOW };
        let place = stick.place().await;
        put(&*place, &stick.bundle, Some(&"v1".parse().unwrap())).await;
        stick.serve().await;
        stick.seal().await;
        stick
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    fn reference(&self, selector: &str) -> Reference {
        format!("oci:{}{selector}", self.path().display()).parse().unwrap()
    }

    /// Opened anew: what was changed behind its back is seen.
    async fn place(&self) -> std::sync::Arc<dyn Manage> {
        Stores::new(config()).create(&self.reference("")).await.unwrap()
    }

    fn state(&self) -> Packed {
        state::pack(Kind::State, &self.sim.files(), None)
    }

    async fn serve(&self) {
        push(&*self.place().await, &self.state(), Some(&Sim::name().state_tag())).await;
    }

    async fn seal(&self) {
        let packed = state::pack(Kind::Seal, &self.sim.files(), Some(self.bundle.descriptor()));
        let place = self.place().await;
        push(&*place, &packed, None).await;
        place.index_referrers(self.bundle.descriptor(), &[packed.manifest]).await.unwrap();
        place.flush().await.unwrap();
    }

    /// The file of a blob or manifest.
    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.hex())
    }

    async fn outcome(&self, selector: &str) -> String {
        let mut trust = TrustFile::default();
        let scope = "registry.example/team/app".parse().unwrap();
        trust.anchors.push(Anchor::tuf(scope, Sim::name(), self.sim.roots[0].clone(), vec![]));
        let stores = Stores::new(config());
        let verifier = Verifier {
            places: &stores,
            trust: &trust,
            memory: self.memory.path(),
            now: self.now,
            clock_override: false,
            looked: &Default::default(),
        };
        let named = "registry.example/team/app:v1".parse().unwrap();
        outcome(&verifier.verify(&self.reference(selector), Some(&named)).await.unwrap())
    }
}

async fn put(place: &dyn Manage, content: &Content, tag: Option<&Tag>) {
    place.push_manifest(content, tag).await.unwrap();
    place.flush().await.unwrap();
}

async fn push(place: &dyn Manage, packed: &Packed, tag: Option<&Tag>) {
    let empty = Content::new(empty_descriptor().media_type, &b"{}"[..]);
    for blob in packed.blobs.iter().chain([&empty]) {
        place.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await.unwrap();
    }
    put(place, &packed.manifest, tag).await;
}

/// Change a byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_honest_stick() {
    let mut stick = Stick::new().await;
    assert_eq!(stick.outcome(":v1").await, "trusted by state");
    let by_digest = format!("@{}", stick.bundle.digest());
    assert_eq!(stick.outcome(&by_digest).await, "trusted by state");
    stick.now = NOW.plus(7 * DAY);
    assert_eq!(stick.outcome(":v1").await, "no: tuf.timestamp.expired");
}

#[tokio::test]
async fn damaged_files() {
    let stick = Stick::new().await;
    damage(&stick.blob(stick.bundle.digest()));
    assert_eq!(stick.outcome(":v1").await, "undecided: bundle.digest");
    let stick = Stick::new().await;
    damage(&stick.blob(stick.state().manifest.digest()));
    assert_eq!(stick.outcome(":v1").await, "undecided: state.unreadable");
    // Cut short, made longer, and a folder in its place.
    for change in [
        |p: &Path| std::fs::write(p, b"{").unwrap(),
        |p: &Path| std::fs::write(p, vec![b' '; 5 * 1024 * 1024]).unwrap(),
        |p: &Path| {
            std::fs::remove_file(p).unwrap();
            std::fs::create_dir(p).unwrap();
        },
    ] {
        let stick = Stick::new().await;
        change(&stick.blob(stick.bundle.digest()));
        let got = stick.outcome(":v1").await;
        assert!(got == "undecided: bundle.digest" || got == "undecided: bundle.resolve", "{got}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_to_what_never_ends() {
    for target in ["/dev/zero", "/dev/null"] {
        let stick = Stick::new().await;
        let path = stick.blob(stick.bundle.digest());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        let wait = std::time::Duration::from_secs(20);
        let got = tokio::time::timeout(wait, stick.outcome(":v1")).await.expect("it ends");
        assert_eq!(got, "undecided: bundle.resolve", "{target}");
    }
}

#[tokio::test]
async fn another_bundle_at_the_tag() {
    let stick = Stick::new().await;
    put(&*stick.place().await, &image("another"), Some(&"v1".parse().unwrap())).await;
    assert_eq!(stick.outcome(":v1").await, "no: bundle.tag.moved");
}

#[tokio::test]
async fn an_older_stick() {
    let mut stick = Stick::new().await;
    stick.sim.at_version(6, NOW);
    stick.serve().await;
    assert_eq!(stick.outcome(":v1").await, "trusted by state");
    stick.sim.at_version(4, NOW);
    stick.serve().await;
    assert_eq!(stick.outcome(":v1").await, "no: tuf.timestamp.rollback");
    stick.memory = tempfile::tempdir().unwrap();
    assert_eq!(stick.outcome(":v1").await, "trusted by state");
}

#[tokio::test]
async fn a_stick_without_state() {
    let mut stick = Stick::new().await;
    stick.sim.online_key = SimKey::new(99);
    stick.serve().await;
    assert_eq!(stick.outcome(":v1").await, "trusted by seal", "the state is a stranger's");
    stick.memory = tempfile::tempdir().unwrap();
    std::fs::remove_file(stick.blob(stick.state().manifest.digest())).unwrap();
    // Named and not there is a broken layout, and not one without a state.
    assert_eq!(stick.outcome(":v1").await, "undecided: state.unreadable");
}
