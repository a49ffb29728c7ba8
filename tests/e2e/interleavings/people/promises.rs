//! What must hold in the end, and what deployers see meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use bulla::client::memory::Memory;
use bulla::client::places::Places;
use bulla::client::verify::Verifier;
use bulla::oci::{Digest, Reference};
use bulla::store::{Manage, StoreError};
use bulla::time::Clock as _;
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use bulla::tuf::{FileName, RoleName};
use serde_json::Value;

use super::{READERS, Stage, Wish, signed};
use crate::interleavings::gated::timestamp_version;

struct One(Arc<dyn Manage>);

#[async_trait]
impl Places for One {
    async fn open(&self, _: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        Ok(self.0.clone())
    }

    async fn create(&self, _: &Reference) -> Result<Arc<dyn Manage>, StoreError> {
        Ok(self.0.clone())
    }
}

impl Stage {
    /// Whether every delegation that was submitted is in, and none that was taken back.
    pub(super) async fn check_delegations(&self) {
        let names = |role: &Value| -> BTreeSet<String> {
            let roles = role["delegations"]["roles"].as_array().cloned().unwrap_or_default();
            roles.iter().filter_map(|r| r["name"].as_str().map(str::to_owned)).collect()
        };
        let (_, files) = self.site.live().await;
        let releases = files.metadata().iter().find(|(n, _)| *n.role() == RoleName::releases());
        let live = names(&signed(releases.unwrap().1));
        let submitted: BTreeSet<String> = {
            let truth = self.site.truth();
            truth.submissions.iter().flat_map(|(.., roles)| roles).flat_map(|(_, r)| names(r)).collect()
        };
        for (role, (said, back)) in self.granted.borrow().iter() {
            let there = live.contains(role.as_str());
            if back.is_none() && (*said || submitted.contains(role.as_str())) && !there {
                self.broken(format!("the delegation to {role} is lost"));
            }
            if *back == Some(true) && there {
                self.broken(format!("{role} was taken back and is delegated again"));
            }
        }
    }

    pub(super) fn reader_memory(&self, process: usize) -> PathBuf {
        self.dir.path().join(format!("reader{process}"))
    }

    /// The version of the timestamp that a reader remembers.
    pub(super) fn remembered(&self, process: usize) -> u64 {
        let memory = Memory::in_dir(&self.reader_memory(process), &self.site.name);
        let remembered = memory.load(&self.root).unwrap();
        let timestamp = remembered.and_then(|m| m.files.get(&FileName::timestamp()).cloned());
        timestamp.map_or(0, |t| signed(&t)["version"].as_u64().unwrap())
    }

    pub(super) async fn verify(
        &self,
        process: usize,
        path: &str,
        store: Arc<dyn Manage>,
    ) -> (Verdict, String) {
        let mut trust = TrustFile::default();
        let scope = Scope::Repository(self.site.name.as_repository().clone());
        trust.anchors.push(Anchor::tuf(scope, self.site.name.clone(), self.root.clone(), vec![]));
        let verifier = Verifier {
            places: &One(store),
            trust: &trust,
            memory: &self.reader_memory(process),
            now: self.schedule.clock(0).now(),
            clock_override: false,
            looked: &Default::default(),
        };
        let report = verifier.verify(&path.parse().unwrap(), None).await.unwrap();
        let because = report.because().map(|c| c.code.to_string()).unwrap_or_default();
        (report.verdict(), because)
    }

    /// A deployer with a memory, slow as everybody else.
    pub(super) async fn read(self: Rc<Self>, process: usize, times: usize) {
        for _ in 0..times {
            self.start(process).await;
            let some: Vec<String> = {
                let wishes = self.wishes.borrow();
                let released = wishes.iter().filter(|w| w.ended.is_some_and(|(_, r)| r) && w.value.is_some());
                released.filter(|w| w.path.contains('@')).map(|w| w.path.clone()).collect()
            };
            if some.is_empty() {
                continue;
            }
            let before = self.remembered(process);
            let path = &some[self.site.gate.below(some.len())];
            let (_, because) = self.verify(process, path, Arc::new(self.store(process))).await;
            let mut tally = self.tally.borrow_mut();
            tally.readings += 1;
            tally.kept_memory += u64::from(because.ends_with(".rollback"));
            drop(tally);
            if self.remembered(process) < before {
                self.broken(format!("reader {process} went back from {before}"));
            }
        }
    }

    pub(super) fn wish(&self, home: usize, path: String, value: Option<&Digest>) -> usize {
        let began = self.calls();
        let value = value.map(|d| d.hex().to_owned());
        self.wishes.borrow_mut().push(Wish { path, value, home, began, ended: None });
        self.wishes.borrow().len() - 1
    }

    /// Tags of the submissions that first said what was wished.
    pub(super) fn submissions_of(&self, wish: &Wish) -> BTreeSet<String> {
        let truth = self.site.truth();
        let holds = |role: &Value| {
            let entry = &role["targets"][&wish.path];
            match &wish.value {
                Some(value) => entry["hashes"]["sha256"] == **value,
                None => {
                    let ids = role["x-bulla"]["withdrawn"][&wish.path].as_object();
                    let own = format!("{:08x}", wish.home);
                    ids.is_some_and(|ids| ids.keys().any(|id| id.starts_with(&own)))
                }
            }
        };
        let submissions = truth.submissions.iter();
        submissions
            .filter(|(.., roles)| roles.iter().any(|(_, r)| holds(r)))
            .map(|(t, ..)| t.to_string())
            .collect()
    }

    /// Wishes that were PUT as a submission.
    pub(super) fn submitted(&self) -> Vec<Wish> {
        let wishes = self.wishes.borrow().clone();
        wishes.into_iter().filter(|w| !self.submissions_of(w).is_empty()).collect()
    }

    /// Whether somebody withdrew the path, knowing of it or at the same time.
    pub(super) fn may_be_gone(&self, wish: &Wish) -> bool {
        let withdrawn = |w: &Wish| w.path == wish.path && w.value.is_none();
        self.submitted().iter().any(withdrawn)
    }

    pub(super) async fn entries(&self) -> BTreeMap<String, String> {
        let (_, files) = self.site.live().await;
        let releases = files.metadata().iter().find(|(n, _)| *n.role() == RoleName::releases());
        let listed = signed(releases.unwrap().1);
        let entries = listed["targets"].as_object().unwrap();
        entries.iter().map(|(p, t)| (p.clone(), t["hashes"]["sha256"].as_str().unwrap().to_owned())).collect()
    }

    /// The promises.
    pub(super) async fn check(&self) {
        self.check_delegations().await;
        let entries = self.entries().await;
        let submitted = self.submitted();
        self.tally.borrow_mut().withdrawn = submitted.iter().filter(|w| w.value.is_none()).count() as u64;
        for wish in self.wishes.borrow().iter().filter(|w| w.ended.is_some_and(|(_, released)| released)) {
            if wish.value.is_some() && self.submissions_of(wish).is_empty() {
                self.broken(format!("{} was said to be released and never submitted", wish.path));
            }
        }
        for wish in &submitted {
            let there = entries.get(&wish.path);
            let same_path = || submitted.iter().filter(|w| w.path == wish.path);
            match &wish.value {
                Some(_) if there.is_none() && !self.may_be_gone(wish) => {
                    self.broken(format!("{} is lost", wish.path));
                }
                // Whoever wished it later knew of this one, as far as lists of tags tell the truth.
                Some(value) if there == Some(value) && self.site.registry.lag == 0 => {
                    let knew = |w: &&Wish| {
                        let ended = wish.ended.is_some_and(|(at, released)| released && at < w.began);
                        ended && w.value.is_some() && w.value != wish.value && w.ended.is_some_and(|(_, r)| r)
                    };
                    if same_path().any(|w| knew(&w)) && !self.homes.iter().any(|h| h.deceived) {
                        self.broken(format!("an older value of {} is back", wish.path));
                    }
                }
                None if there.is_some() => {
                    let again = same_path()
                        .any(|w| w.value.is_some() && w.ended.is_none_or(|(at, _)| at > wish.began));
                    if !again {
                        self.broken(format!("{} was withdrawn and is back", wish.path));
                    }
                }
                _ => {}
            }
        }
        let (_, files) = self.site.live().await;
        let (live, highest) = (timestamp_version(&files), self.site.truth().states.iter().map(|s| s.0).max());
        if Some(live) < highest {
            self.broken(format!("the live timestamp {live} is below what was served: {highest:?}"));
        }
        // Every reader, and one who comes now, goes on with what was released.
        let first_reader = self.homes.len() + 1;
        for process in (first_reader..first_reader + READERS).chain([usize::MAX]) {
            let inner = self.site.inner.clone();
            let in_it = |w: &&Wish| w.value.is_some() && entries.get(&w.path) == w.value.as_ref();
            for wish in submitted.iter().filter(in_it).take(3) {
                let (verdict, because) = self.verify(process, &wish.path, inner.clone()).await;
                // A tag of the registry is moved by its publisher; here the signed entry is looked at, by its digest.
                if verdict != Verdict::Trusted && wish.path.contains('@') {
                    self.broken(format!(
                        "a reader is below: {} is {} ({because})",
                        wish.path,
                        verdict.as_str()
                    ));
                }
            }
        }
    }
}
