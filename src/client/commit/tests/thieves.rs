//! Thieves of online keys, and whoever may push, against rotations of the online keys.

use super::installs::*;
use super::*;
use crate::client::audit;
use crate::client::installed::{Done as DoneHere, Installed};
use crate::tuf::proposal::Edit;
use crate::tuf::{PathPattern, Paths};

const SECOND: u8 = 14;
const THIRD: u8 = 15;

async fn thief_online(world: &World, at: UnixTime, expires: UnixTime, version: Version) {
    let live = world.live().await;
    let extra = Extra::new(name().to_string(), at);
    let heading = Heading { version, expires, extra };
    let snap = live.trusted().snapshot();
    let pin = FilePin::of(snap.version(), snap.bytes());
    let draft = Draft::timestamp(&heading, &pin);
    let id = key(Home::ONLINE).public_key().key_id();
    let sig = key(Home::ONLINE).sign(&draft.message()).await.unwrap();
    let bytes = draft.assemble(&BTreeMap::from([(id, sig)]));
    doctor(world, |files| files.put(FileName::timestamp(), bytes)).await;
}

fn to_two() -> Vec<Edit> {
    [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|r| {
            vec![
                add(r.clone(), SECOND),
                add(r.clone(), THIRD),
                remove(r.clone(), Home::ONLINE),
                Edit::Threshold { role: r, threshold: 2 },
            ]
        })
        .collect()
}

#[tokio::test]
async fn two_new_online_keys_on_two_machines_go_above_no_version_of_the_old_one() {
    let world = world().await;
    let now = world.clock.now();
    thief_online(&world, now, now.plus(7 * DAY), Version::new(9_000_000_000).unwrap()).await;
    let group = finished(&world, &[Home::ROOT], &to_two()).await;
    let a = world.home(&[SECOND]);
    commit(&world, &a, &group).await.unwrap();
    for n in 0..6 {
        world.clock.forward(60);
        // Fresh memories each time.
        let home = if n % 2 == 0 { world.home(&[THIRD]) } else { world.home(&[SECOND]) };
        world.renew(&home, &[]).await.unwrap();
    }
    assert_eq!(world.live().await.trusted().root().version().get(), 2, "never committed");
}

#[tokio::test]
async fn who_left_a_candidate_under_a_new_root_goes_on_working() {
    let world = world().await;
    let group = finished(&world, &[Home::ROOT], &to_two()).await;
    let a = world.home(&[SECOND]);
    commit(&world, &a, &group).await.unwrap();
    world.clock.forward(60);
    let r = world.renew(&a, &[]).await;
    assert!(r.is_ok(), "{:?}", r.err());
}

#[tokio::test]
async fn a_candidate_under_a_new_root_that_was_overtaken_is_begun_anew() {
    let world = world().await;
    let group = finished(&world, &[Home::ROOT], &to_two()).await;
    let (a, b) = (world.home(&[SECOND]), world.home(&[THIRD]));
    commit(&world, &a, &group).await.unwrap();
    world.clock.forward(60);
    let image = image(&*world.store, "x").await;
    world.publish(&world.home(&[Home::RELEASES]), &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    for n in 0..6 {
        world.clock.forward(60);
        let home = if n % 2 == 0 { &b } else { &a };
        world.renew(home, &[]).await.unwrap();
    }
    assert_eq!(world.live().await.trusted().root().version().get(), 2, "never committed");
}

#[tokio::test]
async fn a_new_root_comes_with_the_second_online_key() {
    let world = world().await;
    let group = finished(&world, &[Home::ROOT], &to_two()).await;
    let (a, b) = (world.home(&[SECOND]), world.home(&[THIRD]));
    commit(&world, &a, &group).await.unwrap();
    world.clock.forward(60);
    world.renew(&b, &[]).await.unwrap();
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
}

#[tokio::test]
async fn no_single_key_stretches_the_life_of_the_timestamp() {
    let world = world().await;
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|role| [add(role.clone(), SECOND), Edit::Threshold { role, threshold: 2 }])
        .collect();
    assert!(at_once(&world, &all, &edits).await.unwrap().worked.unwrap().installed);
    world.owner.learn(&all, &world.root);
    let b = world.home(&[SECOND]);
    for _ in 0..5 {
        world.clock.forward(2 * DAY);
        let live = world.live().await;
        let now = world.clock.now();
        let t = live.trusted().timestamp();
        let life = t.expires().secs() - t.extra().unwrap().at.secs();
        let snap = live.trusted().snapshot();
        let pin = FilePin::of(snap.version(), snap.bytes());
        let version = Version::new(now.secs() as u64 + 500).unwrap();
        let heading = Heading {
            version,
            expires: now.plus(life + 500),
            extra: Extra::new(name().to_string(), now.plus(-86_000)),
        };
        let draft = Draft::timestamp(&heading, &pin);
        let id = key(Home::ONLINE).public_key().key_id();
        let sig = key(Home::ONLINE).sign(&draft.message()).await.unwrap();
        let bytes = draft.assemble(&BTreeMap::from([(id, sig)]));
        let mut files = Files::new();
        files.put(FileName::timestamp(), bytes);
        let packed = pack(Kind::Candidate, &files, None);
        let tag: Tag = format!(
            "{}{:010}.{}",
            name().candidate_prefix(),
            version.get(),
            &packed.manifest.digest().hex()[..32]
        )
        .parse()
        .unwrap();
        Known::new(&*world.store).push(&packed, Some(&tag)).await.unwrap();
        world.renew(&b, &[]).await.unwrap();
    }
    let t = world.live().await;
    let t = t.trusted().timestamp();
    let life = (t.expires().secs() - t.extra().unwrap().at.secs()) / DAY;
    assert!(life <= 7, "life is {life} days now");
}

fn rotate_online() -> Vec<Edit> {
    [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|r| rotate(r, Home::ONLINE, SECOND))
        .collect()
}

#[tokio::test]
async fn new_online_keys_inherit_no_life_from_a_thief() {
    let world = world().await;
    let now = world.clock.now();
    world.clock.forward(60);
    thief_online(&world, now, now.plus(20 * 365 * DAY), Version::new(now.secs() as u64 + 1000).unwrap())
        .await;
    let home = world.home(&[Home::ROOT, SECOND]);
    at_once(&world, &home, &rotate_online()).await.unwrap();
    let live = world.live().await;
    let t = live.trusted().timestamp();
    let life = (t.expires().secs() - t.extra().unwrap().at.secs()) / DAY;
    assert!(life <= 7, "root {} life {life} days", live.trusted().root().version());
}

#[tokio::test]
async fn a_timestamp_that_never_expires_stops_nobody() {
    let world = world().await;
    let now = world.clock.now();
    thief_online(&world, now, UnixTime::LAST, Version::new(now.secs() as u64 + 1000).unwrap()).await;
    world.clock.forward(60);
    let home = world.home(&[Home::ROOT, SECOND]);
    let done = at_once(&world, &home, &rotate_online()).await;
    assert!(done.is_ok(), "{:?}", done.err());
}

#[tokio::test]
async fn another_threshold_of_the_same_online_keys_lets_no_version_fall() {
    let world = world().await;
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let edits: Vec<Edit> =
        [RoleName::timestamp(), RoleName::snapshot()].into_iter().map(|r| add(r, SECOND)).collect();
    at_once(&world, &all, &edits).await.unwrap();
    let now = world.clock.now();
    thief_online(&world, now, now.plus(7 * DAY), Version::new(now.secs() as u64 + 10 * 86_400).unwrap())
        .await;
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .map(|role| Edit::Threshold { role, threshold: 2 })
        .collect();
    world.clock.forward(60);
    at_once(&world, &all, &edits).await.unwrap();
    let t = world.live().await.trusted().timestamp().version().get();
    assert!(t > now.secs() as u64 + 10 * 86_400, "{t}");
}

#[tokio::test]
async fn a_thief_teaches_no_second_key_of_his_role() {
    let world = world().await;
    let good = image(&*world.store, "good").await;
    world.publish(&world.owner, &[(&good.digest().to_string(), &["v1"])]).await.unwrap();
    let before = world.clock.now();
    world.clock.forward(10 * DAY);
    let since = world.clock.now();
    world.renew(&world.owner, &[]).await.unwrap();
    world.clock.forward(3600);
    let bad = image(&*world.store, "bad").await;
    let live = world.live().await;
    let role = RoleName::releases();
    let thief = Home::new(&[Home::RELEASES]);
    let keys = live.keys(&role).unwrap().clone();
    // F1, dated back.
    let view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    let path = name().release_path(bad.digest());
    let value = json!({"length": bad.descriptor().size, "hashes": {"sha256": bad.digest().hex()}, "custom": {"bulla": {"claim": "release", "at": before, "by": "x", "mediaType": bad.media_type()}}});
    let back = before.plus(60);
    let f1 = next(
        &view,
        None,
        &[Change::Set { path, value }],
        &name().to_string(),
        back,
        world.clock.now().plus(80 * DAY),
    );
    let f1 = crate::client::signing::sign(&thief.keys, &role, &keys, &f1).await.unwrap();
    let f1 = Submission::of(&role, &keys, &f1, Files::new()).unwrap();
    Known::new(&*world.store).push(&f1.pack(), f1.tag.tag(&name()).as_ref()).await.unwrap();
    assert_eq!(world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap().admitted.len(), 1);
    let newcomer = Home::new(&[]);
    let here = [Installed {
        at: world.clock.now(),
        done: DoneHere::Verified,
        reference: "r".into(),
        digest: bad.digest().clone(),
        collection: Some(name()),
    }];
    let audit = async || {
        audit::audit(audit::Request {
            collection: name(),
            anchor: world.root.clone(),
            places: vec![world.store.clone()],
            memory: &newcomer.memory(),
            key: None,
            since: Some(since),
            installed: &here,
            unread: 0,
            now: world.clock.now(),
        })
        .await
        .unwrap()
    };
    let a = audit().await;
    assert_eq!(a.undated().count() + a.affected(true).count(), 1);
    // G delegates targets/releases to X; F2 by X follows F1.
    let x = key(77);
    let signers = Signers { keys: vec![x.public_key().clone()], threshold: 1 };
    let d = crate::tuf::delegation(
        role.clone(),
        &signers,
        Paths::Patterns(vec![PathPattern::parse("*").unwrap()]),
        false,
    );
    let mut extra = Extra::new(name().to_string(), back);
    extra.ancestors = vec![];
    let v = f1.file.version();
    let g = Draft::targets(
        &Heading { version: v.next(), expires: world.clock.now().plus(DAY), extra: extra.clone() },
        serde_json::Map::new(),
        &[d],
    );
    let g = crate::client::signing::sign(&thief.keys, &role, &keys, &g).await.unwrap();
    extra.ancestors = vec![f1.file.as_ancestor()];
    let f2 = Draft::targets(
        &Heading { version: v.next(), expires: world.clock.now().plus(DAY), extra },
        serde_json::Map::new(),
        &[],
    );
    let sig = x.sign(&f2.message()).await.unwrap();
    let f2 = f2.assemble(&BTreeMap::from([(x.public_key().key_id(), sig)]));
    let found = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    let mut history = crate::client::history::History::of(&found);
    history.add(FileName::versioned(role.clone(), v.next()), &g);
    history.add(FileName::versioned(role.clone(), v.next()), &f2);
    let packed = state::pack_state(world.live().await.files(), &history);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
    let a = audit().await;
    assert_eq!(a.undated().count() + a.affected(true).count(), 1, "hidden");
}

/// Whoever may push puts the root that waits as a submission into the live state.
#[tokio::test]
async fn a_signed_root_that_somebody_pushes_early_stops_nobody() {
    let world = world().await;
    let group = finished(&world, &[Home::ROOT], &rotate_online()).await;
    let bytes = group.root.clone().unwrap();
    doctor(&world, |files| files.put(root(2), bytes)).await;
    let home = world.home(&[SECOND]);
    // Who holds the old key goes on under the old root meanwhile.
    world.clock.forward(2 * DAY);
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().commits, 1);
    assert!(commit(&world, &home, &group).await.unwrap().installed);
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
}

#[tokio::test]
async fn a_root_that_was_accepted_early_stops_nobody() {
    let world = world().await;
    let group = finished(&world, &[Home::ROOT], &rotate_online()).await;
    let bytes = group.root.clone().unwrap();
    let before = world.live().await.files().clone();
    let home = world.home(&[SECOND]);
    // The home verified something meanwhile: roots are remembered as they are accepted.
    let mut remembered = home.memory().load(&world.root).unwrap().unwrap();
    remembered.files.put(root(2), bytes);
    home.memory().save(&world.root, &remembered).unwrap();
    put(&world, &before).await;
    assert!(commit(&world, &home, &group).await.unwrap().installed);
}

/// `--signed-by` of the stolen key: the thief lets a key of his own making bring the bundle first.
#[tokio::test]
async fn a_thief_hides_nothing_from_an_audit_of_his_key() {
    let world = world().await;
    let good = image(&*world.store, "good").await;
    world.publish(&world.owner, &[(&good.digest().to_string(), &["v1"])]).await.unwrap();
    world.clock.forward(3600);
    let bad = image(&*world.store, "bad").await;
    let now = world.clock.now();
    let live = world.live().await;
    let role = RoleName::releases();
    let thief = Home::new(&[Home::RELEASES]);
    let keys = live.keys(&role).unwrap().clone();
    let x = key(77);
    let path = name().release_path(bad.digest());
    let target = json!({"length": bad.descriptor().size, "hashes": {"sha256": bad.digest().hex()}, "custom": {"bulla": {"claim": "release", "at": now, "by": "x", "mediaType": bad.media_type()}}});
    let v = live.role(&role).unwrap().version();
    // F0 by X.
    let mut targets = serde_json::Map::new();
    targets.insert(path.clone(), target.clone());
    let extra = Extra::new(name().to_string(), now);
    let f0 =
        Draft::targets(&Heading { version: v, expires: now.plus(DAY), extra: extra.clone() }, targets, &[]);
    let sig = x.sign(&f0.message()).await.unwrap();
    let f0 = f0.assemble(&BTreeMap::from([(x.public_key().key_id(), sig)]));
    // G by the stolen key.
    let signers = Signers { keys: vec![x.public_key().clone()], threshold: 1 };
    let d = crate::tuf::delegation(
        role.clone(),
        &signers,
        Paths::Patterns(vec![PathPattern::parse("*").unwrap()]),
        false,
    );
    let g = Draft::targets(
        &Heading { version: v.next().next(), expires: now.plus(DAY), extra },
        serde_json::Map::new(),
        &[d],
    );
    let g = crate::client::signing::sign(&thief.keys, &role, &keys, &g).await.unwrap();
    // F1 by the stolen key, naming F0 among its ancestors.
    let view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    let f1 = next(
        &view,
        None,
        &[Change::Set { path, value: target }],
        &name().to_string(),
        now,
        now.plus(80 * DAY),
    );
    let mut signed = f1.signed().clone();
    let list = signed["x-bulla"]["ancestors"].as_array_mut().unwrap();
    list.push(json!([v, Digest::sha256(&f0).hex()]));
    list.sort_by_key(|a| (a[0].as_u64(), a[1].as_str().map(str::to_owned)));
    let f1 =
        crate::client::signing::sign(&thief.keys, &role, &keys, &Draft::from_signed(signed)).await.unwrap();
    let f1 = Submission::of(&role, &keys, &f1, Files::new()).unwrap();
    Known::new(&*world.store).push(&f1.pack(), f1.tag.tag(&name()).as_ref()).await.unwrap();
    assert_eq!(world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap().admitted.len(), 1);
    assert!(world.has(bad.digest()).await);
    let newcomer = Home::new(&[]);
    let here = [Installed {
        at: now,
        done: DoneHere::Verified,
        reference: "r".into(),
        digest: bad.digest().clone(),
        collection: Some(name()),
    }];
    let stolen = key(Home::RELEASES).public_key().key_id().to_string();
    let audit = async || {
        audit::audit(audit::Request {
            collection: name(),
            anchor: world.root.clone(),
            places: vec![world.store.clone()],
            memory: &newcomer.memory(),
            key: Some(stolen.clone()),
            since: None,
            installed: &here,
            unread: 0,
            now: world.clock.now(),
        })
        .await
        .unwrap()
    };
    let found = state::resolve_state(&*world.store, &name()).await.unwrap().unwrap();
    let mut history = crate::client::history::History::of(&found);
    history.add(FileName::versioned(role.clone(), v), &f0);
    history.add(FileName::versioned(role.clone(), v.next().next()), &g);
    let packed = state::pack_state(world.live().await.files(), &history);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
    assert_eq!(audit().await.affected(true).count(), 1);
    // An honest commit carries them on.
    world.clock.forward(2 * DAY);
    world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    let a = audit().await;
    assert_eq!(a.affected(true).count(), 1, "hidden from --signed-by");
}
