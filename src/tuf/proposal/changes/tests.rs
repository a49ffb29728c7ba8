use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tuf::sim::{COLLECTION, NOW, SimKey};

fn name() -> CollectionName {
    COLLECTION.parse().unwrap()
}

fn read(changes: Value) -> Result<Vec<Edit>, ChangesError> {
    let text = json!({"schemaVersion": 1, "collection": COLLECTION, "changes": changes}).to_string();
    super::changes(text.as_bytes(), &name(), NOW)
}

#[test]
fn every_edit_has_its_change() {
    let (key, id) = (SimKey::new(9).public(), SimKey::new(9).public().key_id());
    let pem = key.to_pem();
    let role = |r: &str| -> RoleName { r.parse().unwrap() };
    let (by, dev) = (role("targets/releases"), role("targets/releases/dev"));
    let vetting = json!({"identity": "A", "request": "ab", "vettedBy": "B", "note": "n"});
    let terms = Terms {
        at: NOW,
        lifetime: 3_600,
        delegates: true,
        vetting: serde_json::from_value(vetting.clone()).ok(),
    };
    let paths = Paths::Patterns(name().scope("dev-*").unwrap());
    let target = json!({"length": 1, "hashes": {"sha256": "00"}});
    let rows = [
        (
            json!({"change": "add-key", "role": "root", "key": pem}),
            Edit::AddKey { role: role("root"), key: key.clone() },
        ),
        (
            json!({"change": "remove-key", "role": "root", "keyId": id}),
            Edit::RemoveKey { role: role("root"), key: id },
        ),
        (
            json!({"change": "threshold", "role": "root", "threshold": 2}),
            Edit::Threshold { role: role("root"), threshold: 2 },
        ),
        (json!({"change": "resign", "role": "root"}), Edit::Resign { role: role("root"), life: None }),
        (
            json!({"change": "resign", "role": "root", "lifetime": 60}),
            Edit::Resign { role: role("root"), life: Some(60) },
        ),
        (
            json!({"change": "delegate", "by": by, "role": dev, "keys": [pem], "paths": ["dev-*"], "terminating": true,
                "place": {"before": "targets/releases/rc"}, "lifetime": 3_600, "mayDelegate": true, "vetting": vetting}),
            Edit::Delegate {
                by: by.clone(),
                role: dev.clone(),
                signers: Signers { keys: vec![key], threshold: 1 },
                paths: paths.clone(),
                terminating: true,
                place: Place::Before(role("targets/releases/rc")),
                note: Some(json!(terms)),
            },
        ),
        (
            json!({"change": "undelegate", "by": by, "role": dev}),
            Edit::Undelegate { by: by.clone(), role: dev.clone() },
        ),
        (
            json!({"change": "scope", "by": by, "role": dev, "paths": ["dev-*"]}),
            Edit::Scope { by: by.clone(), role: dev.clone(), paths: Some(paths), terminating: None },
        ),
        (
            json!({"change": "scope", "by": by, "role": dev, "terminating": false}),
            Edit::Scope { by: by.clone(), role: dev.clone(), paths: None, terminating: Some(false) },
        ),
        (
            json!({"change": "order", "by": by, "roles": [dev]}),
            Edit::Order { by: by.clone(), roles: vec![dev.clone()] },
        ),
        (json!({"change": "start", "role": dev}), Edit::Start { role: dev.clone() }),
        (
            json!({"change": "demand", "min": 1, "roles": [by]}),
            Edit::Demand(Some(Agreement::new(1, vec![by.clone()]).unwrap())),
        ),
        (json!({"change": "no-demand"}), Edit::Demand(None)),
        (
            json!({"change": "set-target", "role": by, "path": "p", "target": target}),
            Edit::SetTarget { role: by.clone(), path: "p".into(), value: target },
        ),
        (
            json!({"change": "remove-target", "role": by, "path": "p"}),
            Edit::RemoveTarget { role: by.clone(), path: "p".into() },
        ),
        (
            json!({"change": "file", "role": by, "path": "p", "base64": "aGk=", "custom": {"a": 1}}),
            Edit::File {
                role: by,
                path: "p".into(),
                bytes: Bytes::from_static(b"hi"),
                custom: Some(json!({"a": 1})),
            },
        ),
    ];
    for (change, edit) in &rows {
        assert_eq!(read(json!([change])).unwrap(), std::slice::from_ref(edit), "{change}");
        // Strictly: no member more, and none less.
        let mut more = change.clone();
        more["unknown"] = json!(1);
        assert!(read(json!([more])).is_err(), "{more}");
        for member in
            ["change", "role", "by", "key", "keyId", "keys", "path", "target", "base64", "min", "roles"]
        {
            let mut less = change.clone();
            if less.as_object_mut().unwrap().remove(member).is_some() {
                assert!(read(json!([less])).is_err(), "{less}");
            }
        }
    }
    let all: Vec<Value> = rows.iter().map(|(change, _)| change.clone()).collect();
    assert_eq!(read(json!(all)).unwrap().len(), rows.len());
}

#[test]
fn nonsense_is_named_by_its_place() {
    let said = |changes: Value| read(changes).unwrap_err().to_string();
    assert_eq!(said(json!([])), "1 to 1024 changes, not 0");
    assert!(
        said(json!([{"change": "no-demand"}, {"change": "grow"}]))
            .starts_with("change 2: unknown variant `grow`")
    );
    assert!(
        said(json!([{"change": "resign", "role": "root", "lifetime": 0}]))
            .contains("1 to 3155760000 seconds")
    );
    assert!(said(json!([{"change": "add-key", "role": "root", "key": "x"}])).starts_with("change 1: "));
    assert!(
        said(json!([{"change": "file", "role": "targets", "path": "p", "base64": "§"}])).contains("base64")
    );
    let scope = json!({"change": "scope", "by": "targets", "role": "targets/x", "paths": ["other.com/x:*"]});
    assert!(said(json!([scope])).contains("outside of the collection"));
    for (text, why) in [
        (r#"{"schemaVersion":2,"collection":"ex.com/org/app","changes":[]}"#, "schemaVersion 2"),
        (r#"{"schemaVersion":1,"collection":"ex.com/other","changes":[]}"#, "it is for ex.com/other"),
        (
            r#"{"schemaVersion":1,"schemaVersion":1,"collection":"ex.com/org/app","changes":[]}"#,
            "schemaVersion",
        ),
        (r#"{"schemaVersion":1,"collection":"ex.com/org/app","changes":[],"x":1}"#, "unknown field"),
    ] {
        let e = super::changes(text.as_bytes(), &name(), NOW).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
    }
}

proptest! {
    #[test]
    fn damaged_lists_are_no_reason_to_panic(
        at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let delegate = json!({"change": "delegate", "by": "targets/releases", "role": "targets/releases/x",
            "keys": [SimKey::new(9).public().to_pem()], "paths": ["dev-*"]});
        let mut bytes = json!({"schemaVersion": 1, "collection": COLLECTION, "changes": [delegate, {"change": "no-demand"}]}).to_string().into_bytes();
        for (i, with) in at {
            let i = i.index(bytes.len());
            bytes[i] = with;
        }
        let keep = cut.index(bytes.len() * 4);
        bytes.truncate(keep.max(1));
        let _ = super::changes(&bytes, &name(), NOW);
    }
}
