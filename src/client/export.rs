//! `tuf export`: a collection's TUF repository as a tree of files that any web server serves and any TUF client reads. Byte for
//! byte what was signed; each file whole or not at all; the timestamp last (docs/adr/0013).

pub(super) mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::commit::survey::Survey;
use super::commit::{Committer, WorkError};
use super::known::Known;
use super::memory::Memory;
use super::signing::OpenKeys;
use super::whole::{Whole, is_own_file};
use crate::oci::{Digest, Selector};
use crate::store::{Manage, StoreError};
use crate::time::Clock;
use crate::tuf::{CollectionName, FileName, Files, Remembered, RoleName, Target, TufError, Version};

use tree::{Tree, places, target_names};

/// Bundles fetched side by side.
const CONCURRENCY: usize = 8;

/// What `tuf export` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state lies.
    pub state: &'a dyn Manage,
    /// Where the bundles lie.
    pub bundles: &'a dyn Manage,
    /// What is remembered; it is only read.
    pub memories: &'a [Memory],
    /// The folder of the tree.
    pub dir: &'a Path,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What became of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The collection.
    pub collection: CollectionName,
    /// Version of the timestamp.
    pub timestamp: Version,
    /// Metadata files in the tree now, the second names of delegated roles not counted.
    pub metadata: usize,
    /// Target files in the tree now.
    pub targets: usize,
    /// Files that were written; the others were there.
    pub written: usize,
    /// Target paths whose bytes are not to be had here.
    pub absent: Vec<String>,
    /// Target paths that are no path of a file, and metadata files of which a name is left out for the same reason.
    pub unnamed: Vec<String>,
}

/// Why nothing, or not all, was exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The state could not be had, or does not verify.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The live state is older than what is remembered here.
    #[error("the live state of {0} is older than what is remembered here")]
    Behind(CollectionName),
    /// A role of the state fails.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// A bundle could not be asked for.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree holds a newer timestamp.
    #[error("{} holds version {there}, and the state has version {ours}", .file.display())]
    Newer {
        /// The timestamp there.
        file: PathBuf,
        /// Its version.
        there: Version,
        /// The version of the state.
        ours: Version,
    },
    /// The tree is another repository's.
    #[error("{} is another repository's: {why}", .file.display())]
    Foreign {
        /// The file that says so.
        file: PathBuf,
        /// How.
        why: String,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}: {reason}", .file.display())]
    Io {
        /// "read" or "write".
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's words.
        reason: String,
    },
}

/// Export the live state.
///
/// # Errors
/// See [`ExportError`]. What was written before stays: no client sees it before the timestamp names it.
pub async fn export(request: Request<'_>) -> Result<Exported, ExportError> {
    let whole = live(&request).await?;
    let files = pinned(&whole);
    let tree = Tree::at(request.dir);
    let _alone = tree.alone()?;
    let timestamp = whole.trusted().timestamp();
    tree.check(&request.collection.to_string(), &files, timestamp.version())?;
    let mut exported = Exported {
        collection: request.collection.clone(),
        timestamp: timestamp.version(),
        metadata: 0,
        targets: 0,
        written: 0,
        absent: Vec::new(),
        unnamed: Vec::new(),
    };
    targets(&request, &whole, &tree, &mut exported).await?;
    let (places, short) = places(&files);
    exported.metadata = files.metadata().len();
    exported.unnamed.extend(short.iter().map(ToString::to_string));
    // Whoever reads a file finds everything that it names.
    for rank in [Rank::Delegated, Rank::Targets, Rank::Snapshot, Rank::Root, Rank::Timestamp] {
        if rank == Rank::Timestamp {
            // Another host may have written meanwhile, where locks do not reach.
            tree.not_newer(&request.collection.to_string(), timestamp.version())?;
        }
        for (file, _, bytes) in places.iter().filter(|(_, name, _)| Rank::of(name.role()) == rank) {
            exported.written += usize::from(tree.put(file, bytes)?);
        }
    }
    tree.finish()?;
    Ok(exported)
}

/// The live state, verified, and not older than what is remembered.
async fn live(request: &Request<'_>) -> Result<Whole, ExportError> {
    let (place, keys) = (Known::new(request.state), OpenKeys::default());
    let committer = Committer {
        place: &place,
        collection: &request.collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: true,
        keys: &keys,
        clock: request.clock,
    };
    let Survey { live, floor, .. } = committer.survey().await?;
    let absent =
        || WorkError::Absent { collection: request.collection.clone(), place: request.state.place() };
    let live = live.ok_or_else(absent)?;
    if floor.is_some_and(|floor| floor.fallen(live.trusted()).is_some()) {
        return Err(ExportError::Behind(request.collection.clone()));
    }
    Ok(live)
}

/// Exactly the files that the state pins, and every root.
fn pinned(whole: &Whole) -> Files {
    let mut files = whole.files().clone();
    files.retain(|name| *name.role() == RoleName::root());
    files.drop_targets();
    files.add_missing(&Remembered::pinned(whole.trusted(), whole.files()));
    files
}

/// Target files: those of the whole collection out of the state, bundles as the manifests that they are.
async fn targets(
    request: &Request<'_>,
    whole: &Whole,
    tree: &Tree,
    exported: &mut Exported,
) -> Result<(), ExportError> {
    let mut bundles: Vec<(String, Target)> = Vec::new();
    for (path, target) in whole.roles().values().flat_map(|at| at.file.role().targets()) {
        let Some(names) = target_names(path, target) else {
            exported.unnamed.push(path.clone());
            continue;
        };
        let own = is_own_file(&request.collection, path);
        let bytes = whole.files().target(path).filter(|b| own && target.check(b).is_ok());
        match bytes {
            Some(bytes) => {
                exported.targets += 1;
                exported.written += put_all(tree, &names, bytes)?;
            }
            None if request.collection.entry(path).is_some() => bundles.push((path.clone(), target.clone())),
            None => exported.absent.push(path.clone()),
        }
    }
    // A bundle has an entry for its digest and one for each tag: fetched once.
    let mut by_digest: BTreeMap<Digest, Vec<(String, Target)>> = BTreeMap::new();
    for (path, target) in bundles {
        match target.sha256().and_then(|hex| format!("sha256:{hex}").parse().ok()) {
            Some(digest) => by_digest.entry(digest).or_default().push((path, target)),
            None => exported.absent.push(path),
        }
    }
    let mut fetched = stream::iter(by_digest)
        .map(|(digest, entries)| async move {
            let found = request.bundles.resolve(&Selector::Digest(digest)).await;
            (found, entries)
        })
        .buffered(CONCURRENCY);
    while let Some((found, entries)) = fetched.next().await {
        let content = match found {
            Ok(content) => content,
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        for (path, target) in entries {
            let bytes = content.as_ref().map(|c| c.bytes()).filter(|b| target.check(b).is_ok());
            match (bytes, target_names(&path, &target)) {
                (Some(bytes), Some(names)) => {
                    exported.targets += 1;
                    exported.written += put_all(tree, &names, bytes)?;
                }
                _ => exported.absent.push(path),
            }
        }
    }
    exported.absent.sort();
    Ok(())
}

fn put_all(tree: &Tree, names: &[PathBuf], bytes: &Bytes) -> Result<usize, ExportError> {
    let mut written = 0;
    for name in names {
        written += usize::from(tree.put(name, bytes)?);
    }
    Ok(written)
}

/// In which order metadata is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Delegated,
    Targets,
    Snapshot,
    Root,
    Timestamp,
}

impl Rank {
    fn of(role: &RoleName) -> Self {
        match role.as_str() {
            "root" => Self::Root,
            "timestamp" => Self::Timestamp,
            "snapshot" => Self::Snapshot,
            "targets" => Self::Targets,
            _ => Self::Delegated,
        }
    }
}

/// The first root of a tree, by which it is recognised.
fn first_root() -> FileName {
    FileName::versioned(RoleName::root(), Version::ONE)
}

#[cfg(test)]
mod tests;
