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
use crate::trust::RevocationList;
use crate::tuf::{CollectionName, Fault, FileName, Files, Limits, Remembered, RoleName, Told, Version};

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
    /// Two memories, or what is remembered and what is to be, have two roots of one version.
    #[error("{collection}: {rival}")]
    Contradiction {
        /// The collection.
        collection: String,
        /// Which.
        rival: Box<Rival>,
    },
}

/// Two roots of one version that both follow from one root: whoever holds a threshold of its keys signed two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two roots of version {version} follow from one root: {own}, and in {} {other}", .path.display())]
pub struct Rival {
    /// The memory that has the other one.
    pub path: PathBuf,
    /// The version.
    pub version: Version,
    /// Fingerprint of the one that is gone by.
    pub own: Digest,
    /// Fingerprint of the other one.
    pub other: Digest,
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

    /// What is remembered of the chain to which `anchor` (a root file) belongs: the one that holds it, or that it continues.
    ///
    /// # Errors
    /// The file is there but cannot be read, or is malformed.
    pub fn load(&self, anchor: &Bytes) -> Result<Option<Remembered>, MemoryError> {
        self.load_along(anchor, &[])
    }

    /// The same where other places offer roots, which may lie between those that are remembered and `anchor`.
    ///
    /// # Errors
    /// As [`Memory::load`].
    pub fn load_along(&self, anchor: &Bytes, offered: &[&Files]) -> Result<Option<Remembered>, MemoryError> {
        Ok(self.told(anchor, offered)?.own)
    }

    fn told(&self, anchor: &Bytes, offered: &[&Files]) -> Result<Told, MemoryError> {
        let limits = Limits::default();
        let told = Told::apart(self.chains()?, anchor, offered, &self.collection, &limits, understood);
        match told.damage {
            Some(e) => Err(self.invalid(e.to_string())),
            None => Ok(told),
        }
    }

    /// What several memories hold of the chain of `anchor`, taken together.
    ///
    /// # Errors
    /// As [`Memory::load`]; or they contradict each other.
    pub fn load_all(
        memories: &[Self],
        anchor: &Bytes,
        offered: &[&Files],
    ) -> Result<Option<Remembered>, MemoryError> {
        let mut all: Option<Remembered> = None;
        for memory in memories {
            all = match (all, memory.load_along(anchor, offered)?) {
                (Some(all), Some(more)) => Some(memory.join(&all, &more)?),
                (all, more) => all.or(more),
            };
        }
        Ok(all)
    }

    /// What several memories hold of other chains of the collection, as far as can be seen.
    ///
    /// # Errors
    /// As [`Memory::load`].
    pub fn others(
        memories: &[Self],
        anchor: &Bytes,
        offered: &[&Files],
    ) -> Result<Vec<Remembered>, MemoryError> {
        let mut others = Vec::new();
        for memory in memories {
            others.extend(memory.told(anchor, offered)?.others);
        }
        Ok(others)
    }

    /// Chains that contradict the one of `anchor`: they go on from it, and have another root of some version.
    ///
    /// # Errors
    /// As [`Memory::load`].
    pub fn rivals(&self, anchor: &Bytes) -> Result<Vec<Rival>, MemoryError> {
        let chains = self.chains()?;
        let offered: Vec<&Files> = chains.iter().map(|chain| &chain.files).collect();
        let told = self.told(anchor, &offered)?;
        let fingerprint = |chain: &Remembered, version| chain.files.root(version).map(|b| Digest::sha256(b));
        let rival = |(version, at): &(Version, usize)| {
            let other = fingerprint(told.others.get(*at)?, *version)?;
            let own = fingerprint(told.own.as_ref()?, *version)?;
            Some(Rival { path: self.path.clone(), version: *version, own, other })
        };
        Ok(told.rivals.iter().filter_map(rival).collect())
    }

    /// Every chain of the collection that is remembered.
    ///
    /// # Errors
    /// As [`Memory::load`].
    pub fn chains(&self) -> Result<Vec<Remembered>, MemoryError> {
        self.read()
    }

    /// Remember `new` for the chain of `anchor`. Nothing falls by it: what was remembered before, perhaps by another process
    /// meanwhile, is joined with it ([`Remembered::joined`]). Chains that it shows to be one are one from then on.
    ///
    /// # Errors
    /// The file cannot be read or written, or what is there contradicts `new` or is damaged.
    pub fn save(&self, anchor: &Bytes, new: &Remembered) -> Result<(), MemoryError> {
        let dir = self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(dir).map_err(|e| self.io(&e))?;
        let _lock = self.lock()?;
        let chains = self.chains()?;
        let limits = Limits::default();
        let leading = |chain: &Remembered, root: &Bytes| {
            chain.leading_to(root, &[&new.files], &self.collection, &limits)
        };
        let roots = || new.files.metadata().iter().filter(|(name, _)| *name.role() == RoleName::root());
        // The chain of the anchor comes first, and what contradicts it is another one. Its place in the file stays.
        let (mut kept, mut others) = (Vec::new(), BTreeMap::new());
        for (at, chain) in chains.into_iter().enumerate() {
            let by_itself = || chain.leading_to(anchor, &[], &self.collection, &limits);
            let linked_by = || roots().find_map(|(_, root)| leading(&chain, root));
            let found = by_itself().map(|c| (0, c)).or_else(|| leading(&chain, anchor).map(|c| (1, c)));
            match found.or_else(|| linked_by().map(|c| (2, c))) {
                Some((rank, led)) => kept.push((rank, at, led, chain)),
                None => drop(others.insert(at, chain)),
            }
        }
        kept.sort_by_key(|(rank, at, ..)| (*rank, *at));
        let mut place = others.len() + kept.len();
        let mut all: Option<Remembered> = None;
        let contradicts = |chain: &Remembered| {
            let joined = new.joined(chain, &self.collection, &limits, understood);
            joined.is_err_and(|e| matches!(e.fault, Fault::RootFork(_)))
        };
        for (rank, at, led, chain) in kept {
            // Only a walk over what `new` brings leads to it, and past it to another root.
            if rank > 0 && contradicts(&led) {
                others.insert(at, chain);
                continue;
            }
            all = Some(match all {
                None => {
                    place = at;
                    led
                }
                Some(all) => match all.joined(&led, &self.collection, &limits, understood) {
                    Ok(joined) => joined,
                    Err(e) if matches!(e.fault, Fault::RootFork(_)) => {
                        others.insert(at, chain);
                        all
                    }
                    Err(e) => return Err(self.invalid(e.to_string())),
                },
            });
        }
        let all = match all {
            Some(all) => self.join(&all, new)?,
            None => new.clone(),
        };
        others.insert(place, all);
        self.write(dir, &others.into_values().collect::<Vec<_>>())
    }

    fn join(&self, old: &Remembered, new: &Remembered) -> Result<Remembered, MemoryError> {
        let fingerprint = |chain: &Remembered, v| {
            chain.files.root(v).map(|bytes| Digest::sha256(bytes)).unwrap_or_else(|| Digest::sha256(b""))
        };
        old.joined(new, &self.collection, &Limits::default(), understood).map_err(|e| match e.fault {
            Fault::RootFork(version) => MemoryError::Contradiction {
                collection: self.collection.to_string(),
                rival: Box::new(Rival {
                    path: self.path.clone(),
                    version,
                    own: fingerprint(old, version),
                    other: fingerprint(new, version),
                }),
            },
            _ => self.invalid(e.to_string()),
        })
    }

    /// Forget the chains of any of these roots; says how many there were.
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
        let limits = Limits::default();
        let is_of = |c: &Remembered, root: &Bytes| {
            holds_root(&c.files, root) || c.is_of_chain(root, &[], &self.collection, &limits)
        };
        chains.retain(|c| !roots.iter().any(|root| is_of(c, root)));
        let forgotten = before - chains.len();
        if forgotten > 0 {
            self.write(dir, &chains)?;
        }
        Ok(forgotten)
    }

    fn read(&self) -> Result<Vec<Remembered>, MemoryError> {
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

fn understood(list: &[u8]) -> bool {
    RevocationList::parse(list).is_ok()
}

#[cfg(test)]
mod tests;
