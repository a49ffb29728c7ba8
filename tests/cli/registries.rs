//! What registries do, as the user is told of it.

use bulla::store::Manage as _;
use bulla::store::layout::OciDir;

use crate::bundles;
use crate::places::run;
use crate::registry::{Action, Config, Fault, Quirks, Registry};
use crate::releases::Stage;
use crate::run::Bulla;

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_copy_left_at_the_tag_of_the_list_is_told() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    let rich = bundles::rich(&store, "squatter").await;
    store.flush().await.unwrap();
    let quirks = Quirks { no_referrers_api: true, ..Quirks::default() };
    let registry = Registry::start(Config { quirks, ..Config::default() }).await;
    let (root, tag) = (&rich.root, rich.root.digest().referrers_tag());
    registry.put_manifest("team/app", Some(&tag), root.media_type(), root.bytes().clone());
    let line = format!("copy oci:{}:v1 {}/team/app --format json", dir.display(), registry.host());
    let ran = run(Bulla::at(home.path()), line.clone()).await;
    let notes = ran.json()["notes"].clone();
    assert_eq!((ran.exit, &notes[0]["code"]), (0, &"copy.fallback-replaced".into()), "{ran:#?}");
    assert!(notes[0]["message"].as_str().unwrap().contains(&tag), "{notes}");
    let again = run(Bulla::at(home.path()), line).await.json();
    assert_eq!(again["notes"], serde_json::json!([]), "{again:#}");
    // Something that is no list and not the subject either.
    registry.set_tag("team/app", &tag, Some(&rich.children[0].digest().to_string()));
    let target = format!("copy oci:{}:v1 {}/team/app --format json", dir.display(), registry.host());
    let ran = run(Bulla::at(home.path()), target).await;
    assert_eq!(
        (ran.exit, ran.json()["error"]["code"].as_str()),
        (3, Some("copy.fallback-foreign")),
        "{ran:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_of_the_specification_reaches_the_user() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("layout");
    let store = OciDir::create(&dir).await.unwrap();
    bundles::rich(&store, "codes").await;
    store.flush().await.unwrap();
    let registry = Registry::start(Config::default()).await;
    for (code, status, shown, word) in [
        ("BLOB_UNKNOWN", 404, "registry.unsupported", "does not have the blob"),
        ("BLOB_UPLOAD_INVALID", 400, "registry.unsupported", "upload is not valid"),
        ("BLOB_UPLOAD_UNKNOWN", 404, "registry.unsupported", "does not know the upload"),
        ("DIGEST_INVALID", 400, "registry.unsupported", "not that of the content"),
        ("MANIFEST_BLOB_UNKNOWN", 404, "registry.unsupported", "does not have"),
        ("MANIFEST_INVALID", 400, "registry.unsupported", "does not take the manifest"),
        ("MANIFEST_UNKNOWN", 404, "registry.unsupported", "does not have the manifest"),
        ("NAME_INVALID", 400, "registry.unsupported", "does not take the repository name"),
        ("NAME_UNKNOWN", 404, "registry.unsupported", "does not have the repository"),
        ("SIZE_INVALID", 400, "registry.unsupported", "more than the registry takes"),
        ("UNAUTHORIZED", 401, "registry.unauthorized", "who asks"),
        ("DENIED", 403, "registry.forbidden", "not allowed"),
        ("UNSUPPORTED", 405, "registry.unsupported", "does not do that"),
        ("TOOMANYREQUESTS", 429, "registry.throttled", "too many requests"),
    ] {
        registry.behave();
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":""}}]}}"#).into();
        let content_type = "application/json".to_owned();
        registry.fault(Fault::on("PUT", "*/manifests/*").action(Action::Answer {
            status,
            content_type,
            body,
        }));
        let line = format!("copy oci:{}:v1 {}/team/app --format json", dir.display(), registry.host());
        let ran = run(Bulla::at(home.path()), line).await;
        let error = ran.json()["error"].clone();
        assert_eq!((ran.exit, &error["code"]), (3, &shown.into()), "{code}: {ran:#?}");
        let reason = error["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("{code}: ")) && reason.contains(word), "{code}: {reason}");
        assert!(
            error["message"].as_str().unwrap().contains("destination: cannot push manifest"),
            "{error:#}"
        );
        assert!(error["next"].as_str().is_some_and(|n| n.len() > 10), "{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn immutable_tags_are_found_by_init() {
    for (immutable, deletion) in [("*", true), ("bulla.*", false)] {
        let quirks = Quirks {
            immutable_tags: Some(immutable.into()),
            tag_deletion_unsupported: !deletion,
            deletion_disabled: !deletion,
            ..Quirks::default()
        };
        let registry = Registry::start(Config { quirks, ..Config::default() }).await;
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("1.root.json");
        let at = format!("{}/team/app", registry.host());
        let line =
            format!("init example.com/team/app --at {at} --root-file {} --format json", root.display());
        let init = || run(Bulla::at(home.path()).var("BULLA_PASSWORD", "pw"), line.clone());
        // The second time what the first one left may be in the way.
        for _ in 0..2 {
            let ran = init().await;
            let error = ran.json()["error"].clone();
            assert_eq!((ran.exit, &error["code"]), (3, &"init.tag-immutable".into()), "{ran:#?}");
            assert!(
                error["reason"].as_str().unwrap().contains(".probe was set and could not be moved"),
                "{error}"
            );
            assert!(error["next"].as_str().unwrap().contains("bulla.* and sha256-*"), "{error}");
            assert!(!root.exists() && !home.path().join("keys").exists(), "nothing is made");
            let tags: Vec<String> = registry.tags("team/app").into_iter().map(|(tag, _)| tag).collect();
            assert_eq!(tags.iter().filter(|t| !t.ends_with(".probe")).count(), 0, "{tags:?}");
            assert_eq!(tags.is_empty(), deletion, "{tags:?}");
        }
        // Excluded as it was told.
        registry.quirks(|q| q.immutable_tags = None);
        let ran = init().await;
        assert_eq!(ran.exit, 0, "{ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_names_the_tag_that_cannot_be_moved() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(Config::default()).await;
    let line = |seed: &str, tag: &str| {
        let dir = home.path().join(seed);
        format!("copy oci:{}:v1 {}/team/app:{tag} --format json", dir.display(), registry.host())
    };
    for seed in ["one", "two"] {
        let store = OciDir::create(&home.path().join(seed)).await.unwrap();
        bundles::rich(&store, seed).await;
        store.flush().await.unwrap();
    }
    assert_eq!(run(Bulla::at(home.path()), line("one", "v1")).await.exit, 0);
    registry.quirks(|q| q.immutable_tags = Some("v*".into()));
    let ran = run(Bulla::at(home.path()), line("two", "v1")).await;
    let error = ran.json()["error"].clone();
    assert_eq!((ran.exit, &error["code"]), (3, &"copy.tag-immutable".into()), "{ran:#?}");
    assert!(error["message"].as_str().unwrap().contains("the tag v1"), "{error}");
    assert!(error["reason"].as_str().unwrap().contains("TAG_INVALID"), "{error}");
    assert_eq!(run(Bulla::at(home.path()), line("two", "v2")).await.exit, 0, "a new tag can be set");
}

/// Both write the state's tag, and both name the tags that the registry's rule is to leave out.
#[tokio::test(flavor = "multi_thread")]
async fn publish_and_renew_name_the_tags_that_must_be_movable() {
    let stage = Stage::new().await;
    stage.init().await;
    let (at, build) = (stage.at(), stage.path("build"));
    let state = stage.registry.tags("team/app");
    stage.registry.quirks(|q| q.immutable_tags = Some("bulla.*".into()));
    let publish = format!("publish --from oci:{build}:v1 {at} --tag v1");
    let (soon, later) = ("2026-05-01T12:00:00Z", "2026-05-04T12:00:00Z");
    for (now, line) in [(soon, publish.clone()), (later, format!("renew {at}"))] {
        let json = stage.later("publisher", now, format!("{line} --format json")).await;
        let error = json.json()["error"].clone();
        assert_eq!((json.exit, &error["code"]), (3, &"state.tag-immutable".into()), "{line}: {json:#?}");
        assert!(error["message"].as_str().unwrap().contains("cannot be moved"), "{error}");
        assert!(error["reason"].as_str().unwrap().contains("TAG_INVALID"), "{error}");
        let next = error["next"].as_str().unwrap();
        assert!(next.contains("exclude the tags bulla.* and sha256-*") && next.contains("--at"), "{error}");
        let text = stage.later("publisher", now, line.clone()).await;
        assert!(text.exit == 3 && text.err.contains(&format!("  next: {next}")), "{line}: {text:#?}");
        let tags = stage.registry.tags("team/app");
        assert!(state.iter().all(|t| tags.contains(t)), "{line}: the state is as it was: {tags:?}");
    }
    // Excluded as it was told, what waited comes.
    stage.registry.quirks(|q| q.immutable_tags = None);
    stage.later("publisher", later, publish).await.ok();
    stage.deployer().await;
    stage.later("deployer", later, format!("verify {at}:v1")).await.ok();
}
