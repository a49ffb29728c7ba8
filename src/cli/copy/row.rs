//! What became of each source, and of all.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::render;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean, columns, size};
use crate::cli::verify::{as_json, one as report_text};
use crate::client::copy::{Copied, Reached};
use crate::client::installed::{Done, Installed};
use crate::oci::Reference;
use crate::store::copy::{SkipReason, TagAction};
use crate::time::UnixTime;
use crate::trust::{Report, Verdict};

/// Most tags of one state that are named one by one in notes; the JSON document names them all.
const MAX_NAMED: usize = 20;

/// One source.
pub(super) struct Row {
    pub(super) source: Reference,
    pub(super) destination: Reference,
    /// What is at the destination was looked at whole.
    pub(super) repair: bool,
    /// The bundle, if it is at the destination.
    pub(super) reached: Option<Reached>,
    pub(super) end: End,
}

/// What became of it.
pub(super) enum End {
    Copied(Box<Copied>),
    /// With what to do about it.
    Refused(Box<Report>, Option<String>),
    Failed(CliError),
    NotBegun,
}

/// All of them.
pub(super) struct Rows {
    rows: Vec<Row>,
    error: Option<CliError>,
}

/// The only one.
struct Single(Row);

impl Rows {
    /// One source is shown by itself, several as a table.
    pub(super) fn outcome(mut rows: Vec<Row>, several: bool) -> Result<Box<dyn Outcome>, CliError> {
        if !several && rows.len() == 1 {
            return match rows.swap_remove(0) {
                Row { end: End::Failed(e), .. } => Err(e),
                row => Ok(Box::new(Single(row))),
            };
        }
        let failed: Vec<Exit> =
            rows.iter().filter(|r| matches!(r.end, End::Failed(_))).map(Row::exit).collect();
        let error = (!failed.is_empty()).then(|| {
            let not_begun = rows.iter().filter(|r| matches!(r.end, End::NotBegun)).count();
            let rest = if not_begun > 0 { format!(", and {not_begun} were not begun") } else { String::new() };
            let said = format!("{} of {} could not be copied{rest}", failed.len(), rows.len());
            CliError::new(super::worst(failed.into_iter()), "copy.incomplete", said)
                .next("the result names each with its reason; run the same command again: what arrived is not sent again")
        });
        Ok(Box::new(Self { rows, error }))
    }
}

impl Row {
    pub(super) fn exit(&self) -> Exit {
        match &self.end {
            End::Copied(_) | End::NotBegun => Exit::Done,
            End::Failed(e) => e.exit,
            End::Refused(report, _) => match report.verdict() {
                Verdict::Undecided => Exit::Failed,
                _ => Exit::No,
            },
        }
    }

    /// A bundle that arrived, for the log; also where its tags or a state failed after it.
    pub(super) fn installed(&self, at: UnixTime) -> Option<Installed> {
        let Reached { digest, collection } = self.reached.clone()?;
        Some(Installed {
            at,
            done: Done::Copied,
            reference: self.destination.to_string(),
            digest,
            collection,
        })
    }

    /// For machines.
    fn status(&self) -> &'static str {
        match &self.end {
            End::Copied(copied) if copied.report.dry_run => "planned",
            End::Copied(_) => "copied",
            End::Refused(report, _) if report.verdict() == Verdict::Undecided => "undecided",
            End::Refused(..) => "refused",
            End::Failed(_) => "failed",
            End::NotBegun => "not-begun",
        }
    }

    /// For people.
    fn word(&self) -> String {
        match &self.end {
            End::Copied(copied) => {
                let nothing = !render::changes(&copied.report);
                let mended = copied.report.mended.len();
                match (copied.report.dry_run, nothing) {
                    (true, _) if self.repair && mended > 0 => format!("would mend {mended}"),
                    _ if self.repair && mended > 0 => format!("mended {mended}"),
                    (_, true) => "there already".into(),
                    (true, false) => "would be copied".into(),
                    (false, false) => "copied".into(),
                }
            }
            End::Refused(report, _) if report.verdict() == Verdict::Undecided => "could not decide".into(),
            End::Refused(..) => "refused".into(),
            End::Failed(e) => format!("failed: {}", e.code),
            End::NotBegun => "not begun".into(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.source.to_string(), self.destination.to_string(), self.word()];
        if let End::Copied(copied) = &self.end {
            cells.push(size(copied.report.bytes_moved));
            cells.push(copied.report.referrers.values().sum::<usize>().to_string());
        }
        cells
    }

    fn json(&self) -> Value {
        let mut out = json!({
            "source": self.source.to_string(),
            "destination": self.destination.to_string(),
            "status": self.status(),
        });
        let more = match &self.end {
            End::Copied(copied) => render::json(copied),
            End::Refused(report, next) => {
                json!({"digest": report.digest, "verification": as_json(report, next.as_deref())})
            }
            End::Failed(_) | End::NotBegun => json!({}),
        };
        if let (Some(out), Value::Object(more)) = (out.as_object_mut(), more) {
            out.extend(more);
        }
        out
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.end {
            End::Copied(copied) => {
                render::text(&self.source, &self.destination, copied, out)?;
                if self.repair { render::mended(&copied.report, out) } else { Ok(()) }
            }
            End::Refused(report, next) => {
                writeln!(out, "refused   {}: it was not copied", clean(&self.source.to_string()))?;
                report_text(report, next.as_deref(), out)
            }
            End::Failed(e) => {
                writeln!(
                    out,
                    "failed    {}: {} ({})",
                    clean(&self.source.to_string()),
                    clean(&e.message),
                    e.code
                )?;
                if let Some(reason) = &e.reason {
                    writeln!(out, "  reason  {}", clean(reason))?;
                }
                e.next.iter().try_for_each(|next| writeln!(out, "  next    {}", clean(next)))
            }
            End::NotBegun => Ok(()),
        }
    }

    /// What is worth knowing about it; with several sources it says of which.
    pub(super) fn notes(&self, cx: &mut Context<'_, '_>, several: bool) {
        let End::Copied(copied) = &self.end else { return };
        let whose = if several { format!("{}: ", self.source) } else { String::new() };
        for tag in &copied.report.tags {
            if let TagAction::Kept { reason } = &tag.action {
                cx.note(
                    "copy.kept",
                    format!("{whose}{} stays as it is at the destination: {reason}", tag.tag),
                );
            }
        }
        for skipped in &copied.report.skipped {
            let why = match &skipped.reason {
                SkipReason::Elsewhere => "lies elsewhere, and the source does not have it".to_owned(),
                SkipReason::ReferrerGone { subject } => {
                    format!("is listed as a referrer of {subject}, and not there")
                }
                SkipReason::NotAReferrer { subject } => {
                    format!("is listed as a referrer of {subject}, and is none")
                }
                SkipReason::TagGone { tag } => format!("has the tag {tag} in the list, and nothing is there"),
            };
            cx.note("copy.skipped", format!("{whose}{} {why}", skipped.digest));
        }
        if let Some(denied) = &copied.unlisted {
            let place = self.source.at(None);
            cx.note(
                "copy.tags-unlisted",
                format!(
                    "{place} does not list its tags, or not all ({}): of other states only those of anchored or named \
                     collections were asked for, of cosign's tags only .sig, .att and .sbom",
                    denied.failure
                ),
            );
        }
        for missing in &copied.no_organisation {
            let over = match &missing.passed_over[..] {
                [] => String::new(),
                over => format!(" (passed over: {})", over.join("; ")),
            };
            cx.note(
                "copy.organisation-absent",
                format!(
                    "no state of the organisation {} was found that verifies{over}: who speaks for {} is not known at the far end",
                    missing.organisation,
                    self.source.at(None)
                ),
            );
        }
        let place = self.destination.at(None);
        let unconfirmed = &copied.confirmation.unconfirmed;
        for u in unconfirmed.iter().take(MAX_NAMED) {
            let says = match (&u.names, &u.listed) {
                (Some(names), Some(listed)) => format!("names {names}, and the state says {listed}"),
                _ => "is not listed by it any more".to_owned(),
            };
            cx.note(
                "copy.tag-unconfirmed",
                format!(
                    "a newer state of {} is at {place} now, and does not confirm the tag {} there: it {says}. \
                     Copy the release of that tag too, or take the tag away; bulla verify refuses it (a tag that moved \
                     to another release: from ten minutes after the move on)",
                    u.collection, u.tag
                ),
            );
        }
        if let Some(more) = unconfirmed.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            cx.note("copy.tag-unconfirmed", format!("{more} more tags at {place} are not confirmed either"));
        }
        for why in &copied.confirmation.unknown {
            cx.note(
                "copy.tag-unchecked",
                format!("not all tags at {place} could be compared with the newer state there: {why}"),
            );
        }
    }
}

impl Outcome for Single {
    fn exit(&self) -> Exit {
        self.0.exit()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.text(out)
    }

    fn json(&self) -> Value {
        self.0.json()
    }
}

impl Outcome for Rows {
    fn exit(&self) -> Exit {
        super::worst(self.rows.iter().map(Row::exit))
    }

    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = ["source", "destination", "result", "moved", "referrers"].map(str::to_owned).to_vec();
        let mut cells = vec![head];
        cells.extend(self.rows.iter().map(Row::cells));
        columns(out, &cells)?;
        for row in &self.rows {
            match &row.end {
                End::Copied(copied) if row.repair && !copied.report.mended.is_empty() => {
                    writeln!(out)?;
                    writeln!(out, "{}", clean(&row.destination.to_string()))?;
                    render::mended(&copied.report, out)?;
                }
                End::Refused(..) | End::Failed(_) => {
                    writeln!(out)?;
                    row.text(out)?;
                }
                End::Copied(_) | End::NotBegun => {}
            }
        }
        let copied: Vec<&Copied> = self.rows.iter().filter_map(Row::copied).collect();
        let moved = copied.iter().fold(0_u64, |sum, c| sum.saturating_add(c.report.bytes_moved));
        let referrers: usize = copied.iter().flat_map(|c| c.report.referrers.values()).sum();
        let dry = copied.iter().any(|c| c.report.dry_run);
        let (verb, listed) = if dry { ("would be copied", "to be listed") } else { ("copied", "listed") };
        writeln!(out)?;
        writeln!(
            out,
            "{} of {} {verb}, {} moved, {referrers} referrers {listed}",
            copied.len(),
            self.rows.len(),
            size(moved)
        )
    }

    fn json(&self) -> Value {
        let one = |row: &Row| {
            let mut out = row.json();
            let error = match &row.end {
                End::Failed(e) => {
                    json!({"code": e.code, "message": e.message, "reason": e.reason, "next": e.next})
                }
                _ => Value::Null,
            };
            (out["exitCode"], out["error"]) = (json!(row.exit() as u8), error);
            out
        };
        json!({"copies": self.rows.iter().map(one).collect::<Vec<_>>()})
    }
}

impl Row {
    fn copied(&self) -> Option<&Copied> {
        match &self.end {
            End::Copied(copied) => Some(copied),
            _ => None,
        }
    }
}
