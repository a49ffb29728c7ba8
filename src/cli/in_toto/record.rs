//! `bulla in-toto record`: a step that no single command carries out, in two halves.

use clap::Subcommand;

use super::Written;
use super::recording::{BundleArgs, FileArgs, LinkArgs, note_if_empty, record, signing};
use crate::cli::args::{FormatWord, PasswordArgs, document_word};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::client::provenance::link::{begun, start};

/// Record a step that no single command carries out: first what is there before, later what is there after
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    half: Half,
}

#[derive(Debug, Subcommand)]
enum Half {
    /// Begin a step: record its materials, signed, in .STEP.KEYID8.link-unfinished
    #[command(
        after_long_help = "Example:\n  bulla in-toto record start --step review --key reviewer --materials src"
    )]
    Start {
        #[command(flatten)]
        link: LinkArgs,
        /// Files and folders that are there before (repeatable)
        #[arg(long, value_name = "PATH", num_args = 1..)]
        materials: Vec<String>,
        /// The link's form, and how the result is printed: classic unless told otherwise, and text or json beside it
        #[arg(long, value_name = "FORMAT", default_value = "classic", action = clap::ArgAction::Append, value_parser = document_word(), help_heading = None)]
        format: Vec<FormatWord>,
        #[command(flatten)]
        files: FileArgs,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// End a step: add its products, and write STEP.KEYID8.link in the form of its beginning
    #[command(
        after_long_help = "Example:\n  bulla in-toto record stop --step review --key reviewer --products src"
    )]
    Stop {
        #[command(flatten)]
        link: LinkArgs,
        /// Files and folders that are there after (repeatable)
        #[arg(long, value_name = "PATH", num_args = 1..)]
        products: Vec<String>,
        #[command(flatten)]
        files: FileArgs,
        #[command(flatten)]
        bundles: BundleArgs,
    },
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.half {
        Half::Start { link, materials, format, files, password } => {
            let form = FormatWord::document(&format)?;
            let recording = files.recording()?;
            let passwords = cx.passwords(password)?;
            let signer = link.signer(cx, &passwords)?;
            let materials = record(cx, &recording, &materials)?;
            note_if_empty(cx, "materials", &materials);
            let (step, count) = (link.step.clone(), materials.len());
            let file = signing(start(step, materials, form, &*signer, &link.metadata_directory))?;
            Ok(Box::new(Written {
                verb: "begun",
                step: link.step.to_string(),
                key: signer.public_key().key_id(),
                form,
                file,
                materials: count,
                products: None,
                command: None,
            }))
        }
        Half::Stop { link, products, files, bundles } => {
            let recording = files.recording()?;
            bundles.judge()?;
            let passwords = bundles.passwords(cx)?;
            let signer = link.signer(cx, &passwords)?;
            let half = begun(&link.step, &*signer, &link.metadata_directory)?;
            let mut products = record(cx, &recording, &products)?;
            bundles.record(cx, &mut products)?;
            note_if_empty(cx, "products", &products);
            let (form, materials, count) = (half.form(), half.materials(), products.len());
            let file = signing(half.finish(products, &*signer))?;
            Ok(Box::new(Written {
                verb: "recorded",
                step: link.step.to_string(),
                key: signer.public_key().key_id(),
                form,
                file,
                materials,
                products: Some(count),
                command: None,
            }))
        }
    }
}
