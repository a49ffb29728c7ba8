//! What is published: every role in its place, verified before. A proposal stands on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::tuf::grant::Terms;
use crate::tuf::{
    Ancestor, CollectionName, Delegation, Fault, Metadata, Paths, RoleKeys, RoleName, Root, Targets, TufError,
};

/// Most ways to targets roles that are followed.
const MAX_WAYS: usize = 1_024;

/// A targets role in its place: who may sign it, and its file.
#[derive(Debug, Clone)]
pub struct RoleAt {
    /// Keys and threshold, as the role that delegates to it (or the root) says.
    pub keys: RoleKeys,
    /// What it may speak for; top-level targets for everything.
    pub paths: Option<Paths>,
    /// The role that delegates to it; none for top-level targets.
    pub by: Option<RoleName>,
    /// On which terms it was granted.
    pub terms: Option<Terms>,
    /// The file; where nobody has signed one yet, what the first one descends from.
    pub file: Arc<Metadata<Targets>>,
}

/// A targets role's place, whether or not it has a file: who may sign it, and what it may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Keys and threshold.
    pub keys: RoleKeys,
    /// What it may speak for; top-level targets for everything.
    pub paths: Option<Paths>,
    /// The role that delegates to it; none for top-level targets.
    pub by: Option<RoleName>,
    /// On which terms it was granted.
    pub terms: Option<Terms>,
}

/// The published files of a collection, verified.
#[derive(Debug, Clone)]
pub struct Base {
    collection: CollectionName,
    root: Option<Metadata<Root>>,
    roles: BTreeMap<RoleName, RoleAt>,
    listed: BTreeSet<RoleName>,
    held: BTreeMap<String, Bytes>,
    online: BTreeMap<RoleName, (Ancestor, Value)>,
}

/// One way to a targets role: who delegates to it, to whom, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) by: RoleName,
    pub(super) keys: RoleKeys,
    pub(super) paths: Option<Paths>,
    pub(super) terms: Option<Terms>,
}

impl Way {
    /// The place at the end of this way.
    pub(super) fn seat(&self) -> Seat {
        let by = Some(self.by.clone()).filter(|by| *by != RoleName::root());
        Seat { keys: self.keys.clone(), paths: self.paths.clone(), by, terms: self.terms.clone() }
    }

    /// The place with its file.
    pub(super) fn taken_by(&self, file: Arc<Metadata<Targets>>) -> RoleAt {
        self.seat().with(file)
    }
}

impl Seat {
    /// The place with its file.
    pub fn with(&self, file: Arc<Metadata<Targets>>) -> RoleAt {
        let (keys, paths) = (self.keys.clone(), self.paths.clone());
        RoleAt { keys, paths, by: self.by.clone(), terms: self.terms.clone(), file }
    }

    /// As [`RoleAt::check_paths`].
    ///
    /// # Errors
    /// It lists something for which the role may not speak.
    pub fn check_paths(&self, role: &RoleName, file: &Metadata<Targets>) -> Result<(), TufError> {
        within(role, self.paths.as_ref(), file.role())
    }
}

impl RoleAt {
    /// The place without the file.
    pub fn seat(&self) -> Seat {
        let (keys, paths) = (self.keys.clone(), self.paths.clone());
        Seat { keys, paths, by: self.by.clone(), terms: self.terms.clone() }
    }

    /// That `file` lists only what the role may speak for. Verifiers pass over the rest, but it may be the file of another
    /// role with the same keys: role files do not say whose they are.
    ///
    /// # Errors
    /// It lists something else.
    pub fn check_paths(&self, role: &RoleName, file: &Metadata<Targets>) -> Result<(), TufError> {
        within(role, self.paths.as_ref(), file.role())
    }
}

/// That a role lists only what it may speak for.
pub(super) fn within(role: &RoleName, paths: Option<&Paths>, content: &Targets) -> Result<(), TufError> {
    let Some(paths) = paths else { return Ok(()) };
    match content.targets().keys().find(|path| !paths.cover(path)) {
        Some(path) => {
            let why = format!("it lists \"{path}\", for which the role may not speak");
            Err(TufError::new(role, Fault::Format(why)))
        }
        None => Ok(()),
    }
}

impl Base {
    /// The published files of a collection: its root, and every targets role that can be reached.
    pub fn new(collection: CollectionName, root: Metadata<Root>, roles: BTreeMap<RoleName, RoleAt>) -> Self {
        Self { root: Some(root), roles, ..Self::nothing(collection) }
    }

    /// A collection in the making: nothing is published.
    pub fn nothing(collection: CollectionName) -> Self {
        Self {
            collection,
            root: None,
            roles: BTreeMap::new(),
            listed: BTreeSet::new(),
            held: BTreeMap::new(),
            online: BTreeMap::new(),
        }
    }

    /// The same, with the names of all roles that the snapshot lists, those that were taken back among them.
    #[must_use]
    pub fn listing(mut self, names: impl IntoIterator<Item = RoleName>) -> Self {
        self.listed.extend(names);
        self
    }

    /// The same, with the target files of the whole collection that it lists, each as the role lists it that readers go by.
    #[must_use]
    pub fn holding(mut self, files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        self.held.extend(files);
        self
    }

    /// The target files of the whole collection, by path, as far as they are here.
    pub fn held(&self) -> &BTreeMap<String, Bytes> {
        &self.held
    }

    /// The same, with the published snapshot or timestamp: a next one is compared with it.
    #[must_use]
    pub fn under<R>(mut self, role: RoleName, file: &Metadata<R>) -> Self {
        self.online.insert(role, (file.as_ancestor(), file.signed().clone()));
        self
    }

    /// What the published file of a role says, untyped.
    pub fn signed(&self, role: &RoleName) -> Option<&Value> {
        match &self.root {
            Some(root) if *role == RoleName::root() => Some(root.signed()),
            _ => {
                let online = || self.online.get(role).map(|(_, signed)| signed);
                self.role(role).map(|file| file.signed()).or_else(online)
            }
        }
    }

    /// Whether the state lists a file of this role, or did.
    pub fn lists(&self, role: &RoleName) -> bool {
        self.listed.contains(role) || self.roles.contains_key(role)
    }

    /// The collection.
    pub fn collection(&self) -> &CollectionName {
        &self.collection
    }

    /// The root; none for a collection in the making.
    pub fn root(&self) -> Option<&Metadata<Root>> {
        self.root.as_ref()
    }

    /// The targets roles.
    pub fn roles(&self) -> &BTreeMap<RoleName, RoleAt> {
        &self.roles
    }

    /// The file of a targets role.
    pub fn role(&self, role: &RoleName) -> Option<&Arc<Metadata<Targets>>> {
        self.roles.get(role).map(|at| &at.file)
    }

    /// Version and SHA-256 of a role's file.
    pub fn file(&self, role: &RoleName) -> Option<Ancestor> {
        match &self.root {
            Some(root) if *role == RoleName::root() => Some(root.as_ancestor()),
            _ => {
                let online = || self.online.get(role).map(|(file, _)| file.clone());
                self.role(role).map(|file| file.as_ancestor()).or_else(online)
            }
        }
    }

    /// The delegations to `role`, with who made each.
    pub fn delegations_to<'a>(
        &'a self,
        role: &'a RoleName,
    ) -> impl Iterator<Item = (&'a RoleName, &'a Delegation)> {
        self.roles.iter().filter_map(|(by, at)| at.file.role().delegation(role).map(|d| (by, d)))
    }
}

/// Every way to every targets role, from top-level targets down; `content` is what each role's file says, where it has one.
pub(super) fn ways<'a>(
    top: &RoleKeys,
    content: impl Fn(&RoleName) -> Option<&'a Targets>,
) -> Result<BTreeMap<RoleName, Vec<Way>>, TufError> {
    let targets = RoleName::targets();
    let first = Way { by: RoleName::root(), keys: top.clone(), paths: None, terms: None };
    let mut out = BTreeMap::from([(targets.clone(), vec![first])]);
    let (mut open, mut seen, mut count) = (vec![targets], BTreeSet::new(), 0);
    while let Some(by) = open.pop() {
        if !seen.insert(by.clone()) {
            continue;
        }
        for d in content(&by).map(Targets::delegations).unwrap_or_default() {
            count += 1;
            if count > MAX_WAYS {
                return Err(TufError::new(&by, Fault::Cap { what: "delegations", limit: MAX_WAYS }));
            }
            let (keys, paths) = (d.keys.clone(), Some(d.paths.clone()));
            let way = Way { by: by.clone(), keys, paths, terms: d.terms.clone() };
            out.entry(d.name.clone()).or_default().push(way);
            open.push(d.name.clone());
        }
    }
    Ok(out)
}
