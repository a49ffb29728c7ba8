//! The places of one run: repositories that share logins and connections, and OCI layouts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::places::Places;
use crate::oci::Reference;
use crate::store::layout::OciDir;
use crate::store::registry::{Hosts, RegistryConfig};
use crate::store::{Manage, StoreError};

/// Opens registries under one configuration, and OCI layouts.
pub struct Stores {
    hosts: Hosts,
    layouts: Mutex<HashMap<PathBuf, OciDir>>,
}

impl Stores {
    /// Nothing is read or connected before the first place is opened.
    pub fn new(config: RegistryConfig) -> Self {
        Self { hosts: Hosts::new(config), layouts: Mutex::default() }
    }

    /// The registry hosts, for what they have to say beside their answers.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    fn layout(&self, dir: &Path) -> Option<Arc<dyn Manage>> {
        let layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.get(dir).map(|layout| Arc::new(layout.clone()) as Arc<dyn Manage>)
    }

    fn keep(&self, dir: PathBuf, layout: OciDir) -> Arc<dyn Manage> {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(layouts.entry(dir).or_insert(layout).clone())
    }
}

#[async_trait]
impl Places for Stores {
    async fn open(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        match reference {
            Reference::Registry(r) => Ok(Arc::new(self.hosts.repository(&r.repository))),
            Reference::Layout(l) => match self.layout(&l.dir) {
                Some(layout) => Ok(layout),
                None => Ok(self.keep(l.dir.clone(), OciDir::open(&l.dir).await?)),
            },
        }
    }

    async fn create(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        match reference {
            Reference::Layout(l) => Ok(self.keep(l.dir.clone(), OciDir::create(&l.dir).await?)),
            Reference::Registry(_) => self.open(reference).await,
        }
    }
}
