//! Trusted metadata, and what is loaded under it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::refresh::verify_file;
use super::{
    Delegation, Fault, FileName, FilePin, Files, Floor, Limits, Metadata, Refresh, RoleName, Root, Search,
    Snapshot, Step, Target, Targets, Timestamp, TufError,
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
    top: RoleName,
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
        top: RoleName,
        targets: Arc<Metadata<Targets>>,
        collection: Option<String>,
        expiry: Expiry,
        now: UnixTime,
        limits: Limits,
    ) -> Self {
        Self { root, timestamp, snapshot, top, targets, collection, expiry, now, limits }
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
        Self::drive(Refresh::start(root.clone(), collection, floor, expiry, now, limits)?, files)
    }

    /// Drive a refresh from memory.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn drive(mut refresh: Refresh, files: &Files) -> Result<Self, TufError> {
        loop {
            match refresh.step() {
                Step::Need { file, .. } => refresh.feed(files.get(&file).cloned())?,
                Step::Save(..) => refresh.saved(),
                Step::Forget(_) => {}
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

    /// The role at the top of all delegations: targets, unless a deployer named another one ([`super::Top`]).
    pub fn top(&self) -> &RoleName {
        &self.top
    }

    /// The file of the role at the top.
    pub fn targets(&self) -> &Arc<Metadata<Targets>> {
        &self.targets
    }

    /// Expiry of the four top-level roles.
    pub fn expiries(&self) -> [(RoleName, UnixTime); 4] {
        [
            (RoleName::root(), self.root.expires()),
            (RoleName::timestamp(), self.timestamp.expires()),
            (RoleName::snapshot(), self.snapshot.expires()),
            (self.top.clone(), self.targets.expires()),
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
        let Some((name, _)) = self.wanted(role) else { return Ok(None) };
        let bytes = files.get(&name).ok_or_else(|| TufError::new(role, Fault::Missing(name)))?;
        self.accept(delegation, bytes).map(Some)
    }

    /// File name and longest file of a delegated role; `None` when the snapshot does not list it.
    pub(super) fn wanted(&self, role: &RoleName) -> Option<(FileName, u64)> {
        let pin = self.pin(role)?;
        let max_len = pin.length.map_or(self.limits.targets_bytes, |l| l.min(self.limits.targets_bytes));
        Some((self.root.role().file_name(role.clone(), pin.version), max_len))
    }

    /// Check a delegated role's file against the delegation through which it is reached.
    pub(super) fn accept(
        &self,
        delegation: &Delegation,
        bytes: &Bytes,
    ) -> Result<Arc<Metadata<Targets>>, TufError> {
        let role = &delegation.name;
        let fail = |fault| TufError::new(role, fault);
        let pin = self.pin(role).ok_or_else(|| fail(Fault::NotListed(RoleName::snapshot())))?;
        let limit = pin.length.map_or(self.limits.targets_bytes, |l| l.min(self.limits.targets_bytes));
        if bytes.len() as u64 > limit {
            return Err(fail(Fault::Size { limit, got: bytes.len() as u64 }));
        }
        let collection = self.collection.as_deref();
        let file = verify_file(role, &delegation.keys, Some(pin), collection, bytes, &self.limits)?;
        self.expiry.check(role, file.expires(), self.now)?;
        Ok(Arc::new(file))
    }

    /// Search for a target path ([`Search`]) over files that are at hand.
    ///
    /// # Errors
    /// A role on the way fails, or there are more of them than bulla follows.
    pub fn find(&self, path: &str, files: &Files) -> Result<Found, TufError> {
        let nothing = Files::new();
        self.look(Search::start(self, path, &nothing)?, files)
    }

    /// The same from `role` on, as if it stood at the top: what stands before it in order does not hide it, and it speaks only for
    /// what every delegation on the way down to it allows. The way leads through roles whose name begins the wanted one's
    /// (`targets/releases` for `targets/releases/alice`). Nothing is found when nobody delegates to it.
    ///
    /// # Errors
    /// A role on the way fails, or there are more of them than bulla follows.
    pub fn find_from(&self, role: &RoleName, path: &str, files: &Files) -> Result<Found, TufError> {
        if *role == self.top {
            return self.find(path, files);
        }
        let nothing = Files::new();
        let mut at = (self.top.clone(), self.targets.clone());
        let mut loaded = BTreeMap::from([at.clone()]);
        while loaded.len() <= self.limits.delegations {
            let delegations = at.1.role().delegations();
            let leads = |d: &&Delegation| d.name == *role || role.is_under(&d.name);
            let next =
                delegations.iter().find(|d| d.name == *role).or_else(|| delegations.iter().find(leads));
            let Some(next) = next.filter(|d| d.paths.cover(path)) else {
                return Ok(Found { target: None, loaded });
            };
            if next.name == *role {
                let mut found = self.look(Search::start_at(self, path, &nothing, next)?, files)?;
                found.loaded.extend(loaded);
                return Ok(found);
            }
            let Some(file) = self.load(next, files)?.filter(|_| !loaded.contains_key(&next.name)) else {
                return Ok(Found { target: None, loaded });
            };
            at = (next.name.clone(), file);
            loaded.extend([at.clone()]);
        }
        let limit = self.limits.delegations;
        Err(TufError::new(role, Fault::Cap { what: "delegated roles on the way", limit }))
    }

    fn look(&self, mut search: Search<'_>, files: &Files) -> Result<Found, TufError> {
        loop {
            match search.step() {
                Step::Need { file, .. } => search.feed(files.get(&file).cloned())?,
                Step::Save(..) => search.saved(),
                Step::Forget(_) => {}
                Step::Done(found) => return Ok(found),
            }
        }
    }

    /// Bounds on what is followed.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The pin of a role in the snapshot.
    pub fn pin(&self, role: &RoleName) -> Option<&FilePin> {
        self.snapshot.role().pin(role)
    }
}
