//! Keyless signatures: trusted roots, bundles under sigstore's own, and annotations at cosign's tag.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::keyless_signature(bytes));
