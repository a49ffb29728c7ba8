//! What is left of a layout, in a directory or a tar file, after a power cut at any point and on a full disk.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Layout;
use super::disk::{Disk, System};
use super::files::Directory;
use super::replay::{Cut, Recorder};
use crate::oci::{ArchiveRef, Content, Descriptor, LayoutRef, Packer, Reference, Selector, Tag, successors};
use crate::store::archive::{OciArchive, TarFile};
use crate::store::layout::OciDir;
use crate::store::{BytesSource, Failure, Manage, StoreError, checked, collect};

/// A form of layout, below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Directory,
    Tar,
}

const FORMS: [Form; 2] = [Form::Directory, Form::Tar];

impl Form {
    /// Open for writing, on the recorder's disk.
    async fn create(self, disk: Arc<dyn Disk>, root: &Path) -> Result<Arc<dyn Manage>, StoreError> {
        match self {
            Self::Directory => {
                let dir = root.join("new/layout");
                let place = Reference::Layout(LayoutRef { dir: dir.clone(), selector: None });
                let layout = Layout::on(place, Directory::on(disk, dir));
                layout.on_medium("create", Directory::make).await?;
                Ok(Arc::new(layout))
            }
            Self::Tar => {
                let file = root.join("layout.tar");
                let place = Reference::Archive(ArchiveRef { file: file.clone(), selector: None });
                let layout = Layout::on(place, TarFile::on(disk, file));
                layout.on_medium("create", TarFile::begin).await?;
                Ok(Arc::new(layout))
            }
        }
    }

    /// As any other program reads it.
    async fn open(self, root: &Path) -> Result<Arc<dyn Manage>, StoreError> {
        match self {
            Self::Directory => Ok(Arc::new(OciDir::open(root.join("new/layout")).await?)),
            Self::Tar => Ok(Arc::new(OciArchive::open(root.join("layout.tar")).await?)),
        }
    }
}

async fn blob(store: &dyn Manage, text: &str, times: usize) -> Result<Descriptor, StoreError> {
    let bytes = text.repeat(times).into_bytes();
    let d = Descriptor::of("a/b", &bytes);
    if !store.exists(&d).await? {
        store.push_blob(&d, &BytesSource(bytes.into())).await?;
    }
    Ok(d)
}

/// A disk like a stick with FAT: no links, no large files, no names with `:`; and whether a link was asked for.
#[derive(Debug, Default)]
struct Fat(std::sync::atomic::AtomicUsize);

const FAT_LIMIT: u64 = 2_000_000;

fn fit(path: &Path) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.len() > 255 || name.contains([':', '*', '?', '"', '<', '>', '|', '\\']) {
        true => Err(std::io::ErrorKind::InvalidInput.into()),
        false => Ok(()),
    }
}

impl Disk for Fat {
    fn temporary(&self, dir: &Path) -> std::io::Result<(std::fs::File, tempfile::TempPath)> {
        let made = System.temporary(dir)?;
        fit(&made.1)?;
        Ok(made)
    }

    fn open_or_create(&self, path: &Path, private: bool) -> std::io::Result<std::fs::File> {
        fit(path)?;
        System.open_or_create(path, private)
    }

    fn write_at(&self, file: &std::fs::File, path: &Path, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        if at + bytes.len() as u64 > FAT_LIMIT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        System.write_at(file, path, at, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        fit(to)?;
        System.rename(from, to)
    }

    fn link(&self, _from: &Path, _dir: &Path) -> std::io::Result<tempfile::TempPath> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
}

/// One batch: an artifact with two blobs at a tag, and a referrer of it.
async fn batch(store: &dyn Manage, n: usize) -> Result<(), StoreError> {
    let small = blob(store, &format!("small {n} "), 10).await?;
    let large = blob(store, &format!("large {n} "), 2000).await?;
    blob(store, "{}", 1).await?;
    let artifact = Packer::new("a/artifact").layer(small).layer(large).build();
    store.push_manifest(&artifact, None).await?;
    let note = blob(store, &format!("note {n} "), 10).await?;
    let referrer = Packer::new("a/note").layer(note).subject(artifact.descriptor()).build();
    store.push_manifest(&referrer, None).await?;
    store.index_referrers(artifact.descriptor(), &[referrer]).await?;
    store.push_manifest(&artifact, Some(&tag(n))).await?;
    store.flush().await
}

fn tag(n: usize) -> Tag {
    format!("v{n}").parse().unwrap()
}

/// Everything that the index names is there and right; which batches are.
async fn whole(store: &dyn Manage, at: &str) -> usize {
    let tags = store.tags(None).await.unwrap_or_else(|e| panic!("{at}: {e}"));
    let mut seen = HashSet::new();
    for name in &tags {
        let content = store.resolve(&Selector::Tag(name.clone())).await;
        let content = content.unwrap_or_else(|e| panic!("{at}: {name}: {e}")).unwrap();
        closed(store, &content, &mut seen, at).await;
        let referrers = store.referrers(content.digest(), None).await;
        let referrers = referrers.unwrap_or_else(|e| panic!("{at}: {name}: {e}"));
        if name.as_str().starts_with('v') {
            assert_eq!(referrers.len(), 1, "{at}: {name} without its referrer");
        }
        for referrer in referrers {
            let content = store.resolve(&Selector::Digest(referrer.digest)).await.unwrap().unwrap();
            closed(store, &content, &mut seen, at).await;
        }
    }
    tags.iter().filter(|t| t.as_str().starts_with('v')).count()
}

async fn closed(store: &dyn Manage, content: &Content, seen: &mut HashSet<crate::oci::Digest>, at: &str) {
    for d in successors(content).unwrap().blobs {
        if seen.insert(d.digest.clone()) {
            let reader = store.fetch(&d, 0).await.unwrap_or_else(|e| panic!("{at}: {e}"));
            let read = collect(checked("here".into(), d, reader)).await;
            read.unwrap_or_else(|e| panic!("{at}: {e}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_point_leaves_the_old_or_the_new() {
    for form in FORMS {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("disk");
        std::fs::create_dir(&root).unwrap();
        let disk = Arc::new(Recorder::new(&root));
        for n in 1..=2 {
            let store = form.create(disk.clone(), &root).await.unwrap();
            batch(&*store, n).await.unwrap();
            disk.told();
        }
        let store = form.create(disk.clone(), &root).await.unwrap();
        store.delete(&Selector::Tag(tag(1))).await.unwrap();
        drop(store);
        let all = disk.operations();
        assert!(all > 30, "{form:?}: {all} operations");
        let (mut cuts, mut reruns) = (0, 0);
        for n in 0..=all {
            let chances = (0..4).map(Cut::Some);
            for how in [Cut::Nothing, Cut::Names, Cut::Everything].into_iter().chain(chances) {
                let left = dir.path().join(format!("left-{n}"));
                std::fs::create_dir(&left).unwrap();
                disk.cut(n, how, &left);
                let at = format!("{form:?}, {n} of {all} operations, {how:?}");
                let told = disk.told_before(n);
                match form.open(&left).await {
                    Ok(store) => {
                        let found = whole(&*store, &at).await;
                        assert!(found >= told.min(1), "{at}: {found} batches after {told} flushes");
                        assert!(told < 2 || n < all || found == 1, "{at}: {found}");
                    }
                    Err(e) => {
                        assert!(told == 0 && matches!(e.failure, Failure::NotALayout(_)), "{at}: {e}");
                    }
                }
                // Whatever is left, the same commands run again finish the work.
                if n % 5 == 0 || how == Cut::Nothing {
                    reruns += 1;
                    let again = Arc::new(Recorder::new(&left));
                    let store = form.create(again, &left).await.unwrap_or_else(|e| panic!("{at}: {e}"));
                    for n in 1..=2 {
                        batch(&*store, n).await.unwrap_or_else(|e| panic!("{at}: {e}"));
                    }
                    drop(store);
                    let read = form.open(&left).await.unwrap();
                    assert_eq!(whole(&*read, &at).await, 2, "{at}");
                }
                cuts += 1;
                std::fs::remove_dir_all(&left).unwrap();
            }
        }
        assert!(cuts > 7 * all && reruns > all, "{form:?}: {cuts} cuts, {reruns} reruns");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_at_any_write_leaves_what_was_there() {
    for form in FORMS {
        let mut n = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(Recorder::new(dir.path()));
            let first = form.create(disk.clone(), dir.path()).await.unwrap();
            batch(&*first, 1).await.unwrap();
            drop(first);
            disk.full_after(n);
            let failed = match form.create(disk.clone(), dir.path()).await {
                Ok(store) => batch(&*store, 2).await.err(),
                Err(e) => Some(e),
            };
            let at = format!("{form:?}, full after {n} writes");
            let found = whole(&*form.open(dir.path()).await.unwrap(), &at).await;
            let Some(failed) = failed else {
                assert!(n > 15 && found == 2, "{at}");
                break;
            };
            let Failure::Io { kind, reason } = &failed.failure else { panic!("{at}: {failed}") };
            assert_eq!(*kind, std::io::ErrorKind::StorageFull, "{at}");
            assert!(reason.contains("no space left for"), "{at}: {reason}");
            assert!(found == 1 || found == 2, "{at}: {found}");
            disk.empty_again();
            let store = form.create(disk.clone(), dir.path()).await.unwrap();
            batch(&*store, 2).await.unwrap();
            drop(store);
            assert_eq!(whole(&*form.open(dir.path()).await.unwrap(), &at).await, 2, "{at}");
            n += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_with_fat_takes_everything_but_files_that_are_too_large() {
    for form in FORMS {
        let dir = tempfile::tempdir().unwrap();
        let fat = Arc::new(Fat::default());
        let store = form.create(fat.clone(), dir.path()).await.unwrap();
        batch(&*store, 1).await.unwrap();
        // From a layout beside it, where blobs could be linked if this were no FAT.
        let other = OciDir::create(dir.path().join("other")).await.unwrap();
        let linkable = blob(&other, "from elsewhere ", 9).await.unwrap();
        let source = crate::store::StoreBlob { store: &other, blob: linkable.clone() };
        store.push_blob(&linkable, &source).await.unwrap();
        let asked = fat.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(asked, usize::from(form == Form::Directory));
        assert!(store.exists(&linkable).await.unwrap());
        let e = blob(&*store, "large ", 400_000).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Io { kind: std::io::ErrorKind::FileTooLarge, .. }), "{e}");
        let text = e.to_string();
        assert!(text.contains("FAT: 4 GiB") && text.contains("write blob sha256:"), "{text}");
        store.flush().await.unwrap();
        drop(store);
        let at = format!("{form:?}");
        assert_eq!(whole(&*form.open(dir.path()).await.unwrap(), &at).await, 1);
    }
}
