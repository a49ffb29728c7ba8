//! What `revoke` did, for people and for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::cli::signing::{gathering_json, gathering_text, open_line, pending_json, reason as why_pending};
use crate::client::revoke::{Revoked, Status};
use crate::trust::MaterialKind;

pub(super) struct Done {
    revoked: Revoked,
    error: Option<CliError>,
}

impl Done {
    pub(super) fn new(revoked: Revoked) -> Self {
        let lacking: Vec<String> = revoked.lacking.iter().map(ToString::to_string).collect();
        let error = match revoked.status {
            Status::Revoked | Status::Unchanged | Status::Submitted => None,
            Status::Withdrawn => Some(
                CliError::new(Exit::No, "revoke.tombstone", "the entries went, but no tombstone stands yet")
                    .reason(format!(
                        "{}; until then it is refused as unlisted, and could be published again",
                        lacking.join("; ")
                    ))
                    .next("a holder of that key runs the same bulla revoke"),
            ),
            Status::Incomplete => {
                let open: Vec<String> = revoked.open.iter().map(open_line).collect();
                Some(
                    CliError::failed(
                        "publish.incomplete",
                        "the commit is in, but not everything was finished",
                    )
                    .reason(open.join("; "))
                    .next("run the same command again"),
                )
            }
        };
        Self { revoked, error }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Revoked => "revoked",
        Status::Unchanged => "unchanged",
        Status::Submitted => "submitted",
        Status::Withdrawn => "withdrawn",
        Status::Incomplete => "incomplete",
    }
}

impl Outcome for Done {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = &self.revoked;
        let material = r.material.as_ref().map(|m| format!("{} {}", m.kind.as_str(), m.subject));
        let bundle = r.bundle.as_ref().map(ToString::to_string);
        let what = material.or(bundle).unwrap_or_else(|| r.collection.to_string());
        writeln!(out, "{:<9} {what}", word(r.status))?;
        if let Some(e) = &r.entry {
            let by = e.by.as_deref().unwrap_or("unknown");
            writeln!(
                out,
                "          {} of {} by {}: {}",
                clean(&e.id),
                e.at,
                clean(by),
                clean(e.reason.as_deref().unwrap_or(""))
            )?;
        }
        if let Some(since) = r.entry.as_ref().and_then(|e| e.since) {
            writeln!(out, "          what is proven to be older than {since} is spared")?;
        }
        for path in &r.removed {
            writeln!(out, "removed   {}", clean(path))?;
        }
        for path in &r.listed {
            writeln!(
                out,
                "listed    {}  (its role's key is not here; the tombstone counts all the same)",
                clean(path)
            )?;
        }
        if let Some(seal) = &r.seal {
            writeln!(out, "seal      {seal}")?;
        }
        if r.gathering.is_some() {
            gathering_text(r.gathering.as_ref(), out)?;
        } else if r.status == Status::Submitted {
            for tag in &r.submitted {
                writeln!(out, "          waits at {tag} for bulla renew by who holds the online key")?;
            }
        }
        for remains in remaining(r) {
            writeln!(out, "remains   {remains}")?;
        }
        for waiting in &r.pending {
            writeln!(out, "pending   {}  {}", clean(waiting.tag.as_str()), why_pending(waiting))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let r = &self.revoked;
        let signed = r.signed.iter().map(|(role, (v, e))| json!({"role": role, "version": v, "expires": e}));
        let entry = r.entry.as_ref().map(|e| {
            json!({
                "id": e.id, "kind": e.kind.as_str(), "at": e.at, "by": e.by, "reason": e.reason, "subject": e.digest,
                "since": e.since, "undoes": e.undoes,
            })
        });
        let roles = r
            .roles
            .iter()
            .map(|(role, t)| json!({"role": role, "key": t.key, "by": t.by, "stands": t.stands}));
        json!({
            "status": word(r.status),
            "collection": r.collection,
            "state": {"reference": r.state.to_string(), "digest": r.digest},
            "bundle": r.bundle,
            "roles": roles.collect::<Vec<_>>(),
            "remains": remaining(r),
            "entry": entry,
            "removed": r.removed,
            "listed": r.listed,
            "lacking": r.lacking.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "seal": r.seal,
            "signed": signed.collect::<Vec<_>>(),
            "submitted": r.submitted,
            "gathering": gathering_json(r.gathering.as_ref()),
            "pending": pending_json(&r.pending),
            "open": r.open.iter().map(open_line).collect::<Vec<_>>(),
        })
    }
}

/// What remains to be done, and by whom.
fn remaining(r: &Revoked) -> Vec<String> {
    let Some(material) = &r.material else { return Vec::new() };
    let mut out: Vec<String> = r
        .roles
        .iter()
        .map(|(role, rotation)| {
            let until = match rotation.stands {
                true => "it has signatures enough without it",
                false => "until then nothing that rests on it is trusted",
            };
            format!(
                "{role} has this key: whoever signs {} gives it another (bulla tuf propose --remove-key {role}={} --add-key {role}=KEY); {until}",
                rotation.by,
                rotation.key.short()
            )
        })
        .collect();
    if out.is_empty() {
        out.push(format!(
            "deployers whose anchors take rescissions from {} refuse it: bulla trust add … --rescissions {}",
            r.collection, r.collection
        ));
    }
    if material.kind == MaterialKind::Certificate {
        out.push("the CA that issued it still lists it as good: ask it to revoke it, too".to_owned());
    }
    out
}
