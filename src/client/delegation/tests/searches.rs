//! Which of several roles speaks for a name.

use super::*;

#[tokio::test]
async fn siblings_do_not_overlap_unless_no_search_reaches_them() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    for (scope, by) in [("*-1", "targets/releases"), ("dev-1", "targets/releases"), ("*", "targets/releases")]
    {
        let e = world.change(&world.owner, by, Edit::Grant(wanted("x", &[RC], 1, &[scope]))).await;
        assert!(
            matches!(e, Err(CeremonyError::Edit(EditError::Rule(GrantError::Overlap { .. })))),
            "{scope}"
        );
    }
    let owner = world.home(&[Home::TARGETS, Home::ONLINE]);
    let security = |paths: Vec<crate::tuf::PathPattern>| {
        Edit::Grant(Grant { role: "targets/security".parse().unwrap(), paths, ..wanted("x", &[RC], 1, &[]) })
    };
    let all = name().scope(&name().to_string()).unwrap();
    assert!(world.change(&owner, "targets", security(all)).await.unwrap().committed);
    // It is read only where it is named as a source: it signs, and no tag moves.
    let a = image(&*world.store, "a").await;
    let theirs = world.home(&[RC]);
    let done = world.publish_as(&theirs, None, &a, &["v1"]).await.unwrap();
    assert_eq!((done.status, done.role.as_str()), (Status::Submitted, "targets/security"));
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!((renewed.admitted.len(), renewed.finished.tags.len()), (1, 0));
    let done = world.publish_as(&theirs, None, &a, &["v1"]).await.unwrap();
    assert_eq!(done.status, Status::Released);
    world.store.push_manifest(&a, Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!(world.because(":v1").await, "bundle.tag.unlisted");
}

#[tokio::test]
async fn a_terminating_delegate_hides_what_comes_after_it() {
    for (terminating, seen) in [(true, "bundle.tag.unlisted"), (false, "trusted")] {
        let world = world().await;
        world.grant("dev", &[DEV], &["dev-*"]).await;
        // Two that overlap cannot be granted; a file that says so all the same is searched in its order.
        let live = world.live().await;
        let mut delegations = live.role(&RoleName::releases()).unwrap().signed()["delegations"].clone();
        delegations["roles"][0]["terminating"] = json!(terminating);
        let mut second = delegations["roles"][0].clone();
        second["name"] = json!(role("late"));
        second["keyids"] = json!([public(RC).key_id()]);
        delegations["keys"][public(RC).key_id().as_str()] = public(RC).to_tuf();
        delegations["roles"].as_array_mut().unwrap().push(second);
        let file = live.role(&RoleName::releases()).unwrap();
        let now = world.clock.now();
        let draft = next(
            &View::of(&RoleFile::of(file).unwrap()),
            None,
            &[Change::Delegate(delegations)],
            &name().to_string(),
            now,
            now.plus(30 * DAY),
        );
        world.put(&RoleName::releases(), &draft, &[Home::RELEASES]).await;
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert_eq!(renewed.pending, vec![]);
        assert!(world.live().await.vacant().contains_key(&role("late")));
        let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
        world.publish_as(&world.home(&[DEV]), None, &a, &["dev-a"]).await.unwrap();
        world.publish_as(&world.home(&[RC]), None, &b, &["dev-b"]).await.unwrap();
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert_eq!(renewed.admitted.len(), 2);
        assert!(world.trusts(":dev-a").await);
        world.store.push_manifest(&b, Some(&"dev-b".parse().unwrap())).await.unwrap();
        assert_eq!(world.because(":dev-b").await, seen);
        assert_eq!(renewed.finished.tags.contains_key(&"dev-b".parse().unwrap()), !terminating);
    }
}

#[tokio::test]
async fn what_releases_lists_itself_comes_first() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish_as(&world.owner, None, &a, &["dev-1"]).await.unwrap();
    let e = world.publish_as(&world.home(&[DEV]), None, &b, &["dev-1"]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::Refused(Refusal::Hidden { .. }))), "{e}");
    // With both keys at hand releases signs, unless the other role is named.
    let both = world.home(&[Home::RELEASES, DEV]);
    assert_eq!(world.publish_as(&both, None, &a, &["dev-2"]).await.unwrap().role, RoleName::releases());
    let named = world.publish_as(&both, Some(&role("dev")), &a, &["dev-3"]).await.unwrap();
    assert_eq!(named.role, role("dev"));
}

#[tokio::test]
async fn the_speaker_of_a_path_is_whom_a_search_finds() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    world.grant("rc", &[RC], &["rc-*"]).await;
    let a = image(&*world.store, "a").await;
    world.publish_as(&world.owner, None, &a, &["v1", "dev-0"]).await.unwrap();
    world.publish_as(&world.home(&[DEV]), None, &a, &["dev-1"]).await.unwrap();
    world.publish_as(&world.home(&[RC]), None, &a, &["rc-1"]).await.unwrap();
    world.renew(&world.owner, &[]).await.unwrap();
    let live = world.live().await;
    for tag in ["v1", "dev-0", "dev-1", "rc-1", "rc-2", "none"] {
        let path = name().tag_path(&tag.parse().unwrap());
        let found = live.trusted().find(&path, live.files()).unwrap().target.map(|(role, _)| role);
        assert_eq!(live.speaker(&path), found.as_ref(), "{tag}");
    }
}
