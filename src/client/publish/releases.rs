//! The entries that a publication adds to the role that signs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Prepared, role};
use crate::client::commit::{Intents, Refusal};
use crate::client::signing::KeyRing;
use crate::client::whole::{RoleAt, Whole};
use crate::oci::Digest;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::RevocationList;
use crate::tuf::lineage::{Change, View};
use crate::tuf::{About, Bundle, Claim, CollectionName, Paths, RoleName};

/// The entries that a publication adds.
pub(super) struct Releases<'a> {
    pub(super) collection: &'a CollectionName,
    pub(super) bundles: &'a [Prepared],
    pub(super) asked: Option<&'a RoleName>,
    /// The role that signs, with what it may speak for; known when the state was read.
    pub(super) signs: OnceLock<Signs>,
}

/// A role that lists bundles.
#[derive(Debug, Clone)]
pub(super) struct Signs {
    pub(super) role: RoleName,
    pub(super) paths: Option<Paths>,
}

impl Signs {
    pub(super) fn may_list(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|p| p.cover(path))
    }
}

impl Releases<'_> {
    /// The role that signs; releases until it is known.
    pub(super) fn signs(&self) -> Signs {
        self.signs.get().cloned().unwrap_or_else(|| Signs { role: RoleName::releases(), paths: None })
    }
}

impl Intents for Releases<'_> {
    fn partly(&self) -> bool {
        true
    }

    fn role(&self) -> RoleName {
        self.signs().role
    }

    fn settle(
        &self,
        seats: &BTreeMap<RoleName, RoleAt>,
        known: &[&Whole],
        keys: &dyn KeyRing,
    ) -> Result<(), Refusal> {
        let wanted: Vec<String> =
            self.bundles.iter().flat_map(|b| &b.tags).map(|tag| self.collection.tag_path(tag)).collect();
        let untagged = self.bundles.iter().find(|b| b.tags.is_empty());
        let untagged = untagged.map(|b| self.collection.release_path(b.content.digest()));
        let signs = role::choose(seats, keys, self.asked, &wanted, untagged.as_deref())?;
        for bundle in self.bundles {
            for tag in &bundle.tags {
                let path = self.collection.tag_path(tag);
                role::check_seen(known, &signs.role, &path, bundle.content.digest())?;
            }
        }
        let _ = self.signs.set(signs);
        Ok(())
    }

    fn changes(
        &self,
        known: &[&Whole],
        view: &View,
        by: &KeyId,
        at: UnixTime,
    ) -> Result<Vec<Change>, Refusal> {
        let lists = revocation_lists(known, self.collection)?;
        let lists: Vec<RevocationList> = lists
            .iter()
            .map(|list| RevocationList::parse(list))
            .collect::<Result<_, _>>()
            .map_err(Refusal::Revocations)?;
        let signs = self.signs();
        let mut changes = Vec::new();
        for bundle in self.bundles {
            let digest = bundle.content.digest();
            for list in &lists {
                if list.revokes(digest).is_some() {
                    return Err(Refusal::Revoked(digest.clone()));
                }
            }
            let about = |claim| About {
                claim,
                at,
                by: by.clone(),
                media_type: bundle.content.media_type().to_owned(),
                tags: BTreeSet::new(),
                previous: None,
                platform: None,
                part_of: BTreeSet::new(),
                set: None,
                over: BTreeSet::new(),
            };
            let custom = with_thick(bundle, view, self.collection);
            let entry = |about| Bundle {
                digest: digest.clone(),
                length: bundle.content.descriptor().size,
                about,
                custom: custom.clone(),
            };
            let mut release = about(Some(Claim::Release));
            release.tags = bundle.tags.clone();
            let set = |path: String, bundle: &Bundle| Change::Set { path, value: bundle.to_json() };
            // Who speaks for some tags only does not say of a digest that it is a release (docs/adr/0010).
            let path = self.collection.release_path(digest);
            let releases = signs.may_list(&path);
            if releases {
                changes.push(set(path, &entry(release)));
            }
            for tag in &bundle.tags {
                let path = self.collection.tag_path(tag);
                let mut claim = about(Some(Claim::Tag));
                let before = view.content().entry(&path).and_then(|e| e.sha256());
                claim.previous = before
                    .and_then(|hex| format!("sha256:{hex}").parse().ok())
                    .filter(|before: &Digest| before != digest);
                changes.push(set(path, &entry(claim)));
            }
            for part in bundle.parts.iter().filter(|_| releases) {
                let mut derived = about(None);
                derived.media_type.clone_from(&part.media_type);
                derived.platform.clone_from(&part.platform);
                derived.part_of = BTreeSet::from([digest.clone()]);
                let part_entry = Bundle {
                    digest: part.digest.clone(),
                    length: part.size,
                    about: derived,
                    custom: Map::new(),
                };
                changes.push(set(self.collection.release_path(&part.digest), &part_entry));
            }
        }
        Ok(changes)
    }
}

/// What is said of the bundle beside `custom.bulla`. The thick archive that is listed already stays, unless another one comes.
fn with_thick(bundle: &Prepared, view: &View, collection: &CollectionName) -> Map<String, Value> {
    let mut custom = bundle.custom.clone();
    let Some(cnab) = custom.get_mut("cnab").and_then(Value::as_object_mut) else { return custom };
    let digest = bundle.content.digest();
    let tags = bundle.tags.iter().map(|tag| collection.tag_path(tag));
    let paths = [collection.release_path(digest)].into_iter().chain(tags);
    let entries = paths.filter_map(|path| view.content().entry(&path));
    let mut listed = entries
        .filter(|entry| entry.sha256() == Some(digest.hex()))
        .map(|entry| &entry.value()["custom"]["cnab"]["thick"])
        .filter(|thick| thick.is_object());
    if let Some(thick) = listed.next() {
        cnab.entry("thick").or_insert_with(|| thick.clone());
    }
    custom
}

/// The revocation lists of what is live and what is remembered, each as its role pins it: whoever keeps a list back, or puts
/// another one in its place, must not get a revoked bundle signed.
fn revocation_lists<'a>(known: &[&'a Whole], collection: &CollectionName) -> Result<Vec<&'a Bytes>, Refusal> {
    let (role, path) = (RoleName::revocations(), collection.revocations_path());
    let missing = |what: &str| Err(Refusal::Revocations(format!("{what} is not there")));
    let mut lists = Vec::new();
    for whole in known {
        let Some(file) = whole.role(&role) else { continue };
        let Some(target) = file.role().targets().get(&path) else { return missing("its entry") };
        let found = known.iter().filter_map(|w| w.files().target(&path)).find(|b| target.check(b).is_ok());
        match found {
            Some(list) => lists.push(list),
            None => return missing("the file"),
        }
    }
    let delegated = known.iter().any(|w| w.trusted().targets().role().delegation(&role).is_some());
    if delegated && lists.is_empty() { missing("the role") } else { Ok(lists) }
}
