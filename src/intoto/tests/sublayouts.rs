use crate::intoto::sim::{Person, World, codes, link, rules, signed};
use crate::intoto::verify::{InspectionId, MAX_DEPTH, Outcome};
use crate::intoto::{Document, Form, LinkPath};

/// A world whose step `build` is done by a layout of key 2, with one step `compile` of key 5.
fn nested() -> (World, World) {
    let mut outer = World::chain();
    outer.links.remove(&World::at(2, "build"));
    let mut inner = World::new();
    inner.owner = Person::new(2);
    inner.step(
        "compile",
        1,
        &[5],
        rules(&["ALLOW a.c", "DISALLOW *"]),
        rules(&["CREATE app", "ALLOW a.c", "DISALLOW *"]),
    );
    inner.link(5, &link("compile", &["a.c=1"], &["a.c=1", "app=2"]));
    (outer, inner)
}

/// Puts a layout and its links in place of a link.
fn put(outer: &mut World, inner: &World, by: u8, step: &str) {
    let at = World::at(by, step);
    outer.links.insert(at.clone(), inner.file());
    for (path, bytes) in &inner.links {
        let below: LinkPath = format!("{}/{path}", at.stem()).parse().unwrap();
        outer.links.insert(below, bytes.clone());
    }
}

#[test]
fn u1_a_layout_of_a_functionary_stands_for_a_link() {
    for form in [Form::Classic, Form::Dsse] {
        let (mut outer, mut inner) = nested();
        inner.form = form;
        put(&mut outer, &inner, 2, "build");
        let report = outer.verify();
        assert_eq!((report.outcome(), codes(&report)), (Outcome::Fulfilled, vec![]));
        let sub = report.steps[1].signed[0].sublayout.as_ref().unwrap();
        assert_eq!((sub.steps.len(), report.steps[1].signed[0].products), (1, 2));
    }
}

#[test]
fn u2_it_is_verified_with_that_functionary_s_key_alone() {
    let (mut outer, mut inner) = nested();
    inner.owner = Person::new(3);
    put(&mut outer, &inner, 2, "build");
    assert_eq!(outer.codes(), ["intoto.step.threshold"]);
    // Signed by both: the functionary's signature counts.
    let both =
        signed(Form::Classic, &Document::Layout(inner.layout.clone()), &[&Person::new(3), &Person::new(2)]);
    outer.links.insert(World::at(2, "build"), both);
    assert_eq!(outer.verify().outcome(), Outcome::Fulfilled);
}

/// 27.
#[test]
fn u3_its_own_expiry_counts() {
    let (mut outer, mut inner) = nested();
    inner.layout.expires = inner.now;
    put(&mut outer, &inner, 2, "build");
    let found = outer.codes();
    assert!(
        found.contains(&"intoto.layout.expired") && found.contains(&"intoto.step.sublayout"),
        "{found:?}"
    );
    assert_eq!(outer.verify().outcome(), Outcome::NotFulfilled);
}

#[test]
fn u4_its_links_lie_in_a_folder_of_its_own() {
    let (mut outer, inner) = nested();
    put(&mut outer, &inner, 2, "build");
    let path = World::at(2, "build");
    let own: LinkPath = format!("{}/{}", path.stem(), World::at(5, "compile")).parse().unwrap();
    let bytes = outer.links.remove(&own).unwrap();
    outer.links.insert(World::at(5, "compile"), bytes.clone());
    assert!(outer.codes().contains(&"intoto.step.threshold"));
    // In TUF the folder is written with a tilde.
    outer.links.insert(own.flat().parse().unwrap(), bytes);
    assert_eq!(outer.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn u5_its_rules_and_those_above_it_are_both_kept() {
    let (mut outer, mut inner) = nested();
    inner.link(5, &link("compile", &["a.c=1"], &["a.c=1", "app=2", "evil=6"]));
    put(&mut outer, &inner, 2, "build");
    let found = outer.codes();
    assert!(found.contains(&"intoto.rule.disallow") && found.contains(&"intoto.step.sublayout"));
    // The inner layout allows what the outer one does not.
    inner.layout.steps[0].expected_products.clear();
    put(&mut outer, &inner, 2, "build");
    assert_eq!(outer.codes(), ["intoto.rule.disallow"]);
}

#[test]
fn u6_parameters_are_not_passed_down() {
    let (mut outer, mut inner) = nested();
    inner.layout.steps[0].expected_products = rules(&["CREATE {name}", "ALLOW a.c", "DISALLOW *"]);
    put(&mut outer, &inner, 2, "build");
    outer.parameters.insert("name".into(), "app".into());
    assert!(outer.codes().contains(&"intoto.rule.disallow"));
}

/// 29: only the system's limit of symbolic links ends the reference.
#[test]
fn u7_depth_is_bounded() {
    let build = |depth: usize| {
        let mut world = World::new();
        world.step("s", 1, &[1], vec![], vec![]);
        world.link(1, &link("s", &[], &["x=1"]));
        for _ in 0..depth {
            let mut above = World::new();
            above.step("s", 1, &[1], vec![], vec![]);
            world.owner = Person::new(1);
            put(&mut above, &world, 1, "s");
            world = above;
        }
        world
    };
    assert_eq!(build(MAX_DEPTH).verify().outcome(), Outcome::Fulfilled);
    assert!(build(MAX_DEPTH + 1).codes().contains(&"intoto.layout.depth"));
}

#[test]
fn u8_inspections_of_sublayouts_are_asked_for_by_their_place() {
    let (mut outer, mut inner) = nested();
    inner.inspection("look", &["DISALLOW *"], &[]);
    put(&mut outer, &inner, 2, "build");
    let report = outer.verify();
    assert_eq!(report.outcome(), Outcome::Undecided);
    let id =
        InspectionId { folders: vec![World::at(2, "build").stem().clone()], name: "look".parse().unwrap() };
    assert_eq!(report.needs(), [(&id, &["look".to_owned()][..])]);
    let mut ran = link("look", &[], &[]);
    ran.byproducts.insert("return-value".into(), 0.into());
    outer.inspections.insert(id, ran);
    assert_eq!(outer.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn u9_a_layout_and_a_link_may_agree_for_a_threshold() {
    let (mut outer, inner) = nested();
    let id = outer.layout.add_key(Person::new(7).key());
    outer.layout.steps[1].pubkeys.push(id);
    outer.layout.steps[1].threshold = 2;
    put(&mut outer, &inner, 2, "build");
    outer.link(7, &link("build", &["a.c=1"], &["a.c=1", "app=2"]));
    assert_eq!(outer.verify().outcome(), Outcome::Fulfilled);
    outer.link(7, &link("build", &["a.c=1"], &["a.c=1", "app=9"]));
    assert!(outer.codes().contains(&"intoto.step.disagree"));
}
