//! `bulla tuf`: a collection's TUF repository itself. One file a subcommand.

mod approve;
mod commit;
mod export;
mod import;
mod proposal;
mod propose;

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::render::Outcome;

/// Look after a collection's TUF repository: who may sign what, and what other TUF clients read
///
/// Everything that changes who may sign what is a proposal: finished drafts on what is published, which enough
/// key holders sign, each on a machine of their own, with or without a network.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Propose(propose::Args),
    Approve(approve::Args),
    Commit(commit::Args),
    Export(export::Args),
    Import(import::Args),
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Propose(args) => propose::run(args, cx),
        Action::Approve(args) => approve::run(args, cx),
        Action::Commit(args) => commit::run(args, cx),
        Action::Export(args) => export::run(args, cx),
        Action::Import(args) => import::run(args, cx),
    }
}
