//! The COSE form (`signature-envelope-cose.md`; RFC 9052 4.2, COSE_Sign1_Tagged; RFC 9360 for the chain).

use std::collections::BTreeMap;

use coset::cbor::value::Value;
use coset::iana::{self, EnumI64 as _};
use coset::{
    ContentType, CoseSign1, CoseSign1Builder, HeaderBuilder, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable as _,
};

use super::notary::{
    AGENT, Artifact, Attribute, EXPIRY, MAX_ENVELOPE, NotaryError, PAYLOAD_TYPE, Request, SCHEME,
    SIGNING_TIME, TIMESTAMP, Verified, accepts, algorithm, attributes, chain, encoded,
};
use crate::sig::{KeyKind, SubjectKey};
use crate::time::UnixTime;

/// Media type of the envelope.
pub const MEDIA_TYPE: &str = "application/cose";
/// Label of the chain (RFC 9360 2).
const X5CHAIN: i64 = 33;
/// Tag of a time in seconds (RFC 8949 3.4.2).
const EPOCH: u64 = 1;

/// An envelope that waits for its signature.
#[derive(Debug, Clone)]
pub struct Draft {
    key: SubjectKey,
    envelope: CoseSign1,
}

impl Draft {
    /// What would be signed for `request`.
    ///
    /// # Errors
    /// A key without algorithm, an expiry that is not later, reserved annotations.
    pub fn new(request: Request) -> Result<Self, NotaryError> {
        let request = request.checked()?;
        let key = request.chain.leaf().key().clone();
        let time = |t: UnixTime| Value::Tag(EPOCH, Box::new(t.secs().into()));
        let mut protected = HeaderBuilder::new().algorithm(assigned(&key)?).content_type(PAYLOAD_TYPE.into());
        for name in request.critical() {
            protected = protected.add_critical_label(RegisteredLabelWithPrivate::Text(name.into()));
        }
        protected = protected
            .text_value(SCHEME.into(), Value::Text("notary.x509".into()))
            .text_value(SIGNING_TIME.into(), time(request.signed_at));
        if let Some(expires) = request.expires {
            protected = protected.text_value(EXPIRY.into(), time(expires));
        }
        let certificates = request.chain.certificates().iter().map(|c| Value::Bytes(c.as_der().to_vec()));
        let unprotected = HeaderBuilder::new()
            .value(X5CHAIN, Value::Array(certificates.collect()))
            .text_value(AGENT.into(), Value::Text(request.agent.clone()));
        let envelope = CoseSign1Builder::new()
            .protected(protected.build())
            .unprotected(unprotected.build())
            .payload(request.artifact.to_payload())
            .build();
        Ok(Self { key, envelope })
    }

    /// The bytes to sign.
    pub fn message(&self) -> Vec<u8> {
        self.envelope.tbs_data(&[])
    }

    /// The envelope with its signature, in the form that a signer gives it (ECDSA in DER).
    ///
    /// # Errors
    /// The signature is not that of the signing certificate's key.
    pub fn finish(mut self, signature: &[u8]) -> Result<Vec<u8>, NotaryError> {
        self.envelope.signature = encoded(&self.key, &self.message(), signature)?;
        self.envelope.to_tagged_vec().map_err(|e| NotaryError::Cose(e.to_string()))
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
    let envelope = CoseSign1::from_tagged_slice(bytes).map_err(|e| NotaryError::Cose(e.to_string()))?;
    let payload = envelope.payload.as_deref().ok_or(Form("no payload"))?;
    let unprotected = &envelope.unprotected.rest;
    let value = |label: &Label| unprotected.iter().find(|(l, _)| l == label).map(|(_, v)| v);

    let certificates =
        value(&Label::Int(X5CHAIN)).and_then(Value::as_array).ok_or(Form("no array x5chain"))?;
    let der = |v: &Value| v.as_bytes().cloned().ok_or(Form("x5chain has something else than byte strings"));
    let chain = chain(&certificates.iter().map(der).collect::<Result<Vec<_>, _>>()?)?;
    let signed = &envelope.protected.header;
    let key = chain.leaf().key();
    if signed.alg != Some(RegisteredLabelWithPrivate::Assigned(assigned(key)?)) {
        let (_, wanted) = algorithm(key)?;
        return Err(NotaryError::Algorithm { found: shown(signed.alg.as_ref()), wanted });
    }
    accepts(key, &envelope.tbs_data(&[]), &envelope.signature)?;

    if signed.content_type != Some(ContentType::Text(PAYLOAD_TYPE.into())) {
        return Err(Form("the content type is not the payload type of the Notary Project"));
    }
    if signed.crit.is_empty() {
        return Err(Form("crit is missing"));
    }
    let critical = signed.crit.iter().map(|label| match label {
        RegisteredLabelWithPrivate::Text(name) => Ok(name.clone()),
        RegisteredLabelWithPrivate::Assigned(p) => {
            Err(NotaryError::Critical(format!("label {}", p.to_i64())))
        }
        RegisteredLabelWithPrivate::PrivateUse(n) => Err(NotaryError::Critical(format!("label {n}"))),
    });
    let critical = critical.collect::<Result<Vec<_>, _>>()?;
    let attributes = attributes(&critical, &signed_attributes(&signed.rest))?;
    let artifact = Artifact::from_payload(payload)?;
    let timestamp = match value(&Label::Text(TIMESTAMP.into())) {
        None => None,
        Some(v) => Some(v.as_bytes().cloned().ok_or(Form("the timestamp is no byte string"))?),
    };
    let agent = value(&Label::Text(AGENT.into())).and_then(Value::as_text).map(str::to_owned);
    Ok(Verified { artifact, attributes, chain, signature: envelope.signature, timestamp, agent })
}

fn signed_attributes(rest: &[(Label, Value)]) -> BTreeMap<String, Attribute> {
    let attribute = |(label, value): &(Label, Value)| {
        // Integer labels that are no header of COSE_Sign1 mean nothing, unless critical, which was refused.
        let Label::Text(name) = label else { return None };
        let value = match value {
            Value::Text(text) => Attribute::Text(text.clone()),
            Value::Tag(EPOCH, inner) => match inner.as_integer().map(i64::try_from) {
                Some(Ok(secs)) => Attribute::Time(UnixTime::from_secs(secs)),
                _ => Attribute::Other,
            },
            _ => Attribute::Other,
        };
        Some((name.clone(), value))
    };
    rest.iter().filter_map(attribute).collect()
}

/// The number of the algorithm that the key forces (RFC 9053 2.1, RFC 8230 2).
fn assigned(key: &SubjectKey) -> Result<iana::Algorithm, NotaryError> {
    Ok(match key.kind() {
        KeyKind::P256 => iana::Algorithm::ES256,
        KeyKind::P384 => iana::Algorithm::ES384,
        KeyKind::P521 => iana::Algorithm::ES512,
        KeyKind::Rsa { bits: 2048 } => iana::Algorithm::PS256,
        KeyKind::Rsa { bits: 3072 } => iana::Algorithm::PS384,
        KeyKind::Rsa { bits: 4096 } => iana::Algorithm::PS512,
        other => return Err(NotaryError::Key(other)),
    })
}

fn shown(algorithm: Option<&coset::Algorithm>) -> String {
    match algorithm {
        None => "none".into(),
        Some(RegisteredLabelWithPrivate::Assigned(a)) => format!("{a:?}"),
        Some(RegisteredLabelWithPrivate::PrivateUse(n)) => n.to_string(),
        Some(RegisteredLabelWithPrivate::Text(t)) => t.chars().take(40).collect(),
    }
}
