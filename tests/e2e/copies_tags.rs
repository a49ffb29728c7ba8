//! Copies and tags: what becomes of a tag that names something else at the destination.

use std::sync::Mutex;

use async_trait::async_trait;
use bulla::oci::{Content, Digest, Selector, Tag, media_type};
use bulla::store::Store;
use bulla::store::copy::{TagAction, TagDecision, TagGuard, Unobserved, copy};
use serde_json::json;

use super::bundles::{blob, by_digest, by_tag, image, manifest, rich, tag, tagged};
use super::copies::{is_whole, memory, request, run};
use super::faulty::{Faults, Faulty};

struct Asked(Mutex<Vec<(Tag, Digest, Digest)>>, TagDecision);

#[async_trait]
impl TagGuard for Asked {
    async fn decide(&self, tag: &Tag, existing: &Content, incoming: &Content) -> TagDecision {
        self.0.lock().unwrap().push((tag.clone(), existing.digest().clone(), incoming.digest().clone()));
        self.1.clone()
    }
}

#[tokio::test]
async fn the_guard_decides_over_a_state_and_never_over_the_bundles_own_tag() {
    for decision in [TagDecision::Keep { reason: "older".into() }, TagDecision::Replace] {
        let (from, to) = (memory("from"), memory("to"));
        let all = rich(&from, "guard").await;
        let other = tagged(&to, all.state_tag.as_str(), media_type::BULLA_STATE, "another state").await;
        let was = tagged(&to, "v1", "application/vnd.example", "an older bundle").await;
        let guard = Asked(Mutex::default(), decision.clone());
        let request = request("v1", &[&all.state_tag]);
        let report = copy(&from, &to, &request, &guard, &Unobserved).await.unwrap();
        let asked = guard.0.into_inner().unwrap();
        assert!(
            asked
                .iter()
                .all(|a| *a == (all.state_tag.clone(), other.digest().clone(), all.state.digest().clone()))
        );
        let state = to.resolve(&Selector::Tag(all.state_tag.clone())).await.unwrap().unwrap();
        let outcome = report.tags.iter().find(|t| t.tag == all.state_tag).unwrap();
        match decision {
            TagDecision::Keep { reason } => {
                assert_eq!((&state, &outcome.action), (&other, &TagAction::Kept { reason }));
                assert_eq!(to.resolve(&by_digest(&all.state)).await.unwrap(), None, "nor was it moved");
            }
            TagDecision::Replace => assert_eq!((&state, &outcome.action), (&all.state, &TagAction::Replaced)),
        }
        assert!(!asked.is_empty());
        let own = report.tags.last().unwrap();
        assert_eq!((&own.tag, &own.action), (&tag("v1"), &TagAction::Replaced));
        assert_eq!(to.resolve(&by_tag("v1")).await.unwrap().as_ref(), Some(&all.root));
        assert_eq!(to.resolve(&by_digest(&was)).await.unwrap().as_ref(), Some(&was));
    }
}

/// A cosign signature list, as `cosign sign` writes it.
async fn signatures(store: &dyn Store, texts: &[&str]) -> Content {
    let mut layers = Vec::new();
    for text in texts {
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let layer = blob(store, kind, text.as_bytes().to_vec()).await;
        layers.push(layer.annotated("dev.cosignproject.cosign/signature", *text));
    }
    let config = blob(store, "application/vnd.oci.image.config.v1+json", "{\"a\":1}").await;
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
    });
    manifest(store, media_type::OCI_MANIFEST, &doc).await
}

#[tokio::test]
async fn a_longer_signature_list_wins_and_a_different_one_is_asked_about() {
    // (source, destination, expected at the destination; the guard keeps)
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&["a", "b"], &["a"], &["a", "b"]),
        (&["a"], &["a", "b"], &["a", "b"]),
        (&["a"], &["b"], &["b"]),
        (&["a"], &["a"], &["a"]),
    ];
    for (has, had, expected) in cases {
        let (from, to) = (memory("from"), memory("to"));
        let bundle = image(&from, "signed").await;
        from.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
        let at = tag(&format!("{}.sig", bundle.digest().referrers_tag()));
        from.push_manifest(&signatures(&from, has).await, Some(&at)).await.unwrap();
        to.push_manifest(&signatures(&to, had).await, Some(&at)).await.unwrap();
        let report = run(&from, &to, &request("v1", &[])).await.unwrap();
        let there = to.resolve(&Selector::Tag(at.clone())).await.unwrap().unwrap();
        assert_eq!(there, signatures(&memory("x"), expected).await, "{has:?} over {had:?}");
        assert_eq!(report.tags.len(), 2);
    }
}

#[tokio::test]
async fn where_tags_cannot_be_listed_cosigns_are_asked_for_by_name() {
    let (from, to) = (memory("from"), memory("to"));
    let all = rich(&from, "unlisted").await;
    let source = Faulty::with(&from, Faults { deny_tags: true, ..Faults::default() });
    run(&source, &to, &request("v1", &[&all.state_tag])).await.unwrap();
    is_whole(&to, &all).await;
}
