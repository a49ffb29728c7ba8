//! The next snapshot and timestamp on a stick: signed by a machine that sees nothing but the proposal and its own anchor.

use super::candidates::{candidates, shared, verifies, version};
use super::installs::*;
use super::*;
use crate::client::ceremony;
use crate::client::commit::{Cosign, Unfit, check_next, cosigned};
use crate::client::renew::{Renewed, Status};
use crate::client::signing::OpenKeys;
use crate::tuf::proposal::{Edit, Proposal};
use crate::tuf::{FilePin, Targets, Unverified};

const SECOND: u8 = 14;

/// What the machine without network knows: the root, and what the proposal carries.
fn published(world: &World, proposal: &Proposal) -> Whole {
    ceremony::carried_by(proposal, &world.root, None, world.clock.now()).unwrap().1
}

/// Read it as it came, judge it, and sign it; as `bulla tuf approve` does.
async fn approve(world: &World, proposal: &Proposal, keys: &[u8]) -> Result<Proposal, Unfit> {
    let mut proposal = Proposal::parse(&proposal.to_bytes()).unwrap();
    let whole = published(world, &proposal);
    check_next(&proposal, &whole, world.clock.now())?;
    let keys = OpenKeys(keys.iter().map(|k| key(*k)).collect());
    let signed = ceremony::sign(&mut proposal, &whole.base(&name()), &keys, None).await.unwrap();
    assert!(signed.iter().all(|(role, _)| proposal.awaits(role)), "{signed:?}");
    Ok(proposal)
}

async fn leave(world: &World, home: &Home) -> Proposal {
    let waits = world.cosign(&*world.store, home, &[], Cosign::Travels).await.unwrap();
    assert_eq!(waits.status, Status::Waiting);
    waits.travels.unwrap().0
}

async fn bring(world: &World, home: &Home, proposal: &Proposal) -> Result<Renewed, WorkError> {
    world.cosign(&*world.store, home, &[], Cosign::Returned(&cosigned(proposal))).await
}

#[tokio::test]
async fn a_publication_is_signed_on_a_machine_without_network() {
    let world = shared().await;
    let (online, image) = (world.home(&[Home::RELEASES, Home::ONLINE]), image(&*world.store, "a").await);
    world.publish(&online, &[(&image.digest().to_string(), &["v1"])]).await.unwrap();
    let before = version(&world).await;
    let proposal = leave(&world, &online).await;
    let roles: Vec<&str> = proposal.drafts().keys().map(RoleName::as_str).collect();
    assert_eq!(roles, ["snapshot", "targets/releases", "timestamp"]);
    let base = published(&world, &proposal).base(&name());
    let shown = proposal.difference(&base).to_string();
    assert!(shown.contains(&format!("entry {}:v1", name())), "{shown}");
    assert!(shown.contains("names targets/releases.json: version 1,") && shown.contains(" -> version 2,"));
    assert_eq!(candidates(&world).await.len(), 1, "it lies at the registry, too");
    // Two days on a stick.
    world.clock.forward(2 * DAY);
    let signed = approve(&world, &proposal, &[SECOND, Home::RELEASES]).await.unwrap();
    assert_eq!(version(&world).await, before);
    world.clock.forward(3600);
    let done = bring(&world, &online, &signed).await.unwrap();
    assert_eq!((done.status, done.commits, done.admitted.len()), (Status::Renewed, 1, 1));
    assert!(verifies(&world, &image).await && candidates(&world).await.is_empty());
    // Once more it is in already.
    let again = bring(&world, &online, &signed).await.unwrap();
    assert_eq!((again.commits, again.gathering), (0, None));
}

#[tokio::test]
async fn all_keys_may_lie_on_machines_without_network() {
    let world = shared().await;
    world.clock.forward(2 * DAY);
    let nobody = world.home(&[]);
    let proposal = leave(&world, &nobody).await;
    assert!(candidates(&world).await.is_empty(), "nobody has signed it");
    // Copies, signed apart.
    let one = approve(&world, &proposal, &[Home::ONLINE]).await.unwrap();
    let two = approve(&world, &proposal, &[SECOND]).await.unwrap();
    let base = published(&world, &proposal).base(&name());
    let waits = bring(&world, &nobody, &one).await.unwrap();
    assert_eq!((waits.status, waits.commits), (Status::Waiting, 0));
    assert_eq!(candidates(&world).await.len(), 1);
    // Whoever reads the registry completes it, or the other stick does: together with what lies there.
    let both = crate::tuf::proposal::merge(&[two.clone(), one], &base).unwrap().proposal;
    assert!(both.signers(&base).unwrap().iter().all(|n| n.is_met()));
    let done = bring(&world, &nobody, &two).await.unwrap();
    assert_eq!((done.status, done.commits), (Status::Renewed, 1));
    assert!(
        world.live().await.trusted().timestamp().version() == two.drafts()[&RoleName::timestamp()].version()
    );
}

#[tokio::test]
async fn a_rotation_travels_with_the_snapshot_that_puts_it_in() {
    let world = shared().await;
    let group = finished(&world, ALL, &[add(RoleName::root(), 21)]).await;
    let online = world.home(&[Home::ONLINE]);
    let waits = commit(&world, &online, &group).await.unwrap();
    assert!(!waits.installed);
    let proposal = leave(&world, &online).await;
    assert!(proposal.drafts().contains_key(&RoleName::root()));
    let signed = approve(&world, &proposal, &[SECOND]).await.unwrap();
    let done = bring(&world, &online, &signed).await.unwrap();
    assert_eq!(done.commits, 1);
    assert_eq!(world.live().await.trusted().root().version().get(), 3);
}

#[tokio::test]
async fn what_was_overtaken_on_the_way_is_refused_and_nothing_is_lost() {
    let world = shared().await;
    let (one, two) = (image(&*world.store, "one").await, image(&*world.store, "two").await);
    let online = world.home(&[Home::RELEASES, Home::ONLINE]);
    world.publish(&online, &[(&one.digest().to_string(), &["v1"])]).await.unwrap();
    let proposal = leave(&world, &online).await;
    let signed = approve(&world, &proposal, &[SECOND]).await.unwrap();
    world.publish(&world.home(&[Home::RELEASES]), &[(&two.digest().to_string(), &["v2"])]).await.unwrap();
    let stale = bring(&world, &online, &signed).await.unwrap_err();
    assert!(matches!(stale, WorkError::Returned(_)), "{stale}");
    world.clock.forward(60);
    let again = approve(&world, &leave(&world, &online).await, &[SECOND]).await.unwrap();
    assert_eq!(bring(&world, &online, &again).await.unwrap().commits, 1);
    assert!(world.has(one.digest()).await && world.has(two.digest()).await);
    // The old stick does not take it back.
    let below = bring(&world, &online, &signed).await.unwrap_err();
    assert!(matches!(below, WorkError::Returned(_)), "{below}");
    assert!(world.has(two.digest()).await);
}

#[tokio::test]
async fn a_next_state_that_lies_is_signed_by_nobody() {
    let world = shared().await;
    let online = world.home(&[Home::RELEASES, Home::ONLINE]);
    let (one, two) = (image(&*world.store, "one").await, image(&*world.store, "two").await);
    world.publish(&online, &[(&one.digest().to_string(), &["v1"])]).await.unwrap();
    let second = world.home(&[SECOND]);
    assert_eq!(world.renew(&second, &[]).await.unwrap().commits, 1);
    world.clock.forward(60);
    world.publish(&online, &[(&two.digest().to_string(), &["v2"])]).await.unwrap();
    let honest = leave(&world, &online).await;
    assert_eq!(check_next(&honest, &published(&world, &honest), world.clock.now()), Ok(()));
    let (now, live) = (world.clock.now(), world.live().await);
    let releases = RoleName::releases();
    // A thief of the online key on the machine that asks writes what he likes around it.
    let rewritten = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut doc: serde_json::Value = serde_json::from_slice(&honest.to_bytes()).unwrap();
        change(&mut doc);
        Proposal::parse(&serde_json::to_vec(&doc).unwrap())
    };
    let both = |doc: &mut serde_json::Value, member: &str, value: serde_json::Value| {
        for role in ["snapshot", "timestamp"] {
            doc["drafts"][role]["signed"][member] = value.clone();
        }
    };
    let low = live.trusted().timestamp().version().get();
    type Row<'a> = (&'a str, Box<dyn Fn(&mut serde_json::Value)>);
    let mut rows: Vec<Row<'_>> = vec![
        (
            "a lower version",
            Box::new(move |d| {
                both(d, "version", json!(low - 1));
                d["drafts"]["timestamp"]["signed"]["meta"]["snapshot.json"]["version"] = json!(low - 1);
            }),
        ),
        (
            "other content under the published version",
            Box::new(move |d| {
                both(d, "version", json!(low));
                d["drafts"]["timestamp"]["signed"]["meta"]["snapshot.json"]["version"] = json!(low);
            }),
        ),
        (
            "a version of the far future",
            Box::new(move |d| {
                both(d, "version", json!(9_999_999_999_u64));
                d["drafts"]["timestamp"]["signed"]["meta"]["snapshot.json"]["version"] =
                    json!(9_999_999_999_u64);
            }),
        ),
        (
            "a longer life",
            Box::new(move |d| {
                d["drafts"]["timestamp"]["signed"]["expires"] = json!(now.plus(700 * DAY));
            }),
        ),
        (
            "a role that is dropped",
            Box::new(|d| {
                let meta = d["drafts"]["snapshot"]["signed"]["meta"].as_object_mut().unwrap();
                meta.remove("targets/revocations.json").unwrap();
            }),
        ),
        (
            "an older file of a role",
            Box::new({
                let pin = live.trusted().pin(&releases).unwrap().to_json();
                move |d| d["drafts"]["snapshot"]["signed"]["meta"]["targets/releases.json"] = pin.clone()
            }),
        ),
        (
            "an entry that is dropped",
            Box::new(|d| {
                d["drafts"]["targets/releases"]["signed"]["targets"] = json!({});
            }),
        ),
        (
            "a file that nobody has signed",
            Box::new(|d| {
                d["drafts"]["targets/releases"]["signatures"] = json!([]);
            }),
        ),
        (
            "another snapshot in the timestamp",
            Box::new(|d| {
                d["drafts"]["timestamp"]["signed"]["meta"]["snapshot.json"]["version"] = json!(1);
            }),
        ),
        ("a member of its own", Box::new(|d| d["drafts"]["snapshot"]["signed"]["odd"] = json!(1))),
        (
            "made long ago",
            Box::new(move |d| {
                for role in ["snapshot", "timestamp"] {
                    d["drafts"][role]["signed"]["x-bulla"]["at"] = json!(now.plus(-5 * DAY));
                }
            }),
        ),
    ];
    rows.push((
        "a snapshot without its timestamp",
        Box::new(|d| {
            d["drafts"].as_object_mut().unwrap().remove("timestamp");
        }),
    ));
    for (what, change) in rows {
        let refused = match rewritten(&*change) {
            Err(_) => true,
            Ok(proposal) => approve(&world, &proposal, &[SECOND]).await.is_err(),
        };
        assert!(refused, "{what} was signed");
    }
    // A releases file with enough signatures, beside the published one instead of on it: it would drop what is listed.
    let at = live.roles()[&releases].clone();
    let mut content = at.file.signed().clone();
    content["version"] = json!(at.file.version().get() + 1);
    content["targets"] = json!({});
    content["x-bulla"]["ancestors"] = json!([]);
    let draft = Draft::from_signed(content);
    let signature = key(Home::RELEASES).sign(&draft.message()).await.unwrap();
    let id = key(Home::RELEASES).public_key().key_id();
    let bytes = draft.assemble(&BTreeMap::from([(id.clone(), signature.clone())]));
    let file = Unverified::<Targets>::parse(&releases, &bytes, &Limits::default()).unwrap();
    let pin = FilePin::of(file.claimed_version(), &bytes).to_json();
    let beside = rewritten(&|d| {
        d["drafts"]["targets/releases"] = json!({
            "signed": draft.signed(), "signatures": [{"keyid": id, "sig": hex::encode(&signature)}],
        });
        d["drafts"]["snapshot"]["signed"]["meta"]["targets/releases.json"] = pin.clone();
    });
    let refused = approve(&world, &beside.unwrap(), &[SECOND]).await.unwrap_err();
    assert_eq!(refused, Unfit::Descent(releases));
    // And what one machine signed all the same is passed over by whoever commits.
    let lie = rewritten(&|d| {
        d["drafts"]["snapshot"]["signed"]["meta"]["targets/revocations.json"]["version"] = json!(7);
    });
    assert!(matches!(bring(&world, &second, &lie.unwrap()).await, Err(WorkError::Returned(_))));
    assert_eq!(version(&world).await, low);
    assert!(world.has(one.digest()).await);
}

#[tokio::test]
async fn what_one_machine_was_told_to_sign_the_other_signs_undue() {
    let world = shared().await;
    // Split keys: one machine signs timestamps, the other one snapshots.
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE, SECOND]);
    let mut edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .map(|role| Edit::Threshold { role, threshold: 1 })
        .collect();
    edits.extend([remove(RoleName::timestamp(), SECOND), remove(RoleName::snapshot(), Home::ONLINE)]);
    assert!(at_once(&world, &all, &edits).await.unwrap().worked.unwrap().installed);
    let (a, b) = (world.home(&[Home::ONLINE]), world.home(&[SECOND]));
    world.clock.forward(60);
    let before = version(&world).await;
    let waits = world.renew(&b, &["snapshot"]).await.unwrap();
    assert_eq!((waits.status, waits.commits), (Status::Waiting, 0));
    world.clock.forward(60);
    // Nothing is due there; it signs what was begun.
    let done = world.renew(&a, &[]).await.unwrap();
    assert_eq!((done.status, done.commits, done.gathering), (Status::Renewed, 1, None));
    assert!(version(&world).await > before);
    world.clock.forward(60);
    assert_eq!(world.renew(&b, &[]).await.unwrap().status, Status::Current);
    // With one of two keys a role can be asked for, too.
    let world = shared().await;
    let (a, b) = (world.home(&[Home::ONLINE]), world.home(&[SECOND]));
    world.clock.forward(60);
    assert_eq!(world.renew(&a, &["timestamp"]).await.unwrap().status, Status::Waiting);
    assert_eq!(world.renew(&b, &[]).await.unwrap().commits, 1);
    world.clock.forward(60);
    assert_eq!(world.renew(&a, &[]).await.unwrap().status, Status::Current);
}

#[tokio::test]
async fn after_versions_were_driven_up_new_keys_on_two_machines_begin_below_them() {
    let world = shared().await;
    // Whoever stole both online keys has signed the last version but one.
    let thief = world.home(&[Home::ONLINE, SECOND]);
    world.clock.forward(40 * 365 * DAY);
    let _ = world.renew(&thief, &["timestamp"]).await.unwrap();
    let driven = version(&world).await;
    world.clock.forward(-40 * 365 * DAY + 60);
    let all = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, 23, 24]);
    let mut edits = Vec::new();
    for role in [RoleName::timestamp(), RoleName::snapshot()] {
        edits.extend([add(role.clone(), 23), add(role.clone(), 24)]);
        edits.extend([remove(role.clone(), Home::ONLINE), remove(role, SECOND)]);
    }
    let group = finished(&world, &[Home::ROOT, Home::TARGETS, Home::RELEASES], &edits).await;
    let _ = all;
    let (a, b) = (world.home(&[23]), world.home(&[24]));
    assert!(!commit(&world, &a, &group).await.unwrap().installed, "it waits for the second key");
    let done = world.renew(&b, &[]).await.unwrap();
    assert_eq!((done.commits, done.gathering), (1, None));
    assert!(version(&world).await < driven);
}
