//! Keys of layouts. Key ids are hints: one key has many, by who computed them, and only key material counts.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::oci::Digest;
use crate::sig::canonical::canonical;
use crate::sig::{Algorithm, Hash, KeyError, KeyId, KeyKind, PublicKey, SubjectKey};

/// A public key with its scheme, and every id that it is known by. Equality is equality of key material, whatever the scheme.
#[derive(Clone)]
pub struct Key {
    material: Material,
    ids: BTreeSet<String>,
}

#[derive(Clone)]
enum Material {
    /// A kind that TUF has too, and bulla signs with.
    Usual(PublicKey),
    /// One that is only verified.
    Other(SubjectKey, Algorithm, &'static str),
}

/// A key as a layout lists it.
#[derive(Debug, Clone)]
pub enum ListedKey {
    /// It can sign links.
    Usable(Key),
    /// It is there, and nothing that it signs counts.
    Unusable(Unusable, Value),
}

/// Why links of a key cannot count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// An OpenPGP key.
    #[error(
        "it is a GPG key, and GPG signatures are not read: neither expiry nor revocation nor the use a key is for are part of what in-toto carries of it"
    )]
    Gpg,
    /// Of another kind.
    #[error(transparent)]
    Kind(KeyError),
}

/// Schemes beside TUF's: name of the scheme, kind of key, how it signs.
const OTHERS: [(&str, &str, Algorithm); 6] = [
    ("ecdsa-sha2-nistp521", "ecdsa", Algorithm::Ecdsa(Hash::Sha512)),
    ("rsassa-pss-sha384", "rsa", Algorithm::RsaPss(Hash::Sha384)),
    ("rsassa-pss-sha512", "rsa", Algorithm::RsaPss(Hash::Sha512)),
    ("rsa-pkcs1v15-sha256", "rsa", Algorithm::RsaPkcs1(Hash::Sha256)),
    ("rsa-pkcs1v15-sha384", "rsa", Algorithm::RsaPkcs1(Hash::Sha384)),
    ("rsa-pkcs1v15-sha512", "rsa", Algorithm::RsaPkcs1(Hash::Sha512)),
];

impl Key {
    /// From a key object `{keytype, scheme, keyval: {public}}`; further members are allowed.
    ///
    /// # Errors
    /// Another kind, or malformed.
    pub fn from_value(value: &Value) -> Result<Self, KeyError> {
        let (keytype, scheme) = (value["keytype"].as_str(), value["scheme"].as_str());
        let other = OTHERS.iter().find(|(name, kind, _)| {
            Some(*name) == scheme && (Some(*kind) == keytype || (*kind == "ecdsa" && keytype == scheme))
        });
        let Some((name, kind, algorithm)) = other else {
            return PublicKey::from_tuf(value).map(Self::from);
        };
        let pem = value["keyval"]["public"].as_str().ok_or(KeyError::Malformed("a field is no string"))?;
        let key = SubjectKey::from_pem(pem)?;
        let fits = match key.kind() {
            KeyKind::P521 => *kind == "ecdsa",
            KeyKind::Rsa { .. } => *kind == "rsa",
            _ => false,
        };
        if !fits {
            return Err(KeyError::Unsupported { keytype: (*kind).into(), scheme: (*name).into() });
        }
        Ok(Self::with_ids(Material::Other(key, *algorithm, name)))
    }

    /// From a PEM `PUBLIC KEY` block, with the scheme that the reference takes for its kind.
    ///
    /// # Errors
    /// No block, several, bad base64, or an unsupported key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = SubjectKey::from_pem(pem)?;
        if key.kind() == KeyKind::P521 {
            let (scheme, _, algorithm) = OTHERS[0];
            return Ok(Self::with_ids(Material::Other(key, algorithm, scheme)));
        }
        PublicKey::from_spki(key.spki()).map(Self::from)
    }

    /// The id that is written: SHA-256 of the canonical `{keytype, scheme, keyval}`, PEM with its last newline.
    pub fn id(&self) -> KeyId {
        KeyId::of_hash(&Digest::sha256(&canonical(&self.to_value())))
    }

    /// Whether this is one of its ids: by any of the formulas in use, or by a name that a layout gave it.
    pub fn is_named(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether one of its ids begins so.
    pub fn is_named_from(&self, start: &str) -> bool {
        self.ids.iter().any(|id| id.starts_with(start))
    }

    /// Every id that it is known by.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// Known by one more id.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.ids.insert(id.to_owned());
        self
    }

    /// Name of its scheme.
    pub fn scheme(&self) -> &str {
        match &self.material {
            Material::Usual(key) => key.scheme().as_str(),
            Material::Other(_, _, scheme) => scheme,
        }
    }

    /// DER SubjectPublicKeyInfo: what makes two keys one.
    pub fn spki(&self) -> Vec<u8> {
        match &self.material {
            Material::Usual(key) => key.to_spki(),
            Material::Other(key, ..) => key.spki().to_vec(),
        }
    }

    /// Whether `signature` over exactly `message` is this key's.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Usual(key) => key.verify(message, signature),
            Material::Other(key, algorithm, _) => key.verify(*algorithm, message, signature),
        }
    }

    /// The key object, without an id.
    pub fn to_value(&self) -> Value {
        match &self.material {
            Material::Usual(key) => key.to_tuf(),
            Material::Other(key, _, scheme) => {
                let kind = if key.kind() == KeyKind::P521 { "ecdsa" } else { "rsa" };
                json!({"keytype": kind, "scheme": scheme, "keyval": {"public": pem(key)}})
            }
        }
    }

    fn with_ids(material: Material) -> Self {
        let mut key = Self { material, ids: BTreeSet::new() };
        key.ids = key.formulas();
        key
    }

    /// Every id that some tool computes for this key (docs/in-toto.md#key-ids).
    fn formulas(&self) -> BTreeSet<String> {
        let own = self.to_value();
        let scheme = self.scheme();
        let keytypes: &[&str] = match own["keytype"].as_str() {
            Some("ecdsa") => &["ecdsa", scheme],
            _ => &[own["keytype"].as_str().unwrap_or_default()],
        };
        let public = own["keyval"]["public"].as_str().unwrap_or_default();
        let mut ids: BTreeSet<String> = [Digest::sha256(&self.spki()).hex().to_owned()].into();
        for keytype in keytypes {
            for public in [public, public.trim_end()] {
                let mut value = json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
                ids.insert(hash(&value));
                value["keyid_hash_algorithms"] = json!(["sha256", "sha512"]);
                ids.insert(hash(&value));
            }
        }
        ids
    }
}

fn hash(value: &Value) -> String {
    Digest::sha256(&canonical(value)).hex().to_owned()
}

fn pem(key: &SubjectKey) -> String {
    let body = key.to_base64();
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|l| std::str::from_utf8(l).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

impl From<PublicKey> for Key {
    fn from(key: PublicKey) -> Self {
        Self::with_ids(Material::Usual(key))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.spki() == other.spki()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.scheme(), self.id().short())
    }
}

impl ListedKey {
    /// From a key object of a layout. GPG keys and kinds that this version lacks are kept as unusable.
    ///
    /// # Errors
    /// A malformed key of a kind that is known.
    pub fn from_value(id: &KeyId, value: &Value) -> Result<Self, KeyError> {
        if value.get("keytype").is_none() && value.get("method").is_some() && value.get("hashes").is_some() {
            return Ok(Self::Unusable(Unusable::Gpg, value.clone()));
        }
        match Key::from_value(value) {
            Ok(key) => Ok(Self::Usable(key.named(id.as_str()))),
            Err(error @ KeyError::Unsupported { .. }) => {
                Ok(Self::Unusable(Unusable::Kind(error), value.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// The key, where links of it count.
    pub fn usable(&self) -> Option<&Key> {
        match self {
            Self::Usable(key) => Some(key),
            Self::Unusable(..) => None,
        }
    }

    /// The key object under an id, which the reference wants inside of it too.
    pub(super) fn to_value(&self, id: &KeyId) -> Value {
        let mut value = match self {
            Self::Usable(key) => key.to_value(),
            Self::Unusable(_, value) => value.clone(),
        };
        value["keyid"] = id.as_str().into();
        value
    }
}
