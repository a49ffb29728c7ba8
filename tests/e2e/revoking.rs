//! Withdrawals on the in-process registry: raced with publishers and with each other, and what a state keeps of the past.

use std::sync::Arc;

use bulla::client::commit::WorkError;
use bulla::client::history::History;
use bulla::client::revoke::{Request, RevokeError, Revoked, Status, What, revoke};
use bulla::oci::{Content, Digest, Selector, media_type};
use bulla::store::Store as _;
use bulla::trust::{Material, MaterialKind, RevocationKind, RevocationList};
use bulla::tuf::RoleName;
use bulla::tuf::proposal::Edit;
use serde_json::Value;

use super::publishing::{Collection, Home, ONLINE, RELEASES, REPO, key};

const SECURITY: u8 = 41;

async fn withdraw(c: &Collection, home: &Home, what: What, reason: &str) -> Result<Revoked, RevokeError> {
    withdraw_with(c, home, what, reason, false).await
}

async fn withdraw_with(
    c: &Collection,
    home: &Home,
    what: What,
    reason: &str,
    replace_unreadable: bool,
) -> Result<Revoked, RevokeError> {
    let store = c.store(home);
    revoke(Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        state: &store,
        store: &store,
        what,
        reason: reason.to_owned(),
        replace_unreadable,
        memories: std::slice::from_ref(&home.memory),
        without_memory: false,
        keys: &home.keys,
        clock: &*c.time,
    })
    .await
}

fn bundle(content: &Content) -> What {
    What::Bundle(Selector::Digest(content.digest().clone()))
}

/// The entries of the live revocation list.
fn list(c: &Collection) -> Vec<Value> {
    let (_, _, manifest) = c.server.manifest(REPO, &c.state_tag()).unwrap();
    let doc: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = doc["layers"].as_array().unwrap();
    let name = c.name.revocations_path();
    let layer = layers.iter().find(|l| l["annotations"]["tuf.io/filename"] == name.as_str()).unwrap();
    let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
    let list: Value = serde_json::from_slice(&c.server.blob(REPO, &digest.to_string()).unwrap()).unwrap();
    list["entries"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_release_is_refused_by_tag_and_digest_and_cannot_be_published_again() {
    let c = Collection::new(false).await;
    let (bad, good) = (c.image("bad"), c.image("good"));
    c.publish(&c.owner, bad.digest(), &["v1", "latest"]).await.unwrap();
    c.publish(&c.owner, good.digest(), &["v2"]).await.unwrap();
    c.forward(60);
    let done =
        withdraw(&c, &c.owner, What::Bundle(Selector::Tag("v1".parse().unwrap())), "CVE").await.unwrap();
    assert_eq!(done.status, Status::Revoked);
    assert_eq!(done.removed.len(), 3, "{:?}", done.removed);
    assert!(done.listed.is_empty() && done.seal.is_some() && done.lacking.is_empty());
    assert_eq!(done.entry.as_ref().unwrap().reason.as_deref(), Some("CVE"));
    assert!(!c.trusts(":v1").await && !c.trusts_digest(&bad).await && c.trusts_digest(&good).await);
    assert!(c.publish(&c.owner, bad.digest(), &["v3"]).await.is_err(), "a revoked bundle is published again");

    // Again, by digest and by tag: nothing is written.
    let live = c.tag_of(&c.state_tag());
    for what in [bundle(&bad), What::Bundle(Selector::Tag("v1".parse().unwrap()))] {
        let again = withdraw(&c, &c.owner, what, "another reason").await.unwrap();
        assert_eq!(again.status, Status::Unchanged);
    }
    assert_eq!((c.tag_of(&c.state_tag()), list(&c).len()), (live, 1));
    let unknown = withdraw(&c, &c.owner, What::Bundle(Selector::Tag("v9".parse().unwrap())), "x").await;
    assert!(matches!(unknown, Err(RevokeError::Unlisted { .. })), "{unknown:?}");

    // Undone: it may be published again.
    let id = done.entry.unwrap().id;
    let undone = withdraw(&c, &c.owner, What::Undo(id, None), "a false alarm").await.unwrap();
    assert_eq!((undone.status, list(&c).len()), (Status::Revoked, 2));
    assert!(!c.trusts_digest(&bad).await, "entries do not come back by themselves");
    c.publish(&c.owner, bad.digest(), &["v3"]).await.unwrap();
    assert!(c.trusts_digest(&bad).await);
    let nothing = withdraw(&c, &c.owner, What::Undo("0".repeat(16), None), "x").await;
    assert!(matches!(nothing, Err(RevokeError::NoEntry { .. })), "{nothing:?}");
    let undoing = undone.entry.unwrap().id;
    let twice = withdraw(&c, &c.owner, What::Undo(undoing, None), "x").await;
    assert!(matches!(twice, Err(RevokeError::Undone(_))), "{twice:?}");
}

/// The registry shows a state that is older than the one remembered, in which the tag named another bundle.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_means_what_the_newest_state_known_says() {
    let c = Collection::new(false).await;
    let (first, bad) = (c.image("first"), c.image("bad"));
    c.publish(&c.owner, first.digest(), &["v1"]).await.unwrap();
    let (_, kind, older) = c.server.manifest(REPO, &c.state_tag()).unwrap();
    c.forward(60);
    c.publish(&c.owner, bad.digest(), &["v1"]).await.unwrap();
    c.server.put_manifest(REPO, Some(&c.state_tag()), &kind, older);
    c.forward(60);
    let done =
        withdraw(&c, &c.owner, What::Bundle(Selector::Tag("v1".parse().unwrap())), "CVE").await.unwrap();
    assert_eq!((done.bundle.as_ref(), done.repaired), (Some(bad.digest()), true));
    assert!(!c.trusts_digest(&bad).await && c.trusts_digest(&first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_withdrawals_and_four_publications_at_once_lose_nothing() {
    let c = Arc::new(Collection::new(false).await);
    let homes: Arc<Vec<Home>> = Arc::new((0..4).map(|_| c.home(&[RELEASES, ONLINE])).collect());
    for round in 0..4 {
        let mut tasks = Vec::new();
        let mut images = Vec::new();
        for who in 0..4 {
            let (bad, good) =
                (c.image(&format!("bad {round} {who}")), c.image(&format!("good {round} {who}")));
            c.publish(&c.owner, bad.digest(), &[&format!("b{round}-{who}")]).await.unwrap();
            images.push((bad, good));
        }
        c.forward(60);
        for (who, (bad, good)) in images.iter().cloned().enumerate() {
            let (c, homes) = (c.clone(), homes.clone());
            tasks.push(tokio::spawn(async move {
                if who % 2 == 0 {
                    withdraw(&c, &homes[who], bundle(&bad), "bad").await.unwrap();
                } else {
                    c.publish(&homes[who], good.digest(), &[]).await.unwrap();
                    withdraw(&c, &homes[who], bundle(&bad), "bad").await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        c.forward(60);
        c.renew(&c.owner).await;
        for (who, (bad, good)) in images.iter().enumerate() {
            assert!(!c.trusts_digest(bad).await, "round {round}: {who}'s withdrawal is lost");
            assert_eq!(c.trusts_digest(good).await, who % 2 == 1, "round {round}: {who}");
        }
    }
    let ids: std::collections::BTreeSet<String> = list(&c).iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_online_key_it_waits_and_renew_admits_it() {
    let c = Collection::new(false).await;
    let bad = c.image("bad");
    c.publish(&c.owner, bad.digest(), &["v1"]).await.unwrap();
    let (security, job) = (c.home(&[RELEASES]), c.home(&[ONLINE]));
    let done = withdraw(&c, &security, bundle(&bad), "CVE").await.unwrap();
    assert_eq!((done.status, done.submitted.len()), (Status::Submitted, 2));
    assert!(c.trusts_digest(&bad).await);
    let renewed = c.renew(&job).await;
    assert_eq!(renewed.admitted.len(), 2, "{:?}", renewed.pending);
    assert!(!c.trusts_digest(&bad).await);
    assert_eq!(list(&c).len(), 1);
    let nobody = c.home(&[]);
    let refused = withdraw(&c, &nobody, bundle(&c.image("other")), "x").await;
    assert!(matches!(refused, Err(RevokeError::Work(WorkError::Sign(_)))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_never_listed_or_is_gone_can_be_taken_back() {
    let c = Collection::new(false).await;
    let gone = Digest::sha256(b"nowhere");
    let done = withdraw(&c, &c.owner, What::Bundle(Selector::Digest(gone)), "leaked").await.unwrap();
    assert!(done.status == Status::Revoked && done.absent && done.seal.is_none(), "{done:?}");
    assert_eq!(list(&c).len(), 1);
    let warned = withdraw(&c, &c.owner, What::Advisory(None), "move to v2").await.unwrap();
    assert_eq!((warned.status, list(&c).len()), (Status::Revoked, 2));
    let again = withdraw(&c, &c.owner, What::Advisory(None), "move to v2").await.unwrap();
    assert_eq!((again.status, list(&c).len()), (Status::Unchanged, 2));
}

/// The last 64 versions of a role are named by the state, and lie there.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_keeps_the_last_versions_of_its_roles_at_no_further_request() {
    let c = Collection::new(false).await;
    let store = c.store(&c.owner);
    for i in 0..80 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("{i}")).digest(), &[]).await.unwrap();
        if i % 20 == 19 {
            let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
            let past = History::of(&manifest).read(&store).await.unwrap();
            let of = past.files.iter().filter(|(role, _)| *role == RoleName::releases());
            assert_eq!((of.count(), past.missing), ((i + 1).min(63), 0));
        }
    }
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    assert!(manifest.descriptor().size < 128 * 1024, "{} bytes", manifest.descriptor().size);
    let named = History::of(&manifest);

    // Somebody names files that are not there: the next commit leaves them out, and is not refused.
    let mut doc: Value = serde_json::from_slice(manifest.bytes()).unwrap();
    for i in 0..40 {
        let junk = serde_json::json!({
            "mediaType": media_type::BULLA_HISTORY, "digest": Digest::sha256(&[i]), "size": 9,
            "annotations": {"tuf.io/filename": format!("{}.targets%2Freleases.json", 1_000 + u32::from(i))}
        });
        doc["layers"].as_array_mut().unwrap().push(junk);
    }
    let forged = serde_json::to_vec(&doc).unwrap();
    c.server.put_manifest(REPO, Some(&c.state_tag()), media_type::OCI_MANIFEST, forged);
    let last = c.image("last");
    c.publish(&c.owner, last.digest(), &[]).await.unwrap();
    assert!(c.trusts_digest(&last).await);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let past = History::of(&manifest).read(&store).await.unwrap();
    assert_eq!(past.missing, 0);
    assert!(past.files.len() >= named.len() - 1, "{} of {}", past.files.len(), named.len());
}

/// A desk with everything, for changes of keys.
macro_rules! change {
    ($c:expr, $edits:expr) => {{
        let owner = $c.home(&[1, 2, RELEASES, ONLINE, SECURITY]);
        let store = $c.store(&owner);
        let desk = bulla::client::ceremony::Desk {
            collection: &$c.name,
            anchor: &$c.root,
            store: &store,
            memories: std::slice::from_ref(&owner.memory),
            without_memory: false,
            keys: &owner.keys,
            clock: &*$c.time,
        };
        let about = bulla::tuf::proposal::About {
            description: "x".into(),
            by: String::new(),
            at: bulla::time::Clock::now(&*$c.time),
        };
        let edits: Vec<Edit> = $edits;
        assert!(desk.at_once(|_| Ok(edits.clone()), &about).await.unwrap().worked.is_some());
    }};
}

/// A security team holds the revocations, and others the releases.
async fn two_teams() -> Collection {
    let c = Collection::new(false).await;
    let role = RoleName::revocations();
    c.forward(60);
    change!(
        c,
        vec![
            Edit::AddKey { role: role.clone(), key: key(SECURITY).public_key().clone() },
            Edit::RemoveKey { role, key: key(RELEASES).public_key().key_id() },
        ]
    );
    c.renew(&c.owner).await;
    c
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_revocations_key_entries_go_and_the_tombstone_waits() {
    let c = two_teams().await;
    let bad = c.image("bad");
    c.publish(&c.owner, bad.digest(), &["v1"]).await.unwrap();
    c.forward(60);
    let done = withdraw(&c, &c.owner, bundle(&bad), "CVE").await.unwrap();
    assert_eq!((done.status, done.removed.len(), done.lacking.len()), (Status::Withdrawn, 2, 1), "{done:#?}");
    assert!(done.entry.is_none() && list(&c).is_empty() && !c.trusts_digest(&bad).await);
    // The holder of that key finishes it.
    c.forward(60);
    let security = c.home(&[SECURITY, ONLINE]);
    let done = withdraw(&c, &security, bundle(&bad), "CVE").await.unwrap();
    assert_eq!((done.status, list(&c).len()), (Status::Revoked, 1), "{done:#?}");
    // Undone and published again: an old tombstone that counts no longer is no answer to the next withdrawal.
    let id = done.entry.unwrap().id;
    withdraw(&c, &security, What::Undo(id.clone(), None), "a mistake").await.unwrap();
    c.forward(60);
    c.publish(&c.owner, bad.digest(), &["v1"]).await.unwrap();
    c.forward(60);
    let again = withdraw(&c, &c.owner, bundle(&bad), "CVE after all").await.unwrap();
    assert_eq!((again.status, again.entry.is_none()), (Status::Withdrawn, true), "{again:#?}");
    let done = withdraw(&c, &security, bundle(&bad), "CVE after all").await.unwrap();
    assert_eq!(done.status, Status::Revoked, "{done:#?}");
    assert_ne!(done.entry.unwrap().id, id);
    assert_eq!(list(&c).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_that_was_undone_can_be_given_again() {
    let c = Collection::new(false).await;
    let first = withdraw(&c, &c.owner, What::Advisory(None), "move on").await.unwrap();
    withdraw(&c, &c.owner, What::Undo(first.entry.unwrap().id, None), "x").await.unwrap();
    c.forward(60);
    let again = withdraw(&c, &c.owner, What::Advisory(None), "move on").await.unwrap();
    assert_eq!((again.status, list(&c).len()), (Status::Revoked, 3));
}

/// Roles that only agree may name another bundle by a tag than the one that readers see.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_roles_say_otherwise_is_not_guessed() {
    let c = Collection::new(false).await;
    let (seen, other) = (c.image("seen"), c.image("other"));
    let role: RoleName = "targets/alpha".parse().unwrap();
    c.forward(60);
    change!(
        c,
        vec![Edit::Delegate {
            by: RoleName::targets(),
            role: role.clone(),
            signers: bulla::tuf::Signers { keys: vec![key(SECURITY).public_key().clone()], threshold: 1 },
            paths: bulla::tuf::Paths::Patterns(vec![
                bulla::tuf::PathPattern::parse(&format!("{}:*", c.name)).unwrap()
            ]),
            terminating: false,
            place: bulla::tuf::proposal::Place::Last,
            note: None,
        }]
    );
    c.renew(&c.owner).await;
    c.publish(&c.owner, seen.digest(), &["v1"]).await.unwrap();
    let alpha = c.home(&[SECURITY, ONLINE]);
    let store = c.store(&alpha);
    c.forward(60);
    bulla::client::publish::publish(bulla::client::publish::Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        state: &store,
        store: &store,
        bundles: vec![bulla::client::publish::Wanted {
            selector: Selector::Digest(other.digest().clone()),
            tags: std::iter::once("v1".parse().unwrap()).collect(),
        }],
        role: Some(role),
        memories: std::slice::from_ref(&alpha.memory),
        without_memory: false,
        keys: &alpha.keys,
        clock: &*c.time,
    })
    .await
    .ok();
    let named = || What::Bundle(Selector::Tag("v1".parse().unwrap()));
    let refused = withdraw(&c, &c.owner, named(), "x").await;
    assert!(matches!(refused, Err(RevokeError::SeveralBundles { .. })), "{refused:?}");
    assert!(list(&c).is_empty());
}

fn material(kind: MaterialKind, subject: Digest) -> What {
    What::Material(Material { kind, subject, since: None })
}

/// The list has a role of its own: who holds its key enters signatures, keys and certificates, and needs no other; the online job admits
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_security_team_needs_no_publishers_key() {
    let c = two_teams().await;
    let (security, job) = (c.home(&[SECURITY]), c.home(&[ONLINE]));
    let subject = Digest::sha256(b"a signature");
    c.forward(60);
    for kind in [MaterialKind::Signature, MaterialKind::Key, MaterialKind::Certificate] {
        let done = withdraw(&c, &security, material(kind, subject.clone()), "stolen").await.unwrap();
        assert_eq!(
            (done.status, done.submitted.len(), done.lacking.len()),
            (Status::Submitted, 1, 0),
            "{done:#?}"
        );
        assert!(done.bundle.is_none() && done.roles.is_empty() && done.seal.is_none());
        c.forward(60);
        assert_eq!(c.renew(&job).await.admitted.len(), 1);
        c.forward(60);
        let again = withdraw(&c, &security, material(kind, subject.clone()), "another reason").await.unwrap();
        assert_eq!(again.status, Status::Unchanged, "{again:#?}");
    }
    let entries = list(&c);
    let kinds: Vec<&str> = entries.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["signature", "key", "certificate"]);
    let by = key(SECURITY).public_key().key_id();
    assert!(entries.iter().all(|e| e["by"] == by.as_str() && e["subject"] == subject.to_string().as_str()));
    // The publisher has no key of the list: nothing is signed, and who must is said.
    let refused = withdraw(&c, &c.owner, material(MaterialKind::Key, Digest::sha256(b"y")), "x").await;
    assert!(matches!(refused, Err(RevokeError::Work(WorkError::Sign(_)))), "{refused:?}");
    // Undone by its id and what it is about; of several about one subject only that one.
    let id = entries[1]["id"].as_str().unwrap().to_owned();
    c.forward(60);
    withdraw(&c, &security, What::Undo(id, Some(subject.clone())), "found again").await.unwrap();
    c.renew(&job).await;
    let bytes = serde_json::to_vec(&serde_json::json!({"schemaVersion": 1, "entries": list(&c)})).unwrap();
    let standing = RevocationList::parse(&bytes).unwrap();
    let left: Vec<RevocationKind> = standing.standing().map(|e| e.kind).collect();
    assert_eq!(left, [RevocationKind::Signature, RevocationKind::Certificate, RevocationKind::Unrevoke]);
    // An undoing is not undone.
    let undoing = list(&c).last().unwrap()["id"].as_str().unwrap().to_owned();
    let twice = withdraw(&c, &security, What::Undo(undoing, None), "x").await;
    assert!(matches!(twice, Err(RevokeError::Undone(_))), "{twice:?}");
}

/// The publisher's key is stolen: security takes it back, what rests on it is refused, and new keys end that.
#[tokio::test(flavor = "multi_thread")]
async fn a_security_team_takes_back_a_key_of_the_publishers() {
    let c = two_teams().await;
    let good = c.image("good");
    c.publish(&c.owner, good.digest(), &["v1"]).await.unwrap();
    assert!(c.trusts_digest(&good).await);
    let security = c.home(&[SECURITY, ONLINE]);
    let stolen = key(RELEASES).public_key().clone();
    c.forward(60);
    let name = format!("sha256:{}", stolen.key_id()).parse().unwrap();
    let done = withdraw(&c, &security, material(MaterialKind::Key, name), "stolen").await.unwrap();
    assert_eq!(done.status, Status::Revoked);
    let roles: Vec<(String, String, bool)> =
        done.roles.iter().map(|(role, t)| (role.to_string(), t.by.to_string(), t.stands)).collect();
    assert_eq!(roles, [("targets/releases".to_owned(), "targets".to_owned(), false)], "{done:#?}");
    assert!(!c.trusts_digest(&good).await && !c.trusts(":v1").await);
    // The thief signs on, and nobody believes him.
    let bad = c.image("bad");
    let thief = c.home(&[RELEASES, ONLINE]);
    c.forward(60);
    c.publish(&thief, bad.digest(), &["v2"]).await.unwrap();
    assert!(!c.trusts_digest(&bad).await);
    let role = RoleName::releases();
    c.forward(60);
    change!(
        c,
        vec![
            Edit::AddKey { role: role.clone(), key: key(SECURITY).public_key().clone() },
            Edit::RemoveKey { role, key: stolen.key_id() },
        ]
    );
    c.renew(&c.home(&[SECURITY, ONLINE])).await;
    assert!(c.trusts_digest(&good).await, "the role has another key");
    assert_eq!(list(&c).len(), 1, "the entry stays");
}
