//! Delegations as a role's edited value: put in, taken out, in another order. What may be delegated is judged on the result.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::apply::Work;
use super::keys::{id_of, ids};
use super::{EditError, Place, delegation_error};
use crate::tuf::{Paths, RoleName, Signers};

/// A delegation that shall be made.
pub(super) struct New<'a> {
    pub(super) by: &'a RoleName,
    pub(super) role: &'a RoleName,
    pub(super) signers: &'a Signers,
    pub(super) paths: &'a Paths,
    pub(super) terminating: bool,
    pub(super) place: &'a Place,
    pub(super) note: Option<&'a Value>,
}

impl Work<'_> {
    /// `delegations` of a role as edited so far.
    pub(super) fn delegations(&self, by: &RoleName) -> Result<Value, EditError> {
        if let Some(edited) = self.roles.get(by).and_then(|w| w.delegations.clone()) {
            return Ok(edited);
        }
        let file = self.base.role(by).ok_or_else(|| EditError::NoRole(by.clone()))?;
        Ok(file.signed().get("delegations").cloned().unwrap_or_else(|| json!({"keys": {}, "roles": []})))
    }

    pub(super) fn set_delegations(&mut self, by: &RoleName, value: Value) {
        self.roles.entry(by.clone()).or_default().delegations = Some(value);
    }

    pub(super) fn delegate(&mut self, new: &New<'_>) -> Result<(), EditError> {
        let New { by, role, .. } = *new;
        if role.is_top_level() {
            return Err(delegation_error(by, role, "a top-level role cannot be delegated to"));
        }
        let mut all = self.delegations(by)?;
        let mut list = take_roles(&mut all);
        if list.iter().any(|d| d["name"] == role.as_str()) {
            return Err(delegation_error(by, role, "the delegation is there already"));
        }
        let at = match new.place {
            Place::Last => list.len(),
            Place::First => 0,
            Place::Before(other) => {
                let at = list.iter().position(|d| d["name"] == other.as_str());
                at.ok_or_else(|| delegation_error(by, other, "there is no such delegation"))?
            }
        };
        let mut table = all["keys"].as_object().cloned().unwrap_or_default();
        let mut ids = BTreeSet::new();
        for key in &new.signers.keys {
            let id = id_of(&table, key).unwrap_or_else(|| key.key_id().to_string());
            table.entry(id.clone()).or_insert_with(|| key.to_tuf());
            ids.insert(id);
        }
        let mut object = json!({
            "name": role, "keyids": ids, "threshold": new.signers.threshold, "terminating": new.terminating,
        });
        scope(&mut object, new.paths);
        if let Some(note) = new.note {
            object["x-bulla"] = note.clone();
        }
        list.insert(at, object);
        all["roles"] = list.into();
        all["keys"] = Value::Object(table);
        self.set_delegations(by, all);
        Ok(())
    }

    pub(super) fn undelegate(&mut self, by: &RoleName, role: &RoleName) -> Result<(), EditError> {
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

    pub(super) fn scope(
        &mut self,
        by: &RoleName,
        role: &RoleName,
        paths: Option<&Paths>,
        terminating: Option<bool>,
    ) -> Result<(), EditError> {
        let mut all = self.delegations(by)?;
        let missing = || delegation_error(by, role, "there is no such delegation");
        let mut list = take_roles(&mut all);
        let object = list.iter_mut().find(|d| d["name"] == role.as_str()).ok_or_else(missing)?;
        if let Some(paths) = paths {
            scope(object, paths);
        }
        if let Some(terminating) = terminating {
            object["terminating"] = json!(terminating);
        }
        all["roles"] = list.into();
        self.set_delegations(by, all);
        Ok(())
    }

    pub(super) fn order(&mut self, by: &RoleName, names: &[RoleName]) -> Result<(), EditError> {
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
}

/// Take the list of delegations out, to be put back.
pub(super) fn take_roles(delegations: &mut Value) -> Vec<Value> {
    match delegations["roles"].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

/// Drop the keys that no role names.
pub(super) fn prune(delegations: &mut Value) {
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
