//! Older files than those that are remembered; freezing; parts of different states.

use super::*;

const BELOW: u64 = 4;
const ABOVE: u64 = 6;

/// Set the version of one role below, and of all that stand over it above what is remembered.
fn role_below(sim: &mut Sim, role: &RoleName, at: UnixTime) {
    sim.at_version(ABOVE, at);
    let below = heading(BELOW, at, 30 * DAY);
    match role.as_str() {
        "timestamp" => sim.timestamp = below,
        "snapshot" => sim.snapshot = below,
        "targets" => sim.targets = below,
        "targets/releases" => sim.releases = below,
        _ => sim.revocations = below,
    }
}

const ROLES: [(&str, &str); 5] = [
    ("timestamp", "no: tuf.timestamp.rollback"),
    ("snapshot", "no: tuf.timestamp.rollback"),
    ("targets", "no: tuf.snapshot.rollback"),
    ("targets/releases", "no: tuf.snapshot.rollback"),
    ("targets/revocations", "no: tuf.snapshot.rollback"),
];

#[test]
fn of_each_role() {
    for (role, code) in ROLES {
        let [first, remembers] = both(|d| {
            role_below(&mut d.sim, &role.parse().unwrap(), NOW);
            d.serve();
        });
        assert_eq!((first.as_str(), remembers.as_str()), ("trusted by state", code), "{role}");
    }
}

#[test]
fn of_each_role_with_expired_memory() {
    let later = NOW.plus(300 * DAY);
    for (role, code) in ROLES {
        let [first, remembers] = both(|d| {
            d.now = later;
            role_below(&mut d.sim, &role.parse().unwrap(), later);
            d.serve();
        });
        assert_eq!((first.as_str(), remembers.as_str()), ("trusted by state", code), "{role}");
    }
}

#[test]
fn no_fresh_seal_excuses_a_live_state_below_the_memory() {
    let mut d = Deployer::at_five();
    d.seals = vec![Ok(d.sim.files())];
    d.trusted();
    d.sim.at_version(BELOW, NOW);
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.timestamp.rollback");
    // Nor does a seal below the memory count when the state is gone.
    d.seals = vec![Ok(d.sim.files())];
    d.state = StateAnswer::Absent;
    d.now = NOW.plus(6 * DAY);
    assert_eq!(d.outcome(), "trusted by memory");
    d.now = NOW.plus(7 * DAY);
    assert_eq!(d.outcome(), "no: tuf.timestamp.expired");
}

#[test]
fn of_the_root_is_no_way_back() {
    let mut d = Deployer::at_five();
    let before = d.sim.files();
    d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    d.sim.at_version(6, NOW);
    d.serve();
    d.trusted();
    // The state of before the rotation, without the new root: its online key has no say any more.
    d.state = StateAnswer::Found(before.clone());
    let report = d.trusted();
    assert_eq!(outcome(&report), "trusted by memory");
    assert!(has(&report, Code::TufTimestampThreshold, &Outcome::Note), "{report:#?}");
    d.now = NOW.plus(7 * DAY);
    assert_eq!(d.outcome(), "no: tuf.timestamp.expired", "of the memory");
    // Who never saw the new root cannot know.
    (d.memory, d.now) = (None, NOW);
    assert_eq!(d.outcome(), "trusted by state");
}

#[test]
fn after_a_crash_between_roots_and_state() {
    for rotates_online in [false, true] {
        let mut d = Deployer::at_five();
        d.trusted();
        let old = {
            d.sim.at_version(4, NOW);
            d.sim.files()
        };
        let at_five = {
            d.sim.at_version(5, NOW);
            d.sim.files()
        };
        d.sim.rotate(|sim| {
            let new = if rotates_online { SimKey::new(15) } else { sim.online_key.again() };
            (sim.online_key, sim.root_keys) = (new, vec![SimKey::new(11), SimKey::new(12)]);
        });
        d.sim.at_version(6, NOW);
        d.serve();
        d.dies_after = Some(1);
        assert!(d.run().is_none());
        d.dies_after = None;
        let memory = d.memory.clone().unwrap();
        assert!(memory.files.root(Version::new(2).unwrap()).is_some(), "the root was saved first");
        assert_eq!(memory.files.get(&FileName::timestamp()), at_five.get(&FileName::timestamp()));
        d.state = StateAnswer::Found(old);
        let expected = match rotates_online {
            false => "no: tuf.timestamp.rollback",
            true => "no: tuf.timestamp.threshold",
        };
        assert_eq!(d.outcome(), expected);
        d.serve();
        assert_eq!(d.outcome(), "trusted by state");
    }
}

#[test]
fn first_verification_dies_before_the_state_is_saved() {
    let mut d = Deployer::at_five();
    d.dies_after = Some(1);
    assert!(d.run().is_none());
    assert_eq!(d.memory.as_ref().unwrap().verified_under, None, "roots only: no floor");
    d.dies_after = None;
    assert_eq!(d.outcome(), "trusted by state");
}

#[test]
fn freeze() {
    let [first, remembers] = both(|d| d.now = NOW.plus(7 * DAY - 1));
    assert_eq!([first, remembers], ["trusted by state"; 2]);
    let [first, remembers] = both(|d| d.now = NOW.plus(7 * DAY));
    assert_eq!([first, remembers], ["no: tuf.timestamp.expired"; 2]);
}

#[test]
fn mix_and_match() {
    let swaps = [
        ("snapshot", Code::TufSnapshotHash),
        ("targets", Code::TufTargetsHash),
        ("targets/releases", Code::TufDelegationHash),
        ("targets/revocations", Code::TufDelegationHash),
    ];
    for (role, code) in swaps {
        let role: RoleName = role.parse().unwrap();
        let attack = |d: &mut Deployer| {
            let old = d.sim.files().get(&file(&role, 5)).unwrap().clone();
            d.sim.at_version(6, NOW);
            d.serve_with(|files| files.put(file(&role, 6), old));
        };
        assert_eq!(both(attack), [&format!("no: {code}"), "trusted by memory"], "{role}");
        let mut d = Deployer::at_five();
        d.trusted();
        attack(&mut d);
        assert!(has(&d.trusted(), code, &Outcome::Note), "{role}");
    }
}

#[test]
fn files_held_back() {
    let held = [
        (FileName::timestamp(), Code::TufTimestampMissing),
        (file(&RoleName::snapshot(), 6), Code::TufSnapshotMissing),
        (file(&RoleName::targets(), 6), Code::TufTargetsMissing),
        (file(&RoleName::releases(), 6), Code::TufDelegationMissing),
        (file(&RoleName::revocations(), 6), Code::RevocationMissing),
    ];
    for (name, code) in held {
        let outcomes = both(|d| {
            d.sim.at_version(6, NOW);
            d.serve_with(|files| files.retain(|n| *n != name));
        });
        assert_eq!(outcomes, [&format!("no: {code}"), "trusted by memory"], "{name}");
    }
}

#[test]
fn more_bytes_than_are_pinned_or_capped() {
    let long = |n: usize| bytes::Bytes::from(vec![b' '; n]);
    let grown = [
        (FileName::timestamp(), 16 * 1024 + 1),
        (file(&RoleName::snapshot(), 6), 3 * 1024 * 1024),
        (file(&RoleName::targets(), 6), 17 * 1024 * 1024),
        (file(&RoleName::releases(), 6), 17 * 1024 * 1024),
        (file(&RoleName::root(), 2), 512 * 1024 + 1),
    ];
    for (name, size) in grown {
        let outcomes = both(|d| {
            d.sim.at_version(6, NOW);
            d.serve_with(|files| files.put(name.clone(), long(size)));
        });
        assert_eq!(outcomes, ["no: tuf.size", "trusted by memory"], "{name}");
    }
}

#[test]
fn equal_version_other_bytes_descends_or_the_remembered_one_is_kept() {
    let mut d = Deployer::at_five();
    d.trusted();
    let remembered = d.memory.clone();
    let parent = d.sim.files();
    // Another timestamp over the same roles: nothing was lost.
    d.sim.timestamp = heading(5, NOW.plus(1), 7 * DAY);
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
    assert_ne!(d.memory, remembered);
    // Releases that do not know the remembered ones.
    let other = Descriptor::of(media_type::OCI_MANIFEST, b"other");
    list(&mut d.sim, &other, "v2");
    d.sim.releases = heading(6, NOW, 90 * DAY);
    d.sim.snapshot = heading(6, NOW, 30 * DAY);
    d.serve();
    let report = d.trusted();
    assert_eq!(outcome(&report), "trusted by memory");
    assert!(has(&report, Code::TufFork, &Outcome::Note), "{report:#?}");
    (d.tag, d.bundle) = (Some("v2"), other);
    assert_eq!(d.outcome(), "no: bundle.tag.unlisted");
    // Releases that descend from them.
    let releases = parent.get(&file(&RoleName::releases(), 5)).unwrap();
    let hash = Digest::sha256(releases).hex().to_owned();
    d.sim.releases.extra.ancestors = vec![crate::tuf::Ancestor(Version::new(5).unwrap(), hash)];
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
}

#[test]
fn a_second_look_does_not_fall_below_the_first() {
    // The tag names something unknown at first sight, so that all is read once more: older, and without the new root.
    let mut d = Deployer::at_five();
    d.trusted();
    let old = d.sim.files();
    d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    d.sim.at_version(6, NOW);
    d.serve();
    d.state_later = Some(StateAnswer::Found(old));
    d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"another");
    let report = d.verify();
    assert_eq!(report.verdict(), Verdict::NotTrusted);
    assert!(
        !has(&report, Code::TufTimestamp, &Outcome::Pass),
        "judged under the root that was replaced: {report:#?}"
    );
    let newest = d.memory.unwrap().files.newest_root();
    assert_eq!(newest, Version::new(2));
}

#[test]
fn fast_forward_is_recovered_from_by_a_new_online_key() {
    let mut d = Deployer::at_five();
    d.sim.at_version(1 << 50, NOW);
    d.serve();
    d.trusted();
    d.sim.at_version(7, NOW);
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.timestamp.rollback");
    d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
    // From there on the new floor holds.
    d.sim.at_version(6, NOW);
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.timestamp.rollback");
}
