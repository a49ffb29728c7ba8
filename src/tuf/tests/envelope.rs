//! Envelope and keys: what holds for every file.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use serde_json::json;

use super::*;
use crate::sig::{KeyError, KeyId, PublicKey, Scheme};

#[test]
fn e1_type_is_that_of_the_place() {
    let sim = Sim::new();
    for other in ["snapshot", "root", "Timestamp", ""] {
        let file = timestamp_with(&sim, |t| t["_type"] = json!(other));
        assert_eq!(as_timestamp(&sim, &file).unwrap_err(), Fault::Type { got: other.into() });
    }
    // Signed by the right key, at the place of another role.
    let files = sim.files();
    let snapshot = files.get(&file(&RoleName::snapshot(), 1)).unwrap();
    assert!(matches!(as_timestamp(&sim, snapshot), Err(Fault::Type { .. })));
}

#[test]
fn e2_major_version_of_the_specification() {
    let sim = Sim::new();
    for (spec, reads) in
        [("1.0.34", true), ("1.9", true), ("1", true), ("2.0.0", false), ("10.0", false), ("", false)]
    {
        let file = timestamp_with(&sim, |t| t["spec_version"] = json!(spec));
        assert_eq!(as_timestamp(&sim, &file).is_ok(), reads, "{spec}");
    }
}

#[test]
fn e3_version_is_a_positive_integer() {
    let sim = Sim::new();
    for bad in [json!(0), json!(-1), json!("1"), json!(null), json!(1u64 << 53), json!(i64::MAX)] {
        let file = timestamp_with(&sim, |t| t["version"] = bad.clone());
        assert!(matches!(as_timestamp(&sim, &file), Err(Fault::Format(_))), "{bad}");
    }
    let file = timestamp_with(&sim, |t| t["version"] = json!((1u64 << 53) - 1));
    assert!(as_timestamp(&sim, &file).is_ok());
}

#[test]
fn e4_threshold_is_at_least_one() {
    let sim = Sim::new();
    let keys: Vec<_> = sim.root_keys.iter().collect();
    for bad in [json!(0), json!(-1), json!("1"), json!(null), json!(1u64 << 33)] {
        for role in ["root", "timestamp", "snapshot", "targets"] {
            let root = resigned(&sim.roots[0], |r| r["roles"][role]["threshold"] = bad.clone(), &keys);
            let e = RootWalk::start(&root, None, &Limits::default()).unwrap_err();
            assert!(matches!(e.fault, Fault::Format(_)), "{role} {bad}: {e}");
        }
    }
}

#[test]
fn e5_signatures_are_over_the_untyped_value_and_bytes_are_kept() {
    let sim = Sim::new();
    let unknown = json!({"new\nline \"quoted\" \\": [true, null, -7, "\u{e9}\u{301}\u{1}"], "a": {}});
    let file = timestamp_with(&sim, |t| t["unheard-of"] = unknown.clone());
    // Other white space and another order of names are the same signed value.
    let mut document: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let pretty = bytes::Bytes::from(serde_json::to_vec_pretty(&document).unwrap());
    let kept = as_timestamp(&sim, &pretty).unwrap();
    assert_eq!((kept.bytes(), &kept.signed()["unheard-of"]), (&pretty, &unknown));
    // And the next version carries what bulla does not know.
    assert_eq!(Draft::next_of(&kept, &heading(2, NOW, DAY)).signed()["unheard-of"], unknown);
    // A change to the unknown part is a change of what was signed.
    document["signed"]["unheard-of"]["a"] = json!(1);
    let changed = bytes::Bytes::from(serde_json::to_vec(&document).unwrap());
    assert!(matches!(as_timestamp(&sim, &changed), Err(Fault::Threshold { .. })));
}

#[test]
fn e6_bad_and_unknown_signatures_are_ignored() {
    let sim = Sim::new();
    let files = sim.files();
    let good = files.get(&FileName::timestamp()).unwrap();
    let more = with_signatures(good, |s| {
        s.insert(0, json!({"keyid": "stranger", "sig": "00"}));
        s.push(json!({"keyid": SimKey::new(77).public().key_id(), "sig": "zz"}));
    });
    assert!(as_timestamp(&sim, &more).is_ok());
    let bad = with_signatures(good, |s| s[0]["sig"] = json!("00".repeat(64)));
    assert!(matches!(as_timestamp(&sim, &bad), Err(Fault::Threshold { have: 0, need: 1, .. })));
}

#[test]
fn e7_duplicate_signature_key_ids_fail() {
    let sim = Sim::new();
    let files = sim.files();
    let good = files.get(&FileName::timestamp()).unwrap();
    let id = sim.online_key.public().key_id();
    let twice = with_signatures(good, |s| s.push(s[0].clone()));
    assert_eq!(as_timestamp(&sim, &twice).unwrap_err(), Fault::DuplicateSignature(id));
    // Also of an id that does not matter, though the threshold is met.
    let junk = json!({"keyid": "junk", "sig": ""});
    let twice = with_signatures(good, |s| s.extend([junk.clone(), junk]));
    let junk = KeyId::try_from("junk".to_owned()).unwrap();
    assert_eq!(as_timestamp(&sim, &twice).unwrap_err(), Fault::DuplicateSignature(junk));
}

#[test]
fn e8_an_empty_signature_holds_a_place() {
    let sim = Sim::new();
    let files = sim.files();
    let good = files.get(&FileName::timestamp()).unwrap();
    let placeholder = with_signatures(good, |s| s.push(json!({"keyid": "late", "sig": ""})));
    assert!(as_timestamp(&sim, &placeholder).is_ok());
    let only = with_signatures(good, |s| s[0]["sig"] = json!(""));
    assert!(matches!(as_timestamp(&sim, &only), Err(Fault::Threshold { have: 0, .. })));
}

#[test]
fn e9_duplicate_key_ids_of_a_role_do_not_count_twice() {
    let mut sim = Sim::new();
    let id = sim.online_key.public().key_id();
    let keys: Vec<_> = sim.root_keys.iter().collect();
    let twice = json!({"keyids": [id, id], "threshold": 2});
    sim.roots[0] = resigned(&sim.roots[0], |r| r["roles"]["timestamp"] = twice, &keys);
    let files = sim.files();
    let got = as_timestamp(&sim, files.get(&FileName::timestamp()).unwrap()).unwrap_err();
    assert!(matches!(got, Fault::Threshold { have: 1, need: 2, .. }));
}

#[test]
fn e10_one_key_under_two_ids_counts_once_whatever_surrounds_it() {
    let mut sim = Sim::new();
    let key = sim.online_key.again();
    let id = key.public().key_id();
    let mut alias = key.public().to_tuf();
    alias["comment"] = json!("another object, the same key");
    alias["keyval"]["public"] = json!(alias["keyval"]["public"].as_str().unwrap().to_uppercase());
    let roots: Vec<_> = sim.root_keys.iter().collect();
    let add = |r: &mut serde_json::Value| {
        r["keys"]["alias"] = alias.clone();
        r["roles"]["timestamp"] = json!({"keyids": ["alias", id], "threshold": 2});
    };
    sim.roots[0] = resigned(&sim.roots[0], add, &roots);
    let root = sim.walk(&sim.files()).unwrap();
    assert_eq!(root.last().role().timestamp_keys().repeated().len(), 1);
    let files = sim.files();
    let both = with_signatures(files.get(&FileName::timestamp()).unwrap(), |s| {
        let mut again = s[0].clone();
        again["keyid"] = json!("alias");
        s.push(again);
    });
    assert!(matches!(as_timestamp(&sim, &both), Err(Fault::Threshold { have: 1, need: 2, .. })));
}

#[test]
fn e11_key_ids_are_opaque_and_unique_in_their_file() {
    let mut sim = Sim::new();
    let roots: Vec<_> = sim.root_keys.iter().collect();
    let key = sim.online_key.public().to_tuf();
    let rename = |r: &mut serde_json::Value| {
        r["keys"]["my own name"] = key.clone();
        r["roles"]["timestamp"] = json!({"keyids": ["my own name"], "threshold": 1});
    };
    // Printable, without blanks: names travel through logs and file names.
    let root = resigned(&sim.roots[0], rename, &roots);
    assert!(RootWalk::start(&root, None, &Limits::default()).is_err());
    let rename = |r: &mut serde_json::Value| {
        r["keys"]["online-2026"] = key.clone();
        r["roles"]["timestamp"] = json!({"keyids": ["online-2026"], "threshold": 1});
    };
    sim.roots[0] = resigned(&sim.roots[0], rename, &roots);
    let files = sim.files();
    let renamed =
        with_signatures(files.get(&FileName::timestamp()).unwrap(), |s| s[0]["keyid"] = json!("online-2026"));
    assert!(as_timestamp(&sim, &renamed).is_ok());
    // An id that the role names must be listed, and two keys under one id are no strict JSON.
    let dangling = |r: &mut serde_json::Value| r["roles"]["timestamp"]["keyids"] = json!(["nowhere"]);
    let root = resigned(&sim.roots[0], dangling, &roots);
    let start = |collection| RootWalk::start(&root, collection, &Limits::default());
    assert!(matches!(start(Some(COLLECTION)).unwrap_err().fault, Fault::Format(_)));
    // In other people's repositories it is a key that cannot sign, as in python-tuf.
    let other = start(None).unwrap().finish();
    let count = Unverified::<Timestamp>::parse(
        &RoleName::timestamp(),
        files.get(&FileName::timestamp()).unwrap(),
        &Limits::default(),
    )
    .unwrap()
    .count(other.last().role().timestamp_keys());
    assert!(!count.is_met() && count.missing.len() == 1);
    let text = String::from_utf8(sim.roots[0].to_vec()).unwrap();
    let twice = text.replacen("\"keys\":{", &format!("\"keys\":{{\"online-2026\":{key},"), 1);
    let e = RootWalk::start(&bytes::Bytes::from(twice), None, &Limits::default()).unwrap_err();
    assert!(matches!(e.fault, Fault::Json(_)), "{e}");
}

#[test]
fn e12_kinds_of_keys() {
    let mut point = [9; 65];
    point[0] = 4;
    let ec = PublicKey::from_raw(Scheme::EcdsaP256, &point).unwrap();
    let mut old = ec.to_tuf();
    old["keytype"] = json!("ecdsa-sha2-nistp256");
    old["keyid_hash_algorithms"] = json!(["sha256", "sha512"]);
    assert_eq!(PublicKey::from_tuf(&old), Ok(ec));
    let pem = include_str!("../../../testdata/keys/rsa.pub");
    let rsa = json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": pem}});
    assert_eq!(PublicKey::from_tuf(&rsa).unwrap().to_tuf(), rsa);
    let foreign = json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65/1", "keyval": {"public": "-----BEGIN"}});
    assert!(matches!(PublicKey::from_tuf(&foreign), Err(KeyError::Unsupported { .. })));
    // A role may name a key that bulla cannot use: it cannot sign, and the others can.
    let mut sim = Sim::new();
    let roots: Vec<_> = sim.root_keys.iter().collect();
    let id = sim.online_key.public().key_id();
    let add = |r: &mut serde_json::Value| {
        r["keys"]["foreign"] = foreign;
        r["roles"]["timestamp"] = json!({"keyids": ["foreign", id], "threshold": 1});
    };
    sim.roots[0] = resigned(&sim.roots[0], add, &roots);
    let files = sim.files();
    let as_foreign =
        with_signatures(files.get(&FileName::timestamp()).unwrap(), |s| s[0]["keyid"] = json!("foreign"));
    assert!(as_timestamp(&sim, files.get(&FileName::timestamp()).unwrap()).is_ok());
    assert!(matches!(as_timestamp(&sim, &as_foreign), Err(Fault::Threshold { have: 0, .. })));
    // A malformed key of a known kind is an error of the file.
    let bad = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}});
    let root = resigned(&sim.roots[0], |r| r["keys"]["foreign"] = bad, &roots);
    let start = |collection| RootWalk::start(&root, collection, &Limits::default());
    assert!(matches!(start(Some(COLLECTION)).unwrap_err().fault, Fault::Key { .. }));
    // In other people's repositories it cannot sign, no more.
    let foreign = start(None).unwrap().finish().last().role().timestamp_keys().clone();
    assert_eq!(foreign.keys.values().filter(|key| key.is_none()).count(), 1);
}

/// A file signed by an RSA key counts; the key's PKCS#1 and SPKI forms under two ids are one key.
#[test]
fn e12_one_rsa_key_in_two_forms_counts_once() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki = PublicKey::from_raw(Scheme::RsaPss, pair.public_key().as_ref()).unwrap();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair.public_key().as_ref());
    let pkcs1 = format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----\n");
    let pkcs1 = json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": pkcs1}});
    let file_of = |threshold: u32| {
        let mut sim = Sim::new();
        let roots: Vec<_> = sim.root_keys.iter().collect();
        let add = |r: &mut serde_json::Value| {
            r["keys"]["spki"] = spki.to_tuf();
            r["keys"]["pkcs1"] = pkcs1.clone();
            r["roles"]["timestamp"] = json!({"keyids": ["spki", "pkcs1"], "threshold": threshold});
        };
        sim.roots[0] = resigned(&sim.roots[0], add, &roots);
        let files = sim.files();
        let file = files.get(&FileName::timestamp()).unwrap();
        let signed: serde_json::Value = serde_json::from_slice(file).unwrap();
        let message = crate::sig::canonical::canonical(&signed["signed"]);
        let sign = |id: &str| {
            let mut sig = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut sig).unwrap();
            json!({"keyid": id, "sig": hex::encode(sig)})
        };
        let file = with_signatures(file, |s| *s = vec![sign("spki"), sign("pkcs1")]);
        as_timestamp(&sim, &file).map(|_| ())
    };
    assert!(file_of(1).is_ok());
    assert!(matches!(file_of(2), Err(Fault::Threshold { have: 1, .. })));
}

#[test]
fn e13_dates_are_whole_seconds_in_utc() {
    let sim = Sim::new();
    for bad in ["2027-01-15T08:00:00.0Z", "2027-01-15T08:00:00+00:00", "2027-01-15", "1800000000", ""] {
        let file = timestamp_with(&sim, |t| t["expires"] = json!(bad));
        assert!(matches!(as_timestamp(&sim, &file), Err(Fault::Format(_))), "{bad}");
    }
    let files = sim.files();
    let written: serde_json::Value =
        serde_json::from_slice(files.get(&FileName::timestamp()).unwrap()).unwrap();
    assert_eq!(written["signed"]["expires"], "2027-01-22T08:00:00Z");
}
