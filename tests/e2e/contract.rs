//! What every store must do, whatever it is. Run over memory, OCI layouts and the registry client.

use bulla::oci::{Content, Descriptor, Digest, Selector, media_type, sorted_json};
use bulla::store::{BytesSource, Failure, Manage, Replaced, checked, collect, fetch_small};
use serde_json::json;

use super::bundles::{blob, by_digest, by_tag, cnab, image, index, noise, refer, referrer, tag, two_arch};

/// The whole contract, on an empty store.
pub async fn all(store: &dyn Manage) {
    blobs_go_in_and_out(store).await;
    wrong_blobs_are_refused(store).await;
    manifests_and_tags(store).await;
    bytes_and_types_are_kept(store).await;
    nested_indexes(store).await;
    referrers_are_listed(store).await;
    many_referrers_in_one_call(store).await;
    nothing_there_is_no_error(store).await;
    tags_are_replaced_only_where_they_name_what_was_seen(store).await;
    deletion(store).await;
}

pub async fn blobs_go_in_and_out(store: &dyn Manage) {
    for len in [1, 256 * 1024, 3_000_000] {
        let bytes = noise("contract", len);
        let d = Descriptor::of("a/b", &bytes);
        assert!(!store.exists(&d).await.unwrap());
        store.push_blob(&d, &BytesSource(bytes.clone().into())).await.unwrap();
        store.push_blob(&d, &BytesSource(bytes.clone().into())).await.unwrap();
        assert!(store.exists(&d).await.unwrap());
        let read =
            collect(checked("here".into(), d.clone(), store.fetch(&d, 0).await.unwrap())).await.unwrap();
        assert!(read == bytes, "{len} bytes differ");
        let from = len as u64 / 2;
        let rest = collect(store.fetch(&d, from).await.unwrap()).await.unwrap();
        assert!(rest[..] == bytes[len / 2..], "{len} bytes differ from {from} on");
    }
    let d = blob(store, "a/b", "small").await;
    assert_eq!(&fetch_small(store, &d, 5).await.unwrap().bytes()[..], b"small");
    assert!(matches!(fetch_small(store, &d, 4).await.unwrap_err().failure, Failure::TooLarge { .. }));
}

pub async fn tags_are_replaced_only_where_they_name_what_was_seen(store: &dyn Manage) {
    let at = tag("replaced");
    let (one, two) = (image(store, "replace/1").await, image(store, "replace/2").await);
    let moved = |end| matches!(end, Replaced::Moved);
    assert!(moved(store.replace(&at, Some(one.digest()), &two).await.unwrap()), "there is none");
    assert!(!moved(store.replace(&at, None, &one).await.unwrap()));
    assert!(moved(store.replace(&at, None, &two).await.unwrap()), "there is one");
    assert!(moved(store.replace(&at, Some(two.digest()), &two).await.unwrap()), "it names another");
    store.flush().await.unwrap();
    assert_eq!(store.resolve(&by_tag("replaced")).await.unwrap().as_ref(), Some(&one));
    assert!(!moved(store.replace(&at, Some(one.digest()), &two).await.unwrap()));
    store.flush().await.unwrap();
    assert_eq!(store.resolve(&by_tag("replaced")).await.unwrap().as_ref(), Some(&two));
}

pub async fn wrong_blobs_are_refused(store: &dyn Manage) {
    let right = noise("right", 300_000);
    let mut wrong = right.clone();
    wrong[299_999] ^= 1;
    let (mut short, mut long) = (right.clone(), right.clone());
    short.pop();
    long.push(0);
    let d = Descriptor::of("a/b", &right);
    for bytes in [wrong, short, long, Vec::new()] {
        let n = bytes.len();
        assert!(store.push_blob(&d, &BytesSource(bytes.into())).await.is_err(), "{n} bytes");
        assert!(!store.exists(&d).await.unwrap(), "{n} bytes");
    }
    store.push_blob(&d, &BytesSource(right.into())).await.unwrap();
    assert!(store.exists(&d).await.unwrap());
}

pub async fn manifests_and_tags(store: &dyn Manage) {
    let (one, two) = (image(store, "tags/1").await, image(store, "tags/2").await);
    for content in [&one, &two] {
        assert_eq!(store.resolve(&by_digest(content)).await.unwrap().as_ref(), Some(content));
        assert!(store.exists(content.descriptor()).await.unwrap());
    }
    assert_eq!(store.resolve(&by_tag("t1")).await.unwrap(), None);
    store.push_manifest(&one, Some(&tag("t1"))).await.unwrap();
    store.push_manifest(&one, Some(&tag("t2"))).await.unwrap();
    assert_eq!(store.resolve(&by_tag("t1")).await.unwrap().as_ref(), Some(&one));
    store.push_manifest(&two, Some(&tag("t1"))).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.resolve(&by_tag("t1")).await.unwrap().as_ref(), Some(&two));
    assert_eq!(store.resolve(&by_tag("t2")).await.unwrap().as_ref(), Some(&one));
    // The digest decides, and what a tag left is still there by digest.
    let both = Selector::Both(tag("t1"), one.digest().clone());
    assert_eq!(store.resolve(&both).await.unwrap().as_ref(), Some(&one));
    assert!(store.exists(one.descriptor()).await.unwrap());
    let tags = store.tags(None).await.unwrap();
    assert!(["t1", "t2"].iter().all(|t| tags.contains(&tag(t))), "{tags:?}");
}

pub async fn bytes_and_types_are_kept(store: &dyn Manage) {
    let config = blob(store, "application/vnd.docker.container.image.v1+json", "{ }").await;
    let layer = blob(store, "application/vnd.unheard-of", "?").await;
    let docker = format!(
        "{{ \"schemaVersion\": 2,\n \"mediaType\": \"{}\",\n \"config\": {},\n \"layers\": [{}],\n \"later\": [1.50, null] }}\n",
        media_type::DOCKER_MANIFEST,
        json!(config),
        json!(layer)
    );
    let content = Content::new(media_type::DOCKER_MANIFEST, docker.into_bytes());
    store.push_manifest(&content, Some(&tag("docker"))).await.unwrap();
    for selector in [by_tag("docker"), by_digest(&content)] {
        let back = store.resolve(&selector).await.unwrap().unwrap();
        assert_eq!(back.bytes(), content.bytes());
        assert_eq!(back.media_type(), media_type::DOCKER_MANIFEST);
    }
}

pub async fn nested_indexes(store: &dyn Manage) {
    let bundle = cnab(store, "contract-cnab").await;
    store.push_manifest(&bundle, Some(&tag("cnab"))).await.unwrap();
    store.flush().await.unwrap();
    let outer = index(store, &[&bundle]).await;
    store.flush().await.unwrap();
    for content in [&bundle, &outer] {
        assert_eq!(store.resolve(&by_digest(content)).await.unwrap().as_ref(), Some(content));
        assert!(store.exists(content.descriptor()).await.unwrap());
    }
}

pub async fn referrers_are_listed(store: &dyn Manage) {
    let (root, children) = two_arch(store, "referred").await;
    store.push_manifest(&root, Some(&tag("referred"))).await.unwrap();
    let sbom = refer(store, &root, "application/vnd.example.sbom", "one").await;
    let scan = refer(store, &root, "application/vnd.example.scan", "two").await;
    let child = refer(store, &children[0], "application/vnd.example.scan", "three").await;
    let deep = refer(store, &sbom, "application/vnd.example.signature", "four").await;
    // What is listed before the flush is listed after it.
    for flushed in [false, true] {
        let expected: [(&Content, &[&Content]); 4] =
            [(&root, &[&sbom, &scan]), (&children[0], &[&child]), (&sbom, &[&deep]), (&children[1], &[])];
        for (subject, referrers) in expected {
            let listed = store.referrers(subject.digest(), None).await.unwrap();
            assert_eq!(digests(&listed), sorted(referrers.iter().copied()), "flushed: {flushed}");
        }
        let only = store.referrers(root.digest(), Some("application/vnd.example.scan")).await.unwrap();
        assert_eq!(digests(&only), sorted([&scan]));
        assert_eq!(only[0].artifact_type.as_deref(), Some("application/vnd.example.scan"));
        assert_eq!(only[0].annotation("org.example.text"), Some("two"));
        assert_eq!(only[0].size, scan.descriptor().size);
        store.flush().await.unwrap();
    }
    // Once more changes nothing.
    store.index_referrers(root.descriptor(), &[sbom.clone(), scan.clone()]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.referrers(root.digest(), None).await.unwrap().len(), 2);
    // A config type stands in where there is no artifact type, and an index can refer too.
    let config = blob(store, "application/vnd.example.config", "{}").await;
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [config],
        "subject": children[1].descriptor(),
    });
    let by_config = Content::new(media_type::OCI_MANIFEST, sorted_json(&doc));
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "artifactType": "application/vnd.example.set",
        "manifests": [], "subject": children[1].descriptor(),
    });
    let set = Content::new(media_type::OCI_INDEX, sorted_json(&doc));
    store.push_manifest(&by_config, None).await.unwrap();
    store.push_manifest(&set, None).await.unwrap();
    store.index_referrers(children[1].descriptor(), &[by_config.clone(), set.clone()]).await.unwrap();
    store.flush().await.unwrap();
    let mut types: Vec<_> = store.referrers(children[1].digest(), None).await.unwrap();
    types.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
    let types: Vec<_> = types.iter().filter_map(|d| d.artifact_type.as_deref()).collect();
    assert_eq!(types, ["application/vnd.example.config", "application/vnd.example.set"]);
}

pub async fn many_referrers_in_one_call(store: &dyn Manage) {
    // The subject comes last: the specification allows it, and signatures then precede what they sign.
    let later = Content::new(media_type::OCI_MANIFEST, {
        let config = blob(store, "a/b", "{}").await;
        sorted_json(
            &json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [config]}),
        )
    });
    let mut all = Vec::new();
    for i in 0..20 {
        all.push(referrer(store, &later, "application/vnd.example.many", &i.to_string()).await);
    }
    store.index_referrers(later.descriptor(), &all).await.unwrap();
    store.push_manifest(&later, Some(&tag("later"))).await.unwrap();
    store.flush().await.unwrap();
    let listed = store.referrers(later.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted(all.iter()));
}

pub async fn nothing_there_is_no_error(store: &dyn Manage) {
    // Not a blob of the store either: docker-registry takes the digest of any blob for a manifest, and answers 500.
    let absent = Content::new(media_type::OCI_MANIFEST, &br#"{"absent":true}"#[..]);
    assert_eq!(store.resolve(&by_digest(&absent)).await.unwrap(), None);
    assert!(!store.exists(absent.descriptor()).await.unwrap());
    assert_eq!(store.referrers(&Digest::sha256(b"no such subject"), None).await.unwrap(), vec![]);
    let blob = Descriptor::of("a/b", b"no such blob");
    assert!(!store.exists(&blob).await.unwrap());
    let failure = match store.fetch(&blob, 0).await {
        Ok(reader) => collect(reader).await.unwrap_err(),
        Err(e) => e,
    };
    assert!(failure.is_not_found(), "{failure}");
}

pub async fn deletion(store: &dyn Manage) {
    let kept = image(store, "deleted/subject").await;
    let gone = refer(store, &kept, "application/vnd.example.gone", "x").await;
    let stays = refer(store, &kept, "application/vnd.example.stays", "y").await;
    store.push_manifest(&kept, Some(&tag("untagged"))).await.unwrap();
    store.flush().await.unwrap();
    if store.delete(&by_digest(&gone)).await.unwrap() {
        assert_eq!(store.resolve(&by_digest(&gone)).await.unwrap(), None);
        assert_eq!(digests(&store.referrers(kept.digest(), None).await.unwrap()), sorted([&stays]));
        assert!(store.delete(&by_digest(&gone)).await.unwrap(), "gone already is as good");
    }
    if store.delete(&by_tag("untagged")).await.unwrap() {
        assert_eq!(store.resolve(&by_tag("untagged")).await.unwrap(), None);
        assert!(!store.tags(None).await.unwrap().contains(&tag("untagged")));
    }
    assert_eq!(
        digests(&store.referrers(kept.digest(), Some("application/vnd.example.stays")).await.unwrap()),
        sorted([&stays])
    );
}

pub fn digests(listed: &[Descriptor]) -> Vec<Digest> {
    let mut out: Vec<Digest> = listed.iter().map(|d| d.digest.clone()).collect();
    out.sort();
    out
}

pub fn sorted<'a>(contents: impl IntoIterator<Item = &'a Content>) -> Vec<Digest> {
    let mut out: Vec<Digest> = contents.into_iter().map(|c| c.digest().clone()).collect();
    out.sort();
    out
}
