//! Keys that a KMS holds, reached through programs: cosign's plugins `sigstore-kms-NAME`, protocol v1
//! (sigstore/sigstore, pkg/signature/kms/cliplugin). No shell, no more environment than the plugin needs, bounds on time and
//! output; whatever comes back is checked before it is used.

mod plugin;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub use plugin::Plugins;

use super::{KeyError, Signer, usual};
use crate::sig::{Algorithm, Hash, KeyId, PublicKey, Scheme};

/// What the name of a plugin's program begins with.
const PREFIX: &str = "sigstore-kms-";
/// Longest name of a key inside a KMS, bytes.
const MAX_RESOURCE: usize = 1024;
/// Schemes that name something else than a plugin.
const RESERVED: &[&str] = &["file", "http", "https", "oci", "oci-archive", "pkcs11"];

/// A key in a KMS, `NAME://RESOURCE`: the program `sigstore-kms-NAME` knows what RESOURCE is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KmsRef {
    plugin: String,
    resource: String,
}

/// What went wrong with a plugin. Its own words are capped, cleaned, and without the secrets that it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KmsFault {
    /// Its private key was to be written into a file.
    #[error("the private key stays where it is, and cannot be written into a file")]
    NoExport,
    /// No such program.
    #[error("there is no program {program} in the absolute folders of PATH")]
    NotFound {
        /// Its name.
        program: String,
    },
    /// Others than root and this user may replace it: the file, or the folder that it is in.
    #[error("{} may be written by everybody or belongs to somebody else: the plugin is not run", .0.display())]
    Writable(PathBuf),
    /// The system did not start it.
    #[error("{} cannot be started: {reason}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// It took too long.
    #[error("no answer within {0} s: it was ended")]
    Timeout(u64),
    /// It wrote more than a plugin has to say.
    #[error("it wrote more than {limit} bytes to {to}: it was ended")]
    TooMuch {
        /// The stream.
        to: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It was ended by a signal, or its pipes broke.
    #[error("it broke off ({how}){}", words(.said))]
    Broken {
        /// How.
        how: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// Its answer is none of the protocol.
    #[error("its answer is not of the protocol: {why}{}", words(.said))]
    Garbage {
        /// What is wrong.
        why: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// It answered that it could not.
    #[error("it says: {0}")]
    Refused(String),
    /// The key that it names now is another one than before.
    #[error("it holds key {got} there, and {expected} was kept under that name")]
    OtherKey {
        /// The key that was kept.
        expected: KeyId,
        /// The key that it names.
        got: KeyId,
    },
}

/// A key in a KMS, of which the public half is known.
pub struct KmsSigner {
    plugins: Plugins,
    key: KmsRef,
    public: PublicKey,
}

fn words(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; it says: {text}") }
}

impl KmsRef {
    /// The plugin's name: what stands before `://`.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// What the plugin is to make of it: what stands after `://`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The name of the plugin's program.
    pub fn program(&self) -> String {
        format!("{PREFIX}{}", self.plugin)
    }

    /// The public half, as the plugin says.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn public_key(&self, plugins: &Plugins) -> Result<PublicKey, KeyError> {
        let method = json!({"publicKeyOptions": {"rpcOptions": {}}});
        let request = self.request("publicKey", &method, SHA256);
        let answer = plugin::alone(plugins.call(self, &request, &[])).map_err(|fault| self.fault(fault))?;
        self.public_key_of(&answer)
    }

    /// What an answer to the question for the public key says: bytes of a program that may be broken or hostile.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn read_public_key(&self, answer: &[u8]) -> Result<PublicKey, KeyError> {
        let ended = Ok(std::process::ExitStatus::default());
        let answer = plugin::judge(answer, ended, String::new()).map_err(|fault| self.fault(fault))?;
        self.public_key_of(&answer)
    }

    fn public_key_of(&self, answer: &Value) -> Result<PublicKey, KeyError> {
        let pem = self.member(answer, "publicKey", "publicKeyPEM")?;
        let text = String::from_utf8(pem).map_err(|_| self.garbage("the public key is no text"))?;
        PublicKey::from_pem(&text).map_err(|e| self.garbage(e))
    }

    /// The key, ready to sign.
    ///
    /// # Errors
    /// [`KeyError::Kms`].
    pub fn open(&self, plugins: &Plugins) -> Result<KmsSigner, KeyError> {
        let public = self.public_key(plugins)?;
        Ok(KmsSigner { plugins: plugins.clone(), key: self.clone(), public })
    }

    /// The second argument: initialisation and method in one object.
    fn request(&self, method: &str, arguments: &Value, hash: u32) -> Value {
        json!({
            "initOptions": {
                "protocolVersion": plugin::PROTOCOL,
                "keyResourceID": self.resource,
                "hashFunc": hash,
                "rpcOptions": {},
            },
            "methodName": method,
            method: arguments,
        })
    }

    /// A member of the method's answer, which Go writes in base64.
    fn member(&self, answer: &Value, method: &str, name: &str) -> Result<Vec<u8>, KeyError> {
        let text = answer[method][name].as_str();
        let text = text.ok_or_else(|| self.garbage(format!("{method}.{name} is missing or no string")))?;
        STANDARD.decode(text).map_err(|_| self.garbage(format!("{method}.{name} is not base64")))
    }

    pub(super) fn fault(&self, fault: KmsFault) -> KeyError {
        KeyError::Kms { key: self.to_string(), fault }
    }

    fn garbage(&self, why: impl ToString) -> KeyError {
        self.fault(KmsFault::Garbage { why: why.to_string(), said: String::new() })
    }
}

/// Go's numbers of hash functions (package crypto), which the protocol uses.
const SHA256: u32 = 5;
const SHA384: u32 = 6;

#[async_trait]
impl Signer for KmsSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let hash = match self.public.scheme() {
            Scheme::EcdsaP384 => SHA384,
            Scheme::Ed25519 | Scheme::EcdsaP256 | Scheme::RsaPss => SHA256,
        };
        let mut of_message = json!({});
        if self.public.scheme() != Scheme::Ed25519 {
            of_message["hashFunc"] = hash.into();
        }
        let method = json!({"signOptions": {"rpcOptions": {}, "messageOptions": of_message}});
        let request = self.key.request("signMessage", &method, hash);
        let answer = self.plugins.call(&self.key, &request, message).await;
        self.key.member(&answer.map_err(|fault| self.key.fault(fault))?, "signMessage", "signature")
    }
    /// Whether RSA is signed with PKCS #1 v1.5 or PSS is the KMS's own choice: the protocol does not say, the check does.
    fn signs(&self, algorithm: Algorithm) -> bool {
        let rsa = self.public.scheme() == Scheme::RsaPss;
        algorithm == usual(self.public.scheme()) || (rsa && algorithm == Algorithm::RsaPkcs1(Hash::Sha256))
    }

    async fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if self.signs(algorithm) {
            self.sign(message).await
        } else {
            Err(KeyError::Crypto("sign in the way that this form of signature asks for"))
        }
    }
}

impl fmt::Debug for KmsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsSigner({} {:?})", self.key, self.public)
    }
}

impl FromStr for KmsRef {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let shown = || KeyError::KmsName(s.chars().take(80).filter(|c| !c.is_control()).collect());
        let (plugin, resource) = s.split_once("://").ok_or_else(shown)?;
        if RESERVED.contains(&plugin) {
            return Err(KeyError::Scheme { scheme: plugin.to_owned() });
        }
        let named = (2..=64).contains(&plugin.len())
            && plugin.starts_with(|c: char| c.is_ascii_lowercase())
            && plugin.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let known =
            (1..=MAX_RESOURCE).contains(&resource.len()) && resource.bytes().all(|b| b.is_ascii_graphic());
        if named && known {
            Ok(Self { plugin: plugin.to_owned(), resource: resource.to_owned() })
        } else {
            Err(shown())
        }
    }
}

impl fmt::Display for KmsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.plugin, self.resource)
    }
}

#[cfg(test)]
mod tests;
