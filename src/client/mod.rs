//! Ring 5: one file a use case. Joins stores, keys, TUF and trust; async; never prints.

pub mod anchors;
pub mod audit;
pub mod ceremony;
pub mod commit;
pub mod copy;
pub mod delegation;
pub mod duties;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
mod genuine;
pub mod history;
pub mod import;
pub mod init;
pub mod inspect;
pub mod installed;
pub mod known;
mod lock;
pub mod memory;
mod metered;
pub mod organisation;
pub mod places;
pub mod publish;
pub mod recover;
pub mod renew;
pub mod replace;
pub mod requests;
pub mod revoke;
pub mod signing;
pub mod state;
pub mod status;
pub mod stores;
pub mod submission;
pub mod tree;
pub mod verify;
pub mod watch;
pub mod whole;
