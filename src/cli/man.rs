//! `bulla man`: manual pages.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::CliError;
use super::render::Outcome;

/// Write manual pages into a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla man ~/.local/share/man/man1")]
pub(super) struct Args {
    /// The directory; it is made if it does not exist
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Box<dyn Outcome>, CliError> {
    std::fs::create_dir_all(&args.dir).map_err(|e| CliError::io("write", &args.dir, e))?;
    let mut pages = Vec::new();
    let mut command = super::command();
    command.build();
    write_pages(&command, "bulla", &args.dir, &mut pages)?;
    Ok(Box::new(Pages(pages)))
}

/// One page a command, named by its words joined with dashes.
fn write_pages(
    command: &clap::Command,
    name: &str,
    dir: &Path,
    pages: &mut Vec<PathBuf>,
) -> Result<(), CliError> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    let titled = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let failed = |e: io::Error| CliError::io("write", &path, e);
    clap_mangen::Man::new(titled).date("").render(&mut page).map_err(failed)?;
    std::fs::write(&path, page).map_err(failed)?;
    pages.push(path);
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), dir, pages)?;
    }
    Ok(())
}

struct Pages(Vec<PathBuf>);

impl Outcome for Pages {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|page| writeln!(out, "wrote     {}", page.display()))
    }

    fn json(&self) -> Value {
        json!({"pages": self.0.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>()})
    }
}
