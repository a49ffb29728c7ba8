//! Snapshot and timestamp whose keys lie on several machines (docs/adr/0017): whoever comes first leaves a *candidate*, and the
//! others sign the same bytes.
//!
//! Of a candidate only version, time and expiries are taken, within limits. Everything else each signer computes from what was
//! read and judged here, as if alone; what differs from that is passed over. To a machine without network it travels as a proposal
//! ([`next`]).

mod next;
mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::round::Round;
use super::{CONCURRENCY, Committer, WorkError};
use crate::client::lot::drawn;
use crate::client::metered::Metered;
use crate::client::signing::{KeyRing, SignError};
use crate::client::state::{self, Kind, StateError};
use crate::keys::sign_checked;
use crate::oci::{Digest, Selector, Tag};
use crate::sig::KeyId;
use crate::store::{Store, StoreError};
use crate::tuf::{FileName, Files, RoleKeys, RoleName, Root, Version};

pub use next::{Unfit, check_next, cosigned};
pub use terms::Amiss;
use terms::{Candidate, Terms, Theirs};
pub(super) use terms::{Wanted, floors};

/// Candidates that are looked at.
const MAX_CANDIDATES: usize = 256;
/// Bytes of candidates that are fetched.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// How snapshot and timestamp come to the signatures of machines that do not read the place of the state.
#[derive(Debug, Clone, Copy, Default)]
pub enum Cosign<'a> {
    /// Not at all: each signer reads the place itself.
    #[default]
    Here,
    /// What waits for others goes to them as a proposal, even where no key of these roles is here.
    Travels,
    /// These came back, signed by others: a snapshot and timestamp, or a timestamp alone.
    Returned(&'a Files),
}

/// A next snapshot and timestamp that more keys must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// Where it lies; nowhere while nobody has signed it.
    pub tag: Option<Tag>,
    /// Its version.
    pub version: Version,
    /// Who must sign still: the role, how many, and any of which keys.
    pub lacking: Vec<(RoleName, usize, Vec<KeyId>)>,
    /// Whether more lies at the tags of candidates than is looked at: somebody may hide what others signed.
    pub hidden: bool,
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
    Waiting(Gathering, Candidate),
    /// Nobody has begun one, and none is due.
    Nothing,
}

impl Committer<'_> {
    /// Whether some keys of snapshot and timestamp are here, and not enough to commit alone.
    pub(super) fn is_part(&self, root: &Root) -> bool {
        let any = |keys: &RoleKeys| keys.keys.values().flatten().any(|key| self.keys.holds(key));
        !self.is_online(root) && (any(root.timestamp_keys()) || any(root.snapshot_keys()))
    }

    /// Sign what others have begun, or begin where one is due.
    pub(super) async fn gather(
        &self,
        round: &Round,
        wanted: &Wanted<'_>,
        returned: Option<&Files>,
        due: bool,
    ) -> Result<Gathered, WorkError> {
        let root = round.chain.last().role();
        let (begun, hidden) = self.begun(root, wanted, returned).await?;
        let mut candidate = match begun {
            Some(candidate) => candidate,
            None if due => wanted.begin(),
            None => return Ok(Gathered::Nothing),
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
        let (version, lacking) = (candidate.terms.version, candidate.lacking(root)?);
        if lacking.is_empty() {
            return Ok(Gathered::Complete { snapshot, timestamp, version });
        }
        let tag = match candidate.tag.clone().filter(|_| !added) {
            Some(tag) => Some(tag),
            // What no holder of a key has signed is nobody's candidate.
            None if candidate.count() == 0 => None,
            None => Some(self.leave(version, snapshot, timestamp).await?),
        };
        Ok(Gathered::Waiting(Gathering { tag, version, lacking, hidden }, candidate))
    }

    /// Whether a candidate lies there that is newer than all that is known.
    pub(super) async fn has_candidates(&self, floors: &[Version]) -> Result<bool, StoreError> {
        let tags = self.candidate_tags().await?;
        Ok(tags.iter().any(|(version, _)| floors.iter().all(|floor| version > floor)))
    }

    /// Take away the candidates that the live state has overtaken. What cannot be deleted does no harm.
    pub(super) async fn drop_candidates(&self, live: Version) {
        let Ok(tags) = self.candidate_tags().await else { return };
        for (_, tag) in tags.into_iter().filter(|(version, _)| *version <= live).take(MAX_CANDIDATES) {
            let _ = self.place.store().delete(&Selector::Tag(tag)).await;
        }
    }

    /// Of the candidates that lie there, and the one that came back, the one with the most signatures, and all signatures of its
    /// copies.
    async fn begun(
        &self,
        root: &Root,
        wanted: &Wanted<'_>,
        returned: Option<&Files>,
    ) -> Result<(Option<Candidate>, bool), WorkError> {
        let mut found: BTreeMap<Terms, Candidate> = BTreeMap::new();
        let mut add = |theirs: Candidate, tag: Option<Tag>| {
            let its = found.entry(theirs.terms).or_insert_with(|| wanted.drafted(theirs.terms));
            let before = its.count();
            its.adopt(root, theirs.signatures);
            if its.count() > before {
                its.tag = tag;
            }
        };
        let mut tags = self.candidate_tags().await?;
        let most = wanted.most();
        tags.retain(|(version, _)| *version <= most && wanted.is_above(*version));
        tags.sort();
        tags.reverse();
        let hidden = tags.len() > MAX_CANDIDATES;
        if hidden {
            // Anybody may put junk before what is looked at first. Of the rest some are drawn by lot each time: nothing stays
            // hidden for ever.
            let rest = tags.split_off(MAX_CANDIDATES / 2);
            tags.extend(drawn(rest, MAX_CANDIDATES / 2).0);
        }
        let left = &Arc::new(AtomicU64::new(MAX_BYTES));
        let read: Vec<(Tag, Option<Files>)> = stream::iter(tags.into_iter().take(MAX_CANDIDATES))
            .map(|(_, tag)| async move {
                let files = self.read_candidate(&tag, left).await?;
                Ok::<_, StoreError>((tag, files))
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        for (tag, files) in read {
            let Some(files) = files else { continue };
            let theirs = Theirs::read(&files).and_then(|theirs| wanted.judged(&theirs).ok());
            theirs.into_iter().for_each(|theirs| add(theirs, Some(tag.clone())));
        }
        if let Some(files) = returned {
            let theirs = Theirs::read(files).ok_or(Amiss::Names).and_then(|theirs| wanted.judged(&theirs));
            let theirs = theirs.map_err(WorkError::Returned)?;
            let terms = theirs.terms;
            add(theirs, None);
            // Whoever brought it wants this one.
            return Ok((found.remove(&terms), hidden));
        }
        let best = found.into_values().filter(|c| c.count() > 0).max_by_key(|c| (c.count(), c.terms));
        Ok((best, hidden))
    }

    /// Whether what came back is in the live state already.
    pub(super) fn is_in(&self, round: &Round, returned: &Files) -> bool {
        let theirs = Theirs::read(returned);
        round.live.as_ref().is_some_and(|live| theirs.is_some_and(|theirs| theirs.is_in(live.trusted())))
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
