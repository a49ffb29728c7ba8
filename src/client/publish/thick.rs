//! Thick archives: the file as it is, hung on the CNAB bundle that it is one of.

use std::io::SeekFrom;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::oci::{Content, Descriptor, Digest, EMPTY_JSON, Packer, empty_descriptor, media_type};
use crate::store::{BlobReader, BlobSource, BytesSource, Failure, Manage, StoreError};
use crate::trust::cnab::FileHash;

/// Size of the pieces in which it is read, bytes.
const PIECE: usize = 256 << 10;
/// What it is called where a tool saves it (image-spec `annotations.md`).
const TITLE: &str = "org.opencontainers.image.title";

/// A thick archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thick {
    /// The file.
    pub file: PathBuf,
    /// What it was when it was read.
    pub hash: FileHash,
}

impl Thick {
    /// The artifact that carries it; the same file makes the same one.
    pub fn packed(&self, subject: &Descriptor) -> Content {
        Packer::new(media_type::BULLA_THICK).layer(self.layer()).subject(subject).build()
    }

    fn layer(&self) -> Descriptor {
        let FileHash { digest, length } = &self.hash;
        Descriptor::new(media_type::BULLA_THICK_ARCHIVE, digest.clone(), *length)
            .annotated(TITLE, "bundle.tgz")
    }

    /// Push and list it. A file that changed since it was hashed is refused by the store.
    pub(super) async fn hang(&self, store: &dyn Manage, subject: &Descriptor) -> Result<Digest, StoreError> {
        let (layer, empty) = (self.layer(), empty_descriptor());
        if !store.exists(&layer).await? {
            store.push_blob(&layer, self).await?;
        }
        if !store.exists(&empty).await? {
            store.push_blob(&empty, &BytesSource(Bytes::from_static(EMPTY_JSON))).await?;
        }
        let manifest = self.packed(subject);
        store.push_manifest(&manifest, None).await?;
        store.index_referrers(subject, std::slice::from_ref(&manifest)).await?;
        store.flush().await?;
        Ok(manifest.digest().clone())
    }
}

#[async_trait]
impl BlobSource for Thick {
    async fn open(&self, offset: u64) -> Result<BlobReader, StoreError> {
        let place = self.file.display().to_string();
        let failed = move |e: std::io::Error| StoreError::new(&place, "read it", Failure::from(e));
        let mut file = tokio::fs::File::open(&self.file).await.map_err(&failed)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(&failed)?;
        let pieces = stream::unfold(Some(file), move |file| {
            let failed = failed.clone();
            async move {
                let mut file = file?;
                let mut piece = vec![0; PIECE];
                match file.read(&mut piece).await {
                    Ok(0) => None,
                    Ok(n) => {
                        piece.truncate(n);
                        Some((Ok(Bytes::from(piece)), Some(file)))
                    }
                    Err(e) => Some((Err(failed(e)), None)),
                }
            }
        });
        Ok(pieces.boxed())
    }
}
