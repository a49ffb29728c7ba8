//! What remains to be done when a key of the collection's own roles is taken back.

use std::collections::BTreeMap;

use crate::client::whole::Whole;
use crate::oci::Digest;
use crate::sig::KeyId;
use crate::tuf::{RoleKeys, RoleName};

/// What remains to be done about a role whose key is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key's id there.
    pub key: KeyId,
    /// The role whose signers give it other keys.
    pub by: RoleName,
    /// Whether it has signatures enough without that key.
    pub stands: bool,
}

/// The roles that this key may sign, by either of its names.
pub(super) fn roles_of(whole: &Whole, name: &Digest) -> BTreeMap<RoleName, Rotation> {
    let taken = |keys: &RoleKeys| {
        let mut keys = keys.clone();
        let mut of_role = None;
        keys.keys.retain(|id, key| {
            let fingerprint = key.as_ref().map(|key| Digest::sha256(&key.to_spki()));
            let is = id.as_str() == name.hex() || fingerprint.as_ref() == Some(name);
            if is {
                of_role = Some(id.clone());
            }
            !is
        });
        Some((of_role?, keys))
    };
    let root = whole.trusted().root();
    let trusted = whole.trusted();
    let mut out = BTreeMap::new();
    let mut add = |role: RoleName, by: RoleName, keys: &RoleKeys, met: &dyn Fn(&RoleKeys) -> bool| {
        if let Some((key, left)) = taken(keys) {
            out.insert(role, Rotation { key, by, stands: met(&left) });
        }
    };
    let (of_root, by_root) = (root.role(), RoleName::root);
    add(RoleName::root(), by_root(), of_root.root_keys(), &|keys| root.count(keys).is_met());
    add(RoleName::timestamp(), by_root(), of_root.timestamp_keys(), &|k| {
        trusted.timestamp().count(k).is_met()
    });
    add(RoleName::snapshot(), by_root(), of_root.snapshot_keys(), &|k| trusted.snapshot().count(k).is_met());
    for (role, at) in whole.roles() {
        let by = at.by.clone().unwrap_or_else(RoleName::root);
        add(role.clone(), by, &at.keys, &|keys| at.file.count(keys).is_met());
    }
    out
}
