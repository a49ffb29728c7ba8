//! Delegations of a collection: who may speak for what, granted and taken back as one change of the delegator's file.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use super::commit::{Committer, Intents, Job, Pending, Refusal, WorkError, Worked};
use super::known::Known;
use super::memory::Memory;
use super::signing::{KeyRing, OpenKeys};
use super::whole::{RoleAt, Whole};
use crate::oci::Tag;
use crate::sig::KeyId;
use crate::store::Manage;
use crate::time::{Clock, UnixTime};
use crate::tuf::grant::{Delegator, Grant, GrantError, Terms, grant, take_back};
use crate::tuf::lineage::{Change, DELEGATIONS, View, is_genesis};
use crate::tuf::{CollectionName, Paths, RoleName, Version};

/// What changing delegations needs.
pub struct Desk<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state lies.
    pub store: &'a dyn Manage,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

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

/// The name of a role under another: `dev` under `targets/releases` is `targets/releases/dev`.
///
/// # Errors
/// It lies elsewhere, or its last part is no name.
pub fn role_under(by: &RoleName, name: &str) -> Result<RoleName, GrantError> {
    let bad = || GrantError::Scope {
        text: name.chars().take(200).collect(),
        why: "a role's name is 1 to 64 of a-z A-Z 0-9 . _ -, below the role that delegates to it",
    };
    let last = name.strip_prefix(&format!("{by}/")).unwrap_or(name);
    let legal = (1..=64).contains(&last.len())
        && !last.starts_with(['.', '-'])
        && last.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !legal {
        return Err(bad());
    }
    format!("{by}/{last}").parse().map_err(|_| bad())
}

/// Change delegations: sign the delegator's next file, submit it, and commit it where the online key is here.
///
/// # Errors
/// See [`WorkError`]; an edit that must not be done is [`Refusal::Grant`], and nothing was signed then.
pub async fn change(desk: &Desk<'_>, by: &RoleName, edit: Edit) -> Result<Changed, WorkError> {
    let place = Known::new(desk.store);
    let intents = Editing { by: by.clone(), edit };
    let none = BTreeSet::new();
    let committer = desk.committer(&place, desk.keys);
    let worked =
        committer.work(&Job { intents: Some(&intents), forced: &none, repair: false, install: None }).await?;
    let committed = intents.is_in(&worked);
    Ok(Changed {
        by: by.clone(),
        committed,
        version: worked.signed.get(by).map(|(version, _)| *version),
        submitted: worked.submitted.iter().filter_map(|t| t.tag(&desk.collection)).collect(),
        pending: worked.pending,
    })
}

/// What is delegated to whom, and what waits to be admitted. Signs and writes nothing but the memory.
///
/// # Errors
/// See [`WorkError`].
pub async fn overview(desk: &Desk<'_>) -> Result<Overview, WorkError> {
    let worked = read(desk).await?;
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ahead = vec![RoleName::targets()];
    while let Some(by) = ahead.pop() {
        let Some(at) = worked.last.roles().get(&by).filter(|_| seen.insert(by.clone())) else { continue };
        let delegations = at.file.role().delegations();
        rows.extend(delegations.iter().map(|d| row(&worked.last, &desk.collection, &by, d)));
        ahead.extend(delegations.iter().rev().map(|d| d.name.clone()));
    }
    Ok(Overview { rows, pending: worked.pending })
}

/// The verified state, without a key.
///
/// # Errors
/// See [`WorkError`].
pub async fn read(desk: &Desk<'_>) -> Result<Worked, WorkError> {
    let (place, nobody, none) = (Known::new(desk.store), OpenKeys::default(), BTreeSet::new());
    let committer = Committer { without_memory: true, ..desk.committer(&place, &nobody) };
    committer.work(&Job { intents: None, forced: &none, repair: false, install: None }).await
}

impl<'a> Desk<'a> {
    fn committer<'b>(&'b self, place: &'b Known<'b>, keys: &'b dyn KeyRing) -> Committer<'b> {
        Committer {
            place,
            collection: &self.collection,
            anchor: &self.anchor,
            memories: self.memories,
            without_memory: self.without_memory,
            keys,
            clock: self.clock,
        }
    }
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

/// An edit on its way into the delegator's file.
struct Editing {
    by: RoleName,
    edit: Edit,
}

impl Editing {
    fn role(&self) -> &RoleName {
        match &self.edit {
            Edit::Grant(grant) => &grant.role,
            Edit::TakeBack(role) => role,
        }
    }

    /// Whether the state that was read last holds the change.
    fn is_in(&self, worked: &Worked) -> bool {
        let delegated =
            worked.last.role(&self.by).and_then(|file| file.role().delegation(self.role()).cloned());
        match &self.edit {
            Edit::Grant(grant) => delegated.is_some_and(|d| d.terms.as_ref() == Some(&grant.terms)),
            Edit::TakeBack(_) => delegated.is_none(),
        }
    }
}

impl Intents for Editing {
    fn role(&self) -> RoleName {
        self.by.clone()
    }

    fn settle(
        &self,
        seats: &std::collections::BTreeMap<RoleName, RoleAt>,
        _: &[&Whole],
        _: &dyn KeyRing,
    ) -> Result<(), Refusal> {
        if seats.get(&self.by).is_none_or(|at| is_genesis(&at.file)) {
            return Err(Refusal::NoRole(self.by.clone()));
        }
        Ok(())
    }

    fn changes(&self, known: &[&Whole], view: &View, _: &KeyId, _: UnixTime) -> Result<Vec<Change>, Refusal> {
        let Some(at) = known.iter().find_map(|whole| whole.roles().get(&self.by)) else {
            return Err(Refusal::NoRole(self.by.clone()));
        };
        let delegations = view.content().entry(DELEGATIONS).map_or(Value::Null, |e| e.value().clone());
        let delegator =
            Delegator { role: &self.by, paths: at.paths.as_ref(), keys: &at.keys, delegations: &delegations };
        // A snapshot never drops what it listed: a name that was used would come back with its old file.
        let taken = |role: &RoleName| {
            known.iter().any(|whole| {
                whole.trusted().pin(role).is_some()
                    || whole.roles().contains_key(role)
                    || whole.vacant().contains_key(role)
            })
        };
        let value = match &self.edit {
            Edit::Grant(wanted) => grant(delegator, wanted, taken)?,
            Edit::TakeBack(role) => take_back(delegator, role)?,
        };
        Ok(vec![Change::Delegate(value)])
    }
}

#[cfg(test)]
mod tests;
