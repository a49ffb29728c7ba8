//! Making provenance (docs/commands/in-toto.md): what a step took and gave, signed by who carried it out.

pub mod artifacts;
pub mod bundle;
pub mod carry;
pub mod description;
mod exclude;
pub mod inspections;
pub mod link;
pub mod preset;
pub mod process;
pub mod signed;
pub mod verify;

pub use exclude::{Exclude, PatternError};

use std::path::PathBuf;

use crate::intoto::{MAX_ARTIFACTS, MAX_DOCUMENT};
use crate::keys::KeyError;
use crate::store::StoreError;

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// A pattern of what to leave out.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file that was asked for is not there.
    #[error("{} does not exist", .0.display())]
    Absent(PathBuf),
    /// A path whose name no verifier would take.
    #[error("{name:?} is no name for an artifact: {why}")]
    Name {
        /// The name, as it would stand in the link.
        name: String,
        /// Which rule it breaks.
        why: String,
    },
    /// Two files would have one name.
    #[error("two artifacts would have the name {0:?}")]
    Twice(String),
    /// A folder that is reached through itself.
    #[error("{} leads back into a folder that it lies in", .0.display())]
    Circle(PathBuf),
    /// More artifacts than a link may list.
    #[error("more than {MAX_ARTIFACTS} artifacts")]
    TooMany,
    /// A document that no verifier would read.
    #[error("the document would have {0} bytes, and verifiers read {MAX_DOCUMENT}")]
    TooLarge(usize),
    /// More links in a folder than are looked at.
    #[error(
        "more than {} links, or {} bytes of them",
        crate::intoto::verify::MAX_DOCUMENTS,
        crate::intoto::verify::MAX_BYTES
    )]
    TooManyLinks(PathBuf),
    /// The system refused to read or write.
    #[error("{}: {reason}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The command could not be started.
    #[error("{program}: {reason}")]
    Start {
        /// Its first word.
        program: String,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A file that should hold a signed document does not.
    #[error("{}: {reason}", path.display())]
    Document {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A bundle that cannot be recorded.
    #[error("{reference}: {reason}")]
    Bundle {
        /// As it was asked for.
        reference: String,
        /// Why.
        reason: String,
    },
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The place of a bundle.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProvenanceError {
    fn read(path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        Self::Io { what: "read", path: path.into(), reason }
    }

    fn write(path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        Self::Io { what: "write", path: path.into(), reason }
    }
}
