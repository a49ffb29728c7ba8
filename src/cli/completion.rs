//! `bulla completion`: shell completions.

use std::io::{self, Write};

use clap_complete::Shell;
use serde_json::{Value, json};

use super::error::CliError;
use super::render::Outcome;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  bulla completion bash > ~/.local/share/bash-completion/completions/bulla"
)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<Box<dyn Outcome>, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "bulla", &mut script);
    Ok(Box::new(Completion { shell: args.shell, script: String::from_utf8_lossy(&script).into_owned() }))
}

struct Completion {
    shell: Shell,
    script: String,
}

impl Outcome for Completion {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.script.as_bytes())
    }

    fn json(&self) -> Value {
        json!({"shell": self.shell.to_string(), "script": self.script})
    }
}
