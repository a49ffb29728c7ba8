use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::*;
use crate::client::fixture::{Home, World, image, name};
use crate::store::memory::MemoryStore;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

async fn export_to(world: &World, home: &Home, dir: &Path) -> Result<Exported, ExportError> {
    export(Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        bundles: &*world.store,
        memories: &[home.memory()],
        dir,
        clock: &world.clock,
    })
    .await
}

/// Every file below `dir`, by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                out.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    out
}

#[tokio::test]
async fn a_tree_holds_what_the_state_pins_and_the_bundles_manifests() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let done = export_to(&world, &world.owner, dir.path()).await.unwrap();
    assert_eq!((done.metadata, done.targets, done.absent, done.unnamed), (6, 3, vec![], vec![]));
    let tree = files(dir.path());
    let live = world.live().await;
    for (file, bytes) in live.files().metadata() {
        assert_eq!(tree[&format!("metadata/{file}")], bytes[..], "{file}");
    }
    let releases = live.role(&RoleName::releases()).unwrap();
    assert_eq!(tree["metadata/2.targets/releases.json"], releases.bytes()[..], "for servers that decode");
    let hex = bundle.digest().hex();
    for target in [format!("ex.com/org/{hex}.app:v1"), format!("ex.com/org/{hex}.app@sha256:{hex}")] {
        assert_eq!(tree[&format!("targets/{target}")], bundle.bytes()[..], "{target}");
    }
    assert_eq!(done.written, tree.len());

    // The same again writes nothing; the next state adds files and takes none away.
    fs::write(dir.path().join("metadata/README"), "mine").unwrap();
    assert_eq!(export_to(&world, &world.owner, dir.path()).await.unwrap().written, 0);
    world.clock.forward(2 * 86_400);
    world.renew(&world.owner, &[]).await.unwrap();
    let done = export_to(&world, &world.owner, dir.path()).await.unwrap();
    assert_eq!(done.written, 2, "a new timestamp and snapshot alone");
    let later = files(dir.path());
    assert_eq!(later["metadata/README"], b"mine");
    assert!(tree.keys().all(|name| later.contains_key(name)));
}

#[tokio::test]
async fn what_is_served_is_never_lowered_and_never_mixed() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let tag = name().state_tag();
    let old = world.store.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    world.clock.forward(2 * 86_400);
    world.renew(&world.owner, &[]).await.unwrap();
    export_to(&world, &world.owner, dir.path()).await.unwrap();
    let before = files(dir.path());
    // Rolled back: who remembers notices, and who does not is stopped by the tree.
    world.store.push_manifest(&old, Some(&tag)).await.unwrap();
    let e = export_to(&world, &world.owner, dir.path()).await.unwrap_err();
    assert_eq!(e, ExportError::Behind(name()));
    let e = export_to(&world, &Home::new(&[]), dir.path()).await.unwrap_err();
    assert!(matches!(e, ExportError::Newer { .. }), "{e}");
    assert_eq!(files(dir.path()), before);
    // Another collection's tree.
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("metadata")).unwrap();
    for (file, text) in [("1.root.json", "{}"), ("timestamp.json", "{}"), ("1.targets.json", "{}")] {
        let path = other.path().join("metadata").join(file);
        fs::write(&path, text).unwrap();
        let e = export_to(&world, &Home::new(&[]), other.path()).await.unwrap_err();
        assert!(matches!(&e, ExportError::Foreign { file, .. } if *file == path), "{e}");
        assert_eq!(files(other.path()).len(), 1);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_bundle_that_is_not_here_is_said() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    world.store.delete(&Selector::Digest(bundle.digest().clone())).await.unwrap();
    let done = export_to(&world, &world.owner, dir.path()).await.unwrap();
    assert_eq!((done.targets, done.absent.len()), (1, 2), "{:?}", done.absent);
}

/// Two exports at once: the second waits, and what it would lower it does not write.
#[tokio::test]
async fn an_export_waits_for_another_one_into_the_same_tree() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let held = Tree::at(dir.path()).alone().unwrap();
    let path = dir.path().to_owned();
    let waiting = std::thread::spawn(move || Tree::at(&path).alone().map(drop));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!waiting.is_finished());
    drop(held);
    waiting.join().unwrap().unwrap();
    export_to(&world, &world.owner, dir.path()).await.unwrap();
    let tree = Tree::at(dir.path());
    let ours = world.live().await.trusted().timestamp().version();
    tree.not_newer(&name().to_string(), ours).unwrap();
    let older = Version::new(ours.get() - 1).unwrap();
    assert!(matches!(tree.not_newer(&name().to_string(), older), Err(ExportError::Newer { .. })));
}
