//! A publisher, a deployer and a signed bundle, by the real program: `bulla` as processes that can be killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bulla::oci::Content;
use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use tokio::process::{Child, Command};

use super::bundles::{self, scratch};
use crate::registry::{Config, Registry as Server};

pub(crate) const NAME: &str = "example.com/team/app";
pub(crate) const REPO: &str = "team/app";

/// Everything of one collection: its registry, homes, a build, and folders for more.
pub(crate) struct Workshop {
    dir: tempfile::TempDir,
    pub(crate) server: Server,
}

impl Workshop {
    /// A collection is made, and nothing published.
    pub(crate) async fn new(no_api: bool) -> Self {
        let server = Server::start(Config::default()).await;
        server.quirks(|q| q.no_referrers_api = no_api);
        let shop = Self { dir: scratch(), server };
        for key in ["root", "targets", "releases", "online"] {
            shop.ok("publisher", &format!("key generate {key} --dangerously-unencrypted")).await;
        }
        let keys = "--root-key root --targets-key targets --releases-key releases --online-key online";
        let root = shop.path("1.root.json");
        let at = shop.at();
        shop.ok(
            "publisher",
            &format!("init {NAME} --at {at} --root-file {} {keys} --plain-http", root.display()),
        )
        .await;
        shop
    }

    /// A bundle of two architectures with all kinds of evidence on it, in the layout `build` at `v1`.
    pub(crate) async fn build(&self) {
        let store = OciDir::create(self.path("build")).await.unwrap();
        bundles::rich(&store, "workshop").await;
    }

    /// Many small bundles in the layout `builds`, tagged `t0`, `t1`, …
    pub(crate) async fn builds(&self, seeds: impl Iterator<Item = String>) -> Vec<Content> {
        let store = OciDir::create(self.path("builds")).await.unwrap();
        let mut all = Vec::new();
        for seed in seeds {
            let image = bundles::image(&store, &format!("builds/{seed}")).await;
            store.push_manifest(&image, Some(&bundles::tag(&seed))).await.unwrap();
            all.push(image);
        }
        store.flush().await.unwrap();
        all
    }

    /// Publish the build as `v1`.
    pub(crate) async fn publish(&self) {
        self.ok("publisher", &self.publish_line()).await;
    }

    pub(crate) fn publish_line(&self) -> String {
        format!("publish --from oci:{}:v1 {} --tag v1 --plain-http", self.path("build").display(), self.at())
    }

    /// The deployer trusts the collection under its name and at `places`.
    pub(crate) async fn trust(&self, places: &[String]) {
        let root = self.path("1.root.json");
        for scope in places.iter().map(String::as_str).chain([NAME]) {
            let line = format!("trust add {scope} --collection {NAME} --root {}", root.display());
            self.ok("deployer", &line).await;
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The repository of the collection.
    pub(crate) fn at(&self) -> String {
        format!("{}/{REPO}", self.server.host())
    }

    /// A process that has not ended.
    pub(crate) fn spawn(&self, home: &str, line: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("BULLA_HOME", self.path(home))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// A process to its end.
    pub(crate) async fn run(&self, home: &str, line: &str) -> Output {
        self.spawn(home, line).wait_with_output().await.unwrap()
    }

    /// A process that must exit with 0.
    pub(crate) async fn ok(&self, home: &str, line: &str) -> String {
        let output = self.run(home, line).await;
        assert_eq!(output.status.code(), Some(0), "{line}\n{}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A home with the files of another one.
    pub(crate) fn clone_home(&self, from: &str, to: &str) {
        let to = self.path(to);
        let _ = fs::remove_dir_all(&to);
        copy_dir(&self.path(from), &to);
    }
}

/// What a process said.
pub(crate) fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Blobs in a request log that were uploaded, or fetched, whole or in part.
pub(crate) fn moved(server: &Server, method: &str) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for request in server.requests().iter().filter(|r| r.method == method) {
        let digest = match method {
            "GET" => request.path.split_once("/blobs/").map(|(_, d)| d.to_owned()),
            _ => request.path.split_once("digest=").map(|(_, d)| d.replace("%3A", ":")),
        };
        if let Some(digest) = digest.filter(|d| d.starts_with("sha256:")) {
            *out.entry(digest[..71].to_owned()).or_default() += 1;
        }
    }
    out
}
