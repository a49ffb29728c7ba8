//! The envelope: one metadata file, first unverified, then with its signatures checked.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fault, Limits, RoleName, TufError, Version};
use crate::oci::Digest;
use crate::sig::canonical::canonical;
use crate::sig::json;
use crate::sig::{KeyId, PublicKey};
use crate::time::UnixTime;

/// A kind of role: what its `signed` part holds beside the common fields.
pub trait Role: Sized + Clone + std::fmt::Debug {
    /// The value of `_type`.
    const TYPE: &'static str;

    /// Read the role's own fields.
    ///
    /// # Errors
    /// What is wrong, for the file's role name.
    fn read(signed: &Value) -> Result<Self, Fault>;

    /// What is wrong with the keys that the file gives to roles: one that is named and not listed, or malformed. Such a key
    /// cannot sign, and whoever wrote it erred.
    fn faulty(&self) -> Option<&Fault> {
        None
    }
}

/// bulla's own extra field `x-bulla` (docs/formats.md). TUF clients ignore it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The collection that the file belongs to.
    pub collection: String,
    /// When it was signed.
    pub at: UnixTime,
    /// Targets roles only: the files that this one descends from, merged forks included, sorted by version, then hash;
    /// those whose version is above own version - 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// Targets roles only: which paths were withdrawn; for each withdrawal its id and the version at which this line of
    /// files learned of it. Kept while that version is above own version - 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub withdrawn: BTreeMap<String, BTreeMap<String, Version>>,
    /// Targets roles only: the role version that set this value of `delegations`.
    #[serde(default, rename = "delegationsSet", skip_serializing_if = "Option::is_none")]
    pub delegations_set: Option<Version>,
    /// Targets roles only: for each role the changes of the delegation to it, each with its id and the version at which this line
    /// of files learned of it; under the empty name those of the order, and of what belongs to no role. Kept as `withdrawn` is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delegated: BTreeMap<String, BTreeMap<String, Version>>,
    /// Root only: submissions are skipped.
    #[serde(default, rename = "singleWriter", skip_serializing_if = "std::ops::Not::not")]
    pub single_writer: bool,
    /// Root only: why a root key is also an online or releases key.
    #[serde(default, rename = "sharedRootKey", skip_serializing_if = "Option::is_none")]
    pub shared_root_key: Option<String>,
}

impl Extra {
    /// Collection and signing time, and nothing else.
    pub fn new(collection: impl Into<String>, at: UnixTime) -> Self {
        Self {
            collection: collection.into(),
            at,
            ancestors: Vec::new(),
            withdrawn: BTreeMap::new(),
            delegations_set: None,
            delegated: BTreeMap::new(),
            single_writer: false,
            shared_root_key: None,
        }
    }
}

/// An ancestor of a targets file: version, and SHA-256 of the file in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ancestor(pub Version, pub String);

/// The keys that may sign a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// At least 1.
    pub threshold: u32,
    /// The key ids the role names, each once, with its key where bulla can use it.
    pub keys: BTreeMap<KeyId, Option<PublicKey>>,
}

/// Who signed, as a result: for verification and for "who is missing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureCount {
    /// The role's threshold.
    pub threshold: u32,
    /// Key ids with a valid signature; of one key under two ids only the first.
    pub signed: Vec<KeyId>,
    /// Key ids without one.
    pub missing: Vec<KeyId>,
    /// Key ids whose key material stands under another id too (TAP 12).
    pub repeated: Vec<KeyId>,
}

impl SignatureCount {
    /// Whether the threshold is met.
    pub fn is_met(&self) -> bool {
        self.signed.len() >= self.threshold as usize
    }
}

/// A parsed file whose signatures have not been checked: its content must not be believed.
#[derive(Debug, Clone)]
pub struct Unverified<R> {
    inner: Metadata<R>,
}

/// A metadata file. Bytes are kept as received; signatures were checked over the canonical form of the untyped value.
#[derive(Debug, Clone)]
pub struct Metadata<R> {
    bytes: Bytes,
    signed: Value,
    signatures: BTreeMap<KeyId, Vec<u8>>,
    version: Version,
    expires: UnixTime,
    extra: Option<Extra>,
    role: R,
}

#[derive(Deserialize)]
struct Envelope {
    signed: Value,
    signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
struct RawSignature {
    keyid: KeyId,
    sig: String,
}

impl RoleKeys {
    /// Key ids whose key material stands under an earlier id too (TAP 12): they add nothing to the count.
    pub fn repeated(&self) -> Vec<&KeyId> {
        let mut material = BTreeSet::new();
        let known = self.keys.iter().filter_map(|(id, key)| key.as_ref().map(|key| (id, key)));
        known.filter(|(_, key)| !material.insert(*key)).map(|(id, _)| id).collect()
    }

    /// How many distinct keys can sign.
    pub fn distinct(&self) -> usize {
        self.keys.values().flatten().collect::<BTreeSet<_>>().len()
    }
}

impl<R: Role> Unverified<R> {
    /// Parse a file that stands at `role`'s place.
    ///
    /// # Errors
    /// Not strict JSON, another `_type` or major version, a malformed field, two signatures under one key id.
    pub fn parse(role: &RoleName, bytes: &Bytes, limits: &Limits) -> Result<Self, TufError> {
        read(bytes, limits).map(|inner| Self { inner }).map_err(|fault| TufError::new(role, fault))
    }

    /// The version that the file claims, for choosing what to check first.
    pub fn claimed_version(&self) -> Version {
        self.inner.version
    }

    /// The collection that the file claims to belong to.
    pub fn claimed_collection(&self) -> Option<&str> {
        self.inner.extra.as_ref().map(|x| x.collection.as_str())
    }

    /// The keys that its signatures name, unchecked.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &KeyId> {
        self.inner.signatures.keys()
    }

    /// `x-bulla` as the file claims it.
    pub(super) fn claimed_extra(&self) -> Option<&Extra> {
        self.inner.extra.as_ref()
    }

    /// The expiry that the file claims.
    pub fn claimed_expires(&self) -> UnixTime {
        self.inner.expires
    }

    /// Whether both files say the same, whoever signed them.
    pub(super) fn claims_same(&self, other: &Self) -> bool {
        self.inner.signed == other.inner.signed
    }

    /// The role's own fields, unchecked: for a root that is to be checked against itself, and for drafts.
    pub(super) fn claimed(&self) -> &R {
        &self.inner.role
    }

    /// Who of `keys` signed.
    pub fn count(&self, keys: &RoleKeys) -> SignatureCount {
        count(&canonical(&self.inner.signed), &self.inner.signatures, keys)
    }

    /// Check the signatures against every set of keys given (a new root: the old root's and its own).
    ///
    /// # Errors
    /// A threshold that is not met.
    pub fn verify(self, role: &RoleName, keys: &[&RoleKeys]) -> Result<Metadata<R>, TufError> {
        let message = canonical(&self.inner.signed);
        for set in keys {
            let c = count(&message, &self.inner.signatures, set);
            if !c.is_met() {
                let fault = Fault::Threshold { have: c.signed.len(), need: c.threshold, missing: c.missing };
                return Err(TufError::new(role, fault));
            }
        }
        Ok(self.inner)
    }
}

impl<R> Metadata<R> {
    /// The file as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The untyped `signed` value.
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// Signatures by key id, raw.
    pub fn signatures(&self) -> &BTreeMap<KeyId, Vec<u8>> {
        &self.signatures
    }

    /// Version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Expiry.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Who of `keys` signed.
    pub fn count(&self, keys: &RoleKeys) -> SignatureCount {
        count(&canonical(&self.signed), &self.signatures, keys)
    }

    /// Whether it is expired at `now`: from the second of expiry on (TUF specification: "expires" must be after now).
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires <= now
    }

    /// From when on less than a third of its life remains; `None` when it does not say when it was signed.
    pub fn ages_from(&self) -> Option<UnixTime> {
        let at = self.extra.as_ref()?.at;
        let life = self.expires.secs().checked_sub(at.secs()).filter(|life| *life > 0)?;
        Some(self.expires.plus(-(life / 3)))
    }

    /// `x-bulla`, where the file has it.
    pub fn extra(&self) -> Option<&Extra> {
        self.extra.as_ref()
    }

    /// The role's own fields.
    pub fn role(&self) -> &R {
        &self.role
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }

    /// This file as an ancestor of later ones.
    pub fn as_ancestor(&self) -> Ancestor {
        Ancestor(self.version, self.digest().hex().to_owned())
    }

    /// Whether `other` is this file or among its ancestors.
    pub fn holds(&self, other: &Ancestor) -> bool {
        self.as_ancestor() == *other || self.extra.as_ref().is_some_and(|x| x.ancestors.contains(other))
    }

    /// Check that the file belongs to `collection`.
    ///
    /// # Errors
    /// It names another collection, or none; or it gives a role a key that is not listed or malformed.
    pub fn check_collection(&self, role: &RoleName, collection: &str) -> Result<(), TufError>
    where
        R: Role,
    {
        if let Some(fault) = self.role.faulty() {
            return Err(TufError::new(role, fault.clone()));
        }
        let got = self.extra.as_ref().map_or("", |x| x.collection.as_str());
        if got == collection {
            return Ok(());
        }
        let (expected, got) = (collection.to_owned(), got.to_owned());
        Err(TufError::new(role, Fault::Collection { expected, got }))
    }
}

fn read<R: Role>(bytes: &Bytes, limits: &Limits) -> Result<Metadata<R>, Fault> {
    let value = json::parse(bytes)?;
    let envelope: Envelope = typed(&value)?;
    let signed = envelope.signed;
    if envelope.signatures.len() > limits.signatures {
        return Err(Fault::Format(format!("more than {} signatures", limits.signatures)));
    }
    let mut signatures = BTreeMap::new();
    for s in envelope.signatures {
        // An empty signature holds a place for a signer who has not signed yet (tuf-on-ci).
        let sig = hex::decode(&s.sig).unwrap_or_default();
        if signatures.insert(s.keyid.clone(), sig).is_some() {
            return Err(Fault::DuplicateSignature(s.keyid));
        }
    }
    let kind = text(&signed, "_type")?;
    if kind != R::TYPE {
        return Err(Fault::Type { got: kind.chars().take(40).collect() });
    }
    let spec = text(&signed, "spec_version")?;
    if spec.split('.').next() != Some("1") {
        return Err(Fault::SpecVersion(spec.chars().take(40).collect()));
    }
    let version = field(&signed, "version")?;
    let expires = field(&signed, "expires")?;
    let extra = match signed.get("x-bulla") {
        Some(v) => Some(typed(v)?),
        None => None,
    };
    let role = R::read(&signed)?;
    Ok(Metadata { bytes: bytes.clone(), signed, signatures, version, expires, extra, role })
}

/// Who of `keys` signed `message`.
pub(super) fn count(
    message: &[u8],
    signatures: &BTreeMap<KeyId, Vec<u8>>,
    keys: &RoleKeys,
) -> SignatureCount {
    let mut material = BTreeSet::new();
    let (mut signed, mut missing, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for (id, key) in &keys.keys {
        let Some(key) = key else {
            missing.push(id.clone());
            continue;
        };
        let valid = signatures.get(id).is_some_and(|sig| key.verify(message, sig));
        if !valid {
            missing.push(id.clone());
        } else if material.insert(key) {
            signed.push(id.clone());
        } else {
            repeated.push(id.clone());
        }
    }
    SignatureCount { threshold: keys.threshold, signed, missing, repeated }
}

/// `value` as a typed view.
pub(super) fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    T::deserialize(value).map_err(|e| Fault::Format(e.to_string()))
}

/// A member that must be there, as a typed view.
pub(super) fn field<T: serde::de::DeserializeOwned>(object: &Value, name: &'static str) -> Result<T, Fault> {
    let value = object.get(name).ok_or_else(|| Fault::Format(format!("\"{name}\" is missing")))?;
    T::deserialize(value).map_err(|e| Fault::Format(format!("\"{name}\": {e}")))
}

fn text<'a>(object: &'a Value, name: &'static str) -> Result<&'a str, Fault> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Fault::Format(format!("\"{name}\" is missing or no string")))
}
