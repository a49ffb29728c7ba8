//! Ring 2: in-toto layouts, links and rules, read and written (docs/in-toto.md). Pure: no I/O, no clock, no registry.
//!
//! Bytes become an [`Envelope`]; what it says comes out with the keys that signed it. Signatures are checked over what was
//! received: the canonical form of the untyped `signed` value (classic), or the payload (DSSE).

mod artifact;
mod attestation;
mod envelope;
mod error;
mod glob;
mod key;
mod layout;
mod link;
mod name;
mod read;
mod rule;
pub mod verify;

pub use artifact::{ArtifactName, Artifacts, Hashes};
pub use attestation::LINK_PREDICATE;
pub use envelope::{Document, Envelope, Form, Signature};
pub use error::{IntotoError, NameError, RuleError};
pub use glob::Glob;
pub use key::{Key, ListedKey, Unusable};
pub use layout::{Inspection, Layout, Step};
pub use link::Link;
pub use name::{LinkPath, Stem, StepName};
pub use rule::{Match, Rule, Side};

/// Largest layout or link in bytes, its envelope included.
pub const MAX_DOCUMENT: usize = 8 << 20;
/// Most signatures in one envelope.
pub const MAX_SIGNATURES: usize = 16;
/// Most keys that a layout lists, and that a step authorises.
pub const MAX_KEYS: usize = 256;
/// Most steps of a layout.
pub const MAX_STEPS: usize = 128;
/// Most inspections of a layout.
pub const MAX_INSPECTIONS: usize = 32;
/// Most rules in one list.
pub const MAX_RULES: usize = 1024;
/// Most materials, and most products, of a link.
pub const MAX_ARTIFACTS: usize = 50_000;
/// Longest artifact name, pattern or prefix in bytes.
pub const MAX_NAME: usize = 4096;
/// Most hashes of one artifact.
pub const MAX_HASHES: usize = 16;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
