//! What a next snapshot and timestamp say: all of it follows from the files they name, but for version, time and expiries.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::TIMESTAMP_AGE;
use super::super::online::OnlineLives;
use crate::oci::Tag;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::tuf::{
    CollectionName, Draft, Extra, FileName, FilePin, Files, Heading, Limits, Metadata, Role, RoleName, Root,
    SignatureCount, Snapshot, Timestamp, Trusted, TufError, Unverified, Version, same_online_keys,
};

/// Seconds by which the clocks of signers may differ.
const CLOCKS: i64 = 600;

/// What follows from what is published and what is new.
pub(in crate::client::commit) struct Wanted<'a> {
    pub(in crate::client::commit) collection: &'a CollectionName,
    /// How long they live.
    pub(in crate::client::commit) lives: OnlineLives,
    /// The files that the next snapshot names.
    pub(in crate::client::commit) pins: &'a BTreeMap<RoleName, FilePin>,
    /// The pin of the live snapshot, where that may be kept.
    pub(in crate::client::commit) kept: Option<FilePin>,
    /// The least version.
    pub(in crate::client::commit) version: Version,
    /// Versions that must not be fallen below.
    pub(in crate::client::commit) floors: &'a [Version],
    pub(in crate::client::commit) now: UnixTime,
}

/// Times and version of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    pub(super) version: Version,
    pub(super) at: UnixTime,
    pub(super) timestamp: UnixTime,
    pub(super) snapshot: Option<UnixTime>,
}

/// Why a next snapshot and timestamp are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Amiss {
    /// Readers would refuse it, or already have another of this version.
    #[error("its version is not above what is published")]
    Old,
    /// Nobody could ever follow it.
    #[error("its version is that of a time to come, by the clock here")]
    Ahead,
    /// Made too long ago, or in the future.
    #[error("it was not made within the last days, by the clock here")]
    Time,
    /// It has expired, or lives longer or shorter than what is published.
    #[error("it has expired, or is not valid for as long as what is published now")]
    Life,
    /// It says something else than what follows from the role files.
    #[error("it does not name exactly the files that are published and those that come with it")]
    Names,
}

/// One candidate with the signatures so far, by role.
pub(in crate::client::commit) struct Candidate {
    pub(super) terms: Terms,
    pub(super) snapshot: Option<Draft>,
    pub(super) timestamp: Draft,
    pub(super) signatures: BTreeMap<RoleName, BTreeMap<KeyId, Vec<u8>>>,
    pub(super) tag: Option<Tag>,
}

/// A snapshot and timestamp that somebody else made; unchecked.
pub(super) struct Theirs {
    snapshot: Option<Metadata<Snapshot>>,
    timestamp: Metadata<Timestamp>,
}

impl Wanted<'_> {
    /// A candidate of our own.
    pub(super) fn begin(&self) -> Candidate {
        let (version, at) = (self.version, self.now);
        let snapshot = self.kept.is_none().then(|| at.plus(self.lives.snapshot));
        self.drafted(Terms { version, at, timestamp: at.plus(self.lives.timestamp), snapshot })
    }

    /// The very bytes to sign, from times and version alone.
    pub(super) fn drafted(&self, terms: Terms) -> Candidate {
        let extra = Extra::new(self.collection.to_string(), terms.at);
        let heading = |expires| Heading { version: terms.version, expires, extra: extra.clone() };
        let snapshot = terms.snapshot.map(|expires| Draft::snapshot(&heading(expires), self.pins));
        // Its signatures are not known yet, so neither are its length and hash: the version alone pins it (specification 4.6).
        let by_version = FilePin { version: terms.version, length: None, hashes: BTreeMap::new() };
        let pin = self.kept.clone().filter(|_| snapshot.is_none()).unwrap_or(by_version);
        let timestamp = Draft::timestamp(&heading(terms.timestamp), &pin);
        Candidate { terms, snapshot, timestamp, signatures: BTreeMap::new(), tag: None }
    }

    /// Whether a version is above all that must not be fallen below.
    pub(super) fn is_above(&self, version: Version) -> bool {
        self.floors.iter().all(|floor| version > *floor)
    }

    /// The greatest version that is signed.
    pub(super) fn most(&self) -> Version {
        let most = Version::new(u64::try_from(self.now.plus(CLOCKS).secs()).unwrap_or(1));
        most.unwrap_or(Version::ONE).max(self.version)
    }

    /// Ours of the times and the version of theirs, with their signatures, unchecked: where it says the same.
    pub(super) fn judged(&self, theirs: &Theirs) -> Result<Candidate, Amiss> {
        let at = theirs.timestamp.extra().map(|x| x.at).ok_or(Amiss::Names)?;
        let terms = Terms {
            version: theirs.timestamp.version(),
            at,
            timestamp: theirs.timestamp.expires(),
            snapshot: theirs.snapshot.as_ref().map(Metadata::expires),
        };
        let OnlineLives { timestamp: life, snapshot: snapshot_life } = self.lives;
        let lives = |expires: UnixTime, life| expires > self.now && expires == at.plus(life);
        // A stick may be under way for days; what is past half its life is begun anew.
        if at <= self.now.plus(-TIMESTAMP_AGE.max(life / 2)) || at > self.now.plus(CLOCKS) {
            return Err(Amiss::Time);
        }
        if !lives(terms.timestamp, life) || !terms.snapshot.is_none_or(|s| lives(s, snapshot_life)) {
            return Err(Amiss::Life);
        }
        if !self.is_above(terms.version) {
            return Err(Amiss::Old);
        }
        if terms.version > self.most() {
            return Err(Amiss::Ahead);
        }
        let mut ours = self.drafted(terms);
        let same = ours.timestamp.signed() == theirs.timestamp.signed()
            && ours.snapshot.as_ref().map(Draft::signed) == theirs.snapshot.as_ref().map(Metadata::signed)
            && (terms.snapshot.is_some() || self.kept.is_some());
        if !same {
            return Err(Amiss::Names);
        }
        ours.signatures.insert(RoleName::timestamp(), theirs.timestamp.signatures().clone());
        let snapshot = theirs.snapshot.iter().map(|s| (RoleName::snapshot(), s.signatures().clone()));
        ours.signatures.extend(snapshot);
        Ok(ours)
    }
}

impl Theirs {
    /// Of the files of a candidate; whatever else lies there is nobody's.
    pub(super) fn read(files: &Files) -> Option<Self> {
        let timestamp: Metadata<Timestamp> =
            unchecked(&RoleName::timestamp(), files.get(&FileName::timestamp())?)?;
        let name = FileName::versioned(RoleName::snapshot(), timestamp.version());
        let snapshot = match files.get(&name) {
            Some(bytes) => Some(unchecked(&RoleName::snapshot(), bytes)?),
            None => None,
        };
        Some(Self { snapshot, timestamp })
    }

    /// Whether the live state holds this very timestamp, or another that completed it.
    pub(super) fn is_in(&self, live: &Trusted) -> bool {
        live.timestamp().signed() == self.timestamp.signed()
    }
}

impl Candidate {
    fn draft(&self, role: &RoleName) -> Option<&Draft> {
        if *role == RoleName::snapshot() { self.snapshot.as_ref() } else { Some(&self.timestamp) }
    }

    pub(super) fn message(&self, role: &RoleName) -> Option<Vec<u8>> {
        self.draft(role).map(Draft::message)
    }

    pub(super) fn count(&self) -> usize {
        self.signatures.values().map(BTreeMap::len).sum()
    }

    /// Add what is valid of other signatures over the same.
    pub(super) fn adopt(&mut self, root: &Root, signatures: BTreeMap<RoleName, BTreeMap<KeyId, Vec<u8>>>) {
        for (role, signatures) in signatures {
            let (Some(message), Some(keys)) = (self.message(&role), root.keys(&role)) else { continue };
            let valid = signatures.into_iter().filter(|(id, signature)| {
                let key = keys.keys.get(id).and_then(Option::as_ref);
                key.is_some_and(|key| key.verify(&message, signature))
            });
            self.signatures.entry(role).or_default().extend(valid);
        }
    }

    fn file(&self, role: &RoleName) -> Option<Bytes> {
        let none = BTreeMap::new();
        self.draft(role).map(|draft| draft.assemble(self.signatures.get(role).unwrap_or(&none)))
    }

    /// The snapshot, where it is signed anew, and the timestamp.
    pub(super) fn files(&self) -> (Option<Bytes>, Bytes) {
        (self.file(&RoleName::snapshot()), self.file(&RoleName::timestamp()).unwrap_or_default())
    }

    /// Who must sign still: the role, how many, and any of which keys.
    pub(super) fn lacking(&self, root: &Root) -> Result<Vec<(RoleName, usize, Vec<KeyId>)>, TufError> {
        let mut out = Vec::new();
        let (snapshot, timestamp) = self.files();
        let limits = Limits::default();
        let mut row = |role: RoleName, count: SignatureCount| {
            if !count.is_met() {
                let more = (count.threshold as usize).saturating_sub(count.signed.len());
                out.push((role, more, count.missing));
            }
        };
        if let Some(bytes) = snapshot {
            let file = Unverified::<Snapshot>::parse(&RoleName::snapshot(), &bytes, &limits)?;
            row(RoleName::snapshot(), file.count(root.snapshot_keys()));
        }
        let file = Unverified::<Timestamp>::parse(&RoleName::timestamp(), &timestamp, &limits)?;
        row(RoleName::timestamp(), file.count(root.timestamp_keys()));
        Ok(out)
    }
}

fn unchecked<R: Role>(role: &RoleName, bytes: &Bytes) -> Option<Metadata<R>> {
    Unverified::<R>::parse(role, bytes, &Limits::default()).ok()?.verify(role, &[]).ok()
}

/// The versions that the next snapshot and timestamp must be above. Where the online keys are new, clients forget the versions of
/// the old ones (specification 5.3.11): whoever stole those may have driven them up to where none can follow.
pub(in crate::client::commit) fn floors<'a>(
    known: impl Iterator<Item = &'a Trusted> + Clone,
    root: &Root,
    now: UnixTime,
) -> Vec<Version> {
    let rotated = known.clone().any(|t| !same_online_keys(t.root().role(), root));
    let soon = u64::try_from(now.plus(TIMESTAMP_AGE).secs()).unwrap_or(u64::MAX);
    let versions = known.flat_map(|t| [t.timestamp().version(), t.snapshot().version()]);
    versions.filter(|v| !rotated || v.get() <= soon).collect()
}
