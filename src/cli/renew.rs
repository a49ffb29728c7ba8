//! `bulla renew`: keep a collection alive.

mod rounds;
mod turn;

use std::io::{self, Write};

use serde_json::{Value, json};

use super::args::Format;
use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean};
use super::signing::{
    SigningArgs, gathering_json, gathering_text, losers_json, losers_text, open_line, pending_json, reason,
};
use super::tuf::proposal::{Source, signers_json, signers_text, write};
use crate::client::ceremony::CeremonyError;
use crate::client::commit::Reason;
use crate::client::renew::{Renewed, Status};
use crate::keys::KeyRef;
use crate::oci::Reference;
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::RoleName;
use crate::tuf::proposal::{Difference, Needed};
use turn::{Shown, Work};

/// Keep a collection alive: admit what was submitted, re-sign what is due, finish what was left undone
///
/// Made to run from a scheduler with the online key only. When nothing is due and nothing was submitted it writes
/// nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla renew registry.example.com/team/app\n  bulla renew registry.example.com/team/app --role targets --targets-key ./targets.pem\n  bulla renew registry.example.com/team/app --loop --every 6h\n  bulla renew registry.example.com/org --organisation"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Re-sign this role now, due or not; the only way to re-sign root and targets (can be repeated)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Vec<RoleName>,
    /// Sign timestamp or snapshot now, valid for this long from now on, as in timestamp=7d (can be repeated)
    #[arg(long, value_name = "ROLE=DURATION", value_parser = life, conflicts_with = "output")]
    expires: Vec<(RoleName, Duration)>,
    /// What waits for keys on machines without network goes there as a proposal, for bulla tuf approve and commit
    #[arg(long, value_name = "FILE|oci:DIR", conflicts_with_all = ["forever", "organisation"])]
    output: Option<Source>,
    /// Hang a fresh seal on every release, as after keys were replaced
    #[arg(long)]
    reseal: bool,
    /// A root key that is not in the key folder (can be repeated)
    #[arg(long, value_name = "KEY")]
    root_key: Vec<KeyRef>,
    /// The targets key, when it is not in the key folder
    #[arg(long, value_name = "KEY")]
    targets_key: Option<KeyRef>,
    /// REPO is an organisation's: renew it, and each of its members whose keys are here
    #[arg(long, conflicts_with_all = ["role", "expires", "lock"])]
    organisation: bool,
    /// Run for ever: renew, rest, renew again
    #[arg(long = "loop", conflicts_with_all = ["role", "expires", "reseal"])]
    forever: bool,
    /// With --loop: rest at most this long
    #[arg(long, value_name = "DURATION", default_value = "6h", requires = "forever")]
    every: Duration,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(
    args: Args,
    format: Format,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    if args.place.selector().is_some() {
        return Err(CliError::usage(format!("{} names a bundle", args.place))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    if args.forever {
        cx.serve();
        return rounds::run(&args, format, cx);
    }
    let more: Vec<KeyRef> = args.root_key.iter().chain(&args.targets_key).cloned().collect();
    let desk = args.signing.desk(cx, &args.registry, &args.place, &more)?;
    let places = args.registry.places(cx, &[&args.place])?;
    let clock = cx.clock();
    let (trust, memory) = (cx.trust().load()?, cx.memory().to_owned());
    let work = Work { args: &args, desk: &desk, trust: &trust, memory: &memory, clock: &*clock };
    let turn = block_on(work.once(&places));
    desk.ring.note_warnings(cx);
    let turn = turn??;
    turn.renewed().for_each(|renewed| note(renewed, cx));
    let mut shown = Shown::new(&turn, cx.now());
    if let (Some(to), Ok(done)) = (&args.output, &mut shown.own) {
        done.left = left(&done.renewed, to, &args.registry, cx)?;
    }
    Ok(Box::new(shown))
}

/// Leave what waits as a proposal.
fn left(
    renewed: &Renewed,
    to: &Source,
    registry: &RegistryArgs,
    cx: &mut Context<'_, '_>,
) -> Result<Option<Left>, CliError> {
    let Some((proposal, base)) = &renewed.travels else { return Ok(None) };
    let (difference, needed) =
        (proposal.difference(base), proposal.signers(base).map_err(CeremonyError::from)?);
    let at = write(proposal, to, registry, cx)?;
    Ok(Some(Left { id: proposal.id(), at, difference, needed }))
}

/// A next snapshot and timestamp as a proposal.
struct Left {
    id: String,
    at: String,
    difference: Difference,
    needed: Vec<Needed>,
}

impl Left {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "proposed  {}", self.at)?;
        write!(out, "{}", self.difference)?;
        signers_text(&self.needed, out)
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "at": self.at, "difference": self.difference.to_json(),
            "signers": signers_json(&self.needed),
        })
    }
}

/// What is worth knowing about a renewal.
fn note(renewed: &Renewed, cx: &mut Context<'_, '_>) {
    if renewed.repaired {
        cx.note("state.behind", "the live state was older than the memory, or gone, and was put right");
    }
    for digest in &renewed.finished.absent {
        cx.note("renew.absent", format!("{digest} is not here: no seal was hung on it and no tag set"));
    }
}

/// A role by its name, or by the last part of it.
fn role(text: &str) -> Result<RoleName, String> {
    match text {
        "root" | "targets" | "snapshot" | "timestamp" => text.parse().map_err(|e| format!("{e}")),
        "releases" | "targets/releases" => Ok(RoleName::releases()),
        "revocations" | "targets/revocations" => Ok(RoleName::revocations()),
        _ => Err("roles: root, targets, releases, revocations, snapshot, timestamp".to_owned()),
    }
}

/// A lifetime of one of the roles whose files say nothing else of their own.
fn life(text: &str) -> Result<(RoleName, Duration), String> {
    let (role, life) = text.split_once('=').ok_or("expected ROLE=DURATION, as in timestamp=7d")?;
    match role {
        "timestamp" | "snapshot" => {
            Ok((role.parse().map_err(|e| format!("{e}"))?, life.parse().map_err(|e| format!("{e}"))?))
        }
        _ => Err("roles: timestamp, snapshot; of others bulla tuf propose --expires changes it".to_owned()),
    }
}

pub(super) struct Done {
    renewed: Renewed,
    error: Option<CliError>,
    /// What waits, where it was written as a proposal.
    left: Option<Left>,
}

impl Done {
    pub(super) fn new(renewed: Renewed, now: UnixTime) -> Self {
        let error = match renewed.status {
            Status::Renewed | Status::Current | Status::Waiting => None,
            Status::Pending => Some(
                CliError::new(Exit::No, "renew.fork", "two versions of a role stand beside each other")
                    .reason("only a holder of the role's key may merge them; the timestamp was renewed all the same")
                    .next("a holder of that key runs bulla renew or bulla publish"),
            ),
            Status::Overdue => {
                let overdue = renewed.due.iter().filter(|d| d.expires <= now || (d.from <= now && !d.key_here));
                let lines: Vec<String> = overdue
                    .map(|d| {
                        let keys: Vec<&str> = d.keys.iter().map(|k| k.short()).collect();
                        format!("{} expires {}, signed by {}", d.role, d.expires, keys.join(" or "))
                    })
                    .collect();
                Some(
                    CliError::new(Exit::No, "renew.overdue", "a role is past half its life, and its key is not here")
                        .reason(lines.join("; "))
                        .next("run bulla renew where that key is"),
                )
            }
            Status::Incomplete => {
                let mut open: Vec<String> = renewed.finished.open.iter().map(open_line).collect();
                let passed_over = renewed.pending.iter().filter(|p| p.reason == Reason::NotLookedAt).count();
                if passed_over > 0 {
                    open.push(format!("{passed_over} submissions more than are looked at"));
                }
                Some(
                    CliError::failed("publish.incomplete", "the commit is in, but not everything was finished")
                        .reason(open.join("; "))
                        .next("run the same command again"),
                )
            }
        };
        Self { renewed, error, left: None }
    }
}

/// What was signed, for people.
fn signed(renewed: &Renewed) -> String {
    let all: Vec<String> = renewed
        .signed
        .iter()
        .map(|(role, (version, _))| format!("{} {version}", clean(role.as_str())))
        .collect();
    match (all.is_empty(), &renewed.gathering) {
        (false, _) => all.join("   "),
        (true, Some(_)) => "for more signatures".to_owned(),
        (true, None) => "nothing due".to_owned(),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Renewed => "renewed",
        Status::Current => "current",
        Status::Waiting => "waiting",
        Status::Pending => "pending",
        Status::Overdue => "overdue",
        Status::Incomplete => "incomplete",
    }
}

impl Outcome for Done {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = &self.renewed;
        writeln!(out, "{:<9} {}   {}", word(r.status), r.collection, signed(r))?;
        for a in &r.admitted {
            writeln!(out, "admitted  {}  {} {}", a.tag, clean(a.role.as_str()), a.version)?;
        }
        match &self.left {
            Some(left) => left.text(out)?,
            None => gathering_text(r.gathering.as_ref(), out)?,
        }
        for p in &r.pending {
            writeln!(out, "pending   {}  {}", p.tag, reason(p))?;
        }
        losers_text(&r.losers, out)?;
        for digest in &r.finished.seals {
            writeln!(out, "finished  seal on {digest}")?;
        }
        for (tag, digest) in &r.finished.tags {
            writeln!(out, "finished  tag {tag} on {digest}")?;
        }
        for tag in &r.deleted {
            writeln!(out, "deleted   {tag}")?;
        }
        if let Some(next) = r.due.first() {
            let key = if next.key_here { "" } else { " (its key is not here)" };
            writeln!(out, "next due  {} {}{key}", clean(next.role.as_str()), next.from)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let r = &self.renewed;
        let signed = r.signed.iter().map(|(role, (v, e))| json!({"role": role, "version": v, "expires": e}));
        let admitted = r.admitted.iter().map(|a| json!({"tag": a.tag, "role": a.role, "version": a.version}));
        let due = r.due.iter().map(|d| {
            json!({"role": d.role, "renewFrom": d.from, "expires": d.expires, "keyHere": d.key_here, "keys": d.keys})
        });
        json!({
            "status": word(r.status),
            "collection": r.collection,
            "state": {"reference": r.state.to_string(), "digest": r.digest},
            "signed": signed.collect::<Vec<_>>(),
            "admitted": admitted.collect::<Vec<_>>(),
            "gathering": gathering_json(r.gathering.as_ref()),
            "proposal": self.left.as_ref().map(Left::json),
            "pending": pending_json(&r.pending),
            "displaced": losers_json(&r.losers),
            "finished": {"seals": r.finished.seals, "tags": r.finished.tags, "deleted": r.deleted, "absent": r.finished.absent},
            "open": r.finished.open.iter().map(open_line).collect::<Vec<_>>(),
            "conflicts": {"commits": r.commits, "merged": r.merged},
            "due": due.collect::<Vec<_>>(),
        })
    }
}
