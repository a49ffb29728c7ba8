//! Copying a bundle with everything that hangs on it, between any two stores.
//!
//! What is copied: index children to any depth, the referrers of every manifest among them, referrers of referrers, the
//! tags `sha256-<hex>.*` of each (cosign's signatures), and the tags that the caller asks for (a collection's state).
//! A [`Filter`] leaves out platforms and types; what it left out is counted.
//! Order: blobs; manifests, leaves first and each subject before its referrers; the lists of referrers; these lists read
//! back and compared with the source's; tags, the bundle's own last. So no reader sees a tag without its signatures, and
//! no tag is moved to a bundle that arrived incomplete. A list of referrers at the source (`sha256-<hex>`) is never copied:
//! the destination's own is added to.
//!
//! What a look at the destination costs is saved where the answer is known: nothing is looked for in a repository that has
//! nothing, and no blob of a manifest that is there when the bundle's tag names it already (docs/adr/0007). Copies of one run
//! share what they learn through a [`Session`].

mod blobs;
mod closure;
mod error;
mod filter;
mod manifests;
mod observe;
mod referrers;
mod report;
mod session;
mod tags;

use std::collections::{BTreeSet, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use self::closure::{Room, Walk};
pub use self::error::{CopyError, MissingReferrer, Side};
pub use self::filter::Filter;
use self::manifests::Before;
pub use self::observe::{BlobOutcome, Event, Observer, Phase, Unobserved};
use self::report::Parts;
pub use self::report::{ChildLeftOut, CopyReport, Mended, SkipReason, Skipped, TagAction, TagOutcome};
use self::session::Place;
pub use self::session::Session;
use self::tags::Existing;
pub use self::tags::{KeepExisting, ReplaceExisting, TagDecision, TagGuard, move_tag};
use super::{Manage, Store};
use crate::oci::{Content, Manifest, Selector, Tag};

/// What to copy, and under which tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The bundle at the source.
    pub bundle: Selector,
    /// Its manifest, if the caller has read it already: what `bundle` names is then not asked for again.
    pub manifest: Option<Content>,
    /// Its tags at the destination; none: it is copied by digest only.
    pub tags: Vec<Tag>,
    /// Further tags of the source that go along under the same name, such as the states of its collections. The
    /// [`TagGuard`] decides where the destination has another one.
    pub extra_tags: Vec<Tag>,
    /// Those of `extra_tags` that are for the end of the run, when the bundles that they speak of have arrived. Where one is
    /// set or moved it is left for a copy of its own ([`CopyReport::later`]); where one moves, the bundle's own tags that
    /// name something else are left for [`move_tag`].
    pub later: Vec<Tag>,
    /// An earlier copy of the run left a tag that moves.
    pub moves_later: bool,
    /// The tags of the source, if the caller has listed them already.
    pub source_tags: Option<Arc<BTreeSet<Tag>>>,
    /// The source does not list its tags, as the caller knows: those derived from digests are asked for one by one.
    pub source_unlisted: bool,
    /// What is left out.
    pub filter: Filter,
    /// Write nothing; the report says what would be done. Only reads are made of the destination.
    pub dry_run: bool,
    /// Look for every blob and manifest, also where a tag says that the copy which set it was complete. For repairs; in a
    /// dry run the report says what one would mend.
    pub thorough: bool,
    /// More copies to the same place follow: it is left to the caller to let it go ([`Manage::hold`]) and flush it.
    pub hold: bool,
    /// Requests at a time at each end, at least 1.
    pub concurrency: usize,
}

impl CopyRequest {
    /// A copy of everything by digest only, eight requests at a time.
    pub fn new(bundle: Selector) -> Self {
        Self {
            bundle,
            manifest: None,
            tags: Vec::new(),
            extra_tags: Vec::new(),
            later: Vec::new(),
            moves_later: false,
            source_tags: None,
            source_unlisted: false,
            filter: Filter::all(),
            dry_run: false,
            thorough: false,
            hold: false,
            concurrency: 8,
        }
    }
}

/// Copy a bundle with everything that hangs on it. Run again, it finishes what an interrupted copy left and moves nothing
/// twice. Several copies of one run go through one [`Session`].
///
/// # Errors
/// Anything that could not be read, written, or was not there when read back: then the bundle's tags were not moved. What
/// the source does not have although it names it (foreign layers, referrers gone) is no error but in the report.
pub async fn copy(
    source: &dyn Store,
    destination: &dyn Manage,
    request: &CopyRequest,
    guard: &dyn TagGuard,
    observer: &dyn Observer,
) -> Result<CopyReport, CopyError> {
    Session::default().copy(source, destination, request, guard, observer).await
}

/// One copy, and what all its parts need.
struct Job<'a> {
    source: &'a dyn Store,
    destination: &'a dyn Manage,
    request: &'a CopyRequest,
    guard: &'a dyn TagGuard,
    observer: &'a dyn Observer,
    from: Arc<Place>,
    there: Arc<Place>,
    width: usize,
}

/// A tag beside the bundle's own.
struct Extra {
    tag: Tag,
    content: Content,
    artifact_type: Option<String>,
    action: TagAction,
}

impl Extra {
    fn outcome(&self) -> TagOutcome {
        let (tag, digest) = (self.tag.clone(), self.content.digest().clone());
        TagOutcome { tag, digest, action: self.action.clone() }
    }
}

impl Job<'_> {
    async fn run(&self) -> Result<CopyReport, CopyError> {
        let request = self.request;
        self.observer.event(Event::Phase(Phase::Discover));
        let room = Room::new();
        request.source_tags.iter().for_each(|tags| self.from.note_tags(tags));
        let others =
            async { futures::try_join!(self.source_tags(), self.extras(&room), Before::of_tags(self)) };
        let (bundle, (tags, extras, mut before)) = told_first(self.bundle(&room), others).await?;
        let (extras, left): (Vec<Extra>, Vec<Extra>) =
            extras.into_iter().partition(|e| request.filter.keeps_state(e.artifact_type.as_deref()));
        let waits = |e: &Extra| {
            let changes = matches!(e.action, TagAction::Set | TagAction::Replaced);
            changes && request.later.contains(&e.tag)
        };
        let (waiting, extras): (Vec<Extra>, Vec<Extra>) = extras.into_iter().partition(waits);
        let mut later: Vec<TagOutcome> = waiting.iter().map(Extra::outcome).collect();
        let moves_later = request.moves_later || later.iter().any(|t| t.action == TagAction::Replaced);
        let moves = |e: &&Extra| !matches!(e.action, TagAction::Kept { .. });
        let roots = [&bundle].into_iter().chain(extras.iter().filter(moves).map(|e| &e.content));
        let walk = Walk {
            source: self.source,
            tags,
            filter: &request.filter,
            room: &room,
            width: self.width,
            observer: self.observer,
        };
        let mut closure = walk.discover(roots.cloned().collect()).await?;
        let named = |e: Extra| (e.tag.to_string(), e.artifact_type.unwrap_or_default());
        closure.left_out.extend(left.into_iter().map(named));
        let there = extras.iter().filter(|e| e.action == TagAction::Same);
        before.present.extend(there.map(|e| e.content.digest().clone()));
        before.look(self, &bundle, &closure).await?;

        self.observer.event(Event::Phase(Phase::Blobs));
        let whole = |n: &closure::Node| before.settled && before.present.contains(n.content.digest());
        let wanted = closure.blobs(&self.source.place().to_string(), whole)?;
        let first = closure.marker(bundle.digest()).filter(|_| before.fresh).map(|b| b.digest);
        let brought = blobs::transfer(self, wanted, before.fresh, first.as_ref()).await?;

        self.observer.event(Event::Phase(Phase::Manifests));
        let pushed = manifests::push(self, &closure, &before.present).await?;

        if !request.dry_run {
            self.observer.event(Event::Arrived(bundle.digest()));
        }
        self.observer.event(Event::Phase(Phase::Referrers));
        let listed = referrers::list(self, &closure, &pushed).await?;

        self.observer.event(Event::Phase(Phase::Tags));
        let mut tags = self.set_tags(&closure, &extras, &before).await?;
        for (tag, known) in request.tags.iter().zip(std::mem::take(&mut before.own)) {
            let existing = match known {
                Some(existing) => existing,
                None => tags::existing(self.destination, tag).await?,
            };
            match existing {
                Existing::Sound(e) if moves_later && e.digest() != bundle.digest() => {
                    let (tag, digest) = (tag.clone(), bundle.digest().clone());
                    later.push(TagOutcome { tag, digest, action: TagAction::Replaced });
                }
                existing => tags.push(tags::set(self, tag, &bundle, &existing).await?),
            }
        }
        if !request.dry_run {
            self.destination.hold(request.hold);
            self.destination.flush().await.map_err(CopyError::destination)?;
        }
        let parts = Parts {
            request,
            bundle: &bundle,
            brought,
            pushed,
            new: listed.new,
            repaired: listed.repaired,
            entries: listed.mended,
            tags,
            later,
        };
        Ok(CopyReport::of(closure, parts))
    }

    async fn bundle(&self, room: &Room) -> Result<Content, CopyError> {
        match &self.request.manifest {
            Some(content) => room.take(self.source, content).map(|()| content.clone()),
            None => self.at_source(&self.request.bundle, room).await,
        }
    }

    async fn source_tags(&self) -> Result<Option<&BTreeSet<Tag>>, CopyError> {
        if self.request.source_unlisted {
            return Ok(None);
        }
        self.from.tags(self.source).await.map_err(CopyError::source)
    }

    /// The tags beside the bundle's own, and what would become of each.
    async fn extras(&self, room: &Room) -> Result<Vec<Extra>, CopyError> {
        let weighing = self.request.extra_tags.iter().map(|tag| {
            async move {
                let selector = Selector::Tag(tag.clone());
                let content = match &self.request.manifest {
                    Some(content) if self.request.bundle == selector => content.clone(),
                    _ => self.at_source(&selector, room).await?,
                };
                let action = tags::weigh(self.destination, self.guard, tag, &content).await?;
                let manifest = Manifest::parse(&content).ok();
                let artifact_type = manifest.and_then(|m| m.effective_artifact_type().map(str::to_owned));
                Ok(Extra { tag: tag.clone(), content, artifact_type, action })
            }
            .boxed()
        });
        in_order(weighing.collect(), self.width).await
    }

    async fn at_source(&self, selector: &Selector, room: &Room) -> Result<Content, CopyError> {
        let found = self.source.resolve(selector).await.map_err(CopyError::source)?;
        let place = || self.source.place().to_string();
        let absent = || CopyError::Absent { place: place(), what: selector.to_string() };
        let content = found.ok_or_else(absent)?;
        room.take(self.source, &content)?;
        Ok(content)
    }

    /// Derived tags, then those beside. The bundle's own come after them.
    async fn set_tags(
        &self,
        closure: &closure::Closure,
        extras: &[Extra],
        before: &Before,
    ) -> Result<Vec<TagOutcome>, CopyError> {
        let settled: HashSet<&Tag> = before.same.iter().map(|t| &t.tag).collect();
        let kept = extras.iter().filter(|e| matches!(e.action, TagAction::Kept { .. }));
        let mut outcomes: Vec<TagOutcome> = kept.map(Extra::outcome).collect();
        outcomes.extend(before.same.iter().cloned());
        let derived = closure.digest_tags.iter().filter(|(tag, _)| !settled.contains(tag));
        let derived = derived.filter_map(|(tag, digest)| Some((tag, &closure.nodes.get(digest)?.content)));
        let setting = derived.map(|(tag, content)| tags::set_guarded(self, tag, content).boxed());
        outcomes.extend(in_order(setting.collect(), self.width).await?);
        for extra in extras {
            match extra.action {
                TagAction::Kept { .. } => {}
                TagAction::Same => outcomes.push(extra.outcome()),
                TagAction::Set | TagAction::Replaced => {
                    outcomes.push(tags::set_guarded(self, &extra.tag, &extra.content).await?);
                }
            }
        }
        Ok(outcomes)
    }
}

/// Both, side by side. Where both fail, the failure of `first` is told, whichever came before: one cause has one name.
async fn told_first<A, B>(
    first: impl Future<Output = Result<A, CopyError>>,
    second: impl Future<Output = Result<B, CopyError>>,
) -> Result<(A, B), CopyError> {
    let (first, second) = (pin!(first), pin!(second));
    match select(first, second).await {
        Either::Left((first, second)) => Ok((first?, second.await?)),
        Either::Right((second, first)) => Ok((first.await?, second?)),
    }
}

/// So many pieces of work at a time; the first failure ends all. Results come in no order.
async fn several<T>(
    work: Vec<BoxFuture<'_, Result<T, CopyError>>>,
    concurrency: usize,
) -> Result<Vec<T>, CopyError> {
    stream::iter(work).buffer_unordered(concurrency).try_collect().await
}

/// The same, with the results in the order of the work.
async fn in_order<T>(
    work: Vec<BoxFuture<'_, Result<T, CopyError>>>,
    concurrency: usize,
) -> Result<Vec<T>, CopyError> {
    stream::iter(work).buffered(concurrency).try_collect().await
}
