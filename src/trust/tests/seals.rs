//! Seals: junk, stripped ones, those of other dates, and a list that cannot be read.

use super::*;

fn junk(n: usize) -> Vec<Result<Files, String>> {
    (0..n).map(|i| Err(format!("junk {i}"))).collect()
}

#[test]
fn junk_is_not_even_listed_beside_a_live_state() {
    let [first, remembers] = both(|d| {
        d.seals = junk(MAX_SEALS);
        d.more_seals = true;
    });
    assert_eq!([first, remembers], ["trusted by state"; 2]);
    let mut d = Deployer::at_five();
    d.more_seals = true;
    d.trusted();
    assert_eq!(d.asked, [Want::Bundle, Want::State { source: 0 }]);
}

#[test]
fn junk_that_hides_seals_past_the_cap_leaves_it_open() {
    let gone = |d: &mut Deployer| {
        d.state = StateAnswer::Absent;
        d.seals = junk(MAX_SEALS);
        d.more_seals = true;
    };
    assert_eq!(both(gone), ["undecided: seal.cap", "trusted by memory"]);
    let [first, remembers] = both(|d| {
        gone(d);
        d.state = StateAnswer::Invalid("junk at the tag too".into());
    });
    assert_eq!([first.as_str(), remembers.as_str()], ["undecided: seal.cap", "trusted by memory"]);
    // All of them were read: then it is a no.
    let [first, _] = both(|d| {
        gone(d);
        d.more_seals = false;
    });
    assert_eq!(first, "no: state.absent");
}

#[test]
fn a_list_that_is_refused_is_not_an_empty_one() {
    for code in [StateAnswer::Absent, StateAnswer::Invalid("junk".into())] {
        let [first, _] = both(|d| {
            d.state = code.clone();
            d.seals_refused = true;
        });
        assert_eq!(first, "undecided: seal.unreadable");
    }
}

#[test]
fn poisoned_timestamp() {
    // Signed by an online key that was rotated out, and far in the future; the rest is honest.
    let attack = |d: &mut Deployer| {
        let mut evil = Sim::new();
        list(&mut evil, &d.bundle, "v1");
        evil.at_version(1 << 50, NOW);
        evil.timestamp.expires = NOW.plus(10_000 * DAY);
        d.seals = vec![Ok(evil.files())];
        d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
        d.sim.at_version(6, NOW);
        d.serve();
    };
    assert_eq!(both(attack), ["trusted by state"; 2]);
    let gone = |d: &mut Deployer| {
        attack(d);
        let honest = d.sim.files();
        d.seals.push(Ok(honest));
        d.state = StateAnswer::Absent;
    };
    assert_eq!(both(gone), ["trusted by seal"; 2]);
    let mut d = Deployer::at_five();
    gone(&mut d);
    d.trusted();
    let remembered = d.memory.unwrap().files;
    assert_eq!(remembered.get(&FileName::timestamp()), d.sim.files().get(&FileName::timestamp()));
}

#[test]
fn a_timestamp_alone_raises_no_floor() {
    // A real timestamp of tomorrow without what it pins.
    let mut d = Deployer::at_five();
    d.trusted();
    d.sim.timestamp = heading(9, NOW, 7 * DAY);
    d.sim.snapshot = heading(9, NOW, 7 * DAY);
    let mut alone = d.sim.files();
    alone.retain(|n| *n == FileName::timestamp());
    d.seals = vec![Ok(alone)];
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "trusted by memory");
    d.seals.clear();
    d.sim.at_version(6, NOW);
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
}

#[test]
fn a_stripped_seal_does_not_stand_before_a_whole_one() {
    let path = Sim::name().revocations_path();
    let [first, remembers] = both(|d| {
        let whole = d.sim.files();
        let mut no_list = whole.clone();
        no_list.drop_targets();
        let mut junk_list = no_list.clone();
        junk_list.put_target(path.clone(), b"{}".to_vec().into());
        d.seals = vec![Ok(no_list.clone()), Ok(junk_list.clone()), Ok(whole), Ok(no_list), Ok(junk_list)];
        d.state = StateAnswer::Absent;
    });
    assert_eq!([first.as_str(), remembers.as_str()], ["trusted by seal", "trusted by memory"]);
    let [first, _] = both(|d| {
        let mut stripped = d.sim.files();
        stripped.drop_targets();
        d.seals = vec![Ok(stripped)];
        d.state = StateAnswer::Absent;
    });
    assert_eq!(first, "no: state.absent");
}

#[test]
fn an_older_seal_supplies_what_the_memory_pins_whatever_junk_lies_before_it() {
    // The memory came from elsewhere and lacks a role that this bundle needs.
    let mut d = Deployer::at_five();
    d.trusted();
    let mut memory = d.memory.clone().unwrap();
    memory.files.retain(|n| n.role() != &RoleName::releases());
    d.memory = Some(memory);
    let mut older = d.sim.files();
    older.retain(|n| *n != FileName::timestamp());
    let mut junk = Files::new();
    junk.put(file(&RoleName::releases(), 5), b"junk".to_vec().into());
    d.seals = vec![Ok(junk), Ok(older)];
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "trusted by memory");
}

#[test]
fn a_newer_seal_serves_when_the_live_state_is_expired() {
    let mut d = Deployer::at_five();
    d.now = NOW.plus(8 * DAY);
    d.sim.at_version(6, NOW.plus(8 * DAY));
    d.seals = vec![Ok(d.sim.files())];
    assert_eq!(d.outcome(), "trusted by seal");
    // And is remembered: the expired state is below it now.
    assert_eq!(d.outcome(), "no: tuf.timestamp.rollback");
}

#[test]
fn seals_bring_the_roots_that_the_state_lacks() {
    let mut d = Deployer::at_five();
    d.sim.rotate(|sim| {
        (sim.root_keys, sim.online_key) = (vec![SimKey::new(11), SimKey::new(12)], SimKey::new(15))
    });
    d.sim.at_version(6, NOW);
    d.seals = vec![Ok(d.sim.files())];
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "trusted by seal");
    let under = d.memory.unwrap().verified_under;
    assert_eq!(under, Version::new(2));
}
