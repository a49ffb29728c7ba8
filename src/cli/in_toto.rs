//! `bulla in-toto`: provenance as plain files, as in-toto's own programs write and read them. One file a subcommand.

mod layout;
mod record;
mod recording;
mod run;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{CliError, Exit};
use super::render::{Outcome, clean};
use crate::client::provenance::ProvenanceError;
use crate::intoto::{Form, MAX_ARTIFACTS};
use crate::sig::KeyId;

/// Record the steps of a supply chain, and write the layouts that say who carries out which
///
/// Links and layouts are files of in-toto 1.0: in-toto-verify reads what is written here, and what in-toto-run writes is read
/// here. No network, unless a bundle on a registry is recorded.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Run(run::Args),
    Record(record::Args),
    Layout(layout::Args),
    Verify(verify::Args),
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Run(args) => run::run(args, cx),
        Action::Record(args) => record::run(args, cx),
        Action::Layout(args) => layout::run(args, cx),
        Action::Verify(args) => verify::run(args, cx),
    }
}

/// As it is typed.
fn form_word(form: Form) -> &'static str {
    match form {
        Form::Classic => "classic",
        Form::Dsse => "dsse",
    }
}

/// A link that was written, or begun.
struct Written {
    verb: &'static str,
    step: String,
    key: KeyId,
    form: Form,
    file: PathBuf,
    materials: usize,
    products: Option<usize>,
    command: Option<(Vec<String>, i32)>,
}

impl Outcome for Written {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let file = self.file.strip_prefix(".").unwrap_or(&self.file);
        writeln!(out, "{:<9} {}", self.verb, clean(&file.to_string_lossy()))?;
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let products = self.products.map(|n| format!(", {}", count(n, "product"))).unwrap_or_default();
        writeln!(out, "          step {}, {}{products}", self.step, count(self.materials, "material"))?;
        writeln!(out, "          key {} ({})", self.key, form_word(self.form))
    }

    fn json(&self) -> Value {
        json!({
            "status": self.verb,
            "step": self.step,
            "keyId": self.key,
            "form": form_word(self.form),
            "file": self.file.to_string_lossy(),
            "materials": self.materials,
            "products": self.products,
            "command": self.command.as_ref().map(|(argv, _)| argv),
            "commandExitCode": self.command.as_ref().map(|(_, code)| code),
        })
    }
}

impl From<ProvenanceError> for CliError {
    fn from(e: ProvenanceError) -> Self {
        match e {
            ProvenanceError::Pattern(e) => Self::usage(e.to_string())
                .next("write it as in .gitignore; in quotes, so that the shell leaves it alone"),
            ProvenanceError::Absent(ref path)
                if path.to_string_lossy().ends_with(".link-unfinished") =>
            {
                Self::failed("in-toto.not-begun", "this step was not begun here with this key")
                    .reason(&e)
                    .next("begin it first: bulla in-toto record start; or name the key and folder that it was begun with")
            }
            ProvenanceError::Absent(_) => Self::failed("in-toto.absent", "there is nothing to record; no link was written")
                .reason(e)
                .next("check the path, and the folder that it is relative to (--base-path)"),
            ProvenanceError::Name { .. } => Self::failed("in-toto.name", "a file cannot be recorded under its name; no link was written")
                .reason(e)
                .next("name paths inside the folder of --base-path, or take a beginning off with --lstrip-paths"),
            ProvenanceError::Twice(_) => Self::failed("in-toto.name", "two artifacts meet in one name; no link was written")
                .reason(e)
                .next("take less off with --lstrip-paths, or leave one of them out with --exclude"),
            ProvenanceError::Circle(_) => Self::failed("in-toto.circle", "the folders have no end; no link was written")
                .reason(e)
                .next("leave the symbolic link out with --exclude"),
            ProvenanceError::TooMany => Self::failed("in-toto.too-many", "more files than one link lists; no link was written")
                .reason(e)
                .next(format!("leave some out with --exclude, or record an archive of them: at most {MAX_ARTIFACTS}")),
            ProvenanceError::TooLarge(_) => Self::failed("in-toto.too-many", "the document would be too large; it was not written")
                .reason(e)
                .next("leave some files out with --exclude, or record an archive of them"),
            ProvenanceError::TooManyLinks(ref folder) => Self::failed("in-toto.too-many", format!("there are too many links in {}", folder.display()))
                .reason(&e)
                .next("name a folder that holds the links of one product"),
            ProvenanceError::Io { what, path, reason } => Self::io(what, &path, reason),
            ProvenanceError::Start { .. } => Self::failed("in-toto.command", "the command cannot be run; no link was written")
                .reason(e)
                .next("check the program's name, and write it after --"),
            ProvenanceError::Document { .. } => Self::new(Exit::No, "in-toto.document", "the file is not the signed document that is needed")
                .reason(e)
                .next("name the file that bulla or the reference wrote, unchanged"),
            ProvenanceError::Bundle { .. } => Self::failed("in-toto.bundle", "a bundle cannot be recorded; no link was written")
                .reason(e)
                .next("name a bundle that lies there: host/repository:tag, or oci:DIR:TAG with --as NAME"),
            ProvenanceError::Key(e) => e.into(),
            ProvenanceError::Store(e) => e.into(),
        }
    }
}
