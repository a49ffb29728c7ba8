//! Writing to a registry: blobs, manifests, mounts, deletion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bulla::oci::{Algorithm, Content, ContentError, Descriptor, Digest, Selector, media_type};
use bulla::store::registry::RegistryConfig;
use bulla::store::{BlobReader, BlobSource, BytesSource, Failure, Manage, Store, StoreBlob, StoreError};
use bytes::Bytes;
use futures::StreamExt;

use crate::registry::{Action, Address, Auth, Config, Fault, Listener, Nth, Quirks, Registry as Server};
use crate::servers::{artifact, repository, repository_with};

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}
fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}

/// Pieces of a blob; counts how often it was opened.
struct Pieces {
    pieces: Vec<Result<Bytes, StoreError>>,
    opened: Arc<AtomicU64>,
}

impl Pieces {
    fn of(pieces: Vec<Result<Bytes, StoreError>>) -> Self {
        Self { pieces, opened: Arc::default() }
    }
}

#[async_trait]
impl BlobSource for Pieces {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        assert_eq!(offset, 0);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(futures::stream::iter(self.pieces.clone()).boxed())
    }
}

#[tokio::test]
async fn a_blob_is_one_post_and_one_put() {
    for quirks in [
        Quirks { length_required: true, no_chunks: true, ..Quirks::default() },
        Quirks { upload_location: Address::Absolute, ..Quirks::default() },
    ] {
        let server = server(quirks).await;
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let source = Pieces::of(bytes.chunks(16 * 1024).map(|c| Ok(Bytes::copy_from_slice(c))).collect());
        let repo = repository(&server, "a");
        repo.push_blob(&blob(&bytes), &source).await.unwrap();
        assert_eq!(server.blob("a", &blob(&bytes).digest.to_string()), Some(bytes.into()));
        assert_eq!((server.count("POST", "*"), server.count("PUT", "*"), server.requests().len()), (1, 1, 2));
        // The empty blob too.
        repo.push_blob(&blob(b""), &Pieces::of(vec![])).await.unwrap();
        assert_eq!(server.blob("a", &blob(b"").digest.to_string()), Some(Bytes::new()));
    }
}

#[tokio::test]
async fn a_foreign_upload_location_gets_no_proof() {
    for auth in [Auth::default(), Auth::basic("alice", "pw"), Auth::bearer("alice", "pw")] {
        let quirks = Quirks { upload_location: Address::Foreign, no_single_post: true, ..Quirks::default() };
        let server = Server::start(Config { quirks, auth, ..Config::default() }).await;
        let repo = repository_with(&server, "a", crate::transport_auth::login("alice", "pw"));
        repo.push_blob(&blob(b"content"), &BytesSource("content".into())).await.unwrap();
        let second: Vec<_> =
            server.requests().into_iter().filter(|r| r.listener == Listener::Second).collect();
        assert!(!second.is_empty() && second.iter().all(|r| r.authorization.is_none()), "{}", server.log());
        assert!(server.blob("a", &blob(b"content").digest.to_string()).is_some());
    }
}

#[tokio::test]
async fn uploads_that_stand_still_end() {
    let server = server(Quirks { no_single_post: true, ..Quirks::default() }).await;
    let short = std::time::Duration::from_millis(50);
    let timeouts =
        bulla::store::registry::Timeouts { connect: short * 100, idle: short, request: short * 100 };
    let retry = bulla::store::registry::RetryPolicy { tries: 1, ..Default::default() };
    let config = RegistryConfig { timeouts, retry, ..crate::servers::config() };
    let _gate = server.hold("PUT", "*", crate::registry::Nth::Every);
    let repo = repository_with(&server, "a", config);
    let e = repo.push_blob(&blob(b"content"), &BytesSource("content".into())).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Interrupted(t) if t.contains("no byte moved")), "{e}");
}

#[tokio::test]
async fn wrong_content_is_never_stored() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    let wanted = blob(b"content");
    for (pieces, size) in
        [(vec!["con", "tenX"], false), (vec!["con", "ten"], true), (vec!["content", "s"], true)]
    {
        let source = Pieces::of(pieces.into_iter().map(|p| Ok(Bytes::from(p))).collect());
        let e = repo.push_blob(&wanted, &source).await.unwrap_err();
        let is_size = matches!(e.failure, Failure::Content(ContentError::Size { .. }));
        let is_digest = matches!(e.failure, Failure::Content(ContentError::Digest { .. }));
        assert!(if size { is_size } else { is_digest }, "{e}");
        assert_eq!(source.opened.load(Ordering::Relaxed), 1, "no retry mends wrong content");
        assert_eq!(server.blob("a", &wanted.digest.to_string()), None);
    }
    assert_eq!(server.requests().len(), 0, "a small blob is read before anything is asked");
    // A large one is not, and its session is given back.
    let right = vec![7_u8; 100_000];
    let wrong = [&right[1..], b"x"].concat();
    for bytes in [&right[1..], &wrong, &[&right[..], b"x"].concat()] {
        let source = Pieces::of(bytes.chunks(9_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect());
        let e = repo.push_blob(&blob(&right), &source).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Content(_)), "{e}");
        assert_eq!(source.opened.load(Ordering::Relaxed), 1);
        assert_eq!(server.blob("a", &blob(&right).digest.to_string()), None);
    }
    assert_eq!(server.count("DELETE", "*/blobs/uploads/*"), 3, "{}", server.log());
    assert!(server.store(|s| s.uploads.is_empty()));
}

#[tokio::test]
async fn a_broken_source_is_named_and_opened_again() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "b");
    let broken = StoreError::new("oci:dir", "read blob", Failure::Interrupted("gone".into()));
    let source = Pieces::of(vec![Ok("con".into()), Err(broken.clone())]);
    assert_eq!(repo.push_blob(&blob(b"content"), &source).await, Err(broken));
    assert_eq!(source.opened.load(Ordering::Relaxed), 4);
    let io = StoreError::new("oci:dir", "read blob", Failure::NotFound);
    let source = Pieces::of(vec![Err(io.clone())]);
    assert_eq!(repo.push_blob(&blob(b"content"), &source).await, Err(io));
    assert_eq!(source.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn uploads_are_repeated_whole() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    let bytes: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
    for fault in [
        "PUT */blobs/* #1 status=503",
        "PUT */blobs/* #<=3 too-many=9",
        "PUT */blobs/* #1 reset-request=70000",
        "PUT */blobs/* #1 reset=0",
        "PUT */blobs/* #1 status=404",
        "PUT */blobs/* #1 early status=503",
        "PUT */blobs/* #1 status=499",
        "POST */blobs/* #<=2 status=500",
    ] {
        server.behave();
        server.fault(fault.parse().unwrap());
        let chunks: Vec<_> = bytes.chunks(8192).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        server.store(|s| *s = crate::registry::State::default());
        repo.push_blob(&blob(&bytes), &Pieces::of(chunks)).await.unwrap_or_else(|e| panic!("{fault}: {e}"));
        assert!(server.blob("a", &blob(&bytes).digest.to_string()).is_some(), "{fault}");
    }
    server.behave();
    server.quirks(|q| q.no_single_post = true);
    server.fault("PUT */blobs/* status=403".parse().unwrap());
    server.clear();
    let e = repo.push_blob(&blob(b"content"), &BytesSource("content".into())).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Denied(_)), "{e}");
    assert_eq!(server.count("PUT", "*"), 1);
}

#[tokio::test]
async fn a_refusal_without_error_document_is_a_broken_line() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    let bytes = vec![7; 500_000];
    let plain = Action::Answer { status: 400, content_type: "text/plain".into(), body: "Bad Request".into() };
    server.fault(Fault::on("PUT", "*/blobs/*").nth(Nth::Only(1)).action(plain));
    repo.push_blob(&blob(&bytes), &BytesSource(bytes.clone().into())).await.unwrap();
    assert!(server.blob("a", &blob(&bytes).digest.to_string()).is_some());
    server.behave();
    server.fault("PUT */blobs/* status=400".parse().unwrap());
    server.clear();
    let other = vec![8; 500_000];
    assert!(repo.push_blob(&blob(&other), &BytesSource(other.clone().into())).await.is_err());
    assert_eq!(server.count("PUT", "*"), 1, "a registry's own refusal is final");
}

#[tokio::test]
async fn a_blob_moves_from_registry_to_registry_and_within_one() {
    let (from, to) = (server(Quirks::default()).await, server(Quirks::default()).await);
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|i| (i % 253) as u8).collect();
    from.put_blob("a", bytes.clone());
    let source = repository(&from, "a");
    for target in [repository(&to, "b"), repository(&from, "b")] {
        let blob = blob(&bytes);
        target.push_blob(&blob, &StoreBlob { store: &source, blob: blob.clone() }).await.unwrap();
        assert_eq!(target.exists(&blob).await, Ok(true));
    }
    // Twenty at once within one host, with fewer permits than that: nobody waits for ever.
    let hosts = bulla::store::registry::Hosts::new(crate::servers::config());
    let at = |name: &str| hosts.repository(&format!("{}/{name}", from.host()).parse().unwrap());
    let (one, other) = (at("a"), at("many"));
    let blobs: Vec<Vec<u8>> = (0..20_u8).map(|i| vec![i; 300_000]).collect();
    blobs.iter().for_each(|b| drop(from.put_blob("a", b.clone())));
    let moves = blobs.iter().map(|bytes| {
        let (one, other, blob) = (&one, &other, blob(bytes));
        async move { other.push_blob(&blob, &StoreBlob { store: one, blob: blob.clone() }).await }
    });
    let all =
        tokio::time::timeout(std::time::Duration::from_secs(30), futures::future::join_all(moves)).await;
    assert!(all.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_manifest_is_put_once_by_tag_or_digest() {
    let server = server(Quirks { no_location: true, no_content_digest: true, ..Quirks::default() }).await;
    server.put_blob("a", "{}");
    let repo = repository(&server, "a");
    let one = artifact("a/b", "one");
    repo.push_manifest(&one, None).await.unwrap();
    repo.push_manifest(&one, Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!((server.count("PUT", "*"), server.requests().len()), (2, 2));
    for selector in [Selector::Digest(one.digest().clone()), Selector::Tag("v1".parse().unwrap())] {
        assert_eq!(repo.resolve(&selector).await, Ok(Some(one.clone())));
    }
    // A digest that the registry would not choose itself.
    let digest = Digest::of(Algorithm::Sha512, one.bytes());
    let other = Descriptor::new(one.media_type(), digest.clone(), one.bytes().len() as u64);
    let other = Content::check(other, one.bytes().clone()).unwrap();
    repo.push_manifest(&other, Some(&"v2".parse().unwrap())).await.unwrap();
    assert_eq!(repo.resolve(&Selector::Digest(digest)).await, Ok(Some(other)));
    assert!(repo.resolve(&Selector::Tag("v2".parse().unwrap())).await.unwrap().is_some());
}

#[tokio::test]
async fn refused_manifests_say_why() {
    let quirks = Quirks { manifest_limit: Some(100), immutable_tags: Some("v*".into()), ..Quirks::default() };
    let server = server(quirks).await;
    server.put_blob("a", "{}");
    let repo = repository(&server, "a");
    let one = artifact("a/b", "one");
    let e = repo.push_manifest(&one, None).await.unwrap_err();
    assert!(
        matches!(&e.failure, Failure::Refused { status: 413, text } if text.contains("SIZE_INVALID")),
        "{e}"
    );
    server.quirks(|q| q.manifest_limit = None);
    repo.push_manifest(&one, Some(&"v1".parse().unwrap())).await.unwrap();
    let e = repo.push_manifest(&artifact("a/b", "two"), Some(&"v1".parse().unwrap())).await.unwrap_err();
    assert!(
        matches!(&e.failure, Failure::Refused { status: 400, text } if text.contains("TAG_INVALID")),
        "{e}"
    );
    let huge = Content::new(media_type::OCI_MANIFEST, vec![b' '; 5 * 1024 * 1024]);
    let e = repo.push_manifest(&huge, None).await.unwrap_err();
    assert!(matches!(e.failure, Failure::TooLarge { .. }), "{e}");
    server.quirks(|q| q.read_only = true);
    let e = repo.push_manifest(&artifact("a/b", "three"), None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Refused { status: 405, .. }), "{e}");
    let e = repo.push_blob(&blob(b"x"), &BytesSource("x".into())).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Refused { status: 405, .. }), "{e}");
    assert!(e.to_string().contains("/a: push blob sha256:"), "{e}");
}

#[tokio::test]
async fn mounts_happen_or_leave_nothing() {
    let server = server(Quirks::default()).await;
    server.put_blob("from", "content");
    let repo = repository(&server, "a");
    let from = format!("{}/from", server.host()).parse().unwrap();
    assert_eq!(repo.mount(&blob(b"content"), &from).await, Ok(true));
    assert_eq!(repo.exists(&blob(b"content")).await, Ok(true));
    assert_eq!(repo.mount(&blob(b"absent"), &from).await, Ok(false));
    for status in [400, 401, 403, 404, 405] {
        server.quirks(|q| q.mount_status = Some(status));
        assert_eq!(repo.mount(&blob(b"content"), &from).await, Ok(false), "{status}");
    }
    server.quirks(|q| q.mount_status = Some(500));
    assert!(repo.mount(&blob(b"content"), &from).await.is_err());
    server.clear();
    let elsewhere = "registry.example.com/from".parse().unwrap();
    assert_eq!(repo.mount(&blob(b"content"), &elsewhere).await, Ok(false));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn deletion_says_whether_it_is_possible() {
    let server = server(Quirks::default()).await;
    server.put_blob("a", "{}");
    let repo = repository(&server, "a");
    let one = artifact("a/b", "one");
    let v1 = Selector::Tag("v1".parse().unwrap());
    repo.push_manifest(&one, Some(&"v1".parse().unwrap())).await.unwrap();
    for quirk in [true, false] {
        server.quirks(|q| (q.deletion_disabled, q.tag_deletion_unsupported) = (quirk, !quirk));
        assert_eq!(repo.delete(&v1).await, Ok(false));
    }
    server.quirks(|q| *q = Quirks::default());
    assert_eq!(repo.delete(&v1).await, Ok(true));
    assert_eq!(repo.resolve(&v1).await, Ok(None));
    assert_eq!(repo.delete(&v1).await, Ok(true), "gone already");
    assert_eq!(repo.delete(&Selector::Digest(one.digest().clone())).await, Ok(true));
    assert_eq!(repo.exists(one.descriptor()).await, Ok(false));
    server.fault("DELETE * status=403".parse().unwrap());
    assert!(matches!(repo.delete(&v1).await.unwrap_err().failure, Failure::Denied(_)));
}
