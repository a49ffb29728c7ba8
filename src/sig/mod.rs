//! Ring 1: keys, signatures, envelopes, certificates, strict and canonical JSON. Pure: no I/O, no clock.

pub mod canonical;
mod der;
pub mod dsse;
pub mod json;
mod jwk;
mod key;
pub mod lenient;
mod rsa;
mod spki;
pub mod statement;
pub mod x509;

pub use key::{KeyError, KeyId, PublicKey, Scheme};
pub use spki::{Algorithm, Hash, KeyKind, SubjectKey, ecdsa_r};
