//! Ring 4: signing keys. Knows digests (0) and public keys (1), nothing of TUF or registries.
//!
//! A key is named by a [`KeyRef`], opened with [`open`], and used through [`Signer`] by way of [`sign_checked`].
//! Key files are in [`KeyFolder`]; keys that a KMS holds are reached by plugins ([`KmsRef`]).

mod cosign;
mod error;
mod folder;
mod keyref;
mod kms;
mod memory;
mod password;
mod pem;
mod pkcs8;

pub use cosign::cosign_key_file;
pub use error::{KeyError, Unreadable};
pub use folder::{KeyEntry, KeyFolder, Listed};
pub use keyref::{KeyName, KeyRef};
pub use kms::{KmsFault, KmsRef, KmsSigner, Plugins};
pub use memory::MemorySigner;
pub use password::{NoPrompt, Password, PasswordError, Passwords, Prompt, TerminalPrompt};

use std::path::PathBuf;

use async_trait::async_trait;

use crate::sig::{Algorithm, Hash, PublicKey, Scheme, SubjectKey};

/// Something that signs: a key file, a KMS behind a plugin. Signatures are of the form that
/// [`PublicKey::verify`] takes: raw 64 bytes (Ed25519), DER (ECDSA), or as long as the modulus (RSA-PSS).
#[async_trait]
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Sign exactly `message`. Call [`sign_checked`] instead: what a device or service returns is not believed.
    ///
    /// # Errors
    /// The device, service or library failed.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Whether [`Signer::sign_as`] knows this algorithm. What a device then really makes is seen when it is checked.
    fn signs(&self, algorithm: Algorithm) -> bool {
        algorithm == usual(self.public_key().scheme())
    }

    /// Sign exactly `message` in the way that the form of another tool asks for (docs/signatures.md). Call [`sign_checked_as`] instead.
    ///
    /// # Errors
    /// Like [`Signer::sign`]; an algorithm that this signer does not have.
    async fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if algorithm == usual(self.public_key().scheme()) {
            self.sign(message).await
        } else {
            Err(KeyError::Crypto("sign in the way that this form of signature asks for"))
        }
    }
}

/// How [`Signer::sign`] signs.
fn usual(scheme: Scheme) -> Algorithm {
    match scheme {
        Scheme::Ed25519 => Algorithm::Ed25519,
        Scheme::EcdsaP256 => Algorithm::Ecdsa(Hash::Sha256),
        Scheme::EcdsaP384 => Algorithm::Ecdsa(Hash::Sha384),
        Scheme::RsaPss => Algorithm::RsaPss(Hash::Sha256),
    }
}

/// Sign `message` and verify the fresh signature with the signer's own public key before anybody uses it.
///
/// # Errors
/// The signer's own, or [`KeyError::BadSignature`].
pub async fn sign_checked(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let signature = signer.sign(message).await?;
    if signer.public_key().verify(message, &signature) {
        Ok(signature)
    } else {
        Err(KeyError::BadSignature { key_id: signer.public_key().key_id() })
    }
}

/// The same for the form of another tool: signed with `algorithm`, and verified with it.
///
/// # Errors
/// The signer's own, or [`KeyError::BadSignature`].
pub async fn sign_checked_as(
    signer: &dyn Signer,
    algorithm: Algorithm,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let signature = signer.sign_as(algorithm, message).await?;
    if SubjectKey::from(signer.public_key()).verify(algorithm, message, &signature) {
        Ok(signature)
    } else {
        Err(KeyError::BadSignature { key_id: signer.public_key().key_id() })
    }
}

/// A random name: 16 hex digits.
///
/// # Errors
/// The system gives no random numbers.
pub fn random_id() -> Result<String, KeyError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Crypto("give random numbers"))?;
    Ok(hex::encode(bytes))
}

/// A key that was opened, with what should be said about it.
pub struct Opened {
    /// The key, ready to sign.
    pub signer: Box<dyn Signer>,
    /// What the user should hear about the key's file.
    pub warnings: Vec<KeyWarning>,
}

/// Something about a key file that does not stop its use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyWarning {
    /// Others than the owner may read the private key.
    #[error("{} can be read by others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The private key has no password.
    #[error("{} is not encrypted", path.display())]
    NotEncrypted {
        /// The file.
        path: PathBuf,
    },
    /// `NAME.pub` beside the private key holds another key.
    #[error("{} does not belong to the private key beside it", path.display())]
    PublicDiffers {
        /// The `.pub` file.
        path: PathBuf,
    },
}

impl KeyWarning {
    /// A stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permissions { .. } => "key.permissions",
            Self::NotEncrypted { .. } => "key.unencrypted",
            Self::PublicDiffers { .. } => "key.public-differs",
        }
    }
}

/// Open the key that `key` names for signing. A password is asked for only if the key needs one.
///
/// # Errors
/// No such key, a file that is no usable key, a wrong password, or none to be had.
pub fn open(key: &KeyRef, folder: &KeyFolder, passwords: &Passwords) -> Result<Opened, KeyError> {
    folder.open(key, passwords)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Liar(MemorySigner);

    #[async_trait]
    impl Signer for Liar {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }

        async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
            let mut signature = self.0.sign(message).await?;
            signature[10] ^= 1;
            Ok(signature)
        }
    }

    #[tokio::test]
    async fn other_forms_of_signatures() {
        use Algorithm::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
        use Hash::{Sha256, Sha384, Sha512};
        let every = [
            Ed25519,
            Ecdsa(Sha256),
            Ecdsa(Sha384),
            Ecdsa(Sha512),
            RsaPkcs1(Sha256),
            RsaPkcs1(Sha384),
            RsaPkcs1(Sha512),
            RsaPss(Sha256),
            RsaPss(Sha384),
            RsaPss(Sha512),
        ];
        for (scheme, has) in [
            (Scheme::Ed25519, &every[..1]),
            (Scheme::EcdsaP256, &every[1..2]),
            (Scheme::EcdsaP384, &every[2..3]),
            (Scheme::RsaPss, &every[4..]),
        ] {
            let key = MemorySigner::generate(scheme).unwrap();
            for algorithm in every {
                let signed = sign_checked_as(&key, algorithm, b"message").await;
                assert_eq!(signed.is_ok(), has.contains(&algorithm), "{scheme} {algorithm:?}");
            }
            let lying = sign_checked_as(&Liar(key), usual(scheme), b"message").await;
            assert!(matches!(lying, Err(KeyError::BadSignature { .. })));
        }
    }

    #[tokio::test]
    async fn a_lying_signer_is_caught() {
        for scheme in [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::EcdsaP384, Scheme::RsaPss] {
            let good = MemorySigner::generate(scheme).unwrap();
            let signature = sign_checked(&good, b"message").await.unwrap();
            assert!(good.public_key().verify(b"message", &signature));
            assert!(!good.public_key().verify(b"massage", &signature));
            let key_id = good.public_key().key_id();
            assert_eq!(sign_checked(&Liar(good), b"message").await, Err(KeyError::BadSignature { key_id }));
        }
    }
}
