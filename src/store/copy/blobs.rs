//! Moving blobs: each once, several at a time, streamed, checked by the destination while they pass.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::closure::WantedBlob;
use super::{BlobOutcome, CopyError, Event, Job, several};
use crate::oci::{Descriptor, Digest, Reference, Repository};
use crate::store::{BlobReader, BlobSource, BytesSource, Failure, Store, StoreBlob, StoreError, checked};

/// Mounts that may fail before no more are tried: some registries answer every one with an upload session.
const MAX_FAILED_MOUNTS: usize = 3;

/// A blob, and how it came to be at the destination.
pub(super) struct Brought {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) outcome: BlobOutcome,
    /// Other bytes lay there.
    pub(super) damaged: bool,
}

/// Bring every blob to the destination, `first` alone before all others; what happened to each, in no order.
pub(super) async fn transfer(
    job: &Job<'_>,
    mut blobs: Vec<WantedBlob>,
    fresh: bool,
    first: Option<&Digest>,
) -> Result<Vec<Brought>, CopyError> {
    let mount = mountable(&job.source.place(), &job.destination.place());
    let failed_mounts = AtomicUsize::new(0);
    let ends = Ends { job, fresh, mount: mount.as_ref(), failed_mounts: &failed_mounts };
    let first = first.and_then(|d| blobs.iter().position(|w| w.descriptor.digest == *d));
    let first = first.map(|at| blobs.remove(at));
    let mut brought = Vec::with_capacity(blobs.len() + 1);
    if let Some(first) = first {
        brought.push(ends.bring(first).await?);
    }
    let moving = blobs.into_iter().map(|wanted| ends.bring(wanted).boxed());
    brought.extend(several(moving.collect(), job.width).await?);
    Ok(brought)
}

struct Ends<'a> {
    job: &'a Job<'a>,
    /// Nothing is at the destination but what this run brought.
    fresh: bool,
    mount: Option<&'a Repository>,
    failed_mounts: &'a AtomicUsize,
}

impl Ends<'_> {
    async fn bring(&self, wanted: WantedBlob) -> Result<Brought, CopyError> {
        let (digest, size) = (wanted.descriptor.digest.clone(), wanted.descriptor.size);
        let turn = self.job.there.blob(&digest);
        let mut there = turn.lock().await;
        // Bytes that can be read where they lie are read; of others only the size is asked.
        let local = !matches!(self.job.destination.place(), Reference::Registry(_));
        let suspect = self.job.request.thorough && local && !*there;
        let damaged = suspect && self.is_damaged(&wanted.descriptor).await?;
        let outcome = match (*there, damaged) {
            (true, _) => BlobOutcome::Present,
            (false, true) if self.job.request.dry_run => BlobOutcome::Moved,
            (false, true) => {
                self.push(&wanted.descriptor).await?;
                BlobOutcome::Moved
            }
            (false, false) => self.choose(&wanted).await?,
        };
        // What is only believed, because this bundle's tags were settled, says nothing for the next bundle.
        let believed = wanted.there && outcome == BlobOutcome::Present;
        *there |= outcome != BlobOutcome::Elsewhere && !believed;
        self.job.observer.event(Event::Blob(&digest, size, outcome));
        Ok(Brought { digest, size, outcome, damaged })
    }

    async fn choose(&self, wanted: &WantedBlob) -> Result<BlobOutcome, CopyError> {
        let blob = &wanted.descriptor;
        if wanted.there {
            return Ok(BlobOutcome::Present);
        }
        let dry = self.job.request.dry_run;
        let looked = wanted.foreign || dry;
        if looked && self.is_there(blob).await? {
            return Ok(BlobOutcome::Present);
        }
        if wanted.foreign && !self.job.source.exists(blob).await.map_err(CopyError::source)? {
            return Ok(BlobOutcome::Elsewhere);
        }
        if dry {
            return Ok(if self.mount.is_some() { BlobOutcome::Mounted } else { BlobOutcome::Moved });
        }
        // A mount costs no more than a look, and answers for a blob that is there as well.
        if let Some(from) =
            self.mount.filter(|_| self.failed_mounts.load(Ordering::Relaxed) < MAX_FAILED_MOUNTS)
        {
            if self.job.destination.mount(blob, from).await.map_err(CopyError::destination)? {
                return Ok(BlobOutcome::Mounted);
            }
            self.failed_mounts.fetch_add(1, Ordering::Relaxed);
        }
        if !looked && self.is_there(blob).await? {
            return Ok(BlobOutcome::Present);
        }
        self.push(blob).await?;
        Ok(BlobOutcome::Moved)
    }

    /// Whether other bytes lie at the destination than the digest says.
    async fn is_damaged(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        let destination = self.job.destination;
        let raw = match destination.fetch(blob, 0).await {
            Err(e) if e.is_not_found() => return Ok(false),
            raw => raw.map_err(CopyError::destination)?,
        };
        let mut reader = checked(destination.place().to_string(), blob.clone(), raw);
        while let Some(piece) = reader.next().await {
            match piece {
                Ok(_) => {}
                Err(e) if e.is_the_items_own() => return Ok(true),
                Err(e) => return Err(CopyError::destination(e)),
            }
        }
        Ok(false)
    }

    async fn is_there(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        match self.fresh {
            true => Ok(false),
            false => self.job.destination.exists(blob).await.map_err(CopyError::destination),
        }
    }

    async fn push(&self, blob: &Descriptor) -> Result<(), CopyError> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let passing = Passing::new(self.job.source, blob, tell);
        let result = {
            let mut pushing = std::pin::pin!(self.job.destination.push_blob(blob, &passing));
            loop {
                tokio::select! {
                    result = &mut pushing => break result,
                    Some(bytes) = told.recv() => self.job.observer.event(Event::Bytes(bytes)),
                }
            }
        };
        while let Ok(bytes) = told.try_recv() {
            self.job.observer.event(Event::Bytes(bytes));
        }
        result.map_err(|e| match (passing.failure(), e.failure) {
            // What the destination says when its source fails is not the reason.
            (Some(failure), _) => CopyError::source(failure),
            // The destination checks what passes; the source gave it.
            (None, failure @ Failure::Content(_)) => {
                let what = format!("read blob {}", blob.digest);
                CopyError::source(StoreError::new(self.job.source.place(), what, failure))
            }
            (None, failure) => CopyError::destination(StoreError { failure, ..e }),
        })
    }
}

/// A blob at the source on its way, counted, with the source's own failure kept apart from the destination's.
struct Passing<'a> {
    from: Box<dyn BlobSource + 'a>,
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
        Self { from, shared: Arc::new(shared) }
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
    fn file(&self) -> Option<std::path::PathBuf> {
        self.from.file()
    }

    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Not checked here: every store checks what it takes, and one hash is enough.
        let reader = self.from.open(offset).await.inspect_err(|e| self.shared.note(e))?;
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
