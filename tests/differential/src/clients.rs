//! The two clients, each with what it keeps between updates.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bulla::time::UnixTime;
use bulla::tuf::{FileName, Files, Limits, RoleName, Search, Step, Trusted, TufError, Update};
use bytes::Bytes;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{MemoryStore, Repository, Updater};

use crate::world::{PATHS, Served};

/// What one update and the searches after it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Versions of root, timestamp and snapshot; or why not.
    pub refresh: Result<[u64; 3], String>,
    /// For each path: the SHA-256 of the target, nothing, or why not.
    pub found: Vec<Result<Option<String>, String>>,
    /// Files asked for.
    pub asked: Vec<String>,
}

/// bulla's core.
pub struct Ours {
    root: Bytes,
    kept: Files,
}

impl Ours {
    pub fn new(root: &[u8]) -> Self {
        Self { root: Bytes::copy_from_slice(root), kept: Files::new() }
    }

    pub fn run(&mut self, served: &Served, now: i64) -> Outcome {
        self.look_for(&PATHS, served, now)
    }

    /// The same, for these targets.
    pub fn look_for(&mut self, paths: &[&str], served: &Served, now: i64) -> Outcome {
        let mut asked = Vec::new();
        let trusted = self.update(served, now, &mut asked);
        let mut found = Vec::new();
        if let Ok(trusted) = &trusted {
            for path in paths {
                found.push(self.search(trusted, path, served, &mut asked).map_err(|e| e.to_string()));
            }
        }
        let versions = |t: Trusted| {
            [t.root().version(), t.timestamp().version(), t.snapshot().version()].map(|v| v.get())
        };
        Outcome { refresh: trusted.map(versions).map_err(|e| e.to_string()), found, asked }
    }

    fn update(&mut self, served: &Served, now: i64, asked: &mut Vec<String>) -> Result<Trusted, TufError> {
        let now = UnixTime::from_secs(now);
        let mut update = Update::start(&self.root, self.kept.clone(), None, now, &Limits::default())?;
        loop {
            match update.step() {
                Step::Need { file, .. } => update.feed(fetch(served, &file.to_string(), asked))?,
                Step::Save(name, bytes) if *name.role() == RoleName::root() => {
                    self.root = bytes;
                    update.saved();
                }
                Step::Save(name, bytes) => {
                    self.kept.put(FileName::unversioned(name.role().clone()), bytes);
                    update.saved();
                }
                Step::Forget(name) => {
                    self.kept.remove(&name);
                    update.saved();
                }
                Step::Done(trusted) => return Ok(*trusted),
            }
        }
    }

    fn search(
        &mut self,
        trusted: &Trusted,
        path: &str,
        served: &Served,
        asked: &mut Vec<String>,
    ) -> Result<Option<String>, TufError> {
        let kept = self.kept.clone();
        let mut search = Search::start(trusted, path, &kept)?;
        loop {
            match search.step() {
                Step::Need { file, .. } => search.feed(fetch(served, &file.to_string(), asked))?,
                Step::Save(name, bytes) => {
                    self.kept.put(FileName::unversioned(name.role().clone()), bytes);
                    search.saved();
                }
                Step::Forget(_) => search.saved(),
                Step::Done(found) => {
                    return Ok(found.target.map(|(_, t)| t.sha256().unwrap_or_default().to_owned()));
                }
            }
        }
    }
}

fn fetch(served: &Served, file: &str, asked: &mut Vec<String>) -> Option<Bytes> {
    asked.push(file.to_owned());
    served.get(file).map(|b| Bytes::copy_from_slice(b))
}

/// sigstore-tuf.
pub struct Theirs {
    root: Vec<u8>,
    store: Arc<MemoryStore>,
}

#[derive(Clone, Default)]
struct Site {
    served: Served,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Repository for Site {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max: u64) -> FetchFuture<'a> {
        self.asked.lock().unwrap().push(name.to_owned());
        let file = self.served.get(name).cloned();
        let fits = file.as_ref().is_none_or(|b| b.len() as u64 <= max);
        Box::pin(async move { if fits { Ok(file) } else { Err(sigstore_tuf::Error::transport("too long")) } })
    }

    fn fetch_target<'a>(&'a self, _: &'a str, _: u64) -> FetchFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

impl Theirs {
    pub fn new(root: &[u8]) -> Self {
        Self { root: root.to_vec(), store: Arc::new(MemoryStore::new()) }
    }

    pub fn run(&mut self, served: &Served, now: i64) -> Outcome {
        self.look_for(&PATHS, served, now)
    }

    /// The same, for these targets.
    pub fn look_for(&mut self, paths: &[&str], served: &Served, now: i64) -> Outcome {
        let site = Site { served: served.clone(), ..Site::default() };
        let now = jiff::Timestamp::from_second(now).unwrap();
        let mut found = Vec::new();
        let refresh = Updater::new(site.clone(), &self.root).map(|u| u.with_store(self.store.clone()));
        let refresh = refresh.and_then(|mut updater| {
            ready(updater.refresh(now))?;
            for path in paths {
                let target = ready(updater.get_target_info(path, now));
                let hash = target.map(|t| t.map(|t| t.hashes.get("sha256").cloned().unwrap_or_default()));
                found.push(hash.map_err(|e| e.to_string()));
            }
            let t = updater.trusted();
            Ok([t.root().version, t.timestamp().unwrap().version, t.snapshot().unwrap().version])
        });
        let asked = site.asked.lock().unwrap().clone();
        Outcome { refresh: refresh.map_err(|e| e.to_string()), found, asked }
    }
}

/// A future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("files are at hand"),
    }
}
