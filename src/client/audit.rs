//! `audit`: which key brought which bundle into the collection, from consecutive versions of the role files; where those
//! bundles are listed and lie now; and which of them were verified or copied here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::commit::WorkError;
use super::commit::recalled::Beside;
use super::genuine::genuine;
use super::history::History;
use super::installed::Installed;
use super::memory::{Memory, MemoryError};
use super::revoke::list_of;
use super::state::{self, StateError};
use super::whole::{Whole, walk_on};
use crate::oci::{Digest, Manifest, Reference, Selector};
use crate::sig::KeyId;
use crate::store::{Manage, Store, StoreError};
use crate::time::UnixTime;
use crate::tuf::lineage::{Gap, Origin, Origins, RoleFile, SignedFile, View, origins};
use crate::tuf::{
    Ancestor, CollectionName, EntryName, Files, Limits, Recall, Remembered, RoleName, RootChain, Targets,
    TufError, Unverified, Version,
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
    /// Only what was signed since then.
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
            && self.places.iter().all(|p| p.unreadable.is_none() && p.doubt().is_none())
            && self.gaps.is_empty()
            && self.unread == 0
            && !self.cut
    }

    /// Bundles that were verified or copied here and must be looked after: all that were asked for by key or time, otherwise
    /// those that are revoked.
    pub fn affected(&self, asked: bool) -> impl Iterator<Item = &Introduced> {
        self.introduced.iter().filter(move |i| !i.installed.is_empty() && (asked || i.revoked))
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
    let remembered = request.memory.load_along(&request.anchor, &offered)?.unwrap_or_default();
    let nothing = looks.iter().all(|l| l.place.state.is_none() && l.place.unreadable.is_none());
    if nothing && remembered.verified_under.is_none() {
        let places = looks.iter().map(|l| l.place.at.to_string()).collect();
        return Err(AuditError::Absent { collection: collection.clone(), places });
    }
    let chain = roots(&request, &remembered, &looks)?;
    let limits = Limits::default();
    let mut wholes: Vec<Whole> = Vec::new();
    for look in looks.iter_mut().filter(|l| l.place.state.is_some()) {
        match Whole::judge(&chain, &look.files, collection, request.now, &limits) {
            Ok(whole) => wholes.push(whole),
            Err(e) => look.place.fault = Some(e.to_string()),
        }
    }
    let recall = Recall::of(Some(&remembered), collection, request.now, &limits);
    let beside = Beside::new(recall, &chain, looks.iter().map(|l| &l.files), collection, request.now);
    let Beside { memory, floor, .. } = beside.map_err(AuditError::Remembered)?;
    wholes.extend(memory);
    let newest = wholes.iter().max_by_key(|w| w.trusted().timestamp().version());
    // What is remembered is newer than every state that could be judged, and lacks files: what was revoked since is not known.
    let behind = floor.is_some_and(|f| newest.is_none_or(|w| f.fallen(w.trusted()).is_some()));
    let mut all: BTreeMap<RoleName, BTreeSet<Bytes>> = BTreeMap::new();
    let current = looks.iter().map(|l| &l.files).chain([&remembered.files]);
    for (name, bytes) in current.flat_map(Files::metadata) {
        all.entry(name.role().clone()).or_default().insert(bytes.clone());
    }
    for (role, bytes) in looks.iter().flat_map(|l| &l.past) {
        all.entry(role.clone()).or_default().insert(bytes.clone());
    }
    let (signed, foreign) = signed(collection, &chain, &all, newest);
    let Origins { found, mut gaps, from } = origins(&signed);
    let top: BTreeMap<&RoleName, Version> =
        newest.iter().flat_map(|w| w.roles().iter().map(|(role, at)| (role, at.file.version()))).collect();
    // What is outside the window is kept nowhere, and no gap.
    gaps.retain(|g| top.get(&g.role).is_none_or(|v| v.get() < g.version.get() + crate::tuf::lineage::WINDOW));
    let list = newest.map_or(Ok(None), |w| list_of(w, collection));
    let judged = newest.is_some() && list.is_ok() && !behind;
    let list = list.ok().flatten();
    let mut introduced: BTreeMap<(RoleName, Version, String, Digest), Introduced> = BTreeMap::new();
    for origin in found {
        let Ok(digest) = format!("sha256:{}", origin.sha256).parse::<Digest>() else { continue };
        if collection.entry(&origin.path).is_none() {
            continue;
        }
        let by_key = |k: &String| origin.signers.iter().any(|id| id.as_str().starts_with(&k[..]));
        let early = |since| origin.at < since && latest(&origin, &signed, request.now) <= since;
        if request.key.as_ref().is_some_and(|k| !by_key(k)) || request.since.is_some_and(early) {
            continue;
        }
        let key = (origin.role.clone(), origin.version, origin.hash.clone(), digest.clone());
        let one = introduced.entry(key).or_insert_with(|| Introduced {
            revoked: list.as_ref().is_some_and(|l| l.revokes(&digest).is_some()),
            installed: request.installed.iter().filter(|i| i.digest == digest).cloned().collect(),
            digest,
            paths: BTreeSet::new(),
            part: true,
            role: origin.role.clone(),
            version: origin.version,
            file: origin.hash.clone(),
            keys: origin.signers.clone(),
            at: origin.at,
            certain: origin.certain,
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
        unread: request.unread,
    })
}

/// The state at a place, and the earlier versions that it names.
async fn look(store: &dyn Manage, collection: &CollectionName) -> Look {
    let mut place = Place {
        at: store.place().at(None),
        state: None,
        fault: None,
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

/// The roots, as every place and the memory offer them.
fn roots(request: &Request<'_>, memory: &Remembered, looks: &[Look]) -> Result<RootChain, TufError> {
    let sources: Vec<&Files> = looks.iter().map(|l| &l.files).collect();
    walk_on(&request.anchor, &request.collection, Some(&memory.files), &sources, &Limits::default())
}

/// The role files that keys signed which held the role at some time, and the number of the others.
fn signed(
    collection: &CollectionName,
    chain: &RootChain,
    all: &BTreeMap<RoleName, BTreeSet<Bytes>>,
    newest: Option<&Whole>,
) -> (Vec<SignedFile>, usize) {
    let done = genuine(collection, chain, all);
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

/// When a version was there at the latest: before the first in the live line that follows it. What it says of itself may
/// be dated back by whoever holds the key.
fn latest(origin: &Origin, signed: &[SignedFile], now: UnixTime) -> UnixTime {
    let follows = |f: &&SignedFile| {
        f.in_line
            && f.role == origin.role
            && f.file.hash() != origin.hash
            && f.file.version() > origin.version
            && View::of(&f.file).knows(&origin.hash)
    };
    signed.iter().filter(follows).map(|f| f.at).min().unwrap_or(now)
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
