//! The chain of roots: signatures both ways, gaps, forks, and keys that were rotated out.

use super::*;
use crate::tuf::sim::{resigned, signed};

fn new_root_keys() -> Vec<SimKey> {
    vec![SimKey::new(11), SimKey::new(12)]
}

/// A second root that replaces all root keys, signed by these of the old and new ones.
fn second_root(sim: &mut Sim, old: &[usize], new: &[usize]) -> bytes::Bytes {
    let before = std::mem::replace(&mut sim.root_keys, new_root_keys());
    let by: Vec<_> = old.iter().map(|i| &before[*i]).chain(new.iter().map(|i| &sim.root_keys[*i])).collect();
    signed(&sim.root_draft(), &by)
}

#[test]
fn need_both_thresholds() {
    for (old, new) in [(&[0, 1][..], &[0][..]), (&[0], &[0, 1]), (&[], &[0, 1]), (&[0, 1], &[])] {
        let outcomes = both(|d| {
            let root = second_root(&mut d.sim, old, new);
            d.sim.roots.push(root);
            d.sim.at_version(6, NOW);
            d.serve();
        });
        assert_eq!(outcomes, ["no: tuf.root.threshold", "trusted by memory"], "{old:?} {new:?}");
    }
    let outcomes = both(|d| {
        let root = second_root(&mut d.sim, &[0, 1], &[0, 1]);
        d.sim.roots.push(root);
        d.serve();
    });
    assert_eq!(outcomes, ["trusted by state"; 2]);
}

#[test]
fn have_no_gaps() {
    let outcomes = both(|d| {
        d.sim.rotate(|sim| sim.root_keys = new_root_keys());
        d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
        d.sim.at_version(6, NOW);
        d.serve_with(|files| files.retain(|n| *n != file(&RoleName::root(), 2)));
    });
    assert_eq!(outcomes, ["no: tuf.root.gap", "trusted by memory"]);
}

#[test]
fn rise_by_one() {
    let outcomes = both(|d| {
        d.sim.rotate(|_| ());
        let skipping = d.sim.root_keys.iter().collect::<Vec<_>>();
        d.sim.roots[1] = resigned(&d.sim.roots[1], |root| root["version"] = 3.into(), &skipping);
        d.serve();
    });
    assert_eq!(outcomes, ["no: tuf.root.version", "trusted by memory"]);
}

#[test]
fn of_another_collection_are_skipped_before_anything_is_saved() {
    let mut d = Deployer::at_five();
    d.sim.rotate(|_| ());
    let keys = d.sim.root_keys.iter().collect::<Vec<_>>();
    d.sim.roots[1] =
        resigned(&d.sim.roots[1], |root| root["x-bulla"]["collection"] = "ex.com/org/other".into(), &keys);
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.collection");
    assert!(d.memory.unwrap().files.root(Version::new(2).unwrap()).is_none());
}

#[test]
fn fork() {
    // Both second roots are signed by all who must: nobody can tell which one is meant.
    let mut d = Deployer::at_five();
    let (mut evil, mut honest) = (Sim::new(), Sim::new());
    evil.rotate(|sim| sim.online_key = stranger());
    honest.rotate(|sim| sim.targets_key = SimKey::new(16));
    d.sim.roots.push(honest.roots[1].clone());
    d.sim.targets_key = SimKey::new(16);
    d.sim.at_version(6, NOW.plus(-8 * DAY));
    d.serve();
    d.seals = vec![Ok(evil.files())];
    // The root of the live state was accepted and saved before any seal was read.
    assert_eq!(d.outcome(), "no: tuf.timestamp.expired");
    (d.memory, d.state) = (None, StateAnswer::Absent);
    d.seals.push(Ok(d.sim.files()));
    assert_eq!(d.outcome(), "no: tuf.root.fork");
    // The live state is fresh: what hangs on the bundle is not read.
    d.sim.at_version(6, NOW);
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
    assert!(!d.asked.iter().any(|w| matches!(w, Want::Seals { .. })));
    // Who has seen the one is not impressed by the other.
    d.now = NOW.plus(6 * DAY);
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "trusted by memory");
    d.state = StateAnswer::Found(evil.files());
    let report = d.verify();
    assert_eq!(outcome(&report), "trusted by memory");
    assert!(has(&report, Code::TufTimestampThreshold, &Outcome::Note), "{report:#?}");
}

#[test]
fn by_keys_that_were_rotated_out() {
    // The first root keys and the first online key are stolen after they were replaced.
    let mut d = Deployer::at_five();
    let mut evil = Sim::new();
    let bad = Descriptor::of(media_type::OCI_MANIFEST, b"bad");
    list(&mut evil, &bad, "v1");
    evil.at_version(1 << 40, NOW);
    let under_first = evil.files();
    evil.rotate(|sim| sim.releases_key = stranger());
    let under_second = evil.files();
    d.sim.rotate(|sim| (sim.root_keys, sim.online_key) = (new_root_keys(), SimKey::new(15)));
    d.sim.at_version(6, NOW);
    d.serve();
    d.seals = vec![Ok(under_first.clone()), Ok(under_second)];
    let plain = d.outcome();
    assert_eq!(plain, "trusted by state");
    d.bundle = bad.clone();
    assert_eq!(d.outcome(), "no: bundle.tag.moved");
    // State gone: the honest seal and the memory are still the only ones that count.
    d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"bundle");
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "trusted by memory");
    d.bundle = bad;
    assert_eq!(d.outcome(), "no: bundle.tag.moved");
    // For a first-time verifier: stolen keys against the honest seal are a fork, and never trust in the bad bundle.
    d.memory = None;
    d.seals.push(Ok(d.sim.files()));
    assert_eq!(d.outcome(), "no: tuf.root.fork");
    d.seals = vec![Ok(under_first), Ok(d.sim.files())];
    assert_eq!(d.outcome(), "no: bundle.tag.moved");
}

#[test]
fn expired_is_not_waived() {
    let mut d = Deployer::at_five();
    d.statement = Some(Statement {
        scope: "mirror.example/app".parse().unwrap(),
        max_staleness: Some("36500d".parse().unwrap()),
        require_current_tag: false,
        reason: Some("test".into()),
        ..Statement::of("*".parse().unwrap())
    });
    d.now = NOW.plus(365 * DAY);
    assert_eq!(d.outcome(), "no: tuf.root.expired");
}

#[test]
fn more_of_them_than_are_followed() {
    let mut d = Deployer::at_five();
    for _ in 0..257 {
        d.sim.rotate(|_| ());
    }
    d.serve();
    assert_eq!(d.outcome(), "undecided: tuf.root.cap");
}

#[test]
fn of_an_anchor_must_sign_itself_and_name_its_collection() {
    let mut d = Deployer::at_five();
    d.sim.roots[0] = resigned(&d.sim.roots[0], |_| (), &[&d.sim.root_keys[0]]);
    assert_eq!(d.outcome(), "no: anchor.root");
    let mut d = Deployer::at_five();
    let keys: Vec<_> = d.sim.root_keys.iter().collect();
    d.sim.roots[0] =
        resigned(&d.sim.roots[0], |root| root["x-bulla"]["collection"] = "ex.com/org/other".into(), &keys);
    assert_eq!(d.outcome(), "no: anchor.collection");
}

#[test]
fn what_is_remembered_under_keys_that_were_rotated_out_is_named() {
    let mut d = Deployer::at_five();
    d.trusted();
    d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    d.sim.at_version(6, NOW.plus(-8 * DAY));
    d.serve();
    let report = d.verify();
    assert_eq!(outcome(&report), "no: tuf.timestamp.expired");
    let notes: Vec<_> = report.anchors[0].checks.iter().filter(|c| c.code == Code::MemoryInvalid).collect();
    assert_eq!(notes.len(), 1, "{report:#?}");
    assert_eq!(notes[0].outcome, Outcome::Note);
    assert!(notes[0].detail.contains("timestamp"), "{}", notes[0].detail);
    d.state = StateAnswer::Absent;
    let report = d.verify();
    assert_eq!(outcome(&report), "no: state.absent");
    assert!(has(&report, Code::MemoryInvalid, &Outcome::Note), "{report:#?}");
}
