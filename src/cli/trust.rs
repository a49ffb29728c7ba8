//! `bulla trust`: anchors, and the file they are in.

mod add;
mod replace;
mod show;
mod source;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

pub(super) use self::add::{Root, bring_root};
use self::add::{Whose, add, keep, prefix, repository, root_invalid};
use self::show::{Acknowledged, Anchors, Exported, Fingerprint};
use self::source::TypedSource;
use super::context::Context;
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::Outcome;
use crate::client::anchors::{read_packs, read_root, root_facts};
use crate::oci::Reference;
use crate::trust::Anchor;
use crate::tuf::CollectionName;

/// Say whom to trust for which references
///
/// Anchors are the roots of collections, each for one repository. Nothing is trusted on first use. Policy statements are
/// written into trust.json by hand.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Trust a collection's root for one repository
    #[command(
        after_long_help = "Examples:\n  bulla trust add registry.example.com/team/app --root 1.root.json\n  bulla trust add mirror.example.net/team/app --root sha256:… --collection example.com/team/app\n  bulla trust add example.com/team/app --root 1.root.json --min 2 --source example.com/team/app --source example.com/team/app,role=targets/security"
    )]
    Add {
        /// The repository for which the root may speak; of an organisation registry/org/*
        scope: String,
        /// The root: a file, or its fingerprint sha256:HEX to fetch it and compare
        #[arg(long, value_name = "FILE|sha256:HEX")]
        root: Root,
        /// The collection's name, when it is not SCOPE
        #[arg(long, value_name = "NAME")]
        collection: Option<CollectionName>,
        /// A further place of the collection's state (can be repeated)
        #[arg(long, value_name = "REPO")]
        state_at: Vec<Reference>,
        /// One who must agree: NAME[,role=ROLE][,key=KEY]...[,threshold=N][,root=FILE|sha256:HEX][,at=REPO][,state-at=REPO]... (can be
        /// repeated)
        #[arg(long, value_name = "SOURCE")]
        source: Vec<TypedSource>,
        /// How many of the sources must agree (default: all of them)
        #[arg(long, value_name = "N", requires = "source")]
        min: Option<u32>,
        /// The root is that of the organisation NAME: its members speak for what lies below SCOPE
        #[arg(long, value_name = "NAME", conflicts_with_all = ["collection", "source"])]
        organisation: Option<CollectionName>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Trust the roots that a directory of root packs holds
    Import {
        /// The directory, such as /usr/share/bulla/roots.d
        dir: PathBuf,
    },
    /// Show anchors and statements
    List,
    /// Trust another root of a collection whose root keys were lost, and forget the old one
    Replace(replace::Args),
    /// Trust an anchor no longer
    Remove {
        /// The ID that list shows, or a SCOPE that only one anchor has
        id: String,
    },
    /// Show the fingerprint of a root file and what it says
    Fingerprint {
        /// The root file
        file: PathBuf,
    },
    /// Take note of an advisory, so that verify no longer warns of it
    Acknowledge {
        /// The ID that verify shows
        id: String,
    },
    /// Print a trust.json for another installation
    Export {
        /// Write it there instead
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Import { dir } => {
            let anchors = read_packs(&dir)?;
            keep(cx, anchors)
        }
        Action::Add { scope, root, state_at, organisation: Some(name), registry, .. } => {
            let whose = Whose::Organisation(prefix(&scope)?, name);
            add(cx, whose, &root, state_at, (&[], None), &registry)
        }
        Action::Add { scope, root, collection, state_at, source, min, registry, organisation: None } => {
            let scope = repository(&scope)?;
            let collection = collection.unwrap_or_else(|| scope.clone().into());
            let whose = Whose::Collection(scope, collection);
            add(cx, whose, &root, state_at, (&source, min), &registry)
        }
        Action::List => {
            let file = cx.trust().load()?;
            Ok(Box::new(Anchors { verb: None, anchors: file.anchors.clone(), file, changed: false }))
        }
        Action::Replace(args) => replace::run(args, cx),
        Action::Remove { id } => remove(cx, &id),
        Action::Fingerprint { file } => {
            let bytes = read_root(&file)?;
            let facts = root_facts(&bytes, None).map_err(|e| root_invalid(&file.display().to_string(), e))?;
            Ok(Box::new(Fingerprint { file, facts }))
        }
        Action::Acknowledge { id } => acknowledge(cx, id),
        Action::Export { output } => export(cx, output),
    }
}

fn remove(cx: &Context<'_, '_>, id: &str) -> Result<Box<dyn Outcome>, CliError> {
    let store = cx.trust();
    let file = store.load()?;
    let named: Vec<&Anchor> =
        file.anchors.iter().filter(|a| a.id.as_str() == id || a.scope.to_string() == id).collect();
    let absent = |message: String| CliError::new(Exit::Usage, "trust.absent", message);
    match named[..] {
        [anchor] => {
            let changed = store.remove(anchor.id.as_str())?;
            let anchors = vec![anchor.clone()];
            Ok(Box::new(Anchors { verb: Some("removed"), anchors, file: store.load()?, changed }))
        }
        [] => {
            let known: Vec<String> =
                file.anchors.iter().map(|a| format!("{} ({})", a.id.as_str(), a.scope)).collect();
            let error = absent(format!("no anchor has the ID or SCOPE {id}"));
            Err(if known.is_empty() {
                error.reason("there are no anchors")
            } else {
                error.reason(format!("anchors: {}", known.join(", ")))
            })
        }
        _ => {
            let ids: Vec<&str> = named.iter().map(|a| a.id.as_str()).collect();
            Err(absent(format!("{} anchors have the SCOPE {id}", ids.len()))
                .next(format!("name one by its ID: {}", ids.join(", "))))
        }
    }
}

fn acknowledge(cx: &Context<'_, '_>, id: String) -> Result<Box<dyn Outcome>, CliError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        return Err(CliError::usage("that is no id of an advisory").next("bulla verify shows it"));
    }
    let changed = cx.trust().acknowledge(&id)?;
    Ok(Box::new(Acknowledged { id, changed }))
}

fn export(cx: &mut Context<'_, '_>, output: Option<PathBuf>) -> Result<Box<dyn Outcome>, CliError> {
    let mut file = cx.trust().load()?;
    // Nobody there has read them.
    file.acknowledged.clear();
    let mut dropped = 0;
    for anchor in &mut file.anchors {
        let before = anchor.state_at.len();
        anchor.state_at.retain(|p| matches!(p, Reference::Registry(_)));
        dropped += before - anchor.state_at.len();
        for source in &mut anchor.sources {
            let before = source.state_at.len();
            source.state_at.retain(|p| matches!(p, Reference::Registry(_)));
            dropped += before - source.state_at.len();
        }
    }
    if dropped > 0 {
        cx.note("trust.local-place", format!("{dropped} places in local directories were left out"));
    }
    if let Some(path) = &output {
        let mut to = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| CliError::io("write", path, e))?;
        to.write_all(&file.to_bytes()).map_err(|e| CliError::io("write", path, e))?;
    }
    Ok(Box::new(Exported { file, output }))
}
