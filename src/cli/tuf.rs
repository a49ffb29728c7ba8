//! `bulla tuf`: a collection's TUF repository itself. One file a subcommand.

mod export;
mod import;

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::render::Outcome;

/// Look after a collection's TUF repository: who may sign what, and what other TUF clients read
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Export(export::Args),
    Import(import::Args),
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Export(args) => export::run(args, cx),
        Action::Import(args) => import::run(args, cx),
    }
}
