//! bulla signs OCI bundles so that trust travels with them.
//!
//! The folder list is the data flow (docs/architecture.md); an arrow points only to a smaller ring:
//!
//! | ring | modules | what |
//! |---|---|---|
//! | 0 | [`oci`], [`time`] | digests, descriptors, references, manifests; the clock |
//! | 1 | [`sig`] | public keys, signatures, DSSE, certificates, strict and canonical JSON |
//! | 2 | [`tuf`] | TUF metadata: verification as a step machine, authoring |
//! | 2 | [`intoto`] | in-toto layouts, links, rules, and their verification |
//! | 2 | [`envelope`] | signature envelopes of cosign and notation, read and written |
//! | 3 | [`trust`] | anchors, policy, the order of verification, the report |
//! | 4 | [`store`], [`keys`] | OCI layouts, registries, copy; signing keys |
//! | 5 | [`client`] | one file a use case |
//! | 6 | [`cli`] | one file a command |

pub mod cli;
pub mod client;
pub mod envelope;
pub mod intoto;
pub mod keys;
pub mod oci;
pub mod sig;
pub mod store;
pub mod time;
pub mod trust;
pub mod tuf;
