//! A live state of which not every file can be had: read twice, and never replaced by an older memory.

use super::{Committer, Job, Ledger, WorkError};
use crate::client::state::{self, Kind, StateError};
use crate::client::whole::Whole;
use crate::oci::Content;
use crate::tuf::{
    Files, Limits, Metadata, RoleName, RootChain, Snapshot, Timestamp, TufError, Unverified, Version,
};

/// What lies at the state's tag.
pub(super) struct Found {
    pub(super) manifest: Option<Content>,
    /// Its files; where there is a fault and the job repairs, those that are what the manifest says.
    pub(super) files: Option<Files>,
    /// Why not every file could be had, though the place was asked.
    pub(super) fault: Option<WorkError>,
}

impl Committer<'_> {
    /// Read the live state.
    pub(super) async fn find(&self, job: &Job<'_>, ledger: &mut Ledger) -> Result<Found, WorkError> {
        let mut found = self.find_once(ledger).await?;
        if found.fault.is_some() {
            // One damaged answer shall not pass for what lies there.
            found = self.find_once(ledger).await?;
        }
        if let (Some(manifest), Some(_), true) = (&found.manifest, &found.fault, job.repair) {
            found.files = Some(state::intact(self.place, manifest).await?);
        }
        Ok(found)
    }

    async fn find_once(&self, ledger: &mut Ledger) -> Result<Found, WorkError> {
        let Some(manifest) = self.resolve(ledger).await? else {
            return Ok(Found { manifest: None, files: None, fault: None });
        };
        let (files, fault) = match state::read(self.place, &manifest, Kind::State).await {
            Ok(read) => {
                let files = read.files.metadata().values().chain(read.files.targets().values());
                self.place.learn(&manifest, files);
                (Some(read.files), None)
            }
            // A file that is not what the manifest says: the place was asked, and its state is damaged.
            Err(StateError::Store(e)) if !e.is_the_items_own() => return Err(e.into()),
            Err(e) => (None, Some(WorkError::State(e))),
        };
        Ok(Found { manifest: Some(manifest), files, fault })
    }
}

/// Refuse to go on from `memory` where a signed file that is left of the live state is newer: what was admitted since, a
/// revocation perhaps, would be undone. Only what verifies counts; anybody who may push can name a version.
/// Files of the targets roles are folded instead, see [`Committer::outlived`]: alone they may be submissions.
pub(super) fn not_newer(chain: &RootChain, left: &Files, memory: &Whole) -> Result<(), WorkError> {
    let (root, known) = (chain.last().role(), memory.trusted());
    let limits = Limits::default();
    let newer = |role: RoleName, live: Version, remembered: Version| match live > remembered {
        true => Err(WorkError::Damaged { role, live, remembered }),
        false => Ok(()),
    };
    for (name, bytes) in left.metadata() {
        let role = name.role().clone();
        if role == RoleName::timestamp() {
            let file: Result<Metadata<Timestamp>, TufError> = Unverified::parse(&role, bytes, &limits)
                .and_then(|f| f.verify(&role, &[root.timestamp_keys()]));
            let Ok(file) = file else { continue };
            newer(RoleName::snapshot(), file.role().snapshot.version, known.snapshot().version())?;
            newer(role, file.version(), known.timestamp().version())?;
        } else if role == RoleName::snapshot() {
            let file: Result<Metadata<Snapshot>, TufError> = Unverified::parse(&role, bytes, &limits)
                .and_then(|f| f.verify(&role, &[root.snapshot_keys()]));
            let Ok(file) = file else { continue };
            newer(role, file.version(), known.snapshot().version())?;
        }
    }
    Ok(())
}
