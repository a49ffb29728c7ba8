//! `trust.json`: anchors, statements and lists (docs/formats.md). Unknown members are errors: a misspelt restriction must not be
//! silently absent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::level::{Level, Origin};
use super::policy::{AskedSignatures, Checked};
use super::predicate::few;
use super::source::MAX_SOURCES;
use super::{Anchor, AnchorId, Listing, PinnedRoot, Scope, SignerAnchor, Statement, Subject};
use crate::sig::json;
use crate::tuf::{CollectionName, RoleName};

/// Most attestations that one statement asks for.
const MAX_ATTESTATIONS: usize = 64;
const SCHEMA_VERSION: u32 = 2;
/// Largest `trust.json`, bytes.
pub const MAX_TRUST_BYTES: u64 = 16 * 1024 * 1024;

/// The whole of `trust.json`, and the system's above it where there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustFile {
    /// Whose roots to trust; of those that cover one repository each suffices.
    pub anchors: Vec<Anchor>,
    /// Whose signatures to trust; they add up.
    pub signers: Vec<SignerAnchor>,
    /// What holds for which scope; the most specific one counts.
    pub statements: Vec<Statement>,
    /// Bundles that are expected; see [`Listing`].
    pub allow: Vec<Listing>,
    /// Bundles that are refused, whoever vouches for them.
    pub deny: Vec<Listing>,
    /// Ids of advisories that were read here: they are no longer warned of.
    pub acknowledged: BTreeSet<String>,
    /// Of the system's file: the user's may weaken nothing of it.
    pub locked: bool,
    /// Which file it is.
    pub(super) origin: Origin,
    /// The system's file.
    pub(super) system: Option<Box<Self>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFile {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    locked: bool,
    #[serde(default)]
    anchors: Vec<Value>,
    #[serde(default)]
    statements: Vec<Statement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allow: Vec<Listing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deny: Vec<Listing>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    acknowledged: BTreeSet<String>,
}

/// Why `trust.json` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Malformed.
    #[error("{0}")]
    Malformed(String),
    /// Another schema version.
    #[error("schemaVersion {0} is not 1 or {SCHEMA_VERSION}; this bulla cannot read it")]
    SchemaVersion(u32),
    /// What the first schema version does not have.
    #[error("{0} needs schemaVersion {SCHEMA_VERSION}")]
    Newer(&'static str),
    /// An anchor that is not read.
    #[error("anchors[{index}]: {reason}")]
    Anchor {
        /// Counted from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Two anchors of one name.
    #[error("two anchors have the id {0}")]
    TwoAnchors(String),
    /// An anchor of one name says something else at the system's level.
    #[error("the anchor {0} is another one in the system's file: remove it here")]
    SystemAnchor(String),
    /// A requirement that cannot be met.
    #[error("statement for \"{scope}\": {threshold} signers of {from} anchors named, which cannot be")]
    Threshold {
        /// The statement's.
        scope: Scope,
        /// Asked for.
        threshold: u32,
        /// How many different anchors it names.
        from: usize,
    },
    /// No signature, and no TUF either.
    #[error(
        "statement for \"{0}\": \"signatures\": false stands without \"tuf\": true: nothing would be required"
    )]
    NothingRequired(Scope),
    /// Rescissions that would never come.
    #[error("anchor {id}: its rescissions come from {collection}, for which there is no TUF anchor")]
    Rescissions {
        /// The anchor.
        id: String,
        /// The collection.
        collection: CollectionName,
    },
    /// What only the system's file has.
    #[error("\"locked\" is for the system's file")]
    Locked,
    /// A listing without reason.
    #[error("an entry of \"{0}\" needs a reason")]
    ListingReason(&'static str),
    /// A denial that says `unsigned`.
    #[error("an entry of \"deny\" has no \"unsigned\"")]
    DenyUnsigned,
    /// An entry about everything.
    #[error("an entry of \"allow\" names neither a digest nor a tag: list bundles one by one")]
    AllowAll,
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
    #[error("statement for \"{scope}\": {waiver} needs a reason")]
    NoReason {
        /// The statement's.
        scope: Scope,
        /// What it waives.
        waiver: &'static str,
    },
    /// A waiver for everything.
    #[error(
        "statement for \"*\": maxStaleness is not for everything; name a registry, a prefix or a repository"
    )]
    AnyStaleness,
    /// Too many attestations, or too many members of one.
    #[error("statement for \"{0}\": more attestations, or members to match, than are looked at")]
    Attestations(Scope),
    /// Two statements for one scope.
    #[error("two statements for \"{0}\"")]
    TwoStatements(Scope),
}

impl TrustFile {
    /// Read the file's bytes.
    ///
    /// # Errors
    /// Malformed, another schema version, or a rule of anchors, statements and lists broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        json::parse(bytes).map_err(|e| TrustError::Malformed(e.to_string()))?;
        // The second pass names line and column of what does not fit.
        let raw: RawFile = serde_json::from_slice(bytes).map_err(|e| TrustError::Malformed(e.to_string()))?;
        if !(1..=SCHEMA_VERSION).contains(&raw.schema_version) {
            return Err(TrustError::SchemaVersion(raw.schema_version));
        }
        let mut file = Self {
            statements: raw.statements,
            allow: raw.allow,
            deny: raw.deny,
            acknowledged: raw.acknowledged,
            locked: raw.locked,
            ..Self::default()
        };
        for (index, value) in raw.anchors.into_iter().enumerate() {
            let bad = |e: serde_json::Error| TrustError::Anchor { index, reason: e.to_string() };
            if value["kind"] == "tuf" {
                file.anchors.push(serde_json::from_value(value).map_err(bad)?);
            } else {
                file.signers.push(serde_json::from_value(value).map_err(bad)?);
            }
        }
        if let Some(newer) = file.needs_new_schema().filter(|_| raw.schema_version < SCHEMA_VERSION) {
            return Err(TrustError::Newer(newer));
        }
        file.check()?;
        Ok(file)
    }

    /// The file's bytes, readable, with a final newline; of the first schema version where it needs no other.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// The same with a name to call it by, on everything that it says.
    #[must_use]
    pub fn named(mut self, file: &str, level: Level) -> Self {
        let level = match level {
            Level::System { .. } => Level::System { locked: self.locked },
            Level::User => Level::User,
        };
        self.origin = Origin { file: file.to_owned(), level };
        self.signers.iter_mut().for_each(|a| a.origin = self.origin.clone());
        self.statements.iter_mut().for_each(|s| s.origin = self.origin.clone());
        self.allow.iter_mut().chain(&mut self.deny).for_each(|l| l.origin = self.origin.clone());
        self
    }

    /// The same under a system's file.
    ///
    /// # Errors
    /// An anchor has the name of another one of the system's.
    pub fn under(mut self, system: Self) -> Result<Self, TrustError> {
        let ids = system.anchors.iter().map(|a| &a.id).chain(system.signers.iter().map(|a| &a.id));
        let theirs: BTreeSet<&AnchorId> = ids.collect();
        // What the system says as well it says for both.
        self.anchors.retain(|a| !system.anchors.contains(a));
        self.signers.retain(|a| !system.signers.iter().any(|b| a.says_the_same(b)));
        let mut own = self.anchors.iter().map(|a| &a.id).chain(self.signers.iter().map(|a| &a.id));
        if let Some(id) = own.find(|id| theirs.contains(id)) {
            return Err(TrustError::SystemAnchor(id.as_str().to_owned()));
        }
        self.system = Some(Box::new(system));
        Ok(self)
    }

    /// What can be told only of all files together: rescissions come from a collection that is anchored.
    ///
    /// # Errors
    /// The first anchor whose rescissions would never come.
    pub fn whole(self) -> Result<Self, TrustError> {
        let files = || std::iter::once(&self).chain(self.system.as_deref());
        for anchor in files().flat_map(|f| &f.signers) {
            let Some(collection) = anchor.rescissions.collection() else { continue };
            if !files().flat_map(|f| &f.anchors).any(|a| a.collection == *collection) {
                let (id, collection) = (anchor.id.as_str().to_owned(), collection.clone());
                return Err(TrustError::Rescissions { id, collection });
            }
        }
        Ok(self)
    }

    /// Every TUF anchor, the system's too.
    pub fn all_anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().chain(self.system.iter().flat_map(|s| &s.anchors))
    }

    /// The system's file, where there is one.
    pub fn system(&self) -> Option<&Self> {
        self.system.as_deref()
    }

    /// Which file it is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Every collection that any anchor rests on, with the root that is trusted for it.
    pub fn collections(&self) -> impl Iterator<Item = (CollectionName, PinnedRoot)> {
        let system = self.system.iter().flat_map(|s| &s.anchors);
        self.anchors.iter().chain(system).flat_map(|anchor| {
            let own = (anchor.collection.clone(), anchor.root.clone());
            let more = anchor.sources().into_iter().map(|s| (s.collection, s.root));
            std::iter::once(own.clone()).chain(more.filter(move |pair| *pair != own).collect::<Vec<_>>())
        })
    }

    /// The TUF anchors that cover a subject: those for the repository itself, which add up; where there are none, the organisations'
    /// with the longest prefix. Where a locked system file has any, or demands TUF, its own alone.
    pub fn covering<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a Anchor> {
        let system = self.system.as_deref();
        let above = system.map(|s| &s.anchors[..]).unwrap_or_default();
        let alone = system.is_some_and(|s| {
            s.locked && (above.iter().any(|a| a.scope.covers(subject)) || s.states_tuf(subject))
        });
        let own = if alone { &[] } else { &self.anchors[..] };
        narrowest(above.iter().chain(own), subject)
    }

    /// The same of this file alone.
    pub(super) fn own_covering<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a Anchor> {
        narrowest(self.anchors.iter(), subject)
    }

    /// What needs the second version of the schema.
    fn needs_new_schema(&self) -> Option<&'static str> {
        let newer = |s: &Statement| {
            s.require.is_some() || s.checks != Checked::default() || s.imported_from.is_some()
        };
        if !self.signers.is_empty() {
            Some("an anchor of signatures")
        } else if self.locked {
            Some("\"locked\"")
        } else if !(self.allow.is_empty() && self.deny.is_empty()) {
            Some("a list of bundles")
        } else if self.statements.iter().any(newer) {
            Some("what a statement says of signatures")
        } else {
            None
        }
    }

    fn check(&self) -> Result<(), TrustError> {
        self.anchors.iter().try_for_each(Anchor::check)?;
        let mut ids: BTreeSet<&AnchorId> = self.signers.iter().map(|a| &a.id).collect();
        if ids.len() < self.signers.len() {
            let twice = self.signers.iter().enumerate();
            let twice = twice.filter(|(i, a)| self.signers[..*i].iter().any(|b| b.id == a.id));
            let name = twice.map(|(_, a)| a.id.as_str().to_owned()).next().unwrap_or_default();
            return Err(TrustError::TwoAnchors(name));
        }
        if let Some(anchor) = self.anchors.iter().find(|a| ids.contains(&a.id)) {
            return Err(TrustError::TwoAnchors(anchor.id.as_str().to_owned()));
        }
        ids.clear();
        for (i, s) in self.statements.iter().enumerate() {
            if s.max_staleness.is_some() && s.scope == Scope::Any {
                return Err(TrustError::AnyStaleness);
            }
            if let Some(waiver) = s.waivers().first().filter(|_| blank(s.reason.as_deref())) {
                return Err(TrustError::NoReason { scope: s.scope.clone(), waiver });
            }
            let require = s.require.clone().unwrap_or_default();
            if matches!(require.signatures, Some(AskedSignatures::None(_))) && require.tuf != Some(true) {
                return Err(TrustError::NothingRequired(s.scope.clone()));
            }
            if let Some(AskedSignatures::Some(asked)) = &require.signatures {
                let from: BTreeSet<&AnchorId> = asked.from.iter().collect();
                if !asked.from.is_empty() && from.len() < asked.threshold.get() as usize {
                    let (threshold, from) = (asked.threshold.get(), from.len());
                    return Err(TrustError::Threshold { scope: s.scope.clone(), threshold, from });
                }
            }
            let attestations = require.attestations.as_deref().unwrap_or_default();
            if attestations.len() > MAX_ATTESTATIONS || !attestations.iter().all(|a| few(&a.fields)) {
                return Err(TrustError::Attestations(s.scope.clone()));
            }
            for asked in attestations {
                let from: BTreeSet<&AnchorId> = asked.from.iter().collect();
                if !asked.from.is_empty() && from.len() < asked.threshold.get() as usize {
                    let (threshold, from) = (asked.threshold.get(), from.len());
                    return Err(TrustError::Threshold { scope: s.scope.clone(), threshold, from });
                }
            }
            if self.statements[..i].iter().any(|o| o.scope.is_same(&s.scope)) {
                return Err(TrustError::TwoStatements(s.scope.clone()));
            }
        }
        for (name, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            if list.iter().any(|l| blank(Some(&l.reason))) {
                return Err(TrustError::ListingReason(name));
            }
        }
        if self.deny.iter().any(|l| l.unsigned) {
            return Err(TrustError::DenyUnsigned);
        }
        if self.allow.iter().any(|l| l.digest.is_none() && !matches!(l.scope, Scope::Tag(..))) {
            return Err(TrustError::AllowAll);
        }
        Ok(())
    }
}

impl Serialize for TrustFile {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let tuf = self.anchors.iter().map(serde_json::to_value);
        let anchors = tuf.chain(self.signers.iter().map(serde_json::to_value));
        RawFile {
            schema_version: if self.needs_new_schema().is_some() { SCHEMA_VERSION } else { 1 },
            locked: self.locked,
            anchors: anchors.collect::<Result<_, _>>().map_err(S::Error::custom)?,
            statements: self.statements.clone(),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            acknowledged: self.acknowledged.clone(),
        }
        .serialize(s)
    }
}

fn narrowest<'a>(
    anchors: impl Iterator<Item = &'a Anchor> + Clone,
    subject: &'a Subject,
) -> impl Iterator<Item = &'a Anchor> {
    let reach = anchors.clone().filter(|a| a.scope.covers(subject)).map(Anchor::reach).max();
    anchors.filter(move |a| a.scope.covers(subject) && Some(a.reach()) == reach)
}

fn blank(text: Option<&str>) -> bool {
    text.is_none_or(|t| t.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

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
            ..Statement::of("ex.com/org/app".parse().unwrap())
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
        assert!(matches!(broken(|f| f.statements[0].reason = None), TrustError::NoReason { .. }));
        assert!(matches!(broken(|f| f.statements[0].scope = Scope::Any), TrustError::AnyStaleness));
        assert!(matches!(broken(|f| f.anchors[0].scope = Scope::Any), TrustError::AnchorScope(_)));
        let text = |v: &str| {
            String::from_utf8(file().to_bytes())
                .unwrap()
                .replace("\"schemaVersion\": 1", &format!("\"schemaVersion\": {v}"))
        };
        assert_eq!(TrustFile::parse(text("2").as_bytes()), Ok(file()));
        for v in [0, 3] {
            assert_eq!(TrustFile::parse(text(&v.to_string()).as_bytes()), Err(TrustError::SchemaVersion(v)));
        }
        let locked = text("1, \"locked\": true");
        assert!(matches!(TrustFile::parse(locked.as_bytes()), Err(TrustError::Newer(_))));
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
                    Err(TrustError::Malformed(_) | TrustError::Anchor { index: 0, .. })
                ),
                "{from}"
            );
        }
    }
}
