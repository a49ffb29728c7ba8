//! OCI layouts: what other tools write, what they find in ours, and what goes wrong on a disk.

use std::path::Path;

use bulla::oci::{Algorithm, Content, Descriptor, Digest, Selector, media_type, sorted_json};
use bulla::store::layout::OciDir;
use bulla::store::{BytesSource, Failure, Manage, Store};
use serde_json::{Value, json};

use super::bundles::{by_digest, by_tag, cnab, refer, referrer, rich, scratch, tag, two_arch};
use super::contract::{digests, sorted};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Take a layout of ours apart and let its `index.json` have these entries, as another tool would write it.
fn rewrite(dir: &Path, entries: &[Value]) {
    let doc = json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(dir.join("index.json"), serde_json::to_vec_pretty(&doc).unwrap()).unwrap();
}

fn put(dir: &Path, content: &Content) {
    std::fs::write(dir.join("blobs/sha256").join(content.digest().hex()), content.bytes()).unwrap();
}

fn index_json(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap()
}

fn list(entries: &[Value]) -> Content {
    let doc = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    Content::new(media_type::OCI_INDEX, sorted_json(&doc))
}

async fn failure(dir: &Path) -> String {
    OciDir::open(dir).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_no_layout_is_named() {
    let dir = scratch();
    let at = dir.path();
    assert!(failure(&at.join("absent")).await.contains("does not exist"));
    assert!(failure(at).await.contains("no file \"oci-layout\""));
    std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"9.0.0"}"#).unwrap();
    assert!(failure(at).await.contains("\"9.0.0\""));
    std::fs::write(at.join("oci-layout"), "{}").unwrap();
    assert!(failure(at).await.contains("imageLayoutVersion"));
    std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(failure(at).await.contains("index.json"));
    std::fs::write(at.join("index.json"), "[]").unwrap();
    let broken = OciDir::open(at).await.unwrap().tags(None).await.unwrap_err();
    assert!(matches!(broken.failure, Failure::NotALayout(_)), "{broken}");
    std::fs::write(at.join("file"), "").unwrap();
    assert!(failure(&at.join("file")).await.contains("is a file"));
}

#[tokio::test]
async fn a_directory_with_other_things_is_left_alone() {
    let dir = scratch();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let e = OciDir::create(dir.path()).await.unwrap_err();
    assert!(e.to_string().contains("holds other things"), "{e}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    // An index.json with entries, whose oci-layout was lost, is not ours to overwrite either.
    let dir = scratch();
    rewrite(dir.path(), &[json!(Descriptor::of(media_type::OCI_MANIFEST, b"x"))]);
    assert!(OciDir::create(dir.path()).await.is_err());
}

#[tokio::test]
async fn creation_that_was_interrupted_is_finished_and_an_empty_stick_is_taken() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    OciDir::create(dir.path()).await.unwrap();
    std::fs::remove_file(dir.path().join("oci-layout")).unwrap();
    let store = OciDir::create(dir.path()).await.unwrap();
    assert_eq!(store.tags(None).await.unwrap(), vec![]);
    let text = std::fs::read_to_string(dir.path().join("oci-layout")).unwrap();
    assert_eq!(text, r#"{"imageLayoutVersion":"1.0.0"}"#);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let e = OciDir::create(dir.path().join("file/layout")).await.unwrap_err();
    assert!(e.to_string().contains("cannot write in"), "{e}");
    // Root may write everywhere but here.
    if Path::new("/proc/self").exists() {
        let e = OciDir::create("/proc/self/layout").await.unwrap_err();
        assert!(matches!(e.failure, Failure::Io { .. }), "{e}");
    }
}

#[tokio::test]
async fn both_forms_of_referrers_are_written() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let all = rich(&store, "forms").await;
    let doc = index_json(dir.path());
    let entries = doc["manifests"].as_array().unwrap();
    let of = |c: &Content| entries.iter().filter(|e| e["digest"] == json!(c.digest())).collect::<Vec<_>>();
    // oras: an entry without a name, with type and annotations.
    let [entry] = of(&all.on_child)[..] else { panic!("{doc}") };
    assert_eq!(entry["artifactType"], "application/vnd.example.scan");
    assert_eq!(entry["annotations"], json!({"org.example.text": "forms"}));
    // regctl: the list under the referrers tag.
    let tag = all.children[1].digest().referrers_tag();
    let lists: Vec<_> = entries.iter().filter(|e| e["annotations"][REF_NAME] == json!(tag)).collect();
    let [at] = lists[..] else { panic!("{doc}") };
    let hex = at["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let text = std::fs::read(dir.path().join("blobs/sha256").join(hex)).unwrap();
    let text: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(text["manifests"][0]["digest"], json!(all.on_child.digest()));
    assert_eq!(text["manifests"][0]["artifactType"], "application/vnd.example.scan");
    for (tag, content) in [(&all.sig_tag, &all.sig), (&all.state_tag, &all.state)] {
        assert_eq!(store.resolve(&Selector::Tag(tag.clone())).await.unwrap().as_ref(), Some(content));
    }
    // The bundle once, under its tag; its children not at all: they are found through it. Only one that is referred to is
    // listed, since oras finds nothing at the digest of an unlisted one.
    assert_eq!(of(&all.root).len(), 1);
    assert_eq!(of(&all.children[1]).len(), 1);
    assert_eq!(of(&all.children[0]).len(), 0);
}

#[tokio::test]
async fn the_same_content_gives_the_same_index() {
    let (one, two) = (scratch(), scratch());
    let a = OciDir::create(one.path()).await.unwrap();
    rich(&a, "same").await;
    let b = OciDir::create(two.path()).await.unwrap();
    let (root, _) = two_arch(&b, "same").await;
    b.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    b.flush().await.unwrap();
    rich(&b, "same").await;
    assert_eq!(
        std::fs::read_to_string(one.path().join("index.json")).unwrap(),
        std::fs::read_to_string(two.path().join("index.json")).unwrap()
    );
}

#[tokio::test]
async fn reads_what_oras_writes() {
    let dir = scratch();
    let all = rich(&OciDir::create(dir.path()).await.unwrap(), "oras").await;
    // Untagged entries, children listed too, nothing at the referrers tag.
    let mut entries: Vec<Value> = [&all.on_root, &all.on_child, &all.on_referrer, &all.children[0]]
        .map(|c| json!(c.descriptor()))
        .to_vec();
    entries.push(json!(all.root.descriptor().clone().annotated(REF_NAME, "v1")));
    rewrite(dir.path(), &entries);
    let store = OciDir::open(dir.path()).await.unwrap();
    same_referrers(&store, &all).await;
    assert_eq!(store.tags(None).await.unwrap(), vec![tag("v1")]);
}

#[tokio::test]
async fn reads_what_regctl_writes() {
    let dir = scratch();
    let all = rich(&OciDir::create(dir.path()).await.unwrap(), "regctl").await;
    let pairs =
        [(&all.root, &all.on_root), (&all.children[1], &all.on_child), (&all.on_root, &all.on_referrer)];
    let mut entries = vec![json!(all.root.descriptor().clone().annotated(REF_NAME, "v1"))];
    for (subject, referrer) in pairs {
        let content = list(&[json!(referrer.descriptor())]);
        put(dir.path(), &content);
        entries
            .push(json!(content.descriptor().clone().annotated(REF_NAME, subject.digest().referrers_tag())));
    }
    rewrite(dir.path(), &entries);
    let store = OciDir::open(dir.path()).await.unwrap();
    same_referrers(&store, &all).await;
    // A further referrer joins the list that was there.
    let more = refer(&store, &all.root, "application/vnd.example.more", "more").await;
    store.flush().await.unwrap();
    let listed = store.resolve(&by_tag(&all.root.digest().referrers_tag())).await.unwrap().unwrap();
    let listed: Value = serde_json::from_slice(listed.bytes()).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    let both =
        digests(&OciDir::open(dir.path()).await.unwrap().referrers(all.root.digest(), None).await.unwrap());
    assert_eq!(both, sorted([&all.on_root, &more]));
}

async fn same_referrers(store: &OciDir, all: &super::bundles::Rich) {
    for (subject, referrer) in
        [(&all.root, &all.on_root), (&all.children[1], &all.on_child), (&all.on_root, &all.on_referrer)]
    {
        let found = store.referrers(subject.digest(), None).await.unwrap();
        assert_eq!(digests(&found), sorted([referrer]));
        assert_eq!(
            found[0].artifact_type.as_deref().map(|t| t.starts_with("application/vnd.example.")),
            Some(true)
        );
        assert!(store.exists(referrer.descriptor()).await.unwrap());
    }
}

#[tokio::test]
async fn sha512_is_carried_and_its_referrers_are_listed_at_a_legal_tag() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let layer = b"layer".to_vec();
    let layer_digest = Digest::of(Algorithm::Sha512, &layer);
    let layer = (Descriptor::new("a/b", layer_digest, 5), BytesSource(layer.into()));
    store.push_blob(&layer.0, &layer.1).await.unwrap();
    super::bundles::blob(&store, media_type::OCI_EMPTY, "{}").await;
    let bytes = bulla::oci::Packer::new("x/y").layer(layer.0.clone()).build().bytes().clone();
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    let d = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
    let bundle = Content::check(d, bytes).unwrap();
    store.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
    let sbom = refer(&store, &bundle, "a/sbom", "x").await;
    store.flush().await.unwrap();
    let list = store.resolve(&by_tag(&bundle.digest().referrers_tag())).await.unwrap().unwrap();
    assert!(list.bytes().windows(64).any(|w| w == sbom.digest().hex().as_bytes()));
    let to = super::copies::memory("to");
    let request = bulla::store::copy::CopyRequest::new(by_tag("v1"));
    let (guard, unobserved) = (bulla::store::copy::KeepExisting, bulla::store::copy::Unobserved);
    bulla::store::copy::copy(&store, &to, &request, &guard, &unobserved).await.unwrap();
    assert_eq!(to.resolve(&by_digest(&bundle)).await.unwrap().as_ref(), Some(&bundle));
    assert_eq!(digests(&to.referrers(bundle.digest(), None).await.unwrap()), sorted([&sbom]));
}

#[tokio::test]
async fn an_entry_is_no_referrer_without_a_subject_of_its_own() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let (root, children) = two_arch(&store, "claims").await;
    store.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    let true_one = refer(&store, &root, "a/b", "x").await;
    store.flush().await.unwrap();
    let claim = list(&[json!(children[0].descriptor()), json!(true_one.descriptor())]);
    put(dir.path(), &claim);
    let at = root.digest().referrers_tag();
    rewrite(
        dir.path(),
        &[
            json!(root.descriptor().clone().annotated(REF_NAME, "v1")),
            json!(claim.descriptor().clone().annotated(REF_NAME, &*at)),
        ],
    );
    let store = OciDir::open(dir.path()).await.unwrap();
    assert_eq!(digests(&store.referrers(root.digest(), None).await.unwrap()), sorted([&true_one]));
}

#[tokio::test]
async fn an_entry_of_a_list_whose_manifest_is_gone_shows() {
    let dir = scratch();
    let all = rich(&OciDir::create(dir.path()).await.unwrap(), "dangling").await;
    std::fs::remove_file(dir.path().join("blobs/sha256").join(all.on_root.digest().hex())).unwrap();
    let store = OciDir::open(dir.path()).await.unwrap();
    let listed = store.referrers(all.root.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&all.on_root]));
    assert_eq!(store.resolve(&by_digest(&all.on_root)).await.unwrap(), None);
    // And it survives that the list is written again.
    let more = refer(&store, &all.root, "a/b", "more").await;
    store.flush().await.unwrap();
    let listed = store.referrers(all.root.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&all.on_root, &more]));
}

#[tokio::test]
async fn something_else_at_the_referrers_tag_is_not_overwritten() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let (root, _) = two_arch(&store, "squatter").await;
    // As `cosign copy` leaves it: the image itself.
    store.push_manifest(&root, Some(&tag(&root.digest().referrers_tag()))).await.unwrap();
    store.flush().await.unwrap();
    let sbom = referrer(&store, &root, "a/b", "x").await;
    let e = store.index_referrers(root.descriptor(), std::slice::from_ref(&sbom)).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Foreign(_)), "{e}");
    store.flush().await.unwrap();
    let there = store.resolve(&by_tag(&root.digest().referrers_tag())).await.unwrap();
    assert_eq!(there.as_ref(), Some(&root));
    // It is listed all the same, in the other form.
    assert_eq!(digests(&store.referrers(root.digest(), None).await.unwrap()), sorted([&sbom]));
}

#[tokio::test]
async fn a_referrer_cannot_take_over_a_tag() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let (root, _) = two_arch(&store, "takeover").await;
    store.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    let hostile =
        bulla::oci::Packer::new("a/b").subject(root.descriptor()).annotation(REF_NAME, "v1").build();
    super::bundles::blob(&store, media_type::OCI_EMPTY, "{}").await;
    store.push_manifest(&hostile, None).await.unwrap();
    store.index_referrers(root.descriptor(), std::slice::from_ref(&hostile)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.resolve(&by_tag("v1")).await.unwrap().as_ref(), Some(&root));
    assert_eq!(digests(&store.referrers(root.digest(), None).await.unwrap()), sorted([&hostile]));
}

#[tokio::test]
async fn a_manifest_without_a_type_of_its_own_takes_that_of_its_entry() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let config = super::bundles::blob(&store, "a/b", "{}").await;
    let bare = Content::new(
        media_type::OCI_MANIFEST,
        sorted_json(&json!({"schemaVersion": 2, "config": config, "layers": []})),
    );
    put(dir.path(), &bare);
    let back = store.resolve(&by_digest(&bare)).await.unwrap().unwrap();
    assert_eq!(back.media_type(), media_type::OCI_MANIFEST);
    let parent = list(&[
        json!({"mediaType": media_type::DOCKER_MANIFEST, "digest": bare.digest(), "size": bare.descriptor().size}),
    ]);
    put(dir.path(), &parent);
    rewrite(dir.path(), &[json!(parent.descriptor().clone().annotated(REF_NAME, "p"))]);
    let back = store.resolve(&by_digest(&bare)).await.unwrap().unwrap();
    assert_eq!(back.media_type(), media_type::DOCKER_MANIFEST);
    // A blob that is no manifest is not taken for one.
    assert_eq!(store.resolve(&Selector::Digest(config.digest)).await.unwrap(), None);
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let dir = scratch();
    let all = rich(&OciDir::create(dir.path()).await.unwrap(), "changed").await;
    let at = |d: &Digest| dir.path().join("blobs/sha256").join(d.hex());
    let good = std::fs::read(at(all.root.digest())).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(at(all.root.digest()), &bad).unwrap();
    let store = OciDir::open(dir.path()).await.unwrap();
    for selector in [by_tag("v1"), by_digest(&all.root)] {
        let e = store.resolve(&selector).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Content(_)), "{e}");
    }
    assert!(
        store.referrers(all.children[1].digest(), None).await.is_err(),
        "no list from what cannot be read"
    );
    // Pushed again, it is whole again.
    std::fs::write(at(all.root.digest()), &good[..20]).unwrap();
    let store = OciDir::open(dir.path()).await.unwrap();
    store.push_manifest(&all.root, None).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.resolve(&by_tag("v1")).await.unwrap().as_ref(), Some(&all.root));
}

#[tokio::test]
async fn a_blob_of_the_wrong_size_is_not_there() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let d = super::bundles::blob(&store, "a/b", "content").await;
    let at = dir.path().join("blobs/sha256").join(d.digest.hex());
    std::fs::write(&at, "conten").unwrap();
    assert!(!store.exists(&d).await.unwrap());
    store.push_blob(&d, &BytesSource("content".into())).await.unwrap();
    assert_eq!(std::fs::read(&at).unwrap(), b"content");
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_in_place_of_a_blob_does_not_block() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let d = Descriptor::of("a/b", b"x");
    let at = dir.path().join("blobs/sha256").join(d.digest.hex());
    std::os::unix::fs::symlink("/dev/zero", &at).unwrap();
    assert!(store.exists(&d).await.is_err());
    let e = store.fetch(&d, 0).await.err().unwrap();
    assert!(e.to_string().contains("no regular file"), "{e}");
}

#[tokio::test]
async fn temporary_files_are_cleaned_up_and_old_ones_swept() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let d = Descriptor::of("a/b", b"right");
    store.push_blob(&d, &BytesSource("wrong".into())).await.unwrap_err();
    let left = dir.path().join("blobs/sha256/.bulla-left.tmp");
    std::fs::write(&left, "x").unwrap();
    OciDir::create(dir.path()).await.unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(),
        1,
        "a fresh one may be in use"
    );
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    std::fs::File::options().write(true).open(&left).unwrap().set_modified(old).unwrap();
    OciDir::create(dir.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_writers_at_once_lose_nothing() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let (root, _) = two_arch(&store, "race").await;
    store.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    let writers = (0..32).map(|i| {
        let (at, root) = (dir.path().to_owned(), root.clone());
        tokio::spawn(async move {
            // Each opens the directory for itself, as another process does: the lock is one of open files.
            let store = OciDir::create(at).await.unwrap();
            let content = refer(&store, &root, "application/vnd.example.race", &i.to_string()).await;
            store.push_manifest(&content, Some(&tag(&format!("w{i}")))).await.unwrap();
            store.flush().await.unwrap();
            content
        })
    });
    let written = futures::future::join_all(writers).await;
    let written: Vec<Content> = written.into_iter().map(Result::unwrap).collect();
    let fresh = OciDir::open(dir.path()).await.unwrap();
    for store in [&store, &fresh] {
        assert_eq!(digests(&store.referrers(root.digest(), None).await.unwrap()), sorted(written.iter()));
        // 32 tags, v1 and the referrers list.
        assert_eq!(store.tags(None).await.unwrap().len(), 34);
    }
    let listed = fresh.resolve(&by_tag(&root.digest().referrers_tag())).await.unwrap().unwrap();
    let listed: Value = serde_json::from_slice(listed.bytes()).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn eight_processes_at_once_lose_nothing() {
    let dir = scratch();
    let (mut expected, mut subject) = (Vec::new(), None);
    for i in 0..8 {
        let store = OciDir::create(dir.path().join(format!("from{i}"))).await.unwrap();
        let (root, _) = two_arch(&store, "processes").await;
        for j in 0..4 {
            expected.push(refer(&store, &root, "application/vnd.example.race", &format!("{i}.{j}")).await);
        }
        store.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
        store.flush().await.unwrap();
        subject = Some(root);
    }
    let subject = subject.unwrap();
    let children: Vec<std::process::Child> = (0..8)
        .map(|i| {
            let mut bulla = std::process::Command::new(env!("CARGO_BIN_EXE_bulla"));
            bulla.arg("copy").arg(format!("oci:{}/from{i}:v1", dir.path().display()));
            bulla
                .arg(format!("oci:{}/to:v1", dir.path().display()))
                .env("BULLA_HOME", dir.path().join("home"));
            bulla.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let store = OciDir::open(dir.path().join("to")).await.unwrap();
    assert_eq!(digests(&store.referrers(subject.digest(), None).await.unwrap()), sorted(expected.iter()));
    let listed = store.resolve(&by_tag(&subject.digest().referrers_tag())).await.unwrap().unwrap();
    let listed: Value = serde_json::from_slice(listed.bytes()).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn a_manifest_that_no_index_names_yet_does_not_count_as_there() {
    let dir = scratch();
    let store = OciDir::create(dir.path()).await.unwrap();
    let bundle = cnab(&store, "unflushed").await;
    assert!(store.exists(bundle.descriptor()).await.unwrap());
    // Another process sees the blobs, but must push the manifest again for it to be listed.
    let other = OciDir::open(dir.path()).await.unwrap();
    assert!(!other.exists(bundle.descriptor()).await.unwrap());
    store.flush().await.unwrap();
    assert!(other.exists(bundle.descriptor()).await.unwrap());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn from_layout_to_layout_blobs_are_linked_and_checked() {
    use std::os::unix::fs::MetadataExt;

    use bulla::store::copy::{CopyRequest, KeepExisting, Unobserved, copy};

    let dir = scratch();
    let from = OciDir::create(dir.path().join("from")).await.unwrap();
    let all = rich(&from, "links").await;
    let to = OciDir::create(dir.path().join("to")).await.unwrap();
    let mut request = CopyRequest::new(by_tag("v1"));
    request.tags = vec![tag("v1")];
    copy(&from, &to, &request, &KeepExisting, &Unobserved).await.unwrap();
    let blobs = bulla::oci::successors(&all.children[0]).unwrap().blobs;
    let inode = |name: &str, d: &Descriptor| {
        let path = dir.path().join(name).join("blobs/sha256").join(d.digest.hex());
        std::fs::metadata(path).unwrap().ino()
    };
    for d in &blobs {
        assert_eq!(inode("from", d), inode("to", d));
    }
    let names = std::fs::read_dir(dir.path().join("to/blobs/sha256")).unwrap();
    assert!(names.flatten().all(|n| !n.file_name().to_string_lossy().starts_with('.')), "no second names");

    // A damaged file is neither linked nor believed, and a blob that is written anew leaves the other layout's alone.
    let damaged = dir.path().join("from/blobs/sha256").join(blobs[1].digest.hex());
    let right = std::fs::read(&damaged).unwrap();
    let mut wrong = right.clone();
    wrong[7] ^= 1;
    std::fs::remove_file(&damaged).unwrap();
    std::fs::write(&damaged, &wrong).unwrap();
    let third = OciDir::create(dir.path().join("third")).await.unwrap();
    let e = copy(&from, &third, &request, &KeepExisting, &Unobserved).await.unwrap_err();
    assert!(e.to_string().contains("source"), "{e}");
    assert!(!third.exists(&blobs[1]).await.unwrap());
    to.push_blob(
        &blobs[0],
        &BytesSource(
            std::fs::read(dir.path().join("from/blobs/sha256").join(blobs[0].digest.hex())).unwrap().into(),
        ),
    )
    .await
    .unwrap();
    assert_ne!(inode("from", &blobs[0]), inode("to", &blobs[0]));
    assert_eq!(std::fs::read(dir.path().join("to/blobs/sha256").join(blobs[1].digest.hex())).unwrap(), right);

    // A link, or a file of another size, is not taken over either.
    std::fs::remove_file(&damaged).unwrap();
    std::fs::write(dir.path().join("elsewhere"), &right).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &damaged).unwrap();
    copy(&from, &third, &request, &KeepExisting, &Unobserved).await.unwrap();
    let path = dir.path().join("third/blobs/sha256").join(blobs[1].digest.hex());
    assert!(std::fs::symlink_metadata(path).unwrap().is_file());
}
