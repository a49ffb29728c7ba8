//! Where a repository comes from: a folder, or a web server.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::ImportError;
use crate::client::export::tree::{metadata_names, target_names};
use crate::store::registry::Site;
use crate::tuf::{FileName, Target};

/// A tree of files with consistent snapshots. "Not there" is `None` only when the tree says so.
#[async_trait]
pub trait Source: Send + Sync {
    /// A metadata file of at most `max` bytes.
    async fn metadata(&self, name: &FileName, max: u64) -> Result<Option<Bytes>, ImportError>;

    /// A target file.
    async fn target(&self, path: &str, target: &Target) -> Result<Option<Bytes>, ImportError>;
}

/// A folder with `metadata/` and `targets/`, or with the metadata in itself.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// The same behind a URL.
pub struct Web {
    site: Site,
    /// `metadata/`, or nothing where the metadata lies beside `targets/`.
    metadata: &'static str,
}

impl Folder {
    /// The folder at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

#[async_trait]
impl Source for Folder {
    async fn metadata(&self, name: &FileName, max: u64) -> Result<Option<Bytes>, ImportError> {
        for file in metadata_names(name) {
            let beside = file.strip_prefix("metadata").unwrap_or(&file);
            for file in [&*file, beside] {
                if let Some(bytes) = read(&self.0.join(file), max)? {
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }

    async fn target(&self, path: &str, target: &Target) -> Result<Option<Bytes>, ImportError> {
        for name in target_names(path, target).into_iter().flatten() {
            if let Some(bytes) = read(&self.0.join(name), target.length)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl Web {
    /// Find out how the tree at `site` is arranged.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn at(site: Site) -> Result<Self, ImportError> {
        let name = format!("metadata/{}", FileName::timestamp());
        let there = site.get(&name, crate::tuf::Limits::default().timestamp_bytes).await?;
        Ok(Self { site, metadata: if there.is_some() { "metadata/" } else { "" } })
    }
}

#[async_trait]
impl Source for Web {
    async fn metadata(&self, name: &FileName, max: u64) -> Result<Option<Bytes>, ImportError> {
        let name = format!("{}{name}", self.metadata);
        match self.site.get(&name, max).await? {
            // A server that decodes `%2F` over files that are named with it.
            None if name.contains('%') => Ok(self.site.get(&name.replace('%', "%25"), max).await?),
            found => Ok(found),
        }
    }

    async fn target(&self, path: &str, target: &Target) -> Result<Option<Bytes>, ImportError> {
        let Ok(name) = target.served_as(path, true) else { return Ok(None) };
        Ok(self.site.get(&format!("targets/{name}"), target.length).await?)
    }
}

fn read(file: &Path, max: u64) -> Result<Option<Bytes>, ImportError> {
    let failed = |reason: String| ImportError::Source { file: file.display().to_string(), reason };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(failed(e.to_string())),
    };
    if !opened.metadata().is_ok_and(|about| about.is_file()) {
        return Err(failed("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    opened.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(failed(format!("larger than the limit of {max} bytes")));
    }
    Ok(Some(bytes.into()))
}
