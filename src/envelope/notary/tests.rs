//! Over what notation 1.3.2 wrote (testdata/signatures/notation), and over envelopes made here with its keys.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coset::cbor::value::Value as Cbor;
use coset::{CborSerializable as _, CoseSign1, TaggedCborSerializable as _};
use proptest::prelude::*;

use super::*;
use crate::envelope::{notary_cose, notary_jws};

type Verify = fn(&[u8]) -> Result<Verified, NotaryError>;
const FORMS: [(&str, Verify); 2] = [("jws", notary_jws::verify), ("cose", notary_cose::verify)];

fn testdata(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(testdata(name)).unwrap()
}

fn subject() -> Descriptor {
    Descriptor::of(media_type::OCI_MANIFEST, &testdata("subject.json"))
}

fn time(s: &str) -> UnixTime {
    s.parse().unwrap()
}

fn chain_of(kind: &str) -> Chain {
    Chain::notary(Certificate::from_pem(&text(&format!("notation/{kind}.chain.pem"))).unwrap()).unwrap()
}

/// A signature as `keys::Signer` makes it.
fn sign(kind: &str, message: &[u8]) -> Vec<u8> {
    let pem = text(&format!("notation/{kind}.key.pem"));
    let body: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    let random = SystemRandom::new();
    let ecdsa = |algorithm| {
        EcdsaKeyPair::from_pkcs8(algorithm, &der).unwrap().sign(&random, message).unwrap().as_ref().to_vec()
    };
    match kind {
        "p256" => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        "p384" => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => {
            let key = RsaKeyPair::from_pkcs8(&der).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
            signature
        }
    }
}

fn request(kind: &str) -> Request {
    Request {
        artifact: Artifact::of(&subject()),
        signed_at: time("2026-11-21T20:00:00Z"),
        expires: None,
        chain: chain_of(kind),
        agent: "bulla/test".into(),
    }
}

fn written(kind: &str, form: &str, request: Request) -> Result<Vec<u8>, NotaryError> {
    match form {
        "jws" => notary_jws::Draft::new(request).and_then(|d| {
            let signature = sign(kind, &d.message());
            d.finish(&signature)
        }),
        _ => notary_cose::Draft::new(request).and_then(|d| {
            let signature = sign(kind, &d.message());
            d.finish(&signature)
        }),
    }
}

/// A JWS by the P-256 key with any protected header and payload.
fn jws(protected: &Value, payload: &[u8]) -> Vec<u8> {
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = sign("p256", format!("{protected}.{payload}").as_bytes());
    let chain = chain_of("p256");
    let signature = URL_SAFE_NO_PAD.encode(chain.leaf().key().to_fixed(&signature).unwrap());
    let x5c: Vec<_> = chain.certificates().iter().map(|c| STANDARD.encode(c.as_der())).collect();
    let envelope =
        json!({"payload": payload, "protected": protected, "header": {"x5c": x5c}, "signature": signature});
    envelope.to_string().into_bytes()
}

fn protected() -> Value {
    json!({
        "alg": "ES256", "cty": PAYLOAD_TYPE, "crit": [SCHEME, EXPIRY], SCHEME: "notary.x509",
        SIGNING_TIME: "2026-11-21T20:00:00Z", EXPIRY: "2027-11-21T20:00:00Z",
    })
}

#[test]
fn what_notation_signs_verifies() {
    for (form, verify) in FORMS {
        for kind in ["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "self-signed"] {
            let read = verify(&testdata(&format!("notation/notation-{kind}.{form}"))).unwrap();
            assert!(read.is_for(&subject()), "{kind} {form}");
            assert!(!read.is_for(&Descriptor { size: 1, ..subject() }));
            assert!(!read.is_for(&Descriptor { media_type: media_type::OCI_INDEX.into(), ..subject() }));
            assert!(!read.is_for(&Descriptor::of(media_type::OCI_MANIFEST, b"another")));
            assert_eq!(read.scheme(), SigningScheme::X509);
            assert_eq!(read.timestamp(), None);
            assert!(read.agent().unwrap().starts_with("notation-go/1.3.2"));
            assert!(read.signed_at() > time("2026-11-21T00:00:00Z"));
            let root = Certificate::from_pem(&text("notation/root.pem")).unwrap().remove(0);
            assert_eq!(*read.chain().root() == root, kind != "self-signed");
            assert_eq!(read.chain().valid_at(read.signed_at()), Ok(()));
            let annotated = read.artifact().annotations.len();
            let expires = read.expires();
            assert_eq!((annotated, expires.is_some()), if kind == "p384" { (2, true) } else { (0, false) });
            if let Some(expires) = expires {
                assert!(read.expired_at(expires) && !read.expired_at(expires.plus(-1)));
            }
        }
    }
}

#[test]
fn what_bulla_writes_verifies() {
    for (form, verify) in FORMS {
        for kind in ["p256", "p384", "rsa2048"] {
            let mut request = request(kind);
            request.expires = Some(time("2027-01-01T00:00:00Z"));
            request.artifact.annotations.insert("build".into(), "17 \"ä\"".into());
            let read = verify(&written(kind, form, request.clone()).unwrap()).unwrap();
            assert_eq!(*read.artifact(), request.artifact);
            assert_eq!((read.signed_at(), read.expires()), (request.signed_at, request.expires));
            assert_eq!((read.chain(), read.agent()), (&request.chain, Some("bulla/test")));
            assert_eq!(
                read.signature().len(),
                [64, 96, 256][["p256", "p384", "rsa2048"].iter().position(|k| *k == kind).unwrap()]
            );
            // With the key of another certificate nothing is written.
            let other = if kind == "p256" { "p384" } else { "p256" };
            assert_eq!(written(other, form, request), Err(NotaryError::Signature));
        }
        let mut request = request("p256");
        request.expires = Some(request.signed_at);
        assert!(matches!(
            written("p256", form, request.clone()),
            Err(NotaryError::Attribute { name: EXPIRY, .. })
        ));
        request.expires = None;
        request.signed_at = time("2025-12-31T23:59:59Z");
        let not_yet = written("p256", form, request.clone());
        assert!(matches!(not_yet, Err(NotaryError::Chain(ChainError::NotYet { index: 0, .. }))));
        request.signed_at = time("2026-11-21T20:00:00Z");
        request.artifact.annotations.insert("io.cncf.notary.x".into(), String::new());
        assert!(matches!(written("p256", form, request), Err(NotaryError::Payload(_))));
    }
    assert_eq!(
        thumbprints(&chain_of("p256")),
        json!(
            chain_of("p256")
                .certificates()
                .iter()
                .map(|c| c.thumbprint().hex().to_owned())
                .collect::<Vec<_>>()
        )
        .to_string()
    );
}

/// One bit of each byte: refused, or what was signed is the same (the agent is not signed, base64 and CBOR have spare bits there).
#[test]
fn no_changed_byte_changes_what_was_signed() {
    for (form, verify) in FORMS {
        let bytes = testdata(&format!("notation/notation-p256.{form}"));
        let whole = verify(&bytes).unwrap();
        let mut taken = 0;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 7);
            if let Ok(read) = verify(&changed) {
                taken += 1;
                assert_eq!(Verified { agent: whole.agent.clone(), ..read }, whole, "{form}, byte {at}");
            }
        }
        assert!(taken < 100, "{form}: {taken} changes were taken");
    }
}

#[test]
fn attributes_are_judged() {
    use NotaryError::{Critical, Form, NotCritical, Plugin};
    let own = |s: &str| Attribute::Text(s.into());
    let at = |s: i64| Attribute::Time(UnixTime::from_secs(s));
    let fault = |name, fault| NotaryError::Attribute { name, fault };
    let judge = |critical: &[&str], found: &[(&str, Attribute)]| {
        let critical: Vec<String> = critical.iter().map(|s| (*s).to_owned()).collect();
        attributes(&critical, &found.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    };
    let x509 = (SCHEME, own("notary.x509"));
    let authority = (SCHEME, own("notary.x509.signingAuthority"));
    let read = judge(
        &[SCHEME, EXPIRY],
        &[x509.clone(), (SIGNING_TIME, at(5)), (EXPIRY, at(6)), ("com.example.x", own("y"))],
    );
    let (signed_at, expires) = (UnixTime::from_secs(5), Some(UnixTime::from_secs(6)));
    assert_eq!(read, Ok(Attributes { scheme: SigningScheme::X509, signed_at, expires }));
    let read = judge(&[SCHEME, AUTHENTIC_TIME], &[authority.clone(), (AUTHENTIC_TIME, at(5))]).unwrap();
    assert_eq!((read.scheme, read.expires), (SigningScheme::SigningAuthority, None));

    let good = [x509.clone(), (SIGNING_TIME, at(5))];
    // Known, so it may be critical, and need not be.
    assert!(judge(&[SCHEME, SIGNING_TIME], &good).is_ok());
    let with = |more: (&'static str, Attribute)| [good[0].clone(), good[1].clone(), more];
    for (critical, found, is) in [
        (
            &[SCHEME, "com.example.x"][..],
            &with(("com.example.x", own("y")))[..],
            Critical("com.example.x".into()),
        ),
        (&[SCHEME, "alg"], &good, Critical("alg".into())),
        (&[SCHEME, EXPIRY], &good, Form("a critical attribute is not there")),
        (&[SCHEME, SCHEME], &good, Form("an attribute is listed as critical twice")),
        (&[], &good, NotCritical(SCHEME)),
        (&[SCHEME], &with((EXPIRY, at(9))), NotCritical(EXPIRY)),
        (&[SCHEME], &with((PLUGIN, own("x"))), NotCritical(PLUGIN)),
        (&[SCHEME, PLUGIN], &with((PLUGIN, own("com.x"))), Plugin("com.x".into())),
        (
            &[SCHEME, PLUGIN_VERSION],
            &with((PLUGIN_VERSION, own("1"))),
            fault(PLUGIN_VERSION, "stands without a plugin"),
        ),
        (&[SCHEME], std::slice::from_ref(&x509), fault(SIGNING_TIME, "is missing")),
        (&[SCHEME], &[x509.clone(), (SIGNING_TIME, own("yesterday"))], fault(SIGNING_TIME, "is no time")),
        (&[SCHEME, EXPIRY], &with((EXPIRY, at(5))), fault(EXPIRY, "is not later than the signing time")),
        (&[SCHEME, EXPIRY], &with((EXPIRY, Attribute::Other)), fault(EXPIRY, "is no time")),
        (
            &[SCHEME, AUTHENTIC_TIME],
            &with((AUTHENTIC_TIME, at(5))),
            fault(AUTHENTIC_TIME, "does not belong to the signing scheme"),
        ),
        (
            &[SCHEME, AUTHENTIC_TIME],
            &[authority.clone(), (AUTHENTIC_TIME, at(5)), (SIGNING_TIME, at(5))],
            fault(SIGNING_TIME, "does not belong to the signing scheme"),
        ),
        (
            &[SCHEME],
            &[authority, (SIGNING_TIME, at(5))],
            fault(SIGNING_TIME, "does not belong to the signing scheme"),
        ),
        (
            &[SCHEME],
            &[(SCHEME, own("notary.x510")), (SIGNING_TIME, at(5))],
            fault(SCHEME, "is neither notary.x509 nor notary.x509.signingAuthority"),
        ),
    ] {
        assert_eq!(judge(critical, found), Err(is));
    }
    assert_eq!(judge(&[], &[(SIGNING_TIME, at(5))]), Err(fault(SCHEME, "is missing")));
}

#[test]
fn jws_headers_are_judged() {
    let payload = Artifact::of(&subject()).to_payload();
    let read = notary_jws::verify(&jws(&protected(), &payload)).unwrap();
    assert_eq!(read.expires(), Some(time("2027-11-21T20:00:00Z")));
    let mut offset = protected();
    offset[SIGNING_TIME] = json!("2026-11-22T04:00:00+08:00");
    let read = notary_jws::verify(&jws(&offset, &payload)).unwrap();
    assert_eq!(read.signed_at(), time("2026-11-21T20:00:00Z"));

    for alg in [json!("ES384"), json!("PS256"), json!("none"), json!("HS256"), json!("es256"), json!(null)] {
        let mut header = protected();
        header["alg"] = alg.clone();
        let found = alg.as_str().unwrap_or("none").to_owned();
        let is = NotaryError::Algorithm { found, wanted: "ES256" };
        assert_eq!(notary_jws::verify(&jws(&header, &payload)), Err(is));
    }
    for (name, with) in [
        ("cty", json!("text/plain")),
        ("cty", json!(null)),
        ("crit", json!([])),
        ("crit", json!(SCHEME)),
        ("crit", json!([SCHEME, EXPIRY, 1])),
        ("crit", json!([SCHEME])),
        ("crit", json!([SCHEME, EXPIRY, "alg"])),
        (EXPIRY, json!("2027-11-21")),
        (EXPIRY, json!(1)),
        (SCHEME, json!(null)),
    ] {
        let mut header = protected();
        header[name] = with;
        assert!(notary_jws::verify(&jws(&header, &payload)).is_err(), "{header}");
    }
    for bad in [
        &b""[..],
        b"{}",
        br#"{"targetArtifact":{}}"#,
        br#"{"targetArtifact":{"mediaType":"a/b","digest":"sha256:00","size":1}}"#,
        br#"{"targetArtifact":{"mediaType":"a/b","digest":"md5:00","size":-1}}"#,
    ] {
        assert!(matches!(notary_jws::verify(&jws(&protected(), bad)), Err(NotaryError::Payload(_))));
    }
    let twice = format!("{{\"targetArtifact\":null,{}", String::from_utf8_lossy(&payload[1..]));
    assert!(notary_jws::verify(&jws(&protected(), twice.as_bytes())).is_err());
    let more = format!("{{\"x\":null,{}", String::from_utf8_lossy(&payload[1..]));
    assert!(notary_jws::verify(&jws(&protected(), more.as_bytes())).is_err());
}

#[test]
fn another_chain_in_the_header_is_refused() {
    let bytes = testdata("notation/notation-p256.jws");
    let mut value = json::parse(&bytes).unwrap();
    let other = json::parse(&testdata("notation/notation-self-signed.jws")).unwrap();
    value["header"] = other["header"].clone();
    assert_eq!(notary_jws::verify(value.to_string().as_bytes()), Err(NotaryError::Signature));
    // A chain whose leaf must not sign, though its key did.
    let mut value = json::parse(&bytes).unwrap();
    let x5c = value["header"]["x5c"].as_array_mut().unwrap();
    x5c.remove(0);
    let is = NotaryError::Chain(ChainError::LeafIsCa);
    assert_eq!(notary_jws::verify(value.to_string().as_bytes()), Err(is));
    for (pointer, with) in [
        ("/header/x5c", json!([])),
        ("/header/x5c", json!(vec!["AAAA"; 11])),
        ("/header/x5c", json!(["AAAA"])),
        ("/header", json!({})),
        ("/header", json!(null)),
        ("/payload", json!(null)),
        ("/signature", json!("")),
    ] {
        let mut value = json::parse(&bytes).unwrap();
        *value.pointer_mut(pointer).unwrap() = with;
        assert!(notary_jws::verify(value.to_string().as_bytes()).is_err(), "{pointer}");
    }
    let mut value = json::parse(&bytes).unwrap();
    value["signatures"] = json!([]);
    let is = NotaryError::Form("several signatures");
    assert_eq!(notary_jws::verify(value.to_string().as_bytes()), Err(is));
    let large = vec![b' '; MAX_ENVELOPE + 1];
    for (_, verify) in FORMS {
        assert_eq!(verify(&large), Err(NotaryError::TooLarge(MAX_ENVELOPE + 1)));
    }
}

#[test]
fn cose_headers_are_judged() {
    let good = CoseSign1::from_tagged_slice(&written("p256", "cose", request("p256")).unwrap()).unwrap();
    // Signs whatever the change leaves.
    let with = |change: &dyn Fn(&mut CoseSign1)| {
        let mut envelope = good.clone();
        envelope.protected.original_data = None;
        change(&mut envelope);
        let message = envelope.tbs_data(&[]);
        let key = chain_of("p256").leaf().key().clone();
        envelope.signature = key.to_fixed(&sign("p256", &message)).unwrap();
        notary_cose::verify(&envelope.to_tagged_vec().unwrap())
    };
    assert!(with(&|_| {}).is_ok());
    let es384 = coset::iana::Algorithm::ES384;
    let is = NotaryError::Algorithm { found: "ES384".into(), wanted: "ES256" };
    let assigned = coset::RegisteredLabelWithPrivate::Assigned;
    assert_eq!(with(&|e| e.protected.header.alg = Some(assigned(es384))), Err(is));
    let is = NotaryError::Algorithm { found: "none".into(), wanted: "ES256" };
    assert_eq!(with(&|e| e.protected.header.alg = None), Err(is));
    // The algorithm counts only where it is signed.
    assert!(
        with(&|e| e.unprotected.alg = e.protected.header.alg.take())
            .is_err_and(|e| matches!(e, NotaryError::Algorithm { .. }))
    );
    let label = |l: coset::iana::HeaderParameter| coset::RegisteredLabelWithPrivate::Assigned(l);
    let is = NotaryError::Critical("label 1".into());
    assert_eq!(with(&|e| e.protected.header.crit.push(label(coset::iana::HeaderParameter::Alg))), Err(is));
    let unknown = coset::RegisteredLabelWithPrivate::Text("com.example.x".into());
    let is = NotaryError::Critical("com.example.x".into());
    assert_eq!(with(&|e| e.protected.header.crit.push(unknown.clone())), Err(is));
    assert_eq!(with(&|e| e.protected.header.crit.clear()), Err(NotaryError::Form("crit is missing")));
    assert!(with(&|e| e.protected.header.content_type = None).is_err());
    assert!(with(&|e| e.payload = None).is_err());
    // A time is an integer with tag 1: not bare, not a fraction.
    for time in [
        Cbor::Integer(1.into()),
        Cbor::Tag(1, Box::new(Cbor::Float(1.5))),
        Cbor::Tag(0, Box::new(Cbor::Text("2026-11-21T20:00:00Z".into()))),
    ] {
        let is = NotaryError::Attribute { name: SIGNING_TIME, fault: "is no time" };
        let changed = with(&|e| {
            let time = time.clone();
            let rest = e.protected.header.rest.iter_mut();
            rest.filter(|(l, _)| *l == coset::Label::Text(SIGNING_TIME.into()))
                .for_each(|(_, v)| *v = time.clone());
        });
        assert_eq!(changed, Err(is));
    }
    // One certificate alone is still an array.
    let alone = |e: &mut CoseSign1| {
        let rest = e.unprotected.rest.iter_mut();
        let one = Cbor::Bytes(chain_of("p256").leaf().as_der().to_vec());
        rest.filter(|(l, _)| *l == coset::Label::Int(33)).for_each(|(_, v)| *v = one.clone());
    };
    assert_eq!(with(&alone), Err(NotaryError::Form("no array x5chain")));

    let bytes = written("p256", "cose", request("p256")).unwrap();
    let untagged = CoseSign1::from_tagged_slice(&bytes).unwrap().to_vec().unwrap();
    assert!(matches!(notary_cose::verify(&untagged), Err(NotaryError::Cose(_))));
    assert!(matches!(notary_cose::verify(&[&bytes[..], &[0]].concat()), Err(NotaryError::Cose(_))));
    // Nested far deeper than any envelope.
    assert!(notary_cose::verify(&vec![0x81; 100_000]).is_err());
}

/// Counter signatures in counter signatures, each in a byte string of its own: no parser's count of levels sees their depth, and one
/// that reads them needs as much stack and, with bytes in the innermost, as much memory as somebody likes (both measured: 9 kB ended
/// a process, 4 MB took 2.4 GB).
#[test]
fn headers_nested_in_byte_strings_cost_nothing() {
    let head = |major: u8, n: usize| {
        [vec![(major << 5) | 26], u32::try_from(n).unwrap().to_be_bytes().to_vec()].concat()
    };
    let bytes = |b: &[u8]| [head(2, b.len()), b.to_vec()].concat();
    for (depth, padding) in [(5_000, 1), (600, 4_000_000)] {
        let innermost = [vec![0xa1, 0x04], bytes(&vec![1; padding])].concat();
        let (mut before, mut size) = (Vec::new(), innermost.len());
        for _ in 0..depth {
            let level = [vec![0xa1, 0x07, 0x83], head(2, size)].concat();
            size += level.len() + 3;
            before.push(level);
        }
        let mut nested: Vec<u8> = before.iter().rev().flatten().copied().collect();
        nested.extend(&innermost);
        nested.extend(std::iter::repeat_n([0xa0, 0x41, 0], depth).flatten());
        let protected = [vec![0xd2, 0x84], bytes(&nested), vec![0xa0], bytes(b"x"), bytes(b"x")].concat();
        let unprotected = [vec![0xd2, 0x84, 0x41, 0xa0], nested, bytes(b"x"), bytes(b"x")].concat();
        for envelope in [protected, unprotected] {
            let judge = move || notary_cose::verify(&envelope).is_err();
            let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(judge).unwrap();
            assert!(thread.join().unwrap());
        }
    }
    // Items of one byte, each of which a parser would keep as a value of dozens.
    let many = [vec![0xd2, 0x84, 0x41, 0xa0, 0xa1, 0x01], head(4, 4_000_000), vec![0; 4_000_000]].concat();
    assert_eq!(
        notary_cose::verify(&many),
        Err(NotaryError::Cose("more items or levels than an envelope has".into()))
    );
}

/// Two readings of one map: the same label twice in the protected header.
#[test]
fn a_header_twice_is_refused() {
    let envelope = CoseSign1::from_tagged_slice(&written("p256", "cose", request("p256")).unwrap()).unwrap();
    let data = envelope.protected.original_data.clone().unwrap();
    let mut map = coset::cbor::de::from_reader::<Cbor, _>(&data[..]).unwrap().into_map().unwrap();
    let first = map[0].clone();
    map.push(first);
    let mut data = Vec::new();
    coset::cbor::ser::into_writer(&Cbor::Map(map), &mut data).unwrap();
    let raw = Cbor::Array(vec![
        Cbor::Bytes(data),
        Cbor::Map(vec![]),
        Cbor::Bytes(envelope.payload.unwrap()),
        Cbor::Bytes(envelope.signature),
    ]);
    let mut bytes = Vec::new();
    coset::cbor::ser::into_writer(&Cbor::Tag(18, Box::new(raw)), &mut bytes).unwrap();
    assert_eq!(notary_cose::verify(&bytes), Err(NotaryError::Cose("duplicate map key".into())));
}

#[test]
fn manifests_of_both_forms_are_known() {
    let image = "application/vnd.oci.image.config.v1+json";
    for (artifact, config, is) in [
        (Some(ARTIFACT_TYPE), media_type::OCI_EMPTY, true),
        (None, ARTIFACT_TYPE, true),
        (Some(ARTIFACT_TYPE), image, false),
        (Some("application/vnd.other"), ARTIFACT_TYPE, false),
        (None, image, false),
    ] {
        assert_eq!(is_signature(artifact, config), is, "{artifact:?} {config}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        for (_, verify) in FORMS {
            let _ = verify(&bytes);
        }
        let _ = Artifact::from_payload(&bytes);
    }

    #[test]
    fn payloads_come_back(media_type in "[a-z]{1,9}/[a-z+.]{1,30}", size: u32, annotations: BTreeMap<String, String>) {
        let artifact = Artifact { media_type, digest: Digest::sha256(b"x"), size: size.into(), annotations };
        prop_assert_eq!(Artifact::from_payload(&artifact.to_payload()), Ok(artifact));
    }
}
