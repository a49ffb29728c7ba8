//! `revoke`: a bundle is taken back, or a signature, key or certificate. A bundle's entries go; the signed entry stays, which beats
//! whatever still lists or vouches for it.

mod carried;
mod lists;
mod rotation;

pub use carried::{Carried, carried};
pub use lists::{Lists, list_under};
pub use rotation::Rotation;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::commit::{Committer, Concern, Gathering, Intents, Job, Pending, Refusal, WorkError, Worked};
use super::duties::{Duty, Open, hang_seals};
use super::history::History;
use super::known::Known;
use super::memory::Memory;
use super::signing::{KeyRing, SignError};
use super::state;
use super::whole::Whole;
use crate::keys::{KeyError, random_id};
use crate::oci::{Algorithm, Descriptor, Digest, Reference, Selector, Tag, media_type};
use crate::sig::KeyId;
use crate::store::{Manage, Store, StoreError, fetch_small};
use crate::time::{Clock, UnixTime};
use crate::trust::{Material, MaterialKind, RevocationEntry, RevocationKind, RevocationList, Revoke};
use crate::tuf::lineage::{Change, View};
use crate::tuf::{CollectionName, EntryName, Limits, RoleName, Targets, Unverified, Version};
use rotation::roles_of;

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
    /// Replace a list that stands and cannot be read, with what can be read of the lists before it.
    pub replace_unreadable: bool,
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
    /// The entry with this id counts no longer; of several, the one about this subject.
    Undo(String, Option<Digest>),
    /// A signature, a key or a certificate is taken back.
    Material(Material),
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
    /// What is taken back, where that is no bundle.
    pub material: Option<Material>,
    /// The roles of the collection that a key which is taken back may sign: until others have their keys, what they sign is refused.
    pub roles: BTreeMap<RoleName, Rotation>,
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
    /// A next snapshot and timestamp that wait for more signatures: what was entered counts once they are in.
    pub gathering: Option<Gathering>,
    /// What is still to be done.
    pub open: Vec<Open>,
    /// Whether the live state was older than the memory, or gone, and was put right.
    pub repaired: bool,
    /// Where a list was replaced that could not be read: the number of entries of earlier lists that were kept.
    pub replaced: Option<usize>,
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
    /// Roles of the collection name different bundles by the tag.
    #[error("{tag} names {}", said(digests))]
    SeveralBundles {
        /// The tag.
        tag: Tag,
        /// The bundles, each with a role that says so.
        digests: BTreeMap<Digest, RoleName>,
    },
    /// Several entries bear the id.
    #[error("several entries bear the id {id}, of {}", subjects.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))]
    SeveralEntries {
        /// The id.
        id: String,
        /// What they are about.
        subjects: Vec<Digest>,
    },
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

fn said(digests: &BTreeMap<Digest, RoleName>) -> String {
    let all: Vec<String> = digests.iter().map(|(digest, role)| format!("{digest} in {role}")).collect();
    all.join(" and ")
}

/// Take back, warn, or undo.
///
/// # Errors
/// See [`RevokeError`]. What was pushed before stays and does no harm; the same call finishes it.
pub async fn revoke(request: Request<'_>) -> Result<Revoked, RevokeError> {
    let (store, state) = (Known::new(request.store), Known::new(request.state));
    let same = request.state.place().at(None) == request.store.place().at(None);
    let store = if same { &state } else { &store };
    let collection = &request.collection;
    let committer = Committer {
        place: &state,
        collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: request.without_memory,
        keys: request.keys,
        clock: request.clock,
    };
    // Never below what is remembered: an older state names another bundle by a tag.
    let before = committer.published().await?;
    // Entries can be taken out although the list cannot be read; what is in it cannot be undone.
    let list = match (&request.what, list_of(&before, collection)) {
        (What::Undo(..), Err(e)) => return Err(WorkError::from(e).into()),
        (_, read) => read.ok().flatten(),
    };
    let digest = match &request.what {
        What::Bundle(selector) | What::Advisory(Some(selector)) => {
            Some(resolve(&request, store, &before, list.as_ref(), selector).await?)
        }
        What::Advisory(None) | What::Undo(..) | What::Material(_) => None,
    };
    if let What::Undo(id, about) = &request.what {
        can_be_undone(collection, list.as_ref(), id, about.as_ref())?;
    }
    let entry = match (&request.what, &digest) {
        (What::Bundle(_), Some(digest)) => Revoke::Tombstone(digest.clone()),
        (What::Undo(id, about), _) => Revoke::Undo(id.clone(), about.clone()),
        (What::Material(material), _) => Revoke::Material(material.clone()),
        _ => Revoke::Advisory(digest.clone()),
    };
    let withdrawn = digest.as_ref().filter(|_| matches!(request.what, What::Bundle(_)));
    let earlier = match request.replace_unreadable && list_of(&before, collection).is_err() {
        true => Some(earlier_entries(&state, &before, collection).await?),
        false => None,
    };
    let replaced = earlier.as_ref().map(Vec::len);
    let reason = &request.reason;
    let intents = Withdrawal { collection, withdrawn, entry: &entry, reason, id: random_id()?, earlier };
    let none = BTreeSet::new();
    let mut worked = committer.work(&Job::changes(&intents, &none)).await?;
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
    let mut revoked = outcome(&request, worked.clone(), &before, withdrawn, &entry);
    revoked.replaced = replaced;
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

/// That one entry bears this id, or one about this bundle: an id is a word that its signer chose.
fn can_be_undone(
    collection: &CollectionName,
    list: Option<&RevocationList>,
    id: &str,
    about: Option<&Digest>,
) -> Result<(), RevokeError> {
    let all = list.iter().flat_map(|l| l.entries()).filter(|e| e.id == id);
    let (undoings, entries): (Vec<_>, Vec<_>) = all.partition(|e| e.kind == RevocationKind::Unrevoke);
    let wanted = entries.iter().filter(|e| about.is_none_or(|d| e.digest.as_ref() == Some(d)));
    let subjects: BTreeSet<Option<&Digest>> = wanted.map(|e| e.digest.as_ref()).collect();
    match (subjects.len(), undoings.is_empty()) {
        (0, true) => Err(RevokeError::NoEntry { collection: collection.clone(), id: id.to_owned() }),
        (0, false) => Err(RevokeError::Undone(id.to_owned())),
        (1, _) if about.is_some() || entries.len() == 1 => Ok(()),
        _ => Err(RevokeError::SeveralEntries {
            id: id.to_owned(),
            subjects: subjects.into_iter().flatten().cloned().collect(),
        }),
    }
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
    before: &Whole,
    list: Option<&RevocationList>,
    selector: &Selector,
) -> Result<Digest, RevokeError> {
    let digest = match selector {
        Selector::Digest(digest) | Selector::Both(_, digest) => digest.clone(),
        Selector::Tag(tag) => {
            let path = request.collection.tag_path(tag);
            let named = |role: &RoleName| {
                let hex = before.role(role)?.role().targets().get(&path)?.sha256()?;
                format!("sha256:{hex}").parse::<Digest>().ok()
            };
            // Roles that are asked for by name only may say something else than the one that readers see.
            let all: BTreeMap<Digest, RoleName> =
                before.roles().keys().filter_map(|role| Some((named(role)?, role.clone()))).collect();
            if all.len() > 1 {
                return Err(RevokeError::SeveralBundles { tag: tag.clone(), digests: all });
            }
            match all.into_keys().next() {
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
    /// In the place of a list that cannot be read.
    earlier: Option<Vec<Value>>,
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
            other => list.standing().any(|e| says(e, other, self.reason)),
        };
        let own = (!there).then(|| self.entry.to_json(by, at, self.reason));
        self.earlier.iter().flatten().cloned().chain(own).collect()
    }

    fn replaces_unreadable(&self) -> bool {
        self.earlier.is_some()
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
    before: &Whole,
    withdrawn: Option<&Digest>,
    entry: &Revoke,
) -> Revoked {
    let collection = &request.collection;
    // One that cannot be read shows no entry: the tombstone then counts as waiting, never as in.
    let list = list_of(&worked.last, collection).ok().flatten();
    let there = |e: &&RevocationEntry| says(e, entry, &request.reason);
    let found = list.as_ref().and_then(|l| l.standing().find(there)).cloned();
    let (mut removed, mut left) = (BTreeSet::new(), BTreeSet::new());
    if let Some(digest) = withdrawn {
        left = listed(&worked.last, collection, digest);
        removed = listed(worked.first.as_ref().unwrap_or(before), collection, digest);
        removed.retain(|path| !left.contains(path));
    }
    let signed = worked.signed.keys().any(|role| !role.is_top_level());
    let known = list_of(before, collection).ok().flatten();
    let known = known.is_some_and(|l| l.standing().any(|e| there(&e)));
    let status = match (known && removed.is_empty(), worked.online) {
        (true, _) => Status::Unchanged,
        (false, false) if signed => Status::Submitted,
        _ if found.is_none() => Status::Withdrawn,
        _ => Status::Revoked,
    };
    let material = match entry {
        Revoke::Material(material) => Some(material.clone()),
        _ => None,
    };
    let key = material.as_ref().filter(|m| m.kind == MaterialKind::Key);
    Revoked {
        status,
        roles: key.map(|m| roles_of(&worked.last, &m.subject)).unwrap_or_default(),
        material,
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
        gathering: worked.gathering,
        open: Vec::new(),
        repaired: worked.repaired,
        replaced: None,
    }
}

/// The entries of the newest earlier list that can be read: of the versions that the live file descends from, as far as the place
/// still has their lists.
async fn earlier_entries(
    place: &Known<'_>,
    whole: &Whole,
    collection: &CollectionName,
) -> Result<Vec<Value>, RevokeError> {
    let (role, path) = (RoleName::revocations(), collection.revocations_path());
    let Some(live) = whole.role(&role) else { return Ok(Vec::new()) };
    let manifest = match state::resolve_state(place, collection).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Vec::new()),
        Err(e) => return Err(WorkError::from(e).into()),
    };
    let past = History::of(&manifest).read(place.store()).await?;
    let files = past.files.iter().filter(|(r, _)| *r == role);
    let parsed = files.filter_map(|(_, b)| Unverified::<Targets>::parse(&role, b, &Limits::default()).ok());
    let mut before: Vec<_> = parsed.filter_map(|f| f.verify(&role, &[]).ok()).collect();
    before.retain(|file| live.holds(&file.as_ancestor()));
    before.sort_by_key(|file| std::cmp::Reverse(file.version()));
    for target in before.iter().filter_map(|f| f.role().targets().get(&path)) {
        let Some(digest) = target.sha256().and_then(|hex| format!("sha256:{hex}").parse().ok()) else {
            continue;
        };
        let layer = Descriptor::new(media_type::TUF_TARGET, digest, target.length);
        let content = match fetch_small(place.store(), &layer, Limits::default().targets_bytes).await {
            Ok(content) => content,
            Err(e) if e.is_not_found() || e.is_the_items_own() => continue,
            Err(e) => return Err(e.into()),
        };
        if RevocationList::parse(content.bytes()).is_ok() {
            let list: Value = serde_json::from_slice(content.bytes()).unwrap_or_default();
            return Ok(list["entries"].as_array().cloned().unwrap_or_default());
        }
    }
    Ok(Vec::new())
}

/// Whether an entry that stands says what is to be entered.
fn says(e: &RevocationEntry, entry: &Revoke, reason: &str) -> bool {
    match entry {
        Revoke::Tombstone(digest) => {
            let takes_back = matches!(e.kind, RevocationKind::Bundle | RevocationKind::Tombstone);
            takes_back && e.digest.as_ref() == Some(digest)
        }
        Revoke::Advisory(digest) => {
            e.kind == RevocationKind::Advisory && e.digest == *digest && e.reason.as_deref() == Some(reason)
        }
        Revoke::Undo(id, about) => {
            e.kind == RevocationKind::Unrevoke && e.undoes.as_ref() == Some(id) && e.digest == *about
        }
        Revoke::Material(material) => e.covers(material),
    }
}
