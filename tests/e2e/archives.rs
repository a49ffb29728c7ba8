//! OCI archives: tar files of others, what others read of ours, and writers that come together or die.
// A tool that is not here is said.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bulla::oci::{Algorithm, Content, Descriptor, Digest};
use bulla::store::archive::OciArchive;
use bulla::store::copy::{CopyRequest, KeepExisting, Unobserved, copy};
use bulla::store::layout::OciDir;
use bulla::store::memory::MemoryStore;
use bulla::store::{BytesSource, Failure, Manage, Store, checked, collect};

use super::bundles::{Rich, blob, by_digest, by_tag, image, noise, refer, rich, scratch, tag, tagged};
use super::contract::{digests, sorted};

async fn carry(from: &dyn Store, to: &dyn Manage, all: &Rich) {
    let mut request = CopyRequest::new(by_tag("v1"));
    request.tags = vec![tag("v1")];
    request.extra_tags = vec![all.state_tag.clone()];
    copy(from, to, &request, &KeepExisting, &Unobserved).await.unwrap();
}

/// Everything of the bundle, from the store's own lists.
async fn is_whole(store: &dyn Store, all: &Rich) {
    assert_eq!(store.resolve(&by_tag("v1")).await.unwrap().as_ref(), Some(&all.root));
    for (subject, referrer) in
        [(&all.root, &all.on_root), (&all.children[1], &all.on_child), (&all.on_root, &all.on_referrer)]
    {
        let listed = store.referrers(subject.digest(), None).await.unwrap();
        assert!(listed.iter().any(|d| d.digest == *referrer.digest()), "{listed:?}");
    }
    for content in [&all.root, &all.on_root, &all.on_child, &all.on_referrer, &all.sig, &all.state] {
        assert_eq!(store.resolve(&by_digest(content)).await.unwrap().as_ref(), Some(content));
        for d in bulla::oci::successors(content).unwrap().blobs {
            let reader = store.fetch(&d, 0).await.unwrap();
            collect(checked("here".into(), d.clone(), reader)).await.unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_through_archives() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    let (first, last) =
        (MemoryStore::new("a.example/a".parse().unwrap()), MemoryStore::new("b.example/b".parse().unwrap()));
    let all = rich(&first, "archives").await;
    let one = OciArchive::create(at("one.tar")).await.unwrap();
    carry(&first, &one, &all).await;
    is_whole(&one, &all).await;
    let read = OciArchive::open(at("one.tar")).await.unwrap();
    is_whole(&read, &all).await;
    let two = OciArchive::create(at("two.tar")).await.unwrap();
    carry(&read, &two, &all).await;
    let stick = OciDir::create(at("stick")).await.unwrap();
    carry(&OciArchive::open(at("two.tar")).await.unwrap(), &stick, &all).await;
    carry(&stick, &last, &all).await;
    assert_eq!(first.counts(), last.counts());
    is_whole(&last, &all).await;
    drop((one, two));
    assert_eq!(files(dir.path()), ["one.tar", "stick", "two.tar"], "nothing else is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_added_to_and_nothing_is_lost() {
    let dir = scratch();
    let file = dir.path().join("a.tar");
    let first = OciArchive::create(&file).await.unwrap();
    let old = rich(&first, "old").await;
    first.flush().await.unwrap();
    let sha512 = noise("sha512", 5000);
    let long = Descriptor::new("a/b", Digest::of(Algorithm::Sha512, &sha512), 5000);
    first.push_blob(&long, &BytesSource(sha512.into())).await.unwrap();
    first.flush().await.unwrap();
    drop(first);
    let again = OciArchive::create(&file).await.unwrap();
    let new = tagged(&again, "v2", "application/vnd.example.thing", "new").await;
    refer(&again, &old.root, "application/vnd.example.late", "late").await;
    assert!(OciArchive::open(&file).await.unwrap().resolve(&by_tag("v2")).await.unwrap().is_none());
    again.flush().await.unwrap();
    let read = OciArchive::open(&file).await.unwrap();
    is_whole(&read, &old).await;
    assert_eq!(read.resolve(&by_tag("v2")).await.unwrap(), Some(new));
    assert_eq!(read.referrers(old.root.digest(), None).await.unwrap().len(), 2);
    assert!(read.exists(&long).await.unwrap());
    // Nothing changed: nothing is written.
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    again.push_manifest(&old.root, Some(&tag("v1"))).await.unwrap();
    again.flush().await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_archive_is_none_and_what_a_dead_writer_left_is_taken_over() {
    let dir = scratch();
    let file = dir.path().join("a.tar");
    let store = OciArchive::create(&file).await.unwrap();
    image(&store, "unfinished").await;
    assert!(!file.exists());
    let left = files(dir.path());
    assert_eq!(left.len(), 1, "{left:?}");
    let bytes = std::fs::read(dir.path().join(&left[0])).unwrap();
    drop(store);
    assert_eq!(files(dir.path()), Vec::<String>::new());
    // As after a kill: the file is there and nobody holds its lock.
    std::fs::write(dir.path().join(&left[0]), bytes).unwrap();
    let store = OciArchive::create(&file).await.unwrap();
    let content = image(&store, "finished").await;
    store.push_manifest(&content, Some(&tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(files(dir.path()), ["a.tar"]);
    let read = OciArchive::open(&file).await.unwrap();
    assert_eq!(read.resolve(&by_tag("v1")).await.unwrap(), Some(content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_did_not_arrive_is_not_in_the_archive() {
    let dir = scratch();
    let file = dir.path().join("a.tar");
    let store = OciArchive::create(&file).await.unwrap();
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for i in 0..6 {
        let bytes = noise(&format!("gap {i}"), 100_000 + i * 777);
        let d = Descriptor::of("a/b", &bytes);
        if i % 2 == 0 {
            let mut bad = bytes.clone();
            bad[50_000] ^= 1;
            assert!(store.push_blob(&d, &BytesSource(bad.into())).await.is_err());
            wrong.push(d);
        } else {
            store.push_blob(&d, &BytesSource(bytes.clone().into())).await.unwrap();
            right.push((d, bytes));
        }
    }
    store.flush().await.unwrap();
    let read = OciArchive::open(&file).await.unwrap();
    for d in &wrong {
        assert!(!store.exists(d).await.unwrap() && !read.exists(d).await.unwrap());
    }
    for (d, bytes) in &right {
        assert!(collect(read.fetch(d, 0).await.unwrap()).await.unwrap() == *bytes);
    }
    let longest: u64 = right.iter().map(|(d, _)| d.size + 1024).sum();
    assert!(std::fs::metadata(&file).unwrap().len() < longest + 4096, "the gaps were closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let dir = scratch();
    let file = dir.path().join("a.tar");
    let store = OciArchive::create(&file).await.unwrap();
    let subject = image(&store, "subject").await;
    store.push_manifest(&subject, Some(&tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    drop(store);
    let writers = (0..8).map(|i| {
        let (file, subject) = (file.clone(), subject.clone());
        tokio::spawn(async move {
            let store = OciArchive::create(file).await.unwrap();
            let c = refer(&store, &subject, "application/vnd.example.r", &format!("r{i}")).await;
            store.flush().await.unwrap();
            c
        })
    });
    let mut expected: Vec<Content> = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        expected.push(writer.await.unwrap());
    }
    let read = OciArchive::open(&file).await.unwrap();
    let listed = read.referrers(subject.digest(), None).await.unwrap();
    assert_eq!(digests(&listed), sorted(&expected));
    assert_eq!(files(dir.path()), ["a.tar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_the_old_or_the_new_archive() {
    let dir = scratch();
    let file = dir.path().join("a.tar");
    let store = OciArchive::create(&file).await.unwrap();
    let big = noise("big", 2_000_000);
    let d = blob(&store, "a/b", big.clone()).await;
    store.flush().await.unwrap();
    let reader = OciArchive::open(&file).await.unwrap();
    let stream = reader.fetch(&d, 0).await.unwrap();
    tagged(&store, "v1", "application/vnd.example.thing", "x").await;
    store.flush().await.unwrap();
    assert!(collect(stream).await.unwrap() == big, "what was open stays whole");
    assert!(reader.resolve(&by_tag("v1")).await.unwrap().is_some(), "the next question sees the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_gives_the_same_file() {
    let dir = scratch();
    let mut written = Vec::new();
    for name in ["one.tar", "two.tar"] {
        let store = OciArchive::create(dir.path().join(name)).await.unwrap();
        rich(&store, "same").await;
        store.flush().await.unwrap();
        written.push(std::fs::read(dir.path().join(name)).unwrap());
    }
    assert!(written[0] == written[1]);
}

#[tokio::test]
async fn what_is_no_archive_is_named() {
    let dir = scratch();
    let at = dir.path().join("a.tar");
    let open = || async { OciArchive::open(&at).await.unwrap_err().to_string() };
    assert!(open().await.contains("does not exist"));
    std::fs::write(&at, "").unwrap();
    assert!(open().await.contains("is empty"));
    std::fs::write(&at, "not a tar file at all").unwrap();
    assert!(open().await.contains("no tar file"));
    assert!(OciArchive::create(&at).await.is_err(), "it is not overwritten");
    assert_eq!(std::fs::read(&at).unwrap(), b"not a tar file at all");
    let e = OciArchive::open(dir.path()).await.unwrap_err().to_string();
    assert!(e.contains("is a directory; write oci:"), "{e}");
    let e = OciArchive::create(dir.path().join("absent/a.tar")).await.unwrap_err();
    assert!(matches!(e.failure, Failure::Io { .. }), "{e}");
    assert_eq!(files(dir.path()), ["a.tar"]);
}

#[cfg(unix)]
#[tokio::test]
async fn links_in_the_way_are_not_followed_into_other_files() {
    let dir = scratch();
    let real = dir.path().join("real.tar");
    let store = OciArchive::create(&real).await.unwrap();
    image(&store, "x").await;
    let name = files(dir.path()).remove(0);
    store.flush().await.unwrap();
    drop(store);
    // An archive that is named by a link: the link stays.
    let link = dir.path().join("link.tar");
    std::os::unix::fs::symlink("real.tar", &link).unwrap();
    let store = OciArchive::create(&link).await.unwrap();
    tagged(&store, "v9", "application/vnd.example.thing", "x").await;
    store.flush().await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(OciArchive::open(&real).await.unwrap().resolve(&by_tag("v9")).await.unwrap().is_some());
    // Links that were put where the temporary file goes.
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "years of work").unwrap();
    std::os::unix::fs::symlink(&precious, dir.path().join(&name)).unwrap();
    assert!(OciArchive::create(&real).await.is_err());
    std::fs::remove_file(dir.path().join(&name)).unwrap();
    std::fs::hard_link(&precious, dir.path().join(&name)).unwrap();
    assert!(OciArchive::create(&real).await.is_err());
    assert_eq!(std::fs::read(&precious).unwrap(), b"years of work");
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_files_of_others_are_read_and_added_to() {
    if !have("tar") {
        return;
    }
    let dir = scratch();
    let stick = OciDir::create(dir.path().join("stick")).await.unwrap();
    let all = rich(&stick, "tar").await;
    let sha512 = noise("sha512", 5000);
    let long = Descriptor::new("a/b", Digest::of(Algorithm::Sha512, &sha512), 5000);
    stick.push_blob(&long, &BytesSource(sha512.into())).await.unwrap();
    stick.flush().await.unwrap();
    for format in ["gnu", "ustar", "pax", "oldgnu"] {
        let file = dir.path().join(format!("{format}.tar"));
        let mut pack = Command::new("tar");
        // ustar has no room for the name of a sha512 blob.
        pack.arg("-C").arg(dir.path().join("stick")).arg(format!("--format={format}"));
        if format == "ustar" {
            pack.arg("--exclude=sha512");
        }
        run(pack.arg("-cf").arg(&file).arg("."));
        let read = OciArchive::open(&file).await.unwrap();
        is_whole(&read, &all).await;
        assert_eq!(read.exists(&long).await.unwrap(), format != "ustar");
        let more = OciArchive::create(&file).await.unwrap();
        tagged(&more, "more", "application/vnd.example.thing", "more").await;
        more.flush().await.unwrap();
        is_whole(&OciArchive::open(&file).await.unwrap(), &all).await;
        let listed = run(Command::new("tar").arg("-tf").arg(&file));
        assert_eq!(listed.lines().filter(|l| l.trim_start_matches("./") == "index.json").count(), 1);
        assert!(listed.lines().any(|l| l == "./.bulla.lock"), "what others put there is kept");
        let out = dir.path().join(format!("out-{format}"));
        std::fs::create_dir(&out).unwrap();
        run(Command::new("tar").arg("-C").arg(&out).arg("-xf").arg(&file));
        is_whole(&OciDir::open(&out).await.unwrap(), &all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_and_skopeo_read_ours() {
    let dir = scratch();
    let file = dir.path().join("ours.tar");
    let store = OciArchive::create(&file).await.unwrap();
    let content = image(&store, "skopeo").await;
    store.push_manifest(&content, Some(&tag("v1"))).await.unwrap();
    let sha512 = noise("sha512", 5000);
    let long = Descriptor::new("a/b", Digest::of(Algorithm::Sha512, &sha512), 5000);
    store.push_blob(&long, &BytesSource(sha512.into())).await.unwrap();
    store.flush().await.unwrap();
    if have("python3") {
        let program = "import sys, tarfile, hashlib\n\
            for m in tarfile.open(sys.argv[1]):\n\
            \x20   b = tarfile.open(sys.argv[1]).extractfile(m).read()\n\
            \x20   assert (m.mtime, m.uid, m.gid) == (0, 0, 0)\n\
            \x20   p = m.name.split('/')\n\
            \x20   if p[0] == 'blobs': assert hashlib.new(p[1], b).hexdigest() == p[2], m.name\n\
            \x20   print(m.name)";
        let listed = run(Command::new("python3").arg("-c").arg(program).arg(&file));
        assert!(listed.contains(&format!("blobs/sha512/{}", long.digest.hex())), "{listed}");
        assert!(listed.ends_with("index.json\noci-layout\n"), "{listed}");
    }
    if have("skopeo") {
        let raw = run(Command::new("skopeo")
            .arg("inspect")
            .arg("--raw")
            .arg(format!("oci-archive:{}:v1", file.display())));
        assert_eq!(raw.as_bytes(), content.bytes());
        let back = dir.path().join("back.tar");
        let names = BTreeMap::from([("from", &file), ("to", &back)]);
        run(Command::new("skopeo")
            .args(["copy", "--preserve-digests"])
            .args(names.values().map(|f| format!("oci-archive:{}:v1", f.display()))));
        let read = OciArchive::open(&back).await.unwrap();
        assert_eq!(
            read.resolve(&by_tag("v1")).await.unwrap().map(|c| c.digest().clone()),
            Some(content.digest().clone())
        );
    }
}
