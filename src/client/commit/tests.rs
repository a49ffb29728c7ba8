//! What a registry may serve to those who sign.

mod beside;
mod candidates;
mod installs;
mod lists;
mod mean;
mod past;
mod recovered;
mod remembered;
mod rivals;
mod thieves;
mod travelling;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::client::fixture::{DAY, Home, World, image, key, name};
use crate::client::publish::PublishError;
use crate::client::renew::Status;
use crate::client::state::{Kind, pack};
use crate::client::submission::fetch;
use crate::client::whole::walk_on;
use crate::oci::Selector;
use crate::sig::KeyId;
use crate::store::Manage;
use crate::store::memory::MemoryStore;
use crate::trust::Verdict;
use crate::tuf::lineage::{Change, RoleFile, View, next};
use crate::tuf::proposal::Seat;
use crate::tuf::{Draft, Extra, FileName, FilePin, Heading, Signers};

use mean::Mean;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

fn root(version: u64) -> FileName {
    FileName::versioned(RoleName::root(), Version::new(version).unwrap())
}

/// Put the live state with other files at its tag.
async fn doctor(world: &World, edit: impl FnOnce(&mut Files)) {
    let mut files = world.live().await.files().clone();
    edit(&mut files);
    put(world, &files).await;
}

async fn put(world: &World, files: &Files) {
    let packed = pack(Kind::State, files, None);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
}

/// The next version of a role with changes, signed by the key of releases, as a submission.
async fn submit(world: &World, role: &RoleName, changes: &[Change], target_files: Files) {
    let live = world.live().await;
    let (now, home) = (world.clock.now(), Home::new(&[Home::RELEASES]));
    let view = View::of(&RoleFile::of(live.role(role).unwrap()).unwrap());
    let draft = next(&view, None, changes, &name().to_string(), now, now.plus(90 * DAY));
    let keys = live.keys(role).unwrap();
    let bytes = crate::client::signing::sign(&home.keys, role, keys, &draft).await.unwrap();
    let submission = Submission::of(role, keys, &bytes, target_files).unwrap();
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
}

/// Revoke a bundle.
async fn revoke(world: &World, digest: &Digest) {
    let entry = json!({"id": "1", "kind": "bundle", "subject": digest, "at": world.clock.now()});
    let list: Bytes = json!({"schemaVersion": 1, "entries": [entry]}).to_string().into();
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
    let path = name().revocations_path();
    let mut files = Files::new();
    files.put_target(path.clone(), list);
    submit(world, &RoleName::revocations(), &[Change::Set { path, value }], files).await;
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().admitted.len(), 1);
}

fn refused(e: &PublishError) -> Option<&Refusal> {
    match e {
        PublishError::Work(WorkError::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[tokio::test]
async fn a_root_that_nobody_checked_is_not_remembered() {
    let world = world().await;
    doctor(&world, |files| files.put(root(1), Bytes::from_static(b"{}"))).await;
    world.renew(&world.owner, &[]).await.unwrap();
    let kept = world.owner.memory().load(&world.root).unwrap();
    assert_eq!(kept.and_then(|m| m.files.get(&root(1)).cloned()), Some(world.root.clone()));
}

#[tokio::test]
async fn roots_before_the_trusted_one_stay_in_the_state() {
    let mut world = world().await;
    let bundle = image(&*world.store, "a").await;
    world.clock.forward(1);
    let all = world.home(&[Home::ROOT, Home::ONLINE]);
    world.renew(&all, &["root"]).await.unwrap();
    let second = world.live().await.files().get(&root(2)).unwrap().clone();
    // Somebody who came later trusts the second root.
    let newcomer = Home::new(&[Home::RELEASES, Home::ONLINE]);
    let mut remembered = all.memory().load(&world.root).unwrap().unwrap();
    remembered.files.retain(|n| *n != root(1));
    newcomer.memory().save(&second, &remembered).unwrap();
    let first = std::mem::replace(&mut world.root, second);
    world.publish(&newcomer, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    assert_eq!(world.live().await.files().get(&root(1)), Some(&first));
    world.root = first;
    let report = world.verify(&format!("{}:v1", name())).await;
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
}

#[tokio::test]
async fn a_remembered_root_is_settled() {
    let world = world().await;
    world.clock.forward(1);
    let all = world.home(&[Home::ROOT, Home::ONLINE]);
    world.renew(&all, &["root"]).await.unwrap();
    // The same root with a space more: its signatures hold all the same.
    doctor(&world, |files| {
        let same = [files.get(&root(2)).unwrap(), &b" "[..]].concat();
        files.put(root(2), same.into());
    })
    .await;
    assert_eq!(world.renew(&all, &[]).await.unwrap().status, Status::Current);
}

#[tokio::test]
async fn a_list_that_was_stripped_is_put_back_and_not_forgotten() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    doctor(&world, Files::drop_targets).await;
    let job = world.home(&[Home::ONLINE]);
    let renewed = world.renew(&job, &[]).await.unwrap();
    let path = name().revocations_path();
    let kept = job.memory().load(&world.root).unwrap().unwrap();
    assert!(kept.files.target(&path).is_some());
    assert!(renewed.repaired && world.live().await.files().target(&path).is_some());
    let report = world.verify(&format!("{}:v1", name())).await;
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
}

#[tokio::test]
async fn a_memory_that_lacks_a_file_is_filled_from_what_is_published() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    // A verifier was shown the state without a file that it had no need of.
    let job = world.home(&[Home::ONLINE]);
    let mut short = job.memory().load(&world.root).unwrap().unwrap();
    let verified = world.owner.memory().load(&world.root).unwrap().unwrap();
    short.files = verified.files.clone();
    short.files.retain(|name| *name.role() != RoleName::revocations());
    job.memory().forget(std::slice::from_ref(&world.root)).unwrap();
    job.memory().save(&world.root, &short).unwrap();
    world.renew(&job, &[]).await.unwrap();
    // Where nobody has it, nothing is signed.
    job.memory().forget(std::slice::from_ref(&world.root)).unwrap();
    job.memory().save(&world.root, &short).unwrap();
    doctor(&world, |files| files.retain(|name| *name.role() != RoleName::revocations())).await;
    assert!(matches!(world.renew(&job, &[]).await, Err(WorkError::Remembered(_))));
}

#[tokio::test]
async fn a_list_that_was_replaced_does_not_let_a_revoked_bundle_through() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let first = world.live().await;
    revoke(&world, bundle.digest()).await;
    let what = bundle.digest().to_string();
    let publish = async || world.publish(&world.owner, &[(&what, &["v1"])]).await.unwrap_err();
    let submissions = world.submissions().await;
    let revoked = Refusal::Revoked(bundle.digest().clone());
    assert_eq!(refused(&publish().await), Some(&revoked));
    let path = name().revocations_path();
    let empty = first.files().target(&path).unwrap().clone();
    let good = world.live().await.files().clone();
    for edit in [Files::drop_targets, |_: &mut Files| ()] {
        put(&world, &good).await;
        doctor(&world, |files| {
            edit(files);
            if files.target(&path).is_some() {
                files.put_target(path.clone(), empty.clone());
            }
        })
        .await;
        assert_eq!(refused(&publish().await), Some(&revoked));
    }
    // The state from before the revocation.
    put(&world, first.files()).await;
    assert_eq!(refused(&publish().await), Some(&revoked));
    // Where nobody has the list, nothing is signed.
    let mut remembered = world.owner.memory().load(&world.root).unwrap().unwrap();
    remembered.files.drop_targets();
    let other = Home::new(&[Home::RELEASES, Home::ONLINE]);
    other.memory().save(&world.root, &remembered).unwrap();
    doctor(&world, Files::drop_targets).await;
    let e = world.publish(&other, &[(&what, &["v1"])]).await.unwrap_err();
    assert!(matches!(refused(&e), Some(Refusal::Revocations(_))), "{e:?}");
    assert_eq!(world.submissions().await, submissions);
}

#[tokio::test]
async fn a_file_of_another_role_is_not_taken_for_it() {
    let world = world().await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    // The releases key signs revocations too, so a file of releases verifies in their place.
    let path = name().tag_path(&"v9".parse().unwrap());
    let value = json!({"length": 2, "hashes": {"sha256": Digest::sha256(b"{}").hex()}});
    submit(&world, &RoleName::revocations(), &[Change::Set { path, value }], Files::new()).await;
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(matches!(renewed.pending[0].reason, Reason::Invalid(_)), "{:?}", renewed.pending);
    let done = world.publish(&world.owner, &[(&b.digest().to_string(), &[])]).await.unwrap();
    assert_eq!(done.status, crate::client::publish::Status::Released);
    let live = world.live().await;
    let listed = live.role(&RoleName::revocations()).unwrap().role().targets();
    assert!(listed.keys().all(|p| *p == name().revocations_path()), "{listed:?}");
}

#[tokio::test]
async fn submissions_that_were_not_looked_at_are_not_passed_over_in_silence() {
    let world = world().await;
    let junk = image(&*world.store, "junk").await;
    let prefix = name().submission_prefix();
    for n in 0..=MAX_SUBMISSIONS {
        let tag = format!("{prefix}d8d28adb.0000000002.{n:032x}").parse().unwrap();
        world.store.push_manifest(&junk, Some(&tag)).await.unwrap();
    }
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(renewed.pending.iter().filter(|p| p.reason == Reason::NotLookedAt).count(), 1);
    assert_eq!(renewed.status, Status::Incomplete);
}

#[tokio::test]
async fn what_only_looks_like_a_seal_is_none() {
    let world = world().await;
    let (publisher, job) = (world.home(&[Home::RELEASES]), world.home(&[Home::ONLINE]));
    let bundle = image(&*world.store, "a").await;
    world.publish(&publisher, &[(&bundle.digest().to_string(), &["v1"])]).await.unwrap();
    let mut files = Files::new();
    files.put(root(1), world.root.clone());
    let place = Known::new(&*world.store);
    let fake = pack(Kind::Seal, &files, Some(bundle.descriptor()));
    place.push(&fake, None).await.unwrap();
    place.store().index_referrers(bundle.descriptor(), &[fake.manifest]).await.unwrap();
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.finished.seals.len(), 1);
    world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    let report = world.verify(&format!("{}:v1", name())).await;
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
}

#[tokio::test]
async fn a_bundle_at_the_tag_of_a_submission_is_not_deleted_with_it() {
    let world = World::new(Arc::new(Mean::new())).await;
    let bundle = image(&*world.store, "a").await;
    let what = bundle.digest().to_string();
    let done = world.publish(&world.owner, &[(&what, &["v1"])]).await.unwrap();
    let tag = &done.submitted[0];
    let submission = world.store.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    world.store.push_manifest(&bundle, Some(tag)).await.unwrap();
    world.clock.forward(3_700);
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().deleted, []);
    let there = world.store.resolve(&Selector::Digest(bundle.digest().clone())).await.unwrap();
    assert!(there.is_some(), "the bundle was deleted");
    // What lies there by right goes.
    world.store.push_manifest(&submission, Some(tag)).await.unwrap();
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().deleted, std::slice::from_ref(tag));
}

#[tokio::test]
async fn a_submission_without_the_file_that_it_lists_stops_nobody() {
    let world = world().await;
    let good = image(&*world.store, "good").await;
    let (path, list) =
        (name().revocations_path(), Bytes::from_static(br#"{"schemaVersion":1,"entries":[]} "#));
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
    // Whoever has the key of releases holds that of revocations as well by default, and left the file out.
    submit(&world, &RoleName::revocations(), &[Change::Set { path, value }], Files::new()).await;
    let before = world.live().await;
    let digest = good.digest().to_string();
    let done =
        world.publish(&world.home(&[Home::RELEASES, Home::ONLINE]), &[(&digest, &["v1"])]).await.unwrap();
    assert!(world.has(good.digest()).await);
    let reasons: Vec<_> = done.pending.iter().map(|p| (p.role.clone(), &p.reason)).collect();
    let [(Some(role), Reason::Invalid(why))] = &reasons[..] else { panic!("{reasons:?}") };
    assert_eq!(*role, RoleName::revocations());
    assert!(why.contains("revocations.json"), "{why}");
    let revocations = |whole: &Whole| whole.role(&RoleName::revocations()).map(|f| f.version());
    assert_eq!(revocations(&world.live().await), revocations(&before));
    let renewed = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    assert!(renewed.admitted.is_empty() && renewed.pending.len() == 1);
}

#[tokio::test]
async fn a_state_with_a_damaged_file_is_repaired_from_memory() {
    let world = world().await;
    let image = image(&*world.store, "kept").await;
    world.publish(&world.owner, &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    // The live state names a file by a digest and size that no bytes have.
    let live = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    let mut doc: serde_json::Value = serde_json::from_slice(live.bytes()).unwrap();
    for layer in doc["layers"].as_array_mut().unwrap() {
        layer.as_object_mut().unwrap().remove("data");
    }
    doc["layers"][0]["size"] = json!(1);
    let damaged = Content::new(live.media_type(), serde_json::to_vec(&doc).unwrap());
    world.store.push_manifest(&damaged, Some(&name().state_tag())).await.unwrap();
    let stopped = world.publish(&world.owner, &[(&image.digest().to_string(), &["v2"])]).await;
    assert!(matches!(stopped, Err(PublishError::Work(WorkError::State(_)))), "{stopped:?}");
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(renewed.repaired && renewed.commits == 1, "{renewed:?}");
    assert!(world.has(image.digest()).await);
}

#[tokio::test]
async fn what_is_remembered_of_a_role_outlives_the_online_keys() {
    const NEW: u8 = 9;
    let world = world().await;
    let (first, second) = (image(&*world.store, "first").await, image(&*world.store, "second").await);
    world.publish(&world.owner, &[(&first.digest().to_string(), &[])]).await.unwrap();
    let before = world.live().await;
    world.publish(&world.owner, &[(&second.digest().to_string(), &[])]).await.unwrap();

    // The holder of the root gives snapshot and timestamp to another key, on a state from before; submissions are gone.
    let (signer, now) = (Home::new(&[Home::ROOT, NEW]), world.clock.now());
    let heading = |version: Version| Heading {
        version,
        expires: now.plus(30 * DAY),
        extra: Extra::new(name().to_string(), now),
    };
    let of = |k: u8| Signers { keys: vec![key(k).public_key().clone()], threshold: 1 };
    let roles = BTreeMap::from([
        (RoleName::root(), of(Home::ROOT)),
        (RoleName::targets(), of(Home::TARGETS)),
        (RoleName::snapshot(), of(NEW)),
        (RoleName::timestamp(), of(NEW)),
    ]);
    let sign = crate::client::signing::sign;
    let two = Version::new(2).unwrap();
    let draft = Draft::root(&heading(two), &roles);
    let old = before.trusted().root().role().root_keys();
    let mut files = before.files().clone();
    files.put(root(2), sign(&signer.keys, &RoleName::root(), old, &draft).await.unwrap());
    let chain = walk_on(&world.root, &name(), None, &[&files], &Limits::default()).unwrap();
    let keys = chain.last().role();
    let version = Version::new(u64::try_from(now.secs()).unwrap() + 1000).unwrap();
    let draft = Draft::snapshot(&heading(version), before.trusted().snapshot().role().pins());
    let snapshot = sign(&signer.keys, &RoleName::snapshot(), keys.snapshot_keys(), &draft).await.unwrap();
    let draft = Draft::timestamp(&heading(version), &FilePin::of(version, &snapshot));
    let timestamp = sign(&signer.keys, &RoleName::timestamp(), keys.timestamp_keys(), &draft).await.unwrap();
    files.retain(|f| !["snapshot", "timestamp"].contains(&f.role().as_str()));
    files.put(FileName::versioned(RoleName::snapshot(), version), snapshot);
    files.put(FileName::timestamp(), timestamp);
    put(&world, &files).await;
    for tag in world.store.tags(None).await.unwrap() {
        if tag.as_str().starts_with(&name().submission_prefix()) {
            assert!(world.store.delete(&Selector::Tag(tag)).await.unwrap());
        }
    }
    assert!(world.has(first.digest()).await && !world.has(second.digest()).await);

    world.renew(&world.home(&[Home::RELEASES, NEW]), &[]).await.unwrap();
    assert!(world.has(first.digest()).await);
    assert!(world.has(second.digest()).await, "what only the memory knew is in again");
}

/// A blob that is nobody's file.
async fn other_blob(world: &World) -> Digest {
    let other = Content::new("application/octet-stream", b"other".to_vec());
    let source = crate::store::BytesSource(other.bytes().clone());
    world.store.push_blob(other.descriptor(), &source).await.unwrap();
    other.digest().clone()
}

/// Put the live state again without embedded files, and with another blob's digest for the file `lost`.
async fn spread(world: &World, lost: Option<&str>) {
    let live = world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap().unwrap();
    let mut doc: serde_json::Value = serde_json::from_slice(live.bytes()).unwrap();
    let other = other_blob(world).await;
    for layer in doc["layers"].as_array_mut().unwrap() {
        layer.as_object_mut().unwrap().remove("data");
        let file = layer["annotations"][state::FILENAME].as_str().unwrap();
        if lost.is_some_and(|lost| file.ends_with(lost)) {
            layer["digest"] = json!(other);
        }
    }
    let manifest = Content::new(live.descriptor().media_type.clone(), doc.to_string().into_bytes());
    world.store.push_manifest(&manifest, Some(&name().state_tag())).await.unwrap();
}

#[tokio::test]
async fn a_damaged_state_is_not_replaced_by_an_older_memory() {
    let world = World::new(Arc::new(Mean::new())).await;
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &[])]).await.unwrap();
    let stale = world.home(&[Home::ONLINE]);
    world.renew(&stale, &[]).await.unwrap();
    let old = stale.memory().load(&world.root).unwrap();
    revoke(&world, bundle.digest()).await;
    let newest = world.live().await;
    for lost in ["revocations.json", "snapshot.json"] {
        put(&world, newest.files()).await;
        spread(&world, Some(lost)).await;
        let before = world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap();
        let e = world.renew(&stale, &[]).await.unwrap_err();
        assert!(e.to_string().contains("damaged live state"), "{lost}: {e}");
        assert_eq!(stale.memory().load(&world.root).unwrap(), old);
        assert_eq!(world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap(), before);
    }
    // Who remembers the newest one puts it right.
    assert!(world.renew(&world.owner, &[]).await.unwrap().repaired);
    let revocations = RoleName::revocations();
    assert_eq!(
        world.live().await.role(&revocations).unwrap().bytes(),
        newest.role(&revocations).unwrap().bytes()
    );
}

#[tokio::test]
async fn one_damaged_answer_is_not_taken_for_the_state() {
    let store = Arc::new(Mean::new());
    let world = World::new(store.clone()).await;
    let stale = world.home(&[Home::ONLINE]);
    world.renew(&stale, &[]).await.unwrap();
    let bundle = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &[])]).await.unwrap();
    spread(&world, None).await;
    store.damages.store(true, Ordering::SeqCst);
    let renewed = world.renew(&stale, &[]).await.unwrap();
    assert!(!store.damages.load(Ordering::SeqCst), "it was served");
    assert!(!renewed.repaired);
    assert!(world.has(bundle.digest()).await);
}

/// A submission of releases with one file of this blob, said to be so large.
async fn junk(world: &World, blob: &Digest, size: u64) -> SubmissionTag {
    let mut doc = json!({"schemaVersion": 2, "mediaType": crate::oci::media_type::OCI_MANIFEST});
    doc["artifactType"] = json!(Kind::Submission.artifact_type());
    doc["config"] = json!(crate::oci::empty_descriptor());
    doc["layers"] = json!([{
        "mediaType": crate::oci::media_type::TUF_METADATA, "digest": blob, "size": size,
        "annotations": {state::FILENAME: "2.releases.json"},
    }]);
    let bytes = doc.to_string().into_bytes();
    let tag = SubmissionTag::of(&RoleName::releases(), Version::new(2).unwrap(), &bytes);
    let manifest = Content::new(crate::oci::media_type::OCI_MANIFEST, bytes);
    world.store.push_manifest(&manifest, tag.tag(&name()).as_ref()).await.unwrap();
    tag
}

async fn at(world: &World, tag: &SubmissionTag) -> Content {
    world.store.resolve(&Selector::Tag(tag.tag(&name()).unwrap())).await.unwrap().unwrap()
}

/// What junk claims is nobody's budget: it costs what it sends.
#[tokio::test]
async fn junk_costs_what_it_sends() {
    let world = world().await;
    let (live, other) = (world.live().await, other_blob(&world).await);
    let (place, left) = (Known::new(&*world.store), Arc::new(AtomicU64::new(100)));
    let sent = b"other".len() as u64;
    for (blob, size, paid) in [
        // Nobody reads it; what is sent is sent twice, since one answer may be damaged.
        (&other, MAX_SUBMITTED_BYTES, 0),
        (&other, state::MAX_STATE_FILES, 2 * sent),
    ] {
        let tag = junk(&world, blob, size).await;
        let before = left.load(Ordering::SeqCst);
        let seats: BTreeMap<RoleName, Seat> =
            live.roles().iter().map(|(role, at)| (role.clone(), at.seat())).collect();
        let fetched = fetch(&place, &name(), &tag, at(&world, &tag).await, &seats, &left, world.clock.now())
            .await
            .unwrap();
        assert!(matches!(fetched, Fetched::Invalid(_)), "{fetched:?}");
        assert_eq!(before - left.load(Ordering::SeqCst), paid, "{size}");
    }
    left.store(sent - 1, Ordering::SeqCst);
    let tag = junk(&world, &other, sent).await;
    let seats: BTreeMap<RoleName, Seat> =
        live.roles().iter().map(|(role, at)| (role.clone(), at.seat())).collect();
    let now = world.clock.now();
    let fetched = fetch(&place, &name(), &tag, at(&world, &tag).await, &seats, &left, now).await.unwrap();
    assert!(matches!(fetched, Fetched::TooMuch), "{fetched:?}");
}

/// Role files that are left of a damaged live state, with signatures that hold, are folded: what was admitted, and is in no
/// memory at hand and no submission any more, is not undone by the repair.
#[tokio::test]
async fn what_is_left_of_a_damaged_state_is_folded() {
    let world = world().await;
    let (first, second) = (image(&*world.store, "first").await, image(&*world.store, "second").await);
    world.publish(&world.owner, &[(&first.digest().to_string(), &[])]).await.unwrap();
    let stale = world.home(&[Home::ONLINE]);
    world.publish(&world.owner, &[(&second.digest().to_string(), &[])]).await.unwrap();
    for tag in world.store.tags(None).await.unwrap() {
        if tag.as_str().starts_with(&name().submission_prefix()) {
            assert!(world.store.delete(&Selector::Tag(tag)).await.unwrap());
        }
    }
    // What would say that the memory is older is lost as well.
    spread(&world, Some("snapshot.json")).await;
    spread(&world, Some("timestamp.json")).await;
    let renewed = world.renew(&stale, &[]).await.unwrap();
    assert!(renewed.repaired, "{renewed:?}");
    assert!(world.has(first.digest()).await && world.has(second.digest()).await);
}

/// A file whose signature does not hold is nobody's, and one that is older than what is remembered changes nothing.
#[tokio::test]
async fn of_a_damaged_state_only_what_verifies_is_folded() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let empty = world.live().await;
    world.publish(&world.owner, &[(&bundle.digest().to_string(), &[])]).await.unwrap();
    let releases = |w: &Whole| {
        let file = w.role(&RoleName::releases()).unwrap();
        (Whole::file_name(&RoleName::releases(), file), file.bytes().clone())
    };
    let (name_now, now) = releases(&world.live().await);
    let forged: Bytes =
        String::from_utf8(now.to_vec()).unwrap().replace(bundle.digest().hex(), &"0".repeat(64)).into();
    let before = world.live().await.files().clone();
    for (file_name, bytes) in [(name_now, forged), releases(&empty)] {
        let mut files = before.clone();
        files.retain(|f| *f.role() != RoleName::releases());
        files.put(file_name, bytes);
        put(&world, &files).await;
        spread(&world, Some("snapshot.json")).await;
        spread(&world, Some("timestamp.json")).await;
        assert!(world.renew(&world.owner, &[]).await.unwrap().repaired);
        assert!(world.has(bundle.digest()).await);
        assert_eq!(world.entries().await.len(), 1);
    }
}
