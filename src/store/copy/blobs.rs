//! Moving blobs: each once, several at a time, streamed, checked at the source while it passes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::closure::WantedBlob;
use super::{BlobOutcome, CopyError, Event, Observer, several};
use crate::oci::{Descriptor, Reference, Repository};
use crate::store::{BlobReader, BlobSource, BytesSource, Manage, Store, StoreBlob, StoreError, checked};

/// Mounts that may fail before no more are tried: some registries answer every one with an upload session.
const MAX_FAILED_MOUNTS: usize = 3;

/// Bring every blob to the destination; what happened to each, in no order.
pub(super) async fn transfer(
    source: &dyn Store,
    destination: &dyn Manage,
    blobs: Vec<WantedBlob>,
    concurrency: usize,
    observer: &dyn Observer,
) -> Result<Vec<(Descriptor, BlobOutcome)>, CopyError> {
    let mount = mountable(&source.place(), &destination.place());
    let failed_mounts = AtomicUsize::new(0);
    let ends = Ends { source, destination, mount: mount.as_ref(), failed_mounts: &failed_mounts, observer };
    let moving = blobs.into_iter().map(|wanted| ends.bring(wanted).boxed());
    several(moving.collect(), concurrency).await
}

struct Ends<'a> {
    source: &'a dyn Store,
    destination: &'a dyn Manage,
    mount: Option<&'a Repository>,
    failed_mounts: &'a AtomicUsize,
    observer: &'a dyn Observer,
}

impl Ends<'_> {
    async fn bring(&self, wanted: WantedBlob) -> Result<(Descriptor, BlobOutcome), CopyError> {
        let outcome = self.choose(&wanted).await?;
        let blob = wanted.descriptor;
        self.observer.event(Event::Blob(&blob.digest, blob.size, outcome));
        Ok((blob, outcome))
    }

    async fn choose(&self, wanted: &WantedBlob) -> Result<BlobOutcome, CopyError> {
        let blob = &wanted.descriptor;
        if self.destination.exists(blob).await.map_err(CopyError::destination)? {
            return Ok(BlobOutcome::Present);
        }
        if wanted.foreign && !self.source.exists(blob).await.map_err(CopyError::source)? {
            return Ok(BlobOutcome::Elsewhere);
        }
        if let Some(from) =
            self.mount.filter(|_| self.failed_mounts.load(Ordering::Relaxed) < MAX_FAILED_MOUNTS)
        {
            if self.destination.mount(blob, from).await.map_err(CopyError::destination)? {
                return Ok(BlobOutcome::Mounted);
            }
            self.failed_mounts.fetch_add(1, Ordering::Relaxed);
        }
        self.push(blob).await?;
        Ok(BlobOutcome::Moved)
    }

    async fn push(&self, blob: &Descriptor) -> Result<(), CopyError> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let passing = Passing::new(self.source, blob, tell);
        let result = {
            let mut pushing = std::pin::pin!(self.destination.push_blob(blob, &passing));
            loop {
                tokio::select! {
                    result = &mut pushing => break result,
                    Some(bytes) = told.recv() => self.observer.event(Event::Bytes(bytes)),
                }
            }
        };
        while let Ok(bytes) = told.try_recv() {
            self.observer.event(Event::Bytes(bytes));
        }
        // What the destination says when its source fails is not the reason.
        result.map_err(|e| passing.failure().map_or_else(|| CopyError::destination(e), CopyError::source))
    }
}

/// A blob at the source on its way, counted, with the source's own failure kept apart from the destination's.
struct Passing<'a> {
    from: Box<dyn BlobSource + 'a>,
    place: String,
    blob: Descriptor,
    shared: Arc<Shared>,
}

struct Shared {
    tell: mpsc::UnboundedSender<u64>,
    /// Bytes told so far: what a retry sends again is not told again.
    told: AtomicU64,
    failure: Mutex<Option<StoreError>>,
}

impl<'a> Passing<'a> {
    fn new(source: &'a dyn Store, blob: &Descriptor, tell: mpsc::UnboundedSender<u64>) -> Self {
        let from: Box<dyn BlobSource + 'a> = match blob.inline() {
            Some(bytes) => Box::new(BytesSource(bytes.into())),
            None => Box::new(StoreBlob { store: source, blob: blob.clone() }),
        };
        let shared = Shared { tell, told: AtomicU64::new(0), failure: Mutex::new(None) };
        Self { from, place: source.place().to_string(), blob: blob.clone(), shared: Arc::new(shared) }
    }

    fn failure(&self) -> Option<StoreError> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn note(&self, failure: &StoreError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
    }

    fn passed(&self, upto: u64) {
        let before = self.told.fetch_max(upto, Ordering::Relaxed);
        if upto > before {
            // Nobody listens any more when the copy was given up.
            let _ = self.tell.send(upto - before);
        }
    }
}

#[async_trait]
impl BlobSource for Passing<'_> {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let raw = self.from.open(offset).await.inspect_err(|e| self.shared.note(e))?;
        // A resumed stream cannot be hashed from its middle; the destination checks the whole.
        let reader = match offset {
            0 => checked(self.place.clone(), self.blob.clone(), raw),
            _ => raw,
        };
        let shared = self.shared.clone();
        let mut at = offset;
        let counted = reader.inspect(move |piece| match piece {
            Ok(bytes) => {
                at += bytes.len() as u64;
                shared.passed(at);
            }
            Err(e) => shared.note(e),
        });
        Ok(counted.boxed())
    }
}

/// The source's repository, when the destination is another one of the same registry.
fn mountable(source: &Reference, destination: &Reference) -> Option<Repository> {
    match (source, destination) {
        (Reference::Registry(s), Reference::Registry(d))
            if s.repository.host() == d.repository.host() && s.repository != d.repository =>
        {
            Some(s.repository.clone())
        }
        _ => None,
    }
}
