//! `tuf import`: an existing TUF repository, a tree of files, becomes the state of a collection; byte for byte (docs/adr/0013).

mod source;

use bytes::Bytes;

pub use source::{Folder, Source, Web};

use super::history::History;
use super::known::Known;
use super::memory::{Memory, MemoryError};
use super::state::{self, Kind, MAX_STATE_FILE_COUNT, MAX_STATE_FILES, Oversize, StateError};
use super::whole::{Whole, walk_on};
use crate::oci::{Content, Digest, Reference, Selector};
use crate::store::{Manage, StoreError};
use crate::time::UnixTime;
use crate::tuf::{
    CollectionName, Expiry, Fault, FileName, Files, Limits, Recall, Refresh, Remembered, RoleName, RootChain,
    RootStep, RootWalk, Step, Target, TufError, Version, beyond,
};

/// Most targets roles that are fetched.
const MAX_ROLES: usize = 256;

/// What `tuf import` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the repository comes from.
    pub source: &'a dyn Source,
    /// Where the state is to lie.
    pub store: &'a dyn Manage,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// The time.
    pub now: UnixTime,
}

/// A repository that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The collection.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Version of its timestamp.
    pub timestamp: Version,
    /// Metadata files in it.
    pub metadata: usize,
    /// Target files of the whole collection in it.
    pub targets: usize,
    /// Whether it was written; otherwise the same state lay there.
    pub written: bool,
    /// Roles that are expired.
    pub expired: Vec<RoleName>,
}

/// Why nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A file of the repository could not be read.
    #[error("{file}: {reason}")]
    Source {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The repository does not verify.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// It is a TUF repository and no bulla collection: its roles name none.
    #[error("{role} names no collection (x-bulla)")]
    Foreign {
        /// The first role that names none.
        role: RoleName,
    },
    /// A file of the whole collection is not there.
    #[error("the target {0} is listed and is not there")]
    TargetFile(String),
    /// Something newer lies there, or is remembered.
    #[error("{place} is newer: {role} would fall")]
    Older {
        /// Where the newer state is.
        place: String,
        /// A role that would fall.
        role: RoleName,
    },
    /// What lies at the destination does not verify.
    #[error("what lies at {place}: {reason}")]
    Live {
        /// Where.
        place: Reference,
        /// Why.
        reason: String,
    },
    /// Somebody else wrote there at the same time.
    #[error("the state at {0} is another one than was just written")]
    Contended(Reference),
    /// The destination failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The memory failed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// What is remembered does not verify, so that nothing can be compared with it.
    #[error("the remembered state: {0}")]
    Remembered(TufError),
    /// More than a state holds.
    #[error("the state would have {0}")]
    Oversize(#[from] Oversize),
}

/// Import.
///
/// # Errors
/// See [`ImportError`]. The state at the destination stays as it is.
pub async fn import(request: Request<'_>) -> Result<Imported, ImportError> {
    let limits = Limits::default();
    let remembered = Memory::load_all(request.memories, &request.anchor, &[])?;
    let known = remembered.as_ref().map(|r| &r.files);
    let (chain, files) = fetch(&request, known, &limits).await.map_err(foreign)?;
    let mut whole =
        Whole::judge(&chain, &files, &request.collection, request.now, &limits).map_err(foreign_role)?;
    let own = whole.own_targets(&request.collection)?;
    affordable(&own)?;
    for (_, path, target) in own {
        let bytes = request.source.target(&path, &target).await?;
        let bytes = bytes.filter(|b| target.check(b).is_ok());
        let bytes = bytes.ok_or_else(|| ImportError::TargetFile(path.clone()))?;
        whole = whole.with_target(path, bytes);
    }
    let remembered = Memory::load_all(request.memories, &request.anchor, &[&files])?;
    let recalled = Recall::of(remembered.as_ref(), &request.collection, request.now, &limits).state();
    let recalled = recalled.map_err(ImportError::Remembered)?;
    let root = chain.last().role();
    let others = Memory::others(request.memories, &request.anchor, &[&files])?;
    let others = beyond(&others, &request.anchor, root, &request.collection, request.now, &limits);
    let others = others.map_err(ImportError::Remembered)?.into_iter().map(|(_, floor)| floor);
    let mut floors = recalled.and_then(|r| r.floor(root)).into_iter().chain(others);
    if let Some(role) = floors.find_map(|floor| floor.fallen(whole.trusted())) {
        return Err(ImportError::Older { place: "what is remembered here".into(), role });
    }
    let (digest, written) = put(&request, &chain, &whole, &limits).await?;
    let kept = Remembered::of(&chain, whole.trusted(), whole.files(), remembered.as_ref());
    for memory in request.memories {
        memory.save(&request.anchor, &kept)?;
    }
    let expired = |(role, at): (RoleName, UnixTime)| (at <= request.now).then_some(role);
    let mut late: Vec<RoleName> = whole.trusted().expiries().into_iter().filter_map(expired).collect();
    let delegated =
        whole.roles().iter().filter(|(role, at)| !role.is_top_level() && at.file.is_expired(request.now));
    late.extend(delegated.map(|(role, _)| role.clone()));
    Ok(Imported {
        collection: request.collection.clone(),
        state: request.store.place().at(Some(Selector::Tag(request.collection.state_tag()))),
        digest,
        timestamp: whole.trusted().timestamp().version(),
        metadata: whole.files().metadata().len(),
        targets: whole.files().targets().len(),
        written,
        expired: late,
    })
}

/// Roots, top-level metadata and every targets role that the snapshot lists; each checked before the next is asked for.
async fn fetch(
    request: &Request<'_>,
    known: Option<&Files>,
    limits: &Limits,
) -> Result<(RootChain, Files), ImportError> {
    let collection = request.collection.to_string();
    let mut files = Files::new();
    let mut walk = RootWalk::start(&request.anchor, Some(&collection), limits)?;
    loop {
        match walk.step() {
            RootStep::Need { version, max_len } => {
                // What was accepted once is settled.
                let settled = known.and_then(|k| k.root(version)).cloned();
                let found = match settled {
                    Some(settled) => Some(settled),
                    None => {
                        let name = FileName::versioned(RoleName::root(), version);
                        request.source.metadata(&name, max_len).await?
                    }
                };
                walk.feed(found.into_iter().collect())?;
            }
            RootStep::Save(name, bytes) => {
                files.put(name, bytes);
                walk.saved();
            }
            RootStep::Done => break,
        }
    }
    let chain = walk.finish();
    if let Some(refused) = chain.skipped().first() {
        return Err(refused.clone().into());
    }
    for root in chain.roots() {
        files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
    }
    // Roots before the trusted one cannot be checked here, and others start from them.
    let first = chain.roots()[0].version().get();
    let back = first.saturating_sub(limits.root_rotations as u64).max(1);
    for version in (back..first).filter_map(Version::new) {
        let name = FileName::versioned(RoleName::root(), version);
        let found = match known.and_then(|k| k.root(version)).cloned() {
            Some(known) => Some(known),
            None => request.source.metadata(&name, limits.root_bytes).await?,
        };
        if let Some(bytes) = found {
            files.put(name, bytes);
        }
    }
    let root = chain.last().clone();
    let mut refresh = Refresh::start(root, Some(&collection), None, Expiry::Collect, request.now, limits)?;
    let trusted = loop {
        match refresh.step() {
            Step::Need { file, max_len } => refresh.feed(request.source.metadata(&file, max_len).await?)?,
            Step::Save(name, bytes) => {
                files.put(name, bytes);
                refresh.saved();
            }
            Step::Forget(_) => {}
            Step::Done(trusted) => break trusted,
        }
    };
    let pins = trusted.snapshot().role().pins();
    if pins.len() > MAX_ROLES {
        let fault = Fault::Cap { what: "targets roles", limit: MAX_ROLES };
        return Err(TufError::new(&RoleName::snapshot(), fault).into());
    }
    for (role, pin) in pins.iter().filter(|(role, _)| **role != RoleName::targets()) {
        let name = FileName::versioned(role.clone(), pin.version);
        let limit = pin.length.map_or(limits.targets_bytes, |l| l.min(limits.targets_bytes));
        // One that nobody delegates to any more may be gone; any other is missed when the whole is judged.
        if let Some(bytes) = request.source.metadata(&name, limit).await?
            && pin.check(&bytes).is_ok()
        {
            files.put(name, bytes);
        }
    }
    Ok((chain, files))
}

/// Put the state at its tag, unless what lies there is newer or cannot be judged; `false` when it lies there already. What it
/// replaces becomes its history.
async fn put(
    request: &Request<'_>,
    chain: &RootChain,
    whole: &Whole,
    limits: &Limits,
) -> Result<(Digest, bool), ImportError> {
    let place = Known::new(request.store);
    let tag = request.collection.state_tag();
    let live = |e: StateError| match e {
        StateError::Store(e) => ImportError::Store(e),
        e @ StateError::Invalid { .. } => {
            ImportError::Live { place: request.store.place(), reason: e.to_string() }
        }
    };
    let found: Option<Content> = match state::resolve_state(&place, &request.collection).await {
        Err(StateError::Store(e)) if e.is_not_found() => None,
        other => other.map_err(live)?,
    };
    let mut history = History::default();
    let mut files = whole.files().clone();
    if let Some(found) = found {
        let read = state::read(&place, &found, Kind::State).await.map_err(live)?;
        let refused = |e: TufError| ImportError::Live { place: request.store.place(), reason: e.to_string() };
        let theirs =
            walk_on(&request.anchor, &request.collection, Some(whole.files()), &[&read.files], limits);
        let theirs = theirs.map_err(refused)?;
        if theirs.last().version() > chain.last().version() {
            let (place, role) = (request.store.place().to_string(), RoleName::root());
            return Err(ImportError::Older { place, role });
        }
        let there = Whole::judge(&theirs, &read.files, &request.collection, request.now, limits);
        let there = there.map_err(refused)?;
        let roots = (there.trusted().root().version(), whole.trusted().root().version());
        if roots.0 == roots.1 && there.trusted().timestamp().bytes() == whole.trusted().timestamp().bytes() {
            return Ok((found.digest().clone(), false));
        }
        not_below(whole, &there, &request.store.place().to_string())?;
        // Of roots that cannot be checked from here, those that lie there stay: others start from them.
        for version in
            (1..chain.roots()[0].version().get()).filter_map(Version::new).take(limits.root_rotations)
        {
            if let Some(root) = read.files.root(version) {
                files.put(FileName::versioned(RoleName::root(), version), root.clone());
            }
        }
        history = History::of(&found);
        history.add_all(&read.files);
        history.trim(whole, chain, &request.collection, place.store()).await.map_err(ImportError::Store)?;
    }
    let packed = state::pack_state(&files, &history);
    packed.check_size()?;
    place.push(&packed, Some(&tag)).await?;
    let back = request.store.resolve(&Selector::Tag(tag)).await?;
    match back.is_some_and(|b| b.digest() == packed.manifest.digest()) {
        true => Ok((packed.manifest.digest().clone(), true)),
        false => Err(ImportError::Contended(request.store.place())),
    }
}

/// That a state can hold the files that a repository lists of the whole collection, before the first is asked for: their lengths
/// are what somebody signed.
fn affordable(own: &[(RoleName, String, Target)]) -> Result<(), Oversize> {
    let bytes = own.iter().fold(0u64, |sum, (_, _, target)| sum.saturating_add(target.length));
    let rows = [
        ("bytes of files", bytes, MAX_STATE_FILES),
        ("files", own.len() as u64, MAX_STATE_FILE_COUNT as u64),
    ];
    match rows.into_iter().find(|(_, got, limit)| got > limit) {
        Some((what, got, limit)) => Err(Oversize { what, got, limit }),
        None => Ok(()),
    }
}

/// That nothing falls.
fn not_below(new: &Whole, old: &Whole, place: &str) -> Result<(), ImportError> {
    if !new.is_below(old) {
        return Ok(());
    }
    let (new, old) = (new.trusted(), old.trusted());
    let fell = old
        .snapshot()
        .role()
        .pins()
        .iter()
        .find(|(role, pin)| new.pin(role).is_none_or(|ours| ours.version < pin.version));
    let role = fell.map_or_else(RoleName::timestamp, |(role, _)| role.clone());
    Err(ImportError::Older { place: place.to_owned(), role })
}

/// A role that names no collection at all is another thing than one that names another collection.
fn foreign_role(e: TufError) -> ImportError {
    match &e.fault {
        Fault::Collection { got, .. } if got.is_empty() => ImportError::Foreign { role: e.role },
        _ => e.into(),
    }
}

fn foreign(e: ImportError) -> ImportError {
    match e {
        ImportError::Tuf(e) => foreign_role(e),
        other => other,
    }
}

#[cfg(test)]
mod tests;
