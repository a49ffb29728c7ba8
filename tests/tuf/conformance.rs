//! A plain TUF client over bulla's core and HTTP file trees, with the command line of the TUF conformance suite:
//!
//! `C --metadata-dir D init ROOT`,
//! `C --metadata-url U --metadata-dir D refresh`,
//! `C --metadata-url U --metadata-dir D --target-name P... --target-dir T --target-base-url B download`.
//!
//! It exits with 0 or 1. Accepted metadata lies in D byte for byte, as `<role>.json`.
#![allow(unreachable_pub, clippy::print_stderr, missing_docs)]

mod client;

use std::path::PathBuf;
use std::process::ExitCode;

use bulla::time::{Clock, SystemClock};
use clap::{Parser, Subcommand};
use client::{Client, Folder, Tree};

#[derive(Debug, Parser)]
#[command(name = "tuf-conformance-client", about = "A plain TUF client for the conformance suite")]
struct Arguments {
    /// Folder of the accepted metadata.
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Base of the metadata.
    #[arg(long)]
    metadata_url: Option<String>,
    /// A target path; several times for several.
    #[arg(long)]
    target_name: Vec<String>,
    /// Folder of the target files.
    #[arg(long)]
    target_dir: Option<PathBuf>,
    /// Base of the target files.
    #[arg(long)]
    target_base_url: Option<String>,
    /// Seconds to add to the clock, where faketime is not at hand.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    time_offset: i64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust this root from now on.
    Init { root: PathBuf },
    /// Update the metadata.
    Refresh,
    /// Update the metadata, then download the targets.
    Download,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            eprint!("{e}");
            return if e.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let folder = Folder::new(&arguments.metadata_dir);
    let missing = |what: &str| format!("{what} is missing");
    if let Command::Init { root } = &arguments.command {
        return Ok(folder.init(root)?);
    }
    let metadata = Tree::new(&arguments.metadata_url.ok_or_else(|| missing("--metadata-url"))?)?;
    let now = SystemClock.now().plus(arguments.time_offset);
    let client = Client { folder, metadata, collection: None, now };
    let trusted = client.refresh().await?;
    if matches!(arguments.command, Command::Download) {
        let targets = Tree::new(&arguments.target_base_url.ok_or_else(|| missing("--target-base-url"))?)?;
        let dir = arguments.target_dir.ok_or_else(|| missing("--target-dir"))?;
        if arguments.target_name.is_empty() {
            return Err(missing("--target-name").into());
        }
        for path in &arguments.target_name {
            client.download(&trusted, path, &targets, &dir).await?;
        }
    }
    Ok(())
}
