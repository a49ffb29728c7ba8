//! A place with what is known to lie there: nothing is fetched or pushed twice, and nothing is asked for that is known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::state::Packed;
use crate::oci::{Content, Descriptor, Digest, Manifest, Reference, Selector, Tag, empty_descriptor};
use crate::store::{BlobReader, BlobSource, BytesSource, Manage, Store, StoreError};

/// A store, and the blobs that are known to lie in it: those of manifests that lie there, and those pushed from here.
pub struct Known<'a> {
    store: &'a dyn Manage,
    blobs: Mutex<HashMap<Digest, Option<Bytes>>>,
}

impl<'a> Known<'a> {
    /// A store of which nothing is known yet.
    pub fn new(store: &'a dyn Manage) -> Self {
        Self { store, blobs: Mutex::default() }
    }

    /// The store itself.
    pub fn store(&self) -> &'a dyn Manage {
        self.store
    }

    /// This manifest lies here: so do its blobs. `files` are the bytes of those that were read.
    pub fn learn<'b>(&self, manifest: &Content, files: impl IntoIterator<Item = &'b Bytes>) {
        let mut blobs = self.blobs();
        for file in files {
            blobs.insert(Digest::sha256(file), Some(file.clone()));
        }
        if let Ok(m) = Manifest::parse(manifest) {
            for blob in m.config.iter().chain(&m.layers) {
                blobs.entry(blob.digest.clone()).or_insert_with(|| blob.inline().map(Bytes::from));
            }
        }
    }

    /// Push the blobs that are not known to be here, then the manifest.
    ///
    /// # Errors
    /// The store's own.
    pub async fn push(&self, packed: &Packed, tag: Option<&Tag>) -> Result<(), StoreError> {
        self.push_blobs(packed).await?;
        self.store.push_manifest(&packed.manifest, tag).await?;
        self.store.flush().await
    }

    /// Push the blobs that are not known to be here.
    ///
    /// # Errors
    /// The store's own.
    pub async fn push_blobs(&self, packed: &Packed) -> Result<(), StoreError> {
        let empty = Content::new(empty_descriptor().media_type, crate::oci::EMPTY_JSON);
        for blob in packed.blobs.iter().chain(&packed.past).chain([&empty]) {
            self.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await?;
            self.blobs().insert(blob.digest().clone(), Some(blob.bytes().clone()));
        }
        Ok(())
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, Option<Bytes>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Known<'_> {
    fn place(&self) -> Reference {
        self.store.place()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        self.store.resolve(selector).await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        let known = self.blobs().get(&blob.digest).cloned().flatten();
        match known {
            Some(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let rest = bytes.slice(from..);
                Ok(stream::once(async move { Ok(rest) }).boxed())
            }
            None => self.store.fetch(blob, offset).await,
        }
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        if self.blobs().contains_key(&descriptor.digest) {
            return Ok(true);
        }
        self.store.exists(descriptor).await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        if self.blobs().contains_key(&blob.digest) {
            return Ok(());
        }
        self.store.push_blob(blob, source).await?;
        self.blobs().insert(blob.digest.clone(), None);
        Ok(())
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        self.store.push_manifest(manifest, tag).await
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        self.store.index_referrers(subject, referrers).await
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.store.referrers(subject, artifact_type).await
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        self.store.tags(after).await
    }
}
