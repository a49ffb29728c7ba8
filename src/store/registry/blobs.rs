//! Blobs: whether one is there, and its bytes, continued where an answer broke (distribution-spec "Pulling blobs",
//! RFC 9110 14 and 15.3.7).

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::Registry;
use super::auth::Access;
use super::http::Call;
use super::retry::Tries;
use crate::oci::Descriptor;
use crate::store::{BlobReader, Failure, StoreError};

/// A body that ended in good order, before the blob did.
const ENDED: &str = "the body ended too early";

/// Bytes that must have come since the tries were last counted anew: a registry that breaks off at every byte is left.
const PROGRESS_BYTES: u64 = 1024 * 1024;

impl Registry {
    /// Whether a blob is there, with the size that it must have: docker-registry is known to answer 200 for blobs that a
    /// full disk left empty.
    pub(super) async fn has_blob(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let call = Call::path(Method::HEAD, self.path(&format!("blobs/{}", blob.digest)));
        let answer = self.host.small(&call, &self.scopes(Access::Read), 0).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(false),
            // It says nothing about the blob.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => self.probe(blob).await,
            s if s.is_success() => Ok(said_length(&answer.headers).is_none_or(|n| n == blob.size)),
            _ => Err(answer.failure()),
        }
    }

    /// [`Registry::has_blob`] by a GET that is dropped after its head.
    async fn probe(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let call = Call::path(Method::GET, self.path(&format!("blobs/{}", blob.digest)))
            .header(RANGE, HeaderValue::from_static("bytes=0-0"));
        let size = match self.host.open(&call, &self.scopes(Access::Read)).await {
            Ok(answer) if answer.status() == StatusCode::PARTIAL_CONTENT => said_total(answer.headers()),
            Ok(answer) => said_length(answer.headers()),
            Err(Failure::NotFound) => return Ok(false),
            // No byte 0: the blob is empty.
            Err(Failure::Refused { status: 416, .. }) => Some(0),
            Err(other) => return Err(other),
        };
        Ok(size.is_none_or(|n| n == blob.size))
    }

    /// A blob from `offset` on, unchecked. A body that breaks is continued, so that who reads sees one stream.
    pub(super) async fn pull_blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, Failure> {
        if offset > 0 && offset >= blob.size {
            return Ok(stream::empty().boxed());
        }
        let mut pull = Pull {
            registry: self.clone(),
            blob: blob.clone(),
            at: offset,
            body: None,
            skip: 0,
            tries: self.host.config().retry.start(),
            counted: offset,
            ended: None,
            no_ranges: false,
        };
        pull.open().await?;
        let next = |mut pull: Pull| async move { pull.next().await.map(|piece| (piece, pull)) };
        Ok(stream::unfold(pull, next).boxed())
    }
}

/// A blob on its way here.
struct Pull {
    registry: Registry,
    blob: Descriptor,
    /// The next byte to give out.
    at: u64,
    /// The rest of the current answer.
    body: Option<Response>,
    /// Bytes of it that were given out before.
    skip: u64,
    tries: Tries,
    /// Where the tries were last counted anew.
    counted: u64,
    /// Where an answer ended in good order, but too early.
    ended: Option<u64>,
    /// This registry was asked for a range, and answered with 416 or another one.
    no_ranges: bool,
}

impl Pull {
    async fn open(&mut self) -> Result<(), Failure> {
        loop {
            let from = if self.no_ranges { 0 } else { self.at };
            let path = self.registry.path(&format!("blobs/{}", self.blob.digest));
            let mut call = Call::path(Method::GET, path);
            if from > 0 {
                let range = HeaderValue::from_str(&format!("bytes={from}-"));
                call = call.header(RANGE, range.map_err(|e| Failure::Protocol(e.to_string()))?);
            }
            let opened = self.registry.host.open(&call, &self.registry.scopes(Access::Read)).await;
            let response = match opened {
                Err(Failure::Refused { status: 416, .. }) if from > 0 => {
                    self.no_ranges = true;
                    continue;
                }
                other => other?,
            };
            self.skip = match response.status() {
                // A registry may ignore the range (RFC 9110 14.2); the start is then skipped here.
                StatusCode::OK => self.at,
                StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), from) => self.at - from,
                StatusCode::PARTIAL_CONTENT if from > 0 => {
                    self.no_ranges = true;
                    continue;
                }
                StatusCode::PARTIAL_CONTENT => {
                    return Err(Failure::Protocol("asked for a whole blob, got a part".into()));
                }
                s => return Err(Failure::Protocol(format!("status {s} for a blob"))),
            };
            self.body = Some(response);
            return Ok(());
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let idle = self.registry.host.config().timeouts.idle;
        loop {
            let body = self.body.as_mut()?;
            let broke = match tokio::time::timeout(idle, body.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    let piece = skipped(piece, &mut self.skip);
                    if piece.is_empty() {
                        continue;
                    }
                    self.at += piece.len() as u64;
                    return Some(Ok(piece));
                }
                // Without a length the end of the connection looks like the end of the body; twice at one place it is.
                Ok(Ok(None)) if self.at >= self.blob.size || self.ended == Some(self.at) => None,
                Ok(Ok(None)) => {
                    self.ended = Some(self.at);
                    Some(ENDED.into())
                }
                Ok(Err(e)) => Some(super::trouble::causes(&e)),
                Err(_) => Some("no byte came for too long".into()),
            };
            self.body = None;
            if let Some(failure) = self.resume(broke?).await {
                let what = format!("pull blob {}", self.blob.digest);
                return Some(Err(self.registry.error(what, failure)));
            }
        }
    }

    /// Ask for the rest; what it means when that does not help. Nothing is asked when all bytes are there.
    async fn resume(&mut self, broke: String) -> Option<Failure> {
        if self.at >= self.blob.size {
            return None;
        }
        if self.at - self.counted >= PROGRESS_BYTES {
            self.tries = self.registry.host.config().retry.start();
            self.counted = self.at;
        }
        let Some(wait) = self.tries.next(None) else {
            // Who checks the whole will say what is missing.
            return (broke != ENDED).then_some(Failure::Interrupted(broke));
        };
        tokio::time::sleep(wait).await;
        let opened = self.open().await;
        // Not the new failure alone: a blob that was there in part is not "not found".
        opened.err().map(|e| Failure::Interrupted(format!("{broke}; asked for the rest: {e}")))
    }
}

/// Whether the answer's `Content-Range` starts at `offset`.
fn starts_at(headers: &HeaderMap, offset: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|r| r.to_str().ok());
    let start = range.and_then(|r| {
        r.trim().strip_prefix("bytes").and_then(|r| r.trim_start().split('-').next()?.parse::<u64>().ok())
    });
    start == Some(offset)
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The whole size in `bytes 0-0/1234`.
fn said_total(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

fn skipped(mut piece: Bytes, skip: &mut u64) -> Bytes {
    let cut = (*skip).min(piece.len() as u64);
    *skip -= cut;
    piece.split_off(usize::try_from(cut).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_skips() {
        let range = |text: &str| [(CONTENT_RANGE, text.parse().unwrap())].into_iter().collect::<HeaderMap>();
        assert!(starts_at(&range("bytes 5-9/10"), 5) && starts_at(&range("bytes 5-"), 5));
        for other in ["bytes 0-9/10", "5-9", "bytes */10", ""] {
            assert!(!starts_at(&range(other), 5), "{other}");
        }
        assert_eq!(said_total(&range("bytes 0-0/1234")), Some(1234));
        assert_eq!(said_total(&range("bytes 0-0/*")), None);
        let mut skip = 5;
        assert_eq!(skipped(Bytes::from("abc"), &mut skip), "");
        assert_eq!(skipped(Bytes::from("defg"), &mut skip), "fg");
        assert_eq!(skipped(Bytes::from("hi"), &mut skip), "hi");
    }
}
