//! A place from which only so many bytes are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::StreamExt;

use crate::oci::{Content, Descriptor, Digest, Reference, Selector, Tag};
use crate::store::{BlobReader, BlobSource, Failure, Store, StoreError};

/// A store of which the blobs are paid for with what they really send: what a manifest claims costs nobody anything.
pub(super) struct Metered<'a> {
    store: &'a dyn Store,
    /// Bytes that may still be read, by all who share it.
    left: Arc<AtomicU64>,
    spent: Arc<AtomicBool>,
}

impl<'a> Metered<'a> {
    pub(super) fn new(store: &'a dyn Store, left: &Arc<AtomicU64>) -> Self {
        Self { store, left: left.clone(), spent: Arc::default() }
    }

    /// Whether something was not read to its end because nothing was left.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for Metered<'_> {
    fn place(&self) -> Reference {
        self.store.place()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        self.store.resolve(selector).await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        let reader = self.store.fetch(blob, offset).await?;
        let (left, spent) = (self.left.clone(), self.spent.clone());
        let (place, digest) = (self.place(), blob.digest.clone());
        let paid = reader.map(move |piece| {
            let piece = piece?;
            let cost = piece.len() as u64;
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(cost)) {
                Ok(_) => Ok(piece),
                Err(_) => {
                    spent.store(true, Ordering::SeqCst);
                    let (what, limit) = (digest.to_string(), "what is read of all together".to_owned());
                    let failure = Failure::TooLarge { what, limit };
                    Err(StoreError::new(&place, format!("read blob {digest}"), failure))
                }
            }
        });
        Ok(paid.boxed())
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.store.exists(descriptor).await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        self.store.push_blob(blob, source).await
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
