//! What the registry holds. Tests reach in to set up, and to tamper.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::Value;

/// The media types of an index: OCI's, and docker's manifest list.
pub const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The media types of an image manifest: OCI's and docker's.
pub const IMAGE_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A manifest with what the referrers API says about it.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// The media type under which it was pushed.
    pub media_type: String,
    /// Its bytes, as pushed.
    pub bytes: Bytes,
    /// The digest in `subject`.
    pub subject: Option<String>,
    /// Its own `artifactType`.
    pub artifact_type: Option<String>,
    /// The media type of its config.
    pub config_type: Option<String>,
    /// Its annotations.
    pub annotations: Option<Value>,
    /// Listings from which it is still missing; see `Quirks::referrers_lag`.
    pub hidden_for: u64,
}

impl Manifest {
    /// Reads what there is to read; bytes that are no JSON make a manifest without fields.
    pub fn new(media_type: &str, bytes: Bytes) -> Self {
        let doc: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            media_type: media_type.into(),
            subject: text(&doc["subject"]["digest"]),
            artifact_type: text(&doc["artifactType"]),
            config_type: text(&doc["config"]["mediaType"]),
            annotations: doc.get("annotations").filter(|a| a.is_object()).cloned(),
            bytes,
            hidden_for: 0,
        }
    }
}

/// One repository.
#[derive(Clone, Debug, Default)]
pub struct Repo {
    /// Blobs by digest.
    pub blobs: HashMap<String, Bytes>,
    /// Manifests by the digest under which they are served.
    pub manifests: HashMap<String, Manifest>,
    /// The digests of the manifests, oldest first.
    pub order: Vec<String>,
    /// Tags and the digests they name.
    pub tags: BTreeMap<String, String>,
    /// Referrers that the listing leaves out.
    pub unlisted: HashSet<String>,
    /// Tags of which so many reads still see an older value.
    pub stale: HashMap<String, (Option<String>, u64)>,
}

impl Repo {
    /// Stores a manifest without any check.
    pub fn put_manifest(&mut self, digest: &str, manifest: Manifest) {
        if self.manifests.insert(digest.into(), manifest).is_none() {
            self.order.push(digest.into());
        }
    }

    /// Forgets a manifest and the tags that name it.
    pub fn remove_manifest(&mut self, digest: &str) -> bool {
        self.order.retain(|d| d != digest);
        self.tags.retain(|_, d| d != digest);
        self.manifests.remove(digest).is_some()
    }

    /// The digests of the manifests whose subject this is, oldest first, unlisted ones left out.
    pub fn referrers(&self, subject: &str) -> Vec<String> {
        let refers = |d: &&String| {
            self.manifests.get(*d).is_some_and(|m| m.subject.as_deref() == Some(subject))
                && !self.unlisted.contains(*d)
        };
        self.order.iter().filter(refers).cloned().collect()
    }
}

/// An upload session.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Where the blob goes.
    pub repo: String,
    /// What arrived so far.
    pub data: Vec<u8>,
    /// Changes with each answer; a client that does not use the latest location is refused.
    pub turn: u64,
    /// The last chunk was below the minimum, so that no other may follow.
    pub closed_to_chunks: bool,
}

/// All repositories and upload sessions.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By name.
    pub repos: BTreeMap<String, Repo>,
    /// By id.
    pub uploads: HashMap<String, Upload>,
}

impl State {
    /// The repository, made when it is missing.
    pub fn repo(&mut self, name: &str) -> &mut Repo {
        self.repos.entry(name.into()).or_default()
    }

    /// Stores a blob and returns its SHA-256 digest.
    pub fn put_blob(&mut self, repo: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.repo(repo).blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Stores a manifest without any check and returns its SHA-256 digest; with a tag, moves it.
    pub fn put_manifest(
        &mut self,
        repo: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        let repo = self.repo(repo);
        repo.put_manifest(&digest, Manifest::new(media_type, bytes));
        if let Some(tag) = tag {
            repo.tags.insert(tag.into(), digest.clone());
        }
        digest
    }

    /// Lets a tag name a digest, or removes it.
    pub fn set_tag(&mut self, repo: &str, tag: &str, digest: Option<&str>) {
        let tags = &mut self.repo(repo).tags;
        match digest {
            Some(digest) => tags.insert(tag.into(), digest.into()),
            None => tags.remove(tag),
        };
    }

    /// The manifest under a tag or digest, and its digest.
    pub fn manifest(&self, repo: &str, reference: &str) -> Option<(String, &Manifest)> {
        let repo = self.repos.get(repo)?;
        let digest = if reference.contains(':') { reference } else { repo.tags.get(reference)? };
        repo.manifests.get(digest).map(|m| (digest.to_owned(), m))
    }

    /// A blob; with `everywhere` from any repository.
    pub fn blob(&self, repo: &str, digest: &str, everywhere: bool) -> Option<&Bytes> {
        let own = self.repos.get(repo).and_then(|r| r.blobs.get(digest));
        own.or_else(|| everywhere.then(|| self.repos.values().find_map(|r| r.blobs.get(digest)))?)
    }

    /// Tags that name no manifest, manifests that name a blob or child that is not there, and
    /// content that has not the digest under which it lies. Empty for a sound repository.
    pub fn broken(&self, repo: &str) -> Vec<String> {
        let Some(repo) = self.repos.get(repo) else { return Vec::new() };
        let mut found = Vec::new();
        let tags = repo.tags.iter().filter(|(_, digest)| !repo.manifests.contains_key(*digest));
        found.extend(tags.map(|(tag, digest)| format!("tag {tag} names {digest}, which is missing")));
        for digest in &repo.order {
            let Some(manifest) = repo.manifests.get(digest) else { continue };
            if digest_matches(digest, &manifest.bytes) != Some(true) {
                found.push(format!("manifest {digest} holds other bytes"));
            }
            let doc: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
            let list = |name: &str| doc[name].as_array().cloned().unwrap_or_default();
            let blobs = list("layers").into_iter().chain(doc.get("config").cloned());
            let blobs = blobs.filter(|d| d["digest"].as_str().is_none_or(|d| !repo.blobs.contains_key(d)));
            let children = list("manifests").into_iter();
            let children =
                children.filter(|d| d["digest"].as_str().is_none_or(|d| !repo.manifests.contains_key(d)));
            let missing = blobs.chain(children);
            found.extend(
                missing.map(|d| format!("manifest {digest} names {}, which is missing", d["digest"])),
            );
        }
        let wrong = repo.blobs.iter().filter(|(digest, bytes)| digest_matches(digest, bytes) != Some(true));
        found.extend(wrong.map(|(digest, _)| format!("blob {digest} holds other bytes")));
        found
    }

    /// Serves other bytes under the digest of a blob or manifest; `false` when there is none.
    pub fn tamper(&mut self, repo: &str, digest: &str, bytes: impl Into<Bytes>) -> bool {
        let repo = self.repo(repo);
        let bytes = bytes.into();
        if let Some(manifest) = repo.manifests.get_mut(digest) {
            *manifest = Manifest::new(&manifest.media_type.clone(), bytes);
            true
        } else {
            repo.blobs.get_mut(digest).map(|blob| *blob = bytes).is_some()
        }
    }
}

/// `sha256:<hex>` of some bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest::digest(&digest::SHA256, bytes)))
}

/// Whether the bytes have this digest; none when it is malformed or of an unknown algorithm.
pub fn digest_matches(wanted: &str, bytes: &[u8]) -> Option<bool> {
    if !is_digest(wanted) {
        return None;
    }
    let algorithm = if wanted.starts_with("sha512:") { &digest::SHA512 } else { &digest::SHA256 };
    let found = hex::encode(digest::digest(algorithm, bytes));
    wanted.split_once(':').map(|(_, hex)| hex == found)
}

/// Whether this is a SHA-256 or SHA-512 digest in its only legal spelling.
pub fn is_digest(text: &str) -> bool {
    match text.split_once(':') {
        Some(("sha256", hex)) if lower_hex(hex) => hex.len() == 64,
        Some(("sha512", hex)) if lower_hex(hex) => hex.len() == 128,
        _ => false,
    }
}

fn lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is a legal repository name (distribution-spec, "Pulling manifests").
pub fn is_name(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(is_component)
}

fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if !ends.iter().all(|b| b.is_some_and(|b| alnum(*b))) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|b| *b == b'-'))
}

/// Whether this is a legal tag.
pub fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}
