//! Small real file systems, mounted for a test: they need root, and the tests say so where it is not given.
#![cfg(target_os = "linux")]
// What is not done is said.
#![allow(clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

use bulla::oci::Descriptor;
use bulla::store::archive::OciArchive;
use bulla::store::layout::OciDir;
use bulla::store::{BytesSource, Failure, Manage, StoreError};

use super::bundles::{by_tag, image, noise, scratch, tag};

/// A file system below a scratch directory; unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(arguments: &[&str]) -> Option<Self> {
        let dir = scratch();
        let done = Command::new("mount").args(arguments).arg(dir.path()).output();
        match done {
            Ok(out) if out.status.success() => Some(Self(dir)),
            other => {
                eprintln!("SKIPPED: cannot mount {arguments:?}: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

async fn create(at: &Path, archive: bool) -> Result<Box<dyn Manage>, StoreError> {
    match archive {
        true => Ok(Box::new(OciArchive::create(at).await?)),
        false => Ok(Box::new(OciDir::create(at).await?)),
    }
}

async fn open(at: &Path, archive: bool) -> Box<dyn Manage> {
    match archive {
        true => Box::new(OciArchive::open(at).await.unwrap()),
        false => Box::new(OciDir::open(at).await.unwrap()),
    }
}

async fn too_much(store: &dyn Manage) -> Result<(), StoreError> {
    for i in 0..8 {
        let bytes = noise(&format!("much {i}"), 900_000);
        let d = Descriptor::of("a/b", &bytes);
        store.push_blob(&d, &BytesSource(bytes.into())).await?;
    }
    store.flush().await
}

async fn survives(disk: &Path) {
    for archive in [false, true] {
        let at = disk.join("layout");
        let store = create(&at, archive).await.unwrap();
        let content = image(&*store, "survives").await;
        store.push_manifest(&content, Some(&tag("v1"))).await.unwrap();
        store.flush().await.unwrap();
        let e = too_much(&*store).await.unwrap_err();
        let Failure::Io { kind, reason } = &e.failure else { panic!("{e}") };
        assert_eq!(*kind, std::io::ErrorKind::StorageFull, "{e}");
        assert!(reason.contains("no space left for") && e.what.starts_with("write "), "{e}");
        drop(store);
        let read = open(&at, archive).await;
        assert_eq!(read.resolve(&by_tag("v1")).await.unwrap(), Some(content), "archive: {archive}");
        let left = std::fs::read_dir(disk).unwrap().flatten().map(|n| n.file_name());
        assert!(left.into_iter().all(|n| !n.to_string_lossy().ends_with(".tmp")));
        let _ = std::fs::remove_dir_all(&at).or_else(|_| std::fs::remove_file(&at));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_what_was_there() {
    if let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=4m", "none"]) {
        survives(disk.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_with_fat_takes_layouts_and_archives() {
    let dir = scratch();
    let image_file = dir.path().join("stick.img");
    std::fs::File::create(&image_file).unwrap().set_len(6 << 20).unwrap();
    if !Command::new("mkfs.vfat").arg(&image_file).output().is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: mkfs.vfat is not installed");
        return;
    }
    if let Some(disk) = Mounted::new(&["-t", "vfat", "-o", "loop", image_file.to_str().unwrap()]) {
        survives(disk.path()).await;
    }
}
