//! Lists of changes: read, and made on a base that is nothing.
#![no_main]

use bulla::time::UnixTime;
use bulla::tuf::proposal::{About, Base, Proposal, changes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(collection) = "ex.com/org/app".parse::<bulla::tuf::CollectionName>() else { return };
    let at = UnixTime::from_secs(1_800_000_000);
    if let Ok(edits) = changes(bytes, &collection, at) {
        let about = About { description: String::new(), by: String::new(), at };
        let _ = Proposal::new(&Base::nothing(collection), &edits, about);
    }
});
