//! `copy`: bundles with all that hangs on them, and the states of the collections in their repositories. Evidence is
//! moved, not judged, but for two questions: which of two states is the newer one; and, where that is asked for, whether
//! the bundle at the source is a trusted release.

mod guard;
mod nowhere;
mod plan;
mod unconfirmed;

pub use plan::{Job, Onto, Pair, PlanError, Prefix, Sweep, apart, without_clashes};
pub use unconfirmed::{Confirmation, Unconfirmed};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::guard::NewerState;
use self::nowhere::Nowhere;
use self::plan::{is_derived, is_list};
use super::places::Places;
use super::tree::state_tags;
use super::verify::{Verifier, VerifyError};
use crate::oci::{Content, Digest, Reference, Selector, Tag};
use crate::store::copy::{CopyError, CopyReport, CopyRequest, Filter, Observer, Session, Side, TagAction};
use crate::store::{Failure, Manage, Store, StoreError};
use crate::time::UnixTime;
use crate::trust::{Report, Subject, TrustFile, Verdict};
use crate::tuf::CollectionName;

/// How to copy, and what is known here that helps to tell newer from older.
pub struct Settings<'a> {
    /// Opens the places.
    pub places: &'a dyn Places,
    /// Anchors and statements.
    pub trust: &'a TrustFile,
    /// The folder of memories.
    pub memory: &'a Path,
    /// The time.
    pub now: UnixTime,
    /// Whether that time was set by hand.
    pub clock_override: bool,
    /// The collection whose states are compared; all that are anchored if none is named. For the verification, the name
    /// under which a bundle in an OCI layout is judged.
    pub named: Option<&'a Subject>,
    /// Copy only what the policy trusts.
    pub verify: bool,
    /// Look only.
    pub dry_run: bool,
    /// Look at everything that is there, and mend what is damaged.
    pub repair: bool,
    /// What of a bundle is copied.
    pub filter: Filter,
    /// Requests at a time at each end.
    pub concurrency: usize,
    /// Told what happens.
    pub observer: &'a dyn Observer,
}

/// A run of copies, one after the other, that share what they learn.
pub struct Copier<'a> {
    settings: Settings<'a>,
    /// The collections whose states are meant; empty: all.
    collections: BTreeSet<CollectionName>,
    learnt: Learnt,
}

/// What the copies of a run know of the places, by name.
#[derive(Default)]
struct Learnt {
    session: Session,
    tags: HashMap<String, Result<Vec<Tag>, StoreError>>,
    destinations: HashMap<String, Arc<dyn Manage>>,
    /// Those of them that [`Copier::finish`] writes.
    archives: Vec<(Reference, Arc<dyn Manage>)>,
    /// Ends between which the states went already.
    states: HashSet<(String, String)>,
    /// Tags that went along with a bundle, by destination.
    along: HashSet<(String, Tag)>,
}

/// What became of one bundle.
#[derive(Debug)]
pub enum Outcome {
    /// It was copied, or a look ahead says what a copy would do.
    Copied(Box<Copied>),
    /// The policy does not trust it, or could not decide: it was not copied.
    Refused(Box<Report>),
}

/// A bundle that arrived.
#[derive(Debug)]
pub struct Copied {
    /// What was done, or would be.
    pub report: CopyReport,
    /// Why it is trusted, when that was asked.
    pub verified: Option<Report>,
    /// What a newer state says of the tags at the destination.
    pub confirmation: Confirmation,
    /// The source does not list its tags: other states than those asked for by name may lie there.
    pub unlisted: Option<StoreError>,
}

/// Why a bundle was not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The copy failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// There is no report to decide by.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// The states of a source.
struct States {
    tags: Vec<Tag>,
    unlisted: Option<StoreError>,
}

impl<'a> Copier<'a> {
    /// Nothing is opened before the first copy.
    pub fn new(settings: Settings<'a>) -> Self {
        let meant = settings.named.map(|named| {
            let anchored = settings.trust.covering(named).map(|a| a.collection.clone());
            anchored.chain([CollectionName::from(named.repository.clone())]).collect()
        });
        Self { settings, collections: meant.unwrap_or_default(), learnt: Learnt::default() }
    }

    /// Copy one bundle. Run again, it finishes what an interrupted copy left. An archive is written by [`Copier::finish`].
    ///
    /// # Errors
    /// Something could not be read or written, or was not there when it was read back. "Not trusted" and "could not
    /// decide" are no errors but [`Outcome::Refused`].
    pub async fn copy(&mut self, job: &Job) -> Result<Outcome, Trouble> {
        let mut selector = job.selector.clone();
        let mut verified = None;
        if self.settings.verify {
            let report = self.verify(&job.from()).await?;
            match (report.verdict(), &report.digest) {
                // From here on the digest is meant, whatever the tag comes to name meanwhile.
                (Verdict::Trusted, Some(digest)) => selector = Selector::Digest(digest.clone()),
                _ => return Ok(Outcome::Refused(Box::new(report))),
            }
            verified = Some(report);
        }
        if self.learnt.destinations.contains_key(&job.source.to_string()) {
            // What was written is not what was read before.
            let archives = std::mem::take(&mut self.learnt.archives);
            self.learnt = Learnt { archives, ..Learnt::default() };
        }
        let source = self.source(&job.source).await?;
        let source_tags = self.tags(&job.source, &*source).await;
        let (destination, manifest) = self.destination(&job.destination, &*source, &selector).await?;
        let ends = (job.source.to_string(), job.destination.to_string());
        let states = match self.learnt.states.contains(&ends) {
            true => States { tags: Vec::new(), unlisted: None },
            false => self.states(&*source, &source_tags).await?,
        };
        let guard = NewerState {
            trust: self.settings.trust,
            memory: self.settings.memory,
            now: self.settings.now,
            collections: &self.collections,
            source: &*source,
            destination: &*destination,
            moved: Mutex::default(),
        };
        let request = CopyRequest {
            manifest,
            tags: job.tags.clone(),
            extra_tags: states.tags.iter().chain(&job.guarded).cloned().collect(),
            source_tags: source_tags.ok(),
            concurrency: self.settings.concurrency,
            filter: self.settings.filter.clone(),
            dry_run: self.settings.dry_run,
            thorough: self.settings.repair,
            hold: matches!(job.destination, Reference::Archive(_)),
            ..CopyRequest::new(selector)
        };
        let copied =
            self.learnt.session.copy(&*source, &*destination, &request, &guard, self.settings.observer);
        let report = copied.await?;
        let confirmation = confirm(&guard, &report, &job.tags).await;
        let along = report.tags.iter().map(|t| (ends.1.clone(), t.tag.clone()));
        self.learnt.along.extend(along.filter(|(_, tag)| is_derived(tag)));
        self.learnt.states.insert(ends);
        let unlisted = states.unlisted;
        Ok(Outcome::Copied(Box::new(Copied { report, verified, confirmation, unlisted })))
    }

    /// Write the archives, each once with everything that was copied into it; those that could not be, and why.
    pub async fn finish(&mut self) -> Vec<(Reference, CopyError)> {
        let mut failed = Vec::new();
        for (place, archive) in std::mem::take(&mut self.learnt.archives) {
            archive.hold(false);
            if let Err(error) = archive.flush().await {
                failed.push((place, CopyError::Store { side: Side::Destination, error }));
            }
        }
        failed
    }

    /// Whether what this job is about went along with a bundle that was copied before.
    pub fn went_along(&self, job: &Job) -> bool {
        let at = |tag: &Tag| (job.destination.to_string(), tag.clone());
        job.guarded.as_ref().is_some_and(|tag| self.learnt.along.contains(&at(tag)))
    }

    /// A job for each tag of a repository that names a bundle. What lies at tags derived from digests (cosign's) goes
    /// along with its bundle; jobs at the end are for those whose bundle has no tag ([`Copier::went_along`] tells), unless
    /// parts are left out or only what is trusted is copied. Lists of referrers are made anew at the destination, states
    /// go along with each bundle, and submissions stay.
    ///
    /// # Errors
    /// The source does not list its tags, or has none.
    pub async fn each_tag(&mut self, sweep: &Sweep) -> Result<Vec<Job>, CopyError> {
        let source = self.source(&sweep.source).await?;
        let tags = self.tags(&sweep.source, &*source).await.map_err(at_source)?;
        let tags: BTreeSet<Tag> = tags.into_iter().collect();
        let job = |tag: &Tag, own: bool| Job {
            source: sweep.source.clone(),
            selector: Selector::Tag(tag.clone()),
            destination: sweep.destination.clone(),
            tags: own.then(|| tag.clone()).into_iter().collect(),
            guarded: (!own).then(|| tag.clone()),
        };
        let bundles =
            tags.iter().filter(|t| !(is_list(t) || is_derived(t) || t.as_str().starts_with("bulla.")));
        let all = self.settings.filter.is_all() && !self.settings.verify;
        let derived = tags.iter().filter(|t| all && is_derived(t));
        let jobs: Vec<Job> = bundles.map(|t| job(t, true)).chain(derived.map(|t| job(t, false))).collect();
        match jobs.is_empty() {
            true => {
                Err(CopyError::Absent { place: sweep.source.to_string(), what: "a tagged bundle".into() })
            }
            false => Ok(jobs),
        }
    }

    async fn verify(&self, reference: &Reference) -> Result<Report, VerifyError> {
        let verifier = Verifier {
            places: self.settings.places,
            trust: self.settings.trust,
            memory: self.settings.memory,
            now: self.settings.now,
            clock_override: self.settings.clock_override,
        };
        // On a registry a bundle has its name already.
        let named = self.settings.named.filter(|_| !matches!(reference, Reference::Registry(_)));
        verifier.verify(reference, named).await
    }

    async fn source(&self, place: &Reference) -> Result<Arc<dyn Manage>, CopyError> {
        self.settings.places.open(place).await.map_err(at_source)
    }

    /// The tags of a source, asked for once.
    async fn tags(&mut self, place: &Reference, source: &dyn Store) -> Result<Vec<Tag>, StoreError> {
        let key = place.to_string();
        if let Some(known) = self.learnt.tags.get(&key) {
            return known.clone();
        }
        let tags = match source.tags(None).await {
            Err(e) if e.is_not_found() => Ok(Vec::new()),
            tags => tags,
        };
        self.learnt.tags.insert(key, tags.clone());
        tags
    }

    /// The destination; and the bundle's manifest, where it was read before one was made.
    async fn destination(
        &mut self,
        place: &Reference,
        source: &dyn Store,
        selector: &Selector,
    ) -> Result<(Arc<dyn Manage>, Option<Content>), CopyError> {
        let key = place.to_string();
        if let Some(known) = self.learnt.destinations.get(&key) {
            return Ok((known.clone(), None));
        }
        let mut manifest = None;
        let free = is_free(place);
        if free {
            // No directory is made for a bundle that is not there.
            manifest = source.resolve(selector).await.map_err(at_source)?;
            if manifest.is_none() {
                let (place, what) = (source.place().to_string(), selector.to_string());
                return Err(CopyError::Absent { place, what });
            }
        }
        let local = !matches!(place, Reference::Registry(_));
        let opened: Result<Arc<dyn Manage>, StoreError> = match (self.settings.dry_run && local, free) {
            (false, _) => self.settings.places.create(place).await,
            (true, true) => Ok(Arc::new(Nowhere(place.clone()))),
            (true, false) => self.settings.places.open(place).await,
        };
        let store = opened.map_err(|error| CopyError::Store { side: Side::Destination, error })?;
        if matches!(place, Reference::Archive(_)) && !self.settings.dry_run {
            self.learnt.archives.push((place.clone(), store.clone()));
        }
        self.learnt.destinations.insert(key, store.clone());
        Ok((store, manifest))
    }

    /// The tags at which the states of the source lie. Where it does not list its tags, those of the collections that are
    /// anchored or named are asked for.
    async fn states(
        &self,
        source: &dyn Store,
        tags: &Result<Vec<Tag>, StoreError>,
    ) -> Result<States, CopyError> {
        let denied = match tags {
            Ok(tags) => {
                let tags = state_tags(&tags.iter().cloned().collect());
                return Ok(States { tags, unlisted: None });
            }
            Err(e) => match e.failure {
                Failure::Denied(_) | Failure::Unauthorized(_) | Failure::Refused { .. } => e.clone(),
                _ => return Err(at_source(e.clone())),
            },
        };
        let anchored = self.settings.trust.anchors.iter().map(|a| &a.collection);
        let known: BTreeSet<Tag> = match self.collections.is_empty() {
            true => anchored.map(CollectionName::state_tag).collect(),
            false => self.collections.iter().map(CollectionName::state_tag).collect(),
        };
        let mut tags = Vec::new();
        for tag in known {
            let there = source.resolve(&Selector::Tag(tag.clone())).await.map_err(at_source)?;
            tags.extend(there.map(|_| tag));
        }
        Ok(States { tags, unlisted: Some(denied) })
    }
}

fn at_source(error: StoreError) -> CopyError {
    CopyError::Store { side: Side::Source, error }
}

/// What the states that this copy moved say of the tags at the destination. Nothing is asked when none moved.
async fn confirm(guard: &NewerState<'_>, report: &CopyReport, own: &[Tag]) -> Confirmation {
    let mut moved = guard.moved.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // A tag that stayed after all moved no state.
    moved.retain(|tag, _| report.tags.iter().any(|t| t.tag == *tag && t.action == TagAction::Replaced));
    let new = report.tags.iter().filter(|t| t.action == TagAction::Set);
    let new: Vec<&Tag> = new.map(|t| &t.tag).filter(|t| t.as_str().starts_with("bulla.")).collect();
    if !new.is_empty() {
        // At a new repository there is nothing that could be unconfirmed, but what was just copied.
        let tags = guard.destination.tags(None).await;
        let others = tags.is_ok_and(|tags| {
            tags.iter().any(|t| !own.contains(t) && report.tags.iter().all(|set| set.tag != *t))
        });
        for tag in new.into_iter().filter(|_| others) {
            if let Ok(Some(manifest)) = guard.source.resolve(&Selector::Tag(tag.clone())).await
                && let Some(judged) = guard.judge_new(tag, &manifest).await
            {
                moved.insert(tag.clone(), judged);
            }
        }
    }
    let set: BTreeMap<Tag, Digest> = own.iter().map(|t| (t.clone(), report.bundle.digest.clone())).collect();
    let mut out = Confirmation::default();
    for state in moved.values() {
        let found = unconfirmed::look(guard.destination, state, &set).await;
        out.unconfirmed.extend(found.unconfirmed);
        out.unknown.extend(found.unknown);
    }
    out
}

/// Whether nothing is there yet where a local destination would be made: no or an empty file or directory.
fn is_free(place: &Reference) -> bool {
    let absent = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    match place {
        Reference::Layout(layout) => match std::fs::read_dir(&layout.dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) => absent(&e),
        },
        Reference::Archive(archive) => match std::fs::metadata(&archive.file) {
            Ok(m) => m.is_file() && m.len() == 0,
            Err(e) => absent(&e),
        },
        Reference::Registry(_) => false,
    }
}

#[cfg(test)]
mod tests;
