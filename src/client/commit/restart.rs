//! Going on from a state other than the live one: recovery from a thief who signed roles, or versions, that must go. Only
//! under other keys of timestamp and snapshot, with which the floors of clients fall (TUF specification 5.3.11).

use std::collections::BTreeSet;

use super::damaged::Found;
use super::round::Round;
use super::{Committer, Job, Ledger, MAX_ROUNDS, WorkError, Worked};
use crate::client::whole::{Whole, walk, walk_on};
use crate::tuf::proposal::{Group, Installed};
use crate::tuf::{Files, Limits, same_online_keys};

impl Committer<'_> {
    /// What is remembered here, verified under the roots that are remembered with it.
    ///
    /// # Errors
    /// Nothing is remembered, or it does not verify.
    pub fn remembered_state(&self) -> Result<Whole, WorkError> {
        let remembered = self.remembered()?.filter(|r| r.verified_under.is_some());
        let files = remembered.ok_or_else(|| WorkError::NoMemory(self.collection.clone()))?.files;
        let limits = Limits::default();
        let chain = walk(self.anchor, self.collection, &[&files], &limits)?;
        Whole::judge(&chain, &files, self.collection, self.clock.now(), &limits)
            .map_err(WorkError::Remembered)
    }

    /// Install `group`, which stands on `good`, in place of whatever lies there and is submitted.
    ///
    /// # Errors
    /// See [`WorkError`]; [`WorkError::FloorsStand`] where the group does not replace the keys of timestamp and snapshot.
    pub async fn restart(&self, group: &Group, good: &Whole) -> Result<Worked, WorkError> {
        let none = BTreeSet::new();
        let job = Job { intents: None, forced: &none, repair: true, install: Some(group) };
        let mut ledger = Ledger::new();
        for _ in 0..MAX_ROUNDS {
            let mut round = self.anew(&job, &mut ledger, good).await?;
            self.admit(&job, &mut ledger, &mut round)?;
            let root = round.chain.last();
            let limits = Limits::default();
            let judge = |files: &Files| {
                Whole::judge(&round.chain, files, self.collection, round.read_at, &limits).is_ok()
            };
            let stands = same_online_keys(good.trusted().root().role(), root.role());
            if stands || round.raw.as_ref().is_some_and(judge) {
                return Err(WorkError::FloorsStand);
            }
            if self.turn(&job, &mut ledger, round).await?.is_some() || ledger.commits > 0 {
                // From here on it is what lies there.
                return self.work(&job).await;
            }
        }
        Err(WorkError::Contended(MAX_ROUNDS))
    }

    /// A round that starts from `good`, and sees nothing that was submitted before.
    async fn anew(&self, job: &Job<'_>, ledger: &mut Ledger, good: &Whole) -> Result<Round, WorkError> {
        let read_at = self.clock.now();
        let remembered = self.remembered()?;
        let Found { manifest, files, .. } = self.find(job, ledger).await?;
        let limits = Limits::default();
        let sources: Vec<&Files> = files.iter().chain([good.files()]).collect();
        let known = remembered.as_ref().map(|r| &r.files);
        let chain = walk_on(self.anchor, self.collection, known, &sources, &limits)?;
        let Installed { roles, vacant, .. } = self.placed(chain.last(), good, None)?;
        let single_writer = chain.last().extra().is_some_and(|x| x.single_writer);
        let listed = if single_writer { Vec::new() } else { self.list(manifest.is_some()).await? };
        ledger.first.get_or_insert(None);
        Ok(Round {
            settled_root: chain.last().version(),
            read_at,
            manifest,
            chain,
            live: None,
            memory: None,
            base: good.clone(),
            roles,
            vacant,
            single_writer,
            listed,
            seen: Vec::new(),
            outlived: Vec::new(),
            raw: files,
            not_looked_at: Vec::new(),
            submit: None,
        })
    }
}
