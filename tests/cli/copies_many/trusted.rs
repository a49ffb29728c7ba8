//! Of many bundles only what is trusted.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_trusted_is_copied_and_the_rest_is_said() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let (at, build) = (stage.at(), stage.path("build"));
    // Somebody pushes another image beside the releases.
    stage.by("stranger", format!("copy oci:{build}:v2 {at}:evil")).await.ok();
    let mirror = format!("{}/mirror/app", stage.registry.host());
    let memory = stage.dir.path().join("deployer/memory");
    let before = std::fs::read_dir(&memory).map_or(0, Iterator::count);

    let ran = stage.by("deployer", format!("copy --verify {at}:evil {mirror} --format json")).await;
    let json = ran.json();
    assert_eq!((ran.exit, &json["error"]), (1, &Value::Null), "{ran:#?}");
    assert_eq!(json["result"]["status"], "refused");
    assert_eq!(json["result"]["verification"]["because"]["code"], "bundle.tag.unlisted");
    assert_eq!(stage.registry.tags("mirror/app"), [], "nothing arrived");
    assert!(
        std::fs::read_dir(&memory).map_or(0, Iterator::count) > before,
        "memory is written as verify does"
    );

    let text = stage.by("deployer", format!("copy --verify {at}:v1 {mirror}")).await.ok();
    assert!(text.contains(&format!("          verified as {at}")), "{text}");
    let all = stage.by("deployer", format!("copy --verify --all-tags {at} {mirror}")).await;
    assert_eq!(all.exit, 1, "{all:#?}");
    assert!(all.out.contains("refused") && all.out.contains("bundle.tag.unlisted"), "{}", all.out);
    assert!(all.out.ends_with("1 of 2 copied, 0 B moved, 1 referrers listed\n"), "{}", all.out);

    // What cannot be decided is not copied either.
    stage.registry.fault(Fault::on("GET", "/v2/team/app/manifests/bulla.*").status(403));
    let home = "second-deployer";
    let root = stage.path("1.root.json");
    stage.by(home, format!("trust add {at} --collection {} --root {root}", crate::releases::NAME)).await.ok();
    let ran = stage.by(home, format!("copy --verify {at}:v1 oci:{} --format json", stage.path("open"))).await;
    assert_eq!((ran.exit, &ran.json()["result"]["status"]), (3, &"undecided".into()), "{ran:#?}");
    assert!(!Path::new(&stage.path("open")).exists());
    stage.registry.behave();

    // From a layout under a name.
    let (stick, name) = (stage.path("stick"), crate::releases::NAME);
    stage.by("deployer", format!("copy {at}:v1 oci:{stick}")).await.ok();
    let line = format!("copy --verify oci:{stick}:v1 {mirror}-two");
    let open = stage.by("deployer", format!("{line} --format json")).await;
    assert_eq!(code(&open), (2, "anchor.ambiguous".into()), "{open:#?}");
    stage.by("deployer", format!("{line} --as {name}")).await.ok();
    let other = stage.by("deployer", format!("{line} --as {name}:v9 --format json")).await;
    assert_eq!((other.exit, &other.json()["result"]["status"]), (1, &"refused".into()), "{other:#?}");
}

/// The digest that was verified is copied, although the tag moves at once after it was judged.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_after_it_was_judged_is_not_followed() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let at = stage.at();
    stage.by("stranger", format!("copy oci:{}:v2 {at}:evil", stage.path("build"))).await.ok();
    let tags = stage.registry.tags("team/app");
    let digest = |tag: &str| tags.iter().find(|(t, _)| t == tag).unwrap().1.clone();
    let (good, evil) = (digest("v1"), digest("evil"));
    let moved = evil.clone();
    stage.registry.hook(move |request, state| {
        if request.is("GET", "/v2/team/app/manifests/v1") {
            state.set_tag("team/app", "v1", Some(&moved));
        }
    });
    let mirror = format!("{}/mirror/app", stage.registry.host());
    let ran = stage.by("deployer", format!("copy --verify {at}:v1 {mirror} --format json")).await;
    assert_eq!((ran.exit, &ran.json()["result"]["digest"]), (0, &good.clone().into()), "{ran:#?}");
    assert!(stage.registry.tags("mirror/app").contains(&("v1".to_owned(), good)));
    assert!(stage.registry.tags("team/app").contains(&("v1".to_owned(), evil)), "it did move");
}

/// A newer state speaks of tags that were not copied with it.
#[tokio::test(flavor = "multi_thread")]
async fn tags_that_a_newer_state_does_not_confirm_are_named() {
    let (stage, at, mirror) = moved_on().await;
    stage.by("stranger", format!("copy oci:{}:v2 {mirror}:own", stage.path("build"))).await.ok();
    let digests: std::collections::BTreeMap<_, _> = stage.registry.tags("team/app").into_iter().collect();
    let ran = stage.by("deployer", format!("copy {at}:v1 {mirror} --format json")).await;
    let json = ran.json();
    assert_eq!(json["result"]["states"][0]["action"], "replaced", "{json:#}");
    let unconfirmed = json["result"]["unconfirmed"].as_array().unwrap();
    assert_eq!(unconfirmed.len(), 1, "{json:#}");
    assert_eq!(
        (&unconfirmed[0]["tag"], &unconfirmed[0]["listed"]),
        (&"v2".into(), &digests["v1"].clone().into())
    );
    assert_eq!(json["notes"][0]["code"], "copy.tag-unconfirmed");
    let root = stage.path("1.root.json");
    stage
        .by("deployer", format!("trust add {mirror} --collection {} --root {root}", crate::releases::NAME))
        .await
        .ok();
    let later = "2026-05-01T13:00:00Z";
    let refused = stage.later("deployer", later, format!("verify {mirror}:v2")).await;
    assert!(refused.exit == 1 && refused.out.contains("bundle.tag.moved"), "{refused:#?}");
    // Again, nothing moves and nothing is asked of other tags.
    stage.registry.clear();
    let again = stage.by("deployer", format!("copy {at}:v1 {mirror} --format json")).await.json();
    assert_eq!(again["result"]["unconfirmed"].as_array().unwrap().len(), 0, "{again:#}");
    assert_eq!(stage.registry.count("*", "/v2/mirror/app/manifests/v2"), 0);
    // The copy of v2 mends it.
    stage.by("deployer", format!("copy {at}:v2 {mirror}")).await.ok();
    stage.later("deployer", later, format!("verify {mirror}:v2")).await.ok();
}

/// The look comes when all is copied: what the same run brings is not called unconfirmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_brings_all_tags_leaves_none_unconfirmed() {
    let (stage, at, mirror) = moved_on().await;
    let ran = stage.by("deployer", format!("copy {at}:v1 {at}:v2 {mirror} --format json")).await;
    let json = ran.json();
    let copies = json["result"]["copies"].as_array().unwrap();
    assert_eq!(copies[0]["states"][0]["action"], "replaced", "{json:#}");
    assert!(copies.iter().all(|c| c["unconfirmed"] == serde_json::json!([])), "{json:#}");
    assert!(!ran.out.contains("copy.tag-un"), "{json:#}");

    // Where the destination does not list its tags, that is said.
    let far = format!("{}/far/app", stage.registry.host());
    stage.registry.fault(Fault::on("GET", "/v2/far/app/tags/list*").status(403));
    let ran = stage.by("deployer", format!("copy {at}:v1 {far} --format json")).await;
    assert!(ran.exit == 0 && ran.out.contains("copy.tag-unchecked"), "{ran:#?}");
}
