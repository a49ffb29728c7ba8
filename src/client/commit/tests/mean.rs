//! A registry that does what some registries do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};

use crate::client::fixture::name;
use crate::oci::{Content, Descriptor, Digest, Reference, Repository, Selector, Tag};
use crate::store::memory::MemoryStore;
use crate::store::{BlobReader, BlobSource, Manage, Store, StoreError};

/// It deletes manifests and no tags, as distribution does, damages the next blob on demand, and has lost what it is told to.
pub(super) struct Mean {
    inner: MemoryStore,
    pub(super) damages: AtomicBool,
    pub(super) lost: Mutex<Option<Digest>>,
}

impl Mean {
    pub(super) fn new() -> Self {
        let inner = MemoryStore::new(name().as_repository().clone());
        Self { inner, damages: AtomicBool::new(false), lost: Mutex::default() }
    }
}

#[async_trait]
impl Store for Mean {
    fn place(&self) -> Reference {
        self.inner.place()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        self.inner.resolve(selector).await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        if self.damages.swap(false, Ordering::SeqCst) {
            let junk = Bytes::from(vec![b'x'; blob.size as usize]);
            return Ok(stream::once(async move { Ok(junk) }).boxed());
        }
        self.inner.fetch(blob, offset).await
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let lost = self.lost.lock().unwrap().as_ref() == Some(&descriptor.digest);
        Ok(!lost && self.inner.exists(descriptor).await?)
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        self.inner.push_blob(blob, source).await
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        self.inner.push_manifest(manifest, tag).await
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        self.inner.index_referrers(subject, referrers).await
    }

    async fn referrers(&self, subject: &Digest, kind: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        self.inner.referrers(subject, kind).await
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        self.inner.tags(after).await
    }
}

#[async_trait]
impl Manage for Mean {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        match what {
            Selector::Tag(_) => Ok(false),
            _ => self.inner.delete(what).await,
        }
    }

    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<bool, StoreError> {
        self.inner.mount(blob, from).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush().await
    }
}
