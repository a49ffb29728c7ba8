//! Private keys in this process's memory.

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::{KeyError, Signer, usual};
use crate::sig::{Algorithm, Hash, PublicKey, Scheme};

/// A private key in this process's memory: what a key file is opened into. Tests make theirs with
/// [`MemorySigner::from_seed`] and need no file.
pub struct MemorySigner {
    key: Private,
    public: PublicKey,
}

/// All are held by aws-lc, which wipes them when they are freed.
enum Private {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
    EcdsaP384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl MemorySigner {
    /// A fresh random key; RSA of 3072 bits.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate(scheme: Scheme) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Crypto("make a key");
        Self::new(match scheme {
            Scheme::Ed25519 => Private::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Scheme::EcdsaP256 => {
                Private::EcdsaP256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?)
            }
            Scheme::EcdsaP384 => {
                Private::EcdsaP384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(failed)?)
            }
            Scheme::RsaPss => Private::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
        })
    }

    /// The Ed25519 key of this seed (RFC 8032 5.1.5): always the same, for tests and vectors.
    ///
    /// # Errors
    /// None that a 32-byte seed can cause.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Crypto("read a seed"))?;
        Self::new(Private::Ed25519(pair))
    }

    /// From DER PKCS#8 (RFC 5208, RFC 5958) of the named scheme; a public key inside must belong to the private one.
    pub(super) fn from_pkcs8(scheme: Scheme, der: &[u8]) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Crypto("read a private key");
        Self::new(match scheme {
            Scheme::Ed25519 => {
                Private::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(failed)?)
            }
            Scheme::EcdsaP256 => Private::EcdsaP256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(failed)?,
            ),
            Scheme::EcdsaP384 => Private::EcdsaP384(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der).map_err(failed)?,
            ),
            Scheme::RsaPss => Private::Rsa(RsaKeyPair::from_pkcs8(der).map_err(failed)?),
        })
    }

    /// DER PKCS#8 version 1, which every openssl reads.
    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let failed = |_| KeyError::Crypto("write a private key");
        let document = match &self.key {
            Private::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?,
            Private::EcdsaP256(pair) | Private::EcdsaP384(pair) => pair.to_pkcs8v1().map_err(failed)?,
            Private::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                return Ok(Zeroizing::new(der.as_ref().to_vec()));
            }
        };
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn new(key: Private) -> Result<Self, KeyError> {
        let public = match &key {
            Private::Ed25519(pair) => PublicKey::from_raw(Scheme::Ed25519, pair.public_key().as_ref()),
            Private::EcdsaP256(pair) => PublicKey::from_raw(Scheme::EcdsaP256, pair.public_key().as_ref()),
            Private::EcdsaP384(pair) => PublicKey::from_raw(Scheme::EcdsaP384, pair.public_key().as_ref()),
            Private::Rsa(pair) => PublicKey::from_raw(Scheme::RsaPss, pair.public_key().as_ref()),
        };
        Ok(Self { key, public: public.map_err(|_| KeyError::Crypto("give the public key"))? })
    }
}

#[async_trait]
impl Signer for MemorySigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Crypto("sign");
        Ok(match &self.key {
            Private::Ed25519(pair) => pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            Private::EcdsaP256(pair) | Private::EcdsaP384(pair) => {
                pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec()
            }
            // The salt is as long as the digest, as securesystemslib writes it.
            Private::Rsa(pair) => rsa(pair, &RSA_PSS_SHA256, message)?,
        })
    }

    fn signs(&self, algorithm: Algorithm) -> bool {
        match (&self.key, algorithm) {
            (Private::Rsa(_), Algorithm::RsaPkcs1(_) | Algorithm::RsaPss(_)) => true,
            (_, algorithm) => algorithm == usual(self.public.scheme()),
        }
    }

    async fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        use Algorithm::{RsaPkcs1, RsaPss};
        use Hash::{Sha256, Sha384, Sha512};
        let encoding = match algorithm {
            RsaPkcs1(Sha256) => &RSA_PKCS1_SHA256,
            RsaPkcs1(Sha384) => &RSA_PKCS1_SHA384,
            RsaPkcs1(Sha512) => &RSA_PKCS1_SHA512,
            RsaPss(Sha256) => &RSA_PSS_SHA256,
            RsaPss(Sha384) => &RSA_PSS_SHA384,
            RsaPss(Sha512) => &RSA_PSS_SHA512,
            other if other == usual(self.public.scheme()) => return self.sign(message).await,
            _ => return Err(UNLIKE),
        };
        match &self.key {
            Private::Rsa(pair) => rsa(pair, encoding, message),
            _ => Err(UNLIKE),
        }
    }
}

const UNLIKE: KeyError = KeyError::Crypto("sign with an algorithm of another kind of key");

fn rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| KeyError::Crypto("sign"))?;
    Ok(signature)
}

impl std::fmt::Debug for MemorySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySigner({:?})", self.public)
    }
}
