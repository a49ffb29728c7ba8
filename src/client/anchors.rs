//! The file of anchors and statements on disk, and the roots that go into it: read, fetched by fingerprint, judged by
//! themselves. No trust on first use.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::lock;
use super::places::Places;
use super::state::{self, StateError};
use crate::oci::{Digest, Reference};
use crate::sig::KeyId;
use crate::store::StoreError;
use crate::time::UnixTime;
use crate::trust::{
    Addition, AdditionError, Anchor, Level, MAX_PACK_BYTES, MAX_PACKS, MAX_TRUST_BYTES, PACK_SUFFIX,
    PackError, RootPack, TrustError, TrustFile,
};
use crate::tuf::{CollectionName, Limits, RoleName, RootWalk, TufError, Version};

/// `trust.json` of an installation, and the system's above it. Neither need exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustStore {
    path: PathBuf,
    system: Option<SystemFile>,
}

/// Where the system's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFile {
    /// The place that nobody but the administrator may write to.
    pub fixed: PathBuf,
    /// Another one that counts instead, unless the one at the fixed place is locked.
    pub instead: Option<PathBuf>,
}

/// What a root file says, of one that is signed by its own threshold. Its expiry is not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFacts {
    /// SHA-256 of the file.
    pub fingerprint: Digest,
    /// The collection it names.
    pub collection: Option<String>,
    /// Its version.
    pub version: Version,
    /// How many of its root keys must sign the next root.
    pub threshold: u32,
    /// Its root keys.
    pub keys: Vec<KeyId>,
    /// When it expires.
    pub expires: UnixTime,
}

/// Why anchors could not be read, written or found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// A file operation failed.
    #[error("cannot {what} {}: {reason}", path.display())]
    Io {
        /// "read", "write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// The file is malformed.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: TrustError,
    },
    /// A root pack is not taken over.
    #[error("{}: {reason}", path.display())]
    Pack {
        /// Its document.
        path: PathBuf,
        /// Why.
        reason: PackError,
    },
    /// There is no root pack, or there are more than are read.
    #[error("{} holds {found} root packs", path.display())]
    Packs {
        /// The directory.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// The file says something else already.
    #[error("{}: {reason}", path.display())]
    Addition {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: AdditionError,
    },
    /// The file is larger than is read.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, bytes.
        limit: u64,
    },
    /// A root that does not verify by itself, or another collection's.
    #[error(transparent)]
    Root(#[from] TufError),
    /// No state at any of the places.
    #[error("no state of {collection} at {}", places.join(", "))]
    NoState {
        /// The collection.
        collection: CollectionName,
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// Roots were found, none with the fingerprint.
    #[error("no root with the fingerprint {asked}")]
    Fingerprint {
        /// The fingerprint asked for.
        asked: Digest,
        /// Those of the roots found.
        found: Vec<Digest>,
    },
    /// A state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A place cannot be used.
    #[error(transparent)]
    Place(#[from] StoreError),
}

/// A root file's bytes, as many as a verifier would read.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read_root(path: &Path) -> Result<Bytes, AnchorError> {
    read(path, Limits::default().root_bytes).map(Bytes::from)
}

/// Judge a root file by itself: check that it is signed by its own threshold; with `collection`, that it names that one.
///
/// # Errors
/// Malformed, unsigned, or another collection's.
pub fn root_facts(bytes: &Bytes, collection: Option<&CollectionName>) -> Result<RootFacts, TufError> {
    let name = collection.map(ToString::to_string);
    let chain = RootWalk::start(bytes, name.as_deref(), &Limits::default())?.finish();
    let root = chain.last();
    if let Some(own) = root.extra() {
        root.check_collection(&RoleName::root(), &own.collection)?;
    }
    let keys = root.role().root_keys();
    Ok(RootFacts {
        fingerprint: Digest::sha256(bytes),
        collection: root.extra().map(|x| x.collection.clone()),
        version: root.version(),
        threshold: keys.threshold,
        keys: keys.keys.keys().cloned().collect(),
        expires: root.expires(),
    })
}

/// The root of `collection` with this fingerprint, out of the state at the first of `at` that has one.
///
/// # Errors
/// No state, none of its roots has the fingerprint, or a place could not be asked.
pub async fn fetch_root(
    places: &dyn Places,
    at: &[Reference],
    collection: &CollectionName,
    fingerprint: &Digest,
) -> Result<Bytes, AnchorError> {
    let mut found = Vec::new();
    for place in at {
        let store = places.open(place).await?;
        let Some(state) = state::fetch_state(&*store, collection).await? else { continue };
        for (name, bytes) in state.files.metadata() {
            if name.role().as_str() != "root" {
                continue;
            }
            if fingerprint.matches(bytes) {
                return Ok(bytes.clone());
            }
            found.push(Digest::sha256(bytes));
        }
    }
    if found.is_empty() {
        let places = at.iter().map(ToString::to_string).collect();
        return Err(AnchorError::NoState { collection: collection.clone(), places });
    }
    Err(AnchorError::Fingerprint { asked: fingerprint.clone(), found })
}

/// The anchors that the root packs of a directory stand for, in order of their names. Each root must verify by itself.
///
/// # Errors
/// The first pack that cannot be read or does not hold: none is to be taken over then.
pub fn read_packs(dir: &Path) -> Result<Vec<Anchor>, AnchorError> {
    let io = |e: io::Error| failed("read", dir, &e);
    let mut documents = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name.to_str().is_some_and(|n| n.ends_with(PACK_SUFFIX) && !n.starts_with('.')) {
            documents.push(dir.join(name));
        }
    }
    documents.sort();
    if documents.is_empty() || documents.len() > MAX_PACKS {
        return Err(AnchorError::Packs { path: dir.to_owned(), found: documents.len() });
    }
    documents.iter().map(|path| read_pack(dir, path)).collect()
}

fn read_pack(dir: &Path, path: &Path) -> Result<Anchor, AnchorError> {
    let invalid = |reason| AnchorError::Pack { path: path.to_owned(), reason };
    let pack = RootPack::parse(&read(path, MAX_PACK_BYTES)?).map_err(invalid)?;
    let root = read_root(&dir.join(pack.root()))?;
    let anchor = pack.anchor(root.clone()).map_err(invalid)?;
    let judged = root_facts(&root, Some(pack.collection()));
    judged.map_err(|e| invalid(PackError::Malformed(format!("its root: {e}"))))?;
    Ok(anchor)
}

impl TrustStore {
    /// The store in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), system: None }
    }

    /// The same under a system's file.
    #[must_use]
    pub fn under(self, system: SystemFile) -> Self {
        Self { system: Some(system), ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What counts: its content, empty when there is no file, under the system's.
    ///
    /// # Errors
    /// Unreadable or malformed, or it contradicts the system's.
    pub fn load(&self) -> Result<TrustFile, AnchorError> {
        let own = self.own()?;
        let invalid = |reason| AnchorError::Invalid { path: self.path.clone(), reason };
        match self.system.as_ref().map(SystemFile::load).transpose()?.flatten() {
            None => own.whole().map_err(invalid),
            Some(system) => own.under(system).and_then(TrustFile::whole).map_err(invalid),
        }
    }

    /// Its content alone; empty when there is no file.
    ///
    /// # Errors
    /// Unreadable or malformed.
    pub fn own(&self) -> Result<TrustFile, AnchorError> {
        let file = parsed(&self.path)?.unwrap_or_default();
        if file.locked {
            return Err(AnchorError::Invalid { path: self.path.clone(), reason: TrustError::Locked });
        }
        Ok(file.named(&self.path.display().to_string(), Level::User))
    }

    /// Add what was read of another form, all or nothing. `false` when all of it is there.
    ///
    /// # Errors
    /// The file cannot be read or written, or says something else already: nothing is added then.
    pub fn import(&self, addition: &Addition) -> Result<bool, AnchorError> {
        let mut refused = None;
        let changed = self.edit(|file| refused = file.add(addition).err())?;
        match refused {
            Some(reason) => Err(AnchorError::Addition { path: self.path.clone(), reason }),
            None => Ok(changed),
        }
    }

    /// Add an anchor. `false` when the same one is there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn add(&self, anchor: &Anchor) -> Result<bool, AnchorError> {
        self.add_all(std::slice::from_ref(anchor))
    }

    /// Add anchors, all at once. `false` when all of them are there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn add_all(&self, anchors: &[Anchor]) -> Result<bool, AnchorError> {
        self.edit(|file| {
            anchors.iter().for_each(|anchor| {
                match file.anchors.iter_mut().find(|a| a.id == anchor.id) {
                    // The id covers scope, collection and root; further places may be new.
                    Some(old) => {
                        let new = anchor.state_at.iter().filter(|p| !old.state_at.contains(p)).cloned();
                        let new: Vec<_> = new.collect();
                        old.state_at.extend(new);
                    }
                    None => file.anchors.push(anchor.clone()),
                }
            })
        })
    }

    /// Remove the anchor with this id. `false` when there is none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn remove(&self, id: &str) -> Result<bool, AnchorError> {
        self.edit(|file| {
            file.anchors.retain(|a| a.id.as_str() != id);
            file.signers.retain(|a| a.id.as_str() != id);
        })
    }

    /// Give every anchor that rests on `collection` this root, itself or in its sources; each with what it was before. Whatever else
    /// it says stays. Those that have the root already stay.
    ///
    /// # Errors
    /// The file cannot be read or written; or two sources of an anchor would become one: nothing is changed then.
    pub fn replace_roots(
        &self,
        collection: &CollectionName,
        root: &Bytes,
    ) -> Result<Vec<(Anchor, Anchor)>, AnchorError> {
        let mut replaced = Vec::new();
        let mut refused = None;
        self.edit(|file| {
            let before = file.clone();
            for anchor in &mut file.anchors {
                match anchor.with_root(collection, root) {
                    Ok(new) if new == *anchor => {}
                    Ok(new) => replaced.push((std::mem::replace(anchor, new.clone()), new)),
                    Err(reason) => refused = Some(reason),
                }
            }
            if refused.is_some() {
                *file = before;
                return;
            }
            // Two roots for one scope become one.
            let mut seen = Vec::new();
            file.anchors.retain(|a| {
                !seen.contains(&a.id) && {
                    seen.push(a.id.clone());
                    true
                }
            });
        })?;
        match refused {
            Some(reason) => Err(AnchorError::Invalid { path: self.path.clone(), reason }),
            None => Ok(replaced),
        }
    }

    /// Warn of this advisory no longer. `false` when that was said before.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn acknowledge(&self, id: &str) -> Result<bool, AnchorError> {
        self.edit(|file| {
            file.acknowledged.insert(id.to_owned());
        })
    }

    /// Change the file under a lock; it is written only when something changed, whole and durable.
    fn edit(&self, change: impl FnOnce(&mut TrustFile)) -> Result<bool, AnchorError> {
        let folder =
            self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let failed = |e: io::Error| failed("write", &self.path, &e);
        fs::create_dir_all(folder).map_err(failed)?;
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lck");
        let lock = PathBuf::from(lock);
        let _lock = lock::exclusive(&lock, lock::PATIENCE).map_err(|e| self::failed("lock", &lock, &e))?;
        let before = self.own()?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(false);
        }
        let invalid = |reason| AnchorError::Invalid { path: self.path.clone(), reason };
        match self.system.as_ref().map(SystemFile::load).transpose()?.flatten() {
            None => after.clone().whole(),
            Some(system) => after.clone().under(system).and_then(TrustFile::whole),
        }
        .map_err(invalid)?;
        let mut temp = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        temp.write_all(&after.to_bytes()).map_err(failed)?;
        temp.as_file().sync_all().map_err(failed)?;
        temp.persist(&self.path).map_err(|e| failed(e.error))?;
        File::open(folder).and_then(|d| d.sync_all()).map_err(failed)?;
        Ok(true)
    }
}

impl SystemFile {
    /// The one that counts, where there is one.
    fn load(&self) -> Result<Option<TrustFile>, AnchorError> {
        let system = |path: &Path, file: TrustFile| {
            file.named(&path.display().to_string(), Level::System { locked: false })
        };
        let fixed = parsed(&self.fixed)?.map(|file| system(&self.fixed, file));
        let Some(instead) = self.instead.as_ref().filter(|_| !fixed.as_ref().is_some_and(|f| f.locked))
        else {
            return Ok(fixed);
        };
        match parsed(instead)? {
            Some(file) => Ok(Some(system(instead, file))),
            // Who names a file means it.
            None => Err(failed("read", instead, &io::ErrorKind::NotFound.into())),
        }
    }
}

/// A file of anchors and statements; `None` when there is none.
fn parsed(path: &Path) -> Result<Option<TrustFile>, AnchorError> {
    let bytes = match read(path, MAX_TRUST_BYTES) {
        Err(AnchorError::Io { kind: io::ErrorKind::NotFound, .. }) => return Ok(None),
        read => read?,
    };
    let file = TrustFile::parse(&bytes);
    file.map(Some).map_err(|reason| AnchorError::Invalid { path: path.to_owned(), reason })
}

pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, AnchorError> {
    let failed = |e: io::Error| failed("read", path, &e);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(AnchorError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

pub(super) fn failed(what: &'static str, path: &Path, e: &io::Error) -> AnchorError {
    AnchorError::Io { what, path: path.to_owned(), kind: e.kind(), reason: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SourceSpec;
    use crate::tuf::sim::Sim;

    #[test]
    fn added_once_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = TrustStore::new(dir.path().join("deep/trust.json"));
        assert_eq!(store.load().map(|file| file.anchors), Ok(vec![]));
        let sim = Sim::new();
        let anchor = |at: &[&str]| {
            let places = at.iter().map(|p| p.parse().unwrap()).collect();
            Anchor::tuf("ex.com/org/app".parse().unwrap(), Sim::name(), sim.roots[0].clone(), places)
        };
        assert_eq!(store.add(&anchor(&[])), Ok(true));
        assert_eq!(store.add(&anchor(&[])), Ok(false));
        assert_eq!(store.add(&anchor(&["mirror.example/x"])), Ok(true));
        assert_eq!(store.load().unwrap().anchors, [anchor(&["mirror.example/x"])]);
        assert_eq!(store.remove("000000000000"), Ok(false));
        assert_eq!(store.remove(anchor(&[]).id.as_str()), Ok(true));
        assert_eq!(store.load().unwrap().anchors, []);
        fs::write(store.path(), "{").unwrap();
        assert!(matches!(store.add(&anchor(&[])), Err(AnchorError::Invalid { .. })));
    }

    #[test]
    fn a_replaced_root_leaves_what_an_anchor_asks_of_its_sources() {
        let dir = tempfile::tempdir().unwrap();
        let store = TrustStore::new(dir.path().join("trust.json"));
        let (stolen, fresh) = (Sim::new().roots[0].clone(), Bytes::from_static(b"{}"));
        let plain = |name: &str| {
            Anchor::tuf("ex.com/org/app".parse().unwrap(), name.parse().unwrap(), stolen.clone(), vec![])
        };
        let at = |place: &str| SourceSpec { at: Some(place.parse().unwrap()), ..SourceSpec::default() };
        let own = plain("ex.com/org/app")
            .with_sources(vec![at("a.example/x"), at("b.example/x")], Some(2))
            .unwrap();
        // Another collection's anchor that also asks this one.
        let asks = SourceSpec {
            collection: Some(Sim::name()),
            root: Some(stolen.clone().into()),
            ..SourceSpec::default()
        };
        let other = plain("ex.com/org/other").with_sources(vec![SourceSpec::default(), asks], None).unwrap();
        store.add_all(&[own.clone(), other.clone()]).unwrap();
        let replaced = store.replace_roots(&Sim::name(), &fresh).unwrap();
        assert_eq!(replaced.len(), 2);
        let now = store.load().unwrap().anchors;
        assert_eq!((&now[0].sources, now[0].min), (&own.sources, Some(2)));
        assert_eq!(now[0].root.bytes(), &fresh);
        assert_eq!(now[1].root.bytes(), &stolen);
        assert_eq!(now[1].sources[1].root.as_ref().unwrap().bytes(), &fresh);
        assert!(now[0].id != own.id && now[1].id != other.id);
        assert_eq!(store.replace_roots(&Sim::name(), &fresh), Ok(vec![]));
        // Two sources that only their roots told apart cannot both be asked: nothing is changed.
        let asked = |root: &Bytes| SourceSpec { root: Some(root.clone().into()), ..at("a.example/x") };
        let apart = plain("ex.com/org/app").with_sources(vec![asked(&stolen), asked(&fresh)], None).unwrap();
        store.add(&apart).unwrap();
        let before = store.load().unwrap();
        assert!(store.replace_roots(&Sim::name(), &stolen).is_err());
        assert_eq!(store.load(), Ok(before));
    }

    #[test]
    fn a_root_must_be_signed_and_of_the_collection() {
        let sim = Sim::new();
        let facts = root_facts(&sim.roots[0], Some(&Sim::name())).unwrap();
        assert_eq!(facts.collection, Some(Sim::name().to_string()));
        assert_eq!((facts.version, facts.threshold as usize), (Version::ONE, facts.keys.len()));
        let other = "ex.com/org/other".parse().unwrap();
        assert!(root_facts(&sim.roots[0], Some(&other)).is_err());
        let text = String::from_utf8(sim.roots[0].to_vec()).unwrap();
        let forged = Bytes::from(text.replace("\"version\":1", "\"version\":2"));
        assert_ne!(forged, sim.roots[0]);
        assert!(root_facts(&forged, None).is_err());
    }

    /// `BULLA_SYSTEM_TRUST` names another file, and can take nothing from a locked one.
    #[test]
    fn another_system_file_counts_unless_the_fixed_one_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let system = SystemFile { fixed: at("fixed.json"), instead: Some(at("instead.json")) };
        let store = TrustStore::new(at("trust.json")).under(system);
        assert!(matches!(store.load(), Err(AnchorError::Io { kind: io::ErrorKind::NotFound, .. })));
        let write = |name: &str, locked: bool| {
            fs::write(at(name), format!(r#"{{"schemaVersion":2,"locked":{locked}}}"#)).unwrap();
        };
        write("instead.json", false);
        let counts = || store.load().unwrap().system().unwrap().origin().file.clone();
        assert!(counts().ends_with("instead.json"));
        write("fixed.json", false);
        assert!(counts().ends_with("instead.json"));
        write("fixed.json", true);
        assert!(counts().ends_with("fixed.json"));
        fs::write(at("fixed.json"), "{").unwrap();
        assert!(matches!(store.load(), Err(AnchorError::Invalid { .. })), "never as if it were absent");
        fs::remove_file(at("fixed.json")).unwrap();
        write("trust.json", true);
        assert!(matches!(store.load(), Err(AnchorError::Invalid { reason: TrustError::Locked, .. })));
    }
}
