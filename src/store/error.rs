//! Store errors: which place, what was asked, why it failed.

use crate::oci::{ContentError, ManifestError};

/// An operation on a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}: {failure}")]
pub struct StoreError {
    /// The place: `registry.example.com/org/app` or `oci:DIR`.
    pub place: String,
    /// What was asked, as in "pull manifest v1".
    pub what: String,
    /// Why it failed.
    pub failure: Failure,
}

/// Why an operation on a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The store says that it is not there.
    #[error("not found")]
    NotFound,
    /// 401: no or wrong credentials. The text is the registry's own, capped and cleaned.
    #[error("unauthorized ({0})")]
    Unauthorized(String),
    /// 403: known, but not allowed.
    #[error("denied ({0})")]
    Denied(String),
    /// 429, after all retries.
    #[error("too many requests ({0})")]
    TooManyRequests(String),
    /// 5xx, after all retries.
    #[error("the registry failed with status {status} ({text})")]
    Server {
        /// HTTP status.
        status: u16,
        /// The registry's own codes and words.
        text: String,
    },
    /// Another 4xx.
    #[error("refused with status {status} ({text})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The registry's own codes and words.
        text: String,
    },
    /// No connection: name resolution, refused, TLS.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// Nothing came for too long, or the connection broke.
    #[error("the connection broke: {0}")]
    Interrupted(String),
    /// The answer is not what the distribution specification says.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// More bytes, entries or pages than bulla reads.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Bytes differ from the descriptor.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Something else lies where the referrers list must stand; it is never overwritten.
    #[error("{0}")]
    Foreign(String),
    /// Written, but a read back does not show it.
    #[error("accepted but not there when read back: {0}")]
    Lost(String),
    /// The place is not an OCI layout, or a broken one.
    #[error("not an OCI layout: {0}")]
    NotALayout(String),
    /// One name stands for two things.
    #[error("{0}")]
    Ambiguous(String),
    /// Another process has held the lock for too long, or changed the file without it.
    #[error("{0}")]
    Locked(String),
    /// A file operation failed.
    #[error("{reason}")]
    Io {
        /// The kind of error.
        kind: std::io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// Credentials, CA files or certificates could not be read.
    #[error("{0}")]
    Setup(String),
}

impl StoreError {
    /// An error of this place.
    pub fn new(place: impl ToString, what: impl Into<String>, failure: impl Into<Failure>) -> Self {
        Self { place: place.to_string(), what: what.into(), failure: failure.into() }
    }

    /// Whether the store said that the thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.failure == Failure::NotFound
    }

    /// Whether the failure is that of one item, which anybody who may push could have made, and not of the place.
    pub fn is_the_items_own(&self) -> bool {
        self.failure.is_the_items_own()
    }
}

impl Failure {
    /// As [`StoreError::is_the_items_own`].
    pub fn is_the_items_own(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Content(_) | Self::Manifest(_))
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Io { kind: e.kind(), reason: e.to_string() }
    }
}
