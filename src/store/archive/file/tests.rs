//! Writers that other programs, hostile sizes and failing disks come in the way of.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::oci::Content;
use crate::store::layout::disk::TEMPORARY;
use crate::store::layout::medium::{put_blob, read_blob};

/// A disk on which the next writes fail.
#[derive(Debug, Default)]
struct Failing(AtomicUsize);

impl Disk for Failing {
    fn write_at(&self, file: &File, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() { Err(ErrorKind::StorageFull.into()) } else { System.write_at(file, path, at, bytes) }
    }
}

fn content(text: &str, times: usize) -> Content {
    Content::new("a/b", text.repeat(times).into_bytes())
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn what_another_program_wrote_meanwhile_stays() {
    let old = content("old ", 900);
    for existing in [false, true] {
        // As skopeo does it, and as tar does: another file, and the same one longer; or none any more.
        for how in ["replaced", "appended", "removed"] {
            if !existing && how != "replaced" {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("a.tar");
            if existing {
                let first = TarFile::new(at.clone());
                put_blob(&first, &old).unwrap();
                first.commit().unwrap();
            }
            let tar = TarFile::new(at.clone());
            put_blob(&tar, &content("new ", 900)).unwrap();
            let theirs: Option<Vec<u8>> = match how {
                "replaced" => Some(b"theirs".to_vec()),
                "appended" => Some([fs::read(&at).unwrap(), vec![0; 512]].concat()),
                _ => None,
            };
            match &theirs {
                Some(bytes) if how == "replaced" => {
                    let other = dir.path().join("other");
                    fs::write(&other, bytes).unwrap();
                    fs::rename(&other, &at).unwrap();
                }
                Some(bytes) => fs::write(&at, bytes).unwrap(),
                None => fs::remove_file(&at).unwrap(),
            }
            let e = tar.commit().unwrap_err();
            let Failure::Locked(text) = &e else { panic!("{how}: {e}") };
            assert!(text.contains("another program changed") && text.contains("a.tar"), "{text}");
            assert_eq!(fs::read(&at).ok(), theirs, "{how}");
            // The blob is gone with the session: nothing that leads to it may be written now.
            assert!(matches!(tar.commit(), Err(Failure::Locked(_))), "{how}");
            assert!(put_blob(&tar, &content("later ", 9)).is_err(), "{how}");
            assert_eq!(names(dir.path()), theirs.iter().map(|_| "a.tar").collect::<Vec<_>>(), "{how}");
        }
    }
}

/// What could not be looked at is not gone: nothing takes its place.
#[test]
fn a_failed_look_at_the_archive_is_an_error() {
    for existing in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (sub, moved) = (dir.path().join("sub"), dir.path().join("moved"));
        fs::create_dir(&sub).unwrap();
        let at = sub.join("a.tar");
        let reader = TarFile::new(at.clone());
        if existing {
            put_blob(&reader, &content("old ", 9)).unwrap();
            reader.commit().unwrap();
            reader.check().unwrap();
        }
        let tar = TarFile::new(at.clone());
        put_blob(&tar, &content("new ", 9)).unwrap();
        fs::rename(&sub, &moved).unwrap();
        // Every look at the archive now fails, and not with "not found".
        fs::write(&sub, "in the way").unwrap();
        for failed in [tar.commit(), reader.check()] {
            let e = failed.unwrap_err();
            assert!(matches!(&e, Failure::Io { kind: ErrorKind::NotADirectory, .. }), "{existing}: {e:?}");
        }
        assert_eq!(moved.join("a.tar").exists(), existing);
    }
}

#[test]
fn a_size_that_was_not_meant_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a.tar");
    let tar = TarFile::new(at.clone());
    let sized = |text: &str, size: u64| Descriptor { size, ..content(text, 1).descriptor().clone() };
    for size in [1 << 60, u64::MAX, MAX_ARCHIVE_BYTES] {
        let Err(e) = tar.begin_blob(&sized("a", size)) else { panic!("{size} was taken") };
        assert!(matches!(e, Failure::TooLarge { .. }) && e.to_string().contains("16 TiB"), "{e}");
    }
    // Given up in any order, the room of both is given back.
    for first_ends_first in [true, false] {
        let first = tar.begin_blob(&sized("a", 1 << 40)).unwrap();
        let second = tar.begin_blob(&sized("b", 1 << 40)).unwrap();
        let (one, other) = if first_ends_first { (first, second) } else { (second, first) };
        drop(one);
        drop(other);
        assert_eq!(tar.state().session.as_ref().unwrap().next(), 0);
    }
    let (one, two) = (content("one ", 5000), content("two ", 5000));
    put_blob(&tar, &one).unwrap();
    let gap = tar.begin_blob(&sized("c", 1 << 30)).unwrap();
    put_blob(&tar, &two).unwrap();
    drop(gap);
    tar.commit().unwrap();
    assert!(fs::metadata(&at).unwrap().len() < 60_000);
    let read = TarFile::new(at);
    for c in [one, two] {
        assert!(read_blob(&read, c.digest(), 1 << 20).unwrap().unwrap() == *c.bytes());
    }
}

#[test]
fn an_archive_is_not_finished_after_a_move_that_failed() {
    let (gap, large) = (content("gap ", 1000), content("large ", 500_000));
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a.tar");
    let push = |disk: Arc<Failing>| {
        let tar = TarFile::on(disk, at.clone());
        let slot = tar.begin_blob(gap.descriptor()).unwrap();
        put_blob(&tar, &large).unwrap();
        drop(slot);
        tar
    };
    let disk = Arc::new(Failing::default());
    let tar = push(disk.clone());
    disk.0.store(1, Ordering::SeqCst);
    let e = tar.commit().unwrap_err();
    assert!(matches!(e, Failure::Io { kind: ErrorKind::StorageFull, .. }), "{e}");
    assert!(tar.commit().is_err(), "the disk has room again, but the blob is not whole");
    assert!(tar.begin().is_err());
    assert_eq!(names(dir.path()), Vec::<String>::new());
    push(disk).commit().unwrap();
    let read = TarFile::new(at);
    assert!(read_blob(&read, large.digest(), 1 << 30).unwrap().unwrap() == *large.bytes());
}

#[cfg(unix)]
#[test]
fn nobody_reads_the_new_file_who_may_not_read_the_old_one() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a.tar");
    let first = TarFile::new(at.clone());
    put_blob(&first, &content("old ", 9)).unwrap();
    first.commit().unwrap();
    for mode in [0o600, 0o440, 0o644] {
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        let tar = TarFile::new(at.clone());
        tar.begin().unwrap();
        let temporary = names(dir.path()).into_iter().find(|n| n.starts_with(TEMPORARY)).unwrap();
        let made = fs::metadata(dir.path().join(temporary)).unwrap();
        assert_eq!((made.len(), made.mode() & 0o777), (0, mode | 0o600));
        put_blob(&tar, &content(&format!("new {mode} "), 9)).unwrap();
        tar.commit().unwrap();
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o777, mode);
    }
}
