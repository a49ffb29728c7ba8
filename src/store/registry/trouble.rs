//! Requests without an answer, and what may be tried again.

use std::time::Duration;

use super::answer::{Small, clean};
use super::retry::{Tries, is_transient, retry_after};
use crate::store::Failure;

/// Why a request got no answer.
pub(super) enum Trouble {
    /// No connection; `certificate` when the server's certificate was refused.
    Connect { text: String, certificate: bool },
    /// The connection broke.
    Broken(String),
    /// Not worth another try.
    Final(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

impl Trouble {
    /// Whether another try may go better.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { certificate: false, .. } | Self::Broken(_))
    }

    /// How a try that met it ended.
    pub(super) fn once<T>(self) -> Once<T> {
        if self.is_transient() {
            Once::Again(Err(self.failure()), None)
        } else {
            Once::Last(Err(self.failure()))
        }
    }

    /// What it means for the caller.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Connect { text, .. } => Failure::Unreachable(text),
            Self::Broken(text) => Failure::Interrupted(text),
            Self::Final(failure) => failure,
        }
    }
}

/// How one try ended.
pub(super) enum Once<T> {
    /// An answer.
    Done(T),
    /// An answer or breakage that another try may mend; what to return if there is none; the wait that was asked for.
    Again(Result<T, Failure>, Option<Duration>),
    /// What no other try mends.
    Last(Result<T, Failure>),
}

impl<T> Once<T> {
    /// The end of all tries, or `None` after the wait before the next.
    pub(super) async fn end_or_wait(self, tries: &mut Tries) -> Option<Result<T, Failure>> {
        match self {
            Self::Done(answer) => Some(Ok(answer)),
            Self::Last(end) => Some(end),
            Self::Again(end, asked) => match tries.next(asked) {
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    None
                }
                None => Some(end),
            },
        }
    }
}

/// How a try of a small request ended.
pub(super) fn judge(sent: Result<Small, Trouble>) -> Once<Small> {
    match sent {
        Ok(answer) if is_transient(answer.status) => {
            let asked = retry_after(&answer.headers);
            Once::Again(Ok(answer), asked)
        }
        Ok(answer) => Once::Done(answer),
        Err(t) => t.once(),
    }
}

/// What a client error means.
pub(super) fn trouble(e: &reqwest::Error) -> Trouble {
    let text = causes(e);
    if e.is_connect() {
        // The words are rustls' own for a certificate that does not verify; the type is not public here.
        let certificate = text.contains("invalid peer certificate");
        Trouble::Connect { text, certificate }
    } else if e.is_builder() {
        Trouble::Final(Failure::Protocol(text))
    } else {
        Trouble::Broken(text)
    }
}

/// The innermost causes of a client error, without its URL: queries of redirects can hold signatures.
pub(super) fn causes(e: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = std::error::Error::source(e);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    if texts.is_empty() {
        texts.push(if e.is_timeout() { "no answer in time".into() } else { "request failed".into() });
    }
    clean(&texts.split_off(texts.len().saturating_sub(2)).join(": "))
}
