//! in-toto statements (attestation framework, `spec/v1/statement.md`; v0.1 is what cosign's attestations still say).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::dsse::Signed;
use super::json;
use crate::oci::{Algorithm, Digest};

/// The payload type of statements in DSSE envelopes.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The predicate type of `cosign sign`: the statement is a signature and says nothing else.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const V1: &str = "https://in-toto.io/Statement/v1";
const V01: &str = "https://in-toto.io/Statement/v0.1";

/// Most subjects, and most digests of one.
const MAX_SUBJECTS: usize = 1024;
const MAX_DIGESTS: usize = 32;

/// What a signer says about some artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    subjects: Vec<Subject>,
    predicate_type: String,
    predicate: Value,
}

/// One of the artifacts. Digests alone say which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    name: Option<String>,
    digests: BTreeMap<String, String>,
    annotations: Map<String, Value>,
}

/// Why bytes are no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The payload is of another type.
    #[error("a payload of type {0:?} is no in-toto statement")]
    PayloadType(String),
    /// Not strict JSON.
    #[error("in-toto statement: {0}")]
    Json(#[from] json::JsonError),
    /// `_type` is another.
    #[error("_type {0:?} is no in-toto statement of version 1 or 0.1")]
    Type(String),
    /// A member is missing or has another form.
    #[error("in-toto statement: {0}")]
    Form(&'static str),
    /// Too many subjects or digests.
    #[error("in-toto statement: {count} {what}; at most {most} are read")]
    TooMany {
        /// Subjects or digests.
        what: &'static str,
        /// As found.
        count: usize,
        /// The limit.
        most: usize,
    },
}

/// The statement that `cosign sign` writes about an image, in its form and order.
pub fn cosign_signature(digest: &Digest, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let quoted = |text: &str| Value::from(text).to_string();
    let pairs: Vec<String> =
        annotations.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
    format!(
        "{{\"_type\":\"{V1}\",\"subject\":[{{\"digest\":{{\"{}\":\"{}\"}},\"annotations\":{{{}}}}}],\"predicateType\":\"{COSIGN_SIGN}\",\"predicate\":{{}}}}",
        digest.algorithm().as_str(),
        digest.hex(),
        pairs.join(",")
    )
    .into_bytes()
}

/// The statement that says `predicate`, of that type, about an artifact; `name` is what the signer calls it. The predicate stands in it
/// as it is, byte for byte: others define what it looks like.
///
/// # Errors
/// The predicate is no JSON object, or the type is empty.
pub fn attestation(
    digest: &Digest,
    name: Option<&str>,
    predicate_type: &str,
    predicate: &[u8],
) -> Result<Vec<u8>, StatementError> {
    let value = json::parse_with_fractions(predicate)?;
    if !value.is_object() {
        return Err(StatementError::Form("predicate is no object"));
    }
    let mut subject = json!({"digest": {digest.algorithm().as_str(): digest.hex()}});
    if let Some(name) = name {
        subject["name"] = name.into();
    }
    let head = format!(
        "{{\"_type\":\"{V1}\",\"subject\":[{subject}],\"predicateType\":{},\"predicate\":",
        Value::from(predicate_type)
    );
    let statement = [head.as_bytes(), predicate.trim_ascii(), b"}"].concat();
    // Read as a verifier will: its depth counts from the statement on.
    Statement::parse(&statement)?;
    Ok(statement)
}

impl Statement {
    /// The statement in a payload that a key has signed. Unknown members are ignored, as the specification asks.
    ///
    /// # Errors
    /// Another payload type, or not a statement.
    pub fn of(signed: &Signed) -> Result<Self, StatementError> {
        if signed.payload_type() != PAYLOAD_TYPE {
            return Err(StatementError::PayloadType(signed.payload_type().to_owned()));
        }
        Self::parse(signed.payload())
    }

    /// The same from bytes, which whoever calls has authenticated.
    ///
    /// # Errors
    /// Not a statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        // Predicates hold what others define, fractions too.
        let value = json::parse_with_fractions(bytes)?;
        let kind = value["_type"].as_str().ok_or(StatementError::Form("_type is no text"))?;
        if ![V1, V01].contains(&kind) {
            return Err(StatementError::Type(kind.chars().take(100).collect()));
        }
        let entries = value["subject"].as_array().ok_or(StatementError::Form("subject is no list"))?;
        within("subjects", entries.len(), MAX_SUBJECTS)?;
        if entries.is_empty() {
            return Err(StatementError::Form("subject is empty"));
        }
        let subjects = entries.iter().map(Subject::from_value).collect::<Result<_, _>>()?;
        let predicate_type = value["predicateType"]
            .as_str()
            .filter(|t| !t.is_empty())
            .ok_or(StatementError::Form("predicateType is no text"))?
            .to_owned();
        let predicate = match &value["predicate"] {
            Value::Null => json!({}),
            v @ Value::Object(_) => v.clone(),
            _ => return Err(StatementError::Form("predicate is no object")),
        };
        Ok(Self { subjects, predicate_type, predicate })
    }

    /// The artifacts it speaks of.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// The first subject that is the artifact with this digest.
    pub fn subject(&self, digest: &Digest) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.is(digest))
    }

    /// What kind of thing it says.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// What it says.
    pub fn predicate(&self) -> &Value {
        &self.predicate
    }
}

impl Subject {
    fn from_value(value: &Value) -> Result<Self, StatementError> {
        let name = match &value["name"] {
            Value::Null => None,
            v => Some(v.as_str().ok_or(StatementError::Form("the name of a subject is no text"))?.to_owned()),
        };
        let digests = value["digest"].as_object().ok_or(StatementError::Form("a subject has no digest"))?;
        within("digests of one subject", digests.len(), MAX_DIGESTS)?;
        let digests = digests.iter().map(|(algorithm, hex)| {
            let hex = hex.as_str().ok_or(StatementError::Form("a digest is no text"))?;
            let known = [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|a| a.as_str() == algorithm);
            if known.is_some() && format!("{algorithm}:{hex}").parse::<Digest>().is_err() {
                return Err(StatementError::Form("a digest is not lower-case hex of its length"));
            }
            Ok((algorithm.clone(), hex.to_owned()))
        });
        let digests: BTreeMap<_, _> = digests.collect::<Result<_, _>>()?;
        if digests.is_empty() {
            return Err(StatementError::Form("a subject has no digest"));
        }
        let annotations = match &value["annotations"] {
            Value::Null => Map::new(),
            v => v.as_object().ok_or(StatementError::Form("annotations is no object"))?.clone(),
        };
        Ok(Self { name, digests, annotations })
    }

    /// Whether this is the artifact with that digest. The name never counts.
    pub fn is(&self, digest: &Digest) -> bool {
        self.digests.get(digest.algorithm().as_str()).is_some_and(|hex| hex == digest.hex())
    }

    /// What the signer called it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the signer noted at it; cosign's `-a`.
    pub fn annotations(&self) -> &Map<String, Value> {
        &self.annotations
    }
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), StatementError> {
    if count <= most { Ok(()) } else { Err(StatementError::TooMany { what, count, most }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sig::SubjectKey;
    use crate::sig::dsse::{Envelope, sigstore_accepts};

    fn testdata(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
        std::fs::read(format!("{path}{name}")).unwrap()
    }

    fn subject() -> Digest {
        Digest::sha256(&testdata("subject.json"))
    }

    /// The payload of what cosign 3 signed.
    fn signed_by_cosign(name: &str) -> Vec<u8> {
        let bundle = json::parse(&testdata(&format!("sigstore/{name}"))).unwrap();
        let envelope = Envelope::from_value(&bundle["dsseEnvelope"]).unwrap();
        let key = String::from_utf8(testdata("sigstore/p256.pub")).unwrap();
        let key = SubjectKey::from_pem(&key).unwrap();
        let signed = envelope.verify(PAYLOAD_TYPE, |m, s| sigstore_accepts(&key, m, s)).unwrap();
        Statement::of(&signed).unwrap();
        signed.payload().to_vec()
    }

    #[test]
    fn the_statement_of_cosign_sign_is_written_byte_for_byte() {
        let annotations = [("build", "17"), ("by", "ci")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(
            cosign_signature(&subject(), &annotations.into()),
            signed_by_cosign("cosign3-p256.sigstore.json")
        );
    }

    #[test]
    fn subjects_are_found_by_digest() {
        let statement = Statement::parse(&signed_by_cosign("cosign3-p256.sigstore.json")).unwrap();
        assert_eq!(statement.predicate_type(), COSIGN_SIGN);
        let found = statement.subject(&subject()).unwrap();
        assert_eq!((found.name(), &found.annotations()["build"]), (None, &json!("17")));
        assert_eq!(statement.subject(&Digest::sha256(b"another")), None);
        assert_eq!(statement.subject(&Digest::of(Algorithm::Sha512, &testdata("subject.json"))), None);

        let attested = Statement::parse(&signed_by_cosign("cosign3-attest-p256.sigstore.json")).unwrap();
        assert_eq!(attested.predicate_type(), "https://example.com/review/v1");
        assert_eq!(attested.predicate(), &json!({"reviewed": true}));
        assert!(attested.subject(&subject()).unwrap().name().unwrap().ends_with("/sigstore/attest"));
        assert_eq!(attested.subjects().len(), 1);
    }

    #[test]
    fn what_is_no_statement_is_refused() {
        let whole = json::parse(&signed_by_cosign("cosign3-p256.sigstore.json")).unwrap();
        let parse = |v: &Value| Statement::parse(&serde_json::to_vec(v).unwrap());
        assert!(parse(&whole).is_ok());
        let many = vec![whole["subject"][0].clone(); MAX_SUBJECTS + 1];
        let digests: Map<String, Value> = (0..=MAX_DIGESTS).map(|i| (format!("a{i}"), json!("x"))).collect();
        for (pointer, with) in [
            ("/_type", json!("https://in-toto.io/Statement/v2")),
            ("/_type", json!("link")),
            ("/_type", json!(null)),
            ("/subject", json!([])),
            ("/subject", json!({})),
            ("/subject", json!(many)),
            ("/subject/0", json!("sha256:00")),
            ("/subject/0/digest", json!({})),
            ("/subject/0/digest", json!(digests)),
            ("/subject/0/digest/sha256", json!("00")),
            ("/subject/0/digest/sha256", json!(subject().hex().to_uppercase())),
            ("/subject/0/digest/sha256", json!(7)),
            ("/subject/0/annotations", json!([])),
            ("/predicateType", json!("")),
            ("/predicateType", json!(null)),
            ("/predicate", json!("text")),
        ] {
            let mut changed = whole.clone();
            *changed.pointer_mut(pointer).unwrap() = with.clone();
            assert!(
                parse(&changed).is_err(),
                "{pointer} {}",
                &with.to_string()[..with.to_string().len().min(80)]
            );
        }
    }

    proptest! {
        #[test]
        fn annotations_of_any_text_come_back(pairs: BTreeMap<String, String>) {
            let read = Statement::parse(&cosign_signature(&subject(), &pairs)).unwrap();
            let annotations = read.subject(&subject()).unwrap().annotations();
            prop_assert_eq!(annotations.len(), pairs.len());
            prop_assert!(pairs.iter().all(|(k, v)| annotations[k] == **v));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Statement::parse(&bytes);
        }
    }
}
