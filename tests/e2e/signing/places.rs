//! The same signature once, in every kind of place; and what copies carry.

use std::sync::Arc;

use bulla::client::places::Places as _;
use bulla::client::sign::{Envelope, EnvelopeError, Form, Hung, SignError, attach, sign, subjects};
use bulla::client::stores::Stores;
use bulla::oci::{Descriptor, Selector, media_type};
use bulla::store::archive::OciArchive;
use bulla::store::copy::{CopyRequest, KeepExisting, Unobserved, copy};
use bulla::store::layout::OciDir;
use bulla::store::memory::MemoryStore;
use bulla::store::{Manage, Store as _};
use serde_json::json;

use super::{FORMS, NAME, Signatory, now, once, subject};
use crate::bundles::{self, image, two_arch};
use crate::registry::{Config, Registry as Server};
use crate::servers::{config, repository};

const REPO: &str = "team/app";

/// A registry with the API, one without, a layout, an archive, memory.
async fn places(
    server: &Server,
    plain: &Server,
    dir: &std::path::Path,
) -> Vec<(&'static str, Arc<dyn Manage>)> {
    plain.quirks(|q| q.no_referrers_api = true);
    vec![
        ("api", Arc::new(repository(server, REPO))),
        ("no api", Arc::new(repository(plain, REPO))),
        ("layout", Arc::new(OciDir::create(dir.join("layout")).await.unwrap())),
        ("archive", Arc::new(OciArchive::create(dir.join("a.tar")).await.unwrap())),
        ("memory", Arc::new(MemoryStore::new("memory.example/test".parse().unwrap()))),
    ]
}

#[tokio::test]
async fn the_same_signature_is_made_once_everywhere() {
    let (server, plain) = (Server::start(Config::default()).await, Server::start(Config::default()).await);
    let dir = bundles::scratch();
    for (place, store) in places(&server, &plain, dir.path()).await {
        let store = &*store;
        let bundle = image(store, "app/one").await;
        store.push_manifest(&bundle, Some(&bundles::tag("v1"))).await.unwrap();
        store.flush().await.unwrap();
        for form in FORMS {
            let who = Signatory::of(form);
            let end = async |force, change: &dyn Fn(&mut bulla::client::sign::Terms)| -> Hung {
                once(store, &who.pen(form, |t| change(t)), &bundle, force).await.unwrap()
            };
            let first = end(false, &|_| {}).await;
            assert!(!first.was_there, "{place} {form}");
            let again = end(false, &|_| {}).await;
            assert!(again.was_there, "{place} {form}");
            // Other content is another signature.
            let noted =
                |t: &mut bulla::client::sign::Terms| drop(t.annotations.insert("build".into(), "17".into()));
            assert!(!end(false, &noted).await.was_there, "{place} {form}");
            assert!(end(false, &noted).await.was_there, "{place} {form}");
            assert!(end(false, &|_| {}).await.was_there, "{place} {form}");
            // As somebody who insists.
            assert!(!end(true, &|_| {}).await.was_there, "{place} {form}");
            if form.needs_chain() {
                let day = 86_400;
                let at = |after: i64| {
                    move |t: &mut bulla::client::sign::Terms| {
                        (t.lifetime, t.now) = (Some(90 * day), now().plus(after));
                    }
                };
                assert!(!end(false, &at(0)).await.was_there, "{place} {form}: another one lasts for ever");
                assert!(end(false, &at(44 * day)).await.was_there, "{place} {form}: more than half is left");
                assert!(!end(false, &at(46 * day)).await.was_there, "{place} {form}: less than half is left");
            } else {
                let other = Signatory::fresh();
                assert!(!once(store, &other.pen(form, |_| {}), &bundle, false).await.unwrap().was_there);
            }
        }
    }
}

/// With keys of every kind, from one registry through a layout to a registry of the other sort: each signature is found and
/// verified at the far end, since its signer adds none there.
#[tokio::test]
async fn copies_carry_every_form() {
    for (from_api, to_api) in [(true, false), (false, true)] {
        let (from, to) = (Server::start(Config::default()).await, Server::start(Config::default()).await);
        from.quirks(|q| q.no_referrers_api = !from_api);
        to.quirks(|q| q.no_referrers_api = !to_api);
        let dir = bundles::scratch();
        let source = repository(&from, REPO);
        let (index, children) = two_arch(&source, "app").await;
        source.push_manifest(&index, Some(&bundles::tag("v1"))).await.unwrap();
        let who: Vec<(Form, Signatory)> = FORMS.into_iter().map(|form| (form, Signatory::of(form))).collect();
        let selector = Selector::Tag(bundles::tag("v1"));
        for (form, who) in &who {
            let all =
                subjects(&source, &source.place().at(Some(selector.clone())), &selector, true).await.unwrap();
            assert_eq!(all.len(), 3);
            assert_eq!(all[2].artifact.digest, *index.digest(), "the index comes last");
            for end in sign(&source, &who.pen(*form, |_| {}), &all, false, Some(NAME)).await {
                assert!(!end.unwrap().was_there);
            }
        }
        let layout = OciDir::create(dir.path().join("stick")).await.unwrap();
        let far = repository(&to, "mirror/app");
        let request = CopyRequest { tags: vec![bundles::tag("v1")], ..CopyRequest::new(selector.clone()) };
        copy(&source, &layout, &request, &KeepExisting, &Unobserved).await.unwrap();
        copy(&layout, &far, &request, &KeepExisting, &Unobserved).await.unwrap();
        for (form, who) in &who {
            for bundle in [&index, &children[0], &children[1]] {
                for (place, store) in [("layout", &layout as &dyn Manage), ("far", &far)] {
                    let end = once(store, &who.pen(*form, |_| {}), bundle, false).await.unwrap();
                    assert!(end.was_there, "{form} at {place} (API there {to_api})");
                }
            }
        }
        assert_eq!(to.broken("mirror/app"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_index_that_is_not_whole_is_not_signed_at_all() {
    let server = Server::start(Config::default()).await;
    let store = repository(&server, REPO);
    let (index, children) = two_arch(&store, "app").await;
    server.store(|s| s.repo(REPO).manifests.remove(&children[1].digest().to_string()));
    let selector = Selector::Digest(index.digest().clone());
    server.clear();
    let end = subjects(&store, &store.place(), &selector, true).await;
    let missing = SignError::Missing { index: index.digest().clone(), child: children[1].digest().clone() };
    assert_eq!(end, Err(missing));
    assert_eq!(subjects(&store, &store.place(), &selector, false).await.unwrap().len(), 1);
}

/// Signed where there is no network, hung later, by somebody else; and what is not about the bundle is not hung.
#[tokio::test]
async fn signed_elsewhere_and_attached() {
    let (server, plain) = (Server::start(Config::default()).await, Server::start(Config::default()).await);
    let dir = bundles::scratch();
    for (place, store) in places(&server, &plain, dir.path()).await {
        let store = &*store;
        let (bundle, other) = (image(store, "app/one").await, image(store, "app/two").await);
        for image in [&bundle, &other] {
            store.push_manifest(image, Some(&bundles::tag(&image.digest().hex()[..8]))).await.unwrap();
        }
        store.flush().await.unwrap();
        let (at, at_other) = (subject(store, &bundle).await, subject(store, &other).await);
        for form in FORMS {
            let who = Signatory::of(form);
            let pen = who.pen(form, |_| {});
            let made = pen.sign(bundle.descriptor(), Some(NAME)).await.unwrap();
            let file = Envelope::read(made.bytes().clone()).unwrap();
            assert_eq!(file, made, "{form}");
            let end = attach(store, &file, &at_other, now()).await;
            assert!(matches!(end, Err(SignError::Envelope(_))), "{place} {form}: {end:?}");
            assert!(!attach(store, &file, &at, now()).await.unwrap().was_there, "{place} {form}");
            assert!(attach(store, &file, &at, now()).await.unwrap().was_there, "{place} {form}");
            // The signer finds it.
            assert!(once(store, &pen, &bundle, false).await.unwrap().was_there, "{place} {form}");
        }
    }
}

#[test]
fn what_is_no_signature_is_not_attached() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
    let read = |name: &str| Envelope::read(std::fs::read(format!("{data}{name}")).unwrap());
    for name in
        ["sigstore/cosign3-p256.sigstore.json", "notation/notation-p256.jws", "notation/notation-p256.cose"]
    {
        let subject =
            Descriptor::of(media_type::OCI_MANIFEST, &std::fs::read(format!("{data}subject.json")).unwrap());
        read(name).unwrap().check_about(&subject).unwrap();
    }
    // Nobody reads bundles before 0.3 as referrers.
    assert_eq!(read("sigstore-rust/dsse.sigstore.json"), Err(EnvelopeError::Old));
    for junk in ["subject.json", "sigstore/p256.pub", "sigstore/artifact"] {
        assert!(read(junk).is_err(), "{junk}");
    }
    // A JWS whose signature is not its chain's.
    let mut jws: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{data}notation/notation-p256.jws")).unwrap()).unwrap();
    jws["signature"] = json!("AAAA");
    assert!(matches!(Envelope::read(jws.to_string().into_bytes()), Err(EnvelopeError::Notary(_))));
}

/// Our own envelope under another type: cosign and notation do not read it there, so it does not count as there.
#[tokio::test]
async fn a_carrier_that_others_do_not_read_does_not_count() {
    let server = Server::start(Config::default()).await;
    let store = repository(&server, REPO);
    let bundle = image(&store, "app/one").await;
    for form in [Form::Sigstore, Form::Notation, Form::NotationCose] {
        let who = Signatory::of(form);
        let pen = who.pen(form, |_| {});
        let made = once(&store, &pen, &bundle, false).await.unwrap();
        let (digest, kind, bytes) = server.manifest(REPO, &made.carrier.to_string()).unwrap();
        let mut junk: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for change in ["type", "none"] {
            match change {
                "type" => junk["artifactType"] = json!("application/x-junk"),
                _ => drop(junk.as_object_mut().unwrap().remove("artifactType")),
            }
            server.store(|s| s.repo(REPO).manifests.remove(&digest));
            server.put_manifest(REPO, None, &kind, junk.to_string());
            let store = repository(&server, REPO);
            assert!(!once(&store, &pen, &bundle, true).await.unwrap().was_there);
        }
        // Only the junk is there.
        let good = once(&repository(&server, REPO), &pen, &bundle, false).await.unwrap();
        assert!(good.was_there, "{form}");
    }
}

/// Something else at cosign's tag is not overwritten.
#[tokio::test]
async fn a_foreign_image_at_cosigns_tag_stays() {
    let server = Server::start(Config::default()).await;
    let store = repository(&server, REPO);
    let (bundle, other) = (image(&store, "app/one").await, image(&store, "app/two").await);
    let tag = format!("sha256-{}.sig", bundle.digest().hex());
    store.push_manifest(&other, Some(&tag.parse().unwrap())).await.unwrap();
    let who = Signatory::fresh();
    let end = once(&store, &who.pen(Form::CosignTag, |_| {}), &bundle, false).await;
    assert!(matches!(end, Err(SignError::Foreign { .. })), "{end:?}");
    assert_eq!(server.manifest(REPO, &tag).unwrap().0, other.digest().to_string());
}

/// A layout and a descriptor are signed with no connection at all: there is no registry that could be asked.
#[tokio::test]
async fn a_layout_needs_no_network() {
    let dir = bundles::scratch();
    let path = dir.path().join("layout");
    let made = OciDir::create(&path).await.unwrap();
    let bundle = image(&made, "app/one").await;
    made.push_manifest(&bundle, Some(&bundles::tag("v1"))).await.unwrap();
    made.flush().await.unwrap();
    let stores = Stores::new(config());
    let reference = format!("oci:{}:v1", path.display()).parse().unwrap();
    let store = stores.open(&reference).await.unwrap();
    for form in FORMS {
        let who = Signatory::of(form);
        assert!(!once(&*store, &who.pen(form, |_| {}), &bundle, false).await.unwrap().was_there);
        let unnamed =
            sign(&*store, &who.pen(form, |_| {}), &[subject(&*store, &bundle).await], true, None).await;
        assert_eq!(unnamed[0].is_err(), form == Form::CosignTag, "a layout has no name to sign");
    }
    // By others, from the disk.
    let again = OciDir::open(&path).await.unwrap();
    assert_eq!(again.referrers(bundle.digest(), None).await.unwrap().len(), 6);
}
