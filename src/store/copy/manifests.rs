//! What the destination has already, and pushing what it has not: leaves first, each subject before its referrers.

use std::collections::HashSet;

use futures::FutureExt;

use super::closure::{Closure, Node};
use super::tags::{self, Existing};
use super::{CopyError, Event, Job, TagAction, TagOutcome, several};
use crate::oci::{Content, Digest, Reference, Selector, Tag};
use crate::store::Failure;

/// The destination before anything is written.
pub(super) struct Before {
    /// Nothing is there: no tag, and not the blob that every copy of the bundle sends first.
    pub(super) fresh: bool,
    /// All tags of the bundle name it already, so the copy that set them was complete (docs/adr/0007).
    pub(super) settled: bool,
    /// What the bundle's tags name; asked only when they are set where a look costs nothing.
    pub(super) own: Vec<Option<Existing>>,
    /// Manifests that are there.
    pub(super) present: HashSet<Digest>,
    /// Derived tags that need nothing more.
    pub(super) same: Vec<TagOutcome>,
}

impl Before {
    /// What the bundle's tags name, before the bundle is known.
    pub(super) async fn of_tags(job: &Job<'_>) -> Result<Self, CopyError> {
        let mut before =
            Self { fresh: false, settled: false, own: Vec::new(), present: HashSet::new(), same: Vec::new() };
        if !asks_cost(job) {
            before.own = job.request.tags.iter().map(|_| None).collect();
            return Ok(before);
        }
        // Of a source the list must be whole.
        let tags = match std::sync::Arc::ptr_eq(&job.from, &job.there) {
            true => job.there.tags(job.destination).await,
            false => job.there.first_tags(job.destination).await,
        };
        let tags = tags.map_err(CopyError::destination)?;
        before.fresh = tags.is_some_and(|t| t.is_empty()) && !job.request.thorough;
        let asking = job.request.tags.iter().map(|tag| {
            async move {
                match tags {
                    Some(tags) if !tags.contains(tag) => Ok(Some(Existing::Nothing)),
                    _ => tags::existing(job.destination, tag).await.map(Some),
                }
            }
            .boxed()
        });
        before.own = super::in_order(asking.collect(), job.width).await?;
        Ok(before)
    }

    /// Which of the manifests are there.
    pub(super) async fn look(
        &mut self,
        job: &Job<'_>,
        bundle: &Content,
        closure: &Closure,
    ) -> Result<(), CopyError> {
        let names =
            |e: &Option<Existing>| matches!(e, Some(Existing::Sound(c)) if c.digest() == bundle.digest());
        self.settled = !self.own.is_empty() && self.own.iter().all(names) && !job.request.thorough;
        if self.own.iter().any(names) {
            self.present.insert(bundle.digest().clone());
        }
        // What was pushed into a directory is listed there only once it was flushed: better to look again.
        if asks_cost(job) || job.request.dry_run {
            self.present.extend(closure.nodes.keys().filter(|d| job.there.has_manifest(d)).cloned());
        }
        if self.fresh {
            let marker = closure.marker(bundle.digest());
            let sent = match &marker {
                Some(blob) if self.present.is_empty() => job.destination.exists(blob).await,
                _ => Ok(false),
            };
            self.fresh = !sent.map_err(CopyError::destination)?;
        }
        if self.fresh {
            return Ok(());
        }
        if asks_cost(job) {
            let asking = closure.digest_tags.iter().map(|(tag, digest)| same_there(job, tag, digest).boxed());
            for outcome in several(asking.collect(), job.width).await?.into_iter().flatten() {
                self.present.insert(outcome.digest.clone());
                self.same.push(outcome);
            }
        }
        let unknown = closure.nodes.values().filter(|n| !self.present.contains(n.content.digest()));
        let looking = unknown.map(|node| {
            async move {
                let d = node.content.descriptor();
                let there = job.destination.exists(d).await.map_err(CopyError::destination)?;
                Ok(there.then(|| d.digest.clone()))
            }
            .boxed()
        });
        let there = several(looking.collect(), job.width).await?;
        self.present.extend(there.into_iter().flatten());
        self.present.iter().for_each(|d| job.there.note_manifest(d));
        Ok(())
    }
}

/// A derived tag that names at the destination what it names at the source.
async fn same_there(job: &Job<'_>, tag: &Tag, digest: &Digest) -> Result<Option<TagOutcome>, CopyError> {
    let there = match job.destination.resolve(&Selector::Tag(tag.clone())).await {
        // What is damaged is dealt with when the tag is set.
        Err(e) if matches!(e.failure, Failure::Content(_)) => None,
        other => other.map_err(CopyError::destination)?,
    };
    let outcome = || TagOutcome { tag: tag.clone(), digest: digest.clone(), action: TagAction::Same };
    Ok(there.filter(|c| c.digest() == digest).map(|_| outcome()))
}

/// Whether every look at the destination is a request. A directory is always looked at: that is cheap, and files vanish.
fn asks_cost(job: &Job<'_>) -> bool {
    matches!(job.destination.place(), Reference::Registry(_))
}

/// Push what is not there, level by level; which were pushed, or would be.
pub(super) async fn push(
    job: &Job<'_>,
    closure: &Closure,
    present: &HashSet<Digest>,
) -> Result<HashSet<Digest>, CopyError> {
    let mut pushed = HashSet::new();
    for level in closure.levels() {
        let pushing = level.into_iter().map(|node| push_one(job, node, present).boxed());
        pushed.extend(several(pushing.collect(), job.width).await?.into_iter().flatten());
    }
    Ok(pushed)
}

async fn push_one(
    job: &Job<'_>,
    node: &Node,
    present: &HashSet<Digest>,
) -> Result<Option<Digest>, CopyError> {
    let digest = node.content.digest();
    let there = present.contains(digest);
    if !there && !job.request.dry_run {
        job.destination.push_manifest(&node.content, None).await.map_err(|error| match error.failure {
            Failure::Refused { .. } if node.sparse => CopyError::Sparse { index: digest.clone(), error },
            _ => CopyError::destination(error),
        })?;
    }
    job.there.note_manifest(digest);
    job.observer.event(Event::Manifest(digest));
    Ok((!there).then(|| digest.clone()))
}
