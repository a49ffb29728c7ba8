//! Proposals: read, compared, counted and merged on a base that is nothing.
#![no_main]

use bulla::tuf::proposal::{Base, Proposal, merge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proposal) = Proposal::parse(bytes) {
        let base = Base::nothing(proposal.collection().clone());
        let _ = (proposal.check_base(&base), proposal.signers(&base), proposal.complete(&base));
        let _ = proposal.difference(&base).to_string();
        let _ = merge(&[proposal.clone(), proposal], &base);
    }
});
