//! DSSE envelopes (Dead Simple Signing Envelope 1.0.2, `protocol.md` and `envelope.md`).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Algorithm, Hash, KeyId, KeyKind, SubjectKey, json};

/// Largest envelope in bytes.
pub const MAX_ENVELOPE: usize = 4 << 20;
/// Most signatures in one envelope.
pub const MAX_SIGNATURES: usize = 16;
/// Longest payload type.
const MAX_TYPE: usize = 256;

/// Standard and URL alphabet, padded or not: writers differ, and the bytes that count are the decoded ones.
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// An envelope that parsed. Its payload comes out only through [`Envelope::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    keyid: Option<String>,
    bytes: Vec<u8>,
}

/// Payload type and payload that a key has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    payload_type: String,
    payload: Vec<u8>,
}

/// Why bytes are no envelope, or an envelope is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DsseError {
    /// Larger than [`MAX_ENVELOPE`].
    #[error("a DSSE envelope of {0} bytes; at most {MAX_ENVELOPE} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error("DSSE envelope: {0}")]
    Json(#[from] json::JsonError),
    /// A member is missing or has another form.
    #[error("DSSE envelope: {0}")]
    Form(&'static str),
    /// No signature, or more than [`MAX_SIGNATURES`].
    #[error("a DSSE envelope with {0} signatures; 1 to {MAX_SIGNATURES} are read")]
    Count(usize),
    /// More than one signature where one is allowed.
    #[error("a DSSE envelope with {0} signatures where exactly one is allowed")]
    NotOne(usize),
    /// Another payload type than the reader asked for.
    #[error("DSSE payload type {found:?}, not {wanted:?}")]
    PayloadType {
        /// As found; at most 256 characters.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// No signature is the key's.
    #[error("no signature in the DSSE envelope is this key's")]
    NotSigned,
}

/// The bytes that are signed ("PAE"): lengths in decimal, the payload raw.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The JSON of an envelope with one signature, as cosign writes it; `keyid` is a hint and may be left out.
pub fn envelope(payload_type: &str, payload: &[u8], signature: &[u8], keyid: Option<&KeyId>) -> Value {
    let mut entry = json!({"sig": STANDARD.encode(signature)});
    if let Some(keyid) = keyid {
        entry["keyid"] = keyid.as_str().into();
    }
    json!({"payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": [entry]})
}

impl Envelope {
    /// Parse an envelope. Unknown members are ignored, as the specification asks: nothing signs them.
    ///
    /// # Errors
    /// Too large, not strict JSON, or of another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, DsseError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(DsseError::TooLarge(bytes.len()));
        }
        Self::from_value(&json::parse(bytes)?)
    }

    /// The same from a value that [`json::parse`] gave.
    ///
    /// # Errors
    /// Of another form.
    pub fn from_value(value: &Value) -> Result<Self, DsseError> {
        let text = |v: &Value, what| v.as_str().map(str::to_owned).ok_or(DsseError::Form(what));
        let payload_type = text(&value["payloadType"], "payloadType is no text")?;
        if payload_type.is_empty() || payload_type.len() > MAX_TYPE {
            return Err(DsseError::Form("payloadType is empty or longer than 256 bytes"));
        }
        let payload = text(&value["payload"], "payload is no text")?;
        let payload = decode(&payload).ok_or(DsseError::Form("payload is not base64"))?;
        let entries = value["signatures"].as_array().ok_or(DsseError::Form("signatures is no list"))?;
        if !(1..=MAX_SIGNATURES).contains(&entries.len()) {
            return Err(DsseError::Count(entries.len()));
        }
        let signatures = entries.iter().map(|entry| {
            let bytes = decode(&text(&entry["sig"], "sig is no text")?)
                .filter(|bytes| !bytes.is_empty())
                .ok_or(DsseError::Form("sig is empty or not base64"))?;
            let keyid = match &entry["keyid"] {
                Value::Null => None,
                v => Some(text(v, "keyid is no text")?).filter(|id| !id.is_empty()),
            };
            Ok(Signature { keyid, bytes })
        });
        Ok(Self { payload_type, payload, signatures: signatures.collect::<Result<_, DsseError>>()? })
    }

    /// Only an envelope with one signature: two could be two signers' of whom a reader sees the one it likes.
    ///
    /// # Errors
    /// [`DsseError::NotOne`].
    pub fn single(self) -> Result<Self, DsseError> {
        if self.signatures.len() == 1 { Ok(self) } else { Err(DsseError::NotOne(self.signatures.len())) }
    }

    /// The key ids, where there are any: hints, nothing signs them.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().filter_map(|s| s.keyid.as_deref())
    }

    /// The signatures' bytes, for comparison: nothing is verified.
    pub fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.signatures.iter().map(|s| &s.bytes[..])
    }

    /// Payload type and payload as they stand, before any key has verified them: to tell what an envelope is about, never to believe
    /// it.
    pub fn unverified(&self) -> (&str, &[u8]) {
        (&self.payload_type, &self.payload)
    }

    /// The payload, once a signature over it is the key's and the payload type is `wanted`. `accepts` says whether bytes
    /// are the key's signature over a message; key ids decide nothing.
    ///
    /// # Errors
    /// Another payload type, or no signature that is the key's.
    pub fn verify(&self, wanted: &str, accepts: impl Fn(&[u8], &[u8]) -> bool) -> Result<Signed, DsseError> {
        if self.payload_type != wanted {
            return Err(DsseError::PayloadType {
                found: self.payload_type.clone(),
                wanted: wanted.to_owned(),
            });
        }
        let message = pae(&self.payload_type, &self.payload);
        if !self.signatures.iter().any(|s| accepts(&message, &s.bytes)) {
            return Err(DsseError::NotSigned);
        }
        Ok(Signed { payload_type: self.payload_type.clone(), payload: self.payload.clone() })
    }
}

impl Signed {
    /// The payload type, which is signed too.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Whether `signature` over `message` is the key's in the way that cosign signs: the first algorithm is that of `cosign sign`
/// today, the second that of older versions and of `.sig` payloads. A key has one or two, whatever the document says.
pub fn sigstore_accepts(key: &SubjectKey, message: &[u8], signature: &[u8]) -> bool {
    sigstore_algorithms(key.kind()).iter().any(|algorithm| key.verify(*algorithm, message, signature))
}

/// The same as a list: the first is the one to sign a bundle with, the last the one for a `.sig` payload.
pub fn sigstore_algorithms(kind: KeyKind) -> &'static [Algorithm] {
    match kind {
        KeyKind::Ed25519 => &[Algorithm::Ed25519],
        KeyKind::P256 => &[Algorithm::Ecdsa(Hash::Sha256)],
        KeyKind::P384 => &[Algorithm::Ecdsa(Hash::Sha384), Algorithm::Ecdsa(Hash::Sha256)],
        KeyKind::P521 => &[Algorithm::Ecdsa(Hash::Sha512), Algorithm::Ecdsa(Hash::Sha256)],
        KeyKind::Rsa { .. } => &[Algorithm::RsaPkcs1(Hash::Sha256)],
    }
}

/// Base64 in the standard or the URL alphabet, not mixed.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD_ALPHABET.decode(text).or_else(|_| URL_ALPHABET.decode(text)).ok()
}

#[cfg(test)]
mod tests;
