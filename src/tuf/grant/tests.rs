use super::*;
use crate::tuf::sim::COLLECTION;

fn name() -> CollectionName {
    COLLECTION.parse().unwrap()
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
fn a_role_lies_below_who_delegates() {
    let by = RoleName::releases();
    for name in ["dev", "targets/releases/dev"] {
        assert_eq!(role_under(&by, name).unwrap().as_str(), "targets/releases/dev");
    }
    for bad in ["", ".x", "-x", "a/b", "targets/dev", "a b", "targets/releases/", &"x".repeat(65)] {
        assert!(role_under(&by, bad).is_err(), "{bad}");
    }
}
