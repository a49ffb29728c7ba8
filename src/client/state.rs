//! States, seals and submissions as OCI artifacts: packing files into a manifest, and reading them back (docs/formats.md).

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::history::History;
use crate::oci::{Content, Descriptor, Digest, Manifest, ManifestKind, Packer, Selector, Tag, media_type};
use crate::store::{Store, StoreError, fetch_small};
use crate::tuf::{CollectionName, FileName, Files};

/// The annotation that names a file.
pub const FILENAME: &str = "tuf.io/filename";
/// The annotation that says when the timestamp was signed: a hint for the order in which seals are read.
pub const SIGNED_AT: &str = "vnd.bulla.at";
/// Largest manifest of a state, seal or submission, bytes.
pub const MAX_STATE_MANIFEST: u64 = 1024 * 1024;
/// Most bytes of files that one state, seal or submission may hold.
pub const MAX_STATE_FILES: u64 = 16 * 1024 * 1024;
/// Most files that one state, seal or submission may hold: each may cost a request.
pub const MAX_STATE_FILE_COUNT: usize = 1024;
/// Most bytes of files that are embedded in the manifest.
const INLINE_BYTES: u64 = 64 * 1024;
/// Most manifests of a state that is an index.
const MAX_STATE_PARTS: usize = 16;
/// Blobs fetched at a time.
const CONCURRENCY: usize = 8;

/// What an artifact of files is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The collection's current metadata.
    State,
    /// The state as far as one bundle needs it, hanging on the bundle.
    Seal,
    /// Signed next versions of roles, waiting to be admitted.
    Submission,
    /// A next snapshot and timestamp, waiting for more signatures.
    Candidate,
}

impl Kind {
    /// The artifact type.
    pub fn artifact_type(self) -> &'static str {
        match self {
            Self::State => media_type::BULLA_STATE,
            Self::Seal => media_type::BULLA_SEAL,
            Self::Submission => media_type::BULLA_SUBMISSION,
            Self::Candidate => media_type::BULLA_CANDIDATE,
        }
    }
}

/// A manifest and the blobs it needs beside the empty config.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The manifest.
    pub manifest: Content,
    /// Its layers with their bytes, in order.
    pub blobs: Vec<Content>,
    /// Earlier role files that it names, as far as their bytes are at hand; readers do not fetch them.
    pub past: Vec<Content>,
}

/// What was packed is larger than what readers take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got} {what}, and readers take {limit}")]
pub struct Oversize {
    /// What there is too much of, with its unit.
    pub what: &'static str,
    /// How much there is.
    pub got: u64,
    /// How much readers take.
    pub limit: u64,
}

impl Packed {
    /// That readers will take it: [`read()`] refuses anything larger.
    ///
    /// # Errors
    /// The first cap that is passed.
    pub fn check_size(&self) -> Result<(), Oversize> {
        let bytes = self.blobs.iter().map(|b| b.descriptor().size).sum();
        let rows = [
            ("bytes of manifest", self.manifest.descriptor().size, MAX_STATE_MANIFEST),
            ("bytes of files", bytes, MAX_STATE_FILES),
            ("files", self.blobs.len() as u64, MAX_STATE_FILE_COUNT as u64),
        ];
        match rows.into_iter().find(|(_, got, limit)| got > limit) {
            Some((what, got, limit)) => Err(Oversize { what, got, limit }),
            None => Ok(()),
        }
    }
}

/// A state, seal or submission that was read: unchecked files.
#[derive(Debug, Clone)]
pub struct Read {
    /// The manifest (or the index of a large state).
    pub manifest: Content,
    /// The files.
    pub files: Files,
}

/// Why an artifact of files could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The place could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was read, and is not what it should be.
    #[error("{digest}: {reason}")]
    Invalid {
        /// Digest of the manifest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
}

/// Pack `files` deterministically: layers by file name, sorted keys; the same files give the same digest.
pub fn pack(kind: Kind, files: &Files, subject: Option<&Descriptor>) -> Packed {
    pack_with(kind, files, subject, &History::default())
}

/// Pack a state that names earlier role files too, after its own.
pub fn pack_state(files: &Files, history: &History) -> Packed {
    pack_with(Kind::State, files, None, history)
}

fn pack_with(kind: Kind, files: &Files, subject: Option<&Descriptor>, history: &History) -> Packed {
    let named = |name: &str, media_type: &str, bytes: &bytes::Bytes| {
        (name.to_owned(), Content::new(media_type, bytes.clone()))
    };
    let metadata = files.metadata().iter().map(|(n, b)| named(&n.to_string(), media_type::TUF_METADATA, b));
    let targets = files.targets().iter().map(|(p, b)| named(p, media_type::TUF_TARGET, b));
    let layers: BTreeMap<String, Content> = metadata.chain(targets).collect();
    let inline = inline_names(&layers);
    let mut packer = Packer::new(kind.artifact_type());
    if let Some(subject) = subject {
        packer = packer.subject(subject);
    }
    if let Some(at) = files.get(&FileName::timestamp()).and_then(signing_time) {
        packer = packer.annotation(SIGNED_AT, at);
    }
    for (name, content) in &layers {
        let mut layer = content.descriptor().clone().annotated(FILENAME, name);
        if inline.contains(name) {
            layer = layer.with_data(content.bytes());
        }
        packer = packer.layer(layer);
    }
    for layer in history.layers() {
        packer = packer.layer(layer);
    }
    Packed { manifest: packer.build(), blobs: layers.into_values().collect(), past: history.contents() }
}

/// `x-bulla.at` of a timestamp file, unchecked: it orders the reading of seals and decides nothing.
fn signing_time(timestamp: &bytes::Bytes) -> Option<String> {
    let doc = crate::sig::json::parse(timestamp).ok()?;
    doc["signed"]["x-bulla"]["at"].as_str().map(str::to_owned)
}

/// The timestamp always, then the smallest first while all together fit.
fn inline_names(layers: &BTreeMap<String, Content>) -> BTreeSet<String> {
    let mut by_size: Vec<_> =
        layers.iter().map(|(name, c)| (name != "timestamp.json", c.descriptor().size, name)).collect();
    by_size.sort_unstable();
    let mut sum = 0;
    let mut out = BTreeSet::new();
    for (optional, size, name) in by_size {
        sum += size;
        if optional && sum > INLINE_BYTES {
            break;
        }
        out.insert(name.clone());
    }
    out
}

/// The live state of a collection; `None` only when the store says that there is none.
///
/// Where tags are immutable the state lies at `bulla.<h>.<version>`: on 404 the three highest are tried.
///
/// # Errors
/// The store fails, or what lies there is no state.
pub async fn fetch_state(store: &dyn Store, collection: &CollectionName) -> Result<Option<Read>, StateError> {
    match resolve_state(store, collection).await? {
        Some(manifest) => read(store, &manifest, Kind::State).await.map(Some),
        None => Ok(None),
    }
}

/// The manifest of the live state, without its files.
///
/// # Errors
/// The store fails.
pub async fn resolve_state(
    store: &dyn Store,
    collection: &CollectionName,
) -> Result<Option<Content>, StateError> {
    Ok(find_state(store, collection).await?.map(|(_, manifest)| manifest))
}

/// The manifest of the live state, with the tag at which it lies.
///
/// # Errors
/// The store fails.
pub async fn find_state(
    store: &dyn Store,
    collection: &CollectionName,
) -> Result<Option<(Tag, Content)>, StateError> {
    let name = collection.state_tag();
    if let Some(manifest) = store.resolve(&Selector::Tag(name.clone())).await? {
        return Ok(Some((name, manifest)));
    }
    let prefix = format!("{name}.");
    let tags = match store.tags(Some(name.as_str())).await {
        Err(e) if e.is_not_found() => return Ok(None),
        other => other?,
    };
    let version = |t: &Tag| t.as_str().strip_prefix(&prefix)?.parse::<u64>().ok();
    let mut versions: Vec<_> = tags.into_iter().filter_map(|t| version(&t).map(|v| (v, t))).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    for (_, tag) in versions.into_iter().take(3) {
        if let Some(manifest) = store.resolve(&Selector::Tag(tag.clone())).await? {
            return Ok(Some((tag, manifest)));
        }
    }
    Ok(None)
}

/// Read the files of a state, seal or submission. Embedded files cost no request; the rest is fetched side by side.
///
/// # Errors
/// The store fails; or the manifest is of another kind, too large, names one file twice, or misses a blob.
pub async fn read(store: &dyn Store, manifest: &Content, kind: Kind) -> Result<Read, StateError> {
    let digest = manifest.digest();
    let layers = layers(store, manifest, kind).await?;
    let fetch = |(name, layer): (String, Descriptor)| async move {
        match fetch_small(store, &layer, MAX_STATE_FILES).await {
            Ok(content) => Ok((name, layer, content)),
            Err(e) if e.is_not_found() => {
                Err(invalid(digest, format!("the file \"{name}\" ({}) is not there", layer.digest)))
            }
            Err(e) => Err(e.into()),
        }
    };
    let fetched: Vec<_> =
        stream::iter(layers.into_iter().map(fetch)).buffered(CONCURRENCY).try_collect().await?;
    Ok(Read { manifest: manifest.clone(), files: named(fetched) })
}

/// The files of a state that can still be had: those that are there, and are what the manifest says.
///
/// # Errors
/// The store fails.
pub async fn intact(store: &dyn Store, manifest: &Content) -> Result<Files, StateError> {
    let layers = match layers(store, manifest, Kind::State).await {
        Ok(layers) => layers,
        Err(StateError::Store(e)) if !e.is_the_items_own() && !e.is_not_found() => return Err(e.into()),
        Err(_) => return Ok(Files::new()),
    };
    let fetch = |(name, layer): (String, Descriptor)| async move {
        match fetch_small(store, &layer, MAX_STATE_FILES).await {
            Ok(content) => Ok(Some((name, layer, content))),
            Err(e) if e.is_not_found() || e.is_the_items_own() => Ok(None),
            Err(e) => Err(StateError::Store(e)),
        }
    };
    let fetched: Vec<_> =
        stream::iter(layers.into_iter().map(fetch)).buffered(CONCURRENCY).try_collect().await?;
    Ok(named(fetched.into_iter().flatten()))
}

fn named(fetched: impl IntoIterator<Item = (String, Descriptor, Content)>) -> Files {
    let mut files = Files::new();
    for (name, layer, content) in fetched {
        if layer.media_type == media_type::TUF_TARGET {
            files.put_target(name, content.bytes().clone());
        } else if let Ok(name) = name.parse::<FileName>() {
            files.put(name, content.bytes().clone());
        }
    }
    files
}

/// The layers that are files, by name.
async fn layers(
    store: &dyn Store,
    manifest: &Content,
    kind: Kind,
) -> Result<BTreeMap<String, Descriptor>, StateError> {
    let digest = manifest.digest();
    let mut layers: BTreeMap<String, Descriptor> = BTreeMap::new();
    for part in parts(store, manifest, kind).await? {
        for layer in part.layers {
            let known =
                layer.media_type == media_type::TUF_METADATA || layer.media_type == media_type::TUF_TARGET;
            let Some(name) = layer.annotation(FILENAME).filter(|_| known).map(str::to_owned) else {
                continue;
            };
            if let Some(other) = layers.get(&name).filter(|o| o.digest != layer.digest) {
                return Err(invalid(
                    digest,
                    format!("{} and {} are both named \"{name}\"", other.digest, layer.digest),
                ));
            }
            layers.insert(name, layer);
        }
    }
    if layers.len() > MAX_STATE_FILE_COUNT {
        return Err(invalid(digest, format!("more than {MAX_STATE_FILE_COUNT} files")));
    }
    let total = layers.values().try_fold(0u64, |sum, l| sum.checked_add(l.size));
    if total.is_none_or(|t| t > MAX_STATE_FILES) {
        return Err(invalid(digest, format!("files of more than {MAX_STATE_FILES} bytes")));
    }
    Ok(layers)
}

/// The manifests whose layers make up the artifact: itself, or the entries of an index.
async fn parts(store: &dyn Store, manifest: &Content, kind: Kind) -> Result<Vec<Manifest>, StateError> {
    let whole = parse(manifest, kind)?;
    if whole.kind == ManifestKind::Image {
        return Ok(vec![whole]);
    }
    let digest = manifest.digest();
    if kind != Kind::State || whole.manifests.len() > MAX_STATE_PARTS {
        return Err(invalid(digest, format!("an index of {} manifests", whole.manifests.len())));
    }
    let mut out = Vec::new();
    for part in &whole.manifests {
        let found = store.resolve(&Selector::Digest(part.digest.clone())).await?;
        let found = found.ok_or_else(|| invalid(digest, format!("its part {} is not there", part.digest)))?;
        let part = parse(&found, kind)?;
        if part.kind != ManifestKind::Image {
            return Err(invalid(digest, "an index inside an index"));
        }
        out.push(part);
    }
    Ok(out)
}

fn parse(manifest: &Content, kind: Kind) -> Result<Manifest, StateError> {
    let digest = manifest.digest();
    if manifest.descriptor().size > MAX_STATE_MANIFEST {
        return Err(invalid(digest, format!("a manifest of more than {MAX_STATE_MANIFEST} bytes")));
    }
    let parsed = Manifest::parse(manifest).map_err(|e| invalid(digest, e.to_string()))?;
    match parsed.artifact_type.as_deref() {
        Some(t) if t == kind.artifact_type() => Ok(parsed),
        other => {
            let other: String = other.unwrap_or("nothing").chars().take(100).collect();
            Err(invalid(digest, format!("artifactType is {other} instead of {}", kind.artifact_type())))
        }
    }
}

fn invalid(digest: &Digest, reason: impl Into<String>) -> StateError {
    StateError::Invalid { digest: digest.clone(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_refuse_is_not_written() {
        let packed = |n: usize, size: usize| {
            let mut files = Files::new();
            (0..n).for_each(|i| files.put_target(format!("c/{i}"), vec![b'x'; size].into()));
            pack(Kind::State, &files, None)
        };
        assert_eq!(packed(3, 10).check_size(), Ok(()));
        let got = MAX_STATE_FILE_COUNT as u64 + 1;
        let limit = MAX_STATE_FILE_COUNT as u64;
        assert_eq!(packed(1025, 1).check_size(), Err(Oversize { what: "files", got, limit }));
        let big = packed(1, 16 * 1024 * 1024 + 1).check_size().unwrap_err();
        assert_eq!((big.what, big.got, big.limit), ("bytes of files", 16_777_217, MAX_STATE_FILES));
    }
}
