//! Certificates in DER and PEM, and the chain of what parses.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::certificate(bytes));
