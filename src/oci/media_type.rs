//! Media types that bulla acts on. Every other type is carried untouched.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The artifact manifest of the 1.1 release candidates: read, never written.
pub const OCI_ARTIFACT_RC: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// The empty descriptor's type; its content is `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A collection's state (docs/formats.md).
pub const BULLA_STATE: &str = "application/vnd.bulla.state.v1";
/// A seal: a referrer that carries the state for one bundle (docs/formats.md).
pub const BULLA_SEAL: &str = "application/vnd.bulla.seal.v1";
/// A next snapshot and timestamp, waiting for more signatures (docs/formats.md).
pub const BULLA_CANDIDATE: &str = "application/vnd.bulla.candidate.v1";
/// A signed next version of a role, waiting to be admitted (docs/formats.md).
pub const BULLA_SUBMISSION: &str = "application/vnd.bulla.submission.v1";
/// An earlier version of a role file, as a layer of the state (docs/formats.md).
pub const BULLA_HISTORY: &str = "application/vnd.bulla.history.v1+json";
/// A change of who may sign what, on its way to its signers (docs/formats.md).
pub const BULLA_PROPOSAL: &str = "application/vnd.bulla.proposal.v1";
/// The one layer of a proposal.
pub const BULLA_PROPOSAL_JSON: &str = "application/vnd.bulla.proposal.v1+json";
/// Tries at `init` whether tags can be moved (docs/formats.md).
pub const BULLA_PROBE: &str = "application/vnd.bulla.probe.v1";
/// A request for a delegation (docs/formats.md).
pub const BULLA_REQUEST: &str = "application/vnd.bulla.delegation-request.v1";
/// That a request was denied (docs/formats.md).
pub const BULLA_DENIAL: &str = "application/vnd.bulla.delegation-denial.v1";
/// A thick archive of a CNAB bundle, hung on the bundle (docs/formats.md).
pub const BULLA_THICK: &str = "application/vnd.bulla.cnab.thick.v1";
/// Its one layer: the archive as it is.
pub const BULLA_THICK_ARCHIVE: &str = "application/vnd.bulla.cnab.thick.v1.tar+gzip";
/// A TUF metadata file as a layer.
pub const TUF_METADATA: &str = "application/vnd.tuf.metadata+json";
/// A TUF target file as a layer.
pub const TUF_TARGET: &str = "application/vnd.tuf.target";
/// A link of in-toto, classic, as a referrer (docs/formats.md); nobody else has given it a type.
pub const INTOTO_LINK: &str = "application/vnd.in-toto.link.v1+json";
/// The same in a DSSE envelope.
pub const INTOTO_LINK_DSSE: &str = "application/vnd.in-toto.link.v1+dsse";
/// A layout of in-toto, classic, as a referrer.
pub const INTOTO_LAYOUT: &str = "application/vnd.in-toto.layout.v1+json";
/// The same in a DSSE envelope.
pub const INTOTO_LAYOUT_DSSE: &str = "application/vnd.in-toto.layout.v1+dsse";

/// What a client must send in `Accept` for manifests: docker-registry answers 404 to an index it was not offered.
pub const ACCEPT_MANIFESTS: [&str; 5] =
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT_RC];

/// Whether a descriptor of this type names a manifest or an index, to be stored at the manifests endpoint.
pub fn is_manifest(media_type: &str) -> bool {
    ACCEPT_MANIFESTS.contains(&media_type)
}

/// Whether this type names an index or manifest list.
pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}
