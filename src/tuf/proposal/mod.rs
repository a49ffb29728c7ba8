//! Proposals: everything that changes who may sign what, as finished drafts that people on several machines sign.
//!
//! A [`Proposal`] holds the next versions of root and targets roles, unsigned or signed by some, the version and hash of each
//! file that they replace, target files that come along, and (for machines without network) the published files. It is
//! untrusted: whoever signs reads the [`Difference`] between what is published and the very bytes that are signed.
//!
//! The data flow:
//!
//! ```text
//! Base (published, verified) + [Edit]  -> Proposal::new         drafts: next versions, unknown members survive
//! proposal.check_rules(&base)          -> GrantError            what may be delegated, whatever way it was drafted
//! Proposal::parse / to_bytes                                    strict, bounded; deterministic
//! proposal.check_base(&base)           -> Stale                 nothing is installed over a file that moved on
//! proposal.difference(&base)           -> Difference            every member that changed, of the bytes that are signed
//! proposal.signers(&base)              -> [Needed]              per draft and key set: threshold, who signed, who is missing
//! proposal.message(&role)              -> bytes to sign;  proposal.sign(role, key id, signature) adds what was signed
//! merge(copies, &base)                 -> Merged                union of verified signatures over identical drafts
//! proposal.complete(&base)             -> Group                 the signed files, once old and new thresholds hold
//! install(&base, &group)               -> Installed             judged top-down under the delegators that the group creates
//! ```
//!
//! [`Base`] is made of a verified state: `client::whole::Whole::base`. A role's keys are edited where they are named: those of the four
//! top-level roles in the root, those of a delegated role in its delegators. A role whose file no longer verifies under
//! the new keys is drafted again, signed by the new ones. No edit drafts snapshot and timestamp: who commits signs them. Where that
//! takes several machines, the next ones travel as a proposal of their own, with the finished role files that they list
//! ([`Proposal::is_next_state`], docs/adr/0017).

mod base;
mod changes;
mod contents;
mod descent;
mod difference;
mod edit;
mod install;
mod leaves;
mod read;
mod rules;
mod sign;

#[cfg(test)]
mod tests;

pub use base::{Base, RoleAt, Seat};
pub use changes::{ChangesError, MAX_CHANGES, changes};
pub use contents::Contents;
pub use difference::{Difference, FileDifference, Item, ItemKind};
pub use edit::{Edit, EditError, Place};
pub use install::{Group, Installed, install};
pub use rules::sound;
pub use sign::{BadSignature, Incomplete, MergeError, Merged, Needed, SignedBy, merge};

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

pub use super::plain;
use super::{
    Ancestor, CollectionName, Draft, Extra, Files, Limits, RoleName, Root, Snapshot, Targets, Timestamp,
    TufError, Unverified, Version,
};
use crate::sig::KeyId;
use crate::time::UnixTime;

/// Largest proposal, bytes.
pub const MAX_BYTES: usize = 48 * 1024 * 1024;
/// Most drafts of one proposal.
pub const MAX_DRAFTS: usize = 256;
/// Most files that come along, and most published files that are carried.
pub const MAX_FILES: usize = 1_024;
/// Longest description, bytes.
pub const MAX_DESCRIPTION: usize = 4_096;
/// Longest name of who made it, bytes.
pub const MAX_BY: usize = 256;

/// A set of finished drafts on a named base.
#[derive(Debug, Clone)]
pub struct Proposal {
    collection: CollectionName,
    about: About,
    base: BTreeMap<RoleName, Ancestor>,
    drafts: BTreeMap<RoleName, Drafted>,
    files: BTreeMap<String, Bytes>,
    published: Files,
}

/// What a proposal says about itself: words, which nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Why, in its maker's words.
    pub description: String,
    /// Who made it, in their own words.
    pub by: String,
    /// When it was made.
    pub at: UnixTime,
}

/// The next version of one role, with the signatures so far.
#[derive(Debug, Clone)]
pub struct Drafted {
    draft: Draft,
    signatures: BTreeMap<KeyId, Vec<u8>>,
    content: Content,
}

/// What a draft says, unchecked.
#[derive(Debug, Clone)]
enum Content {
    Root(Box<Unverified<Root>>),
    Targets(Box<Unverified<Targets>>),
    Snapshot(Box<Unverified<Snapshot>>),
    Timestamp(Box<Unverified<Timestamp>>),
}

/// Whether who commits signs this role.
pub(super) fn is_online(role: &RoleName) -> bool {
    matches!(role.as_str(), "timestamp" | "snapshot")
}

/// Why bytes are no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Not strict JSON, or a member is missing, unknown or malformed.
    #[error("no proposal: {0}")]
    Format(String),
    /// A draft is no metadata of its role.
    #[error("the draft of {0}")]
    Draft(#[from] TufError),
}

/// The proposal does not stand on what is published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role}: the proposal stands on {}, published is {}", stated(.base.as_ref()), stated(.published.as_ref()))]
pub struct Stale {
    /// The role.
    pub role: RoleName,
    /// What the proposal stands on; none for a role that it creates.
    pub base: Option<Ancestor>,
    /// What is published.
    pub published: Option<Ancestor>,
}

fn stated(file: Option<&Ancestor>) -> String {
    file.map_or_else(
        || "no file".into(),
        |f| format!("version {} ({})", f.0, f.1.chars().take(12).collect::<String>()),
    )
}

impl Drafted {
    fn new(role: &RoleName, draft: Draft) -> Result<Self, TufError> {
        let bytes = draft.assemble(&BTreeMap::new());
        let limits = Limits::default();
        let limit = match role.as_str() {
            "root" => limits.root_bytes,
            "timestamp" => limits.timestamp_bytes,
            "snapshot" => limits.snapshot_bytes,
            _ => limits.targets_bytes,
        };
        let fail = |fault| TufError::new(role, fault);
        if bytes.len() as u64 > limit {
            return Err(fail(super::Fault::Size { limit, got: bytes.len() as u64 }));
        }
        let content = match role.as_str() {
            "root" => Content::Root(Box::new(Unverified::parse(role, &bytes, &limits)?)),
            "timestamp" => Content::Timestamp(Box::new(Unverified::parse(role, &bytes, &limits)?)),
            "snapshot" => Content::Snapshot(Box::new(Unverified::parse(role, &bytes, &limits)?)),
            _ => Content::Targets(Box::new(Unverified::parse(role, &bytes, &limits)?)),
        };
        Ok(Self { draft, signatures: BTreeMap::new(), content })
    }

    /// The untyped value that is signed.
    pub fn signed(&self) -> &Value {
        self.draft.signed()
    }

    /// The bytes that are signed.
    pub fn message(&self) -> Vec<u8> {
        self.draft.message()
    }

    /// Version.
    pub fn version(&self) -> Version {
        match &self.content {
            Content::Root(r) => r.claimed_version(),
            Content::Targets(t) => t.claimed_version(),
            Content::Snapshot(s) => s.claimed_version(),
            Content::Timestamp(t) => t.claimed_version(),
        }
    }

    /// Signatures by key id, unchecked.
    pub fn signatures(&self) -> &BTreeMap<KeyId, Vec<u8>> {
        &self.signatures
    }

    /// When it expires.
    pub fn expires(&self) -> UnixTime {
        match &self.content {
            Content::Root(r) => r.claimed_expires(),
            Content::Targets(t) => t.claimed_expires(),
            Content::Snapshot(s) => s.claimed_expires(),
            Content::Timestamp(t) => t.claimed_expires(),
        }
    }

    /// What the draft of a root says, unchecked.
    pub fn root(&self) -> Option<&Root> {
        match &self.content {
            Content::Root(r) => Some(r.claimed()),
            _ => None,
        }
    }

    /// `x-bulla`, where the draft has it, unchecked.
    pub fn extra(&self) -> Option<&Extra> {
        match &self.content {
            Content::Root(r) => r.claimed_extra(),
            Content::Targets(t) => t.claimed_extra(),
            Content::Snapshot(s) => s.claimed_extra(),
            Content::Timestamp(t) => t.claimed_extra(),
        }
    }

    /// What the draft of a targets role says, unchecked.
    pub fn targets(&self) -> Option<&Targets> {
        match &self.content {
            Content::Targets(t) => Some(t.claimed()),
            _ => None,
        }
    }

    fn collection(&self) -> Option<&str> {
        self.extra().map(|x| x.collection.as_str())
    }

    /// The file with the signatures so far, valid or not.
    pub fn so_far(&self) -> Bytes {
        self.file(&self.signatures)
    }

    /// The file, with these signatures.
    fn file(&self, signatures: &BTreeMap<KeyId, Vec<u8>>) -> Bytes {
        self.draft.assemble(signatures)
    }
}

impl Proposal {
    /// The drafts that `edits` come to, on what is published.
    ///
    /// # Errors
    /// An edit that cannot be made, or that changes nothing.
    pub fn new(base: &Base, edits: &[Edit], about: About) -> Result<Self, EditError> {
        let (drafts, files) = edit::draft(base, edits, about.at)?;
        let proposal = Self::of(base, drafts, files, about)?;
        proposal.check_rules(base)?;
        proposal.check_apart(base)?;
        Ok(proposal)
    }

    /// A proposal of drafts that were made by other means: the first files of a collection, say.
    ///
    /// # Errors
    /// A draft that is no metadata of its role.
    pub fn of(
        base: &Base,
        drafts: BTreeMap<RoleName, Draft>,
        files: BTreeMap<String, Bytes>,
        about: About,
    ) -> Result<Self, EditError> {
        for (what, text, limit) in
            [("the description", &about.description, MAX_DESCRIPTION), ("who proposes", &about.by, MAX_BY)]
        {
            if text.len() > limit {
                return Err(EditError::Words { what, limit });
            }
        }
        let mut stands_on: BTreeMap<RoleName, Ancestor> = BTreeMap::new();
        for role in drafts.keys().chain([&RoleName::root()]) {
            stands_on.extend(base.file(role).map(|file| (role.clone(), file)));
        }
        let drafts: Result<BTreeMap<_, _>, TufError> =
            drafts.into_iter().map(|(role, draft)| Drafted::new(&role, draft).map(|d| (role, d))).collect();
        let published = Files::new();
        Ok(Self {
            collection: base.collection().clone(),
            about,
            base: stands_on,
            drafts: drafts?,
            files,
            published,
        })
    }

    /// The collection that it claims to be for.
    pub fn collection(&self) -> &CollectionName {
        &self.collection
    }

    /// What it says about itself, unchecked.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Version and SHA-256 of the files that it stands on.
    pub fn base(&self) -> &BTreeMap<RoleName, Ancestor> {
        &self.base
    }

    /// The drafts.
    pub fn drafts(&self) -> &BTreeMap<RoleName, Drafted> {
        &self.drafts
    }

    /// Target files that come along, by path, unchecked.
    pub fn files(&self) -> &BTreeMap<String, Bytes> {
        &self.files
    }

    /// The published files that it carries for machines without network, unchecked.
    pub fn published(&self) -> &Files {
        &self.published
    }

    /// The same, carrying the published files.
    #[must_use]
    pub fn carrying(mut self, published: Files) -> Self {
        self.published = published;
        self
    }

    /// Whether it is the next snapshot and timestamp, and beside them what else is finished and new: who signs these roles signs
    /// nothing else of it. No edits come to one.
    pub fn is_next_state(&self) -> bool {
        self.drafts.keys().any(is_online)
    }

    /// Whether somebody is to sign this draft: in a next state, snapshot and timestamp alone.
    pub fn awaits(&self, role: &RoleName) -> bool {
        !self.is_next_state() || is_online(role)
    }

    /// The bytes to sign for a role.
    pub fn message(&self, role: &RoleName) -> Option<Vec<u8>> {
        self.drafts.get(role).map(Drafted::message)
    }

    /// Add a signature over [`Proposal::message`].
    pub fn sign(&mut self, role: &RoleName, key: KeyId, signature: Vec<u8>) {
        if let Some(draft) = self.drafts.get_mut(role) {
            draft.signatures.insert(key, signature);
        }
    }

    /// That every draft stands on what is published: nothing is installed over a file that moved on.
    ///
    /// # Errors
    /// The first role that moved on.
    pub fn check_base(&self, base: &Base) -> Result<(), Stale> {
        let root = RoleName::root();
        for role in self.drafts.keys().chain([&root]) {
            let (stands_on, published) = (self.base.get(role).cloned(), base.file(role));
            if stands_on != published {
                return Err(Stale { role: role.clone(), base: stands_on, published });
            }
        }
        Ok(())
    }
}
