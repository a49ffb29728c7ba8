use super::*;
use crate::tuf::sim::{COLLECTION, DAY, NOW, SimKey, heading, signed, signers};
use crate::tuf::{Draft, Limits, Metadata, Targets, Unverified, delegation};

fn name() -> CollectionName {
    COLLECTION.parse().unwrap()
}

fn keys(key: &SimKey) -> RoleKeys {
    RoleKeys { threshold: 1, keys: [(key.public().key_id(), Some(key.public()))].into() }
}

fn patterns(texts: &[&str]) -> Paths {
    Paths::Patterns(texts.iter().map(|p| PathPattern::parse(p).unwrap()).collect())
}

/// A targets file with these delegations, as JSON.
fn file(role: &RoleName, delegations: &Value) -> Metadata<Targets> {
    let mut draft = Draft::targets(&heading(2, NOW, DAY), Map::new(), &[]).signed().clone();
    draft["delegations"] = delegations.clone();
    let bytes = signed(&Draft::from_signed(draft), &[&SimKey::new(3)]);
    Unverified::parse(role, &bytes, &Limits::default()).unwrap().verify(role, &[]).unwrap()
}

fn wanted(role: &str, seed: u8, scope: &str) -> Grant {
    Grant {
        role: role.parse().unwrap(),
        signers: signers(&[&SimKey::new(seed)], 1),
        paths: name().scope(scope).unwrap(),
        terminating: false,
        terms: Terms { at: NOW, lifetime: 90 * 86_400, vetting: None },
    }
}

/// Grant under releases, on top of what is delegated.
fn under_releases(now: Option<&Value>, g: &Grant) -> Result<Value, GrantError> {
    let (role, paths, keys) = (
        RoleName::releases(),
        patterns(&name().release_patterns().each_ref().map(|s| s.as_str())),
        keys(&SimKey::new(3)),
    );
    let delegations = now.unwrap_or(&Value::Null);
    grant(Delegator { role: &role, paths: Some(&paths), keys: &keys, delegations }, g, |_| false)
}

#[test]
fn scopes_have_short_forms() {
    let scope =
        |s: &str| -> Vec<String> { name().scope(s).unwrap().iter().map(ToString::to_string).collect() };
    let c = COLLECTION;
    assert_eq!(scope("dev-*"), [format!("{c}:dev-*")]);
    assert_eq!(scope(":v1"), [format!("{c}:v1")]);
    assert_eq!(scope(&format!("{c}:v?")), [format!("{c}:v?")]);
    assert_eq!(scope("@sha256:*"), [format!("{c}@sha256:*")]);
    assert_eq!(scope(c), [format!("{c}:*"), format!("{c}@sha256:*")]);
    assert_eq!(scope(&format!("{c}/in-toto-metadata/*/*.link")), [format!("{c}/in-toto-metadata/*/*.link")]);
    for bad in [
        "",
        "other.com/org/app:*",
        "a/b",
        "dev[12]",
        "dev 1",
        "@md5:*",
        ":",
        "@sha256:",
        "ex.com/org/apple:*",
    ] {
        assert!(name().scope(bad).is_err(), "{bad}");
    }
}

#[test]
fn siblings_speak_for_different_things() {
    let one = under_releases(None, &wanted("targets/releases/dev", 11, "dev-*")).unwrap();
    assert_eq!(one["roles"][0]["x-bulla"]["lifetime"], 90 * 86_400);
    let two = under_releases(Some(&one), &wanted("targets/releases/rc", 12, "rc-*")).unwrap();
    assert_eq!((two["roles"].as_array().unwrap().len(), two["keys"].as_object().unwrap().len()), (2, 2));
    let overlap = under_releases(Some(&two), &wanted("targets/releases/x", 13, "*-1")).unwrap_err();
    assert!(
        matches!(&overlap, GrantError::Overlap { sibling, .. } if sibling.as_str() == "targets/releases/dev")
    );
    let again = under_releases(Some(&two), &wanted("targets/releases/dev", 13, "y")).unwrap_err();
    assert!(matches!(again, GrantError::Taken(_)));
    let foreign = Grant {
        paths: vec![PathPattern::parse("other.com/x:*").unwrap()],
        ..wanted("targets/releases/x", 13, "y")
    };
    assert!(matches!(under_releases(None, &foreign), Err(GrantError::NotOurs { .. })));
    let own = under_releases(None, &wanted("targets/releases/x", 3, "y")).unwrap_err();
    assert!(matches!(own, GrantError::OwnKey { .. }));
    let mut three = wanted("targets/releases/x", 13, "y");
    for (threshold, count) in [(0, 1), (2, 1)] {
        three.signers.threshold = threshold;
        assert_eq!(under_releases(None, &three), Err(GrantError::Threshold { threshold, keys: count }));
    }
    let key = SimKey::new(13);
    let twice = Grant { signers: signers(&[&key, &key.again()], 2), ..wanted("targets/releases/x", 13, "y") };
    assert_eq!(under_releases(None, &twice), Err(GrantError::Threshold { threshold: 2, keys: 1 }));
}

#[test]
fn what_is_taken_back_takes_its_keys_along_and_nothing_else() {
    let one = under_releases(None, &wanted("targets/releases/dev", 11, "dev-*")).unwrap();
    let mut two = under_releases(Some(&one), &wanted("targets/releases/rc", 12, "rc-*")).unwrap();
    two["x-other"] = json!({"a": 1});
    two["roles"][1]["x-theirs"] = json!(true);
    let (role, keys) = (RoleName::releases(), keys(&SimKey::new(3)));
    let paths = patterns(&["*"]);
    let delegator = Delegator { role: &role, paths: Some(&paths), keys: &keys, delegations: &two };
    let left = take_back(delegator, &"targets/releases/dev".parse().unwrap()).unwrap();
    assert_eq!((left["roles"].as_array().unwrap().len(), left["keys"].as_object().unwrap().len()), (1, 1));
    assert_eq!((&left["x-other"]["a"], &left["roles"][0]["x-theirs"]), (&json!(1), &json!(true)));
    let absent = take_back(delegator, &"targets/releases/none".parse().unwrap());
    assert!(matches!(absent, Err(GrantError::Absent { .. })));
    assert!(matches!(take_back(delegator, &RoleName::releases()), Err(GrantError::Needed(_))));
}

#[test]
fn beside_releases_only_what_no_search_reaches() {
    let (role, top) = (RoleName::targets(), keys(&SimKey::new(2)));
    let c = name();
    let by = signers(&[&SimKey::new(3)], 1);
    let usual = [
        delegation(RoleName::revocations(), &by, patterns(&[c.revocations_path().as_str()]), true),
        delegation(
            RoleName::releases(),
            &by,
            patterns(&c.release_patterns().each_ref().map(|s| s.as_str())),
            true,
        ),
    ];
    let draft = Draft::targets(&heading(1, NOW, DAY), Map::new(), &usual);
    let delegations = &draft.signed()["delegations"];
    let delegator = Delegator { role: &role, paths: None, keys: &top, delegations };
    let mut security = wanted("targets/security", 11, COLLECTION);
    let with = grant(delegator, &security, |_| false).unwrap();
    let names: Vec<_> =
        with["roles"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["targets/revocations", "targets/releases", "targets/security"]);
    // The same scope again: roles that are named as sources may agree on anything.
    let again = Delegator { role: &role, paths: None, keys: &top, delegations: &with };
    security.role = "targets/quality".parse().unwrap();
    assert!(grant(again, &security, |_| false).is_ok());
    assert_eq!(
        grant(again, &security, |r| r.as_str() == "targets/quality"),
        Err(GrantError::Taken(security.role.clone()))
    );
    security.paths = vec![PathPattern::parse(&format!("{c}/in-toto-metadata/root.layout")).unwrap()];
    assert!(matches!(grant(again, &security, |_| false), Err(GrantError::Reached(_))));
    security.paths = vec![PathPattern::parse(&format!("{c}/*")).unwrap()];
    assert!(matches!(grant(again, &security, |_| false), Err(GrantError::Overlap { .. })));
}

#[test]
fn a_delegation_keeps_its_terms() {
    let vetting = Vetting {
        identity: "Anna".into(),
        request: "ab".into(),
        vetted_by: "Berta".into(),
        note: "passport, 2026-05-01".into(),
    };
    let mut g = wanted("targets/releases/dev", 11, "dev-*");
    g.terms.vetting = Some(vetting);
    let value = under_releases(None, &g).unwrap();
    let read = file(&RoleName::releases(), &value);
    let d = &read.role().delegations()[0];
    assert_eq!(d.terms.as_ref(), Some(&g.terms));
    // Written again by a draft of typed delegations, nothing is lost.
    let again = Draft::targets(&heading(1, NOW, DAY), Map::new(), read.role().delegations());
    assert_eq!(again.signed()["delegations"]["roles"][0]["x-bulla"], value["roles"][0]["x-bulla"]);
    if let Some(v) = &mut g.terms.vetting {
        v.note = "a\u{1b}[2J".into();
    }
    assert!(matches!(under_releases(None, &g), Err(GrantError::Text(_))));
}
