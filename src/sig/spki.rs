//! Public keys without a scheme (RFC 5280 4.1.2.7), as certificates and PEM files carry them. The form of the signature, not the
//! document, says which [`Algorithm`] of a key counts.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1,
    ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA512_ASN1,
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::der::{element, only};
use super::key::pem_block;
use super::{KeyError, PublicKey, Scheme, rsa};
use crate::oci::Digest;

/// SubjectPublicKeyInfo up to the 133-byte uncompressed point (RFC 5480, secp521r1).
const P521_SPKI: &[u8] = &[
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];

/// Kind and size of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// RSA, 2048 to 8192 bits.
    Rsa {
        /// Size of the modulus.
        bits: u32,
    },
}

/// A hash function of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The hash of these bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519 over the message itself.
    Ed25519,
    /// ECDSA on the curve of the key, DER-encoded (RFC 3279 2.2.3).
    Ecdsa(Hash),
    /// RSASSA-PKCS1-v1_5 (RFC 8017 8.2).
    RsaPkcs1(Hash),
    /// RSASSA-PSS (RFC 8017 8.1), MGF1 and salt length of the same hash.
    RsaPss(Hash),
}

/// A public key as a SubjectPublicKeyInfo. Equality is equality of key material.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKey {
    kind: KeyKind,
    raw: Vec<u8>,
    spki: Vec<u8>,
}

impl SubjectKey {
    /// From DER SubjectPublicKeyInfo. A key has one form: named curve, uncompressed point, shortest lengths.
    ///
    /// # Errors
    /// Another algorithm, curve, size or form.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(raw) = der.strip_prefix(P521_SPKI) {
            return if raw.len() == 133 && raw[0] == 4 {
                Ok(Self { kind: KeyKind::P521, raw: raw.to_vec(), spki: der.to_vec() })
            } else {
                Err(KeyError::Malformed("wrong length or point form for its type"))
            };
        }
        PublicKey::from_spki(der).map(|key| Self::from(&key))
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

    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SubjectPublicKeyInfo in base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.spki)
    }

    /// SHA-256 over the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Digest {
        Digest::sha256(&self.spki)
    }

    /// The hint at this key in a Sigstore bundle: base64 of [`SubjectKey::fingerprint`].
    pub fn hint(&self) -> String {
        STANDARD.encode(hex::decode(self.fingerprint().hex()).unwrap_or_default())
    }

    /// Whether `signature` over exactly `message` was made by this key with this algorithm. An algorithm that is not of this kind
    /// of key gives `false`.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use Algorithm::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
        use Hash::{Sha256, Sha384, Sha512};
        use KeyKind::{P256, P384, P521, Rsa};
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (KeyKind::Ed25519, Ed25519) => &ED25519,
            (P256, Ecdsa(Sha256)) => &ECDSA_P256_SHA256_ASN1,
            (P256, Ecdsa(Sha384)) => &ECDSA_P256_SHA384_ASN1,
            (P256, Ecdsa(Sha512)) => &ECDSA_P256_SHA512_ASN1,
            (P384, Ecdsa(Sha256)) => &ECDSA_P384_SHA256_ASN1,
            (P384, Ecdsa(Sha384)) => &ECDSA_P384_SHA384_ASN1,
            (P384, Ecdsa(Sha512)) => &ECDSA_P384_SHA512_ASN1,
            (P521, Ecdsa(Sha256)) => &ECDSA_P521_SHA256_ASN1,
            (P521, Ecdsa(Sha384)) => &ECDSA_P521_SHA384_ASN1,
            (P521, Ecdsa(Sha512)) => &ECDSA_P521_SHA512_ASN1,
            (Rsa { .. }, RsaPkcs1(Sha256)) => &RSA_PKCS1_2048_8192_SHA256,
            (Rsa { .. }, RsaPkcs1(Sha384)) => &RSA_PKCS1_2048_8192_SHA384,
            (Rsa { .. }, RsaPkcs1(Sha512)) => &RSA_PKCS1_2048_8192_SHA512,
            (Rsa { .. }, RsaPss(Sha256)) => &RSA_PSS_2048_8192_SHA256,
            (Rsa { .. }, RsaPss(Sha384)) => &RSA_PSS_2048_8192_SHA384,
            (Rsa { .. }, RsaPss(Sha512)) => &RSA_PSS_2048_8192_SHA512,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }

    /// The same for an ECDSA signature of r and s side by side, with the hash of the curve's own size (RFC 7518 3.4, RFC 9053 2.1).
    pub fn verify_fixed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            KeyKind::P256 => &ECDSA_P256_SHA256_FIXED,
            KeyKind::P384 => &ECDSA_P384_SHA384_FIXED,
            KeyKind::P521 => &ECDSA_P521_SHA512_FIXED,
            KeyKind::Ed25519 | KeyKind::Rsa { .. } => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }

    /// r and s side by side, from a DER ECDSA signature of a key on this curve. `None` for other keys and other bytes.
    pub fn to_fixed(&self, der: &[u8]) -> Option<Vec<u8>> {
        let size = match self.kind {
            KeyKind::P256 => 32,
            KeyKind::P384 => 48,
            KeyKind::P521 => 66,
            KeyKind::Ed25519 | KeyKind::Rsa { .. } => return None,
        };
        let (r, rest) = element(only(der, 0x30)?, 0x02)?;
        let s = only(rest, 0x02)?;
        let mut out = vec![0; 2 * size];
        for (number, end) in [(r, size), (s, 2 * size)] {
            // The zero byte that keeps a DER integer positive.
            let number = number.strip_prefix(&[0]).unwrap_or(number);
            let start = end.checked_sub(number.len()).filter(|start| start + size >= end)?;
            out[start..end].copy_from_slice(number);
        }
        Some(out)
    }
}

/// The number r of an ECDSA signature in DER (RFC 3279 2.2.3), without leading zeros. Whoever has one signature can make another of it
/// that verifies, with n - s for s; r stays.
pub fn ecdsa_r(der: &[u8]) -> Option<&[u8]> {
    let (r, rest) = element(only(der, 0x30)?, 0x02)?;
    only(rest, 0x02)?;
    Some(r.strip_prefix(&[0]).unwrap_or(r))
}

impl From<&PublicKey> for SubjectKey {
    fn from(key: &PublicKey) -> Self {
        let spki = key.to_spki();
        // The three other kinds end in their raw form.
        let tail = |length: usize| spki[spki.len().saturating_sub(length)..].to_vec();
        let (kind, raw) = match key.scheme() {
            Scheme::Ed25519 => (KeyKind::Ed25519, tail(32)),
            Scheme::EcdsaP256 => (KeyKind::P256, tail(65)),
            Scheme::EcdsaP384 => (KeyKind::P384, tail(97)),
            Scheme::RsaPss => {
                let bits = key.modulus_bits().unwrap_or_default();
                (KeyKind::Rsa { bits }, rsa::from_spki(&spki).unwrap_or_default())
            }
        };
        Self { kind, raw, spki }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::P521 => f.write_str("ECDSA P-521"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({} {})", self.kind, self.fingerprint().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testdata(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/");
        std::fs::read(format!("{path}{name}")).unwrap()
    }

    fn key(kind: &str) -> SubjectKey {
        SubjectKey::from_pem(&String::from_utf8(testdata(&format!("{kind}.pub"))).unwrap()).unwrap()
    }

    fn every_algorithm() -> Vec<Algorithm> {
        let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
        let with = |f: fn(Hash) -> Algorithm| hashes.map(f);
        [
            &[Algorithm::Ed25519][..],
            &with(Algorithm::Ecdsa),
            &with(Algorithm::RsaPkcs1),
            &with(Algorithm::RsaPss),
        ]
        .concat()
    }

    /// What cosign 2.5 signed with each kind of key verifies with one algorithm, and with no other.
    #[test]
    fn one_algorithm_fits_a_signature() {
        for (kind, is, fits) in [
            ("p256", KeyKind::P256, Algorithm::Ecdsa(Hash::Sha256)),
            ("p384", KeyKind::P384, Algorithm::Ecdsa(Hash::Sha256)),
            ("p521", KeyKind::P521, Algorithm::Ecdsa(Hash::Sha256)),
            ("rsa2048", KeyKind::Rsa { bits: 2048 }, Algorithm::RsaPkcs1(Hash::Sha256)),
            ("ed25519", KeyKind::Ed25519, Algorithm::Ed25519),
        ] {
            let key = key(kind);
            assert_eq!(key.kind(), is);
            let message = testdata(&format!("cosign2-{kind}.json"));
            let signature = STANDARD.decode(testdata(&format!("cosign2-{kind}.sig"))).unwrap();
            for algorithm in every_algorithm() {
                let verifies = key.verify(algorithm, &message, &signature);
                assert_eq!(verifies, algorithm == fits, "{kind} {algorithm:?}");
            }
            assert!(!key.verify(fits, &[&message[..], b" "].concat(), &signature));
            let blob: serde_json::Value =
                serde_json::from_slice(&testdata(&format!("cosign3-blob-{kind}.sigstore.json"))).unwrap();
            assert_eq!(blob["verificationMaterial"]["publicKey"]["hint"], key.hint());
        }
    }

    #[test]
    fn fixed_and_der_signatures_are_the_same_numbers() {
        for kind in ["p256", "p384", "p521"] {
            let signature = STANDARD.decode(testdata(&format!("cosign2-{kind}.sig"))).unwrap();
            let fixed = key(kind).to_fixed(&signature).unwrap();
            let message = testdata(&format!("cosign2-{kind}.json"));
            // The fixed form takes the hash of the curve's size, and cosign 2 signed with SHA-256.
            assert_eq!(key(kind).verify_fixed(&message, &fixed), kind == "p256");
            assert_eq!(key(kind).to_fixed(&[&signature[..], &[0]].concat()), None);
            assert_eq!(key(kind).to_fixed(&signature[..signature.len() - 1]), None);
        }
        assert_eq!(key("ed25519").to_fixed(&[0x30, 0]), None);
        // r = 1, s = 256; and a number that is longer than the curve.
        let small = key("p256").to_fixed(&[0x30, 7, 2, 1, 1, 2, 2, 1, 0]).unwrap();
        assert_eq!((small[31], &small[62..]), (1, &[1, 0][..]));
        let long = [&[0x30, 38, 2, 33], &[0xff; 33][..], &[2, 1, 1]].concat();
        assert_eq!(key("p256").to_fixed(&long), None);
    }

    #[test]
    fn other_keys_are_refused() {
        let p521 = key("p521");
        let mut compressed = p521.spki().to_vec();
        compressed[P521_SPKI.len()] = 2;
        assert!(SubjectKey::from_spki(&compressed).is_err());
        assert!(SubjectKey::from_spki(&p521.spki()[..100]).is_err());
        assert!(SubjectKey::from_spki(&[p521.spki(), &[0]].concat()).is_err());
        assert!(SubjectKey::from_spki(&[]).is_err());
        for kind in ["p256", "p384", "rsa2048", "ed25519"] {
            let spki = key(kind).spki().to_vec();
            assert_eq!(SubjectKey::from_spki(&spki), Ok(key(kind)));
            assert!(SubjectKey::from_spki(&[&spki[..], &[0]].concat()).is_err(), "{kind}");
        }
    }
}
