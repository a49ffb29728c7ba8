//! A collection in memory for tests: keys from seeds, a registry repository, a home on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::commit::WorkError;
use super::init::{Created, InitError, Lifetimes, Request, init};
use super::memory::Memory;
use super::places::Places;
use super::publish::{self, PublishError, Published, Wanted, publish};
use super::renew::{self, Cosign, Renewed, renew};
use super::signing::{OpenKeys, sign};
use super::state;
use super::verify::{Asked, Verifier};
use super::whole::{Whole, walk};
use crate::keys::{MemorySigner, Signer};
use crate::oci::{Content, Digest, Reference, Selector, media_type};
use crate::store::{BytesSource, Manage, StoreError};
use crate::time::{Clock, UnixTime};
use crate::trust::cnab::CnabFiles;
use crate::trust::{Anchor, Report, Scope, TrustFile};
use crate::tuf::lineage::{Change, RoleFile, View, next};
use crate::tuf::{
    Bundle, CollectionName, Draft, EntryName, Extra, FileName, FilePin, Files, Heading, Limits, RoleName,
    Version, bundles,
};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const DAY: i64 = 86_400;

pub(crate) fn key(seed: u8) -> Arc<dyn Signer> {
    Arc::new(MemorySigner::from_seed(&[seed; 32]).unwrap())
}

pub(crate) fn name() -> CollectionName {
    "ex.com/org/app".parse().unwrap()
}

/// An installation: its folder and its keys.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) keys: OpenKeys,
}

impl Home {
    pub(crate) const ROOT: u8 = 1;
    pub(crate) const TARGETS: u8 = 2;
    pub(crate) const RELEASES: u8 = 3;
    pub(crate) const ONLINE: u8 = 4;

    pub(crate) fn new(keys: &[u8]) -> Self {
        let keys = OpenKeys(keys.iter().map(|k| key(*k)).collect());
        Self { dir: tempfile::tempdir().unwrap(), keys }
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::in_dir(&self.dir.path().join("memory"), &name())
    }

    pub(crate) fn root_file(&self) -> PathBuf {
        self.dir.path().join("1.root.json")
    }

    /// Remember what another installation remembers.
    pub(crate) fn learn(&self, other: &Self, root: &Bytes) {
        self.memory().save(root, &other.memory().load(root).unwrap().unwrap()).unwrap();
    }
}

/// `init` with the usual keys.
pub(crate) async fn create(store: &dyn Manage, home: &Home) -> Result<Created, InitError> {
    let (root_file, memories) = (home.root_file(), [home.memory()]);
    init(request(store, &root_file, &memories)).await
}

pub(crate) fn request<'a>(
    store: &'a dyn Manage,
    root_file: &'a std::path::Path,
    memories: &'a [Memory],
) -> Request<'a> {
    Request {
        collection: name(),
        store,
        root_keys: vec![key(Home::ROOT)],
        root_threshold: 1,
        targets_key: key(Home::TARGETS),
        releases_key: key(Home::RELEASES),
        online_key: key(Home::ONLINE),
        lifetimes: Lifetimes::default(),
        single_writer: false,
        shared_root_key: None,
        root_file,
        anew: None,
        memories,
        now: NOW,
    }
}

/// A clock that tests move.
pub(crate) struct TestClock(pub(crate) std::sync::atomic::AtomicI64);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(NOW.secs().into())
    }

    pub(crate) fn forward(&self, secs: i64) {
        self.0.fetch_add(secs, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// Push an image whose config holds `text`; its manifest.
pub(crate) async fn image(store: &dyn Manage, text: &str) -> Content {
    let config = Content::new("application/vnd.oci.image.config.v1+json", format!("{{\"text\":\"{text}\"}}"));
    store.push_blob(config.descriptor(), &BytesSource(config.bytes().clone())).await.unwrap();
    let doc = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor(), "layers": []
    });
    let manifest = Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap());
    store.push_manifest(&manifest, None).await.unwrap();
    manifest
}

/// Push an index over `children`; its manifest.
pub(crate) async fn index(store: &dyn Manage, children: Vec<serde_json::Value>) -> Content {
    let doc =
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children});
    let index = Content::new(media_type::OCI_INDEX, serde_json::to_vec(&doc).unwrap());
    store.push_manifest(&index, None).await.unwrap();
    index
}

/// A collection with its place, its owner and the time.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Manage>,
    pub(crate) owner: Home,
    pub(crate) root: Bytes,
    pub(crate) clock: TestClock,
}

impl World {
    pub(crate) async fn new(store: Arc<dyn Manage>) -> Self {
        let owner = Home::new(&[Home::RELEASES, Home::ONLINE]);
        let root = create(&*store, &owner).await.unwrap().root;
        Self { store, owner, root, clock: TestClock::new() }
    }

    /// Another installation with these keys, which remembers what the owner remembers.
    pub(crate) fn home(&self, keys: &[u8]) -> Home {
        let home = Home::new(keys);
        home.learn(&self.owner, &self.root);
        home
    }

    pub(crate) async fn publish(
        &self,
        home: &Home,
        what: &[(&str, &[&str])],
    ) -> Result<Published, PublishError> {
        self.publish_at(&*self.store, home, what).await
    }

    /// Publish with a thick archive.
    pub(crate) async fn publish_thick(
        &self,
        what: &[(&str, &[&str])],
        thick: &publish::Thick,
    ) -> Result<Published, PublishError> {
        let memories = [self.owner.memory()];
        let request = self.publication(&*self.store, &self.owner, &memories, what);
        publish::publish_with(request, Some(thick)).await
    }

    /// Publish `(digest or tag, tags)` through a store of its own.
    pub(crate) async fn publish_at(
        &self,
        store: &dyn Manage,
        home: &Home,
        what: &[(&str, &[&str])],
    ) -> Result<Published, PublishError> {
        let memories = [home.memory()];
        publish(self.publication(store, home, &memories, what)).await
    }

    fn publication<'a>(
        &'a self,
        store: &'a dyn Manage,
        home: &'a Home,
        memories: &'a [Memory],
        what: &[(&str, &[&str])],
    ) -> publish::Request<'a> {
        let wanted = |(selector, tags): &(&str, &[&str])| Wanted {
            selector: selector
                .parse()
                .map(Selector::Digest)
                .unwrap_or_else(|_| Selector::Tag(selector.parse().unwrap())),
            tags: tags.iter().map(|t| t.parse().unwrap()).collect(),
        };
        publish::Request {
            collection: name(),
            anchor: self.root.clone(),
            state: store,
            store,
            bundles: what.iter().map(wanted).collect(),
            role: None,
            memories,
            without_memory: false,
            keys: &home.keys,
            clock: &self.clock,
        }
    }

    pub(crate) async fn renew(&self, home: &Home, roles: &[&str]) -> Result<Renewed, WorkError> {
        self.renew_at(&*self.store, home, roles).await
    }

    pub(crate) async fn renew_at(
        &self,
        store: &dyn Manage,
        home: &Home,
        roles: &[&str],
    ) -> Result<Renewed, WorkError> {
        self.cosign(store, home, roles, Cosign::Here).await
    }

    /// Renew, with signatures that go to machines without network, or came back from them.
    pub(crate) async fn cosign(
        &self,
        store: &dyn Manage,
        home: &Home,
        roles: &[&str],
        cosign: Cosign<'_>,
    ) -> Result<Renewed, WorkError> {
        renew(renew::Request {
            cosign,
            collection: name(),
            anchor: self.root.clone(),
            store,
            roles: roles.iter().map(|r| r.parse().unwrap()).collect(),
            lives: crate::client::commit::AS_BEFORE,
            reseal: false,
            memories: &[home.memory()],
            without_memory: false,
            keys: &home.keys,
            clock: &self.clock,
        })
        .await
    }

    /// The live state, verified.
    pub(crate) async fn live(&self) -> Whole {
        let read = state::fetch_state(&*self.store, &name()).await.unwrap().unwrap();
        let chain = walk(&self.root, &name(), &[&read.files], &Limits::default()).unwrap();
        Whole::judge(&chain, &read.files, &name(), self.clock.now(), &Limits::default()).unwrap()
    }

    /// The live state as who holds all keys but root's can make it, whatever honest tools refuse: with
    /// `changes` to a role of theirs.
    pub(crate) async fn forged(&self, role: &RoleName, changes: &[Change]) -> Files {
        let (live, now, keys) = (
            self.live().await,
            self.clock.now(),
            Home::new(&[Home::TARGETS, Home::RELEASES, Home::ONLINE]).keys,
        );
        let view = View::of(&RoleFile::of(live.role(role).unwrap()).unwrap());
        let draft = next(&view, None, changes, &name().to_string(), now, now.plus(90 * DAY));
        let file = sign(&keys, role, live.keys(role).unwrap(), &draft).await.unwrap();
        let version = live.role(role).unwrap().version().next();
        let top = live.trusted();
        let mut pins = top.snapshot().role().pins().clone();
        pins.insert(role.clone(), FilePin::of(version, &file));
        let heading = |version: Version| Heading {
            version,
            expires: now.plus(DAY),
            extra: Extra::new(name().to_string(), now),
        };
        let online = top.timestamp().version().next();
        let root = top.root().role();
        let draft = Draft::snapshot(&heading(online), &pins);
        let snapshot = sign(&keys, &RoleName::snapshot(), root.snapshot_keys(), &draft).await.unwrap();
        let draft = Draft::timestamp(&heading(online), &FilePin::of(online, &snapshot));
        let timestamp = sign(&keys, &RoleName::timestamp(), root.timestamp_keys(), &draft).await.unwrap();
        let mut files = live.files().clone();
        files.retain(|name| name.role() != role && *name.role() != RoleName::snapshot());
        files.put(FileName::versioned(role.clone(), version), file);
        files.put(FileName::versioned(RoleName::snapshot(), online), snapshot);
        files.put(FileName::timestamp(), timestamp);
        files
    }

    /// The entries of the releases role in the live state.
    pub(crate) async fn entries(&self) -> BTreeMap<EntryName, Bundle> {
        let live = self.live().await;
        bundles(&name(), live.role(&RoleName::releases()).unwrap().role().targets()).unwrap()
    }

    pub(crate) async fn has(&self, digest: &Digest) -> bool {
        self.entries().await.contains_key(&EntryName::Release(digest.clone()))
    }

    /// Tags of submissions that lie there.
    pub(crate) async fn submissions(&self) -> usize {
        let prefix = name().submission_prefix();
        self.store.tags(None).await.unwrap().iter().filter(|t| t.as_str().starts_with(&prefix)).count()
    }

    /// What verification says of a reference, as `verdict` and failed codes.
    pub(crate) async fn verify(&self, reference: &str) -> Report {
        self.verify_with(reference, &CnabFiles::default()).await
    }

    /// The same, of a CNAB bundle to which these files must belong.
    pub(crate) async fn verify_with(&self, reference: &str, files: &CnabFiles) -> Report {
        struct One(Arc<dyn Manage>);
        #[async_trait]
        impl Places for One {
            async fn open(&self, _: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
                Ok(self.0.clone())
            }

            async fn create(&self, _: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
                Ok(self.0.clone())
            }
        }
        let scope = Scope::Repository(name().as_repository().clone());
        let mut trust = TrustFile::default();
        trust.anchors = vec![Anchor::tuf(scope, name(), self.root.clone(), vec![])];
        let fresh = tempfile::tempdir().unwrap();
        let verifier = Verifier {
            places: &One(self.store.clone()),
            trust: &trust,
            memory: fresh.path(),
            now: self.clock.now(),
            clock_override: false,
            looked: &Default::default(),
        };
        let asked = Asked { files: files.clone(), ..Asked::default() };
        verifier.verify_with(&reference.parse().unwrap(), None, &asked).await.unwrap()
    }
}
