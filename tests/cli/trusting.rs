//! `bulla trust` for signatures: anchors of every kind, documents of other forms, two levels, and what is found wrong.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::run::{Bulla, Ran};

struct Deployer {
    dir: tempfile::TempDir,
}

fn testdata(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name).to_str().unwrap().to_owned()
}

impl Deployer {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn bulla(&self) -> Bulla {
        Bulla::at(&self.path("home"))
    }

    /// Under the system's file `system.json`.
    fn managed(&self) -> Bulla {
        self.bulla().var("BULLA_SYSTEM_TRUST", self.path("system.json").to_str().unwrap())
    }

    fn trust(&self, line: &str) -> Ran {
        self.bulla().run(&format!("trust {line} --format json"))
    }
}

fn code(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap_or("none").to_owned()
}

fn notes(ran: &Ran) -> String {
    ran.json()["notes"].to_string()
}

#[test]
fn each_kind_of_anchor_is_added_listed_and_removed() {
    let deployer = Deployer::new();
    let root = testdata("signatures/notation/root.pem");
    let leaf = testdata("signatures/notation/p256.chain.pem");
    let key = testdata("signatures/sigstore/p256.pub");
    let trusted_root = testdata("signatures/sigstore-rust/trusted_root.json");
    let added = deployer.trust(&format!("add registry.example.com --ca {root}"));
    assert_eq!(added.exit, 0, "{added:?}");
    assert!(notes(&added).contains("whoever this CA certifies"), "{added:?}");
    let args =
        ["trust", "add", "*", "--ca", &root, "--subject", "C=US, ST=WA, O=Example", "--format", "json"];
    assert_eq!(deployer.bulla().args(args).exit, 0);
    let added = deployer.trust(&format!("add ex.com/team/app --certificate {leaf}"));
    assert!(added.exit == 0 && notes(&added).contains("rotation will break"), "{added:?}");
    let added = deployer.trust(&format!("add ex.com/team/app:v1 --public-key {key}"));
    assert!(added.exit == 0 && notes(&added).contains("rotation will break"), "{added:?}");
    let args = [
        "trust",
        "add",
        "ghcr.io/acme/*",
        "--keyless",
        &trusted_root,
        "--identity",
        "a@example.com",
        "--issuer",
        "https://i.example",
    ];
    assert_eq!(deployer.bulla().args(args).exit, 0);
    let again = deployer.trust(&format!("add ex.com/team/app:v1 --public-key {key}"));
    assert_eq!(again.json()["result"]["changed"], false);

    let listed = deployer.trust("list").json()["result"]["anchors"].clone();
    let listed = listed.as_array().unwrap();
    let kinds: Vec<&str> = listed.iter().map(|a| a["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ca", "ca", "certificate", "key", "keyless"]);
    for anchor in listed {
        for member in ["publicKey", "signedIdentity", "issuer", "rescissions", "scope", "file", "level"] {
            assert!(anchor.get(member).is_some(), "{member} is not in {anchor:#}");
        }
    }
    assert!(listed[0]["publicKey"]["spki"].as_str().unwrap().len() > 50);
    assert!(listed[0]["signedIdentity"].as_str().unwrap().contains("O="));
    assert_eq!(listed[1]["subjects"], json!(["C=US,O=Example,ST=WA"]));
    assert_eq!(
        (&listed[4]["signedIdentity"], &listed[4]["issuer"]),
        (&json!("a@example.com"), &json!("https://i.example"))
    );
    let text = deployer.bulla().run("trust list").ok();
    assert!(text.contains("RESCISSIONS") && text.contains("nowhere"), "{text}");

    let id = listed[3]["id"].as_str().unwrap();
    assert_eq!(deployer.trust(&format!("remove {id}")).exit, 0);
    assert_eq!(deployer.trust("list").json()["result"]["anchors"].as_array().unwrap().len(), 4);
}

#[test]
fn what_cannot_be_trusted_is_refused() {
    let deployer = Deployer::new();
    let (root, key) = (testdata("signatures/notation/root.pem"), testdata("signatures/sigstore/p256.pub"));
    let leaf = testdata("signatures/notation/p256.chain.pem");
    for (line, is) in [
        (format!("add ex.com --certificate {root}"), "usage"),
        (format!("add ex.com --ca {key}"), "usage"),
        (format!("add ex.com --public-key {root}"), "usage"),
        (format!("add ex.com/a --ca {root} --rescissions ex.com/nobody"), "usage"),
        (format!("add ex.com@x --ca {root}"), "usage"),
        (format!("add ex.com --keyless {root} --identity a --issuer b"), "trust.document"),
        (format!("add ex.com --ca {root} --root x"), "usage"),
        ("add ex.com".to_owned(), "usage"),
        (format!("add ex.com --certificate {leaf} --subject O=x"), "usage"),
        (format!("add ex.com --ca {root} --identity a"), "usage"),
        (format!("add ex.com --ca {root} --collection ex.com/a"), "usage"),
        (format!("add ex.com --ca {root} --organisation ex.com/a"), "usage"),
        (format!("add ex.com/a --root {root} --rescissions ex.com/a"), "usage"),
    ] {
        let ran = deployer.trust(&line);
        assert_eq!(
            (code(&ran).as_str(), ran.exit),
            (is, if is == "usage" { 2 } else { 1 }),
            "{line}: {ran:?}"
        );
    }
    assert_eq!(deployer.trust("list").json()["result"]["anchors"], json!([]));
}

/// The files of the requirements document, as they stand there.
#[test]
fn the_requirements_document_is_imported_byte_for_byte() {
    let deployer = Deployer::new();
    let policy = testdata("requirements/trustpolicy.json");
    let imported = deployer.trust(&format!("import {policy}"));
    assert_eq!(imported.exit, 0, "{imported:?}");
    assert_eq!(imported.json()["result"]["anchors"].as_array().unwrap().len(), 3);
    let statement = &imported.json()["result"]["statements"][0];
    assert_eq!((&statement["scope"], &statement["importedFrom"]), (&json!("*"), &json!(policy)));
    let roots = |reference: &str| -> Vec<Value> {
        let checked = deployer.trust(&format!("check {reference}"));
        let anchors = checked.json()["result"]["rule"]["anchors"].clone();
        anchors.as_array().unwrap().iter().map(|a| a["signedIdentity"].clone()).collect()
    };
    assert_eq!(roots("registry.wabbit-networks.io/net-monitor:v1").len(), 3);
    assert_eq!(roots("registry.acme-rockets.io/net-monitor:v1").len(), 2);
    let rule = deployer.trust("check ex.com/a:b").json()["result"]["rule"].clone();
    assert_eq!(rule["checks"]["rescinded"]["by"]["file"], json!(policy));
    assert_eq!((&rule["checks"]["signature"]["kept"], &rule["allow"]), (&json!(true), &json!([])));
    let again = deployer.trust(&format!("import {policy}"));
    assert_eq!(again.json()["result"]["changed"], false);
    // Another policy for the same scope does not take its place.
    let text =
        fs::read_to_string(&policy).unwrap().replace("\"signatureCheck\": true", "\"signatureCheck\": false");
    fs::copy(testdata("requirements/truststore.json"), deployer.path("truststore.json")).unwrap();
    fs::copy(testdata("requirements/test.crt"), deployer.path("test.crt")).unwrap();
    let off = deployer.write("off.json", &text);
    let refused = deployer.trust(&format!("import {off}"));
    assert_eq!((code(&refused).as_str(), refused.exit), ("trust.conflict", 1), "{refused:?}");
    // In a home of its own it says "not checked", by its name.
    let other = Bulla::at(&deployer.path("other")).run(&format!("trust import {off} --format json"));
    assert_eq!(other.exit, 0, "{other:?}");
    let text = Bulla::at(&deployer.path("other")).run("trust check ex.com/a:b");
    assert!(text.out.contains("NOT CHECKED") && text.out.contains("off.json"), "{text:?}");
}

#[test]
fn notations_folder_is_imported_or_refused() {
    let deployer = Deployer::new();
    let pem = fs::read_to_string(testdata("signatures/notation/root.pem")).unwrap();
    deployer.write("notation/truststore/x509/ca/wabbit/root.pem", &pem);
    let policy = |level: &str| {
        format!(
            r#"{{"version":"1.0","trustPolicies":[{{"name":"wabbit","registryScopes":["ex.com/app"],"signatureVerification":{{"level":"{level}"}},
            "trustStores":["ca:wabbit"],"trustedIdentities":["x509.subject: C=US, ST=WA, O=Example"]}}]}}"#
        )
    };
    deployer.write("notation/trustpolicy.json", &policy("audit"));
    let dir = deployer.path("notation");
    let refused = deployer.trust(&format!("import notation {}", dir.display()));
    assert_eq!((code(&refused).as_str(), refused.exit), ("trust.document", 1));
    assert!(refused.out.contains("anybody"), "{refused:?}");
    deployer.write("notation/trustpolicy.json", &policy("strict"));
    let imported = deployer.trust(&format!("import notation {}", dir.display()));
    assert_eq!(imported.exit, 0, "{imported:?}");
    let anchor = &imported.json()["result"]["anchors"][0];
    assert_eq!(anchor["rescissions"], json!({"servers": true}));
    let rule = deployer.trust("check ex.com/app:v1").json()["result"]["rule"].clone();
    assert_eq!(rule["required"]["signatures"][0]["from"], json!([anchor["id"]]));
}

#[test]
fn a_spiffe_bundle_is_imported_for_a_scope() {
    let deployer = Deployer::new();
    let pem = fs::read_to_string(testdata("signatures/notation/root.pem")).unwrap();
    let der: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let bundle = json!({"keys": [{"use": "x509-svid", "kty": "RSA", "x5c": [der]}], "spiffe_sequence": 3});
    let bundle = deployer.write("bundle.json", &bundle.to_string());
    let imported =
        deployer.trust(&format!("import spiffe {bundle} --trust-domain example.org --scope ex.com/ci/*"));
    assert_eq!(imported.exit, 0, "{imported:?}");
    let anchor = &imported.json()["result"]["anchors"][0];
    assert_eq!(
        (&anchor["scope"], &anchor["subjects"]),
        (&json!("ex.com/ci/*"), &json!(["spiffe://example.org"]))
    );
    let refused = deployer.trust(&format!("import spiffe {bundle} --trust-domain Example --scope *"));
    assert_eq!(code(&refused), "trust.document");
}

#[test]
fn a_locked_system_file_stands_and_the_users_adds() {
    let deployer = Deployer::new();
    let key = testdata("signatures/sigstore/p256.pub");
    assert_eq!(
        Bulla::at(&deployer.path("made")).run(&format!("trust add ex.com --public-key {key}")).exit,
        0
    );
    let mut system: Value =
        serde_json::from_slice(&fs::read(deployer.path("made/trust.json")).unwrap()).unwrap();
    let id = system["anchors"][0]["id"].clone();
    system["locked"] = json!(true);
    deployer.write("system.json", &system.to_string());
    deployer.write(
        "home/trust.json",
        r#"{"schemaVersion":2,"statements":[{"scope":"ex.com/app","checks":{"signature":false},"reason":"mine"}]}"#,
    );
    let other = testdata("signatures/sigstore/p384.pub");
    assert_eq!(deployer.managed().run(&format!("trust add ex.com/app --public-key {other}")).exit, 0);
    let checked = deployer.managed().run("trust check ex.com/app:v1 --format json").json()["result"].clone();
    assert_eq!(checked["rule"]["required"]["signatures"][0]["from"], json!([id]), "{checked:#}");
    assert_eq!(checked["rule"]["checks"]["signature"]["kept"], true);
    assert!(checked["findings"].to_string().contains("a locked system file decides there"), "{checked:#}");
    let listed = deployer.managed().run("trust list --format json").json()["result"].clone();
    assert_eq!(listed["locked"], true);
    let levels: Vec<&Value> = listed["anchors"].as_array().unwrap().iter().map(|a| &a["level"]).collect();
    assert_eq!(levels, ["user", "system"]);
    // What the user writes is in the user's file; the system's is not touched.
    let own: Value = serde_json::from_slice(&fs::read(deployer.path("home/trust.json")).unwrap()).unwrap();
    assert_eq!(own["anchors"].as_array().unwrap().len(), 1);
    let absent =
        deployer.bulla().var("BULLA_SYSTEM_TRUST", "/nonexistent/trust.json").run("trust list --format json");
    assert_eq!((code(&absent).as_str(), absent.exit), ("file.unreadable", 3), "{absent:?}");
}

#[test]
fn check_says_what_cannot_be_met() {
    let deployer = Deployer::new();
    deployer.write(
        "home/trust.json",
        r#"{"schemaVersion":2,"statements":[{"scope":"*","require":{"tuf":true}}]}"#,
    );
    let of_one = deployer.trust("check ex.com/app:v1");
    assert_eq!((code(&of_one).as_str(), of_one.exit), ("trust.check", 1), "{of_one:?}");
    let whole = deployer.trust("check");
    assert!(whole.out.contains("trust.unmet"), "{whole:?}");
    let nothing = Bulla::at(&deployer.path("none")).run("trust check").ok();
    assert_eq!(nothing, "found     nothing wrong\n");
}

/// What the schema says and what the code takes are the same for real files.
#[test]
fn files_fit_their_schema() {
    let deployer = Deployer::new();
    assert_eq!(deployer.trust(&format!("import {}", testdata("requirements/trustpolicy.json"))).exit, 0);
    let key = testdata("signatures/sigstore/p256.pub");
    assert_eq!(deployer.trust(&format!("add ex.com --public-key {key}")).exit, 0);
    let file: Value = serde_json::from_slice(&fs::read(deployer.path("home/trust.json")).unwrap()).unwrap();
    crate::schemas::fits_named("trust", &file).unwrap();
    let more = json!({"schemaVersion": 2, "locked": true, "anchors": [], "statements": [
        {"scope": "*", "require": {"tuf": true, "signatures": false}},
        {"scope": "ex.com", "require": {"signatures": {"threshold": 2, "from": ["a", "b"]}}, "checks": {"certificateExpiry": false}, "reason": "r"}],
        "allow": [{"digest": format!("sha256:{}", "11".repeat(32)), "unsigned": true, "reason": "r"}], "deny": [{"scope": "ex.com/a:b", "reason": "r"}]});
    crate::schemas::fits_named("trust", &more).unwrap();
    assert!(bulla::trust::TrustFile::parse(more.to_string().as_bytes()).is_ok());
    for (pointer, value) in [
        ("/statements/0/require/signatures", json!(true)),
        ("/statements/1/require/signatures/threshold", json!(0)),
        ("/statements/1/checks", json!({"expires": false})),
        ("/schemaVersion", json!(3)),
        ("/allow/0", json!({"unsigned": true})),
    ] {
        let mut bad = more.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(crate::schemas::fits_named("trust", &bad).is_err(), "{pointer}");
        assert!(bulla::trust::TrustFile::parse(bad.to_string().as_bytes()).is_err(), "{pointer}");
    }
}
