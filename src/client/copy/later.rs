//! What waits for the last bundle between two places: states, which speak of all of them, and after a state that moves the
//! tags that move with it. A run that is interrupted before has left what readers see as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use super::plan::Job;
use super::{Arrived, Brought, Copied, Copier, at_destination, at_source, key};
use crate::oci::{Reference, Selector, Tag};
use crate::store::copy::{CopyError, CopyReport, CopyRequest, Filter, Side, TagAction, TagOutcome, move_tag};
use crate::store::{Failure, Manage};

/// Source and destination, by the names under which they are known.
pub(super) type Ends = (String, String);

/// What waits between two places.
pub(super) struct Waiting {
    source: Arc<dyn Manage>,
    destination: Arc<dyn Manage>,
    /// The first bundle that waits: what becomes of the states is told with it.
    first: (Reference, Reference),
    source_unlisted: bool,
    /// Each with where it goes if it may not be written at the destination.
    states: BTreeMap<Tag, Option<Arc<dyn Manage>>>,
    moves: bool,
    /// Tags of bundles.
    own: Vec<(Reference, Reference, Vec<TagOutcome>)>,
}

/// What became, for one bundle, of what had waited.
#[derive(Debug)]
pub struct Settled {
    /// The bundle.
    pub from: Reference,
    /// Where it went.
    pub to: Reference,
    states: Vec<CopyReport>,
    tags: Vec<TagOutcome>,
    error: Option<CopyError>,
}

impl Settled {
    /// What was to follow the bundle could not be brought.
    pub(super) fn failed(from: Reference, to: Reference, error: CopyError) -> Self {
        Self { from, to, states: Vec::new(), tags: Vec::new(), error: Some(error) }
    }

    /// Add it to what is known of the copy.
    ///
    /// # Errors
    /// It could not be done: the bundle is there, and not what was to follow it.
    pub fn add_to(self, copied: &mut Copied) -> Result<(), CopyError> {
        self.states.into_iter().for_each(|report| copied.report.add(report));
        let done = |t: &TagOutcome| self.tags.iter().any(|d| d.tag == t.tag);
        copied.report.later.retain(|t| !done(t));
        copied.report.tags.extend(self.tags);
        self.error.map_or(Ok(()), Err)
    }
}

impl Waiting {
    pub(super) fn between(
        first: &(Reference, Reference),
        source: &Arc<dyn Manage>,
        destination: &Arc<dyn Manage>,
        source_unlisted: bool,
    ) -> Self {
        Self {
            source: source.clone(),
            destination: destination.clone(),
            first: first.clone(),
            source_unlisted,
            states: BTreeMap::new(),
            moves: false,
            own: Vec::new(),
        }
    }

    /// One more state: an organisation's, whose place need not be the bundle's.
    pub(super) fn add_state(&mut self, tag: Tag, instead: Option<Arc<dyn Manage>>) {
        self.states.entry(tag).or_insert(instead);
    }

    /// What a copy left: some of the states that it was to leave, and tags of its bundle.
    pub(super) fn add(&mut self, (from, to): &(Reference, Reference), later: &[TagOutcome], states: &[Tag]) {
        let (states, own): (Vec<TagOutcome>, Vec<TagOutcome>) =
            later.iter().cloned().partition(|t| states.contains(&t.tag));
        self.moves |= states.iter().any(|t| t.action == TagAction::Replaced);
        states.into_iter().for_each(|t| self.add_state(t.tag, None));
        if !own.is_empty() {
            self.own.push((from.clone(), to.clone(), own));
        }
    }

    /// Whether a state will take another one's place.
    pub(super) fn moves(&self) -> bool {
        self.moves
    }
}

impl Copier<'_> {
    /// Bundles that will follow. States are set in place after the last of those between two places.
    pub fn expect<'j>(&mut self, jobs: impl IntoIterator<Item = &'j Job>) {
        for job in jobs {
            self.done.due.entry(ends_of(job)).or_default().push(job.tags.clone());
        }
    }

    /// Set in place what waited for bundles of which none is to come any more; with `all` also what waits for others that
    /// will not come after all. A state that would contradict what the tags of bundles that did not come name there is held
    /// back, and with it the tags that move. What became of it, since this was last asked.
    pub async fn settle(&mut self, all: bool) -> Vec<Settled> {
        if all {
            for (ends, left) in self.done.due.drain() {
                self.done.lost.entry(ends).or_default().extend(left.into_iter().flatten());
            }
        }
        let done = &self.done;
        let ends: Vec<Ends> =
            done.waiting.keys().filter(|ends| !done.due.contains_key(*ends)).cloned().collect();
        for ends in ends {
            self.bring(&ends).await;
        }
        std::mem::take(&mut self.done.settled)
    }

    /// Set in place what waits at a destination.
    pub(super) async fn settle_at(&mut self, destination: &str) {
        let at: Vec<Ends> = self.done.waiting.keys().filter(|(_, to)| to == destination).cloned().collect();
        for ends in at {
            self.bring(&ends).await;
        }
    }

    /// One of the expected bundles; whether others are to come between its ends.
    pub(super) fn take_due(&mut self, job: &Job) -> bool {
        let ends = ends_of(job);
        let Some(due) = self.done.due.get_mut(&ends) else { return false };
        if let Some(at) = due.iter().position(|tags| *tags == job.tags) {
            due.swap_remove(at);
        }
        if due.is_empty() {
            self.done.due.remove(&ends);
            return false;
        }
        true
    }

    async fn bring(&mut self, ends: &Ends) {
        let Some(waiting) = self.done.waiting.remove(ends) else { return };
        let (mut states, mut error, mut kept) = (Vec::new(), None, None);
        let lost = self.done.lost.get(ends).cloned().unwrap_or_default();
        let mut written = vec![waiting.destination.clone()];
        for (tag, instead) in &waiting.states {
            let mut destination = &waiting.destination;
            let mut brought = self.bring_state(&waiting, destination, tag, &lost).await;
            if let (Err(e), Some(instead)) = (&brought, instead)
                && is_forbidden(e)
            {
                // Other bundles of the run have other destinations to fall back to.
                self.learnt.organisations.retain(|(to, _)| *to != ends.1);
                destination = instead;
                written.push(instead.clone());
                brought = self.bring_state(&waiting, destination, tag, &lost).await;
            }
            match brought {
                Ok((report, without)) => {
                    states.push(report);
                    let place = || destination.place().to_string();
                    let held = |without| CopyError::HeldBack { place: place(), state: tag.clone(), without };
                    kept = kept.or_else(|| without.map(held));
                }
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        let arrived = self.done.arrived.entry(ends.1.clone()).or_default();
        arrived.tags.extend(states.iter().flat_map(|r| &r.tags).map(|t| t.tag.clone()));
        let mut settled = Vec::new();
        for (from, to, own) in waiting.own {
            settled.push(
                tags(&*waiting.destination, (from, to), own, error.clone().or_else(|| kept.clone()), arrived)
                    .await,
            );
        }
        let (from, to) = waiting.first;
        match settled.iter_mut().find(|s| (&s.from, &s.to) == (&from, &to)) {
            Some(first) => first.states = states,
            None => settled.insert(0, Settled { from, to, states, tags: Vec::new(), error }),
        }
        for place in written {
            if !self.settings.dry_run
                && let Err(e) = place.flush().await
            {
                settled.iter_mut().for_each(|s| {
                    s.error.get_or_insert_with(|| at_destination(e.clone()));
                });
            }
        }
        self.done.settled.extend(settled);
    }

    /// Copy one state, as it is at the source by now: it speaks of what was copied meanwhile, too.
    /// With it, where it was held back, the tags because of which it was.
    async fn bring_state(
        &mut self,
        waiting: &Waiting,
        onto: &Arc<dyn Manage>,
        tag: &Tag,
        lost: &BTreeSet<Tag>,
    ) -> Result<(CopyReport, Option<Vec<Tag>>), CopyError> {
        let (source, destination) = (&*waiting.source, &**onto);
        let selector = Selector::Tag(tag.clone());
        let found = source.resolve(&selector).await.map_err(at_source)?;
        let Some(manifest) = found else {
            return Err(CopyError::Absent { place: source.place().to_string(), what: selector.to_string() });
        };
        let guard = self.guard(source, destination, lost);
        let request = CopyRequest {
            manifest: Some(manifest),
            extra_tags: vec![tag.clone()],
            source_unlisted: waiting.source_unlisted,
            concurrency: self.settings.concurrency,
            filter: Filter { platforms: Vec::new(), ..self.settings.filter.clone() },
            thorough: self.settings.repair,
            dry_run: self.settings.dry_run,
            hold: matches!(waiting.first.1, Reference::Archive(_)),
            ..CopyRequest::new(selector)
        };
        let copied = self.learnt.session.copy(source, destination, &request, &guard, self.settings.observer);
        let report = copied.await?;
        let moved = guard.moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        let held = guard.held.into_inner().unwrap_or_else(PoisonError::into_inner).remove(tag);
        let (source, destination) = (waiting.source.clone(), onto.clone());
        let brought = Brought::by(waiting.first.clone(), source, destination, moved, &report.tags);
        self.done.states.extend(brought);
        Ok((report, held))
    }
}

/// Move the tags of one bundle, unless the state did not come that they are to agree with.
async fn tags(
    destination: &dyn Manage,
    (from, to): (Reference, Reference),
    own: Vec<TagOutcome>,
    mut error: Option<CopyError>,
    arrived: &mut Arrived,
) -> Settled {
    let mut done = Vec::new();
    for outcome in own {
        if error.is_none() {
            error = move_tag(destination, &outcome.tag, &outcome.digest).await.err();
        }
        match error {
            None => done.push(outcome),
            // Whatever it names, it is not what was copied.
            Some(_) => {
                arrived.own.remove(&outcome.tag);
            }
        }
    }
    Settled { from, to, states: Vec::new(), tags: done, error }
}

/// Whether the destination does not let this be written.
fn is_forbidden(e: &CopyError) -> bool {
    let CopyError::Store { side: Side::Destination, error } = e else { return false };
    matches!(error.failure, Failure::Denied(_) | Failure::Unauthorized(_))
}

pub(super) fn ends_of(job: &Job) -> Ends {
    (key(&job.source), key(&job.destination))
}
