//! What registries do, as the user is told of it.

use bulla::store::Manage as _;
use bulla::store::layout::OciDir;

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Quirks, Registry};
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
