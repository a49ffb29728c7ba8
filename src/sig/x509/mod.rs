//! X.509 certificates and chains (RFC 5280) as signature envelopes carry them (docs/signatures.md). Whether a root is trusted is
//! not decided here.

mod certificate;
mod chain;
mod name;
mod twins;

pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE};
pub use chain::{Chain, ChainError, MAX_CHAIN, UsageFault};
pub use name::DistinguishedName;
