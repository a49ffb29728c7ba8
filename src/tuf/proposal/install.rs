//! Finished files that go in together, judged top-down under the delegators that they create.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::base::{ways, within};
use super::{Base, RoleAt, Seat};
use crate::tuf::{
    Fault, FileName, Limits, Metadata, RoleKeys, RoleName, Root, Targets, TufError, Unverified, Version,
};

/// Signed files of one or several roles, and the target files that come along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The next root.
    pub root: Option<Bytes>,
    /// The next files of targets roles.
    pub roles: BTreeMap<RoleName, Bytes>,
    /// Target files of the whole collection, by path.
    pub files: BTreeMap<String, Bytes>,
}

/// What a group comes to on what is published.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The root that then holds.
    pub root: Metadata<Root>,
    /// Every role that can then be reached and has a file: the group's, or the published one.
    pub roles: BTreeMap<RoleName, RoleAt>,
    /// Roles that can be reached and have no file: the first one may be submitted.
    pub vacant: BTreeMap<RoleName, Seat>,
    /// Roles whose published file does not verify under the keys that then hold: it must be signed again.
    pub unsigned: BTreeSet<RoleName>,
}

impl Group {
    /// Its roles, the topmost first: root, targets, then by depth and name.
    pub fn order(&self) -> Vec<RoleName> {
        let mut out: Vec<RoleName> = self.root.iter().map(|_| RoleName::root()).collect();
        let mut roles: Vec<&RoleName> = self.roles.keys().collect();
        roles.sort_by_key(|r| (**r != RoleName::targets(), r.as_str().matches('/').count(), r.as_str()));
        out.extend(roles.into_iter().cloned());
        out
    }

    /// The file of a role.
    pub fn file(&self, role: &RoleName) -> Option<&Bytes> {
        if *role == RoleName::root() { self.root.as_ref() } else { self.roles.get(role) }
    }

    /// The version that each file claims.
    ///
    /// # Errors
    /// A file that is no metadata of its role.
    pub fn versions(&self) -> Result<BTreeMap<RoleName, Version>, TufError> {
        let limits = Limits::default();
        let mut out = BTreeMap::new();
        if let Some(root) = &self.root {
            let role = RoleName::root();
            let file = Unverified::<Root>::parse(&role, root, &limits)?;
            out.insert(role, file.claimed_version());
        }
        for (role, bytes) in &self.roles {
            let file = Unverified::<Targets>::parse(role, bytes, &limits)?;
            out.insert(role.clone(), file.claimed_version());
        }
        Ok(out)
    }

    /// The files under the names that they have in a state.
    ///
    /// # Errors
    /// A file that is no metadata of its role.
    pub fn named(&self) -> Result<BTreeMap<FileName, Bytes>, TufError> {
        let versions = self.versions()?;
        let named = |(role, version): (RoleName, Version)| {
            let bytes = self.file(&role).cloned()?;
            Some((FileName::versioned(role, version), bytes))
        };
        Ok(versions.into_iter().filter_map(named).collect())
    }

    /// Whether there is no role file in it.
    pub fn is_empty(&self) -> bool {
        self.root.is_none() && self.roles.is_empty()
    }
}

/// Judge `group` on top of `base`. `root` is the final root, of a chain that the group's root (where it has one) has extended:
/// who may sign it was checked there. Versions are not judged here; the lineages of the roles are.
///
/// # Errors
/// A file that does not verify on every way to it, belongs to another collection, lists what it may not speak for, or that
/// nothing leads to.
pub fn install(base: &Base, root: &Metadata<Root>, group: &Group) -> Result<Installed, TufError> {
    let limits = Limits::default();
    let mut parsed: BTreeMap<RoleName, Unverified<Targets>> = BTreeMap::new();
    for (role, bytes) in &group.roles {
        if matches!(role.as_str(), "root" | "timestamp" | "snapshot") {
            return Err(TufError::new(role, Fault::Format("no targets role".into())));
        }
        if bytes.len() as u64 > limits.targets_bytes {
            let fault = Fault::Size { limit: limits.targets_bytes, got: bytes.len() as u64 };
            return Err(TufError::new(role, fault));
        }
        parsed.insert(role.clone(), Unverified::parse(role, bytes, &limits)?);
    }
    let content = |role: &RoleName| {
        let drafted = parsed.get(role).map(Unverified::claimed);
        drafted.or_else(|| base.role(role).map(|file| file.role()))
    };
    let ways = ways(root.role().targets_keys(), content)?;
    let mut out = Installed {
        root: root.clone(),
        roles: BTreeMap::new(),
        vacant: BTreeMap::new(),
        unsigned: BTreeSet::new(),
    };
    for role in group.roles.keys() {
        if !ways.contains_key(role) {
            return Err(TufError::new(role, Fault::NotListed(RoleName::targets())));
        }
    }
    let name = base.collection().to_string();
    for (role, ways) in ways {
        let Some(first) = ways.first() else { continue };
        let file = match parsed.remove(&role) {
            Some(file) => {
                let sets: Vec<&RoleKeys> = ways.iter().map(|w| &w.keys).collect();
                let file = file.verify(&role, &sets)?;
                file.check_collection(&role, &name)?;
                Arc::new(file)
            }
            None => match base.role(&role) {
                Some(file) => {
                    if ways.iter().any(|w| !file.count(&w.keys).is_met()) {
                        out.unsigned.insert(role.clone());
                    }
                    file.clone()
                }
                None => {
                    out.vacant.insert(role, first.seat());
                    continue;
                }
            },
        };
        for way in &ways {
            within(&role, way.paths.as_ref(), file.role())?;
        }
        out.roles.insert(role, first.taken_by(file));
    }
    Ok(out)
}
