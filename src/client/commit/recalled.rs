//! What is remembered beside what is live: a state that can stand in for it, or a floor alone.

use super::WorkError;
use crate::client::whole::Whole;
use crate::time::UnixTime;
use crate::tuf::{
    CollectionName, Files, Floor, Limits, Recall, Recalled, Remembered, RootChain, TufError, Version,
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
            return Ok(Self { recalled, memory: None, floor: None, unfit: None, last });
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
        Ok(Self { recalled, memory, floor, unfit, last })
    }

    /// Refuse what the memory cannot put right: a live state below its floor, or none beside a memory that lacks files.
    ///
    /// # Errors
    /// [`WorkError::Older`], [`WorkError::Remembered`].
    pub fn check(&self, live: Option<&Whole>) -> Result<(), WorkError> {
        let (Some(e), Some(floor), Some(state)) = (&self.unfit, &self.floor, &self.recalled) else {
            return Ok(());
        };
        match live.map(|live| floor.fallen(live.trusted())) {
            Some(None) => Ok(()),
            Some(Some(role)) => Err(WorkError::Older(role)),
            None if state.trusted().root().version() == self.last => Err(WorkError::Remembered(e.clone())),
            None => Ok(()),
        }
    }
}
