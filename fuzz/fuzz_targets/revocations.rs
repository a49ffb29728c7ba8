//! Revocation lists: what is read revokes what it says, and joins with itself.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::revocations(bytes));
