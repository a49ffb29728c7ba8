//! `trust.json`: what is read is written the same.
#![no_main]

use bulla::trust::TrustFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = TrustFile::parse(bytes) {
        assert_eq!(TrustFile::parse(&file.to_bytes()).unwrap(), file);
    }
});
