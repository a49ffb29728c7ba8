//! Ceremonies: what is proposed on what is published, signed with the keys at hand, and put in once enough have signed.

pub mod file;
pub mod travel;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::commit::{Committer, Job, WorkError, Worked};
use super::known::Known;
use super::memory::Memory;
use super::signing::{KeyRing, SignError};
use super::whole::{Whole, walk_on};
use crate::keys::sign_checked;
use crate::sig::{KeyId, PublicKey};
use crate::store::Manage;
use crate::time::{Clock, UnixTime};
use crate::tuf::proposal::{About, Base, Edit, EditError, Group, Incomplete, Needed, Proposal};
use crate::tuf::{CollectionName, Files, Limits, RoleName, RootChain, TufError};

/// Times that a change is proposed again on what was published meanwhile.
const TRIES: usize = 8;

/// Whose collection, where, and with what.
pub struct Desk<'a> {
    /// The collection.
    pub collection: &'a CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: &'a Bytes,
    /// Where the state lies.
    pub store: &'a dyn Manage,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What a change came to that was proposed, signed here, and perhaps put in at once.
#[derive(Debug)]
pub struct Done {
    /// The proposal, signed with the keys at hand.
    pub proposal: Proposal,
    /// What it stands on.
    pub base: Base,
    /// Who signed and who is missing.
    pub needed: Vec<Needed>,
    /// What was committed; none while signatures are missing: then the proposal must travel.
    pub worked: Option<Worked>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// It cannot be proposed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A key at hand cannot be used.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Signatures are missing.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The state cannot be read, or the commit failed.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl From<TufError> for CeremonyError {
    fn from(e: TufError) -> Self {
        Self::Work(e.into())
    }
}

impl Desk<'_> {
    /// What is published now, verified.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn published(&self) -> Result<Whole, WorkError> {
        let place = Known::new(self.store);
        self.committer(&place).published().await
    }

    /// Propose what `edits` says of what is published; carrying the published files.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub async fn propose(
        &self,
        edits: impl Fn(&Whole) -> Result<Vec<Edit>, EditError>,
        about: About,
    ) -> Result<(Proposal, Base), CeremonyError> {
        let whole = self.published().await?;
        let base = whole.base(self.collection);
        let proposal = Proposal::new(&base, &edits(&whole)?, about)?;
        Ok((proposal.carrying(whole.files().clone()), base))
    }

    /// Put in the finished files of a proposal: submit, and commit with the online key.
    ///
    /// # Errors
    /// See [`WorkError`]. Nothing is overwritten: where what is published has moved on, [`WorkError::StaleBase`].
    pub async fn commit(&self, group: &Group) -> Result<Worked, WorkError> {
        let place = Known::new(self.store);
        let none = BTreeSet::new();
        let job = Job { install: Some(group), ..Job::routine(&none) };
        self.committer(&place).work(&job).await
    }

    /// Propose, sign with the keys at hand, and commit when every threshold holds: what happens on one machine that has all keys.
    /// What moved on meanwhile is proposed again.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub async fn at_once(
        &self,
        edits: impl Fn(&Whole) -> Result<Vec<Edit>, EditError>,
        about: &About,
    ) -> Result<Done, CeremonyError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut proposal, base) = self.propose(&edits, about.clone()).await?;
            sign(&mut proposal, &base, self.keys, None).await?;
            let needed = proposal.signers(&base)?;
            if needed.iter().any(|n| !n.is_met()) {
                return Ok(Done { proposal, base, needed, worked: None });
            }
            let group = proposal.complete(&base)?;
            match self.commit(&group).await {
                Err(WorkError::StaleBase { .. }) if tries < TRIES => {}
                Err(e) => return Err(e.into()),
                Ok(worked) => return Ok(Done { proposal, base, needed, worked: Some(worked) }),
            }
        }
    }

    pub(super) fn committer<'c>(&'c self, place: &'c Known<'c>) -> Committer<'c> {
        Committer {
            place,
            collection: self.collection,
            anchor: self.anchor,
            memories: self.memories,
            without_memory: self.without_memory,
            keys: self.keys,
            clock: self.clock,
        }
    }
}

/// The published files that a proposal carries, judged from a trusted root and what is known of later ones; no network.
///
/// # Errors
/// The first check that fails. Expiry is not judged.
pub fn carried_by(
    proposal: &Proposal,
    root: &Bytes,
    known: Option<&Files>,
    now: UnixTime,
) -> Result<(RootChain, Whole), TufError> {
    let (carried, collection, limits) = (proposal.published(), proposal.collection(), Limits::default());
    let chain = walk_on(root, collection, known, &[carried], &limits)?;
    let whole = Whole::judge(&chain, carried, collection, now, &limits)?;
    Ok((chain, whole))
}

/// The roles of which [`sign`] would sign a draft.
///
/// # Errors
/// The drafts lead nowhere.
pub fn signable(
    proposal: &Proposal,
    base: &Base,
    keys: &dyn KeyRing,
    only: Option<&[PublicKey]>,
) -> Result<BTreeSet<RoleName>, CeremonyError> {
    let asked = |key: &PublicKey| only.is_none_or(|only| only.contains(key)) && keys.holds(key);
    let signed_here = |needed: &Needed| {
        let missing = needed.keys.keys.iter().filter(|(id, _)| !needed.count.signed.contains(*id));
        proposal.awaits(&needed.role) && missing.filter_map(|(_, key)| key.as_ref()).any(asked)
    };
    Ok(proposal.signers(base)?.into_iter().filter(signed_here).map(|needed| needed.role).collect())
}

/// Sign every draft with every key at hand that is asked for, or with `only` these; what was signed here.
///
/// # Errors
/// A key that cannot be opened or did not sign.
pub async fn sign(
    proposal: &mut Proposal,
    base: &Base,
    keys: &dyn KeyRing,
    only: Option<&[PublicKey]>,
) -> Result<Vec<(RoleName, KeyId)>, CeremonyError> {
    let mut signed = Vec::new();
    for needed in proposal.signers(base)? {
        if !proposal.awaits(&needed.role) {
            continue;
        }
        for (id, key) in &needed.keys.keys {
            let Some(key) = key else { continue };
            let asked = only.is_none_or(|only| only.contains(key));
            if !asked || needed.count.signed.contains(id) || !keys.holds(key) {
                continue;
            }
            if signed.contains(&(needed.role.clone(), id.clone())) {
                continue;
            }
            let Some(message) = proposal.message(&needed.role) else { continue };
            let signer = keys.signer(key).await.map_err(SignError::from)?;
            let signature = sign_checked(&*signer, &message).await.map_err(SignError::from)?;
            proposal.sign(&needed.role, id.clone(), signature);
            signed.push((needed.role.clone(), id.clone()));
        }
    }
    Ok(signed)
}
