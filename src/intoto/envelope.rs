//! Signed documents, classic (`{signed, signatures}`) and DSSE (ITE-5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::attestation;
use super::error::cut;
use super::read::bounded;
use super::{IntotoError, Key, Layout, Link, MAX_DOCUMENT, MAX_SIGNATURES};
use crate::sig::canonical::canonical;
use crate::sig::dsse::{self, DsseError};
use crate::sig::statement::PAYLOAD_TYPE;
use crate::sig::{KeyId, json};

/// How a document is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `{signed, signatures}`: over the canonical JSON of `signed`, hex.
    Classic,
    /// A DSSE envelope: over the payload as it is, base64.
    Dsse,
}

/// What a document is.
#[derive(Debug, Clone)]
pub enum Document {
    /// A layout.
    Layout(Layout),
    /// A link, or an attestation that says the same.
    Link(Link),
}

/// A document with its signatures. What it says comes out with the keys that signed it, or by a word that says that nobody did.
#[derive(Debug, Clone)]
pub struct Envelope {
    form: Form,
    /// What is signed: the untyped value, and in DSSE its bytes.
    signed: Value,
    payload: Vec<u8>,
    message: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    keyid: Option<String>,
    bytes: Vec<u8>,
    gpg: bool,
    raw: Value,
}

impl Envelope {
    /// Parse a document. Its payload is JSON of some kind; what kind, is told by [`Envelope::verify`] and [`Envelope::unverified`].
    ///
    /// # Errors
    /// Too large, not strict JSON, or of another form; two signatures under one key id.
    pub fn parse(bytes: &[u8]) -> Result<Self, IntotoError> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(IntotoError::TooLarge(bytes.len()));
        }
        bounded(bytes)?;
        let mut value = json::parse(bytes)?;
        let signed = value.as_object_mut().and_then(|map| map.remove("signed"));
        match (signed, value.get("payload")) {
            (Some(_), Some(_)) => Err(IntotoError::Envelope("it is a classic and a DSSE envelope at once")),
            (Some(signed), None) => Self::classic(signed, &value),
            (None, Some(_)) => Self::dsse(&value),
            (None, None) => {
                Err(IntotoError::Envelope("neither \"signed\" (classic) nor \"payload\" (DSSE) is there"))
            }
        }
    }

    fn classic(signed: Value, value: &Value) -> Result<Self, IntotoError> {
        let list = value["signatures"].as_array();
        let list = list.ok_or(IntotoError::Envelope("\"signatures\" is no list"))?;
        let signatures = list.iter().map(Signature::classic).collect::<Result<_, _>>()?;
        let message = canonical(&signed);
        Self { form: Form::Classic, signed, payload: Vec::new(), message, signatures }.checked()
    }

    fn dsse(value: &Value) -> Result<Self, IntotoError> {
        let envelope = dsse::Envelope::from_value(value)?;
        let (found, payload) = envelope.unverified();
        if found != PAYLOAD_TYPE {
            let (found, wanted) = (cut(found), PAYLOAD_TYPE.to_owned());
            return Err(DsseError::PayloadType { found, wanted }.into());
        }
        let raw = value["signatures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let signatures = raw.iter().zip(envelope.signatures()).map(|(raw, bytes)| Signature {
            keyid: raw["keyid"].as_str().filter(|id| !id.is_empty()).map(str::to_owned),
            bytes: bytes.to_vec(),
            gpg: false,
            raw: raw.clone(),
        });
        let (signatures, payload) = (signatures.collect(), payload.to_vec());
        let message = dsse::pae(PAYLOAD_TYPE, &payload);
        bounded(&payload)?;
        let signed = json::parse(&payload)?;
        Self { form: Form::Dsse, signed, payload, message, signatures }.checked()
    }

    fn checked(self) -> Result<Self, IntotoError> {
        super::read::within("signatures", self.signatures.len(), MAX_SIGNATURES)?;
        let mut ids: Vec<&str> = self.signatures.iter().filter_map(Signature::keyid).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(IntotoError::RepeatedSignature(cut(pair[0]))),
            None => Ok(self),
        }
    }

    /// A document that nobody has signed yet: sign [`Envelope::message`], then [`Envelope::add`].
    pub fn draft(form: Form, document: &Document) -> Self {
        Self::unsigned(form, document.to_value())
    }

    /// The same of a link as an attestation (link v0.3), which only DSSE carries.
    pub fn draft_attestation(link: &Link) -> Self {
        Self::unsigned(Form::Dsse, attestation::to_value(link))
    }

    fn unsigned(form: Form, signed: Value) -> Self {
        let (payload, message) = match form {
            Form::Classic => (Vec::new(), canonical(&signed)),
            Form::Dsse => {
                let payload = signed.to_string().into_bytes();
                let message = dsse::pae(PAYLOAD_TYPE, &payload);
                (payload, message)
            }
        };
        Self { form, signed, payload, message, signatures: Vec::new() }
    }

    /// Add a signature over [`Envelope::message`]; an earlier one under the same key id goes.
    pub fn add(&mut self, keyid: &KeyId, signature: &[u8]) {
        self.signatures.retain(|s| s.keyid() != Some(keyid.as_str()));
        let encoded = match self.form {
            Form::Classic => hex::encode(signature),
            Form::Dsse => STANDARD.encode(signature),
        };
        self.signatures.push(Signature {
            keyid: Some(keyid.to_string()),
            bytes: signature.to_vec(),
            gpg: false,
            raw: json!({"keyid": keyid.as_str(), "sig": encoded}),
        });
    }

    /// The file. What is signed is what was received, or drafted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures: Vec<&Value> = self.signatures.iter().map(|s| &s.raw).collect();
        let value = match self.form {
            Form::Classic => json!({"signed": self.signed, "signatures": signatures}),
            Form::Dsse => json!({
                "payload": STANDARD.encode(&self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": signatures,
            }),
        };
        value.to_string().into_bytes()
    }

    /// Classic or DSSE.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The bytes that every signature is over.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The signatures, unverified.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The signature that is this key's, if one is: those under one of its ids are tried first, then the others, since ids decide
    /// nothing.
    pub fn signed_by(&self, key: &Key) -> Option<&Signature> {
        let named = |s: &&Signature| s.keyid().is_some_and(|id| key.is_named(id));
        let first = self.signatures.iter().filter(named);
        let others = self.signatures.iter().filter(|s| !named(s));
        first.chain(others).find(|s| !s.gpg && !s.bytes.is_empty() && key.verify(&self.message, &s.bytes))
    }

    /// What the document says, if this key has signed it. `None`: it has not.
    ///
    /// # Errors
    /// It has, and signed something that is no layout or link.
    pub fn verify(&self, key: &Key) -> Option<Result<Document, IntotoError>> {
        self.signed_by(key).map(|_| self.unverified())
    }

    /// What the document says, whoever signed it: for people, and after every check was done elsewhere.
    ///
    /// # Errors
    /// No layout and no link.
    pub fn unverified(&self) -> Result<Document, IntotoError> {
        Document::from_value(&self.signed)
    }

    /// The untyped value that is signed.
    pub fn signed(&self) -> &Value {
        &self.signed
    }
}

impl Signature {
    /// The key id, where there is one: a hint.
    pub fn keyid(&self) -> Option<&str> {
        self.keyid.as_deref()
    }

    /// Whether it is a GPG signature, which is not read.
    pub fn is_gpg(&self) -> bool {
        self.gpg
    }

    /// A signature that cannot be read is kept and never verifies: it may be a stranger's.
    fn classic(raw: &Value) -> Result<Self, IntotoError> {
        let Some(map) = raw.as_object() else {
            return Err(IntotoError::Envelope("a signature is no object"));
        };
        let keyid = map.get("keyid").and_then(Value::as_str).filter(|id| !id.is_empty());
        let sig = map.get("sig").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            keyid: keyid.map(str::to_owned),
            bytes: hex::decode(sig).unwrap_or_default(),
            gpg: map.contains_key("other_headers"),
            raw: raw.clone(),
        })
    }
}

impl Document {
    /// From the untyped value, by its `_type`.
    ///
    /// # Errors
    /// No layout and no link.
    pub fn from_value(value: &Value) -> Result<Self, IntotoError> {
        match value["_type"].as_str() {
            Some("layout") => Layout::from_value(value).map(Self::Layout),
            Some("link") => Link::from_value(value).map(Self::Link),
            Some(attestation::STATEMENT) => attestation::read(value).map(Self::Link),
            other => Err(IntotoError::Type(cut(other.unwrap_or("(none)")))),
        }
    }

    /// The untyped value, as it is signed.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Layout(layout) => layout.to_value(),
            Self::Link(link) => link.to_value(),
        }
    }

    /// The layout.
    ///
    /// # Errors
    /// It is a link.
    pub fn into_layout(self) -> Result<Layout, IntotoError> {
        match self {
            Self::Layout(layout) => Ok(layout),
            Self::Link(_) => Err(IntotoError::Kind { found: "link", wanted: "layout" }),
        }
    }

    /// The link.
    ///
    /// # Errors
    /// It is a layout.
    pub fn into_link(self) -> Result<Link, IntotoError> {
        match self {
            Self::Link(link) => Ok(link),
            Self::Layout(_) => Err(IntotoError::Kind { found: "layout", wanted: "link" }),
        }
    }
}
