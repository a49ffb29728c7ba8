//! Revocation: a list that is withheld, dropped or not understood is never a pass, and one that names the bundle beats all.

use serde_json::json;

use super::*;
use crate::tuf::sim::resigned;

/// A list with these entries.
fn listing(entries: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(&json!({"schemaVersion": 1, "entries": entries})).unwrap()
}

pub(super) fn revoking(digest: &Digest) -> Vec<u8> {
    listing(&json!([{
        "id": "a1", "kind": "bundle", "subject": digest.to_string(), "at": NOW.to_string(),
        "by": "security", "reason": "CVE"
    }]))
}

#[test]
fn role_dropped_by_the_online_key() {
    let outcomes = both(|d| {
        d.sim.at_version(6, NOW);
        d.sim.unlisted.insert(RoleName::revocations());
        d.serve();
    });
    assert_eq!(outcomes, ["no: revocation.missing", "no: revocation.dropped"]);
}

#[test]
fn role_dropped_by_the_targets_key() {
    let outcomes = both(|d| {
        d.sim.at_version(6, NOW);
        d.sim.delegated = Some(d.sim.delegations().split_off(1));
        d.serve();
    });
    // A collection may never have had the role; one that had it does not lose it silently.
    assert_eq!(outcomes, ["trusted by state", "no: revocation.dropped"]);
}

#[test]
fn another_role_dropped_by_the_online_key() {
    let outcomes = both(|d| {
        d.sim.at_version(6, NOW);
        d.sim.unlisted.insert(RoleName::releases());
        d.serve();
    });
    assert_eq!(outcomes, ["no: bundle.tag.unlisted", "no: tuf.snapshot.rollback"]);
}

#[test]
fn list_withheld_or_exchanged() {
    let path = Sim::name().revocations_path();
    let [first, _] = both(|d| d.serve_with(Files::drop_targets));
    assert_eq!(first, "no: revocation.missing");
    let [first, remembers] = both(|d| {
        let digest = d.bundle.digest.clone();
        d.sim.list = revoking(&digest);
        d.sim.at_version(6, NOW);
        // The list of before the revocation.
        d.serve_with(|files| files.put_target(path.clone(), listing(&json!([])).into()));
    });
    assert_eq!([first.as_str(), remembers.as_str()], ["no: revocation.missing"; 2]);
}

#[test]
fn list_expired() {
    let [first, _] = both(|d| {
        d.sim.revocations = heading(5, NOW.plus(-DAY), DAY);
        d.serve();
    });
    assert_eq!(first, "no: revocation.expired");
}

#[test]
fn list_not_understood() {
    let subject = Digest::sha256(b"bundle").to_string();
    let entry = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut entry = json!({"id": "a", "kind": "bundle", "subject": subject, "at": NOW.to_string()});
        change(&mut entry);
        listing(&json!([entry]))
    };
    let bad = [
        b"junk".to_vec(),
        br#"{"schemaVersion":2,"entries":[]}"#.to_vec(),
        entry(&|e| e["kind"] = json!("curse")),
        entry(&|e| e["subject"] = json!(null)),
        entry(&|e| e["subject"] = json!(subject.to_uppercase())),
        entry(&|e| e["subject"] = json!(format!("ex.com/org/app@{subject}"))),
        entry(&|e| (e["kind"], e["subject"]) = (json!("tombstone"), json!(null))),
        entry(&|e| e["kind"] = json!("unrevoke")),
        entry(&|e| (e["kind"], e["subject"]) = (json!("key"), json!("alice"))),
        entry(&|e| e["since"] = json!("yesterday")),
        entry(&|e| e["subject"] = json!(format!("sha512:{}", "0".repeat(128)))),
    ];
    for list in bad {
        let outcomes = both(|d| {
            d.sim.list = list.clone();
            d.sim.at_version(6, NOW);
            d.serve();
        });
        assert_eq!(outcomes, ["undecided: revocation.unreadable"; 2], "{}", String::from_utf8_lossy(&list));
    }
}

#[test]
fn bundle_revoked() {
    let revoked = |d: &mut Deployer| {
        let digest = d.bundle.digest.clone();
        d.sim.list = revoking(&digest);
        d.sim.at_version(6, NOW);
        d.serve();
    };
    assert_eq!(both(revoked), ["no: revocation.bundle"; 2]);
    let by_digest = |d: &mut Deployer| {
        revoked(d);
        d.digest = Some(d.bundle.digest.clone());
        d.tag = None;
    };
    assert_eq!(both(by_digest), ["no: revocation.bundle"; 2]);
    // An expired list still takes back.
    let expired = |d: &mut Deployer| {
        revoked(d);
        d.now = NOW.plus(400 * DAY);
    };
    assert_eq!(both(expired), ["no: revocation.bundle"; 2]);
}

/// The list names a key of the collection's own: what rests on it counts no longer, until the role has another.
#[test]
fn a_key_of_a_role_that_is_taken_back_refuses_until_it_is_rotated_out() {
    let taking = |key: &crate::sig::PublicKey, in_tuf: bool| {
        let subject = match in_tuf {
            true => format!("sha256:{}", key.key_id()),
            false => Digest::sha256(&key.to_spki()).to_string(),
        };
        listing(
            &json!([{"id": "a1", "kind": "key", "subject": subject, "at": NOW.to_string(), "by": "security", "reason": "stolen"}]),
        )
    };
    let keys: [fn(&Sim) -> crate::sig::PublicKey; 4] = [
        |s| s.releases_key.public(),
        |s| s.targets_key.public(),
        |s| s.online_key.public(),
        |s| s.root_keys[0].public(),
    ];
    for key in keys {
        for in_tuf in [true, false] {
            let outcomes = both(|d| {
                d.sim.list = taking(&key(&d.sim), in_tuf);
                d.sim.at_version(6, NOW);
                d.serve();
            });
            assert_eq!(outcomes, ["no: revocation.key"; 2], "in TUF: {in_tuf}");
        }
    }
    // A stranger's key is nobody's here.
    let outcomes = both(|d| {
        d.sim.list = taking(&stranger().public(), true);
        d.sim.at_version(6, NOW);
        d.serve();
    });
    assert_eq!(outcomes, ["trusted by state"; 2]);
    // Rotated out, the role counts again: the entry stays.
    let outcomes = both(|d| {
        d.sim.list = taking(&d.sim.releases_key.public(), true);
        d.sim.releases_key = SimKey::new(44);
        d.sim.at_version(6, NOW);
        d.serve();
    });
    assert_eq!(outcomes, ["trusted by state"; 2]);
    // Signatures enough without it: one of three root keys, two of which suffice.
    let outcomes = both(|d| {
        d.sim.list = taking(&d.sim.root_keys[0].public(), true);
        d.sim.root_keys.push(SimKey::new(45));
        let root = d.sim.next_root();
        d.sim.roots.push(root);
        d.sim.at_version(6, NOW);
        d.serve();
    });
    assert_eq!(outcomes, ["trusted by state"; 2]);
}

/// Make the bundle a part of an index.
fn part_of(d: &mut Deployer, index: &Digest) {
    let path = Sim::name().release_path(&d.bundle.digest);
    d.sim.entries.get_mut(&path).unwrap()["custom"]["bulla"]["partOf"] = json!([index.to_string()]);
    d.sim.at_version(6, NOW);
    d.serve();
}

#[test]
fn part_of_a_revoked_index() {
    let index = Digest::sha256(b"index");
    for by_tag in [true, false] {
        let attack = |d: &mut Deployer, revoked: bool| {
            if revoked {
                d.sim.list = revoking(&index);
            }
            part_of(d, &index);
            if !by_tag {
                (d.tag, d.digest) = (None, Some(d.bundle.digest.clone()));
            }
        };
        assert_eq!(both(|d| attack(d, false)), ["trusted by state"; 2], "by tag: {by_tag}");
        assert_eq!(both(|d| attack(d, true)), ["no: revocation.bundle"; 2], "by tag: {by_tag}");
    }
}

#[test]
fn a_revoked_part_takes_back_what_lists_it() {
    let part = Descriptor::of(media_type::OCI_MANIFEST, b"part");
    for by_tag in [true, false] {
        let attack = |d: &mut Deployer| {
            d.sim.list = revoking(&part.digest);
            d.sim.at_version(6, NOW);
            if !by_tag {
                (d.tag, d.digest) = (None, Some(d.bundle.digest.clone()));
            }
        };
        // The index itself lists it, whether or not the part's own entry is still there.
        let direct = |d: &mut Deployer| {
            attack(d);
            d.parts = vec![Digest::sha256(b"another part"), part.digest.clone()];
            d.serve();
        };
        assert_eq!(both(direct), ["no: revocation.bundle"; 2], "by tag: {by_tag}");
        // Deeper down, the collection says so.
        let nested = |d: &mut Deployer| {
            attack(d);
            list(&mut d.sim, &part, "part");
            let path = Sim::name().release_path(&part.digest);
            let whole = d.bundle.digest.to_string();
            d.sim.entries.get_mut(&path).unwrap()["custom"]["bulla"]["partOf"] = json!([whole]);
            d.serve();
        };
        assert_eq!(both(nested), ["no: revocation.bundle"; 2], "by tag: {by_tag}");
        let unrelated = |d: &mut Deployer| {
            attack(d);
            d.parts = vec![Digest::sha256(b"another part")];
            d.serve();
        };
        assert_eq!(both(unrelated), ["trusted by state"; 2], "by tag: {by_tag}");
    }
}

#[test]
fn a_remembered_revocation_is_not_hidden_by_withholding_the_state() {
    let lost: [(StateAnswer, bool, &str); 4] = [
        (StateAnswer::Absent, false, "no: revocation.bundle"),
        (StateAnswer::Absent, true, "no: revocation.bundle"),
        (StateAnswer::Unreadable("403".into()), false, "no: revocation.bundle"),
        (StateAnswer::Found(Deployer::new().sim.files()), false, "no: revocation.bundle"),
    ];
    for (state, seals_refused, code) in lost {
        let mut d = Deployer::at_five();
        let digest = d.bundle.digest.clone();
        d.sim.list = revoking(&digest);
        d.serve();
        d.verify();
        d.state = state;
        d.seals_refused = seals_refused;
        for days in [0, 400] {
            d.now = NOW.plus(days * DAY);
            assert_eq!(d.outcome(), code, "{days} days, {:?}", d.seals_refused);
        }
    }
}

#[test]
fn role_under_a_strangers_key() {
    let outcomes = both(|d| {
        d.sim.at_version(6, NOW);
        d.sim.edits.insert(RoleName::revocations(), Box::new(|f| resigned(&f, |_| (), &[&stranger()])));
        d.serve();
    });
    assert_eq!(outcomes, ["no: tuf.delegation.threshold", "trusted by memory"]);
}
