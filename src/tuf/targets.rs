//! The targets roles, top-level and delegated (TUF specification 4.5).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::delegation::read_delegations;
use super::metadata::field;
use super::timestamp::{Hash, check_pinned, known_hashes};
use super::{Delegation, Fault, Role, RoleName};

/// Targets, and to whom more is delegated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    targets: BTreeMap<String, Target>,
    delegations: Vec<Delegation>,
}

/// One target: length, hashes and custom data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Length in bytes.
    pub length: u64,
    /// At least one hash of a known algorithm; lower-case hex.
    pub hashes: BTreeMap<Hash, String>,
    /// `custom`, untyped.
    pub custom: Value,
}

#[derive(Deserialize)]
struct RawTarget {
    length: u64,
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    custom: Value,
}

impl Targets {
    /// All targets by path.
    pub fn targets(&self) -> &BTreeMap<String, Target> {
        &self.targets
    }

    /// The delegations, in order of priority.
    pub fn delegations(&self) -> &[Delegation] {
        &self.delegations
    }

    /// The delegation to `role`.
    pub fn delegation(&self, role: &RoleName) -> Option<&Delegation> {
        self.delegations.iter().find(|d| d.name == *role)
    }
}

impl Target {
    /// The SHA-256 hash, lower-case hex.
    pub fn sha256(&self) -> Option<&str> {
        self.hashes.get(&Hash::Sha256).map(String::as_str)
    }

    /// Check a target file's bytes.
    ///
    /// # Errors
    /// [`Fault::Hash`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        check_pinned(Some(self.length), &self.hashes, bytes)
    }
}

impl Role for Targets {
    const TYPE: &'static str = "targets";

    fn read(signed: &Value) -> Result<Self, Fault> {
        let raw: BTreeMap<String, RawTarget> = field(signed, "targets")?;
        let mut targets = BTreeMap::new();
        for (path, t) in raw {
            let hashes = known_hashes(t.hashes)?;
            if hashes.is_empty() {
                return Err(Fault::Format(format!("target \"{path}\" has no hash")));
            }
            targets.insert(path, Target { length: t.length, hashes, custom: t.custom });
        }
        let delegations = match signed.get("delegations") {
            Some(d) => read_delegations(d)?,
            None => Vec::new(),
        };
        Ok(Self { targets, delegations })
    }
}
