//! What publishers and withdrawers want of role files, and why a state forbids it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::signing::KeyRing;
use crate::client::whole::{RoleAt, Whole};
use crate::oci::Digest;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::RevocationList;
use crate::tuf::RoleName;
use crate::tuf::lineage::{Change, View};

/// The changes that a publisher or withdrawer wants.
pub trait Intents: Send + Sync {
    /// The role that is changed; its key must be here.
    fn role(&self) -> RoleName;

    /// How a role is concerned.
    fn concern(&self, role: &RoleName) -> Concern {
        if *role == self.role() { Concern::Must } else { Concern::No }
    }

    /// What is entered into the revocation list, in which `list` stands already.
    fn revocations(&self, _list: &RevocationList, _by: &KeyId, _at: UnixTime) -> Vec<Value> {
        Vec::new()
    }

    /// Whether a list that stands and cannot be read is replaced: whatever it takes back is forgotten.
    fn replaces_unreadable(&self) -> bool {
        false
    }

    /// Look at the roles there are before [`Intents::role`] is asked. Asked once.
    ///
    /// # Errors
    /// No role here can do what is wanted.
    fn settle(
        &self,
        _seats: &BTreeMap<RoleName, RoleAt>,
        _known: &[&Whole],
        _keys: &dyn KeyRing,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether a role of which only some keys are here is drafted for the others to sign: [`WorkError::Partly`](super::WorkError::Partly).
    fn partly(&self) -> bool {
        false
    }

    /// The changes on top of `view`, signed by key `by` at `at`. Asked once. `known` is what is live and what is remembered.
    ///
    /// # Errors
    /// Why it must not be done in this state.
    fn changes(
        &self,
        known: &[&Whole],
        view: &View,
        by: &KeyId,
        at: UnixTime,
    ) -> Result<Vec<Change>, Refusal>;
}

/// Whether an intent changes a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// No.
    No,
    /// Where its key is here; where it is not, that is said in [`Worked::lacking`](super::Worked::lacking).
    May,
    /// It does not end well without its key.
    Must,
}

/// An intent that the state forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bundle is revoked.
    #[error("{0} is revoked in this collection")]
    Revoked(Digest),
    /// Whether it is revoked cannot be told.
    #[error("the revocation list cannot be read: {0}")]
    Revocations(String),
    /// The revocation list has no room left.
    #[error("the revocation list has {0} entries, and takes no more of these")]
    ListFull(usize),
    /// The role that was named is not delegated.
    #[error("{0} is no role of the collection that signs bundles")]
    NoRole(RoleName),
    /// No role whose key is here may speak for what is wanted.
    #[error("{path}: {}", out_of_scope(.roles))]
    OutOfScope {
        /// What is wanted.
        path: String,
        /// Roles whose key is here, with what they may speak for.
        roles: Vec<(RoleName, String)>,
    },
    /// A role for some tags only lists no digests.
    #[error("{0} speaks for tags only, and no tag is given")]
    TagsOnly(RoleName),
    /// A role before this one lists another digest under the tag, and is the one that readers see.
    #[error("{path} is listed by {by}, which comes before {role}")]
    Hidden {
        /// The path.
        path: String,
        /// The role that is read.
        by: RoleName,
        /// The role that would not be.
        role: RoleName,
    },
}

fn out_of_scope(roles: &[(RoleName, String)]) -> String {
    let one = |(role, scope): &(RoleName, String)| format!("{role} may speak for {scope}");
    match roles {
        [] => "no key of a role that may speak for it is here".to_owned(),
        _ => roles.iter().map(one).collect::<Vec<_>>().join("; "),
    }
}
