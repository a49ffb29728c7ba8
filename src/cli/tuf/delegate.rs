//! `bulla tuf delegate`.

use super::change::{ChangeArgs, OfferArgs};
use super::desk::public_key;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::delegation::Edit;
use crate::keys::KeyRef;
use crate::oci::Reference;
use crate::tuf::Signers;
use crate::tuf::grant::{GrantError, role_under};

/// Let keys of others sign a part of the collection
///
/// Below targets/releases a scope must be the delegator's own and no sibling's. Below targets it lies behind
/// targets/releases, and is read only where a policy names the role as a source that must agree. Where keys of the
/// delegator are missing here, a proposal is left for those who have them.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf delegate registry.example.com/team/app dev --key anna.pub --paths 'dev-*'\n  bulla tuf delegate registry.example.com/team/app security --under targets --key security.pub --paths example.com/team/app"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Name of the role: `dev` means targets/releases/dev
    role: String,
    /// A key of the role: a name in the key folder or a PEM file, of which the public half is enough (can be repeated)
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<KeyRef>,
    /// How many of the keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u32,
    /// What it may speak for: tags as in 'dev-*', @sha256:*, or the collection's name for all of it (can be repeated)
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    paths: Vec<String>,
    #[command(flatten)]
    offer: OfferArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let keys = args.key.iter().map(|k| public_key(cx, k)).collect::<Result<Vec<_>, _>>()?;
    let role = role_under(&args.change.under, &args.role)?;
    args.change.run(cx, &args.place, async |found, _| {
        let collection = &found.desk.anchor.collection;
        let paths = args.paths.iter().map(|p| collection.scope(p)).collect::<Result<Vec<_>, GrantError>>()?;
        let paths = paths.into_iter().flatten().collect();
        let signers = Signers { keys, threshold: args.threshold };
        Ok(Edit::Grant(args.offer.grant(role, signers, paths, found.clock.now(), None)))
    })
}
