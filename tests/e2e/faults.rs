//! Every kind of fault at every request of verify, publish, renew and copy: the command ends in success, which is read back
//! past bulla, or in an error; after an error no reader sees anything half done, and the same command run again converges.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bulla::client::copy::{Copier, Job, Outcome, Settings};
use bulla::client::publish::Status;
use bulla::client::renew;
use bulla::client::stores::Stores;
use bulla::client::verify::Verifier;
use bulla::oci::{Content, Reference, Selector, media_type};
use bulla::store::copy::{Filter, Unobserved};
use bulla::store::registry::{Hosts, RegistryConfig, Timeouts};
use bulla::time::Clock as _;
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use serde_json::Value;

use super::bundles;
use super::publishing::{Collection, Home, ONLINE, RELEASES, REPO};
use super::servers;
use super::soak;
use super::walk::{AtLayout, AtRegistry, Whole};
use crate::registry::{Action, Config, Fault, Nth, Registry as Server, State};

/// How a command ended.
enum Ended {
    /// Exit 0.
    Success,
    /// Exit 0, and the result names what was not there.
    Partly(String),
    /// Any other exit, with its words.
    Error(String),
}

/// A command on a stage that can be set up again.
#[async_trait]
trait Scene: Sync {
    /// The registries whose requests are counted.
    fn servers(&self) -> Vec<&Server>;
    /// Everything as it was at first.
    async fn reset(&mut self);
    /// The command; a second call of it finds what the first one left, at home too.
    async fn run(&self, config: RegistryConfig) -> Ended;
    /// What is not as a success promises.
    async fn missing(&self) -> Vec<String>;
    /// What a reader sees that is half done.
    async fn half(&self) -> Vec<String>;
}

type Kind = (&'static str, fn() -> Fault);

/// What is done to a request.
fn kinds() -> Vec<Kind> {
    fn any() -> Fault {
        Fault::on("*", "*")
    }
    fn unavailable() -> Action {
        Action::Status { status: 503, code: "UNAVAILABLE".into(), retry_after: Some("1".into()) }
    }
    fn page() -> Action {
        let body = "<html><title>Sign in</title></html>".into();
        Action::Answer { status: 200, content_type: "text/html".into(), body }
    }
    fn empty() -> Action {
        Action::Answer { status: 200, content_type: "application/json".into(), body: "{}".into() }
    }
    vec![
        ("reset before", || any().action(Action::Reset(0))),
        ("reset after", || any().action(Action::Reset(0)).performed()),
        ("reset in the head", || any().action(Action::Reset(40))),
        ("reset in the body", || any().action(Action::Reset(400))),
        ("request cut", || any().action(Action::ResetRequest(9))),
        ("body cut", || any().action(Action::Truncate(20))),
        ("body shortened", || any().action(Action::Shorten(20))),
        (WRONG_BYTES, || any().action(Action::WrongBytes)),
        ("endless body", || any().action(Action::Endless)),
        ("html", || any().action(page())),
        ("empty document", || any().action(empty())),
        ("401", || any().status(401)),
        ("403", || any().status(403)),
        ("404", || any().status(404)),
        ("429", || any().too_many("1")),
        ("500", || any().status(500)),
        ("500 performed", || any().status(500).performed()),
        ("503", || any().action(unavailable())),
        (SLOW, || any().action(Action::Delay(Duration::from_millis(400)))),
    ]
}

const SLOW: &str = "too slow";
const WRONG_BYTES: &str = "wrong bytes";

fn config(kind: &str) -> RegistryConfig {
    let mut config = RegistryConfig { plain_http: true, concurrency: 1, ..servers::config() };
    if kind == SLOW {
        let limit = Duration::from_millis(120);
        config.timeouts = Timeouts { connect: limit, idle: limit, request: limit };
        config.retry.tries = 2;
    }
    config
}

/// What a matrix came to.
#[derive(Default)]
struct Tally {
    runs: usize,
    successes: usize,
    errors: usize,
    /// Successes that name what the registry said was not there.
    partly: usize,
    wrong: Vec<String>,
    undetectable: Vec<String>,
    half: Vec<String>,
    stuck: Vec<String>,
    nameless: Vec<String>,
}

/// Every kind, at once and from then on, at `picked` of the requests of every registry of the scene.
async fn matrix(name: &str, scene: &mut dyn Scene, short: u64) {
    scene.reset().await;
    for server in scene.servers() {
        server.clear();
    }
    assert!(matches!(scene.run(config("")).await, Ended::Success), "{name}: fails without any fault");
    assert_eq!(scene.missing().await, Vec::<String>::new(), "{name}: without any fault");
    let requests: Vec<u64> = scene.servers().iter().map(|s| s.requests().len() as u64).collect();
    let mut tally = Tally::default();
    for (server, last) in requests.iter().enumerate() {
        for (i, (kind, fault)) in kinds().into_iter().enumerate() {
            // Each kind meets other requests, and all of them meet some.
            let stride = soak::of(last.div_ceil(short).max(1), 1);
            let first = 1 + i as u64 % stride;
            for k in (first..=*last).step_by(usize::try_from(stride).unwrap()) {
                let both = [Nth::Only(k), Nth::From(k)];
                // The short run takes turns.
                let turn = tally.runs % 2;
                for nth in if soak::long() { &both[..] } else { &both[turn..=turn] } {
                    let nth = *nth;
                    let what = format!("{name}: {kind} at {nth:?} of {last}, registry {server}");
                    scene.reset().await;
                    scene.servers().iter().for_each(|s| s.clear());
                    scene.servers()[server].fault(fault().nth(nth));
                    let wrong = tally.wrong.len();
                    one(&what, kind, scene, &mut tally).await;
                    let hit =
                        scene.servers()[server].requests().get(usize::try_from(k).unwrap() - 1).cloned();
                    let tags = hit.is_some_and(|r| r.is("GET", "*/tags/list*"));
                    if tally.wrong.len() > wrong && kind == WRONG_BYTES && tags {
                        // Tags have no digest: on a list with another tag in it nobody can see that it was damaged.
                        tally.undetectable.extend(tally.wrong.pop());
                        tally.half.retain(|half| !half.starts_with(&what));
                    }
                }
            }
        }
    }
    let Tally { runs, successes, errors, partly, .. } = tally;
    soak::report(&format!(
        "faults  {name}: {requests:?} requests, {runs} runs, {successes} successes, {errors} errors, \
         {partly} name what was not there, wrong exit 0: {}, {} damaged tag lists that nobody can see, \
         half done: {}, not finished by a rerun: {}",
        tally.wrong.len(),
        tally.undetectable.len(),
        tally.half.len(),
        tally.stuck.len()
    ));
    assert!(runs > 30 && successes > 0 && errors > 0, "{name}: {runs} {successes} {errors}");
    let list = |title: &str, all: &[String]| {
        all.iter().take(25).fold(String::new(), |mut text, one| {
            let _ = writeln!(text, "{title}: {one}");
            text
        })
    };
    let bad = [
        list("wrong exit 0", &tally.wrong),
        list("half done", &tally.half),
        list("not finished by a rerun", &tally.stuck),
        list("no words", &tally.nameless),
    ]
    .concat();
    assert!(bad.is_empty(), "{bad}");
}

async fn one(what: &str, kind: &str, scene: &dyn Scene, tally: &mut Tally) {
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, scene.run(config(kind))).await;
    scene.servers().iter().for_each(|s| s.behave());
    tally.runs += 1;
    let half = scene.half().await;
    if !half.is_empty() && !matches!(ended, Ok(Ended::Partly(_))) {
        tally.half.push(format!("{what}: {half:?}"));
    }
    let words = match ended {
        Err(_) => return tally.stuck.push(format!("{what}: no end within {limit:?}")),
        Ok(Ended::Success) => {
            tally.successes += 1;
            let missing = scene.missing().await;
            if !missing.is_empty() {
                tally.wrong.push(format!("{what}: {missing:?}"));
            }
            return;
        }
        Ok(Ended::Partly(words)) => {
            tally.partly += 1;
            words
        }
        Ok(Ended::Error(words)) => {
            tally.errors += 1;
            words
        }
    };
    if words.trim().is_empty() {
        tally.nameless.push(what.to_owned());
    }
    match scene.run(config("")).await {
        Ended::Error(again) | Ended::Partly(again) => {
            tally.stuck.push(format!("{what}: first {words}; then {again}"))
        }
        Ended::Success => {
            let missing = scene.missing().await;
            if !missing.is_empty() {
                tally.stuck.push(format!("{what}: {words}; then {missing:?}"));
            }
        }
    }
}

/// A collection with one release, and an installation that is made anew for each run.
struct Stage {
    c: Collection,
    fallback: bool,
    start: State,
    image: Content,
    old: Content,
    home: Home,
    keys: Vec<u8>,
}

impl Stage {
    async fn new(fallback: bool, keys: &[u8]) -> Self {
        let c = Collection::new(false).await;
        c.server.quirks(|q| q.no_referrers_api = fallback);
        let (old, image) = (c.image("old"), c.image("new"));
        c.publish(&c.owner, old.digest(), &["old"]).await.unwrap();
        let home = c.home(keys);
        let start = c.server.store(|s| s.clone());
        Self { c, fallback, start, image, old, home, keys: keys.to_vec() }
    }

    fn reset(&mut self) {
        self.c.server.behave();
        let start = self.start.clone();
        self.c.server.store(|s| *s = start);
        self.home = self.c.home(&self.keys);
    }

    fn with(&self, config: RegistryConfig) -> Home {
        Home { hosts: Hosts::new(config), ..self.c.home(&self.keys) }
    }

    fn sealed(&self, image: &Content) -> bool {
        let at = AtRegistry(&self.c.server, REPO);
        let listed = super::walk::Place::listed(&at, &image.digest().to_string());
        listed.iter().any(|d| {
            let seal = self.c.server.manifest(REPO, d).map(|(_, _, bytes)| bytes).unwrap_or_default();
            let doc: Value = serde_json::from_slice(&seal).unwrap_or_default();
            doc["artifactType"] == media_type::BULLA_SEAL
        })
    }

    /// What is not as a finished release of `image` at `tag` must be.
    async fn unfinished(&self, image: &Content, tag: &str) -> Vec<String> {
        let mut found = self.unreleased(image, tag).await;
        if !self.sealed(image) {
            found.push(format!("no seal is listed (fallback {})", self.fallback));
        }
        found
    }

    /// What a reader of a tag misses. A seal is for copies, and its absence is said by the exit code.
    async fn unreleased(&self, image: &Content, tag: &str) -> Vec<String> {
        let mut found = self.c.server.broken(REPO);
        if self.c.tag_of(tag) != Some(image.digest().to_string()) {
            found.push(format!("{tag} names {:?}", self.c.tag_of(tag)));
        } else if !self.c.trusts(&format!(":{tag}")).await {
            found.push(format!(":{tag} is not trusted"));
        }
        if !self.c.trusts_digest(image).await {
            found.push(format!("{} is not trusted", image.digest()));
        }
        found
    }

    /// A reader still trusts the old release, and a tag that names the new one keeps what it promises.
    async fn half(&self, tag: &str) -> Vec<String> {
        let mut found = Vec::new();
        if !self.c.trusts(":old").await || !self.c.trusts_digest(&self.old).await {
            found.push("the old release is lost".to_owned());
        }
        if self.c.tag_of(tag) == Some(self.image.digest().to_string()) {
            found.extend(self.unreleased(&self.image, tag).await);
        }
        found
    }
}

struct Publishing(Stage, Mutex<Option<Home>>);

#[async_trait]
impl Scene for Publishing {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.0.c.server]
    }

    async fn reset(&mut self) {
        self.0.reset();
        *self.1.lock().unwrap() = None;
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let mut home = self.1.lock().unwrap().take().unwrap_or_else(|| self.0.with(config.clone()));
        home.hosts = Hosts::new(config);
        let result = self.0.c.publish(&home, self.0.image.digest(), &["new"]).await;
        *self.1.lock().unwrap() = Some(home);
        match result {
            Ok(p) if matches!(p.status, Status::Released | Status::Submitted) => Ended::Success,
            Ok(p) => Ended::Error(format!("{:?}: {:?}", p.status, p.open)),
            Err(e) => Ended::Error(e.to_string()),
        }
    }

    async fn missing(&self) -> Vec<String> {
        self.0.unfinished(&self.0.image, "new").await
    }

    async fn half(&self) -> Vec<String> {
        self.0.half("new").await
    }
}

/// A submission waits, an old one may go, the timestamp is due.
struct Renewing(Stage, Mutex<Option<Home>>);

impl Renewing {
    async fn new(fallback: bool) -> Self {
        let mut stage = Stage::new(fallback, &[ONLINE]).await;
        stage.c.forward(2 * 86_400);
        let submitter = stage.c.home(&[RELEASES]);
        let done = stage.c.publish(&submitter, stage.image.digest(), &["new"]).await.unwrap();
        assert_eq!(done.status, Status::Submitted);
        stage.start = stage.c.server.store(|s| s.clone());
        Self(stage, Mutex::default())
    }
}

#[async_trait]
impl Scene for Renewing {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.0.c.server]
    }

    async fn reset(&mut self) {
        self.0.reset();
        *self.1.lock().unwrap() = None;
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let mut home = self.1.lock().unwrap().take().unwrap_or_else(|| self.0.with(config.clone()));
        home.hosts = Hosts::new(config);
        let result = self.0.c.try_renew(&home).await;
        *self.1.lock().unwrap() = Some(home);
        match result {
            Ok(r) if !r.finished.absent.is_empty() => {
                Ended::Partly(format!("absent: {:?}", r.finished.absent))
            }
            Ok(r) if matches!(r.status, renew::Status::Renewed | renew::Status::Current) => Ended::Success,
            Ok(r) => Ended::Error(format!("{:?}: {:?} {:?}", r.status, r.finished.open, r.pending)),
            Err(e) => Ended::Error(e.to_string()),
        }
    }

    async fn missing(&self) -> Vec<String> {
        let mut found = self.0.unfinished(&self.0.image, "new").await;
        let version = i64::try_from(self.0.c.timestamp_version()).unwrap();
        if version < self.0.c.time.now().secs() {
            found.push("the timestamp was not signed again".into());
        }
        found
    }

    async fn half(&self) -> Vec<String> {
        self.0.half("new").await
    }
}

/// What must be answered, and what must never be said.
struct Verifying {
    stage: Stage,
    selector: String,
    /// Whether it is to be trusted.
    good: bool,
    said: Mutex<Option<Verdict>>,
}

#[async_trait]
impl Scene for Verifying {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.stage.c.server]
    }

    async fn reset(&mut self) {
        self.stage.reset();
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let c = &self.stage.c;
        let mut trust = TrustFile::default();
        let scope = Scope::Repository(c.name.as_repository().clone());
        trust.anchors.push(Anchor::tuf(scope, c.name.clone(), c.root.clone(), vec![]));
        let fresh = bundles::scratch();
        let places = Stores::new(config);
        let verifier = Verifier {
            places: &places,
            trust: &trust,
            memory: fresh.path(),
            now: c.time.now(),
            clock_override: false,
        };
        let reference: Reference = format!("{}{}", c.name, self.selector).parse().unwrap();
        let report = verifier.verify(&reference, None).await;
        let verdict = report.as_ref().map(|r| r.verdict()).ok();
        *self.said.lock().unwrap() = verdict;
        match report {
            Err(e) => Ended::Error(e.to_string()),
            // The right answer counts as success here, also where it is "no".
            Ok(report) if report.verdict() == Verdict::Trusted => Ended::Success,
            Ok(report) if report.verdict() == Verdict::NotTrusted && !self.good => Ended::Success,
            Ok(report) => Ended::Error(format!("{:?}", report.because())),
        }
    }

    async fn missing(&self) -> Vec<String> {
        let trusted = *self.said.lock().unwrap() == Some(Verdict::Trusted);
        if trusted == self.good { Vec::new() } else { vec!["the wrong answer".into()] }
    }

    async fn half(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Api,
    Fallback,
    Layout,
}

/// The rich bundle between two places.
struct Copying {
    source: Option<Server>,
    destination: Option<Server>,
    /// A layout that is the source, or holds the destination.
    layout: Option<tempfile::TempDir>,
    dir: Mutex<PathBuf>,
    whole: Whole,
}

impl Copying {
    async fn new(from: End, to: End) -> Self {
        let layout = (from == End::Layout || to == End::Layout).then(bundles::scratch);
        let server = |end: End| async move {
            let server = Server::start(Config::default()).await;
            server.quirks(|q| q.no_referrers_api = end == End::Fallback);
            (end != End::Layout).then_some(server)
        };
        let (source, destination) = (server(from).await, server(to).await);
        let dir = layout.as_ref().map(|l| l.path().join("layout")).unwrap_or_default();
        let whole = match &source {
            Some(server) => {
                let rich = bundles::rich(&servers::repository(server, "src/app"), "faults").await;
                Whole::of(
                    &AtRegistry(server, "src/app"),
                    "v1",
                    &[rich.sig_tag.as_str(), rich.state_tag.as_str()],
                )
            }
            None => {
                let store = bulla::store::layout::OciDir::create(&dir).await.unwrap();
                let rich = bundles::rich(&store, "faults").await;
                Whole::of(&AtLayout(dir.clone()), "v1", &[rich.sig_tag.as_str(), rich.state_tag.as_str()])
            }
        };
        Self { source, destination, layout, dir: Mutex::new(dir), whole: whole.tagged("moved") }
    }

    fn look(&self, look: impl Fn(&dyn Fn(bool) -> Vec<String>) -> Vec<String>) -> Vec<String> {
        match &self.destination {
            Some(server) => {
                let at = AtRegistry(server, "dst/app");
                look(&|half| if half { self.whole.half(&at) } else { self.whole.missing(&at) })
            }
            None => {
                let at = AtLayout(self.dir.lock().unwrap().clone());
                look(&|half| match half {
                    true if at.0.exists() => [at.faults(), self.whole.half(&at)].concat(),
                    true => Vec::new(),
                    false => [at.faults(), self.whole.missing(&at)].concat(),
                })
            }
        }
    }
}

#[async_trait]
impl Scene for Copying {
    fn servers(&self) -> Vec<&Server> {
        self.source.iter().chain(&self.destination).collect()
    }

    async fn reset(&mut self) {
        for server in self.servers() {
            server.behave();
        }
        match &self.destination {
            Some(server) => server.store(|s| s.repos.clear()),
            None => {
                let old = self.dir.lock().unwrap().clone();
                let _ = std::fs::remove_dir_all(&old);
                // A new name: what was open on the old one cannot reach it.
                let dir = self.layout.as_ref().unwrap().path().join(format!("to-{}", rand()));
                *self.dir.lock().unwrap() = dir;
            }
        }
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let dir = format!("oci:{}", self.dir.lock().unwrap().display());
        let at = |server: &Option<Server>, repo: &str| match server {
            Some(server) => format!("{}/{repo}", server.host()),
            None => dir.clone(),
        };
        let (from, to) = (at(&self.source, "src/app"), at(&self.destination, "dst/app"));
        let places = Stores::new(config);
        let memory = bundles::scratch();
        let (source, destination): (Reference, Reference) = (from.parse().unwrap(), to.parse().unwrap());
        let trust = TrustFile::default();
        let mut copier = Copier::new(Settings {
            places: &places,
            trust: &trust,
            memory: memory.path(),
            now: "2026-05-01T12:00:00Z".parse().unwrap(),
            clock_override: false,
            named: None,
            verify: false,
            dry_run: false,
            repair: false,
            filter: Filter::default(),
            concurrency: 1,
            observer: &Unobserved,
        });
        let job = Job {
            source,
            selector: Selector::Tag(bundles::tag("v1")),
            destination,
            tags: vec![bundles::tag("moved")],
            guarded: None,
        };
        match copier.copy(&job).await {
            Ok(Outcome::Copied(c)) if c.unlisted.is_some() => Ended::Partly(format!("{:?}", c.unlisted)),
            Ok(Outcome::Copied(c)) if !c.report.skipped.is_empty() => {
                Ended::Partly(format!("{:?}", c.report.skipped))
            }
            Ok(Outcome::Copied(_)) => Ended::Success,
            Ok(Outcome::Refused(report)) => Ended::Error(format!("{:?}", report.because())),
            Err(e) => Ended::Error(e.to_string()),
        }
    }

    async fn missing(&self) -> Vec<String> {
        self.look(|at| at(false))
    }

    async fn half(&self) -> Vec<String> {
        self.look(|at| at(true))
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

const SHORT: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn publish_with_the_api() {
    let stage = Stage::new(false, &[RELEASES, ONLINE]).await;
    matrix("publish, API", &mut Publishing(stage, Mutex::default()), SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_without_the_api() {
    let stage = Stage::new(true, &[RELEASES, ONLINE]).await;
    matrix("publish, no API", &mut Publishing(stage, Mutex::default()), SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renew_with_the_api() {
    matrix("renew, API", &mut Renewing::new(false).await, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renew_without_the_api() {
    matrix("renew, no API", &mut Renewing::new(true).await, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_what_is_trusted_and_what_is_not() {
    for (selector, good) in [(":old", true), ("", true), (":wrong", false), (":unlisted", false)] {
        let mut stage = Stage::new(false, &[RELEASES]).await;
        let (c, old) = (&stage.c, stage.old.digest().to_string());
        // A tag that somebody moved to an older or foreign bundle, and one that the collection does not know.
        c.publish(&c.owner, c.image("current").digest(), &["wrong"]).await.unwrap();
        c.server.set_tag(REPO, "wrong", Some(&old));
        c.server.set_tag(REPO, "unlisted", Some(&stage.image.digest().to_string()));
        stage.start = c.server.store(|s| s.clone());
        let selector = if selector.is_empty() { format!("@{old}") } else { selector.to_owned() };
        let name = format!("verify {}", if good { "what is trusted" } else { "what is not" });
        matrix(&name, &mut Verifying { stage, selector, good, said: Mutex::default() }, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_between_registries() {
    for (from, to) in [(End::Api, End::Api), (End::Api, End::Fallback), (End::Fallback, End::Fallback)] {
        let name = |end| if end == End::Api { "API" } else { "no API" };
        let name = format!("copy, {} to {}", name(from), name(to));
        matrix(&name, &mut Copying::new(from, to).await, SHORT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_to_and_from_a_layout() {
    for (name, from, to) in [
        ("copy, API to layout", End::Api, End::Layout),
        ("copy, no API to layout", End::Fallback, End::Layout),
        ("copy, layout to API", End::Layout, End::Api),
        ("copy, layout to no API", End::Layout, End::Fallback),
    ] {
        matrix(name, &mut Copying::new(from, to).await, SHORT).await;
    }
}
