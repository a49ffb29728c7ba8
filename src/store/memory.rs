//! A repository in memory, for tests and for composing artifacts before they are pushed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

use super::{BlobReader, BlobSource, Failure, Manage, Store, StoreError, blob, checked, collect};
use crate::oci::{
    Content, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, Reference, RegistryRef, Repository, Selector,
    Tag, media_type, successors,
};

/// A repository in memory. As strict as the strict registries: a manifest is refused while something that it needs is
/// missing (a missing subject is allowed, and so are layers that lie elsewhere by their `urls`).
#[derive(Debug)]
pub struct MemoryStore {
    place: Reference,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    blobs: HashMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, Content>,
    tags: BTreeMap<Tag, Digest>,
}

impl MemoryStore {
    /// An empty store that calls itself `repository`.
    pub fn new(repository: Repository) -> Self {
        Self::at(Reference::Registry(RegistryRef { repository, selector: None }))
    }

    /// An empty store that calls itself `place`: what a dry run sees where a directory is yet to be made.
    pub fn at(place: Reference) -> Self {
        Self { place, held: Mutex::default() }
    }

    /// Number of manifests and of blobs.
    pub fn counts(&self) -> (usize, usize) {
        let held = self.held();
        (held.manifests.len(), held.blobs.len())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, what: impl Into<String>, failure: impl Into<Failure>) -> StoreError {
        StoreError::new(&self.place, what, failure)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn place(&self) -> Reference {
        self.place.clone()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        let held = self.held();
        let digest = match selector {
            Selector::Tag(tag) => held.tags.get(tag),
            Selector::Digest(digest) | Selector::Both(_, digest) => Some(digest),
        };
        Ok(digest.and_then(|d| held.manifests.get(d)).cloned())
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        let bytes = self.held().blobs.get(&blob.digest).cloned();
        let bytes =
            bytes.ok_or_else(|| self.error(format!("read blob {}", blob.digest), Failure::NotFound))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(futures::stream::iter(pieces(bytes.slice(from..))).boxed())
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let held = self.held();
        Ok(if media_type::is_manifest(&descriptor.media_type) {
            held.manifests.contains_key(&descriptor.digest)
        } else {
            held.blobs.get(&descriptor.digest).is_some_and(|b| b.len() as u64 == descriptor.size)
        })
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        let reader = checked(self.place.to_string(), blob.clone(), source.open(0).await?);
        let bytes = collect(reader).await?;
        self.held().blobs.insert(blob.digest.clone(), bytes);
        Ok(())
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        let what = || format!("push manifest {}", manifest.digest());
        if manifest.descriptor().size > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(self.error(what(), Failure::TooLarge { what: manifest.digest().to_string(), limit }));
        }
        let needs = successors(manifest).map_err(|e| self.error(what(), e))?;
        let mut held = self.held();
        let no_blob = needs.blobs.iter().find(|b| b.urls.is_none() && !held.blobs.contains_key(&b.digest));
        let no_child = needs.manifests.iter().find(|m| !held.manifests.contains_key(&m.digest));
        if let Some(missing) = no_blob.or(no_child) {
            let text = format!("MANIFEST_BLOB_UNKNOWN: {} is not there", missing.digest);
            return Err(self.error(what(), Failure::Refused { status: 400, text }));
        }
        let kept = Content::check(manifest.descriptor().bare(), manifest.bytes().clone());
        held.manifests.insert(manifest.digest().clone(), kept.map_err(|e| self.error(what(), e))?);
        if let Some(tag) = tag {
            held.tags.insert(tag.clone(), manifest.digest().clone());
        }
        Ok(())
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        let listed = self.referrers(&subject.digest, None).await?;
        match referrers.iter().find(|r| !listed.iter().any(|l| l.digest == *r.digest())) {
            None => Ok(()),
            Some(lost) => Err(self.error(
                format!("list referrers of {}", subject.digest),
                Failure::Lost(lost.digest().to_string()),
            )),
        }
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let held = self.held();
        let referring = held.manifests.values().filter_map(|content| {
            let m = Manifest::parse(content).ok()?;
            let to = &m.subject.as_ref()?.digest;
            let asked = artifact_type.is_none_or(|t| m.effective_artifact_type() == Some(t));
            (to == subject && asked).then(|| m.referrer_descriptor(content.descriptor()))
        });
        Ok(referring.collect())
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        Ok(self.held().tags.keys().filter(|t| after.is_none_or(|a| t.as_str() > a)).cloned().collect())
    }
}

#[async_trait]
impl Manage for MemoryStore {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        let mut held = self.held();
        match what {
            Selector::Tag(tag) => {
                held.tags.remove(tag);
            }
            Selector::Digest(digest) | Selector::Both(_, digest) => {
                held.manifests.remove(digest);
                held.tags.retain(|_, d| d != digest);
            }
        }
        Ok(true)
    }

    async fn mount(&self, _blob: &Descriptor, _from: &Repository) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// `bytes` in pieces as a file or a connection gives them.
fn pieces(bytes: Bytes) -> Vec<Result<Bytes, StoreError>> {
    (0..bytes.len())
        .step_by(blob::PIECE_BYTES)
        .map(|from| Ok(bytes.slice(from..bytes.len().min(from + blob::PIECE_BYTES))))
        .collect()
}
