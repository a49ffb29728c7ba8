//! `installed.jsonl`: every line is read, or counted, or is the last and torn.
#![no_main]

#[allow(dead_code, reason = "one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::installed(bytes));
