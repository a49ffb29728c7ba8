//! Which of two states is the newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::unconfirmed;
use crate::client::memory::Memory;
use crate::client::state::{self, Kind};
use crate::client::tree::state_tags;
use crate::client::whole::{Whole, walk_on};
use crate::oci::{Content, Tag};
use crate::store::Store;
use crate::store::copy::{TagDecision, TagGuard};
use crate::time::UnixTime;
use crate::trust::TrustFile;
use crate::tuf::{CollectionName, Files, Limits, RoleName, Root, TufError, Unverified};

/// Lets a state replace another one only when both verify under one root (a trusted one, or else the destination's own),
/// and it is the newer one.
pub(super) struct NewerState<'a> {
    pub(super) trust: &'a TrustFile,
    pub(super) memory: &'a Path,
    pub(super) now: UnixTime,
    /// The collections that are meant; all that are anchored if empty.
    pub(super) collections: &'a BTreeSet<CollectionName>,
    pub(super) source: &'a dyn Store,
    pub(super) destination: &'a dyn Store,
    /// Tags whose bundles were to come in the same run, and did not: no state may contradict what they name.
    pub(super) lost: &'a BTreeSet<Tag>,
    /// The states that were let through, as they were judged.
    pub(super) moved: Mutex<BTreeMap<Tag, Moved>>,
    /// Of the states that were not because of `lost`, the tags of `lost` that they contradict.
    pub(super) held: Mutex<BTreeMap<Tag, Vec<Tag>>>,
}

/// A state that is newer than what the destination had.
#[derive(Clone)]
pub(super) struct Moved {
    pub(super) collection: CollectionName,
    pub(super) new: Whole,
    /// What the destination had, if anything.
    pub(super) old: Option<Whole>,
}

#[async_trait]
impl TagGuard for NewerState<'_> {
    async fn decide(&self, tag: &Tag, existing: &Content, incoming: &Content) -> TagDecision {
        if state_tags(&BTreeSet::from([tag.clone()])).is_empty() {
            return keep("the destination has another one");
        }
        let existing = match read(self.destination, existing).await {
            Ok(files) => files,
            Err(e) => return keep(format!("the destination's cannot be read: {e}")),
        };
        let incoming = match read(self.source, incoming).await {
            Ok(files) => files,
            Err(e) => return keep(format!("the source's cannot be read: {e}")),
        };
        // Where no root is trusted, none needs to be: nobody but its own signers can make a newer state under the root
        // that the destination has already.
        let roots = self.roots(tag, &existing);
        if roots.is_empty() {
            return keep("the destination has another one, and its root cannot tell which is newer");
        }
        let mut reasons = Vec::new();
        for (root, collection) in roots {
            match self.compare(&root, &collection, &existing, &incoming) {
                Ok(Some((old, new))) => {
                    let moved = Moved { collection, new, old: Some(old) };
                    let without = unconfirmed::contradicted(self.destination, &moved, self.lost).await;
                    if !without.is_empty() {
                        let names: Vec<&str> = without.iter().map(Tag::as_str).collect();
                        let names = names.join(", ");
                        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.clone(), without);
                        return keep(format!(
                            "the newer one was held back, for it names another bundle at {names}, which did not come in \
                             this run; run the same command again when it can be copied"
                        ));
                    }
                    self.moved.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.clone(), moved);
                    return TagDecision::Replace;
                }
                Ok(None) => reasons.push("the destination's is as new or newer".to_owned()),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        keep(reasons.join("; "))
    }
}

impl NewerState<'_> {
    /// A state that is new at the destination, judged by itself. `None` when it is of no collection that is meant.
    ///
    /// # Errors
    /// Why nothing can be said of it, for the report.
    pub(super) async fn judge_new(&self, tag: &Tag, manifest: &Content) -> Result<Option<Moved>, String> {
        let files = read(self.source, manifest).await.map_err(|e| format!("it cannot be read: {e}"))?;
        let mut reasons = Vec::new();
        for (root, collection) in self.roots(tag, &files) {
            match self.judge(&root, &collection, &files) {
                Ok(new) => return Ok(Some(Moved { collection, new, old: None })),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        match (reasons.is_empty(), self.collections.iter().any(|c| lies_at(c, tag))) {
            (false, _) => Err(reasons.join("; ")),
            // Others than those that are meant are nobody's question.
            (true, false) if !self.collections.is_empty() => Ok(None),
            (true, _) => Err("its own root does not say of which collection it is".into()),
        }
    }

    /// A state, judged by itself under this root and those that are remembered after it.
    ///
    /// # Errors
    /// Why it is none that counts.
    pub(super) fn judge(
        &self,
        root: &Bytes,
        collection: &CollectionName,
        files: &Files,
    ) -> Result<Whole, String> {
        let (known, limits) = (self.remembered(root, collection)?, Limits::default());
        walk_on(root, collection, Some(&known), &[files], &limits)
            .and_then(|chain| Whole::judge(&chain, files, collection, self.now, &limits))
            .map_err(|e| format!("it does not verify: {e}"))
    }

    /// The roots under which a state at this tag may be judged: those that are trusted, or else its own.
    fn roots(&self, tag: &Tag, files: &Files) -> Vec<(Bytes, CollectionName)> {
        let trusted = self.trust.collections().filter(|(collection, _)| self.covers(collection, tag));
        let mut roots: Vec<(Bytes, CollectionName)> =
            trusted.map(|(collection, root)| (root.bytes().clone(), collection)).collect();
        if roots.is_empty() {
            roots.extend(own_root(files).filter(|(_, collection)| self.covers(collection, tag)));
        }
        roots
    }

    /// Whether the states of this collection lie at this tag, and are meant.
    fn covers(&self, collection: &CollectionName, tag: &Tag) -> bool {
        let meant = self.collections.is_empty() || self.collections.contains(collection);
        meant && lies_at(collection, tag)
    }

    fn remembered(&self, root: &Bytes, collection: &CollectionName) -> Result<Files, String> {
        let memory = Memory::in_dir(self.memory, collection).load(root).map_err(|e| e.to_string())?;
        Ok(memory.map(|m| m.files).unwrap_or_default())
    }

    /// `existing` and `incoming`, judged, when `incoming` is the newer one.
    ///
    /// # Errors
    /// Why it cannot be told, for the report.
    fn compare(
        &self,
        root: &Bytes,
        collection: &CollectionName,
        existing: &Files,
        incoming: &Files,
    ) -> Result<Option<(Whole, Whole)>, String> {
        let limits = Limits::default();
        let roots = self.remembered(root, collection)?;
        let judge = |known: Option<&Files>, offered: &[&Files], files: &Files| -> Result<Whole, TufError> {
            let chain = walk_on(root, collection, known, offered, &limits)?;
            Whole::judge(&chain, files, collection, self.now, &limits)
        };
        let new = judge(Some(&roots), &[existing, incoming], incoming)
            .map_err(|e| format!("the source's does not verify: {e}"))?;
        match judge(Some(&roots), &[existing, incoming], existing) {
            Ok(old) => {
                let version = |w: &Whole| w.trusted().timestamp().version();
                let newer = version(&new) > version(&old) && !new.is_below(&old);
                Ok(newer.then_some((old, new)))
            }
            // Keys were changed since: it counts as older when it verifies under an earlier root of the same chain.
            Err(under_final) => match judge(None, &[existing], existing) {
                Ok(old) if old.trusted().root().version() < new.trusted().root().version() => {
                    Ok(Some((old, new)))
                }
                _ => Err(format!("the destination's does not verify: {under_final}")),
            },
        }
    }
}

/// Whether `tag` is one at which states of the collection lie.
fn lies_at(collection: &CollectionName, tag: &Tag) -> bool {
    let own = collection.state_tag();
    let versioned = |t: &str| t.strip_prefix(own.as_str()).is_some_and(|rest| rest.starts_with('.'));
    *tag == own || versioned(tag.as_str())
}

/// The oldest root of a state, and the collection that it names.
fn own_root(files: &Files) -> Option<(Bytes, CollectionName)> {
    let role = RoleName::root();
    let (_, bytes) = files.metadata().iter().find(|(name, _)| *name.role() == role)?;
    let root = Unverified::<Root>::parse(&role, bytes, &Limits::default()).ok()?;
    Some((bytes.clone(), root.claimed_collection()?.parse().ok()?))
}

fn keep(reason: impl Into<String>) -> TagDecision {
    TagDecision::Keep { reason: reason.into() }
}

async fn read(store: &dyn Store, manifest: &Content) -> Result<Files, String> {
    state::read(store, manifest, Kind::State).await.map(|read| read.files).map_err(|e| e.to_string())
}
