//! A list of changes as one JSON document (docs/formats.md "Changes"): what `bulla tuf propose --from-file` reads, strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{Edit, MAX_BYTES, Place};
use crate::sig::{KeyId, PublicKey, json as strict};
use crate::time::UnixTime;
use crate::tuf::grant::{Grant, GrantError, Terms, Vetting};
use crate::tuf::{Agreement, CollectionName, Fault, PathPattern, Paths, RoleName, Signers};

const SCHEMA_VERSION: u64 = 1;
/// Most changes of one document.
pub const MAX_CHANGES: usize = 1_024;
/// Longest life of a role file, seconds: a hundred years.
const MAX_LIFE: u32 = 3_155_760_000;

/// Why bytes are no list of changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Not strict JSON, or a member is missing, unknown or malformed.
    #[error("{0}")]
    Format(String),
    /// A change by its number, from 1.
    #[error("change {0}: {1}")]
    Change(usize, String),
    /// It is for another collection.
    #[error("it is for {0}")]
    Collection(CollectionName),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    schema_version: u64,
    collection: CollectionName,
    changes: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Raw {
    AddKey {
        role: RoleName,
        key: String,
    },
    RemoveKey {
        role: RoleName,
        key_id: KeyId,
    },
    Threshold {
        role: RoleName,
        threshold: u32,
    },
    Resign {
        role: RoleName,
        lifetime: Option<u32>,
    },
    Delegate {
        by: RoleName,
        role: RoleName,
        keys: Vec<String>,
        #[serde(default = "one")]
        threshold: u32,
        paths: Vec<String>,
        #[serde(default)]
        terminating: bool,
        #[serde(default)]
        place: RawPlace,
        #[serde(default = "ninety_days")]
        lifetime: u32,
        #[serde(default)]
        may_delegate: bool,
        vetting: Option<Vetting>,
    },
    Undelegate {
        by: RoleName,
        role: RoleName,
    },
    Scope {
        by: RoleName,
        role: RoleName,
        paths: Option<Vec<String>>,
        terminating: Option<bool>,
    },
    Order {
        by: RoleName,
        roles: Vec<RoleName>,
    },
    Start {
        role: RoleName,
    },
    Demand {
        min: u32,
        roles: Vec<RoleName>,
    },
    NoDemand {},
    SetTarget {
        role: RoleName,
        path: String,
        target: Value,
    },
    RemoveTarget {
        role: RoleName,
        path: String,
    },
    File {
        role: RoleName,
        path: String,
        base64: String,
        custom: Option<Value>,
    },
}

/// Where among the delegations.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum RawPlace {
    #[default]
    Last,
    First,
    Before(RoleName),
}

fn one() -> u32 {
    1
}

fn ninety_days() -> u32 {
    90 * 86_400
}

/// The edits that a document of whoever proposes asks for, in its order. Whether they may be made is judged when they are.
///
/// # Errors
/// See [`ChangesError`].
pub fn changes(bytes: &[u8], collection: &CollectionName, at: UnixTime) -> Result<Vec<Edit>, ChangesError> {
    let format = ChangesError::Format;
    if bytes.len() > MAX_BYTES {
        return Err(format(format!("{} bytes, at most {MAX_BYTES} are read", bytes.len())));
    }
    let value = strict::parse(bytes).map_err(|e| format(e.to_string()))?;
    let doc = Document::deserialize(value).map_err(|e| format(e.to_string()))?;
    if doc.schema_version != SCHEMA_VERSION {
        return Err(format(format!("schemaVersion {} is not {SCHEMA_VERSION}", doc.schema_version)));
    }
    if doc.collection != *collection {
        return Err(ChangesError::Collection(doc.collection));
    }
    if doc.changes.is_empty() || doc.changes.len() > MAX_CHANGES {
        return Err(format(format!("1 to {MAX_CHANGES} changes, not {}", doc.changes.len())));
    }
    let numbered = doc.changes.into_iter().enumerate();
    let read = |(i, value): (usize, Value)| {
        let fail = |why: String| ChangesError::Change(i + 1, why);
        let raw = Raw::deserialize(value).map_err(|e| fail(e.to_string()))?;
        raw.edit(collection, at).map_err(fail)
    };
    numbered.map(read).collect()
}

impl Raw {
    fn edit(self, collection: &CollectionName, at: UnixTime) -> Result<Edit, String> {
        Ok(match self {
            Self::AddKey { role, key } => Edit::AddKey { role, key: public(&key)? },
            Self::RemoveKey { role, key_id } => Edit::RemoveKey { role, key: key_id },
            Self::Threshold { role, threshold } => Edit::Threshold { role, threshold },
            Self::Resign { role, lifetime } => Edit::Resign { role, life: lifetime.map(life).transpose()? },
            Self::Delegate {
                by,
                role,
                keys,
                threshold,
                paths,
                terminating,
                place,
                lifetime,
                may_delegate,
                vetting,
            } => {
                let keys = keys.iter().map(|k| public(k)).collect::<Result<Vec<_>, _>>()?;
                let lifetime = life(lifetime)?.unsigned_abs();
                let terms = Terms { at, lifetime, delegates: may_delegate, vetting };
                let (paths, signers) = (scopes(collection, &paths)?, Signers { keys, threshold });
                let edit = Edit::grant(by, Grant { role, signers, paths, terminating, terms });
                edit.placed(match place {
                    RawPlace::Last => Place::Last,
                    RawPlace::First => Place::First,
                    RawPlace::Before(role) => Place::Before(role),
                })
            }
            Self::Undelegate { by, role } => Edit::Undelegate { by, role },
            Self::Scope { by, role, paths, terminating } => {
                let paths = paths.map(|p| scopes(collection, &p)).transpose()?.map(Paths::Patterns);
                Edit::Scope { by, role, paths, terminating }
            }
            Self::Order { by, roles } => Edit::Order { by, roles },
            Self::Start { role } => Edit::Start { role },
            Self::Demand { min, roles } => {
                Edit::Demand(Some(Agreement::new(min, roles).map_err(|e: Fault| e.to_string())?))
            }
            Self::NoDemand {} => Edit::Demand(None),
            Self::SetTarget { role, path, target } => {
                if !target.is_object() {
                    return Err("a target is an object of length, hashes and custom".into());
                }
                Edit::SetTarget { role, path, value: target }
            }
            Self::RemoveTarget { role, path } => Edit::RemoveTarget { role, path },
            Self::File { role, path, base64, custom } => {
                let bytes = STANDARD.decode(base64).map_err(|_| "the file is no base64".to_owned())?;
                Edit::File { role, path, bytes: Bytes::from(bytes), custom }
            }
        })
    }
}

fn public(pem: &str) -> Result<PublicKey, String> {
    PublicKey::from_pem(pem).map_err(|e| e.to_string())
}

fn scopes(collection: &CollectionName, texts: &[String]) -> Result<Vec<PathPattern>, String> {
    let read = texts.iter().map(|text| collection.scope(text)).collect::<Result<Vec<_>, GrantError>>();
    Ok(read.map_err(|e| e.to_string())?.into_iter().flatten().collect())
}

fn life(seconds: u32) -> Result<i64, String> {
    if (1..=MAX_LIFE).contains(&seconds) {
        Ok(i64::from(seconds))
    } else {
        Err(format!("a life of 1 to {MAX_LIFE} seconds"))
    }
}

#[cfg(test)]
mod tests;
