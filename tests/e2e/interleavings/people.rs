//! Who publishes, withdraws, renews, attacks and reads in one run, and what must hold in the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use bulla::client::ceremony::{CeremonyError, Desk};
use bulla::client::commit::{Committer, Intents, Job, Reason, Refusal, WorkError};
use bulla::client::delegation::{Edit, change};
use bulla::client::init::{self, Lifetimes, init};
use bulla::client::known::Known;
use bulla::client::memory::Memory;
use bulla::client::places::Places;
use bulla::client::publish::{self, PublishError, Status, Wanted, publish};
use bulla::client::renew::{self, Renewed, renew};
use bulla::client::signing::OpenKeys;
use bulla::client::verify::Verifier;
use bulla::client::whole::Whole;
use bulla::oci::{Content, Digest, Reference, Selector, media_type};
use bulla::sig::KeyId;
use bulla::store::{BytesSource, Manage, StoreError};
use bulla::time::{Clock as _, UnixTime};
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use bulla::tuf::grant::{Grant, Terms};
use bulla::tuf::lineage::{Change, View};
use bulla::tuf::{CollectionName, FileName, RoleName, Signers};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Scenario;
use super::gated::{Gated, Site, Truth, timestamp_version};
use super::schedule::{Call, Habits, Schedule};
use crate::bundles;
use crate::publishing::{ONLINE, RELEASES, TARGETS, key};

const START: i64 = 1_800_000_000;
/// Deployers with a memory.
const READERS: usize = 2;
/// Tags that everybody moves.
const TAGS: usize = 2;

/// What somebody wanted.
#[derive(Debug, Clone)]
struct Wish {
    path: String,
    /// The digest; nothing: the path goes.
    value: Option<String>,
    home: usize,
    /// Calls of the schedule when it began.
    began: u64,
    /// When it ended, and whether `released` was said.
    ended: Option<(u64, bool)>,
}

/// What one run, or several, came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) runs: u64,
    pub(super) calls: u64,
    pub(super) crashes: u64,
    pub(super) released: u64,
    pub(super) submitted: u64,
    pub(super) states: u64,
    falls: u64,
    lost: u64,
    withdrawn: u64,
    merged: u64,
    forks: u64,
    readings: u64,
    kept_memory: u64,
    pub(super) broken: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.calls += other.calls;
        self.crashes += other.crashes;
        self.released += other.released;
        self.submitted += other.submitted;
        self.states += other.states;
        self.falls += other.falls;
        self.lost += other.lost;
        self.withdrawn += other.withdrawn;
        self.merged += other.merged;
        self.forks += other.forks;
        self.readings += other.readings;
        self.kept_memory += other.kept_memory;
        self.broken.extend(other.broken.iter().cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} calls, {} crashes, {} said released, {} submissions, {} states, {} fell, {} lost by the registry, \
             {} withdrawn, {} merged, {} forks reported, {} readings of which {} kept to what was remembered, {} promises broken",
            self.runs,
            self.calls,
            self.crashes,
            self.released,
            self.submitted,
            self.states,
            self.falls,
            self.lost,
            self.withdrawn,
            self.merged,
            self.forks,
            self.readings,
            self.kept_memory,
            self.broken.len()
        )
    }
}

/// An installation.
struct Home {
    memory: Memory,
    keys: OpenKeys,
    online: bool,
    skew: i64,
    deceived: bool,
}

/// One run under way.
pub(super) struct Run {
    /// Somebody puts the first state back in the end.
    pub(super) robbed: bool,
    stage: Rc<Stage>,
    scenario: Scenario,
}

struct Stage {
    site: Arc<Site>,
    schedule: Rc<Schedule>,
    root: Bytes,
    homes: Vec<Home>,
    dir: tempfile::TempDir,
    /// Images by home and job.
    images: BTreeMap<(usize, usize), Content>,
    done: RefCell<BTreeMap<usize, usize>>,
    wishes: RefCell<Vec<Wish>>,
    tally: RefCell<Tally>,
    withdraw: u64,
    delegate: u64,
    /// Delegations that were wanted, with what was said of the grant and of taking it back; nothing: not tried, or unknown.
    granted: RefCell<BTreeMap<RoleName, (bool, Option<bool>)>>,
    jobs: usize,
}

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

async fn image(store: &dyn Manage, seed: &str) -> Content {
    let config = Content::new(bundles::CONFIG, format!("{{\"seed\":\"{seed}\"}}"));
    store.push_blob(config.descriptor(), &BytesSource(config.bytes().clone())).await.unwrap();
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor(), "layers": []
    });
    let image = Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap());
    store.push_manifest(&image, None).await.unwrap();
    store.flush().await.unwrap();
    image
}

impl Run {
    pub(super) async fn new(store: Arc<dyn Manage>, scenario: Scenario, seed: u64) -> Self {
        let Reference::Registry(place) = store.place() else { panic!("a repository") };
        let name = CollectionName::from(place.repository);
        let dir = bundles::scratch();
        let memory = |who: &str| Memory::in_dir(&dir.path().join(who), &name);
        let created = init(init::Request {
            collection: name.clone(),
            store: &*store,
            root_keys: vec![key(1)],
            root_threshold: 1,
            targets_key: key(TARGETS),
            releases_key: key(RELEASES),
            online_key: key(ONLINE),
            lifetimes: Lifetimes::default(),
            single_writer: false,
            shared_root_key: None,
            root_file: &dir.path().join("1.root.json"),
            anew: None,
            memories: &[memory("owner")],
            now: UnixTime::from_secs(START - 600),
        })
        .await
        .unwrap();
        let kinds = [
            (scenario.full, &[RELEASES, ONLINE][..]),
            (scenario.submitters, &[RELEASES]),
            (scenario.online_only, &[ONLINE]),
            // The keeper: it holds everything and comes last.
            (1, &[RELEASES, ONLINE]),
        ];
        let remembered = memory("owner").load(&created.root).unwrap().unwrap();
        let mut homes: Vec<Home> = Vec::new();
        for (number, keys) in kinds {
            for _ in 0..number {
                let memory = memory(&format!("home{}", homes.len()));
                memory.save(&created.root, &remembered).unwrap();
                homes.push(Home {
                    memory,
                    keys: OpenKeys(keys.iter().map(|k| key(*k)).collect()),
                    online: keys.contains(&ONLINE),
                    skew: 0,
                    deceived: homes.len() < scenario.deceived,
                });
            }
        }
        let habits = Habits {
            crash: scenario.crash,
            sleep: scenario.sleep,
            gap: scenario.gap,
            held: scenario.held.then_some(0),
        };
        let schedule = Schedule::new(seed, START, habits);
        let skews: Vec<i64> = homes.iter().map(|_| schedule.gate.below(241) as i64 - 120).collect();
        for (home, skew) in homes.iter_mut().zip(skews) {
            home.skew = skew;
        }
        let mut images = BTreeMap::new();
        for home in 0..homes.len() {
            for job in 0..scenario.jobs {
                images.insert((home, job), image(&*store, &format!("{home} {job}")).await);
            }
        }
        let site = Site {
            inner: store,
            name,
            registry: scenario.registry,
            calm: std::sync::atomic::AtomicBool::new(false),
            truth: std::sync::Mutex::new(Truth::default()),
            gate: schedule.gate.clone(),
        };
        let (manifest, files) = site.live().await;
        site.truth().states.push((timestamp_version(&files), manifest));
        let stage = Stage {
            site: Arc::new(site),
            schedule,
            root: created.root,
            homes,
            dir,
            images,
            done: RefCell::default(),
            wishes: RefCell::default(),
            tally: RefCell::default(),
            withdraw: scenario.withdraw,
            delegate: scenario.delegate,
            granted: RefCell::default(),
            jobs: scenario.jobs,
        };
        Self { robbed: false, stage: Rc::new(stage), scenario }
    }

    /// Everybody does what they do; then the renewal jobs run once more, then the keeper; then what must hold is looked at.
    pub(super) async fn finish(self) -> Tally {
        let stage = self.stage;
        let keeper = stage.homes.len() - 1;
        for home in 0..keeper {
            let of = stage.clone();
            stage.schedule.spawn(home, move || of.clone().day(home));
        }
        let (of, attacks) = (stage.clone(), self.scenario.attacker);
        stage.schedule.spawn(keeper + 1, move || of.clone().attack(keeper + 1, attacks));
        for reader in 0..READERS {
            let (of, process) = (stage.clone(), keeper + 2 + reader);
            stage.schedule.spawn(process, move || of.clone().read(process, 3));
        }
        stage.schedule.run().await;
        let crashes = *stage.schedule.crashes.borrow();
        stage.quiet();
        // Clocks differ by up to two minutes.
        stage.schedule.forward(600);
        for home in (0..keeper).filter(|h| stage.homes[*h].online && stage.homes[*h].keys.0.len() == 1) {
            let of = stage.clone();
            stage.schedule.spawn(home, move || of.clone().renew_and_look(home));
        }
        stage.schedule.run().await;
        // The day after: whoever was here has a clock that is behind the keeper's by then.
        stage.schedule.forward(600);
        let of = stage.clone();
        stage.schedule.spawn(keeper, move || of.clone().renew_and_look(keeper));
        stage.schedule.run().await;
        if self.robbed {
            let (first, tag) = (stage.site.truth().states[0].1.clone(), stage.site.name.state_tag());
            stage.site.inner.push_manifest(&first, Some(&tag)).await.unwrap();
        }
        stage.check().await;
        let mut tally = stage.tally.borrow_mut();
        tally.calls = *stage.schedule.calls.borrow();
        tally.crashes = crashes;
        let truth = stage.site.truth();
        (tally.states, tally.falls, tally.lost) = (truth.overwrites, truth.falls, truth.lost);
        tally.submitted = truth.submissions.len() as u64;
        tally.clone()
    }
}

impl Stage {
    fn store(&self, process: usize) -> Gated {
        let deceived = self.homes.get(process).is_some_and(|h| h.deceived);
        Gated { site: self.site.clone(), process, deceived }
    }

    fn calls(&self) -> u64 {
        *self.schedule.calls.borrow()
    }

    fn broken(&self, what: String) {
        self.tally.borrow_mut().broken.push(what);
    }

    async fn start(&self, process: usize) {
        self.site.gate.pass(process, Call::Start, async {}).await;
    }

    /// From now on nobody dies or is lied to.
    fn quiet(&self) {
        self.schedule.calm();
        self.site.calm();
    }

    /// What one home does; a crash ends a job, and what is left is begun anew.
    async fn day(self: Rc<Self>, home: usize) {
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
            let holds_role = self.homes[home].keys.0.len() == 2 || !self.homes[home].online;
            if !holds_role || self.site.gate.percent(10) {
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

    async fn publish(&self, home: usize, job: usize) {
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
    async fn delegate(&self, home: usize, job: usize) {
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
    async fn change(&self, home: usize, edit: Edit) -> bool {
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

    /// Whether every delegation that was submitted is in, and none that was taken back.
    async fn check_delegations(&self) {
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

    async fn withdraw(&self, home: usize) {
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

    async fn renew(&self, home: usize) {
        let done = self.try_renew(home, &[]).await;
        match done {
            Ok(done) => {
                let mut tally = self.tally.borrow_mut();
                tally.merged += done.merged as u64;
                tally.forks += done.pending.iter().filter(|p| p.reason == Reason::Fork).count() as u64;
            }
            Err(e) => self.failed("renew", &e),
        }
    }

    async fn try_renew(&self, home: usize, roles: &[RoleName]) -> Result<Renewed, WorkError> {
        let (store, installation) = (self.store(home), &self.homes[home]);
        renew(renew::Request {
            lives: bulla::client::commit::AS_BEFORE,
            cosign: renew::Cosign::Here,
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
    fn failed(&self, what: &str, e: &WorkError) {
        if !matches!(e, WorkError::Sign(_)) {
            self.broken(format!("{what}: {e}"));
        }
    }

    /// A last renewal: whatever was submitted is in afterwards, or is named. The keeper's is the day's, which signs the timestamp
    /// again in any case: a state that fell back stays until then, and its version is then above all that was served.
    async fn renew_and_look(self: Rc<Self>, home: usize) {
        let daily = [RoleName::timestamp()];
        let roles = if home + 1 == self.homes.len() { &daily[..] } else { &[] };
        let done = match self.try_renew(home, roles).await {
            Ok(done) => done,
            Err(e) => return self.broken(format!("the last renewal: {e}")),
        };
        let named: BTreeSet<String> = done.pending.iter().map(|p| p.tag.to_string()).collect();
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

    async fn attack(self: Rc<Self>, process: usize, times: usize) {
        for _ in 0..times {
            self.start(process).await;
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

    fn reader_memory(&self, process: usize) -> PathBuf {
        self.dir.path().join(format!("reader{process}"))
    }

    /// The version of the timestamp that a reader remembers.
    fn remembered(&self, process: usize) -> u64 {
        let memory = Memory::in_dir(&self.reader_memory(process), &self.site.name);
        let remembered = memory.load(&self.root).unwrap();
        let timestamp = remembered.and_then(|m| m.files.get(&FileName::timestamp()).cloned());
        timestamp.map_or(0, |t| signed(&t)["version"].as_u64().unwrap())
    }

    async fn verify(&self, process: usize, path: &str, store: Arc<dyn Manage>) -> (Verdict, String) {
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
    async fn read(self: Rc<Self>, process: usize, times: usize) {
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

    fn wish(&self, home: usize, path: String, value: Option<&Digest>) -> usize {
        let began = self.calls();
        let value = value.map(|d| d.hex().to_owned());
        self.wishes.borrow_mut().push(Wish { path, value, home, began, ended: None });
        self.wishes.borrow().len() - 1
    }

    /// Tags of the submissions that first said what was wished.
    fn submissions_of(&self, wish: &Wish) -> BTreeSet<String> {
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
    fn submitted(&self) -> Vec<Wish> {
        let wishes = self.wishes.borrow().clone();
        wishes.into_iter().filter(|w| !self.submissions_of(w).is_empty()).collect()
    }

    /// Whether somebody withdrew the path, knowing of it or at the same time.
    fn may_be_gone(&self, wish: &Wish) -> bool {
        let withdrawn = |w: &Wish| w.path == wish.path && w.value.is_none();
        self.submitted().iter().any(withdrawn)
    }

    async fn entries(&self) -> BTreeMap<String, String> {
        let (_, files) = self.site.live().await;
        let releases = files.metadata().iter().find(|(n, _)| *n.role() == RoleName::releases());
        let listed = signed(releases.unwrap().1);
        let entries = listed["targets"].as_object().unwrap();
        entries.iter().map(|(p, t)| (p.clone(), t["hashes"]["sha256"].as_str().unwrap().to_owned())).collect()
    }

    /// The promises.
    async fn check(&self) {
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

fn signed(bytes: &Bytes) -> Value {
    serde_json::from_slice::<Value>(bytes).unwrap()["signed"].clone()
}
