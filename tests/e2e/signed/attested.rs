//! Attestations, as statements of the deployer ask for them.

use bulla::envelope::sigstore_bundle;
use bulla::keys::{MemorySigner, Signer as _};
use bulla::oci::Digest;
use bulla::sig::dsse::sigstore_algorithms;
use bulla::sig::statement::attestation;
use bulla::trust::{Report, Trusts};
use serde_json::{Value, json};

use super::stage::{self, Stage, key_of, says, signer};
use crate::registry::{Fault, Quirks};

const TYPE: &str = "https://example.com/review/v1";

/// An attestation as `cosign attest` makes it.
async fn attest(signer: &MemorySigner, digest: &Digest, kind: &str, predicate: &Value) -> Vec<u8> {
    let statement = attestation(digest, Some("team/app"), kind, predicate.to_string().as_bytes()).unwrap();
    let draft = sigstore_bundle::Draft::of(statement);
    let key = key_of(signer);
    let signature = signer.sign_as(sigstore_algorithms(key.kind())[0], &draft.message()).await.unwrap();
    draft.finish(&key, &signature).unwrap()
}

/// A bundle that `alice` signed, for a deployer who trusts her and asks for this besides.
async fn stage_of(quirks: Quirks, alice: &MemorySigner, asked: Value) -> Stage {
    let mut stage = Stage::new(quirks).await;
    stage.trust(Trusts::Key(key_of(alice)));
    stage.state(json!({"scope": "*", "require": {"attestations": asked}}));
    let signature = stage::sigstore_bundle(alice, stage.bundle.digest()).await;
    stage.hang_bundle(&signature);
    stage
}

fn codes(report: &Report) -> Vec<&'static str> {
    let all = report.attestations.iter().flat_map(|a| a.all_checks());
    all.map(|c| c.code.as_str()).collect()
}

#[tokio::test]
async fn one_attestation_must_hold_all_that_is_asked() {
    for no_referrers_api in [false, true] {
        let alice = signer();
        let asked = json!([{
            "type": TYPE,
            "match": [{"pointer": "/reviewed", "equals": true}, {"pointer": "/by", "oneOf": ["ann", "bob"]}],
        }]);
        let quirks = Quirks { no_referrers_api, ..Quirks::default() };
        let stage = stage_of(quirks, &alice, asked).await;
        let digest = stage.bundle.digest().clone();
        let hang = |predicate: Value| {
            let (stage, alice, digest) = (&stage, &alice, &digest);
            async move { stage.hang_bundle(&attest(alice, digest, TYPE, &predicate).await) }
        };
        // Alone, her signature is no attestation.
        assert_eq!(stage.says().await, "not-trusted: attestation.none");
        // A right signer with a wrong predicate; then what holds each half.
        hang(json!({"reviewed": false, "by": "ann"})).await;
        hang(json!({"reviewed": true, "by": "eve"})).await;
        let report = stage.verify(&stage.at(":v1")).await;
        assert_eq!(says(&report), "not-trusted: attestation.short");
        assert_eq!(codes(&report), ["attestation.field", "attestation.field", "attestation.short"]);
        // The right one, between wrong ones.
        hang(json!({"reviewed": true, "by": "bob", "score": 7.5})).await;
        hang(json!({"reviewed": "true", "by": "bob"})).await;
        for reference in [stage.at(":v1"), stage.by_digest()] {
            let report = stage.verify(&reference).await;
            assert_eq!(says(&report), "trusted", "{report:#?}");
            assert!(codes(&report).contains(&"attestation.counted"));
        }
    }
}

#[tokio::test]
async fn attestations_of_others_and_about_others_count_for_nothing() {
    let (alice, eve) = (signer(), signer());
    let stage = stage_of(Quirks::default(), &alice, json!([{"type": TYPE}])).await;
    let digest = stage.bundle.digest().clone();
    let good = json!({"ok": true});
    // By a stranger; about another bundle; of another type; with two signatures; no bundle at all.
    stage.hang_bundle(&attest(&eve, &digest, TYPE, &good).await);
    stage.hang_bundle(&attest(&alice, &Digest::sha256(b"another"), TYPE, &good).await);
    stage.hang_bundle(&attest(&alice, &digest, "https://example.com/other/v1", &good).await);
    let mut twice: Value = serde_json::from_slice(&attest(&alice, &digest, TYPE, &good).await).unwrap();
    let signature = twice["dsseEnvelope"]["signatures"][0].clone();
    twice["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(signature);
    stage.hang_bundle(twice.to_string().as_bytes());
    stage.hang_bundle(b"{}");
    // What she signed of something else, under these words.
    let mut changed: Value = serde_json::from_slice(&attest(&alice, &digest, TYPE, &good).await).unwrap();
    let other = attest(&alice, &digest, TYPE, &json!({"ok": false})).await;
    let other: Value = serde_json::from_slice(&other).unwrap();
    changed["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    stage.hang_bundle(changed.to_string().as_bytes());
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(says(&report), "not-trusted: attestation.short");
    let found = codes(&report);
    assert!(found.contains(&"signature.artifact") && found.contains(&"signature.untrusted"), "{found:?}");
    // Beside all that, and beside forty more that only claim to be of the type, hers counts.
    for n in 0..40 {
        let junk = attest(&eve, &digest, TYPE, &json!({"n": n})).await;
        stage.hang_bundle(&junk);
    }
    stage.hang_bundle(&attest(&alice, &digest, TYPE, &good).await);
    assert_eq!(stage.says().await, "trusted");
}

#[tokio::test]
async fn signers_are_counted_and_named_ones_alone_count() {
    let (alice, bob) = (signer(), signer());
    let mut stage = Stage::new(Quirks::default()).await;
    stage.trust(Trusts::Key(key_of(&alice)));
    let only = stage.trust(Trusts::Key(key_of(&bob)));
    let provenance = "https://slsa.dev/provenance/v1";
    stage.state(json!({"scope": "*", "require": {"attestations": [
        {"type": TYPE, "threshold": 2}, {"type": provenance, "from": [only.id.as_str()]},
    ]}}));
    let digest = stage.bundle.digest().clone();
    let good = json!({});
    stage.hang_bundle(&stage::sigstore_bundle(&alice, &digest).await);
    for predicate in [json!({"n": 1}), json!({"n": 2})] {
        stage.hang_bundle(&attest(&alice, &digest, TYPE, &predicate).await);
    }
    stage.hang_bundle(&attest(&alice, &digest, provenance, &good).await);
    let lines = |report: &Report| -> Vec<bool> {
        let lines = report.attestations.iter().flat_map(|a| &a.lines);
        lines.map(|l| l.check.code.as_str() == "attestation").collect()
    };
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(
        (says(&report).as_str(), lines(&report)),
        ("not-trusted: attestation.short", vec![false, false])
    );
    stage.hang_bundle(&attest(&bob, &digest, TYPE, &good).await);
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(lines(&report), [true, false], "{report:#?}");
    assert!(says(&report).starts_with("not-trusted: attestation."), "{}", says(&report));
    stage.hang_bundle(&attest(&bob, &digest, provenance, &good).await);
    assert_eq!(stage.says().await, "trusted");
}

/// What cosign 3 takes for a signature.
#[tokio::test]
async fn an_attestation_is_never_the_signature() {
    let alice = signer();
    let mut stage = Stage::new(Quirks::default()).await;
    stage.trust(Trusts::Key(key_of(&alice)));
    stage.state(json!({"scope": "*", "require": {"attestations": [{"type": TYPE}]}}));
    stage.hang_bundle(&attest(&alice, stage.bundle.digest(), TYPE, &json!({})).await);
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(says(&report), "not-trusted: signature.predicate");
    assert_eq!(codes(&report), ["attestation.counted", "attestation"]);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_never_no_attestation() {
    let alice = signer();
    let stage = stage_of(Quirks::default(), &alice, json!([{"type": TYPE}])).await;
    stage.hang_bundle(&attest(&alice, stage.bundle.digest(), TYPE, &json!({})).await);
    stage.registry.fault(Fault::on("GET", "/v2/*/referrers/*").status(403));
    let report = stage.verify(&stage.at(":v1")).await;
    assert!(says(&report).starts_with("undecided: "), "{}", says(&report));
    assert_eq!(codes(&report).last(), Some(&"attestation.open"));
}
