//! Too few signatures, signatures counted twice, keys counted twice.

use serde_json::{Value, json};

use super::*;
use crate::tuf::sim::{Edit, resigned, with_signatures};

/// The roles below the root, each with the code of its missing signatures.
fn roles() -> [(RoleName, Code); 5] {
    [
        (RoleName::timestamp(), Code::TufTimestampThreshold),
        (RoleName::snapshot(), Code::TufSnapshotThreshold),
        (RoleName::targets(), Code::TufTargetsThreshold),
        (RoleName::releases(), Code::TufDelegationThreshold),
        (RoleName::revocations(), Code::TufDelegationThreshold),
    ]
}

/// What comes of an edit of one role's file before it is pinned.
fn edited(role: &RoleName, edit: fn() -> Edit) -> [String; 2] {
    both(|d| {
        d.sim.at_version(6, NOW);
        d.sim.edits.insert(role.clone(), edit());
        d.serve();
    })
}

#[test]
fn by_a_stranger() {
    for (role, code) in roles() {
        let outcomes = edited(&role, || Box::new(|f| resigned(&f, |_| (), &[&stranger()])));
        assert_eq!(outcomes, [&format!("no: {code}"), "trusted by memory"], "{role}");
    }
}

#[test]
fn none_or_empty_or_of_other_bytes() {
    let edits: [fn() -> Edit; 3] = [
        || Box::new(|f| with_signatures(&f, Vec::clear)),
        || Box::new(|f| with_signatures(&f, |s| s[0]["sig"] = json!(""))),
        || Box::new(|f| with_signatures(&f, |s| s[0]["sig"] = json!("00".repeat(64)))),
    ];
    for (role, code) in roles() {
        for edit in edits {
            assert_eq!(edited(&role, edit), [&format!("no: {code}"), "trusted by memory"], "{role}");
        }
    }
}

#[test]
fn of_another_role() {
    // The online key is real, and may not sign targets; the releases key may not sign the timestamp.
    let by_online: fn() -> Edit = || Box::new(|f| resigned(&f, |_| (), &[&Sim::new().online_key]));
    assert_eq!(edited(&RoleName::targets(), by_online)[0], "no: tuf.targets.threshold");
    assert_eq!(edited(&RoleName::releases(), by_online)[0], "no: tuf.delegation.threshold");
    let by_releases: fn() -> Edit = || Box::new(|f| resigned(&f, |_| (), &[&Sim::new().releases_key]));
    assert_eq!(edited(&RoleName::timestamp(), by_releases)[0], "no: tuf.timestamp.threshold");
    // A delegate's file at the place of its delegator, and the other way round: signed, but for another place.
    let [first, _] = both(|d| {
        d.sim.edits.insert(RoleName::targets(), by_releases());
        d.serve();
    });
    assert_eq!(first, "no: tuf.targets.threshold");
}

#[test]
fn twice_under_one_id() {
    for (role, _) in roles() {
        let twice = || -> Edit { Box::new(|f| with_signatures(&f, |s| s.push(s[0].clone()))) };
        assert_eq!(edited(&role, twice), ["no: tuf.signature.duplicate", "trusted by memory"], "{role}");
    }
}

#[test]
fn more_of_them_than_are_looked_at() {
    let many = || -> Edit {
        Box::new(|f| {
            with_signatures(&f, |s| {
                s.extend((0..256).map(|i| json!({"keyid": format!("junk{i}"), "sig": "00"})));
            })
        })
    };
    assert_eq!(edited(&RoleName::timestamp(), many), ["no: tuf.format", "trusted by memory"]);
    assert_eq!(edited(&RoleName::releases(), many), ["no: tuf.format", "trusted by memory"]);
}

#[test]
fn junk_beside_the_real_one_is_ignored() {
    for (role, _) in roles() {
        let junk = || -> Edit {
            Box::new(|f| with_signatures(&f, |s| s.push(json!({"keyid": "nobody", "sig": "not even hex"}))))
        };
        assert_eq!(edited(&role, junk), ["trusted by state"; 2], "{role}");
    }
}

/// A root whose role `role` names one key under two ids and wants two signatures.
fn two_names(sim: &mut Sim, role: &str, key: &SimKey) {
    let id = key.public().key_id().to_string();
    let (role, key) = (role.to_owned(), key.public().to_tuf());
    let both = |root: &mut Value| {
        root["keys"]["alias"] = key;
        root["roles"][&role] = json!({"keyids": [id, "alias"], "threshold": 2});
    };
    let signers: Vec<_> = sim.root_keys.iter().collect();
    sim.roots[0] = resigned(&sim.roots[0], both, &signers);
}

/// Signed once more under the other id.
fn alias(file: &bytes::Bytes) -> bytes::Bytes {
    with_signatures(file, |s| {
        let mut again = s[0].clone();
        again["keyid"] = json!("alias");
        s.push(again);
    })
}

#[test]
fn one_key_under_two_ids_counts_once() {
    for (role, code) in [
        (RoleName::timestamp(), Code::TufTimestampThreshold),
        (RoleName::snapshot(), Code::TufSnapshotThreshold),
    ] {
        let mut d = Deployer::new();
        let key = d.sim.online_key.again();
        two_names(&mut d.sim, role.as_str(), &key);
        d.sim.edits.insert(role.clone(), Box::new(|f| alias(&f)));
        d.serve();
        let report = d.verify();
        assert_eq!(outcome(&report), format!("no: {code}"));
        assert!(has(&report, Code::TufKeyDuplicate, &Outcome::Note), "{report:#?}");
    }
    let mut d = Deployer::new();
    let key = d.sim.targets_key.again();
    two_names(&mut d.sim, "targets", &key);
    d.sim.edits.insert(RoleName::targets(), Box::new(|f| alias(&f)));
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.targets.threshold");
}

#[test]
fn one_key_under_two_ids_in_the_root_itself() {
    let mut d = Deployer::new();
    let key = d.sim.root_keys[0].again();
    let id = key.public().key_id().to_string();
    let root = resigned(
        &d.sim.roots[0],
        |root| {
            root["keys"]["alias"] = key.public().to_tuf();
            root["roles"]["root"] = json!({"keyids": [id, "alias"], "threshold": 2});
        },
        &[&key],
    );
    d.sim.roots[0] = alias(&root);
    d.serve();
    assert_eq!(d.outcome(), "no: anchor.root");
}

#[test]
fn one_key_under_two_ids_in_a_delegation() {
    let mut d = Deployer::new();
    let key = d.sim.releases_key.again();
    let keys = [d.sim.targets_key.again()];
    d.sim.edits.insert(
        RoleName::targets(),
        Box::new(move |f| {
            let id = key.public().key_id().to_string();
            let add = |targets: &mut Value| {
                targets["delegations"]["keys"]["alias"] = key.public().to_tuf();
                targets["delegations"]["roles"][1]["keyids"] = json!([id, "alias"]);
                targets["delegations"]["roles"][1]["threshold"] = json!(2);
            };
            resigned(&f, add, &[&keys[0]])
        }),
    );
    d.sim.edits.insert(RoleName::releases(), Box::new(|f| alias(&f)));
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.delegation.threshold");
}

#[test]
fn thresholds_below_one_are_no_thresholds() {
    let mut d = Deployer::new();
    let keys = d.sim.targets_key.again();
    d.sim.edits.insert(
        RoleName::targets(),
        Box::new(move |f| resigned(&f, |t| t["delegations"]["roles"][1]["threshold"] = json!(0), &[&keys])),
    );
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.format");
}
