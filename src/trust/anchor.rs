//! `trust.json`: anchors and statements (docs/formats.md). Unknown members are errors: a misspelt restriction must not be
//! silently absent.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::organisation::mapped;
use super::source::{MAX_SOURCES, Source, SourceSpec};
use super::{Scope, Statement, Subject};
use crate::oci::{Digest, Reference, Repository, sorted_json};
use crate::sig::json;
use crate::tuf::{CollectionName, RoleName};

const SCHEMA_VERSION: u32 = 1;
/// Largest `trust.json`, bytes.
pub const MAX_TRUST_BYTES: u64 = 16 * 1024 * 1024;

/// The whole of `trust.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustFile {
    schema_version: u32,
    /// Whom to trust; they add up.
    #[serde(default)]
    pub anchors: Vec<Anchor>,
    /// What holds for which scope; the most specific one counts.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// Ids of advisories that were read here: they are no longer warned of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub acknowledged: BTreeSet<String>,
}

/// A TUF root that is trusted beforehand, for one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anchor {
    /// Its name in this file.
    pub id: AnchorId,
    /// The kind of anchor; `tuf` is the only one.
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

/// The kind of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A TUF root.
    Tuf,
}

/// The name of an anchor: the first twelve hex digits of SHA-256 over scope, collection, root and what it says of sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why `trust.json` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Malformed.
    #[error("{0}")]
    Malformed(String),
    /// Another schema version.
    #[error("schemaVersion {0} is not {SCHEMA_VERSION}; this bulla cannot read it")]
    SchemaVersion(u32),
    /// The scope of a TUF anchor is one repository, unless it is an organisation's.
    #[error(
        "anchor {0}: the scope of a TUF anchor is one repository, without tag; of an organisation's registry/org/*"
    )]
    AnchorScope(String),
    /// An organisation's anchor asks its members.
    #[error("anchor {0}: an organisation has members, not sources")]
    OrganisationSources(String),
    /// A number of sources that cannot agree, or demands nothing.
    #[error("anchor {id}: {min} of {sources} sources must agree, which cannot be")]
    Min {
        /// The anchor.
        id: String,
        /// The number.
        min: u32,
        /// How many there are.
        sources: usize,
    },
    /// More sources than are asked.
    #[error("anchor {0}: more than {MAX_SOURCES} sources")]
    ManySources(String),
    /// One source twice: it cannot agree with itself.
    #[error("anchor {id}: source {second} is the same as source {first}")]
    SameSource {
        /// The anchor.
        id: String,
        /// Which.
        first: usize,
        /// And which.
        second: usize,
    },
    /// One role of one collection both at places that were named and wherever it is found.
    #[error(
        "anchor {id}: source {without} asks {collection} {role} wherever its state is found, and source {with} at one place: \
         that is no second voice; name a place for each of them, or for none"
    )]
    MixedPlaces {
        /// The anchor.
        id: String,
        /// The one with `at`.
        with: usize,
        /// The one without.
        without: usize,
        /// The collection.
        collection: CollectionName,
        /// The role.
        role: RoleName,
    },
    /// A source of another collection without that one's root.
    #[error("anchor {id}: source {source_number} is of the collection {collection}, and its root is missing")]
    SourceRoot {
        /// The anchor.
        id: String,
        /// Which.
        source_number: usize,
        /// The collection.
        collection: CollectionName,
    },
    /// A role that lists no bundles.
    #[error("anchor {id}: source {source_number}: the role {role} lists no bundles")]
    SourceRole {
        /// The anchor.
        id: String,
        /// Which.
        source_number: usize,
        /// The role.
        role: RoleName,
    },
    /// A waiver without reason.
    #[error("statement for \"{0}\": maxStaleness needs a reason")]
    NoReason(Scope),
    /// A waiver for everything.
    #[error(
        "statement for \"*\": maxStaleness is not for everything; name a registry, a prefix or a repository"
    )]
    AnyStaleness,
    /// Two statements for one scope.
    #[error("two statements for \"{0}\"")]
    TwoStatements(Scope),
}

impl Default for TrustFile {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            anchors: Vec::new(),
            statements: Vec::new(),
            acknowledged: BTreeSet::new(),
        }
    }
}

impl TrustFile {
    /// Read the file's bytes.
    ///
    /// # Errors
    /// Malformed, another schema version, or a rule of anchors and statements broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        json::parse(bytes).map_err(|e| TrustError::Malformed(e.to_string()))?;
        // The second pass names line and column of what does not fit.
        let file: Self = serde_json::from_slice(bytes).map_err(|e| TrustError::Malformed(e.to_string()))?;
        file.check()?;
        Ok(file)
    }

    /// The file's bytes, readable, with a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// Every collection that any anchor rests on, with the root that is trusted for it.
    pub fn collections(&self) -> impl Iterator<Item = (CollectionName, PinnedRoot)> {
        self.anchors.iter().flat_map(|anchor| {
            let own = (anchor.collection.clone(), anchor.root.clone());
            let more = anchor.sources().into_iter().map(|s| (s.collection, s.root));
            std::iter::once(own.clone()).chain(more.filter(move |pair| *pair != own).collect::<Vec<_>>())
        })
    }

    /// The anchors that cover a subject: those for the repository itself, which add up; where there are none, the organisations'
    /// with the longest prefix.
    pub fn covering<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a Anchor> {
        let covering = || self.anchors.iter().filter(|a| a.scope.covers(subject));
        let narrowest = covering().map(Anchor::reach).max();
        self.anchors.iter().filter(move |a| a.scope.covers(subject) && Some(a.reach()) == narrowest)
    }

    fn check(&self) -> Result<(), TrustError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(TrustError::SchemaVersion(self.schema_version));
        }
        self.anchors.iter().try_for_each(Anchor::check)?;
        for (i, s) in self.statements.iter().enumerate() {
            if s.max_staleness.is_some() && s.scope == Scope::Any {
                return Err(TrustError::AnyStaleness);
            }
            if s.max_staleness.is_some() && s.reason.as_deref().is_none_or(|r| r.trim().is_empty()) {
                return Err(TrustError::NoReason(s.scope.clone()));
            }
            if self.statements[..i].iter().any(|o| o.scope == s.scope) {
                return Err(TrustError::TwoStatements(s.scope.clone()));
            }
        }
        Ok(())
    }
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
    fn reach(&self) -> (bool, usize) {
        match &self.scope {
            Scope::Prefix(prefix) => (false, prefix.len()),
            _ => (true, 0),
        }
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
        let id = AnchorId(Digest::sha256(name.as_bytes()).hex()[..12].to_owned());
        Self { id, ..self }
    }

    fn check(&self) -> Result<(), TrustError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TrustFile {
        let scope: Scope = "ex.com/org/app".parse().unwrap();
        let anchor = Anchor::tuf(
            scope.clone(),
            "ex.com/org/app".parse().unwrap(),
            Bytes::from_static(b"{}"),
            vec!["mirror.example/x".parse().unwrap()],
        );
        let statement = Statement {
            scope,
            max_staleness: Some("30d".parse().unwrap()),
            require_current_tag: false,
            reason: Some("monthly stick".into()),
        };
        TrustFile { anchors: vec![anchor], statements: vec![statement], ..TrustFile::default() }
    }

    #[test]
    fn round_trip() {
        assert_eq!(TrustFile::parse(&file().to_bytes()), Ok(file()));
    }

    #[test]
    fn rules_hold() {
        let broken = |edit: fn(&mut TrustFile)| {
            let mut f = file();
            edit(&mut f);
            TrustFile::parse(&f.to_bytes()).unwrap_err()
        };
        assert!(matches!(broken(|f| f.statements[0].reason = None), TrustError::NoReason(_)));
        assert!(matches!(broken(|f| f.statements[0].scope = Scope::Any), TrustError::AnyStaleness));
        assert!(matches!(broken(|f| f.anchors[0].scope = Scope::Any), TrustError::AnchorScope(_)));
        assert!(matches!(broken(|f| f.schema_version = 2), TrustError::SchemaVersion(2)));
        assert!(matches!(
            broken(|f| f.statements.push(f.statements[0].clone())),
            TrustError::TwoStatements(_)
        ));
        let text = String::from_utf8(file().to_bytes()).unwrap();
        for (from, to) in
            [("\"e30=\"", "\"e31=\""), ("\"requireCurrentTag\"", "\"requireCurentTag\""), ("{", "")]
        {
            assert!(
                matches!(
                    TrustFile::parse(text.replacen(from, to, 1).as_bytes()),
                    Err(TrustError::Malformed(_))
                ),
                "{from}"
            );
        }
    }
}
