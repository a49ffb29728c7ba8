//! Reading: manifests, blobs, tags, referrers, and what the quirks make of them.

use super::super::registry::{Nth, Pin, sha256};
use super::{Bench, INDEX};

#[tokio::test]
async fn manifests_come_byte_for_byte_by_tag_and_digest() {
    let bench = Bench::new().await;
    let (digest, bytes) = bench.image("a/b", Some("v1"), "one");
    for reference in ["v1", &digest] {
        let answer = bench.get(&format!("/v2/a/b/manifests/{reference}")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &bytes[..]));
        assert_eq!(answer.header("docker-content-digest"), Some(&*digest));
        assert_eq!(answer.header("content-type"), Some(super::IMAGE));
        let head = bench.send("HEAD", &format!("/v2/a/b/manifests/{reference}"), &[], b"").await;
        assert_eq!(head.header("content-length"), Some(&*bytes.len().to_string()));
        assert!(head.body.is_empty());
    }
    assert_eq!(bench.get("/v2/a/b/manifests/v2").await.refusal(), (404, "MANIFEST_UNKNOWN".into()));
    assert_eq!(bench.get("/v2/a/c/manifests/v2").await.refusal(), (404, "NAME_UNKNOWN".into()));
    assert_eq!(bench.get("/v2/a/B/manifests/v2").await.refusal(), (400, "NAME_INVALID".into()));
    assert_eq!(bench.get("/v2/a/b/manifests/sha256:12").await.refusal(), (400, "DIGEST_INVALID".into()));
    assert_eq!(bench.get("/v2/a/b/manifests/.x").await.refusal(), (400, "TAG_INVALID".into()));

    bench.quirks("no-content-length");
    let answer = bench.get("/v2/a/b/manifests/v1").await;
    assert_eq!((answer.header("content-length"), &answer.body[..]), (None, &bytes[..]));
    let head = bench.send("HEAD", "/v2/a/b/manifests/v1", &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, None));
    bench.quirks("no-content-digest,missing-is-forbidden,accept-required");
    let answer = bench.send("GET", "/v2/a/b/manifests/v1", &[("accept", super::IMAGE)], b"").await;
    assert_eq!((answer.status, answer.header("docker-content-digest")), (200, None));
    assert_eq!(bench.get("/v2/a/b/manifests/v2").await.status, 403);
    let answer = bench.send("GET", "/v2/a/b/manifests/v1", &[("accept", INDEX)], b"").await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn blobs_come_whole_in_part_and_by_redirect() {
    let bench = Bench::new().await;
    let digest = bench.registry.put_blob("a/b", "0123456789");
    let path = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(&bench.get(&path).await.body[..], b"0123456789");
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=7-99", 206, "789"),
        ("bytes=10-", 416, ""),
    ] {
        let answer = bench.send("GET", &path, &[("range", range)], b"").await;
        assert_eq!((answer.status, &answer.body[..]), (status, body.as_bytes()), "{range}");
    }
    bench.quirks("range-ignored");
    assert_eq!(bench.send("GET", &path, &[("range", "bytes=2-4")], b"").await.status, 200);
    assert_eq!(bench.get(&path.replace("a/b", "a/c")).await.refusal(), (404, "BLOB_UNKNOWN".into()));
    bench.quirks("blobs-global");
    assert_eq!(bench.get(&path.replace("a/b", "a/c")).await.status, 200);

    bench.quirks("redirect-blobs");
    let answer = bench.get(&path).await;
    let to = answer.header("location").unwrap();
    assert!(answer.status == 307 && to.contains(&bench.registry.second_host()));
    assert_eq!(&bench.get(to).await.body[..], b"0123456789");
    // Credentials that follow the redirect are refused, as S3 refuses them.
    assert_eq!(bench.send("GET", to, &[("authorization", "Bearer x")], b"").await.status, 400);
    assert_eq!(bench.get(to.split('?').next().unwrap()).await.status, 403);
}

#[tokio::test]
async fn tags_are_paged_sorted_and_quirky() {
    let bench = Bench::new().await;
    for tag in ["c", "a", "B", "d"] {
        bench.image("a/b", Some(tag), tag);
    }
    let list = async |query: &str| bench.get(&format!("/v2/a/b/tags/list{query}")).await;
    assert_eq!(list("").await.json()["tags"], serde_json::json!(["B", "a", "c", "d"]));
    let page = list("?n=2").await;
    assert_eq!(page.json()["tags"], serde_json::json!(["B", "a"]));
    let page = bench.get(&page.next().unwrap()).await;
    assert_eq!((page.json()["tags"].clone(), page.next()), (serde_json::json!(["c", "d"]), None));
    assert_eq!(list("?n=0").await.json()["tags"], serde_json::json!([]));
    assert_eq!(list("?last=a").await.json()["tags"], serde_json::json!(["c", "d"]));
    assert_eq!(list("?n=x").await.status, 400);

    bench.quirks("tags-page=1,link=absolute");
    let next = list("?n=3").await.next().unwrap();
    assert!(next.starts_with(&bench.registry.url()), "{next}");
    bench.quirks("tags-unsorted");
    let all = list("?n=1&last=z").await.json()["tags"].clone();
    assert_eq!(all, serde_json::json!(["d", "c", "a", "B"]));
    bench.quirks("tags-null,tags-n-limit=2");
    assert!(list("").await.json()["tags"].is_null());
    bench.quirks("tags-n-limit=2");
    assert_eq!(list("?n=3").await.status, 400);
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let bench = Bench::new().await;
    let (subject, _) = bench.image("a/b", Some("v1"), "base");
    let mut digests = Vec::new();
    for word in ["sig-1", "sbom-1", "sig-2"] {
        let (digest, answer) = bench.refer("a/b", &subject, word).await;
        assert_eq!((answer.status, answer.header("oci-subject")), (201, Some(&*subject)));
        digests.push(digest);
    }
    let path = format!("/v2/a/b/referrers/{subject}");
    let all = bench.get(&path).await;
    assert_eq!((all.digests(), all.header("content-type")), (digests.clone(), Some(INDEX)));
    assert_eq!(all.json()["manifests"][0]["artifactType"], "application/vnd.test.sig+json");
    assert_eq!(all.json()["manifests"][0]["annotations"]["word"], "sig-1");

    // An unescaped `+` in a query is a blank, so that this filter matches nothing.
    let filter = "?artifactType=application/vnd.test.sig";
    assert!(bench.get(&format!("{path}{filter}+json")).await.digests().is_empty());
    let filtered = bench.get(&format!("{path}{filter}%2Bjson")).await;
    assert_eq!(filtered.digests(), [&*digests[0], &*digests[2]]);
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    bench.quirks("filter-ignored");
    let answer = bench.get(&format!("{path}{filter}%2Bjson")).await;
    assert_eq!((answer.digests().len(), answer.header("oci-filters-applied")), (3, None));
    bench.quirks("filter-claimed");
    let answer = bench.get(&format!("{path}{filter}%2Bjson")).await;
    assert_eq!((answer.digests().len(), answer.header("oci-filters-applied")), (3, Some("artifactType")));

    bench.quirks("referrers-page=2");
    let page = bench.get(&path).await;
    assert_eq!(page.digests(), digests[..2]);
    let page = bench.get(&page.next().unwrap()).await;
    assert_eq!((page.digests(), page.next()), (vec![digests[2].clone()], None));
    bench.quirks("referrers-page=1");
    let page = bench.get(&bench.get(&format!("{path}{filter}%2Bjson")).await.next().unwrap()).await;
    assert_eq!((page.digests(), page.next()), (vec![digests[2].clone()], None));
    bench.quirks("referrers-page=2,referrers-pages=loop");
    assert!(bench.get(&path).await.next().unwrap().ends_with("from=0"));
    bench.quirks("referrers-page=2,referrers-pages=endless");
    assert!(bench.get(&format!("{path}?from=100")).await.next().is_some());
    bench.quirks("referrers-page=2,referrers-pages=broken,link=foreign");
    let next = bench.get(&path).await.next().unwrap();
    assert!(next.contains(&bench.registry.second_host()));
    assert_eq!(
        bench.get(&next.replace(&bench.registry.second_host(), &bench.registry.host())).await.status,
        500
    );
}

#[tokio::test]
async fn referrers_can_be_missing_and_maimed() {
    let bench = Bench::new().await;
    let (subject, _) = bench.image("a/b", Some("v1"), "base");
    let path = format!("/v2/a/b/referrers/{subject}");
    bench.quirks("no-referrers-api");
    let (first, answer) = bench.refer("a/b", &subject, "sig-1").await;
    assert_eq!(answer.header("oci-subject"), None);
    let answer = bench.get(&path).await;
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("text/plain; charset=utf-8")));
    bench.quirks("referrers-html");
    let answer = bench.get(&path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    bench.quirks("referrers-name-unknown");
    let answer = bench.get(&path.replace("a/b", "none")).await;
    assert_eq!(answer.refusal(), (404, "NAME_UNKNOWN".into()));
    bench.quirks("");
    assert!(bench.get(&path.replace("a/b", "none")).await.digests().is_empty());

    bench.quirks("entries-without-type,entries-without-annotations");
    let entry = bench.get(&path).await.json()["manifests"][0].clone();
    assert!(entry.get("artifactType").is_none() && entry.get("annotations").is_none(), "{entry}");
    bench.quirks("entries-with-config-type");
    let entry = bench.get(&path).await.json()["manifests"][0].clone();
    assert_eq!(entry["artifactType"], "application/vnd.test.config");

    bench.quirks("no-referrers-api,subject-claimed");
    assert_eq!(bench.refer("a/b", &subject, "sig-1").await.1.header("oci-subject"), Some(&*subject));
    bench.quirks("subject-not-indexed");
    let (_, answer) = bench.refer("a/b", &subject, "sig-2").await;
    assert_eq!(answer.header("oci-subject"), Some(&*subject));
    assert_eq!(bench.get(&path).await.digests(), [&*first]);
    bench.quirks("no-oci-subject,referrers-lag=1");
    let (third, answer) = bench.refer("a/b", &subject, "sig-3").await;
    assert_eq!(answer.header("oci-subject"), None);
    assert_eq!(bench.get(&path).await.digests(), [&*first]);
    assert_eq!(bench.get(&path).await.digests(), [&*first, &*third]);
}

#[tokio::test]
async fn fallback_tags_are_written_folded_and_aliased() {
    let bench = Bench::new().await;
    let (subject, bytes) = bench.image("a/b", Some("v1"), "base");
    let tag = subject.replace(':', "-");
    bench.quirks("writes-fallback-tag");
    let (digest, _) = bench.refer("a/b", &subject, "sig-1").await;
    assert_eq!(bench.get(&format!("/v2/a/b/manifests/{tag}")).await.digests(), [&*digest]);

    let foreign = sha256(b"foreign");
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": super::IMAGE, "digest": foreign, "size": 3},
        {"mediaType": super::IMAGE, "digest": digest, "size": 3},
    ]});
    bench.registry.put_manifest("a/b", Some(&tag), INDEX, index.to_string());
    bench.quirks("fold-fallback-tag");
    let listed = bench.get(&format!("/v2/a/b/referrers/{subject}")).await.digests();
    assert_eq!(listed, [&*digest, &*foreign]);

    bench.registry.set_tag("a/b", &tag, None);
    assert_eq!(bench.get(&format!("/v2/a/b/manifests/{tag}")).await.status, 404);
    bench.quirks("gitlab-alias");
    assert_eq!(&bench.get(&format!("/v2/a/b/manifests/{tag}")).await.body[..], &bytes[..]);
}

#[tokio::test]
async fn tags_can_be_pinned_and_stale() {
    let bench = Bench::new().await;
    let (old, _) = bench.image("a/b", Some("v1"), "old");
    let (new, bytes) = bench.image("a/b", Some("v1"), "new");
    let read = async || {
        let answer = bench.get("/v2/a/b/manifests/v1").await;
        answer.header("docker-content-digest").map(str::to_owned)
    };
    bench.registry.pin(Pin::new("a/b", "v1", Some(&old), Nth::Only(2)));
    assert_eq!([read().await, read().await, read().await].map(Option::unwrap), [&*new, &*old, &*new]);
    bench.registry.behave();
    bench.registry.pin(Pin::new("a/b", "v1", None, Nth::Every));
    assert_eq!(read().await, None);
    bench.registry.behave();

    bench.registry.set_tag("a/b", "v1", Some(&old));
    bench.quirks("stale-reads=2");
    assert_eq!(bench.put("/v2/a/b/manifests/v1", super::IMAGE, &bytes).await.status, 201);
    assert_eq!([read().await, read().await, read().await].map(Option::unwrap), [&*old, &*old, &*new]);
}
