//! Writing: blobs, manifests, mounts, deletion.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};

use super::answer::{MAX_ERROR_BYTES, Small};
use super::auth::{Access, Scopes};
use super::http::{self, Call};
use super::retry::{is_transient, retry_after};
use super::{Registry, api_host};
use crate::oci::{Algorithm, Content, Descriptor, Digest, MAX_MANIFEST_BYTES, Repository, Selector, Tag};
use crate::store::{BlobSource, Failure, StoreError, checked};

/// How many idle timeouts a registry may think after the last byte: some only then move a blob to where it stays.
const THINKING: u32 = 5;

/// The bytes sent of one upload.
#[derive(Clone)]
pub(super) struct Progress {
    sent: Arc<AtomicU64>,
    size: u64,
}

impl Progress {
    fn of(size: u64) -> Self {
        Self { sent: Arc::default(), size }
    }

    /// `request`, unless nothing moves for `idle`.
    pub(super) async fn guard<T>(&self, idle: Duration, request: impl Future<Output = T>) -> Option<T> {
        let mut request = std::pin::pin!(request);
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            let wait = if before >= self.size { idle * THINKING } else { idle };
            match tokio::time::timeout(wait, &mut request).await {
                Ok(done) => return Some(done),
                Err(_) if self.sent.load(Ordering::Relaxed) != before => {}
                Err(_) => return None,
            }
        }
    }
}

/// How one try of an upload failed.
enum Upload {
    /// Try again from the start, after the wait the registry asked for.
    Again(StoreError, Option<Duration>),
    /// Try again at once: the proof had run out.
    Reproved(StoreError),
    /// Not worth another try.
    Final(StoreError),
}

impl Registry {
    /// POST, then PUT of the whole (distribution-spec "Pushing a blob monolithically"): no chunks, nothing in memory.
    pub(super) async fn upload_blob(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), StoreError> {
        let (mut tries, mut reproved) = (self.host.config().retry.start(), false);
        loop {
            let (error, wait) = match self.upload_once(blob, source).await {
                Ok(()) => return Ok(()),
                Err(Upload::Again(error, asked)) => (error, tries.next(asked)),
                Err(Upload::Reproved(error)) => {
                    let first = !std::mem::replace(&mut reproved, true);
                    (error, first.then_some(Duration::ZERO))
                }
                Err(Upload::Final(error)) => (error, None),
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn upload_once(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), Upload> {
        let error = |f: Failure| self.error(format!("push blob {}", blob.digest), f);
        let scopes = self.scopes(Access::Write);
        let _permit = self.host.upload_permit().await;
        // The proof is settled here: a body that is on its way cannot answer a challenge.
        let mut url = self.open_session(&scopes).await.map_err(|f| Upload::Final(error(f)))?;
        // Parameters of the location are the session's and stay as they are.
        url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        for _ in 0..3 {
            let answer = self.send_body(&url, blob, source, &scopes).await?;
            return match answer.status {
                StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {
                    named_otherwise(&answer, &blob.digest).map_err(|f| Upload::Final(error(f)))
                }
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    url = location(&answer).map_err(|f| Upload::Final(error(f)))?;
                    continue;
                }
                StatusCode::UNAUTHORIZED if self.host.is_own(&answer.url) => {
                    match self.host.reprove(&answer, &scopes).await {
                        Ok(true) => Err(Upload::Reproved(error(answer.failure()))),
                        Ok(false) => Err(Upload::Final(error(answer.failure()))),
                        Err(f) => Err(Upload::Final(error(f))),
                    }
                }
                status if is_transient(status) => {
                    Err(Upload::Again(error(answer.failure()), retry_after(&answer.headers)))
                }
                // The session is gone, not the repository: POST would have said so.
                StatusCode::NOT_FOUND => {
                    let lost = Failure::Refused { status: 404, text: "the upload session is gone".into() };
                    Err(Upload::Again(error(lost), None))
                }
                _ => Err(Upload::Final(error(answer.failure()))),
            };
        }
        Err(Upload::Final(error(Failure::Protocol("too many redirects of an upload".into()))))
    }

    async fn open_session(&self, scopes: &Scopes) -> Result<Url, Failure> {
        let call = Call::path(Method::POST, self.path("blobs/uploads/"))
            .header(CONTENT_LENGTH, HeaderValue::from(0));
        let answer = self.host.small(&call, scopes, MAX_ERROR_BYTES).await?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::OK => location(&answer),
            s if s.is_success() => Err(Failure::Protocol(format!("status {s} for a new upload"))),
            // Not "not found": a repository that cannot be written to is no missing thing.
            StatusCode::NOT_FOUND => Err(Failure::Refused { status: 404, text: "no uploads here".into() }),
            _ => Err(answer.failure()),
        }
    }

    async fn send_body(
        &self,
        url: &Url,
        blob: &Descriptor,
        source: &dyn BlobSource,
        scopes: &Scopes,
    ) -> Result<Small, Upload> {
        let reader = match source.open(0).await {
            Ok(reader) => reader,
            Err(e) => {
                self.cancel(url, scopes).await;
                return Err(source_failed(e));
            }
        };
        let (progress, failed) = (Progress::of(blob.size), Arc::new(Mutex::new(None)));
        let (sent, slot) = (progress.clone(), failed.clone());
        // Checked while it passes: a body that turns out wrong ends before its last piece, so nothing is stored.
        let body =
            checked(self.repository.to_string(), blob.clone(), reader).inspect(move |piece| match piece {
                Ok(bytes) => drop(sent.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed)),
                Err(e) => *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.clone()),
            });
        let mut headers = HeaderMap::new();
        // By hand: a stream would go out chunked, which some registries refuse.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let body = if blob.size == 0 { Body::from(Bytes::new()) } else { Body::wrap_stream(body) };
        let answer = self.host.upload(url, headers, body, scopes, &progress).await;
        let own = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (own, answer) {
            (Some(e), _) => {
                self.cancel(url, scopes).await;
                Err(source_failed(e))
            }
            (None, Ok(answer)) => Ok(answer),
            (None, Err(failure)) => {
                let again = matches!(failure, Failure::Unreachable(_) | Failure::Interrupted(_));
                let error = self.error(format!("push blob {}", blob.digest), failure);
                Err(if again { Upload::Again(error, None) } else { Upload::Final(error) })
            }
        }
    }

    /// End an upload session that is not used. Failures do not matter: registries end stale ones themselves.
    async fn cancel(&self, url: &Url, scopes: &Scopes) {
        if self.host.is_own(url) {
            let call = Call::new(Method::DELETE, url.clone());
            let asked = self.host.small(&call, scopes, MAX_ERROR_BYTES);
            let _ = tokio::time::timeout(Duration::from_secs(5), asked).await;
        }
    }

    /// PUT a manifest at its tag, or else at its digest; bytes as they are.
    pub(super) async fn put_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), Failure> {
        if manifest.bytes().len() as u64 > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(Failure::TooLarge { what: format!("manifest {}", manifest.digest()), limit });
        }
        // A tag alone lets the registry choose the algorithm, and it chooses sha256.
        if tag.is_none() || manifest.digest().algorithm() != Algorithm::Sha256 {
            self.put_at(manifest, &manifest.digest().to_string()).await?;
        }
        if let Some(tag) = tag {
            self.put_at(manifest, tag.as_str()).await?;
        }
        self.memo.note_own(manifest);
        Ok(())
    }

    async fn put_at(&self, manifest: &Content, name: &str) -> Result<(), Failure> {
        let media_type = HeaderValue::from_str(manifest.media_type())
            .map_err(|_| Failure::Protocol("a media type that no header can carry".into()))?;
        let call = Call::path(Method::PUT, self.path(&format!("manifests/{name}")))
            .header(CONTENT_TYPE, media_type)
            .body(manifest.bytes().clone());
        let answer = self.host.small(&call, &self.scopes(Access::Write), MAX_ERROR_BYTES).await?;
        match answer.status {
            // No Location is asked for: ECR sends none.
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                self.memo.note_subject(answer.header("oci-subject").is_some());
                named_otherwise(&answer, manifest.digest())
            }
            StatusCode::NOT_FOUND => Err(Failure::Refused { status: 404, text: text_of(&answer) }),
            _ => Err(answer.failure()),
        }
    }

    /// Mount a blob (distribution-spec "Mounting a blob from another repository"). Any refusal means: push it.
    pub(super) async fn mount_blob(&self, blob: &Descriptor, from: &Repository) -> Result<bool, Failure> {
        if api_host(from.host()) != api_host(self.repository.host()) || from.name() == self.repository.name()
        {
            return Ok(false);
        }
        let scopes = Scopes::mount(self.repository.name(), from.name());
        let encoded = percent_encoding::utf8_percent_encode(from.name(), percent_encoding::NON_ALPHANUMERIC);
        let path = self.path(&format!("blobs/uploads/?mount={}&from={encoded}", blob.digest));
        let call = Call::path(Method::POST, path).header(CONTENT_LENGTH, HeaderValue::from(0));
        let answer = match self.host.small(&call, &scopes, MAX_ERROR_BYTES).await {
            Err(Failure::Unauthorized(_) | Failure::Denied(_)) => return Ok(false),
            other => other?,
        };
        match answer.status {
            StatusCode::CREATED => named_otherwise(&answer, &blob.digest).map(|()| true),
            StatusCode::ACCEPTED => {
                if let Ok(session) = location(&answer) {
                    self.cancel(&session, &scopes).await;
                }
                Ok(false)
            }
            StatusCode::TOO_MANY_REQUESTS => Err(answer.failure()),
            s if s.is_client_error() => Ok(false),
            _ => Err(answer.failure()),
        }
    }

    /// Delete a tag, or a manifest by digest; `false` where the registry does not do that.
    pub(super) async fn remove(&self, what: &Selector) -> Result<bool, Failure> {
        let name = match what {
            Selector::Tag(tag) | Selector::Both(tag, _) => tag.to_string(),
            Selector::Digest(digest) => digest.to_string(),
        };
        let call = Call::path(Method::DELETE, self.path(&format!("manifests/{name}")));
        let answer = self.host.small(&call, &self.scopes(Access::Delete), MAX_ERROR_BYTES).await?;
        match answer.status {
            s if s.is_success() || s == StatusCode::NOT_FOUND => {
                what.digest().iter().for_each(|d| self.memo.forget(d));
                Ok(true)
            }
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(false)
            }
            _ if answer.has_code("UNSUPPORTED") => Ok(false),
            _ => Err(answer.failure()),
        }
    }
}

/// Another try may mend a source that broke; nothing mends one that is wrong.
fn source_failed(e: StoreError) -> Upload {
    match e.failure {
        Failure::Interrupted(_) | Failure::Unreachable(_) => Upload::Again(e, None),
        _ => Upload::Final(e),
    }
}

/// The upload location, relative or absolute.
fn location(answer: &Small) -> Result<Url, Failure> {
    let location = answer.header(LOCATION.as_str());
    let location = location.ok_or_else(|| Failure::Protocol("an upload without a Location".into()))?;
    http::resolve(&answer.url, location)
}

/// An error when the registry says that it stored something else. Another algorithm says nothing
/// (docker-registry names the sha256 of what was pushed as sha512).
fn named_otherwise(answer: &Small, digest: &Digest) -> Result<(), Failure> {
    let named = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
    match named.filter(|n| n.algorithm() == digest.algorithm() && n != digest) {
        Some(other) => Err(Failure::Protocol(format!("pushed {digest}, stored as {other}"))),
        None => Ok(()),
    }
}

fn text_of(answer: &Small) -> String {
    match super::answer::failure_of(StatusCode::BAD_REQUEST, &answer.body) {
        Failure::Refused { text, .. } => text,
        other => other.to_string(),
    }
}
