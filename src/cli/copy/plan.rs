//! From the command line and the list to what is copied where.

use std::collections::HashMap;
use std::path::Path;

use super::{Args, list};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::client::copy::{Job, Onto, PlanError, Sweep, apart, without_clashes};
use crate::oci::Reference;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) works: Vec<Work>,
    /// Whether the result is a list, even of one.
    pub(super) several: bool,
}

/// A part of it.
#[derive(Debug)]
pub(super) enum Work {
    Bundle(Job),
    AllTags(Sweep),
    States(Sweep),
}

impl Plan {
    /// Every place that is named.
    pub(super) fn places(&self) -> Vec<&Reference> {
        let ends = |work| match work {
            &Work::Bundle(Job { ref source, ref destination, .. })
            | &Work::AllTags(Sweep { ref source, ref destination })
            | &Work::States(Sweep { ref source, ref destination }) => [source, destination],
        };
        self.works.iter().flat_map(ends).collect()
    }
}

pub(super) fn of(args: &Args, cx: &mut Context<'_, '_>) -> Result<Plan, CliError> {
    let plan = match &args.from_file {
        Some(path) => of_list(args, path, cx)?,
        None => of_words(args)?,
    };
    match args.named.as_ref().and_then(|named| named.tag.as_ref()) {
        Some(tag) if !args.verify => Err(CliError::usage(format!("--as names the tag {tag}"))
            .reason("only --verify judges a bundle under a tag")
            .next("leave the tag out, or pass --verify")),
        Some(tag) if plan.several => Err(CliError::usage(format!("--as names the tag {tag}"))
            .reason("several bundles cannot be judged under one tag")
            .next("leave the tag out, or copy them one by one")),
        _ => Ok(plan),
    }
}

fn of_words(args: &Args) -> Result<Plan, CliError> {
    let Some((onto, sources)) = args.places.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return Err(
            CliError::usage("<DESTINATION> is missing").next("write bulla copy SOURCE... DESTINATION")
        );
    };
    let sources: Vec<Reference> = sources.iter().map(source).collect::<Result<_, _>>()?;
    if args.state_only {
        let bare = sources.iter().cloned().map(stateful).collect::<Result<Vec<_>, _>>()?;
        let several = bare.len() > 1;
        let works = apart(Sweep::of(&bare, onto)?)?.into_iter().map(Work::States).collect();
        return Ok(Plan { works, several });
    }
    let several = args.all_tags || sources.len() > 1;
    let works = match (args.all_tags, &sources[..]) {
        (true, _) => apart(Sweep::of(&sources, onto)?)?.into_iter().map(Work::AllTags).collect(),
        (false, [one]) => vec![Work::Bundle(Job::one(one, onto)?)],
        (false, _) => without_clashes(Job::several(&sources, onto)?)?.into_iter().map(Work::Bundle).collect(),
    };
    Ok(Plan { works, several })
}

/// A state is that of a whole repository.
fn stateful(source: Reference) -> Result<Reference, CliError> {
    match source.selector() {
        None => Ok(source),
        Some(_) => Err(CliError::usage(format!("{source} names a bundle, and states are asked for"))
            .reason("a state speaks of all bundles of its collection")
            .next(format!("write {}, or leave --state-only out", source.at(None)))),
    }
}

/// Only a destination may be a prefix.
fn source(word: &Onto) -> Result<Reference, CliError> {
    match word {
        Onto::Place(reference) => Ok(reference.clone()),
        Onto::Under(prefix) => Err(CliError::usage(format!("{prefix} names no bundle"))
            .reason("what ends in a slash is a destination, and a destination stands last")
            .next("write host/repository:TAG for a source")),
    }
}

fn of_list(args: &Args, path: &Path, cx: &mut Context<'_, '_>) -> Result<Plan, CliError> {
    let default = match &args.places[..] {
        [] => None,
        [onto] => Some(onto),
        [..] => {
            return Err(CliError::usage("with --from-file the sources stand in the list")
                .next("bulla copy --from-file LIST [DESTINATION]"));
        }
    };
    if path.as_os_str() == "-" && args.registry.reads_stdin() {
        return Err(CliError::usage("--from-file - and --password-stdin both read standard input")
            .next("put the list into a file"));
    }
    let lines = list::read(path, cx)?;
    let bad = |number: usize, e: CliError| CliError {
        message: format!("{} line {number}: {}", path.display(), e.message),
        ..e
    };
    if let Some(open) = lines.iter().find(|l| l.destination.is_none()).filter(|_| default.is_none()) {
        let error = CliError::usage(format!("{} has no destination", open.source));
        return Err(
            bad(open.number, error).next("write it on the line, or after the list on the command line")
        );
    }
    // The line of a bundle is that of its source: the last one, since of two that clash the later is named.
    let named = |e: PlanError| {
        let line =
            e.culprit().and_then(|c| lines.iter().rev().find(|l| l.source == *c || l.source.at(None) == *c));
        match line {
            Some(line) => bad(line.number, e.into()),
            None => e.into(),
        }
    };
    let (mut jobs, mut sweeps) = (Vec::new(), Vec::new());
    let mut of_default = Vec::new();
    for line in &lines {
        let one = std::slice::from_ref(&line.source);
        match (&line.destination, args.all_tags) {
            (None, _) => of_default.push(line.source.clone()),
            (Some(onto), false) => jobs.push(Job::one(&line.source, onto).map_err(&named)?),
            (Some(onto), true) => sweeps.extend(Sweep::of(one, onto).map_err(&named)?),
        }
    }
    if let Some(onto) = default {
        match args.all_tags {
            false => jobs.extend(Job::several(&of_default, onto).map_err(&named)?),
            true => sweeps.extend(Sweep::of(&of_default, onto).map_err(&named)?),
        }
    }
    // In the order of the list.
    let at: HashMap<String, usize> = lines.iter().rev().map(|l| (l.source.to_string(), l.number)).collect();
    let at = |source: &Reference| at.get(&source.to_string()).copied();
    jobs.sort_by_cached_key(|j| at(&j.from()));
    sweeps.sort_by_cached_key(|s| at(&s.source));
    let jobs = without_clashes(jobs).map_err(&named)?;
    let sweeps = apart(sweeps).map_err(&named)?;
    let works = jobs.into_iter().map(Work::Bundle).chain(sweeps.into_iter().map(Work::AllTags)).collect();
    Ok(Plan { works, several: true })
}

impl From<PlanError> for CliError {
    fn from(e: PlanError) -> Self {
        let next = match &e {
            PlanError::NoSelector(reference) => return Self::no_selector(reference),
            PlanError::OneOfAll(reference) => {
                format!("write {}, or leave --all-tags out", reference.at(None))
            }
            PlanError::Digest(_) => "write the destination with a tag or without any".into(),
            PlanError::OneTag(reference) => {
                format!("write {}: each bundle keeps its own tag there", reference.at(None))
            }
            PlanError::Nameless { .. } => "write the whole repository as its destination".into(),
            PlanError::Name { .. } => "choose a shorter or another prefix".into(),
            PlanError::TwoPlaces(_) => {
                "name a prefix that ends in a slash, host/path/, or a destination a line with --from-file"
                    .into()
            }
            PlanError::Clash(_) => "give one of them another tag or repository".into(),
            PlanError::Itself(_) => "name another repository, directory or tag".into(),
        };
        Self::usage(e.to_string()).next(next)
    }
}
