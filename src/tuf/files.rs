//! A bag of files from one source: metadata by name, and target files of the whole collection by target path.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{FileName, RoleName, Version};

/// Files as one source offers them: a live state, a seal, the memory. Nothing here has been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    metadata: BTreeMap<FileName, Bytes>,
    targets: BTreeMap<String, Bytes>,
}

impl Files {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add or replace a metadata file.
    pub fn put(&mut self, name: FileName, bytes: Bytes) {
        self.metadata.insert(name, bytes);
    }

    /// Add or replace a target file.
    pub fn put_target(&mut self, path: String, bytes: Bytes) {
        self.targets.insert(path, bytes);
    }

    /// A metadata file.
    pub fn get(&self, name: &FileName) -> Option<&Bytes> {
        self.metadata.get(name)
    }

    /// Take a metadata file out.
    pub fn remove(&mut self, name: &FileName) -> Option<Bytes> {
        self.metadata.remove(name)
    }

    /// A root by version.
    pub fn root(&self, version: Version) -> Option<&Bytes> {
        self.get(&FileName::versioned(RoleName::root(), version))
    }

    /// The greatest version of a root that is offered.
    pub fn newest_root(&self) -> Option<Version> {
        let roots = self.metadata.keys().filter(|n| *n.role() == RoleName::root());
        roots.filter_map(FileName::version).max()
    }

    /// A target file.
    pub fn target(&self, path: &str) -> Option<&Bytes> {
        self.targets.get(path)
    }

    /// All metadata files, in order of name.
    pub fn metadata(&self) -> &BTreeMap<FileName, Bytes> {
        &self.metadata
    }

    /// All target files, in order of path.
    pub fn targets(&self) -> &BTreeMap<String, Bytes> {
        &self.targets
    }

    /// Take over what `other` has and this has not: names carry versions and hashes decide, so nothing is replaced.
    pub fn add_missing(&mut self, other: &Self) {
        for (name, bytes) in &other.metadata {
            self.metadata.entry(name.clone()).or_insert_with(|| bytes.clone());
        }
        for (path, bytes) in &other.targets {
            self.targets.entry(path.clone()).or_insert_with(|| bytes.clone());
        }
    }

    /// Keep only what `wanted` says.
    pub fn retain(&mut self, mut wanted: impl FnMut(&FileName) -> bool) {
        self.metadata.retain(|name, _| wanted(name));
    }

    /// Drop all target files.
    pub fn drop_targets(&mut self) {
        self.targets.clear();
    }

    /// Whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.targets.is_empty()
    }
}
