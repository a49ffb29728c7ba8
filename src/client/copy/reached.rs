//! Bundles that are at their destination, whatever became of what comes after them: their bytes can be installed there.

use std::sync::{Mutex, PoisonError};

use crate::oci::Digest;
use crate::store::copy::{Event, Observer};
use crate::trust::{Report, Verdict};
use crate::tuf::CollectionName;

/// A bundle that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its digest.
    pub digest: Digest,
    /// The collection that vouched for it, where that was asked.
    pub collection: Option<CollectionName>,
}

impl Reached {
    pub(super) fn of(digest: Digest, verified: Option<&Report>) -> Self {
        let mut anchors = verified.into_iter().flat_map(|report| &report.anchors);
        let by = anchors.find(|anchor| anchor.verdict() == Verdict::Trusted);
        Self { digest, collection: by.map(|anchor| anchor.collection.clone()) }
    }
}

/// Passes everything on, and keeps which bundle arrived.
pub(super) struct Watch<'a> {
    observer: &'a dyn Observer,
    arrived: Mutex<Option<Digest>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, arrived: Mutex::default() }
    }

    pub(super) fn arrived(self) -> Option<Digest> {
        self.arrived.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Arrived(digest) = event {
            *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest.clone());
        }
        self.observer.event(event);
    }
}
