//! Authoring: a draft is an untyped `signed` value; its canonical bytes are signed elsewhere, and the file is put together here.
//! Fields that bulla does not know survive an edit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Delegation, Extra, FilePin, Metadata, Paths, RoleKeys, RoleName, Version};
use crate::oci::sorted_json;
use crate::sig::canonical::canonical;
use crate::sig::{KeyId, PublicKey};
use crate::time::UnixTime;

/// The version of the TUF specification that bulla writes.
const SPEC_VERSION: &str = "1.0.34";

/// An unsigned next version of a metadata file.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    signed: Value,
}

/// Keys and threshold of a role in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Public keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign; at least 1.
    pub threshold: u32,
}

/// Version, expiry and `x-bulla`: what every draft states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// Version.
    pub version: Version,
    /// Expiry.
    pub expires: UnixTime,
    /// `x-bulla`.
    pub extra: Extra,
}

impl Draft {
    /// A root that names the keys of the four top-level roles.
    pub fn root(heading: &Heading, roles: &BTreeMap<RoleName, Signers>) -> Self {
        let mut draft = Self::headed("root", heading);
        draft.signed["consistent_snapshot"] = json!(true);
        draft.signed["keys"] = keys_object(roles.values().flat_map(|s| &s.keys));
        let role = |s: &Signers| {
            let ids: BTreeSet<_> = s.keys.iter().map(PublicKey::key_id).collect();
            json!({"keyids": ids, "threshold": s.threshold})
        };
        draft.signed["roles"] = roles.iter().map(|(name, s)| (name.to_string(), role(s))).collect();
        draft
    }

    /// A timestamp that pins a snapshot.
    pub fn timestamp(heading: &Heading, snapshot: &FilePin) -> Self {
        let mut draft = Self::headed("timestamp", heading);
        draft.signed["meta"] = json!({"snapshot.json": snapshot.to_json()});
        draft
    }

    /// A snapshot that pins targets roles.
    pub fn snapshot(heading: &Heading, pins: &BTreeMap<RoleName, FilePin>) -> Self {
        let mut draft = Self::headed("snapshot", heading);
        draft.signed["meta"] = pins.iter().map(|(role, pin)| (role.meta_name(), pin.to_json())).collect();
        draft
    }

    /// A targets role, top-level or delegated.
    pub fn targets(heading: &Heading, targets: Map<String, Value>, delegations: &[Delegation]) -> Self {
        let mut draft = Self::headed("targets", heading);
        draft.signed["targets"] = Value::Object(targets);
        if !delegations.is_empty() {
            draft.signed["delegations"] = delegations_object(delegations);
        }
        draft
    }

    /// The next version of an existing file with everything else as it stands.
    pub fn next_of<R>(file: &Metadata<R>, heading: &Heading) -> Self {
        let mut draft = Self { signed: file.signed().clone() };
        draft.head(heading);
        draft
    }

    /// A draft from an untyped `signed` value, for changes that no constructor makes.
    pub fn from_signed(signed: Value) -> Self {
        Self { signed }
    }

    /// Edit the targets of a targets draft.
    pub fn edit_targets<T>(&mut self, edit: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
        let mut map = match self.signed["targets"].take() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let out = edit(&mut map);
        self.signed["targets"] = Value::Object(map);
        out
    }

    /// The untyped value.
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// The bytes to sign: the canonical form.
    pub fn message(&self) -> Vec<u8> {
        canonical(&self.signed)
    }

    /// The file, with its signatures sorted by key id.
    pub fn assemble(&self, signatures: &BTreeMap<KeyId, Vec<u8>>) -> Bytes {
        let list: Vec<_> =
            signatures.iter().map(|(id, sig)| json!({"keyid": id, "sig": hex::encode(sig)})).collect();
        sorted_json(&json!({"signed": self.signed, "signatures": list})).into()
    }

    fn headed(kind: &str, heading: &Heading) -> Self {
        let mut draft = Self { signed: json!({"_type": kind, "spec_version": SPEC_VERSION}) };
        draft.head(heading);
        draft
    }

    fn head(&mut self, heading: &Heading) {
        self.signed["version"] = json!(heading.version);
        self.signed["expires"] = json!(heading.expires);
        self.signed["x-bulla"] = json!(heading.extra);
    }
}

/// A delegation to `role` in the making.
pub fn delegation(role: RoleName, signers: &Signers, paths: Paths, terminating: bool) -> Delegation {
    let keys = signers.keys.iter().map(|k| (k.key_id(), Some(k.clone()))).collect();
    let keys = RoleKeys { threshold: signers.threshold, keys };
    Delegation { name: role, keys, paths, terminating, terms: None }
}

fn keys_object<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Value {
    keys.into_iter().map(|k| (k.key_id().to_string(), k.to_tuf())).collect()
}

fn delegations_object(delegations: &[Delegation]) -> Value {
    let keys = delegations.iter().flat_map(|d| d.keys.keys.values().flatten());
    let roles = delegations.iter().map(|d| {
        let mut role = json!({
            "name": d.name,
            "keyids": d.keys.keys.keys().collect::<Vec<_>>(),
            "threshold": d.keys.threshold,
            "terminating": d.terminating,
        });
        match &d.paths {
            Paths::Patterns(p) => role["paths"] = p.iter().map(|p| json!(p.as_str())).collect(),
            Paths::HashPrefixes(p) => role["path_hash_prefixes"] = json!(p),
        }
        if let Some(terms) = &d.terms {
            role["x-bulla"] = json!(terms);
        }
        role
    });
    let roles: Vec<Value> = roles.collect();
    json!({"keys": keys_object(keys), "roles": roles})
}
