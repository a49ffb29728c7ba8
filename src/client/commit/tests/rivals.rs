//! Two who change who may sign what on one base; and groups that would smuggle in what a single file may not.

use super::installs::*;
use super::*;
use crate::tuf::lineage::DELEGATIONS;
use crate::tuf::proposal::{Edit, Group};

/// The next file of `role` on `on`, signed by these keys.
async fn next_file(
    world: &World,
    role: &RoleName,
    on: &View,
    changes: &[Change],
    seeds: &[u8],
    life: i64,
) -> Submission {
    let (now, home) = (world.clock.now(), Home::new(seeds));
    let keys = world.live().await.keys(role).unwrap().clone();
    let draft = next(on, None, changes, &name().to_string(), now, now.plus(life));
    let bytes = crate::client::signing::sign(&home.keys, role, &keys, &draft).await.unwrap();
    Submission::of(role, &keys, &bytes, Files::new()).unwrap()
}

async fn push(world: &World, submission: &Submission) {
    let tag = submission.tag.tag(&name()).unwrap();
    Known::new(&*world.store).push(&submission.pack(), Some(&tag)).await.unwrap();
}

fn view_of(whole: &Whole, role: &RoleName) -> View {
    View::of(&RoleFile::of(whole.role(role).unwrap()).unwrap())
}

fn entry(text: &str) -> Change {
    let path = format!("{}@sha256:{}", name(), Digest::sha256(text.as_bytes()).hex());
    let value = json!({"length": 3, "hashes": {"sha256": Digest::sha256(text.as_bytes()).hex()},
        "custom": {"bulla": {"claim": "release", "at": "2027-01-15T08:00:00Z", "by": "x", "mediaType": "a/b"}}});
    Change::Set { path, value }
}

#[tokio::test]
async fn of_two_changes_of_delegations_on_one_base_the_second_is_stale() {
    for second in [
        vec![add(RoleName::releases(), 22)],
        vec![Edit::Resign { role: RoleName::targets(), life: Some(30 * DAY) }],
    ] {
        let world = world().await;
        let all = world.home(ALL);
        let x = finished(&world, &[Home::TARGETS], &[add(RoleName::releases(), 21)]).await;
        let y = finished(&world, &[Home::TARGETS], &second).await;
        assert!(commit(&world, &all, &x).await.unwrap().installed);
        let refused = commit(&world, &all, &y).await.unwrap_err();
        assert!(matches!(refused, WorkError::StaleBase { .. }), "{refused}");
        assert!(commit(&world, &all, &x).await.unwrap().installed, "what is in changes nothing");
        let live = world.live().await;
        assert_eq!(live.keys(&RoleName::releases()).unwrap().keys.len(), 2);
        assert_eq!(live.keys(&RoleName::revocations()).unwrap().keys.len(), 1);
    }
}

#[tokio::test]
async fn a_grant_does_not_undo_what_was_taken_back_beside_it() {
    let world = world().await;
    let (dev, by) = ("targets/releases/dev".parse().unwrap(), RoleName::releases());
    at_once(&world, &world.owner, &[delegate(by.clone(), &dev, 20)]).await.unwrap();
    let before = world.live().await;
    let undo =
        finished(&world, &[Home::RELEASES], &[Edit::Undelegate { by: by.clone(), role: dev.clone() }]).await;
    // Another holder has seen one file more, and grants on top of it.
    let p = next_file(&world, &by, &view_of(&before, &by), &[entry("p")], &[Home::RELEASES], DAY).await;
    let mut others = before.role(&by).unwrap().signed()["delegations"].clone();
    others["x"] = json!("more");
    let view = View::of(&p.lineage);
    let grant = next_file(&world, &by, &view, &[Change::Delegate(others)], &[Home::RELEASES], DAY).await;
    assert!(commit(&world, &world.owner, &undo).await.unwrap().installed);
    push(&world, &grant).await;
    let homes = [
        (world.home(&[Home::ONLINE]), vec![Reason::Fork]),
        (world.home(&[Home::ONLINE, Home::RELEASES]), vec![]),
    ];
    for (home, waits) in homes {
        world.clock.forward(60);
        let renewed = world.renew(&home, &[]).await.unwrap();
        let pending: Vec<Reason> = renewed.pending.into_iter().map(|w| w.reason).collect();
        assert_eq!(pending, waits);
        assert!(world.live().await.role(&by).unwrap().role().delegation(&dev).is_none());
    }
    let live = world.live().await;
    let joined = live.role(&by).unwrap();
    assert_eq!((&joined.signed()["delegations"]["x"], joined.role().targets().len()), (&json!("more"), 1));
    // Who grants the same role anew, on top of what was there before, contradicts who took it back.
    let mut again = before.role(&by).unwrap().signed()["delegations"].clone();
    again["roles"][0]["terminating"] = json!(true);
    let (view, changes) = (View::of(&p.lineage), [Change::Delegate(again), entry("q")]);
    let rival = next_file(&world, &by, &view, &changes, &[Home::RELEASES], DAY).await;
    push(&world, &rival).await;
    let holder = world.home(&[Home::ONLINE, Home::RELEASES]);
    for _ in 0..2 {
        world.clock.forward(60);
        let renewed = world.renew(&holder, &[]).await.unwrap();
        assert!(renewed.pending.iter().any(|w| w.reason == Reason::Stale), "{:?}", renewed.pending);
        let live = world.live().await;
        let joined = live.role(&by).unwrap().role();
        assert!(joined.delegation(&dev).is_none());
        // What it lists is not lost with it.
        assert_eq!(joined.targets().len(), 2);
    }
}

#[tokio::test]
async fn a_release_signed_beside_a_grant_is_not_lost() {
    let (dev, by): (RoleName, _) = ("targets/releases/dev".parse().unwrap(), RoleName::releases());
    for grant_first in [true, false] {
        let world = world().await;
        let before = world.live().await;
        let grant = finished(&world, &[Home::RELEASES], &[delegate(by.clone(), &dev, 20)]).await;
        let release =
            next_file(&world, &by, &view_of(&before, &by), &[entry("p")], &[Home::RELEASES], 90 * DAY).await;
        if grant_first {
            assert!(commit(&world, &world.owner, &grant).await.unwrap().installed);
            push(&world, &release).await;
            // Without the key it waits for who can join them.
            let online = world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
            assert!(online.pending.iter().any(|w| w.reason == Reason::Fork), "{:?}", online.pending);
        } else {
            push(&world, &release).await;
            world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
            assert!(commit(&world, &world.owner, &grant).await.unwrap().installed);
        }
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert!(renewed.pending.is_empty(), "{:?}", renewed.pending);
        let live = world.live().await;
        let content = view_of(&live, &by);
        assert!(live.role(&by).unwrap().role().delegation(&dev).is_some());
        assert!(content.content().entry(DELEGATIONS).is_some());
        assert!(content.content().entries().keys().any(|path| path.contains("@sha256:")), "{grant_first}");
    }
}

#[tokio::test]
async fn a_group_cannot_carry_what_the_terms_of_its_roles_forbid() {
    let world = world().await;
    let (dev, by): (RoleName, _) = ("targets/releases/dev".parse().unwrap(), RoleName::releases());
    let Edit::Delegate { role, signers, paths, terminating, place, .. } = delegate(by.clone(), &dev, 20)
    else {
        unreachable!()
    };
    let note = Some(json!({"at": world.clock.now(), "lifetime": 30 * DAY}));
    let edit = Edit::Delegate { by: by.clone(), role, signers, paths, terminating, place, note };
    at_once(&world, &world.owner, &[edit]).await.unwrap();
    let live = world.live().await;
    assert!(live.vacant()[&dev].terms.is_some());
    let start =
        View::of(&RoleFile::of(&crate::tuf::lineage::genesis(&name().to_string(), &dev).unwrap()).unwrap());
    let onward = json!({"keys": {}, "roles": []});
    let mut onward_to = onward.clone();
    onward_to["roles"] = json!([{"name": "targets/releases/dev/x", "keyids": [], "threshold": 1, "terminating": false, "paths": [format!("{}:dev-x", name())]}]);
    let unreadable = Change::Set {
        path: format!("{}:dev-1", name()),
        value: json!({"length": 3, "hashes": {"sha256": "ab".repeat(32)}, "custom": {"bulla": {"claim": 7}}}),
    };
    for (changes, life, why) in [
        (vec![], 9_999 * DAY, "later than 30 days"),
        (vec![Change::Delegate(onward_to)], DAY, "it delegates"),
        (vec![unreadable], DAY, "custom.bulla"),
    ] {
        let file = next_file(&world, &dev, &start, &changes, &[20], life).await.file.bytes().clone();
        let releases = world.live().await.role(&by).unwrap().bytes().clone();
        let roles = BTreeMap::from([(by.clone(), releases), (dev.clone(), file)]);
        push_group(&world, &Group { roles, ..Group::default() }).await;
        disturbs_nobody(&world, why).await;
        assert!(world.live().await.role(&dev).is_none(), "{why}");
    }
}

#[tokio::test]
async fn a_group_with_a_list_that_nobody_can_read_is_refused_alone() {
    let world = world().await;
    let (live, role) = (world.live().await, RoleName::revocations());
    let (path, list) = (name().revocations_path(), br#"{"schemaVersion":2,"entries":[]}"#);
    let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(list).hex()}});
    let change = Change::Set { path: path.clone(), value };
    let bad = next_file(&world, &role, &view_of(&live, &role), &[change], &[Home::RELEASES], DAY).await;
    let releases = live.role(&RoleName::releases()).unwrap().bytes().clone();
    let roles = BTreeMap::from([(RoleName::releases(), releases), (role, bad.file.bytes().clone())]);
    let files = BTreeMap::from([(path, Bytes::from_static(list))]);
    push_group(&world, &Group { roles, files, ..Group::default() }).await;
    disturbs_nobody(&world, "cannot be read").await;
}

#[tokio::test]
async fn a_list_that_drops_what_is_revoked_is_refused_alone() {
    for as_group in [true, false] {
        let world = world().await;
        let bad = Digest::sha256(b"bad");
        revoke(&world, &bad).await;
        let (live, role) = (world.live().await, RoleName::revocations());
        let (path, list) = (name().revocations_path(), br#"{"schemaVersion":1,"entries":[]} "#);
        let value = json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(list).hex()}});
        let change = Change::Set { path: path.clone(), value };
        let short =
            next_file(&world, &role, &view_of(&live, &role), &[change], &[Home::RELEASES], 90 * DAY).await;
        let list = Bytes::from_static(list);
        if as_group {
            let releases = live.role(&RoleName::releases()).unwrap().bytes().clone();
            let roles =
                BTreeMap::from([(RoleName::releases(), releases), (role, short.file.bytes().clone())]);
            push_group(&world, &Group { roles, files: BTreeMap::from([(path, list)]), ..Group::default() })
                .await;
        } else {
            let mut files = Files::new();
            files.put_target(path, list);
            push(&world, &Submission { files, ..short }).await;
        }
        disturbs_nobody(&world, "drops entries").await;
        let live = world.live().await;
        let list = live.files().target(&name().revocations_path()).unwrap();
        assert_eq!(crate::trust::is_revoked(list, &bad), Ok(true));
    }
}

/// Two groups on one base, admitted by a home without the key of releases: of two files of releases one stays, and what came with
/// the first of them is not left without it.
#[tokio::test]
async fn what_a_group_brought_does_not_fall_out_for_the_next_one() {
    let (releases, targets) = (RoleName::releases(), RoleName::targets());
    for before in [true, false] {
        let world = world().await;
        let live = world.live().await;
        let on = view_of(&live, &releases);
        let edits = [add(RoleName::revocations(), 21)];
        let mut group = finished(&world, &[Home::TARGETS], &edits).await;
        let first = next_file(&world, &releases, &on, &[entry("first")], &[Home::RELEASES], 90 * DAY).await;
        group.roles.insert(releases.clone(), first.file.bytes().clone());
        // The file whose hash is the lesser one goes first where nobody joins them.
        let mut n = 0;
        let second = loop {
            let changes = [entry(&n.to_string())];
            let file = next_file(&world, &releases, &on, &changes, &[Home::RELEASES], 90 * DAY).await;
            if (file.lineage.hash() < first.lineage.hash()) == before {
                break file;
            }
            n += 1;
        };
        let there = live.role(&targets).unwrap().bytes().clone();
        let roles =
            BTreeMap::from([(targets.clone(), there), (releases.clone(), second.file.bytes().clone())]);
        push_group(&world, &Group { roles, ..Group::default() }).await;
        let online = world.home(&[Home::ONLINE]);
        assert!(commit(&world, &online, &group).await.unwrap().installed);
        let live = world.live().await;
        assert_eq!(live.role(&releases).unwrap().bytes(), first.file.bytes());
        assert_eq!(live.keys(&RoleName::revocations()).unwrap().keys.len(), 2);
        let renewed = world.renew(&online, &[]).await.unwrap();
        assert!(renewed.pending.iter().any(|w| w.reason == Reason::Fork), "{:?}", renewed.pending);
        assert_eq!(world.live().await.role(&releases).unwrap().bytes(), first.file.bytes());
        // Who holds the key joins them.
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert_eq!(renewed.pending, []);
        assert_eq!(world.live().await.role(&releases).unwrap().role().targets().len(), 2);
    }
}
