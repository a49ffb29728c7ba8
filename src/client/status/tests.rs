use std::sync::Arc;

use super::super::commit::survey;
use super::*;
use crate::client::fixture::{DAY, Home, World, image, name};
use crate::store::memory::MemoryStore;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

async fn look(world: &World, home: &Home, within: i64) -> Result<Status, WorkError> {
    status(Request {
        collection: name(),
        anchor: world.root.clone(),
        store: &*world.store,
        memories: &[home.memory()],
        keys: &home.keys,
        clock: &world.clock,
        within,
    })
    .await
}

fn conditions(status: &Status) -> Vec<(&str, Condition)> {
    status.roles.iter().map(|r| (r.role.as_str(), r.condition)).collect()
}

#[tokio::test]
async fn a_fresh_collection_with_the_keys_that_are_here() {
    let world = world().await;
    let seen = look(&world, &world.owner, 7 * DAY).await.unwrap();
    assert_eq!((seen.standing, seen.condition()), (Standing::Newest, Condition::Fresh));
    let roles: Vec<_> = seen.roles.iter().map(|r| (r.role.as_str(), r.can_renew())).collect();
    assert_eq!(
        roles,
        [
            ("timestamp", true),
            ("snapshot", true),
            ("targets/releases", true),
            ("targets/revocations", true),
            ("root", false),
            ("targets", false)
        ]
    );
    let stranger = Home::new(&[]);
    let seen = look(&world, &stranger, 7 * DAY).await.unwrap();
    assert_eq!(seen.standing, Standing::Unremembered);
    assert!(seen.roles.iter().all(|r| !r.can_renew()));
    assert!(!stranger.memory().path().exists(), "it only looks");
}

/// The timestamp lives for seven days: `--within 7d` would always find it, so it counts from its last third on.
#[tokio::test]
async fn what_expires_soon() {
    use Condition::{Due, Expired, Expiring, Fresh};
    let world = world().await;
    let after = |days: i64| {
        world
            .clock
            .0
            .store(crate::client::fixture::NOW.secs() + days * DAY, std::sync::atomic::Ordering::SeqCst);
    };
    for (days, within, timestamp, snapshot) in [
        (0, 7, Fresh, Fresh),
        (1, 7, Due, Fresh),
        (4, 7, Due, Fresh),
        (5, 7, Expiring, Fresh),
        (4, 2, Due, Fresh),
        (6, 2, Expiring, Fresh),
        (7, 7, Expired, Fresh),
        (16, 7, Expired, Due),
        (24, 7, Expired, Expiring),
        (30, 7, Expired, Expired),
    ] {
        after(days);
        let seen = look(&world, &world.owner, within * DAY).await.unwrap();
        let all = conditions(&seen);
        assert_eq!(
            all[..2],
            [("timestamp", timestamp), ("snapshot", snapshot)],
            "day {days}, within {within}"
        );
    }
    after(100);
    let seen = look(&world, &world.owner, 300 * DAY).await.unwrap();
    let root = seen.roles.iter().find(|r| r.role == RoleName::root()).unwrap();
    assert_eq!((root.condition, root.is_by_hand()), (Expiring, true));
}

#[tokio::test]
async fn older_than_remembered_and_gone() {
    let world = world().await;
    let tag = Selector::Tag(name().state_tag());
    let old = world.store.resolve(&tag).await.unwrap().unwrap();
    world.clock.forward(2 * DAY);
    world.renew(&world.owner, &[]).await.unwrap();
    let seen = look(&world, &world.owner, DAY).await.unwrap();
    assert_eq!((seen.standing, seen.as_of), (Standing::Newest, world.clock.now()));
    world.store.push_manifest(&old, Some(&name().state_tag())).await.unwrap();
    let seen = look(&world, &world.owner, DAY).await.unwrap();
    assert_eq!((seen.standing, seen.digest.as_ref()), (Standing::Behind, Some(old.digest())));
    world.store.delete(&tag).await.unwrap();
    let seen = look(&world, &world.owner, DAY).await.unwrap();
    assert_eq!((seen.standing, seen.digest), (Standing::Absent, None));
    let nothing = look(&world, &Home::new(&[]), DAY).await.unwrap_err();
    assert!(matches!(nothing, WorkError::Absent { .. }), "{nothing}");
}

#[tokio::test]
async fn what_waits_and_for_whom() {
    let world = world().await;
    let publisher = world.home(&[Home::RELEASES]);
    let bundle = image(&*world.store, "a").await;
    world.publish(&publisher, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let seen = look(&world, &world.owner, DAY).await.unwrap();
    let waiting: Vec<_> =
        seen.waiting.iter().map(|w| (w.role.as_ref().map(RoleName::as_str), &w.standing)).collect();
    assert_eq!(waiting, [(Some("targets/releases"), &survey::Standing::Ready)]);
    let states = world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap();
    world.renew(&world.owner, &[]).await.unwrap();
    let seen = look(&world, &world.owner, DAY).await.unwrap();
    assert_eq!(seen.waiting, [], "it is in, though its tag is still there");
    assert_ne!(seen.digest.as_ref(), states.as_ref().map(|s| s.digest()));
}
