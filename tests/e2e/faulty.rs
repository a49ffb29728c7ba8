//! A store that records what is asked of it, and fails, loses or refuses on command.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bulla::oci::{Content, Descriptor, Digest, Reference, Repository, Selector, Tag};
use bulla::store::{BlobReader, BlobSource, Failure, Manage, Store, StoreError};

/// Wraps a store.
pub struct Faulty<'a> {
    inner: &'a dyn Manage,
    faults: Faults,
    calls: AtomicUsize,
    log: Mutex<Vec<String>>,
    indexed: AtomicUsize,
}

/// What goes wrong; nothing by default.
#[derive(Default)]
pub struct Faults {
    /// The call that fails, counted from 0.
    pub fail_at: Option<usize>,
    /// A referrer that is not listed until it was indexed so many times.
    pub lose: Option<(Digest, usize)>,
    /// Listing tags is denied.
    pub deny_tags: bool,
    /// Blobs that appear when mounted.
    pub mounts: bool,
    /// Says that it lies here.
    pub place: Option<Reference>,
    /// Referrers that are listed, whatever they are.
    pub claims: Vec<(Digest, Descriptor)>,
}

impl<'a> Faulty<'a> {
    pub fn new(inner: &'a dyn Manage) -> Self {
        Self::with(inner, Faults::default())
    }

    pub fn with(inner: &'a dyn Manage, faults: Faults) -> Self {
        let (calls, indexed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner, faults, calls, log: Mutex::default(), indexed }
    }

    /// What was asked, in order.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How often what begins with `prefix` was asked.
    pub fn count(&self, prefix: &str) -> usize {
        self.log().iter().filter(|l| l.starts_with(prefix)).count()
    }

    fn step(&self, what: String) -> Result<(), StoreError> {
        self.log.lock().unwrap().push(what.clone());
        if Some(self.calls.fetch_add(1, Ordering::SeqCst)) == self.faults.fail_at {
            return Err(StoreError::new(self.place(), what, Failure::Interrupted("on command".into())));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Faulty<'_> {
    fn place(&self) -> Reference {
        self.faults.place.clone().unwrap_or_else(|| self.inner.place())
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        self.step(format!("resolve {selector}"))?;
        self.inner.resolve(selector).await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        self.step(format!("fetch {}", blob.digest))?;
        self.inner.fetch(blob, offset).await
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.step(format!("exists {}", descriptor.digest))?;
        self.inner.exists(descriptor).await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        self.step(format!("push_blob {}", blob.digest))?;
        self.inner.push_blob(blob, source).await
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        let tag_text = tag.map(|t| format!(" {t}")).unwrap_or_default();
        self.step(format!("push_manifest {}{tag_text}", manifest.digest()))?;
        self.inner.push_manifest(manifest, tag).await
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        self.step(format!("index_referrers {}", subject.digest))?;
        if self.faults.lose.as_ref().is_some_and(|(d, _)| referrers.iter().any(|r| r.digest() == d)) {
            self.indexed.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.index_referrers(subject, referrers).await
    }

    async fn referrers(&self, subject: &Digest, kind: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        self.step(format!("referrers {subject}"))?;
        let mut listed = self.inner.referrers(subject, kind).await?;
        if let Some((lost, times)) = &self.faults.lose
            && self.indexed.load(Ordering::SeqCst) < *times
        {
            listed.retain(|d| d.digest != *lost);
        }
        listed.extend(self.faults.claims.iter().filter(|(s, _)| s == subject).map(|(_, d)| d.clone()));
        Ok(listed)
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        self.step("tags".into())?;
        if self.faults.deny_tags {
            return Err(StoreError::new(self.place(), "list tags", Failure::Denied("DENIED".into())));
        }
        self.inner.tags(after).await
    }
}

#[async_trait]
impl Manage for Faulty<'_> {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        self.step(format!("delete {what}"))?;
        self.inner.delete(what).await
    }

    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<bool, StoreError> {
        self.step(format!("mount {} {from}", blob.digest))?;
        Ok(self.faults.mounts)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.step("flush".into())?;
        self.inner.flush().await
    }
}

/// Digests that a log says were pushed as manifests without a tag, in order.
pub fn pushed(log: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let digests = log.iter().filter_map(|l| l.strip_prefix("push_manifest ")).filter(|l| !l.contains(' '));
    digests.filter(|d| seen.insert((*d).to_owned())).map(str::to_owned).collect()
}
