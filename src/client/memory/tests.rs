use super::*;
use crate::tuf::sim::{DAY, NOW, Sim, SimKey, heading};

fn remembered(sim: &Sim) -> Remembered {
    Remembered { files: sim.files(), verified_under: Some(Version::ONE) }
}

#[test]
fn survives_the_round_trip_and_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let mut sim = Sim::new();
    assert_eq!(memory.load(&sim.roots[0]), Ok(None));
    sim.timestamp = heading(5, NOW, DAY);
    memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
    assert_eq!(memory.load(&sim.roots[0]), Ok(Some(remembered(&sim))));
    let newest = remembered(&sim);
    sim.timestamp = heading(4, NOW, DAY);
    memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
    assert_eq!(memory.load(&sim.roots[0]), Ok(Some(newest)));
    assert_eq!(memory.load(&Bytes::from_static(b"another root")), Ok(None));
}

#[test]
fn what_could_not_be_read_back_does_not_replace_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let mut sim = Sim::new();
    memory.save(&sim.roots[0], &remembered(&sim)).unwrap();
    let before = remembered(&sim);
    sim.timestamp = heading(5, NOW, DAY);
    let mut huge = remembered(&sim);
    huge.files.put_target("huge".into(), vec![0; 50 * 1024 * 1024].into());
    assert!(matches!(memory.save(&sim.roots[0], &huge), Err(MemoryError::Invalid { .. })));
    assert_eq!(memory.load(&sim.roots[0]), Ok(Some(before)));
}

#[test]
fn what_is_no_memory_is_an_error_and_not_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    for text in [
        "",
        "{}",
        r#"{"schemaVersion":2,"collection":"ex.com/org/app","chains":[]}"#,
        r#"{"schemaVersion":1,"collection":"ex.com/org/other","chains":[]}"#,
    ] {
        fs::write(memory.path(), text).unwrap();
        assert!(matches!(memory.load(&Bytes::new()), Err(MemoryError::Invalid { .. })), "{text}");
    }
}

fn at(memory: &Memory, anchor: &Bytes) -> (u64, bool, Option<Version>) {
    let kept = memory.load(anchor).unwrap().unwrap();
    let text: serde_json::Value =
        serde_json::from_slice(kept.files.get(&FileName::timestamp()).unwrap()).unwrap();
    let list = kept.files.target(&Sim::name().revocations_path()).is_some();
    (text["signed"]["version"].as_u64().unwrap(), list, kept.files.newest_root())
}

/// What the sim makes now, under its last root.
fn now(sim: &Sim) -> Remembered {
    Remembered { files: sim.files(), verified_under: Version::new(sim.roots.len() as u64) }
}

/// The same as a registry serves it that holds the revocations back.
fn stripped(sim: &Sim) -> Remembered {
    let mut all = now(sim);
    all.files.drop_targets();
    all.files.retain(|name| *name.role() != RoleName::revocations());
    all
}

#[test]
fn a_readable_list_is_not_given_up_for_a_state_without() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let mut sim = Sim::new();
    let anchor = sim.roots[0].clone();
    let two = Version::new(2);
    sim.at_version(6, NOW);
    memory.save(&anchor, &now(&sim)).unwrap();
    memory.save(&anchor, &stripped(&sim)).unwrap();
    assert_eq!(at(&memory, &anchor), (6, true, Some(Version::ONE)), "the same state, stripped");
    sim.at_version(7, NOW);
    memory.save(&anchor, &stripped(&sim)).unwrap();
    assert!(at(&memory, &anchor).1, "a later one, stripped");
    memory.save(&anchor, &now(&sim)).unwrap();
    assert_eq!(at(&memory, &anchor), (7, true, Some(Version::ONE)));
    sim.rotate(|sim| sim.online_key = SimKey::new(15));
    sim.at_version(8, NOW);
    memory.save(&anchor, &stripped(&sim)).unwrap();
    assert_eq!(at(&memory, &anchor), (7, true, two), "under other online keys, stripped");
    memory.save(&anchor, &now(&sim)).unwrap();
    assert_eq!(at(&memory, &anchor), (8, true, two));
    let mut junk = now(&sim);
    sim.list = b"junk".to_vec();
    sim.at_version(9, NOW);
    junk.files = sim.files();
    memory.save(&anchor, &junk).unwrap();
    assert_eq!(at(&memory, &anchor), (8, true, two), "one that nobody can read");
}

#[test]
fn files_that_two_saw_of_one_state_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let sim = Sim::new();
    let mut other = now(&sim);
    other.files.retain(|name| *name.role() != RoleName::releases());
    memory.save(&sim.roots[0], &stripped(&sim)).unwrap();
    memory.save(&sim.roots[0], &other).unwrap();
    assert_eq!(memory.load(&sim.roots[0]).unwrap(), Some(now(&sim)));
}

#[test]
fn a_later_root_lowers_no_floor_unless_the_online_keys_changed() {
    for (change, expected) in [
        ((|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]) as fn(&mut Sim), 10),
        (|sim| sim.targets_key = SimKey::new(13), 10),
        (|sim| sim.online_key = SimKey::new(15), 9),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(dir.path(), &Sim::name());
        let mut sim = Sim::new();
        let anchor = sim.roots[0].clone();
        sim.at_version(10, NOW);
        let first = now(&sim);
        sim.rotate(change);
        sim.at_version(9, NOW);
        let second = now(&sim);
        for order in [[&first, &second], [&second, &first]] {
            memory.forget(std::slice::from_ref(&anchor)).unwrap();
            order.iter().for_each(|one| memory.save(&anchor, one).unwrap());
            assert_eq!(at(&memory, &anchor), (expected, true, Version::new(2)));
        }
    }
}

#[test]
fn no_role_falls_because_two_saved_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let mut sim = Sim::new();
    let anchor = sim.roots[0].clone();
    sim.at_version(6, NOW);
    memory.save(&anchor, &now(&sim)).unwrap();
    sim.at_version(7, NOW);
    sim.releases = heading(5, NOW, DAY);
    memory.save(&anchor, &now(&sim)).unwrap();
    assert_eq!(at(&memory, &anchor).0, 6);
}

#[test]
fn a_root_that_continues_a_chain_is_of_that_chain() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let mut sim = Sim::new();
    sim.at_version(6, NOW);
    memory.save(&sim.roots[0], &now(&sim)).unwrap();
    for seed in [11, 12] {
        sim.rotate(|sim| sim.root_keys = vec![SimKey::new(seed), SimKey::new(seed + 10)]);
    }
    // The next root is enough; over a gap the roots between must be at hand.
    assert_eq!(at(&memory, &sim.roots[1]).0, 6);
    assert_eq!(memory.load(&sim.roots[2]), Ok(None));
    // Somebody pinned the third root; what he remembers and what is remembered from the first one are one.
    let mut third = now(&sim);
    third.files.retain(|name| name.role().as_str() != "root");
    third.files.put(FileName::versioned(RoleName::root(), Version::new(3).unwrap()), sim.roots[2].clone());
    let mut later = third.clone();
    memory.save(&sim.roots[2], &third).unwrap();
    sim.at_version(7, NOW);
    for (name, bytes) in now(&sim).files.metadata() {
        later.files.put(name.clone(), bytes.clone());
    }
    memory.save(&sim.roots[2], &later).unwrap();
    for root in &sim.roots {
        assert_eq!(at(&memory, root), (7, true, Version::new(3)));
    }
    assert_eq!(memory.forget(&sim.roots), Ok(1));
}

#[test]
fn another_chain_of_the_name_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::in_dir(dir.path(), &Sim::name());
    let (mut sim, mut other) = (Sim::new(), Sim::new());
    sim.rotate(|sim| sim.online_key = SimKey::new(15));
    sim.at_version(6, NOW);
    memory.save(&sim.roots[0], &now(&sim)).unwrap();
    other.rotate(|sim| sim.online_key = SimKey::new(16));
    assert_eq!(memory.load(&other.roots[1]), Ok(None));
    let mut alone = now(&other);
    alone.files.retain(|name| *name != FileName::versioned(RoleName::root(), Version::ONE));
    memory.save(&other.roots[1], &alone).unwrap();
    assert_eq!(at(&memory, &other.roots[1]).0, 1);
    assert_eq!(at(&memory, &sim.roots[1]).0, 6);
}

/// Two chains of one name that contradict each other, saved in either order: which one the anchor goes by is not a matter of which
/// was saved last, and none of them stops anything.
#[test]
fn which_of_two_contradicting_chains_counts_does_not_depend_on_the_order_of_saving() {
    let (mut sim, mut other) = (Sim::new(), Sim::new());
    for seed in [11, 12] {
        sim.rotate(|sim| sim.root_keys = vec![SimKey::new(seed), SimKey::new(seed + 10)]);
    }
    sim.at_version(6, NOW);
    // Whoever stole the keys of root 2 signed another third root.
    other.rotate(|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(21)]);
    other.rotate(|sim| sim.root_keys = vec![SimKey::new(13), SimKey::new(23)]);
    other.at_version(9, NOW);
    let third = Version::new(3).unwrap();
    let mut alone = now(&other);
    alone.files.retain(|name| name.role().as_str() != "root");
    alone.files.put(FileName::versioned(RoleName::root(), third), other.roots[2].clone());
    assert_eq!(sim.roots[..2], other.roots[..2]);
    for turned in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(dir.path(), &Sim::name());
        let mut saves = vec![(sim.roots[0].clone(), now(&sim)), (other.roots[2].clone(), alone.clone())];
        if turned {
            saves.reverse();
        }
        for (anchor, new) in saves.iter().chain(&saves) {
            memory.save(anchor, new).unwrap();
            let first = memory.chains().unwrap()[0].files.root(third).cloned();
            assert_eq!(first.as_ref(), saves[0].1.files.root(third), "the order in the file stays");
        }
        // A registry offers both.
        let offered = [&sim.files(), &other.files()];
        let own = memory.load_along(&sim.roots[0], &offered).unwrap().unwrap();
        assert_eq!(own.files.root(third), Some(&sim.roots[2]), "turned: {turned}");
        let others = Memory::others(std::slice::from_ref(&memory), &sim.roots[0], &offered).unwrap();
        assert_eq!(others.iter().map(|o| o.files.root(third)).collect::<Vec<_>>(), [Some(&other.roots[2])]);
        let rivals = memory.rivals(&sim.roots[0]).unwrap();
        assert_eq!(
            rivals.iter().map(|r| (r.version, r.own.clone(), r.other.clone())).collect::<Vec<_>>(),
            [(third, Digest::sha256(&sim.roots[2]), Digest::sha256(&other.roots[2]))]
        );
    }
}

#[test]
fn two_memories_that_contradict_each_other_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sim, mut other) = (Sim::new(), Sim::new());
    sim.rotate(|sim| sim.online_key = SimKey::new(15));
    other.rotate(|sim| sim.online_key = SimKey::new(16));
    let memories = [&sim, &other].map(|sim| {
        let memory = Memory::in_file(
            &dir.path().join(sim.roots.len().to_string() + &Digest::sha256(&sim.roots[1]).hex()[..4]),
            &Sim::name(),
        );
        memory.save(&sim.roots[0], &now(sim)).unwrap();
        memory
    });
    let Err(MemoryError::Contradiction { rival, .. }) = Memory::load_all(&memories, &sim.roots[0], &[])
    else {
        panic!("they do not go together");
    };
    assert_eq!((rival.version.get(), &rival.path), (2, &memories[1].path().to_owned()));
    assert_eq!((rival.own, rival.other), (Digest::sha256(&sim.roots[1]), Digest::sha256(&other.roots[1])));
}
