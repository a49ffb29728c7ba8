//! What a copy costs: requests counted at the registries (docs/performance.md).

use bulla::oci::{Content, Packer, Selector, media_type};
use bulla::store::copy::{
    CopyError, CopyReport, CopyRequest, Filter, KeepExisting, Session, Unobserved, copy,
};
use bulla::store::layout::OciDir;
use bulla::store::{Manage, Store};

use super::bundles::{Rich, blob, by_tag, image, index, noise, referrer, rich, scratch, tag};
use super::copies::{is_whole, request};
use crate::registry::{Config, Fault, Nth, Quirks, Registry as Server};
use crate::servers::repository;

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}

fn no_api() -> Quirks {
    Quirks { no_referrers_api: true, no_oci_subject: true, ..Quirks::default() }
}

async fn run(from: &dyn Store, to: &dyn Manage, all: &Rich) -> Result<CopyReport, CopyError> {
    copy(from, to, &request("v1", &[&all.state_tag]), &KeepExisting, &Unobserved).await
}

async fn plain(from: &dyn Store, to: &dyn Manage) -> CopyReport {
    copy(from, to, &request("v1", &[]), &KeepExisting, &Unobserved).await.unwrap()
}

/// An image of so many layers of its own, tagged `v1`.
async fn layered(store: &dyn Manage, seed: &str, layers: usize) -> Content {
    let mut packer = Packer::new("application/vnd.example.layered");
    blob(store, media_type::OCI_EMPTY, "{}").await;
    for n in 0..layers {
        packer = packer.layer(blob(store, "a/b", noise(&format!("{seed}{n}"), 5000 + n)).await);
    }
    let bundle = packer.build();
    store.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    bundle
}

/// A bundle with so many referrers, tagged `v1`.
async fn tree(store: &dyn Manage, referrers: usize) -> Content {
    let root = layered(store, "tree", 1).await;
    let mut all = Vec::new();
    for i in 0..referrers {
        all.push(referrer(store, &root, "application/vnd.example.note", &i.to_string()).await);
    }
    store.index_referrers(root.descriptor(), &all).await.unwrap();
    store.flush().await.unwrap();
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_push_asks_for_nothing_in_a_new_repository() {
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    layered(&layout, "cold", 40).await;
    for quirks in [Quirks::default(), no_api()] {
        let to = server(quirks).await;
        let report = plain(&layout, &repository(&to, "a")).await;
        let blobs = report.blobs_moved;
        assert_eq!(blobs, 41);
        let requests = to.requests().len();
        assert!(requests <= 2 * blobs + 4, "{requests}:\n{}", to.log());
        assert_eq!((to.count("HEAD", "/v2/a/blobs/*"), to.count("HEAD", "/v2/a/manifests/*")), (1, 0));
        assert_eq!(to.count("GET", "/v2/a/tags/list*"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_copy_that_was_stopped_is_not_taken_for_none() {
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    layered(&layout, "stopped", 12).await;
    let to = server(Quirks::default()).await;
    // Every manifest is refused: all blobs are there, and no tag.
    to.fault(crate::registry::Fault::on("PUT", "/v2/a/manifests/*").status(400));
    copy(&layout, &repository(&to, "a"), &request("v1", &[]), &KeepExisting, &Unobserved).await.unwrap_err();
    to.behave();
    to.clear();
    let report = plain(&layout, &repository(&to, "a")).await;
    assert_eq!((report.blobs_moved, report.blobs_present), (0, 13));
    assert_eq!(to.count("POST", "*"), 0, "{}", to.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_referrers_cost_three_requests_each_and_one_list() {
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    let root = tree(&layout, 100).await;
    for quirks in [Quirks::default(), no_api()] {
        let to = server(quirks.clone()).await;
        let report = plain(&layout, &repository(&to, "a")).await;
        assert_eq!(report.referrers["application/vnd.example.note"], 100);
        let requests = to.requests().len();
        assert!(requests <= 3 * 100 + 6, "{requests}");
        // As it is: one request for each small blob, one for each manifest.
        assert!(requests <= 2 * 100 + 14, "{requests}");
        let lists = usize::from(quirks.no_referrers_api);
        assert_eq!(to.count("PUT", "/v2/a/manifests/*"), 102 + lists);
        assert_eq!(repository(&to, "a").referrers(root.digest(), None).await.unwrap().len(), 100);
        // From there to the next, no manifest is asked for twice.
        let next = server(no_api()).await;
        to.clear();
        plain(&repository(&to, "a"), &repository(&next, "a")).await;
        assert_eq!(to.count("GET", "/v2/a/manifests/sha256:*"), 100, "{}", to.log());
        assert_eq!(to.count("GET", "/v2/a/manifests/v1"), 1);
        let lists = to.count("GET", "/v2/a/referrers/*") + to.count("GET", "/v2/a/manifests/sha256-*");
        assert!(lists <= 101 + 8, "{lists}");
    }
}

/// docker-registry has no API and takes no blob in one POST: what the subject costs alone, three for each referrer, and seven.
#[tokio::test(flavor = "multi_thread")]
async fn on_docker_registry_a_hundred_referrers_cost_three_requests_each_and_seven() {
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    // A subject with a config of its own, so that the empty one comes with the referrers.
    let root = image(&layout, "subject").await;
    layout.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    let mut all = Vec::new();
    for i in 0..100 {
        all.push(referrer(&layout, &root, "application/vnd.example.note", &i.to_string()).await);
    }
    layout.index_referrers(root.descriptor(), &all).await.unwrap();
    layout.flush().await.unwrap();
    let quirks = Quirks { no_single_post: true, ..no_api() };
    let (first, second) = (server(quirks.clone()).await, server(quirks).await);
    let filter = Filter { referrers: false, ..Filter::all() };
    let alone = CopyRequest { filter, ..request("v1", &[]) };
    let report = copy(&layout, &repository(&first, "a"), &alone, &KeepExisting, &Unobserved).await.unwrap();
    let cold = first.requests().len();
    assert_eq!(cold, 2 * report.blobs_moved + 4, "{}", first.log());
    plain(&layout, &repository(&second, "a")).await;
    // The empty config (2), is there an API, what stands at the tag, the list, and two looks at what became of it: after the
    // wait for other writers, and when it is compared with the source.
    assert_eq!(second.requests().len(), cold + 3 * 100 + 7, "{}", second.log());
    assert_eq!(second.count("PUT", "/v2/a/manifests/*"), 103);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_registry_a_blob_costs_one_request() {
    for quirks in [Quirks::default(), no_api()] {
        let one = server(quirks).await;
        layered(&repository(&one, "team/a"), "mounted", 20).await;
        one.clear();
        let report = plain(&repository(&one, "team/a"), &repository(&one, "team/b")).await;
        assert_eq!((report.blobs_mounted, report.blobs_moved, report.bytes_moved), (21, 0, 0));
        assert_eq!(one.count("POST", "/v2/team/b/blobs/uploads/*"), 21);
        assert_eq!(one.count("HEAD", "*/blobs/*"), 1, "{}", one.log());
        assert_eq!(one.count("PUT", "*/blobs/*") + one.count("GET", "*/blobs/*"), 0);
    }
}

/// Eight manifests: the index, two children, three referrers, a signature at a tag, the state.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_copy_asks_once_for_each_manifest_and_its_referrers_and_writes_nothing() {
    for quirks in [Quirks::default(), no_api()] {
        let api = !quirks.no_referrers_api;
        let (from, to) = (server(quirks.clone()).await, server(quirks).await);
        let all = rich(&repository(&from, "a"), "warm").await;
        run(&repository(&from, "a"), &repository(&to, "a"), &all).await.unwrap();
        from.clear();
        to.clear();
        let report = run(&repository(&from, "a"), &repository(&to, "a"), &all).await.unwrap();
        assert_eq!((report.manifests_pushed, report.blobs_moved, report.manifests_present), (0, 0, 8));
        for (side, subjects) in [(&from, 8), (&to, 3)] {
            let manifests =
                side.count("*", "/v2/a/manifests/*") - side.count("*", "/v2/a/manifests/sha256-*");
            let signature = side.count("GET", "/v2/a/manifests/sha256-*.sig");
            assert_eq!((manifests, signature), (7, 1), "{}", side.log());
            let lists = side.count("GET", "/v2/a/manifests/sha256-*") - signature;
            let asked = side.count("GET", "/v2/a/referrers/*");
            match api {
                true => assert_eq!((asked, lists), (subjects, 0)),
                // Until the first answers have come that there is none, the API is asked.
                false => assert!(lists == subjects && asked <= 8, "{lists} {asked}"),
            }
            assert_eq!(side.count("GET", "/v2/a/tags/list*"), 1);
            let rest = side.requests().len() - manifests - signature - lists - asked - 1;
            assert_eq!(rest, 0, "{}", side.log());
        }
        // A repair looks at everything, and writes nothing where all is well.
        let thorough = CopyRequest { thorough: true, ..request("v1", &[&all.state_tag]) };
        to.clear();
        let (source, end) = (repository(&from, "a"), repository(&to, "a"));
        let report = copy(&source, &end, &thorough, &KeepExisting, &Unobserved).await.unwrap();
        assert_eq!(to.count("HEAD", "/v2/a/blobs/*"), report.blobs_present);
        assert_eq!(to.count("PUT", "*") + to.count("POST", "*"), 0);
    }
}

/// A tag that names the bundle says that its copy was complete; a registry that then lost a blob is mended on demand.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_vanished_under_a_tag_comes_back_with_a_thorough_copy() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let all = rich(&repository(&from, "a"), "vanished").await;
    run(&repository(&from, "a"), &repository(&to, "a"), &all).await.unwrap();
    let layer = bulla::oci::successors(&all.children[0]).unwrap().blobs[1].digest.to_string();
    to.store(|s| s.repo("a").blobs.remove(&layer));
    let report = run(&repository(&from, "a"), &repository(&to, "a"), &all).await.unwrap();
    assert_eq!(report.blobs_moved, 0, "not looked for");
    // Under another tag, or without any, it is.
    for (tags, thorough) in [(vec![tag("v2")], false), (Vec::new(), false), (vec![tag("v1")], true)] {
        to.store(|s| s.repo("a").blobs.remove(&layer));
        let again = CopyRequest { tags, thorough, ..request("v1", &[&all.state_tag]) };
        let (source, end) = (repository(&from, "a"), repository(&to, "a"));
        let report = copy(&source, &end, &again, &KeepExisting, &Unobserved).await.unwrap();
        assert_eq!(report.blobs_moved, 1);
        is_whole(&end, &all).await;
    }
}

/// What the first bundle's settled tag made the run believe is looked for again where another bundle needs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_lost_under_a_settled_tag_comes_back_with_a_new_tag_of_the_same_run() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let source = repository(&from, "a");
    let mut images = Vec::new();
    for n in 0..2 {
        let content = image(&source, &format!("shared/{n}")).await;
        source.push_manifest(&content, Some(&tag(&format!("v{n}")))).await.unwrap();
        images.push(bulla::oci::successors(&content).unwrap().blobs);
    }
    let shared = images[0].iter().find(|b| images[1].contains(b)).unwrap().digest.to_string();
    copy(&source, &repository(&to, "a"), &request("v0", &[]), &KeepExisting, &Unobserved).await.unwrap();
    to.store(|s| s.repo("a").blobs.remove(&shared)).unwrap();
    let (session, end) = (Session::default(), repository(&to, "a"));
    for (at, moved) in [("v0", 0), ("v1", 3)] {
        let request = request(at, &[]);
        let report = session.copy(&source, &end, &request, &KeepExisting, &Unobserved).await.unwrap();
        assert_eq!(report.blobs_moved, moved, "{at}");
    }
    assert!(to.store(|s| s.repo("a").blobs.contains_key(&shared)));
}

/// One wrong "not there" of a registry behind a cache does not lose a signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_referrer_that_is_missed_once_is_asked_for_again() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let source = repository(&from, "a");
    let root = tree(&source, 1).await;
    let listed = source.referrers(root.digest(), None).await.unwrap();
    let path = format!("/v2/a/manifests/{}", listed[0].digest);
    for (nth, found) in [(Nth::Only(1), 1), (Nth::First(2), 0)] {
        from.fault(Fault::on("GET", &path).nth(nth).status(404));
        let report = plain(&repository(&from, "a"), &repository(&to, &format!("b{found}"))).await;
        assert_eq!((report.referrers.values().sum::<usize>(), report.skipped.len()), (found, 1 - found));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_bundles_of_one_run_share_moves_once_even_side_by_side() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let source = repository(&from, "a");
    // Eight images with one large layer in common, and an index of two of them.
    let mut images = Vec::new();
    for n in 0..8 {
        let content = image(&source, &format!("shared/{n}")).await;
        source.push_manifest(&content, Some(&tag(&format!("v{n}")))).await.unwrap();
        images.push(content);
    }
    let both = index(&source, &[&images[0], &images[1]]).await;
    source.push_manifest(&both, Some(&tag("v8"))).await.unwrap();
    from.clear();
    let (session, end) = (Session::default(), repository(&to, "a"));
    let requests: Vec<CopyRequest> = (0..9).map(|n| request(&format!("v{n}"), &[])).collect();
    let copies = requests.iter().map(|r| session.copy(&source, &end, r, &KeepExisting, &Unobserved));
    let reports = futures::future::try_join_all(copies).await.unwrap();
    // Each has a config and a layer of its own.
    let moved: usize = reports.iter().map(|r| r.blobs_moved).sum();
    assert_eq!(moved, 8 * 2 + 1);
    assert_eq!(from.count("GET", "/v2/a/blobs/*"), moved);
    assert_eq!(reports.iter().map(|r| r.blobs_present).sum::<usize>(), 7 + 5);
    let lists = [&from, &to].map(|place| place.count("GET", "/v2/a/tags/list*"));
    assert_eq!(lists, [1, 1]);
    for n in 0..9 {
        assert!(end.resolve(&Selector::Tag(tag(&format!("v{n}")))).await.unwrap().is_some());
    }
    assert_eq!(end.resolve(&by_tag("v8")).await.unwrap(), Some(both));
}

/// How long the chain of requests is that wait for one another: what a copy costs over a slow line.
#[tokio::test(flavor = "multi_thread")]
async fn requests_go_side_by_side() {
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    tree(&layout, 100).await;
    let first = server(Quirks { latency_ms: 20, ..no_api() }).await;
    plain(&layout, &repository(&first, "a")).await;
    // Eight at a time: some 13 for 102 blobs, 13 for 101 manifests, and ten that wait for what was before. The bounds are
    // twice that, for a machine with much to do; one after the other it were more than two hundred.
    assert!(first.round_trips() <= 72, "{}", first.round_trips());
    first.clear();
    let second = server(Quirks { latency_ms: 20, ..no_api() }).await;
    plain(&repository(&first, "a"), &repository(&second, "a")).await;
    // At the source 101 manifests, as many lists, 102 blobs.
    assert!(first.round_trips() <= 90, "{}", first.round_trips());
    // Nothing to do: manifests and lists there, manifests here.
    first.clear();
    second.clear();
    plain(&repository(&first, "a"), &repository(&second, "a")).await;
    let (asked, looked) = (first.round_trips(), second.round_trips());
    assert!(asked <= 64 && looked <= 40, "{asked} {looked}");
}
