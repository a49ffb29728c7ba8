//! The comparison, and a test for each difference that it meets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clients::{Ours, Outcome, Theirs};
use crate::mutate::mutate;
use crate::vectors;
use crate::world::{Changes, FEATURES, NOW, Rng, World, id, public, time};

/// Where bulla is stricter: the test that shows it, and what bulla says then.
const STRICTER: [(&str, &[&str]); 11] = [
    ("duplicate_signatures_of_strangers", &["two signatures under the key id"]),
    ("names_twice_and_numbers_that_are_no_integers", &["not strict JSON"]),
    ("versions_that_are_no_versions", &["a version is between"]),
    ("the_second_of_expiry", &["expired at"]),
    ("dates_of_another_form", &["is not a time of the form"]),
    (
        "what_timestamp_and_snapshot_list",
        &["must list exactly snapshot.json", "is no metadata file", "a malformed role name"],
    ),
    (
        "hashes_that_cannot_be_checked",
        &["no hash of a known algorithm", "lower-case hex digits", "lists none", "has no hash"],
    ),
    (
        "malformed_delegations",
        &[
            "delegation to the top-level role",
            "two delegations to",
            "needs exactly one of",
            "malformed path pattern",
            "missing field `terminating`",
            "\"keys\" is missing",
            "\"roles\" is missing",
            "malformed hash prefix",
            "not a role name",
            "a threshold of 0",
            "\"keys\": invalid type: null",
        ],
    ),
    ("one_key_under_two_ids", &["signatures by distinct authorised keys"]),
    ("roots_that_lack_a_role", &["no role \""]),
    ("how_many_roles_are_asked", &["more than 32 delegated roles on the way"]),
];
/// Where sigstore-tuf is stricter, and what it says then.
const LAXER: [(&str, &[&str]); 3] = [
    ("malformed_parts_that_nobody_uses", &["failed to parse JSON"]),
    ("floors_when_a_key_joins", &["rollback detected for timestamp", ".snapshot.json not found"]),
    ("kept_roles_are_not_asked_for_again", &[".json not found"]),
];

/// The tests that explain the differences between two verdicts; an error when nothing explains one. `kept` is what bulla asked for
/// before, `rotated` says that the keys of timestamp or snapshot changed since.
fn explain(
    ours: &Outcome,
    theirs: &Outcome,
    served: &str,
    kept: &[String],
    rotated: bool,
) -> Result<Vec<&'static str>, String> {
    let mut out = Vec::new();
    let mut pairs: Vec<(Option<String>, Option<String>)> =
        vec![(ours.refresh.clone().err(), theirs.refresh.clone().err())];
    if ours.refresh.is_ok() && theirs.refresh.is_ok() {
        if ours.refresh != theirs.refresh && rotated {
            return Ok(vec!["floors_when_a_key_joins"]);
        }
        if ours.refresh != theirs.refresh {
            return Err(format!("{:?} and {:?}", ours.refresh, theirs.refresh));
        }
        for (a, b) in ours.found.iter().zip(&theirs.found) {
            if let (Ok(a), Ok(b)) = (a, b)
                && a != b
            {
                if b.is_none() && at_the_limit(theirs) {
                    out.push("how_many_roles_are_asked");
                    continue;
                }
                return Err(format!("found {a:?} and {b:?}"));
            }
            pairs.push((a.clone().err(), b.clone().err()));
        }
    }
    for pair in pairs {
        let (list, said): (&[(&'static str, &[&str])], _) = match &pair {
            (Some(ours), None) => (&STRICTER, ours),
            (None, Some(theirs)) => (&LAXER, theirs),
            _ => continue,
        };
        let test =
            list.iter().find(|(_, words)| words.iter().any(|w| said.contains(w))).map(|(test, _)| *test);
        let proven = match test {
            // Only with the second itself, and only with a key that stands there twice.
            Some("the_second_of_expiry") => said.matches(&time(NOW)).count() == 2,
            Some("one_key_under_two_ids") => served.contains("\"alias\""),
            Some("how_many_roles_are_asked") => at_the_limit(theirs),
            Some("floors_when_a_key_joins") => rotated,
            // Only for a file that bulla got before and did not ask for now.
            Some("kept_roles_are_not_asked_for_again") => {
                let again = |file: &&String| !ours.asked.contains(file) && theirs.asked.contains(file);
                kept.iter().filter(again).any(|file| said.contains(&format!("{file} not found")))
            }
            Some(_) => true,
            None => false,
        };
        match test.filter(|_| proven) {
            Some(test) => out.push(test),
            None => return Err(format!("{pair:?}")),
        }
    }
    Ok(out)
}

/// sigstore-tuf went through as many roles as it ever does: targets and 31 more.
fn at_the_limit(theirs: &Outcome) -> bool {
    let top = |file: &str| ["root", "timestamp", "snapshot", "targets"].iter().any(|r| file.contains(r));
    theirs.asked.iter().filter(|file| !top(file)).collect::<BTreeSet<_>>().len() == 31
}

#[test]
fn no_unexplained_difference_over_random_states() {
    let states: u64 = std::env::var("STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let (mut refused, mut accepted, mut unexplained) = (0u64, 0u64, Vec::new());
    let mut explained: BTreeMap<&str, u64> = BTreeMap::new();
    let mut features: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..states {
        let mut rng = Rng::new(seed);
        let mut world = World::random(&mut rng);
        for _ in 0..rng.below(3) {
            world.rotate(&mut rng);
        }
        let first = world.serve(&Changes::default());
        let root = first["1.root.json"].clone();
        let (mut ours, mut theirs) = (Ours::new(&root), Theirs::new(&root));
        let remembers = rng.percent(60);
        let (mut kept, mut rotated) = (Vec::new(), false);
        if remembers {
            let (a, b) = (ours.run(&first, NOW - 100), theirs.run(&first, NOW - 100));
            if let Err(e) = explain(&a, &b, "", &[], false) {
                unexplained.push(format!("{seed}, unchanged: {e}"));
            }
            kept = a.asked;
            let before = online_keys(&world);
            world = world.later(&mut rng);
            rotated = before != online_keys(&world);
        }
        for feature in world.features() {
            *features.entry(feature).or_default() += 1;
        }
        let mut changes = Changes::default();
        let what: Vec<String> = (0..rng.below(4)).map(|_| mutate(&world, &mut changes, &mut rng)).collect();
        let served = world.serve(&changes);
        let (a, b) = (ours.run(&served, NOW), theirs.run(&served, NOW));
        if b.refresh.is_err() || b.found.iter().any(Result::is_err) {
            refused += 1;
        } else {
            accepted += 1;
        }
        let text: String = served.values().map(|b| String::from_utf8_lossy(b)).collect();
        match explain(&a, &b, &text, &kept, rotated) {
            Ok(tests) => tests.into_iter().for_each(|t| *explained.entry(t).or_default() += 1),
            Err(e) => unexplained.push(format!("{seed} remembers={remembers} {what:?}: {e}")),
        }
    }
    println!(
        "{states} states, {refused} refused and {accepted} accepted by sigstore-tuf; explained: {explained:?}; with {features:?}"
    );
    for u in &unexplained {
        println!("  {u}");
    }
    assert!(refused >= states / 3 && accepted >= states / 4, "{refused} refused, {accepted} accepted");
    assert!(unexplained.is_empty(), "{} differences are not explained", unexplained.len());
    for feature in FEATURES {
        assert!(features.get(feature).is_some_and(|n| *n >= states / 20), "{feature}: {features:?}");
    }
}

/// The vectors of the rules, too: what bulla's plain client says of each is what sigstore-tuf says, or explained.
#[test]
fn no_unexplained_difference_over_the_vectors() {
    let (mut explained, mut unexplained, mut refused) = (BTreeMap::<&str, u64>::new(), Vec::new(), 0);
    let vectors = vectors::all();
    let paths = vectors::paths();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    for vector in &vectors {
        let (mut ours, mut theirs) = (Ours::new(&vector.root), Theirs::new(&vector.root));
        let mut kept = Vec::new();
        if let Some((served, at)) = &vector.before {
            let before = (ours.look_for(&paths, served, *at), theirs.look_for(&paths, served, *at));
            assert!(before.0.refresh.is_ok() && before.1.refresh.is_ok(), "{}", vector.name);
            kept = before.0.asked;
        }
        let a = ours.look_for(&paths, &vector.served, vector.now);
        let b = theirs.look_for(&paths, &vector.served, vector.now);
        refused += u64::from(b.refresh.is_err() || b.found.iter().any(Result::is_err));
        let text: String = vector.served.values().map(|b| String::from_utf8_lossy(b)).collect();
        match explain(&a, &b, &text, &kept, vector.rule == "R9") {
            Ok(tests) => tests.into_iter().for_each(|t| *explained.entry(t).or_default() += 1),
            Err(e) => unexplained.push(format!("{} {}: {e}", vector.rule, vector.name)),
        }
    }
    println!("{} vectors, {refused} refused by sigstore-tuf; explained: {explained:?}", vectors.len());
    for u in &unexplained {
        println!("  {u}");
    }
    assert!(unexplained.is_empty(), "{} differences are not explained", unexplained.len());
}

/// Both clients on a plain repository with one change; `Ok` says that the target was found.
fn verdicts(
    stage: &str,
    file: &str,
    change: impl Fn(&mut Value) + 'static,
) -> (Result<bool, String>, Result<bool, String>) {
    let world = World::plain();
    let mut changes = Changes::default();
    let list = if stage == "signed" { &mut changes.signed } else { &mut changes.envelope };
    list.entry(file.to_owned()).or_default().push(Box::new(change));
    both(&world, &changes)
}

fn both(world: &World, changes: &Changes) -> (Result<bool, String>, Result<bool, String>) {
    let good = world.serve(&Changes::default());
    let served = world.serve(changes);
    let verdict = |o: Outcome| o.refresh.and_then(|_| o.found[0].clone()).map(|t| t.is_some());
    let root = &good["1.root.json"];
    (verdict(Ours::new(root).run(&served, NOW)), verdict(Theirs::new(root).run(&served, NOW)))
}

/// Only bulla refuses, with these words.
fn stricter((ours, theirs): (Result<bool, String>, Result<bool, String>), words: &str) {
    assert!(ours.as_ref().is_err_and(|e| e.contains(words)), "{ours:?}, not {words}");
    assert!(theirs.is_ok(), "{theirs:?}");
}

/// Who signs timestamp and snapshot under the last root.
fn online_keys(world: &World) -> [Value; 2] {
    let roles = &world.roots.last().unwrap().signed["roles"];
    ["timestamp", "snapshot"].map(|role| roles[role]["keyids"].clone())
}

/// A key joins the timestamp role: bulla lets the floors fall (specification 5.3.11), sigstore-tuf keeps what still verifies.
#[test]
fn floors_when_a_key_joins() {
    let before = World::plain();
    let first = before.serve(&Changes::default());
    let (mut ours, mut theirs) = (Ours::new(&first["1.root.json"]), Theirs::new(&first["1.root.json"]));
    for outcome in [ours.run(&first, NOW - 100), theirs.run(&first, NOW - 100)] {
        assert_eq!(outcome.refresh, Ok([1, 2, 2]));
    }
    let mut world = before.clone();
    let mut root = before.roots[0].clone();
    root.signed["version"] = json!(2);
    root.signed["keys"][id(7)] = public(7).to_tuf();
    root.signed["roles"]["timestamp"]["keyids"] = json!([id(1), id(7)]);
    world.roots.push(root);
    world.snapshot.signed["version"] = json!(3);
    let served = world.serve(&Changes::default());
    assert_eq!(ours.run(&served, NOW).refresh, Ok([2, 2, 3]));
    assert_eq!(theirs.run(&served, NOW).refresh, Ok([2, 2, 2]));
}

/// The snapshot's key is another: the floor of the timestamp falls, too, and sigstore-tuf keeps it, and what it pins.
#[test]
fn floors_when_the_key_of_the_snapshot_is_replaced() {
    let mut before = World::plain();
    before.timestamp.signed["version"] = json!(9);
    let first = before.serve(&Changes::default());
    for (version, words) in [(8, "rollback detected for timestamp"), (9, "2.snapshot.json not found")] {
        let (mut ours, mut theirs) = (Ours::new(&first["1.root.json"]), Theirs::new(&first["1.root.json"]));
        for outcome in [ours.run(&first, NOW - 100), theirs.run(&first, NOW - 100)] {
            assert_eq!(outcome.refresh, Ok([1, 9, 2]));
        }
        let mut world = before.clone();
        let mut root = before.roots[0].clone();
        root.signed["version"] = json!(2);
        root.signed["keys"][id(7)] = public(7).to_tuf();
        root.signed["roles"]["snapshot"]["keyids"] = json!([id(7)]);
        world.roots.push(root);
        world.timestamp.signed["version"] = json!(version);
        world.snapshot.signed["version"] = json!(3);
        world.snapshot.by = vec![7];
        let served = world.serve(&Changes::default());
        assert_eq!(ours.run(&served, NOW).refresh, Ok([2, version, 3]));
        let theirs = theirs.run(&served, NOW).refresh;
        assert!(theirs.as_ref().is_err_and(|e| e.contains(words)), "{theirs:?}");
    }
}

/// An equal version of the timestamp: both keep what they have. sigstore-tuf asks all the same for delegated roles, and here they
/// are gone.
#[test]
fn kept_roles_are_not_asked_for_again() {
    let before = World::plain();
    let first = before.serve(&Changes::default());
    let (mut ours, mut theirs) = (Ours::new(&first["1.root.json"]), Theirs::new(&first["1.root.json"]));
    for outcome in [ours.run(&first, NOW - 100), theirs.run(&first, NOW - 100)] {
        assert!(outcome.found[0].as_ref().is_ok_and(Option::is_some), "{outcome:?}");
    }
    let mut served = first.clone();
    served.remove("2.A.json").unwrap();
    let (ours, theirs) = (ours.run(&served, NOW), theirs.run(&served, NOW));
    assert!(ours.found[0].as_ref().is_ok_and(Option::is_some), "{ours:?}");
    assert!(!ours.asked.contains(&"2.A.json".to_owned()), "{ours:?}");
    assert!(theirs.found[0].as_ref().is_err_and(|e| e.contains("2.A.json not found")), "{theirs:?}");
}

/// Both stop at 32 roles. sigstore-tuf counts targets among them and says then that there is no such target; bulla counts the
/// delegated ones and says that it could not go on.
#[test]
fn how_many_roles_are_asked() {
    for (roles, ours_finds, theirs_finds) in
        [(31, Ok(true), true), (32, Ok(true), false), (33, Err("more than 32 delegated roles"), false)]
    {
        let mut world = World::plain();
        let a = world.roles["A"].clone();
        let name = |i: usize| if i == roles { "A".to_owned() } else { format!("R{i}") };
        let entry = world.roles["targets"].signed["delegations"].clone();
        world.roles.get_mut("targets").unwrap().signed["delegations"]["roles"][0]["name"] = json!(name(1));
        for i in 1..roles {
            let mut role = a.clone();
            role.signed["targets"] = json!({});
            role.signed["delegations"] = entry.clone();
            role.signed["delegations"]["roles"][0]["name"] = json!(name(i + 1));
            world.roles.insert(name(i), role);
        }
        let (ours, theirs) = both(&world, &Changes::default());
        match ours_finds {
            Ok(found) => assert_eq!(ours, Ok(found), "{roles}"),
            Err(words) => assert!(ours.as_ref().is_err_and(|e| e.contains(words)), "{roles}: {ours:?}"),
        }
        assert_eq!(theirs, Ok(theirs_finds), "{roles}");
    }
}

#[test]
fn they_agree_on_a_plain_repository() {
    assert_eq!(both(&World::plain(), &Changes::default()), (Ok(true), Ok(true)));
}

#[test]
fn duplicate_signatures_of_strangers() {
    for file in ["timestamp", "targets", "A"] {
        let twice = |f: &mut Value| {
            let stranger = json!({"keyid": "stranger", "sig": "00"});
            f["signatures"].as_array_mut().unwrap().extend([stranger.clone(), stranger]);
        };
        stricter(verdicts("envelope", file, twice), "two signatures under the key id");
    }
}

#[test]
fn names_twice_and_numbers_that_are_no_integers() {
    let mut changes = Changes::default();
    let twice = |bytes: Vec<u8>| Some([b"{\"signed\":{},", &bytes[1..]].concat());
    let mut world = World::plain();
    world.pinned = false;
    changes.bytes.entry("targets".into()).or_default().push(Box::new(twice));
    stricter(both(&world, &changes), "not strict JSON");
}

#[test]
fn versions_that_are_no_versions() {
    // 0, and what a reader of doubles would round.
    stricter(verdicts("signed", "timestamp", |t| t["version"] = json!(0)), "a version is between");
    stricter(verdicts("signed", "timestamp", |t| t["version"] = json!(1u64 << 53)), "a version is between");
}

#[test]
fn the_second_of_expiry() {
    stricter(verdicts("signed", "timestamp", |t| t["expires"] = json!(time(NOW))), "expired at");
    let (ours, theirs) = verdicts("signed", "timestamp", |t| t["expires"] = json!(time(NOW - 1)));
    assert!(ours.is_err() && theirs.is_err());
}

#[test]
fn dates_of_another_form() {
    for date in ["2100-01-01T00:00:00+00:00", "2100-01-01T00:00:00.5Z"] {
        stricter(
            verdicts("signed", "targets", move |t| t["expires"] = json!(date)),
            "is not a time of the form",
        );
    }
}

#[test]
fn what_timestamp_and_snapshot_list() {
    let pin = || json!({"version": 1});
    stricter(verdicts("signed", "timestamp", move |t| t["meta"]["x.json"] = pin()), "must list exactly");
    stricter(verdicts("signed", "snapshot", move |s| s["meta"]["x"] = pin()), "is no metadata file");
}

#[test]
fn hashes_that_cannot_be_checked() {
    // sigstore-tuf looks when the file is used, bulla when the list is read: here the file is never used.
    for hashes in [json!({}), json!({"md5": "00"}), json!({"sha256": "00"})] {
        let pin = move |s: &mut Value| s["meta"]["B.json"] = json!({"version": 1, "hashes": hashes});
        let (ours, theirs) = verdicts("signed", "snapshot", pin);
        assert!(ours.is_err() && theirs == Ok(true), "{ours:?} {theirs:?}");
    }
    // Capitals are not what the specification's hex digests are.
    let capitals = |s: &mut Value| {
        let hash = s["meta"]["A.json"]["hashes"]["sha256"].as_str().unwrap().to_uppercase();
        s["meta"]["A.json"]["hashes"]["sha256"] = json!(hash);
    };
    stricter(verdicts("signed", "snapshot", capitals), "lower-case hex digits");
}

#[test]
fn malformed_delegations() {
    let with = |change: fn(&mut Value)| {
        verdicts("signed", "targets", move |t| {
            let mut other = t["delegations"]["roles"][0].clone();
            other["name"] = json!("B");
            change(&mut other);
            t["delegations"]["roles"].as_array_mut().unwrap().push(other);
        })
    };
    stricter(with(|d| d["name"] = json!("root")), "delegation to the top-level role");
    stricter(with(|d| d["name"] = json!("A")), "two delegations to");
    stricter(with(|d| d["name"] = json!("")), "role name");
    stricter(with(|d| d["path_hash_prefixes"] = json!(["0"])), "needs exactly one of");
    stricter(with(|d| drop(d.as_object_mut().unwrap().remove("paths"))), "needs exactly one of");
    stricter(with(|d| drop(d.as_object_mut().unwrap().remove("terminating"))), "missing field `terminating`");
    stricter(with(|d| d["threshold"] = json!(0)), "a threshold of 0");
    stricter(with(|d| d["paths"] = json!(["[x]/*"])), "malformed path pattern");
}

#[test]
fn one_key_under_two_ids() {
    let mut world = World::plain();
    let top = &mut world.roles.get_mut("targets").unwrap().signed["delegations"];
    top["keys"]["alias"] = public(4).to_tuf();
    top["roles"][0]["keyids"] = json!([id(4), "alias"]);
    top["roles"][0]["threshold"] = json!(2);
    let mut changes = Changes::default();
    let alias = |f: &mut Value| {
        let mut again = f["signatures"][0].clone();
        again["keyid"] = json!("alias");
        f["signatures"].as_array_mut().unwrap().push(again);
    };
    changes.envelope.entry("A".into()).or_default().push(Box::new(alias));
    stricter(both(&world, &changes), "signatures by distinct authorised keys");
}

#[test]
fn roots_that_lack_a_role() {
    // A root on the way that names no keys for a role: sigstore-tuf misses it only when it is needed.
    let mut world = World::plain();
    let mut rng = Rng::new(3);
    world.rotate(&mut rng);
    world.rotate(&mut rng);
    let mut changes = Changes::default();
    let lack = |r: &mut Value| drop(r["roles"].as_object_mut().unwrap().remove("snapshot"));
    changes.signed.entry("2.root.json".into()).or_default().push(Box::new(lack));
    stricter(both(&world, &changes), "no role \"snapshot\"");
}

#[test]
fn malformed_parts_that_nobody_uses() {
    // A key that no role names need not make sense to bulla; sigstore-tuf reads every key.
    let (ours, theirs) = verdicts("signed", "targets", |t| t["delegations"]["keys"]["unused"] = json!({}));
    assert!(ours == Ok(true) && theirs.is_err(), "{ours:?} {theirs:?}");
}
