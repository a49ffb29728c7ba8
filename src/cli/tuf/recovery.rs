//! What falls away when a proposal stands on an earlier state: shown wherever it is proposed, signed and put in.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::client::commit::WorkError;
use crate::client::recover::{Entries, Fallen, Live, entries, falls_away};
use crate::client::whole::Whole;
use crate::oci::Reference;
use crate::trust::{RevocationEntry, RevocationKind};
use crate::tuf::RoleName;
use crate::tuf::proposal::{Proposal, plain};

/// Most lines of one role.
const LINES: usize = 100;

/// Where a state lies that is known to be good.
#[derive(Debug, Clone)]
pub(super) enum GoodState {
    /// What this installation remembers.
    Memory,
    /// A mirror, or an OCI layout.
    Place(Reference),
}

impl FromStr for GoodState {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "memory" {
            return Ok(Self::Memory);
        }
        let place: Reference = s.parse().map_err(|e| format!("{e}"))?;
        match place.selector() {
            None => Ok(Self::Place(place)),
            Some(_) => Err("expected memory, host/repository or oci:DIR, without tag and digest".into()),
        }
    }
}

impl std::fmt::Display for GoodState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("what is remembered here"),
            Self::Place(place) => place.fmt(f),
        }
    }
}

/// What an earlier state takes the place of.
pub(super) struct Discarded {
    newer: Newer,
    entries: Entries,
}

enum Newer {
    /// Nothing newer is known here.
    Nothing,
    /// It cannot be seen.
    Fault(String),
    /// A newer state; and what lies at the place, where it is only remembered.
    State(Box<Fallen>, Option<String>),
}

impl Discarded {
    /// What falls away of what is known: `live`, and of its revocations and those entered `since`.
    pub(super) fn of(
        live: Live,
        since: BTreeSet<RevocationEntry>,
        good: &Whole,
        proposal: &Proposal,
    ) -> Result<Self, CliError> {
        let collection = proposal.collection();
        let path = collection.revocations_path();
        // What no draft lists says nothing of what stays.
        let drafted = proposal.drafts().get(&RoleName::revocations()).and_then(|d| d.targets());
        let target = drafted.and_then(|d| d.targets().get(&path));
        let kept = proposal.files().get(&path).filter(|list| target.is_some_and(|t| t.check(list).is_ok()));
        let whole = match &live {
            Live::State(whole) | Live::Remembered(whole, _) => Some(&**whole),
            Live::Nothing | Live::Fault(_) => None,
        };
        let entries = entries(good, whole, since, kept, collection);
        let state = |whole: &Whole, place| -> Result<Newer, CliError> {
            let fallen = falls_away(whole, good, collection).map_err(WorkError::from)?;
            Ok(Newer::State(Box::new(fallen), place))
        };
        let newer = match live {
            Live::Nothing => Newer::Nothing,
            Live::Fault(why) => Newer::Fault(why),
            Live::State(whole) => state(&whole, None)?,
            Live::Remembered(whole, place) => state(&whole, Some(place))?,
        };
        Ok(Self { newer, entries })
    }

    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.newer {
            Newer::Nothing => {
                writeln!(
                    out,
                    "falls away  nothing that is known here; what else was published since cannot be seen"
                )?;
            }
            Newer::Fault(why) => {
                writeln!(out, "falls away  what was published since, which cannot be seen: {}", plain(why))?;
            }
            Newer::State(fallen, place) => {
                if let Some(place) = place {
                    writeln!(out, "remembered  it is newer here: {}", plain(place))?;
                }
                fallen_text(fallen, out)?;
            }
        }
        for entry in self.entries.added.iter().take(LINES) {
            writeln!(
                out,
                "revocation {} was entered since and stays: undo it if it is wrong",
                worded(entry)
            )?;
        }
        more(self.entries.added.len(), out)?;
        for entry in self.entries.gone.iter().take(LINES) {
            let then = match entry.kind {
                RevocationKind::Unrevoke => "counts no longer: what it undid counts again",
                _ => "counts no longer: enter it again if it is right",
            };
            writeln!(out, "revocation {} {then}", worded(entry))?;
        }
        more(self.entries.gone.len(), out)
    }

    pub(super) fn json(&self) -> Value {
        let entries = |all: &BTreeSet<RevocationEntry>| all.iter().map(as_json).collect::<Vec<_>>();
        let mut value = match &self.newer {
            Newer::Nothing => json!({"fault": null}),
            Newer::Fault(why) => json!({"fault": why}),
            Newer::State(f, place) => json!({
                "fault": null,
                "place": place,
                "timestamp": {"from": f.timestamp.0, "to": f.timestamp.1},
                "snapshot": {"from": f.snapshot.0, "to": f.snapshot.1},
                "back": f.back.to_json()["files"],
                "roles": f.roles.iter().map(|(role, (v, paths))| json!({"role": role, "version": v, "entries": paths})).collect::<Vec<_>>(),
                "unreadable": f.unread,
            }),
        };
        value["seen"] = json!(matches!(self.newer, Newer::State(..)));
        value["added"] = json!(entries(&self.entries.added));
        value["revocations"] = json!(entries(&self.entries.gone));
        value
    }
}

fn fallen_text(fallen: &Fallen, out: &mut dyn Write) -> io::Result<()> {
    let ((t, t0), (s, s0)) = (fallen.timestamp, fallen.snapshot);
    writeln!(out, "falls away  what was published since: timestamp {t}, snapshot {s}")?;
    writeln!(out, "            instead of: timestamp {t0}, snapshot {s0}")?;
    for (role, (version, paths)) in &fallen.roles {
        writeln!(out, "{} {version}: it falls away wholly", plain(role.as_str()))?;
        for path in paths.iter().take(LINES) {
            writeln!(out, "  entry {} falls away", plain(path))?;
        }
        more(paths.len(), out)?;
    }
    for file in &fallen.back.files {
        let old = file.old.as_ref().map_or_else(|| "absent".to_owned(), |o| o.0.to_string());
        writeln!(out, "{} {old} goes back to {}", plain(file.role.as_str()), file.version)?;
        let lines: Vec<&str> =
            file.items.iter().filter(|i| !i.kind.is_routine()).map(|i| i.text.as_str()).collect();
        for line in lines.iter().take(LINES) {
            writeln!(out, "  {line}")?;
        }
        more(lines.len(), out)?;
    }
    if let Some(why) = &fallen.unread {
        writeln!(out, "its revocations cannot be read: {}", plain(why))?;
    }
    Ok(())
}

/// An entry for people.
pub(in crate::cli) fn worded(entry: &RevocationEntry) -> String {
    let about = entry.digest.as_ref().map_or_else(|| "the collection".to_owned(), ToString::to_string);
    let about = match &entry.undoes {
        Some(id) => format!("entry {}, about {about}", plain(id)),
        None => about,
    };
    let kind = format!("{:?}", entry.kind).to_lowercase();
    let reason = plain(entry.reason.as_deref().unwrap_or_default());
    let by = plain(entry.by.as_deref().unwrap_or("nobody"));
    format!("{} ({kind} of {about}: {reason}; by {by}, {})", plain(&entry.id), entry.at)
}

fn as_json(e: &RevocationEntry) -> Value {
    let kind = format!("{:?}", e.kind).to_lowercase();
    json!({"id": e.id, "kind": kind, "subject": e.digest, "undoes": e.undoes, "at": e.at, "by": e.by, "reason": e.reason})
}

fn more(n: usize, out: &mut dyn Write) -> io::Result<()> {
    if n > LINES { writeln!(out, "  and {} more (--format json has all)", n - LINES) } else { Ok(()) }
}

/// Show what is about to happen, and ask.
pub(super) fn ask(shown: &[u8], question: &str, next: &str, cx: &Context<'_, '_>) -> Result<(), CliError> {
    let question = format!("{}\n{question} Type yes: ", String::from_utf8_lossy(shown));
    match cx.ask_openly(&question) {
        Ok(answer) if answer.trim() == "yes" => Ok(()),
        Ok(_) => Err(CliError::new(crate::cli::error::Exit::No, "proposal.declined", "nothing was signed")),
        Err(_) => {
            Err(CliError::failed("proposal.unasked", "there is nobody to ask; nothing was signed").next(next))
        }
    }
}
