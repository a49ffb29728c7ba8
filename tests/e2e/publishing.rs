//! Publishing on the in-process registry: requests counted, publishers at once, overwrites, crashes, nothing deletable.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bulla::client::commit::WorkError;
use bulla::client::init::{self, Lifetimes, init};
use bulla::client::memory::Memory;
use bulla::client::places::Places;
use bulla::client::publish::{self, PublishError, Published, Status, Wanted, publish};
use bulla::client::renew::{self, Renewed, renew};
use bulla::client::signing::OpenKeys;
use bulla::client::verify::Verifier;
use bulla::keys::{MemorySigner, Signer};
use bulla::oci::{Content, Digest, Reference, Selector, Tag, media_type};
use bulla::store::registry::{Hosts, Registry as Repository};
use bulla::store::{Manage, Store, StoreError};
use bulla::time::{Clock, UnixTime};
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use bulla::tuf::CollectionName;
use serde_json::{Value, json};

use super::bundles;
use super::servers;
use crate::registry::{Config, Fault, LostUpdate, Nth, Registry as Server};

pub(crate) const REPO: &str = "org/app";
pub(crate) const TARGETS: u8 = 2;
pub(crate) const RELEASES: u8 = 3;
pub(crate) const ONLINE: u8 = 4;

/// A clock that all installations share and tests move.
pub(crate) struct Time(pub(crate) AtomicI64);

impl Clock for Time {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn key(seed: u8) -> Arc<dyn Signer> {
    Arc::new(MemorySigner::from_seed(&[seed; 32]).unwrap())
}

/// A collection on a registry of its own.
pub(crate) struct Collection {
    pub(crate) server: Server,
    pub(crate) name: CollectionName,
    pub(crate) root: bytes::Bytes,
    pub(crate) time: Arc<Time>,
    pub(crate) owner: Home,
}

/// An installation: keys, memory, connections.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) keys: OpenKeys,
    pub(crate) hosts: Hosts,
    pub(crate) memory: Memory,
}

impl Home {
    pub(crate) fn new(name: &CollectionName, keys: &[u8]) -> Self {
        let dir = bundles::scratch();
        let memory = Memory::in_dir(&dir.path().join("memory"), name);
        Self {
            dir,
            keys: OpenKeys(keys.iter().map(|k| key(*k)).collect()),
            hosts: Hosts::new(servers::config()),
            memory,
        }
    }
}

impl Collection {
    pub(crate) async fn new(single_writer: bool) -> Self {
        let server = Server::start(Config::default()).await;
        let name: CollectionName = format!("{}/{REPO}", server.host()).parse().unwrap();
        let time = Arc::new(Time(AtomicI64::new(1_800_000_000)));
        let owner = Home::new(&name, &[RELEASES, ONLINE]);
        let store = owner.hosts.repository(name.as_repository());
        let created = init(init::Request {
            collection: name.clone(),
            store: &store,
            root_keys: vec![key(1)],
            root_threshold: 1,
            targets_key: key(TARGETS),
            releases_key: key(RELEASES),
            online_key: key(ONLINE),
            lifetimes: Lifetimes::default(),
            single_writer,
            shared_root_key: None,
            root_file: &owner.dir.path().join("1.root.json"),
            anew: None,
            memories: std::slice::from_ref(&owner.memory),
            now: time.now(),
        })
        .await
        .unwrap();
        Self { server, name, root: created.root, time, owner }
    }

    /// Another installation, which remembers what the owner remembers.
    pub(crate) fn home(&self, keys: &[u8]) -> Home {
        let home = Home::new(&self.name, keys);
        let remembered = self.owner.memory.load(&self.root).unwrap().unwrap();
        home.memory.save(&self.root, &remembered).unwrap();
        home
    }

    pub(crate) fn store(&self, home: &Home) -> Repository {
        home.hosts.repository(self.name.as_repository())
    }

    pub(crate) fn forward(&self, secs: i64) {
        self.time.0.fetch_add(secs, Ordering::SeqCst);
    }

    /// An image, placed past the client.
    pub(crate) fn image(&self, seed: &str) -> Content {
        let config = Content::new(bundles::CONFIG, format!("{{\"seed\":\"{seed}\"}}"));
        self.server.put_blob(REPO, config.bytes().clone());
        let doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor(), "layers": []
        });
        let image = Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap());
        servers::place(&self.server, REPO, None, &image);
        image
    }

    pub(crate) async fn publish(
        &self,
        home: &Home,
        digest: &Digest,
        tags: &[&str],
    ) -> Result<Published, PublishError> {
        let store = self.store(home);
        publish(publish::Request {
            collection: self.name.clone(),
            anchor: self.root.clone(),
            state: &store,
            store: &store,
            bundles: vec![Wanted {
                selector: Selector::Digest(digest.clone()),
                tags: tags.iter().map(|t| t.parse().unwrap()).collect(),
            }],
            role: None,
            memories: std::slice::from_ref(&home.memory),
            without_memory: false,
            keys: &home.keys,
            clock: &*self.time,
        })
        .await
    }

    pub(crate) async fn renew(&self, home: &Home) -> Renewed {
        self.try_renew(home).await.unwrap()
    }

    pub(crate) async fn try_renew(&self, home: &Home) -> Result<Renewed, WorkError> {
        let store = self.store(home);
        renew(renew::Request {
            lives: bulla::client::commit::AS_BEFORE,
            cosign: renew::Cosign::Here,
            collection: self.name.clone(),
            anchor: self.root.clone(),
            store: &store,
            roles: BTreeSet::new(),
            reseal: false,
            memories: std::slice::from_ref(&home.memory),
            without_memory: false,
            keys: &home.keys,
            clock: &*self.time,
        })
        .await
    }

    /// Whether a deployer who never saw the collection trusts `:tag` or `@digest`.
    pub(crate) async fn trusts(&self, selector: &str) -> bool {
        let mut trust = TrustFile::default();
        let scope = Scope::Repository(self.name.as_repository().clone());
        trust.anchors.push(Anchor::tuf(scope, self.name.clone(), self.root.clone(), vec![]));
        let fresh = bundles::scratch();
        let verifier = Verifier {
            places: &Deployer(Hosts::new(servers::config())),
            trust: &trust,
            memory: fresh.path(),
            now: self.time.now(),
            clock_override: false,
            looked: &Default::default(),
        };
        let reference: Reference = format!("{}{selector}", self.name).parse().unwrap();
        verifier.verify(&reference, None).await.unwrap().verdict() == Verdict::Trusted
    }

    pub(crate) async fn trusts_digest(&self, content: &Content) -> bool {
        self.trusts(&format!("@{}", content.digest())).await
    }

    pub(crate) fn tag_of(&self, tag: &str) -> Option<String> {
        self.server.tags(REPO).into_iter().find(|(t, _)| t == tag).map(|(_, d)| d)
    }

    pub(crate) fn submissions(&self) -> Vec<String> {
        let prefix = self.name.submission_prefix();
        self.server.tags(REPO).into_iter().map(|(t, _)| t).filter(|t| t.starts_with(&prefix)).collect()
    }

    pub(crate) fn state_tag(&self) -> String {
        self.name.state_tag().to_string()
    }

    pub(crate) fn timestamp_version(&self) -> u64 {
        let (_, _, manifest) = self.server.manifest(REPO, &self.state_tag()).unwrap();
        timestamp_version(&manifest)
    }
}

pub(crate) struct Deployer(pub(crate) Hosts);

#[async_trait]
impl Places for Deployer {
    async fn open(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        match reference {
            Reference::Registry(r) => Ok(Arc::new(self.0.repository(&r.repository))),
            Reference::Layout(_) | Reference::Archive(_) => panic!("no layout here"),
        }
    }

    async fn create(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        self.open(reference).await
    }
}

/// The version of the timestamp embedded in a state's manifest.
fn timestamp_version(manifest: &[u8]) -> u64 {
    use base64::Engine as _;
    let doc: Value = serde_json::from_slice(manifest).unwrap();
    let layers = doc["layers"].as_array().unwrap();
    let layer = layers.iter().find(|l| l["annotations"]["tuf.io/filename"] == "timestamp.json").unwrap();
    let data = base64::engine::general_purpose::STANDARD.decode(layer["data"].as_str().unwrap()).unwrap();
    let file: Value = serde_json::from_slice(&data).unwrap();
    file["signed"]["version"].as_u64().unwrap()
}

/// One publication by a new process, its requests counted.
async fn count(c: &Collection, bundle: &Content) -> usize {
    let home = c.home(&[RELEASES, ONLINE]);
    c.forward(60);
    c.server.clear();
    let done = c.publish(&home, bundle.digest(), &[]).await.unwrap();
    assert_eq!((done.status, done.commits), (Status::Released, 1));
    let requests = c.server.requests().len();

    assert!(c.trusts_digest(bundle).await);
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn one_publication_stays_within_its_budget_of_requests() {
    let c = Collection::new(false).await;
    for i in 0..50 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("old {i}")).digest(), &[]).await.unwrap();
    }
    assert_eq!(c.submissions().len(), 50);
    for (fallback, budget) in [(false, 18), (true, 21)] {
        c.server.quirks(|q| q.no_referrers_api = fallback);
        let image = c.image(&format!("new {fallback}"));
        let n = count(&c, &image).await;
        assert!(n <= budget, "fallback {fallback}: {n} requests, at most {budget}\n{}", c.server.log());
        let store = c.store(&c.owner);
        let cnab = bundles::cnab(&store, &format!("new {fallback}")).await;
        store.push_manifest(&cnab, None).await.unwrap();
        let n = count(&c, &cnab).await;
        assert!(n <= budget + 2, "fallback {fallback}, CNAB: {n} requests\n{}", c.server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_publishers_at_once_lose_nothing_though_commits_are_overwritten() {
    let c = Arc::new(Collection::new(false).await);
    let homes: Arc<Vec<Home>> = Arc::new((0..4).map(|_| c.home(&[RELEASES, ONLINE])).collect());
    let served = Arc::new(Mutex::new(Vec::new()));
    let (tag, seen) = (c.state_tag(), served.clone());
    c.server.hook(move |request, state| {
        if request.method == "PUT" && request.path.ends_with(&tag) {
            let live = state.manifest(REPO, &tag).map(|(_, m)| timestamp_version(&m.bytes));
            seen.lock().unwrap().extend(live);
        }
    });
    let conflicts = Arc::new(AtomicU64::new(0));
    let mut all = Vec::new();
    for round in 0..10 {
        c.forward(60);
        if round % 2 == 0 {
            // The first commit of this round is overwritten after its writer has read it back.
            c.server.lose(LostUpdate::new(REPO, &c.state_tag(), Nth::Only(1), 1));
        }
        let mut tasks = Vec::new();
        for who in 0..4 {
            let image = c.image(&format!("{round} {who}"));
            all.push((image.clone(), format!("t{round}-{who}")));
            let (c, homes, conflicts) = (c.clone(), homes.clone(), conflicts.clone());
            tasks.push(tokio::spawn(async move {
                let tag = format!("t{round}-{who}");
                let done = c.publish(&homes[who], image.digest(), &[&tag]).await.unwrap();
                conflicts.fetch_add((done.commits.saturating_sub(1) + done.merged) as u64, Ordering::SeqCst);
                assert_eq!(done.pending, vec![]);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(c.server.overwrites(), 5, "each forced overwrite took place");
    c.forward(60);
    c.renew(&c.owner).await;
    for (image, tag) in &all {
        assert!(c.trusts_digest(image).await, "{tag} is lost");
        assert_eq!(c.tag_of(tag), Some(image.digest().to_string()));
        assert!(c.trusts(&format!(":{tag}")).await, "{tag} is not trusted");
    }
    let seen = conflicts.load(Ordering::SeqCst) + c.server.overwrites();
    assert!(seen > 10, "only {seen} conflicts");
    let highest = served.lock().unwrap().iter().copied().max().unwrap();
    assert!(c.timestamp_version() >= highest, "the live timestamp is below what was served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_request_is_finished_by_a_renewal() {
    let c = Collection::new(false).await;
    let measure = c.image("measure");
    c.publish(&c.owner, measure.digest(), &["m"]).await.unwrap();
    c.server.clear();
    let warm = c.image("warm");
    c.publish(&c.owner, warm.digest(), &["w"]).await.unwrap();
    let requests = c.server.requests().len() as u64;
    assert!(requests > 15);
    let mut released = vec![measure, warm];
    let mut admitted = 0;
    // At each request: it fails and all after it; or it takes effect, and its answer and all after it are lost.
    for (k, performed) in (1..=requests).flat_map(|k| [(k, false), (k, true)]) {
        c.forward(60);
        let (image, tag) = (c.image(&format!("crash {k} {performed}")), format!("crash{k}-{performed}"));
        let home = c.home(&[RELEASES, ONLINE]);
        let before = c.submissions().len();
        let first = Fault::on("*", "*").nth(Nth::Only(k)).status(400);
        c.server.fault(if performed { first.performed() } else { first });
        c.server.fault(Fault::on("*", "*").nth(Nth::From(k + 1)).status(400));
        let result = c.publish(&home, image.digest(), &[&tag]).await;
        c.server.behave();
        assert!(result.map_or(true, |p| p.status == Status::Incomplete), "request {k} did not matter");
        let submitted = c.submissions().len() > before;
        c.renew(&c.owner).await;
        if submitted {
            admitted += 1;
            assert!(
                c.trusts(&format!(":{tag}")).await,
                "crash at {k}: submitted, and not released by the renewal"
            );
            let seals =
                c.store(&c.owner).referrers(image.digest(), Some(media_type::BULLA_SEAL)).await.unwrap();
            assert!(!seals.is_empty(), "crash at {k}: no seal");
        }
        let again = c.publish(&home, image.digest(), &[&tag]).await.unwrap();
        assert_eq!(again.status, Status::Released, "crash at {k}");
        released.push(image);
    }
    assert!(admitted > 5, "{admitted}");
    for image in released.iter().step_by(3) {
        assert!(c.trusts_digest(image).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_deleted_a_hundred_publications_do_no_harm() {
    let c = Collection::new(false).await;
    c.server.quirks(|q| (q.deletion_disabled, q.tag_deletion_unsupported) = (true, true));
    let job = c.home(&[ONLINE]);
    let mut images = Vec::new();
    let mut most = 0;
    for i in 0..100 {
        c.forward(3_700);
        let image = c.image(&format!("{i}"));
        c.server.clear();
        c.publish(&c.owner, image.digest(), &[]).await.unwrap();
        most = most.max(c.server.requests().len());
        images.push(image);
        if i % 25 == 24 {
            let renewed = c.renew(&job).await;
            assert_eq!((renewed.deleted.len(), renewed.pending.len()), (0, 0), "{:?}", renewed.finished);
        }
    }
    assert!(c.submissions().len() >= 100);
    // Files that no longer fit into the manifest cost a request more.
    assert!(most <= 21, "{most} requests\n{}", c.server.log());
    for image in images.iter().step_by(9).chain(images.last()) {
        assert!(c.trusts_digest(image).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_of_people_without_the_online_key_are_admitted_and_tidied() {
    let c = Collection::new(false).await;
    let (p, q, job) = (c.home(&[RELEASES]), c.home(&[RELEASES]), c.home(&[ONLINE]));
    let mut images = Vec::new();
    for i in 0..6 {
        let (image, tag) = (c.image(&format!("{i}")), format!("v{i}"));
        let home = if i % 2 == 0 { &p } else { &q };
        let done = c.publish(home, image.digest(), &[&tag]).await.unwrap();
        assert_eq!(done.status, Status::Submitted);
        images.push((image, tag));
        c.forward(30);
    }
    let renewed = c.renew(&job).await;
    assert_eq!((renewed.status, renewed.admitted.len()), (renew::Status::Renewed, 6));
    for (image, tag) in &images {
        assert!(c.trusts(&format!(":{tag}")).await);
        assert!(c.trusts_digest(image).await);
    }
    c.forward(4_000);
    let tidied = c.renew(&job).await;
    assert_eq!((tidied.deleted.len(), c.submissions().len(), tidied.commits), (6, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_404_does_not_hide_a_submission_that_waits() {
    let c = Collection::new(false).await;
    let (publisher, job) = (c.home(&[RELEASES]), c.home(&[ONLINE]));
    c.publish(&publisher, c.image("x").digest(), &["v1"]).await.unwrap();
    let waiting = format!("*/manifests/{}", c.submissions().remove(0));
    c.server.fault(Fault::on("GET", &waiting).nth(Nth::Only(1)).status(404));
    assert_eq!(c.renew(&job).await.admitted.len(), 1);
    assert!(c.trusts(":v1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_submission_put_back_does_nothing() {
    let c = Collection::new(false).await;
    let first = c.image("first");
    c.publish(&c.owner, first.digest(), &["v1"]).await.unwrap();
    let tag = c.submissions().remove(0);
    let (_, kind, bytes) = c.server.manifest(REPO, &tag).unwrap();
    for i in 0..100 {
        c.forward(3_700);
        c.publish(&c.owner, c.image(&format!("{i}")).digest(), &["v1"]).await.unwrap();
    }
    c.forward(3_700);
    c.renew(&c.owner).await;
    assert!(!c.submissions().contains(&tag));
    c.server.put_manifest(REPO, Some(&tag), &kind, bytes);
    let live = c.tag_of(&c.state_tag());
    let renewed = c.renew(&c.owner).await;
    assert_eq!(renewed.admitted, vec![]);
    assert_eq!(c.tag_of(&c.state_tag()), live);
    assert_ne!(c.tag_of("v1"), Some(first.digest().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_writer_submits_nothing() {
    let c = Collection::new(true).await;
    let image = c.image("x");
    c.server.clear();
    let done = c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
    assert_eq!((done.status, done.submitted.len(), c.submissions().len()), (Status::Released, 0, 0));
    assert_eq!(c.server.count("GET", "*/tags/list*"), 0);
    assert!(c.trusts(":v1").await);
    let half = c.home(&[RELEASES]);
    assert!(c.publish(&half, c.image("y").digest(), &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_move_last_and_only_to_what_the_state_says() {
    let c = Collection::new(false).await;
    let image = c.image("x");
    c.server.clear();
    c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
    let position = |method: &str, path: &str| c.server.requests().iter().rposition(|r| r.is(method, path));
    let tag: Tag = "v1".parse().unwrap();
    let (state, moved) = (format!("*/manifests/{}", c.state_tag()), format!("*/manifests/{tag}"));
    let seal = position("PUT", "*/manifests/sha256:*");
    assert!(position("PUT", &state) < seal && seal < position("PUT", &moved));
    assert!(position("PUT", &moved) < position("GET", &state), "the state is read again after the last tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_on_a_state_read_ten_minutes_ago() {
    let c = Collection::new(false).await;
    let image = c.image("x");
    let (time, late) = (c.time.clone(), AtomicU64::new(0));
    // The laptop sleeps while the second blob, the snapshot, is uploaded.
    c.server.hook(move |request, _| {
        let stores = ["PUT", "POST"].contains(&request.method.as_str()) && request.path.contains("digest=");
        if stores && request.path.contains("/blobs/") && late.fetch_add(1, Ordering::SeqCst) == 1 {
            time.0.fetch_add(601, Ordering::SeqCst);
        }
    });
    c.server.clear();
    let done = c.publish(&c.owner, image.digest(), &[]).await.unwrap();
    assert_eq!((done.status, done.commits), (Status::Released, 1));
    assert_eq!(c.server.count("GET", "*/tags/list*"), 3, "{}", c.server.log());
    assert_eq!(c.server.count("PUT", &format!("*/manifests/{}", c.state_tag())), 1);
    let version = i64::try_from(c.timestamp_version()).unwrap();
    assert!(version >= c.time.now().secs(), "signed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_shows_the_old_state_for_a_while_is_waited_for() {
    let c = Collection::new(false).await;
    c.server.quirks(|q| q.stale_reads = 3);
    for i in 0..3 {
        let image = c.image(&format!("{i}"));
        c.server.clear();
        let done = c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
        assert_eq!((done.status, done.commits), (Status::Released, 1), "{}", c.server.log());
        assert_eq!(c.tag_of("v1"), Some(image.digest().to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_submissions_that_cannot_be_had_is_not_an_empty_one() {
    let c = Collection::new(false).await;
    let image = c.image("x");
    let live = c.tag_of(&c.state_tag());
    for status in [401, 403, 404, 429, 500] {
        c.server.fault(Fault::on("GET", "*/tags/list*").status(status));
        let result = c.publish(&c.owner, image.digest(), &[]).await;
        assert!(matches!(result, Err(PublishError::Work(WorkError::Store(_)))), "{status}: {result:?}");
        c.server.behave();
    }
    assert_eq!((c.tag_of(&c.state_tag()), c.submissions().len()), (live, 0));
}

/// On a registry without the API whoever wrote a list waits before he reads it back: once for all seals.
#[tokio::test(flavor = "multi_thread")]
async fn all_seals_of_one_renewal_are_read_back_together() {
    let c = Collection::new(false).await;
    c.server.quirks(|q| (q.no_referrers_api, q.no_oci_subject) = (true, true));
    let publisher = c.home(&[RELEASES]);
    let images: Vec<Content> = (0..10).map(|n| c.image(&format!("sealed {n}"))).collect();
    for image in &images {
        c.forward(60);
        c.publish(&publisher, image.digest(), &[]).await.unwrap();
    }
    c.server.clear();
    assert_eq!(c.renew(&c.owner).await.finished.seals.len(), 10);
    let requests = c.server.requests();
    let at = |method: &str, tag: &str| -> Vec<usize> {
        let is = |r: &&crate::registry::Request| r.method == method && r.path.ends_with(tag);
        requests.iter().filter(is).map(|r| r.number).collect()
    };
    let tags: Vec<String> = images.iter().map(|i| i.digest().referrers_tag()).collect();
    let written = tags.iter().map(|tag| at("PUT", tag)[0]).max().unwrap();
    for tag in &tags {
        let put = at("PUT", tag)[0];
        let back = at("GET", tag).into_iter().find(|n| *n > put).unwrap();
        assert!(back > written, "{}", c.server.log());
    }
}
