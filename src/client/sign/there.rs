//! Which signatures hang on an artifact already: so that the same is not signed twice.

use futures::stream::{self, StreamExt};

use super::envelope::{Envelope, MAX_FILE, artifact_type, layer_type};
use super::form::Form;
use crate::envelope::notary;
use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, media_type};
use crate::store::{Failure, Store, StoreError, fetch_small};

/// Most signatures that are looked at: anybody who may push could hang thousands.
pub const MAX_LOOKED_AT: usize = 256;
/// Largest signature that is looked at, in bytes; one of ours is a few thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Looked at side by side.
const CONCURRENCY: usize = 8;

/// What a look at the signatures came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Looked {
    /// The referrer that carries the one that was looked for.
    pub(super) same: Option<Digest>,
    /// How many more there are than were looked at.
    pub(super) unread: usize,
}

/// Look among the referrers of `artifact` for a signature of this form that `is` the one. `thumbprints` are those of our own
/// chain: what shows others is somebody else's.
///
/// # Errors
/// The list, or what it names, could not be read: that is never "there is none".
pub(super) async fn look(
    store: &dyn Store,
    artifact: &Descriptor,
    form: Form,
    thumbprints: Option<&str>,
    is: impl Fn(&Envelope) -> bool + Sync,
) -> Result<Looked, StoreError> {
    look_up_to(store, artifact, form, thumbprints, (MAX_BYTES, CONCURRENCY), is).await
}

/// The same for an attestation of ours, which may hold a list of parts: fewer at a time.
///
/// # Errors
/// As [`look`].
pub(super) async fn look_for_attestation(
    store: &dyn Store,
    artifact: &Descriptor,
    is: impl Fn(&Envelope) -> bool + Sync,
) -> Result<Looked, StoreError> {
    look_up_to(store, artifact, Form::Sigstore, None, (MAX_FILE, 2), is).await
}

async fn look_up_to(
    store: &dyn Store,
    artifact: &Descriptor,
    form: Form,
    thumbprints: Option<&str>,
    (most, width): (u64, usize),
    is: impl Fn(&Envelope) -> bool + Sync,
) -> Result<Looked, StoreError> {
    let listed = store.listing(&artifact.digest).await?.entries;
    let mut candidates: Vec<Descriptor> =
        listed.into_iter().filter(|e| may_be(e, form, thumbprints)).collect();
    // Those that say what we look for come first, so that others cannot push them past the limit.
    candidates.sort_by_key(|e| {
        let shows = e.annotation(notary::THUMBPRINTS);
        (e.artifact_type.as_deref() != Some(artifact_type(form)), shows.is_none())
    });
    let unread = candidates.len().saturating_sub(MAX_LOOKED_AT);
    candidates.truncate(MAX_LOOKED_AT);
    let mut reading = stream::iter(candidates)
        .map(|entry| async move { (read(store, &entry.digest, artifact, form, most).await, entry) })
        .buffer_unordered(width);
    while let Some((read, entry)) = reading.next().await {
        if read?.is_some_and(|envelope| is(&envelope)) {
            return Ok(Looked { same: Some(entry.digest), unread: 0 });
        }
    }
    Ok(Looked { same: None, unread })
}

/// Whether an entry of the list may be such a signature: types are hints, and some registries list the config's or none.
fn may_be(entry: &Descriptor, form: Form, thumbprints: Option<&str>) -> bool {
    let typed = match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => true,
        Some(listed) => listed == artifact_type(form),
    };
    let shown = entry.annotation(notary::THUMBPRINTS);
    let ours = match (thumbprints, shown) {
        (Some(ours), Some(shown)) => shown.eq_ignore_ascii_case(ours),
        _ => true,
    };
    typed && ours && entry.media_type == media_type::OCI_MANIFEST
}

/// The signature that a referrer carries; `None` when it is no such signature, gone or broken, as anybody could have left it.
async fn read(
    store: &dyn Store,
    digest: &Digest,
    artifact: &Descriptor,
    form: Form,
    most: u64,
) -> Result<Option<Envelope>, StoreError> {
    let manifest = match store.resolve(&Selector::Digest(digest.clone())).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(None),
        Err(e) if e.is_the_items_own() => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some(layer) = layer_of(&manifest, artifact, form, most) else { return Ok(None) };
    match fetch_small(store, &layer, most).await {
        Ok(content) => Ok(Envelope::of(form, content.bytes().clone()).ok()),
        Err(e) if e.is_the_items_own() || e.failure == Failure::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The layer of a manifest that the form's own tool takes for a signature of the artifact.
fn layer_of(manifest: &Content, artifact: &Descriptor, form: Form, most: u64) -> Option<Descriptor> {
    let manifest = Manifest::parse(manifest).ok()?;
    let [layer] = &manifest.layers[..] else { return None };
    let about = manifest.subject.as_ref().is_some_and(|s| s.digest == artifact.digest);
    let config = manifest.config.as_ref().map_or("", |c| &c.media_type);
    let named = manifest.artifact_type.as_deref();
    let taken = match form {
        Form::Notation | Form::NotationCose => notary::is_signature(named, config),
        Form::Sigstore | Form::CosignTag => named == Some(artifact_type(form)),
    };
    (about && taken && layer.media_type == layer_type(form) && layer.size <= most).then(|| layer.clone())
}
