//! Ring 2: The Update Framework, specification 1.0. Pure: bytes and `now` in, values and steps out.
//!
//! The data flow: [`FileName`] -> bytes -> [`Unverified`] -> [`Metadata`] (signatures checked) -> [`RootWalk`] and
//! [`Refresh`] (the order, as step machines) -> [`Trusted`] -> [`Search`] (along delegations). [`Update`] joins them for a client
//! of one repository. Wherever a `collection` is asked for, none means any TUF repository; bulla's own always give their name.

mod agreement;
mod chain;
mod delegation;
mod edit;
mod entry;
mod error;
mod files;
pub mod grant;
pub mod lineage;
mod metadata;
pub mod proposal;
mod recall;
mod refresh;
mod remembered;
pub mod request;
mod role;
mod root;
mod search;
mod snapshot;
mod targets;
mod text;
mod timestamp;
mod trusted;
mod update;

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

pub use agreement::{AGREEMENT, Agreement, MAX_AGREEING};
pub use chain::{RootChain, RootStep, RootWalk};
pub use delegation::{Delegation, PathPattern, Paths};
pub use edit::{Draft, Heading, Signers, delegation};
pub use entry::{About, Bundle, Claim, CollectionName, EntryName, bundles};
pub use error::{Fault, TufError};
pub use files::Files;
pub use metadata::{Ancestor, Extra, Metadata, Role, RoleKeys, SignatureCount, Unverified};
pub use proposal::RoleAt;
pub use recall::{Listing, Recall, Recalled, apart, beyond};
pub use refresh::{Floor, Refresh, Step, Top, same_online_keys};
pub use remembered::{Remembered, Told};
pub use role::{FileName, RoleName, RoleNameError, Version};
pub use root::Root;
pub use search::Search;
pub use snapshot::Snapshot;
pub use targets::{Target, Targets, local_name};
pub use text::{is_unseen, plain};
pub use timestamp::{FilePin, Hash, Timestamp};
pub use trusted::{Expiry, Found, Trusted};
pub use update::Update;

/// Bounds on what is read and followed. Past a per-file bound the file fails; past a global one nothing can be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest root file, bytes.
    pub root_bytes: u64,
    /// Largest timestamp file, bytes.
    pub timestamp_bytes: u64,
    /// Largest snapshot, bytes, where the timestamp gives no length.
    pub snapshot_bytes: u64,
    /// Largest targets or delegated file, bytes, where the snapshot gives no length.
    pub targets_bytes: u64,
    /// Root versions followed in one walk.
    pub root_rotations: usize,
    /// Delegated roles visited in one search.
    pub delegations: usize,
    /// Signatures looked at in one file.
    pub signatures: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root_bytes: 512 * 1024,
            timestamp_bytes: 16 * 1024,
            snapshot_bytes: 2 * 1024 * 1024,
            targets_bytes: 16 * 1024 * 1024,
            root_rotations: 256,
            delegations: 32,
            signatures: 256,
        }
    }
}
