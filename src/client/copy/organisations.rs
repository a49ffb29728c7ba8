//! The state of an organisation, one of whose members released what is copied: it lies elsewhere, and without it nobody finds out at
//! the far end who speaks for the bundle.

use std::sync::Arc;

use super::later::{Settled, Waiting};
use super::plan::Job;
use super::{Copier, NOTHING, at_destination, at_source, key};
use crate::client::state::{self, Kind, StateError};
use crate::oci::{Reference, RegistryRef, Repository, Tag, media_type};
use crate::store::Manage;
use crate::store::copy::CopyError;
use crate::trust::{Anchor, Scope, Subject};
use crate::tuf::{CollectionName, Version};

impl Copier<'_> {
    /// Send the states of the organisations on their way that are anchored for the source of this job: to where the destination's
    /// readers look first, or else beside the bundle. Those of which none was found that verifies.
    pub(super) async fn organisations(
        &mut self,
        job: &Job,
        destination: &Arc<dyn Manage>,
        along: &[Tag],
    ) -> Vec<Missing> {
        // Of an OCI layout all states go along.
        let Reference::Registry(source) = &job.source else { return Vec::new() };
        if !self.settings.filter.keeps_state(Some(media_type::BULLA_STATE)) {
            return Vec::new();
        }
        let subject = Subject { repository: source.repository.clone(), tag: None };
        let covering = self.settings.trust.covering(&subject).filter(|a| a.organisation);
        let meant = |a: &&Anchor| self.collections.is_empty() || self.collections.contains(&a.collection);
        let anchors: Vec<Anchor> = covering.filter(meant).cloned().collect();
        let mut missing = Vec::new();
        for anchor in anchors {
            let name = anchor.collection.clone();
            let onto = onto(&anchor, job).filter(|onto| key(onto) != key(&job.destination));
            let goes_to = key(onto.as_ref().unwrap_or(&job.destination));
            if !self.learnt.organisations.insert((goes_to, name.clone())) {
                continue;
            }
            match self.send(&anchor, job, onto.as_ref(), destination).await {
                Ok(None) => {}
                Ok(Some(_)) if along.contains(&name.state_tag()) => {}
                Ok(Some(passed_over)) => missing.push(Missing { organisation: name, passed_over }),
                Err(error) => {
                    let (from, to) = (job.from(), job.to());
                    self.done.settled.push(Settled::failed(from, to, error));
                }
            }
        }
        missing
    }

    /// Send the newest state of an organisation that verifies, of the places that its anchor names. Where there is none: what lies
    /// there instead.
    async fn send(
        &mut self,
        anchor: &Anchor,
        job: &Job,
        onto: Option<&Reference>,
        destination: &Arc<dyn Manage>,
    ) -> Result<Option<Vec<String>>, CopyError> {
        let (mut newest, mut passed_over): (Option<Found>, Vec<String>) = (None, Vec::new());
        for place in anchor.sources().into_iter().flat_map(|source| source.state_at) {
            if key(&place) == key(&job.source) {
                continue;
            }
            let store = self.settings.places.open(&place).await.map_err(at_source)?;
            match self.look(anchor, &place, store, destination).await? {
                None => {}
                Some(Ok(found)) if newest.as_ref().is_some_and(|n| n.version >= found.version) => {}
                Some(Ok(found)) => newest = Some(found),
                // Whoever may push there chose what it is.
                Some(Err(why)) => passed_over.push(format!("{}: {why}", place.at(None))),
            }
        }
        let Some(Found { place, store, tag, .. }) = newest else { return Ok(Some(passed_over)) };
        let (far, instead) = match onto {
            Some(onto) => {
                let far = self.settings.places.create(onto).await.map_err(at_destination)?;
                (far, Some(destination.clone()))
            }
            None => (destination.clone(), None),
        };
        let ends = (key(&place), key(onto.unwrap_or(&job.destination)));
        if ends.0 != ends.1 {
            // Other states may wait between the same two: the collection's own, or another organisation's.
            let first = || Waiting::between(&(job.from(), job.to()), &store, &far, false);
            self.done.waiting.entry(ends).or_insert_with(first).add_state(tag, instead);
        }
        Ok(None)
    }

    /// The organisation's state at one place, and why what lies there is none.
    async fn look(
        &self,
        anchor: &Anchor,
        place: &Reference,
        store: Arc<dyn Manage>,
        destination: &Arc<dyn Manage>,
    ) -> Result<Option<Result<Found, String>>, CopyError> {
        let unreadable = |e| match e {
            StateError::Store(e) if !e.is_the_items_own() => Err(at_source(e)),
            e => Ok(Some(Err(e.to_string()))),
        };
        let (tag, manifest) = match state::find_state(&*store, &anchor.collection).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(StateError::Store(e)) if e.is_not_found() => return Ok(None),
            Err(e) => return unreadable(e),
        };
        let files = match state::read(&*store, &manifest, Kind::State).await {
            Ok(read) => read.files,
            Err(e) => return unreadable(e),
        };
        let judged = self.guard(&*store, &**destination, &NOTHING).judge(
            anchor.root.bytes(),
            &anchor.collection,
            &files,
        );
        let version = judged.map(|whole| whole.trusted().timestamp().version());
        Ok(Some(version.map(|version| Found { place: place.clone(), store, tag, version })))
    }
}

/// An organisation of which no state was found that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub organisation: CollectionName,
    /// Places where something lies that does not, with the reason.
    pub passed_over: Vec<String>,
}

/// A state that verifies, where it lies.
struct Found {
    place: Reference,
    store: Arc<dyn Manage>,
    tag: Tag,
    version: Version,
}

/// Where readers of the destination look for the organisation first: what an anchor of theirs would have as its prefix, when the
/// destination's name ends as the source's does below the prefix here.
fn onto(anchor: &Anchor, job: &Job) -> Option<Reference> {
    let (Scope::Prefix(prefix), Reference::Registry(from), Reference::Registry(to)) =
        (&anchor.scope, &job.source, &job.destination)
    else {
        return None;
    };
    let (from, to) = (from.repository.to_string(), to.repository.to_string());
    let repository: Repository = to.strip_suffix(from.strip_prefix(prefix)?)?.parse().ok()?;
    Some(Reference::Registry(RegistryRef { repository, selector: None }))
}
