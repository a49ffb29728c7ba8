use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::trust::TrustFile;

fn ca() -> Certificate {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/x509/good-three.pem");
    Certificate::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap().pop().unwrap()
}

fn key() -> SubjectKey {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/p256.pub");
    SubjectKey::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn jwt() -> Value {
    let spki = key().spki().to_vec();
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    json!({"use": "jwt-svid", "kid": "a", "kty": "EC", "crv": "P-256",
           "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

fn bundle() -> Value {
    json!({
        "keys": [{"use": "x509-svid", "kty": "EC", "x5c": [STANDARD.encode(ca().as_der())]}, jwt(), {"use": "wit-svid", "kty": "x"}],
        "spiffe_sequence": 7, "spiffe_refresh_hint": 300,
    })
}

fn read(value: &Value) -> Result<SpiffeBundle, SpiffeError> {
    SpiffeBundle::parse(value.to_string().as_bytes())
}

#[test]
fn authorities_become_anchors_of_the_scope() {
    let scope: Scope = "ex.com/team/*".parse().unwrap();
    let out = read(&bundle()).unwrap().anchors("example.org", &scope, &Rescissions::Nowhere).unwrap();
    let [x509, jwt] = &out.signers[..] else { panic!("{out:?}") };
    let Trusts::Ca { certificate, subjects } = &x509.trusts else { panic!("{x509:?}") };
    assert_eq!((certificate, subjects[0].to_string()), (&ca(), "spiffe://example.org".to_owned()));
    assert_eq!((&jwt.trusts, &jwt.scope), (&Trusts::Key(key()), &scope));
    assert_eq!(out.notes.len(), 4, "{:?}", out.notes);
    let mut file = TrustFile::default();
    file.add(&out).unwrap();
    assert_eq!(TrustFile::parse(&file.to_bytes()), Ok(file.clone()));
    assert_eq!(file.rule(&"ex.com/team/app".parse().unwrap()).signers.len(), 2);
    assert!(file.rule(&"ex.com/other".parse().unwrap()).signers.is_empty());
    for bad in ["", "Example.org", "example.org/x", "spiffe://example.org", "a b"] {
        let out = read(&bundle()).unwrap().anchors(bad, &scope, &Rescissions::Nowhere);
        assert!(matches!(out, Err(SpiffeError::Name(_))), "{bad}");
    }
}

#[test]
fn rules_of_the_specification() {
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut value = bundle();
        edit(&mut value);
        read(&value)
    };
    let der = ca().as_der().to_vec();
    assert!(with(&|v| v["keys"] = json!([])).is_err(), "an empty set takes everything back");
    assert!(with(&|v| v["keys"] = json!([{"use": "x", "kty": "EC"}])).is_err(), "nothing that counts");
    assert!(with(&|v| v["keys"][0]["x5c"] = json!([STANDARD.encode(&der), STANDARD.encode(&der)])).is_err());
    assert!(with(&|v| v["keys"][0]["x5c"] = json!([])).is_err());
    assert!(with(&|v| v["keys"][0]["x5c"] = json!(["!"])).is_err());
    assert!(
        with(&|v| {
            v["keys"][0]["x"] = json!("AA");
            v["keys"][0]["crv"] = json!("P-256");
        })
        .is_err()
    );
    let foreign = with(&|v| {
        let own = v["keys"][1].clone();
        for name in ["x", "y", "crv"] {
            v["keys"][0][name] = own[name].clone();
        }
    });
    assert!(matches!(foreign, Err(SpiffeError::Entry { index: 0, .. })), "{foreign:?}");
    assert!(with(&|v| v["keys"][1]["kid"] = json!("")).is_err());
    assert!(with(&|v| v["keys"][1]["d"] = json!("AA")).is_err());
    assert!(with(&|v| v["spiffe_sequence"] = json!("7")).is_err());
    assert!(SpiffeBundle::parse(b"{\"keys\":[],\"keys\":[]}").is_err());
}

proptest! {
    #[test]
    fn no_changed_byte_makes_it_panic(at in any::<prop::sample::Index>(), with: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = bundle().to_string().into_bytes();
        let i = at.index(bytes.len());
        bytes[i] = with;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(bundle) = SpiffeBundle::parse(bytes) {
                let _ = bundle.anchors("example.org", &Scope::Any, &Rescissions::Nowhere);
            }
        }
    }
}
