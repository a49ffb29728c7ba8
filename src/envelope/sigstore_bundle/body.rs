//! What the body of a log entry says about a signature (sigstore/rekor `pkg/types`, sigstore/rekor-tiles): of which message, with
//! which key. An entry that says it of another signature proves nothing of this one (CVE-2022-36056, CVE-2026-22703).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::BundleError;
use crate::sig::x509::Certificate;
use crate::sig::{Hash, SubjectKey, json};

/// What one entry says.
pub(super) struct Claim {
    signature: Vec<u8>,
    hashed: Hashed,
    key: SubjectKey,
}

enum Hashed {
    /// What was signed: the artifact, or DSSE's pre-authentication encoding.
    Message(Sum),
    /// The payload of a DSSE envelope.
    Payload(Sum),
}

/// A hash that an entry names.
struct Sum {
    hash: Hash,
    bytes: Vec<u8>,
}

impl Sum {
    fn matches(&self, message: &[u8]) -> bool {
        self.hash.of(message) == self.bytes
    }
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
            ("dsse", "0.0.2") => dsse_2(&spec["dsseV002"]),
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
    let hashed = Hashed::Message(named_sum(&spec["data"])?);
    let key = verifier(&spec["signature"]["verifier"])?;
    Some(Claim { signature: bytes(&spec["signature"]["content"])?, hashed, key })
}

/// `dsse` of version 2 of Rekor.
fn dsse_2(spec: &Value) -> Option<Claim> {
    let [entry] = &spec["signatures"].as_array()?[..] else { return None };
    let hashed = Hashed::Payload(named_sum(&spec["payloadHash"])?);
    Some(Claim { signature: bytes(&entry["content"])?, hashed, key: verifier(&entry["verifier"])? })
}

/// `{algorithm, digest}` of version 2.
fn named_sum(value: &Value) -> Option<Sum> {
    let hash = match value["algorithm"].as_str()? {
        "SHA2_256" => Hash::Sha256,
        "SHA2_384" => Hash::Sha384,
        "SHA2_512" => Hash::Sha512,
        _ => return None,
    };
    Some(Sum { hash, bytes: bytes(&value["digest"])? })
}

fn verifier(verifier: &Value) -> Option<SubjectKey> {
    match (bytes(&verifier["x509Certificate"]["rawBytes"]), bytes(&verifier["publicKey"]["rawBytes"])) {
        (Some(der), None) => Some(Certificate::from_der(&der).ok()?.key().clone()),
        (None, Some(spki)) => SubjectKey::from_spki(&spki).ok(),
        _ => None,
    }
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

fn hex_digest(hash: &Value) -> Option<Sum> {
    let kind = match hash["algorithm"].as_str()? {
        "sha256" => Hash::Sha256,
        "sha384" => Hash::Sha384,
        "sha512" => Hash::Sha512,
        _ => return None,
    };
    Some(Sum { hash: kind, bytes: hex::decode(hash["value"].as_str()?).ok()? })
}

/// The key in PEM: a public key, or the first certificate.
fn pem_key(value: &Value) -> Option<SubjectKey> {
    let pem = String::from_utf8(bytes(value)?).ok()?;
    if pem.contains("-----BEGIN PUBLIC KEY-----") {
        return SubjectKey::from_pem(&pem).ok();
    }
    Some(Certificate::from_pem(&pem).ok()?.first()?.key().clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sig::{PublicKey, Scheme};

    /// cosign logs a P-384 key's signature with SHA-384.
    #[test]
    fn entries_of_every_hash_and_version_are_compared() {
        let public = PublicKey::from_raw(Scheme::Ed25519, &[7; 32]).unwrap();
        let (key, message, payload, signature) =
            (SubjectKey::from(&public), b"message", b"payload", b"signature");
        let made = |signature| Made { key: &key, message, payload: Some(payload), signature };
        let base64 = |b: &[u8]| json!(STANDARD.encode(b));
        let verifier = json!({"publicKey": {"rawBytes": base64(key.spki())}});
        for (hash, one, two) in [
            (Hash::Sha256, "sha256", "SHA2_256"),
            (Hash::Sha384, "sha384", "SHA2_384"),
            (Hash::Sha512, "sha512", "SHA2_512"),
        ] {
            let hashed = json!({"algorithm": two, "digest": base64(&hash.of(message))});
            let of_payload = json!({"algorithm": two, "digest": base64(&hash.of(payload))});
            let content = json!({"content": base64(signature), "verifier": verifier});
            let pem = base64(public.to_pem().as_bytes());
            for (kind, version, spec) in [
                (
                    "hashedrekord",
                    "0.0.1",
                    json!({
                        "data": {"hash": {"algorithm": one, "value": hex::encode(hash.of(message))}},
                        "signature": {"content": base64(signature), "publicKey": {"content": pem}},
                    }),
                ),
                (
                    "hashedrekord",
                    "0.0.2",
                    json!({"hashedRekordV002": {"data": hashed, "signature": content}}),
                ),
                ("dsse", "0.0.2", json!({"dsseV002": {"payloadHash": of_payload, "signatures": [content]}})),
            ] {
                let body = json!({"kind": kind, "apiVersion": version, "spec": spec}).to_string();
                let read = || Claim::read((kind, version), body.as_bytes());
                assert!(read().unwrap().is_about(&made(signature)), "{kind} {version} {one}");
                assert!(!read().unwrap().is_about(&made(b"another")), "{kind} {version} {one}");
                let other = Made { message: b"x", payload: Some(b"x"), ..made(signature) };
                assert!(!read().unwrap().is_about(&other));
            }
        }
    }
}
