//! Granting and taking back delegations: a pure edit of a targets file's `delegations`, which keeps what bulla does not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::delegation::{PathPattern, read_delegations};
use super::{CollectionName, Delegation, Fault, Paths, RoleKeys, RoleName, Signers};
use crate::sig::{KeyId, PublicKey};
use crate::time::UnixTime;

/// Longest text that a person may leave in signed metadata, characters.
pub const MAX_TEXT: usize = 1_000;
/// Most delegations of one role.
pub const MAX_DELEGATIONS: usize = 128;

/// `x-bulla` of a delegation: since when, for how long its files are valid at most, and who looked at whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When it was granted.
    pub at: UnixTime,
    /// Longest life of the role's files, seconds.
    pub lifetime: u64,
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
    /// No key, or a threshold that they cannot meet.
    #[error("a threshold of {threshold} with {keys} distinct keys")]
    Threshold {
        /// As asked for.
        threshold: u32,
        /// Distinct keys given.
        keys: usize,
    },
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
    /// What is delegated already cannot be read.
    #[error("the delegations that are there: {0}")]
    Unreadable(String),
    /// Too many.
    #[error("more than {MAX_DELEGATIONS} delegations")]
    TooMany,
    /// There is no such delegation.
    #[error("{delegator} does not delegate to {role}")]
    Absent {
        /// The role that would delegate.
        delegator: RoleName,
        /// The role.
        role: RoleName,
    },
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
    #[error("{0}: 1 to {MAX_TEXT} characters, no control characters")]
    Text(&'static str),
}

/// The role that delegates, as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Delegator<'a> {
    /// Its name.
    pub role: &'a RoleName,
    /// What it may speak for; top-level targets for everything.
    pub paths: Option<&'a Paths>,
    /// Keys that may sign it.
    pub keys: &'a RoleKeys,
    /// Its `delegations`; null for none.
    pub delegations: &'a Value,
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
    let legal =
        !text.trim().is_empty() && text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control);
    if legal { Ok(()) } else { Err(GrantError::Text(what)) }
}

/// `delegations` of the delegator with one more role, at the end. `taken` are the names that a state lists.
///
/// # Errors
/// It may not be granted.
pub fn grant(
    delegator: Delegator<'_>,
    grant: &Grant,
    taken: impl Fn(&RoleName) -> bool,
) -> Result<Value, GrantError> {
    let siblings = delegations(delegator.delegations)?;
    check_signers(delegator, &grant.signers)?;
    if grant.paths.is_empty() {
        return Err(GrantError::Nothing);
    }
    if taken(&grant.role) || grant.role.is_top_level() || siblings.iter().any(|d| d.name == grant.role) {
        return Err(GrantError::Taken(grant.role.clone()));
    }
    if siblings.len() >= MAX_DELEGATIONS {
        return Err(GrantError::TooMany);
    }
    for pattern in &grant.paths {
        check_scope(delegator, &siblings, pattern)?;
    }
    if let Some(v) = &grant.terms.vetting {
        check_text("the identity", &v.identity)?;
        check_text("who vetted", &v.vetted_by)?;
        check_text("the note", &v.note)?;
    }
    let (mut keys, mut roles) = parts(delegator.delegations);
    let distinct: BTreeMap<KeyId, Value> =
        grant.signers.keys.iter().map(|k| (k.key_id(), k.to_tuf())).collect();
    let ids: Vec<&KeyId> = distinct.keys().collect();
    roles.push(json!({
        "name": grant.role,
        "keyids": ids,
        "threshold": grant.signers.threshold,
        "terminating": grant.terminating,
        "paths": grant.paths.iter().map(PathPattern::as_str).collect::<Vec<_>>(),
        "x-bulla": grant.terms,
    }));
    for (id, key) in distinct {
        keys.entry(id.to_string()).or_insert(key);
    }
    Ok(joined(delegator.delegations, keys, roles))
}

/// `delegations` of the delegator without a role, and without the keys that only this role named.
///
/// # Errors
/// There is no such delegation, or it may not go.
pub fn take_back(delegator: Delegator<'_>, role: &RoleName) -> Result<Value, GrantError> {
    if *role == RoleName::releases() || *role == RoleName::revocations() {
        return Err(GrantError::Needed(role.clone()));
    }
    let (mut keys, mut roles) = parts(delegator.delegations);
    let before = roles.len();
    roles.retain(|r| r["name"] != role.as_str());
    if roles.len() == before {
        return Err(GrantError::Absent { delegator: delegator.role.clone(), role: role.clone() });
    }
    let used = |id: &str| {
        roles
            .iter()
            .any(|r| r["keyids"].as_array().is_some_and(|ids| ids.iter().any(|i| i.as_str() == Some(id))))
    };
    keys.retain(|id, _| used(id));
    Ok(joined(delegator.delegations, keys, roles))
}

fn check_signers(delegator: Delegator<'_>, signers: &Signers) -> Result<(), GrantError> {
    let distinct: BTreeSet<_> = signers.keys.iter().collect();
    if signers.threshold == 0 || signers.threshold as usize > distinct.len() {
        return Err(GrantError::Threshold { threshold: signers.threshold, keys: distinct.len() });
    }
    // A targets file does not name its role: under a shared key a file of the one could stand in for the other's.
    let own = |k: &&PublicKey| delegator.keys.keys.values().flatten().any(|own| own == *k);
    match distinct.into_iter().find(own) {
        Some(key) => Err(GrantError::OwnKey { key: key.key_id(), delegator: delegator.role.clone() }),
        None => Ok(()),
    }
}

/// Under a delegated role: within its own scope, and apart from every sibling. Under top-level targets: behind the terminating
/// roles and wholly within what they speak for, so that no search reaches it but one that names it (docs/adr/0010).
fn check_scope(
    delegator: Delegator<'_>,
    siblings: &[Delegation],
    pattern: &PathPattern,
) -> Result<(), GrantError> {
    let Some(paths) = delegator.paths else {
        let hidden = siblings.iter().any(|d| d.terminating && d.paths.include(pattern));
        let known = siblings.iter().find(|d| d.name == RoleName::revocations());
        let theirs = known.and_then(|d| Some((d.name.clone(), d.paths.may_overlap(pattern)?)));
        return match theirs {
            Some((sibling, theirs)) => {
                Err(GrantError::Overlap { pattern: pattern.to_string(), sibling, theirs })
            }
            None if hidden => Ok(()),
            None => Err(GrantError::Reached(pattern.to_string())),
        };
    };
    if !paths.include(pattern) {
        let delegator = delegator.role.clone();
        return Err(GrantError::NotOurs { delegator, pattern: pattern.to_string() });
    }
    for sibling in siblings {
        if let Some(theirs) = sibling.paths.may_overlap(pattern) {
            let (pattern, sibling) = (pattern.to_string(), sibling.name.clone());
            return Err(GrantError::Overlap { pattern, sibling, theirs });
        }
    }
    Ok(())
}

/// The delegations of a targets file, from its untyped value.
fn delegations(value: &Value) -> Result<Vec<Delegation>, GrantError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let mut faulty = None;
    let read = read_delegations(value, &mut faulty).and_then(|read| faulty.map_or(Ok(read), Err));
    read.map_err(|fault| GrantError::Unreadable(fault.to_string()))
}

fn parts(delegations: &Value) -> (Map<String, Value>, Vec<Value>) {
    let keys = delegations["keys"].as_object().cloned().unwrap_or_default();
    let roles = delegations["roles"].as_array().cloned().unwrap_or_default();
    (keys, roles)
}

fn joined(delegations: &Value, keys: Map<String, Value>, roles: Vec<Value>) -> Value {
    let mut out = delegations.as_object().cloned().unwrap_or_default();
    out.insert("keys".into(), Value::Object(keys));
    out.insert("roles".into(), Value::Array(roles));
    Value::Object(out)
}

#[cfg(test)]
mod tests;
