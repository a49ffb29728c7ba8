//! `audit`: which key brought which bundle into the collection, from consecutive versions of the role files; where those
//! bundles are listed and lie now; and which of them were verified or copied here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::commit::recalled::{Beside, Past};
use super::commit::{Refusal, WorkError, signed_at};
use super::genuine::{Genuine, genuine, named_keys};
use super::history::{History, MAX_BESIDE};
use super::installed::{Done, Installed};
use super::memory::{Memory, MemoryError};
use super::revoke::list_of;
use super::state::{self, StateError};
use super::whole::{Whole, walk};
use crate::oci::{Digest, Manifest, Reference, Selector};
use crate::sig::{KeyId, PublicKey};
use crate::store::{Manage, Store, StoreError};
use crate::time::UnixTime;
use crate::tuf::lineage::{Gap, Origin, Origins, RoleFile, SignedFile, View, origins};
use crate::tuf::{
    Ancestor, CollectionName, EntryName, Files, Limits, RoleName, RootChain, Targets, TufError, Unverified,
    Version,
};

/// Most bundles that are looked for at each place.
const MAX_LOOKED_FOR: usize = 1_000;
/// Requests at a time.
const CONCURRENCY: usize = 8;

/// What `audit` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state, and copies of it, lie: each looked at.
    pub places: Vec<Arc<dyn Manage>>,
    /// What is remembered.
    pub memory: &'a Memory,
    /// Only what this key signed: its id, or the beginning of it.
    pub key: Option<String>,
    /// Only what may have been signed since then.
    pub since: Option<UnixTime>,
    /// What was verified or copied here.
    pub installed: &'a [Installed],
    /// Lines of that log that could not be read.
    pub unread: usize,
    /// The time.
    pub now: UnixTime,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Audited {
    /// The collection.
    pub collection: CollectionName,
    /// What each place has.
    pub places: Vec<Place>,
    /// Bundles that were asked for, by the version that has them first.
    pub introduced: Vec<Introduced>,
    /// Versions that are named and nowhere at hand, within the last 64.
    pub gaps: BTreeSet<Gap>,
    /// The oldest version at hand of each role.
    pub from: BTreeMap<RoleName, Version>,
    /// Versions looked at.
    pub versions: usize,
    /// Files that are no role file of the collection: no key that ever held the role signed them.
    pub foreign: usize,
    /// Whether only some bundles were asked for, so that the rest was not looked for at the places.
    pub cut: bool,
    /// Whether any state, at a place or remembered, verifies, and its revocation list can be read.
    pub judged: bool,
    /// Which revocation list cannot be read, and why.
    pub list_fault: Option<String>,
    /// Why what is remembered here does not verify.
    pub memory_fault: Option<String>,
    /// Roles of which as many files beside the live line are at hand as a state keeps: there may have been more.
    pub crowded: BTreeSet<RoleName>,
    /// Lines of the log of this installation that could not be read.
    pub unread: usize,
}

/// A place that was looked at.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where.
    pub at: Reference,
    /// Digest of the state's manifest, if there is a state.
    pub state: Option<Digest>,
    /// Why the state there does not verify, if it does not.
    pub fault: Option<String>,
    /// The root under which it verifies, where that is not the newest one: it is from before keys were replaced.
    pub under: Option<Version>,
    /// Number of earlier versions that it keeps.
    pub history: usize,
    /// Number of those that it names and that are not there.
    pub missing: usize,
    /// Why it could not be looked at.
    pub unreadable: Option<String>,
}

/// A bundle, and the version that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    /// The bundle.
    pub digest: Digest,
    /// Paths of its entries that came with this version.
    pub paths: BTreeSet<String>,
    /// Whether it is only part of another bundle.
    pub part: bool,
    /// The role.
    pub role: RoleName,
    /// The version.
    pub version: Version,
    /// SHA-256 of that file, lower-case hex.
    pub file: String,
    /// The keys that signed it.
    pub keys: BTreeSet<KeyId>,
    /// When.
    pub at: UnixTime,
    /// Whether the version before it is at hand.
    pub certain: bool,
    /// Of an audit by time: it is dated before, and nobody but who signed it says so.
    pub undated: bool,
    /// Whether the live file descends from it.
    pub in_line: bool,
    /// Whether the revocation list takes it back.
    pub revoked: bool,
    /// Places whose state lists it.
    pub listed_at: Vec<Reference>,
    /// Places at which it lies.
    pub present_at: Vec<Reference>,
    /// What was done with it here.
    pub installed: Vec<Installed>,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The memory cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// What is remembered does not verify.
    #[error(transparent)]
    Remembered(WorkError),
    /// The trusted root fails, or two roots contest each other.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// No role of the collection was ever to be signed by such a key.
    #[error("no key of {collection} begins with {id}")]
    NoKey {
        /// The collection.
        collection: CollectionName,
        /// What was asked for.
        id: String,
    },
    /// Several keys begin so.
    #[error("{} begin with {id}", keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))]
    SeveralKeys {
        /// What was asked for.
        id: String,
        /// Their ids.
        keys: BTreeSet<KeyId>,
    },
    /// No state at any place, and none is remembered.
    #[error("no state of {collection} at {}", places.join(", "))]
    Absent {
        /// The collection.
        collection: CollectionName,
        /// Where it was looked for.
        places: Vec<String>,
    },
}

impl Place {
    /// Why what was read here need not be all there was.
    pub fn doubt(&self) -> Option<String> {
        match (&self.state, &self.fault, self.missing) {
            (None, ..) => Some("there is no state".into()),
            (_, Some(fault), _) => Some(format!("the state does not verify: {fault}")),
            (_, _, 0) => None,
            (_, _, n) => Some(format!("{n} earlier versions are named and not there")),
        }
    }
}

impl Audited {
    /// Whether everything could be looked at.
    pub fn is_whole(&self) -> bool {
        self.judged
            && self.is_current()
            && self.places.iter().all(|p| p.unreadable.is_none() && p.doubt().is_none())
            && self.gaps.is_empty()
            && self.memory_fault.is_none()
            && self.crowded.is_empty()
            && self.unread == 0
            && !self.cut
    }

    /// Whether any place shows a state under the newest root: of one from before keys were replaced, nobody knows what was
    /// published there since.
    pub fn is_current(&self) -> bool {
        self.places.iter().any(|p| p.state.is_some() && p.fault.is_none() && p.under.is_none())
    }

    /// Bundles that were verified or copied here and must be looked after: all that were asked for by key or time, otherwise
    /// those that are revoked.
    pub fn affected(&self, asked: bool) -> impl Iterator<Item = &Introduced> {
        self.introduced
            .iter()
            .filter(move |i| !i.installed.is_empty() && ((asked && !i.undated) || i.revoked))
    }

    /// Bundles that were verified or copied here and came before the time that was asked for, as only those say who signed them.
    pub fn undated(&self) -> impl Iterator<Item = &Introduced> {
        self.introduced.iter().filter(|i| !i.installed.is_empty() && i.undated && !i.revoked)
    }
}

/// What was read of one place.
struct Look {
    place: Place,
    files: Files,
    past: Vec<(RoleName, Bytes)>,
}

/// Look.
///
/// # Errors
/// See [`AuditError`]. A place that cannot be asked is no error but [`Place::unreadable`].
pub async fn audit(request: Request<'_>) -> Result<Audited, AuditError> {
    let collection = &request.collection;
    let looks = request.places.iter().map(|place| look(&**place, collection));
    let mut looks: Vec<Look> = stream::iter(looks.collect::<Vec<_>>()).buffered(CONCURRENCY).collect().await;
    let offered: Vec<&Files> = looks.iter().map(|l| &l.files).collect();
    let memories = std::slice::from_ref(request.memory);
    let past = Past::load(memories, &request.anchor, collection, &offered)?;
    let remembered = past.own.clone().unwrap_or_default();
    let nothing = looks.iter().all(|l| l.place.state.is_none() && l.place.unreadable.is_none());
    if nothing && remembered.verified_under.is_none() {
        let places = looks.iter().map(|l| l.place.at.to_string()).collect();
        return Err(AuditError::Absent { collection: collection.clone(), places });
    }
    let chain = past.chain(&offered)?;
    let limits = Limits::default();
    // Those that stand under the newest root; and those from before keys were replaced, which only tell of the past.
    let (mut wholes, mut earlier): (Vec<(String, Whole)>, Vec<Whole>) = (Vec::new(), Vec::new());
    for look in looks.iter_mut().filter(|l| l.place.state.is_some()) {
        match judge(&chain, &look.files, &request) {
            Ok(whole) => wholes.push((look.place.at.to_string(), whole)),
            Err(e) => {
                let own = walk(&request.anchor, collection, &[&look.files], &limits)
                    .and_then(|own| judge(&own, &look.files, &request));
                match own {
                    Ok(whole) => {
                        look.place.under = Some(whole.trusted().root().version());
                        earlier.push(whole);
                    }
                    Err(_) => look.place.fault = Some(e.to_string()),
                }
            }
        }
    }
    let beside = past.beside(&chain, looks.iter().map(|l| &l.files), request.now);
    let Beside { memory, floor, .. } = beside.map_err(AuditError::Remembered)?;
    wholes.extend(memory.map(|whole| ("what is remembered here".to_owned(), whole)));
    let newest = wholes.iter().max_by_key(|(_, w)| w.trusted().timestamp().version());
    let (list, list_fault) = match newest.map(|(at, w)| (at, w, list_of(w, collection))) {
        None => (None, None),
        Some((_, _, Ok(list))) => (list, None),
        Some((at, whole, Err(why))) => {
            let role = RoleName::revocations();
            let version = whole.role(&role).map(|f| f.version().to_string()).unwrap_or_default();
            let why = match why {
                Refusal::Revocations(why) => why,
                other => other.to_string(),
            };
            (None, Some(format!("{} of {role} {version}, {at}: {why}", collection.revocations_path())))
        }
    };
    let newest = newest.map(|(_, whole)| whole);
    // What is remembered is newer than every state that could be judged, and lacks files or roots that lead to it: what was revoked
    // since is not known.
    let behind = floor.is_some_and(|f| newest.is_none_or(|w| f.fallen(w.trusted()).is_some()));
    let memory_fault = behind
        .then(|| "it is newer than every state that could be judged, and lacks files or roots".to_owned());
    let mut all: BTreeMap<RoleName, BTreeSet<Bytes>> = BTreeMap::new();
    let current = looks.iter().map(|l| &l.files).chain([&remembered.files]);
    for (name, bytes) in current.flat_map(Files::metadata) {
        all.entry(name.role().clone()).or_default().insert(bytes.clone());
    }
    for (role, bytes) in looks.iter().flat_map(|l| &l.past) {
        all.entry(role.clone()).or_default().insert(bytes.clone());
    }
    let done = genuine(collection, &chain, &all);
    let key_ids =
        request.key.as_ref().map(|id| ids_of(id, collection, &named_keys(&chain, &done))).transpose()?;
    let (signed, foreign) = signed(done, &all, newest);
    let Origins { found, mut gaps, from } = origins(&signed);
    let top: BTreeMap<&RoleName, Version> =
        newest.iter().flat_map(|w| w.roles().iter().map(|(role, at)| (role, at.file.version()))).collect();
    // What is outside the window is kept nowhere, and no gap.
    gaps.retain(|g| top.get(&g.role).is_none_or(|v| v.get() < g.version.get() + crate::tuf::lineage::WINDOW));
    let judged = newest.is_some() && list_fault.is_none() && !behind;
    let mut beside: BTreeMap<&RoleName, usize> = BTreeMap::new();
    signed.iter().filter(|f| !f.in_line).for_each(|f| *beside.entry(&f.role).or_default() += 1);
    let crowded =
        beside.into_iter().filter(|(_, n)| *n >= MAX_BESIDE).map(|(role, _)| role.clone()).collect();
    // Whoever stole keys that were replaced since dates his states as he likes.
    let held = chain.last().role().timestamp_keys();
    let stands = |w: &&Whole| {
        let keys = w.trusted().root().role().timestamp_keys();
        keys.threshold >= held.threshold && keys.keys.keys().all(|id| held.keys.contains_key(id))
    };
    let seen: Vec<&Whole> = wholes.iter().map(|(_, w)| w).chain(earlier.iter().filter(stands)).collect();
    let mut first: BTreeMap<String, Version> = BTreeMap::new();
    for origin in &found {
        let version = first.entry(origin.sha256.clone()).or_insert(origin.version);
        *version = origin.version.min(*version);
    }
    let mut introduced: BTreeMap<(RoleName, Version, String, Digest), Introduced> = BTreeMap::new();
    for origin in found {
        let Ok(digest) = format!("sha256:{}", origin.sha256).parse::<Digest>() else { continue };
        if collection.entry(&origin.path).is_none() {
            continue;
        }
        let by_key = |ids: &BTreeSet<KeyId>| !origin.signers.is_disjoint(ids);
        if key_ids.as_ref().is_some_and(|ids| !by_key(ids)) {
            continue;
        }
        let here: Vec<Installed> = request.installed.iter().filter(|i| i.digest == digest).cloned().collect();
        // Whoever verified it then had it from the first version that lists it, or one before.
        let is_first = first.get(&origin.sha256) == Some(&origin.version);
        let verified = |since: UnixTime| {
            let then = |i: &Installed| i.done == Done::Verified && i.at < since;
            is_first && here.iter().any(|i| then(i) && i.collection.as_ref() == Some(collection))
        };
        let early = request.since.filter(|since| origin.at < *since);
        if early.is_some_and(|since| was_there(&origin, &signed, &seen, since) || verified(since)) {
            continue;
        }
        let key = (origin.role.clone(), origin.version, origin.hash.clone(), digest.clone());
        let one = introduced.entry(key).or_insert_with(|| Introduced {
            revoked: list.as_ref().is_some_and(|l| l.revokes(&digest).is_some()),
            installed: here,
            digest,
            paths: BTreeSet::new(),
            part: true,
            role: origin.role.clone(),
            version: origin.version,
            file: origin.hash.clone(),
            keys: origin.signers.clone(),
            at: origin.at,
            certain: origin.certain,
            undated: early.is_some(),
            in_line: origin.in_line,
            listed_at: Vec::new(),
            present_at: Vec::new(),
        });
        one.part &= !origin.claimed;
        one.paths.insert(origin.path);
    }
    let mut introduced: Vec<Introduced> = introduced.into_values().collect();
    let digests: BTreeSet<Digest> = introduced.iter().map(|i| i.digest.clone()).collect();
    let cut = digests.len() > MAX_LOOKED_FOR;
    for (place, look) in request.places.iter().zip(&mut looks) {
        let listed = listed(collection, &look.files);
        let present = match present(&**place, digests.iter().take(MAX_LOOKED_FOR)).await {
            Ok(present) => present,
            Err(e) => {
                look.place.unreadable.get_or_insert_with(|| e.to_string());
                BTreeSet::new()
            }
        };
        for one in &mut introduced {
            one.listed_at.extend(listed.contains(&one.digest).then(|| look.place.at.clone()));
            one.present_at.extend(present.contains(&one.digest).then(|| look.place.at.clone()));
        }
    }
    Ok(Audited {
        collection: collection.clone(),
        places: looks.into_iter().map(|l| l.place).collect(),
        introduced,
        gaps,
        from,
        versions: signed.len(),
        foreign,
        cut,
        judged,
        list_fault,
        memory_fault,
        crowded,
        unread: request.unread,
    })
}

/// The state at a place, and the earlier versions that it names.
async fn look(store: &dyn Manage, collection: &CollectionName) -> Look {
    let mut place = Place {
        at: store.place().at(None),
        state: None,
        fault: None,
        under: None,
        history: 0,
        missing: 0,
        unreadable: None,
    };
    let (mut files, mut past) = (Files::new(), Vec::new());
    let manifest = match state::resolve_state(store, collection).await {
        Ok(found) => found,
        Err(StateError::Store(e)) if e.is_not_found() => None,
        Err(e) => {
            place.unreadable = Some(e.to_string());
            None
        }
    };
    if let Some(manifest) = manifest {
        place.state = Some(manifest.digest().clone());
        // A state of which files are damaged may still tell something.
        match state::intact(store, &manifest).await {
            Ok(intact) => files = intact,
            Err(e) => place.unreadable = Some(e.to_string()),
        }
        match History::of(&manifest).read(store).await {
            Ok(read) => {
                (place.history, place.missing) = (read.files.len(), read.missing);
                past = read.files;
            }
            Err(e) => place.unreadable = Some(e.to_string()),
        }
        if Manifest::parse(&manifest).is_err() {
            place.fault = Some("what lies at the state's tag is no manifest".into());
        }
    }
    Look { place, files, past }
}

fn judge(chain: &RootChain, files: &Files, request: &Request<'_>) -> Result<Whole, TufError> {
    Whole::judge(chain, files, &request.collection, request.now, &Limits::default())
}

/// The ids under which the one key is named whose id, or the id of whose material, begins so.
fn ids_of(
    wanted: &str,
    collection: &CollectionName,
    named: &BTreeMap<KeyId, Option<PublicKey>>,
) -> Result<BTreeSet<KeyId>, AuditError> {
    let own =
        |id: &KeyId, key: &Option<PublicKey>| key.as_ref().map_or_else(|| id.clone(), PublicKey::key_id);
    let begins = |id: &KeyId, key: &Option<PublicKey>| {
        id.as_str().starts_with(wanted) || own(id, key).as_str().starts_with(wanted)
    };
    let found = named.iter().filter(|(id, key)| begins(id, key)).map(|(id, key)| own(id, key));
    let found: BTreeSet<KeyId> = found.collect();
    match found.first() {
        None => Err(AuditError::NoKey { collection: collection.clone(), id: wanted.to_owned() }),
        Some(one) if found.len() == 1 => {
            Ok(named.iter().filter(|(id, key)| own(id, key) == *one).map(|(id, _)| id.clone()).collect())
        }
        Some(_) => Err(AuditError::SeveralKeys { id: wanted.to_owned(), keys: found }),
    }
}

/// The role files that keys signed which held the role at some time, and the number of the others.
fn signed(
    done: Genuine,
    all: &BTreeMap<RoleName, BTreeSet<Bytes>>,
    newest: Option<&Whole>,
) -> (Vec<SignedFile>, usize) {
    let is_targets = |role: &RoleName| *role == RoleName::targets() || !role.is_top_level();
    let offered: usize = all.iter().filter(|(role, _)| is_targets(role)).map(|(_, files)| files.len()).sum();
    let foreign = offered - done.len();
    let mut out = Vec::new();
    for ((role, hash), (file, signers)) in done {
        let Ok(lineage) = RoleFile::of(&file) else { continue };
        let own = Ancestor(file.version(), hash);
        let in_line = newest.and_then(|w| w.role(&role)).is_some_and(|live| live.holds(&own));
        let at = file.extra().map_or_else(|| file.expires(), |x| x.at);
        out.push(SignedFile { role, file: lineage, at, signers, in_line });
    }
    (out, foreign)
}

/// Whether somebody else than who signed a version says that it was there before `since`: the timestamp of a state that holds
/// it, or a version that follows it under other keys. What a file says of its own time may be
/// dated back by whoever holds the key, and so may every further one that he signs.
fn was_there(origin: &Origin, signed: &[SignedFile], seen: &[&Whole], since: UnixTime) -> bool {
    let file = Ancestor(origin.version, origin.hash.clone());
    let stamped = seen.iter().any(|w| {
        let holds = w.role(&origin.role).is_some_and(|live| live.holds(&file));
        let keys = w.trusted().root().role().timestamp_keys();
        let is_own = |id: &KeyId, key: &Option<PublicKey>| {
            origin.signers.contains(id) || key.as_ref().is_some_and(|k| origin.signers.contains(&k.key_id()))
        };
        let own = keys.keys.iter().filter(|(id, key)| is_own(id, key)).count();
        let by_others = u32::try_from(own).is_ok_and(|n| n < keys.threshold);
        holds && by_others && signed_at(w.trusted().timestamp()) < since
    });
    let followed = signed.iter().any(|f| {
        f.role == origin.role
            && f.at < since
            && f.signers.is_disjoint(&origin.signers)
            && f.file.hash() != origin.hash
            && View::of(&f.file).knows(&origin.hash)
    });
    stamped || followed
}

/// The bundles that the role files of a state name.
fn listed(collection: &CollectionName, files: &Files) -> BTreeSet<Digest> {
    let limits = Limits::default();
    let mut out = BTreeSet::new();
    for (name, bytes) in files.metadata().iter().filter(|(name, _)| !name.role().is_top_level()) {
        let Ok(file) = Unverified::<Targets>::parse(name.role(), bytes, &limits) else { continue };
        for (path, sha256) in file.claimed_hashes() {
            if matches!(collection.entry(path), Some(EntryName::Tag(_) | EntryName::Release(_))) {
                out.extend(format!("sha256:{sha256}").parse::<Digest>().ok());
            }
        }
    }
    out
}

/// Which of these manifests lie at a place.
async fn present<'a>(
    store: &dyn Store,
    digests: impl Iterator<Item = &'a Digest>,
) -> Result<BTreeSet<Digest>, StoreError> {
    let asked = digests.map(|digest| async move {
        let found = store.resolve(&Selector::Digest(digest.clone())).await;
        match found {
            Ok(found) => Ok(found.map(|_| digest.clone())),
            Err(e) if e.is_not_found() || e.is_the_items_own() => Ok(None),
            Err(e) => Err(e),
        }
    });
    let found: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(CONCURRENCY).collect().await;
    let found: Result<Vec<Option<Digest>>, StoreError> = found.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}
