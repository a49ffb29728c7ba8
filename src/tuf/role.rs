//! Role names, versions, and the names of metadata files.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Everything but `A-Za-z0-9-_.~` is encoded in file names (TUF specification 5.6, G10 of our checklist).
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The name of a role: 1 to 128 characters, no control characters. Never a path, never a tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

/// A string that is no role name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a role name: 1 to 128 characters without control characters")]
pub struct RoleNameError;

/// The version of a metadata file: 1 to 2^53 - 1, which every JSON reader keeps exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(NonZeroU64);

/// The name of a metadata file: `<version>.<encoded role>.json`, and without version the timestamp, any file of a repository
/// without consistent snapshots but its roots, and what a client keeps of a role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    role: RoleName,
    version: Option<Version>,
}

impl RoleName {
    /// `root`.
    pub fn root() -> Self {
        Self("root".into())
    }

    /// `timestamp`.
    pub fn timestamp() -> Self {
        Self("timestamp".into())
    }

    /// `snapshot`.
    pub fn snapshot() -> Self {
        Self("snapshot".into())
    }

    /// `targets`.
    pub fn targets() -> Self {
        Self("targets".into())
    }

    /// `targets/releases`: signs bundles (CNAB-Sec 301).
    pub fn releases() -> Self {
        Self("targets/releases".into())
    }

    /// `targets/revocations`: signs the revocation list.
    pub fn revocations() -> Self {
        Self("targets/revocations".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of the four top-level roles.
    pub fn is_top_level(&self) -> bool {
        matches!(self.0.as_str(), "root" | "timestamp" | "snapshot" | "targets")
    }

    /// Whether its name begins with that of `other` and a slash: it is called after the role that delegates to it.
    pub fn is_under(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The key under which timestamp and snapshot list this role: `<role>.json`, not encoded.
    pub fn meta_name(&self) -> String {
        format!("{}.json", self.0)
    }
}

impl TryFrom<String> for RoleName {
    type Error = RoleNameError;

    fn try_from(s: String) -> Result<Self, RoleNameError> {
        let legal = !s.is_empty() && s.len() <= 128 && !s.chars().any(char::is_control);
        if legal { Ok(Self(s)) } else { Err(RoleNameError) }
    }
}

impl FromStr for RoleName {
    type Err = RoleNameError;

    fn from_str(s: &str) -> Result<Self, RoleNameError> {
        Self::try_from(s.to_owned())
    }
}

impl From<RoleName> for String {
    fn from(r: RoleName) -> Self {
        r.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Version {
    /// Version 1.
    pub const ONE: Self = Self(NonZeroU64::MIN);
    const MAX: u64 = (1 << 53) - 1;

    /// From a number; `None` for 0 and past 2^53 - 1.
    pub fn new(n: u64) -> Option<Self> {
        NonZeroU64::new(n).filter(|n| n.get() <= Self::MAX).map(Self)
    }

    /// A number that is written in the program: no less than 1, no more than the greatest version.
    pub(crate) const fn at_most(n: u64) -> Self {
        match NonZeroU64::new(if n > Self::MAX { Self::MAX } else { n }) {
            Some(n) => Self(n),
            None => Self::ONE,
        }
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The next version; the greatest is its own successor and can then no longer be exceeded.
    #[must_use]
    pub fn next(self) -> Self {
        Self::new(self.get() + 1).unwrap_or(self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(d)?;
        Self::new(n).ok_or_else(|| serde::de::Error::custom("a version is between 1 and 2^53 - 1"))
    }
}

impl FileName {
    /// `timestamp.json`.
    pub fn timestamp() -> Self {
        Self { role: RoleName::timestamp(), version: None }
    }

    /// `<version>.<role>.json`.
    pub fn versioned(role: RoleName, version: Version) -> Self {
        Self { role, version: Some(version) }
    }

    /// `<role>.json`.
    pub fn unversioned(role: RoleName) -> Self {
        Self { role, version: None }
    }

    /// The role.
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The version, where the name has one.
    pub fn version(&self) -> Option<Version> {
        self.version
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(v) = self.version {
            write!(f, "{v}.")?;
        }
        write!(f, "{}.json", utf8_percent_encode(self.role.as_str(), ENCODED))
    }
}

impl FromStr for FileName {
    type Err = RoleNameError;

    /// Reads back exactly what [`fmt::Display`] writes of `timestamp.json` and versioned names, and nothing else: a collection's
    /// state holds no others.
    fn from_str(s: &str) -> Result<Self, RoleNameError> {
        if s == "timestamp.json" {
            return Ok(Self::timestamp());
        }
        let (version, rest) = s.split_once('.').ok_or(RoleNameError)?;
        let role = rest.strip_suffix(".json").ok_or(RoleNameError)?;
        let role = percent_decode_str(role).decode_utf8().map_err(|_| RoleNameError)?;
        let version = version.parse().ok().and_then(Version::new).ok_or(RoleNameError)?;
        let name = Self::versioned(role.as_ref().parse()?, version);
        if name.to_string() == s { Ok(name) } else { Err(RoleNameError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_round_trip() {
        for s in
            ["timestamp.json", "1.root.json", "7.snapshot.json", "3.targets%2Freleases.json", "3...%2Fx.json"]
        {
            assert_eq!(s.parse::<FileName>().map(|n| n.to_string()).as_deref(), Ok(s));
        }
        for s in [
            "root.json",
            "0.root.json",
            "01.root.json",
            "1.targets/releases.json",
            "1.targets%2freleases.json",
            "1..json",
            "x",
            "1.root.json.",
            "+1.root.json",
        ] {
            assert!(s.parse::<FileName>().is_err(), "{s}");
        }
    }
}
