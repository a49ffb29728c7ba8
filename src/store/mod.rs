//! Ring 4: places that hold content. One small trait, one copy algorithm over it. Knows ring 0 only.

pub mod archive;
mod blob;
pub mod copy;
mod error;
pub mod layout;
pub mod memory;
pub mod registry;

pub(crate) use blob::Sum;
pub use blob::{BlobReader, BlobSource, BytesSource, StoreBlob, checked, collect, fetch_small};
pub use error::{Failure, StoreError};

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::oci::{Content, Descriptor, Digest, Reference, Repository, Selector, Tag};

/// A place that holds manifests, blobs, tags and referrers: a repository on a registry, an OCI layout, memory.
///
/// "Not there" is a value (`None`, `false`, an empty list) only when the store said so; every failure to look is an error.
#[async_trait]
pub trait Store: Send + Sync {
    /// Where this is, without selector; for messages and for recognising two repositories of one registry.
    fn place(&self) -> Reference;

    /// The manifest that `selector` names: descriptor and bytes, checked against the digest when one is given
    /// (with tag and digest the digest decides). At most [`crate::oci::MAX_MANIFEST_BYTES`] are read.
    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError>;

    /// The bytes of a blob from `offset` on. Raw: the caller checks ([`checked`], [`fetch_small`]).
    /// A blob that is not there is [`Failure::NotFound`].
    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError>;

    /// Whether a blob or manifest (decided by its media type) is there.
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError>;

    /// Store a blob; size and digest are checked before it counts.
    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError>;

    /// Store a manifest under its digest, and under `tag` if one is given. Bytes are stored as they are.
    /// When it has a subject, [`Store::index_referrers`] must follow for it to be found everywhere.
    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError>;

    /// Make sure that `referrers`, pushed before and all with this `subject`, are listed: one index write a subject, however
    /// many referrers. It counts once [`Manage::flush`] has returned, which reads back what others may have overwritten.
    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError>;

    /// All referrers of `subject`, of one artifact type if given. Entries are hints: type and annotations are
    /// the listed ones, filled in from the manifest where the list lacks them.
    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, StoreError>;

    /// What is listed as referring to `subject`, unjudged: for whoever reads, or knows, each of these manifests anyway.
    /// An entry may be gone, or refer to something else.
    async fn listing(&self, subject: &Digest) -> Result<Listing, StoreError> {
        Ok(Listing { entries: self.referrers(subject, None).await?, by_tag: false })
    }

    /// The file that holds this blob and nothing else, if there is one here: it may be linked instead of copied.
    fn file_of(&self, _blob: &Descriptor) -> Option<PathBuf> {
        None
    }

    /// All tags, or those that sort after `after` where the store can tell. Unordered: filter always.
    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError>;
}

/// A list of referrers as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Each entry once.
    pub entries: Vec<Descriptor>,
    /// It lies at a tag, where anybody may have put something else.
    pub by_tag: bool,
}

/// A change that a list of referrers needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListChange {
    /// A referrer was not listed.
    Added(Digest),
    /// It was listed with another type, size or annotations than it has, or twice.
    Corrected(Digest),
    /// It was listed, and is gone or refers to something else.
    Dropped(Digest),
}

/// What became of [`Manage::replace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The tag names the manifest, and nobody who read before can overwrite it.
    Done,
    /// The tag names the manifest. Nothing guards tags here: a slower writer who read before may overwrite it for that long, so
    /// whoever wants to be sure reads back after it.
    Unguarded(Duration),
    /// The tag names something else by now, and still does.
    Moved,
}

/// What not every place can do: deletion, mounts, and batches.
#[async_trait]
pub trait Manage: Store {
    /// Delete a tag, or a manifest by digest. `false` when the place does not allow it; gone already is `true`.
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError>;

    /// Make a blob of another repository of the same registry appear here without moving bytes.
    /// `false` when that did not happen, and the blob must be pushed; the push uses what the place opened for it instead.
    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<bool, StoreError>;

    /// All tags, for whoever only saves looks by them: a wrong "there are none" costs him requests, and loses nothing.
    async fn first_tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.tags(None).await
    }

    /// Make the list of referrers of `subject` right: `referrers`, pushed before, and what else refers to it, each as its
    /// manifest says, and nothing that is gone. What was changed; what is no list at all is not touched but
    /// [`Failure::Foreign`]. [`Manage::flush`] must follow. Where lists are derived from the manifests nothing can be wrong.
    async fn mend_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
    ) -> Result<Vec<ListChange>, StoreError> {
        self.index_referrers(subject, referrers).await.map(|()| Vec::new())
    }

    /// What [`Manage::mend_referrers`] would change once those of `referrers` were pushed that are `to_come`; nothing is
    /// written.
    async fn unmended_referrers(
        &self,
        _subject: &Descriptor,
        _referrers: &[Content],
        _to_come: &HashSet<Digest>,
    ) -> Result<Vec<ListChange>, StoreError> {
        Ok(Vec::new())
    }

    /// Let `tag` name `manifest`, which is pushed with it, in place of `before` (`None`: nothing), which it was just seen to name:
    /// for tags that several write, who must not overwrite what another has just added.
    async fn replace(
        &self,
        tag: &Tag,
        before: Option<&Digest>,
        manifest: &Content,
    ) -> Result<Replaced, StoreError> {
        let now = self.resolve(&Selector::Tag(tag.clone())).await?;
        if now.as_ref().map(Content::digest) != before {
            return Ok(Replaced::Moved);
        }
        self.push_manifest(manifest, Some(tag)).await?;
        Ok(Replaced::Done)
    }

    /// Make what was written since the last call durable and visible: one sync a batch on a disk; on a registry without the
    /// referrers API one wait for slower writers, and the lists read back.
    async fn flush(&self) -> Result<(), StoreError>;

    /// While held, [`Manage::flush`] may keep what was written to this value: a place that can only be written anew as a
    /// whole is then written once, by the first flush after it was let go.
    fn hold(&self, _held: bool) {}
}
