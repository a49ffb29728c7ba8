//! What a progress display may know of a copy.

use crate::oci::Digest;

/// Told what happens while it happens. Called from several tasks; must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next part of the work begins.
    Phase(Phase),
    /// One more blob is needed: the total grows by this many bytes.
    Expect(u64),
    /// So many more bytes of a blob have passed.
    Bytes(u64),
    /// A blob is where it belongs. Unless it was [`BlobOutcome::Moved`], none of its bytes were counted before.
    Blob(&'a Digest, u64, BlobOutcome),
    /// A manifest is where it belongs.
    Manifest(&'a Digest),
    /// The bundle and all that it needs is at the destination; lists of referrers and tags are to come.
    Arrived(&'a Digest),
}

/// The parts of a copy, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Finding everything that hangs on the bundle.
    Discover,
    /// Moving blobs.
    Blobs,
    /// Pushing manifests, leaves first.
    Manifests,
    /// Listing referrers at the destination.
    Referrers,
    /// Reading the lists back.
    Check,
    /// Setting tags.
    Tags,
}

/// How a blob came to be at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome {
    /// Its bytes were moved.
    Moved,
    /// It was there already.
    Present,
    /// The registry took it over from the source's repository.
    Mounted,
    /// It lies elsewhere by its `urls`, and the source does not have it.
    Elsewhere,
}

impl BlobOutcome {
    /// Whether the destination did not have it before.
    pub fn is_new(self) -> bool {
        matches!(self, Self::Moved | Self::Mounted)
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: Event<'_>) {}
}
