//! Going on from a state other than the live one: recovery from a thief who signed roles, or versions, that must go. Only
//! under other keys of timestamp and snapshot, with which the floors of clients fall (TUF specification 5.3.11).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::damaged::Found;
use super::install::signed_part;
use super::recalled::Beside;
use super::round::Round;
use super::{Committer, Job, Ledger, MAX_ROUNDS, Refusal, WorkError, Worked};
use crate::client::recover::{Live, floors_fall};
use crate::client::revoke::list_of;
use crate::client::signing::require;
use crate::client::state;
use crate::client::submission::Submission;
use crate::client::whole::Whole;
use crate::store::Manage;
use crate::trust::{RevocationEntry, RevocationList, UnreadableList, recovered_revocations};
use crate::tuf::proposal::{Edit, Group, Installed};
use crate::tuf::{FileName, Files, Limits, RoleName, RootChain, Version};

impl Committer<'_> {
    /// The state at `at`, or what is remembered here, verified under the newest root that any of them or the live state has.
    ///
    /// # Errors
    /// There is none, or it does not verify.
    pub async fn good(&self, at: Option<&dyn Manage>) -> Result<Whole, WorkError> {
        let shown = match at {
            Some(at) => match state::fetch_state(at, self.collection).await? {
                Some(read) => Some(read.files),
                None => {
                    let (collection, place) = (self.collection.clone(), at.place());
                    return Err(WorkError::Absent { collection, place });
                }
            },
            None => None,
        };
        let Found { files: live, .. } =
            self.find(&Job::routine(&BTreeSet::new()), &mut Ledger::new()).await?;
        let sources: Vec<&Files> = live.iter().chain(&shown).collect();
        let past = self.past(&sources)?;
        let chain = past.chain(&sources)?;
        let limits = Limits::default();
        let files = match shown {
            Some(files) => files,
            None => {
                let whole = past.own.filter(|own| own.verified_under.is_some());
                whole.ok_or_else(|| WorkError::NoMemory(self.collection.clone()))?.files
            }
        };
        let files = with_roots(files, &chain);
        Whole::judge(&chain, &files, self.collection, self.clock.now(), &limits).map_err(WorkError::Good)
    }

    /// What lies there or is remembered, whichever is newer, judged under the newest root: whoever may push can serve an older
    /// state, or none.
    ///
    /// # Errors
    /// The place or the memory cannot be read.
    pub async fn live(&self, good: &Whole) -> Result<Live, WorkError> {
        let found = self.find(&Job::routine(&BTreeSet::new()), &mut Ledger::new()).await?;
        let (limits, now) = (Limits::default(), self.clock.now());
        let sources: Vec<&Files> = found.files.iter().chain([good.files()]).collect();
        let past = self.past(&sources)?;
        let chain = past.chain(&sources)?;
        let judged = found.files.as_ref().map(|files| match &found.fault {
            Some(fault) => Err(fault.to_string()),
            None => Whole::judge(&chain, files, self.collection, now, &limits).map_err(|e| e.to_string()),
        });
        let Beside { memory, floor, .. } = past.beside(&chain, sources, now)?;
        let version = |w: &Whole| w.trusted().timestamp().version();
        let newer = floor.as_ref().is_some_and(|floor| floor.fallen(good.trusted()).is_some());
        let memory = memory.filter(|m| newer || version(m) > version(good));
        Ok(match (judged, memory) {
            (Some(Ok(live)), Some(memory)) if version(&memory) > version(&live) => {
                Live::remembered(memory, "what lies there is older".into())
            }
            // What is remembered cannot stand in, and still says that somebody served an old state.
            (Some(Ok(live)), None) if floor.is_some_and(|floor| floor.fallen(live.trusted()).is_some()) => {
                Live::Fault("what lies there is older than what is remembered, which lacks files or is from before a rotation of keys".into())
            }
            (Some(Ok(live)), _) => Live::State(Box::new(live)),
            (Some(Err(why)), Some(memory)) => {
                Live::remembered(memory, format!("what lies there does not verify: {why}"))
            }
            (None, Some(memory)) => Live::remembered(memory, "nothing lies there".into()),
            (Some(Err(why)), None) => Live::Fault(format!("what lies there does not verify: {why}")),
            (None, None) if newer => Live::Fault(
                "nothing lies there, and what is remembered is newer and lacks files, or is from before a rotation of keys".into(),
            ),
            (None, None) => Live::Nothing,
        })
    }

    /// The revocation list of `good` with what was entered since in lists that the keys signed which `good` names, as far as they
    /// lie there or are remembered ([`recovered_revocations`]); nothing where there is no more.
    ///
    /// # Errors
    /// The place or the memory cannot be read; the list that `good` names is not among its files, or cannot be read.
    pub async fn revoked_since(&self, good: &Whole) -> Result<Option<Edit>, WorkError> {
        list_of(good, self.collection)?;
        let own = self.list_in(good.files(), good);
        let since = self.lists_since(good).await?;
        let since: Vec<&[u8]> = since.iter().map(|list| &list[..]).collect();
        let (role, path) = (RoleName::revocations(), self.collection.revocations_path());
        let unreadable = |why: UnreadableList| WorkError::Refused(Refusal::Revocations(why.to_string()));
        let list = recovered_revocations(own.as_deref(), &since, &good.key_names()).map_err(unreadable)?;
        Ok(list.map(|list| Edit::File { role, path, bytes: list.into(), custom: None }))
    }

    /// All entries of the lists from which [`Self::revoked_since`] takes some.
    ///
    /// # Errors
    /// The place or the memory cannot be read.
    pub async fn entered_since(&self, good: &Whole) -> Result<BTreeSet<RevocationEntry>, WorkError> {
        let lists = self.lists_since(good).await?;
        let lists = lists.iter().filter_map(|list| RevocationList::parse(list).ok());
        Ok(lists.flat_map(|list| list.entries().to_vec()).collect())
    }

    /// What is remembered comes first: it was verified.
    async fn lists_since(&self, good: &Whole) -> Result<Vec<Bytes>, WorkError> {
        let live = self.find(&Job::routine(&BTreeSet::new()), &mut Ledger::new()).await?.files;
        let past = self.past(&live.iter().chain([good.files()]).collect::<Vec<_>>())?;
        Ok(past.files().chain(&live).filter_map(|files| self.list_in(files, good)).collect())
    }

    /// The revocation list that any file of the role names which the keys of `good` signed: whoever may push can add others.
    fn list_in(&self, files: &Files, good: &Whole) -> Option<Bytes> {
        let (role, path) = (RoleName::revocations(), self.collection.revocations_path());
        let at = good.roles().get(&role)?;
        let list = files.target(&path).filter(|list| RevocationList::parse(list).is_ok())?;
        let mut named = files.metadata().iter().filter(|(name, _)| *name.role() == role);
        let is_named = named.any(|(_, bytes)| {
            Submission::of(&role, &at.keys, bytes, Files::new()).is_ok_and(|s| {
                let target = s.file.role().targets().get(&path);
                target.is_some_and(|t| t.check(list).is_ok())
                    && s.file.check_collection(&role, &self.collection.to_string()).is_ok()
            })
        });
        is_named.then(|| list.clone())
    }

    /// Install `group`, which stands on `good`, in place of whatever lies there and is submitted. A root that is in already is
    /// not put in a second time: what was published since then stays.
    ///
    /// # Errors
    /// See [`WorkError`]; [`WorkError::FloorsStand`] where the group does not replace the keys of timestamp and snapshot.
    pub async fn restart(&self, group: &Group, good: &Whole) -> Result<Worked, WorkError> {
        let none = BTreeSet::new();
        let job = Job { install: Some(group), ..Job::routine(&none) };
        let mut ledger = Ledger::new();
        for _ in 0..MAX_ROUNDS {
            let mut round = self.anew(&job, &mut ledger, good).await?;
            let root = group.versions()?.get(&RoleName::root()).copied();
            let root = root.filter(|v| holds(&round.chain, *v, group));
            let offered: Vec<&Files> = round.raw.iter().chain([good.files()]).collect();
            let verified_under = self.past(&offered)?.own.and_then(|own| own.verified_under);
            if root.is_some() && (self.stands(&round) || verified_under >= root) {
                return self.work(&job).await;
            }
            self.check_floors(group, good, &round.chain)?;
            self.admit(&job, &mut ledger, &mut round)?;
            if self.stands(&round) {
                return Err(WorkError::FloorsStand);
            }
            if self.turn(&job, &mut ledger, round).await?.is_some() || ledger.commits > 0 {
                // From here on it is what lies there.
                return self.work(&job).await;
            }
        }
        Err(WorkError::Contended(MAX_ROUNDS))
    }

    /// Whether what lies there verifies under the newest root.
    fn stands(&self, round: &Round) -> bool {
        let limits = Limits::default();
        let judge = |f: &Files| Whole::judge(&round.chain, f, self.collection, round.read_at, &limits);
        round.raw.as_ref().is_some_and(|files| judge(files).is_ok())
    }

    /// That the group replaces the online keys, and that the new ones are here: it goes in at once, or not at all.
    fn check_floors(&self, group: &Group, good: &Whole, chain: &RootChain) -> Result<(), WorkError> {
        let root = group.root.as_ref().ok_or(WorkError::FloorsStand)?;
        let version = group.versions()?.get(&RoleName::root()).copied().unwrap_or(Version::ONE);
        // Somebody may have put the new root beside a state of the old keys.
        let next = match holds(chain, version, group) {
            true => chain.clone(),
            false => chain.extended(root, Some(&self.collection.to_string()), &Limits::default())?,
        };
        let new = next.last().role();
        let before = chain.roots().iter().rfind(|r| r.version() < version);
        let before = [Some(good.trusted().root()), before];
        if !before.into_iter().flatten().all(|old| floors_fall(old.role(), new)) {
            return Err(WorkError::FloorsStand);
        }
        require(self.keys, &RoleName::timestamp(), new.timestamp_keys())?;
        require(self.keys, &RoleName::snapshot(), new.snapshot_keys())?;
        Ok(())
    }

    /// A round that starts from `good`, and sees nothing that was submitted before.
    async fn anew(&self, job: &Job<'_>, ledger: &mut Ledger, good: &Whole) -> Result<Round, WorkError> {
        let read_at = self.clock.now();
        let Found { manifest, files, .. } = self.find(job, ledger).await?;
        let sources: Vec<&Files> = files.iter().chain([good.files()]).collect();
        let chain = self.past(&sources)?.chain(&sources)?;
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
            floor: None,
        })
    }
}

/// Whether the root of a group is among those that hold.
fn holds(chain: &RootChain, version: Version, group: &Group) -> bool {
    let there = chain.get(version);
    there.is_some_and(|root| Some(root.signed()) == signed_part(group.root.as_ref()).as_ref())
}

fn with_roots(mut files: Files, chain: &RootChain) -> Files {
    for root in chain.roots() {
        files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
    }
    files
}
