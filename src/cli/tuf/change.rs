//! What `delegate`, `undelegate` and `grant` share: a change of delegations is committed at once, or left as a proposal where keys
//! are missing.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::desk::{Found, SignArgs};
use super::proposal::{LeaveArgs, lacking, signers_json, write};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::{Outcome, clean};
use crate::cli::signing::{gathering_json, gathering_text, pending_json, reason};
use crate::client::delegation::{Changed, Edit, Open, change};
use crate::oci::Reference;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::grant::{Grant, Terms, Vetting};
use crate::tuf::{PathPattern, RoleName, Signers};

/// Who changes delegations, and where the proposal goes when keys are missing here.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ChangeArgs {
    /// The role that delegates
    #[arg(long, value_name = "ROLE", default_value = "targets/releases", value_parser = super::role_name)]
    pub(super) under: RoleName,
    #[command(flatten)]
    leave: LeaveArgs,
    #[command(flatten)]
    sign: SignArgs,
}

/// On which terms a role is delegated.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct OfferArgs {
    /// No role that comes later is asked for what this one may speak for
    #[arg(long)]
    terminating: bool,
    /// For how long a file that the role signs may be valid
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: Duration,
    /// The role may delegate a part of its scope to others
    #[arg(long)]
    may_delegate: bool,
}

impl OfferArgs {
    pub(super) fn grant(
        &self,
        role: RoleName,
        signers: Signers,
        paths: Vec<PathPattern>,
        at: UnixTime,
        vetting: Option<Vetting>,
    ) -> Grant {
        let lifetime = self.expires.secs().unsigned_abs();
        let terms = Terms { at, lifetime, delegates: self.may_delegate, vetting };
        Grant { role, signers, paths, terminating: self.terminating, terms }
    }
}

impl ChangeArgs {
    /// Make the change that `edit` comes to, or leave it to those whose keys are missing; and tell how it ended.
    pub(super) fn run(
        self,
        cx: &mut Context<'_, '_>,
        place: &Reference,
        edit: impl AsyncFnOnce(&Found, &dyn Manage) -> Result<Edit, CliError>,
    ) -> Result<Box<dyn Outcome>, CliError> {
        let (under, registry) = (self.under, self.sign.registry());
        let (edit, changed) = self.sign.at(cx, place, async |found, store| {
            let edit = edit(found, store).await?;
            let changed = change(&found.desk(store), &under, edit.clone()).await?;
            Ok((edit, changed))
        })?;
        let left = match &changed.open {
            Some(open) => {
                let to = self.leave.to(place, &open.proposal);
                Some(write(&open.proposal, &to, &registry, cx)?)
            }
            None => None,
        };
        let (verb, role, paths) = match edit {
            Edit::Grant(grant) => ("delegated", grant.role, grant.paths),
            Edit::TakeBack(role) => ("taken back", role, Vec::new()),
        };
        let paths = paths.iter().map(ToString::to_string).collect();
        Ok(Box::new(Done { verb, role, paths, changed, left, place: place.to_string() }))
    }
}

/// A change that was made, or proposed.
struct Done {
    verb: &'static str,
    role: RoleName,
    paths: Vec<String>,
    changed: Changed,
    left: Option<String>,
    place: String,
}

impl Done {
    fn status(&self) -> &'static str {
        match (&self.changed.open, self.changed.committed) {
            (Some(_), _) => "proposed",
            (None, true) => "committed",
            (None, false) => "submitted",
        }
    }

    fn proposed(&self, open: &Open, at: &str, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", open.proposal.difference(&open.base))?;
        writeln!(out, "missing    {}", lacking(&open.needed))?;
        writeln!(out, "written    {at}")?;
        writeln!(out, "next       whoever has a missing key: bulla tuf approve {at}")?;
        writeln!(out, "           then: bulla tuf commit {at} --at {}", self.place)
    }
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let c = &self.changed;
        let verb = if c.committed { self.verb } else { self.status() };
        let line = format!("{verb:<10} {}   {}", clean(self.role.as_str()), clean(&self.paths.join("  ")));
        writeln!(out, "{}", line.trim_end())?;
        if let (Some(open), Some(at)) = (&c.open, &self.left) {
            return self.proposed(open, at, out);
        }
        let version = c.version.map_or_else(String::new, |v| format!(" {v}"));
        match c.committed {
            true => writeln!(out, "           {}{version} says so now", c.by)?,
            false if c.gathering.is_some() => gathering_text(c.gathering.as_ref(), out)?,
            false => {
                for tag in &c.submitted {
                    writeln!(out, "           waits at {tag} for bulla renew by who holds the online key")?;
                }
            }
        }
        for p in &c.pending {
            writeln!(out, "pending    {}  {}", clean(p.tag.as_str()), reason(p))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let c = &self.changed;
        let open = c.open.as_ref().map(|open| {
            json!({
                "id": open.proposal.id(), "at": self.left, "signers": signers_json(&open.needed),
                "difference": open.proposal.difference(&open.base).to_json(),
            })
        });
        json!({
            "status": self.status(),
            "role": self.role,
            "by": c.by,
            "paths": self.paths,
            "version": c.version,
            "submitted": c.submitted,
            "gathering": gathering_json(c.gathering.as_ref()),
            "pending": pending_json(&c.pending),
            "proposal": open,
        })
    }
}
