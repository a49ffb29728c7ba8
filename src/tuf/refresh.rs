//! The client's update below the root (TUF specification 5.4 to 5.6) as a step machine.
//!
//! The driver only answers [`Step::Need`] with bytes or "not there", and persists on [`Step::Save`]: it cannot forget a
//! check or change the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Expiry, Fault, FileName, FilePin, Limits, Metadata, Role, RoleKeys, RoleName, Root, Snapshot, Targets,
    Timestamp, Trusted, TufError, Unverified, Version,
};
use crate::time::UnixTime;

/// What the refresh wants next.
#[derive(Debug, Clone)]
pub enum Step {
    /// This file, at most `max_len` bytes.
    Need {
        /// The file.
        file: FileName,
        /// Longest file, bytes.
        max_len: u64,
    },
    /// Persist this accepted file before going on.
    Save(FileName, Bytes),
    /// All top-level metadata is trusted.
    Done(Box<Trusted>),
}

/// Versions below which nothing is accepted: from the newest metadata that was verified before, expired or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Version of the timestamp.
    pub timestamp: Version,
    /// Version of the snapshot that it names.
    pub snapshot: Version,
    /// Version of each targets role.
    pub roles: BTreeMap<RoleName, Version>,
}

impl Floor {
    /// The floor that `remembered` makes under `root`, unless timestamp or snapshot keys changed since
    /// `verified_under`: then both floors fall (specification 5.3.11, fast-forward recovery).
    pub fn of(remembered: &Trusted, verified_under: &Root, root: &Root) -> Option<Self> {
        let same = |a: &RoleKeys, b: &RoleKeys| a.keys == b.keys;
        let kept = same(verified_under.timestamp_keys(), root.timestamp_keys())
            && same(verified_under.snapshot_keys(), root.snapshot_keys());
        kept.then(|| Self {
            timestamp: remembered.timestamp().version(),
            snapshot: remembered.snapshot().version(),
            roles: remembered.snapshot().role().pins().iter().map(|(r, p)| (r.clone(), p.version)).collect(),
        })
    }
}

/// The refresh under a final root.
#[derive(Debug)]
pub struct Refresh {
    root: Metadata<Root>,
    collection: Option<String>,
    floor: Option<Floor>,
    expiry: Expiry,
    now: UnixTime,
    limits: Limits,
    timestamp: Option<Metadata<Timestamp>>,
    snapshot: Option<Metadata<Snapshot>>,
    targets: Option<Metadata<Targets>>,
    unsaved: Option<(FileName, Bytes)>,
}

impl Refresh {
    /// Start under `root`, which the walk ended with. `now` is the one time of the whole update (specification 5.1).
    ///
    /// # Errors
    /// The root is expired (only when expiry is enforced).
    pub fn start(
        root: Metadata<Root>,
        collection: Option<&str>,
        floor: Option<Floor>,
        expiry: Expiry,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        expiry.check(&RoleName::root(), root.expires(), now)?;
        Ok(Self {
            root,
            collection: collection.map(str::to_owned),
            floor,
            expiry,
            now,
            limits: limits.clone(),
            timestamp: None,
            snapshot: None,
            targets: None,
            unsaved: None,
        })
    }

    /// What is wanted now.
    pub fn step(&self) -> Step {
        if let Some((name, bytes)) = &self.unsaved {
            return Step::Save(name.clone(), bytes.clone());
        }
        let Some(timestamp) = &self.timestamp else {
            return Step::Need { file: FileName::timestamp(), max_len: self.limits.timestamp_bytes };
        };
        let Some(snapshot) = &self.snapshot else {
            let pin = &timestamp.role().snapshot;
            return need(RoleName::snapshot(), pin, self.limits.snapshot_bytes);
        };
        match &self.targets {
            None => need(RoleName::targets(), snapshot.role().targets_pin(), self.limits.targets_bytes),
            Some(targets) => Step::Done(Box::new(Trusted::new(
                self.root.clone(),
                timestamp.clone(),
                snapshot.clone(),
                Arc::new(targets.clone()),
                self.collection.clone(),
                self.expiry,
                self.now,
                self.limits.clone(),
            ))),
        }
    }

    /// Answer to [`Step::Save`]: it is persisted.
    pub fn saved(&mut self) {
        self.unsaved = None;
    }

    /// Answer to [`Step::Need`]: the file, or that it is not there.
    ///
    /// # Errors
    /// The first check that the file fails. Nothing of it is kept; what was accepted before stays accepted.
    pub fn feed(&mut self, bytes: Option<Bytes>) -> Result<(), TufError> {
        let Step::Need { file, max_len } = self.step() else { return Ok(()) };
        let role = file.role().clone();
        let fail = |fault: Fault| TufError::new(&role, fault);
        let bytes = bytes.ok_or_else(|| fail(Fault::Missing(file.clone())))?;
        if bytes.len() as u64 > max_len {
            return Err(fail(Fault::Size { limit: max_len, got: bytes.len() as u64 }));
        }
        match (&self.timestamp, &self.snapshot) {
            (None, _) => self.timestamp = Some(self.accept_timestamp(&bytes)?),
            (Some(t), None) => self.snapshot = Some(self.accept_snapshot(&t.role().snapshot, &bytes)?),
            (Some(_), Some(s)) => {
                let targets = RoleName::targets();
                let keys = self.root.role().targets_keys();
                let file = self.verified::<Targets>(&targets, keys, Some(s.role().targets_pin()), &bytes)?;
                self.expiry.check(&targets, file.expires(), self.now)?;
                self.targets = Some(file);
            }
        }
        self.unsaved = Some((file, bytes));
        Ok(())
    }

    fn accept_timestamp(&self, bytes: &Bytes) -> Result<Metadata<Timestamp>, TufError> {
        let role = RoleName::timestamp();
        let file = self.verified::<Timestamp>(&role, self.root.role().timestamp_keys(), None, bytes)?;
        if let Some(floor) = &self.floor {
            let snapshot = file.role().snapshot.version;
            not_below(&role, &role, floor.timestamp, file.version())?;
            not_below(&role, &RoleName::snapshot(), floor.snapshot, snapshot)?;
        }
        self.expiry.check(&role, file.expires(), self.now)?;
        Ok(file)
    }

    fn accept_snapshot(&self, pin: &FilePin, bytes: &Bytes) -> Result<Metadata<Snapshot>, TufError> {
        let role = RoleName::snapshot();
        let file = self.verified::<Snapshot>(&role, self.root.role().snapshot_keys(), Some(pin), bytes)?;
        if let Some(floor) = &self.floor {
            for (listed, version) in &floor.roles {
                match file.role().pin(listed) {
                    Some(now) => not_below(&role, listed, *version, now.version)?,
                    None => return Err(TufError::new(&role, Fault::Dropped(listed.clone()))),
                }
            }
        }
        self.expiry.check(&role, file.expires(), self.now)?;
        Ok(file)
    }

    fn verified<R: Role>(
        &self,
        role: &RoleName,
        keys: &RoleKeys,
        pin: Option<&FilePin>,
        bytes: &Bytes,
    ) -> Result<Metadata<R>, TufError> {
        verify_file(role, keys, pin, self.collection.as_deref(), bytes, &self.limits)
    }
}

/// Everything that holds for any file below the root: pinned length and hashes before parsing, signatures, version, collection.
pub(super) fn verify_file<R: Role>(
    role: &RoleName,
    keys: &RoleKeys,
    pin: Option<&FilePin>,
    collection: Option<&str>,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<Metadata<R>, TufError> {
    if let Some(pin) = pin {
        pin.check(bytes).map_err(|fault| TufError::new(role, fault))?;
    }
    let file = Unverified::<R>::parse(role, bytes, limits)?.verify(role, &[keys])?;
    if let Some(expected) = pin.map(|p| p.version).filter(|v| *v != file.version()) {
        return Err(TufError::new(role, Fault::Version { expected, got: file.version() }));
    }
    if let Some(collection) = collection {
        file.check_collection(role, collection)?;
    }
    Ok(file)
}

fn need(role: RoleName, pin: &FilePin, cap: u64) -> Step {
    let max_len = pin.length.map_or(cap, |l| l.min(cap));
    Step::Need { file: FileName::versioned(role, pin.version), max_len }
}

fn not_below(role: &RoleName, what: &RoleName, floor: Version, got: Version) -> Result<(), TufError> {
    if got < floor {
        return Err(TufError::new(role, Fault::Rollback { what: what.clone(), floor, got }));
    }
    Ok(())
}
