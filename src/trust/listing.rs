//! Allow and deny lists: single bundles by digest, or by repository and tag.

use serde::{Deserialize, Serialize};

use super::level::Origin;
use super::{Scope, Subject};
use crate::oci::Digest;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listing {
    /// Which bundle; left out: every one in the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where; left out: anywhere.
    #[serde(default = "anywhere")]
    pub scope: Scope,
    /// On an allow list: that it needs no signature. It still needs TUF where that is required, and is refused when it is revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
    /// Why.
    pub reason: String,
    /// Which file says so.
    #[serde(skip)]
    pub origin: Origin,
}

fn anywhere() -> Scope {
    Scope::Any
}

impl Listing {
    /// Whether it could be about a bundle of this subject.
    pub fn concerns(&self, subject: &Subject) -> bool {
        self.scope.covers(subject)
    }

    /// Whether it names this digest.
    pub(super) fn names(&self, digest: &Digest) -> bool {
        self.digest.as_ref() == Some(digest)
    }

    /// Whether it is about this bundle, of a subject that it concerns.
    pub(super) fn is_of(&self, digest: &Digest) -> bool {
        self.digest.as_ref().is_none_or(|d| d == digest)
    }
}
