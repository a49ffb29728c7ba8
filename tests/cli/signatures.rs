//! Attacks on signatures of other tools, against the whole program: what is hung, and what `verify` says of it (docs/threats.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::oci::{media_type, sorted_json};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::forge::{Authority, Forger, SIGN, descriptor, hang, header, statement};
use crate::registry::{Config, Fault, Quirks};
use crate::signed::{Shop, ca_anchor, data, demand, failed, trusted};

const REPO: &str = "team/app";
const AT: &str = "2026-04-30T12:00:00Z";

/// A bundle, a CA and a signer whom the deployer trusts, by certificate or by key.
struct Scene {
    shop: Shop,
    ca: Authority,
    signer: Forger,
}

impl Scene {
    async fn new() -> Self {
        Self::on(Shop::new().await)
    }

    fn on(shop: Shop) -> Self {
        let ca = Authority::new();
        let signer = ca.signer("Signer");
        let scene = Self { shop, ca, signer };
        let at = scene.shop.at();
        let anchors = [scene.ca.anchor("ca", &at), scene.signer.anchor("key", &at)];
        scene.shop.trust("deployer", &json!({"anchors": anchors}));
        scene
    }

    fn subject(&self) -> Value {
        descriptor(&self.shop.registry, REPO, "v1")
    }

    fn hang_jws(&self, signer: &Forger, header: &Value, about: &Value) {
        hang(&self.shop.registry, REPO, &self.subject(), &signer.jws(header, about), true);
    }

    fn hang_bundle(&self, bundle: &Value) {
        hang(&self.shop.registry, REPO, &self.subject(), &sorted_json(bundle), false);
    }

    async fn verdict(&self) -> (u8, String) {
        self.shop.verify("deployer", &format!("{}:v1", self.shop.at())).await
    }

    /// What stands in place of one signature is refused with this code, and does not keep a good one from counting.
    #[track_caller]
    fn refused(self, code: &'static str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let found = self.verdict().await;
            let report = self.shop.report("deployer", &format!("{}:v1", self.shop.at())).await;
            assert_eq!(found.0, 1, "{caller}: {report:#}");
            assert!(failed(&report, code), "{caller}: {code} did not fail in {report:#}");
            self.hang_bundle(&self.signer.bundle(&statement(&self.shop.v1, SIGN)));
            assert_eq!(self.verdict().await, trusted(), "{caller}: beside a good one");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_here_is_good_where_nothing_is_wrong() {
    let scene = Scene::new().await;
    assert_eq!(scene.verdict().await, (1, "signature.none".to_owned()));
    scene.hang_jws(&scene.signer, &header(AT, None), &scene.subject());
    assert_eq!(scene.verdict().await, trusted());
    let scene = Scene::new().await;
    scene.hang_bundle(&scene.signer.bundle(&statement(&scene.shop.v1, SIGN)));
    assert_eq!(scene.verdict().await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_for_another_digest() {
    let scene = Scene::new().await;
    let other = descriptor(&scene.shop.registry, REPO, "v2");
    scene.hang_jws(&scene.signer, &header(AT, None), &other);
    scene.refused("signature.artifact").await;
    let scene = Scene::new().await;
    scene.hang_bundle(&scene.signer.bundle(&statement(&scene.shop.v2, SIGN)));
    scene.refused("signature.artifact").await;
    // The same digest under another media type or size is another artifact, too.
    for (member, value) in [("mediaType", json!(media_type::OCI_MANIFEST)), ("size", json!(1))] {
        let scene = Scene::new().await;
        let mut other = scene.subject();
        other[member] = value;
        scene.hang_jws(&scene.signer, &header(AT, None), &other);
        scene.refused("signature.artifact").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_root() {
    let scene = Scene::new().await;
    let stranger = Authority::new().signer("Signer");
    scene.hang_jws(&stranger, &header(AT, None), &scene.subject());
    scene.refused("signature.untrusted").await;
    let scene = Scene::new().await;
    scene.hang_bundle(&stranger.bundle(&statement(&scene.shop.v1, SIGN)));
    scene.refused("signature.untrusted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_with_a_wrong_usage() {
    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any] {
        let scene = Scene::new().await;
        let web = scene.ca.signer_for("Other", &[usage]);
        scene.hang_jws(&web, &header(AT, None), &scene.subject());
        scene.refused("signature.usage").await;
    }
    let scene = Scene::new().await;
    let code = scene.ca.signer_for("Other", &[ExtendedKeyUsagePurpose::CodeSigning]);
    scene.hang_jws(&code, &header(AT, None), &scene.subject());
    assert_eq!(scene.verdict().await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_signature() {
    let scene = Scene::new().await;
    // The run is at 2026-05-01T12:00:00Z; a signature is expired from that second on.
    scene.hang_jws(&scene.signer, &header(AT, Some("2026-05-01T12:00:00Z")), &scene.subject());
    scene.refused("signature.expired").await;
    let scene = Scene::new().await;
    scene.hang_jws(&scene.signer, &header(AT, Some("2026-05-01T12:00:01Z")), &scene.subject());
    assert_eq!(scene.verdict().await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_critical_attributes() {
    let scene = Scene::new().await;
    let mut unknown = header(AT, None);
    unknown["crit"].as_array_mut().unwrap().push("com.example.only-on-mondays".into());
    unknown["com.example.only-on-mondays"] = true.into();
    scene.hang_jws(&scene.signer, &unknown, &scene.subject());
    scene.refused("signature.critical").await;
    // An expiry that is not critical would be read over by others.
    let scene = Scene::new().await;
    let mut lax = header(AT, Some("2026-06-01T12:00:00Z"));
    lax["crit"] = json!(["io.cncf.notary.signingScheme"]);
    scene.hang_jws(&scene.signer, &lax, &scene.subject());
    scene.refused("signature.critical").await;
    // So would a plugin that must judge it.
    let scene = Scene::new().await;
    let mut plugin = header(AT, None);
    plugin["crit"].as_array_mut().unwrap().push("io.cncf.notary.verificationPlugin".into());
    plugin["io.cncf.notary.verificationPlugin"] = "com.example.plugin".into();
    scene.hang_jws(&scene.signer, &plugin, &scene.subject());
    scene.refused("signature.critical").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_the_key_does_not_force() {
    for algorithm in ["PS256", "ES384", "HS256", "none", "EdDSA"] {
        let scene = Scene::new().await;
        let mut header = header(AT, None);
        header["alg"] = algorithm.into();
        scene.hang_jws(&scene.signer, &header, &scene.subject());
        scene.refused("signature.algorithm").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signatures_in_one_envelope() {
    let scene = Scene::new().await;
    let mut bundle = scene.signer.bundle(&statement(&scene.shop.v1, SIGN));
    let other = scene.ca.signer("Other").bundle(&statement(&scene.shop.v1, SIGN));
    let second = other["dsseEnvelope"]["signatures"][0].clone();
    bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(second);
    scene.hang_bundle(&bundle);
    scene.refused("signature.dsse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_not_the_signature() {
    for predicate in
        ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://example.com/rejected"]
    {
        let scene = Scene::new().await;
        scene.hang_bundle(&scene.signer.bundle(&statement(&scene.shop.v1, predicate)));
        scene.refused("signature.predicate").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_entry_of_another_signature() {
    let scene = Scene::new().await;
    let mut bundle = scene.signer.bundle(&statement(&scene.shop.v1, SIGN));
    let logged = std::fs::read(data("sigstore-rust/managed-key.sigstore.json")).unwrap();
    let logged: Value = serde_json::from_slice(&logged).unwrap();
    bundle["verificationMaterial"]["tlogEntries"] = logged["verificationMaterial"]["tlogEntries"].clone();
    scene.hang_bundle(&bundle);
    scene.refused("signature.log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_the_signed_part() {
    let scene = Scene::new().await;
    let mut bundle = scene.signer.bundle(&statement(&scene.shop.v1, SIGN));
    let other = statement(&scene.shop.v1, SIGN).to_string() + " ";
    bundle["dsseEnvelope"]["payload"] = STANDARD.encode(other).into();
    scene.hang_bundle(&bundle);
    let found = scene.verdict().await;
    assert_eq!(found.0, 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_for_a_narrower_scope_switches_no_other_off() {
    let scene = Scene::new().await;
    let (host, at) = (scene.shop.registry.host(), scene.shop.at());
    scene.hang_jws(&scene.signer, &header(AT, None), &scene.subject());
    let narrow = Authority::new();
    // The two roots of the requirements document: one for everything, one for a registry; here also a repository and a tag.
    for scope in [host, at.clone(), format!("{at}:v1")] {
        let anchors = [scene.ca.anchor("any", "*"), narrow.anchor("narrow", &scope)];
        scene.shop.trust("deployer", &json!({"anchors": anchors}));
        assert_eq!(scene.verdict().await, trusted(), "{scope}");
    }
}

/// A referrer that pretends to be a signature of this form; each another one.
fn junk(scene: &Scene, i: usize, artifact_type: &str, annotations: Value) {
    let empty = bulla::oci::Digest::sha256(b"{}").to_string();
    let mut annotations = annotations;
    annotations["number"] = i.to_string().into();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": media_type::OCI_EMPTY, "digest": empty, "size": 2},
        "layers": [{"mediaType": artifact_type, "digest": empty, "size": 2}],
        "subject": scene.subject(), "annotations": annotations,
    });
    scene.shop.registry.put_manifest(REPO, None, media_type::OCI_MANIFEST, sorted_json(&manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_junk_referrers() {
    let quirks = Quirks { referrers_page: Some(1000), ..Quirks::default() };
    let scene = Scene::on(Shop::with(Config { quirks, ..Config::default() }).await);
    scene.shop.registry.put_blob(REPO, "{}");
    for i in 0..9_999 {
        junk(&scene, i, "application/vnd.example.junk", json!({}));
    }
    scene.shop.registry.clear();
    let began = std::time::Instant::now();
    let found = scene.verdict().await;
    let asked = scene.shop.registry.count("*", "*");
    // Where each was read, the answer is known; on a slow machine not all are, and that is said.
    let known =
        if asked >= 9_999 { (1, "signature.none".to_owned()) } else { (3, "signature.cap".to_owned()) };
    assert_eq!(found, known, "{asked} requests");
    assert!(asked < 11_000, "{asked}");
    // A good one among them is found, and little is asked before it is.
    scene.hang_jws(&scene.signer, &header(AT, None), &scene.subject());
    scene.shop.registry.clear();
    assert_eq!(scene.verdict().await, trusted());
    let asked = scene.shop.registry.count("*", "*");
    assert!(asked <= 40, "ten pages, the bundle, a few candidates: {asked}");
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_that_pretend_to_be_signatures() {
    let quirks = Quirks { referrers_page: Some(1000), ..Quirks::default() };
    let scene = Scene::on(Shop::with(Config { quirks, ..Config::default() }).await);
    scene.shop.registry.put_blob(REPO, "{}");
    for i in 0..9_999 {
        let annotations = json!({"dev.sigstore.bundle.predicateType": SIGN});
        junk(&scene, i, crate::forge::BUNDLE, annotations);
    }
    scene.hang_bundle(&scene.signer.bundle(&statement(&scene.shop.v1, SIGN)));
    scene.shop.registry.clear();
    let found = scene.verdict().await;
    // Found, or given up: never "unsigned".
    assert!(found == trusted() || found == (3, "signature.cap".to_owned()), "{found:?}");
    let asked = scene.shop.registry.count("*", "*");
    assert!(asked < 21_000, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_listing_is_not_an_unsigned_bundle() {
    for no_referrers_api in [false, true] {
        let quirks = Quirks { no_referrers_api, ..Quirks::default() };
        let shop = Shop::with(Config { quirks, ..Config::default() }).await;
        shop.key("signer", "p256").await;
        let reference = format!("{}@{}", shop.at(), shop.v1);
        shop.sign("signer", &reference, "").await.ok();
        shop.trust("deployer", &json!({"anchors": [shop.key_anchor("key", &shop.at(), "signer")]}));
        assert_eq!(shop.verify("deployer", &reference).await, trusted());
        let what = if no_referrers_api { "/v2/*/manifests/sha256-*" } else { "/v2/*/referrers/*" };
        for status in [429, 403, 500, 503] {
            shop.registry.behave();
            shop.registry.fault(Fault::on("GET", what).status(status));
            let found = shop.verify("deployer", &reference).await;
            assert_eq!(found, (3, "signature.open".to_owned()), "{status} {no_referrers_api}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signature_that_cannot_be_fetched_decides_nothing() {
    let scene = Scene::new().await;
    let lost = hang(&scene.shop.registry, REPO, &scene.subject(), b"lost", true);
    scene.shop.registry.fault(Fault::on("GET", &format!("/v2/*/manifests/{lost}")).status(503));
    assert_eq!(scene.verdict().await, (3, "signature.open".to_owned()));
    scene.hang_jws(&scene.signer, &header(AT, None), &scene.subject());
    assert_eq!(scene.verdict().await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_hold_on_one_signature_and_signers_are_counted_once() {
    let scene = Scene::new().await;
    let at = scene.shop.at();
    // One key by two anchors, in two envelopes: one signer.
    scene.hang_jws(&scene.signer, &header(AT, None), &scene.subject());
    scene.hang_bundle(&scene.signer.bundle(&statement(&scene.shop.v1, SIGN)));
    let anchors = json!([scene.ca.anchor("ca", &at), scene.signer.anchor("key", &at)]);
    let two = demand(&at, 2, &["ca", "key"]);
    scene.shop.trust("deployer", &json!({"anchors": anchors, "statements": [two]}));
    assert_eq!(scene.verdict().await, (1, "signature.short".to_owned()));
    // Another one of the same CA is a second signer, by its certificate.
    scene.hang_jws(&scene.ca.signer("Other"), &header(AT, None), &scene.subject());
    assert_eq!(scene.verdict().await, trusted());
    // His key renewed is no third: the same subject of the same authority.
    let anchors = json!([
        scene.ca.anchor("ca", &at),
        scene.signer.anchor("key", &at),
        ca_anchor("third", &at, &data("notation/root.pem"))
    ]);
    scene.hang_jws(&scene.ca.signer("Other"), &header(AT, None), &scene.subject());
    let three = demand(&at, 3, &["ca", "key", "third"]);
    scene.shop.trust("deployer", &json!({"anchors": anchors, "statements": [three]}));
    assert_eq!(scene.verdict().await, (1, "signature.short".to_owned()));
    // An authority that nobody asked for changes nothing.
    let root = ca_anchor("other", &at, &data("notation/root.pem"));
    let anchors = json!([root, scene.ca.anchor("ca", &at)]);
    let both = demand(&at, 2, &["other", "ca"]);
    scene.shop.trust("deployer", &json!({"anchors": anchors, "statements": [both]}));
    assert_eq!(scene.verdict().await.0, 1);
}
