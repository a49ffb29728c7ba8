//! One round of the committing loop: fold, sign what is missing, submit it, commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::joined::{Joined, newest};
use super::revocations::Lists;
use super::{
    Committer, Concern, Job, Ledger, PUT_TIMEOUT, Pending, READ_TO_PUT, TIMESTAMP_AGE, WorkError, Worked,
    half_life, timed_out,
};
use crate::client::signing::{SignError, first_key, require, sign};
use crate::client::state::{self, Kind, Packed};
use crate::client::submission::{Fetched, Submission, SubmissionTag};
use crate::client::whole::{RoleAt, Whole, walk};
use crate::oci::Content;
use crate::store::{Failure, Store};
use crate::time::UnixTime;
use crate::tuf::lineage::{self, Change, Folded, RoleFile, Verdict, View, WINDOW};
use crate::tuf::proposal::Seat;
use crate::tuf::{
    Draft, Extra, Fault, FileName, FilePin, Files, Floor, Heading, Limits, Metadata, RoleKeys, RoleName,
    RootChain, Targets, TufError, Version,
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
    files: BTreeMap<RoleName, Arc<Metadata<Targets>>>,
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
        if round.single_writer && !online {
            let root = round.chain.last().role();
            require(self.keys, &RoleName::timestamp(), root.timestamp_keys())?;
            require(self.keys, &RoleName::snapshot(), root.snapshot_keys())?;
        }
        for role in job.forced {
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
        let chosen = self.choose(job, ledger, &round).await?;
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
        if !online {
            if !chosen.signed.is_empty() {
                return Ok(None);
            }
            if let Some(live) = round.live.as_ref().filter(|_| !below) {
                self.remember(&round.chain, live)?;
            }
            return self.finish(job, ledger, round, &chosen, online).map(Some);
        }
        ledger.repaired |= below;
        let live = round.live.clone().filter(|live| {
            let rooted = round.chain.last().version() == round.settled_root;
            let same = |(role, file): (&RoleName, &Arc<Metadata<Targets>>)| {
                live.role(role).is_some_and(|l| l.bytes() == file.bytes())
            };
            rooted && chosen.files.iter().all(same)
        });
        if let Some(live) = live.filter(|live| !below && !self.is_due(job, ledger, live)) {
            self.remember(&round.chain, &live)?;
            return self.finish(job, ledger, round, &chosen, online).map(Some);
        }
        self.commit(job, ledger, &round, &chosen, below).await?;
        Ok(None)
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
            chosen.verdicts.extend(folded.verdicts.iter().map(|(h, v)| (h.clone(), (role.clone(), *v))));
            if let Some(memory) = &memory_file {
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
            let mut changes = self.wanted(job, ledger, round, role, at, &folded.view)?;
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

    /// The changes that the job wants of this role and that are not there yet; asked once.
    fn wanted(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &Round,
        role: &RoleName,
        at: &RoleAt,
        view: &View,
    ) -> Result<Vec<Change>, WorkError> {
        let Some(intents) = job.intents.filter(|i| !ledger.asked && i.concern(role) != Concern::No) else {
            return Ok(Vec::new());
        };
        let lacking = require(self.keys, role, &at.keys).err();
        let lacking = match (lacking, intents.concern(role)) {
            (Some(e), Concern::Must) => return Err(e.into()),
            (lacking, _) => lacking,
        };
        let any = || at.keys.keys.keys().next().cloned();
        let Some(by) = first_key(self.keys, &at.keys).or_else(any) else { return Ok(Vec::new()) };
        let known: Vec<&Whole> = round.live.iter().chain(&round.memory).collect();
        let mut changes = intents.changes(&known, view, &by, self.clock.now())?;
        changes.retain(|c| lineage::is_needed(view, c));
        if let Some(lacking) = lacking {
            ledger.lacking.extend((!changes.is_empty()).then_some(lacking));
            changes.clear();
        }
        Ok(changes)
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

    fn is_late(&self, round: &Round) -> bool {
        self.clock.now().secs() - round.read_at.secs() > READ_TO_PUT
    }

    fn is_role_due(&self, job: &Job<'_>, role: &RoleName, file: &Metadata<Targets>) -> bool {
        let past_half = half_life(signed_at(file), file.expires()) <= self.clock.now();
        job.forced.contains(role) || (past_half && *role != RoleName::targets())
    }

    /// Whether timestamp, snapshot or root are to be signed although no role changed.
    fn is_due(&self, job: &Job<'_>, ledger: &Ledger, live: &Whole) -> bool {
        if ledger.commits > 0 {
            return false;
        }
        let forced = [RoleName::timestamp(), RoleName::snapshot(), RoleName::root()];
        forced.iter().any(|role| job.forced.contains(role))
            || timestamp_due(live) <= self.clock.now()
            || snapshot_due(live) <= self.clock.now()
    }

    /// Sign snapshot and timestamp, verify the whole from the root, look once more, remember, PUT.
    async fn commit(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &Round,
        chosen: &Chosen,
        below: bool,
    ) -> Result<(), WorkError> {
        let now = self.clock.now();
        let mut files = Files::new();
        for root in round.chain.roots() {
            files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
        }
        self.renew_root(job, ledger, round, &mut files, now).await?;
        let known = round.known();
        let (mut pins, listed) = round.listed_files();
        files.add_missing(&listed);
        for (role, file) in &chosen.files {
            rises(role, file, &pins)?;
            pins.insert(role.clone(), FilePin::of(file.version(), file.bytes()));
            files.retain(|name| name.role() != role);
            files.put(Whole::file_name(role, file), file.bytes().clone());
        }
        let root = round.chain.last().role();
        let versions =
            known.iter().flat_map(|w| [w.trusted().timestamp().version(), w.trusted().snapshot().version()]);
        // Where the online keys are new, clients forget the versions of the old ones (specification 5.3.11): whoever stole
        // those may have driven them up to where none can follow.
        let rotated = known.iter().any(|w| {
            let old = w.trusted().root().role();
            old.timestamp_keys() != root.timestamp_keys() || old.snapshot_keys() != root.snapshot_keys()
        });
        let soon = u64::try_from(now.plus(TIMESTAMP_AGE).secs()).unwrap_or(u64::MAX);
        let version = lineage::next_online_version(versions.filter(|v| !rotated || v.get() <= soon), now);
        let kept = round.live.as_ref().filter(|live| {
            let due = snapshot_due(live) <= now || job.forced.contains(&RoleName::snapshot());
            let again = below || (due && ledger.commits == 0);
            let signed = live.trusted().snapshot().count(root.snapshot_keys()).is_met();
            !again && signed && *live.trusted().snapshot().role().pins() == pins
        });
        let snapshot = match kept {
            Some(live) => live.trusted().snapshot().bytes().clone(),
            None => self.snapshot(round, &pins, version, now).await?,
        };
        let snapshot_version = kept.map_or(version, |live| live.trusted().snapshot().version());
        let pin = FilePin::of(snapshot_version, &snapshot);
        files.put(FileName::versioned(RoleName::snapshot(), snapshot_version), snapshot);
        let timestamp = self.timestamp(round, &pin, version, now).await?;
        files.put(FileName::timestamp(), timestamp);

        let limits = Limits::default();
        let chain = walk(self.anchor, self.collection, &[&files], &limits)?;
        let whole = Whole::judge(&chain, &files, self.collection, now, &limits)?;
        let seen: Vec<&Submission> = round.seen.iter().chain(&chosen.signed).collect();
        let whole = self.with_target_files(whole, &known, &seen)?;
        let mut history = self.history(round, chosen, &chain, &whole).await?;
        let packed = self.packed(&whole, &mut history)?;
        self.place.push_blobs(&packed).await?;
        let moved = state::resolve_state(self.place, self.collection).await?;
        let digest = |m: &Option<Content>| m.as_ref().map(|m| m.digest().clone());
        if digest(&moved) != digest(&round.manifest) || self.is_late(round) {
            return Ok(());
        }
        // Before the PUT: a crash must not lose the floor.
        self.remember(&chain, &whole)?;
        let tag = self.collection.state_tag();
        let put = self.put_state(&whole, &packed, history, &tag);
        let put = tokio::time::timeout(PUT_TIMEOUT, put).await;
        match put.map_err(|_| timed_out(&self.place.place(), &tag))? {
            // Everything else was taken, and this tag was set once.
            Err(e)
                if moved.is_some() && matches!(e.failure, Failure::Refused { .. } | Failure::Denied(_)) =>
            {
                return Err(WorkError::TagImmutable { place: e.place, tag, failure: e.failure });
            }
            put => put?,
        }
        let trusted = whole.trusted();
        ledger.signed.insert(RoleName::timestamp(), (version, trusted.timestamp().expires()));
        if kept.is_none() {
            ledger.signed.insert(RoleName::snapshot(), (version, trusted.snapshot().expires()));
        }
        ledger.commits += 1;
        ledger.replaced = Some(digest(&round.manifest));
        Ok(())
    }

    async fn snapshot(
        &self,
        round: &Round,
        pins: &BTreeMap<RoleName, FilePin>,
        version: Version,
        now: UnixTime,
    ) -> Result<Bytes, WorkError> {
        let root = round.chain.last().role();
        let heading = self.heading(version, now, lifetime(round.base.trusted().snapshot()));
        let draft = Draft::snapshot(&heading, pins);
        Ok(sign(self.keys, &RoleName::snapshot(), root.snapshot_keys(), &draft).await?)
    }

    async fn timestamp(
        &self,
        round: &Round,
        snapshot: &FilePin,
        version: Version,
        now: UnixTime,
    ) -> Result<Bytes, WorkError> {
        let root = round.chain.last().role();
        let heading = self.heading(version, now, lifetime(round.base.trusted().timestamp()));
        let draft = Draft::timestamp(&heading, snapshot);
        Ok(sign(self.keys, &RoleName::timestamp(), root.timestamp_keys(), &draft).await?)
    }

    /// The next root with the same keys, only when it was asked for.
    async fn renew_root(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &Round,
        files: &mut Files,
        now: UnixTime,
    ) -> Result<(), WorkError> {
        let (role, last) = (RoleName::root(), round.chain.last());
        if !job.forced.contains(&role) || ledger.commits > 0 {
            return Ok(());
        }
        let bytes = match &ledger.root {
            Some(bytes) => bytes.clone(),
            None => {
                let mut heading = self.heading(last.version().next(), now, lifetime(last));
                if let Some(old) = last.extra() {
                    heading.extra = Extra { at: now, ..old.clone() };
                }
                let draft = Draft::next_of(last, &heading);
                sign(self.keys, &role, last.role().root_keys(), &draft).await?
            }
        };
        ledger.signed.insert(role.clone(), (last.version().next(), now.plus(lifetime(last))));
        ledger.root = Some(bytes.clone());
        files.put(FileName::versioned(role, last.version().next()), bytes);
        Ok(())
    }

    fn heading(&self, version: Version, now: UnixTime, life: i64) -> Heading {
        let extra = Extra::new(self.collection.to_string(), now);
        Heading { version, expires: now.plus(life), extra }
    }

    /// The state with the target files of the whole collection that it lists: revocations, layouts, public keys.
    fn with_target_files(
        &self,
        mut whole: Whole,
        known: &[&Whole],
        seen: &[&Submission],
    ) -> Result<Whole, WorkError> {
        for (role, path, target) in whole.own_targets(self.collection)? {
            let sources = known.iter().map(|w| w.files()).chain(seen.iter().map(|s| &s.files));
            let bytes = sources.filter_map(|f| f.target(&path)).find(|b| target.check(b).is_ok()).cloned();
            let bytes = bytes.ok_or_else(|| WorkError::TargetFile { role, path: path.clone() })?;
            whole = whole.with_target(path, bytes);
        }
        Ok(whole)
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
            installed,
            settled,
        })
    }
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

fn snapshot_due(whole: &Whole) -> UnixTime {
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
