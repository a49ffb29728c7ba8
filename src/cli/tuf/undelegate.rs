//! `bulla tuf undelegate`.

use super::change::ChangeArgs;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::delegation::Edit;
use crate::oci::Reference;
use crate::tuf::grant::role_under;

/// Take a delegation back: what the role lists counts no longer
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla tuf undelegate registry.example.com/team/app dev")]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Name of the role: `dev` means targets/releases/dev
    role: String,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let role = role_under(&args.change.under, &args.role)?;
    args.change.run(cx, &args.place, async |_, _| Ok(Edit::TakeBack(role)))
}
