//! What the files of an OCI layout lie on: a directory, or a tar file. Everything here blocks.

use std::fmt::Debug;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::disk::{fill_at, read_failure};
use crate::oci::{Content, Descriptor, Digest};
use crate::store::Failure;
use crate::store::blob::PIECE_BYTES;

/// Largest `index.json` that is read, in bytes.
pub(in crate::store) const MAX_INDEX_BYTES: u64 = 32 * 1024 * 1024;

/// Holds the files of a layout. What is written is at once visible through the same value; `index.json` names it for
/// everybody only after [`Medium::commit`].
pub trait Medium: Debug + Send + Sync + 'static {
    /// Tells one version of `index.json` from another.
    fn stamp(&self) -> Result<Stamp, Failure>;

    /// The bytes of `index.json`, at most [`MAX_INDEX_BYTES`].
    fn read_index(&self) -> Result<Vec<u8>, Failure>;

    /// Another `index.json`. What was written before is durable before the new one is.
    fn replace_index(&self, bytes: &[u8]) -> Result<(), Failure>;

    /// Keeps other processes from changing `index.json` while it is held; `None` where nobody else can in any case.
    fn lock(&self) -> Result<Option<File>, Failure>;

    /// The bytes of a blob; `None` when there is none.
    fn blob(&self, digest: &Digest) -> Result<Option<Extent>, Failure>;

    /// Size of a blob in bytes; `None` when there is none.
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        Ok(self.blob(digest)?.map(|e| e.length))
    }

    /// Room for a blob. It counts from [`Slot::keep`] on; dropped before, it was never there.
    fn begin_blob(&self, blob: &Descriptor) -> Result<Box<dyn Slot + '_>, Failure>;

    /// The file that holds this blob and nothing else, if there is one.
    fn file_of(&self, _digest: &Digest) -> Option<PathBuf> {
        None
    }

    /// Take a blob over from a file without copying it. `false` when that cannot be, or the file is not what the
    /// descriptor says.
    fn adopt(&self, _blob: &Descriptor, _file: &Path) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Whether commits are put off, where each costs as much as the whole.
    fn hold(&self, _held: bool) {}

    /// Remove a blob, if it is there.
    fn remove_blob(&self, digest: &Digest);

    /// Make everything that was written durable and visible to others.
    fn commit(&self) -> Result<(), Failure>;
}

/// A blob that is being written.
pub trait Slot {
    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure>;

    /// All was written, and digest and size are right.
    fn keep(self: Box<Self>) -> Result<(), Failure>;
}

/// Tells one version of a file from another: it is only ever replaced by a rename.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device and number.
    file: (u64, u64),
}

impl Stamp {
    pub(in crate::store) fn of(m: &Metadata) -> Self {
        Self { length: m.len(), modified: m.modified().ok(), file: file(m) }
    }
}

/// Bytes of an open file.
#[derive(Debug, Clone)]
pub struct Extent {
    pub(in crate::store) file: Arc<File>,
    pub(in crate::store) path: Arc<Path>,
    pub(in crate::store) from: u64,
    pub(in crate::store) length: u64,
}

impl Extent {
    /// The next piece from `at` on; empty at the end.
    pub(in crate::store) fn piece(&self, at: u64) -> Result<Bytes, Failure> {
        let rest = self.length.saturating_sub(at).min(PIECE_BYTES as u64);
        let mut piece = BytesMut::zeroed(usize::try_from(rest).unwrap_or(PIECE_BYTES));
        let filled = fill_at(&self.file, self.from + at, &mut piece);
        piece.truncate(filled.map_err(|e| read_failure(&self.path, &e))?);
        Ok(piece.freeze())
    }

    /// The whole, if it has at most `limit` bytes.
    pub(in crate::store) fn whole(&self, limit: u64) -> Result<Vec<u8>, Failure> {
        if self.length > limit {
            let what = self.path.display().to_string();
            return Err(Failure::TooLarge { what, limit: format!("{limit} bytes") });
        }
        let mut out = Vec::new();
        loop {
            let piece = self.piece(out.len() as u64)?;
            if piece.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(&piece);
        }
    }
}

/// A blob of at most `limit` bytes, unchecked; `None` when there is none.
pub(in crate::store) fn read_blob(
    medium: &dyn Medium,
    digest: &Digest,
    limit: u64,
) -> Result<Option<Vec<u8>>, Failure> {
    medium.blob(digest)?.map(|extent| extent.whole(limit)).transpose()
}

/// Write a small blob, in place of one that may be there.
pub(in crate::store) fn put_blob(medium: &dyn Medium, content: &Content) -> Result<(), Failure> {
    let mut slot = medium.begin_blob(content.descriptor())?;
    slot.write(content.bytes())?;
    slot.keep()
}

#[cfg(unix)]
fn file(m: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (m.dev(), m.ino())
}

#[cfg(not(unix))]
fn file(_m: &Metadata) -> (u64, u64) {
    (0, 0)
}
