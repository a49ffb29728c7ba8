//! Many signers at once, each a process of its own as far as the registry can tell: nobody's signature is lost.

use std::time::Duration;

use bulla::client::sign::Form;
use bulla::oci::{Manifest, Selector};
use bulla::store::Store as _;
use bulla::store::layout::OciDir;
use bulla::store::registry::{RegistryConfig, RetryPolicy};

use super::{Signatory, once};
use crate::bundles::{self, image};
use crate::registry::{Config, LostUpdate, Nth, Registry as Server};
use crate::servers::{config, repository, repository_with};

const REPO: &str = "team/app";
const SIGNERS: usize = 8;

/// As patient as the program is.
fn patient() -> RegistryConfig {
    let settle = RetryPolicy::default().settle;
    RegistryConfig { retry: RetryPolicy { settle, ..RetryPolicy::without_delay() }, ..config() }
}

/// What makes it hard.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hard {
    Nothing,
    /// The second write of a tag is overwritten at once by a slower writer.
    Lost,
    /// Reads of a tag lag behind its writes.
    Stale,
    /// Tags are guarded by `ETag`.
    Guarded,
    /// Every answer takes a while.
    Slow,
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_at_once_lose_nothing_on_registries() {
    for form in [Form::Sigstore, Form::Notation, Form::CosignTag] {
        for no_api in [false, true] {
            for hard in [Hard::Nothing, Hard::Lost, Hard::Stale, Hard::Guarded, Hard::Slow] {
                // Where the registry keeps the list there is no tag to fight for.
                let tags = no_api || form == Form::CosignTag;
                if !tags && !matches!(hard, Hard::Nothing | Hard::Slow) || (form == Form::CosignTag && no_api)
                {
                    continue;
                }
                let server = Server::start(Config::default()).await;
                server.quirks(|q| {
                    q.no_referrers_api = no_api;
                    q.stale_reads = u64::from(hard == Hard::Stale);
                    q.etags = hard == Hard::Guarded;
                    q.latency_ms = if hard == Hard::Slow { 20 } else { 0 };
                });
                if hard == Hard::Lost {
                    server.lose(LostUpdate::new(REPO, "sha256-*", Nth::Only(2), 0));
                }
                let bundle = image(&repository(&server, REPO), "app/one").await;
                let who: Vec<Signatory> = match form {
                    Form::Notation => {
                        ["p256", "p384", "rsa2048", "rsa3072", "rsa4096"].map(Signatory::certified).into()
                    }
                    _ => (0..SIGNERS).map(|_| Signatory::fresh()).collect(),
                };
                let signing = who.iter().map(|who| async {
                    let store = repository_with(&server, REPO, patient());
                    once(&store, &who.pen(form, |_| {}), &bundle, false).await
                });
                let ends = tokio::time::timeout(Duration::from_secs(120), futures::future::join_all(signing));
                for end in ends.await.unwrap() {
                    assert!(!end.unwrap().was_there, "{form} {no_api} {hard:?}");
                }
                server.quirks(|q| q.stale_reads = 0);
                // Where reads of a tag lag and nothing guards it, one who read late may write over one who has ended: nobody can see
                // that. The same command again puts it right (docs/commands/sign.md).
                if no_api && hard == Hard::Stale {
                    for who in &who {
                        let store = repository(&server, REPO);
                        once(&store, &who.pen(form, |_| {}), &bundle, false).await.unwrap();
                    }
                }
                // Each finds its own, so each is there, whole and right.
                for who in &who {
                    let store = repository(&server, REPO);
                    let end = once(&store, &who.pen(form, |_| {}), &bundle, false).await.unwrap();
                    assert!(end.was_there, "{form} {no_api} {hard:?}");
                }
                assert_eq!(server.broken(REPO), Vec::<String>::new());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_at_once_lose_nothing_in_one_layout() {
    for form in [Form::Sigstore, Form::CosignTag] {
        let dir = bundles::scratch();
        let path = dir.path().join("layout");
        let made = OciDir::create(&path).await.unwrap();
        let bundle = image(&made, "app/one").await;
        made.push_manifest(&bundle, Some(&bundles::tag("v1"))).await.unwrap();
        bulla::store::Manage::flush(&made).await.unwrap();
        let who: Vec<Signatory> = (0..SIGNERS).map(|_| Signatory::fresh()).collect();
        let signing = who.iter().map(|who| async {
            let store = OciDir::open(&path).await.unwrap();
            once(&store, &who.pen(form, |_| {}), &bundle, false).await
        });
        for end in futures::future::join_all(signing).await {
            assert!(!end.unwrap().was_there, "{form}");
        }
        let store = OciDir::open(&path).await.unwrap();
        for who in &who {
            assert!(once(&store, &who.pen(form, |_| {}), &bundle, false).await.unwrap().was_there, "{form}");
        }
        if form == Form::CosignTag {
            let tag = format!("sha256-{}.sig", bundle.digest().hex()).parse().unwrap();
            let at = store.resolve(&Selector::Tag(tag)).await.unwrap().unwrap();
            assert_eq!(Manifest::parse(&at).unwrap().layers.len(), SIGNERS);
        }
    }
}
