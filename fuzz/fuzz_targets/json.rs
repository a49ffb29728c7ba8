//! The strict JSON parser: it reads no more than `serde_json`, and the same.
#![no_main]

use bulla::sig::{canonical::canonical, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = json::parse(bytes) {
        let plain: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(plain, value);
        let again = json::parse(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!(canonical(&again), canonical(&value));
    }
});
