//! What changes inside the target files that a proposal brings, changes or takes out: their signers read entries, not a hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::difference::{other, shown};
use super::leaves::leaves;
use super::{Base, Item, ItemKind, Proposal};
use crate::oci::{Digest, sorted_json};
use crate::sig::json as strict;
use crate::tuf::{Bundle, EntryName, RoleName, Target, Targets, plain};

/// Most lines that are shown of one sort of changes; `--format json` has all.
const LINES: usize = 100;

/// What changes inside one target file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its path.
    pub path: String,
    /// The role whose draft lists it, or no longer does.
    pub role: RoleName,
    /// Every change; those that take something away first.
    pub items: Vec<Item>,
    /// Why what changes cannot be shown: what is published is not here, or what is to come is not.
    pub unseen: Option<String>,
}

impl Contents {
    /// For machines.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "path": self.path, "role": self.role, "unseen": self.unseen,
            "items": self.items.iter().map(Item::to_json).collect::<Vec<_>>(),
        })
    }
}

/// For people. No sort of changes can bury another one.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "inside {}, by {}", plain(&self.path), plain(self.role.as_str()))?;
        if let Some(why) = &self.unseen {
            return writeln!(f, "  IT CANNOT BE SHOWN: {}", plain(why));
        }
        if self.items.is_empty() {
            return writeln!(f, "  the same, written otherwise");
        }
        let mut sorts: Vec<(ItemKind, Vec<&str>)> = Vec::new();
        for item in &self.items {
            match sorts.last_mut() {
                Some((kind, lines)) if *kind == item.kind => lines.push(&item.text),
                _ => sorts.push((item.kind, vec![&item.text])),
            }
        }
        for (_, lines) in sorts {
            for line in lines.iter().take(LINES) {
                writeln!(f, "  {line}")?;
            }
            if lines.len() > LINES {
                writeln!(f, "  and {} more of these (--format json has all)", lines.len() - LINES)?;
            }
        }
        Ok(())
    }
}

impl Proposal {
    /// What changes inside target files of the whole collection, draft by draft: of the bytes that the draft's own entry names, and of
    /// no others that lie in the proposal.
    pub(super) fn contents(&self, base: &Base) -> Vec<Contents> {
        let list = self.collection().revocations_path();
        let along = self.files().keys().chain(base.held().keys());
        let paths: BTreeSet<&str> = along.map(String::as_str).chain([list.as_str()]).collect();
        let drafts = self.drafts().iter().filter_map(|(role, draft)| Some((role, draft.targets()?)));
        drafts
            .flat_map(|(role, draft)| {
                paths.iter().filter_map(move |path| self.content(base, (role, draft), path))
            })
            .collect()
    }

    fn content(&self, base: &Base, (role, draft): (&RoleName, &Targets), path: &str) -> Option<Contents> {
        let before = base.role(role).and_then(|file| file.role().targets().get(path));
        let after = draft.targets().get(path);
        if before.map(hash) == after.map(hash) {
            return None;
        }
        let (held, along) = (base.held().get(path), self.files().get(path));
        let of = |target: &Target, files: [Option<&Bytes>; 2]| {
            files.into_iter().flatten().find(|bytes| target.check(bytes).is_ok()).cloned()
        };
        // Of a role that did not list it yet, what others list is published at the path.
        let listed = base.roles().values().any(|at| at.file.role().targets().contains_key(path));
        let old = match before {
            Some(before) => of(before, [held, None]),
            None => held.cloned(),
        };
        let new = after.and_then(|after| of(after, [along, held]));
        let unseen = if old.is_none() && (before.is_some() || listed) {
            Some("what is published at this path did not come along".to_owned())
        } else if new.is_none() && after.is_some() {
            Some("the file that the draft lists did not come along".to_owned())
        } else {
            None
        };
        let mut out = Contents { path: path.to_owned(), role: role.clone(), items: Vec::new(), unseen };
        if out.unseen.is_none() {
            match path == self.collection().revocations_path() {
                true => entries(old.as_deref(), new.as_deref(), &tags(base), &mut out),
                false => of_any_kind(old.as_deref(), new.as_deref(), &mut out),
            }
        }
        for item in &mut out.items {
            item.text = plain(&item.text);
        }
        let empty = old.is_none() && out.items.is_empty() && out.unseen.is_none();
        (!empty).then_some(out)
    }
}

fn hash(target: &Target) -> (u64, Option<&str>) {
    (target.length, target.sha256())
}

/// The tags that the published roles give to each bundle, by its SHA-256.
fn tags(base: &Base) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, target) in base.roles().values().flat_map(|at| at.file.role().targets()) {
        let Some(hex) = target.sha256() else { continue };
        let said = Bundle::read(target).map(|b| b.about.tags).unwrap_or_default();
        let own = match base.collection().entry(path) {
            Some(EntryName::Tag(tag)) => Some(tag),
            Some(EntryName::Release(_)) => None,
            None => continue,
        };
        out.entry(hex.to_owned()).or_default().extend(said.into_iter().chain(own).map(|t| t.to_string()));
    }
    out
}

/// The entries of a revocation list that come and go. A list that cannot be read is told as such.
fn entries(
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    tags: &BTreeMap<String, BTreeSet<String>>,
    out: &mut Contents,
) {
    type Read = (Map<String, Value>, BTreeMap<Vec<u8>, Value>);
    let read = |list: Option<&[u8]>| -> Result<Read, String> {
        let Some(list) = list else { return Ok(Default::default()) };
        let value = strict::parse(list).map_err(|e| e.to_string())?;
        let mut members = value.as_object().cloned().ok_or("it is no object")?;
        let Some(Value::Array(entries)) = members.remove("entries") else {
            return Err("it has no entries".into());
        };
        Ok((members, entries.into_iter().map(|e| (sorted_json(&e), e)).collect()))
    };
    let (others, after) = match read(new) {
        Ok(new) => new,
        Err(why) => return out.unseen = Some(format!("the new list cannot be read: {why}")),
    };
    let (members, before) = read(old).unwrap_or_else(|why| {
        let text = format!("what the published list says cannot be read, and goes: {why}");
        let (kind, subject) = (ItemKind::RevocationRemoved, String::new());
        out.items.push(Item { kind, subject, at: vec![Vec::new()], old: None, new: None, text });
        Default::default()
    });
    let item = |kind, entry: &Value, what: &str| {
        let (old, new) = match kind {
            ItemKind::RevocationRemoved => (Some(entry.clone()), None),
            _ => (None, Some(entry.clone())),
        };
        let subject = entry["id"].as_str().unwrap_or_default().to_owned();
        let text = format!("revocation {what}: {}", worded(entry, tags));
        Item { kind, subject, at: vec![vec!["entries".into()]], old, new, text }
    };
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
    out.items.extend(gone.map(|(_, e)| item(ItemKind::RevocationRemoved, e, "goes")));
    let come: Vec<&Value> = after.iter().filter(|(k, _)| !before.contains_key(*k)).map(|(_, e)| e).collect();
    let undoes = |e: &Value| e["kind"] == json!("unrevoke");
    for (undoing, kind, what) in [
        (true, ItemKind::RevocationUndone, "comes that undoes another"),
        (false, ItemKind::RevocationAdded, "comes"),
    ] {
        out.items.extend(come.iter().filter(|e| undoes(e) == undoing).map(|e| item(kind, e, what)));
    }
    // A list that is new has a version, which says nothing.
    let version = |at: &[String]| old.is_none() && at == ["schemaVersion"];
    let rest = leaves(&members.into(), &others.into()).into_iter().filter(|leaf| !version(&leaf.at));
    out.items.extend(rest.map(other));
}

/// An entry in words: its kind, what it is about, which one it undoes, why, by whom and when, and whatever else it says.
fn worded(entry: &Value, tags: &BTreeMap<String, BTreeSet<String>>) -> String {
    let Some(members) = entry.as_object() else { return shown(Some(entry)) };
    let text = |name: &str| members.get(name).map(|v| shown(Some(v)));
    let or = |name: &str, none: &str| text(name).unwrap_or_else(|| none.to_owned());
    let mut out =
        format!("{} {} of {}", or("id", "no id"), or("kind", "no kind"), or("subject", "the collection"));
    let hex = members.get("subject").and_then(Value::as_str).and_then(|s| s.strip_prefix("sha256:"));
    if let Some(tags) = hex.and_then(|hex| tags.get(hex)).filter(|tags| !tags.is_empty()) {
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        out += &format!(", released as {}", tags.join(", "));
    }
    if let Some(id) = text("undoes").filter(|id| id != "null") {
        out += &format!(", undoes {id}");
    }
    out += &format!(": {} (by {}, {})", or("reason", "no reason"), or("by", "nobody"), or("at", "no time"));
    let known = ["id", "kind", "subject", "undoes", "reason", "by", "at"];
    for (name, value) in members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        out += &format!(", {}: {}", plain(name), shown(Some(value)));
    }
    if !is_own_id(members) {
        out += "; its id is not the hash of the rest";
    }
    out
}

/// Whether the id is the one that bulla gives to these words (docs/formats.md); others may choose theirs freely.
fn is_own_id(entry: &Map<String, Value>) -> bool {
    let mut rest = entry.clone();
    let id = rest.remove("id");
    let hash = Digest::sha256(&sorted_json(&Value::Object(rest)));
    id.as_ref().and_then(Value::as_str) == hash.hex().get(..16)
}

/// A file that is no revocation list: its members where it is JSON, its lines where it is text.
fn of_any_kind(old: Option<&[u8]>, new: Option<&[u8]>, out: &mut Contents) {
    let read =
        |bytes: Option<&[u8]>| bytes.map(|bytes| strict::parse(bytes).ok()).unwrap_or(Some(Value::Null));
    if let (Some(old), Some(new)) = (read(old), read(new)) {
        return out.items.extend(leaves(&old, &new).into_iter().map(other));
    }
    let text = |bytes: Option<&'_ [u8]>| std::str::from_utf8(bytes.unwrap_or_default()).map(str::to_owned);
    let (Ok(old), Ok(new)) = (text(old), text(new)) else {
        return out.unseen = Some("it is no text; compare its digest".into());
    };
    for (kind, lines, others, word) in
        [(ItemKind::LineRemoved, &old, &new, "goes"), (ItemKind::LineAdded, &new, &old, "comes")]
    {
        let known: BTreeSet<&str> = others.lines().collect();
        for (i, line) in lines.lines().enumerate().filter(|(_, line)| !known.contains(line)) {
            let value = Some(Value::from(line));
            let text = format!("line {} {word}: {}", i + 1, shown(value.as_ref()));
            let (old, new) = if word == "goes" { (value, None) } else { (None, value) };
            out.items.push(Item { kind, subject: (i + 1).to_string(), at: Vec::new(), old, new, text });
        }
    }
}

#[cfg(test)]
mod tests;
