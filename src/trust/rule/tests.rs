use proptest::prelude::*;

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

/// A locked demand for TUF is not met by a root that the user made.
#[test]
fn a_locked_demand_for_tuf_is_not_answered_by_the_users_anchor() {
    let system = file(
        r#"{"schemaVersion":2,"locked":true,"statements":[{"scope":"ex.com/org/app","require":{"tuf":true}}]}"#,
    );
    let mut user = TrustFile::default();
    user.anchors.push(root("ex.com/org/app"));
    let trust = under(user, system);
    let subject = subject("ex.com/org/app:v1");
    let rule = trust.rule(&subject);
    assert!(rule.required.tuf && rule.tuf.is_empty());
    assert_eq!(trust.covering(&subject).count(), 0);
}

/// A statement about something else loses no requirement of a wider one.
#[test]
fn a_member_that_is_left_out_is_the_wider_statements() {
    let mut trust = file(
        r#"{"schemaVersion":2,"statements":[
           {"scope":"*","require":{"signatures":{"threshold":2}}},
           {"scope":"ex.com/org/app","requireCurrentTag":true},
           {"scope":"ex.com/org/app:v1","require":{"tuf":true}},
           {"scope":"ex.com/org/app:v2","require":{"tuf":true,"signatures":false}}]}"#,
    );
    trust.signers.push(signer("*", key("p256")));
    trust.anchors.push(root("ex.com/org/app"));
    let required = |s: &str| trust.rule(&subject(s)).required;
    let lines = |s: &str| required(s).signatures.iter().map(|l| l.threshold.get()).collect::<Vec<_>>();
    assert_eq!(lines("ex.com/org/app"), [2]);
    assert_eq!(required("ex.com/org/app").signatures[0].stated_for, Some(Scope::Any));
    assert_eq!(lines("ex.com/org/app:v1"), [2]);
    assert_eq!(lines("ex.com/org/app:v2"), [0u32; 0]);
    assert!(required("ex.com/org/app:v2").tuf);
    let none = r#"{"schemaVersion":2,"statements":[{"scope":"*","require":{"signatures":false}}]}"#;
    assert!(TrustFile::parse(none.as_bytes()).is_err(), "nothing would be required");
    let yes = r#"{"schemaVersion":2,"statements":[{"scope":"*","require":{"tuf":true,"signatures":true}}]}"#;
    assert!(TrustFile::parse(yes.as_bytes()).is_err());
}

/// Whoever writes `app:legacy@sha256:...` chooses the tag, and with it nothing that is weaker.
#[test]
fn a_tag_beside_a_digest_chooses_nothing_but_denials() {
    let trust = file(
        r#"{"schemaVersion":2,"statements":[
           {"scope":"ex.com/org/app","require":{"signatures":{"threshold":2}}},
           {"scope":"ex.com/org/app:legacy","checks":{"expiry":false},"require":{"signatures":{"threshold":1}},"reason":"old"}],
           "allow":[{"scope":"ex.com/org/app:legacy","unsigned":true,"reason":"old"}],
           "deny":[{"scope":"ex.com/org/app:legacy","reason":"broken"}]}"#,
    );
    let mut trust = trust;
    trust.signers.push(signer("ex.com/org/app:legacy", key("p256")));
    let subject = subject("ex.com/org/app:legacy");
    let digest = Digest::sha256(b"x");
    let tagged = trust.rule(&subject);
    assert_eq!((tagged.required.signatures[0].threshold.get(), tagged.signers.len()), (1, 1));
    assert!(tagged.allowed(&digest).is_some() && tagged.denied(&digest).is_some());
    let pinned = trust.rule_by_digest(&subject);
    assert_eq!((pinned.required.signatures[0].threshold.get(), pinned.signers.len()), (2, 0));
    assert_eq!(pinned.subject, subject, "it is still what was asked about");
    assert!(pinned.checks.expiry.is_kept() && pinned.allowed(&digest).is_none());
    assert!(pinned.denied(&digest).is_some());
}

/// What is said of the tag may demand more.
/// A port that is there unwritten chooses nothing.
#[test]
fn one_registry_is_one_however_it_is_spelt() {
    let mut system = file(
        r#"{"schemaVersion":2,"locked":true,"statements":[
           {"scope":"ex.com/org/*","require":{"signatures":{"threshold":2}}}],
           "deny":[{"scope":"ex.com/org/app:bad","reason":"broken"}]}"#,
    );
    system.signers.push(signer("ex.com", key("p256")));
    let mut user = file(r#"{"schemaVersion":2}"#);
    user.signers.push(signer("*", key("p384")));
    let trust = under(user, system);
    let plain = trust.rule(&subject("ex.com/org/app:bad"));
    assert!(plain.deny.len() == 1 && plain.required.signatures[0].threshold.get() == 2);
    for spelt in ["ex.com:443/org/app:bad", "ex.com:0443/org/app:bad", "EX.com:443/org/app:bad"] {
        let other = trust.rule(&subject(spelt));
        assert_eq!(
            (&other.required, &other.deny, &other.signers),
            (&plain.required, &plain.deny, &plain.signers)
        );
    }
    assert_eq!(trust.rule(&subject("ex.com:5000/org/app:bad")).signers.len(), 1);
    let twice = r#"{"schemaVersion":2,"statements":[{"scope":"ex.com/org/*","requireCurrentTag":true},
        {"scope":"ex.com:443/org/*","requireCurrentTag":true}]}"#;
    assert!(TrustFile::parse(twice.as_bytes()).is_err());
}

/// What the statement of the tag checks, a wider one does not waive.
#[test]
fn a_tag_beside_a_digest_keeps_its_checks() {
    let trust = file(
        r#"{"schemaVersion":2,"statements":[
           {"scope":"ex.com/app","checks":{"expiry":false,"rescinded":false},"maxStaleness":"30d","reason":"old ones"},
           {"scope":"ex.com/app:prod","maxStaleness":"1d","reason":"a day","checks":{"expiry":false}}]}"#,
    );
    let rule = trust.rule_by_digest(&subject("ex.com/app:prod"));
    assert!(rule.checks.rescinded.is_kept() && !rule.checks.expiry.is_kept());
    let alone = trust.rule(&subject("ex.com/app:prod")).statement.unwrap().max_staleness;
    assert_eq!(rule.statement.unwrap().max_staleness, alone);
    let untagged = trust.rule_by_digest(&subject("ex.com/app"));
    assert!(!untagged.checks.rescinded.is_kept() && untagged.statement.unwrap().max_staleness > alone);
}

#[test]
fn a_tag_beside_a_digest_can_demand_more() {
    let mut trust = file(
        r#"{"schemaVersion":2,"statements":[
           {"scope":"ex.com/org/app:prod","requireCurrentTag":true,"require":{"tuf":true,"signatures":{"threshold":2}}}]}"#,
    );
    trust.signers.push(signer("ex.com", key("p256")));
    trust.signers.push(signer("ex.com/org/app:prod", key("p384")));
    let rule = trust.rule_by_digest(&subject("ex.com/org/app:prod"));
    assert!(rule.required.tuf && rule.statement.as_ref().unwrap().require_current_tag);
    let lines: Vec<_> = rule.required.signatures.iter().map(|l| (l.threshold.get(), l.from.len())).collect();
    assert_eq!(lines, [(1, 1), (2, 1)], "the tag's own anchor does not count");
    assert_eq!(trust.rule_by_digest(&subject("ex.com/org/app")).required.signatures.len(), 1);
}

/// What a user's file says, in a few ways: anchors, statements and lists for scopes that meet those of the system.
fn users() -> impl Strategy<Value = TrustFile> {
    let scope = || {
        prop::sample::select(vec![
            "*",
            "ex.com",
            "ex.com/*",
            "ex.com/org/*",
            "ex.com/org/app",
            "ex.com/org/app:v1",
            "b.example/x",
        ])
    };
    let off = || prop::option::of(any::<bool>());
    let require = (off(), prop::option::of(1u32..3)).prop_map(|(tuf, threshold)| {
        let signatures = threshold.map(|n| {
            AskedSignatures::Some(RequireSignatures { threshold: NonZeroU32::new(n).unwrap(), from: vec![] })
        });
        crate::trust::Require { tuf, signatures, attestations: None }
    });
    let statement = (scope(), require, off(), off(), off(), off(), any::<bool>(), prop::option::of(1i64..60))
        .prop_map(
            |(
                scope,
                require,
                signature,
                expiry,
                certificate_expiry,
                rescinded,
                require_current_tag,
                days,
            )| Statement {
                require: Some(require),
                checks: crate::trust::Checked { signature, expiry, certificate_expiry, rescinded },
                require_current_tag,
                max_staleness: days.filter(|_| scope != "*").map(crate::trust::Duration::days),
                reason: Some("r".into()),
                ..Statement::of(scope.parse().unwrap())
            },
        );
    let statements = prop::collection::vec(statement, 0..4);
    let signers = prop::collection::vec((scope(), prop::sample::select(vec!["p256", "p384", "p521"])), 0..3);
    let roots =
        prop::collection::vec(prop::sample::select(vec!["ex.com/org/app", "ex.com/org/*", "ex.com/*"]), 0..3);
    let unsigned = prop::option::of(Just("ex.com/org/app:v1"));
    (statements, signers, roots, unsigned).prop_map(|(statements, signers, roots, unsigned)| {
        let mut file = TrustFile::default();
        for s in statements {
            if !file.statements.iter().any(|o| o.scope == s.scope) {
                file.statements.push(s);
            }
        }
        for (scope, name) in signers {
            let anchor = signer(scope, key(name));
            if !file.signers.contains(&anchor) {
                file.signers.push(anchor);
            }
        }
        for scope in roots {
            let anchor = root(scope);
            file.anchors.push(if scope.ends_with('*') { anchor.of_organisation() } else { anchor });
        }
        file.allow.extend(unsigned.map(|tag| Listing {
            digest: None,
            scope: tag.parse().unwrap(),
            unsigned: true,
            reason: "r".into(),
            origin: Origin::default(),
        }));
        file
    })
}

proptest! {
    /// Whatever a user's file says: where a locked system file speaks, its rule stands, and at most becomes stricter.
    #[test]
    fn no_users_file_weakens_a_locked_one(
        user in users(), mut system in users(), at in prop::sample::select(vec!["ex.com/org/app:v1", "ex.com/org/app", "ex.com/org/other", "ex.com/a"]),
    ) {
        system.locked = true;
        let system = system.named("/etc/bulla/trust.json", Level::System { locked: true });
        let alone = system.rule(&subject(at));
        let speaks = system.speaks_of(&subject(at));
        let Ok(both) = user.named("trust.json", Level::User).under(system.clone()) else { return Ok(()) };
        prop_assume!(speaks);
        let untagged = Subject { tag: None, ..subject(at) };
        let pairs = [
            Some((both.rule(&subject(at)), alone)),
            system.speaks_of(&untagged).then(|| (both.rule_by_digest(&subject(at)), system.rule_by_digest(&subject(at)))),
        ];
        for (both, alone) in pairs.into_iter().flatten() {
            prop_assert!(both.required.tuf >= alone.required.tuf);
            if alone.required.tuf {
                prop_assert_eq!(&both.tuf, &alone.tuf, "its own anchors alone answer");
                prop_assert!(both.required.tuf_waived.is_none());
            }
            // Every line of its own is there as it was: nobody else counts for it.
            for line in &alone.required.signatures {
                prop_assert!(both.required.signatures.contains(line));
            }
            prop_assert!(alone.signers.iter().all(|a| both.signers.contains(a)));
            for (strict, now) in [
                (&alone.checks.signature, &both.checks.signature),
                (&alone.checks.expiry, &both.checks.expiry),
                (&alone.checks.certificate_expiry, &both.checks.certificate_expiry),
                (&alone.checks.rescinded, &both.checks.rescinded),
            ] {
                prop_assert!(now.is_kept() >= strict.is_kept());
            }
            let staleness = |r: &Rule| r.statement.as_ref().and_then(|s| s.max_staleness);
            prop_assert!(staleness(&both) <= staleness(&alone));
            let current = |r: &Rule| r.statement.as_ref().is_some_and(|s| s.require_current_tag);
            prop_assert!(current(&both) >= current(&alone));
            prop_assert_eq!(&both.allow, &alone.allow);
            prop_assert!(alone.deny.iter().all(|d| both.deny.contains(d)));
        }
    }
}
