//! The join of two values of `delegations`: role by role, where each role was changed on one side only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::content::Entry;
use crate::oci::{Digest, sorted_json};
use crate::tuf::delegation::{Delegation, Paths, read_delegations};
use crate::tuf::grant::MAX_DELEGATIONS;
use crate::tuf::{RoleName, Version};

/// Most pairs of patterns that are compared; beyond that two values are not joined.
const MAX_PAIRS: usize = 65_536;

/// The changes of the delegation to each role (granted, altered, taken back) that a line of files knows: the id of each, and the
/// version at which the line learned of it. Changes of the order, and of what belongs to no role, stand under [`ORDER`].
pub(super) type Log = BTreeMap<String, BTreeMap<String, Version>>;

/// No role's name.
const ORDER: &str = "";

/// One side of a join.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) entry: Option<&'a Entry>,
    pub(super) log: &'a Log,
}

/// Delegations, taken apart.
struct Parts<'a> {
    rest: Map<String, Value>,
    keys: Map<String, Value>,
    roles: Vec<(&'a str, &'a Value)>,
}

/// How much two sides know of each other's changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Theirs knows all of ours, and more.
    Theirs,
    /// Ours knows all of theirs, and more.
    Ours,
    /// Both the same: a value that differs was not changed by bulla.
    Same,
    /// Each has a change that the other does not know.
    Neither,
}

/// The join; `None` where two changed one role, each without knowing of the other's change, or what both brought does not go
/// together. `common` is the version of the newest common ancestor, `learned` the least version that a file of the join can have.
///
/// What a side knows is told by the ids of changes, never by the versions at which it learned of them: a join learns of what others
/// changed, and is no change itself.
pub(super) fn join(
    ours: Side<'_>,
    theirs: Side<'_>,
    common: u64,
    learned: Version,
) -> Option<(Option<Entry>, Log)> {
    let none = json!({"keys": {}, "roles": []});
    let a = ours.entry.map_or(&none, Entry::value);
    let b = theirs.entry.map_or(&none, Entry::value);
    let log = learning((ours.log, theirs.log), common, learned);
    let (ours_set, theirs_set) = (ours.entry.map_or(0, Entry::set), theirs.entry.map_or(0, Entry::set));
    let entry = |value: &Value, set| Some(Entry::new(value.clone(), set, BTreeSet::new()));
    if a == b {
        let either = ours.entry.or(theirs.entry);
        return Some((either.and_then(|_| entry(a, ours_set.max(theirs_set))), log));
    }
    let names = || ours.log.keys().chain(theirs.log.keys());
    match knows(names(), ours.log, theirs.log, common) {
        Knows::Ours => Some((entry(a, ours_set), log)),
        Knows::Theirs => Some((entry(b, theirs_set), log)),
        // They differ, and neither says since when: unless in nothing that tells who is asked for what.
        Knows::Same | Knows::Neither => {
            let value = by_role((a, ours.log), (b, theirs.log), common)?;
            let set = if value == *a { ours_set } else { learned.get() };
            Some((entry(&value, set), log))
        }
    }
}

/// The ids of both; what only one side knew, and the common ancestor did not, the join learns of.
pub(super) fn learning((ours, theirs): (&Log, &Log), common: u64, learned: Version) -> Log {
    let mut out = ours.clone();
    for (name, ids) in &mut out {
        for (id, known) in ids {
            match theirs.get(name).and_then(|ids| ids.get(id)) {
                Some(theirs) => *known = (*known).max(*theirs),
                None if known.get() > common => *known = learned,
                None => {}
            }
        }
    }
    for (name, ids) in theirs {
        for (id, _) in ids.iter().filter(|(_, known)| known.get() > common) {
            out.entry(name.clone()).or_default().entry(id.clone()).or_insert(learned);
        }
    }
    out
}

/// What a change to these delegations changes, each with the id of that change: other bytes, another base or another version are
/// another change.
pub(super) fn changes<'f>(
    old: Option<&Value>,
    new: &Value,
    base: impl Iterator<Item = &'f String>,
    version: Version,
) -> Vec<(String, String)> {
    let none = json!({"keys": {}, "roles": []});
    let old = old.unwrap_or(&none);
    let base: Vec<&String> = base.collect();
    let id = |name: &String, what: Value| {
        let change = json!({"base": base, "name": name, "version": version, "what": what});
        Digest::sha256(&sorted_json(&change)).hex()[..16].to_owned()
    };
    let Some((a, b)) = Parts::of(old).zip(Parts::of(new)) else {
        // Nobody can tell what of it changed: everything that belongs to no role.
        let name = ORDER.to_owned();
        return vec![(name.clone(), id(&name, new.clone()))];
    };
    let names: BTreeSet<&str> = a.roles.iter().chain(&b.roles).map(|(name, _)| *name).collect();
    let differing = names.into_iter().filter(|n| a.unit(n) != b.unit(n)).map(str::to_owned);
    let mut out: Vec<_> = differing
        .map(|name| {
            let unit = b.unit(&name).map(|(role, keys)| json!([role, keys]));
            let id = id(&name, unit.unwrap_or(Value::Null));
            (name, id)
        })
        .collect();
    let order = |of: &Parts<'_>, other: &Parts<'_>| -> Vec<String> {
        let shared = of.roles.iter().filter(|(name, _)| other.role(name).is_some());
        shared.map(|(name, _)| (*name).to_owned()).collect()
    };
    if a.rest != b.rest || order(&a, &b) != order(&b, &a) {
        let name = ORDER.to_owned();
        let id = id(&name, json!([b.rest, order(&b, &a)]));
        out.push((name, id));
    }
    out
}

/// How two sides stand in what they know of the changes of `names`. What was learned of before the common ancestor, both knew,
/// though one may have forgotten it since.
fn knows<'n>(names: impl Iterator<Item = &'n String>, ours: &Log, theirs: &Log, common: u64) -> Knows {
    let lacks = |log: &Log, other: &Log, name: &str| {
        let known = other.get(name);
        let mut fresh = log.get(name).into_iter().flatten().filter(|(_, known)| known.get() > common);
        fresh.any(|(id, _)| known.is_none_or(|ids| !ids.contains_key(id)))
    };
    let (mut theirs_lacks, mut ours_lacks) = (false, false);
    for name in names {
        theirs_lacks |= lacks(ours, theirs, name);
        ours_lacks |= lacks(theirs, ours, name);
    }
    match (theirs_lacks, ours_lacks) {
        (false, false) => Knows::Same,
        (false, true) => Knows::Theirs,
        (true, false) => Knows::Ours,
        (true, true) => Knows::Neither,
    }
}

fn by_role(ours: (&Value, &Log), theirs: (&Value, &Log), common: u64) -> Option<Value> {
    let (a, b) = (Parts::of(ours.0)?, Parts::of(theirs.0)?);
    let names: BTreeSet<&str> = a.roles.iter().chain(&b.roles).map(|(name, _)| *name).collect();
    let mut from_theirs = BTreeSet::new();
    let mut all_theirs = true;
    for name in names {
        if a.unit(name) == b.unit(name) {
            continue;
        }
        match knows([&name.to_owned()].into_iter(), ours.1, theirs.1, common) {
            Knows::Ours => all_theirs = false,
            Knows::Theirs => drop(from_theirs.insert(name)),
            Knows::Same | Knows::Neither => return None,
        }
    }
    let ordered = knows([&ORDER.to_owned()].into_iter(), ours.1, theirs.1, common);
    let rest = match ordered {
        _ if a.rest == b.rest => &a.rest,
        Knows::Ours => &a.rest,
        Knows::Theirs => &b.rest,
        Knows::Same | Knows::Neither => return None,
    };
    let chosen = |name: &str| if from_theirs.contains(name) { &b } else { &a };
    let stays = |(name, _): &&(&str, &Value)| chosen(name).role(name).is_some();
    // The order of one side, with what only the other has where that has it.
    let (first, second) = if ordered == Knows::Theirs { (&b, &a) } else { (&a, &b) };
    let mut order: Vec<&str> = first.roles.iter().filter(stays).map(|(name, _)| *name).collect();
    let others: Vec<&str> = second.roles.iter().filter(stays).map(|(name, _)| *name).collect();
    for (n, name) in others.iter().enumerate().rev().filter(|(_, name)| first.role(name).is_none()) {
        let next = others[n + 1..].iter().find_map(|next| order.iter().position(|o| o == next));
        order.insert(next.unwrap_or(order.len()), *name);
    }
    let mut keys = Map::new();
    let mut roles = Vec::new();
    for name in order {
        let side = chosen(name);
        let role = side.role(name)?;
        for id in key_ids(role) {
            let key = side.keys.get(id)?;
            if keys.insert(id.to_owned(), key.clone()).is_some_and(|other| other != *key) {
                return None;
            }
        }
        roles.push(role.clone());
    }
    let mut out = rest.clone();
    out.insert("keys".into(), Value::Object(keys));
    out.insert("roles".into(), Value::Array(roles));
    // One side's value as it is, where nothing of the other's is in it.
    let value = match (from_theirs.is_empty(), all_theirs) {
        (true, _) if ordered != Knows::Theirs => ours.0.clone(),
        (false, true) if ordered != Knows::Ours => theirs.0.clone(),
        _ => Value::Object(out),
    };
    go_together(&value, &a, &b, ordered).then_some(value)
}

/// That what one side brought and what the other brought do not speak for one path (each was checked without the other), and that
/// roles that may speak for one path are asked in the order of both sides, or of the one that knew the other's.
fn go_together(joined: &Value, a: &Parts<'_>, b: &Parts<'_>, ordered: Knows) -> bool {
    let mut faulty = None;
    let Ok(read) = read_delegations(joined, &mut faulty) else { return false };
    if faulty.is_some() || read.len() > MAX_DELEGATIONS {
        return false;
    }
    // Whose paths the other side knew were checked there.
    let paths = |role: &Value| (role["paths"].clone(), role["path_hash_prefixes"].clone());
    let new_to = |side: &Parts<'_>, other: &Parts<'_>, name: &RoleName| {
        let own = side.role(name.as_str()).map(paths);
        own.is_some() && own != other.role(name.as_str()).map(paths)
    };
    let ours: Vec<&Delegation> = read.iter().filter(|d| new_to(a, b, &d.name)).collect();
    let theirs: Vec<&Delegation> = read.iter().filter(|d| new_to(b, a, &d.name)).collect();
    if patterns(&ours).saturating_mul(patterns(&theirs)) > MAX_PAIRS
        || ours.iter().any(|x| theirs.iter().any(|y| x.name != y.name && meet(x, y)))
    {
        return false;
    }
    keeps_order(&read, a, (ordered == Knows::Theirs).then_some(b))
        && keeps_order(&read, b, (ordered == Knows::Ours).then_some(a))
}

/// Whether a search asks the roles of `side` in its order, as far as that order tells anything: of two that never speak for one path
/// either may come first. Of two that `decided` has, that side has decided.
fn keeps_order(joined: &[Delegation], side: &Parts<'_>, decided: Option<&Parts<'_>>) -> bool {
    let at: BTreeMap<&str, usize> = side.roles.iter().enumerate().map(|(n, (name, _))| (*name, n)).collect();
    let shared: Vec<(&Delegation, usize)> =
        joined.iter().filter_map(|d| at.get(d.name.as_str()).map(|n| (d, *n))).collect();
    if shared.windows(2).all(|pair| pair[0].1 < pair[1].1) {
        return true;
    }
    let all: Vec<&Delegation> = shared.iter().map(|(d, _)| *d).collect();
    if patterns(&all).saturating_mul(patterns(&all)) > MAX_PAIRS {
        return false;
    }
    let both = |x: &Delegation, y: &Delegation| {
        decided.is_some_and(|d| d.role(x.name.as_str()).is_some() && d.role(y.name.as_str()).is_some())
    };
    let turned = |i: usize, (x, n): &(&Delegation, usize)| {
        shared[i + 1..].iter().any(|(y, m)| m < n && !both(x, y) && meet(x, y))
    };
    !shared.iter().enumerate().any(|(i, one)| turned(i, one))
}

fn patterns(all: &[&Delegation]) -> usize {
    let count = |d: &&Delegation| match &d.paths {
        Paths::Patterns(patterns) => patterns.len(),
        Paths::HashPrefixes(prefixes) => prefixes.len(),
    };
    all.iter().map(count).sum()
}

/// Whether two roles may speak for one path.
fn meet(x: &Delegation, y: &Delegation) -> bool {
    match (&x.paths, &y.paths) {
        (paths, Paths::Patterns(patterns)) | (Paths::Patterns(patterns), paths) => {
            patterns.iter().any(|p| paths.may_overlap(p).is_some())
        }
        _ => true,
    }
}

impl<'a> Parts<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        let mut rest = value.as_object()?.clone();
        let keys = rest.remove("keys")?.as_object()?.clone();
        rest.remove("roles");
        let named = |role: &'a Value| Some((role.get("name")?.as_str()?, role));
        let roles: Vec<_> = value.get("roles")?.as_array()?.iter().map(named).collect::<Option<_>>()?;
        let distinct: BTreeSet<&str> = roles.iter().map(|(name, _)| *name).collect();
        (distinct.len() == roles.len()).then_some(Self { rest, keys, roles })
    }

    fn role(&self, name: &str) -> Option<&'a Value> {
        self.roles.iter().find(|(n, _)| *n == name).map(|(_, role)| *role)
    }

    /// A role with the keys that it names: another key under the same id is another delegation.
    fn unit(&self, name: &str) -> Option<(&Value, Vec<Option<&Value>>)> {
        let role = self.role(name)?;
        Some((role, key_ids(role).map(|id| self.keys.get(id)).collect()))
    }
}

fn key_ids(role: &Value) -> impl Iterator<Item = &str> {
    role.get("keyids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
