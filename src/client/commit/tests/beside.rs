//! What is signed beside each other, and what somebody puts among it to keep others out.

use super::installs::{add, commit, finished, push_group, remove};
use super::*;
use crate::tuf::proposal::{Edit, Group};
use crate::tuf::{Draft, RoleKeys};
use serde_json::Value;

pub(super) const BOB: (&str, u8) = ("bob", 31);
const ANNA: (&str, u8) = ("anna", 32);

/// `delegations` of releases to these roles, each with a key and the tags `name-*`, for 90 days.
fn delegating(world: &World, roles: &[(&str, u8)]) -> Change {
    let public = |seed: u8| key(seed).public_key().clone();
    let keys: serde_json::Map<String, Value> =
        roles.iter().map(|(_, seed)| (public(*seed).key_id().to_string(), public(*seed).to_tuf())).collect();
    let role = |(last, seed): &(&str, u8)| {
        json!({
            "name": format!("targets/releases/{last}"), "keyids": [public(*seed).key_id()], "threshold": 1,
            "terminating": false, "paths": [format!("{}:{last}-*", name())],
            "x-bulla": {"at": world.clock.now(), "lifetime": 90 * DAY}
        })
    };
    Change::Delegate(json!({"keys": keys, "roles": roles.iter().map(role).collect::<Vec<_>>()}))
}

async fn delegates(world: &World) -> Vec<String> {
    let live = world.live().await;
    let all = live.role(&RoleName::releases()).unwrap().role().delegations().to_vec();
    all.iter().map(|d| d.name.as_str().rsplit('/').next().unwrap().to_owned()).collect()
}

pub(super) async fn grant(world: &World, roles: &[(&str, u8)]) {
    submit(world, &RoleName::releases(), &[delegating(world, roles)], Files::new()).await;
}

pub(super) fn tag_entry(tag: &str, digest: &Digest) -> Change {
    let value = json!({
        "length": 2, "hashes": {"sha256": digest.hex()},
        "custom": {"bulla": {"claim": "tag", "at": "2027-01-15T08:00:00Z", "by": "k", "mediaType": "application/vnd.oci.image.manifest.v1+json"}}
    });
    Change::Set { path: name().tag_path(&tag.parse().unwrap()), value }
}

fn reasons(pending: &[Pending]) -> Vec<&Reason> {
    pending.iter().map(|p| &p.reason).collect()
}

#[tokio::test]
async fn of_two_rotations_through_targets_both_are_in_or_the_second_is_refused() {
    let world = world().await;
    let (releases, revocations) = (RoleName::releases(), RoleName::revocations());
    let x = finished(&world, &[Home::TARGETS], &[add(revocations.clone(), 12)]).await;
    let y = finished(
        &world,
        &[Home::TARGETS, 13],
        &[add(releases.clone(), 13), remove(releases.clone(), Home::RELEASES)],
    )
    .await;
    let z = finished(&world, &[Home::TARGETS], &[add(releases.clone(), 14)]).await;
    let again = finished(
        &world,
        &[Home::TARGETS],
        &[Edit::Resign { role: RoleName::targets(), life: Some(30 * 86_400) }],
    )
    .await;
    let job = world.home(&[Home::ONLINE, 13]);
    assert!(commit(&world, &job, &x).await.unwrap().installed);
    // Who holds no key of targets cannot join them, and says so.
    let e = commit(&world, &job, &y).await.unwrap_err();
    assert!(matches!(&e, WorkError::StaleBase { role, .. } if *role == RoleName::targets()), "{e:?}");
    let keys = |whole: &Whole, role: &RoleName| whole.keys(role).unwrap().keys.len();
    let live = world.live().await;
    assert_eq!((keys(&live, &releases), keys(&live, &revocations)), (1, 2));
    // Who does, joins them.
    let all = world.home(&[Home::ONLINE, Home::TARGETS, 13]);
    assert!(commit(&world, &all, &y).await.unwrap().installed);
    let live = world.live().await;
    let ids: Vec<KeyId> = live.keys(&releases).unwrap().keys.keys().cloned().collect();
    assert_eq!(ids, [key(13).public_key().key_id()]);
    assert_eq!(keys(&live, &revocations), 2);
    // The same role once more, on the old base: nobody may join the two.
    let e = commit(&world, &all, &z).await.unwrap_err();
    assert!(matches!(e, WorkError::StaleBase { .. }), "{e:?}");
    // It lists nothing that is not there, and its expiry is not there.
    let e = commit(&world, &all, &again).await.unwrap_err();
    assert!(matches!(e, WorkError::StaleBase { .. }), "{e:?}");
    assert_eq!(
        world.live().await.role(&RoleName::targets()).unwrap().version(),
        live.role(&RoleName::targets()).unwrap().version()
    );
    // What is in stays in, however often it is committed.
    assert!(commit(&world, &job, &x).await.unwrap().installed);
    assert!(commit(&world, &job, &y).await.unwrap().installed);
}

#[tokio::test]
async fn a_grant_does_not_undo_what_was_taken_back_beside_it() {
    let world = world().await;
    let (job, owner) = (world.home(&[Home::ONLINE]), &world.owner);
    grant(&world, &[BOB]).await;
    world.renew(&job, &[]).await.unwrap();
    assert_eq!(delegates(&world).await, ["bob"]);
    // Two on one base: bob goes, anna comes.
    grant(&world, &[]).await;
    grant(&world, &[BOB, ANNA]).await;
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(reasons(&renewed.pending), [&Reason::Fork]);
    assert_eq!((renewed.status, renewed.admitted.len()), (Status::Pending, 1));
    let renewed = world.renew(owner, &[]).await.unwrap();
    assert_eq!((renewed.pending, delegates(&world).await), (vec![], vec!["anna".to_owned()]));
    assert_eq!(world.renew(&job, &[]).await.unwrap().pending, []);
    // Two that change one delegation: one is in, the other is named, and nobody joins them.
    grant(&world, &[]).await;
    grant(&world, &[("anna", 33)]).await;
    for home in [&job, owner] {
        let renewed = world.renew(home, &[]).await.unwrap();
        assert_eq!(reasons(&renewed.pending), [&Reason::Stale]);
    }
    assert!(delegates(&world).await.len() < 2);
}

#[tokio::test]
async fn a_release_signed_beside_a_grant_is_in() {
    let world = world().await;
    let (job, owner) = (world.home(&[Home::ONLINE]), &world.owner);
    let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let releases = RoleName::releases();
    // Admitted at once, and the grant first.
    for (granted, tag, digest, first) in [(&[BOB][..], "v1", &a, false), (&[BOB, ANNA][..], "v2", &b, true)] {
        let live = world.live().await;
        if first {
            let other = next_file(&world, &live, &[tag_entry(tag, digest)]).await;
            grant(&world, granted).await;
            world.renew(&job, &[]).await.unwrap();
            put_submission(&world, &other).await;
        } else {
            grant(&world, granted).await;
            submit(&world, &releases, &[tag_entry(tag, digest)], Files::new()).await;
        }
        let renewed = world.renew(&job, &[]).await.unwrap();
        assert_eq!(reasons(&renewed.pending), [&Reason::Fork], "{tag}");
        let renewed = world.renew(owner, &[]).await.unwrap();
        assert_eq!(renewed.pending, [], "{tag}");
        let live = world.live().await;
        let path = name().tag_path(&tag.parse().unwrap());
        assert!(live.role(&releases).unwrap().role().targets().contains_key(&path), "{tag}");
        assert_eq!(delegates(&world).await.len(), granted.len());
    }
}

/// The next file of releases on `base`.
async fn next_file(world: &World, base: &Whole, changes: &[Change]) -> Submission {
    next_of(world, base, &RoleName::releases(), changes, Files::new()).await
}

async fn next_of(
    world: &World,
    base: &Whole,
    role: &RoleName,
    changes: &[Change],
    files: Files,
) -> Submission {
    let (now, home) = (world.clock.now(), Home::new(&[Home::RELEASES]));
    let view = View::of(&RoleFile::of(base.role(role).unwrap()).unwrap());
    let draft = next(&view, None, changes, &name().to_string(), now, now.plus(90 * DAY));
    let keys = base.keys(role).unwrap();
    let bytes = crate::client::signing::sign(&home.keys, role, keys, &draft).await.unwrap();
    Submission::of(role, keys, &bytes, files).unwrap()
}

async fn put_submission(world: &World, submission: &Submission) {
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
}

/// A file of a delegate, signed by `seed`.
async fn delegates_file(
    world: &World,
    last: &str,
    seed: u8,
    life: i64,
    edit: impl FnOnce(&mut Value),
) -> (RoleName, Bytes) {
    let role: RoleName = format!("targets/releases/{last}").parse().unwrap();
    let (now, version) = (world.clock.now(), Version::new(2).unwrap());
    let heading = Heading { version, expires: now.plus(life), extra: Extra::new(name().to_string(), now) };
    let mut signed = Draft::targets(&heading, serde_json::Map::new(), &[]).signed().clone();
    edit(&mut signed);
    let public = key(seed).public_key().clone();
    let keys = RoleKeys { keys: BTreeMap::from([(public.key_id(), Some(public))]), threshold: 1 };
    let draft = Draft::from_signed(signed);
    let bytes = crate::client::signing::sign(&Home::new(&[seed]).keys, &role, &keys, &draft).await.unwrap();
    (role, bytes)
}

#[tokio::test]
async fn a_delegate_does_not_escape_the_terms_beside_another_file() {
    let world = world().await;
    let job = world.home(&[Home::ONLINE]);
    grant(&world, &[BOB]).await;
    world.renew(&job, &[]).await.unwrap();
    let live = world.live().await;
    let releases = live.role(&RoleName::releases()).unwrap().bytes().clone();
    let Change::Delegate(inner) = delegating(&world, &[("bob/x", 40)]) else { unreachable!() };
    let broken =
        json!({"length": 2, "hashes": {"sha256": "ab".repeat(32)}, "custom": {"bulla": {"claim": 7}}});
    type EditFile<'a> = Box<dyn FnOnce(&mut Value) + 'a>;
    let cases: [(&str, i64, EditFile<'_>); 4] = [
        ("later than 90 days", 3_650 * DAY, Box::new(|_| ())),
        ("it delegates", DAY, Box::new(|v| v["delegations"] = inner)),
        ("custom.bulla", DAY, Box::new(|v| v["targets"] = json!({format!("{}:bob-1", name()): broken}))),
        ("bytes", DAY, Box::new(|v| v["x-padding"] = json!("x".repeat(1_100_000)))),
    ];
    for (why, life, edit) in cases {
        let (role, bytes) = delegates_file(&world, "bob", BOB.1, life, edit).await;
        let roles = BTreeMap::from([(role.clone(), bytes), (RoleName::releases(), releases.clone())]);
        let group = Group { root: None, roles, files: BTreeMap::new() };
        push_group(&world, &group).await;
        let renewed = world.renew(&job, &[]).await.unwrap();
        let said = |p: &Pending| matches!(&p.reason, Reason::Invalid(said) if said.contains(why));
        assert!(renewed.pending.iter().any(said), "{why}: {:?}", renewed.pending);
        assert!(renewed.admitted.is_empty() && world.live().await.role(&role).is_none(), "{why}");
        // Nor by his own commit.
        let own = commit(&world, &world.home(&[Home::ONLINE, BOB.1]), &group).await;
        assert!(own.is_err(), "{why}");
    }
    let (role, bytes) = delegates_file(&world, "bob", BOB.1, 30 * DAY, |_| ()).await;
    let roles = BTreeMap::from([(role.clone(), bytes), (RoleName::releases(), releases)]);
    push_group(&world, &Group { root: None, roles, files: BTreeMap::new() }).await;
    world.renew(&job, &[]).await.unwrap();
    assert!(world.live().await.role(&role).is_some());
}

#[tokio::test]
async fn a_list_that_nobody_can_use_is_refused_alone_in_a_group_too() {
    let world = world().await;
    let job = world.home(&[Home::ONLINE]);
    let live = world.live().await;
    let (role, path) = (RoleName::revocations(), name().revocations_path());
    let releases = live.role(&RoleName::releases()).unwrap().bytes().clone();
    let entries = |from: usize, to: usize| -> Vec<Value> {
        (from..to)
            .map(|n| json!({"id": format!("{n}"), "kind": "advisory", "at": world.clock.now()}))
            .collect()
    };
    let lists = [
        json!({"schemaVersion": 2}),
        json!({"schemaVersion": 1, "entries": entries(0, 19_999)}),
        json!({"schemaVersion": 1, "entries": entries(0, 10_001)}),
    ];
    for (n, list) in lists.iter().enumerate() {
        let list: Bytes = list.to_string().into();
        let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
        let change = Change::Set { path: path.clone(), value };
        let mut files = Files::new();
        files.put_target(path.clone(), list.clone());
        let signed = next_of(&world, &live, &role, &[change], files).await;
        let roles = BTreeMap::from([
            (role.clone(), signed.file.bytes().clone()),
            (RoleName::releases(), releases.clone()),
        ]);
        push_group(&world, &Group { root: None, roles, files: BTreeMap::from([(path.clone(), list)]) }).await;
        if n > 0 {
            put_submission(&world, &signed).await;
        }
    }
    let renewed = world.renew(&job, &[]).await.unwrap();
    let refused = renewed.pending.iter().filter(|p| matches!(p.reason, Reason::Invalid(_))).count();
    assert_eq!((refused, renewed.admitted.len()), (5, 0), "{:?}", renewed.pending);
    // Who holds the key goes on.
    let a = image(&*world.store, "a").await;
    world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await.unwrap();
    revoke(&world, a.digest()).await;
    assert!(world.renew(&world.owner, &["targets/revocations"]).await.is_ok());
}

#[tokio::test]
async fn lists_that_fit_alone_and_not_together_are_refused_one_by_one() {
    let world = world().await;
    let live = world.live().await;
    let (role, path) = (RoleName::revocations(), name().revocations_path());
    for from in [0, 9_000, 18_000] {
        let entry = |n| json!({"id": format!("{n}"), "kind": "advisory", "at": world.clock.now()});
        let entries: Vec<Value> = (from..from + 9_000).map(entry).collect();
        let list: Bytes = json!({"schemaVersion": 1, "entries": entries}).to_string().into();
        let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(&list).hex()}});
        let mut files = Files::new();
        files.put_target(path.clone(), list);
        put_submission(
            &world,
            &next_of(&world, &live, &role, &[Change::Set { path: path.clone(), value }], files).await,
        )
        .await;
    }
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    let refused = renewed.pending.iter().filter(|p| matches!(p.reason, Reason::Invalid(_))).count();
    assert_eq!((refused, renewed.admitted.len()), (2, 1), "{:?}", renewed.pending);
}

#[tokio::test]
async fn a_few_large_submissions_of_nobody_stop_no_admission() {
    let world = world().await;
    let live = world.live().await;
    let (role, a) = (RoleName::releases(), Digest::sha256(b"a"));
    let version = Version::new(live.role(&role).unwrap().version().get() + 63).unwrap();
    let place = Known::new(&*world.store);
    for n in 0..8_u8 {
        let junk = Bytes::from(vec![n; 16 * 1024 * 1024]);
        let tag = SubmissionTag::of(&role, version, &junk).tag(&name()).unwrap();
        let mut files = Files::new();
        files.put(FileName::versioned(role.clone(), version), junk);
        place.push(&pack(Kind::Submission, &files, None), Some(&tag)).await.unwrap();
    }
    submit(&world, &role, &[tag_entry("v1", &a)], Files::new()).await;
    let renewed = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    assert_eq!(renewed.admitted.len(), 1, "{:?}", renewed.pending);
    // What is not what its tag says is not even fetched.
    let mut files = Files::new();
    files.put(FileName::versioned(role.clone(), version), Bytes::from_static(b"junk"));
    let tag = SubmissionTag::of(&role, version, b"other").tag(&name()).unwrap();
    place.push(&pack(Kind::Submission, &files, None), Some(&tag)).await.unwrap();
    let renewed = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    let said = |p: &Pending| p.tag == tag && p.reason == Reason::Invalid("its tag is another file's".into());
    assert!(renewed.pending.iter().any(said), "{:?}", renewed.pending);
}

#[tokio::test]
async fn where_versions_end_nothing_is_signed_and_called_success() {
    let world = world().await;
    let live = world.live().await;
    let (now, last) = (world.clock.now(), Version::new((1 << 53) - 1).unwrap());
    let online = Home::new(&[Home::ONLINE]);
    let pin = live.trusted().timestamp().role().snapshot.clone();
    let extra = Extra::new(name().to_string(), now);
    let draft = Draft::timestamp(&Heading { version: last, expires: now.plus(DAY), extra }, &pin);
    let keys = live.trusted().root().role().timestamp_keys();
    let bytes =
        crate::client::signing::sign(&online.keys, &RoleName::timestamp(), keys, &draft).await.unwrap();
    doctor(&world, |files| files.put(FileName::timestamp(), bytes)).await;
    let a = image(&*world.store, "a").await;
    let done = world.publish(&world.owner, &[(&a.digest().to_string(), &["v1"])]).await;
    let exhausted = |e: &PublishError| {
        matches!(e, PublishError::Work(WorkError::Exhausted { role, version })
        if *role == RoleName::timestamp() && *version == last)
    };
    assert!(exhausted(&done.unwrap_err()));
}
