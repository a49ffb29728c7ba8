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
use crate::tuf::{About, Bundle, Claim};

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

fn two() -> Two {
    let store = |at: &str| Arc::new(MemoryStore::new(at.parse().unwrap()));
    Two { from: store("from.example/app"), to: store("to.example/app") }
}

fn anchored(sim: &Sim) -> TrustFile {
    let mut trust = TrustFile::default();
    trust.anchors =
        vec![Anchor::tuf(COLLECTION.parse().unwrap(), Sim::name(), sim.roots[0].clone(), Vec::new())];
    trust
}

async fn push_state(store: &MemoryStore, sim: &Sim) -> Digest {
    let packed = state::pack(Kind::State, &sim.files(), None);
    Known::new(store).push(&packed, Some(&Sim::name().state_tag())).await.unwrap();
    packed.manifest.digest().clone()
}

/// An artifact of its own at a tag.
async fn push_bundle(store: &MemoryStore, kind: &str, tag: &str) -> Digest {
    let bundle = crate::oci::Packer::new(kind).build();
    let empty = Content::new(crate::oci::media_type::OCI_EMPTY, "{}");
    store.push_blob(empty.descriptor(), &BytesSource("{}".into())).await.unwrap();
    store.push_manifest(&bundle, Some(&tag.parse().unwrap())).await.unwrap();
    bundle.digest().clone()
}

async fn at_tag(store: &MemoryStore, tag: &str) -> Option<Digest> {
    let there = store.resolve(&Selector::Tag(tag.parse().unwrap())).await.unwrap();
    there.map(|content| content.digest().clone())
}

async fn outcome_with(
    existing: &Sim,
    incoming: &Sim,
    anchors: Vec<Anchor>,
    collection: Option<CollectionName>,
) -> TagAction {
    let two = two();
    let tag = Sim::name().state_tag();
    push_state(&two.to, existing).await;
    push_state(&two.from, incoming).await;
    push_bundle(&two.from, "application/vnd.example", "v1").await;
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

/// A state that is new at the destination and cannot be judged is no reason to say nothing of the tags there.
#[tokio::test]
async fn a_new_state_that_cannot_be_judged_is_said() {
    let mut stranger = at(9);
    stranger.online_key = SimKey::new(99);
    let unreadable = "application/vnd.example.state";
    for (judged, said) in
        [(Some(at(3)), None), (Some(stranger), Some("does not verify")), (None, Some("cannot be read"))]
    {
        let (two, trust, home) = (two(), anchored(&Sim::new()), tempfile::tempdir().unwrap());
        match judged {
            Some(sim) => push_state(&two.from, &sim).await,
            None => push_bundle(&two.from, unreadable, Sim::name().state_tag().as_str()).await,
        };
        push_bundle(&two.from, "application/vnd.example", "v1").await;
        push_bundle(&two.to, "application/vnd.example.own", "own").await;
        let mut copier = Copier::new(settings(&two, &trust, home.path()));
        copied(copier.copy(&job("from.example/app:v1", "to.example/app")).await);
        let unknown: Vec<String> =
            copier.confirm().await.into_iter().flat_map(|(_, _, found)| found.unknown).collect();
        match said {
            None => assert_eq!(unknown, [""; 0]),
            Some(words) => assert!(unknown.len() == 1 && unknown[0].contains(words), "{unknown:?}"),
        }
    }
}

/// Interrupted after any bundle, a run leaves the old state with the tags that it speaks of.
#[tokio::test]
async fn a_newer_state_comes_after_the_last_bundle_and_tags_that_move_come_after_it() {
    let (two, trust, home) = (two(), anchored(&Sim::new()), tempfile::tempdir().unwrap());
    let state = Sim::name().state_tag();
    let (old, new) = (push_state(&two.to, &at(2)).await, push_state(&two.from, &at(3)).await);
    let before = push_bundle(&two.to, "a/before", "moves").await;
    let moved = push_bundle(&two.from, "a/moved", "moves").await;
    let fresh = push_bundle(&two.from, "a/fresh", "fresh").await;
    let mut copier = Copier::new(settings(&two, &trust, home.path()));
    let jobs = ["moves", "fresh", "gone"].map(|t| job(&format!("from.example/app:{t}"), "to.example/app"));
    copier.expect(&jobs);
    let mut first = copied(copier.copy(&jobs[0]).await);
    let second = copied(copier.copy(&jobs[1]).await);
    assert!(copier.settle(false).await.is_empty(), "one is to come");
    let there = async |tag: &str| at_tag(&two.to, tag).await;
    assert_eq!(there(state.as_str()).await, Some(old));
    assert_eq!((there("moves").await, there("fresh").await), (Some(before), Some(fresh)));
    assert!(two.to.resolve(&Selector::Digest(moved.clone())).await.unwrap().is_some());
    assert_eq!((first.report.tags.len(), second.report.tags.len(), second.report.later.len()), (0, 1, 0));

    // The last one does not come; what was copied is set in place all the same.
    assert!(copier.copy(&jobs[2]).await.is_err());
    let settled = copier.settle(false).await;
    assert_eq!(
        (settled.len(), there(state.as_str()).await, there("moves").await),
        (1, Some(new), Some(moved))
    );
    for one in settled {
        assert_eq!(
            (one.from.to_string(), one.to.to_string()),
            ("from.example/app:moves".into(), "to.example/app:moves".into())
        );
        one.add_to(&mut first).unwrap();
    }
    let tags: Vec<(&str, &TagAction)> =
        first.report.tags.iter().map(|t| (t.tag.as_str(), &t.action)).collect();
    assert_eq!(tags, [(state.as_str(), &TagAction::Replaced), ("moves", &TagAction::Replaced)]);
    assert_eq!(first.report.later, []);
    let confirmed = copier.confirm().await;
    assert_eq!(confirmed.len(), 1, "the state is judged once it is there");
}

/// What reads a place that was written to in the same run reads it whole.
#[tokio::test]
async fn a_state_that_waits_is_set_before_its_place_is_read() {
    let (two, trust, home) = (two(), anchored(&Sim::new()), tempfile::tempdir().unwrap());
    push_state(&two.to, &at(2)).await;
    let new = push_state(&two.from, &at(3)).await;
    push_bundle(&two.from, "a/one", "one").await;
    push_bundle(&two.from, "a/two", "two").await;
    let mut copier = Copier::new(settings(&two, &trust, home.path()));
    let out = job("from.example/app:one", "to.example/app");
    let back = job("to.example/app:one", "from.example/app:back");
    let last = job("from.example/app:two", "to.example/app");
    copier.expect([&out, &back, &last]);
    copied(copier.copy(&out).await);
    assert_ne!(at_tag(&two.to, Sim::name().state_tag().as_str()).await, Some(new.clone()));
    copied(copier.copy(&back).await);
    assert_eq!(at_tag(&two.to, Sim::name().state_tag().as_str()).await, Some(new));
    copied(copier.copy(&last).await);
    assert_eq!(copier.settle(true).await.len(), 1);
}

#[tokio::test]
async fn tags_stay_where_the_state_that_moves_them_does_not_come() {
    let (two, trust, home) = (two(), anchored(&Sim::new()), tempfile::tempdir().unwrap());
    push_state(&two.to, &at(2)).await;
    push_state(&two.from, &at(3)).await;
    let before = push_bundle(&two.to, "a/before", "moves").await;
    push_bundle(&two.from, "a/moved", "moves").await;
    push_bundle(&two.from, "a/other", "other").await;
    let mut copier = Copier::new(settings(&two, &trust, home.path()));
    let jobs = ["moves", "other"].map(|t| job(&format!("from.example/app:{t}"), "to.example/app"));
    copier.expect(&jobs);
    let mut first = copied(copier.copy(&jobs[0]).await);
    copied(copier.copy(&jobs[1]).await);
    two.from.delete(&Selector::Tag(Sim::name().state_tag())).await.unwrap();
    let mut settled = copier.settle(false).await;
    assert_eq!(settled.len(), 1);
    let error = settled.remove(0).add_to(&mut first).unwrap_err();
    assert!(matches!(error, CopyError::Absent { .. }), "{error}");
    assert_eq!(at_tag(&two.to, "moves").await, Some(before));
}

/// Names the bundle at the tag.
fn list(sim: &mut Sim, tag: &str, digest: &Digest) {
    let tag: Tag = tag.parse().unwrap();
    let about = About {
        claim: Some(Claim::Tag),
        tags: [tag.clone()].into(),
        ..About::new(NOW, sim.releases_key.public().key_id(), crate::oci::media_type::OCI_MANIFEST)
    };
    let bundle = Bundle { digest: digest.clone(), length: 300, about, custom: Default::default() };
    sim.entries.insert(Sim::name().tag_path(&tag), bundle.to_json());
}

/// Two repositories: at the destination an older state, `old` at `lost` and at `moves`; at the source a newer state that
/// names another bundle at both. The source has nothing at `lost`.
async fn one_is_lost() -> (Two, Digest, Digest) {
    let two = two();
    let (mut older, mut newer) = (at(2), at(3));
    for tag in ["lost", "moves"] {
        let before = push_bundle(&two.to, "a/before", tag).await;
        list(&mut older, tag, &before);
    }
    let after = push_bundle(&two.from, "a/after", "moves").await;
    push_bundle(&two.from, "a/fresh", "fresh").await;
    list(&mut newer, "lost", &after);
    list(&mut newer, "moves", &after);
    let states = (push_state(&two.to, &older).await, push_state(&two.from, &newer).await);
    (two, states.0, states.1)
}

/// What verified at the destination verifies still: neither the state nor a tag moves past a bundle that did not come.
#[tokio::test]
async fn a_newer_state_is_held_back_that_names_a_bundle_that_did_not_come() {
    // Failed first or last, or not begun.
    for order in [["lost", "moves", "fresh"], ["moves", "fresh", "lost"]] {
        for begun in [true, false] {
            let (two, old, new) = one_is_lost().await;
            let (trust, home) = (anchored(&Sim::new()), tempfile::tempdir().unwrap());
            let mut copier = Copier::new(settings(&two, &trust, home.path()));
            let jobs = order.map(|t| job(&format!("from.example/app:{t}"), "to.example/app"));
            copier.expect(&jobs);
            let mut all = BTreeMap::new();
            for (tag, job) in order.iter().zip(&jobs) {
                match *tag {
                    "lost" if begun => assert!(copier.copy(job).await.is_err()),
                    "lost" => {}
                    tag => {
                        all.insert(tag, copied(copier.copy(job).await));
                    }
                }
            }
            let mut errors = BTreeMap::new();
            for one in copier.settle(true).await {
                let tag = one.from.to_string().rsplit(':').next().unwrap().to_owned();
                if let Err(e) = one.add_to(all.get_mut(tag.as_str()).unwrap()) {
                    errors.insert(tag, e);
                }
            }
            let state = Sim::name().state_tag();
            assert_eq!(at_tag(&two.to, state.as_str()).await, Some(old), "{order:?} {begun}");
            assert_eq!(at_tag(&two.to, "moves").await, at_tag(&two.to, "lost").await);
            assert!(at_tag(&two.to, "fresh").await.is_some());
            let held = &errors["moves"];
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(
                matches!(held, CopyError::HeldBack { state: s, without, .. }
                    if *s == state && *without == ["lost".parse().unwrap()]),
                "{held}"
            );
            let kept: Vec<&TagOutcome> =
                all.values().flat_map(|c| &c.report.tags).filter(|t| t.tag == state).collect();
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert!(why(kept[0].action.clone()).contains("another bundle at lost, which did not come"));
            let moved = job("from.example/app:moves", "to.example/app");
            assert_eq!(copier.reached(&moved).map(|r| &r.digest), at_tag(&two.from, "moves").await.as_ref());

            // The next run has all of them.
            let two_tags = at_tag(&two.from, "moves").await.unwrap();
            let there = two.from.resolve(&Selector::Digest(two_tags.clone())).await.unwrap().unwrap();
            two.from.push_manifest(&there, Some(&"lost".parse().unwrap())).await.unwrap();
            let mut copier = Copier::new(settings(&two, &trust, home.path()));
            copier.expect(&jobs);
            for job in &jobs {
                copied(copier.copy(job).await);
            }
            copier.settle(true).await;
            assert_eq!(at_tag(&two.to, state.as_str()).await, Some(new));
            assert_eq!(at_tag(&two.to, "moves").await, Some(two_tags));
        }
    }
}

/// Nothing is contradicted where the destination has no such tag, or names by it what the state says; and a state that is
/// new there contradicts nothing.
#[tokio::test]
async fn a_newer_state_comes_where_what_did_not_come_contradicts_nothing() {
    for case in ["no tag", "agrees", "new"] {
        let (two, _, new) = one_is_lost().await;
        let state = Sim::name().state_tag();
        match case {
            "no tag" => assert!(two.to.delete(&Selector::Tag("lost".parse().unwrap())).await.unwrap()),
            "agrees" => {
                push_bundle(&two.to, "a/after", "lost").await;
            }
            _ => assert!(two.to.delete(&Selector::Tag(state.clone())).await.unwrap()),
        }
        let (trust, home) = (anchored(&Sim::new()), tempfile::tempdir().unwrap());
        let mut copier = Copier::new(settings(&two, &trust, home.path()));
        let jobs = ["lost", "moves"].map(|t| job(&format!("from.example/app:{t}"), "to.example/app"));
        copier.expect(&jobs);
        assert!(copier.copy(&jobs[0]).await.is_err());
        let mut moved = copied(copier.copy(&jobs[1]).await);
        copier.settle(false).await.into_iter().for_each(|one| one.add_to(&mut moved).unwrap());
        assert_eq!(at_tag(&two.to, state.as_str()).await, Some(new), "{case}");
        assert_eq!(at_tag(&two.to, "moves").await, at_tag(&two.from, "moves").await, "{case}");
    }
}
