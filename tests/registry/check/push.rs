//! Writing: uploads in all their forms, manifests, deletion.

use super::super::registry::{LostUpdate, Nth, sha256};
use super::{Bench, IMAGE, INDEX};

async fn open(bench: &Bench, query: &str) -> super::Answer {
    bench.send("POST", &format!("/v2/a/b/blobs/uploads/{query}"), &[], b"").await
}

fn close(answer: &super::Answer, digest: &str) -> String {
    format!("{}&digest={digest}", answer.header("location").unwrap())
}

#[tokio::test]
async fn a_blob_is_pushed_by_post_and_put_and_by_one_post() {
    let bench = Bench::new().await;
    let digest = sha256(b"hello");
    let session = open(&bench, "").await;
    assert_eq!(session.status, 202);
    let done = bench.send("PUT", &close(&session, &digest), &[], b"hello").await;
    assert_eq!((done.status, done.header("docker-content-digest")), (201, Some(&*digest)));
    assert_eq!(bench.registry.blob("a/b", &digest).unwrap(), "hello");

    let digest = sha256(b"again");
    let done = bench.send("POST", &format!("/v2/a/b/blobs/uploads/?digest={digest}"), &[], b"again").await;
    assert_eq!(done.status, 201);
    let wrong = bench.send("POST", &format!("/v2/a/b/blobs/uploads/?digest={digest}"), &[], b"other").await;
    assert_eq!(wrong.refusal(), (400, "DIGEST_INVALID".into()));
    bench.quirks("no-single-post,no-empty");
    let answer = bench.send("POST", &format!("/v2/a/b/blobs/uploads/?digest={digest}"), &[], b"again").await;
    assert_eq!(answer.status, 202);
    let empty = bench.send("PUT", &close(&answer, &sha256(b"")), &[], b"").await;
    assert_eq!(empty.refusal(), (400, "SIZE_INVALID".into()));
    bench.quirks("wrong-digest-accepted");
    let session = open(&bench, "").await;
    assert_eq!(bench.send("PUT", &close(&session, &sha256(b"x")), &[], b"y").await.status, 201);
    assert_eq!(bench.registry.blob("a/b", &sha256(b"x")).unwrap(), "y");
}

#[tokio::test]
async fn upload_locations_take_each_form_and_only_the_latest_counts() {
    let bench = Bench::new().await;
    for (form, start) in [
        ("relative", "/v2/".to_owned()),
        ("absolute", bench.registry.url()),
        ("foreign", format!("http://{}", bench.registry.second_host())),
    ] {
        bench.quirks(&format!("upload-location={form}"));
        let session = open(&bench, "").await;
        let first = session.header("location").unwrap().to_owned();
        assert!(first.starts_with(&start), "{form}: {first}");
        let chunk = bench.send("PATCH", &first, &[("content-range", "0-2")], b"abc").await;
        assert_eq!((chunk.status, chunk.header("range")), (202, Some("0-2")));
        let digest = sha256(b"abcdef");
        let late = bench.send("PUT", &format!("{first}&digest={digest}"), &[], b"def").await;
        assert_eq!(late.refusal(), (400, "BLOB_UPLOAD_INVALID".into()));
        let done = bench.send("PUT", &close(&chunk, &digest), &[("content-range", "3-5")], b"def").await;
        assert_eq!(done.status, 201);
    }
    let session = open(&bench, "").await;
    let path = close(&session, &sha256(b"x"));
    let leaked = bench.send("PUT", &path, &[("authorization", "Basic eA==")], b"x").await;
    assert_eq!(leaked.status, 400, "credentials sent to the foreign host");
}

#[tokio::test]
async fn chunks_come_in_order_with_floor_and_ceiling() {
    let bench = Bench::new().await;
    bench.quirks("chunk-min=3,chunk-max=5");
    let session = open(&bench, "").await;
    assert_eq!(session.header("oci-chunk-min-length"), Some("3"));
    let at = |a: &super::Answer| a.header("location").unwrap().to_owned();
    let gap = bench.send("PATCH", &at(&session), &[("content-range", "2-4")], b"abc").await;
    assert_eq!(gap.status, 416);
    let long = bench.send("PATCH", &at(&session), &[("content-range", "0-5")], b"abcdef").await;
    assert_eq!(long.refusal(), (413, "SIZE_INVALID".into()));
    let lie = bench.send("PATCH", &at(&session), &[("content-range", "0-3")], b"abc").await;
    assert_eq!(lie.status, 416);
    let first = bench.send("PATCH", &at(&session), &[("content-range", "0-2")], b"abc").await;
    let status = bench.get(&at(&first)).await;
    assert_eq!((status.status, status.header("range")), (204, Some("0-2")));
    let short = bench.send("PATCH", &at(&first), &[("content-range", "3-3")], b"d").await;
    assert_eq!(short.status, 202);
    let more = bench.send("PATCH", &at(&short), &[("content-range", "4-6")], b"efg").await;
    assert_eq!(more.status, 416, "a chunk below the floor must be the last");
    let done = bench.send("PUT", &close(&short, &sha256(b"abcd")), &[], b"").await;
    assert_eq!(done.status, 201);

    bench.quirks("chunk-keeps=2");
    let session = open(&bench, "").await;
    let kept = bench.send("PATCH", &at(&session), &[("content-range", "0-3")], b"abcd").await;
    assert_eq!(kept.header("range"), Some("0-1"));
    bench.quirks("no-chunks");
    let session = open(&bench, "").await;
    assert_eq!(bench.send("PATCH", &at(&session), &[], b"x").await.status, 405);
    assert_eq!(bench.send("DELETE", &at(&session), &[], b"").await.status, 204);
    let gone = bench.get(&at(&session)).await;
    assert_eq!(gone.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
    bench.quirks("length-required");
    let bare = bench.http.post(format!("{}/v2/a/b/blobs/uploads/", bench.registry.url()));
    assert_eq!(bare.send().await.unwrap().status(), 411);
}

#[tokio::test]
async fn blobs_are_mounted_or_not() {
    let bench = Bench::new().await;
    let digest = bench.registry.put_blob("src", "shared");
    let mount = format!("?mount={digest}&from=src");
    assert_eq!(open(&bench, &mount).await.status, 201);
    assert!(bench.registry.blob("a/b", &digest).is_some());
    assert_eq!(open(&bench, &format!("?mount={}&from=src", sha256(b"no"))).await.status, 202);
    let anonymous = format!("?mount={}", bench.registry.put_blob("src", "other"));
    assert_eq!(open(&bench, &anonymous).await.status, 202);
    bench.quirks("mount-anonymous");
    assert_eq!(open(&bench, &anonymous).await.status, 201);
    bench.quirks("no-mount");
    assert_eq!(open(&bench, &mount).await.status, 202);
    bench.quirks("mount-status=405");
    assert_eq!(open(&bench, &mount).await.status, 405);
}

#[tokio::test]
async fn manifests_are_checked() {
    let bench = Bench::new().await;
    let bytes = bench.manifest("a/b", "word", None);
    let digest = sha256(&bytes);
    let put = async |reference: &str, media_type: &str, bytes: &[u8]| {
        bench.put(&format!("/v2/a/b/manifests/{reference}"), media_type, bytes).await
    };
    let done = put("v1", IMAGE, &bytes).await;
    assert_eq!((done.status, done.header("docker-content-digest")), (201, Some(&*digest)));
    assert_eq!(done.header("location"), Some(&*format!("/v2/a/b/manifests/{digest}")));
    assert_eq!(put("v1", INDEX, &bytes).await.refusal(), (400, "MANIFEST_INVALID".into()));
    assert_eq!(put("v1", "text/plain", &bytes).await.refusal(), (400, "MANIFEST_INVALID".into()));
    assert_eq!(put(&sha256(b""), IMAGE, &bytes).await.refusal(), (400, "DIGEST_INVALID".into()));
    assert_eq!(put("v1", IMAGE, b"{").await.refusal(), (400, "MANIFEST_INVALID".into()));
    let text = String::from_utf8(bytes.clone()).unwrap();
    let sparse = text.replace(&sha256(b"word"), &sha256(b"none"));
    assert_eq!(put("v1", IMAGE, sparse.as_bytes()).await.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    let resized = text.replace("\"size\":4", "\"size\":5");
    assert_eq!(put("v1", IMAGE, resized.as_bytes()).await.refusal(), (400, "MANIFEST_INVALID".into()));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{IMAGE}","digest":"{}","size":9}}]}}"#,
        sha256(b"none")
    );
    assert_eq!(put("v1", INDEX, index.as_bytes()).await.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".into()));

    bench.quirks("sparse-ok,no-location,wrong-digest-accepted");
    let done = put("v2", IMAGE, sparse.as_bytes()).await;
    assert_eq!((done.status, done.header("location")), (201, None));
    assert_eq!(put(&sha256(b""), IMAGE, &bytes).await.status, 201);
    assert_eq!(&bench.get(&format!("/v2/a/b/manifests/{}", sha256(b""))).await.body[..], &bytes[..]);
    bench.quirks("manifest-limit=10");
    assert_eq!(put("v1", IMAGE, &bytes).await.refusal(), (413, "SIZE_INVALID".into()));
    bench.quirks("manifest-limit=10,limit-is-invalid");
    assert_eq!(put("v1", IMAGE, &bytes).await.refusal(), (400, "MANIFEST_INVALID".into()));
    bench.quirks("read-only");
    assert_eq!(put("v1", IMAGE, &bytes).await.refusal(), (405, "UNSUPPORTED".into()));
}

#[tokio::test]
async fn tags_can_be_immutable_and_conditional() {
    let bench = Bench::new().await;
    let (first, bytes) = bench.image("a/b", Some("v1"), "one");
    let other = bench.manifest("a/b", "two", None);
    bench.quirks("immutable-tags=v*");
    assert_eq!(bench.put("/v2/a/b/manifests/v1", IMAGE, &bytes).await.status, 201);
    assert_eq!(bench.put("/v2/a/b/manifests/v1", IMAGE, &other).await.refusal(), (400, "TAG_INVALID".into()));
    assert_eq!(bench.put("/v2/a/b/manifests/w1", IMAGE, &other).await.status, 201);
    assert_eq!(bench.put("/v2/a/b/manifests/w1", IMAGE, &bytes).await.status, 201);

    bench.quirks("etags");
    let etag = format!("\"{first}\"");
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.header("etag"), Some(&*etag));
    for (name, value, status) in [
        ("if-match", "\"other\"", 412),
        ("if-none-match", "*", 412),
        ("if-match", &etag, 201),
        ("if-match", &etag, 412),
    ] {
        let headers = [("content-type", IMAGE), (name, value)];
        let answer = bench.send("PUT", "/v2/a/b/manifests/v1", &headers, &other).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn updates_are_lost_at_once_or_after_the_read_back() {
    let bench = Bench::new().await;
    let (old, _) = bench.image("a/b", Some("v1"), "old");
    let bytes = bench.manifest("a/b", "new", None);
    let new = sha256(&bytes);
    let put = async || assert_eq!(bench.put("/v2/a/b/manifests/v1", IMAGE, &bytes).await.status, 201);
    let read =
        async || bench.get("/v2/a/b/manifests/v1").await.header("docker-content-digest").unwrap().to_owned();
    bench.registry.lose("a/b v1 2 1".parse().unwrap());
    put().await;
    assert_eq!([read().await, read().await], [&*new, &*new], "the first PUT is not meant");
    bench.registry.set_tag("a/b", "v1", Some(&old));
    put().await;
    assert_eq!([read().await, read().await], [&*new, &*old], "lost after the read-back");
    put().await;
    assert_eq!([read().await, read().await], [&*new, &*new]);
    assert_eq!(bench.registry.overwrites(), 1);

    bench.registry.behave();
    bench.registry.lose(LostUpdate::new("*", "*", Nth::First(1), 0));
    bench.registry.set_tag("a/b", "v1", None);
    put().await;
    assert_eq!(bench.get("/v2/a/b/manifests/v1").await.status, 404, "there was no value before");
}

#[tokio::test]
async fn deletion_works_and_can_be_off() {
    let bench = Bench::new().await;
    let (digest, _) = bench.image("a/b", Some("v1"), "one");
    let delete = async |path: &str| bench.send("DELETE", &format!("/v2/a/b/{path}"), &[], b"").await;
    bench.quirks("deletion-disabled");
    assert_eq!(delete("manifests/v1").await.refusal(), (405, "UNSUPPORTED".into()));
    assert_eq!(delete(&format!("blobs/{}", sha256(b"one"))).await.refusal(), (405, "UNSUPPORTED".into()));
    bench.quirks("tag-deletion-unsupported");
    assert_eq!(delete("manifests/v1").await.refusal(), (400, "DIGEST_INVALID".into()));
    bench.quirks("");
    assert_eq!(delete("manifests/v1").await.status, 202);
    assert_eq!(delete("manifests/v1").await.refusal(), (404, "MANIFEST_UNKNOWN".into()));
    assert_eq!(delete(&format!("manifests/{digest}")).await.status, 202);
    assert_eq!(delete(&format!("blobs/{}", sha256(b"one"))).await.status, 202);
    assert!(bench.registry.manifest("a/b", &digest).is_none());
}

#[tokio::test]
async fn a_broken_repository_is_told_from_a_sound_one() {
    let bench = Bench::new().await;
    let (digest, _) = bench.image("a/b", Some("v1"), "one");
    bench.refer("a/b", &digest, "sig-1").await;
    assert_eq!(bench.registry.broken("a/b"), Vec::<String>::new());
    bench.registry.set_tag("a/b", "v2", Some(&sha256(b"none")));
    bench.registry.tamper("a/b", &sha256(b"{}"), "[]");
    bench.registry.store(|s| s.repo("a/b").blobs.remove(&sha256(b"one")));
    assert_eq!(
        bench.registry.broken("a/b"),
        [
            format!("tag v2 names {}, which is missing", sha256(b"none")),
            format!("manifest {digest} names \"{}\", which is missing", sha256(b"one")),
            format!("blob {} holds other bytes", sha256(b"{}")),
        ]
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}"}}]}}"#, sha256(b"child"));
    bench.registry.put_manifest("c", None, INDEX, index);
    assert_eq!(bench.registry.broken("c").len(), 1);
}

#[tokio::test]
async fn large_puts_and_crowds_are_refused_where_told_so() {
    let bench = Bench::new().await;
    bench.quirks("put-max=3");
    let session = open(&bench, "").await;
    let refused = bench.send("PUT", &close(&session, &sha256(b"hello")), &[], b"hello").await;
    assert_eq!(refused.refusal(), (413, "SIZE_INVALID".into()));
    let done = bench.send("PUT", &close(&session, &sha256(b"abc")), &[], b"abc").await;
    assert_eq!(done.status, 201);
    bench.quirks("in-flight-max=0");
    let refused = bench.send("GET", "/v2/", &[], b"").await;
    assert_eq!(refused.refusal(), (429, "TOOMANYREQUESTS".into()));
    assert_eq!(refused.header("retry-after"), Some("0"));
    assert!(bench.registry.peak("*", "*") >= 1);
}
