//! The client's update below the root (TUF specification 5.4 to 5.6) as a step machine.
//!
//! The driver only answers [`Step::Need`] with bytes or "not there", and persists on [`Step::Save`]: it cannot forget a
//! check or change the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Expiry, Fault, FileName, FilePin, Files, Limits, Metadata, Role, RoleKeys, RoleName, Root, Snapshot,
    Targets, Timestamp, Trusted, TufError, Unverified, Version,
};
use crate::time::UnixTime;

/// What a step machine wants next; `D` is what it ends with.
#[derive(Debug, Clone)]
pub enum Step<D> {
    /// This file, at most `max_len` bytes.
    Need {
        /// The file.
        file: FileName,
        /// Longest file, bytes.
        max_len: u64,
    },
    /// Persist this accepted file before going on.
    Save(FileName, Bytes),
    /// From now on this file of an earlier update is no floor, also after a crash: the keys of timestamp or snapshot changed.
    Forget(FileName),
    /// The end.
    Done(D),
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

/// The role that stands in the place of top-level targets, with the keys that a deployer gave for it (TAP 13): the root's keys
/// for targets have no say then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The role.
    pub role: RoleName,
    /// Who must have signed it.
    pub keys: RoleKeys,
}

impl Floor {
    /// The floor that `remembered` makes under `root`, unless timestamp or snapshot keys changed since
    /// `verified_under`: then both floors fall (specification 5.3.11, fast-forward recovery).
    pub fn of(remembered: &Trusted, verified_under: &Root, root: &Root) -> Option<Self> {
        let floor = || Self::made_by(remembered.timestamp(), remembered.snapshot());
        same_online_keys(verified_under, root).then(floor)
    }

    /// The same where only timestamp and snapshot are of use: whoever goes by another role than top-level targets may not have
    /// that role's file in the memory.
    ///
    /// # Errors
    /// The remembered timestamp or snapshot does not verify under `verified_under`.
    pub fn of_files(
        files: &Files,
        verified_under: &Metadata<Root>,
        root: &Root,
        collection: Option<&str>,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Option<Self>, TufError> {
        let under = verified_under.clone();
        let mut refresh = Refresh::start(under, collection, None, Expiry::Collect, now, limits)?;
        loop {
            if let (Some(timestamp), Some(snapshot)) = (&refresh.timestamp, &refresh.snapshot) {
                let floor = || Self::made_by(timestamp, snapshot);
                return Ok(same_online_keys(verified_under.role(), root).then(floor));
            }
            match refresh.step() {
                Step::Need { file, .. } => refresh.feed(files.get(&file).cloned())?,
                _ => refresh.saved(),
            }
        }
    }

    pub(super) fn made_by(timestamp: &Metadata<Timestamp>, snapshot: &Metadata<Snapshot>) -> Self {
        Self { timestamp: timestamp.version(), snapshot: snapshot.version(), roles: versions(snapshot) }
    }

    /// The first role of which a state is below this floor.
    pub fn fallen(&self, state: &Trusted) -> Option<RoleName> {
        if state.timestamp().version() < self.timestamp {
            return Some(RoleName::timestamp());
        }
        if state.snapshot().version() < self.snapshot {
            return Some(RoleName::snapshot());
        }
        let below =
            |(role, floor): &(&RoleName, &Version)| state.pin(role).is_none_or(|pin| pin.version < **floor);
        self.roles.iter().find(below).map(|(role, _)| role.clone())
    }

    /// Nothing below either floor.
    pub fn raise(&mut self, other: &Self) {
        self.timestamp = self.timestamp.max(other.timestamp);
        self.snapshot = self.snapshot.max(other.snapshot);
        for (role, version) in &other.roles {
            let floor = self.roles.entry(role.clone()).or_insert(*version);
            *floor = (*floor).max(*version);
        }
    }
}

/// Whether timestamp and snapshot have the same keys under both roots.
pub fn same_online_keys(a: &Root, b: &Root) -> bool {
    let same = |a: &RoleKeys, b: &RoleKeys| a.keys == b.keys;
    same(a.timestamp_keys(), b.timestamp_keys()) && same(a.snapshot_keys(), b.snapshot_keys())
}

fn versions(snapshot: &Metadata<Snapshot>) -> BTreeMap<RoleName, Version> {
    snapshot.role().pins().iter().map(|(role, pin)| (role.clone(), pin.version)).collect()
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
    top: Option<Top>,
    unsaved: Option<(FileName, Bytes)>,
    /// Files of an earlier update from the same source, under their unversioned names.
    kept: Files,
    kept_timestamp: Option<Metadata<Timestamp>>,
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
            top: None,
            unsaved: None,
            kept: Files::new(),
            kept_timestamp: None,
        })
    }

    /// Let another role stand in the place of top-level targets. Everything above it is checked as ever: the snapshot must pin it.
    #[must_use]
    pub fn with_top(mut self, top: Option<Top>) -> Self {
        self.top = top;
        self
    }

    /// Start with what an earlier update from the same source left, under unversioned names. It is checked again under `root`; what
    /// still verifies is a floor, expired or not, and is used again where the new metadata still pins it.
    ///
    /// # Errors
    /// As [`Refresh::start`]; or a kept timestamp or snapshot cannot be parsed. It was parsed when it was saved, so it was damaged
    /// since, and a damaged floor is not the same as none. python-tuf goes on without it.
    pub fn resume(
        root: Metadata<Root>,
        collection: Option<&str>,
        kept: &Files,
        expiry: Expiry,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let mut refresh = Self::start(root, collection, None, expiry, now, limits)?;
        let (role, name) = (RoleName::timestamp(), FileName::timestamp());
        if let Some(bytes) = kept.get(&name) {
            Unverified::<Timestamp>::parse(&role, bytes, limits)?;
        }
        let timestamp = kept.get(&name).and_then(|bytes| {
            refresh.verified::<Timestamp>(&role, refresh.root.role().timestamp_keys(), None, bytes).ok()
        });
        let (role, name) = (RoleName::snapshot(), FileName::unversioned(RoleName::snapshot()));
        if let Some(bytes) = kept.get(&name) {
            Unverified::<Snapshot>::parse(&role, bytes, limits)?;
        }
        let snapshot = kept.get(&name).and_then(|bytes| {
            refresh.verified::<Snapshot>(&role, refresh.root.role().snapshot_keys(), None, bytes).ok()
        });
        refresh.floor = Some(Floor {
            timestamp: timestamp.as_ref().map_or(Version::ONE, Metadata::version),
            snapshot: timestamp.as_ref().map_or(Version::ONE, |t| t.role().snapshot.version),
            roles: snapshot.as_ref().map(versions).unwrap_or_default(),
        });
        refresh.kept_timestamp = timestamp;
        refresh.kept = kept.clone();
        Ok(refresh)
    }

    /// What is wanted now.
    pub fn step(&self) -> Step<Box<Trusted>> {
        if let Some((name, bytes)) = &self.unsaved {
            return Step::Save(name.clone(), bytes.clone());
        }
        let Some(timestamp) = &self.timestamp else {
            return Step::Need { file: FileName::timestamp(), max_len: self.limits.timestamp_bytes };
        };
        let Some(snapshot) = &self.snapshot else {
            let pin = &timestamp.role().snapshot;
            return self.need(RoleName::snapshot(), pin, self.limits.snapshot_bytes);
        };
        match &self.targets {
            None => self.need(self.top_role(), self.top_pin(snapshot), self.limits.targets_bytes),
            Some(targets) => Step::Done(Box::new(Trusted::new(
                self.root.clone(),
                timestamp.clone(),
                snapshot.clone(),
                self.top_role(),
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
            (None, _) => {
                let timestamp = self.accept_timestamp(&bytes)?;
                // Equal version, other bytes: the one accepted before stays (specification 5.4.3).
                let kept = self.kept_timestamp.take().filter(|kept| kept.version() == timestamp.version());
                match kept {
                    Some(kept) => {
                        self.expiry.check(&role, kept.expires(), self.now)?;
                        self.timestamp = Some(kept);
                    }
                    None => {
                        self.timestamp = Some(timestamp);
                        self.unsaved = Some((file, bytes));
                    }
                }
            }
            (Some(t), None) => {
                self.snapshot = Some(self.accept_snapshot(&t.role().snapshot, &bytes)?);
                self.unsaved = Some((file, bytes));
            }
            (Some(_), Some(s)) => {
                self.targets = Some(self.accept_targets(self.top_pin(s), &bytes)?);
                self.unsaved = Some((file, bytes));
            }
        }
        self.reuse();
        Ok(())
    }

    /// Take what an earlier update left instead of fetching it, where it passes every check that a fetched file would.
    fn reuse(&mut self) {
        if let (Some(timestamp), None) = (&self.timestamp, &self.snapshot)
            && let Some(bytes) = self.kept.get(&FileName::unversioned(RoleName::snapshot()))
        {
            self.snapshot = self.accept_snapshot(&timestamp.role().snapshot, bytes).ok();
        }
        if let (Some(snapshot), None) = (&self.snapshot, &self.targets)
            && let Some(bytes) = self.kept.get(&FileName::unversioned(RoleName::targets()))
        {
            self.targets = self.accept_targets(snapshot.role().targets_pin(), bytes).ok();
        }
    }

    fn top_role(&self) -> RoleName {
        self.top.as_ref().map_or_else(RoleName::targets, |top| top.role.clone())
    }

    /// The pin of the role at the top; that the snapshot has one was checked when it was accepted.
    fn top_pin<'a>(&self, snapshot: &'a Metadata<Snapshot>) -> &'a FilePin {
        let pin = self.top.as_ref().and_then(|top| snapshot.role().pin(&top.role));
        pin.unwrap_or_else(|| snapshot.role().targets_pin())
    }

    fn need(&self, role: RoleName, pin: &FilePin, cap: u64) -> Step<Box<Trusted>> {
        let max_len = pin.length.map_or(cap, |l| l.min(cap));
        Step::Need { file: self.root.role().file_name(role, pin.version), max_len }
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
        if let Some(top) = self.top.as_ref().filter(|top| file.role().pin(&top.role).is_none()) {
            return Err(TufError::new(&top.role, Fault::NotListed(role)));
        }
        Ok(file)
    }

    fn accept_targets(&self, pin: &FilePin, bytes: &Bytes) -> Result<Metadata<Targets>, TufError> {
        let role = self.top_role();
        let keys = self.top.as_ref().map_or_else(|| self.root.role().targets_keys(), |top| &top.keys);
        let file = self.verified::<Targets>(&role, keys, Some(pin), bytes)?;
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

fn not_below(role: &RoleName, what: &RoleName, floor: Version, got: Version) -> Result<(), TufError> {
    if got < floor {
        return Err(TufError::new(role, Fault::Rollback { what: what.clone(), floor, got }));
    }
    Ok(())
}
