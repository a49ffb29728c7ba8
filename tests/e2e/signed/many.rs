//! Many references in one run: what is shared is fetched once, and the results come in order.

use std::process::{Output, Stdio};

use bulla::envelope::sigstore_bundle;
use bulla::oci::{Content, media_type};
use bulla::trust::Trusts;
use serde_json::{Value, json};
use tokio::process::Command;

use super::stage::{REPO, Stage, key_of, signer, sigstore_bundle};
use crate::registry::{Auth, Fault, Nth, Quirks, Scheme};
use crate::workshop::Workshop;

/// Bundles at `b0`, `b1`, …, each signed as `bulla sign` does it: with the signature embedded in its manifest.
async fn signed_bundles(stage: &mut Stage, count: usize) -> Vec<Content> {
    use base64::Engine as _;
    let key = signer();
    stage.trust(Trusts::Key(key_of(&key)));
    let mut out = Vec::new();
    for i in 0..count {
        let doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [],
            "config": stage.layer("application/vnd.oci.image.config.v1+json", b"{}"),
            "annotations": {"number": i.to_string()},
        });
        let bundle = Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap());
        let tag = format!("b{i}");
        stage.registry.put_manifest(REPO, Some(&tag), media_type::OCI_MANIFEST, bundle.bytes().clone());
        let signature = sigstore_bundle(&key, bundle.digest()).await;
        let mut layer = stage.layer(sigstore_bundle::MEDIA_TYPE, &signature);
        layer["data"] = base64::engine::general_purpose::STANDARD.encode(&signature).into();
        let v3 = Some(sigstore_bundle::MEDIA_TYPE);
        stage.hang_on(bundle.descriptor(), v3, media_type::OCI_EMPTY, &[layer]);
        out.push(bundle);
    }
    out
}

/// `bulla verify` as a process, with a list on standard input.
async fn verify(stage: &Stage, list: &str, more: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("trust.json"), stage.trust.to_bytes()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulla"))
        .args(["verify", "--from-file", "-", "--plain-http"])
        .args(more)
        .env_clear()
        .env("BULLA_HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, list.as_bytes()).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn bundles(output: &Output) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["result"]["bundles"].as_array().unwrap().clone()
}

#[tokio::test]
async fn two_requests_a_bundle_and_one_login_for_all() {
    let mut stage = Stage::new(Quirks::default()).await;
    let all = signed_bundles(&mut stage, 30).await;
    stage.registry.auth(|a| *a = Auth { scheme: Scheme::Bearer, anonymous_pull: true, ..Auth::default() });
    let list: String = all.iter().map(|b| format!("{}\n", stage.at(&format!("@{}", b.digest())))).collect();
    stage.registry.clear();
    let output = verify(&stage, &list, &["--format", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let results = bundles(&output);
    assert_eq!(results.len(), 30);
    for (result, bundle) in results.iter().zip(&all) {
        assert_eq!((&result["digest"], &result["verdict"]), (&json!(bundle.digest()), &json!("trusted")));
    }
    // Those that were refused before there was a token are none of the bundles'.
    let answered = stage.registry.requests().iter().filter(|r| r.status != Some(401)).count();
    assert!(answered <= 2 + 2 * 30, "{answered}\n{}", stage.registry.log());
    assert_eq!(stage.registry.tokens_issued(), 1);
    assert!(stage.registry.peak("GET", "*") > 2);
}

#[tokio::test]
async fn results_in_order_the_worst_exit_code_and_a_table() {
    let mut stage = Stage::new(Quirks::default()).await;
    signed_bundles(&mut stage, 3).await;
    let at = |tag: &str| stage.at(&format!(":{tag}")).to_string();
    // v1 is not signed.
    let list = format!("# all\n{}\n\n{} # this one not\n{}\n", at("b0"), at("v1"), at("b2"));
    let output = verify(&stage, &list, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let table: Vec<&str> = text.lines().rev().take(3).collect();
    for (line, (tag, word)) in
        table.iter().rev().zip([("b0", "trusted"), ("v1", "not-trusted"), ("b2", "trusted")])
    {
        assert!(line.starts_with(&at(tag)) && line.contains(word), "{text}");
    }
    assert!(table[1].contains("signature.none"));

    // What could not be looked at is worse than a no.
    stage.registry.fault(Fault::on("GET", "/v2/*/manifests/b2").nth(Nth::Every).status(503));
    let output = verify(&stage, &list, &["--format", "json"]).await;
    assert_eq!(output.status.code(), Some(3));
    let results = bundles(&output);
    let verdicts: Vec<&str> = results.iter().map(|r| r["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["trusted", "not-trusted", "undecided"]);
    assert_eq!(results[1]["requirements"][0]["because"]["code"], "signature.none");

    for (list, says) in
        [("", "names no reference"), ("alpine\n", "line 1"), ("a.example/b\n", "tag or a digest")]
    {
        let output = verify(&stage, list, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{list}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
}

/// The state of a collection is fetched once, however many of its bundles are verified.
#[tokio::test]
async fn one_look_at_the_state_serves_all_bundles() {
    let shop = Workshop::new(false).await;
    let seeds: Vec<String> = (0..12).map(|i| format!("t{i}")).collect();
    shop.builds(seeds.iter().cloned()).await;
    for seed in seeds.iter() {
        let from = shop.path("builds").display().to_string();
        shop.ok(
            "publisher",
            &format!("publish --from oci:{from}:{seed} {} --tag {seed} --plain-http", shop.at()),
        )
        .await;
    }
    shop.trust(&[shop.at()]).await;
    let list: String = seeds.iter().map(|seed| format!("{}:{seed}\n", shop.at())).collect();
    std::fs::write(shop.path("list"), list).unwrap();
    shop.server.clear();
    let line = format!("verify --from-file {} --plain-http", shop.path("list").display());
    let said = shop.ok("deployer", &line).await;
    assert_eq!(said.lines().filter(|l| l.contains("trusted")).count(), 12, "{said}");
    assert_eq!(shop.server.count("GET", "/v2/*/manifests/bulla.*"), 1);
    let made = shop.server.count("*", "*");
    assert!(made <= 2 + 2 * 12, "{made}\n{}", shop.server.log());
}
