use serde_json::json;

use crate::intoto::sim::{Person, World, codes, link, rules, signed};
use crate::intoto::verify::{Code, InspectionId, Outcome, UNPACK, unpack};
use crate::intoto::{Document, Form, Inspection, Link};
use crate::oci::{Content, Digest, Manifest, media_type};

#[test]
fn v1_a_chain_that_fulfils_its_layout() {
    for form in [Form::Classic, Form::Dsse] {
        let mut world = World::chain();
        world.form = form;
        // 32: a DSSE layout with classic links.
        let report = world.verify();
        assert_eq!((report.outcome(), codes(&report)), (Outcome::Fulfilled, vec![]));
        assert_eq!(report.product.as_ref().unwrap().as_str(), "app.tar");
        assert_eq!(report.signed, [world.owner.key().id()]);
        let build = &report.steps[1];
        assert_eq!((build.signers, build.threshold, build.signed[0].products), (1, 1, 2));
        assert_eq!(build.products[0].names, ["app"]);
        let summary = report.summary.unwrap();
        assert!(summary.materials.is_empty() && summary.products.len() == 3);
    }
}

/// Specification 5.2 step 1.
#[test]
fn v2_every_key_that_is_given_has_signed_the_layout_and_there_is_one() {
    let world = World::chain();
    let (owner, second, stranger) = (&world.owner, Person::new(101), Person::new(102));
    let layout = Document::Layout(world.layout.clone());
    let both = signed(Form::Classic, &layout, &[owner, &second]);
    assert_eq!(world.verify_file(&both, &[owner.key(), second.key()]).outcome(), Outcome::Fulfilled);
    assert_eq!(world.verify_file(&both, &[second.key()]).outcome(), Outcome::Fulfilled);
    for (keys, code) in [
        (vec![], "intoto.layout.keys"),
        (vec![owner.key(), stranger.key()], "intoto.layout.signature"),
        (vec![stranger.key()], "intoto.layout.signature"),
    ] {
        let report = world.verify_file(&both, &keys);
        assert_eq!((report.outcome(), codes(&report)), (Outcome::NotFulfilled, vec![code]));
        assert!(report.steps.is_empty(), "nothing of it is believed");
    }
    // Changed after signing.
    let text = String::from_utf8(both).unwrap().replace("\"readme\":\"\"", "\"readme\":\"x\"");
    let report = world.verify_file(text.as_bytes(), &[owner.key()]);
    assert!(report.findings[0].reason.contains("something else"), "{report:?}");
}

/// Specification 5.2 step 2; Go takes the very second for valid.
#[test]
fn v3_a_layout_expires_with_its_second() {
    let mut world = World::chain();
    world.now = world.layout.expires;
    assert_eq!(world.codes(), ["intoto.layout.expired"]);
    world.now = world.now.plus(-1);
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn v4_what_is_no_layout_is_refused() {
    let world = World::chain();
    let key = [world.owner.key()];
    let link = signed(Form::Classic, &Document::Link(link("tag", &[], &[])), &[&world.owner]);
    for bytes in [&b""[..], b"{}", &link] {
        assert_eq!(codes(&world.verify_file(bytes, &key)), ["intoto.layout.malformed"]);
    }
    let mut empty = World::new();
    empty.form = Form::Dsse;
    assert_eq!(empty.codes(), ["intoto.layout.malformed"]);
}

/// in-toto asks for no product: evidence of another version fulfils the layout as well (GHSA-6q78-j78h-pqm2).
#[test]
fn v5_the_last_step_has_made_what_is_verified() {
    let mut world = World::chain();
    world.product = Some(Digest::sha256(b"1"));
    assert_eq!(world.verify().product.unwrap().as_str(), "a.c");
    world.product = Some(Digest::sha256(b"another version"));
    assert_eq!(world.codes(), ["intoto.product"]);
    world.product = None;
    let report = world.verify();
    assert_eq!(report.outcome(), Outcome::Fulfilled);
    assert!(report.findings.iter().any(|f| f.code == Code::ProductUnasked));
}

/// Specification 4.3.2: a note, never more.
#[test]
fn v6_another_command_is_a_note() {
    let mut world = World::chain();
    world.layout.steps[0].expected_command = vec!["git".into(), "tag".into()];
    let report = world.verify();
    assert_eq!(report.outcome(), Outcome::Fulfilled);
    assert!(report.steps[0].findings.iter().any(|f| f.code == Code::StepCommand));
}

#[test]
fn v7_parameters_are_replaced_once_and_must_be_there() {
    let mut world = World::chain();
    world.layout.steps[1].expected_products =
        rules(&["CREATE {name}", "ALLOW {x.y}.c", "ALLOW *.c", "DISALLOW *"]);
    assert_eq!(world.codes(), ["intoto.rule.disallow"], "without parameters a brace is a brace");
    world.parameters.insert("name".into(), "app".into());
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
    world.parameters.insert("name".into(), "{name}".into());
    assert_eq!(world.codes(), ["intoto.rule.disallow"], "values are not looked at again");
    world.parameters.insert("name".into(), "a*".into());
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled, "values are patterns where they stand in one");
    world.parameters = [("name".to_owned(), String::new())].into();
    assert_eq!(world.codes(), ["intoto.layout.parameter"], "an empty prefix is none, and would take more");
    world.parameters = [("other".to_owned(), "x".to_owned())].into();
    assert_eq!(world.codes(), ["intoto.layout.parameter"]);
    world.parameters =
        [("name".to_owned(), "app".to_owned()), ("__class__.x".to_owned(), "x".to_owned())].into();
    assert_eq!(world.codes(), ["intoto.layout.parameter"]);
    // What becomes of a rule is read again.
    world.parameters = [("name".to_owned(), "a\\".to_owned())].into();
    world.layout.steps[1].expected_products = rules(&["MATCH * IN {name} WITH PRODUCTS FROM tag"]);
    assert_eq!(world.codes(), ["intoto.layout.parameter"]);
}

#[test]
fn v8_inspections_come_last_and_are_asked_for() {
    let mut world = World::chain();
    world.inspection(
        "untar",
        &["MATCH app.tar WITH PRODUCTS FROM package", "DISALLOW *"],
        &["MATCH *.c WITH PRODUCTS FROM tag", "ALLOW app.tar", "DISALLOW *"],
    );
    let report = world.verify();
    assert_eq!((report.outcome(), codes(&report)), (Outcome::Undecided, vec!["intoto.inspection.not-run"]));
    let id = InspectionId { folders: vec![], name: "untar".parse().unwrap() };
    assert_eq!(report.needs(), [(&id, &["look".to_owned()][..])]);

    let mut ran = link("untar", &["app.tar=3"], &["app.tar=3", "a.c=1"]);
    world.inspections.insert(id.clone(), ran.clone());
    assert_eq!(world.codes(), ["intoto.inspection.failed"], "08, 68: no return value is a failure");
    ran.byproducts.insert("return-value".into(), json!(1));
    world.inspections.insert(id.clone(), ran.clone());
    assert_eq!(world.codes(), ["intoto.inspection.failed"]);
    ran.byproducts.insert("return-value".into(), json!(0));
    world.inspections.insert(id.clone(), ran.clone());
    let report = world.verify();
    assert_eq!((report.outcome(), report.needs().len()), (Outcome::Fulfilled, 0));
    ran.products.extend(crate::intoto::sim::artifacts(&["evil.c=9"]));
    world.inspections.insert(id, ran);
    assert_eq!(world.codes(), ["intoto.rule.disallow"]);

    // Nothing is run for what is refused already, and a step's rules see no inspection.
    world.inspections.clear();
    world.product = Some(Digest::sha256(b"x"));
    assert_eq!(world.verify().outcome(), Outcome::NotFulfilled);
    assert!(world.verify().needs().is_empty());
    let mut world = World::chain();
    world.inspection("look", &[], &[]);
    world.layout.steps[2].expected_products = rules(&["MATCH * WITH PRODUCTS FROM look", "DISALLOW app.tar"]);
    let id = InspectionId { folders: vec![], name: "look".parse().unwrap() };
    let mut ran = link("look", &[], &["app.tar=3"]);
    ran.byproducts.insert("return-value".into(), json!(0));
    world.inspections.insert(id, ran);
    assert_eq!(world.codes(), ["intoto.rule.disallow"]);
    assert!(world.verify().steps[2].findings.iter().any(|f| f.code == Code::RuleNoStep));
}

#[test]
fn v9_inspections_see_each_other() {
    let mut world = World::chain();
    world.inspection("one", &["MATCH * WITH PRODUCTS FROM two", "DISALLOW *"], &[]);
    world.inspection("two", &[], &[]);
    let id = |name: &str| InspectionId { folders: vec![], name: name.parse().unwrap() };
    let mut one = link("one", &["x=1"], &[]);
    one.byproducts.insert("return-value".into(), json!(0));
    world.inspections.insert(id("one"), one);
    let report = world.verify();
    assert_eq!(
        (codes(&report), report.needs().len()),
        (vec!["intoto.inspection.not-run"], 1),
        "its rules wait"
    );
    let mut two = link("two", &[], &["x=1"]);
    two.byproducts.insert("return-value".into(), json!(0));
    world.inspections.insert(id("two"), two);
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn v10_unpack_is_computed_from_the_manifest() {
    let bytes = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": "a/b", "digest": Digest::sha256(b"c").to_string(), "size": 1},
        "layers": [{"mediaType": "a/b", "digest": Digest::sha256(b"app").to_string(), "size": 3}]})
    .to_string();
    let content = Content::new(media_type::OCI_MANIFEST, bytes.into_bytes());
    let manifest = Manifest::parse(&content).unwrap();
    let digest = content.descriptor().digest.clone();
    let ran: Link = unpack("unpack".parse().unwrap(), &digest, &manifest).unwrap();
    assert!(
        ran.materials["manifest"].holds(&digest) && ran.products["layers/0"].holds(&Digest::sha256(b"app"))
    );
    assert_eq!((ran.products.len(), ran.return_value()), (3, Some(0)));

    // The layer is what was packaged.
    let mut world = World::new();
    world.step("package", 1, &[3], vec![], vec![]);
    world.link(3, &link("package", &[], &["0=app"]));
    world.layout.inspections.push(Inspection {
        name: "unpack".parse().unwrap(),
        run: vec![UNPACK.into()],
        expected_materials: vec![],
        expected_products: rules(&["MATCH * IN layers WITH PRODUCTS FROM package", "DISALLOW layers/*"]),
    });
    world.inspections.insert(InspectionId { folders: vec![], name: "unpack".parse().unwrap() }, ran);
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn v11_a_report_says_all_in_json() {
    let mut world = World::chain();
    world.links.remove(&World::at(2, "build"));
    let value = serde_json::to_value(world.verify()).unwrap();
    assert_eq!(value["steps"][1]["findings"][0]["code"], "intoto.step.threshold");
    assert_eq!(value["steps"][0]["signed"][0]["file"], World::at(1, "tag").to_string());
    for code in Code::ALL {
        let page = include_str!("../../../docs/in-toto.md");
        assert!(page.contains(&format!("| `{code}` |")), "{code} is not in docs/in-toto.md");
    }
}
