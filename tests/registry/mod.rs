//! An OCI distribution registry inside the test process, with every deviation as a switch.
//!
//! It knows nothing of the crate under test. `Registry::start` binds 127.0.0.1 and serves in the
//! current runtime until it is dropped:
//!
//! ```ignore
//! let registry = Registry::start(Config::default()).await;
//! registry.quirks(|q| q.no_referrers_api = true);
//! registry.fault(Fault::on("GET", "/v2/a/manifests/*").nth(Nth::Only(2)).status(503));
//! // ... run the client against registry.host() ...
//! assert_eq!(registry.count("PUT", "*/manifests/*"), 3);
//! ```
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    reason = "a test tool, compiled into several binaries that each use a part of it"
)]

mod answer;
mod auth;
mod blobs;
mod call;
mod control;
mod faults;
mod http;
mod manifests;
mod named;
mod quirks;
mod record;
mod referrers;
mod reply;
mod script;
mod state;
mod tags;
mod tls;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use auth::{Auth, Scheme, User};
pub use faults::{Action, Fault, Gate, Nth};
pub use named::words;
pub use quirks::{Address, Pages, Quirks};
pub use record::{Listener, Request, round_trips};
pub use script::{LostUpdate, Pin};
pub use state::{IMAGE_TYPES, INDEX_TYPES, Manifest, State, sha256};
pub use tls::{Mode, Pems};

/// How a registry starts.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where it listens; a free port on 127.0.0.1 by default.
    pub listen: Option<SocketAddr>,
    /// Plain HTTP by default.
    pub tls: Mode,
    /// Nobody is asked by default.
    pub auth: Auth,
    /// None by default.
    pub quirks: Quirks,
}

/// A running registry; it stops when it is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Arc<http::Server>,
    address: SocketAddr,
    second: SocketAddr,
    pems: Option<Pems>,
    tasks: Vec<JoinHandle<()>>,
}

impl Registry {
    /// Starts in the current runtime.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(config: Config) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let main = TcpListener::bind(config.listen.unwrap_or(any)).await.expect("the address is free");
        let second = TcpListener::bind(any).await.expect("a port is free");
        let address = main.local_addr().expect("a bound socket has an address");
        let second_address = second.local_addr().expect("a bound socket has an address");
        let (acceptor, pems) = match config.tls {
            Mode::Off => (None, None),
            mode => {
                let (acceptor, pems) = tls::make(mode).expect("certificates can be made");
                (Some(acceptor), Some(pems))
            }
        };
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let server = Arc::new(http::Server {
            rate: Arc::new(AtomicU64::new(config.quirks.rate)),
            inner: Mutex::new(http::Inner { quirks: config.quirks, auth: config.auth, ..Default::default() }),
            record: Arc::default(),
            base: format!("{scheme}://{address}"),
            second: format!("{scheme}://{second_address}"),
            connections: AtomicU64::new(0),
        });
        let tasks = vec![
            tokio::spawn(http::accept(server.clone(), main, Listener::Main, acceptor.clone())),
            tokio::spawn(http::accept(server.clone(), second, Listener::Second, acceptor)),
        ];
        Self { server, address, second: second_address, pems, tasks }
    }

    /// `127.0.0.1:5000`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:5000` or the same with https.
    pub fn url(&self) -> String {
        self.server.base.clone()
    }

    /// Host and port of the second listener: redirected blobs, foreign uploads and realms.
    pub fn second_host(&self) -> String {
        self.second.to_string()
    }

    /// What a client needs for TLS; none on plain HTTP.
    pub fn pems(&self) -> Option<&Pems> {
        self.pems.as_ref()
    }

    /// Stops listening and closes all connections.
    pub async fn shutdown(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // The task ends by being aborted, and that is what is awaited.
            let _ = task.await;
        }
    }
}

/// Behaviour.
impl Registry {
    /// Changes the quirks.
    pub fn quirks(&self, change: impl FnOnce(&mut Quirks)) {
        self.server.change(change);
    }

    /// Changes the rules of access.
    pub fn auth(&self, change: impl FnOnce(&mut Auth)) {
        change(&mut lock(&self.server.inner).auth);
    }

    /// How requests prove who sent them.
    pub fn auth_scheme(&self) -> Scheme {
        lock(&self.server.inner).auth.scheme
    }

    /// Makes all tokens invalid.
    pub fn revoke_tokens(&self) {
        lock(&self.server.inner).tokens.revoke();
    }

    /// How many tokens were given out since the start.
    pub fn tokens_issued(&self) -> u64 {
        lock(&self.server.inner).tokens.issued()
    }

    /// A refresh (identity) token for a user.
    pub fn refresh_token(&self, user: &str) -> String {
        lock(&self.server.inner).tokens.refresh_token(user)
    }

    /// Installs a fault.
    pub fn fault(&self, fault: Fault) {
        lock(&self.server.inner).script.faults.push(fault);
    }

    /// Holds requests at a gate.
    pub fn hold(&self, method: &str, path: &str, nth: Nth) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.fault(Fault::on(method, path).nth(nth).action(Action::Hold(gate.clone())));
        gate
    }

    /// Holds the answers to requests that have taken effect.
    pub fn hold_answer(&self, method: &str, path: &str, nth: Nth) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.fault(Fault::on(method, path).nth(nth).performed().action(Action::Hold(gate.clone())));
        gate
    }

    /// Lets reads of a tag see something else.
    pub fn pin(&self, pin: Pin) {
        lock(&self.server.inner).script.pins.push(pin);
    }

    /// Lets writes of a tag be lost.
    pub fn lose(&self, lost: LostUpdate) {
        lock(&self.server.inner).script.lost.push(lost);
    }

    /// How many writes were lost so far.
    pub fn overwrites(&self) -> u64 {
        lock(&self.server.inner).script.overwrites()
    }

    /// Calls a function after each request, before its answer goes out and before any other request
    /// is performed. It must not use the `Registry` itself, which would wait for it.
    pub fn hook(&self, hook: impl Fn(&Request, &mut State) + Send + Sync + 'static) {
        lock(&self.server.inner).script.hook = Some(Arc::new(hook));
    }

    /// Takes away all faults, pins, lost updates and the hook.
    pub fn behave(&self) {
        lock(&self.server.inner).script = script::Script::default();
    }
}

/// The record.
impl Registry {
    /// All requests since the last `clear`, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.server.record).list().to_vec()
    }

    /// Starts a new record.
    pub fn clear(&self) {
        lock(&self.server.record).clear();
    }

    /// How many requests match; the method may be `*`, the path is a glob over path and query.
    pub fn count(&self, method: &str, path: &str) -> usize {
        lock(&self.server.record).list().iter().filter(|r| r.is(method, path)).count()
    }

    /// The longest chain of requests that waited for one another; see [`round_trips`].
    pub fn round_trips(&self) -> usize {
        round_trips(lock(&self.server.record).list())
    }

    /// The most matching requests that were on their way at one time.
    pub fn peak(&self, method: &str, path: &str) -> usize {
        record::peak(lock(&self.server.record).list().iter().filter(|r| r.is(method, path)))
    }

    /// The record as text, a request a line.
    pub fn log(&self) -> String {
        self.requests().iter().map(|r| format!("{r}\n")).collect()
    }
}

/// The store, past all checks.
impl Registry {
    /// Reads or changes anything.
    pub fn store<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.server.inner).state)
    }

    /// Stores a blob and returns its digest.
    pub fn put_blob(&self, repo: &str, bytes: impl Into<Bytes>) -> String {
        self.store(|s| s.put_blob(repo, bytes))
    }

    /// Stores a manifest, with a tag or without, and returns its digest.
    pub fn put_manifest(
        &self,
        repo: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        self.store(|s| s.put_manifest(repo, tag, media_type, bytes))
    }

    /// Moves a tag, or removes it.
    pub fn set_tag(&self, repo: &str, tag: &str, digest: Option<&str>) {
        self.store(|s| s.set_tag(repo, tag, digest));
    }

    /// The tags of a repository with their digests.
    pub fn tags(&self, repo: &str) -> Vec<(String, String)> {
        self.store(|s| s.repo(repo).tags.clone()).into_iter().collect()
    }

    /// The manifest under a tag or digest: digest, media type, bytes.
    pub fn manifest(&self, repo: &str, reference: &str) -> Option<(String, String, Bytes)> {
        self.store(|s| s.manifest(repo, reference).map(|(d, m)| (d, m.media_type.clone(), m.bytes.clone())))
    }

    /// A blob.
    pub fn blob(&self, repo: &str, digest: &str) -> Option<Bytes> {
        self.store(|s| s.blob(repo, digest, false).cloned())
    }

    /// The digests that the referrers API lists for a subject.
    pub fn referrers(&self, repo: &str, subject: &str) -> Vec<String> {
        self.store(|s| s.repo(repo).referrers(subject))
    }

    /// What a repository names but does not hold; see [`State::broken`].
    pub fn broken(&self, repo: &str) -> Vec<String> {
        self.store(|s| s.broken(repo))
    }

    /// Serves other bytes under the digest of a blob or manifest; `false` when there is none.
    pub fn tamper(&self, repo: &str, digest: &str, bytes: impl Into<Bytes>) -> bool {
        self.store(|s| s.tamper(repo, digest, bytes))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Locks although another test's thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
