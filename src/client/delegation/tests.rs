//! Delegates from the grant to the verdict: who may publish what, what is admitted, and what readers see.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::*;
use crate::client::commit::{Reason, Refusal};
use crate::client::fixture::{DAY, Home, World, image, key, name};
use crate::client::memory::Memory;
use crate::client::publish::{PublishError, Published, Request, Status, Wanted, publish};
use crate::client::renew;
use crate::client::signing::SignError;
use crate::client::submission::Submission;
use crate::oci::{Content, Selector};
use crate::sig::PublicKey;
use crate::store::memory::MemoryStore;
use crate::time::Clock as _;
use crate::trust::Verdict;
use crate::tuf::grant::GrantError;
use crate::tuf::lineage::{Change, RoleFile, View, genesis, next};
use crate::tuf::proposal::EditError;
use crate::tuf::{Draft, Extra, Files, Heading, RoleKeys, Signers};

const DEV: u8 = 21;
const RC: u8 = 22;

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

fn role(last: &str) -> RoleName {
    format!("targets/releases/{last}").parse().unwrap()
}

fn public(seed: u8) -> PublicKey {
    key(seed).public_key().clone()
}

fn wanted(last: &str, seeds: &[u8], threshold: u32, scopes: &[&str]) -> Grant {
    Grant {
        role: role(last),
        signers: Signers { keys: seeds.iter().map(|s| public(*s)).collect(), threshold },
        paths: scopes.iter().flat_map(|s| name().scope(s).unwrap()).collect(),
        terminating: false,
        terms: Terms {
            at: crate::client::fixture::NOW,
            lifetime: 90 * 86_400,
            delegates: false,
            vetting: None,
        },
    }
}

impl World {
    async fn change(&self, home: &Home, by: &str, edit: Edit) -> Result<Changed, CeremonyError> {
        let (collection, memories) = (name(), [home.memory()]);
        change(&self.desk(home, &collection, &memories), &by.parse().unwrap(), edit).await
    }

    fn desk<'a>(
        &'a self,
        home: &'a Home,
        collection: &'a CollectionName,
        memories: &'a [Memory],
    ) -> Desk<'a> {
        Desk {
            collection,
            anchor: &self.root,
            store: &*self.store,
            memories,
            without_memory: false,
            keys: &home.keys,
            clock: &self.clock,
        }
    }

    async fn grant(&self, last: &str, seeds: &[u8], scopes: &[&str]) {
        let done =
            self.change(&self.owner, "targets/releases", Edit::Grant(wanted(last, seeds, 1, scopes))).await;
        assert!(done.unwrap().committed);
    }

    async fn overview(&self) -> Overview {
        let (collection, home) = (name(), self.home(&[]));
        let memories = [home.memory()];
        overview(&self.desk(&home, &collection, &memories)).await.unwrap()
    }

    async fn publish_as(
        &self,
        home: &Home,
        role: Option<&RoleName>,
        bundle: &Content,
        tags: &[&str],
    ) -> Result<Published, PublishError> {
        publish(Request {
            collection: name(),
            anchor: self.root.clone(),
            state: &*self.store,
            store: &*self.store,
            bundles: vec![Wanted {
                selector: Selector::Digest(bundle.digest().clone()),
                tags: tags.iter().map(|t| t.parse().unwrap()).collect(),
            }],
            role: role.cloned(),
            memories: &[home.memory()],
            without_memory: false,
            keys: &home.keys,
            clock: &self.clock,
        })
        .await
    }

    async fn trusts(&self, reference: &str) -> bool {
        self.verify(&format!("{}{reference}", name())).await.verdict() == Verdict::Trusted
    }

    /// Why a reference is not trusted.
    async fn because(&self, reference: &str) -> String {
        let report = self.verify(&format!("{}{reference}", name())).await;
        let checks = report.checks.iter().chain(report.anchors.iter().flat_map(|a| &a.checks));
        checks.filter(|c| c.is_fail()).map(|c| c.code.as_str()).next().unwrap_or("trusted").to_owned()
    }

    /// Put a role file, signed by `seeds`, as a submission, past all that `publish` checks.
    async fn smuggle(&self, last: &str, seeds: &[u8], edit: impl FnOnce(&mut Value)) -> Tag {
        let live = self.live().await;
        let role = role(last);
        let at = live.roles().get(&role).or_else(|| live.vacant().get(&role)).unwrap();
        let view = View::of(&RoleFile::of(&at.file).unwrap());
        let now = self.clock.now();
        let mut signed =
            next(&view, None, &[], &name().to_string(), now, now.plus(30 * DAY)).signed().clone();
        edit(&mut signed);
        self.put(&role, &Draft::from_signed(signed), seeds).await
    }

    async fn put(&self, role: &RoleName, draft: &Draft, seeds: &[u8]) -> Tag {
        let keys = RoleKeys {
            threshold: u32::try_from(seeds.len()).unwrap(),
            keys: seeds.iter().map(|s| (public(*s).key_id(), Some(public(*s)))).collect(),
        };
        let ring = Home::new(seeds).keys;
        let bytes = crate::client::signing::sign(&ring, role, &keys, draft).await.unwrap();
        let submission = Submission::of(role, &keys, &bytes, Files::new()).unwrap();
        let tag = submission.tag.tag(&name()).unwrap();
        Known::new(&*self.store).push(&submission.pack(), Some(&tag)).await.unwrap();
        tag
    }
}

fn entry(content: &Content) -> Value {
    json!({
        "length": content.descriptor().size,
        "hashes": {"sha256": content.digest().hex()},
        "custom": {"bulla": {"claim": "tag", "at": "2027-01-15T08:00:00Z", "by": "ab", "mediaType": content.media_type()}},
    })
}

fn invalid(pending: &[Pending], tag: &Tag) -> String {
    let found = pending.iter().find(|p| p.tag == *tag).expect("it is named");
    match &found.reason {
        Reason::Invalid(why) => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_delegate_submits_and_the_online_key_admits() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    world.grant("rc", &[RC], &["rc-*"]).await;
    let (dev, rc) = (world.home(&[DEV]), world.home(&[RC]));
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let done = world.publish_as(&dev, None, &a, &["dev-1"]).await.unwrap();
    assert_eq!((done.status, done.role, done.submitted.len()), (Status::Submitted, role("dev"), 1));
    assert_eq!(world.because(":dev-1").await, "ref.absent", "nothing is tagged before it is admitted");
    world.publish_as(&rc, None, &b, &["rc-1"]).await.unwrap();
    let job = world.home(&[Home::ONLINE]);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!((renewed.status, renewed.admitted.len()), (renew::Status::Renewed, 2));
    assert_eq!((renewed.finished.seals.len(), renewed.finished.tags.len()), (2, 2));
    assert_eq!(renewed.pending, vec![]);
    // By tag it is what the tag must name; by digest it is no release of the collection.
    assert!(world.trusts(":dev-1").await && world.trusts(":rc-1").await);
    assert_eq!(world.because(&format!("@{}", a.digest())).await, "bundle.digest.unlisted");
    // Without the state the seal serves.
    let state = world.store.resolve(&Selector::Tag(name().state_tag())).await.unwrap().unwrap();
    world.store.delete(&Selector::Tag(name().state_tag())).await.unwrap();
    assert!(world.trusts(":dev-1").await);
    world.store.push_manifest(&state, Some(&name().state_tag())).await.unwrap();
    // The release team promotes what it has looked at.
    world.publish_as(&world.owner, None, &a, &["v1"]).await.unwrap();
    assert!(world.trusts(&format!("@{}", a.digest())).await && world.trusts(":v1").await);
    // The tag moves on.
    world.clock.forward(60);
    let done = world.publish_as(&dev, None, &b, &["dev-1"]).await.unwrap();
    assert_eq!(done.status, Status::Submitted);
    world.renew(&job, &[]).await.unwrap();
    let named = world.store.resolve(&Selector::Tag("dev-1".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!(named.digest(), b.digest());
    assert!(world.trusts(":dev-1").await);
    let again = world.publish_as(&dev, None, &b, &["dev-1"]).await.unwrap();
    assert_eq!(again.status, Status::Released, "it is in already");
    let rows = world.overview().await.rows;
    let names: Vec<&str> = rows.iter().map(|r| r.role.as_str()).collect();
    assert_eq!(
        names,
        ["targets/revocations", "targets/releases", "targets/releases/dev", "targets/releases/rc"]
    );
    assert_eq!((rows[2].file.unwrap().0.get(), rows[2].entries), (3, 1));
}

#[tokio::test]
async fn out_of_scope_is_refused_at_publishing_at_admission_and_at_verification() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let dev = world.home(&[DEV]);
    let a = image(&*world.store, "a").await;
    let refused = |e: PublishError| match e {
        PublishError::Work(WorkError::Refused(refusal)) => refusal,
        other => panic!("{other}"),
    };
    let e = refused(world.publish_as(&dev, None, &a, &["v1"]).await.unwrap_err());
    assert!(matches!(&e, Refusal::OutOfScope { roles, .. } if roles[0].0 == role("dev")), "{e}");
    let e = refused(world.publish_as(&dev, None, &a, &["dev-1", "v1"]).await.unwrap_err());
    assert!(matches!(e, Refusal::OutOfScope { .. }));
    assert_eq!(
        refused(world.publish_as(&dev, None, &a, &[]).await.unwrap_err()),
        Refusal::TagsOnly(role("dev"))
    );
    let e = refused(world.publish_as(&dev, Some(&role("ops")), &a, &["dev-1"]).await.unwrap_err());
    assert_eq!(e, Refusal::NoRole(role("ops")));
    assert_eq!(world.submissions().await, 1, "only the grant");
    // Signed all the same, past the program.
    for path in [name().tag_path(&"v1".parse().unwrap()), name().release_path(a.digest())] {
        let tag = world.smuggle("dev", &[DEV], |s| s["targets"][&path] = entry(&a)).await;
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert!(renewed.admitted.is_empty());
        assert!(invalid(&renewed.pending, &tag).contains("may not speak"), "{:?}", renewed.pending);
        // The delegate sees the same reason, without a key.
        assert!(invalid(&world.overview().await.pending, &tag).contains("may not speak"));
        world.store.delete(&Selector::Tag(tag)).await.unwrap();
    }
    // Even where the online key let it in, readers do not look there.
    let path = name().tag_path(&"v1".parse().unwrap());
    let live = world.live().await;
    let start = genesis(&name().to_string(), &role("dev")).unwrap();
    let now = world.clock.now();
    let mut signed = next(
        &View::of(&RoleFile::of(&start).unwrap()),
        None,
        &[],
        &name().to_string(),
        now,
        now.plus(30 * DAY),
    )
    .signed()
    .clone();
    signed["targets"][&path] = entry(&a);
    let keys = live.vacant()[&role("dev")].keys.clone();
    let file = crate::client::signing::sign(&dev.keys, &role("dev"), &keys, &Draft::from_signed(signed))
        .await
        .unwrap();
    force(&world, &role("dev"), file).await;
    world.store.push_manifest(&a, Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!(world.because(":v1").await, "bundle.tag.unlisted");
}

/// A state over the live one, made with the online key alone, that holds `file` for `role`.
async fn force(world: &World, role: &RoleName, file: Bytes) {
    use crate::client::state::{Kind, pack};
    use crate::tuf::{FileName, FilePin};
    let live = world.live().await;
    let version = Version::new(2).unwrap();
    let mut pins = live.trusted().snapshot().role().pins().clone();
    pins.insert(role.clone(), FilePin::of(version, &file));
    let online = key(Home::ONLINE);
    let (now, at) = (world.clock.now(), live.trusted().timestamp().version().next());
    let heading = Heading { version: at, expires: now.plus(DAY), extra: Extra::new(name().to_string(), now) };
    let sign = async |draft: Draft| {
        let signature = online.sign(&draft.message()).await.unwrap();
        draft.assemble(&[(online.public_key().key_id(), signature)].into())
    };
    let snapshot = sign(Draft::snapshot(&heading, &pins)).await;
    let timestamp = sign(Draft::timestamp(&heading, &FilePin::of(at, &snapshot))).await;
    let mut files = live.files().clone();
    files.retain(|n| n.role() != role && !matches!(n.role().as_str(), "snapshot" | "timestamp"));
    files.put(FileName::versioned(role.clone(), version), file);
    files.put(FileName::versioned(RoleName::snapshot(), at), snapshot);
    files.put(FileName::timestamp(), timestamp);
    let packed = pack(Kind::State, &files, None);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
}

#[tokio::test]
async fn who_was_taken_back_is_refused_everywhere_and_the_name_is_spent() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let dev = world.home(&[DEV]);
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish_as(&dev, None, &a, &["dev-1"]).await.unwrap();
    // The job's memory knows the delegate; it must not bring him back.
    let job = world.home(&[Home::ONLINE]);
    world.renew(&job, &[]).await.unwrap();
    assert!(world.trusts(":dev-1").await);
    world.clock.forward(60);
    let late = world
        .smuggle("dev", &[DEV], |s| s["targets"][name().tag_path(&"dev-2".parse().unwrap())] = entry(&b))
        .await;
    let done =
        world.change(&world.home(&[Home::RELEASES]), "targets/releases", Edit::TakeBack(role("dev"))).await;
    assert!(!done.unwrap().committed, "the online key is elsewhere");
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert!(
        !renewed.admitted.iter().any(|a| a.role == role("dev") && a.tag == late)
            || !world.trusts(":dev-2").await
    );
    assert_eq!(world.because(":dev-1").await, "bundle.tag.unlisted");
    // From now on there is no such role.
    let again = world.renew(&job, &[]).await.unwrap();
    assert_eq!((again.status, again.commits), (renew::Status::Current, 0), "{again:?}");
    let e = world.publish_as(&dev, None, &b, &["dev-2"]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::Sign(SignError::Missing { .. }))), "{e}");
    let e = world.publish_as(&dev, Some(&role("dev")), &b, &["dev-2"]).await.unwrap_err();
    assert!(matches!(e, PublishError::Work(WorkError::Refused(Refusal::NoRole(_)))), "{e}");
    assert_eq!(world.because(":dev-1").await, "bundle.tag.unlisted");
    let e = world
        .change(&world.owner, "targets/releases", Edit::Grant(wanted("dev", &[RC], 1, &["dev-*"])))
        .await;
    assert!(matches!(e, Err(CeremonyError::Edit(EditError::Rule(GrantError::Taken(_))))));
    world.grant("dev2", &[RC], &["dev-*"]).await;
    assert_eq!(world.renew(&job, &[]).await.unwrap().commits, 0);
}

#[tokio::test]
async fn an_old_submission_does_nothing() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let dev = world.home(&[DEV]);
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let first = world.publish_as(&dev, None, &a, &["dev-1"]).await.unwrap().submitted.remove(0);
    let old = world.store.resolve(&Selector::Tag(first.clone())).await.unwrap().unwrap();
    world.renew(&world.owner, &[]).await.unwrap();
    world.clock.forward(60);
    world.publish_as(&dev, None, &b, &["dev-1"]).await.unwrap();
    world.renew(&world.owner, &[]).await.unwrap();
    world.clock.forward(4_000);
    world.renew(&world.owner, &[]).await.unwrap();
    assert_eq!(world.submissions().await, 0);
    world.store.push_manifest(&old, Some(&first)).await.unwrap();
    let renewed = world.renew(&world.owner, &[]).await.unwrap();
    assert!(renewed.admitted.is_empty() && renewed.pending.is_empty());
    let live = world.live().await;
    let listed = live.role(&role("dev")).unwrap().role().targets();
    assert_eq!(listed[&name().tag_path(&"dev-1".parse().unwrap())].sha256(), Some(b.digest().hex()));
}

#[tokio::test]
async fn two_who_sign_the_first_file_at_once_are_joined() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    let path = |tag: &str| name().tag_path(&tag.parse().unwrap());
    world.smuggle("dev", &[DEV], |s| s["targets"][path("dev-a")] = entry(&a)).await;
    world.smuggle("dev", &[DEV], |s| s["targets"][path("dev-b")] = entry(&b)).await;
    // The online key alone admits one and reports the fork; whoever holds the role's key joins both.
    let job = world.home(&[Home::ONLINE]);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!((renewed.status, renewed.admitted.len()), (renew::Status::Pending, 1));
    world.renew(&world.home(&[DEV]), &[]).await.unwrap();
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!((renewed.admitted.len(), renewed.pending), (2, vec![]));
    let live = world.live().await;
    assert_eq!(live.role(&role("dev")).unwrap().role().targets().len(), 2);
}

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
async fn an_expired_delegate_is_named_and_the_others_go_on() {
    let world = world().await;
    let mut short = wanted("dev", &[DEV], 1, &["dev-*"]);
    short.terms.lifetime = 2 * 86_400;
    world.change(&world.owner, "targets/releases", Edit::Grant(short)).await.unwrap();
    world.grant("rc", &[RC], &["rc-*"]).await;
    let (a, b) = (image(&*world.store, "a").await, image(&*world.store, "b").await);
    world.publish_as(&world.home(&[DEV]), None, &a, &["dev-1"]).await.unwrap();
    world.publish_as(&world.home(&[RC]), None, &b, &["rc-1"]).await.unwrap();
    let job = world.home(&[Home::ONLINE]);
    world.renew(&job, &[]).await.unwrap();
    world.clock.forward(3 * DAY);
    let renewed = world.renew(&job, &[]).await.unwrap();
    assert_eq!(renewed.status, renew::Status::Overdue);
    let overdue: Vec<&str> =
        renewed.due.iter().filter(|d| d.expires <= world.clock.now()).map(|d| d.role.as_str()).collect();
    assert_eq!(overdue, ["targets/releases/dev"]);
    assert_eq!(world.because(":dev-1").await, "tuf.delegation.expired");
    assert!(world.trusts(":rc-1").await);
    // He comes back, signs again without publishing anything, and is admitted.
    let back = world.renew(&world.home(&[DEV]), &[]).await.unwrap();
    assert_eq!(back.signed.len(), 1);
    world.renew(&job, &[]).await.unwrap();
    assert!(world.trusts(":dev-1").await);
}

#[tokio::test]
async fn a_hostile_delegate_harms_nobody_else() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    world.grant("rc", &[RC], &["rc-*"]).await;
    let a = image(&*world.store, "a").await;
    let path = name().tag_path(&"dev-1".parse().unwrap());
    let mine = json!({public(DEV).key_id().as_str(): public(DEV).to_tuf()});
    let to = |role: &str| {
        json!({"keys": mine, "roles": [{
            "name": role, "keyids": [public(DEV).key_id()], "threshold": 1, "terminating": false, "paths": ["*"],
        }]})
    };
    type Edited = Box<dyn FnOnce(&mut Value)>;
    let (p, e) = (path.clone(), entry(&a));
    let many: Map<String, Value> = (0..6_000).map(|n| (format!("{}:dev-{n}", name()), entry(&a))).collect();
    let cases: Vec<(&str, Edited)> = vec![
        // Under these, no state would verify any more.
        ("delegates", {
            let d = to("targets/releases");
            Box::new(move |s| s["delegations"] = d)
        }),
        ("delegates", {
            let d = to("targets/releases/rc");
            Box::new(move |s| s["delegations"] = d)
        }),
        ("expires at", Box::new(|s| s["expires"] = json!("2127-01-01T00:00:00Z"))),
        (
            "custom.bulla",
            Box::new(move |s| {
                let mut e = e;
                e["custom"] = json!({});
                s["targets"][p] = e
            }),
        ),
        ("bytes", Box::new(move |s| s["targets"] = Value::Object(many))),
        ("collection", Box::new(|s| s["x-bulla"]["collection"] = json!("ex.com/other"))),
    ];
    for (why, edit) in cases {
        let tag = world.smuggle("dev", &[DEV], edit).await;
        world.publish_as(&world.home(&[RC]), None, &a, &["rc-1"]).await.unwrap();
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        let said = invalid(&renewed.pending, &tag);
        assert!(said.contains(why), "{why}: {said}");
        assert!(renewed.admitted.iter().all(|a| a.role != role("dev")));
        world.store.delete(&Selector::Tag(tag)).await.unwrap();
    }
    assert!(world.trusts(":rc-1").await);
    // Signed by somebody else, for a version nobody waits for.
    let tag = world.smuggle("dev", &[RC], |_| {}).await;
    assert!(invalid(&world.renew(&world.owner, &[]).await.unwrap().pending, &tag).contains("signature"));
}

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
