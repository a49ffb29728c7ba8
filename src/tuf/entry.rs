//! How a collection names its bundles in TUF (CNAB-Sec 301, with a logical name), and what an entry says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Fault, Target, Version};
use crate::oci::{Digest, Platform, ReferenceError, Repository, Tag};
use crate::sig::KeyId;
use crate::time::UnixTime;

/// The name of a collection: the form of a repository, independent of where a copy lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionName(Repository);

/// The target path of an entry, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryName {
    /// `<c>:<tag>`.
    Tag(Tag),
    /// `<c>@sha256:<hex>`.
    Release(Digest),
}

/// What an entry claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// The tag must name this digest now.
    Tag,
    /// This digest is a release.
    Release,
}

/// An entry for a bundle, or for a platform manifest of one: digest, size and `custom.bulla` (docs/formats.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Digest of the manifest; always sha256.
    pub digest: Digest,
    /// Size of the manifest, bytes.
    pub length: u64,
    /// `custom.bulla`.
    pub about: About,
    /// Other members of `custom`, carried untouched.
    pub custom: Map<String, Value>,
}

/// `custom.bulla` of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// What is claimed; absent on an entry that is only a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// When the claim was made.
    pub at: UnixTime,
    /// By which key.
    pub by: KeyId,
    /// Role version that set this value; absent means 0. Written when the file is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Version>,
    /// Ids of the withdrawals of this path that the signer knew and overrode.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub over: BTreeSet<String>,
    /// Media type of the manifest: it is signed, and the one that must be used.
    pub media_type: String,
    /// Tags it was released under.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// On a tag entry: the digest that the tag named before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// On a platform manifest: its platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// On a platform manifest: the released indexes that it is part of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub part_of: BTreeSet<Digest>,
}

impl About {
    /// Made at `at` by `by` for a manifest of this media type, with nothing else said.
    pub fn new(at: UnixTime, by: KeyId, media_type: &str) -> Self {
        Self {
            claim: None,
            at,
            by,
            set: None,
            over: BTreeSet::new(),
            media_type: media_type.to_owned(),
            tags: BTreeSet::new(),
            previous: None,
            platform: None,
            part_of: BTreeSet::new(),
        }
    }
}

impl CollectionName {
    /// `<c>:<tag>`.
    pub fn tag_path(&self, tag: &Tag) -> String {
        format!("{self}:{tag}")
    }

    /// `<c>@<digest>`.
    pub fn release_path(&self, digest: &Digest) -> String {
        format!("{self}@{digest}")
    }

    /// `<c>/revocations.json`.
    pub fn revocations_path(&self) -> String {
        format!("{self}/revocations.json")
    }

    /// The prefix of in-toto layouts and links, `<c>/in-toto-metadata/`.
    pub fn intoto_prefix(&self) -> String {
        format!("{self}/in-toto-metadata/")
    }

    /// The paths of `targets/releases`.
    pub fn release_patterns(&self) -> [String; 3] {
        [format!("{self}:*"), format!("{self}@sha256:*"), format!("{self}/in-toto-metadata/*/*.link")]
    }

    /// The tag at which the state lies: `bulla.<first 16 hex digits of SHA-256 over the name>`.
    pub fn state_tag(&self) -> Tag {
        let hash = Digest::sha256(self.to_string().as_bytes());
        Tag::of_digest("bulla.", &hash, 16)
    }

    /// What the tags of this collection's submissions start with: `bulla.<h>.s.`.
    pub fn submission_prefix(&self) -> String {
        format!("{}.s.", self.state_tag())
    }

    /// What the tags of candidates for the next snapshot and timestamp start with: `bulla.<h>.c.`.
    pub fn candidate_prefix(&self) -> String {
        format!("{}.c.", self.state_tag())
    }

    /// What the tags of this collection's proposals start with: `bulla.<h>.p.`.
    pub fn proposal_prefix(&self) -> String {
        format!("{}.p.", self.state_tag())
    }

    /// What the tags of requests for a delegation start with: `bulla.<h>.r.`.
    pub fn request_prefix(&self) -> String {
        format!("{}.r.", self.state_tag())
    }

    /// A target path of this collection that names a bundle.
    pub fn entry(&self, path: &str) -> Option<EntryName> {
        let rest = path.strip_prefix(&self.to_string())?;
        match (rest.strip_prefix(':'), rest.strip_prefix('@')) {
            (Some(tag), _) => tag.parse().ok().map(EntryName::Tag),
            (_, Some(digest)) => digest.parse().ok().map(EntryName::Release),
            _ => None,
        }
    }

    /// The name as a repository, for matching against scopes.
    pub fn as_repository(&self) -> &Repository {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        s.parse().map(Self)
    }
}

impl From<Repository> for CollectionName {
    fn from(r: Repository) -> Self {
        Self(r)
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Bundle {
    /// Read an entry.
    ///
    /// # Errors
    /// No sha256 hash, or a malformed `custom.bulla`.
    pub fn read(target: &Target) -> Result<Self, Fault> {
        let hex = target.sha256().ok_or_else(|| Fault::Format("an entry without sha256 hash".into()))?;
        let digest = format!("sha256:{hex}").parse().map_err(|e| Fault::Format(format!("{e}")))?;
        let mut custom = target.custom.as_object().cloned().unwrap_or_default();
        let about =
            custom.remove("bulla").ok_or_else(|| Fault::Format("an entry without custom.bulla".into()))?;
        let about = About::deserialize(&about).map_err(|e| Fault::Format(format!("custom.bulla: {e}")))?;
        Ok(Self { digest, length: target.length, about, custom })
    }

    /// The target object as TUF writes it.
    pub fn to_json(&self) -> Value {
        let mut custom = self.custom.clone();
        custom.insert("bulla".into(), json!(self.about));
        json!({"length": self.length, "hashes": {"sha256": self.digest.hex()}, "custom": custom})
    }
}

/// All bundle entries of a targets file by path; entries that are no bundles are left out.
///
/// # Errors
/// A bundle entry is malformed.
pub fn bundles(
    collection: &CollectionName,
    targets: &BTreeMap<String, Target>,
) -> Result<BTreeMap<EntryName, Bundle>, Fault> {
    let named = targets.iter().filter_map(|(path, t)| collection.entry(path).map(|name| (name, t)));
    named.map(|(name, t)| Bundle::read(t).map(|b| (name, b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let c: CollectionName = "ex.com:5000/org/app".parse().unwrap();
        assert_eq!(c.entry("ex.com:5000/org/app:v1"), Some(EntryName::Tag("v1".parse().unwrap())));
        let d = Digest::sha256(b"");
        assert_eq!(c.entry(&c.release_path(&d)), Some(EntryName::Release(d)));
        for other in
            ["ex.com:5000/org/apple:v1", "ex.com:5000/org/app/x:v1", "ex.com:5000/org/app/revocations.json"]
        {
            assert_eq!(c.entry(other), None, "{other}");
        }
        assert_eq!(c.state_tag().to_string().parse::<Tag>(), Ok(c.state_tag()));
        assert_eq!(c.state_tag().as_str().len(), 22);
    }
}
