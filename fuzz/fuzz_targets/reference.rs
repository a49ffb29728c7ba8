//! References, scopes, file names: what is read is written the same.
#![no_main]

use bulla::oci::{Digest, Reference, Tag};
use bulla::trust::Scope;
use bulla::tuf::FileName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
    }
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }
    if let Ok(name) = text.parse::<FileName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
    }
});
