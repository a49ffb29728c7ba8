//! The first files, once enough have signed them, become the first state.

use std::path::Path;

use super::first::add_online;
use super::{Created, InitError, RootFile};
use crate::client::known::Known;
use crate::client::memory::Memory;
use crate::client::signing::{KeyRing, require};
use crate::client::state::{self, Kind, StateError};
use crate::client::whole::{Whole, walk};
use crate::oci::Selector;
use crate::sig::json;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::proposal::Group;
use crate::tuf::{CollectionName, Files, Limits, Recall, Remembered, RoleName, Version};

/// Where a first state is made, and with what.
pub struct Founding<'a> {
    /// The collection's name.
    pub collection: &'a CollectionName,
    /// Where the state is written.
    pub store: &'a dyn Manage,
    /// The keys at hand; the online key must be among them.
    pub keys: &'a dyn KeyRing,
    /// How long the snapshot is valid.
    pub snapshot: Duration,
    /// How long the timestamp is valid.
    pub timestamp: Duration,
    /// Where the root is written for handing out.
    pub root_file: &'a Path,
    /// What lies there and what is remembered of the collection is no obstacle: it begins anew.
    pub anew: bool,
    /// A state there that has this very first root is what was made before: it is taken as made.
    pub resume: bool,
    /// Where the state is remembered: the home, and a lock file.
    pub memories: &'a [Memory],
    /// The time.
    pub now: UnixTime,
}

/// Make the first state of signed files; the root in them is trusted for nothing but its own word.
///
/// # Errors
/// See [`InitError`]. Before the state is pushed nothing is left behind.
pub async fn found(founding: &Founding<'_>, first: &Group) -> Result<Created, InitError> {
    let (collection, store) = (founding.collection, founding.store);
    let (place, tag) = (store.place(), collection.state_tag());
    let exists = || InitError::Exists { collection: collection.clone(), place: place.clone() };
    let first_time = !founding.anew;
    if founding.resume
        && let Some(made) = made_before(founding, first).await?
    {
        return Ok(made);
    }
    if let Some(memory) = founding.memories.iter().find(|m| first_time && m.path().exists()) {
        return Err(InitError::Remembered { collection: collection.clone(), path: memory.path().to_owned() });
    }
    let there = match state::resolve_state(store, collection).await {
        Err(StateError::Store(e)) if e.is_not_found() => None,
        other => other?,
    };
    if there.is_some() && first_time {
        return Err(exists());
    }
    let mut files = Files::new();
    first.named()?.into_iter().for_each(|(name, bytes)| files.put(name, bytes));
    first.files.iter().for_each(|(path, bytes)| files.put_target(path.clone(), bytes.clone()));
    let root = files.root(Version::ONE).cloned().unwrap_or_default();
    let limits = Limits::default();
    let chain = walk(&root, collection, &[&files], &limits)?;
    let keys = chain.last().role();
    require(founding.keys, &RoleName::timestamp(), keys.timestamp_keys())?;
    require(founding.keys, &RoleName::snapshot(), keys.snapshot_keys())?;
    let lives = (founding.snapshot, founding.timestamp);
    add_online(&mut files, chain.last(), founding.keys, lives, founding.now, collection).await?;
    let whole = Whole::judge(&chain, &files, collection, founding.now, &limits)?;
    let late = |(role, expires): (RoleName, UnixTime)| {
        (expires <= founding.now).then_some(InitError::Late { role, expires })
    };
    let delegated = whole.roles().iter().map(|(role, at)| (role.clone(), at.file.expires()));
    if let Some(late) = whole.trusted().expiries().into_iter().chain(delegated).find_map(late) {
        return Err(late);
    }
    let own = whole.own_targets(collection)?;
    let lacking = |(_, path, t): &(RoleName, String, crate::tuf::Target)| {
        files.target(path).is_none_or(|b| t.check(b).is_err()).then(|| path.clone())
    };
    if let Some(path) = own.iter().find_map(lacking) {
        return Err(InitError::TargetFile(path));
    }

    let written = RootFile::write(founding.root_file, &root)?;
    let packed = state::pack(Kind::State, &files, None);
    Known::new(store).push(&packed, Some(&tag)).await?;
    // Two who create one collection at once: the last PUT wins, and only its maker goes on.
    let back = store.resolve(&Selector::Tag(tag.clone())).await?;
    if back.is_none_or(|b| b.digest() != packed.manifest.digest()) {
        return Err(exists());
    }
    written.keep();
    let remembered = Remembered::of(&chain, whole.trusted(), &files, None);
    for memory in founding.memories {
        memory.save(&root, &remembered)?;
    }
    let digest = packed.manifest.digest().clone();
    Ok(Created::of(collection, &whole, &place, digest, root, founding.root_file))
}

/// The collection as it lies there, where it began with this very root: a commit that broke off, or is run again.
async fn made_before(founding: &Founding<'_>, first: &Group) -> Result<Option<Created>, InitError> {
    let (collection, limits) = (founding.collection, Limits::default());
    let read = match state::fetch_state(founding.store, collection).await {
        Ok(Some(read)) => read,
        Ok(None) | Err(StateError::Invalid { .. }) => return Ok(None),
        Err(StateError::Store(e)) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let signed = |bytes: &[u8]| json::parse(bytes).ok().and_then(|v| v.get("signed").cloned());
    let ours = first.root.as_ref().and_then(|root| signed(root));
    let Some(root) = read.files.root(Version::ONE).filter(|r| ours.is_some() && signed(r) == ours).cloned()
    else {
        return Ok(None);
    };
    let Ok(chain) = walk(&root, collection, &[&read.files], &limits) else { return Ok(None) };
    let Ok(whole) = Whole::judge(&chain, &read.files, collection, founding.now, &limits) else {
        return Ok(None);
    };
    // It is there already; that it can be used is another question, and not to be answered with "created".
    let stands = |why: String| InitError::Stands {
        collection: collection.clone(),
        place: founding.store.place(),
        why,
    };
    let mut expiries = whole.trusted().expiries().into_iter();
    if let Some((role, at)) = expiries.find(|(_, at)| *at <= founding.now) {
        return Err(stands(format!("{role} expired at {at}")));
    }
    let remembered = Memory::load_all(founding.memories, &root, &[&read.files])?;
    let recalled = Recall::of(remembered.as_ref(), collection, founding.now, &limits).state()?;
    let floor = recalled.and_then(|state| state.floor(chain.last().role()));
    if let Some(role) = floor.and_then(|floor| floor.fallen(whole.trusted())) {
        return Err(stands(format!("its {role} is older than the one that is remembered here")));
    }
    if std::fs::read(founding.root_file).ok().as_deref() != Some(&root[..]) {
        RootFile::write(founding.root_file, &root)?.keep();
    }
    for memory in founding.memories {
        let before = memory.load(&root)?;
        memory.save(&root, &Remembered::of(&chain, whole.trusted(), &read.files, before.as_ref()))?;
    }
    let (place, digest) = (founding.store.place(), read.manifest.digest().clone());
    Ok(Some(Created::of(collection, &whole, &place, digest, root, founding.root_file)))
}
