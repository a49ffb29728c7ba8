//! The operations on files that a layout is written with. Tests record them, let them fail, and replay them as after a
//! power cut: killing a process does not test what was synced. Everything here blocks.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::store::Failure;
use crate::store::blob::PIECE_BYTES;

/// What temporary files begin with.
pub(in crate::store) const TEMPORARY: &str = ".bulla-";

/// A disk. What stands here is the real one.
pub(in crate::store) trait Disk: Debug + Send + Sync {
    /// Make a directory and what is above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    /// A new file under a name that nobody else has; removed when the path is dropped.
    fn temporary(&self, dir: &Path) -> io::Result<(File, TempPath)> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(builder.tempfile_in(dir)?.into_parts())
    }

    /// A file that is made when it is not there, for nobody else to read if it is `private`, and left as it is when it is.
    fn open_or_create(&self, path: &Path, private: bool) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if private { 0o600 } else { 0o666 });
        #[cfg(not(unix))]
        let _ = private;
        options.open(path)
    }

    /// Write at a place of a file.
    fn write_at(&self, file: &File, _path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(file, at, bytes)
    }

    /// Cut a file, or fill it up with zeros.
    fn set_len(&self, file: &File, _path: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Make the content of a file durable.
    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    /// Give a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// A further name for a file, that nobody else has; removed when the path is dropped.
    fn link(&self, from: &Path, dir: &Path) -> io::Result<TempPath> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).suffix(".tmp");
        Ok(builder.make_in(dir, |path| fs::hard_link(from, path))?.into_parts().1)
    }

    /// Take a name away.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Make the names in a directory durable.
    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|d| d.sync_all())
    }

    /// Nothing to do: directories cannot be synced here.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// The disk of this machine.
#[derive(Debug)]
pub(in crate::store) struct System;

impl Disk for System {}

/// Writes a file from some place on, in large pieces.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    disk: Arc<dyn Disk>,
    file: Arc<File>,
    path: PathBuf,
    at: u64,
    held: Vec<u8>,
}

impl Writer {
    pub(in crate::store) fn new(disk: Arc<dyn Disk>, file: Arc<File>, path: PathBuf, at: u64) -> Self {
        Self { disk, file, path, at, held: Vec::new() }
    }

    pub(in crate::store) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.held.is_empty() && bytes.len() >= PIECE_BYTES {
            return self.put(bytes);
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE_BYTES { self.finish() } else { Ok(()) }
    }

    /// Where the next byte goes.
    pub(in crate::store) fn position(&self) -> u64 {
        self.at + self.held.len() as u64
    }

    /// Hand over what is held back.
    pub(in crate::store) fn finish(&mut self) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        self.put(&held)?;
        self.held = held;
        self.held.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let put = self.disk.write_at(&self.file, &self.path, self.at, bytes);
        put.map_err(|e| write_failure(self.path.parent().unwrap_or(&self.path), &e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Read at a place of a file, whose own position is left alone where the system can; 0 at its end.
pub(in crate::store) fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, into, at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, into, at);
        match read {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Fill `into` from a place of a file; how much there was, less only at the file's end.
pub(in crate::store) fn fill_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match read_at(file, at + filled as u64, &mut into[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(unix)]
fn write_all_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if n == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        (at, bytes) = (at + n as u64, &bytes[n..]);
    }
    Ok(())
}

/// Whether both are one file, under whatever names.
#[cfg(unix)]
pub(in crate::store) fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Not to be told here. An open file cannot be renamed or removed either.
#[cfg(not(unix))]
pub(in crate::store) fn same_file(_a: &fs::Metadata, _b: &fs::Metadata) -> bool {
    true
}

/// A failed write, in words that say what to do.
pub(in crate::store) fn write_failure(dir: &Path, e: &io::Error) -> Failure {
    let dir = dir.display();
    let reason = match e.kind() {
        ErrorKind::ReadOnlyFilesystem => format!("{dir} lies on a read-only file system"),
        ErrorKind::PermissionDenied => format!("{dir} cannot be written: permission denied"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("no space left for {dir}"),
        ErrorKind::FileTooLarge => {
            format!("{dir} lies on a file system that takes no file of this size (FAT: 4 GiB)")
        }
        _ => format!("cannot write in {dir}: {e}"),
    };
    Failure::Io { kind: e.kind(), reason }
}

/// A failed read.
pub(in crate::store) fn read_failure(path: &Path, e: &io::Error) -> Failure {
    Failure::Io { kind: e.kind(), reason: format!("cannot read {}: {e}", path.display()) }
}
