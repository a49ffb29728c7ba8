//! `publish`: bundles are signed into the collection, a seal is hung on each, their tags are moved last.

pub(super) mod proposed;
mod releases;
mod role;
mod thick;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub use self::proposed::Proposed;
use self::proposed::propose;
use self::releases::{Releases, Signs};
pub use self::thick::Thick;
use super::ceremony::CeremonyError;
use super::commit::{Committer, Gathering, Job, Pending, WorkError, Worked};
use super::duties::{Duty, Entries, Finished, Moves, Open, Tagging, entries, hang_seals};
use super::inside;
use super::known::Known;
use super::memory::Memory;
use super::signing::KeyRing;
use crate::oci::{
    Algorithm, Content, Descriptor, Digest, Manifest, ManifestError, ManifestKind, Reference, Selector, Tag,
    media_type,
};
use crate::store::{Manage, Store, StoreError};
use crate::time::{Clock, UnixTime};
use crate::trust::Code;
use crate::trust::cnab::{self, CnabIndex, CnabIndexError, FileHash};
use crate::tuf::lineage::Loser;
use crate::tuf::{Bundle, CollectionName, EntryName, RoleName, Version};

/// Most platform manifests of one index that are listed.
const MAX_PARTS: usize = 256;

/// Times that a file which others must sign is drafted on what was published meanwhile.
const MAX_DRAFTED: usize = 8;

/// What `publish` needs.
pub struct Request<'a> {
    /// The collection.
    pub collection: CollectionName,
    /// Its root, trusted beforehand.
    pub anchor: Bytes,
    /// Where the state lies.
    pub state: &'a dyn Manage,
    /// Where the bundles lie; often the same place.
    pub store: &'a dyn Manage,
    /// The bundles, pushed already.
    pub bundles: Vec<Wanted>,
    /// Sign as this role; otherwise as the one whose key is here.
    pub role: Option<RoleName>,
    /// What is remembered: in the home, and in a lock file.
    pub memories: &'a [Memory],
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// A bundle to vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub selector: Selector,
    /// Tags that shall name it, beside the one it was named by.
    pub tags: BTreeSet<Tag>,
}

/// How a publication ended.
#[derive(Debug, Clone)]
pub struct Published {
    /// The whole.
    pub status: Status,
    /// The collection.
    pub collection: CollectionName,
    /// The role that vouches for the bundles.
    pub role: RoleName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of the state's manifest that was read last.
    pub digest: Digest,
    /// Versions of releases, of that role, snapshot and timestamp in it.
    pub versions: BTreeMap<RoleName, Version>,
    /// Until when the state is valid: the first expiry of any role in it.
    pub expires: UnixTime,
    /// What became of each bundle.
    pub bundles: Vec<Outcome>,
    /// Number of states that were PUT.
    pub commits: usize,
    /// Number of forks that were merged.
    pub merged: usize,
    /// Values that did not stay where two stood for one path.
    pub losers: Vec<Loser>,
    /// Submissions PUT here: where an admission is awaited, these are the tags.
    pub submitted: Vec<Tag>,
    /// A next snapshot and timestamp that wait for more signatures.
    pub gathering: Option<Gathering>,
    /// Submissions that are not in.
    pub pending: Vec<Pending>,
    /// What is still to be done, and why it was not.
    pub open: Vec<Open>,
    /// Whether the live state was older than the memory, or gone, and was put right.
    pub repaired: bool,
}

/// What became of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The bundle, by digest.
    pub reference: Reference,
    /// Type, digest and size.
    pub bundle: Descriptor,
    /// Tags that name it now, in the state.
    pub tags: BTreeSet<Tag>,
    /// Platform manifests that are listed as its parts.
    pub parts: Vec<Digest>,
    /// The seal that was hung.
    pub seal: Option<Digest>,
    /// How it stands.
    pub status: Status,
    /// Tags that somebody else released with another digest meanwhile.
    pub lost: BTreeMap<Tag, Digest>,
}

/// How a publication, or one bundle in it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In the state that was read back, seal hung, tags set.
    Released,
    /// Signed and waiting for the online key.
    Submitted,
    /// In the state; a seal or a tag is missing.
    Incomplete,
    /// A tag was lost, or the release was withdrawn meanwhile.
    Refused,
}

/// Why nothing was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The bundle is not there.
    #[error("{0} is not there")]
    Absent(Reference),
    /// Its digest is not sha256.
    #[error("{0}: only sha256 digests are supported")]
    Algorithm(Reference),
    /// It is no manifest, or reads as two things.
    #[error("{reference}: {error}")]
    Unsupported {
        /// The bundle.
        reference: Reference,
        /// Why.
        error: ManifestError,
    },
    /// It calls itself a CNAB bundle, and is not whole.
    #[error("{reference}: {why} ({code})")]
    Cnab {
        /// The bundle.
        reference: Reference,
        /// The check that would fail.
        code: Code,
        /// Why.
        why: String,
    },
    /// A thick archive goes with one CNAB bundle.
    #[error("a thick archive goes with one CNAB bundle")]
    NoCnab,
    /// Another thick archive is listed for it.
    #[error("{found} is listed as its thick archive, and not {expected}")]
    Thick {
        /// What was given.
        expected: Digest,
        /// What is listed.
        found: String,
    },
    /// One tag for two bundles.
    #[error("the tag {0} is given to two bundles")]
    TwoBundles(Tag),
    /// More keys must sign: what is signed so far lies there as a proposal.
    #[error("{} must be signed by {} more of its keys", .0.role, .0.lacking.0)]
    Proposed(Box<Proposed>),
    /// The proposal could not be made.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The commit failed.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The place of the bundles failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A bundle that was read.
struct Prepared {
    content: Content,
    reference: Reference,
    tags: BTreeSet<Tag>,
    parts: Vec<Descriptor>,
    custom: Map<String, Value>,
}

/// Publish.
///
/// # Errors
/// See [`PublishError`]. What was pushed before stays and does no harm; the same call finishes it.
pub async fn publish(request: Request<'_>) -> Result<Published, PublishError> {
    publish_with(request, None).await
}

/// The same with a thick archive of the one CNAB bundle: its hash is signed with the bundle, and it is hung there.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish_with(request: Request<'_>, thick: Option<&Thick>) -> Result<Published, PublishError> {
    let store = Known::new(request.store);
    let state = Known::new(request.state);
    // One place is known once: the state's files are then no news to the seals.
    let same = request.state.place().at(None) == request.store.place().at(None);
    let store = if same { &state } else { &store };
    let mut bundles = Vec::new();
    let mut taken: BTreeSet<Tag> = BTreeSet::new();
    for wanted in &request.bundles {
        let prepared = prepare(store, wanted).await?;
        if let Some(tag) = prepared.tags.intersection(&taken).next() {
            return Err(PublishError::TwoBundles(tag.clone()));
        }
        taken.extend(prepared.tags.iter().cloned());
        bundles.push(prepared);
    }
    if let Some(thick) = thick {
        let [Prepared { content, custom, .. }] = &mut bundles[..] else { return Err(PublishError::NoCnab) };
        let cnab = custom.get_mut("cnab").and_then(Value::as_object_mut).ok_or(PublishError::NoCnab)?;
        cnab.insert("thick".into(), thick.hash.to_json());
        // Before anything says that it is there.
        thick.hang(request.store, content.descriptor()).await?;
    }
    let committer = Committer {
        place: &state,
        collection: &request.collection,
        anchor: &request.anchor,
        memories: request.memories,
        without_memory: request.without_memory,
        keys: request.keys,
        clock: request.clock,
    };
    let intents = Releases {
        collection: &request.collection,
        bundles: &bundles,
        asked: request.role.as_ref(),
        signs: OnceLock::new(),
    };
    let none = BTreeSet::new();
    let job = Job::changes(&intents, &none);
    let mut tries = 0;
    let worked = loop {
        tries += 1;
        match committer.work(&job).await {
            Err(WorkError::Partly(partly)) => match propose(&request, &committer, &partly).await? {
                Some(proposed) => return Err(PublishError::Proposed(Box::new(proposed))),
                None if tries < MAX_DRAFTED => {}
                None => return Err(WorkError::Contended(tries).into()),
            },
            other => break other?,
        }
    };
    let entries = entries(&worked.last, &request.collection).map_err(WorkError::from)?;
    let signs = intents.signs();
    let own = role::listed(&worked.last, &request.collection, &signs.role).map_err(WorkError::from)?;
    let seen = Seen {
        collection: &request.collection,
        signs: &signs,
        own: &own,
        entries: &entries,
        committed: worked.online,
    };
    if let Some(thick) = thick.filter(|_| worked.online) {
        listed_thick(&own, &bundles, thick)?;
    }
    let mut outcomes: Vec<Outcome> = bundles.iter().map(|b| outcome(b, &seen)).collect();

    let mut finished = Finished::default();
    let sealed: Vec<&mut Outcome> = bundles
        .iter()
        .zip(&mut outcomes)
        .filter(|(b, o)| o.status != Status::Submitted && is_read(&entries, b, o))
        .map(|(_, outcome)| outcome)
        .collect();
    let subjects: Vec<_> = sealed.iter().map(|o| (o.bundle.bare(), o.tags.clone())).collect();
    let hung = hang_seals(store, &worked.last, &request.collection, &subjects).await?;
    for (outcome, seal) in sealed.into_iter().zip(hung) {
        match seal {
            Ok(seal) => outcome.seal = Some(seal),
            Err(error) => {
                let duty = Duty::Seal(outcome.bundle.digest.clone());
                finished.open.push(Open { duty, error });
            }
        }
    }
    let tagging = Tagging {
        bundles: store,
        place: &state,
        collection: &request.collection,
        anchor: &request.anchor,
        memories: request.memories,
        now: request.clock.now(),
        moves: Moves::All,
    };
    // A role that is only read where it is named as a source moves no tags.
    let tags: BTreeSet<Tag> = outcomes
        .iter()
        .filter(|o| o.status != Status::Submitted)
        .flat_map(|o| o.tags.iter().filter(|t| names(&entries, t, &o.bundle.digest)).cloned())
        .collect();
    let manifests = bundles.iter().map(|b| (b.content.digest().clone(), b.content.clone())).collect();
    tagging.set(&tags, &worked.last, worked.manifest.digest(), &manifests, &mut finished).await?;
    for outcome in &mut outcomes {
        let open = finished.open.iter().any(|o| match &o.duty {
            Duty::Seal(digest) => *digest == outcome.bundle.digest,
            Duty::Tag(tag) => outcome.tags.contains(tag),
            Duty::Delete(_) => false,
        });
        if open && outcome.status == Status::Released {
            outcome.status = Status::Incomplete;
        }
    }
    Ok(published(&request, signs.role, worked, outcomes, finished))
}

/// Read a bundle and what is to be said about it.
async fn prepare(store: &Known<'_>, wanted: &Wanted) -> Result<Prepared, PublishError> {
    let asked = store.place().at(Some(wanted.selector.clone()));
    let content = match store.resolve(&wanted.selector).await {
        Err(e) if e.is_not_found() => None,
        other => other?,
    };
    let content = content.ok_or_else(|| PublishError::Absent(asked.clone()))?;
    if content.digest().algorithm() != Algorithm::Sha256 {
        return Err(PublishError::Algorithm(asked));
    }
    let unsupported = |error| PublishError::Unsupported { reference: asked.clone(), error };
    let manifest = Manifest::parse(&content).map_err(unsupported)?;
    let mut parts = parts(&manifest);
    let mut custom = Map::new();
    if let Some(index) = CnabIndex::of(&manifest).transpose() {
        let (bundle_json, images) = whole(store, &asked, index).await?;
        custom.insert("cnab".into(), json!({"bundle.json": bundle_json.to_json()}));
        // Each image is pulled by its own digest, so each is listed.
        let listed: BTreeSet<Digest> = parts.iter().map(|p| p.digest.clone()).collect();
        let sha256 = |d: &Descriptor| d.digest.algorithm() == Algorithm::Sha256;
        parts.extend(images.into_iter().filter(|d| sha256(d) && !listed.contains(&d.digest)));
        parts.truncate(MAX_PARTS);
    }
    let mut tags = wanted.tags.clone();
    tags.extend(wanted.selector.tag().cloned());
    let reference = store.place().at(Some(Selector::Digest(content.digest().clone())));
    Ok(Prepared { content, reference, tags, parts, custom })
}

/// Look into a CNAB bundle as a reader will: what it never passes with him is not published.
async fn whole(
    store: &dyn Store,
    asked: &Reference,
    index: Result<CnabIndex, CnabIndexError>,
) -> Result<(FileHash, Vec<Descriptor>), PublishError> {
    let read = match &index {
        Ok(index) => Some(inside::read(store, index).await),
        Err(_) => None,
    };
    let report = cnab::look(&index, read.as_ref());
    let refused =
        |code, why: &str| PublishError::Cnab { reference: asked.clone(), code, why: why.to_owned() };
    if let Some(check) = report.checks.iter().find(|check| check.is_fail()) {
        return Err(refused(check.code, &check.detail));
    }
    let (Ok(index), Some(found)) = (index, report.bundle_json) else {
        return Err(refused(Code::CnabUnreadable, "it was not read"));
    };
    let hash = FileHash { digest: found.digest, length: found.size };
    Ok((hash, index.images().into_iter().cloned().collect()))
}

/// One bundle has one thick archive: the first one stays, and who brings another is told.
fn listed_thick(
    own: &BTreeMap<EntryName, Bundle>,
    bundles: &[Prepared],
    thick: &Thick,
) -> Result<(), PublishError> {
    let wanted = thick.hash.to_json();
    for bundle in bundles {
        let names = bundle.tags.iter().cloned().map(EntryName::Tag).chain([release_of(bundle)]);
        for entry in names.filter_map(|name| own.get(&name)).filter(|e| e.digest == *bundle.content.digest())
        {
            let found = entry.custom.get("cnab").map(|cnab| cnab["thick"].clone()).unwrap_or_default();
            if found != wanted {
                let found = found["hashes"]["sha256"].as_str().unwrap_or("nothing").to_owned();
                return Err(PublishError::Thick { expected: thick.hash.digest.clone(), found });
            }
        }
    }
    Ok(())
}

/// The runnable platform manifests of an index: those with a platform that is not `unknown` (as attestations have it).
fn parts(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.kind != ManifestKind::Index {
        return Vec::new();
    }
    let runnable = |d: &&Descriptor| {
        let known = d.platform.as_ref().is_some_and(|p| p.os != "unknown" && p.architecture != "unknown");
        known && media_type::is_manifest(&d.media_type) && d.digest.algorithm() == Algorithm::Sha256
    };
    let mut seen = BTreeSet::new();
    let runnable = manifest.manifests.iter().filter(runnable).filter(|d| seen.insert(d.digest.clone()));
    runnable.take(MAX_PARTS).cloned().collect()
}

fn release_of(bundle: &Prepared) -> EntryName {
    EntryName::Release(bundle.content.digest().clone())
}

/// What the state that was read last says.
struct Seen<'a> {
    collection: &'a CollectionName,
    signs: &'a Signs,
    /// The entries of the role that signs.
    own: &'a BTreeMap<EntryName, Bundle>,
    /// The entries that readers find.
    entries: &'a Entries,
    committed: bool,
}

/// Whether readers find the bundle: by its digest, or by one of its tags.
fn is_read(entries: &Entries, bundle: &Prepared, outcome: &Outcome) -> bool {
    entries.contains_key(&release_of(bundle))
        || outcome.tags.iter().any(|tag| names(entries, tag, bundle.content.digest()))
}

/// Whether readers find that `tag` names `digest`.
fn names(entries: &Entries, tag: &Tag, digest: &Digest) -> bool {
    entries.get(&EntryName::Tag(tag.clone())).is_some_and(|(_, entry)| entry.digest == *digest)
}

/// How a bundle stands in the state that was read last.
fn outcome(bundle: &Prepared, seen: &Seen<'_>) -> Outcome {
    let (digest, committed) = (bundle.content.digest(), seen.committed);
    let (mut tags, mut lost) = (BTreeSet::new(), BTreeMap::new());
    let release = release_of(bundle);
    let listed = seen.own.get(&release).is_some_and(|e| e.about.claim.is_some());
    let mut absent = !listed && seen.signs.may_list(&seen.collection.release_path(digest));
    for tag in &bundle.tags {
        let name = EntryName::Tag(tag.clone());
        // Below releases what readers find decides; a role beside it is only read where it is named.
        let read = seen.entries.get(&name).filter(|_| role::is_searched(&seen.signs.role)).map(|(_, e)| e);
        match read.or_else(|| seen.own.get(&name)) {
            Some(entry) if entry.digest == *digest => {
                tags.insert(tag.clone());
            }
            Some(entry) if committed => {
                lost.insert(tag.clone(), entry.digest.clone());
            }
            _ => absent = true,
        }
    }
    let status = match (committed, absent, lost.is_empty()) {
        (false, true, _) => Status::Submitted,
        (true, true, _) | (_, _, false) => Status::Refused,
        _ => Status::Released,
    };
    Outcome {
        reference: bundle.reference.clone(),
        bundle: bundle.content.descriptor().bare(),
        tags,
        parts: bundle.parts.iter().map(|p| p.digest.clone()).collect(),
        seal: None,
        status,
        lost,
    }
}

fn published(
    request: &Request<'_>,
    role: RoleName,
    worked: Worked,
    bundles: Vec<Outcome>,
    finished: Finished,
) -> Published {
    let trusted = worked.last.trusted();
    let mut versions = BTreeMap::from([
        (RoleName::snapshot(), trusted.snapshot().version()),
        (RoleName::timestamp(), trusted.timestamp().version()),
    ]);
    for role in [RoleName::releases(), role.clone()] {
        versions.extend(trusted.pin(&role).map(|p| (role.clone(), p.version)));
    }
    let expiries = trusted.expiries().into_iter().map(|(_, at)| at);
    let expires = expiries.chain(worked.last.roles().values().map(|r| r.file.expires())).min();
    let tag = request.collection.state_tag();
    Published {
        status: bundles.iter().map(|b| b.status).max().unwrap_or(Status::Released),
        collection: request.collection.clone(),
        role,
        state: request.state.place().at(Some(Selector::Tag(tag))),
        digest: worked.manifest.digest().clone(),
        versions,
        expires: expires.unwrap_or_else(|| trusted.timestamp().expires()),
        bundles,
        commits: worked.commits,
        merged: worked.merged,
        losers: worked.losers,
        submitted: worked.submitted.iter().filter_map(|t| t.tag(&request.collection)).collect(),
        gathering: worked.gathering,
        pending: worked.pending,
        open: finished.open,
        repaired: worked.repaired,
    }
}

#[cfg(test)]
mod tests;
