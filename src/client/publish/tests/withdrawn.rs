//! What was withdrawn stays out, whoever puts its old submission back.

use super::*;

/// What `revoke` will do to a release: it is withdrawn from the role.
struct Withdrawal(String);

impl Intents for Withdrawal {
    fn role(&self) -> RoleName {
        RoleName::releases()
    }

    fn changes(&self, _: &[&Whole], _: &View, _: &KeyId, at: UnixTime) -> Result<Vec<Change>, Refusal> {
        Ok(vec![Change::Withdraw { path: self.0.clone(), id: format!("{:016x}", at.secs()) }])
    }
}

async fn withdraw(world: &World, digest: &Digest) {
    let (place, none) = (Known::new(&*world.store), BTreeSet::new());
    let (collection, memories) = (name(), [world.owner.memory()]);
    let committer = Committer {
        place: &place,
        collection: &collection,
        anchor: &world.root,
        memories: &memories,
        without_memory: false,
        keys: &world.owner.keys,
        clock: &world.clock,
    };
    let intents = Withdrawal(collection.release_path(digest));
    committer.work(&Job::changes(&intents, &none)).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_release_does_not_come_back_by_its_old_submission() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&text(&bundle), &[])]).await.unwrap();
    let tags = world.store.tags(None).await.unwrap();
    let tag = tags.into_iter().find(|t| t.as_str().contains(".s.")).unwrap();
    let old = world.store.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    world.clock.forward(60);
    withdraw(&world, bundle.digest()).await;
    assert!(!world.has(bundle.digest()).await);
    world.clock.forward(4_000);
    world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(world.submissions().await, 0);
    world.store.push_manifest(&old, Some(&tag)).await.unwrap();
    world.renew(&world.owner, &[]).await.unwrap();
    assert!(!world.has(bundle.digest()).await);
    assert!(!trusted(&world, &format!("{}@{}", name(), bundle.digest())).await);
    // Published again, knowingly, it is back; and stays although the withdrawal is still remembered.
    let again = world.publish(&world.owner, &[(&text(&bundle), &[])]).await.unwrap();
    assert_eq!(again.status, Status::Released);
    world.renew(&world.owner, &[]).await.unwrap();
    assert!(world.has(bundle.digest()).await);
}
