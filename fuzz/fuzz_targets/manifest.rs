//! Manifests and indexes: never both at once; and the history that one names.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::manifest(bytes));
