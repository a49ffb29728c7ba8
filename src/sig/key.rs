//! Public keys as TUF metadata carries them (specification 4.2), and signature verification over raw bytes.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::canonical::canonical;
use super::rsa;
use crate::oci::Digest;

/// SubjectPublicKeyInfo up to the 32-byte key (RFC 8410).
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// SubjectPublicKeyInfo up to the 65-byte uncompressed point (RFC 5480, secp256r1).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo up to the 97-byte uncompressed point (RFC 5480, secp384r1).
const P384_SPKI: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// Signature scheme, in TUF's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scheme {
    /// `ed25519` (RFC 8032).
    Ed25519,
    /// `ecdsa-sha2-nistp256`: DER-encoded ECDSA over SHA-256.
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`: DER-encoded ECDSA over SHA-384.
    EcdsaP384,
    /// `rsassa-pss-sha256`: RSA-PSS with SHA-256 and MGF1 over SHA-256 (RFC 8017 8.1), 2048 to 8192 bits.
    RsaPss,
}

impl Scheme {
    /// TUF's name of the scheme.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::RsaPss => "rsassa-pss-sha256",
        }
    }

    /// TUF's name of the key type.
    pub fn keytype(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 | Self::EcdsaP384 => "ecdsa",
            Self::RsaPss => "rsa",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a key inside one metadata file: opaque (TAP 12), 1 to 256 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

/// A public key with its scheme. Equality is equality of key material: one key under two ids is one key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey {
    scheme: Scheme,
    raw: Vec<u8>,
}

/// Why something is not a key that bulla can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another type or scheme.
    #[error(
        "key type \"{keytype}\" with scheme \"{scheme}\" is not supported (ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, rsassa-pss-sha256 are)"
    )]
    Unsupported {
        /// `keytype` as found.
        keytype: String,
        /// `scheme` as found.
        scheme: String,
    },
    /// Not a key at all.
    #[error("malformed public key: {0}")]
    Malformed(&'static str),
    /// A key id that is empty, too long, or not printable ASCII.
    #[error("malformed key id")]
    Id,
}

impl KeyId {
    /// From the hash that gives a key its name: lower-case hex.
    pub fn of_hash(digest: &Digest) -> Self {
        Self(digest.hex().to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, for people and file names of links.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(8)]
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(s: String) -> Result<Self, KeyError> {
        let legal = !s.is_empty() && s.len() <= 256 && s.bytes().all(|b| b.is_ascii_graphic());
        if legal { Ok(Self(s)) } else { Err(KeyError::Id) }
    }
}

impl From<KeyId> for String {
    fn from(k: KeyId) -> Self {
        k.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PublicKey {
    /// From raw key material: 32 bytes (Ed25519), the uncompressed point of 65 (P-256) or 97 bytes (P-384), or DER
    /// RSAPublicKey (RFC 8017 A.1.1).
    ///
    /// # Errors
    /// Another length or form; an RSA key of another size.
    pub fn from_raw(scheme: Scheme, raw: &[u8]) -> Result<Self, KeyError> {
        let fits = match scheme {
            Scheme::Ed25519 => raw.len() == 32,
            Scheme::EcdsaP256 => raw.len() == 65 && raw[0] == 4,
            Scheme::EcdsaP384 => raw.len() == 97 && raw[0] == 4,
            Scheme::RsaPss => return Ok(Self { scheme, raw: rsa::checked(raw)? }),
        };
        if fits {
            Ok(Self { scheme, raw: raw.to_vec() })
        } else {
            Err(KeyError::Malformed("wrong length or point form for its type"))
        }
    }

    /// From DER SubjectPublicKeyInfo (RFC 5280 4.1).
    ///
    /// # Errors
    /// Another algorithm, curve or form.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(raw) = der.strip_prefix(ED25519_SPKI) {
            return Self::from_raw(Scheme::Ed25519, raw);
        }
        if let Some(raw) = der.strip_prefix(P256_SPKI) {
            return Self::from_raw(Scheme::EcdsaP256, raw);
        }
        if let Some(raw) = der.strip_prefix(P384_SPKI) {
            return Self::from_raw(Scheme::EcdsaP384, raw);
        }
        if rsa::is_spki(der) {
            return Ok(Self { scheme: Scheme::RsaPss, raw: rsa::from_spki(der)? });
        }
        Err(KeyError::Unsupported {
            keytype: "SubjectPublicKeyInfo".into(),
            scheme: "of another algorithm".into(),
        })
    }

    /// From a PEM `PUBLIC KEY` block (RFC 7468); text around it is ignored.
    ///
    /// # Errors
    /// No block, several, bad base64, or an unsupported key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.matches("-----BEGIN ").count() > 1 {
            return Err(KeyError::Malformed("several PEM blocks where one key is meant"));
        }
        let der = pem_block(pem, "PUBLIC KEY")?.ok_or(KeyError::Malformed("no PEM block PUBLIC KEY"))?;
        Self::from_spki(&der)
    }

    /// The same, and `RSA PUBLIC KEY` (RFC 8017 A.1.1), which python-tuf reads too. Both forms give one key.
    fn from_rsa_pem(pem: &str) -> Result<Self, KeyError> {
        match pem_block(pem, "RSA PUBLIC KEY")? {
            Some(der) => Self::from_raw(Scheme::RsaPss, &der),
            None => Self::from_pem(pem),
        }
    }

    /// From a key object of TUF metadata: `{keytype, scheme, keyval: {public}}`. Unknown fields are allowed.
    ///
    /// # Errors
    /// Unsupported or malformed; the old key types, which are the names of the ECDSA schemes, are read.
    pub fn from_tuf(key: &Value) -> Result<Self, KeyError> {
        let text =
            |v: &Value| v.as_str().map(str::to_owned).ok_or(KeyError::Malformed("a field is no string"));
        let (keytype, scheme, public) =
            (text(&key["keytype"])?, text(&key["scheme"])?, text(&key["keyval"]["public"])?);
        match (keytype.as_str(), scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let raw = hex::decode(public).map_err(|_| KeyError::Malformed("ed25519 key is not hex"))?;
                Self::from_raw(Scheme::Ed25519, &raw)
            }
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256")
            | ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
                let key = Self::from_pem(&public)?;
                // The scheme's curve and no other; a key of another kind cannot sign under this name.
                if key.scheme.as_str() == scheme {
                    Ok(key)
                } else {
                    Err(KeyError::Unsupported { keytype, scheme })
                }
            }
            ("rsa", "rsassa-pss-sha256") => {
                let key = Self::from_rsa_pem(&public)?;
                if key.scheme == Scheme::RsaPss {
                    Ok(key)
                } else {
                    Err(KeyError::Unsupported { keytype, scheme })
                }
            }
            _ => Err(KeyError::Unsupported { keytype, scheme }),
        }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// DER SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Vec<u8> {
        let prefix = match self.scheme {
            Scheme::Ed25519 => ED25519_SPKI,
            Scheme::EcdsaP256 => P256_SPKI,
            Scheme::EcdsaP384 => P384_SPKI,
            Scheme::RsaPss => return rsa::to_spki(&self.raw),
        };
        [prefix, &self.raw].concat()
    }

    /// Size of an RSA key's modulus in bits; the other kinds have one size each.
    pub fn modulus_bits(&self) -> Option<u32> {
        if self.scheme == Scheme::RsaPss { rsa::modulus_bits(&self.raw) } else { None }
    }

    /// PEM `PUBLIC KEY`, with a final newline.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(self.to_spki());
        let mut out = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            out.push_str(line);
            out.push('\n');
            rest = tail;
        }
        out.push_str("-----END PUBLIC KEY-----\n");
        out
    }

    /// The key object for TUF metadata.
    pub fn to_tuf(&self) -> Value {
        let public = match self.scheme {
            Scheme::Ed25519 => hex::encode(&self.raw),
            _ => self.to_pem(),
        };
        json!({"keytype": self.scheme.keytype(), "scheme": self.scheme.as_str(), "keyval": {"public": public}})
    }

    /// The id that bulla writes: SHA-256 of the canonical key object, lower-case hex (TUF specification 4.2).
    pub fn key_id(&self) -> KeyId {
        KeyId::of_hash(&Digest::sha256(&canonical(&self.to_tuf())))
    }

    /// Whether `signature` over exactly `message` is this key's.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.scheme {
            Scheme::Ed25519 => &ED25519,
            Scheme::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Scheme::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
            Scheme::RsaPss => return rsa::verify(&self.raw, message, signature),
        };
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }
}

/// The bytes of the first PEM block of this kind; `None` when there is none.
pub(super) fn pem_block(pem: &str, label: &str) -> Result<Option<Vec<u8>>, KeyError> {
    let Some((_, rest)) = pem.split_once(&format!("-----BEGIN {label}-----")) else { return Ok(None) };
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(KeyError::Malformed("PEM block without end"))?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map(Some).map_err(|_| KeyError::Malformed("bad base64 in PEM"))
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.scheme, self.key_id().short())
    }
}

#[cfg(test)]
mod tests;
