//! The unit tests' repository in memory, by path: there it is a module of the crate.

// What sim.rs finds in its parent.
pub use bulla::tuf::*;

#[allow(dead_code, reason = "the unit tests use all of it")]
#[path = "../../src/tuf/sim.rs"]
pub mod sim;
