//! The timestamp role (TUF specification 4.6), and what pins a file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata::field;
use super::{Fault, Role, Version};
use crate::oci::{Algorithm, Digest};

/// Version, and optionally length and hashes, of a metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePin {
    /// The version that the file must have.
    pub version: Version,
    /// Its length in bytes.
    pub length: Option<u64>,
    /// Its hashes, as far as bulla knows their algorithms; lower-case hex.
    pub hashes: BTreeMap<Hash, String>,
}

/// A hash algorithm of TUF hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// `sha256`.
    Sha256,
    /// `sha512`.
    Sha512,
}

/// Which snapshot is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// The pin of `snapshot.json`.
    pub snapshot: FilePin,
}

#[derive(Deserialize)]
pub(super) struct RawPin {
    version: Version,
    length: Option<u64>,
    hashes: Option<BTreeMap<String, String>>,
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn read(signed: &Value) -> Result<Self, Fault> {
        let mut meta: BTreeMap<String, RawPin> = field(signed, "meta")?;
        let snapshot = meta.remove("snapshot.json").filter(|_| meta.is_empty());
        let snapshot =
            snapshot.ok_or_else(|| Fault::Format("\"meta\" must list exactly snapshot.json".into()))?;
        Ok(Self { snapshot: snapshot.try_into()? })
    }
}

impl TryFrom<RawPin> for FilePin {
    type Error = Fault;

    fn try_from(raw: RawPin) -> Result<Self, Fault> {
        if raw.hashes.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(Fault::Format("\"hashes\" is there and lists none".into()));
        }
        Ok(Self {
            version: raw.version,
            length: raw.length,
            hashes: known_hashes(raw.hashes.unwrap_or_default())?,
        })
    }
}

/// The hashes whose algorithms bulla knows. A list without any known one is an error: it must not read as "unpinned".
pub(super) fn known_hashes(raw: BTreeMap<String, String>) -> Result<BTreeMap<Hash, String>, Fault> {
    let given = !raw.is_empty();
    let mut out = BTreeMap::new();
    for (name, hex) in raw {
        let (hash, len) = match name.as_str() {
            "sha256" => (Hash::Sha256, 64),
            "sha512" => (Hash::Sha512, 128),
            _ => continue,
        };
        if hex.len() != len || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(Fault::Format(format!("{name} hash is not {len} lower-case hex digits")));
        }
        out.insert(hash, hex);
    }
    if given && out.is_empty() {
        return Err(Fault::Format("no hash of a known algorithm (sha256, sha512)".into()));
    }
    Ok(out)
}

/// Check `bytes` against length and all hashes.
pub(super) fn check_pinned(
    length: Option<u64>,
    hashes: &BTreeMap<Hash, String>,
    bytes: &[u8],
) -> Result<(), Fault> {
    if length.is_some_and(|l| l != bytes.len() as u64) {
        return Err(Fault::Hash { what: "length" });
    }
    for (hash, hex) in hashes {
        let (algorithm, what) = match hash {
            Hash::Sha256 => (Algorithm::Sha256, "sha256"),
            Hash::Sha512 => (Algorithm::Sha512, "sha512"),
        };
        if Digest::of(algorithm, bytes).hex() != hex {
            return Err(Fault::Hash { what });
        }
    }
    Ok(())
}

impl FilePin {
    /// The pin of a file: version, length and SHA-256.
    pub fn of(version: Version, bytes: &[u8]) -> Self {
        let hashes = BTreeMap::from([(Hash::Sha256, Digest::sha256(bytes).hex().to_owned())]);
        Self { version, length: Some(bytes.len() as u64), hashes }
    }

    /// Check a file's bytes.
    ///
    /// # Errors
    /// [`Fault::Hash`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        check_pinned(self.length, &self.hashes, bytes)
    }

    /// As TUF writes it.
    pub fn to_json(&self) -> Value {
        let mut out = json!({"version": self.version});
        if let Some(length) = self.length {
            out["length"] = json!(length);
        }
        if !self.hashes.is_empty() {
            let name = |h: &Hash| if *h == Hash::Sha256 { "sha256" } else { "sha512" };
            out["hashes"] = self.hashes.iter().map(|(h, hex)| (name(h).to_owned(), json!(hex))).collect();
        }
        out
    }
}
