//! The index of a CNAB bundle (CNAB-Reg 201): which entry is the config manifest, which are its images.

use std::collections::BTreeMap;

use crate::oci::{Descriptor, Digest, Manifest, ManifestKind, media_type};

/// Annotation of an entry: `config`, `invocation` or `component`.
pub const MANIFEST_TYPE: &str = "io.cnab.manifest.type";
/// Annotation of a component's entry: its name in `bundle.json`.
pub const COMPONENT_NAME: &str = "io.cnab.component.name";
/// Annotation of the index, and its value.
const ARTIFACT_TYPE: &str = "org.opencontainers.artifactType";
const CNAB_MANIFEST: &str = "application/vnd.cnab.manifest.v1";
/// Most entries of one index, and most images of one `bundle.json`.
pub const MAX_IMAGES: usize = 256;
/// Longest name of a component.
const MAX_NAME: usize = 256;

/// Types of the config: CNAB-Reg's, cnab-to-oci's, and what it falls back to where a registry takes neither.
const CONFIG_TYPES: [&str; 4] = [
    "application/vnd.cnab.bundle.config.v1+json",
    "application/vnd.cnab.config.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// A CNAB index, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CnabIndex {
    config: Descriptor,
    invocations: Vec<Descriptor>,
    components: BTreeMap<String, Descriptor>,
}

/// Why an index that calls itself one of a CNAB bundle is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CnabIndexError {
    /// Too many entries.
    #[error("{0} entries; at most {MAX_IMAGES} are read")]
    TooMany(usize),
    /// An entry does not say what it is.
    #[error("the entry {0} does not say what part of the bundle it is ({MANIFEST_TYPE})")]
    Untyped(Digest),
    /// An entry of a type that there is not.
    #[error("the entry {digest} is of the type \"{found}\"; there are config, invocation and component")]
    Type {
        /// The entry.
        digest: Digest,
        /// Its type.
        found: String,
    },
    /// Not exactly one config, or no invocation image.
    #[error("{count} entries of the type {kind}")]
    Count {
        /// Which type.
        kind: &'static str,
        /// How many.
        count: usize,
    },
    /// A component without a usable name.
    #[error("the component {0} has no name ({COMPONENT_NAME})")]
    Unnamed(Digest),
    /// Two components of one name.
    #[error("two components are named \"{0}\"")]
    Twice(String),
    /// An entry that is no manifest.
    #[error("the entry {0} is no manifest")]
    NoManifest(Digest),
}

/// Why the config manifest is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CnabConfigError {
    /// An index, or nothing with a config.
    #[error("it has no config")]
    NoConfig,
    /// The config is of another type.
    #[error("its config is of the type \"{0}\", which is not that of bundle.json")]
    Type(String),
    /// Other layers than the config again.
    #[error("it has the layer {0}; beside bundle.json there is none")]
    Layer(Digest),
}

impl CnabIndex {
    /// The CNAB bundle that an index is; `None` where it does not call itself one.
    ///
    /// # Errors
    /// It calls itself one, and is none.
    pub fn of(manifest: &Manifest) -> Result<Option<Self>, CnabIndexError> {
        let says = manifest.annotations.get(ARTIFACT_TYPE).is_some_and(|t| t == CNAB_MANIFEST);
        let typed = |d: &Descriptor| d.annotation(MANIFEST_TYPE).is_some();
        if manifest.kind != ManifestKind::Index || !says && !manifest.manifests.iter().any(typed) {
            return Ok(None);
        }
        if manifest.manifests.len() > MAX_IMAGES {
            return Err(CnabIndexError::TooMany(manifest.manifests.len()));
        }
        let (mut configs, mut invocations, mut components) = (Vec::new(), Vec::new(), BTreeMap::new());
        for entry in &manifest.manifests {
            let digest = || entry.digest.clone();
            if !media_type::is_manifest(&entry.media_type) {
                return Err(CnabIndexError::NoManifest(digest()));
            }
            match entry.annotation(MANIFEST_TYPE) {
                None => return Err(CnabIndexError::Untyped(digest())),
                Some("config") => configs.push(entry.clone()),
                Some("invocation") => invocations.push(entry.clone()),
                Some("component") => {
                    let name = entry.annotation(COMPONENT_NAME).filter(|n| is_name(n));
                    let name = name.ok_or_else(|| CnabIndexError::Unnamed(digest()))?;
                    if components.insert(name.to_owned(), entry.clone()).is_some() {
                        return Err(CnabIndexError::Twice(name.to_owned()));
                    }
                }
                Some(other) => {
                    let found = other.chars().take(100).collect();
                    return Err(CnabIndexError::Type { digest: digest(), found });
                }
            }
        }
        let count = |kind, count| CnabIndexError::Count { kind, count };
        let [config] = &configs[..] else { return Err(count("config", configs.len())) };
        if invocations.is_empty() {
            return Err(count("invocation", 0));
        }
        Ok(Some(Self { config: config.clone(), invocations, components }))
    }

    /// The config manifest.
    pub fn config(&self) -> &Descriptor {
        &self.config
    }

    /// Invocation images, in the order of the index.
    pub fn invocations(&self) -> &[Descriptor] {
        &self.invocations
    }

    /// Component images by name.
    pub fn components(&self) -> &BTreeMap<String, Descriptor> {
        &self.components
    }

    /// Every image, each once.
    pub fn images(&self) -> Vec<&Descriptor> {
        let mut images: Vec<&Descriptor> = self.invocations.iter().chain(self.components.values()).collect();
        images.sort_by(|a, b| a.digest.cmp(&b.digest));
        images.dedup_by(|a, b| a.digest == b.digest);
        images
    }
}

/// Where `bundle.json` lies, by the config manifest.
///
/// # Errors
/// It is no config manifest of a CNAB bundle.
pub fn bundle_json_of(config: &Manifest) -> Result<Descriptor, CnabConfigError> {
    if config.kind != ManifestKind::Image {
        return Err(CnabConfigError::NoConfig);
    }
    let blob = config.config.as_ref().ok_or(CnabConfigError::NoConfig)?;
    if !CONFIG_TYPES.contains(&blob.media_type.as_str()) {
        return Err(CnabConfigError::Type(blob.media_type.chars().take(100).collect()));
    }
    // Where the type of a docker image stands in, the config is repeated as a layer.
    match config.layers.iter().find(|layer| layer.digest != blob.digest) {
        Some(layer) => Err(CnabConfigError::Layer(layer.digest.clone())),
        None => Ok(blob.clone()),
    }
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}
