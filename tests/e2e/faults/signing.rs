//! Publish, renew and verify under faults.

use std::sync::Mutex;

use async_trait::async_trait;
use bulla::client::publish::Status;
use bulla::client::renew;
use bulla::client::stores::Stores;
use bulla::client::verify::Verifier;
use bulla::oci::{Content, Reference, media_type};
use bulla::store::registry::{Hosts, RegistryConfig};
use bulla::time::Clock as _;
use bulla::trust::{Anchor, Scope, TrustFile, Verdict};
use serde_json::Value;

use super::{Ended, Scene};
use crate::bundles;
use crate::publishing::{Collection, Home, ONLINE, RELEASES, REPO};
use crate::registry::{Registry as Server, State};
use crate::walk::{AtRegistry, Place};

/// A collection with one release, and an installation that is made anew for each run.
pub(super) struct Stage {
    pub(super) c: Collection,
    fallback: bool,
    pub(super) start: State,
    pub(super) image: Content,
    pub(super) old: Content,
    home: Home,
    keys: Vec<u8>,
    /// The installation of the first run, for the second.
    kept: Mutex<Option<Home>>,
}

impl Stage {
    pub(super) async fn new(fallback: bool, keys: &[u8]) -> Self {
        let c = Collection::new(false).await;
        c.server.quirks(|q| q.no_referrers_api = fallback);
        let (old, image) = (c.image("old"), c.image("new"));
        c.publish(&c.owner, old.digest(), &["old"]).await.unwrap();
        let home = c.home(keys);
        let start = c.server.store(|s| s.clone());
        Self { c, fallback, start, image, old, home, keys: keys.to_vec(), kept: Mutex::default() }
    }

    fn reset(&mut self) {
        self.c.server.behave();
        let start = self.start.clone();
        self.c.server.store(|s| *s = start);
        self.home = self.c.home(&self.keys);
        *self.kept.lock().unwrap() = None;
    }

    /// The installation that runs a command; [`Stage::keep`] gives it back.
    fn take(&self, config: RegistryConfig) -> Home {
        let kept = self.kept.lock().unwrap().take();
        let mut home = kept.unwrap_or_else(|| self.with(config.clone()));
        home.hosts = Hosts::new(config);
        home
    }

    fn keep(&self, home: Home) {
        *self.kept.lock().unwrap() = Some(home);
    }

    fn with(&self, config: RegistryConfig) -> Home {
        Home { hosts: Hosts::new(config), ..self.c.home(&self.keys) }
    }

    fn sealed(&self, image: &Content) -> bool {
        let at = AtRegistry(&self.c.server, REPO);
        let listed = Place::listed(&at, &image.digest().to_string());
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

pub(super) struct Publishing(pub(super) Stage);

#[async_trait]
impl Scene for Publishing {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.0.c.server]
    }

    async fn reset(&mut self) {
        self.0.reset();
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let home = self.0.take(config);
        let result = self.0.c.publish(&home, self.0.image.digest(), &["new"]).await;
        self.0.keep(home);
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
pub(super) struct Renewing(Stage);

impl Renewing {
    pub(super) async fn new(fallback: bool) -> Self {
        let mut stage = Stage::new(fallback, &[ONLINE]).await;
        stage.c.forward(2 * 86_400);
        let submitter = stage.c.home(&[RELEASES]);
        let done = stage.c.publish(&submitter, stage.image.digest(), &["new"]).await.unwrap();
        assert_eq!(done.status, Status::Submitted);
        stage.start = stage.c.server.store(|s| s.clone());
        Self(stage)
    }
}

#[async_trait]
impl Scene for Renewing {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.0.c.server]
    }

    async fn reset(&mut self) {
        self.0.reset();
    }

    async fn run(&self, config: RegistryConfig) -> Ended {
        let home = self.0.take(config);
        let result = self.0.c.try_renew(&home).await;
        self.0.keep(home);
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
pub(super) struct Verifying {
    pub(super) stage: Stage,
    pub(super) selector: String,
    /// Whether it is to be trusted.
    pub(super) good: bool,
    pub(super) said: Mutex<Option<Verdict>>,
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
            looked: &Default::default(),
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
