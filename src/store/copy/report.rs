//! What a copy did, or would do.

use std::collections::{BTreeMap, HashSet};

use super::blobs::Brought;
use super::closure::Closure;
use super::{BlobOutcome, CopyRequest};
use crate::oci::{Content, Descriptor, Digest, Platform, Tag};
use crate::store::ListChange;

/// What a complete copy did; of a dry run: what it would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// The bundle.
    pub bundle: Descriptor,
    /// Nothing was written: all that follows is what a copy would do now.
    pub dry_run: bool,
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
    /// Blobs that the registry took over from the source's repository. In a dry run those that it would be asked for.
    pub blobs_mounted: usize,
    /// Bytes of these blobs.
    pub bytes_mounted: u64,
    /// Referrers at the source that were copied, all of them read back at the destination, by artifact type (`""`: none).
    pub referrers: BTreeMap<String, usize>,
    /// Of these, the ones that the destination did not have or did not list, by artifact type.
    pub referrers_new: BTreeMap<String, usize>,
    /// Referrers that the destination listed only after one repair.
    pub repaired: usize,
    /// Tags, in the order in which they were set.
    pub tags: Vec<TagOutcome>,
    /// Tags that are still to be set, as [`CopyRequest::later`] asked: those beside the bundle's own, then its own.
    pub later: Vec<TagOutcome>,
    /// What the source names but does not have, sorted.
    pub skipped: Vec<Skipped>,
    /// What a thorough copy found missing or damaged and made good, or would make good, sorted.
    pub mended: Vec<Mended>,
    /// Referrers, tags and states that the filter left out, by artifact type. Without any referrers they are not read:
    /// types are those that the source lists, and a derived tag counts by its ending (`.sig`).
    pub left_out: BTreeMap<String, usize>,
    /// Children of an index that the filter left out, in no order.
    pub children_left_out: Vec<ChildLeftOut>,
}

/// A child of an index that was left out because of its platform. The index still names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildLeftOut {
    /// The index.
    pub index: Digest,
    /// The child.
    pub digest: Digest,
    /// Its platform, as the index writes it.
    pub platform: Option<String>,
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

/// Something that a thorough copy made good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mended {
    /// A blob.
    Blob {
        /// The blob.
        digest: Digest,
        /// Other bytes lay under its digest; otherwise it was not there.
        damaged: bool,
    },
    /// A manifest that was not there, not listed, or damaged.
    Manifest(Digest),
    /// An entry of a list of referrers.
    Entry {
        /// Whose referrers.
        subject: Digest,
        /// What was wrong.
        change: ListChange,
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
    /// The source lists a tag derived from this digest, but has nothing at it.
    TagGone {
        /// The tag.
        tag: Tag,
    },
}

impl ChildLeftOut {
    pub(super) fn new(index: &Digest, child: &Descriptor) -> Self {
        let platform = child.platform.as_ref().map(Platform::to_string);
        Self { index: index.clone(), digest: child.digest.clone(), platform }
    }
}

/// What the parts of a copy gave.
pub(super) struct Parts<'a> {
    pub(super) request: &'a CopyRequest,
    pub(super) bundle: &'a Content,
    pub(super) brought: Vec<Brought>,
    pub(super) pushed: HashSet<Digest>,
    pub(super) new: HashSet<Digest>,
    pub(super) repaired: usize,
    pub(super) entries: Vec<Mended>,
    pub(super) tags: Vec<TagOutcome>,
    pub(super) later: Vec<TagOutcome>,
}

impl CopyReport {
    pub(super) fn of(closure: Closure, parts: Parts<'_>) -> Self {
        let count = |which| {
            let of = parts.brought.iter().filter(|b| b.outcome == which);
            of.fold((0, 0), |(n, bytes), b| (n + 1, u64::saturating_add(bytes, b.size)))
        };
        let (mut referrers, mut referrers_new) = (BTreeMap::new(), BTreeMap::new());
        for referrer in closure.nodes.keys().flat_map(|subject| closure.referrers(subject)) {
            let artifact_type = || referrer.artifact_type.clone().unwrap_or_default();
            *referrers.entry(artifact_type()).or_default() += 1;
            if parts.new.contains(referrer.content.digest()) {
                *referrers_new.entry(artifact_type()).or_default() += 1;
            }
        }
        let mut mended = parts.entries;
        if parts.request.thorough {
            let blobs = parts.brought.iter().filter(|b| b.outcome.is_new());
            mended.extend(blobs.map(|b| Mended::Blob { digest: b.digest.clone(), damaged: b.damaged }));
            mended.extend(parts.pushed.iter().cloned().map(Mended::Manifest));
            mended.sort();
        }
        let elsewhere = parts.brought.iter().filter(|b| b.outcome == BlobOutcome::Elsewhere);
        let elsewhere =
            elsewhere.map(|b| Skipped { digest: b.digest.clone(), reason: SkipReason::Elsewhere });
        let (manifests, mut skipped) = (closure.nodes.len(), closure.skipped);
        skipped.extend(elsewhere);
        skipped.sort();
        skipped.dedup();
        let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
        for artifact_type in closure.left_out.into_values() {
            *left_out.entry(artifact_type).or_default() += 1;
        }
        let (moved, present, mounted) =
            (count(BlobOutcome::Moved), count(BlobOutcome::Present), count(BlobOutcome::Mounted));
        Self {
            bundle: parts.bundle.descriptor().bare(),
            dry_run: parts.request.dry_run,
            manifests_pushed: parts.pushed.len(),
            manifests_present: manifests - parts.pushed.len(),
            blobs_moved: moved.0,
            bytes_moved: moved.1,
            blobs_present: present.0,
            bytes_present: present.1,
            blobs_mounted: mounted.0,
            bytes_mounted: mounted.1,
            referrers,
            referrers_new,
            repaired: parts.repaired,
            tags: parts.tags,
            later: parts.later,
            skipped,
            mended,
            left_out,
            children_left_out: closure.children_left_out,
        }
    }
    /// Count what another copy did beside it, of something that was left for [`CopyReport::later`].
    pub fn add(&mut self, more: Self) {
        let done = |t: &TagOutcome| more.tags.iter().any(|m| m.tag == t.tag);
        self.later.retain(|t| !done(t));
        self.manifests_pushed += more.manifests_pushed;
        self.manifests_present += more.manifests_present;
        self.blobs_moved += more.blobs_moved;
        self.bytes_moved = self.bytes_moved.saturating_add(more.bytes_moved);
        self.blobs_present += more.blobs_present;
        self.bytes_present = self.bytes_present.saturating_add(more.bytes_present);
        self.blobs_mounted += more.blobs_mounted;
        self.bytes_mounted = self.bytes_mounted.saturating_add(more.bytes_mounted);
        let sum = |all: &mut BTreeMap<String, usize>, more: BTreeMap<String, usize>| {
            more.into_iter().for_each(|(artifact_type, n)| *all.entry(artifact_type).or_default() += n);
        };
        sum(&mut self.referrers, more.referrers);
        sum(&mut self.referrers_new, more.referrers_new);
        sum(&mut self.left_out, more.left_out);
        self.repaired += more.repaired;
        self.tags.extend(more.tags);
        self.skipped.extend(more.skipped);
        self.mended.extend(more.mended);
        self.children_left_out.extend(more.children_left_out);
    }
}
