//! What may be delegated, and demanded (docs/adr/0010): judged on what a proposal comes to, whatever way it was made, so that no
//! way of editing goes around it. What is published against the rules already stands in nobody's way.

use std::collections::{BTreeMap, BTreeSet};

use super::base::{Way, ways};
use super::{Base, Drafted, Proposal, Seat};
use crate::sig::PublicKey;
use crate::tuf::grant::{GrantError, MAX_DELEGATIONS, check_name, check_text, role_under};
use crate::tuf::{Agreement, Delegation, Fault, PathPattern, Paths, RoleKeys, RoleName, Targets, TufError};

/// Who delegates to whom, and what the collection demands.
struct Tree<'a> {
    content: BTreeMap<&'a RoleName, &'a Targets>,
    ways: BTreeMap<RoleName, Vec<Way>>,
    demand: Result<Option<Agreement>, Fault>,
}

impl Proposal {
    /// That it breaks no rule of delegating that what is published keeps.
    ///
    /// # Errors
    /// The first rule that it breaks; [`GrantError::Unreadable`] for more delegations than are followed.
    pub fn check_rules(&self, base: &Base) -> Result<(), GrantError> {
        let drafted = self.drafts().get(&RoleName::root()).and_then(Drafted::root);
        let published = base.root().map(|r| r.role());
        let Some(root) = drafted.or(published) else { return Ok(()) };
        let old = match published {
            Some(root) => Some(Tree::of(base, None, root.targets_keys())?),
            None => None,
        };
        let new = Tree::of(base, Some(self), root.targets_keys())?;
        let mut targets = self.drafts().keys().filter(|role| **role != RoleName::root());
        if let Some(role) = targets.find(|role| !new.ways.contains_key(*role)) {
            return Err(GrantError::Orphan(role.clone()));
        }
        self.spent(base, old.as_ref(), &new)?;
        for by in new.content.keys() {
            let same = old.as_ref().is_some_and(|old| {
                let delegations = |t: &Tree<'_>| t.content.get(by).map(|c| c.delegations().to_vec());
                old.ways.get(*by) == new.ways.get(*by) && delegations(old) == delegations(&new)
            });
            if same {
                continue;
            }
            let mut faults = new.faults(by);
            if let Some(old) = old.as_ref().filter(|_| !faults.is_empty()) {
                let before = old.faults(by);
                faults.retain(|fault| !before.contains(fault));
            }
            if let Some((_, fault)) = faults.into_iter().next() {
                return Err(fault);
            }
        }
        let before = old.map(|old| old.demanded()).unwrap_or_default();
        match new.demanded().into_iter().find(|fault| !before.contains(fault)) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// A snapshot never drops a role: under a name that was used, the old file would come back.
    fn spent(&self, base: &Base, old: Option<&Tree<'_>>, new: &Tree<'_>) -> Result<(), GrantError> {
        for (by, content) in &new.content {
            let before = old.and_then(|old| old.content.get(by));
            for d in content.delegations() {
                let there = before.is_some_and(|b| b.delegation(&d.name).is_some());
                if !there && (base.lists(&d.name) || base.delegations_to(&d.name).next().is_some()) {
                    return Err(GrantError::Taken(d.name.clone()));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Tree<'a> {
    fn of(base: &'a Base, proposal: Option<&'a Proposal>, top: &RoleKeys) -> Result<Self, GrantError> {
        let draft = |role: &RoleName| proposal.and_then(|p| p.drafts().get(role));
        let content = |role: &RoleName| -> Option<&'a Targets> {
            let drafted = proposal.and_then(|p| p.drafts().get(role)).and_then(Drafted::targets);
            drafted.or_else(|| base.role(role).map(|file| file.role()))
        };
        let unreadable = |e: TufError| GrantError::Unreadable(e.to_string());
        let ways = ways(top, content).map_err(unreadable)?;
        let roles = base.roles().keys().chain(proposal.iter().flat_map(|p| p.drafts().keys()));
        let content = roles.filter(|role| ways.contains_key(*role)).filter_map(|r| Some((r, content(r)?)));
        let targets = RoleName::targets();
        let signed = draft(&targets).map(Drafted::signed);
        let signed = signed.or_else(|| base.role(&targets).map(|file| file.signed()));
        let demand = signed.map_or(Ok(None), Agreement::read);
        Ok(Self { content: content.collect(), ways, demand })
    }

    /// Every rule that a role's delegations break, and which of them breaks it.
    fn faults(&self, by: &RoleName) -> Vec<Broken> {
        let Some(content) = self.content.get(by) else { return Vec::new() };
        let mut out = Vec::new();
        for way in self.ways.get(by).into_iter().flatten() {
            out.extend(faults(by, &way.seat(), content));
        }
        out
    }

    /// Roles that must agree and that nobody delegates to: no bundle would be trusted by who goes by the root.
    fn demanded(&self) -> Vec<GrantError> {
        match &self.demand {
            Ok(Some(demand)) => {
                let gone = demand.roles().iter().filter(|role| !self.ways.contains_key(*role));
                gone.cloned().map(GrantError::Demanded).collect()
            }
            Ok(None) => Vec::new(),
            Err(fault) => vec![GrantError::Unreadable(fault.to_string())],
        }
    }
}

/// That a role's file delegates what the role may, to whom it may.
///
/// # Errors
/// The first rule that it breaks.
pub fn sound(by: &RoleName, seat: &Seat, content: &Targets) -> Result<(), GrantError> {
    faults(by, seat, content).into_iter().next().map_or(Ok(()), |(_, fault)| Err(fault))
}

/// A rule that is broken, and the delegation that breaks it; none where the whole file does. What is published against a rule
/// makes no room for another delegation against it.
type Broken = (Option<RoleName>, GrantError);

fn faults(by: &RoleName, seat: &Seat, content: &Targets) -> Vec<Broken> {
    let (all, mut out) = (content.delegations(), Vec::new());
    if all.len() > MAX_DELEGATIONS {
        out.push(GrantError::TooMany);
    }
    if !all.is_empty() && seat.terms.as_ref().is_some_and(|terms| !terms.delegates) {
        out.push(GrantError::MayNot(by.clone()));
    }
    if *by == RoleName::targets() {
        let needed = [RoleName::revocations(), RoleName::releases()];
        let gone = needed.into_iter().filter(|role| all.iter().all(|d| d.name != *role));
        out.extend(gone.map(GrantError::Needed));
    }
    let mut out: Vec<Broken> = out.into_iter().map(|fault| (None, fault)).collect();
    for d in all {
        let broken = of_delegation(by, d).into_iter().chain(own_key(by, &seat.keys, d));
        out.extend(broken.map(|fault| (Some(d.name.clone()), fault)));
    }
    match &seat.paths {
        None => reached(all, &mut out),
        Some(paths) => {
            for (i, d) in all.iter().enumerate() {
                let broken = outside(by, paths, &d.paths).into_iter();
                let broken = broken.chain(all[..i].iter().filter_map(|sibling| overlap(sibling, d)));
                out.extend(broken.map(|fault| (Some(d.name.clone()), fault)));
            }
        }
    }
    out
}

fn of_delegation(by: &RoleName, d: &Delegation) -> Vec<GrantError> {
    let mut out = Vec::new();
    if !role_under(by, d.name.as_str()).is_ok_and(|name| name == d.name) {
        out.push(GrantError::Misplaced { delegator: by.clone(), role: d.name.clone() });
    }
    let nothing = match &d.paths {
        Paths::Patterns(patterns) => patterns.is_empty(),
        Paths::HashPrefixes(prefixes) => prefixes.is_empty(),
    };
    out.extend(nothing.then_some(GrantError::Nothing));
    if let Some(v) = d.terms.as_ref().and_then(|t| t.vetting.as_ref()) {
        let names = [("the identity", &v.identity), ("who vetted", &v.vetted_by)];
        out.extend(names.into_iter().filter_map(|(what, name)| check_name(what, name).err()));
        out.extend(check_text("the note", &v.note).err());
    }
    out
}

/// A targets file does not name its role: under a shared key a file of the one could stand in for the other's.
fn own_key(by: &RoleName, keys: &RoleKeys, d: &Delegation) -> Option<GrantError> {
    let own: BTreeSet<&PublicKey> = keys.keys.values().flatten().collect();
    let shared = d.keys.keys.values().flatten().find(|key| own.contains(key));
    shared.map(|key| GrantError::OwnKey { key: key.key_id(), delegator: by.clone() })
}

/// What is not the delegator's to give. Of a hash prefix that cannot be told.
fn outside(by: &RoleName, ours: &Paths, theirs: &Paths) -> Vec<GrantError> {
    let not = |pattern: String| GrantError::NotOurs { delegator: by.clone(), pattern };
    match theirs {
        Paths::Patterns(all) => all.iter().filter(|p| !ours.include(p)).map(|p| not(p.to_string())).collect(),
        Paths::HashPrefixes(all) => all.iter().map(|p| not(format!("hash prefix {p}"))).collect(),
    }
}

/// Beside `targets/releases` and `targets/revocations` stands only what no search reaches but one that names it: behind a
/// terminating role, and wholly within what that one speaks for (docs/adr/0010).
fn reached(all: &[Delegation], out: &mut Vec<Broken>) {
    let usual = [RoleName::revocations(), RoleName::releases()];
    let revocations = all.iter().find(|d| d.name == usual[0]);
    for (i, d) in all.iter().enumerate() {
        let apart = revocations.filter(|r| r.name != d.name).and_then(|r| overlap(r, d));
        let broken = |fault| (Some(d.name.clone()), fault);
        if apart.is_some() || usual.contains(&d.name) {
            out.extend(apart.map(broken));
            continue;
        }
        let hidden =
            |p: &PathPattern| all[..i].iter().any(|before| before.terminating && before.paths.include(p));
        match &d.paths {
            Paths::Patterns(patterns) => {
                let seen = patterns.iter().filter(|p| !hidden(p));
                out.extend(seen.map(|p| broken(GrantError::Reached(p.to_string()))));
            }
            Paths::HashPrefixes(all) => {
                out.extend(all.iter().map(|p| broken(GrantError::Reached(format!("hash prefix {p}")))));
            }
        }
    }
}

/// What two roles would both speak for; of hash prefixes it cannot be told, so it counts.
fn overlap(sibling: &Delegation, d: &Delegation) -> Option<GrantError> {
    let (pattern, theirs) = match &d.paths {
        Paths::Patterns(patterns) => {
            patterns.iter().find_map(|p| Some((p.to_string(), sibling.paths.may_overlap(p)?)))?
        }
        Paths::HashPrefixes(prefixes) => {
            let theirs = match &sibling.paths {
                Paths::Patterns(patterns) => patterns.first()?.to_string(),
                Paths::HashPrefixes(theirs) => format!("hash prefix {}", theirs.first()?),
            };
            (format!("hash prefix {}", prefixes.first()?), theirs)
        }
    };
    Some(GrantError::Overlap { pattern, sibling: sibling.name.clone(), theirs })
}

#[cfg(test)]
mod tests;
