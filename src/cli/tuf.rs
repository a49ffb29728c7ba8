//! `bulla tuf`: a collection's TUF repository itself. One file a subcommand.

mod approve;
mod change;
mod commit;
mod delegate;
mod deny;
mod desk;
mod export;
mod grant;
mod import;
mod list;
mod member;
pub(super) mod proposal;
mod propose;
pub(super) mod recovery;
mod request;
mod requests;
mod undelegate;

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::render::Outcome;
use crate::tuf::RoleName;

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
    Delegate(delegate::Args),
    Undelegate(undelegate::Args),
    List(list::Args),
    Member(member::Args),
    Request(request::Args),
    Requests(requests::Args),
    Grant(grant::Args),
    Deny(deny::Args),
    Export(export::Args),
    Import(import::Args),
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Propose(args) => propose::run(args, cx),
        Action::Approve(args) => approve::run(args, cx),
        Action::Commit(args) => commit::run(args, cx),
        Action::Delegate(args) => delegate::run(args, cx),
        Action::Undelegate(args) => undelegate::run(args, cx),
        Action::List(args) => list::run(args, cx),
        Action::Member(args) => member::run(args, cx),
        Action::Request(args) => request::run(args, cx),
        Action::Requests(args) => requests::run(args, cx),
        Action::Grant(args) => grant::run(args, cx),
        Action::Deny(args) => deny::run(args, cx),
        Action::Export(args) => export::run(args, cx),
        Action::Import(args) => import::run(args, cx),
    }
}

/// A role by its whole name, or by the part of it below `targets/releases`.
pub(super) fn role_name(text: &str) -> Result<RoleName, String> {
    let whole = match text {
        "releases" | "revocations" => format!("targets/{text}"),
        _ if text == "targets" || text.starts_with("targets/") => text.to_owned(),
        _ => format!("{}/{text}", RoleName::releases()),
    };
    whole.parse().map_err(|e| format!("{e}"))
}
