//! The targets roles, top-level and delegated (TUF specification 4.5).

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::delegation::{MAX_PATH, read_delegations};
use super::metadata::field;
use super::role::ENCODED;
use super::timestamp::{Hash, check_pinned, known_hashes};
use super::{Delegation, Fault, Role, RoleName, Unverified};
use crate::oci::Digest;

/// What may stand as it is in one segment of a URL's path (RFC 3986 3.3).
const SEGMENT: &AsciiSet = &ENCODED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
/// Longest file name that every file system takes, with room for a suffix.
const MAX_LOCAL_NAME: usize = 200;

/// Targets, and to whom more is delegated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    targets: BTreeMap<String, Target>,
    delegations: Vec<Delegation>,
    faulty: Option<Fault>,
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

impl Unverified<Targets> {
    /// The paths and SHA-256 hashes that the file claims, for comparing with what was verified elsewhere.
    pub fn claimed_hashes(&self) -> impl Iterator<Item = (&str, &str)> {
        let targets = self.claimed().targets.iter();
        targets.filter_map(|(path, target)| Some((path.as_str(), target.sha256()?)))
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

    /// Where an HTTP file tree serves the target of this path, relative to its base: `dir/file`, with consistent snapshots
    /// `dir/HASH.file` (specification 5.7.3), percent-encoded segment by segment.
    ///
    /// # Errors
    /// A segment that is empty, `.` or `..`: a URL resolves it to another place.
    pub fn served_as(&self, path: &str, consistent_snapshot: bool) -> Result<String, Fault> {
        if path.split('/').any(|s| matches!(s, "" | "." | "..")) {
            return Err(Fault::Format(format!("\"{}\" is no relative path", path.escape_debug())));
        }
        let (dir, file) = path.rsplit_once('/').map_or((None, path), |(dir, file)| (Some(dir), file));
        let mut out = String::new();
        for segment in dir.into_iter().flat_map(|d| d.split('/')) {
            out.extend(utf8_percent_encode(segment, SEGMENT));
            out.push('/');
        }
        if let Some(hash) = self.hashes.values().next().filter(|_| consistent_snapshot) {
            out.push_str(hash);
            out.push('.');
        }
        out.extend(utf8_percent_encode(file, SEGMENT));
        Ok(out)
    }
}

/// The name of the file, in one folder, that keeps the target of this path: one to one, never a path, never hidden.
pub fn local_name(path: &str) -> String {
    let mut name = utf8_percent_encode(path, ENCODED).to_string();
    if name.starts_with('.') {
        name.replace_range(..1, "%2E");
    }
    if name.is_empty() || name.len() > MAX_LOCAL_NAME {
        // No encoded name starts so: what follows a percent sign there is a hex digit.
        return format!("%sha256-{}", Digest::sha256(path.as_bytes()).hex());
    }
    name
}

impl Role for Targets {
    const TYPE: &'static str = "targets";

    fn read(signed: &Value) -> Result<Self, Fault> {
        let raw: BTreeMap<String, RawTarget> = field(signed, "targets")?;
        let mut targets = BTreeMap::new();
        for (path, t) in raw {
            if path.len() > MAX_PATH {
                return Err(Fault::Cap { what: "bytes of a target path", limit: MAX_PATH });
            }
            let hashes = known_hashes(t.hashes)?;
            if hashes.is_empty() {
                return Err(Fault::Format(format!("target \"{path}\" has no hash")));
            }
            targets.insert(path, Target { length: t.length, hashes, custom: t.custom });
        }
        let mut faulty = None;
        let delegations = match signed.get("delegations") {
            Some(d) => read_delegations(d, &mut faulty)?,
            None => Vec::new(),
        };
        Ok(Self { targets, delegations, faulty })
    }

    fn faulty(&self) -> Option<&Fault> {
        self.faulty.as_ref()
    }
}
