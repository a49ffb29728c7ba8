//! `copy`: bundles with all that hangs on them, and the states of the collections in their repositories. Evidence is
//! moved, not judged, but for two questions: which of two states is the newer one; and, where that is asked for, whether
//! the bundle at the source is a trusted release.

mod confirm;
mod guard;
mod later;
mod listed;
mod nowhere;
mod organisations;
mod plan;
mod reached;
mod unconfirmed;

pub use later::Settled;
pub use organisations::Missing;
pub use plan::{Job, Onto, Pair, PlanError, Prefix, Sweep, apart, without_clashes};
pub use reached::Reached;
pub use unconfirmed::{Confirmation, Unconfirmed};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::confirm::confirm;
use self::guard::{Moved, NewerState};
use self::later::{Ends, Waiting, ends_of};
use self::listed::Listed;
use self::nowhere::Nowhere;
use self::plan::{is_derived, is_list};
use self::reached::Watch;
use super::places::Places;
use super::stores::spot;
use super::tree::state_tags;
use super::verify::{Looked, Verifier, VerifyError};
use crate::oci::{Content, Digest, Reference, Selector, Tag};
use crate::store::copy::{
    CopyError, CopyReport, CopyRequest, Filter, Observer, Session, Side, TagAction, TagOutcome,
};
use crate::store::{Failure, Manage, Store, StoreError};
use crate::time::UnixTime;
use crate::trust::{Report, Subject, TrustFile, Verdict};
use crate::tuf::CollectionName;

/// No tag is lost.
static NOTHING: BTreeSet<Tag> = BTreeSet::new();

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
    done: Done,
}

/// What the copies of a run know of the places, by name.
#[derive(Default)]
struct Learnt {
    session: Session,
    tags: HashMap<String, Result<Arc<BTreeSet<Tag>>, StoreError>>,
    destinations: HashMap<String, Arc<dyn Manage>>,
    /// Ends between which the states went already, and whether all tags of the source were listed then.
    states: HashSet<(String, String, bool)>,
    /// Tags that went along with a bundle, by destination.
    along: HashSet<(String, Tag)>,
    /// The organisations' states that were looked at to verify sources.
    looked: Looked,
    /// Organisations whose states were sent on their way, by the destination of a member's bundle.
    organisations: HashSet<(String, CollectionName)>,
}

/// What the copies of a run did, and what is to be done at its end.
#[derive(Default)]
struct Done {
    /// Archives, which [`Copier::finish`] writes.
    archives: Vec<(Reference, Arc<dyn Manage>)>,
    /// What was copied, by destination.
    arrived: HashMap<String, Arrived>,
    /// States that came to a destination.
    states: Vec<Brought>,
    /// The tags of each bundle that is still to come between two ends.
    due: HashMap<Ends, Vec<Vec<Tag>>>,
    /// The tags of bundles that were to come between two ends, and did not.
    lost: HashMap<Ends, BTreeSet<Tag>>,
    /// Bundles that are at their destination, whatever became of their tags.
    reached: HashMap<(Reference, Reference), Reached>,
    /// What waits for the last of them.
    waiting: BTreeMap<Ends, Waiting>,
    /// What waited, and nobody was told of yet.
    settled: Vec<Settled>,
}

/// What was copied to a destination.
#[derive(Default)]
struct Arrived {
    /// The tags of bundles.
    own: BTreeMap<Tag, Digest>,
    /// All tags.
    tags: BTreeSet<Tag>,
}

/// States that one copy brought.
struct Brought {
    from: Reference,
    to: Reference,
    source: Arc<dyn Manage>,
    destination: Arc<dyn Manage>,
    /// Those that were newer than the destination's.
    moved: BTreeMap<Tag, Moved>,
    /// The tags of those that are new there.
    new: Vec<Tag>,
}

impl Brought {
    /// The states among the tags that a copy set; `None` if there are none.
    fn by(
        (from, to): (Reference, Reference),
        source: Arc<dyn Manage>,
        destination: Arc<dyn Manage>,
        mut moved: BTreeMap<Tag, Moved>,
        tags: &[TagOutcome],
    ) -> Option<Self> {
        // A tag that stayed after all moved no state.
        moved.retain(|tag, _| tags.iter().any(|t| t.tag == *tag && t.action == TagAction::Replaced));
        let new = tags.iter().filter(|t| t.action == TagAction::Set).map(|t| &t.tag);
        let new: Vec<Tag> = new.filter(|t| t.as_str().starts_with("bulla.")).cloned().collect();
        let none = moved.is_empty() && new.is_empty();
        (!none).then_some(Self { from, to, source, destination, moved, new })
    }
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
    /// What a newer state says of the tags at the destination: [`Copier::confirm`] tells, when all are copied.
    pub confirmation: Confirmation,
    /// The source does not list its tags, or not all: other states than those asked for by name may lie there.
    pub unlisted: Option<StoreError>,
    /// Organisations that say here who speaks for the bundle, and of which no state was found that verifies.
    pub no_organisation: Vec<Missing>,
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

impl<'a> Copier<'a> {
    /// Nothing is opened before the first copy.
    pub fn new(settings: Settings<'a>) -> Self {
        let meant = settings.named.map(|named| {
            let anchored = settings.trust.covering(named).map(|a| a.collection.clone());
            anchored.chain([CollectionName::from(named.repository.clone())]).collect()
        });
        Self {
            settings,
            collections: meant.unwrap_or_default(),
            learnt: Learnt::default(),
            done: Done::default(),
        }
    }

    /// Copy one bundle. Run again, it finishes what an interrupted copy left. An archive is written by [`Copier::finish`].
    ///
    /// # Errors
    /// Something could not be read or written, or was not there when it was read back. "Not trusted" and "could not
    /// decide" are no errors but [`Outcome::Refused`].
    pub async fn copy(&mut self, job: &Job) -> Result<Outcome, Trouble> {
        let more = self.take_due(job);
        let ended = self.one(job, more).await;
        if !matches!(ended, Ok(Outcome::Copied(_))) {
            self.done.lost.entry(ends_of(job)).or_default().extend(job.tags.iter().cloned());
        }
        ended
    }

    async fn one(&mut self, job: &Job, more: bool) -> Result<Outcome, Trouble> {
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
        if self.learnt.destinations.contains_key(&key(&job.source)) {
            // What was written is not what was read before; and it is to be whole when it is read.
            self.settle_at(&key(&job.source)).await;
            self.learnt = Learnt::default();
        }
        let source = self.source(&job.source).await?;
        let answer = self.tags(&job.source, &*source).await;
        let (destination, mut manifest) = self.destination(&job.destination, &*source, &selector).await?;
        let listed = Listed::judge(answer, &*source, &job.selector, &selector, &mut manifest).await?;
        let ends = (key(&job.source), key(&job.destination), listed.unlisted.is_none());
        let went = self.learnt.states.contains(&ends);
        let states = if went { Vec::new() } else { self.states(&*source, &listed).await? };
        let states_there = states.clone();
        let pair = (ends.0.clone(), ends.1.clone());
        let waiting = self.done.waiting.get(&pair);
        let hold = matches!(job.destination, Reference::Archive(_));
        // A look ahead changes nothing.
        let wait =
            (more || waiting.is_some() || self.done.lost.contains_key(&pair)) && !self.settings.dry_run;
        let guard = self.guard(&*source, &*destination, &NOTHING);
        let unlisted = listed.unlisted.is_some();
        let request = CopyRequest {
            manifest,
            tags: job.tags.clone(),
            extra_tags: states.iter().chain(&job.guarded).cloned().collect(),
            later: if wait { states } else { Vec::new() },
            moves_later: waiting.is_some_and(Waiting::moves),
            source_unlisted: unlisted,
            source_tags: (!unlisted).then_some(listed.tags),
            concurrency: self.settings.concurrency,
            filter: self.settings.filter.clone(),
            dry_run: self.settings.dry_run,
            thorough: self.settings.repair,
            hold,
            ..CopyRequest::new(selector)
        };
        let watch = Watch::new(self.settings.observer);
        let copied = self.learnt.session.copy(&*source, &*destination, &request, &guard, &watch).await;
        let moved = guard.moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Whether an archive is written is not known yet.
        if let Some(digest) = watch.arrived().filter(|_| copied.is_ok() || !hold) {
            let reached = Reached::of(digest, verified.as_ref());
            self.done.reached.insert((job.from(), job.to()), reached);
        }
        let report = copied?;
        let bundle = (job.from(), job.to());
        let no_organisation = self.organisations(job, &destination, &states_there).await;
        if !report.later.is_empty() {
            let place = || Waiting::between(&bundle, &source, &destination, unlisted);
            let waiting = self.done.waiting.entry(pair).or_insert_with(place);
            waiting.add(&bundle, &report.later, &request.later);
        }
        self.done.states.extend(Brought::by(bundle, source, destination, moved, &report.tags));
        let arrived = self.done.arrived.entry(ends.1.clone()).or_default();
        arrived.own.extend(job.tags.iter().map(|t| (t.clone(), report.bundle.digest.clone())));
        arrived.tags.extend(report.tags.iter().map(|t| t.tag.clone()).chain(job.tags.iter().cloned()));
        let along = report.tags.iter().map(|t| (ends.1.clone(), t.tag.clone()));
        self.learnt.along.extend(along.filter(|(_, tag)| is_derived(tag)));
        self.learnt.states.insert(ends);
        let (unlisted, confirmation) = (listed.unlisted.filter(|_| !went), Confirmation::default());
        Ok(Outcome::Copied(Box::new(Copied { report, verified, confirmation, unlisted, no_organisation })))
    }

    /// What the states that the run brought say of the tags at their destinations, each with the source and destination
    /// of the copy that brought it. For when all is copied: later bundles of a run are what the state of the first speaks
    /// of. Nothing is asked when no state came.
    pub async fn confirm(&mut self) -> Vec<(Reference, Reference, Confirmation)> {
        let mut out: Vec<(Reference, Reference, Confirmation)> = Vec::new();
        for mut brought in std::mem::take(&mut self.done.states) {
            let nothing = Arrived::default();
            let arrived = self.done.arrived.get(&key(&brought.to.at(None))).unwrap_or(&nothing);
            let moved = std::mem::take(&mut brought.moved);
            let guard = self.guard(&*brought.source, &*brought.destination, &NOTHING);
            let confirmation = confirm(&guard, moved, &brought.new, arrived).await;
            // An organisation's state follows the same bundle as the collection's own.
            let same = |(from, to, _): &&mut (Reference, Reference, Confirmation)| {
                *from == brought.from && *to == brought.to
            };
            match out.iter_mut().find(same) {
                Some((.., known)) => known.add(confirmation),
                None => out.push((brought.from, brought.to, confirmation)),
            }
        }
        out
    }

    /// Write the archives, each once with everything that was copied into it; those that could not be, and why. One into
    /// which nothing was copied stays as it was.
    pub async fn finish(&mut self) -> Vec<(Reference, CopyError)> {
        let mut failed = Vec::new();
        for (place, archive) in std::mem::take(&mut self.done.archives) {
            if !self.done.arrived.contains_key(&key(&place)) {
                continue;
            }
            archive.hold(false);
            if let Err(error) = archive.flush().await {
                failed.push((place, at_destination(error)));
            }
        }
        failed
    }

    /// The bundle of this job, if it is at its destination: also where its tags or a state failed after it.
    pub fn reached(&self, job: &Job) -> Option<&Reached> {
        self.done.reached.get(&(job.from(), job.to()))
    }

    /// Whether what this job is about went along with a bundle that was copied before.
    pub fn went_along(&mut self, job: &Job) -> bool {
        let at = |tag: &Tag| (key(&job.destination), tag.clone());
        let went = job.guarded.as_ref().is_some_and(|tag| self.learnt.along.contains(&at(tag)));
        if went {
            self.take_due(job);
        }
        went
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

    /// A job for the states of a repository alone: what they say of revocations and freshness, and no bundle. What is weighed for a
    /// state that goes along with a bundle is weighed for them.
    ///
    /// # Errors
    /// The source cannot be read, or no state is known there.
    pub async fn each_state(&mut self, sweep: &Sweep) -> Result<Job, CopyError> {
        let source = self.source(&sweep.source).await?;
        let (tags, unlisted) = match self.tags(&sweep.source, &*source).await {
            // Some registries list none where they do not let tags be listed.
            Ok(tags) => {
                let unlisted = tags.is_empty().then(|| {
                    let said = Failure::Protocol("the list of tags is empty".to_owned());
                    StoreError::new(source.place(), "list tags", said)
                });
                (tags, unlisted)
            }
            Err(e) => match e.failure {
                Failure::Denied(_) | Failure::Unauthorized(_) | Failure::Refused { .. } => {
                    (Arc::default(), Some(e))
                }
                _ => return Err(at_source(e)),
            },
        };
        let states = self.states(&*source, &Listed { tags, unlisted }).await?;
        let Some(state) = states.into_iter().next() else {
            return Err(CopyError::Absent {
                place: sweep.source.to_string(),
                what: "a collection's state".into(),
            });
        };
        let (source, destination) = (sweep.source.clone(), sweep.destination.clone());
        Ok(Job { source, selector: Selector::Tag(state), destination, tags: Vec::new(), guarded: None })
    }

    async fn verify(&self, reference: &Reference) -> Result<Report, VerifyError> {
        let verifier = Verifier {
            places: self.settings.places,
            trust: self.settings.trust,
            memory: self.settings.memory,
            now: self.settings.now,
            clock_override: self.settings.clock_override,
            looked: &self.learnt.looked,
        };
        // On a registry a bundle has its name already.
        let named = self.settings.named.filter(|_| !matches!(reference, Reference::Registry(_)));
        verifier.verify(reference, named).await
    }

    async fn source(&self, place: &Reference) -> Result<Arc<dyn Manage>, CopyError> {
        self.settings.places.open(place).await.map_err(at_source)
    }

    /// The tags of a source, asked for once.
    async fn tags(
        &mut self,
        place: &Reference,
        source: &dyn Store,
    ) -> Result<Arc<BTreeSet<Tag>>, StoreError> {
        let key = key(place);
        if let Some(known) = self.learnt.tags.get(&key) {
            return known.clone();
        }
        let tags = match source.tags(None).await {
            Err(e) if e.is_not_found() => Ok(Arc::default()),
            tags => tags.map(|tags| Arc::new(tags.into_iter().collect())),
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
        let key = key(place);
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
        let store = opened.map_err(at_destination)?;
        if matches!(place, Reference::Archive(_)) && !self.settings.dry_run {
            self.done.archives.push((place.clone(), store.clone()));
        }
        self.learnt.destinations.insert(key, store.clone());
        Ok((store, manifest))
    }

    fn guard<'g>(
        &'g self,
        source: &'g dyn Store,
        destination: &'g dyn Store,
        lost: &'g BTreeSet<Tag>,
    ) -> NewerState<'g> {
        NewerState {
            trust: self.settings.trust,
            memory: self.settings.memory,
            now: self.settings.now,
            collections: &self.collections,
            source,
            destination,
            lost,
            moved: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// The tags at which the states of the source lie. Where it does not list its tags, those of the collections that are
    /// anchored or named are asked for.
    async fn states(&self, source: &dyn Store, listed: &Listed) -> Result<Vec<Tag>, CopyError> {
        let mut tags = state_tags(&listed.tags);
        if listed.unlisted.is_none() {
            return Ok(tags);
        }
        let anchored = self.settings.trust.collections();
        let known: BTreeSet<Tag> = match self.collections.is_empty() {
            true => anchored.map(|(collection, _)| collection.state_tag()).collect(),
            false => self.collections.iter().map(CollectionName::state_tag).collect(),
        };
        for tag in known {
            if !tags.contains(&tag) {
                let there = source.resolve(&Selector::Tag(tag.clone())).await.map_err(at_source)?;
                tags.extend(there.map(|_| tag));
            }
        }
        Ok(tags)
    }
}

fn at_source(error: StoreError) -> CopyError {
    CopyError::Store { side: Side::Source, error }
}

fn at_destination(error: StoreError) -> CopyError {
    CopyError::Store { side: Side::Destination, error }
}

/// Whether two references name one place, however its path is written.
pub fn is_one_place(one: &Reference, other: &Reference) -> bool {
    key(&one.at(None)) == key(&other.at(None))
}

/// The name of a place by which it is known here, however its path is written.
fn key(place: &Reference) -> String {
    match place {
        Reference::Registry(_) => place.to_string(),
        Reference::Layout(layout) => format!("oci:{}", spot(&layout.dir).display()),
        Reference::Archive(archive) => format!("oci-archive:{}", spot(&archive.file).display()),
    }
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
