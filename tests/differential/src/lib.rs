//! bulla's TUF core against sigstore-tuf: random repositories and mutations of them, the same verdict wanted of both.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod clients;
pub mod mutate;
pub mod vectors;
pub mod world;

#[cfg(test)]
mod tests;
