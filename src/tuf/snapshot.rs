//! The snapshot role (TUF specification 4.4).

use std::collections::BTreeMap;

use serde_json::Value;

use super::metadata::field;
use super::timestamp::RawPin;
use super::{Fault, FilePin, Role, RoleName};

/// Which version of each targets role is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    targets: FilePin,
    roles: BTreeMap<RoleName, FilePin>,
}

impl Snapshot {
    /// The pin of a targets role.
    pub fn pin(&self, role: &RoleName) -> Option<&FilePin> {
        self.roles.get(role)
    }

    /// The pin of top-level targets, which is always there.
    pub fn targets_pin(&self) -> &FilePin {
        &self.targets
    }

    /// All pins.
    pub fn pins(&self) -> &BTreeMap<RoleName, FilePin> {
        &self.roles
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn read(signed: &Value) -> Result<Self, Fault> {
        let meta: BTreeMap<String, RawPin> = field(signed, "meta")?;
        let mut roles = BTreeMap::new();
        for (name, pin) in meta {
            let role = name
                .strip_suffix(".json")
                .ok_or_else(|| Fault::Format(format!("\"{name}\" is no metadata file")))?;
            let role = role.parse().map_err(|_| Fault::Format("a malformed role name".into()))?;
            roles.insert(role, pin.try_into()?);
        }
        let targets = roles.get(&RoleName::targets()).cloned();
        let targets = targets.ok_or_else(|| Fault::Format("\"meta\" does not list targets.json".into()))?;
        Ok(Self { targets, roles })
    }
}
