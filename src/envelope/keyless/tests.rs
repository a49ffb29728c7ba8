//! Bundles of sigstore's public services against its trusted roots, whole and changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PUBLIC: &str = "trusted_root.json";
const STAGING: &str = "trusted_root_staging.json";
/// A digest for those that say theirs in a hint.
const HINTED: &str = "";

fn testdata(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore-rust/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn root(name: &str) -> TrustedRoot {
    TrustedRoot::parse(&testdata(name)).unwrap()
}

fn value(name: &str) -> Value {
    serde_json::from_slice(&testdata(name)).unwrap()
}

fn now() -> UnixTime {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn judge_at(root: &TrustedRoot, bytes: &[u8], sha256: &str, now: UnixTime) -> Result<Keyless, KeylessError> {
    let bundle = Bundle::parse(bytes).map_err(|e| KeylessError::Malformed(e.to_string()))?;
    let hint = || {
        let read: Value = serde_json::from_slice(bytes).unwrap();
        let hint =
            read["messageSignature"]["messageDigest"]["digest"].as_str().unwrap_or_default().to_owned();
        hex::encode(STANDARD.decode(hint).unwrap())
    };
    let hex = if sha256 == HINTED { hint() } else { sha256.to_owned() };
    let digest: Digest = format!("sha256:{hex}").parse().unwrap();
    root.judge(bytes, &bundle, Signed { digest: &digest, bytes: None }, now)
}

fn judge(root: &TrustedRoot, value: &Value, sha256: &str) -> Result<Keyless, KeylessError> {
    judge_at(root, value.to_string().as_bytes(), sha256, now())
}

const CONDA: &str = "54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f";

/// Both generations of logs, with and without timestamps, statements and message signatures.
#[test]
fn bundles_of_the_public_services_hold() {
    for (file, by, digest, identity, issuer, at) in [
        (
            "cosign-v3-blob.sigstore.json",
            PUBLIC,
            HINTED,
            "w.vollprecht@gmail.com",
            "https://github.com/login/oauth",
            "2025-12-03",
        ),
        (
            "bundle_v3_github.whl.sigstore",
            PUBLIC,
            HINTED,
            "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml@refs/tags/v0.1.2",
            "https://token.actions.githubusercontent.com",
            "2024-03-19",
        ),
        (
            "conda-attestation.sigstore.json",
            PUBLIC,
            CONDA,
            "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main",
            "https://token.actions.githubusercontent.com",
            "2025-09-01",
        ),
        (
            "conda-attestation-rekor2.sigstore.json",
            STAGING,
            CONDA,
            "jku@goto.fi",
            "https://github.com/login/oauth",
            "2026-05-26",
        ),
        (
            "staging-rekor-v2.txt.sigstore.json",
            STAGING,
            HINTED,
            "jku@goto.fi",
            "https://github.com/login/oauth",
            "2025-06-09",
        ),
        (
            "a.dsse.staging-rekor-v2.txt.sigstore.json",
            STAGING,
            "a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf",
            "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
            "https://token.actions.githubusercontent.com",
            "2026-05-13",
        ),
    ] {
        let read = judge(&root(by), &value(file), digest);
        let read = read.unwrap_or_else(|e| panic!("{file}: {e:?}"));
        assert_eq!((read.identity.as_str(), read.issuer.as_str()), (identity, issuer), "{file}");
        assert!(read.signed_at.to_string().starts_with(at), "{file}: {}", read.signed_at);
        // By the keys of others it does not.
        let other = if by == PUBLIC { STAGING } else { PUBLIC };
        assert!(judge(&root(other), &value(file), digest).is_err(), "{file}");
        // Nor of another artifact.
        assert!(judge(&root(by), &value(file), &"0".repeat(64)).is_err(), "{file}");
    }
}

#[test]
fn bundles_that_should_fail_do() {
    let scaffolding = "trusted_root_scaffolding.json";
    type Is = fn(&KeylessError) -> bool;
    for (file, by, is) in [
        ("bundle_no_log_entry.txt.sigstore", PUBLIC, (|e| *e == KeylessError::Unlogged) as Is),
        ("bundle_v3_no_signed_time.txt.sigstore.json", PUBLIC, |e| matches!(e, KeylessError::Time(_))),
        ("bundle_no_checkpoint.txt.sigstore", STAGING, |e| matches!(e, KeylessError::Log(_))),
        ("bundle_no_checkpoint.txt.sigstore", PUBLIC, |e| matches!(e, KeylessError::UnknownLog(_))),
        // Its one name is neither an address nor a URL.
        ("othername.sigstore.json", scaffolding, |e| *e == KeylessError::Nameless("identity")),
        ("othername.sigstore.json", PUBLIC, |e| matches!(e, KeylessError::Untrusted(_))),
        // Everything in it is genuine, and of two signatures.
        ("bundle_cve_2022_36056.txt.sigstore", STAGING, |e| {
            matches!(e, KeylessError::Malformed(_) | KeylessError::Signature)
        }),
        ("managed-key.sigstore.json", PUBLIC, |e| matches!(e, KeylessError::Malformed(_))),
    ] {
        let refused = judge(&root(by), &value(file), HINTED).unwrap_err();
        assert!(is(&refused), "{file}: {refused:?}");
    }
    let of_ct =
        judge(&root("invalid-ct-key.trusted_root.json"), &value("invalid-ct-key.sigstore.json"), HINTED);
    assert!(matches!(of_ct, Err(KeylessError::Certificate(_))), "{of_ct:?}");
}

fn at<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Value {
    value.pointer_mut(pointer).unwrap()
}

/// Each part of the evidence, changed in one bit.
#[test]
fn changed_evidence_does_not_hold() {
    const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
    let public = root(PUBLIC);
    let good = value("cosign-v3-blob.sigstore.json");
    assert!(judge(&public, &good, HINTED).is_ok());
    let flipped = |pointer: &str| {
        let mut changed = good.clone();
        let place = at(&mut changed, pointer);
        let mut bytes = STANDARD.decode(place.as_str().unwrap()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        *place = STANDARD.encode(bytes).into();
        judge(&public, &changed, HINTED).expect_err(pointer)
    };
    let entry = |member: &str| flipped(&format!("{ENTRY}/{member}"));
    for member in
        ["inclusionProof/hashes/0", "inclusionProof/rootHash", "inclusionPromise/signedEntryTimestamp"]
    {
        assert!(matches!(entry(member), KeylessError::Log(_)), "{member}: {:?}", entry(member));
    }
    assert!(matches!(entry("logId/keyId"), KeylessError::UnknownLog(_)));
    assert!(matches!(flipped("/messageSignature/signature"), KeylessError::Time(_)));
    let stamp = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    assert!(matches!(flipped(stamp), KeylessError::Time(_)));
    let signed = flipped("/verificationMaterial/certificate/rawBytes");
    assert!(matches!(signed, KeylessError::Untrusted(_)), "{signed:?}");

    for (pointer, with, is) in [
        (
            "integratedTime",
            json!("1764787010"),
            &(|e: &_| matches!(e, KeylessError::Log(_))) as &dyn Fn(&_) -> bool,
        ),
        ("logIndex", json!("1"), &|e| matches!(e, KeylessError::Log(_))),
        ("inclusionProof/treeSize", json!("1"), &|e| matches!(e, KeylessError::Log(_))),
        ("inclusionProof/checkpoint/envelope", json!("rekor\n1\nAAAA\n\n— rekor AAAA\n"), &|e| {
            matches!(e, KeylessError::Log(_) | KeylessError::Malformed(_))
        }),
        ("kindVersion/version", json!("0.0.9"), &|e| matches!(e, KeylessError::Malformed(_))),
    ] {
        let mut changed = good.clone();
        *at(&mut changed, &format!("{ENTRY}/{pointer}")) = with;
        let refused = judge(&public, &changed, HINTED).expect_err(pointer);
        assert!(is(&refused), "{pointer}: {refused:?}");
    }
    let mut bare = good.clone();
    let entry = at(&mut bare, ENTRY).as_object_mut().unwrap();
    entry.remove("inclusionProof");
    entry.remove("inclusionPromise");
    assert!(matches!(judge(&public, &bare, HINTED), Err(KeylessError::Log(_))));
    // Version 0.3 wants the proof, whatever was promised.
    let mut promised = good.clone();
    at(&mut promised, ENTRY).as_object_mut().unwrap().remove("inclusionProof");
    assert!(matches!(judge(&public, &promised, HINTED), Err(KeylessError::Log(_))));
}

/// The caller's clock decides, not only the machine's.
#[test]
fn nothing_is_signed_after_now() {
    let bytes = testdata("cosign-v3-blob.sigstore.json");
    let signed = judge_at(&root(PUBLIC), &bytes, HINTED, now()).unwrap().signed_at;
    assert!(judge_at(&root(PUBLIC), &bytes, HINTED, signed.plus(60)).is_ok());
    let early = judge_at(&root(PUBLIC), &bytes, HINTED, signed.plus(-60));
    assert!(matches!(early, Err(KeylessError::Time(_))), "{early:?}");
}

#[test]
fn a_trusted_root_is_read_or_refused_whole() {
    let good = value(PUBLIC);
    let parse = |value: &Value| TrustedRoot::parse(value.to_string().as_bytes());
    assert_eq!(root(PUBLIC).expires(), None);
    assert_eq!(root(PUBLIC), root(PUBLIC));
    let mut ended = good.clone();
    for ca in ended["certificateAuthorities"].as_array_mut().unwrap() {
        ca["validFor"]["end"] = "2025-01-02T03:04:05Z".into();
    }
    assert_eq!(parse(&ended).unwrap().expires().unwrap().to_string(), "2025-01-02T03:04:05Z");
    for member in ["tlogs", "ctlogs", "certificateAuthorities"] {
        let mut without = good.clone();
        without[member] = json!([]);
        assert!(matches!(parse(&without), Err(TrustedRootError::Without(_))), "{member}");
        let mut many = good.clone();
        let one = many[member][0].clone();
        many[member] = vec![one; MAX_AUTHORITIES + 1].into();
        assert!(matches!(parse(&many), Err(TrustedRootError::TooMany { .. })), "{member}");
    }
    assert!(matches!(
        TrustedRoot::parse(&testdata("trusted_root_github.json")),
        Err(TrustedRootError::Without(_))
    ));
    for (pointer, with) in [
        ("/tlogs/0/publicKey/rawBytes", json!("AAAA")),
        ("/tlogs/0/logId/keyId", json!("AAAA")),
        ("/certificateAuthorities/0/certChain/certificates/0/rawBytes", json!("AAAA")),
        ("/certificateAuthorities/0/certChain/certificates", json!([])),
        ("/certificateAuthorities/0/validFor/start", json!("yesterday")),
    ] {
        let mut changed = good.clone();
        *at(&mut changed, pointer) = with;
        assert!(matches!(parse(&changed), Err(TrustedRootError::Content(_))), "{pointer}");
    }
    let mut other = good.clone();
    other["mediaType"] = "application/json".into();
    assert_eq!(parse(&other), Err(TrustedRootError::MediaType));
    assert_eq!(
        TrustedRoot::parse(&vec![b' '; MAX_TRUSTED_ROOT + 1]),
        Err(TrustedRootError::TooLarge(MAX_TRUSTED_ROOT + 1))
    );
    assert!(matches!(TrustedRoot::parse(b"{\"a\":1,\"a\":2}"), Err(TrustedRootError::Json(_))));
}

proptest! {
    /// Whatever byte is changed: it still says the same of the same, or it is refused; nothing panics.
    #[test]
    fn changed_bytes_say_nothing_else(at in any::<prop::sample::Index>(), bit in 0u8..8, which in 0usize..2) {
        let (file, by) = [
            ("cosign-v3-blob.sigstore.json", PUBLIC),
            ("staging-rekor-v2.txt.sigstore.json", STAGING),
        ][which];
        let mut bytes = testdata(file);
        let whole = judge_at(&root(by), &bytes, HINTED, now()).unwrap();
        let digest = {
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            hex::encode(STANDARD.decode(read["messageSignature"]["messageDigest"]["digest"].as_str().unwrap()).unwrap())
        };
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        if let Ok(read) = judge_at(&root(by), &bytes, &digest, now()) {
            prop_assert_eq!((read.identity, read.issuer), (whole.identity, whole.issuer));
        }
    }

    #[test]
    fn no_bytes_make_a_trusted_root_panic(bytes: Vec<u8>) {
        let _ = TrustedRoot::parse(&bytes);
    }

    #[test]
    fn no_annotation_makes_it_panic(promise: String, timestamp: Option<String>) {
        let bundle = value("cosign-v3-blob.sigstore.json");
        let der = STANDARD.decode(bundle["verificationMaterial"]["certificate"]["rawBytes"].as_str().unwrap()).unwrap();
        let leaf = Certificate::from_der(&der).unwrap();
        let _ = from_annotations(b"x", b"y", &leaf, &promise, timestamp.as_deref());
    }
}
