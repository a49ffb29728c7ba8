//! Referrers that pretend to be seals, and honest ones of other dates.

use bulla::oci::{Content, Packer, media_type};
use bulla::trust::{Code, MAX_SEALS, Outcome};
use bulla::tuf::FileName;

use super::scene::{REPO, Scene, both, has, image, list, outcome};
use super::sim::{DAY, NOW, Sim, SimKey};
use crate::registry::{Config, Quirks};
use crate::servers::place;

/// An artifact of a seal's type without anything in it; each promises to be the newest.
fn junk(s: &Scene, i: usize) -> Content {
    Packer::new(media_type::BULLA_SEAL)
        .subject(s.bundle.descriptor())
        .annotation("vnd.bulla.at", format!("2099-01-01T00:00:00Z {i}"))
        .build()
}

async fn ten_thousand() -> Scene {
    let quirks = Quirks { referrers_page: Some(1000), ..Quirks::default() };
    let s = Scene::on(Config { quirks, ..Config::default() }).await;
    s.hang(&s.sim.files());
    for i in 0..9_999 {
        place(&s.registry, REPO, None, &junk(&s, i));
    }
    s.registry.clear();
    s
}

#[tokio::test]
async fn ten_thousand_junk_seals() {
    let mut s = ten_thousand().await;
    // The state is there: nobody looks at them.
    assert_eq!(s.outcome().await, "trusted by state");
    assert_eq!(s.registry.count("*", "*"), 2, "{}", s.registry.log());
    // Gone, and seen before: the memory serves; seals were read, not more than the cap.
    s.remove_state();
    s.registry.clear();
    assert_eq!(s.outcome().await, "trusted by memory");
    let bound = |s: &Scene| {
        let seals = s.registry.count("GET", "*/manifests/sha256:*");
        assert_eq!(seals, MAX_SEALS, "{}", s.registry.log());
        let all = s.registry.count("*", "*");
        assert!(all <= MAX_SEALS + 10 + 3, "bundle, state, tags, ten pages: {all}");
    };
    bound(&s);
    // Gone, and never seen: undecided, with the same bound.
    s.home = tempfile::tempdir().unwrap();
    s.registry.clear();
    let report = s.verify().await;
    assert_eq!(outcome(&report), "undecided: seal.cap");
    bound(&s);
    // One entry too many for a list.
    place(&s.registry, REPO, None, &junk(&s, 10_001));
    assert_eq!(s.outcome().await, "undecided: seal.unreadable");
}

#[tokio::test]
async fn under_a_root_that_was_rotated_out() {
    // The first root and online keys are stolen after they were replaced, and seal a bundle of the thief's.
    let attack = |s: &mut Scene| {
        let (mut thief, bad) = (Sim::new(), image("bad"));
        list(&mut thief, &bad, "v1");
        thief.at_version(1 << 40, NOW);
        let (good, under_first) = (s.bundle.clone(), thief.files());
        thief.rotate(|sim| sim.releases_key = SimKey::new(99));
        s.bundle = bad;
        s.hang(&under_first);
        s.hang(&thief.files());
        s.bundle = good;
        s.hang(&under_first);
        s.hang(&thief.files());
        s.sim.rotate(|sim| {
            (sim.root_keys, sim.online_key) = (vec![SimKey::new(11), SimKey::new(12)], SimKey::new(15));
        });
        s.sim.at_version(6, NOW);
        s.serve();
    };
    assert_eq!(both(attack).await, ["trusted by state"; 2]);
    let outcomes = both(|s| {
        attack(s);
        place(&s.registry, REPO, Some("v1"), &image("bad"));
    });
    assert_eq!(outcomes.await, ["no: bundle.tag.moved"; 2]);
}

#[tokio::test]
async fn with_a_poisoned_timestamp() {
    let attack = |s: &mut Scene| {
        let mut evil = Sim::new();
        list(&mut evil, &s.bundle, "v1");
        evil.at_version(1 << 50, NOW);
        evil.timestamp.expires = NOW.plus(10_000 * DAY);
        s.sim.rotate(|sim| sim.online_key = SimKey::new(15));
        s.sim.at_version(6, NOW);
        s.serve();
        s.hang(&evil.files());
        s.hang(&s.sim.files());
    };
    assert_eq!(both(attack).await, ["trusted by state"; 2]);
    let mut s = Scene::new().await;
    attack(&mut s);
    s.remove_state();
    assert_eq!(s.outcome().await, "trusted by seal");
    let kept = s.memory().unwrap().files;
    assert_eq!(kept.get(&FileName::timestamp()), s.sim.files().get(&FileName::timestamp()));
}

#[tokio::test]
async fn stripped_of_the_revocation_list() {
    let mut s = Scene::new().await;
    let mut stripped = s.sim.files();
    stripped.drop_targets();
    s.hang(&stripped);
    s.remove_state();
    let report = s.verify().await;
    assert_eq!(outcome(&report), "no: state.absent");
    assert!(has(&report, Code::SealInvalid, &Outcome::Note), "{report:#?}");
    s.hang(&s.sim.files());
    assert_eq!(s.outcome().await, "trusted by seal");
    s.now = NOW.plus(8 * DAY);
    assert_eq!(s.outcome().await, "no: tuf.timestamp.expired");
}

#[tokio::test]
async fn of_another_bundle() {
    // Hung on another bundle, and listed for this one by a registry that lies.
    let s = Scene::new().await;
    let mut other = Scene::new().await;
    other.bundle = image("other");
    let seal = other.hang(&s.sim.files());
    s.remove_state();
    place(&s.registry, REPO, None, &seal);
    s.registry.store(|state| {
        let manifest = state.repo(REPO).manifests.get_mut(&seal.digest().to_string()).unwrap();
        manifest.subject = Some(s.bundle.digest().to_string());
    });
    let report = s.verify().await;
    assert_eq!(outcome(&report), "no: state.absent");
    assert!(has(&report, Code::SealInvalid, &Outcome::Note), "{report:#?}");
}

/// A seal with so many files beside the honest ones, none of them embedded.
fn with_small_files(s: &Scene, seed: usize, count: usize) -> bulla::tuf::Files {
    let mut files = s.sim.files();
    let large = vec![b'x'; 64 * 1024];
    for i in 0..count {
        let mut bytes = large.clone();
        bytes.extend(format!("{seed}/{i}").into_bytes());
        files.put_target(format!("junk/{i}"), bytes.into());
    }
    files
}

#[tokio::test]
async fn of_many_files() {
    // One of thousands of files is no seal.
    let s = Scene::new().await;
    let mut files = s.sim.files();
    (0..1_100).for_each(|i| files.put_target(format!("junk/{i}"), format!("{i}").into_bytes().into()));
    s.hang(&files);
    s.remove_state();
    s.registry.clear();
    assert_eq!(s.outcome().await, "no: state.absent");
    assert!(s.registry.count("*", "*") < 10, "{}", s.registry.log());
    // Several large ones: the first of them fit into what is read for all together.
    let s = Scene::new().await;
    for seed in 0..8 {
        s.hang(&with_small_files(&s, seed, 200));
    }
    s.remove_state();
    s.registry.clear();
    assert_eq!(s.outcome().await, "trusted by seal");
    let blobs = s.registry.count("GET", "*/blobs/*");
    assert!((800..=1024).contains(&blobs), "{blobs}");
    // Junk of that kind leaves it open whether an honest one was past the bound.
    let mut s = Scene::new().await;
    s.sim.online_key = SimKey::new(99);
    for seed in 0..8 {
        s.hang(&with_small_files(&s, seed, 200));
    }
    s.remove_state();
    assert_eq!(s.outcome().await, "undecided: seal.cap");
}

#[tokio::test]
async fn below_the_memory() {
    let mut s = Scene::new().await;
    s.hang(&s.sim.files());
    s.sim.at_version(6, NOW);
    s.serve();
    s.trusted().await;
    s.remove_state();
    s.now = NOW.plus(6 * DAY);
    assert_eq!(s.outcome().await, "trusted by memory");
    s.now = NOW.plus(7 * DAY);
    assert_eq!(s.outcome().await, "no: tuf.timestamp.expired");
}
