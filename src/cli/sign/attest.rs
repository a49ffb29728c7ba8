//! `bulla attest`: a signed statement about a bundle.

use std::path::PathBuf;

use super::outcome::{self, Row, Signed, row_error};
use super::pens::Hand;
use super::target::{self, Target};
use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::KeyedRegistryArgs;
use crate::cli::render::Outcome;
use crate::client::places::Places as _;
use crate::client::sign::{Form, SignError, Subject, attest};
use crate::keys::KeyRef;
use crate::sig::statement::{StatementError, attestation};
use crate::trust::PredicateType;

/// Largest predicate that is signed, in bytes: with base64 around it, it stays below what readers take.
const MAX_PREDICATE: u64 = 2 << 20;

/// Sign a statement about a bundle: what is in it, how it was built, what was found in it
///
/// It is an in-toto Statement v1 in a Sigstore bundle, hung on the bundle as cosign attest hangs it. An attestation is no
/// signature of the bundle and vouches for no release; verify --attestation and statements of trust.json ask for them.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla attest registry.example.com/team/app:v1 --predicate app.cdx.json --type cyclonedx --key ci.key\n  bulla attest registry.example.com/team/app:v1 --predicate review.json --type https://example.com/review/v1 --key alice"
)]
pub(in crate::cli) struct Args {
    /// The bundle; with --output also descriptor:FILE, a file that holds the descriptor alone
    #[arg(value_name = "REF")]
    target: Target,
    /// The predicate: a JSON object, taken as it is
    #[arg(long, value_name = "FILE")]
    predicate: PathBuf,
    /// Its type: slsaprovenance, slsaprovenance1, spdx, cyclonedx, vuln, openvex, link, or a URI
    #[arg(long = "type", value_name = "TYPE")]
    predicate_type: PredicateType,
    /// The key that signs: a name, a file (cosign's cosign.key too) or PLUGIN://KEY
    #[arg(long, value_name = "KEY")]
    key: KeyRef,
    /// Sign also what this key has said already
    #[arg(long)]
    force: bool,
    /// Write the attestation into FILE, and attach nothing
    #[arg(long, value_name = "FILE", conflicts_with = "force")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

pub(in crate::cli) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    args.target.judge(args.output.is_some())?;
    let predicate = outcome::read(&args.predicate, MAX_PREDICATE)?;
    let refused = |e: StatementError| {
        CliError::new(
            Exit::Usage,
            "attest.predicate",
            format!("{} is no predicate", args.predicate.display()),
        )
        .reason(e)
        .next("name a file that holds one JSON object, the predicate alone, without the statement around it")
    };
    let references: Vec<_> = args.target.reference().into_iter().collect();
    let registry = args.registry.registry();
    let places = registry.places(cx, &references)?;
    let passwords = registry.passwords(cx)?;
    // What cannot be signed is known before a password is asked for.
    let example = crate::oci::Digest::sha256(b"");
    attestation(&example, None, args.predicate_type.as_str(), &predicate).map_err(refused)?;
    let hand = Hand::take(cx, &args.key, Form::Sigstore, None, passwords)?;
    let pen = hand.pen(Form::Sigstore, None, Vec::new(), cx.now())?;
    hand.note(cx, Form::Sigstore);
    let row = block_on_and_tidy(places.hosts(), async {
        let (artifact, reference) = args.target.artifact(&places).await?;
        let name = reference.as_ref().and_then(target::name_of);
        let statement =
            attestation(&artifact.digest, name.as_deref(), args.predicate_type.as_str(), &predicate);
        let statement = statement.map_err(refused)?;
        match (&args.output, reference) {
            (Some(file), reference) => {
                let envelope = pen.attest(&statement).await.map_err(|e| row_error(SignError::from(e)))?;
                outcome::write(file, envelope.bytes())?;
                Ok(Row::written(artifact, reference, file.clone()))
            }
            (None, Some(reference)) => {
                let store = places.open(&reference).await?;
                let subject = Subject { reference, artifact };
                let end = attest(&*store, &pen, &subject, &statement, args.force).await;
                Ok(Row::hung(subject, end))
            }
            (None, None) => Err(CliError::usage("a descriptor says what a bundle is, not where it lies")),
        }
    })??;
    row.note(cx);
    Ok(Box::new(Signed::attested(&hand, row)))
}
