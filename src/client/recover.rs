//! Recovery: a change of keys on a state that is known to be good, in place of what a thief published (docs/recovery.md).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ceremony::{CeremonyError, Desk, Done, sign};
use super::commit::{WorkError, Worked};
use super::known::Known;
use super::revoke::list_of;
use super::whole::Whole;
use crate::sig::{KeyId, PublicKey};
use crate::store::Manage;
use crate::trust::{RevocationEntry, RevocationList};
use crate::tuf::proposal::{About, Base, Difference, Edit, EditError, Group, Proposal};
use crate::tuf::{CollectionName, Draft, Metadata, RoleKeys, RoleName, Root, TufError, Version};

/// The newest that is known of the state of a collection.
#[derive(Debug, Clone)]
pub enum Live {
    /// Nothing, and nothing newer than the good state is remembered.
    Nothing,
    /// What cannot be seen, and why.
    Fault(String),
    /// A state.
    State(Box<Whole>),
    /// What is remembered here, which is newer; and what lies there instead.
    Remembered(Box<Whole>, String),
}

impl Live {
    pub(super) fn remembered(whole: Whole, place: String) -> Self {
        Self::Remembered(Box::new(whole), place)
    }
}

/// What falls away when an earlier state takes the place of a newer one.
#[derive(Debug, Clone)]
pub struct Fallen {
    /// Versions of the timestamp: that of the newer state, and that of the earlier one.
    pub timestamp: (Version, Version),
    /// Versions of the snapshot.
    pub snapshot: (Version, Version),
    /// What changes back, role by role: from the newer state to the earlier one.
    pub back: Difference,
    /// Roles that only the newer state leads to, each with its version and what it lists.
    pub roles: BTreeMap<RoleName, (Version, BTreeSet<String>)>,
    /// Why the newer state's list cannot be read.
    pub unread: Option<String>,
}

/// What becomes of the revocations when a proposal takes the place of newer states.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Those that the list of the good state has not and the new one has: its signers vouch for them.
    pub added: BTreeSet<RevocationEntry>,
    /// Those that are known and the new list has not.
    pub gone: BTreeSet<RevocationEntry>,
}

/// What becomes of the revocations of `good`, of a newer state and of those known `since`, with `kept` as the new list where there
/// is one.
pub fn entries(
    good: &Whole,
    newer: Option<&Whole>,
    since: BTreeSet<RevocationEntry>,
    kept: Option<&Bytes>,
    collection: &CollectionName,
) -> Entries {
    let set = |list: Option<RevocationList>| -> BTreeSet<RevocationEntry> {
        list.map(|list| list.entries().iter().cloned().collect()).unwrap_or_default()
    };
    let of = |whole: &Whole| set(list_of(whole, collection).ok().flatten());
    let (own, newer) = (of(good), newer.map(of).unwrap_or_default());
    let new = match kept {
        Some(list) => set(RevocationList::parse(list).ok()),
        None => own.clone(),
    };
    let gone = own.iter().chain(&newer).chain(&since).filter(|e| !new.contains(e)).cloned().collect();
    Entries { added: new.difference(&own).cloned().collect(), gone }
}

/// What falls away of `newer` when `good` takes its place.
///
/// # Errors
/// A role file that is none.
pub fn falls_away(newer: &Whole, good: &Whole, collection: &CollectionName) -> Result<Fallen, TufError> {
    let (base, after) = (newer.base(collection), good.base(collection));
    let other = |role: &RoleName| newer.role(role).map(|f| f.bytes()) != good.role(role).map(|f| f.bytes());
    let drafts: BTreeMap<RoleName, Draft> = after
        .roles()
        .iter()
        .filter(|(role, _)| other(role))
        .map(|(role, at)| (role.clone(), Draft::from_signed(at.file.signed().clone())))
        .collect();
    let about =
        About { description: String::new(), by: String::new(), at: good.trusted().timestamp().expires() };
    let back = match Proposal::of(&base, drafts, BTreeMap::new(), about) {
        Ok(proposal) => proposal.difference(&base),
        Err(EditError::Tuf(e)) => return Err(e),
        Err(e) => {
            let fault = crate::tuf::Fault::Format(e.to_string());
            return Err(TufError::new(&RoleName::targets(), fault));
        }
    };
    let gone = newer.roles().iter().filter(|(role, _)| good.role(role).is_none());
    let roles = gone.map(|(role, at)| {
        let paths = at.file.role().targets().keys().cloned().collect();
        (role.clone(), (at.file.version(), paths))
    });
    let unread = list_of(newer, collection).err().map(|e| e.to_string());
    let versions = |w: &Whole| (w.trusted().timestamp().version(), w.trusted().snapshot().version());
    let ((timestamp, snapshot), (t, s)) = (versions(newer), versions(good));
    Ok(Fallen { timestamp: (timestamp, t), snapshot: (snapshot, s), back, roles: roles.collect(), unread })
}

/// Whether the keys of snapshot and timestamp under `old` can sign neither under `new`: then clients forget what was served
/// under the old ones (TUF specification 5.3.11), and whoever stole them can serve nothing more.
pub fn floors_fall(old: &Root, new: &Root) -> bool {
    let out = |old: &RoleKeys, new: &RoleKeys| {
        let ids: BTreeSet<&KeyId> = old.keys.keys().collect();
        let keys: BTreeSet<&PublicKey> = old.keys.values().flatten().collect();
        let shared = new
            .keys
            .iter()
            .filter(|(id, key)| ids.contains(id) || key.as_ref().is_some_and(|key| keys.contains(key)));
        u32::try_from(shared.count()).is_ok_and(|n| n < new.threshold)
    };
    out(old.timestamp_keys(), new.timestamp_keys()) && out(old.snapshot_keys(), new.snapshot_keys())
}

/// Whether a proposal that stands on an earlier state replaces the keys of snapshot and timestamp.
///
/// # Errors
/// [`WorkError::FloorsStand`]: it does not.
pub fn check_floors(proposal: &Proposal, base: &Base) -> Result<(), WorkError> {
    let new = proposal.drafts().get(&RoleName::root()).and_then(|d| d.root());
    let old = base.root().map(Metadata::role);
    match (old, new) {
        (Some(old), Some(new)) if floors_fall(old, new) => Ok(()),
        _ => Err(WorkError::FloorsStand),
    }
}

impl Desk<'_> {
    /// The state at a place that a thief did not reach (a mirror, a stick), or without one what this installation remembers:
    /// verified under the newest root that is known here or lies at the collection's place.
    ///
    /// # Errors
    /// None is there, or it does not verify: [`WorkError::Good`].
    pub async fn good(&self, at: Option<&dyn Manage>) -> Result<Whole, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).good(at).await
    }

    /// What this installation remembers, for when it did not see what the thief published.
    ///
    /// # Errors
    /// As [`Desk::good`].
    pub async fn remembered(&self) -> Result<Whole, WorkError> {
        self.good(None).await
    }

    /// What lies at the collection's place, whether it verifies or not, or what is remembered, where that is newer; judged under
    /// the roots that `good` has, too.
    ///
    /// # Errors
    /// The place or the memory cannot be read.
    pub async fn live(&self, good: &Whole) -> Result<Live, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).live(good).await
    }

    /// All entries of revocation lists that were signed since under keys that `good` knows.
    ///
    /// # Errors
    /// The place or the memory cannot be read.
    pub async fn entered_since(&self, good: &Whole) -> Result<BTreeSet<RevocationEntry>, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).entered_since(good).await
    }

    /// Propose what `edits` says of `good`, in place of what is published; with what was taken back since under keys that `good`
    /// knows, as far as a list holds it: that stays so. What was undone since counts again.
    ///
    /// # Errors
    /// See [`CeremonyError`]; [`WorkError::FloorsStand`] when it does not replace the keys of timestamp and snapshot.
    pub async fn propose_on(
        &self,
        good: &Whole,
        edits: &[Edit],
        about: About,
    ) -> Result<(Proposal, Base), CeremonyError> {
        let base = good.base(self.collection);
        let place = Known::new(self.store);
        let mut edits = edits.to_vec();
        edits.extend(self.committer(&place).revoked_since(good).await?);
        let proposal = Proposal::new(&base, &edits, about)?;
        check_floors(&proposal, &base)?;
        Ok((proposal.carrying(good.files().clone()), base))
    }

    /// Put in the finished files of a proposal that stands on `good`, in place of what is published. What was put in before
    /// changes nothing.
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
        let (mut proposal, base) = self.propose_on(good, edits, about).await?;
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
