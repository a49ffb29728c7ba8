//! The committing loop of publish, renew and (later) revoke: `work` of docs/adr/0003, whose names it keeps.

mod candidate;
mod damaged;
mod error;
mod history;
mod install;
mod intents;
mod joined;
mod look;
mod online;
mod outcome;
mod put;
pub mod recalled;
mod restart;
mod revocations;
mod round;
pub mod survey;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::known::Known;
use super::memory::{Memory, MemoryError};
use super::signing::{KeyRing, SignError, can_sign};
use super::state::{self, StateError};
use super::submission::{Fetched, Submission, SubmissionTag};
use super::whole::{RoleAt, Whole};
use crate::oci::{Content, Digest, Reference, Tag};
use crate::store::{Failure, Store as _, StoreError};
use crate::time::{Clock, UnixTime};
use crate::trust::Duration;
use crate::tuf::lineage::Loser;
use crate::tuf::proposal::{Base, Group, Installed, install};
use crate::tuf::{
    CollectionName, Files, Limits, Metadata, Remembered, RoleName, Root, RootChain, TufError, Version,
};

pub use candidate::{Amiss, Cosign, Gathering, Unfit, check_next, cosigned};
use damaged::{Found, not_newer};
pub use error::{Partly, WorkError};
pub use intents::{Concern, Intents, Refusal};
pub use outcome::{Pending, Reason, Worked};
use recalled::{Beside, Past};
use round::Round;
pub(super) use round::{signed_at, timestamp_due};

/// Seconds: a state that was read longer ago is not committed on.
const READ_TO_PUT: i64 = 600;
/// A PUT of the state has landed by then, or is given up.
const PUT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);
/// Milliseconds: waits for a registry that still shows the state from before a PUT.
const LAG: [u64; 4] = [100, 300, 1_000, 2_000];
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

/// No other lives than those before.
pub const AS_BEFORE: &BTreeMap<RoleName, Duration> = &BTreeMap::new();

/// What is to be done beside admitting submissions.
pub struct Job<'a> {
    /// Changes to role files.
    pub intents: Option<&'a dyn Intents>,
    /// Sign these roles again, due or not.
    pub forced: &'a BTreeSet<RoleName>,
    /// Other lives of timestamp and snapshot than those before.
    pub lives: &'a BTreeMap<RoleName, Duration>,
    /// Go on from the memory where the live state does not verify.
    pub repair: bool,
    /// Finished files to put in, as a whole: a proposal that enough have signed.
    pub install: Option<&'a Group>,
    /// Signatures on snapshot and timestamp of machines that do not read the place.
    pub cosign: Cosign<'a>,
}

impl<'a> Job<'a> {
    /// Nothing beside admitting what was submitted and renewing what is due.
    pub fn routine(forced: &'a BTreeSet<RoleName>) -> Self {
        Self { intents: None, forced, repair: true, install: None, cosign: Cosign::Here, lives: AS_BEFORE }
    }

    /// These changes.
    pub fn changes(intents: &'a dyn Intents, forced: &'a BTreeSet<RoleName>) -> Self {
        Self { intents: Some(intents), repair: false, ..Self::routine(forced) }
    }
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
        let none = BTreeSet::new();
        let round = self.around(&Job::routine(&none), &mut Ledger::new()).await?;
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
        let past = self.past(&sources)?;
        let chain = past.chain(&sources)?;
        let served = files.as_ref().filter(|_| fault.is_none());
        let judge = |chain: &RootChain| {
            let live = served.map(|files| Whole::judge(chain, files, self.collection, read_at, &limits));
            Ok((live, past.beside(chain, &files, read_at)?))
        };
        let (chain, (live, beside)) = settled(chain, judge)?;
        // Roots alone are no floor for a state.
        if beside.recalled.is_none() && !self.without_memory {
            return Err(WorkError::NoMemory(self.collection.clone()));
        }
        let live = match live {
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
                Some(delay) if replaced.as_ref() == Some(&shown) => {
                    tokio::time::sleep(std::time::Duration::from_millis(*delay)).await
                }
                _ => return Ok(found),
            }
        }
    }

    /// What is remembered, of all memories; `offered` roots may lie between.
    fn past(&self, offered: &[&Files]) -> Result<Past, MemoryError> {
        Past::load(self.memories, self.anchor, self.collection, offered)
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

    /// Whether keys of snapshot or timestamp are here, alone or with others elsewhere.
    fn may_commit(&self, job: &Job<'_>, root: &Root) -> bool {
        !matches!(job.cosign, Cosign::Here) || self.is_online(root) || self.is_part(root)
    }

    /// Whether the keys of snapshot and timestamp are here.
    fn is_online(&self, root: &Root) -> bool {
        can_sign(self.keys, root.timestamp_keys()) && can_sign(self.keys, root.snapshot_keys())
    }
}

/// What lies there, and what is remembered, under one chain of roots.
type Judged = (Option<Result<Whole, TufError>>, Beside);

/// The longest part of a chain under which something stands. A root that enough have signed is there for all to read before a state
/// is signed under it, and whoever may push can put it beside the old state; nobody may be kept from working by that. Never below
/// the root under which the memory was verified.
fn settled(
    chain: RootChain,
    judge: impl Fn(&RootChain) -> Result<Judged, WorkError>,
) -> Result<(RootChain, Judged), WorkError> {
    let stands =
        |(live, beside): &Judged| live.as_ref().is_some_and(Result::is_ok) || beside.memory.is_some();
    let judged = judge(&chain)?;
    let Some(verified) = judged.1.verified_under().filter(|_| !stands(&judged)) else {
        return Ok((chain, judged));
    };
    let earlier = chain.roots().iter().rev().skip(1).map(|root| root.version());
    for version in earlier.take_while(|version| *version >= verified) {
        let shorter = chain.until(version);
        let judged = judge(&shorter)?;
        if stands(&judged) {
            return Ok((shorter, judged));
        }
    }
    Ok((chain, judged))
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
