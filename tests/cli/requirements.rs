//! The twelve requirements of the Notary Project's key management requirements (docs/signatures.md), each with a test of its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::json;

use crate::bundles;
use crate::registry::{Auth, Config, Quirks, Registry, User};
use crate::run::Bulla;
use crate::signed::{Shop, ca_anchor, data, demand, pem_anchor, trusted, verdict};

const NAME: &str = "example.com/team/app";

/// An address that counts who connects to it, given to a run as its proxy.
fn tripwire() -> (String, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let touched = Arc::new(AtomicUsize::new(0));
    let count = touched.clone();
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    });
    (address, touched)
}

fn offline(bulla: Bulla, proxy: &str) -> Bulla {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"]
        .iter()
        .fold(bulla, |bulla, name| bulla.var(name, proxy))
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_signing_needs_nothing_of_the_registry() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    let (proxy, touched) = tripwire();
    let build = shop.layout("build");
    // A layout is signed where it lies, and by its bare descriptor the signature is a file.
    let named = format!("--format cosign-tag --as {}", shop.at());
    for more in ["--format sigstore", named.as_str()] {
        let line = format!("sign {build}:v1 --key release {more}");
        crate::places::run(offline(shop.bulla("signer"), &proxy), line).await.ok();
    }
    let file = shop.path("signature.jws");
    let chain = Shop::chain("p256");
    let line = format!("sign {build}:v1 --key release --format notation --cert {chain} --output {file}");
    crate::places::run(offline(shop.bulla("signer"), &proxy), line).await.ok();
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    assert_eq!(shop.registry.requests().len(), 0, "{}", shop.registry.log());

    // Uploading may come later, by anybody who may push, and needs no key.
    shop.by("uploader", format!("attach signature {file} {}@{}", shop.at(), shop.v1)).await.ok();
    shop.by("uploader", format!("copy {build}:v1 {}", shop.at())).await.ok();
    let root = data("notation/root.pem");
    let anchors = [shop.key_anchor("key", &shop.at(), "signer"), ca_anchor("ca", &shop.at(), &root)];
    for (id, form) in [("key", "sigstore"), ("ca", "notation")] {
        shop.trust("deployer", &json!({"anchors": anchors, "statements": [demand(&shop.at(), 1, &[id])]}));
        let line = format!("{}@{}", shop.at(), shop.v1);
        assert_eq!(shop.verify("deployer", &line).await, trusted(), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_a_signature_is_fetched_with_the_rights_of_a_pull() {
    for no_referrers_api in [false, true] {
        let quirks = Quirks { no_referrers_api, ..Quirks::default() };
        let shop = Shop::with(Config { quirks, ..Config::default() }).await;
        shop.key("signer", "p256").await;
        let (v1, v2) = (format!("{}@{}", shop.at(), shop.v1), format!("{}@{}", shop.at(), shop.v2));
        shop.sign("signer", &v1, "--format sigstore").await.ok();
        shop.sign("signer", &v1, &format!("--format notation --cert {}", Shop::chain("p256"))).await.ok();
        shop.sign("signer", &v2, "--format cosign-tag").await.ok();

        // From now on: Bearer tokens, and a user who may pull this one repository.
        let reader = User { repos: "team/app".into(), ..User::new("reader", "s3cret").reader() };
        shop.registry.auth(|auth| *auth = Auth { users: vec![reader], ..Auth::bearer("reader", "s3cret") });
        shop.registry.clear();
        let key = shop.key_anchor("key", &shop.at(), "signer");
        let ca = ca_anchor("ca", &shop.at(), &data("notation/root.pem"));
        for (reference, anchor) in [(&v1, &key), (&v1, &ca), (&v2, &key)] {
            shop.trust("deployer", &json!({"anchors": [anchor]}));
            let bulla = shop.bulla("deployer").stdin(b"s3cret\n");
            let line = format!("verify {reference} --username reader --password-stdin --format json");
            let ran = crate::places::run(bulla, line).await;
            assert_eq!(verdict(&ran), trusted(), "{}", shop.registry.log());
        }
        let requests = shop.registry.requests();
        assert!(requests.iter().all(|r| r.method == "GET" || r.method == "HEAD"), "{}", shop.registry.log());
        let tokens: Vec<_> = requests.iter().filter(|r| r.path.contains("scope=")).collect();
        assert!(!tokens.is_empty());
        for token in tokens {
            let scope = token.path.replace("%3A", ":").replace("%2F", "/");
            assert!(scope.contains("scope=repository:team/app:pull") && !scope.contains("push"), "{scope}");
            assert_eq!(scope.matches("scope=").count(), 1, "{scope}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_integrity_source_and_expiry_come_from_the_signature_alone() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    let reference = format!("{}:v1", shop.at());
    let chain = Shop::chain("p256");
    shop.sign("signer", &reference, &format!("--format notation --cert {chain} --expires 30d")).await.ok();
    let (stick, name) = (shop.layout("stick"), "example.com/team/app");
    shop.by("deployer", format!("copy {reference} {stick}")).await.ok();

    // What is fetched is judged without one request, and nothing else could be asked.
    shop.registry.clear();
    let (proxy, touched) = tripwire();
    let ask = async |who: &str, now: &str| {
        let line = format!("verify {stick}:v1 --as {name} --format json");
        verdict(&crate::places::run(offline(shop.bulla(who).now(now), &proxy), line).await)
    };
    let ours = ca_anchor("ca", name, &data("notation/root.pem"));
    shop.trust("deployer", &json!({"anchors": [ours]}));
    assert_eq!(ask("deployer", "2026-05-01T12:00:00Z").await, trusted());
    // Expiry.
    assert_eq!(ask("deployer", "2026-05-31T11:59:59Z").await, trusted());
    assert_eq!(ask("deployer", "2026-05-31T12:00:00Z").await, (1, "signature.expired".to_owned()));
    // Source.
    shop.trust("stranger", &json!({"anchors": [ca_anchor("ca", name, &data("x509/root-alone.pem"))]}));
    assert_eq!(ask("stranger", "2026-05-01T12:00:00Z").await.0, 1);
    assert_eq!((touched.load(Ordering::SeqCst), shop.registry.requests().len()), (0, 0));
    // Integrity: another bundle under the same tag has no signature.
    shop.by("mallory", format!("copy {}:v2 {stick}:v1", shop.at())).await.ok();
    assert_eq!(ask("deployer", "2026-05-01T12:00:00Z").await.0, 1);
    assert_eq!(touched.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_allow_and_deny_lists_are_the_deployers() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    let at = shop.at();
    let (signed, unsigned) = (format!("{at}@{}", shop.v1), format!("{at}@{}", shop.v2));
    shop.sign("signer", &signed, "").await.ok();
    let anchors = json!([shop.key_anchor("key", &at, "signer")]);
    shop.trust("deployer", &json!({"anchors": anchors}));
    assert_eq!(shop.verify("deployer", &signed).await, trusted());
    assert_eq!(shop.verify("deployer", &unsigned).await.0, 1);
    shop.registry.clear();
    shop.verify("deployer", &signed).await;
    let usual = shop.registry.requests().len();

    // Denied although it is signed, and without one more request.
    let deny = json!([{"digest": shop.v1, "reason": "it loses data"}]);
    shop.trust("deployer", &json!({"anchors": anchors, "deny": deny}));
    shop.registry.clear();
    let denied = shop.verify("deployer", &signed).await;
    assert!(denied.0 == 1 && denied.1.contains("den"), "{denied:?}");
    assert!(shop.registry.requests().len() <= usual, "{}", shop.registry.log());

    // On the allow list it still needs its signature, unless that is said, with a reason.
    let allow = |unsigned: bool| json!([{"digest": shop.v2, "unsigned": unsigned, "reason": "built before we signed"}]);
    shop.trust("deployer", &json!({"anchors": anchors, "allow": allow(false)}));
    assert_eq!(shop.verify("deployer", &unsigned).await.0, 1);
    shop.trust("deployer", &json!({"anchors": anchors, "allow": allow(true)}));
    assert_eq!(shop.verify("deployer", &unsigned).await.0, 0);
    // Deny beats allow.
    let deny = json!([{"digest": shop.v2, "reason": "no"}]);
    shop.trust("deployer", &json!({"anchors": anchors, "allow": allow(true), "deny": deny}));
    assert_eq!(shop.verify("deployer", &unsigned).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_a_copy_does_not_invalidate_a_signature() {
    let (from, to) = (Shop::new().await, Shop::plain().await);
    from.key("signer", "p256").await;
    for form in ["sigstore", "cosign-tag", "notation", "notation-cose"] {
        let chained = form.starts_with("notation");
        let more = if chained { format!(" --cert {}", Shop::chain("p256")) } else { String::new() };
        let origin = from.repository(&format!("{form}/app"));
        from.by("builder", format!("copy {}:v1 {origin}", from.at())).await.ok();
        from.sign("signer", &format!("{origin}:v1"), &format!("--format {form}{more}")).await.ok();
        // To a registry without the API, from there to a stick, and from the stick to a third place.
        let (mirror, site) =
            (to.repository(&format!("{form}/mirror")), to.repository(&format!("{form}/site")));
        let stick = from.layout(&format!("stick-{form}"));
        for (source, destination) in [(&origin, &mirror), (&mirror, &stick), (&stick, &site)] {
            from.by("mover", format!("copy {source}:v1 {destination}")).await.ok();
        }
        for place in [&origin, &mirror, &stick, &site] {
            let is_stick = place.starts_with("oci:");
            let (name, named) =
                if is_stick { (NAME, format!(" --as {NAME}")) } else { (place.as_str(), String::new()) };
            let key = from.key_anchor("key", name, "signer");
            let ca = ca_anchor("ca", name, &data("notation/root.pem"));
            from.trust("deployer", &json!({"anchors": [if chained { ca } else { key }]}));
            let found = from.verify("deployer", &format!("{place}:v1{named}")).await;
            assert_eq!(found, trusted(), "{form} at {place}");
        }
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn r6_keys_lie_in_files_and_in_a_kms() {
    let shop = Shop::new().await;
    let reference = format!("{}@{}", shop.at(), shop.v1);
    let plugins = crate::kms::plugins().to_str().unwrap();
    let cosign = data("sigstore/p256.key").display().to_string();
    // A key of the key folder, one that cosign made and sealed, and one that never leaves a KMS.
    shop.key("signer", "p256").await;
    for (key, form) in
        [("release", "sigstore"), (cosign.as_str(), "sigstore"), ("fake://seed/7", "cosign-tag")]
    {
        let bulla = shop.bulla("signer").var("PATH", plugins).var("FAKE_TOKEN", "s.very-secret-token");
        let ran = crate::places::run(bulla, format!("sign {reference} --key {key} --format {form}")).await;
        assert!(!ran.out.contains("very-secret") && !ran.err.contains("very-secret"));
        ran.ok();
        let bulla = shop.bulla("signer").var("PATH", plugins).var("FAKE_TOKEN", "s.very-secret-token");
        let shown = crate::places::run(bulla, format!("key show {key}")).await.ok();
        let public = shown[shown.find("-----BEGIN PUBLIC KEY-----").unwrap()..].to_owned();
        shop.trust("deployer", &json!({"anchors": [pem_anchor("key", &shop.at(), &public)]}));
        assert_eq!(shop.verify("deployer", &reference).await, trusted(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_several_signatures_on_one_artifact() {
    let shop = Shop::plain().await;
    let people =
        [("alice", "p256", "sigstore"), ("bob", "rsa2048", "notation"), ("carol", "p384", "sigstore")];
    let reference = format!("{}@{}", shop.at(), shop.v1);
    for (who, kind, _) in people {
        shop.key(who, kind).await;
    }
    // At the same time, from three machines, and in two forms.
    let runs = people.map(|(who, kind, form)| {
        let more = if form == "notation" { format!(" --cert {}", Shop::chain(kind)) } else { String::new() };
        shop.by(who, format!("sign {reference} --key release --format {form}{more}"))
    });
    for ran in futures::future::join_all(runs).await {
        ran.ok();
    }
    let ca = ca_anchor("bob", &shop.at(), &data("notation/root.pem"));
    let mut anchors = vec![
        shop.key_anchor("alice", &shop.at(), "alice"),
        ca,
        shop.key_anchor("carol", &shop.at(), "carol"),
    ];
    let all = ["alice", "bob", "carol"];
    shop.trust("deployer", &json!({"anchors": anchors, "statements": [demand(&shop.at(), 3, &all)]}));
    assert_eq!(shop.verify("deployer", &reference).await, trusted());

    // One of them three times is one, and who was not asked for does not count.
    shop.sign("alice", &reference, "--format cosign-tag").await.ok();
    shop.sign("alice", &reference, "--format sigstore --force").await.ok();
    shop.key("dave", "rsa3072").await;
    anchors.push(shop.key_anchor("dave", &shop.at(), "dave"));
    let asked = demand(&shop.at(), 2, &["alice", "dave"]);
    shop.trust("deployer", &json!({"anchors": anchors, "statements": [asked]}));
    assert_eq!(shop.verify("deployer", &reference).await, (1, "signature.short".to_owned()));
}

/// The shop's repository as a collection, with v1 and v2 released, and a deployer who demands both: the release and a signature.
async fn released(shop: &Shop) {
    let (at, root) = (shop.at(), shop.path("1.root.json"));
    shop.by("admin", format!("init {NAME} --at {at} --root-file {root}")).await.ok();
    for tag in ["v1", "v2"] {
        shop.by("admin", format!("publish {at}:{tag} --tag {tag}")).await.ok();
        shop.sign("signer", &format!("{at}:{tag}"), "").await.ok();
    }
    shop.by("deployer", format!("trust add {at} --collection {NAME} --root {root}")).await.ok();
    let file = shop.dir.path().join("deployer/trust.json");
    let mut trust: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut signer = shop.key_anchor("signer", &at, "signer");
    signer["rescissions"] = json!({"tuf": NAME});
    trust["schemaVersion"] = 2.into();
    trust["anchors"].as_array_mut().unwrap().push(signer);
    let require = json!({"tuf": true, "signatures": {"threshold": 1, "from": ["signer"]}});
    trust["statements"] = json!([{"scope": at, "require": require}]);
    std::fs::write(&file, trust.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_the_publishers_admin_takes_signatures_back() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    released(&shop).await;
    let at = shop.at();
    for tag in ["v1", "v2"] {
        assert_eq!(shop.verify("deployer", &format!("{at}:{tag}")).await, trusted());
    }
    // One artifact, whatever signed it: the signature is as good as before, and counts no longer.
    shop.by("admin", format!("revoke {at}:v1 --reason broken")).await.ok();
    let v1 = format!("{at}@{}", shop.v1);
    assert_eq!(shop.verify("deployer", &v1).await, (1, "revocation.bundle".to_owned()));
    assert_eq!(shop.verify("deployer", &format!("{at}:v2")).await, trusted());
    // In a mirror that has the old state, too: who has seen the news keeps it.
    let mirror = shop.repository("mirror/app");
    shop.by("mover", format!("copy {v1} {mirror}:v1")).await.ok();
    let root = shop.path("1.root.json");
    shop.by("deployer", format!("trust add {mirror} --collection {NAME} --root {root}")).await.ok();
    assert_eq!(shop.verify("deployer", &format!("{mirror}:v1")).await, (1, "revocation.bundle".to_owned()));

    // One signature of one signer: the release stands, its signature counts no longer, and another one of hers does.
    let v2 = format!("{at}@{}", shop.v2);
    let there = shop.sign("signer", &v2, "--format json").await.json();
    let signature = there["result"]["artifacts"][0]["signature"]["digest"].as_str().unwrap().to_owned();
    shop.by("admin", format!("revoke {at} --signature {signature} --reason mistake")).await.ok();
    assert_eq!(shop.verify("deployer", &v2).await, (1, "signature.rescinded".to_owned()));
    shop.sign("signer", &v2, "--force").await.ok();
    assert_eq!(shop.verify("deployer", &v2).await, trusted());
    // Then all that her key ever signed, or ever will.
    let public = shop.path("signer/keys/release.pub");
    shop.by("admin", format!("revoke {at} --key {public} --reason stolen")).await.ok();
    for _ in 0..2 {
        assert_eq!(shop.verify("deployer", &v2).await.0, 1);
        let report = shop.report("deployer", &v2).await.to_string();
        assert!(
            report.contains("signature.key.rescinded") && !report.contains("signature.counted"),
            "{report}"
        );
        shop.sign("signer", &v2, "--force").await.ok();
    }
    // The report says who, when and why; offline from a stick too.
    let stick = shop.layout("stick");
    shop.by("mover", format!("copy {v2} {stick}:v2")).await.ok();
    let file = shop.dir.path().join("deployer/trust.json");
    let here = std::fs::read_to_string(&file).unwrap().replace(&at, NAME);
    let offline = shop.dir.path().join("offline");
    std::fs::create_dir_all(&offline).unwrap();
    std::fs::write(offline.join("trust.json"), here).unwrap();
    shop.registry.clear();
    let report = shop.report("offline", &format!("{stick}:v2 --as {NAME}")).await;
    let said = report["because"]["detail"].as_str().unwrap();
    assert!(report["verdict"] == "not-trusted" && said.contains("was taken back"), "{report:#}");
    let report = report.to_string();
    assert!(report.contains("signature.key.rescinded") && report.contains("stolen"), "{report}");
    assert_eq!(shop.registry.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_the_deployers_admin_configures_the_trust_store() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    let reference = format!("{}@{}", shop.at(), shop.v1);
    shop.sign("signer", &reference, "").await.ok();
    assert_eq!(shop.verify("deployer", &reference).await, (1, "anchor.none".to_owned()));

    let public = shop.path("signer/keys/release.pub");
    let added =
        shop.by("deployer", format!("trust add {} --public-key {public} --format json", shop.at())).await;
    assert_eq!(added.exit, 0, "{added:#?}");
    assert_eq!(shop.verify("deployer", &reference).await, trusted());
    let listed = shop.by("deployer", "trust list --format json".to_owned()).await.json();
    let anchor = &listed["result"]["anchors"][0];
    for member in ["publicKey", "signedIdentity", "issuer", "rescissions"] {
        assert!(anchor.get(member).is_some(), "{member} is not in {anchor:#}");
    }
    let id = anchor["id"].as_str().unwrap();
    shop.by("deployer", format!("trust remove {id}")).await.ok();
    assert_eq!(shop.verify("deployer", &reference).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_whom_to_trust_is_said_for_repositories_and_targets() {
    let shop = Shop::new().await;
    shop.key("dev", "p256").await;
    shop.key("release", "p384").await;
    let at = shop.at();
    shop.by("builder", format!("copy {at}:v2 {at}:dev")).await.ok();
    let other = shop.repository("team/other");
    shop.by("builder", format!("copy {at}:v1 {other}")).await.ok();
    for (who, what) in
        [("dev", format!("{at}:dev")), ("dev", format!("{at}:v1")), ("dev", format!("{other}:v1"))]
    {
        shop.sign(who, &what, "").await.ok();
    }
    // The developers' key counts for one tag, the release key for the repository, nobody for the rest of the registry.
    let anchors =
        [shop.key_anchor("dev", &format!("{at}:dev"), "dev"), shop.key_anchor("release", &at, "release")];
    shop.trust("deployer", &json!({"anchors": anchors}));
    assert_eq!(shop.verify("deployer", &format!("{at}:dev")).await, trusted());
    assert_eq!(shop.verify("deployer", &format!("{at}:v1")).await.0, 1);
    assert_eq!(shop.verify("deployer", &format!("{other}:v1")).await, (1, "anchor.none".to_owned()));
    shop.sign("release", &format!("{at}:v1"), "").await.ok();
    assert_eq!(shop.verify("deployer", &format!("{at}:v1")).await, trusted());
    // A statement for one target asks for more there, and nowhere else.
    let more = demand(&format!("{at}:dev"), 2, &["dev", "release"]);
    shop.trust("deployer", &json!({"anchors": anchors, "statements": [more]}));
    assert_eq!(shop.verify("deployer", &format!("{at}:dev")).await.0, 1);
    assert_eq!(shop.verify("deployer", &format!("{at}:v1")).await, trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_every_version_can_be_checked_and_whether_it_was_taken_back() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    released(&shop).await;
    let at = shop.at();
    let (v1, v2) = (format!("{at}@{}", shop.v1), format!("{at}@{}", shop.v2));
    // v2 moves on to a third bundle; the old versions stay what they were.
    let build = shop.layout("build");
    let store = OciDir::create(shop.dir.path().join("build")).await.unwrap();
    let third = bundles::image(&store, "third").await;
    store.push_manifest(&third, Some(&bundles::tag("v3"))).await.unwrap();
    store.flush().await.unwrap();
    shop.by("admin", format!("publish --from {build}:v3 {at} --tag v2")).await.ok();
    shop.sign("signer", &format!("{at}:v2"), "").await.ok();
    for reference in [&v1, &v2, &format!("{at}:v1"), &format!("{at}:v2")] {
        assert_eq!(shop.verify("deployer", reference).await, trusted(), "{reference}");
    }
    shop.by("admin", format!("revoke {v2} --reason broken")).await.ok();
    assert_eq!(shop.verify("deployer", &v2).await, (1, "revocation.bundle".to_owned()));
    for reference in [&v1, &format!("{at}:v2")] {
        assert_eq!(shop.verify("deployer", reference).await, trusted(), "{reference}");
    }
    // An artifact that was never released, or lost its signature, is no version.
    let report = shop.report("deployer", &v1).await;
    assert!(report.to_string().contains("revocation"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_signatures_are_demanded_without_any_network() {
    let shop = Shop::new().await;
    shop.key("signer", "p256").await;
    shop.sign("signer", &format!("{}:v1", shop.at()), "").await.ok();
    let stick = shop.layout("stick");
    shop.by("mover", format!("copy {at}:v1 {at}:v2 {stick}", at = shop.at())).await.ok();

    // The site behind the gap: another registry, a trust file, and no way out.
    let (name, site) = ("example.com/team/app", Registry::start(Config::default()).await);
    shop.trust("site", &json!({"anchors": [shop.key_anchor("key", name, "signer")]}));
    shop.registry.clear();
    let (proxy, touched) = tripwire();
    let run = async |line: String| {
        crate::places::run(offline(shop.bulla("site"), &proxy).var("NO_PROXY", "127.0.0.1"), line).await
    };
    assert_eq!(verdict(&run(format!("verify {stick}:v1 --as {name} --format json")).await), trusted());
    let (good, bad) = (format!("{}/team/app", site.host()), format!("{}/team/bad", site.host()));
    run(format!("copy {stick}:v1 {good} --verify --as {name}")).await.ok();
    let refused = run(format!("copy {stick}:v2 {bad} --verify --as {name} --format json")).await;
    assert_eq!(refused.exit, 1, "{refused:#?}");
    assert!(site.tags("team/bad").is_empty(), "what is not trusted does not get in");
    assert_eq!((touched.load(Ordering::SeqCst), shop.registry.requests().len()), (0, 0));
}
