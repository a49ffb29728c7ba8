//! What the body of a log entry says about a signature (sigstore/rekor `pkg/types`, sigstore/rekor-tiles): of which message, with
//! which key. An entry that says it of another signature proves nothing of this one (CVE-2022-36056, CVE-2026-22703).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::BundleError;
use crate::oci::Digest;
use crate::sig::x509::Certificate;
use crate::sig::{SubjectKey, json};

/// What one entry says.
pub(super) struct Claim {
    signature: Vec<u8>,
    hashed: Hashed,
    key: SubjectKey,
}

enum Hashed {
    /// What was signed: the artifact, or DSSE's pre-authentication encoding.
    Message(Digest),
    /// The payload of a DSSE envelope.
    Payload(Digest),
}

/// A signature that was verified.
pub(super) struct Made<'a> {
    pub(super) key: &'a SubjectKey,
    pub(super) message: &'a [u8],
    pub(super) payload: Option<&'a [u8]>,
    pub(super) signature: &'a [u8],
}

impl Claim {
    /// Whether it is about that signature: the same bytes, by the same key, over the same message.
    pub(super) fn is_about(&self, made: &Made<'_>) -> bool {
        let same = match &self.hashed {
            Hashed::Message(digest) => digest.matches(made.message),
            Hashed::Payload(digest) => made.payload.is_some_and(|payload| digest.matches(payload)),
        };
        same && self.signature == made.signature && self.key == *made.key
    }

    /// From the body of an entry of this kind and version.
    pub(super) fn read(kind: (&str, &str), body: &[u8]) -> Result<Self, BundleError> {
        let unreadable = || BundleError::Entry { kind: kind.0.to_owned(), version: kind.1.to_owned() };
        let value = json::parse(body)?;
        if value["kind"] != kind.0 || value["apiVersion"] != kind.1 {
            return Err(unreadable());
        }
        let spec = &value["spec"];
        let claim = match kind {
            ("hashedrekord", "0.0.1") => hashed_record(spec),
            ("hashedrekord", "0.0.2") => hashed_record_2(&spec["hashedRekordV002"]),
            ("dsse", "0.0.1") => dsse(spec),
            ("intoto", "0.0.2") => in_toto(&spec["content"]),
            _ => None,
        };
        claim.ok_or_else(unreadable)
    }
}

fn hashed_record(spec: &Value) -> Option<Claim> {
    Some(Claim {
        signature: bytes(&spec["signature"]["content"])?,
        hashed: Hashed::Message(hex_digest(&spec["data"]["hash"])?),
        key: pem_key(&spec["signature"]["publicKey"]["content"])?,
    })
}

fn hashed_record_2(spec: &Value) -> Option<Claim> {
    let name = match spec["data"]["algorithm"].as_str()? {
        "SHA2_256" => "sha256",
        "SHA2_512" => "sha512",
        _ => return None,
    };
    let digest = format!("{name}:{}", hex::encode(bytes(&spec["data"]["digest"])?));
    let verifier = &spec["signature"]["verifier"];
    let key =
        match (bytes(&verifier["x509Certificate"]["rawBytes"]), bytes(&verifier["publicKey"]["rawBytes"])) {
            (Some(der), None) => Certificate::from_der(&der).ok()?.key().clone(),
            (None, Some(spki)) => SubjectKey::from_spki(&spki).ok()?,
            _ => return None,
        };
    let signature = bytes(&spec["signature"]["content"])?;
    Some(Claim { signature, hashed: Hashed::Message(digest.parse().ok()?), key })
}

fn dsse(spec: &Value) -> Option<Claim> {
    let [entry] = &spec["signatures"].as_array()?[..] else { return None };
    Some(Claim {
        signature: bytes(&entry["signature"])?,
        hashed: Hashed::Payload(hex_digest(&spec["payloadHash"])?),
        key: pem_key(&entry["verifier"])?,
    })
}

fn in_toto(content: &Value) -> Option<Claim> {
    let [entry] = &content["envelope"]["signatures"].as_array()?[..] else { return None };
    // The log encodes the envelope's base64 once more.
    let signature = STANDARD.decode(bytes(&entry["sig"])?).ok()?;
    let hashed = Hashed::Payload(hex_digest(&content["payloadHash"])?);
    Some(Claim { signature, hashed, key: pem_key(&entry["publicKey"])? })
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

fn hex_digest(hash: &Value) -> Option<Digest> {
    format!("{}:{}", hash["algorithm"].as_str()?, hash["value"].as_str()?).parse().ok()
}

/// The key in PEM: a public key, or the first certificate.
fn pem_key(value: &Value) -> Option<SubjectKey> {
    let pem = String::from_utf8(bytes(value)?).ok()?;
    if pem.contains("-----BEGIN PUBLIC KEY-----") {
        return SubjectKey::from_pem(&pem).ok();
    }
    Some(Certificate::from_pem(&pem).ok()?.first()?.key().clone())
}
