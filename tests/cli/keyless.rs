//! Keyless signatures, against the whole program: a small Fulcio, its logs, and what each of them must not get away with.

use bulla::envelope::simple_signing;
use bulla::oci::{Digest, media_type, sorted_json};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::{Value, json};

use crate::forge::{SIGN, descriptor, hang, statement};
use crate::fulcio::{Fulcio, IDENTITY, ISSUER, SIGNED_AT, Says};
use crate::signed::{Shop, failed, trusted};

const REPO: &str = "team/app";

struct Scene {
    shop: Shop,
    fulcio: Fulcio,
}

impl Scene {
    async fn new() -> Self {
        Self::on(Shop::new().await).await
    }

    async fn on(shop: Shop) -> Self {
        let scene = Self { shop, fulcio: Fulcio::new() };
        scene.trust("deployer", &scene.fulcio, IDENTITY, ISSUER).await;
        scene
    }

    /// As a deployer types it.
    async fn trust(&self, who: &str, fulcio: &Fulcio, identity: &str, issuer: &str) {
        let file = self.shop.path(&format!("{who}.trusted_root.json"));
        std::fs::write(&file, fulcio.trusted_root().to_string()).unwrap();
        let at = self.shop.at();
        let line = format!("trust add {at} --keyless {file} --identity {identity} --issuer {issuer}");
        self.shop.by(who, line).await.ok();
    }

    fn statement(&self) -> Value {
        statement(&self.shop.v1, SIGN)
    }

    fn honest(&self) -> Value {
        self.fulcio.bundle(&self.fulcio.signer(&Says::honest()), &self.statement())
    }

    fn of(&self, says: &Says) -> Value {
        self.fulcio.bundle(&self.fulcio.signer(says), &self.statement())
    }

    fn hang(&self, bundle: &Value) {
        let subject = descriptor(&self.shop.registry, REPO, "v1");
        hang(&self.shop.registry, REPO, &subject, &sorted_json(bundle), false);
    }

    async fn verdict(&self, who: &str) -> (u8, String) {
        self.shop.verify(who, &format!("{}:v1", self.shop.at())).await
    }

    async fn report(&self, who: &str) -> Value {
        self.shop.report(who, &format!("{}:v1", self.shop.at())).await
    }

    /// Refused with this code, and not in the way of a good one.
    #[track_caller]
    fn refused<'a>(&'a self, bundle: &'a Value, code: &'static str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            self.hang(bundle);
            let report = self.report("deployer").await;
            assert_eq!(report["verdict"], "not-trusted", "{caller}: {report:#}");
            assert!(failed(&report, code), "{caller}: {code} did not fail in {report:#}");
            self.hang(&self.honest());
            assert_eq!(self.verdict("deployer").await, trusted(), "{caller}: beside a good one");
        }
    }
}

/// One change of the honest bundle, and its code.
async fn changed(code: &'static str, change: impl FnOnce(&mut Value)) {
    let scene = Scene::new().await;
    let mut bundle = scene.honest();
    change(&mut bundle);
    scene.refused(&bundle, code).await;
}

async fn said(code: &'static str, says: Says) {
    let scene = Scene::new().await;
    scene.refused(&scene.of(&says), code).await;
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Another base64 text of the same length.
fn altered(value: &mut Value) {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('A') { 'B' } else { 'A' };
    *value = format!("{first}{}", &text[1..]).into();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_signs_and_the_report_names_it() {
    let scene = Scene::new().await;
    assert_eq!(scene.verdict("deployer").await, (1, "signature.none".to_owned()));
    scene.hang(&scene.honest());
    let report = scene.report("deployer").await;
    assert_eq!(report["verdict"], "trusted", "{report:#}");
    let text = report.to_string();
    assert!(text.contains(IDENTITY) && text.contains(ISSUER) && text.contains("2026-04-29T"), "{report:#}");
    // Several by one identity are one signer, whatever their keys.
    scene.hang(&scene.honest());
    scene.trust("two", &scene.fulcio, IDENTITY, ISSUER).await;
    scene.trust("two", &scene.fulcio, "https://ci.example.com/another", ISSUER).await;
    let home = scene.shop.path("two/trust.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&home).unwrap()).unwrap();
    let ids: Vec<Value> = file["anchors"].as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    file["statements"] =
        json!([{"scope": scene.shop.at(), "require": {"signatures": {"threshold": 2, "from": ids}}}]);
    std::fs::write(&home, file.to_string()).unwrap();
    assert_eq!(scene.verdict("two").await, (1, "signature.short".to_owned()));
    scene.hang(&scene.of(&Says::named("https://ci.example.com/another")));
    assert_eq!(scene.verdict("two").await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_an_identity_too() {
    let scene = Scene::new().await;
    scene.trust("other", &scene.fulcio, "ann@example.com", ISSUER).await;
    let names = vec![SanType::Rfc822Name("ann@example.com".try_into().unwrap())];
    scene.hang(&scene.of(&Says { names, ..Says::honest() }));
    assert_eq!(scene.verdict("other").await, trusted());
    assert_eq!(scene.verdict("deployer").await, (1, "signature.identity".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity() {
    said("signature.identity", Says::named("https://ci.example.com/mallory")).await;
}

/// Neither the beginning of the name, nor more than it, nor other letters of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_only_looks_like_it() {
    for name in [&IDENTITY[..IDENTITY.len() - 1], &format!("{IDENTITY}2"), &IDENTITY.to_uppercase()] {
        said("signature.identity", Says::named(name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_issuer() {
    for issuer in ["https://token.example.org", "https://token.example.com/", "https://token.example"] {
        said("signature.issuer", Says { issuer, ..Says::honest() }).await;
    }
}

/// The name that is trusted beside another: whose it is nobody can say.
#[tokio::test(flavor = "multi_thread")]
async fn two_names_in_one_certificate() {
    let mut says = Says::named("https://ci.example.com/mallory");
    says.names.splice(..0, Says::honest().names);
    said("signature.usage", says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_something_else() {
    said("signature.usage", Says { purpose: ExtendedKeyUsagePurpose::ServerAuth, ..Says::honest() }).await;
    said(
        "signature.untrusted",
        Says { purpose: ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36]), ..Says::honest() },
    )
    .await;
}

/// Logged after its certificate had expired, and before it was valid: the time is the log's, not the signer's.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_not_valid_when_it_was_logged() {
    for at in [SIGNED_AT + 541, SIGNED_AT - 61] {
        let scene = Scene::new().await;
        let signer = scene.fulcio.signer(&Says::honest());
        scene.refused(&scene.fulcio.bundle_at(&signer, &scene.statement(), at), "signature.time").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_yet_to_come() {
    let scene = Scene::new().await;
    let hours = 100_000 * 3600;
    let signer = scene.fulcio.signer(&Says { valid: (-60, 2 * hours), ..Says::honest() });
    let bundle = scene.fulcio.bundle_at(&signer, &scene.statement(), SIGNED_AT + hours);
    scene.refused(&bundle, "signature.time").await;
}

/// The log's time is only as good as its signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_log_did_not_sign() {
    changed("signature.log.proof", |b| {
        entry(b)["integratedTime"] = (SIGNED_AT + 1).to_string().into();
    })
    .await;
    changed("signature.time", |b| {
        entry(b).as_object_mut().unwrap().remove("inclusionPromise");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_entry() {
    changed("signature.unlogged", |b| b["verificationMaterial"]["tlogEntries"] = json!([])).await;
    changed("signature.unlogged", |b| {
        b["verificationMaterial"].as_object_mut().unwrap().remove("tlogEntries");
    })
    .await;
    changed("signature.log.proof", |b| {
        let entry = entry(b).as_object_mut().unwrap();
        entry.remove("inclusionProof");
        entry.remove("inclusionPromise");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_inclusion_proof() {
    for member in ["rootHash", "hashes/0"] {
        changed("signature.log.proof", |b| {
            altered(entry(b).pointer_mut(&format!("/inclusionProof/{member}")).unwrap());
        })
        .await;
    }
    changed("signature.log.proof", |b| entry(b)["inclusionProof"]["logIndex"] = "0".into()).await;
    changed("signature.log.proof", |b| entry(b)["inclusionProof"]["treeSize"] = "3".into()).await;
    changed("signature.log.proof", |b| entry(b)["inclusionProof"]["hashes"] = json!([])).await;
    // A checkpoint of a stranger's, over the same tree.
    let scene = Scene::new().await;
    let (mut bundle, signer) = (scene.honest(), Fulcio::new());
    let body = bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"].clone();
    let body = base64_of(&body);
    let theirs = signer.entry(("dsse", "0.0.1"), &body, SIGNED_AT);
    entry(&mut bundle)["inclusionProof"]["checkpoint"] = theirs["inclusionProof"]["checkpoint"].clone();
    scene.refused(&bundle, "signature.log.proof").await;
}

fn base64_of(value: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_the_log_did_not_make() {
    changed("signature.log.proof", |b| {
        let promise = &mut entry(b)["inclusionPromise"]["signedEntryTimestamp"];
        let mut bytes = base64_of(promise);
        *bytes.last_mut().unwrap() ^= 1;
        use base64::Engine as _;
        *promise = base64::engine::general_purpose::STANDARD.encode(bytes).into();
    })
    .await;
}

/// CVE-2022-36056, CVE-2026-22703: everything in the entry is genuine, and it is about another signature of the same identity.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_entry_of_another_signature() {
    let scene = Scene::new().await;
    let (mut bundle, mut other) = (scene.honest(), scene.honest());
    *entry(&mut bundle) = entry(&mut other).take();
    scene.refused(&bundle, "signature.log").await;
    // The same key, about another bundle.
    let scene = Scene::new().await;
    let signer = scene.fulcio.signer(&Says::honest());
    let mut bundle = scene.fulcio.bundle(&signer, &scene.statement());
    let mut other = scene.fulcio.bundle(&signer, &statement(&scene.shop.v2, SIGN));
    *entry(&mut bundle) = entry(&mut other).take();
    scene.refused(&bundle, "signature.log").await;
    // Beside the right one, too.
    let scene = Scene::new().await;
    let (mut bundle, mut other) = (scene.honest(), scene.honest());
    let foreign = entry(&mut other).take();
    bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(foreign);
    scene.refused(&bundle, "signature.log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_trusted_root_does_not_name() {
    let scene = Scene::new().await;
    let (mut bundle, stranger) = (scene.honest(), Fulcio::new());
    let body = base64_of(&entry(&mut bundle)["canonicalizedBody"]);
    *entry(&mut bundle) = stranger.entry(("dsse", "0.0.1"), &body, SIGNED_AT);
    scene.refused(&bundle, "signature.log.unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_the_trusted_root_does_not_name() {
    let scene = Scene::new().await;
    let stranger = Fulcio::new();
    let signer = stranger.signer(&Says::honest());
    // Logged where it should be: the log takes whatever is sent to it.
    let bundle = scene.fulcio.bundle(&signer, &scene.statement());
    scene.refused(&bundle, "signature.untrusted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_log_took() {
    said("signature.sct", Says { logged: false, ..Says::honest() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bundle_an_attestation_or_another_signature() {
    let scene = Scene::new().await;
    let signer = scene.fulcio.signer(&Says::honest());
    let other = scene.fulcio.bundle(&signer, &statement(&scene.shop.v2, SIGN));
    scene.refused(&other, "signature.artifact").await;
    let scene = Scene::new().await;
    let signer = scene.fulcio.signer(&Says::honest());
    let provenance = statement(&scene.shop.v1, "https://slsa.dev/provenance/v1");
    scene.refused(&scene.fulcio.bundle(&signer, &provenance), "signature.predicate").await;
    let scene = Scene::new().await;
    let (mut bundle, other) = (scene.honest(), scene.honest());
    bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
    scene.refused(&bundle, "signature.wrong").await;
}

/// cosign 2 puts certificate and promise beside the payload at its tag.
#[tokio::test(flavor = "multi_thread")]
async fn at_cosigns_tag() {
    for (case, code) in [
        ("honest", None),
        ("another digest", Some("signature.artifact")),
        ("another identity", Some("signature.identity")),
        ("no promise", Some("signature.unlogged")),
        ("the promise of another", Some("signature.log")),
        ("a changed promise", Some("signature.log.proof")),
        ("another log", Some("signature.log.unknown")),
        ("a later time", Some("signature.log.proof")),
    ] {
        let scene = Scene::new().await;
        let says = if case == "another identity" { Says::named("https://x.example") } else { Says::honest() };
        let about = if case == "another digest" { &scene.shop.v2 } else { &scene.shop.v1 };
        let about: Digest = about.parse().unwrap();
        let payload = simple_signing::payload("example.com/x", &about, &Default::default());
        let signer = scene.fulcio.signer(&says);
        let mut notes = scene.fulcio.annotations(&signer, &payload);
        let promise = "dev.sigstore.cosign/bundle";
        let mut read: Value = serde_json::from_str(notes[promise].as_str().unwrap()).unwrap();
        match case {
            "no promise" => {
                notes.as_object_mut().unwrap().remove(promise);
            }
            "the promise of another" => {
                notes[promise] = scene.fulcio.annotations(&signer, b"x")[promise].clone()
            }
            "a changed promise" => altered_signature(&mut read["SignedEntryTimestamp"]),
            "another log" => read["Payload"]["logID"] = "00".repeat(32).into(),
            "a later time" => read["Payload"]["integratedTime"] = (SIGNED_AT + 5).into(),
            _ => {}
        }
        if notes[promise].is_string() && case != "the promise of another" {
            notes[promise] = read.to_string().into();
        }
        let registry = &scene.shop.registry;
        let (config, blob) = (registry.put_blob(REPO, "{}"), registry.put_blob(REPO, payload.clone()));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{
                "mediaType": simple_signing::MEDIA_TYPE, "digest": blob, "size": payload.len(), "annotations": notes,
            }],
        });
        let tag = format!("{}.sig", scene.shop.v1.replace(':', "-"));
        registry.put_manifest(REPO, Some(&tag), media_type::OCI_MANIFEST, sorted_json(&manifest));
        let report = scene.report("deployer").await;
        match code {
            None => assert_eq!(report["verdict"], "trusted", "{case}: {report:#}"),
            Some(code) => {
                assert_eq!(report["verdict"], "not-trusted", "{case}: {report:#}");
                assert!(failed(&report, code), "{case}: {code} did not fail in {report:#}");
            }
        }
    }
}

fn altered_signature(value: &mut Value) {
    use base64::Engine as _;
    let mut bytes = base64_of(value);
    *bytes.last_mut().unwrap() ^= 1;
    *value = base64::engine::general_purpose::STANDARD.encode(bytes).into();
}

/// With and without the referrers API, and from a layout that nobody is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_stored() {
    let scene = Scene::on(Shop::plain().await).await;
    let (subject, bundle) = (descriptor(&scene.shop.registry, REPO, "v1"), sorted_json(&scene.honest()));
    let digest = hang(&scene.shop.registry, REPO, &subject, &bundle, false);
    let (.., bytes) = scene.shop.registry.manifest(REPO, &digest).unwrap();
    let list = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len()}],
    });
    let tag = scene.shop.v1.replace(':', "-");
    scene.shop.registry.put_manifest(REPO, Some(&tag), media_type::OCI_INDEX, sorted_json(&list));
    assert_eq!(scene.verdict("deployer").await, trusted());
    let (at, layout) = (scene.shop.at(), scene.shop.layout("stick"));
    scene.shop.by("deployer", format!("copy {at}:v1 {layout}:v1")).await.ok();
    scene.shop.registry.clear();
    assert_eq!(scene.shop.verify("deployer", &format!("{layout}:v1 --as {at}")).await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_root_that_cannot_serve_is_refused_when_added() {
    let scene = Scene::new().await;
    let file = scene.shop.path("broken.json");
    for member in ["tlogs", "ctlogs", "certificateAuthorities"] {
        let mut root = scene.fulcio.trusted_root();
        root[member] = json!([]);
        std::fs::write(&file, root.to_string()).unwrap();
        let line = format!("trust add * --keyless {file} --identity a --issuer b --format json");
        let ran = scene.shop.by("deployer", line).await;
        assert_eq!(ran.json()["error"]["code"], "trust.document", "{member}: {ran:?}");
    }
    // What is added says that it does not renew itself, and what has ended is found.
    let mut root = scene.fulcio.trusted_root();
    root["certificateAuthorities"][0]["validFor"]["end"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, root.to_string()).unwrap();
    let line = format!("trust add * --keyless {file} --identity a --issuer b --format json");
    let ran = scene.shop.by("late", line).await;
    assert!(ran.json()["notes"].to_string().contains("never fetched anew"), "{ran:?}");
    let found = scene.shop.by("late", "trust check --format json".to_owned()).await.json().to_string();
    assert!(found.contains("trust.anchor-expired") && found.contains("2026-01-01T00:00:00Z"), "{found}");
}
