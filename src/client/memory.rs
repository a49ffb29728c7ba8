//! The memory: the newest state that was verified here, whole, outside any registry. The floor below which nothing is
//! accepted or signed. One file a collection, replaced atomically under a lock (docs/formats.md "Memory and lock file").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lock;
use crate::oci::Digest;
use crate::tuf::{CollectionName, FileName, Files, Remembered, Version};

/// Largest memory file that is read, bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
const SCHEMA_VERSION: u32 = 1;

/// The memory of one collection, in one file.
#[derive(Debug, Clone)]
pub struct Memory {
    path: PathBuf,
    collection: CollectionName,
}

/// Why the memory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// A file operation failed.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// It is there, and is no memory of this collection.
    #[error("{path} is no memory of {collection}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The collection asked for.
        collection: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    schema_version: u32,
    collection: CollectionName,
    chains: Vec<Chain>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Chain {
    files: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    targets: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified_under: Option<Version>,
}

impl Memory {
    /// The memory of `collection` in a folder of memories.
    pub fn in_dir(dir: &Path, collection: &CollectionName) -> Self {
        let hash = Digest::sha256(collection.to_string().as_bytes());
        Self { path: dir.join(format!("{}.json", &hash.hex()[..32])), collection: collection.clone() }
    }

    /// The memory in a file of its own (`bulla.lock`).
    pub fn in_file(path: &Path, collection: &CollectionName) -> Self {
        Self { path: path.to_owned(), collection: collection.clone() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered of the chain to which `anchor` (a root file) belongs: the one that holds it byte for byte.
    ///
    /// # Errors
    /// The file is there but cannot be read, or is malformed.
    pub fn load(&self, anchor: &Bytes) -> Result<Option<Remembered>, MemoryError> {
        Ok(self.chains()?.into_iter().find(|c| holds_root(&c.files, anchor)))
    }

    /// Remember `new` for the chain of `anchor`. What another process remembered meanwhile is kept when it is newer.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn save(&self, anchor: &Bytes, new: &Remembered) -> Result<(), MemoryError> {
        let dir = self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(dir).map_err(|e| self.io(&e))?;
        let _lock = self.lock()?;
        let mut chains = self.chains()?;
        match chains.iter_mut().find(|c| holds_root(&c.files, anchor)) {
            Some(old) if is_newer(old, new) => {
                old.files.add_missing(&roots_of(&new.files));
            }
            Some(old) => {
                let roots = roots_of(&old.files);
                *old = new.clone();
                old.files.add_missing(&roots);
            }
            None => chains.push(new.clone()),
        }
        self.write(dir, &chains)
    }

    /// Forget the chains that hold any of these roots; says how many there were.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn forget(&self, roots: &[Bytes]) -> Result<usize, MemoryError> {
        if !self.path.exists() {
            return Ok(0);
        }
        let dir = self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let _lock = self.lock()?;
        let mut chains = self.chains()?;
        let before = chains.len();
        chains.retain(|c| !roots.iter().any(|root| holds_root(&c.files, root)));
        let forgotten = before - chains.len();
        if forgotten > 0 {
            self.write(dir, &chains)?;
        }
        Ok(forgotten)
    }

    fn chains(&self) -> Result<Vec<Remembered>, MemoryError> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| self.io(&e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.io(&e)),
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.invalid(format!("larger than {MAX_BYTES} bytes")));
        }
        let doc: Document = serde_json::from_slice(&bytes).map_err(|e| self.invalid(e.to_string()))?;
        if doc.schema_version != SCHEMA_VERSION {
            return Err(self.invalid(format!("schemaVersion {} is not {SCHEMA_VERSION}", doc.schema_version)));
        }
        if doc.collection != self.collection {
            return Err(self.invalid(format!("it remembers {}", doc.collection)));
        }
        doc.chains.into_iter().map(|c| self.read_chain(c)).collect()
    }

    fn read_chain(&self, chain: Chain) -> Result<Remembered, MemoryError> {
        let decode = |name: &str, text: &str| {
            STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| self.invalid(format!("\"{name}\" is not base64")))
        };
        let mut files = Files::new();
        for (name, text) in &chain.files {
            let file: FileName =
                name.parse().map_err(|_| self.invalid(format!("\"{name}\" is no file name")))?;
            files.put(file, decode(name, text)?);
        }
        for (path, text) in &chain.targets {
            files.put_target(path.clone(), decode(path, text)?);
        }
        Ok(Remembered { files, verified_under: chain.verified_under })
    }

    fn write(&self, dir: &Path, chains: &[Remembered]) -> Result<(), MemoryError> {
        let chain = |c: &Remembered| Chain {
            files: c.files.metadata().iter().map(|(n, b)| (n.to_string(), STANDARD.encode(b))).collect(),
            targets: c.files.targets().iter().map(|(p, b)| (p.clone(), STANDARD.encode(b))).collect(),
            verified_under: c.verified_under,
        };
        let doc = Document {
            schema_version: SCHEMA_VERSION,
            collection: self.collection.clone(),
            chains: chains.iter().map(chain).collect(),
        };
        let text = serde_json::to_vec(&doc).map_err(|e| self.invalid(e.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(self.invalid(format!("it would grow larger than {MAX_BYTES} bytes")));
        }
        let io = |e: io::Error| self.io(&e);
        let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
        temp.write_all(&text).map_err(io)?;
        temp.as_file().sync_all().map_err(io)?;
        temp.persist(&self.path).map_err(|e| self.io(&e.error))?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(io)
    }

    fn lock(&self) -> Result<File, MemoryError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lck");
        let path = PathBuf::from(path);
        lock::exclusive(&path, lock::PATIENCE).map_err(|e| MemoryError::Io {
            path,
            kind: e.kind(),
            reason: e.to_string(),
        })
    }

    fn io(&self, e: &io::Error) -> MemoryError {
        MemoryError::Io { path: self.path.clone(), kind: e.kind(), reason: e.to_string() }
    }

    fn invalid(&self, reason: String) -> MemoryError {
        MemoryError::Invalid { path: self.path.clone(), collection: self.collection.to_string(), reason }
    }
}

fn holds_root(files: &Files, anchor: &Bytes) -> bool {
    files.metadata().iter().any(|(name, bytes)| name.role().as_str() == "root" && bytes == anchor)
}

fn roots_of(files: &Files) -> Files {
    let mut roots = files.clone();
    roots.retain(|name| name.role().as_str() == "root");
    roots.drop_targets();
    roots
}

/// Whether `old` must stay: verified under no older root, with a newer timestamp. Both were verified before they
/// came here, so their own words count.
pub(super) fn is_newer(old: &Remembered, new: &Remembered) -> bool {
    match (old.verified_under, new.verified_under) {
        (Some(_), None) => true,
        (Some(a), Some(b)) => {
            a > b || (a == b && timestamp_version(&old.files) > timestamp_version(&new.files))
        }
        (None, _) => false,
    }
}

fn timestamp_version(files: &Files) -> Option<u64> {
    let doc: serde_json::Value = serde_json::from_slice(files.get(&FileName::timestamp())?).ok()?;
    doc["signed"]["version"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::sim::{DAY, NOW, Sim, heading};

    fn remembered(sim: &Sim) -> Remembered {
        Remembered { files: sim.files(), verified_under: Some(Version::ONE) }
    }

    #[test]
    fn survives_the_round_trip_and_never_falls() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(dir.path(), &Sim::name());
        let mut sim = Sim::new();
        assert_eq!(memory.load(&sim.roots[0]), Ok(None));
        sim.timestamp = heading(5, NOW, DAY);
        memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
        assert_eq!(memory.load(&sim.roots[0]), Ok(Some(remembered(&sim))));
        let newest = remembered(&sim);
        sim.timestamp = heading(4, NOW, DAY);
        memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
        assert_eq!(memory.load(&sim.roots[0]), Ok(Some(newest)));
        assert_eq!(memory.load(&Bytes::from_static(b"another root")), Ok(None));
    }

    #[test]
    fn what_could_not_be_read_back_does_not_replace_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(dir.path(), &Sim::name());
        let mut sim = Sim::new();
        memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
        let before = remembered(&sim);
        sim.timestamp = heading(5, NOW, DAY);
        let mut huge = remembered(&sim);
        huge.files.put_target("huge".into(), vec![0; 50 * 1024 * 1024].into());
        assert!(matches!(memory.save(&sim.roots[0], &huge), Err(MemoryError::Invalid { .. })));
        assert_eq!(memory.load(&sim.roots[0]), Ok(Some(before)));
    }

    #[test]
    fn what_is_no_memory_is_an_error_and_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(dir.path(), &Sim::name());
        for text in [
            "",
            "{}",
            r#"{"schemaVersion":2,"collection":"ex.com/org/app","chains":[]}"#,
            r#"{"schemaVersion":1,"collection":"ex.com/org/other","chains":[]}"#,
        ] {
            fs::write(memory.path(), text).unwrap();
            assert!(matches!(memory.load(&Bytes::new()), Err(MemoryError::Invalid { .. })), "{text}");
        }
    }
}
