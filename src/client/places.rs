//! Opening the places that references name.

use std::sync::Arc;

use async_trait::async_trait;

use crate::oci::Reference;
use crate::store::{Manage, StoreError};

/// Opens stores by reference. One that was opened is shared, so that logins and connections are made once.
#[async_trait]
pub trait Places: Send + Sync {
    /// The store that `reference` lies in; its selector does not matter.
    ///
    /// # Errors
    /// The place cannot be used: no OCI layout or archive, unreadable credentials or certificates.
    async fn open(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError>;

    /// The same, to write into: an OCI layout or archive that does not exist is made.
    ///
    /// # Errors
    /// As [`Places::open`]; or the directory or file cannot be written.
    async fn create(&self, reference: &Reference) -> Result<Arc<dyn Manage>, StoreError>;
}
