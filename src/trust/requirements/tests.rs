use proptest::prelude::*;

use super::*;
use crate::trust::TrustFile;

const POLICY: &str = include_str!("../../../testdata/requirements/trustpolicy.json");
const STORE: &str = include_str!("../../../testdata/requirements/truststore.json");
const TEST_CRT: &[u8] = include_bytes!("../../../testdata/requirements/test.crt");

fn files(name: &str) -> Result<Vec<u8>, RequirementsError> {
    match name {
        "test.crt" => Ok(TEST_CRT.to_vec()),
        other => panic!("{other}"),
    }
}

fn policy(text: &str) -> Policy {
    match Document::parse(text.as_bytes()) {
        Ok(Document::Policy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

fn said(text: &str) -> Result<Addition, RequirementsError> {
    let mut out = Addition::default();
    let policy = policy(text);
    for store in &policy.trust_store {
        let store = match store {
            StoreRef::File(name) => {
                assert_eq!(name, "truststore.json");
                Store::parse(STORE.as_bytes()).unwrap()
            }
            StoreRef::Inline(store) => store.clone(),
        };
        store.anchors(&Scope::Any, &mut out, &mut files).unwrap();
    }
    policy.says(&Scope::Any, "trustpolicy.json", &mut out)?;
    Ok(out)
}

/// The policy and the store of the document together.
fn both() -> TrustFile {
    let addition = said(POLICY).unwrap();
    let mut file = TrustFile::default();
    file.add(&addition).unwrap();
    TrustFile::parse(&file.to_bytes()).unwrap()
}

#[test]
fn the_two_roots_of_the_document_count_where_it_says() {
    let store = Store::parse(STORE.as_bytes()).unwrap();
    let mut addition = Addition::default();
    store.anchors(&Scope::Any, &mut addition, &mut files).unwrap();
    let mut file = TrustFile::default();
    file.add(&addition).unwrap();
    let roots = |s: &str| -> Vec<String> {
        let signers = file.rule(&s.parse().unwrap()).signers;
        signers.iter().filter_map(SignerAnchor::signed_identity).collect()
    };
    let (one, two) = ("CN=Amazon Root CA 1,O=Amazon,C=US", "CN=Amazon Root CA 2,O=Amazon,C=US");
    assert_eq!(roots("registry.wabbit-networks.io/net-monitor:v1"), [one, two]);
    assert_eq!(roots("registry.acme-rockets.io/net-monitor:v1"), [one]);
    assert_eq!(roots("registry.wabbit-networks.io.evil.example/net-monitor:v1"), [one]);
}

#[test]
fn the_policy_of_the_document_requires_signatures_and_waives_rescissions_by_name() {
    let rule = both().rule(&"registry.wabbit-networks.io/net-monitor:v1".parse().unwrap());
    assert_eq!(rule.signers.len(), 3);
    let [one] = &rule.required.signatures[..] else { panic!("{rule:?}") };
    assert_eq!((one.threshold.get(), one.from.len()), (1, 3));
    assert!(rule.checks.signature.is_kept() && rule.checks.expiry.is_kept());
    let by = rule.checks.rescinded.waived_by().unwrap();
    assert_eq!(by.file, "trustpolicy.json");
    assert_eq!(by.reason, "trustpolicy.json says \"signatureRescinded\": false");
    assert!(rule.allow.is_empty(), "[] is no entries");
}

/// The policy says by its stores who counts: nobody else who is trusted for the scope meets it.
#[test]
fn nobody_else_counts_for_the_policy() {
    let mut file = both();
    let pem = include_str!("../../../testdata/signatures/sigstore/p256.pub");
    let trusts = Trusts::Key(SubjectKey::from_pem(pem).unwrap());
    file.signers.push(SignerAnchor::new(Scope::Any, trusts, Rescissions::Nowhere).unwrap());
    let rule = file.rule(&"registry.acme-rockets.io/a:b".parse().unwrap());
    assert_eq!((rule.signers.len(), rule.required.signatures[0].from.len()), (3, 2));
    let nobody = r#"{"trustPolicy":{"signatureCheck":true,"trustStore":[],"trustedArtifacts":[]}}"#;
    assert_eq!(said(nobody), Err(RequirementsError::NoRoots));
    assert!(said(&nobody.replace("true", "false")).is_ok());
}

#[test]
fn without_the_signature_check_nothing_is_required_and_the_file_is_named() {
    let off = POLICY.replace("\"signatureCheck\": true", "\"signatureCheck\": false");
    let mut file = TrustFile::default();
    file.add(&said(&off).unwrap()).unwrap();
    let checks = file.rule(&"ex.com/a:b".parse().unwrap()).checks;
    assert_eq!(checks.signature.waived_by().unwrap().file, "trustpolicy.json");
}

#[test]
fn trusted_artifacts_do_not_stand_in_for_signatures_unless_they_say_why() {
    let digest = Digest::sha256(b"x");
    let with = |entry: &str| {
        said(&POLICY.replace("\"trustedArtifacts\": []", &format!("\"trustedArtifacts\": [{entry}]")))
    };
    let one = |entry: &str| with(entry).unwrap().allow.remove(0);
    let plain = one(&format!("\"{digest}\""));
    assert!(!plain.unsigned && plain.scope == Scope::Any && plain.digest == Some(digest.clone()));
    let tag = one("\"ex.com/app:v1\"");
    assert_eq!((tag.digest, tag.scope.to_string()), (None, "ex.com/app:v1".to_owned()));
    let placed =
        one(&format!("{{\"artifact\": \"ex.com/app@{digest}\", \"unsigned\": true, \"reason\": \"r\"}}"));
    assert!(placed.unsigned && placed.reason == "r" && placed.scope.to_string() == "ex.com/app");
    for bad in [
        format!("{{\"artifact\": \"{digest}\", \"unsigned\": true}}"),
        format!("{{\"artifact\": \"{digest}\", \"unsigned\": true, \"reason\": \" \"}}"),
        "\"*\"".into(),
        "\"ex.com/app\"".into(),
        "\"\"".into(),
    ] {
        assert!(with(&bad).is_err(), "{bad}");
    }
}

#[test]
fn what_the_document_does_not_have_is_refused() {
    for (from, to) in [
        ("signatureCheck", "signaturCheck"),
        ("\"signatureExpiry\"", "\"signatureExpire\""),
        ("\"signatureCheck\": true,", ""),
        ("\"trustedRoots\"", "\"trustRoots\""),
        ("\"root\": \"test.crt\"", "\"root\": \"test.crt\", \"root\": \"b\""),
        ("true", "1"),
    ] {
        assert!(Document::parse(POLICY.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
    }
    assert!(matches!(Document::parse(b"{}"), Err(RequirementsError::Neither)));
}

#[test]
fn file_names_stay_below_the_file_that_names_them() {
    for good in ["test.crt", "roots/test.crt", "a b", "..a"] {
        assert_eq!(file_name(good), Ok(good));
    }
    for bad in
        ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "https://x/y", "C:x", "a\nb", "a\0"]
    {
        assert!(file_name(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_changed_makes_it_panic_or_adds_a_root(
        at in any::<prop::sample::Index>(), with: u8, which: bool, cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = if which { POLICY } else { STORE }.as_bytes().to_vec();
        let i = at.index(bytes.len());
        bytes[i] = with;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            match Document::parse(bytes) {
                Ok(Document::Policy(policy)) => {
                    let mut out = Addition::default();
                    let _ = policy.says(&Scope::Any, "f", &mut out);
                }
                Ok(Document::Store(store)) => {
                    let mut out = Addition::default();
                    let mut none = |_: &str| Ok::<_, RequirementsError>(Vec::new());
                    if store.anchors(&Scope::Any, &mut out, &mut none).is_ok() {
                        prop_assert!(out.signers.len() <= 2);
                    }
                }
                Err(_) => {}
            }
        }
    }
}
