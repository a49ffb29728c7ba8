//! Finished files of several roles are put in as a whole, or not at all.

use super::*;
use crate::client::ceremony::{CeremonyError, Desk, Done};
use crate::tuf::proposal::{About, Edit, EditError, Place, Proposal};
use crate::tuf::{PathPattern, Paths, RoleKeys, Target};

pub(super) const ALL: &[u8] = &[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE];

pub(super) fn about(world: &World) -> About {
    About { description: "test".into(), by: "tester".into(), at: world.clock.now() }
}

pub(super) fn add(role: RoleName, seed: u8) -> Edit {
    Edit::AddKey { role, key: key(seed).public_key().clone() }
}

pub(super) fn remove(role: RoleName, seed: u8) -> Edit {
    Edit::RemoveKey { role, key: key(seed).public_key().key_id() }
}

pub(super) fn rotate(role: RoleName, from: u8, to: u8) -> Vec<Edit> {
    vec![add(role.clone(), to), remove(role, from)]
}

pub(super) async fn at_once(world: &World, home: &Home, edits: &[Edit]) -> Result<Done, CeremonyError> {
    let (collection, memories) = (name(), [home.memory()]);
    let desk = desk(world, &collection, &memories, home);
    desk.at_once(|_| Ok::<_, EditError>(edits.to_vec()), &about(world)).await
}

pub(super) fn desk<'a>(
    world: &'a World,
    collection: &'a CollectionName,
    memories: &'a [Memory],
    home: &'a Home,
) -> Desk<'a> {
    Desk {
        collection,
        anchor: &world.root,
        store: &*world.store,
        memories,
        without_memory: false,
        keys: &home.keys,
        clock: &world.clock,
    }
}

/// A proposal that these keys signed, as finished files.
pub(super) async fn finished(world: &World, keys: &[u8], edits: &[Edit]) -> crate::tuf::proposal::Group {
    let (collection, home) = (name(), world.home(keys));
    let memories = [home.memory()];
    let desk = desk(world, &collection, &memories, &home);
    let (mut p, base) = desk.propose(|_| Ok::<_, EditError>(edits.to_vec()), about(world)).await.unwrap();
    crate::client::ceremony::sign(&mut p, &base, &home.keys, None).await.unwrap();
    p.complete(&base).unwrap()
}

pub(super) async fn commit(
    world: &World,
    home: &Home,
    group: &crate::tuf::proposal::Group,
) -> Result<Worked, WorkError> {
    let (collection, memories) = (name(), [home.memory()]);
    desk(world, &collection, &memories, home).commit(group).await
}

fn releases_keys(whole: &Whole) -> Vec<KeyId> {
    whole.keys(&RoleName::releases()).unwrap().keys.keys().cloned().collect()
}

#[tokio::test]
async fn one_machine_with_all_keys_changes_them_at_once() {
    let world = world().await;
    let image = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    let home = world.home(ALL);
    let mut edits = rotate(RoleName::root(), Home::ROOT, 11);
    edits.push(add(RoleName::targets(), 12));
    let home = {
        let mut h = home;
        h.keys.0.push(key(11));
        h
    };
    let done = at_once(&world, &home, &edits).await.unwrap();
    let worked = done.worked.unwrap();
    assert!(worked.installed && worked.online);
    let live = world.live().await;
    assert_eq!(live.trusted().root().version().get(), 2);
    assert_eq!(live.trusted().root().role().root_keys().keys.len(), 1);
    assert!(world.has(image.digest()).await);
    // Again: nothing to do.
    let group = done.proposal.complete(&done.base).unwrap();
    let again = commit(&world, &home, &group).await.unwrap();
    assert!(again.installed && again.commits == 0 && again.submitted.is_empty());
    assert_eq!(world.verify(&format!("{}@{}", name(), image.digest())).await.verdict(), Verdict::Trusted);
}

#[tokio::test]
async fn a_rotated_releases_key_signs_what_the_old_one_signed() {
    let world = world().await;
    let (a, b, c) =
        (image(&*world.store, "a").await, image(&*world.store, "b").await, image(&*world.store, "c").await);
    world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    let mut edits = rotate(RoleName::releases(), Home::RELEASES, 13);
    edits.extend(rotate(RoleName::revocations(), Home::RELEASES, 13));
    let group = finished(&world, &[Home::TARGETS, 13], &edits).await;
    // Without the new key, and with publications in between, the base has moved on.
    world.publish(&world.owner, &[(&b.digest().to_string(), &["v2"])]).await.unwrap();
    let online = world.home(&[Home::ONLINE]);
    let error = commit(&world, &online, &group).await.unwrap_err();
    assert!(matches!(error, WorkError::StaleBase { .. } | WorkError::Sign(_)), "{error}");
    assert_eq!(releases_keys(&world.live().await), [key(Home::RELEASES).public_key().key_id()]);
    // The new key's holder joins both.
    let holder = world.home(&[Home::ONLINE, 13]);
    let worked = commit(&world, &holder, &group).await.unwrap();
    assert!(worked.installed);
    assert_eq!(releases_keys(&world.live().await), [key(13).public_key().key_id()]);
    assert!(world.has(a.digest()).await && world.has(b.digest()).await);
    // The old key is refused from now on, the new one publishes.
    let refused = world.publish(&world.owner, &[(&c.digest().to_string(), &["v3"])]).await;
    assert!(matches!(refused, Err(PublishError::Work(WorkError::Sign(_)))), "{refused:?}");
    world.publish(&holder, &[(&c.digest().to_string(), &["v3"])]).await.unwrap();
    assert!(world.has(c.digest()).await);
    let new = RoleName::revocations();
    assert_eq!(world.live().await.keys(&new).unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_rotated_online_key_is_waited_for() {
    let world = world().await;
    let a = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    let mut edits = rotate(RoleName::timestamp(), Home::ONLINE, 14);
    edits.extend(rotate(RoleName::snapshot(), Home::ONLINE, 14));
    let group = finished(&world, &[Home::ROOT], &edits).await;
    // Who has the old key only submits it, and goes on renewing meanwhile.
    let worked = commit(&world, &world.owner, &group).await.unwrap();
    assert!(!worked.installed && worked.submitted.len() == 1);
    assert_eq!(world.live().await.trusted().root().version().get(), 1);
    world.clock.forward(DAY + 1);
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(renewed.pending.iter().map(|p| p.reason.clone()).collect::<Vec<_>>(), [Reason::Online]);
    assert!(renewed.commits > 0);
    // Who has the new one admits it.
    let job = world.home(&[14]);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.admitted.iter().map(|a| a.role.clone()).collect::<Vec<_>>(), [RoleName::root()]);
    let live = world.live().await;
    assert_eq!(live.trusted().root().version().get(), 2);
    assert!(live.trusted().timestamp().count(live.trusted().root().role().timestamp_keys()).is_met());
    // The submission goes after an hour.
    world.clock.forward(3_700);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert!(renewed.pending.is_empty(), "{:?}", renewed.pending);
    let tag = SubmissionTag::of_group(&group).unwrap().tag(&name()).unwrap();
    assert!(renewed.deleted.contains(&tag), "{:?}", renewed.deleted);
}

#[tokio::test]
async fn a_rotation_that_was_overwritten_is_put_in_again() {
    let world = world().await;
    let a = image(&*world.store, "a").await;
    let before = world.live().await;
    let group = finished(&world, &[Home::ROOT], &[add(RoleName::root(), 15)]).await;
    let online = world.home(&[Home::ONLINE]);
    commit(&world, &online, &group).await.unwrap();
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
    // A slow publisher's PUT, made on what it read before, lands.
    put(&world, before.files()).await;
    world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    let live = world.live().await;
    assert_eq!(live.trusted().root().version().get(), 2, "the submission brought it back");
    assert!(world.has(a.digest()).await);
    // And so does the memory of who committed it.
    put(&world, before.files()).await;
    let renewed = world.renew(&online, &[]).await.unwrap();
    assert!(renewed.repaired);
    assert_eq!(world.live().await.trusted().root().version().get(), 2);
    assert!(world.has(a.digest()).await);
}

#[tokio::test]
async fn of_two_changes_of_the_root_one_is_refused() {
    let world = world().await;
    let one = finished(&world, &[Home::ROOT], &[add(RoleName::root(), 15)]).await;
    let two = finished(&world, &[Home::ROOT], &[add(RoleName::root(), 16)]).await;
    commit(&world, &world.owner, &one).await.unwrap();
    let error = commit(&world, &world.owner, &two).await.unwrap_err();
    assert!(matches!(&error, WorkError::StaleBase { role, .. } if *role == RoleName::root()), "{error}");
    assert_eq!(world.live().await.trusted().root().bytes(), one.root.as_ref().unwrap());
    // Both submitted before either was committed: the one whose tag sorts first goes first.
    let three = finished(&world, &[Home::ROOT], &[add(RoleName::root(), 17)]).await;
    let four = finished(&world, &[Home::ROOT], &[add(RoleName::root(), 18)]).await;
    let nobody = world.home(&[]);
    for group in [&three, &four] {
        let _ = commit(&world, &nobody, group).await;
    }
    let (a, b) = (SubmissionTag::of_group(&three).unwrap(), SubmissionTag::of_group(&four).unwrap());
    let (first, second) = if a < b { (&three, &four) } else { (&four, &three) };
    let error = commit(&world, &world.owner, second).await.unwrap_err();
    assert!(matches!(error, WorkError::AnotherRoot(_)), "{error}");
    assert!(commit(&world, &world.owner, first).await.unwrap().installed);
}

#[tokio::test]
async fn a_group_that_does_not_verify_under_its_delegators_is_refused_whole() {
    let world = world().await;
    let edits = rotate(RoleName::releases(), Home::RELEASES, 13);
    let mut group = finished(&world, &[Home::TARGETS, 13], &edits).await;
    // Releases as signed by another key than the one that the new targets names.
    let mut other = rotate(RoleName::releases(), Home::RELEASES, 19);
    other.push(Edit::Resign { role: RoleName::releases(), life: None });
    let wrong = finished(&world, &[Home::TARGETS, 19], &other).await;
    group.roles.insert(RoleName::releases(), wrong.roles[&RoleName::releases()].clone());
    let before = world.live().await.trusted().timestamp().version();
    let error = commit(&world, &world.owner, &group).await.unwrap_err();
    assert!(error.to_string().contains("signatures"), "{error}");
    assert_eq!(world.live().await.trusted().timestamp().version(), before);
    assert_eq!(world.submissions().await, 0);
    // As a submission it is named, and disturbs nobody.
    let tag = SubmissionTag::of_group(&group).unwrap().tag(&name()).unwrap();
    let packed = crate::client::submission::pack_group(&group).unwrap();
    Known::new(&*world.store).push(&packed, Some(&tag)).await.unwrap();
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(matches!(&renewed.pending[0].reason, Reason::Invalid(_)), "{:?}", renewed.pending);
    let a = image(&*world.store, "a").await;
    let published = world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    assert_eq!(published.pending.len(), 1);
    assert!(world.has(a.digest()).await);
}

#[tokio::test]
async fn a_delegate_without_a_file_submits_its_first_one() {
    let world = world().await;
    let dev: RoleName = "targets/releases/dev".parse().unwrap();
    let delegate = Edit::Delegate {
        by: RoleName::releases(),
        role: dev.clone(),
        signers: Signers { keys: vec![key(20).public_key().clone()], threshold: 1 },
        paths: Paths::Patterns(vec![PathPattern::parse(&format!("{}:dev-*", name())).unwrap()]),
        terminating: false,
        place: Place::Last,
        note: None,
    };
    let done = at_once(&world, &world.owner, &[delegate]).await.unwrap();
    assert!(done.worked.unwrap().installed);
    assert!(world.live().await.role(&dev).is_none());
    let now = world.clock.now();
    let heading =
        Heading { version: Version::ONE, expires: now.plus(DAY), extra: Extra::new(name().to_string(), now) };
    let path = format!("{}:dev-1", name());
    let value = json!({"length": 3, "hashes": {"sha256": "ab".repeat(32)}});
    let draft = Draft::targets(&heading, [(path.clone(), value)].into_iter().collect(), &[]);
    let live = world.live().await;
    let keys = live.role(&RoleName::releases()).unwrap().role().delegation(&dev).unwrap().keys.clone();
    let delegate = Home::new(&[20]);
    let bytes = crate::client::signing::sign(&delegate.keys, &dev, &keys, &draft).await.unwrap();
    let submission = Submission::of(&dev, &keys, &bytes, Files::new()).unwrap();
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(renewed.admitted.len(), 1, "{:?}", renewed.pending);
    let found = world.live().await;
    let found = found.trusted().find(&path, found.files()).unwrap().target;
    assert!(matches!(found, Some((role, Target { length: 3, .. })) if role == dev));
}

#[tokio::test]
async fn proposals_are_left_where_keys_are_missing() {
    let world = world().await;
    let done = at_once(&world, &world.owner, &[add(RoleName::root(), 15)]).await.unwrap();
    assert!(done.worked.is_none());
    assert_eq!(done.needed.iter().map(|n| n.lacking()).collect::<Vec<_>>(), [1, 1]);
    let back = Proposal::parse(&done.proposal.to_bytes()).unwrap();
    assert_eq!(back.check_base(&world.live().await.base(&name())), Ok(()));
    assert_eq!(world.submissions().await, 0);
}

pub(super) type Group = crate::tuf::proposal::Group;

pub(super) fn delegate(by: RoleName, role: &RoleName, seed: u8) -> Edit {
    Edit::Delegate {
        by,
        role: role.clone(),
        signers: Signers { keys: vec![key(seed).public_key().clone()], threshold: 1 },
        paths: Paths::Patterns(vec![PathPattern::parse(&format!("{}:dev-*", name())).unwrap()]),
        terminating: false,
        place: Place::Last,
        note: None,
    }
}

/// A file of `role` with one target, signed by one key.
async fn file(world: &World, role: &RoleName, version: u64, seed: u8) -> Bytes {
    let (now, version) = (world.clock.now(), Version::new(version).unwrap());
    let heading = Heading { version, expires: now.plus(DAY), extra: Extra::new(name().to_string(), now) };
    let value = json!({"length": version.get(), "hashes": {"sha256": "ab".repeat(32)}});
    let targets = [(format!("{}:dev-{version}", name()), value)].into_iter().collect();
    let draft = Draft::targets(&heading, targets, &[]);
    let public = key(seed).public_key().clone();
    let keys = RoleKeys { keys: BTreeMap::from([(public.key_id(), Some(public))]), threshold: 1 };
    crate::client::signing::sign(&Home::new(&[seed]).keys, role, &keys, &draft).await.unwrap()
}

pub(super) async fn push_group(world: &World, group: &Group) {
    let tag = SubmissionTag::of_group(group).unwrap().tag(&name()).unwrap();
    let packed = crate::client::submission::pack_group(group).unwrap();
    Known::new(&*world.store).push(&packed, Some(&tag)).await.unwrap();
}

/// What is submitted is refused for a reason that holds `why`, and everybody else goes on.
pub(super) async fn disturbs_nobody(world: &World, why: &str) {
    let renewed = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    let refused = |reason: &Reason| match reason {
        Reason::Invalid(said) => said.contains(why),
        other => format!("{other:?}").contains(why),
    };
    assert!(renewed.pending.iter().any(|p| refused(&p.reason)), "{why}: {:?}", renewed.pending);
    let a = image(&*world.store, why).await;
    let done = world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    assert!(world.has(a.digest()).await && !done.pending.is_empty());
}

#[tokio::test]
async fn a_group_that_lists_a_file_which_nobody_has_is_refused_alone() {
    let world = world().await;
    let (live, role) = (world.live().await, RoleName::revocations());
    let (path, list) = (name().revocations_path(), br#"{"schemaVersion":1,"entries":[]} "#);
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(list).hex()}});
    let (now, home) = (world.clock.now(), Home::new(&[Home::RELEASES]));
    let view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    let draft = next(&view, None, &[Change::Set { path, value }], &name().to_string(), now, now.plus(DAY));
    let keys = live.keys(&role).unwrap();
    let bytes = crate::client::signing::sign(&home.keys, &role, keys, &draft).await.unwrap();
    let targets = live.role(&RoleName::targets()).unwrap().bytes().clone();
    let roles = BTreeMap::from([(RoleName::targets(), targets), (role, bytes)]);
    push_group(&world, &Group { roles, ..Group::default() }).await;
    disturbs_nobody(&world, "nobody has that file").await;
}

#[tokio::test]
async fn a_group_of_more_roles_than_readers_follow_is_refused_alone() {
    let world = world().await;
    let dev: RoleName = "targets/releases/dev".parse().unwrap();
    let group = finished(&world, &[Home::RELEASES], &[delegate(RoleName::releases(), &dev, 20)]).await;
    let (mut roles, role) = (BTreeMap::new(), RoleName::releases());
    let mut signed: serde_json::Value =
        serde_json::from_slice::<serde_json::Value>(&group.roles[&role]).unwrap()["signed"].clone();
    let one = signed["delegations"]["roles"][0].clone();
    let mut all = Vec::new();
    for n in 0..260 {
        let sub: RoleName = format!("targets/releases/d{n}").parse().unwrap();
        let mut delegation = one.clone();
        delegation["name"] = json!(sub);
        all.push(delegation);
        roles.insert(sub.clone(), file(&world, &sub, 1, 20).await);
    }
    signed["delegations"]["roles"] = json!(all);
    let keys = world.live().await.keys(&role).unwrap().clone();
    let draft = Draft::from_signed(signed);
    let home = Home::new(&[Home::RELEASES]);
    roles.insert(role.clone(), crate::client::signing::sign(&home.keys, &role, &keys, &draft).await.unwrap());
    push_group(&world, &Group { roles, ..Group::default() }).await;
    disturbs_nobody(&world, "targets roles").await;
}

#[tokio::test]
async fn submissions_that_make_the_state_too_large_are_refused_alone() {
    let world = world().await;
    let (live, role, now) = (world.live().await, RoleName::targets(), world.clock.now());
    let keys = live.keys(&role).unwrap().clone();
    let mut view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    for n in 0..2_u8 {
        let big = Bytes::from(vec![n; 9 * 1024 * 1024]);
        let path = format!("layouts/{n}");
        let value = json!({"length": big.len(), "hashes": {"sha256": Digest::sha256(&big).hex()}});
        let change = Change::Set { path: path.clone(), value };
        let draft = next(&view, None, &[change], &name().to_string(), now, now.plus(DAY));
        let home = Home::new(&[Home::TARGETS]);
        let bytes = crate::client::signing::sign(&home.keys, &role, &keys, &draft).await.unwrap();
        let mut files = Files::new();
        files.put_target(path, big);
        let submission = Submission::of(&role, &keys, &bytes, files).unwrap();
        view = View::of(&submission.lineage);
        let tag = submission.tag.tag(&name()).unwrap();
        Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
    }
    disturbs_nobody(&world, "bytes of files").await;
    assert_eq!(world.live().await.role(&role).unwrap().role().targets().len(), 1, "the first one fits");
}

/// Releases delegates to a name that is spent, past what proposals let through.
async fn again(world: &World, role: &RoleName, seed: u8) -> Group {
    let (live, by, now) = (world.live().await, RoleName::releases(), world.clock.now());
    let to = json!({
        "name": role, "keyids": [key(seed).public_key().key_id()], "threshold": 1, "terminating": false,
        "paths": [format!("{}:dev-*", name())],
    });
    let public = key(seed).public_key().clone();
    let all = json!({"keys": {public.key_id().to_string(): public.to_tuf()}, "roles": [to]});
    let view = View::of(&RoleFile::of(live.role(&by).unwrap()).unwrap());
    let draft = next(&view, None, &[Change::Delegate(all)], &name().to_string(), now, now.plus(30 * DAY));
    let home = Home::new(&[Home::RELEASES]);
    let bytes = crate::client::signing::sign(&home.keys, &by, live.keys(&by).unwrap(), &draft).await.unwrap();
    Group { roles: BTreeMap::from([(by, bytes)]), ..Group::default() }
}

/// `dev` is delegated to, publishes versions 1 to 3, and is taken out again. Its file of version 1.
async fn taken_out(world: &World, dev: &RoleName) -> Bytes {
    let by = RoleName::releases;
    at_once(world, &world.owner, &[delegate(by(), dev, 20)]).await.unwrap();
    let live = world.live().await;
    let keys = live.role(&by()).unwrap().role().delegation(dev).unwrap().keys.clone();
    let first = file(world, dev, 1, 20).await;
    let mut last = Submission::of(dev, &keys, &first, Files::new()).unwrap();
    for version in 1..=3 {
        if version > 1 {
            let (now, view) = (world.clock.now(), View::of(&last.lineage));
            let draft = next(&view, None, &[], &name().to_string(), now, now.plus(DAY));
            let home = Home::new(&[20]);
            let bytes = crate::client::signing::sign(&home.keys, dev, &keys, &draft).await.unwrap();
            last = Submission::of(dev, &keys, &bytes, Files::new()).unwrap();
        }
        let tag = last.tag.tag(&name()).unwrap();
        Known::new(&*world.store).push(&last.pack(), Some(&tag)).await.unwrap();
        world.renew(&world.owner, &[]).await.unwrap();
        assert_eq!(world.live().await.role(dev).unwrap().version().get(), version);
    }
    at_once(world, &world.owner, &[Edit::Undelegate { by: by(), role: dev.clone() }]).await.unwrap();
    let live = world.live().await;
    assert!(live.role(dev).is_none() && live.trusted().pin(dev).is_some());
    first
}

#[tokio::test]
async fn a_role_delegated_again_does_not_fall_below_its_version() {
    let world = world().await;
    let dev: RoleName = "targets/releases/dev".parse().unwrap();
    let first = taken_out(&world, &dev).await;
    let mut group = again(&world, &dev, 20).await;
    group.roles.insert(dev.clone(), first);
    push_group(&world, &group).await;
    disturbs_nobody(&world, "Stale").await;
    assert_eq!(world.live().await.trusted().pin(&dev).unwrap().version.get(), 3);
    // Delegated to again, with the same key, its last file counts.
    commit(&world, &world.owner, &again(&world, &dev, 20).await).await.unwrap();
    assert_eq!(world.live().await.role(&dev).unwrap().version().get(), 3);
}

#[tokio::test]
async fn a_role_delegated_again_to_another_key_brings_a_file_or_is_refused() {
    let world = world().await;
    let dev: RoleName = "targets/releases/dev".parse().unwrap();
    taken_out(&world, &dev).await;
    let mut group = again(&world, &dev, 21).await;
    push_group(&world, &group).await;
    disturbs_nobody(&world, "targets/releases/dev").await;
    let at_once = at_once(&world, &world.owner, &[delegate(RoleName::releases(), &dev, 21)]).await;
    assert!(at_once.unwrap_err().to_string().contains("targets/releases/dev"));
    // With a file above the last one it goes in.
    group = again(&world, &dev, 21).await;
    group.roles.insert(dev.clone(), file(&world, &dev, 4, 21).await);
    assert!(commit(&world, &world.owner, &group).await.unwrap().installed);
    assert_eq!(world.live().await.role(&dev).unwrap().version().get(), 4);
}

#[tokio::test]
async fn a_demand_that_a_renewal_overtook_is_put_in_or_not_called_installed() {
    let world = world().await;
    let (live, role, now) = (world.live().await, RoleName::targets(), world.clock.now());
    let (keys, demand) = (live.keys(&role).unwrap(), json!({"min": 2, "roles": ["targets/a", "targets/b"]}));
    let view = View::of(&RoleFile::of(live.role(&role).unwrap()).unwrap());
    let mut signed = next(&view, None, &[], &name().to_string(), now, now.plus(DAY)).signed().clone();
    signed[crate::tuf::AGREEMENT] = demand.clone();
    let (home, draft) = (world.home(&[Home::TARGETS, Home::ONLINE]), Draft::from_signed(signed));
    let bytes = crate::client::signing::sign(&home.keys, &role, keys, &draft).await.unwrap();
    for _ in 0..2 {
        world.clock.forward(1);
        world.renew(&home, &["targets"]).await.unwrap();
    }
    let group = Group { roles: BTreeMap::from([(role.clone(), bytes)]), ..Group::default() };
    let demanded = async || {
        let live = world.live().await;
        live.role(&role).unwrap().signed().get(crate::tuf::AGREEMENT).cloned()
    };
    let error = commit(&world, &world.home(&[Home::ONLINE]), &group).await.unwrap_err();
    assert!(matches!(error, WorkError::StaleBase { .. } | WorkError::Sign(_)), "{error}");
    assert_eq!(demanded().await, None);
    assert!(commit(&world, &home, &group).await.unwrap().installed);
    assert_eq!(demanded().await, Some(demand));
}
