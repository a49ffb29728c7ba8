//! A memory that cannot stand in for a state is a floor all the same, and what it says to be revoked stays said.

use super::installs::{ALL, at_once, desk, rotate};
use super::*;
use crate::client::audit;
use crate::client::export::{self, ExportError, export};
use crate::client::memory::Memory;
use crate::client::recover::Live;
use crate::client::revoke::list_under;
use crate::client::status::{self, Standing, status};

/// What a verifier remembers who was shown no file of releases.
fn shown_some(home: &Home, root: &Bytes) -> Remembered {
    let mut short = home.memory().load(root).unwrap().unwrap();
    short.files.retain(|name| *name.role() != RoleName::releases());
    short
}

async fn standing(world: &World, memories: &[Memory]) -> Result<Standing, WorkError> {
    let request = status::Request {
        collection: name(),
        anchor: world.root.clone(),
        store: &*world.store,
        memories,
        keys: &crate::client::signing::OpenKeys::default(),
        clock: &world.clock,
        within: DAY,
    };
    status(request).await.map(|s| s.standing)
}

async fn exported(world: &World, memories: &[Memory]) -> Result<export::Exported, ExportError> {
    let dir = tempfile::tempdir().unwrap();
    let request = export::Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        bundles: &*world.store,
        memories,
        dir: dir.path(),
        clock: &world.clock,
    };
    export(request).await
}

async fn judged(world: &World, memory: &Memory) -> bool {
    let request = audit::Request {
        collection: name(),
        anchor: world.root.clone(),
        places: vec![world.store.clone()],
        memory,
        key: None,
        since: None,
        installed: &[],
        unread: 0,
        now: world.clock.now(),
    };
    audit::audit(request).await.unwrap().judged
}

#[tokio::test]
async fn an_older_state_is_refused_whatever_the_memory_lacks() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let old = world.live().await.files().clone();
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let short = shown_some(&world.owner, &world.root);
    let all = world.home(&[Home::ROOT, Home::ONLINE]);
    world.clock.forward(1);
    world.renew(&all, &["root"]).await.unwrap();
    let newest = world.live().await.files().clone();
    let job = Home::new(&[Home::ONLINE]);
    job.memory().save(&world.root, &short).unwrap();
    let memories = [job.memory()];
    // The root says that some other key was rotated; what is shown is from before the release.
    let mut under_second = old.clone();
    under_second.put(root(2), newest.get(&root(2)).unwrap().clone());
    for files in [&old, &under_second] {
        put(&world, files).await;
        let older = |e: &WorkError| matches!(e, WorkError::Older(_));
        let e = world.renew(&job, &[]).await.unwrap_err();
        assert!(older(&e), "{e:?}");
        let e = standing(&world, &memories).await.unwrap_err();
        assert!(older(&e), "{e:?}");
        let e = exported(&world, &memories).await.unwrap_err();
        assert!(matches!(&e, ExportError::Work(e) if older(e)), "{e:?}");
        assert!(!judged(&world, &memories[0]).await);
        assert_eq!(job.memory().load(&world.root).unwrap(), Some(short.clone()));
    }
    // What is not below it needs nothing of it.
    put(&world, &newest).await;
    assert_eq!(standing(&world, &memories).await, Ok(Standing::Newest));
    exported(&world, &memories).await.unwrap();
    assert!(judged(&world, &memories[0]).await);
    assert_eq!(world.renew(&job, &[]).await.unwrap().status, Status::Current);
    assert!(world.has(bundle.digest()).await);
}

#[tokio::test]
async fn a_memory_that_lacks_files_still_says_what_is_revoked() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    revoke(&world, bundle.digest()).await;
    let (whole, short) = (world.live().await, shown_some(&world.owner, &world.root));
    let path = name().revocations_path();
    let home = Home::new(&[]);
    home.memory().save(&world.root, &short).unwrap();
    let lists = async |memories: &[Memory]| {
        let lists = list_under(&*world.store, &name(), &world.root, memories, world.clock.now()).await;
        lists.map(|all| all.remembered.into_iter().chain(all.live).collect::<Vec<_>>())
    };
    let list = whole.files().target(&path).cloned();
    assert_eq!(lists(&[home.memory()]).await.unwrap().first(), list.as_ref());
    assert!(world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap());
    assert_eq!(lists(&[home.memory()]).await.unwrap().first(), list.as_ref(), "nothing is live");
    put(&world, &Files::new()).await;
    assert_eq!(lists(&[home.memory()]).await.unwrap().first(), list.as_ref(), "junk is live");
    // What nobody can say is no empty list.
    lists(&[]).await.unwrap_err();
    let mut without = short.clone();
    without.files.drop_targets();
    let other = Home::new(&[]);
    other.memory().save(&world.root, &without).unwrap();
    lists(&[other.memory()]).await.unwrap_err();
}

#[tokio::test]
async fn a_later_anchor_does_not_make_an_older_state_new() {
    let mut world = world().await;
    let bundle = image(&*world.store, "a").await;
    let old = world.live().await.files().clone();
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let home = Home::new(&[Home::ONLINE]);
    home.learn(&world.owner, &world.root);
    let all = world.home(&[Home::ROOT, Home::ONLINE]);
    for _ in 0..2 {
        world.clock.forward(1);
        world.renew(&all, &["root"]).await.unwrap();
    }
    // The third root is trusted from now on, by which the second is not shown.
    let newest = world.live().await.files().clone();
    world.root = newest.get(&root(3)).unwrap().clone();
    let mut shown = old;
    shown.put(root(3), world.root.clone());
    put(&world, &shown).await;
    let memories = [home.memory()];
    assert_eq!(home.memory().load(&world.root), Ok(None));
    let e = standing(&world, &memories).await.unwrap_err();
    assert!(matches!(e, WorkError::Older(_)), "{e:?}");
    let e = exported(&world, &memories).await.unwrap_err();
    assert!(matches!(e, ExportError::Work(WorkError::Older(_))), "{e:?}");
    put(&world, &newest).await;
    assert_eq!(standing(&world, &memories).await, Ok(Standing::Newest));
    world.renew(&home, &[]).await.unwrap();
    assert_eq!(home.memory().chains().unwrap().len(), 1);
}

/// An installation that remembers the collection from its third root on, as one does that an organisation led there, and trusts
/// the first one now.
async fn from_the_third(world: &World, keys: &[u8]) -> Home {
    let all = world.home(&[Home::ROOT, Home::ONLINE]);
    for _ in 0..2 {
        world.clock.forward(1);
        world.renew(&all, &["root"]).await.unwrap();
    }
    let mut short = all.memory().load(&world.root).unwrap().unwrap();
    short.files.retain(|name| ![root(1), root(2)].contains(name));
    let (home, third) = (Home::new(keys), world.live().await.files().get(&root(3)).unwrap().clone());
    home.memory().save(&third, &short).unwrap();
    assert_eq!(home.memory().load(&world.root), Ok(None));
    home
}

#[tokio::test]
async fn an_audit_knows_what_is_remembered_past_roots_that_are_kept_back() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let old = world.live().await.files().clone();
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let home = from_the_third(&world, &[]).await;
    let newest = world.live().await.files().clone();
    put(&world, &old).await;
    assert!(!judged(&world, &home.memory()).await);
    put(&world, &newest).await;
    assert!(judged(&world, &home.memory()).await);
}

#[tokio::test]
async fn what_was_revoked_stays_said_past_roots_that_are_kept_back() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let old = world.live().await.files().clone();
    revoke(&world, bundle.digest()).await;
    let home = from_the_third(&world, &[]).await;
    let list = world.live().await.files().target(&name().revocations_path()).cloned();
    let lists = async || {
        let memories = [home.memory()];
        list_under(&*world.store, &name(), &world.root, &memories, world.clock.now()).await.unwrap()
    };
    put(&world, &old).await;
    assert_eq!(lists().await.remembered.first(), list.as_ref());
    assert!(world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap());
    assert_eq!(lists().await.remembered.first(), list.as_ref(), "nothing is live");
}

#[tokio::test]
async fn a_list_under_keys_that_were_replaced_is_not_what_lies_there() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    revoke(&world, bundle.digest()).await;
    let stolen = world.live().await.files().clone();
    let mut home = world.home(ALL);
    home.keys.0.push(key(14));
    let edits = [RoleName::timestamp(), RoleName::snapshot()].map(|role| rotate(role, Home::ONLINE, 14));
    at_once(&world, &home, &edits.concat()).await.unwrap();
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
    put(&world, &stolen).await;
    let lists = list_under(&*world.store, &name(), &world.root, &[home.memory()], world.clock.now()).await;
    let lists = lists.unwrap();
    assert_eq!((lists.remembered.len(), lists.live), (1, vec![]));
}

#[tokio::test]
async fn a_recovery_knows_what_is_remembered_past_roots_that_are_kept_back() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let old = world.live().await.files().clone();
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let home = from_the_third(&world, &[]).await;
    let (collection, memories) = (name(), [home.memory()]);
    let desk = desk(&world, &collection, &memories, &home);
    // The roots that lie there lead to what is remembered.
    let own = desk.remembered().await.unwrap();
    assert_eq!(own.trusted().root().version().get(), 3);
    // Where they are kept back, what lies there is still not all there was.
    put(&world, &old).await;
    let good = desk.good(Some(&*world.store)).await.unwrap();
    let live = desk.live(&good).await.unwrap();
    assert!(matches!(live, Live::Fault(_)), "{live:?}");
}
