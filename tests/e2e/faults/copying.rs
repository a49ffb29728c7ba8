//! Copies under faults.

use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use bulla::client::copy::{Copier, Job, Outcome, Settings};
use bulla::client::stores::Stores;
use bulla::oci::{Reference, Selector};
use bulla::store::copy::{Filter, Unobserved};
use bulla::store::registry::RegistryConfig;
use bulla::trust::TrustFile;

use super::{Ended, Scene};
use crate::registry::{Config, Registry as Server};
use crate::walk::{AtLayout, AtRegistry, Whole};
use crate::{bundles, servers};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Api,
    Fallback,
    Layout,
}

/// The rich bundle between two places.
pub(super) struct Copying {
    source: Option<Server>,
    destination: Option<Server>,
    /// A layout that is the source, or holds the destination.
    layout: Option<tempfile::TempDir>,
    dir: Mutex<PathBuf>,
    whole: Whole,
}

impl Copying {
    pub(super) async fn new(from: End, to: End) -> Self {
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
