//! A blob on its way into upload requests: opened anew wherever an upload goes on, and checked as a whole all the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use reqwest::Body;

use super::upload::Progress;
use crate::oci::{ContentError, Descriptor, Hasher};
use crate::store::{BlobReader, BlobSource, Failure, StoreError, Sum};

/// Bytes between two places from which hashing can go on.
const MARK_BYTES: u64 = 4 * 1024 * 1024;

/// Most such places that are kept, the latest ones.
const MAX_MARKS: usize = 256;

/// States of the hash at places of one blob.
#[derive(Clone, Default)]
pub(super) struct Marks(Arc<Mutex<VecDeque<(u64, Hasher)>>>);

impl Marks {
    fn at_most(&self, offset: u64) -> Option<(u64, Hasher)> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().rev().find(|(at, _)| *at <= offset).cloned()
    }

    fn note(&self, at: u64, hasher: &Hasher) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.back().map_or(0, |(last, _)| *last) + MARK_BYTES > at {
            return;
        }
        if marks.len() >= MAX_MARKS {
            marks.pop_front();
        }
        marks.push_back((at, hasher.clone()));
    }
}

/// The bytes of a blob from some place on. Its last piece is given out only after the whole matched.
pub(super) struct Feed {
    place: String,
    blob: Descriptor,
    reader: BlobReader,
    sum: Option<Sum>,
    /// Bytes that went into the hash.
    hashed: u64,
    /// The rest of the last piece.
    left: Bytes,
    /// Where the next byte given out lies.
    at: u64,
}

impl Feed {
    /// From `at` on; what lies between there and the last mark is read again for the hash.
    pub(super) async fn open(
        place: String,
        blob: &Descriptor,
        source: &dyn BlobSource,
        marks: &Marks,
        at: u64,
    ) -> Result<Self, StoreError> {
        let (from, hasher) = marks.at_most(at).unwrap_or_else(|| (0, Hasher::new(blob.digest.algorithm())));
        let (marks, mut at_mark) = (marks.clone(), from);
        let marker = move |hasher: &Hasher, len: usize| {
            at_mark += len as u64;
            marks.note(at_mark, hasher);
        };
        let mut feed = Self {
            place,
            blob: blob.clone(),
            reader: source.open(from).await?,
            sum: Some(Sum::new(hasher, blob.size.saturating_sub(from), Box::new(marker))),
            hashed: from,
            left: Bytes::new(),
            at: from,
        };
        while feed.at < at && feed.take(at - feed.at).await?.is_some() {}
        if blob.size == 0 {
            feed.finish().await?;
        }
        Ok(feed)
    }

    /// Where the next byte given out lies.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether the blob was read to its end, and is what its descriptor names.
    pub(super) fn matched(&self) -> bool {
        self.sum.is_none() && self.hashed == self.blob.size
    }

    /// The next bytes, at most `most`; none after the last one.
    async fn take(&mut self, most: u64) -> Result<Option<Bytes>, StoreError> {
        if self.left.is_empty() {
            self.left = self.draw().await?;
        }
        let len = self.left.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.at += len as u64;
        Ok((len > 0).then(|| self.left.split_to(len)))
    }

    async fn draw(&mut self) -> Result<Bytes, StoreError> {
        loop {
            match self.reader.next().await {
                Some(piece) => {
                    let piece = piece?;
                    if piece.is_empty() {
                        continue;
                    }
                    self.hashed = self.hashed.saturating_add(piece.len() as u64);
                    if self.hashed > self.blob.size {
                        return Err(self.wrong_size());
                    }
                    if let Some(sum) = &mut self.sum {
                        sum.add(&piece).await;
                    }
                    if self.hashed == self.blob.size {
                        self.finish().await?;
                    }
                    return Ok(piece);
                }
                None if self.hashed < self.blob.size => return Err(self.wrong_size()),
                None => return Ok(Bytes::new()),
            }
        }
    }

    /// All bytes are there: nothing may follow, and the digest must match.
    async fn finish(&mut self) -> Result<(), StoreError> {
        while let Some(piece) = self.reader.next().await {
            self.hashed = self.hashed.saturating_add(piece?.len() as u64);
            if self.hashed > self.blob.size {
                return Err(self.wrong_size());
            }
        }
        let Some(sum) = self.sum.take() else { return Ok(()) };
        let failure: Failure = match sum.finish().await {
            Ok(got) if got == self.blob.digest => return Ok(()),
            Ok(got) => ContentError::Digest { expected: self.blob.digest.clone(), got }.into(),
            Err(failure) => failure,
        };
        // Not matched: the size no longer says so either.
        self.sum = Some(Sum::new(Hasher::new(self.blob.digest.algorithm()), 0, Box::new(|_, _| {})));
        Err(self.error(failure))
    }

    fn wrong_size(&self) -> StoreError {
        let digest = self.blob.digest.clone();
        self.error(ContentError::Size { digest, expected: self.blob.size, got: self.hashed })
    }

    fn error(&self, e: impl Into<Failure>) -> StoreError {
        StoreError::new(&self.place, format!("read blob {}", self.blob.digest), e)
    }
}

/// A feed that requests draw from one after the other.
pub(super) type Shared = Arc<tokio::sync::Mutex<Feed>>;

/// Where a body leaves the failure of its source.
pub(super) type Slot = Arc<Mutex<Option<StoreError>>>;

/// The next `len` bytes as the body of a request; a failure of the source ends it and is left in `slot`.
pub(super) fn body(feed: Shared, len: u64, progress: Progress, slot: Slot) -> Body {
    if len == 0 {
        return Body::from(Bytes::new());
    }
    let pieces = stream::unfold(len, move |left| {
        let (feed, progress, slot) = (feed.clone(), progress.clone(), slot.clone());
        async move {
            if left == 0 {
                return None;
            }
            match feed.lock().await.take(left).await {
                Ok(Some(piece)) => {
                    let less = left - piece.len() as u64;
                    progress.moved(piece.len() as u64);
                    Some((Ok(piece), less))
                }
                Ok(None) => None,
                Err(e) => {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.clone());
                    Some((Err(e), 0))
                }
            }
        }
    });
    Body::wrap_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BytesSource;

    async fn rest(bytes: &[u8], blob: &Descriptor, marks: &Marks, at: u64) -> Result<Vec<u8>, StoreError> {
        let source = BytesSource(Bytes::copy_from_slice(bytes));
        let mut feed = Feed::open("here".into(), blob, &source, marks, at).await?;
        assert_eq!(feed.at(), at);
        let mut out = Vec::new();
        while let Some(piece) = feed.take(1000).await? {
            out.extend_from_slice(&piece);
        }
        assert!(feed.matched());
        Ok(out)
    }

    #[tokio::test]
    async fn every_place_is_checked_as_a_whole() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        let blob = Descriptor::of("a/b", &bytes);
        let mut wrong = bytes.clone();
        wrong[3] ^= 1;
        for at in [0, 1, 777, 19_999, 20_000] {
            let marks = Marks::default();
            assert_eq!(rest(&bytes, &blob, &marks, at).await.unwrap(), bytes[at as usize..]);
            let e = rest(&wrong, &blob, &marks, at).await.unwrap_err();
            assert!(matches!(e.failure, Failure::Content(ContentError::Digest { .. })), "{e}");
            for other in [&bytes[..19_999], &[&bytes[..], b"x"].concat()] {
                let e = rest(other, &blob, &marks, at).await.unwrap_err();
                assert!(matches!(e.failure, Failure::Content(ContentError::Size { .. })), "{e}");
            }
        }
        let empty = Descriptor::of("a/b", b"");
        assert_eq!(rest(b"", &empty, &Marks::default(), 0).await.unwrap(), b"");
        assert!(rest(b"x", &empty, &Marks::default(), 0).await.is_err());
    }

    #[test]
    fn marks_are_few_and_the_latest() {
        let marks = Marks::default();
        let hasher = Hasher::new(crate::oci::Algorithm::Sha256);
        (1..=10_000).for_each(|i| marks.note(i * MARK_BYTES / 4, &hasher));
        let kept = marks.0.lock().unwrap().len();
        assert_eq!(kept, MAX_MARKS);
        assert_eq!(marks.at_most(u64::MAX).unwrap().0, 2500 * MARK_BYTES);
        assert!(marks.at_most(MARK_BYTES).is_none());
    }
}
