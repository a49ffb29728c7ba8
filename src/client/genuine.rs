//! Which role files are genuine: signed by keys that held the role at some time, as a root or a signed delegator says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::oci::Digest;
use crate::sig::{KeyId, PublicKey};
use crate::tuf::{CollectionName, Limits, Metadata, RoleKeys, RoleName, RootChain, Targets, Unverified};

/// Most rounds in which delegated keys are learned: the depth of delegations.
const MAX_DEPTH: usize = 32;

/// Genuine files, by role and SHA-256, each with the keys that signed it.
pub(super) type Genuine = BTreeMap<(RoleName, String), (Metadata<Targets>, BTreeSet<KeyId>)>;

/// Those of `all` that a threshold of keys signed which held the role at some time.
pub(super) fn genuine(
    collection: &CollectionName,
    chain: &RootChain,
    all: &BTreeMap<RoleName, BTreeSet<Bytes>>,
) -> Genuine {
    let (name, limits, top) = (collection.to_string(), Limits::default(), RoleName::targets());
    let mut keys: BTreeMap<RoleName, Vec<RoleKeys>> = BTreeMap::new();
    for root in chain.roots() {
        learn(&mut keys, &top, root.role().targets_keys());
    }
    let mut done = Genuine::new();
    for _ in 0..MAX_DEPTH {
        let before = (keys.values().map(Vec::len).sum::<usize>(), done.len());
        for (role, files) in all {
            let Some(sets) = keys.get(role).cloned() else { continue };
            for bytes in files {
                let id = (role.clone(), Digest::sha256(bytes).hex().to_owned());
                let Some((file, signers)) = count(role, bytes, &sets, &name, &limits) else { continue };
                for delegation in file.role().delegations() {
                    learn(&mut keys, &delegation.name, &delegation.keys);
                }
                done.insert(id, (file, signers));
            }
        }
        if before == (keys.values().map(Vec::len).sum::<usize>(), done.len()) {
            break;
        }
    }
    done
}

/// Every key that the roots and the genuine files name for any role, by the id under which it is named.
pub(super) fn named_keys(chain: &RootChain, files: &Genuine) -> BTreeMap<KeyId, Option<PublicKey>> {
    let mut out: BTreeMap<KeyId, Option<PublicKey>> = BTreeMap::new();
    let mut learn = |set: &RoleKeys| out.extend(set.keys.iter().map(|(id, key)| (id.clone(), key.clone())));
    for root in chain.roots().iter().map(|r| r.role()) {
        [root.root_keys(), root.targets_keys(), root.snapshot_keys(), root.timestamp_keys()]
            .into_iter()
            .for_each(&mut learn);
    }
    for (file, _) in files.values() {
        file.role().delegations().iter().for_each(|d| learn(&d.keys));
    }
    out
}

fn learn(keys: &mut BTreeMap<RoleName, Vec<RoleKeys>>, role: &RoleName, set: &RoleKeys) {
    let sets = keys.entry(role.clone()).or_default();
    if !sets.contains(set) {
        sets.push(set.clone());
    }
}

/// The file, when a threshold of one of these sets of keys signed it, and every key of any of them that did.
fn count(
    role: &RoleName,
    bytes: &Bytes,
    sets: &[RoleKeys],
    collection: &str,
    limits: &Limits,
) -> Option<(Metadata<Targets>, BTreeSet<KeyId>)> {
    let file = Unverified::<Targets>::parse(role, bytes, limits).ok()?;
    let counts: Vec<_> = sets.iter().map(|set| (set, file.count(set))).collect();
    let met = counts.iter().find(|(_, count)| count.is_met())?.0;
    let signers = counts.iter().flat_map(|(_, count)| count.signed.iter().cloned()).collect();
    let file = file.verify(role, &[met]).ok()?;
    file.check_collection(role, collection).ok()?;
    Some((file, signers))
}
