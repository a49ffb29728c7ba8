//! Sources of TUF metadata under one anchor: the walk over the roots that all of them offer, and the judging of each.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::bundle;
use super::cnab::Whole;
use super::report::Evidence;
use crate::oci::Digest;
use crate::time::UnixTime;
use crate::tuf::{
    Ancestor, CollectionName, Expiry, Fault, Files, Floor, Found, Hash, Limits, Listing, Metadata, Recall,
    Recalled, Refresh, Remembered, RoleName, Root, RootChain, RootStep, RootWalk, Top, Trusted, TufError,
    Version, beyond,
};

/// A source that verified under the final root. Whether it is expired is for the caller to judge.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) trusted: Trusted,
    pub(super) files: Files,
    pub(super) evidence: Evidence,
}

/// Under what everything of one source is judged.
#[derive(Debug, Clone)]
pub(super) struct Court<'a> {
    pub(super) collection: &'a CollectionName,
    /// The role from which bundles are searched for.
    pub(super) role: &'a RoleName,
    /// The role that stands in the place of top-level targets, if one does.
    pub(super) top: Option<&'a Top>,
    /// The target paths of the bundle that will be asked for: roles on their way must verify.
    pub(super) paths: &'a [String],
    /// The manifests that the bundle lists, where it is an index.
    pub(super) parts: &'a [Digest],
    /// Of a CNAB bundle that is whole: what may be listed of it.
    pub(super) inside: Option<&'a Whole>,
    /// Ids of advisories that were acknowledged here.
    pub(super) acknowledged: &'a BTreeSet<String>,
    pub(super) now: UnixTime,
    pub(super) limits: &'a Limits,
}

/// What the memory holds against every source.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// None when nothing is remembered, or the keys of timestamp or snapshot changed since.
    floor: Option<Floor>,
    /// Whether the role at the top delegated the revocations: it must not stop doing so.
    revocations: bool,
    /// The state of the source's own chain, while its floor holds.
    state: Option<Recalled>,
    /// What is known to be revoked: the states that say so, each under the root it was verified under.
    pub(super) said: Vec<Candidate>,
}

/// Who offers roots.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) memory: Option<&'a Files>,
    pub(super) sources: &'a [&'a Files],
}

/// A walk from an anchor's root.
#[derive(Debug)]
pub(super) struct Walked {
    /// How far it came.
    pub(super) chain: RootChain,
    /// Why it went no further, where that is not for want of roots.
    pub(super) failure: Option<TufError>,
    /// What it was offered, by version: the same offer leads here again.
    offered: Vec<(Version, Vec<Bytes>)>,
}

impl Offer<'_> {
    /// The remembered root of a version, or all that sources offer: what was accepted once is settled, and keys that were
    /// rotated out have no say any more.
    fn of(&self, version: Version) -> Vec<Bytes> {
        match self.memory.and_then(|m| m.root(version)) {
            Some(remembered) => vec![remembered.clone()],
            None => {
                let all: BTreeSet<&Bytes> = self.sources.iter().filter_map(|s| s.root(version)).collect();
                all.into_iter().cloned().collect()
            }
        }
    }
}

impl Walked {
    /// Whether a walk from the same root over this offer would be the same.
    pub(super) fn is_of(&self, offer: &Offer<'_>) -> bool {
        self.offered.iter().all(|(version, offered)| offer.of(*version) == *offered)
    }
}

/// Walk from the anchor's root over what is offered. What was accepted before a failure is kept.
pub(super) fn walk(
    anchor: &Bytes,
    offer: &Offer<'_>,
    collection: &CollectionName,
    limits: &Limits,
) -> Result<Walked, TufError> {
    let mut walk = RootWalk::start(anchor, Some(&collection.to_string()), limits)?;
    let mut offered = Vec::new();
    let failure = loop {
        match walk.step() {
            RootStep::Need { version, .. } => {
                let files = offer.of(version);
                offered.push((version, files.clone()));
                if let Err(e) = walk.feed(files) {
                    break Some(e);
                }
            }
            RootStep::Save(..) => walk.saved(),
            RootStep::Done => break None,
        }
    };
    Ok(Walked { chain: walk.finish(), failure, offered })
}

impl Court<'_> {
    /// Judge one source: no root past the final one, top-level metadata, and every role on the way of the paths.
    pub(super) fn judge(
        &self,
        chain: &RootChain,
        files: &Files,
        held: Option<&Held>,
        evidence: Evidence,
    ) -> Result<Candidate, TufError> {
        self.no_root_beyond(chain, files)?;
        let trusted = self.top_level(chain.last(), files, held.and_then(|h| h.floor.clone()))?;
        let revocations = RoleName::revocations();
        if held.is_some_and(|h| h.revocations) && trusted.targets().role().delegation(&revocations).is_none()
        {
            return Err(TufError::new(&RoleName::targets(), Fault::Dropped(revocations)));
        }
        self.on_the_way(&trusted, files)?;
        if evidence == Evidence::Seal {
            self.carries_list(&trusted, files)?;
        }
        Ok(Candidate { trusted, files: files.clone(), evidence })
    }

    /// The memory as a candidate, with what `seals` supply of the files that it pins: hashes decide.
    pub(super) fn remembered(
        &self,
        chain: &RootChain,
        memory: &Remembered,
        seals: &[&Files],
    ) -> Result<Candidate, TufError> {
        let trusted = self.top_level(chain.last(), &memory.files, None)?;
        let mut files = Remembered::pinned(&trusted, &memory.files);
        for seal in seals {
            files.add_missing(&Remembered::pinned(&trusted, seal));
        }
        self.judge(chain, &files, None, Evidence::Memory)
    }

    /// What is remembered holds against every source: its floor under the final root, and what it says to be revoked. Of `others`,
    /// chains of the name to which no walk leads, those count that may be the same but for roots that are not at hand, where the
    /// same keys sign timestamp and snapshot: whoever keeps back roots must not make two chains of one.
    ///
    /// # Errors
    /// A state is remembered, and is damaged.
    pub(super) fn held(
        &self,
        chain: &RootChain,
        memory: Option<&Remembered>,
        others: &[Remembered],
    ) -> Result<Held, TufError> {
        let recall = |m: &Remembered| Recall::of(Some(m), self.collection, self.now, self.limits).state();
        let final_root = chain.last().role();
        let mut held = Held::default();
        if let Some(state) = memory.map(recall).transpose()?.flatten() {
            held.floor = state.floor(final_root);
            let said = self.said(&state);
            let delegates =
                |c: &Candidate| c.trusted.targets().role().delegation(&RoleName::revocations()).is_some();
            held.revocations = held.floor.is_some() && said.as_ref().is_some_and(delegates);
            held.said.extend(said);
            held.state = Some(state).filter(|_| held.floor.is_some());
        }
        let anchor = chain.roots()[0].bytes();
        for (state, floor) in beyond(others, anchor, final_root, self.collection, self.now, self.limits)? {
            held.said.extend(self.said(&state));
            match &mut held.floor {
                Some(own) => own.raise(&floor),
                None => held.floor = Some(floor),
            }
        }
        Ok(held)
    }

    /// A remembered state as what says what is revoked. Whoever goes by another role than top-level targets may not have that
    /// role's file there.
    fn said(&self, state: &Recalled) -> Option<Candidate> {
        let trusted = match self.top {
            None => state.trusted().clone(),
            Some(_) => self.top_level(state.trusted().root(), state.files(), None).ok()?,
        };
        Some(Candidate { trusted, files: state.files().clone(), evidence: Evidence::Memory })
    }

    /// Whether a state says itself what is revoked, or its role at the top has nobody say it.
    pub(super) fn says_what_is_revoked(&self, state: &Candidate) -> bool {
        match Listing::of(&state.trusted, &state.files, self.collection) {
            Listing::Undelegated => true,
            list => list.readable(bundle::understood).is_some(),
        }
    }

    /// Whether anything on the way is expired.
    pub(super) fn is_expired(&self, candidate: &Candidate) -> Result<bool, TufError> {
        let t = &candidate.trusted;
        let roles = self.on_the_way(t, &candidate.files)?;
        Ok(t.expiries().iter().any(|(_, at)| *at <= self.now) || roles.iter().any(|at| *at <= self.now))
    }

    /// Search for a path of the bundle, from the role that was asked for on.
    pub(super) fn find(&self, path: &str, candidate: &Candidate) -> Result<Found, TufError> {
        candidate.trusted.find_from(self.role, path, &candidate.files)
    }

    /// Whether what is to be remembered holds as a whole by what the collection itself says, whoever stands at the top here: what
    /// one source did not look at is the floor of all others.
    pub(super) fn is_whole(&self, chain: &RootChain, new: &Remembered, before: Option<&Remembered>) -> bool {
        let targets = RoleName::targets();
        let plain = Court { top: None, role: &targets, ..self.clone() };
        let Ok(held) = plain.held(chain, before, &[]) else { return false };
        // A seal's rules: the revocation list must lie there.
        plain.judge(chain, &new.files, Some(&held), Evidence::Seal).is_ok()
    }

    /// Expiry of every role on the way of the paths.
    fn on_the_way(&self, trusted: &Trusted, files: &Files) -> Result<Vec<UnixTime>, TufError> {
        let mut expiries = Vec::new();
        for path in self.paths {
            let found = trusted.find_from(self.role, path, files)?;
            expiries.extend(found.loaded.values().map(|role| role.expires()));
        }
        // Revocations hang at the top, wherever the bundle is searched for.
        let found = trusted.find(&self.collection.revocations_path(), files)?;
        expiries.extend(found.loaded.values().map(|role| role.expires()));
        Ok(expiries)
    }

    /// Whether a state of the remembered timestamp version has other bytes, and does not descend from the remembered one in every
    /// role that it pins.
    pub(super) fn forked(&self, new: &Candidate, held: &Held) -> Result<bool, TufError> {
        let Some(old) = &held.state else { return Ok(false) };
        let (a, b) = (new.trusted.timestamp(), old.trusted().timestamp());
        if a.version() != b.version() || a.bytes() == b.bytes() {
            return Ok(false);
        }
        for (role, pin) in old.trusted().snapshot().role().pins() {
            if new.trusted.pin(role) == Some(pin) {
                continue;
            }
            let file = match new.trusted.targets().role().delegation(role) {
                _ if role == new.trusted.top() => Some(new.trusted.targets().clone()),
                Some(delegation) => new.trusted.load(delegation, &new.files)?,
                None => None,
            };
            // What the remembered snapshot pins is known, also of a file that was never shown here.
            let before = pin.hashes.get(&Hash::Sha256).map(|hash| Ancestor(pin.version, hash.clone()));
            if !matches!((file, before), (Some(file), Some(before)) if file.holds(&before)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn top_level(
        &self,
        root: &Metadata<Root>,
        files: &Files,
        floor: Option<Floor>,
    ) -> Result<Trusted, TufError> {
        let collection = self.collection.to_string();
        let refresh =
            Refresh::start(root.clone(), Some(&collection), floor, Expiry::Collect, self.now, self.limits)?;
        Trusted::drive(refresh.with_top(self.top.cloned()), files)
    }

    /// A seal carries the revocation list that it pins, or it is none: anybody could hang up one without.
    pub(super) fn carries_list(&self, trusted: &Trusted, files: &Files) -> Result<(), TufError> {
        let (role, path) = (RoleName::revocations(), self.collection.revocations_path());
        let Some(delegation) = trusted.targets().role().delegation(&role) else { return Ok(()) };
        let Some(file) = trusted.load(delegation, files)? else { return Ok(()) };
        let Some(target) = file.role().targets().get(&path) else { return Ok(()) };
        let bytes = files.target(&path);
        let bytes = bytes
            .ok_or_else(|| TufError::new(&role, Fault::Format(format!("the file {path} is missing"))))?;
        target.check(bytes).map_err(|fault| TufError::new(&role, fault))
    }

    /// A source with a newer root that is not in the chain does not belong under this root: either a root between was
    /// stripped, or the newer one does not verify.
    fn no_root_beyond(&self, chain: &RootChain, files: &Files) -> Result<(), TufError> {
        let next = chain.last().version().next();
        if files.newest_root().is_none_or(|v| v < next) {
            return Ok(());
        }
        let gap = TufError::new(&RoleName::root(), Fault::RootGap(next));
        let Some(offered) = files.root(next) else { return Err(gap) };
        // What is wrong with this one; other sources may have offered others.
        let mut again =
            RootWalk::start(chain.last().bytes(), Some(&self.collection.to_string()), self.limits)?;
        again.feed(vec![offered.clone()])?;
        Err(again.finish().skipped().first().cloned().unwrap_or(gap))
    }
}
