//! One bundle that was copied, or would be.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::render::{clean, size};
use crate::client::copy::Copied;
use crate::oci::{Digest, Reference, Tag};
use crate::store::ListChange;
use crate::store::copy::{CopyReport, Mended, TagAction, TagOutcome};

/// Whether anything was, or would be, written.
pub(super) fn changes(r: &CopyReport) -> bool {
    let set = r.tags.iter().any(|t| matches!(t.action, TagAction::Set | TagAction::Replaced));
    let listed = r.repaired > 0 || !r.referrers_new.is_empty();
    r.manifests_pushed > 0 || r.blobs_moved > 0 || r.blobs_mounted > 0 || set || listed
}

pub(super) fn text(
    source: &Reference,
    destination: &Reference,
    copied: &Copied,
    out: &mut dyn Write,
) -> io::Result<()> {
    let r = &copied.report;
    let head = if r.dry_run { "would copy" } else { "copied   " };
    writeln!(out, "{head} {}  ->  {}", clean(&source.to_string()), clean(&destination.to_string()))?;
    writeln!(out, "          {}", r.bundle.digest)?;
    if let Some(report) = &copied.verified {
        writeln!(out, "          verified as {}", clean(&report.verified_as))?;
    }
    let blobs = r.blobs_moved + r.blobs_present + r.blobs_mounted;
    let mut how =
        vec![if r.dry_run { format!("{} to move", size(r.bytes_moved)) } else { size(r.bytes_moved) }];
    how.extend((r.blobs_present > 0).then(|| format!("{} there already", r.blobs_present)));
    let mounted = if r.dry_run { "to be mounted" } else { "mounted" };
    how.extend((r.blobs_mounted > 0).then(|| format!("{} {mounted}", r.blobs_mounted)));
    let n: usize = r.referrers.values().sum();
    writeln!(
        out,
        "          manifests {}   blobs {blobs} ({})   referrers {n}   states {}   tags {}",
        r.manifests_pushed + r.manifests_present,
        how.join(", "),
        states(r).count(),
        tags(r).len(),
    )?;
    let left: usize = r.left_out.values().sum();
    if left > 0 {
        writeln!(out, "left out  {left} by type: {}", types(&r.left_out))?;
    }
    if !r.children_left_out.is_empty() {
        let platforms: Vec<&str> =
            r.children_left_out.iter().map(|c| c.platform.as_deref().unwrap_or("no platform")).collect();
        writeln!(out, "left out  {} children: {}", platforms.len(), clean(&platforms.join(", ")))?;
    }
    if r.dry_run {
        let new: usize = r.referrers_new.values().sum();
        writeln!(out, "would     push {} manifests, list {new} referrers", r.manifests_pushed)?;
        for tag in &r.tags {
            writeln!(out, "  tag     {}: {}", tag.tag, clean(&intended(&tag.action)))?;
        }
        return writeln!(out, "nothing was written");
    }
    let repaired = if r.repaired > 0 { format!(", {} after a repair", r.repaired) } else { String::new() };
    writeln!(out, "checked   {n} of {n} referrers listed at the destination{repaired}")
}

/// What a repair made good, or would, a line each.
pub(super) fn mended(r: &CopyReport, out: &mut dyn Write) -> io::Result<()> {
    let head = if r.dry_run { "would mend" } else { "mended   " };
    if r.mended.is_empty() {
        return writeln!(out, "{head} nothing: all is there and listed as it should be");
    }
    for mended in &r.mended {
        let (what, digest, why) = match mended {
            Mended::Blob { digest, damaged: true } => ("blob", digest, "was damaged".to_owned()),
            Mended::Blob { digest, damaged: false } => ("blob", digest, "was not there".to_owned()),
            Mended::Manifest(digest) => {
                ("manifest", digest, "was not there, not listed or damaged".to_owned())
            }
            Mended::Entry { subject, change } => {
                let (digest, why) = match change {
                    ListChange::Added(digest) => (digest, "was not listed as a referrer of"),
                    ListChange::Corrected(digest) => (digest, "was wrongly listed as a referrer of"),
                    ListChange::Dropped(digest) => {
                        (digest, "is gone or none, and is no longer listed as a referrer of")
                    }
                };
                ("entry", digest, format!("{why} {}", subject.short()))
            }
        };
        writeln!(out, "{head} {what} {digest} {why}")?;
    }
    Ok(())
}

fn mended_json(mended: &Mended) -> Value {
    match mended {
        Mended::Blob { digest, damaged } => {
            json!({"what": "blob", "digest": digest, "was": if *damaged { "damaged" } else { "missing" }})
        }
        Mended::Manifest(digest) => json!({"what": "manifest", "digest": digest}),
        Mended::Entry { subject, change } => {
            let (digest, change) = match change {
                ListChange::Added(digest) => (digest, "added"),
                ListChange::Corrected(digest) => (digest, "corrected"),
                ListChange::Dropped(digest) => (digest, "dropped"),
            };
            json!({"what": "entry", "digest": digest, "subject": subject, "change": change})
        }
    }
}

pub(super) fn json(copied: &Copied) -> Value {
    let r = &copied.report;
    let n: usize = r.referrers.values().sum();
    let new: usize = r.referrers_new.values().sum();
    let skipped: Vec<&Digest> = r.skipped.iter().map(|s| &s.digest).collect();
    // What a copy would find listed at its end is not known before.
    let listed = if r.dry_run { n - new } else { n };
    let left: Vec<Value> = r
        .children_left_out
        .iter()
        .map(|c| json!({"index": c.index, "digest": c.digest, "platform": c.platform}))
        .collect();
    let unconfirmed: Vec<Value> = copied
        .confirmation
        .unconfirmed
        .iter()
        .map(|u| json!({"tag": u.tag, "collection": u.collection, "digest": u.names, "listed": u.listed}))
        .collect();
    json!({
        "digest": r.bundle.digest,
        "dryRun": r.dry_run,
        "copied": {
            "manifests": r.manifests_pushed, "blobs": r.blobs_moved, "bytes": r.bytes_moved, "mounted": r.blobs_mounted,
            "bytesMounted": r.bytes_mounted,
        },
        "present": {"manifests": r.manifests_present, "blobs": r.blobs_present, "bytes": r.bytes_present},
        "referrers": {
            "expected": n, "listed": listed, "new": new, "repaired": r.repaired,
            "byType": r.referrers, "missing": [],
        },
        "tags": tags(r),
        "tagActions": r.tags.iter().map(action).collect::<Vec<_>>(),
        "states": states(r).map(action).collect::<Vec<_>>(),
        "skipped": skipped,
        "leftOut": {"byType": r.left_out, "children": left},
        "unconfirmed": unconfirmed,
        "mended": r.mended.iter().map(mended_json).collect::<Vec<_>>(),
        "verifiedAs": copied.verified.as_ref().map(|report| &report.verified_as),
    })
}

fn action(t: &TagOutcome) -> Value {
    match &t.action {
        TagAction::Set => json!({"tag": t.tag, "action": "copied"}),
        TagAction::Replaced => json!({"tag": t.tag, "action": "replaced"}),
        TagAction::Same => json!({"tag": t.tag, "action": "same"}),
        TagAction::Kept { reason } => json!({"tag": t.tag, "action": "kept", "reason": reason}),
    }
}

fn intended(action: &TagAction) -> String {
    match action {
        TagAction::Set => "new".into(),
        TagAction::Replaced => "moves".into(),
        TagAction::Same => "names this already".into(),
        TagAction::Kept { reason } => format!("stays as it is: {reason}"),
    }
}

fn states(r: &CopyReport) -> impl Iterator<Item = &TagOutcome> {
    r.tags.iter().filter(|t| t.tag.as_str().starts_with("bulla."))
}

/// Tags that name at the destination what they name at the source.
fn tags(r: &CopyReport) -> Vec<&Tag> {
    let there = r.tags.iter().filter(|t| !matches!(t.action, TagAction::Kept { .. }));
    there.map(|t| &t.tag).collect()
}

fn types(counted: &BTreeMap<String, usize>) -> String {
    let one = |(kind, n): (&String, &usize)| {
        format!("{n} {}", if kind.is_empty() { "without a type" } else { kind.as_str() })
    };
    clean(&counted.iter().map(one).collect::<Vec<_>>().join(", "))
}
