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
/// Largest envelope that also stands in its layer's descriptor, in bytes.
const MAX_INLINE: usize = 16 << 10;
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
        // Whoever verifies has it with the manifest then (image-spec `descriptor.md`, `data`): a request less for each signature.
        let listed = match self.bytes.len() <= MAX_INLINE {
            true => layer.descriptor().clone().with_data(&self.bytes),
            false => layer.descriptor().clone(),
        };
        let manifest: Value = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": [listed],
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::Digest;

    fn testdata(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
        std::fs::read(format!("{path}{name}")).unwrap()
    }

    /// The manifest that cosign 3.1.1 writes, but for the time, the order of members and what is inline.
    #[test]
    fn a_bundle_hangs_as_cosign_hangs_it() {
        let envelope = Envelope::read(testdata("sigstore/cosign3-p256.sigstore.json")).unwrap();
        let subject = Descriptor::of(media_type::OCI_MANIFEST, &testdata("subject.json"));
        let made = UnixTime::from_secs(1_795_305_583);
        let packed = envelope.packed(&subject, made).unwrap();
        let mut manifest: Value = serde_json::from_slice(packed.manifest.bytes()).unwrap();
        let inline = manifest["layers"][0].as_object_mut().unwrap().remove("data").unwrap();
        assert_eq!(STANDARD.decode(inline.as_str().unwrap()).unwrap(), *envelope.bytes());
        let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let is = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "size": 2,
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "artifactType": bundle,
            },
            "layers": [{"mediaType": bundle, "size": envelope.bytes().len(), "digest": Digest::sha256(envelope.bytes())}],
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
                "org.opencontainers.image.created": made.to_string(),
            },
            "subject": subject,
            "artifactType": bundle,
        });
        assert_eq!(manifest, is);
    }

    #[test]
    fn a_notary_signature_hangs_in_the_new_form() {
        for name in ["jws", "cose"] {
            let envelope = Envelope::read(testdata(&format!("notation/notation-p256.{name}"))).unwrap();
            let subject = Descriptor::of(media_type::OCI_MANIFEST, &testdata("subject.json"));
            let packed = envelope.packed(&subject, UnixTime::from_secs(0)).unwrap();
            let manifest = crate::oci::Manifest::parse(&packed.manifest).unwrap();
            let config = manifest.config.unwrap();
            assert!(notary::is_signature(manifest.artifact_type.as_deref(), &config.media_type));
            assert_eq!(
                (config.artifact_type, manifest.layers.len(), manifest.subject),
                (None, 1, Some(subject))
            );
            let shown: Vec<String> =
                serde_json::from_str(&manifest.annotations[notary::THUMBPRINTS]).unwrap();
            let Inside::Notary(verified) = &envelope.inside else { panic!("{name}") };
            let own = verified.chain().certificates().iter().map(|c| c.thumbprint().hex().to_owned());
            assert_eq!(shown, own.collect::<Vec<_>>());
            assert_eq!(manifest.annotations[CREATED], verified.signed_at().to_string());
        }
    }

    #[test]
    fn large_envelopes_are_not_inline() {
        let mut value: Value = serde_json::from_slice(&testdata("notation/notation-p256.jws")).unwrap();
        value["header"]["io.cncf.notary.signingAgent"] = "x".repeat(MAX_INLINE).into();
        let envelope = Envelope::read(value.to_string().into_bytes()).unwrap();
        let subject = Descriptor::of(media_type::OCI_MANIFEST, &testdata("subject.json"));
        let packed = envelope.packed(&subject, UnixTime::from_secs(0)).unwrap();
        assert_eq!(crate::oci::Manifest::parse(&packed.manifest).unwrap().layers[0].data, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Envelope::read(bytes.clone());
            let _ = Envelope::read([&b"\xd2"[..], &bytes].concat());
        }

        #[test]
        fn a_changed_file_is_another_or_none(at: prop::sample::Index, bit in 0u8..8) {
            for name in ["sigstore/cosign3-p256.sigstore.json", "notation/notation-p256.jws", "notation/notation-p256.cose"] {
                let good = testdata(name);
                let mut changed = good.clone();
                let at = at.index(changed.len());
                changed[at] ^= 1 << bit;
                let subject = Descriptor::of(media_type::OCI_MANIFEST, &testdata("subject.json"));
                // What is taken still says that it is about the artifact, and hangs.
                if let Ok(envelope) = Envelope::read(changed)
                    && envelope.check_about(&subject).is_ok()
                {
                    prop_assert!(envelope.packed(&subject, UnixTime::from_secs(0)).is_some());
                }
            }
        }
    }
}
