//! Root packs: known-good roots that a distributor ships, a small document and a root file each (docs/formats.md "Root packs").

use bytes::Bytes;
use serde::Deserialize;

use super::{Anchor, Scope, TrustError};
use crate::oci::{Digest, Reference};
use crate::sig::json;
use crate::tuf::CollectionName;

const SCHEMA_VERSION: u32 = 1;
/// What the name of a pack's document ends in.
pub const PACK_SUFFIX: &str = ".pack.json";
/// Largest document of a pack, bytes.
pub const MAX_PACK_BYTES: u64 = 64 * 1024;
/// Most packs of one directory.
pub const MAX_PACKS: usize = 1_024;

/// The document of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootPack {
    schema_version: u32,
    scope: Scope,
    collection: CollectionName,
    #[serde(default)]
    organisation: bool,
    root: String,
    sha256: String,
    #[serde(default, with = "super::anchor::references")]
    state_at: Vec<Reference>,
}

/// Why a pack is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Malformed.
    #[error("{0}")]
    Malformed(String),
    /// Another schema version.
    #[error("schemaVersion {0} is not {SCHEMA_VERSION}; this bulla cannot read it")]
    SchemaVersion(u32),
    /// The root is named by something else than a file beside the document.
    #[error("\"{0}\" is no file name: the root lies beside the document")]
    RootName(String),
    /// The root file is another one than the document says.
    #[error("its root has the fingerprint {found}, and the pack says sha256:{stated}")]
    Fingerprint {
        /// Of the file.
        found: Digest,
        /// In the document.
        stated: String,
    },
    /// It makes no anchor.
    #[error(transparent)]
    Anchor(#[from] TrustError),
}

impl RootPack {
    /// Read a pack's document.
    ///
    /// # Errors
    /// Malformed, or another schema version; the root is no file beside it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        json::parse(bytes).map_err(|e| PackError::Malformed(e.to_string()))?;
        let pack: Self = serde_json::from_slice(bytes).map_err(|e| PackError::Malformed(e.to_string()))?;
        if pack.schema_version != SCHEMA_VERSION {
            return Err(PackError::SchemaVersion(pack.schema_version));
        }
        let hidden = pack.root.starts_with('.');
        if pack.root.is_empty() || hidden || pack.root.contains(['/', '\\', '\0']) {
            return Err(PackError::RootName(pack.root.escape_debug().to_string()));
        }
        Ok(pack)
    }

    /// The name of the root file beside the document.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The collection whose root it is.
    pub fn collection(&self) -> &CollectionName {
        &self.collection
    }

    /// The anchor that the pack stands for.
    ///
    /// # Errors
    /// The root is another one than the document says, or they make no anchor.
    pub fn anchor(&self, root: Bytes) -> Result<Anchor, PackError> {
        let found = Digest::sha256(&root);
        if found.hex() != self.sha256 {
            return Err(PackError::Fingerprint { found, stated: self.sha256.escape_debug().to_string() });
        }
        let anchor = Anchor::tuf(self.scope.clone(), self.collection.clone(), root, self.state_at.clone());
        let anchor = if self.organisation { anchor.of_organisation() } else { anchor };
        Ok(anchor.with_sources(Vec::new(), None)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(member: &str, value: &str) -> String {
        let sha256 = Digest::sha256(b"root").hex().to_owned();
        let mut members = vec![
            ("schemaVersion", "1".to_owned()),
            ("scope", "\"ex.com/org/*\"".to_owned()),
            ("collection", "\"ex.com/org\"".to_owned()),
            ("organisation", "true".to_owned()),
            ("root", "\"org.root.json\"".to_owned()),
            ("sha256", format!("\"{sha256}\"")),
        ];
        members.retain(|(name, _)| *name != member);
        members.push((member, value.to_owned()));
        let members: Vec<String> = members.iter().map(|(n, v)| format!("\"{n}\": {v}")).collect();
        format!("{{{}}}", members.join(", "))
    }

    fn read(member: &str, value: &str) -> Result<Anchor, PackError> {
        RootPack::parse(text(member, value).as_bytes())?.anchor(Bytes::from_static(b"root"))
    }

    #[test]
    fn what_a_pack_may_say() {
        let anchor = read("stateAt", "[\"mirror.example/org\"]").unwrap();
        assert!(anchor.organisation && anchor.state_at.len() == 1);
        assert!(matches!(read("organisation", "false"), Err(PackError::Anchor(TrustError::AnchorScope(_)))));
        assert!(matches!(read("sha256", "\"00\""), Err(PackError::Fingerprint { .. })));
        assert!(matches!(read("schemaVersion", "2"), Err(PackError::SchemaVersion(2))));
        assert!(matches!(read("trust", "true"), Err(PackError::Malformed(_))));
        for name in ["../1.root.json", "/etc/passwd", "", ".", "..", "a/b", ".hidden"] {
            assert!(matches!(read("root", &format!("\"{name}\"")), Err(PackError::RootName(_))), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let _ = RootPack::parse(&bytes);
            let mut changed = text("organisation", "true").into_bytes();
            let i = at.index(changed.len());
            changed[i] = with;
            if let Ok(pack) = RootPack::parse(&changed) {
                prop_assert!(!pack.root().contains('/'));
            }
        }
    }
}
