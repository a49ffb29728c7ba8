//! A registry that refuses, breaks off, never ends, or serves other bytes: nothing of it is "not there", nothing is trust.

use bulla::client::state::{self, Kind};
use bulla::oci::media_type;
use bulla::trust::Code;
use serde_json::json;

use super::scene::{REPO, Scene, both, image, list, outcome};
use super::sim::{DAY, NOW, Sim};
use crate::registry::{Action, Fault};
use crate::servers::place;

/// A state whose releases are too large to be embedded.
fn large(s: &mut Scene) {
    for i in 0..400 {
        list(&mut s.sim, &image(&format!("{i}")), &format!("x{i}"));
    }
    list(&mut s.sim, &s.bundle, "v1");
    s.sim.at_version(6, NOW);
    s.serve();
}

#[tokio::test]
async fn state_refused() {
    for status in [401, 403, 429, 500, 503] {
        let outcomes = both(|s| {
            // An honest seal and a fresh memory do not make up for a failure to look.
            s.hang(&s.sim.files());
            s.registry.fault(Fault::on("GET", &Scene::state_path()).status(status));
        });
        assert_eq!(outcomes.await, ["undecided: state.unreadable"; 2], "{status}");
    }
}

#[tokio::test]
async fn seals_refused() {
    for status in [401, 403, 429, 500] {
        let outcomes = both(|s| {
            s.hang(&s.sim.files());
            s.remove_state();
            s.registry.fault(Fault::on("GET", "*/referrers/*").status(status));
        });
        assert_eq!(outcomes.await, ["undecided: seal.unreadable"; 2], "{status}");
    }
    // The list is there, the seal is not shown.
    let outcomes = both(|s| {
        let seal = s.hang(&s.sim.files());
        s.remove_state();
        s.registry.fault(Fault::on("GET", &format!("*/manifests/{}", seal.digest())).status(403));
    });
    assert_eq!(outcomes.await, ["undecided: seal.unreadable"; 2]);
}

#[tokio::test]
async fn bundle_refused() {
    for (status, code) in
        [(404, "ref.absent"), (403, "bundle.resolve"), (429, "bundle.resolve"), (503, "bundle.resolve")]
    {
        let outcomes = both(|s| s.registry.fault(Fault::on("GET", "*/manifests/v1").status(status)));
        assert_eq!(outcomes.await, [format!("undecided: {code}"), format!("undecided: {code}")]);
    }
}

#[tokio::test]
async fn endless_and_broken_off() {
    let actions = [Action::Endless, Action::Truncate(100), Action::Reset(0), Action::Reset(200)];
    for action in actions {
        let outcomes =
            both(|s| s.registry.fault(Fault::on("GET", &Scene::state_path()).action(action.clone())));
        assert_eq!(outcomes.await, ["undecided: state.unreadable"; 2], "{action:?}");
        let outcomes = both(|s| s.registry.fault(Fault::on("GET", "*/manifests/v1").action(action.clone())));
        assert_eq!(outcomes.await, ["undecided: bundle.resolve"; 2], "{action:?}");
        let outcomes = both(|s| {
            large(s);
            s.registry.fault(Fault::on("GET", "*/blobs/*").action(action.clone()));
        });
        assert_eq!(outcomes.await, ["undecided: state.unreadable"; 2], "{action:?}");
        let outcomes = both(|s| {
            s.hang(&s.sim.files());
            s.remove_state();
            s.registry.fault(Fault::on("GET", "*/referrers/*").action(action.clone()));
        });
        assert_eq!(outcomes.await, ["undecided: seal.unreadable"; 2], "{action:?}");
    }
}

#[tokio::test]
async fn tampered_blobs() {
    let outcomes = both(|s| {
        large(s);
        s.registry.fault(Fault::on("GET", "*/blobs/*").action(Action::WrongBytes));
    });
    assert_eq!(outcomes.await, ["undecided: state.unreadable"; 2]);
    // Embedded bytes that do not fit their descriptor do not count: the blob is fetched.
    let mut s = Scene::new().await;
    let packed = state::pack(Kind::State, &s.sim.files(), None);
    let mut doc: serde_json::Value = serde_json::from_slice(packed.manifest.bytes()).unwrap();
    for layer in doc["layers"].as_array_mut().unwrap() {
        layer["data"] = json!("AAAA");
    }
    let bytes = serde_json::to_vec(&doc).unwrap();
    let tampered = bulla::oci::Content::new(media_type::OCI_MANIFEST, bytes);
    place(&s.registry, REPO, Some(Sim::name().state_tag().as_str()), &tampered);
    assert_eq!(s.outcome().await, "trusted by state");
    assert!(s.registry.count("GET", "*/blobs/*") > 0);
    // A blob that is missing makes the state incomplete.
    s.home = tempfile::tempdir().unwrap();
    s.registry.store(|state| state.repo(REPO).blobs.clear());
    assert_eq!(s.outcome().await, "no: state.invalid");
}

#[tokio::test]
async fn junk_at_the_tag_of_the_state() {
    let junk: [fn(&mut Scene) -> Vec<u8>; 4] = [
        |_| b"{}".to_vec(),
        |_| b"<html>".to_vec(),
        |s| s.bundle.bytes().to_vec(),
        |s| {
            // An honest state, padded past what is read of one.
            let packed = state::pack(Kind::State, &s.sim.files(), None);
            let mut bytes = packed.manifest.bytes().to_vec();
            bytes.extend(vec![b' '; 1024 * 1024]);
            bytes
        },
    ];
    for make in junk {
        let outcomes = both(|s| {
            let content = bulla::oci::Content::new(media_type::OCI_MANIFEST, make(s));
            place(&s.registry, REPO, Some(Sim::name().state_tag().as_str()), &content);
        });
        assert_eq!(outcomes.await, ["no: state.invalid", "trusted by memory"]);
    }
}

#[tokio::test]
async fn week_old_state() {
    let mut s = Scene::new().await;
    let old = s.sim.files();
    s.now = NOW.plus(6 * DAY);
    s.sim.at_version(6, s.now);
    s.serve();
    s.trusted().await;
    s.serve_files(&old);
    let report = s.verify().await;
    assert_eq!(outcome(&report), "no: tuf.timestamp.rollback");
    // Without memory it is still within its lifetime: that is what the timestamp's short life bounds.
    s.home = tempfile::tempdir().unwrap();
    let report = s.trusted().await;
    assert!(report.anchors[0].checks.iter().any(|c| c.code == Code::TufTimestamp));
}

#[tokio::test]
async fn junk_at_one_place_does_not_hide_the_next() {
    let (mut mirror, origin) = (Scene::new().await, Scene::new().await);
    mirror.state_at = vec![format!("{}/{REPO}", origin.registry.host()).parse().unwrap()];
    let at_tag = |content: &bulla::oci::Content| {
        place(&mirror.registry, REPO, Some(Sim::name().state_tag().as_str()), content);
    };
    at_tag(&image("junk"));
    assert_eq!(mirror.outcome().await, "trusted by state");
    origin.remove_state();
    mirror.home = tempfile::tempdir().unwrap();
    assert_eq!(mirror.outcome().await, "no: state.invalid");
    mirror.remove_state();
    assert_eq!(mirror.outcome().await, "no: state.absent");
    // A place that refuses to answer is no place without a state.
    origin.registry.fault(Fault::on("GET", &Scene::state_path()).status(403));
    assert_eq!(mirror.outcome().await, "undecided: state.unreadable");
}
