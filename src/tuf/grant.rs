//! What is granted to a delegate, on which terms, and why it may not be. The rules themselves are in [`super::proposal`].

use serde::{Deserialize, Serialize};

use super::delegation::PathPattern;
use super::{CollectionName, Fault, RoleName, Signers, is_unseen};
use crate::sig::KeyId;
use crate::time::UnixTime;

/// Longest text that a person may leave in signed metadata, characters.
pub const MAX_TEXT: usize = 1_000;
/// Longest name of a person, characters.
pub const MAX_NAME: usize = 100;
/// Most delegations of one role.
pub const MAX_DELEGATIONS: usize = 128;

/// `x-bulla` of a delegation: since when, for how long its files are valid at most, and who looked at whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When it was granted.
    pub at: UnixTime,
    /// Longest life of the role's files, seconds.
    pub lifetime: u64,
    /// Whether the role may delegate a part of its scope.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delegates: bool,
    /// Who was let in, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vetting: Option<Vetting>,
}

/// Who was vetted, by whom, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vetting {
    /// Whom the asker said to be.
    pub identity: String,
    /// SHA-256 of the request, hex.
    pub request: String,
    /// Who vetted.
    pub vetted_by: String,
    /// How.
    pub note: String,
}

/// A role that shall be delegated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub role: RoleName,
    /// Its keys, each once, and threshold.
    pub signers: Signers,
    /// What it may speak for.
    pub paths: Vec<PathPattern>,
    /// Whether a search ends there.
    pub terminating: bool,
    /// On which terms.
    pub terms: Terms,
}

/// Why a delegation cannot be granted or taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// One of the delegator's own keys: whoever signs the scope could sign the delegator's file as well.
    #[error("the key {key} signs {delegator} already")]
    OwnKey {
        /// The key.
        key: KeyId,
        /// The role that delegates.
        delegator: RoleName,
    },
    /// No scope.
    #[error("nothing is delegated")]
    Nothing,
    /// A name that is in use, or was.
    #[error("the name {0} is taken: a state lists a file of it")]
    Taken(RoleName),
    /// Not the delegator's to give.
    #[error("{delegator} may not speak for {pattern}")]
    NotOurs {
        /// The role that delegates.
        delegator: RoleName,
        /// The pattern.
        pattern: String,
    },
    /// Two roles would speak for one path.
    #[error("{pattern} overlaps {theirs}, which {sibling} speaks for")]
    Overlap {
        /// The pattern asked for.
        pattern: String,
        /// The role that is there.
        sibling: RoleName,
        /// Its pattern.
        theirs: String,
    },
    /// A role of top-level targets that searches would reach.
    #[error("{0}: a role beside targets/releases may only speak for what that role speaks for")]
    Reached(String),
    /// What is delegated, or demanded, cannot be read.
    #[error("the delegations that are there: {0}")]
    Unreadable(String),
    /// Too many.
    #[error("more than {MAX_DELEGATIONS} delegations")]
    TooMany,
    /// A name that does not say who delegates.
    #[error("{role} is no name below {delegator}, which would delegate to it")]
    Misplaced {
        /// The role that would delegate.
        delegator: RoleName,
        /// The role.
        role: RoleName,
    },
    /// The draft of a role that nobody delegates to once the proposal holds: no rule of its delegations could be judged.
    #[error("it holds a file of {0}, which nobody would delegate to")]
    Orphan(RoleName),
    /// It was given a scope, and not the right to give it on.
    #[error("it delegates, which {0} may not")]
    MayNot(RoleName),
    /// The collection demands the agreement of a role that nobody delegates to.
    #[error("{0} must agree on every bundle, and nobody delegates to it")]
    Demanded(RoleName),
    /// It holds the collection together.
    #[error("{0} cannot be taken back: every reader relies on it")]
    Needed(RoleName),
    /// A scope that cannot be read.
    #[error("\"{text}\" is no scope: {why}")]
    Scope {
        /// As typed.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A text that does not belong into metadata.
    #[error("{0}: 1 to {1} characters that can be seen")]
    Text(&'static str, usize),
}

impl CollectionName {
    /// What a scope means as path patterns: the collection's name stands for all its tags and digests, `dev-*` and `:dev-*` for
    /// tags, `@sha256:*` for digests, and whole patterns for themselves.
    ///
    /// # Errors
    /// It speaks of something else, or is malformed.
    pub fn scope(&self, text: &str) -> Result<Vec<PathPattern>, GrantError> {
        let bad = |why| GrantError::Scope { text: text.chars().take(200).collect(), why };
        let name = self.to_string();
        if text == name {
            return Ok(vec![pattern(&format!("{name}:*"))?, pattern(&format!("{name}@sha256:*"))?]);
        }
        let rest = match text.strip_prefix(&name) {
            Some(rest) if rest.starts_with([':', '@', '/']) => rest.to_owned(),
            _ if text.starts_with([':', '@']) => text.to_owned(),
            _ if text.contains('/') => return Err(bad("it names something outside of the collection")),
            _ => format!(":{text}"),
        };
        let legal = |s: &str, more: &str| {
            !s.is_empty()
                && s.chars().all(|c| c.is_ascii_alphanumeric() || "_.-*?".contains(c) || more.contains(c))
        };
        let fits = match rest.split_at(1) {
            (":", tag) => legal(tag, "") && tag.len() <= 128,
            ("@", digest) => digest.strip_prefix("sha256:").is_some_and(|hex| legal(hex, "")),
            (_, path) => legal(path, "/"),
        };
        if !fits {
            return Err(bad(
                "write a tag, a pattern of tags as in dev-*, @sha256:*, or the collection's name",
            ));
        }
        Ok(vec![pattern(&format!("{name}{rest}"))?])
    }
}

fn pattern(text: &str) -> Result<PathPattern, GrantError> {
    let bad = |_: Fault| GrantError::Scope {
        text: text.chars().take(200).collect(),
        why: "brackets and backslashes are not taken",
    };
    PathPattern::parse(text).map_err(bad)
}

/// That a text may stand in signed metadata and on terminals.
///
/// # Errors
/// Empty, too long, or with control characters.
pub fn check_text(what: &'static str, text: &str) -> Result<(), GrantError> {
    check_length(what, text, MAX_TEXT)
}

/// The same for the name of a person: it stands in a line of its own, and must not fill the lines around it.
///
/// # Errors
/// As [`check_text`].
pub fn check_name(what: &'static str, text: &str) -> Result<(), GrantError> {
    check_length(what, text, MAX_NAME)
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), GrantError> {
    let legal = !text.trim().is_empty() && text.chars().count() <= limit && !text.chars().any(is_unseen);
    if legal { Ok(()) } else { Err(GrantError::Text(what, limit)) }
}

/// The name of a role under another: `dev` under `targets/releases` is `targets/releases/dev`.
///
/// # Errors
/// It lies elsewhere, or its last part is no name.
pub fn role_under(by: &RoleName, name: &str) -> Result<RoleName, GrantError> {
    let bad = || GrantError::Scope {
        text: name.chars().take(200).collect(),
        why: "a role's name is 1 to 64 of a-z A-Z 0-9 . _ -, below the role that delegates to it",
    };
    let last = name.strip_prefix(&format!("{by}/")).unwrap_or(name);
    let legal = (1..=64).contains(&last.len())
        && !last.starts_with(['.', '-'])
        && last.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !legal {
        return Err(bad());
    }
    format!("{by}/{last}").parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests;
