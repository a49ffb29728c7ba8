//! Referrers: the API and its quirks, and lists at the referrers tag.

use bulla::oci::{Content, Descriptor, Digest, Packer, Selector, media_type, sorted_json};
use bulla::store::{Failure, Manage, Store};
use futures::future::join_all;
use serde_json::json;

use crate::registry::{Action, Address, Config, Fault, LostUpdate, Nth, Pages, Quirks, Registry as Server};
use crate::servers::{artifact, place, referrer, repository};

const KIND: &str = "application/vnd.example.sig";

async fn server(quirks: Quirks) -> Server {
    let server = Server::start(Config { quirks, ..Config::default() }).await;
    server.put_blob("a", "{}");
    server
}
fn no_api() -> Quirks {
    Quirks { no_referrers_api: true, ..Quirks::default() }
}
fn digests(entries: &[Descriptor]) -> Vec<Digest> {
    let mut all: Vec<Digest> = entries.iter().map(|e| e.digest.clone()).collect();
    all.sort();
    all
}
fn of(contents: &[Content]) -> Vec<Digest> {
    digests(&contents.iter().map(|c| c.descriptor().clone()).collect::<Vec<_>>())
}
/// `count` referrers of `subject`, pushed and listed.
async fn hang(repo: &impl Manage, subject: &Content, count: usize) -> Vec<Content> {
    let all: Vec<Content> =
        (0..count).map(|i| referrer(KIND, &format!("r{i}"), subject.descriptor())).collect();
    for r in &all {
        repo.push_manifest(r, None).await.unwrap();
    }
    repo.index_referrers(subject.descriptor(), &all).await.unwrap();
    repo.flush().await.unwrap();
    all
}

#[tokio::test]
async fn what_is_listed_is_found_again() {
    for quirks in [
        Quirks::default(),
        Quirks { referrers_page: Some(2), ..Quirks::default() },
        Quirks { referrers_page: Some(2), link: Address::Absolute, ..Quirks::default() },
        Quirks { filter_ignored: true, ..Quirks::default() },
        Quirks { filter_claimed: true, ..Quirks::default() },
        Quirks { entries_without_type: true, entries_without_annotations: true, ..Quirks::default() },
        Quirks { entries_with_config_type: true, entries_without_annotations: true, ..Quirks::default() },
        Quirks { no_oci_subject: true, ..Quirks::default() },
        Quirks { fold_fallback_tag: true, ..Quirks::default() },
        Quirks { referrers_lag: 2, ..Quirks::default() },
        no_api(),
        Quirks { subject_claimed: true, ..no_api() },
        Quirks { gitlab_alias: true, ..no_api() },
        Quirks { writes_fallback_tag: true, ..no_api() },
        Quirks { no_content_digest: true, no_location: true, ..no_api() },
        Quirks { stale_reads: 2, ..no_api() },
        Quirks { etags: true, ..no_api() },
    ] {
        let server = server(quirks.clone()).await;
        let subject = artifact("a/b", "subject");
        place(&server, "a", Some("v1"), &subject);
        let repo = repository(&server, "a");
        let mut all = hang(&repo, &subject, 5).await;
        let other = referrer("application/vnd.example.other", "x", subject.descriptor());
        repo.push_manifest(&other, None).await.unwrap();
        repo.index_referrers(subject.descriptor(), std::slice::from_ref(&other)).await.unwrap();
        repo.flush().await.unwrap();
        // A new process, which has seen none of them.
        let repo = repository(&server, "a");
        let ours = repo.referrers(subject.digest(), Some(KIND)).await.unwrap();
        assert_eq!(digests(&ours), of(&all), "{quirks:?}");
        for entry in &ours {
            assert_eq!(entry.artifact_type.as_deref(), Some(KIND), "{quirks:?}");
            assert!(entry.annotation("word").is_some_and(|w| w.starts_with('r')), "{quirks:?}");
        }
        all.push(other);
        assert_eq!(digests(&repo.referrers(subject.digest(), None).await.unwrap()), of(&all), "{quirks:?}");
        assert_eq!(repo.referrers(&Digest::sha256(b"unknown"), None).await, Ok(vec![]), "{quirks:?}");
    }
}

#[tokio::test]
async fn failures_to_look_are_errors_with_and_without_the_api() {
    let subject = artifact("a/b", "subject");
    for (quirks, path) in [
        (Quirks::default(), "*/referrers/*".to_owned()),
        (no_api(), format!("*/{}", subject.digest().referrers_tag())),
    ] {
        let server = server(quirks).await;
        place(&server, "a", Some("v1"), &subject);
        hang(&repository(&server, "a"), &subject, 1).await;
        let one = referrer(KIND, "x", subject.descriptor());
        repository(&server, "a").push_manifest(&one, None).await.unwrap();
        let before = server.tags("a");
        for status in [401, 403, 405, 429, 500, 502, 503] {
            server.behave();
            server.fault(Fault::on("GET", &path).status(status));
            let repo = repository(&server, "a");
            let e = repo.referrers(subject.digest(), None).await.unwrap_err();
            assert_eq!(e.what, format!("list the referrers of {}", subject.digest()), "{status}");
            let again = repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await;
            assert!(again.is_err(), "{status}");
            assert_eq!(server.tags("a"), before, "{status}: nothing was written");
        }
        for fault in [Action::Truncate(5), Action::Reset(0), Action::Endless] {
            server.behave();
            server.fault(Fault::on("GET", &path).action(fault.clone()));
            let found = repository(&server, "a").referrers(subject.digest(), None).await;
            assert!(found.is_err(), "{fault:?}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_is_no_index_is_an_error() {
    let server = server(Quirks { referrers_html: true, ..Quirks::default() }).await;
    let e = repository(&server, "a").referrers(&Digest::sha256(b"x"), None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("text/html")), "{e}");
    for body in ["[]", "{", r#"{"manifests":[{"digest":"md5:00"}]}"#, r#"{"manifests":{}}"#] {
        let content_type = media_type::OCI_INDEX.to_owned();
        server.quirks(|q| q.referrers_html = false);
        server.behave();
        server.fault(Fault::on("GET", "*").action(Action::Answer {
            status: 200,
            content_type,
            body: body.into(),
        }));
        let e = repository(&server, "a").referrers(&Digest::sha256(b"x"), None).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Protocol(_)), "{body}: {e}");
    }
}

#[tokio::test]
async fn broken_chains_of_pages_are_errors() {
    let subject = artifact("a/b", "subject");
    let server = server(Quirks::default()).await;
    place(&server, "a", Some("v1"), &subject);
    hang(&repository(&server, "a"), &subject, 6).await;
    server.quirks(|q| q.referrers_page = Some(2));
    for pages in [Pages::Loop, Pages::Endless, Pages::Broken] {
        server.quirks(|q| q.referrers_pages = pages);
        server.clear();
        let e = repository(&server, "a").referrers(subject.digest(), None).await.unwrap_err();
        let fits = match pages {
            Pages::Loop => matches!(&e.failure, Failure::Protocol(t) if t.contains("loop")),
            Pages::Endless => matches!(&e.failure, Failure::TooLarge { limit, .. } if limit == "64 pages"),
            _ => matches!(&e.failure, Failure::Server { status: 500, .. }),
        };
        assert!(fits, "{pages:?}: {e}");
        assert!(server.requests().len() <= 64, "{pages:?}");
    }
    server.quirks(|q| (q.referrers_pages, q.link) = (Pages::Honest, Address::Foreign));
    let e = repository(&server, "a").referrers(subject.digest(), None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("another host")), "{e}");
}

#[tokio::test]
async fn an_unknown_repository_has_no_referrers_and_says_nothing_about_the_api() {
    let server = server(Quirks { referrers_name_unknown: true, ..Quirks::default() }).await;
    let repo = repository(&server, "new");
    let subject = artifact("a/b", "subject");
    assert_eq!(repo.referrers(subject.digest(), None).await, Ok(vec![]));
    assert_eq!(server.requests().len(), 3, "asked twice, and a look at the tag: {}", server.log());
    server.put_blob("new", "{}");
    repo.push_manifest(&subject, None).await.unwrap();
    let all = hang(&repo, &subject, 1).await;
    assert_eq!(digests(&repo.referrers(subject.digest(), None).await.unwrap()), of(&all));
    assert!(server.tags("new").is_empty(), "the API was used");
}

#[tokio::test]
async fn a_wrong_word_that_there_is_no_repository_hides_no_referrers() {
    let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#;
    let unknown = Action::Answer { status: 404, content_type: "application/json".into(), body: body.into() };
    for (quirks, nth) in [(Quirks::default(), Nth::Only(1)), (no_api(), Nth::Only(1)), (no_api(), Nth::Every)]
    {
        let server = server(quirks.clone()).await;
        let subject = artifact("a/b", "subject");
        place(&server, "a", Some("v1"), &subject);
        let all = hang(&repository(&server, "a"), &subject, 2).await;
        server.fault(Fault::on("GET", "*/referrers/*").nth(nth).action(unknown.clone()));
        let repo = repository(&server, "a");
        let found = repo.referrers(subject.digest(), None).await.unwrap();
        assert_eq!(digests(&found), of(&all), "{quirks:?} {nth:?}");
        // An API that answered before is not forgotten for it.
        if !quirks.no_referrers_api {
            server.fault(Fault::on("GET", "*/referrers/*").action(unknown.clone()));
            let e = repo.referrers(subject.digest(), None).await.unwrap_err();
            assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("answered before")), "{e}");
        }
    }
    // While it is said for ever, nothing is listed at a tag: the API may be there.
    let server = server(Quirks::default()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    server.fault(Fault::on("GET", "*/referrers/*").action(unknown));
    let repo = repository(&server, "a");
    let one = referrer(KIND, "x", subject.descriptor());
    repo.push_manifest(&one, None).await.unwrap();
    let e = repo.index_referrers(subject.descriptor(), &[one]).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Lost(_)), "{e}");
    assert_eq!(server.tags("a").len(), 1, "{:?}", server.tags("a"));
}

#[tokio::test]
async fn one_wrong_answer_that_there_is_no_api_hides_no_referrers_and_writes_no_list() {
    let server = server(Quirks::default()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let mut all = hang(&repository(&server, "a"), &subject, 2).await;
    let page =
        Action::Answer { status: 404, content_type: "text/html".into(), body: "<h1>Not found</h1>".into() };
    for nth in [1, 2] {
        server.fault(Fault::on("GET", "*/referrers/*").nth(Nth::Only(nth)).action(page.clone()));
        let repo = repository(&server, "a");
        for _ in 0..2 {
            assert_eq!(
                digests(&repo.referrers(subject.digest(), None).await.unwrap()),
                of(&all),
                "answer {nth}"
            );
        }
        server.behave();
        server.fault(Fault::on("GET", "*/referrers/*").nth(Nth::Only(nth)).action(page.clone()));
        let one = referrer(KIND, &format!("more {nth}"), subject.descriptor());
        let repo = repository(&server, "a");
        repo.push_manifest(&one, None).await.unwrap();
        repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await.unwrap();
        repo.flush().await.unwrap();
        assert_eq!(server.tags("a").len(), 1, "no list at a tag beside the API's: {:?}", server.tags("a"));
        server.behave();
        all.push(one);
    }
    // Where there is none, eight who ask at once are answered once more between them.
    let server = self::server(no_api()).await;
    place(&server, "a", Some("v1"), &subject);
    let repo = repository(&server, "a");
    let asking = (0..8).map(|_| repo.referrers(subject.digest(), None));
    futures::future::try_join_all(asking).await.unwrap();
    assert!(server.count("GET", "*/referrers/*") <= 9, "{}", server.log());
}

#[tokio::test]
async fn lost_referrers_are_put_again_and_then_reported() {
    let server = server(Quirks { subject_not_indexed: true, ..Quirks::default() }).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let repo = repository(&server, "a");
    let one = referrer(KIND, "x", subject.descriptor());
    repo.push_manifest(&one, None).await.unwrap();
    let e = repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Lost(t) if t.contains("although the registry confirmed")), "{e}");
    assert_eq!(server.count("PUT", "*/manifests/*"), 2);
    assert_eq!(server.tags("a").len(), 1, "no list at a tag beside an API");
    // A registry that takes it at the second PUT.
    server.clear();
    let digest = one.digest().to_string();
    server.hook(move |request, state| {
        if request.method == "PUT" {
            state.repo("a").unlisted.remove(&digest);
        }
    });
    server.quirks(|q| q.subject_not_indexed = false);
    repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(server.count("PUT", "*/manifests/*"), 1, "{}", server.log());
}

#[tokio::test]
async fn the_missing_api_is_remembered_and_a_new_list_costs_five_requests() {
    let server = server(no_api()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let repo = repository(&server, "a");
    let all: Vec<Content> = (0..10).map(|i| referrer(KIND, &format!("r{i}"), subject.descriptor())).collect();
    for r in &all {
        repo.push_manifest(r, None).await.unwrap();
    }
    server.clear();
    repo.index_referrers(subject.descriptor(), &all).await.unwrap();
    // Is there an API (that there is none, the answers to the pushes said as well), what stands at the tag, really nothing,
    // PUT, and, once for all that was written, the read back.
    repo.flush().await.unwrap();
    assert_eq!(server.requests().len(), 5, "{}", server.log());
    repo.index_referrers(subject.descriptor(), &all).await.unwrap();
    repo.flush().await.unwrap();
    assert_eq!(server.requests().len(), 6, "nothing to do, one look: {}", server.log());
    assert_eq!(digests(&repo.referrers(subject.digest(), None).await.unwrap()), of(&all));
    assert_eq!(server.requests().len(), 7, "own manifests are known: {}", server.log());
}

#[tokio::test]
async fn merging_keeps_what_others_listed_byte_for_byte() {
    let server = server(no_api()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let theirs = referrer(KIND, "theirs", subject.descriptor());
    place(&server, "a", None, &theirs);
    let entry = json!({"mediaType": theirs.media_type(), "digest": theirs.digest(), "size": theirs.descriptor().size,
        "artifactType": "wrong/type", "x-unknown": [1, {"y": null}]});
    let list = Content::new(
        media_type::OCI_INDEX,
        sorted_json(
            &json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry, entry]}),
        ),
    );
    let tag = subject.digest().referrers_tag();
    place(&server, "a", Some(&tag), &list);
    let repo = repository(&server, "a");
    let ours = hang(&repo, &subject, 1).await;
    let (_, _, bytes) = server.manifest("a", &tag).unwrap();
    let now: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&now["manifests"][0], &now["manifests"][1]), (&entry, &entry));
    let added = &now["manifests"][2];
    assert_eq!(added["digest"], json!(ours[0].digest()));
    assert_eq!((&added["artifactType"], &added["annotations"]["word"]), (&json!(KIND), &json!("r0")));
    assert_eq!(now["manifests"].as_array().unwrap().len(), 3);
    // Read: each once, the type from the manifest itself.
    let found = repo.referrers(subject.digest(), None).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|e| e.artifact_type.as_deref() == Some(KIND)));
}

#[tokio::test]
async fn foreign_things_at_the_tag_are_reported_and_never_overwritten() {
    let subject = artifact("a/b", "subject");
    let stray = artifact("a/b", "stray");
    let index = |extra: serde_json::Value| {
        let mut document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [stray.descriptor()]});
        document.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Content::new(media_type::OCI_INDEX, sorted_json(&document))
    };
    let mut platform = stray.descriptor().clone();
    platform.platform =
        Some(bulla::oci::Platform { architecture: "arm64".into(), os: "linux".into(), variant: None });
    for foreign in [
        artifact("a/b", "squatter"),
        index(json!({ "subject": subject.descriptor() })),
        index(json!({ "manifests": [platform] })),
    ] {
        let server = server(no_api()).await;
        place(&server, "a", Some("v1"), &subject);
        place(&server, "a", None, &stray);
        let tag = subject.digest().referrers_tag();
        place(&server, "a", Some(&tag), &foreign);
        let repo = repository(&server, "a");
        let e = repo.referrers(subject.digest(), None).await.unwrap_err();
        assert!(matches!(&e.failure, Failure::Foreign(t) if t.contains(&tag)), "{e}");
        let one = referrer(KIND, "x", subject.descriptor());
        repo.push_manifest(&one, None).await.unwrap();
        let e = repo.index_referrers(subject.descriptor(), &[one]).await.unwrap_err();
        assert!(matches!(&e.failure, Failure::Foreign(_)), "{e}");
        assert_eq!(server.manifest("a", &tag).unwrap().0, foreign.digest().to_string());
    }
    // An index in which nothing refers to the subject, without any other sign.
    let server = server(no_api()).await;
    place(&server, "a", None, &stray);
    place(&server, "a", Some(&subject.digest().referrers_tag()), &index(json!({})));
    let e = repository(&server, "a").referrers(subject.digest(), None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Foreign(_)), "{e}");
}

#[tokio::test]
async fn the_subject_itself_at_the_tag_is_no_list() {
    // GitLab's alias, and what cosign copy writes: a multi-arch subject must not list its own platforms.
    let child = artifact("a/b", "child");
    let document =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [child.descriptor()]});
    let subject = Content::new(media_type::OCI_INDEX, sorted_json(&document));
    for squatter in [false, true] {
        let server = server(Quirks { gitlab_alias: !squatter, ..no_api() }).await;
        place(&server, "a", None, &child);
        place(&server, "a", Some("v1"), &subject);
        if squatter {
            place(&server, "a", Some(&subject.digest().referrers_tag()), &subject);
        }
        let repo = repository(&server, "a");
        assert_eq!(repo.referrers(subject.digest(), None).await, Ok(vec![]));
        let all = hang(&repo, &subject, 2).await;
        assert_eq!(digests(&repo.referrers(subject.digest(), None).await.unwrap()), of(&all));
    }
}

#[tokio::test]
async fn entries_that_hang_elsewhere_or_are_gone_are_dropped() {
    let server = server(no_api()).await;
    let (subject, other) = (artifact("a/b", "subject"), artifact("a/b", "other"));
    let (good, bad) =
        (referrer(KIND, "good", subject.descriptor()), referrer(KIND, "bad", other.descriptor()));
    let gone = referrer(KIND, "gone", subject.descriptor());
    [&good, &bad].into_iter().for_each(|c| place(&server, "a", None, c));
    let typed = |c: &Content| Descriptor { artifact_type: Some(KIND.into()), ..c.descriptor().clone() };
    let entries = [typed(&good), typed(&bad), typed(&gone)];
    let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    let list = Content::new(media_type::OCI_INDEX, sorted_json(&document));
    place(&server, "a", Some(&subject.digest().referrers_tag()), &list);
    let found = repository(&server, "a").referrers(subject.digest(), Some(KIND)).await.unwrap();
    assert_eq!(digests(&found), of(&[good]));
}

#[tokio::test]
async fn overwritten_lists_are_merged_again() {
    let server = server(no_api()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let tag = subject.digest().referrers_tag();
    server.lose(LostUpdate::new("a", &tag, Nth::First(3), 0));
    let repo = repository(&server, "a");
    let all = hang(&repo, &subject, 3).await;
    assert_eq!(server.overwrites(), 3);
    assert_eq!(digests(&repo.referrers(subject.digest(), None).await.unwrap()), of(&all));
    // Overwritten for ever: reported, not believed.
    server.lose(LostUpdate::new("a", &tag, Nth::Every, 0));
    let one = referrer(KIND, "late", subject.descriptor());
    repo.push_manifest(&one, None).await.unwrap();
    repo.index_referrers(subject.descriptor(), &[one]).await.unwrap();
    let e = repo.flush().await.unwrap_err();
    assert!(matches!(e.failure, Failure::Lost(_)), "{e}");
    assert!(repo.flush().await.is_err(), "who asks again is not told that all is well");
}

#[tokio::test]
async fn writers_of_one_process_do_not_overwrite_each_other() {
    let server = server(no_api()).await;
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let hosts = bulla::store::registry::Hosts::new(crate::servers::config());
    let all: Vec<Content> = (0..32).map(|i| referrer(KIND, &format!("r{i}"), subject.descriptor())).collect();
    let writes = all.iter().map(|r| {
        let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
        let subject = subject.descriptor();
        async move {
            repo.push_manifest(r, None).await.unwrap();
            repo.index_referrers(subject, std::slice::from_ref(r)).await.unwrap();
            repo.flush().await.unwrap();
        }
    });
    join_all(writes).await;
    let found = repository(&server, "a").referrers(subject.digest(), None).await.unwrap();
    assert_eq!(digests(&found), of(&all));
}

#[tokio::test]
async fn a_referrer_of_something_else_is_not_listed() {
    let server = server(Quirks::default()).await;
    let (subject, other) = (artifact("a/b", "subject"), artifact("a/b", "other"));
    let stray = Packer::new(KIND).subject(other.descriptor()).build();
    let e = repository(&server, "a").index_referrers(subject.descriptor(), &[stray]).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Protocol(_)), "{e}");
    assert_eq!(server.requests().len(), 0);
    let tag = Selector::Tag("v1".parse().unwrap());
    assert_eq!(repository(&server, "a").resolve(&tag).await, Ok(None));
}
