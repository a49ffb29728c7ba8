//! Why nothing, or not all, was committed.

use super::{Amiss, Refusal, Unfit};
use crate::client::memory::MemoryError;
use crate::client::signing::SignError;
use crate::client::state::{Oversize, StateError};
use crate::oci::{Reference, Tag};
use crate::store::{Failure, StoreError};
use crate::tuf::{CollectionName, Draft, RoleName, TufError, Version};

/// Why nothing, or not all, was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// Nothing is remembered of the collection.
    #[error("this installation remembers no state of {0}")]
    NoMemory(CollectionName),
    /// The memory cannot be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No state lies there and none is remembered.
    #[error("no state of {collection} lies at {place}")]
    Absent {
        /// The collection.
        collection: CollectionName,
        /// Where it was looked for.
        place: Reference,
    },
    /// What lies there is no state.
    #[error("the live state: {0}")]
    State(StateError),
    /// The live state does not verify.
    #[error("the live state: {0}")]
    Live(TufError),
    /// What is remembered does not verify.
    #[error("the remembered state: {0}")]
    Remembered(TufError),
    /// The live state is below what is remembered, which lacks files or rests on keys that were rotated, and so cannot take its
    /// place.
    #[error("{0} is older in the live state than what is remembered here")]
    Older(RoleName),
    /// The trusted root fails, or a state made here does not verify: it was not PUT.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Live and remembered file of a role have nothing in common: which of them is right cannot be told here.
    #[error(
        "{role}: the live version {live} and the remembered version {remembered} have no ancestor in common"
    )]
    Unrelated {
        /// The role.
        role: RoleName,
        /// The live version.
        live: Version,
        /// The remembered version.
        remembered: Version,
    },
    /// The live state is damaged, and newer than the memory: going on from the memory would undo what was committed since.
    #[error(
        "{role} has version {live} in the damaged live state and {remembered} in memory; what lies between would be lost"
    )]
    Damaged {
        /// The role whose file can still be read.
        role: RoleName,
        /// Its version in the live state.
        live: Version,
        /// The remembered version.
        remembered: Version,
    },
    /// A target file of the collection lies nowhere.
    #[error("the file {path} of {role} is neither in the live state nor remembered")]
    TargetFile {
        /// The role that lists it.
        role: RoleName,
        /// Its path.
        path: String,
    },
    /// A role could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Only some of the role's keys are here. Nothing was signed; this is what they would sign.
    #[error(transparent)]
    Partly(Box<Partly>),
    /// The state forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The place failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state's tag names an older state and cannot be moved.
    #[error("the tag {tag} at {place} cannot be moved: {failure}")]
    TagImmutable {
        /// The place.
        place: String,
        /// The tag.
        tag: Tag,
        /// The registry's words.
        failure: Failure,
    },
    /// What was signed is larger than readers take: it was not PUT.
    #[error("the next state of the collection has {0}")]
    Oversize(#[from] Oversize),
    /// What is to be installed stands on files that are no longer published. Nothing was overwritten.
    #[error("{role}: version {proposed} does not follow from the published version {published}")]
    StaleBase {
        /// The role.
        role: RoleName,
        /// The version that was to be installed.
        proposed: Version,
        /// The published version.
        published: Version,
    },
    /// The root was to be signed again where snapshot or timestamp cannot be: nobody would ever see it.
    #[error("only who can sign snapshot and timestamp publishes a root that is signed alone")]
    RootApart,
    /// Another root of the same version is submitted, and goes first.
    #[error("another root of version {0} is submitted and goes first")]
    AnotherRoot(Version),
    /// The state that is to be gone back to does not verify under the newest root.
    #[error("the state that is named as good: {0}")]
    Good(TufError),
    /// What was served since cannot be gone back behind: clients that saw it would refuse.
    #[error("the keys of timestamp or snapshot stay the same")]
    FloorsStand,
    /// Nothing can follow what is there: versions end.
    #[error("{role} has version {version}, and no greater one can follow it")]
    Exhausted {
        /// The role.
        role: RoleName,
        /// Its version.
        version: Version,
    },
    /// A snapshot and timestamp that others signed is not the next one.
    #[error("the snapshot and timestamp that came back: {0}")]
    Returned(Amiss),
    /// A next snapshot and timestamp that no machine without network could judge.
    #[error("the next snapshot and timestamp cannot travel: {0}")]
    Unfit(#[from] Unfit),
    /// Nobody could see what a candidate of this collection stands on.
    #[error(
        "nothing is submitted in a collection of a single writer, so no other machine could see what to sign: {0}"
    )]
    SingleWriter(SignError),
    /// The state kept moving.
    #[error("the state kept moving for {0} rounds")]
    Contended(usize),
}

/// The next file of a role that others must sign, too.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{lacking}")]
pub struct Partly {
    /// The role.
    pub role: RoleName,
    /// Its next file.
    pub draft: Draft,
    /// Who is missing.
    pub lacking: SignError,
}

impl Eq for Partly {}

impl From<StateError> for WorkError {
    fn from(e: StateError) -> Self {
        match e {
            StateError::Store(e) => Self::Store(e),
            StateError::Invalid { .. } => Self::State(e),
        }
    }
}
