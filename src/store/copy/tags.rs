//! Setting tags, last of all, without taking away what the destination has.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{CopyError, Job, TagAction, TagOutcome};
use crate::oci::{Content, Digest, Manifest, Selector, Tag};
use crate::store::{Failure, Store, StoreError};

/// Asked before a tag that is not the bundle's own is moved from something else at the destination.
#[async_trait]
pub trait TagGuard: Send + Sync {
    /// Whether `incoming` may replace `existing` at `tag`.
    async fn decide(&self, tag: &Tag, existing: &Content, incoming: &Content) -> TagDecision;
}

/// What becomes of a tag that names something else at the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDecision {
    /// It stays.
    Keep {
        /// Why, for the report.
        reason: String,
    },
    /// It moves.
    Replace,
}

/// Keeps whatever the destination has.
#[derive(Debug, Clone, Copy)]
pub struct KeepExisting;

#[async_trait]
impl TagGuard for KeepExisting {
    async fn decide(&self, _tag: &Tag, _existing: &Content, _incoming: &Content) -> TagDecision {
        TagDecision::Keep { reason: "the destination has another one".into() }
    }
}

/// Replaces whatever the destination has.
#[derive(Debug, Clone, Copy)]
pub struct ReplaceExisting;

#[async_trait]
impl TagGuard for ReplaceExisting {
    async fn decide(&self, _tag: &Tag, _existing: &Content, _incoming: &Content) -> TagDecision {
        TagDecision::Replace
    }
}

/// What would become of a tag that is not the bundle's own.
pub(super) async fn weigh(
    destination: &dyn Store,
    guard: &dyn TagGuard,
    tag: &Tag,
    incoming: &Content,
) -> Result<TagAction, CopyError> {
    let existing = match existing(destination, tag).await? {
        Existing::Sound(existing) => existing,
        Existing::Damaged => return Ok(TagAction::Replaced),
        Existing::Nothing => return Ok(TagAction::Set),
    };
    if existing.digest() == incoming.digest() {
        return Ok(TagAction::Same);
    }
    let decision = match compare(&existing, incoming) {
        Lists::Grows => TagDecision::Replace,
        Lists::Covered => {
            TagDecision::Keep { reason: "the destination's holds all that the source's does".into() }
        }
        Lists::Differ => guard.decide(tag, &existing, incoming).await,
    };
    Ok(match decision {
        TagDecision::Replace => TagAction::Replaced,
        TagDecision::Keep { reason } => TagAction::Kept { reason },
    })
}

/// Set a tag that is not the bundle's own, if the guard lets it.
pub(super) async fn set_guarded(
    job: &Job<'_>,
    tag: &Tag,
    incoming: &Content,
) -> Result<TagOutcome, CopyError> {
    let action = weigh(job.destination, job.guard, tag, incoming).await?;
    put(job, tag, incoming, &action).await?;
    Ok(TagOutcome { tag: tag.clone(), digest: incoming.digest().clone(), action })
}

/// Set a tag of the bundle: it moves, whatever it names.
pub(super) async fn set(
    job: &Job<'_>,
    tag: &Tag,
    incoming: &Content,
    existing: &Existing,
) -> Result<TagOutcome, CopyError> {
    let action = match existing {
        Existing::Sound(e) if e.digest() == incoming.digest() => TagAction::Same,
        Existing::Sound(_) | Existing::Damaged => TagAction::Replaced,
        Existing::Nothing => TagAction::Set,
    };
    put(job, tag, incoming, &action).await?;
    Ok(TagOutcome { tag: tag.clone(), digest: incoming.digest().clone(), action })
}

/// Set the tag where that is to be done.
async fn put(job: &Job<'_>, tag: &Tag, incoming: &Content, action: &TagAction) -> Result<(), CopyError> {
    let moves = match action {
        TagAction::Set => false,
        TagAction::Replaced => true,
        TagAction::Same | TagAction::Kept { .. } => return Ok(()),
    };
    match job.request.dry_run {
        true => Ok(()),
        false => write(job.destination, tag, incoming, moves).await,
    }
}

/// A refusal to move a tag is told from a refusal to write.
async fn write(destination: &dyn Store, tag: &Tag, incoming: &Content, moves: bool) -> Result<(), CopyError> {
    match destination.push_manifest(incoming, Some(tag)).await {
        Err(e) if moves && matches!(e.failure, Failure::Refused { .. } | Failure::Denied(_)) => {
            Err(CopyError::TagImmutable { place: e.place, tag: tag.clone(), failure: e.failure })
        }
        other => other.map_err(CopyError::destination),
    }
}

/// Let a tag name a manifest that is at the destination, whatever it names: what a copy left for later
/// ([`super::CopyReport::later`]).
///
/// # Errors
/// The manifest is not there, or the tag cannot be moved.
pub async fn move_tag(destination: &dyn Store, tag: &Tag, digest: &Digest) -> Result<(), CopyError> {
    let selector = Selector::Digest(digest.clone());
    let there = destination.resolve(&selector).await.map_err(CopyError::destination)?;
    let Some(content) = there else {
        let what = format!("pull manifest {digest}");
        return Err(CopyError::destination(StoreError::new(destination.place(), what, Failure::NotFound)));
    };
    write(destination, tag, &content, true).await
}

/// What a tag names at the destination.
pub(super) enum Existing {
    Nothing,
    Sound(Content),
    /// Something whose bytes are gone or not what the digest says: there is nothing left to keep.
    Damaged,
}

pub(super) async fn existing(destination: &dyn Store, tag: &Tag) -> Result<Existing, CopyError> {
    match destination.resolve(&Selector::Tag(tag.clone())).await {
        Ok(Some(content)) => Ok(Existing::Sound(content)),
        Ok(None) => Ok(Existing::Nothing),
        Err(e) if matches!(e.failure, Failure::Content(_)) => Ok(Existing::Damaged),
        Err(e) => Err(CopyError::destination(e)),
    }
}

/// How the layers of two artifacts relate. cosign's `.sig` is a list that grows: the longer one loses nothing.
enum Lists {
    /// The incoming one has all of the existing one, and more.
    Grows,
    /// The existing one has all of the incoming one.
    Covered,
    /// Each has something of its own, or they are no such lists.
    Differ,
}

fn compare(existing: &Content, incoming: &Content) -> Lists {
    let layers = |c: &Content| -> Option<BTreeSet<(String, Digest)>> {
        let m = Manifest::parse(c).ok()?;
        // Only cosign's lists: every layer is one signature, attestation or SBOM.
        let entry = |t: &str| t.contains("simplesigning") || t.contains("dsse") || t.contains("in-toto");
        let list = m.manifests.is_empty() && m.subject.is_none() && m.artifact_type.is_none();
        let list = list && m.layers.iter().all(|l| entry(&l.media_type));
        list.then(|| {
            m.layers.into_iter().map(|l| (serde_json::json!(l.annotations).to_string(), l.digest)).collect()
        })
    };
    match (layers(existing), layers(incoming)) {
        (Some(e), Some(i)) if e.is_subset(&i) && e.len() < i.len() => Lists::Grows,
        (Some(e), Some(i)) if i.is_subset(&e) => Lists::Covered,
        _ => Lists::Differ,
    }
}
