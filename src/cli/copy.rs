//! `bulla copy`: a bundle with everything that hangs on it, counted at the far end.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::CliError;
use super::registry::RegistryArgs;
use super::render::{Outcome, clean, size};
use crate::client::copy::{Request, copy};
use crate::oci::{Digest, Reference, Selector, Tag};
use crate::store::copy::{CopyReport, SkipReason, TagAction, TagOutcome};
use crate::tuf::CollectionName;

/// Copy a bundle with everything that hangs on it, and count at the far end
///
/// Copied are the children of an index, the referrers of every manifest and of every referrer, cosign's digest tags, and
/// the states in the repository. Bytes are carried unchanged, tags come last. Nothing is judged: verify at the far end.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla copy registry.example.com/team/app:v1 oci:/media/stick:v1\n  bulla copy oci:/media/stick:v1 mirror.example.net/team/app"
)]
pub(super) struct Args {
    /// The bundle: host/repository:tag, host/repository@sha256:…, oci:DIR:tag
    source: Reference,
    /// Where it goes: host/repository[:tag] or oci:DIR[:tag]; without a tag the source's is kept
    destination: Reference,
    /// The collection whose state is judged newer or older, instead of all that are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<CollectionName>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let Some(selector) = args.source.selector().cloned() else {
        return Err(CliError::no_selector(&args.source));
    };
    let tags: Vec<Tag> = match args.destination.selector() {
        None => selector.tag().cloned().into_iter().collect(),
        Some(Selector::Tag(tag)) => vec![tag.clone()],
        Some(_) => {
            return Err(CliError::usage(format!("{} names a digest", args.destination))
                .reason("what arrives has the digest that it had")
                .next("write the destination with a tag or without any"));
        }
    };
    let destination = args.destination.at(None);
    let places = args.registry.places(cx, &[&args.source, &destination])?;
    let trust = cx.trust().load()?;
    let (memory, now) = (cx.memory().to_owned(), cx.now());
    let report = {
        let progress = cx.progress();
        block_on(copy(Request {
            places: &places,
            source: &args.source,
            selector,
            destination: &destination,
            tags: tags.clone(),
            collection: args.named,
            trust: &trust,
            memory: &memory,
            now,
            concurrency: args.registry.concurrency(),
            observer: &progress,
        }))??
    };
    for kept in report.tags.iter().filter(|t| matches!(t.action, TagAction::Kept { .. })) {
        let TagAction::Kept { reason } = &kept.action else { continue };
        cx.note("copy.kept", format!("{} stays as it is at the destination: {reason}", kept.tag));
    }
    for skipped in &report.skipped {
        let why = match &skipped.reason {
            SkipReason::Elsewhere => "lies elsewhere, and the source does not have it".to_owned(),
            SkipReason::ReferrerGone { subject } => {
                format!("is listed as a referrer of {subject}, and not there")
            }
            SkipReason::NotAReferrer { subject } => {
                format!("is listed as a referrer of {subject}, and is none")
            }
        };
        cx.note("copy.skipped", format!("{} {why}", skipped.digest));
    }
    let to = match tags.first() {
        Some(tag) => destination.at(Some(Selector::Tag(tag.clone()))),
        None => destination,
    };
    Ok(Box::new(Copied { source: args.source, destination: to, report }))
}

struct Copied {
    source: Reference,
    destination: Reference,
    report: CopyReport,
}

impl Copied {
    fn states(&self) -> impl Iterator<Item = &TagOutcome> {
        self.report.tags.iter().filter(|t| t.tag.as_str().starts_with("bulla."))
    }

    /// Tags that name at the destination what they name at the source.
    fn tags(&self) -> Vec<&Tag> {
        let there = self.report.tags.iter().filter(|t| !matches!(t.action, TagAction::Kept { .. }));
        there.map(|t| &t.tag).collect()
    }

    fn referrers(&self) -> usize {
        self.report.referrers.values().sum()
    }
}

impl Outcome for Copied {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = &self.report;
        writeln!(
            out,
            "copied    {}  ->  {}",
            clean(&self.source.to_string()),
            clean(&self.destination.to_string())
        )?;
        writeln!(out, "          {}", r.bundle.digest)?;
        let blobs = r.blobs_moved + r.blobs_present + r.blobs_mounted;
        let mut how = vec![size(r.bytes_moved)];
        how.extend((r.blobs_present > 0).then(|| format!("{} there already", r.blobs_present)));
        how.extend((r.blobs_mounted > 0).then(|| format!("{} mounted", r.blobs_mounted)));
        writeln!(
            out,
            "          manifests {}   blobs {blobs} ({})   referrers {}   states {}   tags {}",
            r.manifests_pushed + r.manifests_present,
            how.join(", "),
            self.referrers(),
            self.states().count(),
            self.tags().len(),
        )?;
        let n = self.referrers();
        let repaired =
            if r.repaired > 0 { format!(", {} after a repair", r.repaired) } else { String::new() };
        writeln!(out, "checked   {n} of {n} referrers listed at the destination{repaired}")
    }

    fn json(&self) -> Value {
        let r = &self.report;
        let states = self.states().map(|t| match &t.action {
            TagAction::Set => json!({"tag": t.tag, "action": "copied"}),
            TagAction::Replaced => json!({"tag": t.tag, "action": "replaced"}),
            TagAction::Same => json!({"tag": t.tag, "action": "same"}),
            TagAction::Kept { reason } => json!({"tag": t.tag, "action": "kept", "reason": reason}),
        });
        let skipped: Vec<&Digest> = r.skipped.iter().map(|s| &s.digest).collect();
        json!({
            "source": self.source.to_string(),
            "destination": self.destination.to_string(),
            "digest": r.bundle.digest,
            "copied": {
                "manifests": r.manifests_pushed, "blobs": r.blobs_moved, "bytes": r.bytes_moved, "mounted": r.blobs_mounted,
            },
            "present": {"manifests": r.manifests_present, "blobs": r.blobs_present, "bytes": r.bytes_present},
            "referrers": {
                "expected": self.referrers(), "listed": self.referrers(), "repaired": r.repaired,
                "byType": r.referrers, "missing": [],
            },
            "tags": self.tags(),
            "states": states.collect::<Vec<_>>(),
            "skipped": skipped,
        })
    }
}
