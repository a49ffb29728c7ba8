//! Who publishes, withdraws, renews, attacks and reads in one run, and what must hold in the end.

mod acts;
mod promises;
mod shared;
mod tally;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bulla::client::init::{self, Lifetimes, init};
use bulla::client::memory::Memory;
use bulla::client::signing::OpenKeys;
use bulla::oci::{Content, Reference, media_type};
use bulla::store::{BytesSource, Manage};
use bulla::time::UnixTime;
use bulla::tuf::{CollectionName, RoleName};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Scenario;
use super::gated::{Gated, Site, Truth, timestamp_version};
use super::schedule::{Call, Habits, Schedule};
use crate::bundles;
use crate::publishing::{ONLINE, RELEASES, TARGETS, key};

pub(super) use tally::Tally;

const START: i64 = 1_800_000_000;
/// The second online key, where two must sign.
const SECOND: u8 = 78;
/// Deployers with a memory.
const READERS: usize = 2;
/// Tags that everybody moves.
const TAGS: usize = 2;

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

/// An installation.
struct Home {
    memory: Memory,
    keys: OpenKeys,
    /// Whether it signs releases.
    publishes: bool,
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
    /// Two keys must sign snapshot and timestamp.
    shared: bool,
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
        if scenario.shared {
            shared::two_must_sign(&*store, &name, &created.root, &memory("owner")).await;
        }
        let remembered = memory("owner").load(&created.root).unwrap().unwrap();
        let kinds = [
            (scenario.full, &[RELEASES, ONLINE][..]),
            (scenario.submitters, &[RELEASES]),
            (scenario.online_only, &[ONLINE]),
            // The keeper: it holds everything and comes last.
            (1, &[RELEASES, ONLINE]),
        ];
        let mut homes: Vec<Home> = Vec::new();
        for (number, keys) in kinds {
            for n in 0..number {
                let mut keys = keys.to_vec();
                if scenario.shared && keys.contains(&ONLINE) {
                    // Every other one holds the other key, and the keeper both.
                    let last = homes.len() == scenario.full + scenario.submitters + scenario.online_only;
                    if last {
                        keys.push(SECOND);
                    } else if n % 2 == 1 {
                        keys.iter_mut().filter(|k| **k == ONLINE).for_each(|k| *k = SECOND);
                    }
                }
                let memory = memory(&format!("home{}", homes.len()));
                memory.save(&created.root, &remembered).unwrap();
                homes.push(Home {
                    memory,
                    keys: OpenKeys(keys.iter().map(|k| key(*k)).collect()),
                    publishes: keys.contains(&RELEASES),
                    online: keys.contains(&ONLINE) || keys.contains(&SECOND),
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
            shared: scenario.shared,
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
        for home in (0..keeper).filter(|h| stage.homes[*h].online && !stage.homes[*h].publishes) {
            let of = stage.clone();
            stage.schedule.spawn(home, move || of.clone().renew_and_look(home));
        }
        stage.schedule.run().await;
        if stage.shared {
            // In turn, with nobody in between: each has signed what the others have.
            let online: Vec<usize> = (0..keeper).filter(|h| stage.homes[*h].online).collect();
            for (n, home) in online.iter().copied().cycle().take(2 * online.len()).enumerate() {
                let (of, last) = (stage.clone(), n + 1 == 2 * online.len());
                stage.schedule.forward(60);
                stage.schedule.spawn(home, move || of.clone().turn(home, last));
                stage.schedule.run().await;
            }
            stage.all_is_in().await;
        }
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
}

fn signed(bytes: &Bytes) -> Value {
    serde_json::from_slice::<Value>(bytes).unwrap()["signed"].clone()
}
