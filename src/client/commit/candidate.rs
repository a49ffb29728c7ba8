//! Snapshot and timestamp whose keys lie on several machines (docs/adr/0017): whoever comes first leaves a *candidate*, and the
//! others sign the same bytes.
//!
//! Of a candidate only version, time and expiries are taken, within limits. Everything else each signer computes from what was
//! read and judged here, as if alone; what differs from that is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::online::OnlineLives;
use super::round::Round;
use super::{Committer, TIMESTAMP_AGE, WorkError};
use crate::client::metered::Metered;
use crate::client::signing::{KeyRing, SignError};
use crate::client::state::{self, Kind, StateError};
use crate::keys::sign_checked;
use crate::oci::{Digest, Selector, Tag};
use crate::sig::KeyId;
use crate::store::{Store, StoreError};
use crate::time::UnixTime;
use crate::tuf::{
    Draft, Extra, FileName, FilePin, Files, Heading, Limits, Metadata, Role, RoleKeys, RoleName, Root,
    Snapshot, Timestamp, Unverified, Version,
};

/// Candidates that are looked at.
const MAX_CANDIDATES: usize = 32;
/// Bytes of candidates that are fetched.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Seconds by which the clocks of signers may differ.
const CLOCKS: i64 = 600;

/// A next snapshot and timestamp that more keys must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// Where it lies.
    pub tag: Tag,
    /// Its version.
    pub version: Version,
    /// Who must sign still: the role, how many, and any of which keys.
    pub lacking: Vec<(RoleName, usize, Vec<KeyId>)>,
}

/// What became of a candidate.
pub(super) enum Gathered {
    /// Enough have signed.
    Complete {
        /// The snapshot; none where the live one is kept.
        snapshot: Option<Bytes>,
        timestamp: Bytes,
        version: Version,
    },
    /// More must sign.
    Waiting(Gathering),
}

/// What the next snapshot and timestamp must say.
pub(super) struct Wanted<'a> {
    pub(super) pins: &'a BTreeMap<RoleName, FilePin>,
    /// The pin of the live snapshot, where that is kept.
    pub(super) kept: Option<FilePin>,
    /// The least version.
    pub(super) version: Version,
    /// What the version must be above.
    pub(super) floor: Option<Version>,
    pub(super) lives: OnlineLives,
    pub(super) now: UnixTime,
}

/// Version and time of a candidate. How long it is valid is nobody's to choose: one signer alone could stretch the life of all that
/// follows, or cut it to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    version: Version,
    at: UnixTime,
}

/// One candidate with the signatures so far, by role.
struct Candidate {
    terms: Terms,
    snapshot: Option<Draft>,
    timestamp: Draft,
    signatures: BTreeMap<RoleName, BTreeMap<KeyId, Vec<u8>>>,
    tag: Option<Tag>,
}

impl Committer<'_> {
    /// Whether some keys of snapshot or timestamp are here, and not enough to commit alone.
    pub(super) fn is_part(&self, root: &Root) -> bool {
        let any = |keys: &RoleKeys| keys.keys.values().flatten().any(|key| self.keys.holds(key));
        !self.is_online(root) && (any(root.timestamp_keys()) || any(root.snapshot_keys()))
    }

    /// Sign what others have begun, or begin.
    pub(super) async fn gather(&self, round: &Round, wanted: &Wanted<'_>) -> Result<Gathered, WorkError> {
        let root = round.chain.last().role();
        let best = self.begun(round, wanted).await?;
        let mut candidate = match best {
            Some(candidate) => candidate,
            None => self.begin(wanted),
        };
        let mut added = false;
        for (role, keys) in
            [(RoleName::snapshot(), root.snapshot_keys()), (RoleName::timestamp(), root.timestamp_keys())]
        {
            let Some(message) = candidate.message(&role) else { continue };
            let signed = candidate.signatures.entry(role).or_default();
            added |= sign_all(self.keys, keys, &message, signed).await?;
        }
        let (snapshot, timestamp) = candidate.files();
        let lacking = candidate.lacking(root)?;
        if lacking.is_empty() {
            return Ok(Gathered::Complete { snapshot, timestamp, version: candidate.terms.version });
        }
        let tag = match candidate.tag.filter(|_| !added) {
            Some(tag) => tag,
            None => self.leave(candidate.terms.version, snapshot, timestamp).await?,
        };
        Ok(Gathered::Waiting(Gathering { tag, version: candidate.terms.version, lacking }))
    }

    /// Take away the candidates that the live state has overtaken. What cannot be deleted does no harm.
    pub(super) async fn drop_candidates(&self, live: Version) {
        let Ok(tags) = self.candidate_tags().await else { return };
        for (_, tag) in tags.into_iter().filter(|(version, _)| *version <= live).take(MAX_CANDIDATES) {
            let _ = self.place.store().delete(&Selector::Tag(tag)).await;
        }
    }

    fn begin(&self, wanted: &Wanted<'_>) -> Candidate {
        self.drafted(Terms { version: wanted.version, at: wanted.now }, wanted)
    }

    /// The very bytes to sign, from time and version alone.
    fn drafted(&self, terms: Terms, wanted: &Wanted<'_>) -> Candidate {
        let extra = Extra::new(self.collection.to_string(), terms.at);
        let heading =
            |life| Heading { version: terms.version, expires: terms.at.plus(life), extra: extra.clone() };
        let snapshot =
            wanted.kept.is_none().then(|| Draft::snapshot(&heading(wanted.lives.snapshot), wanted.pins));
        // Its signatures are not known yet, so neither are its length and hash: the version alone pins it (specification 4.6).
        let by_version = FilePin { version: terms.version, length: None, hashes: BTreeMap::new() };
        let pin = wanted.kept.clone().unwrap_or(by_version);
        let timestamp = Draft::timestamp(&heading(wanted.lives.timestamp), &pin);
        Candidate { terms, snapshot, timestamp, signatures: BTreeMap::new(), tag: None }
    }

    /// Of the candidates that lie there, the one with the most signatures, and all signatures of its copies.
    async fn begun(&self, round: &Round, wanted: &Wanted<'_>) -> Result<Option<Candidate>, WorkError> {
        let root = round.chain.last().role();
        let most = Version::new(u64::try_from(wanted.now.plus(CLOCKS).secs()).unwrap_or(1));
        let most = most.unwrap_or(Version::ONE).max(wanted.version);
        let mut tags = self.candidate_tags().await?;
        tags.retain(|(version, _)| *version <= most && Some(*version) > wanted.floor);
        tags.sort();
        let left = Arc::new(AtomicU64::new(MAX_BYTES));
        let mut found: BTreeMap<Terms, Candidate> = BTreeMap::new();
        for (_, tag) in tags.into_iter().rev().take(MAX_CANDIDATES) {
            let Some(files) = self.read_candidate(&tag, &left).await? else { continue };
            let Some(theirs) = self.judged(wanted, &files, most) else { continue };
            let its = found.entry(theirs.terms).or_insert_with(|| self.drafted(theirs.terms, wanted));
            let before = its.count();
            for (role, signatures) in theirs.signatures {
                let Some(message) = its.message(&role) else { continue };
                let Some(keys) = root.keys(&role) else { continue };
                let valid = signatures.into_iter().filter(|(id, signature)| {
                    let key = keys.keys.get(id).and_then(Option::as_ref);
                    key.is_some_and(|key| key.verify(&message, signature))
                });
                its.signatures.entry(role).or_default().extend(valid);
            }
            if its.count() > before {
                its.tag = Some(tag);
            }
        }
        // What no holder of a key has signed is nobody's candidate.
        Ok(found.into_values().filter(|c| c.count() > 0).max_by_key(|c| (c.count(), c.terms)))
    }

    /// A candidate that says what this signer would say, at another time.
    fn judged(&self, wanted: &Wanted<'_>, files: &Files, most: Version) -> Option<Candidate> {
        let timestamp: Metadata<Timestamp> =
            unchecked(&RoleName::timestamp(), files.get(&FileName::timestamp())?)?;
        let (version, at) = (timestamp.version(), timestamp.extra()?.at);
        let name = FileName::versioned(RoleName::snapshot(), version);
        let snapshot: Option<Metadata<Snapshot>> =
            files.get(&name).and_then(|bytes| unchecked(&RoleName::snapshot(), bytes));
        let in_time = at > wanted.now.plus(-TIMESTAMP_AGE) && at <= wanted.now.plus(CLOCKS);
        let mut ours = self.drafted(Terms { version, at }, wanted);
        let same = ours.timestamp.signed() == timestamp.signed()
            && ours.snapshot.as_ref().map(Draft::signed) == snapshot.as_ref().map(Metadata::signed);
        // Its time may be past, where the roles live for less than a day.
        let lives = timestamp.expires() > wanted.now && snapshot.iter().all(|s| s.expires() > wanted.now);
        if !in_time || !same || !lives || version > most || Some(version) <= wanted.floor {
            return None;
        }
        ours.signatures.insert(RoleName::timestamp(), timestamp.signatures().clone());
        ours.signatures.extend(snapshot.map(|s| (RoleName::snapshot(), s.signatures().clone())));
        Some(ours)
    }

    async fn candidate_tags(&self) -> Result<Vec<(Version, Tag)>, StoreError> {
        let prefix = self.collection.candidate_prefix();
        let tags = match self.place.tags(Some(&prefix[..prefix.len() - 1])).await {
            Err(e) if e.is_not_found() => Vec::new(),
            other => other?,
        };
        let read = |tag: Tag| {
            let (version, _) = tag.as_str().strip_prefix(&prefix)?.split_once('.')?;
            Some((Version::new(version.parse().ok()?)?, tag))
        };
        Ok(tags.into_iter().filter_map(read).collect())
    }

    /// What lies at a candidate's tag; whatever else lies there is nobody's.
    async fn read_candidate(&self, tag: &Tag, left: &Arc<AtomicU64>) -> Result<Option<Files>, StoreError> {
        let own = |e: StoreError| match e.is_the_items_own() || e.is_not_found() {
            true => Ok(None),
            false => Err(e),
        };
        let manifest = match self.place.resolve(&Selector::Tag(tag.clone())).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(None),
            Err(e) => return own(e),
        };
        let metered = Metered::new(self.place, left);
        match state::read(&metered, &manifest, Kind::Candidate).await {
            Ok(read) => Ok(Some(read.files)),
            Err(_) if metered.is_spent() => Ok(None),
            Err(StateError::Store(e)) => own(e),
            Err(StateError::Invalid { .. }) => Ok(None),
        }
    }

    async fn leave(
        &self,
        version: Version,
        snapshot: Option<Bytes>,
        timestamp: Bytes,
    ) -> Result<Tag, WorkError> {
        let mut files = Files::new();
        files.put(FileName::timestamp(), timestamp);
        if let Some(bytes) = snapshot {
            files.put(FileName::versioned(RoleName::snapshot(), version), bytes);
        }
        let packed = state::pack(Kind::Candidate, &files, None);
        let hash = &packed.manifest.digest().hex()[..32];
        let tag = format!("{}{:010}.{hash}", self.collection.candidate_prefix(), version.get());
        let tag: Tag = tag
            .parse()
            .unwrap_or_else(|_| Tag::of_digest("candidate-", &Digest::sha256(hash.as_bytes()), 16));
        self.place.push(&packed, Some(&tag)).await?;
        Ok(tag)
    }
}

impl Candidate {
    fn draft(&self, role: &RoleName) -> Option<&Draft> {
        if *role == RoleName::snapshot() { self.snapshot.as_ref() } else { Some(&self.timestamp) }
    }

    fn message(&self, role: &RoleName) -> Option<Vec<u8>> {
        self.draft(role).map(Draft::message)
    }

    fn count(&self) -> usize {
        self.signatures.values().map(BTreeMap::len).sum()
    }

    fn file(&self, role: &RoleName) -> Option<Bytes> {
        let none = BTreeMap::new();
        self.draft(role).map(|draft| draft.assemble(self.signatures.get(role).unwrap_or(&none)))
    }

    fn files(&self) -> (Option<Bytes>, Bytes) {
        (self.file(&RoleName::snapshot()), self.file(&RoleName::timestamp()).unwrap_or_default())
    }

    fn lacking(&self, root: &Root) -> Result<Vec<(RoleName, usize, Vec<KeyId>)>, WorkError> {
        let mut out = Vec::new();
        let (snapshot, timestamp) = self.files();
        let limits = Limits::default();
        let mut row = |role: RoleName, count: crate::tuf::SignatureCount| {
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

/// Sign with every key at hand that has not signed yet; whether one did.
async fn sign_all(
    ring: &dyn KeyRing,
    keys: &RoleKeys,
    message: &[u8],
    signed: &mut BTreeMap<KeyId, Vec<u8>>,
) -> Result<bool, SignError> {
    let mut added = false;
    for (id, key) in &keys.keys {
        let Some(key) = key.as_ref().filter(|key| !signed.contains_key(id) && ring.holds(key)) else {
            continue;
        };
        let signer = ring.signer(key).await?;
        signed.insert(id.clone(), sign_checked(&*signer, message).await?);
        added = true;
    }
    Ok(added)
}

fn unchecked<R: Role>(role: &RoleName, bytes: &Bytes) -> Option<Metadata<R>> {
    Unverified::<R>::parse(role, bytes, &Limits::default()).ok()?.verify(role, &[]).ok()
}
