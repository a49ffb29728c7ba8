//! `sign`, `attach signature`, `publish --also` and cosign's key files from the command line.

use std::path::Path;

use bulla::oci::Digest;
use bulla::store::Manage as _;
use bulla::store::Store as _;
use bulla::store::layout::OciDir;
use serde_json::{Value, json};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Registry};
use crate::releases::Stage;
use crate::run::{Bulla, Ran};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures");
/// The chains of testdata are valid then.
const NOW: &str = "2026-11-21T12:00:00Z";

/// A home, and a layout with an index at `v1`.
struct Desk(tempfile::TempDir);

impl Desk {
    async fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let store = OciDir::create(desk.0.path().join("layout")).await.unwrap();
        let (index, _) = bundles::two_arch(&store, "sign").await;
        store.push_manifest(&index, Some(&bundles::tag("v1"))).await.unwrap();
        store.flush().await.unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn bundle(&self) -> String {
        format!("oci:{}:v1", self.path("layout"))
    }

    async fn run(&self, line: &str) -> Ran {
        let bulla = Bulla::at(&self.0.path().join("home")).var("BULLA_PASSWORD", "password").now(NOW);
        run(bulla, line.to_owned()).await
    }

    async fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --format json")).await.json()
    }

    /// Exit code, error code, next step.
    async fn error(&self, line: &str) -> (u8, String, String) {
        let said = self.json(line).await;
        let text = |name: &str| {
            said["error"][name].as_str().unwrap_or_else(|| panic!("{line}: {said:#}")).to_owned()
        };
        (u8::try_from(said["exitCode"].as_u64().unwrap()).unwrap(), text("code"), text("next"))
    }
}

fn status(said: &Value) -> Vec<String> {
    let rows = said["result"]["artifacts"].as_array().unwrap_or_else(|| panic!("{said:#}"));
    rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_once_in_each_form_with_each_source_of_keys() {
    let desk = Desk::new().await;
    let bundle = desk.bundle();
    desk.run("key generate ec --type ecdsa-p256").await.ok();
    desk.run(&format!("key import {DATA}/sigstore/rsa2048.key imported")).await.ok();
    let notation = format!("--key {DATA}/notation/p384.key.pem --cert {DATA}/notation/p384.chain.pem");
    for flags in [
        "--key ec".to_owned(),
        format!("--key {DATA}/sigstore/p256.key"),
        format!("--key {DATA}/sigstore/p384.key"),
        "--key imported".to_owned(),
        format!("--format cosign-tag --as registry.example.com/team/app --key {DATA}/sigstore/ed25519.key"),
        format!("--format notation --expires 90d {notation}"),
        format!("--format notation-cose {notation}"),
        "--key ec --annotation build=17 --annotation by=ci".to_owned(),
    ] {
        let line = format!("sign {bundle} {flags}");
        let first = desk.json(&line).await;
        assert_eq!(
            (first["exitCode"].as_u64(), status(&first)),
            (Some(0), vec!["signed".to_owned()]),
            "{first:#}"
        );
        let again = desk.json(&line).await;
        assert_eq!(
            (again["exitCode"].as_u64(), status(&again)),
            (Some(0), vec!["there".to_owned()]),
            "{again:#}"
        );
        assert_eq!(
            again["result"]["artifacts"][0]["signature"],
            first["result"]["artifacts"][0]["signature"]
        );
        assert_eq!(first["result"]["by"]["certificate"].is_null(), !flags.contains("--cert"), "{first:#}");
        let codes: Vec<_> = first["notes"].as_array().unwrap().iter().map(|n| n["code"].clone()).collect();
        assert_eq!(
            codes.contains(&json!("sign.peer")),
            flags.contains("p384.key") && !flags.contains("notation")
        );
    }
    let text = desk.run(&format!("sign {bundle} --key ec --recursive")).await.ok();
    let words: Vec<&str> = text.lines().step_by(2).map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["signed", "signed", "there"], "{text}");
    let forced = desk.json(&format!("sign {bundle} --key ec --force")).await;
    assert_eq!(status(&forced), ["signed"]);
    // Both words of --format, in any place.
    let said = desk.run(&format!("--format json sign {bundle} --key ec --format sigstore")).await.json();
    assert_eq!((status(&said), &said["result"]["form"]), (vec!["there".to_owned()], &json!("sigstore")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_anything_is_signed() {
    let desk = Desk::new().await;
    let bundle = desk.bundle();
    desk.run("key generate ed").await.ok();
    desk.run("key generate ec --type ecdsa-p256").await.ok();
    let before = std::fs::read(desk.0.path().join("layout/index.json")).unwrap();
    let (key, chain) = (format!("{DATA}/notation/p256.key.pem"), format!("{DATA}/notation/p256.chain.pem"));
    std::fs::write(desk.path("d.json"), "{\"mediaType\":\"a/b\"}").unwrap();
    std::fs::write(desk.path("there"), "").unwrap();
    for (line, exit, code, next) in [
        (format!("{bundle} --key ed"), 2, "sign.key", "ecdsa-p256"),
        (format!("{bundle} --key ed --format notation --cert {chain}"), 2, "sign.key", "ecdsa-p256"),
        (
            format!("{bundle} --key {DATA}/sigstore/p384.key --format cosign-tag --as example.com/a"),
            2,
            "sign.key",
            "ecdsa-p256",
        ),
        (format!("{bundle} --key ec --expires 90d"), 2, "usage", "--format notation"),
        (
            format!("{bundle} --key ec --format cosign-tag --expires 90d --as example.com/a"),
            2,
            "usage",
            "--format notation",
        ),
        (format!("{bundle} --key ec --cert {chain}"), 2, "usage", "leave --cert out"),
        (format!("{bundle} --key ec --format notation"), 2, "usage", "--cert FILE"),
        (format!("{bundle} --key ec --format notation --cert {chain}"), 3, "sign.chain", "of this key"),
        (
            format!("{bundle} --key {key} --format notation --cert {DATA}/x509/leaf-server-auth.pem"),
            3,
            "sign.chain",
            "root last",
        ),
        (
            format!("{bundle} --key {key} --format notation --cert {DATA}/x509/no-root.pem"),
            3,
            "sign.chain",
            "root last",
        ),
        (
            format!("{bundle} --key {key} --format notation --cert {chain} --annotation io.cncf.notary.x=1"),
            2,
            "usage",
            "another name",
        ),
        (format!("{bundle} --key ec --format cosign-tag"), 2, "usage", "--as"),
        (format!("{bundle} --key ec --as example.com/a"), 2, "usage", "leave it out"),
        (format!("{bundle} --key ec --format notation --format cosign-tag"), 2, "usage", "once for each"),
        (format!("oci:{} --key ec", desk.path("layout")), 2, "usage", ":TAG"),
        ("descriptor:x.json --key ec".to_owned(), 2, "usage", "--output"),
        (
            format!("descriptor:{} --key ec --output {}", desk.path("d.json"), desk.path("o")),
            3,
            "sign.descriptor",
            "digest",
        ),
        (format!("{bundle} --key ec --output {}", desk.path("there")), 3, "file.unwritable", "written"),
        (format!("{bundle} {bundle} --key ec --output {}", desk.path("o")), 2, "usage", "one by one"),
        (format!("{bundle} oci:{}:nothing --key ec", desk.path("layout")), 3, "ref.absent", "tag or digest"),
    ] {
        let (is, said, step) = desk.error(&format!("sign {line}")).await;
        assert_eq!((is, said.as_str()), (exit, code), "sign {line}: {step}");
        assert!(step.contains(next), "sign {line}: {step}");
    }
    // A chain that is over.
    let line = format!("sign {bundle} --key {key} --format notation --cert {chain} --format json");
    let late = Bulla::at(&desk.0.path().join("home")).now("2125-01-01T00:00:00Z");
    assert_eq!(run(late, line).await.json()["error"]["code"], "sign.chain");
    assert_eq!(std::fs::read(desk.0.path().join("layout/index.json")).unwrap(), before, "nothing was hung");
    assert!(!Path::new(&desk.path("o")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_without_network_and_attached_later() {
    let desk = Desk::new().await;
    let registry = Registry::start(Config::default()).await;
    let far = format!("{}/team/app", registry.host());
    desk.run(&format!("copy {} {far}:v1", desk.bundle())).await.ok();
    let (digest, kind, bytes) = registry.manifest("team/app", "v1").unwrap();
    let descriptor =
        json!({"mediaType": kind, "digest": digest, "size": bytes.len(), "annotations": {"a": "b"}});
    std::fs::write(desk.path("d.json"), descriptor.to_string()).unwrap();
    let notation = format!("--key {DATA}/notation/rsa2048.key.pem --cert {DATA}/notation/rsa2048.chain.pem");
    registry.clear();
    for (n, flags) in [
        format!("--key {DATA}/sigstore/p256.key"),
        format!("--key {DATA}/sigstore/p256.key --format cosign-tag --as {far}"),
        format!("{notation} --format notation"),
        format!("{notation} --format notation-cose"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = desk.path(&format!("signature{n}"));
        let said =
            desk.json(&format!("sign descriptor:{} {flags} --output {file}", desk.path("d.json"))).await;
        assert_eq!(
            (status(&said), &said["result"]["artifacts"][0]["file"]),
            (vec!["written".to_owned()], &json!(file))
        );
        assert_eq!(said["result"]["artifacts"][0]["reference"], Value::Null);
        assert_eq!(registry.requests().len(), 0, "no network at all");
        // On another bundle it is refused.
        let (exit, code, _) = desk
            .error(&format!("attach signature {file} oci:{}@{}", desk.path("layout"), child(&bytes)))
            .await;
        assert!(exit == 1 && (code == "attach.other" || code == "attach.invalid"), "{code}");
        let line = format!("attach signature {file} {far}:v1");
        assert_eq!(status(&desk.json(&line).await), ["attached"], "{flags}");
        assert_eq!(status(&desk.json(&line).await), ["there"], "{flags}");
        assert_eq!(status(&desk.json(&format!("sign {far}:v1 {flags}")).await), ["there"], "{flags}");
        // And signed from the layout it is the same again.
        desk.run(&format!("attach signature {file} {}", desk.bundle())).await.ok();
        registry.clear();
    }
    let (exit, code, _) = desk.error(&format!("attach signature {}/subject.json {far}:v1", DATA)).await;
    assert_eq!((exit, code.as_str()), (1, "attach.invalid"));
    // One copy carries them all.
    desk.run(&format!("copy {far}:v1 oci:{}:v1", desk.path("stick"))).await.ok();
    let line = format!("sign oci:{}:v1 --key {DATA}/sigstore/p256.key", desk.path("stick"));
    assert_eq!(status(&desk.json(&line).await), ["there"]);
    assert_eq!(status(&desk.json(&format!("{line} --format cosign-tag --as {far}")).await), ["there"]);
}

/// The digest of the first manifest of an index.
fn child(index: &[u8]) -> String {
    let index: Value = serde_json::from_slice(index).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().parse::<Digest>().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_never_stand_in_arguments() {
    let help = Bulla::bare().run("sign --help").ok() + &Bulla::bare().run("key export --help").ok();
    assert!(help.contains("--password-stdin") && !help.contains("--password "), "{help}");
    let desk = Desk::new().await;
    let home = desk.0.path().join("home");
    let line = format!("sign {} --key {DATA}/sigstore/p256.key --format json", desk.bundle());
    let none = run(Bulla::at(&home).now(NOW), line.clone()).await.json();
    assert_eq!((none["exitCode"].as_u64(), &none["error"]["code"]), (Some(3), &json!("key.password")));
    let wrong = run(Bulla::at(&home).now(NOW).var("BULLA_PASSWORD", "hunter2"), line.clone()).await;
    assert_eq!(wrong.json()["error"]["code"], "key.password");
    assert!(!wrong.out.contains("hunter2") && !wrong.err.contains("hunter2"));
    let line = line.replace("--format json", "--password-stdin --format json");
    let right = run(Bulla::at(&home).now(NOW).stdin(b"password\n"), line).await.json();
    assert_eq!(status(&right), ["signed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cosigns_key_files_are_read_and_written() {
    let desk = Desk::new().await;
    for (kind, name) in
        [("ecdsa-p256", "ec"), ("ed25519", "ed"), ("rsa-3072", "rsa"), ("ecdsa-p384", "ec384")]
    {
        desk.run(&format!("key generate {name} --type {kind}")).await.ok();
        let (file, public) = (desk.path(&format!("{name}.key")), desk.path(&format!("{name}.pub")));
        let said = desk.json(&format!("key export {name} {file}")).await;
        let id = said["result"]["keys"][0]["keyId"].clone();
        assert_eq!((said["exitCode"].as_u64(), &said["result"]["keys"][0]["file"]), (Some(0), &json!(file)));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{text}");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap()) & 0o777, 0o600);
        assert!(std::fs::read_to_string(&public).unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        // It is the same key, opened with the same password, wherever a key is named.
        assert_eq!(desk.json(&format!("key show {file}")).await["result"]["keys"][0]["keyId"], id);
        desk.run(&format!("key import {file} {name}-again")).await.ok();
        assert_eq!(desk.json(&format!("key show {name}-again")).await["result"]["keys"][0]["keyId"], id);
        // Nothing is overwritten, neither of the two files.
        assert_eq!(desk.error(&format!("key export {name} {file}")).await.1, "key.exists");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(desk.error(&format!("key export {name} {file}")).await.1, "key.exists");
        assert!(!Path::new(&file).exists());
    }
    assert_eq!(desk.error(&format!("key export ec {}", desk.path("x.pub"))).await.1, "usage");
    assert_eq!(desk.error(&format!("key export nobody {}", desk.path("x.key"))).await.1, "key.absent");
    // One that had no password gets one.
    desk.run("key generate plain --type ecdsa-p256 --dangerously-unencrypted").await.ok();
    desk.run(&format!("key export plain {}", desk.path("plain.key"))).await.ok();
    let none = Bulla::at(&desk.0.path().join("home"));
    let line = format!("sign {} --key {} --format json", desk.bundle(), desk.path("plain.key"));
    assert_eq!(run(none, line).await.json()["error"]["code"], "key.password");
}

#[tokio::test(flavor = "multi_thread")]
async fn published_and_signed_in_one_run() {
    let stage = Stage::new().await;
    stage.init().await;
    let at = stage.at();
    let notation = format!("{DATA}/notation/p256");
    let publish = |tag: &str, more: &str| {
        format!("publish --from oci:{}:{tag} {at} --tag {tag} {more} --format json", stage.path("build"))
    };
    let also = format!(
        "--also sigstore --also notation --also-key {notation}.key.pem --also-cert {notation}.chain.pem"
    );
    // What does not fit is known before anything is published.
    for (more, code) in [
        (format!("--also sigstore --also-key {DATA}/sigstore/ed25519.key"), "sign.key"),
        (format!("--also notation --also-key {notation}.key.pem"), "usage"),
        (format!("--also sigstore --also-key {notation}.key.pem --also-cert {notation}.chain.pem"), "usage"),
        ("--also sigstore".to_owned(), "usage"),
        (format!("--also sigstore --also-key {notation}.key.pem --also-expires 90d"), "usage"),
        ("--also-recursive".to_owned(), "usage"),
    ] {
        let bulla = Bulla::at(&stage.dir.path().join("publisher")).var("BULLA_PASSWORD", "password");
        let said = run(bulla, publish("v1", &more)).await.json();
        assert_eq!(said["error"]["code"], code, "{more}: {said:#}");
    }
    assert!(stage.registry.tags("team/app").iter().all(|(tag, _)| tag != "v1"));
    let said = stage.by("publisher", publish("v1", &also)).await.json();
    assert_eq!(
        (said["exitCode"].as_u64(), &said["result"]["status"]),
        (Some(0), &json!("released")),
        "{said:#}"
    );
    let made = said["result"]["signatures"].as_array().unwrap();
    let forms: Vec<_> = made.iter().map(|s| (s["form"].clone(), s["status"].clone())).collect();
    assert_eq!(forms, [(json!("sigstore"), json!("signed")), (json!("notation"), json!("signed"))]);
    let again = stage.by("publisher", publish("v1", &also)).await.json();
    assert!(
        again["result"]["signatures"].as_array().unwrap().iter().all(|s| s["status"] == "there"),
        "{again:#}"
    );
    // Signing that fails is said, and what was published stays.
    use crate::registry::Fault;
    stage.registry.fault(Fault::on("GET", "*/referrers/*").status(403));
    let failed = stage.by("publisher", publish("v1", &also)).await.json();
    stage.registry.behave();
    assert_eq!(failed["exitCode"], 3, "{failed:#}");
    let line = format!("sign {at}:v1 --key {notation}.key.pem --format json");
    let bulla = Bulla::at(&stage.dir.path().join("other")).now(NOW);
    assert_eq!(status(&run(bulla, line).await.json()), ["there"]);
    let subject = stage.registry.manifest("team/app", "v1").unwrap().0;
    // A seal, and the two signatures.
    assert_eq!(stage.registry.referrers("team/app", &subject).len(), 3);
}

/// One line of standard input answers for the key of `--also` and for those of the collection; `--also-recursive` signs what an index
/// names, and `--also-expires` says for how long.
#[tokio::test(flavor = "multi_thread")]
async fn one_password_publishes_and_signs_an_index_with_all_it_names() {
    let stage = Stage::new().await;
    stage.init().await;
    let (at, notation) = (stage.at(), format!("{DATA}/notation/p256"));
    let line = format!(
        "publish --from oci:{}:v1 {at} --tag v1 --also notation --also sigstore --also-key other --also-cert {notation}.chain.pem --also-recursive --also-expires 90d --password-stdin --format json",
        stage.path("build")
    );
    stage.by("publisher", "key generate other --type ecdsa-p256".to_owned()).await.ok();
    // The chain is that of another key: this form is refused before anything is published, the other one goes.
    let bulla = || Bulla::at(&stage.dir.path().join("publisher")).stdin(b"p\n");
    let said = run(bulla(), line.clone()).await.json();
    assert_eq!(said["error"]["code"], "sign.chain", "{said:#}");
    let line = line
        .replace("--also notation ", "")
        .replace(&format!("--also-cert {notation}.chain.pem "), "")
        .replace("--also-expires 90d ", "");
    let said = run(bulla(), line).await.json();
    assert_eq!(said["exitCode"], 0, "{said:#}");
    let (digest, _, bytes) = stage.registry.manifest("team/app", "v1").unwrap();
    let named: Value = serde_json::from_slice(&bytes).unwrap();
    let mut wanted: Vec<String> = named["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| m["digest"].as_str().unwrap().to_owned())
        .collect();
    wanted.push(digest);
    let signed = said["result"]["signatures"].as_array().unwrap();
    assert_eq!(signed.len(), wanted.len(), "{said:#}");
    for digest in &wanted {
        assert!(
            signed
                .iter()
                .any(|s| s["reference"].as_str().unwrap().ends_with(digest.as_str())
                    && s["status"] == "signed"),
            "{digest}: {said:#}"
        );
    }
    let line = format!(
        "publish {at}:v1 --also notation --also-key {notation}.key.pem --also-cert {notation}.chain.pem --also-expires 90d --format json"
    );
    let said = stage.by("publisher", line).await.json();
    assert_eq!(said["exitCode"], 0, "{said:#}");
    let carrier = said["result"]["signatures"][0]["digest"].as_str().unwrap();
    let (.., bytes) = stage.registry.manifest("team/app", carrier).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let envelope = engine.decode(manifest["layers"][0]["data"].as_str().unwrap()).unwrap();
    let envelope: Value = serde_json::from_slice(&envelope).unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(envelope["protected"].as_str().unwrap())
        .unwrap();
    assert!(String::from_utf8(header).unwrap().contains("io.cncf.notary.expiry"));
}

/// docs/commands/sign.md: a KMS signs what its plugin makes.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_kms_signs_what_its_kind_can() {
    let desk = Desk::new().await;
    let bulla = || {
        Bulla::at(&desk.0.path().join("home")).var("PATH", crate::kms::plugins().to_str().unwrap()).now(NOW)
    };
    let sign = |key: &str, form: &str| {
        format!(
            "sign {} --key {key} --format {form} --as registry.example.com/team/app --format json",
            desk.bundle()
        )
    };
    let said = run(bulla(), sign("fake://seed/7", "cosign-tag")).await.json();
    assert_eq!(status(&said), ["signed"], "{said:#}");
    let said =
        run(bulla(), sign("fake://seed/7", "sigstore").replace("--as registry.example.com/team/app", ""))
            .await
            .json();
    assert_eq!(said["error"]["code"], "sign.key", "{said:#}");
    // One that shows another key than it signs with is caught before anything is pushed.
    let said = run(bulla(), sign("fake://wrong-key/8", "cosign-tag")).await.json();
    assert_eq!(said["error"]["code"], "key.signature", "{said:#}");
    run(bulla(), "key import fake://seed/9 kept".to_owned()).await.ok();
    let said = run(bulla(), sign("kept", "cosign-tag")).await.json();
    assert_eq!(status(&said), ["signed"], "{said:#}");
}
