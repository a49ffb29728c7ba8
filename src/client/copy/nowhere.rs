//! A destination that does not exist yet, for a look ahead that must not make it.

use async_trait::async_trait;

use crate::oci::{Content, Descriptor, Digest, Reference, Repository, Selector, Tag};
use crate::store::{BlobReader, BlobSource, Failure, Manage, Store, StoreError};

/// Holds nothing and takes nothing.
pub(super) struct Nowhere(pub(super) Reference);

impl Nowhere {
    fn error(&self, what: impl Into<String>, failure: Failure) -> StoreError {
        StoreError::new(&self.0, what, failure)
    }

    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, StoreError> {
        Err(self.error(what, Failure::NotALayout(format!("{} was not made: nothing is written", self.0))))
    }
}

#[async_trait]
impl Store for Nowhere {
    fn place(&self) -> Reference {
        self.0.clone()
    }

    async fn resolve(&self, _selector: &Selector) -> Result<Option<Content>, StoreError> {
        Ok(None)
    }

    async fn fetch(&self, blob: &Descriptor, _offset: u64) -> Result<BlobReader, StoreError> {
        Err(self.error(format!("read blob {}", blob.digest), Failure::NotFound))
    }

    async fn exists(&self, _descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn push_blob(&self, blob: &Descriptor, _source: &dyn BlobSource) -> Result<(), StoreError> {
        self.refuse(format!("write blob {}", blob.digest))
    }

    async fn push_manifest(&self, manifest: &Content, _tag: Option<&Tag>) -> Result<(), StoreError> {
        self.refuse(format!("write manifest {}", manifest.digest()))
    }

    async fn index_referrers(&self, subject: &Descriptor, _referrers: &[Content]) -> Result<(), StoreError> {
        self.refuse(format!("list referrers of {}", subject.digest))
    }

    async fn referrers(&self, _: &Digest, _: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        Ok(Vec::new())
    }

    async fn tags(&self, _after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Manage for Nowhere {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        self.refuse(format!("delete {what}"))
    }

    async fn mount(&self, _blob: &Descriptor, _from: &Repository) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
