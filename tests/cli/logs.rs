//! The log of what was verified here, as `audit` reads it; and what of an installation's trust goes to another one.

use serde_json::Value;

use crate::releases::{NAME, Stage};

fn code(json: &Value) -> (u64, &str) {
    (json["exitCode"].as_u64().unwrap(), json["error"]["code"].as_str().unwrap_or("none"))
}

fn notes(json: &Value) -> Vec<&str> {
    json["notes"].as_array().unwrap().iter().map(|n| n["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_that_a_crash_cut_off_stops_no_audit_and_one_in_the_middle_does() {
    let stage = Stage::new().await;
    stage.init().await;
    for tag in ["v1", "v2"] {
        stage.publish(tag).await.ok();
    }
    stage.deployer().await;
    let at = stage.at();
    for tag in ["v1", "v2"] {
        stage.by("deployer", format!("verify {at}:{tag}")).await.ok();
    }
    let log = stage.path("deployer/installed.jsonl");
    let whole = std::fs::read(&log).unwrap();
    assert_eq!(whole.iter().filter(|b| **b == b'\n').count(), 2);
    let audit = async || stage.by("deployer", format!("audit {at} --format json")).await.json();
    let before = audit().await;
    assert_eq!((code(&before), notes(&before)), ((0, "none"), vec![]), "{before:#}");

    let torn = &whole[..whole.len() - 20];
    std::fs::write(&log, torn).unwrap();
    let said = audit().await;
    assert_eq!((code(&said), notes(&said)), ((0, "none"), vec!["installed.torn"]), "{said:#}");
    assert_eq!((&said["result"]["unreadLines"], &said["result"]["whole"]), (&0.into(), &true.into()));
    // The next line stands alone; what was cut off is set aside, and nothing is said any more.
    stage.by("deployer", format!("verify {at}:v2")).await.ok();
    let said = audit().await;
    assert_eq!((code(&said), notes(&said)), ((0, "none"), vec![]), "{said:#}");
    assert!(std::path::Path::new(&format!("{log}.torn")).exists());

    // With its end, or before others: something else than a crash of the one who wrote it.
    let first = whole.iter().position(|b| *b == b'\n').unwrap();
    for damaged in [[torn, b"\n"].concat(), [&whole[..first - 20], &whole[first..]].concat()] {
        std::fs::write(&log, damaged).unwrap();
        let said = audit().await;
        assert_eq!((code(&said), &said["result"]["unreadLines"]), ((3, "audit.gap"), &1.into()), "{said:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_here_is_warned_of_elsewhere() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let at = stage.at();
    let revoke = format!("revoke {at}:v1 --advisory --reason soon");
    stage.by("publisher", revoke).await.ok();
    let advisory = async |home: &'static str| {
        let said = stage.by(home, format!("verify {at}:v1 --format json")).await.json();
        let checks = said["result"]["bundles"][0]["anchors"][0]["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|c| c["code"] == "revocation.advisory").unwrap()
    };
    let id = advisory("deployer").await["data"]["id"].as_str().unwrap().to_owned();
    stage.by("deployer", format!("trust acknowledge {id}")).await.ok();
    assert_eq!(advisory("deployer").await["outcome"], "pass");
    let out = stage.path("handed-on.json");
    stage.by("deployer", format!("trust export --output {out}")).await.ok();
    std::fs::create_dir_all(stage.path("other")).unwrap();
    std::fs::copy(&out, stage.path("other/trust.json")).unwrap();
    assert_eq!(advisory("other").await["outcome"], "note");
    assert!(!std::fs::read_to_string(&out).unwrap().contains(&id));
}

/// The stolen root of a partner whose collection only stands among the sources of an anchor.
#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_source_is_replaced_by_its_name() {
    let (stage, anew) = (Stage::new().await, Stage::new().await);
    for stage in [&stage, &anew] {
        stage.init().await;
    }
    let other = "example.org/security";
    let (old, new, own) = (stage.path("old.json"), anew.path("new.json"), stage.path("1.root.json"));
    for (stage, root) in [(&stage, &old), (&anew, &new)] {
        let at = format!("{}/security", stage.registry.host());
        stage.by("partner", format!("init {other} --at {at} --root-file {root}")).await.ok();
    }
    let at = stage.at();
    let sources = format!("--source {NAME} --source {other},root={old}");
    let added =
        stage.by("deployer", format!("trust add {at} --collection {NAME} --root {own} {sources}")).await;
    assert_eq!(added.exit, 0, "{added:#?}");
    let fingerprint = async |root: &str| {
        let said = stage.by("deployer", format!("trust fingerprint {root}")).await.ok();
        said.lines().next().unwrap().to_owned()
    };
    let (before, after) = (fingerprint(&old).await, fingerprint(&new).await);
    let listed = async || stage.by("deployer", "trust list --format json".into()).await.out;
    assert!(listed().await.contains(&before));
    let line = format!("trust replace {other} --root {new} --fingerprint {after} --format json");
    let replaced = stage.by("deployer", line).await.json();
    assert_eq!(
        (code(&replaced), &replaced["result"]["anchors"].as_array().unwrap().len()),
        ((0, "none"), &1)
    );
    let now = listed().await;
    assert!(now.contains(&after) && !now.contains(&before), "{now}");
}
