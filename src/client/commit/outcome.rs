//! How a run of the committing loop ended, and what is not in.

use std::collections::BTreeMap;

use super::Gathering;
use crate::client::signing::SignError;
use crate::client::submission::SubmissionTag;
use crate::client::whole::Whole;
use crate::oci::{Content, Tag};
use crate::time::UnixTime;
use crate::tuf::lineage::Loser;
use crate::tuf::proposal::{Base, Proposal};
use crate::tuf::{RoleName, Version};

/// How it ended.
#[derive(Debug, Clone)]
pub struct Worked {
    /// The live state as it was read first; none when there was none that verified.
    pub first: Option<Whole>,
    /// The live state as it was read last.
    pub last: Whole,
    /// Its manifest.
    pub manifest: Content,
    /// Role files signed, timestamp and snapshot included.
    pub signed: BTreeMap<RoleName, (Version, UnixTime)>,
    /// Number of states that were PUT.
    pub commits: usize,
    /// Number of forks that were merged.
    pub merged: usize,
    /// Submissions that were PUT here.
    pub submitted: Vec<SubmissionTag>,
    /// Submissions of others that are in now and were not at first.
    pub admitted: Vec<(SubmissionTag, RoleName)>,
    /// Submissions that wait or never will be in.
    pub pending: Vec<Pending>,
    /// Every submission that is listed.
    pub listed: Vec<SubmissionTag>,
    /// Values that did not stay where two stood for one path.
    pub losers: Vec<Loser>,
    /// Whether the live state was older than the memory, or gone, and was put right.
    pub repaired: bool,
    /// Changes that were wanted of roles whose keys are not here.
    pub lacking: Vec<SignError>,
    /// Whether this installation holds the online key.
    pub online: bool,
    /// A next snapshot and timestamp that more keys must sign: nothing was committed.
    pub gathering: Option<Gathering>,
    /// The same as a proposal, where it was asked for, and what that stands on.
    pub travels: Option<(Proposal, Base)>,
    /// Whether what the job installs is in; otherwise it is submitted, and waits for the online key.
    pub installed: bool,
    /// Submissions of several roles, or of a root, that were in before this run and still are.
    pub settled: Vec<SubmissionTag>,
}

/// A submission that is not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its tag.
    pub tag: Tag,
    /// Its role, where it is known.
    pub role: Option<RoleName>,
    /// Its version.
    pub version: Version,
    /// Why.
    pub reason: Reason,
}

/// Why a submission is not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A holder of the role's key must merge it.
    Fork,
    /// Not related to the live role within 64 versions.
    Stale,
    /// So much newer that the live state must be old.
    Ahead,
    /// No submission of this collection.
    Invalid(String),
    /// There are more submissions than anybody looks at.
    NotLookedAt,
    /// Signed by keys that were rotated out: its signer must sign again with the new ones.
    Rotated,
    /// With it this role must be signed again, and its new keys are not here.
    Keys(RoleName),
    /// With it the online key is another one, which is not here.
    Online,
}
