//! A store whose every call waits for its turn, with what some registries do: lists of tags that lag behind, old states served to
//! some, tags that fall back, deletions refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bulla::client::state::{self, Kind};
use bulla::oci::{Content, Descriptor, Digest, Reference, Repository, Selector, Tag};
use bulla::store::{BlobReader, BlobSource, ListChange, Listing, Manage, Store, StoreError};
use bulla::tuf::{CollectionName, Files, RoleName};
use serde_json::Value;

use super::schedule::{Call, Gate};

/// The tag of a submission, its manifest, and the role files in it.
type Submitted = (Tag, Content, Vec<(RoleName, Value)>);

/// What happened at the registry: the truth that only the checker sees.
#[derive(Default)]
pub(super) struct Truth {
    /// Every state that was served, with the version of its timestamp.
    pub(super) states: Vec<(u64, Content)>,
    /// Every submission.
    pub(super) submissions: Vec<Submitted>,
    /// Every candidate.
    pub(super) candidates: Vec<(Tag, Content)>,
    /// When each tag was PUT.
    put_at: Vec<(Tag, i64)>,
    /// The state that a PUT replaced, to be put back when its writer has seen its own.
    falls_back: Option<(usize, Content)>,
    pub(super) falls: u64,
    pub(super) lost: u64,
    pub(super) overwrites: u64,
}

/// What the registry does to everybody.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Registry {
    /// In a hundred lists of tags: what was PUT in the last half minute is missing.
    pub(super) lag: u64,
    /// In a hundred PUTs of the state: the tag falls back once the writer has read its own state.
    pub(super) loses: u64,
    /// Nothing can be deleted.
    pub(super) keeps: bool,
}

/// The registry of one run.
pub(super) struct Site {
    pub(super) inner: Arc<dyn Manage>,
    pub(super) name: CollectionName,
    pub(super) registry: Registry,
    /// From now on it behaves, but for what it keeps.
    pub(super) calm: AtomicBool,
    pub(super) truth: Mutex<Truth>,
    pub(super) gate: Arc<Gate>,
}

/// The registry as one process sees it.
pub(super) struct Gated {
    pub(super) site: Arc<Site>,
    pub(super) process: usize,
    /// Half of the time it is shown an old state.
    pub(super) deceived: bool,
}

impl Site {
    /// What of a habit is left.
    fn percent(&self, n: u64) -> bool {
        !self.calm.load(Ordering::SeqCst) && self.gate.percent(n)
    }

    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
        self.truth().falls_back = None;
    }

    pub(super) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live state, past everybody.
    pub(super) async fn live(&self) -> (Content, Files) {
        let manifest = self.inner.resolve(&Selector::Tag(self.name.state_tag())).await.unwrap().unwrap();
        let read = state::read(&*self.inner, &manifest, Kind::State).await.unwrap();
        (manifest, read.files)
    }

    /// A tag names this now.
    async fn put(&self, process: usize, manifest: &Content, tag: &Tag) -> Result<(), StoreError> {
        let is_state = *tag == self.name.state_tag();
        let before = match is_state {
            true => self.inner.resolve(&Selector::Tag(tag.clone())).await?,
            false => None,
        };
        self.inner.push_manifest(manifest, Some(tag)).await?;
        if is_state {
            let read = state::read(&*self.inner, manifest, Kind::State).await.unwrap();
            let version = timestamp_version(&read.files);
            let loses = self.percent(self.registry.loses);
            let mut truth = self.truth();
            truth.falls += u64::from(truth.states.last().is_some_and(|(last, _)| version < *last));
            truth.overwrites += 1;
            truth.states.push((version, manifest.clone()));
            truth.falls_back = before.filter(|_| loses).map(|before| (process, before));
        } else if tag.as_str().starts_with(&self.name.submission_prefix()) {
            let read = state::read(&*self.inner, manifest, Kind::Submission).await.unwrap();
            let roles = read.files.metadata().iter().map(|(name, bytes)| {
                (name.role().clone(), serde_json::from_slice::<Value>(bytes).unwrap()["signed"].clone())
            });
            let roles = roles.collect();
            let now = self.gate.now();
            let mut truth = self.truth();
            truth.put_at.push((tag.clone(), now));
            truth.submissions.push((tag.clone(), manifest.clone(), roles));
        } else if tag.as_str().starts_with(&self.name.candidate_prefix()) {
            let now = self.gate.now();
            let mut truth = self.truth();
            truth.put_at.push((tag.clone(), now));
            truth.candidates.push((tag.clone(), manifest.clone()));
        }
        Ok(())
    }

    /// What is at the state's tag; a state that a slower writer overwrites meanwhile is seen once.
    async fn state(&self, process: usize) -> Result<Option<Content>, StoreError> {
        let tag = self.name.state_tag();
        let found = self.inner.resolve(&Selector::Tag(tag.clone())).await;
        let back = {
            let mut truth = self.truth();
            let due = truth.falls_back.as_ref().is_some_and(|(writer, _)| *writer == process);
            truth.falls_back.take_if(|_| due)
        };
        if let Some((_, before)) = back {
            self.inner.push_manifest(&before, Some(&tag)).await?;
            self.truth().lost += 1;
        }
        found
    }
}

/// The version of the timestamp among the files.
pub(super) fn timestamp_version(files: &Files) -> u64 {
    let bytes = files.get(&bulla::tuf::FileName::timestamp()).unwrap();
    serde_json::from_slice::<Value>(bytes).unwrap()["signed"]["version"].as_u64().unwrap()
}

impl Gated {
    async fn turn<T>(&self, call: Call, work: impl Future<Output = T>) -> T {
        self.site.gate.pass(self.process, call, work).await
    }
}

#[async_trait]
impl Store for Gated {
    fn place(&self) -> Reference {
        self.site.inner.place()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        let of_state = selector.digest().is_none() && selector.tag() == Some(&self.site.name.state_tag());
        self.turn(Call::Other, async {
            if !of_state {
                return self.site.inner.resolve(selector).await;
            }
            if self.deceived && self.site.percent(50) {
                let n = self.site.truth().states.len();
                let which = self.site.gate.below(n);
                return Ok(self.site.truth().states.get(which).map(|(_, old)| old.clone()));
            }
            self.site.state(self.process).await
        })
        .await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        self.turn(Call::Other, self.site.inner.fetch(blob, offset)).await
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.turn(Call::Other, self.site.inner.exists(descriptor)).await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        self.turn(Call::Other, self.site.inner.push_blob(blob, source)).await
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        let Some(tag) = tag else {
            return self.turn(Call::Other, self.site.inner.push_manifest(manifest, None)).await;
        };
        let call = if *tag == self.site.name.state_tag() { Call::PutState } else { Call::Put };
        self.turn(call, self.site.put(self.process, manifest, tag)).await
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        self.turn(Call::Other, self.site.inner.index_referrers(subject, referrers)).await
    }

    async fn referrers(&self, subject: &Digest, kind: Option<&str>) -> Result<Vec<Descriptor>, StoreError> {
        self.turn(Call::Other, self.site.inner.referrers(subject, kind)).await
    }

    async fn listing(&self, subject: &Digest) -> Result<Listing, StoreError> {
        self.turn(Call::Other, self.site.inner.listing(subject)).await
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        self.turn(Call::Other, async {
            let mut tags = self.site.inner.tags(after).await?;
            if self.site.percent(self.site.registry.lag) {
                let fresh = self.site.gate.now() - 30;
                let truth = self.site.truth();
                tags.retain(|tag| !truth.put_at.iter().any(|(t, at)| t == tag && *at >= fresh));
            }
            Ok(tags)
        })
        .await
    }
}

#[async_trait]
impl Manage for Gated {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        if self.site.registry.keeps {
            return Ok(false);
        }
        self.turn(Call::Other, self.site.inner.delete(what)).await
    }

    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<bool, StoreError> {
        self.turn(Call::Other, self.site.inner.mount(blob, from)).await
    }

    async fn mend_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
    ) -> Result<Vec<ListChange>, StoreError> {
        self.turn(Call::Other, self.site.inner.mend_referrers(subject, referrers)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.turn(Call::Other, self.site.inner.flush()).await
    }
}
