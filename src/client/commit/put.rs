//! The next state: snapshot and timestamp signed, the whole verified from the root, and PUT.

use super::candidate::{Gathered, Gathering, Wanted, floors};
use super::online::OnlineLives;
use super::round::{Chosen, Round, lifetime, rises, snapshot_due};
use super::{Committer, Cosign, Job, Ledger, PUT_TIMEOUT, WorkError, timed_out};
use crate::client::signing::sign;
use crate::client::state;
use crate::client::submission::Submission;
use crate::client::whole::{Whole, walk};
use crate::oci::Content;
use crate::store::{Failure, Store as _};
use crate::time::UnixTime;
use crate::tuf::proposal::{Base, Proposal};
use crate::tuf::{
    Draft, Extra, FileName, FilePin, Files, Heading, Limits, Metadata, RoleName, Version, lineage,
};

/// What came of a commit.
pub(super) enum Ended {
    /// It was PUT, or the state has moved: another round follows.
    Again,
    /// More keys must sign snapshot and timestamp; and the same as a proposal, where it travels.
    Waiting(Gathering, Option<Box<(Proposal, Base)>>),
    /// Nothing was due, and nobody has begun.
    Nothing,
}

impl Committer<'_> {
    /// Sign snapshot and timestamp, verify the whole from the root, look once more, remember, PUT. Where nothing is `due`, only what
    /// others have begun is signed.
    pub(super) async fn commit(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &Round,
        chosen: &Chosen,
        below: bool,
        due: bool,
    ) -> Result<Ended, WorkError> {
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
        let floors = floors(known.iter().map(|w| w.trusted()), root, now);
        let version = lineage::next_online_version(floors.iter().copied(), now);
        if let Some(last) = floors.iter().copied().max().filter(|last| *last >= version) {
            // Whoever stole the online key has driven it up. Other bytes of the same version are taken by nobody.
            return Err(WorkError::Exhausted { role: RoleName::timestamp(), version: last });
        }
        // Whoever holds the keys of both signs both: where a state that was served was overwritten by one that had been signed before,
        // a kept snapshot would stay below what deployers saw.
        let kept = round.live.as_ref().filter(|_| !self.is_online(root)).filter(|live| {
            let old = snapshot_due(live) <= now || job.forced.contains(&RoleName::snapshot());
            let again = below || (old && ledger.commits == 0);
            let signed = live.trusted().snapshot().count(root.snapshot_keys()).is_met();
            !again && signed && *live.trusted().snapshot().role().pins() == pins
        });
        let lives = OnlineLives::of(job.lives, round.base.trusted(), root);
        let mut kept = kept.map(|live| live.trusted().snapshot());
        let (snapshot, timestamp, version) = if self.is_online(root) {
            let heading = |life| self.heading(version, now, life);
            let draft = Draft::snapshot(&heading(lives.snapshot), &pins);
            let snapshot = sign(self.keys, &RoleName::snapshot(), root.snapshot_keys(), &draft).await?;
            let draft = Draft::timestamp(&heading(lives.timestamp), &FilePin::of(version, &snapshot));
            let timestamp = sign(self.keys, &RoleName::timestamp(), root.timestamp_keys(), &draft).await?;
            (Some(snapshot), timestamp, version)
        } else {
            let wanted = Wanted {
                collection: self.collection,
                lives,
                pins: &pins,
                kept: kept.map(|live| FilePin::of(live.version(), live.bytes())),
                version,
                floors: &floors,
                now,
            };
            let returned = match job.cosign {
                Cosign::Returned(files) if ledger.commits == 0 => Some(files),
                _ => None,
            };
            match self.gather(round, &wanted, returned, due).await? {
                Gathered::Complete { snapshot, timestamp, version } => (snapshot, timestamp, version),
                Gathered::Waiting(gathering, candidate) => {
                    let travels = matches!(job.cosign, Cosign::Travels);
                    let travels = travels.then(|| self.next_state(round, chosen, &candidate, now));
                    return Ok(Ended::Waiting(gathering, travels.transpose()?.map(Box::new)));
                }
                Gathered::Nothing => return Ok(Ended::Nothing),
            }
        };
        // Somebody signed it again although it could be kept.
        kept = kept.filter(|_| snapshot.is_none());
        let snapshot_version = kept.map_or(version, Metadata::version);
        let snapshot = snapshot.or_else(|| kept.map(|live| live.bytes().clone())).unwrap_or_default();
        files.put(FileName::versioned(RoleName::snapshot(), snapshot_version), snapshot);
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
            return Ok(Ended::Again);
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
        if !self.is_online(root) {
            self.drop_candidates(version).await;
        }
        Ok(Ended::Again)
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
}
