//! Proposals: read, compared, counted and merged on a base that is nothing.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::proposal(bytes));
