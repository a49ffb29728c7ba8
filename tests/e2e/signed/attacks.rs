//! What must not count, each with its code; and that none of it is in the way of a good one.

use bulla::envelope::{notary_jws, sigstore_bundle};
use bulla::keys::MemorySigner;
use bulla::oci::{Content, Descriptor, Digest, media_type};
use bulla::trust::{Code, Outcome, Trusts};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::{Value, json};

use super::pki::{Ca, Leaf, Usual, payload, protected};
use super::stage::{
    Stage, certificate, checks, has, key_of, says, signer, sigstore_bundle, simple_signature, testdata,
};
use crate::registry::{Fault, Nth, Quirks};

const NOTARY: &str = notary_jws::MEDIA_TYPE;

/// One signature that must not count, with the anchor that would count it if it were good.
struct Attack {
    code: &'static str,
    trusts: Trusts,
    media_type: &'static str,
    bytes: Vec<u8>,
    /// Whether it is refused by what the registry serves as the bundle.
    served: bool,
}

fn notary(code: &'static str, ca: &Ca, bytes: Vec<u8>) -> Attack {
    let trusts = Trusts::ca(ca.certificate(), vec!["CN=ann".parse().unwrap()]);
    Attack { code, trusts, media_type: NOTARY, bytes, served: false }
}

fn bundle(code: &'static str, signer: &MemorySigner, bytes: Vec<u8>) -> Attack {
    Attack {
        code,
        trusts: Trusts::Key(key_of(signer)),
        media_type: sigstore_bundle::MEDIA_TYPE,
        bytes,
        served: false,
    }
}

fn edited(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    edit(&mut value);
    serde_json::to_vec(&value).unwrap()
}

async fn attacks(artifact: &Descriptor) -> Vec<Attack> {
    let (ca, other) = (Ca::new("root"), Ca::new("another root"));
    let ann = ca.leaf("ann", Usual::default());
    let with = |edit: fn(&mut Value)| {
        let mut header = protected();
        edit(&mut header);
        header
    };
    let odd = |edit: fn(&mut Value)| ann.jws(&with(edit), &payload(artifact));
    let usage = |usual: Usual| ca.leaf("ann", usual).sign(artifact);
    let elsewhere = Descriptor::of(media_type::OCI_MANIFEST, b"another bundle");
    let mut all = vec![
        notary("signature.untrusted", &other, ann.sign(artifact)),
        notary("signature.identity", &ca, ca.leaf("bob", Usual::default()).sign(artifact)),
        notary("signature.artifact", &ca, ann.sign(&elsewhere)),
        notary(
            "signature.expired",
            &ca,
            odd(|h| {
                h["io.cncf.notary.expiry"] = "2026-11-02T00:00:00Z".into();
                h["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
            }),
        ),
        // Signed while it was valid, as the signer says.
        notary("signature.certificate.expired", &ca, usage(Usual { until: 2026, ..Usual::default() })),
        notary(
            "signature.usage",
            &ca,
            usage(Usual { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Usual::default() }),
        ),
        notary(
            "signature.usage",
            &ca,
            usage(Usual { usages: vec![KeyUsagePurpose::KeyAgreement], ..Usual::default() }),
        ),
        notary(
            "signature.critical",
            &ca,
            odd(|h| {
                h["com.example.policy"] = "x".into();
                h["crit"] = json!(["io.cncf.notary.signingScheme", "com.example.policy"]);
            }),
        ),
        notary("signature.algorithm", &ca, odd(|h| h["alg"] = "ES384".into())),
        notary("signature.algorithm", &ca, odd(|h| h["alg"] = "none".into())),
        notary(
            "signature.wrong",
            &ca,
            edited(&ann.sign(artifact), |e| e["signature"] = "A".repeat(86).into()),
        ),
        notary("signature.malformed", &ca, b"{}".to_vec()),
        notary(
            "signature.scheme",
            &ca,
            odd(|h| {
                let time = h["io.cncf.notary.signingTime"].take();
                h.as_object_mut().unwrap().remove("io.cncf.notary.signingTime");
                h["io.cncf.notary.authenticSigningTime"] = time;
                h["io.cncf.notary.signingScheme"] = "notary.x509.signingAuthority".into();
                h["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.authenticSigningTime"]);
            }),
        ),
    ];
    for odd in [
        Descriptor { size: 1, ..artifact.clone() },
        Descriptor { media_type: media_type::OCI_INDEX.into(), ..artifact.clone() },
    ] {
        all.push(Attack { served: true, ..notary("signature.artifact", &ca, ann.sign(&odd)) });
    }
    let key = signer();
    let good = sigstore_bundle(&key, &artifact.digest).await;
    let stranger = sigstore_bundle(&signer(), &artifact.digest).await;
    all.extend([
        bundle("signature.untrusted", &key, stranger.clone()),
        bundle("signature.artifact", &key, sigstore_bundle(&key, &elsewhere.digest).await),
        bundle(
            "signature.dsse",
            &key,
            edited(&good, |b| {
                let more = serde_json::from_slice::<Value>(&stranger).unwrap();
                let more = more["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(more);
            }),
        ),
        bundle("signature.malformed", &key, edited(&good, |b| b["mediaType"] = "application/x".into())),
        bundle(
            "signature.log",
            &key,
            edited(&good, |b| b["verificationMaterial"]["tlogEntries"] = json!([foreign_entry()])),
        ),
    ]);
    let attestation = testdata("sigstore/cosign3-attest-p256.sigstore.json");
    all.push(Attack {
        code: "signature.predicate",
        trusts: Trusts::Key(super::stage::cosign_key("p256")),
        media_type: sigstore_bundle::MEDIA_TYPE,
        bytes: attestation,
        served: false,
    });
    all
}

/// A log entry of another signature: that of the same key kind over something else.
fn foreign_entry() -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let pem = testdata("sigstore/p256.pub");
    let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": Digest::sha256(b"another").hex()}},
        "signature": {"content": "MEUC", "publicKey": {"content": STANDARD.encode(pem)}},
    }});
    let mut body = body;
    body["spec"]["signature"]["content"] = STANDARD.encode(b"another").into();
    json!({
        "logIndex": "1", "logId": {"keyId": STANDARD.encode([0; 32])},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": "1712085549", "canonicalizedBody": STANDARD.encode(body.to_string()),
    })
}

fn hang(stage: &Stage, attack: &Attack) {
    match attack.media_type {
        NOTARY => drop(stage.hang_notary(NOTARY, &attack.bytes, false)),
        _ => drop(stage.hang_bundle(&attack.bytes)),
    }
}

#[tokio::test]
async fn each_is_refused_with_its_code_and_hides_no_good_one() {
    for no_referrers_api in [false, true] {
        let artifact = super::stage::subject().descriptor().clone();
        for attack in attacks(&artifact).await {
            let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
            stage.trust(attack.trusts.clone());
            hang(&stage, &attack);
            let report = stage.verify(&stage.at(":v1")).await;
            assert_eq!(says(&report), format!("not-trusted: {}", attack.code), "{:#?}", checks(&report));
            assert!(has(&report, Code::BundleTagUnbound, &Outcome::Note));
            let by_digest = stage.verify(&stage.by_digest()).await;
            if attack.served {
                // The digest alone was asked for: type and size are reported as the signer says them.
                assert_eq!(says(&by_digest), "trusted");
                let reported = (by_digest.media_type.as_deref(), by_digest.size);
                assert_ne!(reported, (Some(&artifact.media_type[..]), Some(artifact.size)));
                continue;
            }
            assert_eq!(says(&by_digest), says(&report));

            // A good one by another anchor, hung up later.
            let good = signer();
            stage.trust(Trusts::Key(key_of(&good)));
            stage.hang_bundle(&sigstore_bundle(&good, &artifact.digest).await);
            let report = stage.verify(&stage.at(":v1")).await;
            assert_eq!(says(&report), "trusted", "{}: {:#?}", attack.code, checks(&report));
            assert!(!has(&report, Code::SignatureShort, &Outcome::Fail));
        }
    }
}

/// A signature of one and what another lacks do not add up.
#[tokio::test]
async fn constraints_hold_on_one_signature() {
    let mut stage = Stage::new(Quirks::default()).await;
    let artifact = stage.bundle.descriptor().clone();
    let ca = Ca::new("root");
    // ann's signature is for another bundle, and bob, whom the anchor does not name, signed this one.
    let ann = ca.leaf("ann", Usual::default());
    let bob: Leaf = ca.leaf("bob", Usual::default());
    stage.trust(Trusts::ca(ca.certificate(), vec!["CN=ann".parse().unwrap()]));
    stage.hang_notary(NOTARY, &ann.sign(&Descriptor::of(media_type::OCI_MANIFEST, b"x")), false);
    stage.hang_notary(NOTARY, &bob.sign(&artifact), false);
    assert_eq!(stage.says().await, "not-trusted: signature.artifact");
    stage.hang_notary(NOTARY, &ann.sign(&artifact), false);
    assert_eq!(stage.says().await, "trusted");
}

/// A certificate that is pinned itself counts as long as it is valid.
#[tokio::test]
async fn a_pinned_certificate_counts_while_it_is_valid() {
    let mut stage = Stage::new(Quirks::default()).await;
    let artifact = stage.bundle.descriptor().clone();
    let ann = Ca::new("root").leaf("ann", Usual { until: 2027, ..Usual::default() });
    stage.trust(Trusts::Certificate(ann.certificate()));
    stage.hang_notary(NOTARY, &ann.sign(&artifact), false);
    assert_eq!(stage.says().await, "trusted");
    stage.now = "2027-01-01T00:00:01Z".parse().unwrap();
    assert_eq!(stage.says().await, "not-trusted: signature.certificate.expired");
}

/// One person with a pinned certificate and, of the same CA, a renewed one is one signer, in whichever form he signs.
#[tokio::test]
async fn a_pinned_and_a_renewed_certificate_are_one_signer() {
    for with_certificate in [false, true] {
        let mut stage = Stage::new(Quirks::default()).await;
        let digest = stage.bundle.digest().clone();
        let ca = Ca::new("root");
        let (pinned, renewed) = (ca.leaf("ann", Usual::default()), ca.leaf("ann", Usual::default()));
        let anchors = [
            stage.trust(Trusts::Certificate(pinned.certificate())),
            stage.trust(Trusts::ca(ca.certificate(), vec![])),
        ];
        let ids: Vec<&str> = anchors.iter().map(|a| a.id.as_str()).collect();
        stage.state(json!({"scope": "*", "require": {"signatures": {"threshold": 2, "from": ids}}}));
        stage.hang_bundle(&pinned.bundle(&digest, with_certificate));
        stage.hang_bundle(&renewed.bundle(&digest, true));
        assert_eq!(stage.says().await, "not-trusted: signature.short", "{with_certificate}");
        stage.hang_bundle(&ca.leaf("bob", Usual::default()).bundle(&digest, true));
        assert_eq!(stage.says().await, "trusted", "{with_certificate}");
    }
}

/// A CA's earlier certificate beside today's: the chain that is valid counts, whichever is listed first.
#[tokio::test]
async fn the_certificate_of_a_ca_that_is_valid_counts() {
    for old_first in [true, false] {
        let mut stage = Stage::new(Quirks::default()).await;
        let digest = stage.bundle.digest().clone();
        let ca = Ca::new("root");
        let (old, new) = (Trusts::ca(ca.older("root"), vec![]), Trusts::ca(ca.certificate(), vec![]));
        let (first, second) = if old_first { (old, new) } else { (new, old) };
        stage.trust(first);
        stage.trust(second);
        stage.hang_bundle(&ca.leaf("ann", Usual::default()).bundle(&digest, true));
        assert_eq!(stage.says().await, "trusted", "{old_first}");
    }
}

#[tokio::test]
async fn a_narrower_anchor_switches_no_wider_one_off() {
    let mut stage = Stage::new(Quirks::default()).await;
    let digest = stage.bundle.digest().clone();
    let (wide, narrow) = (signer(), signer());
    stage.trust(Trusts::Key(key_of(&wide)));
    let repository = format!("{}/team/app", stage.registry.host());
    stage.trust_for(&repository, Trusts::Key(key_of(&narrow)));
    stage.hang_bundle(&sigstore_bundle(&wide, &digest).await);
    assert_eq!(stage.says().await, "trusted");
}

/// Throttled or broken, a list is not "unsigned"; what is found elsewhere counts all the same.
#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_unsigned() {
    for status in [429, 500, 503, 403, 401] {
        for no_referrers_api in [false, true] {
            let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
            let digest = stage.bundle.digest().clone();
            let key = signer();
            stage.trust(Trusts::Key(key_of(&key)));
            let path = match no_referrers_api {
                false => "/v2/*/referrers/*".to_owned(),
                true => format!("/v2/*/manifests/{}", digest.referrers_tag()),
            };
            stage.registry.fault(Fault::on("GET", &path).nth(Nth::Every).status(status));
            assert_eq!(stage.says().await, "undecided: signature.open", "{status}");
            let (payload, signature) = simple_signature(&key, &digest).await;
            stage.sig_tag(&[stage.simple_layer(&payload, &signature)]);
            assert_eq!(stage.says().await, "trusted", "{status}");
        }
    }
}

/// One candidate that cannot be fetched leaves the answer open, and is a note beside a good one.
#[tokio::test]
async fn a_candidate_that_cannot_be_fetched_leaves_the_answer_open() {
    let mut stage = Stage::new(Quirks::default()).await;
    let digest = stage.bundle.digest().clone();
    let (key, other) = (signer(), signer());
    stage.trust(Trusts::Key(key_of(&key)));
    stage.trust(Trusts::Key(key_of(&other)));
    let broken = stage.hang_bundle(&sigstore_bundle(&key, &digest).await);
    stage.registry.fault(Fault::on("GET", &format!("/v2/*/manifests/{broken}")).nth(Nth::Every).status(500));
    assert_eq!(stage.says().await, "undecided: signature.open");
    stage.hang_bundle(&sigstore_bundle(&other, &digest).await);
    assert_eq!(stage.says().await, "trusted");
}

/// 10,000 that look like signatures, or like nothing, before the good one: the answer is right, and what it costs is bounded.
#[tokio::test]
async fn ten_thousand_junk_referrers() {
    let mut stage = Stage::new(Quirks { no_referrers_api: true, ..Quirks::default() }).await;
    let digest = stage.bundle.digest().clone();
    let key = signer();
    stage.trust(Trusts::Key(key_of(&key)));
    let bundle = sigstore_bundle(&key, &digest).await;
    let good = stage.hang_bundle(&bundle);
    let size = stage.registry.manifest(super::stage::REPO, &good).unwrap().2.len();
    let tag = digest.referrers_tag();
    stage.registry.set_tag(super::stage::REPO, tag.as_str(), None);
    let entry = |digest: &str, size: usize, hint: Option<&str>| {
        let mut entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": size});
        if let Some(hint) = hint {
            entry["artifactType"] = hint.into();
        }
        entry
    };
    // Some look like signatures, and are not there, are of another form, or hang elsewhere.
    let mut entries = Vec::new();
    for i in 0..9_000 {
        let absent = Digest::sha256(format!("junk {i}").as_bytes()).to_string();
        entries.push(entry(&absent, 500, Some("application/vnd.example.junk")));
    }
    let other = Content::new(media_type::OCI_MANIFEST, testdata("sigstore/p256.pub"));
    for i in 0..400 {
        let v3 = sigstore_bundle::MEDIA_TYPE;
        let layer = stage.layer(v3, format!("{{\"junk\":{i}}}").as_bytes());
        let subject = if i % 2 == 0 { stage.bundle.descriptor() } else { other.descriptor() };
        stage.registry.quirks(|q| q.no_referrers_api = false);
        let digest = stage.hang_on(subject, Some(v3), media_type::OCI_EMPTY, &[layer]);
        stage.registry.quirks(|q| q.no_referrers_api = true);
        entries.push(entry(&digest, 500, Some(v3)));
    }
    entries.push(entry(&good, size, None));
    stage.list(stage.bundle.descriptor(), entries);
    stage.registry.clear();
    let report = stage.verify(&stage.at(":v1")).await;
    assert_eq!(says(&report), "trusted", "{:#?}", checks(&report));
    let made = stage.registry.count("*", "*");
    assert!(made < 1_000, "{made} requests");
    assert!(checks(&report).len() < 60, "{}", checks(&report).len());

    // Without the good one every entry is looked at, and the answer is no.
    stage.trust.signers.clear();
    stage.trust(Trusts::ca(certificate("notation/root.pem"), vec![]));
    let report = stage.verify(&stage.at(":v1")).await;
    assert!(says(&report).starts_with("not-trusted: signature."), "{}", says(&report));
}

/// What hangs up copies of one signer's signature hides no second signer.
#[tokio::test]
async fn copies_of_one_signature_hide_no_second_signer() {
    let mut stage = Stage::new(Quirks::default()).await;
    let digest = stage.bundle.digest().clone();
    let (one, two) = (signer(), signer());
    stage.trust(Trusts::Key(key_of(&one)));
    stage.trust(Trusts::Key(key_of(&two)));
    stage.state(json!({"scope": "*", "require": {"signatures": {"threshold": 2}}}));
    let copy = sigstore_bundle(&one, &digest).await;
    for i in 0..300 {
        // Another document each time, by whitespace.
        stage.hang_bundle(&[&copy[..], " ".repeat(i).as_bytes()].concat());
    }
    assert_eq!(stage.says().await, "not-trusted: signature.short");
    stage.hang_bundle(&sigstore_bundle(&two, &digest).await);
    assert_eq!(stage.says().await, "trusted");
}

/// A connection that hangs for one candidate does not keep the others from being read.
#[tokio::test]
async fn a_slow_candidate_is_not_waited_for_by_the_others() {
    let mut stage = Stage::new(Quirks::default()).await;
    let digest = stage.bundle.digest().clone();
    let key = signer();
    stage.trust(Trusts::Key(key_of(&key)));
    let slow = stage.hang_bundle(&sigstore_bundle(&signer(), &digest).await);
    stage.hang_bundle(&sigstore_bundle(&key, &digest).await);
    let gate = stage.registry.hold("GET", &format!("/v2/*/manifests/{slow}"), Nth::Every);
    let reference = stage.at(":v1");
    let verified = tokio::time::timeout(std::time::Duration::from_secs(40), stage.verify(&reference)).await;
    assert_eq!(says(&verified.expect("it does not wait for ever")), "trusted");
    drop(gate);
}

/// A signature's own expiry, and that of its certificates, are waived each by itself, and the report says so.
#[tokio::test]
async fn expiry_is_waived_by_statement_and_told() {
    let checks_of = |name: &str| json!({"scope": "*", "checks": {name: false}, "reason": "until spring"});
    let lapsed = Usual { until: 2026, ..Usual::default() };
    let mut header = protected();
    header["io.cncf.notary.expiry"] = "2026-11-02T00:00:00Z".into();
    header["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
    for (usual, expires, name, code) in [
        (Usual::default(), true, "expiry", Code::SignatureExpired),
        (lapsed, false, "certificateExpiry", Code::SignatureCertificateExpired),
    ] {
        let mut stage = Stage::new(Quirks::default()).await;
        let ca = Ca::new("root");
        let artifact = stage.bundle.descriptor().clone();
        let header = if expires { header.clone() } else { protected() };
        let envelope = ca.leaf("ann", usual).jws(&header, &payload(&artifact));
        stage.hang_notary(NOTARY, &envelope, false);
        stage.trust(Trusts::ca(ca.certificate(), vec![]));
        assert_eq!(stage.says().await, format!("not-trusted: {code}"));
        stage.state(checks_of(name));
        let report = stage.verify(&stage.at(":v1")).await;
        assert_eq!(says(&report), "trusted", "{:#?}", checks(&report));
        let waived = |c: &&bulla::trust::Check| c.code == code && c.outcome.as_str() == "waived";
        assert!(checks(&report).iter().any(waived));
    }
}
