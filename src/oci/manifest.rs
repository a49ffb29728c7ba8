//! Reading manifests and indexes. Read-only views: bytes are never re-serialised.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Content, Descriptor, media_type};

/// Largest manifest, index or referrers page that is read, in bytes (distribution-spec "Pushing manifests": 4 MiB).
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// Config and layers (OCI image manifest, docker schema 2).
    Image,
    /// A list of manifests (OCI image index, docker manifest list).
    Index,
    /// The artifact manifest of the 1.1 release candidates (blobs only).
    ArtifactRc,
}

/// A parsed manifest or index; unknown fields are left in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its kind.
    pub kind: ManifestKind,
    /// Config of an image manifest.
    pub config: Option<Descriptor>,
    /// Layers of an image manifest, blobs of an artifact manifest.
    pub layers: Vec<Descriptor>,
    /// Entries of an index.
    pub manifests: Vec<Descriptor>,
    /// What it refers to.
    pub subject: Option<Descriptor>,
    /// Its own `artifactType`.
    pub artifact_type: Option<String>,
    /// Its annotations: hints.
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field has another type than the specification says.
    #[error("manifest {digest} cannot be read: {reason}")]
    Malformed {
        /// Digest of the bytes.
        digest: super::Digest,
        /// What the parser said.
        reason: String,
    },
    /// The type is not one of a manifest.
    #[error(
        "{digest} has the media type \"{media_type}\", which is no manifest or index type that bulla reads"
    )]
    UnknownType {
        /// Digest of the bytes.
        digest: super::Digest,
        /// The type it came with.
        media_type: String,
    },
    /// The body names another media type than the one it was served under.
    #[error("{digest} was served as \"{served}\" but calls itself \"{body}\"")]
    TypeDiffers {
        /// Digest of the bytes.
        digest: super::Digest,
        /// The type it came with.
        served: String,
        /// The type in the body.
        body: String,
    },
    /// Reads as a manifest and as an index (CVE-2021-41190).
    #[error("{digest} reads as a manifest and as an index; such a document is refused")]
    Ambiguous {
        /// Digest of the bytes.
        digest: super::Digest,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Read a manifest under the media type it was served with.
    ///
    /// # Errors
    /// Not a manifest type, malformed, another type in the body, or readable as manifest and index alike.
    pub fn parse(content: &Content) -> Result<Self, ManifestError> {
        let (digest, served) = (content.digest().clone(), content.media_type());
        let kind = match served {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => ManifestKind::Image,
            media_type::OCI_INDEX | media_type::DOCKER_LIST => ManifestKind::Index,
            media_type::OCI_ARTIFACT_RC => ManifestKind::ArtifactRc,
            other => return Err(ManifestError::UnknownType { digest, media_type: other.to_owned() }),
        };
        let raw: Raw = serde_json::from_slice(content.bytes())
            .map_err(|e| ManifestError::Malformed { digest: digest.clone(), reason: e.to_string() })?;
        if let Some(body) = raw.media_type.filter(|b| b != served) {
            return Err(ManifestError::TypeDiffers { digest, served: served.to_owned(), body });
        }
        let has_image = raw.config.is_some() || raw.layers.is_some();
        let listed = raw.manifests.is_some();
        let ambiguous = match kind {
            ManifestKind::Index => has_image,
            ManifestKind::Image | ManifestKind::ArtifactRc => listed,
        };
        if ambiguous {
            return Err(ManifestError::Ambiguous { digest });
        }
        if kind == ManifestKind::Image && raw.config.is_none() {
            return Err(ManifestError::Malformed {
                digest,
                reason: "an image manifest needs a config".into(),
            });
        }
        Ok(Self {
            kind,
            config: raw.config,
            layers: raw.layers.or(raw.blobs).unwrap_or_default(),
            manifests: raw.manifests.unwrap_or_default(),
            subject: raw.subject,
            artifact_type: raw.artifact_type.filter(|t| !t.is_empty()),
            annotations: raw.annotations.unwrap_or_default(),
        })
    }

    /// The artifact type as the referrers API reports it: the manifest's own, else an image's config type
    /// (distribution-spec "Listing Referrers").
    pub fn effective_artifact_type(&self) -> Option<&str> {
        let config = self.config.as_ref().filter(|_| self.kind == ManifestKind::Image);
        self.artifact_type.as_deref().or_else(|| config.map(|c| c.media_type.as_str()))
    }

    /// The descriptor under which a referrers list shows this manifest: with artifact type and all annotations.
    pub fn referrer_descriptor(&self, own: &Descriptor) -> Descriptor {
        let mut d = own.bare();
        d.artifact_type = self.effective_artifact_type().map(str::to_owned);
        d.annotations = (!self.annotations.is_empty()).then(|| self.annotations.clone());
        d
    }
}

#[cfg(test)]
mod tests {
    use super::media_type::*;
    use super::*;

    fn parse(media_type: &str, body: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(&Content::new(media_type, body.as_bytes().to_vec()))
    }
    const CFG: &str = r#"{"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    #[test]
    fn null_layers_and_unknown_fields_pass() {
        let m = parse(
            OCI_MANIFEST,
            &format!(r#"{{"schemaVersion":2,"config":{CFG},"layers":null,"x":{{"y":[1.5]}}}}"#),
        )
        .unwrap();
        assert_eq!(m.layers, vec![]);
        assert_eq!(m.effective_artifact_type(), Some("a/b"));
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = format!(r#"{{"config":{CFG},"layers":[],"manifests":[]}}"#);
        for t in [OCI_MANIFEST, OCI_INDEX] {
            assert!(matches!(parse(t, &both), Err(ManifestError::Ambiguous { .. })), "{t}");
        }
        let image = format!(r#"{{"config":{CFG},"layers":[]}}"#);
        assert!(matches!(parse(OCI_INDEX, &image), Err(ManifestError::Ambiguous { .. })));
        assert!(matches!(parse(OCI_MANIFEST, r#"{"manifests":[]}"#), Err(ManifestError::Ambiguous { .. })));
    }

    #[test]
    fn type_in_body_decides() {
        let body = format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
        assert!(matches!(parse(DOCKER_LIST, &body), Err(ManifestError::TypeDiffers { .. })));
        assert!(matches!(parse("text/html", "<p>"), Err(ManifestError::UnknownType { .. })));
        assert!(matches!(parse(OCI_INDEX, "<p>"), Err(ManifestError::Malformed { .. })));
        let twice = format!(r#"{{"config":{CFG},"config":{CFG},"layers":[]}}"#);
        assert!(matches!(parse(OCI_MANIFEST, &twice), Err(ManifestError::Malformed { .. })));
    }
}
