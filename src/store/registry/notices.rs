//! What a user should hear of and that stops nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::oci::{Digest, Tag};

/// Most notices that are kept.
const MAX_NOTICES: usize = 100;

/// Something that was met on a registry, worth knowing, and no failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Notice {
    /// The tag of a list of referrers named the subject itself, as `cosign copy` leaves it; it names the list now.
    TagTaken {
        /// The repository.
        place: String,
        /// The tag.
        tag: Tag,
        /// What it named; that is still there under its digest.
        named: Digest,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TagTaken { place, tag, named } => write!(
                f,
                "the tag {tag} at {place} named {named} itself, which is where referrers are listed; it names their list now, \
                 and the manifest is still there by digest"
            ),
        }
    }
}

/// Notices of a run, each once. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<BTreeSet<Notice>>>);

impl Notices {
    /// Note it, unless it is noted already.
    pub(super) fn add(&self, notice: Notice) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_NOTICES {
            all.insert(notice);
        }
    }

    /// All since the last call.
    pub fn take(&self) -> Vec<Notice> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all).into_iter().collect()
    }
}
