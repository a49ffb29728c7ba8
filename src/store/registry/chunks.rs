//! Uploads in chunks (distribution-spec "Pushing a blob in chunks"): how a broken upload goes on, and how a blob gets
//! through that is too large for one request.

use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};

use super::Registry;
use super::answer::{MAX_ERROR_BYTES, Small};
use super::auth::Access;
use super::upload::{Miss, Session, Step, Unsent, Upload};
use crate::store::Failure;

/// Length of a chunk, in bytes: the most that GHCR takes.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// Length below which chunks do not shrink, in bytes.
const MIN_CHUNK_BYTES: u64 = 64 * 1024;

/// How far an upload in chunks is.
pub(super) struct Chunks {
    /// Bytes that the session holds.
    pub(super) kept: u64,
    /// Length of the next chunk.
    next: u64,
    /// Length that the registry was seen not to exceed.
    most: u64,
    /// Chunks that may still be sent: a registry that keeps a byte of each is left.
    left: u64,
}

impl Chunks {
    /// Nothing sent of a blob of this size.
    pub(super) fn new(size: u64) -> Self {
        Self { kept: 0, next: CHUNK_BYTES, most: CHUNK_BYTES, left: 64 + 16 * (size / CHUNK_BYTES) }
    }

    /// A new session holds nothing.
    pub(super) fn restart(&mut self) {
        self.kept = 0;
    }

    /// A request broke, and this is what arrived: shorter chunks may get through.
    pub(super) fn broke(&mut self, kept: u64) {
        self.kept = kept;
        self.next = (self.next / 2).max(MIN_CHUNK_BYTES);
    }

    /// The registry took no more than `most` of a chunk.
    fn took(&mut self, most: u64) {
        self.most = most.max(MIN_CHUNK_BYTES);
        self.next = self.most;
    }
}

impl Upload<'_> {
    /// PATCH of the next chunk.
    pub(super) async fn chunk(&mut self) -> Result<Step, Miss> {
        let (Some(session), Some(chunks)) = (self.session.take(), &mut self.chunks) else {
            return Ok(Step::More);
        };
        let from = chunks.kept;
        let len = chunks.next.max(session.min).min(self.blob.size - from);
        let Some(left) = chunks.left.checked_sub(1) else {
            self.session = Some(session);
            let failure = Failure::Protocol("the registry keeps too little of each chunk".into());
            return Err(self.last(failure));
        };
        chunks.left = left;
        let answer = match self.send(Method::PATCH, &session, from, len).await {
            Ok(answer) => answer,
            Err(unsent) => return self.unsent(session, unsent).await,
        };
        match answer.status {
            s if s.is_success() => self.taken(session, &answer, from, len),
            StatusCode::RANGE_NOT_SATISFIABLE => self.ask_how_far(session, &answer).await,
            // Early refusals of some proxies are 413 whatever the registry would take.
            StatusCode::PAYLOAD_TOO_LARGE if len > session.min.max(MIN_CHUNK_BYTES) => {
                self.chunks.iter_mut().for_each(|c| c.took(len / 2));
                self.session = Some(session);
                Ok(Step::More)
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                self.no_chunks(session, &answer).await
            }
            _ if answer.has_code("UNSUPPORTED") => self.no_chunks(session, &answer).await,
            _ => self.refusal(session, answer).await,
        }
    }

    /// The registry took a chunk, or some of it: what its `Range` says counts.
    fn taken(&mut self, session: Session, answer: &Small, from: u64, len: u64) -> Result<Step, Miss> {
        let session = session.after(&self.to.host, answer).map_err(|f| self.last(f))?;
        let upto = match held(answer) {
            None => from + len,
            Some(0) if from + len == 1 => 1,
            Some(upto) => upto,
        };
        self.session = Some(session);
        if upto > from + len {
            let text = format!("sent {} bytes of a blob, the registry says that it has {upto}", from + len);
            return Err(self.last(Failure::Protocol(text)));
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.kept = upto;
            match upto == from + len {
                true => chunks.next = chunks.next.saturating_mul(2).min(chunks.most),
                false => chunks.took(upto.saturating_sub(from)),
            }
        }
        if upto <= from {
            let text = "the registry kept nothing of a chunk".into();
            return Err(Miss::Again(self.error(Failure::Protocol(text)), None));
        }
        self.arrived(upto);
        Ok(Step::More)
    }

    /// PUT without a body, once all bytes are there and were seen to be the right ones.
    pub(super) async fn close(&mut self) -> Result<Step, Miss> {
        let Some(session) = self.session.take() else { return Ok(Step::More) };
        if !self.matched {
            match self.feed_at(self.blob.size).await {
                Ok(feed) => self.matched = feed.lock().await.matched(),
                Err(e) => return self.unsent(session, Unsent::Source(e)).await,
            }
        }
        let answer = match self.send(Method::PUT, &session, self.blob.size, 0).await {
            Ok(answer) => answer,
            Err(unsent) => return self.unsent(session, unsent).await,
        };
        match answer.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => self.stored(&answer),
            StatusCode::RANGE_NOT_SATISFIABLE => self.ask_how_far(session, &answer).await,
            _ => self.refusal(session, answer).await,
        }
    }

    /// 416: the session is elsewhere than thought.
    async fn ask_how_far(&mut self, session: Session, answer: &Small) -> Result<Step, Miss> {
        let error = self.error(answer.failure());
        match self.to.session_status(&session).await {
            Ok(Some(status)) => {
                let (session, kept) = self.located(session, &status)?;
                self.chunks.iter_mut().for_each(|c| c.kept = kept);
                self.session = Some(session);
            }
            Ok(None) => {}
            Err(_) => self.to.cancel(&session).await,
        }
        Err(Miss::Again(error, None))
    }

    /// The registry does not take chunks: whole again, unless that was refused because of its size.
    async fn no_chunks(&mut self, session: Session, answer: &Small) -> Result<Step, Miss> {
        self.to.host.learnt.no_chunks.store(true, Ordering::Relaxed);
        self.chunks = None;
        if let Some(refused) = self.refused.take() {
            self.session = Some(session);
            return Err(self.last(refused));
        }
        self.to.cancel(&session).await;
        Err(Miss::Again(self.error(answer.failure()), None))
    }
}

impl Registry {
    /// How much a session holds (GET of its location), and where it goes on; none when it is gone.
    pub(super) async fn session_status(&self, session: &Session) -> Result<Option<Small>, Failure> {
        let call = session.call(Method::GET);
        let answer = self.host.small(&call, &self.scopes(Access::Write), MAX_ERROR_BYTES).await?;
        match answer.status {
            s if s.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => Err(answer.failure()),
        }
    }
}

/// How many bytes a session holds, by `Range: 0-<last>`. `0-0` is docker-registry's word for none, not for one.
pub(super) fn held(answer: &Small) -> Option<u64> {
    let range = answer.header("range")?.trim();
    let last = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?;
    match last.parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}
