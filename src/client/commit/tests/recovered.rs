//! Recoveries from a good state, and audits after them, where somebody serves what suits him.

use super::installs::{ALL, about, at_once, desk, rotate};
use super::*;
use crate::client::audit;
use crate::client::recover::{Live, entries};
use crate::trust::RevocationList;
use crate::tuf::proposal::Edit;

const NEW_ONLINE: u8 = 21;

fn other_online_key() -> Vec<Edit> {
    let roles = [RoleName::snapshot(), RoleName::timestamp()];
    roles.into_iter().flat_map(|role| rotate(role, Home::ONLINE, NEW_ONLINE)).collect()
}

/// Enter `more` beside the entry of [`revoke`], with the stolen keys.
async fn enter(world: &World, more: &[serde_json::Value]) {
    let path = name().revocations_path();
    let list = world.live().await.files().target(&path).unwrap().clone();
    let mut list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    list["entries"].as_array_mut().unwrap().extend(more.iter().cloned());
    let list: Bytes = list.to_string().into();
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
    let mut files = Files::new();
    files.put_target(path.clone(), list);
    submit(world, &RoleName::revocations(), &[Change::Set { path, value }], files).await;
    let thief = world.home(&[Home::RELEASES, Home::ONLINE]);
    assert_eq!(world.renew(&thief, &[]).await.unwrap().admitted.len(), 1);
}

#[tokio::test]
async fn a_recovery_takes_over_no_undoing_and_says_what_it_takes_over() {
    let world = world().await;
    let (bad, other) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    revoke(&world, bad.digest()).await;
    let before = world.live().await.files().clone();
    world.clock.forward(60);
    let at = world.clock.now();
    let undo = json!({"id": "2", "kind": "unrevoke", "undoes": "1", "at": at});
    let taken = json!({"id": "3", "kind": "tombstone", "subject": other.digest(), "at": at});
    enter(&world, &[undo, taken]).await;
    let (collection, memories) = (name(), [world.owner.memory()]);
    let desk = desk(&world, &collection, &memories, &world.owner);
    let good = desk.remembered().await.unwrap();
    // A genuine earlier file of the role, beside the live one, hides nothing.
    doctor(&world, |files| {
        for (name, bytes) in before.metadata().iter().filter(|(n, _)| *n.role() == RoleName::revocations()) {
            files.put(name.clone(), bytes.clone());
        }
    })
    .await;
    let (proposal, _) = desk.propose_on(&good, &other_online_key(), about(&world)).await.unwrap();
    let kept = proposal.files().get(&collection.revocations_path());
    let list = RevocationList::parse(kept.unwrap()).unwrap();
    assert!(list.revokes(bad.digest()).is_some() && list.revokes(other.digest()).is_some());
    let since = desk.entered_since(&good).await.unwrap();
    let entries = entries(&good, None, since, kept, &collection);
    let ids = |all: &BTreeSet<crate::trust::RevocationEntry>| -> Vec<String> {
        all.iter().map(|e| e.id.clone()).collect()
    };
    assert_eq!((ids(&entries.added), ids(&entries.gone)), (vec!["3".to_owned()], vec!["2".to_owned()]));
}

#[tokio::test]
async fn a_good_state_whose_list_is_withheld_is_not_one_without_revocations() {
    let world = world().await;
    let bad = image(&*world.store, "a").await;
    revoke(&world, bad.digest()).await;
    doctor(&world, Files::drop_targets).await;
    let (collection, memories) = (name(), [world.owner.memory()]);
    let desk = desk(&world, &collection, &memories, &world.owner);
    let good = desk.good(Some(&*world.store)).await.unwrap();
    let refused = desk.propose_on(&good, &other_online_key(), about(&world)).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("revocation"), "{refused}");
}

#[tokio::test]
async fn a_full_list_of_the_thief_stops_no_recovery() {
    let world = world().await;
    let bad = image(&*world.store, "a").await;
    revoke(&world, bad.digest()).await;
    let home = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, NEW_ONLINE]);
    let (collection, memories) = (name(), [home.memory()]);
    let desk = desk(&world, &collection, &memories, &home);
    let good = desk.remembered().await.unwrap();
    // As many as a list holds, and none of the good one.
    world.clock.forward(60);
    let at = world.clock.now();
    let junk = (0..20_000).map(|n| json!({"id": format!("j{n}"), "kind": "advisory", "at": at}));
    let list: Bytes = json!({"schemaVersion": 1, "entries": junk.collect::<Vec<_>>()}).to_string().into();
    let (role, path) = (RoleName::revocations(), collection.revocations_path());
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
    let view = View::of(&RoleFile::of(good.role(&role).unwrap()).unwrap());
    let changes = [Change::Set { path: path.clone(), value }];
    let draft = next(&view, None, &changes, &name().to_string(), at, at.plus(90 * DAY));
    let (thief, keys) = (Home::new(&[Home::RELEASES]), good.keys(&role).unwrap());
    let bytes = crate::client::signing::sign(&thief.keys, &role, keys, &draft).await.unwrap();
    let file = FileName::versioned(role.clone(), good.role(&role).unwrap().version().next());
    doctor(&world, |files| {
        files.put(file, bytes);
        files.put_target(path, list);
    })
    .await;
    assert_eq!(desk.entered_since(&good).await.unwrap().len(), 20_001, "the thief's list is seen");
    let done = desk.recover(&good, &other_online_key(), about(&world)).await.unwrap();
    assert!(done.worked.as_ref().is_some_and(|w| w.installed), "{:?}", done.needed);
    let live = world.live().await;
    let list = RevocationList::parse(live.files().target(&collection.revocations_path()).unwrap()).unwrap();
    assert!(list.revokes(bad.digest()).is_some());
}

#[tokio::test]
async fn what_is_remembered_falls_away_too_where_an_older_state_is_served() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let before = world.live().await.files().clone();
    world.clock.forward(60);
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    put(&world, &before).await;
    let (collection, memories) = (name(), [world.owner.memory()]);
    let desk = desk(&world, &collection, &memories, &world.owner);
    let good = desk.good(Some(&*world.store)).await.unwrap();
    let newest = |live: &Live| match live {
        Live::Remembered(whole, _) => Some(whole.role(&RoleName::releases()).unwrap().role().targets().len()),
        _ => None,
    };
    let live = desk.live(&good).await.unwrap();
    assert!(newest(&live).is_some_and(|n| n > 0), "{live:?}");
    world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    let live = desk.live(&good).await.unwrap();
    assert!(newest(&live).is_some_and(|n| n > 0), "{live:?}");
    let own = desk.remembered().await.unwrap();
    assert!(matches!(desk.live(&own).await.unwrap(), Live::Nothing));
}

/// The state from before the online keys were replaced tells of the past, and vouches for nothing.
#[tokio::test]
async fn a_state_under_replaced_keys_bears_out_no_date_and_is_not_the_newest() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let old = Arc::new(MemoryStore::new(name().as_repository().clone()));
    let packed = pack(Kind::State, world.live().await.files(), None);
    Known::new(&*old).push(&packed, Some(&name().state_tag())).await.unwrap();
    world.clock.forward(60);
    let since = world.clock.now();
    let audit = async |places: Vec<Arc<dyn Manage>>, memory: &crate::client::memory::Memory, since| {
        let request = audit::Request {
            collection: name(),
            anchor: world.root.clone(),
            places,
            memory,
            key: None,
            since,
            installed: &[],
            unread: 0,
            now: world.clock.now(),
        };
        audit::audit(request).await.unwrap()
    };
    let brought = |a: &audit::Audited| a.introduced.iter().find(|i| i.digest == *bundle.digest()).cloned();
    let newcomer = Home::new(&[]);
    world.renew(&world.owner, &["timestamp"]).await.unwrap();
    let both: Vec<Arc<dyn Manage>> = vec![world.store.clone(), old.clone()];
    let before = audit(both.clone(), &newcomer.memory(), Some(since)).await;
    assert!(brought(&before).is_none(), "the old state bears it out while its keys stand");
    let home = world.home(&[ALL, &[NEW_ONLINE]].concat());
    at_once(&world, &home, &other_online_key()).await.unwrap();
    let after = audit(both, &newcomer.memory(), Some(since)).await;
    assert!(brought(&after).is_some_and(|i| i.undated), "{after:?}");
    assert!(after.is_whole(), "{after:?}");
    let alone = audit(vec![old], &home.memory(), None).await;
    assert!(alone.judged && alone.places[0].under.is_some() && !alone.is_whole(), "{alone:?}");
    let live = audit(vec![world.store.clone()], &home.memory(), None).await;
    assert!(live.is_whole(), "{live:?}");
}
