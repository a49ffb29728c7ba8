//! What is typed, configured or fetched is read or refused, without a panic, and means the same when written again.

use proptest::prelude::*;

use super::*;
use crate::oci::{Content, Manifest, Reference, Repository, Tag};
use crate::time::UnixTime;

/// Names, with what separates their parts.
fn named() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9.:/@*_-]{0,24}",
        "(oci:|oci-archive:)?[a-z./]{1,9}(:[0-9a-zA-Z.]{1,5})?(@sha256:[0-9a-f]{60,66})?"
    ]
}

/// A text with a few of its bytes changed.
fn changed(text: &str, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, with) in changes {
        let i = at.index(bytes.len());
        bytes[i] = *with;
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
}

proptest! {
    #[test]
    fn names(text in named()) {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
        if let Ok(repository) = text.parse::<Repository>() {
            prop_assert_eq!(repository.to_string().parse::<Repository>(), Ok(repository));
        }
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text.clone());
        }
        if let Ok(tag) = text.parse::<Tag>() {
            prop_assert_eq!(tag.to_string(), text.clone());
        }
        if let Ok(scope) = text.parse::<Scope>() {
            prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
        }
        let _ = (text.parse::<Subject>(), text.parse::<Duration>(), text.parse::<UnixTime>());
    }

    #[test]
    fn manifests(changes in changes(), junk in proptest::collection::vec(any::<u8>(), 0..60)) {
        let digest = Digest::sha256(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","digest":"{digest}","size":2}},"layers":[]}}"#,
            media_type::OCI_MANIFEST
        );
        for body in [changed(&text, &changes), junk] {
            for kind in [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_LIST] {
                if let Ok(manifest) = Manifest::parse(&Content::new(kind, body.clone())) {
                    prop_assert!(manifest.config.is_none() || manifest.manifests.is_empty(), "reads as both");
                }
            }
        }
    }

    #[test]
    fn trust_files(changes in changes()) {
        let mut file = TrustFile::default();
        file.anchors.push(Deployer::new().anchor());
        let text = String::from_utf8(file.to_bytes()).unwrap();
        if let Ok(read) = TrustFile::parse(&changed(&text, &changes)) {
            prop_assert_eq!(TrustFile::parse(&read.to_bytes()), Ok(read.clone()));
            // The root is pinned: nothing else passes for it.
            prop_assert!(read.anchors.iter().all(|a| a.root == file.anchors[0].root));
        }
    }

    #[test]
    fn revocation_lists(changes in changes()) {
        let digest = Digest::sha256(b"bundle");
        let text = format!(
            r#"{{"schemaVersion":1,"entries":[{{"id":"a","kind":"bundle","subject":"{digest}","at":"{NOW}"}}]}}"#
        );
        // A damaged list is refused, or names something else; it never loses an entry.
        if let Ok(list) = RevocationList::parse(&changed(&text, &changes)) {
            let named = list.revokes(&digest).is_some();
            prop_assert!(named || changes.iter().any(|(at, with)| text.as_bytes()[at.index(text.len())] != *with));
        }
    }

    /// What is written of signatures, keys and certificates is read as it was meant, in whatever order, company and number; what is
    /// undone counts no longer, and nothing else is loosened by it.
    #[test]
    fn entries_of_material(
        all in proptest::collection::vec((0u8..3, 0u8..6, proptest::option::of(0i64..4), 0i64..3, any::<bool>()), 1..8),
        changes in changes(),
    ) {
        let kinds = [MaterialKind::Signature, MaterialKind::Key, MaterialKind::Certificate];
        let by = stranger().public().key_id();
        let meant: Vec<(Material, UnixTime, bool)> = all.iter().map(|(kind, about, since, at, undone)| {
            let kind = kinds[usize::from(*kind)];
            let since = since.filter(|_| kind != MaterialKind::Signature).map(|d| NOW.plus(d * DAY));
            (Material { kind, subject: Digest::sha256(&[*about]), since }, NOW.plus(*at), *undone)
        }).collect();
        let entry = |(material, at, _): &(Material, UnixTime, bool)| {
            Revoke::Material(material.clone()).to_json(&by, *at, "stolen")
        };
        let entries: Vec<serde_json::Value> = meant.iter().map(entry).collect();
        let undone: std::collections::BTreeSet<String> = meant.iter().zip(&entries)
            .filter(|((.., undone), _)| *undone).map(|(_, e)| e["id"].as_str().unwrap().to_owned()).collect();
        let undoings: Vec<serde_json::Value> =
            undone.iter().map(|id| Revoke::Undo(id.clone(), None).to_json(&by, NOW, "a mistake")).collect();
        let bytes = join_revocations(&[], &[&entries[..], &undoings[..]].concat()).unwrap().unwrap();
        let list = RevocationList::parse_of_signatures(&bytes).unwrap();
        for about in 0..7u8 {
            let subject = Digest::sha256(&[about]);
            let standing: Vec<&Material> = meant.iter().zip(&entries)
                .filter(|((m, ..), e)| m.subject == subject && !undone.contains(e["id"].as_str().unwrap()))
                .map(|((m, ..), _)| m).collect();
            for proven in [None, Some(NOW.plus(-DAY)), Some(NOW.plus(DAY))] {
                let spared = |m: &&Material| matches!((m.since, proven), (Some(s), Some(p)) if p < s);
                let expected = standing.iter().any(|m| !spared(m));
                prop_assert_eq!(list.takes_back(std::slice::from_ref(&subject), proven).is_some(), expected);
            }
            prop_assert_eq!(list.keys().contains_key(&subject), standing.iter().any(|m| m.kind == MaterialKind::Key));
            prop_assert!(list.revokes(&subject).is_none());
        }
        // A damaged list is read or refused, and joins with itself.
        let text = String::from_utf8(bytes).unwrap();
        let damaged = changed(&text, &changes);
        if RevocationList::parse(&damaged).is_ok() {
            prop_assert!(join_revocations(&[&damaged, &damaged], &[]).is_ok());
        }
    }
}
