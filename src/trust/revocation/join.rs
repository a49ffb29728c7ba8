//! Lists joined: with what is added, with each other, and after a recovery.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::RevocationList;
use crate::oci::{Digest, sorted_json};
use crate::sig::json;

/// Most entries of a list that is written: readers take a state of 16 MiB.
pub(super) const MAX_ENTRIES: usize = 20_000;
/// Of these, for what takes something back alone.
const RESERVE: usize = 1_000;
/// Most entries that a submitted list adds to one that is half full.
const MAX_ADDED: usize = 1_000;
/// Most bytes of a list that a recovery writes, unless the good one is longer.
pub(super) const MAX_RECOVERED: usize = 8 * 1024 * 1024;

/// One list that holds every entry of `lists` and `more`, in order of time, then id; `None` when the first of `lists` holds
/// them all. What this version does not know of an entry is kept as it is.
///
/// # Errors
/// A list that is none, or of another schema version, or too many entries.
pub fn join_revocations(lists: &[&[u8]], more: &[Value]) -> Result<Option<Vec<u8>>, String> {
    let mut all: BTreeSet<(String, String, Vec<u8>)> = BTreeSet::new();
    let mut rest = Map::new();
    let mut first = 0;
    for (i, list) in lists.iter().enumerate() {
        let value = json::parse(list).map_err(|e| e.to_string())?;
        if value["schemaVersion"] != json!(1) {
            return Err(format!("schemaVersion {} is not 1", value["schemaVersion"]));
        }
        let entries = value["entries"].as_array().ok_or("no entries")?;
        all.extend(entries.iter().map(in_order));
        if i == 0 {
            first = all.len();
            rest = value.as_object().cloned().unwrap_or_default();
        }
    }
    all.extend(more.iter().map(in_order));
    if all.len() == first && !lists.is_empty() {
        return Ok(None);
    }
    if all.len() > MAX_ENTRIES {
        return Err(format!("more than {MAX_ENTRIES} entries"));
    }
    let parsed = all.iter().map(|(_, _, bytes)| json::parse(bytes).map_err(|e| e.to_string()));
    rest.insert("entries".into(), Value::Array(parsed.collect::<Result<_, _>>()?));
    rest.insert("schemaVersion".into(), json!(1));
    Ok(Some(sorted_json(&Value::Object(rest))))
}

/// The list that a recovery stands on cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list of the good state cannot be read: {0}")]
pub struct UnreadableList(pub String);

/// The list of a recovery: that of the good state with what was entered in `since`; `None` when that is nothing. A thief may
/// have signed those, so they undo nothing, and they cannot fill the list: what takes something back goes first, then what an
/// earlier one of `since` has, then what is newer, and what does not fit beside the reserve is left out.
///
/// Nor are keys taken back that are `used` by the good state: it would stand on nothing any more. (Of these, what is stolen is replaced
/// by the recovery itself.)
///
/// # Errors
/// [`UnreadableList`]: `good` cannot be read. What it takes back would be lost with it.
pub fn recovered_revocations(
    good: Option<&[u8]>,
    since: &[&[u8]],
    used: &BTreeSet<Digest>,
) -> Result<Option<Vec<u8>>, UnreadableList> {
    let read = |list: &[u8]| -> Option<Map<String, Value>> {
        let value = json::parse(list).ok().filter(|v| v["schemaVersion"] == json!(1))?;
        value["entries"].is_array().then(|| value.as_object().cloned())?
    };
    let entries = |list: &Map<String, Value>| list["entries"].as_array().cloned().unwrap_or_default();
    if let Some(good) = good {
        RevocationList::parse(good).map_err(UnreadableList)?;
    }
    let mut list = good.and_then(read).unwrap_or_default();
    let known = list.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all: BTreeMap<(String, String, Vec<u8>), Value> =
        known.into_iter().map(|e| (in_order(&e), e)).collect();
    let before = all.len();
    let takes_back = |e: &Value| e["kind"].as_str().is_some_and(takes_back);
    let mut more = Vec::new();
    for (i, list) in since.iter().filter_map(|list| read(list)).enumerate() {
        let own_key = |e: &Value| {
            let subject = e["subject"].as_str().and_then(|s| s.parse::<Digest>().ok());
            e["kind"] == json!("key") && subject.is_some_and(|subject| used.contains(&subject))
        };
        let new = entries(&list).into_iter().filter(|e| e["kind"] != json!("unrevoke") && !own_key(e));
        more.extend(new.map(|e| (!takes_back(&e), i, Reverse(in_order(&e)), e)));
    }
    more.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let mut room = MAX_RECOVERED.saturating_sub(good.unwrap_or_default().len());
    for (_, _, Reverse(at), entry) in more {
        let size = at.2.len() + 1;
        if all.len() >= MAX_ENTRIES - RESERVE || size > room || all.contains_key(&at) {
            continue;
        }
        room -= size;
        all.insert(at, entry);
    }
    if all.len() == before {
        return Ok(None);
    }
    list.insert("entries".into(), Value::Array(all.into_values().collect()));
    list.insert("schemaVersion".into(), json!(1));
    Ok(Some(sorted_json(&Value::Object(list))))
}

/// Whether entries of the kind take something back.
fn takes_back(kind: &str) -> bool {
    matches!(kind, "bundle" | "tombstone" | "signature" | "key" | "certificate")
}

/// By time, then id.
fn in_order(entry: &Value) -> (String, String, Vec<u8>) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    (text("at"), text("id"), sorted_json(entry))
}

/// Whether a list is so long that the rest is kept for what who holds the key takes back: what others submit, and warnings,
/// no longer go in.
pub fn is_nearly_full(list: &[u8]) -> bool {
    let entries = json::parse(list).ok().and_then(|v| v["entries"].as_array().map(Vec::len));
    entries.is_some_and(|n| n > MAX_ENTRIES - RESERVE)
}

/// Whether `more` entries still fit into a list.
pub fn has_room(list: &RevocationList, more: &[Value]) -> bool {
    let only = more.iter().all(|e| e["kind"].as_str().is_some_and(takes_back));
    let most = if only { MAX_ENTRIES } else { MAX_ENTRIES - RESERVE };
    list.entries().len() + more.len() <= most
}

/// That a list which somebody submits can be read, and leaves room in the list that it comes to with `known`, what is published:
/// a list that is full takes no revocation any more.
///
/// # Errors
/// Why it must not go in.
pub fn check_submitted(list: &[u8], known: &[&[u8]]) -> Result<(), String> {
    let count = |list: &[u8]| RevocationList::parse(list).map(|l| l.entries().len());
    count(list).map_err(|why| format!("it cannot be read: {why}"))?;
    // What is published and cannot be read is not this list's fault.
    let known: Vec<&[u8]> = known.iter().copied().filter(|l| count(l).is_ok()).collect();
    let before = match join_revocations(&known, &[])? {
        Some(joined) => count(&joined)?,
        None => known.first().map_or(Ok(0), |l| count(l))?,
    };
    let all: Vec<&[u8]> = known.iter().copied().chain([list]).collect();
    let after = match join_revocations(&all, &[])? {
        Some(joined) => count(&joined)?,
        None => before.max(count(list)?),
    };
    if let Some(id) = borne_twice(list, &known)? {
        return Err(format!("it gives the id {id} of another entry to a new one"));
    }
    let added = after.saturating_sub(before);
    match added {
        0 => Ok(()),
        _ if after > MAX_ENTRIES - RESERVE => Err(format!(
            "with it there are {after} entries; the last {RESERVE} of {MAX_ENTRIES} are kept free"
        )),
        _ if after > MAX_ENTRIES / 2 && added > MAX_ADDED => Err(format!(
            "it adds {added} entries to {before}; past {} no more than {MAX_ADDED} go in at once",
            MAX_ENTRIES / 2
        )),
        _ => Ok(()),
    }
}

/// An id that a new entry of `list` shares with another one: entries are undone by their ids, and where two bear one, neither is.
fn borne_twice(list: &[u8], known: &[&[u8]]) -> Result<Option<String>, String> {
    let read = |list: &[u8]| -> Result<Vec<Value>, String> {
        let value = json::parse(list).map_err(|e| e.to_string())?;
        Ok(value["entries"].as_array().cloned().unwrap_or_default())
    };
    let mut bearers: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut there: BTreeSet<Vec<u8>> = BTreeSet::new();
    for entry in known.iter().map(|list| read(list)).collect::<Result<Vec<_>, _>>()?.iter().flatten() {
        let (_, id, bytes) = in_order(entry);
        there.insert(bytes.clone());
        bearers.entry(id).or_default().insert(bytes);
    }
    let new: Vec<_> =
        read(list)?.iter().map(in_order).filter(|(_, _, bytes)| !there.contains(bytes)).collect();
    for (_, id, bytes) in &new {
        bearers.entry(id.clone()).or_default().insert(bytes.clone());
    }
    Ok(new.into_iter().map(|(_, id, _)| id).find(|id| bearers.get(id).is_some_and(|b| b.len() > 1)))
}
