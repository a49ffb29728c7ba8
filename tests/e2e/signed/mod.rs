//! Signatures of other tools on bundles, judged by what the scope requires.

mod forms;
mod stage;
