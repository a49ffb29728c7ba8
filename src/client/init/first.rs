//! The first files of a collection: drafts of root and targets roles, to be signed here or on several machines, and the first
//! snapshot and timestamp.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{InitError, Lifetimes};
use crate::client::ceremony::{self, CeremonyError};
use crate::client::signing::{KeyRing, SignError, sign};
use crate::oci::Digest;
use crate::sig::PublicKey;
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::proposal::{About, Base, Proposal};
use crate::tuf::{
    CollectionName, Draft, Extra, FileName, FilePin, Files, Heading, Metadata, PathPattern, Paths, RoleName,
    Root, Signers, TufError, Version, delegation,
};

/// A revocation list with nothing in it.
const NO_REVOCATIONS: &[u8] = br#"{"entries":[],"schemaVersion":1}"#;

/// A collection in the making: whose keys sign what. Public halves are enough.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The collection's name.
    pub collection: CollectionName,
    /// Keys of the root role.
    pub root_keys: Vec<PublicKey>,
    /// How many root keys must sign.
    pub root_threshold: u32,
    /// Key of top-level targets.
    pub targets_key: PublicKey,
    /// Key of releases and revocations.
    pub releases_key: PublicKey,
    /// Key of snapshot and timestamp.
    pub online_key: PublicKey,
    /// Lifetimes of the roles.
    pub lifetimes: Lifetimes,
    /// One process at a time publishes: submissions are skipped.
    pub single_writer: bool,
    /// Why a root key may be an online or releases key as well.
    pub shared_root_key: Option<String>,
    /// The revocation list of a collection that begins anew.
    pub anew: Option<Bytes>,
    /// The time.
    pub at: UnixTime,
}

/// Whether a proposal is for the first root of a collection: it stands on nothing, and no file in it can follow one that exists.
pub fn is_first(proposal: &Proposal) -> bool {
    proposal.base().is_empty()
        && proposal.published().is_empty()
        && proposal.drafts().contains_key(&RoleName::root())
        && proposal.drafts().values().all(|draft| draft.version() == Version::ONE)
}

type Drafts = BTreeMap<RoleName, Draft>;

impl Plan {
    /// The first root and targets roles as a proposal that stands on nothing, signed with the keys at hand.
    ///
    /// # Errors
    /// Keys that must not be shared, a threshold that cannot be met, or a key at hand that cannot be used.
    pub async fn propose(&self, keys: &dyn KeyRing, by: String) -> Result<(Proposal, Base), InitError> {
        self.check()?;
        let base = Base::nothing(self.collection.clone());
        let description = format!("the first root of {}", self.collection);
        let about = About { description, by, at: self.at };
        let (drafts, files) = self.drafts()?;
        let mut proposal = Proposal::of(&base, drafts, files, about)?;
        match ceremony::sign(&mut proposal, &base, keys, None).await {
            Ok(_) => Ok((proposal, base)),
            Err(CeremonyError::Sign(e)) => Err(e.into()),
            Err(CeremonyError::Edit(e)) => Err(e.into()),
            Err(CeremonyError::Incomplete(e)) => Err(e.into()),
            Err(CeremonyError::Work(e)) => Err(match e {
                crate::client::commit::WorkError::Tuf(e) => e.into(),
                other => {
                    TufError::new(&RoleName::root(), crate::tuf::Fault::Format(other.to_string())).into()
                }
            }),
        }
    }

    fn check(&self) -> Result<(), InitError> {
        let distinct: BTreeSet<_> = self.root_keys.iter().collect();
        let threshold = self.root_threshold;
        if threshold == 0 || threshold as usize > distinct.len() {
            return Err(InitError::Threshold { threshold, keys: distinct.len() });
        }
        let others = [(&self.online_key, RoleName::timestamp()), (&self.releases_key, RoleName::releases())];
        // A targets file does not name its role: under one key, a file of releases pinned as top-level targets would
        // verify, without the delegation that makes revocations mandatory.
        let targets = &self.targets_key;
        if let Some((_, role)) = others.iter().find(|(key, _)| *key == targets) {
            return Err(InitError::SharedTargetsKey { key: targets.key_id(), role: role.clone() });
        }
        if self.shared_root_key.is_some() {
            return Ok(());
        }
        for (key, role) in others {
            if distinct.contains(key) {
                return Err(InitError::SharedRootKey { key: key.key_id(), role });
            }
        }
        Ok(())
    }

    fn shares(&self) -> bool {
        self.root_keys.iter().any(|k| [&self.online_key, &self.releases_key].contains(&k))
    }

    /// The first root, targets, releases and revocations, and the revocation list.
    fn drafts(&self) -> Result<(Drafts, BTreeMap<String, Bytes>), InitError> {
        let collection = &self.collection;
        let one = |key: &PublicKey| Signers { keys: vec![key.clone()], threshold: 1 };
        let distinct: BTreeSet<&PublicKey> = self.root_keys.iter().collect();
        let root = Signers { keys: distinct.into_iter().cloned().collect(), threshold: self.root_threshold };
        let (targets, releases, online) =
            (one(&self.targets_key), one(&self.releases_key), one(&self.online_key));
        let heading = |lifetime: Duration| heading(collection, Version::ONE, lifetime, self.at);
        let l = &self.lifetimes;

        let mut head = heading(l.root);
        head.extra.single_writer = self.single_writer;
        head.extra.shared_root_key = self.shared_root_key.clone().filter(|_| self.shares());
        let roles = BTreeMap::from([
            (RoleName::root(), root),
            (RoleName::targets(), targets),
            (RoleName::snapshot(), online.clone()),
            (RoleName::timestamp(), online),
        ]);
        let root = Draft::root(&head, &roles);

        let path = collection.revocations_path();
        let list = self.anew.clone().unwrap_or(Bytes::from_static(NO_REVOCATIONS));
        let listed = json!({
            "length": list.len(),
            "hashes": {"sha256": Digest::sha256(&list).hex()},
        });
        let listed: Map<String, Value> = [(path.clone(), listed)].into_iter().collect();
        let patterns = |paths: &[String]| -> Result<Paths, InitError> {
            let parsed: Result<Vec<_>, _> = paths.iter().map(|p| PathPattern::parse(p)).collect();
            Ok(Paths::Patterns(parsed.map_err(|fault| TufError::new(&RoleName::targets(), fault))?))
        };
        let delegations = [
            delegation(RoleName::revocations(), &releases, patterns(std::slice::from_ref(&path))?, true),
            delegation(RoleName::releases(), &releases, patterns(&collection.release_patterns())?, true),
        ];
        let mut head = heading(l.targets);
        head.extra.delegations_set = Some(Version::ONE);
        let drafts = BTreeMap::from([
            (RoleName::root(), root),
            (RoleName::targets(), Draft::targets(&head, Map::new(), &delegations)),
            (RoleName::revocations(), Draft::targets(&heading(l.revocations), listed, &[])),
            (RoleName::releases(), Draft::targets(&heading(l.releases), Map::new(), &[])),
        ]);
        Ok((drafts, BTreeMap::from([(path, list)])))
    }
}

/// Add the first snapshot and timestamp to the first files of the other roles.
pub(super) async fn add_online(
    files: &mut Files,
    root: &Metadata<Root>,
    keys: &dyn KeyRing,
    (snapshot, timestamp): (Duration, Duration),
    now: UnixTime,
    collection: &CollectionName,
) -> Result<(), SignError> {
    let version = crate::tuf::lineage::next_online_version([], now);
    let mut pins = BTreeMap::new();
    for (name, bytes) in files.metadata().iter().filter(|(name, _)| *name.role() != RoleName::root()) {
        let version = name.version().unwrap_or(Version::ONE);
        pins.insert(name.role().clone(), FilePin::of(version, bytes));
    }
    let role = RoleName::snapshot();
    let draft = Draft::snapshot(&heading(collection, version, snapshot, now), &pins);
    let file = sign(keys, &role, root.role().snapshot_keys(), &draft).await?;
    let pin = FilePin::of(version, &file);
    files.put(FileName::versioned(role, version), file);
    let draft = Draft::timestamp(&heading(collection, version, timestamp, now), &pin);
    let file = sign(keys, &RoleName::timestamp(), root.role().timestamp_keys(), &draft).await?;
    files.put(FileName::timestamp(), file);
    Ok(())
}

fn heading(collection: &CollectionName, version: Version, lifetime: Duration, at: UnixTime) -> Heading {
    Heading { version, expires: at.plus(lifetime.secs()), extra: Extra::new(collection.to_string(), at) }
}
