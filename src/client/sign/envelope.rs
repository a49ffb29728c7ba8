//! Finished signatures: as a file, and as what hangs on a bundle.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::form::Form;
use crate::client::state::Packed;
use crate::envelope::notary::{self, NotaryError, Verified};
use crate::envelope::sigstore_bundle::{self, Bundle, BundleError, Version};
use crate::envelope::simple_signing::{self, SimpleSigningError};
use crate::envelope::{notary_cose, notary_jws};
use crate::oci::{Content, Descriptor, EMPTY_JSON, media_type, sorted_json};
use crate::time::UnixTime;

/// Largest file of a signature that is read, in bytes.
pub const MAX_FILE: u64 = 4 << 20;
/// When an artifact was made (image-spec `annotations.md`).
const CREATED: &str = "org.opencontainers.image.created";

/// A signature of one artifact, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    form: Form,
    bytes: Bytes,
    inside: Inside,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inside {
    Bundle(Box<Bundle>),
    Notary(Box<Verified>),
    Simple(Simple),
}

/// A signature at cosign's tag: the layer's bytes, and the annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Simple {
    /// What is signed.
    pub(super) payload: Bytes,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

/// Why bytes are no signature that can be hung.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// None of the forms.
    #[error(
        "neither a Sigstore bundle, nor a JWS or COSE envelope of the Notary Project, nor a signature with its payload"
    )]
    Form,
    /// A Sigstore bundle of version 0.1 or 0.2.
    #[error(
        "a Sigstore bundle of a version before 0.3, which nobody reads as a referrer (cosign bundle upgrade makes one)"
    )]
    Old,
    /// A Sigstore bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An envelope of the Notary Project.
    #[error(transparent)]
    Notary(#[from] NotaryError),
    /// Simple signing.
    #[error(transparent)]
    Simple(#[from] SimpleSigningError),
    /// Of another artifact.
    #[error("it is a signature of {0}, and not of what is named")]
    Other(String),
}

impl Envelope {
    /// Read a signature that somebody made: the form is told by the content. Of an envelope of the Notary Project chain and
    /// signature are verified; of the others whoever trusts a key does that.
    ///
    /// # Errors
    /// Not one of the forms, or one that is broken.
    pub fn read(bytes: impl Into<Bytes>) -> Result<Self, EnvelopeError> {
        let bytes = bytes.into();
        let Ok(value) = crate::sig::json::parse(&bytes) else {
            // A tagged COSE_Sign1 begins so (RFC 9052 2).
            return match bytes.first() {
                Some(0xd2) => Self::cose(bytes),
                _ => Err(EnvelopeError::Form),
            };
        };
        let has = |name: &str| value.get(name).is_some();
        if has("mediaType") && has("verificationMaterial") {
            Self::bundle(bytes)
        } else if has("protected") && has("payload") {
            Self::jws(bytes)
        } else if has("Base64Signature") && has("Payload") {
            let base64 = |name: &str| value[name].as_str().and_then(|t| STANDARD.decode(t).ok());
            let (payload, signature) = (base64("Payload"), base64("Base64Signature"));
            let (payload, signature) = payload.zip(signature).ok_or(EnvelopeError::Form)?;
            Self::simple(Simple { payload: payload.into(), signature })
        } else {
            Err(EnvelopeError::Form)
        }
    }

    /// The same of one form, whatever else the bytes may be.
    pub(super) fn of(form: Form, bytes: Bytes) -> Result<Self, EnvelopeError> {
        match form {
            Form::Sigstore => Self::bundle(bytes),
            Form::Notation => Self::jws(bytes),
            Form::NotationCose => Self::cose(bytes),
            Form::CosignTag => Err(EnvelopeError::Form),
        }
    }

    pub(super) fn bundle(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let bundle = Bundle::parse(&bytes)?;
        // As a referrer, cosign and sigstore-go read no older ones.
        if bundle.version() < Version::V03 {
            return Err(EnvelopeError::Old);
        }
        Ok(Self { form: Form::Sigstore, bytes, inside: Inside::Bundle(Box::new(bundle)) })
    }

    pub(super) fn jws(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let inside = Inside::Notary(Box::new(notary_jws::verify(&bytes)?));
        Ok(Self { form: Form::Notation, bytes, inside })
    }

    pub(super) fn cose(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let inside = Inside::Notary(Box::new(notary_cose::verify(&bytes)?));
        Ok(Self { form: Form::NotationCose, bytes, inside })
    }

    pub(super) fn simple(simple: Simple) -> Result<Self, EnvelopeError> {
        simple_signing::unverified(&simple.payload)?;
        // As `cosign download signature` prints it.
        let file = json!({
            "Base64Signature": STANDARD.encode(&simple.signature),
            "Payload": STANDARD.encode(&simple.payload),
        });
        Ok(Self { form: Form::CosignTag, bytes: sorted_json(&file).into(), inside: Inside::Simple(simple) })
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The file, byte for byte.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The layer at cosign's tag, if it is one.
    pub(super) fn as_simple(&self) -> Option<&Simple> {
        match &self.inside {
            Inside::Simple(simple) => Some(simple),
            _ => None,
        }
    }

    /// That it says that it is about this artifact.
    ///
    /// # Errors
    /// It is about another one.
    pub fn check_about(&self, artifact: &Descriptor) -> Result<(), EnvelopeError> {
        match &self.inside {
            Inside::Bundle(bundle) => Ok(bundle.claim(&artifact.digest).map(drop)?),
            Inside::Notary(verified) if verified.is_for(artifact) => Ok(()),
            Inside::Notary(verified) => Err(EnvelopeError::Other(verified.artifact().digest.to_string())),
            Inside::Simple(simple) => {
                let says = simple_signing::unverified(&simple.payload)?;
                match *says.digest() == artifact.digest {
                    true => Ok(()),
                    false => Err(EnvelopeError::Other(says.digest().to_string())),
                }
            }
        }
    }

    /// The referrer that carries it, as the form's own tool writes it; none at cosign's tag, which is no referrer.
    pub(super) fn packed(&self, artifact: &Descriptor, made: UnixTime) -> Option<Packed> {
        let mut notes = BTreeMap::new();
        let mut config = json!({
            "mediaType": media_type::OCI_EMPTY,
            "digest": Descriptor::of(media_type::OCI_EMPTY, EMPTY_JSON).digest,
            "size": EMPTY_JSON.len(),
        });
        let (artifact_type, made) = match &self.inside {
            Inside::Simple(_) => return None,
            Inside::Bundle(bundle) => {
                let claim = bundle.claim(&artifact.digest).ok()?;
                notes.insert(sigstore_bundle::CONTENT.to_owned(), claim.content.to_owned());
                if let Some(predicate_type) = claim.predicate_type {
                    notes.insert(sigstore_bundle::PREDICATE_TYPE.to_owned(), predicate_type);
                }
                // Not in the specification, and `cosign clean` removes no other referrers.
                config["artifactType"] = sigstore_bundle::MEDIA_TYPE.into();
                (sigstore_bundle::MEDIA_TYPE, made)
            }
            Inside::Notary(verified) => {
                notes.insert(notary::THUMBPRINTS.to_owned(), notary::thumbprints(verified.chain()));
                (notary::ARTIFACT_TYPE, verified.signed_at())
            }
        };
        notes.insert(CREATED.to_owned(), made.to_string());
        let layer = Content::new(self.layer_type(), self.bytes.clone());
        let manifest: Value = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": [layer.descriptor()],
            "subject": artifact.bare(),
            "annotations": notes,
        });
        let manifest = Content::new(media_type::OCI_MANIFEST, sorted_json(&manifest));
        Some(Packed { manifest, blobs: vec![layer], past: Vec::new() })
    }

    pub(super) fn layer_type(&self) -> &'static str {
        layer_type(self.form)
    }
}

/// Media type of the layer that is the envelope.
pub(super) fn layer_type(form: Form) -> &'static str {
    match form {
        Form::Sigstore => sigstore_bundle::MEDIA_TYPE,
        Form::Notation => notary_jws::MEDIA_TYPE,
        Form::NotationCose => notary_cose::MEDIA_TYPE,
        Form::CosignTag => simple_signing::MEDIA_TYPE,
    }
}

/// Artifact type of the referrer.
pub(super) fn artifact_type(form: Form) -> &'static str {
    match form {
        Form::Sigstore => sigstore_bundle::MEDIA_TYPE,
        Form::Notation | Form::NotationCose => notary::ARTIFACT_TYPE,
        Form::CosignTag => simple_signing::MEDIA_TYPE,
    }
}
