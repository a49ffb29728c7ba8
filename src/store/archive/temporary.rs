//! The file that becomes the archive. There is one name for it per archive, and whoever holds the lock on it writes: so
//! two writers cannot lose each other's work, and what a killed one left is found and used again. Everything here blocks.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::oci::Digest;
use crate::store::Failure;
use crate::store::layout::disk::{Disk, TEMPORARY, same_file, write_failure};
use crate::store::layout::files::lock;

/// Removed when it is dropped without having become the archive.
#[derive(Debug)]
pub(super) struct Temporary {
    disk: Arc<dyn Disk>,
    file: Arc<File>,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// The empty file beside `target`, locked. Messages call it `named`.
    pub(super) fn take(disk: Arc<dyn Disk>, target: &Path, named: &Path) -> Result<Self, Failure> {
        let path = path_for(target);
        let dir = named.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let failed = |e: &io::Error| write_failure(dir, e);
        loop {
            if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
                return Err(foreign(&path));
            }
            // Until it has the permissions of the archive that it replaces, nobody else opens it; nor where that could not
            // be looked at.
            let absent = |e: io::Error| e.kind() == io::ErrorKind::NotFound;
            let private = !fs::symlink_metadata(target).is_err_and(absent);
            let file = disk.open_or_create(&path, private).map_err(|e| failed(&e))?;
            lock(&file, named)?;
            let m = file.metadata().map_err(|e| failed(&e))?;
            // Whoever held the lock before has renamed or removed the file: then the name is another file's by now, or
            // nobody's. A link that was put there in between is no match either.
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_file() && same_file(&there, &m) => {}
                Ok(there) if !there.is_file() => return Err(foreign(&path)),
                _ => continue,
            }
            if links(&m) > 1 {
                return Err(foreign(&path));
            }
            disk.set_len(&file, &path, 0).map_err(|e| failed(&e))?;
            return Ok(Self { disk, file: Arc::new(file), path, renamed: false });
        }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Let nobody read it who may not read the archive that it replaces. The owner can write it in any case, or the next
    /// writer could not take over what a killed one left.
    #[cfg(unix)]
    pub(super) fn protect(&self, archive: &fs::Metadata) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        self.file.set_permissions(fs::Permissions::from_mode((archive.mode() & 0o777) | 0o600))
    }

    #[cfg(not(unix))]
    pub(super) fn protect(&self, _archive: &fs::Metadata) -> io::Result<()> {
        Ok(())
    }

    /// Let it be the file at `target`.
    pub(super) fn rename(&mut self, target: &Path) -> io::Result<()> {
        self.disk.rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: the next writer takes it over.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Short whatever the archive is called: names have a limit.
fn path_for(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let digest = Digest::sha256(name.as_bytes());
    target.with_file_name(format!("{TEMPORARY}{}.tmp", &digest.hex()[..16]))
}

fn foreign(path: &Path) -> Failure {
    let reason = format!("{} is something else than the temporary file that belongs there", path.display());
    Failure::Io { kind: io::ErrorKind::AlreadyExists, reason }
}

#[cfg(unix)]
fn links(m: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(m)
}

#[cfg(not(unix))]
fn links(_m: &fs::Metadata) -> u64 {
    1
}
