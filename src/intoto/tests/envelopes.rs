use proptest::prelude::*;
use serde_json::{Value, json};

use crate::intoto::sim::{Person, attested, signed};
use crate::intoto::{
    ArtifactName, Document, Envelope, Form, Hashes, IntotoError, LINK_PREDICATE, Link, MAX_DOCUMENT,
    MAX_SIGNATURES,
};
use crate::oci::Digest;
use crate::sig::KeyId;

fn link() -> Link {
    let mut link = Link::new("build".parse().unwrap());
    link.command = vec!["make".into(), "all\n".into()];
    link.materials.insert("src/é.c".parse().unwrap(), Hashes::of(&Digest::sha256(b"a")));
    link.products.insert("out/app".parse().unwrap(), Hashes::of(&Digest::sha256(b"b")));
    link.byproducts.insert("return-value".into(), json!(0));
    link.byproducts.insert("stdout".into(), json!("\u{1}\t\"\\\u{2028}"));
    link
}

fn value(form: Form, by: &Person) -> Value {
    serde_json::from_slice(&signed(form, &Document::Link(link()), &[by])).unwrap()
}

fn parse(value: &Value) -> Result<Envelope, IntotoError> {
    Envelope::parse(value.to_string().as_bytes())
}

#[test]
fn e1_both_forms_come_back_as_they_were_written() {
    let alice = Person::new(1);
    for form in [Form::Classic, Form::Dsse] {
        let envelope = parse(&value(form, &alice)).unwrap();
        assert_eq!(envelope.form(), form);
        assert_eq!(envelope.verify(&alice.key()).unwrap().unwrap().into_link().unwrap(), link());
        assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap().message(), envelope.message());
    }
    let attestation = Envelope::parse(&attested(&link(), &alice)).unwrap();
    assert_eq!(attestation.signed()["predicateType"], LINK_PREDICATE);
    assert_eq!(attestation.verify(&alice.key()).unwrap().unwrap().into_link().unwrap(), link());
}

/// `securesystemslib.formats.encode_canonical` of the same value.
#[test]
fn e2_classic_signatures_are_over_canonical_json_of_the_raw_value() {
    let alice = Person::new(1);
    let envelope = parse(&value(Form::Classic, &alice)).unwrap();
    let message = std::str::from_utf8(envelope.message()).unwrap();
    assert!(message.starts_with("{\"_type\":\"link\",\"byproducts\":{\"return-value\":0,\"stdout\":\"\u{1}\t\\\"\\\\\u{2028}\"},\"command\":[\"make\",\"all\n\"],"), "{message}");

    // 71: a field that the model does not know and the signer signed; 05: one added afterwards.
    let mut known = link();
    known.byproducts.insert("x".into(), json!({"y": [1]}));
    let mut raw = Document::Link(known).to_value();
    raw["later"] = json!(["field"]);
    let signature = hex::encode(alice.sign(&crate::sig::canonical::canonical(&raw)));
    let mut file =
        json!({"signed": raw, "signatures": [{"keyid": alice.key().id().as_str(), "sig": signature}]});
    assert!(parse(&file).unwrap().verify(&alice.key()).unwrap().is_ok());
    file["signed"]["more"] = json!(1);
    assert!(parse(&file).unwrap().verify(&alice.key()).is_none());
}

#[test]
fn e3_two_signatures_under_one_id_are_refused() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    for form in [Form::Classic, Form::Dsse] {
        let mut file = value(form, &alice);
        let mut second = value(form, &bob)["signatures"][0].clone();
        file["signatures"].as_array_mut().unwrap().push(second.clone());
        assert!(parse(&file).is_ok(), "a stranger's signature is ignored (52)");
        second["keyid"] = file["signatures"][0]["keyid"].clone();
        file["signatures"][1] = second;
        assert!(matches!(parse(&file), Err(IntotoError::RepeatedSignature(_))));
    }
}

/// 30: Python takes the last of two members of one name.
#[test]
fn e4_names_that_stand_twice_are_refused() {
    let text = value(Form::Classic, &Person::new(1)).to_string();
    let twice = text.replacen("\"name\":", "\"name\":\"other\",\"name\":", 1);
    assert!(matches!(Envelope::parse(twice.as_bytes()), Err(IntotoError::Json(_))));
}

#[test]
fn e5_dsse_is_read_with_either_alphabet_without_key_ids_and_of_one_payload_type() {
    let alice = Person::new(1);
    let mut file = value(Form::Dsse, &alice);
    file["signatures"][0].as_object_mut().unwrap().remove("keyid");
    assert!(parse(&file).unwrap().verify(&alice.key()).is_some(), "55: a key id is optional");
    let payload = file["payload"].as_str().unwrap().replace('+', "-").replace('/', "_");
    file["payload"] = json!(payload.trim_end_matches('='));
    assert!(parse(&file).unwrap().verify(&alice.key()).is_some(), "54");
    file["payloadType"] = json!("application/vnd.in-toto.link+json");
    assert!(matches!(parse(&file), Err(IntotoError::Dsse(_))), "53");
}

#[test]
fn e6_the_type_decides_what_a_document_is() {
    let alice = Person::new(1);
    let mut raw = Document::Link(link()).to_value();
    for kind in [json!("layout"), json!("step"), json!(null), json!(7)] {
        raw["_type"] = kind;
        let file = json!({"signed": raw, "signatures": []});
        assert!(parse(&file).unwrap().unverified().is_err());
    }
    let mut file = value(Form::Classic, &alice);
    file["payload"] = json!("");
    assert!(matches!(parse(&file), Err(IntotoError::Envelope(_))), "two forms at once");
    let other = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [], "predicate": {}});
    assert!(matches!(Document::from_value(&other), Err(IntotoError::Predicate(_))));
    let link = Document::from_value(&Document::Link(link()).to_value()).unwrap();
    assert!(matches!(link.into_layout(), Err(IntotoError::Kind { .. })));
}

#[test]
fn e7_gpg_signatures_are_known_and_never_verify() {
    let alice = Person::new(1);
    let mut file = value(Form::Classic, &alice);
    file["signatures"][0] =
        json!({"keyid": alice.key().id().as_str(), "signature": "00", "other_headers": "04"});
    let envelope = parse(&file).unwrap();
    assert!(envelope.signatures()[0].is_gpg() && envelope.signed_by(&alice.key()).is_none());
    // A good signature does not become one by a header more, which is not signed.
    file = value(Form::Classic, &alice);
    file["signatures"][0]["other_headers"] = json!("04");
    assert!(parse(&file).unwrap().signed_by(&alice.key()).is_none());
}

#[test]
fn e8_sizes_and_counts_are_bounded() {
    let large = vec![b' '; MAX_DOCUMENT + 1];
    assert!(matches!(Envelope::parse(&large), Err(IntotoError::TooLarge(_))));
    // Few bytes of text that would be much memory.
    for text in [
        format!("{{\"signed\":[{}0]}}", "{\"a\":0},".repeat(120_000)),
        format!("[{}0]", "0,".repeat(1_000_001)),
    ] {
        assert!(matches!(Envelope::parse(text.as_bytes()), Err(IntotoError::TooMany { .. })));
    }
    assert!(!matches!(
        Envelope::parse(format!("[{:?}]", "{[,\"".repeat(300_000)).as_bytes()),
        Err(IntotoError::TooMany { .. })
    ));
    let mut file = value(Form::Classic, &Person::new(1));
    file["signatures"] = (0..=MAX_SIGNATURES).map(|i| json!({"keyid": i.to_string(), "sig": ""})).collect();
    assert!(matches!(parse(&file), Err(IntotoError::TooMany { .. })));
}

#[test]
fn e9_attestations_name_each_product_once() {
    let alice = Person::new(1);
    let envelope = Envelope::parse(&attested(&link(), &alice)).unwrap();
    let whole = envelope.signed().clone();
    let twice = [whole["subject"][0].clone(), whole["subject"][0].clone()];
    for (pointer, with) in [
        ("/subject", json!(twice)),
        ("/subject/0/digest", json!({})),
        ("/subject/0/name", json!(null)),
        ("/subject/0/name", json!("a/../b")),
        ("/predicate/name", json!("../x")),
        ("/predicate/materials", json!(null)),
        ("/predicate", json!([])),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = with;
        assert!(Document::from_value(&changed).is_err(), "{pointer}");
    }
    let mut by_uri = whole;
    let material = by_uri.pointer_mut("/predicate/materials/0").unwrap().as_object_mut().unwrap();
    let name = material.remove("name").unwrap();
    material.insert("uri".into(), name);
    assert_eq!(Document::from_value(&by_uri).unwrap().into_link().unwrap(), link());
}

#[test]
fn e10_signatures_are_added_to_what_was_received() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    for form in [Form::Classic, Form::Dsse] {
        let mut envelope = parse(&value(form, &alice)).unwrap();
        bob.signs(&mut envelope);
        bob.signs(&mut envelope);
        let both = Envelope::parse(&envelope.to_bytes()).unwrap();
        assert_eq!(both.signatures().len(), 2);
        assert!(both.signed_by(&alice.key()).is_some() && both.signed_by(&bob.key()).is_some());
        let own = both.signatures()[1].keyid().map(str::to_owned);
        assert_eq!(own.map(KeyId::try_from), Some(Ok(bob.key().id())));
    }
}

#[test]
fn e11_numbers_are_64_bit_integers() {
    for number in ["9223372036854775808", "0.5", "1e3"] {
        let text = value(Form::Classic, &Person::new(1)).to_string().replacen(":0", &format!(":{number}"), 1);
        assert!(matches!(Envelope::parse(text.as_bytes()), Err(IntotoError::Json(_))), "{number}");
    }
}

fn any_link() -> impl Strategy<Value = Link> {
    let names = proptest::collection::btree_map("[a-z é\n\"]{1,8}(/[a-z.]{3,6}){0,2}", any::<u8>(), 0..6);
    (names.clone(), names, "[\\PC\n\t\u{1}]{0,20}").prop_map(|(materials, products, text)| {
        let artifacts = |names: std::collections::BTreeMap<String, u8>| {
            let named = |(n, b): (String, u8)| {
                n.parse::<ArtifactName>().ok().map(|n| (n, Hashes::of(&Digest::sha256(&[b]))))
            };
            names.into_iter().filter_map(named).collect()
        };
        let mut link = Link::new("build".parse().unwrap());
        (link.materials, link.products) = (artifacts(materials), artifacts(products));
        link.command = vec![text.clone()];
        link.byproducts.insert(text, json!(-1));
        link
    })
}

proptest! {
    #[test]
    fn any_link_comes_back(link in any_link()) {
        let alice = Person::new(1);
        for form in [Form::Classic, Form::Dsse] {
            let read = Envelope::parse(&signed(form, &Document::Link(link.clone()), &[&alice])).unwrap();
            prop_assert_eq!(read.verify(&alice.key()).unwrap().unwrap().into_link().unwrap(), link.clone());
        }
        let read = Envelope::parse(&attested(&link, &alice)).unwrap();
        prop_assert_eq!(read.verify(&alice.key()).unwrap().unwrap().into_link().unwrap(), link);
    }

    #[test]
    fn any_changed_byte_is_refused_or_says_the_same(form in prop_oneof![Just(Form::Classic), Just(Form::Dsse)], at: usize, with: u8) {
        let alice = Person::new(1);
        let mut bytes = signed(form, &Document::Link(link()), &[&alice]);
        let at = at % bytes.len();
        bytes[at] = with;
        if let Some(Ok(document)) = Envelope::parse(&bytes).ok().and_then(|e| e.verify(&alice.key())) {
            prop_assert_eq!(document.into_link().unwrap(), link());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Envelope::parse(&bytes).map(|e| e.unverified().is_ok());
    }
}
