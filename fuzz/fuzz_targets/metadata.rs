//! TUF metadata of every kind, the walk over roots, and what entries say.
#![no_main]

use bulla::tuf::{Bundle, CollectionName, Limits, RoleName, Root, RootWalk, Snapshot, Targets, Timestamp, Unverified};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    let (role, limits) = (RoleName::targets(), Limits::default());
    let _ = Unverified::<Root>::parse(&role, &bytes, &limits);
    let _ = Unverified::<Timestamp>::parse(&role, &bytes, &limits);
    let _ = Unverified::<Snapshot>::parse(&role, &bytes, &limits);
    let _ = RootWalk::start(&bytes, None, &limits);
    if let Ok(file) = Unverified::<Targets>::parse(&role, &bytes, &limits).and_then(|f| f.verify(&role, &[])) {
        let collection: CollectionName = "example.com/a/b".parse().unwrap();
        for (path, target) in file.role().targets() {
            let _ = (collection.entry(path), Bundle::read(target));
            let _ = file.role().delegations().iter().any(|d| d.paths.cover(path));
        }
    }
});
