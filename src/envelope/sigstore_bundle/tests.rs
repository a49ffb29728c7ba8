//! Over what cosign 3.1.1 wrote (testdata/signatures/sigstore).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use proptest::prelude::*;

use super::*;
use crate::sig::x509::Certificate;
use crate::sig::{PublicKey, Scheme};

fn testdata(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

fn key(kind: &str) -> SubjectKey {
    SubjectKey::from_pem(&String::from_utf8(testdata(&format!("sigstore/{kind}.pub"))).unwrap()).unwrap()
}

fn bundle(name: &str) -> Bundle {
    Bundle::parse(&testdata(&format!("sigstore/cosign3-{name}.sigstore.json"))).unwrap()
}

fn value(name: &str) -> Value {
    json::parse(&testdata(&format!("sigstore/cosign3-{name}.sigstore.json"))).unwrap()
}

fn parse(value: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(value.to_string().as_bytes())
}

fn subject() -> Digest {
    Digest::sha256(&testdata("subject.json"))
}

struct Own(EcdsaKeyPair, SubjectKey);

fn own() -> Own {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let public = PublicKey::from_raw(Scheme::EcdsaP256, pair.public_key().as_ref()).unwrap();
    let public = SubjectKey::from(&public);
    Own(pair, public)
}

impl Own {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

#[test]
fn what_cosign_3_signs_verifies() {
    for kind in ["p256", "p384", "p521", "rsa2048"] {
        let read = bundle(kind);
        assert_eq!((read.version(), read.log_entries(), read.timestamps().len()), (Version::V03, &[][..], 0));
        assert!(read.hints_at(&key(kind)) && !read.hints_at(&key("generated")));
        let annotations = read.signature(&key(kind), &subject()).unwrap();
        assert_eq!(annotations.len(), if kind == "p256" { 2 } else { 0 }, "{kind}");
        let other = Digest::sha256(b"another artifact");
        assert_eq!(read.signature(&key(kind), &other), Err(BundleError::OtherArtifact(other)));
        let not_signed = BundleError::Dsse(DsseError::NotSigned);
        assert_eq!(read.signature(&key("generated"), &subject()), Err(not_signed));
        assert_eq!(read.verify_message(&key(kind), b""), Err(BundleError::Content("message signature")));

        let blob = bundle(&format!("blob-{kind}"));
        assert_eq!(blob.verify_message(&key(kind), &testdata("sigstore/artifact")), Ok(()));
        assert_eq!(blob.verify_message(&key(kind), b"an artifact"), Err(BundleError::NotSigned));
        assert_eq!(
            blob.verify_message(&key("generated"), &testdata("sigstore/artifact")),
            Err(BundleError::NotSigned)
        );
        assert_eq!(blob.signature(&key(kind), &subject()), Err(BundleError::Content("statement")));
    }
}

/// Ed25519 keys: `cosign sign` makes Ed25519ph (RFC 8032 5.1), which the library cannot verify: refused, never taken for something
/// else. `cosign sign-blob` makes plain Ed25519.
#[test]
fn ed25519ph_is_not_verified() {
    let not_signed = BundleError::Dsse(DsseError::NotSigned);
    assert_eq!(bundle("ed25519").signature(&key("ed25519"), &subject()), Err(not_signed));
    let blob = bundle("blob-ed25519");
    assert_eq!(blob.verify_message(&key("ed25519"), &testdata("sigstore/artifact")), Ok(()));
}

#[test]
fn an_attestation_of_the_key_is_no_signature() {
    let attested = bundle("attest-p256");
    let is = BundleError::Attestation("https://example.com/review/v1".into());
    assert_eq!(attested.signature(&key("p256"), &subject()), Err(is));
    let statement = attested.statement(&key("p256"), &subject()).unwrap();
    assert_eq!(statement.predicate(), &json!({"reviewed": true}));
}

#[test]
fn what_bulla_writes_verifies() {
    let own = own();
    let annotations: BTreeMap<_, _> = [("build".to_owned(), "17".to_owned())].into();
    let draft = Draft::sign(&subject(), &annotations);
    let signature = own.sign(&draft.message());
    let bytes = draft.clone().finish(&own.1, &signature).unwrap();
    let read = Bundle::parse(&bytes).unwrap();
    assert!(read.hints_at(&own.1));
    assert_eq!(read.signature(&own.1, &subject()).unwrap()["build"], "17");
    // The statement is the one that cosign writes.
    let cosigns =
        Draft::sign(&subject(), &[("build", "17"), ("by", "ci")].map(|(k, v)| (k.into(), v.into())).into());
    let theirs = value("p256")["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
    assert_eq!(STANDARD.encode(&cosigns.statement), theirs);
    assert_eq!(draft.finish(&key("p256"), &signature), Err(BundleError::NotSigned));
}

#[test]
fn a_second_signature_is_refused() {
    let mut two = value("p256");
    let entries = two["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
    entries.push(json!({"sig": "AAAA"}));
    assert_eq!(parse(&two), Err(BundleError::Dsse(DsseError::NotOne(2))));
}

#[test]
fn old_versions_are_read_and_chains_only_there() {
    let chain = json!({"certificates": [{"rawBytes": "AAAA"}, {"rawBytes": "AAAB"}]});
    for (media_type, version) in [
        ("application/vnd.dev.sigstore.bundle+json;version=0.1", Version::V01),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", Version::V02),
        ("application/vnd.dev.sigstore.bundle+json;version=0.3", Version::V03),
        (MEDIA_TYPE, Version::V03),
    ] {
        let mut with = value("p256");
        with["mediaType"] = json!(media_type);
        assert_eq!(parse(&with).unwrap().version(), version);
        with["verificationMaterial"] = json!({"x509CertificateChain": chain});
        if version == Version::V03 {
            assert!(parse(&with).is_err());
            with["verificationMaterial"] = json!({"certificate": {"rawBytes": "AAAA"}});
            assert_eq!(parse(&with).unwrap().material(), &Material::Certificates(vec![vec![0, 0, 0]]));
        } else {
            let der = vec![vec![0, 0, 0], vec![0, 0, 1]];
            assert_eq!(parse(&with).unwrap().material(), &Material::Certificates(der));
        }
    }
}

#[test]
fn other_forms_are_refused() {
    let stamp = json!({"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]});
    let mut stamped = value("p256");
    stamped["verificationMaterial"]["timestampVerificationData"] = stamp;
    stamped["verificationMaterial"]["tlogEntries"] = json!([]);
    assert_eq!(parse(&stamped).unwrap().timestamps(), &[vec![0, 0, 0]]);

    let many = json!(vec![json!({"signedTimestamp": "AAAA"}); MAX_ENTRIES + 1]);
    let message = json!({"messageDigest": {}, "signature": "AAAA"});
    for (pointer, with) in [
        ("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.4+json")),
        ("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.10")),
        ("/mediaType", json!(null)),
        ("/extra", json!(1)),
        ("/messageSignature", message),
        ("/dsseEnvelope", json!(null)),
        ("/dsseEnvelope/extra", json!(1)),
        ("/dsseEnvelope/signatures", json!([])),
        ("/verificationMaterial", json!({})),
        ("/verificationMaterial/certificate", json!({"rawBytes": "AAAA"})),
        ("/verificationMaterial/extra", json!({})),
        ("/verificationMaterial/publicKey", json!({"rawBytes": "AAAA"})),
        ("/verificationMaterial/publicKey/hint", json!(1)),
        ("/verificationMaterial/tlogEntries", json!({})),
        ("/verificationMaterial/tlogEntries", json!([{}])),
        ("/verificationMaterial/tlogEntries", json!(vec![json!({}); MAX_ENTRIES + 1])),
        ("/verificationMaterial/timestampVerificationData", json!({"rfc3161Timestamps": many})),
        (
            "/verificationMaterial/timestampVerificationData",
            json!({"rfc3161Timestamps": [{"signedTimestamp": ""}]}),
        ),
    ] {
        let mut changed = value("p256");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = with;
        assert!(parse(&changed).is_err(), "{pointer}");
    }
    let large = vec![b' '; MAX_BUNDLE + 1];
    assert_eq!(Bundle::parse(&large), Err(BundleError::TooLarge(MAX_BUNDLE + 1)));
}

/// The message digest is a hint: whatever it says, the artifact's bytes decide. cosign leaves it empty for Ed25519 keys.
#[test]
fn the_message_digest_decides_nothing() {
    let mut blob = value("blob-p256");
    for digest in [json!({}), json!({"algorithm": "SHA2_512", "digest": "AAAA"})] {
        blob["messageSignature"]["messageDigest"] = digest;
        let read = parse(&blob).unwrap();
        assert_eq!(read.verify_message(&key("p256"), &testdata("sigstore/artifact")), Ok(()));
    }
}

#[test]
fn no_changed_byte_changes_what_was_signed() {
    let bytes = testdata("sigstore/cosign3-p256.sigstore.json");
    let whole = bundle("p256").statement(&key("p256"), &subject()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let read = Bundle::parse(&changed).and_then(|b| b.statement(&key("p256"), &subject()));
            if let Ok(read) = read {
                assert_eq!(read, whole, "bit {bit} of byte {at}");
            }
        }
    }
}

/// A bundle of sigstore's public services, the key that its material names, and that key's kind of log entry.
fn public(name: &str) -> (Bundle, SubjectKey) {
    let read = Bundle::parse(&testdata(&format!("sigstore-rust/{name}"))).unwrap();
    let key = match read.material() {
        Material::Certificates(der) => Certificate::from_der(&der[0]).unwrap().key().clone(),
        Material::PublicKey { .. } => {
            SubjectKey::from_pem(&String::from_utf8(testdata("sigstore-rust/managed-key.pub")).unwrap())
                .unwrap()
        }
    };
    (read, key)
}

#[test]
fn bundles_of_the_public_services_are_read() {
    for (name, version, kind, stamps) in [
        ("managed-key.sigstore.json", Version::V03, Some(("hashedrekord", "0.0.1")), 1),
        ("cosign-v3-blob.sigstore.json", Version::V03, Some(("hashedrekord", "0.0.1")), 1),
        ("staging-rekor-v2.txt.sigstore.json", Version::V03, Some(("hashedrekord", "0.0.2")), 1),
        ("conda-attestation.sigstore.json", Version::V03, Some(("dsse", "0.0.1")), 0),
        ("conda-attestation-rekor2.sigstore.json", Version::V03, Some(("hashedrekord", "0.0.2")), 1),
        ("github-private-attestation.sigstore.json", Version::V03, None, 1),
        ("bundle_v3_github.whl.sigstore", Version::V02, Some(("hashedrekord", "0.0.1")), 0),
        ("dsse.sigstore.json", Version::V01, Some(("intoto", "0.0.2")), 0),
    ] {
        let (read, _) = public(name);
        let kinds: Vec<_> = read.log_entries().iter().map(LogEntry::kind).collect();
        assert_eq!((read.version(), &kinds[..]), (version, kind.as_slice()), "{name}");
        assert_eq!(read.timestamps().len(), stamps, "{name}");
    }
    let two = Bundle::parse(&testdata("sigstore-rust/dsse-2sigs.sigstore.json"));
    assert_eq!(two, Err(BundleError::Dsse(DsseError::NotOne(2))));
    let other = Bundle::parse(&testdata("sigstore-rust/bundle_invalid_version.txt.sigstore"));
    assert!(matches!(other, Err(BundleError::Version(_))));
}

#[test]
fn log_entries_are_about_the_signature_in_the_bundle() {
    let blobs = [
        ("managed-key.sigstore.json", "managed-key.txt"),
        ("cosign-v3-blob.sigstore.json", "cosign-v3-blob.txt"),
        ("staging-rekor-v2.txt.sigstore.json", "staging-rekor-v2.txt"),
    ];
    let attestations =
        ["conda-attestation.sigstore.json", "conda-attestation-rekor2.sigstore.json", "dsse.sigstore.json"];
    let files = blobs.map(|(name, file)| (name, Some(testdata(&format!("sigstore-rust/{file}")))));
    let all: Vec<_> = files.into_iter().chain(attestations.map(|name| (name, None))).collect();
    for (name, artifact) in &all {
        let (read, key) = public(name);
        assert_eq!(read.check_log_entries(&key, artifact.as_deref()), Ok(()), "{name}");
        // With the entry of every other bundle.
        for (foreign, _) in all.iter().filter(|(foreign, _)| foreign != name) {
            let (other, _) = public(foreign);
            let index = other.log_entries()[0].index();
            let mixed = Bundle { log_entries: other.log_entries, ..read.clone() };
            let is = Err(BundleError::ForeignEntry(index));
            assert_eq!(
                mixed.check_log_entries(&key, artifact.as_deref()),
                is,
                "{name} with the entry of {foreign}"
            );
        }
        assert!(read.check_log_entries(&self::key("generated"), artifact.as_deref()).is_err());
    }
}

/// A real bundle of CVE-2022-36056: its log entry belongs to another signature by another key. With that signature and that key the
/// same entry fits a message of its hash, so it is they that tell it apart.
#[test]
fn a_foreign_log_entry_of_the_field_is_refused() {
    let (read, key) = public("bundle_cve_2022_36056.txt.sigstore");
    let Content::Message { signature, .. } = &read.content else { panic!("a message signature") };
    let entry = &read.log_entries()[0];
    let mut body = json::parse(entry.body()).unwrap();
    let (sum, own) = (&body["spec"]["data"]["hash"], &body["spec"]["signature"]);
    assert_eq!(sum["algorithm"], "sha256");
    let logged = STANDARD.decode(own["content"].as_str().unwrap()).unwrap();
    let pem = STANDARD.decode(own["publicKey"]["content"].as_str().unwrap()).unwrap();
    let logged_key = Certificate::from_pem(std::str::from_utf8(&pem).unwrap()).unwrap()[0].key().clone();
    assert!(logged != *signature && logged_key != key);
    // The artifact is not at hand; another message with its hash written in stands for it.
    body["spec"]["data"]["hash"]["value"] = Digest::sha256(b"a").hex().into();
    let claim = EntryClaim::read(entry.kind(), body.to_string().as_bytes()).unwrap();
    let made = |key, signature| claim.is_about(&Made { key, message: b"a", payload: None, signature });
    assert!(made(&logged_key, &logged));
    assert!(!made(&key, signature) && !made(&logged_key, signature) && !made(&key, &logged));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Bundle::parse(&bytes);
    }
}
