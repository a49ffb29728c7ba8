//! What can be wrong with metadata: which file, what, expected and found.

use super::{FileName, RoleName, Version};
use crate::sig::json::JsonError;
use crate::sig::{KeyError, KeyId};
use crate::time::UnixTime;

/// A metadata file failed a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role}: {fault}")]
pub struct TufError {
    /// The role at whose place the file stood.
    pub role: RoleName,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a metadata file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file is not there.
    #[error("{0} is missing")]
    Missing(FileName),
    /// The role is not listed where it must be pinned.
    #[error("not listed in {0}")]
    NotListed(RoleName),
    /// Larger than its cap or than what pins it, in bytes.
    #[error("{got} bytes, at most {limit} are read")]
    Size {
        /// The cap.
        limit: u64,
        /// The size found.
        got: u64,
    },
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing or of another type or value than the specification says.
    #[error("{0}")]
    Format(String),
    /// `_type` is another role's.
    #[error("the file says that it is \"{got}\"")]
    Type {
        /// `_type` as found.
        got: String,
    },
    /// `spec_version` has another major version than 1.
    #[error("specification version \"{0}\" is not supported")]
    SpecVersion(String),
    /// A key of a role cannot be used.
    #[error("key {id}: {error}")]
    Key {
        /// The key's id.
        id: KeyId,
        /// Why.
        error: KeyError,
    },
    /// Two signatures under one key id.
    #[error("two signatures under the key id {0}")]
    DuplicateSignature(KeyId),
    /// Too few signatures.
    #[error("{have} of {need} signatures by distinct authorised keys{}", missing_note(.missing))]
    Threshold {
        /// Valid signatures by distinct key material.
        have: usize,
        /// The role's threshold.
        need: u32,
        /// Key ids whose valid signature is not there.
        missing: Vec<KeyId>,
    },
    /// Another version than the one that must stand here.
    #[error("version {got} where {expected} must stand")]
    Version {
        /// What is pinned.
        expected: Version,
        /// What the file says.
        got: Version,
    },
    /// Older than what is remembered.
    #[error("version {got} of {what} is below the remembered {floor}")]
    Rollback {
        /// Of which role the version fell.
        what: RoleName,
        /// The remembered version.
        floor: Version,
        /// The version found.
        got: Version,
    },
    /// Remembered, and no longer listed.
    #[error("{0} was listed before and is gone")]
    Dropped(RoleName),
    /// Equal version, other bytes, and no descent from what is remembered.
    #[error("version {0} was remembered with other content, from which this does not descend")]
    Fork(Version),
    /// Length or hash differ from what pins the file.
    #[error("{what} differs from what pins the file")]
    Hash {
        /// `length`, `sha256` or `sha512`.
        what: &'static str,
    },
    /// Expired.
    #[error("expired at {at}, it is {now}")]
    Expired {
        /// Expiry.
        at: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// Belongs to another collection.
    #[error("belongs to the collection \"{got}\", not \"{expected}\"")]
    Collection {
        /// The anchor's collection.
        expected: String,
        /// What the file says; empty when it says nothing.
        got: String,
    },
    /// Newer roots are there but one between is missing or does not verify.
    #[error("root {0} is missing, newer ones are there")]
    RootGap(Version),
    /// Two roots of one version both verify.
    #[error("two different roots of version {0} verify")]
    RootFork(Version),
    /// More root rotations or delegations than bulla follows.
    #[error("more than {limit} {what}")]
    Cap {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl TufError {
    /// An error at a role's place.
    pub fn new(role: &RoleName, fault: impl Into<Fault>) -> Self {
        Self { role: role.clone(), fault: fault.into() }
    }

    /// Whether nothing can be decided, rather than "no".
    pub fn is_undecided(&self) -> bool {
        matches!(self.fault, Fault::Cap { .. })
    }
}

fn missing_note(missing: &[KeyId]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let ids: Vec<_> = missing.iter().map(KeyId::short).collect();
    format!(" (not by {})", ids.join(", "))
}
