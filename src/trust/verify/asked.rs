//! What is asked of a verification, what it asks for, and what it is told.

use std::collections::BTreeSet;

#[allow(unused_imports, reason = "named in the documentation")]
use super::Verification;
use crate::oci::{Descriptor, Digest};
use crate::time::UnixTime;
use crate::trust::anchor::Anchor;
use crate::trust::cnab::{CnabAnswer, CnabFiles, CnabIndex, CnabIndexError};
use crate::trust::policy::Statement;
use crate::trust::report::{Check, Report};
use crate::trust::rule::{Checks, Required, Rule};
use crate::trust::scope::Subject;
use crate::trust::signatures::SignaturesAnswer;
use crate::tuf::{Files, Limits, Remembered};

/// Most seals that are read for one bundle.
pub const MAX_SEALS: usize = 32;

/// What is asked, with everything that is known before anything is fetched.
#[derive(Debug, Clone)]
pub struct Question {
    /// The reference as typed, for the report.
    pub reference: String,
    /// What holds for the name and tag it is judged under.
    pub rule: Rule,
    /// The digest asked for, if one was typed: then it decides, and the tag only gives notes.
    pub digest: Option<Digest>,
    /// TUF anchors of the collections whose revocation lists the anchors of signatures go by.
    pub rescinders: Vec<Anchor>,
    /// Ids of the collections' advisories that were acknowledged here.
    pub acknowledged: BTreeSet<String>,
    /// The one time of the whole verification.
    pub now: UnixTime,
    /// Whether that time was set by hand.
    pub clock_override: bool,
    /// Checks that are known beforehand, such as places that are not asked offline.
    pub notes: Vec<Check>,
    /// Files of the caller that must belong to the CNAB bundle that it is.
    pub files: CnabFiles,
    /// Bounds.
    pub limits: Limits,
}

/// What the machine wants next.
#[derive(Debug, Clone)]
pub enum Step {
    /// All of these, side by side; answered in the same order.
    Need(Vec<Want>),
    /// Remember this for the source with this number before going on.
    Save {
        /// Its number; see [`Verification::source`].
        source: usize,
        /// What to remember.
        remembered: Remembered,
    },
    /// Done.
    Done(Box<Report>),
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Resolve the reference.
    Bundle,
    /// The live state of a source's collection, from the places it may lie at.
    State {
        /// Its number; see [`Verification::source`].
        source: usize,
    },
    /// Every chain that is remembered of the collection of a source that an organisation named.
    Memory {
        /// Its number; see [`Verification::source`].
        source: usize,
    },
    /// The seals on the bundle, at most [`MAX_SEALS`].
    Seals {
        /// The bundle.
        subject: Descriptor,
    },
    /// The parts of a CNAB bundle.
    Cnab {
        /// Its index, and what it names.
        bundle: Digest,
        /// Where they are named.
        index: Box<CnabIndex>,
    },
    /// Some more of the signatures on the bundle.
    Signatures {
        /// The bundle.
        digest: Digest,
        /// Thumbprints of the trusted certificates, in hex: what names them is looked at first.
        thumbprints: BTreeSet<String>,
        /// Whether to begin from the beginning: nothing that was read before is known any more.
        anew: bool,
    },
    /// Some more of the attestations on the bundle.
    Attestations {
        /// The bundle.
        digest: Digest,
        /// Types of their predicates: what names them is looked at first.
        types: BTreeSet<String>,
        /// Whether to begin from the beginning: nothing that was read before is known any more.
        anew: bool,
    },
}

/// What was fetched.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Want::Bundle`].
    Bundle(BundleAnswer),
    /// To [`Want::State`].
    State(StateAnswer),
    /// To [`Want::Memory`].
    Memory(Vec<Remembered>),
    /// To [`Want::Seals`].
    Seals(SealsAnswer),
    /// To [`Want::Cnab`].
    Cnab(CnabAnswer),
    /// To [`Want::Signatures`].
    Signatures(SignaturesAnswer),
    /// To [`Want::Attestations`].
    Attestations(SignaturesAnswer),
}

/// What the reference resolved to.
#[derive(Debug, Clone)]
pub enum BundleAnswer {
    /// A manifest or index; `unreadable` says why it could not be read as exactly one of them.
    Found {
        /// Type as served, digest, size.
        bundle: Descriptor,
        /// Of an index: the manifests that it lists.
        parts: Vec<Digest>,
        /// Why it is no manifest, or an ambiguous one.
        unreadable: Option<String>,
        /// Of an index that calls itself one of a CNAB bundle: its parts, or why it is none.
        cnab: Option<Result<CnabIndex, CnabIndexError>>,
    },
    /// The place says that it is not there.
    Absent,
    /// The bytes are not what the digest names.
    WrongContent(String),
    /// It could not be looked at.
    Failed(String),
}

/// What lies at the state's tag.
#[derive(Debug, Clone)]
pub enum StateAnswer {
    /// Files, unchecked.
    Found(Files),
    /// Every place says that there is none.
    Absent,
    /// Something lies there that is no state.
    Invalid(String),
    /// A place could not be asked.
    Unreadable(String),
}

/// The seals on a bundle.
#[derive(Debug, Clone)]
pub enum SealsAnswer {
    /// Those that were read (files, or why a seal is none), and whether there are more than were read.
    Read {
        /// One an artifact.
        seals: Vec<Result<Files, String>>,
        /// Whether the cap cut the list.
        more: bool,
    },
    /// They could not be listed or read.
    Unreadable(String),
}

impl StateAnswer {
    pub(super) fn files(&self) -> Option<&Files> {
        match self {
            Self::Found(files) => Some(files),
            _ => None,
        }
    }
}

impl Rule {
    /// Where nothing but these TUF anchors is known of a subject: one of them must vouch.
    pub fn of_tuf(subject: Subject, tuf: Vec<Anchor>, statement: Option<Statement>) -> Self {
        Self {
            subject,
            tuf,
            signers: Vec::new(),
            statement,
            required: Required { tuf: true, ..Required::default() },
            checks: Checks::default(),
            deny: Vec::new(),
            allow: Vec::new(),
        }
    }
}
