//! Ring 0: OCI data model. Pure functions over bytes; nothing here does I/O or knows a registry.
//!
//! Sources: OCI image-spec 1.1.1 and distribution-spec 1.1.1.

mod content;
mod descriptor;
mod digest;
mod graph;
mod manifest;
pub mod media_type;
mod pack;
mod reference;

pub use content::{Content, ContentError};
pub use descriptor::{Descriptor, Platform, PlatformError};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use graph::{Successors, successors};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestKind};
pub use pack::{EMPTY_JSON, Packer, empty_descriptor, sorted_json};
pub use reference::{
    ArchiveRef, LayoutRef, Reference, ReferenceError, RegistryRef, Repository, Selector, Tag,
};
