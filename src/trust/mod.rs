//! Ring 3: whom a deployer trusts for what, and the whole order of verification. Pure: `now`, bytes and answers in, steps
//! and a report out.

mod agreement;
mod anchor;
mod bundle;
mod candidate;
mod code;
mod metadata;
mod organisation;
mod pack;
mod policy;
mod report;
mod revocation;
mod scope;
mod source;
mod verify;
mod widened;

pub use anchor::{Anchor, AnchorId, MAX_TRUST_BYTES, PinnedRoot, TrustError, TrustFile};
pub use code::{Code, Says};
pub use organisation::{MAX_MEMBER_PLACES, Member};
pub use pack::{MAX_PACK_BYTES, MAX_PACKS, PACK_SUFFIX, PackError, RootPack};
pub use policy::{Duration, DurationError, Statement};
pub use report::{AnchorReport, Check, Evidence, Outcome, Report, Verdict};
pub use revocation::{
    RevocationEntry, RevocationKind, RevocationList, Revoke, check_submitted, has_room, is_nearly_full,
    is_revoked, join_revocations, recovered_revocations,
};
pub use scope::{Scope, ScopeError, Subject};
pub use source::{MAX_SOURCES, OwnKeys, OwnKeysError, Source, SourceSpec};
pub use verify::{
    Answer, BundleAnswer, MAX_SEALS, Question, SealsAnswer, StateAnswer, Step, Verification, Want, sources,
};
pub use widened::Widened;

#[cfg(test)]
mod tests;
