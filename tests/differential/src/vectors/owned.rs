//! What a collection asks for beyond the specification.

use super::*;

pub(super) fn add(all: &mut Vectors) {
    for (what, file) in ROLES.iter().flat_map(|(file, _)| [("another collection", *file), ("none", *file)]) {
        let name = format!("{file} names {what}");
        all.add("bulla", name, no("tuf.collection"), |c| {
            c.signed(file, move |v| match what {
                "none" => drop(v.as_object_mut().unwrap().remove("x-bulla")),
                _ => v["x-bulla"]["collection"] = json!("ex.com/org/other"),
            });
            c.but(Judge::Plain, TRUSTED, Because::FilesNameTheirCollection);
        });
    }
    all.add("bulla", "the trusted root names another collection", no("anchor.collection"), |c| {
        c.signed("1.root.json", |v| v["x-bulla"]["collection"] = json!("ex.com/org/other"));
        c.but(Judge::Plain, TRUSTED, Because::FilesNameTheirCollection);
    });
    let other = |c: &mut Case| {
        c.but(Judge::Plain, TRUSTED, Because::RevocationsAreRead);
        c.but(Judge::Update, TRUSTED, Because::RevocationsAreRead);
    };
    let revoked = format!(
        r#"{{"schemaVersion":1,"entries":[{{"id":"1","kind":"bundle","subject":"{}","at":"{}"}}]}}"#,
        Digest::sha256(BUNDLE),
        time(NOW - 10)
    );
    for (name, list, expected) in [
        ("the bundle is revoked", revoked.clone(), no("revocation.bundle")),
        (
            "the list is of an unknown schema",
            r#"{"schemaVersion":2,"entries":[]}"#.to_owned(),
            "undecided: revocation.unreadable".to_owned(),
        ),
        (
            "the list has an entry of an unknown kind",
            revoked.replace("\"bundle\"", "\"curse\""),
            "undecided: revocation.unreadable".to_owned(),
        ),
    ] {
        all.add("bulla", name, expected, |c| {
            c.part("targets/revocations").signed["targets"] =
                json!({list_path(): list_entry(list.as_bytes())});
            c.list = Some(list.into_bytes());
            other(c);
        });
    }
    all.add("bulla", "the list is missing", no("revocation.missing"), |c| {
        c.list = None;
        other(c);
    });
    all.add("bulla", "the list is another file", no("revocation.missing"), |c| {
        c.list = Some(br#"{"schemaVersion":1, "entries":[]}"#.to_vec());
        other(c);
    });
    all.add("bulla", "the role does not list the list", no("revocation.missing"), |c| {
        c.part("targets/revocations").signed["targets"] = json!({});
        other(c);
    });
    all.add("bulla", "the snapshot does not list the role", no("revocation.missing"), |c| {
        c.world.unlisted.push("targets/revocations".to_owned());
        other(c);
    });
}
