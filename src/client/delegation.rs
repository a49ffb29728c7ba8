//! Delegations of a collection: who may speak for what, granted and taken back as one change of the delegator's file.

use std::collections::BTreeSet;

use super::ceremony::{CeremonyError, Desk};
use super::commit::survey::{Standing, Survey};
use super::commit::{Committer, Gathering, Pending, Reason, WorkError};
use super::known::Known;
use super::signing::OpenKeys;
use super::whole::Whole;
use crate::oci::Tag;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::tuf::grant::{Grant, Terms};
use crate::tuf::lineage::is_genesis;
use crate::tuf::proposal::{self, About, Base, Drafted, Needed, Proposal};
use crate::tuf::{CollectionName, Paths, RoleName, Version};

/// A change of one role's delegations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// One more.
    Grant(Grant),
    /// One less.
    TakeBack(RoleName),
}

/// How a change ended.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The role that delegates.
    pub by: RoleName,
    /// Whether the live state holds the change; otherwise it waits for the online key.
    pub committed: bool,
    /// The version of the delegator's file that holds it.
    pub version: Option<Version>,
    /// Submissions that were put.
    pub submitted: Vec<Tag>,
    /// Submissions that are not in.
    pub pending: Vec<Pending>,
    /// A next snapshot and timestamp that wait for more signatures.
    pub gathering: Option<Gathering>,
    /// What must be signed elsewhere, where the keys here are not enough: nothing was submitted then.
    pub open: Option<Open>,
}

/// A proposal that enough have not signed.
#[derive(Debug, Clone)]
pub struct Open {
    /// The proposal, signed with the keys at hand.
    pub proposal: Proposal,
    /// What it stands on.
    pub base: Base,
    /// Who signed and who is missing.
    pub needed: Vec<Needed>,
}

/// One delegation, as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// The role that delegates.
    pub by: RoleName,
    /// The role.
    pub role: RoleName,
    /// Its keys.
    pub keys: Vec<KeyId>,
    /// How many of them must sign.
    pub threshold: u32,
    /// What it may speak for.
    pub paths: Vec<String>,
    /// Whether a search ends there.
    pub terminating: bool,
    /// On which terms, where it says so.
    pub terms: Option<Terms>,
    /// Version, signing time and expiry of its file; none where nobody has signed one.
    pub file: Option<(Version, UnixTime, UnixTime)>,
    /// Number of bundle entries in it.
    pub entries: usize,
}

/// All delegations, and what waits.
#[derive(Debug, Clone)]
pub struct Overview {
    /// In the order of a search.
    pub rows: Vec<Row>,
    /// Submissions that are not in, and why.
    pub pending: Vec<Pending>,
}

impl Edit {
    fn role(&self) -> &RoleName {
        match self {
            Self::Grant(grant) => &grant.role,
            Self::TakeBack(role) => role,
        }
    }

    fn of(&self, by: &RoleName) -> proposal::Edit {
        match self {
            Self::Grant(grant) => proposal::Edit::grant(by.clone(), grant.clone()),
            Self::TakeBack(role) => proposal::Edit::Undelegate { by: by.clone(), role: role.clone() },
        }
    }
}

/// Change delegations: where the keys here are enough for the delegator's next file, it is submitted, and committed where the
/// online key is here, too. Where they are not, a proposal is left, signed with those that are here.
///
/// # Errors
/// See [`CeremonyError`]; an edit that must not be done is [`CeremonyError::Edit`], and nothing was signed then.
pub async fn change(desk: &Desk<'_>, by: &RoleName, edit: Edit) -> Result<Changed, CeremonyError> {
    let verb = match &edit {
        Edit::Grant(_) => "delegate to",
        Edit::TakeBack(_) => "take back",
    };
    let description = format!("{verb} {}", edit.role());
    let about = About { description, by: String::new(), at: desk.clock.now() };
    let done = desk.at_once(|_| Ok(vec![edit.of(by)]), &about).await?;
    let drafted = done.proposal.drafts().get(by).map(Drafted::version);
    let Some(worked) = done.worked else {
        let open = Some(Open { proposal: done.proposal, base: done.base, needed: done.needed });
        let (submitted, pending, gathering) = (Vec::new(), Vec::new(), None);
        let (by, version, committed) = (by.clone(), drafted, false);
        return Ok(Changed { by, committed, version, submitted, pending, gathering, open });
    };
    let live = worked.last.role(by).map(|file| file.version());
    Ok(Changed {
        by: by.clone(),
        committed: worked.installed,
        version: if worked.installed { live } else { drafted },
        submitted: worked.submitted.iter().filter_map(|t| t.tag(desk.collection)).collect(),
        pending: worked.pending,
        gathering: worked.gathering,
        open: None,
    })
}

/// What is delegated to whom, and what waits to be admitted. Signs, writes and remembers nothing.
///
/// # Errors
/// See [`WorkError`].
pub async fn overview(desk: &Desk<'_>) -> Result<Overview, WorkError> {
    let Seen { whole, pending } = read(desk).await?;
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ahead = vec![RoleName::targets()];
    while let Some(by) = ahead.pop() {
        let Some(at) = whole.roles().get(&by).filter(|_| seen.insert(by.clone())) else { continue };
        let delegations = at.file.role().delegations();
        rows.extend(delegations.iter().map(|d| row(&whole, desk.collection, &by, d)));
        ahead.extend(delegations.iter().rev().map(|d| d.name.clone()));
    }
    Ok(Overview { rows, pending })
}

/// A collection as somebody without a key sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The live state; what is remembered where that is newer, or nothing is live.
    pub whole: Whole,
    /// Submissions that are not in, and why.
    pub pending: Vec<Pending>,
}

/// Look at the state, without a key and without writing anything.
///
/// # Errors
/// See [`WorkError`].
pub async fn read(desk: &Desk<'_>) -> Result<Seen, WorkError> {
    let (place, nobody) = (Known::new(desk.store), OpenKeys::default());
    let committer = Committer { without_memory: true, keys: &nobody, ..desk.committer(&place) };
    let Survey { live, memory, waiting, .. } = committer.survey().await?;
    let newest = match (live, memory) {
        (Some(live), Some(memory)) if live.is_below(&memory) => Some(memory),
        (live, memory) => live.or(memory),
    };
    let absent = || WorkError::Absent { collection: desk.collection.clone(), place: desk.store.place() };
    let pending = waiting.into_iter().map(|w| {
        let reason = match w.standing {
            Standing::Ready => Reason::Online,
            Standing::Fork => Reason::Fork,
            Standing::Stale => Reason::Stale,
            Standing::Ahead => Reason::Ahead,
            Standing::Invalid(why) => Reason::Invalid(why),
            Standing::NotLookedAt => Reason::NotLookedAt,
        };
        Pending { tag: w.tag, role: w.role, version: w.version, reason }
    });
    Ok(Seen { whole: newest.ok_or_else(absent)?, pending: pending.collect() })
}

fn row(whole: &Whole, collection: &CollectionName, by: &RoleName, d: &crate::tuf::Delegation) -> Row {
    let file = whole.role(&d.name).filter(|f| !is_genesis(f));
    let signed = |f: &crate::tuf::Metadata<crate::tuf::Targets>| {
        (f.version(), f.extra().map_or_else(|| f.expires(), |x| x.at), f.expires())
    };
    let bundles = |f: &crate::tuf::Metadata<crate::tuf::Targets>| {
        f.role().targets().keys().filter(|p| collection.entry(p).is_some()).count()
    };
    Row {
        by: by.clone(),
        role: d.name.clone(),
        keys: d.keys.keys.keys().cloned().collect(),
        threshold: d.keys.threshold,
        paths: match &d.paths {
            Paths::Patterns(patterns) => patterns.iter().map(ToString::to_string).collect(),
            Paths::HashPrefixes(prefixes) => prefixes.iter().map(|p| format!("hash prefix {p}")).collect(),
        },
        terminating: d.terminating,
        terms: d.terms.clone(),
        file: file.map(|f| signed(f)),
        entries: file.map_or(0, |f| bundles(f)),
    }
}

#[cfg(test)]
mod tests;
