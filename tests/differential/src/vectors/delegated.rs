//! G, D: top-level targets, delegations and the entry that is looked for.

use super::*;

/// Another bundle, as long as the one that is looked for.
const OTHER: &[u8] = &[b'x'; BUNDLE.len()];
/// Every tag of the collection.
const TAGS: &str = "ex.com/org/app:*";
/// Roles that are visited in one search.
const VISITED: usize = 32;

pub(super) fn add(all: &mut Vectors) {
    files(all);
    searches(all);
    malformed(all);
    entries(all);
}

fn files(all: &mut Vectors) {
    for (file, stem) in [("targets", "tuf.targets"), ("targets/releases", "tuf.delegation")] {
        let name = |what: &str| format!("{file} {what}");
        let code = |of: &str| no(&format!("{stem}.{of}"));
        all.add("G1", name("is missing"), code("missing"), |c| c.missing(file));
        all.add("G1", name("is longer than pinned"), no("tuf.size"), |c| {
            c.bytes(file, |b| Some([&b[..], b" "].concat()));
        });
        all.add("G1", name("is another file than pinned"), code("hash"), |c| {
            c.bytes(file, |b| Some([&b[..b.len() - 1], b" "].concat()));
        });
        all.add("G1", name("is signed by a stranger"), code("threshold"), |c| {
            c.part(file).by = vec![STRANGER]
        });
        all.add("G1", name("has another version than listed"), code("version"), |c| {
            c.part(file).signed["version"] = json!(6);
            c.pin_version(file, 5);
        });
        all.add("G1", name("is expired"), code("expired"), |c| {
            c.part(file).signed["expires"] = json!(time(NOW));
        });
    }
    let list = "targets/revocations";
    all.add("G1", "the revocations role is missing", no("revocation.missing"), |c| c.missing(list));
    all.add("G1", "the revocations role is another file than pinned", no("tuf.delegation.hash"), |c| {
        c.bytes(list, |b| Some([&b[..b.len() - 1], b" "].concat()));
    });
    all.add("G1", "the revocations role is signed by a stranger", no("tuf.delegation.threshold"), |c| {
        c.part(list).by = vec![STRANGER];
    });
    all.add("G1", "the revocations role is expired", no("revocation.expired"), |c| {
        c.part(list).signed["expires"] = json!(time(NOW));
    });
    all.add("G1", "thresholds of two are met by two", TRUSTED, |c| thresholds(c, &[6, 7]));
    all.add("G1", "thresholds of two are met by one of three", no("tuf.delegation.threshold"), |c| {
        thresholds(c, &[7]);
    });
}

/// The releases role has two of three keys, and is signed by these.
fn thresholds(c: &mut Case, by: &'static [usize]) {
    c.signed("targets", |v| {
        for key in [6, 7, 8] {
            v["delegations"]["keys"][id(key)] = public(key).to_tuf();
        }
        v["delegations"]["roles"][1]["keyids"] = json!([id(6), id(7), id(8)]);
        v["delegations"]["roles"][1]["threshold"] = json!(2);
    });
    c.part("targets/releases").by = by.to_vec();
}

fn searches(all: &mut Vectors) {
    let unlisted = || no("bundle.tag.unlisted");
    all.add("G2", "the first of two roles counts", TRUSTED, |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("targets", "b", 7, &[TAGS], false);
        c.list_in("a");
        c.part("b").signed["targets"] = json!({tag_path(): entry("tag", OTHER)});
    });
    all.add("G2", "the first of two roles names another bundle", no("bundle.tag.moved"), |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("targets", "b", 7, &[TAGS], false);
        c.part("a").signed["targets"] = json!({tag_path(): entry("tag", OTHER)});
        c.list_in("b");
    });
    all.add("G2", "deep before wide", TRUSTED, |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("a", "a/1", 7, &[TAGS], false);
        c.delegate("a/1", "a/1/x", 8, &[TAGS], false);
        c.delegate("targets", "b", 9, &[TAGS], false);
        c.list_in("a/1/x");
        c.part("b").signed["targets"] = json!({tag_path(): entry("tag", OTHER)});
    });
    all.add("G2", "terminating ends the search", unlisted(), |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], true);
        c.delegate("a", "a/1", 7, &[TAGS], false);
        c.delegate("targets", "b", 8, &[TAGS], false);
        c.list_in("b");
    });
    all.add("G2", "terminating deeper down ends the search", unlisted(), |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("a", "a/1", 7, &[TAGS], true);
        c.delegate("targets", "b", 8, &[TAGS], false);
        c.list_in("b");
    });
    all.add("G2", "terminating for other paths ends nothing", TRUSTED, |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &["other/*"], true);
        c.delegate("targets", "b", 7, &[TAGS], false);
        c.list_in("b");
    });
    all.add("G2", "roles that delegate to each other", TRUSTED, |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("a", "b", 7, &[TAGS], false);
        c.delegate("b", "a", 6, &[TAGS], false);
        c.delegate("b", "b", 7, &[TAGS], false);
        c.delegate("targets", "c", 8, &[TAGS], false);
        c.list_in("c");
    });
    for (n, expected) in [(VISITED, TRUSTED), (VISITED + 1, "undecided: tuf.delegation.cap")] {
        all.add("G2", format!("a chain of {n} roles"), expected, move |c| {
            c.without_releases();
            let name = |i: usize| if i == 0 { "targets".to_owned() } else { format!("r{i}") };
            (1..=n).for_each(|i| c.delegate(&name(i - 1), &name(i), 6 + i % 5, &[TAGS], false));
            c.list_in(&name(n));
        });
    }
    all.add("G3", "a broken role that is not on the way", TRUSTED, |c| {
        c.delegate("targets", "a", 6, &["other/*"], false);
        c.part("a").by = vec![STRANGER];
        c.missing("a");
    });
    all.add("G4", "a role of two delegators is judged by the one on the way", TRUSTED, |c| {
        shared(c);
        c.part("d").by = vec![7];
    });
    all.add(
        "G4",
        "a role of two delegators, signed for the other one",
        no("tuf.delegation.threshold"),
        |c| {
            shared(c);
            c.part("d").by = vec![8];
        },
    );
    all.add("G4", "another key since the role was kept", no("tuf.delegation.threshold"), |c| {
        c.after_an_honest_state(NOW - 100);
        c.part("targets/releases").signed["version"] = json!(5);
        c.signed("targets", |v| {
            v["delegations"]["keys"][id(9)] = public(9).to_tuf();
            v["delegations"]["roles"][1]["keyids"] = json!([id(9)]);
        });
        c.but(Judge::Verify, TRUSTED, Because::WhatIsRememberedStaysInForce);
    });
    all.add("G5", "a role that the snapshot does not list is passed over", TRUSTED, |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &[TAGS], false);
        c.delegate("targets", "b", 7, &[TAGS], false);
        c.part("a").signed["targets"] = json!({tag_path(): entry("tag", OTHER)});
        c.list_in("b");
        c.world.unlisted.push("a".to_owned());
    });
    all.add("G5", "the only role is not listed", unlisted(), |c| {
        c.world.unlisted.push("targets/releases".to_owned());
    });
    for (pattern, covers) in [
        ("ex.com/org/app:v?", true),
        ("*/*/*", true),
        ("ex.com/*/a*p:*", true),
        ("*", false),
        ("ex.com/*", false),
        ("**", false),
        ("EX.com/org/app:*", false),
        ("ex.com/org/app:v", false),
        ("/ex.com/org/app:*", false),
    ] {
        let expected = if covers { TRUSTED.to_owned() } else { unlisted() };
        all.add("G8", format!("the pattern {pattern}"), expected, |c| {
            c.without_releases();
            c.delegate("targets", "a", 6, &["other/x", pattern], false);
            c.list_in("a");
        });
    }
    let digest = Digest::sha256(tag_path().as_bytes()).hex().to_owned();
    let other = if digest.starts_with('0') { "1" } else { "0" };
    for (prefix, covers) in
        [("", true), (&digest[..1], true), (&digest[..7], true), (&digest[..], true), (other, false)]
    {
        let expected = if covers { TRUSTED.to_owned() } else { unlisted() };
        let prefix = prefix.to_owned();
        all.add("G8", format!("the hash prefix \"{prefix}\""), expected, |c| {
            c.without_releases();
            c.delegate("targets", "a", 6, &[], false);
            c.list_in("a");
            c.signed("targets", move |v| {
                let role = v["delegations"]["roles"][1].as_object_mut().unwrap();
                role.remove("paths");
                role.insert("path_hash_prefixes".into(), json!([prefix]));
            });
        });
    }
    all.add("G9", "a role lists what it may not speak for", unlisted(), |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &["ex.com/org/app:dev-*"], false);
        c.list_in("a");
    });
    all.add("G9", "a role may, its delegator may not", unlisted(), |c| {
        c.without_releases();
        c.delegate("targets", "a", 6, &["ex.com/org/app:dev-*"], false);
        c.delegate("a", "a/1", 7, &[TAGS], false);
        c.list_in("a/1");
    });
    all.add("G9", "what is listed beyond the paths harms nobody", TRUSTED, |c| {
        let entries = &mut c.part("targets/releases").signed["targets"];
        entries["other/thing"] = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    });
    for name in ["../up", "/etc/x", "a b?c#d", ".", "%2F", "ünïcode"] {
        all.add("G10", format!("a role called {name}"), TRUSTED, |c| {
            c.without_releases();
            c.delegate("targets", name, 6, &[TAGS], false);
            c.list_in(name);
        });
    }
}

/// `a`, for the tag, and `b`, for other paths, both delegate to `d`, with the keys 7 and 8.
fn shared(c: &mut Case) {
    c.without_releases();
    c.delegate("targets", "a", 6, &[TAGS], false);
    c.delegate("targets", "b", 6, &["other/*"], false);
    c.delegate("a", "d", 7, &[TAGS], false);
    c.delegate("b", "d", 8, &[TAGS], false);
    c.list_in("d");
}

/// A change to the second delegation of top-level targets.
type Change = fn(&mut Value);

fn malformed(all: &mut Vectors) {
    let rows: [(&'static str, &str, Change); 12] = [
        ("G6", "a delegation to root", |d| d["name"] = json!("root")),
        ("G6", "a delegation to targets", |d| d["name"] = json!("targets")),
        ("G7", "two delegations to one name", |d| d["name"] = json!("targets/revocations")),
        ("G8", "an open bracket in a pattern", |d| d["paths"] = json!(["ex.com/org/app:["])),
        ("G8", "a class in a pattern", |d| d["paths"] = json!(["ex.com/org/[a-z]*:*"])),
        ("G8", "a backslash in a pattern", |d| d["paths"] = json!(["ex.com/org/app:\\*"])),
        ("G8", "an empty pattern", |d| d["paths"] = json!([""])),
        ("G8", "both paths and prefixes", |d| d["path_hash_prefixes"] = json!([""])),
        ("G8", "neither paths nor prefixes", |d| drop(d.as_object_mut().unwrap().remove("paths"))),
        ("G8", "a prefix that is no hexadecimal number", |d| {
            drop(d.as_object_mut().unwrap().remove("paths"));
            d["path_hash_prefixes"] = json!(["xyz"]);
        }),
        ("G10", "a role without a name", |d| d["name"] = json!("")),
        ("G10", "a role whose name has a line end", |d| d["name"] = json!("a\nb")),
    ];
    for (rule, name, change) in rows {
        all.add(rule, name, no("tuf.format"), |c| {
            c.signed("targets", move |v| change(&mut v["delegations"]["roles"][1]));
        });
    }
}

fn entries(all: &mut Vectors) {
    let releases = "targets/releases";
    all.add("D1", "no entry", no("bundle.tag.unlisted"), |c| {
        c.signed(releases, |v| drop(v["targets"].as_object_mut().unwrap().remove(&tag_path())));
    });
    all.add("D2", "another length", no("bundle.length"), |c| {
        c.signed(releases, |v| v["targets"][tag_path()]["length"] = json!(BUNDLE.len() + 1));
    });
    all.add("D2", "another hash", no("bundle.tag.moved"), |c| {
        c.signed(releases, |v| v["targets"][tag_path()]["hashes"]["sha256"] = json!("00".repeat(32)));
    });
    all.add("D2", "a second hash does not fit", no("bundle.tag.moved"), |c| {
        c.signed(releases, |v| v["targets"][tag_path()]["hashes"]["sha512"] = json!("00".repeat(64)));
        c.but(Judge::Verify, TRUSTED, Because::ManifestsAreNamedBySha256);
    });
    all.add("D2", "a further hash of an unknown kind", TRUSTED, |c| {
        c.signed(releases, |v| v["targets"][tag_path()]["hashes"]["blake3"] = json!("00"));
    });
    all.add("D2", "no hash of a known kind", no("tuf.format"), |c| {
        c.signed(releases, |v| v["targets"][tag_path()]["hashes"] = json!({"md5": "00"}));
    });
}
