//! The cases of scripts/publish-sim.py, on real files.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::oci::Digest;
use crate::tuf::sim::{COLLECTION, DAY, NOW, SimKey, heading, signed};
use crate::tuf::{Draft, Limits, RoleName, Unverified};

fn file_of(draft: &Draft) -> RoleFile {
    let bytes = signed(draft, &[&SimKey::new(4)]);
    let role = RoleName::releases();
    let parsed = Unverified::<Targets>::parse(&role, &bytes, &Limits::default()).unwrap();
    RoleFile::of(&parsed.verify(&role, &[]).unwrap()).unwrap()
}

fn first() -> RoleFile {
    file_of(&Draft::targets(&heading(1, NOW, DAY), Map::new(), &[]))
}

fn next_file(view: &View, changes: &[Change]) -> RoleFile {
    file_of(&next(view, None, changes, COLLECTION, NOW, NOW.plus(DAY)))
}

fn digest(n: &str) -> String {
    Digest::sha256(n.as_bytes()).to_string()
}

fn target(n: &str, bulla: Value) -> Value {
    json!({"length": 7, "hashes": {"sha256": digest(n)[7..]}, "custom": {"bulla": bulla}})
}

fn release(n: &str) -> Change {
    let value = target(n, json!({"claim": "release", "at": NOW, "by": "k", "mediaType": "m"}));
    Change::Set { path: format!("{COLLECTION}@{}", digest(n)), value }
}

fn part(n: &str, of: &[&str]) -> Change {
    let of: Vec<_> = of.iter().map(|o| digest(o)).collect();
    let value = target(n, json!({"at": NOW, "by": "k", "mediaType": "m", "partOf": of}));
    Change::Set { path: format!("{COLLECTION}@{}", digest(n)), value }
}

fn tag(t: &str, n: &str) -> Change {
    let value = target(n, json!({"claim": "tag", "at": NOW, "by": "k", "mediaType": "m"}));
    Change::Set { path: format!("{COLLECTION}:{t}"), value }
}

fn withdraw(n: &str, id: &str) -> Change {
    Change::Withdraw { path: format!("{COLLECTION}@{}", digest(n)), id: id.into() }
}

fn has(content: &Content, n: &str) -> bool {
    content.entry(&format!("{COLLECTION}@{}", digest(n))).is_some()
}

/// Fold with the key and sign the join where there is one to sign.
fn settled(live: &RoleFile, others: &[RoleFile]) -> RoleFile {
    let folded = fold(live, None, others, true);
    match folded.view.file() {
        Some(hash) => others.iter().chain([live]).find(|f| f.hash() == hash).unwrap().clone(),
        None => next_file(&folded.view, &[]),
    }
}

/// Settle round by round, as a signer does who lists again after its PUT, until nothing is pending.
fn in_rounds(live: &RoleFile, others: &[RoleFile]) -> Result<RoleFile, TestCaseError> {
    let mut live = live.clone();
    for _ in 0..3 {
        live = settled(&live, others);
        if others.iter().all(|f| verdict(&live, f) == Verdict::AlreadyIn) {
            return Ok(live);
        }
    }
    Err(TestCaseError::fail("still a fork after three rounds"))
}

fn verdict(base: &RoleFile, file: &RoleFile) -> Verdict {
    classify(&View::of(base), file).verdict
}

#[test]
fn a_child_is_a_fast_forward_and_its_parent_is_in() {
    let a = first();
    let b = next_file(&View::of(&a), &[release("1")]);
    assert_eq!((b.version().get(), verdict(&a, &b)), (2, Verdict::FastForward));
    assert_eq!(verdict(&b, &a), Verdict::AlreadyIn);
    let folded = fold(&a, None, std::slice::from_ref(&b), false);
    assert_eq!(folded.view.file(), Some(b.hash()));
    assert!(folded.view.knows(&b.hash()[..32]) && folded.view.knows(&a.hash()[..32]));
}

#[test]
fn a_fork_waits_for_the_key_and_two_merges_of_it_are_one() {
    let a = first();
    let (b, c) = (
        next_file(&View::of(&a), &[release("1"), tag("v1", "1")]),
        next_file(&View::of(&a), &[release("2")]),
    );
    let without = fold(&b, None, std::slice::from_ref(&c), false);
    assert_eq!(without.verdicts[c.hash()], Verdict::Fork);
    assert_eq!(without.view.file(), Some(b.hash()));
    let (m, n) = (settled(&b, std::slice::from_ref(&c)), settled(&c, std::slice::from_ref(&b)));
    for merged in [&m, &n] {
        assert!(has(merged.content(), "1") && has(merged.content(), "2") && merged.version().get() == 3);
        assert_eq!((verdict(merged, &b), verdict(merged, &c)), (Verdict::AlreadyIn, Verdict::AlreadyIn));
    }
    assert_eq!((verdict(&m, &n), verdict(&n, &m)), (Verdict::AlreadyIn, Verdict::AlreadyIn));
    assert_eq!(fold(&m, None, &[n, b, c], false).view.file(), Some(m.hash()));
}

#[test]
fn removal_beats_a_concurrent_addition_and_not_a_later_one() {
    let a = next_file(&View::of(&first()), &[release("1")]);
    let gone = next_file(&View::of(&a), &[withdraw("1", "w")]);
    assert!(!has(gone.content(), "1"));
    let beside = next_file(&View::of(&a), &[release("2")]);
    let m = settled(&gone, std::slice::from_ref(&beside));
    assert!(!has(m.content(), "1") && has(m.content(), "2"));
    assert_eq!(verdict(&m, &a), Verdict::AlreadyIn, "the old file does not bring it back");
    let again = next_file(&View::of(&m), &[release("1")]);
    assert!(has(again.content(), "1"));
    let m2 = settled(&again, &[gone.clone(), beside, a]);
    assert!(has(m2.content(), "1"), "an addition that knew the withdrawal stays");
    // Withdrawn again elsewhere at the same version number: another withdrawal, told apart by its id.
    let other = next_file(&View::of(&m), &[withdraw("2", "w2"), release("3")]);
    assert!(has(settled(&again, std::slice::from_ref(&other)).content(), "1"));
}

#[test]
fn two_values_of_a_tag_the_live_one_stays_unless_the_other_is_newer() {
    let a = next_file(&View::of(&first()), &[tag("v1", "0")]);
    let (b, c) = (next_file(&View::of(&a), &[tag("v1", "1")]), next_file(&View::of(&a), &[tag("v1", "2")]));
    let path = format!("{COLLECTION}:v1");
    let folded = fold(&b, None, std::slice::from_ref(&c), true);
    assert_eq!(folded.losers.len(), 1);
    assert_eq!(folded.view.content().entry(&path).unwrap().sha256(), Some(&digest("1")[7..]));
    // One side did not touch the tag: the moved value stays, whichever is live.
    let untouched = next_file(&View::of(&a), &[release("9")]);
    for (live, other) in [(&untouched, &c), (&c, &untouched)] {
        let m = settled(live, std::slice::from_ref(other));
        assert_eq!(m.content().entry(&path).unwrap().sha256(), Some(&digest("2")[7..]));
    }
}

#[test]
fn outside_the_window_nothing_is_merged() {
    let a = first();
    let old = next_file(&View::of(&a), &[release("old")]);
    let mut live = next_file(&View::of(&a), &[release("1")]);
    for _ in 0..WINDOW {
        live = next_file(&View::of(&live), &[]);
    }
    assert_eq!(verdict(&live, &old), Verdict::Stale);
    assert_eq!(verdict(&old, &live), Verdict::Ahead);
    assert!(View::of(&live).is_past(old.version()));
    let folded = fold(&live, None, std::slice::from_ref(&old), true);
    assert_eq!(folded.view.file(), Some(live.hash()));
    assert_eq!(View::of(&live).family.len() as u64, WINDOW);
}

#[test]
fn parts_go_with_their_indexes() {
    let a = next_file(
        &View::of(&first()),
        &[release("i"), release("j"), part("p", &["i"]), part("q", &["i"]), release("q")],
    );
    let b = next_file(&View::of(&a), &[part("p", &["j"])]);
    let p = b.content().entry(&format!("{COLLECTION}@{}", digest("p"))).unwrap();
    assert_eq!(p.value()["custom"]["bulla"]["partOf"].as_array().unwrap().len(), 2);
    let gone = next_file(&View::of(&b), &[withdraw("i", "w")]);
    assert!(has(gone.content(), "p") && has(gone.content(), "q"), "part of j; a release of its own");
    let gone = next_file(&View::of(&gone), &[withdraw("j", "x")]);
    assert!(!has(gone.content(), "p") && has(gone.content(), "q"));
    // A release that is also a part of one stays as a part when it is withdrawn.
    let a = next_file(&View::of(&first()), &[release("i"), part("q", &["i"]), release("q")]);
    let gone = next_file(&View::of(&a), &[withdraw("q", "y")]);
    let q = gone.content().entry(&format!("{COLLECTION}@{}", digest("q"))).unwrap();
    assert!(q.is_derived());
    assert!(settled(&gone, std::slice::from_ref(&a)).content().same(gone.content()));
}

#[test]
fn a_change_that_is_there_is_no_change_and_unknown_fields_survive() {
    let mut draft = Draft::targets(&heading(1, NOW, DAY), Map::new(), &[]).signed().clone();
    draft["x-other"] = json!({"a": 1});
    let a = file_of(&Draft::from_signed(draft));
    let b = next(&View::of(&a), None, &[release("1")], COLLECTION, NOW, NOW.plus(DAY));
    assert_eq!(b.signed()["x-other"]["a"], 1);
    let b = file_of(&b);
    assert!(!is_needed(&View::of(&b), &release("1")));
    assert!(is_needed(&View::of(&b), &tag("v1", "1")));
    assert!(!is_needed(&View::of(&b), &withdraw("2", "w")) && is_needed(&View::of(&b), &withdraw("1", "w")));
}

#[test]
fn delegations_are_joined_like_a_target() {
    let a = first();
    let delegate = |n: &str| Change::Delegate(json!({"keys": {}, "roles": [], "x": n}));
    let b = next_file(&View::of(&a), &[delegate("1")]);
    let (c, d) = (next_file(&View::of(&b), &[delegate("2")]), next_file(&View::of(&b), &[release("1")]));
    let m = settled(&d, std::slice::from_ref(&c));
    assert_eq!(m.content().entry(DELEGATIONS).unwrap().value()["x"], "2");
    assert_eq!(m.content().entry(DELEGATIONS).unwrap().set(), 3);
    // Who goes on from `d` did not know of it before.
    let learned = m.content().delegated().values().flat_map(BTreeMap::values).map(|v| v.get());
    assert_eq!(learned.max(), Some(4));
    let late = next_file(&View::of(&d), &[release("2")]);
    for (live, other) in [(&m, &late), (&late, &m)] {
        let m = settled(live, std::slice::from_ref(other));
        assert_eq!(m.content().entry(DELEGATIONS).unwrap().value()["x"], "2");
    }
    assert!(has(m.content(), "1"));
    assert_eq!((verdict(&m, &c), verdict(&m, &d)), (Verdict::AlreadyIn, Verdict::AlreadyIn));
}

/// `delegations` of roles by name, each with one key and one pattern of tags.
fn delegating(roles: &[(&str, &str, &str)]) -> Change {
    let key = |k: &str| SimKey::new(k.bytes().map(u64::from).sum::<u64>() as u8).public().to_tuf();
    let keys: Map<String, Value> = roles.iter().map(|(_, k, _)| ((*k).to_owned(), key(k))).collect();
    let role = |(name, key, tags): &(&str, &str, &str)| {
        json!({
            "name": format!("targets/releases/{name}"), "keyids": [key], "threshold": 1, "terminating": false,
            "paths": [format!("{COLLECTION}:{tags}")]
        })
    };
    Change::Delegate(json!({"keys": keys, "roles": roles.iter().map(role).collect::<Vec<_>>()}))
}

fn delegates(content: &Content) -> Vec<(String, String)> {
    let roles = content.entry(DELEGATIONS).unwrap().value()["roles"].as_array().unwrap().clone();
    let mut out: Vec<_> = roles
        .iter()
        .map(|r| (r["name"].as_str().unwrap()[17..].to_owned(), r["keyids"][0].as_str().unwrap().to_owned()))
        .collect();
    out.sort();
    out
}

fn named(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const OLD: (&str, &str, &str) = ("old", "k0", "old-*");
const ANNA: (&str, &str, &str) = ("anna", "k1", "anna-*");
const BOB: (&str, &str, &str) = ("bob", "k2", "bob-*");

#[test]
fn changes_of_different_delegations_are_joined_by_who_holds_the_key_and_by_nobody_else() {
    let a = next_file(&View::of(&first()), &[delegating(&[OLD])]);
    // One is taken back and one is granted beside it; the second line is longer.
    let b = next_file(&View::of(&a), &[delegating(&[])]);
    let c = next_file(&next_view(&a), &[delegating(&[OLD, ANNA])]);
    let d = next_file(&View::of(&a), &[delegating(&[OLD, BOB])]);
    for (live, beside) in [(&b, &c), (&c, &b), (&b, &d), (&d, &b), (&c, &d), (&d, &c)] {
        assert_eq!(verdict(live, beside), Verdict::Fork);
        let without = fold(live, None, std::slice::from_ref(beside), false);
        assert_eq!(without.view.file(), Some(live.hash()));
        assert!(without.conflicts.is_empty());
    }
    let all = [&b, &c, &d];
    let mut ends = Vec::new();
    for live in all {
        let others: Vec<RoleFile> = all.iter().filter(|f| **f != live).map(|f| (*f).clone()).collect();
        let m = settled(live, &others);
        assert_eq!(delegates(m.content()), named(&[("anna", "k1"), ("bob", "k2")]));
        assert!(all.iter().all(|f| verdict(&m, f) == Verdict::AlreadyIn));
        ends.push(m);
    }
    // Two who join one fork differently agree at once.
    assert!(ends.iter().all(|x| ends.iter().all(|y| verdict(x, y) == Verdict::AlreadyIn)));
    // Who goes on from one side of the fork without knowing of the join does not undo it.
    let late = next_file(&View::of(&d), &[delegating(&[OLD, BOB, ("carol", "k3", "carol-*")])]);
    let m = settled(&ends[0], std::slice::from_ref(&late));
    assert_eq!(delegates(m.content()), named(&[("anna", "k1"), ("bob", "k2"), ("carol", "k3")]));
    // Nor does it contradict who takes back what he granted there himself, though the join has learned of the grant since.
    let late = next_file(&View::of(&d), &[delegating(&[OLD])]);
    for (live, beside) in [(&ends[0], &late), (&late, &ends[0])] {
        let m = settled(live, std::slice::from_ref(beside));
        assert_eq!(delegates(m.content()), named(&[("anna", "k1")]));
    }
}

fn next_view(file: &RoleFile) -> View {
    View::of(&next_file(&View::of(file), &[release("9")]))
}

#[test]
fn two_changes_of_one_delegation_are_never_joined_and_neither_passes_for_the_other() {
    let a = next_file(&View::of(&first()), &[delegating(&[OLD])]);
    let changed = |key| next_file(&View::of(&a), &[delegating(&[("old", key, "old-*")])]);
    let (b, c) = (changed("k1"), changed("k2"));
    let back = next_file(&next_view(&a), &[delegating(&[])]);
    // The same name, and another key under the same id.
    let (x, mut y) = (delegating(&[OLD, ANNA]), delegating(&[OLD, ANNA]));
    if let Change::Delegate(value) = &mut y {
        value["keys"]["k1"] = SimKey::new(77).public().to_tuf();
    }
    let (x, y) = (next_file(&View::of(&a), &[x]), next_file(&View::of(&a), &[y]));
    // Each was checked without the other: together they speak for one tag.
    let wide = next_file(&View::of(&a), &[delegating(&[OLD, ("wide", "k9", "*-1")])]);
    for (live, beside) in [(&b, &c), (&b, &back), (&back, &b), (&x, &y), (&x, &wide), (&wide, &x)] {
        let standing = classify(&View::of(live), beside);
        assert_eq!((standing.verdict, standing.conflict), (Verdict::Fork, true));
        let folded = fold(live, None, std::slice::from_ref(beside), true);
        let delegations = |content: &Content| content.entry(DELEGATIONS).map(|e| e.value().clone());
        assert_eq!(delegations(folded.view.content()), delegations(live.content()));
        assert!(folded.merged.is_empty() && folded.conflicts.contains(beside.hash()));
        assert!(!folded.view.holds(beside.hash()));
        // What else its signer said does not wait with it, and is said once.
        let (nine, waits) = (has(beside.content(), "9"), has(live.content(), "9"));
        assert_eq!(has(folded.view.content(), "9"), nine || waits);
        assert_eq!(folded.view.file().is_some(), !nine || waits);
        let signed = next_file(&folded.view, &[]);
        let again = fold(&signed, None, std::slice::from_ref(beside), true);
        assert_eq!(again.view.file(), Some(signed.hash()));
        assert!(again.conflicts.contains(beside.hash()));
    }
    // Withdrawals do not wait either, nor does what is held back for other reasons bring its delegations in.
    let w = next_file(&View::of(&a), &[release("1")]);
    let x = next_file(&View::of(&w), &[delegating(&[])]);
    let y =
        next_file(&View::of(&w), &[delegating(&[("old", "k5", "old-*")]), withdraw("1", "w"), release("2")]);
    let m = next_file(&fold(&x, None, std::slice::from_ref(&y), true).view, &[]);
    assert!(!has(m.content(), "1") && has(m.content(), "2") && delegates(m.content()).is_empty());
    let held = next_file(&View::of(&w), &[delegating(&[OLD, ANNA]), release("3")]).held();
    let folded = fold(&w, None, std::slice::from_ref(&held), true);
    assert!(has(folded.view.content(), "3") && folded.conflicts.contains(held.hash()));
    assert_eq!(delegates(folded.view.content()), named(&[("old", "k0")]));
    // A descendant decides.
    let decided = next_file(&View::of(&b), &[delegating(&[])]);
    assert_eq!(verdict(&b, &decided), Verdict::FastForward);
    // An entry signed beside a grant does not change who is delegated.
    let entry = next_file(&View::of(&a), &[release("1")]);
    let later = next_file(&View::of(&entry), &[release("2")]);
    for (live, beside) in [(&b, &entry), (&entry, &b), (&later, &b), (&b, &later)] {
        let m = settled(live, std::slice::from_ref(beside));
        assert_eq!(delegates(m.content()), named(&[("old", "k1")]));
        assert!(has(m.content(), "1"));
    }
}

#[test]
fn of_two_lists_of_revocations_neither_passes_for_the_other() {
    let list = |n: &str| Change::Set {
        path: format!("{COLLECTION}/revocations.json"),
        value: json!({"length": 7, "hashes": {"sha256": digest(n)[7..]}}),
    };
    let a = next_file(&View::of(&first()), &[list("0")]);
    let b = next_file(&View::of(&a), &[list("1")]);
    let c = next_file(&View::of(&next_file(&View::of(&a), &[])), &[list("2")]);
    for (live, beside) in [(&b, &c), (&c, &b)] {
        assert_eq!(verdict(live, beside), Verdict::Fork);
        let joined = fold(live, None, std::slice::from_ref(beside), true);
        assert_eq!(joined.losers.len(), 1);
        let m = next_file(&joined.view, &[list("12")]);
        assert_eq!((verdict(&m, &b), verdict(&m, &c)), (Verdict::AlreadyIn, Verdict::AlreadyIn));
        // Renewed on one side meanwhile, and joined with the list that stayed: no newer list passes over it.
        let kept = next_file(&fold(&b, None, &[next_file(&View::of(&a), &[])], true).view, &[]);
        let late = next_file(&View::of(&next_file(&View::of(&a), &[])), &[list("3")]);
        assert_eq!(verdict(&kept, &late), Verdict::Fork);
    }
}

#[test]
fn online_versions_are_above_all_known_and_not_before_now() {
    let v = |n| Version::new(n).unwrap();
    assert_eq!(next_online_version([], NOW).get(), 1_800_000_000);
    assert_eq!(next_online_version([v(3)], NOW).get(), 1_800_000_000);
    assert_eq!(next_online_version([v(1_900_000_000), v(2)], NOW).get(), 1_900_000_001);
}

#[test]
fn impossible_versions_are_refused() {
    let v = |n| Version::new(n).unwrap();
    let with = |edit: &dyn Fn(&mut crate::tuf::Heading)| {
        let mut h = heading(70, NOW, DAY);
        edit(&mut h);
        let bytes = signed(&Draft::targets(&h, Map::new(), &[]), &[&SimKey::new(4)]);
        let role = RoleName::releases();
        let parsed = Unverified::<Targets>::parse(&role, &bytes, &Limits::default()).unwrap();
        RoleFile::of(&parsed.verify(&role, &[]).unwrap())
    };
    let ancestor = |n| crate::tuf::Ancestor(v(n), "00".repeat(32));
    assert!(with(&|h| h.extra.ancestors = vec![ancestor(7), ancestor(69)]).is_ok());
    for bad in [6, 70, 71] {
        assert!(with(&|h| h.extra.ancestors = vec![ancestor(bad)]).is_err(), "{bad}");
    }
    assert!(with(&|h| h.extra.ancestors = vec![ancestor(69); MAX_ANCESTORS + 1]).is_err());
    let known = |n: u64| BTreeMap::from([("p".to_owned(), BTreeMap::from([("w".to_owned(), v(n))]))]);
    assert!(with(&|h| h.extra.withdrawn = known(70)).is_ok());
    assert!(with(&|h| h.extra.withdrawn = known(71)).is_err());
}

fn signed_by(file: &RoleFile, key: &str, at: i64, in_line: bool) -> SignedFile {
    let signers = [key.repeat(32).try_into().unwrap()].into();
    SignedFile { role: RoleName::releases(), file: file.clone(), at: NOW.plus(at), signers, in_line }
}

/// Digest, version and certainty of what came in, by the path's end.
fn came(files: &[SignedFile]) -> Vec<(String, u64, bool)> {
    let one = |o: &Origin| (o.sha256.clone(), o.version.get(), o.certain);
    origins(files).found.iter().map(one).collect()
}

#[test]
fn a_value_came_with_the_first_version_that_has_it_whatever_it_says() {
    let a = first();
    let b = next_file(&View::of(&a), &[release("1")]);
    // It says that another key set it, long ago.
    let c = next_file(&View::of(&b), &[release("2"), part("3", &["2"])]);
    let d = next_file(&View::of(&c), &[release("4")]);
    let all = [signed_by(&a, "aa", 0, true), signed_by(&b, "aa", 10, true), signed_by(&c, "bb", -99, true)];
    let hex = |n: &str| digest(n)[7..].to_owned();
    let found = origins(&all);
    assert!(found.gaps.is_empty());
    let of = |n: &str| found.found.iter().find(|o| o.sha256 == hex(n)).unwrap();
    assert_eq!((of("1").version.get(), of("2").version.get(), of("3").version.get()), (2, 3, 3));
    assert!(of("2").signers.iter().all(|k| k.as_str().starts_with("bb")));
    assert_eq!(of("2").at, NOW.plus(10), "not before the version that it follows");
    assert!(of("2").claimed && !of("3").claimed);

    // One is missing: what is new in the next may have come with it.
    let gapped = [signed_by(&a, "aa", 0, true), signed_by(&b, "aa", 10, true), signed_by(&d, "aa", 30, true)];
    let found = origins(&gapped);
    assert_eq!(found.gaps.iter().map(|g| g.hash.as_str()).collect::<Vec<_>>(), [c.hash()]);
    let uncertain: BTreeSet<_> =
        found.found.iter().filter(|o| !o.certain).map(|o| o.sha256.clone()).collect();
    assert_eq!(uncertain, BTreeSet::from([hex("2"), hex("3"), hex("4")]));
    assert_eq!(came(&gapped[..2]), vec![(hex("1"), 2, true)]);
}

#[test]
fn what_was_withdrawn_and_comes_back_came_twice_and_a_merge_brings_nothing() {
    let a = first();
    let b = next_file(&View::of(&a), &[release("1")]);
    let c = next_file(&View::of(&b), &[withdraw("1", "w")]);
    let d = next_file(&View::of(&c), &[release("1")]);
    let all = [&a, &b, &c, &d].map(|f| signed_by(f, "aa", 0, true));
    let hex = digest("1")[7..].to_owned();
    assert_eq!(came(&all), vec![(hex.clone(), 2, true), (hex.clone(), 4, true)]);

    let (x, y) = (next_file(&View::of(&a), &[release("1")]), next_file(&View::of(&a), &[release("2")]));
    let merged = settled(&x, std::slice::from_ref(&y));
    let all = [&a, &x, &y, &merged].map(|f| signed_by(f, "aa", 0, true));
    let versions: Vec<u64> = came(&all).into_iter().map(|(_, v, _)| v).collect();
    assert_eq!(versions, [2, 2]);
    // The loser of a fork, or what a thief signed: beside the line, and named all the same.
    let beside = [signed_by(&a, "aa", 0, true), signed_by(&x, "aa", 0, true), signed_by(&y, "bb", 0, false)];
    let found = origins(&beside);
    assert_eq!(found.found.iter().filter(|o| !o.in_line).count(), 1);
}

/// The same file with another demand; `None`: with none.
fn demanding(view: &View, changes: &[Change], demand: Option<Value>) -> RoleFile {
    let mut signed = next(view, None, changes, COLLECTION, NOW, NOW.plus(DAY)).signed().clone();
    let members = signed.as_object_mut().unwrap();
    members.remove(AGREEMENT);
    members.extend(demand.map(|d| (AGREEMENT.to_owned(), d)));
    file_of(&Draft::from_signed(signed))
}

fn roles(names: &[&str]) -> Option<Value> {
    Some(json!({"min": names.len(), "roles": names}))
}

#[test]
fn a_demand_is_neither_lost_nor_taken_for_in() {
    let base = View::of(&first());
    let demands = demanding(&base, &[], roles(&["targets/a", "targets/b"]));
    let renewed = file_of(&next(&base, None, &[], COLLECTION, NOW.plus(1), NOW.plus(DAY)));
    // A renewal beside it does not hold it, whichever of them is live.
    assert_eq!(verdict(&renewed, &demands), Verdict::FastForward);
    let later = next_file(&View::of(&renewed), &[]);
    assert_eq!(verdict(&later, &demands), Verdict::Fork);
    assert_eq!(verdict(&demands, &renewed), Verdict::AlreadyIn);
    assert_eq!(verdict(&demands, &later), Verdict::Fork, "a longer line without it is no newer one");
    for (live, other) in [(&renewed, &demands), (&demands, &renewed), (&later, &demands), (&demands, &later)]
    {
        let joined = settled(live, std::slice::from_ref(other));
        assert_eq!(joined.demand(), demands.demand());
    }
    // Without the key it waits.
    let folded = fold(&later, None, std::slice::from_ref(&demands), false);
    assert_eq!(folded.verdicts[demands.hash()], Verdict::Fork);
    // Only a descendant takes it away.
    let dropped = demanding(&View::of(&demands), &[], None);
    assert_eq!(verdict(&demands, &dropped), Verdict::FastForward);
    assert_eq!(settled(&demands, std::slice::from_ref(&dropped)).demand(), None);
    assert_eq!(verdict(&dropped, &demands), Verdict::AlreadyIn);
}

#[test]
fn two_demands_beside_each_other_are_never_merged() {
    let base = View::of(&first());
    let one = demanding(&base, &[], roles(&["targets/a", "targets/b"]));
    let other = demanding(&base, &[release("a")], roles(&["targets/a", "targets/c"]));
    for (live, beside) in [(&one, &other), (&other, &one)] {
        let folded = fold(live, None, std::slice::from_ref(beside), true);
        assert_eq!(folded.view.file(), Some(live.hash()));
        assert_eq!(folded.verdicts[beside.hash()], Verdict::Fork);
        assert!(folded.merged.is_empty());
    }
}
