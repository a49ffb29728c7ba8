//! Finished files of several roles, or of a root: judged together on what is published, and put in as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::joined::newest;
use super::round::{Round, lifetime};
use super::{Committer, Job, Ledger, Reason, WorkError};
use crate::client::signing::{can_sign, require};
use crate::client::submission::{Fetched, MAX_VERSION, Submission, SubmissionTag, pack_group, terms};
use crate::sig::json;
use crate::tuf::lineage::{self, RoleFile, Verdict, View, genesis};
use crate::tuf::proposal::{Base, Group, RoleAt, install};
use crate::tuf::{FileName, Files, Limits, Metadata, RoleName, Targets, TufError, Unverified, Version};

/// How a group stands to what is published.
pub(super) enum Stand {
    /// Nothing of it is missing.
    In,
    /// It follows; what the round is with it.
    Follows(Box<Round>),
    /// It does not.
    Not(Refused),
}

/// Why a group does not follow.
pub(super) struct Refused {
    role: RoleName,
    version: Version,
    pub(super) reason: Reason,
}

impl Committer<'_> {
    /// Put in what the job installs, and what others have submitted of that kind, as far as it follows from what is published.
    pub(super) fn admit(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        round: &mut Round,
    ) -> Result<(), WorkError> {
        let own = job.install.map(|g| SubmissionTag::of_group(g).map(|tag| (tag, g.clone()))).transpose()?;
        let mut others: BTreeMap<SubmissionTag, Group> = BTreeMap::new();
        for tag in round.listed.iter().filter(|tag| own.as_ref().is_none_or(|(own, _)| own != *tag)) {
            if let Some(Fetched::Group(group)) = ledger.fetched.get(tag) {
                others.insert(tag.clone(), (**group).clone());
            }
        }
        // A file that delegates otherwise than the live one changes who may sign what, though it stands alone.
        let mut alone = Vec::new();
        for s in std::mem::take(&mut round.seen) {
            if delegates_anew(round, &s)? { alone.push(s) } else { round.seen.push(s) }
        }
        for s in &alone {
            let roles = BTreeMap::from([(s.role.clone(), s.file.bytes().clone())]);
            let group = Group { root: None, roles, files: s.files.targets().clone() };
            others.entry(s.tag.clone()).or_insert(group);
        }
        ledger.settled.clear();
        self.sift_all(ledger, round)?;
        if let Some((tag, group)) = &own {
            self.first_come(tag, group, &others, round)?;
            self.admit_own(job, tag, group, ledger, round)?;
        }
        for (tag, group) in
            others.into_iter().filter(|(tag, _)| own.as_ref().is_none_or(|(own, _)| own != tag))
        {
            match self.stand(&tag, &group, ledger, round)? {
                Stand::In => drop(ledger.settled.insert(tag)),
                Stand::Follows(with) if self.may_commit(job, with.chain.last().role()) => *round = *with,
                Stand::Follows(_) => drop(ledger.refused.insert(tag, Reason::Online)),
                Stand::Not(refused) => drop(ledger.refused.insert(tag, refused.reason)),
            }
        }
        // Two changed one delegation: which of them holds is for their signers to say, and what else they signed is not lost for it.
        alone.retain(|s| ledger.refused.get(&s.tag) == Some(&Reason::Stale));
        let held = |s: &Submission| Submission { lineage: s.lineage.held(), ..s.clone() };
        self.sift(ledger, round, alone.iter().map(held).collect())?;
        for s in alone {
            ledger.refused.insert(s.tag, Reason::Stale);
        }
        ledger.settled_first.get_or_insert_with(|| ledger.settled.clone());
        Ok(())
    }

    fn admit_own(
        &self,
        job: &Job<'_>,
        tag: &SubmissionTag,
        group: &Group,
        ledger: &mut Ledger,
        round: &mut Round,
    ) -> Result<(), WorkError> {
        let mut stand = self.stand(tag, group, ledger, round)?;
        if matches!(&stand, Stand::Not(Refused { reason: Reason::Invalid(_), .. })) {
            // Perhaps it is what others have submitted that does not go with it.
            let mut alone = round.clone();
            let mine = |s: &Submission| ledger.mine.contains_key(s.lineage.hash());
            let (kept, others) = std::mem::take(&mut alone.seen).into_iter().partition(mine);
            alone.seen = kept;
            if let Stand::Follows(mut with) = self.stand(tag, group, ledger, &alone)? {
                self.sift(ledger, &mut with, others)?;
                stand = Stand::Follows(with);
            }
        }
        match stand {
            Stand::In => drop(ledger.settled.insert(tag.clone())),
            Stand::Follows(with) => {
                if self.may_commit(job, with.chain.last().role()) {
                    *round = *with;
                } else {
                    ledger.refused.insert(tag.clone(), Reason::Online);
                }
                if !round.listed.contains(tag) && !ledger.submitted.contains(tag) {
                    round.submit = Some((tag.clone(), pack_group(group)?));
                }
            }
            Stand::Not(Refused { role, version, reason }) => {
                let published = match round.roles.get(&role) {
                    Some(at) => at.file.version(),
                    None => round.settled_root,
                };
                return Err(match reason {
                    Reason::Invalid(why) => TufError::new(&role, crate::tuf::Fault::Format(why)).into(),
                    Reason::Keys(role) => match round.keys(&role) {
                        Some(keys) => match require(self.keys, &role, keys) {
                            Err(e) => e.into(),
                            Ok(()) => WorkError::StaleBase { role, proposed: version, published },
                        },
                        None => WorkError::StaleBase { role, proposed: version, published },
                    },
                    _ => WorkError::StaleBase { role, proposed: version, published },
                });
            }
        }
        Ok(())
    }

    /// Two roots of one version can both be signed by enough. Everybody submits before the first PUT, and the one whose tag
    /// sorts first goes first.
    fn first_come(
        &self,
        own: &SubmissionTag,
        group: &Group,
        others: &BTreeMap<SubmissionTag, Group>,
        round: &Round,
    ) -> Result<(), WorkError> {
        let root = RoleName::root();
        if group.root.is_none() || own.version() <= round.settled_root {
            return Ok(());
        }
        let name = self.collection.to_string();
        let rival = others.iter().any(|(tag, other)| {
            let valid = |bytes: &Bytes| round.chain.extended(bytes, Some(&name), &Limits::default());
            let same = || signed_part(other.root.as_ref()) == signed_part(group.root.as_ref());
            tag.is_of(&root)
                && tag.version() == own.version()
                && tag < own
                && !same()
                && other.root.as_ref().is_some_and(|bytes| valid(bytes).is_ok())
        });
        if rival { Err(WorkError::AnotherRoot(own.version())) } else { Ok(()) }
    }

    /// How a group stands to what is published, as of this round.
    pub(super) fn stand(
        &self,
        tag: &SubmissionTag,
        group: &Group,
        ledger: &mut Ledger,
        round: &Round,
    ) -> Result<Stand, WorkError> {
        let now = self.clock.now();
        let not = |role: &RoleName, version: Version, reason: Reason| {
            Ok(Stand::Not(Refused { role: role.clone(), version, reason }))
        };
        let (root, name, limits) = (RoleName::root(), self.collection.to_string(), Limits::default());
        let mut with = round.clone();
        if let Some(bytes) = &group.root {
            let version = group.versions()?.get(&root).copied().unwrap_or(Version::ONE);
            match with.chain.get(version) {
                Some(there) if Some(there.signed()) == signed_part(Some(bytes)).as_ref() => {}
                Some(_) => return not(&root, version, Reason::Stale),
                None if version > with.chain.last().version().next() => {
                    return not(&root, version, Reason::Ahead);
                }
                None if version <= with.chain.last().version() => return not(&root, version, Reason::Stale),
                None => match with.chain.extended(bytes, Some(&name), &limits) {
                    Ok(chain) if chain.last().is_expired(now) => {
                        let why = format!("expired since {}", chain.last().expires());
                        return not(&root, version, Reason::Invalid(why));
                    }
                    Ok(chain) => with.chain = chain,
                    // It may be of the same version as another one that came first.
                    Err(e) => return not(&root, version, Reason::Invalid(e.to_string())),
                },
            }
        }
        let (pins, listed) = round.listed_files();
        let mut rest = Group { root: None, roles: BTreeMap::new(), files: group.files.clone() };
        let mut forked = BTreeSet::new();
        for (role, bytes) in &group.roles {
            let file = unchecked(role, bytes)?;
            let lineage = match RoleFile::of(&file) {
                Ok(lineage) => lineage,
                Err(fault) => return not(role, file.version(), Reason::Invalid(fault.to_string())),
            };
            // A submission's tag has ten digits; and what is near the end leaves no room for who comes after.
            if file.version() > MAX_VERSION {
                let why = format!("a version above {MAX_VERSION}");
                return not(role, file.version(), Reason::Invalid(why));
            }
            let standing = match with.roles.get(role) {
                Some(at) => {
                    let view = view(role, &at.file)?;
                    let here = view.holds(lineage.hash()) || says_as_much(at, &file);
                    Some((lineage::classify(&view, &lineage), here))
                }
                None => None,
            };
            let verdict = match (standing, pins.get(role)) {
                (Some((standing, true)), _) if standing.verdict == Verdict::AlreadyIn => continue,
                // What it lists is there, and what else it says (its expiry perhaps) is not.
                (Some((standing, false)), _) if standing.verdict == Verdict::AlreadyIn => Verdict::Stale,
                // Both changed one delegation: nobody but a signer of the role says which change holds.
                (Some((standing, _)), _) if standing.conflict => Verdict::Stale,
                (Some((standing, _)), _) => standing.verdict,
                // It was delegated to before: what the snapshot lists of it stays the floor.
                (None, Some(pin)) if file.version() < pin.version => Verdict::Stale,
                (None, Some(pin)) if file.version() == pin.version => {
                    let name = FileName::versioned(role.clone(), pin.version);
                    if listed.get(&name) == Some(bytes) { Verdict::FastForward } else { Verdict::Stale }
                }
                (None, _) => Verdict::FastForward,
            };
            match verdict {
                Verdict::AlreadyIn => continue,
                Verdict::Stale => return not(role, file.version(), Reason::Stale),
                Verdict::Ahead => return not(role, file.version(), Reason::Ahead),
                Verdict::Fork => drop(forked.insert(role.clone())),
                Verdict::FastForward => {}
            }
            let seat = with.roles.get(role).map(RoleAt::seat).or_else(|| with.vacant.get(role).cloned());
            if let Some(Err(why)) = seat.map(|seat| terms::admits(self.collection, role, &seat, &file, now)) {
                return not(role, file.version(), Reason::Invalid(why));
            }
            if file.is_expired(now) {
                let why = format!("expired since {}", file.expires());
                return not(role, file.version(), Reason::Invalid(why));
            }
            rest.roles.insert(role.clone(), bytes.clone());
        }
        if rest.roles.is_empty() && with.chain.last().version() == round.chain.last().version() {
            return Ok(Stand::In);
        }
        let top = tag.version();
        let base = Base::new(self.collection.clone(), with.chain.last().clone(), with.roles.clone());
        let installed = match install(&base, with.chain.last(), &rest) {
            Ok(installed) => installed,
            Err(e) => return not(&e.role, top, Reason::Invalid(e.to_string())),
        };
        let old = std::mem::replace(&mut with.roles, installed.roles);
        with.vacant = installed.vacant;
        // Under the terms that then hold, too: a delegate can no more escape them beside other files than alone.
        for role in rest.roles.keys() {
            let Some(at) = with.roles.get(role) else { continue };
            if let Err(why) = terms::admits(self.collection, role, &at.seat(), &at.file, now) {
                return not(role, at.file.version(), Reason::Invalid(why));
            }
        }
        let mut rotated = Vec::new();
        with.seen.retain(|s| {
            let Some(at) = with.roles.get(&s.role) else { return true };
            let stands = s.file.count(&at.keys).is_met() || can_sign(self.keys, &at.keys);
            if !stands {
                rotated.push(s.tag.clone());
            }
            stands
        });
        let mut files = Files::new();
        group.files.iter().for_each(|(path, bytes)| files.put_target(path.clone(), bytes.clone()));
        let mut theirs = BTreeMap::new();
        for role in rest.roles.keys() {
            let Some(at) = with.roles.get(role) else { continue };
            let lineage = RoleFile::of(&at.file).map_err(|fault| TufError::new(role, fault))?;
            theirs.insert(role.clone(), (lineage.hash().to_owned(), at.file.version()));
            let (file, files, role) = (at.file.clone(), files.clone(), role.clone());
            with.seen.push(Submission { tag: tag.clone(), role, file, lineage, files });
        }
        if let Err(refused) = self.place_joined(&mut with, &old, &forked)? {
            return Ok(Stand::Not(refused));
        }
        for (role, at) in &with.roles {
            // Where nothing is live, what was placed before counts, not the group's own file.
            let before = old.get(role).cloned();
            let at = RoleAt { file: before.map_or_else(|| at.file.clone(), |b| b.file), ..at.clone() };
            let joined = self.joined(&with, role, &at)?;
            if let Some((hash, version)) = theirs.get(role)
                && joined.folded.verdicts.get(hash) != Some(&Verdict::AlreadyIn)
            {
                return not(role, *version, Reason::Stale);
            }
            let files = [joined.live].into_iter().chain(joined.remembered);
            let files = files.chain(joined.submissions.iter().map(|s| &s.file));
            let signed = joined.folded.view.file().is_some()
                && newest(&joined.folded, files).is_some_and(|f| f.count(&at.keys).is_met());
            if !signed && !joined.may_sign {
                return not(role, top, Reason::Keys(role.clone()));
            }
        }
        if let Some(why) = self.trial(&with)? {
            let role = group.order().into_iter().next().unwrap_or(root);
            return not(&role, top, Reason::Invalid(why));
        }
        for tag in rotated {
            ledger.refused.insert(tag, Reason::Rotated);
        }
        Ok(Stand::Follows(Box::new(with)))
    }

    /// Roles whose file of a group stands beside the live one: who may sign what is then what the join of both says.
    fn place_joined(
        &self,
        with: &mut Round,
        old: &BTreeMap<RoleName, RoleAt>,
        forked: &BTreeSet<RoleName>,
    ) -> Result<Result<(), Refused>, WorkError> {
        let mut drafts = BTreeMap::new();
        for role in forked {
            let (Some(at), Some(before)) = (with.roles.get(role), old.get(role)) else { continue };
            let at = RoleAt { file: before.file.clone(), ..at.clone() };
            let joined = self.joined(with, role, &at)?;
            if !joined.may_sign {
                let version = before.file.version();
                return Ok(Err(Refused { role: role.clone(), version, reason: Reason::Fork }));
            }
            if let Some(draft) = self.draft(role, &joined)? {
                drafts.insert(role.clone(), draft);
            }
        }
        if drafts.is_empty() {
            return Ok(Ok(()));
        }
        let mut roles = old.clone();
        roles.extend(with.roles.iter().map(|(role, at)| (role.clone(), at.clone())));
        for (role, draft) in drafts {
            if let Some(at) = roles.get_mut(&role) {
                at.file = Arc::new(draft);
            }
        }
        let root = with.chain.last();
        let base = Base::new(self.collection.clone(), root.clone(), roles);
        match install(&base, root, &Group::default()) {
            Ok(placed) => {
                with.roles = placed.roles;
                with.vacant = placed.vacant;
                Ok(Ok(()))
            }
            Err(e) => {
                let version = old.get(&e.role).map_or(Version::ONE, |at| at.file.version());
                let reason = Reason::Invalid(e.to_string());
                Ok(Err(Refused { role: e.role.clone(), version, reason }))
            }
        }
    }

    /// Give files to roles that are delegated to and have none: what the first one descends from, so that nobody's is lost where
    /// two sign it at once.
    pub(super) fn settle_vacant(&self, ledger: &mut Ledger, round: &mut Round) -> Result<(), WorkError> {
        let name = self.collection.to_string();
        for (role, seat) in std::mem::take(&mut round.vacant) {
            // Where the role was delegated to before, its old file is still listed, and versions must not fall.
            let listed = round.live.iter().chain(&round.memory);
            let floor = listed.filter_map(|w| w.trusted().pin(&role)).map(|pin| pin.version).max();
            let start = genesis(&name, &role)?;
            let its = |s: &Submission| s.role == role;
            let (theirs, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut round.seen).into_iter().partition(its);
            round.seen = rest;
            let mut first: Vec<Submission> =
                theirs.iter().filter(|s| floor.is_none_or(|f| s.file.version() > f)).cloned().collect();
            first.sort_by_key(|s| (s.file.version(), s.lineage.hash().to_owned()));
            // A first file that was made by other means has no ancestor, and stands where no other one does.
            if floor.is_none() && first.iter().any(|s| s.file.holds(&start.as_ancestor())) {
                first.clear();
            }
            let mut placed = None;
            for s in first {
                let mut with = round.clone();
                with.roles.insert(role.clone(), seat.clone().with(s.file.clone()));
                with.seen.push(s.clone());
                match self.trial(&with)? {
                    None => {
                        placed = Some(s.file.clone());
                        break;
                    }
                    Some(why) => drop(ledger.refused.insert(s.tag.clone(), Reason::Invalid(why))),
                }
            }
            let file = match placed {
                Some(file) => file,
                None if floor.is_some() => continue,
                None => Arc::new(start),
            };
            round.roles.insert(role, seat.with(file));
            self.sift(ledger, round, theirs)?;
        }
        Ok(())
    }
}

/// Whether a submission changes to whom its role delegates, so that it is judged as a group is.
fn delegates_anew(round: &Round, s: &Submission) -> Result<bool, TufError> {
    match round.roles.get(&s.role) {
        Some(at) if s.file.signed().get("delegations") != at.file.signed().get("delegations") => {
            Ok(lineage::delegates_anew(&view(&s.role, &at.file)?, &s.lineage))
        }
        _ => Ok(false),
    }
}

/// Whether the file there, which lists all that `file` does, also says whatever else it says, as how long it is valid: of a delegate's
/// its terms decide that.
fn says_as_much(at: &RoleAt, file: &Metadata<Targets>) -> bool {
    let joined = ["targets", "delegations", "x-bulla", "version", "expires"];
    let rest = |file: &Metadata<Targets>| {
        let mut signed = file.signed().as_object().cloned().unwrap_or_default();
        joined.iter().for_each(|name| drop(signed.remove(*name)));
        signed
    };
    (at.terms.is_some() || lifetime(&at.file) == lifetime(file)) && rest(&at.file) == rest(file)
}

fn view(role: &RoleName, file: &Metadata<Targets>) -> Result<View, TufError> {
    RoleFile::of(file).map(|f| View::of(&f)).map_err(|fault| TufError::new(role, fault))
}

/// A file for its content alone: nobody's signature is asked for.
pub(super) fn unchecked(role: &RoleName, bytes: &Bytes) -> Result<Metadata<Targets>, TufError> {
    Unverified::<Targets>::parse(role, bytes, &Limits::default())?.verify(role, &[])
}

pub(super) fn signed_part(file: Option<&Bytes>) -> Option<serde_json::Value> {
    json::parse(file?).ok()?.get("signed").cloned()
}
