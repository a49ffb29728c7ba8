//! What is remembered beside what is live: a state that can stand in for it, or a floor alone.

use bytes::Bytes;

use super::WorkError;
use crate::client::memory::{Memory, MemoryError};
use crate::client::whole::{Whole, walk_on};
use crate::time::UnixTime;
use crate::tuf::{
    CollectionName, Files, Floor, Limits, Recall, Recalled, Remembered, RootChain, TufError, Version, apart,
    beyond,
};

/// All that several memories hold of a collection, seen from a trusted root. Every command starts from it, so that one and the same
/// floor holds for all of them (docs/adr/0016).
#[derive(Debug, Clone)]
pub struct Past {
    anchor: Bytes,
    collection: CollectionName,
    /// The chain of the trusted root.
    pub own: Option<Remembered>,
    /// Chains of the name of which cannot be seen here how they go on from it.
    others: Vec<Remembered>,
}

impl Past {
    /// Read it; roots that are `offered` may lie between those that are remembered and the trusted one.
    ///
    /// # Errors
    /// A memory cannot be read, or two contradict each other.
    pub fn load(
        memories: &[Memory],
        anchor: &Bytes,
        collection: &CollectionName,
        offered: &[&Files],
    ) -> Result<Self, MemoryError> {
        let own = Memory::load_all(memories, anchor, offered)?;
        let others = Memory::others(memories, anchor, offered)?;
        Ok(Self { anchor: anchor.clone(), collection: collection.clone(), own, others })
    }

    /// The roots, as they are remembered and as `sources` offer them.
    ///
    /// # Errors
    /// As [`walk_on`].
    pub fn chain(&self, sources: &[&Files]) -> Result<RootChain, TufError> {
        let known = self.own.as_ref().map(|own| &own.files);
        walk_on(&self.anchor, &self.collection, known, sources, &Limits::default())
    }

    /// What it comes to under the final root of `chain`. Of the files that it pins, those that are missing are taken from `live`.
    ///
    /// # Errors
    /// [`WorkError::Remembered`]: it is damaged.
    pub fn beside<'a>(
        &self,
        chain: &RootChain,
        live: impl IntoIterator<Item = &'a Files>,
        now: UnixTime,
    ) -> Result<Beside, WorkError> {
        let recall = Recall::of(self.own.as_ref(), &self.collection, now, &Limits::default());
        Beside::new(recall, chain, live, &self.collection, now)?.raised(
            &self.others,
            chain,
            &self.collection,
            now,
        )
    }

    /// Every state that is remembered, of the own chain first.
    ///
    /// # Errors
    /// One of them is damaged.
    pub fn states(&self, now: UnixTime) -> Result<Vec<Recalled>, TufError> {
        let limits = Limits::default();
        let own = Recall::of(self.own.as_ref(), &self.collection, now, &limits).state()?;
        let others = apart(&self.others, &self.anchor, &self.collection, now, &limits)?;
        Ok(own.into_iter().chain(others).collect())
    }

    /// The files of every chain, of the own one first.
    pub fn files(&self) -> impl Iterator<Item = &Files> {
        self.own.iter().chain(&self.others).map(|chain| &chain.files)
    }
}

/// What is remembered, judged under the final root.
pub struct Beside {
    /// The state, as it was verified.
    pub(super) recalled: Option<Recalled>,
    /// The state, where it verifies whole under the final root: it can take the place of a live one.
    pub memory: Option<Whole>,
    /// The floor that it makes, whole or not, until it falls with the online keys (TUF specification 5.3.11).
    pub floor: Option<Floor>,
    /// Why it is not whole: keys were rotated since, or not every file of it was ever seen here.
    unfit: Option<TufError>,
    /// Whether the floor is also another chain's, by which nothing can be put right.
    beyond: bool,
    last: Version,
}

impl Beside {
    /// Judge `recall`, with what only `live` has of the files that it pins: who verified a bundle had no need of every role, and
    /// may have been shown only some.
    ///
    /// # Errors
    /// [`WorkError::Remembered`]: it is damaged.
    pub fn new<'a>(
        recall: Recall,
        chain: &RootChain,
        live: impl IntoIterator<Item = &'a Files>,
        collection: &CollectionName,
        now: UnixTime,
    ) -> Result<Self, WorkError> {
        let recalled = recall.state().map_err(WorkError::Remembered)?;
        let last = chain.last().version();
        let Some(state) = &recalled else {
            return Ok(Self { recalled, memory: None, floor: None, unfit: None, beyond: false, last });
        };
        let mut files = state.files().clone();
        for live in live {
            files.add_missing(&Remembered::pinned(state.trusted(), live));
        }
        let (memory, unfit) = match Whole::judge(chain, &files, collection, now, &Limits::default()) {
            Ok(whole) => (Some(whole), None),
            Err(e) => (None, Some(e)),
        };
        let floor = state.floor(chain.last().role());
        Ok(Self { recalled, memory, floor, unfit, beyond: false, last })
    }

    /// The root under which the state that is remembered was verified.
    pub fn verified_under(&self) -> Option<Version> {
        self.recalled.as_ref().map(|state| state.trusted().root().version())
    }

    /// Raise the floor by what counts of `others` ([`beyond`]).
    ///
    /// # Errors
    /// [`WorkError::Remembered`]: one of them is damaged.
    pub fn raised(
        mut self,
        others: &[Remembered],
        chain: &RootChain,
        collection: &CollectionName,
        now: UnixTime,
    ) -> Result<Self, WorkError> {
        let (anchor, root) = (chain.roots()[0].bytes(), chain.last().role());
        let more = beyond(others, anchor, root, collection, now, &Limits::default());
        for (_, floor) in more.map_err(WorkError::Remembered)? {
            self.beyond = true;
            match &mut self.floor {
                Some(own) => own.raise(&floor),
                None => self.floor = Some(floor),
            }
        }
        Ok(self)
    }

    /// Refuse what the memory cannot put right: a live state below its floor, or none beside a memory that lacks files.
    ///
    /// # Errors
    /// [`WorkError::Older`], [`WorkError::Remembered`].
    pub fn check(&self, live: Option<&Whole>) -> Result<(), WorkError> {
        let Some(floor) = self.floor.as_ref().filter(|_| self.unfit.is_some() || self.beyond) else {
            return Ok(());
        };
        match (live.map(|live| floor.fallen(live.trusted())), &self.unfit, &self.recalled) {
            (Some(None), ..) => Ok(()),
            (Some(Some(role)), ..) => Err(WorkError::Older(role)),
            (None, Some(e), Some(state)) if state.trusted().root().version() == self.last => {
                Err(WorkError::Remembered(e.clone()))
            }
            (None, ..) => Ok(()),
        }
    }
}
