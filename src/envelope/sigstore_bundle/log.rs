//! Entries of transparency logs in a bundle (sigstore/protobuf-specs `sigstore_rekor.proto`): parsed and carried.

use serde_json::Value;

use super::{BundleError, bytes_of, members};
use crate::time::UnixTime;

/// An entry of a transparency log. Nothing here has verified it: neither that the log holds it, nor that it is about this bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    index: u64,
    log_id: Vec<u8>,
    kind: String,
    version: String,
    integrated_at: Option<UnixTime>,
    promise: Option<Vec<u8>>,
    proof: Option<Value>,
    body: Vec<u8>,
}

impl LogEntry {
    pub(super) fn from_value(value: &Value) -> Result<Self, BundleError> {
        let entry = members(
            value,
            &[
                "logIndex",
                "logId",
                "kindVersion",
                "integratedTime",
                "inclusionPromise",
                "inclusionProof",
                "canonicalizedBody",
            ],
        )?;
        let part = |name: &str, known: &[&str]| match entry.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => members(v, known).map(Some),
        };
        let id = part("logId", &["keyId"])?.ok_or(BundleError::Form("a log entry without logId"))?;
        let kind = part("kindVersion", &["kind", "version"])?;
        let text = |name: &str| {
            let text = kind.and_then(|k| k.get(name)).and_then(Value::as_str);
            text.map(str::to_owned).ok_or(BundleError::Form("a log entry without kindVersion"))
        };
        let promise = part("inclusionPromise", &["signedEntryTimestamp"])?;
        let promise = promise.map(|p| bytes_of(p.get("signedEntryTimestamp"), "a promise is not base64"));
        let proof = part("inclusionProof", &["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"])?;
        if let Some(proof) = proof {
            // A path in a tree of 2^63 leaves has 63 hashes.
            let hashes = proof.get("hashes").and_then(Value::as_array).map_or(0, Vec::len);
            if hashes > 64 {
                return Err(BundleError::TooMany { what: "hashes of a proof", count: hashes });
            }
            if let Some(checkpoint) = proof.get("checkpoint") {
                members(checkpoint, &["envelope"])?;
            }
        }
        Ok(Self {
            index: number(entry.get("logIndex"))?.unwrap_or(0),
            log_id: bytes_of(id.get("keyId"), "the keyId of a log is not base64")?,
            kind: text("kind")?,
            version: text("version")?,
            // Zero is how version 2 of Rekor says that it gives no time.
            integrated_at: number(entry.get("integratedTime"))?
                .filter(|t| *t > 0)
                .and_then(|t| i64::try_from(t).ok())
                .map(UnixTime::from_secs),
            promise: promise.transpose()?,
            proof: proof.cloned().map(Value::Object),
            body: bytes_of(entry.get("canonicalizedBody"), "the body of a log entry is not base64")?,
        })
    }

    /// Position in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Which log: SHA-256 over its public key.
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }

    /// Kind and version of the body, as `hashedrekord` and `0.0.1`.
    pub fn kind(&self) -> (&str, &str) {
        (&self.kind, &self.version)
    }

    /// When the log took it, as it says; a log of version 2 does not say.
    pub fn integrated_at(&self) -> Option<UnixTime> {
        self.integrated_at
    }

    /// The log's signed promise to include it.
    pub fn promise(&self) -> Option<&[u8]> {
        self.promise.as_deref()
    }

    /// The proof that it is included, as received.
    pub fn proof(&self) -> Option<&Value> {
        self.proof.as_ref()
    }

    /// The bytes that the log holds.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// An int64 of proto3 JSON: a string, or a number. Not negative.
fn number(value: Option<&Value>) -> Result<Option<u64>, BundleError> {
    let bad = BundleError::Form("a number of a log entry is none");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()).map(Some).ok_or(bad)
        }
        Some(Value::Number(n)) => n.as_u64().map(Some).ok_or(bad),
        Some(_) => Err(bad),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> Value {
        json!({
            "logIndex": "25579",
            "logId": {"keyId": "0y8wo8MtY5wrdiIFohx7sHeI5oKDpK5vQhGHI6G+pJY="},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
            "integratedTime": "1712085549",
            "inclusionPromise": {"signedEntryTimestamp": "MEUC"},
            "inclusionProof": {
                "logIndex": "25579", "rootHash": "AAAA", "treeSize": "25580", "hashes": ["AAAA"],
                "checkpoint": {"envelope": "rekor.sigstore.dev\n"}
            },
            "canonicalizedBody": "e30="
        })
    }

    #[test]
    fn an_entry_is_carried() {
        let read = LogEntry::from_value(&entry()).unwrap();
        assert_eq!((read.index(), read.kind(), read.body()), (25579, ("hashedrekord", "0.0.1"), &b"{}"[..]));
        assert_eq!(read.integrated_at(), Some(UnixTime::from_secs(1_712_085_549)));
        assert_eq!(read.log_id().len(), 32);
        assert!(read.promise().is_some() && read.proof().is_some());
        // Rekor 2: numbers may be absent, and there is no time.
        let mut two = entry();
        for name in ["integratedTime", "inclusionPromise", "logIndex"] {
            two.as_object_mut().unwrap().remove(name);
        }
        let read = LogEntry::from_value(&two).unwrap();
        assert_eq!((read.index(), read.integrated_at(), read.promise()), (0, None, None));
    }

    #[test]
    fn other_forms_are_refused() {
        for (pointer, with) in [
            ("/logIndex", json!("-1")),
            ("/logIndex", json!("")),
            ("/logIndex", json!("9223372036854775808")),
            ("/integratedTime", json!([])),
            ("/logId", json!({})),
            ("/logId/keyId", json!("!")),
            ("/kindVersion", json!(null)),
            ("/canonicalizedBody", json!("")),
            ("/inclusionPromise", json!({"set": "AAAA"})),
            ("/inclusionProof/hashes", json!(vec!["AAAA"; 65])),
            ("/inclusionProof/checkpoint", json!({"note": ""})),
        ] {
            let mut changed = entry();
            *changed.pointer_mut(pointer).unwrap() = with;
            assert!(LogEntry::from_value(&changed).is_err(), "{changed}");
        }
        let mut more = entry();
        more["extra"] = json!(1);
        assert_eq!(LogEntry::from_value(&more), Err(BundleError::Unknown("extra".into())));
    }
}
