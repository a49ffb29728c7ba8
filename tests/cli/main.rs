//! The command line as a user meets it: help, exit codes, errors, and each command's answers.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod archives;
mod badinput;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "../e2e/bundles.rs"]
mod bundles;
mod ceremonies;
mod collections;
mod copies;
mod copies_many;
mod delegates;
mod errors;
mod forge;
mod founding;
mod freshness;
mod fulcio;
mod fulfilled;
mod gathering;
mod help;
mod keyless;
mod keys;
mod kms;
mod logins;
mod logs;
mod members;
mod organisations;
mod places;
mod provenance;
mod recoveries;
mod registries;
#[path = "../registry/mod.rs"]
mod registry;
mod releases;
mod requirements;
mod rescinds;
mod revokes;
mod run;
mod schemas;
mod signatures;
mod signed;
mod signing;
#[path = "../thief/mod.rs"]
mod thief;
mod trees;
mod trusting;
