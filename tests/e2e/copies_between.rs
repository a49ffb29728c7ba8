//! Copies between registries of every kind and OCI layouts, over HTTP, with the requests counted.

use bulla::oci::{Descriptor, Selector};
use bulla::store::copy::{
    CopyError, CopyReport, CopyRequest, KeepExisting, ReplaceExisting, Side, Unobserved, copy,
};
use bulla::store::layout::OciDir;
use bulla::store::registry::Registry;
use bulla::store::{Manage, Store};

use super::bundles::{Rich, by_digest, by_tag, cnab, index, refer, referrer, rich, scratch, tag};
use super::contract::{digests, sorted};
use super::copies::is_whole;
use crate::registry::{Action, Config, Fault, LostUpdate, Nth, Quirks, Registry as Server};
use crate::servers::repository;

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}

fn no_api() -> Quirks {
    Quirks { no_referrers_api: true, no_oci_subject: true, ..Quirks::default() }
}

/// A preset of the registry's own: `docker-registry`, `ghcr`, ...
fn preset(name: &str) -> Quirks {
    let mut quirks = Quirks::default();
    quirks.apply(name).unwrap();
    quirks
}

fn request(all: &Rich) -> CopyRequest {
    CopyRequest {
        tags: vec![tag("v1")],
        extra_tags: vec![all.state_tag.clone()],
        ..CopyRequest::new(by_tag("v1"))
    }
}

async fn run(from: &dyn Store, to: &dyn Manage, all: &Rich) -> Result<CopyReport, CopyError> {
    copy(from, to, &request(all), &KeepExisting, &Unobserved).await
}

/// As a new process sees it: nothing learnt before.
fn fresh(server: &Server, name: &str) -> Registry {
    repository(server, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_kept_from_any_registry_to_any_other_and_through_a_layout() {
    let kinds = ["docker-registry", "ghcr", "gitlab", "ecr", "gar", "goreg", "angos"];
    let first = server(Quirks::default()).await;
    let all = rich(&fresh(&first, "first"), "matrix").await;
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    run(&fresh(&first, "first"), &layout, &all).await.unwrap();
    is_whole(&layout, &all).await;
    for kind in kinds {
        let from = server(preset(kind)).await;
        let report =
            run(&layout, &fresh(&from, "from"), &all).await.unwrap_or_else(|e| panic!("to {kind}: {e}"));
        assert_eq!(report.referrers.values().sum::<usize>(), 3, "{kind}");
        is_whole(&fresh(&from, "from"), &all).await;
        let next = |k: &&str| kinds.iter().position(|x| x == k).map(|i| kinds[(i + 1) % kinds.len()]);
        for other in
            kinds.into_iter().filter(|o| [kind, *o].contains(&"docker-registry") || next(&kind) == Some(*o))
        {
            let to = server(preset(other)).await;
            let report = run(&fresh(&from, "from"), &fresh(&to, "to"), &all)
                .await
                .unwrap_or_else(|e| panic!("{kind} to {other}: {e}"));
            assert_eq!(report.referrers.values().sum::<usize>(), 3, "{kind} to {other}");
            assert_eq!(report.skipped, vec![], "{kind} to {other}");
            is_whole(&fresh(&to, "to"), &all).await;
        }
        let back = scratch();
        let back = OciDir::create(back.path()).await.unwrap();
        run(&fresh(&from, "from"), &back, &all).await.unwrap();
        is_whole(&back, &all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_bundles_goes_over_registries() {
    let (from, to) = (server(preset("docker-registry")).await, server(Quirks::default()).await);
    let source = fresh(&from, "bundles");
    let bundle = cnab(&source, "porter").await;
    let request = CopyRequest { tags: vec![tag("v1")], ..CopyRequest::new(by_digest(&bundle)) };
    let report = copy(&source, &fresh(&to, "x"), &request, &KeepExisting, &Unobserved).await.unwrap();
    assert_eq!(report.manifests_pushed, 6);
    assert_eq!(fresh(&to, "x").resolve(&by_tag("v1")).await.unwrap(), Some(bundle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_list_at_the_source_does_not_shrink_the_copy() {
    // Trap: the source has the API and, beside it, an old list at the referrers tag; the destination has only tags.
    let (from, to) = (server(Quirks::default()).await, server(no_api()).await);
    let source = fresh(&from, "a");
    let all = rich(&source, "stale").await;
    let more = refer(&source, &all.root, "application/vnd.example.more", "not in the old list").await;
    let stale = index(&source, &[&all.on_root]).await;
    let at = tag(&all.root.digest().referrers_tag());
    source.push_manifest(&stale, Some(&at)).await.unwrap();
    run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap();
    let listed = fresh(&to, "a").referrers(all.root.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&all.on_root, &more]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_at_the_destination_keeps_what_it_had() {
    let (from, to) = (server(Quirks::default()).await, server(no_api()).await);
    let all = rich(&fresh(&from, "a"), "merge").await;
    let there = rich(&fresh(&to, "a"), "merge").await;
    let own = refer(&fresh(&to, "a"), &there.root, "application/vnd.example.own", "the destination's").await;
    let new = refer(&fresh(&from, "a"), &all.root, "application/vnd.example.new", "the source's").await;
    run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap();
    let listed = fresh(&to, "a").referrers(all.root.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&all.on_root, &own, &new]));
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_registry_no_layer_moves() {
    for quirks in [Quirks::default(), preset("docker-registry")] {
        let one = server(quirks).await;
        let all = rich(&fresh(&one, "team/a"), "mounts").await;
        one.clear();
        let report = run(&fresh(&one, "team/a"), &fresh(&one, "team/b"), &all).await.unwrap();
        assert_eq!((report.blobs_moved, report.bytes_moved), (0, 0));
        assert!(report.blobs_mounted > 0);
        assert_eq!(one.count("GET", "/v2/*/blobs/*"), 0);
        assert_eq!(one.count("PUT", "/v2/*/blobs/*"), 0);
        is_whole(&fresh(&one, "team/b"), &all).await;
    }
    // Where mounts open an upload session, the blobs are pushed.
    let one = server(Quirks { no_mount: true, ..Quirks::default() }).await;
    let all = rich(&fresh(&one, "team/a"), "mounts").await;
    let report = run(&fresh(&one, "team/a"), &fresh(&one, "team/b"), &all).await.unwrap();
    assert!(report.blobs_mounted == 0 && report.blobs_moved > 0);
    is_whole(&fresh(&one, "team/b"), &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_copy_are_counted() {
    for quirks in [Quirks::default(), no_api()] {
        let api = !quirks.no_referrers_api;
        let (from, to) = (server(Quirks::default()).await, server(quirks).await);
        let source = fresh(&from, "a");
        let all = rich(&source, "counted").await;
        let mut many = Vec::new();
        for i in 0..20 {
            many.push(referrer(&source, &all.root, "application/vnd.example.many", &i.to_string()).await);
        }
        source.index_referrers(all.root.descriptor(), &many).await.unwrap();
        from.clear();
        run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap();
        let (manifests, subjects, tags) = (28, 3, 3);
        let lists = if api { 0 } else { subjects };
        assert_eq!(to.count("PUT", "/v2/a/manifests/*"), manifests + tags + lists, "api: {api}");
        assert_eq!(from.count("*", "/v2/a/tags/list*"), 1);
        // Again: nothing is written and nothing moves.
        from.clear();
        to.clear();
        run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap();
        for method in ["PUT", "POST", "PATCH", "DELETE"] {
            assert_eq!(to.count(method, "/v2/*"), 0, "api: {api}");
        }
        assert_eq!(from.count("GET", "/v2/a/blobs/*"), 0);
        assert_eq!(to.count("GET", "/v2/a/blobs/*"), 0);
        // Those at the three tags are read by them.
        assert_eq!(to.count("HEAD", "/v2/a/manifests/*"), manifests - tags, "api: {api}");
        assert_eq!(to.count("HEAD", "/v2/a/blobs/*"), 0, "api: {api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_overwritten_by_others_is_mended_or_reported() {
    let from = server(Quirks::default()).await;
    let all = rich(&fresh(&from, "a"), "overwritten").await;
    // The second merge is not overwritten any more.
    let to = server(no_api()).await;
    to.lose(LostUpdate::new("a", "sha256-*", Nth::Only(1), 1));
    run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap();
    is_whole(&fresh(&to, "a"), &all).await;
    // Whoever overwrites every time is never believed.
    let to = server(no_api()).await;
    to.lose(LostUpdate::new("a", "sha256-*", Nth::Every, 0));
    let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
    assert_eq!(e.side(), Side::Destination, "{e}");
    assert_eq!(fresh(&to, "a").resolve(&by_tag("v1")).await.unwrap(), None, "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_created_and_lists_nothing_is_found_out() {
    let from = server(Quirks::default()).await;
    let all = rich(&fresh(&from, "a"), "liar").await;
    let to = server(Quirks { subject_not_indexed: true, ..Quirks::default() }).await;
    let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
    let CopyError::Missing { missing, .. } = e else { panic!("{e}") };
    assert_eq!(missing.len(), 3);
    assert_eq!(fresh(&to, "a").resolve(&by_tag("v1")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_that_cannot_be_listed_stop_the_copy() {
    for status in [403, 429, 500] {
        let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
        let all = rich(&fresh(&from, "a"), "blind").await;
        from.fault(Fault::on("GET", "/v2/a/referrers/*").nth(Nth::Every).status(status));
        let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
        assert!(e.side() == Side::Source && e.to_string().contains("referrers"), "{e}");
        assert_eq!(to.count("PUT", "/v2/*"), 0, "{status}: nothing was begun");
    }
}

/// What is read side by side at the start fails in any order: the bundle's own failure is told.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_failures_at_the_start_that_of_the_bundle_is_told() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let all = rich(&fresh(&from, "a"), "slow").await;
    let html = Action::Answer { status: 200, content_type: "text/html".into(), body: "<html>".into() };
    let denied = Action::Status { status: 403, code: "DENIED".into(), retry_after: None };
    for (path, action) in [("/v2/a/tags/list*", html), ("/v2/a/manifests/bulla*", denied)] {
        from.behave();
        from.fault(Fault::on("*", path).action(action));
        let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
        assert!(!e.to_string().contains("manifest v1"), "only the other one failed: {e}");
        // It is asked for again, so its failure comes later.
        from.fault(Fault::on("*", "/v2/a/manifests/v1").status(500));
        let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
        assert!(e.to_string().contains("manifest v1"), "{path}: {e}");
    }
    assert_eq!(to.count("PUT", "/v2/*"), 0, "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_may_not_move_is_named() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let all = rich(&fresh(&from, "a"), "immutable").await;
    rich(&fresh(&to, "a"), "another").await;
    to.quirks(|q| q.immutable_tags = Some("v*".into()));
    let request = CopyRequest { tags: vec![tag("v1")], ..CopyRequest::new(by_tag("v1")) };
    let e = copy(&fresh(&from, "a"), &fresh(&to, "a"), &request, &ReplaceExisting, &Unobserved)
        .await
        .unwrap_err();
    assert!(e.side() == Side::Destination && e.to_string().contains("v1"), "{e}");
    // All else is there, and a copy under another tag succeeds.
    let request = CopyRequest { tags: vec![tag("w1")], ..CopyRequest::new(by_tag("v1")) };
    let report =
        copy(&fresh(&from, "a"), &fresh(&to, "a"), &request, &ReplaceExisting, &Unobserved).await.unwrap();
    assert_eq!(report.manifests_pushed, 0);
    assert_eq!(fresh(&to, "a").resolve(&Selector::Tag(tag("w1"))).await.unwrap(), Some(all.root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_at_any_request_is_finished_by_the_next() {
    let from = server(Quirks::default()).await;
    let all = rich(&fresh(&from, "a"), "any").await;
    for quirks in [Quirks::default(), no_api()] {
        let counting = server(quirks.clone()).await;
        let request = CopyRequest { concurrency: 1, ..request(&all) };
        let go = |to: Registry| {
            let (from, request) = (fresh(&from, "a"), request.clone());
            async move { copy(&from, &to, &request, &KeepExisting, &Unobserved).await }
        };
        go(fresh(&counting, "a")).await.unwrap();
        let requests = counting.requests().len() as u64;
        for n in (1..=requests).step_by(3) {
            let to = server(quirks.clone()).await;
            to.fault(Fault::on("*", "/v2/*").nth(Nth::Only(n)).status(400));
            let stopped = go(fresh(&to, "a")).await;
            let tagged = fresh(&to, "a").resolve(&by_tag("v1")).await.unwrap().is_some();
            if tagged || stopped.is_ok() {
                is_whole(&fresh(&to, "a"), &all).await;
            }
            go(fresh(&to, "a")).await.unwrap_or_else(|e| panic!("after a failure at {n}: {e}"));
            is_whole(&fresh(&to, "a"), &all).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_layer_on_a_registry_is_the_sources_fault() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let all = rich(&fresh(&from, "a"), "tampered").await;
    let layers: Vec<Descriptor> = bulla::oci::successors(&all.children[0]).unwrap().blobs;
    let victim = layers.iter().max_by_key(|d| d.size).unwrap();
    from.fault(
        Fault::on("GET", &format!("/v2/a/blobs/{}", victim.digest))
            .nth(Nth::Every)
            .action(Action::WrongBytes),
    );
    let e = run(&fresh(&from, "a"), &fresh(&to, "a"), &all).await.unwrap_err();
    assert!(e.side() == Side::Source && e.to_string().contains(victim.digest.hex()), "{e}");
    assert_eq!(to.count("PUT", "/v2/a/manifests/*"), 0);
}
