//! Blobs as streams: opened at an offset as often as retries need, checked while they pass.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Failure, Store, StoreError};
use crate::oci::{Content, ContentError, Descriptor, Digest, Hasher};

/// Size of the pieces in which files are read, in bytes.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// Blobs up to this size are hashed where they pass: a thread would cost more than it saves.
const HASHED_HERE_BYTES: u64 = 1024 * 1024;
/// Pieces that may wait to be hashed.
const PIECES_TO_HASH: usize = 2;

/// How long a small blob may take in all: a trickle must not hold a verification up for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// A stream of pieces of a blob.
pub type BlobReader = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Where the bytes of a blob come from. May be opened many times: retry, resume and store-to-store copy come free.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` on.
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError>;

    /// The file that holds the blob and nothing else, if there is one here: it may be linked instead of copied, and is
    /// not trusted any more than the bytes are.
    fn file(&self) -> Option<PathBuf> {
        None
    }
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

    fn file(&self) -> Option<PathBuf> {
        self.store.file_of(&self.blob)
    }
}

/// `reader` (opened at offset 0) with size and digest checked while it passes: the last piece is only given out
/// after the whole matched, and nothing is given out past the descriptor's size.
pub fn checked(place: String, blob: Descriptor, reader: BlobReader) -> BlobReader {
    struct State {
        place: String,
        blob: Descriptor,
        reader: BlobReader,
        sum: Option<Sum>,
        seen: u64,
        held: Option<Bytes>,
        ended: bool,
    }
    let state = State { place, blob, reader, sum: None, seen: 0, held: None, ended: false };
    let fail = |s: &State, e: Failure| StoreError::new(&s.place, format!("read blob {}", s.blob.digest), e);
    let size =
        |s: &State| ContentError::Size { digest: s.blob.digest.clone(), expected: s.blob.size, got: s.seen };
    let begin =
        |blob: &Descriptor| Sum::new(Hasher::new(blob.digest.algorithm()), blob.size, Box::new(|_, _| {}));
    stream::unfold(state, move |mut s| async move {
        loop {
            if std::mem::replace(&mut s.ended, true) {
                return None;
            }
            match s.reader.next().await {
                Some(Ok(piece)) => {
                    s.seen += piece.len() as u64;
                    if s.seen > s.blob.size {
                        return Some((Err(fail(&s, size(&s).into())), s));
                    }
                    let mut sum = s.sum.take().unwrap_or_else(|| begin(&s.blob));
                    sum.add(&piece).await;
                    (s.sum, s.ended) = (Some(sum), false);
                    if let Some(out) = s.held.replace(piece) {
                        return Some((Ok(out), s));
                    }
                }
                Some(Err(e)) => return Some((Err(e), s)),
                None => {
                    let got = s.sum.take().unwrap_or_else(|| begin(&s.blob)).finish().await;
                    let wrong = match got {
                        Err(failure) => Some(failure),
                        Ok(_) if s.seen != s.blob.size => Some(size(&s).into()),
                        Ok(got) if got != s.blob.digest => {
                            Some(ContentError::Digest { expected: s.blob.digest.clone(), got }.into())
                        }
                        Ok(_) => None,
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

/// Told after each piece how long it was and what the hash is then, so that hashing can go on from there another time.
pub(crate) type Marker = Box<dyn FnMut(&Hasher, usize) + Send>;

/// The digest of what passes. Of blobs of more than 1 MiB it is computed on a thread beside the transfer, so that neither
/// waits for the other.
pub(crate) enum Sum {
    /// Computed where the pieces pass.
    Here(Hasher, Marker),
    /// Computed on a thread of its own.
    Beside(mpsc::Sender<Bytes>, JoinHandle<Digest>),
}

impl Sum {
    /// Going on with `hasher` through a blob of which `left` bytes are to come.
    pub(crate) fn new(hasher: Hasher, left: u64, mut marker: Marker) -> Self {
        if left <= HASHED_HERE_BYTES {
            return Self::Here(hasher, marker);
        }
        let (give, mut take) = mpsc::channel::<Bytes>(PIECES_TO_HASH);
        let hashing = tokio::task::spawn_blocking(move || {
            let mut hasher = hasher;
            while let Some(piece) = take.blocking_recv() {
                hasher.update(&piece);
                marker(&hasher, piece.len());
            }
            hasher.finish()
        });
        Self::Beside(give, hashing)
    }

    /// One more piece.
    pub(crate) async fn add(&mut self, piece: &Bytes) {
        match self {
            Self::Here(hasher, marker) => {
                hasher.update(piece);
                marker(hasher, piece.len());
            }
            // Nobody takes it any more when the thread failed: its end says so.
            Self::Beside(give, _) => drop(give.send(piece.clone()).await),
        }
    }

    /// The digest of all pieces.
    pub(crate) async fn finish(self) -> Result<Digest, Failure> {
        match self {
            Self::Here(hasher, _) => Ok(hasher.finish()),
            Self::Beside(give, hashing) => {
                drop(give);
                hashing.await.map_err(|e| Failure::Interrupted(e.to_string()))
            }
        }
    }
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

    /// In pieces of uneven sizes.
    fn in_pieces(bytes: &[u8]) -> BlobReader {
        let pieces: Vec<_> = bytes.chunks(100_001).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
        stream::iter(pieces).boxed()
    }

    #[tokio::test]
    async fn the_last_piece_is_held_back_until_the_whole_is_right() {
        // Hashed where they pass, and beside.
        for len in [250_000, 3_000_000] {
            let good = vec![7_u8; len];
            let mut wrong = good.clone();
            wrong[len / 2] ^= 1;
            let longer = vec![7_u8; len + 1];
            let read = async |bytes: &[u8]| {
                let blob = Descriptor::of("a/b", &good);
                let mut reader = checked("here".into(), blob, in_pieces(bytes));
                let mut given = 0;
                while let Some(piece) = reader.next().await {
                    match piece {
                        Ok(piece) => given += piece.len(),
                        Err(e) => return (given, Some(e.failure)),
                    }
                }
                (given, None)
            };
            assert_eq!(read(&good).await, (len, None));
            for bad in [&wrong[..], &good[..len - 1], &longer] {
                let (given, failure) = read(bad).await;
                assert!(given < len && matches!(failure, Some(Failure::Content(_))), "{given} {failure:?}");
            }
        }
    }

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
