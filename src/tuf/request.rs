//! Requests for a delegation, and their denials: small signed documents that lie where anybody may put something.
//!
//! Neither is TUF metadata. What is signed begins with a line of its own, so that no such signature passes for one over
//! metadata, nor the other way round.

use serde::Deserialize;
use serde_json::{Value, json};

use super::grant::{GrantError, check_name, check_text};
use super::{CollectionName, PathPattern, RoleKeys};
use crate::oci::{Digest, sorted_json};
use crate::sig::canonical::canonical;
use crate::sig::{KeyId, PublicKey, json as strict};
use crate::time::UnixTime;

/// Largest document, bytes.
pub const MAX_BYTES: u64 = 16 * 1024;
/// Most patterns that one request may ask for.
const MAX_PATHS: usize = 32;
/// What a signature over a request begins with.
const REQUEST: &[u8] = b"bulla delegation request 1\n";
/// And over a denial.
const DENIAL: &[u8] = b"bulla delegation denial 1\n";

/// Who asks for what, with proof that the key is held. The identity is only what the asker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The collection.
    pub collection: CollectionName,
    /// Whom the asker claims to be.
    pub identity: String,
    /// The key.
    pub key: PublicKey,
    /// The scope.
    pub paths: Vec<PathPattern>,
    /// When it was asked.
    pub at: UnixTime,
}

/// That a request was denied, by a key of the role that would delegate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The collection.
    pub collection: CollectionName,
    /// SHA-256 of the request, hex.
    pub request: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixTime,
    /// By which key.
    pub by: KeyId,
}

/// Why a document is no request or denial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large.
    #[error("{0} bytes, at most {MAX_BYTES} are read")]
    Size(u64),
    /// Malformed.
    #[error("{0}")]
    Format(String),
    /// The signature does not verify.
    #[error("the proof of possession does not verify: whoever wrote it does not hold the key")]
    Proof,
    /// A denial by somebody who has no say.
    #[error("not signed by a key of the role that would delegate")]
    Stranger,
    /// It asks for another collection.
    #[error("it is for the collection {0}")]
    Collection(CollectionName),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "_type")]
    kind: String,
    body: Value,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    collection: CollectionName,
    identity: String,
    key: Value,
    paths: Vec<String>,
    at: UnixTime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDenial {
    collection: CollectionName,
    request: String,
    reason: String,
    at: UnixTime,
    by: KeyId,
}

impl Request {
    /// What the key must sign.
    pub fn message(&self) -> Vec<u8> {
        message(REQUEST, &self.body())
    }

    /// The document.
    pub fn assemble(&self, signature: &[u8]) -> Vec<u8> {
        document("bulla-delegation-request", &self.body(), signature)
    }

    /// Read a document of whoever, and check that the asker holds the key.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(bytes: &[u8]) -> Result<Self, RequestError> {
        let (body, signature) = open(bytes, "bulla-delegation-request")?;
        let raw: RawRequest = typed(&body)?;
        let key = PublicKey::from_tuf(&raw.key).map_err(|e| RequestError::Format(e.to_string()))?;
        if !key.verify(&message(REQUEST, &body), &signature) {
            return Err(RequestError::Proof);
        }
        if raw.paths.is_empty() || raw.paths.len() > MAX_PATHS {
            return Err(RequestError::Format(format!("1 to {MAX_PATHS} patterns, not {}", raw.paths.len())));
        }
        let mut paths = Vec::new();
        for text in &raw.paths {
            // Whole patterns only: a short form would mean what the reader makes of it.
            let read = raw.collection.scope(text)?;
            if read.iter().all(|p| p.as_str() != text) {
                return Err(RequestError::Format("a pattern that is not written out".into()));
            }
            paths.extend(read);
        }
        check_name("the identity", &raw.identity)?;
        let read = Self { collection: raw.collection, identity: raw.identity, key, paths, at: raw.at };
        // One request has one document: it is named by the hash, and nobody else shall be able to give it another one.
        if read.assemble(&signature) != bytes {
            return Err(RequestError::Format("it is not written as requests are".into()));
        }
        Ok(read)
    }

    /// That it is for this collection.
    ///
    /// # Errors
    /// It is for another one.
    pub fn check_collection(&self, collection: &CollectionName) -> Result<(), RequestError> {
        if self.collection == *collection {
            Ok(())
        } else {
            Err(RequestError::Collection(self.collection.clone()))
        }
    }

    fn body(&self) -> Value {
        json!({
            "collection": self.collection,
            "identity": self.identity,
            "key": self.key.to_tuf(),
            "paths": self.paths.iter().map(PathPattern::as_str).collect::<Vec<_>>(),
            "at": self.at,
        })
    }
}

impl Denial {
    /// What the key must sign.
    pub fn message(&self) -> Vec<u8> {
        message(DENIAL, &self.body())
    }

    /// The document.
    pub fn assemble(&self, signature: &[u8]) -> Vec<u8> {
        document("bulla-delegation-denial", &self.body(), signature)
    }

    /// Read a denial of the request with this hash, signed by one of `keys`.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(
        bytes: &[u8],
        collection: &CollectionName,
        request: &str,
        keys: &[&RoleKeys],
    ) -> Result<Self, RequestError> {
        let (body, signature) = open(bytes, "bulla-delegation-denial")?;
        let raw: RawDenial = typed(&body)?;
        let message = message(DENIAL, &body);
        let signs = |k: &&RoleKeys| {
            let key = k.keys.get(&raw.by).and_then(Option::as_ref);
            key.is_some_and(|key| key.verify(&message, &signature))
        };
        if !keys.iter().any(signs) {
            return Err(RequestError::Stranger);
        }
        if raw.collection != *collection {
            return Err(RequestError::Collection(raw.collection));
        }
        if raw.request != request {
            return Err(RequestError::Format("it denies another request".into()));
        }
        check_text("the reason", &raw.reason)?;
        Ok(Self {
            collection: raw.collection,
            request: raw.request,
            reason: raw.reason,
            at: raw.at,
            by: raw.by,
        })
    }

    fn body(&self) -> Value {
        json!({
            "collection": self.collection,
            "request": self.request,
            "reason": self.reason,
            "at": self.at,
            "by": self.by,
        })
    }
}

/// By what a request is named: SHA-256 of its document, hex.
pub fn id(document: &[u8]) -> String {
    Digest::sha256(document).hex().to_owned()
}

fn message(first: &[u8], body: &Value) -> Vec<u8> {
    [first, &canonical(body)].concat()
}

fn document(kind: &str, body: &Value, signature: &[u8]) -> Vec<u8> {
    sorted_json(&json!({"_type": kind, "body": body, "signature": hex::encode(signature)}))
}

fn open(bytes: &[u8], kind: &str) -> Result<(Value, Vec<u8>), RequestError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(RequestError::Size(bytes.len() as u64));
    }
    let value = strict::parse(bytes).map_err(|e| RequestError::Format(e.to_string()))?;
    let envelope: Envelope = typed(&value)?;
    if envelope.kind != kind {
        return Err(RequestError::Format(format!("no {kind}")));
    }
    let signature = hex::decode(&envelope.signature)
        .map_err(|_| RequestError::Format("the signature is no hex".into()))?;
    Ok((envelope.body, signature))
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, RequestError> {
    T::deserialize(value).map_err(|e| RequestError::Format(e.to_string()))
}

impl From<GrantError> for RequestError {
    fn from(e: GrantError) -> Self {
        Self::Format(e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tuf::sim::{COLLECTION, NOW, SimKey};

    fn request(seed: u8) -> (Request, SimKey) {
        let key = SimKey::new(seed);
        let collection: CollectionName = COLLECTION.parse().unwrap();
        let paths = collection.scope("dev-*").unwrap();
        (
            Request {
                collection,
                identity: "Anna Beispiel <anna@ex.com>".into(),
                key: key.public(),
                paths,
                at: NOW,
            },
            key,
        )
    }

    #[test]
    fn a_request_proves_that_its_key_is_held() {
        let (asked, key) = request(7);
        let document = asked.assemble(&key.sign(&asked.message()));
        assert_eq!(Request::read(&document), Ok(asked.clone()));
        let other = SimKey::new(8);
        assert_eq!(Request::read(&asked.assemble(&other.sign(&asked.message()))), Err(RequestError::Proof));
        // A signature over the bare canonical form, as metadata has it, is none over a request.
        let bare = key.sign(&canonical(&asked.body()));
        assert_eq!(Request::read(&asked.assemble(&bare)), Err(RequestError::Proof));
        let text = String::from_utf8(document).unwrap();
        for (from, to) in [("dev-", "rel-"), ("Anna", "Eva"), ("ex.com/org/app", "ex.com/org/ape")] {
            assert!(Request::read(text.replace(from, to).as_bytes()).is_err(), "{from}");
        }
        assert!(Request::read(text.replace("\"body\"", "\"body\":1,\"body\"").as_bytes()).is_err());
        let large = vec![b' '; MAX_BYTES as usize + 1];
        assert_eq!(Request::read(&large), Err(RequestError::Size(MAX_BYTES + 1)));
        // The same request under another hash, made by somebody without the key.
        let start = text.find("\"signature\":\"").unwrap() + 13;
        for other in [
            format!(" {text}"),
            format!("{text}\n"),
            format!("{}{}", &text[..start], text[start..].to_uppercase()),
            text.replace("\"identity\":", "\"identity\": "),
        ] {
            assert!(other != text && Request::read(other.as_bytes()).is_err(), "{other}");
        }
        let elsewhere: CollectionName = "ex.com/other".parse().unwrap();
        assert!(matches!(asked.check_collection(&elsewhere), Err(RequestError::Collection(_))));
    }

    #[test]
    fn what_a_request_may_not_ask_is_refused_though_it_is_signed() {
        let signed = |change: &dyn Fn(&mut Request)| {
            let (mut asked, key) = request(7);
            change(&mut asked);
            let signature = key.sign(&asked.message());
            Request::read(&asked.assemble(&signature))
        };
        let pattern = |s: &str| PathPattern::parse(s).unwrap();
        assert!(signed(&|_| {}).is_ok());
        assert!(signed(&|r| r.paths = vec![]).is_err());
        assert!(signed(&|r| r.paths = vec![pattern("other.com/x:*")]).is_err());
        assert!(signed(&|r| r.paths = vec![pattern("dev-*")]).is_err());
        assert!(signed(&|r| r.paths = vec![pattern(&format!("{COLLECTION}:a")); 33]).is_err());
        assert!(signed(&|r| r.identity = "a\u{1b}[2Jb".into()).is_err());
        assert!(signed(&|r| r.identity = String::new()).is_err());
        assert!(signed(&|r| r.identity = "x".repeat(101)).is_err());
        assert!(signed(&|r| r.identity = "a\u{202e}b".into()).is_err());
    }

    #[test]
    fn a_denial_counts_when_a_key_of_the_delegator_signed_it() {
        let (asked, key) = request(7);
        let hash = id(&asked.assemble(&key.sign(&asked.message())));
        let releases = SimKey::new(3);
        let denial = Denial {
            collection: asked.collection.clone(),
            request: hash.clone(),
            reason: "nobody knows you".into(),
            at: NOW,
            by: releases.public().key_id(),
        };
        let keys =
            RoleKeys { threshold: 1, keys: [(releases.public().key_id(), Some(releases.public()))].into() };
        let document = denial.assemble(&releases.sign(&denial.message()));
        let read = |d: &[u8], hash: &str, keys: &[&RoleKeys]| Denial::read(d, &asked.collection, hash, keys);
        assert_eq!(read(&document, &hash, &[&keys]), Ok(denial.clone()));
        assert_eq!(read(&document, &hash, &[]), Err(RequestError::Stranger));
        assert!(read(&document, "00", &[&keys]).is_err());
        let forged = denial.assemble(&key.sign(&denial.message()));
        assert_eq!(read(&forged, &hash, &[&keys]), Err(RequestError::Stranger));
        assert!(Request::read(&document).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_changed_byte_is_believed(at in 0_usize..2_000, to in any::<u8>()) {
            let (asked, key) = request(7);
            let mut document = asked.assemble(&key.sign(&asked.message()));
            let at = at % document.len();
            let before = document[at];
            document[at] = to;
            // Hex digits of a signature may be of either case.
            let same = before.eq_ignore_ascii_case(&to);
            if let Ok(read) = Request::read(&document) {
                prop_assert!(same);
                prop_assert_eq!(read, asked);
            }
        }

        #[test]
        fn anything_may_lie_there(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Request::read(&bytes).is_err());
            let c: CollectionName = COLLECTION.parse().unwrap();
            prop_assert!(Denial::read(&bytes, &c, "", &[]).is_err());
        }
    }
}
