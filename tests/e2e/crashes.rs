//! The program is killed while the registry holds request n, for each n: what readers see is whole, the same command run again
//! converges, and it moves nothing that is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::soak;
use super::walk::{AtLayout, AtRegistry, Place as _, Whole, unpack};
use super::workshop::{NAME, REPO, Workshop, moved, words};
use crate::registry::{Config, Nth, Registry as Server, State};

/// Where a copy, or a publication, ends.
enum Far {
    Registry(Server, &'static str),
    /// The collection's own repository, published into from nothing.
    Home,
    Layout(PathBuf),
    /// A tar file, and where it is unpacked to be looked at.
    Archive(PathBuf, PathBuf),
}

/// A command that is killed.
pub(crate) struct Trip {
    pub(crate) shop: Workshop,
    far: Far,
    pub(crate) whole: Whole,
    start: State,
    pub(crate) line: String,
    /// Whose home the command uses.
    who: &'static str,
}

const MIRROR: &str = "mirror/app";

impl Trip {
    /// From the collection's registry, or a stick, to another registry.
    async fn to_registry(from_stick: bool, no_api: bool) -> Self {
        let shop = Workshop::new(no_api && !from_stick).await;
        shop.build().await;
        shop.publish().await;
        let server = Server::start(Config::default()).await;
        server.quirks(|q| q.no_referrers_api = no_api);
        let to = format!("{}/{MIRROR}", server.host());
        shop.trust(std::slice::from_ref(&to)).await;
        let from = if from_stick {
            let stick = format!("oci:{}:v1", shop.path("stick").display());
            shop.ok("deployer", &format!("copy {}:v1 {stick} --plain-http", shop.at())).await;
            stick
        } else {
            format!("{}:v1", shop.at())
        };
        let line = format!("copy {from} {to} --plain-http");
        Self::new(shop, Far::Registry(server, MIRROR), line, "deployer")
    }

    /// From the collection's registry to a layout.
    pub(crate) async fn to_layout() -> Self {
        let shop = Workshop::new(false).await;
        shop.build().await;
        shop.publish().await;
        shop.trust(&[]).await;
        let dir = shop.path("to");
        let line = format!("copy {}:v1 oci:{} --plain-http", shop.at(), dir.display());
        Self::new(shop, Far::Layout(dir), line, "deployer")
    }

    /// From the collection's registry to a layout in a tar file.
    pub(crate) async fn to_archive() -> Self {
        let shop = Workshop::new(false).await;
        shop.build().await;
        shop.publish().await;
        shop.trust(&[]).await;
        let (file, look) = (shop.path("out/to.tar"), shop.path("unpacked"));
        std::fs::create_dir_all(shop.path("out")).unwrap();
        let line = format!("copy {}:v1 oci-archive:{} --plain-http", shop.at(), file.display());
        Self::new(shop, Far::Archive(file, look), line, "deployer")
    }

    /// Where the destination's files appear.
    pub(crate) fn folder(&self) -> PathBuf {
        self.shop.path(if matches!(self.far, Far::Archive(..)) { "out" } else { "to" })
    }

    async fn publication(no_api: bool) -> Self {
        let shop = Workshop::new(no_api).await;
        shop.build().await;
        shop.trust(&[shop.at()]).await;
        let line = shop.publish_line();
        Self::new(shop, Far::Home, line, "publisher")
    }

    fn new(shop: Workshop, far: Far, line: String, who: &'static str) -> Self {
        let whole = match &far {
            // The referrers of the build; the state's tag and the seal come with the publication and are not known before.
            Far::Home => {
                let at = AtLayout(shop.path("build"));
                let sig = at.tags().into_keys().find(|t| t.ends_with(".sig")).unwrap();
                Whole::of(&at, "v1", &[sig.as_str()])
            }
            _ => {
                let at = AtRegistry(&shop.server, REPO);
                let beside: Vec<String> =
                    at.tags().into_keys().filter(|t| t.ends_with(".sig") || is_state(t)).collect();
                let beside: Vec<&str> = beside.iter().map(String::as_str).collect();
                Whole::of(&at, "v1", &beside)
            }
        };
        assert!(whole.referrers.values().map(BTreeSet::len).sum::<usize>() >= 3);
        let start = shop.server.store(|s| s.clone());
        shop.clone_home(who, "kept");
        Self { shop, far, whole, start, line, who }
    }

    /// The command, running.
    pub(crate) fn spawn(&self) -> tokio::process::Child {
        self.shop.spawn(self.who, &self.line)
    }

    fn servers(&self) -> Vec<&Server> {
        let far = match &self.far {
            Far::Registry(server, _) => Some(server),
            _ => None,
        };
        // A copy from a stick asks the collection's own registry nothing.
        let near = !self.line.contains("copy oci:");
        near.then_some(&self.shop.server).into_iter().chain(far).collect()
    }

    pub(crate) fn reset(&self) {
        for server in self.servers() {
            server.behave();
            server.clear();
        }
        let start = self.start.clone();
        self.shop.server.store(|s| *s = start);
        match &self.far {
            Far::Registry(server, _) => server.store(|s| s.repos.clear()),
            Far::Layout(dir) => drop(std::fs::remove_dir_all(dir)),
            Far::Archive(..) => {
                let _ = std::fs::remove_dir_all(self.folder());
                std::fs::create_dir_all(self.folder()).unwrap();
            }
            Far::Home => {}
        }
        self.shop.clone_home("kept", self.who);
    }

    fn at<T>(&self, registry: impl Fn(&AtRegistry<'_>) -> T, layout: impl Fn(&AtLayout) -> T) -> T {
        match &self.far {
            Far::Registry(server, repo) => registry(&AtRegistry(server, repo)),
            Far::Home => registry(&AtRegistry(&self.shop.server, REPO)),
            Far::Layout(dir) => layout(&AtLayout(dir.clone())),
            Far::Archive(file, look) => {
                unpack(file, look);
                layout(&AtLayout(look.clone()))
            }
        }
    }

    /// What a reader finds half done.
    pub(crate) fn half(&self) -> Vec<String> {
        self.at(
            |at| [at.0.broken(at.1), self.whole.half(at)].concat(),
            |at| match at.0.join("oci-layout").exists() || at.0.join("index.json").exists() {
                true => [at.faults(), self.whole.half(at)].concat(),
                false => Vec::new(),
            },
        )
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        self.at(|at| self.whole.missing(at), |at| [at.faults(), self.whole.missing(at)].concat())
    }

    /// Blobs that are there, whole. Not counted is metadata that no manifest names yet: the rerun signs its own, and within one
    /// second that is the same.
    pub(crate) fn there(&self) -> BTreeSet<String> {
        self.at(
            |at| {
                let named: String = at
                    .manifests()
                    .iter()
                    .filter_map(|d| at.bytes(d))
                    .fold(String::new(), |all, b| all + &String::from_utf8_lossy(&b));
                let metadata = |b: &[u8]| b.starts_with(b"{\"signatures\"");
                let blobs = at.0.store(|s| s.repo(at.1).blobs.clone()).into_iter();
                blobs.filter(|(d, b)| named.contains(d) || !metadata(b)).map(|(d, _)| d).collect()
            },
            |at| self.whole.content.iter().filter(|d| at.bytes(d).is_some()).cloned().collect(),
        )
    }

    /// What the last run moved although it was `there`.
    pub(crate) fn again(&self, there: &BTreeSet<String>) -> Vec<String> {
        let log = match &self.far {
            Far::Registry(server, _) => moved(server, "PUT"),
            Far::Home => moved(&self.shop.server, "PUT"),
            Far::Layout(_) | Far::Archive(..) => moved(&self.shop.server, "GET"),
        };
        log.into_keys().filter(|d| there.contains(d)).collect()
    }

    /// Run to the end; all is there, nothing was moved twice, and it verifies.
    pub(crate) async fn finish(&self, what: &str) {
        let there = self.there();
        self.servers().iter().for_each(|s| s.clear());
        let again = self.shop.run(self.who, &self.line).await;
        assert_eq!(again.status.code(), Some(0), "{what}: the rerun\n{}", words(&again));
        assert_eq!(self.missing(), Vec::<String>::new(), "{what}: after the rerun");
        assert_eq!(self.again(&there), Vec::<String>::new(), "{what}: moved again");
        let verify = match &self.far {
            Far::Registry(server, repo) => format!("verify {}/{repo}:v1 --plain-http", server.host()),
            Far::Home => format!("verify {}:v1 --plain-http", self.shop.at()),
            Far::Layout(dir) => format!("verify oci:{}:v1 --as {NAME}", dir.display()),
            Far::Archive(file, _) => format!("verify oci-archive:{}:v1 --as {NAME}", file.display()),
        };
        // By somebody who never saw the collection: the stage goes back in time between two kills.
        let _ = std::fs::remove_dir_all(self.shop.path("deployer/memory"));
        self.shop.ok("deployer", &verify).await;
    }
}

fn is_state(tag: &str) -> bool {
    tag.strip_prefix("bulla.").is_some_and(|rest| rest.len() == 16)
}

/// Kill at each request of each registry.
async fn everywhere(name: &str, trip: Trip, short: u64) {
    trip.reset();
    trip.finish(name).await;
    trip.reset();
    trip.shop.ok(trip.who, &trip.line).await;
    let requests: Vec<u64> = trip.servers().iter().map(|s| s.requests().len() as u64).collect();
    let (mut kills, mut not_reached) = (0, 0);
    let (mut with_tag, mut blobs) = (0, 0);
    for (i, last) in requests.iter().enumerate() {
        for k in soak::spread(*last, short) {
            let what = format!("{name}: killed at request {k} of {last}, registry {i}");
            trip.reset();
            let gate = trip.servers()[i].hold("*", "*", Nth::Only(k));
            let mut child = trip.spawn();
            let reached = tokio::select! {
                () = gate.arrived() => true,
                _ = child.wait() => false,
            };
            child.kill().await.unwrap();
            gate.open();
            trip.servers().iter().for_each(|s| s.behave());
            // What was in the connection when the process died may still arrive.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !reached {
                not_reached += 1;
                continue;
            }
            kills += 1;
            assert_eq!(trip.half(), Vec::<String>::new(), "{what}");
            blobs += trip.there().len();
            with_tag += usize::from(trip.at(|at| at.tags(), |at| at.tags()).contains_key("v1"));
            trip.finish(&what).await;
        }
    }
    soak::report(&format!(
        "kills   {name}: {requests:?} requests, {kills} kills ({not_reached} not reached), {with_tag} with the tag set, \
         {blobs} blobs there and not moved again"
    ));
    assert!(not_reached * 10 <= kills, "{name}: {not_reached} of {kills} were not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_copies_from_a_layout_to_a_registry() {
    everywhere("layout to API", Trip::to_registry(true, false).await, 6).await;
    everywhere("layout to no API", Trip::to_registry(true, true).await, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_copies_from_a_registry_to_a_layout() {
    everywhere("API to layout", Trip::to_layout().await, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_copies_from_a_registry_to_an_archive() {
    everywhere("API to archive", Trip::to_archive().await, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_copies_between_registries_without_the_api() {
    everywhere("no API to no API", Trip::to_registry(false, true).await, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publications() {
    everywhere("publish, API", Trip::publication(false).await, 6).await;
    everywhere("publish, no API", Trip::publication(true).await, 6).await;
}
