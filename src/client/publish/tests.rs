use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::client::commit::{Intents, Refusal};
use crate::client::fixture::{DAY, Home, World, image, index, name};
use crate::client::known::Known;
use crate::client::submission::Submission;
use crate::client::whole::Whole;
use crate::sig::KeyId;
use crate::store::BytesSource;
use crate::store::memory::MemoryStore;
use crate::trust::Verdict;
use crate::trust::cnab::CnabFiles;
use crate::trust::cnab::tests::{Built, Sample};
use crate::tuf::Files;
use crate::tuf::lineage::{Change, RoleFile, View, next};

mod withdrawn;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

fn text(content: &Content) -> String {
    content.digest().to_string()
}

async fn trusted(world: &World, reference: &str) -> bool {
    world.verify(reference).await.verdict() == Verdict::Trusted
}

#[tokio::test]
async fn an_index_is_released_with_its_parts_a_seal_and_a_tag() {
    let world = world().await;
    let (amd, att) = (image(&*world.store, "amd64").await, image(&*world.store, "attestation").await);
    let child = |c: &Content, arch: &str, os: &str| {
        let mut d = json!(c.descriptor());
        d["platform"] = json!({"architecture": arch, "os": os});
        d
    };
    let bundle =
        index(&*world.store, vec![child(&amd, "amd64", "linux"), child(&att, "unknown", "unknown")]).await;
    let done = world.publish(&world.owner, &[(&text(&bundle), &["v1", "latest"])]).await.unwrap();
    assert_eq!((done.status, done.commits, done.open), (Status::Released, 1, vec![]));
    assert_eq!(done.versions[&RoleName::releases()].get(), 2);
    let one = &done.bundles[0];
    assert_eq!((one.tags.len(), &one.parts), (2, &vec![amd.digest().clone()]));
    let entries = world.entries().await;
    assert_eq!(entries.len(), 4);
    let part = &entries[&EntryName::Release(amd.digest().clone())];
    assert_eq!(part.about.part_of, BTreeSet::from([bundle.digest().clone()]));
    assert_eq!(part.about.claim, None);
    let named = world.store.resolve(&Selector::Tag("v1".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!(named.digest(), bundle.digest());
    let seals = world.store.referrers(bundle.digest(), Some(media_type::BULLA_SEAL)).await.unwrap();
    assert_eq!(seals.len(), 1);
    for reference in [format!("{}:v1", name()), format!("{}@{}", name(), amd.digest())] {
        assert!(trusted(&world, &reference).await, "{reference}");
    }
    assert!(!trusted(&world, &format!("{}@{}", name(), att.digest())).await);
    // Without the state the seal serves.
    world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    assert!(trusted(&world, &format!("{}:v1", name())).await);
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_another_digest_moves_the_tag() {
    let world = world().await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let first = world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    let again = world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    assert_eq!((again.commits, again.digest, again.status), (0, first.digest, Status::Released));
    world.clock.forward(3600);
    let moved = world.publish(&world.owner, &[(&text(&b), &["v1"])]).await.unwrap();
    assert_eq!((moved.commits, moved.status), (1, Status::Released));
    let entries = world.entries().await;
    let tag = &entries[&EntryName::Tag("v1".parse().unwrap())];
    assert_eq!((&tag.digest, tag.about.previous.as_ref()), (b.digest(), Some(a.digest())));
    assert!(trusted(&world, &format!("{}@{}", name(), a.digest())).await, "it stays a release");
    assert!(trusted(&world, &format!("{}:v1", name())).await);
}

/// Push every part of a CNAB bundle.
async fn push_cnab(world: &World, sample: &Sample) -> Built {
    let built = sample.build();
    let blob = |c: &Content| (c.descriptor().clone(), BytesSource(c.bytes().clone()));
    for (descriptor, bytes) in [blob(&built.bundle_json), blob(&Content::new("application/json", "{}"))] {
        world.store.push_blob(&descriptor, &bytes).await.unwrap();
    }
    for manifest in sample.images.iter().chain([&built.config, &built.index]) {
        world.store.push_manifest(manifest, None).await.unwrap();
    }
    built
}

/// What a publisher signs who uses another program.
async fn admit(world: &World, change: Change) {
    let live = world.live().await;
    let (now, role) = (world.clock.now(), RoleName::releases());
    let view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    let draft = next(&view, None, &[change], &name().to_string(), now, now.plus(90 * DAY));
    let keys = live.keys(&role).unwrap();
    let home = Home::new(&[Home::RELEASES]);
    let bytes = crate::client::signing::sign(&home.keys, &role, keys, &draft).await.unwrap();
    let submission = Submission::of(&role, keys, &bytes, Files::new()).unwrap();
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().admitted.len(), 1);
}

fn level(report: &crate::trust::Report) -> &str {
    report.cnab_level(Default::default()).unwrap().as_str()
}

#[tokio::test]
async fn a_cnab_bundle_is_listed_with_its_bundle_json_and_its_images() {
    let world = world().await;
    let sample = Sample::new();
    let built = push_cnab(&world, &sample).await;
    let done = world.publish(&world.owner, &[(&text(&built.index), &["v1"])]).await.unwrap();
    assert_eq!(done.bundles[0].parts.len(), 3);
    let entries = world.entries().await;
    let entry = &entries[&EntryName::Release(built.index.digest().clone())];
    let listed = &entry.custom["cnab"]["bundle.json"];
    assert_eq!(listed["length"], built.bundle_json.descriptor().size);
    assert_eq!(listed["hashes"]["sha256"], built.bundle_json.digest().hex());
    for selector in [":v1".to_owned(), format!("@{}", built.index.digest())] {
        let report = world.verify(&format!("{}{selector}", name())).await;
        assert_eq!((report.verdict(), level(&report)), (Verdict::Trusted, "2"), "{report:#?}");
    }
    for image in &sample.images {
        assert!(trusted(&world, &format!("{}@{}", name(), image.digest())).await);
    }
    // Without one of its images it is not whole.
    world.store.delete(&Selector::Digest(sample.images[1].digest().clone())).await.unwrap();
    let report = world.verify(&format!("{}:v1", name())).await;
    assert_eq!(report.because().unwrap().code, Code::CnabImageAbsent);
    assert_eq!((report.verdict(), level(&report)), (Verdict::Undecided, "0"));
}

#[tokio::test]
async fn a_cnab_bundle_that_is_not_whole_is_not_published() {
    let world = world().await;
    let mut sample = Sample::new();
    sample.entries.pop();
    let built = push_cnab(&world, &sample).await;
    let refused = world.publish(&world.owner, &[(&text(&built.index), &[])]).await.unwrap_err();
    assert!(matches!(refused, PublishError::Cnab { code: Code::CnabImageMissing, .. }), "{refused}");
    // The config manifest is not there.
    let sample = Sample { layers: json!([]), ..Sample::new() };
    let built = push_cnab(&world, &sample).await;
    world.store.delete(&Selector::Digest(built.config.digest().clone())).await.unwrap();
    let refused = world.publish(&world.owner, &[(&text(&built.index), &[])]).await.unwrap_err();
    assert!(matches!(refused, PublishError::Cnab { code: Code::CnabUnreadable, .. }), "{refused}");
}

/// What a publisher signs who does not look, of a bundle that lies.
#[tokio::test]
async fn a_published_cnab_bundle_that_lies_is_refused_by_whoever_verifies() {
    let world = world().await;
    let mut sample = Sample::new();
    sample.entries[2]["digest"] = json!(sample.images[0].digest());
    let built = push_cnab(&world, &sample).await;
    let plain = image(&*world.store, "plain").await;
    world.publish(&world.owner, &[(&text(&plain), &["v1"])]).await.unwrap();
    let path = name().release_path(built.index.digest());
    let mut value = world.entries().await[&EntryName::Release(plain.digest().clone())].to_json();
    value["length"] = built.index.descriptor().size.into();
    value["hashes"]["sha256"] = built.index.digest().hex().into();
    value["custom"]["bulla"]["mediaType"] = media_type::OCI_INDEX.into();
    // It says another bundle.json, too.
    value["custom"]["cnab"] =
        json!({"bundle.json": {"length": 2, "hashes": {"sha256": Digest::sha256(b"{}").hex()}}});
    admit(&world, Change::Set { path, value }).await;
    let report = world.verify(&format!("{}@{}", name(), built.index.digest())).await;
    assert_eq!(report.because().map(|c| c.code), Some(Code::CnabImageDigest), "{report:#?}");
    assert_eq!((report.verdict(), level(&report)), (Verdict::NotTrusted, "0"));
}

#[tokio::test]
async fn a_hash_of_bundle_json_that_is_listed_and_differs_is_refused() {
    let world = world().await;
    let built = push_cnab(&world, &Sample::new()).await;
    world.publish(&world.owner, &[(&text(&built.index), &[])]).await.unwrap();
    let release = EntryName::Release(built.index.digest().clone());
    let mut value = world.entries().await[&release].to_json();
    value["custom"]["cnab"]["bundle.json"]["length"] = 7.into();
    admit(&world, Change::Set { path: name().release_path(built.index.digest()), value }).await;
    let report = world.verify(&format!("{}@{}", name(), built.index.digest())).await;
    assert_eq!(report.because().map(|c| c.code), Some(Code::CnabListed), "{report:#?}");
}

#[tokio::test]
async fn a_thick_archive_is_signed_and_hung_on_its_bundle() {
    let world = world().await;
    let built = push_cnab(&world, &Sample::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let thick = |bytes: &[u8]| {
        let file = dir.path().join(Digest::sha256(bytes).hex());
        std::fs::write(&file, bytes).unwrap();
        Thick { file, hash: FileHash { digest: Digest::sha256(bytes), length: bytes.len() as u64 } }
    };
    let archive = thick(b"an archive");
    let bundle = text(&built.index);
    world.publish_thick(&[(&bundle, &["v1"])], &archive).await.unwrap();
    let hung = world.store.referrers(built.index.digest(), Some(media_type::BULLA_THICK)).await.unwrap();
    assert_eq!(hung.len(), 1);
    let says = |file: &FileHash| {
        let files = CnabFiles { thick: Some(file.clone()), ..CnabFiles::default() };
        let reference = format!("{}:v1", name());
        let world = &world;
        async move {
            let report = world.verify_with(&reference, &files).await;
            (report.verdict(), report.because().map(|c| c.code))
        }
    };
    assert_eq!(says(&archive.hash).await, (Verdict::Trusted, None));
    assert_eq!(says(&thick(b"another one").hash).await, (Verdict::NotTrusted, Some(Code::CnabThick)));
    // The same file again is no news, and who publishes another tag without it takes nothing away.
    assert_eq!(world.publish_thick(&[(&bundle, &["v1"])], &archive).await.unwrap().commits, 0);
    world.publish(&world.owner, &[(&bundle, &["v1", "latest"])]).await.unwrap();
    assert_eq!(says(&archive.hash).await, (Verdict::Trusted, None));
    let release = EntryName::Release(built.index.digest().clone());
    let listed = &world.entries().await[&release].custom["cnab"]["thick"];
    assert_eq!(*listed, archive.hash.to_json());
    // The first one stays, and who brings another is told.
    world.clock.forward(60);
    let refused = world.publish_thick(&[(&bundle, &["v1"])], &thick(b"another one")).await.unwrap_err();
    assert!(matches!(refused, PublishError::Thick { .. }), "{refused}");
    assert_eq!(says(&archive.hash).await, (Verdict::Trusted, None));
    // A file that changed since it was hashed, and a bundle that is no CNAB bundle.
    let changed = thick(b"hashed");
    std::fs::write(&changed.file, b"pushed").unwrap();
    let sample = Sample { layers: json!([]), ..Sample::new() };
    let other = push_cnab(&world, &sample).await;
    let refused = world.publish_thick(&[(&text(&other.index), &[])], &changed).await.unwrap_err();
    assert!(matches!(refused, PublishError::Store(_)), "{refused}");
    assert!(!world.has(other.index.digest()).await);
    let plain = image(&*world.store, "plain").await;
    let refused = world.publish_thick(&[(&text(&plain), &[])], &archive).await.unwrap_err();
    assert_eq!(refused, PublishError::NoCnab);
    // Without a listed archive none passes.
    world.publish(&world.owner, &[(&text(&other.index), &["v2"])]).await.unwrap();
    let files = CnabFiles { thick: Some(archive.hash.clone()), ..CnabFiles::default() };
    let report = world.verify_with(&format!("{}:v2", name()), &files).await;
    assert_eq!(report.because().map(|c| c.code), Some(Code::CnabThickUnlisted));
    world.publish(&world.owner, &[(&text(&plain), &["v3"])]).await.unwrap();
    let report = world.verify_with(&format!("{}:v3", name()), &files).await;
    assert_eq!(report.because().map(|c| c.code), Some(Code::CnabNone));
}

#[tokio::test]
async fn without_the_online_key_it_waits_for_a_renewal() {
    let world = world().await;
    let (publisher, job) = (world.home(&[Home::RELEASES]), world.home(&[Home::ONLINE]));
    let bundle = image(&*world.store, "a").await;
    let done = world.publish(&publisher, &[(&text(&bundle), &["v1"])]).await.unwrap();
    assert_eq!((done.status, done.commits, done.submitted.len()), (Status::Submitted, 0, 1));
    assert!(!world.has(bundle.digest()).await);
    let again = world.publish(&publisher, &[(&text(&bundle), &["v1"])]).await.unwrap();
    assert_eq!((again.status, again.submitted.len()), (Status::Submitted, 0));
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.status, crate::client::renew::Status::Renewed);
    assert_eq!(renewed.admitted.len(), 1);
    assert_eq!(renewed.finished.seals, BTreeSet::from([bundle.digest().clone()]));
    assert_eq!(renewed.finished.tags.len(), 1);
    assert!(trusted(&world, &format!("{}:v1", name())).await);
    assert_eq!(world.submissions().await, 1, "not settled yet");
    let current = world.renew(&job, &[]).await.unwrap();
    assert_eq!(current.status, crate::client::renew::Status::Current);
    world.clock.forward(3601);
    let tidied = world.renew(&job, &[]).await.unwrap();
    assert_eq!((tidied.deleted.len(), tidied.commits), (1, 0));
    assert_eq!(world.submissions().await, 0);
    assert_eq!(
        world.publish(&publisher, &[(&text(&bundle), &["v1"])]).await.unwrap().status,
        Status::Released
    );
}

#[tokio::test]
async fn what_is_due_is_signed_again_and_nothing_else() {
    let world = world().await;
    let job = world.home(&[Home::ONLINE]);
    let versions =
        |r: &crate::client::renew::Renewed| r.signed.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(versions(&world.renew(&job, &[]).await.unwrap()), Vec::<String>::new());
    world.clock.forward(DAY);
    let before = world.live().await;
    assert_eq!(versions(&world.renew(&job, &[]).await.unwrap()), ["snapshot", "timestamp"]);
    let after = world.live().await;
    assert_eq!(after.trusted().snapshot().role().pins(), before.trusted().snapshot().role().pins());
    world.clock.forward(15 * DAY);
    assert_eq!(versions(&world.renew(&job, &[]).await.unwrap()), ["snapshot", "timestamp"]);
    world.clock.forward(30 * DAY);
    let overdue = world.renew(&job, &[]).await.unwrap();
    assert_eq!(overdue.status, crate::client::renew::Status::Overdue);
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(versions(&renewed), ["snapshot", "targets/releases", "targets/revocations", "timestamp"]);
    world.clock.forward(1);
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::ONLINE]);
    let forced = world.renew(&all, &["root", "targets"]).await.unwrap();
    assert_eq!(versions(&forced), ["root", "snapshot", "targets", "timestamp"]);
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
    let missing = world.renew(&job, &["targets"]).await.unwrap_err();
    assert!(matches!(missing, WorkError::Sign(crate::client::signing::SignError::Missing { .. })));
}

#[tokio::test]
async fn nothing_is_signed_without_memory_or_over_a_state_that_does_not_verify() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let stranger = Home::new(&[Home::RELEASES, Home::ONLINE]);
    let e = world.publish(&stranger, &[(&text(&bundle), &[])]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::NoMemory(_))));
    let absent = world.publish(&world.owner, &[("v9", &[])]).await.unwrap_err();
    assert!(matches!(absent, PublishError::Absent(_)));
    let none = world.home(&[Home::ONLINE]);
    let e = world.publish(&none, &[(&text(&bundle), &[])]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::Sign(_))));
    // An image at the state's tag: publish stops, renew goes on from its memory.
    world.store.push_manifest(&bundle, Some(&name().state_tag())).await.unwrap();
    let e = world.publish(&world.owner, &[(&text(&bundle), &[])]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::State(_))));
    assert_eq!(world.submissions().await, 0);
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(renewed.repaired);
    assert_eq!(world.publish(&world.owner, &[(&text(&bundle), &[])]).await.unwrap().status, Status::Released);
}

#[tokio::test]
async fn an_old_state_is_repaired_by_committing_above_it() {
    let world = world().await;
    let old = world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap().unwrap();
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    let newest = world.live().await.trusted().timestamp().version();
    world.clock.forward(60);
    world.store.push_manifest(&old, Some(&name().state_tag())).await.unwrap();
    let done = world.publish(&world.owner, &[(&text(&b), &[])]).await.unwrap();
    assert!(done.repaired && done.status == Status::Released);
    assert!(world.has(a.digest()).await && world.has(b.digest()).await);
    assert!(world.live().await.trusted().timestamp().version() > newest);
}

#[tokio::test]
async fn a_job_without_memory_of_the_fork_leaves_it_to_a_holder_of_the_key() {
    let world = world().await;
    let (p, q) = (world.home(&[Home::RELEASES]), world.home(&[Home::RELEASES]));
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    // Two who did not see each other: the second one's list was empty.
    world.publish(&p, &[(&text(&a), &["v1"])]).await.unwrap();
    let tags = world.store.tags(None).await.unwrap();
    let tag = tags.iter().find(|t| t.as_str().contains(".s.")).unwrap().clone();
    let hidden = world.store.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    world.store.delete(&Selector::Tag(tag.clone())).await.unwrap();
    world.publish(&q, &[(&text(&b), &["v1"])]).await.unwrap();
    world.store.push_manifest(&hidden, Some(&tag)).await.unwrap();
    let job = world.home(&[Home::ONLINE]);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.status, crate::client::renew::Status::Pending);
    assert_eq!((renewed.admitted.len(), renewed.pending.len()), (1, 1));
    // A holder of the key merges; one of the two values of v1 stays, and the publisher of the other one is told.
    let merged = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!((merged.status, merged.merged), (crate::client::renew::Status::Renewed, 1));
    assert!(world.has(a.digest()).await && world.has(b.digest()).await);
}

/// Sign a state over the live one with the online key alone: other pins, other files.
async fn mischief(
    world: &World,
    pins: impl Fn(&mut BTreeMap<RoleName, crate::tuf::FilePin>),
    drop: &RoleName,
) {
    use crate::client::fixture::key;
    use crate::client::state::{Kind, pack};
    use crate::tuf::{Draft, Extra, FileName, FilePin, Heading};
    let live = world.live().await;
    let mut listed = live.trusted().snapshot().role().pins().clone();
    pins(&mut listed);
    let version = live.trusted().timestamp().version().next();
    let (now, online) = (world.clock.now(), key(Home::ONLINE));
    let heading = Heading { version, expires: now.plus(DAY), extra: Extra::new(name().to_string(), now) };
    let sign = async |draft: Draft| {
        let signature = online.sign(&draft.message()).await.unwrap();
        draft.assemble(&BTreeMap::from([(online.public_key().key_id(), signature)]))
    };
    let snapshot = sign(Draft::snapshot(&heading, &listed)).await;
    let timestamp = sign(Draft::timestamp(&heading, &FilePin::of(version, &snapshot))).await;
    let mut files = live.files().clone();
    files.retain(|n| n.role() != drop && !matches!(n.role().as_str(), "snapshot" | "timestamp"));
    files.drop_targets();
    files.put(FileName::versioned(RoleName::snapshot(), version), snapshot);
    files.put(FileName::timestamp(), timestamp);
    let packed = pack(Kind::State, &files, None);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
}

#[tokio::test]
async fn a_role_that_the_online_key_dropped_is_put_back() {
    let world = world().await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    let revocations = RoleName::revocations();
    mischief(&world, |pins| drop(pins.remove(&revocations)), &revocations).await;
    assert!(!trusted(&world, &format!("{}:v1", name())).await);
    let done = world.publish(&world.owner, &[(&text(&b), &[])]).await.unwrap();
    assert!(done.repaired);
    let live = world.live().await;
    assert!(live.role(&revocations).is_some());
    assert!(live.files().target(&name().revocations_path()).is_some());
    assert!(trusted(&world, &format!("{}:v1", name())).await);
    assert!(trusted(&world, &format!("{}@{}", name(), b.digest())).await);
}

#[tokio::test]
async fn a_bundle_may_lie_elsewhere_than_the_state() {
    let world = world().await;
    let mirror = MemoryStore::new("mirror.example/copy".parse().unwrap());
    let bundle = image(&mirror, "a").await;
    let done = publish(Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        store: &mirror,
        bundles: vec![Wanted {
            selector: Selector::Digest(bundle.digest().clone()),
            tags: BTreeSet::from(["v1".parse().unwrap()]),
        }],
        role: None,
        memories: &[world.owner.memory()],
        without_memory: false,
        keys: &world.owner.keys,
        clock: &world.clock,
    })
    .await
    .unwrap();
    assert_eq!(done.status, Status::Released);
    assert_eq!(mirror.referrers(bundle.digest(), Some(media_type::BULLA_SEAL)).await.unwrap().len(), 1);
    assert!(mirror.resolve(&Selector::Tag("v1".parse().unwrap())).await.unwrap().is_some());
    assert!(mirror.resolve(&Selector::Tag(name().state_tag())).await.unwrap().is_none());
    // The job that looks after the state does not stumble over it.
    world.clock.forward(3_700);
    let renewed = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    assert_eq!((renewed.finished.open, renewed.deleted.len()), (vec![], 1));
}

#[tokio::test]
async fn junk_at_submission_tags_is_named_and_does_no_harm() {
    let world = world().await;
    let (a, junk) = (image(&*world.store, "a").await, image(&*world.store, "junk").await);
    let prefix = name().submission_prefix();
    let tag = |n: u32| format!("{prefix}d8d28adb.{n:010}.{}", "0".repeat(32)).parse::<Tag>().unwrap();
    for n in [2, 3, 4_000_000_000] {
        world.store.push_manifest(&junk, Some(&tag(n))).await.unwrap();
    }
    let done = world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    assert_eq!(done.status, Status::Released);
    assert_eq!(done.pending.len(), 3);
    assert!(done.pending.iter().all(|p| matches!(p.reason, crate::client::commit::Reason::Invalid(_))));
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(renewed.status, crate::client::renew::Status::Current);
}

#[tokio::test]
async fn who_was_overtaken_on_a_tag_is_told() {
    let world = world().await;
    let (p, q) = (world.home(&[Home::RELEASES]), world.home(&[Home::RELEASES, Home::ONLINE]));
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let tag = EntryName::Tag("v1".parse().unwrap());
    world.publish(&p, &[(&text(&a), &["v1"])]).await.unwrap();
    world.clock.forward(5);
    // The second one sees the submission and signs over it, knowingly.
    let done = world.publish(&q, &[(&text(&b), &["v1"])]).await.unwrap();
    assert_eq!((done.status, done.bundles[0].lost.len()), (Status::Released, 0));
    let entries = world.entries().await;
    assert_eq!(
        (&entries[&tag].digest, entries[&tag].about.previous.as_ref()),
        (b.digest(), Some(a.digest()))
    );
    assert!(world.has(a.digest()).await);
}

#[tokio::test]
async fn a_deleted_state_is_put_back_from_the_memory() {
    let world = world().await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish(&world.owner, &[(&text(&a), &["v1"])]).await.unwrap();
    world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    let stranger = Home::new(&[Home::RELEASES, Home::ONLINE]);
    assert!(world.publish(&stranger, &[(&text(&b), &[])]).await.is_err());
    let done = world.publish(&world.owner, &[(&text(&b), &[])]).await.unwrap();
    assert!(done.repaired && done.status == Status::Released);
    assert!(world.has(a.digest()).await && world.has(b.digest()).await);
}

#[tokio::test]
async fn several_bundles_are_released_in_one_commit_and_what_cannot_be_is_refused() {
    let world = world().await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let done = world.publish(&world.owner, &[(&text(&a), &["v1"]), (&text(&b), &["v2"])]).await.unwrap();
    assert_eq!((done.status, done.commits, done.bundles.len()), (Status::Released, 1, 2));
    assert!(trusted(&world, &format!("{}:v2", name())).await);
    let two = world.publish(&world.owner, &[(&text(&a), &["x"]), (&text(&b), &["x"])]).await.unwrap_err();
    assert!(matches!(two, PublishError::TwoBundles(_)));
    let sha512 = Digest::of(Algorithm::Sha512, a.bytes());
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, sha512.clone(), a.descriptor().size);
    let other = Content::check(descriptor, a.bytes().clone()).unwrap();
    world.store.push_manifest(&other, None).await.unwrap();
    let e = world.publish(&world.owner, &[(&sha512.to_string(), &[])]).await.unwrap_err();
    assert!(matches!(e, PublishError::Algorithm(_)));
}

#[tokio::test]
async fn a_renewal_finishes_a_tag_and_leaves_alone_one_that_was_moved_since() {
    let world = world().await;
    let (publisher, job) = (world.home(&[Home::RELEASES]), world.home(&[Home::ONLINE]));
    let (a, b, next) = (
        image(&*world.store, "a").await,
        image(&*world.store, "b").await,
        image(&*world.store, "next").await,
    );
    let v1 = Selector::Tag("v1".parse().unwrap());
    let named = async || world.store.resolve(&v1).await.unwrap().map(|c| c.digest().clone());
    world.publish(&publisher, &[(&text(&a), &["v1"])]).await.unwrap();
    world.renew(&job, &[]).await.unwrap();
    assert_eq!(named().await.as_ref(), Some(a.digest()), "free: set");
    world.clock.forward(60);
    world.publish(&publisher, &[(&text(&b), &["v1"])]).await.unwrap();
    world.renew(&job, &[]).await.unwrap();
    assert_eq!(named().await.as_ref(), Some(b.digest()), "named what it named before: moved");
    world.store.push_manifest(&next, Some(v1.tag().unwrap())).await.unwrap();
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(named().await.as_ref(), Some(next.digest()), "pushed for the next release: left alone");
    assert_eq!((renewed.finished.tags.len(), renewed.finished.open.len()), (0, 0));
}

#[tokio::test]
async fn remembered_roots_alone_are_no_memory() {
    let world = world().await;
    let bundle = image(&*world.store, "a").await;
    let home = Home::new(&[Home::RELEASES, Home::ONLINE]);
    let mut files = crate::tuf::Files::new();
    files.put(crate::tuf::FileName::versioned(RoleName::root(), Version::ONE), world.root.clone());
    let roots = crate::tuf::Remembered { files, verified_under: None };
    home.memory().save(&world.root, &roots).unwrap();
    let e = world.publish(&home, &[(&text(&bundle), &[])]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::NoMemory(_))));
}
