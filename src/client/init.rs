//! `init`: a collection's keys become its root of trust and its first state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::known::Known;
use super::memory::{Memory, MemoryError};
use super::signing::{OpenKeys, SignError, sign};
use super::state::{self, Kind, StateError};
use super::whole::{Whole, walk};
use crate::keys::{KeyError, Signer};
use crate::oci::{
    Content, Digest, EMPTY_JSON, Packer, Reference, Repository, Selector, Tag, empty_descriptor, media_type,
};
use crate::sig::{KeyId, PublicKey};
use crate::store::{BytesSource, Failure, Manage, StoreError};
use crate::time::UnixTime;
use crate::trust::{Anchor, Duration, Scope};
use crate::tuf::{
    CollectionName, Draft, Extra, FileName, FilePin, Files, Heading, Limits, PathPattern, Paths, Remembered,
    RoleKeys, RoleName, Signers, TufError, Version, delegation,
};

/// A revocation list with nothing in it.
const NO_REVOCATIONS: &[u8] = br#"{"entries":[],"schemaVersion":1}"#;

/// What `init` needs.
pub struct Request<'a> {
    /// The collection's name.
    pub collection: CollectionName,
    /// Where the state is written.
    pub store: &'a dyn Manage,
    /// Keys of the root role.
    pub root_keys: Vec<Arc<dyn Signer>>,
    /// How many root keys must sign.
    pub root_threshold: u32,
    /// Key of top-level targets.
    pub targets_key: Arc<dyn Signer>,
    /// Key of releases and revocations.
    pub releases_key: Arc<dyn Signer>,
    /// Key of snapshot and timestamp.
    pub online_key: Arc<dyn Signer>,
    /// Lifetimes of the roles.
    pub lifetimes: Lifetimes,
    /// One process at a time publishes: submissions are skipped.
    pub single_writer: bool,
    /// Why a root key may be an online or releases key as well.
    pub shared_root_key: Option<String>,
    /// Where the root is written for handing out.
    pub root_file: &'a Path,
    /// The collection begins anew: what lies there and what is remembered of it is no obstacle, and this revocation list
    /// goes on. Nothing leads from its old root to the new one.
    pub anew: Option<Bytes>,
    /// Where the state is remembered: the home, and a lock file.
    pub memories: &'a [Memory],
    /// The time.
    pub now: UnixTime,
}

/// How long each role's files are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// `root`.
    pub root: Duration,
    /// `targets`.
    pub targets: Duration,
    /// `targets/releases`.
    pub releases: Duration,
    /// `targets/revocations`.
    pub revocations: Duration,
    /// `snapshot`.
    pub snapshot: Duration,
    /// `timestamp`.
    pub timestamp: Duration,
}

/// A collection that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of the state's manifest.
    pub digest: Digest,
    /// The root file.
    pub root: Bytes,
    /// Where it was written for handing out.
    pub root_file: PathBuf,
    /// Number of distinct root keys, and how many must sign.
    pub root_keys: (usize, u32),
    /// Which key signs which role.
    pub keys: Vec<(RoleName, KeyId)>,
    /// What this installation should trust: one anchor for each repository.
    pub anchors: Vec<Anchor>,
    /// When each role expires, the first one first.
    pub deadlines: Vec<(UnixTime, RoleName)>,
    /// What to do now, in this order.
    pub next: Vec<NextStep>,
}

/// What the owner of a new collection does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Give deployers the root, or its fingerprint by a way of its own.
    HandOut {
        /// The root file.
        file: PathBuf,
        /// Its fingerprint.
        fingerprint: Digest,
        /// The scope that a deployer trusts it for.
        scope: Scope,
    },
    /// Keep these keys off this machine until then.
    MoveKeys {
        /// Their ids.
        keys: Vec<KeyId>,
        /// When they are needed again.
        before: UnixTime,
    },
    /// Run `renew` once a day.
    Schedule {
        /// Where.
        at: Reference,
        /// With this key only.
        key: KeyId,
    },
    /// The first role to expire.
    Deadline {
        /// Which.
        role: RoleName,
        /// When.
        expires: UnixTime,
    },
    /// Exclude `bulla.*` and `sha256-*` from retention rules.
    Retention,
}

/// Why no collection was created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The root threshold cannot be met.
    #[error("a threshold of {threshold} with {keys} distinct root keys")]
    Threshold {
        /// As asked for.
        threshold: u32,
        /// Distinct keys given.
        keys: usize,
    },
    /// Who runs the nightly job could replace the root.
    #[error("the root key {key} is also the key of {role}")]
    SharedRootKey {
        /// The key.
        key: KeyId,
        /// The other role.
        role: RoleName,
    },
    /// Role files of one type under one key could stand in for each other.
    #[error("the targets key {key} is also the key of {role}")]
    SharedTargetsKey {
        /// The key.
        key: KeyId,
        /// The other role.
        role: RoleName,
    },
    /// A state of this collection lies there.
    #[error("a state of {collection} lies at {place} already")]
    Exists {
        /// The collection.
        collection: CollectionName,
        /// Where.
        place: Reference,
    },
    /// Tags there cannot be moved, and the state's must be.
    #[error("{place}: the tag {tag} was set and could not be moved: {failure}")]
    TagImmutable {
        /// Where.
        place: Reference,
        /// The tag that it was tried with.
        tag: Tag,
        /// The registry's words.
        failure: Failure,
    },
    /// This installation remembers the collection.
    #[error("{collection} is remembered in {}", .path.display())]
    Remembered {
        /// The collection.
        collection: CollectionName,
        /// The memory.
        path: PathBuf,
    },
    /// The root file exists or cannot be written.
    #[error("{}: {reason}", .path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// The kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A role could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What was made does not verify.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// The place failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies at the state's tag.
    #[error(transparent)]
    State(#[from] StateError),
    /// The memory failed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Default for Lifetimes {
    fn default() -> Self {
        let d = Duration::days;
        Self {
            root: d(365),
            targets: d(365),
            releases: d(90),
            revocations: d(90),
            snapshot: d(30),
            timestamp: d(7),
        }
    }
}

impl Lifetimes {
    /// The cadence of CNAB-Sec 301.
    pub fn cnab_301() -> Self {
        let d = Duration::days;
        Self {
            root: d(365),
            targets: d(30),
            releases: d(30),
            revocations: d(30),
            snapshot: d(1),
            timestamp: d(1),
        }
    }

    /// Set one by the short name of its role; `false` when there is no such role.
    pub fn set(&mut self, role: &str, lifetime: Duration) -> bool {
        let slot = match role {
            "root" => &mut self.root,
            "targets" => &mut self.targets,
            "releases" | "targets/releases" => &mut self.releases,
            "revocations" | "targets/revocations" => &mut self.revocations,
            "snapshot" => &mut self.snapshot,
            "timestamp" => &mut self.timestamp,
            _ => return false,
        };
        *slot = lifetime;
        true
    }
}

/// Create the collection.
///
/// # Errors
/// See [`InitError`]. Before the state is pushed nothing is left behind.
pub async fn init(request: Request<'_>) -> Result<Created, InitError> {
    check_keys(&request)?;
    let place = request.store.place();
    let tag = request.collection.state_tag();
    let collection = request.collection.clone();
    let first = request.anew.is_none();
    if let Some(memory) = request.memories.iter().find(|m| first && m.path().exists()) {
        return Err(InitError::Remembered { collection, path: memory.path().to_owned() });
    }
    let there = match state::resolve_state(request.store, &collection).await {
        Err(StateError::Store(e)) if e.is_not_found() => None,
        other => other?,
    };
    if there.is_some() && first {
        return Err(InitError::Exists { collection, place });
    }
    let files = first_files(&request).await?;
    let root = files.root(Version::ONE).cloned().unwrap_or_default();
    let limits = Limits::default();
    let chain = walk(&root, &collection, &[&files], &limits)?;
    let whole = Whole::judge(&chain, &files, &collection, request.now, &limits)?;

    let written = RootFile::write(request.root_file, &root)?;
    let packed = state::pack(Kind::State, &files, None);
    Known::new(request.store).push(&packed, Some(&tag)).await?;
    // Two who create one collection at once: the last PUT wins, and only its maker goes on.
    let back = request.store.resolve(&Selector::Tag(tag.clone())).await?;
    if back.is_none_or(|b| b.digest() != packed.manifest.digest()) {
        return Err(InitError::Exists { collection, place });
    }
    written.keep();
    let remembered = Remembered::of(&chain, whole.trusted(), &files, None);
    for memory in request.memories {
        memory.save(&root, &remembered)?;
    }
    Ok(created(&request, &whole, root, packed.manifest.digest().clone()))
}

/// Find out whether tags like the state's can be moved at a place, by moving one of its own: two small manifests at the
/// tag `bulla.<h>.probe`, which is taken away again where that is possible. An OCI layout is not asked.
///
/// # Errors
/// [`InitError::TagImmutable`], or the place failed.
pub async fn check_tags(store: &dyn Manage, collection: &CollectionName) -> Result<(), InitError> {
    let place = store.place();
    let Ok(tag) = format!("{}.probe", collection.state_tag()).parse::<Tag>() else { return Ok(()) };
    if !matches!(place, Reference::Registry(_)) {
        return Ok(());
    }
    let probe = |word: &str| Packer::new(media_type::BULLA_PROBE).annotation("vnd.bulla.probe", word).build();
    let (first, second) = (probe("first"), probe("second"));
    let empty = Content::new(empty_descriptor().media_type, EMPTY_JSON);
    store.push_blob(empty.descriptor(), &BytesSource(empty.bytes().clone())).await?;
    let refused = |e: &StoreError| matches!(e.failure, Failure::Refused { .. } | Failure::Denied(_));
    let mut moved = store.push_manifest(&first, Some(&tag)).await;
    let may_set = match &moved {
        // What an earlier probe left there may be what cannot be moved.
        Err(e) if refused(e) => store.resolve(&Selector::Tag(tag.clone())).await?.is_some(),
        other => other.is_ok(),
    };
    if moved.is_ok() {
        moved = store.push_manifest(&second, Some(&tag)).await;
    }
    if !store.delete(&Selector::Tag(tag.clone())).await.unwrap_or(false) {
        // What stays is small, and no reader takes it for a state.
        let _ = store.delete(&Selector::Digest(second.digest().clone())).await;
    }
    match moved {
        Err(e) if may_set && refused(&e) => Err(InitError::TagImmutable { place, tag, failure: e.failure }),
        other => Ok(other?),
    }
}

fn check_keys(request: &Request<'_>) -> Result<(), InitError> {
    let distinct: BTreeSet<_> = request.root_keys.iter().map(|k| k.public_key()).collect();
    let threshold = request.root_threshold;
    if threshold == 0 || threshold as usize > distinct.len() {
        return Err(InitError::Threshold { threshold, keys: distinct.len() });
    }
    let others =
        [(&request.online_key, RoleName::timestamp()), (&request.releases_key, RoleName::releases())];
    // A targets file does not name its role: under one key, a file of releases pinned as top-level targets would
    // verify, without the delegation that makes revocations mandatory.
    let targets = request.targets_key.public_key();
    if let Some((_, role)) = others.iter().find(|(key, _)| key.public_key() == targets) {
        return Err(InitError::SharedTargetsKey { key: targets.key_id(), role: role.clone() });
    }
    if request.shared_root_key.is_some() {
        return Ok(());
    }
    for (key, role) in others {
        if distinct.contains(key.public_key()) {
            return Err(InitError::SharedRootKey { key: key.public_key().key_id(), role });
        }
    }
    Ok(())
}

/// All files of the first state, signed.
async fn first_files(request: &Request<'_>) -> Result<Files, InitError> {
    let collection = &request.collection;
    let mut all = request.root_keys.clone();
    all.extend([&request.targets_key, &request.releases_key, &request.online_key].map(Arc::clone));
    let ring = OpenKeys(all);
    let one = |key: &Arc<dyn Signer>| Signers { keys: vec![key.public_key().clone()], threshold: 1 };
    let distinct: BTreeSet<&PublicKey> = request.root_keys.iter().map(|k| k.public_key()).collect();
    let root_signers =
        Signers { keys: distinct.into_iter().cloned().collect(), threshold: request.root_threshold };
    let (targets, releases, online) =
        (one(&request.targets_key), one(&request.releases_key), one(&request.online_key));
    let heading = |version: Version, lifetime: Duration| Heading {
        version,
        expires: request.now.plus(lifetime.secs()),
        extra: Extra::new(collection.to_string(), request.now),
    };
    let mut files = Files::new();
    let l = &request.lifetimes;

    let mut head = heading(Version::ONE, l.root);
    head.extra.single_writer = request.single_writer;
    head.extra.shared_root_key = request.shared_root_key.clone().filter(|_| shares(request));
    let roles = BTreeMap::from([
        (RoleName::root(), root_signers.clone()),
        (RoleName::targets(), targets.clone()),
        (RoleName::snapshot(), online.clone()),
        (RoleName::timestamp(), online.clone()),
    ]);
    let role = RoleName::root();
    let root = sign(&ring, &role, &role_keys(&root_signers), &Draft::root(&head, &roles)).await?;
    files.put(FileName::versioned(role, Version::ONE), root);

    let path = collection.revocations_path();
    let list = request.anew.clone().unwrap_or(Bytes::from_static(NO_REVOCATIONS));
    let listed = json!({
        "length": list.len(),
        "hashes": {"sha256": Digest::sha256(&list).hex()},
    });
    let listed: Map<String, Value> = [(path.clone(), listed)].into_iter().collect();
    files.put_target(path.clone(), list);
    let patterns = |paths: &[String]| -> Result<Paths, InitError> {
        let parsed: Result<Vec<_>, _> = paths.iter().map(|p| PathPattern::parse(p)).collect();
        Ok(Paths::Patterns(parsed.map_err(|fault| TufError::new(&RoleName::targets(), fault))?))
    };
    let delegations = [
        delegation(RoleName::revocations(), &releases, patterns(&[path])?, true),
        delegation(RoleName::releases(), &releases, patterns(&collection.release_patterns())?, true),
    ];
    let mut head = heading(Version::ONE, l.targets);
    head.extra.delegations_set = Some(Version::ONE);
    let drafts = [
        (RoleName::targets(), &targets, Draft::targets(&head, Map::new(), &delegations)),
        (
            RoleName::revocations(),
            &releases,
            Draft::targets(&heading(Version::ONE, l.revocations), listed, &[]),
        ),
        (
            RoleName::releases(),
            &releases,
            Draft::targets(&heading(Version::ONE, l.releases), Map::new(), &[]),
        ),
    ];
    let mut pins = BTreeMap::new();
    for (role, signers, draft) in drafts {
        let file = sign(&ring, &role, &role_keys(signers), &draft).await?;
        pins.insert(role.clone(), FilePin::of(Version::ONE, &file));
        files.put(FileName::versioned(role, Version::ONE), file);
    }
    let version = crate::tuf::lineage::next_online_version([], request.now);
    let role = RoleName::snapshot();
    let draft = Draft::snapshot(&heading(version, l.snapshot), &pins);
    let snapshot = sign(&ring, &role, &role_keys(&online), &draft).await?;
    let pin = FilePin::of(version, &snapshot);
    files.put(FileName::versioned(role, version), snapshot);
    let draft = Draft::timestamp(&heading(version, l.timestamp), &pin);
    let timestamp = sign(&ring, &RoleName::timestamp(), &role_keys(&online), &draft).await?;
    files.put(FileName::timestamp(), timestamp);
    Ok(files)
}

fn shares(request: &Request<'_>) -> bool {
    request.root_keys.iter().any(|k| {
        [&request.online_key, &request.releases_key].iter().any(|o| o.public_key() == k.public_key())
    })
}

fn role_keys(signers: &Signers) -> RoleKeys {
    let keys = signers.keys.iter().map(|k| (k.key_id(), Some(k.clone()))).collect();
    RoleKeys { threshold: signers.threshold, keys }
}

fn created(request: &Request<'_>, whole: &Whole, root: Bytes, digest: Digest) -> Created {
    let collection = &request.collection;
    let place = request.store.place();
    let anchors = anchors(collection, &place, &root);
    let trusted = whole.trusted();
    let mut deadlines: Vec<_> = trusted.expiries().into_iter().map(|(role, at)| (at, role)).collect();
    let delegated = whole.roles().iter().filter(|(role, _)| !role.is_top_level());
    deadlines.extend(delegated.map(|(role, at)| (at.file.expires(), role.clone())));
    deadlines.sort();
    let id = |key: &Arc<dyn Signer>| key.public_key().key_id();
    let mut keys: Vec<_> = request.root_keys.iter().map(|k| (RoleName::root(), id(k))).collect();
    keys.dedup();
    let mut offline: BTreeSet<_> =
        keys.iter().map(|(_, id)| id.clone()).chain([id(&request.targets_key)]).collect();
    // One key for several roles stays where it is used daily.
    offline.retain(|key| *key != id(&request.releases_key) && *key != id(&request.online_key));
    keys.extend([
        (RoleName::targets(), id(&request.targets_key)),
        (RoleName::releases(), id(&request.releases_key)),
        (RoleName::revocations(), id(&request.releases_key)),
        (RoleName::snapshot(), id(&request.online_key)),
        (RoleName::timestamp(), id(&request.online_key)),
    ]);
    let hand_out = NextStep::HandOut {
        file: request.root_file.to_owned(),
        fingerprint: Digest::sha256(&root),
        scope: anchors.last().map_or_else(|| scope_of(collection.as_repository()), |a| a.scope.clone()),
    };
    let needed = trusted.root().expires().min(trusted.targets().expires());
    let mut next = vec![hand_out];
    if !offline.is_empty() {
        next.push(NextStep::MoveKeys { keys: offline.into_iter().collect(), before: needed });
    }
    next.push(NextStep::Schedule { at: place.clone(), key: id(&request.online_key) });
    let first = deadlines.first().map(|(at, role)| NextStep::Deadline { role: role.clone(), expires: *at });
    next.extend(first);
    next.push(NextStep::Retention);
    Created {
        collection: collection.clone(),
        state: place.at(Some(Selector::Tag(collection.state_tag()))),
        digest,
        root,
        root_file: request.root_file.to_owned(),
        root_keys: (trusted.root().role().root_keys().keys.len(), request.root_threshold),
        keys,
        anchors,
        deadlines,
        next,
    }
}

/// One anchor for the name, and one for the place where that is a repository of another name.
fn anchors(collection: &CollectionName, place: &Reference, root: &Bytes) -> Vec<Anchor> {
    let name = collection.as_repository();
    let anchor = |repository: &Repository, state_at: Vec<Reference>| {
        Anchor::tuf(scope_of(repository), collection.clone(), root.clone(), state_at)
    };
    match place {
        Reference::Registry(r) if r.repository != *name => {
            vec![anchor(name, vec![place.clone()]), anchor(&r.repository, Vec::new())]
        }
        _ => vec![anchor(name, Vec::new())],
    }
}

fn scope_of(repository: &Repository) -> Scope {
    Scope::Repository(repository.clone())
}

/// The root file on disk; removed again unless it is kept.
struct RootFile {
    path: PathBuf,
    kept: bool,
}

impl RootFile {
    fn write(path: &Path, root: &Bytes) -> Result<Self, InitError> {
        let failed = |e: io::Error| InitError::RootFile {
            path: path.to_owned(),
            kind: e.kind(),
            reason: e.to_string(),
        };
        let mut file = fs::File::create_new(path).map_err(failed)?;
        let written = Self { path: path.to_owned(), kept: false };
        file.write_all(root).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(written)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for RootFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing was created, so nothing must look as if it were; a file that cannot be removed does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
