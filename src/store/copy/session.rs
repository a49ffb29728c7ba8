//! What the copies of one run share, so that nothing moves and nothing is asked twice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::{CopyError, CopyReport, CopyRequest, Job, Observer, TagGuard};
use crate::oci::{Digest, Tag};
use crate::store::{Failure, Manage, Store, StoreError};

/// What the copies of one run have learnt, by place: which blobs and manifests are at a destination, and which tags a place
/// had when it was first asked. A blob that two bundles name moves once, also when they are copied side by side.
///
/// For one run: it believes that nobody takes away meanwhile what it saw.
#[derive(Debug, Default)]
pub struct Session {
    places: Mutex<HashMap<String, Arc<Place>>>,
}

/// One place.
#[derive(Debug, Default)]
pub(super) struct Place {
    blobs: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<bool>>>>,
    manifests: Mutex<HashSet<Digest>>,
    tags: OnceCell<Option<Arc<BTreeSet<Tag>>>>,
}

impl Session {
    /// Copy a bundle with everything that hangs on it; see [`super::copy`].
    ///
    /// # Errors
    /// As [`super::copy`].
    pub async fn copy(
        &self,
        source: &dyn Store,
        destination: &dyn Manage,
        request: &CopyRequest,
        guard: &dyn TagGuard,
        observer: &dyn Observer,
    ) -> Result<CopyReport, CopyError> {
        let (from, there) = (self.place(&source.place()), self.place(&destination.place()));
        let width = request.concurrency.max(1);
        let job = Job { source, destination, request, guard, observer, from, there, width };
        // Its own lists are read back before the end: others need not see them yet.
        destination.hold(!request.dry_run);
        let done = job.run().await;
        destination.hold(request.hold);
        done
    }

    fn place(&self, place: &impl ToString) -> Arc<Place> {
        lock(&self.places).entry(place.to_string()).or_default().clone()
    }
}

impl Place {
    /// The turn to bring a blob here; `true` in it once it was seen here, or brought.
    pub(super) fn blob(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<bool>> {
        lock(&self.blobs).entry(digest.clone()).or_default().clone()
    }

    /// Whether a manifest is known to be here.
    pub(super) fn has_manifest(&self, digest: &Digest) -> bool {
        lock(&self.manifests).contains(digest)
    }

    /// A manifest is here.
    pub(super) fn note_manifest(&self, digest: &Digest) {
        lock(&self.manifests).insert(digest.clone());
    }

    /// The tags of this place when it was first asked; `None` where it does not let them be listed.
    pub(super) async fn tags(&self, store: &dyn Store) -> Result<Option<&BTreeSet<Tag>>, StoreError> {
        self.asked(store.tags(None)).await
    }

    /// The same for a destination, where a wrong word that there are none costs requests and loses nothing.
    pub(super) async fn first_tags(&self, store: &dyn Manage) -> Result<Option<&BTreeSet<Tag>>, StoreError> {
        self.asked(store.first_tags()).await
    }

    async fn asked(
        &self,
        asking: impl Future<Output = Result<Vec<Tag>, StoreError>>,
    ) -> Result<Option<&BTreeSet<Tag>>, StoreError> {
        let asked = self.tags.get_or_try_init(|| async {
            match asking.await {
                Ok(tags) => Ok(Some(Arc::new(tags.into_iter().collect()))),
                Err(e) => match e.failure {
                    Failure::NotFound
                    | Failure::Denied(_)
                    | Failure::Unauthorized(_)
                    | Failure::Refused { .. } => Ok(None),
                    _ => Err(e),
                },
            }
        });
        Ok(asked.await?.as_deref())
    }

    /// The tags of this place, as the caller has listed them.
    pub(super) fn note_tags(&self, tags: &Arc<BTreeSet<Tag>>) {
        // Told twice is as good as once.
        let _ = self.tags.set(Some(tags.clone()));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
