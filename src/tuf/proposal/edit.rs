//! Typed edits become drafts: the next versions of root and targets roles. Members that bulla does not know survive.

mod apply;
mod delegations;
mod drafts;
mod keys;

use bytes::Bytes;
use serde_json::{Value, json};

pub(super) use apply::draft;

use crate::sig::{KeyId, PublicKey};
use crate::tuf::grant::{Grant, GrantError};
use crate::tuf::{Agreement, Paths, RoleName, Signers, TufError};

/// One thing that shall be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A key may sign a role.
    AddKey {
        /// The role, top-level or delegated.
        role: RoleName,
        /// The key.
        key: PublicKey,
    },
    /// A key may no longer sign a role.
    RemoveKey {
        /// The role.
        role: RoleName,
        /// The key, by the id that stands in the published file.
        key: KeyId,
    },
    /// How many keys must sign a role.
    Threshold {
        /// The role.
        role: RoleName,
        /// At least 1.
        threshold: u32,
    },
    /// Sign a role again, valid this many seconds; `None`: as long as the file before.
    Resign {
        /// The role: root or a targets role.
        role: RoleName,
        /// Seconds.
        life: Option<i64>,
    },
    /// A role delegates to another one.
    Delegate {
        /// The delegator.
        by: RoleName,
        /// To whom.
        role: RoleName,
        /// Its keys and threshold.
        signers: Signers,
        /// What it may speak for.
        paths: Paths,
        /// Whether the search ends there.
        terminating: bool,
        /// Where among the delegations, whose order is their priority.
        place: Place,
        /// `x-bulla` of the delegation: on which terms, who vetted the delegate, and how.
        note: Option<Value>,
    },
    /// A role no longer delegates to another one.
    Undelegate {
        /// The delegator.
        by: RoleName,
        /// To whom.
        role: RoleName,
    },
    /// A delegated role may speak for something else, or the search ends there or goes on.
    Scope {
        /// The delegator.
        by: RoleName,
        /// Whose scope.
        role: RoleName,
        /// What it may speak for; `None`: as before.
        paths: Option<Paths>,
        /// Whether the search ends there; `None`: as before.
        terminating: Option<bool>,
    },
    /// Another order of the delegations: every name, once.
    Order {
        /// The delegator.
        by: RoleName,
        /// The names.
        roles: Vec<RoleName>,
    },
    /// A first, empty file of a delegated role, which its keys must sign.
    Start {
        /// The role.
        role: RoleName,
    },
    /// Which roles must list a bundle alike before anybody who goes by top-level targets trusts it; `None`: nothing of the kind.
    Demand(Option<Agreement>),
    /// An entry of a targets role: `length`, `hashes`, `custom`.
    SetTarget {
        /// The role.
        role: RoleName,
        /// The target path.
        path: String,
        /// The target object.
        value: Value,
    },
    /// An entry of a targets role goes.
    RemoveTarget {
        /// The role.
        role: RoleName,
        /// The target path.
        path: String,
    },
    /// A file of the whole collection, and the entry that lists it.
    File {
        /// The role that lists it.
        role: RoleName,
        /// The target path.
        path: String,
        /// The file.
        bytes: Bytes,
        /// `custom` of the entry.
        custom: Option<Value>,
    },
}

/// Where a new delegation stands among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// After all others.
    Last,
    /// Before all others.
    First,
    /// Before this one.
    Before(RoleName),
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such role, or nothing that may be edited of it.
    #[error("{0} is no role of the collection")]
    NoRole(RoleName),
    /// The root is not published yet.
    #[error("nothing is published that could be edited")]
    NothingPublished,
    /// Whoever commits signs snapshot and timestamp.
    #[error("{0} is signed by whoever commits; only its keys and threshold can be proposed")]
    Online(RoleName),
    /// The role has no key of that id.
    #[error("{role} has no key {key}")]
    NoKey {
        /// The role.
        role: RoleName,
        /// As asked for.
        key: KeyId,
    },
    /// It is a key of the role already.
    #[error("{key} is a key of {role} already")]
    KeyThere {
        /// The role.
        role: RoleName,
        /// The key.
        key: KeyId,
    },
    /// The threshold could not be met.
    #[error("{role}: a threshold of {threshold} with {keys} distinct usable keys")]
    Threshold {
        /// The role.
        role: RoleName,
        /// As it would be.
        threshold: u32,
        /// Distinct keys that can sign.
        keys: usize,
    },
    /// One key for two roles whose files could stand in for each other, or that must be apart.
    #[error("{key} would be a key of {role} and of {other}")]
    SharedKey {
        /// The key.
        key: KeyId,
        /// A role.
        role: RoleName,
        /// The other.
        other: RoleName,
    },
    /// A delegation that goes against the rules of delegating.
    #[error(transparent)]
    Rule(#[from] GrantError),
    /// A delegation of that name is there already, or is named and is not there.
    #[error("{by} and {role}: {why}")]
    Delegation {
        /// The delegator.
        by: RoleName,
        /// The role.
        role: RoleName,
        /// What is wrong.
        why: &'static str,
    },
    /// An entry that is not there cannot go.
    #[error("{role} lists no {path}")]
    NoTarget {
        /// The role.
        role: RoleName,
        /// The path.
        path: String,
    },
    /// Words that no reader would take.
    #[error("{what}: at most {limit} bytes")]
    Words {
        /// Which.
        what: &'static str,
        /// At most.
        limit: usize,
    },
    /// What was asked for is so already.
    #[error("nothing would change")]
    NothingChanges,
    /// A draft would be no metadata of its role.
    #[error(transparent)]
    Tuf(#[from] TufError),
}

impl Edit {
    /// The edit by which `by` grants what was asked for, or what its holder wants.
    pub fn grant(by: RoleName, grant: Grant) -> Self {
        Self::Delegate {
            by,
            role: grant.role,
            signers: grant.signers,
            paths: Paths::Patterns(grant.paths),
            terminating: grant.terminating,
            place: Place::Last,
            note: Some(json!(grant.terms)),
        }
    }
}

impl Edit {
    /// A new delegation at another place among the others; anything else as it is.
    #[must_use]
    pub fn placed(mut self, at: Place) -> Self {
        if let Self::Delegate { place, .. } = &mut self {
            *place = at;
        }
        self
    }
}

fn delegation_error(by: &RoleName, role: &RoleName, why: &'static str) -> EditError {
    EditError::Delegation { by: by.clone(), role: role.clone(), why }
}
