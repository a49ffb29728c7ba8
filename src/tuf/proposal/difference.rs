//! The difference between what is published and the very bytes that are signed: never the proposal's own words.
//!
//! What this module knows is named in its own terms (keys, thresholds, delegations, targets); every other member that
//! changed is named by its place. Nothing can be changed without an item that says so: what no item covers becomes one.

mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::descent::{strange, strange_first};
use super::leaves::{Leaf, leaves, named};
use super::{Base, Contents, Drafted, Proposal};
use crate::oci::Digest;
use crate::sig::PublicKey;
use crate::tuf::{AGREEMENT, Agreement, Ancestor, RoleName, plain};
use roles::{delegations, keys_and_roles};

/// Longest value that is shown in words, characters.
const SHOWN: usize = 300;

/// What a proposal changes, role by role, in the order in which it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// One for each draft; root first.
    pub files: Vec<FileDifference>,
    /// Target files that come along: path, size, SHA-256, and the role that lists exactly these bytes.
    pub along: Vec<Along>,
    /// What changes inside target files.
    pub contents: Vec<Contents>,
}

/// A target file that comes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// Its path.
    pub path: String,
    /// Size, bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
    /// The drafts that list exactly these bytes.
    pub listed_by: Vec<RoleName>,
}

/// What one draft changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// The role.
    pub role: RoleName,
    /// The published file; none for a new role.
    pub old: Option<Ancestor>,
    /// The draft's version, as it says.
    pub version: u64,
    /// SHA-256 of the bytes that are signed.
    pub message: Digest,
    /// Every change.
    pub items: Vec<Item>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// The role, path or member that it is about.
    pub subject: String,
    /// Its places in the signed value, each member by member; a delegation stands under its name.
    pub at: Vec<Vec<String>>,
    /// What is published; none where nothing is.
    pub old: Option<Value>,
    /// What would be; none where nothing would.
    pub new: Option<Value>,
    /// One line for people. Control characters are escaped.
    pub text: String,
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// The file's version.
    Version,
    /// When it was made.
    At,
    /// When it expires.
    Expires,
    /// A key may sign a role.
    KeyAdded,
    /// A key may no longer sign a role.
    KeyRemoved,
    /// The key that an id stands for.
    KeyChanged,
    /// How many keys must sign a role.
    Threshold,
    /// A role is delegated to.
    DelegationAdded,
    /// A role is no longer delegated to.
    DelegationRemoved,
    /// A role may speak for more.
    PathsAdded,
    /// A role may speak for less.
    PathsRemoved,
    /// Whether the search ends at a role.
    Terminating,
    /// The order of the delegations, which is their priority.
    Order,
    /// An entry is added.
    TargetAdded,
    /// An entry goes.
    TargetRemoved,
    /// An entry names other bytes, or says something else.
    TargetChanged,
    /// Which files it descends from, which withdrawals it knows.
    Lineage,
    /// Which roles must list a bundle alike.
    Agreement,
    /// Inside the revocation list: an entry goes, and what it took back counts again.
    RevocationRemoved,
    /// Inside the revocation list: an entry comes that undoes another one.
    RevocationUndone,
    /// Inside the revocation list: an entry comes.
    RevocationAdded,
    /// Inside a target file: a line goes.
    LineRemoved,
    /// Inside a target file: a line comes.
    LineAdded,
    /// Which version of a file a snapshot or timestamp names.
    Listed,
    /// Any other member.
    Other,
}

impl ItemKind {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::At => "at",
            Self::Expires => "expires",
            Self::KeyAdded => "key-added",
            Self::KeyRemoved => "key-removed",
            Self::KeyChanged => "key-changed",
            Self::Threshold => "threshold",
            Self::DelegationAdded => "delegation-added",
            Self::DelegationRemoved => "delegation-removed",
            Self::PathsAdded => "paths-added",
            Self::PathsRemoved => "paths-removed",
            Self::Terminating => "terminating",
            Self::Order => "order",
            Self::TargetAdded => "target-added",
            Self::TargetRemoved => "target-removed",
            Self::TargetChanged => "target-changed",
            Self::Lineage => "lineage",
            Self::Agreement => "agreement",
            Self::RevocationRemoved => "revocation-removed",
            Self::RevocationUndone => "revocation-undone",
            Self::RevocationAdded => "revocation-added",
            Self::LineRemoved => "line-removed",
            Self::LineAdded => "line-added",
            Self::Listed => "listed",
            Self::Other => "other",
        }
    }

    /// What every new version has: its number, its time, its ancestors.
    pub fn is_routine(self) -> bool {
        matches!(self, Self::Version | Self::At | Self::Lineage)
    }
}

impl Proposal {
    /// What is published, against the bytes that are signed.
    pub fn difference(&self, base: &Base) -> Difference {
        let one = |(role, draft): (&RoleName, &Drafted)| {
            let mut items = items(base.signed(role), draft.signed());
            items.extend(match (base.role(role), draft.targets()) {
                (Some(file), _) => strange(file, draft.signed()),
                (None, Some(_)) => strange_first(base.collection(), role, draft.signed()),
                (None, None) => Vec::new(),
            });
            FileDifference {
                role: role.clone(),
                old: base.file(role),
                version: draft.version().get(),
                message: Digest::sha256(&draft.message()),
                items,
            }
        };
        let mut files: Vec<_> = self.drafts().iter().map(one).collect();
        let rank = |role: &RoleName| match role.as_str() {
            "root" => 0,
            "targets" => 1,
            "snapshot" => 3,
            "timestamp" => 4,
            _ => 2,
        };
        files.sort_by_key(|f| (rank(&f.role), f.role.clone()));
        let along = self.files().iter().map(|(path, bytes)| {
            let lists = |d: &Drafted| {
                d.targets().and_then(|t| t.targets().get(path)).is_some_and(|t| t.check(bytes).is_ok())
            };
            Along {
                path: path.clone(),
                size: bytes.len() as u64,
                digest: Digest::sha256(bytes),
                listed_by: self.drafts().iter().filter(|(_, d)| lists(d)).map(|(r, _)| r.clone()).collect(),
            }
        });
        Difference { files, along: along.collect(), contents: self.contents(base) }
    }
}

impl Difference {
    /// For machines.
    pub fn to_json(&self) -> Value {
        let file = |f: &FileDifference| {
            json!({
                "role": f.role, "version": f.version, "signs": f.message,
                "replaces": f.old.as_ref().map(|o| json!({"version": o.0, "sha256": o.1})),
                "items": f.items.iter().map(Item::to_json).collect::<Vec<_>>(),
            })
        };
        let along =
            |a: &Along| json!({"path": a.path, "size": a.size, "digest": a.digest, "listedBy": a.listed_by});
        json!({
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "along": self.along.iter().map(along).collect::<Vec<_>>(),
            "contents": self.contents.iter().map(Contents::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Item {
    /// For machines.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.as_str(), "subject": self.subject,
            "at": self.at.iter().map(|at| pointer(at)).collect::<Vec<_>>(),
            "old": self.old, "new": self.new, "text": self.text,
        })
    }
}

/// For people: a line a change, what every new version has at the end of its file's lines.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            let old = file.old.as_ref().map_or_else(|| "new".to_owned(), |o| format!("{} ->", o.0));
            writeln!(f, "{} {old} {}", plain(file.role.as_str()), file.version)?;
            let (routine, rest): (Vec<_>, Vec<_>) = file.items.iter().partition(|i| i.kind.is_routine());
            for item in &rest {
                writeln!(f, "  {}", item.text)?;
            }
            if rest.is_empty() {
                writeln!(f, "  the same, signed again")?;
            }
            let routine: Vec<&str> = routine.iter().map(|i| i.text.as_str()).collect();
            writeln!(f, "  ({})", routine.join("; "))?;
            writeln!(f, "  signs {}", file.message)?;
        }
        for a in &self.along {
            let by: Vec<String> = a.listed_by.iter().map(|r| plain(r.as_str())).collect();
            let by = if by.is_empty() {
                "no draft lists it".to_owned()
            } else {
                format!("listed by {}", by.join(", "))
            };
            writeln!(f, "file {}: {} bytes, {}, {by}", plain(&a.path), a.size, a.digest)?;
        }
        self.contents.iter().try_for_each(|c| c.fmt(f))
    }
}

/// Every change from `old` to `new`. Without an old file everything is new.
pub(super) fn items(old: Option<&Value>, new: &Value) -> Vec<Item> {
    let nothing = Value::Object(Map::new());
    let old = old.unwrap_or(&nothing);
    let mut out = Vec::new();
    heading(old, new, &mut out);
    let (roles, others) = (top_roles(old), top_roles(new));
    keys_and_roles(&[], (&old["keys"], &roles), (&new["keys"], &others), &mut out);
    let (a, b) = (&old["delegations"], &new["delegations"]);
    delegations(a, b, &mut out);
    targets(&old["targets"], &new["targets"], &mut out);
    agreement(old, new, &mut out);
    listed(&old["meta"], &new["meta"], &mut out);
    // Whatever no item above says: nothing changes in silence.
    let said: BTreeSet<Vec<String>> =
        out.iter().filter(|i| i.kind != ItemKind::Order).flat_map(|i| i.at.clone()).collect();
    let ordered = out.iter().any(|i| i.kind == ItemKind::Order);
    for leaf in leaves(old, new) {
        let covered = match leaf.order {
            true => ordered,
            false => (1..=leaf.at.len()).any(|n| said.contains(&leaf.at[..n])),
        };
        if !covered {
            out.push(other(leaf));
        }
    }
    // Whoever wrote the draft chose these words; once more for all of them, since people sign by what they read here.
    for item in &mut out {
        item.text = plain(&item.text);
    }
    out
}

fn heading(old: &Value, new: &Value, out: &mut Vec<Item>) {
    let rows: [(&[&str], ItemKind, &str); 7] = [
        (&["version"], ItemKind::Version, "version"),
        (&["expires"], ItemKind::Expires, "expires"),
        (&["x-bulla", "at"], ItemKind::At, "made at"),
        (&["x-bulla", "ancestors"], ItemKind::Lineage, "ancestors"),
        (&["x-bulla", "withdrawn"], ItemKind::Lineage, "withdrawals"),
        (&["x-bulla", "delegationsSet"], ItemKind::Lineage, "delegations set by version"),
        (&["x-bulla", "delegated"], ItemKind::Lineage, "changes of delegations"),
    ];
    for (at, kind, what) in rows {
        let get = |v: &Value| at.iter().try_fold(v, |v, name| v.get(name)).cloned();
        let (a, b) = (get(old), get(new));
        if a == b {
            continue;
        }
        let count = |v: &Option<Value>| match v {
            Some(Value::Array(list)) => format!("{}", list.len()),
            Some(Value::Object(map)) => format!("{}", map.len()),
            other => shown(other.as_ref()),
        };
        let text = match &a {
            None => format!("{what} {}", count(&b)),
            Some(_) => format!("{what} {} -> {}", count(&a), count(&b)),
        };
        let at = vec![at.iter().map(|s| (*s).to_owned()).collect()];
        out.push(Item { kind, subject: what.into(), at, old: a, new: b, text });
    }
}

/// The files that a snapshot or a timestamp names.
fn listed(old: &Value, new: &Value, out: &mut Vec<Item>) {
    let (Some(new), nothing) = (new.as_object(), Map::new()) else { return };
    let old = old.as_object().unwrap_or(&nothing);
    let pin = |v: &Value| match v["hashes"]["sha256"].as_str() {
        Some(hash) => format!("version {}, sha256:{hash}", shown(Some(&v["version"]))),
        None => format!("version {}, whatever its hash", shown(Some(&v["version"]))),
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (a, b) = (old.get(name), new.get(name));
        let text = match (a, b) {
            (a, b) if a == b => continue,
            (Some(a), Some(b)) => format!("names {name}: {} -> {}", pin(a), pin(b)),
            (None, b) => format!("names {name}: {}", b.map(pin).unwrap_or_default()),
            (a, None) => format!("names {name} no longer, it was {}", a.map(pin).unwrap_or_default()),
        };
        out.push(Item {
            kind: ItemKind::Listed,
            subject: name.clone(),
            at: vec![vec!["meta".into(), name.clone()]],
            old: a.cloned(),
            new: b.cloned(),
            text,
        });
    }
}

fn top_roles(signed: &Value) -> BTreeMap<String, Value> {
    let roles = signed["roles"].as_object();
    roles.into_iter().flatten().map(|(name, role)| (name.clone(), role.clone())).collect()
}

fn targets(old: &Value, new: &Value, out: &mut Vec<Item>) {
    let empty = Map::new();
    let (a, b) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let paths: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for path in paths {
        let (from, to) = (a.get(path), b.get(path));
        if from == to {
            continue;
        }
        let name = plain(path);
        let (kind, text) = match (from, to) {
            (None, Some(to)) => (ItemKind::TargetAdded, format!("entry {name}: {}", target_text(to))),
            (Some(from), None) => {
                (ItemKind::TargetRemoved, format!("entry {name} goes, it was {}", target_text(from)))
            }
            (Some(from), Some(to)) => {
                let changed: Vec<String> = leaves(from, to)
                    .iter()
                    .map(|l| {
                        format!(
                            "{} {} -> {}",
                            plain(&l.at.join(".")),
                            shown(l.old.as_ref()),
                            shown(l.new.as_ref())
                        )
                    })
                    .collect();
                (ItemKind::TargetChanged, format!("entry {name}: {}", changed.join("; ")))
            }
            (None, None) => continue,
        };
        let at = vec![vec!["targets".to_owned(), path.clone()]];
        out.push(Item { kind, subject: path.clone(), at, old: from.cloned(), new: to.cloned(), text });
    }
}

/// What is demanded in its own terms; what cannot be read as a demand is told like any other member.
fn agreement(old: &Value, new: &Value, out: &mut Vec<Item>) {
    let (a, b) = (old.get(AGREEMENT), new.get(AGREEMENT));
    if a == b {
        return;
    }
    let (Ok(before), Ok(after)) = (Agreement::read(old), Agreement::read(new)) else { return };
    let words = |demand: &Agreement| {
        let roles: Vec<String> = demand.roles().iter().map(|r| plain(r.as_str())).collect();
        format!("{} of {} must list a bundle alike", demand.min(), roles.join(", "))
    };
    let text = match (&before, &after) {
        (None, Some(after)) => words(after),
        (Some(before), Some(after)) => format!("{}, it was: {}", words(after), words(before)),
        (Some(before), None) => format!("no agreement is demanded any more, it was: {}", words(before)),
        (None, None) => return,
    };
    let at = vec![vec![AGREEMENT.to_owned()]];
    let (kind, subject) = (ItemKind::Agreement, "agreement".to_owned());
    out.push(Item { kind, subject, at, old: a.cloned(), new: b.cloned(), text });
}

fn target_text(target: &Value) -> String {
    let hash = target["hashes"]["sha256"]
        .as_str()
        .map_or_else(|| shown(target.get("hashes")), |h| format!("sha256:{}", plain(h)));
    let custom = target.get("custom").map(|c| format!(", {}", shown(Some(c)))).unwrap_or_default();
    format!("{} bytes, {hash}{custom}", shown(target.get("length")))
}

pub(super) fn other(leaf: Leaf) -> Item {
    let place = plain(&leaf.at.join("."));
    let text = match (&leaf.old, &leaf.new) {
        (None, new) => format!("member {place}: {}", shown(new.as_ref())),
        (old, None) => format!("member {place} goes, it was {}", shown(old.as_ref())),
        (old, new) => format!("member {place}: {} -> {}", shown(old.as_ref()), shown(new.as_ref())),
    };
    Item {
        kind: ItemKind::Other,
        subject: leaf.at.join("."),
        at: vec![leaf.at],
        old: leaf.old,
        new: leaf.new,
        text,
    }
}

/// A value in words; a long one by its beginning, size and hash, so that it cannot bury the rest.
pub(super) fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "nothing".into(),
        Some(Value::String(s)) => plain(s),
        Some(v) => plain(&v.to_string()),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    let begin: String = text.chars().take(SHOWN).collect();
    format!("{begin}… ({} bytes, {})", text.len(), Digest::sha256(text.as_bytes()))
}

/// A JSON pointer (RFC 6901).
fn pointer(at: &[String]) -> String {
    at.iter().map(|s| format!("/{}", s.replace('~', "~0").replace('/', "~1"))).collect()
}
