//! `bulla audit`: which key brought which bundle, and is any of them here?

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean};
use super::signing::anchor;
use crate::client::audit::{AuditError, Audited, Introduced, Place, Request, audit};
use crate::client::installed::Log;
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::oci::Reference;
use crate::time::UnixTime;
use crate::tuf::CollectionName;

/// Say which key brought which bundle, and whether any of them was verified or copied here
///
/// Told from consecutive versions of the role files and their signatures, never from what the files say of themselves.
/// Several places of one collection are taken together: a mirror may keep what the registry lost.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla audit registry.example.com/team/app mirror.example.net/team/app --signed-by 0c4e9a2f\n  bulla audit registry.example.com/team/app --since 2026-11-01T00:00:00Z"
)]
pub(super) struct Args {
    /// Where the state, and copies of it, lie: host/repository or oci:DIR
    #[arg(value_name = "REPO", required = true)]
    places: Vec<Reference>,
    /// Only what this key signed: its id, or the first 8 digits or more
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    signed_by: Option<String>,
    /// Only what was signed since then (2026-11-01T00:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<UnixTime>,
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<CollectionName>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Fewest digits of a key id.
const KEY_DIGITS: usize = 8;

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if let Some(place) = args.places.iter().find(|p| p.selector().is_some()) {
        return Err(CliError::usage(format!("{place} names a bundle"))
            .next("write the repositories and OCI layouts alone, without tag and digest"));
    }
    let key = args.signed_by.map(|k| k.to_ascii_lowercase());
    let is_id = |k: &String| (KEY_DIGITS..=64).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_hexdigit());
    if key.as_ref().is_some_and(|k| !is_id(k)) {
        return Err(CliError::usage("--signed-by takes a key id: 8 to 64 hex digits")
            .next("bulla key list and bulla inspect show them"));
    }
    let first = args.places.iter().find(|p| anchor(&cx.trust(), p, args.named.as_ref()).is_ok());
    let anchor = anchor(&cx.trust(), first.unwrap_or(&args.places[0]), args.named.as_ref())?;
    let places = args.registry.places(cx, &args.places.iter().collect::<Vec<_>>())?;
    let Log { lines: installed, unread, dropped, torn } =
        cx.installed().load_counted().map_err(|e| CliError::io("read", cx.installed().path(), e))?;
    // What is asked for came later than all that went: it cannot have been among it.
    let gone = dropped.filter(|d| args.since.is_none_or(|since| d.until >= since)).map_or(0, |d| d.dropped);
    if torn {
        let path = cx.installed().path().display().to_string();
        cx.note(
            "installed.torn",
            format!("the last line of {path} is cut off: a crash; it is set aside with the next one"),
        );
    }
    let memory = Memory::in_dir(cx.memory(), &anchor.collection);
    let asked = key.is_some() || args.since.is_some();
    let now = cx.now();
    let audited = block_on(async {
        let mut stores = Vec::new();
        for place in &args.places {
            stores.push(places.open(place).await?);
        }
        let request = Request {
            collection: anchor.collection.clone(),
            anchor: anchor.root.bytes().clone(),
            places: stores,
            memory: &memory,
            key,
            since: args.since,
            installed: &installed,
            unread: unread + gone,
            now,
        };
        audit(request).await.map_err(CliError::from)
    })??;
    Ok(Box::new(Done { error: verdict(&audited, asked), audited, asked }))
}

/// Past this many lines the rest is counted only.
const LINES: usize = 8;

fn verdict(audited: &Audited, asked: bool) -> Option<CliError> {
    let affected: BTreeSet<String> = audited.affected(asked).map(|i| i.digest.to_string()).collect();
    let unreadable: Vec<String> = audited
        .places
        .iter()
        .filter_map(|p| p.unreadable.as_ref().map(|why| format!("{}: {why}", p.at)))
        .collect();
    let named: Vec<String> = affected.iter().take(LINES).cloned().collect();
    let here = format!("{} affected here: {}", affected.len(), named.join(", "));
    if !unreadable.is_empty() {
        let also = if affected.is_empty() { String::new() } else { format!("; {here}") };
        return Some(
            CliError::failed("audit.unreadable", "not every place could be looked at")
                .reason(format!("{}{also}", unreadable.join("; ")))
                .next("run it again when they can be reached, or without them"),
        );
    }
    if !affected.is_empty() {
        return Some(
            CliError::new(
                Exit::No,
                "audit.affected",
                "bundles that were verified or copied here are affected",
            )
            .reason(here)
            .next("take them out of use where they run, and take another release"),
        );
    }
    let undated: BTreeSet<String> = audited.undated().map(|i| i.digest.to_string()).collect();
    if !undated.is_empty() {
        let some: Vec<String> = undated.iter().take(LINES).cloned().collect();
        return Some(
            CliError::failed(
                "audit.undated",
                "when bundles came that were verified or copied here, only their signer says",
            )
            .reason(format!(
                "{} here are dated before that time, and no other key bears it out: {}",
                undated.len(),
                some.join(", ")
            ))
            .next("name a mirror or an OCI layout from before that time, or ask by key: --signed-by"),
        );
    }
    if !audited.is_whole() {
        let gaps: Vec<String> =
            audited.gaps.iter().take(LINES).map(|g| format!("{} {}", g.role, g.version)).collect();
        let doubts = audited.places.iter().filter_map(|p| Some(format!("{}: {}", p.at, p.doubt()?)));
        let mut why: Vec<String> = doubts.collect();
        match &audited.list_fault {
            Some(list) => why.push(format!("the revocation list cannot be read: {list}")),
            None if !audited.judged && audited.memory_fault.is_none() => {
                why.push("no state that verifies under the newest root".into());
            }
            None if !audited.is_current() => {
                why.push("no place shows a state under the newest root: what was published there since is not seen".into());
            }
            None => {}
        }
        if let Some(fault) = &audited.memory_fault {
            why.push(format!("what is remembered here: {fault}"));
        }
        for role in &audited.crowded {
            why.push(format!(
                "as many versions of {role} beside the live line as are kept: there may have been more"
            ));
        }
        if !gaps.is_empty() {
            why.push(format!("{} versions are missing: {}", audited.gaps.len(), gaps.join(", ")));
        }
        if audited.cut {
            why.push("more bundles than are looked for".into());
        }
        if audited.unread > 0 {
            why.push(format!("{} lines of the log of this installation are gone, for there were too many, or cannot be read", audited.unread));
        }
        return Some(
            CliError::failed(
                "audit.gap",
                "nothing here is affected by what could be seen, but not all could be seen",
            )
            .reason(why.join("; "))
            .next("name mirrors and OCI layouts that copied the collection earlier: they may keep them"),
        );
    }
    None
}

struct Done {
    audited: Audited,
    asked: bool,
    error: Option<CliError>,
}

impl Outcome for Done {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let a = &self.audited;
        writeln!(out, "audited   {}   {} versions of {} roles", a.collection, a.versions, a.from.len())?;
        for place in &a.places {
            writeln!(out, "place     {}   {}", clean(&place.at.to_string()), clean(&said(place)))?;
        }
        for gap in a.gaps.iter().take(LINES) {
            writeln!(out, "missing   {} {}  sha256:{}", gap.role, gap.version, gap.hash)?;
        }
        if a.gaps.len() > LINES {
            writeln!(out, "missing   and {} more", a.gaps.len() - LINES)?;
        }
        for one in &a.introduced {
            self.one(one, out)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let a = &self.audited;
        let places = a.places.iter().map(|p| {
            json!({
                "place": p.at.to_string(), "state": p.state, "fault": p.fault, "underRoot": p.under, "history": p.history,
                "missing": p.missing, "unreadable": p.unreadable,
            })
        });
        let gaps = a.gaps.iter().map(|g| json!({"role": g.role, "version": g.version, "sha256": g.hash}));
        json!({
            "collection": a.collection,
            "places": places.collect::<Vec<_>>(),
            "versions": a.versions,
            "from": a.from,
            "foreign": a.foreign,
            "whole": a.is_whole(),
            "judged": a.judged,
            "listFault": a.list_fault,
            "memoryFault": a.memory_fault,
            "crowded": a.crowded,
            "unreadLines": a.unread,
            "gaps": gaps.collect::<Vec<_>>(),
            "introduced": a.introduced.iter().map(as_json).collect::<Vec<_>>(),
            "affected": a.affected(self.asked).map(|i| i.digest.to_string()).collect::<BTreeSet<_>>(),
        })
    }
}

impl Done {
    fn one(&self, i: &Introduced, out: &mut dyn Write) -> io::Result<()> {
        let keys: Vec<&str> = i.keys.iter().map(|k| k.short()).collect();
        let how = match (i.certain, i.in_line) {
            (true, true) => "",
            (true, false) => "  not in the live line",
            (false, true) => "  or in a version before that is missing",
            (false, false) => "  not in the live line; or in a version before that is missing",
        };
        let (role, version, keys) = (&i.role, i.version, keys.join(" "));
        let undated = if i.undated { "  as only its signer says" } else { "" };
        writeln!(out, "brought   {}  {role} {version}  signed by {keys}  {}{undated}{how}", i.digest, i.at)?;
        let part = if i.part { "  as a part" } else { "" };
        let paths: Vec<&str> = i.paths.iter().map(String::as_str).collect();
        writeln!(out, "          {}{part}", clean(&paths.join("  ")))?;
        let all = |places: &[Reference]| {
            let all: Vec<String> = places.iter().map(ToString::to_string).collect();
            if all.is_empty() { "nowhere".to_owned() } else { all.join(" ") }
        };
        let revoked = if i.revoked { "  revoked" } else { "" };
        let (listed, lies) = (all(&i.listed_at), all(&i.present_at));
        writeln!(out, "          listed at {}  lies at {}{revoked}", clean(&listed), clean(&lies))?;
        for used in &i.installed {
            let verb = match used.done {
                crate::client::installed::Done::Verified => "verified",
                crate::client::installed::Done::Copied => "copied to",
            };
            writeln!(out, "HERE      {verb} {} on {}", clean(&used.reference), used.at)?;
        }
        Ok(())
    }
}

fn said(place: &Place) -> String {
    if let Some(why) = &place.unreadable {
        return format!("could not be looked at: {why}");
    }
    let Some(state) = &place.state else { return "no state".to_owned() };
    let missing = match place.missing {
        0 => String::new(),
        n => format!(", {n} named and not there"),
    };
    let under = place.under.map(|v| format!(", of before, under root {v}")).unwrap_or_default();
    let fault = place.fault.as_ref().map(|why| format!(", does not verify: {why}")).unwrap_or_default();
    format!("state {state}, {} earlier versions{missing}{under}{fault}", place.history)
}

fn as_json(i: &Introduced) -> Value {
    let places = |all: &[Reference]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "digest": i.digest, "paths": i.paths, "part": i.part, "role": i.role, "version": i.version,
        "file": format!("sha256:{}", i.file), "keys": i.keys, "at": i.at, "certain": i.certain, "undated": i.undated,
        "inLine": i.in_line, "revoked": i.revoked, "listedAt": places(&i.listed_at),
        "presentAt": places(&i.present_at), "installed": i.installed,
    })
}

impl From<AuditError> for CliError {
    fn from(e: AuditError) -> Self {
        match e {
            AuditError::Memory(e) => e.into(),
            AuditError::Remembered(e) => e.into(),
            AuditError::Tuf(e) => Self::new(Exit::No, "state.invalid", "the roots do not verify").reason(e),
            AuditError::NoKey { .. } | AuditError::SeveralKeys { .. } => {
                Self::new(Exit::Usage, "audit.key", "--signed-by names no key of the collection, or several")
                    .reason(e)
                    .next("bulla status and bulla inspect show the keys of every role, by role and version")
            }
            AuditError::Absent { .. } => Self::failed("state.absent", "there is nothing to audit")
                .reason(e)
                .next("name the place that was given to bulla init --at, or a mirror"),
        }
    }
}
