//! The places of one run: repositories that share logins and connections, OCI layouts and archives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::places::Places;
use crate::oci::Reference;
use crate::store::archive::OciArchive;
use crate::store::layout::OciDir;
use crate::store::registry::{Hosts, RegistryConfig};
use crate::store::{Manage, StoreError};

/// Opens registries under one configuration, OCI layouts and archives.
pub struct Stores {
    hosts: Hosts,
    /// Layouts and archives, by directory or file.
    local: Mutex<HashMap<PathBuf, Arc<dyn Manage>>>,
}

impl Stores {
    /// Nothing is read or connected before the first place is opened.
    pub fn new(config: RegistryConfig) -> Self {
        Self { hosts: Hosts::new(config), local: Mutex::default() }
    }

    /// The registry hosts, for what they have to say beside their answers.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    fn opened(&self, path: &Path) -> Option<Arc<dyn Manage>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn keep(&self, path: PathBuf, store: Arc<dyn Manage>) -> Arc<dyn Manage> {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.entry(path).or_insert(store).clone()
    }
}

#[async_trait]
impl Places for Stores {
    async fn open(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        match reference {
            Reference::Registry(r) => Ok(Arc::new(self.hosts.repository(&r.repository))),
            Reference::Layout(l) => match self.opened(&spot(&l.dir)) {
                Some(layout) => Ok(layout),
                None => Ok(self.keep(spot(&l.dir), Arc::new(OciDir::open(&l.dir).await?))),
            },
            Reference::Archive(a) => match self.opened(&spot(&a.file)) {
                Some(archive) => Ok(archive),
                None => Ok(self.keep(spot(&a.file), Arc::new(OciArchive::open(&a.file).await?))),
            },
        }
    }

    async fn create(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        match reference {
            Reference::Layout(l) => {
                let layout = OciDir::create(&l.dir).await?;
                Ok(self.keep(spot(&l.dir), Arc::new(layout)))
            }
            Reference::Archive(a) => {
                // One value holds the lock; it is shared.
                let archive = match self.opened(&spot(&a.file)) {
                    Some(archive) => archive,
                    None => {
                        let archive = OciArchive::create(&a.file).await?;
                        self.keep(spot(&a.file), Arc::new(archive))
                    }
                };
                Ok(archive)
            }
            Reference::Registry(_) => self.open(reference).await,
        }
    }
}

/// A path by which a directory or file is known, however it is written, whether it is there yet or not.
pub(super) fn spot(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known =
        whole.ancestors().find_map(|dir| Some((dir.canonicalize().ok()?, whole.strip_prefix(dir).ok()?)));
    match known {
        Some((dir, rest)) if rest.as_os_str().is_empty() => dir,
        Some((dir, rest)) => dir.join(rest),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_spot_before_and_after_it_is_made() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a");
        std::fs::create_dir(&dir).unwrap();
        let other = dir.join("./../a//x.tar");
        let before = spot(&dir.join("x.tar"));
        assert_eq!(spot(&other), before);
        std::fs::write(&other, "").unwrap();
        assert_eq!((spot(&other), spot(&dir.join("x.tar"))), (before.clone(), before.clone()));
        std::os::unix::fs::symlink(&dir, home.path().join("link")).unwrap();
        assert_eq!(spot(&home.path().join("link/x.tar")), before);
        assert_ne!(spot(&dir.join("y.tar")), before);
        assert_eq!(spot(Path::new("new/x")), spot(Path::new("./new/./x/")));
    }
}
