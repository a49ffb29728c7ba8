//! What follows a commit: seals hang, tags name what the state says; submissions go when nothing depends on them any more.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};

use super::commit::recalled::Past;
use super::commit::{WorkError, signed_at};
use super::known::Known;
use super::memory::Memory;
use super::state::{self, FILENAME, Kind, Packed, StateError};
use super::submission::SubmissionTag;
use super::whole::{RoleAt, Whole, walk};
use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, Tag, media_type};
use crate::store::{Store, StoreError};
use crate::time::UnixTime;
use crate::tuf::lineage::{RoleFile, View, WINDOW};
use crate::tuf::{
    Bundle, Claim, CollectionName, EntryName, Expiry, FileName, Files, Limits, Paths, RoleName, Trusted,
    TufError, Version,
};

/// Seconds: a submission may go once a live state signed that long ago holds it.
const SETTLED: i64 = 3_600;
/// Times that tags are set again because the state moved meanwhile.
const TAG_ROUNDS: usize = 8;
/// Seals of one bundle that are looked at.
const MAX_SEALS: usize = 32;
/// And those of which the files are read.
const READ_SEALS: usize = 4;
/// Bundles looked after side by side.
const CONCURRENCY: usize = 4;

/// The bundles that a state vouches for, and the role that does.
pub(super) type Entries = BTreeMap<EntryName, (RoleName, Bundle)>;

/// What was done, and what could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Bundles on which a seal was hung.
    pub seals: BTreeSet<Digest>,
    /// Tags that were set, with what they name now.
    pub tags: BTreeMap<Tag, Digest>,
    /// Submissions that were deleted.
    pub deleted: Vec<SubmissionTag>,
    /// Bundles that are not here, so that no seal was hung and no tag set: they lie elsewhere, or are gone.
    pub absent: BTreeSet<Digest>,
    /// What is still to be done, and why it was not.
    pub open: Vec<Open>,
}

/// A duty that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What.
    pub duty: Duty,
    /// Why not.
    pub error: StoreError,
}

/// What a release entails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// A seal on this bundle.
    Seal(Digest),
    /// This tag.
    Tag(Tag),
    /// The deletion of a submission.
    Delete(Tag),
}

/// The bundle entries that count: of each path that of the role which a search finds.
///
/// # Errors
/// A malformed entry.
pub(super) fn entries(whole: &Whole, collection: &CollectionName) -> Result<Entries, TufError> {
    let mut out = Entries::new();
    for (role, at) in whole.roles() {
        let targets = at.file.role().targets().iter();
        for (path, target) in targets.filter(|(path, _)| whole.speaker(path) == Some(role)) {
            let Some(name) = collection.entry(path) else { continue };
            match Bundle::read(target) {
                Ok(bundle) => drop(out.insert(name, (role.clone(), bundle))),
                Err(fault) if *role == RoleName::releases() => return Err(TufError::new(role, fault)),
                // What a delegate wrote must not stop the work of the others; verifiers refuse it.
                Err(_) => {}
            }
        }
    }
    Ok(out)
}

/// The seal of one bundle: the state as far as this bundle needs it.
///
/// # Errors
/// A role on the way fails.
pub fn seal_of(
    whole: &Whole,
    collection: &CollectionName,
    bundle: &Descriptor,
    tags: &BTreeSet<Tag>,
) -> Result<Packed, TufError> {
    let revocations = collection.revocations_path();
    let mut paths = vec![collection.release_path(&bundle.digest), revocations.clone()];
    paths.extend(tags.iter().map(|tag| collection.tag_path(tag)));
    let mut needed = BTreeSet::new();
    for path in &paths {
        needed.extend(whole.trusted().find(path, whole.files())?.loaded.into_keys());
    }
    // Roles behind a terminating one are not found so: others may ask for them by name, or the collection demand that they agree.
    let covers = |p: &Paths| paths.iter().any(|path| p.cover(path));
    let named = whole.roles().iter().filter(|(_, at)| at.paths.as_ref().is_some_and(covers));
    needed.extend(named.map(|(role, _)| role.clone()));
    let mut files = Files::new();
    for (name, bytes) in whole.files().metadata() {
        let role = name.role();
        let top = role.is_top_level() && *role != RoleName::targets();
        if top || needed.contains(role) {
            files.put(name.clone(), bytes.clone());
        }
    }
    if let Some(bytes) = whole.files().target(&revocations) {
        files.put_target(revocations, bytes.clone());
    }
    Ok(state::pack(Kind::Seal, &files, Some(bundle)))
}

/// Hang fresh seals on bundles, and wait once for all of them: on a registry that lists referrers at tags each wait is for
/// slower writers. What became of each, in order.
///
/// # Errors
/// A role that fails.
pub(super) async fn hang_seals(
    place: &Known<'_>,
    whole: &Whole,
    collection: &CollectionName,
    bundles: &[(Descriptor, BTreeSet<Tag>)],
) -> Result<Vec<Result<Digest, StoreError>>, WorkError> {
    let mut hung = Vec::new();
    for (bundle, tags) in bundles {
        hung.push(match hang_seal(place, whole, collection, bundle, tags).await {
            Ok(seal) => Ok(seal),
            Err(WorkError::Store(e)) => Err(e),
            Err(e) => return Err(e),
        });
    }
    if hung.iter().any(Result::is_ok)
        && let Err(e) = place.store().flush().await
    {
        hung.iter_mut().filter(|seal| seal.is_ok()).for_each(|seal| *seal = Err(e.clone()));
    }
    Ok(hung)
}

/// Hang a fresh seal on a bundle. The same state gives the same seal, so hanging it again changes nothing.
/// [`Manage::flush`] must follow.
///
/// # Errors
/// The place's own, or a role that fails.
async fn hang_seal(
    place: &Known<'_>,
    whole: &Whole,
    collection: &CollectionName,
    bundle: &Descriptor,
    tags: &BTreeSet<Tag>,
) -> Result<Digest, WorkError> {
    let seal = seal_of(whole, collection, bundle, tags)?;
    place.push_blobs(&seal).await?;
    place.push_manifest(&seal.manifest, None).await?;
    place.index_referrers(bundle, std::slice::from_ref(&seal.manifest)).await?;
    Ok(seal.manifest.digest().clone())
}

/// Hang a fresh seal on every release of a state.
///
/// # Errors
/// A role that fails. A bundle that is not here, or could not be sealed, is told in what is returned.
pub(super) async fn reseal(
    place: &Known<'_>,
    whole: &Whole,
    collection: &CollectionName,
) -> Result<Finished, WorkError> {
    let mut finished = Finished::default();
    let sealing: Vec<BoxFuture<'_, _>> = releases(whole, collection)
        .into_iter()
        .map(|(digest, tags)| {
            async move {
                let sealed = async {
                    let Some(content) = bundle(place, &digest).await? else { return Ok(false) };
                    let subject = content.descriptor().bare();
                    hang_seal(place, whole, collection, &subject, &tags).await.map(|_| true)
                };
                let sealed = sealed.await;
                (digest, sealed)
            }
            .boxed()
        })
        .collect();
    let results: Vec<_> = stream::iter(sealing).buffer_unordered(CONCURRENCY).collect().await;
    for (digest, result) in results {
        match result {
            Ok(true) => finished.seals.extend([digest]),
            Ok(false) => finished.absent.extend([digest]),
            Err(WorkError::Store(error)) => finished.open.push(Open { duty: Duty::Seal(digest), error }),
            Err(e) => return Err(e),
        }
    }
    if !finished.seals.is_empty()
        && let Err(error) = place.store().flush().await
    {
        let unsure = std::mem::take(&mut finished.seals).into_iter();
        finished.open.extend(unsure.map(|d| Open { duty: Duty::Seal(d), error: error.clone() }));
    }
    Ok(finished)
}

/// Every bundle that any role vouches for, once, with its tags: delegates for some tags only list no releases. What a delegate
/// wrote that cannot be read must not stop the others.
fn releases(whole: &Whole, collection: &CollectionName) -> BTreeMap<Digest, BTreeSet<Tag>> {
    let mut out: BTreeMap<Digest, BTreeSet<Tag>> = BTreeMap::new();
    for (_, at) in whole.roles().iter().filter(|(role, _)| !role.is_top_level()) {
        for (path, target) in at.file.role().targets() {
            let (Some(name), Ok(entry)) = (collection.entry(path), Bundle::read(target)) else { continue };
            if entry.about.claim.is_some() {
                let tags = out.entry(entry.digest.clone()).or_default();
                tags.extend(entry.about.tags.iter().cloned());
                if let EntryName::Tag(tag) = name {
                    tags.insert(tag);
                }
            }
        }
    }
    out
}

/// What a look at the state came to.
struct Looked {
    whole: Whole,
    manifest: Digest,
}

/// The live state, verified, and not below what is remembered.
async fn look(
    place: &Known<'_>,
    collection: &CollectionName,
    anchor: &bytes::Bytes,
    memories: &[Memory],
    now: UnixTime,
) -> Result<Option<Looked>, WorkError> {
    let read = match state::fetch_state(place, collection).await {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(None),
        Err(StateError::Store(e)) => return Err(e.into()),
        Err(e @ StateError::Invalid { .. }) => return Err(WorkError::State(e)),
    };
    let past = Past::load(memories, anchor, collection, &[&read.files])?;
    let chain = past.chain(&[&read.files])?;
    let whole = Whole::judge(&chain, &read.files, collection, now, &Limits::default());
    let whole = whole.map_err(WorkError::Live)?;
    let floor = past.beside(&chain, [&read.files], now)?.floor;
    if let Some(role) = floor.and_then(|floor| floor.fallen(whole.trusted())) {
        return Err(WorkError::Older(role));
    }
    Ok(Some(Looked { whole, manifest: read.manifest.digest().clone() }))
}

/// Which tags are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    /// All that name something else than the state says: a publisher wants it so.
    All,
    /// Those that are free, or still name what they named before the release: somebody was interrupted. A tag that was moved
    /// since then, perhaps for the next release, is left alone.
    Unfinished,
}

/// Who moves tags, and by what.
pub(super) struct Tagging<'a> {
    /// Where the bundles lie.
    pub(super) bundles: &'a Known<'a>,
    /// Where the state lies.
    pub(super) place: &'a Known<'a>,
    pub(super) collection: &'a CollectionName,
    pub(super) anchor: &'a bytes::Bytes,
    pub(super) memories: &'a [Memory],
    pub(super) now: UnixTime,
    pub(super) moves: Moves,
}

impl Tagging<'_> {
    /// Let `tags` name what the state says; after the last one the state is read again, until they agree. Manifests that are
    /// at hand need not be fetched. Tags that already name it are left alone when `look_first` is set.
    pub(super) async fn set(
        &self,
        tags: &BTreeSet<Tag>,
        whole: &Whole,
        manifest: &Digest,
        manifests: &BTreeMap<Digest, Content>,
        finished: &mut Finished,
    ) -> Result<(), WorkError> {
        let (mut whole, mut manifest) = (whole.clone(), manifest.clone());
        let mut named: BTreeMap<Tag, Digest> = BTreeMap::new();
        for _ in 0..TAG_ROUNDS {
            let entries = entries(&whole, self.collection)?;
            let mut moved = false;
            for tag in tags {
                let Some((_, entry)) = entries.get(&EntryName::Tag(tag.clone())) else { continue };
                if named.get(tag) == Some(&entry.digest) {
                    continue;
                }
                named.insert(tag.clone(), entry.digest.clone());
                match self.set_one(tag, entry, manifests).await {
                    Ok(Did::Now) => {
                        moved = true;
                        finished.tags.insert(tag.clone(), entry.digest.clone());
                    }
                    Ok(Did::Before) => {}
                    Ok(Did::Absent) => {
                        finished.absent.insert(entry.digest.clone());
                    }
                    Err(error) => finished.open.push(Open { duty: Duty::Tag(tag.clone()), error }),
                }
            }
            if !moved {
                return Ok(());
            }
            match look(self.place, self.collection, self.anchor, self.memories, self.now).await {
                // An older state is what the registry showed before, or a rollback: no reason to move a tag back. So is one under
                // keys that were replaced since.
                Ok(Some(looked)) if looked.manifest != manifest && !looked.whole.is_below(&whole) => {
                    (whole, manifest) = (looked.whole, looked.manifest);
                }
                Ok(_) | Err(WorkError::Older(_) | WorkError::Live(_)) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Set one tag.
    async fn set_one(
        &self,
        tag: &Tag,
        entry: &Bundle,
        manifests: &BTreeMap<Digest, Content>,
    ) -> Result<Did, StoreError> {
        let digest = &entry.digest;
        if let Some(now) = self.bundles.resolve(&Selector::Tag(tag.clone())).await? {
            let moved_on =
                self.moves == Moves::Unfinished && Some(now.digest()) != entry.about.previous.as_ref();
            if now.digest() == digest || moved_on {
                return Ok(Did::Before);
            }
        }
        let fetched = match manifests.get(digest) {
            Some(content) => Some(content.clone()),
            None => bundle(self.bundles, digest).await?,
        };
        let Some(content) = fetched else { return Ok(Did::Absent) };
        self.bundles.push_manifest(&content, Some(tag)).await?;
        self.bundles.store().flush().await?;
        Ok(Did::Now)
    }
}

/// A bundle, of which the collection says that it was released. Asked for twice: one wrong "not there" shall not leave it
/// without seal and tag.
async fn bundle(place: &Known<'_>, digest: &Digest) -> Result<Option<Content>, StoreError> {
    let selector = Selector::Digest(digest.clone());
    match place.resolve(&selector).await? {
        None => place.resolve(&selector).await,
        found => Ok(found),
    }
}

/// What renew looks after when it has committed.
pub(super) struct Tidy<'a> {
    pub(super) tagging: Tagging<'a>,
    pub(super) first: Option<&'a Whole>,
    pub(super) last: &'a Whole,
    pub(super) manifest: &'a Digest,
    pub(super) memory_is_newer: bool,
    pub(super) listed: &'a [SubmissionTag],
    /// Those of a root, or of several roles, that both hold.
    pub(super) settled: &'a [SubmissionTag],
}

/// What became of a seal or tag.
enum Did {
    /// It was hung or set.
    Now,
    /// It was as it must be already, or is no longer ours to move.
    Before,
    /// The bundle is not here.
    Absent,
}

/// What became of a submission that nothing depends on any more.
enum Removed {
    Gone,
    /// Something else lies at its tag.
    Foreign,
    /// The place deletes nothing.
    Impossible,
}

impl Tidy<'_> {
    /// Recheck the duties of every submission that is in; then delete those that nothing depends on any more.
    pub(super) async fn run(&self) -> Result<Finished, WorkError> {
        let mut finished = Finished::default();
        let collection = self.tagging.collection;
        let entries = entries(self.last, collection)?;
        let signed: BTreeSet<(&RoleName, Version)> = self.signed();
        let theirs =
            |(role, b): &(RoleName, Bundle)| b.about.set.is_some_and(|v| signed.contains(&(role, v)));
        let mut sealed: BTreeMap<&Digest, (&Bundle, BTreeSet<Tag>)> = BTreeMap::new();
        let mut tags = BTreeSet::new();
        for (name, listed) in entries.iter().filter(|(_, listed)| theirs(listed)) {
            let bundle = &listed.1;
            let slot = match (name, bundle.about.claim) {
                (EntryName::Release(_), Some(Claim::Release)) => sealed.entry(&bundle.digest),
                (EntryName::Tag(tag), Some(Claim::Tag)) => {
                    tags.insert(tag.clone());
                    if entries.contains_key(&EntryName::Release(bundle.digest.clone())) {
                        continue;
                    }
                    sealed.entry(&bundle.digest)
                }
                _ => continue,
            };
            let (_, named) = slot.or_insert_with(|| (bundle, BTreeSet::new()));
            named.extend(bundle.about.tags.iter().cloned());
            named.extend(match name {
                EntryName::Tag(tag) => Some(tag.clone()),
                EntryName::Release(_) => None,
            });
        }
        let sealing: Vec<BoxFuture<'_, _>> = sealed
            .into_values()
            .map(|(bundle, tags)| {
                async move { (bundle.digest.clone(), self.seal(bundle, &tags).await) }.boxed()
            })
            .collect();
        let results: Vec<_> = stream::iter(sealing).buffer_unordered(CONCURRENCY).collect().await;
        let hung = results.iter().any(|(_, result)| matches!(result, Ok(Did::Now)));
        let waited = if hung { self.tagging.bundles.store().flush().await } else { Ok(()) };
        for (digest, result) in results {
            match result {
                Ok(Did::Now) => match &waited {
                    Ok(()) => {
                        finished.seals.insert(digest);
                    }
                    Err(e) => finished.open.push(Open { duty: Duty::Seal(digest), error: e.clone() }),
                },
                Ok(Did::Before) => {}
                Ok(Did::Absent) => {
                    finished.absent.insert(digest);
                }
                Err(WorkError::Store(error)) => finished.open.push(Open { duty: Duty::Seal(digest), error }),
                Err(e) => return Err(e),
            }
        }
        self.tagging.set(&tags, self.last, self.manifest, &BTreeMap::new(), &mut finished).await?;
        if finished.open.is_empty() {
            self.delete(&mut finished).await?;
        }
        Ok(finished)
    }

    /// The role versions of which a submission lies there. What is outside the window was looked after long ago, and lies there
    /// where nothing can be deleted.
    fn signed(&self) -> BTreeSet<(&RoleName, Version)> {
        let of = |(role, at): (&'_ RoleName, &RoleAt)| -> Vec<Version> {
            let live = at.file.version().get();
            let theirs = self.listed.iter().filter(|t| t.is_of(role)).map(SubmissionTag::version);
            theirs.filter(|v| v.get() + WINDOW > live).collect()
        };
        let roles = self.last.roles().iter();
        roles.flat_map(|(role, at)| of((role, at)).into_iter().map(move |v| (role, v))).collect()
    }

    /// Hang a seal where none of this collection hangs. [`Manage::flush`] must follow.
    async fn seal(&self, entry: &Bundle, tags: &BTreeSet<Tag>) -> Result<Did, WorkError> {
        let place = self.tagging.bundles;
        let listed = place.referrers(&entry.digest, Some(media_type::BULLA_SEAL)).await?;
        let root = self.last.files().root(Version::ONE).map(|b| Digest::sha256(b));
        let mut read = 0;
        for seal in listed.into_iter().take(MAX_SEALS) {
            let content = match place.resolve(&Selector::Digest(seal.digest)).await {
                Ok(Some(content)) => content,
                Ok(None) => continue,
                Err(e) if e.is_the_items_own() => continue,
                Err(e) => return Err(e.into()),
            };
            let ours = Manifest::parse(&content).is_ok_and(|m| {
                let name = FileName::versioned(RoleName::root(), Version::ONE).to_string();
                m.subject.as_ref().is_some_and(|s| s.digest == entry.digest)
                    && m.layers.iter().any(|l| {
                        l.annotation(FILENAME) == Some(name.as_str()) && Some(&l.digest) == root.as_ref()
                    })
            });
            if !ours {
                continue;
            }
            // Anybody can hang up what only looks like a seal. Where many do, another one is hung: the same state gives the same.
            read += 1;
            if read > READ_SEALS {
                break;
            }
            match state::read(place, &content, Kind::Seal).await {
                Ok(seal) if self.serves(entry, tags, &seal.files) => return Ok(Did::Before),
                Ok(_) | Err(StateError::Invalid { .. }) => {}
                Err(StateError::Store(e)) if e.is_the_items_own() => {}
                Err(StateError::Store(e)) => return Err(e.into()),
            }
        }
        let Some(content) = bundle(place, &entry.digest).await? else { return Ok(Did::Absent) };
        hang_seal(place, self.last, self.tagging.collection, content.descriptor(), tags).await?;
        Ok(Did::Now)
    }

    /// Whether the files of a seal verify, expired or not, and list the bundle: by its digest, or one of its tags where a role
    /// that speaks for tags only vouches for it.
    fn serves(&self, bundle: &Bundle, tags: &BTreeSet<Tag>, files: &Files) -> bool {
        let collection = self.tagging.collection;
        let (name, limits) = (collection.to_string(), Limits::default());
        let Ok(chain) = walk(self.tagging.anchor, collection, &[self.last.files(), files], &limits) else {
            return false;
        };
        let now = self.tagging.now;
        let trusted = Trusted::judge(chain.last(), files, Some(&name), None, Expiry::Collect, now, &limits);
        let Ok(trusted) = trusted else { return false };
        let lists = |path: &str| {
            let target = trusted.find(path, files).ok().and_then(|found| found.target);
            target.is_some_and(|(_, t)| t.sha256() == Some(bundle.digest.hex()))
        };
        lists(&collection.release_path(&bundle.digest)) || tags.iter().any(|t| lists(&collection.tag_path(t)))
    }

    /// Delete the submissions that the state read first, signed an hour ago or more, and the one read last both hold; and those
    /// outside the window of the first.
    async fn delete(&self, finished: &mut Finished) -> Result<(), WorkError> {
        let Some(first) = self.first else { return Ok(()) };
        let age = self.tagging.now.secs() - signed_at(first.trusted().timestamp()).secs();
        if age < SETTLED || self.memory_is_newer {
            return Ok(());
        }
        let mut views: Vec<(RoleName, View, View)> = Vec::new();
        for role in first.roles().keys() {
            let view = |whole: &Whole| -> Result<Option<View>, WorkError> {
                let Some(file) = whole.role(role) else { return Ok(None) };
                let file = RoleFile::of(file).map_err(|fault| TufError::new(role, fault))?;
                Ok(Some(View::of(&file)))
            };
            if let (Some(a), Some(b)) = (view(first)?, view(self.last)?) {
                views.push((role.clone(), a, b));
            }
        }
        let goes = |tag: &SubmissionTag| {
            views.iter().find(|(role, ..)| tag.is_of(role)).is_some_and(|(_, first, last)| {
                (first.knows(tag.hash()) && last.knows(tag.hash())) || first.is_past(tag.version())
            })
        };
        for tag in self.listed.iter().filter(|t| goes(t) || self.settled.contains(t)) {
            let Some(name) = tag.tag(self.tagging.collection) else { continue };
            match self.remove(tag, &name).await {
                Ok(Removed::Gone) => finished.deleted.push(tag.clone()),
                Ok(Removed::Foreign) => {}
                // Where nothing can be deleted, nothing more is tried.
                Ok(Removed::Impossible) => return Ok(()),
                Err(error) => {
                    finished.open.push(Open { duty: Duty::Delete(name), error });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Delete a tag, or the manifest where tags cannot be deleted.
    async fn remove(&self, submission: &SubmissionTag, tag: &Tag) -> Result<Removed, StoreError> {
        let place = self.tagging.place;
        if place.store().delete(&Selector::Tag(tag.clone())).await? {
            return Ok(Removed::Gone);
        }
        let Some(content) = place.resolve(&Selector::Tag(tag.clone())).await? else {
            return Ok(Removed::Gone);
        };
        // Whoever may push may let the tag name anything, a bundle or the state too.
        if !submission.names(&content) {
            return Ok(Removed::Foreign);
        }
        match place.store().delete(&Selector::Digest(content.digest().clone())).await? {
            true => Ok(Removed::Gone),
            false => Ok(Removed::Impossible),
        }
    }
}
