//! Lists of referrers at a tag: several writers, conditions, squatters, mirrors, damaged entries.

use std::sync::Arc;
use std::time::Duration;

use bulla::oci::{Content, Descriptor, Digest, media_type, sorted_json};
use bulla::store::registry::{Hosts, Notice, Registry, RegistryConfig, RetryPolicy};
use bulla::store::{Failure, Manage, Store};
use futures::future::join_all;
use serde_json::json;

use crate::registry::{Action, Config, Fault, Nth, Quirks, Registry as Server};
use crate::servers::{artifact, config, place, referrer, repository, repository_with};

const KIND: &str = "application/vnd.example.sig";

fn no_api() -> Quirks {
    Quirks { no_referrers_api: true, ..Quirks::default() }
}
/// A registry with a subject, and the tag of the list of its referrers.
async fn server(quirks: Quirks) -> (Arc<Server>, Content, String) {
    let server = Server::start(Config { quirks, ..Config::default() }).await;
    server.put_blob("a", "{}");
    let subject = artifact("a/b", "subject");
    place(&server, "a", Some("v1"), &subject);
    let tag = subject.digest().referrers_tag();
    (Arc::new(server), subject, tag)
}
/// A repository of a process of its own, which waits so long for slower writers.
fn writer(server: &Server, settle: u64) -> Registry {
    let retry = RetryPolicy { settle: Duration::from_millis(settle), ..RetryPolicy::without_delay() };
    repository_with(server, "a", RegistryConfig { retry, ..config() })
}
async fn add(repo: &Registry, subject: &Content, word: &str) -> Result<Digest, Failure> {
    let one = referrer(KIND, word, subject.descriptor());
    repo.push_manifest(&one, None).await.map_err(|e| e.failure)?;
    repo.index_referrers(subject.descriptor(), std::slice::from_ref(&one)).await.map_err(|e| e.failure)?;
    repo.flush().await.map_err(|e| e.failure)?;
    Ok(one.digest().clone())
}
async fn listed(server: &Server, subject: &Content) -> Vec<Digest> {
    let found = repository(server, "a").referrers(subject.digest(), None).await.unwrap();
    let mut all: Vec<Digest> = found.into_iter().map(|d| d.digest).collect();
    all.sort();
    all
}
fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort();
    digests
}
fn list_of(entries: &[Descriptor]) -> Content {
    let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    Content::new(media_type::OCI_INDEX, sorted_json(&document))
}

/// Two read one list; the PUT of the first takes effect after that of the second, and within its window.
async fn one_overtakes_another(
    server: &Server,
    subject: &Content,
    put: &str,
) -> (Result<Digest, Failure>, Result<Digest, Failure>) {
    let gate = server.hold("PUT", put, Nth::Only(1));
    let (slow, quick) = (writer(server, 1500), writer(server, 1500));
    let second = async {
        gate.arrived().await;
        add(&quick, subject, "quick").await
    };
    let release = async {
        let written = |r: &crate::registry::Request| r.is("PUT", put) && r.status == Some(201);
        while !server.requests().iter().any(written) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gate.open();
    };
    let (first, second, ()) = tokio::join!(add(&slow, subject, "slow"), second, release);
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_that_write_one_list_lose_nothing() {
    for round in 0..3 {
        let (server, subject, tag) = server(no_api()).await;
        let writers = (0..8).map(|w| {
            let (server, subject) = (server.clone(), subject.clone());
            tokio::spawn(async move {
                let mut own = Vec::new();
                for i in 0..4 {
                    // Each as a process of its own: nothing is shared, not even what the one before has learnt.
                    own.push(add(&writer(&server, 60), &subject, &format!("{w}-{i}")).await.unwrap());
                }
                own
            })
        });
        let all: Vec<Digest> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(listed(&server, &subject).await, sorted(all), "round {round}");
        let writes = server.count("PUT", &format!("*/{tag}"));
        assert!(writes > 32, "nobody was overwritten ({writes} writes): the round shows nothing");
    }
}

#[tokio::test]
async fn a_list_that_was_read_too_long_ago_is_read_anew() {
    let (server, subject, tag) = server(no_api()).await;
    // The slow one sees the empty list, and gets the answer when the quick one has ended long ago.
    let gate = server.hold_answer("GET", &format!("*/manifests/{tag}"), Nth::Only(1));
    let (slow, quick) = (writer(&server, 100), writer(&server, 100));
    let first = add(&slow, &subject, "slow");
    let second = async {
        gate.arrived().await;
        let digest = add(&quick, &subject, "quick").await;
        gate.open();
        digest
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(listed(&server, &subject).await, sorted(vec![first.unwrap(), second.unwrap()]));
    assert_eq!(server.count("PUT", &format!("*/{tag}")), 2, "nobody overwrote anybody:\n{}", server.log());
}

#[tokio::test]
async fn a_write_that_is_put_off_reads_anew() {
    let (server, subject, tag) = server(no_api()).await;
    let put = format!("*/manifests/{tag}");
    server.fault(Fault::on("PUT", &put).nth(Nth::Only(1)).too_many("1"));
    let retry = RetryPolicy { settle: Duration::from_millis(100), ..RetryPolicy::default() };
    let slow = repository_with(&server, "a", RegistryConfig { retry, ..config() });
    let quick = writer(&server, 100);
    let second = async {
        while server.count("PUT", &put) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        add(&quick, &subject, "quick").await
    };
    let (first, second) = tokio::join!(add(&slow, &subject, "slow"), second);
    assert_eq!(listed(&server, &subject).await, sorted(vec![first.unwrap(), second.unwrap()]));
    // Refused, the quick one's, and the slow one's of a list that it read after its wait.
    assert_eq!(server.count("PUT", &put), 3, "{}", server.log());
}

#[tokio::test]
async fn a_writer_waits_for_one_that_is_slow_to_write() {
    let (server, subject, tag) = server(no_api()).await;
    let put = format!("*/manifests/{tag}");
    let (first, second) = one_overtakes_another(&server, &subject, &put).await;
    assert_eq!(listed(&server, &subject).await, sorted(vec![first.unwrap(), second.unwrap()]));
    assert_eq!(server.count("PUT", &put), 3, "the quick one was overwritten, and noticed:\n{}", server.log());
}

#[tokio::test]
async fn a_batch_is_one_write_and_one_wait_however_many_subjects() {
    let (server, _, _) = server(no_api()).await;
    let repo = writer(&server, 200);
    let subjects: Vec<Content> = (0..20).map(|i| artifact("a/b", &format!("s{i}"))).collect();
    for subject in &subjects {
        place(&server, "a", None, subject);
        for word in ["x", "y"] {
            repo.push_manifest(&referrer(KIND, word, subject.descriptor()), None).await.unwrap();
        }
    }
    server.clear();
    let before = std::time::Instant::now();
    for subject in &subjects {
        let both = ["x", "y"].map(|word| referrer(KIND, word, subject.descriptor()));
        repo.index_referrers(subject.descriptor(), &both).await.unwrap();
    }
    repo.flush().await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert!(before.elapsed() >= Duration::from_millis(200));
    // One look for an API, and for each subject two looks at nothing, a PUT and a read back.
    assert_eq!((server.requests().len(), server.count("PUT", "*")), (1 + 4 * 20, 20), "{}", server.log());
    server.clear();
    repo.flush().await.unwrap();
    assert_eq!(server.requests().len(), 0, "nothing is open");
}

#[tokio::test]
async fn conditions_are_used_where_a_registry_names_manifests_by_etag() {
    let (server, subject, tag) = server(Quirks { etags: true, ..no_api() }).await;
    let put = format!("*/manifests/{tag}");
    let zero = add(&writer(&server, 50), &subject, "zero").await.unwrap();
    server.clear();
    let (first, second) = one_overtakes_another(&server, &subject, &put).await;
    assert_eq!(listed(&server, &subject).await, sorted(vec![zero, first.unwrap(), second.unwrap()]));
    let refused = server.requests().iter().filter(|r| r.status == Some(412)).count();
    assert_eq!((refused, server.count("PUT", &put)), (1, 3), "refused, not overwritten:\n{}", server.log());

    // A registry that refuses every condition is written to without one.
    let (server, subject, tag) = self::server(Quirks { etags: true, ..no_api() }).await;
    place(&server, "a", Some(&tag), &list_of(&[]));
    server.fault(Fault::on("PUT", &format!("*/manifests/{tag}")).nth(Nth::Only(1)).status(412));
    add(&writer(&server, 0), &subject, "x").await.unwrap();
    assert_eq!(server.count("PUT", &format!("*/manifests/{tag}")), 2, "{}", server.log());
}

/// What is told of a squatter that the list has replaced.
fn taken(server: &Server, subject: &Content) -> Notice {
    let (place, named) = (format!("{}/a", server.host()), subject.digest().clone());
    Notice::TagTaken { place, tag: named.referrers_tag().parse().unwrap(), named }
}

#[tokio::test]
async fn what_cosign_copy_leaves_at_the_tag_is_replaced_and_told_and_gitlabs_alias_is_silent() {
    for squatter in [true, false] {
        let (server, subject, tag) = server(Quirks { gitlab_alias: !squatter, ..no_api() }).await;
        if squatter {
            place(&server, "a", Some(&tag), &subject);
        }
        let hosts = Hosts::new(config());
        let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
        assert_eq!(repo.referrers(subject.digest(), None).await, Ok(vec![]), "no list");
        assert_eq!(hosts.notices().take(), [], "reading changes nothing");
        let one = add(&repo, &subject, "one").await.unwrap();
        assert_eq!(listed(&server, &subject).await, [one]);
        let told = hosts.notices().take();
        if squatter {
            assert_eq!(told, [taken(&server, &subject)]);
        } else {
            assert_eq!(told, []);
        }
        // What the tag named is where its name says.
        assert!(server.manifest("a", &subject.digest().to_string()).is_some());
        add(&repo, &subject, "two").await.unwrap();
        assert_eq!(hosts.notices().take(), [], "told once");
    }
}

#[tokio::test]
async fn a_squatter_that_one_list_of_tags_lacks_is_told() {
    let (server, subject, tag) = server(no_api()).await;
    place(&server, "a", Some(&tag), &subject);
    let empty = Action::Answer {
        status: 200,
        content_type: "application/json".into(),
        body: r#"{"name":"a","tags":[]}"#.into(),
    };
    server.fault(Fault::on("GET", "*/tags/list*").nth(Nth::Only(1)).action(empty));
    let hosts = Hosts::new(config());
    let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
    add(&repo, &subject, "one").await.unwrap();
    assert_eq!(hosts.notices().take(), [taken(&server, &subject)]);
}

#[tokio::test]
async fn one_wrong_answer_that_nothing_is_at_the_tag_loses_nothing() {
    for nth in 1..=4 {
        let (server, subject, tag) = server(no_api()).await;
        let theirs = add(&repository(&server, "a"), &subject, "theirs").await.unwrap();
        let wrong = Fault::on("GET", &format!("*/manifests/{tag}")).nth(Nth::Only(nth)).status(404);
        server.fault(wrong.clone());
        let ours = add(&repository(&server, "a"), &subject, "ours").await.unwrap();
        server.behave();
        assert_eq!(listed(&server, &subject).await, sorted(vec![theirs.clone(), ours.clone()]), "read {nth}");
        // The same while the list is mended.
        server.fault(wrong);
        let repo = repository(&server, "a");
        let more = referrer(KIND, "more", subject.descriptor());
        repo.push_manifest(&more, None).await.unwrap();
        repo.mend_referrers(subject.descriptor(), std::slice::from_ref(&more)).await.unwrap();
        repo.flush().await.unwrap();
        server.behave();
        assert_eq!(listed(&server, &subject).await, sorted(vec![theirs, ours, more.digest().clone()]));
    }
}

#[tokio::test]
async fn an_entry_whose_manifest_was_not_found_once_stays_listed() {
    let (server, subject, _) = server(no_api()).await;
    let theirs = add(&repository(&server, "a"), &subject, "theirs").await.unwrap();
    let wrong = Fault::on("GET", &format!("*/manifests/{theirs}")).nth(Nth::Only(1)).status(404);
    server.fault(wrong.clone());
    assert_eq!(listed(&server, &subject).await, std::slice::from_ref(&theirs));
    server.behave();
    server.fault(wrong);
    let repo = repository(&server, "a");
    assert_eq!(repo.mend_referrers(subject.descriptor(), &[]).await, Ok(vec![]));
    assert_eq!(server.count("GET", &format!("*/manifests/{theirs}")), 4, "{}", server.log());
    server.behave();
    assert_eq!(listed(&server, &subject).await, [theirs]);
}

#[tokio::test]
async fn a_squatter_that_mending_replaces_is_told_and_one_that_cannot_be_told_from_an_alias_stays() {
    for squatter in [true, false] {
        let (server, subject, tag) = server(Quirks { gitlab_alias: !squatter, ..no_api() }).await;
        if squatter {
            place(&server, "a", Some(&tag), &subject);
        }
        let one = referrer(KIND, "one", subject.descriptor());
        let mend = async |hosts: &Hosts| {
            let repo = hosts.repository(&format!("{}/a", server.host()).parse().unwrap());
            repo.push_manifest(&one, None).await.unwrap();
            repo.mend_referrers(subject.descriptor(), std::slice::from_ref(&one)).await?;
            repo.flush().await
        };
        server.fault(Fault::on("GET", "*/tags/list*").status(403));
        let e = mend(&Hosts::new(config())).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Denied(_)), "{e}");
        assert_eq!(server.count("PUT", &format!("*/manifests/{tag}")), 0);
        server.behave();
        let hosts = Hosts::new(config());
        mend(&hosts).await.unwrap();
        assert_eq!(listed(&server, &subject).await, [one.digest().clone()]);
        let told = hosts.notices().take();
        if squatter {
            assert_eq!(told, [taken(&server, &subject)]);
        } else {
            assert_eq!(told, []);
        }
    }
}

#[tokio::test]
async fn a_squatter_that_cannot_be_told_from_an_alias_is_not_overwritten() {
    let (server, subject, tag) = server(no_api()).await;
    place(&server, "a", Some(&tag), &subject);
    server.fault(Fault::on("GET", "*/tags/list*").status(403));
    let e = add(&repository(&server, "a"), &subject, "one").await.unwrap_err();
    assert!(matches!(e, Failure::Denied(_)), "{e}");
    assert_eq!(server.manifest("a", &tag).unwrap().0, subject.digest().to_string());
}

#[tokio::test]
async fn a_pull_through_cache_is_read_by_the_tag_and_says_that_it_cannot_be_written() {
    let (server, subject, _) = server(no_api()).await;
    let one = add(&repository(&server, "a"), &subject, "one").await.unwrap();
    server.quirks(|q| q.read_only = true);
    assert_eq!(listed(&server, &subject).await, [one]);
    let late = referrer(KIND, "late", subject.descriptor());
    place(&server, "a", None, &late);
    let e = repository(&server, "a").index_referrers(subject.descriptor(), &[late]).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Refused { status: 405, .. }), "{e}");
}

#[tokio::test]
async fn an_api_that_comes_is_used_by_the_next_run_and_one_that_goes_is_an_error() {
    let (server, subject, tag) = server(Quirks::default()).await;
    let repo = repository(&server, "a");
    let one = add(&repo, &subject, "one").await.unwrap();
    server.quirks(|q| q.no_referrers_api = true);
    let e = repo.referrers(subject.digest(), None).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Protocol(t) if t.contains("answered before")), "{e}");
    assert!(add(&repo, &subject, "two").await.is_err(), "no list at a tag beside the API's");
    assert!(server.tags("a").iter().all(|(name, _)| *name != tag));

    let other = repository(&server, "a");
    assert_eq!(other.referrers(subject.digest(), None).await, Ok(vec![]));
    server.quirks(|q| q.no_referrers_api = false);
    let two = referrer(KIND, "two", subject.descriptor());
    assert_eq!(listed(&server, &subject).await, sorted(vec![one, two.digest().clone()]));
}

#[tokio::test]
async fn a_damaged_referrer_stays_listed_and_hides_no_other() {
    for quirks in [no_api(), Quirks { entries_without_type: true, ..Quirks::default() }] {
        let (server, subject, _) = server(quirks.clone()).await;
        let repo = repository(&server, "a");
        let mut all = Vec::new();
        for word in ["sound", "other bytes", "no manifest", "huge"] {
            all.push(add(&repo, &subject, word).await.unwrap());
        }
        let damage = |digest: &Digest, bytes: String| {
            let (content_type, body) = (media_type::OCI_MANIFEST.to_owned(), bytes.into());
            let answer = Action::Answer { status: 200, content_type, body };
            server.fault(Fault::on("GET", &format!("*/manifests/{digest}")).action(answer));
        };
        damage(&all[1], "{}".into());
        damage(&all[2], "[1,2]".into());
        damage(&all[3], " ".repeat(5 * 1024 * 1024));
        assert_eq!(listed(&server, &subject).await, sorted(all.clone()), "{quirks:?}");
        let typed = repository(&server, "a").referrers(subject.digest(), Some(KIND)).await.unwrap();
        assert!(typed.iter().any(|d| d.digest == all[0]), "{quirks:?}");
        // Who needs a damaged one is told.
        let damaged = bulla::oci::Selector::Digest(all[1].clone());
        let e = repository(&server, "a").resolve(&damaged).await.unwrap_err();
        assert!(e.is_the_items_own(), "{e}");
        // A registry that fails is another matter: nothing is known then.
        server.fault(Fault::on("GET", &format!("*/manifests/{}", all[0])).status(500));
        let e = repository(&server, "a").referrers(subject.digest(), None).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Server { .. }), "{e}");
    }
}
