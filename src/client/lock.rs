//! A lock file that one process holds at a time.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a process waits for another one. A lock is held while one small file is written.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Take the lock; it is released when the file is closed.
///
/// # Errors
/// The file cannot be opened, or another process holds it for longer than `patience`.
pub(super) fn exclusive(path: &Path, patience: Duration) -> io::Result<File> {
    held(File::options().create(true).truncate(false).write(true).open(path)?, patience)
}

/// The same for a folder, in which no file is left; nothing on systems whose folders cannot be locked.
///
/// # Errors
/// It cannot be opened, or another process holds it for longer than `patience`.
pub(super) fn folder(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    if cfg!(not(unix)) {
        return Ok(None);
    }
    match held(File::open(path)?, patience) {
        Ok(file) => Ok(Some(file)),
        // A share without locks: then whoever exports there looks once more before the last file.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
        Err(e) => Err(e),
    }
}

fn held(file: File, patience: Duration) -> io::Result<File> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let text =
                    format!("another process has held this lock for more than {} s", patience.as_secs());
                return Err(io::Error::new(ErrorKind::WouldBlock, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        let held = exclusive(&path, PATIENCE).unwrap();
        let refused = exclusive(&path, Duration::from_millis(30)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert!(refused.to_string().starts_with("another process has held this lock"));
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || exclusive(&path, PATIENCE).map(drop)
        });
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        waiting.join().unwrap().unwrap();
    }
}
