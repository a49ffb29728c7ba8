use super::*;
use crate::sig::SubjectKey;
use crate::sig::x509::Certificate;
use crate::trust::{Rescissions, Trusts};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");

fn key(name: &str) -> Trusts {
    let pem = std::fs::read_to_string(format!("{FOLDER}sigstore/{name}.pub")).unwrap();
    Trusts::Key(SubjectKey::from_pem(&pem).unwrap())
}

fn ca(name: &str) -> Trusts {
    let pem = std::fs::read_to_string(format!("{FOLDER}x509/{name}.pem")).unwrap();
    Trusts::ca(Certificate::from_pem(&pem).unwrap().pop().unwrap(), vec![])
}

fn signer(scope: &str, trusts: Trusts) -> SignerAnchor {
    SignerAnchor::new(scope.parse().unwrap(), trusts, Rescissions::Nowhere).unwrap()
}

fn root(scope: &str) -> Anchor {
    let name = "ex.com/org/app".parse().unwrap();
    Anchor::tuf(scope.parse().unwrap(), name, bytes::Bytes::from_static(b"{}"), vec![])
}

fn subject(s: &str) -> Subject {
    s.parse().unwrap()
}

fn file(text: &str) -> TrustFile {
    TrustFile::parse(text.as_bytes()).unwrap()
}

fn under(user: TrustFile, system: TrustFile) -> TrustFile {
    let system = system.named("/etc/bulla/trust.json", Level::System { locked: false });
    user.named("trust.json", Level::User).under(system).unwrap()
}

#[test]
fn a_narrower_anchor_takes_nothing_from_a_wider_one() {
    let mut file = TrustFile::default();
    file.signers.push(signer("*", ca("good-three")));
    file.signers.push(signer("registry.wabbit-networks.io", key("p256")));
    let all = |s: &str| file.rule(&subject(s)).signers.len();
    assert_eq!((all("registry.wabbit-networks.io/net-monitor:v1"), all("ex.com/app:v1")), (2, 1));
    let rule = file.rule(&subject("registry.wabbit-networks.io/net-monitor:v1"));
    assert!(!rule.required.tuf);
    let [one] = &rule.required.signatures[..] else { panic!("{rule:?}") };
    assert_eq!((one.threshold.get(), one.from.len(), &one.stated_for), (1, 2, &None));
    assert_eq!(rule.checks, Checks::default());
}

#[test]
fn a_tuf_anchor_makes_tuf_mandatory_unless_a_statement_says_otherwise_with_a_reason() {
    let mut trust = TrustFile::default();
    trust.anchors.push(root("ex.com/org/app"));
    trust.signers.push(signer("*", key("p256")));
    let rule = trust.rule(&subject("ex.com/org/app:v1"));
    assert!(rule.required.tuf && rule.required.signatures.is_empty());
    let with = |text: &str| {
        let mut trust = trust.clone();
        trust.statements = file(text).statements;
        trust.rule(&subject("ex.com/org/app:v1")).required
    };
    let off = with(
        r#"{"schemaVersion":2,"statements":[{"scope":"ex.com","require":{"tuf":false},"reason":"old"}]}"#,
    );
    assert!(!off.tuf && off.signatures.len() == 1);
    let by = off.tuf_waived.unwrap();
    assert_eq!((by.file.as_str(), by.reason.as_str()), ("trust.json", "old"));
    let both =
        with(r#"{"schemaVersion":2,"statements":[{"scope":"*","require":{"signatures":{"threshold":2}}}]}"#);
    assert!(both.tuf && both.signatures[0].threshold.get() == 2 && both.tuf_waived.is_none());
}

#[test]
fn what_is_turned_off_says_by_whom() {
    let trust = file(
        r#"{"schemaVersion":2,"statements":[{"scope":"*","checks":{"signature":false,"rescinded":false},
           "reason":"a trial","importedFrom":"trustpolicy.json"}]}"#,
    );
    let checks = trust.rule(&subject("ex.com/app:v1")).checks;
    assert_eq!(checks.signature.waived_by().unwrap().file, "trustpolicy.json");
    assert!(checks.expiry.is_kept() && !checks.rescinded.is_kept());
}

#[test]
fn a_locked_system_file_is_not_weakened() {
    let system = file(
        r#"{"schemaVersion":2,"locked":true,"statements":[
           {"scope":"ex.com/*","require":{"tuf":true,"signatures":{"threshold":2}}}]}"#,
    );
    let mut system = system;
    system.signers.push(signer("ex.com", key("p256")));
    let mut user = file(
        r#"{"schemaVersion":2,"statements":[
           {"scope":"ex.com/org/app","require":{"tuf":false},"checks":{"signature":false},"maxStaleness":"30d","reason":"mine"}],
           "allow":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","unsigned":true,"reason":"mine"}],
           "deny":[{"scope":"ex.com/org/app:bad","reason":"mine"}]}"#,
    );
    user.signers.push(signer("ex.com/org/app", key("p384")));
    let trust = under(user, system);
    let rule = trust.rule(&subject("ex.com/org/app:bad"));
    assert!(rule.required.tuf && rule.required.tuf_waived.is_none());
    let [both] = &rule.required.signatures[..] else { panic!("{rule:?}") };
    assert_eq!((both.threshold.get(), both.from.len()), (2, 1), "the user's anchor does not count for it");
    assert_eq!(rule.signers.len(), 2);
    assert!(rule.checks.signature.is_kept());
    assert_eq!(rule.statement.as_ref().unwrap().max_staleness, None);
    assert!(rule.allow.is_empty() && rule.deny.len() == 1);
    // Where the system says nothing, the user's file is as good as alone.
    assert!(!trust.rule(&subject("other.example/org/app:v1")).required.tuf);
}

#[test]
fn a_locked_anchor_is_the_only_one_for_its_repository() {
    let mut system = file(r#"{"schemaVersion":2,"locked":true}"#);
    system.anchors.push(root("ex.com/org/*").of_organisation());
    let mut user = TrustFile::default();
    user.anchors.push(root("ex.com/org/app"));
    let ids = |trust: &TrustFile| -> Vec<String> {
        trust.covering(&subject("ex.com/org/app")).map(|a| a.scope.to_string()).collect()
    };
    assert_eq!(ids(&under(user.clone(), system.clone())), ["ex.com/org/*"]);
    system.locked = false;
    assert_eq!(ids(&under(user, system)), ["ex.com/org/app"]);
}

#[test]
fn an_anchor_cannot_take_the_name_of_the_systems() {
    let mut system = TrustFile::default();
    system.signers.push(signer("ex.com", key("p256")));
    let mut user = TrustFile::default();
    user.signers.push(SignerAnchor { id: system.signers[0].id.clone(), ..signer("ex.com", key("p384")) });
    assert!(user.clone().under(system.clone()).is_err());
    user.signers = system.signers.clone();
    assert_eq!(user.under(system).unwrap().rule(&subject("ex.com/a")).signers.len(), 1);
}
