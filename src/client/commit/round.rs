//! One round of the committing loop: fold, sign what is missing, submit it, commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::joined::{Joined, newest};
use super::put::Ended;
use super::revocations::Lists;
use super::{
    Committer, Concern, Cosign, Job, Ledger, Partly, Pending, READ_TO_PUT, TIMESTAMP_AGE, WorkError, Worked,
    half_life,
};
use crate::client::signing::{SignError, first_key, require, sign};
use crate::client::state::{self, Kind, Packed};
use crate::client::submission::{Fetched, MAX_VERSION, Submission, SubmissionTag, terms};
use crate::client::whole::{RoleAt, Whole};
use crate::oci::Content;
use crate::time::UnixTime;
use crate::tuf::lineage::{self, Change, Folded, RoleFile, Verdict, View, WINDOW};
use crate::tuf::proposal::Seat;
use crate::tuf::{
    Fault, FileName, FilePin, Files, Floor, Metadata, RoleKeys, RoleName, RootChain, Targets, TufError,
    Version,
};

/// What a round starts from.
#[derive(Clone)]
pub(super) struct Round {
    pub(super) read_at: UnixTime,
    pub(super) manifest: Option<Content>,
    pub(super) chain: RootChain,
    /// The last root before anything was installed in this round.
    pub(super) settled_root: Version,
    pub(super) live: Option<Whole>,
    pub(super) memory: Option<Whole>,
    /// The live state, or what is remembered where there is none.
    pub(super) base: Whole,
    /// Every role, live or remembered.
    pub(super) roles: BTreeMap<RoleName, RoleAt>,
    pub(super) single_writer: bool,
    pub(super) listed: Vec<SubmissionTag>,
    pub(super) seen: Vec<Submission>,
    /// Files of a memory or a live state that does not stand as a whole; they are in `seen` too.
    pub(super) outlived: Vec<Submission>,
    /// The files of the live state, verified or not.
    pub(super) raw: Option<Files>,
    pub(super) not_looked_at: Vec<SubmissionTag>,
    /// Roles that are delegated to and have no file.
    pub(super) vacant: BTreeMap<RoleName, Seat>,
    /// The floor that the memory makes under the last root.
    pub(super) floor: Option<Floor>,
    /// What the job installs, while it is not in and nobody has submitted it.
    pub(super) submit: Option<(SubmissionTag, Packed)>,
}

impl Round {
    /// Who may sign a role.
    pub(super) fn keys(&self, role: &RoleName) -> Option<&RoleKeys> {
        self.chain.last().role().keys(role).or_else(|| self.roles.get(role).map(|at| &at.keys))
    }

    /// The chain without the roots that were admitted in this round: they hold for nobody before they are published.
    pub(super) fn settled(&self) -> RootChain {
        self.chain.until(self.settled_root)
    }

    /// The states that the next one must not fall below.
    pub(super) fn known(&self) -> Vec<&Whole> {
        let known: Vec<&Whole> = self.live.iter().chain(&self.memory).collect();
        if known.is_empty() { vec![&self.base] } else { known }
    }

    /// What the next state lists already, with the files of it: earlier roots and every role.
    pub(super) fn listed_files(&self) -> (BTreeMap<RoleName, FilePin>, Files) {
        let mut files = Files::new();
        // Roots before the one that is trusted here cannot be checked here, and others start from them.
        for whole in [&self.memory, &self.live].into_iter().flatten() {
            files.add_missing(&roots_before(whole.files(), self.chain.roots()[0].version()));
        }
        let mut pins: BTreeMap<RoleName, FilePin> = BTreeMap::new();
        for whole in self.known() {
            for (role, pin) in whole.trusted().snapshot().role().pins() {
                // A role that nobody delegates to any more stays listed: clients refuse a snapshot that drops it.
                if pins.get(role).is_none_or(|p| p.version < pin.version) {
                    let name = FileName::versioned(role.clone(), pin.version);
                    whole.files().get(&name).into_iter().for_each(|b| files.put(name.clone(), b.clone()));
                    pins.insert(role.clone(), pin.clone());
                }
            }
        }
        (pins, files)
    }
}

/// What the roles came to.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) files: BTreeMap<RoleName, Arc<Metadata<Targets>>>,
    pub(super) signed: Vec<Submission>,
    again: Vec<Submission>,
    verdicts: BTreeMap<String, (RoleName, Verdict)>,
}

impl Committer<'_> {
    /// One round. `None`: another one must follow.
    pub(super) async fn turn(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: Round,
    ) -> Result<Option<Worked>, WorkError> {
        let online = self.is_online(round.chain.last().role());
        let part = !online && self.may_commit(job, round.chain.last().role());
        if round.single_writer && !online {
            let root = round.chain.last().role();
            for (role, keys) in
                [(RoleName::timestamp(), root.timestamp_keys()), (RoleName::snapshot(), root.snapshot_keys())]
            {
                let lacking = require(self.keys, &role, keys);
                lacking.map_err(|e| if part { WorkError::SingleWriter(e) } else { e.into() })?;
            }
        }
        // Nobody but who commits puts a root signed here in: into a candidate of several machines it would not come.
        if !online && job.forced.contains(&RoleName::root()) {
            require(self.keys, &RoleName::root(), round.chain.last().role().root_keys())?;
            return Err(WorkError::RootApart);
        }
        for role in job.forced {
            // Others add what is missing to what is begun here.
            if part && !online && matches!(role.as_str(), "timestamp" | "snapshot") {
                continue;
            }
            match round.keys(role) {
                Some(keys) => require(self.keys, role, keys)?,
                None => {
                    let missing =
                        SignError::Missing { role: role.clone(), have: 0, need: 1, missing: Vec::new() };
                    return Err(missing.into());
                }
            }
        }
        // Fetching took too long: what is signed on an old read may be stale when it arrives.
        if self.is_late(&round) {
            return Ok(None);
        }
        let before = (ledger.asked, ledger.lacking.len());
        let chosen = self.choose(job, ledger, &round).await?;
        // Keys may have been waited for longer than a read stands (docs/adr/0003, 7): nothing of it was shown to anybody.
        if self.is_late(&round) {
            for submission in &chosen.signed {
                ledger.mine.remove(submission.lineage.hash());
                ledger.signed.remove(&submission.role);
            }
            ledger.asked = before.0;
            ledger.lacking.truncate(before.1);
            return Ok(None);
        }
        ledger.asked = true;
        if let Some((tag, packed)) = round.submit.as_ref().filter(|_| !round.single_writer) {
            packed.check_size()?;
            self.place.push(packed, tag.tag(self.collection).as_ref()).await?;
            ledger.submitted.push(tag.clone());
        }
        if !round.single_writer {
            for submission in chosen.signed.iter().chain(&chosen.again) {
                let tag = submission.tag.tag(self.collection);
                let packed = submission.pack();
                packed.check_size()?;
                self.place.push(&packed, tag.as_ref()).await?;
                ledger.submitted.push(submission.tag.clone());
            }
        }
        let below = match (&round.live, &round.memory) {
            (None, _) => true,
            (Some(live), Some(memory)) if live.is_below(memory) => true,
            // Somebody who did not know the newest root has put a state of his own in the place of one that held it.
            (Some(live), _) if live.files().newest_root() < Some(round.settled_root) => true,
            // Somebody took a file away: the roles verify, and still nobody can use the state.
            (Some(live), _) => !live.has_own_targets(self.collection)?,
        };
        if !online && !chosen.signed.is_empty() {
            return Ok(None);
        }
        if !online && !part {
            if let Some(live) = round.live.as_ref().filter(|_| !below) {
                self.remember(&round.settled(), live)?;
            }
            return self.finish(job, ledger, round, &chosen, online).map(Some);
        }
        ledger.repaired |= below && online;
        let live = round.live.clone().filter(|live| {
            let rooted = round.chain.last().version() == round.settled_root;
            let same = |(role, file): (&RoleName, &Arc<Metadata<Targets>>)| {
                live.role(role).is_some_and(|l| l.bytes() == file.bytes())
            };
            rooted && chosen.files.iter().all(same)
        });
        let live = live.filter(|_| !below);
        let due = live.as_ref().is_none_or(|live| self.is_due(job, ledger, &round, live));
        if let Some(live) = live.filter(|_| !due) {
            // What another signer has begun is signed here, due or not.
            let mut ended = Ended::Nothing;
            if !online && ledger.commits == 0 && self.has_candidates(&online_versions(&round)).await? {
                ended = self.commit(job, ledger, &round, &chosen, below, false).await?;
            }
            if let Ended::Nothing = ended {
                self.remember(&round.chain, &live)?;
                let committed = online || ledger.commits > 0;
                return self.finish(job, ledger, round, &chosen, committed).map(Some);
            }
            return self.ended(job, ledger, round, &chosen, below, ended);
        }
        let ended = self.commit(job, ledger, &round, &chosen, below, true).await?;
        self.ended(job, ledger, round, &chosen, below, ended)
    }

    fn ended(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: Round,
        chosen: &Chosen,
        below: bool,
        ended: Ended,
    ) -> Result<Option<Worked>, WorkError> {
        let Ended::Waiting(gathering, travels) = ended else { return Ok(None) };
        if let Some(live) = round.live.as_ref().filter(|_| !below) {
            // A root that waits with it is published by nobody yet: what is live stands under the one before.
            self.remember(&round.chain.until(round.settled_root), live)?;
        }
        let mut worked = self.finish(job, ledger, round, chosen, false)?;
        (worked.gathering, worked.travels) = (Some(gathering), travels.map(|travels| *travels));
        Ok(Some(worked))
    }

    /// Fold every role; sign what no file carries, what is wanted, and what is due.
    async fn choose(&self, job: &Job<'_>, ledger: &mut Ledger, round: &Round) -> Result<Chosen, WorkError> {
        let mut chosen = Chosen::default();
        if let Some(intents) = job.intents.filter(|_| !ledger.asked) {
            let known: Vec<&Whole> = round.live.iter().chain(&round.memory).collect();
            intents.settle(&round.roles, &known, self.keys)?;
        }
        for (role, at) in &round.roles {
            let Joined { live, remembered, submissions, live_file, memory_file, may_sign, folded } =
                self.joined(round, role, at)?;
            ledger.merged.extend(folded.merged.iter().cloned());
            ledger.losers.extend(
                folded.losers.iter().filter(|l| !ledger.losers.contains(l)).cloned().collect::<Vec<_>>(),
            );
            // What contradicts what is in waits for nobody: its signer must sign again.
            let told = |(h, v): (&String, &Verdict)| match folded.conflicts.contains(h) {
                true => (h.clone(), (role.clone(), Verdict::Stale)),
                false => (h.clone(), (role.clone(), *v)),
            };
            chosen.verdicts.extend(folded.verdicts.iter().map(told));
            // A delegate's files that have nothing in common are his own matter: nobody else waits for it, the greater version
            // stays, and the other one is named.
            if let Some(memory) = memory_file.as_ref().filter(|_| !terms::is_delegate(role)) {
                related(role, &live_file, memory)?;
            }
            for file in [live].into_iter().chain(remembered) {
                chosen.again.extend(self.lost(role, at, file, &folded, round)?);
            }
            let pending = |s: &&Submission| {
                let verdict = folded.verdicts.get(s.lineage.hash());
                verdict.is_some_and(|v| matches!(v, Verdict::Fork | Verdict::FastForward))
            };
            let outlived =
                round.outlived.iter().filter(|s| s.role == *role && !round.listed.contains(&s.tag));
            chosen.again.extend(outlived.filter(pending).cloned());
            let files = [live].into_iter().chain(remembered).chain(submissions.iter().map(|s| &s.file));
            let newest = newest(&folded, files.clone()).unwrap_or(live).clone();
            let (mut changes, lacking) = self.wanted(job, ledger, round, role, at, &folded.view)?;
            if let Some(lacking) = lacking.filter(|_| !changes.is_empty()) {
                let (now, name) = (self.clock.now(), self.collection.to_string());
                let (highest, end) = (files.map(|f| f.version()).max(), now.plus(life_of(at, &newest)));
                let draft = lineage::next(&folded.view, highest, &changes, &name, now, end);
                return Err(WorkError::Partly(Box::new(Partly { role: role.clone(), draft, lacking })));
            }
            let mut came = came_with(&submissions);
            if *role == RoleName::revocations() {
                let lists = Lists::of(self.collection, round, &folded, &submissions);
                changes.extend(self.joined_list(job, ledger, at, &lists, may_sign, &mut came)?);
            }
            let vacant = lineage::is_genesis(&newest);
            let due = may_sign && !ledger.signed.contains_key(role) && self.is_role_due(job, role, &newest);
            // Its keys were rotated, and nobody has signed it with the new ones.
            let due = !vacant && (due || !newest.count(&at.keys).is_met());
            if folded.view.file().is_some() && changes.is_empty() && !due {
                if !vacant {
                    chosen.files.insert(role.clone(), newest);
                }
                continue;
            }
            let highest = files.map(|f| f.version()).max();
            // Its submission could not be read, and readers would not take another file of the same version.
            if highest.max(Some(folded.view.version())) >= Some(MAX_VERSION) {
                return Err(WorkError::Exhausted { role: role.clone(), version: MAX_VERSION });
            }
            let (now, life) = (self.clock.now(), life_of(at, &newest));
            let collection = self.collection.to_string();
            let draft = lineage::next(&folded.view, highest, &changes, &collection, now, now.plus(life));
            let bytes = sign(self.keys, role, &at.keys, &draft).await?;
            let submission = Submission::of(role, &at.keys, &bytes, came)?;
            let file = submission.file.clone();
            ledger.signed.insert(role.clone(), (file.version(), file.expires()));
            ledger.mine.insert(submission.lineage.hash().to_owned(), submission.clone());
            chosen.files.insert(role.clone(), file);
            chosen.signed.push(submission);
        }
        Ok(chosen)
    }

    /// The changes that the job wants of this role and that are not there yet; asked once. And who is missing to sign them, where
    /// they are drafted for others.
    fn wanted(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &Round,
        role: &RoleName,
        at: &RoleAt,
        view: &View,
    ) -> Result<(Vec<Change>, Option<SignError>), WorkError> {
        let Some(intents) = job.intents.filter(|i| !ledger.asked && i.concern(role) != Concern::No) else {
            return Ok((Vec::new(), None));
        };
        let here = first_key(self.keys, &at.keys);
        let (lacking, partly) = match (require(self.keys, role, &at.keys).err(), intents.concern(role)) {
            (Some(e), Concern::Must) if intents.partly() && here.is_some() => (None, Some(e)),
            (Some(e), Concern::Must) => return Err(e.into()),
            (lacking, _) => (lacking, None),
        };
        let any = || at.keys.keys.keys().next().cloned();
        let Some(by) = here.or_else(any) else { return Ok((Vec::new(), None)) };
        let known: Vec<&Whole> = round.live.iter().chain(&round.memory).collect();
        let mut changes = intents.changes(&known, view, &by, self.clock.now())?;
        changes.retain(|c| lineage::is_needed(view, c));
        if let Some(lacking) = lacking {
            ledger.lacking.extend((!changes.is_empty()).then_some(lacking));
            changes.clear();
        }
        Ok((changes, partly))
    }

    /// A file of the live state or the memory that is pending, and whose submission is not listed: it is submitted again.
    fn lost(
        &self,
        role: &RoleName,
        at: &RoleAt,
        file: &Metadata<Targets>,
        folded: &Folded,
        round: &Round,
    ) -> Result<Option<Submission>, WorkError> {
        let pending = folded.verdicts.get(file.digest().hex());
        if !pending.is_some_and(|v| matches!(v, Verdict::Fork | Verdict::FastForward)) {
            return Ok(None);
        }
        let mut files = Files::new();
        for whole in round.memory.iter().chain(&round.live) {
            files.add_missing(&only_targets(whole.files()));
        }
        // Under keys that were rotated since, it cannot be submitted again.
        let submission = Submission::of(role, &at.keys, file.bytes(), files).ok();
        Ok(submission.filter(|s| !round.listed.contains(&s.tag)))
    }

    pub(super) fn is_late(&self, round: &Round) -> bool {
        self.clock.now().secs() - round.read_at.secs() > READ_TO_PUT
    }

    fn is_role_due(&self, job: &Job<'_>, role: &RoleName, file: &Metadata<Targets>) -> bool {
        let past_half = half_life(signed_at(file), file.expires()) <= self.clock.now();
        job.forced.contains(role) || (past_half && *role != RoleName::targets())
    }

    /// Whether timestamp, snapshot or root are to be signed although no role changed.
    fn is_due(&self, job: &Job<'_>, ledger: &Ledger, round: &Round, live: &Whole) -> bool {
        if ledger.commits > 0 {
            return false;
        }
        if let Cosign::Returned(files) = job.cosign {
            return !self.is_in(round, files);
        }
        let forced = [RoleName::timestamp(), RoleName::snapshot(), RoleName::root()];
        forced.iter().any(|role| job.forced.contains(role))
            || timestamp_due(live) <= self.clock.now()
            || snapshot_due(live) <= self.clock.now()
    }

    fn finish(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: Round,
        chosen: &Chosen,
        online: bool,
    ) -> Result<Worked, WorkError> {
        let pending: Vec<Pending> = self.pending(ledger, &round, &chosen.verdicts);
        let first = ledger.first.take().flatten();
        let mut admitted = Vec::new();
        for fetched in ledger.fetched.values() {
            let Fetched::Valid(s) = fetched else { continue };
            let holds = |whole: &Whole| -> Result<bool, WorkError> {
                let Some(file) = whole.role(&s.role) else { return Ok(false) };
                let file = RoleFile::of(file).map_err(|fault| TufError::new(&s.role, fault))?;
                Ok(lineage::classify(&View::of(&file), &s.lineage).verdict == Verdict::AlreadyIn)
            };
            let before = first.as_ref().map(&holds).transpose()?.unwrap_or(false);
            if !before && holds(&round.base)? && !ledger.mine.contains_key(s.lineage.hash()) {
                admitted.push((s.tag.clone(), s.role.clone()));
            }
        }
        let own = job.install.map(SubmissionTag::of_group).transpose()?;
        let before = ledger.settled_first.take().unwrap_or_default();
        let top = |tag: &SubmissionTag| {
            let root = RoleName::root();
            round.roles.keys().chain([&root]).find(|r| tag.is_of(r)).cloned()
        };
        for tag in ledger.settled.iter().filter(|t| !before.contains(t) && Some(*t) != own.as_ref()) {
            let known = admitted.iter().any(|(t, _)| t == tag);
            admitted.extend(top(tag).filter(|_| !known).map(|role| (tag.clone(), role)));
        }
        let installed = own.as_ref().is_some_and(|own| ledger.settled.contains(own));
        let mut settled: Vec<SubmissionTag> = before.intersection(&ledger.settled).cloned().collect();
        // A root is never taken out again.
        let rooted = first.as_ref().map(|f| f.trusted().root().version());
        let past = |t: &&SubmissionTag| t.is_of(&RoleName::root()) && Some(t.version()) <= rooted;
        settled.extend(round.listed.iter().filter(past).cloned());
        let manifest = match round.manifest {
            Some(manifest) => manifest,
            // Nothing is live and nobody here may commit: what is remembered stands in.
            None => state::pack(Kind::State, round.base.files(), None).manifest,
        };
        Ok(Worked {
            first,
            last: round.base,
            manifest,
            signed: std::mem::take(&mut ledger.signed),
            commits: ledger.commits,
            merged: ledger.merged.len(),
            submitted: std::mem::take(&mut ledger.submitted),
            admitted,
            pending,
            listed: round.listed,
            losers: std::mem::take(&mut ledger.losers),
            lacking: std::mem::take(&mut ledger.lacking),
            repaired: ledger.repaired && ledger.commits > 0,
            online,
            gathering: None,
            travels: None,
            installed,
            settled,
        })
    }
}

fn online_versions(round: &Round) -> Vec<Version> {
    let known = round.known();
    known.iter().flat_map(|w| [w.trusted().timestamp().version(), w.trusted().snapshot().version()]).collect()
}

/// Refuse a file below what the snapshot lists of its role: clients that saw that would refuse the state.
pub(super) fn rises(
    role: &RoleName,
    file: &Metadata<Targets>,
    pins: &BTreeMap<RoleName, FilePin>,
) -> Result<(), TufError> {
    match pins.get(role) {
        Some(pin) if file.version() < pin.version => {
            let (floor, got) = (pin.version, file.version());
            Err(TufError::new(role, Fault::Rollback { what: role.clone(), floor, got }))
        }
        _ => Ok(()),
    }
}

/// Two files of one role that are near each other in version and have no ancestor in common: somebody must decide.
fn related(role: &RoleName, live: &RoleFile, memory: &RoleFile) -> Result<(), WorkError> {
    let (older, newer) = if live.version() <= memory.version() { (live, memory) } else { (memory, live) };
    let near = newer.version().get() - older.version().get() < WINDOW;
    let stranger = lineage::classify(&View::of(newer), older).verdict == Verdict::Stale;
    if near && stranger {
        return Err(WorkError::Unrelated {
            role: role.clone(),
            live: live.version(),
            remembered: memory.version(),
        });
    }
    Ok(())
}

/// When the timestamp is signed again: after a day, or half its life if that is less.
pub(crate) fn timestamp_due(whole: &Whole) -> UnixTime {
    let file = whole.trusted().timestamp();
    signed_at(file).plus(TIMESTAMP_AGE).min(half_life(signed_at(file), file.expires()))
}

pub(super) fn snapshot_due(whole: &Whole) -> UnixTime {
    let file = whole.trusted().snapshot();
    half_life(signed_at(file), file.expires())
}

/// When a file was signed; one that does not say so counts as signed when it expires.
pub(crate) fn signed_at<R>(file: &Metadata<R>) -> UnixTime {
    file.extra().map_or_else(|| file.expires(), |x| x.at)
}

/// How long files of this role are valid: as long as the one before, in seconds; a day when it does not say.
pub(super) fn lifetime<R>(file: &Metadata<R>) -> i64 {
    match file.expires().secs() - signed_at(file).secs() {
        life if life > 0 => life,
        _ => 86_400,
    }
}

/// How long the next file of a delegated role is valid: as its terms say, otherwise as long as the one before.
fn life_of(at: &RoleAt, newest: &Metadata<Targets>) -> i64 {
    at.terms.as_ref().and_then(|t| i64::try_from(t.lifetime).ok()).unwrap_or_else(|| lifetime(newest))
}

/// Target files that came with the submissions that were folded.
fn came_with(submissions: &[&Submission]) -> Files {
    let mut out = Files::new();
    for submission in submissions {
        out.add_missing(&submission.files);
    }
    out
}

fn roots_before(files: &Files, version: Version) -> Files {
    let mut out = files.clone();
    out.retain(|name| *name.role() == RoleName::root() && name.version() < Some(version));
    out.drop_targets();
    out
}

fn only_targets(files: &Files) -> Files {
    let mut out = files.clone();
    out.retain(|_| false);
    out
}
