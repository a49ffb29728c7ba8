//! CNAB bundles by the real program: published, verified down to every image, copied with their thick archive.

use std::fs;

use bulla::oci::{Content, Digest, Manifest, Selector, media_type};
use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::{Value, json};

use super::bundles;
use super::workshop::{NAME, Workshop, words};
use crate::servers;

/// A workshop with a CNAB bundle in the layout `build` at `v1`, and its files beside it.
async fn shop(no_api: bool) -> (Workshop, Content) {
    let shop = Workshop::new(no_api).await;
    let store = OciDir::create(shop.path("build")).await.unwrap();
    let index = bundles::cnab(&store, "app").await;
    store.push_manifest(&index, Some(&bundles::tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    let blob = |digest: &Digest| fs::read(shop.path("build/blobs/sha256").join(digest.hex())).unwrap();
    let config = Manifest::parse(&index).unwrap().manifests[0].digest.clone();
    let config = Manifest::parse(&Content::new(media_type::OCI_MANIFEST, blob(&config))).unwrap();
    let bundle_json = blob(&config.config.unwrap().digest);
    let bundle: Value = serde_json::from_slice(&bundle_json).unwrap();
    let image = |i: &Value| {
        let digest = i["contentDigest"].as_str().unwrap();
        (i["image"].as_str().unwrap().to_owned(), json!(format!("{}@{digest}", shop.at())))
    };
    let map = [image(&bundle["invocationImages"][0]), image(&bundle["images"]["web"])];
    let map = Value::Object(map.into_iter().collect());
    fs::write(shop.path("bundle.json"), bundle_json).unwrap();
    fs::write(shop.path("map.json"), map.to_string()).unwrap();
    fs::write(shop.path("bundle.tgz"), bundles::noise("thick", 700_000)).unwrap();
    let publish = "publish --from oci:build:v1";
    let line = format!("{publish} {} --tag v1 --thick bundle.tgz --plain-http", shop.at());
    let released = shop.ok("publisher", &line).await;
    assert!(released.contains("parts 2"), "{released}");
    shop.trust(&[shop.at()]).await;
    (shop, index)
}

const FILES: &str = "--bundle-json bundle.json --thick bundle.tgz --relocation-mapping map.json";

#[tokio::test]
async fn a_cnab_bundle_is_verified_down_to_its_images_wherever_it_was_copied() {
    for no_api in [false, true] {
        let (shop, index) = shop(no_api).await;
        let said = shop.ok("deployer", &format!("verify {}:v1 {FILES} --plain-http", shop.at())).await;
        for code in ["cnab  ", "cnab.thin", "cnab.relocation", "cnab.listed", "cnab.thick", "cnab.images"] {
            assert!(said.contains(&format!("  pass        {code}")), "{code}\n{said}");
        }
        assert!(said.contains("CNAB-Sec level 2"), "{said}");
        // A copy carries the archive, and says the same without any network.
        shop.ok("deployer", &format!("copy {}:v1 oci:stick:v1 --plain-http", shop.at())).await;
        let archive = Digest::sha256(&fs::read(shop.path("bundle.tgz")).unwrap());
        let carried = shop.path("stick/blobs/sha256").join(archive.hex());
        fs::copy(&carried, shop.path("carried.tgz")).unwrap();
        let line = format!(
            "verify oci:stick:v1 --as {NAME} --thick carried.tgz --bundle-json bundle.json --format json"
        );
        let said: Value = serde_json::from_str(&shop.ok("deployer", &line).await).unwrap();
        let cnab = &said["result"]["bundles"][0]["cnab"];
        assert_eq!((&cnab["name"], &cnab["images"][1]["name"]), (&json!("app"), &json!("web")), "{cnab}");
        let level = cnab["checks"].as_array().unwrap().iter().find(|c| c["code"] == "cnab.level").unwrap();
        assert_eq!(level["data"]["level"], "2");
        // Another archive, another bundle.json, a map that lies.
        fs::write(shop.path("evil.tgz"), b"evil").unwrap();
        fs::write(shop.path("evil.json"), b"{}").unwrap();
        let evil = fs::read_to_string(shop.path("map.json"))
            .unwrap()
            .replace("example.com/web:1", "example.com/x:1");
        fs::write(shop.path("evil-map.json"), evil).unwrap();
        for (flag, code) in [
            ("--thick evil.tgz", "cnab.thick"),
            ("--bundle-json evil.json", "cnab.thin"),
            ("--relocation-mapping evil-map.json", "cnab.relocation"),
        ] {
            let out = shop.run("deployer", &format!("verify {}:v1 {flag} --plain-http", shop.at())).await;
            assert_eq!(out.status.code(), Some(1), "{}", words(&out));
            assert!(words(&out).contains(&format!("because {code}:")), "{}", words(&out));
        }
        // An image is gone from the copy.
        let image = Manifest::parse(&index).unwrap().manifests[1].digest.clone();
        fs::remove_file(shop.path("stick/blobs/sha256").join(image.hex())).unwrap();
        let out = shop.run("deployer", &format!("verify oci:stick:v1 --as {NAME}")).await;
        assert_eq!(out.status.code(), Some(3), "{}", words(&out));
        assert!(words(&out).contains("because cnab.image.absent:"), "{}", words(&out));
    }
}

/// docs/cnab.md counts them: two and one an image beside those of any bundle, which a plain index costs no more than before.
#[tokio::test]
async fn looking_into_a_cnab_bundle_costs_what_the_page_says() {
    let (shop, _) = shop(false).await;
    let store = OciDir::create(shop.path("plain")).await.unwrap();
    let (plain, _) = bundles::two_arch(&store, "plain").await;
    store.push_manifest(&plain, Some(&bundles::tag("p1"))).await.unwrap();
    store.flush().await.unwrap();
    shop.ok("publisher", &format!("publish --from oci:plain:p1 {} --tag p1 --plain-http", shop.at())).await;
    for (tag, most) in [("p1", 2), ("v1", 2 + 2 + 2)] {
        shop.ok("deployer", &format!("verify {}:{tag} --plain-http", shop.at())).await;
        shop.server.clear();
        shop.ok("deployer", &format!("verify {}:{tag} --plain-http", shop.at())).await;
        let asked = shop.server.requests();
        assert_eq!(asked.len(), most, "{}", shop.server.log());
    }
}

/// A registry that serves other bytes, or none, for a part of the bundle.
#[tokio::test]
async fn parts_that_cannot_be_read_decide_nothing() {
    let (shop, index) = shop(false).await;
    let config = Manifest::parse(&index).unwrap().manifests[0].digest.clone();
    let place = servers::repository(&shop.server, super::workshop::REPO);
    assert!(place.delete(&Selector::Digest(config)).await.unwrap());
    let out = shop.run("deployer", &format!("verify {}:v1 --plain-http", shop.at())).await;
    assert_eq!(out.status.code(), Some(3), "{}", words(&out));
    assert!(words(&out).contains("because cnab.unreadable:"), "{}", words(&out));
}
