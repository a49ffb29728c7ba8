//! The registry client against a registry that somebody else wrote. Ignored without one: `scripts/interop-registry`
//! starts Debian's docker-registry in several ways and runs these tests on it.
//!
//! `BULLA_INTEROP_REGISTRY` is `host:port`; `BULLA_INTEROP_LOGIN` is `user:password`, `BULLA_INTEROP_CA` a PEM file.

use bulla::oci::{Descriptor, Selector, media_type};
use bulla::store::registry::{Hosts, Login, Registry, RegistryConfig, RetryPolicy};
use bulla::store::{BytesSource, Failure, Manage, Store, StoreBlob};
use futures::future::join_all;
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
