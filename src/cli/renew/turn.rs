//! One renewal: of a collection, or of an organisation and its members.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Args, Done, signed, word};
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::cli::signing::{Desk, state_place};
use crate::client::ceremony;
use crate::client::places::Places as _;
use crate::client::renew::members::{Members, renew_members};
use crate::client::renew::{Cosign, Due, Renewed, Request, Status, renew};
use crate::client::stores::Stores;
use crate::client::watch;
use crate::time::{Clock, UnixTime};
use crate::trust::TrustFile;
use crate::tuf::CollectionName;

/// What a renewal works with, beside the places.
pub(super) struct Work<'a> {
    pub(super) args: &'a Args,
    pub(super) desk: &'a Desk,
    pub(super) trust: &'a TrustFile,
    pub(super) memory: &'a Path,
    pub(super) clock: &'a dyn Clock,
}

/// By name of the member; nothing for those of which no key is here.
type Ends<T> = Vec<(String, Option<Result<T, CliError>>)>;

/// What one renewal came to.
pub(super) struct Turn {
    /// The collection at the place that was named. Where it is no organisation's, its failure is that of the whole.
    pub(super) own: Result<Renewed, CliError>,
    collection: CollectionName,
    /// Of an organisation: each member.
    pub(super) members: Option<Ends<Renewed>>,
}

impl Work<'_> {
    /// Renew once.
    pub(super) async fn once(&self, places: &Stores) -> Result<Turn, CliError> {
        let Self { args, desk, .. } = self;
        let own = places.open(&args.place).await?;
        let store = state_place(places, &own, &desk.anchor).await?;
        let collection = desk.anchor.collection.clone();
        let request = Request {
            collection: collection.clone(),
            anchor: desk.anchor.root.bytes().clone(),
            store: &*store,
            roles: args.role.iter().chain(args.expires.iter().map(|(role, _)| role)).cloned().collect(),
            lives: &args.expires.iter().cloned().collect(),
            reseal: args.reseal,
            memories: &desk.memories,
            without_memory: desk.without_memory,
            cosign: if args.output.is_some() { Cosign::Travels } else { Cosign::Here },
            keys: &desk.ring,
            clock: self.clock,
        };
        let own = renew(request).await.map_err(CliError::from);
        if !args.organisation {
            return Ok(Turn { own: Ok(own?), collection, members: None });
        }
        let ceremony = ceremony::Desk {
            collection: &collection,
            anchor: desk.anchor.root.bytes(),
            store: &*store,
            memories: &desk.memories,
            without_memory: desk.without_memory,
            keys: &desk.ring,
            clock: self.clock,
        };
        let whole = ceremony.published().await?;
        let all = Members {
            organisation: &collection,
            at: &store.place(),
            whole: &whole,
            places,
            trust: self.trust,
            memory: self.memory,
            reseal: args.reseal,
            without_memory: desk.without_memory,
            keys: &desk.ring,
            clock: self.clock,
        };
        let members = renew_members(&all).await;
        let members = members.into_iter().map(|m| (m.member, m.end.map(|end| end.map_err(CliError::from))));
        Ok(Turn { own, members: Some(members.collect()), collection })
    }
}

impl Turn {
    /// Everything that was renewed.
    pub(super) fn renewed(&self) -> impl Iterator<Item = &Renewed> {
        let members = self.members.iter().flatten().filter_map(|(_, end)| end.as_ref());
        std::iter::once(&self.own).chain(members).filter_map(|end| end.as_ref().ok())
    }
}

impl watch::Round for Turn {
    fn is_done(&self) -> bool {
        let members = self.members.iter().flatten().filter_map(|(_, end)| end.as_ref());
        let mut ends = std::iter::once(&self.own).chain(members);
        ends.all(|end| end.as_ref().is_ok_and(|r| r.status != Status::Incomplete))
    }

    fn due(&self) -> Vec<&Due> {
        self.renewed().flat_map(|r| &r.due).collect()
    }
}

/// A renewal, as it is shown.
pub(super) struct Shown {
    collection: String,
    pub(super) own: Result<Done, CliError>,
    pub(super) members: Option<Ends<Done>>,
    error: Option<CliError>,
}

impl Shown {
    pub(super) fn new(turn: &Turn, now: UnixTime) -> Self {
        let done = |end: &Result<Renewed, CliError>| match end {
            Ok(renewed) => Ok(Done::new(renewed.clone(), now)),
            Err(e) => Err(e.clone()),
        };
        let own = done(&turn.own);
        let member = |(name, end): &(String, Option<_>)| (name.clone(), end.as_ref().map(done));
        let members: Option<Vec<_>> = turn.members.as_ref().map(|all| all.iter().map(member).collect());
        let mut shown = Self { collection: turn.collection.to_string(), own, members, error: None };
        shown.error = shown.fault();
        shown
    }

    /// The collection at the place that was named.
    pub(super) fn own(&self) -> (&str, &Result<Done, CliError>) {
        (&self.collection, &self.own)
    }

    /// Everything that was renewed.
    pub(super) fn renewed(&self) -> impl Iterator<Item = &Renewed> {
        self.ends().filter_map(|(_, end)| end.as_ref().ok()).map(|done| &done.renewed)
    }

    /// The organisation and the members that were not skipped, each with what is wrong with it.
    fn ends(&self) -> impl Iterator<Item = (&str, &Result<Done, CliError>)> {
        let members = self.members.iter().flatten();
        let members = members.filter_map(|(name, end)| Some((name.as_str(), end.as_ref()?)));
        std::iter::once(self.own()).chain(members)
    }

    /// Those that failed, or wait for somebody.
    pub(super) fn faults(&self) -> Vec<(&str, &CliError)> {
        self.ends().filter_map(|(name, end)| Some((name, fault_of(end)?))).collect()
    }

    fn fault(&self) -> Option<CliError> {
        let Some(members) = &self.members else { return fault_of(&self.own).cloned() };
        let faults = self.faults();
        let exit = faults.iter().map(|(_, e)| e.exit).max()?;
        let lines: Vec<String> =
            faults.iter().map(|(name, e)| format!("{name}: {} ({})", e.message, e.code)).collect();
        let of = 1 + members.iter().filter(|(_, end)| end.is_some()).count();
        let message = format!("{} of {of} collections of {} need somebody", faults.len(), self.collection);
        let next = "run bulla renew for each of them alone: it says what to do";
        Some(CliError::new(exit, "renew.members", message).reason(lines.join("; ")).next(next))
    }

    /// How many members came to what, for people.
    pub(super) fn counts(&self) -> Vec<String> {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for (_, end) in self.members.iter().flatten() {
            let word = end.as_ref().map_or("skipped", status);
            match counts.iter_mut().find(|(known, _)| *known == word) {
                Some((_, n)) => *n += 1,
                None => counts.push((word, 1)),
            }
        }
        counts.into_iter().map(|(word, n)| format!("{n} {word}")).collect()
    }
}

fn fault_of(end: &Result<Done, CliError>) -> Option<&CliError> {
    match end {
        Ok(done) => done.error(),
        Err(e) => Some(e),
    }
}

pub(super) fn status(end: &Result<Done, CliError>) -> &'static str {
    end.as_ref().map_or("failed", |done| word(done.renewed.status))
}

/// The worst first.
const WORST_FIRST: [&str; 7] =
    ["failed", "incomplete", "pending", "overdue", "waiting", "renewed", "current"];

fn worst(words: impl Iterator<Item = &'static str>) -> &'static str {
    let rank = |word: &&str| WORST_FIRST.iter().position(|w| w == word);
    words.min_by_key(rank).unwrap_or("current")
}

fn exit_of(end: &Result<Done, CliError>) -> Exit {
    fault_of(end).map_or(Exit::Done, |e| e.exit)
}

fn one_json(name: &str, end: &Result<Done, CliError>) -> Value {
    let mut out = match end {
        Ok(done) => done.json(),
        Err(_) => json!({"status": "failed", "collection": name}),
    };
    out["exitCode"] = json!(exit_of(end) as u8);
    out["error"] = match fault_of(end) {
        Some(e) => json!({"code": e.code, "message": e.message, "reason": e.reason, "next": e.next}),
        None => Value::Null,
    };
    out
}

impl Outcome for Shown {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(members) = &self.members else {
            return self.own.as_ref().map_or(Ok(()), |done| done.text(out));
        };
        let line = |name: &str, end: &Result<Done, CliError>| match end {
            Ok(done) => {
                let waits = done.error().map_or_else(String::new, |e| format!("   {}", e.code));
                format!("{:<9} {name}   {}{waits}", status(end), signed(&done.renewed))
            }
            Err(e) => format!("{:<9} {name}   {}", status(end), e.code),
        };
        writeln!(out, "{}", line(&self.collection, &self.own))?;
        for (name, end) in members {
            match end {
                Some(end) => writeln!(out, "{}", clean(&line(name, end)))?,
                None => writeln!(out, "skipped   {}   no key of it is here", clean(name))?,
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let Some(members) = &self.members else {
            return self.own.as_ref().map_or(Value::Null, Done::json);
        };
        let member = |(name, end): &(String, Option<_>)| match end {
            Some(end) => one_json(name, end),
            None => json!({"status": "skipped", "collection": name}),
        };
        json!({
            "status": worst(self.ends().map(|(_, end)| status(end))),
            "organisation": one_json(&self.collection, &self.own),
            "members": members.iter().map(member).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_place_among_the_worse_and_the_better() {
        use Status::{Current, Incomplete, Overdue, Pending, Renewed, Waiting};
        for status in [Current, Incomplete, Overdue, Pending, Renewed, Waiting] {
            assert!(WORST_FIRST.contains(&word(status)), "{status:?}");
        }
        assert_eq!(worst(["current", "waiting", "renewed"].into_iter()), "waiting");
        assert_eq!(worst(["waiting", "failed"].into_iter()), "failed");
        assert_eq!(worst([].into_iter()), "current");
    }
}
