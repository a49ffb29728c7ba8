//! Who signs, in which form and on which terms: judged once, then used for any number of artifacts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::envelope::{Envelope, EnvelopeError, Simple};
use super::form::{Form, Unfit};
use crate::envelope::notary::{Artifact, NotaryError, Request, Verified};
use crate::envelope::sigstore_bundle::{self, Bundle, BundleError};
use crate::envelope::simple_signing::{self, SimpleSigningError};
use crate::envelope::{notary_cose, notary_jws};
use crate::keys::{KeyError, Signer, sign_checked_as};
use crate::oci::Descriptor;
use crate::sig::x509::Chain;
use crate::sig::{Algorithm, SubjectKey};
use crate::time::UnixTime;

/// What the Notary Project keeps for itself.
const RESERVED: &str = "io.cncf.notary";
/// The program that signs, as envelopes of the Notary Project note it.
const AGENT: &str = concat!("bulla/", env!("CARGO_PKG_VERSION"));

/// What is signed with every artifact, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The form.
    pub form: Form,
    /// The signer's certificates, leaf first, root included.
    pub chain: Option<Chain>,
    /// For how many seconds the signature counts.
    pub lifetime: Option<i64>,
    /// What the signer notes.
    pub annotations: BTreeMap<String, String>,
    /// The time of signing.
    pub now: UnixTime,
}

/// A key that signs in one form, fit for it.
pub struct Pen<'k> {
    signer: &'k dyn Signer,
    key: SubjectKey,
    algorithm: Algorithm,
    terms: Terms,
}

/// Why a signature was not made. Nothing has left this process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PenError {
    /// The key could not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What came of it is no signature of this artifact.
    #[error("the fresh signature does not verify: {0}")]
    Fresh(#[from] EnvelopeError),
    /// The artifact cannot be signed so.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl<'k> Pen<'k> {
    /// Judge key, form and terms; nothing is signed.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(signer: &'k dyn Signer, terms: Terms) -> Result<Self, Unfit> {
        let key = SubjectKey::from(signer.public_key());
        let form = terms.form;
        let algorithm = form.algorithm(&key)?;
        if !signer.signs(algorithm) {
            return Err(Unfit::Device(form));
        }
        match &terms.chain {
            None if form.needs_chain() => return Err(Unfit::NoChain(form)),
            Some(_) if !form.needs_chain() => return Err(Unfit::NoPlaceForChain(form)),
            Some(chain) if *chain.leaf().key() != key => return Err(Unfit::OtherKey),
            Some(chain) => chain.valid_at(terms.now)?,
            None => {}
        }
        if terms.lifetime.is_some() && !form.needs_chain() {
            return Err(Unfit::Expiry(form));
        }
        if form.needs_chain() && terms.annotations.keys().any(|name| name.starts_with(RESERVED)) {
            return Err(Unfit::Annotation(RESERVED));
        }
        Ok(Self { signer, key, algorithm, terms })
    }

    /// The form.
    pub fn form(&self) -> Form {
        self.terms.form
    }

    /// The time of signing.
    pub(super) fn now(&self) -> UnixTime {
        self.terms.now
    }

    /// What thumbprints a referrer of ours would show.
    pub(super) fn thumbprints(&self) -> Option<String> {
        self.terms.chain.as_ref().map(crate::envelope::notary::thumbprints)
    }

    /// Sign an artifact, and verify what came of it as a reader would. `name` is the repository's, which one form signs too.
    ///
    /// # Errors
    /// The key could not be used, or what it made does not verify.
    pub async fn sign(&self, artifact: &Descriptor, name: Option<&str>) -> Result<Envelope, PenError> {
        let Terms { form, annotations, .. } = &self.terms;
        let refused = |e: BundleError| PenError::Fresh(e.into());
        let envelope = match form {
            Form::Sigstore => {
                let draft = sigstore_bundle::Draft::sign(&artifact.digest, annotations);
                let signature = self.signature(&draft.message()).await?;
                let bytes = draft.finish(&self.key, &signature).map_err(refused)?;
                Envelope::bundle(bytes.into())?
            }
            Form::Notation => {
                let refused = |e: NotaryError| PenError::Fresh(e.into());
                let draft = notary_jws::Draft::new(self.request(artifact)?).map_err(refused)?;
                let signature = self.signature(&draft.message()).await?;
                Envelope::jws(draft.finish(&signature).map_err(refused)?.into())?
            }
            Form::NotationCose => {
                let refused = |e: NotaryError| PenError::Fresh(e.into());
                let draft = notary_cose::Draft::new(self.request(artifact)?).map_err(refused)?;
                let signature = self.signature(&draft.message()).await?;
                Envelope::cose(draft.finish(&signature).map_err(refused)?.into())?
            }
            Form::CosignTag => {
                let payload = self.payload(artifact, name)?;
                let signature = self.signature(&payload).await?;
                Envelope::simple(Simple { payload: payload.into(), signature })?
            }
        };
        match self.is_ours(&envelope, artifact) {
            true => Ok(envelope),
            false => Err(PenError::Fresh(EnvelopeError::Form)),
        }
    }

    /// Sign a statement about an artifact, and verify what came of it as a reader would.
    ///
    /// # Errors
    /// The key could not be used, or what it made does not verify.
    pub async fn attest(&self, statement: &[u8]) -> Result<Envelope, PenError> {
        let refused = |e: BundleError| PenError::Fresh(e.into());
        let draft = sigstore_bundle::Draft::of(statement.to_vec());
        let signature = self.signature(&draft.message()).await?;
        let envelope = Envelope::bundle(draft.finish(&self.key, &signature).map_err(refused)?.into())?;
        match self.has_attested(&envelope, statement) {
            true => Ok(envelope),
            false => Err(PenError::Fresh(EnvelopeError::Form)),
        }
    }

    /// Whether this key has signed exactly this statement.
    pub(super) fn has_attested(&self, envelope: &Envelope, statement: &[u8]) -> bool {
        Bundle::parse(envelope.bytes()).is_ok_and(|bundle| bundle.holds(&self.key, statement))
    }

    /// The bytes that are signed at cosign's tag.
    pub(super) fn payload(&self, artifact: &Descriptor, name: Option<&str>) -> Result<Vec<u8>, Unfit> {
        let name = name.ok_or(Unfit::NoName(self.terms.form))?;
        Ok(simple_signing::payload(name, &artifact.digest, &self.terms.annotations))
    }

    /// Whether a signature is this key's, of this artifact, in this form, and says what this one would say. An expiring one does
    /// while more than half of the time asked for is left.
    pub(super) fn is_ours(&self, envelope: &Envelope, artifact: &Descriptor) -> bool {
        let bytes = envelope.bytes();
        match self.terms.form {
            Form::Sigstore => Bundle::parse(bytes)
                .and_then(|bundle| bundle.signature(&self.key, &artifact.digest))
                .is_ok_and(|notes| self.notes(&notes)),
            Form::Notation => notary_jws::verify(bytes).is_ok_and(|v| self.is_ours_by(&v, artifact)),
            Form::NotationCose => notary_cose::verify(bytes).is_ok_and(|v| self.is_ours_by(&v, artifact)),
            Form::CosignTag => envelope.as_simple().is_some_and(|s| self.is_ours_at_tag(s, artifact)),
        }
    }

    fn is_ours_by(&self, verified: &Verified, artifact: &Descriptor) -> bool {
        let Terms { chain, lifetime, annotations, now, .. } = &self.terms;
        let lasts = match (lifetime, verified.expires()) {
            (None, None) => true,
            (Some(lifetime), Some(until)) => until > now.plus(lifetime / 2) && until <= now.plus(*lifetime),
            _ => false,
        };
        lasts
            && chain.as_ref() == Some(verified.chain())
            && verified.is_for(artifact)
            && verified.artifact().annotations == *annotations
    }

    fn is_ours_at_tag(&self, simple: &Simple, artifact: &Descriptor) -> bool {
        let read: Result<_, SimpleSigningError> =
            simple_signing::verify(&simple.payload, &simple.signature, &self.key);
        read.is_ok_and(|says| says.digest() == &artifact.digest && self.notes(says.optional()))
    }

    fn notes(&self, found: &Map<String, Value>) -> bool {
        let wanted = &self.terms.annotations;
        found.len() == wanted.len()
            && wanted.iter().all(|(k, v)| found.get(k).and_then(Value::as_str) == Some(v))
    }

    fn request(&self, artifact: &Descriptor) -> Result<Request, Unfit> {
        let Terms { form, chain, lifetime, annotations, now } = &self.terms;
        let mut artifact = Artifact::of(artifact);
        artifact.annotations.clone_from(annotations);
        Ok(Request {
            artifact,
            signed_at: *now,
            expires: lifetime.map(|secs| now.plus(secs)),
            chain: chain.clone().ok_or(Unfit::NoChain(*form))?,
            agent: AGENT.to_owned(),
        })
    }

    async fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        sign_checked_as(self.signer, self.algorithm, message).await
    }
}
