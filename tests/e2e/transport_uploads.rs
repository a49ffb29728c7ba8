//! Uploads: in one POST, in the session of a refused mount, in chunks where a registry or a bad line needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bulla::oci::{Algorithm, Descriptor, Digest};
use bulla::store::registry::{Hosts, Registry, RegistryConfig};
use bulla::store::{BlobReader, BlobSource, BytesSource, Failure, Manage, Store, StoreError};
use bytes::Bytes;
use futures::StreamExt;

use crate::registry::{Address, Auth, Config, Listener, Nth, Quirks, Registry as Server};
use crate::servers::{config, repository, repository_with};

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}
fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}
fn noise(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_be_bytes()).collect()
}
fn fault(server: &Server, text: &str) {
    server.fault(text.parse().unwrap());
}
async fn push(repo: &Registry, bytes: &[u8]) -> Result<(), StoreError> {
    repo.push_blob(&blob(bytes), &BytesSource(Bytes::copy_from_slice(bytes))).await
}
fn stored(server: &Server, bytes: &[u8]) -> bool {
    server.blob("a", &blob(bytes).digest.to_string()).is_some_and(|b| b == bytes)
}
/// Methods and bytes sent, one word a request.
fn trace(server: &Server) -> Vec<String> {
    server.requests().iter().map(|r| format!("{} {}", r.method, r.sent)).collect()
}

#[tokio::test]
async fn a_small_blob_is_one_post_where_the_registry_does_that() {
    let server = server(Quirks { length_required: true, ..Quirks::default() }).await;
    let repo = repository(&server, "a");
    for bytes in [&b""[..], b"small", &noise(32 * 1024)] {
        push(&repo, bytes).await.unwrap();
        assert!(stored(&server, bytes));
    }
    assert_eq!(trace(&server), ["POST 0", "POST 5", "POST 32768"]);
    // One byte more is worth no second sending.
    server.clear();
    push(&repo, &noise(32 * 1024 + 4)).await.unwrap();
    assert_eq!(trace(&server), ["POST 0", "PUT 32772"]);
    let sha512 = Descriptor::new("a/b", Digest::of(Algorithm::Sha512, b"small"), 5);
    repo.push_blob(&sha512, &BytesSource("small".into())).await.unwrap();
    assert!(server.blob("a", &sha512.digest.to_string()).is_some());
}

#[tokio::test]
async fn a_registry_that_drops_the_body_of_a_post_costs_two_requests_a_blob() {
    let server = server(Quirks { no_single_post: true, ..Quirks::default() }).await;
    let repo = repository(&server, "a");
    for (bytes, want) in [("one", ["POST 3", "PUT 3"]), ("two", ["POST 0", "PUT 3"])] {
        server.clear();
        push(&repo, bytes.as_bytes()).await.unwrap();
        assert!(stored(&server, bytes.as_bytes()));
        assert_eq!(trace(&server), want);
    }
}

#[tokio::test]
async fn a_refused_single_post_is_no_refusal_of_the_blob() {
    for status in [400, 405, 411, 413, 500] {
        let server = server(Quirks::default()).await;
        fault(&server, &format!("POST */blobs/uploads/?digest=* status={status}"));
        let repo = repository(&server, "a");
        for (bytes, requests) in [("one", 3), ("two", 2)] {
            server.clear();
            push(&repo, bytes.as_bytes()).await.unwrap_or_else(|e| panic!("{status}: {e}"));
            assert!(stored(&server, bytes.as_bytes()));
            assert_eq!(server.requests().len(), requests, "{status}");
        }
    }
    let server = server(Quirks::default()).await;
    fault(&server, "POST * status=403");
    let e = push(&repository(&server, "a"), b"one").await.unwrap_err();
    assert!(matches!(e.failure, Failure::Denied(_)), "{e}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn mount_202_uses_the_session() {
    for bytes in [b"content".to_vec(), noise(100_000)] {
        let server = server(Quirks { no_mount: true, ..Quirks::default() }).await;
        server.put_blob("from", bytes.clone());
        let repo = repository(&server, "a");
        let from = format!("{}/from", server.host()).parse().unwrap();
        assert_eq!(repo.mount(&blob(&bytes), &from).await, Ok(false));
        push(&repo, &bytes).await.unwrap();
        assert!(stored(&server, &bytes));
        assert_eq!(trace(&server), ["POST 0".into(), format!("PUT {}", bytes.len())]);
        assert!(server.store(|s| s.uploads.is_empty()));
        // It is good for one push.
        server.clear();
        push(&repo, &bytes).await.unwrap();
        assert_eq!(server.count("POST", "*"), 1);
    }
}

#[tokio::test]
async fn a_session_that_ran_out_is_replaced() {
    let server = server(Quirks { no_mount: true, no_single_post: true, ..Quirks::default() }).await;
    let repo = repository(&server, "a");
    let from = format!("{}/from", server.host()).parse().unwrap();
    assert_eq!(repo.mount(&blob(b"content"), &from).await, Ok(false));
    server.store(|s| s.uploads.clear());
    push(&repo, b"content").await.unwrap();
    assert!(stored(&server, b"content"));
}

#[tokio::test]
async fn a_refused_mount_is_pushed_and_one_token_covers_both_repositories() {
    let auth = Auth::bearer("alice", "pw");
    let server = Server::start(Config { auth, ..Config::default() }).await;
    server.put_blob("from", "content");
    let repo = repository_with(&server, "a", crate::transport_auth::login("alice", "pw"));
    let from = format!("{}/from", server.host()).parse().unwrap();
    assert_eq!(repo.mount(&blob(b"content"), &from).await, Ok(true));
    assert_eq!(server.tokens_issued(), 1);
    let token = server.requests().into_iter().find(|r| r.path.starts_with("/token")).unwrap();
    for scope in ["repository%3Aa%3Apull%2Cpush", "repository%3Afrom%3Apull"] {
        assert!(token.path.contains(scope), "{}", token.path);
    }
    for status in [400, 404, 405, 416] {
        server.quirks(|q| q.mount_status = Some(status));
        let bytes = format!("content {status}");
        assert_eq!(repo.mount(&blob(bytes.as_bytes()), &from).await, Ok(false), "{status}");
        push(&repo, bytes.as_bytes()).await.unwrap();
        assert!(stored(&server, bytes.as_bytes()));
    }
    assert_eq!(server.tokens_issued(), 1, "{}", server.log());
}

#[tokio::test]
async fn a_blob_too_large_for_one_request_goes_in_chunks() {
    let bytes = noise(10_000_000);
    let quirks = Quirks { put_max: Some(1_000_000), chunk_max: Some(4 << 20), ..Quirks::default() };
    let server = server(quirks).await;
    let repo = repository(&server, "a");
    push(&repo, &bytes).await.unwrap();
    assert!(stored(&server, &bytes));
    let chunks = ["PATCH 4194304", "PATCH 4194304", "PATCH 1611392", "PUT 0"];
    assert_eq!(trace(&server), [&["POST 0", "PUT 10000000"], &chunks[..]].concat());
    // The next one is not tried whole.
    server.clear();
    push(&repo, &bytes).await.unwrap();
    assert_eq!(trace(&server), [&["POST 0"], &chunks[..]].concat());
    assert_eq!(server.count("DELETE", "*"), 0);
}

#[tokio::test]
async fn chunks_have_the_length_that_the_registry_takes() {
    let bytes = noise(6_000_000);
    for (name, quirks, sizes) in [
        // Larger than the usual chunk.
        ("min", Quirks { chunk_min: Some(5_000_000), ..Quirks::default() }, vec![5_000_000, 1_000_000]),
        // As an attack: the chunk is streamed, whatever its length.
        ("absurd min", Quirks { chunk_min: Some(u64::MAX), ..Quirks::default() }, vec![6_000_000]),
        (
            "max",
            Quirks { chunk_max: Some(1_100_000), ..Quirks::default() },
            [vec![4_194_304, 2_097_152], vec![1_048_576; 5], vec![757_120]].concat(),
        ),
        (
            "keeps",
            Quirks { chunk_keeps: Some(1_500_000), ..Quirks::default() },
            vec![4_194_304, 1_500_000, 1_500_000, 1_500_000],
        ),
    ] {
        let server = server(Quirks { put_max: Some(0), ..quirks }).await;
        push(&repository(&server, "a"), &bytes).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(stored(&server, &bytes), "{name}");
        let patches: Vec<usize> =
            server.requests().iter().filter(|r| r.method == "PATCH").map(|r| r.sent).collect();
        assert_eq!(patches, sizes, "{name}");
    }
}

#[tokio::test]
async fn a_registry_that_keeps_next_to_nothing_is_left() {
    let server = server(Quirks { put_max: Some(0), chunk_keeps: Some(100), ..Quirks::default() }).await;
    let e = push(&repository(&server, "a"), &noise(1_000_000)).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("too little")), "{e}");
    assert!(server.count("PATCH", "*") <= 80, "{}", server.count("PATCH", "*"));
    assert!(server.store(|s| s.uploads.is_empty()), "the session is given back");
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_from_what_arrived() {
    let bytes = noise(12_000_000);
    for faults in [
        // The whole breaks twice; then a chunk does, of which a part was kept.
        &["PUT * #<=2 reset-request=5000000", "PATCH * #2 reset-request=700000"][..],
        &["PUT * #<=2 status=503", "PATCH * #1 reset=0", "PATCH * #3 status=500"],
        // The line is so bad that only short requests get through.
        &["PUT * #<=2 reset-request=300000", "PATCH * #<=2 reset-request=1000"],
        // The end is lost, before and after it took effect.
        &["PUT * #<=2 reset-request=1", "PUT * #3 reset=0"],
        &["PUT * #1 performed reset=0"],
        &["PUT * #<=2 reset-request=1", "PUT * #3 performed reset=0"],
        &["PUT * #<=2 reset-request=1", "PATCH * #2 too-many=1"],
    ] {
        let server = server(Quirks::default()).await;
        faults.iter().for_each(|f| fault(&server, f));
        let repo = repository(&server, "a");
        push(&repo, &bytes).await.unwrap_or_else(|e| panic!("{faults:?}: {e}\n{}", server.log()));
        assert!(stored(&server, &bytes), "{faults:?}");
        assert!(server.store(|s| s.uploads.is_empty()), "{faults:?}");
        assert_eq!(server.count("POST", "*"), 1, "{faults:?}: one session\n{}", server.log());
        assert_eq!(server.count("DELETE", "*"), 0, "{faults:?}");
    }
}

#[tokio::test]
async fn where_a_broken_request_ends_its_session_shorter_ones_get_through() {
    let bytes = noise(12_000_000);
    let server = server(Quirks::docker_registry()).await;
    fault(&server, "PUT * #<=2 reset-request=5000000");
    fault(&server, "PATCH * #2 reset-request=1000000");
    push(&repository(&server, "a"), &bytes).await.unwrap_or_else(|e| panic!("{e}\n{}", server.log()));
    assert!(stored(&server, &bytes));
    assert_eq!(server.count("POST", "*"), 4, "{}", server.log());
}

#[tokio::test]
async fn what_was_kept_is_not_sent_again() {
    let bytes = noise(12_000_000);
    let server = server(Quirks { put_max: Some(0), ..Quirks::default() }).await;
    fault(&server, "PATCH * #2 reset-request=3000000");
    fault(&server, "PATCH * #4 reset-request=500000");
    push(&repository(&server, "a"), &bytes).await.unwrap();
    assert!(stored(&server, &bytes));
    let sent: usize = server.requests().iter().filter(|r| r.method == "PATCH").map(|r| r.sent).sum();
    assert_eq!(sent, bytes.len(), "{}", server.log());
}

#[tokio::test]
async fn a_session_that_is_elsewhere_is_asked_where_and_one_that_is_gone_replaced() {
    let bytes = noise(9_000_000);
    let large = || Quirks { put_max: Some(0), ..Quirks::default() };
    let one = server(large()).await;
    // Another client's chunk arrived in between: 416, and the status tells.
    one.hook(|request, state| {
        if request.method == "PATCH" && request.number == 3 {
            state.uploads.values_mut().for_each(|u| u.data.truncate(1_000_000));
        }
    });
    push(&repository(&one, "a"), &bytes).await.unwrap();
    assert!(stored(&one, &bytes));
    assert_eq!(one.requests().iter().filter(|r| r.status == Some(416)).count(), 1, "{}", one.log());
    assert_eq!((one.count("GET", "*/uploads/*"), one.count("POST", "*")), (1, 1));

    for at in [3, 4, 5] {
        let two = server(large()).await;
        two.hook(move |request, state| {
            if request.method == "PATCH" && request.number == at {
                state.uploads.clear();
            }
        });
        push(&repository(&two, "a"), &bytes).await.unwrap_or_else(|e| panic!("{at}: {e}\n{}", two.log()));
        assert!(stored(&two, &bytes));
        assert_eq!(two.count("POST", "*"), 2, "{}", two.log());
    }
}

#[tokio::test]
async fn a_registry_without_chunks_is_sent_the_whole_again() {
    let bytes = noise(8_000_000);
    let one = server(Quirks { no_chunks: true, ..Quirks::default() }).await;
    fault(&one, "PUT * #<=2 reset-request=100");
    push(&repository(&one, "a"), &bytes).await.unwrap();
    assert!(stored(&one, &bytes));
    assert_eq!((one.count("PATCH", "*"), one.count("PUT", "*")), (1, 3), "{}", one.log());
    // Refused for its size, and no other way: that is what is told.
    let two = server(Quirks { no_chunks: true, put_max: Some(1_000_000), ..Quirks::default() }).await;
    let repo = repository(&two, "a");
    for _ in 0..2 {
        let e = push(&repo, &bytes).await.unwrap_err();
        assert!(matches!(&e.failure, Failure::Refused { status: 413, .. }), "{e}");
        assert!(two.store(|s| s.uploads.is_empty()), "{}", two.log());
    }
    assert_eq!(two.count("PATCH", "*"), 1);
}

#[tokio::test]
async fn an_upload_that_never_gets_through_ends() {
    let bytes = noise(5_000_000);
    for faults in [&["PUT * reset-request=100"][..], &["PUT * status=503"]] {
        let server = server(Quirks { no_chunks: true, ..Quirks::default() }).await;
        faults.iter().for_each(|f| fault(&server, f));
        let e = push(&repository(&server, "a"), &bytes).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Interrupted(_) | Failure::Server { .. }), "{e}");
        assert!(server.requests().len() < 20, "{}", server.log());
        assert!(server.store(|s| s.uploads.is_empty()), "{faults:?}: cancelled");
    }
    let server = server(Quirks { put_max: Some(0), ..Quirks::default() }).await;
    fault(&server, "PATCH * reset=0");
    let e = push(&repository(&server, "a"), &bytes).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Interrupted(_)), "{e}");
    assert!(server.count("PATCH", "*") <= 4 && server.store(|s| s.uploads.is_empty()), "{}", server.log());
}

#[tokio::test]
async fn wrong_content_does_not_get_in_by_chunks_either() {
    let bytes = noise(9_000_000);
    let mut other = bytes.clone();
    other[100] ^= 1;
    // A registry that checks nothing itself.
    let quirks = Quirks { put_max: Some(0), wrong_digest_accepted: true, ..Quirks::default() };
    for fault_ in ["PATCH * #99 status=500", "PATCH * #2 reset-request=3000000", "PATCH * #3 reset=0"] {
        let server = server(quirks.clone()).await;
        fault(&server, fault_);
        let e = repository(&server, "a").push_blob(&blob(&bytes), &BytesSource(other.clone().into())).await;
        assert!(matches!(e.unwrap_err().failure, Failure::Content(_)), "{fault_}");
        assert_eq!(server.blob("a", &blob(&bytes).digest.to_string()), None, "{fault_}");
        assert!(server.store(|s| s.uploads.is_empty()), "{fault_}: cancelled");
    }
}

#[tokio::test]
async fn sessions_on_another_host_get_no_proof_for_any_request() {
    let bytes = noise(9_000_000);
    let quirks = Quirks { upload_location: Address::Foreign, put_max: Some(0), ..Quirks::default() };
    for auth in [Auth::basic("alice", "pw"), Auth::bearer("alice", "pw")] {
        let server = Server::start(Config { quirks: quirks.clone(), auth, ..Config::default() }).await;
        let repo = repository_with(&server, "a", crate::transport_auth::login("alice", "pw"));
        fault(&server, "PATCH * #2 reset-request=1000000");
        push(&repo, &bytes).await.unwrap();
        assert!(stored(&server, &bytes));
        // A blob that turns out wrong: its session is cancelled, there.
        let mut other = bytes.clone();
        other[8_999_999] ^= 1;
        let wanted = blob(&noise(9_000_004));
        assert!(repo.push_blob(&wanted, &BytesSource(other.into())).await.is_err());
        assert!(server.store(|s| s.uploads.is_empty()));
        let second: Vec<_> =
            server.requests().into_iter().filter(|r| r.listener == Listener::Second).collect();
        for method in ["PUT", "PATCH", "GET", "DELETE"] {
            assert!(second.iter().any(|r| r.method == method), "{method}\n{}", server.log());
        }
        assert!(second.iter().all(|r| r.authorization.is_none()), "{}", server.log());
    }
}

#[tokio::test]
async fn what_is_given_up_on_its_way_is_cancelled_at_the_end_of_the_run() {
    let server = server(Quirks { no_mount: true, ..Quirks::default() }).await;
    let hosts = Hosts::new(config());
    let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
    let bytes = noise(5_000_000);
    for method in ["PUT", "PATCH"] {
        server.quirks(|q| q.put_max = (method == "PATCH").then_some(0));
        let gate = server.hold(method, "*", Nth::Every);
        {
            let mut pushing = std::pin::pin!(push(&repo, &bytes));
            tokio::select! {
                _ = &mut pushing => panic!("nothing was held"),
                () = gate.arrived() => {}
            }
        }
        server.behave();
        assert_eq!(server.store(|s| s.uploads.len()), 1, "{method}");
        hosts.tidy().await;
        assert!(server.store(|s| s.uploads.is_empty()), "{method}: {}", server.log());
    }
    // The session in place of a mount, when no push follows.
    let from = format!("{}/from", server.host()).parse().unwrap();
    assert_eq!(repo.mount(&blob(b"content"), &from).await, Ok(false));
    assert_eq!(server.store(|s| s.uploads.len()), 1);
    hosts.tidy().await;
    assert!(server.store(|s| s.uploads.is_empty()));
    // What came to its end is not.
    push(&repo, &bytes).await.unwrap();
    server.clear();
    hosts.tidy().await;
    assert_eq!(server.requests().len(), 0);
}

/// A blob that is made while it is read; counts what was drawn.
struct Made {
    size: u64,
    drawn: Arc<AtomicU64>,
}

#[async_trait]
impl BlobSource for Made {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        let (size, drawn) = (self.size, self.drawn.clone());
        let pieces = futures::stream::unfold(offset, move |at| {
            let drawn = drawn.clone();
            async move {
                let len = (size - at).min(256 * 1024);
                drawn.fetch_add(len, Ordering::SeqCst);
                (len > 0).then(|| (Ok(Bytes::from(vec![0; len as usize])), at + len))
            }
        });
        Ok(pieces.boxed())
    }
}

#[tokio::test]
async fn no_more_is_drawn_from_a_source_than_the_line_takes() {
    let size = 200_000_000;
    let bytes = vec![0; 200_000_000];
    let wanted = blob(&bytes);
    drop(bytes);
    for quirks in
        [Quirks::default(), Quirks { chunk_min: Some(u64::MAX), put_max: Some(0), ..Quirks::default() }]
    {
        let server = server(quirks.clone()).await;
        // The registry reads nothing of the body until the gate opens.
        let method = if quirks.put_max.is_some() { "PATCH" } else { "PUT" };
        let gate = server.hold(method, "*", Nth::Every);
        let repo = repository_with(&server, "a", RegistryConfig { ..config() });
        let source = Made { size, drawn: Arc::default() };
        let pushing = tokio::spawn({
            let (wanted, drawn) = (wanted.clone(), source.drawn.clone());
            async move { repo.push_blob(&wanted, &Made { size, drawn }).await }
        });
        gate.arrived().await;
        let before = if quirks.put_max.is_some() { size } else { 0 };
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let held = source.drawn.load(Ordering::SeqCst).saturating_sub(before);
        // The kernel's own buffers take some 32 MiB on a loopback connection.
        assert!(held < 64 << 20, "{held} bytes were drawn and went nowhere");
        pushing.abort();
    }
}
