//! `bulla tuf export`: a collection as a tree of files for any TUF client.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::{Outcome, clean};
use crate::cli::signing::{anchor, state_place};
use crate::client::export::{ExportError, Exported, Request, export};
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::oci::Reference;
use crate::tuf::CollectionName;

/// Write a collection's TUF repository as a tree of files that any web server serves
///
/// DIR/metadata and DIR/targets are what python-tuf, tuf-js and go-tuf read, byte for byte as signed. The timestamp is
/// written last, and nothing else in DIR is touched, so the tree may be served meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla tuf export registry.example.com/team/app /var/www/tuf/app")]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// The folder of the tree; it is made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<CollectionName>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if args.place.selector().is_some() {
        return Err(CliError::usage(format!("{} names a bundle", args.place))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    let anchor = anchor(&cx.trust(), &args.place, args.named.as_ref())?;
    let memories = [Memory::in_dir(cx.memory(), &anchor.collection)];
    let places = args.registry.places(cx, &[&args.place])?;
    let clock = cx.clock();
    let exported = block_on_and_tidy(places.hosts(), async {
        let own = places.open(&args.place).await?;
        let state = state_place(&places, &own, &anchor).await?;
        let request = Request {
            collection: anchor.collection.clone(),
            anchor: anchor.root.bytes().clone(),
            state: &*state,
            bundles: &*own,
            memories: &memories,
            dir: &args.dir,
            clock: &*clock,
        };
        export(request).await.map_err(CliError::from)
    })??;
    if !exported.absent.is_empty() {
        let n = exported.absent.len();
        cx.note(
            "export.absent",
            format!("{n} targets are listed and their files are not here: {}", few(&exported.absent)),
        );
    }
    if !exported.unnamed.is_empty() {
        let n = exported.unnamed.len();
        cx.note(
            "export.unnamed",
            format!(
                "{n} targets or roles have names that no file may have, or that another one has: {}",
                few(&exported.unnamed)
            ),
        );
    }
    Ok(Box::new(Done { exported, dir: args.dir }))
}

fn few(paths: &[String]) -> String {
    let mut shown: Vec<&str> = paths.iter().take(3).map(String::as_str).collect();
    if paths.len() > shown.len() {
        shown.push("…");
    }
    shown.join(", ")
}

struct Done {
    exported: Exported,
    dir: PathBuf,
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let e = &self.exported;
        let word = if e.written > 0 { "exported" } else { "current" };
        writeln!(out, "{word:<9} {}   timestamp {}", e.collection, e.timestamp)?;
        let (dir, written) = (clean(&self.dir.to_string_lossy()), e.written);
        writeln!(
            out,
            "          {dir}   {} metadata files, {} targets, {written} written",
            e.metadata, e.targets
        )
    }

    fn json(&self) -> Value {
        let e = &self.exported;
        json!({
            "status": if e.written > 0 { "exported" } else { "current" },
            "collection": e.collection,
            "dir": self.dir.to_string_lossy(),
            "timestamp": e.timestamp,
            "metadata": e.metadata,
            "targets": e.targets,
            "written": e.written,
            "absent": e.absent,
            "unnamed": e.unnamed,
        })
    }
}

impl From<ExportError> for CliError {
    fn from(e: ExportError) -> Self {
        match e {
            ExportError::Work(e) => e.into(),
            ExportError::Store(e) => e.into(),
            ExportError::Tuf(e) => {
                Self::new(Exit::No, "state.invalid", "the state does not verify; nothing was exported")
                    .reason(e)
            }
            ExportError::Behind(_) => Self::new(
                Exit::No,
                "status.behind",
                "the live state is older than what is remembered here; nothing was exported",
            )
            .reason(e)
            .next("bulla renew puts it right, where the online key is"),
            ExportError::Newer { .. } => {
                Self::new(Exit::No, "export.newer", "the tree holds a newer state; nothing was written")
                    .reason(e)
                    .next("export from where the newest state is, or into another folder")
            }
            ExportError::Foreign { .. } => Self::new(
                Exit::No,
                "export.foreign",
                "the folder holds another repository; nothing was written",
            )
            .reason(e)
            .next("name a folder of its own for this collection"),
            ExportError::Io { what, file, reason } => Self::io(what, &file, reason),
        }
    }
}
