//! The revocation list (docs/formats.md `revocations.json`): read, judged by, and joined with what is added.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::oci::{Algorithm, Digest, sorted_json};
use crate::sig::{KeyId, json};
use crate::time::UnixTime;

/// Most entries of a list that is written: readers take a state of 16 MiB.
const MAX_ENTRIES: usize = 20_000;
/// Of these, for tombstones alone.
const RESERVE: usize = 1_000;
/// Most entries that a submitted list adds to one that is half full.
const MAX_ADDED: usize = 1_000;
/// Most bytes of a list that a recovery writes, unless the good one is longer.
const MAX_RECOVERED: usize = 8 * 1024 * 1024;

/// A parsed list in which every entry was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    entries: Vec<RevocationEntry>,
    /// By bundle, the first standing entry that takes it back: a bundle of many parts asks for each of them.
    back: BTreeMap<Digest, usize>,
}

/// One entry, as its signer worded it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct RevocationEntry {
    /// Its name in the list.
    pub id: String,
    /// What it says.
    pub kind: RevocationKind,
    #[serde(default)]
    subject: Option<String>,
    /// The bundle that it is about.
    #[serde(skip)]
    pub digest: Option<Digest>,
    /// When it was entered.
    pub at: UnixTime,
    /// By whom.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The id of the entry that it undoes.
    #[serde(default)]
    pub undoes: Option<String>,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationKind {
    /// A bundle is taken back.
    Bundle,
    /// A signature of another tool is.
    Signature,
    /// A key is.
    Key,
    /// A certificate is.
    Certificate,
    /// A bundle is taken back, and its entries went.
    Tombstone,
    /// A warning.
    Advisory,
    /// Another entry counts no longer.
    Unrevoke,
}

/// What is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// This bundle is taken back.
    Tombstone(Digest),
    /// A warning of this bundle, or of all of the collection.
    Advisory(Option<Digest>),
    /// The entry with this id counts no longer; where several bear it, those about this bundle.
    Undo(String, Option<Digest>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    entries: Vec<RevocationEntry>,
}

impl RevocationList {
    /// Read the list.
    ///
    /// # Errors
    /// What is not understood could be a revocation.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let list = Self::parse_of_signatures(bytes)?;
        // It could be a key of TUF, by which this very list was signed.
        match list.entries.iter().find(|e| e.kind == RevocationKind::Key) {
            Some(e) => Err(format!("entry \"{}\" revokes a key, which this version cannot judge", e.id)),
            None => Ok(list),
        }
    }

    /// The same for judging signatures of other tools, whose keys are named by the digest of their SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// As [`RevocationList::parse`], but for keys that are named so.
    pub(super) fn parse_of_signatures(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes).map_err(|e| e.to_string())?;
        let doc = Document::deserialize(&value).map_err(|e| e.to_string())?;
        if doc.schema_version != 1 {
            return Err(format!("schemaVersion {} is not 1", doc.schema_version));
        }
        let entries = doc.entries.into_iter().map(RevocationEntry::understood).collect::<Result<_, _>>()?;
        let mut list = Self { entries, back: BTreeMap::new() };
        let mut back = BTreeMap::new();
        for (n, entry) in list.numbered().filter(|(_, e)| e.is_revocation()) {
            if let Some(digest) = &entry.digest {
                back.entry(digest.clone()).or_insert(n);
            }
        }
        list.back = back;
        Ok(list)
    }

    /// All entries, as they stand.
    pub fn entries(&self) -> &[RevocationEntry] {
        &self.entries
    }

    /// The entry that takes back `digest`, unless another one undoes it.
    pub fn revokes(&self, digest: &Digest) -> Option<&RevocationEntry> {
        self.back.get(digest).and_then(|n| self.entries.get(*n))
    }

    /// The entry that takes any of these back: a signature, a key, a certificate, or the bundle that was signed.
    pub(super) fn takes_back<'a>(&self, any: &'a [Digest]) -> Option<(&'a Digest, &RevocationEntry)> {
        let about = |e: &RevocationEntry| any.iter().find(|digest| e.digest.as_ref() == Some(*digest));
        let takes = |e: &&RevocationEntry| {
            let other = [RevocationKind::Signature, RevocationKind::Key, RevocationKind::Certificate];
            e.is_revocation() || other.contains(&e.kind)
        };
        self.standing().filter(takes).find_map(|e| Some((about(e)?, e)))
    }

    /// The warnings of any of these bundles, and those of the whole collection.
    pub fn advisories(&self, digests: &[Digest]) -> Vec<&RevocationEntry> {
        let digests: BTreeSet<&Digest> = digests.iter().collect();
        let about = |e: &&RevocationEntry| {
            e.kind == RevocationKind::Advisory && e.digest.as_ref().is_none_or(|d| digests.contains(d))
        };
        self.standing().filter(about).collect()
    }

    /// The entries that no other one undoes. An id is a word that its signer chose: where several entries bear it, only an
    /// undoing that names the bundle says which is meant, and one that does not undoes none of them.
    pub fn standing(&self) -> impl Iterator<Item = &RevocationEntry> {
        self.numbered().map(|(_, entry)| entry)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &RevocationEntry)> {
        let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
        let undoable = || self.entries.iter().filter(|e| e.kind != RevocationKind::Unrevoke);
        undoable().for_each(|e| *bearers.entry(&e.id).or_default() += 1);
        let undoings = || self.entries.iter().filter(|e| e.kind == RevocationKind::Unrevoke);
        let named: BTreeSet<(&str, &Digest)> =
            undoings().filter_map(|e| Some((e.undoes.as_deref()?, e.digest.as_ref()?))).collect();
        let bare: BTreeSet<&str> =
            undoings().filter(|e| e.digest.is_none()).filter_map(|e| e.undoes.as_deref()).collect();
        let counts = move |e: &RevocationEntry| {
            let id = e.id.as_str();
            let alone = bearers.get(id) == Some(&1);
            let about = e.digest.as_ref().is_some_and(|digest| named.contains(&(id, digest)));
            e.kind == RevocationKind::Unrevoke || !(about || alone && bare.contains(id))
        };
        self.entries.iter().enumerate().filter(move |(_, e)| counts(e))
    }
}

impl RevocationEntry {
    fn is_revocation(&self) -> bool {
        matches!(self.kind, RevocationKind::Bundle | RevocationKind::Tombstone)
    }

    /// What must be there for its kind is there.
    fn understood(mut self) -> Result<Self, String> {
        match self.kind {
            RevocationKind::Bundle | RevocationKind::Tombstone => self.digest = Some(self.named()?),
            // One without subject warns of the whole collection.
            RevocationKind::Advisory if self.subject.is_some() => self.digest = Some(self.named()?),
            RevocationKind::Unrevoke if self.undoes.is_none() => {
                return Err(format!("entry \"{}\" does not say what it undoes", self.id));
            }
            RevocationKind::Unrevoke if self.subject.is_some() => self.digest = Some(self.named()?),
            RevocationKind::Key => {
                let why = || format!("entry \"{}\" revokes a key, which this version cannot judge", self.id);
                self.digest = Some(self.named().map_err(|_| why())?);
            }
            RevocationKind::Signature | RevocationKind::Certificate => self.digest = self.named().ok(),
            RevocationKind::Advisory | RevocationKind::Unrevoke => {}
        }
        Ok(self)
    }

    fn named(&self) -> Result<Digest, String> {
        let subject = self.subject.as_deref().unwrap_or_default();
        let digest: Digest =
            subject.parse().map_err(|e| format!("entry \"{}\": its subject: {e}", self.id))?;
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(digest),
            _ => Err(format!("entry \"{}\": its subject is no sha256 digest", self.id)),
        }
    }
}

impl Revoke {
    /// The entry, signed by `by` at `at`. Its id is the beginning of a hash over the rest: the same is entered once.
    pub fn to_json(&self, by: &KeyId, at: UnixTime, reason: &str) -> Value {
        let (kind, subject, undoes) = match self {
            Self::Tombstone(digest) => ("tombstone", Some(digest), None),
            Self::Advisory(digest) => ("advisory", digest.as_ref(), None),
            Self::Undo(id, about) => ("unrevoke", about.as_ref(), Some(id)),
        };
        let mut entry = json!({"kind": kind, "at": at, "by": by, "reason": reason});
        if let Some(subject) = subject {
            entry["subject"] = json!(subject);
        }
        if let Some(undoes) = undoes {
            entry["undoes"] = json!(undoes);
        }
        entry["id"] = json!(&Digest::sha256(&sorted_json(&entry)).hex()[..16]);
        entry
    }
}

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
/// have signed those, so they undo nothing, and they cannot fill the list: what takes bundles back goes first, then what an
/// earlier one of `since` has, then what is newer, and what does not fit beside the reserve is left out.
///
/// # Errors
/// [`UnreadableList`]: `good` cannot be read. What it takes back would be lost with it.
pub fn recovered_revocations(
    good: Option<&[u8]>,
    since: &[&[u8]],
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
    let takes_back = |e: &Value| e["kind"] == json!("bundle") || e["kind"] == json!("tombstone");
    let mut more = Vec::new();
    for (i, list) in since.iter().filter_map(|list| read(list)).enumerate() {
        let new = entries(&list).into_iter().filter(|e| e["kind"] != json!("unrevoke"));
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

/// By time, then id.
fn in_order(entry: &Value) -> (String, String, Vec<u8>) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    (text("at"), text("id"), sorted_json(entry))
}

/// Whether a list is so long that the rest is kept for tombstones of who holds the key: what others submit, and warnings, no
/// longer go in.
pub fn is_nearly_full(list: &[u8]) -> bool {
    let entries = json::parse(list).ok().and_then(|v| v["entries"].as_array().map(Vec::len));
    entries.is_some_and(|n| n > MAX_ENTRIES - RESERVE)
}

/// Whether `more` entries still fit into a list.
pub fn has_room(list: &RevocationList, more: &[Value]) -> bool {
    let only = more.iter().all(|e| e["kind"] == json!("tombstone"));
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

/// Whether a revocation list takes back `digest`: for who is about to vouch for it.
///
/// # Errors
/// What is not understood could be a revocation.
pub fn is_revoked(list: &[u8], digest: &Digest) -> Result<bool, String> {
    RevocationList::parse(list).map(|list| list.revokes(digest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submitted_list_leaves_room() {
        let list = |from: usize, to: usize| -> Vec<u8> {
            let entry = |n| json!({"id": format!("{n}"), "kind": "advisory", "at": "2027-01-15T08:00:00Z"});
            let entries: Vec<Value> = (from..to).map(entry).collect();
            json!({"schemaVersion": 1, "entries": entries}).to_string().into_bytes()
        };
        let check = |new: &[u8], known: &[u8]| check_submitted(new, &[known]).is_ok();
        assert!(check(&list(0, 0), &list(0, 0)) && check(&list(0, 10_000), &list(0, 0)));
        assert!(!check(&list(0, 10_001), &list(0, 0)) && !check(&list(0, 20_000), &list(0, 5)));
        assert!(check(&list(0, 13_000), &list(0, 12_000)) && !check(&list(0, 13_001), &list(0, 12_000)));
        assert!(check(&list(0, 19_000), &list(0, 18_500)) && !check(&list(0, 19_001), &list(0, 18_500)));
        // What it lacks is no reason, and neither is what is published.
        assert!(check(&list(0, 5), &list(0, 19_500)) && check(&list(0, 5), b"{}"));
        assert!(!check(b"{\"schemaVersion\":2,\"entries\":[]}", &list(0, 0)) && !check(b"junk", &list(0, 0)));
        // An id of another entry: what is undone by it would count for neither.
        let other = json!({"id": "1", "kind": "tombstone", "subject": Digest::sha256(b"x"), "at": "2027-01-15T08:00:00Z"});
        let taken = json!({"schemaVersion": 1, "entries": [other]}).to_string();
        assert!(check_submitted(taken.as_bytes(), &[&list(0, 5)[..]]).unwrap_err().contains("the id 1"));
        assert!(check(taken.as_bytes(), &list(2, 5)) && check(taken.as_bytes(), taken.as_bytes()));
        // The two alone are small enough.
        assert!(!check(&list(9_000, 18_000), &list(0, 9_000)));
    }

    #[test]
    fn unknown_kinds_and_versions_are_not_read_as_nothing() {
        for bad in [
            r#"{"schemaVersion":2,"entries":[]}"#,
            r#"{"entries":[]}"#,
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":1,"entries":[{"id":"a","kind":"curse","at":"2026-01-01T00:00:00Z"}]}"#,
            "[]",
        ] {
            assert!(RevocationList::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// A full list, asked for every part of a large index, costs no more than a few reads of it.
    #[test]
    fn many_bundles_are_looked_up_in_a_full_list() {
        let digests: Vec<Digest> =
            (0..MAX_ENTRIES).map(|n| Digest::sha256(n.to_string().as_bytes())).collect();
        let entry = |(n, d): (usize, &Digest)| json!({"id": format!("{n}"), "kind": "tombstone", "subject": d, "at": "2026-01-01T00:00:00Z"});
        let entries: Vec<Value> = digests.iter().enumerate().map(entry).collect();
        let list = json!({"schemaVersion": 1, "entries": entries}).to_string();
        let begun = std::time::Instant::now();
        let list = RevocationList::parse(list.as_bytes()).unwrap();
        assert!(digests.iter().all(|d| list.revokes(d).is_some_and(|e| e.digest.as_ref() == Some(d))));
        assert!(list.advisories(&digests).is_empty());
        // One walk over the list for each of them takes minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[test]
    fn an_undone_entry_does_not_count() {
        let digest = Digest::sha256(b"x");
        let entry = format!(
            r#"{{"id":"a","kind":"bundle","subject":"{digest}","at":"2026-01-01T00:00:00Z","reason":"r"}}"#
        );
        let list = |more: &str| {
            RevocationList::parse(format!(r#"{{"schemaVersion":1,"entries":[{entry}{more}]}}"#).as_bytes())
                .unwrap()
        };
        assert_eq!(list("").revokes(&digest).unwrap().reason.as_deref(), Some("r"));
        assert_eq!(list("").revokes(&Digest::sha256(b"y")), None);
        assert_eq!(
            list(r#",{"id":"b","kind":"unrevoke","undoes":"a","at":"2026-01-02T00:00:00Z"}"#)
                .revokes(&digest),
            None
        );
    }

    /// A thief enters a good bundle under the id of an honest tombstone, so that undoing the one would undo the other.
    #[test]
    fn of_entries_with_one_id_only_the_one_that_is_named_is_undone() {
        let (bad, good) = (Digest::sha256(b"bad"), Digest::sha256(b"good"));
        let entry = |digest: &Digest, at: &str| json!({"id": "a", "kind": "tombstone", "subject": digest, "at": at, "reason": "r"});
        let undo = |subject: Option<&Digest>| {
            let mut e = json!({"id": "b", "kind": "unrevoke", "undoes": "a", "at": "2026-01-03T00:00:00Z"});
            subject.into_iter().for_each(|d| e["subject"] = json!(d));
            e
        };
        let list = |entries: &[Value]| {
            let doc = json!({"schemaVersion": 1, "entries": entries});
            RevocationList::parse(doc.to_string().as_bytes()).unwrap()
        };
        let (honest, thiefs) = (entry(&bad, "2026-01-01T00:00:00Z"), entry(&good, "2026-01-02T00:00:00Z"));
        let plain = list(&[honest.clone(), thiefs.clone(), undo(None)]);
        assert!(plain.revokes(&bad).is_some() && plain.revokes(&good).is_some());
        let named = list(&[honest.clone(), thiefs, undo(Some(&good))]);
        assert!(named.revokes(&bad).is_some() && named.revokes(&good).is_none());
        assert!(list(&[honest.clone(), undo(None)]).revokes(&bad).is_none());
        assert!(list(&[honest, undo(Some(&good))]).revokes(&bad).is_some());
    }

    #[test]
    fn a_join_holds_every_entry_and_says_when_there_is_no_news() {
        let by: KeyId = "ab".repeat(32).try_into().unwrap();
        let at: UnixTime = "2026-01-01T00:00:00Z".parse().unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let entry = |what: &Revoke| what.to_json(&by, at, "r");
        let list =
            |entries: &[Value]| serde_json::to_vec(&json!({"schemaVersion": 1, "entries": entries})).unwrap();
        let (one, two) = (entry(&Revoke::Tombstone(a.clone())), entry(&Revoke::Advisory(Some(b.clone()))));
        let (x, y) = (list(std::slice::from_ref(&one)), list(std::slice::from_ref(&two)));
        let joined = join_revocations(&[&x, &y], &[]).unwrap().unwrap();
        assert_eq!(Some(&joined), join_revocations(&[&y, &x], &[]).unwrap().as_ref());
        assert_eq!(join_revocations(&[&joined, &x, &y], std::slice::from_ref(&one)).unwrap(), None);
        let read = RevocationList::parse(&joined).unwrap();
        assert!(read.revokes(&a).is_some() && read.revokes(&b).is_none());
        assert_eq!(
            (
                read.advisories(std::slice::from_ref(&a)).len(),
                read.advisories(std::slice::from_ref(&b)).len()
            ),
            (0, 1)
        );
        let undo = entry(&Revoke::Undo(one["id"].as_str().unwrap().to_owned(), None));
        let undone = join_revocations(&[&joined], &[undo]).unwrap().unwrap();
        assert!(RevocationList::parse(&undone).unwrap().revokes(&a).is_none());
        let all = list(&[entry(&Revoke::Advisory(None))]);
        assert_eq!(RevocationList::parse(&all).unwrap().advisories(&[a]).len(), 1);
        assert!(join_revocations(&[br#"{"schemaVersion":2,"entries":[]}"#], &[]).is_err());
    }

    fn of(entries: &[Value]) -> Vec<u8> {
        sorted_json(&json!({"schemaVersion": 1, "entries": entries}))
    }

    #[test]
    fn a_recovery_takes_over_what_takes_back_and_no_undoing() {
        let subject = Digest::sha256(b"bad");
        let at = "2026-01-01T00:00:00Z";
        let entry = |id: &str, kind: &str| json!({"id": id, "kind": kind, "subject": subject, "at": at});
        let undo = json!({"id": "u", "kind": "unrevoke", "undoes": "a", "at": at});
        let good = of(&[entry("a", "tombstone")]);
        let thiefs = of(&[entry("a", "tombstone"), undo.clone()]);
        assert_eq!(recovered_revocations(Some(&good), &[&thiefs, &good, b"{}"]), Ok(None));
        let since = of(&[entry("b", "advisory"), undo]);
        let list = recovered_revocations(Some(&good), &[&since]).unwrap().unwrap();
        let list = RevocationList::parse(&list).unwrap();
        assert!(list.revokes(&subject).is_some() && list.advisories(&[subject]).len() == 1);
        // Without a good list one alone is taken over, too.
        assert!(recovered_revocations(None, &[&good]).unwrap().is_some());
        // One that cannot be read is no empty one: what it takes back would count again.
        for bad in
            [&b"{}"[..], b"", br#"{"schemaVersion":2,"entries":[]}"#, br#"{"schemaVersion":1,"entries":7}"#]
        {
            assert!(recovered_revocations(Some(bad), &[&good]).is_err());
        }
    }

    #[test]
    fn a_full_list_stops_no_recovery_and_leaves_room() {
        let at = "2026-01-01T00:00:00Z";
        let junk =
            |n: usize| json!({"id": format!("j{n}"), "kind": "advisory", "at": "2030-01-01T00:00:00Z"});
        let tombstone =
            |what: &Digest| json!({"id": what.hex(), "kind": "tombstone", "subject": what, "at": at});
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        let good = of(&[tombstone(&old)]);
        let mut full: Vec<Value> = (0..MAX_ENTRIES).map(junk).collect();
        full.push(tombstone(&new));
        let full = of(&full);
        assert!(join_revocations(&[&good, &full], &[]).is_err());
        let list = recovered_revocations(Some(&good), &[&full]).unwrap().unwrap();
        assert!(!is_nearly_full(&list));
        let list = RevocationList::parse(&list).unwrap();
        assert!(list.revokes(&old).is_some() && list.revokes(&new).is_some());
        // Few entries may be long, too.
        let long = json!({"id": "l", "kind": "advisory", "at": at, "reason": "x".repeat(MAX_RECOVERED)});
        assert_eq!(recovered_revocations(Some(&good), &[&of(&[long])]), Ok(None));
    }
}
