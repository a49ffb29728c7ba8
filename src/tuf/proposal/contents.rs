//! What changes inside the target files that a proposal brings, changes or takes out: their signers read entries, not a hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::difference::{other, shown};
use super::leaves::leaves;
use super::{Base, Drafted, Item, ItemKind, Proposal};
use crate::oci::{Digest, sorted_json};
use crate::sig::json as strict;
use crate::tuf::{Bundle, EntryName, RoleName, Target, plain};

/// Most lines that are shown of one sort of changes; `--format json` has all.
const LINES: usize = 100;

/// What changes inside one target file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its path.
    pub path: String,
    /// Every change; those that take something away first.
    pub items: Vec<Item>,
    /// Why what changes cannot be shown: what is published is not here, or what is to come is not.
    pub unseen: Option<String>,
}

impl Contents {
    /// For machines.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "path": self.path, "unseen": self.unseen,
            "items": self.items.iter().map(Item::to_json).collect::<Vec<_>>(),
        })
    }
}

/// For people. No sort of changes can bury another one.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "inside {}", plain(&self.path))?;
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
    /// What changes inside target files of the whole collection: those that come along, and those whose entry a draft changes.
    pub(super) fn contents(&self, base: &Base) -> Vec<Contents> {
        let list = self.collection().revocations_path();
        let mut paths: BTreeSet<&str> = self.files().keys().map(String::as_str).collect();
        for (role, draft) in self.drafts() {
            let Some(targets) = draft.targets() else { continue };
            let before = |path: &str| base.role(role).and_then(|f| f.role().targets().get(path));
            let held = base.held().keys().map(String::as_str).chain([list.as_str()]);
            let changed = |path: &&str| targets.targets().get(*path).map(hash) != before(path).map(hash);
            paths.extend(held.filter(changed));
        }
        paths.into_iter().filter_map(|path| self.content(base, path)).collect()
    }

    fn content(&self, base: &Base, path: &str) -> Option<Contents> {
        let lists = |(_, draft): &(&RoleName, &Drafted)| {
            draft.targets().is_some_and(|t| t.targets().contains_key(path))
        };
        let was_listed = base.roles().values().any(|at| at.file.role().targets().contains_key(path));
        let is_listed = self.drafts().iter().any(|d| lists(&d))
            // Another role, which stays as it is, may list it.
            || base.roles().iter().any(|(role, at)| {
                !self.drafts().contains_key(role) && at.file.role().targets().contains_key(path)
            });
        let (old, along) = (base.held().get(path), self.files().get(path));
        let same = |bytes: &[u8]| {
            let drafted = self.drafts().iter().filter_map(|(_, d)| d.targets()?.targets().get(path));
            let mut all = drafted.chain(base.roles().iter().filter_map(|(role, at)| {
                let stays = !self.drafts().contains_key(role);
                at.file.role().targets().get(path).filter(|_| stays)
            }));
            all.any(|t| t.check(bytes).is_ok())
        };
        let new = along.or_else(|| old.filter(|old| same(old)));
        if old.is_none() && new.is_none() && !was_listed && !is_listed {
            return None;
        }
        let unseen = match (old, new) {
            (None, _) if was_listed => Some("what is published at this path did not come along".to_owned()),
            (_, None) if is_listed => Some("what is to stand at this path did not come along".to_owned()),
            _ => None,
        };
        let (old, new) = (old.map(|b| &b[..]), new.map(|b| &b[..]));
        if unseen.is_none() && old == new {
            return None;
        }
        let mut out = Contents { path: path.to_owned(), items: Vec::new(), unseen };
        if out.unseen.is_none() {
            match path == self.collection().revocations_path() {
                true => entries(old, new, &tags(base), &mut out),
                false => of_any_kind(old, new, &mut out),
            }
        }
        for item in &mut out.items {
            item.text = plain(&item.text);
        }
        Some(out)
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
    let read = |list: Option<&[u8]>| -> Result<(Map<String, Value>, BTreeMap<Vec<u8>, Value>), String> {
        let Some(list) = list else { return Ok(Default::default()) };
        let value = strict::parse(list).map_err(|e| e.to_string())?;
        let mut members = value.as_object().cloned().ok_or("it is no object")?;
        let entries = match members.remove("entries") {
            Some(Value::Array(entries)) => entries,
            _ => return Err("it has no entries".into()),
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
    out.items.extend(leaves(&members.into(), &others.into()).into_iter().map(other));
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
