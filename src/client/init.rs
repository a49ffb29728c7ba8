//! `init`: a collection's keys become its root of trust and its first state.

mod first;
mod found;
mod made;
mod retired;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::memory::{Memory, MemoryError};
use super::signing::{OpenKeys, SignError};
use super::state::StateError;
use crate::keys::{KeyError, Signer};
use crate::oci::{Content, EMPTY_JSON, Packer, Reference, Selector, Tag, empty_descriptor, media_type};
use crate::sig::KeyId;
use crate::store::{BytesSource, Failure, Manage, StoreError};
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::proposal::{EditError, Incomplete};
use crate::tuf::{CollectionName, RoleName, TufError};

pub use first::{Plan, is_first};
pub use found::{Founding, found};
pub use made::{Created, NextStep};
pub use retired::{Retired, retired};

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
    /// It was made before from this very root, and cannot be used as it lies there.
    #[error("{collection} lies at {place} already, and {why}")]
    Stands {
        /// The collection.
        collection: CollectionName,
        /// Where.
        place: Reference,
        /// What is wrong with it.
        why: String,
    },
    /// A key of the root that is given up, or of a role under it.
    #[error("{key} has signed {role} under the root that is given up")]
    Retired {
        /// The key.
        key: KeyId,
        /// What it signed.
        role: RoleName,
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
    /// Its drafts cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Signatures are missing: nothing was created.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// A file of the proposal has expired.
    #[error("{role} of the proposal expired at {expires}")]
    Late {
        /// The role.
        role: RoleName,
        /// When.
        expires: UnixTime,
    },
    /// What does not come along, and the first state lists.
    #[error("the file {0} does not come along")]
    TargetFile(String),
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

/// Create the collection, with all keys at hand.
///
/// # Errors
/// See [`InitError`]. Before the state is pushed nothing is left behind.
pub async fn init(request: Request<'_>) -> Result<Created, InitError> {
    let mut all = request.root_keys.clone();
    all.extend([&request.targets_key, &request.releases_key, &request.online_key].map(Arc::clone));
    let keys = OpenKeys(all);
    let public = |key: &Arc<dyn Signer>| key.public_key().clone();
    let plan = Plan {
        collection: request.collection,
        root_keys: request.root_keys.iter().map(public).collect(),
        root_threshold: request.root_threshold,
        targets_key: public(&request.targets_key),
        releases_key: public(&request.releases_key),
        online_key: public(&request.online_key),
        lifetimes: request.lifetimes.clone(),
        single_writer: request.single_writer,
        shared_root_key: request.shared_root_key,
        anew: request.anew.clone(),
        at: request.now,
    };
    let (proposal, base) = plan.propose(&keys, String::new()).await?;
    let founding = Founding {
        collection: &plan.collection,
        store: request.store,
        keys: &keys,
        snapshot: request.lifetimes.snapshot,
        timestamp: request.lifetimes.timestamp,
        root_file: request.root_file,
        anew: request.anew.is_some(),
        resume: false,
        memories: request.memories,
        now: request.now,
    };
    found(&founding, &proposal.complete(&base)?).await
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
        let mut file = match fs::File::create_new(path) {
            // Left by a run that broke off before anything was pushed.
            Err(e)
                if e.kind() == io::ErrorKind::AlreadyExists
                    && fs::read(path).is_ok_and(|there| there == *root) =>
            {
                return Ok(Self { path: path.to_owned(), kept: true });
            }
            made => made.map_err(failed)?,
        };
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
