use super::*;
use crate::sig::SubjectKey;
use crate::sig::x509::Certificate;
use crate::trust::{Anchor, Level, Rescissions, SignerAnchor, Trusts};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");

fn key(scope: &str) -> SignerAnchor {
    let pem = std::fs::read_to_string(format!("{FOLDER}sigstore/p256.pub")).unwrap();
    let trusts = Trusts::Key(SubjectKey::from_pem(&pem).unwrap());
    SignerAnchor::new(scope.parse().unwrap(), trusts, Rescissions::Nowhere).unwrap()
}

fn file(statements: &str) -> TrustFile {
    TrustFile::parse(format!(r#"{{"schemaVersion":2,{statements}}}"#).as_bytes()).unwrap()
}

fn found(trust: &TrustFile) -> Vec<(&'static str, String, bool)> {
    let now = "2026-05-01T12:00:00Z".parse().unwrap();
    trust.findings(now).into_iter().map(|f| (f.code, f.about, f.fatal)).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let mut trust = file(r#""statements":[{"scope":"ex.com","require":{"signatures":{"threshold":1}}}]"#);
    trust.signers.push(key("ex.com"));
    trust.statements[0].checks.expiry = Some(false);
    assert_eq!(found(&trust), []);
    assert_eq!(found(&TrustFile::default()), []);
}

#[test]
fn each_kind_is_found() {
    let statement = |text: &str| {
        let mut trust = file(&format!(r#""statements":[{text}]"#));
        trust.signers.push(key("ex.com/app"));
        found(&trust)
    };
    let at = |code, fatal| (code, "ex.com/app".to_owned(), fatal);
    assert_eq!(
        statement(r#"{"scope":"ex.com/app","require":{"signatures":{"threshold":2}}}"#),
        [at("trust.unmet", true)]
    );
    let contradictory = statement(r#"{"scope":"ex.com/app","require":{"tuf":true}}"#);
    assert!(contradictory.contains(&at("trust.unmet", true)), "{contradictory:?}");
    let unknown =
        statement(r#"{"scope":"ex.com/app","require":{"signatures":{"threshold":1,"from":["x"]}}}"#);
    assert!(unknown.contains(&at("trust.contradiction", true)), "{unknown:?}");
    assert!(unknown.contains(&("trust.anchor-unused", key("ex.com/app").id.as_str().to_owned(), false)));
    let off = statement(
        r#"{"scope":"ex.com/app","require":{"signatures":{"threshold":1}},"checks":{"signature":false},"reason":"r"}"#,
    );
    assert!(off.contains(&at("trust.contradiction", true)), "{off:?}");
    let nothing = statement(r#"{"scope":"ex.com/app","require":{"signatures":{"threshold":1}}}"#);
    assert_eq!(nothing, [at("trust.statement-unreachable", false)]);
    let nobody = statement(r#"{"scope":"other.example","checks":{"expiry":false},"reason":"r"}"#);
    assert!(nobody.contains(&("trust.statement-unused", "other.example".to_owned(), false)), "{nobody:?}");
}

#[test]
fn expired_and_unreachable_anchors_are_found() {
    let pem = std::fs::read_to_string(format!("{FOLDER}x509/good-three.pem")).unwrap();
    let ca = Certificate::from_pem(&pem).unwrap().pop().unwrap();
    let until = ca.not_after();
    let scope: Scope = "*".parse().unwrap();
    let mut trust = TrustFile::default();
    trust.signers.push(SignerAnchor::new(scope, Trusts::ca(ca, vec![]), Rescissions::Nowhere).unwrap());
    assert_eq!(trust.findings(until), []);
    assert_eq!(trust.findings(until.plus(1))[0].code, "trust.anchor-expired");
    let tuf = |root: &'static [u8]| {
        let name = "ex.com/app".parse().unwrap();
        Anchor::tuf("ex.com/app".parse().unwrap(), name, bytes::Bytes::from_static(root), vec![])
    };
    let mut system = file(r#""locked":true"#);
    system.anchors.push(tuf(b"{}"));
    let mut user = TrustFile::default();
    user.anchors.push(tuf(b"[]"));
    let user = user.named("trust.json", Level::User);
    let system = system.named("/etc/bulla/trust.json", Level::System { locked: true });
    let both = user.under(system).unwrap();
    let id = both.anchors[0].id.as_str().to_owned();
    assert_eq!(found(&both), [("trust.anchor-unreachable", id, false)]);
}

#[test]
fn lists_that_contradict_each_other_are_found() {
    let digest = crate::oci::Digest::sha256(b"x");
    let lists = file(&format!(
        r#""allow":[{{"digest":"{digest}","reason":"a"}},{{"scope":"ex.com/a:b","reason":"a"}}],"deny":[{{"digest":"{digest}","reason":"b"}}]"#
    ));
    assert_eq!(
        found(&lists),
        [
            ("trust.contradiction", digest.to_string(), true),
            ("trust.listing-unused", "ex.com/a:b".to_owned(), false)
        ]
    );
}
