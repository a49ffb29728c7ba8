//! Timestamp and snapshot.

use serde_json::json;

use super::*;

/// What a refresh asks for and saves, until it is done or fails.
fn steps(
    sim: &Sim,
    files: &Files,
    floor: Option<Floor>,
    now: crate::time::UnixTime,
) -> (Vec<String>, Option<Fault>) {
    let root = sim.walk(files).unwrap().last().clone();
    let limits = Limits::default();
    let mut refresh = Refresh::start(root, Some(COLLECTION), floor, Expiry::Enforce, now, &limits).unwrap();
    let mut out = Vec::new();
    loop {
        match refresh.step() {
            Step::Need { file, max_len } => {
                out.push(format!("need {file} of {max_len}"));
                if let Err(e) = refresh.feed(files.get(&file).cloned()) {
                    return (out, Some(e.fault));
                }
            }
            Step::Save(name, bytes) => {
                assert_eq!(files.get(&name), Some(&bytes));
                out.push(format!("save {name}"));
                refresh.saved();
            }
            Step::Forget(name) => unreachable!("{name}"),
            Step::Done(_) => return (out, None),
        }
    }
}

/// The floor of a state.
fn floor_of(sim: &Sim) -> Option<Floor> {
    let seen = sim.judge(&sim.files(), None, NOW).unwrap();
    Floor::of(&seen, seen.root().role(), seen.root().role())
}

/// A sim with the timestamp changed before signing.
fn with_edit(role: RoleName, change: impl Fn(&mut serde_json::Value) + 'static) -> Sim {
    let mut sim = Sim::new();
    let key = sim.online_key.again();
    sim.edits.insert(role, Box::new(move |f| resigned(&f, &change, &[&key])));
    sim
}

#[test]
fn t1_t8_s7_order_limits_and_saves() {
    let sim = Sim::new();
    let files = sim.files();
    let len = |role: RoleName| files.get(&file(&role, 1)).unwrap().len();
    let (out, fault) = steps(&sim, &files, None, NOW);
    assert_eq!(fault, None);
    assert_eq!(
        out,
        [
            "need timestamp.json of 16384".to_owned(),
            "save timestamp.json".to_owned(),
            format!("need 1.snapshot.json of {}", len(RoleName::snapshot())),
            "save 1.snapshot.json".to_owned(),
            format!("need 1.targets.json of {}", len(RoleName::targets())),
            "save 1.targets.json".to_owned(),
        ]
    );
    let mut long = files.clone();
    long.put(FileName::timestamp(), vec![b' '; 16_385].into());
    assert!(matches!(steps(&sim, &long, None, NOW).1, Some(Fault::Size { limit: 16_384, got: 16_385 })));
}

#[test]
fn t2_timestamp_is_signed_by_the_root_s_keys() {
    let mut sim = Sim::new();
    sim.edits.insert(RoleName::timestamp(), Box::new(|f| resigned(&f, |_| (), &[&SimKey::new(9)])));
    assert!(matches!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Threshold { have: 0, .. })));
}

#[test]
fn t3_timestamp_lists_exactly_the_snapshot() {
    let pin = json!({"version": 1});
    let metas = [
        json!({}),
        json!({"root.json": pin}),
        json!({"snapshot.json": pin, "root.json": pin}),
        json!({"snapshot.json": {"version": 1, "hashes": {}}}),
        json!({"snapshot.json": {"version": 1, "hashes": {"md5": "00"}}}),
        json!({"snapshot.json": {"version": 1, "hashes": {"sha256": "00"}}}),
        json!({"snapshot.json": {"version": 1, "length": -1}}),
    ];
    for meta in metas {
        let wrong = meta.clone();
        let sim = with_edit(RoleName::timestamp(), move |t| t["meta"] = wrong.clone());
        assert!(matches!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Format(_))), "{meta}");
    }
}

#[test]
fn t4_t6_no_older_timestamp_and_none_that_names_an_older_snapshot() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW);
    let floor = floor_of(&sim);
    sim.timestamp = heading(4, NOW, DAY);
    let got = steps(&sim, &sim.files(), floor.clone(), NOW);
    assert!(matches!(got.1, Some(Fault::Rollback { .. })) && got.0.len() == 1, "nothing saved: {got:?}");
    (sim.timestamp, sim.snapshot) = (heading(6, NOW, DAY), heading(4, NOW, DAY));
    let got = steps(&sim, &sim.files(), floor, NOW);
    assert!(matches!(got.1, Some(Fault::Rollback { .. })) && got.0.len() == 1, "nothing saved: {got:?}");
}

#[test]
fn t7_expired_timestamp_is_not_saved() {
    let sim = Sim::new();
    let (out, fault) = steps(&sim, &sim.files(), None, NOW.plus(7 * DAY));
    assert_eq!(out, ["need timestamp.json of 16384"]);
    assert!(matches!(fault, Some(Fault::Expired { .. })));
}

#[test]
fn t9_an_expired_timestamp_is_still_a_floor() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW.plus(-100 * DAY));
    let files = sim.files();
    let chain = sim.walk(&files).unwrap();
    let limits = Limits::default();
    let judge = |expiry| Trusted::judge(chain.last(), &files, Some(COLLECTION), None, expiry, NOW, &limits);
    assert!(matches!(judge(Expiry::Enforce).unwrap_err().fault, Fault::Expired { .. }));
    let seen = judge(Expiry::Collect).unwrap();
    let floor = Floor::of(&seen, seen.root().role(), seen.root().role());
    sim.at_version(4, NOW);
    assert!(matches!(steps(&sim, &sim.files(), floor, NOW).1, Some(Fault::Rollback { .. })));
}

#[test]
fn t9_no_timestamp_is_a_failure() {
    let sim = Sim::new();
    let mut files = sim.files();
    files.retain(|n| *n != FileName::timestamp());
    assert!(matches!(steps(&sim, &files, None, NOW).1, Some(Fault::Missing(_))));
}

#[test]
fn s1_length_of_the_timestamp_or_a_cap() {
    let sim = with_edit(RoleName::timestamp(), |t| {
        t["meta"]["snapshot.json"].as_object_mut().unwrap().remove("length");
    });
    let (out, _) = steps(&sim, &sim.files(), None, NOW);
    assert_eq!(out[2], format!("need 1.snapshot.json of {}", Limits::default().snapshot_bytes));
    let sim = with_edit(RoleName::timestamp(), |t| t["meta"]["snapshot.json"]["length"] = json!(10));
    assert!(matches!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Size { limit: 10, .. })));
}

#[test]
fn s2_length_and_every_hash_before_parsing() {
    for (member, value, what) in [
        ("length", json!(1_000_000), "length"),
        ("hashes", json!({"sha256": "0".repeat(64)}), "sha256"),
        ("hashes", json!({"sha512": "0".repeat(128)}), "sha512"),
    ] {
        let sim =
            with_edit(RoleName::timestamp(), move |t| t["meta"]["snapshot.json"][member] = value.clone());
        assert_eq!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Hash { what }));
    }
    // One right hash beside a wrong one is not enough.
    let sim = with_edit(RoleName::timestamp(), |t| {
        t["meta"]["snapshot.json"]["hashes"]["sha512"] = json!("0".repeat(128));
    });
    assert_eq!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Hash { what: "sha512" }));
    let sim = Sim::new();
    let mut files = sim.files();
    files.put(file(&RoleName::snapshot(), 1), b"{".to_vec().into());
    assert!(matches!(steps(&sim, &files, None, NOW).1, Some(Fault::Hash { .. })), "hash, not syntax");
}

#[test]
fn s3_s4_signatures_and_version() {
    let mut sim = Sim::new();
    sim.edits.insert(RoleName::snapshot(), Box::new(|f| resigned(&f, |_| (), &[&SimKey::new(9)])));
    assert!(matches!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Threshold { .. })));
    let sim = with_edit(RoleName::snapshot(), |s| s["version"] = json!(7));
    assert!(matches!(steps(&sim, &sim.files(), None, NOW).1, Some(Fault::Version { .. })));
}

#[test]
fn s5_no_role_falls_or_goes() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW);
    let floor = floor_of(&sim);
    for role in [RoleName::targets(), RoleName::releases(), RoleName::revocations()] {
        let mut sim = Sim::new();
        sim.at_version(6, NOW);
        match role.as_str() {
            "targets" => sim.targets = heading(4, NOW, DAY),
            "targets/releases" => sim.releases = heading(4, NOW, DAY),
            _ => sim.revocations = heading(4, NOW, DAY),
        }
        let (out, fault) = steps(&sim, &sim.files(), floor.clone(), NOW);
        assert!(matches!(fault, Some(Fault::Rollback { what, .. }) if what == role));
        assert_eq!(out.last().unwrap().split(' ').nth(1), Some("6.snapshot.json"), "not saved");
    }
    for role in [RoleName::releases(), RoleName::revocations()] {
        let mut sim = Sim::new();
        sim.at_version(6, NOW);
        sim.unlisted.insert(role.clone());
        assert_eq!(steps(&sim, &sim.files(), floor.clone(), NOW).1, Some(Fault::Dropped(role)));
    }
}

#[test]
fn s6_expired_snapshot_is_not_saved() {
    let mut sim = Sim::new();
    sim.snapshot = heading(1, NOW, 0);
    let (out, fault) = steps(&sim, &sim.files(), None, NOW);
    assert!(matches!(fault, Some(Fault::Expired { .. })));
    assert!(!out.iter().any(|s| s == "save 1.snapshot.json") && out[1] == "save timestamp.json");
}

#[test]
fn s9_what_was_saved_stays_when_the_next_file_is_missing() {
    for (missing, saved) in [
        (file(&RoleName::snapshot(), 1), &["save timestamp.json"][..]),
        (file(&RoleName::targets(), 1), &["save timestamp.json", "save 1.snapshot.json"]),
    ] {
        let sim = Sim::new();
        let mut files = sim.files();
        files.retain(|n| *n != missing);
        let (out, fault) = steps(&sim, &files, None, NOW);
        assert_eq!(fault, Some(Fault::Missing(missing)));
        assert_eq!(out.iter().filter(|s| s.starts_with("save")).collect::<Vec<_>>(), saved);
    }
}
