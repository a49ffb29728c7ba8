//! Earlier versions of the role files, named by the state's manifest as layers of a type of their own (docs/adr/0011). Nobody
//! who verifies reads them, and nothing is believed because it lies here: signed files name their ancestors by hash.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::state::FILENAME;
use super::whole::Whole;
use crate::oci::{Content, Descriptor, Digest, Manifest, media_type};
use crate::store::{Store, StoreError, fetch_small};
use crate::tuf::lineage::WINDOW;
use crate::tuf::{FileName, Files, Limits, RoleName};

/// Most files of one role that its live file does not descend from: what a thief signed, and what lost.
const MAX_BESIDE: usize = 16;
/// Most files in all.
pub const MAX_FILES: usize = 1_024;
/// Most bytes that are read of one history.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Files fetched at a time.
const CONCURRENCY: usize = 8;

/// Earlier role files: by name and hash, each with its bytes where they are at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    files: BTreeMap<(FileName, Digest), Old>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Old {
    size: u64,
    bytes: Option<Bytes>,
    /// Added here; the rest is what somebody wrote into the manifest.
    own: bool,
}

/// What could be read of a history.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Files whose bytes are what the manifest says.
    pub files: Vec<(RoleName, Bytes)>,
    /// Named, and not there or not as named.
    pub missing: usize,
}

impl History {
    /// The earlier files that a state's manifest names. Anybody who may push can have written it.
    pub fn of(manifest: &Content) -> Self {
        let layers = Manifest::parse(manifest).map(|m| m.layers).unwrap_or_default();
        let mut files = BTreeMap::new();
        for layer in layers.iter().filter(|l| l.media_type == media_type::BULLA_HISTORY).take(MAX_FILES) {
            let name = layer.annotation(FILENAME).and_then(|n| n.parse::<FileName>().ok());
            let Some(name) = name.filter(is_kept) else { continue };
            if layer.size <= Limits::default().targets_bytes {
                let old = Old { size: layer.size, bytes: None, own: false };
                files.insert((name, layer.digest.clone()), old);
            }
        }
        Self { files }
    }

    /// Keep a role file.
    pub fn add(&mut self, name: FileName, bytes: &Bytes) {
        if is_kept(&name) {
            let old = Old { size: bytes.len() as u64, bytes: Some(bytes.clone()), own: true };
            self.files.insert((name, Digest::sha256(bytes)), old);
        }
    }

    /// Keep the role files of `files`.
    pub fn add_all(&mut self, files: &Files) {
        for (name, bytes) in files.metadata() {
            self.add(name.clone(), bytes);
        }
    }

    /// Without what the state itself carries; of the rest what its roles descend from (64 versions), and a few beside.
    pub fn trim(&mut self, state: &Whole) {
        let live: BTreeSet<Digest> = state.roles().values().map(|at| at.file.digest()).collect();
        let ancestors: BTreeSet<&str> = state
            .roles()
            .values()
            .filter_map(|at| at.file.extra())
            .flat_map(|x| x.ancestors.iter().map(|a| a.1.as_str()))
            .collect();
        let mut beside: BTreeMap<RoleName, Vec<(bool, FileName, Digest)>> = BTreeMap::new();
        for ((name, digest), old) in &self.files {
            let now = state.role(name.role()).map(|file| file.version());
            let past = now.zip(name.version()).is_some_and(|(now, v)| v.get() + WINDOW <= now.get());
            if !past && !live.contains(digest) && !ancestors.contains(digest.hex()) {
                let one = (old.own, name.clone(), digest.clone());
                beside.entry(name.role().clone()).or_default().push(one);
            }
        }
        let mut kept: BTreeSet<(FileName, Digest)> = BTreeSet::new();
        for mut files in beside.into_values() {
            files.sort_by_key(|(own, name, _)| std::cmp::Reverse((*own, name.version())));
            kept.extend(files.into_iter().take(MAX_BESIDE).map(|(_, name, digest)| (name, digest)));
        }
        self.files.retain(|(name, digest), _| {
            let line = ancestors.contains(digest.hex()) && !live.contains(digest);
            line || kept.contains(&(name.clone(), digest.clone()))
        });
        self.shorten(MAX_FILES);
    }

    /// Drop the lowest versions until no more than `n` are left.
    pub fn shorten(&mut self, n: usize) {
        let mut versions: Vec<_> = self.files.keys().map(|(name, d)| (name.version(), d.clone())).collect();
        versions.sort();
        let gone: BTreeSet<_> =
            versions.into_iter().take(self.files.len().saturating_sub(n)).map(|(_, d)| d).collect();
        self.files.retain(|(_, digest), _| !gone.contains(digest));
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The layers of a state that names them.
    pub fn layers(&self) -> impl Iterator<Item = Descriptor> + '_ {
        self.files.iter().map(|((name, digest), old)| {
            let bare = Descriptor::new(media_type::BULLA_HISTORY, digest.clone(), old.size);
            bare.annotated(FILENAME, name.to_string())
        })
    }

    /// Those whose bytes are at hand.
    pub fn contents(&self) -> Vec<Content> {
        let bytes = self.files.values().filter_map(|old| old.bytes.clone());
        bytes.map(|b| Content::new(media_type::BULLA_HISTORY, b)).collect()
    }

    /// Without those that are not there: a registry refuses a manifest that names one.
    ///
    /// # Errors
    /// The place could not be asked.
    pub async fn retain_existing(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let asked = self.layers().map(|layer| async move {
            let there = store.exists(&layer).await?;
            Ok::<_, StoreError>((!there).then_some(layer.digest))
        });
        let asked: Vec<_> = asked.collect();
        let found: Vec<_> = stream::iter(asked).buffer_unordered(CONCURRENCY).collect().await;
        let mut gone = BTreeSet::new();
        for digest in found {
            gone.extend(digest?);
        }
        self.files.retain(|(_, digest), old| old.bytes.is_some() || !gone.contains(digest));
        Ok(())
    }

    /// Read the files.
    ///
    /// # Errors
    /// The place could not be asked. A file that is not there, or is another, is no error but [`Past::missing`].
    pub async fn read(&self, store: &dyn Store) -> Result<Past, StoreError> {
        let mut past = Past::default();
        let mut left = MAX_BYTES;
        let mut wanted = Vec::new();
        for ((name, _), layer) in self.files.keys().zip(self.layers()) {
            match left.checked_sub(layer.size) {
                Some(rest) => {
                    left = rest;
                    wanted.push((name.role().clone(), layer));
                }
                None => past.missing += 1,
            }
        }
        let limit = Limits::default().targets_bytes;
        let fetches = wanted.into_iter().map(|(role, layer)| async move {
            match fetch_small(store, &layer, limit).await {
                Ok(content) => Ok(Some((role, content.bytes().clone()))),
                Err(e) if e.is_not_found() || e.is_the_items_own() => Ok(None),
                Err(e) => Err(e),
            }
        });
        let fetches: Vec<_> = fetches.collect();
        let mut read = stream::iter(fetches).buffered(CONCURRENCY);
        while let Some(one) = read.next().await {
            match one? {
                Some(file) => past.files.push(file),
                None => past.missing += 1,
            }
        }
        Ok(past)
    }
}

/// Roots are in the state, and timestamp and snapshot introduce nothing.
fn is_kept(name: &FileName) -> bool {
    let role = name.role();
    name.version().is_some() && (*role == RoleName::targets() || !role.is_top_level())
}
