//! Root packs: read or refused.
#![no_main]

use bulla::trust::RootPack;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pack) = RootPack::parse(bytes) {
        assert!(!pack.root().contains('/'));
    }
});
