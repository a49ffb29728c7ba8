//! The revocation list (docs/formats.md `revocations.json`): read, judged by, and joined with what is added.

mod entry;
mod join;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::oci::Digest;
use crate::sig::json;
use crate::time::UnixTime;

pub use entry::{Material, MaterialKind, RevocationEntry, RevocationKind, Revoke};
pub use join::{
    UnreadableList, check_submitted, has_room, is_nearly_full, join_revocations, recovered_revocations,
};

/// A parsed list in which every entry was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    entries: Vec<RevocationEntry>,
    /// The standing entries that take something back, by what: a bundle of many parts asks for each of them.
    back: BTreeMap<Digest, Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    entries: Vec<RevocationEntry>,
}

impl RevocationList {
    /// Read the list.
    ///
    /// # Errors
    /// What is not understood could be a revocation.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes).map_err(|e| e.to_string())?;
        let doc = Document::deserialize(&value).map_err(|e| e.to_string())?;
        if doc.schema_version != 1 {
            return Err(format!("schemaVersion {} is not 1", doc.schema_version));
        }
        let entries = doc.entries.into_iter().map(RevocationEntry::understood).collect::<Result<_, _>>()?;
        let mut list = Self { entries, back: BTreeMap::new() };
        let mut back: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (n, entry) in list.numbered().filter(|(_, e)| e.kind.takes_back()) {
            if let Some(digest) = &entry.digest {
                back.entry(digest.clone()).or_default().push(n);
            }
        }
        list.back = back;
        Ok(list)
    }

    /// All entries, as they stand.
    pub fn entries(&self) -> &[RevocationEntry] {
        &self.entries
    }

    /// The entry that takes back `digest`, unless another one undoes it.
    pub fn revokes(&self, digest: &Digest) -> Option<&RevocationEntry> {
        self.about(digest).find(|(_, entry)| entry.is_of_bundle()).map(|(_, entry)| entry)
    }

    fn about(&self, digest: &Digest) -> impl Iterator<Item = (usize, &RevocationEntry)> {
        let numbers = self.back.get(digest).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|n| Some((*n, self.entries.get(*n)?)))
    }

    /// The same for judging signatures of other tools, for which every entry must say what it is about.
    ///
    /// # Errors
    /// As [`RevocationList::parse`]; or an entry about a signature or certificate names none.
    pub(super) fn parse_of_signatures(bytes: &[u8]) -> Result<Self, String> {
        let list = Self::parse(bytes)?;
        let nameless = |e: &&RevocationEntry| e.kind.takes_back() && e.digest.is_none();
        match list.entries.iter().find(nameless) {
            Some(e) => Err(format!("entry \"{}\": its subject is no sha256 digest", e.id)),
            None => Ok(list),
        }
    }

    /// The entry that takes any of these back: a signature, a key, a certificate, or the bundle that was signed; and which. One of a
    /// key or certificate that has been in wrong hands since some time spares what was signed before, as far as that is `proven`.
    pub(super) fn takes_back<'a>(
        &self,
        any: &'a [Digest],
        proven: Option<UnixTime>,
    ) -> Option<(&'a Digest, &RevocationEntry)> {
        let taken = any.iter().flat_map(|digest| self.about(digest).map(move |found| (digest, found)));
        let counts = taken.filter(|(_, (_, entry))| !entry.spares(proven));
        counts.min_by_key(|(_, (n, _))| *n).map(|(digest, (_, entry))| (digest, entry))
    }

    /// The keys that are taken back, by what names them, each with the entry that does it.
    pub(super) fn keys(&self) -> BTreeMap<&Digest, &RevocationEntry> {
        let keys = self.standing().filter(|e| e.kind == RevocationKind::Key);
        keys.filter_map(|e| Some((e.digest.as_ref()?, e))).collect()
    }

    /// The warnings of any of these bundles, and those of the whole collection.
    pub fn advisories(&self, digests: &[Digest]) -> Vec<&RevocationEntry> {
        let digests: BTreeSet<&Digest> = digests.iter().collect();
        let about = |e: &&RevocationEntry| {
            e.kind == RevocationKind::Advisory && e.digest.as_ref().is_none_or(|d| digests.contains(d))
        };
        self.standing().filter(about).collect()
    }

    /// The entries that no other one undoes. An id is a word that its signer chose: where several entries bear it, only an
    /// undoing that names its subject says which is meant, and one that does not undoes none of them.
    pub fn standing(&self) -> impl Iterator<Item = &RevocationEntry> {
        self.numbered().map(|(_, entry)| entry)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &RevocationEntry)> {
        let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
        let undoable = || self.entries.iter().filter(|e| e.kind != RevocationKind::Unrevoke);
        undoable().for_each(|e| *bearers.entry(&e.id).or_default() += 1);
        let undoings = || self.entries.iter().filter(|e| e.kind == RevocationKind::Unrevoke);
        let named: BTreeSet<(&str, &Digest)> =
            undoings().filter_map(|e| Some((e.undoes.as_deref()?, e.digest.as_ref()?))).collect();
        let bare: BTreeSet<&str> =
            undoings().filter(|e| e.digest.is_none()).filter_map(|e| e.undoes.as_deref()).collect();
        let counts = move |e: &RevocationEntry| {
            let id = e.id.as_str();
            let alone = bearers.get(id) == Some(&1);
            let about = e.digest.as_ref().is_some_and(|digest| named.contains(&(id, digest)));
            e.kind == RevocationKind::Unrevoke || !(about || alone && bare.contains(id))
        };
        self.entries.iter().enumerate().filter(move |(_, e)| counts(e))
    }
}

/// Whether a revocation list takes back `digest`: for who is about to vouch for it.
///
/// # Errors
/// What is not understood could be a revocation.
pub fn is_revoked(list: &[u8], digest: &Digest) -> Result<bool, String> {
    RevocationList::parse(list).map(|list| list.revokes(digest).is_some())
}

#[cfg(test)]
mod tests;
