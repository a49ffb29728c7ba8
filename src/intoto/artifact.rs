//! Artifacts: names with hashes.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::cut;
use super::read::within;
use super::{IntotoError, MAX_ARTIFACTS, MAX_HASHES, MAX_NAME};
use crate::oci::Digest;

/// The name of an artifact, normalised: a relative path with `/` between its segments, none of them empty, `.` or `..`; no
/// backslash, no NUL. A URI (ITE-4) may begin with `scheme://`. Two names are one only if they are the same text, so names with
/// a second way to write them are refused (GHSA-vrxp-mg9f-hwf3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactName(String);

/// The hashes of an artifact by algorithm. Two are equal only if all are; hex digits are compared as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hashes(BTreeMap<String, String>);

/// Artifacts by name.
pub type Artifacts = BTreeMap<ArtifactName, Hashes>;

impl ArtifactName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Why a text is no name; `None` when it is one.
    fn fault(name: &str) -> Option<&'static str> {
        if name.is_empty() {
            return Some("is empty");
        }
        if name.len() > MAX_NAME {
            return Some("is longer than 4096 bytes");
        }
        if name.contains(['\\', '\0']) {
            return Some("holds a backslash or NUL");
        }
        if name.starts_with('/') {
            return Some("is an absolute path");
        }
        let scheme = |s: &str| {
            s.starts_with(|c: char| c.is_ascii_alphabetic())
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        };
        let path = match name.split_once("://") {
            Some((before, after)) if scheme(before) => after,
            _ => name,
        };
        if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Some("is not normalised: it has an empty segment, \".\" or \"..\"");
        }
        None
    }
}

impl FromStr for ArtifactName {
    type Err = IntotoError;

    fn from_str(s: &str) -> Result<Self, IntotoError> {
        match Self::fault(s) {
            None => Ok(Self(s.to_owned())),
            Some(why) => Err(IntotoError::Artifact { at: "artifacts".into(), name: cut(s), why }),
        }
    }
}

impl Borrow<str> for ArtifactName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Hashes {
    /// Of one digest: `{"sha256": …}`.
    pub fn of(digest: &Digest) -> Self {
        Self([(digest.algorithm().as_str().to_owned(), digest.hex().to_owned())].into())
    }

    /// Of more than one digest.
    pub fn of_all<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Self {
        let pair = |d: &Digest| (d.algorithm().as_str().to_owned(), d.hex().to_owned());
        Self(digests.into_iter().map(pair).collect())
    }

    /// Whether this digest is among them.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.0.get(digest.algorithm().as_str()).is_some_and(|hex| hex.eq_ignore_ascii_case(digest.hex()))
    }

    /// By algorithm.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        self.0.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect::<Map<_, _>>().into()
    }

    pub(super) fn read(value: &Value, at: &str) -> Result<Self, IntotoError> {
        let bad = |why| IntotoError::Field { at: at.to_owned(), why };
        let map = value.as_object().ok_or_else(|| bad("hashes are an object"))?;
        within("hashes of one artifact", map.len(), MAX_HASHES)?;
        if map.is_empty() {
            return Err(bad("an artifact without a hash is no artifact"));
        }
        let hashes = map.iter().map(|(algorithm, hex)| match hex.as_str() {
            Some(hex) if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok((algorithm.clone(), hex.to_owned()))
            }
            _ => Err(bad("a hash is hex digits")),
        });
        Ok(Self(hashes.collect::<Result<_, _>>()?))
    }
}

/// `materials` or `products` of a link.
pub(super) fn read(value: &Value, at: &str) -> Result<Artifacts, IntotoError> {
    let map = value.as_object().ok_or_else(|| IntotoError::Field {
        at: at.to_owned(),
        why: "an object of artifacts is wanted; a link that records none says {}",
    })?;
    within("artifacts in one list", map.len(), MAX_ARTIFACTS)?;
    let artifacts = map.iter().map(|(name, hashes)| Ok((named(name, at)?, Hashes::read(hashes, at)?)));
    artifacts.collect()
}

pub(super) fn named(name: &str, at: &str) -> Result<ArtifactName, IntotoError> {
    match ArtifactName::fault(name) {
        None => Ok(ArtifactName(name.to_owned())),
        Some(why) => Err(IntotoError::Artifact { at: at.to_owned(), name: cut(name), why }),
    }
}

pub(super) fn to_value(artifacts: &Artifacts) -> Value {
    artifacts.iter().map(|(name, hashes)| (name.0.clone(), hashes.to_value())).collect::<Map<_, _>>().into()
}
