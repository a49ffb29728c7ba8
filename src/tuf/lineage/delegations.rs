//! The join of two values of `delegations`: role by role, where each role was changed on one side only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::content::Entry;
use crate::tuf::delegation::{Delegation, Paths, read_delegations};
use crate::tuf::grant::MAX_DELEGATIONS;
use crate::tuf::{RoleName, Version};

/// Most pairs of patterns that are compared; beyond that two values are not joined.
const MAX_PAIRS: usize = 65_536;

/// Which version last changed the delegation to each role: granted, altered or taken back.
pub(super) type Log = BTreeMap<String, Version>;

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

/// The join; `None` where both changed one role, or what both brought does not go together. `common` is the version of the newest
/// common ancestor, `learned` the least version that a file of the join can have.
pub(super) fn join(
    ours: Side<'_>,
    theirs: Side<'_>,
    common: u64,
    learned: Version,
) -> Option<(Option<Entry>, Log)> {
    let none = json!({"keys": {}, "roles": []});
    let a = ours.entry.map_or(&none, Entry::value);
    let b = theirs.entry.map_or(&none, Entry::value);
    let log = logs((a, ours.log), (b, theirs.log), common, learned);
    let (ours_set, theirs_set) = (ours.entry.map_or(0, Entry::set), theirs.entry.map_or(0, Entry::set));
    // What one line learns here is new to those who go on from the other; where both say the same, nobody learns anything, and a
    // later change of one of them must not meet a change that nobody made.
    let newest = ours_set.max(theirs_set);
    let set = if a != b && ours_set != theirs_set && newest > common { learned.get() } else { newest };
    let entry = |value: &Value, set| Some(Entry::new(value.clone(), set, BTreeSet::new()));
    if ours.entry.is_none() && theirs.entry.is_none() {
        return Some((None, log));
    }
    if a == b {
        return Some((entry(a, set), log));
    }
    match (ours_set > common, theirs_set > common) {
        (true, false) => Some((entry(a, set), log)),
        (false, true) => Some((entry(b, set), log)),
        (true, true) => {
            let value = by_role((a, ours.log), (b, theirs.log), common)?;
            Some((entry(&value, learned.get()), log))
        }
        // They differ, and neither says since when.
        (false, false) => None,
    }
}

/// The roles whose delegations differ, order aside.
pub(super) fn differing(old: Option<&Value>, new: &Value) -> Vec<String> {
    let none = json!({"keys": {}, "roles": []});
    let (Some(old), Some(new)) = (Parts::of(old.unwrap_or(&none)), Parts::of(new)) else { return Vec::new() };
    let names: BTreeSet<&str> = old.roles.iter().chain(&new.roles).map(|(name, _)| *name).collect();
    names.into_iter().filter(|n| old.unit(n) != new.unit(n)).map(str::to_owned).collect()
}

fn logs(ours: (&Value, &Log), theirs: (&Value, &Log), common: u64, learned: Version) -> Log {
    let names: BTreeSet<&String> = ours.1.keys().chain(theirs.1.keys()).collect();
    let parts = Parts::of(ours.0).zip(Parts::of(theirs.0));
    let same = |name: &str| parts.as_ref().is_some_and(|(a, b)| a.unit(name) == b.unit(name));
    let joined = |name: &String| {
        let (a, b) = (ours.1.get(name), theirs.1.get(name));
        let newest = a.max(b).copied()?;
        let learns = a != b && newest.get() > common && !same(name);
        Some((name.clone(), if learns { learned } else { newest }))
    };
    names.into_iter().filter_map(joined).collect()
}

fn by_role(ours: (&Value, &Log), theirs: (&Value, &Log), common: u64) -> Option<Value> {
    let (a, b) = (Parts::of(ours.0)?, Parts::of(theirs.0)?);
    if a.rest != b.rest || !agree_in_order(ours.0, theirs.0) {
        return None;
    }
    let since = |log: &Log, name: &str| log.get(name).is_some_and(|v| v.get() > common);
    let names: BTreeSet<&str> = a.roles.iter().chain(&b.roles).map(|(name, _)| *name).collect();
    let mut from_theirs = BTreeSet::new();
    let (mut all_ours, mut all_theirs) = (true, true);
    for name in names {
        if a.unit(name) == b.unit(name) {
            continue;
        }
        match (since(ours.1, name), since(theirs.1, name)) {
            (true, false) => all_theirs = false,
            (false, true) => {
                all_ours = false;
                from_theirs.insert(name);
            }
            _ => return None,
        }
    }
    if all_ours || all_theirs {
        return Some(if all_ours { ours.0.clone() } else { theirs.0.clone() });
    }
    let kept = a.roles.iter().filter_map(|(name, role)| match from_theirs.contains(name) {
        true => b.role(name).map(|role| (*name, role)),
        false => Some((*name, *role)),
    });
    let added = b.roles.iter().filter(|(name, _)| from_theirs.contains(name) && a.role(name).is_none());
    let roles: Vec<(&str, &Value)> = kept.chain(added.copied()).collect();
    let mut keys = Map::new();
    for (name, role) in &roles {
        let side = if from_theirs.contains(name) { &b } else { &a };
        for id in key_ids(role) {
            let key = side.keys.get(id)?;
            if keys.insert(id.to_owned(), key.clone()).is_some_and(|other| other != *key) {
                return None;
            }
        }
    }
    let mut out = a.rest.clone();
    out.insert("keys".into(), Value::Object(keys));
    out.insert("roles".into(), roles.iter().map(|(_, role)| (*role).clone()).collect());
    let value = Value::Object(out);
    go_together(&value, &a, &b).then_some(value)
}

/// That what one side brought and what the other brought do not speak for one path: each was checked without the other.
fn go_together(joined: &Value, a: &Parts<'_>, b: &Parts<'_>) -> bool {
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
    if patterns(&ours).saturating_mul(patterns(&theirs)) > MAX_PAIRS {
        return false;
    }
    !ours.iter().any(|x| theirs.iter().any(|y| x.name != y.name && meet(x, y)))
}

/// Whether a search asks the roles that both have in one order, as far as that order tells anything: of two that never speak for
/// one path either may come first.
fn agree_in_order(a: &Value, b: &Value) -> bool {
    let read = |value: &Value| read_delegations(value, &mut None).ok();
    let (Some(a), Some(b)) = (read(a), read(b)) else { return false };
    let at: BTreeMap<&RoleName, usize> = b.iter().enumerate().map(|(n, d)| (&d.name, n)).collect();
    let shared: Vec<(&Delegation, usize)> =
        a.iter().filter_map(|d| at.get(&d.name).map(|n| (d, *n))).collect();
    if shared.windows(2).all(|pair| pair[0].1 < pair[1].1) {
        return true;
    }
    let all: Vec<&Delegation> = shared.iter().map(|(d, _)| *d).collect();
    if patterns(&all).saturating_mul(patterns(&all)) > MAX_PAIRS {
        return false;
    }
    let turned =
        |i: usize, (x, n): &(&Delegation, usize)| shared[i + 1..].iter().any(|(y, m)| m < n && meet(x, y));
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
mod tests {
    use super::*;

    fn value(roles: &[&str]) -> Value {
        let role = |name: &&str| json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": false, "paths": [format!("ex.com/app:{name}-*")]});
        let key = crate::tuf::sim::SimKey::new(3).public().to_tuf();
        json!({"keys": {"k": key}, "roles": roles.iter().map(role).collect::<Vec<_>>()})
    }

    fn log(rows: &[(&str, u64)]) -> Log {
        rows.iter().map(|(name, v)| ((*name).to_owned(), Version::new(*v).unwrap())).collect()
    }

    /// Found by the interleavings (grants, seed 1020): two joins of the same delegations were joined, and that counted as a change of
    /// each role; beside somebody who took one back the releases of that line were lost as a conflict.
    #[test]
    fn what_both_sides_say_alike_is_no_change_of_the_join() {
        let entry = |roles: &[&str], set| Entry::new(value(roles), set, BTreeSet::new());
        let (x, y) = (entry(&["a", "b"], 7), entry(&["a", "b"], 6));
        let (seven, six) = (log(&[("a", 7), ("b", 7)]), log(&[("a", 6), ("b", 6)]));
        let side = |entry, log| Side { entry: Some(entry), log };
        let eight = Version::new(8).unwrap();
        let (joined, stamps) = join(side(&x, &seven), side(&y, &six), 5, eight).unwrap();
        let joined = joined.unwrap();
        assert_eq!((joined.set(), &stamps), (7, &seven));
        // Somebody went on from the first of them, and took a role back.
        let (gone, taken) = (entry(&["a"], 8), log(&[("a", 7), ("b", 8)]));
        let nine = Version::new(9).unwrap();
        let (kept, _) = join(side(&gone, &taken), side(&joined, &stamps), 7, nine).unwrap();
        assert_eq!(*kept.unwrap().value(), value(&["a"]));
        let (kept, _) = join(side(&joined, &stamps), side(&gone, &taken), 7, nine).unwrap();
        assert_eq!(*kept.unwrap().value(), value(&["a"]));
        // What only one of them knew is news, whoever goes on from the other.
        let (more, known) = (entry(&["a", "b", "c"], 6), log(&[("a", 6), ("b", 6), ("c", 6)]));
        let (joined, stamps) = join(side(&x, &seven), side(&more, &known), 5, eight).unwrap();
        assert_eq!((joined.unwrap().set(), stamps["c"].get(), stamps["a"].get()), (8, 8, 7));
    }
}
