//! Signatures of other tools as evidence: which of what hangs on a bundle are signatures, which of these count, and whether they are
//! what the scope requires. Pure.

mod attested;
mod found;
mod judge;
mod keyless;
mod name;
mod tally;
mod voice;

use bytes::Bytes;

pub(super) use attested::{Attested, unmeetable};
pub use found::{Form, Found, Hung, MAX_LAYERS, Piece, at_cosign_tag, is_vague, rank, referrer};
pub(super) use judge::{Bench, Heard};
pub use name::name;
pub use tally::{LineReport, SignatureReport};
pub(super) use tally::{Tally, Terms, reason};

/// What one look for signatures came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignaturesAnswer {
    /// Those that were read.
    pub found: Vec<Found>,
    /// What is listed as a signature, or is one by its type, and cannot be one: why.
    pub broken: Vec<String>,
    /// What could not be listed or read: it could be a signature.
    pub unread: Vec<String>,
    /// The bundle's manifest, where one of those found is about its bytes.
    pub artifact: Option<Bytes>,
    /// Whether there is more.
    pub rest: Rest,
}

/// Whether there is more to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rest {
    /// That was all.
    #[default]
    End,
    /// There may be more.
    More,
    /// There is more, which is not read; why.
    Cut(String),
}

#[cfg(test)]
pub(super) mod tests;
