//! `bulla attach link` and `attach layout`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit, absent};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::{Outcome, clean};
use crate::cli::sign::{read_file, row_error};
use crate::client::places::Places as _;
use crate::client::provenance::carry::{Carried, Hung, Kind, hang};
use crate::client::sign::{Subject, subjects};
use crate::intoto::MAX_DOCUMENT;
use crate::oci::Reference;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle that they are about
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The documents
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Documents that hang on a bundle now.
struct Attached {
    kind: Kind,
    subject: Subject,
    rows: Vec<(PathBuf, Carried, Hung)>,
}

pub(super) fn run(kind: Kind, args: &Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let reference = &args.reference;
    let selector = reference.selector().ok_or_else(|| CliError::no_selector(reference))?.clone();
    // All of them are read before one is pushed.
    let mut documents = Vec::new();
    for file in &args.files {
        let bytes = read_file(file, MAX_DOCUMENT as u64)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let carried = Carried::read(kind, &name, bytes).map_err(|why| {
            let what = format!(
                "{} is no {} that can be attached; nothing was pushed",
                file.display(),
                kind.as_str()
            );
            CliError::new(Exit::No, "attach.invalid", what)
                .reason(why)
                .next("name files that bulla in-toto, or in-toto's own programs, wrote")
        })?;
        documents.push(carried);
    }
    let places = args.registry.places(cx, &[reference])?;
    let (subject, hung) = block_on_and_tidy(places.hosts(), async {
        let store = places.open(reference).await?;
        let mut found = subjects(&*store, reference, &selector, false).await.map_err(row_error)?;
        let subject = found.pop().ok_or_else(|| absent(reference))?;
        let hung = hang(&*store, &subject, &documents).await?;
        Ok::<_, CliError>((subject, hung))
    })??;
    let rows = args.files.iter().cloned().zip(documents).zip(hung);
    Ok(Box::new(Attached { kind, subject, rows: rows.map(|((f, d), h)| (f, d, h)).collect() }))
}

impl Outcome for Attached {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (_, document, hung) in &self.rows {
            let word = if hung.was_there { "there" } else { "attached" };
            writeln!(out, "{word:<9} {}", self.subject.reference)?;
            writeln!(out, "          {}  {}  {}", self.kind.as_str(), clean(document.name()), hung.carrier)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let one = |(file, document, hung): &(PathBuf, Carried, Hung)| {
            json!({
                "file": file.to_string_lossy(), "name": document.name(), "mediaType": document.media_type(),
                "status": if hung.was_there { "there" } else { "attached" }, "digest": hung.carrier,
            })
        };
        json!({
            "kind": self.kind.as_str(),
            "reference": self.subject.reference.to_string(),
            "documents": self.rows.iter().map(one).collect::<Vec<_>>(),
        })
    }
}
