//! Blobs as streams: opened at an offset as often as retries need, checked while they pass.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};

use super::{Failure, Store, StoreError};
use crate::oci::{Content, ContentError, Descriptor, Hasher};

/// Size of the pieces in which files are read, in bytes.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// How long a small blob may take in all: a trickle must not hold a verification up for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// A stream of pieces of a blob.
pub type BlobReader = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Where the bytes of a blob come from. May be opened many times: retry, resume and store-to-store copy come free.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` on.
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError>;
}

/// Bytes in memory, for small blobs.
#[derive(Debug, Clone)]
pub struct BytesSource(pub Bytes);

#[async_trait]
impl BlobSource for BytesSource {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let rest = self.0.slice(from..);
        Ok(stream::once(async move { Ok(rest) }).boxed())
    }
}

/// A blob in a store.
pub struct StoreBlob<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The blob.
    pub blob: Descriptor,
}

#[async_trait]
impl BlobSource for StoreBlob<'_> {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        self.store.fetch(&self.blob, offset).await
    }
}

/// `reader` (opened at offset 0) with size and digest checked while it passes: the last piece is only given out
/// after the whole matched, and nothing is given out past the descriptor's size.
pub fn checked(place: String, blob: Descriptor, reader: BlobReader) -> BlobReader {
    struct State {
        place: String,
        blob: Descriptor,
        reader: BlobReader,
        hasher: Option<Hasher>,
        seen: u64,
        held: Option<Bytes>,
    }
    let hasher = Some(Hasher::new(blob.digest.algorithm()));
    let state = State { place, blob, reader, hasher, seen: 0, held: None };
    let fail =
        |s: &State, e: ContentError| StoreError::new(&s.place, format!("read blob {}", s.blob.digest), e);
    stream::unfold(state, move |mut s| async move {
        loop {
            s.hasher.as_ref()?;
            match s.reader.next().await {
                Some(Ok(piece)) => {
                    s.seen += piece.len() as u64;
                    if s.seen > s.blob.size {
                        s.hasher = None;
                        let e = ContentError::Size {
                            digest: s.blob.digest.clone(),
                            expected: s.blob.size,
                            got: s.seen,
                        };
                        return Some((Err(fail(&s, e)), s));
                    }
                    s.hasher.iter_mut().for_each(|h| h.update(&piece));
                    if let Some(out) = s.held.replace(piece) {
                        return Some((Ok(out), s));
                    }
                }
                Some(Err(e)) => {
                    s.hasher = None;
                    return Some((Err(e), s));
                }
                None => {
                    let got = s.hasher.take()?.finish();
                    let wrong = if s.seen != s.blob.size {
                        Some(ContentError::Size {
                            digest: s.blob.digest.clone(),
                            expected: s.blob.size,
                            got: s.seen,
                        })
                    } else if got != s.blob.digest {
                        Some(ContentError::Digest { expected: s.blob.digest.clone(), got })
                    } else {
                        None
                    };
                    return match wrong {
                        Some(e) => Some((Err(fail(&s, e)), s)),
                        None => s.held.take().map(|out| (Ok(out), s)),
                    };
                }
            }
        }
    })
    .boxed()
}

/// Read a small blob whole and checked; at most `limit` bytes.
///
/// # Errors
/// Larger than `limit`, not there, not what the descriptor names, or slower than 5 minutes. Content embedded in the descriptor is used when it matches.
pub async fn fetch_small(store: &dyn Store, blob: &Descriptor, limit: u64) -> Result<Content, StoreError> {
    let what = || format!("read blob {}", blob.digest);
    if blob.size > limit {
        let failure = Failure::TooLarge { what: blob.digest.to_string(), limit: format!("{limit} bytes") };
        return Err(StoreError::new(store.place(), what(), failure));
    }
    if let Some(bytes) = blob.inline() {
        return Content::check(blob.clone(), bytes).map_err(|e| StoreError::new(store.place(), what(), e));
    }
    let reader = store.fetch(blob, 0).await?;
    let bytes = collect(checked(store.place().to_string(), blob.clone(), reader));
    let bytes = in_time(PATIENCE, bytes).await.map_err(|f| StoreError::new(store.place(), what(), f))??;
    Content::check(blob.clone(), bytes).map_err(|e| StoreError::new(store.place(), what(), e))
}

/// All pieces of an already bounded reader as one.
///
/// # Errors
/// The reader's own.
pub async fn collect(mut reader: BlobReader) -> Result<Bytes, StoreError> {
    let mut out = Vec::new();
    while let Some(piece) = reader.next().await {
        out.extend_from_slice(&piece?);
    }
    Ok(out.into())
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::Interrupted(format!("not there after {} s", patience.as_secs()));
    tokio::time::timeout(patience, work).await.map_err(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trickle_ends() {
        let drip = stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).then(|piece| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            piece
        });
        let blob = Descriptor::new("a/b", crate::oci::Digest::sha256(b"x"), u64::MAX);
        let read = collect(checked("here".into(), blob, drip.boxed()));
        let late = in_time(Duration::from_millis(20), read).await;
        assert!(matches!(late, Err(Failure::Interrupted(_))));
    }
}
