//! Certificates in DER and PEM, and the chain of what parses.
#![no_main]

use bulla::sig::x509::{Certificate, Chain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(bytes) {
        assert_eq!(certificate.as_der(), bytes);
        let _ = (certificate.subject().to_string(), certificate.is_ca());
        let _ = Chain::notary(vec![certificate]);
    }
    if let Some(certificates) = std::str::from_utf8(bytes).ok().and_then(|t| Certificate::from_pem(t).ok()) {
        let _ = Chain::notary(certificates);
    }
});
