//! Copying a bundle with everything that hangs on it, between any two stores.
//!
//! What is copied: index children to any depth, the referrers of every manifest among them, referrers of referrers, the
//! tags `sha256-<hex>.*` of each (cosign's signatures), and the tags that the caller asks for (a collection's state).
//! Order: blobs; manifests, leaves first and each subject before its referrers; the lists of referrers; these lists read
//! back and compared with the source's; tags, the bundle's own last. So no reader sees a tag without its signatures, and
//! no tag is moved to a bundle that arrived incomplete. A list of referrers at the source (`sha256-<hex>`) is never copied:
//! the destination's own is added to.

mod blobs;
mod closure;
mod error;
mod observe;
mod referrers;
mod tags;

use std::collections::{BTreeMap, HashSet};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use self::closure::{Closure, Node, Room};
pub use self::error::{CopyError, MissingReferrer, Side};
pub use self::observe::{BlobOutcome, Event, Observer, Phase, Unobserved};
pub use self::tags::{KeepExisting, ReplaceExisting, TagDecision, TagGuard};
use super::{Manage, Store};
use crate::oci::{Content, Descriptor, Digest, Selector, Tag};

/// What to copy, and under which tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The bundle at the source.
    pub bundle: Selector,
    /// Its tags at the destination; none: it is copied by digest only.
    pub tags: Vec<Tag>,
    /// Further tags of the source that go along under the same name, such as the states of its collections. The
    /// [`TagGuard`] decides where the destination has another one.
    pub extra_tags: Vec<Tag>,
    /// Requests at a time at each end, at least 1.
    pub concurrency: usize,
}

/// What a complete copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// The bundle.
    pub bundle: Descriptor,
    /// Manifests pushed, lists of referrers and tags not counted.
    pub manifests_pushed: usize,
    /// Manifests that were there already.
    pub manifests_present: usize,
    /// Blobs whose bytes were moved.
    pub blobs_moved: usize,
    /// Bytes of these blobs.
    pub bytes_moved: u64,
    /// Blobs that were there already.
    pub blobs_present: usize,
    /// Bytes of these blobs.
    pub bytes_present: u64,
    /// Blobs that the registry took over from the source's repository.
    pub blobs_mounted: usize,
    /// Referrers at the source, all of them read back at the destination, by artifact type (`""`: none).
    pub referrers: BTreeMap<String, usize>,
    /// Referrers that the destination listed only after one repair.
    pub repaired: usize,
    /// Tags, in the order in which they were set.
    pub tags: Vec<TagOutcome>,
    /// What the source names but does not have, sorted.
    pub skipped: Vec<Skipped>,
}

/// What became of a tag at the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagOutcome {
    /// The tag.
    pub tag: Tag,
    /// What it names at the source.
    pub digest: Digest,
    /// What was done.
    pub action: TagAction,
}

/// What was done with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagAction {
    /// It is new at the destination.
    Set,
    /// It named the same before.
    Same,
    /// It named something else before.
    Replaced,
    /// It names what it named before.
    Kept {
        /// Why.
        reason: String,
    },
}

/// Something that could not be copied because the source does not have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// What was skipped.
    pub digest: Digest,
    /// Why.
    pub reason: SkipReason,
}

/// Why something was skipped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// A layer that by its `urls` or type lies elsewhere, and the source does not have it.
    Elsewhere,
    /// The source lists it as a referrer, but has no such manifest.
    ReferrerGone {
        /// What it was listed under.
        subject: Digest,
    },
    /// The source lists it as a referrer, but its own `subject` is another or none.
    NotAReferrer {
        /// What it was listed under.
        subject: Digest,
    },
}

impl CopyRequest {
    /// A copy by digest only, eight requests at a time.
    pub fn new(bundle: Selector) -> Self {
        Self { bundle, tags: Vec::new(), extra_tags: Vec::new(), concurrency: 8 }
    }
}

/// Copy a bundle with everything that hangs on it. Run again, it finishes what an interrupted copy left and moves nothing twice.
///
/// # Errors
/// Anything that could not be read, written, or was not there when read back: then the bundle's tags were not moved. What
/// the source does not have although it names it (foreign layers, referrers gone) is no error but in the report.
pub async fn copy(
    source: &dyn Store,
    destination: &dyn Manage,
    request: &CopyRequest,
    guard: &dyn TagGuard,
    observer: &dyn Observer,
) -> Result<CopyReport, CopyError> {
    let concurrency = request.concurrency.max(1);
    observer.event(Event::Phase(Phase::Discover));
    let room = Room::new();
    let bundle = at_source(source, &request.bundle, &room).await?;
    let mut roots = vec![bundle.clone()];
    let mut extra = Vec::new();
    let mut kept = Vec::new();
    for tag in &request.extra_tags {
        let content = at_source(source, &Selector::Tag(tag.clone()), &room).await?;
        match tags::weigh(destination, guard, tag, &content).await? {
            action @ TagAction::Kept { .. } => {
                kept.push(TagOutcome { tag: tag.clone(), digest: content.digest().clone(), action });
            }
            _ => {
                roots.push(content.clone());
                extra.push((tag, content));
            }
        }
    }
    let closure = closure::discover(source, roots, concurrency, observer, &room).await?;

    observer.event(Event::Phase(Phase::Blobs));
    let wanted = closure.blobs(&source.place().to_string())?;
    let moved = blobs::transfer(source, destination, wanted, concurrency, observer).await?;

    observer.event(Event::Phase(Phase::Manifests));
    let pushed = push_manifests(destination, &closure, concurrency, observer).await?;

    observer.event(Event::Phase(Phase::Referrers));
    let repaired = referrers::list(destination, &closure, &pushed, concurrency, observer).await?;

    observer.event(Event::Phase(Phase::Tags));
    let mut outcomes = kept;
    for (tag, digest) in &closure.digest_tags {
        if let Some(node) = closure.nodes.get(digest) {
            outcomes.push(tags::set_guarded(destination, guard, tag, &node.content).await?);
        }
    }
    for (tag, content) in &extra {
        outcomes.push(tags::set_guarded(destination, guard, tag, content).await?);
    }
    for tag in &request.tags {
        outcomes.push(tags::set(destination, tag, &bundle).await?);
    }
    destination.flush().await.map_err(CopyError::destination)?;
    Ok(report(&bundle, closure, &moved, &pushed, repaired, outcomes))
}

async fn at_source(source: &dyn Store, selector: &Selector, room: &Room) -> Result<Content, CopyError> {
    let found = source.resolve(selector).await.map_err(CopyError::source)?;
    let absent = || CopyError::Absent { place: source.place().to_string(), what: selector.to_string() };
    let content = found.ok_or_else(absent)?;
    room.take(source, &content)?;
    Ok(content)
}

/// Push what is not there, level by level; which were pushed. A manifest that is there says nothing of what it needs:
/// everything below it is looked for as well.
async fn push_manifests(
    destination: &dyn Manage,
    closure: &Closure,
    concurrency: usize,
    observer: &dyn Observer,
) -> Result<HashSet<Digest>, CopyError> {
    let mut pushed = HashSet::new();
    for level in closure.levels() {
        let pushing = level.into_iter().map(|node| push_manifest(destination, node, observer).boxed());
        pushed.extend(several(pushing.collect(), concurrency).await?.into_iter().flatten());
    }
    Ok(pushed)
}

async fn push_manifest(
    destination: &dyn Manage,
    node: &Node,
    observer: &dyn Observer,
) -> Result<Option<Digest>, CopyError> {
    let d = node.content.descriptor();
    let there = destination.exists(d).await.map_err(CopyError::destination)?;
    if !there {
        destination.push_manifest(&node.content, None).await.map_err(CopyError::destination)?;
    }
    observer.event(Event::Manifest(&d.digest));
    Ok((!there).then(|| d.digest.clone()))
}

/// So many pieces of work at a time; the first failure ends all. Results come in no order.
async fn several<T>(
    work: Vec<BoxFuture<'_, Result<T, CopyError>>>,
    concurrency: usize,
) -> Result<Vec<T>, CopyError> {
    stream::iter(work).buffer_unordered(concurrency).try_collect().await
}

fn report(
    bundle: &Content,
    closure: Closure,
    moved: &[(Descriptor, BlobOutcome)],
    pushed: &HashSet<Digest>,
    repaired: usize,
    tags: Vec<TagOutcome>,
) -> CopyReport {
    let count = |which| {
        let of = moved.iter().filter(|(_, outcome)| *outcome == which);
        of.fold((0, 0), |(n, bytes), (d, _)| (n + 1, u64::saturating_add(bytes, d.size)))
    };
    let mut referrers: BTreeMap<String, usize> = BTreeMap::new();
    for referrer in closure.nodes.keys().flat_map(|subject| closure.referrers(subject)) {
        *referrers.entry(referrer.artifact_type.clone().unwrap_or_default()).or_default() += 1;
    }
    let elsewhere = moved.iter().filter(|(_, outcome)| *outcome == BlobOutcome::Elsewhere);
    let elsewhere =
        elsewhere.map(|(d, _)| Skipped { digest: d.digest.clone(), reason: SkipReason::Elsewhere });
    let (manifests, mut skipped) = (closure.nodes.len(), closure.skipped);
    skipped.extend(elsewhere);
    skipped.sort();
    skipped.dedup();
    let ((blobs_moved, bytes_moved), (blobs_present, bytes_present)) =
        (count(BlobOutcome::Moved), count(BlobOutcome::Present));
    CopyReport {
        bundle: bundle.descriptor().bare(),
        manifests_pushed: pushed.len(),
        manifests_present: manifests - pushed.len(),
        blobs_moved,
        bytes_moved,
        blobs_present,
        bytes_present,
        blobs_mounted: count(BlobOutcome::Mounted).0,
        referrers,
        repaired,
        tags,
        skipped,
    }
}
