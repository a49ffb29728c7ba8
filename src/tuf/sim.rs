//! A repository in memory for tests: keys from seeds, states from drafts, every field open to mischief.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::*;
use crate::sig::{PublicKey, Scheme};
use crate::time::UnixTime;

/// An Ed25519 key from a one-byte seed.
pub(crate) struct SimKey(u8, Ed25519KeyPair);

impl SimKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(seed, Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// The same key once more.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.0)
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_raw(Scheme::Ed25519, self.1.public_key().as_ref()).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.1.sign(message).as_ref().to_vec()
    }
}

pub(crate) const COLLECTION: &str = "ex.com/org/app";
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const DAY: i64 = 86_400;

/// Sign a draft with `keys`.
pub(crate) fn signed(draft: &Draft, keys: &[&SimKey]) -> Bytes {
    let message = draft.message();
    draft.assemble(&keys.iter().map(|k| (k.public().key_id(), k.sign(&message))).collect())
}

pub(crate) fn heading(version: u64, at: UnixTime, life: i64) -> Heading {
    Heading {
        version: Version::new(version).unwrap(),
        expires: at.plus(life),
        extra: Extra::new(COLLECTION, at),
    }
}

pub(crate) fn signers(keys: &[&SimKey], threshold: u32) -> Signers {
    Signers { keys: keys.iter().map(|k| k.public()).collect(), threshold }
}

/// A collection's state in the making: change fields, then [`Sim::files`].
pub(crate) struct Sim {
    pub(crate) collection: CollectionName,
    pub(crate) root_keys: Vec<SimKey>,
    pub(crate) root_threshold: u32,
    pub(crate) targets_key: SimKey,
    pub(crate) releases_key: SimKey,
    pub(crate) online_key: SimKey,
    pub(crate) roots: Vec<Bytes>,
    pub(crate) timestamp: Heading,
    pub(crate) snapshot: Heading,
    pub(crate) targets: Heading,
    pub(crate) releases: Heading,
    pub(crate) revocations: Heading,
    pub(crate) top: Map<String, Value>,
    pub(crate) entries: Map<String, Value>,
    /// The bytes of the revocation list.
    pub(crate) list: Vec<u8>,
    /// Delegated roles that the snapshot keeps quiet about.
    pub(crate) unlisted: BTreeSet<RoleName>,
    /// Delegations of top-level targets instead of the usual two.
    pub(crate) delegated: Option<Vec<Delegation>>,
    /// Changes to signed files before they are pinned.
    pub(crate) edits: BTreeMap<RoleName, Edit>,
    /// Further delegated roles; who delegates to them is said in `delegated`.
    pub(crate) more: Vec<SimRole>,
}

/// A further delegated role.
pub(crate) struct SimRole {
    pub(crate) name: RoleName,
    pub(crate) key: SimKey,
    pub(crate) heading: Heading,
    pub(crate) entries: Map<String, Value>,
    pub(crate) delegations: Vec<Delegation>,
}

/// A change to a signed file.
pub(crate) type Edit = Box<dyn Fn(Bytes) -> Bytes>;

/// The file with another `signed` part, signed anew by `keys`.
pub(crate) fn resigned(file: &Bytes, change: impl FnOnce(&mut Value), keys: &[&SimKey]) -> Bytes {
    let mut document: Value = serde_json::from_slice(file).unwrap();
    let mut part = document["signed"].take();
    change(&mut part);
    signed(&Draft::from_signed(part), keys)
}

/// The file with other signatures.
pub(crate) fn with_signatures(file: &Bytes, change: impl FnOnce(&mut Vec<Value>)) -> Bytes {
    let mut document: Value = serde_json::from_slice(file).unwrap();
    change(document["signatures"].as_array_mut().unwrap());
    serde_json::to_vec(&document).unwrap().into()
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self::of(Self::name())
    }

    /// Another collection under the same keys.
    pub(crate) fn of(collection: CollectionName) -> Self {
        let mut sim = Self {
            collection,
            root_keys: vec![SimKey::new(1), SimKey::new(2)],
            root_threshold: 2,
            targets_key: SimKey::new(3),
            releases_key: SimKey::new(4),
            online_key: SimKey::new(5),
            roots: vec![],
            timestamp: heading(1, NOW, 7 * DAY),
            snapshot: heading(1, NOW, 30 * DAY),
            targets: heading(1, NOW, 365 * DAY),
            releases: heading(1, NOW, 90 * DAY),
            revocations: heading(1, NOW, 90 * DAY),
            top: Map::new(),
            entries: Map::new(),
            list: br#"{"schemaVersion":1,"entries":[]}"#.to_vec(),
            unlisted: BTreeSet::new(),
            delegated: None,
            edits: BTreeMap::new(),
            more: vec![],
        };
        let root = sim.next_root();
        sim.roots.push(root);
        sim
    }

    /// The next root over the present keys, signed by the present root keys.
    pub(crate) fn next_root(&self) -> Bytes {
        signed(&self.root_draft(), &self.root_keys.iter().collect::<Vec<_>>())
    }

    pub(crate) fn root_draft(&self) -> Draft {
        let online = signers(&[&self.online_key], 1);
        let roles = BTreeMap::from([
            (RoleName::root(), signers(&self.root_keys.iter().collect::<Vec<_>>(), self.root_threshold)),
            (RoleName::targets(), signers(&[&self.targets_key], 1)),
            (RoleName::snapshot(), online.clone()),
            (RoleName::timestamp(), online),
        ]);
        Draft::root(&self.own(&heading(self.roots.len() as u64 + 1, NOW, 365 * DAY)), &roles)
    }

    /// A root with changed keys, signed by the root keys before and after the change.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut Self)) {
        let before: Vec<_> = self.root_keys.iter().map(SimKey::again).collect();
        change(self);
        let keys: Vec<_> = before.iter().chain(&self.root_keys).collect();
        let root = signed(&self.root_draft(), &keys);
        self.roots.push(root);
    }

    /// All roles at this version, signed at `at`.
    pub(crate) fn at_version(&mut self, version: u64, at: UnixTime) {
        self.timestamp = heading(version, at, 7 * DAY);
        self.snapshot = heading(version, at, 30 * DAY);
        self.targets = heading(version, at, 365 * DAY);
        self.releases = heading(version, at, 90 * DAY);
        self.revocations = heading(version, at, 90 * DAY);
    }

    /// A heading with the collection's name, unless a test gave it another one.
    fn own(&self, heading: &Heading) -> Heading {
        let mut own = heading.clone();
        if own.extra.collection == COLLECTION {
            own.extra.collection = self.collection.to_string();
        }
        own
    }

    pub(crate) fn name() -> CollectionName {
        COLLECTION.parse().unwrap()
    }

    pub(crate) fn delegations(&self) -> Vec<Delegation> {
        if let Some(delegated) = &self.delegated {
            return delegated.clone();
        }
        let by = signers(&[&self.releases_key], 1);
        let patterns =
            |p: &[String]| Paths::Patterns(p.iter().map(|p| PathPattern::parse(p).unwrap()).collect());
        let c = &self.collection;
        vec![
            delegation(RoleName::revocations(), &by, patterns(&[c.revocations_path()]), true),
            delegation(RoleName::releases(), &by, patterns(&c.release_patterns()), true),
        ]
    }

    /// All files of the state, signed.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for (i, root) in self.roots.iter().enumerate() {
            let version = Version::new(i as u64 + 1).unwrap();
            files.put(FileName::versioned(RoleName::root(), version), root.clone());
        }
        let list = self.list.clone();
        let list_target = serde_json::json!({
            "length": list.len(), "hashes": {"sha256": crate::oci::Digest::sha256(&list).hex()}
        });
        let revoked: Map<String, Value> =
            [(self.collection.revocations_path(), list_target)].into_iter().collect();
        let targets = signed(
            &Draft::targets(&self.own(&self.targets), self.top.clone(), &self.delegations()),
            &[&self.targets_key],
        );
        let releases = signed(
            &Draft::targets(&self.own(&self.releases), self.entries.clone(), &[]),
            &[&self.releases_key],
        );
        let revocations =
            signed(&Draft::targets(&self.own(&self.revocations), revoked, &[]), &[&self.releases_key]);
        let mut pins = BTreeMap::new();
        let more = self.more.iter().map(|r| {
            let draft = Draft::targets(&self.own(&r.heading), r.entries.clone(), &r.delegations);
            (r.name.clone(), &r.heading, signed(&draft, &[&r.key]))
        });
        let usual = [
            (RoleName::targets(), &self.targets, targets),
            (RoleName::releases(), &self.releases, releases),
            (RoleName::revocations(), &self.revocations, revocations),
        ];
        for (role, heading, bytes) in usual.into_iter().chain(more) {
            let bytes = self.edited(&role, bytes);
            if !self.unlisted.contains(&role) {
                pins.insert(role.clone(), FilePin::of(heading.version, &bytes));
            }
            files.put(FileName::versioned(role, heading.version), bytes);
        }
        let snapshot = signed(&Draft::snapshot(&self.own(&self.snapshot), &pins), &[&self.online_key]);
        let snapshot = self.edited(&RoleName::snapshot(), snapshot);
        let pin = FilePin::of(self.snapshot.version, &snapshot);
        files.put(FileName::versioned(RoleName::snapshot(), self.snapshot.version), snapshot);
        let timestamp = signed(&Draft::timestamp(&self.own(&self.timestamp), &pin), &[&self.online_key]);
        files.put(FileName::timestamp(), self.edited(&RoleName::timestamp(), timestamp));
        files.put_target(self.collection.revocations_path(), list.into());
        files
    }

    fn edited(&self, role: &RoleName, file: Bytes) -> Bytes {
        match self.edits.get(role) {
            Some(edit) => edit(file),
            None => file,
        }
    }

    /// The chain walked from root 1 over `files`.
    pub(crate) fn walk(&self, files: &Files) -> Result<RootChain, TufError> {
        let mut walk = RootWalk::start(&self.roots[0], Some(COLLECTION), &Limits::default())?;
        loop {
            match walk.step() {
                RootStep::Need { version, .. } => {
                    walk.feed(files.root(version).cloned().into_iter().collect())?
                }
                RootStep::Save(..) => walk.saved(),
                RootStep::Done => return Ok(walk.finish()),
            }
        }
    }

    /// Walk and judge.
    pub(crate) fn judge(
        &self,
        files: &Files,
        floor: Option<Floor>,
        now: UnixTime,
    ) -> Result<Trusted, TufError> {
        let chain = self.walk(files)?;
        Trusted::judge(chain.last(), files, Some(COLLECTION), floor, Expiry::Enforce, now, &Limits::default())
    }
}
