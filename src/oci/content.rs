//! Bytes that were checked against their descriptor.

use super::{Descriptor, Digest};

/// Small content (manifests, metadata) whose size and digest have been checked. Bytes are kept, never re-serialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    descriptor: Descriptor,
    bytes: bytes::Bytes,
}

/// Why bytes are not what a descriptor names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Another length.
    #[error("{digest}: {got} bytes instead of {expected}")]
    Size {
        /// The digest asked for.
        digest: Digest,
        /// Size in the descriptor, bytes.
        expected: u64,
        /// Size received, bytes (a lower bound when reading stopped early).
        got: u64,
    },
    /// Other bytes.
    #[error("content asked for as {expected} has the digest {got}")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
}

impl Content {
    /// Check `bytes` against `descriptor`.
    ///
    /// # Errors
    /// Another size or digest.
    pub fn check(descriptor: Descriptor, bytes: impl Into<bytes::Bytes>) -> Result<Self, ContentError> {
        let bytes = bytes.into();
        let (expected, got) = (descriptor.size, bytes.len() as u64);
        if expected != got {
            return Err(ContentError::Size { digest: descriptor.digest, expected, got });
        }
        let got = Digest::of(descriptor.digest.algorithm(), &bytes);
        if got != descriptor.digest {
            return Err(ContentError::Digest { expected: descriptor.digest, got });
        }
        Ok(Self { descriptor, bytes })
    }

    /// Content made here: the digest is computed.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<bytes::Bytes>) -> Self {
        let bytes = bytes.into();
        Self { descriptor: Descriptor::of(media_type, &bytes), bytes }
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// The media type.
    pub fn media_type(&self) -> &str {
        &self.descriptor.media_type
    }

    /// The bytes.
    pub fn bytes(&self) -> &bytes::Bytes {
        &self.bytes
    }
}
