//! Organisations and root packs, from the command line.

use std::fs;
use std::path::Path;

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Registry};
use crate::run::Bulla;

const NAME: &str = "example.com/org";

/// A home whose owner made the collection NAME in the layout `layout`, with its root in `1.root.json`.
fn owner() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let line = format!("init {NAME} --at oci:{} --root-file {}", at("layout"), at("1.root.json"));
    Bulla::at(&dir.path().join("publisher")).var("BULLA_PASSWORD", "p").run(&line).ok();
    dir
}

fn pack(dir: &Path, name: &str, sha256: &str) {
    let text = format!(
        r#"{{"schemaVersion": 1, "scope": "{NAME}/*", "collection": "{NAME}", "organisation": true, "root": "{name}.root.json", "sha256": "{sha256}"}}"#
    );
    fs::write(dir.join(format!("{name}.pack.json")), text).unwrap();
}

#[test]
fn root_packs_are_taken_over_all_or_none() {
    let dir = owner();
    let deployer = || Bulla::at(&dir.path().join("deployer"));
    let root = fs::read(dir.path().join("1.root.json")).unwrap();
    let sha256 = bulla::oci::Digest::sha256(&root).hex().to_owned();
    let packs = dir.path().join("roots.d");
    fs::create_dir(&packs).unwrap();
    let import = format!("trust import {} --format json", packs.display());
    let code = |ran: crate::run::Ran| (ran.exit, ran.json()["error"]["code"].as_str().map(str::to_owned));
    assert_eq!(code(deployer().run(&import)), (1, Some("trust.pack".into())), "no pack");
    fs::write(packs.join("org.root.json"), &root).unwrap();
    pack(&packs, "org", &sha256);
    // A second one whose root is another file than it says.
    pack(&packs, "other", &sha256);
    fs::write(packs.join("other.root.json"), "{}").unwrap();
    assert_eq!(code(deployer().run(&import)), (1, Some("trust.pack".into())));
    assert!(!deployer().run("trust list").ok().contains(NAME));
    fs::remove_file(packs.join("other.pack.json")).unwrap();
    let said = deployer().run(&import).json();
    assert_eq!(said["result"]["anchors"][0]["organisation"], true, "{said:#}");
    assert_eq!(said["result"]["anchors"][0]["fingerprint"], format!("sha256:{sha256}"));
    assert!(deployer().run(&format!("trust import {}", packs.display())).ok().starts_with("unchanged"));
    assert!(deployer().run("trust list").ok().contains("members of example.com/org"));
}

#[test]
fn an_organisation_needs_a_prefix() {
    let dir = owner();
    let root = dir.path().join("1.root.json").display().to_string();
    let add = |scope: &str, more: &str| {
        let line = format!("trust add {scope} --organisation {NAME} --root {root} {more}");
        Bulla::at(&dir.path().join("deployer")).run(&line)
    };
    for (scope, more) in [
        (NAME, ""),
        ("*", ""),
        ("example.com", ""),
        ("mirror.example/org/*", "--collection example.com/x"),
        ("mirror.example/org/*", "--source example.com/org"),
    ] {
        assert_eq!(add(scope, more).exit, 2, "{scope} {more}");
    }
    let said = add("mirror.example/org/*", "").ok();
    assert!(said.contains("mirror.example/org/*  speaks for the members of example.com/org"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_says_that_no_state_of_the_organisation_was_found() {
    let dir = tokio::task::spawn_blocking(owner).await.unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let registry = Registry::start(Config::default()).await;
    let store = OciDir::create(dir.path().join("build")).await.unwrap();
    let image = bundles::image(&store, "app").await;
    store.push_manifest(&image, Some(&bundles::tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    let by = async |line: String| run(Bulla::at(&dir.path().join("deployer")), line).await;
    let app = format!("{}/org/app", registry.host());
    by(format!("copy oci:{}:v1 {app}", at("build"))).await.ok();
    let scope = format!("{}/org/*", registry.host());
    by(format!("trust add {scope} --organisation {NAME} --root {}", at("1.root.json"))).await.ok();
    let copy = async |to: &str| {
        let said = by(format!("copy {app}:v1 oci:{} --format json", at(to))).await.json();
        let notes = said["notes"].as_array().unwrap().clone();
        let found = notes.iter().find(|n| n["code"] == "copy.organisation-absent");
        (said["exitCode"].clone(), found.map(|n| n["message"].as_str().unwrap().to_owned()))
    };
    let (exit, absent) = copy("stick").await;
    assert!(
        exit == 0 && absent.as_ref().is_some_and(|m| m.contains(NAME) && !m.contains("passed over")),
        "{absent:?}"
    );
    // What lies at its tag and is none is named.
    let tag = NAME.parse::<bulla::tuf::CollectionName>().unwrap().state_tag();
    by(format!("copy oci:{}:v1 {}/org:{tag}", at("build"), registry.host())).await.ok();
    let (exit, junk) = copy("stick2").await;
    let place = format!("{}/org", registry.host());
    assert!(
        exit == 0 && junk.as_ref().is_some_and(|m| m.contains("passed over") && m.contains(&place)),
        "{junk:?}"
    );
    // Where it lies there is nothing to say.
    by(format!("copy oci:{}:{tag} {}/there:{tag}", at("layout"), registry.host())).await.ok();
    let more = format!("--state-at {}/there", registry.host());
    by(format!("trust add {scope} --organisation {NAME} --root {} {more}", at("1.root.json"))).await.ok();
    assert_eq!(copy("stick3").await, (0.into(), None));
}
