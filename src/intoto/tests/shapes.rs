use serde_json::{Value, json};

use crate::intoto::sim::Person;
use crate::intoto::{Document, Inspection, IntotoError, Layout, Link, MAX_ARTIFACTS, MAX_STEPS, Step};
use crate::time::UnixTime;

fn layout() -> Layout {
    let mut layout = Layout {
        expires: UnixTime::from_secs(1_800_000_000),
        readme: "how it is built".into(),
        keys: Default::default(),
        steps: Vec::new(),
        inspections: Vec::new(),
    };
    let id = layout.add_key(Person::new(1).key());
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let rules =
        |list: &[&str]| list.iter().map(|r| crate::intoto::Rule::from_words(&words(r)).unwrap()).collect();
    layout.steps.push(Step {
        name: "build".parse().unwrap(),
        threshold: 1,
        pubkeys: vec![id],
        expected_command: words("make all"),
        expected_materials: rules(&["MATCH *.c IN src WITH PRODUCTS IN out FROM tag", "DISALLOW *"]),
        expected_products: rules(&["CREATE app", "ALLOW *"]),
    });
    layout.inspections.push(Inspection {
        name: "unpack".parse().unwrap(),
        run: words("tar xf app.tar"),
        expected_materials: rules(&["REQUIRE app"]),
        expected_products: Vec::new(),
    });
    layout
}

fn read(value: &Value) -> Result<Layout, IntotoError> {
    Layout::from_value(value)
}

fn changed(pointer: &str, with: Option<Value>) -> Value {
    let mut value = layout().to_value();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match with {
        Some(with) => parent.insert(name.to_owned(), with),
        None => parent.remove(name),
    };
    value
}

#[test]
fn s1_a_layout_comes_back_as_it_was_written() {
    let value = layout().to_value();
    assert_eq!(read(&value).unwrap().to_value(), value);
    let id = Person::new(1).key().id();
    assert_eq!(value["keys"][id.as_str()]["keyid"], id.as_str(), "the reference wants the id inside too");
}

/// 80 to 83: Python fills a missing `expires` with next month, and a missing threshold with 1.
#[test]
fn s2_members_are_present_and_well_typed() {
    for pointer in [
        "/_type",
        "/expires",
        "/keys",
        "/steps",
        "/inspect",
        "/steps/0/_type",
        "/steps/0/name",
        "/steps/0/threshold",
        "/steps/0/pubkeys",
        "/steps/0/expected_materials",
        "/steps/0/expected_products",
        "/inspect/0/_type",
        "/inspect/0/name",
        "/inspect/0/run",
        "/inspect/0/expected_materials",
        "/inspect/0/expected_products",
    ] {
        for with in [None, Some(json!(null)), Some(json!(true)), Some(json!({"a": 1}))] {
            let refused = read(&changed(pointer, with.clone())).is_err();
            assert!(refused, "{pointer} {with:?}");
        }
    }
    for pointer in ["/readme", "/steps/0/expected_command"] {
        assert!(read(&changed(pointer, None)).is_ok(), "{pointer}");
        assert!(read(&changed(pointer, Some(json!(1)))).is_err(), "{pointer}");
    }
}

/// 81 to 83, 13.
#[test]
fn s3_a_threshold_is_a_number_from_1_on() {
    for bad in [json!(0), json!(-1), json!(true), json!("1"), json!(1u64 << 40)] {
        assert!(read(&changed("/steps/0/threshold", Some(bad.clone()))).is_err(), "{bad}");
    }
}

/// 58.
#[test]
fn s4_expires_is_a_whole_second_in_utc() {
    for bad in
        ["2030-01-01", "2030-02-30T00:00:00Z", "2030-01-01T00:00:00+01:00", "2030-01-01T00:00:00.5Z", ""]
    {
        assert!(read(&changed("/expires", Some(json!(bad)))).is_err(), "{bad}");
    }
    let layout = layout();
    assert!(layout.is_expired(layout.expires) && !layout.is_expired(layout.expires.plus(-1)));
}

/// 84, and the fields of ITE-7, ITE-10.
#[test]
fn s5_unknown_fields_are_refused() {
    for (pointer, with) in [
        ("/expectedAttributes", json!([])),
        ("/steps/0/expectedAttributes", json!([{"rule": "x"}])),
        ("/steps/0/expectedPredicates", json!([])),
        ("/inspect/0/predicates", json!([])),
        ("/inspect/0/cert_constraints", json!([])),
        ("/rootcas", json!({"a": {}})),
        ("/steps/0/cert_constraints", json!([{"common_name": "*"}])),
        ("/x", json!(null)),
    ] {
        let refused = read(&changed(pointer, Some(with)));
        assert!(matches!(refused, Err(IntotoError::Unknown { .. })), "{pointer}: {refused:?}");
    }
    // 71: in-toto-golang writes them always.
    for pointer in ["/rootcas", "/intermediatecas", "/steps/0/cert_constraints"] {
        for empty in [json!(null), json!([]), json!({})] {
            assert!(read(&changed(pointer, Some(empty))).is_ok(), "{pointer}");
        }
    }
}

/// 72.
#[test]
fn s6_a_layout_has_steps() {
    assert!(matches!(read(&changed("/steps", Some(json!([])))), Err(IntotoError::Empty)));
    let step = layout().to_value()["steps"][0].clone();
    let many: Vec<Value> = (0..=MAX_STEPS).map(|_| step.clone()).collect();
    assert!(matches!(read(&changed("/steps", Some(json!(many)))), Err(IntotoError::TooMany { .. })));
}

#[test]
fn s7_names_are_unique_over_steps_and_inspections() {
    for name in ["build", "BUILD"] {
        let refused = read(&changed("/inspect/0/name", Some(json!(name))));
        assert!(matches!(refused, Err(IntotoError::Repeated(_))), "{name}");
    }
}

/// 28, 67: a name like `../x` leads out of its folder.
#[test]
fn s8_names_of_steps_and_inspections_are_safe() {
    for bad in ["", ".", "..", ".x", "../x", "a/b", "a b", "a~b", "a\\b", "é", "a*", &"a".repeat(129)] {
        for pointer in ["/steps/0/name", "/inspect/0/name"] {
            let refused = read(&changed(pointer, Some(json!(bad))));
            assert!(matches!(refused, Err(IntotoError::Name { .. })), "{pointer} {bad}");
        }
    }
}

#[test]
fn s9_key_ids_of_a_layout_are_hex() {
    let key = layout().to_value()["keys"].as_object().unwrap().values().next().unwrap().clone();
    for bad in ["", "0123456", "../../..", "0123456z"] {
        assert!(read(&changed("/keys", Some(json!({bad: key})))).is_err(), "{bad}");
        assert!(read(&changed("/steps/0/pubkeys", Some(json!([bad])))).is_err(), "{bad}");
    }
    assert!(read(&changed("/keys", Some(json!({"01234567": {"keytype": "ed25519"}})))).is_err());
}

/// 73, 12.
#[test]
fn s10_functionaries_are_distinct_keys_that_the_layout_lists() {
    let mut layout = layout();
    let alice = Person::new(1).key();
    let again: crate::sig::KeyId = "0123456789abcdef".to_owned().try_into().unwrap();
    let stranger: crate::sig::KeyId = "ffffffffffffffff".to_owned().try_into().unwrap();
    layout.keys.insert(again.clone(), crate::intoto::ListedKey::Usable(alice.named(again.as_str())));
    let mut step = layout.steps[0].clone();
    step.pubkeys.extend([again, stranger]);
    assert_eq!(layout.functionaries(&step).len(), 1);
}

#[test]
fn s11_a_link_says_what_it_used_and_made() {
    let link = Link::new("build".parse().unwrap());
    let whole = Document::Link(link).to_value();
    for name in ["name", "materials", "products"] {
        let mut value = whole.clone();
        value.as_object_mut().unwrap().remove(name);
        assert!(Link::from_value(&value).is_err(), "{name}");
    }
    for (name, with) in [
        ("materials", json!({"a": {}})),
        ("products", json!({"a": {"sha256": "xyz"}})),
        ("products", json!({"a": {"sha256": ""}})),
        ("products", json!({"a": "00"})),
        ("products", json!([])),
        ("command", json!("make")),
        ("byproducts", json!([])),
        ("environment", json!("")),
    ] {
        let mut value = whole.clone();
        value[name] = with;
        assert!(Link::from_value(&value).is_err(), "{name}");
    }
    let mut value = whole;
    for name in ["command", "byproducts", "environment"] {
        value.as_object_mut().unwrap().remove(name);
    }
    value["unknown"] = json!(1);
    assert_eq!(Link::from_value(&value).unwrap().return_value(), None);
    value["products"] = (0..=MAX_ARTIFACTS)
        .map(|i| (i.to_string(), json!({"a": "0"})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert!(matches!(Link::from_value(&value), Err(IntotoError::TooMany { .. })));
}
