use proptest::prelude::*;

use super::*;

const TYPE: &str = "application/vnd.in-toto+json";

fn testdata(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

fn key(kind: &str) -> SubjectKey {
    SubjectKey::from_pem(&String::from_utf8(testdata(&format!("{kind}.pub"))).unwrap()).unwrap()
}

fn attested() -> Value {
    json::parse(&testdata("cosign2-attest-p256.dsse.json")).unwrap()
}

fn verify(envelope: &Envelope, kind: &str) -> Result<Signed, DsseError> {
    envelope.verify(TYPE, |message, signature| sigstore_accepts(&key(kind), message, signature))
}

/// The example of the specification's `protocol.md`.
#[test]
fn the_pre_authentication_encoding_is_the_specifications() {
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("ä", b""), "DSSEv1 2 ä 0 ".as_bytes());
}

#[test]
fn cosigns_attestation_verifies_with_its_key_only() {
    let envelope = Envelope::parse(&testdata("cosign2-attest-p256.dsse.json")).unwrap().single().unwrap();
    assert_eq!(envelope.keyids().count(), 0, "cosign writes an empty keyid");
    let signed = verify(&envelope, "p256").unwrap();
    assert!(signed.payload().starts_with(b"{\"_type\":\"https://in-toto.io/Statement/v0.1\""));
    assert_eq!(signed.payload_type(), TYPE);
    for other in ["p384", "p521", "rsa2048", "ed25519", "generated"] {
        assert_eq!(verify(&envelope, other), Err(DsseError::NotSigned), "{other}");
    }
    let wanted = "text/plain".to_owned();
    let found = TYPE.to_owned();
    assert_eq!(envelope.verify("text/plain", |_, _| true), Err(DsseError::PayloadType { found, wanted }));
}

#[test]
fn key_ids_decide_nothing() {
    let mut value = attested();
    for keyid in [json!("someone else's"), json!(null), json!("")] {
        value["signatures"][0]["keyid"] = keyid;
        assert!(verify(&Envelope::from_value(&value).unwrap(), "p256").is_ok());
    }
    value["signatures"][0]["keyid"] = json!(1);
    assert_eq!(Envelope::from_value(&value), Err(DsseError::Form("keyid is no text")));
}

#[test]
fn a_second_signature_is_refused_where_one_is_allowed() {
    let mut value = attested();
    let own = value["signatures"][0].clone();
    value["signatures"] = json!([{"sig": "AAAA"}, own]);
    let two = Envelope::from_value(&value).unwrap();
    assert!(verify(&two, "p256").is_ok());
    assert_eq!(two.single(), Err(DsseError::NotOne(2)));
    value["signatures"] = json!([]);
    assert_eq!(Envelope::from_value(&value), Err(DsseError::Count(0)));
    value["signatures"] = json!(vec![own; MAX_SIGNATURES + 1]);
    assert_eq!(Envelope::from_value(&value), Err(DsseError::Count(MAX_SIGNATURES + 1)));
}

#[test]
fn both_alphabets_are_read_and_unknown_members_ignored() {
    let signature = [0xfb, 0xff, 0xfe];
    let mut value = envelope(TYPE, b"\xfb\xff\xbe", &signature, None);
    value["x"] = json!({"y": 1});
    let standard = Envelope::from_value(&value).unwrap();
    value["payload"] = json!("-_--");
    value["signatures"][0]["sig"] = json!("-__-");
    assert_eq!(Envelope::from_value(&value).unwrap(), standard);
    for bad in ["-/--", "a b=", "=", "é"] {
        value["payload"] = json!(bad);
        assert_eq!(Envelope::from_value(&value), Err(DsseError::Form("payload is not base64")), "{bad}");
    }
}

#[test]
fn what_is_no_envelope_is_refused() {
    for bad in [
        &b""[..],
        b"[]",
        b"{}",
        br#"{"payload":"","payloadType":"","signatures":[{"sig":"AA=="}]}"#,
        br#"{"payload":"","payloadType":"t","signatures":[{"sig":""}]}"#,
        br#"{"payload":"","payloadType":"t","signatures":[1]}"#,
        br#"{"payload":"","payloadType":"t","signatures":{"sig":"AA=="}}"#,
        br#"{"payload":"","payload":"","payloadType":"t","signatures":[{"sig":"AA=="}]}"#,
    ] {
        assert!(Envelope::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
    let large = vec![b' '; MAX_ENVELOPE + 1];
    assert_eq!(Envelope::parse(&large), Err(DsseError::TooLarge(MAX_ENVELOPE + 1)));
}

proptest! {
    #[test]
    fn what_is_written_is_read(payload: Vec<u8>, kind in "[a-z/+]{1,40}", signature in proptest::collection::vec(any::<u8>(), 1..80)) {
        let written = envelope(&kind, &payload, &signature, None);
        let read = Envelope::parse(&serde_json::to_vec(&written).unwrap()).unwrap().single().unwrap();
        let message = pae(&kind, &payload);
        let signed = read.verify(&kind, |m, s| m == message && s == signature).unwrap();
        prop_assert_eq!(signed.payload(), &payload[..]);
    }

    #[test]
    fn any_changed_byte_is_refused_or_says_the_same(at in 0usize..548, with: u8) {
        let bytes = testdata("cosign2-attest-p256.dsse.json");
        let whole = verify(&Envelope::parse(&bytes).unwrap(), "p256").unwrap();
        let mut changed = bytes;
        let at = at % changed.len();
        changed[at] = with;
        if let Ok(signed) = Envelope::parse(&changed).and_then(|e| verify(&e, "p256")) {
            prop_assert_eq!(signed, whole);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Envelope::parse(&bytes);
    }
}
