//! `oci-archive:` from the command line: the main job with a tar file in every place.

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Registry};
use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

async fn by(home: &std::path::Path, who: &str, line: String) -> Ran {
    run(Bulla::at(&home.join(who)).var("BULLA_PASSWORD", "p"), line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_travels_in_a_tar_file_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let at = |name: &str| home.join(name).display().to_string();
    let build = OciDir::create(home.join("build")).await.unwrap();
    let (root, _) = bundles::two_arch(&build, "archive").await;
    build.push_manifest(&root, Some(&bundles::tag("v1"))).await.unwrap();
    let other = bundles::image(&build, "other").await;
    build.push_manifest(&other, Some(&bundles::tag("v2"))).await.unwrap();
    build.flush().await.unwrap();
    let registry = Registry::start(Config::default()).await;
    let place = format!("{}/team/app", registry.host());

    // What is published comes out of one archive and goes into another.
    by(home, "publisher", format!("copy oci:{}:v1 oci-archive:{}", at("build"), at("build.tar"))).await.ok();
    by(home, "publisher", format!("copy oci:{}:v2 oci-archive:{}", at("build"), at("build.tar"))).await.ok();
    by(home, "publisher", format!("init {NAME} --at {place} --root-file {}", at("1.root.json"))).await.ok();
    for tag in ["v1", "v2"] {
        let line = format!("publish --from oci-archive:{}:{tag} {place} --tag {tag}", at("build.tar"));
        by(home, "publisher", line).await.ok();
        by(home, "publisher", format!("copy {place}:{tag} oci-archive:{}", at("stick.tar"))).await.ok();
    }
    by(home, "deployer", format!("trust add {NAME} --root {}", at("1.root.json"))).await.ok();
    for tag in ["v1", "v2"] {
        let reference = format!("oci-archive:{}:{tag}", at("stick.tar"));
        let verified = by(home, "deployer", format!("verify {reference} --as {NAME}")).await.ok();
        assert!(verified.starts_with(&format!("trusted   {reference}")), "{verified}");
        assert!(by(home, "deployer", format!("tree {reference}")).await.ok().contains("state bulla."));
    }
    let digest = format!("oci-archive:{}@{}", at("stick.tar"), root.digest());
    by(home, "deployer", format!("verify {digest} --as {NAME}")).await.ok();
    let inspected = by(home, "deployer", format!("inspect {digest} --format json")).await.json();
    assert_eq!(inspected["error"], serde_json::Value::Null, "{inspected:#}");

    // And on to a registry that has never seen it.
    let far = Registry::start(Config::default()).await;
    let there = format!("{}/mirror/app", far.host());
    let copied = by(home, "deployer", format!("copy oci-archive:{}:v1 {there}", at("stick.tar"))).await.ok();
    assert!(copied.contains("checked   "), "{copied}");
    let digest = format!("{there}@{}", root.digest());
    by(home, "deployer", format!("trust add {there} --root {} --collection {NAME}", at("1.root.json")))
        .await
        .ok();
    by(home, "deployer", format!("verify {digest}")).await.ok();
}

/// Several sources in one run: the archive is written once, and a full disk fails all of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_bundles_go_into_one_tar_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let at = |name: &str| home.join(name).display().to_string();
    let build = OciDir::create(home.join("build")).await.unwrap();
    let mut images = Vec::new();
    for i in 0..5 {
        let image = bundles::image(&build, &format!("many/{i}")).await;
        build.push_manifest(&image, Some(&bundles::tag(&format!("v{i}")))).await.unwrap();
        bundles::refer(&build, &image, "application/vnd.example.r", &format!("r{i}")).await;
        images.push(image);
    }
    build.flush().await.unwrap();
    let line = format!("copy --all-tags oci:{} oci-archive:{}", at("build"), at("all.tar"));
    by(home, "user", line.clone()).await.ok();
    let archive = bulla::store::archive::OciArchive::open(at("all.tar")).await.unwrap();
    for (i, image) in images.iter().enumerate() {
        let found = archive.resolve(&bundles::by_tag(&format!("v{i}"))).await.unwrap();
        assert_eq!(found.as_ref(), Some(image));
        assert_eq!(archive.referrers(image.digest(), None).await.unwrap().len(), 1);
    }
    let before = std::fs::read(at("all.tar")).unwrap();
    by(home, "user", line).await.ok();
    assert!(std::fs::read(at("all.tar")).unwrap() == before, "nothing is left to do");
}

/// Signing in the archive itself: every commit writes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_lives_in_a_tar_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let at = |name: &str| home.join(name).display().to_string();
    let build = OciDir::create(home.join("build")).await.unwrap();
    let image = bundles::image(&build, "lives").await;
    build.push_manifest(&image, Some(&bundles::tag("v1"))).await.unwrap();
    build.flush().await.unwrap();
    let place = format!("oci-archive:{}", at("collection.tar"));
    by(home, "publisher", format!("init {NAME} --at {place} --root-file {}", at("1.root.json"))).await.ok();
    by(home, "publisher", format!("publish --from oci:{}:v1 {place} --tag v1", at("build"))).await.ok();
    by(home, "publisher", format!("renew {place}")).await.ok();
    by(home, "deployer", format!("trust add {NAME} --root {}", at("1.root.json"))).await.ok();
    by(home, "deployer", format!("verify {place}:v1 --as {NAME}")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_said_with_a_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let at = |name: &str| home.join(name).display().to_string();
    std::fs::write(home.join("packed.tar.gz"), b"\x1f\x8b\x08\0\0\0").unwrap();
    std::fs::write(home.join("plain.txt"), vec![b'x'; 2000]).unwrap();
    std::fs::create_dir(home.join("folder")).unwrap();
    for (reference, word) in [
        (format!("oci-archive:{}:v1", at("packed.tar.gz")), "gunzip"),
        (format!("oci-archive:{}:v1", at("plain.txt")), "no tar file"),
        (format!("oci-archive:{}:v1", at("absent.tar")), "does not exist"),
        (format!("oci-archive:{}:v1", at("folder")), "is a directory; write oci:"),
        (format!("oci:{}:v1", at("plain.txt")), "write oci-archive:"),
    ] {
        for line in [format!("tree {reference}"), format!("copy {reference} oci:{}", at("new"))] {
            let ran = by(home, "user", format!("{line} --format json")).await;
            let json = ran.json();
            assert_eq!((ran.exit, &json["error"]["code"]), (3, &"layout.invalid".into()), "{ran:#?}");
            assert!(json["error"]["reason"].as_str().unwrap().contains(word), "{json:#}");
            assert!(!json["error"]["next"].as_str().unwrap().is_empty(), "{json:#}");
        }
    }
    let ran = by(home, "user", "tree oci-archive:".to_owned()).await;
    assert!(ran.exit == 2 && ran.err.contains("needs a file"), "{ran:#?}");
    assert!(!home.join("new").exists());
}
