//! `bulla trust`: anchors, and the file they are in.

mod add;
mod check;
mod import;
mod list;
mod replace;
mod show;
mod signer;
mod source;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use self::add::root_invalid;
pub(super) use self::add::{Root, add_noting, bring_root};
use self::list::Listed;
use self::show::{Acknowledged, Anchors, Exported, Fingerprint};
use super::context::Context;
use super::error::{CliError, Exit};
use super::render::Outcome;
use crate::client::anchors::{read_root, root_facts};
use crate::oci::Reference;
use crate::trust::{Anchor, AnchorId, Scope, SignerAnchor, Subject, TrustFile};
use crate::tuf::CollectionName;

/// Say whom to trust for which references
///
/// Anchors are the roots of collections, each for one repository, and whose signatures count, for scopes of any width. Nothing is
/// trusted on first use. Policy statements are written into trust.json by hand, or imported.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Trust a collection's root, a CA, a certificate, a key or an identity, for a scope
    #[command(
        after_long_help = "Examples:\n  bulla trust add registry.example.com/team/app --root 1.root.json\n  bulla trust add mirror.example.net/team/app --root sha256:… --collection example.com/team/app\n  bulla trust add example.com/team/app --root 1.root.json --min 2 --source example.com/team/app --source example.com/team/app,role=targets/security\n  bulla trust add registry.example.com --ca ca.pem --subject 'C=US,ST=WA,O=Example'\n  bulla trust add 'ghcr.io/acme/*' --keyless trusted_root.json --identity https://… --issuer https://…"
    )]
    Add(Box<add::Args>),
    /// Take over root packs, a trust policy or store, notation's, or a SPIFFE bundle
    #[command(
        after_long_help = "Examples:\n  bulla trust import /usr/share/bulla/roots.d\n  bulla trust import trustpolicy.json\n  bulla trust import notation ~/.config/notation\n  bulla trust import spiffe bundle.json --trust-domain example.org --scope 'registry.example.com/ci/*'"
    )]
    Import(import::Args),
    /// Say which anchors and which statement apply to REF and what they need, and what is wrong with the file
    Check {
        /// A repository or tag; without it the whole file is looked through
        #[arg(value_name = "REF")]
        reference: Option<Reference>,
        /// The name that stands in for an oci: reference
        #[arg(long = "as", value_name = "NAME[:TAG]", requires = "reference")]
        named: Option<Subject>,
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
        Action::Import(args) => import::run(args, cx),
        Action::Add(args) => add::run(*args, cx),
        Action::Check { reference, named } => check::run(reference, named, cx),
        Action::List => {
            let file = cx.trust().load()?;
            Ok(Box::new(Listed { file }))
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
    let file = store.own()?;
    let fits = |a: &AnchorId, scope: &Scope| a.as_str() == id || scope.to_string() == id;
    let anchors: Vec<Anchor> = file.anchors.iter().filter(|a| fits(&a.id, &a.scope)).cloned().collect();
    let signers: Vec<SignerAnchor> = file.signers.iter().filter(|a| fits(&a.id, &a.scope)).cloned().collect();
    let tuf = file.anchors.iter().map(|a| (&a.id, &a.scope));
    let known: Vec<_> = tuf.chain(file.signers.iter().map(|a| (&a.id, &a.scope))).collect();
    let absent = |message: String| CliError::new(Exit::Usage, "trust.absent", message);
    let named: Vec<&AnchorId> = anchors.iter().map(|a| &a.id).chain(signers.iter().map(|a| &a.id)).collect();
    match named[..] {
        [only] => {
            let needed = signers_that_need(&file, &anchors);
            if let Some(signer) = needed {
                return Err(CliError::usage(format!("the anchor {} is still needed", only.as_str()))
                    .reason(format!("the rescissions of {signer} come from its collection"))
                    .next(format!("bulla trust remove {signer} first")));
            }
            let changed = store.remove(only.as_str())?;
            Ok(Box::new(Anchors { verb: "removed", anchors, signers, file: store.own()?, changed }))
        }
        [] => {
            let known: Vec<String> = known.iter().map(|(id, s)| format!("{} ({s})", id.as_str())).collect();
            let error = absent(format!("no anchor has the ID or SCOPE {id}"));
            Err(if known.is_empty() {
                error.reason("there are no anchors")
            } else {
                error.reason(format!("anchors: {}", known.join(", ")))
            })
        }
        _ => {
            let ids: Vec<&str> = named.iter().map(|a| a.as_str()).collect();
            Err(absent(format!("{} anchors have the SCOPE {id}", ids.len()))
                .next(format!("name one by its ID: {}", ids.join(", "))))
        }
    }
}

/// An anchor of signatures whose rescissions would never come without these.
fn signers_that_need(file: &TrustFile, gone: &[Anchor]) -> Option<String> {
    let stays = |a: &&Anchor| !gone.iter().any(|g| g.id == a.id);
    let left: Vec<&CollectionName> = file.anchors.iter().filter(stays).map(|a| &a.collection).collect();
    let lost = |name: &CollectionName| gone.iter().any(|g| g.collection == *name) && !left.contains(&name);
    let mut needing = file.signers.iter().filter(|s| s.rescissions().collection().is_some_and(lost));
    needing.next().map(|s| s.id.as_str().to_owned())
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
    let mut file = cx.trust().own()?;
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
