//! `renew --loop` as a process: its lines, its end by a signal, and a setup that is wrong.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::workshop::{NAME, Workshop};
use crate::registry::Fault;

/// The next line that the process writes.
async fn line(child: &mut BufReader<tokio::process::ChildStdout>) -> Value {
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), child.read_line(&mut text)).await;
    read.unwrap().unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_renews_survives_an_outage_and_ends_when_told() {
    let shop = Workshop::new(false).await;
    shop.build().await;
    shop.publish().await;
    for how in ["-TERM", "-INT"] {
        let mut child = shop
            .spawn("publisher", &format!("renew {} --loop --every 1s --plain-http --format json", shop.at()));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let first = line(&mut out).await;
        assert_eq!(
            (&first["schemaVersion"], &first["command"], &first["exitCode"]),
            (&1.into(), &"renew".into(), &0.into())
        );
        assert_eq!((&first["result"]["status"], &first["result"]["round"]), (&"current".into(), &1.into()));
        shop.server.fault(Fault::on("*", "*").status(403));
        let failed = loop {
            let next = line(&mut out).await;
            if next["exitCode"] != 0 {
                break next;
            }
        };
        assert_eq!((&failed["result"]["status"], &failed["exitCode"]), (&"failed".into(), &3.into()));
        assert!(failed["error"]["code"].as_str().unwrap().starts_with("registry."), "{failed:#}");
        shop.server.behave();
        let after = loop {
            let next = line(&mut out).await;
            if next["exitCode"] == 0 {
                break next;
            }
        };
        assert_eq!(after["result"]["failures"], 0);
        signal(&child, how);
        let mut last = line(&mut out).await;
        while last["result"]["status"] != "stopped" {
            last = line(&mut out).await;
        }
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
    }
    shop.trust(&[shop.at()]).await;
    shop.ok("deployer", &format!("verify {}:v1 --plain-http", shop.at())).await;
}

/// A service manager learns that the last round failed.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_after_a_failed_round_ends_with_its_exit_code() {
    let shop = Workshop::new(false).await;
    shop.build().await;
    shop.publish().await;
    let mut child =
        shop.spawn("publisher", &format!("renew {} --loop --every 1s --plain-http --format json", shop.at()));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut out).await["exitCode"], 0);
    shop.server.fault(Fault::on("*", "*").status(403));
    while line(&mut out).await["exitCode"] == 0 {}
    signal(&child, "-TERM");
    let mut last = line(&mut out).await;
    while last["result"]["status"] != "stopped" {
        last = line(&mut out).await;
    }
    assert_eq!(last["exitCode"], 3);
    assert!(last["error"]["code"].as_str().unwrap().starts_with("registry."), "{last:#}");
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setup_ends_it_at_once() {
    let shop = Workshop::new(false).await;
    let root = shop.path("1.root.json");
    shop.ok("job", &format!("trust add {} --collection {NAME} --root {}", shop.at(), root.display())).await;
    let ended = shop.run("job", &format!("renew {} --loop --plain-http --format json", shop.at())).await;
    assert_eq!(ended.status.code(), Some(3));
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["error"]["code"], "memory.missing");
}

/// An organisation with two members of its own and one of somebody else, as one service; one of them away for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_renews_an_organisation_and_its_members() {
    let shop = Workshop::new(false).await;
    let host = shop.server.host().to_string();
    let keys =
        "--root-key root --targets-key targets --releases-key releases --online-key online --plain-http";
    let root = |name: &str| shop.path(&format!("{name}.json")).display().to_string();
    let org = format!("{host}/org");
    shop.ok("publisher", &format!("init --organisation {org} --root-file {} {keys}", root("org"))).await;
    for app in ["a", "b"] {
        let line = format!("init {org}/{app} --root-file {} {keys}", root(app));
        shop.ok("publisher", &line).await;
        let add = format!("tuf member add {org} {org}/{app} --root {} --plain-http", root(app));
        shop.ok("publisher", &add).await;
    }
    let mut child = shop.spawn(
        "publisher",
        &format!("renew {org} --organisation --loop --every 1s --plain-http --format json"),
    );
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let first = line(&mut out).await;
    assert_eq!((&first["exitCode"], &first["result"]["round"]), (&0.into(), &1.into()), "{first:#}");
    let members = |said: &Value| -> Vec<String> {
        let all = said["result"]["members"].as_array().unwrap().iter();
        all.map(|m| m["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(members(&first), ["current", "current"]);
    shop.server.fault(Fault::on("*", "/v2/org/b/*").status(403));
    let failed = loop {
        let next = line(&mut out).await;
        if next["exitCode"] != 0 {
            break next;
        }
    };
    assert_eq!(members(&failed), ["current", "failed"], "{failed:#}");
    assert_eq!((&failed["error"]["code"], &failed["exitCode"]), (&"renew.members".into(), &3.into()));
    shop.server.behave();
    while line(&mut out).await["exitCode"] != 0 {}
    signal(&child, "-TERM");
    let mut last = line(&mut out).await;
    while last["result"]["status"] != "stopped" {
        last = line(&mut out).await;
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// What was begun under a root that was given up since signs nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_ends_when_the_root_is_replaced() {
    let (shop, anew) = (Workshop::new(false).await, Workshop::new(false).await);
    let mut child =
        shop.spawn("publisher", &format!("renew {} --loop --every 1s --plain-http --format json", shop.at()));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut out).await["exitCode"], 0);
    let root = anew.path("1.root.json").display().to_string();
    let said = shop.ok("publisher", &format!("trust fingerprint {root}")).await;
    let fingerprint = said.lines().next().unwrap();
    shop.ok("publisher", &format!("trust replace {} --root {root} --fingerprint {fingerprint}", shop.at()))
        .await;
    let state = |shop: &Workshop| shop.server.requests().iter().filter(|r| r.method == "PUT").count();
    // Rounds are lines; the error that ends it is the document of a command.
    let mut text = String::new();
    while text.is_empty() || serde_json::from_str::<Value>(&text).is_ok() {
        text.clear();
        assert_ne!(out.read_line(&mut text).await.unwrap(), 0);
    }
    out.read_to_string(&mut text).await.unwrap();
    let last: Value = serde_json::from_str(&text).unwrap();
    let puts = state(&shop);
    assert_eq!((&last["error"]["code"], &last["exitCode"]), (&"renew.root-replaced".into(), &3.into()));
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert_eq!(state(&shop), puts);
}
