//! A state verified whole: from the trusted root down to every targets role that can be reached. Signers build on nothing less.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::oci::Digest;
use crate::time::UnixTime;
pub use crate::tuf::RoleAt;
use crate::tuf::lineage::genesis;
use crate::tuf::proposal::Base;
use crate::tuf::{
    CollectionName, Delegation, Expiry, Fault, FileName, FilePin, Files, Limits, Metadata, RoleKeys,
    RoleName, RootChain, RootStep, RootWalk, Target, Targets, Trusted, TufError,
};

/// Most targets roles that are followed in one state.
const MAX_ROLES: usize = 256;

/// A state of which every role verified. Expiry is not judged here: who signs may be about to renew it.
#[derive(Debug, Clone)]
pub struct Whole {
    trusted: Trusted,
    files: Files,
    roles: BTreeMap<RoleName, RoleAt>,
    vacant: BTreeMap<RoleName, RoleAt>,
}

/// Whether a target path is that of a file of the whole collection, which a state carries: no bundle and no link.
pub fn is_own_file(collection: &CollectionName, path: &str) -> bool {
    let link = path.starts_with(&collection.intoto_prefix()) && path.ends_with(".link");
    collection.entry(path).is_none() && !link
}

/// Walk from the trusted root over the roots that `sources` offer.
///
/// # Errors
/// The trusted root itself fails, two different next roots verify, or there are too many.
pub fn walk(
    anchor: &Bytes,
    collection: &CollectionName,
    sources: &[&Files],
    limits: &Limits,
) -> Result<RootChain, TufError> {
    walk_on(anchor, collection, None, sources, limits)
}

/// The same over remembered roots first: what was accepted once is settled, and keys that were rotated out have no say
/// any more.
///
/// # Errors
/// As [`walk`].
pub fn walk_on(
    anchor: &Bytes,
    collection: &CollectionName,
    remembered: Option<&Files>,
    sources: &[&Files],
    limits: &Limits,
) -> Result<RootChain, TufError> {
    let mut walk = RootWalk::start(anchor, Some(&collection.to_string()), limits)?;
    loop {
        match walk.step() {
            RootStep::Need { version, .. } => {
                let offered = match remembered.and_then(|r| r.root(version)) {
                    Some(settled) => vec![settled.clone()],
                    None => {
                        let all: BTreeSet<&Bytes> = sources.iter().filter_map(|s| s.root(version)).collect();
                        all.into_iter().cloned().collect()
                    }
                };
                walk.feed(offered)?;
            }
            RootStep::Save(..) => walk.saved(),
            RootStep::Done => return Ok(walk.finish()),
        }
    }
}

/// Roles, each under who delegates to it.
type Reached = BTreeMap<RoleName, RoleAt>;

/// Every targets role that can be reached from `top`, by the files that `load` has; and those that have no file.
///
/// # Errors
/// A file that fails, or more roles than readers follow.
pub(super) fn reach(
    collection: &str,
    top: RoleAt,
    load: impl Fn(&Delegation) -> Result<Option<Arc<Metadata<Targets>>>, TufError>,
) -> Result<(Reached, Reached), TufError> {
    let mut roles = BTreeMap::from([(RoleName::targets(), top)]);
    let mut vacant = BTreeMap::new();
    let mut open = vec![RoleName::targets()];
    while let Some(delegator) = open.pop() {
        let delegations = roles.get(&delegator).map(|r| r.file.role().delegations().to_vec());
        for delegation in delegations.unwrap_or_default() {
            let by = Some(delegator.clone());
            let at = |file| RoleAt {
                keys: delegation.keys.clone(),
                paths: Some(delegation.paths.clone()),
                by,
                terms: delegation.terms.clone(),
                file,
            };
            let Some(file) = load(&delegation)? else {
                if vacant.len() < MAX_ROLES {
                    let first = Arc::new(genesis(collection, &delegation.name)?);
                    vacant.entry(delegation.name.clone()).or_insert_with(|| at(first));
                }
                continue;
            };
            if roles.len() >= MAX_ROLES {
                let fault = Fault::Cap { what: "targets roles", limit: MAX_ROLES };
                return Err(TufError::new(&delegation.name, fault));
            }
            // Reached by two ways, the file had to verify on both; the first one stands.
            if let Entry::Vacant(slot) = roles.entry(delegation.name.clone()) {
                let at = at(file);
                at.check_paths(slot.key(), &at.file)?;
                open.push(slot.key().clone());
                slot.insert(at);
            }
        }
    }
    Ok((roles, vacant))
}

impl Whole {
    /// What the keys of all roles are called in revocation lists: by their ids, and by their SubjectPublicKeyInfo.
    pub fn key_names(&self) -> BTreeSet<Digest> {
        let root = self.trusted.root().role();
        let of_root = [root.root_keys(), root.timestamp_keys(), root.snapshot_keys(), root.targets_keys()];
        let delegated = self.roles.values().chain(self.vacant.values()).map(|at| &at.keys);
        let keys = of_root.into_iter().chain(delegated).flat_map(|keys| &keys.keys);
        let names = keys.flat_map(|(id, key)| {
            let id = format!("sha256:{id}").parse().ok();
            [id, key.as_ref().map(|key| Digest::sha256(&key.to_spki()))]
        });
        names.flatten().collect()
    }

    /// Judge `files` under the final root of `chain`.
    ///
    /// # Errors
    /// The first check that fails, of whatever role.
    pub fn judge(
        chain: &RootChain,
        files: &Files,
        collection: &CollectionName,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let root = RoleName::root();
        let next = chain.last().version().next();
        if files.newest_root().is_some_and(|v| v >= next) {
            let skipped = chain.skipped().first().cloned();
            return Err(skipped.unwrap_or_else(|| TufError::new(&root, Fault::RootGap(next))));
        }
        let name = collection.to_string();
        let trusted = Trusted::judge(chain.last(), files, Some(&name), None, Expiry::Collect, now, limits)?;
        let keys = chain.last().role().targets_keys().clone();
        let top = RoleAt { keys, paths: None, by: None, terms: None, file: trusted.targets().clone() };
        let (roles, vacant) = reach(&name, top, |delegation| trusted.load(delegation, files))?;
        Ok(Self { trusted, files: files.clone(), roles, vacant })
    }

    /// The top-level metadata.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Every targets role that can be reached, the top-level one included.
    pub fn roles(&self) -> &BTreeMap<RoleName, RoleAt> {
        &self.roles
    }

    /// Roles that are delegated and have no file yet: the first one is signed by their own keys.
    pub fn vacant(&self) -> &BTreeMap<RoleName, RoleAt> {
        &self.vacant
    }

    /// The role whose entry for `path` counts: the first that lists it, in the order of [`crate::tuf::Search`]. Every role was
    /// verified under each of its delegations before.
    pub fn speaker(&self, path: &str) -> Option<&RoleName> {
        let mut ahead: Vec<&RoleName> = Vec::new();
        let mut visited = BTreeSet::new();
        let (mut name, mut at) = self.roles.get_key_value(&RoleName::targets())?;
        loop {
            visited.insert(name);
            let file = at.file.role();
            if file.targets().contains_key(path) {
                return Some(name);
            }
            let mut children = Vec::new();
            for delegation in file.delegations().iter().filter(|d| d.paths.cover(path)) {
                children.push(&delegation.name);
                if delegation.terminating {
                    ahead.clear();
                    break;
                }
            }
            ahead.extend(children.into_iter().rev());
            (name, at) = loop {
                let next = ahead.pop()?;
                match self.roles.get_key_value(next) {
                    Some(found) if !visited.contains(next) => break found,
                    _ => {}
                }
            };
        }
    }

    /// The file of a targets role.
    pub fn role(&self, role: &RoleName) -> Option<&Arc<Metadata<Targets>>> {
        self.roles.get(role).map(|r| &r.file)
    }

    /// The published files that a proposal stands on.
    pub fn base(&self, collection: &CollectionName) -> Base {
        let listed = self.trusted.snapshot().role().pins().keys().chain(self.vacant.keys()).cloned();
        // What is listed and not held, a difference tells.
        let held = self.own_targets(collection).unwrap_or_default().into_iter().filter_map(|(_, path, t)| {
            let bytes = self.files.target(&path).filter(|b| t.check(b).is_ok())?.clone();
            Some((path, bytes))
        });
        Base::new(collection.clone(), self.trusted.root().clone(), self.roles.clone())
            .listing(listed)
            .holding(held)
            .under(RoleName::snapshot(), self.trusted.snapshot())
            .under(RoleName::timestamp(), self.trusted.timestamp())
    }

    /// Who may sign a role.
    pub fn keys(&self, role: &RoleName) -> Option<&RoleKeys> {
        let seat = || self.roles.get(role).or_else(|| self.vacant.get(role));
        self.trusted.root().role().keys(role).or_else(|| seat().map(|r| &r.keys))
    }

    /// The files of the whole collection that the state lists: revocations, layouts, public keys. Bundles and links are none,
    /// and what a role may not speak for is not looked for.
    ///
    /// # Errors
    /// A role on the way fails.
    pub fn own_targets(
        &self,
        collection: &CollectionName,
    ) -> Result<Vec<(RoleName, String, Target)>, TufError> {
        let mut out = Vec::new();
        for (role, at) in &self.roles {
            let paths = at.file.role().targets().keys();
            for path in paths.filter(|p| is_own_file(collection, p)) {
                let found = self.trusted.find(path, &self.files)?.target;
                out.extend(found.filter(|(by, _)| by == role).map(|(by, t)| (by, path.clone(), t)));
            }
        }
        Ok(out)
    }

    /// Whether every file of the whole collection that the state lists is among its files.
    ///
    /// # Errors
    /// A role on the way fails.
    pub fn has_own_targets(&self, collection: &CollectionName) -> Result<bool, TufError> {
        let listed = self.own_targets(collection)?;
        Ok(listed.iter().all(|(_, path, t)| self.files.target(path).is_some_and(|b| t.check(b).is_ok())))
    }

    /// The same state with one more target file.
    #[must_use]
    pub fn with_target(mut self, path: String, bytes: Bytes) -> Self {
        self.files.put_target(path, bytes);
        self
    }

    /// Whether a version (timestamp, snapshot or a role) is smaller than in `memory`.
    pub fn is_below(&self, memory: &Self) -> bool {
        let fell = |role: &RoleName, pin: &FilePin| {
            self.trusted.pin(role).is_none_or(|ours| ours.version < pin.version)
        };
        self.trusted.timestamp().version() < memory.trusted.timestamp().version()
            || self.trusted.snapshot().version() < memory.trusted.snapshot().version()
            || memory.trusted.snapshot().role().pins().iter().any(|(role, pin)| fell(role, pin))
    }

    /// The name under which the file of a targets role lies.
    pub fn file_name(role: &RoleName, file: &Metadata<Targets>) -> FileName {
        FileName::versioned(role.clone(), file.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::sim::{NOW, Sim, SimKey};

    #[test]
    fn rotated_out_keys_do_not_contest_a_remembered_root() {
        let (mut honest, mut thief) = (Sim::new(), Sim::new());
        honest.rotate(|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
        thief.rotate(|sim| sim.online_key = SimKey::new(99));
        let (remembered, served) = (honest.files(), thief.files());
        let (anchor, limits) = (honest.roots[0].clone(), Limits::default());
        let at_once = walk(&anchor, &Sim::name(), &[&remembered, &served], &limits).unwrap_err();
        assert!(matches!(at_once.fault, Fault::RootFork(_)));
        let chain = walk_on(&anchor, &Sim::name(), Some(&remembered), &[&served], &limits).unwrap();
        assert_eq!(chain.last().bytes(), &honest.roots[1]);
        assert!(Whole::judge(&chain, &served, &Sim::name(), NOW, &limits).is_err());
        assert!(Whole::judge(&chain, &remembered, &Sim::name(), NOW, &limits).is_ok());
    }
}
