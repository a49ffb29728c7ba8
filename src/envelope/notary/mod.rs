//! What the two envelope forms of the Notary Project share (signature specification 1.1): payload, attributes, algorithms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::oci::{Descriptor, Digest, media_type};
use crate::sig::json;
use crate::sig::x509::{Certificate, CertificateError, Chain, ChainError};
use crate::sig::{Algorithm, Hash, KeyKind, SubjectKey};
use crate::time::UnixTime;

/// `artifactType` of the signature's manifest; media type of its config in the form that notation 1 writes.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
/// Type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
/// The annotation of the signature's manifest that lists the thumbprints of the chain: a hint.
pub const THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";
/// Largest envelope that is read, in bytes.
pub const MAX_ENVELOPE: usize = 4 << 20;

pub(super) const SCHEME: &str = "io.cncf.notary.signingScheme";
pub(super) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(super) const AUTHENTIC_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub(super) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(super) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(super) const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
pub(super) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
pub(super) const AGENT: &str = "io.cncf.notary.signingAgent";

/// Who vouches for the signing time, and so which kind of trust store counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningScheme {
    /// `notary.x509`: the signer alone.
    X509,
    /// `notary.x509.signingAuthority`: an authority that signs for others.
    SigningAuthority,
}

/// The artifact that a payload names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Media type of its manifest.
    pub media_type: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Size of its manifest.
    pub size: u64,
    /// What the signer noted (notation's `-m`).
    pub annotations: BTreeMap<String, String>,
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What for.
    pub artifact: Artifact,
    /// When, as the signer says.
    pub signed_at: UnixTime,
    /// From when on it no longer counts.
    pub expires: Option<UnixTime>,
    /// The signer's chain, root included.
    pub chain: Chain,
    /// Which program signs; not signed itself.
    pub agent: String,
}

/// A signature whose integrity is verified: the leaf's key signed all of this, and the chain obeys the rules. Whether its root is
/// trusted, and whether anything has expired or was revoked, is not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub(super) artifact: Artifact,
    pub(super) attributes: Attributes,
    pub(super) chain: Chain,
    pub(super) signature: Vec<u8>,
    pub(super) timestamp: Option<Vec<u8>>,
    pub(super) agent: Option<String>,
}

/// The signed attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) scheme: SigningScheme,
    pub(super) signed_at: UnixTime,
    pub(super) expires: Option<UnixTime>,
}

/// A signed attribute as the envelope form has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(String),
    Time(UnixTime),
    Other,
}

/// Why an envelope is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotaryError {
    /// Larger than [`MAX_ENVELOPE`].
    #[error("a signature envelope of {0} bytes; at most {MAX_ENVELOPE} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error("signature envelope: {0}")]
    Json(#[from] json::JsonError),
    /// Not CBOR of a tagged COSE_Sign1.
    #[error("not a tagged COSE_Sign1: {0}")]
    Cose(String),
    /// A member is missing, of another form, or one too many.
    #[error("signature envelope: {0}")]
    Form(&'static str),
    /// A certificate does not parse.
    #[error("certificate {index} of the chain: {reason}")]
    Certificate {
        /// Counted from the leaf, 0.
        index: usize,
        /// Why.
        reason: CertificateError,
    },
    /// The chain breaks a rule.
    #[error("certificate chain: {0}")]
    Chain(#[from] ChainError),
    /// A key that the specification has no algorithm for.
    #[error(
        "a signing key {0} has no algorithm in the Notary Project (RSA 2048, 3072, 4096, ECDSA P-256, P-384, P-521 have)"
    )]
    Key(KeyKind),
    /// The header names another algorithm than the key forces.
    #[error("the envelope says algorithm {found}, and the signing key forces {wanted}")]
    Algorithm {
        /// As found.
        found: String,
        /// What the key forces.
        wanted: &'static str,
    },
    /// A critical attribute that is not known.
    #[error("the critical attribute {0} is not understood")]
    Critical(String),
    /// An attribute that must be marked critical is not.
    #[error("the attribute {0} is not marked critical")]
    NotCritical(&'static str),
    /// An attribute is missing, or of another form.
    #[error("the attribute {name} {fault}")]
    Attribute {
        /// Which.
        name: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
    /// Only a plugin could verify it.
    #[error("only the verification plugin {0} could verify it, and there are no such plugins")]
    Plugin(String),
    /// The payload is not what it should be.
    #[error("signed payload: {0}")]
    Payload(&'static str),
    /// The signature does not verify.
    #[error("the signature is not that of the signing certificate's key")]
    Signature,
}

impl Verified {
    /// What was signed.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Whether this is a signature for exactly that artifact: media type, digest and size.
    pub fn is_for(&self, descriptor: &Descriptor) -> bool {
        let a = &self.artifact;
        (&a.media_type, &a.digest, a.size) == (&descriptor.media_type, &descriptor.digest, descriptor.size)
    }

    /// Who signed.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Who vouches for the signing time.
    pub fn scheme(&self) -> SigningScheme {
        self.attributes.scheme
    }

    /// When it was signed, as the signer (or authority) says.
    pub fn signed_at(&self) -> UnixTime {
        self.attributes.signed_at
    }

    /// From when on it no longer counts.
    pub fn expires(&self) -> Option<UnixTime> {
        self.attributes.expires
    }

    /// Whether it had expired at `at`: from the second of its expiry on.
    pub fn expired_at(&self, at: UnixTime) -> bool {
        self.attributes.expires.is_some_and(|expires| at >= expires)
    }

    /// The signature's bytes, which a timestamp is about.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The RFC 3161 token, where there is one: nothing here has verified it.
    pub fn timestamp(&self) -> Option<&[u8]> {
        self.timestamp.as_deref()
    }

    /// The program that signed, as it says itself; not signed.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }
}

impl Request {
    /// What has one reading only: checked before anything is signed.
    pub(super) fn checked(self) -> Result<Self, NotaryError> {
        algorithm(self.chain.leaf().key())?;
        self.chain.valid_at(self.signed_at)?;
        if self.expires.is_some_and(|expires| expires <= self.signed_at) {
            return Err(NotaryError::Attribute { name: EXPIRY, fault: "is not later than the signing time" });
        }
        if self.artifact.annotations.keys().any(|k| k.starts_with("io.cncf.notary")) {
            return Err(NotaryError::Payload("an annotation begins with io.cncf.notary, which is reserved"));
        }
        Ok(self)
    }

    /// The attributes that must be understood, as written.
    pub(super) fn critical(&self) -> Vec<&'static str> {
        if self.expires.is_some() { vec![SCHEME, EXPIRY] } else { vec![SCHEME] }
    }
}

impl Artifact {
    /// The payload's bytes: sorted names, as notation writes them.
    pub(super) fn to_payload(&self) -> Vec<u8> {
        let mut target = Map::new();
        if !self.annotations.is_empty() {
            target.insert("annotations".into(), json!(self.annotations));
        }
        target.insert("digest".into(), json!(self.digest));
        target.insert("mediaType".into(), json!(self.media_type));
        target.insert("size".into(), json!(self.size));
        crate::oci::sorted_json(&json!({"targetArtifact": target}))
    }

    /// From the payload's bytes. Other members of the descriptor are allowed and mean nothing.
    pub(super) fn from_payload(bytes: &[u8]) -> Result<Self, NotaryError> {
        use NotaryError::Payload;
        let value = json::parse(bytes).map_err(|_| Payload("not strict JSON"))?;
        let target = match value.as_object() {
            Some(o) if o.len() == 1 => value["targetArtifact"].as_object(),
            _ => None,
        };
        let target = target.ok_or(Payload("not an object targetArtifact and nothing else"))?;
        let text = |name: &str| target.get(name).and_then(Value::as_str);
        let media_type = text("mediaType").filter(|t| !t.is_empty()).ok_or(Payload("no mediaType"))?;
        let digest = text("digest").and_then(|d| d.parse().ok()).ok_or(Payload("no digest that is read"))?;
        let size = target.get("size").and_then(Value::as_u64).ok_or(Payload("no size"))?;
        let annotations = match target.get("annotations") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(v) => {
                let pair = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_owned()));
                let pairs = v.as_object().and_then(|o| o.iter().map(pair).collect::<Option<_>>());
                pairs.ok_or(Payload("annotations that are no texts"))?
            }
        };
        Ok(Self { media_type: media_type.to_owned(), digest, size, annotations })
    }

    /// The artifact that a descriptor names.
    pub fn of(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            annotations: BTreeMap::new(),
        }
    }
}

/// The one algorithm of a signing key ("Signature Algorithm Requirements"), and its name in JWS.
///
/// # Errors
/// The specification has none for this key.
pub fn algorithm(key: &SubjectKey) -> Result<(Algorithm, &'static str), NotaryError> {
    Ok(match key.kind() {
        KeyKind::P256 => (Algorithm::Ecdsa(Hash::Sha256), "ES256"),
        KeyKind::P384 => (Algorithm::Ecdsa(Hash::Sha384), "ES384"),
        KeyKind::P521 => (Algorithm::Ecdsa(Hash::Sha512), "ES512"),
        KeyKind::Rsa { bits: 2048 } => (Algorithm::RsaPss(Hash::Sha256), "PS256"),
        KeyKind::Rsa { bits: 3072 } => (Algorithm::RsaPss(Hash::Sha384), "PS384"),
        KeyKind::Rsa { bits: 4096 } => (Algorithm::RsaPss(Hash::Sha512), "PS512"),
        other => return Err(NotaryError::Key(other)),
    })
}

/// Whether `signature`, in the form of JWS and COSE, is the key's.
pub(super) fn accepts(key: &SubjectKey, message: &[u8], signature: &[u8]) -> Result<(), NotaryError> {
    let verifies = match algorithm(key)? {
        (Algorithm::Ecdsa(_), _) => key.verify_fixed(message, signature),
        (algorithm, _) => key.verify(algorithm, message, signature),
    };
    if verifies { Ok(()) } else { Err(NotaryError::Signature) }
}

/// A signature as `keys::Signer` makes it (ECDSA in DER), in the form of JWS and COSE; verified.
pub(super) fn encoded(key: &SubjectKey, message: &[u8], signature: &[u8]) -> Result<Vec<u8>, NotaryError> {
    let encoded = match algorithm(key)? {
        (Algorithm::Ecdsa(_), _) => key.to_fixed(signature).ok_or(NotaryError::Signature)?,
        _ => signature.to_vec(),
    };
    accepts(key, message, &encoded)?;
    Ok(encoded)
}

/// The chain in an envelope's unprotected header.
pub(super) fn chain(certificates: &[Vec<u8>]) -> Result<Chain, NotaryError> {
    if certificates.len() > crate::sig::x509::MAX_CHAIN {
        return Err(ChainError::Length(certificates.len()).into());
    }
    let parsed = certificates.iter().enumerate().map(|(index, der)| {
        Certificate::from_der(der).map_err(|reason| NotaryError::Certificate { index, reason })
    });
    Ok(Chain::notary(parsed.collect::<Result<_, _>>()?)?)
}

/// What the signed attributes say, once every critical one is known and every one that must be critical is.
pub(super) fn attributes(
    critical: &[String],
    found: &BTreeMap<String, Attribute>,
) -> Result<Attributes, NotaryError> {
    let known = [SCHEME, AUTHENTIC_TIME, EXPIRY, PLUGIN, PLUGIN_VERSION];
    let mut seen = BTreeSet::new();
    for name in critical {
        if !known.contains(&name.as_str()) && name != SIGNING_TIME {
            return Err(NotaryError::Critical(name.chars().take(100).collect()));
        }
        if !found.contains_key(name) {
            return Err(NotaryError::Form("a critical attribute is not there"));
        }
        if !seen.insert(name.as_str()) {
            return Err(NotaryError::Form("an attribute is listed as critical twice"));
        }
    }
    for name in known {
        if found.contains_key(name) && !seen.contains(name) {
            return Err(NotaryError::NotCritical(name));
        }
    }
    if let Some(plugin) = found.get(PLUGIN) {
        let name =
            if let Attribute::Text(name) = plugin { name.chars().take(100).collect() } else { String::new() };
        return Err(NotaryError::Plugin(name));
    }
    if found.contains_key(PLUGIN_VERSION) {
        return Err(NotaryError::Attribute { name: PLUGIN_VERSION, fault: "stands without a plugin" });
    }
    let missing = |name, fault| NotaryError::Attribute { name, fault };
    let scheme = match found.get(SCHEME) {
        Some(Attribute::Text(s)) if s == "notary.x509" => SigningScheme::X509,
        Some(Attribute::Text(s)) if s == "notary.x509.signingAuthority" => SigningScheme::SigningAuthority,
        Some(_) => return Err(missing(SCHEME, "is neither notary.x509 nor notary.x509.signingAuthority")),
        None => return Err(missing(SCHEME, "is missing")),
    };
    let time = |name| match found.get(name) {
        Some(Attribute::Time(time)) => Ok(Some(*time)),
        Some(_) => Err(missing(name, "is no time")),
        None => Ok(None),
    };
    let (own, other) = match scheme {
        SigningScheme::X509 => (SIGNING_TIME, AUTHENTIC_TIME),
        SigningScheme::SigningAuthority => (AUTHENTIC_TIME, SIGNING_TIME),
    };
    if found.contains_key(other) {
        return Err(missing(other, "does not belong to the signing scheme"));
    }
    let signed_at = time(own)?.ok_or_else(|| missing(own, "is missing"))?;
    let expires = time(EXPIRY)?;
    if expires.is_some_and(|expires| expires <= signed_at) {
        return Err(missing(EXPIRY, "is not later than the signing time"));
    }
    Ok(Attributes { scheme, signed_at, expires })
}

/// The annotation [`THUMBPRINTS`] of a signature by this chain.
pub fn thumbprints(chain: &Chain) -> String {
    json!(chain.certificates().iter().map(|c| c.thumbprint().hex().to_owned()).collect::<Vec<_>>())
        .to_string()
}

/// Whether a manifest is that of a signature, by its types: the new form, and the one that notation 1 writes.
pub fn is_signature(artifact_type: Option<&str>, config_media_type: &str) -> bool {
    match artifact_type {
        Some(t) => t == ARTIFACT_TYPE && config_media_type == media_type::OCI_EMPTY,
        None => config_media_type == ARTIFACT_TYPE,
    }
}

#[cfg(test)]
pub(super) mod tests;
