//! Edits, applied one after the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::delegations::New;
use super::keys::{add_key, remove_key};
use super::{Edit, EditError};
use crate::oci::Digest;
use crate::time::UnixTime;
use crate::tuf::lineage::Change;
use crate::tuf::proposal::Base;
use crate::tuf::{Agreement, Draft, RoleName};

/// What is known of one targets role while edits are applied.
#[derive(Default)]
pub(super) struct RoleWork {
    pub(super) delegations: Option<Value>,
    pub(super) changes: Vec<Change>,
    pub(super) start: bool,
    pub(super) again: bool,
}

pub(super) struct Work<'a> {
    pub(super) base: &'a Base,
    pub(super) at: UnixTime,
    pub(super) root: Option<Value>,
    pub(super) roles: BTreeMap<RoleName, RoleWork>,
    pub(super) demand: Option<Option<Agreement>>,
    pub(super) lives: BTreeMap<RoleName, i64>,
    pub(super) files: BTreeMap<String, Bytes>,
}

pub(in crate::tuf::proposal) type Drafts = (BTreeMap<RoleName, Draft>, BTreeMap<String, Bytes>);

/// Apply `edits`, one after the other; then draft again what would no longer verify.
pub(in crate::tuf::proposal) fn draft(
    base: &Base,
    edits: &[Edit],
    at: UnixTime,
) -> Result<Drafts, EditError> {
    let mut work = Work {
        base,
        at,
        root: None,
        roles: BTreeMap::new(),
        demand: None,
        lives: BTreeMap::new(),
        files: BTreeMap::new(),
    };
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
                let (terminating, note) = (*terminating, note.as_ref());
                self.delegate(&New { by, role, signers, paths, terminating, place, note })
            }
            Edit::Undelegate { by, role } => self.undelegate(by, role),
            Edit::Scope { by, role, paths, terminating } => {
                self.scope(by, role, paths.as_ref(), *terminating)
            }
            Edit::Order { by, roles } => self.order(by, roles),
            Edit::Start { role } => {
                if self.base.role(role).is_some() {
                    return Err(EditError::NothingChanges);
                }
                self.roles.entry(role.clone()).or_default().start = true;
                Ok(())
            }
            Edit::Demand(demand) => {
                let targets = RoleName::targets();
                let Some(file) = self.base.role(&targets) else { return Err(EditError::NoRole(targets)) };
                if Agreement::of(file).as_ref() == Ok(demand) {
                    return Err(EditError::NothingChanges);
                }
                self.demand = Some(demand.clone());
                self.targets_role(&targets).map(|_| ())
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
            _ => self.targets_role(role).map(|work| work.again = true),
        }
    }

    pub(super) fn root(&mut self) -> Result<&mut Value, EditError> {
        let published = self.base.root().ok_or(EditError::NothingPublished)?;
        Ok(self.root.get_or_insert_with(|| published.signed().clone()))
    }
}
