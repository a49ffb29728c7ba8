//! Everything that hangs on a bundle at the source: a bounded walk over children, referrers and digest tags.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;

use super::filter::type_at_tag;
use super::{ChildLeftOut, CopyError, Event, Filter, Observer, SkipReason, Skipped, several};
use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, Tag, media_type, successors};
use crate::store::{Failure, Listing, Store, StoreError};

/// Most steps from the bundle to anything that hangs on it.
const MAX_DEPTH: usize = 64;
/// Most manifests in one copy.
const MAX_MANIFESTS: usize = 100_000;
/// Most bytes of manifests in one copy; they are held in memory.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Most entries in all lists of referrers of one copy, whether or not they are looked at.
const MAX_LISTED: u64 = 1_000_000;
/// Most bytes of blobs in one copy; so that sums of sizes that only claim to be cannot overflow.
const MAX_BLOB_BYTES_IN_ALL: u64 = 1 << 53;
/// The tags that cosign derives from a digest; asked for one by one where the source does not list its tags.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// A manifest to copy.
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) artifact_type: Option<String>,
    pub(super) subject: Option<Digest>,
    pub(super) children: Vec<Digest>,
    /// Whether children were left out, so that the destination must take an index without them.
    pub(super) sparse: bool,
    /// Whether a child was kept for its platform.
    fits: bool,
    pub(super) blobs: Vec<Descriptor>,
    /// What the source lists as referring to it; [`Closure::referrers`] has those that do.
    listed: Vec<Digest>,
}

/// A blob to copy.
pub(super) struct WantedBlob {
    pub(super) descriptor: Descriptor,
    /// Every manifest that names it says that it lies elsewhere.
    pub(super) foreign: bool,
    /// The destination has it: no need to look.
    pub(super) there: bool,
}

/// What is to be copied.
#[derive(Default)]
pub(super) struct Closure {
    pub(super) nodes: HashMap<Digest, Node>,
    /// Tags derived from digests in the closure, and what they name.
    pub(super) digest_tags: Vec<(Tag, Digest)>,
    pub(super) skipped: Vec<Skipped>,
    /// What the filter left out, by digest or tag: its type.
    pub(super) left_out: BTreeMap<String, String>,
    pub(super) children_left_out: Vec<ChildLeftOut>,
}

/// Where and how to look.
pub(super) struct Walk<'a> {
    pub(super) source: &'a dyn Store,
    /// The source's tags; `None` where it does not let them be listed.
    pub(super) tags: Option<&'a BTreeSet<Tag>>,
    pub(super) filter: &'a Filter,
    pub(super) room: &'a Room,
    pub(super) width: usize,
    pub(super) observer: &'a dyn Observer,
}

/// Why a manifest is wanted.
#[derive(Default)]
struct Want {
    /// Here already, or to be fetched.
    content: Option<Content>,
    /// Needed by a tag or an index; otherwise a referrer, which may be gone.
    required: bool,
    /// What it is said to refer to.
    claims: Vec<Digest>,
}

/// What looking for a manifest gave.
enum Seen {
    Found(Box<Found>),
    Skip(Vec<(Digest, SkipReason)>),
    LeftOut(Digest, String),
}

struct Found {
    node: Node,
    tags: Vec<(Tag, Content)>,
    /// Tags that the source lists and does not have.
    gone: Vec<Skipped>,
    /// The list of its referrers lies at a tag.
    by_tag: bool,
    /// Left out: referrers and tags with their types.
    left_out: Vec<(String, String)>,
    children_left_out: Vec<ChildLeftOut>,
}

/// Room for manifests and lists: what does not fit ends the copy at once, before the rest of its level comes.
pub(super) struct Room {
    bytes: Budget,
    listed: Budget,
}

struct Budget {
    left: AtomicU64,
    most: u64,
}

impl Budget {
    fn of(most: u64) -> Self {
        Self { left: AtomicU64::new(most), most }
    }

    /// Take so much of it; whether there was so much.
    fn take(&self, amount: u64) -> bool {
        let less = |left: u64| left.checked_sub(amount);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Room {
    /// Of as many bytes and entries as one copy may hold.
    pub(super) fn new() -> Self {
        Self::of(MAX_BYTES, MAX_LISTED)
    }

    fn of(bytes: u64, listed: u64) -> Self {
        Self { bytes: Budget::of(bytes), listed: Budget::of(listed) }
    }

    /// Take in a manifest that was just fetched.
    pub(super) fn take(&self, source: &dyn Store, content: &Content) -> Result<(), CopyError> {
        match self.bytes.take(content.descriptor().size) {
            true => Ok(()),
            false => Err(too_large(source, format!("{} bytes of manifests", self.bytes.most))),
        }
    }

    /// Take in a list of referrers.
    fn take_list(&self, source: &dyn Store, list: &Listing) -> Result<(), CopyError> {
        match self.listed.take(list.entries.len() as u64) {
            true => Ok(()),
            false => Err(too_large(source, format!("{} entries in lists of referrers", self.listed.most))),
        }
    }
}

impl Walk<'_> {
    /// Walk from `roots`, which are in the room already, level by level, so many manifests at a time.
    pub(super) async fn discover(&self, roots: Vec<Content>) -> Result<Closure, CopyError> {
        let mut closure = Closure::default();
        let mut sizes = Sizes::default();
        let mut at_tags: Vec<Digest> = Vec::new();
        let mut level: BTreeMap<Digest, Want> = BTreeMap::new();
        for root in roots {
            let want = Want { content: Some(root.clone()), required: true, claims: Vec::new() };
            level.insert(root.digest().clone(), want);
        }
        for depth in 0.. {
            level.retain(|digest, _| !closure.nodes.contains_key(digest));
            if level.is_empty() {
                break;
            }
            if depth > MAX_DEPTH {
                return Err(self.too_large(format!("{MAX_DEPTH} levels")));
            }
            if closure.nodes.len() + level.len() > MAX_MANIFESTS {
                return Err(self.too_large(format!("{MAX_MANIFESTS} manifests")));
            }
            let looking = std::mem::take(&mut level).into_iter();
            let looking = looking.map(|(digest, want)| self.look(digest, want).boxed());
            for seen in several(looking.collect(), self.width).await? {
                let found = match seen {
                    Seen::Found(found) => *found,
                    Seen::Skip(skipped) => {
                        let skipped = skipped.into_iter().map(|(digest, reason)| Skipped { digest, reason });
                        closure.skipped.extend(skipped);
                        continue;
                    }
                    Seen::LeftOut(digest, artifact_type) => {
                        closure.left_out.insert(digest.to_string(), artifact_type);
                        continue;
                    }
                };
                let digest = found.node.content.digest().clone();
                for blob in &found.node.blobs {
                    if let Some(new) = sizes.add(blob).map_err(|limit| self.too_large(limit))? {
                        self.observer.event(Event::Expect(new));
                    }
                }
                for child in &found.node.children {
                    level.entry(child.clone()).or_default().required = true;
                }
                for referrer in &found.node.listed {
                    level.entry(referrer.clone()).or_default().claims.push(digest.clone());
                }
                for (tag, content) in found.tags {
                    closure.digest_tags.push((tag, content.digest().clone()));
                    let want = level.entry(content.digest().clone()).or_default();
                    (want.content, want.required) = (Some(content), true);
                }
                if found.by_tag && !found.node.listed.is_empty() {
                    at_tags.push(digest.clone());
                }
                closure.skipped.extend(found.gone);
                closure.left_out.extend(found.left_out);
                closure.children_left_out.extend(found.children_left_out);
                closure.nodes.insert(digest, found.node);
            }
        }
        at_tags.iter().try_for_each(|subject| self.is_a_list(&closure, subject))?;
        closure.settle();
        self.has_a_platform(&closure)?;
        Ok(closure)
    }

    /// One manifest: its bytes, its referrers, its derived tags.
    async fn look(&self, digest: Digest, want: Want) -> Result<Seen, CopyError> {
        let (source, filter) = (self.source, self.filter);
        let listing = || async {
            let mut listed = source.listing(&digest).await.map_err(CopyError::source)?;
            let own = digest.referrers_tag().parse().ok();
            let shown = own.is_some_and(|own: Tag| self.tags.is_some_and(|tags| tags.contains(&own)));
            if listed.entries.is_empty() && shown {
                // The tags say that there is a list: one wrong "not there" shall not lose all that hangs here.
                listed = source.listing(&digest).await.map_err(CopyError::source)?;
            }
            self.room.take_list(source, &listed)?;
            Ok(listed)
        };
        let content = async {
            if want.content.is_some() {
                return Ok(want.content);
            }
            let at = Selector::Digest(digest.clone());
            let mut found = source.resolve(&at).await.map_err(CopyError::source)?;
            if found.is_none() && !want.required {
                // It is listed: one wrong "not there" shall not lose it.
                found = source.resolve(&at).await.map_err(CopyError::source)?;
            }
            found.iter().try_for_each(|content| self.room.take(source, content))?;
            Ok::<_, CopyError>(found)
        };
        // Most of what is listed is one: both are asked for at once unless the answer may leave it out.
        let (content, listed) = match want.required || !filter.asks_types() {
            true => futures::try_join!(content, listing())?,
            false => (content.await?, Listing::default()),
        };
        let skip = |reason: fn(Digest) -> SkipReason| {
            Seen::Skip(want.claims.iter().map(|c| (digest.clone(), reason(c.clone()))).collect())
        };
        let Some(content) = content else {
            return match want.required {
                true => {
                    let what = format!("manifest {digest}, which the bundle needs,");
                    Err(CopyError::Absent { place: source.place().to_string(), what })
                }
                false => Ok(skip(|subject| SkipReason::ReferrerGone { subject })),
            };
        };
        let unreadable = |e| {
            let what = format!("read manifest {digest}");
            CopyError::source(StoreError::new(source.place(), what, Failure::Manifest(e)))
        };
        let manifest = Manifest::parse(&content).map_err(unreadable)?;
        let subject = manifest.subject.as_ref().map(|s| s.digest.clone());
        let artifact_type = manifest.effective_artifact_type().map(str::to_owned);
        let mut listed = listed;
        if !want.required {
            if !subject.as_ref().is_some_and(|s| want.claims.contains(s)) {
                return Ok(skip(|subject| SkipReason::NotAReferrer { subject }));
            }
            if !filter.keeps(artifact_type.as_deref()) {
                return Ok(Seen::LeftOut(digest.clone(), artifact_type.unwrap_or_default()));
            }
            if filter.asks_types() {
                listed = listing().await?;
            }
        }
        let next = successors(&content).map_err(unreadable)?;
        let (children, others) = filter.children(next.manifests);
        let mut left_out = Vec::new();
        let by_tag = listed.by_tag;
        let listed = match filter.referrers {
            true => listed.entries.into_iter().map(|r| r.digest).collect(),
            false => {
                let named = |r: Descriptor| (r.digest.to_string(), r.artifact_type.unwrap_or_default());
                left_out.extend(listed.entries.into_iter().map(named));
                Vec::new()
            }
        };
        let mut gone = Vec::new();
        let tags = self.derived_tags(&digest, &mut left_out, &mut gone).await?;
        let node = Node {
            artifact_type,
            subject,
            fits: children.iter().any(|c| c.platform.as_ref().is_some_and(|p| filter.covers(p))),
            children: children.into_iter().map(|c| c.digest).collect(),
            sparse: !others.is_empty(),
            blobs: next.blobs,
            listed,
            content,
        };
        let children_left_out = others.iter().map(|c| ChildLeftOut::new(&digest, c)).collect();
        Ok(Seen::Found(Box::new(Found { node, tags, gone, by_tag, left_out, children_left_out })))
    }

    async fn derived_tags(
        &self,
        digest: &Digest,
        left_out: &mut Vec<(String, String)>,
        gone: &mut Vec<Skipped>,
    ) -> Result<Vec<(Tag, Content)>, CopyError> {
        let stem = digest.referrers_tag();
        let dotted = format!("{stem}.");
        let tags: Vec<Tag> = match self.tags {
            Some(tags) => {
                let from = dotted.parse::<Tag>().ok().map(|first| tags.range(first..));
                let of_this = |t: &&Tag| t.as_str().starts_with(&dotted);
                from.into_iter().flatten().take_while(of_this).cloned().collect()
            }
            None if !self.filter.referrers => Vec::new(),
            None => COSIGN_SUFFIXES.iter().filter_map(|s| format!("{dotted}{s}").parse().ok()).collect(),
        };
        let mut out = Vec::new();
        for tag in tags {
            if !self.filter.referrers {
                let ending = tag.as_str().strip_prefix(&stem).unwrap_or_default().to_owned();
                left_out.push((tag.to_string(), ending));
                continue;
            }
            let at = Selector::Tag(tag.clone());
            let mut there = self.source.resolve(&at).await.map_err(CopyError::source)?;
            if there.is_none() && self.tags.is_some() {
                there = self.source.resolve(&at).await.map_err(CopyError::source)?;
                if there.is_none() {
                    gone.push(Skipped {
                        digest: digest.clone(),
                        reason: SkipReason::TagGone { tag: tag.clone() },
                    });
                }
            }
            let Some(content) = there else { continue };
            self.room.take(self.source, &content)?;
            if self.filter.asks_types() {
                // What cannot be read is found out, and said, where it is walked.
                let manifest = Manifest::parse(&content).ok();
                let artifact_type = manifest.as_ref().and_then(type_at_tag);
                if manifest.is_some() && !self.filter.keeps(artifact_type) {
                    left_out.push((tag.to_string(), artifact_type.unwrap_or_default().to_owned()));
                    continue;
                }
            }
            out.push((tag, content));
        }
        Ok(out)
    }

    /// A list at a tag is anybody's: one in which nothing refers to the subject is something else.
    fn is_a_list(&self, closure: &Closure, subject: &Digest) -> Result<(), CopyError> {
        let Some(node) = closure.nodes.get(subject) else { return Ok(()) };
        let listed: HashSet<&Digest> = node.listed.iter().collect();
        let refers = listed.iter().any(|d| {
            closure.nodes.get(*d).is_some_and(|n| n.subject.as_ref() == Some(subject))
                || closure.left_out.contains_key(&d.to_string())
        });
        let other = closure.skipped.iter().any(|s| {
            listed.contains(&s.digest)
                && matches!(&s.reason, SkipReason::NotAReferrer { subject: s } if s == subject)
        });
        if refers || !other {
            return Ok(());
        }
        let tag = subject.referrers_tag();
        let why = format!("the tag {tag} holds an index, but nothing in it refers to {subject}");
        let what = format!("list the referrers of {subject}");
        Err(CopyError::source(StoreError::new(self.source.place(), what, Failure::Foreign(why))))
    }

    /// A filter by platform that fits nothing is a mistake.
    fn has_a_platform(&self, closure: &Closure) -> Result<(), CopyError> {
        let fits = closure.nodes.values().any(|n| n.fits);
        if closure.children_left_out.is_empty() || fits {
            return Ok(());
        }
        let mut there: Vec<String> =
            closure.children_left_out.iter().filter_map(|c| c.platform.clone()).collect();
        there.sort();
        there.dedup();
        Err(CopyError::NoPlatform { place: self.source.place().to_string(), there })
    }

    fn too_large(&self, limit: String) -> CopyError {
        too_large(self.source, limit)
    }
}

fn too_large(source: &dyn Store, limit: String) -> CopyError {
    CopyError::TooLarge { place: source.place().to_string(), limit }
}

/// The sum of what the blobs claim to be.
#[derive(Default)]
struct Sizes {
    seen: HashSet<Digest>,
    bytes: u64,
}

impl Sizes {
    /// The size of a blob that was not seen before.
    fn add(&mut self, blob: &Descriptor) -> Result<Option<u64>, String> {
        if !self.seen.insert(blob.digest.clone()) {
            return Ok(None);
        }
        self.bytes = self.bytes.saturating_add(blob.size);
        match self.bytes > MAX_BLOB_BYTES_IN_ALL {
            true => Err(format!("{MAX_BLOB_BYTES_IN_ALL} bytes")),
            false => Ok(Some(blob.size)),
        }
    }
}

impl Closure {
    /// What was left out in one place and copied for another was not left out.
    fn settle(&mut self) {
        self.digest_tags.sort();
        self.digest_tags.dedup();
        let nodes = &self.nodes;
        let copied = |text: &str| text.parse::<Digest>().is_ok_and(|d| nodes.contains_key(&d));
        self.left_out.retain(|what, _| !copied(what));
        self.children_left_out.retain(|c| !nodes.contains_key(&c.digest));
        self.children_left_out.sort();
        self.children_left_out.dedup();
    }

    /// Referrers of `subject` in the closure, sorted: only what its own `subject` makes one.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<&Node> {
        let listed = self.nodes.get(subject).map(|n| n.listed.as_slice()).unwrap_or_default();
        let mut digests: Vec<&Digest> = listed.iter().collect();
        digests.sort();
        digests.dedup();
        let nodes = digests.into_iter().filter_map(|d| self.nodes.get(d));
        nodes.filter(|n| n.subject.as_ref() == Some(subject)).collect()
    }

    /// Every blob once, with the largest first so that none is waited for at the end. Those of `whole` manifests are
    /// at the destination.
    pub(super) fn blobs(
        &self,
        place: &str,
        whole: impl Fn(&Node) -> bool,
    ) -> Result<Vec<WantedBlob>, CopyError> {
        let mut wanted: BTreeMap<&Digest, WantedBlob> = BTreeMap::new();
        for node in self.nodes.values() {
            let there = whole(node);
            for blob in &node.blobs {
                let foreign = is_foreign(blob);
                let entry = wanted.entry(&blob.digest).or_insert_with(|| WantedBlob {
                    descriptor: blob.clone(),
                    foreign,
                    there,
                });
                if entry.descriptor.size != blob.size {
                    let sizes = [entry.descriptor.size.min(blob.size), entry.descriptor.size.max(blob.size)];
                    let (place, digest) = (place.to_owned(), blob.digest.clone());
                    return Err(CopyError::Contradiction { place, digest, sizes });
                }
                entry.foreign &= foreign;
                // A foreign layer may be missing under a manifest that is there.
                entry.there |= there && !foreign;
                if entry.descriptor.data.is_none() && blob.data.is_some() {
                    entry.descriptor = blob.clone();
                }
            }
        }
        let mut wanted: Vec<WantedBlob> = wanted.into_values().collect();
        wanted.sort_by_key(|w| std::cmp::Reverse(w.descriptor.size));
        Ok(wanted)
    }

    /// A small blob of the bundle, the same in every copy of it: what is sent first tells whether anything was sent before.
    pub(super) fn marker(&self, bundle: &Digest) -> Option<Descriptor> {
        let (mut below, mut seen) = (vec![bundle], HashSet::new());
        while let Some(digest) = below.pop().filter(|d| seen.insert(*d)) {
            let Some(node) = self.nodes.get(digest) else { continue };
            // The empty config hangs on half of everything.
            let own = |b: &&Descriptor| !is_foreign(b) && b.media_type != media_type::OCI_EMPTY;
            if let Some(blob) = node.blobs.iter().filter(own).min_by_key(|b| (b.size, &b.digest)) {
                return Some(blob.clone());
            }
            below.extend(node.children.iter().rev());
        }
        None
    }

    /// Manifests in the order in which they may be pushed: each level after what it needs (children, then the subject).
    pub(super) fn levels(&self) -> Vec<Vec<&Node>> {
        let mut waiting: HashMap<&Digest, usize> = HashMap::new();
        let mut needed_by: HashMap<&Digest, Vec<&Digest>> = HashMap::new();
        for (digest, node) in &self.nodes {
            let needs = node.children.iter().chain(&node.subject).filter(|d| self.nodes.contains_key(*d));
            let mut count = 0;
            for need in needs {
                needed_by.entry(need).or_default().push(digest);
                count += 1;
            }
            waiting.insert(digest, count);
        }
        let mut levels = Vec::new();
        let mut ready: Vec<&Digest> = waiting.iter().filter(|(_, n)| **n == 0).map(|(d, _)| *d).collect();
        while !ready.is_empty() {
            ready.sort();
            let mut next = Vec::new();
            for after in ready.iter().filter_map(|d| needed_by.get(*d)).flatten() {
                if let Some(count) = waiting.get_mut(after) {
                    *count -= 1;
                    if *count == 0 {
                        next.push(*after);
                    }
                }
            }
            levels.push(ready.iter().filter_map(|d| self.nodes.get(*d)).collect());
            ready = next;
        }
        levels
    }
}

/// Layers that may lie elsewhere (image-spec `layer.md`, "Non-Distributable Layers").
fn is_foreign(blob: &Descriptor) -> bool {
    let by_type =
        blob.media_type.contains(".nondistributable.") || blob.media_type.contains(".rootfs.foreign.");
    by_type || blob.urls.as_ref().is_some_and(|urls| !urls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::Unobserved;
    use super::*;
    use crate::oci::{Packer, empty_descriptor};
    use crate::store::memory::MemoryStore;
    use crate::store::{BytesSource, Manage as _};

    #[tokio::test]
    async fn one_level_cannot_take_more_room_than_there_is() {
        let store = MemoryStore::new("ex.com/a".parse().unwrap());
        let empty = BytesSource(bytes::Bytes::from_static(crate::oci::EMPTY_JSON));
        store.push_blob(&empty_descriptor(), &empty).await.unwrap();
        let root = Packer::new("a/root").build();
        store.push_manifest(&root, None).await.unwrap();
        let large = |n: u8| Packer::new("a/b").annotation("n", n.to_string().repeat(4000));
        for n in 0..3 {
            let referrer = large(n).subject(root.descriptor()).build();
            store.push_manifest(&referrer, None).await.unwrap();
        }
        store.flush().await.unwrap();
        let walk = async |bytes, listed| {
            let tags: BTreeSet<Tag> = store.tags(None).await.unwrap().into_iter().collect();
            let (room, filter) = (Room::of(bytes, listed), Filter::all());
            let walk = Walk {
                source: &store,
                tags: Some(&tags),
                filter: &filter,
                room: &room,
                width: 1,
                observer: &Unobserved,
            };
            walk.discover(vec![root.clone()]).await
        };
        assert_eq!(walk(15_000, 3).await.unwrap().nodes.len(), 4);
        let limit = "10000 bytes of manifests".to_owned();
        assert!(matches!(walk(10_000, 3).await, Err(CopyError::TooLarge { limit: l, .. }) if l == limit));
        let limit = "2 entries in lists of referrers".to_owned();
        assert!(matches!(walk(15_000, 2).await, Err(CopyError::TooLarge { limit: l, .. }) if l == limit));
        let tag = format!("{}.sig", root.digest().referrers_tag()).parse().unwrap();
        store.push_manifest(&large(9).build(), Some(&tag)).await.unwrap();
        assert!(matches!(walk(15_000, 3).await, Err(CopyError::TooLarge { .. })));
    }
}
