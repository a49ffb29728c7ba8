//! The next version of a role: a view plus changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Content, DELEGATIONS, Entry, MAX_ANCESTORS, View, WINDOW, delegations};
use crate::time::UnixTime;
use crate::tuf::{Ancestor, Draft, Extra, Version};

/// One change to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A target: added, replaced, or (where it names the same bytes) united with what is there.
    Set {
        /// The target path.
        path: String,
        /// The target object: `length`, `hashes`, `custom`.
        value: Value,
    },
    /// A target goes.
    Withdraw {
        /// The target path.
        path: String,
        /// A fresh random id: two withdrawals of one path are told apart by it.
        id: String,
    },
    /// Other delegations: the whole object.
    Delegate(Value),
}

/// Whether the view does not hold the change already.
pub fn is_needed(view: &View, change: &Change) -> bool {
    let (path, value) = match change {
        Change::Set { path, value } => (path.as_str(), value),
        Change::Withdraw { path, .. } => return view.content.entry(path).is_some_and(|e| !e.is_derived()),
        Change::Delegate(value) => (DELEGATIONS, value),
    };
    match view.content.entry(path) {
        Some(entry) if entry.names_same(value) => entry.united(value) != *entry.value(),
        _ => true,
    }
}

/// The next version of the role: above the view and above `highest`, the greatest version of any file that was seen or is
/// remembered. Fields that bulla does not know are those of the newest file.
pub fn next(
    view: &View,
    highest: Option<Version>,
    changes: &[Change],
    collection: &str,
    at: UnixTime,
    expires: UnixTime,
) -> Draft {
    let version = highest.map_or(view.version, |h| h.max(view.version)).next();
    let mut entries = view.content.entries().clone();
    let mut withdrawn = view.content.withdrawn().clone();
    let mut delegated = view.content.delegated().clone();
    for change in changes.iter().filter(|c| is_needed(view, c)) {
        let (path, value) = match change {
            Change::Set { path, value } => (path.as_str(), value),
            Change::Delegate(value) => (DELEGATIONS, value),
            Change::Withdraw { path, id } => {
                if let Some(entry) = entries.remove(path) {
                    entries.extend(entry.without_claim().map(|e| (path.clone(), e)));
                }
                withdrawn.entry(path.clone()).or_default().insert(id.clone(), version);
                continue;
            }
        };
        let old = entries.remove(path);
        if path == DELEGATIONS {
            let base = view.family.keys().chain(view.beside.keys());
            for (name, id) in delegations::changes(old.as_ref().map(Entry::value), value, base, version) {
                delegated.entry(name).or_default().insert(id, version);
            }
        }
        let same = old.as_ref().filter(|e| e.names_same(value));
        // A value that only learns another tag was set when it was set.
        let set = same.filter(|e| !e.is_derived()).map_or_else(|| version.get(), Entry::set);
        let mut over = old.as_ref().map(|e| e.over().clone()).unwrap_or_default();
        over.extend(withdrawn.get(path).into_iter().flat_map(BTreeMap::keys).cloned());
        let value = same.map_or_else(|| value.clone(), |e| e.united(value));
        entries.insert(path.to_owned(), Entry::new(value, set, over));
    }
    let kept = |v: &Version| v.get() > version.get().saturating_sub(WINDOW);
    for log in [&mut withdrawn, &mut delegated] {
        for ids in log.values_mut() {
            ids.retain(|_, known| kept(known));
        }
        log.retain(|_, ids| !ids.is_empty());
    }
    let files = view.family.iter().chain(&view.beside).filter(|(_, v)| kept(v));
    let mut ancestors: Vec<_> = files.map(|(hash, v)| Ancestor(*v, hash.clone())).collect();
    ancestors.sort();
    ancestors.dedup();
    let oldest = ancestors.len().saturating_sub(MAX_ANCESTORS);
    ancestors.drain(..oldest);

    let mut signed = view.rest.clone();
    signed.remove(super::genesis::MARK);
    let content = Content::new(entries, withdrawn, delegated);
    let delegations_set = content.put(&mut signed);
    let mut extra = Extra::new(collection, at);
    (extra.ancestors, extra.withdrawn, extra.delegations_set) =
        (ancestors, content.withdrawn().clone(), delegations_set);
    extra.delegated = content.delegated().clone();
    signed.insert("version".into(), json!(version));
    signed.insert("expires".into(), json!(expires));
    signed.insert("x-bulla".into(), json!(extra));
    Draft::from_signed(Value::Object(signed))
}
