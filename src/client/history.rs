//! Earlier versions of the role files, named by the state's manifest as layers of a type of their own (docs/adr/0011). Nobody
//! who verifies reads them, and nothing is believed because it lies here: signed files name their ancestors by hash.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::genuine::genuine;
use super::state::FILENAME;
use super::whole::Whole;
use crate::oci::{Content, Descriptor, Digest, Manifest, media_type};
use crate::store::{Store, StoreError, fetch_small};
use crate::tuf::lineage::WINDOW;
use crate::tuf::{
    CollectionName, Extra, FileName, Files, Limits, RoleName, RootChain, Targets, Unverified, Version,
};

/// Most files of one role that its live file does not descend from: what a thief signed, and what lost.
pub(super) const MAX_BESIDE: usize = 64;
/// Most files in all.
pub const MAX_FILES: usize = 1_024;
/// Most bytes of one history.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Files fetched at a time.
const CONCURRENCY: usize = 8;

/// Name and hash of a file.
type Key = (FileName, Digest);

/// Earlier role files: by name and hash, each with its bytes where they are at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    files: BTreeMap<Key, Old>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Old {
    size: u64,
    bytes: Option<Bytes>,
    /// Added here; the rest is what somebody wrote into the manifest.
    own: bool,
    /// What goes first when there is too much: the number of versions to the live one; beside the line it is more.
    rank: usize,
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
                let old = Old { size: layer.size, bytes: None, own: false, rank: usize::MAX };
                files.insert((name, layer.digest.clone()), old);
            }
        }
        Self { files }
    }

    /// Keep a role file.
    pub fn add(&mut self, name: FileName, bytes: &Bytes) {
        if is_kept(&name) {
            let digest = Digest::sha256(bytes);
            let (size, bytes) = (bytes.len() as u64, Some(bytes.clone()));
            let old = Old { size, bytes, own: true, rank: usize::MAX };
            self.files.insert((name, digest), old);
        }
    }

    /// Keep the role files of `files`.
    pub fn add_all(&mut self, files: &Files) {
        for (name, bytes) in files.metadata() {
            self.add(name.clone(), bytes);
        }
    }

    /// Without what the state itself carries; of the rest what its roles descend from (64 versions), those that nobody delegates
    /// to any more included, and some beside that keys of the role signed. Whoever may push can name files here: what is not
    /// shown to be genuine is not named again.
    ///
    /// # Errors
    /// A file that is to be judged cannot be fetched now. One that is not there, or is another, goes.
    pub async fn trim(
        &mut self,
        state: &Whole,
        chain: &RootChain,
        collection: &CollectionName,
        store: &dyn Store,
    ) -> Result<(), StoreError> {
        let line = line(state);
        let live: BTreeSet<Digest> = state.files().metadata().values().map(|b| Digest::sha256(b)).collect();
        let mut beside = BTreeSet::new();
        self.files.retain(|(name, digest), old| {
            if live.contains(digest) || old.size > Limits::default().targets_bytes {
                return false;
            }
            old.rank = line.get(&(name.clone(), digest.hex().to_owned())).copied().unwrap_or(usize::MAX);
            if old.rank < usize::MAX {
                return true;
            }
            let newer =
                |now: Version| name.version().is_some_and(|v| v.get().saturating_add(WINDOW) > now.get());
            let near = state.role(name.role()).is_none_or(|file| newer(file.version()));
            if near {
                beside.insert((name.clone(), digest.clone()));
            }
            near
        });
        if !beside.is_empty() {
            let genuine = self.genuine(&beside, state, chain, collection, store).await?;
            self.files.retain(|key, _| !beside.contains(key) || genuine.contains_key(key));
            for (rank, key) in kept_beside(&genuine, state, |key| self.files[key].own) {
                match (rank, self.files.get_mut(&key)) {
                    (Some(n), Some(old)) => old.rank = usize::try_from(WINDOW).unwrap_or(64) + n,
                    _ => drop(self.files.remove(&key)),
                }
            }
        }
        self.shorten(MAX_FILES);
        Ok(())
    }

    /// Those of `beside` that keys signed which held the role at some time, with the targets that each lists. Of a role that the
    /// state does not know nothing is fetched unless a genuine file delegates to it.
    async fn genuine(
        &self,
        beside: &BTreeSet<Key>,
        state: &Whole,
        chain: &RootChain,
        collection: &CollectionName,
        store: &dyn Store,
    ) -> Result<BTreeMap<Key, BTreeSet<String>>, StoreError> {
        let mut all: BTreeMap<RoleName, BTreeSet<Bytes>> = BTreeMap::new();
        for (role, at) in state.roles() {
            all.entry(role.clone()).or_default().insert(at.file.bytes().clone());
        }
        // Earlier versions of who delegates say which keys held a role.
        let delegates =
            |role: &RoleName| state.role(role).is_some_and(|f| !f.role().delegations().is_empty());
        let known = |key: &Key| state.role(key.0.role()).is_some();
        let mut wanted: Vec<&Key> = self
            .files
            .keys()
            .filter(|key| delegates(key.0.role()) || (beside.contains(key) && known(key)))
            .collect();
        let mut later: Vec<&Key> = beside.iter().filter(|key| !known(key)).collect();
        loop {
            let mut asked = Self::default();
            for key in wanted {
                let Some(old) = self.files.get(key) else { continue };
                match &old.bytes {
                    Some(bytes) => drop(all.entry(key.0.role().clone()).or_default().insert(bytes.clone())),
                    None => drop(asked.files.insert(key.clone(), old.clone())),
                }
            }
            for (role, file) in asked.read(store).await?.files {
                all.entry(role).or_default().insert(file);
            }
            let found = genuine(collection, chain, &all);
            let named: BTreeSet<&RoleName> =
                found.values().flat_map(|(file, _)| file.role().delegations()).map(|d| &d.name).collect();
            (wanted, later) = later.into_iter().partition(|key| named.contains(key.0.role()));
            if wanted.is_empty() {
                let listed = |key: &Key| {
                    let (file, _) = found.get(&(key.0.role().clone(), key.1.hex().to_owned()))?;
                    let targets = file.role().targets().values();
                    let all = targets.filter_map(|t| t.sha256().map(str::to_owned)).collect();
                    (Some(file.version()) == key.0.version()).then(|| (key.clone(), all))
                };
                return Ok(beside.iter().filter_map(listed).collect());
            }
        }
    }

    /// Drop what is farthest from the live line until no more than `n` files, and no more bytes than are read, are left.
    pub fn shorten(&mut self, n: usize) {
        let mut order: Vec<_> =
            self.files.iter().map(|(key, old)| ((old.rank, old.size), key.clone())).collect();
        order.sort();
        let mut bytes = 0_u64;
        let mut kept = BTreeSet::new();
        for ((_, size), key) in order.into_iter().take(n) {
            if bytes.saturating_add(size) <= MAX_BYTES {
                bytes += size;
                kept.insert(key);
            }
        }
        self.files.retain(|key, _| kept.contains(key));
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

/// The files that the roles of a state descend from, with the number of versions to the newest one: of those that can be
/// reached, and of those that the snapshot lists still though nobody delegates to them any more.
fn line(state: &Whole) -> BTreeMap<(FileName, String), usize> {
    let mut out = BTreeMap::new();
    let mut add = |role: &RoleName, version: Version, extra: Option<&Extra>| {
        for ancestor in extra.iter().flat_map(|x| &x.ancestors) {
            let far = version.get().saturating_sub(ancestor.0.get());
            let name = FileName::versioned(role.clone(), ancestor.0);
            out.insert((name, ancestor.1.clone()), usize::try_from(far).unwrap_or(usize::MAX - 1));
        }
    };
    for (role, at) in state.roles() {
        add(role, at.file.version(), at.file.extra());
    }
    let pins = state.trusted().snapshot().role().pins();
    for (role, pin) in pins.iter().filter(|(role, _)| state.role(role).is_none()) {
        let bytes = state.files().get(&FileName::versioned(role.clone(), pin.version));
        let Some(bytes) = bytes.filter(|b| pin.check(b).is_ok()) else { continue };
        // Pinned, so that it was signed once; its content says what it follows.
        let parsed = Unverified::<Targets>::parse(role, bytes, &Limits::default());
        if let Ok(file) = parsed.and_then(|f| f.verify(role, &[])) {
            add(role, pin.version, file.extra());
        }
    }
    out
}

/// Which files beside the line are kept, by their place, and which not: first those that list something which none before them
/// does, so that no number of others drives them out; of these, first the ones that were kept before.
fn kept_beside(
    genuine: &BTreeMap<Key, BTreeSet<String>>,
    state: &Whole,
    own: impl Fn(&Key) -> bool,
) -> Vec<(Option<usize>, Key)> {
    let mut by_role: BTreeMap<&RoleName, Vec<&Key>> = BTreeMap::new();
    genuine.keys().for_each(|key| by_role.entry(key.0.role()).or_default().push(key));
    let mut out = Vec::new();
    for (role, mut keys) in by_role {
        keys.sort_by_key(|key| (own(key), key.0.version()));
        let live = state.role(role).into_iter().flat_map(|f| f.role().targets().values());
        let mut covered: BTreeSet<String> = live.filter_map(|t| t.sha256().map(str::to_owned)).collect();
        let (mut telling, mut rest) = (Vec::new(), Vec::new());
        for key in keys {
            let before = covered.len();
            covered.extend(genuine[key].iter().cloned());
            if covered.len() > before { telling.push(key) } else { rest.push(key) }
        }
        let order = telling.into_iter().chain(rest).enumerate();
        out.extend(order.map(|(n, key)| ((n < MAX_BESIDE).then_some(n), key.clone())));
    }
    out
}

/// Roots are in the state, and timestamp and snapshot introduce nothing.
fn is_kept(name: &FileName) -> bool {
    let role = name.role();
    name.version().is_some() && (*role == RoleName::targets() || !role.is_top_level())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_manifest_names_only_bounded_files_of_kept_roles_are_read(
            layers in proptest::collection::vec(
                (any::<bool>(), "(([1-9][0-9]{0,17}|x)\\.)?(root|targets|targets/[a-z]{1,3}|\\.\\./x)(\\.json)?", any::<u64>()),
                0..40,
            )
        ) {
            let layers: Vec<_> = layers.iter().enumerate().map(|(i, (kept, name, size))| json!({
                "mediaType": if *kept { media_type::BULLA_HISTORY } else { media_type::BULLA_STATE },
                "digest": Digest::sha256(&i.to_le_bytes()).to_string(),
                "size": size >> (i % 64),
                "annotations": {FILENAME: name},
            })).collect();
            let n = layers.len();
            let config = json!({"mediaType": "application/json", "digest": Digest::sha256(b"{}").to_string(), "size": 2});
            let doc = json!({"schemaVersion": 2, "config": config, "layers": layers});
            let bytes = serde_json::to_vec(&doc).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let mut history = History::of(&Content::new(media_type::OCI_MANIFEST, bytes));
            prop_assert!(history.len() <= n);
            let bounded = history.files.iter().all(|((name, _), old)| {
                is_kept(name) && old.size <= Limits::default().targets_bytes && old.bytes.is_none()
            });
            prop_assert!(bounded);
            history.shorten(5);
            prop_assert!(history.len() <= 5 && history.layers().map(|l| l.size).sum::<u64>() <= MAX_BYTES);
        }
    }
}
