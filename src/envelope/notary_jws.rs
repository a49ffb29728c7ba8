//! The JWS form (`signature-envelope-jws.md`; RFC 7515 7.2.2, flattened JSON).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::notary::{
    AGENT, AUTHENTIC_TIME, Artifact, Attribute, EXPIRY, MAX_ENVELOPE, NotaryError, PAYLOAD_TYPE, Request,
    SCHEME, SIGNING_TIME, TIMESTAMP, Verified, accepts, algorithm, attributes, chain, encoded,
};
use crate::sig::json;
use crate::time::UnixTime;

/// Media type of the envelope.
pub const MEDIA_TYPE: &str = "application/jose+json";
/// Header parameters that JWS itself defines and this form uses; never critical (RFC 7515 4.1.11).
const OWN: [&str; 3] = ["alg", "cty", "crit"];

/// An envelope that waits for its signature.
#[derive(Debug, Clone)]
pub struct Draft {
    request: Request,
    protected: String,
    payload: String,
}

impl Draft {
    /// What would be signed for `request`.
    ///
    /// # Errors
    /// A key without algorithm, an expiry that is not later, reserved annotations.
    pub fn new(request: Request) -> Result<Self, NotaryError> {
        let request = request.checked()?;
        let (_, name) = algorithm(request.chain.leaf().key())?;
        let mut header = json!({
            "alg": name,
            "crit": request.critical(),
            "cty": PAYLOAD_TYPE,
            SCHEME: "notary.x509",
            SIGNING_TIME: request.signed_at,
        });
        if let Some(expires) = request.expires {
            header[EXPIRY] = json!(expires);
        }
        let protected = URL_SAFE_NO_PAD.encode(crate::oci::sorted_json(&header));
        let payload = URL_SAFE_NO_PAD.encode(request.artifact.to_payload());
        Ok(Self { request, protected, payload })
    }

    /// The bytes to sign.
    pub fn message(&self) -> Vec<u8> {
        format!("{}.{}", self.protected, self.payload).into_bytes()
    }

    /// The envelope with its signature, in the form that a signer gives it (ECDSA in DER).
    ///
    /// # Errors
    /// The signature is not that of the signing certificate's key.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, NotaryError> {
        let signature = encoded(self.request.chain.leaf().key(), &self.message(), signature)?;
        let x5c = self.request.chain.certificates().iter().map(|c| STANDARD.encode(c.as_der()));
        Ok(crate::oci::sorted_json(&json!({
            "payload": self.payload,
            "protected": self.protected,
            "header": {"x5c": x5c.collect::<Vec<_>>(), AGENT: self.request.agent},
            "signature": URL_SAFE_NO_PAD.encode(signature),
        })))
    }
}

/// Read and verify an envelope: form, chain, algorithm, signature, attributes, payload, in that order.
///
/// # Errors
/// The first rule that is broken.
pub fn verify(bytes: &[u8]) -> Result<Verified, NotaryError> {
    use NotaryError::Form;
    if bytes.len() > MAX_ENVELOPE {
        return Err(NotaryError::TooLarge(bytes.len()));
    }
    let value = json::parse(bytes)?;
    let members = value.as_object().ok_or(Form("not an object"))?;
    if let Some(name) =
        members.keys().find(|k| !["payload", "protected", "header", "signature"].contains(&k.as_str()))
    {
        return Err(if name == "signatures" {
            Form("several signatures")
        } else {
            Form("a member that JWS has not")
        });
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let payload = text("payload").ok_or(Form("no payload"))?;
    let protected = text("protected").ok_or(Form("no protected header"))?;
    let url = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Form("not unpadded base64url"));
    let signature = url(text("signature").ok_or(Form("no signature"))?)?;
    let header = members.get("header").and_then(Value::as_object).ok_or(Form("no unprotected header"))?;

    let chain = chain(&certificates(header)?)?;
    let signed = json::parse(&url(protected)?)?;
    let signed = signed.as_object().ok_or(Form("the protected header is no object"))?;
    let (_, wanted) = algorithm(chain.leaf().key())?;
    match signed.get("alg").and_then(Value::as_str) {
        Some(found) if found == wanted => {}
        found => {
            let found = found.unwrap_or("none").chars().take(40).collect();
            return Err(NotaryError::Algorithm { found, wanted });
        }
    }
    accepts(chain.leaf().key(), format!("{protected}.{payload}").as_bytes(), &signature)?;

    if signed.get("cty").and_then(Value::as_str) != Some(PAYLOAD_TYPE) {
        return Err(Form("cty is not the payload type of the Notary Project"));
    }
    let attributes = attributes(&critical(signed)?, &signed_attributes(signed))?;
    let artifact = Artifact::from_payload(&url(payload)?)?;
    let timestamp = match header.get(TIMESTAMP) {
        None | Some(Value::Null) => None,
        Some(v) => Some(standard(v).ok_or(Form("the timestamp is not base64"))?),
    };
    let agent = header.get(AGENT).and_then(Value::as_str).map(str::to_owned);
    Ok(Verified { artifact, attributes, chain, signature, timestamp, agent })
}

fn standard(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

fn certificates(header: &Map<String, Value>) -> Result<Vec<Vec<u8>>, NotaryError> {
    let list = header.get("x5c").and_then(Value::as_array).ok_or(NotaryError::Form("no x5c"))?;
    list.iter().map(|v| standard(v).ok_or(NotaryError::Form("x5c is not base64"))).collect()
}

fn critical(signed: &Map<String, Value>) -> Result<Vec<String>, NotaryError> {
    let list = signed.get("crit").and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or(NotaryError::Form("crit is missing or empty"))?;
    let name = |v: &Value| v.as_str().map(str::to_owned).ok_or(NotaryError::Form("crit names no text"));
    list.iter().map(name).collect()
}

fn signed_attributes(signed: &Map<String, Value>) -> BTreeMap<String, Attribute> {
    let times = [SIGNING_TIME, AUTHENTIC_TIME, EXPIRY];
    let attribute = |(name, value): (&String, &Value)| {
        let value = match value.as_str() {
            Some(text) if times.contains(&name.as_str()) => {
                UnixTime::from_rfc3339(text).map_or(Attribute::Other, Attribute::Time)
            }
            Some(text) => Attribute::Text(text.to_owned()),
            None => Attribute::Other,
        };
        (name.clone(), value)
    };
    signed.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).map(attribute).collect()
}
