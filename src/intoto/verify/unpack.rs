//! `bulla:unpack`: an inspection that runs nothing.

use super::super::{ArtifactName, Artifacts, Hashes, IntotoError, Link, StepName};
use crate::oci::{Digest, Manifest};

/// What an inspection's `run` says to ask for it.
pub const UNPACK: &str = "bulla:unpack";

/// The link of the inspection: its material is the manifest, its products are what the manifest names, by digest: `manifest`,
/// `config`, `layers/0` and on, `manifests/0` and on.
///
/// # Errors
/// None of these names is malformed.
pub fn unpack(name: StepName, digest: &Digest, manifest: &Manifest) -> Result<Link, IntotoError> {
    let mut link = Link::new(name);
    let whole: ArtifactName = "manifest".parse()?;
    link.materials.insert(whole.clone(), Hashes::of(digest));
    let mut products: Artifacts = [(whole, Hashes::of(digest))].into();
    if let Some(config) = &manifest.config {
        products.insert("config".parse()?, Hashes::of(&config.digest));
    }
    for (folder, list) in [("layers", &manifest.layers), ("manifests", &manifest.manifests)] {
        for (i, descriptor) in list.iter().enumerate() {
            products.insert(format!("{folder}/{i}").parse()?, Hashes::of(&descriptor.digest));
        }
    }
    link.products = products;
    link.byproducts.insert("return-value".into(), 0.into());
    Ok(link)
}
