use crate::intoto::sim::{World, link, rules};
use crate::intoto::verify::{Outcome, Report};
use crate::intoto::{Hashes, Link};
use crate::oci::Digest;

/// A step `one` (products a=1, d/a=1, d/b=2, e/c=3) and a step `two` with these materials, products and product rules.
fn two(materials: &[&str], products: &[&str], lines: &[&str]) -> Report {
    let mut world = World::new();
    world.step("one", 1, &[1], vec![], vec![]);
    world.step("two", 1, &[2], vec![], rules(lines));
    world.link(1, &link("one", &["m=5"], &["a=1", "d/a=1", "d/b=2", "e/c=3"]));
    world.link(2, &link("two", materials, products));
    world.verify()
}

fn passes(materials: &[&str], products: &[&str], lines: &[&str]) -> bool {
    let report = two(materials, products, lines);
    assert_eq!(report.steps[0].signers + report.steps[1].signers, 2);
    report.outcome() == Outcome::Fulfilled
}

/// Specification 4.3.3; 19: REQUIRE fails when the name was taken before.
#[test]
fn q1_each_rule_takes_what_it_speaks_of() {
    for (materials, products, lines, is) in [
        (&[][..], &["x=1"][..], &[][..], true),
        (&[], &["x=1"], &["DISALLOW *"], false),
        (&[], &["x=1"], &["DISALLOW y"], true),
        (&[], &["x=1"], &["ALLOW x", "DISALLOW *"], true),
        (&[], &["x=1"], &["DISALLOW *", "ALLOW *"], false),
        (&[], &["x=1"], &["CREATE x", "DISALLOW *"], true),
        (&["x=1"], &["x=1"], &["CREATE x", "DISALLOW *"], false),
        (&["x=1"], &["x=2"], &["MODIFY *", "DISALLOW *"], true),
        (&["x=1"], &["x=1"], &["MODIFY *", "DISALLOW *"], false),
        (&[], &["x=1"], &["MODIFY *", "DISALLOW *"], false),
        // DELETE speaks of materials: nothing of the products is taken.
        (&["x=1"], &["y=1"], &["DELETE *", "DISALLOW *"], false),
        (&[], &["x=1"], &["REQUIRE x"], true),
        (&[], &["x=1"], &["REQUIRE x*"], false),
        (&[], &["x*=1"], &["REQUIRE x*"], true),
        (&[], &["x=1"], &["ALLOW x", "REQUIRE x"], false),
        (&[], &["x=1"], &["REQUIRE x", "DISALLOW *"], false),
        (&[], &["x=1"], &["REQUIRE y"], false),
    ] {
        assert_eq!(passes(materials, products, lines), is, "{materials:?} {products:?} {lines:?}");
    }
    let mut world = World::new();
    world.step("one", 1, &[1], rules(&["DELETE *", "DISALLOW *"]), vec![]);
    world.link(1, &link("one", &["x=1"], &[]));
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
    world.link(1, &link("one", &["x=1"], &["x=1"]));
    assert_eq!(world.codes(), ["intoto.rule.disallow"]);
}

/// 07, 21, 63, 64, 65.
#[test]
fn q2_match_takes_what_another_step_has() {
    for (products, lines, is) in [
        (&["a=1"][..], &["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"][..], true),
        (&["a=2"], &["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"], false),
        (&["z=1"], &["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"], false),
        (&["m=5"], &["MATCH * WITH MATERIALS FROM one", "DISALLOW *"], true),
        (&["m=5"], &["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"], false),
        (&["a=1"], &["MATCH * WITH PRODUCTS FROM nobody", "DISALLOW *"], false),
        (&["a=1"], &["MATCH * WITH PRODUCTS FROM nobody"], true),
        // Of itself.
        (&["z=1"], &["MATCH * WITH PRODUCTS FROM two", "DISALLOW *"], true),
        // Prefixes are folders, and never patterns.
        (&["d/b=2"], &["MATCH b IN d WITH PRODUCTS IN d FROM one", "DISALLOW *"], true),
        (&["d/b=2"], &["MATCH b IN d/ WITH PRODUCTS IN d/ FROM one", "DISALLOW *"], true),
        (&["d/b=2"], &["MATCH b IN d// WITH PRODUCTS IN d FROM one", "DISALLOW *"], false),
        (&["d/b=2"], &["MATCH b IN * WITH PRODUCTS IN d FROM one", "DISALLOW *"], false),
        (&["x/b=2"], &["MATCH * IN x WITH PRODUCTS IN d FROM one", "DISALLOW *"], true),
        (&["b=2"], &["MATCH * WITH PRODUCTS IN d FROM one", "DISALLOW *"], true),
        (&["x/a=1"], &["MATCH * IN x WITH PRODUCTS FROM one", "DISALLOW *"], true),
        // Go and the Rust crate keep names outside of the prefix.
        (&["x/a=1", "a=1"], &["MATCH * IN x WITH PRODUCTS FROM one", "DISALLOW *"], false),
        (&["da=1"], &["MATCH * IN d WITH PRODUCTS IN d FROM one", "DISALLOW *"], false),
        (
            &["e/c=3", "d/b=2"],
            &["MATCH *c WITH PRODUCTS FROM one", "MATCH d* WITH PRODUCTS FROM one", "DISALLOW *"],
            true,
        ),
    ] {
        assert_eq!(passes(&[], products, lines), is, "{products:?} {lines:?}");
    }
}

/// 15, 61.
#[test]
fn q3_all_hashes_are_equal_as_they_are_written() {
    let sha = Digest::sha256(b"1");
    let both = Hashes::of_all([&sha, &Digest::of(crate::oci::Algorithm::Sha512, b"1")]);
    let run = |hashes: Hashes| {
        let mut world = World::new();
        world.step("one", 1, &[1], vec![], vec![]);
        world.step("two", 1, &[2], vec![], rules(&["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"]));
        world.link(1, &link("one", &[], &["a=1"]));
        let mut second = link("two", &[], &[]);
        second.products.insert("a".parse().unwrap(), hashes);
        world.link(2, &second);
        world.verify().outcome()
    };
    assert_eq!(run(Hashes::of(&sha)), Outcome::Fulfilled);
    assert_eq!(run(both), Outcome::NotFulfilled);
    let upper = serde_json::json!({"_type": "link", "name": "x", "materials": {}, "products": {"a": {"sha256": sha.hex().to_uppercase()}}});
    let upper = Link::from_value(&upper).unwrap().products["a"].clone();
    assert!(upper.holds(&sha));
    assert_eq!(run(upper), Outcome::NotFulfilled);
}

/// GHSA-vrxp-mg9f-hwf3: there is one way to write a name, so no way around a DISALLOW.
#[test]
fn q4_a_name_has_one_way_to_be_written() {
    for name in ["dir/../foo", "./foo", "dir//foo", "/foo", "dir\\foo"] {
        let value = serde_json::json!({"_type": "link", "name": "x", "materials": {}, "products": {name: {"sha256": "00"}}});
        assert!(Link::from_value(&value).is_err(), "{name}");
    }
}

/// The first rule that fails is reported, with what was taken before it.
#[test]
fn q5_the_report_shows_what_each_rule_took() {
    let products: Vec<String> = (0..15).map(|i| format!("p{i:02}=1")).collect();
    let products: Vec<&str> = products.iter().map(String::as_str).collect();
    let report = two(&[], &products, &["ALLOW p00", "DISALLOW p*", "DISALLOW *"]);
    let step = &report.steps[1];
    assert_eq!(step.products.iter().map(|a| a.count).collect::<Vec<_>>(), [1, 14]);
    assert_eq!((step.products[1].names.len(), step.findings.len()), (10, 1));
    assert!(step.findings[0].reason.ends_with("p10 and 4 more"), "{}", step.findings[0].reason);
    let report = two(&[], &["x=1"], &["ALLOW x", "REQUIRE x"]);
    assert_eq!(report.steps[1].findings[0].reason, "an earlier rule has taken it");
}

/// A sublayout is a functionary's, and its rules cost whoever verifies.
#[test]
fn q7_work_is_bounded() {
    let names: Vec<String> = (0..20_000).map(|i| format!("{}{i}=1", "a".repeat(200))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let line = format!("DISALLOW {}b", "*a".repeat(100));
    let report = two(&[], &names, &vec![line.as_str(); 1000]);
    assert_eq!(report.outcome(), Outcome::Undecided);
    assert_eq!(report.steps[1].findings[0].code.as_str(), "intoto.rule.work");
}

/// 10,000 artifacts in three steps with 60 rules stay far within the work that one verification may do: what took a step for every
/// pair of them would not.
#[test]
fn q6_ten_thousand_artifacts_take_work_in_proportion() {
    let names: Vec<String> = (0..10_000).map(|i| format!("src/dir{}/file{i}.c=1", i % 100)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut lines = vec!["MATCH *.h IN src WITH PRODUCTS IN src FROM one"; 18];
    lines.extend(["MATCH *.c IN src WITH PRODUCTS IN src FROM one", "DISALLOW *"]);
    let mut world = World::new();
    for (step, by) in [("one", 1), ("two", 2), ("three", 3)] {
        let rules = if step == "one" { vec![] } else { rules(&lines) };
        world.step(step, 1, &[by], rules.clone(), rules);
        world.link(by, &link(step, &names, &names));
    }
    let file = world.file();
    assert_eq!(world.verify_file(&file, &[world.owner.key()]).outcome(), Outcome::Fulfilled);
}
