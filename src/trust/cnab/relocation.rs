//! Relocation maps (CNAB 103): where the images of a bundle lie now, by the references in `bundle.json`.

use std::collections::BTreeMap;

use super::bundle_json::BundleJson;
use super::index::MAX_IMAGES;
use crate::oci::{Digest, Reference, Repository, Selector};
use crate::sig::json;

/// Largest map that is read, bytes.
pub const MAX_RELOCATION: u64 = 1 << 20;

/// A relocation map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelocationMap(BTreeMap<String, Reference>);

/// Why bytes are no relocation map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationError {
    /// Not strict JSON.
    #[error("{0}")]
    Json(#[from] json::JsonError),
    /// Not one object of texts.
    #[error("it is no JSON object of references")]
    Form,
    /// Too large, or too many images.
    #[error("more than {MAX_IMAGES} images")]
    TooMany,
    /// What an image is mapped to is no reference.
    #[error("\"{0}\" is mapped to something that is no reference")]
    Reference(String),
}

/// Why a map does not fit a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    /// An image of the bundle is not in the map.
    #[error("it does not map {0}")]
    Unmapped(String),
    /// It maps what the bundle does not name.
    #[error("it maps {0}, which bundle.json does not name")]
    Unnamed(String),
    /// It maps to a name without a digest.
    #[error("it maps {0} to {1}, which names no digest")]
    Undigested(String, Reference),
    /// It maps to another image.
    #[error("it maps {image} to {found}, and contentDigest is {expected}")]
    Digest {
        /// The image.
        image: String,
        /// `contentDigest`.
        expected: Digest,
        /// In the map.
        found: Digest,
    },
    /// It maps to another repository than the bundle's.
    #[error("it maps {0} to {1}, which is not the bundle's repository")]
    Elsewhere(String, Reference),
}

impl RelocationMap {
    /// Read a map.
    ///
    /// # Errors
    /// Not an object of references.
    pub fn parse(bytes: &[u8]) -> Result<Self, RelocationError> {
        if bytes.len() as u64 > MAX_RELOCATION {
            return Err(RelocationError::TooMany);
        }
        let value = json::parse(bytes)?;
        let object = value.as_object().ok_or(RelocationError::Form)?;
        if object.len() > MAX_IMAGES {
            return Err(RelocationError::TooMany);
        }
        let mut map = BTreeMap::new();
        for (image, to) in object {
            let to = to.as_str().ok_or(RelocationError::Form)?;
            let wrong = |_| RelocationError::Reference(image.chars().take(200).collect());
            map.insert(image.clone(), to.parse().map_err(wrong)?);
        }
        Ok(Self(map))
    }

    /// What is wrong with it for this bundle, which lies in `repository` (in none, where it lies in an OCI layout).
    pub fn misplaced(&self, bundle: &BundleJson, repository: Option<&Repository>) -> Vec<Misplaced> {
        let mut out = Vec::new();
        for image in bundle.images() {
            let name = || image.image.clone();
            let Some(to) = self.0.get(&image.image) else {
                out.push(Misplaced::Unmapped(name()));
                continue;
            };
            match to.selector().and_then(Selector::digest) {
                None => out.push(Misplaced::Undigested(name(), to.clone())),
                Some(found) if *found != image.digest => out.push(Misplaced::Digest {
                    image: name(),
                    expected: image.digest.clone(),
                    found: found.clone(),
                }),
                Some(_) => {}
            }
            let there = match to {
                Reference::Registry(to) => {
                    repository.is_none_or(|r| r.spelt_alike() == to.repository.spelt_alike())
                }
                Reference::Layout(_) | Reference::Archive(_) => false,
            };
            if !there {
                out.push(Misplaced::Elsewhere(name(), to.clone()));
            }
        }
        let named = |image: &&String| bundle.images().any(|i| i.image == **image);
        out.extend(self.0.keys().filter(|image| !named(image)).map(|i| Misplaced::Unnamed(i.clone())));
        out
    }
}
