//! `bulla attest` and `bulla verify --attestation` by the real program, at registries and in OCI layouts.

use std::fs;

use serde_json::{Value, json};

use super::workshop::{NAME, Workshop, words};

const PROVENANCE: &str = "--predicate provenance.json --type slsaprovenance1 --key ci";

/// A published bundle, a key that attests, and a deployer who trusts both.
async fn shop(no_api: bool) -> Workshop {
    let shop = Workshop::new(no_api).await;
    shop.build().await;
    shop.publish().await;
    shop.ok("publisher", "key generate ci --type ecdsa-p256 --dangerously-unencrypted").await;
    let predicate = json!({"runDetails": {"builder": {"id": "https://ci.example.com"}}, "score": 0.5});
    fs::write(shop.path("provenance.json"), format!("\n{predicate}\n")).unwrap();
    shop.trust(&[shop.at()]).await;
    let key = shop.path("publisher/keys/ci.pub");
    for scope in [shop.at(), NAME.to_owned()] {
        shop.ok("deployer", &format!("trust add {scope} --public-key {}", key.display())).await;
    }
    shop
}

#[tokio::test]
async fn what_was_attested_is_asked_for_wherever_it_was_copied() {
    for no_api in [false, true] {
        let shop = shop(no_api).await;
        let at = shop.at();
        let asked = format!("verify {at}:v1 --attestation slsaprovenance1 --plain-http");
        let out = shop.run("deployer", &asked).await;
        assert_eq!(out.status.code(), Some(1), "{}", words(&out));
        assert!(words(&out).contains("because attestation.none:"), "{}", words(&out));
        let line = format!("attest {at}:v1 {PROVENANCE} --plain-http");
        let said = shop.ok("publisher", &line).await;
        assert!(said.starts_with("attested  ") && said.contains("sigstore  sha256:"), "{said}");
        // The same is not said twice, something else is.
        assert!(shop.ok("publisher", &line).await.starts_with("there "));
        let said = shop.ok("publisher", &line.replace("slsaprovenance1", "urn:x")).await;
        assert!(said.starts_with("attested  "), "{said}");
        let said = shop.ok("deployer", &asked).await;
        assert!(said.contains("pass        attestation.counted"), "{said}");
        assert!(
            said.contains("https://slsa.dev/provenance/v1 from 1 of 1 anchors, by --attestation: met"),
            "{said}"
        );
        shop.ok("deployer", &format!("copy {at}:v1 oci:stick:v1 --plain-http")).await;
        let line = format!("verify oci:stick:v1 --as {NAME} --attestation urn:x --format json");
        let said: Value = serde_json::from_str(&shop.ok("deployer", &line).await).unwrap();
        let bundle = &said["result"]["bundles"][0];
        assert_eq!(bundle["requirements"][1]["kind"], "attestations");
        assert_eq!(bundle["attestations"][0]["code"], "attestation.counted", "{bundle}");
    }
}

#[tokio::test]
async fn it_can_be_signed_apart_and_hung_later() {
    let shop = shop(false).await;
    shop.ok("publisher", &format!("attest oci:build:v1 {PROVENANCE} --output apart.json")).await;
    shop.ok("publisher", &format!("attach signature apart.json {}:v1 --plain-http", shop.at())).await;
    let asked = format!("verify {}:v1 --attestation slsaprovenance1 --plain-http", shop.at());
    shop.ok("deployer", &asked).await;
    // In a layout it hangs at once.
    let said = shop.ok("publisher", &format!("attest oci:build:v1 {PROVENANCE}")).await;
    assert!(said.starts_with("attested  "), "{said}");
    assert!(shop.ok("publisher", &format!("attest oci:build:v1 {PROVENANCE}")).await.starts_with("there "));
}

#[tokio::test]
async fn what_is_no_predicate_is_not_signed() {
    let shop = shop(false).await;
    for (text, kind, says) in [
        ("[]", "vuln", "predicate is no object"),
        ("{\"a\":1,\"a\":2}", "vuln", "stands twice"),
        ("{", "vuln", "is no predicate"),
        ("{}", "https://sigstore.dev/cosign/sign/v1", "that of a signature"),
        ("{}", "nothing", "neither a URI nor"),
    ] {
        fs::write(shop.path("bad.json"), text).unwrap();
        let line =
            format!("attest {}:v1 --predicate bad.json --type {kind} --key ci --plain-http", shop.at());
        let out = shop.run("publisher", &line).await;
        assert_eq!(out.status.code(), Some(2), "{}", words(&out));
        assert!(words(&out).contains(says), "{says}: {}", words(&out));
    }
}
