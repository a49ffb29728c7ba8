//! Keys of the collection's own roles that its revocation list takes back, and that are not rotated out yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::{Descriptor, Digest};
use crate::trust::candidate::{Candidate, Court};
use crate::trust::code::Code;
use crate::trust::report::Check;
use crate::trust::{RevocationEntry, RevocationList};
use crate::tuf::{CollectionName, Metadata, RoleKeys, RoleName};

/// The roles on the way to the bundle that lack signatures once the keys that were taken back count no longer. TUF proves no time
/// of signing, so nothing that such a key signed is spared; new keys for the role end it.
pub(super) fn keys(
    collection: &CollectionName,
    subject: &Descriptor,
    list: &RevocationList,
    chosen: &Candidate,
    court: &Court<'_>,
) -> Vec<Check> {
    let taken = list.keys();
    if taken.is_empty() {
        return Vec::new();
    }
    let trusted = &chosen.trusted;
    let root = trusted.root();
    let mut out = Vec::new();
    out.extend(judge(&RoleName::root(), root, root.role().root_keys(), &taken));
    out.extend(judge(&RoleName::timestamp(), trusted.timestamp(), root.role().timestamp_keys(), &taken));
    out.extend(judge(&RoleName::snapshot(), trusted.snapshot(), root.role().snapshot_keys(), &taken));
    // A role under keys of the deployer's own stands in the place of top-level targets.
    if *trusted.top() == RoleName::targets() {
        out.extend(judge(&RoleName::targets(), trusted.targets(), root.role().targets_keys(), &taken));
    }
    let mut seen = BTreeSet::new();
    let paths = court.paths.iter().cloned().chain([collection.release_path(&subject.digest)]);
    for found in paths.filter_map(|path| court.find(&path, chosen).ok()) {
        let delegations = || found.loaded.values().flat_map(|file| file.role().delegations());
        for (role, file) in found.loaded.iter().filter(|(role, _)| seen.insert((*role).clone())) {
            // Whoever delegates to it may do so under several names of one key: any that suffices without the taken ones will do.
            let faults =
                delegations().filter(|d| d.name == *role).map(|d| judge(role, file, &d.keys, &taken));
            let faults: Option<Vec<Check>> = faults.collect();
            out.extend(faults.into_iter().flatten().next());
        }
    }
    out
}

/// Why the file lacks signatures without the keys that were taken back, if it does.
fn judge<R>(
    role: &RoleName,
    file: &Metadata<R>,
    keys: &RoleKeys,
    taken: &BTreeMap<&Digest, &RevocationEntry>,
) -> Option<Check> {
    let mut left = keys.clone();
    let mut by = None;
    left.keys.retain(|id, key| {
        let named = format!("sha256:{id}").parse::<Digest>().ok();
        let fingerprint = key.as_ref().map(|key| Digest::sha256(&key.to_spki()));
        let entry = [named, fingerprint].into_iter().flatten().find_map(|name| taken.get(&name).copied());
        if let (None, Some(entry)) = (&by, entry) {
            by = Some((id.clone(), entry));
        }
        entry.is_none()
    });
    let (id, entry) = by?;
    let count = file.count(&left);
    if count.is_met() {
        return None;
    }
    let detail = format!(
        "the key {id} of {role} was taken back {}; without it {} of {} signatures stand",
        entry.said(),
        count.signed.len(),
        count.threshold
    );
    Some(entry.told_by(Check::fail(Code::RevocationKey, detail)).with("role", role.to_string()))
}
