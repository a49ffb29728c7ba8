//! The registry client against a registry that somebody else wrote. Ignored without one: `scripts/interop-registry`
//! starts Debian's docker-registry in several ways and runs these tests on it.
//!
//! `BULLA_INTEROP_REGISTRY` is `host:port`; `BULLA_INTEROP_LOGIN` is `user:password`, `BULLA_INTEROP_CA` a PEM file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulla::oci::{Descriptor, Selector, media_type};
use bulla::store::registry::{Hosts, Login, Registry, RegistryConfig, RetryPolicy};
use bulla::store::{BytesSource, Failure, Manage, Store, StoreBlob, fetch_small};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use crate::bundles::noise;
use crate::servers::{artifact, config, referrer};

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

fn hosts(login: Option<(&str, &str)>) -> Hosts {
    let login = login.map(|(user, secret)| Login {
        host: None,
        user: user.to_owned(),
        secret: Zeroizing::new(secret.to_owned()),
    });
    let ca_files = var("BULLA_INTEROP_CA").map(Into::into).into_iter().collect();
    Hosts::new(RegistryConfig { ca_files, login, retry: RetryPolicy::default(), ..config() })
}

fn known() -> Hosts {
    let login = var("BULLA_INTEROP_LOGIN");
    hosts(login.as_deref().and_then(|l| l.split_once(':')))
}

/// A repository that no run has used before.
fn fresh(hosts: &Hosts, name: &str) -> Registry {
    let host = var("BULLA_INTEROP_REGISTRY").expect("BULLA_INTEROP_REGISTRY names a registry");
    let run = std::process::id();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    hosts.repository(&format!("{host}/bulla/{name}-{run}-{now}").parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry: scripts/interop-registry"]
async fn real_registry_keeps_the_contract() {
    crate::contract::all(&fresh(&known(), "contract")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry: scripts/interop-registry"]
async fn real_registry_moves_large_blobs_within_and_mounts() {
    let hosts = known();
    let (one, two) = (fresh(&hosts, "one"), fresh(&hosts, "two"));
    let blobs: Vec<Vec<u8>> = (0..12).map(|i| noise(&format!("real{i}"), 3_000_000)).collect();
    let moves = blobs.iter().map(|bytes| {
        let (one, two, blob) = (&one, &two, Descriptor::of("a/b", bytes));
        async move {
            one.push_blob(&blob, &BytesSource(bytes.clone().into())).await.unwrap();
            two.push_blob(&blob, &StoreBlob { store: one, blob: blob.clone() }).await.unwrap();
            assert!(two.exists(&blob).await.unwrap());
        }
    });
    join_all(moves).await;
    let three = fresh(&hosts, "three");
    let blob = Descriptor::of("a/b", &blobs[0]);
    let mounted = three.mount(&blob, one.repository()).await.unwrap();
    // Where blobs belong to the host and not to a repository it is there without.
    assert!(three.exists(&blob).await.unwrap() || !mounted);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry: scripts/interop-registry"]
async fn real_registry_keeps_referrers_of_eight_writers() {
    let hosts = known();
    let repo = fresh(&hosts, "referrers");
    let empty = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    repo.push_blob(&empty, &BytesSource("{}".into())).await.unwrap();
    let subject = artifact("a/b", "subject");
    repo.push_manifest(&subject, Some(&"v1".parse().unwrap())).await.unwrap();
    let all: Vec<_> = (0..32).map(|i| referrer("a/b", &i.to_string(), subject.descriptor())).collect();
    join_all(all.chunks(4).map(|mine| {
        let (repo, subject) = (&repo, subject.descriptor());
        async move {
            for r in mine {
                repo.push_manifest(r, None).await.unwrap();
                repo.index_referrers(subject, std::slice::from_ref(r)).await.unwrap();
                repo.flush().await.unwrap();
            }
        }
    }))
    .await;
    let again = known().repository(repo.repository());
    assert_eq!(again.referrers(subject.digest(), None).await.unwrap().len(), 32);
}

/// A bad line to the registry: so many of its connections break after so many bytes, either way.
async fn bad_line(breaks: usize, after: usize) -> (String, Arc<AtomicUsize>) {
    let registry = var("BULLA_INTEROP_REGISTRY").expect("BULLA_INTEROP_REGISTRY names a registry");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (left, carried) = (Arc::new(AtomicUsize::new(breaks)), Arc::new(AtomicUsize::new(0)));
    let count = carried.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&registry).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
                let (left, count) = (left.clone(), count.clone());
                tokio::spawn(async move {
                    let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        passed += n;
                        count.fetch_add(n, Ordering::SeqCst);
                        let breaks = passed > after
                            && left
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |l| l.checked_sub(1))
                                .is_ok();
                        if breaks || to.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    (address, carried)
}

/// Uploads and downloads over a line that breaks every few megabytes: nothing of what arrived goes twice for long.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry: scripts/interop-registry"]
async fn real_registry_goes_on_where_the_line_broke() {
    let bytes = noise("bad line", 24_000_000);
    let blob = Descriptor::of("a/b", &bytes);
    let hosts = known();
    let direct = fresh(&hosts, "broken");
    let at = |address: &str| format!("{address}/{}", direct.repository().name()).parse().unwrap();
    let (line, carried) = bad_line(4, 5_000_000).await;
    known().repository(&at(&line)).push_blob(&blob, &BytesSource(bytes.clone().into())).await.unwrap();
    let sent = carried.load(Ordering::SeqCst);
    assert!(direct.exists(&blob).await.unwrap());
    assert!(sent < 60_000_000, "{sent} bytes for {}", bytes.len());

    // Without ranges each break costs one of the four tries; with them, tries begin anew with what arrives.
    let ranges = var("BULLA_INTEROP_NO_RANGES").is_none();
    let (breaks, most) = if ranges { (4, 30_000_000) } else { (3, 60_000_000) };
    let (line, carried) = bad_line(breaks, 5_000_000).await;
    let through = known().repository(&at(&line));
    let got = fetch_small(&through, &blob, 1 << 30).await.unwrap();
    assert!(got.bytes()[..] == bytes);
    let read = carried.load(Ordering::SeqCst);
    assert!(read < most, "{read} bytes for {}", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry: scripts/interop-registry"]
async fn real_registry_refuses_strangers() {
    if var("BULLA_INTEROP_LOGIN").is_none() {
        // An open registry has no strangers.
        assert!(fresh(&hosts(None), "open").tags(None).await.is_ok());
        return;
    }
    let selector = Selector::Tag("v1".parse().unwrap());
    for stranger in [None, Some(("alice", "wrong")), Some(("mallory", "x"))] {
        let repo = fresh(&hosts(stranger), "closed");
        let e = repo.push_manifest(&artifact("a/b", "x"), None).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Unauthorized(_) | Failure::Denied(_)), "{e}");
        if stranger.is_some() {
            let e = repo.resolve(&selector).await.unwrap_err();
            assert!(matches!(e.failure, Failure::Unauthorized(_) | Failure::Denied(_)), "{e}");
        }
    }
}
