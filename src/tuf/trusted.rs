//! Trusted metadata, and the search for a target along delegations (TUF specification 5.6.7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::refresh::verify_file;
use super::{
    Delegation, Fault, FileName, FilePin, Files, Floor, Limits, Metadata, Refresh, RoleName, Root, Snapshot,
    Step, Target, Targets, Timestamp, TufError,
};
use crate::time::UnixTime;

/// What happens to expired files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// They fail, as the specification says.
    Enforce,
    /// They are accepted here and judged by the caller from [`Trusted::expiries`] and [`Found::loaded`]: as floors, and where a
    /// policy allows staleness.
    Collect,
}

impl Expiry {
    pub(super) fn check(self, role: &RoleName, at: UnixTime, now: UnixTime) -> Result<(), TufError> {
        if self == Self::Enforce && at <= now {
            return Err(TufError::new(role, Fault::Expired { at, now }));
        }
        Ok(())
    }
}

/// Top-level metadata whose signatures, versions, hashes and floors have been checked.
#[derive(Debug, Clone)]
pub struct Trusted {
    root: Metadata<Root>,
    timestamp: Metadata<Timestamp>,
    snapshot: Metadata<Snapshot>,
    targets: Arc<Metadata<Targets>>,
    collection: Option<String>,
    expiry: Expiry,
    now: UnixTime,
    limits: Limits,
}

/// Where a search ended.
#[derive(Debug, Clone)]
pub struct Found {
    /// The target and the role that lists it; `None` when no role on the way does.
    pub target: Option<(RoleName, Target)>,
    /// Every targets role that was loaded on the way, the top-level one included.
    pub loaded: BTreeMap<RoleName, Arc<Metadata<Targets>>>,
}

impl Trusted {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        root: Metadata<Root>,
        timestamp: Metadata<Timestamp>,
        snapshot: Metadata<Snapshot>,
        targets: Arc<Metadata<Targets>>,
        collection: Option<String>,
        expiry: Expiry,
        now: UnixTime,
        limits: Limits,
    ) -> Self {
        Self { root, timestamp, snapshot, targets, collection, expiry, now, limits }
    }

    /// Judge one source under a final root: the refresh, driven from memory.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn judge(
        root: &Metadata<Root>,
        files: &Files,
        collection: Option<&str>,
        floor: Option<Floor>,
        expiry: Expiry,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let mut refresh = Refresh::start(root.clone(), collection, floor, expiry, now, limits)?;
        loop {
            match refresh.step() {
                Step::Need { file, .. } => refresh.feed(files.get(&file).cloned())?,
                Step::Save(..) => refresh.saved(),
                Step::Done(trusted) => return Ok(*trusted),
            }
        }
    }

    /// The final root.
    pub fn root(&self) -> &Metadata<Root> {
        &self.root
    }

    /// The timestamp.
    pub fn timestamp(&self) -> &Metadata<Timestamp> {
        &self.timestamp
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Metadata<Snapshot> {
        &self.snapshot
    }

    /// The top-level targets.
    pub fn targets(&self) -> &Arc<Metadata<Targets>> {
        &self.targets
    }

    /// Expiry of the four top-level roles.
    pub fn expiries(&self) -> [(RoleName, UnixTime); 4] {
        [
            (RoleName::root(), self.root.expires()),
            (RoleName::timestamp(), self.timestamp.expires()),
            (RoleName::snapshot(), self.snapshot.expires()),
            (RoleName::targets(), self.targets.expires()),
        ]
    }

    /// Load a role through one delegation of `delegator`; checked against that delegator's keys whatever was loaded before.
    /// `None` when the snapshot does not list it.
    ///
    /// # Errors
    /// It is listed, but its file is missing or fails.
    pub fn load(
        &self,
        delegation: &Delegation,
        files: &Files,
    ) -> Result<Option<Arc<Metadata<Targets>>>, TufError> {
        let role = &delegation.name;
        let Some(pin) = self.snapshot.role().pin(role) else { return Ok(None) };
        let name = FileName::versioned(role.clone(), pin.version);
        let bytes = files.get(&name).ok_or_else(|| TufError::new(role, Fault::Missing(name)))?;
        let limit = pin.length.map_or(self.limits.targets_bytes, |l| l.min(self.limits.targets_bytes));
        if bytes.len() as u64 > limit {
            return Err(TufError::new(role, Fault::Size { limit, got: bytes.len() as u64 }));
        }
        let collection = self.collection.as_deref();
        let file = verify_file(role, &delegation.keys, Some(pin), collection, bytes, &self.limits)?;
        self.expiry.check(role, file.expires(), self.now)?;
        Ok(Some(Arc::new(file)))
    }

    /// Pre-order depth-first search for a target path; each role is visited once, only matching delegations are loaded.
    ///
    /// # Errors
    /// A role on the way fails, or there are more of them than bulla follows.
    pub fn find(&self, path: &str, files: &Files) -> Result<Found, TufError> {
        let mut loaded = BTreeMap::new();
        let mut visited = BTreeSet::new();
        let mut to_visit: Vec<(RoleName, Option<Delegation>)> = vec![(RoleName::targets(), None)];
        while let Some((name, via)) = to_visit.pop() {
            if visited.contains(&name) {
                continue;
            }
            if visited.len() > self.limits.delegations {
                let fault = Fault::Cap { what: "delegated roles on the way", limit: self.limits.delegations };
                return Err(TufError::new(&name, fault));
            }
            let role = match &via {
                None => Some(self.targets.clone()),
                Some(delegation) => self.load(delegation, files)?,
            };
            visited.insert(name.clone());
            let Some(role) = role else { continue };
            loaded.insert(name.clone(), role.clone());
            if let Some(target) = role.role().targets().get(path) {
                return Ok(Found { target: Some((name, target.clone())), loaded });
            }
            let mut children = Vec::new();
            for delegation in role.role().delegations().iter().filter(|d| d.paths.cover(path)) {
                children.push((delegation.name.clone(), Some(delegation.clone())));
                if delegation.terminating {
                    to_visit.clear();
                    break;
                }
            }
            to_visit.extend(children.into_iter().rev());
        }
        Ok(Found { target: None, loaded })
    }

    /// The pin of a role in the snapshot.
    pub fn pin(&self, role: &RoleName) -> Option<&FilePin> {
        self.snapshot.role().pin(role)
    }
}
