use proptest::prelude::*;

use super::*;
use crate::trust::{AskedSignatures, Rule, TrustFile};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");

fn certificates(name: &str) -> Vec<Certificate> {
    Certificate::from_pem(&std::fs::read_to_string(format!("{FOLDER}{name}")).unwrap()).unwrap()
}

fn stores() -> NotationStores {
    let leaf = certificates("x509/good-self-signed-not-ca.pem");
    let other = certificates("x509/good-three.pem").pop().unwrap();
    NotationStores::from([
        ("x509/ca/wabbit".to_owned(), certificates("notation/root.pem")),
        ("x509/ca/acme".to_owned(), vec![other]),
        ("x509/ca/leaf".to_owned(), leaf),
        ("x509/ca/issued".to_owned(), certificates("x509/good-three.pem")),
    ])
}

fn statement(name: &str, scopes: &str, verification: &str, more: &str) -> String {
    format!(
        r#"{{"name":"{name}","registryScopes":[{scopes}],"signatureVerification":{{{verification}}}{more}}}"#
    )
}

const BOTH: &str = r#","trustStores":["ca:wabbit"],"trustedIdentities":["*"]"#;

fn policy(statements: &[String]) -> String {
    format!(r#"{{"version":"1.0","trustPolicies":[{}]}}"#, statements.join(","))
}

fn converted(statements: &[String]) -> Result<TrustFile, NotationError> {
    let policy = NotationPolicy::parse(policy(statements).as_bytes())?;
    let addition = policy.convert(&stores(), "trustpolicy.json")?;
    let mut file = TrustFile::default();
    file.add(&addition).unwrap();
    Ok(TrustFile::parse(&file.to_bytes()).unwrap())
}

fn one(verification: &str, more: &str) -> Result<Rule, NotationError> {
    let file = converted(&[statement("a", "\"ex.com/app\"", verification, more)])?;
    Ok(file.rule(&"ex.com/app:v1".parse().unwrap()))
}

#[test]
fn a_statement_counts_its_own_stores_only() {
    let file = converted(&[
        statement("wabbit", "\"ex.com/app\", \"ex.com/other\"", r#""level":"strict""#, BOTH),
        statement(
            "all",
            "\"*\"",
            r#""level":"strict""#,
            r#","trustStores":["ca:acme"],"trustedIdentities":["*"]"#,
        ),
    ])
    .unwrap();
    let counted = |s: &str| {
        let rule = file.rule(&s.parse().unwrap());
        let [line] = &rule.required.signatures[..] else { panic!("{rule:?}") };
        line.from.iter().map(|id| rule.signer(id).unwrap().signed_identity().unwrap()).collect::<Vec<_>>()
    };
    let (wabbit, acme) = (certificates("notation/root.pem"), certificates("x509/good-three.pem"));
    let (wabbit, acme) = (wabbit[0].subject().to_string(), acme.last().unwrap().subject().to_string());
    assert_eq!(counted("ex.com/app:v1"), std::slice::from_ref(&wabbit));
    assert_eq!(counted("ex.com/other"), [wabbit]);
    assert_eq!(counted("other.example/app"), [acme]);
}

#[test]
fn levels_become_checks() {
    let kept = |verification: &str| {
        let c = one(verification, BOTH).unwrap().checks;
        [c.signature, c.expiry, c.certificate_expiry, c.rescinded].map(|c| c.is_kept())
    };
    assert_eq!(kept(r#""level":"strict""#), [true; 4]);
    assert_eq!(kept(r#""level":"permissive""#), [true, false, false, false]);
    assert_eq!(kept(r#""level":"strict","override":{"expiry":"log"}"#), [true, false, true, true]);
    assert_eq!(kept(r#""level":"strict","override":{"revocation":"skip"}"#), [true, true, true, false]);
    assert_eq!(
        kept(r#""level":"audit","override":{"authenticity":"enforce","authenticTimestamp":"enforce"}"#),
        [true, false, true, false]
    );
    let skipped = one(r#""level":"skip""#, "").unwrap();
    assert_eq!(skipped.checks.signature.waived_by().unwrap().reason, "trustpolicy.json, \"a\": level skip");
    let strict = one(r#""level":"strict""#, BOTH).unwrap();
    assert!(strict.signers.iter().all(|a| a.rescissions == Rescissions::Servers));
    assert!(strict.statement.unwrap().reason.is_none());
}

#[test]
fn identities_narrow_a_ca() {
    let with = |identities: &str| {
        one(
            r#""level":"strict""#,
            &format!(r#","trustStores":["ca:wabbit"],"trustedIdentities":[{identities}]"#),
        )
    };
    let rule =
        with(r#""x509.subject: C=US, ST=WA, O=wabbit-networks.io","x509.subject:C=US,S=WA,O=acme""#).unwrap();
    let Trusts::Ca { subjects, .. } = &rule.signers[0].trusts else { panic!("{rule:?}") };
    assert_eq!(subjects[0].to_string(), "C=US,O=wabbit-networks.io,ST=WA");
    assert_eq!(subjects.len(), 2);
    for bad in [
        r#""x509.subject: C=US, O=x""#,
        r#""x509.subject: C=US,ST=WA,O=x","x509.subject: C=US,ST=WA,O=x,OU=y""#,
        r#""x509.subject: C=US,ST=WA,O=x","*""#,
        r#""arn:aws:x""#,
        r#""x509.subject: spiffe://a""#,
        r#""""#,
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_self_signed_signer_is_an_anchor_of_its_own() {
    let with = |identity: &str| {
        one(
            r#""level":"strict""#,
            &format!(r#","trustStores":["ca:leaf"],"trustedIdentities":["{identity}"]"#),
        )
    };
    let rule = with("*").unwrap();
    assert!(matches!(rule.signers[0].trusts, Trusts::Certificate(_)));
    assert!(matches!(with("x509.subject: C=XX,ST=x,O=x"), Err(NotationError::NoEqual { .. })));
}

#[test]
fn what_has_no_equal_is_refused_with_the_reason() {
    let tsa = r#","trustStores":["ca:wabbit","tsa:t"],"trustedIdentities":["*"]"#;
    let authority = r#","trustStores":["signingAuthority:s"],"trustedIdentities":["*"]"#;
    for (verification, more, word) in [
        (r#""level":"audit""#, BOTH, "anybody"),
        (r#""level":"strict","override":{"authenticity":"log"}"#, BOTH, "anybody"),
        (r#""level":"strict""#, tsa, "time stamps"),
        (r#""level":"strict""#, authority, "signing authorities"),
    ] {
        let refused = one(verification, more).unwrap_err();
        assert!(
            matches!(refused, NotationError::NoEqual { .. }) && refused.to_string().contains(word),
            "{refused}"
        );
    }
    let issued = r#","trustStores":["ca:issued"],"trustedIdentities":["*"]"#;
    assert!(matches!(one(r#""level":"strict""#, issued), Err(NotationError::Certificate { .. })));
    let absent = r#","trustStores":["ca:absent"],"trustedIdentities":["*"]"#;
    assert!(matches!(one(r#""level":"strict""#, absent), Err(NotationError::Store { .. })));
}

#[test]
fn rules_of_the_specification() {
    let strict = r#""level":"strict""#;
    let scoped = |scopes: &str| converted(&[statement("a", scopes, strict, BOTH)]);
    for bad in [
        "",
        "\"*\",\"ex.com/a\"",
        "\"ex.com/a\",\"ex.com/a\"",
        "\"ex.com/*\"",
        "\"ex.com\"",
        "\"ex.com/a:v1\"",
    ] {
        assert!(scoped(bad).is_err(), "{bad}");
    }
    let two = |second: &str| converted(&[statement("a", "\"*\"", strict, BOTH), second.to_owned()]);
    assert!(two(&statement("a", "\"ex.com/a\"", strict, BOTH)).is_err(), "one name");
    assert!(two(&statement("b", "\"*\"", strict, BOTH)).is_err(), "one scope");
    assert!(two(&statement("b", "\"ex.com/a\"", strict, BOTH)).is_ok());
    for (verification, more) in [
        (r#""level":"skip""#, BOTH),
        (strict, ""),
        (r#""level":"skip","override":{"expiry":"log"}"#, ""),
        (r#""level":"loose""#, BOTH),
        (r#""level":"strict","override":{"integrity":"log"}"#, BOTH),
        (r#""level":"strict","override":{"expiry":"skip"}"#, BOTH),
        (r#""level":"strict","verifyTimestamp":"never""#, BOTH),
        (r#""level":"strict","more":1"#, BOTH),
        (strict, r#","trustStores":["ca:../x"],"trustedIdentities":["*"]"#),
        (strict, r#","trustStores":["ca:.."],"trustedIdentities":["*"]"#),
        (strict, r#","trustStores":["wabbit"],"trustedIdentities":["*"]"#),
    ] {
        assert!(one(verification, more).is_err(), "{verification} {more}");
    }
    let version = policy(&[statement("a", "\"*\"", strict, BOTH)]).replace("1.0", "1.1");
    assert!(matches!(NotationPolicy::parse(version.as_bytes()), Err(NotationError::Version(_))));
}

#[test]
fn requirements_name_the_anchors_that_count() {
    let file = converted(&[statement("a", "\"*\"", r#""level":"strict""#, BOTH)]).unwrap();
    let require = file.statements[0].require.clone().unwrap();
    let Some(AskedSignatures::Some(asked)) = require.signatures else { panic!() };
    assert_eq!(asked.from, [file.signers[0].id.clone()]);
}

proptest! {
    #[test]
    fn no_changed_byte_makes_it_panic_or_trusts_more(at in any::<prop::sample::Index>(), with: u8) {
        let text = policy(&[
            statement("a", "\"ex.com/app\"", r#""level":"strict""#, BOTH),
            statement("b", "\"*\"", r#""level":"skip""#, ""),
        ]);
        let mut bytes = text.into_bytes();
        let i = at.index(bytes.len());
        bytes[i] = with;
        if let Ok(policy) = NotationPolicy::parse(&bytes)
            && let Ok(out) = policy.convert(&stores(), "f")
        {
            prop_assert!(out.signers.len() <= 1);
            let mut file = TrustFile::default();
            prop_assert!(file.add(&out).is_ok());
            prop_assert!(TrustFile::parse(&file.to_bytes()).is_ok());
        }
    }
}
