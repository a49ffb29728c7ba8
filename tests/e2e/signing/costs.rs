//! What signing costs a registry, and what it does when the registry fails.

use bulla::client::sign::{Form, SignError};
use bulla::store::Failure;

use super::{FORMS, Signatory, once};
use crate::bundles::image;
use crate::registry::{Config, Fault, Nth, Pin, Registry as Server};
use crate::servers::repository;

const REPO: &str = "team/app";

/// docs/commands/sign.md, the table of requests.
#[tokio::test]
async fn a_first_signature_costs_what_the_page_says() {
    for (form, two_step, most) in [
        (Form::Sigstore, false, 6),
        (Form::Notation, false, 6),
        (Form::NotationCose, false, 6),
        (Form::CosignTag, false, 7),
        (Form::Sigstore, true, 7),
        (Form::Notation, true, 7),
        (Form::CosignTag, true, 9),
    ] {
        let server = Server::start(Config::default()).await;
        server.quirks(|q| q.no_single_post = two_step);
        let store = repository(&server, REPO);
        let (warm, bundle) = (image(&store, "app/warm").await, image(&store, "app/one").await);
        let who = Signatory::of(form);
        let pen = who.pen(form, |_| {});
        // The empty config is there, the token too, and what the registry does not store from a POST is known.
        once(&store, &pen, &warm, false).await.unwrap();
        server.clear();
        assert!(!once(&store, &pen, &bundle, false).await.unwrap().was_there);
        assert_eq!(server.requests().len(), most, "{form} {two_step}\n{}", server.log());
        // The same again: the bundle, the list, and the manifest of the signature that is there, which holds it.
        server.clear();
        assert!(once(&store, &pen, &bundle, false).await.unwrap().was_there);
        let again = if form == Form::CosignTag { 2 } else { 3 };
        assert_eq!(server.requests().len(), again, "{form}\n{}", server.log());
        assert_eq!(server.count("PUT", "*") + server.count("POST", "*"), 0);
    }
}

/// Signatures of other certificates are known by their annotation, and not fetched.
#[tokio::test]
async fn others_notation_signatures_cost_nothing() {
    let server = Server::start(Config::default()).await;
    let store = repository(&server, REPO);
    let bundle = image(&store, "app/one").await;
    for kind in ["p384", "rsa2048", "rsa3072"] {
        let other = Signatory::certified(kind);
        once(&store, &other.pen(Form::Notation, |_| {}), &bundle, false).await.unwrap();
    }
    let own = Signatory::certified("p256");
    server.clear();
    once(&store, &own.pen(Form::Notation, |_| {}), &bundle, false).await.unwrap();
    assert_eq!(server.requests().len(), 6, "{}", server.log());
    assert_eq!(server.referrers(REPO, &bundle.digest().to_string()).len(), 4);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_never_an_empty_one() {
    for no_api in [false, true] {
        for status in [401, 403, 429, 500] {
            let server = Server::start(Config::default()).await;
            server.quirks(|q| q.no_referrers_api = no_api);
            let store = repository(&server, REPO);
            let bundle = image(&store, "app/one").await;
            let who = Signatory::fresh();
            once(&store, &who.pen(Form::Sigstore, |_| {}), &bundle, false).await.unwrap();
            let path = if no_api { "*/manifests/sha256-*" } else { "*/referrers/*" };
            server.fault(Fault::on("GET", path).nth(Nth::Every).status(status));
            server.clear();
            let store = repository(&server, REPO);
            let end = once(&store, &who.pen(Form::Sigstore, |_| {}), &bundle, false).await;
            assert!(matches!(end, Err(SignError::Store(_))), "{status}: {end:?}");
            assert_eq!(server.count("PUT", "*") + server.count("POST", "*blobs*"), 0, "{}", server.log());
            // The tag of cosign likewise.
            server.fault(Fault::on("GET", "*.sig").nth(Nth::Every).status(status));
            let end = once(&store, &who.pen(Form::CosignTag, |_| {}), &bundle, false).await;
            assert!(matches!(end, Err(SignError::Store(_))), "{status}: {end:?}");
        }
    }
}

/// One request fails for good at each place in turn: what is said is true, and the same command finishes it.
#[tokio::test]
async fn a_failure_anywhere_is_said_and_the_same_command_finishes() {
    for form in FORMS {
        for no_api in [false, true] {
            for n in 1.. {
                let server = Server::start(Config::default()).await;
                server.quirks(|q| q.no_referrers_api = no_api);
                let bundle = image(&repository(&server, REPO), "app/one").await;
                let who = Signatory::of(form);
                let pen = who.pen(form, |_| {});
                // Every second one breaks off after it took effect.
                let fault = Fault::on("*", "*").nth(Nth::From(n)).status(403);
                server.fault(if n % 2 == 0 { fault.performed() } else { fault });
                let store = repository(&server, REPO);
                let first = super::subjects(
                    &store,
                    &bulla::store::Store::place(&store),
                    &bulla::oci::Selector::Digest(bundle.digest().clone()),
                    false,
                )
                .await;
                let first = match first {
                    Ok(found) => {
                        super::sign(&store, &pen, &found, false, Some(super::NAME)).await.pop().unwrap()
                    }
                    Err(e) => Err(e),
                };
                server.behave();
                let listed = || server.referrers(REPO, &bundle.digest().to_string()).len();
                let done = first.is_ok();
                let before = listed();
                assert!(!done || form == Form::CosignTag || no_api || before == 1, "{form} {n}");
                let again = once(&repository(&server, REPO), &pen, &bundle, false).await.unwrap();
                assert!(!done || again.was_there, "{form} {no_api} {n}: {first:?}, and then {again:?}");
                assert!(once(&repository(&server, REPO), &pen, &bundle, false).await.unwrap().was_there);
                assert_eq!(server.broken(REPO), Vec::<String>::new());
                if done {
                    assert!(n > 5, "{form} {no_api}: only {n} requests");
                    break;
                }
            }
        }
    }
}

/// A 404 that is wrong once must not cost the others their signatures.
#[tokio::test]
async fn one_wrong_404_at_cosigns_tag_loses_nothing() {
    let server = Server::start(Config::default()).await;
    let bundle = image(&repository(&server, REPO), "app/one").await;
    let (a, b) = (Signatory::fresh(), Signatory::fresh());
    once(&repository(&server, REPO), &a.pen(Form::CosignTag, |_| {}), &bundle, false).await.unwrap();
    let tag = format!("sha256-{}.sig", bundle.digest().hex());
    for nth in [1, 2] {
        server.pin(Pin::new(REPO, &tag, None, Nth::Only(nth)));
        once(&repository(&server, REPO), &b.pen(Form::CosignTag, |_| {}), &bundle, true).await.unwrap();
        server.behave();
        for who in [&a, &b] {
            let end =
                once(&repository(&server, REPO), &who.pen(Form::CosignTag, |_| {}), &bundle, false).await;
            assert!(end.unwrap().was_there, "{nth}");
        }
    }
}

#[tokio::test]
async fn tags_that_cannot_be_moved() {
    let server = Server::start(Config::default()).await;
    server.quirks(|q| q.immutable_tags = Some("*".into()));
    let store = repository(&server, REPO);
    let bundle = image(&store, "app/one").await;
    let (a, b) = (Signatory::fresh(), Signatory::fresh());
    let first = once(&store, &a.pen(Form::CosignTag, |_| {}), &bundle, false).await.unwrap();
    let second = once(&store, &b.pen(Form::CosignTag, |_| {}), &bundle, false).await;
    let Err(SignError::Immutable { tag, error }) = second else { panic!("{second:?}") };
    assert_eq!(Some(&tag), first.tag.as_ref());
    assert!(matches!(error.failure, Failure::Refused { .. }), "{error}");
    // As a referrer it needs no tag.
    for who in [a, b] {
        once(&store, &who.pen(Form::Sigstore, |_| {}), &bundle, false).await.unwrap();
    }
    assert_eq!(server.referrers(REPO, &bundle.digest().to_string()).len(), 2);
}

/// Anybody who may push can hang as many as he likes: the work is bounded, and it is signed.
#[tokio::test]
async fn a_thousand_foreign_signatures_bound_the_work() {
    let server = Server::start(Config::default()).await;
    let store = repository(&server, REPO);
    let bundle = image(&store, "app/one").await;
    let blob = server.put_blob(REPO, "{}");
    for i in 0..1000 {
        let junk = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{blob}","size":2}},"layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"{blob}","size":2}}],"subject":{{"mediaType":"{}","digest":"{}","size":{}}},"annotations":{{"n":"{i}"}}}}"#,
            bundle.media_type(),
            bundle.digest(),
            bundle.bytes().len()
        );
        server.put_manifest(REPO, None, "application/vnd.oci.image.manifest.v1+json", junk);
    }
    let who = Signatory::fresh();
    server.clear();
    let hung = once(&store, &who.pen(Form::Sigstore, |_| {}), &bundle, false).await.unwrap();
    assert_eq!((hung.was_there, hung.unread), (false, 1000 - 256));
    assert!(server.requests().len() < 530, "{}", server.requests().len());
    assert!(server.referrers(REPO, &bundle.digest().to_string()).contains(&hung.carrier.to_string()));
}
