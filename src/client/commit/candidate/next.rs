//! A candidate on its way to a machine without network: the next snapshot and timestamp as a proposal, which carries what is
//! published and the finished role files that are new. Whoever signs judges all of it by the own anchor and memory.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::online::OnlineLives;
use super::super::round::{Chosen, Round, rises};
use super::super::{AS_BEFORE, Committer};
use super::terms::{Amiss, Candidate, Theirs, Wanted, floors};
use crate::client::submission::Submission;
use crate::client::whole::{Whole, is_own_file};
use crate::time::UnixTime;
use crate::trust::{check_submitted, join_revocations};
use crate::tuf::lineage::{RoleFile, Verdict, View, classify, next_online_version};
use crate::tuf::proposal::{About, Base, EditError, Group, Proposal, install};
use crate::tuf::{
    CollectionName, Draft, FileName, FilePin, Files, Limits, Metadata, RoleName, Root, TufError, Unverified,
};

/// Why nobody should sign a next state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Who may sign does not follow from what comes along.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Snapshot and timestamp themselves.
    #[error("the snapshot and timestamp: {0}")]
    Amiss(#[from] Amiss),
    /// A file beside them that is not finished.
    #[error("{0} is not signed by enough of its keys")]
    Unsigned(RoleName),
    /// A role file that stands beside the published one and not on it.
    #[error("{0} does not descend from the published file: entries could be lost")]
    Descent(RoleName),
    /// A role would have to be signed again.
    #[error("{0} does not verify under the keys that come with it")]
    Rotated(RoleName),
    /// A file of the whole collection.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// What is published does not verify here, or the machine that asks knows more than it.
    #[error("{0}")]
    Published(&'static str),
}

/// The snapshot and timestamp of a proposal, as a candidate has them.
pub fn cosigned(proposal: &Proposal) -> Files {
    let mut files = Files::new();
    let (snapshot, timestamp) = (RoleName::snapshot(), RoleName::timestamp());
    if let Some(draft) = proposal.drafts().get(&timestamp) {
        files.put(FileName::timestamp(), draft.so_far());
    }
    if let Some(draft) = proposal.drafts().get(&snapshot) {
        files.put(FileName::versioned(snapshot, draft.version()), draft.so_far());
    }
    files
}

/// Judge a next state on what is published, which was verified before: every file that comes along is finished, descends from the
/// published one and is allowed there; snapshot and timestamp name exactly these, above every published version, and not for longer.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_next(proposal: &Proposal, published: &Whole, now: UnixTime) -> Result<(), Unfit> {
    let collection = proposal.collection();
    let base = published.base(collection);
    let needed = proposal.signers(&base)?;
    if let Some(n) = needed.iter().find(|n| !proposal.awaits(&n.role) && !n.is_met()) {
        return Err(Unfit::Unsigned(n.role.clone()));
    }
    let group = finished(proposal);
    let root = next_root(&group, published, collection)?;
    let installed = install(&base, &root, &group)?;
    if let Some(role) = installed.unsigned.first() {
        return Err(Unfit::Rotated(role.clone()));
    }
    let mut pins = published.trusted().snapshot().role().pins().clone();
    for role in group.roles.keys() {
        let Some(at) = installed.roles.get(role) else { continue };
        rises(role, &at.file, &pins)?;
        let fault = |fault| TufError::new(role, fault);
        if let Some(old) = published.role(role) {
            let (old, new) = (RoleFile::of(old).map_err(fault)?, RoleFile::of(&at.file).map_err(fault)?);
            let follows = classify(&View::of(&old), &new).verdict == Verdict::FastForward;
            if !follows || new.version() <= old.version() {
                return Err(Unfit::Descent(role.clone()));
            }
        }
        pins.insert(role.clone(), FilePin::of(at.file.version(), at.file.bytes()));
    }
    check_files(proposal, published, &installed.roles.into_iter().map(|(r, at)| (r, at.file)).collect())?;
    let known = std::iter::once(published.trusted());
    let floors = floors(known, root.role(), now);
    let snapshot = published.trusted().snapshot();
    let same = *snapshot.role().pins() == pins && snapshot.count(root.role().snapshot_keys()).is_met();
    let wanted = Wanted {
        collection,
        lives: OnlineLives::of(AS_BEFORE, published.trusted(), root.role()),
        pins: &pins,
        kept: same.then(|| FilePin::of(snapshot.version(), snapshot.bytes())),
        version: next_online_version(floors.iter().copied(), now),
        floors: &floors,
        now,
    };
    let theirs = Theirs::read(&cosigned(proposal)).ok_or(Amiss::Names)?;
    wanted.judged(&theirs)?;
    Ok(())
}

/// The files beside snapshot and timestamp.
fn finished(proposal: &Proposal) -> Group {
    let mut group = Group { files: proposal.files().clone(), ..Group::default() };
    for (role, draft) in proposal.drafts().iter().filter(|(role, _)| !proposal.awaits(role)) {
        match draft.root() {
            Some(_) => group.root = Some(draft.so_far()),
            None => drop(group.roles.insert(role.clone(), draft.so_far())),
        }
    }
    group
}

fn next_root(group: &Group, published: &Whole, collection: &CollectionName) -> Result<Metadata<Root>, Unfit> {
    let (role, old) = (RoleName::root(), published.trusted().root());
    let Some(bytes) = &group.root else { return Ok(old.clone()) };
    let parse = || Unverified::<Root>::parse(&role, bytes, &Limits::default());
    // First under the published root alone: only then may it say who its own signers are.
    let next = parse()?.verify(&role, &[old.role().root_keys()])?;
    let next = parse()?.verify(&role, &[old.role().root_keys(), next.role().root_keys()])?;
    next.check_collection(&role, &collection.to_string())?;
    if next.version() != old.version().next() {
        return Err(Unfit::Tuf(TufError::new(&role, crate::tuf::Fault::RootGap(old.version().next()))));
    }
    Ok(next)
}

/// The files of the whole collection that new role files list come along, and no revocation is dropped.
fn check_files(
    proposal: &Proposal,
    published: &Whole,
    roles: &BTreeMap<RoleName, std::sync::Arc<Metadata<crate::tuf::Targets>>>,
) -> Result<(), Unfit> {
    let collection = proposal.collection();
    for role in proposal.drafts().keys() {
        let Some(file) = roles.get(role) else { continue };
        let own = file.role().targets().iter().filter(|(path, _)| is_own_file(collection, path));
        for (path, target) in own {
            let fail = |why: String| Unfit::File { path: path.clone(), why };
            let sources = [proposal.files().get(path), published.files().target(path)];
            let bytes = sources.into_iter().flatten().find(|b| target.check(b).is_ok());
            let bytes = bytes.ok_or_else(|| fail("it is listed and does not come along".into()))?;
            if *path != collection.revocations_path() {
                continue;
            }
            let old: Vec<&[u8]> = published.files().target(path).map(|b| &b[..]).into_iter().collect();
            if old.first().is_some_and(|old| *old == &bytes[..]) {
                continue;
            }
            check_submitted(bytes, &old).map_err(&fail)?;
            let lists: Vec<&[u8]> = std::iter::once(&bytes[..]).chain(old).collect();
            if join_revocations(&lists, &[]).map_err(&fail)?.is_some() {
                return Err(fail("it drops entries that are published".into()));
            }
        }
    }
    Ok(())
}

impl Committer<'_> {
    /// The candidate as a proposal, with all that it takes to judge it.
    pub(in crate::client::commit) fn next_state(
        &self,
        round: &Round,
        chosen: &Chosen,
        candidate: &Candidate,
        now: UnixTime,
    ) -> Result<(Proposal, Base), Unfit> {
        let live = round.live.as_ref();
        let live =
            live.ok_or(Unfit::Published("what is published does not verify; it is put right first"))?;
        let root = round.chain.last();
        let published = live.trusted().root().version();
        if root.version() > published.next() {
            return Err(Unfit::Published("more than one root is new: the first one is put in first"));
        }
        let mut drafts = BTreeMap::new();
        let mut signatures: Vec<(RoleName, BTreeMap<_, Vec<u8>>)> = Vec::new();
        let mut add = |role: &RoleName, draft: Draft, signed: &BTreeMap<_, Vec<u8>>| {
            drafts.insert(role.clone(), draft);
            signatures.push((role.clone(), signed.clone()));
        };
        if root.version() > published {
            add(&RoleName::root(), Draft::from_signed(root.signed().clone()), root.signatures());
        }
        let new = |(role, file): &(&RoleName, &std::sync::Arc<Metadata<_>>)| {
            live.role(role).is_none_or(|l| l.bytes() != file.bytes())
        };
        for (role, file) in chosen.files.iter().filter(new) {
            add(role, Draft::from_signed(file.signed().clone()), file.signatures());
        }
        let none = BTreeMap::new();
        let signed = |role: &RoleName| candidate.signatures.get(role).unwrap_or(&none);
        if let Some(draft) = &candidate.snapshot {
            add(&RoleName::snapshot(), draft.clone(), signed(&RoleName::snapshot()));
        }
        add(&RoleName::timestamp(), candidate.timestamp.clone(), signed(&RoleName::timestamp()));
        let about = About {
            description: "the next snapshot and timestamp".into(),
            by: String::new(),
            at: candidate.terms.at,
        };
        let seen: Vec<&Submission> = round.seen.iter().chain(&chosen.signed).collect();
        let files = self.files_along(live, chosen, &seen);
        let base = live.base(self.collection);
        let mut proposal = Proposal::of(&base, drafts, files, about).map_err(|e| match e {
            EditError::Tuf(e) => Unfit::Tuf(e),
            _ => Unfit::Published("what is new cannot be written as a proposal"),
        })?;
        for (role, signed) in signatures {
            signed.into_iter().for_each(|(id, signature)| proposal.sign(&role, id, signature));
        }
        let proposal = proposal.carrying(live.files().clone());
        // Whoever gets it judges it by this alone.
        check_next(&proposal, live, now)?;
        Ok((proposal, base))
    }

    fn files_along(&self, live: &Whole, chosen: &Chosen, seen: &[&Submission]) -> BTreeMap<String, Bytes> {
        let mut out = BTreeMap::new();
        for file in chosen.files.values() {
            for (path, target) in
                file.role().targets().iter().filter(|(p, _)| is_own_file(self.collection, p))
            {
                if live.files().target(path).is_some_and(|b| target.check(b).is_ok()) {
                    continue;
                }
                let bytes =
                    seen.iter().filter_map(|s| s.files.target(path)).find(|b| target.check(b).is_ok());
                out.extend(bytes.map(|b| (path.clone(), b.clone())));
            }
        }
        out
    }
}
