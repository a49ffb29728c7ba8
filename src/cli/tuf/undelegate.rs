//! `bulla tuf undelegate`.

use super::desk::{SignArgs, changed};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::delegation::{Edit, role_under};
use crate::oci::Reference;
use crate::tuf::RoleName;

/// Take a delegation back: what the role lists counts no longer
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla tuf undelegate registry.example.com/team/app dev")]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Name of the role: `dev` means targets/releases/dev
    role: String,
    /// The role that delegates
    #[arg(long, value_name = "ROLE", default_value = "targets/releases", value_parser = super::role_name)]
    under: RoleName,
    #[command(flatten)]
    sign: SignArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let role = role_under(&args.under, &args.role)?;
    let done = args.sign.at(cx, &args.place, async |found, store| {
        changed(found, store, &args.under, Edit::TakeBack(role)).await
    })?;
    Ok(Box::new(done))
}
