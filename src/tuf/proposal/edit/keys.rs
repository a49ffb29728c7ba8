//! Keys and thresholds, wherever a role's are named: in the root, or in each role that delegates to it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::EditError;
use super::apply::Work;
use super::delegations::{prune, take_roles};
use crate::sig::{KeyId, PublicKey};
use crate::tuf::proposal::{Base, Proposal};
use crate::tuf::{RoleKeys, RoleName, Root, Targets};

impl Work<'_> {
    /// Edit keys and threshold of a role wherever it is named: in the root, or in each role that delegates to it.
    pub(super) fn keys_of(
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
}

pub(super) fn ids(role: &Value) -> Vec<String> {
    let list = role["keyids"].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The id under which a table lists a key, whatever it is called.
pub(super) fn id_of(table: &Map<String, Value>, key: &PublicKey) -> Option<String> {
    table.iter().find(|(_, v)| PublicKey::from_tuf(v).as_ref() == Ok(key)).map(|(id, _)| id.clone())
}

pub(super) fn add_key(
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

pub(super) fn remove_key(
    object: &mut Map<String, Value>,
    role: &RoleName,
    key: &KeyId,
) -> Result<(), EditError> {
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

pub(super) fn check_threshold(role: &RoleName, keys: Option<&RoleKeys>) -> Result<(), EditError> {
    let Some(keys) = keys else { return Err(EditError::NoRole(role.clone())) };
    let distinct = keys.distinct();
    if keys.threshold == 0 || keys.threshold as usize > distinct {
        return Err(EditError::Threshold { role: role.clone(), threshold: keys.threshold, keys: distinct });
    }
    Ok(())
}

/// That the roles of a root that must not share a key share none, but what the published root shares already.
pub(super) fn apart(root: &Root, published: Option<&Root>, root_too: bool) -> Result<(), EditError> {
    for other in [RoleName::timestamp(), RoleName::snapshot()] {
        let above = [root_too.then_some(RoleName::root()), Some(RoleName::targets())];
        for role in above.into_iter().flatten() {
            apart_from(root, &role, &other, published)?;
        }
    }
    Ok(())
}

impl Proposal {
    /// That it gives no key to roles that must not share one, whatever way it was drafted: in its root, and of a root key to a role
    /// that top-level targets delegates to. A reason for sharing a root key counts where it was published, or in a first root.
    ///
    /// # Errors
    /// [`EditError::SharedKey`].
    pub fn check_apart(&self, base: &Base) -> Result<(), EditError> {
        let drafted = self.drafts().get(&RoleName::root());
        let reason = match base.root() {
            Some(published) => published.extra().is_some_and(|x| x.shared_root_key.is_some()),
            None => drafted.is_some_and(|d| d.signed()["x-bulla"]["sharedRootKey"].is_string()),
        };
        let published = base.root().map(|r| r.role());
        if let Some(root) = drafted.and_then(|d| d.root()) {
            apart(root, published, !reason)?;
        }
        let Some(root) = drafted.and_then(|d| d.root()).or(published).filter(|_| !reason) else {
            return Ok(());
        };
        let targets = RoleName::targets();
        let before = base.role(&targets).map(|file| file.role());
        let after = self.drafts().get(&targets).and_then(|d| d.targets()).or(before);
        for d in after.map(Targets::delegations).unwrap_or_default() {
            let was = before.and_then(|b| b.delegation(&d.name)).zip(published);
            let was = was.map(|(d, root)| shared(root.root_keys(), &d.keys)).unwrap_or_default();
            let (role, other) = (RoleName::root(), d.name.clone());
            if let Some(key) = shared(root.root_keys(), &d.keys).into_iter().find(|k| !was.contains(k)) {
                return Err(EditError::SharedKey { key: key.key_id(), role, other });
            }
        }
        Ok(())
    }
}

/// Keys that two roles have in common, by their material.
fn shared(a: &RoleKeys, b: &RoleKeys) -> BTreeSet<PublicKey> {
    let material =
        |keys: &RoleKeys| -> BTreeSet<PublicKey> { keys.keys.values().flatten().cloned().collect() };
    material(a).intersection(&material(b)).cloned().collect()
}

fn apart_from(
    root: &Root,
    role: &RoleName,
    other: &RoleName,
    published: Option<&Root>,
) -> Result<(), EditError> {
    let (Some(keys), Some(others)) = (root.keys(role), root.keys(other)) else { return Ok(()) };
    let was = match published.map(|p| (p.keys(role), p.keys(other))) {
        Some((Some(a), Some(b))) => shared(a, b),
        _ => BTreeSet::new(),
    };
    match shared(keys, others).into_iter().find(|k| !was.contains(k)) {
        Some(key) => {
            Err(EditError::SharedKey { key: key.key_id(), role: role.clone(), other: other.clone() })
        }
        None => Ok(()),
    }
}
