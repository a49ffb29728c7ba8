//! Uploading a blob (distribution-spec "Pushing Blobs"): in one POST, in POST and PUT, or in chunks where that is all
//! that gets through.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::Registry;
use super::answer::{MAX_ERROR_BYTES, Small};
use super::auth::{Access, Scopes};
use super::chunks::{Chunks, held};
use super::feed::{Feed, Marks, Shared, Slot, body};
use super::http::{self, Call, Host};
use super::push::named_otherwise;
use super::retry::{Tries, is_transient, retry_after};
use crate::oci::Descriptor;
use crate::store::{BlobSource, BytesSource, Failure, StoreError, checked, collect};

/// Largest blob that is sent with the POST that would open a session for it, in bytes.
const SINGLE_POST_BYTES: u64 = 32 * 1024;

/// Smallest blob of which a broken upload is continued, in bytes; smaller ones are sent anew.
const RESUME_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that must have arrived since the tries were last counted anew.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// How many idle timeouts a registry may think after the last byte: some only then move a blob to where it stays.
const THINKING: u32 = 5;

/// How long ending an unused session may take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// What uploads found out about a host.
pub(super) struct Learnt {
    /// It does not store the body of a POST.
    no_single_post: AtomicBool,
    /// It refuses PATCH.
    pub(super) no_chunks: AtomicBool,
    /// Larger blobs were refused whole (413).
    largest: AtomicU64,
}

impl Default for Learnt {
    fn default() -> Self {
        Self {
            no_single_post: AtomicBool::new(false),
            no_chunks: AtomicBool::new(false),
            largest: AtomicU64::new(u64::MAX),
        }
    }
}

/// The bytes sent of one request.
#[derive(Clone)]
pub(super) struct Progress {
    sent: Arc<AtomicU64>,
    size: u64,
}

impl Progress {
    pub(super) fn of(size: u64) -> Self {
        Self { sent: Arc::default(), size }
    }

    /// So many more.
    pub(super) fn moved(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
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

/// An upload session.
#[derive(Clone)]
pub(super) struct Session {
    /// Its latest location; parameters are the session's own and stay as they are.
    pub(super) url: Url,
    /// Bytes that each chunk but the last must have (`OCI-Chunk-Min-Length`).
    pub(super) min: u64,
    /// The location was named by another host than the registry: it gets no proof, not even on the registry.
    bare: bool,
}

impl Session {
    /// The session that an answer opens.
    pub(super) fn opened(host: &Host, answer: &Small) -> Result<Self, Failure> {
        let min = answer.header("oci-chunk-min-length").and_then(|m| m.trim().parse().ok()).unwrap_or(0);
        Ok(Self { url: location(answer)?, min, bare: !host.is_own(&answer.url) })
    }

    /// The same session after an answer of it, which may name another location.
    pub(super) fn after(self, host: &Host, answer: &Small) -> Result<Self, Failure> {
        if answer.header(LOCATION.as_str()).is_none() {
            return Ok(self);
        }
        let bare = self.bare || !host.is_own(&answer.url);
        Ok(Self { url: location(answer)?, bare, ..self })
    }

    /// A request to it.
    pub(super) fn call(&self, method: Method) -> Call {
        Call::new(method, self.url.clone()).bare(self.bare)
    }
}

/// Why a step of an upload failed.
pub(super) enum Miss {
    /// Another try may mend it, after the wait the registry asked for.
    Again(StoreError, Option<Duration>),
    /// Nothing mends it.
    Final(StoreError),
}

/// What a step of an upload achieved.
pub(super) enum Step {
    /// The blob is stored.
    Done,
    /// There is another step to take.
    More,
}

/// Why a request of an upload has no answer.
pub(super) enum Unsent {
    /// The source failed.
    Source(StoreError),
    /// The request did.
    Wire(Failure),
}

/// One blob on its way to a repository.
pub(super) struct Upload<'a> {
    pub(super) to: &'a Registry,
    pub(super) blob: &'a Descriptor,
    source: &'a dyn BlobSource,
    /// A small blob, once it was read.
    small: Option<BytesSource>,
    pub(super) scopes: Scopes,
    tries: Tries,
    /// What arrived when the tries were last counted anew.
    counted: u64,
    /// A fresh proof was asked for, and nothing has gone well since.
    reproved: bool,
    /// How often the whole broke in the middle.
    breaks: u32,
    pub(super) session: Option<Session>,
    /// The last session, unless it came to its end: what is left when this upload is dropped on its way.
    unfinished: Option<Session>,
    /// How it goes in chunks; none: whole.
    pub(super) chunks: Option<Chunks>,
    /// The refusal because of which it goes in chunks.
    pub(super) refused: Option<Failure>,
    feed: Option<Shared>,
    marks: Marks,
    pub(super) matched: bool,
}

impl Registry {
    /// Store a blob. Nothing but a small blob is held in memory; a session that is not used to its end is cancelled.
    pub(super) async fn upload_blob(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), StoreError> {
        let learnt = &self.host.learnt;
        let in_chunks =
            blob.size > learnt.largest.load(Ordering::Relaxed) && !learnt.no_chunks.load(Ordering::Relaxed);
        let mut upload = Upload {
            to: self,
            blob,
            source,
            small: None,
            scopes: self.scopes(Access::Write),
            tries: self.host.config().retry.start(),
            counted: 0,
            reproved: false,
            breaks: 0,
            session: None,
            unfinished: None,
            chunks: in_chunks.then(|| Chunks::new(blob.size)),
            refused: None,
            feed: None,
            marks: Marks::default(),
            matched: false,
        };
        let end = upload.run().await;
        upload.unfinished = None;
        if let (Err(_), Some(session)) = (&end, upload.session.take()) {
            self.cancel(&session).await;
        }
        end
    }

    /// End an upload session that is not used (distribution-spec "Cancelling a blob upload"). Failures do not matter:
    /// registries end stale ones themselves.
    pub(super) async fn cancel(&self, session: &Session) {
        self.host.cancel(self.repository.name(), session).await;
    }
}

impl Host {
    async fn cancel(&self, repository: &str, session: &Session) {
        let (call, scopes) = (session.call(Method::DELETE), Scopes::one(repository, Access::Write));
        let asked = self.small_once(&call, &scopes, MAX_ERROR_BYTES);
        let _ = tokio::time::timeout(CANCEL_PATIENCE, asked).await;
    }

    /// Cancel the sessions that nobody will use any more.
    pub(super) async fn tidy(&self) {
        let left = self.offered.drain();
        let cancelled = left.iter().map(|(repository, session)| self.cancel(repository, session));
        futures::future::join_all(cancelled).await;
    }
}

impl Upload<'_> {
    async fn run(&mut self) -> Result<(), StoreError> {
        loop {
            let step = {
                let _permit = self.to.host.upload_permit().await;
                self.step().await
            };
            let (error, asked) = match step {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::More) => continue,
                Err(Miss::Final(error)) => return Err(error),
                Err(Miss::Again(error, asked)) => (error, asked),
            };
            match self.tries.next(asked) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Step, Miss> {
        if self.session.is_none() {
            // The proof is settled here: a body that is on its way cannot answer a challenge.
            match self.begin().await? {
                Some(session) => self.session = Some(session),
                None => return Ok(Step::Done),
            }
            self.chunks.iter_mut().for_each(Chunks::restart);
        }
        self.unfinished.clone_from(&self.session);
        match &self.chunks {
            None => self.whole().await,
            Some(chunks) if chunks.kept < self.blob.size => self.chunk().await,
            Some(_) => self.close().await,
        }
    }

    /// A session, or none when the blob was stored at once.
    async fn begin(&mut self) -> Result<Option<Session>, Miss> {
        let host = &self.to.host;
        if let Some(offered) = host.offered.take(self.to.repository.name(), &self.blob.digest) {
            return Ok(Some(offered));
        }
        if self.blob.size <= SINGLE_POST_BYTES {
            let bytes = self.bytes().await?;
            if !host.learnt.no_single_post.load(Ordering::Relaxed) {
                let call = self.post(&format!("?digest={}", self.blob.digest), bytes.len() as u64);
                let octets = HeaderValue::from_static("application/octet-stream");
                let call = call.header(CONTENT_TYPE, octets).body(bytes);
                let answer = host.small_once(&call, &self.scopes, MAX_ERROR_BYTES).await;
                let answer = answer.map_err(|f| self.on_the_wire(f))?;
                let status = answer.status;
                if status == StatusCode::CREATED {
                    named_otherwise(&answer, &self.blob.digest).map_err(|f| self.last(f))?;
                    return Ok(None);
                }
                if matches!(status.as_u16(), 401 | 403 | 404) {
                    return Err(self.last(refusal(&answer)));
                }
                if status == StatusCode::TOO_MANY_REQUESTS {
                    return Err(Miss::Again(self.error(answer.failure()), retry_after(&answer.headers)));
                }
                // 202 is the other allowed answer: a session, and the body is gone. What else it is, it is not stored.
                host.learnt.no_single_post.store(true, Ordering::Relaxed);
                if status == StatusCode::ACCEPTED {
                    return Session::opened(host, &answer).map(Some).map_err(|f| self.last(f));
                }
            }
        }
        let call = self.post("", 0);
        let answer = host.small(&call, &self.scopes, MAX_ERROR_BYTES).await.map_err(|f| self.last(f))?;
        let session = match answer.status {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::OK => Session::opened(host, &answer),
            s if s.is_success() => Err(Failure::Protocol(format!("status {s} for a new upload"))),
            _ => Err(refusal(&answer)),
        };
        session.map(Some).map_err(|f| self.last(f))
    }

    fn post(&self, query: &str, length: u64) -> Call {
        Call::path(Method::POST, self.to.path(&format!("blobs/uploads/{query}")))
            .header(CONTENT_LENGTH, HeaderValue::from(length))
    }

    /// A small blob, checked.
    async fn bytes(&mut self) -> Result<Bytes, Miss> {
        if let Some(BytesSource(bytes)) = &self.small {
            return Ok(bytes.clone());
        }
        let read = async {
            let reader = self.source.open(0).await?;
            collect(checked(self.to.repository.to_string(), self.blob.clone(), reader)).await
        };
        let bytes = read.await.map_err(source_failed)?;
        self.small = Some(BytesSource(bytes.clone()));
        Ok(bytes)
    }

    /// PUT of the whole.
    async fn whole(&mut self) -> Result<Step, Miss> {
        let Some(session) = self.session.take() else { return Ok(Step::More) };
        let answer = match self.send(Method::PUT, &session, 0, self.blob.size).await {
            Ok(answer) => answer,
            Err(unsent) => return self.unsent(session, unsent).await,
        };
        match answer.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => self.stored(&answer),
            StatusCode::PAYLOAD_TOO_LARGE if !self.to.host.learnt.no_chunks.load(Ordering::Relaxed) => {
                self.to.host.learnt.largest.fetch_min(self.blob.size.saturating_sub(1), Ordering::Relaxed);
                self.refused = Some(answer.failure());
                (self.session, self.chunks) = (Some(session), Some(Chunks::new(self.blob.size)));
                Ok(Step::More)
            }
            _ => self.refusal(session, answer).await,
        }
    }

    /// The end of an upload that the registry says is stored.
    pub(super) fn stored(&self, answer: &Small) -> Result<Step, Miss> {
        named_otherwise(answer, &self.blob.digest).map(|()| Step::Done).map_err(|f| self.last(f))
    }

    /// Send `len` bytes of the blob from `from` on, as a chunk by PATCH, or with the digest by PUT. Redirects are
    /// followed with the same bytes.
    pub(super) async fn send(
        &mut self,
        method: Method,
        session: &Session,
        from: u64,
        len: u64,
    ) -> Result<Small, Unsent> {
        let (mut url, mut bare) = (session.url.clone(), session.bare);
        if method == Method::PUT {
            url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        }
        for _ in 0..3 {
            let mut call = Call::new(method.clone(), url.clone())
                .bare(bare)
                // By hand: a stream would go out chunked, which some registries refuse.
                .header(CONTENT_LENGTH, HeaderValue::from(len))
                .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            if method == Method::PATCH {
                // The specification's form has no unit.
                let range = HeaderValue::from_str(&format!("{from}-{}", from + len - 1));
                let range = range.map_err(|e| Unsent::Wire(Failure::Protocol(e.to_string())))?;
                call = call.header(CONTENT_RANGE, range);
            }
            let answer = self.send_once(&call, from, len).await?;
            if !matches!(answer.status.as_u16(), 307 | 308) {
                return Ok(answer);
            }
            bare |= !self.to.host.is_own(&answer.url);
            url = location(&answer).map_err(Unsent::Wire)?;
        }
        Err(Unsent::Wire(Failure::Protocol("too many redirects of an upload".into())))
    }

    async fn send_once(&mut self, call: &Call, from: u64, len: u64) -> Result<Small, Unsent> {
        let feed = match len {
            0 if self.blob.size > 0 => None,
            _ => Some(self.feed_at(from).await.map_err(Unsent::Source)?),
        };
        let (progress, slot) = (Progress::of(len), Slot::default());
        let sent = match &feed {
            Some(feed) => body(feed.clone(), len, progress.clone(), slot.clone()),
            None => Bytes::new().into(),
        };
        let answer = self.to.host.upload(call, sent, &self.scopes, &progress).await;
        if let Some(e) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Unsent::Source(e));
        }
        let answer = answer.map_err(Unsent::Wire)?;
        // After any other answer the request may still draw from the feed.
        if let Some(feed) = feed.filter(|_| answer.status.is_success()) {
            self.matched |= feed.lock().await.matched();
            self.feed = Some(feed);
        }
        Ok(answer)
    }

    /// The blob from `at` on: the last request's feed when it stands there, or else a new one.
    pub(super) async fn feed_at(&mut self, at: u64) -> Result<Shared, StoreError> {
        if let Some(feed) = self.feed.take()
            && feed.lock().await.at() == at
        {
            return Ok(feed);
        }
        let source: &dyn BlobSource = match &self.small {
            Some(bytes) => bytes,
            None => self.source,
        };
        let place = self.to.repository.to_string();
        let feed = Feed::open(place, self.blob, source, &self.marks, at).await?;
        Ok(Arc::new(tokio::sync::Mutex::new(feed)))
    }

    /// What an answer means that neither stored nor took anything.
    pub(super) async fn refusal(&mut self, session: Session, answer: Small) -> Result<Step, Miss> {
        let asked = retry_after(&answer.headers);
        let error = self.error(answer.failure());
        match answer.status {
            StatusCode::UNAUTHORIZED if self.to.host.is_own(&answer.url) && !session.bare => {
                self.session = Some(session);
                let first = !std::mem::replace(&mut self.reproved, true);
                let proved = self.to.host.reprove(&answer, &self.scopes).await.map_err(|f| self.last(f))?;
                if first && proved { Ok(Step::More) } else { Err(Miss::Final(error)) }
            }
            StatusCode::TOO_MANY_REQUESTS => {
                self.session = Some(session);
                Err(Miss::Again(error, asked))
            }
            status if is_transient(status) => self.broken(session, error, asked).await,
            // No registry's word: its web server answers so to a body that broke off on the way (RFC 9112 section 8).
            StatusCode::BAD_REQUEST if !answer.has_errors() => self.broken(session, error, asked).await,
            // The session is gone, not the repository: POST would have said so.
            StatusCode::NOT_FOUND | StatusCode::GONE => self.gone(),
            _ if answer.has_code("BLOB_UPLOAD_UNKNOWN") || answer.has_code("BLOB_UPLOAD_INVALID") => {
                self.gone()
            }
            _ => {
                self.session = Some(session);
                Err(Miss::Final(error))
            }
        }
    }

    fn gone(&self) -> Result<Step, Miss> {
        let lost = Failure::Refused { status: 404, text: "the upload session is gone".into() };
        Err(Miss::Again(self.error(lost), None))
    }

    /// What a request without an answer means.
    pub(super) async fn unsent(&mut self, session: Session, unsent: Unsent) -> Result<Step, Miss> {
        let miss = match unsent {
            Unsent::Source(e) => source_failed(e),
            Unsent::Wire(f) => self.on_the_wire(f),
        };
        match miss {
            Miss::Again(error, asked) => self.broken(session, error, asked).await,
            last => {
                self.session = Some(session);
                Err(last)
            }
        }
    }

    /// A request broke in the middle, or the registry did not know what to do with it: go on from what arrived. What of
    /// a whole does not arrive twice goes in chunks, of which something stays.
    async fn broken(
        &mut self,
        session: Session,
        error: StoreError,
        asked: Option<Duration>,
    ) -> Result<Step, Miss> {
        if self.blob.size < RESUME_BYTES && self.chunks.is_none() {
            self.to.cancel(&session).await;
            return Err(Miss::Again(error, asked));
        }
        self.breaks += 1;
        let no_chunks = self.to.host.learnt.no_chunks.load(Ordering::Relaxed);
        match self.to.session_status(&session).await {
            Ok(Some(status)) => {
                let (session, kept) = self.located(session, &status)?;
                if no_chunks && kept > 0 {
                    self.to.cancel(&session).await;
                    return Err(Miss::Again(error, asked));
                }
                if self.chunks.is_none() && !no_chunks && (kept > 0 || self.breaks > 1) {
                    self.in_chunks();
                }
                self.chunks.iter_mut().for_each(|c| c.broke(kept));
                self.arrived(kept);
                self.session = Some(session);
            }
            // Perhaps it was stored, and only the answer was lost.
            Ok(None) if self.to.has_blob(self.blob).await == Ok(true) => return Ok(Step::Done),
            // docker-registry ends a session with a request that breaks: shorter requests break more seldom.
            Ok(None) => {
                if self.chunks.is_none() && !no_chunks && self.breaks > 1 {
                    self.in_chunks();
                }
                self.chunks.iter_mut().for_each(|c| c.broke(0));
            }
            Err(_) => self.to.cancel(&session).await,
        }
        Err(Miss::Again(error, asked))
    }

    /// From here on in chunks, with tries of their own.
    fn in_chunks(&mut self) {
        self.chunks = Some(Chunks::new(self.blob.size));
        self.tries = self.to.host.config().retry.start();
    }

    /// Where a session goes on, and how much it holds, by its answer to a GET.
    pub(super) fn located(&self, session: Session, status: &Small) -> Result<(Session, u64), Miss> {
        let session = session.after(&self.to.host, status).map_err(|f| self.last(f))?;
        let kept = held(status).unwrap_or(0);
        if kept > self.blob.size {
            let text = format!("the registry says that it has {kept} bytes of {}", self.blob.size);
            return Err(self.last(Failure::Protocol(text)));
        }
        Ok((session, kept))
    }

    /// So much has arrived: tries count anew when that is much more than before.
    pub(super) fn arrived(&mut self, upto: u64) {
        self.reproved = false;
        if upto >= self.counted.saturating_add(PROGRESS_BYTES) {
            self.counted = upto;
            self.tries = self.to.host.config().retry.start();
        }
    }

    pub(super) fn error(&self, failure: Failure) -> StoreError {
        self.to.error(format!("push blob {}", self.blob.digest), failure)
    }

    pub(super) fn last(&self, failure: Failure) -> Miss {
        Miss::Final(self.error(failure))
    }

    fn on_the_wire(&self, failure: Failure) -> Miss {
        let again = matches!(failure, Failure::Unreachable(_) | Failure::Interrupted(_));
        let error = self.error(failure);
        if again { Miss::Again(error, None) } else { Miss::Final(error) }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.unfinished.take() {
            self.to.host.offered.abandon(self.to.repository.name(), session);
        }
    }
}

/// Another try may mend a source that broke; nothing mends one that is wrong.
fn source_failed(e: StoreError) -> Miss {
    match e.failure {
        Failure::Interrupted(_) | Failure::Unreachable(_) => Miss::Again(e, None),
        _ => Miss::Final(e),
    }
}

/// Why there is no session.
fn refusal(answer: &Small) -> Failure {
    match answer.failure() {
        // Not "not found": a repository that cannot be written to is no missing thing.
        Failure::NotFound => Failure::Refused { status: 404, text: "no uploads here".into() },
        other => other,
    }
}

/// The upload location, relative or absolute.
fn location(answer: &Small) -> Result<Url, Failure> {
    let location = answer.header(LOCATION.as_str());
    let location = location.ok_or_else(|| Failure::Protocol("an upload without a Location".into()))?;
    http::resolve(&answer.url, location)
}
