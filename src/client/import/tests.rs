use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::client::export::{self, export};
use crate::client::fixture::{Home, NOW, World, image, name};
use crate::store::Store as _;
use crate::store::memory::MemoryStore;
use crate::trust::Verdict;
use crate::tuf::lineage::Change;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

async fn tree_of(world: &World, dir: &Path) {
    let request = export::Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        bundles: &*world.store,
        memories: &[],
        dir,
        clock: &world.clock,
    };
    export(request).await.unwrap();
}

async fn import_from(
    dir: &Path,
    root: &Bytes,
    store: &dyn Manage,
    home: &Home,
    now: UnixTime,
) -> Result<Imported, ImportError> {
    let source = Folder::at(dir);
    let memories = [home.memory()];
    let request = Request {
        collection: name(),
        anchor: root.clone(),
        source: &source,
        store,
        memories: &memories,
        now,
    };
    import(request).await
}

#[tokio::test]
async fn a_tree_becomes_the_very_state_it_came_from() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    tree_of(&world, dir.path()).await;
    let (there, home) =
        (MemoryStore::new("mirror.example/x/app".parse().unwrap()), Home::new(&[Home::ONLINE]));
    let done = import_from(dir.path(), &world.root, &there, &home, NOW).await.unwrap();
    let files = async |store: &dyn Manage| state::fetch_state(store, &name()).await.unwrap().unwrap().files;
    assert_eq!(files(&*world.store).await, files(&there).await, "byte for byte");
    // The same state is current, whatever its manifest names besides, and keeps that.
    let same = import_from(dir.path(), &world.root, &*world.store, &Home::new(&[]), NOW).await.unwrap();
    let live = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    assert_eq!((same.written, &same.digest), (false, live.digest()));
    assert_eq!((done.written, done.metadata, done.targets, done.expired), (true, 6, 1, vec![]));
    let again = import_from(dir.path(), &world.root, &there, &home, NOW).await.unwrap();
    assert!(!again.written);
    // It remembers: a renewal goes on from here, and the import then lowers nothing.
    world.clock.forward(2 * 86_400);
    let moved = World {
        store: Arc::new(there),
        owner: Home::new(&[]),
        root: world.root.clone(),
        clock: crate::client::fixture::TestClock::new(),
    };
    moved.clock.forward(2 * 86_400);
    assert_eq!(moved.renew(&home, &[]).await.unwrap().commits, 1);
    let e = import_from(dir.path(), &world.root, &*moved.store, &Home::new(&[]), NOW).await.unwrap_err();
    assert!(matches!(&e, ImportError::Older { place, .. } if place == "mirror.example/x/app"), "{e}");
    let empty = MemoryStore::new("mirror.example/y/app".parse().unwrap());
    let e = import_from(dir.path(), &world.root, &empty, &home, NOW).await.unwrap_err();
    assert!(matches!(&e, ImportError::Older { place, .. } if place == "what is remembered here"), "{e}");
    // The bundle is brought by a copy; the entry for it came with the state.
    image(&*moved.store, "a").await;
    moved.store.push_manifest(&bundle, Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!(moved.verify("ex.com/org/app:v1").await.verdict(), Verdict::Trusted);
}

#[tokio::test]
async fn what_is_not_whole_or_not_a_collection_is_refused() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    tree_of(&world, dir.path()).await;
    let store = MemoryStore::new(name().as_repository().clone());
    let metadata = dir.path().join("metadata");
    for entry in fs::read_dir(&metadata).unwrap().map(|e| e.unwrap().path()) {
        let role = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() || role == "1.root.json" {
            continue;
        }
        let folder = role.replace("%2F", "/");
        let second = metadata.join(&folder);
        let bytes = fs::read(&entry).unwrap();
        let absent = |path: &Path| fs::remove_file(path).unwrap();
        absent(&entry);
        if second != entry {
            absent(&second);
        }
        let e = import_from(dir.path(), &world.root, &store, &Home::new(&[]), NOW).await.unwrap_err();
        assert!(matches!(e, ImportError::Tuf(_)), "{role}: {e}");
        fs::write(&entry, [&bytes[..], b" "].concat()).unwrap();
        let result = import_from(dir.path(), &world.root, &store, &Home::new(&[]), NOW).await;
        // Nothing pins the bytes around the timestamp's JSON.
        assert_eq!(result.is_ok(), role == "timestamp.json", "{role}: {result:?}");
        fs::write(&entry, &bytes).unwrap();
        store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    }
    // The revocations are a file of the whole collection: without them nobody could verify.
    fs::remove_dir_all(dir.path().join("targets")).unwrap();
    let e = import_from(dir.path(), &world.root, &store, &Home::new(&[]), NOW).await.unwrap_err();
    assert_eq!(e, ImportError::TargetFile("ex.com/org/app/revocations.json".into()));
    assert_eq!(store.resolve(&Selector::Tag(name().state_tag())).await, Ok(None));
    let fault = Fault::Collection { expected: name().to_string(), got: String::new() };
    let e = foreign_role(TufError::new(&RoleName::snapshot(), fault));
    assert_eq!(e, ImportError::Foreign { role: RoleName::snapshot() });
}

#[tokio::test]
async fn junk_at_the_destination_stays() {
    let world = world().await;
    let dir = tempfile::tempdir().unwrap();
    tree_of(&world, dir.path()).await;
    let store = MemoryStore::new(name().as_repository().clone());
    let junk = image(&store, "junk").await;
    store.push_manifest(&junk, Some(&name().state_tag())).await.unwrap();
    let e = import_from(dir.path(), &world.root, &store, &Home::new(&[]), NOW).await.unwrap_err();
    assert!(matches!(e, ImportError::Live { .. }), "{e}");
    let there = store.resolve(&Selector::Tag(name().state_tag())).await.unwrap().unwrap();
    assert_eq!(there.digest(), junk.digest());
}

#[tokio::test]
async fn a_memory_that_lacks_files_is_a_floor_all_the_same() {
    let world = world().await;
    let old = tempfile::tempdir().unwrap();
    tree_of(&world, old.path()).await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let home = Home::new(&[]);
    let mut short = world.owner.memory().load(&world.root).unwrap().unwrap();
    short.files.retain(|name| *name.role() != RoleName::releases());
    home.memory().save(&world.root, &short).unwrap();
    let there = MemoryStore::new("mirror.example/x/app".parse().unwrap());
    let e = import_from(old.path(), &world.root, &there, &home, NOW).await.unwrap_err();
    assert!(matches!(&e, ImportError::Older { place, .. } if place.contains("remembered")), "{e:?}");
    assert!(state::fetch_state(&there, &name()).await.unwrap().is_none());
    assert_eq!(home.memory().load(&world.root).unwrap(), Some(short.clone()));
    // One that is damaged is not none.
    let mut damaged = short.clone();
    damaged.files.retain(|name| *name.role() != RoleName::snapshot());
    let other = Home::new(&[]);
    other.memory().save(&world.root, &damaged).unwrap();
    let e = import_from(old.path(), &world.root, &there, &other, NOW).await.unwrap_err();
    assert!(matches!(e, ImportError::Remembered(_)), "{e:?}");
    // What is newer than it is taken, and is whole.
    let new = tempfile::tempdir().unwrap();
    tree_of(&world, new.path()).await;
    import_from(new.path(), &world.root, &there, &home, NOW).await.unwrap();
}

/// A repository in memory that counts what it is asked for.
struct Counted(Files, std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Source for Counted {
    async fn metadata(&self, name: &FileName, _: u64) -> Result<Option<Bytes>, ImportError> {
        Ok(self.0.get(name).cloned())
    }

    async fn target(&self, path: &str, _: &Target) -> Result<Option<Bytes>, ImportError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(self.0.target(path).cloned())
    }
}

#[tokio::test]
async fn no_file_is_asked_for_that_makes_the_state_too_large() {
    let world = world().await;
    let path = name().revocations_path();
    let list = Bytes::from_static(br#"{"entries":[],"schemaVersion":1}"#);
    let hashes = serde_json::json!({"sha256": crate::oci::Digest::sha256(&list).hex()});
    let entry = |path: String, length: u64| Change::Set {
        path,
        value: serde_json::json!({"length": length, "hashes": hashes}),
    };
    let large = vec![entry(path.clone(), 1 << 50)];
    let many = (0..1_100).map(|i| entry(format!("{}/in-toto-pubkeys/{i}.pub", name()), 1)).collect();
    let fits = vec![entry(path.clone(), list.len() as u64)];
    let role = RoleName::targets();
    for (role, changes, what) in [
        (RoleName::revocations(), large, Some("bytes of files")),
        (role, many, Some("files")),
        (RoleName::revocations(), fits, None),
    ] {
        let mut files = world.forged(&role, &changes).await;
        files.put_target(path.clone(), list.clone());
        let source = Counted(files, Default::default());
        let home = Home::new(&[]);
        let there = MemoryStore::new("mirror.example/x/app".parse().unwrap());
        let memories = [home.memory()];
        let request = Request {
            collection: name(),
            anchor: world.root.clone(),
            source: &source,
            store: &there,
            memories: &memories,
            now: NOW,
        };
        let done = import(request).await;
        let asked = source.1.load(std::sync::atomic::Ordering::SeqCst);
        match what {
            Some(what) => {
                let e = done.unwrap_err();
                assert!(matches!(&e, ImportError::Oversize(o) if o.what == what), "{e:?}");
                assert_eq!(asked, 0, "{what}");
            }
            None => assert!(done.unwrap().written && asked > 0),
        }
    }
}
