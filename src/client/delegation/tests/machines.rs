//! Delegators and delegates whose keys lie on several machines, and delegates who delegate.

use super::*;

#[tokio::test]
async fn a_delegate_with_two_keys_needs_both() {
    let world = world().await;
    let two = wanted("dev", &[DEV, RC], 2, &["dev-*"]);
    world.change(&world.owner, "targets/releases", Edit::Grant(two)).await.unwrap();
    let a = image(&*world.store, "a").await;
    let e = world.publish_as(&world.home(&[DEV]), None, &a, &["dev-1"]).await.unwrap_err();
    assert!(
        matches!(&e, PublishError::Proposed(left) if left.role == role("dev") && left.lacking.0 == 1),
        "{e}"
    );
    let path = name().tag_path(&"dev-1".parse().unwrap());
    let tag = world.smuggle("dev", &[DEV], |s| s["targets"][&path] = entry(&a)).await;
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(invalid(&renewed.pending, &tag).contains("1 of 2"), "{:?}", renewed.pending);
    let both = |s: &mut Value| {
        s["targets"][&path] = entry(&a);
        s["targets"][&path]["custom"]["bulla"]["set"] = json!(2);
    };
    world.smuggle("dev", &[DEV, RC], both).await;
    assert_eq!(world.renew(&world.owner, &[]).await.unwrap().admitted.len(), 1);
    assert!(world.trusts(":dev-1").await);
}

const SECOND: u8 = 31;

/// Releases needs two keys from now on; who holds the first and the online one, and who holds the second.
async fn two_for_releases(world: &World) -> (Home, Home) {
    let all = world.home(&[Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let edits = [
        proposal::Edit::AddKey { role: RoleName::releases(), key: public(SECOND) },
        proposal::Edit::Threshold { role: RoleName::releases(), threshold: 2 },
    ];
    let (collection, memories) = (name(), [all.memory()]);
    let about = About { description: String::new(), by: String::new(), at: world.clock.now() };
    let done = world.desk(&all, &collection, &memories).at_once(|_| Ok(edits.to_vec()), &about).await;
    assert!(done.unwrap().worked.unwrap().installed);
    (world.home(&[Home::RELEASES, Home::ONLINE]), world.home(&[SECOND]))
}

impl World {
    /// The other one signs what was left, and it is committed.
    async fn countersign(&self, open: Open, by: &Home, commits: &Home) {
        let (collection, memories) = (name(), [commits.memory()]);
        let mut p = Proposal::parse(&open.proposal.to_bytes()).unwrap();
        let (_, carried) =
            crate::client::ceremony::carried_by(&p, &self.root, None, self.clock.now()).unwrap();
        let base = carried.base(&collection);
        p.check_base(&base).unwrap();
        p.check_rules(&base).unwrap();
        crate::client::ceremony::sign(&mut p, &base, &by.keys, None).await.unwrap();
        let group = p.complete(&base).unwrap();
        let done = self.desk(commits, &collection, &memories).commit(&group).await.unwrap();
        assert!(done.installed);
    }
}

#[tokio::test]
async fn a_delegator_whose_keys_lie_on_two_machines_delegates_through_a_proposal() {
    let world = world().await;
    let (first, second) = two_for_releases(&world).await;
    let two = wanted("dev", &[DEV, RC], 2, &["dev-*"]);
    let left = world.change(&first, "targets/releases", Edit::Grant(two.clone())).await.unwrap();
    let open = left.open.expect("a key is missing");
    assert!(!left.committed && left.submitted.is_empty());
    assert_eq!((open.needed.len(), open.needed[0].lacking()), (1, 1));
    assert_eq!(open.needed[0].count.missing, [public(SECOND).key_id()]);
    let before = world.submissions().await;
    assert!(!world.live().await.vacant().contains_key(&role("dev")));
    world.countersign(open, &second, &first).await;
    assert!(world.submissions().await > before);
    let row = world.overview().await.rows.into_iter().find(|r| r.role == role("dev")).unwrap();
    assert_eq!((row.threshold, row.keys.len(), row.terms), (2, 2, Some(two.terms)));
    // Its first file needs both keys of the delegate.
    let a = image(&*world.store, "a").await;
    let e = world.publish_as(&world.home(&[DEV]), None, &a, &["dev-1"]).await.unwrap_err();
    assert!(matches!(&e, PublishError::Proposed(left) if left.lacking.0 == 1), "{e}");
    world.publish_as(&world.home(&[DEV, RC]), None, &a, &["dev-1"]).await.unwrap();
    world.renew(&world.home(&[Home::ONLINE]), &[]).await.unwrap();
    assert!(world.trusts(":dev-1").await);
    // The rules hold whoever signs, and before anybody does.
    let e = world.change(&first, "targets/releases", Edit::Grant(wanted("x", &[40], 1, &["dev-1"]))).await;
    assert!(matches!(e, Err(CeremonyError::Edit(EditError::Rule(GrantError::Overlap { .. })))));
    let open = world.change(&first, "targets/releases", Edit::TakeBack(role("dev"))).await.unwrap().open;
    world.countersign(open.unwrap(), &second, &first).await;
    assert_eq!(world.because(":dev-1").await, "bundle.tag.unlisted");
}

#[tokio::test]
async fn a_delegate_with_the_right_to_it_passes_a_part_of_its_scope_on() {
    let world = world().await;
    world.grant("rc", &[RC], &["rc-*"]).await;
    let mut lead = wanted("dev", &[DEV], 1, &["dev-*"]);
    lead.terms.delegates = true;
    assert!(world.change(&world.owner, "targets/releases", Edit::Grant(lead)).await.unwrap().committed);
    let nested = |to: &str, scope: &str| {
        let role = format!("targets/releases/{to}").parse().unwrap();
        Edit::Grant(Grant { role, ..wanted("x", &[41], 1, &[scope]) })
    };
    // A role without a file delegates nothing yet.
    let dev = world.home(&[DEV]);
    let e = world.change(&dev, "targets/releases/dev", nested("dev/web", "dev-web-*")).await;
    assert!(matches!(e, Err(CeremonyError::Edit(EditError::NoRole(_)))), "{e:?}");
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish_as(&dev, None, &a, &["dev-1"]).await.unwrap();
    world.publish_as(&world.home(&[RC]), None, &a, &["rc-1"]).await.unwrap();
    let job = world.home(&[Home::ONLINE]);
    world.renew(&job, &[]).await.unwrap();
    let dev = world.home(&[DEV]);
    let done = world.change(&dev, "targets/releases/dev", nested("dev/web", "dev-web-*")).await.unwrap();
    assert!(!done.committed && done.open.is_none() && done.submitted.len() == 1);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.pending, vec![]);
    world.publish_as(&world.home(&[41]), None, &b, &["dev-web-1"]).await.unwrap();
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!((renewed.admitted.len(), renewed.pending), (1, vec![]));
    assert!(world.trusts(":dev-web-1").await && world.trusts(":dev-1").await);
    let e = world.change(&dev, "targets/releases/dev", nested("dev/rc", "rc-1")).await;
    assert!(matches!(e, Err(CeremonyError::Edit(EditError::Rule(_)))), "{e:?}");
    // Who has no right to it is refused before anything is signed, and at admission.
    let rc = world.home(&[RC]);
    let e = world.change(&rc, "targets/releases/rc", nested("rc/web", "rc-web")).await;
    assert!(matches!(e, Err(CeremonyError::Edit(EditError::Rule(GrantError::MayNot(_))))), "{e:?}");
    // What the lead took back is gone.
    let web = Edit::TakeBack("targets/releases/dev/web".parse().unwrap());
    world.change(&dev, "targets/releases/dev", web).await.unwrap();
    world.renew(&job, &[]).await.unwrap();
    assert_eq!(world.because(":dev-web-1").await, "bundle.tag.unlisted");
}

#[tokio::test]
async fn a_role_may_be_started_with_a_file_that_others_can_join() {
    let world = world().await;
    let mut edits = vec![proposal::Edit::grant(RoleName::releases(), wanted("dev", &[DEV], 1, &["dev-*"]))];
    edits.push(proposal::Edit::Start { role: role("dev") });
    let all = world.home(&[Home::RELEASES, Home::ONLINE, DEV]);
    let (collection, memories) = (name(), [all.memory()]);
    let about = About { description: String::new(), by: String::new(), at: world.clock.now() };
    let desk = world.desk(&all, &collection, &memories);
    let done = desk.at_once(|_| Ok(edits.clone()), &about).await.unwrap();
    assert!(done.worked.unwrap().installed);
    let live = world.live().await;
    let file = live.role(&role("dev")).unwrap();
    assert_eq!((file.version().get(), file.expires()), (2, world.clock.now().plus(90 * DAY)));
    // Somebody who had not seen it signs a first file, too: they have an ancestor in common, and both stay.
    let a = image(&*world.store, "a").await;
    let start = genesis(&name().to_string(), &role("dev")).unwrap();
    let value = entry(&a);
    let change = Change::Set { path: name().tag_path(&"dev-9".parse().unwrap()), value };
    let (view, now) = (View::of(&RoleFile::of(&start).unwrap()), world.clock.now());
    // As long as the terms say: a group of which a file was to be valid for another time is not in.
    let draft = next(&view, None, &[change], &name().to_string(), now, now.plus(90 * DAY));
    world.put(&role("dev"), &draft, &[DEV]).await;
    let renewed = world.renew(&world.home(&[DEV, Home::ONLINE]), &[]).await.unwrap();
    assert_eq!((renewed.admitted.len(), renewed.pending), (1, vec![]));
    assert_eq!(world.live().await.role(&role("dev")).unwrap().role().targets().len(), 1);
}

/// Between the draft and the proposal another release was committed: the draft would take it out again, for ever stale.
#[tokio::test]
async fn a_release_that_others_must_sign_is_proposed_on_what_is_published_only() {
    use crate::client::publish::proposed::propose;
    let world = world().await;
    let (first, _) = two_for_releases(&world).await;
    let both = world.home(&[Home::RELEASES, Home::ONLINE, SECOND]);
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let request = Request {
        collection: name(),
        anchor: world.root.clone(),
        state: &*world.store,
        store: &*world.store,
        bundles: vec![Wanted { selector: Selector::Digest(a.digest().clone()), tags: Default::default() }],
        role: None,
        memories: &[first.memory()],
        without_memory: false,
        keys: &first.keys,
        clock: &world.clock,
    };
    let (collection, memories) = (name(), [first.memory()]);
    let desk = world.desk(&first, &collection, &memories);
    let place = Known::new(&*world.store);
    let committer = desk.committer(&place);
    let view = |live: &Whole| View::of(&RoleFile::of(live.role(&RoleName::releases()).unwrap()).unwrap());
    let drafted = |live: &Whole| {
        let (now, lacking) = (
            world.clock.now(),
            SignError::Missing { role: RoleName::releases(), have: 1, need: 2, missing: Vec::new() },
        );
        let path = name().tag_path(&"v1".parse().unwrap());
        let change = Change::Set { path, value: entry(&a) };
        let draft = next(&view(live), None, &[change], &name().to_string(), now, now.plus(30 * DAY));
        crate::client::commit::Partly { role: RoleName::releases(), draft, lacking }
    };
    let early = drafted(&world.live().await);
    world.publish_as(&both, None, &b, &["v2"]).await.unwrap();
    assert_eq!(propose(&request, &committer, &early).await.unwrap(), None);
    let late = drafted(&world.live().await);
    let left = propose(&request, &committer, &late).await.unwrap().unwrap();
    assert_eq!(left.lacking.0, 1);
}
