//! TUF metadata of every kind, the walk over roots, and what entries say.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::metadata(bytes));
