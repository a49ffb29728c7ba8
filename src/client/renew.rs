//! `renew`: admit what was submitted, sign again what is due, finish what was left undone.

pub mod members;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ceremony::travel;
pub use super::commit::Cosign;
use super::commit::{Committer, Gathering, Job, Pending, Reason, WorkError, timestamp_due};
use super::duties::{Finished, Moves, Tagging, Tidy, reseal};
use super::known::Known;
use super::life::{Life, lives};
use super::memory::Memory;
use super::signing::{KeyRing, can_sign, require};
use super::whole::Whole;
use crate::oci::{Digest, Reference, Selector, Tag};
use crate::sig::KeyId;
use crate::store::Manage;
use crate::time::{Clock, UnixTime};
use crate::trust::Duration;
use crate::tuf::lineage::Loser;
use crate::tuf::proposal::{Base, Proposal};
use crate::tuf::{CollectionName, RoleName, Version};

/// What `renew` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state and the bundles lie.
    pub store: &'a dyn Manage,
    /// Roles to sign again, due or not; the only way to sign `root` and `targets` again.
    pub roles: BTreeSet<RoleName>,
    /// Other lives of timestamp and snapshot than those before.
    pub lives: &'a BTreeMap<RoleName, Duration>,
    /// Hang a fresh seal on every release, due or not.
    pub reseal: bool,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// Signatures on snapshot and timestamp of machines that do not read the place.
    pub cosign: Cosign<'a>,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// How a renewal ended.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The whole.
    pub status: Status,
    /// The collection.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of the state's manifest that was read last.
    pub digest: Digest,
    /// What was signed: version and expiry.
    pub signed: BTreeMap<RoleName, (Version, UnixTime)>,
    /// Submissions that are in now and were not before.
    pub admitted: Vec<Admitted>,
    /// A next snapshot and timestamp that wait for more signatures.
    pub gathering: Option<Gathering>,
    /// The same as a proposal, where it was asked for, and what that stands on.
    pub travels: Option<(Proposal, Base)>,
    /// Submissions that are not in.
    pub pending: Vec<Pending>,
    /// Seals, tags, deletions; and what of that is still to be done.
    pub finished: Finished,
    /// Tags of the submissions that were deleted.
    pub deleted: Vec<Tag>,
    /// Number of states that were PUT.
    pub commits: usize,
    /// Number of forks that were merged.
    pub merged: usize,
    /// Values that did not stay where two stood for one path.
    pub losers: Vec<Loser>,
    /// When which role must be signed again, the first one first.
    pub due: Vec<Due>,
    /// Whether the live state was older than the memory, or gone, and was put right.
    pub repaired: bool,
}

/// A submission that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its tag.
    pub tag: Tag,
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
}

/// When a role must be signed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// From when on it is signed again.
    pub from: UnixTime,
    /// When it expires.
    pub expires: UnixTime,
    /// From when on less than a third of its life remains.
    pub ages_from: UnixTime,
    /// The role.
    pub role: RoleName,
    /// Whether enough of its keys are here.
    pub key_here: bool,
    /// The ids of its keys.
    pub keys: Vec<KeyId>,
}

/// How a collection stands after a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Something was signed, admitted or finished.
    Renewed,
    /// Nothing was due, nothing submitted: nothing was written.
    Current,
    /// Signed here; snapshot or timestamp wait for keys elsewhere.
    Waiting,
    /// A fork waits for a holder of the role's key.
    Pending,
    /// A role is past half its life, or expired, and its key is not here.
    Overdue,
    /// A seal, a tag or a deletion is still to be done, or there are more submissions than are looked at.
    Incomplete,
}

/// Renew.
///
/// # Errors
/// See [`WorkError`]. What was pushed before stays and does no harm; the same call finishes it.
pub async fn renew(request: Request<'_>) -> Result<Renewed, WorkError> {
    let place = Known::new(request.store);
    let committer = Committer {
        place: &place,
        collection: &request.collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: request.without_memory,
        keys: request.keys,
        clock: request.clock,
    };
    let job = Job { cosign: request.cosign, lives: request.lives, ..Job::routine(&request.roles) };
    let worked = committer.work(&job).await?;
    let now = request.clock.now();
    if matches!(request.cosign, Cosign::Here)
        && !worked.online
        && worked.gathering.is_none()
        && worked.signed.is_empty()
        && timestamp_due(&worked.last) <= now
    {
        let root = worked.last.trusted().root().role();
        require(request.keys, &RoleName::timestamp(), root.timestamp_keys())?;
        require(request.keys, &RoleName::snapshot(), root.snapshot_keys())?;
    }
    let tidy = Tidy {
        tagging: Tagging {
            bundles: &place,
            place: &place,
            collection: &request.collection,
            anchor: &request.anchor,
            memories: request.memories,
            now,
            moves: Moves::Unfinished,
        },
        first: worked.first.as_ref(),
        last: &worked.last,
        manifest: worked.manifest.digest(),
        memory_is_newer: worked.repaired,
        listed: &worked.listed,
        settled: &worked.settled,
    };
    // Without the online key the state may not hold yet what was submitted: its bundles have no seal and no tag before that.
    let mut finished = if worked.online { tidy.run().await? } else { Finished::default() };
    if request.reseal {
        let resealed = reseal(&place, &worked.last, &request.collection).await?;
        finished.seals.extend(resealed.seals);
        finished.absent.extend(resealed.absent);
        finished.open.extend(resealed.open);
    }
    if worked.online && !worked.admitted.is_empty() {
        // What is in needs no more signatures. Where its copies cannot be deleted, who reads them passes over them.
        let _ = travel::clear_published(request.store, &request.collection, &worked.last).await;
    }
    let tag = |t: &super::submission::SubmissionTag| t.tag(&request.collection);
    let admitted: Vec<Admitted> = worked
        .admitted
        .iter()
        .filter_map(|(t, role)| Some(Admitted { tag: tag(t)?, role: role.clone(), version: t.version() }))
        .collect();
    let due = due(&worked.last, request.keys);
    let forks = worked.pending.iter().any(|p| p.reason == Reason::Fork);
    let shared = worked.gathering.is_some() || !matches!(request.cosign, Cosign::Here);
    let overdue = due.iter().any(|d| {
        let late = match d.role.as_str() {
            "root" | "targets" => false,
            // Others sign them, too: that takes its time, and not for ever.
            "timestamp" | "snapshot" if shared => d.ages_from <= now,
            _ => d.from <= now,
        };
        d.expires <= now || (late && !d.key_here)
    });
    let did = worked.commits > 0
        || !worked.signed.is_empty()
        || !finished.seals.is_empty()
        || !finished.tags.is_empty()
        || !finished.deleted.is_empty();
    let passed_over = worked.pending.iter().any(|p| p.reason == Reason::NotLookedAt);
    let status = if !finished.open.is_empty() || passed_over {
        Status::Incomplete
    } else if forks {
        Status::Pending
    } else if overdue {
        Status::Overdue
    } else if worked.gathering.is_some() {
        Status::Waiting
    } else if did {
        Status::Renewed
    } else {
        Status::Current
    };
    Ok(Renewed {
        status,
        collection: request.collection.clone(),
        state: request.store.place().at(Some(Selector::Tag(request.collection.state_tag()))),
        digest: worked.manifest.digest().clone(),
        signed: worked.signed,
        admitted,
        gathering: worked.gathering,
        travels: worked.travels,
        pending: worked.pending,
        deleted: finished.deleted.iter().filter_map(tag).collect(),
        finished,
        commits: worked.commits,
        merged: worked.merged,
        losers: worked.losers,
        due,
        repaired: worked.repaired,
    })
}

/// When each role must be signed again.
fn due(whole: &Whole, keys: &dyn KeyRing) -> Vec<Due> {
    let due = |life: Life<'_>| Due {
        from: life.renew_from,
        expires: life.expires,
        ages_from: life.ages_from,
        role: life.role,
        key_here: can_sign(keys, life.keys),
        keys: life.keys.keys.keys().cloned().collect(),
    };
    let mut out: Vec<Due> = lives(whole).into_iter().map(due).collect();
    out.sort_by(|a, b| (a.from, &a.role).cmp(&(b.from, &b.role)));
    out
}
