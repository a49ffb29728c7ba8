//! Habits of registries in the field that no other file is about.

use bulla::oci::{Content, Descriptor, Packer, Selector, media_type, sorted_json};
use bulla::store::{BytesSource, Failure, Manage, Store};
use serde_json::json;

use crate::registry::{Action, Config, Fault, Nth, Quirks, Registry as Server};
use crate::servers::{artifact, place, referrer, repository};

const KIND: &str = "application/vnd.example.sig";

async fn server(quirks: Quirks) -> Server {
    let server = Server::start(Config { quirks, ..Config::default() }).await;
    server.put_blob("a", "{}");
    server
}

#[tokio::test]
async fn a_referrer_may_come_before_its_subject() {
    for no_referrers_api in [false, true] {
        let server = server(Quirks { no_referrers_api, ..Quirks::default() }).await;
        let repo = repository(&server, "a");
        let subject = artifact("a/b", "later");
        let one = referrer(KIND, "early", subject.descriptor());
        repo.push_manifest(&one, None).await.unwrap();
        repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await.unwrap();
        repo.flush().await.unwrap();
        assert_eq!(repo.exists(subject.descriptor()).await, Ok(false));
        repo.push_manifest(&subject, Some(&"v1".parse().unwrap())).await.unwrap();
        let found = repository(&server, "a").referrers(subject.digest(), None).await.unwrap();
        assert_eq!(found.iter().map(|d| &d.digest).collect::<Vec<_>>(), [one.digest()]);
    }
}

#[tokio::test]
async fn a_missing_manifest_that_is_forbidden_is_not_taken_for_absent() {
    let server =
        server(Quirks { missing_is_forbidden: true, no_referrers_api: true, ..Quirks::default() }).await;
    let repo = repository(&server, "a");
    let e = repo.resolve(&Selector::Tag("absent".parse().unwrap())).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Denied(t) if t.contains("DENIED")), "{e}");
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    assert!(repo.referrers(subject.digest(), None).await.is_err());
    let one = referrer(KIND, "x", subject.descriptor());
    repo.push_manifest(&one, None).await.unwrap();
    assert!(repo.index_referrers(subject.descriptor(), &[one]).await.is_err());
    assert_eq!(server.tags("a").len(), 1, "no list is written over one that cannot be seen");
}

#[tokio::test]
async fn tags_are_asked_for_without_a_number() {
    let server = server(Quirks { tags_n_limit: Some(1), ..Quirks::default() }).await;
    (0..5).for_each(|i| place(&server, "a", Some(&format!("t{i}")), &artifact("a/b", "x")));
    let repo = repository(&server, "a");
    assert_eq!((repo.tags(None).await.unwrap().len(), repo.tags(Some("t2")).await.unwrap().len()), (5, 2));
    assert!(server.requests().iter().all(|r| !r.path.contains("n=")), "{}", server.log());
}

#[tokio::test]
async fn what_bulla_packs_has_a_layer_and_no_empty_blob() {
    let server = server(Quirks { no_empty: true, ..Quirks::default() }).await;
    let repo = repository(&server, "a");
    let packed = Packer::new(media_type::BULLA_SEAL).annotation("k", "v").build();
    repo.push_manifest(&packed, Some(&"v1".parse().unwrap())).await.unwrap();
    let e = repo.push_blob(&Descriptor::of("x/y", b""), &BytesSource("".into())).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Refused { .. }), "{e}");
}

#[tokio::test]
async fn a_manifest_before_its_blobs_is_refused_with_the_code_that_says_so() {
    let server = server(Quirks::default()).await;
    let lacking = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_EMPTY, b"{}"), "layers": [Descriptor::of("x/y", b"absent")]});
    let lacking = Content::new(media_type::OCI_MANIFEST, sorted_json(&lacking));
    let repo = repository(&server, "a");
    let e = repo.push_manifest(&lacking, None).await.unwrap_err();
    let told =
        |f: &Failure| matches!(f, Failure::Refused { text, .. } if text.contains("MANIFEST_BLOB_UNKNOWN"));
    assert!(told(&e.failure), "{e}");
    // A registry that takes it: nothing to say.
    server.quirks(|q| q.sparse_ok = true);
    assert_eq!(repo.push_manifest(&lacking, None).await, Ok(()));
    // docker-registry's word for a manifest that is too large.
    server.quirks(|q| (q.manifest_limit, q.limit_is_invalid) = (Some(10), true));
    let e = repo.push_manifest(&artifact("a/b", "x"), None).await.unwrap_err();
    assert!(
        matches!(&e.failure, Failure::Refused { status: 400, text } if text.contains("MANIFEST_INVALID")),
        "{e}"
    );
}

#[tokio::test]
async fn a_blob_of_another_repository_that_is_shown_here_is_there() {
    let server = server(Quirks { blobs_global: true, ..Quirks::default() }).await;
    server.put_blob("other", "content");
    let blob = Descriptor::of("x/y", b"content");
    assert_eq!(repository(&server, "a").exists(&blob).await, Ok(true));
    server.quirks(|q| q.blobs_global = false);
    assert_eq!(repository(&server, "a").exists(&blob).await, Ok(false));
}

#[tokio::test]
async fn a_blob_that_the_registry_does_not_see_for_a_moment_is_asked_about_again() {
    let server = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    let unseen = |n| {
        let code = "MANIFEST_BLOB_UNKNOWN".to_owned();
        Fault::on("PUT", "*/manifests/*").nth(n).action(Action::Status {
            status: 400,
            code,
            retry_after: None,
        })
    };
    server.fault(unseen(Nth::First(2)));
    repo.push_manifest(&artifact("a/b", "x"), None).await.unwrap();
    assert_eq!(server.count("PUT", "*"), 3);
    server.behave();
    server.clear();
    server.fault(unseen(Nth::Every));
    assert!(repo.push_manifest(&artifact("a/b", "y"), None).await.is_err());
    assert_eq!(server.count("PUT", "*"), 3);
}
