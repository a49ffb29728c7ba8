//! Proposals in files: written whole, or left as they were.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Write a proposal's bytes in place of `path`: what others signed is in it, and a stick may be pulled out at any time.
///
/// # Errors
/// A file operation failed; the file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".bulla-proposal-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Others sign it, too: readable like any file that is made here.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o777);
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}
