//! `bulla tuf import`: an existing TUF repository becomes the state of a collection.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::cli::signing::anchor;
use crate::client::import::{Folder, ImportError, Imported, Request, Source, Web, import};
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::oci::Reference;
use crate::store::registry::Site;
use crate::tuf::CollectionName;

/// Start a collection from an existing TUF repository, byte for byte
///
/// The repository is verified from the root that is anchored here, and becomes the state at REPO. Its roles must name the
/// collection (x-bulla). A newer state at REPO stays. Bundles are not moved: bulla copy does that.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf import /var/www/tuf/app registry.example.com/team/app\n  bulla tuf import https://tuf.example.com/app registry.example.com/team/app"
)]
pub(super) struct Args {
    /// The tree: a folder or an http(s) URL that holds metadata/ and targets/
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where the state is to lie: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<CollectionName>,
    /// Update the memory in FILE besides the one in the home
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if args.place.selector().is_some() {
        return Err(CliError::usage(format!("{} names a bundle", args.place))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    let anchor = anchor(&cx.trust(), &args.place, args.named.as_ref())?;
    let mut memories = vec![Memory::in_dir(cx.memory(), &anchor.collection)];
    memories.extend(args.lock.iter().map(|file| Memory::in_file(file, &anchor.collection)));
    let config = args.registry.config(cx, &[&args.place])?;
    let places = RegistryArgs::opened(cx, config.clone());
    let now = cx.now();
    let imported = block_on_and_tidy(places.hosts(), async {
        let source: Box<dyn Source> = match args.source.contains("://") {
            true => Box::new(Web::at(Site::at(config, &args.source)?).await?),
            false => Box::new(Folder::at(&args.source)),
        };
        let store = places.create(&args.place).await?;
        let request = Request {
            collection: anchor.collection.clone(),
            anchor: anchor.root.bytes().clone(),
            source: &*source,
            store: &*store,
            memories: &memories,
            now,
        };
        import(request).await.map_err(CliError::from)
    })??;
    if !imported.expired.is_empty() {
        let roles: Vec<&str> = imported.expired.iter().map(|r| r.as_str()).collect();
        cx.note("import.expired", format!("expired already: {}; bulla renew is due", roles.join(", ")));
    }
    Ok(Box::new(Done(imported)))
}

struct Done(Imported);

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let i = &self.0;
        let word = if i.written { "imported" } else { "current" };
        writeln!(out, "{word:<9} {}   timestamp {}", i.collection, i.timestamp)?;
        writeln!(out, "          {}  {}", i.state, i.digest)?;
        writeln!(out, "          {} metadata files, {} targets", i.metadata, i.targets)
    }

    fn json(&self) -> Value {
        let i = &self.0;
        json!({
            "status": if i.written { "imported" } else { "current" },
            "collection": i.collection,
            "state": {"reference": i.state.to_string(), "digest": i.digest},
            "timestamp": i.timestamp,
            "metadata": i.metadata,
            "targets": i.targets,
            "expired": i.expired,
        })
    }
}

impl From<ImportError> for CliError {
    fn from(e: ImportError) -> Self {
        match e {
            ImportError::Source { file, reason } => {
                Self::failed("file.unreadable", format!("cannot read {file}")).reason(reason)
            }
            ImportError::Tuf(e) => {
                Self::new(Exit::No, "import.invalid", "the repository does not verify; nothing was imported")
                    .reason(e)
                    .next("check that it is the repository of the anchored root, and that all of it is there")
            }
            ImportError::Foreign { .. } => {
                Self::new(Exit::No, "import.foreign", "it is a TUF repository, but no bulla collection")
                    .reason(e)
                    .next("its owner makes a collection with the same keys: bulla key import FILE, then bulla init NAME --root-key …")
            }
            ImportError::TargetFile(_) => {
                Self::new(Exit::No, "import.invalid", "the repository is not whole; nothing was imported").reason(e)
            }
            ImportError::Older { .. } => {
                Self::new(Exit::No, "import.older", "something newer is known; nothing was imported").reason(e)
            }
            ImportError::Live { .. } => {
                Self::new(Exit::No, "state.invalid", "what lies at the destination does not verify; it stays")
                    .reason(e)
                    .next("look at it with bulla inspect, and take it away if it does not belong there")
            }
            ImportError::Contended(_) => Self::failed("publish.contended", "somebody else writes there")
                .reason(e)
                .next("run the same command again"),
            ImportError::Store(e) => e.into(),
            ImportError::Memory(e) => e.into(),
            ImportError::Remembered(e) => {
                Self::failed("memory.invalid", "the remembered state does not verify; nothing was imported").reason(e)
            }
            ImportError::Oversize(_) => {
                Self::failed("state.too-large", "the repository is larger than a state holds").reason(e)
            }
        }
    }
}
