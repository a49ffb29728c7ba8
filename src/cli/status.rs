//! `bulla status`: what expires when, and who must act.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::context::{Context, block_on_and_tidy};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, columns, span};
use super::signing::{anchor, state_place};
use crate::client::commit::survey::{self, Waiting};
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::client::signing::KeyRing;
use crate::client::status::{Condition, KeyStatus, Request, RoleStatus, Standing, Status, status};
use crate::keys::{KeyError, KeyFolder, Signer};
use crate::oci::Reference;
use crate::sig::PublicKey;
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::CollectionName;

/// Say what expires when, who can renew it, and what waits
///
/// Reads the state, verifies it, compares it with what is remembered here, and changes nothing. Exits with 1 when a role
/// is expired or expires soon, or when the state is older than what is remembered.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla status registry.example.com/team/app\n  bulla status registry.example.com/team/app --within 30d --format json"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Exit with 1 when a role expires sooner than this
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    within: Duration,
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<CollectionName>,
    /// Compare with the memory in FILE besides the one in the home
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if args.place.selector().is_some() {
        return Err(CliError::usage(format!("{} names a bundle", args.place))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    let anchor = anchor(&cx.trust(), &args.place, args.named.as_ref())?;
    let mut memories = vec![Memory::in_dir(cx.memory(), &anchor.collection)];
    memories.extend(args.lock.iter().map(|file| Memory::in_file(file, &anchor.collection)));
    let keys = Here::of(&cx.keys())?;
    for (name, why) in &keys.unreadable {
        cx.note("key.unreadable", format!("{name} cannot be read, so whose key it is is not known: {why}"));
    }
    let places = args.registry.places(cx, &[&args.place])?;
    let clock = cx.clock();
    let status = block_on_and_tidy(places.hosts(), async {
        let own = places.open(&args.place).await?;
        let store = state_place(&places, &own, &anchor).await?;
        let request = Request {
            collection: anchor.collection.clone(),
            anchor: anchor.root.bytes().clone(),
            store: &*store,
            memories: &memories,
            keys: &keys,
            clock: &*clock,
            within: args.within.secs(),
        };
        status(request).await.map_err(CliError::from)
    })??;
    Ok(Box::new(Seen::new(status, args.within, keys, cx.now())))
}

/// The keys whose private half is here, by name; none is opened.
struct Here {
    keys: HashMap<PublicKey, String>,
    /// What could be any key, and why it cannot be told.
    unreadable: Vec<(String, String)>,
}

impl Here {
    fn of(folder: &KeyFolder) -> Result<Self, CliError> {
        let (mut keys, mut unreadable) = (HashMap::new(), Vec::new());
        for listed in folder.list()? {
            match listed.entry {
                Ok(entry) if entry.private => match entry.public {
                    Some(public) => drop(keys.insert(public, entry.name)),
                    None => unreadable.push((entry.name, "there is no public key beside it".to_owned())),
                },
                Ok(_) => {}
                Err(e) => unreadable.push((listed.name.to_string(), e.to_string())),
            }
        }
        Ok(Self { keys, unreadable })
    }
}

#[async_trait]
impl KeyRing for Here {
    fn holds(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    async fn signer(&self, key: &PublicKey) -> Result<Arc<dyn Signer>, KeyError> {
        Err(KeyError::Absent { key: key.key_id().to_string(), path: PathBuf::new(), known: Vec::new() })
    }
}

struct Seen {
    status: Status,
    within: Duration,
    keys: Here,
    now: UnixTime,
    error: Option<CliError>,
}

impl Seen {
    fn new(status: Status, within: Duration, keys: Here, now: UnixTime) -> Self {
        let error = fault(&status);
        Self { status, within, keys, now, error }
    }

    fn name(&self, key: &KeyStatus) -> Option<&str> {
        key.key.as_ref().and_then(|k| self.keys.keys.get(k)).map(String::as_str)
    }

    /// Who can renew a role, for people.
    fn who(&self, role: &RoleStatus) -> String {
        let keys: Vec<String> = role
            .keys
            .iter()
            .map(|k| match self.name(k) {
                Some(name) if k.here => format!("{name} (here)"),
                _ if self.keys.unreadable.is_empty() => k.id.short().to_owned(),
                _ => format!("{} (unknown)", k.id.short()),
            })
            .collect();
        let of = if role.keys.len() > 1 { format!("{} of ", role.threshold) } else { String::new() };
        format!("{of}{}", keys.join(", "))
    }
}

/// What is wrong, if anything is: the worst first.
fn fault(status: &Status) -> Option<CliError> {
    match status.standing {
        Standing::Absent => {
            return Some(
                CliError::new(Exit::No, "state.absent", format!("there is no state at {}", status.state))
                    .reason("shown is what is remembered here")
                    .next("bulla renew puts it back, where the online key is"),
            );
        }
        Standing::Behind => {
            return Some(
                CliError::new(
                    Exit::No,
                    "status.behind",
                    "the live state is older than what is remembered here",
                )
                .reason("it was rolled back, or the registry shows an old copy")
                .next("bulla renew puts it right, where the online key is; then find out who moved it"),
            );
        }
        Standing::Newest | Standing::Unremembered => {}
    }
    let soon: Vec<&RoleStatus> = status.roles.iter().filter(|r| r.condition >= Condition::Expiring).collect();
    let first = soon.first()?;
    let line = |r: &&RoleStatus| match r.condition {
        Condition::Expired => format!("{} expired {}", r.role, r.expires),
        _ => format!("{} expires {}", r.role, r.expires),
    };
    let by_hand: Vec<&str> = soon.iter().filter(|r| r.is_by_hand()).map(|r| r.role.as_str()).collect();
    let next = match by_hand.first() {
        Some(role) => format!("who holds the key runs bulla renew with --role {role}"),
        None => "run bulla renew where the key is".to_owned(),
    };
    let (code, what) = match status.condition() {
        Condition::Expired => ("status.expired", "is expired"),
        _ => ("status.expiring", "expires soon"),
    };
    let reason = soon.iter().map(line).collect::<Vec<_>>().join("; ");
    Some(CliError::new(Exit::No, code, format!("{} {what}", first.role)).reason(reason).next(next))
}

fn word(status: &Status) -> &'static str {
    match (status.standing, status.condition()) {
        (Standing::Absent, _) => "absent",
        (Standing::Behind, _) => "behind",
        (_, Condition::Expired) => "expired",
        (_, Condition::Expiring) => "expiring",
        (_, Condition::Fresh | Condition::Due) => "current",
    }
}

fn standing(status: &Status) -> (&'static str, &'static str) {
    match status.standing {
        Standing::Newest => ("newest", "verified; nothing newer is known here"),
        Standing::Unremembered => ("unremembered", "verified; nothing is remembered here to compare it with"),
        Standing::Behind => ("behind", "verified; something newer is remembered here"),
        Standing::Absent => ("absent", "not there; this is what is remembered here"),
    }
}

fn condition(role: &RoleStatus) -> &'static str {
    match role.condition {
        Condition::Fresh => "fresh",
        Condition::Due => "due",
        Condition::Expiring => "expiring",
        Condition::Expired => "expired",
    }
}

fn waits(w: &Waiting) -> (&'static str, String) {
    match &w.standing {
        survey::Standing::Ready => ("ready", "the next renewal admits it".into()),
        survey::Standing::Fork => ("fork", "a holder of the role's key must merge it".into()),
        survey::Standing::Stale => ("stale", "not related to the live role: never admitted".into()),
        survey::Standing::Ahead => ("ahead", "so much newer that the live state must be old".into()),
        survey::Standing::Invalid(why) => ("invalid", why.clone()),
        survey::Standing::NotLookedAt => ("not-looked-at", "there are more than are looked at".into()),
    }
}

impl Outcome for Seen {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let s = &self.status;
        writeln!(out, "{:<9} {}   as of {}", word(s), s.collection, s.as_of)?;
        let digest = s.digest.as_ref().map(|d| format!("  {d}")).unwrap_or_default();
        writeln!(out, "          {}{digest}", s.state)?;
        writeln!(out, "          {}", standing(s).1)?;
        let rows: Vec<Vec<String>> = s
            .roles
            .iter()
            .map(|r| {
                let left = match r.expires.secs() - self.now.secs() {
                    left if left > 0 => format!("in {}", span(left)),
                    over => format!("{} ago", span(-over)),
                };
                let role = format!("  {:<9} {}", condition(r), super::render::clean(r.role.as_str()));
                vec![role, format!("expires {}", r.expires), left, self.who(r)]
            })
            .collect();
        columns(out, &rows)?;
        for w in &s.waiting {
            let role = super::render::clean(w.role.as_ref().map_or("unknown role", |r| r.as_str()));
            writeln!(
                out,
                "  waiting   {}  {role} {}: {}",
                w.tag,
                w.version,
                super::render::clean(&waits(w).1)
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let s = &self.status;
        // A key that cannot be read could be any of those that were not found.
        let known = self.keys.unreadable.is_empty();
        let or_unknown = |yes: bool| (yes || known).then_some(yes);
        let key = |k: &KeyStatus| json!({"keyId": k.id, "here": or_unknown(k.here), "name": self.name(k).filter(|_| k.here)});
        let role = |r: &RoleStatus| {
            json!({
                "role": r.role, "version": r.version, "expires": r.expires, "renewFrom": r.renew_from,
                "condition": condition(r), "byHand": r.is_by_hand(), "threshold": r.threshold,
                "canRenew": or_unknown(r.can_renew()), "keys": r.keys.iter().map(key).collect::<Vec<_>>(),
            })
        };
        let waiting = |w: &Waiting| {
            let (standing, why) = waits(w);
            json!({"tag": w.tag, "role": w.role, "version": w.version, "standing": standing, "why": why})
        };
        json!({
            "status": word(s),
            "collection": s.collection,
            "state": {"reference": s.state.to_string(), "digest": s.digest},
            "standing": standing(s).0,
            "asOf": s.as_of,
            "now": self.now,
            "within": self.within,
            "roles": s.roles.iter().map(role).collect::<Vec<_>>(),
            "waiting": s.waiting.iter().map(waiting).collect::<Vec<_>>(),
        })
    }
}
