//! The state at its tag, changed: rolled back, frozen, mixed, unsigned, forked, of another collection.

use bulla::client::memory::Memory;
use bulla::trust::{Code, Outcome};
use bulla::tuf::{FileName, Remembered, RoleName, Version};
use serde_json::json;

use super::scene::{Scene, both, has, image, list, outcome};
use super::sim::{DAY, NOW, Sim, SimKey, heading, resigned, signed, with_signatures};

const ROLES: [(&str, &str); 5] = [
    ("timestamp", "no: tuf.timestamp.rollback"),
    ("snapshot", "no: tuf.timestamp.rollback"),
    ("targets", "no: tuf.snapshot.rollback"),
    ("targets/releases", "no: tuf.snapshot.rollback"),
    ("targets/revocations", "no: tuf.snapshot.rollback"),
];

fn file(role: &str, version: u64) -> FileName {
    FileName::versioned(role.parse().unwrap(), Version::new(version).unwrap())
}

/// One role at version 4, everything over it at 6.
fn role_below(sim: &mut Sim, role: &str, at: bulla::time::UnixTime) {
    sim.at_version(6, at);
    let below = heading(4, at, 30 * DAY);
    match role {
        "timestamp" => sim.timestamp = below,
        "snapshot" => sim.snapshot = below,
        "targets" => sim.targets = below,
        "targets/releases" => sim.releases = below,
        _ => sim.revocations = below,
    }
}

#[tokio::test]
async fn rollback_of_each_role() {
    for (role, code) in ROLES {
        let outcomes = both(|s| {
            role_below(&mut s.sim, role, NOW);
            s.serve();
        });
        assert_eq!(outcomes.await, ["trusted by state", code], "{role}");
    }
}

#[tokio::test]
async fn rollback_of_each_role_with_expired_memory() {
    for (role, code) in ROLES {
        let outcomes = both(|s| {
            s.now = NOW.plus(300 * DAY);
            role_below(&mut s.sim, role, s.now);
            s.serve();
        });
        assert_eq!(outcomes.await, ["trusted by state", code], "{role}");
    }
}

#[tokio::test]
async fn rollback_of_the_root() {
    let mut s = Scene::new().await;
    let before = s.sim.files();
    s.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    s.sim.at_version(6, NOW);
    s.serve();
    s.trusted().await;
    s.serve_files(&before);
    let report = s.trusted().await;
    assert_eq!(outcome(&report), "trusted by memory");
    assert!(has(&report, Code::TufTimestampThreshold, &Outcome::Note), "{report:#?}");
    s.now = NOW.plus(7 * DAY);
    assert_eq!(s.outcome().await, "no: tuf.timestamp.expired");
}

#[tokio::test]
async fn rollback_after_a_crash_between_two_saves() {
    let mut s = Scene::new().await;
    s.trusted().await;
    s.sim.at_version(4, NOW);
    let old = s.sim.files();
    s.sim.rotate(|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    s.sim.at_version(6, NOW);
    s.serve();
    // The process died after the new root was saved, before the new state was.
    let mut memory = s.memory().unwrap();
    memory.files.put(file("root", 2), s.sim.roots[1].clone());
    Memory::in_dir(&s.memory_dir(), &Sim::name()).save(&s.sim.roots[0], &memory).unwrap();
    s.serve_files(&old);
    assert_eq!(s.outcome().await, "no: tuf.timestamp.rollback");
    s.serve();
    assert_eq!(s.outcome().await, "trusted by state");
    assert_eq!(s.memory().unwrap().verified_under, Version::new(2));
}

#[tokio::test]
async fn freeze() {
    assert_eq!(both(|s| s.now = NOW.plus(7 * DAY)).await, ["no: tuf.timestamp.expired"; 2]);
}

#[tokio::test]
async fn clock_five_minutes_off() {
    let mut s = Scene::new().await;
    s.now = NOW.plus(7 * DAY - 300);
    s.trusted().await;
    for secs in [0, 300] {
        s.now = NOW.plus(7 * DAY + secs);
        let report = s.verify().await;
        let check = report.because().unwrap();
        assert_eq!(check.code, Code::TufTimestampExpired);
        assert!(check.detail.contains("2027-01-22T08:00:00Z") && check.detail.contains(&s.now.to_string()));
    }
}

#[tokio::test]
async fn mix_and_match() {
    for (role, code) in [
        ("snapshot", Code::TufSnapshotHash),
        ("targets", Code::TufTargetsHash),
        ("targets/releases", Code::TufDelegationHash),
        ("targets/revocations", Code::TufDelegationHash),
    ] {
        let outcomes = both(|s| {
            let old = s.sim.files().get(&file(role, 5)).unwrap().clone();
            s.sim.at_version(6, NOW);
            let mut files = s.sim.files();
            files.put(file(role, 6), old);
            s.serve_files(&files);
        });
        assert_eq!(outcomes.await, [format!("no: {code}"), "trusted by memory".into()], "{role}");
    }
}

#[tokio::test]
async fn more_bytes_than_the_cap() {
    for (name, size) in
        [(FileName::timestamp(), 20_000), (file("releases", 6), 0), (file("root", 2), 600_000)]
    {
        let outcomes = both(|s| {
            s.sim.at_version(6, NOW);
            let mut files = s.sim.files();
            let name = if size == 0 { file("targets/releases", 6) } else { name.clone() };
            let longer = files.get(&name).map_or(0, bytes::Bytes::len) + 1;
            files.put(name, vec![b' '; longer.max(size)].into());
            s.serve_files(&files);
        });
        assert_eq!(outcomes.await, ["no: tuf.size", "trusted by memory"], "{name}");
    }
    // The sizes together are capped before anything is fetched.
    let outcomes = both(|s| {
        let mut files = s.sim.files();
        files.put_target("junk".into(), vec![b' '; 17 * 1024 * 1024].into());
        s.serve_files(&files);
    });
    assert_eq!(outcomes.await, ["no: state.invalid", "trusted by memory"]);
}

#[tokio::test]
async fn too_few_signatures() {
    for (role, code) in [
        (RoleName::timestamp(), Code::TufTimestampThreshold),
        (RoleName::snapshot(), Code::TufSnapshotThreshold),
        (RoleName::targets(), Code::TufTargetsThreshold),
        (RoleName::releases(), Code::TufDelegationThreshold),
        (RoleName::revocations(), Code::TufDelegationThreshold),
    ] {
        let outcomes = both(|s| {
            s.sim.at_version(6, NOW);
            s.sim.edits.insert(role.clone(), Box::new(|f| resigned(&f, |_| (), &[&SimKey::new(99)])));
            s.serve();
        });
        assert_eq!(outcomes.await, [format!("no: {code}"), "trusted by memory".into()], "{role}");
    }
    for by in [[1, 2, 11], [1, 11, 12]] {
        let outcomes = both(|s| {
            s.sim.root_keys = vec![SimKey::new(11), SimKey::new(12)];
            let keys = by.map(SimKey::new);
            s.sim.roots.push(signed(&s.sim.root_draft(), &keys.iter().collect::<Vec<_>>()));
            s.sim.at_version(6, NOW);
            s.serve();
        });
        assert_eq!(outcomes.await, ["no: tuf.root.threshold", "trusted by memory"], "{by:?}");
    }
}

#[tokio::test]
async fn one_key_under_two_ids() {
    let mut s = Scene::new().await;
    let (key, keys) = (s.sim.online_key.public(), [SimKey::new(1), SimKey::new(2)]);
    let two = |root: &mut serde_json::Value| {
        root["keys"]["alias"] = key.to_tuf();
        root["roles"]["timestamp"] = json!({"keyids": [key.key_id(), "alias"], "threshold": 2});
    };
    s.sim.roots[0] = resigned(&s.sim.roots[0], two, &keys.iter().collect::<Vec<_>>());
    let both_ids = |f| {
        with_signatures(&f, |sigs| {
            let mut again = sigs[0].clone();
            again["keyid"] = json!("alias");
            sigs.push(again);
        })
    };
    s.sim.edits.insert(RoleName::timestamp(), Box::new(both_ids));
    s.serve();
    let report = s.verify().await;
    assert_eq!(outcome(&report), "no: tuf.timestamp.threshold");
    assert!(has(&report, Code::TufKeyDuplicate, &Outcome::Note), "{report:#?}");
}

#[tokio::test]
async fn duplicate_signatures() {
    for role in [RoleName::timestamp(), RoleName::snapshot(), RoleName::releases()] {
        let outcomes = both(|s| {
            s.sim.at_version(6, NOW);
            let twice = |f| with_signatures(&f, |sigs| sigs.push(sigs[0].clone()));
            s.sim.edits.insert(role.clone(), Box::new(twice));
            s.serve();
        });
        assert_eq!(outcomes.await, ["no: tuf.signature.duplicate", "trusted by memory"], "{role}");
    }
}

#[tokio::test]
async fn root_stripped_out_of_the_chain() {
    let outcomes = both(|s| {
        s.sim.rotate(|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
        s.sim.rotate(|sim| sim.online_key = SimKey::new(15));
        s.sim.at_version(6, NOW);
        let mut files = s.sim.files();
        files.retain(|n| *n != file("root", 2));
        s.serve_files(&files);
    });
    assert_eq!(outcomes.await, ["no: tuf.root.gap", "trusted by memory"]);
}

#[tokio::test]
async fn state_of_another_collection_under_shared_keys() {
    let outcomes = both(|s| {
        s.sim.at_version(6, NOW);
        let sim = &mut s.sim;
        for h in [&mut sim.timestamp, &mut sim.snapshot, &mut sim.targets, &mut sim.releases] {
            h.extra.collection = "ex.com/org/other".into();
        }
        s.serve();
    });
    assert_eq!(outcomes.await, ["no: tuf.collection", "trusted by memory"]);
}

#[tokio::test]
async fn revocation_role_dropped_by_the_online_key() {
    let outcomes = both(|s| {
        s.sim.at_version(6, NOW);
        s.sim.unlisted.insert(RoleName::revocations());
        s.serve();
    });
    assert_eq!(outcomes.await, ["no: revocation.missing", "no: revocation.dropped"]);
}

#[tokio::test]
async fn revocation_list_withheld() {
    let outcomes = both(|s| {
        let mut files = s.sim.files();
        files.drop_targets();
        s.serve_files(&files);
    });
    assert_eq!(outcomes.await, ["no: revocation.missing"; 2]);
}

#[tokio::test]
async fn equal_version_with_other_content() {
    let mut s = Scene::new().await;
    s.trusted().await;
    list(&mut s.sim, &image("other"), "v2");
    s.sim.releases = heading(6, NOW, 90 * DAY);
    s.sim.snapshot = heading(6, NOW, 30 * DAY);
    s.serve();
    let report = s.trusted().await;
    assert_eq!(outcome(&report), "trusted by memory");
    assert!(has(&report, Code::TufFork, &Outcome::Note), "{report:#?}");
}

#[tokio::test]
async fn file_names_that_leave_their_folder_and_junk_beside_the_state() {
    let s = Scene::new().await;
    let mut files = s.sim.files();
    files.put_target("../../../../tmp/evil".into(), b"x".to_vec().into());
    files.put(file("../../evil", 1), b"x".to_vec().into());
    files.put(file("timestamp", 9), b"x".to_vec().into());
    s.serve_files(&files);
    s.trusted().await;
    // Nothing of it is kept: one file, with exactly the honest state in it.
    let expected = Remembered { files: s.sim.files(), verified_under: Some(Version::ONE) };
    assert_eq!(s.memory(), Some(expected));
    let mut names: Vec<_> = walk(s.home.path());
    names.retain(|n| !n.ends_with(".lck"));
    assert_eq!(names.len(), 1, "{names:?}");
}

/// Names of all files below a folder.
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(walk(&entry.path()));
        } else {
            out.push(entry.file_name().into_string().unwrap());
        }
    }
    out
}
