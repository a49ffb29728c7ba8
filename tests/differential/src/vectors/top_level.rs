//! R, T, S: root, timestamp and snapshot.

use super::*;

/// Roots of one chain that are followed, past the first.
const ROTATIONS: usize = 256;

pub(super) fn add(all: &mut Vectors) {
    roots(all);
    timestamps(all);
    snapshots(all);
}

fn roots(all: &mut Vectors) {
    all.add("R1", "expires in a second", TRUSTED, |c| {
        c.signed("timestamp", |v| v["expires"] = json!(time(NOW + 1)));
    });
    all.add("R1", "expires this second", no("tuf.timestamp.expired"), |c| {
        c.signed("timestamp", |v| v["expires"] = json!(time(NOW)));
    });
    all.add("R2", "the first root is not signed", no("anchor.root"), |c| {
        c.envelope("1.root.json", |f| f["signatures"] = json!([]));
    });
    all.add("R2", "the first root lacks a signature", no("anchor.root"), |c| {
        c.envelope("1.root.json", |f| drop(f["signatures"].as_array_mut().unwrap().pop()));
    });
    all.add("R2", "the first root is no JSON", no("anchor.root"), |c| {
        c.bytes("1.root.json", |_| Some(b"{".to_vec()));
    });
    all.add("R2", "the first root is expired", TRUSTED, |c| {
        c.signed("1.root.json", |v| v["expires"] = json!("2020-01-01T00:00:00Z"));
    });
    all.add("R3", "more rotations than are followed", "undecided: tuf.root.cap", |c| {
        for _ in 1..=ROTATIONS {
            c.next_root(&[], |_| ());
        }
    });
    all.add("R3", "a root is missing, and a later one is there", no("tuf.root.gap"), |c| {
        c.next_root(&[], |_| ());
        c.missing("2.root.json");
        c.but(Judge::Plain, TRUSTED, Because::AStateShowsThatARootIsMissing);
        c.but(Judge::Update, TRUSTED, Because::AStateShowsThatARootIsMissing);
    });
    all.add("R3", "the next root is no JSON", no("tuf.format"), |c| {
        c.bytes("2.root.json", |_| Some(b"[]".to_vec()));
    });
    all.add("R3", "the next root is longer than roots may be", no("tuf.size"), |c| {
        c.bytes("2.root.json", |_| Some(vec![b' '; 512 * 1024 + 1]));
    });
    let new_keys = |v: &mut Value| {
        v["keys"][id(7)] = public(7).to_tuf();
        v["keys"][id(8)] = public(8).to_tuf();
        v["roles"]["root"] = role(&[7, 8], 2);
    };
    all.add("R4", "signed by old and new keys", TRUSTED, |c| c.next_root(&[7, 8], new_keys));
    all.add("R4", "signed by one old key too few", no("tuf.root.threshold"), |c| {
        c.next_root(&[7, 8], new_keys);
        c.world.roots[2].by.retain(|k| *k != 0);
    });
    all.add("R4", "signed by one new key too few", no("tuf.root.threshold"), |c| c.next_root(&[7], new_keys));
    all.add("R4", "a raised threshold is not met", no("tuf.root.threshold"), |c| {
        c.next_root(&[], |v| v["roles"]["root"]["threshold"] = json!(3));
    });
    all.add("R4", "a threshold is lowered by too few", no("tuf.root.threshold"), |c| {
        c.next_root(&[], |v| v["roles"]["root"]["threshold"] = json!(1));
        c.world.roots[2].by.pop();
    });
    for version in [1, 2, 4] {
        all.add("R5", format!("version {version} in place of 3"), no("tuf.root.version"), |c| {
            c.next_root(&[], |_| ());
            c.signed("3.root.json", move |v| v["version"] = json!(version));
        });
    }
    all.add("R6", "a root on the way is expired", TRUSTED, |c| {
        c.next_root(&[], |_| ());
        c.signed("2.root.json", |v| v["expires"] = json!("2020-01-01T00:00:00Z"));
    });
    all.add("R7", "a root does not verify after one that does", no("tuf.root.threshold"), |c| {
        c.next_root(&[], |_| ());
        c.envelope("3.root.json", |f| f["signatures"] = json!([]));
    });
    all.add("R7", "the same after an honest state", no("tuf.root.threshold"), |c| {
        c.after_an_honest_state(NOW - 100);
        c.next_root(&[], |_| ());
        c.envelope("3.root.json", |f| f["signatures"] = json!([]));
        c.but(Judge::Verify, TRUSTED, Because::WhatIsRememberedStaysInForce);
    });
    all.add("R8", "the last root is expired", no("tuf.root.expired"), |c| {
        c.signed("2.root.json", |v| v["expires"] = json!(time(NOW)));
    });
    for (name, keys, expected) in [
        ("timestamp", ONLINE, TRUSTED.to_owned()),
        ("snapshot", SNAPSHOT, TRUSTED.to_owned()),
        ("targets", TARGETS, no("tuf.timestamp.rollback")),
    ] {
        for joins in [true, false] {
            let how = if joins { "joined" } else { "replaced" };
            let what = format!("versions fall with a root in which the key of {name} is {how}");
            all.add("R9", what, expected.clone(), |c| {
                c.at_version(1 << 40);
                c.after_an_honest_state(NOW - 100);
                c.at_version(2);
                c.next_root(&[], |v| {
                    v["keys"][id(7)] = public(7).to_tuf();
                    v["roles"][name] = if joins { role(&[keys, 7], 1) } else { role(&[7], 1) };
                });
                if !joins {
                    c.part(name).by = vec![7];
                }
            });
        }
    }
    all.add("R10", "the first root without consistent snapshots", no("anchor.root"), |c| {
        for root in ["1.root.json", "2.root.json"] {
            c.signed(root, |v| v["consistent_snapshot"] = json!(false));
        }
        c.but(Judge::Plain, TRUSTED, Because::StatesHoldVersionedNames);
    });
    all.add("R10", "the second root without consistent snapshots", no("tuf.format"), |c| {
        c.signed("2.root.json", |v| v["consistent_snapshot"] = json!(false));
        c.but(Judge::Plain, TRUSTED, Because::StatesHoldVersionedNames);
    });
    all.add("R10", "consistent snapshots as text", no("tuf.format"), |c| {
        c.signed("2.root.json", |v| v["consistent_snapshot"] = json!("yes"));
    });
}

fn timestamps(all: &mut Vectors) {
    all.add("T1", "a timestamp of more than 16 KiB", no("tuf.size"), |c| {
        c.signed("timestamp", |v| v["unheard-of"] = json!("x".repeat(16 * 1024)));
    });
    all.add("T2", "signed by a stranger", no("tuf.timestamp.threshold"), |c| {
        c.world.timestamp.by = vec![STRANGER];
    });
    all.add("T3", "nothing is listed", no("tuf.format"), |c| {
        c.signed("timestamp", |v| v["meta"] = json!({}))
    });
    all.add("T3", "more than the snapshot is listed", no("tuf.format"), |c| {
        c.signed("timestamp", |v| v["meta"]["targets.json"] = json!({"version": 5}));
    });
    all.add("T4", "an older timestamp", no("tuf.timestamp.rollback"), |c| {
        c.after_an_honest_state(NOW - 100);
        c.world.timestamp.signed["version"] = json!(4);
    });
    all.add("T5", "the same version with other content", TRUSTED, |c| {
        c.after_an_honest_state(NOW - 100);
        c.world.timestamp.signed["version"] = json!(5);
    });
    all.add("T6", "a newer timestamp names an older snapshot", no("tuf.timestamp.rollback"), |c| {
        c.after_an_honest_state(NOW - 100);
        c.world.snapshot.signed["version"] = json!(4);
    });
    all.add("T7", "expired", no("tuf.timestamp.expired"), |c| {
        c.signed("timestamp", |v| v["expires"] = json!(time(NOW - 1)));
    });
    all.add("T9", "older than what was accepted and is expired since", no("tuf.timestamp.rollback"), |c| {
        c.parts().for_each(|p| p.signed["expires"] = json!(time(NOW - 10 * DAY)));
        c.after_an_honest_state(NOW - 20 * DAY);
        c.parts().for_each(|p| p.signed["expires"] = json!(time(NOW + DAY)));
        c.world.timestamp.signed["version"] = json!(4);
    });
    all.add("T9", "no timestamp", no("tuf.timestamp.missing"), |c| c.missing("timestamp"));
}

fn snapshots(all: &mut Vectors) {
    all.add("S1", "longer than pinned", no("tuf.size"), |c| {
        c.bytes("snapshot", |b| Some([&b[..], b" "].concat()));
    });
    all.add("S1", "longer than snapshots may be, not pinned", no("tuf.size"), |c| {
        c.world.pinned = false;
        c.bytes("snapshot", |b| Some([&b[..], &vec![b' '; 2 * 1024 * 1024]].concat()));
    });
    all.add("S2", "shorter than pinned", no("tuf.snapshot.hash"), |c| {
        c.bytes("snapshot", |b| Some(b[..b.len() - 1].to_vec()));
    });
    all.add("S2", "other bytes than pinned", no("tuf.snapshot.hash"), |c| {
        c.bytes("snapshot", |b| Some([&b[..b.len() - 1], b" "].concat()));
    });
    for (name, hashes, expected) in [
        ("a second hash does not fit", json!({"sha512": "00".repeat(64)}), no("tuf.snapshot.hash")),
        ("a hash in capitals", json!({"sha256": "AB".repeat(32)}), no("tuf.format")),
        ("a hash of another length", json!({"sha256": "ab"}), no("tuf.format")),
    ] {
        all.add("S2", name, expected, |c| {
            c.signed("timestamp", move |v| {
                for (algorithm, hash) in hashes.as_object().unwrap() {
                    v["meta"]["snapshot.json"]["hashes"][algorithm] = hash.clone();
                }
            });
        });
    }
    for (name, hashes) in [("no hash", json!({})), ("no known hash", json!({"md5": "00"}))] {
        all.add("S2", format!("hashes that list {name}"), no("tuf.format"), |c| {
            c.signed("timestamp", move |v| v["meta"]["snapshot.json"]["hashes"] = hashes.clone());
        });
    }
    all.add("S2", "no hashes and no lengths at all", TRUSTED, |c| c.world.pinned = false);
    all.add("S3", "signed by the key of another role", no("tuf.snapshot.threshold"), |c| {
        c.world.snapshot.by = vec![ONLINE];
    });
    all.add("S4", "another version than the timestamp names", no("tuf.snapshot.version"), |c| {
        c.world.snapshot.signed["version"] = json!(6);
        c.pin_version("snapshot", 5);
    });
    for role in ["targets", "targets/releases", "targets/revocations"] {
        all.add("S5", format!("{role} falls"), no("tuf.snapshot.rollback"), |c| {
            c.after_an_honest_state(NOW - 100);
            c.part(role).signed["version"] = json!(4);
        });
    }
    for (role, code) in
        [("targets/releases", "tuf.snapshot.rollback"), ("targets/revocations", "revocation.dropped")]
    {
        all.add("S5", format!("{role} goes"), no(code), |c| {
            c.after_an_honest_state(NOW - 100);
            c.world.unlisted.push(role.to_owned());
        });
    }
    all.add("S5", "top-level targets is not listed", no("tuf.format"), |c| {
        c.world.unlisted.push("targets".to_owned());
    });
    all.add("S6", "expired", no("tuf.snapshot.expired"), |c| {
        c.signed("snapshot", |v| v["expires"] = json!(time(NOW)));
    });
    all.add("S8", "the snapshot that is kept is gone, and still the one that counts", TRUSTED, |c| {
        c.after_an_honest_state(NOW - 100);
        c.at_version(5);
        c.world.timestamp.signed["version"] = json!(6);
        c.missing("snapshot");
    });
    all.add("S9", "the snapshot is missing", no("tuf.snapshot.missing"), |c| c.missing("snapshot"));
    all.add("S9", "the snapshot is missing after an honest state", no("tuf.snapshot.missing"), |c| {
        c.after_an_honest_state(NOW - 100);
        c.missing("snapshot");
        c.but(Judge::Verify, TRUSTED, Because::WhatIsRememberedStaysInForce);
    });
}
