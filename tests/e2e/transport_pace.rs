//! What a registry asks of its clients: fewer requests at a time, and attention.

use bulla::oci::{Descriptor, Selector};
use bulla::store::registry::{Hosts, RegistryConfig, RetryPolicy};
use bulla::store::{BytesSource, Store};
use bytes::Bytes;

use crate::registry::{Config, Fault, Nth, Quirks, Registry as Server};
use crate::servers::{artifact, config, place, repository_with};

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}

#[tokio::test]
async fn too_many_requests_lower_what_goes_at_a_time_and_it_recovers() {
    let server = server(Quirks { latency_ms: 5, no_single_post: true, ..Quirks::default() }).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    // Patience: what is meant to fail here is the pace, not the request.
    let retry = RetryPolicy { tries: 50, ..RetryPolicy::without_delay() };
    let repo = repository_with(&server, "a", RegistryConfig { retry, concurrency: 16, ..config() });
    let selector = Selector::Tag("v1".parse().unwrap());
    repo.resolve(&selector).await.unwrap();
    let reads = async |n: usize| {
        server.clear();
        let all = futures::future::join_all((0..n).map(|_| repo.resolve(&selector))).await;
        assert!(all.into_iter().all(|r| r == Ok(Some(one.clone()))));
        server.peak("*", "*")
    };
    let writes = async |n: usize, word: &str| {
        server.clear();
        let blobs: Vec<String> = (0..n).map(|i| format!("{word} {i}")).collect();
        let all = blobs.iter().map(|text| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let blob = Descriptor::of("a/b", &bytes);
            let repo = &repo;
            async move { repo.push_blob(&blob, &BytesSource(bytes)).await }
        });
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        server.peak("*", "*")
    };
    assert_eq!(reads(60).await, 16);

    server.quirks(|q| q.in_flight_max = Some(3));
    assert_eq!(reads(60).await, 16, "nothing was known yet");
    let complaints = |s: &Server| s.requests().iter().filter(|r| r.status == Some(429)).count();
    let first = complaints(&server);
    let peak = reads(100).await;
    assert!(peak <= 5, "{peak} at a time");
    assert!(complaints(&server) < 30 && first >= 13, "{first}, then {}", complaints(&server));
    let peak = writes(60, "crowded").await;
    assert!(peak <= 5, "{peak} uploads at a time");

    server.quirks(|q| q.in_flight_max = None);
    reads(200).await;
    assert_eq!(reads(60).await, 16);
    assert_eq!(writes(60, "free").await, 16);
}

#[tokio::test]
async fn an_unavailable_registry_that_asks_for_patience_gets_it() {
    let server = server(Quirks { latency_ms: 5, ..Quirks::default() }).await;
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    let repo = repository_with(&server, "a", RegistryConfig { concurrency: 8, ..config() });
    let selector = Selector::Tag("v1".parse().unwrap());
    repo.resolve(&selector).await.unwrap();
    let asked = Some("0".to_owned());
    let busy = crate::registry::Action::Status { status: 503, code: "UNKNOWN".into(), retry_after: asked };
    server.fault(Fault::on("GET", "*").nth(Nth::First(1)).action(busy));
    repo.resolve(&selector).await.unwrap();
    server.clear();
    futures::future::join_all((0..8).map(|_| repo.resolve(&selector))).await;
    assert_eq!(server.peak("*", "*"), 4);
}

#[tokio::test]
async fn warnings_are_kept_once_a_host_and_change_nothing() {
    let (one, two) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let hosts = Hosts::new(config());
    let v1 = Selector::Tag("v1".parse().unwrap());
    for server in [&one, &two] {
        place(server, "a", Some("v1"), &artifact("a/b", "one"));
        server.quirks(|q| q.warning = Some("quota is low".into()));
        let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
        for _ in 0..3 {
            assert!(repo.resolve(&v1).await.unwrap().is_some());
        }
        let big = vec![1; 100_000];
        repo.push_blob(&Descriptor::of("a/b", &big), &BytesSource(big.clone().into())).await.unwrap();
    }
    let got: Vec<_> = hosts.warnings().into_iter().map(|w| (w.host, w.text)).collect();
    let want = |s: &Server| (s.host(), "quota is low".to_owned());
    assert_eq!(got, [want(&one), want(&two)]);
    assert_eq!(hosts.warnings(), []);
    // A new text is news.
    one.quirks(|q| q.warning = Some("quota is exceeded".into()));
    hosts.repository(&format!("{}/a", one.host()).parse().unwrap()).resolve(&v1).await.unwrap();
    assert_eq!(hosts.warnings().len(), 1);
}
