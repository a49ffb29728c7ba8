//! The bundle itself: tampered with, exchanged, moved, withdrawn, under another name or type.

use bulla::oci::{Descriptor, media_type};
use bulla::trust::{Code, Outcome};
use serde_json::json;

use super::scene::{REPO, Scene, both, has, image, list};
use super::sim::{NOW, Sim};
use crate::registry::{Action, Fault};
use crate::servers::place;

#[tokio::test]
async fn tampered_manifest() {
    // Other bytes under the tag, consistent in themselves.
    let outcomes = both(|s| place(&s.registry, REPO, Some("v1"), &image("tampered")));
    assert_eq!(outcomes.await, ["no: bundle.tag.moved"; 2]);
    // Other bytes under the digest asked for.
    let outcomes = both(|s| {
        s.selector = format!("@{}", s.bundle.digest());
        s.registry.tamper(REPO, &s.bundle.digest().to_string(), image("tampered").bytes().clone());
    });
    assert_eq!(outcomes.await, ["undecided: bundle.digest"; 2]);
    // Another manifest, itself not a release, by its own digest.
    let outcomes = both(|s| {
        let other = image("tampered");
        place(&s.registry, REPO, None, &other);
        s.selector = format!("@{}", other.digest());
    });
    assert_eq!(outcomes.await, ["no: bundle.digest.unlisted"; 2]);
}

#[tokio::test]
async fn moved_tag() {
    // To an older release: listed, and not what v1 must name.
    let outcomes = both(|s| {
        let newer = image("newer");
        list(&mut s.sim, &newer, "v1");
        s.sim.at_version(6, NOW);
        s.serve();
    });
    assert_eq!(outcomes.await, ["no: bundle.tag.moved"; 2]);
    let mut s = Scene::new().await;
    list(&mut s.sim, &image("newer"), "v1");
    s.serve();
    assert_eq!(s.outcome().await, "no: bundle.tag.moved");
    // Looked at twice before saying so.
    assert_eq!(s.registry.count("GET", "*/manifests/v1"), 2, "{}", s.registry.log());
    assert_eq!(s.registry.count("GET", &Scene::state_path()), 2, "{}", s.registry.log());
    // With the digest typed too, that decides.
    s.selector = format!(":v1@{}", s.bundle.digest());
    assert!(has(&s.trusted().await, Code::BundleTagOutdated, &Outcome::Note));
}

#[tokio::test]
async fn a_tag_that_moves_while_we_look_is_no_attack() {
    let mut s = Scene::new().await;
    let newer = image("newer");
    place(&s.registry, REPO, None, &newer);
    list(&mut s.sim, &newer, "v1");
    s.sim.at_version(6, NOW);
    s.serve();
    // The first look sees the tag before the move, the second one after it.
    let old = s.bundle.bytes().clone();
    s.registry.set_tag(REPO, "v1", Some(&newer.digest().to_string()));
    s.registry.fault(
        Fault::on("GET", "*/manifests/v1").nth(crate::registry::Nth::First(1)).action(Action::Answer {
            status: 200,
            content_type: media_type::OCI_MANIFEST.into(),
            body: old,
        }),
    );
    assert_eq!(s.trusted().await.digest, Some(newer.digest().clone()));
}

#[tokio::test]
async fn tag_moving() {
    let mut s = Scene::new().await;
    list(&mut s.sim, &image("newer"), "v1");
    let entry = s.sim.entries.get_mut(&Sim::name().tag_path(&"v1".parse().unwrap())).unwrap();
    entry["custom"]["bulla"]["previous"] = json!(s.bundle.digest().to_string());
    s.serve();
    s.now = NOW.plus(600);
    assert!(has(&s.trusted().await, Code::BundleTagMoving, &Outcome::Note));
    s.now = NOW.plus(601);
    assert_eq!(s.outcome().await, "no: bundle.tag.moved");
}

#[tokio::test]
async fn entry_gone() {
    let gone = |s: &mut Scene| {
        s.sim.entries.clear();
        s.sim.at_version(6, NOW);
        s.serve();
    };
    assert_eq!(both(gone).await, ["no: bundle.tag.unlisted"; 2]);
    let outcomes = both(|s| {
        gone(s);
        s.selector = format!("@{}", s.bundle.digest());
    });
    assert_eq!(outcomes.await, ["no: bundle.digest.unlisted"; 2]);
}

#[tokio::test]
async fn revoked_bundle() {
    let revoked = |s: &mut Scene| {
        let entry = json!({
            "id": "a1", "kind": "bundle", "subject": s.bundle.digest().to_string(), "at": NOW.to_string()
        });
        s.sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [entry]})).unwrap();
        s.sim.at_version(6, NOW);
        s.serve();
    };
    assert_eq!(both(revoked).await, ["no: revocation.bundle"; 2]);
    // Remembered, it is not undone by taking the state away, or by refusing to show it.
    let mut s = Scene::new().await;
    revoked(&mut s);
    s.verify().await;
    s.remove_state();
    assert_eq!(s.outcome().await, "no: revocation.bundle");
    s.registry.fault(Fault::on("GET", &Scene::state_path()).status(403));
    assert_eq!(s.outcome().await, "no: revocation.bundle");
}

#[tokio::test]
async fn revoked_part_of_an_index() {
    let outcomes = both(|s| {
        let part = image("part");
        let doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [part.descriptor()],
        });
        s.bundle = bulla::oci::Content::new(media_type::OCI_INDEX, serde_json::to_vec(&doc).unwrap());
        list(&mut s.sim, &s.bundle, "v1");
        place(&s.registry, REPO, Some("v1"), &s.bundle);
        let entry = json!({
            "id": "a1", "kind": "bundle", "subject": part.digest().to_string(), "at": NOW.to_string()
        });
        s.sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [entry]})).unwrap();
        s.sim.at_version(6, NOW);
        s.serve();
    });
    assert_eq!(outcomes.await, ["no: revocation.bundle"; 2]);
}

#[tokio::test]
async fn another_product_under_the_asked_name() {
    // The organisation's other collection with its bundle, all sound, copied over this repository.
    let outcomes = both(|s| {
        let (mut other, bundle) = (Sim::new(), image("other product"));
        other.at_version(6, NOW);
        for h in [&mut other.timestamp, &mut other.snapshot, &mut other.targets, &mut other.releases] {
            h.extra.collection = "ex.com/org/other".into();
        }
        list(&mut other, &bundle, "v1");
        place(&s.registry, REPO, Some("v1"), &bundle);
        s.serve_files(&other.files());
    });
    assert_eq!(outcomes.await, ["no: tuf.collection", "no: bundle.tag.moved"]);
    // Only the bundle, under a tag that the collection does not know.
    let outcomes = both(|s| {
        place(&s.registry, REPO, Some("v7"), &image("other product"));
        s.selector = ":v7".into();
    });
    assert_eq!(outcomes.await, ["no: bundle.tag.unlisted"; 2]);
}

#[tokio::test]
async fn served_under_another_type() {
    // A document without mediaType of its own, which a reader could take for either of docker's and OCI's.
    let plain = |media_type: &str| {
        let config = Descriptor::of("a/b", b"config");
        let doc = json!({"schemaVersion": 2, "config": config, "layers": []});
        bulla::oci::Content::new(media_type, serde_json::to_vec(&doc).unwrap())
    };
    let outcomes = both(|s| {
        s.bundle = plain(media_type::OCI_MANIFEST);
        list(&mut s.sim, &s.bundle, "v1");
        s.sim.at_version(6, NOW);
        s.serve();
        place(&s.registry, REPO, Some("v1"), &plain(media_type::DOCKER_MANIFEST));
    });
    assert_eq!(outcomes.await, ["no: bundle.media-type"; 2]);
    // A manifest and an index in one document.
    let outcomes = both(|s| {
        let doc =
            json!({"schemaVersion": 2, "config": Descriptor::of("a/b", b""), "layers": [], "manifests": []});
        let both = bulla::oci::Content::new(media_type::OCI_INDEX, serde_json::to_vec(&doc).unwrap());
        list(&mut s.sim, &both, "v1");
        s.serve();
        place(&s.registry, REPO, Some("v1"), &both);
    });
    assert_eq!(outcomes.await, ["no: bundle.ambiguous"; 2]);
}
