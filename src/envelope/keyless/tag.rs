//! A keyless signature at cosign's tag `sha256-<hex>.sig`: what its layer's annotations say (sigstore/cosign
//! `specs/SIGNATURE_SPEC.md`), put together as the bundle of version 0.1 that says the same, so that both are judged alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::sigstore_bundle::{BundleError, members};
use crate::oci::Digest;
use crate::sig::json as strict;
use crate::sig::x509::Certificate;

/// A bundle of version 0.1, in JSON: the signature over `payload`, by the key of `leaf`, with the log's promise in cosign's annotation
/// `dev.sigstore.cosign/bundle` and the timestamp in `dev.sigstore.cosign/rfc3161timestamp`. Nothing is verified.
///
/// # Errors
/// An annotation of another form.
pub fn from_annotations(
    payload: &[u8],
    signature: &[u8],
    leaf: &Certificate,
    promise: &str,
    timestamp: Option<&str>,
) -> Result<Vec<u8>, BundleError> {
    use BundleError::Form;
    let promise = strict::parse(promise.as_bytes())?;
    let promise = members(&promise, &["SignedEntryTimestamp", "Payload"])?;
    let logged = promise.get("Payload").ok_or(Form("a promise without payload"))?;
    let logged = members(logged, &["body", "integratedTime", "logIndex", "logID"])?;
    let body = logged.get("body").and_then(Value::as_str).ok_or(Form("a log entry without body"))?;
    let read = STANDARD.decode(body).map_err(|_| Form("the body of a log entry is not base64"))?;
    let read = strict::parse(&read)?;
    let id = logged.get("logID").and_then(Value::as_str).and_then(|id| hex::decode(id).ok());
    let id = id.ok_or(Form("the id of a log is not hexadecimal"))?;
    let number = |name: &str| {
        let number = logged.get(name).and_then(Value::as_u64);
        number.map(|n| n.to_string()).ok_or(Form("a number of a log entry is none"))
    };
    let mut material = json!({
        "x509CertificateChain": {"certificates": [{"rawBytes": STANDARD.encode(leaf.as_der())}]},
        "tlogEntries": [{
            "logIndex": number("logIndex")?,
            "logId": {"keyId": STANDARD.encode(id)},
            "kindVersion": {"kind": read["kind"], "version": read["apiVersion"]},
            "integratedTime": number("integratedTime")?,
            "inclusionPromise": {"signedEntryTimestamp": promise.get("SignedEntryTimestamp")},
            "canonicalizedBody": body,
        }],
    });
    if let Some(timestamp) = timestamp.filter(|t| !t.trim().is_empty()) {
        let stamp = strict::parse(timestamp.as_bytes())?;
        let stamp = members(&stamp, &["SignedRFC3161Timestamp"])?.get("SignedRFC3161Timestamp");
        material["timestampVerificationData"] = json!({"rfc3161Timestamps": [{"signedTimestamp": stamp}]});
    }
    let digest = hex::decode(Digest::sha256(payload).hex()).unwrap_or_default();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest)},
            "signature": STANDARD.encode(signature),
        },
    });
    Ok(bundle.to_string().into_bytes())
}
