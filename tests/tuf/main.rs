//! The plain TUF client of `conformance.rs` against an HTTP file tree in this process: what only a driver can get wrong. The
//! rules of the core have their tests in `src/tuf/tests/`; the letters are the same.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use bulla::{oci, sig, time};

mod client;
mod page;
mod rules;
mod simulated;
mod site;
