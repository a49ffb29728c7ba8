//! The committing loop of publish, renew and (later) revoke: `work` of docs/adr/0003, whose names it keeps.

mod damaged;
mod history;
mod install;
mod joined;
mod look;
pub mod recalled;
mod restart;
mod revocations;
mod round;
pub mod survey;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::known::Known;
use super::memory::{Memory, MemoryError};
use super::signing::{KeyRing, SignError, can_sign};
use super::state::{self, Oversize, StateError};
use super::submission::{Fetched, Submission, SubmissionTag};
use super::whole::{RoleAt, Whole, walk_on};
use crate::oci::{Content, Digest, Reference, Tag};
use crate::sig::KeyId;
use crate::store::{Failure, Store as _, StoreError};
use crate::time::{Clock, UnixTime};
use crate::trust::RevocationList;
use crate::tuf::lineage::{Change, Loser, View};
use crate::tuf::proposal::{Base, Group, Installed, install};
use crate::tuf::{
    CollectionName, Files, Limits, Metadata, Recall, Remembered, RoleName, Root, RootChain, TufError, Version,
};

use damaged::{Found, not_newer};
use recalled::Beside;
use round::Round;
pub(super) use round::{signed_at, timestamp_due};

/// Seconds: a state that was read longer ago is not committed on.
const READ_TO_PUT: i64 = 600;
/// A PUT of the state has landed by then, or is given up.
const PUT_TIMEOUT: Duration = Duration::from_secs(300);
/// Waits for a registry that still shows the state from before a PUT.
const LAG: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];
/// Rounds after which a commit gives up.
const MAX_ROUNDS: usize = 16;
/// Submissions fetched and judged in one round.
const MAX_SUBMISSIONS: usize = 256;
/// Bytes of submissions fetched in one run.
const MAX_SUBMITTED_BYTES: u64 = 128 * 1024 * 1024;
/// Submissions fetched side by side.
const CONCURRENCY: usize = 8;
/// Seconds after which a timestamp is signed again, or half its life if that is less.
pub(super) const TIMESTAMP_AGE: i64 = 86_400;

/// What every signer of a collection needs.
pub struct Committer<'a> {
    /// The place of the state.
    pub place: &'a Known<'a>,
    /// The collection.
    pub collection: &'a CollectionName,
    /// The root file that is trusted beforehand.
    pub anchor: &'a Bytes,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What is to be done beside admitting submissions.
pub struct Job<'a> {
    /// Changes to role files.
    pub intents: Option<&'a dyn Intents>,
    /// Sign these roles again, due or not.
    pub forced: &'a BTreeSet<RoleName>,
    /// Go on from the memory where the live state does not verify.
    pub repair: bool,
    /// Finished files to put in, as a whole: a proposal that enough have signed.
    pub install: Option<&'a Group>,
}

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
    /// Where its key is here; where it is not, that is said in [`Worked::lacking`].
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
    /// Another root of the same version is submitted, and goes first.
    #[error("another root of version {0} is submitted and goes first")]
    AnotherRoot(Version),
    /// The state that is to be gone back to does not verify under the newest root.
    #[error("the state that is named as good: {0}")]
    Good(TufError),
    /// What was served since cannot be gone back behind: clients that saw it would refuse.
    #[error("the keys of timestamp or snapshot stay the same")]
    FloorsStand,
    /// The state kept moving.
    #[error("the state kept moving for {0} rounds")]
    Contended(usize),
}

/// What is kept between the rounds.
struct Ledger {
    /// Bytes of submissions that may still be fetched.
    left: Arc<AtomicU64>,
    first: Option<Option<Whole>>,
    asked: bool,
    mine: BTreeMap<String, Submission>,
    fetched: BTreeMap<SubmissionTag, Fetched>,
    signed: BTreeMap<RoleName, (Version, UnixTime)>,
    submitted: Vec<SubmissionTag>,
    root: Option<Bytes>,
    merged: BTreeSet<String>,
    losers: Vec<Loser>,
    lacking: Vec<SignError>,
    commits: usize,
    repaired: bool,
    /// Submissions that are judged together, and are not in.
    refused: BTreeMap<SubmissionTag, Reason>,
    /// Those that are in, as of the round read last, and as of the first one.
    settled: BTreeSet<SubmissionTag>,
    settled_first: Option<BTreeSet<SubmissionTag>>,
    /// What the state's tag named before the last PUT; the inner `None`: nothing.
    replaced: Option<Option<Digest>>,
}

impl Ledger {
    fn new() -> Self {
        Self {
            left: Arc::new(AtomicU64::new(MAX_SUBMITTED_BYTES)),
            first: None,
            asked: false,
            mine: BTreeMap::new(),
            fetched: BTreeMap::new(),
            signed: BTreeMap::new(),
            submitted: Vec::new(),
            root: None,
            merged: BTreeSet::new(),
            losers: Vec::new(),
            lacking: Vec::new(),
            commits: 0,
            repaired: false,
            refused: BTreeMap::new(),
            settled: BTreeSet::new(),
            settled_first: None,
            replaced: None,
        }
    }
}

impl Committer<'_> {
    /// Submit, commit, and look again until nothing is pending that could be folded here.
    ///
    /// # Errors
    /// See [`WorkError`]. What was pushed before stays and does no harm.
    pub async fn work(&self, job: &Job<'_>) -> Result<Worked, WorkError> {
        let mut ledger = Ledger::new();
        for _ in 0..MAX_ROUNDS {
            let round = self.read(job, &mut ledger).await?;
            if let Some(worked) = self.turn(job, &mut ledger, round).await? {
                return Ok(worked);
            }
        }
        Err(WorkError::Contended(MAX_ROUNDS))
    }

    /// What is published now, verified and not below the memory: what proposals stand on.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn published(&self) -> Result<Whole, WorkError> {
        let job = Job { intents: None, forced: &BTreeSet::new(), repair: true, install: None };
        let round = self.around(&job, &mut Ledger::new()).await?;
        Ok(match (round.live, round.memory) {
            (Some(live), Some(memory)) if live.is_below(&memory) => memory,
            (Some(live), _) => live,
            (None, _) => round.base,
        })
    }

    /// One round: what is live, what is remembered, what was submitted.
    async fn read(&self, job: &Job<'_>, ledger: &mut Ledger) -> Result<Round, WorkError> {
        let mut round = self.around(job, ledger).await?;
        self.admit(job, ledger, &mut round)?;
        // What goes in as a whole may delegate to a role for the first time, or bring its first file along.
        self.settle_vacant(ledger, &mut round)?;
        Ok(round)
    }

    async fn around(&self, job: &Job<'_>, ledger: &mut Ledger) -> Result<Round, WorkError> {
        let read_at = self.clock.now();
        let Found { manifest: found, files, mut fault } = self.find(job, ledger).await?;
        let limits = Limits::default();
        let sources: Vec<&Files> = files.iter().collect();
        let remembered = Memory::load_all(self.memories, self.anchor, &sources)?;
        let known = remembered.as_ref().map(|r| &r.files);
        let chain = walk_on(self.anchor, self.collection, known, &sources, &limits)?;
        let judge = |files: &Files| Whole::judge(&chain, files, self.collection, read_at, &limits);
        let recall = Recall::of(remembered.as_ref(), self.collection, read_at, &limits);
        let others = Memory::others(self.memories, self.anchor, &sources)?;
        let beside = Beside::new(recall, &chain, &files, self.collection, read_at)?;
        let beside = beside.raised(&others, &chain, self.collection, read_at)?;
        // Roots alone are no floor for a state.
        if beside.recalled.is_none() && !self.without_memory {
            return Err(WorkError::NoMemory(self.collection.clone()));
        }
        let live = match files.as_ref().filter(|_| fault.is_none()).map(judge) {
            None => None,
            Some(Ok(whole)) => Some(whole),
            Some(Err(e)) => {
                fault = Some(WorkError::Live(e));
                None
            }
        };
        beside.check(live.as_ref())?;
        let Beside { recalled, memory, floor, .. } = beside;
        let left = files.as_ref().filter(|_| fault.is_some());
        if let Some(fault) = fault.clone() {
            let Some(memory) = memory.as_ref().filter(|_| job.repair) else { return Err(fault) };
            if let Some(left) = left {
                not_newer(&chain, left, memory)?;
            }
        }
        let Some(base) = live.clone().or_else(|| memory.clone()) else {
            let (collection, place) = (self.collection.clone(), self.place.place());
            return Err(WorkError::Absent { collection, place });
        };
        ledger.first.get_or_insert_with(|| live.clone());
        let Installed { roles, vacant, .. } = self.placed(chain.last(), &base, memory.as_ref())?;
        let single_writer = chain.last().extra().is_some_and(|x| x.single_writer);
        let listed = if single_writer { Vec::new() } else { self.list(found.is_some()).await? };
        let (mut seen, not_looked_at) = self.look(&chain, &roles, &vacant, &listed, ledger).await?;
        // Role files of a memory that does not stand as a whole are kept while their own keys do.
        let fallen = recalled.as_ref().filter(|_| memory.is_none());
        let mut outlived = fallen.map(|r| self.outlived(r.files(), &roles)).unwrap_or_default();
        outlived.extend(
            left.iter().flat_map(|l| self.outlived(l, &roles)).filter(|s| !s.file.is_expired(read_at)),
        );
        for file in &outlived {
            if seen.iter().all(|s| s.lineage.hash() != file.lineage.hash()) {
                seen.push(file.clone());
            }
        }
        let known: Vec<&Whole> = live.iter().chain(&memory).collect();
        let seen = self.with_their_files(seen, &known, ledger);
        Ok(Round {
            settled_root: chain.last().version(),
            read_at,
            manifest: found,
            chain,
            live,
            memory,
            base,
            roles,
            vacant,
            single_writer,
            listed,
            seen,
            outlived,
            raw: files,
            not_looked_at,
            submit: None,
            floor,
        })
    }

    /// Every role in its place, under the newer of its live and its remembered file. A role that the live state has dropped is
    /// still remembered: it is put back.
    fn placed(
        &self,
        root: &Metadata<Root>,
        base: &Whole,
        memory: Option<&Whole>,
    ) -> Result<Installed, WorkError> {
        let mut newest = memory.map(|m| m.roles().clone()).unwrap_or_default();
        for (role, at) in base.roles() {
            if newest.get(role).is_none_or(|n| n.file.version() <= at.file.version()) {
                newest.insert(role.clone(), at.clone());
            }
        }
        let newest = Base::new(self.collection.clone(), root.clone(), newest);
        Ok(install(&newest, root, &Group::default())?)
    }

    /// Role files of a memory that fell with the online keys, as far as the keys of their own roles still stand: no entry is
    /// lost because somebody else rotated a key. So are those of a damaged live state. They are folded like what was submitted.
    fn outlived(&self, files: &Files, roles: &BTreeMap<RoleName, RoleAt>) -> Vec<Submission> {
        let mut targets = files.clone();
        targets.retain(|_| false);
        let name = self.collection.to_string();
        let still = |(role, at): (&RoleName, &RoleAt)| {
            let (_, bytes) = files.metadata().iter().find(|(file, _)| file.role() == role)?;
            let kept = Submission::of(role, &at.keys, bytes, targets.clone()).ok()?;
            kept.file.check_collection(role, &name).and_then(|()| at.check_paths(role, &kept.file)).ok()?;
            (kept.file.bytes() != at.file.bytes()).then_some(kept)
        };
        roles.iter().filter_map(still).collect()
    }

    /// The live state's manifest. Some registries show the old one for a while after a PUT: before an own commit counts as
    /// overwritten, it is waited for.
    async fn resolve(&self, ledger: &mut Ledger) -> Result<Option<Content>, WorkError> {
        let replaced = ledger.replaced.take();
        let mut delays = LAG.iter();
        loop {
            let found = match state::resolve_state(self.place, self.collection).await {
                Ok(found) => found,
                Err(StateError::Store(e)) if e.is_not_found() => None,
                Err(e) => return Err(e.into()),
            };
            let shown = found.as_ref().map(|m| m.digest().clone());
            match delays.next() {
                Some(delay) if replaced.as_ref() == Some(&shown) => tokio::time::sleep(*delay).await,
                _ => return Ok(found),
            }
        }
    }

    /// What is remembered, of all memories.
    fn remembered(&self) -> Result<Option<Remembered>, MemoryError> {
        Memory::load_all(self.memories, self.anchor, &[])
    }

    /// Remember a state that was verified.
    fn remember(&self, chain: &RootChain, whole: &Whole) -> Result<(), MemoryError> {
        for memory in self.memories {
            let before = memory.load_along(self.anchor, &[whole.files()])?;
            let remembered = Remembered::of(chain, whole.trusted(), whole.files(), before.as_ref());
            if before.as_ref() != Some(&remembered) {
                memory.save(self.anchor, &remembered)?;
            }
        }
        Ok(())
    }

    /// Whether the keys of snapshot and timestamp are here.
    fn is_online(&self, root: &Root) -> bool {
        can_sign(self.keys, root.timestamp_keys()) && can_sign(self.keys, root.snapshot_keys())
    }
}

impl From<StateError> for WorkError {
    fn from(e: StateError) -> Self {
        match e {
            StateError::Store(e) => Self::Store(e),
            StateError::Invalid { .. } => Self::State(e),
        }
    }
}

/// When a file is signed again: past half its life.
pub(super) fn half_life(at: UnixTime, expires: UnixTime) -> UnixTime {
    at.plus((expires.secs() - at.secs()) / 2)
}

/// A PUT that takes too long may still land; it is given up all the same.
fn timed_out(place: &Reference, tag: &Tag) -> StoreError {
    let failure = Failure::Interrupted(format!("no answer within {} s", PUT_TIMEOUT.as_secs()));
    StoreError::new(place, format!("push manifest {tag}"), failure)
}

#[cfg(test)]
mod tests;
