//! What is taken over by a link, and what is not.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A disk on which files become symbolic links before they are linked.
#[derive(Debug)]
struct Swapping;

impl Disk for Swapping {
    fn link(&self, from: &Path, dir: &Path) -> io::Result<TempPath> {
        let aside = from.with_extension("aside");
        fs::rename(from, &aside)?;
        symlink(&aside, from)?;
        System.link(from, dir)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_file_that_becomes_a_link_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"bytes").unwrap();
    let blob = Descriptor::of("a/b", b"bytes");
    let layout = Directory::on(Arc::new(Swapping), dir.path().join("layout"));
    assert!(!layout.adopt(&blob, &file).unwrap());
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink(), "it was swapped");
    assert_eq!(names(&layout.blobs(Algorithm::Sha256)), Vec::<String>::new());
    // A link to something that is no file at all is none either.
    fs::remove_file(&file).unwrap();
    fs::remove_file(file.with_extension("aside")).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(!layout.adopt(&blob, &file).unwrap());
    assert!(file.is_symlink() && file.is_dir(), "it was swapped");
    assert_eq!(names(&layout.blobs(Algorithm::Sha256)), Vec::<String>::new());
}

#[test]
fn only_files_with_the_permissions_of_new_ones_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"bytes").unwrap();
    let blob = Descriptor::of("a/b", b"bytes");
    let fresh = fs::metadata(&file).unwrap().mode() & 0o777;
    let layout = Directory::new(dir.path().join("layout"));
    for mode in [0o666, 0o664, 0o755, 0o600, 0o444, 0o4644, fresh] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let taken = layout.adopt(&blob, &file).unwrap();
        // With a umask that lets others write nothing is linked.
        assert_eq!(taken, mode == fresh && fresh & 0o022 == 0, "{mode:o}, new files have {fresh:o}");
        assert_eq!(names(&layout.blobs(Algorithm::Sha256)).len(), usize::from(taken), "{mode:o}");
        let _ = fs::remove_file(layout.path(&blob.digest));
    }
}
