//! Snapshot and timestamp whose keys lie on two machines: who comes first leaves a candidate, and the other one signs the same bytes.

use super::installs::*;
use super::*;
use crate::client::renew::Status;
use crate::tuf::proposal::Edit;
use crate::tuf::{FilePin, Timestamp, Unverified};

const SECOND: u8 = 14;

/// Both online roles need both keys, which lie on two machines.
pub(super) async fn shared() -> World {
    let world = world().await;
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|role| [add(role.clone(), SECOND), Edit::Threshold { role, threshold: 2 }])
        .collect();
    assert!(at_once(&world, &all, &edits).await.unwrap().worked.unwrap().installed);
    world.owner.learn(&all, &world.root);
    world
}

pub(super) async fn version(world: &World) -> u64 {
    world.live().await.trusted().timestamp().version().get()
}

pub(super) async fn candidates(world: &World) -> Vec<Tag> {
    let prefix = name().candidate_prefix();
    let tags = world.store.tags(None).await.unwrap();
    tags.into_iter().filter(|t| t.as_str().starts_with(&prefix)).collect()
}

pub(super) async fn verifies(world: &World, image: &Content) -> bool {
    world.verify(&format!("{}@{}", name(), image.digest())).await.verdict() == Verdict::Trusted
}

#[tokio::test]
async fn a_timestamp_of_two_keys_is_renewed_by_two_machines() {
    let world = shared().await;
    let (a, b) = (world.home(&[Home::ONLINE]), world.home(&[SECOND]));
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Current);
    assert!(candidates(&world).await.is_empty(), "nothing is due");
    world.clock.forward(2 * DAY);
    let before = version(&world).await;
    let first = world.renew(&a, &[]).await.unwrap();
    let gathering = first.gathering.unwrap();
    assert_eq!((first.status, first.commits), (Status::Waiting, 0));
    assert_eq!(gathering.lacking, [(RoleName::timestamp(), 1, vec![key(SECOND).public_key().key_id()])]);
    assert_eq!((version(&world).await, candidates(&world).await), (before, vec![gathering.tag.unwrap()]));
    // The same machine again adds nothing.
    world.clock.forward(60);
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Waiting);
    assert_eq!(candidates(&world).await.len(), 1);
    world.clock.forward(3600);
    let second = world.renew(&b, &[]).await.unwrap();
    assert_eq!((second.status, second.commits, second.gathering), (Status::Renewed, 1, None));
    assert!(version(&world).await > before && candidates(&world).await.is_empty());
    // The snapshot was kept, so the timestamp names its hash.
    let live = world.live().await;
    assert!(!live.trusted().timestamp().role().snapshot.hashes.is_empty());
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Current);
}

#[tokio::test]
async fn what_is_published_with_one_of_two_online_keys_waits_for_the_other() {
    let world = shared().await;
    let image = image(&*world.store, "a").await;
    let (a, b) = (world.home(&[Home::RELEASES, Home::ONLINE]), world.home(&[SECOND]));
    let published = world.publish(&a, &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    assert_eq!(published.status, crate::client::publish::Status::Submitted);
    let lacking = published.gathering.unwrap().lacking;
    assert_eq!(
        lacking.iter().map(|(role, n, _)| (role.as_str(), *n)).collect::<Vec<_>>(),
        [("snapshot", 1), ("timestamp", 1)]
    );
    assert!(!world.has(image.digest()).await);
    world.clock.forward(600);
    let renewed = world.renew(&b, &[]).await.unwrap();
    assert_eq!(
        (renewed.status, renewed.admitted.len(), renewed.finished.seals.len()),
        (Status::Renewed, 1, 1)
    );
    assert!(world.has(image.digest()).await && verifies(&world, &image).await);
    // A snapshot that was gathered is pinned by its version.
    let live = world.live().await;
    let pin = &live.trusted().timestamp().role().snapshot;
    assert_eq!(*pin, FilePin { version: pin.version, length: None, hashes: BTreeMap::new() });
    assert_eq!(live.trusted().snapshot().count(live.trusted().root().role().snapshot_keys()).signed.len(), 2);
}

#[tokio::test]
async fn a_candidate_that_was_overtaken_is_signed_anew() {
    let world = shared().await;
    let (one, two) = (image(&*world.store, "one").await, image(&*world.store, "two").await);
    let (a, b) = (world.home(&[Home::RELEASES, Home::ONLINE]), world.home(&[SECOND]));
    world.publish(&a, &[(&one.digest().to_string(), &["v1"])]).await.unwrap();
    world.clock.forward(60);
    // Somebody without an online key publishes on top of it: the candidate's snapshot is not the next one any more.
    world.publish(&world.home(&[Home::RELEASES]), &[(&two.digest().to_string(), &["v2"])]).await.unwrap();
    let waiting = world.renew(&b, &[]).await.unwrap();
    assert_eq!((waiting.status, waiting.commits), (Status::Waiting, 0));
    assert!(!world.has(one.digest()).await);
    world.clock.forward(60);
    let done = world.renew(&a, &[]).await.unwrap();
    assert_eq!((done.status, done.commits), (Status::Renewed, 1));
    assert!(world.has(one.digest()).await && world.has(two.digest()).await);
    assert!(verifies(&world, &one).await && candidates(&world).await.is_empty());
}

#[tokio::test]
async fn a_candidate_past_half_its_life_or_of_a_longer_one_is_not_signed() {
    let world = shared().await;
    let (a, b) = (world.home(&[Home::ONLINE]), world.home(&[SECOND]));
    world.clock.forward(2 * DAY);
    let live = world.live().await;
    let (now, root) = (world.clock.now(), live.trusted().root().role().clone());
    let snapshot = live.trusted().snapshot();
    let pin = FilePin::of(snapshot.version(), snapshot.bytes());
    let version = Version::new(now.secs() as u64).unwrap();
    let foreign = |change: &dyn Fn(&mut Heading, &mut FilePin)| {
        let extra = Extra::new(name().to_string(), now);
        let (mut heading, mut pin) = (Heading { version, expires: now.plus(7 * DAY), extra }, pin.clone());
        change(&mut heading, &mut pin);
        Draft::timestamp(&heading, &pin)
    };
    let mut odd = foreign(&|_, _| ()).signed().clone();
    odd["extra"] = json!("member");
    let drafts = [
        ("a longer life", foreign(&|h, _| h.expires = now.plus(700 * DAY))),
        ("one that ends in a second", foreign(&|h, _| h.expires = now.plus(1))),
        (
            "a day more than its life",
            foreign(&|h, _| (h.extra.at, h.expires) = (now.plus(-86_000), now.plus(7 * DAY + 500))),
        ),
        ("another snapshot", foreign(&|_, p| p.version = Version::ONE)),
        ("another collection", foreign(&|h, _| h.extra.collection = "ex.com/other".into())),
        ("made in the future", foreign(&|h, _| h.extra.at = now.plus(DAY))),
        ("made long ago", foreign(&|h, _| h.extra.at = now.plus(-4 * DAY))),
        ("a member of its own", Draft::from_signed(odd)),
        ("a version of the far future", foreign(&|h, _| h.version = Version::new(9_999_999_999).unwrap())),
    ];
    for (what, draft) in drafts {
        // A thief of one key signs it.
        let id = key(Home::ONLINE).public_key().key_id();
        let signature = key(Home::ONLINE).sign(&draft.message()).await.unwrap();
        let bytes = draft.assemble(&BTreeMap::from([(id, signature)]));
        let parsed =
            Unverified::<Timestamp>::parse(&RoleName::timestamp(), &bytes, &Limits::default()).unwrap();
        assert_eq!(parsed.count(root.timestamp_keys()).signed.len(), 1);
        let mut files = Files::new();
        files.put(FileName::timestamp(), bytes);
        let packed = state::pack(Kind::Candidate, &files, None);
        let hash = &packed.manifest.digest().hex()[..32];
        let tag: Tag = format!("{}{:010}.{hash}", name().candidate_prefix(), parsed.claimed_version().get())
            .parse()
            .unwrap();
        Known::new(&*world.store).push(&packed, Some(&tag)).await.unwrap();
        let waiting = world.renew(&b, &[]).await.unwrap();
        let gathering = waiting.gathering.unwrap_or_else(|| panic!("{what} was signed"));
        assert_ne!(gathering.tag.unwrap(), tag, "{what}");
        assert_eq!(gathering.lacking[0].1, 1, "{what}");
        world.store.delete(&Selector::Tag(tag)).await.unwrap();
    }
    // Junk at such tags disturbs nobody, and the honest candidate is completed.
    let junk = image(&*world.store, "junk").await;
    for n in 0..40_u64 {
        let tag: Tag = format!("{}{:010}.{:032x}", name().candidate_prefix(), version.get() + n % 500, n)
            .parse()
            .unwrap();
        world.store.push_manifest(&junk, Some(&tag)).await.unwrap();
    }
    let _ = world.renew(&b, &[]).await.unwrap();
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Renewed);
}

#[tokio::test]
async fn another_threshold_of_the_same_keys_lets_no_version_fall() {
    let world = world().await;
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let edits: Vec<Edit> =
        [RoleName::timestamp(), RoleName::snapshot()].into_iter().map(|role| add(role, SECOND)).collect();
    assert!(at_once(&world, &all, &edits).await.unwrap().worked.unwrap().installed);
    world.clock.forward(10 * DAY);
    world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    let driven = version(&world).await;
    world.clock.forward(-10 * DAY + 60);
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .map(|role| Edit::Threshold { role, threshold: 2 })
        .collect();
    all.learn(&world.owner, &world.root);
    assert!(at_once(&world, &all, &edits).await.unwrap().worked.unwrap().installed);
    assert!(version(&world).await > driven);
}

#[tokio::test]
async fn a_root_that_waits_with_a_candidate_locks_nobody_out() {
    let world = world().await;
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|role| {
            let mut edits = rotate(role.clone(), Home::ONLINE, 23);
            edits.extend([add(role.clone(), 24), Edit::Threshold { role, threshold: 2 }]);
            edits
        })
        .collect();
    let group = finished(&world, &[Home::ROOT, Home::TARGETS, Home::RELEASES], &edits).await;
    let (a, b) = (world.home(&[23]), world.home(&[24]));
    assert!(!commit(&world, &a, &group).await.unwrap().installed);
    // The same machine again.
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Waiting);
    // Something is published in between, so both begin anew.
    let image = image(&*world.store, "a").await;
    world.publish(&world.home(&[Home::RELEASES]), &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    world.clock.forward(60);
    assert_eq!(world.renew(&b, &[]).await.unwrap().status, Status::Waiting);
    world.clock.forward(60);
    let done = world.renew(&a, &[]).await.unwrap();
    assert_eq!((done.commits, done.gathering), (1, None));
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
    assert!(world.has(image.digest()).await);
}

#[tokio::test]
async fn who_waits_for_others_too_long_is_overdue() {
    let world = shared().await;
    let a = world.home(&[Home::ONLINE]);
    world.clock.forward(2 * DAY);
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Waiting);
    // Two thirds of the timestamp's seven days are over.
    world.clock.forward(3 * DAY);
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Overdue);
}

/// Anybody who may push can put more junk before a candidate than is looked at in one run: it hides it for some runs.
#[tokio::test]
async fn junk_hides_no_candidate_for_ever() {
    let world = shared().await;
    let (a, b) = (world.home(&[Home::ONLINE]), world.home(&[SECOND]));
    world.clock.forward(2 * DAY);
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Waiting);
    let (junk, now) = (image(&*world.store, "junk").await, world.clock.now().secs() as u64);
    for n in 0..400_u64 {
        let tag = format!("{}{:010}.{:032x}", name().candidate_prefix(), now + 200 + n % 300, n);
        world.store.push_manifest(&junk, Some(&tag.parse().unwrap())).await.unwrap();
    }
    let mut rounds = 0;
    loop {
        rounds += 1;
        world.clock.forward(5);
        let home = if rounds % 2 == 1 { &b } else { &a };
        let renewed = world.renew(home, &[]).await.unwrap();
        if renewed.gathering.is_none() {
            break;
        }
        assert!(renewed.gathering.unwrap().hidden);
        assert!(rounds < 30, "hidden for ever");
    }
}
