//! The state as it is PUT: with the earlier role files that it names.

use super::round::{Chosen, Round, timestamp_due};
use super::{Committer, WorkError};
use crate::client::history::History;
use crate::client::state::{self, Packed};
use crate::client::whole::Whole;
use crate::oci::Tag;
use crate::store::{Failure, StoreError};
use crate::tuf::RootChain;

impl Committer<'_> {
    /// What the next state keeps of the past: what the live one named, and every role file that is replaced now.
    pub(super) async fn history(
        &self,
        round: &Round,
        chosen: &Chosen,
        chain: &RootChain,
        next: &Whole,
    ) -> Result<History, StoreError> {
        let mut history = round.manifest.as_ref().map(History::of).unwrap_or_default();
        // As it lies there, verified or not: what a thief signed is what an audit looks for.
        for files in round.raw.iter().chain(round.memory.iter().map(Whole::files)) {
            history.add_all(files);
        }
        for submission in round.seen.iter().chain(&chosen.signed) {
            let ancestor = submission.file.as_ancestor();
            if next.role(&submission.role).is_some_and(|live| live.holds(&ancestor)) {
                history.add(Whole::file_name(&submission.role, &submission.file), submission.file.bytes());
            }
        }
        history.trim(next, chain, self.collection, self.place.store()).await?;
        // Once a day: what the place has lost is no longer named, and shows as a gap.
        if round.live.as_ref().is_some_and(|live| timestamp_due(live) <= self.clock.now()) {
            history.retain_existing(self.place.store()).await?;
        }
        Ok(history)
    }

    /// The state with its history, no larger than what readers take: rather less of the past than no commit.
    pub(super) fn packed(&self, next: &Whole, history: &mut History) -> Result<Packed, WorkError> {
        loop {
            let packed = state::pack_state(next.files(), history);
            match packed.check_size() {
                Err(_) if !history.is_empty() => history.shorten(history.len() / 2),
                checked => {
                    checked?;
                    return Ok(packed);
                }
            }
        }
    }

    /// PUT the state. Where an earlier file is gone, which a registry may check, it is no longer named.
    pub(super) async fn put_state(
        &self,
        next: &Whole,
        packed: &Packed,
        mut history: History,
        tag: &Tag,
    ) -> Result<(), StoreError> {
        let refused = match self.place.push(packed, Some(tag)).await {
            Err(e)
                if !history.is_empty()
                    && matches!(e.failure, Failure::Refused { .. } | Failure::NotFound) =>
            {
                e
            }
            other => return other,
        };
        let before = history.len();
        history.retain_existing(self.place.store()).await?;
        if history.len() == before {
            return Err(refused);
        }
        self.place.push(&state::pack_state(next.files(), &history), Some(tag)).await
    }
}
