//! A client that keeps what it accepted, over several updates from one repository: what is asked for, saved, forgotten.

use serde_json::json;

use super::*;

/// A client's folder: files under their unversioned names.
struct Client {
    kept: Files,
    now: crate::time::UnixTime,
}

/// What one update asked for and did, and how it ended.
type Log = (Vec<String>, Result<(), Fault>);

impl Client {
    fn new(sim: &Sim) -> Self {
        let mut kept = Files::new();
        kept.put(FileName::unversioned(RoleName::root()), sim.roots[0].clone());
        Self { kept, now: NOW }
    }

    fn kept(&self, role: RoleName) -> Option<&bytes::Bytes> {
        self.kept.get(&FileName::unversioned(role))
    }

    /// Update from `files`; with `crash`, stop after that many steps.
    fn update_until(&mut self, files: &Files, crash: usize) -> Log {
        let mut log = Vec::new();
        let root = self.kept(RoleName::root()).unwrap().clone();
        let mut kept = self.kept.clone();
        kept.remove(&FileName::unversioned(RoleName::root()));
        let mut update = Update::start(&root, kept, Some(COLLECTION), self.now, &Limits::default()).unwrap();
        for _ in 0..crash {
            match update.step() {
                Step::Need { file, .. } => {
                    log.push(format!("need {file}"));
                    if let Err(e) = update.feed(files.get(&file).cloned()) {
                        return (log, Err(e.fault));
                    }
                }
                Step::Save(name, bytes) => {
                    log.push(format!("save {name}"));
                    self.kept.put(FileName::unversioned(name.role().clone()), bytes);
                    update.saved();
                }
                Step::Forget(name) => {
                    log.push(format!("forget {name}"));
                    self.kept.remove(&name);
                    update.saved();
                }
                Step::Done(trusted) => {
                    assert!(!trusted.timestamp().is_expired(self.now));
                    return (log, Ok(()));
                }
            }
        }
        (log, Ok(()))
    }

    fn update(&mut self, files: &Files) -> Log {
        self.update_until(files, usize::MAX)
    }
}

fn strings(s: &[&str]) -> Vec<String> {
    s.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn s8_what_is_kept_and_still_pinned_is_not_asked_for() {
    let mut sim = Sim::new();
    let mut client = Client::new(&sim);
    let first = client.update(&sim.files());
    let all = [
        "need 2.root.json",
        "need timestamp.json",
        "save timestamp.json",
        "need 1.snapshot.json",
        "save 1.snapshot.json",
        "need 1.targets.json",
        "save 1.targets.json",
    ];
    assert_eq!(first, (strings(&all), Ok(())));
    assert_eq!(client.update(&sim.files()), (strings(&all[..2]), Ok(())), "nothing new");
    // A new timestamp over the same snapshot; then a new snapshot over the same targets.
    sim.timestamp = heading(2, NOW, DAY);
    assert_eq!(client.update(&sim.files()), (strings(&all[..3]), Ok(())));
    (sim.timestamp, sim.snapshot) = (heading(3, NOW, DAY), heading(3, NOW, DAY));
    let (log, end) = client.update(&sim.files());
    assert_eq!((&log[3..], end), (&strings(&["need 3.snapshot.json", "save 3.snapshot.json"])[..], Ok(())));
    // Whatever lies there in its stead is not taken.
    for role in [RoleName::snapshot(), RoleName::targets()] {
        let good = client.kept(role.clone()).unwrap().clone();
        let other = resigned(&good, |s| s["more"] = json!(1), &[&sim.online_key, &sim.targets_key]);
        client.kept.put(FileName::unversioned(role.clone()), other);
        let (log, end) = client.update(&sim.files());
        assert!(end.is_ok() && log.last().unwrap().starts_with("save"), "{log:?}");
        assert_eq!(client.kept(role), Some(&good));
    }
    // Nor is it once it is expired: the repository is asked whether it has another.
    client.now = NOW.plus(DAY);
    sim.timestamp = heading(4, client.now, DAY);
    let (log, end) = client.update(&sim.files());
    assert!(matches!(end, Err(Fault::Expired { .. })));
    assert_eq!(log.last().unwrap(), "need 3.snapshot.json");
}

#[test]
fn t5_an_equal_version_with_other_content_is_dropped_and_what_it_names_is_not_asked_for() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW);
    let mut client = Client::new(&sim);
    client.update(&sim.files()).1.unwrap();
    let kept = client.kept.clone();
    sim.snapshot = heading(100, NOW, DAY);
    let got = client.update(&sim.files());
    assert_eq!(got, (strings(&["need 2.root.json", "need timestamp.json"]), Ok(())));
    assert_eq!(client.kept, kept);
    // The signature of what is dropped is checked all the same.
    sim.edits.insert(RoleName::timestamp(), Box::new(|f| with_signatures(&f, Vec::clear)));
    assert!(matches!(client.update(&sim.files()).1, Err(Fault::Threshold { .. })));
    // And the one that stays must not be expired.
    sim.edits.clear();
    client.now = NOW.plus(7 * DAY);
    sim.timestamp = heading(5, client.now, DAY);
    assert!(matches!(client.update(&sim.files()).1, Err(Fault::Expired { .. })));
}

#[test]
fn a_kept_floor_that_was_damaged_is_an_error_and_not_no_floor() {
    let sim = Sim::new();
    for role in [RoleName::timestamp(), RoleName::snapshot()] {
        let mut client = Client::new(&sim);
        assert_eq!(client.update(&sim.files()).1, Ok(()));
        let name = FileName::unversioned(role.clone());
        let good = client.kept(role).unwrap().clone();
        client.kept.put(name.clone(), good.slice(..good.len() / 2));
        let (log, end) = client.update(&sim.files());
        assert!(end.is_err() && log == ["need 2.root.json"], "{log:?} {end:?}");
        client.kept.put(name, good);
        assert_eq!(client.update(&sim.files()).1, Ok(()));
    }
}

#[test]
fn t4_t6_s5_t9_what_is_kept_is_a_floor_expired_or_not() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW);
    let mut client = Client::new(&sim);
    client.update(&sim.files()).1.unwrap();
    client.now = NOW.plus(40 * DAY);
    let mut refused = |timestamp, snapshot, releases| {
        let mut sim = Sim::new();
        sim.at_version(6, client.now);
        let at = |v| heading(v, client.now, DAY);
        (sim.timestamp, sim.snapshot, sim.releases) = (at(timestamp), at(snapshot), at(releases));
        client.update(&sim.files()).1
    };
    let fell = |r: &Result<(), Fault>, role: RoleName| matches!(r, Err(Fault::Rollback { what, .. }) if *what == role);
    assert!(fell(&refused(4, 6, 6), RoleName::timestamp()));
    assert!(fell(&refused(6, 4, 6), RoleName::snapshot()));
    assert!(fell(&refused(6, 6, 4), RoleName::releases()));
    // The last one left its timestamp behind, which is a floor in turn; its snapshot was not accepted.
    assert_eq!(refused(7, 7, 6), Ok(()));
}

#[test]
fn t7_s6_an_expired_file_is_no_floor_when_it_was_never_accepted() {
    let mut sim = Sim::new();
    let mut client = Client::new(&sim);
    client.update(&sim.files()).1.unwrap();
    sim.timestamp = heading(9, NOW, 0);
    assert!(matches!(client.update(&sim.files()).1, Err(Fault::Expired { .. })));
    sim.timestamp = heading(2, NOW, DAY);
    assert_eq!(client.update(&sim.files()).1, Ok(()));
}

#[test]
fn s9_what_was_accepted_stays_and_the_next_update_goes_on_from_there() {
    for role in [RoleName::snapshot(), RoleName::targets()] {
        let mut sim = Sim::new();
        let mut client = Client::new(&sim);
        client.update(&sim.files()).1.unwrap();
        sim.at_version(2, NOW);
        let mut files = sim.files();
        files.remove(&file(&role, 2)).unwrap();
        assert_eq!(client.update(&files).1, Err(Fault::Missing(file(&role, 2))));
        assert_eq!(client.kept(RoleName::timestamp()), files.get(&FileName::timestamp()));
        assert_eq!(
            client.kept(RoleName::targets()),
            Some(&Sim::new().files().get(&file(&RoleName::targets(), 1)).unwrap().clone())
        );
        let (log, end) = client.update(&sim.files());
        assert_eq!(end, Ok(()));
        assert!(!log.iter().any(|l| l.starts_with("save timestamp")), "{log:?}");
        assert_eq!(client.kept(RoleName::targets()), sim.files().get(&file(&RoleName::targets(), 2)));
    }
}

#[test]
fn r3_a_root_that_does_not_verify_ends_the_update_of_one_repository() {
    let mut sim = Sim::new();
    sim.rotate(|s| s.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    sim.rotate(|_| ());
    let good = sim.roots[2].clone();
    sim.roots[2] = with_signatures(&good, |s| drop(s.pop()));
    let mut client = Client::new(&sim);
    let (log, end) = client.update(&sim.files());
    assert!(matches!(end, Err(Fault::Threshold { have: 1, need: 2, .. })));
    assert_eq!(log, strings(&["need 2.root.json", "save 2.root.json", "need 3.root.json"]));
    assert_eq!(client.kept(RoleName::root()), Some(&sim.roots[1]), "R7: the last good one stays");
    sim.roots[2] = good;
    assert_eq!(client.update(&sim.files()).1, Ok(()));
    assert_eq!(client.kept(RoleName::root()), Some(&sim.roots[2]));
}

#[test]
fn r8_behind_an_expired_root_nothing_is_asked_for() {
    let mut sim = Sim::new();
    sim.rotate(|_| ());
    let keys: Vec<_> = sim.root_keys.iter().map(SimKey::again).collect();
    sim.roots[1] = resigned(
        &sim.roots[1],
        |r| r["expires"] = json!("2020-01-01T00:00:00Z"),
        &keys.iter().collect::<Vec<_>>(),
    );
    let mut client = Client::new(&sim);
    for _ in 0..2 {
        let (log, end) = client.update(&sim.files());
        assert!(matches!(end, Err(Fault::Expired { .. })));
        assert_eq!(log.last().unwrap(), "need 3.root.json");
        assert_eq!(client.kept(RoleName::root()), Some(&sim.roots[1]), "and saved");
    }
    // A driver that goes on after the error gets no further.
    let mut update =
        Update::start(&sim.roots[1], Files::new(), Some(COLLECTION), NOW, &Limits::default()).unwrap();
    for _ in 0..3 {
        let answer = match update.step() {
            Step::Need { file, .. } => update.feed(sim.files().get(&file).cloned()),
            other => unreachable!("{other:?}"),
        };
        assert!(matches!(answer.unwrap_err().fault, Fault::Expired { .. }));
    }
}

/// A repository that was fast-forwarded and recovers: the keys of `role` are joined by another one, so that the old files still
/// verify, and the versions fall.
fn recovering(role: &'static str) -> (Sim, Files) {
    let mut sim = Sim::new();
    sim.at_version(1 << 40, NOW);
    let mut recovered = Sim::new();
    recovered.at_version(2, NOW);
    let keys: Vec<_> = recovered.root_keys.iter().map(SimKey::again).collect();
    let second = SimKey::new(50).public();
    let change = |r: &mut serde_json::Value| {
        r["version"] = json!(2);
        r["keys"][second.key_id().as_str()] = second.to_tuf();
        r["roles"][role]["keyids"].as_array_mut().unwrap().push(json!(second.key_id()));
    };
    let root = resigned(&recovered.roots[0], change, &keys.iter().collect::<Vec<_>>());
    recovered.roots.push(root);
    let files = recovered.files();
    (sim, files)
}

#[test]
fn r9_floors_fall_with_the_root_that_changes_the_keys_although_the_old_files_still_verify() {
    for role in ["timestamp", "snapshot"] {
        let (sim, recovered) = recovering(role);
        let mut client = Client::new(&sim);
        client.update(&sim.files()).1.unwrap();
        let (log, end) = client.update(&recovered);
        assert_eq!(end, Ok(()), "{role}");
        let begin = ["need 2.root.json", "forget timestamp.json", "forget snapshot.json", "save 2.root.json"];
        assert_eq!(log[..4], strings(&begin), "{role}");
    }
    // Other keys do not matter.
    let (sim, recovered) = recovering("targets");
    let mut client = Client::new(&sim);
    client.update(&sim.files()).1.unwrap();
    assert!(matches!(client.update(&recovered).1, Err(Fault::Rollback { .. })));
}

#[test]
fn r9_r7_s9_a_crash_after_any_step_is_recovered_from() {
    let (sim, recovered) = recovering("snapshot");
    for crash in 0..12 {
        let mut client = Client::new(&sim);
        client.update(&sim.files()).1.unwrap();
        client.update_until(&recovered, crash).1.unwrap();
        let (log, end) = client.update(&recovered);
        assert_eq!(end, Ok(()), "crash after {crash} steps: {log:?}");
        assert_eq!(client.kept(RoleName::snapshot()), recovered.get(&file(&RoleName::snapshot(), 2)));
        // And the new state is the floor of what follows.
        let mut old = Sim::new();
        old.roots = vec![sim.roots[0].clone(), recovered.root(Version::new(2).unwrap()).unwrap().clone()];
        assert!(matches!(client.update(&old.files()).1, Err(Fault::Rollback { .. })));
    }
}

#[test]
fn a_repository_that_is_no_collection_of_bulla_s_is_followed_too() {
    let sim = Sim::new();
    let plain = |f: &bytes::Bytes, keys: &[&SimKey], version: u64, pins: &[(&str, &bytes::Bytes)]| {
        let change = |s: &mut serde_json::Value| {
            s.as_object_mut().unwrap().remove("x-bulla");
            for (name, bytes) in pins {
                s["meta"] = json!({*name: {"version": version, "length": bytes.len()}});
            }
        };
        resigned(f, change, keys)
    };
    let files = sim.files();
    let get = |role: RoleName| files.get(&file(&role, 1)).unwrap();
    let roots: Vec<_> = sim.root_keys.iter().collect();
    let root = plain(&sim.roots[0], &roots, 1, &[]);
    let targets = plain(get(RoleName::targets()), &[&sim.targets_key], 1, &[]);
    let snapshot = plain(get(RoleName::snapshot()), &[&sim.online_key], 1, &[("targets.json", &targets)]);
    let timestamp = plain(
        files.get(&FileName::timestamp()).unwrap(),
        &[&sim.online_key],
        1,
        &[("snapshot.json", &snapshot)],
    );
    let mut served = Files::new();
    served.put(FileName::timestamp(), timestamp);
    served.put(file(&RoleName::snapshot(), 1), snapshot);
    served.put(file(&RoleName::targets(), 1), targets);
    let mut update = Update::start(&root, Files::new(), None, NOW, &Limits::default()).unwrap();
    loop {
        match update.step() {
            Step::Need { file, .. } => update.feed(served.get(&file).cloned()).unwrap(),
            Step::Save(..) | Step::Forget(_) => update.saved(),
            Step::Done(trusted) => break assert!(trusted.timestamp().extra().is_none()),
        }
    }
    let strict = Update::start(&root, Files::new(), Some(COLLECTION), NOW, &Limits::default()).unwrap_err();
    assert!(matches!(strict.fault, Fault::Collection { .. }));
}
