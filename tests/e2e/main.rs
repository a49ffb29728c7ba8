//! End-to-end tests, one binary: bulla's parts against OCI layouts, memory and the in-process registry.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

// The simulated collection is the unit tests' own, by path: there these are modules of the crate.
use bulla::{oci, sig, time};

mod archives;
mod attacks;
mod attesting;
mod audits;
mod bundles;
mod cnab;
mod compromise;
mod contract;
mod copies;
mod copies_between;
mod copies_budgets;
mod copies_filtered;
mod copies_refused;
mod copies_tags;
mod crashes;
mod delegates;
mod disks;
mod faults;
mod faulty;
mod fuzzed;
mod interleavings;
mod judged;
mod kills;
mod layouts;
mod listings;
mod mutations;
mod publishing;
mod races;
mod recoveries;
#[path = "../registry/mod.rs"]
mod registry;
mod repairs;
mod revoking;
mod rounds;
mod servers;
mod signed;
mod signing;
mod soak;
mod states;
mod stores;
#[path = "../thief/mod.rs"]
mod thief;
mod transport;
mod transport_auth;
mod transport_field;
mod transport_lists;
mod transport_pace;
mod transport_push;
mod transport_reach;
mod transport_real;
mod transport_referrers;
mod transport_resume;
mod transport_uploads;
mod trees;
mod walk;
mod workshop;
