//! What an installation remembers of a chain of roots, judged: the one place that says what it is worth (docs/adr/0016).
//!
//! A state was verified when it was remembered, so it is judged under the root of that time: whatever keys were rotated since, its
//! versions are floors, and what it says to be revoked stays said. As a state that vouches for anything it is judged by the
//! callers, under the final root, like one from a registry.

use bytes::Bytes;

use super::{
    CollectionName, Expiry, Fault, FileName, Files, Floor, Limits, Metadata, Remembered, RoleName, Root,
    RootWalk, Trusted, TufError, Version,
};
use crate::time::UnixTime;

/// What the memory of one chain comes to.
#[derive(Debug, Clone)]
#[must_use]
pub enum Recall {
    /// No state is remembered: roots alone are no floor.
    Nothing,
    /// A state that holds under the root it was verified under.
    State(Box<Recalled>),
    /// A state that does not hold even under that root: it was damaged since. That is not the same as none.
    Damaged(TufError),
}

/// A remembered state, of which the top level holds under the root it was verified under. Any other file of it may be missing: who
/// verified a bundle had no need of every role, and may have been shown only some.
#[derive(Debug, Clone)]
pub struct Recalled {
    trusted: Trusted,
    files: Files,
}

/// The revocation list of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Top-level targets delegates the role to nobody.
    Undelegated,
    /// The bytes of the list, as they are pinned.
    List(Bytes),
    /// There should be one.
    Missing(TufError),
}

impl Recall {
    /// Judge what is remembered.
    pub fn of(
        memory: Option<&Remembered>,
        collection: &CollectionName,
        now: UnixTime,
        limits: &Limits,
    ) -> Self {
        let state = memory.and_then(|memory| Some((memory, memory.verified_under?)));
        match state.map(|(memory, under)| Recalled::judge(memory, under, collection, now, limits)) {
            None => Self::Nothing,
            Some(Ok(state)) => Self::State(Box::new(state)),
            Some(Err(e)) => Self::Damaged(e),
        }
    }

    /// Whether one is remembered that nothing can be said by.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    /// The state, if one is remembered.
    ///
    /// # Errors
    /// One is, and is damaged.
    pub fn state(self) -> Result<Option<Recalled>, TufError> {
        match self {
            Self::Nothing => Ok(None),
            Self::State(state) => Ok(Some(*state)),
            Self::Damaged(e) => Err(e),
        }
    }
}

impl Recalled {
    fn judge(
        memory: &Remembered,
        under: Version,
        collection: &CollectionName,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let name = collection.to_string();
        let root = own_root(memory, under, &name, limits)?;
        let trusted = Trusted::judge(&root, &memory.files, Some(&name), None, Expiry::Collect, now, limits)?;
        Ok(Self { trusted, files: memory.files.clone() })
    }

    /// The top level; its root is the one that it was verified under.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// The remembered files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The floor that it makes under the final root; none when the keys of timestamp or snapshot changed since.
    pub fn floor(&self, root: &Root) -> Option<Floor> {
        Floor::of(&self.trusted, self.trusted.root().role(), root)
    }

    /// Whether a version (timestamp, snapshot or a role) is smaller than in `other`, or a role is gone.
    pub fn is_below(&self, other: &Self) -> bool {
        let floor = Floor::made_by(other.trusted.timestamp(), other.trusted.snapshot());
        floor.fallen(&self.trusted).is_some()
    }

    /// With what `other` has of the files that this state pins.
    #[must_use]
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.files.add_missing(&Remembered::pinned(&self.trusted, &other.files));
        self
    }

    /// Its revocation list. No other role is asked.
    pub fn revocations(&self, collection: &CollectionName) -> Listing {
        Listing::of(&self.trusted, &self.files, collection)
    }
}

/// The states of `others`, chains of the name to which no walk leads from `anchor`, that count all the same under the final root,
/// each with its floor: roots between the two are not at hand, and the same keys sign timestamp and snapshot. Whoever keeps back
/// roots must not make two chains of one.
///
/// # Errors
/// One of them is damaged.
pub fn beyond(
    others: &[Remembered],
    anchor: &Bytes,
    root: &Root,
    collection: &CollectionName,
    now: UnixTime,
    limits: &Limits,
) -> Result<Vec<(Recalled, Floor)>, TufError> {
    let states = apart(others, anchor, collection, now, limits)?;
    Ok(states.into_iter().filter_map(|state| state.floor(root).map(|floor| (state, floor))).collect())
}

/// The states of `others` that may be of the chain of `anchor`, whatever keys sign timestamp and snapshot by now.
///
/// # Errors
/// One of them is damaged.
pub fn apart(
    others: &[Remembered],
    anchor: &Bytes,
    collection: &CollectionName,
    now: UnixTime,
    limits: &Limits,
) -> Result<Vec<Recalled>, TufError> {
    let may = others.iter().filter(|other| other.may_lead_to(anchor, limits));
    may.filter_map(|other| Recall::of(Some(other), collection, now, limits).state().transpose()).collect()
}

impl Listing {
    /// The list of a state, by its top level and the role of revocations alone.
    pub fn of(trusted: &Trusted, files: &Files, collection: &CollectionName) -> Self {
        let (role, path) = (RoleName::revocations(), collection.revocations_path());
        let missing = |fault| Self::Missing(TufError::new(&role, fault));
        let Some(delegation) = trusted.targets().role().delegation(&role) else { return Self::Undelegated };
        let file = match trusted.load(delegation, files) {
            Ok(Some(file)) => file,
            Ok(None) => return missing(Fault::NotListed(RoleName::snapshot())),
            Err(e) => return Self::Missing(e),
        };
        let Some(target) = file.role().targets().get(&path) else {
            return missing(Fault::NotListed(role.clone()));
        };
        match files.target(&path) {
            None => missing(Fault::Format(format!("the file {path} is missing"))),
            Some(bytes) => match target.check(bytes) {
                Ok(()) => Self::List(bytes.clone()),
                Err(fault) => missing(fault),
            },
        }
    }

    /// The list, where `understood` takes it.
    pub fn readable(&self, understood: impl Fn(&[u8]) -> bool) -> Option<&Bytes> {
        match self {
            Self::List(bytes) => Some(bytes).filter(|b| understood(b)),
            Self::Undelegated | Self::Missing(_) => None,
        }
    }
}

/// A remembered root: it signed itself, and was verified by the one before when it was remembered.
fn own_root(
    memory: &Remembered,
    version: Version,
    collection: &str,
    limits: &Limits,
) -> Result<Metadata<Root>, TufError> {
    let role = RoleName::root();
    let name = FileName::versioned(role.clone(), version);
    let bytes = memory.files.get(&name).ok_or_else(|| TufError::new(&role, Fault::Missing(name)))?;
    let root = RootWalk::start(bytes, Some(collection), limits)?.finish().last().clone();
    if root.version() != version {
        return Err(TufError::new(&role, Fault::Version { expected: version, got: root.version() }));
    }
    Ok(root)
}
