//! Ring 3: whom a deployer trusts for what, and the whole order of verification. Pure: `now`, bytes and answers in, steps
//! and a report out.

mod addition;
mod agreement;
mod anchor;
mod bundle;
mod candidate;
pub mod cnab;
mod code;
mod file;
mod findings;
mod level;
mod listing;
mod metadata;
mod notation;
mod organisation;
mod pack;
mod policy;
mod predicate;
mod report;
mod requirements;
mod revocation;
mod rule;
mod scope;
pub mod signatures;
mod signer;
mod source;
mod spiffe;
mod subject_pattern;
mod verify;
mod widened;

pub use addition::{Addition, AdditionError};
pub use anchor::{Anchor, AnchorId, PinnedRoot};
pub use code::{Code, Says};
pub use file::{MAX_TRUST_BYTES, TrustError, TrustFile};
pub use findings::Finding;
pub use level::{Level, Origin};
pub use listing::Listing;
pub use notation::{MAX_POLICY, NotationError, NotationPolicy, NotationStores};
pub use organisation::{MAX_MEMBER_PLACES, Member};
pub use pack::{MAX_PACK_BYTES, MAX_PACKS, PACK_SUFFIX, PackError, RootPack};
pub use policy::{
    AskedSignatures, Checked, Duration, DurationError, Require, RequireAttestation, RequireSignatures,
    Statement,
};
pub use predicate::{Field, FieldError, PredicateType, PredicateTypeError};
pub use report::{AnchorReport, Check, Evidence, Needs, Outcome, Report, Requirement, Verdict};
pub use requirements::{
    Document, MAX_DOCUMENT, RequirementsError, RootError, Store, StoreRef, file_name, trusts_in,
};
pub use revocation::{
    Material, MaterialKind, RevocationEntry, RevocationKind, RevocationList, Revoke, UnreadableList,
    check_submitted, has_room, is_nearly_full, is_revoked, join_revocations, recovered_revocations,
};
pub use rule::{Attestations, By, Checks, Required, Rule, Signatures, Waivable};
pub use scope::{Scope, ScopeError, Subject};
pub use signer::{MAX_SUBJECTS, Rescissions, SignerAnchor, SignerError, Trusts};
pub use source::{MAX_SOURCES, OwnKeys, OwnKeysError, Source, SourceSpec};
pub use spiffe::{MAX_BUNDLE, SpiffeBundle, SpiffeError};
pub use subject_pattern::{SubjectPattern, SubjectPatternError};
pub use verify::{
    Answer, BundleAnswer, MAX_SEALS, Question, SealsAnswer, StateAnswer, Step, Verification, Want,
    rescinding, sources,
};
pub use widened::Widened;

#[cfg(test)]
mod tests;
