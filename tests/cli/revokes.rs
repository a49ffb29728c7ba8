//! Withdrawal, warning and a replaced root from the command line.

use serde_json::Value;

use crate::releases::{NAME, Stage};
use crate::run::Bulla;

fn because(json: &Value) -> String {
    json["result"]["bundles"][0]["because"]["code"].as_str().unwrap_or("trusted").to_owned()
}

async fn args(stage: &Stage, home: &str, args: Vec<String>) -> crate::run::Ran {
    let home = stage.dir.path().join(home);
    let ran = tokio::task::spawn_blocking(move || Bulla::at(&home).var("BULLA_PASSWORD", "p").args(args));
    ran.await.unwrap()
}

fn words(line: &str, reason: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    words.extend(["--reason".to_owned(), reason.to_owned()]);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_bundle_is_refused_at_the_registry_at_a_mirror_and_in_a_layout() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.publish("v2").await.ok();
    stage.deployer().await;
    let at = stage.at();
    let (stick, mirror) = (stage.path("stick"), format!("{}/mirror/app", stage.registry.host()));
    let root = stage.path("1.root.json");
    stage.by("deployer", format!("trust add {mirror} --collection {NAME} --root {root}")).await.ok();
    let digest = stage.by("deployer", format!("verify {at}:v1 --format json")).await.json();
    let digest = digest["result"]["bundles"][0]["digest"].as_str().unwrap().to_owned();
    let places = [format!("{at}@{digest}"), format!("{mirror}@{digest}"), format!("oci:{stick}@{digest}")];
    let verify = |home: &'static str, place: &str| {
        let named = if place.starts_with("oci:") { format!(" --as {NAME}") } else { String::new() };
        let line = format!("verify {place}{named} --format json");
        let stage = &stage;
        async move { stage.by(home, line).await.json() }
    };
    for to in [&mirror, &format!("oci:{stick}")] {
        stage.by("deployer", format!("copy {at}:v1 {to}")).await.ok();
    }
    for place in &places {
        assert_eq!(because(&verify("deployer", place).await), "trusted", "{place}");
    }

    let warned =
        args(&stage, "publisher", words(&format!("revoke {at}@{digest} --advisory"), "update soon")).await;
    assert!(warned.exit == 0 && warned.out.starts_with("revoked "), "{warned:#?}");
    let report = verify("deployer", &places[0]).await;
    let checks = report["result"]["bundles"][0]["anchors"][0]["checks"].as_array().unwrap().clone();
    let note = checks.iter().find(|c| c["code"] == "revocation.advisory").unwrap();
    assert_eq!((&note["outcome"], because(&report).as_str()), (&"note".into(), "trusted"));
    let id = note["data"]["id"].as_str().unwrap();
    stage.by("deployer", format!("trust acknowledge {id}")).await.ok();
    let report = verify("deployer", &places[0]).await;
    let checks = report["result"]["bundles"][0]["anchors"][0]["checks"].as_array().unwrap().clone();
    assert!(checks.iter().any(|c| c["code"] == "revocation.advisory" && c["outcome"] == "pass"));

    let ran =
        args(&stage, "publisher", words(&format!("revoke {at}:v1 --format json"), "CVE-2026-1234")).await;
    let json = ran.json();
    assert_eq!(
        (ran.exit, &json["result"]["status"], &json["result"]["bundle"]),
        (0, &"revoked".into(), &digest.as_str().into())
    );
    for to in [&mirror, &format!("oci:{stick}")] {
        stage.by("deployer", format!("copy {at}@{digest} {to}")).await.ok();
    }
    let by = json["result"]["entry"]["by"].as_str().unwrap();
    for place in &places {
        for home in ["deployer", "fresh"] {
            for scope in [&at, &mirror, &NAME.to_owned()] {
                stage.by(home, format!("trust add {scope} --collection {NAME} --root {root}")).await.ok();
            }
            let report = verify(home, place).await;
            assert_eq!(because(&report), "revocation.bundle", "{place}: {report:#}");
            let because = &report["result"]["bundles"][0]["because"];
            let said = because["detail"].as_str().unwrap();
            assert!(
                said.contains(by) && said.contains("CVE-2026-1234") && said.contains("2026-05-01T12:00:00Z"),
                "{said}"
            );
            assert_eq!(
                (&because["data"]["by"], &because["data"]["reason"]),
                (&by.into(), &"CVE-2026-1234".into())
            );
        }
    }
    stage.by("deployer", format!("verify {at}:v2")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_revoke() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    let at = stage.at();
    for (line, reason, exit, code) in [
        (format!("revoke {at}"), "x", 2, "usage"),
        (format!("revoke {at}:v1"), " ", 2, "usage"),
        (format!("revoke {at}:v1"), "a\nb", 2, "usage"),
        (format!("revoke {at}:v1 --undo abc"), "x", 2, "usage"),
        (format!("revoke {at} --undo abc"), "x", 1, "revoke.no-entry"),
        (format!("revoke {at}:v7"), "x", 1, "revoke.unlisted"),
        (format!("revoke {at}@sha512:{}", "0".repeat(128)), "x", 2, "publish.unsupported"),
        ("revoke registry.example.com/other:v1".to_owned(), "x", 2, "anchor.none"),
    ] {
        let ran = args(&stage, "publisher", words(&format!("{line} --format json"), reason)).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (exit, Some(code)), "{line}: {ran:#?}");
    }
    std::fs::rename(stage.path("publisher/keys/app-releases.pem"), stage.path("away.pem")).unwrap();
    let ran = args(&stage, "publisher", words(&format!("revoke {at}:v1 --format json"), "x")).await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some("key.missing")), "{ran:#?}");
    let ran = args(
        &stage,
        "publisher",
        words(&format!("revoke {at}:v1 --releases-key {}", stage.path("away.pem")), "x"),
    );
    assert_eq!(ran.await.exit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_only_with_its_fingerprint_and_what_was_seen_is_forgotten() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    for stage in [&stage, &other] {
        stage.init().await;
        stage.publish("v1").await.ok();
    }
    stage.deployer().await;
    let at = stage.at();
    stage.by("deployer", format!("verify {at}:v1")).await.ok();
    let (old, new) = (stage.path("1.root.json"), other.path("1.root.json"));
    let said = stage.by("other", format!("trust fingerprint {new}")).await.ok();
    let fingerprint = said.lines().next().unwrap().to_owned();
    let own = stage.by("other", format!("trust fingerprint {old}")).await.ok();
    let own = own.lines().next().unwrap();
    for (line, exit, code) in [
        (
            format!("trust replace {at} --root {new} --fingerprint sha256:{}", "0".repeat(64)),
            1,
            "trust.fingerprint",
        ),
        (format!("trust replace example.com/x --root {new} --fingerprint {fingerprint}"), 2, "trust.absent"),
    ] {
        let ran = stage.by("deployer", format!("{line} --format json")).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (exit, Some(code)), "{line}: {ran:#?}");
    }
    let line = format!("trust replace {at} --root {old} --fingerprint {own}");
    assert!(stage.by("deployer", line).await.ok().starts_with("unchanged "));
    let ran = stage
        .by("deployer", format!("trust replace {at} --root {new} --fingerprint {fingerprint} --format json"))
        .await;
    let json = ran.json();
    assert_eq!(
        (ran.exit, json["result"]["anchors"].as_array().unwrap().len(), &json["result"]["forgotten"]),
        (0, 2, &1.into()),
        "{json:#}"
    );
    let list = stage.by("deployer", "trust list".into()).await.ok();
    assert!(list.contains(&fingerprint) && !list.contains(own), "{list}");
    let report = stage.by("deployer", format!("verify {at}:v1 --format json")).await;
    assert_eq!(
        (report.exit, because(&report.json()).as_str()),
        (1, "tuf.timestamp.threshold"),
        "{report:#?}"
    );
}

/// A threshold of root keys is lost: a new root, handed out by another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_begins_anew_under_another_root_and_keeps_its_revocations() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.publish("v2").await.ok();
    stage.deployer().await;
    let at = stage.at();
    let digest = stage.by("deployer", format!("verify {at}:v1 --format json")).await.json();
    let digest = digest["result"]["bundles"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(args(&stage, "publisher", words(&format!("revoke {at}@{digest}"), "CVE")).await.exit, 0);

    let fresh = format!("init {NAME} --at {at} --root-file {}", stage.path("new.root.json"));
    let refused = stage.by("publisher", format!("{fresh} --format json")).await;
    assert_eq!(
        (refused.exit, refused.json()["error"]["code"].as_str()),
        (1, Some("init.exists")),
        "{refused:#?}"
    );
    let stranger = stage.by("stranger", format!("{fresh} --replace --format json")).await;
    assert_eq!(
        (stranger.exit, stranger.json()["error"]["code"].as_str()),
        (2, Some("anchor.none")),
        "{stranger:#?}"
    );
    // No key of the root that is given up comes along, whatever it signed there: with the old online key users whose memory
    // begins at a later root would refuse the new collection for ever.
    for (option, key) in [
        ("online", "app-online"),
        ("releases", "app-releases"),
        ("targets", "app-targets"),
        ("root", "app-root"),
    ] {
        let line = format!("{fresh} --replace --{option}-key {key} --format json");
        for ending in ["pem", "pub"] {
            let (at, away) = (format!("publisher/keys/{key}.{ending}"), format!("kept.{key}.{ending}"));
            std::fs::copy(stage.path(&at), stage.path(&away)).unwrap();
        }
        let all = ["app-root", "app-targets", "app-releases", "app-online"];
        for other in all.iter().filter(|other| **other != key) {
            for ending in ["pem", "pub"] {
                let at = stage.path(&format!("publisher/keys/{other}.{ending}"));
                std::fs::rename(&at, format!("{at}.away")).unwrap();
            }
        }
        let refused = stage.by("publisher", line).await;
        assert_eq!(
            (refused.exit, refused.json()["error"]["code"].as_str()),
            (2, Some("init.retired-key")),
            "{refused:#?}"
        );
        // Keys that were made for the others are not kept for this test.
        for other in all.iter().filter(|other| **other != key) {
            for ending in ["pem", "pub"] {
                let at = stage.path(&format!("publisher/keys/{other}.{ending}"));
                std::fs::rename(format!("{at}.away"), &at).unwrap();
            }
        }
    }
    for name in ["root", "targets", "releases", "online"] {
        for ending in ["pem", "pub"] {
            std::fs::rename(
                stage.path(&format!("publisher/keys/app-{name}.{ending}")),
                stage.path(&format!("{name}.{ending}")),
            )
            .unwrap();
        }
    }
    stage.by("publisher", format!("{fresh} --replace")).await.ok();
    stage.by("publisher", format!("publish {at}:v2")).await.ok();
    let list = stage.by("publisher", "trust list".into()).await.ok();
    let old = stage.by("other", format!("trust fingerprint {}", stage.path("1.root.json"))).await.ok();
    assert!(!list.contains(old.lines().next().unwrap()), "{list}");

    // Who has the old root goes by the old seal as of its date, and never by the new state; who replaces the root does, and
    // the revocation still holds.
    let before = stage.by("deployer", format!("verify {at}:v2 --format json")).await.json();
    let anchor = &before["result"]["bundles"][0]["anchors"][0];
    assert!(["seal", "memory"].contains(&anchor["evidence"].as_str().unwrap()), "{before:#}");
    let checks = anchor["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|c| c["code"] == "tuf.timestamp.threshold" && c["outcome"] == "note"),
        "{before:#}"
    );
    let new = stage.path("new.root.json");
    let said = stage.by("other", format!("trust fingerprint {new}")).await.ok();
    let fingerprint = said.lines().next().unwrap();
    stage.by("deployer", format!("trust replace {at} --root {new} --fingerprint {fingerprint}")).await.ok();
    stage.by("deployer", format!("verify {at}:v2")).await.ok();
    let still = stage.by("deployer", format!("verify {at}@{digest} --format json")).await;
    assert_eq!(because(&still.json()), "revocation.bundle");

    // Nothing here was affected by the revoked bundle but what was verified before: the audit says so.
    let ran = stage.by("deployer", format!("audit {at} --format json")).await;
    assert!([0, 1, 3].contains(&ran.exit) && ran.json()["result"]["introduced"].is_array(), "{ran:#?}");
    let v2 = ran.json()["result"]["introduced"]
        .as_array()
        .unwrap()
        .iter()
        .any(|i| i["installed"][0]["done"] == "verified");
    assert!(v2, "{ran:#?}");
}

/// Whoever stole root's keys holds those of the revocations, too: a list of theirs takes nothing back that is remembered here.
#[tokio::test(flavor = "multi_thread")]
async fn beginning_anew_takes_over_no_undoing_that_a_thief_may_have_made() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let at = stage.at();
    let report = stage.by("deployer", format!("verify {at}:v1 --format json")).await.json();
    let digest = report["result"]["bundles"][0]["digest"].as_str().unwrap().to_owned();
    let revoked =
        args(&stage, "publisher", words(&format!("revoke {at}@{digest} --format json"), "CVE")).await;
    let id = revoked.json()["result"]["entry"]["id"].as_str().unwrap().to_owned();
    // The thief has all the keys, and a home of their own.
    std::fs::create_dir_all(stage.path("thief/keys")).unwrap();
    for key in std::fs::read_dir(stage.path("publisher/keys")).unwrap() {
        let key = key.unwrap();
        std::fs::copy(key.path(), std::path::Path::new(&stage.path("thief/keys")).join(key.file_name()))
            .unwrap();
    }
    let root = stage.path("1.root.json");
    for scope in [NAME.to_owned(), at.clone()] {
        stage.by("thief", format!("trust add {scope} --root {root} --collection {NAME}")).await.ok();
    }
    let line = format!("revoke {at} --undo {id} --dangerously-without-memory stolen");
    assert_eq!(args(&stage, "thief", words(&line, "nothing")).await.exit, 0);
    for key in std::fs::read_dir(stage.path("publisher/keys")).unwrap() {
        std::fs::remove_file(key.unwrap().path()).unwrap();
    }
    let new = stage.path("new.root.json");
    let line = format!("init {NAME} --at {at} --root-file {new} --replace --format json");
    let made = stage.by("publisher", line).await;
    let notes = made.json()["notes"].clone();
    let left = notes.as_array().unwrap().iter().find(|n| n["code"] == "revocation.left-out");
    assert!(left.is_some_and(|n| n["message"].as_str().unwrap().contains(&id)), "{made:#?}");
    let again = stage.by("publisher", format!("publish {at}@{digest} --tag v1")).await;
    assert_eq!(again.exit, 1, "{again:#?}");
    stage.by("late", format!("trust add {at} --root {new} --collection {NAME}")).await.ok();
    let judged = stage.by("late", format!("verify {at}@{digest} --format json")).await.json();
    assert_eq!(because(&judged), "revocation.bundle", "{judged:#}");
}
