//! What is remembered beside what is live: a state that can stand in for it, or a floor alone.

use super::WorkError;
use crate::client::whole::Whole;
use crate::time::UnixTime;
use crate::tuf::{
    CollectionName, Files, Floor, Limits, Recall, Recalled, Remembered, RootChain, TufError, Version, beyond,
};

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
