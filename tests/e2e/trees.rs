//! The tree of a bundle.

use bulla::client::tree::{Kind, MAX_DEPTH, Node, tree};
use bulla::oci::{Content, Packer, media_type};
use bulla::store::memory::MemoryStore;
use bulla::store::{Manage, Store};
use serde_json::json;

use crate::bundles::{self, by_digest, by_tag};

fn digests(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|n| n.descriptor.digest.to_string()).collect()
}

fn of(content: &Content) -> String {
    content.digest().to_string()
}

async fn store() -> MemoryStore {
    MemoryStore::new("tree.example.com/a/b".parse().unwrap())
}

#[tokio::test]
async fn everything_hangs_where_it_belongs() {
    let store = store().await;
    let rich = bundles::rich(&store, "tree").await;
    let tree = tree(&store, &by_tag("v1")).await.unwrap().unwrap();
    assert!(tree.whole);
    let root = &tree.root;
    assert_eq!((root.kind, of(&rich.root)), (Kind::Index, root.descriptor.digest.to_string()));
    assert_eq!(digests(&root.children), [of(&rich.children[0]), of(&rich.children[1])]);
    assert_eq!(root.children[1].platform.as_ref().unwrap().to_string(), "linux/arm64");
    assert!(root.children.iter().all(|c| c.kind == Kind::Manifest && c.blob_bytes > 700_000));
    assert_eq!(digests(&root.children[1].referrers), [of(&rich.on_child)]);
    assert_eq!(digests(&root.referrers), [of(&rich.on_root)]);
    let on_root = &root.referrers[0];
    assert_eq!(
        (on_root.kind, on_root.artifact_type.as_deref()),
        (Kind::Unknown, Some("application/vnd.example.sbom"))
    );
    assert_eq!(digests(&on_root.referrers), [of(&rich.on_referrer)]);
    let (tag, sig) = &root.digest_tags[0];
    assert_eq!(
        (tag, sig.kind, sig.descriptor.digest.to_string()),
        (&rich.sig_tag, Kind::CosignSignature, of(&rich.sig))
    );
    let states: Vec<_> = tree.states.iter().map(|s| (&s.tag, s.node.kind)).collect();
    assert_eq!(states, [(&rich.state_tag, Kind::State)]);
    assert_eq!(super::trees::tree(&store, &by_tag("v2")).await, Ok(None));
}

/// A sparse index, and a seal that says whose it is.
#[tokio::test]
async fn what_is_missing_is_drawn_and_a_seal_names_its_collection() {
    let store = store().await;
    let here = bundles::image(&store, "here").await;
    let gone = bundles::image(&store, "gone").await;
    let index = bundles::index(&store, &[&here, &gone]).await;
    assert!(store.delete(&by_digest(&gone)).await.unwrap());

    let signed =
        json!({"signed": {"x-bulla": {"collection": "example.com/team/app", "at": "2026-05-01T00:00:00Z"}}});
    let layer = bundles::blob(&store, media_type::TUF_METADATA, signed.to_string().into_bytes()).await;
    let layer = layer.annotated("tuf.io/filename", "timestamp.json").with_data(signed.to_string().as_bytes());
    bundles::blob(&store, media_type::OCI_EMPTY, "{}").await;
    let seal = Packer::new(media_type::BULLA_SEAL).subject(index.descriptor()).layer(layer).build();
    store.push_manifest(&seal, None).await.unwrap();
    store.index_referrers(index.descriptor(), std::slice::from_ref(&seal)).await.unwrap();

    let tree = tree(&store, &by_digest(&index)).await.unwrap().unwrap();
    let missing: Vec<_> = tree.root.children.iter().map(|c| c.missing).collect();
    assert_eq!(missing, [false, true]);
    assert_eq!(digests(&tree.root.referrers), [of(&seal)]);
    let seal = &tree.root.referrers[0];
    assert_eq!((seal.kind, seal.collection.as_deref()), (Kind::Seal, Some("example.com/team/app")));
    assert_eq!(seal.created.as_deref(), Some("2026-05-01T00:00:00Z"));
}

#[tokio::test]
async fn a_chain_of_referrers_ends_at_the_limit_and_says_so() {
    let store = store().await;
    let mut last = bundles::image(&store, "deep").await;
    let root = by_digest(&last);
    for i in 0..=MAX_DEPTH {
        last = bundles::refer(&store, &last, "application/vnd.example.note", &i.to_string()).await;
        let depth = |mut node: &Node| {
            let mut n = 0;
            while let Some(below) = node.referrers.first() {
                (node, n) = (below, n + 1);
            }
            n
        };
        if i >= MAX_DEPTH - 1 {
            let tree = tree(&store, &root).await.unwrap().unwrap();
            assert_eq!((depth(&tree.root), tree.whole), (MAX_DEPTH, i < MAX_DEPTH), "{i}");
        }
    }
}
