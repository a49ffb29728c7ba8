//! An OCI layout as a directory: where its files lie, how they are read with a bound and written so that a crash loses
//! nothing. Everything here blocks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempPath;

use super::disk::{Disk, System, TEMPORARY, Writer, read_failure, same_file, write_failure};
use super::index::Index;
use super::medium::{Extent, MAX_INDEX_BYTES, Medium, Slot, Stamp};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher, sorted_json};
use crate::store::Failure;

/// The lock of writers. The layout specification tolerates unknown files.
const LOCK: &str = ".bulla.lock";
/// How long a writer waits for another one. In a directory a lock is held for one index write.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// A temporary file this old was left by a process that died.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest `oci-layout` file that is read, in bytes.
pub(in crate::store) const MAX_MARKER_BYTES: u64 = 4096;

/// The directory of a layout.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Blobs were written whose names are not durable yet.
    unsynced: AtomicBool,
    /// Permissions of a blob's file that is written here.
    mode: OnceLock<u32>,
}

/// A blob's file that has no name yet.
struct NewFile<'a> {
    directory: &'a Directory,
    writer: Writer,
    file: Arc<File>,
    temporary: TempPath,
    target: PathBuf,
}

impl Slot for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write(bytes)
    }

    fn keep(mut self: Box<Self>) -> Result<(), Failure> {
        self.writer.finish()?;
        self.directory.unsynced.store(true, Ordering::Release);
        self.directory.keep(&self.file, self.temporary, &self.target)
    }
}

impl Medium for Directory {
    fn stamp(&self) -> Result<Stamp, Failure> {
        let path = self.index();
        Ok(Stamp::of(&fs::metadata(&path).map_err(|e| read_failure(&path, &e))?))
    }

    fn read_index(&self) -> Result<Vec<u8>, Failure> {
        let index = read_small(&self.index(), MAX_INDEX_BYTES)?;
        index.ok_or_else(|| Failure::NotALayout(format!("{} has no index.json", self.dir.display())))
    }

    fn replace_index(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.sync_blobs()?;
        self.replace(&self.index(), bytes)?;
        self.sync_dir(&self.dir)
    }

    fn lock(&self) -> Result<Option<File>, Failure> {
        let path = self.dir.join(LOCK);
        if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
            return Err(not_regular(&path));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| write_failure(&self.dir, &e))?;
        lock(&file, &path).map(|()| Some(file))
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Extent>, Failure> {
        let path = self.path(digest);
        let Some(file) = open_regular(&path)? else { return Ok(None) };
        let length = file.metadata().map_err(|e| read_failure(&path, &e))?.len();
        Ok(Some(Extent { file: Arc::new(file), path: path.into(), from: 0, length }))
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(m) if m.is_file() => Ok(Some(m.len())),
            Ok(_) => Err(not_regular(&path)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(read_failure(&path, &e)),
        }
    }

    fn begin_blob(&self, blob: &Descriptor) -> Result<Box<dyn Slot + '_>, Failure> {
        let target = self.path(&blob.digest);
        let (file, temporary) = self.temporary(&target)?;
        let file = Arc::new(file);
        let writer = Writer::new(self.disk.clone(), file.clone(), temporary.to_path_buf(), 0);
        Ok(Box::new(NewFile { directory: self, writer, file, temporary, target }))
    }

    fn file_of(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.path(digest);
        fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()).then_some(path)
    }

    fn adopt(&self, blob: &Descriptor, file: &Path) -> Result<bool, Failure> {
        let target = self.path(&blob.digest);
        let beside = target.parent().unwrap_or(&self.dir);
        self.make_dir(beside)?;
        // Another file system, or one without links (FAT).
        let Ok(linked) = self.disk.link(file, beside) else { return Ok(false) };
        // The file may have become a symbolic link meanwhile, and then `linked` is a second name for that.
        if !fs::symlink_metadata(&linked).is_ok_and(|m| m.is_file()) {
            return Ok(false);
        }
        let Some(opened) = open_regular(&linked)? else { return Ok(false) };
        let m = opened.metadata().map_err(|e| read_failure(&linked, &e))?;
        let is_it = || fs::symlink_metadata(&linked).is_ok_and(|l| l.is_file() && same_file(&l, &m));
        if !is_it() || m.len() != blob.size || !self.is_as_ours(&m, &target) {
            return Ok(false);
        }
        let opened = Arc::new(opened);
        let bytes =
            Extent { file: opened.clone(), path: linked.to_path_buf().into(), from: 0, length: m.len() };
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut at = 0;
        while at < m.len() {
            let piece = bytes.piece(at)?;
            if piece.is_empty() {
                return Ok(false);
            }
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        if hasher.finish() != blob.digest {
            return Ok(false);
        }
        self.disk.sync(&opened, &linked).map_err(|e| write_failure(&self.dir, &e))?;
        if !is_it() {
            return Ok(false);
        }
        // Where the blob has this name already, nothing happens, and the other name goes with `linked`.
        self.disk.rename(&linked, &target).map_err(|e| write_failure(&self.dir, &e))?;
        self.unsynced.store(true, Ordering::Release);
        Ok(true)
    }

    fn remove_blob(&self, digest: &Digest) {
        // Gone already is as good.
        let _ = self.disk.remove(&self.path(digest));
    }

    fn commit(&self) -> Result<(), Failure> {
        if self.unsynced.load(Ordering::Acquire) { self.sync_blobs() } else { Ok(()) }
    }
}

impl Directory {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self::on(Arc::new(System), dir)
    }

    /// The same on a disk of its own kind.
    pub(super) fn on(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { dir, disk, unsynced: AtomicBool::new(false), mode: OnceLock::new() }
    }

    /// Check that there is a layout.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let dir = self.dir.display();
        match fs::metadata(&self.dir) {
            Ok(m) if m.is_dir() => {}
            Ok(_) => {
                return Err(Failure::NotALayout(format!(
                    "{dir} is a file; name the directory, or write oci-archive:{dir} for a tar file"
                )));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Failure::NotALayout(format!("{dir} does not exist")));
            }
            Err(e) => return Err(read_failure(&self.dir, &e)),
        }
        let Some(marker) = read_small(&self.marker(), MAX_MARKER_BYTES)? else {
            return Err(Failure::NotALayout(format!(
                "{dir} has no file \"oci-layout\"; copy a bundle into an empty or new directory to make one"
            )));
        };
        check_marker(&self.dir, &marker)?;
        match open_regular(&self.index())? {
            Some(_) => Ok(()),
            None => Err(Failure::NotALayout(format!("{dir} has no index.json"))),
        }
    }

    /// Make a layout where there is none yet, and nothing else.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let dir = &self.dir;
        self.make_dir(dir)?;
        let made = || read_small(&self.marker(), MAX_MARKER_BYTES).map(|m| m.is_some());
        // Looked at before anything is written: a lock file in somebody's home directory would be litter.
        if !made()? && (!self.strangers()?.is_empty() || !self.begun_at_most()?) {
            return self.check().map_err(|f| match f {
                Failure::NotALayout(_) => Failure::NotALayout(format!(
                    "{} holds other things and no file \"oci-layout\"; name an empty or a new directory",
                    dir.display()
                )),
                other => other,
            });
        }
        let _lock = self.lock()?;
        if !made()? {
            let blobs = self.blobs(Algorithm::Sha256);
            self.make_dir(&blobs)?;
            self.replace(&self.index(), &Index::empty().to_bytes())?;
            // The marker comes last: where it is, the rest is.
            self.sync_dir(dir)?;
            self.replace(&self.marker(), &marker())?;
            self.sync_dir(dir)?;
        }
        self.sweep();
        self.check()
    }

    /// Whether there is no index, or one without entries, as another process or an interrupted one leaves it half way.
    fn begun_at_most(&self) -> Result<bool, Failure> {
        let Some(bytes) = read_small(&self.index(), MAX_INDEX_BYTES)? else { return Ok(true) };
        Ok(bytes == Index::empty().to_bytes())
    }

    fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    fn marker(&self) -> PathBuf {
        self.dir.join("oci-layout")
    }

    fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.dir.join("blobs").join(algorithm.as_str())
    }

    /// Made from the parsed digest only: hex cannot leave the directory.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// A temporary file beside its final place.
    fn temporary(&self, target: &Path) -> Result<(File, TempPath), Failure> {
        let beside = target.parent().unwrap_or(&self.dir);
        let made = match self.disk.temporary(beside) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.make_dir(beside)?;
                self.disk.temporary(beside)
            }
            other => other,
        };
        made.map_err(|e| write_failure(&self.dir, &e))
    }

    /// Whether a file has the owner and the permissions of one that is written at `target`, and nobody but the owner can
    /// change it after it was checked.
    #[cfg(unix)]
    fn is_as_ours(&self, file: &fs::Metadata, target: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let owner = target.parent().and_then(|dir| fs::metadata(dir).ok()).map(|d| d.uid());
        // Only a file that was made tells what the umask and the directory make of it.
        let fresh = || Some(self.temporary(target).ok()?.0.metadata().ok()?.mode());
        let mode = self.mode.get().copied().or_else(fresh);
        let Some(mode) = mode.map(|m| *self.mode.get_or_init(|| m)) else { return false };
        owner == Some(file.uid()) && file.mode() == mode && mode & 0o022 == 0
    }

    #[cfg(not(unix))]
    fn is_as_ours(&self, _file: &fs::Metadata, _target: &Path) -> bool {
        true
    }

    /// Make a directory and what is above it, durably.
    fn make_dir(&self, dir: &Path) -> Result<(), Failure> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !is_here(d)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.disk.create_dir_all(dir).map_err(|e| write_failure(&self.dir, &e))?;
        for made in missing.iter().rev() {
            let above = made.parent().filter(|p| !p.as_os_str().is_empty());
            match self.disk.sync_dir(above.unwrap_or_else(|| Path::new("."))) {
                // A directory above that may not be read cannot be synced by us.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => {}
                synced => synced.map_err(|e| write_failure(&self.dir, &e))?,
            }
        }
        Ok(())
    }

    /// Make a temporary file durable and give it its name.
    fn keep(&self, file: &File, temporary: TempPath, target: &Path) -> Result<(), Failure> {
        self.disk.sync(file, &temporary).map_err(|e| write_failure(&self.dir, &e))?;
        self.disk.rename(&temporary, target).map_err(|e| write_failure(&self.dir, &e))?;
        // It has another name now: nothing is left to remove.
        let _ = temporary.keep();
        Ok(())
    }

    /// Replace the file at `target` whole, durably.
    fn replace(&self, target: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let (file, temporary) = self.temporary(target)?;
        let written = self.disk.write_at(&file, &temporary, 0, bytes);
        written.map_err(|e| write_failure(&self.dir, &e))?;
        self.keep(&file, temporary, target)
    }

    /// Make renames in the blob directories durable: to be done before an index names what they brought.
    fn sync_blobs(&self) -> Result<(), Failure> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.blobs(algorithm);
            if dir.is_dir() {
                self.sync_dir(&dir)?;
            }
        }
        self.sync_dir(&self.dir.join("blobs"))?;
        self.unsynced.store(false, Ordering::Release);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Failure> {
        self.disk.sync_dir(dir).map_err(|e| write_failure(dir, &e))
    }

    /// Remove temporary files that a process left when it died.
    fn sweep(&self) {
        let dirs = [self.dir.clone(), self.blobs(Algorithm::Sha256), self.blobs(Algorithm::Sha512)];
        for entry in dirs.iter().filter_map(|d| fs::read_dir(d).ok()).flatten().flatten() {
            let name = entry.file_name();
            let ours =
                name.to_str().is_some_and(|n| n.starts_with(TEMPORARY) && Path::new(n).extension().is_some());
            let age = entry.metadata().ok().and_then(|m| m.modified().ok()?.elapsed().ok());
            if ours && age.is_some_and(|a| a > STALE) {
                // Best effort: what cannot be removed does no harm.
                let _ = self.disk.remove(&entry.path());
            }
        }
    }

    /// Names in the directory that a new layout there would be mixed with.
    fn strangers(&self) -> Result<Vec<String>, Failure> {
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

/// Take the lock of writers, which is released when the file is closed.
pub(in crate::store) fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(write_failure(path, &e)),
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

/// The file `oci-layout` of a new layout.
pub(in crate::store) fn marker() -> Vec<u8> {
    sorted_json(&serde_json::json!({"imageLayoutVersion": "1.0.0"}))
}

/// Check the file `oci-layout` of the layout at `place`.
pub(in crate::store) fn check_marker(place: &Path, marker: &[u8]) -> Result<(), Failure> {
    let place = place.display();
    let doc: Option<serde_json::Value> = serde_json::from_slice(marker).ok();
    match doc.as_ref().and_then(|d| d.get("imageLayoutVersion")?.as_str()) {
        Some(v) if v.starts_with("1.") => Ok(()),
        Some(v) => {
            let v: String = v.chars().take(40).collect();
            Err(Failure::NotALayout(format!("{place} has the layout version {v:?}, not 1.0.0")))
        }
        None => {
            Err(Failure::NotALayout(format!("{place}: the file \"oci-layout\" names no imageLayoutVersion")))
        }
    }
}

/// A whole regular file of at most `limit` bytes; `None` when there is none.
fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
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
pub(in crate::store) fn open_regular(path: &Path) -> Result<Option<File>, Failure> {
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

fn is_here(dir: &Path) -> bool {
    // What follows a relative path's first name is the current directory.
    dir.as_os_str().is_empty() || dir.exists()
}

fn not_regular(path: &Path) -> Failure {
    let reason = format!("{} is no regular file", path.display());
    Failure::Io { kind: ErrorKind::InvalidData, reason }
}

/// A component that is no directory means that the file is not there either.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
