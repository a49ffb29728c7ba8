//! What goes wrong in a copy, and at which end.

use std::fmt;

use crate::oci::{Digest, Tag};
use crate::store::{Failure, StoreError};

/// An end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the bundle comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A copy that is not complete. No tag of the bundle names anything new then, unless the failure was in moving the tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// An operation failed; the error says which.
    #[error("{side}: {error}")]
    Store {
        /// At which end.
        side: Side,
        /// The operation and why it failed.
        error: StoreError,
    },
    /// The source does not have what was asked for or what a manifest there needs.
    #[error("source: {place}: {what} is not there")]
    Absent {
        /// The source.
        place: String,
        /// What is missing.
        what: String,
    },
    /// More hangs on the bundle than bulla copies.
    #[error("source: {place}: the bundle with what hangs on it is larger than the limit of {limit}")]
    TooLarge {
        /// The source.
        place: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Two manifests give one blob two sizes; one of them cannot be stored.
    #[error("source: {place}: blob {digest} is {sizes:?} bytes long, depending on the manifest asked")]
    Contradiction {
        /// The source.
        place: String,
        /// The blob.
        digest: Digest,
        /// The sizes in bytes.
        sizes: [u64; 2],
    },
    /// No index names any of the platforms that were asked for.
    #[error("source: {place}: no child is of a platform that was asked for; there are {}", there.join(", "))]
    NoPlatform {
        /// The source.
        place: String,
        /// The platforms that are there, sorted.
        there: Vec<String>,
    },
    /// The destination does not take an index of which children were left out.
    #[error("destination: index {index} without all its children is refused: {error}")]
    Sparse {
        /// The index.
        index: Digest,
        /// What the destination said.
        error: StoreError,
    },
    /// A tag names something else at the destination, and the registry does not let it move.
    #[error("destination: {place}: the tag {tag} cannot be moved: {failure}")]
    TagImmutable {
        /// The destination.
        place: String,
        /// The tag.
        tag: Tag,
        /// The registry's words.
        failure: Failure,
    },
    /// A newer state, and the tags that move with it, were left as they are: bundles that it speaks of did not come.
    #[error(
        "destination: {place}: the newer state at {state} was held back, and the tags that move with it: it names another \
         bundle at {}, which did not come in this run",
        joined(without)
    )]
    HeldBack {
        /// The destination.
        place: String,
        /// The state's tag.
        state: Tag,
        /// The tags there that it speaks of, sorted.
        without: Vec<Tag>,
    },
    /// Pushed, but not listed when read back, after one repair.
    #[error("destination: {place}: copied, but not listed when read back: {}", joined(missing))]
    Missing {
        /// The destination.
        place: String,
        /// What is missing, sorted.
        missing: Vec<MissingReferrer>,
    },
}

/// A referrer that the destination does not list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// The referrer.
    pub digest: Digest,
    /// Its artifact type, as its manifest says.
    pub artifact_type: Option<String>,
}

impl CopyError {
    /// The end at which it failed.
    pub fn side(&self) -> Side {
        match self {
            Self::Store { side, .. } => *side,
            Self::Absent { .. }
            | Self::TooLarge { .. }
            | Self::Contradiction { .. }
            | Self::NoPlatform { .. } => Side::Source,
            Self::Sparse { .. }
            | Self::TagImmutable { .. }
            | Self::HeldBack { .. }
            | Self::Missing { .. } => Side::Destination,
        }
    }

    pub(super) fn source(error: StoreError) -> Self {
        Self::Store { side: Side::Source, error }
    }

    pub(super) fn destination(error: StoreError) -> Self {
        Self::Store { side: Side::Destination, error }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

impl fmt::Display for MissingReferrer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.artifact_type.as_deref().unwrap_or("no type");
        write!(f, "{} ({kind}) on {}", self.digest, self.subject)
    }
}

fn joined(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
