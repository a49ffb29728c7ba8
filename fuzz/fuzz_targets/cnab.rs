//! CNAB bundles: indexes, config manifests, `bundle.json`, relocation maps.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::cnab(bytes));
