//! One role with all that is known of it: its live file, the remembered one and what was submitted, folded.

use std::sync::Arc;

use super::round::Round;
use super::{Committer, WorkError};
use crate::client::signing::can_sign;
use crate::client::submission::Submission;
use crate::client::whole::RoleAt;
use crate::tuf::lineage::{self, Folded, RoleFile};
use crate::tuf::{Metadata, RoleName, Targets, TufError};

/// One role, with all that is known of it.
pub(super) struct Joined<'r> {
    pub(super) live: &'r Arc<Metadata<Targets>>,
    pub(super) remembered: Option<&'r Arc<Metadata<Targets>>>,
    pub(super) submissions: Vec<&'r Submission>,
    pub(super) live_file: RoleFile,
    pub(super) memory_file: Option<RoleFile>,
    pub(super) may_sign: bool,
    pub(super) folded: Folded,
}

/// The file that a fold came to; of a join that nobody has signed the newest part.
pub(super) fn newest<'f>(
    folded: &Folded,
    files: impl Iterator<Item = &'f Arc<Metadata<Targets>>> + Clone,
) -> Option<&'f Arc<Metadata<Targets>>> {
    match folded.view.file() {
        Some(hash) => files.clone().find(|f| f.digest().hex() == hash),
        None => files.clone().max_by_key(|f| f.version()),
    }
}

impl Committer<'_> {
    /// One role's live file, remembered file and submissions, folded.
    pub(super) fn joined<'r>(
        &self,
        round: &'r Round,
        role: &RoleName,
        at: &'r RoleAt,
    ) -> Result<Joined<'r>, WorkError> {
        let live = round.live.as_ref().and_then(|l| l.role(role)).unwrap_or(&at.file);
        let remembered = round.memory.as_ref().and_then(|m| m.role(role));
        let lineage =
            |file: &Metadata<Targets>| RoleFile::of(file).map_err(|fault| TufError::new(role, fault));
        let (live_file, memory_file) = (lineage(live)?, remembered.map(|f| lineage(f)).transpose()?);
        let submissions: Vec<&Submission> = round.seen.iter().filter(|s| s.role == *role).collect();
        let lineages: Vec<RoleFile> = submissions.iter().map(|s| s.lineage.clone()).collect();
        let may_sign = can_sign(self.keys, &at.keys);
        let folded = lineage::fold(&live_file, memory_file.as_ref(), &lineages, may_sign);
        Ok(Joined { live, remembered, submissions, live_file, memory_file, may_sign, folded })
    }
}
