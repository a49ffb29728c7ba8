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
const WRITES: u32 = 12;
/// How often it is looked at.
const LOOKS: usize = 60;
/// Media type of an image's config.
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
    // Writers who have met go apart: each waits for another while.
    let apart = Duration::from_millis(signature.last().copied().unwrap_or_default().into());
    let hung = |at: &Content| Hung {
        was_there: false,
        carrier: at.digest().clone(),
        tag: Some(tag.clone()),
        unread: 0,
    };
    let (mut written, mut writes, mut window) = (None, 0, Duration::ZERO);
    for _ in 0..LOOKS {
        match &now {
            Some(at) if at.holds(&layer) => {
                let stood_still = written.replace(at.content.digest().clone()).as_ref() == written.as_ref();
                // For as long as a slower writer may take.
                if stood_still {
                    return Ok(hung(&at.content));
                }
                tokio::time::sleep(window).await;
            }
            before if writes < WRITES => {
                let (manifest, config) = with(before.as_ref(), &layer, &tag)?;
                push(store, &config).await?;
                let digest = before.as_ref().map(|at| at.content.digest().clone());
                match store.replace(&tag, digest.as_ref(), &manifest).await {
                    Ok(Replaced::Done) => return Ok(hung(&manifest)),
                    Ok(Replaced::Unguarded(unsure_for)) => {
                        (written, window) = (Some(manifest.digest().clone()), window.max(unsure_for));
                        writes += 1;
                        tokio::time::sleep(window + apart * writes.saturating_sub(1)).await;
                    }
                    Ok(Replaced::Moved) => tokio::time::sleep(apart).await,
                    Err(error) if before.is_some() && is_refusal(&error) => {
                        return Err(SignError::Immutable { tag, error });
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            _ => break,
        }
        now = read(store, &tag).await?;
    }
    match now {
        // Others never stop, and ours has been among theirs.
        Some(at) if at.holds(&layer) => Ok(hung(&at.content)),
        _ => Err(SignError::Contended(tag)),
    }
}

fn is_refusal(e: &StoreError) -> bool {
    matches!(e.failure, Failure::Refused { .. } | Failure::Denied(_))
}

/// The tag of an artifact's signatures.
fn tag_of(artifact: &Descriptor) -> Result<Tag, SignError> {
    let digest = &artifact.digest;
    let long = || super::Unfit::LongDigest(digest.short());
    // cosign's tag is the whole digest, and of a longer one no legal tag.
    let whole = format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex());
    Ok(whole.parse().map_err(|_| long())?)
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
    // That nothing is there is asked again before anything is written ([`Manage::replace`]): one wrong 404 would overwrite what
    // others signed.
    let Some(content) = store.resolve(&Selector::Tag(tag.clone())).await? else { return Ok(None) };
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
