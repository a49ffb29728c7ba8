//! Reading what is inside of a CNAB bundle: config manifest, `bundle.json`, and whether its images are there.

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::oci::{Content, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, Selector};
use crate::store::{Failure, Store, StoreError, fetch_small};
use crate::trust::cnab::{CnabAnswer, CnabIndex, MAX_BUNDLE_JSON, bundle_json_of};

/// Images that are asked for side by side.
const WIDTH: usize = 8;

/// Read it, whatever it says; only where to look is taken from what was read before.
pub(super) fn read<'a>(store: &'a dyn Store, index: &'a CnabIndex) -> BoxFuture<'a, CnabAnswer> {
    read_all(store, index).boxed()
}

async fn read_all(store: &dyn Store, index: &CnabIndex) -> CnabAnswer {
    let config = match config(store, index.config()).await {
        Ok(config) => config,
        Err(answer) => return answer,
    };
    let blob = match Manifest::parse(&config).map_err(|e| e.to_string()) {
        Ok(manifest) => bundle_json_of(&manifest).map_err(|e| e.to_string()),
        Err(e) => Err(e),
    };
    let blob = match blob {
        Ok(blob) => blob,
        Err(e) => return CnabAnswer::Config(format!("{}: {e}", config.digest())),
    };
    let images = index.images();
    let (bytes, absent) = futures::join!(bundle_json(store, &blob), absent(store, &images));
    match (bytes, absent) {
        (Err(answer), _) => answer,
        (_, Err(e)) => CnabAnswer::Unreadable(e.to_string()),
        (Ok(bundle_json), Ok(absent)) => CnabAnswer::Read { config, bundle_json, absent },
    }
}

async fn config(store: &dyn Store, listed: &Descriptor) -> Result<Content, CnabAnswer> {
    if listed.size > MAX_MANIFEST_BYTES {
        let why = format!("the config manifest {} has {} bytes", listed.digest, listed.size);
        return Err(CnabAnswer::Config(why));
    }
    match store.resolve(&Selector::Digest(listed.digest.clone())).await {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(gone("config manifest", &listed.digest)),
        Err(e) if e.is_not_found() => Err(gone("config manifest", &listed.digest)),
        Err(e) => Err(CnabAnswer::Unreadable(e.to_string())),
    }
}

async fn bundle_json(store: &dyn Store, blob: &Descriptor) -> Result<Content, CnabAnswer> {
    if blob.size > MAX_BUNDLE_JSON {
        let why = format!("bundle.json has {} bytes; at most {MAX_BUNDLE_JSON} are read", blob.size);
        return Err(CnabAnswer::BundleJson(why));
    }
    match fetch_small(store, blob, MAX_BUNDLE_JSON).await {
        Ok(content) => Ok(content),
        Err(e) if e.is_not_found() => Err(gone("bundle.json", &blob.digest)),
        Err(e) if matches!(e.failure, Failure::TooLarge { .. }) => Err(CnabAnswer::BundleJson(e.to_string())),
        Err(e) => Err(CnabAnswer::Unreadable(e.to_string())),
    }
}

fn gone(what: &str, digest: &Digest) -> CnabAnswer {
    CnabAnswer::Unreadable(format!("the {what} {digest} is not there"))
}

/// Those that the place says it has not.
async fn absent(store: &dyn Store, images: &[&Descriptor]) -> Result<Vec<Digest>, StoreError> {
    let mut asked: Vec<BoxFuture<'_, Result<Option<Digest>, StoreError>>> = Vec::new();
    for image in images {
        asked.push(async { Ok((!store.exists(image).await?).then(|| image.digest.clone())) }.boxed());
    }
    let found: Vec<Option<Digest>> = stream::iter(asked).buffered(WIDTH).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
