//! Reading from a registry: manifests, blobs, tags, redirects, retries, TLS, and bad input.

use std::time::Duration;

use bulla::oci::{Algorithm, ContentError, Descriptor, Digest, Selector, Tag, media_type};
use bulla::store::registry::{ClientCert, RegistryConfig, Timeouts};
use bulla::store::{Failure, Store, checked, collect, fetch_small};

use crate::registry::{Action, Address, Config, Fault, Listener, Nth, Pages, Quirks, Registry as Server};
use crate::registry::{Auth, Mode};
use crate::servers::{artifact, config, place, repository, repository_with};

async fn server(quirks: Quirks) -> Server {
    Server::start(Config { quirks, ..Config::default() }).await
}
fn tag(t: &str) -> Selector {
    Selector::Tag(t.parse().unwrap())
}
fn blob_of(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}

#[tokio::test]
async fn a_manifest_by_tag_by_digest_and_by_both() {
    let server = server(Quirks { accept_required: true, ..Quirks::default() }).await;
    let (one, two) = (artifact("a/b", "one"), artifact("a/b", "two"));
    place(&server, "org/app", Some("v1"), &one);
    place(&server, "org/app", Some("v2"), &two);
    let repo = repository(&server, "org/app");
    assert_eq!(repo.resolve(&tag("v1")).await, Ok(Some(one.clone())));
    assert_eq!(repo.resolve(&Selector::Digest(two.digest().clone())).await, Ok(Some(two.clone())));
    // With both the digest decides, whatever the tag names now.
    let both = Selector::Both("v1".parse().unwrap(), two.digest().clone());
    assert_eq!(repo.resolve(&both).await, Ok(Some(two.clone())));
    assert_eq!(repo.resolve(&tag("v3")).await, Ok(None));
    assert_eq!(repo.exists(one.descriptor()).await, Ok(true));
    assert_eq!(repo.exists(&Descriptor::of(media_type::OCI_MANIFEST, b"{}")).await, Ok(false));
    assert_eq!(server.count("*", "*"), 6, "{}", server.log());
    // Loopback: https was tried first, on a connection that carried no request, and only once.
    assert_eq!(repo.place().to_string(), format!("{}/org/app", server.host()));
}

#[tokio::test]
async fn a_sha512_digest_is_checked_with_sha512() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    let digest = Digest::of(Algorithm::Sha512, one.bytes());
    let selector = Selector::Digest(digest.clone());
    let call = Fault::on("GET", "/v2/a/manifests/sha512:*");
    let body = one.bytes().clone();
    server.fault(call.action(Action::Answer { status: 200, content_type: one.media_type().into(), body }));
    let got = repository(&server, "a").resolve(&selector).await.unwrap().unwrap();
    assert_eq!((got.digest(), got.bytes()), (&digest, one.bytes()));
}

#[tokio::test]
async fn other_bytes_are_refused() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    server.tamper("a", &one.digest().to_string(), "{}");
    let repo = repository(&server, "a");
    for selector in [tag("v1"), Selector::Digest(one.digest().clone())] {
        // By tag the registry's own digest header gives it away.
        let e = repo.resolve(&selector).await.unwrap_err();
        let got = Digest::sha256(b"{}");
        let expected = one.digest().clone();
        assert_eq!(e.failure, Failure::Content(ContentError::Digest { expected, got }), "{selector}");
    }
    server.quirks(|q| q.no_content_digest = true);
    let e = repo.resolve(&Selector::Digest(one.digest().clone())).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Content(_)), "{e}");
}

#[tokio::test]
async fn endless_and_oversized_manifests_end() {
    let server = server(Quirks::default()).await;
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    let repo = repository(&server, "a");
    server.fault(Fault::on("GET", "/v2/a/manifests/v1").action(Action::Endless));
    let e = repo.resolve(&tag("v1")).await.unwrap_err();
    let limit = "4194304 bytes".to_owned();
    assert_eq!(e.failure, Failure::TooLarge { what: "the answer".into(), limit });
    assert_eq!(e.what, "pull manifest v1");
    assert_eq!(server.count("GET", "/v2/a/manifests/v1"), 1);
}

#[tokio::test]
async fn refusals_are_errors_with_the_registrys_own_words() {
    let server = server(Quirks::default()).await;
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    for (status, tries, want) in [
        (403, 1, "denied (DENIED"),
        (429, 4, "too many requests (TOOMANYREQUESTS"),
        (500, 4, "the registry failed with status 500 (UNKNOWN"),
        (503, 4, "the registry failed with status 503 (UNKNOWN"),
        (405, 1, "refused with status 405 (UNSUPPORTED"),
        (401, 1, "unauthorized (UNAUTHORIZED"),
    ] {
        server.behave();
        server.clear();
        server.fault(Fault::on("GET", "*").status(status));
        let e = repository(&server, "a").resolve(&tag("v1")).await.unwrap_err();
        let start = format!("{}/a: pull manifest v1: {want}", server.host());
        assert!(e.to_string().starts_with(&start), "{e}");
        assert_eq!(server.count("GET", "*"), tries, "{status}");
    }
}

/// The codes of the specification with the status that registries send them with.
#[tokio::test]
async fn each_of_the_fourteen_error_codes_is_a_failure_that_names_it() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    let repo = repository(&server, "a");
    for (code, status) in [
        ("BLOB_UNKNOWN", 404),
        ("BLOB_UPLOAD_INVALID", 400),
        ("BLOB_UPLOAD_UNKNOWN", 404),
        ("DIGEST_INVALID", 400),
        ("MANIFEST_BLOB_UNKNOWN", 400),
        ("MANIFEST_BLOB_UNKNOWN", 404),
        ("MANIFEST_INVALID", 400),
        ("MANIFEST_UNKNOWN", 404),
        ("NAME_INVALID", 400),
        ("NAME_UNKNOWN", 404),
        ("SIZE_INVALID", 413),
        ("UNAUTHORIZED", 401),
        ("DENIED", 403),
        ("UNSUPPORTED", 405),
        ("TOOMANYREQUESTS", 429),
        ("SOMETHING_NEW", 418),
    ] {
        server.behave();
        let action = Action::Status { status, code: code.into(), retry_after: None };
        server.fault(Fault::on("*", "*").action(action));
        let e = repo.push_manifest(&one, None).await.unwrap_err();
        assert!(e.to_string().contains(code), "{status}: {e}");
        let fits = match (&e.failure, status) {
            (Failure::Unauthorized(_), 401) | (Failure::Denied(_), 403) => true,
            (Failure::TooManyRequests(_), 429) => true,
            (Failure::Refused { status: said, .. }, _) => *said == status,
            _ => false,
        };
        assert!(fits, "{code} {status}: {:?}", e.failure);
        // Absent, and only then: 404.
        let got = repo.resolve(&tag("v1")).await;
        assert_eq!(got == Ok(None), status == 404, "{code} {status}: {got:?}");
    }
}

#[tokio::test]
async fn passing_troubles_are_waited_out() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    let repo = repository(&server, "a");
    for fault in
        ["GET * #1 status=503", "GET * #<=3 too-many=3600", "GET * #<=2 reset=0", "GET * #1 truncate=9"]
    {
        server.behave();
        server.fault(fault.parse().unwrap());
        assert_eq!(repo.resolve(&tag("v1")).await, Ok(Some(one.clone())), "{fault}");
    }
    server.behave();
    server.fault("GET * truncate=9".parse().unwrap());
    let e = repo.resolve(&tag("v1")).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Interrupted(_)), "{e}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    server.fault(Fault::on("GET", "*").nth(Nth::First(1)).too_many("1"));
    let retry = bulla::store::registry::RetryPolicy { base: Duration::ZERO, ..Default::default() };
    let repo = repository_with(&server, "a", RegistryConfig { retry, ..config() });
    let before = std::time::Instant::now();
    assert_eq!(repo.resolve(&tag("v1")).await, Ok(Some(one)));
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_unreachable_registry_is_named() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    server.shutdown().await;
    let e = repo.resolve(&tag("v1")).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Unreachable(t) if t.contains("refused")), "{e}");
    let selector = tag("v1");
    // Many at once share the one failure instead of queueing for theirs.
    let all = futures::future::join_all((0..20).map(|_| repo.resolve(&selector)));
    assert!(all.await.iter().all(Result::is_err));
}

#[tokio::test]
async fn blobs_stream_and_are_checked_by_the_caller() {
    let server = server(Quirks::default()).await;
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    let repo = repository(&server, "a");
    assert_eq!(repo.exists(&blob).await, Ok(true));
    let reader = checked("x".into(), blob.clone(), repo.fetch(&blob, 0).await.unwrap());
    assert_eq!(collect(reader).await.unwrap(), bytes);
    let absent = blob_of(b"absent");
    assert_eq!(repo.exists(&absent).await, Ok(false));
    assert!(repo.fetch(&absent, 0).await.err().is_some_and(|e| e.is_not_found()));

    server.fault("GET */blobs/* truncate=100000".parse().unwrap());
    let e = collect(repo.fetch(&blob, 0).await.unwrap()).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Interrupted(_)), "{e}");
    server.behave();
    server.fault("GET */blobs/* wrong-bytes".parse().unwrap());
    let e = fetch_small(&repo, &blob, 1 << 30).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Content(ContentError::Digest { .. })), "{e}");
    server.behave();
    server.fault("GET */blobs/* endless".parse().unwrap());
    let e = fetch_small(&repo, &blob, 1 << 30).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Content(ContentError::Size { .. })), "{e}");
}

#[tokio::test]
async fn offsets_work_with_and_without_ranges() {
    let server = server(Quirks::default()).await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let blob = blob_of(&bytes);
    server.put_blob("a", bytes.clone());
    let repo = repository(&server, "a");
    for ignored in [false, true] {
        server.quirks(|q| q.range_ignored = ignored);
        for offset in [1, 77_777, bytes.len() - 1, bytes.len()] {
            let rest = collect(repo.fetch(&blob, offset as u64).await.unwrap()).await.unwrap();
            assert_eq!(rest, bytes[offset..], "{offset} {ignored}");
        }
    }
    // A range that starts elsewhere is no answer: the whole is asked for instead.
    server.quirks(|q| q.range_ignored = false);
    server.clear();
    let name = "content-range".to_owned();
    let value = Some("bytes 0-9/200000".to_owned());
    server.fault(Fault::on("GET", "*").action(Action::Header { name, value }));
    let rest = collect(repo.fetch(&blob, 5).await.unwrap()).await.unwrap();
    assert_eq!(rest, bytes[5..]);
    assert_eq!(server.count("GET", "*/blobs/*"), 2);
}

#[tokio::test]
async fn redirects_are_followed_without_the_proof() {
    let server = Server::start(Config {
        auth: Auth::basic("alice", "s3cret"),
        quirks: Quirks { redirect_blobs: true, ..Quirks::default() },
        ..Config::default()
    })
    .await;
    server.put_blob("a", "content");
    let repo = repository_with(&server, "a", crate::transport_auth::login("alice", "s3cret"));
    let got = fetch_small(&repo, &blob_of(b"content"), 100).await.unwrap();
    assert_eq!(got.bytes(), "content");
    let second: Vec<_> = server.requests().into_iter().filter(|r| r.listener == Listener::Second).collect();
    assert_eq!(second.len(), 1);
    assert!(second.iter().all(|r| r.authorization.is_none()), "{}", server.log());
    // For ever round and round.
    server.quirks(|q| q.redirect_blobs = false);
    let own = format!("{}/v2/a/blobs/{}", server.url(), blob_of(b"content").digest);
    server.fault(Fault::on("GET", "/v2/a/blobs/*").action(Action::Redirect(own)));
    let e = fetch_small(&repo, &blob_of(b"content"), 100).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("redirects")), "{e}");
}

#[tokio::test]
async fn tags_come_in_pages_and_in_any_order() {
    let server = server(Quirks { tags_page: Some(3), ..Quirks::default() }).await;
    let names: Vec<String> = (0..10).map(|i| format!("t{i}")).collect();
    names.iter().for_each(|t| place(&server, "a", Some(t), &artifact("a/b", "x")));
    let repo = repository(&server, "a");
    let tags: Vec<Tag> = names.iter().map(|t| t.parse().unwrap()).collect();
    for link in [Address::Relative, Address::Absolute] {
        server.quirks(|q| q.link = link);
        assert_eq!(repo.tags(None).await, Ok(tags.clone()));
    }
    assert_eq!(repo.tags(Some("t7")).await, Ok(tags[8..].to_vec()));
    server.quirks(|q| (q.tags_page, q.tags_unsorted) = (None, true));
    let mut all = repo.tags(Some("t7")).await.unwrap();
    all.sort();
    assert_eq!(all, tags);
    server.quirks(|q| q.tags_null = true);
    assert_eq!(repo.tags(None).await, Ok(vec![]));
    assert_eq!(repository(&server, "absent").tags(None).await, Ok(vec![]));
}

#[tokio::test]
async fn broken_tag_pages_are_errors() {
    let quirks = Quirks { tags_page: Some(3), link: Address::Foreign, ..Quirks::default() };
    let server = server(quirks).await;
    (0..10).for_each(|i| place(&server, "a", Some(&format!("t{i}")), &artifact("a/b", "x")));
    let repo = repository(&server, "a");
    let e = repo.tags(None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("another host")), "{e}");
    server.quirks(|q| q.link = Address::Relative);
    server.fault("GET */tags/list* #>=2 status=500".parse().unwrap());
    let e = repo.tags(None).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Server { .. }), "{e}");
    server.behave();
    server.fault("GET */tags/list* #>=2 status=404".parse().unwrap());
    let e = repo.tags(None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(_)), "{e}");
}

#[tokio::test]
async fn tls_needs_a_known_authority_and_never_falls_back() {
    let one = artifact("a/b", "one");
    for mode in [Mode::On, Mode::Http1] {
        let server = Server::start(Config { tls: mode, ..Config::default() }).await;
        place(&server, "a", Some("v1"), &one);
        server.put_blob("a", "content");
        let e = repository(&server, "a").resolve(&tag("v1")).await.unwrap_err();
        assert!(matches!(&e.failure, Failure::Unreachable(t) if t.contains("certificate")), "{e}");
        assert_eq!(server.requests().len(), 0);

        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, &server.pems().unwrap().ca).unwrap();
        let repo = repository_with(&server, "a", RegistryConfig { ca_files: vec![ca], ..config() });
        assert_eq!(repo.resolve(&tag("v1")).await, Ok(Some(one.clone())));
        assert_eq!(fetch_small(&repo, &blob_of(b"content"), 100).await.unwrap().bytes(), "content");

        // The same by a certs.d directory.
        let place = dir.path().join(server.host());
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("any.crt"), &server.pems().unwrap().ca).unwrap();
        let certs_dirs = vec![dir.path().to_owned()];
        let repo = repository_with(&server, "a", RegistryConfig { certs_dirs, ..config() });
        assert_eq!(repo.resolve(&tag("v1")).await, Ok(Some(one.clone())));
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_asked() {
    let server = Server::start(Config { tls: Mode::Mutual, ..Config::default() }).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    let dir = tempfile::tempdir().unwrap();
    let pems = server.pems().unwrap().clone();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_files = vec![file("ca.pem", &pems.ca)];
    let cert = ClientCert { cert: file("c.pem", &pems.client_cert), key: file("k.pem", &pems.client_key) };
    let without = RegistryConfig { ca_files: ca_files.clone(), ..config() };
    assert!(repository_with(&server, "a", without).resolve(&tag("v1")).await.is_err());
    let with = RegistryConfig { ca_files, client_cert: Some(cert), ..config() };
    assert_eq!(repository_with(&server, "a", with).resolve(&tag("v1")).await, Ok(Some(one)));
}

#[tokio::test]
async fn no_more_requests_at_once_than_allowed() {
    let server = server(Quirks::default()).await;
    let one = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &one);
    let repo = repository_with(&server, "a", RegistryConfig { concurrency: 3, ..config() });
    let selector = tag("v1");
    repo.resolve(&selector).await.unwrap();
    server.clear();
    let gate = server.hold("GET", "*", Nth::Every);
    let all = async { futures::future::join_all((0..10).map(|_| repo.resolve(&selector))).await };
    let watch = async {
        for _ in 0..3 {
            gate.arrived().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = server.requests().len();
        gate.open();
        waiting
    };
    let (all, waiting) = tokio::join!(all, watch);
    assert_eq!(waiting, 3);
    assert!(all.into_iter().all(|r| r == Ok(Some(one.clone()))));
}

#[tokio::test]
async fn silence_ends() {
    let server = server(Quirks::default()).await;
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    let _gate = server.hold("GET", "*", Nth::Every);
    let short = Duration::from_millis(100);
    let timeouts = Timeouts { connect: short, idle: short, request: short };
    let repo = repository_with(&server, "a", RegistryConfig { timeouts, ..config() });
    let e = repo.resolve(&tag("v1")).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Interrupted(t) if t.contains("in time")), "{e}");
    let e = repo.fetch(&blob_of(b"x"), 0).await.err().unwrap();
    assert!(matches!(&e.failure, Failure::Interrupted(_)), "{e}");
}

#[tokio::test]
async fn tag_pages_that_loop_or_never_end_are_errors() {
    let server = server(Quirks { tags_page: Some(1), ..Quirks::default() }).await;
    (0..5).for_each(|i| place(&server, "a", Some(&format!("t{i}")), &artifact("a/b", "x")));
    let name = "link".to_owned();
    let value = Some(r#"</v2/a/tags/list>; rel="next""#.to_owned());
    server.fault(Fault::on("GET", "*/tags/list*").action(Action::Header { name, value }));
    let e = repository(&server, "a").tags(None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("loop")), "{e}");
    assert_eq!(Pages::default(), Pages::Honest);
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_keep_the_contract_of_stores() {
    let docker = Quirks {
        no_referrers_api: true,
        accept_required: true,
        tags_unsorted: true,
        tag_deletion_unsupported: true,
        ..Quirks::default()
    };
    for (quirks, sparse) in [(Quirks::default(), false), (docker, false)] {
        let server = server(Quirks { sparse_ok: sparse, ..quirks }).await;
        crate::contract::all(&repository(&server, "org/app")).await;
    }
}

/// Where there are no CA certificates at all, as in an empty container. The variables are those of the child alone.
#[test]
fn a_machine_without_ca_certificates_still_reaches_what_needs_none() {
    let own = [
        "transport::a_manifest_by_tag_by_digest_and_by_both",
        "transport::tls_needs_a_known_authority_and_never_falls_back",
    ];
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--test-threads=1"])
        .args(own)
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("2 passed"), "{said}");
}
