//! What a role file says, and the join of two of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::delegations::{self, Log, Side};
use crate::tuf::metadata::typed;
use crate::tuf::{Extra, Fault, Version};

/// The path under which `delegations` stands among the entries: one value, joined role by role.
pub const DELEGATIONS: &str = "";

/// Entries by target path, and withdrawals by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    entries: BTreeMap<String, Entry>,
    withdrawn: BTreeMap<String, BTreeMap<String, Version>>,
    delegated: Log,
}

/// One target (or `delegations`), with what the join needs to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    value: Value,
    set: u64,
    over: BTreeSet<String>,
}

/// A join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The content.
    pub content: Content,
    /// Values that did not stay.
    pub losers: Vec<Loser>,
    /// Whether both changed one delegation, each without knowing of the other's change, or what both delegate does not go
    /// together: the delegations are those of the base, and the other file is not in by this join.
    pub conflict: bool,
}

/// Two values stood for one path, and this one did not stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loser {
    /// The path.
    pub path: String,
    /// The value that stays.
    pub kept: Value,
    /// The value that does not.
    pub lost: Value,
}

impl Merged {
    /// Whether nothing is decided by the join that its signers must know of: only of releases and tags may one value quietly
    /// stay in the place of another.
    pub(super) fn is_quiet(&self) -> bool {
        !self.conflict && self.losers.iter().all(|l| !is_plain(&l.lost))
    }
}

impl Entry {
    /// A value set by role version `set` (0: unknown) that overrides the withdrawals `over`.
    pub(super) fn new(value: Value, set: u64, over: BTreeSet<String>) -> Self {
        Self { value, set, over }
    }

    /// The target object, without `set` and `over` in its `custom.bulla`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Role version that set this value; 0 when unknown.
    pub fn set(&self) -> u64 {
        self.set
    }

    /// Withdrawals of this path that were known and overridden.
    pub(super) fn over(&self) -> &BTreeSet<String> {
        &self.over
    }

    /// SHA-256 of the target, lower-case hex.
    pub fn sha256(&self) -> Option<&str> {
        self.value["hashes"]["sha256"].as_str()
    }

    /// Whether it has a claim of its own.
    pub fn has_claim(&self) -> bool {
        !self.value["custom"]["bulla"]["claim"].is_null()
    }

    /// Whether it is there only while one of its `partOf` is.
    pub fn is_derived(&self) -> bool {
        !self.has_claim() && self.value["custom"]["bulla"]["partOf"].is_array()
    }

    /// Whether the value is no claim about a bundle: `delegations`, or a file of the collection, such as its revocation list.
    fn is_plain(&self) -> bool {
        is_plain(&self.value)
    }

    /// Whether both name the same bytes.
    pub fn names_same(&self, value: &Value) -> bool {
        let media_type = |v: &Value| v["custom"]["bulla"]["mediaType"].clone();
        let (a, b) = (&self.value, value);
        if a.get("hashes").is_none() || b.get("hashes").is_none() {
            return a == b;
        }
        a["length"] == b["length"] && a["hashes"] == b["hashes"] && media_type(a) == media_type(b)
    }

    /// The union with another value that names the same bytes: lists united, the earliest claim stays.
    pub(super) fn united(&self, other: &Value) -> Value {
        let order = |v: &Value| {
            let text = |name: &str| v["custom"]["bulla"][name].as_str().unwrap_or_default().to_owned();
            (text("at"), text("by"), crate::oci::sorted_json(v))
        };
        let (first, second) =
            if order(other) < order(&self.value) { (other, &self.value) } else { (&self.value, other) };
        let mut out = first.clone();
        unite(&mut out, second);
        out
    }

    /// Without its claim, as a part of what is still there; `None` when nothing holds it any more.
    pub(super) fn without_claim(&self) -> Option<Self> {
        let mut out = self.clone();
        let bulla = out.value.pointer_mut("/custom/bulla").and_then(Value::as_object_mut)?;
        for claim in ["claim", "tags", "previous"] {
            bulla.remove(claim);
        }
        bulla.get("partOf").and_then(Value::as_array).is_some_and(|p| !p.is_empty()).then_some(out)
    }

    fn read(mut value: Value) -> Result<Self, Fault> {
        let (mut set, mut over) = (0, BTreeSet::new());
        if let Some(custom) = value.get_mut("custom").and_then(Value::as_object_mut)
            && let Some(bulla) = custom.get_mut("bulla").and_then(Value::as_object_mut)
        {
            let (s, o) = (bulla.remove("set"), bulla.remove("over"));
            let found = s.is_some() || o.is_some();
            set = s.map(|s| typed::<Version>(&s)).transpose()?.map_or(0, Version::get);
            over = o.map(|o| typed(&o)).transpose()?.unwrap_or_default();
            if found && bulla.is_empty() {
                custom.remove("bulla");
                if custom.is_empty() {
                    value.as_object_mut().map(|v| v.remove("custom"));
                }
            }
        }
        Ok(Self { value, set, over })
    }

    fn write(&self) -> Value {
        let mut value = self.value.clone();
        if self.set == 0 && self.over.is_empty() {
            return value;
        }
        // Where `custom` or `custom.bulla` is no object, somebody else means something by it: it stays as it is.
        let Some(target) = value.as_object_mut() else { return value };
        let Some(custom) = target.entry("custom").or_insert_with(|| json!({})).as_object_mut() else {
            return value;
        };
        let Some(bulla) = custom.entry("bulla").or_insert_with(|| json!({})).as_object_mut() else {
            return value;
        };
        if self.set > 0 {
            bulla.insert("set".into(), json!(self.set));
        }
        if !self.over.is_empty() {
            bulla.insert("over".into(), json!(self.over));
        }
        value
    }

    /// The entry as a join sees it when the withdrawals `gone` of its path are known: removal beats addition, unless the
    /// addition knew it. A derived entry has no withdrawal.
    fn under(&self, gone: Option<&BTreeMap<String, Version>>) -> Option<Self> {
        let known = gone.is_none_or(|g| g.keys().all(|id| self.over.contains(id)));
        if known || self.is_derived() { Some(self.clone()) } else { self.without_claim() }
    }
}

impl Content {
    /// All entries by path; `delegations` under [`DELEGATIONS`].
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The entry of a path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Ids of withdrawals by path, with the version at which this line of files learned of each.
    pub fn withdrawn(&self) -> &BTreeMap<String, BTreeMap<String, Version>> {
        &self.withdrawn
    }

    /// Whether both say the same: entries, and which withdrawals and which changes of delegations they know. When these, and the
    /// collection's files, were learned of does not count.
    pub fn same(&self, other: &Self) -> bool {
        let ids = |log: &Log| -> BTreeMap<String, BTreeSet<String>> {
            log.iter().map(|(name, ids)| (name.clone(), ids.keys().cloned().collect())).collect()
        };
        let equal =
            |a: &Entry, b: &Entry| a.value == b.value && a.over == b.over && (a.set == b.set || a.is_plain());
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1))
            && ids(&self.withdrawn) == ids(&other.withdrawn)
            && ids(&self.delegated) == ids(&other.delegated)
    }

    /// The greatest version that set a value or learned of a withdrawal.
    pub(super) fn newest(&self) -> u64 {
        let logs = self.withdrawn.values().chain(self.delegated.values());
        let known = logs.flat_map(BTreeMap::values).map(|v| v.get());
        self.entries.values().map(Entry::set).chain(known).max().unwrap_or(0)
    }

    /// The changes of delegations that this line of files knows, within the window.
    pub(super) fn delegated(&self) -> &Log {
        &self.delegated
    }

    /// The same entries and withdrawals with the delegations of `other`.
    pub(super) fn delegating_as(mut self, other: &Self) -> Self {
        self.entries.remove(DELEGATIONS);
        let theirs = other.entries.get(DELEGATIONS).cloned();
        self.entries.extend(theirs.map(|e| (DELEGATIONS.to_owned(), e)));
        self.delegated.clone_from(&other.delegated);
        self
    }

    /// The same content, learned of later.
    pub(super) fn relearn(&mut self, other: &Self) {
        self.withdrawn.clone_from(&other.withdrawn);
        self.delegated.clone_from(&other.delegated);
        for (path, entry) in self.entries.iter_mut().filter(|(_, e)| e.is_plain()) {
            entry.set = other.entries.get(path).map_or(entry.set, Entry::set);
        }
    }

    pub(super) fn new(
        entries: BTreeMap<String, Entry>,
        withdrawn: BTreeMap<String, BTreeMap<String, Version>>,
        delegated: Log,
    ) -> Self {
        let mut out = Self { entries, withdrawn, delegated };
        out.settle();
        out
    }

    fn side(&self) -> Side<'_> {
        Side { entry: self.entries.get(DELEGATIONS), log: &self.delegated }
    }

    /// Take the content out of a `signed` object; what is left is what bulla does not join.
    pub(super) fn take(signed: &mut Map<String, Value>, extra: Option<&Extra>) -> Result<Self, Fault> {
        let mut entries = BTreeMap::new();
        if let Some(Value::Object(targets)) = signed.remove("targets") {
            for (path, value) in targets {
                if path == DELEGATIONS {
                    return Err(Fault::Format("a target without a path".into()));
                }
                entries.insert(path, Entry::read(value)?);
            }
        }
        if let Some(value) = signed.remove("delegations") {
            let set = extra.and_then(|x| x.delegations_set).map_or(0, Version::get);
            entries.insert(DELEGATIONS.to_owned(), Entry::new(value, set, BTreeSet::new()));
        }
        signed.remove("x-bulla");
        let (withdrawn, delegated) =
            extra.map(|x| (x.withdrawn.clone(), x.delegated.clone())).unwrap_or_default();
        Ok(Self { entries, withdrawn, delegated })
    }

    /// Put the entries into a `signed` object; says which version set `delegations`.
    pub(super) fn put(&self, signed: &mut Map<String, Value>) -> Option<Version> {
        let targets = self.entries.iter().filter(|(path, _)| path.as_str() != DELEGATIONS);
        let targets: Map<String, Value> = targets.map(|(path, e)| (path.clone(), e.write())).collect();
        signed.insert("targets".into(), Value::Object(targets));
        let delegations = self.entries.get(DELEGATIONS)?;
        signed.insert("delegations".into(), delegations.value.clone());
        Version::new(delegations.set)
    }

    /// Drop the members of `partOf` that are not there, and what nothing holds any more.
    fn settle(&mut self) {
        loop {
            let mut changed = Vec::new();
            for (path, entry) in &self.entries {
                let Some(parts) = entry.value["custom"]["bulla"]["partOf"].as_array() else { continue };
                let Some((name, _)) = path.rsplit_once('@') else { continue };
                let there = |digest: &&Value| {
                    digest.as_str().is_some_and(|d| self.entries.contains_key(&format!("{name}@{d}")))
                };
                let left: Vec<_> = parts.iter().filter(there).cloned().collect();
                if left.len() < parts.len() || (left.is_empty() && !entry.has_claim()) {
                    changed.push((path.clone(), left));
                }
            }
            if changed.is_empty() {
                return;
            }
            for (path, left) in changed {
                let Some(entry) = self.entries.get_mut(&path) else { continue };
                if left.is_empty() && !entry.has_claim() {
                    self.entries.remove(&path);
                } else if let Some(bulla) =
                    entry.value.pointer_mut("/custom/bulla").and_then(Value::as_object_mut)
                {
                    bulla.remove("partOf");
                    if !left.is_empty() {
                        bulla.insert("partOf".into(), Value::Array(left));
                    }
                }
            }
        }
    }
}

/// Join `base`, the one that stays, with `other`; `common` is the version of their newest common ancestor.
pub fn merge(base: (&Content, Version), other: (&Content, Version), common: u64) -> Merged {
    let learned = base.1.max(other.1).next();
    let (base, other) = (base.0, other.0);
    // What one side has forgotten since their common ancestor stays as it is with the base.
    let withdrawn = delegations::learning((&base.withdrawn, &other.withdrawn), common, learned);
    let (mut entries, mut losers) = (BTreeMap::new(), Vec::new());
    let paths: BTreeSet<&String> = base.entries.keys().chain(other.entries.keys()).collect();
    for path in paths.into_iter().filter(|path| *path != DELEGATIONS) {
        let gone = withdrawn.get(path);
        let ours = base.entries.get(path).and_then(|e| e.under(gone));
        let theirs = other.entries.get(path).and_then(|e| e.under(gone));
        let entry = match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours.names_same(&theirs.value) => {
                let value = ours.united(&theirs.value);
                let set = if ours.is_plain() { relearned(&ours, &theirs, common, learned) } else { ours.set };
                Entry { value, set, over: &ours.over | &theirs.over }
            }
            (Some(ours), Some(theirs)) => {
                let newer = theirs.set > ours.set && ours.set <= common;
                let set = relearned(&ours, &theirs, common, learned);
                let (mut kept, lost) = if newer { (theirs, ours) } else { (ours, theirs) };
                if kept.is_plain() {
                    kept.set = set;
                }
                // A value that the common ancestor knew was replaced; one that it did not know was in the way.
                if lost.set > common {
                    losers.push(Loser { path: path.clone(), kept: kept.value.clone(), lost: lost.value });
                }
                kept
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => continue,
        };
        entries.insert(path.clone(), entry);
    }
    let joined = delegations::join(base.side(), other.side(), common, learned);
    let conflict = joined.is_none();
    if conflict {
        let value = |c: &Content| c.entry(DELEGATIONS).map_or(Value::Null, |e| e.value.clone());
        losers.push(Loser { path: DELEGATIONS.to_owned(), kept: value(base), lost: value(other) });
    }
    let ours = || (base.entries.get(DELEGATIONS).cloned(), base.delegated.clone());
    let (entry, delegated) = joined.unwrap_or_else(ours);
    entries.extend(entry.map(|e| (DELEGATIONS.to_owned(), e)));
    Merged { content: Content::new(entries, withdrawn, delegated), losers, conflict }
}

/// The version at which a join learns of a value: what one line learns of here is new to those who go on from the other.
fn relearned(ours: &Entry, theirs: &Entry, common: u64, learned: Version) -> u64 {
    let newest = ours.set.max(theirs.set);
    if ours.set != theirs.set && newest > common { learned.get() } else { newest }
}

fn is_plain(value: &Value) -> bool {
    let bulla = &value["custom"]["bulla"];
    bulla["claim"].is_null() && !bulla["partOf"].is_array()
}

/// Add to `into` what `from` has and it has not; lists are united and sorted.
fn unite(into: &mut Value, from: &Value) {
    match (into, from) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in b {
                match a.get_mut(name) {
                    Some(mine) => unite(mine, value),
                    None => {
                        a.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let all = a.drain(..).chain(b.iter().cloned());
            let sorted: BTreeMap<Vec<u8>, Value> = all.map(|v| (crate::oci::sorted_json(&v), v)).collect();
            a.extend(sorted.into_values());
        }
        _ => {}
    }
}
