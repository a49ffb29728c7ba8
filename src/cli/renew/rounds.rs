//! `bulla renew --loop`: one line a round.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::turn::{Shown, Turn, Work, status};
use super::{Args, note, signed};
use crate::cli::args::Format;
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{self, Document, Note, Outcome, clean};
use crate::cli::signing::anchor;
use crate::cli::stop::Stop;
use crate::client::renew::{Due, Renewed};
use crate::client::stores::Stores;
use crate::client::watch::{End, Plan, Sleeper, Told, Woken, by_hand, watch};
use crate::keys::KeyRef;
use crate::store::registry::Hosts;
use crate::time::{Clock, UnixTime};

/// Seconds after which a rest looks at the clock: it may have been set, or the machine asleep.
const GLANCE: i64 = 30;

pub(super) fn run(
    args: &Args,
    format: Format,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    if cx.clock_is_moved() {
        return Err(CliError::usage("--loop cannot run at a time that stands still")
            .reason("BULLA_DANGEROUS_NOW is set")
            .next("unset it, or run bulla renew without --loop"));
    }
    let more: Vec<KeyRef> = args.root_key.iter().chain(&args.targets_key).cloned().collect();
    let desk = args.signing.desk(cx, &args.registry, &args.place, &more)?;
    let config = args.registry.config(cx, &[&args.place])?;
    let clock = cx.clock();
    let (store, memory) = (cx.trust(), cx.memory().to_owned());
    let plan = Plan { every: args.every.secs(), random: &random };
    let met: Mutex<Option<Hosts>> = Mutex::default();
    let mut told_notes: HashSet<(&'static str, String)> = HashSet::new();
    let mut last: Option<CliError> = None;
    let end: Result<_, CliError> = block_on(async {
        let stop = Stop::listen()
            .map_err(|e| CliError::new(Exit::Fault, "internal", "cannot listen for signals").reason(e))?;
        let sleeper = Alarm { clock: clock.clone(), stop: stop.clone() };
        // Each round reads the credentials anew: those of some registries change every few hours. And the anchors: under a root
        // that was replaced nothing is signed any more.
        let round = async || {
            if anchor(&store, &args.place, args.signing.named.as_ref())?.root != desk.anchor.root {
                return Err(replaced());
            }
            let trust = store.load()?;
            let work = Work { args, desk: &desk, trust: &trust, memory: &memory, clock: &*clock };
            let places = Stores::new(config.clone());
            let result = tokio::select! {
                result = work.once(&places) => result,
                () = stop.said(2) => Err(interrupted()),
            };
            places.hosts().tidy().await;
            *met.lock().unwrap_or_else(PoisonError::into_inner) = Some(places.hosts().clone());
            result
        };
        let tell = |told: &Told<'_, CliError, Turn>| {
            last = Round::of(told).error().cloned();
            desk.ring.note_warnings(cx);
            if let Some(hosts) = met.lock().unwrap_or_else(PoisonError::into_inner).take() {
                cx.note_what_they_said(&hosts);
            }
            if let Ok(turn) = told.result {
                turn.renewed().for_each(|renewed| note(renewed, cx));
            }
            if told.result.as_ref().is_err_and(|e| is_final(e) || (told.round == 1 && is_ours(e))) {
                return ControlFlow::Break(());
            }
            let mut notes = cx.take_notes();
            notes.retain(|n| told_notes.insert((n.code, n.message.clone())));
            match say(told, format, &notes, cx) {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody listens any more.
                Err(_) => ControlFlow::Break(()),
            }
        };
        Ok(watch(&plan, &*clock, &sleeper, round, tell).await)
    })?;
    match end? {
        End::Stopped(rounds) => Ok(Box::new(Stopped { rounds, last })),
        End::GaveUp(e) => Err(e),
    }
}

/// What a first round fails with for good: not the registry's or network's trouble, which passes.
fn is_ours(e: &CliError) -> bool {
    !["registry.", "publish.", "ref.", "blob."].iter().any(|subject| e.code.starts_with(subject))
}

/// What no further round would put right: whom to trust has changed.
fn is_final(e: &CliError) -> bool {
    ["renew.root-replaced", "anchor.none", "anchor.ambiguous"].contains(&e.code)
}

fn replaced() -> CliError {
    CliError::failed("renew.root-replaced", "the collection has another root here than when this began")
        .reason("nothing more is signed under the old one")
        .next("start it again")
}

fn interrupted() -> CliError {
    CliError::failed("renew.interrupted", "told to stop twice: the round was broken off")
        .reason("a state is replaced as a whole or not at all; what was submitted stays")
        .next("the next renewal finishes it")
}

/// Jitter needs no secret randomness: the standard library's hash seed will do.
fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below.max(1)
}

/// The line of a round; the first failure of several with its reason.
fn say(
    told: &Told<'_, CliError, Turn>,
    format: Format,
    notes: &[Note],
    cx: &mut Context<'_, '_>,
) -> io::Result<()> {
    let round = Round::of(told);
    let failed = told.failures == 1;
    let (out, err) = cx.streams();
    match format {
        Format::Json => {
            let result = Ok(Box::new(round) as Box<dyn Outcome>);
            render::json(&Document { command: "renew", result: &result, notes }, out)?;
        }
        Format::Text => {
            round.text(out)?;
            for note in notes {
                writeln!(err, "note: {} ({})", clean(&note.message), note.code)?;
            }
            if let Some(e) = round.error().filter(|_| failed) {
                writeln!(err, "error: {}", clean(&e.message))?;
                for (word, text) in [("reason", &e.reason), ("next", &e.next)] {
                    if let Some(text) = text {
                        writeln!(err, "  {word}: {}", clean(text))?;
                    }
                }
                writeln!(err, "  it is tried again, ever less often, until it succeeds; this is said once")?;
            }
        }
    }
    out.flush()
}

/// A round, as it is shown.
struct Round {
    number: u64,
    at: UnixTime,
    next: UnixTime,
    failures: u32,
    failed_before: u32,
    done: Result<Shown, CliError>,
}

impl Round {
    fn of(told: &Told<'_, CliError, Turn>) -> Self {
        let done = told.result.as_ref().map(|turn| Shown::new(turn, told.at)).map_err(Clone::clone);
        let Told { round: number, at, next, failures, failed_before, .. } = *told;
        Self { number, at, next, failures, failed_before, done }
    }

    /// Who must sign what this service does not sign by itself.
    fn waits(&self, shown: &Shown) -> Vec<String> {
        let several = shown.members.is_some();
        let line = |of: &Renewed, d: &Due| {
            let whose = if several { format!("{} ", of.collection) } else { String::new() };
            let keys: Vec<&str> = d.keys.iter().map(|k| k.short()).collect();
            format!(
                "{whose}{} expires {}: {} must renew it with --role {}",
                d.role,
                d.expires,
                keys.join(" or "),
                d.role
            )
        };
        let lines = |r| by_hand(r, self.at).into_iter().map(move |d| line(r, d));
        shown.renewed().flat_map(lines).collect()
    }
}

impl Outcome for Round {
    fn error(&self) -> Option<&CliError> {
        match &self.done {
            Ok(done) => done.error(),
            Err(e) => Some(e),
        }
    }

    fn is_line(&self) -> bool {
        true
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut parts = Vec::new();
        match &self.done {
            Ok(shown) => {
                let (name, own) = shown.own();
                parts.push(format!("{:<9} {name}", status(own)));
                if let Ok(done) = own {
                    let r = &done.renewed;
                    parts.push(signed(r));
                    let counts = [
                        ("admitted", r.admitted.len()),
                        ("pending", r.pending.len()),
                        ("sealed", r.finished.seals.len()),
                        ("tagged", r.finished.tags.len()),
                    ];
                    parts
                        .extend(counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")));
                }
                if shown.members.is_some() {
                    parts.push(format!("members: {}", shown.counts().join(", ")));
                }
                parts.extend(shown.error().map(|e| e.code.to_owned()));
                parts.extend(self.waits(shown));
                if self.failed_before > 0 && self.failures == 0 {
                    parts.push(format!("after {} failed rounds", self.failed_before));
                }
            }
            Err(e) => {
                parts.push("failed   ".to_owned());
                parts.push(e.code.to_owned());
                if self.failures > 1 {
                    parts.push(format!("for the {}. time in a row", self.failures));
                }
            }
        }
        writeln!(out, "{}  {}   next {}", self.at, clean(&parts.join("   ")), self.next)?;
        let faults = match &self.done {
            Ok(shown) if shown.members.is_some() => shown.faults(),
            _ => Vec::new(),
        };
        for (name, e) in faults {
            writeln!(out, "{}  {}   {}   {}", self.at, clean(name), e.code, clean(&e.message))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut out = match &self.done {
            Ok(done) => done.json(),
            Err(_) => json!({"status": "failed"}),
        };
        out["round"] = self.number.into();
        out["at"] = json!(self.at);
        out["nextRound"] = json!(self.next);
        out["failures"] = self.failures.into();
        out["byHand"] = match &self.done {
            Ok(shown) => json!(self.waits(shown)),
            Err(_) => json!([]),
        };
        out
    }
}

/// It was told to stop.
struct Stopped {
    rounds: u64,
    /// What the last round failed with: a service manager shall not take a failure for success.
    last: Option<CliError>,
}

impl Outcome for Stopped {
    fn error(&self) -> Option<&CliError> {
        self.last.as_ref()
    }

    fn is_line(&self) -> bool {
        true
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "stopped   after {} round{}", self.rounds, if self.rounds == 1 { "" } else { "s" })
    }

    fn json(&self) -> Value {
        json!({"status": "stopped", "rounds": self.rounds})
    }
}

/// Rests by the clock on the wall.
struct Alarm {
    clock: Arc<dyn Clock>,
    stop: Stop,
}

#[async_trait]
impl Sleeper for Alarm {
    async fn rest(&self, secs: i64) -> Woken {
        let until = self.clock.now().plus(secs);
        let mut left = secs;
        while left > 0 && self.clock.now() < until {
            let slice = left.min(GLANCE);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(u64::try_from(slice).unwrap_or(0))) => left -= slice,
                () = self.stop.said(1) => return Woken::Stopped,
            }
        }
        Woken::Rested
    }
}
