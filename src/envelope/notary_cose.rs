//! The COSE form (`signature-envelope-cose.md`; RFC 9052 4.2, COSE_Sign1_Tagged; RFC 9360 for the chain).

use std::collections::BTreeMap;

use coset::cbor::value::Value;
use coset::iana::{self, EnumI64 as _};
use coset::{
    CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate, TaggedCborSerializable as _,
};

use super::notary::{
    AGENT, Artifact, Attribute, EXPIRY, MAX_ENVELOPE, NotaryError, PAYLOAD_TYPE, Request, SCHEME,
    SIGNING_TIME, TIMESTAMP, Verified, accepts, algorithm, attributes, chain, encoded,
};
use crate::sig::{KeyKind, SubjectKey};
use crate::time::UnixTime;

/// Media type of the envelope.
pub const MEDIA_TYPE: &str = "application/cose";
const X5CHAIN_LABEL: i64 = 33;
/// Tag of a COSE_Sign1 (RFC 9052 2).
const SIGN1: u64 = 18;
/// Most items and levels of an envelope, and of its protected header: real ones have some thirty, and ten certificates.
const MAX_ITEMS: usize = 512;
const MAX_LEVELS: usize = 16;
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
            .value(X5CHAIN_LABEL, Value::Array(certificates.collect()))
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
    let Value::Tag(SIGN1, inner) = value(bytes)? else { return Err(cose("another tag than 18, or none")) };
    let Value::Array(parts) = *inner else { return Err(cose("not an array")) };
    let [Value::Bytes(protected), Value::Map(unprotected), payload, Value::Bytes(signature)] = &parts[..]
    else {
        return Err(cose("not a protected header, an unprotected one, a payload and a signature"));
    };
    let Value::Bytes(payload) = payload else { return Err(Form("no payload")) };
    let Value::Map(signed) = value(protected)? else { return Err(cose("the protected header is no map")) };
    let (signed, unprotected) = (labels(&signed)?, labels(unprotected)?);

    let certificates =
        unprotected.get(&X5CHAIN).and_then(|v| v.as_array()).ok_or(Form("no array x5chain"))?;
    let der = |v: &Value| v.as_bytes().cloned().ok_or(Form("x5chain has something else than byte strings"));
    let chain = chain(&certificates.iter().map(der).collect::<Result<Vec<_>, _>>()?)?;
    let key = chain.leaf().key();
    let found = signed.get(&ALG);
    if found.and_then(|v| v.as_integer()) != Some(assigned(key)?.to_i64().into()) {
        let (_, wanted) = algorithm(key)?;
        return Err(NotaryError::Algorithm { found: shown(found.copied()), wanted });
    }
    accepts(key, &signed_bytes(protected, payload)?, signature)?;

    if signed.get(&CONTENT_TYPE).and_then(|v| v.as_text()) != Some(PAYLOAD_TYPE) {
        return Err(Form("the content type is not the payload type of the Notary Project"));
    }
    let critical = signed.get(&CRIT).and_then(|v| v.as_array()).filter(|list| !list.is_empty());
    let critical = critical.ok_or(Form("crit is missing"))?.iter().map(|label| match label {
        Value::Text(name) => Ok(name.clone()),
        Value::Integer(n) => Err(NotaryError::Critical(format!("label {}", i128::from(*n)))),
        _ => Err(Form("crit names no label")),
    });
    let critical = critical.collect::<Result<Vec<_>, _>>()?;
    let attributes = attributes(&critical, &signed_attributes(&signed))?;
    let artifact = Artifact::from_payload(payload)?;
    let timestamp = match unprotected.get(&Label::Text(TIMESTAMP)) {
        None => None,
        Some(v) => Some(v.as_bytes().cloned().ok_or(Form("the timestamp is no byte string"))?),
    };
    let agent = unprotected.get(&Label::Text(AGENT)).and_then(|v| v.as_text()).map(str::to_owned);
    Ok(Verified { artifact, attributes, chain, signature: signature.clone(), timestamp, agent })
}

/// A label of a header (RFC 9052 1.4).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Label<'v> {
    Number(i128),
    Text(&'v str),
}

const ALG: Label<'static> = Label::Number(1);
const CRIT: Label<'static> = Label::Number(2);
const CONTENT_TYPE: Label<'static> = Label::Number(3);
/// The chain (RFC 9360 2).
const X5CHAIN: Label<'static> = Label::Number(X5CHAIN_LABEL as i128);

/// A header by its labels, each of which stands once.
fn labels(map: &[(Value, Value)]) -> Result<BTreeMap<Label<'_>, &Value>, NotaryError> {
    let mut out = BTreeMap::new();
    for (label, value) in map {
        let label = match label {
            Value::Integer(n) => Label::Number((*n).into()),
            Value::Text(text) => Label::Text(text),
            _ => return Err(cose("a label that is neither a number nor a text")),
        };
        if out.insert(label, value).is_some() {
            return Err(cose("duplicate map key"));
        }
    }
    Ok(out)
}

/// The bytes that are signed (RFC 9052 4.4, Sig_structure).
fn signed_bytes(protected: &[u8], payload: &[u8]) -> Result<Vec<u8>, NotaryError> {
    let parts = [&b""[..], payload].map(|bytes| Value::Bytes(bytes.to_vec()));
    let [external, payload] = parts;
    let context = Value::Text("Signature1".into());
    let structure = Value::Array(vec![context, Value::Bytes(protected.to_vec()), external, payload]);
    let mut out = Vec::new();
    coset::cbor::ser::into_writer(&structure, &mut out).map_err(|e| NotaryError::Cose(e.to_string()))?;
    Ok(out)
}

/// One CBOR value and nothing after it.
fn value(bytes: &[u8]) -> Result<Value, NotaryError> {
    bounded(bytes)?;
    coset::cbor::de::from_reader(bytes).map_err(|e| NotaryError::Cose(e.to_string()))
}

/// That bytes are one value of few items and levels, before a parser makes anything of them: one byte of CBOR can stand for a value
/// of dozens, and byte strings in byte strings for any depth. Lengths are definite, as go-cose demands.
fn bounded(bytes: &[u8]) -> Result<(), NotaryError> {
    let short = || cose("it ends too early");
    // How many items each open level still expects.
    let mut levels: Vec<u64> = vec![1];
    let (mut rest, mut items) = (bytes, 0);
    while let Some(left) = levels.last_mut() {
        let Some(less) = left.checked_sub(1) else {
            levels.pop();
            continue;
        };
        *left = less;
        items += 1;
        let (head, tail) = rest.split_first().ok_or_else(short)?;
        let (value, tail) = match head & 31 {
            small @ 0..=23 => (u64::from(small), tail),
            width @ 24..=27 => {
                let (bytes, tail) = tail.split_at_checked(1 << (width - 24)).ok_or_else(short)?;
                (bytes.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte)), tail)
            }
            _ => return Err(cose("a length that is not definite")),
        };
        rest = match head >> 5 {
            2 | 3 => {
                let size = usize::try_from(value).map_err(|_| short())?;
                tail.split_at_checked(size).ok_or_else(short)?.1
            }
            major => {
                match major {
                    4 => levels.push(value),
                    5 => levels.push(value.saturating_mul(2)),
                    6 => levels.push(1),
                    _ => {}
                }
                tail
            }
        };
        if items > MAX_ITEMS || levels.len() > MAX_LEVELS {
            return Err(cose("more items or levels than an envelope has"));
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(cose("something follows it")) }
}

fn cose(why: &str) -> NotaryError {
    NotaryError::Cose(why.into())
}

fn signed_attributes(signed: &BTreeMap<Label<'_>, &Value>) -> BTreeMap<String, Attribute> {
    let attribute = |(label, value): (&Label<'_>, &&Value)| {
        // Other numbers mean nothing, unless critical, which was refused.
        let Label::Text(name) = label else { return None };
        let value = match value {
            Value::Text(text) => Attribute::Text(text.clone()),
            Value::Tag(EPOCH, inner) => match inner.as_integer().map(i64::try_from) {
                Some(Ok(secs)) => Attribute::Time(UnixTime::from_secs(secs)),
                _ => Attribute::Other,
            },
            _ => Attribute::Other,
        };
        Some(((*name).to_owned(), value))
    };
    signed.iter().filter_map(attribute).collect()
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

fn shown(algorithm: Option<&Value>) -> String {
    match algorithm {
        None => "none".into(),
        Some(Value::Integer(n)) => {
            let known = i64::try_from(*n).ok().and_then(iana::Algorithm::from_i64);
            known.map_or_else(|| i128::from(*n).to_string(), |a| format!("{a:?}"))
        }
        Some(Value::Text(text)) => text.chars().take(40).collect(),
        Some(_) => "something else".into(),
    }
}
