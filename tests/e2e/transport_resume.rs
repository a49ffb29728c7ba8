//! Blobs whose answers break: they are continued, for every reader, and only so often.

use bulla::oci::{ContentError, Descriptor};
use bulla::store::layout::OciDir;
use bulla::store::{BytesSource, Failure, Manage, Store, StoreBlob, collect, fetch_small};

use crate::bundles::scratch;
use crate::registry::{Action, Config, Fault, Nth, Quirks, Registry as Server};
use crate::servers::repository;

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}
fn noise(len: u32) -> Vec<u8> {
    (0..len).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_be_bytes()).collect()
}
fn blob_of(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}
fn fault(server: &Server, text: &str) {
    server.fault(text.parse().unwrap());
}

#[tokio::test]
async fn a_broken_body_goes_on_where_it_stopped_for_every_reader() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let bytes = noise(100_000);
    let blob = blob_of(&bytes);
    from.put_blob("a", bytes.clone());
    let dir = scratch();
    let layout = OciDir::create(dir.path().join("layout")).await.unwrap();
    let (source, target) = (repository(&from, "a"), repository(&to, "b"));
    let moving = StoreBlob { store: &source, blob: blob.clone() };
    for reader in ["whole", "layout", "registry"] {
        from.behave();
        from.clear();
        fault(&from, "GET */blobs/* #<=2 truncate=150000");
        match reader {
            "whole" => assert_eq!(fetch_small(&source, &blob, 1 << 20).await.unwrap().bytes()[..], bytes),
            "layout" => {
                layout.push_blob(&blob, &moving).await.unwrap();
                layout.flush().await.unwrap();
                assert_eq!(collect(layout.fetch(&blob, 0).await.unwrap()).await.unwrap(), bytes);
            }
            _ => {
                target.push_blob(&blob, &moving).await.unwrap();
                assert_eq!(to.blob("b", &blob.digest.to_string()).unwrap(), bytes);
            }
        }
        // No byte came twice.
        let got: Vec<usize> = from.requests().iter().map(|r| r.answered).collect();
        assert_eq!((got.len(), from.requests()[1].status), (3, Some(206)), "{reader}: {}", from.log());
        assert!(got.iter().sum::<usize>() <= bytes.len() + 2 * 64 * 1024, "{reader}: {got:?}");
    }
    // One upload at the target, whatever happened at the source.
    assert_eq!((to.count("POST", "*"), to.count("PUT", "*")), (1, 1), "{}", to.log());
}

#[tokio::test]
async fn registries_that_do_no_ranges_are_read_from_the_start() {
    let bytes = noise(50_000);
    let blob = blob_of(&bytes);
    let other = Action::Header { name: "content-range".into(), value: Some("bytes 0-9/200000".into()) };
    let refused = Action::Status { status: 416, code: "UNKNOWN".into(), retry_after: None };
    for (ignored, answer, requests) in [(true, None, 2), (false, Some(other), 3), (false, Some(refused), 3)] {
        let server = server(Quirks { range_ignored: ignored, ..Quirks::default() }).await;
        server.put_blob("a", bytes.clone());
        let repo = repository(&server, "a");
        fault(&server, "GET */blobs/* #1 truncate=70000");
        if let Some(answer) = answer {
            server.fault(Fault::on("GET", "*/blobs/*").nth(Nth::Only(2)).action(answer));
        }
        assert_eq!(fetch_small(&repo, &blob, 1 << 20).await.unwrap().bytes()[..], bytes);
        assert_eq!(server.requests().len(), requests, "{}", server.log());
    }
}

#[tokio::test]
async fn tries_are_bounded_and_the_break_is_the_reason() {
    let server = server(Quirks::default()).await;
    let bytes = noise(100_000);
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    let repo = repository(&server, "a");
    fault(&server, "GET */blobs/* truncate=10000");
    let e = fetch_small(&repo, &blob, 1 << 20).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Interrupted(_)), "{e}");
    assert_eq!(server.requests().len(), 4, "{}", server.log());

    // Gone in the middle is no "not found".
    server.behave();
    fault(&server, "GET */blobs/* #1 truncate=10000");
    fault(&server, "GET */blobs/* #>=2 status=404");
    let e = fetch_small(&repo, &blob, 1 << 20).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Interrupted(t) if t.contains("not found")), "{e}");
}

#[tokio::test]
async fn a_link_that_breaks_each_megabyte_still_brings_a_large_blob() {
    let server = server(Quirks::default()).await;
    let bytes = noise(2_500_000);
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    fault(&server, "GET */blobs/* truncate=1200000");
    let got = fetch_small(&repository(&server, "a"), &blob, 1 << 30).await.unwrap();
    assert_eq!(got.bytes()[..], bytes);
    assert_eq!(server.requests().len(), 9);
}

#[tokio::test]
async fn the_whole_is_checked_whatever_the_parts_were() {
    let server = server(Quirks::default()).await;
    let bytes = noise(50_000);
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    fault(&server, "GET */blobs/* #1 truncate=10000");
    fault(&server, "GET */blobs/* #2 wrong-bytes");
    let e = fetch_small(&repository(&server, "a"), &blob, 1 << 20).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Content(ContentError::Digest { .. })), "{e}");
}

/// Without `Content-Length` the end of a connection cannot be told from the end of a body.
#[tokio::test]
async fn a_body_that_ends_early_in_good_order_is_asked_for_again() {
    let server = server(Quirks::default()).await;
    let bytes = noise(50_000);
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    let repo = repository(&server, "a");
    fault(&server, "GET */blobs/* #1 shorten=10000");
    assert_eq!(fetch_small(&repo, &blob, 1 << 20).await.unwrap().bytes()[..], bytes);
    assert_eq!(server.requests().len(), 2);
    // A registry that has no more says so again, and is believed.
    server.behave();
    server.tamper("a", &blob.digest.to_string(), bytes[..10_000].to_vec());
    server.clear();
    let e = fetch_small(&repo, &blob, 1 << 20).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Content(ContentError::Size { .. })), "{e}");
    assert_eq!(server.requests().len(), 3, "{}", server.log());
}

#[tokio::test]
async fn a_blob_of_another_size_is_not_there() {
    let server = server(Quirks::default()).await;
    let blob = blob_of(b"content");
    server.put_blob("a", "content");
    let repo = repository(&server, "a");
    for (quirk, faults) in [
        (false, &[][..]),
        (true, &[]),
        (false, &["HEAD */blobs/* status=405"]),
        (true, &["HEAD */blobs/* status=405"]),
    ] {
        server.behave();
        server.quirks(|q| (q.no_content_length, q.range_ignored) = (quirk, quirk));
        faults.iter().for_each(|f| fault(&server, f));
        assert_eq!(repo.exists(&blob).await, Ok(true), "{quirk} {faults:?}");
        assert_eq!(repo.exists(&blob_of(b"absent")).await, Ok(false), "{quirk} {faults:?}");
    }
    // docker-registry on a full disk: 200, and nothing in it.
    server.quirks(|q| (q.no_content_length, q.range_ignored) = (false, false));
    server.tamper("a", &blob.digest.to_string(), "");
    for faults in [&[][..], &["HEAD */blobs/* status=405"]] {
        server.behave();
        faults.iter().for_each(|f| fault(&server, f));
        assert_eq!(repo.exists(&blob).await, Ok(false));
    }
    repo.push_blob(&blob, &BytesSource("content".into())).await.unwrap();
    assert_eq!(repo.exists(&blob).await, Ok(true));
    server.behave();
    fault(&server, "HEAD */blobs/* status=403");
    assert!(matches!(repo.exists(&blob).await.unwrap_err().failure, Failure::Denied(_)));
}
