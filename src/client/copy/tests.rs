use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::client::known::Known;
use crate::client::state::{self, Kind};
use crate::store::BytesSource;
use crate::store::copy::Unobserved;
use crate::store::memory::MemoryStore;
use crate::trust::Anchor;
use crate::tuf::sim::{COLLECTION, DAY, NOW, Sim, SimKey};

/// Two repositories in memory.
struct Two {
    from: Arc<MemoryStore>,
    to: Arc<MemoryStore>,
}

#[async_trait]
impl Places for Two {
    async fn open(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        let store = if reference.to_string().contains("from") { &self.from } else { &self.to };
        Ok(store.clone())
    }

    async fn create(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        self.open(reference).await
    }
}

fn settings<'a>(places: &'a dyn Places, trust: &'a TrustFile, memory: &'a Path) -> Settings<'a> {
    Settings {
        places,
        trust,
        memory,
        now: NOW,
        clock_override: false,
        named: None,
        verify: false,
        dry_run: false,
        repair: false,
        filter: Filter::all(),
        concurrency: 4,
        observer: &Unobserved,
    }
}

fn job(source: &str, destination: &str) -> Job {
    Job::one(&source.parse().unwrap(), &destination.parse().unwrap()).unwrap()
}

fn copied(outcome: Result<Outcome, Trouble>) -> Copied {
    match outcome.unwrap() {
        Outcome::Copied(copied) => *copied,
        Outcome::Refused(report) => panic!("refused: {report:#?}"),
    }
}

/// Copies a bundle from a repository with the state of `incoming` to one with that of `existing`: what became of it.
async fn outcome(existing: &Sim, incoming: &Sim, trusted: &Sim) -> TagAction {
    let anchor = Anchor::tuf(COLLECTION.parse().unwrap(), Sim::name(), trusted.roots[0].clone(), Vec::new());
    outcome_with(existing, incoming, vec![anchor], None).await
}

async fn outcome_with(
    existing: &Sim,
    incoming: &Sim,
    anchors: Vec<Anchor>,
    collection: Option<CollectionName>,
) -> TagAction {
    let store = |at: &str| Arc::new(MemoryStore::new(at.parse().unwrap()));
    let two = Two { from: store("from.example/app"), to: store("to.example/app") };
    let tag = Sim::name().state_tag();
    for (store, sim) in [(&two.to, existing), (&two.from, incoming)] {
        let packed = state::pack(Kind::State, &sim.files(), None);
        Known::new(&**store).push(&packed, Some(&tag)).await.unwrap();
    }
    let bundle = crate::oci::Packer::new("application/vnd.example").build();
    let empty = Content::new(crate::oci::media_type::OCI_EMPTY, "{}");
    two.from.push_blob(empty.descriptor(), &BytesSource("{}".into())).await.unwrap();
    two.from.push_manifest(&bundle, Some(&"v1".parse().unwrap())).await.unwrap();
    let mut trust = TrustFile::default();
    trust.anchors = anchors;
    let home = tempfile::tempdir().unwrap();
    let named = collection.map(|c| Subject { repository: c.as_repository().clone(), tag: None });
    let mut copier = Copier::new(Settings { named: named.as_ref(), ..settings(&two, &trust, home.path()) });
    let report = copied(copier.copy(&job("from.example/app:v1", "to.example/app")).await).report;
    let there = two.to.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    let source = two.from.resolve(&Selector::Tag(tag.clone())).await.unwrap().unwrap();
    let action = report.tags.into_iter().find(|t| t.tag == tag).unwrap().action;
    let moved = matches!(action, TagAction::Replaced | TagAction::Same);
    assert_eq!(there.digest() == source.digest(), moved, "{action:?}");
    action
}

fn at(version: u64) -> Sim {
    let mut sim = Sim::new();
    sim.at_version(version, NOW);
    sim
}

fn why(action: TagAction) -> String {
    match action {
        TagAction::Kept { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newer_state_of_one_root_wins() {
    assert_eq!(outcome(&at(2), &at(3), &Sim::new()).await, TagAction::Replaced);
    assert_eq!(outcome(&at(2), &at(2), &Sim::new()).await, TagAction::Same);
    assert!(why(outcome(&at(3), &at(2), &Sim::new()).await).contains("as new or newer"));
    let mut expired = at(3);
    expired.timestamp.expires = NOW.plus(-DAY);
    assert_eq!(outcome(&at(2), &expired, &Sim::new()).await, TagAction::Replaced, "expiry is not age");
}

/// A timestamp alone does not make a state newer: no role of it may have fallen.
#[tokio::test]
async fn a_mixture_is_not_newer() {
    let mut mixed = at(5);
    mixed.releases = crate::tuf::sim::heading(1, NOW, 90 * DAY);
    assert!(why(outcome(&at(4), &mixed, &Sim::new()).await).contains("as new or newer"));
}

#[tokio::test]
async fn without_an_anchor_the_root_at_the_destination_decides() {
    assert_eq!(outcome_with(&at(2), &at(3), Vec::new(), None).await, TagAction::Replaced);
    assert!(why(outcome_with(&at(3), &at(2), Vec::new(), None).await).contains("as new or newer"));
    // Another root of the same name, though it signed a higher version.
    let mut stranger = at(9);
    stranger.root_keys = vec![SimKey::new(91), SimKey::new(92)];
    stranger.online_key = SimKey::new(93);
    stranger.roots.clear();
    stranger.roots.push(stranger.next_root());
    let reason = why(outcome_with(&at(2), &stranger, Vec::new(), None).await);
    assert!(reason.contains("does not verify"), "{reason}");
}

#[tokio::test]
async fn without_a_common_root_nothing_is_replaced() {
    let other = Some("ex.com/org/other".parse().unwrap());
    let anchor =
        Anchor::tuf(COLLECTION.parse().unwrap(), Sim::name(), Sim::new().roots[0].clone(), Vec::new());
    assert!(why(outcome_with(&at(2), &at(3), vec![anchor], other).await).contains("cannot tell which"));

    let mut stranger = at(9);
    stranger.online_key = SimKey::new(99);
    assert!(why(outcome(&at(2), &stranger, &Sim::new()).await).contains("the source's does not verify"));
    assert!(why(outcome(&stranger, &at(3), &Sim::new()).await).contains("the destination's does not verify"));
}

#[tokio::test]
async fn a_state_under_a_later_root_replaces_one_under_an_earlier() {
    let mut rotated = at(3);
    rotated.rotate(|s| s.online_key = SimKey::new(44));
    assert_eq!(outcome(&at(2), &rotated, &Sim::new()).await, TagAction::Replaced);
    assert!(why(outcome(&rotated, &at(9), &Sim::new()).await).contains("does not verify"));
}
