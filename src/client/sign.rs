//! Detached signatures that other tools read (docs/commands/sign.md): made, verified, and hung on what they sign. Signers at the
//! same time lose nothing, and the same key signs the same thing once.

mod envelope;
mod form;
mod pen;
mod tag;
mod there;

use std::collections::HashSet;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

pub use envelope::{Envelope, EnvelopeError, MAX_FILE};
pub use form::{Form, Unfit};
pub use pen::{Pen, PenError, Terms};
pub use there::MAX_LOOKED_AT;

use crate::client::state::Packed;
use crate::oci::{
    Content, Descriptor, Digest, EMPTY_JSON, Manifest, ManifestError, ManifestKind, Reference, Selector, Tag,
    media_type,
};
use crate::store::{BytesSource, Manage, Store, StoreError};
use crate::time::UnixTime;

/// Most manifests that are signed below one index.
const MAX_MANIFESTS: usize = 1000;
/// Deepest level of indexes in an index.
const MAX_DEPTH: usize = 8;
/// Artifacts signed side by side.
const CONCURRENCY: usize = 4;

/// What is signed: pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Where it lies, by its digest.
    pub reference: Reference,
    /// Media type, digest and size of its manifest.
    pub artifact: Descriptor,
}

/// What became of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    /// Whether the signature was there already, and nothing was added.
    pub was_there: bool,
    /// The manifest that carries it.
    pub carrier: Digest,
    /// The tag of that manifest, where it has one.
    pub tag: Option<Tag>,
    /// Signatures that hang there too and were not looked at: the same one might be among them.
    pub unread: usize,
}

/// Why something was not signed, or a signature not hung.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The place says that it is not there.
    #[error("there is no {0}")]
    Absent(Reference),
    /// An index names a manifest that is not there.
    #[error("the index {index} names {child}, which is not there")]
    Missing {
        /// The index.
        index: Digest,
        /// What it names.
        child: Digest,
    },
    /// An index of more than a thousand manifests, or of indexes too deep.
    #[error("more than {MAX_MANIFESTS} manifests, or indexes more than {MAX_DEPTH} deep")]
    TooMany,
    /// It is no manifest that can be read.
    #[error("{reference}: {error}")]
    Unsupported {
        /// What.
        reference: Reference,
        /// Why.
        error: ManifestError,
    },
    /// The signature was not made.
    #[error(transparent)]
    Pen(#[from] PenError),
    /// What should be hung is no signature of the artifact.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Something else than signatures lies at cosign's tag.
    #[error("the tag {tag} holds {what}, and no signatures: it was not overwritten")]
    Foreign {
        /// The tag.
        tag: Tag,
        /// What it holds.
        what: String,
    },
    /// No more signatures fit at cosign's tag.
    #[error("the tag {tag} holds {count} signatures, and readers take no more than {most}")]
    Full {
        /// The tag.
        tag: Tag,
        /// How many are there.
        count: usize,
        /// How many readers take.
        most: usize,
    },
    /// The registry lets nobody change cosign's tag.
    #[error("the tag {tag} holds signatures already and cannot be changed: {error}")]
    Immutable {
        /// The tag.
        tag: Tag,
        /// The registry's words.
        error: StoreError,
    },
    /// Others write cosign's tag all the time.
    #[error("the tag {0} is written by others all the time")]
    Contended(Tag),
    /// The place's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unfit> for SignError {
    fn from(e: Unfit) -> Self {
        Self::Pen(e.into())
    }
}

impl Subject {
    /// The repository's name, which some forms sign too; an OCI layout has none.
    fn name(&self) -> Option<String> {
        match &self.reference {
            Reference::Registry(r) => Some(r.repository.to_string()),
            Reference::Layout(_) | Reference::Archive(_) => None,
        }
    }
}

/// What a reference names now, pinned; with `recursive` and of an index, also every manifest in it, each of which must be there.
/// Manifests come before the index that names them.
///
/// # Errors
/// It is not there, not whole, or no manifest.
pub async fn subjects(
    store: &dyn Store,
    reference: &Reference,
    selector: &Selector,
    recursive: bool,
) -> Result<Vec<Subject>, SignError> {
    let content = store.resolve(selector).await?.ok_or_else(|| SignError::Absent(reference.clone()))?;
    let mut found = Vec::new();
    let mut seen = HashSet::from([content.digest().clone()]);
    let mut level = vec![content];
    for depth in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for content in level {
            let at = reference.at(Some(Selector::Digest(content.digest().clone())));
            let manifest = Manifest::parse(&content)
                .map_err(|error| SignError::Unsupported { reference: at.clone(), error })?;
            let index = content.digest().clone();
            found.push(Subject { reference: at, artifact: content.descriptor().bare() });
            if recursive && manifest.kind == ManifestKind::Index {
                let new = manifest.manifests.into_iter().map(|child| child.digest);
                next.extend(new.filter(|d| seen.insert(d.clone())).map(|child| (index.clone(), child)));
            }
        }
        if next.is_empty() {
            found.reverse();
            return Ok(found);
        }
        if found.len() + next.len() > MAX_MANIFESTS || depth == MAX_DEPTH {
            break;
        }
        let fetched: Vec<_> = stream::iter(next)
            .map(|(index, child)| async move {
                let found = store.resolve(&Selector::Digest(child.clone())).await?;
                found.ok_or(SignError::Missing { index, child })
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        level = fetched.into_iter().collect::<Result<_, SignError>>()?;
    }
    Err(SignError::TooMany)
}

/// Sign artifacts of one place, and hang what was signed on each. With `force`, also what this key has signed already. `name` is
/// signed for the repository's in the form that signs one. What became of each, in order: one that fails does not stop the others.
pub async fn sign(
    store: &dyn Manage,
    pen: &Pen<'_>,
    subjects: &[Subject],
    force: bool,
    name: Option<&str>,
) -> Vec<Result<Hung, SignError>> {
    let one = |subject: &Subject| {
        let subject = subject.clone();
        async move { sign_one(store, pen, &subject, force, name).await }
    };
    let mut ends: Vec<_> = stream::iter(subjects).map(one).buffered(CONCURRENCY).collect().await;
    let hung = |end: &Result<Hung, SignError>| matches!(end, Ok(h) if !h.was_there);
    // One wait for slower writers, whatever was hung.
    if ends.iter().any(hung)
        && let Err(e) = store.flush().await
    {
        ends.iter_mut().filter(|end| hung(end)).for_each(|end| *end = Err(e.clone().into()));
    }
    ends
}

async fn sign_one(
    store: &dyn Manage,
    pen: &Pen<'_>,
    subject: &Subject,
    force: bool,
    name: Option<&str>,
) -> Result<Hung, SignError> {
    let artifact = &subject.artifact;
    if pen.form() == Form::CosignTag {
        let own = subject.name();
        let name = name.or(own.as_deref());
        let there = |simple: &Envelope| !force && pen.is_ours(simple, artifact);
        let payload = pen.payload(artifact, name)?;
        let made = || async { Ok(pen.sign(artifact, name).await?) };
        return tag::append(store, artifact, &payload, &there, made).await;
    }
    let mut unread = 0;
    if !force {
        let thumbprints = pen.thumbprints();
        let is = |envelope: &Envelope| pen.is_ours(envelope, artifact);
        let looked = there::look(store, artifact, pen.form(), thumbprints.as_deref(), is).await?;
        if let Some(carrier) = looked.same {
            return Ok(Hung { was_there: true, carrier, tag: None, unread: 0 });
        }
        unread = looked.unread;
    }
    let envelope = pen.sign(artifact, None).await?;
    let carrier = hang(store, &envelope, artifact, pen.now()).await?;
    Ok(Hung { was_there: false, carrier, tag: None, unread })
}

/// Sign a statement about one artifact, and hang it there; the same statement by the same key once, unless with `force`.
///
/// # Errors
/// The key could not be used, the statement is about something else, or the place's own.
pub async fn attest(
    store: &dyn Manage,
    pen: &Pen<'_>,
    subject: &Subject,
    statement: &[u8],
    force: bool,
) -> Result<Hung, SignError> {
    let artifact = &subject.artifact;
    let mut unread = 0;
    if !force {
        let same = |envelope: &Envelope| pen.has_attested(envelope, statement);
        let looked = there::look_for_attestation(store, artifact, same).await?;
        if let Some(carrier) = looked.same {
            return Ok(Hung { was_there: true, carrier, tag: None, unread: 0 });
        }
        unread = looked.unread;
    }
    let envelope = pen.attest(statement).await?;
    let carrier = hang(store, &envelope, artifact, pen.now()).await?;
    store.flush().await?;
    Ok(Hung { was_there: false, carrier, tag: None, unread })
}

/// Hang a signature that was made elsewhere on what it signs; the same bytes once.
///
/// # Errors
/// It is not about that artifact, or the place's own.
pub async fn attach(
    store: &dyn Manage,
    envelope: &Envelope,
    subject: &Subject,
    now: UnixTime,
) -> Result<Hung, SignError> {
    let artifact = &subject.artifact;
    envelope.check_about(artifact)?;
    let same = |other: &Envelope| other.bytes() == envelope.bytes();
    let hung = match envelope.as_simple() {
        Some(simple) => {
            let made = || async { Ok(envelope.clone()) };
            tag::append(store, artifact, &simple.payload, &same, made).await?
        }
        None => {
            let looked = there::look(store, artifact, envelope.form(), None, same).await?;
            match looked.same {
                Some(carrier) => Hung { was_there: true, carrier, tag: None, unread: 0 },
                None => {
                    let carrier = hang(store, envelope, artifact, now).await?;
                    Hung { was_there: false, carrier, tag: None, unread: looked.unread }
                }
            }
        }
    };
    if !hung.was_there {
        store.flush().await?;
    }
    Ok(hung)
}

/// Push a signature and list it. [`Manage::flush`] must follow.
async fn hang(
    store: &dyn Manage,
    envelope: &Envelope,
    artifact: &Descriptor,
    now: UnixTime,
) -> Result<Digest, SignError> {
    envelope.check_about(artifact)?;
    let Some(Packed { manifest, blobs, .. }) = envelope.packed(artifact, now) else {
        return Err(EnvelopeError::Form.into());
    };
    let empty = Content::new(media_type::OCI_EMPTY, Bytes::from_static(EMPTY_JSON));
    let config = async {
        match store.exists(empty.descriptor()).await? {
            true => Ok(()),
            false => push(store, &empty).await,
        }
    };
    let layers = async {
        for blob in &blobs {
            push(store, blob).await?;
        }
        Ok(())
    };
    futures::try_join!(config, layers)?;
    store.push_manifest(&manifest, None).await?;
    store.index_referrers(artifact, std::slice::from_ref(&manifest)).await?;
    Ok(manifest.digest().clone())
}

async fn push(store: &dyn Manage, blob: &Content) -> Result<(), StoreError> {
    store.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await
}
