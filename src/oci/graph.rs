//! What a manifest needs to be whole: its successors in the content graph.

use super::{Content, Descriptor, Manifest, ManifestError, media_type};

/// The direct successors of a manifest. The subject is a weak link and stands apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Successors {
    /// Config, layers, and index entries of types that are no manifests.
    pub blobs: Vec<Descriptor>,
    /// Index entries that are manifests or indexes.
    pub manifests: Vec<Descriptor>,
    /// What it refers to.
    pub subject: Option<Descriptor>,
}

/// The successors of a manifest, in document order.
///
/// # Errors
/// The content is no manifest.
pub fn successors(content: &Content) -> Result<Successors, ManifestError> {
    let m = Manifest::parse(content)?;
    let (manifests, others): (Vec<_>, Vec<_>) =
        m.manifests.into_iter().partition(|d| media_type::is_manifest(&d.media_type));
    Ok(Successors {
        blobs: m.config.into_iter().chain(m.layers).chain(others).collect(),
        manifests,
        subject: m.subject,
    })
}
