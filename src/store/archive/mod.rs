//! OCI image layouts that are one tar file, as podman, skopeo and oras write them: read in place by offset, written as
//! a stream into another file that takes the old one's place at the end.

mod contents;
mod file;
mod tar;
mod temporary;

use std::path::PathBuf;

pub use self::file::TarFile;
use super::StoreError;
use super::layout::Layout;
use crate::oci::{ArchiveRef, Reference};

/// An OCI layout in a tar file. Dropped without a flush, the file is as it was before.
pub type OciArchive = Layout<TarFile>;

impl OciArchive {
    /// An existing archive. Nothing is written by opening it.
    ///
    /// # Errors
    /// [`Failure::NotALayout`](super::Failure::NotALayout) when the file is not there, compressed, damaged, or holds no
    /// OCI layout, saying which.
    pub async fn open(file: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::in_file(file.into());
        this.on_medium("open", TarFile::check).await?;
        Ok(this)
    }

    /// An archive to write into: an existing one, whose content is kept, or a new one. No other process can write it
    /// until this value is flushed or dropped. The file appears, or changes, with the first flush.
    ///
    /// # Errors
    /// The file is no such archive, another process has been writing it for too long, or the directory cannot be written.
    pub async fn create(file: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::in_file(file.into());
        this.on_medium("create", TarFile::begin).await?;
        Ok(this)
    }

    fn in_file(file: PathBuf) -> Self {
        let place = Reference::Archive(ArchiveRef { file: file.clone(), selector: None });
        Self::on(place, TarFile::new(file))
    }
}
