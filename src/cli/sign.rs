//! `bulla sign`: a detached signature that other tools read.

mod also;
mod attest;
mod outcome;
mod pens;
mod target;

use std::path::PathBuf;

use super::args::{FormatWord, sign_word};
use super::context::{Context, block_on_and_tidy};
use super::error::CliError;
use super::registry::KeyedRegistryArgs;
use super::render::Outcome;
use crate::client::places::Places as _;
use crate::client::sign::{Form, SignError, sign, subjects};
use crate::keys::KeyRef;
use crate::oci::{Reference, Repository};
use crate::trust::Duration;
pub(super) use also::{AlsoArgs, AlsoSigned, sign_published};
pub(super) use attest::{Args as AttestArgs, run as attest};
use outcome::{Row, Signed};
pub(super) use outcome::{attached, read as read_file, row_error};
pub(super) use pens::{Hand, annotation};
use target::Target;

/// Add a detached signature that cosign or notation reads
///
/// It is made with one key, verified, and hung on the bundle as a referrer; signers at the same time lose nothing, and what
/// this key has signed already is not signed again. It does not vouch for a release: that is bulla publish.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla sign registry.example.com/team/app:v1 --key cosign.key\n  bulla sign registry.example.com/team/app:v1 --key release --format notation --cert chain.pem --expires 90d\n  bulla sign descriptor:app.json --key awskms:///alias/release --output app.sigstore.json"
)]
pub(super) struct Args {
    /// Bundles; with --output also descriptor:FILE, a file that holds the descriptor alone
    #[arg(value_name = "REF", required = true)]
    targets: Vec<Target>,
    /// The key that signs: a name, a file (cosign's cosign.key too) or PLUGIN://KEY
    #[arg(long, value_name = "KEY")]
    key: KeyRef,
    /// The form of the signature, and how the result is printed: sigstore unless told otherwise, and text or json beside it
    #[arg(long, value_name = "FORMAT", default_value = "sigstore", action = clap::ArgAction::Append, value_parser = sign_word(), help_heading = None)]
    format: Vec<FormatWord>,
    /// The signer's certificate chain (PEM), leaf first, root included: for notation
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The signature counts for that long, as in 90d: notation only
    #[arg(long, value_name = "SPAN")]
    expires: Option<Duration>,
    /// Sign this with it (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,
    /// Of an index sign every manifest in it, too
    #[arg(long)]
    recursive: bool,
    /// Sign also what this key has signed already
    #[arg(long)]
    force: bool,
    /// With cosign-tag: the repository that is signed for the bundle's; needed where the bundle lies in no registry
    #[arg(long = "as", value_name = "NAME")]
    named: Option<Repository>,
    /// Write the signature into FILE, and attach nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recursive", "force"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let form = FormatWord::form(&args.format)?;
    if args.output.is_some() && args.targets.len() > 1 {
        return Err(CliError::usage("--output takes the signature of one bundle")
            .next("sign the bundles one by one, each with its --output FILE"));
    }
    if args.named.is_some() && form != Form::CosignTag {
        return Err(CliError::usage("--as goes with --format cosign-tag")
            .reason(format!("the form {form} signs no name"))
            .next("leave it out"));
    }
    let references: Vec<&Reference> = args.targets.iter().filter_map(Target::reference).collect();
    for target in &args.targets {
        target.judge(args.output.is_some())?;
    }
    let registry = args.registry.registry();
    let places = registry.places(cx, &references)?;
    let passwords = registry.passwords(cx)?;
    let hand = Hand::take(cx, &args.key, form, args.cert.as_deref(), passwords)?;
    let pen = hand.pen(form, args.expires.map(Duration::secs), args.annotation, cx.now())?;
    hand.note(cx, form);
    let name = args.named.as_ref().map(ToString::to_string);
    if let Some(file) = &args.output {
        let row = block_on_and_tidy(places.hosts(), async {
            let (artifact, reference) = args.targets[0].artifact(&places).await?;
            let own = reference.as_ref().and_then(target::name_of);
            let envelope = pen.sign(&artifact, name.as_deref().or(own.as_deref())).await;
            let envelope = envelope.map_err(|e| row_error(SignError::from(e)))?;
            outcome::write(file, envelope.bytes())?;
            Ok::<_, CliError>(Row::written(artifact, reference, file.clone()))
        })??;
        return Ok(Box::new(Signed::of(form, &hand, vec![row])));
    }
    let rows = block_on_and_tidy(places.hosts(), async {
        // What cannot be found out about any of them is known before one is signed.
        let mut found = Vec::new();
        for reference in &references {
            let selector = reference.selector().ok_or_else(|| CliError::no_selector(reference))?;
            let store = places.open(reference).await?;
            let subjects = subjects(&*store, reference, selector, args.recursive).await.map_err(row_error)?;
            found.push((store, subjects));
        }
        let mut rows = Vec::new();
        for (store, subjects) in found {
            let ends = sign(&*store, &pen, &subjects, args.force, name.as_deref()).await;
            rows.extend(subjects.into_iter().zip(ends).map(|(subject, end)| Row::hung(subject, end)));
        }
        Ok::<_, CliError>(rows)
    })??;
    rows.iter().for_each(|row| row.note(cx));
    Ok(Box::new(Signed::of(form, &hand, rows)))
}
