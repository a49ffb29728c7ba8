//! What the first file of a role descends from. Without it, two who sign that file at once would have no ancestor in common, and
//! one of them would be lost.

use bytes::Bytes;
use serde_json::json;

use crate::oci::sorted_json;
use crate::tuf::{Limits, Metadata, RoleName, Targets, TufError, Unverified, Version};

/// Member that only such a file has; it also makes it another one for every role.
pub(super) const MARK: &str = "x-bulla-genesis";

/// Fixed: the bytes of this file must be the same for every version of bulla.
const SPEC_VERSION: &str = "1.0.0";

/// Version 1 of a delegated role that nobody has signed yet: empty, without signatures, the same for everybody. It is never
/// written anywhere; the first file that is signed has version 2 and names it as its ancestor.
///
/// # Errors
/// The names do not fit into a metadata file.
pub fn genesis(collection: &str, role: &RoleName) -> Result<Metadata<Targets>, TufError> {
    let file = json!({
        "signatures": [],
        "signed": {
            "_type": "targets",
            "spec_version": SPEC_VERSION,
            "version": 1,
            "expires": "1970-01-02T00:00:00Z",
            "targets": {},
            MARK: role,
            "x-bulla": {"collection": collection, "at": "1970-01-01T00:00:00Z"},
        },
    });
    Unverified::parse(role, &Bytes::from(sorted_json(&file)), &Limits::default())?.verify(role, &[])
}

/// Whether a file is one that nobody signed.
pub fn is_genesis(file: &Metadata<Targets>) -> bool {
    file.version() == Version::ONE && file.signatures().is_empty() && file.signed().get(MARK).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::lineage::{RoleFile, Verdict, View, classify, fold, next};
    use crate::tuf::sim::{COLLECTION, DAY, NOW, SimKey, signed};

    #[test]
    fn two_first_files_have_an_ancestor_in_common() {
        let role: RoleName = "targets/releases/dev".parse().unwrap();
        let start = genesis(COLLECTION, &role).unwrap();
        assert!(is_genesis(&start));
        let same_for_everybody = "bbe5a04a0ca46ab4c45a017d97b7e98c3f626e8a48262797826d8ad1c2dd0bcf";
        assert_eq!(start.digest().hex(), same_for_everybody);
        let start = RoleFile::of(&start).unwrap();
        let first = |n: &str| {
            let value = json!({"length": 1, "hashes": {"sha256": n.repeat(32)}});
            let change = crate::tuf::lineage::Change::Set { path: format!("{COLLECTION}:dev-{n}"), value };
            let draft = next(&View::of(&start), None, &[change], COLLECTION, NOW, NOW.plus(DAY));
            assert!(draft.signed().get(MARK).is_none());
            let bytes = signed(&draft, &[&SimKey::new(7)]);
            let file =
                Unverified::parse(&role, &bytes, &Limits::default()).unwrap().verify(&role, &[]).unwrap();
            assert_eq!(file.version().get(), 2);
            assert!(!is_genesis(&file));
            RoleFile::of(&file).unwrap()
        };
        let (a, b) = (first("aa"), first("bb"));
        assert_eq!(classify(&View::of(&start), &a).verdict, Verdict::FastForward);
        assert_eq!(classify(&View::of(&a), &b).verdict, Verdict::Fork);
        let both = fold(&start, None, &[a, b], true);
        assert_eq!((both.view.content().entries().len(), both.losers.len()), (2, 0));
        let other = genesis(COLLECTION, &"targets/releases/ops".parse().unwrap()).unwrap();
        assert_ne!(other.digest().hex(), start.hash(), "one key may sign two roles");
    }
}
