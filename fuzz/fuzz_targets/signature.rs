//! Every signature envelope: DSSE, statement, Sigstore bundle, simple signing, Notary JWS and COSE.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::signature(bytes));
