//! `bulla tree`: everything that hangs on a bundle.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, absent};
use super::registry::RegistryArgs;
use super::render::{Outcome, age, clean, size};
use crate::client::places::Places as _;
use crate::client::tree::{self, Kind, MAX_DEPTH, MAX_NODES, Node, StateAt, Tree};
use crate::oci::Reference;
use crate::time::UnixTime;

/// Draw everything that hangs on a bundle
///
/// Shown are the children of an index, the referrers of every manifest and of every referrer, cosign's digest tags, and
/// the states in the repository. Nothing is judged.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla tree registry.example.com/team/app:v1")]
pub(super) struct Args {
    /// The bundle: host/repository:tag, host/repository@sha256:…, oci:DIR:tag, oci-archive:FILE:tag
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let Some(selector) = args.reference.selector() else {
        return Err(CliError::no_selector(&args.reference));
    };
    let places = args.registry.places(cx, &[&args.reference])?;
    let tree = block_on(async {
        let store = places.open(&args.reference).await?;
        tree::tree(&*store, selector).await
    })??;
    let tree = tree.ok_or_else(|| absent(&args.reference))?;
    let error = (!tree.whole).then(|| {
        CliError::failed("tree.cap", format!("not all of {} is drawn", args.reference))
            .reason(format!("more than {MAX_NODES} nodes, or more than {MAX_DEPTH} levels"))
    });
    Ok(Box::new(Drawn { reference: args.reference, tree, error, now: cx.now() }))
}

struct Drawn {
    reference: Reference,
    tree: Tree,
    error: Option<CliError>,
    now: UnixTime,
}

impl Outcome for Drawn {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", clean(&self.reference.to_string()))?;
        writeln!(out, "{}", line(&self.tree.root, self.now))?;
        branches(&self.tree.root, "", self.now, out)?;
        self.tree.states.iter().try_for_each(|s| {
            let collection = s.node.collection.as_deref().unwrap_or("names no collection");
            let files = format!("{}, {} files", clean(collection), s.files);
            let words = [
                format!("state {}", s.tag),
                s.node.descriptor.digest.to_string(),
                files,
                size(s.node.all_bytes()),
            ];
            writeln!(
                out,
                "{}",
                words.into_iter().chain(tail(&s.node, self.now)).collect::<Vec<_>>().join("  ")
            )
        })
    }

    fn json(&self) -> Value {
        json!({
            "reference": self.reference.to_string(),
            "root": node_json(&self.tree.root),
            "states": self.tree.states.iter().map(state_json).collect::<Vec<_>>(),
            "whole": self.tree.whole,
        })
    }
}

/// What hangs on `node`, each line behind its branch.
fn branches(node: &Node, indent: &str, now: UnixTime, out: &mut dyn Write) -> io::Result<()> {
    let children = node.children.iter().map(|c| (platform(c), c));
    let referrers = node.referrers.iter().map(|r| (String::new(), r));
    let tags = node.digest_tags.iter().map(|(tag, n)| (format!("tag {tag}  "), n));
    let all: Vec<(String, &Node)> = children.chain(referrers).chain(tags).collect();
    for (i, (before, below)) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        let (branch, deeper) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        writeln!(out, "{indent}{branch}{before}{}", line(below, now))?;
        branches(below, &format!("{indent}{deeper}"), now, out)?;
    }
    Ok(())
}

fn platform(node: &Node) -> String {
    node.platform.as_ref().map(|p| format!("{}  ", clean(&p.to_string()))).unwrap_or_default()
}

fn line(node: &Node, now: UnixTime) -> String {
    let mut words = vec![node.descriptor.digest.to_string()];
    if node.missing {
        words.push("missing".into());
        return words.join("  ");
    }
    words.push(what(node));
    words.push(size(node.descriptor.size));
    if node.kind == Kind::Manifest && node.blob_bytes > 0 {
        words.push(format!("(blobs {})", size(node.blob_bytes)));
    }
    words.extend(tail(node, now));
    words.join("  ")
}

/// Age, and whether bulla understands it; plain images and indexes go without saying.
fn tail(node: &Node, now: UnixTime) -> Vec<String> {
    let mut words: Vec<String> = node.created.iter().filter_map(|c| age(c, now)).collect();
    match node.kind {
        Kind::Index | Kind::Manifest => {}
        kind if kind.is_understood() => words.push("understood".into()),
        _ => words.push("not understood".into()),
    }
    words
}

fn what(node: &Node) -> String {
    if let Some(problem) = &node.problem {
        return format!("unreadable: {}", clean(problem));
    }
    let of = |word: &str| match &node.collection {
        Some(collection) => format!("{word} of {}", clean(collection)),
        None => word.to_owned(),
    };
    match node.kind {
        Kind::Index => {
            let platforms = node.children.iter().filter(|c| c.platform.is_some()).count();
            match platforms {
                0 => format!("image index, {} manifests", node.children.len()),
                n => format!("image index, {n} platforms"),
            }
        }
        Kind::Manifest => "image manifest".into(),
        Kind::Seal => of("seal"),
        Kind::State => of("state"),
        Kind::Submission => of("submission"),
        Kind::CosignSignature => "cosign signatures".into(),
        Kind::CosignAttestation => "cosign attestations".into(),
        Kind::CosignSbom => "cosign SBOM".into(),
        Kind::SigstoreBundle => "sigstore bundle".into(),
        Kind::NotarySignature => "Notary Project signature".into(),
        Kind::InTotoLink => "in-toto link".into(),
        Kind::InTotoLayout => "in-toto layout".into(),
        _ => clean(node.artifact_type.as_deref().unwrap_or(&node.descriptor.media_type)),
    }
}

fn node_json(node: &Node) -> Value {
    json!({
        "digest": node.descriptor.digest,
        "mediaType": node.descriptor.media_type,
        "artifactType": node.artifact_type,
        "size": node.descriptor.size,
        "blobBytes": node.blob_bytes,
        "kind": node.kind.as_str(),
        "understood": node.kind.is_understood(),
        "created": node.created,
        "collection": node.collection,
        "platform": node.platform.as_ref().map(ToString::to_string),
        "missing": node.missing,
        "problem": node.problem,
        "children": node.children.iter().map(node_json).collect::<Vec<_>>(),
        "referrers": node.referrers.iter().map(node_json).collect::<Vec<_>>(),
        "digestTags": node.digest_tags.iter().map(|(tag, n)| {
            let mut below = node_json(n);
            below["tag"] = json!(tag);
            below
        }).collect::<Vec<_>>(),
    })
}

fn state_json(state: &StateAt) -> Value {
    json!({
        "tag": state.tag, "digest": state.node.descriptor.digest, "kind": state.node.kind.as_str(),
        "size": state.node.all_bytes(),
        "files": state.files, "collection": state.node.collection, "created": state.node.created,
    })
}
