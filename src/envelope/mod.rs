//! Ring 2: signature envelopes of other tools (docs/signatures.md), read and written. Pure: no I/O, no clock, no registry.
//!
//! Every reader has two steps: bytes to an envelope of the right form, and that with a key or chain to what was signed. Only the
//! second shows content.

pub mod keyless;
pub mod notary;
pub mod notary_cose;
pub mod notary_jws;
pub mod sigstore_bundle;
pub mod simple_signing;
