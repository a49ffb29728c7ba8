//! Manifests and indexes: never both at once.
#![no_main]

use bulla::oci::{Content, Manifest, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let kinds = [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_LIST];
    let read = kinds.map(|kind| Manifest::parse(&Content::new(kind, bytes.to_vec())).ok());
    for manifest in read.into_iter().flatten() {
        assert!(manifest.config.is_none() || manifest.manifests.is_empty());
        let own = Content::new(media_type::OCI_MANIFEST, bytes.to_vec());
        let _ = manifest.referrer_descriptor(own.descriptor());
    }
});
