//! The strict JSON parser: it reads no more than `serde_json`, and the same.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::json(bytes));
