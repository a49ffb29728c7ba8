//! `bulla tuf delegate`.

use super::desk::{SignArgs, changed, public_key};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::delegation::{Edit, role_under};
use crate::keys::KeyRef;
use crate::oci::Reference;
use crate::trust::Duration;
use crate::tuf::grant::{Grant, GrantError, Terms};
use crate::tuf::{RoleName, Signers};

/// Let keys of others sign a part of the collection
///
/// Below targets/releases a scope must be the delegator's own and no sibling's. Below targets it lies behind
/// targets/releases, and is read only where a policy names the role as a source that must agree.
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
    /// No role that comes later is asked for what this one may speak for
    #[arg(long)]
    terminating: bool,
    /// For how long a file that the role signs may be valid
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: Duration,
    /// The role that delegates
    #[arg(long, value_name = "ROLE", default_value = "targets/releases", value_parser = super::role_name)]
    under: RoleName,
    #[command(flatten)]
    sign: SignArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let keys = args.key.iter().map(|k| public_key(cx, k)).collect::<Result<Vec<_>, _>>()?;
    let role = role_under(&args.under, &args.role)?;
    let done = args.sign.at(cx, &args.place, async |found, store| {
        let collection = &found.desk.anchor.collection;
        let paths = args.paths.iter().map(|p| collection.scope(p)).collect::<Result<Vec<_>, GrantError>>()?;
        let terms = Terms { at: found.clock.now(), lifetime: seconds(args.expires), vetting: None };
        let grant = Grant {
            role,
            signers: Signers { keys, threshold: args.threshold },
            paths: paths.into_iter().flatten().collect(),
            terminating: args.terminating,
            terms,
        };
        changed(found, store, &args.under, Edit::Grant(grant)).await
    })?;
    Ok(Box::new(done))
}

/// A span of time in seconds.
pub(super) fn seconds(span: Duration) -> u64 {
    span.secs().unsigned_abs()
}
