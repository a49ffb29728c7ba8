//! `status`: what expires when, and who can renew it. Changes nothing, here or there.

use bytes::Bytes;

use super::commit::survey::{Survey, Waiting};
use super::commit::{Committer, WorkError, signed_at};
use super::known::Known;
use super::life::{Life, lives};
use super::memory::Memory;
use super::signing::KeyRing;
use super::whole::Whole;
use crate::oci::{Digest, Reference, Selector};
use crate::sig::{KeyId, PublicKey};
use crate::store::Manage;
use crate::time::{Clock, UnixTime};
use crate::tuf::{CollectionName, RoleName, Version};

/// What `status` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state lies.
    pub store: &'a dyn Manage,
    /// What is remembered; it is only read.
    pub memories: &'a [Memory],
    /// The keys at hand; none is opened.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Seconds: what expires sooner is about to.
    pub within: i64,
}

/// How a collection stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// The collection.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of its manifest; none when nothing lies there.
    pub digest: Option<Digest>,
    /// How it stands to what is remembered.
    pub standing: Standing,
    /// When the timestamp was signed.
    pub as_of: UnixTime,
    /// Every role, the first to expire first.
    pub roles: Vec<RoleStatus>,
    /// Submissions that are not in.
    pub waiting: Vec<Waiting>,
}

/// How a verified live state stands to what is remembered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing newer is known here.
    Newest,
    /// Nothing is remembered here, so nothing can be said.
    Unremembered,
    /// Something newer is remembered here.
    Behind,
    /// Nothing lies there; the roles are those of the memory.
    Absent,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStatus {
    /// The role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expires: UnixTime,
    /// From when on `renew` signs it again; root and top-level targets only when it is told to.
    pub renew_from: UnixTime,
    /// How urgent it is.
    pub condition: Condition,
    /// How many of its keys must sign.
    pub threshold: u32,
    /// Its keys.
    pub keys: Vec<KeyStatus>,
}

/// How urgent it is to renew a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Nothing to do.
    Fresh,
    /// The next renewal by a holder of its key signs it again.
    Due,
    /// It expires soon.
    Expiring,
    /// It is expired.
    Expired,
}

/// A key of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The id under which the role names it.
    pub id: KeyId,
    /// The key, where this version can use it.
    pub key: Option<PublicKey>,
    /// Whether its private half is here.
    pub here: bool,
}

impl RoleStatus {
    /// Whether enough of its keys are here to renew it.
    pub fn can_renew(&self) -> bool {
        self.keys.iter().filter(|k| k.here).count() >= self.threshold as usize
    }

    /// Whether `renew` signs it only when it is told to.
    pub fn is_by_hand(&self) -> bool {
        matches!(self.role.as_str(), "root" | "targets")
    }
}

impl Status {
    /// The most urgent condition of all roles.
    pub fn condition(&self) -> Condition {
        self.roles.iter().map(|r| r.condition).max().unwrap_or(Condition::Fresh)
    }
}

/// Look how a collection stands.
///
/// # Errors
/// See [`WorkError`]: it could not be looked at, or what lies there does not verify.
pub async fn status(request: Request<'_>) -> Result<Status, WorkError> {
    let place = Known::new(request.store);
    let committer = Committer {
        place: &place,
        collection: &request.collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: true,
        keys: request.keys,
        clock: request.clock,
    };
    let Survey { manifest, live, memory, floor, waiting } = committer.survey().await?;
    let standing = match (&live, &floor) {
        (None, _) => Standing::Absent,
        (Some(_), None) => Standing::Unremembered,
        (Some(live), Some(floor)) if floor.fallen(live.trusted()).is_some() => Standing::Behind,
        (Some(_), Some(_)) => Standing::Newest,
    };
    let absent =
        || WorkError::Absent { collection: request.collection.clone(), place: request.store.place() };
    let whole = live.or(memory).ok_or_else(absent)?;
    Ok(Status {
        collection: request.collection.clone(),
        state: request.store.place().at(Some(Selector::Tag(request.collection.state_tag()))),
        digest: manifest.map(|m| m.digest().clone()),
        standing,
        as_of: signed_at(whole.trusted().timestamp()),
        roles: roles(&whole, request.keys, request.clock.now(), request.within),
        waiting,
    })
}

fn roles(whole: &Whole, ring: &dyn KeyRing, now: UnixTime, within: i64) -> Vec<RoleStatus> {
    let role = |life: Life<'_>| {
        let mut known: Vec<&PublicKey> = Vec::new();
        let keys = life.keys.keys.iter().map(|(id, key)| {
            // One key under two ids counts once.
            let first = key.as_ref().is_some_and(|k| !known.contains(&k));
            known.extend(key);
            let here = first && key.as_ref().is_some_and(|k| ring.holds(k));
            KeyStatus { id: id.clone(), key: key.clone(), here }
        });
        RoleStatus {
            keys: keys.collect(),
            condition: condition(&life, now, within),
            threshold: life.keys.threshold,
            role: life.role,
            version: life.version,
            expires: life.expires,
            renew_from: life.renew_from,
        }
    };
    let mut out: Vec<RoleStatus> = lives(whole).into_iter().map(role).collect();
    out.sort_by(|a, b| (a.expires, &a.role).cmp(&(b.expires, &b.role)));
    out
}

/// What lives no longer than `within` would always be about to expire: it counts once less than a third remains.
fn condition(life: &Life<'_>, now: UnixTime, within: i64) -> Condition {
    let span = life.expires.secs() - life.signed.secs();
    let soon_from = if span > within { life.expires.plus(-within) } else { life.ages_from };
    match now {
        now if life.expires <= now => Condition::Expired,
        now if soon_from <= now => Condition::Expiring,
        now if life.renew_from <= now => Condition::Due,
        _ => Condition::Fresh,
    }
}

#[cfg(test)]
mod tests;
