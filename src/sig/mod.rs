//! Ring 1: keys, signatures, strict and canonical JSON. Pure: no I/O, no clock.

pub mod canonical;
pub mod json;
mod key;
mod rsa;

pub use key::{KeyError, KeyId, PublicKey, Scheme};
