//! Every form and place of a signature that is read, and what it costs.

use bulla::envelope::{notary_cose, notary_jws, simple_signing};
use bulla::trust::{Code, Outcome, Trusts};

use super::stage::{
    Stage, certificate, checks, cosign_key, has, key_of, says, signer, sigstore_bundle, simple_signature,
    testdata,
};
use crate::registry::Quirks;

/// How cosign and notation leave a signature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    Bundle,
    SigTag,
    SigReferrer,
    Notary { cose: bool, legacy: bool },
}

pub(super) const WAYS: [Way; 7] = [
    Way::Bundle,
    Way::SigTag,
    Way::SigReferrer,
    Way::Notary { cose: false, legacy: false },
    Way::Notary { cose: false, legacy: true },
    Way::Notary { cose: true, legacy: false },
    Way::Notary { cose: true, legacy: true },
];

/// What cosign 2.5, cosign 3.1 and notation 1.3 signed.
pub(super) fn leave(stage: &Stage, way: Way) {
    use base64::Engine as _;
    let raw =
        || base64::engine::general_purpose::STANDARD.decode(testdata("sigstore/cosign2-p256.sig")).unwrap();
    let layer = || stage.simple_layer(&testdata("sigstore/cosign2-p256.json"), &raw());
    match way {
        Way::Bundle => drop(stage.hang_bundle(&testdata("sigstore/cosign3-p256.sigstore.json"))),
        Way::SigTag => stage.sig_tag(&[layer()]),
        Way::SigReferrer => {
            let kind = "application/vnd.dev.cosign.artifact.sig.v1+json";
            drop(stage.hang(Some(kind), kind, &[layer()]));
        }
        Way::Notary { cose, legacy } => {
            let (kind, file) = match cose {
                true => (notary_cose::MEDIA_TYPE, "notation/notation-p256.cose"),
                false => (notary_jws::MEDIA_TYPE, "notation/notation-p256.jws"),
            };
            drop(stage.hang_notary(kind, &testdata(file), legacy));
        }
    }
}

pub(super) fn right(way: Way) -> Trusts {
    match way {
        Way::Notary { .. } => Trusts::ca(certificate("notation/root.pem"), vec![]),
        _ => Trusts::Key(cosign_key("p256")),
    }
}

fn wrong(way: Way) -> Trusts {
    match way {
        Way::Notary { .. } => Trusts::ca(certificate("x509/good-three.pem"), vec![]),
        _ => Trusts::Key(cosign_key("generated")),
    }
}

#[tokio::test]
async fn every_form_counts_by_tag_and_by_digest() {
    for no_referrers_api in [false, true] {
        for way in WAYS {
            let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
            leave(&stage, way);
            stage.trust(right(way));
            for (reference, most) in [(stage.at(":v1"), 4), (stage.by_digest(), 3)] {
                stage.registry.clear();
                let report = stage.verify(&reference).await;
                let log = stage.registry.log();
                assert_eq!(says(&report), "trusted", "{way:?} {reference} {report:#?}\n{log}");
                assert!(has(&report, Code::SignatureCounted, &Outcome::Pass));
                let made = stage.registry.count("*", "*");
                assert!(no_referrers_api || made <= most, "{way:?} {reference}: {made} requests\n{log}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_or_root_is_refused_in_every_form() {
    for no_referrers_api in [false, true] {
        for way in WAYS {
            let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
            leave(&stage, way);
            stage.trust(wrong(way));
            assert_eq!(stage.says().await, "not-trusted: signature.untrusted", "{way:?}");
            let by_digest = says(&stage.verify(&stage.by_digest()).await);
            assert_eq!(by_digest, "not-trusted: signature.untrusted", "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_bundle_that_nobody_signed_is_not_trusted_and_one_that_is_not_there_is_undecided() {
    for no_referrers_api in [false, true] {
        let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
        stage.trust(Trusts::Key(cosign_key("p256")));
        assert_eq!(stage.says().await, "not-trusted: signature.none");
        assert_eq!(says(&stage.verify(&stage.by_digest()).await), "not-trusted: signature.none");
        for absent in [":v2".to_owned(), format!("@sha256:{}", "0".repeat(64))] {
            assert_eq!(says(&stage.verify(&stage.at(&absent)).await), "undecided: ref.absent");
        }
    }
}

/// Once the signature is there, integrity, source and expiry need nothing more.
#[tokio::test]
async fn nothing_is_asked_for_after_the_signature() {
    for way in WAYS {
        let mut stage = Stage::new(Quirks::default()).await;
        leave(&stage, way);
        stage.trust(right(way));
        stage.registry.clear();
        assert_eq!(says(&stage.verify(&stage.by_digest()).await), "trusted");
        let last = stage.registry.requests().last().unwrap().clone();
        assert!(last.path.contains("/blobs/"), "{way:?}: {last}");
    }
}

#[tokio::test]
async fn without_anchors_for_it_nothing_is_asked_for() {
    let mut stage = Stage::new(Quirks::default()).await;
    leave(&stage, Way::Bundle);
    stage.trust_for("elsewhere.example.com", right(Way::Bundle));
    stage.registry.clear();
    assert_eq!(stage.says().await, "not-trusted: anchor.none");
    assert_eq!(stage.registry.count("*", "*"), 0);
}

/// Keys are counted: one that signed in every form is one, and a second one makes two.
#[tokio::test]
async fn signers_are_counted_by_key_and_not_by_layer() {
    let mut stage = Stage::new(Quirks::default()).await;
    let (one, two) = (signer(), signer());
    for s in [&one, &two] {
        stage.trust(Trusts::Key(key_of(s)));
    }
    let reason = "two people";
    stage.state(serde_json::json!({
        "scope": "*", "require": {"signatures": {"threshold": 2}}, "reason": reason
    }));
    let digest = stage.bundle.digest().clone();
    stage.hang_bundle(&sigstore_bundle(&one, &digest).await);
    stage.hang_bundle(&sigstore_bundle(&one, &digest).await);
    let (payload, signature) = simple_signature(&one, &digest).await;
    stage.sig_tag(&[stage.simple_layer(&payload, &signature), stage.simple_layer(&payload, &signature)]);
    assert_eq!(stage.says().await, "not-trusted: signature.short");
    let (payload, signature) = simple_signature(&two, &digest).await;
    let layer = stage.simple_layer(&payload, &signature);
    assert_eq!(layer["mediaType"], simple_signing::MEDIA_TYPE);
    stage.sig_tag(&[layer]);
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(says(&report), "trusted", "{:#?}", checks(&report));
}
