//! Bundles as artifacts: `oci:<name>` with the digest of the manifest, and of a CNAB bundle also `bundle.json`.

use super::ProvenanceError;
use super::artifacts::named as artifact;
use crate::intoto::{Artifacts, Hashes};
use crate::oci::{Algorithm, Digest, Manifest, Reference, Repository, Selector};
use crate::store::Store;

/// The scheme of a bundle's name among artifacts.
pub const SCHEME: &str = "oci:";
/// The artifact that stands for the bundle description of a CNAB bundle: what CNAB-Sec 303 verifies.
pub const BUNDLE_JSON: &str = "bundle.json";
/// The annotation on the entries of a CNAB index (CNAB-Reg).
const CNAB_TYPE: &str = "io.cnab.manifest.type";

/// Record the bundle that `reference` names now under the repository's name, or `named` where it has none or another.
///
/// # Errors
/// It is not there, its digest is no SHA-256, or it has no name.
pub async fn record(
    store: &dyn Store,
    reference: &Reference,
    named: Option<&Repository>,
) -> Result<(Digest, Artifacts), ProvenanceError> {
    let refused = |reason: String| ProvenanceError::Bundle { reference: reference.to_string(), reason };
    let selector = reference.selector().ok_or_else(|| refused("it names no tag and no digest".into()))?;
    let own = match reference {
        Reference::Registry(r) => Some(&r.repository),
        Reference::Layout(_) | Reference::Archive(_) => None,
    };
    let name =
        named.or(own).ok_or_else(|| refused("an OCI layout has no name: --as NAME gives one".into()))?;
    let content = store.resolve(selector).await?.ok_or_else(|| refused("it is not there".into()))?;
    let manifest = Manifest::parse(&content).map_err(|e| refused(e.to_string()))?;
    let mut artifacts = Artifacts::new();
    artifacts.insert(artifact(&format!("{SCHEME}{name}"))?, hashes(content.digest()).map_err(refused)?);
    let config = manifest.manifests.iter().find(|d| d.annotation(CNAB_TYPE) == Some("config"));
    if let Some(config) = config {
        let found = store.resolve(&Selector::Digest(config.digest.clone())).await?;
        let found =
            found.ok_or_else(|| refused(format!("its config manifest {} is not there", config.digest)))?;
        let inner = Manifest::parse(&found).map_err(|e| refused(e.to_string()))?;
        let blob = inner.config.ok_or_else(|| refused("its config manifest has no config".into()))?;
        artifacts.insert(artifact(BUNDLE_JSON)?, hashes(&blob.digest).map_err(refused)?);
    }
    Ok((content.digest().clone(), artifacts))
}

fn hashes(digest: &Digest) -> Result<Hashes, String> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(Hashes::of(digest)),
        Algorithm::Sha512 => Err(format!("links compare SHA-256, and {digest} is another hash")),
    }
}

/// Add what was recorded elsewhere; the same name must mean the same.
///
/// # Errors
/// One name with two hashes.
pub fn add(artifacts: &mut Artifacts, more: Artifacts) -> Result<(), ProvenanceError> {
    for (name, hashes) in more {
        match artifacts.get(&name) {
            Some(before) if *before != hashes => return Err(ProvenanceError::Twice(name.to_string())),
            _ => artifacts.insert(name, hashes),
        };
    }
    Ok(())
}
