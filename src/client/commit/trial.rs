//! The next state, judged before anybody signs it: what was submitted must not leave one that readers refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::install::unchecked;
use super::joined::{Joined, newest};
use super::round::{Round, lifetime, rises};
use super::{Committer, Ledger, Reason, WorkError};
use crate::client::state::{self, Kind};
use crate::client::submission::Submission;
use crate::client::whole::{RoleAt, Whole, is_own_file, reach};
use crate::trust::{RevocationList, is_nearly_full, join_revocations};
use crate::tuf::lineage;
use crate::tuf::proposal::{Base, Group, install};
use crate::tuf::{
    Delegation, Draft, Extra, Fault, FileName, FilePin, Heading, Limits, Metadata, RoleKeys, RoleName,
    Targets, TufError, Unverified, Version,
};

/// Bytes left free for signatures and for what is published in the same run.
const ROOM: usize = 64 * 1024;

/// The role files that a round comes to, and those of them that are signed here.
#[derive(Default)]
struct Next {
    files: BTreeMap<RoleName, Arc<Metadata<Targets>>>,
    own: BTreeMap<RoleName, RoleKeys>,
}

impl Committer<'_> {
    /// Keep of what was submitted only what leaves a sound state.
    pub(super) fn sift_all(&self, ledger: &mut Ledger, round: &mut Round) -> Result<(), WorkError> {
        let mine = |s: &Submission| ledger.mine.contains_key(s.lineage.hash());
        let (kept, others) = std::mem::take(&mut round.seen).into_iter().partition(mine);
        round.seen = kept;
        self.sift(ledger, round, others)
    }

    /// Add to what the round has seen those of `others` that leave a sound state; the rest are refused, each alone.
    pub(super) fn sift(
        &self,
        ledger: &mut Ledger,
        round: &mut Round,
        others: Vec<Submission>,
    ) -> Result<(), WorkError> {
        if others.is_empty() {
            return Ok(());
        }
        let before = round.seen.len();
        round.seen.extend(others.iter().cloned());
        others.iter().for_each(|s| drop(ledger.refused.remove(&s.tag)));
        if self.trial(round)?.is_none() {
            return Ok(());
        }
        round.seen.truncate(before);
        for s in others {
            let tag = s.tag.clone();
            round.seen.push(s);
            if let Some(why) = self.trial(round)? {
                round.seen.pop();
                ledger.refused.insert(tag, Reason::Invalid(why));
            }
        }
        Ok(())
    }

    /// Why the state that the round comes to would not stand; `None` where it does.
    pub(super) fn trial(&self, round: &Round) -> Result<Option<String>, WorkError> {
        let mut next = Next::default();
        for (role, at) in &round.roles {
            let joined = self.joined(round, role, at)?;
            let files = [joined.live].into_iter().chain(joined.remembered);
            let files = files.chain(joined.submissions.iter().map(|s| &s.file));
            let file = newest(&joined.folded, files.clone()).unwrap_or(joined.live);
            if lineage::is_genesis(file) {
                continue;
            }
            if joined.folded.view.file().is_some() && file.count(&at.keys).is_met() {
                next.files.insert(role.clone(), file.clone());
                continue;
            }
            if !joined.may_sign {
                return Ok(Some(format!("with it {role} must be signed again, and its keys are not here")));
            }
            match self.next_of(role, &joined) {
                Ok(draft) => drop(next.files.insert(role.clone(), Arc::new(draft))),
                Err(e) => return Ok(Some(e.to_string())),
            }
            next.own.insert(role.clone(), at.keys.clone());
        }
        Ok(self.fits(round, &next).err())
    }

    /// That a revocation list can be read and joined with those that are known, with room for those who hold the key; and
    /// that it holds their entries, where nobody here signs the join.
    fn joins(&self, round: &Round, path: &str, list: &Bytes, is_draft: bool) -> Result<(), String> {
        RevocationList::parse(list).map_err(|why| format!("its {path} cannot be read: {why}"))?;
        let readable = |l: &&Bytes| RevocationList::parse(l).is_ok();
        let known = round.known();
        let known = known.iter().filter_map(|w| w.files().target(path)).filter(readable);
        let mut lists: Vec<&[u8]> = known.map(|l| &l[..]).collect();
        lists.push(&list[..]);
        let joined = join_revocations(&lists, &[])?;
        lists.rotate_right(1);
        if !is_draft && join_revocations(&lists, &[])?.is_some() {
            return Err(format!("its {path} drops entries that are published"));
        }
        match joined.is_some_and(|list| is_nearly_full(&list)) {
            true => Err(format!("with it {path} would be nearly full")),
            false => Ok(()),
        }
    }

    /// The join of a role that no file carries yet, as it would be signed; nothing where a file is the join.
    pub(super) fn draft(
        &self,
        role: &RoleName,
        joined: &Joined<'_>,
    ) -> Result<Option<Metadata<Targets>>, TufError> {
        match joined.folded.view.file() {
            Some(_) => Ok(None),
            None => self.next_of(role, joined).map(Some),
        }
    }

    fn next_of(&self, role: &RoleName, joined: &Joined<'_>) -> Result<Metadata<Targets>, TufError> {
        let files = [joined.live].into_iter().chain(joined.remembered);
        let files = files.chain(joined.submissions.iter().map(|s| &s.file));
        let newest = newest(&joined.folded, files.clone()).unwrap_or(joined.live);
        let (now, name) = (self.clock.now(), self.collection.to_string());
        let (highest, end) = (files.map(|f| f.version()).max(), now.plus(lifetime(newest)));
        let draft = lineage::next(&joined.folded.view, highest, &[], &name, now, end);
        let bytes = json!({"signatures": [], "signed": draft.signed()}).to_string();
        unchecked(role, &Bytes::from(bytes))
    }

    /// That all lists of revocations can be joined: each leaves room alone, and perhaps not all together.
    fn lists_join(&self, round: &Round, known: &[&Whole]) -> Result<(), String> {
        let path = self.collection.revocations_path();
        let theirs = round.seen.iter().filter(|s| s.role == RoleName::revocations());
        let named =
            theirs.filter_map(|s| Some((s.file.role().targets().get(&path)?, s.files.target(&path)?)));
        let lists: BTreeSet<&Bytes> = named.filter(|(t, b)| t.check(b).is_ok()).map(|(_, b)| b).collect();
        if lists.is_empty() || (round.live.is_none() && round.memory.is_none()) {
            return Ok(());
        }
        let lists: Vec<&[u8]> = lists.into_iter().map(|b| &b[..]).collect();
        let all = match join_revocations(&lists, &[]) {
            Ok(Some(joined)) => joined,
            Ok(None) => {
                return lists.first().map_or(Ok(()), |l| {
                    self.list_fault(&Bytes::copy_from_slice(l), known).map_or(Ok(()), Err)
                });
            }
            Err(why) => return Err(format!("with it {path} is not taken: {why}")),
        };
        self.list_fault(&all.into(), known).map_or(Ok(()), Err)
    }

    fn fits(&self, round: &Round, next: &Next) -> Result<(), String> {
        let text = |e: TufError| e.to_string();
        let (name, root) = (self.collection.to_string(), round.chain.last());
        let (mut pins, mut files) = round.listed_files();
        for root in round.chain.roots() {
            files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
        }
        for (role, file) in &next.files {
            rises(role, file, &pins).map_err(text)?;
            pins.insert(role.clone(), FilePin::of(file.version(), file.bytes()));
            files.retain(|name| name.role() != role);
            files.put(Whole::file_name(role, file), file.bytes().clone());
        }
        let load = |d: &Delegation| -> Result<Option<Arc<Metadata<Targets>>>, TufError> {
            let role = &d.name;
            let Some(pin) = pins.get(role) else { return Ok(None) };
            let here = next.files.get(role).filter(|_| next.own.get(role) == Some(&d.keys));
            let file = match here {
                Some(draft) => draft.clone(),
                None => {
                    let name = FileName::versioned(role.clone(), pin.version);
                    let missing = || TufError::new(role, Fault::Missing(name.clone()));
                    let bytes = files.get(&name).ok_or_else(missing)?;
                    let file = Unverified::<Targets>::parse(role, bytes, &Limits::default())?;
                    Arc::new(file.verify(role, &[&d.keys])?)
                }
            };
            file.check_collection(role, &name)?;
            Ok(Some(file))
        };
        let targets = RoleName::targets();
        let keys = root.role().targets_keys().clone();
        let Some(file) = next.files.get(&targets).cloned() else { return Ok(()) };
        let top = RoleAt { keys, paths: None, by: None, terms: None, file };
        let (roles, _) = reach(&name, top, load).map_err(text)?;
        let known = round.known();
        for (role, at) in &roles {
            let own = at.file.role().targets().iter().filter(|(path, _)| is_own_file(self.collection, path));
            for (path, target) in own {
                let sources = known.iter().map(|w| w.files()).chain(round.seen.iter().map(|s| &s.files));
                let bytes = sources.filter_map(|f| f.target(path)).find(|b| target.check(b).is_ok()).cloned();
                // What is published and hidden behind another role has no bytes in a state.
                let published = |w: &&Whole| {
                    w.role(role).and_then(|f| f.role().targets().get(path)).is_some_and(|t| t == target)
                };
                let list = bytes.as_ref().filter(|_| *path == self.collection.revocations_path());
                // What a recovery installs on a good state is its owner's, and must not end at what a thief filled the list with.
                let signed_here =
                    next.own.contains_key(role) || (round.live.is_none() && round.memory.is_none());
                if let Some(why) = list.filter(|_| !signed_here).and_then(|l| self.list_fault(l, &known)) {
                    return Err(why);
                }
                match bytes {
                    Some(bytes) => {
                        if *path == self.collection.revocations_path() && !known.iter().any(published) {
                            self.joins(round, path, &bytes, next.own.contains_key(role))?;
                        }
                        files.put_target(path.clone(), bytes);
                    }
                    None if known.iter().any(published) => {}
                    None => return Err(format!("it lists {path}, and nobody has that file")),
                }
            }
        }
        // Whoever reads the next state places every role again.
        let base = Base::new(self.collection.clone(), root.clone(), roles);
        install(&base, root, &Group::default()).map_err(text)?;
        self.lists_join(round, &known)?;
        let now = self.clock.now();
        let extra = Extra::new(name.clone(), now);
        let heading = Heading { version: Version::ONE, expires: now, extra };
        let mut snapshot = Draft::snapshot(&heading, &pins).message();
        snapshot.resize(snapshot.len() + ROOM, b' ');
        files.put(FileName::versioned(RoleName::snapshot(), Version::ONE), snapshot.into());
        files.put(FileName::timestamp(), Bytes::from_static(b"{}"));
        let fits = state::pack(Kind::State, &files, None).check_size();
        fits.map_err(|e| format!("with it the next state of the collection has {e}"))
    }
}
