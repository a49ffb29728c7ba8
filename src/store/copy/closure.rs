//! Everything that hangs on a bundle at the source: a bounded walk over children, referrers and digest tags.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;

use super::{CopyError, Event, Observer, SkipReason, Skipped, several};
use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, Tag, successors};
use crate::store::{Failure, Store, StoreError};

/// Most steps from the bundle to anything that hangs on it.
const MAX_DEPTH: usize = 64;
/// Most manifests in one copy.
const MAX_MANIFESTS: usize = 100_000;
/// Most bytes of manifests in one copy; they are held in memory.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
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
    blobs: Vec<Descriptor>,
    /// What the source lists as referring to it; [`Closure::referrers`] has those that do.
    listed: Vec<Digest>,
}

/// A blob to copy.
pub(super) struct WantedBlob {
    pub(super) descriptor: Descriptor,
    /// Every manifest that names it says that it lies elsewhere.
    pub(super) foreign: bool,
}

/// What is to be copied.
pub(super) struct Closure {
    pub(super) nodes: HashMap<Digest, Node>,
    /// Tags derived from digests in the closure, and what they name.
    pub(super) digest_tags: Vec<(Tag, Digest)>,
    pub(super) skipped: Vec<Skipped>,
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
    Found(Box<Node>, Vec<(Tag, Content)>),
    Skip(Vec<(Digest, SkipReason)>),
}

/// The derived tags at the source.
enum TagNames {
    /// By what precedes the first dot.
    Listed(HashMap<String, Vec<Tag>>),
    /// The source does not let its tags be listed.
    Unlisted,
}

/// Room for manifests: what does not fit ends the copy at once, before the rest of its level comes.
pub(super) struct Room {
    left: AtomicU64,
    most: u64,
}

impl Room {
    /// Of as many bytes as one copy may hold.
    pub(super) fn new() -> Self {
        Self::of(MAX_BYTES)
    }

    fn of(most: u64) -> Self {
        Self { left: AtomicU64::new(most), most }
    }

    /// Take in a manifest that was just fetched.
    pub(super) fn take(&self, source: &dyn Store, content: &Content) -> Result<(), CopyError> {
        let smaller = |left: u64| left.checked_sub(content.descriptor().size);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
        taken.map(|_| ()).map_err(|_| CopyError::TooLarge {
            place: source.place().to_string(),
            limit: format!("{} bytes of manifests", self.most),
        })
    }
}

/// Walk from `roots`, which are in `room` already, level by level, `concurrency` manifests at a time.
pub(super) async fn discover(
    source: &dyn Store,
    roots: Vec<Content>,
    concurrency: usize,
    observer: &dyn Observer,
    room: &Room,
) -> Result<Closure, CopyError> {
    let names = tag_names(source).await?;
    let place = source.place().to_string();
    let mut closure = Closure { nodes: HashMap::new(), digest_tags: Vec::new(), skipped: Vec::new() };
    let mut expected: HashSet<Digest> = HashSet::new();
    let mut blob_bytes = 0_u64;
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
        let limit = if depth > MAX_DEPTH {
            Some(format!("{MAX_DEPTH} levels"))
        } else if closure.nodes.len() + level.len() > MAX_MANIFESTS {
            Some(format!("{MAX_MANIFESTS} manifests"))
        } else {
            None
        };
        if let Some(limit) = limit {
            return Err(CopyError::TooLarge { place, limit });
        }
        let names = &names;
        let looking = std::mem::take(&mut level).into_iter();
        let looking = looking.map(|(digest, want)| look(source, names, room, digest, want).boxed());
        let seen: Vec<Seen> = several(looking.collect(), concurrency).await?;
        for seen in seen {
            let (node, tags) = match seen {
                Seen::Found(node, tags) => (node, tags),
                Seen::Skip(skipped) => {
                    let skipped = skipped.into_iter().map(|(digest, reason)| Skipped { digest, reason });
                    closure.skipped.extend(skipped);
                    continue;
                }
            };
            let digest = node.content.digest().clone();
            for blob in &node.blobs {
                if expected.insert(blob.digest.clone()) {
                    blob_bytes = blob_bytes.saturating_add(blob.size);
                    if blob_bytes > MAX_BLOB_BYTES_IN_ALL {
                        let limit = format!("{MAX_BLOB_BYTES_IN_ALL} bytes");
                        return Err(CopyError::TooLarge { place, limit });
                    }
                    observer.event(Event::Expect(blob.size));
                }
            }
            for child in &node.children {
                level.entry(child.clone()).or_default().required = true;
            }
            for referrer in &node.listed {
                level.entry(referrer.clone()).or_default().claims.push(digest.clone());
            }
            for (tag, content) in tags {
                closure.digest_tags.push((tag, content.digest().clone()));
                let want = level.entry(content.digest().clone()).or_default();
                (want.content, want.required) = (Some(content), true);
            }
            closure.nodes.insert(digest, *node);
        }
    }
    closure.digest_tags.sort();
    closure.digest_tags.dedup();
    Ok(closure)
}

impl Closure {
    /// Referrers of `subject` in the closure, sorted: only what its own `subject` makes one.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<&Node> {
        let listed = self.nodes.get(subject).map(|n| n.listed.as_slice()).unwrap_or_default();
        let mut digests: Vec<&Digest> = listed.iter().collect();
        digests.sort();
        digests.dedup();
        let nodes = digests.into_iter().filter_map(|d| self.nodes.get(d));
        nodes.filter(|n| n.subject.as_ref() == Some(subject)).collect()
    }

    /// Every blob once, with the largest first so that none is waited for at the end.
    pub(super) fn blobs(&self, place: &str) -> Result<Vec<WantedBlob>, CopyError> {
        let mut wanted: BTreeMap<&Digest, WantedBlob> = BTreeMap::new();
        for blob in self.nodes.values().flat_map(|n| &n.blobs) {
            let foreign = is_foreign(blob);
            let entry = wanted
                .entry(&blob.digest)
                .or_insert_with(|| WantedBlob { descriptor: blob.clone(), foreign });
            if entry.descriptor.size != blob.size {
                let sizes = [entry.descriptor.size.min(blob.size), entry.descriptor.size.max(blob.size)];
                let (place, digest) = (place.to_owned(), blob.digest.clone());
                return Err(CopyError::Contradiction { place, digest, sizes });
            }
            entry.foreign &= foreign;
            if entry.descriptor.data.is_none() && blob.data.is_some() {
                entry.descriptor = blob.clone();
            }
        }
        let mut wanted: Vec<WantedBlob> = wanted.into_values().collect();
        wanted.sort_by_key(|w| std::cmp::Reverse(w.descriptor.size));
        Ok(wanted)
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

/// One manifest: its bytes, its referrers, its derived tags.
async fn look(
    source: &dyn Store,
    names: &TagNames,
    room: &Room,
    digest: Digest,
    want: Want,
) -> Result<Seen, CopyError> {
    let content = match want.content {
        Some(content) => Some(content),
        None => {
            let found = source.resolve(&Selector::Digest(digest.clone())).await.map_err(CopyError::source)?;
            found.iter().try_for_each(|content| room.take(source, content))?;
            found
        }
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
        CopyError::source(StoreError::new(
            source.place(),
            format!("read manifest {digest}"),
            Failure::Manifest(e),
        ))
    };
    let manifest = Manifest::parse(&content).map_err(unreadable)?;
    let subject = manifest.subject.as_ref().map(|s| s.digest.clone());
    if !want.required && !subject.as_ref().is_some_and(|s| want.claims.contains(s)) {
        return Ok(skip(|subject| SkipReason::NotAReferrer { subject }));
    }
    let next = successors(&content).map_err(unreadable)?;
    let listed = source.referrers(&digest, None).await.map_err(CopyError::source)?;
    let tags = derived_tags(source, names, room, &digest).await?;
    let node = Node {
        artifact_type: manifest.effective_artifact_type().map(str::to_owned),
        subject,
        children: next.manifests.into_iter().map(|c| c.digest).collect(),
        blobs: next.blobs,
        listed: listed.into_iter().map(|r| r.digest).collect(),
        content,
    };
    Ok(Seen::Found(Box::new(node), tags))
}

async fn tag_names(source: &dyn Store) -> Result<TagNames, CopyError> {
    let tags = match source.tags(None).await {
        Ok(tags) => tags,
        Err(e) => {
            return match e.failure {
                Failure::NotFound
                | Failure::Denied(_)
                | Failure::Unauthorized(_)
                | Failure::Refused { .. } => Ok(TagNames::Unlisted),
                _ => Err(CopyError::source(e)),
            };
        }
    };
    let mut names: HashMap<String, Vec<Tag>> = HashMap::new();
    for tag in tags {
        if let Some((stem, _)) = tag.as_str().split_once('.').filter(|(s, _)| s.starts_with("sha")) {
            names.entry(stem.to_owned()).or_default().push(tag);
        }
    }
    Ok(TagNames::Listed(names))
}

async fn derived_tags(
    source: &dyn Store,
    names: &TagNames,
    room: &Room,
    digest: &Digest,
) -> Result<Vec<(Tag, Content)>, CopyError> {
    let stem = digest.referrers_tag();
    let tags: Vec<Tag> = match names {
        TagNames::Listed(names) => names.get(&stem).cloned().unwrap_or_default(),
        TagNames::Unlisted => {
            COSIGN_SUFFIXES.iter().filter_map(|s| format!("{stem}.{s}").parse().ok()).collect()
        }
    };
    let mut out = Vec::new();
    for tag in tags {
        // Gone since the list was read: then it names nothing.
        let there = source.resolve(&Selector::Tag(tag.clone())).await.map_err(CopyError::source)?;
        if let Some(content) = there {
            room.take(source, &content)?;
            out.push((tag, content));
        }
    }
    Ok(out)
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
        let walk = async |most| discover(&store, vec![root.clone()], 1, &Unobserved, &Room::of(most)).await;
        assert_eq!(walk(15_000).await.unwrap().nodes.len(), 4);
        let limit = "10000 bytes of manifests".to_owned();
        assert!(matches!(walk(10_000).await, Err(CopyError::TooLarge { limit: l, .. }) if l == limit));
        let tag = format!("{}.sig", root.digest().referrers_tag()).parse().unwrap();
        store.push_manifest(&large(9).build(), Some(&tag)).await.unwrap();
        assert!(matches!(walk(15_000).await, Err(CopyError::TooLarge { .. })));
    }
}
