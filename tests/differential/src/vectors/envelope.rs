//! E: envelope and keys, in the file of each role.

use super::*;

fn format(_: &str) -> String {
    no("tuf.format")
}

fn threshold(stem: &str) -> String {
    no(&format!("{stem}.threshold"))
}

fn signatures(file: &mut Value) -> &mut Vec<Value> {
    file["signatures"].as_array_mut().unwrap()
}

/// The role's entry in whatever names its keys: for the root its own, for the rest the second root or top-level targets.
fn named_in(file: &str) -> (&'static str, &'static str) {
    match file {
        "2.root.json" => ("2.root.json", "root"),
        "timestamp" => ("2.root.json", "timestamp"),
        "snapshot" => ("2.root.json", "snapshot"),
        "targets" => ("2.root.json", "targets"),
        _ => ("targets", "targets/releases"),
    }
}

/// The object that lists the keys, and the role in it.
fn with_role(signed: &mut Value, name: &str, change: impl FnOnce(&mut Value, &mut Value)) {
    let holder = if signed["delegations"].is_object() { &mut signed["delegations"] } else { signed };
    let mut keys = holder["keys"].take();
    let role = match &mut holder["roles"] {
        Value::Array(list) => list.iter_mut().find(|r| r["name"] == name).unwrap(),
        map => &mut map[name],
    };
    change(&mut keys, role);
    holder["keys"] = keys;
}

fn key_of(file: &str) -> usize {
    match file {
        "2.root.json" => 0,
        "timestamp" => ONLINE,
        "snapshot" => SNAPSHOT,
        "targets" => TARGETS,
        _ => RELEASES,
    }
}

/// Change the role's keys and threshold where they are named.
fn role_of(case: &mut Case, file: &'static str, change: impl Fn(&mut Value, &mut Value) + 'static) {
    let (by, name) = named_in(file);
    case.signed(by, move |signed| with_role(signed, name, &change));
}

pub(super) fn add(all: &mut Vectors) {
    all.each("E1", "the type of another role", format, |c, file| {
        c.signed(file, |v| v["_type"] = json!("mirrors"));
    });
    all.each("E2", "version 2 of the specification", format, |c, file| {
        c.signed(file, |v| v["spec_version"] = json!("2.0.0"));
    });
    for (name, version) in [("0", json!(0)), ("past 2^53", json!(1u64 << 53)), ("as text", json!("5"))] {
        all.each("E3", &format!("version {name}"), format, |c, file| {
            let version = version.clone();
            c.signed(file, move |v| v["version"] = version.clone());
            if !matches!(file, "2.root.json" | "timestamp") {
                c.pin_version(file, 5);
            }
        });
    }
    all.each("E4", "a threshold of 0", format, |c, file| {
        role_of(c, file, |_, role| role["threshold"] = json!(0));
    });
    all.each(
        "E5",
        "unknown fields",
        |_| TRUSTED.into(),
        |c, file| {
            c.signed(file, |v| v["unheard-of"] = json!({"é\n\"": [1, null, true, {"deep": "\u{1}"}]}));
        },
    );
    all.each("E5", "changed after it was signed", threshold, |c, file| {
        c.envelope(file, |f| f["signed"]["unheard-of"] = json!(1));
    });
    all.each(
        "E6",
        "signatures of strangers",
        |_| TRUSTED.into(),
        |c, file| {
            c.envelope(file, |f| signatures(f).insert(0, json!({"keyid": "stranger", "sig": "00"})));
        },
    );
    all.each("E6", "a signature of something else", threshold, |c, file| {
        c.envelope(file, |f| signatures(f)[0]["sig"] = json!("00".repeat(64)));
    });
    all.each(
        "E7",
        "one signature twice",
        |_| no("tuf.signature.duplicate"),
        |c, file| {
            c.envelope(file, |f| {
                let again = signatures(f)[0].clone();
                signatures(f).push(again);
            });
        },
    );
    all.each(
        "E7",
        "a stranger's twice",
        |_| no("tuf.signature.duplicate"),
        |c, file| {
            let junk = || json!({"keyid": "stranger", "sig": ""});
            c.envelope(file, move |f| signatures(f).extend([junk(), junk()]));
        },
    );
    all.each(
        "E8",
        "a place held for somebody late",
        |_| TRUSTED.into(),
        |c, file| {
            c.envelope(file, |f| signatures(f).push(json!({"keyid": "late", "sig": ""})));
        },
    );
    all.each("E8", "only a place is held", threshold, |c, file| {
        c.envelope(file, |f| signatures(f)[0]["sig"] = json!(""));
    });
    all.each("E9", "a key id named twice for a threshold of one more", threshold, |c, file| {
        role_of(c, file, |_, role| {
            let first = role["keyids"][0].clone();
            role["keyids"].as_array_mut().unwrap().push(first);
            role["threshold"] = json!(role["keyids"].as_array().unwrap().len());
        });
    });
    all.each("E10", "one key under two ids for a threshold of one more", threshold, |c, file| {
        let first = key_of(file);
        role_of(c, file, move |keys, role| {
            keys["alias"] = public(first).to_tuf();
            keys["alias"]["comment"] = json!("another object, the same key");
            role["keyids"].as_array_mut().unwrap().push(json!("alias"));
            role["threshold"] = json!(role["keyids"].as_array().unwrap().len());
        });
        c.envelope(file, move |f| {
            let own = signatures(f).iter().find(|s| s["keyid"] == id(first)).unwrap().clone();
            signatures(f).push(json!({"keyid": "alias", "sig": own["sig"]}));
        });
    });
    all.each(
        "E11",
        "a key id that is just a name",
        |_| TRUSTED.into(),
        |c, file| {
            let key = key_of(file);
            role_of(c, file, move |keys, role| {
                keys["online-2026"] = public(key).to_tuf();
                let ids = role["keyids"].as_array_mut().unwrap();
                ids.retain(|i| *i != id(key));
                ids.push(json!("online-2026"));
            });
            c.envelope(file, move |f| {
                let own = signatures(f).iter().find(|s| s["keyid"] == id(key)).unwrap()["sig"].clone();
                signatures(f).push(json!({"keyid": "online-2026", "sig": own}));
            });
        },
    );
    all.each("E11", "a key that is named and not listed", format, |c, file| {
        role_of(c, file, |_, role| role["keyids"].as_array_mut().unwrap().push(json!("nowhere")));
        c.but(Judge::Plain, TRUSTED, Because::KeysOfACollectionAreInOrder);
    });
    all.each(
        "E12",
        "a key of an unknown kind beside",
        |_| TRUSTED.into(),
        |c, file| {
            role_of(c, file, |keys, role| {
                keys["foreign"] =
                    json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65/1", "keyval": {"public": "-----BEGIN"}});
                role["keyids"].as_array_mut().unwrap().push(json!("foreign"));
            });
        },
    );
    all.each("E12", "a malformed key beside", format, |c, file| {
        role_of(c, file, |keys, role| {
            keys["bad"] = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}});
            role["keyids"].as_array_mut().unwrap().push(json!("bad"));
        });
        c.but(Judge::Plain, TRUSTED, Because::KeysOfACollectionAreInOrder);
    });
    for date in ["2100-01-01T00:00:00.0Z", "2100-01-01T00:00:00+00:00", "2100-01-01"] {
        all.each("E13", date, format, |c, file| {
            c.signed(file, move |v| v["expires"] = json!(date));
        });
    }
    all.each(
        "E13",
        "a date like any other",
        |_| TRUSTED.into(),
        |c, file| {
            c.signed(file, |v| v["expires"] = json!(time(NOW + 1)));
        },
    );
}
