//! `revoke`: a bundle is taken back. Its entries go, and a signed tombstone stays, which beats whatever still lists it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::commit::recalled::Beside;
use super::commit::{Committer, Concern, Intents, Job, Pending, Refusal, WorkError, Worked};
use super::duties::{Duty, Open, hang_seals, look};
use super::known::Known;
use super::memory::Memory;
use super::signing::{KeyRing, SignError};
use super::whole::{Whole, walk_on};
use crate::keys::{KeyError, random_id};
use crate::oci::{Algorithm, Digest, Reference, Selector, Tag};
use crate::sig::KeyId;
use crate::store::{Manage, Store, StoreError};
use crate::time::{Clock, UnixTime};
use crate::trust::{RevocationEntry, RevocationKind, RevocationList, Revoke};
use crate::tuf::lineage::{Change, View};
use crate::tuf::{CollectionName, EntryName, Fault, Files, Limits, Listing, Recall, RoleName, Version};

/// What `revoke` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state lies.
    pub state: &'a dyn Manage,
    /// Where the bundle lies; often the same place.
    pub store: &'a dyn Manage,
    /// What is entered.
    pub what: What,
    /// Why.
    pub reason: String,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What is entered into the revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// This bundle is taken back.
    Bundle(Selector),
    /// A warning of this bundle; without one, of the whole collection.
    Advisory(Option<Selector>),
    /// The entry with this id counts no longer.
    Undo(String),
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The whole.
    pub status: Status,
    /// The collection.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of the state's manifest that was read last.
    pub digest: Digest,
    /// The bundle.
    pub bundle: Option<Digest>,
    /// The entry in the revocation list, once it is there.
    pub entry: Option<RevocationEntry>,
    /// Entries that were there before and are not now.
    pub removed: BTreeSet<String>,
    /// Entries of the bundle that are still there.
    pub listed: BTreeSet<String>,
    /// What was signed.
    pub signed: BTreeMap<RoleName, (Version, UnixTime)>,
    /// Roles whose keys are not here and that were to be changed.
    pub lacking: Vec<SignError>,
    /// The seal that was hung on the bundle, so that copies made by other tools say it too.
    pub seal: Option<Digest>,
    /// Whether the bundle is not in its repository, so that no seal was hung.
    pub absent: bool,
    /// Submissions PUT here.
    pub submitted: Vec<Tag>,
    /// Submissions that are not in.
    pub pending: Vec<Pending>,
    /// What is still to be done.
    pub open: Vec<Open>,
    /// Whether the live state was older than the memory, or gone, and was put right.
    pub repaired: bool,
}

/// How a withdrawal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In the state that was read back.
    Revoked,
    /// It was there already; nothing was written.
    Unchanged,
    /// Signed and waiting for the online key.
    Submitted,
    /// The entries went; the tombstone waits for another key.
    Withdrawn,
    /// In the state; the seal is missing.
    Incomplete,
}

/// Why nothing was taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The collection says nothing of the tag.
    #[error("{collection} has no entry for the tag {tag}")]
    Unlisted {
        /// The collection.
        collection: CollectionName,
        /// The tag.
        tag: Tag,
    },
    /// Its digest is not sha256.
    #[error("{0}: only sha256 digests are supported")]
    Algorithm(Digest),
    /// There is no such entry.
    #[error("the revocation list of {collection} has no entry {id}")]
    NoEntry {
        /// The collection.
        collection: CollectionName,
        /// The id.
        id: String,
    },
    /// What an entry undid stays undone; a new entry takes a bundle back again.
    #[error("entry {0} undoes another one, and cannot be undone itself")]
    Undone(String),
    /// Targets does not delegate the role, so nobody would read a list.
    #[error("{0} has no revocation role")]
    NoRole(CollectionName),
    /// The commit failed.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The place of the bundle failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random numbers.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Take back, warn, or undo.
///
/// # Errors
/// See [`RevokeError`]. What was pushed before stays and does no harm; the same call finishes it.
pub async fn revoke(request: Request<'_>) -> Result<Revoked, RevokeError> {
    let (store, state) = (Known::new(request.store), Known::new(request.state));
    let same = request.state.place().at(None) == request.store.place().at(None);
    let store = if same { &state } else { &store };
    let (collection, now) = (&request.collection, request.clock.now());
    let before = look(&state, collection, &request.anchor, now).await?.map(|l| l.whole);
    // An older state than the one remembered names another bundle by a tag: what is live is put right from the memory.
    let remembered = remembered(&request, before.as_ref(), now)?;
    let newest = remembered.iter().fold(before.as_ref(), |best, w| match best {
        Some(best) if !best.is_below(w) => Some(best),
        _ => Some(w),
    });
    let read = newest.map_or(Ok(None), |w| list_of(w, collection));
    // Entries can be taken out although the list cannot be read; what is in it cannot be undone.
    let list = match (&request.what, read) {
        (What::Undo(_), Err(e)) => return Err(WorkError::from(e).into()),
        (_, read) => read.ok().flatten(),
    };
    let digest = match &request.what {
        What::Bundle(selector) | What::Advisory(Some(selector)) => {
            Some(resolve(&request, store, newest, list.as_ref(), selector).await?)
        }
        What::Advisory(None) | What::Undo(_) => None,
    };
    if let What::Undo(id) = &request.what {
        match list.iter().flat_map(|l| l.entries()).find(|e| e.id == *id) {
            None => return Err(RevokeError::NoEntry { collection: collection.clone(), id: id.clone() }),
            Some(entry) if entry.kind == RevocationKind::Unrevoke => {
                return Err(RevokeError::Undone(id.clone()));
            }
            Some(_) => {}
        }
    }
    let entry = match (&request.what, &digest) {
        (What::Bundle(_), Some(digest)) => Revoke::Tombstone(digest.clone()),
        (What::Undo(id), _) => Revoke::Undo(id.clone()),
        _ => Revoke::Advisory(digest.clone()),
    };
    let withdrawn = digest.as_ref().filter(|_| matches!(request.what, What::Bundle(_)));
    let intents =
        Withdrawal { collection, withdrawn, entry: &entry, reason: &request.reason, id: random_id()? };
    let committer = Committer {
        place: &state,
        collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: request.without_memory,
        keys: request.keys,
        clock: request.clock,
    };
    let none = BTreeSet::new();
    let mut worked =
        committer.work(&Job { intents: Some(&intents), forced: &none, repair: false, install: None }).await?;
    let role = RoleName::revocations();
    if worked.last.role(&role).is_none() && withdrawn.is_none() {
        return Err(RevokeError::NoRole(collection.clone()));
    }
    // Nothing could be signed at all: that is no withdrawal.
    if worked.signed.keys().all(RoleName::is_top_level)
        && let Some(lacking) = worked.lacking.pop()
    {
        return Err(WorkError::from(lacking).into());
    }
    let mut revoked = outcome(&request, worked.clone(), before.as_ref(), withdrawn, &entry);
    if let Some(digest) = withdrawn.filter(|_| worked.online) {
        match fresh_seal(store, &worked, collection, digest).await {
            Ok(seal) => (revoked.seal, revoked.absent) = (seal.clone(), seal.is_none()),
            Err(WorkError::Store(error)) => {
                revoked.open.push(Open { duty: Duty::Seal(digest.clone()), error });
                revoked.status = revoked.status.max(Status::Incomplete);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(revoked)
}

/// The revocation lists that were signed under a root: of the live state, and of what is remembered.
///
/// # Errors
/// The place, the memory or a list cannot be read; or a state lies there that does not verify, and none is remembered that says
/// what was revoked.
pub async fn list_under(
    store: &dyn Manage,
    collection: &CollectionName,
    root: &Bytes,
    memories: &[Memory],
    now: UnixTime,
) -> Result<Vec<Bytes>, String> {
    let place = Known::new(store);
    let live = match look(&place, collection, root, now).await {
        Ok(live) => Ok(live.map(|l| l.whole)),
        Err(WorkError::Store(e)) => return Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let offered: Vec<&Files> = live.iter().flatten().map(Whole::files).collect();
    let known = Memory::load_all(memories, root, &offered).map_err(|e| e.to_string())?;
    let recalled = Recall::of(known.as_ref(), collection, now, &Limits::default()).state();
    let recalled = recalled.map_err(|e| format!("the remembered state: {e}"))?;
    let mut lists = Vec::new();
    // Whatever else the memory lacks, and whatever keys were rotated since.
    let remembered = match recalled.as_ref().map(|state| (state, state.revocations(collection))) {
        None => false,
        Some((_, Listing::Undelegated)) => true,
        Some((_, Listing::List(list))) => {
            lists.push(list);
            true
        }
        Some((state, Listing::Missing(e))) => {
            let floor = |live: &Whole| state.floor(live.trusted().root().role());
            let newer = |live: &Whole| floor(live).is_none_or(|f| f.fallen(live.trusted()).is_none());
            let unlisted = matches!(e.fault, Fault::NotListed(_));
            if !unlisted && !live.iter().flatten().any(newer) {
                return Err(format!("the remembered state: {e}"));
            }
            unlisted
        }
    };
    match live {
        Ok(Some(live)) => {
            if list_of(&live, collection).map_err(|e| e.to_string())?.is_some() {
                lists.extend(live.files().target(&collection.revocations_path()).cloned());
            }
        }
        Ok(None) => {}
        Err(_) if remembered => {}
        Err(e) => return Err(e),
    }
    Ok(lists)
}

/// What is remembered, where it verifies: an older live state is put right from it.
///
/// # Errors
/// See [`WorkError`]: what is remembered is newer than what is live, and cannot be read whole.
fn remembered(
    request: &Request<'_>,
    live: Option<&Whole>,
    now: UnixTime,
) -> Result<Option<Whole>, WorkError> {
    let (collection, limits) = (&request.collection, Limits::default());
    let offered: Vec<&Files> = live.iter().map(|w| w.files()).collect();
    let known = Memory::load_all(request.memories, &request.anchor, &offered)?;
    let roots = known.as_ref().map(|k| &k.files);
    let chain = walk_on(&request.anchor, collection, roots, &offered, &limits)?;
    let recall = Recall::of(known.as_ref(), collection, now, &limits);
    let beside = Beside::new(recall, &chain, offered, collection, now)?;
    beside.check(live)?;
    Ok(beside.memory)
}

/// The revocation list of a state; none where none is listed.
///
/// # Errors
/// [`Refusal::Revocations`]: one is listed, and missing or unreadable.
pub(super) fn list_of(whole: &Whole, collection: &CollectionName) -> Result<Option<RevocationList>, Refusal> {
    let path = collection.revocations_path();
    let role = whole.role(&RoleName::revocations());
    let Some(target) = role.and_then(|r| r.role().targets().get(&path)) else { return Ok(None) };
    let missing = || Refusal::Revocations("it is listed, and missing or another".into());
    let bytes = whole.files().target(&path).filter(|b| target.check(b).is_ok()).ok_or_else(missing)?;
    RevocationList::parse(bytes).map(Some).map_err(Refusal::Revocations)
}

/// The paths under which the roles of a state list a bundle.
fn listed(whole: &Whole, collection: &CollectionName, digest: &Digest) -> BTreeSet<String> {
    let files = whole.roles().values().flat_map(|at| at.file.role().targets());
    let names = |(path, target): &(&String, &crate::tuf::Target)| {
        collection.entry(path).is_some() && target.sha256() == Some(digest.hex())
    };
    files.filter(names).map(|(path, _)| path.clone()).collect()
}

/// The digest that is meant. A tag means what the collection says of it, not what the registry names now.
async fn resolve(
    request: &Request<'_>,
    store: &Known<'_>,
    before: Option<&Whole>,
    list: Option<&RevocationList>,
    selector: &Selector,
) -> Result<Digest, RevokeError> {
    let digest = match selector {
        Selector::Digest(digest) | Selector::Both(_, digest) => digest.clone(),
        Selector::Tag(tag) => {
            let path = request.collection.tag_path(tag);
            let files = before.iter().flat_map(|w| w.roles().values());
            let named = files.filter_map(|at| at.file.role().targets().get(&path)?.sha256()).next();
            match named.and_then(|hex| format!("sha256:{hex}").parse().ok()) {
                Some(digest) => digest,
                // Run again after it was done: the tag has no entry any more.
                None => {
                    let there = store.resolve(&Selector::Tag(tag.clone())).await?;
                    let done = there.filter(|c| list.is_some_and(|l| l.revokes(c.digest()).is_some()));
                    let (collection, tag) = (request.collection.clone(), tag.clone());
                    done.map(|c| c.digest().clone()).ok_or(RevokeError::Unlisted { collection, tag })?
                }
            }
        }
    };
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest),
        _ => Err(RevokeError::Algorithm(digest)),
    }
}

/// The entries that go, and the one that comes.
struct Withdrawal<'a> {
    collection: &'a CollectionName,
    withdrawn: Option<&'a Digest>,
    entry: &'a Revoke,
    reason: &'a str,
    /// Of this withdrawal: whoever publishes the bundle again overrides it by name.
    id: String,
}

impl Intents for Withdrawal<'_> {
    fn role(&self) -> RoleName {
        RoleName::revocations()
    }

    fn concern(&self, role: &RoleName) -> Concern {
        match role.as_str() {
            "targets" => Concern::No,
            // An advisory is nothing without the key; a tombstone may follow.
            _ if *role == self.role() && self.withdrawn.is_none() => Concern::Must,
            _ => Concern::May,
        }
    }

    fn changes(&self, _: &[&Whole], view: &View, _: &KeyId, _: UnixTime) -> Result<Vec<Change>, Refusal> {
        let Some(digest) = self.withdrawn else { return Ok(Vec::new()) };
        let entries = view.content().entries().iter();
        let of_bundle = entries.filter(|(path, entry)| {
            let named = match self.collection.entry(path) {
                Some(EntryName::Tag(_) | EntryName::Release(_)) => entry.sha256() == Some(digest.hex()),
                None => false,
            };
            named && entry.has_claim()
        });
        Ok(of_bundle.map(|(path, _)| Change::Withdraw { path: path.clone(), id: self.id.clone() }).collect())
    }

    fn revocations(&self, list: &RevocationList, by: &KeyId, at: UnixTime) -> Vec<Value> {
        let there = match self.entry {
            Revoke::Tombstone(digest) => list.revokes(digest).is_some(),
            Revoke::Advisory(digest) => {
                let same = |e: &RevocationEntry| {
                    e.kind == RevocationKind::Advisory
                        && e.digest == *digest
                        && e.reason.as_deref() == Some(self.reason)
                };
                list.entries().iter().any(same)
            }
            Revoke::Undo(id) => list.entries().iter().any(|e| e.undoes.as_ref() == Some(id)),
        };
        if there { Vec::new() } else { vec![self.entry.to_json(by, at, self.reason)] }
    }
}

/// Hang a seal of the new state on the bundle; `None` when it is not here.
async fn fresh_seal(
    store: &Known<'_>,
    worked: &Worked,
    collection: &CollectionName,
    digest: &Digest,
) -> Result<Option<Digest>, WorkError> {
    let Some(content) = store.resolve(&Selector::Digest(digest.clone())).await? else { return Ok(None) };
    let subject = (content.descriptor().bare(), BTreeSet::new());
    let hung = hang_seals(store, &worked.last, collection, &[subject]).await?;
    Ok(hung.into_iter().next().transpose()?)
}

fn outcome(
    request: &Request<'_>,
    worked: Worked,
    before: Option<&Whole>,
    withdrawn: Option<&Digest>,
    entry: &Revoke,
) -> Revoked {
    let collection = &request.collection;
    // One that cannot be read shows no entry: the tombstone then counts as waiting, never as in.
    let list = list_of(&worked.last, collection).ok().flatten();
    let there = |e: &&RevocationEntry| match entry {
        Revoke::Tombstone(digest) => e.digest.as_ref() == Some(digest) && e.kind != RevocationKind::Advisory,
        Revoke::Advisory(digest) => {
            e.digest == *digest
                && e.kind == RevocationKind::Advisory
                && e.reason.as_deref() == Some(&request.reason)
        }
        Revoke::Undo(id) => e.undoes.as_ref() == Some(id),
    };
    let found = list.as_ref().and_then(|l| l.entries().iter().find(there)).cloned();
    let (mut removed, mut left) = (BTreeSet::new(), BTreeSet::new());
    if let Some(digest) = withdrawn {
        left = listed(&worked.last, collection, digest);
        let first = worked.first.as_ref().or(before);
        removed = first.map(|w| listed(w, collection, digest)).unwrap_or_default();
        removed.retain(|path| !left.contains(path));
    }
    let signed = worked.signed.keys().any(|role| !role.is_top_level());
    let known = before.and_then(|w| list_of(w, collection).ok().flatten());
    let known = known.is_some_and(|l| l.entries().iter().any(|e| there(&e)));
    let status = match (known && removed.is_empty(), worked.online) {
        (true, _) => Status::Unchanged,
        (false, false) if signed => Status::Submitted,
        _ if found.is_none() => Status::Withdrawn,
        _ => Status::Revoked,
    };
    Revoked {
        status,
        collection: collection.clone(),
        state: request.state.place().at(Some(Selector::Tag(collection.state_tag()))),
        digest: worked.manifest.digest().clone(),
        bundle: withdrawn.cloned().or_else(|| match entry {
            Revoke::Advisory(digest) => digest.clone(),
            _ => None,
        }),
        entry: found,
        removed,
        listed: left,
        signed: worked.signed,
        lacking: worked.lacking,
        seal: None,
        absent: false,
        submitted: worked.submitted.iter().filter_map(|t| t.tag(collection)).collect(),
        pending: worked.pending,
        open: Vec::new(),
        repaired: worked.repaired,
    }
}
