//! Trust policies and stores of other forms: read or refused, and what is read comes back from `trust.json`.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::trust_document(bytes));
