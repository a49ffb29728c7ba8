//! `bulla tuf grant`.

use super::change::{ChangeArgs, OfferArgs};
use super::requests::{as_file, read_file};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::Outcome;
use crate::client::delegation::Edit;
use crate::client::requests::{MIN_GRANTED, asked_for, denied, find, read};
use crate::oci::Reference;
use crate::tuf::Signers;
use crate::tuf::grant::{GrantError, Vetting, role_under};

/// Grant a request: what it asks for, or less, is delegated to its key; who vetted whom stays in the signed metadata
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  bulla tuf grant registry.example.com/team/app 7b0c92e15d4f8a6621c0937e4b5ad80f --role anna --vetted-by 'Berta Muster' --note 'staff card; hash read out on the phone'"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// The request: its hash, at least 32 digits of it, or its file
    #[arg(value_name = "REQUEST")]
    request: String,
    /// Who vetted the asker
    #[arg(long, value_name = "NAME")]
    vetted_by: String,
    /// How: what was compared, by which way
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Name of the role: `anna` means targets/releases/anna. Otherwise the first digits of the key's id
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Grant this only; it must lie within what was asked for (can be repeated)
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    paths: Vec<String>,
    #[command(flatten)]
    offer: OfferArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let digits = args.request.chars().all(|c| c.is_ascii_hexdigit());
    if as_file(&args.request).is_none() && digits && args.request.len() < MIN_GRANTED {
        return Err(CliError::usage(format!("{} is the beginning of a hash", args.request))
            .reason(format!(
                "another request can be made to begin like it: at least {MIN_GRANTED} digits name one"
            ))
            .next("pass the hash that the asker told you by another way"));
    }
    let document = as_file(&args.request).map(|path| read_file(&path)).transpose()?;
    let under = args.change.under.clone();
    args.change.run(cx, &args.place, async |found, store| {
        let collection = &found.desk.anchor.collection;
        let (id, request) = match &document {
            Some(document) => read(collection, document)?,
            None => find(store, collection, &args.request).await?,
        };
        let whole = found.desk(store).published().await?;
        if let Some(denial) = denied(store, collection, &whole, &id).await? {
            return Err(CliError::new(
                Exit::No,
                "request.denied",
                "this request was denied; nothing was signed",
            )
            .reason(format!("{} by {}: {}", denial.at, denial.by.short(), denial.reason))
            .next("let the asker make another request"));
        }
        let narrower =
            args.paths.iter().map(|p| collection.scope(p)).collect::<Result<Vec<_>, GrantError>>()?;
        let narrower: Vec<_> = narrower.into_iter().flatten().collect();
        if let Some(wider) = narrower.iter().find(|p| !asked_for(&request, p)) {
            return Err(CliError::new(
                Exit::Usage,
                "delegation.refused",
                format!("{wider} was not asked for"),
            )
            .reason("a grant may narrow a request, never widen it")
            .next("let the asker make another request"));
        }
        let paths = if narrower.is_empty() { request.paths.clone() } else { narrower };
        let named = args.role.clone().unwrap_or_else(|| request.key.key_id().short().to_owned());
        let vetting = Vetting {
            identity: request.identity.clone(),
            request: id,
            vetted_by: args.vetted_by.clone(),
            note: args.note.clone(),
        };
        let (role, at) = (role_under(&under, &named)?, found.clock.now());
        let signers = Signers { keys: vec![request.key.clone()], threshold: 1 };
        Ok(Edit::Grant(args.offer.grant(role, signers, paths, at, Some(vetting))))
    })
}
