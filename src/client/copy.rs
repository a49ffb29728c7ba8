//! `copy`: a bundle with all that hangs on it, and the states of the collections in its repository. Evidence is moved,
//! not judged, but for one question: which of two states is the newer one.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use super::memory::Memory;
use super::places::Places;
use super::state::{self, Kind};
use super::tree::state_tags;
use super::whole::{Whole, walk_on};
use crate::oci::{Content, Reference, Selector, Tag};
use crate::store::Store;
use crate::store::copy::{self, CopyError, CopyReport, CopyRequest, Observer, Side, TagDecision, TagGuard};
use crate::time::UnixTime;
use crate::trust::TrustFile;
use crate::tuf::{CollectionName, Files, Limits, RoleName, Root, TufError, Unverified};

/// What to copy, and what is known here that helps to tell newer from older.
pub struct Request<'a> {
    /// Opens the places.
    pub places: &'a dyn Places,
    /// The bundle.
    pub source: &'a Reference,
    /// Tag, digest or both.
    pub selector: Selector,
    /// Where it goes.
    pub destination: &'a Reference,
    /// Its tags there.
    pub tags: Vec<Tag>,
    /// The collection whose states are compared; all that are anchored if none is named.
    pub collection: Option<CollectionName>,
    /// Anchors.
    pub trust: &'a TrustFile,
    /// The folder of memories.
    pub memory: &'a Path,
    /// The time.
    pub now: UnixTime,
    /// Requests at a time at each end.
    pub concurrency: usize,
    /// Told what happens.
    pub observer: &'a dyn Observer,
}

/// Copy. Run again, it finishes what an interrupted copy left.
///
/// # Errors
/// Something could not be read or written, or was not there when it was read back.
pub async fn copy(request: Request<'_>) -> Result<CopyReport, CopyError> {
    let at = |side| move |error| CopyError::Store { side, error };
    let source = request.places.open(request.source).await.map_err(at(Side::Source))?;
    let tags = match source.tags(None).await {
        Err(e) if e.is_not_found() => Vec::new(),
        tags => tags.map_err(at(Side::Source))?,
    };
    if matches!(request.destination, Reference::Layout(_)) {
        // No directory is made for a bundle that is not there.
        let there = source.resolve(&request.selector).await.map_err(at(Side::Source))?;
        if there.is_none() {
            let (place, what) = (source.place().to_string(), request.selector.to_string());
            return Err(CopyError::Absent { place, what });
        }
    }
    let destination = request.places.create(request.destination).await.map_err(at(Side::Destination))?;
    let tags: BTreeSet<Tag> = tags.into_iter().collect();
    let guard = NewerState { request: &request, source: &*source, destination: &*destination };
    let what = CopyRequest {
        tags: request.tags.clone(),
        extra_tags: state_tags(&tags),
        concurrency: request.concurrency,
        ..CopyRequest::new(request.selector.clone())
    };
    copy::copy(&*source, &*destination, &what, &guard, request.observer).await
}

/// Lets a state replace another one only when both verify under one root (a trusted one, or else the destination's own),
/// and it is the newer one.
struct NewerState<'a> {
    request: &'a Request<'a>,
    source: &'a dyn Store,
    destination: &'a dyn Store,
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
        let anchors = self.request.trust.anchors.iter().filter(|a| self.covers(&a.collection, tag));
        let mut roots: Vec<(Bytes, CollectionName)> =
            anchors.map(|a| (a.root.bytes().clone(), a.collection.clone())).collect();
        if roots.is_empty() {
            // No root is trusted here, and none needs to be: nobody but its own signers can make a newer state under
            // the root that the destination has already.
            roots.extend(own_root(&existing).filter(|(_, collection)| self.covers(collection, tag)));
        }
        if roots.is_empty() {
            return keep("the destination has another one, and its root cannot tell which is newer");
        }
        let mut reasons = Vec::new();
        for (root, collection) in &roots {
            match self.compare(root, collection, &existing, &incoming) {
                Ok(true) => return TagDecision::Replace,
                Ok(false) => reasons.push("the destination's is as new or newer".to_owned()),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        keep(reasons.join("; "))
    }
}

impl NewerState<'_> {
    /// Whether the states of this collection lie at this tag, and are meant.
    fn covers(&self, collection: &CollectionName, tag: &Tag) -> bool {
        let own = collection.state_tag();
        let versioned = |t: &str| t.strip_prefix(own.as_str()).is_some_and(|rest| rest.starts_with('.'));
        let named = self.request.collection.as_ref().is_none_or(|c| c == collection);
        named && (*tag == own || versioned(tag.as_str()))
    }

    /// Whether `incoming` is newer than `existing`.
    ///
    /// # Errors
    /// Why it cannot be told, for the report.
    fn compare(
        &self,
        root: &Bytes,
        collection: &CollectionName,
        existing: &Files,
        incoming: &Files,
    ) -> Result<bool, String> {
        let limits = Limits::default();
        let memory = Memory::in_dir(self.request.memory, collection).load(root).map_err(|e| e.to_string())?;
        let roots = memory.map(|m| m.files).unwrap_or_default();
        let judge = |known: Option<&Files>, offered: &[&Files], files: &Files| -> Result<Whole, TufError> {
            let chain = walk_on(root, collection, known, offered, &limits)?;
            Whole::judge(&chain, files, collection, self.request.now, &limits)
        };
        let new = judge(Some(&roots), &[existing, incoming], incoming)
            .map_err(|e| format!("the source's does not verify: {e}"))?;
        match judge(Some(&roots), &[existing, incoming], existing) {
            Ok(old) => {
                let version = |w: &Whole| w.trusted().timestamp().version();
                Ok(version(&new) > version(&old) && !new.is_below(&old))
            }
            // Keys were changed since: it counts as older when it verifies under an earlier root of the same chain.
            Err(under_final) => match judge(None, &[existing], existing) {
                Ok(old) if old.trusted().root().version() < new.trusted().root().version() => Ok(true),
                _ => Err(format!("the destination's does not verify: {under_final}")),
            },
        }
    }
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

#[cfg(test)]
mod tests;
