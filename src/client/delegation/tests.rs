//! Delegates from the grant to the verdict: who may publish what, what is admitted, and what readers see.

mod hostile;
mod machines;
mod searches;

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
