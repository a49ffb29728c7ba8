//! The record of requests, and the way in for other processes.

use futures::future::join_all;

use super::super::registry::{Fault, Listener, Registry};
use super::Bench;

#[tokio::test]
async fn requests_are_listed_with_what_they_carried() {
    let bench = Bench::new().await;
    bench
        .send(
            "POST",
            "/v2/a/b/blobs/uploads/?digest=sha256:00",
            &[("authorization", "Bearer secret")],
            b"xyz",
        )
        .await;
    bench.get("/v2/").await;
    let list = bench.registry.requests();
    assert_eq!(list.len(), 2);
    let first = &list[0];
    assert_eq!((first.number, first.method.as_str(), first.status), (1, "POST", Some(400)));
    assert_eq!(first.path, "/v2/a/b/blobs/uploads/?digest=sha256:00");
    assert_eq!(
        (first.sent, first.authorization.as_deref(), first.listener),
        (3, Some("bearer"), Listener::Main)
    );
    assert_eq!(list[1].answered, 2);
    assert!(!format!("{list:?}").contains("secret"));
    assert_eq!((bench.registry.count("*", "/v2/*"), bench.registry.count("POST", "*digest=*")), (2, 1));
    assert_eq!(
        bench.registry.log(),
        "   1 POST /v2/a/b/blobs/uploads/?digest=sha256:00 -> 400\n   2 GET /v2/ -> 200\n"
    );
    bench.registry.clear();
    assert!(bench.registry.requests().is_empty());
    bench.registry.fault(Fault::on("GET", "*").status(500));
    assert_eq!(bench.get("/v2/").await.status, 500);
    assert_eq!(bench.registry.requests()[0].status, Some(500));
}

#[tokio::test]
async fn round_trips_are_the_longest_chain_of_waiting() {
    let bench = Bench::new().await;
    bench.quirks("latency=100");
    assert_eq!(bench.registry.round_trips(), 0);
    bench.get("/v2/").await;
    let together = join_all((0..6).map(|_| bench.get("/v2/"))).await;
    assert_eq!(together.len(), 6);
    bench.get("/v2/").await;
    assert_eq!((bench.registry.requests().len(), bench.registry.round_trips()), (8, 3));
}

#[tokio::test]
async fn other_processes_steer_it_unseen() {
    let bench = Bench::new().await;
    bench.image("a/b", Some("v1"), "one");
    let post = async |what: &str, body: &str| {
        bench.send("POST", &format!("/_test/{what}"), &[], body.as_bytes()).await.status
    };
    assert_eq!(post("quirks", "no-referrers-api,tags-page=1").await, 204);
    assert_eq!(post("quirks", "nonsense").await, 400);
    assert_eq!(post("fault", "GET */manifests/* #1 status=503").await, 204);
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.status, 503);
    assert_eq!(post("lose", "a/b v1 * 0").await, 204);
    assert_eq!(bench.get(&format!("/v2/a/b/referrers/sha256:{}", "0".repeat(64))).await.status, 404);
    let counts = bench.get("/_test/counts").await.json();
    assert_eq!((counts["requests"].as_u64(), counts["tokens"].as_u64()), (Some(2), Some(0)));
    assert_eq!(bench.get("/_test/requests").await.json()[0]["status"], 503);
    assert!(String::from_utf8_lossy(&bench.get("/_test/log").await.body).contains("manifests/v1 -> 503"));
    assert_eq!(post("clear", "").await, 204);
    assert_eq!(post("behave", "").await, 204);
    assert!(bench.registry.requests().is_empty());
}

#[tokio::test]
async fn it_stops() {
    let registry = Registry::start(Default::default()).await;
    let url = format!("{}/v2/", registry.url());
    let http = super::client();
    assert_eq!(http.get(&url).send().await.unwrap().status(), 200);
    registry.shutdown().await;
    assert!(http.get(&url).send().await.is_err());
}
