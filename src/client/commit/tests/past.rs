//! What a state keeps of the past, and what hangs on bundles: eviction, gaps, seals of delegates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::beside::{BOB, grant, tag_entry};
use super::mean::Mean;
use super::*;
use crate::client::commit::{AS_BEFORE, Cosign};
use crate::client::history::{History, MAX_BESIDE};
use crate::client::renew::{self, renew};
use crate::client::state::pack_state;

/// A releases file beside the live one, of the same version, that lists one entry of its own, or nothing new.
async fn sibling(world: &World, n: usize, listed: Option<&Digest>) -> Bytes {
    let live = world.live().await;
    let at = live.roles()[&RoleName::releases()].clone();
    let mut signed: Value = at.file.signed().clone();
    signed["x-padding"] = json!(n);
    if let Some(digest) = listed {
        signed["targets"][name().release_path(digest)] =
            json!({"length": 2, "hashes": {"sha256": digest.hex()}, "custom": {}});
    }
    let draft = Draft::from_signed(signed);
    let home = Home::new(&[Home::RELEASES]);
    crate::client::signing::sign(&home.keys, &RoleName::releases(), &at.keys, &draft).await.unwrap()
}

/// Whoever may push names these in the live state's manifest, beside what it names already.
async fn name_beside(world: &World, files: &[Bytes]) {
    let live = world.live().await;
    let version = live.role(&RoleName::releases()).unwrap().version();
    let manifest = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    let mut history = History::of(&manifest);
    let place = Known::new(&*world.store);
    for bytes in files {
        history.add(FileName::versioned(RoleName::releases(), version), bytes);
    }
    place.push(&pack_state(live.files(), &history), Some(&name().state_tag())).await.unwrap();
}

/// Digests that the live state's manifest names of the past.
async fn named(world: &World) -> BTreeSet<Digest> {
    let manifest = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    History::of(&manifest).layers().map(|layer| layer.digest).collect()
}

#[tokio::test]
async fn of_many_siblings_64_are_kept_and_no_number_of_later_ones_drives_out_what_lists_something() {
    let world = world().await;
    let online = world.home(&[Home::ONLINE]);
    let of = |bytes: &Bytes| Digest::sha256(bytes);
    // What a thief signed: each lists another bundle.
    let mut telling = Vec::new();
    for n in 0..40 {
        let listed = Digest::sha256(format!("evil {n}").as_bytes());
        telling.push(sibling(&world, n, Some(&listed)).await);
    }
    name_beside(&world, &telling).await;
    world.clock.forward(60);
    world.renew(&online, &["timestamp"]).await.unwrap();
    let kept = named(&world).await;
    assert!(telling.iter().all(|bytes| kept.contains(&of(bytes))), "{} of 40", kept.len());
    // Now he hides them among others that list nothing new, and among as many again that do.
    let mut others = Vec::new();
    for n in 100..160 {
        others.push(sibling(&world, n, None).await);
    }
    for n in 200..240 {
        let listed = Digest::sha256(format!("more {n}").as_bytes());
        others.push(sibling(&world, n, Some(&listed)).await);
    }
    name_beside(&world, &others).await;
    world.clock.forward(60);
    world.renew(&online, &["timestamp"]).await.unwrap();
    let kept = named(&world).await;
    let count = |files: &[Bytes]| files.iter().filter(|bytes| kept.contains(&of(bytes))).count();
    assert_eq!(count(&telling) + count(&others), MAX_BESIDE);
    let (quiet, loud) = others.split_at(60);
    assert_eq!(
        (count(quiet), count(&telling) + count(loud)),
        (0, MAX_BESIDE),
        "what lists something goes first"
    );
}

#[tokio::test]
async fn what_the_place_has_lost_is_asked_for_once_a_day_and_no_longer_named() {
    let store = Arc::new(Mean::new());
    let world = World::new(store.clone()).await;
    let online = world.home(&[Home::ONLINE]);
    let first = world.live().await.role(&RoleName::releases()).unwrap().digest();
    let image = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    online.learn(&world.owner, &world.root);
    assert!(named(&world).await.contains(&first));
    *store.lost.lock().unwrap() = Some(first.clone());
    world.clock.forward(60);
    world.renew(&online, &["timestamp"]).await.unwrap();
    assert!(named(&world).await.contains(&first), "it is not asked for in each commit");
    world.clock.forward(2 * DAY);
    assert_eq!(world.renew(&online, &[]).await.unwrap().commits, 1);
    assert!(!named(&world).await.contains(&first));
}

#[tokio::test]
async fn a_reseal_reaches_bundles_that_only_a_delegate_for_tags_lists() {
    let world = world().await;
    let job = world.home(&[Home::ONLINE]);
    grant(&world, &[BOB]).await;
    world.renew(&job, &[]).await.unwrap();
    let image = image(&*world.store, "bobs").await;
    let role: RoleName = "targets/releases/bob".parse().unwrap();
    let live = world.live().await;
    let seat = live.vacant()[&role].clone();
    let view = View::of(&RoleFile::of(&seat.file).unwrap());
    let now = world.clock.now();
    let changes = [tag_entry("bob-1", image.digest())];
    let draft = next(&view, None, &changes, &name().to_string(), now, now.plus(30 * DAY));
    let home = Home::new(&[BOB.1]);
    let bytes = crate::client::signing::sign(&home.keys, &role, &seat.keys, &draft).await.unwrap();
    let submission = Submission::of(&role, &seat.keys, &bytes, Files::new()).unwrap();
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
    assert_eq!(world.renew(&job, &[]).await.unwrap().admitted.len(), 1);
    world.clock.forward(DAY);
    let again = renew(renew::Request {
        collection: name(),
        anchor: world.root.clone(),
        store: &*world.store,
        roles: BTreeSet::from([RoleName::timestamp()]),
        lives: AS_BEFORE,
        reseal: true,
        memories: &[job.memory()],
        without_memory: false,
        cosign: Cosign::Here,
        keys: &job.keys,
        clock: &world.clock,
    })
    .await
    .unwrap();
    assert!(again.finished.seals.contains(image.digest()), "{:?}", again.finished);
    assert!(again.finished.absent.is_empty() && again.finished.open.is_empty());
}
