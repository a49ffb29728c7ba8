//! Signatures of other tools on bundles, judged by what the scope requires.

mod attacks;
mod attested;
mod forms;
mod many;
mod offline;
mod pki;
mod stage;
