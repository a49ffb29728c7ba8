//! `trust import`: root packs, and documents of other forms.

use std::path::PathBuf;

use super::add;
use super::signer::{self, collection};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::anchors::read_packs;
use crate::client::documents;
use crate::trust::{Rescissions, Scope};
use crate::tuf::CollectionName;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    /// A directory of root packs, such as /usr/share/bulla/roots.d; or the file of a trust policy or trust store, as the Notary
    /// Project's requirements have them
    #[arg(value_name = "DIR|FILE", required = true)]
    from: Option<PathBuf>,
    /// What a trust policy is for (default: *)
    #[arg(long)]
    scope: Option<Scope>,
    #[command(subcommand)]
    form: Option<Form>,
}

#[derive(Debug, clap::Subcommand)]
enum Form {
    /// Convert notation's trust policy and trust store, with the same verdicts
    Notation {
        /// notation's configuration folder, with trustpolicy.json and truststore/
        dir: PathBuf,
    },
    /// Trust the authorities of a SPIFFE trust bundle
    Spiffe {
        /// The bundle, a JSON file
        bundle: PathBuf,
        /// The trust domain whose bundle it is
        #[arg(long, value_name = "NAME")]
        trust_domain: String,
        /// What its members may sign
        #[arg(long)]
        scope: Scope,
        /// Signatures can be taken back by the revocation list of this collection, whose root must be trusted already
        #[arg(long, value_name = "NAME")]
        rescissions: Option<CollectionName>,
    },
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let addition = match (args.form, args.from) {
        (Some(Form::Notation { dir }), _) => documents::notation(&dir)?,
        (Some(Form::Spiffe { bundle, trust_domain, scope, rescissions }), _) => {
            let rescissions = rescissions.map(|name| collection(cx, name)).transpose()?;
            let rescissions = rescissions.unwrap_or(Rescissions::Nowhere);
            documents::spiffe(&bundle, &trust_domain, &scope, &rescissions)?
        }
        (None, Some(path)) if path.is_dir() => {
            if args.scope.is_some() {
                return Err(CliError::usage("--scope is for a trust policy")
                    .reason("root packs say for themselves what they are for"));
            }
            return add::keep(cx, read_packs(&path)?);
        }
        (None, Some(path)) => documents::requirements(&path, args.scope.as_ref())?,
        (None, None) => return Err(CliError::usage("name a directory of root packs, or a file")),
    };
    signer::keep(cx, addition)
}
