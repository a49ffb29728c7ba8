//! Sources: who is asked under an anchor. Several that must agree cover TAP 4 (collections, registries), roles that must agree, and
//! TAP 13 (a role that the deployer names, with its keys, in the place of top-level targets).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::anchor::{Anchor, PinnedRoot};
use crate::oci::Reference;
use crate::sig::{KeyError, PublicKey};
use crate::tuf::{CollectionName, RoleKeys, RoleName, Top};

/// Most sources of one anchor.
pub const MAX_SOURCES: usize = 16;

/// One who is asked, with all that an anchor leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The collection.
    pub collection: CollectionName,
    /// Its root.
    pub root: PinnedRoot,
    /// The role from which the search starts; `targets` for the usual one.
    pub role: RoleName,
    /// The role's keys, where the deployer gave them: then it stands in the place of top-level targets.
    pub keys: Option<OwnKeys>,
    /// The only place whose state counts; neither seals nor memory stand in for it.
    pub at: Option<Reference>,
    /// Further places of the state, besides the bundle's own.
    pub state_at: Vec<Reference>,
    /// Whether the bundle's own place comes last: who may push a bundle must not say which organisation's state is seen.
    pub own_place_last: bool,
}

/// A source as an anchor states it: what is left out is the anchor's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceSpec {
    /// Another collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
    /// Another root; needed for another collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PinnedRoot>,
    /// Another role than `targets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// Keys of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<OwnKeys>,
    /// The only place whose state counts.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "place")]
    pub at: Option<Reference>,
    /// Further places of the state.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::anchor::references")]
    pub state_at: Vec<Reference>,
}

/// Keys that a deployer gives for a role, and how many of them must have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawKeys", into = "RawKeys")]
pub struct OwnKeys {
    threshold: u32,
    keys: BTreeSet<PublicKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    threshold: u32,
    keys: Vec<Value>,
}

/// Keys that cannot be a role's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnKeysError {
    /// One of them cannot be read.
    #[error("key {0}: {1}")]
    Key(usize, KeyError),
    /// The threshold cannot be met, or demands nothing.
    #[error("a threshold of {threshold} with {keys} distinct keys")]
    Threshold {
        /// As asked for.
        threshold: u32,
        /// Distinct keys given.
        keys: usize,
    },
}

impl Source {
    /// The role that stands in the place of top-level targets, if one does.
    pub(super) fn top(&self) -> Option<Top> {
        self.keys.as_ref().map(|keys| Top { role: self.role.clone(), keys: keys.role_keys() })
    }
}

impl SourceSpec {
    /// Filled in from its anchor.
    pub(super) fn of(&self, anchor: &Anchor) -> Source {
        let own = self.collection.as_ref().is_none_or(|c| *c == anchor.collection) && self.root.is_none();
        let places = self.state_at.iter().chain(anchor.state_at.iter().filter(|_| own));
        Source {
            collection: self.collection.clone().unwrap_or_else(|| anchor.collection.clone()),
            root: self.root.clone().unwrap_or_else(|| anchor.root.clone()),
            role: self.role.clone().unwrap_or_else(RoleName::targets),
            keys: self.keys.clone(),
            at: self.at.clone(),
            state_at: places.cloned().collect(),
            own_place_last: false,
        }
    }
}

impl OwnKeys {
    /// At least `threshold` of `keys`.
    ///
    /// # Errors
    /// The threshold is 0 or greater than the number of distinct keys.
    pub fn new(threshold: u32, keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, OwnKeysError> {
        let keys: BTreeSet<PublicKey> = keys.into_iter().collect();
        if threshold == 0 || threshold as usize > keys.len() {
            return Err(OwnKeysError::Threshold { threshold, keys: keys.len() });
        }
        Ok(Self { threshold, keys })
    }

    /// How many must have signed.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The keys.
    pub fn keys(&self) -> &BTreeSet<PublicKey> {
        &self.keys
    }

    fn role_keys(&self) -> RoleKeys {
        let keys: BTreeMap<_, _> = self.keys.iter().map(|k| (k.key_id(), Some(k.clone()))).collect();
        RoleKeys { threshold: self.threshold, keys }
    }
}

impl TryFrom<RawKeys> for OwnKeys {
    type Error = OwnKeysError;

    fn try_from(raw: RawKeys) -> Result<Self, OwnKeysError> {
        let keys = raw.keys.iter().enumerate();
        let keys = keys.map(|(i, k)| PublicKey::from_tuf(k).map_err(|e| OwnKeysError::Key(i + 1, e)));
        Self::new(raw.threshold, keys.collect::<Result<Vec<_>, _>>()?)
    }
}

impl From<OwnKeys> for RawKeys {
    fn from(own: OwnKeys) -> Self {
        Self { threshold: own.threshold, keys: own.keys.iter().map(PublicKey::to_tuf).collect() }
    }
}

/// A reference as a string.
mod place {
    use serde::Deserialize as _;

    use crate::oci::Reference;

    pub(super) fn serialize<S: serde::Serializer>(at: &Option<Reference>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&at.iter().map(ToString::to_string).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Reference>, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}
