//! cosign's tag `sha256-<hex>.sig`: one manifest for all signatures of an artifact, a layer each. Adding one is a
//! read-modify-write of a tag that anybody may write at the same time, so it is read back, and done again where it was lost.

use std::time::Duration;

use serde_json::{Value, json};

use super::envelope::{Envelope, Simple};
use super::{Hung, SignError, push};
use crate::envelope::simple_signing::{MAX_PAYLOAD, MEDIA_TYPE, SIGNATURE};
use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, Tag, media_type, sorted_json};
use crate::store::{Failure, Manage, Replaced, StoreError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most layers that cosign reads (CVE-2024-29903).
const MOST: usize = 1000;
/// How often the manifest is written before others are held to win for ever.
const WRITES: usize = 12;
/// How often it is looked at.
const LOOKS: usize = 60;
/// The annotation of cosign that a layer must not be added without.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Add a signature over `payload` to those of `artifact`, unless one that `is` the same is there. `made` makes it, once.
///
/// # Errors
/// Something else lies at the tag, the tag cannot be changed, or the place's own.
pub(super) async fn append<M>(
    store: &dyn Manage,
    artifact: &Descriptor,
    payload: &[u8],
    is: &(dyn Fn(&Envelope) -> bool + Sync),
    made: impl FnOnce() -> M + Send,
) -> Result<Hung, SignError>
where
    M: Future<Output = Result<Envelope, SignError>> + Send,
{
    let tag = tag_of(artifact)?;
    let mut now = read(store, &tag).await?;
    let layer = Descriptor::of(MEDIA_TYPE, payload);
    if let Some(at) = &now
        && at.same(&layer, payload, is)
    {
        let carrier = at.content.digest().clone();
        return Ok(Hung { was_there: true, carrier, tag: Some(tag), unread: 0 });
    }
    let envelope = made().await?;
    let Some(Simple { payload, signature }) = envelope.as_simple() else {
        return Err(super::EnvelopeError::Form.into());
    };
    let layer = layer.annotated(SIGNATURE, STANDARD.encode(signature));
    push(store, &Content::new(MEDIA_TYPE, payload.clone())).await?;
    let (mut written, mut writes) = (None, 0);
    for _ in 0..LOOKS {
        match &now {
            // It stood still for as long as a slower writer may take.
            Some(at) if at.holds(&layer) && Some(at.content.digest()) == written.as_ref() => {
                let carrier = at.content.digest().clone();
                return Ok(Hung { was_there: false, carrier, tag: Some(tag), unread: 0 });
            }
            // Others wrote, and kept ours.
            Some(at) if at.holds(&layer) => {
                written = Some(at.content.digest().clone());
                tokio::time::sleep(PAUSE).await;
            }
            before => {
                if writes == WRITES {
                    break;
                }
                let (manifest, config) = with(before.as_ref(), &layer, &tag)?;
                push(store, &config).await?;
                let digest = before.as_ref().map(|at| at.content.digest().clone());
                match store.replace(&tag, digest.as_ref(), &manifest).await {
                    Ok(Replaced::Done { unsure_for }) => {
                        written = Some(manifest.digest().clone());
                        writes += 1;
                        store.flush().await?;
                        if unsure_for.is_zero() {
                            let carrier = manifest.digest().clone();
                            return Ok(Hung { was_there: false, carrier, tag: Some(tag), unread: 0 });
                        }
                        tokio::time::sleep(unsure_for).await;
                    }
                    Ok(Replaced::Moved) => writes += 1,
                    Err(error) if before.is_some() && is_refusal(&error) => {
                        return Err(SignError::Immutable { tag, error });
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        }
        now = read(store, &tag).await?;
    }
    Err(SignError::Contended(tag))
}

/// Between two looks at what others wrote.
const PAUSE: Duration = Duration::from_millis(250);

fn is_refusal(e: &StoreError) -> bool {
    matches!(e.failure, Failure::Refused { .. } | Failure::Denied(_))
}

/// The tag of an artifact's signatures.
fn tag_of(artifact: &Descriptor) -> Result<Tag, SignError> {
    let digest = &artifact.digest;
    let long = |_| super::Unfit::LongDigest(digest.short());
    Ok(format!("{}.sig", digest.referrers_tag()).parse().map_err(long)?)
}

/// What stands at the tag.
struct AtTag {
    content: Content,
    document: Value,
    layers: Vec<Descriptor>,
}

impl AtTag {
    /// Whether a signature over the same payload is the one that is looked for. The payload is known by its digest.
    fn same(&self, layer: &Descriptor, payload: &[u8], is: &(dyn Fn(&Envelope) -> bool + Sync)) -> bool {
        let over = self.layers.iter().filter(|l| l.digest == layer.digest && l.media_type == MEDIA_TYPE);
        let signatures = over.filter_map(|l| STANDARD.decode(l.annotation(SIGNATURE)?).ok());
        let simple = |signature| Simple { payload: payload.to_vec().into(), signature };
        signatures.filter_map(|s| Envelope::simple(simple(s)).ok()).any(|envelope| is(&envelope))
    }

    fn holds(&self, layer: &Descriptor) -> bool {
        let signature = layer.annotation(SIGNATURE);
        self.layers.iter().any(|l| l.digest == layer.digest && l.annotation(SIGNATURE) == signature)
    }
}

async fn read(store: &dyn Manage, tag: &Tag) -> Result<Option<AtTag>, SignError> {
    let mut found = store.resolve(&Selector::Tag(tag.clone())).await?;
    if found.is_none() {
        // One wrong 404 would overwrite what others signed.
        found = store.resolve(&Selector::Tag(tag.clone())).await?;
    }
    let Some(content) = found else { return Ok(None) };
    let foreign = |what: &str| SignError::Foreign { tag: tag.clone(), what: what.to_owned() };
    if !matches!(content.media_type(), media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) {
        return Err(foreign("no image manifest"));
    }
    let manifest = Manifest::parse(&content).map_err(|_| foreign("what is no manifest"))?;
    let signs = |l: &Descriptor| l.media_type == MEDIA_TYPE && l.size <= MAX_PAYLOAD as u64;
    if manifest.subject.is_some() || !manifest.layers.iter().any(signs) {
        return Err(foreign("another image"));
    }
    let document = serde_json::from_slice(content.bytes()).map_err(|_| foreign("what is no manifest"))?;
    Ok(Some(AtTag { layers: manifest.layers, document, content }))
}

/// The manifest with one more layer, and its config; what stands there stays as it is.
fn with(before: Option<&AtTag>, layer: &Descriptor, tag: &Tag) -> Result<(Content, Content), SignError> {
    let count = before.map_or(0, |at| at.layers.len());
    if count >= MOST {
        return Err(SignError::Full { tag: tag.clone(), count, most: MOST });
    }
    let old = before.map(|at| at.layers.as_slice()).unwrap_or_default();
    let digests: Vec<&Digest> = old.iter().chain([layer]).map(|l| &l.digest).collect();
    let config = Content::new(CONFIG, sorted_json(&image_config(&digests)));
    let mut document = before.map_or_else(
        || json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": []}),
        |at| at.document.clone(),
    );
    document["config"] = json!(config.descriptor());
    if let Some(layers) = document["layers"].as_array_mut() {
        layers.push(json!(layer));
    }
    let media_type = before.map_or(media_type::OCI_MANIFEST, |at| at.content.media_type());
    Ok((Content::new(media_type, sorted_json(&document)), config))
}

/// The config of an image of these layers, as cosign writes it; some registries look whether it fits.
fn image_config(layers: &[&Digest]) -> Value {
    let never = "0001-01-01T00:00:00Z";
    let history: Vec<Value> = layers.iter().map(|_| json!({"created": never})).collect();
    json!({
        "architecture": "", "created": never, "history": history, "os": "",
        "rootfs": {"type": "layers", "diff_ids": layers}, "config": {},
    })
}
