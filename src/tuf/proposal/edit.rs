//! Typed edits become drafts: the next versions of root and targets roles. Members that bulla does not know survive.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::base::{Base, ways};
use crate::oci::Digest;
use crate::sig::{KeyId, PublicKey};
use crate::time::UnixTime;
use crate::tuf::lineage::{self, Change, RoleFile, View};
use crate::tuf::{
    Draft, Extra, Heading, Limits, Metadata, Paths, RoleKeys, RoleName, Root, Signers, Targets, TufError,
    Unverified, Version,
};

/// Lifetime of a role that has no file yet, seconds.
const FIRST_LIFE: i64 = 90 * 86_400;

/// One thing that shall be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A key may sign a role.
    AddKey {
        /// The role, top-level or delegated.
        role: RoleName,
        /// The key.
        key: PublicKey,
    },
    /// A key may no longer sign a role.
    RemoveKey {
        /// The role.
        role: RoleName,
        /// The key, by the id that stands in the published file.
        key: KeyId,
    },
    /// How many keys must sign a role.
    Threshold {
        /// The role.
        role: RoleName,
        /// At least 1.
        threshold: u32,
    },
    /// Sign a role again, valid this many seconds; `None`: as long as the file before.
    Resign {
        /// The role: root or a targets role.
        role: RoleName,
        /// Seconds.
        life: Option<i64>,
    },
    /// A role delegates to another one.
    Delegate {
        /// The delegator.
        by: RoleName,
        /// To whom.
        role: RoleName,
        /// Its keys and threshold.
        signers: Signers,
        /// What it may speak for.
        paths: Paths,
        /// Whether the search ends there.
        terminating: bool,
        /// Where among the delegations, whose order is their priority.
        place: Place,
        /// `x-bulla` of the delegation: who vetted the delegate, and how.
        note: Option<Value>,
    },
    /// A role no longer delegates to another one.
    Undelegate {
        /// The delegator.
        by: RoleName,
        /// To whom.
        role: RoleName,
    },
    /// A delegated role may speak for something else.
    Scope {
        /// The delegator.
        by: RoleName,
        /// Whose scope.
        role: RoleName,
        /// What it may speak for.
        paths: Paths,
        /// Whether the search ends there.
        terminating: bool,
    },
    /// Another order of the delegations: every name, once.
    Order {
        /// The delegator.
        by: RoleName,
        /// The names.
        roles: Vec<RoleName>,
    },
    /// A first, empty file of a delegated role, which its keys must sign.
    Start {
        /// The role.
        role: RoleName,
    },
    /// An entry of a targets role: `length`, `hashes`, `custom`.
    SetTarget {
        /// The role.
        role: RoleName,
        /// The target path.
        path: String,
        /// The target object.
        value: Value,
    },
    /// An entry of a targets role goes.
    RemoveTarget {
        /// The role.
        role: RoleName,
        /// The target path.
        path: String,
    },
    /// A file of the whole collection, and the entry that lists it.
    File {
        /// The role that lists it.
        role: RoleName,
        /// The target path.
        path: String,
        /// The file.
        bytes: Bytes,
        /// `custom` of the entry.
        custom: Option<Value>,
    },
}

/// Where a new delegation stands among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// After all others.
    Last,
    /// Before all others.
    First,
    /// Before this one.
    Before(RoleName),
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such role, or nothing that may be edited of it.
    #[error("{0} is no role of the collection")]
    NoRole(RoleName),
    /// The root is not published yet.
    #[error("nothing is published that could be edited")]
    NothingPublished,
    /// Whoever commits signs snapshot and timestamp.
    #[error("{0} is signed by whoever commits; only its keys and threshold can be proposed")]
    Online(RoleName),
    /// The role has no key of that id.
    #[error("{role} has no key {key}")]
    NoKey {
        /// The role.
        role: RoleName,
        /// As asked for.
        key: KeyId,
    },
    /// It is a key of the role already.
    #[error("{key} is a key of {role} already")]
    KeyThere {
        /// The role.
        role: RoleName,
        /// The key.
        key: KeyId,
    },
    /// The threshold could not be met.
    #[error("{role}: a threshold of {threshold} with {keys} distinct usable keys")]
    Threshold {
        /// The role.
        role: RoleName,
        /// As it would be.
        threshold: u32,
        /// Distinct keys that can sign.
        keys: usize,
    },
    /// One key for two roles whose files could stand in for each other, or that must be apart.
    #[error("{key} would be a key of {role} and of {other}")]
    SharedKey {
        /// The key.
        key: KeyId,
        /// A role.
        role: RoleName,
        /// The other.
        other: RoleName,
    },
    /// A delegation of that name is there already, or is named as a place and is not there.
    #[error("{by} and {role}: {why}")]
    Delegation {
        /// The delegator.
        by: RoleName,
        /// The role.
        role: RoleName,
        /// What is wrong.
        why: &'static str,
    },
    /// An entry that is not there cannot go.
    #[error("{role} lists no {path}")]
    NoTarget {
        /// The role.
        role: RoleName,
        /// The path.
        path: String,
    },
    /// What was asked for is so already.
    #[error("nothing would change")]
    NothingChanges,
    /// A draft would be no metadata of its role.
    #[error(transparent)]
    Tuf(#[from] TufError),
}

/// What is known of one targets role while edits are applied.
#[derive(Default)]
struct RoleWork {
    delegations: Option<Value>,
    changes: Vec<Change>,
    start: bool,
}

struct Work<'a> {
    base: &'a Base,
    at: UnixTime,
    root: Option<Value>,
    roles: BTreeMap<RoleName, RoleWork>,
    lives: BTreeMap<RoleName, i64>,
    files: BTreeMap<String, Bytes>,
}

type Drafts = (BTreeMap<RoleName, Draft>, BTreeMap<String, Bytes>);

/// Apply `edits`, one after the other; then draft again what would no longer verify.
pub(super) fn draft(base: &Base, edits: &[Edit], at: UnixTime) -> Result<Drafts, EditError> {
    let mut work =
        Work { base, at, root: None, roles: BTreeMap::new(), lives: BTreeMap::new(), files: BTreeMap::new() };
    for edit in edits {
        work.apply(edit)?;
    }
    work.finish()
}

impl Work<'_> {
    fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::AddKey { role, key } => self.keys_of(role, |table, r| add_key(table, r, role, key)),
            Edit::RemoveKey { role, key } => self.keys_of(role, |_, r| remove_key(r, role, key)),
            Edit::Threshold { role, threshold } => self.keys_of(role, |_, r| {
                r.insert("threshold".into(), json!(threshold));
                Ok(())
            }),
            Edit::Resign { role, life } => self.resign(role, *life),
            Edit::Delegate { by, role, signers, paths, terminating, place, note } => {
                let mut table = Map::new();
                let mut ids = Vec::new();
                let known = self.delegations(by)?["keys"].as_object().cloned().unwrap_or_default();
                for key in &signers.keys {
                    let id = id_of(&known, key).unwrap_or_else(|| key.key_id().to_string());
                    table.insert(id.clone(), key.to_tuf());
                    ids.push(id);
                }
                let mut object = json!({
                    "name": role, "keyids": ids, "threshold": signers.threshold, "terminating": terminating,
                });
                scope(&mut object, paths);
                if let Some(note) = note {
                    object["x-bulla"] = note.clone();
                }
                self.delegate(by, role, object, table, place)
            }
            Edit::Undelegate { by, role } => {
                let mut all = self.delegations(by)?;
                let mut list = take_roles(&mut all);
                let before = list.len();
                list.retain(|d| d["name"] != role.as_str());
                if list.len() == before {
                    return Err(delegation_error(by, role, "there is no such delegation"));
                }
                all["roles"] = list.into();
                prune(&mut all);
                self.set_delegations(by, all);
                Ok(())
            }
            Edit::Scope { by, role, paths, terminating } => {
                let mut all = self.delegations(by)?;
                let missing = || delegation_error(by, role, "there is no such delegation");
                let mut list = take_roles(&mut all);
                let object = list.iter_mut().find(|d| d["name"] == role.as_str()).ok_or_else(missing)?;
                scope(object, paths);
                object["terminating"] = json!(terminating);
                all["roles"] = list.into();
                self.set_delegations(by, all);
                Ok(())
            }
            Edit::Order { by, roles } => self.order(by, roles),
            Edit::Start { role } => {
                if self.base.role(role).is_some() {
                    return Err(EditError::NothingChanges);
                }
                self.roles.entry(role.clone()).or_default().start = true;
                Ok(())
            }
            Edit::SetTarget { role, path, value } => {
                let change = Change::Set { path: path.clone(), value: value.clone() };
                self.targets_role(role)?.changes.push(change);
                Ok(())
            }
            Edit::RemoveTarget { role, path } => {
                let listed = self.base.role(role).is_some_and(|f| f.role().targets().contains_key(path));
                if !listed {
                    return Err(EditError::NoTarget { role: role.clone(), path: path.clone() });
                }
                let id = self.withdrawal(role, path);
                self.targets_role(role)?.changes.push(Change::Withdraw { path: path.clone(), id });
                Ok(())
            }
            Edit::File { role, path, bytes, custom } => {
                let mut value =
                    json!({"length": bytes.len(), "hashes": {"sha256": Digest::sha256(bytes).hex()}});
                if let Some(custom) = custom {
                    value["custom"] = custom.clone();
                }
                self.files.insert(path.clone(), bytes.clone());
                self.targets_role(role)?.changes.push(Change::Set { path: path.clone(), value });
                Ok(())
            }
        }
    }

    /// An id that tells this withdrawal from another one of the same path (docs/adr/0003).
    fn withdrawal(&self, role: &RoleName, path: &str) -> String {
        let on = self.base.file(role).map(|f| f.1).unwrap_or_default();
        let text = format!("{on}\n{path}\n{}", self.at);
        Digest::sha256(text.as_bytes()).hex()[..16].to_owned()
    }

    fn targets_role(&mut self, role: &RoleName) -> Result<&mut RoleWork, EditError> {
        if matches!(role.as_str(), "root" | "timestamp" | "snapshot") {
            return Err(EditError::NoRole(role.clone()));
        }
        Ok(self.roles.entry(role.clone()).or_default())
    }

    fn resign(&mut self, role: &RoleName, life: Option<i64>) -> Result<(), EditError> {
        self.lives.extend(life.map(|life| (role.clone(), life)));
        match role.as_str() {
            "root" => self.root().map(|_| ()),
            "timestamp" | "snapshot" => Err(EditError::Online(role.clone())),
            _ if self.base.role(role).is_none() => Err(EditError::NoRole(role.clone())),
            _ => self.targets_role(role).map(|_| ()),
        }
    }

    fn root(&mut self) -> Result<&mut Value, EditError> {
        let published = self.base.root().ok_or(EditError::NothingPublished)?;
        Ok(self.root.get_or_insert_with(|| published.signed().clone()))
    }

    /// `delegations` of a role as edited so far.
    fn delegations(&self, by: &RoleName) -> Result<Value, EditError> {
        if let Some(edited) = self.roles.get(by).and_then(|w| w.delegations.clone()) {
            return Ok(edited);
        }
        let file = self.base.role(by).ok_or_else(|| EditError::NoRole(by.clone()))?;
        Ok(file.signed().get("delegations").cloned().unwrap_or_else(|| json!({"keys": {}, "roles": []})))
    }

    fn set_delegations(&mut self, by: &RoleName, value: Value) {
        self.roles.entry(by.clone()).or_default().delegations = Some(value);
    }

    /// Edit keys and threshold of a role wherever it is named: in the root, or in each role that delegates to it.
    fn keys_of(
        &mut self,
        role: &RoleName,
        edit: impl Fn(&mut Map<String, Value>, &mut Map<String, Value>) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        if role.is_top_level() {
            let signed = self.root()?;
            let mut table = signed["keys"].as_object().cloned().unwrap_or_default();
            let object = signed["roles"][role.as_str()].as_object_mut();
            edit(&mut table, object.ok_or_else(|| EditError::NoRole(role.clone()))?)?;
            signed["keys"] = Value::Object(table);
            let used: BTreeSet<String> =
                signed["roles"].as_object().into_iter().flatten().flat_map(|(_, r)| ids(r)).collect();
            let Some(table) = signed["keys"].as_object_mut() else { return Ok(()) };
            table.retain(|id, _| used.contains(id));
            return Ok(());
        }
        let delegators: BTreeSet<RoleName> =
            self.base.roles().keys().chain(self.roles.keys()).cloned().collect();
        let mut found = false;
        for by in delegators {
            let Ok(mut all) = self.delegations(&by) else { continue };
            let mut table = all["keys"].as_object().cloned().unwrap_or_default();
            let mut list = take_roles(&mut all);
            let object = list.iter_mut().find(|d| d["name"] == role.as_str());
            let Some(object) = object.and_then(Value::as_object_mut) else { continue };
            edit(&mut table, object)?;
            all["roles"] = list.into();
            all["keys"] = Value::Object(table);
            prune(&mut all);
            self.set_delegations(&by, all);
            found = true;
        }
        if found { Ok(()) } else { Err(EditError::NoRole(role.clone())) }
    }

    fn delegate(
        &mut self,
        by: &RoleName,
        role: &RoleName,
        object: Value,
        keys: Map<String, Value>,
        place: &Place,
    ) -> Result<(), EditError> {
        if role.is_top_level() {
            return Err(delegation_error(by, role, "a top-level role cannot be delegated to"));
        }
        let mut all = self.delegations(by)?;
        let mut list = take_roles(&mut all);
        if list.iter().any(|d| d["name"] == role.as_str()) {
            return Err(delegation_error(by, role, "the delegation is there already"));
        }
        let at = match place {
            Place::Last => list.len(),
            Place::First => 0,
            Place::Before(other) => {
                let at = list.iter().position(|d| d["name"] == other.as_str());
                at.ok_or_else(|| delegation_error(by, other, "there is no such delegation"))?
            }
        };
        list.insert(at, object);
        all["roles"] = list.into();
        if !all["keys"].is_object() {
            all["keys"] = json!({});
        }
        if let Some(table) = all["keys"].as_object_mut() {
            for (id, key) in keys {
                table.entry(id).or_insert(key);
            }
        }
        self.set_delegations(by, all);
        Ok(())
    }

    fn order(&mut self, by: &RoleName, names: &[RoleName]) -> Result<(), EditError> {
        let mut all = self.delegations(by)?;
        let mut list = take_roles(&mut all);
        let mut ordered = Vec::new();
        for name in names {
            let at = list.iter().position(|d| d["name"] == name.as_str());
            let at = at.ok_or_else(|| {
                delegation_error(by, name, "there is no such delegation, or it is named twice")
            })?;
            ordered.push(list.remove(at));
        }
        if !list.is_empty() {
            return Err(delegation_error(by, by, "the order must name every delegation"));
        }
        all["roles"] = ordered.into();
        self.set_delegations(by, all);
        Ok(())
    }

    fn finish(mut self) -> Result<Drafts, EditError> {
        let mut drafts = BTreeMap::new();
        if let Some(root) = self.root_draft()? {
            drafts.insert(RoleName::root(), root);
        }
        for role in self.roles.keys() {
            if let Some(draft) = self.role_draft(role)? {
                drafts.insert(role.clone(), draft);
            }
        }
        self.again(&mut drafts)?;
        if drafts.is_empty() {
            return Err(EditError::NothingChanges);
        }
        self.files.retain(|path, bytes| {
            drafts.values().any(|d| {
                d.signed()["targets"][path.as_str()]["hashes"]["sha256"] == Digest::sha256(bytes).hex()
            })
        });
        Ok((drafts, self.files))
    }

    fn root_draft(&self) -> Result<Option<Draft>, EditError> {
        let (Some(mut signed), Some(published)) = (self.root.clone(), self.base.root()) else {
            return Ok(None);
        };
        // Asked for and not changed: it is signed again.
        let life = self.life(&RoleName::root(), published);
        signed["version"] = json!(published.version().next());
        signed["expires"] = json!(self.at.plus(life));
        stamp(&mut signed, self.base, self.at);
        let (root, limits) = (RoleName::root(), Limits::default());
        let draft = Draft::from_signed(signed);
        let bytes = draft.assemble(&BTreeMap::new());
        let parsed = Unverified::<Root>::parse(&root, &bytes, &limits)?;
        let claimed = parsed.claimed();
        for role in [RoleName::root(), RoleName::timestamp(), RoleName::snapshot(), RoleName::targets()] {
            check_threshold(&role, claimed.keys(&role))?;
        }
        let apart = published.extra().is_none_or(|x| x.shared_root_key.is_none());
        for other in [RoleName::timestamp(), RoleName::snapshot()] {
            if apart {
                apart_from(&root, claimed.root_keys(), &other, claimed.keys(&other), published.role())?;
            }
            let targets = RoleName::targets();
            apart_from(&targets, claimed.targets_keys(), &other, claimed.keys(&other), published.role())?;
        }
        Ok(Some(draft))
    }

    /// The next version of a targets role, or its first; none when nothing of it changes.
    fn role_draft(&self, role: &RoleName) -> Result<Option<Draft>, EditError> {
        let Some(work) = self.roles.get(role) else { return Ok(None) };
        let mut changes = work.changes.clone();
        changes.extend(work.delegations.clone().map(Change::Delegate));
        let Some(file) = self.base.role(role) else {
            return self.first_draft(role, work, &changes).map(Some);
        };
        let view = view(role, file)?;
        let asked = changes.is_empty() || self.lives.contains_key(role);
        if !asked && !changes.iter().any(|c| lineage::is_needed(&view, c)) {
            return Ok(None);
        }
        self.next(role, file, &view, &changes).map(Some)
    }

    fn first_draft(&self, role: &RoleName, work: &RoleWork, changes: &[Change]) -> Result<Draft, EditError> {
        let delegated = self
            .roles
            .values()
            .filter_map(|w| w.delegations.as_ref())
            .any(|d| d["roles"].as_array().into_iter().flatten().any(|d| d["name"] == role.as_str()));
        if !delegated && self.base.delegations_to(role).next().is_none() {
            return Err(EditError::NoRole(role.clone()));
        }
        if !work.start && changes.is_empty() {
            return Err(EditError::NoRole(role.clone()));
        }
        let life = self.lives.get(role).copied().unwrap_or(FIRST_LIFE);
        let extra = Extra::new(self.base.collection().to_string(), self.at);
        let heading = Heading { version: Version::ONE, expires: self.at.plus(life), extra };
        let mut targets = Map::new();
        let mut delegations = None;
        for change in changes {
            match change {
                Change::Set { path, value } => drop(targets.insert(path.clone(), value.clone())),
                Change::Withdraw { path, .. } => drop(targets.remove(path)),
                Change::Delegate(value) => delegations = Some(value.clone()),
            }
        }
        let mut draft = Draft::targets(&heading, targets, &[]);
        if let Some(delegations) = delegations {
            let mut signed = draft.signed().clone();
            signed["delegations"] = delegations;
            draft = Draft::from_signed(signed);
        }
        Ok(draft)
    }

    fn next(
        &self,
        role: &RoleName,
        file: &Metadata<Targets>,
        view: &View,
        changes: &[Change],
    ) -> Result<Draft, EditError> {
        let expires = self.at.plus(self.life(role, file));
        let collection = self.base.collection().to_string();
        let draft = lineage::next(view, None, changes, &collection, self.at, expires);
        // Members of `x-bulla` that this version does not know.
        let mut signed = draft.signed().clone();
        let known = ["collection", "at", "ancestors", "withdrawn", "delegationsSet"];
        for (name, value) in file.signed()["x-bulla"].as_object().into_iter().flatten() {
            if !known.contains(&name.as_str()) && signed["x-bulla"].get(name).is_none() {
                signed["x-bulla"][name] = value.clone();
            }
        }
        Ok(Draft::from_signed(signed))
    }

    fn life<R>(&self, role: &RoleName, file: &Metadata<R>) -> i64 {
        let before = || file.extra().map_or(0, |x| file.expires().secs() - x.at.secs());
        self.lives.get(role).copied().unwrap_or_else(|| match before() {
            life if life > 0 => life,
            _ => FIRST_LIFE,
        })
    }

    /// Draft again every role whose published file would not verify under its new keys; and check the keys of all.
    fn again(&self, drafts: &mut BTreeMap<RoleName, Draft>) -> Result<(), EditError> {
        let limits = Limits::default();
        let unsigned = BTreeMap::new();
        let root = match drafts.get(&RoleName::root()) {
            Some(draft) => {
                let bytes = draft.assemble(&unsigned);
                Some(Unverified::<Root>::parse(&RoleName::root(), &bytes, &limits)?.claimed().clone())
            }
            None => self.base.root().map(|r| r.role().clone()),
        };
        let Some(root) = root else { return Ok(()) };
        let mut drafted: BTreeMap<RoleName, Targets> = BTreeMap::new();
        for (role, draft) in drafts.iter().filter(|(role, _)| **role != RoleName::root()) {
            let parsed = Unverified::<Targets>::parse(role, &draft.assemble(&unsigned), &limits)?;
            drafted.insert(role.clone(), parsed.claimed().clone());
        }
        let content =
            |role: &RoleName| drafted.get(role).or_else(|| self.base.role(role).map(|file| file.role()));
        let ways = ways(root.targets_keys(), content)?;
        let targets = RoleName::targets();
        for (role, ways) in &ways {
            for way in ways {
                check_threshold(role, Some(&way.keys))?;
                if let Some(content) = content(role) {
                    super::base::within(role, way.paths.as_ref(), content)?;
                }
                if *role != targets && drafts.contains_key(&way.by) {
                    apart_from(&targets, root.targets_keys(), role, Some(&way.keys), &root)?;
                }
            }
            let Some(file) = self.base.role(role).filter(|_| !drafts.contains_key(role)) else { continue };
            if ways.iter().any(|way| !file.count(&way.keys).is_met()) {
                drafts.insert(role.clone(), self.next(role, file, &view(role, file)?, &[])?);
            }
        }
        Ok(())
    }
}

fn view(role: &RoleName, file: &Metadata<Targets>) -> Result<View, TufError> {
    RoleFile::of(file).map(|f| View::of(&f)).map_err(|fault| TufError::new(role, fault))
}

fn stamp(signed: &mut Value, base: &Base, at: UnixTime) {
    if !signed["x-bulla"].is_object() {
        signed["x-bulla"] = json!({});
    }
    signed["x-bulla"]["collection"] = json!(base.collection().to_string());
    signed["x-bulla"]["at"] = json!(at);
}

/// Take the list of delegations out, to be put back.
fn take_roles(delegations: &mut Value) -> Vec<Value> {
    match delegations["roles"].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

fn ids(role: &Value) -> Vec<String> {
    let list = role["keyids"].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Drop the keys that no role names.
fn prune(delegations: &mut Value) {
    let used: BTreeSet<String> =
        delegations["roles"].as_array().into_iter().flatten().flat_map(ids).collect();
    if let Some(table) = delegations["keys"].as_object_mut() {
        table.retain(|id, _| used.contains(id));
    }
}

fn scope(delegation: &mut Value, paths: &Paths) {
    let Some(object) = delegation.as_object_mut() else { return };
    object.remove("paths");
    object.remove("path_hash_prefixes");
    match paths {
        Paths::Patterns(p) => object.insert("paths".into(), p.iter().map(|p| json!(p.as_str())).collect()),
        Paths::HashPrefixes(p) => object.insert("path_hash_prefixes".into(), json!(p)),
    };
}

/// The id under which a table lists a key, whatever it is called.
fn id_of(table: &Map<String, Value>, key: &PublicKey) -> Option<String> {
    table.iter().find(|(_, v)| PublicKey::from_tuf(v).as_ref() == Ok(key)).map(|(id, _)| id.clone())
}

fn add_key(
    table: &mut Map<String, Value>,
    object: &mut Map<String, Value>,
    role: &RoleName,
    key: &PublicKey,
) -> Result<(), EditError> {
    let id = id_of(table, key).unwrap_or_else(|| key.key_id().to_string());
    table.entry(id.clone()).or_insert_with(|| key.to_tuf());
    let list = object.entry("keyids").or_insert_with(|| json!([]));
    let there = list.as_array().into_iter().flatten().any(|i| *i == id);
    match list.as_array_mut() {
        Some(list) if !there => list.push(json!(id)),
        _ => return Err(EditError::KeyThere { role: role.clone(), key: key.key_id() }),
    }
    Ok(())
}

fn remove_key(object: &mut Map<String, Value>, role: &RoleName, key: &KeyId) -> Result<(), EditError> {
    let list = object.get_mut("keyids").and_then(Value::as_array_mut);
    let before = list.as_ref().map_or(0, |l| l.len());
    let after = list.map_or(0, |list| {
        list.retain(|id| *id != key.as_str());
        list.len()
    });
    if after == before {
        return Err(EditError::NoKey { role: role.clone(), key: key.clone() });
    }
    Ok(())
}

fn check_threshold(role: &RoleName, keys: Option<&RoleKeys>) -> Result<(), EditError> {
    let Some(keys) = keys else { return Err(EditError::NoRole(role.clone())) };
    let distinct = keys.distinct();
    if keys.threshold == 0 || keys.threshold as usize > distinct {
        return Err(EditError::Threshold { role: role.clone(), threshold: keys.threshold, keys: distinct });
    }
    Ok(())
}

/// That two roles have no key in common, unless the published root already says so.
fn apart_from(
    role: &RoleName,
    keys: &RoleKeys,
    other: &RoleName,
    others: Option<&RoleKeys>,
    published: &Root,
) -> Result<(), EditError> {
    let material =
        |keys: &RoleKeys| -> BTreeSet<PublicKey> { keys.keys.values().flatten().cloned().collect() };
    let Some(others) = others else { return Ok(()) };
    let was = match (published.keys(role), published.keys(other)) {
        (Some(a), Some(b)) => material(a).intersection(&material(b)).cloned().collect(),
        _ => BTreeSet::new(),
    };
    let shared = material(keys).intersection(&material(others)).find(|k| !was.contains(*k)).cloned();
    match shared {
        Some(key) => {
            Err(EditError::SharedKey { key: key.key_id(), role: role.clone(), other: other.clone() })
        }
        None => Ok(()),
    }
}

fn delegation_error(by: &RoleName, role: &RoleName, why: &'static str) -> EditError {
    EditError::Delegation { by: by.clone(), role: role.clone(), why }
}
