//! `bulla attach`: hang something finished on a bundle.

mod documents;

use std::path::PathBuf;

use clap::Subcommand;

use super::context::{Context, block_on_and_tidy};
use super::error::CliError;
use super::registry::RegistryArgs;
use super::render::Outcome;
use super::sign::{attached, read_file, row_error};
use crate::client::places::Places as _;
use crate::client::provenance::carry::Kind;
use crate::client::sign::{Envelope, MAX_FILE, SignError, attach, subjects};
use crate::oci::Reference;

/// Hang a finished signature, link or layout on a bundle
///
/// What was signed where there is no registry, by bulla or by another tool, is pushed and listed as if it had been signed here.
/// Whether its key is to be trusted is asked by who verifies.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hang a signature: a Sigstore bundle, a JWS or COSE envelope of the Notary Project, or what cosign download signature prints
    #[command(
        after_long_help = "Example:\n  bulla attach signature app.sigstore.json registry.example.com/team/app:v1"
    )]
    Signature {
        /// The signature
        file: PathBuf,
        /// The bundle that it signs
        #[arg(value_name = "REF")]
        reference: Reference,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Hang links of in-toto: what steps took and gave
    #[command(
        after_long_help = "Example:\n  bulla attach link registry.example.com/team/app:v1 build.*.link package.*.link"
    )]
    Link(documents::Args),
    /// Hang layouts of in-toto: who may carry out which step
    #[command(
        after_long_help = "Example:\n  bulla attach layout registry.example.com/team/app:v1 release.layout"
    )]
    Layout(documents::Args),
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let (file, reference, registry) = match args.what {
        What::Signature { file, reference, registry } => (file, reference, registry),
        What::Link(args) => return documents::run(Kind::Link, &args, cx),
        What::Layout(args) => return documents::run(Kind::Layout, &args, cx),
    };
    let selector = reference.selector().ok_or_else(|| CliError::no_selector(&reference))?.clone();
    let bytes = read_file(&file, MAX_FILE)?;
    let envelope = Envelope::read(bytes).map_err(|e| row_error(SignError::Envelope(e)))?;
    let places = registry.places(cx, &[&reference])?;
    let now = cx.now();
    let (subject, end) = block_on_and_tidy(places.hosts(), async {
        let store = places.open(&reference).await?;
        let mut found = subjects(&*store, &reference, &selector, false).await.map_err(row_error)?;
        let subject = found.pop().ok_or_else(|| super::error::absent(&reference))?;
        let end = attach(&*store, &envelope, &subject, now).await;
        Ok::<_, CliError>((subject, end))
    })??;
    Ok(attached(envelope.form(), subject, end))
}
