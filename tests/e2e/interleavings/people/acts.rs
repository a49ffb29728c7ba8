//! What people do: publish, delegate, withdraw, renew; and attack.

use std::collections::BTreeSet;
use std::rc::Rc;

use bulla::client::ceremony::{CeremonyError, Desk};
use bulla::client::commit::{Committer, Intents, Job, Reason, Refusal, Unfit, WorkError};
use bulla::client::delegation::{Edit, change};
use bulla::client::known::Known;
use bulla::client::publish::{self, PublishError, Status, Wanted, publish};
use bulla::client::renew::{self, Cosign, Renewed, renew};
use bulla::client::whole::Whole;
use bulla::oci::Selector;
use bulla::sig::KeyId;
use bulla::time::{Clock as _, UnixTime};
use bulla::tuf::grant::{Grant, Terms};
use bulla::tuf::lineage::{Change, View};
use bulla::tuf::{RoleName, Signers};

use super::{Stage, TAGS, signed};
use crate::publishing::key;

struct Withdrawal {
    path: String,
    id: String,
}

impl Intents for Withdrawal {
    fn role(&self) -> RoleName {
        RoleName::releases()
    }

    fn changes(&self, _: &[&Whole], _: &View, _: &KeyId, _: UnixTime) -> Result<Vec<Change>, Refusal> {
        Ok(vec![Change::Withdraw { path: self.path.clone(), id: self.id.clone() }])
    }
}

impl Stage {
    /// What one home does; a crash ends a job, and what is left is begun anew.
    pub(super) async fn day(self: Rc<Self>, home: usize) {
        loop {
            let job = {
                let mut done = self.done.borrow_mut();
                let next = done.entry(home).or_default();
                *next += 1;
                *next - 1
            };
            if job >= self.jobs {
                return;
            }
            self.start(home).await;
            let installation = &self.homes[home];
            if self.shared && installation.online && self.site.gate.percent(25) {
                self.stick(home).await;
            } else if !installation.publishes || self.site.gate.percent(10) {
                self.renew(home).await;
            } else if self.delegate > 0 && self.site.gate.percent(self.delegate) {
                self.delegate(home, job).await;
            } else if self.site.gate.percent(self.withdraw) {
                self.withdraw(home).await;
            } else {
                self.publish(home, job).await;
            }
        }
    }

    pub(super) async fn publish(&self, home: usize, job: usize) {
        let image = &self.images[&(home, job)];
        let digest = image.digest().clone();
        let tag = self.site.gate.percent(60).then(|| format!("t{}", self.site.gate.below(TAGS)));
        let name = &self.site.name;
        let mut paths = vec![name.release_path(&digest)];
        paths.extend(tag.iter().map(|t| name.tag_path(&t.parse().unwrap())));
        let wishes: Vec<usize> = paths.into_iter().map(|p| self.wish(home, p, Some(&digest))).collect();
        let (store, installation) = (self.store(home), &self.homes[home]);
        let done = publish(publish::Request {
            collection: name.clone(),
            anchor: self.root.clone(),
            state: &store,
            store: &store,
            bundles: vec![Wanted {
                selector: Selector::Digest(digest.clone()),
                tags: tag.iter().map(|t| t.parse().unwrap()).collect(),
            }],
            role: None,
            memories: std::slice::from_ref(&installation.memory),
            without_memory: false,
            keys: &installation.keys,
            clock: &self.schedule.clock(installation.skew),
        })
        .await;
        let released = match &done {
            Ok(done) => {
                self.tally.borrow_mut().merged += done.merged as u64;
                matches!(done.status, Status::Released)
            }
            Err(PublishError::Work(e)) => {
                self.failed("publish", e);
                false
            }
            Err(e) => {
                self.broken(format!("publish: {e}"));
                false
            }
        };
        self.tally.borrow_mut().released += u64::from(released);
        for wish in wishes {
            self.wishes.borrow_mut()[wish].ended = Some((self.calls(), released));
        }
    }

    /// Delegate to a role of one's own; a third of them are taken back at once.
    pub(super) async fn delegate(&self, home: usize, job: usize) {
        let last = format!("g{home}-{job}-{}", self.calls());
        let role: RoleName = format!("targets/releases/{last}").parse().unwrap();
        let terms = Terms {
            at: self.schedule.clock(0).now(),
            lifetime: 90 * 86_400,
            delegates: false,
            vetting: None,
        };
        let grant = Grant {
            role: role.clone(),
            signers: Signers { keys: vec![key(77).public_key().clone()], threshold: 1 },
            paths: self.site.name.scope(&format!("{last}-*")).unwrap(),
            terminating: false,
            terms,
        };
        self.granted.borrow_mut().insert(role.clone(), (false, None));
        if !self.change(home, Edit::Grant(grant)).await {
            return;
        }
        self.granted.borrow_mut().insert(role.clone(), (true, None));
        if self.site.gate.percent(33) {
            self.granted.borrow_mut().insert(role.clone(), (true, Some(false)));
            let gone = self.change(home, Edit::TakeBack(role.clone())).await;
            self.granted.borrow_mut().insert(role, (true, Some(gone)));
        }
    }

    /// Whether it was said to be in.
    pub(super) async fn change(&self, home: usize, edit: Edit) -> bool {
        let (store, installation) = (self.store(home), &self.homes[home]);
        let clock = self.schedule.clock(installation.skew);
        let desk = Desk {
            collection: &self.site.name,
            anchor: &self.root,
            store: &store,
            memories: std::slice::from_ref(&installation.memory),
            without_memory: false,
            keys: &installation.keys,
            clock: &clock,
        };
        match change(&desk, &RoleName::releases(), edit).await {
            Ok(changed) => changed.committed,
            // It moved on again and again: told, and nothing was promised.
            Err(CeremonyError::Work(WorkError::StaleBase { .. })) => false,
            // What was submitted before was admitted by somebody meanwhile.
            Err(CeremonyError::Edit(_)) => false,
            Err(e) => {
                self.broken(format!("delegate: {e}"));
                false
            }
        }
    }

    pub(super) async fn withdraw(&self, home: usize) {
        let (_, files) = self.site.live().await;
        let releases = files.metadata().iter().find(|(n, _)| *n.role() == RoleName::releases());
        let listed = signed(releases.unwrap().1);
        let paths: Vec<String> = listed["targets"].as_object().unwrap().keys().cloned().collect();
        if paths.is_empty() {
            return self.renew(home).await;
        }
        let path = paths[self.site.gate.below(paths.len())].clone();
        let wish = self.wish(home, path.clone(), None);
        let (store, installation) = (self.store(home), &self.homes[home]);
        let (place, none) = (Known::new(&store), BTreeSet::new());
        let clock = self.schedule.clock(installation.skew);
        let committer = Committer {
            place: &place,
            collection: &self.site.name,
            anchor: &self.root,
            memories: std::slice::from_ref(&installation.memory),
            without_memory: false,
            keys: &installation.keys,
            clock: &clock,
        };
        let id = format!("{:08x}{:08x}", home, self.calls());
        let intents = Withdrawal { path, id };
        let done = committer.work(&Job::changes(&intents, &none)).await;
        match done {
            Ok(_) => self.wishes.borrow_mut()[wish].ended = Some((self.calls(), true)),
            Err(e) => self.failed("withdrawal", &e),
        }
    }

    pub(super) async fn renew(&self, home: usize) {
        let done = self.try_renew(home, &[], Cosign::Here).await;
        match done {
            Ok(done) => {
                let mut tally = self.tally.borrow_mut();
                tally.merged += done.merged as u64;
                tally.forks += done.pending.iter().filter(|p| p.reason == Reason::Fork).count() as u64;
            }
            Err(e) => self.failed("renew", &e),
        }
    }

    pub(super) async fn try_renew(
        &self,
        home: usize,
        roles: &[RoleName],
        cosign: Cosign<'_>,
    ) -> Result<Renewed, WorkError> {
        let (store, installation) = (self.store(home), &self.homes[home]);
        renew(renew::Request {
            lives: bulla::client::commit::AS_BEFORE,
            cosign,
            collection: self.site.name.clone(),
            anchor: self.root.clone(),
            store: &store,
            roles: roles.iter().cloned().collect(),
            reseal: false,
            memories: std::slice::from_ref(&installation.memory),
            without_memory: false,
            keys: &installation.keys,
            clock: &self.schedule.clock(installation.skew),
        })
        .await
    }

    /// What a run may end with: a submitter cannot sign what is due, that is all.
    pub(super) fn failed(&self, what: &str, e: &WorkError) {
        // Nor can anything travel while the live state is to be put right.
        if !matches!(e, WorkError::Sign(_) | WorkError::Unfit(Unfit::Published(_))) {
            self.broken(format!("{what}: {e}"));
        }
    }

    /// A last renewal: whatever was submitted is in afterwards, or is named. The keeper's is the day's, which signs the timestamp
    /// again in any case: a state that fell back stays until then, and its version is then above all that was served.
    pub(super) async fn renew_and_look(self: Rc<Self>, home: usize) {
        let daily = [RoleName::timestamp()];
        let roles = if home + 1 == self.homes.len() { &daily[..] } else { &[] };
        let done = match self.try_renew(home, roles, Cosign::Here).await {
            Ok(done) => done,
            Err(e) => return self.broken(format!("the last renewal: {e}")),
        };
        let named: BTreeSet<String> = done.pending.iter().map(|p| p.tag.to_string()).collect();
        if done.gathering.is_some() {
            return;
        }
        let entries = self.entries().await;
        for wish in self.submitted() {
            let Some(value) = &wish.value else { continue };
            let by = self.submissions_of(&wish);
            let reported = by.iter().any(|tag| named.contains(tag));
            let there = entries.contains_key(&wish.path);
            if !there && !reported && !self.may_be_gone(&wish) {
                self.broken(format!("a submission of {} to {value} is neither in nor named", wish.path));
            }
        }
    }

    pub(super) async fn attack(self: Rc<Self>, process: usize, times: usize) {
        for _ in 0..times {
            self.start(process).await;
            if self.shared && self.site.gate.percent(50) {
                let candidate = {
                    let truth = self.site.truth();
                    let n = truth.candidates.len();
                    (n > 0).then(|| truth.candidates[self.site.gate.below(n)].clone())
                };
                if let Some((tag, manifest)) = candidate {
                    self.site.inner.push_manifest(&manifest, Some(&tag)).await.unwrap();
                }
                continue;
            }
            let old = {
                let truth = self.site.truth();
                let n = truth.submissions.len();
                (n > 0).then(|| truth.submissions[self.site.gate.below(n)].clone())
            };
            if let Some((tag, manifest, _)) = old {
                self.site.inner.push_manifest(&manifest, Some(&tag)).await.unwrap();
            }
        }
    }
}
