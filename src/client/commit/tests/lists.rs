//! Revocation lists that whoever stole keys signed: one that nobody can read, and one that is full.

use super::*;
use crate::client::revoke::{self, RevokeError, Revoked, What};
use crate::trust::RevocationList;

async fn withdraw(world: &World, what: What, replace_unreadable: bool) -> Result<Revoked, RevokeError> {
    revoke::revoke(revoke::Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        store: &*world.store,
        what,
        reason: "CVE".into(),
        replace_unreadable,
        memories: &[world.owner.memory()],
        without_memory: false,
        keys: &world.owner.keys,
        clock: &world.clock,
    })
    .await
}

fn bundle(content: &Content) -> What {
    What::Bundle(Selector::Digest(content.digest().clone()))
}

/// What lies there now, with `list`, by the keys of releases and the online key.
async fn serve(world: &World, list: &str) {
    let path = name().revocations_path();
    let list = Bytes::from(list.to_owned());
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
    let mut files =
        world.forged(&RoleName::revocations(), &[Change::Set { path: path.clone(), value }]).await;
    files.put_target(path, list);
    world.clock.forward(1);
    put(world, &files).await;
}

async fn list(world: &World) -> RevocationList {
    let live = world.live().await;
    RevocationList::parse(live.files().target(&name().revocations_path()).unwrap()).unwrap()
}

fn tombstones(n: usize) -> String {
    let entry = |i: usize| {
        let (id, subject) = (format!("{i:016x}"), Digest::sha256(i.to_string().as_bytes()));
        json!({"id": id, "kind": "tombstone", "subject": subject, "at": "2026-01-01T00:00:00Z"})
    };
    json!({"schemaVersion": 1, "entries": (0..n).map(entry).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_replaced_on_demand_by_what_was_known_before() {
    let world = world().await;
    let (first, second) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    withdraw(&world, bundle(&first), false).await.unwrap();
    for junk in ["no list", r#"{"schemaVersion": 9, "entries": []}"#] {
        serve(&world, junk).await;
        let refused = withdraw(&world, bundle(&second), false).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(&refused, RevokeError::Work(WorkError::Refused(Refusal::Revocations(_)))),
            "{refused:?}"
        );
        let done = withdraw(&world, bundle(&second), true).await.unwrap();
        assert!(done.replaced.is_some(), "{done:?}");
        let list = list(&world).await;
        assert!(list.revokes(first.digest()).is_some() && list.revokes(second.digest()).is_some());
    }
    // Where it can be read nothing is replaced, whatever is demanded.
    let third = image(&*world.store, "c").await;
    let done = withdraw(&world, bundle(&third), true).await.unwrap();
    assert_eq!(done.replaced, None);
    let list = list(&world).await;
    assert!([&first, &second, &third].iter().all(|c| list.revokes(c.digest()).is_some()));
}

#[tokio::test]
async fn a_full_list_takes_nothing_and_a_nearly_full_one_tombstones_alone() {
    let world = world().await;
    let bad = image(&*world.store, "a").await;
    let full = |e: RevokeError| match e {
        RevokeError::Work(WorkError::Refused(Refusal::ListFull(entries))) => entries,
        e => panic!("{e:?}"),
    };
    serve(&world, &tombstones(19_000)).await;
    let advisory = || What::Advisory(Some(Selector::Digest(bad.digest().clone())));
    assert_eq!(full(withdraw(&world, advisory(), false).await.unwrap_err()), 19_000);
    withdraw(&world, bundle(&bad), false).await.unwrap();
    assert!(list(&world).await.revokes(bad.digest()).is_some());
    let other = image(&*world.store, "b").await;
    let world = self::world().await;
    serve(&world, &tombstones(20_000)).await;
    assert_eq!(full(withdraw(&world, bundle(&other), false).await.unwrap_err()), 20_000);
    assert_eq!(list(&world).await.entries().len(), 20_000);
}
