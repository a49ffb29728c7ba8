//! The walk over roots.

use super::*;

/// Steps of a walk over `offered`, as text.
fn steps(sim: &Sim, offered: &Files) -> (Vec<String>, Option<Fault>) {
    let mut walk = RootWalk::start(&sim.roots[0], Some(COLLECTION), &Limits::default()).unwrap();
    let mut out = Vec::new();
    loop {
        match walk.step() {
            RootStep::Need { version, max_len } => {
                out.push(format!("need {version} of {max_len}"));
                if let Err(e) = walk.feed(offered.root(version).cloned().into_iter().collect()) {
                    return (out, Some(e.fault));
                }
            }
            RootStep::Save(name, bytes) => {
                assert_eq!(offered.get(&name), Some(&bytes));
                out.push(format!("save {name}"));
                walk.saved();
            }
            RootStep::Done => return (out, None),
        }
    }
}

/// A sim with a second and a third root.
fn three() -> Sim {
    let mut sim = Sim::new();
    sim.rotate(|s| s.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    sim.rotate(|s| s.online_key = SimKey::new(15));
    sim
}

#[test]
fn r1_expiry_is_judged_at_one_time() {
    // The time is an argument and the core has no clock; the same call gives the same answer.
    let sim = Sim::new();
    for _ in 0..2 {
        assert!(sim.judge(&sim.files(), None, NOW.plus(7 * DAY - 1)).is_ok());
        assert!(sim.judge(&sim.files(), None, NOW.plus(7 * DAY)).is_err());
    }
}

#[test]
fn r2_the_first_root_signs_itself_and_may_be_expired() {
    let mut sim = three();
    let keys = [SimKey::new(1), SimKey::new(2)];
    let by: Vec<_> = keys.iter().collect();
    sim.roots[0] = resigned(&sim.roots[0], |r| r["expires"] = "2020-01-01T00:00:00Z".into(), &by);
    assert_eq!(sim.judge(&sim.files(), None, NOW).unwrap().root().version().get(), 3);
    for unsigned in [
        with_signatures(&sim.roots[0], Vec::clear),
        with_signatures(&sim.roots[0], |s| drop(s.pop())),
        resigned(&sim.roots[0], |_| (), &[&keys[0], &SimKey::new(9)]),
    ] {
        let e = RootWalk::start(&unsigned, Some(COLLECTION), &Limits::default()).unwrap_err();
        assert!(matches!(e.fault, Fault::Threshold { need: 2, .. }), "{e}");
    }
}

#[test]
fn r3_r7_one_version_after_the_other_each_saved_at_once() {
    let sim = three();
    let cap = Limits::default().root_bytes;
    let need = |v: u64| format!("need {v} of {cap}");
    let (out, fault) = steps(&sim, &sim.files());
    assert_eq!(out, [need(2), "save 2.root.json".into(), need(3), "save 3.root.json".into(), need(4)]);
    assert_eq!(fault, None);
    // One is missing: the walk ends before it, and what was saved stays.
    let mut gap = sim.files();
    gap.retain(|n| *n != file(&RoleName::root(), 3));
    assert_eq!(steps(&sim, &gap).0, [need(2), "save 2.root.json".into(), need(3)]);
}

#[test]
fn r3_rotations_are_bounded() {
    let mut sim = Sim::new();
    let limits = Limits { root_rotations: 2, ..Limits::default() };
    for _ in 0..3 {
        sim.rotate(|_| ());
    }
    let mut walk = RootWalk::start(&sim.roots[0], None, &limits).unwrap();
    let mut feed = |i: usize| {
        let fed = walk.feed(vec![sim.roots[i].clone()]);
        walk.saved();
        fed
    };
    assert_eq!((feed(1), feed(2)), (Ok(()), Ok(())));
    assert!(matches!(feed(3).unwrap_err().fault, Fault::Cap { limit: 2, .. }));
}

#[test]
fn r4_both_thresholds_both_ways() {
    // Raising needs two of the new, lowering two of the old.
    for (before, after, signed_by, accepted) in [
        (1, 2, &[1u8][..], false),
        (1, 2, &[1, 2], true),
        (2, 1, &[1], false),
        (2, 1, &[1, 2], true),
        (2, 2, &[1, 1], false),
    ] {
        let mut sim = Sim::new();
        sim.root_threshold = before;
        sim.roots.clear();
        let first = sim.next_root();
        sim.roots.push(first);
        sim.root_threshold = after;
        let keys: Vec<_> = signed_by.iter().map(|s| SimKey::new(*s)).collect();
        let second = signed(&sim.root_draft(), &keys.iter().collect::<Vec<_>>());
        sim.roots.push(second);
        let reached = sim.walk(&sim.files()).unwrap().last().version().get();
        assert_eq!(reached == 2, accepted, "{before} -> {after} by {signed_by:?}");
    }
}

#[test]
fn r5_version_is_exactly_the_next() {
    for claimed in [1, 3, 4] {
        let mut sim = Sim::new();
        sim.rotate(|_| ());
        let keys: Vec<_> = sim.root_keys.iter().collect();
        let second = resigned(&sim.roots[1], |r| r["version"] = claimed.into(), &keys);
        sim.roots[1] = second;
        let chain = sim.walk(&sim.files()).unwrap();
        assert_eq!(chain.last().version(), Version::ONE);
        assert!(matches!(chain.skipped()[0].fault, Fault::Version { .. }), "{claimed}");
    }
}

#[test]
fn r6_r8_only_the_last_must_not_be_expired() {
    let mut sim = three();
    let expired = |r: &mut serde_json::Value| r["expires"] = "2020-01-01T00:00:00Z".into();
    let keys = [1, 2, 11, 12].map(SimKey::new);
    sim.roots[1] = resigned(&sim.roots[1], expired, &keys.iter().collect::<Vec<_>>());
    assert!(sim.judge(&sim.files(), None, NOW).is_ok());
    sim.roots[2] = resigned(&sim.roots[2], expired, &keys.iter().collect::<Vec<_>>());
    let (role, got) = fault(sim.judge(&sim.files(), None, NOW));
    assert!(role == "root" && matches!(got, Fault::Expired { .. }));
}

#[test]
fn r9_floors_fall_when_timestamp_or_snapshot_keys_change() {
    let mut sim = Sim::new();
    let seen = sim.judge(&sim.files(), None, NOW).unwrap();
    let floor = |sim: &Sim| {
        let chain = sim.walk(&sim.files()).unwrap();
        Floor::of(&seen, seen.root().role(), chain.last().role())
    };
    sim.rotate(|s| s.targets_key = SimKey::new(13));
    sim.rotate(|s| s.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    assert!(floor(&sim).is_some());
    let keys: Vec<_> = sim.root_keys.iter().collect();
    for role in ["timestamp", "snapshot"] {
        let mut draft = sim.root_draft().signed().clone();
        let key = SimKey::new(15).public();
        draft["keys"][key.key_id().as_str()] = key.to_tuf();
        draft["roles"][role]["keyids"] = serde_json::json!([key.key_id()]);
        let mut files = sim.files();
        files.put(file(&RoleName::root(), 4), signed(&Draft::from_signed(draft), &keys));
        let chain = sim.walk(&files).unwrap();
        assert_eq!(chain.last().version().get(), 4);
        assert_eq!(Floor::of(&seen, seen.root().role(), chain.last().role()), None, "{role}");
    }
}

#[test]
fn r10_consistent_snapshot_is_read_from_the_root() {
    let sim = Sim::new();
    let keys: Vec<_> = sim.root_keys.iter().collect();
    let read = |change: fn(&mut serde_json::Value)| {
        let root = resigned(&sim.roots[0], change, &keys);
        RootWalk::start(&root, None, &Limits::default())
            .map(|w| w.finish().last().role().consistent_snapshot())
            .map_err(|e| e.fault)
    };
    assert_eq!(read(|_| ()), Ok(true));
    assert_eq!(read(|r| r["consistent_snapshot"] = false.into()), Ok(false));
    assert_eq!(read(|r| drop(r.as_object_mut().unwrap().remove("consistent_snapshot"))), Ok(false));
    assert!(read(|r| r["consistent_snapshot"] = "yes".into()).is_err());
}

#[test]
fn r10_without_consistent_snapshots_only_roots_have_versions_in_their_names() {
    let mut sim = Sim::new();
    let keys: Vec<_> = sim.root_keys.iter().collect();
    sim.roots[0] = resigned(&sim.roots[0], |r| r["consistent_snapshot"] = false.into(), &keys);
    let versioned = sim.files();
    let mut plain = Files::new();
    for (name, bytes) in versioned.metadata() {
        let root = *name.role() == RoleName::root();
        let name = if root { name.clone() } else { FileName::unversioned(name.role().clone()) };
        plain.put(name, bytes.clone());
    }
    let walk = RootWalk::start(&sim.roots[0], None, &Limits::default()).unwrap();
    let root = walk.finish().last().clone();
    let judge = |files: &Files| {
        Trusted::judge(&root, files, None, None, Expiry::Enforce, NOW, &Limits::default())
            .map_err(|e| e.fault)
    };
    let trusted = judge(&plain).unwrap();
    let found = trusted.find(&Sim::name().revocations_path(), &plain).unwrap();
    assert_eq!(found.target.unwrap().0, RoleName::revocations());
    assert!(matches!(judge(&versioned), Err(Fault::Missing(name)) if name.to_string() == "snapshot.json"));
    // A state of a collection holds versioned names only: such a root is refused as the first and as a later one.
    let e = RootWalk::start(&sim.roots[0], Some(COLLECTION), &Limits::default()).unwrap_err();
    assert!(matches!(e.fault, Fault::Format(_)), "{e}");
    let mut sim = Sim::new();
    sim.rotate(|_| ());
    let keys: Vec<_> = sim.root_keys.iter().collect();
    sim.roots[1] = resigned(&sim.roots[1], |r| r["consistent_snapshot"] = false.into(), &keys);
    assert_eq!(sim.walk(&sim.files()).unwrap().last().version(), Version::ONE);
}

#[test]
fn the_same_root_in_other_bytes_is_no_fork() {
    // White space and further signatures change the bytes; what is signed is the same.
    let sim = three();
    let spaced = bytes::Bytes::from([&sim.roots[1][..], b" "].concat());
    let mut walk = RootWalk::start(&sim.roots[0], Some(COLLECTION), &Limits::default()).unwrap();
    walk.feed(vec![sim.roots[1].clone(), spaced]).unwrap();
    assert_eq!(walk.finish().last().bytes(), &sim.roots[1]);
}
