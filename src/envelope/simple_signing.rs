//! Simple signing: the payload that `cosign sign` put at the tag `sha256-<hex>.sig` until its version 2, and containers/image still
//! does (sigstore/cosign `specs/SIGNATURE_SPEC.md`, containers/image `signature/internal/sigstore_payload.go`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::oci::Digest;
use crate::sig::dsse::sigstore_accepts;
use crate::sig::{SubjectKey, json};

/// Media type of the layer that is the payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of the layer: the signature in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Largest payload that is read, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
const TYPE: &str = "cosign container image signature";

/// What a simple signature says, once a key has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSigning {
    reference: String,
    digest: Digest,
    optional: Map<String, Value>,
}

/// Why a simple signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimpleSigningError {
    /// Larger than [`MAX_PAYLOAD`].
    #[error("a signed payload of {0} bytes; at most {MAX_PAYLOAD} are read")]
    TooLarge(usize),
    /// The signature is not the key's over these bytes.
    #[error("the signature is not this key's")]
    NotSigned,
    /// Not strict JSON.
    #[error("signed payload: {0}")]
    Json(#[from] json::JsonError),
    /// A member is missing, of another form, or one too many.
    #[error("signed payload: {0}")]
    Form(&'static str),
}

/// The payload to sign, in cosign's form and order. `reference` is the repository's name.
pub fn payload(reference: &str, digest: &Digest, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let quoted = |text: &str| Value::from(text).to_string();
    let optional = if annotations.is_empty() {
        "null".to_owned()
    } else {
        let pairs: Vec<String> =
            annotations.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    format!(
        "{{\"critical\":{{\"identity\":{{\"docker-reference\":{}}},\"image\":{{\"docker-manifest-digest\":\"{digest}\"}},\"type\":\"{TYPE}\"}},\"optional\":{optional}}}",
        quoted(reference)
    )
    .into_bytes()
}

/// Read a payload that `signature` over exactly these bytes says is the key's.
///
/// # Errors
/// Not signed by the key, or of another form.
pub fn verify(
    payload: &[u8],
    signature: &[u8],
    key: &SubjectKey,
) -> Result<SimpleSigning, SimpleSigningError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(SimpleSigningError::TooLarge(payload.len()));
    }
    if !sigstore_accepts(key, payload, signature) {
        return Err(SimpleSigningError::NotSigned);
    }
    parse(payload)
}

/// The same of a payload that no key has verified: to put it where it belongs, never to believe it.
///
/// # Errors
/// Too large, or of another form.
pub fn unverified(payload: &[u8]) -> Result<SimpleSigning, SimpleSigningError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(SimpleSigningError::TooLarge(payload.len()));
    }
    parse(payload)
}

fn parse(payload: &[u8]) -> Result<SimpleSigning, SimpleSigningError> {
    use SimpleSigningError::Form;
    let value = json::parse(payload)?;
    let critical = object(&value["critical"], &["identity", "image", "type"])
        .ok_or(Form("critical has not identity, image and type alone"))?;
    let identity = object(&critical["identity"], &["docker-reference"])
        .ok_or(Form("identity has not docker-reference alone"))?;
    let image = object(&critical["image"], &["docker-manifest-digest"])
        .ok_or(Form("image has not docker-manifest-digest alone"))?;
    if critical["type"] != TYPE {
        return Err(Form("type is not that of a cosign signature"));
    }
    let reference = identity["docker-reference"].as_str().ok_or(Form("docker-reference is no text"))?;
    let digest = image["docker-manifest-digest"].as_str().and_then(|d| d.parse().ok());
    let optional = match &value["optional"] {
        Value::Null => Map::new(),
        Value::Object(o) => o.clone(),
        _ => return Err(Form("optional is neither an object nor null")),
    };
    let digest = digest.ok_or(Form("docker-manifest-digest is no digest that is read"))?;
    Ok(SimpleSigning { reference: reference.to_owned(), digest, optional })
}

/// An object with exactly these members.
fn object<'v>(value: &'v Value, members: &[&str]) -> Option<&'v Map<String, Value>> {
    value.as_object().filter(|o| o.len() == members.len() && members.iter().all(|m| o.contains_key(*m)))
}

impl SimpleSigning {
    /// Digest of the manifest that was signed. Whoever asks compares it with the one in hand.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The repository, as the signer said. cosign ignores it; containers/image demands that it fits.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Annotations (cosign's `-a`); containers/image writes `creator` and `timestamp`.
    pub fn optional(&self) -> &Map<String, Value> {
        &self.optional
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn testdata(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
        std::fs::read(format!("{path}{name}")).unwrap()
    }

    fn key(kind: &str) -> SubjectKey {
        SubjectKey::from_pem(&String::from_utf8(testdata(&format!("sigstore/{kind}.pub"))).unwrap()).unwrap()
    }

    fn signature(kind: &str) -> Vec<u8> {
        STANDARD.decode(testdata(&format!("sigstore/cosign2-{kind}.sig"))).unwrap()
    }

    #[test]
    fn what_cosign_2_signs_verifies_and_is_written_alike() {
        for kind in ["p256", "p384", "p521", "rsa2048", "ed25519"] {
            let bytes = testdata(&format!("sigstore/cosign2-{kind}.json"));
            let read = verify(&bytes, &signature(kind), &key(kind)).unwrap();
            assert_eq!(*read.digest(), Digest::sha256(&testdata("subject.json")));
            assert!(read.reference().ends_with(&format!("/sigstore/{kind}")));
            let text = |(k, v): (&String, &Value)| (k.clone(), v.as_str().unwrap().to_owned());
            let annotations: BTreeMap<_, _> = read.optional().iter().map(text).collect();
            assert_eq!(annotations.len(), if kind == "p256" { 2 } else { 0 });
            assert_eq!(payload(read.reference(), read.digest(), &annotations), bytes, "{kind}");

            let other = if kind == "p256" { "generated" } else { "p256" };
            assert_eq!(verify(&bytes, &signature(kind), &key(other)), Err(SimpleSigningError::NotSigned));
            let longer = [&bytes[..], b"\n"].concat();
            assert_eq!(verify(&longer, &signature(kind), &key(kind)), Err(SimpleSigningError::NotSigned));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let good =
            String::from_utf8(payload("example.com/a", &Digest::sha256(b"x"), &BTreeMap::new())).unwrap();
        assert!(parse(good.as_bytes()).is_ok());
        for (from, to) in [
            ("docker-manifest-digest", "Docker-manifest-digest"),
            ("cosign container image signature", "atomic container signature"),
            ("\"type\"", "\"more\":1,\"type\""),
            ("\"optional\":null", "\"optional\":[]"),
            ("\"optional\":null", "\"critical\":null"),
            ("sha256:", "sha256:0"),
            ("\"docker-reference\":\"example.com/a\"", "\"docker-reference\":null"),
            ("\"identity\"", "\"identitj\""),
        ] {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good);
            assert!(parse(changed.as_bytes()).is_err(), "{changed}");
        }
        let large = vec![b' '; MAX_PAYLOAD + 1];
        let is = Err(SimpleSigningError::TooLarge(MAX_PAYLOAD + 1));
        assert_eq!(verify(&large, &[], &key("p256")), is);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(reference: String, pairs: BTreeMap<String, String>) {
            let digest = Digest::sha256(reference.as_bytes());
            let read = parse(&payload(&reference, &digest, &pairs)).unwrap();
            prop_assert_eq!((read.reference(), read.digest()), (&reference[..], &digest));
            prop_assert_eq!(read.optional().len(), pairs.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
