//! TUF anchors: the roots that are trusted beforehand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::organisation::mapped;
use super::source::{MAX_SOURCES, Source, SourceSpec};
use super::{Scope, TrustError};
use crate::oci::{Digest, Reference, Repository, sorted_json};
use crate::tuf::{CollectionName, RoleName};

/// A TUF root that is trusted beforehand, for one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anchor {
    /// Its name in this file.
    pub id: AnchorId,
    /// Its kind: `tuf`.
    pub kind: Kind,
    /// The repository it speaks for.
    pub scope: Scope,
    /// The collection, whose name must be in the root.
    pub collection: CollectionName,
    /// Whether the collection is an organisation, of whose members each speaks for its names below the scope.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub organisation: bool,
    /// The root.
    pub root: PinnedRoot,
    /// Further places of the state, all untrusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "references")]
    pub state_at: Vec<Reference>,
    /// Who is asked, where that is not simply the collection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceSpec>,
    /// How many of the sources must agree; all of them where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
}

/// The kind of a TUF anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A TUF root.
    Tuf,
}

/// The name of an anchor: the first twelve hex digits of SHA-256 over scope, collection, root and what it says of sources; of an
/// anchor of signatures over scope, kind, and what it trusts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnchorId(String);

/// A root file and its fingerprint, which must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRoot", into = "RawRoot")]
pub struct PinnedRoot {
    bytes: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    sha256: String,
    data: String,
}

impl Anchor {
    /// A TUF anchor for one repository.
    pub fn tuf(scope: Scope, collection: CollectionName, root: Bytes, state_at: Vec<Reference>) -> Self {
        let root = PinnedRoot { bytes: root };
        let kind = Kind::Tuf;
        let (organisation, sources, min, id) = (false, Vec::new(), None, AnchorId(String::new()));
        Self { id, kind, scope, collection, organisation, root, state_at, sources, min }.named()
    }

    /// The same for an organisation: its members speak for what lies below the scope, a prefix.
    #[must_use]
    pub fn of_organisation(self) -> Self {
        Self { organisation: true, ..self }.named()
    }

    /// For the anchor of an organisation's own repository: the anchor of its members, which lie below.
    pub fn of_its_members(&self) -> Option<Self> {
        let Scope::Repository(repository) = &self.scope else { return None };
        let scope = Scope::Prefix(repository.to_string());
        let own = (self.collection.clone(), self.root.bytes().clone(), self.state_at.clone());
        Some(Self::tuf(scope, own.0, own.1, own.2).of_organisation())
    }

    /// How narrow it is, of anchors that cover one subject: a repository's own before an organisation's, then the longer prefix.
    pub(super) fn reach(&self) -> (bool, (u8, usize)) {
        (!matches!(self.scope, Scope::Prefix(_)), self.scope.specificity())
    }

    /// What an organisation calls a repository that its anchor covers.
    pub(super) fn mapped(&self, repository: &Repository) -> Option<Repository> {
        match &self.scope {
            Scope::Prefix(prefix) => mapped(prefix, &self.collection, repository),
            _ => None,
        }
    }

    /// The same, where `min` of `sources` must agree; all of them without `min`.
    ///
    /// # Errors
    /// A rule of sources is broken.
    pub fn with_sources(self, sources: Vec<SourceSpec>, min: Option<u32>) -> Result<Self, TrustError> {
        let anchor = Self { sources, min, ..self }.named();
        anchor.check()?;
        Ok(anchor)
    }

    /// The same with this root, wherever it rests on `collection`: itself, or as the root of a source.
    ///
    /// # Errors
    /// Two of its sources would become one.
    pub fn with_root(&self, collection: &CollectionName, root: &Bytes) -> Result<Self, TrustError> {
        let mut new = self.clone();
        for source in &mut new.sources {
            if source.collection.as_ref().unwrap_or(&self.collection) == collection && source.root.is_some() {
                source.root = Some(root.clone().into());
            }
        }
        if self.collection == *collection {
            new.root = root.clone().into();
        }
        if new == *self {
            return Ok(new);
        }
        let new = new.named();
        new.check()?;
        Ok(new)
    }

    /// Who is asked: the sources, or where none are stated the collection itself. An organisation's state may also lie where the
    /// scope puts it.
    pub fn sources(&self) -> Vec<Source> {
        if let (true, Scope::Prefix(prefix)) = (self.organisation, &self.scope) {
            let mut own = SourceSpec::default().of(self);
            let named = prefix.parse::<Reference>().ok().filter(|r| r.selector().is_none());
            own.state_at.splice(..0, named);
            own.own_place_last = true;
            return vec![own];
        }
        match self.sources.is_empty() {
            true => vec![SourceSpec::default().of(self)],
            false => self.sources.iter().map(|s| s.of(self)).collect(),
        }
    }

    /// How many of them must agree.
    pub fn min(&self) -> usize {
        self.min.map_or_else(|| self.sources.len().max(1), |min| min as usize)
    }

    /// An id made of all that says whom to trust for what; further places of the state say nothing of that.
    fn named(self) -> Self {
        let mut name = format!("{}\n{}\n{}", self.scope, self.collection, self.root.fingerprint());
        if self.organisation {
            name.push_str("\norganisation");
        }
        if !self.sources.is_empty() {
            let sources = sorted_json(&serde_json::json!([self.sources, self.min()]));
            name.push('\n');
            name.push_str(&String::from_utf8_lossy(&sources));
        }
        Self { id: AnchorId::of(&name), ..self }
    }

    pub(super) fn check(&self) -> Result<(), TrustError> {
        let id = || self.id.as_str().to_owned();
        match (&self.scope, self.organisation) {
            (Scope::Repository(_), false) | (Scope::Prefix(_), true) => {}
            _ => return Err(TrustError::AnchorScope(id())),
        }
        if self.organisation && !(self.sources.is_empty() && self.min.is_none()) {
            return Err(TrustError::OrganisationSources(id()));
        }
        if self.sources.len() > MAX_SOURCES {
            return Err(TrustError::ManySources(id()));
        }
        if let Some(min) = self.min.filter(|n| *n == 0 || *n as usize > self.sources.len()) {
            return Err(TrustError::Min { id: id(), min, sources: self.sources.len() });
        }
        let all = self.sources();
        for (i, (spec, source)) in self.sources.iter().zip(&all).enumerate() {
            let source_number = i + 1;
            if source.collection != self.collection && spec.root.is_none() {
                let collection = source.collection.clone();
                return Err(TrustError::SourceRoot { id: id(), source_number, collection });
            }
            if source.role.is_top_level() && source.role != RoleName::targets() {
                return Err(TrustError::SourceRole { id: id(), source_number, role: source.role.clone() });
            }
            // Further places are no difference: all of them serve the same signers.
            let same = |other: &Source| {
                let key = |s: &Source| {
                    let at = s.at.as_ref().map(place_of);
                    (s.collection.clone(), s.root.clone(), s.role.clone(), s.keys.clone(), at)
                };
                key(other) == key(source)
            };
            if let Some(first) = all[..i].iter().position(same) {
                return Err(TrustError::SameSource { id: id(), first: first + 1, second: source_number });
            }
            let mixed = |other: &Source| {
                let one = |s: &Source| (s.collection.clone(), s.role.clone());
                one(other) == one(source) && other.at.is_some() != source.at.is_some()
            };
            if let Some(other) = all[..i].iter().position(mixed).map(|other| other + 1) {
                let (with, without) =
                    if source.at.is_some() { (source_number, other) } else { (other, source_number) };
                let (collection, role) = (source.collection.clone(), source.role.clone());
                return Err(TrustError::MixedPlaces { id: id(), with, without, collection, role });
            }
        }
        Ok(())
    }
}

/// A place in one spelling, for telling whether two are one.
pub(super) fn place_of(at: &Reference) -> String {
    match at {
        Reference::Registry(r) => r.repository.spelt_alike(),
        Reference::Layout(_) | Reference::Archive(_) => at.at(None).to_string(),
    }
}

impl AnchorId {
    /// The name of what `says` describes.
    pub(super) fn of(says: &str) -> Self {
        Self(Digest::sha256(says.as_bytes()).hex()[..12].to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PinnedRoot {
    /// The root file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the file: what is compared out of band.
    pub fn fingerprint(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }
}

impl From<Bytes> for PinnedRoot {
    fn from(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

impl TryFrom<RawRoot> for PinnedRoot {
    type Error = String;

    fn try_from(raw: RawRoot) -> Result<Self, String> {
        let bytes = STANDARD.decode(&raw.data).map_err(|_| "root.data is not base64".to_owned())?;
        let root = Self { bytes: bytes.into() };
        if root.fingerprint().hex() != raw.sha256 {
            return Err("root.data does not have the fingerprint root.sha256".into());
        }
        Ok(root)
    }
}

impl From<PinnedRoot> for RawRoot {
    fn from(root: PinnedRoot) -> Self {
        Self { sha256: root.fingerprint().hex().to_owned(), data: STANDARD.encode(&root.bytes) }
    }
}

/// References as strings.
pub(super) mod references {
    use super::{Deserialize, Reference};

    pub(in crate::trust) fn serialize<S: serde::Serializer>(
        list: &[Reference],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(in crate::trust) fn deserialize<'de, D: serde::Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<Reference>, D::Error> {
        let list = Vec::<String>::deserialize(d)?;
        list.iter().map(|s| s.parse().map_err(serde::de::Error::custom)).collect()
    }
}
