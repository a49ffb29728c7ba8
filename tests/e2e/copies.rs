//! Copies: everything that hangs on a bundle arrives, is counted, and nothing half way is ever named by a tag.

use std::sync::Mutex;

use bulla::oci::{Content, Selector, Tag, media_type, sorted_json};
use bulla::store::copy::{
    BlobOutcome, CopyError, CopyReport, CopyRequest, Event, KeepExisting, Observer, Phase, ReplaceExisting,
    Side, TagAction, Unobserved, copy,
};
use bulla::store::layout::OciDir;
use bulla::store::memory::MemoryStore;
use bulla::store::{Manage, Store};
use serde_json::json;

use super::bundles::{Rich, blob, by_digest, by_tag, cnab, image, index, refer, rich, scratch, tag, tagged};
use super::contract::{digests, sorted};
use super::faulty::{Faults, Faulty, pushed};

pub fn memory(name: &str) -> MemoryStore {
    MemoryStore::new(format!("{name}.example/app").parse().unwrap())
}

pub fn request(at: &str, extra: &[&Tag]) -> CopyRequest {
    CopyRequest {
        tags: vec![tag(at)],
        extra_tags: extra.iter().map(|t| (*t).clone()).collect(),
        ..CopyRequest::new(by_tag(at))
    }
}

pub async fn run(
    source: &dyn Store,
    destination: &dyn Manage,
    request: &CopyRequest,
) -> Result<CopyReport, CopyError> {
    copy(source, destination, request, &KeepExisting, &Unobserved).await
}

/// Everything of the rich bundle is at `store`, and readable there.
pub async fn is_whole(store: &dyn Store, all: &Rich) {
    for (at, content) in [(&tag("v1"), &all.root), (&all.sig_tag, &all.sig), (&all.state_tag, &all.state)] {
        let there = store.resolve(&Selector::Tag(at.clone())).await.unwrap();
        assert_eq!(there.as_ref(), Some(content), "{at}");
    }
    let hangs =
        [(&all.root, &all.on_root), (&all.children[1], &all.on_child), (&all.on_root, &all.on_referrer)];
    for (subject, referrer) in hangs {
        let listed = store.referrers(subject.digest(), None).await.unwrap();
        assert_eq!(digests(&listed), sorted([referrer]));
        assert_eq!(listed[0].annotation("org.example.text"), referrer_text(referrer).as_deref());
    }
    let everything =
        [&all.root, &all.children[0], &all.children[1], &all.on_root, &all.on_child, &all.on_referrer];
    for content in everything.into_iter().chain([&all.sig, &all.state]) {
        assert_eq!(store.resolve(&by_digest(content)).await.unwrap().as_ref(), Some(content));
        for blob in bulla::oci::successors(content).unwrap().blobs {
            let reader = store.fetch(&blob, 0).await.unwrap();
            let reader = bulla::store::checked("here".into(), blob.clone(), reader);
            bulla::store::collect(reader).await.unwrap();
        }
    }
}

fn referrer_text(referrer: &Content) -> Option<String> {
    bulla::oci::Manifest::parse(referrer).unwrap().annotations.get("org.example.text").cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_hangs_on_a_bundle_arrives_through_any_chain_of_stores() {
    let dirs = scratch();
    let first = memory("first");
    let all = rich(&first, "chain").await;
    let stick = OciDir::create(dirs.path().join("stick")).await.unwrap();
    let disk = OciDir::create(dirs.path().join("disk")).await.unwrap();
    let last = memory("last");
    let request = request("v1", &[&all.state_tag]);
    let chain: [(&dyn Manage, &dyn Manage); 3] = [(&first, &stick), (&stick, &disk), (&disk, &last)];
    for (from, to) in chain {
        let report = run(from, to, &request).await.unwrap();
        is_whole(to, &all).await;
        assert_eq!((report.manifests_pushed, report.manifests_present), (8, 0));
        assert_eq!(report.referrers.values().sum::<usize>(), 3);
        assert_eq!(report.referrers["application/vnd.example.sbom"], 1);
        assert_eq!(report.tags.len(), 3);
        assert_eq!((report.repaired, report.skipped.len()), (0, 0));
        assert_eq!(report.bundle.digest, *all.root.digest());
    }
    // What lies on the stick is whole for whoever opens it later.
    is_whole(&OciDir::open(dirs.path().join("stick")).await.unwrap(), &all).await;
    assert_eq!(first.counts(), last.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_bundles_arrives_whole() {
    let dirs = scratch();
    let (from, to) = (memory("from"), memory("to"));
    let bundle = cnab(&from, "porter").await;
    let stick = OciDir::create(dirs.path()).await.unwrap();
    // By digest only: no tag is made.
    let by_digest = CopyRequest::new(by_digest(&bundle));
    run(&from, &stick, &by_digest).await.unwrap();
    assert_eq!(stick.tags(None).await.unwrap(), vec![]);
    run(&OciDir::open(dirs.path()).await.unwrap(), &to, &by_digest).await.unwrap();
    assert_eq!(from.counts(), to.counts());
    assert_eq!(from.counts().0, 6, "bundle, config, invocation image, component and its two images");
}

#[tokio::test]
async fn order_is_leaves_subjects_referrers_lists_tags() {
    let (from, to) = (memory("from"), memory("to"));
    let all = rich(&from, "order").await;
    let to = Faulty::new(&to);
    run(&from, &to, &request("v1", &[&all.state_tag])).await.unwrap();
    let log = to.log();
    let at = |what: String| log.iter().position(|l| *l == what).unwrap_or_else(|| panic!("no {what}"));
    let push = |c: &Content| at(format!("push_manifest {}", c.digest()));
    assert!(push(&all.children[0]) < push(&all.root) && push(&all.root) < push(&all.on_root));
    assert!(push(&all.on_root) < push(&all.on_referrer) && push(&all.children[1]) < push(&all.on_child));
    let last_blob = log.iter().rposition(|l| l.starts_with("push_blob")).unwrap();
    assert!(last_blob < push(&all.children[0]));
    let first_list = log.iter().position(|l| l.starts_with("index_referrers")).unwrap();
    assert!(push(&all.on_referrer) < first_list);
    let set = |t: &Tag, c: &Content| at(format!("push_manifest {} {t}", c.digest()));
    let last_read = log.iter().rposition(|l| l.starts_with("referrers ")).unwrap();
    assert!(last_read < set(&all.sig_tag, &all.sig), "read back before any tag");
    assert!(set(&all.sig_tag, &all.sig) < set(&tag("v1"), &all.root));
    assert!(set(&all.state_tag, &all.state) < set(&tag("v1"), &all.root));
    assert_eq!(log.last().map(String::as_str), Some("flush"));
    assert_eq!(to.count("index_referrers"), 3, "one write a subject");
}

#[tokio::test]
async fn the_second_copy_moves_and_writes_nothing() {
    let (from, to) = (memory("from"), memory("to"));
    let all = rich(&from, "again").await;
    let request = request("v1", &[&all.state_tag]);
    run(&from, &to, &request).await.unwrap();
    let (source, destination) = (Faulty::new(&from), Faulty::new(&to));
    let report = run(&source, &destination, &request).await.unwrap();
    for write in ["push", "index", "mount", "delete"] {
        assert_eq!(destination.count(write), 0, "{:?}", destination.log());
    }
    assert_eq!(source.count("fetch"), 0);
    assert_eq!((report.manifests_pushed, report.manifests_present), (0, 8));
    assert_eq!((report.bytes_moved, report.blobs_moved), (0, 0));
    assert!(report.tags.iter().all(|t| t.action == TagAction::Same), "{:?}", report.tags);
    // On each side one list of referrers a manifest at most.
    assert_eq!(source.count("referrers"), 8);
    assert_eq!(destination.count("referrers"), 3);
}

#[tokio::test]
async fn a_manifest_that_is_there_says_nothing_of_what_it_needs() {
    let dir = scratch();
    let from = memory("from");
    let all = rich(&from, "partial").await;
    let to = OciDir::create(dir.path()).await.unwrap();
    run(&from, &to, &request("v1", &[&all.state_tag])).await.unwrap();
    // A layer, a child and a signature vanish; the index above them stays.
    let layer = &bulla::oci::successors(&all.children[0]).unwrap().blobs[1];
    for digest in [&layer.digest, all.children[0].digest(), all.on_child.digest()] {
        std::fs::remove_file(dir.path().join("blobs/sha256").join(digest.hex())).unwrap();
    }
    let to = OciDir::open(dir.path()).await.unwrap();
    let report = run(&from, &to, &request("v1", &[&all.state_tag])).await.unwrap();
    assert_eq!((report.blobs_moved, report.manifests_pushed), (1, 2));
    is_whole(&OciDir::open(dir.path()).await.unwrap(), &all).await;
}

#[tokio::test]
async fn copying_again_mends_manifests_and_lists_that_were_damaged_on_the_disk() {
    let from = memory("from");
    let all = rich(&from, "mended").await;
    let request = request("v1", &[&all.state_tag]);
    for n in 0..9 {
        let dir = scratch();
        let to = OciDir::create(dir.path()).await.unwrap();
        run(&from, &to, &request).await.unwrap();
        let list = to.resolve(&by_tag(&all.root.digest().referrers_tag())).await.unwrap().unwrap();
        let all_of_it =
            [&all.root, &all.children[0], &all.children[1], &all.on_root, &all.on_child, &all.on_referrer];
        let all_of_it: Vec<&Content> = all_of_it.into_iter().chain([&all.sig, &all.state, &list]).collect();
        let victim = dir.path().join("blobs/sha256").join(all_of_it[n].digest().hex());
        let mut bytes = std::fs::read(&victim).unwrap();
        // As a power cut and as a bad sector leave it.
        if n % 2 == 0 {
            bytes.truncate(bytes.len() / 2);
        } else {
            bytes[5] ^= 4;
        }
        std::fs::write(&victim, &bytes).unwrap();
        let damaged = OciDir::open(dir.path()).await.unwrap();
        let e = damaged.referrers(all.root.digest(), None).await.unwrap_err();
        assert!(e.to_string().contains(all_of_it[n].digest().hex()), "{n}: {e}");
        run(&from, &damaged, &request).await.unwrap_or_else(|e| panic!("{n}: {e}"));
        is_whole(&OciDir::open(dir.path()).await.unwrap(), &all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_stopped_anywhere_is_finished_by_the_next_and_shows_no_tag_too_early() {
    let from = memory("from");
    let all = rich(&from, "stopped").await;
    let request = CopyRequest { concurrency: 1, ..request("v1", &[&all.state_tag]) };
    for in_layout in [false, true] {
        let dir = scratch();
        let (memory, layout) = (memory("counting"), OciDir::create(dir.path()).await.unwrap());
        let counting = Faulty::new(if in_layout { &layout } else { &memory });
        run(&from, &counting, &request).await.unwrap();
        let calls = counting.log().len();
        assert!(calls > 30, "{calls}");
        for n in 0..calls {
            stopped_at(n, in_layout, &from, &all, &request).await;
        }
    }
}

async fn stopped_at(n: usize, in_layout: bool, from: &MemoryStore, all: &Rich, request: &CopyRequest) {
    let dir = scratch();
    let (memory, layout) = (memory("to"), OciDir::create(dir.path()).await.unwrap());
    let end: &dyn Manage = if in_layout { &layout } else { &memory };
    let faulty = Faulty::with(end, Faults { fail_at: Some(n), ..Faults::default() });
    let e = run(from, &faulty, request).await.unwrap_err();
    assert_eq!(e.side(), Side::Destination, "call {n}");
    // As another process sees it afterwards.
    let reopened = OciDir::open(dir.path()).await.unwrap();
    let seen: &dyn Manage = if in_layout { &reopened } else { &memory };
    if seen.resolve(&by_tag("v1")).await.unwrap().is_some() {
        is_whole(seen, all).await;
    }
    let report = run(from, seen, request).await.unwrap();
    is_whole(seen, all).await;
    assert_eq!(report.referrers.values().sum::<usize>(), 3);
    if !in_layout {
        assert_eq!(memory.counts(), from.counts(), "call {n}");
    }
}

#[tokio::test]
async fn a_destination_that_loses_a_referrer_is_repaired_once_and_then_named() {
    let from = memory("from");
    let all = rich(&from, "lost").await;
    let lost = all.on_child.digest().clone();
    let inner = memory("to");
    let to = Faulty::with(&inner, Faults { lose: Some((lost.clone(), 2)), ..Faults::default() });
    let report = run(&from, &to, &request("v1", &[])).await.unwrap();
    assert_eq!(report.repaired, 1);
    let inner = memory("to");
    let to = Faulty::with(&inner, Faults { lose: Some((lost.clone(), usize::MAX)), ..Faults::default() });
    let e = run(&from, &to, &request("v1", &[])).await.unwrap_err();
    let CopyError::Missing { missing, .. } = &e else { panic!("{e}") };
    assert_eq!(missing.len(), 1);
    assert_eq!((&missing[0].digest, &missing[0].subject), (&lost, all.children[1].digest()));
    assert!(e.to_string().contains(&format!("{lost} (application/vnd.example.scan) on")), "{e}");
    assert_eq!(inner.tags(None).await.unwrap(), vec![], "no tag names what arrived incomplete");
}

#[tokio::test]
async fn a_list_of_referrers_at_the_source_is_not_copied_over_the_destinations() {
    let (from, to) = (memory("from"), memory("to"));
    let all = rich(&from, "stale").await;
    // A stale list beside the API, and at the destination a list with an entry of its own.
    let stale = index(&from, &[&all.on_child]).await;
    let at = tag(&all.root.digest().referrers_tag());
    from.push_manifest(&stale, Some(&at)).await.unwrap();
    let own = tagged(&to, at.as_str(), "application/vnd.example.list", "the destination's own").await;
    run(&from, &to, &request("v1", &[])).await.unwrap();
    assert_eq!(to.resolve(&Selector::Tag(at)).await.unwrap().as_ref(), Some(&own));
    assert_eq!(to.resolve(&by_digest(&stale)).await.unwrap(), None);
    assert_eq!(to.referrers(all.root.digest(), None).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_of_a_layout_join_those_that_the_destination_has() {
    let dirs = scratch();
    let one = OciDir::create(dirs.path().join("one")).await.unwrap();
    let two = OciDir::create(dirs.path().join("two")).await.unwrap();
    let all = rich(&one, "join").await;
    let again = rich(&two, "join").await;
    let extra = refer(&two, &again.root, "application/vnd.example.extra", "there before").await;
    two.flush().await.unwrap();
    run(&one, &two, &request("v1", &[])).await.unwrap();
    let there = two.referrers(all.root.digest(), None).await.unwrap();
    assert_eq!(digests(&there), sorted([&all.on_root, &extra]));
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted_and_each_is_asked_about_once() {
    let from = MemoryStore::new("one.example/a".parse().unwrap());
    let all = rich(&from, "mounted").await;
    let to = MemoryStore::new("one.example/b".parse().unwrap());
    // The mounts are pretended: so the destination must be one that does not look for the blobs.
    let dir = scratch();
    let sparse = OciDir::create(dir.path()).await.unwrap();
    let wrapped =
        Faulty::with(&sparse, Faults { mounts: true, place: Some(to.place()), ..Faults::default() });
    let report = run(&from, &wrapped, &request("v1", &[&all.state_tag])).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_moved), (from.counts().1, 0));
    assert_eq!(wrapped.count("push_blob"), 0);
    assert!(wrapped.log().iter().filter(|l| l.starts_with("mount")).all(|l| l.ends_with(" one.example/a")));
    // A registry that never mounts is not asked for ever.
    let wrapped = Faulty::new(&to);
    let one_at_a_time = CopyRequest { concurrency: 1, ..request("v1", &[&all.state_tag]) };
    let report = run(&from, &wrapped, &one_at_a_time).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_moved), (0, from.counts().1));
    assert_eq!(wrapped.count("mount"), 3);
    assert_eq!(wrapped.count("push_blob"), from.counts().1, "the shared layer once");
    // Across registries nothing is mounted.
    let elsewhere = memory("elsewhere");
    let wrapped = Faulty::with(&elsewhere, Faults { mounts: true, ..Faults::default() });
    run(&from, &wrapped, &request("v1", &[])).await.unwrap();
    assert_eq!(wrapped.count("mount"), 0);
    assert_eq!(pushed(&wrapped.log()).len(), 7);
}

#[derive(Default)]
struct Seen(Mutex<(u64, u64, u64, Vec<Phase>)>);

impl Observer for Seen {
    fn event(&self, event: Event<'_>) {
        let mut seen = self.0.lock().unwrap();
        match event {
            Event::Phase(phase) => seen.3.push(phase),
            Event::Expect(bytes) => seen.0 += bytes,
            Event::Bytes(bytes) => seen.1 += bytes,
            Event::Blob(_, _, BlobOutcome::Moved) | Event::Manifest(_) | Event::Arrived(_) => {}
            Event::Blob(_, bytes, _) => seen.2 += bytes,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_display_sees_every_byte_once_and_the_copy_can_run_as_a_task() {
    let from = memory("from");
    let all = rich(&from, "watched").await;
    let task = tokio::spawn(async move {
        let (to, seen) = (memory("to"), Seen::default());
        image(&to, "watched/amd64").await;
        let request = request("v1", &[&all.state_tag]);
        let report = copy(&from, &to, &request, &ReplaceExisting, &seen).await.unwrap();
        (report, seen.0.into_inner().unwrap())
    });
    let (report, (expected, moved, present, phases)) = task.await.unwrap();
    assert_eq!((report.bytes_moved, report.bytes_present), (moved, present));
    assert_eq!(expected, moved + present);
    assert!(moved > 0 && present > 700_000);
    let all = [Phase::Discover, Phase::Blobs, Phase::Manifests, Phase::Referrers, Phase::Check, Phase::Tags];
    assert_eq!(phases, all);
}

#[tokio::test]
async fn an_unlisted_document_is_carried_byte_for_byte() {
    let (from, to) = (memory("from"), memory("to"));
    let config = blob(&from, "a/b", "{}").await;
    let mut text = sorted_json(&json!({
        "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST, "config": config, "layers": [], "z": [1],
    }));
    text.extend_from_slice(b"\n\n");
    let odd = Content::new(media_type::DOCKER_MANIFEST, text);
    from.push_manifest(&odd, Some(&tag("odd"))).await.unwrap();
    run(&from, &to, &request("odd", &[])).await.unwrap();
    assert_eq!(to.resolve(&by_tag("odd")).await.unwrap().as_ref(), Some(&odd));
}
