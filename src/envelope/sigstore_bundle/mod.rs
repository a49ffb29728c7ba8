//! Sigstore bundles (sigstore/protobuf-specs `sigstore_bundle.proto`, in proto3 JSON): v0.3 read and written, v0.1 and v0.2 read.

mod body;
mod log;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use body::{Claim as EntryClaim, Made};
pub use log::LogEntry;

use crate::oci::Digest;
use crate::sig::dsse::{DsseError, Envelope, Signed, envelope, pae, sigstore_accepts};
use crate::sig::statement::{COSIGN_SIGN, PAYLOAD_TYPE, Statement, StatementError, cosign_signature};
use crate::sig::{SubjectKey, json};

/// Media type of version 0.3; `artifactType` of the referrer that carries a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Annotation of that referrer: what the bundle holds, [`HOLDS_DSSE`] or [`HOLDS_MESSAGE`].
pub const CONTENT: &str = "dev.sigstore.bundle.content";
/// Annotation of that referrer: the predicate type of the statement.
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// A DSSE envelope.
pub const HOLDS_DSSE: &str = "dsse-envelope";
/// A signature of the artifact's bytes.
pub const HOLDS_MESSAGE: &str = "message-signature";
/// Largest bundle that is read, in bytes.
pub const MAX_BUNDLE: usize = 4 << 20;
/// Most log entries, and most timestamps (sigstore-go `internal/limits`).
pub const MAX_ENTRIES: usize = 32;

/// Versions of the format that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1: files of 2022 and 2023.
    V01,
    /// 0.2.
    V02,
    /// 0.3: today's.
    V03,
}

/// A bundle that parsed. What was signed comes out only with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    version: Version,
    material: Material,
    content: Content,
    log_entries: Vec<LogEntry>,
    timestamps: Vec<Vec<u8>>,
}

/// Whose key it is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// A key that the reader has; the hint helps to find it and proves nothing.
    PublicKey {
        /// cosign: base64 of SHA-256 over the SubjectPublicKeyInfo.
        hint: Option<String>,
    },
    /// Certificates in DER, leaf first; exactly one in version 0.3.
    Certificates(Vec<Vec<u8>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Dsse(Envelope),
    Message { signature: Vec<u8>, digest: Option<Vec<u8>> },
}

/// What a bundle says of itself. No key has verified it: good for hanging the bundle where it belongs, never for trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// [`HOLDS_DSSE`] or [`HOLDS_MESSAGE`].
    pub content: &'static str,
    /// The predicate type of the statement.
    pub predicate_type: Option<String>,
}

/// Why a bundle is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Larger than [`MAX_BUNDLE`].
    #[error("a Sigstore bundle of {0} bytes; at most {MAX_BUNDLE} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error("Sigstore bundle: {0}")]
    Json(#[from] json::JsonError),
    /// Of another media type.
    #[error("{0:?} is no Sigstore bundle of version 0.1, 0.2 or 0.3")]
    Version(String),
    /// A member that the format does not have; sigstore-go refuses it too.
    #[error("Sigstore bundle: the member {0:?} is not part of the format")]
    Unknown(String),
    /// A member is missing or of another form.
    #[error("Sigstore bundle: {0}")]
    Form(&'static str),
    /// Too many log entries or timestamps.
    #[error("Sigstore bundle: {count} {what}; at most {MAX_ENTRIES} are read")]
    TooMany {
        /// Which.
        what: &'static str,
        /// As found.
        count: usize,
    },
    /// The DSSE envelope in it.
    #[error(transparent)]
    Dsse(#[from] DsseError),
    /// The statement in the envelope.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A message signature where a statement is wanted, or the other way round.
    #[error("the bundle holds no {0}")]
    Content(&'static str),
    /// A log entry of a kind, version or form that is not read.
    #[error("a log entry of kind {kind} {version} cannot be compared with the signature")]
    Entry {
        /// Kind.
        kind: String,
        /// Its version.
        version: String,
    },
    /// A log entry is about another signature.
    #[error("the log entry {0} in the bundle is not about its signature")]
    ForeignEntry(u64),
    /// The message signature is not the key's.
    #[error("the signature in the bundle is not this key's")]
    NotSigned,
    /// A statement about other artifacts.
    #[error("the signed statement does not speak of {0}")]
    OtherArtifact(Digest),
    /// A statement that is a signature, and no attestation.
    #[error("the signed statement is a signature, not an attestation")]
    Signature,
    /// A statement that is no signature: an attestation.
    #[error("the signed statement is an attestation of type {0:?}, not a signature")]
    Attestation(String),
}

/// A bundle that waits for its signature: what `cosign sign` would sign about an image.
#[derive(Debug, Clone)]
pub struct Draft {
    statement: Vec<u8>,
}

impl Draft {
    /// The signature of the artifact with this digest.
    pub fn sign(digest: &Digest, annotations: &BTreeMap<String, String>) -> Self {
        Self { statement: cosign_signature(digest, annotations) }
    }

    /// A statement that was written before, such as an attestation.
    pub fn of(statement: Vec<u8>) -> Self {
        Self { statement }
    }

    /// The bytes to sign.
    pub fn message(&self) -> Vec<u8> {
        pae(PAYLOAD_TYPE, &self.statement)
    }

    /// The bundle; its members are sorted.
    ///
    /// # Errors
    /// The signature is not the key's in the way that cosign verifies (RSA: PKCS #1 v1.5).
    pub fn finish(self, key: &SubjectKey, signature: &[u8]) -> Result<Vec<u8>, BundleError> {
        if !sigstore_accepts(key, &self.message(), signature) {
            return Err(BundleError::NotSigned);
        }
        Ok(crate::oci::sorted_json(&json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key.hint()}},
            "dsseEnvelope": envelope(PAYLOAD_TYPE, &self.statement, signature, None),
        })))
    }
}

impl Bundle {
    /// Parse a bundle.
    ///
    /// # Errors
    /// Too large, not strict JSON, another version, another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let value = json::parse_few(bytes)?;
        let bundle =
            members(&value, &["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"])?;
        let version = version(&value["mediaType"])?;
        let proof = members(
            bundle.get("verificationMaterial").unwrap_or(&Value::Null),
            &["publicKey", "certificate", "x509CertificateChain", "tlogEntries", "timestampVerificationData"],
        )?;
        let material = material(version, proof)?;
        let log_entries = list(proof.get("tlogEntries"), "tlogEntries")?;
        let log_entries = log_entries.iter().map(LogEntry::from_value).collect::<Result<_, _>>()?;
        let timestamps = timestamps(proof)?;
        let content = match (bundle.get("dsseEnvelope"), bundle.get("messageSignature")) {
            (Some(dsse), None) => {
                let dsse_members = members(dsse, &["payload", "payloadType", "signatures"])?;
                for entry in list(dsse_members.get("signatures"), "signatures")? {
                    members(entry, &["sig", "keyid"])?;
                }
                Content::Dsse(Envelope::from_value(dsse)?.single()?)
            }
            (None, Some(message)) => {
                let message = members(message, &["messageDigest", "signature"])?;
                // The digest is a hint: what is verified is the artifact itself.
                let mut hint = None;
                if let Some(digest) = message.get("messageDigest") {
                    let digest = members(digest, &["algorithm", "digest"])?;
                    if digest.get("algorithm").and_then(Value::as_str) == Some("SHA2_256") {
                        hint = bytes_of(digest.get("digest"), "the digest is not base64").ok();
                    }
                }
                let signature = bytes_of(message.get("signature"), "signature is not base64")?;
                Content::Message { signature, digest: hint }
            }
            _ => return Err(BundleError::Form("not exactly one of dsseEnvelope and messageSignature")),
        };
        Ok(Self { version, material, content, log_entries, timestamps })
    }

    /// The format's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whose key it is said to be.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Whether the signature is one over the artifact's own bytes.
    pub fn is_message(&self) -> bool {
        matches!(self.content, Content::Message { .. })
    }

    /// The signature's bytes, which nobody has verified; none where there are several.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Message { signature, .. } => Some(signature),
            Content::Dsse(envelope) => {
                let mut all = envelope.signatures();
                all.next().filter(|_| all.next().is_none())
            }
        }
    }

    /// Whether the hint, if there is one, points at this key. Only to try the likely keys first.
    pub fn hints_at(&self, key: &SubjectKey) -> bool {
        matches!(&self.material, Material::PublicKey { hint: Some(hint) } if *hint == key.hint())
    }

    /// Entries of transparency logs: carried, and nothing is proved by their being here.
    pub fn log_entries(&self) -> &[LogEntry] {
        &self.log_entries
    }

    /// RFC 3161 responses in DER: carried, and nothing is proved by their being here.
    pub fn timestamps(&self) -> &[Vec<u8>] {
        &self.timestamps
    }

    /// What the bundle says of itself, if it says that it is about the artifact with this digest. Nothing is verified.
    ///
    /// # Errors
    /// Another payload than a statement, or about other artifacts.
    pub fn claim(&self, digest: &Digest) -> Result<Claim, BundleError> {
        let other = || BundleError::OtherArtifact(digest.clone());
        match &self.content {
            Content::Dsse(envelope) => {
                let (payload_type, payload) = envelope.unverified();
                if payload_type != PAYLOAD_TYPE {
                    return Err(BundleError::Content("statement"));
                }
                let statement = Statement::parse(payload)?;
                statement.subject(digest).ok_or_else(other)?;
                let predicate_type = Some(statement.predicate_type().to_owned());
                Ok(Claim { content: HOLDS_DSSE, predicate_type })
            }
            Content::Message { digest: hint, .. } => {
                if hint.as_ref().map(hex::encode).as_deref() != Some(digest.hex()) {
                    return Err(other());
                }
                Ok(Claim { content: HOLDS_MESSAGE, predicate_type: None })
            }
        }
    }

    /// The statement in it, which nobody has verified: only to know whether it is worth verifying.
    ///
    /// # Errors
    /// No statement.
    pub fn unverified_statement(&self) -> Result<Statement, BundleError> {
        let Content::Dsse(envelope) = &self.content else { return Err(BundleError::Content("statement")) };
        let (payload_type, payload) = envelope.unverified();
        match payload_type == PAYLOAD_TYPE {
            true => Ok(Statement::parse(payload)?),
            false => Err(BundleError::Content("statement")),
        }
    }

    /// The payload that this key has signed, whatever it says.
    fn signed(&self, key: &SubjectKey) -> Result<Signed, BundleError> {
        let Content::Dsse(envelope) = &self.content else { return Err(BundleError::Content("statement")) };
        Ok(envelope.verify(PAYLOAD_TYPE, |message, signature| sigstore_accepts(key, message, signature))?)
    }

    /// The statement that this key has signed about the artifact with this digest, of whatever predicate type.
    ///
    /// # Errors
    /// Not signed by the key, no statement, or about other artifacts.
    pub fn statement(&self, key: &SubjectKey, digest: &Digest) -> Result<Statement, BundleError> {
        let statement = Statement::of(&self.signed(key)?)?;
        if statement.subject(digest).is_none() {
            return Err(BundleError::OtherArtifact(digest.clone()));
        }
        Ok(statement)
    }

    /// The statement that this key has signed about the artifact with this digest, and that is no signature of it.
    ///
    /// # Errors
    /// Not signed by the key, no statement, about other artifacts, or a signature.
    pub fn attestation(&self, key: &SubjectKey, digest: &Digest) -> Result<Statement, BundleError> {
        let statement = self.statement(key, digest)?;
        if statement.predicate_type() == COSIGN_SIGN { Err(BundleError::Signature) } else { Ok(statement) }
    }

    /// Whether this key has signed exactly this statement.
    pub fn holds(&self, key: &SubjectKey, statement: &[u8]) -> bool {
        self.signed(key).is_ok_and(|signed| signed.payload() == statement)
    }

    /// The key's signature of the artifact with this digest, as `cosign sign` makes it: the annotations. An attestation of the
    /// same key is none, whatever it says (cosign 3 takes it for one).
    ///
    /// # Errors
    /// Not signed by the key, about other artifacts, or an attestation.
    pub fn signature(&self, key: &SubjectKey, digest: &Digest) -> Result<Map<String, Value>, BundleError> {
        let statement = self.statement(key, digest)?;
        if statement.predicate_type() != COSIGN_SIGN {
            let found = statement.predicate_type().chars().take(200).collect();
            return Err(BundleError::Attestation(found));
        }
        Ok(statement.subject(digest).map(|s| s.annotations().clone()).unwrap_or_default())
    }

    /// Whether the message signature is the key's over exactly these bytes.
    ///
    /// # Errors
    /// It is not, or the bundle holds a statement.
    pub fn verify_message(&self, key: &SubjectKey, artifact: &[u8]) -> Result<(), BundleError> {
        let Content::Message { signature, .. } = &self.content else {
            return Err(BundleError::Content("message signature"));
        };
        if sigstore_accepts(key, artifact, signature) { Ok(()) } else { Err(BundleError::NotSigned) }
    }

    /// Whether every log entry is about the very signature in the bundle, which is verified first: same bytes, same key, same
    /// message. `artifact` is needed for message signatures. Says nothing of whether a log holds the entry.
    ///
    /// # Errors
    /// Not signed by the key; an entry that is about another signature, or that cannot be compared.
    pub fn check_log_entries(&self, key: &SubjectKey, artifact: Option<&[u8]>) -> Result<(), BundleError> {
        let (message, payload, signature) = match &self.content {
            Content::Dsse(envelope) => {
                let signed = self.signed(key)?;
                let message = pae(signed.payload_type(), signed.payload());
                let signature = envelope.signatures().next().unwrap_or_default();
                (message, Some(signed), signature)
            }
            Content::Message { signature, .. } => {
                let artifact = artifact.ok_or(BundleError::Content("statement"))?;
                self.verify_message(key, artifact)?;
                (artifact.to_vec(), None, &signature[..])
            }
        };
        let payload = payload.as_ref().map(Signed::payload);
        let made = Made { key, message: &message, payload, signature };
        // One that is about another signature is told before one that cannot be compared.
        let mut compared = Ok(());
        for entry in &self.log_entries {
            match EntryClaim::read(entry.kind(), entry.body()) {
                Ok(claim) if claim.is_about(&made) => {}
                Ok(_) => return Err(BundleError::ForeignEntry(entry.index())),
                Err(e) => compared = compared.and(Err(e)),
            }
        }
        compared
    }
}

fn version(media_type: &Value) -> Result<Version, BundleError> {
    match media_type.as_str() {
        Some("application/vnd.dev.sigstore.bundle+json;version=0.1") => Ok(Version::V01),
        Some("application/vnd.dev.sigstore.bundle+json;version=0.2") => Ok(Version::V02),
        Some(MEDIA_TYPE | "application/vnd.dev.sigstore.bundle+json;version=0.3") => Ok(Version::V03),
        other => Err(BundleError::Version(other.unwrap_or_default().chars().take(100).collect())),
    }
}

fn material(version: Version, proof: &Map<String, Value>) -> Result<Material, BundleError> {
    let der = |v: &Value| {
        let certificate = members(v, &["rawBytes"])?;
        bytes_of(certificate.get("rawBytes"), "a certificate is not base64")
    };
    match (proof.get("publicKey"), proof.get("certificate"), proof.get("x509CertificateChain")) {
        (Some(key), None, None) => {
            let hint = match members(key, &["hint"])?.get("hint") {
                None | Some(Value::Null) => None,
                Some(v) => Some(v.as_str().ok_or(BundleError::Form("the hint is no text"))?.to_owned()),
            };
            Ok(Material::PublicKey { hint: hint.filter(|h| !h.is_empty()) })
        }
        (None, Some(certificate), None) => Ok(Material::Certificates(vec![der(certificate)?])),
        (None, None, Some(_)) if version == Version::V03 => {
            Err(BundleError::Form("version 0.3 carries one certificate, not a chain"))
        }
        (None, None, Some(chain)) => {
            let chain = members(chain, &["certificates"])?;
            let certificates = list(chain.get("certificates"), "certificates")?;
            if certificates.is_empty() {
                return Err(BundleError::Form("a chain without certificates"));
            }
            Ok(Material::Certificates(certificates.iter().map(der).collect::<Result<_, _>>()?))
        }
        _ => Err(BundleError::Form("not exactly one of publicKey, certificate and x509CertificateChain")),
    }
}

fn timestamps(proof: &Map<String, Value>) -> Result<Vec<Vec<u8>>, BundleError> {
    let Some(data) = proof.get("timestampVerificationData") else { return Ok(Vec::new()) };
    if data.is_null() {
        return Ok(Vec::new());
    }
    let stamps = list(members(data, &["rfc3161Timestamps"])?.get("rfc3161Timestamps"), "timestamps")?;
    let stamp = |v: &Value| {
        let stamp = members(v, &["signedTimestamp"])?;
        bytes_of(stamp.get("signedTimestamp"), "a timestamp is not base64")
    };
    stamps.iter().map(stamp).collect()
}

/// An object with no members but these.
pub(super) fn members<'v>(value: &'v Value, known: &[&str]) -> Result<&'v Map<String, Value>, BundleError> {
    let object = value.as_object().ok_or(BundleError::Form("an object is missing or is something else"))?;
    match object.keys().find(|k| !known.contains(&k.as_str())) {
        Some(unknown) => Err(BundleError::Unknown(unknown.chars().take(100).collect())),
        None => Ok(object),
    }
}

/// A list within the limit; proto3 JSON leaves empty ones out.
pub(super) fn list<'v>(value: Option<&'v Value>, what: &'static str) -> Result<&'v [Value], BundleError> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) if items.len() > MAX_ENTRIES => {
            Err(BundleError::TooMany { what, count: items.len() })
        }
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(BundleError::Form("a list is something else")),
    }
}

/// Bytes in base64, which are not empty.
pub(super) fn bytes_of(value: Option<&Value>, what: &'static str) -> Result<Vec<u8>, BundleError> {
    let bytes = value.and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
    bytes.filter(|bytes| !bytes.is_empty()).ok_or(BundleError::Form(what))
}

#[cfg(test)]
mod tests;
