//! What falls away when a proposal stands on an earlier state: shown wherever it is proposed, signed and put in.

use std::io::{self, Write};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::client::commit::WorkError;
use crate::client::recover::{Fallen, Live, falls_away};
use crate::client::whole::Whole;
use crate::oci::Reference;
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
pub(super) enum Discarded {
    /// Nothing newer is known here.
    Nothing,
    /// What lies there does not verify.
    Fault(String),
    /// A newer state.
    State(Box<Fallen>),
}

impl Discarded {
    /// What falls away of what lies there.
    pub(super) fn of(live: Live, good: &Whole, proposal: &Proposal) -> Result<Self, CliError> {
        let collection = proposal.collection();
        let kept = proposal.files().get(&collection.revocations_path());
        Ok(match live {
            Live::Nothing => Self::Nothing,
            Live::Fault(why) => Self::Fault(why),
            Live::State(whole) => {
                Self::State(Box::new(falls_away(&whole, good, kept, collection).map_err(WorkError::from)?))
            }
        })
    }

    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let fallen = match self {
            Self::Nothing => return writeln!(out, "falls away  nothing that is known here"),
            Self::Fault(why) => {
                return writeln!(out, "falls away  what lies there; it does not verify: {}", plain(why));
            }
            Self::State(fallen) => fallen,
        };
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
        for entry in &fallen.revocations {
            let about =
                entry.digest.as_ref().map_or_else(|| "the collection".to_owned(), ToString::to_string);
            let (id, kind) = (plain(&entry.id), format!("{:?}", entry.kind).to_lowercase());
            let reason = plain(entry.reason.as_deref().unwrap_or_default());
            writeln!(
                out,
                "revocation {id} ({kind} of {about}: {reason}) counts no longer: enter it again if it is right"
            )?;
        }
        if let Some(why) = &fallen.unread {
            writeln!(out, "its revocations cannot be read: {}", plain(why))?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Fault(why) => json!({"fault": why}),
            Self::State(f) => json!({
                "fault": null,
                "timestamp": {"from": f.timestamp.0, "to": f.timestamp.1},
                "snapshot": {"from": f.snapshot.0, "to": f.snapshot.1},
                "back": f.back.to_json()["files"],
                "roles": f.roles.iter().map(|(role, (v, paths))| json!({"role": role, "version": v, "entries": paths})).collect::<Vec<_>>(),
                "revocations": f.revocations.iter().map(|e| json!({"id": e.id, "subject": e.digest, "reason": e.reason})).collect::<Vec<_>>(),
                "unreadable": f.unread,
            }),
        }
    }
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
