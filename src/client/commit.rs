//! The committing loop of publish, renew and (later) revoke: `work` of docs/adr/0003, whose names it keeps.

mod damaged;
mod round;
pub mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::known::Known;
use super::memory::{Memory, MemoryError, is_newer};
use super::signing::{KeyRing, SignError, can_sign};
use super::state::{self, Oversize, StateError};
use super::submission::{Fetched, Submission, SubmissionTag, fetch};
use super::whole::{RoleAt, Whole, is_own_file, walk_on};
use crate::oci::{Content, Digest, Reference, Tag};
use crate::sig::KeyId;
use crate::store::{Failure, Store, StoreError};
use crate::time::{Clock, UnixTime};
use crate::tuf::lineage::{Change, Loser, RoleFile, Verdict, View, WINDOW};
use crate::tuf::{CollectionName, Files, Limits, Remembered, RoleName, RootChain, TufError, Version};

use damaged::{Found, not_newer};
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
}

/// The changes that a publisher or withdrawer wants.
pub trait Intents: Send + Sync {
    /// The role that is changed; its key must be here.
    fn role(&self) -> RoleName;

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

/// An intent that the state forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bundle is revoked.
    #[error("{0} is revoked in this collection")]
    Revoked(Digest),
    /// Whether it is revoked cannot be told.
    #[error("the revocation list cannot be read: {0}")]
    Revocations(String),
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
    /// Whether this installation holds the online key.
    pub online: bool,
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
    commits: usize,
    repaired: bool,
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
            commits: 0,
            repaired: false,
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

    /// One round: what is live, what is remembered, what was submitted.
    async fn read(&self, job: &Job<'_>, ledger: &mut Ledger) -> Result<Round, WorkError> {
        let read_at = self.clock.now();
        let remembered = self.remembered()?;
        let Found { manifest: found, files, mut fault } = self.find(job, ledger).await?;
        let limits = Limits::default();
        let sources: Vec<&Files> = files.iter().collect();
        let known = remembered.as_ref().map(|r| &r.files);
        let chain = walk_on(self.anchor, self.collection, known, &sources, &limits)?;
        let judge = |files: &Files| Whole::judge(&chain, files, self.collection, read_at, &limits);
        let memory = match remembered.as_ref().filter(|r| r.verified_under.is_some()) {
            None => None,
            Some(r) => match judge(&r.files) {
                Ok(whole) => Some(whole),
                // Keys were rotated since: the floors fall with them (TUF specification 5.3.11). Role files whose own keys
                // still stand are kept, see below.
                Err(_) if r.verified_under < Some(chain.last().version()) => None,
                Err(e) => return Err(WorkError::Remembered(e)),
            },
        };
        // Roots alone are no floor for a state.
        let floor = remembered.as_ref().is_some_and(|r| r.verified_under.is_some());
        if !floor && !self.without_memory {
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
        // A role that the live state has dropped is still remembered: it is put back.
        let mut roles = memory.as_ref().map(|m| m.roles().clone()).unwrap_or_default();
        roles.extend(base.roles().clone());
        let single_writer = chain.last().extra().is_some_and(|x| x.single_writer);
        let listed = if single_writer { Vec::new() } else { self.list(found.is_some()).await? };
        let (mut seen, not_looked_at) = self.look(&roles, &listed, ledger).await?;
        let fallen = remembered.as_ref().filter(|r| memory.is_none() && r.verified_under.is_some());
        let mut outlived = fallen.map(|r| self.outlived(&r.files, &roles)).unwrap_or_default();
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
            read_at,
            manifest: found,
            chain,
            live,
            memory,
            base,
            roles,
            single_writer,
            listed,
            seen,
            outlived,
            not_looked_at,
        })
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

    /// What is remembered: of several memories the newest.
    fn remembered(&self) -> Result<Option<Remembered>, MemoryError> {
        let mut newest: Option<Remembered> = None;
        for memory in self.memories {
            if let Some(one) = memory.load(self.anchor)? {
                newest = Some(match newest {
                    Some(other) => newer(other, one),
                    None => one,
                });
            }
        }
        Ok(newest)
    }

    /// Remember a state that was verified.
    fn remember(&self, chain: &RootChain, whole: &Whole) -> Result<(), MemoryError> {
        for memory in self.memories {
            let before = memory.load(self.anchor)?;
            let remembered = Remembered::of(chain, whole.trusted(), whole.files(), before.as_ref());
            if before.as_ref() != Some(&remembered) {
                memory.save(self.anchor, &remembered)?;
            }
        }
        Ok(())
    }

    /// The submissions that are listed. The list begins with the state's own tag: one that does not show it was not had,
    /// whatever the answer was (registries say 404 for "no tags" and for "no such list" alike).
    async fn list(&self, has_state: bool) -> Result<Vec<SubmissionTag>, StoreError> {
        let state = self.collection.state_tag();
        let before = &state.as_str()[..state.as_str().len() - 1];
        let tags = match self.place.tags(Some(before)).await {
            Err(e) if e.is_not_found() => Vec::new(),
            other => other?,
        };
        if has_state && !tags.iter().any(|t| t.as_str().starts_with(state.as_str())) {
            let failure = Failure::Protocol(format!("the tag {state}, which was just read, is not listed"));
            return Err(StoreError::new(self.place.place(), "list tags", failure));
        }
        let read: BTreeSet<_> = tags.iter().filter_map(|t| SubmissionTag::read(self.collection, t)).collect();
        Ok(read.into_iter().collect())
    }

    /// Fetch the submissions of which the tag alone does not say that they are in or stale, newest first.
    async fn look(
        &self,
        roles: &BTreeMap<RoleName, RoleAt>,
        listed: &[SubmissionTag],
        ledger: &mut Ledger,
    ) -> Result<(Vec<Submission>, Vec<SubmissionTag>), WorkError> {
        let mut views = Vec::new();
        for (role, at) in roles {
            let file = RoleFile::of(&at.file).map_err(|fault| TufError::new(role, fault))?;
            views.push((role, View::of(&file)));
        }
        let mut wanted: Vec<&SubmissionTag> = listed
            .iter()
            .filter(|tag| {
                let view = views.iter().find(|(role, _)| tag.is_of(role)).map(|(_, view)| view);
                view.is_none_or(|v| !v.knows(tag.hash()) && !v.is_past(tag.version()))
            })
            .collect();
        // The newest first; but what is too new to be related could be anybody's.
        wanted.sort_by_key(|tag| {
            let view = views.iter().find(|(role, _)| tag.is_of(role)).map(|(_, view)| view.version().get());
            let ahead = view.is_none_or(|v| tag.version().get() > v + WINDOW);
            (ahead, std::cmp::Reverse(tag.version()))
        });
        let rest = wanted.split_off(wanted.len().min(MAX_SUBMISSIONS));
        let unknown: Vec<_> = wanted
            .iter()
            .filter(|t| !ledger.fetched.contains_key(t) && !ledger.mine.values().any(|m| m.tag == ***t))
            .map(|t| (*t).clone())
            .collect();
        let now = self.clock.now();
        let left = &ledger.left;
        let fetched: Vec<_> = stream::iter(unknown)
            .map(|tag| async move {
                let fetched = fetch(self.place, self.collection, &tag, roles, left, now).await?;
                Ok::<_, StoreError>((tag, fetched))
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        ledger.fetched.extend(fetched);
        let mut seen: BTreeMap<String, Submission> = ledger.mine.clone();
        for tag in wanted {
            if let Some(Fetched::Valid(s)) = ledger.fetched.get(tag) {
                seen.insert(s.lineage.hash().to_owned(), (**s).clone());
            }
        }
        Ok((seen.into_values().collect(), rest.into_iter().cloned().collect()))
    }

    /// Without the submissions that list a file of the whole collection which nobody has: with one of them the next state would
    /// be of no use to anybody. Each is invalid alone, so that the others go on.
    fn with_their_files(
        &self,
        mut seen: Vec<Submission>,
        known: &[&Whole],
        ledger: &mut Ledger,
    ) -> Vec<Submission> {
        loop {
            let bytes = |path: &str| -> Vec<Bytes> {
                let files = known.iter().map(|w| w.files()).chain(seen.iter().map(|s| &s.files));
                files.filter_map(|f| f.target(path).cloned()).collect()
            };
            let lacking = |s: &Submission| {
                let own =
                    s.file.role().targets().iter().filter(|(path, _)| is_own_file(self.collection, path));
                let mut lost =
                    own.filter(|(path, target)| bytes(path).iter().all(|b| target.check(b).is_err()));
                lost.next().map(|(path, _)| path.clone())
            };
            let theirs = |s: &&Submission| !ledger.mine.contains_key(s.lineage.hash());
            let found = seen.iter().filter(theirs).find_map(|s| Some((s.tag.clone(), lacking(s)?)));
            let Some((tag, path)) = found else { return seen };
            seen.retain(|s| s.tag != tag);
            let why = format!("it lists {path}, and nobody has that file");
            ledger.fetched.insert(tag, Fetched::Invalid(why));
        }
    }

    /// Whether the keys of snapshot and timestamp are here.
    fn is_online(&self, base: &Whole) -> bool {
        let root = base.trusted().root().role();
        can_sign(self.keys, root.timestamp_keys()) && can_sign(self.keys, root.snapshot_keys())
    }

    fn pending(
        &self,
        ledger: &Ledger,
        round: &Round,
        verdicts: &BTreeMap<String, (RoleName, Verdict)>,
    ) -> Vec<Pending> {
        let mut out = Vec::new();
        for tag in &round.listed {
            let role = round.roles.keys().find(|r| tag.is_of(r)).cloned();
            let verdict = verdicts.iter().find(|(hash, _)| hash.starts_with(tag.hash())).map(|(_, v)| v.1);
            let reason = match (verdict, ledger.fetched.get(tag)) {
                (_, Some(Fetched::Invalid(why))) => Reason::Invalid(why.clone()),
                (_, Some(Fetched::TooMuch)) => Reason::NotLookedAt,
                (Some(Verdict::Fork | Verdict::FastForward), _) => Reason::Fork,
                (Some(Verdict::Stale), _) => Reason::Stale,
                (Some(Verdict::Ahead), _) => Reason::Ahead,
                _ if round.not_looked_at.contains(tag) => Reason::NotLookedAt,
                _ => continue,
            };
            if let Some(name) = tag.tag(self.collection) {
                out.push(Pending { tag: name, role, version: tag.version(), reason });
            }
        }
        out
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

fn newer(a: Remembered, b: Remembered) -> Remembered {
    if is_newer(&a, &b) { a } else { b }
}

/// A PUT that takes too long may still land; it is given up all the same.
fn timed_out(place: &Reference, tag: &Tag) -> StoreError {
    let failure = Failure::Interrupted(format!("no answer within {} s", PUT_TIMEOUT.as_secs()));
    StoreError::new(place, format!("push manifest {tag}"), failure)
}

#[cfg(test)]
mod tests;
