//! `bulla trust replace`: another root for a collection whose root keys were lost or stolen.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::root_invalid;
use super::show::facts_text;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::Outcome;
use crate::client::anchors::{AnchorError, read_root};
use crate::client::replace::{ReplaceError, Replaced, replace};
use crate::oci::Digest;
use crate::tuf::CollectionName;

/// Trust another root of a collection whose root keys were lost, and forget the old one
///
/// For when as many root keys as its threshold asks for are lost or stolen: no signature can lead from the old root to
/// the new one. Get the fingerprint from the publisher by another way than the file.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla trust replace registry.example.com/team/app --root new.root.json --fingerprint sha256:…"
)]
pub(super) struct Args {
    /// A repository that is anchored, the ID of an anchor, or a collection's name; every anchor of it gets the new root
    #[arg(value_name = "SCOPE|ID|NAME")]
    scope: String,
    /// The new root
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Its fingerprint, got by another way than the file
    #[arg(long, value_name = "sha256:HEX")]
    fingerprint: Digest,
}

pub(super) fn run(args: Args, cx: &Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let (store, bytes) = (cx.trust(), read_root(&args.root)?);
    let file = store.load()?;
    let named =
        file.anchors.iter().filter(|a| a.id.as_str() == args.scope || a.scope.to_string() == args.scope);
    let mut collections: BTreeSet<CollectionName> = named.map(|a| a.collection.clone()).collect();
    if collections.is_empty() {
        // One that only stands among the sources of anchors has no scope of its own.
        let known = file.collections().map(|(name, _)| name);
        collections.extend(known.filter(|name| name.to_string() == args.scope));
    }
    let collection = match collections.into_iter().collect::<Vec<_>>()[..] {
        [ref one] => one.clone(),
        [] => {
            let known: Vec<String> = file.anchors.iter().map(|a| a.scope.to_string()).collect();
            let message = format!("no anchor has the ID or SCOPE {}", args.scope);
            let error = CliError::new(Exit::Usage, "trust.absent", message);
            return Err(error
                .reason(format!(
                    "anchored: {}",
                    if known.is_empty() { "none".into() } else { known.join(", ") }
                ))
                .next("who trusted nothing there adds the root: bulla trust add"));
        }
        _ => {
            let message = format!("{} is anchored for several collections", args.scope);
            return Err(CliError::new(Exit::Usage, "trust.absent", message)
                .next("name the anchor by its ID: bulla trust list"));
        }
    };
    let replaced = replace(&store, cx.memory(), &collection, &bytes, &args.fingerprint);
    let replaced = replaced.map_err(|e| shown(e, &args.root.display().to_string()))?;
    Ok(Box::new(replaced))
}

fn shown(e: ReplaceError, from: &str) -> CliError {
    match e {
        ReplaceError::Fingerprint { ref asked, .. } => CliError::new(
            Exit::No,
            "trust.fingerprint",
            format!("{from} is not the root with the fingerprint {asked}"),
        )
        .reason(format!("{e}; nothing was replaced"))
        .next("compare the fingerprint with the publisher by another way"),
        ReplaceError::NoAnchor(_) => {
            CliError::new(Exit::Usage, "trust.absent", "there is nothing to replace").reason(e)
        }
        ReplaceError::SameChain(_) => CliError::new(
            Exit::No,
            "trust.same-chain",
            "that root needs no replacement: it follows from the trusted one",
        )
        .reason(format!("{e}; to forget what was seen under it would only let old states in")),
        ReplaceError::Anchor(AnchorError::Root(e)) => root_invalid(from, e),
        ReplaceError::Anchor(e) => e.into(),
        ReplaceError::Memory(e) => e.into(),
    }
}

impl Outcome for Replaced {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.anchors.is_empty() {
            return writeln!(out, "unchanged {}: every anchor has that root", self.collection);
        }
        for (old, new) in &self.anchors {
            writeln!(out, "replaced  {}  {}  speaks for {}", new.id.as_str(), new.scope, new.collection)?;
            writeln!(out, "          was  {}", old.root.fingerprint())?;
            writeln!(out, "          root {}  {}", new.root.fingerprint(), facts_text(&self.root))?;
        }
        writeln!(out, "forgot    {} remembered under the old root", plural(self.forgotten))
    }

    fn json(&self) -> Value {
        let anchors = self.anchors.iter().map(|(old, new)| {
            json!({
                "id": new.id, "scope": new.scope, "was": {"id": old.id, "fingerprint": old.root.fingerprint()},
                "fingerprint": new.root.fingerprint(),
            })
        });
        json!({
            "collection": self.collection, "anchors": anchors.collect::<Vec<_>>(), "forgotten": self.forgotten,
            "rootVersion": self.root.version, "threshold": self.root.threshold, "keys": self.root.keys,
            "expires": self.root.expires,
        })
    }
}

fn plural(n: usize) -> String {
    if n == 1 { "the state".to_owned() } else { format!("{n} states") }
}
