//! Several anchors: they add up, and a revocation under any refuses.

use serde_json::json;

use super::*;

/// A second collection's keys over the same names: signed by others, listing the same bundle or not.
fn second(d: &Deployer, listed: bool, revoked: bool) -> Party {
    let mut sim = Sim::new();
    sim.root_keys = vec![SimKey::new(31)];
    sim.root_threshold = 1;
    (sim.targets_key, sim.releases_key, sim.online_key) = (SimKey::new(33), SimKey::new(34), SimKey::new(35));
    sim.roots.clear();
    let root = sim.next_root();
    sim.roots.push(root);
    if listed {
        list(&mut sim, &d.bundle, "v1");
    }
    if revoked {
        let entry = json!({
            "id": "r", "kind": "bundle", "subject": d.bundle.digest.to_string(), "at": NOW.to_string()
        });
        sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [entry]})).unwrap();
    }
    Party { anchor: anchor_of(&sim), state: StateAnswer::Found(sim.files()), memory: None }
}

/// The outcome with a second anchor, for a first-time verifier and for one who was here before the attack.
fn with_second(listed: bool, revoked: bool, attack: impl Fn(&mut Deployer)) -> [String; 2] {
    let deployer = || {
        let mut d = Deployer::at_five();
        d.others = vec![second(&d, listed, revoked)];
        d
    };
    let mut first = deployer();
    attack(&mut first);
    let mut remembers = deployer();
    remembers.verify();
    attack(&mut remembers);
    let word = |d: &mut Deployer| {
        let report = d.verify();
        match report.verdict() {
            Verdict::Trusted => "trusted".to_owned(),
            Verdict::NotTrusted => format!("no: {}", report.because().unwrap().code),
            Verdict::NotChecked => "not checked".into(),
            Verdict::Undecided => format!("undecided: {}", report.because().unwrap().code),
        }
    };
    [word(&mut first), word(&mut remembers)]
}

#[test]
fn one_that_passes_suffices() {
    assert_eq!(with_second(false, false, |_| ()), ["trusted"; 2]);
    assert_eq!(with_second(true, false, |d| d.state = StateAnswer::Absent), ["trusted"; 2]);
    assert_eq!(with_second(true, false, |d| d.state = StateAnswer::Unreadable("403".into())), ["trusted"; 2]);
    let neither = |d: &mut Deployer| {
        d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"another");
    };
    assert_eq!(with_second(true, false, neither), ["no: bundle.tag.moved"; 2]);
}

#[test]
fn undecided_beats_no_among_anchors() {
    let attack = |d: &mut Deployer| {
        d.sim.entries.clear();
        d.sim.at_version(6, NOW);
        d.serve();
        d.others[0].state = StateAnswer::Unreadable("429".into());
    };
    assert_eq!(with_second(false, false, attack), ["undecided: state.unreadable"; 2]);
}

#[test]
fn a_revocation_under_any_refuses() {
    assert_eq!(with_second(true, true, |_| ()), ["no: revocation.bundle"; 2]);
    assert_eq!(with_second(false, true, |_| ()), ["no: revocation.bundle"; 2]);
    // Its timestamp has run out while the first anchor's is fresh: it is still a revocation.
    let stale = |d: &mut Deployer| {
        d.now = NOW.plus(8 * DAY);
        d.sim.at_version(6, d.now);
        d.serve();
    };
    assert_eq!(with_second(true, true, stale), ["no: revocation.bundle"; 2]);
}

#[test]
fn a_remembered_revocation_is_not_hidden_from_the_others() {
    let hidden: [fn(&mut Deployer); 4] = [
        |d| d.others[0].state = StateAnswer::Absent,
        |d| d.others[0].state = StateAnswer::Unreadable("403".into()),
        |d| {
            (d.others[0].state, d.seals_refused) = (StateAnswer::Absent, true);
        },
        |d| {
            if let StateAnswer::Found(files) = &mut d.others[0].state {
                files.put(FileName::timestamp(), b"junk".to_vec().into());
            }
        },
    ];
    for hide in hidden {
        let [_, remembers] = with_second(true, true, hide);
        assert_eq!(remembers, "no: revocation.bundle");
    }
}

#[test]
fn what_was_saved_before_a_second_look_counts_in_it() {
    // The second anchor sees a moved tag, so all is read again; the first anchor's state is older then.
    let mut d = Deployer::at_five();
    d.others = vec![second(&d, false, false)];
    let other = Descriptor::of(media_type::OCI_MANIFEST, b"other");
    let mut party = Sim::new();
    party.root_keys = vec![SimKey::new(31)];
    party.root_threshold = 1;
    (party.targets_key, party.releases_key, party.online_key) =
        (SimKey::new(33), SimKey::new(34), SimKey::new(35));
    list(&mut party, &other, "v1");
    d.others[0].state = StateAnswer::Found(party.files());
    d.sim.at_version(6, NOW);
    d.serve();
    d.sim.at_version(5, NOW);
    d.state_later = Some(StateAnswer::Found(d.sim.files()));
    let report = d.verify();
    let checks = &report.anchors[0].checks;
    assert!(checks.iter().any(|c| c.is_fail() && c.code == Code::TufTimestampRollback), "{checks:#?}");
}

#[test]
fn two_anchors_of_one_chain_agree() {
    let mut d = Deployer::at_five();
    d.sim.rotate(|_| ());
    d.serve();
    let later =
        Anchor::tuf("mirror.example/app".parse().unwrap(), Sim::name(), d.sim.roots[1].clone(), vec![]);
    d.others = vec![Party { anchor: later, state: d.state.clone(), memory: None }];
    let report = d.trusted();
    assert!(report.anchors.iter().all(|a| a.verdict() == Verdict::Trusted), "{report:#?}");
}
