//! A proposal as one JSON document (docs/formats.md "Proposal"): read strictly, written deterministically.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    About, Drafted, MAX_BY, MAX_BYTES, MAX_DESCRIPTION, MAX_DRAFTS, MAX_FILES, Proposal, ProposalError,
};
use crate::oci::{Digest, sorted_json};
use crate::sig::{KeyId, json};
use crate::time::UnixTime;
use crate::tuf::{Ancestor, CollectionName, Draft, FileName, Files, Limits, RoleName, TufError, Version};

const SCHEMA_VERSION: u64 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    schema_version: u64,
    collection: CollectionName,
    at: UnixTime,
    by: String,
    description: String,
    base: BTreeMap<RoleName, Stands>,
    drafts: BTreeMap<RoleName, RawDraft>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    published: Carried,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stands {
    version: Version,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDraft {
    signed: Value,
    signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    keyid: KeyId,
    sig: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Carried {
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    targets: BTreeMap<String, String>,
}

impl Proposal {
    /// Read a proposal. Nothing in it is believed: drafts are metadata of their roles, and that is all that is checked.
    ///
    /// # Errors
    /// See [`ProposalError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProposalError> {
        let format = |why: String| ProposalError::Format(why);
        if bytes.len() > MAX_BYTES {
            return Err(format(format!("{} bytes, at most {MAX_BYTES} are read", bytes.len())));
        }
        let value = json::parse(bytes).map_err(|e| format(e.to_string()))?;
        let doc = Document::deserialize(value).map_err(|e| format(e.to_string()))?;
        if doc.schema_version != SCHEMA_VERSION {
            return Err(format(format!("schemaVersion {} is not {SCHEMA_VERSION}", doc.schema_version)));
        }
        let carried = doc.published.metadata.len() + doc.published.targets.len();
        let rows = [
            ("bytes of description", doc.description.len(), MAX_DESCRIPTION),
            ("bytes of \"by\"", doc.by.len(), MAX_BY),
            ("drafts", doc.drafts.len(), MAX_DRAFTS),
            ("files that it stands on", doc.base.len(), MAX_DRAFTS + 1),
            ("files", doc.files.len(), MAX_FILES),
            ("published files", carried, 2 * MAX_FILES),
        ];
        if let Some((what, got, limit)) = rows.into_iter().find(|(_, got, limit)| got > limit) {
            return Err(format(format!("{got} {what}, at most {limit} are read")));
        }
        if doc.drafts.is_empty() {
            return Err(format("no draft".into()));
        }
        let mut drafts = BTreeMap::new();
        for (role, raw) in doc.drafts {
            let draft = raw.read(&role, &doc.collection)?;
            drafts.insert(role, draft);
        }
        if drafts.contains_key(&RoleName::snapshot()) && !drafts.contains_key(&RoleName::timestamp()) {
            return Err(format("a snapshot without the timestamp that names it".into()));
        }
        let mut base = BTreeMap::new();
        for (role, stands) in doc.base {
            if !is_sha256(&stands.sha256) {
                return Err(format(format!("the base of {role} has no SHA-256")));
            }
            if !drafts.contains_key(&role) && role != RoleName::root() {
                return Err(format(format!("it stands on {role}, which it does not draft")));
            }
            base.insert(role, Ancestor(stands.version, stands.sha256));
        }
        let about = About { description: doc.description, by: doc.by, at: doc.at };
        let files = decoded(doc.files)?;
        let published = doc.published.read()?;
        Ok(Self { collection: doc.collection, about, base, drafts, files, published })
    }

    /// What copies of one proposal have in common: 32 hex digits over all that would be signed or installed.
    pub fn id(&self) -> String {
        let base: Value = self.base.iter().map(|(r, a)| (r.to_string(), json!([a.0, a.1]))).collect();
        let drafts = self.drafts.iter().map(|(r, d)| (r.to_string(), json!(Digest::sha256(&d.message()))));
        let files = self.files.iter().map(|(p, b)| (p.clone(), json!(Digest::sha256(b))));
        let (drafts, files): (Value, Value) = (drafts.collect(), files.collect());
        let whole = json!({"collection": self.collection, "base": base, "drafts": drafts, "files": files});
        Digest::sha256(&sorted_json(&whole)).hex()[..32].to_owned()
    }

    /// The document: sorted keys, no white space, a final newline. The same proposal gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let draft = |d: &Drafted| {
            let signatures =
                d.signatures.iter().map(|(id, sig)| json!({"keyid": id, "sig": hex::encode(sig)}));
            json!({"signed": d.signed(), "signatures": signatures.collect::<Vec<_>>()})
        };
        let base = self.base.iter();
        let base: Value =
            base.map(|(r, a)| (r.to_string(), json!({"version": a.0, "sha256": a.1}))).collect();
        let drafts: Value = self.drafts.iter().map(|(r, d)| (r.to_string(), draft(d))).collect();
        let text = |(name, bytes): (String, &Bytes)| (name, json!(STANDARD.encode(bytes)));
        let mut doc = json!({
            "schemaVersion": SCHEMA_VERSION,
            "collection": self.collection,
            "at": self.about.at,
            "by": self.about.by,
            "description": self.about.description,
            "base": base,
            "drafts": drafts,
        });
        if !self.files.is_empty() {
            doc["files"] = self.files.iter().map(|(p, b)| text((p.clone(), b))).collect();
        }
        if !self.published.is_empty() {
            let metadata: Value =
                self.published.metadata().iter().map(|(n, b)| text((n.to_string(), b))).collect();
            let targets: Value = self.published.targets().iter().map(|(p, b)| text((p.clone(), b))).collect();
            doc["published"] = json!({"metadata": metadata, "targets": targets});
        }
        let mut out = sorted_json(&doc);
        out.push(b'\n');
        out
    }
}

impl RawDraft {
    fn read(self, role: &RoleName, collection: &CollectionName) -> Result<Drafted, ProposalError> {
        let fail = |why: String| ProposalError::Draft(TufError::new(role, crate::tuf::Fault::Format(why)));
        let limit = Limits::default().signatures;
        if self.signatures.len() > limit {
            return Err(fail(format!("{} signatures, at most {limit} are read", self.signatures.len())));
        }
        let mut draft = Drafted::new(role, Draft::from_signed(self.signed))?;
        for raw in self.signatures {
            let signature = hex::decode(&raw.sig).map_err(|_| fail("a signature that is no hex".into()))?;
            if draft.signatures.insert(raw.keyid, signature).is_some() {
                return Err(fail("two signatures under one key id".into()));
            }
        }
        match draft.collection() {
            Some(c) if c == collection.to_string() => Ok(draft),
            other => {
                let (expected, got) = (collection.to_string(), other.unwrap_or_default().to_owned());
                let fault = crate::tuf::Fault::Collection { expected, got };
                Err(ProposalError::Draft(TufError::new(role, fault)))
            }
        }
    }
}

impl Carried {
    fn read(self) -> Result<Files, ProposalError> {
        let mut files = Files::new();
        for (name, bytes) in decoded(self.metadata)? {
            let file: FileName =
                name.parse().map_err(|_| ProposalError::Format("a published file without a name".into()))?;
            files.put(file, bytes);
        }
        for (path, bytes) in decoded(self.targets)? {
            files.put_target(path, bytes);
        }
        Ok(files)
    }
}

fn decoded(files: BTreeMap<String, String>) -> Result<BTreeMap<String, Bytes>, ProposalError> {
    let one = |(name, text): (String, String)| match STANDARD.decode(text) {
        Ok(bytes) => Ok((name, Bytes::from(bytes))),
        Err(_) => Err(ProposalError::Format("a file that is no base64".into())),
    };
    files.into_iter().map(one).collect()
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
