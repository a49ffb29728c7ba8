//! Thorough copies: whatever is missing, damaged or wrongly listed at the destination is made good and named.

use std::path::{Path, PathBuf};

use bulla::oci::{Content, Descriptor, Digest, media_type, sorted_json};
use bulla::store::copy::{CopyError, CopyReport, CopyRequest, KeepExisting, Mended, Unobserved, copy};
use bulla::store::layout::OciDir;
use bulla::store::{Failure, ListChange, Manage, Store};
use serde_json::{Value, json};

use super::bundles::{self, Rich, by_tag, refer, rich, scratch, tag};
use super::contract::{digests, sorted};
use super::copies::is_whole;
use crate::registry::{Config, Quirks, Registry as Server};
use crate::servers::repository;

async fn no_api() -> Server {
    let quirks = Quirks { no_referrers_api: true, no_oci_subject: true, ..Quirks::default() };
    Server::start(Config { quirks, ..Config::default() }).await
}

/// A layout with the rich bundle and two more referrers, of its first child.
async fn source(dir: &Path) -> (OciDir, Rich, [Content; 2]) {
    let store = OciDir::create(dir).await.unwrap();
    let all = rich(&store, "repair").await;
    let one = refer(&store, &all.children[0], "application/vnd.example.one", "one").await;
    let two = refer(&store, &all.children[0], "application/vnd.example.two", "two").await;
    store.flush().await.unwrap();
    (store, all, [one, two])
}

async fn repair(from: &dyn Store, to: &dyn Manage, all: &Rich) -> Result<CopyReport, CopyError> {
    let request = CopyRequest {
        tags: vec![tag("v1")],
        extra_tags: vec![all.state_tag.clone()],
        thorough: true,
        ..CopyRequest::new(by_tag("v1"))
    };
    // A look ahead says the same, and more often than not comes first.
    let look = CopyRequest { dry_run: true, ..request.clone() };
    let ahead = copy(from, to, &look, &KeepExisting, &Unobserved).await;
    let done = copy(from, to, &request, &KeepExisting, &Unobserved).await;
    if let (Ok(ahead), Ok(done)) = (&ahead, &done) {
        assert_eq!(ahead.mended, done.mended);
    }
    assert_eq!(ahead.is_err(), done.is_err());
    done
}

fn entry(subject: &Content, change: ListChange) -> Mended {
    Mended::Entry { subject: subject.digest().clone(), change }
}

/// The list at the referrers tag, as it lies there.
fn list(server: &Server, subject: &Content) -> Value {
    let (_, _, bytes) = server.manifest("a", &subject.digest().referrers_tag()).expect("a list");
    serde_json::from_slice(&bytes).unwrap()
}

fn set_list(server: &Server, subject: &Content, entries: Vec<Value>) {
    let doc =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries, "x-own": 1});
    let at = subject.digest().referrers_tag();
    server.put_manifest("a", Some(&at), media_type::OCI_INDEX, sorted_json(&doc));
}

fn writes(server: &Server) -> usize {
    ["PUT", "POST", "PATCH", "DELETE"].iter().map(|m| server.count(m, "*")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_incomplete_stale_and_wrong_is_made_right() {
    let dir = scratch();
    let (from, all, [one, two]) = source(dir.path()).await;
    let server = no_api().await;
    let fresh = repair(&from, &repository(&server, "a"), &all).await.unwrap();
    assert!(!fresh.mended.is_empty(), "everything was missing");
    // Somebody else's referrer, which the source does not have, stays.
    let others =
        refer(&repository(&server, "a"), &all.children[0], "application/vnd.example.other", "theirs").await;
    repository(&server, "a").flush().await.unwrap();

    server.clear();
    let again = repair(&from, &repository(&server, "a"), &all).await.unwrap();
    assert_eq!((again.mended, writes(&server)), (vec![], 0), "{}", server.log());

    let right = list(&server, &all.children[0])["manifests"].as_array().unwrap().clone();
    let of = |c: &Content| right.iter().find(|e| e["digest"] == c.digest().to_string()).unwrap().clone();
    // As old ggcr wrote it: the config's type, no annotations.
    let mut wrong = of(&one);
    wrong["artifactType"] = json!(media_type::OCI_EMPTY);
    wrong.as_object_mut().unwrap().remove("annotations");
    let gone = Descriptor::of(media_type::OCI_MANIFEST, b"never pushed");
    set_list(&server, &all.children[0], vec![json!(gone), wrong, of(&others)]);
    let report = repair(&from, &repository(&server, "a"), &all).await.unwrap();
    let mut expected = vec![
        entry(&all.children[0], ListChange::Added(two.digest().clone())),
        entry(&all.children[0], ListChange::Corrected(one.digest().clone())),
        entry(&all.children[0], ListChange::Dropped(gone.digest.clone())),
    ];
    expected.sort();
    assert_eq!(report.mended, expected);
    let mended = list(&server, &all.children[0]);
    assert_eq!(mended["x-own"], 1, "other members of the list stay");
    let sort = |entries: &Vec<Value>| {
        let mut texts: Vec<String> = entries.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(sort(mended["manifests"].as_array().unwrap()), sort(&right));

    // The tag is lost: all that the source has is listed again.
    server.set_tag("a", &all.children[0].digest().referrers_tag(), None);
    let report = repair(&from, &repository(&server, "a"), &all).await.unwrap();
    assert_eq!(report.mended.len(), 2, "{:?}", report.mended);
    let listed = repository(&server, "a").referrers(all.children[0].digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&one, &two]));
    is_whole(&repository(&server, "a"), &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_reported_and_stays() {
    let dir = scratch();
    let (from, all, _) = source(dir.path()).await;
    let server = no_api().await;
    repair(&from, &repository(&server, "a"), &all).await.unwrap();
    let at = all.children[0].digest().referrers_tag();
    let image = server.manifest("a", &all.children[1].digest().to_string()).unwrap();
    let strange = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [all.children[1].descriptor()]});
    let strange = server.put_manifest("a", None, media_type::OCI_INDEX, sorted_json(&strange));
    for digest in [&image.0, &strange] {
        server.set_tag("a", &at, Some(digest));
        let error = repair(&from, &repository(&server, "a"), &all).await.unwrap_err();
        let CopyError::Store { error, .. } = error else { panic!("{error}") };
        assert!(matches!(error.failure, Failure::Foreign(_)), "{error}");
        assert_eq!(&server.manifest("a", &at).unwrap().0, digest, "not overwritten");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lost_is_pushed_again() {
    let dir = scratch();
    let (from, all, [one, _]) = source(dir.path()).await;
    let server = Server::start(Config::default()).await;
    repair(&from, &repository(&server, "a"), &all).await.unwrap();
    let layer = bulla::oci::Manifest::parse(&one).unwrap().layers[0].digest.clone();
    server.store(|s| {
        s.repo("a").remove_manifest(&one.digest().to_string());
        s.repo("a").blobs.remove(&layer.to_string());
    });
    let report = repair(&from, &repository(&server, "a"), &all).await.unwrap();
    assert!(report.mended.contains(&Mended::Blob { digest: layer, damaged: false }), "{:?}", report.mended);
    assert!(report.mended.contains(&Mended::Manifest(one.digest().clone())), "{:?}", report.mended);
    assert_eq!(server.broken("a"), Vec::<String>::new());
    is_whole(&repository(&server, "a"), &all).await;
}

fn file(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_read_whole_and_mended() {
    let (dir, other) = (scratch(), scratch());
    let (from, all, [one, two]) = source(dir.path()).await;
    let at = other.path();
    repair(&from, &OciDir::create(at).await.unwrap(), &all).await.unwrap();
    let again = repair(&from, &OciDir::open(at).await.unwrap(), &all).await.unwrap();
    assert_eq!(again.mended, vec![]);

    // As many other bytes under a layer's digest; a manifest gone; one damaged; the list cut off.
    let layer = bulla::oci::Manifest::parse(&all.children[0]).unwrap().layers[1].clone();
    let size = usize::try_from(layer.size).unwrap();
    // Blobs are shared with the source by hard links: a file of its own, or the source would be damaged as well.
    std::fs::remove_file(file(at, &layer.digest)).unwrap();
    std::fs::write(file(at, &layer.digest), bundles::noise("other", size)).unwrap();
    std::fs::remove_file(file(at, one.digest())).unwrap();
    let bytes = two.bytes().to_vec().into_iter().rev().collect::<Vec<_>>();
    std::fs::write(file(at, two.digest()), bytes).unwrap();
    let index: Value = serde_json::from_slice(&std::fs::read(at.join("index.json")).unwrap()).unwrap();
    let list_tag = all.children[0].digest().referrers_tag();
    let name = |e: &&Value| e["annotations"]["org.opencontainers.image.ref.name"] == list_tag;
    let list = index["manifests"].as_array().unwrap().iter().find(name).unwrap()["digest"].clone();
    let list: Digest = list.as_str().unwrap().parse().unwrap();
    std::fs::write(file(at, &list), "{").unwrap();

    let report = repair(&from, &OciDir::open(at).await.unwrap(), &all).await.unwrap();
    let expected = [
        Mended::Blob { digest: layer.digest.clone(), damaged: true },
        Mended::Manifest(one.digest().clone()),
        Mended::Manifest(two.digest().clone()),
        entry(&all.children[0], ListChange::Added(one.digest().clone())),
    ];
    for mended in expected {
        assert!(report.mended.contains(&mended), "{mended:?} is not in {:?}", report.mended);
    }
    let store = OciDir::open(at).await.unwrap();
    let listed = store.referrers(all.children[0].digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted([&one, &two]));
    is_whole(&store, &all).await;
    for entry in std::fs::read_dir(at.join("blobs/sha256")).unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let got = Digest::sha256(&std::fs::read(entry.path()).unwrap());
        // The cut-off list is nobody's any more.
        assert!(got.hex() == name || name == list.hex(), "{name}");
    }
    let again = repair(&from, &store, &all).await.unwrap();
    assert_eq!(again.mended, vec![]);
}

/// An entry of a list in a layout whose manifest is nowhere, as a tool that removes files leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_layout_that_lead_nowhere_are_dropped() {
    let (dir, other) = (scratch(), scratch());
    let (from, all, _) = source(dir.path()).await;
    let to = OciDir::create(other.path()).await.unwrap();
    let gone = refer(&to, &all.children[0], "application/vnd.example.gone", "gone").await;
    repair(&from, &to, &all).await.unwrap();
    std::fs::remove_file(file(other.path(), gone.digest())).unwrap();
    let to = OciDir::open(other.path()).await.unwrap();
    let shown = to.referrers(all.children[0].digest(), None).await.unwrap();
    assert!(shown.iter().any(|d| d.digest == *gone.digest()), "shown until it is mended");
    let report = repair(&from, &to, &all).await.unwrap();
    assert_eq!(report.mended, [entry(&all.children[0], ListChange::Dropped(gone.digest().clone()))]);
    let shown =
        OciDir::open(other.path()).await.unwrap().referrers(all.children[0].digest(), None).await.unwrap();
    assert!(shown.iter().all(|d| d.digest != *gone.digest()));
}
