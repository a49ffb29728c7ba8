//! CNAB-302's recoveries on the in-process registry: thieves who sign the greatest versions there are, and what is left of
//! their releases afterwards.

use std::collections::BTreeSet;

use bulla::client::audit::{self, audit};
use bulla::client::ceremony::Desk;
use bulla::client::commit::WorkError;
use bulla::client::installed::{Done as Was, Installed};
use bulla::client::renew::{self, renew};
use bulla::client::state;
use bulla::client::verify::Verifier;
use bulla::client::whole::{Whole, walk};
use bulla::oci::{Content, Reference};
use bulla::store::registry::Hosts;
use bulla::time::Clock as _;
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use bulla::tuf::proposal::{About, Edit};
use bulla::tuf::{Limits, RoleName};

use super::publishing::{Collection, Deployer, Home, ONLINE, RELEASES, TARGETS, key};
use super::thief::{self, Deed, greatest};
use super::{bundles, servers};

const ROOT: u8 = 1;
const NEW_RELEASES: u8 = 13;
const NEW_ONLINE: u8 = 14;

async fn live(c: &Collection, home: &Home) -> Whole {
    let read = state::fetch_state(&c.store(home), &c.name).await.unwrap().unwrap();
    let limits = Limits::default();
    let chain = walk(&c.root, &c.name, &[&read.files], &limits).unwrap();
    Whole::judge(&chain, &read.files, &c.name, c.time.now(), &limits).unwrap()
}

/// What a thief with the online key publishes; `release`: and with the releases key.
async fn steal(c: &Collection, release: Option<&Content>) {
    let thief = c.home(&[RELEASES, ONLINE]);
    let deed = Deed { release: release.map(Content::descriptor), own_key: None };
    thief::steal(&c.store(&thief), &c.name, &thief.keys, c.time.now(), &deed).await;
}

/// A deployer with a memory.
struct Remembering(tempfile::TempDir);

impl Remembering {
    async fn trusts(&self, c: &Collection, image: &Content) -> bool {
        let mut trust = TrustFile::default();
        let scope = Scope::Repository(c.name.as_repository().clone());
        trust.anchors.push(Anchor::tuf(scope, c.name.clone(), c.root.clone(), vec![]));
        let verifier = Verifier {
            places: &Deployer(Hosts::new(servers::config())),
            trust: &trust,
            memory: self.0.path(),
            now: c.time.now(),
            clock_override: false,
            looked: &Default::default(),
        };
        let reference: Reference = format!("{}@{}", c.name, image.digest()).parse().unwrap();
        verifier.verify(&reference, None).await.unwrap().verdict() == Verdict::Trusted
    }
}

fn swap(role: &RoleName, old: u8, new: u8) -> [Edit; 2] {
    [
        Edit::AddKey { role: role.clone(), key: key(new).public_key().clone() },
        Edit::RemoveKey { role: role.clone(), key: key(old).public_key().key_id() },
    ]
}

fn new_online_key() -> Vec<Edit> {
    [RoleName::snapshot(), RoleName::timestamp()]
        .iter()
        .flat_map(|role| swap(role, ONLINE, NEW_ONLINE))
        .collect()
}

fn about(c: &Collection, why: &str) -> About {
    About { description: why.into(), by: "owner".into(), at: c.time.now() }
}

macro_rules! desk {
    ($c:expr, $home:expr, $store:expr) => {
        Desk {
            collection: &$c.name,
            anchor: &$c.root,
            store: &$store,
            memories: std::slice::from_ref(&$home.memory),
            without_memory: false,
            keys: &$home.keys,
            clock: &*$c.time,
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_online_key_that_signed_the_greatest_version_is_replaced_through_root() {
    let c = Collection::new(false).await;
    let image = c.image("good");
    c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
    steal(&c, None).await;
    let seen = Remembering(bundles::scratch());
    assert!(seen.trusts(&c, &image).await, "the deployer remembers the greatest version");

    let owner = c.home(&[ROOT, NEW_ONLINE]);
    let store = c.store(&owner);
    c.forward(60);
    let done = desk!(c, owner, store).at_once(|_| Ok(new_online_key()), &about(&c, "stolen")).await.unwrap();
    assert!(done.worked.unwrap().installed);
    assert!(c.timestamp_version() < greatest().get());
    assert!(seen.trusts(&c, &image).await && c.trusts_digest(&image).await);
    // The thief's key is worth nothing, and the collection goes on.
    c.forward(86_500);
    let renewed = c.try_renew(&c.home(&[ONLINE])).await;
    assert!(renewed.is_err(), "renewed with the stolen key: {renewed:?}");
    let publisher = c.home(&[RELEASES, NEW_ONLINE]);
    let next = c.image("next");
    c.publish(&publisher, next.digest(), &["v2"]).await.unwrap();
    assert!(seen.trusts(&c, &next).await && c.trusts_digest(&image).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_releases_and_online_keys_are_replaced_from_a_good_state_and_the_audit_names_what_came_between()
 {
    let c = Collection::new(false).await;
    let (good, evil) = (c.image("good"), c.image("evil"));
    c.publish(&c.owner, good.digest(), &["v1"]).await.unwrap();
    let before = c.time.now();
    c.forward(3_600);
    steal(&c, Some(&evil)).await;
    let seen = Remembering(bundles::scratch());
    assert!(seen.trusts(&c, &evil).await && seen.trusts(&c, &good).await, "the thief is believed for now");

    let owner = c.home(&[ROOT, TARGETS, NEW_RELEASES, NEW_ONLINE]);
    let store = c.store(&owner);
    let desk = desk!(c, owner, store);
    let last_good = desk.remembered().await.unwrap();
    assert!(last_good.role(&RoleName::releases()).unwrap().version() < greatest());
    c.forward(60);
    let mut edits = Vec::new();
    for role in [RoleName::releases(), RoleName::revocations()] {
        edits.extend(swap(&role, RELEASES, NEW_RELEASES));
    }
    // Without new online keys, whoever saw the thief's state would refuse any other.
    let floors = desk.recover(&last_good, &edits, about(&c, "half")).await;
    let stands = |e: &_| matches!(e, bulla::client::ceremony::CeremonyError::Work(WorkError::FloorsStand));
    assert!(floors.as_ref().is_err_and(stands), "{floors:?}");
    edits.extend(new_online_key());
    let done = desk.recover(&last_good, &edits, about(&c, "stolen")).await.unwrap();
    assert!(done.worked.as_ref().is_some_and(|w| w.installed), "{:?}", done.needed);

    assert!(c.timestamp_version() < greatest().get());
    let now = live(&c, &owner).await;
    assert!(now.role(&RoleName::releases()).unwrap().version() < greatest());
    assert!(seen.trusts(&c, &good).await && !seen.trusts(&c, &evil).await, "for who saw the thief's state");
    assert!(c.trusts_digest(&good).await && !c.trusts_digest(&evil).await, "for who did not");

    // What the thief signed is named, by the key that signed it and not by the one that it says.
    let stolen = key(RELEASES).public_key().key_id();
    let installed = [Installed {
        at: c.time.now(),
        done: Was::Verified,
        reference: "x".into(),
        digest: evil.digest().clone(),
        collection: None,
    }];
    let audited = audit(audit::Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        places: vec![std::sync::Arc::new(c.store(&owner))],
        memory: &owner.memory,
        key: Some(stolen.as_str()[..8].to_owned()),
        since: None,
        installed: &installed,
        unread: 0,
        now: c.time.now(),
    })
    .await
    .unwrap();
    let one = audited.introduced.iter().find(|i| i.digest == *evil.digest()).expect("the thief's release");
    assert_eq!((one.version, one.in_line, one.keys.clone()), (greatest(), false, BTreeSet::from([stolen])));
    assert!(one.at > before && one.listed_at.is_empty() && one.present_at.len() == 1);
    assert_eq!(audited.affected(true).map(|i| &i.digest).collect::<Vec<_>>(), [evil.digest()]);

    // Fresh seals for what is good, and the collection goes on under the new keys.
    let publisher = c.home(&[NEW_RELEASES, NEW_ONLINE]);
    let store = c.store(&publisher);
    let renewed = renew(renew::Request {
        lives: bulla::client::commit::AS_BEFORE,
        cosign: renew::Cosign::Here,
        collection: c.name.clone(),
        anchor: c.root.clone(),
        store: &store,
        roles: BTreeSet::new(),
        reseal: true,
        memories: std::slice::from_ref(&publisher.memory),
        without_memory: false,
        keys: &publisher.keys,
        clock: &*c.time,
    })
    .await
    .unwrap();
    assert!(
        renewed.finished.seals.contains(good.digest()) && !renewed.finished.seals.contains(evil.digest())
    );
    let next = c.image("next");
    c.forward(60);
    c.publish(&publisher, next.digest(), &["v2"]).await.unwrap();
    assert!(seen.trusts(&c, &next).await && !seen.trusts(&c, &evil).await);
    // The evidence is carried on, although no live file names the key that signed it.
    let manifest = state::resolve_state(&c.store(&publisher), &c.name).await.unwrap().unwrap();
    let history = bulla::client::history::History::of(&manifest);
    let named: Vec<String> =
        history.layers().filter_map(|l| l.annotation("tuf.io/filename").map(str::to_owned)).collect();
    assert!(named.iter().any(|n| n.starts_with(&greatest().to_string())), "{named:?}");
    let thief = c.home(&[RELEASES, ONLINE]);
    assert!(c.publish(&thief, evil.digest(), &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stolen_root_key_is_replaced_by_the_others() {
    let c = Collection::new(false).await;
    let image = c.image("good");
    c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
    let seen = Remembering(bundles::scratch());
    assert!(seen.trusts(&c, &image).await);
    // Two of three from here on.
    let owner = c.home(&[ROOT, 21, 22, 23, ONLINE]);
    let store = c.store(&owner);
    let (desk, root) = (desk!(c, owner, store), RoleName::root());
    let add = |k: u8| Edit::AddKey { role: root.clone(), key: key(k).public_key().clone() };
    let edits = vec![add(21), add(22), Edit::Threshold { role: root.clone(), threshold: 2 }];
    c.forward(60);
    desk.at_once(|_| Ok(edits.clone()), &about(&c, "two of three")).await.unwrap();

    // The thief of the first key alone changes nothing.
    let thief = c.home(&[ROOT, 30, ONLINE]);
    let store = c.store(&thief);
    let evil = vec![Edit::AddKey { role: root.clone(), key: key(30).public_key().clone() }];
    let tried = desk!(c, thief, store).at_once(|_| Ok(evil.clone()), &about(&c, "theft")).await.unwrap();
    assert!(tried.worked.is_none(), "one of two signed, and it was committed");

    c.forward(60);
    let edits: Vec<Edit> = swap(&root, ROOT, 23).into();
    let done = desk.at_once(|_| Ok(edits.clone()), &about(&c, "one was stolen")).await.unwrap();
    assert!(done.worked.unwrap().installed);
    let now = live(&c, &owner).await;
    assert_eq!(now.trusted().root().version().get(), 3);
    let keys = now.trusted().root().role().root_keys();
    assert!(keys.threshold == 2 && !keys.keys.contains_key(&key(ROOT).public_key().key_id()));
    assert!(seen.trusts(&c, &image).await && c.trusts_digest(&image).await);
}

/// A root of the same chain that was not seen yet: replacing would forget floors that still hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_follows_from_the_remembered_one_replaces_nothing() {
    use bulla::client::anchors::TrustStore;
    use bulla::client::replace::{ReplaceError, replace};
    let c = Collection::new(false).await;
    let deployer = c.home(&[]);
    let owner = c.home(&[ROOT, TARGETS, RELEASES, ONLINE]);
    c.forward(60);
    renew(renew::Request {
        lives: bulla::client::commit::AS_BEFORE,
        cosign: renew::Cosign::Here,
        collection: c.name.clone(),
        anchor: c.root.clone(),
        store: &c.store(&owner),
        roles: BTreeSet::from([RoleName::root()]),
        reseal: false,
        memories: std::slice::from_ref(&owner.memory),
        without_memory: false,
        keys: &owner.keys,
        clock: &*c.time,
    })
    .await
    .unwrap();
    let root = live(&c, &owner).await.trusted().root().bytes().clone();
    assert_ne!(root, c.root);
    let store = TrustStore::new(deployer.dir.path().join("trust.json"));
    let scope = Scope::Repository(c.name.as_repository().clone());
    store.add(&Anchor::tuf(scope, c.name.clone(), c.root.clone(), vec![])).unwrap();
    let fingerprint = bulla::oci::Digest::sha256(&root);
    let memory = deployer.dir.path().join("memory");
    let refused = replace(&store, &memory, &c.name, &root, &fingerprint);
    assert!(matches!(refused, Err(ReplaceError::SameChain(_))), "{refused:?}");
    assert!(deployer.memory.load(&c.root).unwrap().is_some());
}

const NEW_TARGETS: u8 = 12;
const THIEFS: u8 = 66;

async fn reseal(c: &Collection, home: &Home) -> BTreeSet<bulla::oci::Digest> {
    let renewed = renew(renew::Request {
        lives: bulla::client::commit::AS_BEFORE,
        cosign: renew::Cosign::Here,
        collection: c.name.clone(),
        anchor: c.root.clone(),
        store: &c.store(home),
        roles: BTreeSet::new(),
        reseal: true,
        memories: std::slice::from_ref(&home.memory),
        without_memory: false,
        keys: &home.keys,
        clock: &*c.time,
    })
    .await
    .unwrap();
    assert!(renewed.finished.open.is_empty(), "{:?}", renewed.finished.open);
    renewed.finished.seals
}

async fn audit_by(c: &Collection, home: &Home, seed: u8, installed: &[Installed]) -> audit::Audited {
    audit(audit::Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        places: vec![std::sync::Arc::new(c.store(home))],
        memory: &home.memory,
        key: Some(key(seed).public_key().key_id().to_string()),
        since: None,
        installed,
        unread: 0,
        now: c.time.now(),
    })
    .await
    .unwrap()
}

fn here(c: &Collection, image: &Content) -> Installed {
    Installed {
        at: c.time.now(),
        done: Was::Verified,
        reference: "x".into(),
        digest: image.digest().clone(),
        collection: Some(c.name.clone()),
    }
}

/// With the targets and online keys a thief lets a key of his own sign releases, all at the greatest version.
#[tokio::test(flavor = "multi_thread")]
async fn stolen_targets_and_online_keys_are_replaced_from_a_good_state() {
    let c = Collection::new(false).await;
    let (good, evil) = (c.image("good"), c.image("evil"));
    c.publish(&c.owner, good.digest(), &["v1"]).await.unwrap();
    c.forward(3_600);
    let thief = c.home(&[TARGETS, ONLINE, THIEFS]);
    let deed = Deed { release: Some(evil.descriptor()), own_key: Some(key(THIEFS).public_key().clone()) };
    thief::steal(&c.store(&thief), &c.name, &thief.keys, c.time.now(), &deed).await;
    let seen = Remembering(bundles::scratch());
    assert!(seen.trusts(&c, &evil).await, "the thief is believed for now");

    let owner = c.home(&[ROOT, NEW_TARGETS, RELEASES, NEW_ONLINE]);
    let store = c.store(&owner);
    let desk = desk!(c, owner, store);
    let last_good = desk.remembered().await.unwrap();
    c.forward(60);
    let mut edits = new_online_key();
    edits.extend(swap(&RoleName::targets(), TARGETS, NEW_TARGETS));
    let done = desk.recover(&last_good, &edits, about(&c, "stolen")).await.unwrap();
    assert!(done.worked.as_ref().is_some_and(|w| w.installed), "{:?}", done.needed);
    let now = live(&c, &owner).await;
    assert!(now.trusted().targets().version() < greatest());
    assert!(!now.keys(&RoleName::releases()).unwrap().keys.contains_key(&key(THIEFS).public_key().key_id()));
    assert!(seen.trusts(&c, &good).await && !seen.trusts(&c, &evil).await, "for who saw the thief's state");
    assert!(c.trusts_digest(&good).await && !c.trusts_digest(&evil).await, "for who did not");
    // A role file of the thief's key is evidence, as the thief's targets delegated to it.
    let audited = audit_by(&c, &owner, THIEFS, &[here(&c, &evil)]).await;
    let one = audited.introduced.iter().find(|i| i.digest == *evil.digest()).expect("the thief's release");
    assert!(!one.in_line && one.keys.contains(&key(THIEFS).public_key().key_id()));
    assert_eq!(audited.affected(true).count(), 1);
    assert_eq!(reseal(&c, &c.home(&[RELEASES, NEW_ONLINE])).await, BTreeSet::from([good.digest().clone()]));
    // The stolen keys are worth nothing any more.
    c.forward(86_500);
    assert!(c.try_renew(&c.home(&[ONLINE])).await.is_err());
    let next = c.image("next");
    c.publish(&c.home(&[RELEASES, NEW_ONLINE]), next.digest(), &["v2"]).await.unwrap();
    assert!(seen.trusts(&c, &next).await);
}

/// The releases key alone: through targets, the root untouched. What the thief released is named, and taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_releases_key_is_replaced_through_targets_alone() {
    use bulla::client::revoke::{self, Status, What, revoke};
    let c = Collection::new(false).await;
    let (good, evil) = (c.image("good"), c.image("evil"));
    c.publish(&c.owner, good.digest(), &["v1"]).await.unwrap();
    c.forward(3_600);
    let submitted = c.publish(&c.home(&[RELEASES]), evil.digest(), &["v2"]).await.unwrap();
    assert!(submitted.commits == 0);
    c.renew(&c.home(&[ONLINE])).await;
    let seen = Remembering(bundles::scratch());
    assert!(seen.trusts(&c, &evil).await, "the job admits what the key signed");

    let owner = c.home(&[TARGETS, NEW_RELEASES, ONLINE]);
    let store = c.store(&owner);
    let root = live(&c, &owner).await.trusted().root().version();
    c.forward(60);
    let roles = [RoleName::releases(), RoleName::revocations()];
    let edits: Vec<Edit> = roles.iter().flat_map(|role| swap(role, RELEASES, NEW_RELEASES)).collect();
    let done = desk!(c, owner, store).at_once(|_| Ok(edits.clone()), &about(&c, "stolen")).await.unwrap();
    assert!(done.worked.as_ref().is_some_and(|w| w.installed), "{:?}", done.needed);
    assert_eq!(live(&c, &owner).await.trusted().root().version(), root, "the root is untouched");
    // A rotation does not unsay what was said: the audit names it, the owner takes it back.
    assert!(seen.trusts(&c, &evil).await);
    let audited = audit_by(&c, &owner, RELEASES, &[here(&c, &evil)]).await;
    assert_eq!(audited.affected(true).map(|i| &i.digest).collect::<Vec<_>>(), [evil.digest()]);
    c.forward(60);
    let done = revoke(revoke::Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        state: &store,
        store: &store,
        what: What::Bundle(bulla::oci::Selector::Digest(evil.digest().clone())),
        reason: "signed by a stolen key".into(),
        replace_unreadable: false,
        memories: std::slice::from_ref(&owner.memory),
        without_memory: false,
        keys: &owner.keys,
        clock: &*c.time,
    })
    .await
    .unwrap();
    assert_eq!(done.status, Status::Revoked);
    assert!(!seen.trusts(&c, &evil).await && seen.trusts(&c, &good).await);
    assert_eq!(reseal(&c, &owner).await, BTreeSet::from([good.digest().clone()]));
    // What the thief signs now is not admitted.
    let more = c.image("more");
    assert!(c.publish(&c.home(&[RELEASES]), more.digest(), &[]).await.is_err());
    c.renew(&owner).await;
    assert!(!seen.trusts(&c, &more).await);
}
