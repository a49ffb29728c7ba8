//! Scripted faults, and the connection that breaks at a byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::registry::{Action, Fault, Nth, sha256};
use super::Bench;

#[tokio::test]
async fn statuses_come_at_the_request_that_is_meant() {
    let bench = Bench::new().await;
    bench.image("a/b", Some("v1"), "one");
    bench.registry.fault(Fault::at(2).status(503));
    bench.registry.fault(Fault::on("GET", "/v2/a/b/manifests/*").nth(Nth::First(1)).too_many("7"));
    let first = bench.get("/v2/a/b/manifests/v1").await;
    assert_eq!(first.refusal(), (429, "TOOMANYREQUESTS".into()));
    assert_eq!(first.header("retry-after"), Some("7"));
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.status, 503);
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.status, 200);
    let fault: Fault = "GET */tags/* #>=2 status=403".parse().unwrap();
    bench.registry.fault(fault);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(bench.get("/v2/a/b/tags/list").await.status);
    }
    assert_eq!(seen, [200, 403, 403]);
    assert!("GET * nonsense".parse::<Fault>().is_err());
}

#[tokio::test]
async fn a_request_can_take_effect_without_its_answer() {
    let bench = Bench::new().await;
    let digest = sha256(b"x");
    let path = format!("/v2/a/b/blobs/uploads/?digest={digest}");
    for (fault, effect) in [
        (Fault::on("POST", "*").status(500), false),
        (Fault::on("POST", "*").action(Action::Reset(0)), false),
        (Fault::on("POST", "*").status(500).performed(), true),
        (Fault::on("POST", "*").action(Action::Reset(0)).performed(), true),
    ] {
        bench.registry.behave();
        bench.registry.store(|s| s.repo("a/b").blobs.clear());
        bench.registry.fault(fault.clone());
        let answer = bench.try_send("POST", &path, &[], "x").await;
        assert!(answer.is_none_or(|a| a.status == 500));
        assert_eq!(bench.registry.blob("a/b", &digest).is_some(), effect, "{fault:?}");
    }
    assert_eq!(bench.registry.requests().last().unwrap().status, Some(201));
}

#[tokio::test]
async fn bodies_are_cut_shortened_and_falsified() {
    let bench = Bench::new().await;
    let content = "0123456789".repeat(1000);
    let digest = bench.registry.put_blob("a/b", content.clone());
    let path = format!("/v2/a/b/blobs/{digest}");
    let with = async |action: Action| {
        bench.registry.behave();
        bench.registry.fault(Fault::on("GET", "*").action(action));
        bench.try_send("GET", &path, &[], "").await
    };
    let cut = with(Action::Truncate(100)).await.unwrap();
    assert_eq!((cut.whole, cut.body.len(), cut.header("content-length")), (false, 100, Some("10000")));
    let short = with(Action::Shorten(100)).await.unwrap();
    assert_eq!((short.whole, short.body.len(), short.header("content-length")), (true, 100, Some("100")));
    let wrong = with(Action::WrongBytes).await.unwrap();
    assert_eq!((wrong.body.len(), wrong.body == content), (10_000, false));
    assert!(with(Action::Reset(0)).await.is_none());
    let reset = with(Action::Reset(2000)).await;
    assert!(reset.is_none_or(|a| !a.whole && a.body.len() < 2000));
    let bare = with(Action::Header { name: "docker-content-digest".into(), value: None }).await.unwrap();
    assert_eq!((bare.whole, bare.header("docker-content-digest")), (true, None));
    let moved = with(Action::Redirect("http://127.0.0.1:1/".into())).await.unwrap();
    assert_eq!((moved.status, moved.header("location")), (307, Some("http://127.0.0.1:1/")));
    let body = "<html>".into();
    let html = with(Action::Answer { status: 200, content_type: "text/html".into(), body }).await.unwrap();
    assert_eq!(&html.body[..], b"<html>");
    assert!(bench.registry.tamper("a/b", &digest, "other"));
    bench.registry.behave();
    assert_eq!(&bench.get(&path).await.body[..], b"other");
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_leaves() {
    let bench = Bench::new().await;
    bench.image("a/b", Some("v1"), "one");
    bench.registry.fault(Fault::on("GET", "*").action(Action::Endless));
    let url = format!("{}/v2/a/b/manifests/v1", bench.registry.url());
    let mut response = bench.http.get(url).send().await.unwrap();
    let mut read = 0;
    while read < 5 << 20 {
        read += response.chunk().await.unwrap().expect("no end").len();
    }
    drop(response);
    let handed = bench.registry.requests()[0].answered;
    assert!((5 << 20..64 << 20).contains(&handed), "{handed}");
}

#[tokio::test]
async fn an_upload_that_breaks_keeps_what_arrived() {
    let bench = Bench::new().await;
    let session = bench.send("POST", "/v2/a/b/blobs/uploads/", &[], b"").await;
    let at = session.header("location").unwrap();
    bench.registry.fault(Fault::on("PATCH", "*").nth(Nth::Only(1)).action(Action::ResetRequest(400_000)));
    let body = vec![b'x'; 1_000_000];
    let headers = [("content-range", "0-999999")];
    assert!(bench.try_send("PATCH", at, &headers, body.clone()).await.is_none());
    let status = bench.get(at).await;
    assert_eq!((status.status, status.header("range")), (204, Some("0-399999")));
    let next = status.header("location").unwrap();
    let rest = bench.send("PATCH", next, &[("content-range", "400000-999999")], &body[400_000..]).await;
    let end = format!("{}&digest={}", rest.header("location").unwrap(), sha256(&body));
    assert_eq!(bench.send("PUT", &end, &[], b"").await.status, 201);
}

#[tokio::test]
async fn requests_wait_for_time_and_gates() {
    let bench = Arc::new(Bench::new().await);
    bench.image("a/b", Some("v1"), "one");
    bench.registry.fault("GET */tags/* delay=80".parse().unwrap());
    let begun = Instant::now();
    assert_eq!(bench.get("/v2/a/b/tags/list").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(80));

    let gate = bench.registry.hold("GET", "*/manifests/v1", Nth::Only(1));
    let held = tokio::spawn({
        let bench = bench.clone();
        async move { bench.get("/v2/a/b/manifests/v1").await.status }
    });
    gate.arrived().await;
    bench.registry.set_tag("a/b", "v1", None);
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.status, 404, "others are not held");
    assert!(!held.is_finished());
    gate.open();
    assert_eq!(held.await.unwrap(), 404, "a held request sees the store as it is when it goes on");
}

#[tokio::test]
async fn a_hook_sees_each_request_and_changes_the_store() {
    let bench = Bench::new().await;
    let (old, _) = bench.image("a/b", Some("v1"), "old");
    let bytes = bench.manifest("a/b", "new", None);
    bench.registry.hook(move |request, state| {
        if request.is("PUT", "*/manifests/v1") && request.status == Some(201) {
            state.set_tag("a/b", "v1", Some(&old));
        }
    });
    assert_eq!(bench.put("/v2/a/b/manifests/v1", super::IMAGE, &bytes).await.status, 201);
    assert_ne!(&bench.get("/v2/a/b/manifests/v1").await.body[..], &bytes[..]);
}

#[tokio::test]
async fn an_early_refusal_leaves_the_body_unread() {
    let bench = Bench::new().await;
    let size = 32 << 20;
    for (early, status) in [(true, 413), (false, 500)] {
        bench.registry.behave();
        bench.registry.clear();
        let fault = Fault::on("POST", "*").status(status);
        bench.registry.fault(if early { fault.early() } else { fault });
        let answer = bench.try_send("POST", "/v2/a/b/blobs/uploads/", &[], vec![0; size]).await;
        // A client that still writes may see the connection break before it sees the answer.
        assert!(answer.map_or(early, |a| a.status == status));
        assert_eq!(bench.registry.requests()[0].sent, if early { 0 } else { size });
    }
}

#[tokio::test]
async fn the_rate_is_limited_both_ways() {
    let bench = Bench::new().await;
    let content = vec![7; 100_000];
    let digest = bench.registry.put_blob("a/b", content.clone());
    bench.quirks("rate=500000");
    let begun = Instant::now();
    assert_eq!(bench.get(&format!("/v2/a/b/blobs/{digest}")).await.body, content);
    let down = begun.elapsed();
    let begun = Instant::now();
    let path = format!("/v2/a/b/blobs/uploads/?digest={digest}");
    assert_eq!(bench.send("POST", &path, &[], &content).await.status, 201);
    let up = begun.elapsed();
    assert!(down >= Duration::from_millis(180) && up >= Duration::from_millis(180), "{down:?} {up:?}");
}
