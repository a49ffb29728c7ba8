//! The state of an organisation, one of whose members released what is copied: it lies elsewhere, and without it nobody finds out at
//! the far end who speaks for the bundle.

use std::sync::Arc;

use super::later::{Settled, Waiting};
use super::plan::Job;
use super::{Copier, at_destination, at_source, key};
use crate::oci::{Reference, RegistryRef, Repository, Selector, Tag, media_type};
use crate::store::copy::CopyError;
use crate::store::{Manage, StoreError};
use crate::trust::{Anchor, Scope, Subject};
use crate::tuf::CollectionName;

impl Copier<'_> {
    /// Send the states of the organisations on their way that are anchored for the source of this job: to where the destination's
    /// readers look first, or else beside the bundle. Those that were found nowhere.
    pub(super) async fn organisations(
        &mut self,
        job: &Job,
        destination: &Arc<dyn Manage>,
        along: &[Tag],
    ) -> Vec<CollectionName> {
        // Of an OCI layout all states go along.
        let Reference::Registry(source) = &job.source else { return Vec::new() };
        if !self.settings.filter.keeps_state(Some(media_type::BULLA_STATE)) {
            return Vec::new();
        }
        let subject = Subject { repository: source.repository.clone(), tag: None };
        let covering = self.settings.trust.covering(&subject).filter(|a| a.organisation);
        let meant = |a: &&Anchor| self.collections.is_empty() || self.collections.contains(&a.collection);
        let anchors: Vec<Anchor> = covering.filter(meant).cloned().collect();
        let mut absent = Vec::new();
        for anchor in anchors {
            let name = anchor.collection.clone();
            let onto = onto(&anchor, job).filter(|onto| key(onto) != key(&job.destination));
            let goes_to = key(onto.as_ref().unwrap_or(&job.destination));
            if !self.learnt.organisations.insert((goes_to, name.clone())) {
                continue;
            }
            match self.send(&anchor, job, onto.as_ref(), destination).await {
                Ok(true) => {}
                Ok(false) if along.contains(&name.state_tag()) => {}
                Ok(false) => absent.push(name),
                Err(error) => {
                    let (from, to) = (job.from(), job.to());
                    self.done.settled.push(Settled::failed(from, to, error));
                }
            }
        }
        absent
    }

    /// Whether the organisation has a state at one of the places that its anchor names.
    async fn send(
        &mut self,
        anchor: &Anchor,
        job: &Job,
        onto: Option<&Reference>,
        destination: &Arc<dyn Manage>,
    ) -> Result<bool, CopyError> {
        let tag = anchor.collection.state_tag();
        let bundle = (job.from(), job.to());
        for place in anchor.sources().into_iter().flat_map(|source| source.state_at) {
            if key(&place) == key(&job.source) {
                continue;
            }
            let store = self.settings.places.open(&place).await.map_err(at_source)?;
            if !has(&*store, &tag).await.map_err(at_source)? {
                continue;
            }
            let waiting = match onto {
                Some(onto) => {
                    let far = self.settings.places.create(onto).await.map_err(at_destination)?;
                    Waiting::for_state(&bundle, &store, &far, Some(destination.clone()), tag)
                }
                None => Waiting::for_state(&bundle, &store, destination, None, tag),
            };
            let ends = (key(&place), key(onto.unwrap_or(&job.destination)));
            if ends.0 != ends.1 {
                self.done.waiting.insert(ends, waiting);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

async fn has(store: &dyn Manage, tag: &Tag) -> Result<bool, StoreError> {
    match store.resolve(&Selector::Tag(tag.clone())).await {
        Ok(found) => Ok(found.is_some()),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
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
