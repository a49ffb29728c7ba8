//! The update as a whole, over a repository in memory. The modules follow the client's workflow (specification 5); the
//! letters that start the tests' names are those of its parts: E envelope, R root, T timestamp, S snapshot, G targets
//! and delegations, D target files.

mod advisories;
mod envelope;
mod parsers;
mod remembered;
mod root;
mod targets;
mod timestamp_snapshot;
mod update;

use super::sim::{COLLECTION, DAY, NOW, Sim, SimKey, heading, resigned, signed, signers, with_signatures};
use super::*;

fn fault(r: Result<Trusted, TufError>) -> (String, Fault) {
    let e = r.map(|_| ()).unwrap_err();
    (e.role.to_string(), e.fault)
}

/// A file as a timestamp, checked against the sim's online key.
fn as_timestamp(sim: &Sim, bytes: &bytes::Bytes) -> Result<Metadata<Timestamp>, Fault> {
    let role = RoleName::timestamp();
    let root = sim.walk(&sim.files()).unwrap();
    Unverified::<Timestamp>::parse(&role, bytes, &Limits::default())
        .and_then(|file| file.verify(&role, &[root.last().role().timestamp_keys()]))
        .map_err(|e| e.fault)
}

/// The sim's timestamp with a changed `signed` part.
fn timestamp_with(sim: &Sim, change: impl FnOnce(&mut serde_json::Value)) -> bytes::Bytes {
    resigned(sim.files().get(&FileName::timestamp()).unwrap(), change, &[&sim.online_key])
}

/// The name of a role's file at a version.
fn file(role: &RoleName, version: u64) -> FileName {
    FileName::versioned(role.clone(), Version::new(version).unwrap())
}

#[test]
fn a_good_state_is_trusted_and_searched() {
    let sim = Sim::new();
    let files = sim.files();
    let trusted = sim.judge(&files, None, NOW).unwrap();
    let found = trusted.find(&Sim::name().revocations_path(), &files).unwrap();
    assert_eq!(found.target.map(|(role, _)| role), Some(RoleName::revocations()));
    let found = trusted.find("ex.com/org/app:v1", &files).unwrap();
    assert!(found.target.is_none());
    assert_eq!(found.loaded.len(), 2, "top-level and releases; revocations does not match");
}

#[test]
fn rotation_of_all_root_keys_is_followed() {
    let mut sim = Sim::new();
    let old = std::mem::replace(&mut sim.root_keys, vec![SimKey::new(11), SimKey::new(12)]);
    let draft = sim.root_draft();
    let all: Vec<_> = old.iter().chain(&sim.root_keys).collect();
    sim.roots.push(signed(&draft, &all));
    assert_eq!(sim.judge(&sim.files(), None, NOW).unwrap().root().version().get(), 2);
    // Signed by the new keys only: skipped, the walk ends at the old root.
    let new_only: Vec<_> = sim.root_keys.iter().collect();
    sim.roots[1] = signed(&draft, &new_only);
    let chain = sim.walk(&sim.files()).unwrap();
    assert_eq!(chain.last().version().get(), 1);
    assert!(matches!(chain.skipped()[0].fault, Fault::Threshold { have: 0, need: 2, .. }));
}

#[test]
fn expiry_is_from_the_second_on() {
    let sim = Sim::new();
    let at = NOW.plus(7 * DAY);
    assert!(sim.judge(&sim.files(), None, at.plus(-1)).is_ok());
    assert_eq!(
        fault(sim.judge(&sim.files(), None, at)),
        ("timestamp".into(), Fault::Expired { at, now: at })
    );
}

#[test]
fn floors_hold_for_each_role() {
    let mut sim = Sim::new();
    (sim.timestamp, sim.snapshot) = (heading(5, NOW, 7 * DAY), heading(5, NOW, 7 * DAY));
    sim.releases = heading(5, NOW, 7 * DAY);
    let seen = sim.judge(&sim.files(), None, NOW).unwrap();
    let floor = Floor::of(&seen, seen.root().role(), seen.root().role());
    assert!(sim.judge(&sim.files(), floor.clone(), NOW).is_ok());
    let mut old = Sim::new();
    let got = |sim: &Sim| fault(sim.judge(&sim.files(), floor.clone(), NOW));
    let rollback = |role: &str, what: &RoleName, n: u64| {
        let (floor, got) = (Version::new(5).unwrap(), Version::new(n).unwrap());
        (role.to_owned(), Fault::Rollback { what: what.clone(), floor, got })
    };
    assert_eq!(got(&old), rollback("timestamp", &RoleName::timestamp(), 1));
    old.timestamp = heading(6, NOW, DAY);
    assert_eq!(got(&old), rollback("timestamp", &RoleName::snapshot(), 1));
    old.snapshot = heading(6, NOW, DAY);
    assert_eq!(got(&old), rollback("snapshot", &RoleName::releases(), 1));
}

#[test]
fn fast_forward_recovery_drops_the_floor_when_the_online_key_changed() {
    let mut sim = Sim::new();
    sim.timestamp = heading(1 << 50, NOW, 7 * DAY);
    let seen = sim.judge(&sim.files(), None, NOW).unwrap();
    sim.online_key = SimKey::new(9);
    sim.roots.push(sim.next_root());
    sim.timestamp = heading(2, NOW, 7 * DAY);
    let chain = sim.walk(&sim.files()).unwrap();
    assert_eq!(Floor::of(&seen, seen.root().role(), chain.last().role()), None);
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let mut sim = Sim::new();
    let key = SimKey::new(21);
    sim.root_keys = vec![SimKey::new(1), SimKey::new(2)];
    sim.roots.clear();
    let mut draft = sim.root_draft().signed().clone();
    let id = key.public().key_id().to_string();
    draft["keys"][&id] = key.public().to_tuf();
    draft["keys"]["alias"] = key.public().to_tuf();
    draft["roles"]["timestamp"] = serde_json::json!({"keyids": [id, "alias"], "threshold": 2});
    let root = Draft::from_signed(draft);
    sim.roots.push(signed(&root, &sim.root_keys.iter().collect::<Vec<_>>()));
    let chain = sim.walk(&sim.files()).unwrap();
    let good = Unverified::<Timestamp>::parse(
        &RoleName::timestamp(),
        sim.files().get(&FileName::timestamp()).unwrap(),
        &Limits::default(),
    )
    .unwrap();
    assert!(!good.count(chain.last().role().timestamp_keys()).is_met());
    let draft = Draft::next_of(&good.verify(&RoleName::timestamp(), &[]).unwrap(), &heading(2, NOW, DAY));
    let message = draft.message();
    let both = ["alias".to_owned(), id].map(|i| (i.try_into().unwrap(), key.sign(&message)));
    let twice = draft.assemble(&both.into_iter().collect());
    let twice = Unverified::<Timestamp>::parse(&RoleName::timestamp(), &twice, &Limits::default()).unwrap();
    let count = twice.count(chain.last().role().timestamp_keys());
    assert_eq!((count.is_met(), count.signed.len(), count.repeated.len()), (false, 1, 1));
}

#[test]
fn another_collection_is_refused_before_anything_is_accepted() {
    let mut sim = Sim::new();
    sim.releases.extra.collection = "ex.com/org/other".into();
    let files = sim.files();
    let trusted = sim.judge(&files, None, NOW).unwrap();
    let e = trusted.find("ex.com/org/app:v1", &files).unwrap_err();
    assert!(matches!(e.fault, Fault::Collection { .. }));
    sim.timestamp.extra.collection = "ex.com/org/other".into();
    let expected = COLLECTION.to_owned();
    let got = "ex.com/org/other".to_owned();
    assert_eq!(
        fault(sim.judge(&sim.files(), None, NOW)),
        ("timestamp".into(), Fault::Collection { expected, got })
    );
}

#[test]
fn terminating_delegations_stop_the_search() {
    let sim = Sim::new();
    let by = signers(&[&sim.releases_key], 1);
    let all = || Paths::Patterns(vec![PathPattern::parse("*/*/*").unwrap()]);
    let first = delegation("first".parse().unwrap(), &by, all(), true);
    let second = delegation("second".parse().unwrap(), &by, all(), false);
    let target = serde_json::json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    let mut files = sim.files();
    let build = |terminating: bool, files: &mut Files| {
        let mut first = first.clone();
        first.terminating = terminating;
        let top = signed(
            &Draft::targets(&heading(1, NOW, DAY), Default::default(), &[first, second.clone()]),
            &[&sim.targets_key],
        );
        let empty =
            signed(&Draft::targets(&heading(1, NOW, DAY), Default::default(), &[]), &[&sim.releases_key]);
        let listed = [("a/b/c".to_owned(), target.clone())].into_iter().collect();
        let full = signed(&Draft::targets(&heading(1, NOW, DAY), listed, &[]), &[&sim.releases_key]);
        let mut pins = std::collections::BTreeMap::new();
        for (role, bytes) in [("targets", top), ("first", empty), ("second", full)] {
            let role: RoleName = role.parse().unwrap();
            pins.insert(role.clone(), FilePin::of(Version::ONE, &bytes));
            files.put(FileName::versioned(role, Version::ONE), bytes);
        }
        let snapshot = signed(&Draft::snapshot(&heading(1, NOW, DAY), &pins), &[&sim.online_key]);
        let pin = FilePin::of(Version::ONE, &snapshot);
        files.put(FileName::versioned(RoleName::snapshot(), Version::ONE), snapshot);
        files.put(
            FileName::timestamp(),
            signed(&Draft::timestamp(&heading(1, NOW, DAY), &pin), &[&sim.online_key]),
        );
    };
    build(true, &mut files);
    assert!(sim.judge(&files, None, NOW).unwrap().find("a/b/c", &files).unwrap().target.is_none());
    build(false, &mut files);
    assert!(sim.judge(&files, None, NOW).unwrap().find("a/b/c", &files).unwrap().target.is_some());
}
