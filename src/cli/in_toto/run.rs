//! `bulla in-toto run`: carry out a step and sign what it took and gave.

use serde_json::Map;

use super::Written;
use super::recording::{BundleArgs, FileArgs, LinkArgs, note_if_empty, record, signing};
use crate::cli::args::{FormatWord, document_word};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::Outcome;
use crate::client::provenance::link::{byproducts, write};
use crate::client::provenance::process::{self, MAX_STREAM};
use crate::intoto::Link;

/// Run a command and sign a link: which files were there before it and after it
///
/// The link is the file STEP.KEYID8.link, as in-toto-run names it. A command that fails leaves none.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla in-toto run --step build --key builder --materials src --products out -- make\n  bulla in-toto run --step package --key packager --materials out --product-bundle registry.example.com/team/app:v1 -- ./push.sh"
)]
pub(super) struct Args {
    #[command(flatten)]
    link: LinkArgs,
    /// Files and folders that are there before (repeatable)
    #[arg(long, value_name = "PATH", num_args = 1..)]
    materials: Vec<String>,
    /// Files and folders that are there after (repeatable)
    #[arg(long, value_name = "PATH", num_args = 1..)]
    products: Vec<String>,
    /// Keep what the command says in the link, too: everybody who gets the bundle can read it
    #[arg(long, conflicts_with = "no_command")]
    record_streams: bool,
    /// Run nothing: sign what is there
    #[arg(long, conflicts_with = "command")]
    no_command: bool,
    /// The link's form, and how the result is printed: classic unless told otherwise, and text or json beside it
    #[arg(long, value_name = "FORMAT", default_value = "classic", action = clap::ArgAction::Append, value_parser = document_word(), help_heading = None)]
    format: Vec<FormatWord>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    bundles: BundleArgs,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "no_command")]
    command: Vec<String>,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let form = FormatWord::document(&args.format)?;
    let recording = args.files.recording()?;
    args.bundles.judge()?;
    let passwords = args.bundles.passwords(cx)?;
    let signer = args.link.signer(cx, &passwords)?;
    let materials = record(cx, &recording, &args.materials)?;
    let mut byproduct = Map::new();
    let mut code = None;
    if !args.no_command {
        let vars = cx.vars().clone();
        let ran = process::run(&args.command, &vars, cx.streams().1)?;
        if ran.code != 0 {
            return Err(failed(&args.command, ran.code));
        }
        if args.record_streams && (ran.stdout.cut || ran.stderr.cut) {
            cx.note(
                "in-toto.streams-cut",
                format!("the command said more than the {MAX_STREAM} bytes of each stream that are kept"),
            );
        }
        byproduct = byproducts(&ran, args.record_streams);
        code = Some(ran.code);
    }
    let mut products = record(cx, &recording, &args.products)?;
    args.bundles.record(cx, &mut products)?;
    note_if_empty(cx, "materials", &materials);
    note_if_empty(cx, "products", &products);
    let (took, gave) = (materials.len(), products.len());
    let (step, command) = (args.link.step.to_string(), args.command.clone());
    let link = Link {
        command: args.command,
        materials,
        products,
        byproducts: byproduct,
        ..Link::new(args.link.step)
    };
    let file = signing(write(link, form, &*signer, &args.link.metadata_directory))?;
    Ok(Box::new(Written {
        verb: "recorded",
        step,
        key: signer.public_key().key_id(),
        form,
        file,
        materials: took,
        products: Some(gave),
        command: code.map(|code| (command, code)),
    }))
}

fn failed(argv: &[String], code: i32) -> CliError {
    let ended = match code {
        ..0 => format!("was ended by signal {}", -code),
        _ => format!("ended with exit code {code}"),
    };
    let program = argv.first().map_or("", String::as_str);
    CliError::new(Exit::No, "in-toto.command-failed", "the step failed; no link was written")
        .reason(format!("{program} {ended}"))
        .next("mend what it says above, and run the step again")
}
