//! The files of an OCI layout: where they lie, how they are read with a bound and written so that a crash loses nothing.
//! Everything here blocks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::oci::{Algorithm, Digest};
use crate::store::Failure;

/// Largest `index.json` that is read, in bytes.
pub(super) const MAX_INDEX_BYTES: u64 = 32 * 1024 * 1024;
/// The lock of writers. The layout specification tolerates unknown files.
const LOCK: &str = ".bulla.lock";
/// What temporary files begin with.
const TEMPORARY: &str = ".bulla-";
/// How long a writer waits for another one. A lock is held for one index write.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// A temporary file this old was left by a process that died.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory of a layout.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// Tells one version of `index.json` from another: it is only ever replaced by a rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.dir.join("oci-layout")
    }

    pub(super) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.dir.join("blobs").join(algorithm.as_str())
    }

    /// Made from the parsed digest only: hex cannot leave the directory.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// Size of a blob's file in bytes; `None` when there is none.
    pub(super) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        let path = self.blob(digest);
        match fs::metadata(&path) {
            Ok(m) if m.is_file() => Ok(Some(m.len())),
            Ok(_) => Err(not_regular(&path)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(read_failure(&path, &e)),
        }
    }

    /// The stamp of `index.json`.
    pub(super) fn stamp(&self) -> Result<Stamp, Failure> {
        let path = self.index();
        let m = fs::metadata(&path).map_err(|e| read_failure(&path, &e))?;
        Ok(Stamp { length: m.len(), modified: m.modified().ok(), inode: inode(&m) })
    }

    /// Take the lock of writers; released when the file is closed.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let path = self.dir.join(LOCK);
        if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
            return Err(not_regular(&path));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| write_failure(&self.dir, &e))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(write_failure(&path, &e)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    let waited = LOCK_PATIENCE.as_secs();
                    return Err(Failure::Locked(format!(
                        "another process has held {} for more than {waited} s",
                        path.display()
                    )));
                }
            }
        }
    }

    /// A temporary file beside its final place.
    pub(super) fn temporary(&self, target: &Path) -> Result<tempfile::NamedTempFile, Failure> {
        let beside = target.parent().unwrap_or(&self.dir);
        let make = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix(TEMPORARY).suffix(".tmp");
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            builder.tempfile_in(beside)
        };
        let made = match make() {
            Err(e) if e.kind() == ErrorKind::NotFound => fs::create_dir_all(beside).and_then(|()| make()),
            other => other,
        };
        made.map_err(|e| write_failure(&self.dir, &e))
    }

    /// Make a temporary file durable and give it its name.
    pub(super) fn keep(&self, temporary: tempfile::NamedTempFile, target: &Path) -> Result<(), Failure> {
        temporary.as_file().sync_all().map_err(|e| write_failure(&self.dir, &e))?;
        temporary.persist(target).map_err(|e| write_failure(&self.dir, &e.error))?;
        Ok(())
    }

    /// Replace the file at `target` whole, durably.
    pub(super) fn replace(&self, target: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let mut temporary = self.temporary(target)?;
        temporary.write_all(bytes).map_err(|e| write_failure(&self.dir, &e))?;
        self.keep(temporary, target)
    }

    /// Make renames in the blob directories durable: to be done before an index names what they brought.
    pub(super) fn sync_blobs(&self) -> Result<(), Failure> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.blobs(algorithm);
            if dir.is_dir() {
                sync_dir(&dir)?;
            }
        }
        sync_dir(&self.dir.join("blobs"))
    }

    /// Make renames in the layout's own directory durable.
    pub(super) fn sync_top(&self) -> Result<(), Failure> {
        sync_dir(&self.dir)
    }

    /// Remove temporary files that a process left when it died.
    pub(super) fn sweep(&self) {
        let dirs = [self.dir.clone(), self.blobs(Algorithm::Sha256), self.blobs(Algorithm::Sha512)];
        for entry in dirs.iter().filter_map(|d| fs::read_dir(d).ok()).flatten().flatten() {
            let name = entry.file_name();
            let ours =
                name.to_str().is_some_and(|n| n.starts_with(TEMPORARY) && Path::new(n).extension().is_some());
            let age = entry.metadata().ok().and_then(|m| m.modified().ok()?.elapsed().ok());
            if ours && age.is_some_and(|a| a > STALE) {
                // Best effort: what cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Names in the directory that a new layout there would be mixed with.
    pub(super) fn strangers(&self) -> Result<Vec<String>, Failure> {
        let known = |n: &str| {
            matches!(n, "oci-layout" | "index.json" | "blobs" | "lost+found" | "System Volume Information")
                || n.starts_with(TEMPORARY)
                || n.starts_with(".Trash-")
                || n == LOCK
        };
        let entries = fs::read_dir(&self.dir).map_err(|e| read_failure(&self.dir, &e))?;
        let names = entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()));
        let names: Result<Vec<String>, io::Error> = names.collect();
        let names = names.map_err(|e| read_failure(&self.dir, &e))?;
        Ok(names.into_iter().filter(|n| !known(n)).collect())
    }
}

/// A whole regular file of at most `limit` bytes; `None` when there is none.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    let mut out = Vec::new();
    file.take(limit + 1).read_to_end(&mut out).map_err(|e| read_failure(path, &e))?;
    if out.len() as u64 > limit {
        let what = path.display().to_string();
        return Err(Failure::TooLarge { what, limit: format!("{limit} bytes") });
    }
    Ok(Some(out))
}

/// A regular file, open for reading; `None` when there is none. Links are followed (build tools make layouts of links),
/// but a pipe or device is never opened: it could block for ever.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>, Failure> {
    match fs::metadata(path) {
        Ok(m) if m.is_file() => {}
        Ok(_) => return Err(not_regular(path)),
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(read_failure(path, &e)),
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(read_failure(path, &e)),
    }
}

/// A failed write, in words that say what to do.
pub(super) fn write_failure(dir: &Path, e: &io::Error) -> Failure {
    let dir = dir.display();
    let reason = match e.kind() {
        ErrorKind::ReadOnlyFilesystem => format!("{dir} lies on a read-only file system"),
        ErrorKind::PermissionDenied => format!("{dir} cannot be written: permission denied"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("no space left for {dir}"),
        _ => format!("cannot write in {dir}: {e}"),
    };
    Failure::Io { kind: e.kind(), reason }
}

/// A failed read.
pub(super) fn read_failure(path: &Path, e: &io::Error) -> Failure {
    Failure::Io { kind: e.kind(), reason: format!("cannot read {}: {e}", path.display()) }
}

fn not_regular(path: &Path) -> Failure {
    let reason = format!("{} is no regular file", path.display());
    Failure::Io { kind: ErrorKind::InvalidData, reason }
}

/// A component that is no directory means that the file is not there either.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> Result<(), Failure> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| write_failure(dir, &e))
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> Result<(), Failure> {
    Ok(())
}

#[cfg(unix)]
fn inode(m: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(m)
}

#[cfg(not(unix))]
fn inode(_m: &fs::Metadata) -> u64 {
    0
}
