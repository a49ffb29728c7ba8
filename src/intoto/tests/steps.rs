use serde_json::{Value, json};

use crate::intoto::sim::{Person, World, attested, codes, link, signed};
use crate::intoto::verify::{Code, MAX_DOCUMENTS, Outcome, Report};
use crate::intoto::{Document, Form, Key, LinkPath, ListedKey, Stem, Unusable};
use crate::sig::KeyId;

fn skipped(report: &Report) -> Vec<&str> {
    report.all().filter(|f| f.code == Code::LinkSkipped).map(|f| f.reason.as_str()).collect()
}

fn two_of(keys: &[u8]) -> World {
    let mut world = World::new();
    world.step("build", 2, keys, vec![], vec![]);
    world
}

/// 02, 14, 73.
#[test]
fn t1_only_keys_of_the_step_that_the_layout_lists_count() {
    let mut world = World::chain();
    // Key 3 is in the layout, and not in the step.
    world.links.remove(&World::at(2, "build"));
    world.link(3, &link("build", &["a.c=1"], &["app=2"]));
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"]);
    assert!(skipped(&report)[0].contains("no key"), "{report:?}");
    world.link(2, &link("build", &["a.c=1"], &["a.c=1", "app=2"]));
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled, "70: what does not count is skipped");
    // A key that the layout does not list; no keys at all.
    let keys = world.layout.keys.clone();
    world.layout.keys.remove(&Person::new(2).key().id());
    assert_eq!(world.codes(), ["intoto.step.threshold"]);
    world.layout.keys = keys;
    world.layout.steps[1].pubkeys.clear();
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"]);
    assert!(report.steps[1].findings.iter().any(|f| f.next.contains("owner")), "{report:?}");
}

#[test]
fn t2_a_threshold_counts_keys_that_signed() {
    let mut world = two_of(&[1, 2, 3]);
    world.link(1, &link("build", &[], &["a=1"]));
    assert_eq!(world.codes(), ["intoto.step.threshold"]);
    world.link(3, &link("build", &[], &["a=1"]));
    let report = world.verify();
    assert_eq!((report.outcome(), report.steps[0].signers), (Outcome::Fulfilled, 2));
    // Two files of one key.
    let again = world.links.remove(&World::at(3, "build")).unwrap();
    assert_eq!(world.codes(), ["intoto.step.threshold"]);
    world.links.insert(World::at(2, "build"), again);
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"], "the file says key 2, the signature is of key 3");
    assert!(skipped(&report)[0].contains("name says"));
}

/// 12: in the reference one key under two ids makes two.
#[test]
fn t3_one_key_under_two_ids_counts_once() {
    let mut world = two_of(&[1]);
    let alias: KeyId = "0123456789abcdef".to_owned().try_into().unwrap();
    let key: Key = Person::new(1).key().named(alias.as_str());
    world.layout.keys.insert(alias.clone(), ListedKey::Usable(key));
    world.layout.steps[0].pubkeys.push(alias.clone());
    world.link(1, &link("build", &[], &["a=1"]));
    let bytes = world.links[&World::at(1, "build")].clone();
    let path = LinkPath::new(Stem::new("build".parse().unwrap(), alias.as_str()).unwrap());
    world.links.insert(path, bytes);
    let report = world.verify();
    assert_eq!((codes(&report), report.steps[0].signers), (vec!["intoto.step.threshold"], 1));
    world.layout.steps[0].threshold = 1;
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

/// Go, older Python and docker/attest compute other ids for the same key, and name files after them.
#[test]
fn t4_a_file_may_be_named_after_any_id_of_its_key() {
    let key = Person::new(1).key();
    for id in key.ids().collect::<Vec<_>>() {
        let mut world = World::new();
        world.step("build", 1, &[1], vec![], vec![]);
        let bytes = signed(Form::Classic, &Document::Link(link("build", &[], &[])), &[&Person::new(1)]);
        let text = String::from_utf8(bytes).unwrap().replace(key.id().as_str(), id);
        world
            .links
            .insert(LinkPath::new(Stem::new("build".parse().unwrap(), id).unwrap()), text.into_bytes());
        let report = world.verify();
        assert_eq!(report.outcome(), Outcome::Fulfilled, "{report:?}");
        let alias = report.steps[0].signed[0].alias.as_deref();
        assert_eq!(alias, Some(id).filter(|id| *id != key.id().as_str()));
    }
}

/// 03: the reference takes a link of any name.
#[test]
fn t5_a_link_is_about_the_step_that_its_file_names() {
    let mut world = World::chain();
    let other = signed(
        Form::Classic,
        &Document::Link(link("tag", &["a.c=1"], &["a.c=1", "app=2"])),
        &[&Person::new(2)],
    );
    world.links.insert(World::at(2, "build"), other);
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"]);
    assert_eq!(skipped(&report), ["it is about the step tag, not build"]);
}

/// 24, 25: with a threshold of 1 the reference takes the first.
#[test]
fn t6_links_that_count_agree() {
    for threshold in [1, 2] {
        for (materials, products) in
            [(&["m=1"][..], &["a=2"][..]), (&["m=2"], &["a=1"]), (&["m=1"], &["a=1", "b=1"])]
        {
            let mut world = two_of(&[1, 2]);
            world.layout.steps[0].threshold = threshold;
            world.link(1, &link("build", &["m=1"], &["a=1"]));
            world.link(2, &link("build", &["m=1"], &["a=1"]));
            assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
            world.link(2, &link("build", materials, products));
            assert_eq!(world.codes(), ["intoto.step.disagree"]);
        }
    }
    // What is no artifact may differ.
    let mut world = two_of(&[1, 2]);
    world.link(1, &link("build", &[], &["a=1"]));
    let mut other = link("build", &[], &["a=1"]);
    other.byproducts.insert("stdout".into(), json!("later"));
    world.link(2, &other);
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

/// 69, 70: whoever may write there may put anything there.
#[test]
fn t7_junk_is_skipped_with_a_note() {
    let mut world = two_of(&[1, 2, 3]);
    world.link(1, &link("build", &[], &["a=1"]));
    world.link(2, &link("build", &[], &["a=1"]));
    world.links.insert(World::at(3, "build"), b"{ not json".to_vec());
    world.links.insert(World::at(9, "build"), Vec::new());
    world.links.insert(World::at(1, "nowhere"), Vec::new());
    let report = world.verify();
    assert_eq!((report.outcome(), skipped(&report).len()), (Outcome::Fulfilled, 2));
    // Signed by a functionary, and refused.
    let raw =
        json!({"_type": "link", "name": "build", "materials": {}, "products": {"../a": {"sha256": "00"}}});
    let signature = hex::encode(Person::new(3).sign(&crate::sig::canonical::canonical(&raw)));
    let file: Value = json!({"signed": raw, "signatures": [{"keyid": "", "sig": signature}]});
    world.links.insert(World::at(3, "build"), file.to_string().into_bytes());
    let report = world.verify();
    assert!(skipped(&report).iter().any(|why| why.contains("not normalised")), "{report:?}");
}

#[test]
fn t8_gpg_is_refused_with_its_reason() {
    let mut world = World::new();
    world.step("build", 1, &[1], vec![], vec![]);
    world.link(1, &link("build", &[], &[]));
    let path = World::at(1, "build");
    let mut file: Value = serde_json::from_slice(&world.links[&path]).unwrap();
    file["signatures"][0] =
        json!({"keyid": Person::new(1).key().id().as_str(), "signature": "00", "other_headers": "04"});
    world.links.insert(path.clone(), file.to_string().into_bytes());
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"]);
    assert!(skipped(&report)[0].contains("GPG"));
    // Listed as a GPG key.
    let id = Person::new(1).key().id();
    let gpg = json!({"type": "rsa", "method": "pgp+rsa-pkcsv1.5", "hashes": ["pgp+SHA2"], "keyid": id.as_str(), "keyval": {}});
    world.layout.keys.insert(id, ListedKey::Unusable(Unusable::Gpg, gpg));
    let report = world.verify();
    assert_eq!(codes(&report), ["intoto.step.threshold"]);
    assert!(
        skipped(&report)[0].contains("GPG")
            && report.findings.iter().any(|f| f.code == Code::LayoutKeyUnusable)
    );
}

#[test]
fn t9_attestations_count_as_links() {
    let mut world = World::chain();
    let link = link("build", &["a.c=1"], &["a.c=1", "app=2"]);
    world.links.insert(World::at(2, "build"), attested(&link, &Person::new(2)));
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}

#[test]
fn t10_documents_are_bounded() {
    let mut world = World::new();
    world.step("build", 1, &[1], vec![], vec![]);
    world.link(1, &link("build", &[], &[]));
    for i in 0..MAX_DOCUMENTS {
        let path = format!("build.{i:08x}.link").parse().unwrap();
        world.links.insert(path, Vec::new());
    }
    assert!(world.codes().contains(&"intoto.layout.documents"));
    assert_eq!(world.verify().outcome(), Outcome::Undecided);
}

/// Eight hex digits of a key id can be had by trying, so a stranger's file may lie at the same place.
#[test]
fn t11_two_files_at_one_place_are_both_read() {
    for junk in [
        Vec::new(),
        signed(Form::Classic, &Document::Link(link("build", &[], &["evil=1"])), &[&Person::new(9)]),
    ] {
        let mut world = World::chain();
        world.beside.push((World::at(2, "build"), junk));
        let report = world.verify();
        assert_eq!((report.outcome(), skipped(&report).len()), (Outcome::Fulfilled, 1));
    }
}

/// One document with two signatures counts for the key that its file's name says; at both places for both.
#[test]
fn t12_a_file_counts_for_one_key() {
    let mut world = two_of(&[1, 2]);
    let both = signed(
        Form::Classic,
        &Document::Link(link("build", &[], &["a=1"])),
        &[&Person::new(1), &Person::new(2)],
    );
    world.links.insert(World::at(1, "build"), both.clone());
    assert_eq!(world.codes(), ["intoto.step.threshold"]);
    world.links.insert(World::at(2, "build"), both);
    assert_eq!(world.verify().outcome(), Outcome::Fulfilled);
}
