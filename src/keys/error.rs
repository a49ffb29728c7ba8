//! What can go wrong with keys. No variant carries secret bytes.

use std::path::PathBuf;

use super::{KmsFault, PasswordError};
use crate::sig::KeyId;

/// An operation on a signing key failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is neither a legal name nor a path nor a known scheme.
    #[error(
        "\"{0}\" is not a key name: 1 to 64 of a-z A-Z 0-9 . _ -, not beginning with a dot or dash, not ending in .pem, .pub or .key"
    )]
    Name(String),
    /// `pkcs11:` and the like, which this version does not have.
    #[error(
        "keys of the kind \"{scheme}:\" are not supported by this version; key files and KMS plugins are"
    )]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The text has `://` in it and is no key in a KMS.
    #[error(
        "\"{0}\" is no key in a KMS: PLUGIN://KEY, where PLUGIN is of a-z 0-9 - and KEY at most 1024 printable characters without spaces"
    )]
    KmsName(String),
    /// The plugin that reaches a KMS failed.
    #[error("{key}: {fault}")]
    Kms {
        /// The key, `PLUGIN://KEY`.
        key: String,
        /// What went wrong.
        fault: KmsFault,
    },
    /// There is a key of that name.
    #[error("{} exists, and keys are never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no such key.
    #[error("there is no key {key} ({})", path.display())]
    Absent {
        /// As it was asked for.
        key: String,
        /// Where it was looked for.
        path: PathBuf,
        /// The names in the key folder.
        known: Vec<String>,
    },
    /// The file is there, but not a key that can be used.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Unreadable,
    },
    /// The password does not open the key, or the file is damaged: with CBC the two cannot always be told apart.
    #[error("{}: wrong password, or the file is damaged", path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
    /// No password could be had.
    #[error("password of {key}: {reason}")]
    Password {
        /// The key's name or file.
        key: String,
        /// Why.
        reason: PasswordError,
    },
    /// The system refused a file operation.
    #[error("cannot {what} {}: {reason}", path.display())]
    Io {
        /// "read", "write".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The kind of error.
        kind: std::io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// The library or device could not make a key, a signature or random numbers.
    #[error("the cryptographic library could not {0}")]
    Crypto(&'static str),
    /// A fresh signature does not verify with the signer's public key.
    #[error("the signature just made by key {key_id} does not verify with its public key")]
    BadSignature {
        /// The key.
        key_id: KeyId,
    },
}

/// Why a file is not a key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// No PEM block at all.
    #[error("no PEM key in it")]
    NoPem,
    /// More than one key.
    #[error("{0} keys in it, expected one")]
    Several(usize),
    /// A PEM block without end, or with characters that are not base64.
    #[error("the PEM block {0} is damaged")]
    Pem(String),
    /// A PEM block of a kind that is no key bulla reads.
    #[error(
        "a PEM block {0} is not a key that bulla reads (PRIVATE KEY, ENCRYPTED PRIVATE KEY, ENCRYPTED SIGSTORE PRIVATE KEY, PUBLIC KEY)"
    )]
    Block(String),
    /// An EC key in SEC1 form (RFC 5915), which openssl converts.
    #[error(
        "an EC PRIVATE KEY (SEC1); convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in FILE -out NEW.pem"
    )]
    Sec1,
    /// An RSA key in PKCS#1 form (RFC 8017 A.1.2), which openssl converts.
    #[error(
        "an RSA PRIVATE KEY (PKCS#1); convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in FILE -out NEW.pem"
    )]
    Pkcs1,
    /// A public key where a private one is needed.
    #[error("a public key only, the private key is needed")]
    PublicOnly,
    /// PKCS#8 that does not parse.
    #[error("not PKCS#8 (RFC 5208), or damaged")]
    Pkcs8,
    /// A key of another kind or size.
    #[error(
        "algorithm {0} is not supported (Ed25519, ECDSA P-256 and P-384, and RSA of 2048 to 8192 bits are)"
    )]
    Algorithm(String),
    /// Not PBES2 with scrypt or PBKDF2-SHA2 and AES-CBC.
    #[error(
        "its encryption is not supported (PBES2 with scrypt or PBKDF2-HMAC-SHA-2 and AES-CBC is); convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in FILE -out NEW.pem"
    )]
    Encryption,
    /// The file asks for more memory or time than bulla gives a key derivation.
    #[error("its key derivation asks for {asked}, more than the limit of {limit}")]
    Cost {
        /// What the file asks for, with unit.
        asked: String,
        /// The limit, with unit.
        limit: &'static str,
    },
    /// The file is larger than a key can be.
    #[error("larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// A `.kms` file that names no key.
    #[error("no key in a KMS stands in it (PLUGIN://KEY)")]
    Pointer,
    /// A directory, a device, a pipe.
    #[error("not a regular file")]
    NotAFile,
    /// Bytes that are no UTF-8 text.
    #[error("not a text file")]
    NotText,
}

impl KeyError {
    pub(super) fn io(what: &'static str, path: &std::path::Path, e: &std::io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), kind: e.kind(), reason: e.to_string() }
    }

    pub(super) fn unreadable(path: &std::path::Path, reason: Unreadable) -> Self {
        Self::Unreadable { path: path.to_owned(), reason }
    }
}
