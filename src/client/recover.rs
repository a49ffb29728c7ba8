//! Recovery: a change of keys on a state that is known to be good, in place of what a thief published (docs/recovery.md).

use bytes::Bytes;

use super::ceremony::{CeremonyError, Desk, Done, sign};
use super::commit::{WorkError, Worked};
use super::duties::look;
use super::known::Known;
use super::whole::Whole;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::tuf::CollectionName;
use crate::tuf::proposal::{About, Base, Edit, EditError, Group, Proposal};

/// The state at a place that a thief did not reach: a mirror, a stick.
///
/// # Errors
/// None lies there, or it does not verify under `anchor`.
pub async fn state_at(
    store: &dyn Manage,
    collection: &CollectionName,
    anchor: &Bytes,
    now: UnixTime,
) -> Result<Whole, WorkError> {
    let place = Known::new(store);
    let found = look(&place, collection, anchor, now).await?;
    found
        .map(|l| l.whole)
        .ok_or_else(|| WorkError::Absent { collection: collection.clone(), place: store.place() })
}

impl Desk<'_> {
    /// What this installation remembers, for when it did not see what the thief published.
    ///
    /// # Errors
    /// Nothing is remembered, or it does not verify.
    pub fn remembered(&self) -> Result<Whole, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).remembered_state()
    }

    /// Propose what `edits` says of `good`, in place of what is published.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub fn propose_on(
        &self,
        good: &Whole,
        edits: &[Edit],
        about: About,
    ) -> Result<(Proposal, Base), EditError> {
        let base = good.base(self.collection);
        let proposal = Proposal::new(&base, edits, about)?;
        Ok((proposal.carrying(good.files().clone()), base))
    }

    /// Put in the finished files of a proposal that stands on `good`, in place of what is published.
    ///
    /// # Errors
    /// See [`WorkError`]; [`WorkError::FloorsStand`] when it does not replace the keys of timestamp and snapshot.
    pub async fn restart(&self, group: &Group, good: &Whole) -> Result<Worked, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).restart(group, good).await
    }

    /// Propose on `good`, sign with the keys at hand, and commit when every threshold holds.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub async fn recover(&self, good: &Whole, edits: &[Edit], about: About) -> Result<Done, CeremonyError> {
        let (mut proposal, base) = self.propose_on(good, edits, about)?;
        sign(&mut proposal, &base, self.keys, None).await?;
        let needed = proposal.signers(&base)?;
        if needed.iter().any(|n| !n.is_met()) {
            return Ok(Done { proposal, base, needed, worked: None });
        }
        let group = proposal.complete(&base)?;
        let worked = self.restart(&group, good).await?;
        Ok(Done { proposal, base, needed, worked: Some(worked) })
    }
}
