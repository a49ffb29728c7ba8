//! `trust replace`: a root that lost its keys gives way to one that was brought by another way, and what was remembered of
//! its chain is forgotten (CNAB-302: a threshold or more of the root keys was stolen).

use std::path::Path;

use bytes::Bytes;

use super::anchors::{AnchorError, RootFacts, TrustStore, root_facts};
use super::memory::{Memory, MemoryError};
use super::whole::walk;
use crate::oci::Digest;
use crate::trust::{Anchor, PinnedRoot};
use crate::tuf::{CollectionName, Files, Limits, RoleName, Root, Unverified};

/// What was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The collection.
    pub collection: CollectionName,
    /// Each anchor that rested on the old root, before and after.
    pub anchors: Vec<(Anchor, Anchor)>,
    /// What the new root says.
    pub root: RootFacts,
    /// Number of remembered chains that were forgotten.
    pub forgotten: usize,
}

/// Why nothing was replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The file is not the one that was announced.
    #[error("the file has the fingerprint {found}")]
    Fingerprint {
        /// As given.
        asked: Digest,
        /// The file's.
        found: Digest,
    },
    /// The collection is not anchored.
    #[error("{0} is not anchored")]
    NoAnchor(CollectionName),
    /// The root follows from the one that is trusted.
    #[error("root version {0} follows from the trusted one")]
    SameChain(crate::tuf::Version),
    /// Anchors, or the root itself.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Replace the root of every anchor of `collection`, and forget the chains of the old ones.
///
/// # Errors
/// See [`ReplaceError`]. Nothing is changed, except when the memory fails after the anchors were written: then the old
/// chain is still remembered, and nothing refers to it.
pub fn replace(
    store: &TrustStore,
    memory: &Path,
    collection: &CollectionName,
    root: &Bytes,
    fingerprint: &Digest,
) -> Result<Replaced, ReplaceError> {
    if !fingerprint.matches(root) {
        let (asked, found) = (fingerprint.clone(), Digest::sha256(root));
        return Err(ReplaceError::Fingerprint { asked, found });
    }
    let facts = root_facts(root, Some(collection)).map_err(AnchorError::from)?;
    let rests = |(of, pinned): (CollectionName, PinnedRoot)| (of == *collection).then_some(pinned);
    let old: Vec<PinnedRoot> = store.load()?.collections().filter_map(rests).collect();
    if old.is_empty() {
        return Err(ReplaceError::NoAnchor(collection.clone()));
    }
    let memory = Memory::in_dir(memory, collection);
    for anchor in old.iter().map(PinnedRoot::bytes).filter(|pinned| *pinned != root) {
        let known = memory.load(anchor)?;
        // Floors fall with the chain; those of a chain that still holds must not.
        let held = known.is_some_and(|k| {
            k.files.metadata().values().any(|bytes| bytes == root)
                || follows(anchor, collection, &k.files, root)
        });
        if held {
            return Err(ReplaceError::SameChain(facts.version));
        }
    }
    let anchors = store.replace_roots(collection, root)?;
    let gone: Vec<Bytes> = old.iter().map(|pinned| pinned.bytes().clone()).filter(|b| b != root).collect();
    let forgotten = memory.forget(&gone)?;
    Ok(Replaced { collection: collection.clone(), anchors, root: facts, forgotten })
}

/// Whether the keys of the last remembered root signed `root` as a later one.
fn follows(anchor: &Bytes, collection: &CollectionName, known: &Files, root: &Bytes) -> bool {
    let (role, limits) = (RoleName::root(), Limits::default());
    let Ok(chain) = walk(anchor, collection, &[known], &limits) else { return false };
    let Ok(new) = Unverified::<Root>::parse(&role, root, &limits) else { return false };
    let last = chain.last();
    let Ok(read) = new.clone().verify(&role, &[last.role().root_keys()]) else { return false };
    read.version() > last.version()
}
