//! The root role (TUF specification 4.3).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::metadata::field;
use super::{Fault, FileName, Role, RoleKeys, RoleName, Version};
use crate::sig::{KeyError, KeyId, PublicKey};

/// Which keys sign which top-level role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    consistent_snapshot: bool,
    faulty: Option<Fault>,
    root: RoleKeys,
    timestamp: RoleKeys,
    snapshot: RoleKeys,
    targets: RoleKeys,
}

#[derive(Deserialize)]
pub(super) struct RawRole {
    pub(super) keyids: Vec<KeyId>,
    pub(super) threshold: u32,
}

impl Root {
    /// The keys of a top-level role; `None` for a delegated one.
    pub fn keys(&self, role: &RoleName) -> Option<&RoleKeys> {
        match role.as_str() {
            "root" => Some(&self.root),
            "timestamp" => Some(&self.timestamp),
            "snapshot" => Some(&self.snapshot),
            "targets" => Some(&self.targets),
            _ => None,
        }
    }

    /// The keys of the root role itself.
    pub fn root_keys(&self) -> &RoleKeys {
        &self.root
    }

    /// The keys of the timestamp role.
    pub fn timestamp_keys(&self) -> &RoleKeys {
        &self.timestamp
    }

    /// The keys of the snapshot role.
    pub fn snapshot_keys(&self) -> &RoleKeys {
        &self.snapshot
    }

    /// The keys of the top-level targets role.
    pub fn targets_keys(&self) -> &RoleKeys {
        &self.targets
    }

    /// Whether file names carry versions (absent means no).
    pub fn consistent_snapshot(&self) -> bool {
        self.consistent_snapshot
    }

    /// The name under which a repository of this root serves a snapshot or targets file.
    pub fn file_name(&self, role: RoleName, version: Version) -> FileName {
        if self.consistent_snapshot {
            FileName::versioned(role, version)
        } else {
            FileName::unversioned(role)
        }
    }
}

impl Role for Root {
    const TYPE: &'static str = "root";

    fn read(signed: &Value) -> Result<Self, Fault> {
        let keys: BTreeMap<KeyId, Value> = field(signed, "keys")?;
        let roles: BTreeMap<String, Value> = field(signed, "roles")?;
        let mut faulty = None;
        let mut role = |name: &'static str| {
            let raw = roles.get(name).ok_or_else(|| Fault::Format(format!("no role \"{name}\"")))?;
            role_keys(
                &keys,
                RawRole::deserialize(raw).map_err(|e| Fault::Format(format!("role \"{name}\": {e}")))?,
                &mut faulty,
            )
        };
        let consistent_snapshot = match signed.get("consistent_snapshot") {
            None => false,
            Some(v) => {
                v.as_bool().ok_or_else(|| Fault::Format("\"consistent_snapshot\" is no boolean".into()))?
            }
        };
        let (root, timestamp, snapshot, targets) =
            (role("root")?, role("timestamp")?, role("snapshot")?, role("targets")?);
        Ok(Self { consistent_snapshot, faulty, root, timestamp, snapshot, targets })
    }

    fn faulty(&self) -> Option<&Fault> {
        self.faulty.as_ref()
    }
}

/// The keys of one role. A key that bulla cannot use is kept as "cannot sign"; where that is somebody's fault and not only a kind
/// of key unknown here, the first such fault is noted.
pub(super) fn role_keys(
    keys: &BTreeMap<KeyId, Value>,
    raw: RawRole,
    faulty: &mut Option<Fault>,
) -> Result<RoleKeys, Fault> {
    if raw.threshold == 0 {
        return Err(Fault::Format("a threshold of 0".into()));
    }
    let mut out = BTreeMap::new();
    for id in raw.keyids {
        let (key, fault) = match keys.get(&id).map(PublicKey::from_tuf) {
            Some(Ok(key)) => (Some(key), None),
            Some(Err(KeyError::Unsupported { .. })) => (None, None),
            Some(Err(error)) => (None, Some(Fault::Key { id: id.clone(), error })),
            None => (None, Some(Fault::Format(format!("key {id} is named by a role but not listed")))),
        };
        if faulty.is_none() {
            *faulty = fault;
        }
        out.insert(id, key);
    }
    Ok(RoleKeys { threshold: raw.threshold, keys: out })
}
