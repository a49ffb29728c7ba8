//! Which role files are genuine: signed by keys that held the role at some time, as a root or a signed delegator says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::oci::Digest;
use crate::sig::{KeyId, PublicKey};
use crate::tuf::{
    CollectionName, Delegation, Limits, Metadata, RoleKeys, RoleName, RootChain, Targets, Unverified,
};

/// Most rounds in which delegated keys are learned: the depth of delegations.
const MAX_DEPTH: usize = 32;

/// Most sets of keys that one role is known to have had.
const MAX_SETS: usize = 64;
/// Most signatures that are checked: whoever holds one key of any role can name as many keys and files as a history holds.
const MAX_CHECKS: usize = 100_000;

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
    let (mut done, mut left) = (Genuine::new(), MAX_CHECKS);
    let mut counted: BTreeMap<&RoleName, usize> = BTreeMap::new();
    for _ in 0..MAX_DEPTH {
        let before = (keys.values().map(Vec::len).sum::<usize>(), done.len());
        for (role, files) in all {
            let Some(sets) = keys.get(role).cloned() else { continue };
            if counted.insert(role, sets.len()) == Some(sets.len()) {
                continue;
            }
            for bytes in files {
                let id = (role.clone(), Digest::sha256(bytes).hex().to_owned());
                let counted = count(role, bytes, &sets, &name, &limits, &mut left);
                let Some((file, signers)) = counted else { continue };
                // Whoever holds a role cannot make keys of it, or of a role beside it, by naming it. Names of another form, as other
                // programs choose them, are taken from the topmost role alone.
                let below = format!("{role}/");
                let may = |d: &&Delegation| *role == top || d.name.as_str().starts_with(&below);
                for delegation in file.role().delegations().iter().filter(may) {
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
    if !sets.contains(set) && sets.len() < MAX_SETS {
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
    left: &mut usize,
) -> Option<(Metadata<Targets>, BTreeSet<KeyId>)> {
    let file = Unverified::<Targets>::parse(role, bytes, limits).ok()?;
    let mut counts = Vec::new();
    for set in sets {
        let checks = file.claimed_signers().filter(|id| set.keys.contains_key(*id)).count();
        *left = left.checked_sub(checks)?;
        if checks > 0 {
            counts.push((set, file.count(set)));
        }
    }
    let met = counts.iter().find(|(_, count)| count.is_met())?.0;
    let signers = counts.iter().flat_map(|(_, count)| count.signed.iter().cloned()).collect();
    let file = file.verify(role, &[met]).ok()?;
    file.check_collection(role, collection).ok()?;
    Some((file, signers))
}
