//! Repositories on registries: the OCI distribution specification 1.1 over HTTP.
//!
//! [`Hosts`] holds what the repositories of a run share (clients, proofs, what was learnt about each host);
//! [`Registry`] is one repository, a [`Store`] and [`Manage`].

mod answer;
mod auth;
mod blobs;
mod challenge;
mod chunks;
mod credentials;
mod fallback;
mod feed;
mod gate;
mod http;
mod logins;
mod mend;
mod mounts;
mod notices;
mod pace;
mod pages;
mod pull;
mod push;
mod reach;
mod referrers;
mod retry;
mod site;
mod tls;
mod token;
mod trouble;
mod upload;
mod warnings;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use credentials::CredentialSources;
pub use logins::{Kept, LoginScope, LoginScopeError};
pub use notices::{Notice, Notices};
pub use retry::RetryPolicy;
pub use site::Site;
pub use warnings::Warning;

use super::{BlobReader, BlobSource, Failure, ListChange, Listing, Manage, Replaced, Store, StoreError};
use crate::oci::{Content, Descriptor, Digest, Reference, RegistryRef, Repository, Selector, Tag};
use auth::{Access, Scopes};
use http::Host;
use referrers::Memo;
use tls::Clients;
use warnings::Warnings;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// PEM files with CA certificates to trust beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// The client certificate to show to the registries that the user names.
    pub client_cert: Option<ClientCert>,
    /// Directories in the form of `/etc/docker/certs.d`; missing ones are skipped.
    pub certs_dirs: Vec<PathBuf>,
    /// Speak http, not https, to every registry.
    pub plain_http: bool,
    /// A login given for this run; it comes before all [`CredentialSources`].
    pub login: Option<Login>,
    /// Where credentials are looked up.
    pub credentials: CredentialSources,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Most requests, and most uploads, at once to one host.
    pub concurrency: usize,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
}

/// PEM files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// Certificate chain, the leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// User and password for this run.
#[derive(Clone)]
pub struct Login {
    /// The registry host they are for; `None`: every registry that asks.
    pub host: Option<String>,
    /// User name.
    pub user: String,
    /// Password.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("host", &self.host).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Time limits of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// For the head of an answer, and for each further piece of a body, either way.
    pub idle: Duration,
    /// For a whole request that is no blob, one try.
    pub request: Duration,
}

impl Default for RegistryConfig {
    /// The system's CA certificates and certs.d directories, no credentials, 8 requests at once.
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            client_cert: None,
            certs_dirs: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            plain_http: false,
            login: None,
            credentials: CredentialSources::none(),
            user_agent: concat!("bulla/", env!("CARGO_PKG_VERSION")).into(),
            timeouts: Timeouts {
                connect: Duration::from_secs(10),
                idle: Duration::from_secs(60),
                request: Duration::from_secs(120),
            },
            concurrency: 8,
            retry: RetryPolicy::default(),
        }
    }
}

/// The registry hosts of a run. Nothing is read or connected before the first request. Cheap to clone.
#[derive(Clone)]
pub struct Hosts {
    config: Arc<RegistryConfig>,
    clients: Arc<Clients>,
    known: Arc<Mutex<Known>>,
    warnings: Arc<Warnings>,
    notices: Notices,
}

#[derive(Default)]
struct Known {
    hosts: HashMap<String, Arc<Host>>,
    memos: HashMap<(String, String), Arc<Memo>>,
}

impl Hosts {
    /// Hosts under this configuration.
    pub fn new(config: RegistryConfig) -> Self {
        let config = Arc::new(config);
        let clients = Arc::new(Clients::new(config.clone()));
        Self { clients, config, known: Arc::default(), warnings: Arc::default(), notices: Notices::default() }
    }

    /// What registries want people to know: each text of a host once, and only what was not taken before.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// What was met and the user should hear of.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Whether a registry accepts the credentials at hand; `false` when it did not ask for any, which says nothing.
    ///
    /// # Errors
    /// It refuses them, or it is no registry.
    pub async fn accepts(&self, scope: &LoginScope) -> Result<bool, StoreError> {
        let error = |f: Failure| StoreError::new(scope.host(), "log in", f);
        let name = format!("{}/{}", scope.host(), scope.path().unwrap_or("x"));
        let repository: Repository =
            name.parse().map_err(|_| error(Failure::Setup(format!("{scope} is no registry"))))?;
        let host = self.repository(&repository).host;
        host.greet().await.map_err(error)
    }

    /// Give back what was opened at registries and is not used: sessions of uploads that were given up. For the end of a
    /// run; failures do not matter, registries end stale sessions themselves.
    pub async fn tidy(&self) {
        let hosts: Vec<_> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.hosts.values().cloned().collect()
        };
        futures::future::join_all(hosts.iter().map(|host| host.tidy())).await;
    }

    /// A repository. All repositories of one host share its connections, proofs and limits.
    pub fn repository(&self, repository: &Repository) -> Registry {
        let authority = api_host(repository.host()).to_owned();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let host = known.hosts.entry(authority.clone()).or_insert_with(|| {
            let names = names_of(repository.host());
            let (config, clients) = (self.config.clone(), self.clients.clone());
            Arc::new(Host::new(config, clients, authority.clone(), names, self.warnings.clone()))
        });
        let host = host.clone();
        let memo = known.memos.entry((authority, repository.name().to_owned())).or_default().clone();
        Registry { repository: repository.clone(), host, memo, notices: self.notices.clone() }
    }
}

/// One repository on a registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    repository: Repository,
    host: Arc<Host>,
    memo: Arc<Memo>,
    notices: Notices,
}

impl Registry {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The path below `/v2/` of something in this repository.
    fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.repository.name())
    }

    fn scopes(&self, access: Access) -> Scopes {
        Scopes::one(self.repository.name(), access)
    }

    fn error(&self, what: impl Into<String>, failure: impl Into<Failure>) -> StoreError {
        StoreError::new(&self.repository, what, failure)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({})", self.repository)
    }
}

#[async_trait]
impl Store for Registry {
    fn place(&self) -> Reference {
        Reference::Registry(RegistryRef { repository: self.repository.clone(), selector: None })
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        self.pull_manifest(selector)
            .await
            .map_err(|f| self.error(format!("pull manifest {}", name_of(selector)), f))
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        let what = format!("pull blob {}", blob.digest);
        self.pull_blob(blob, offset).await.map_err(|f| self.error(what, f))
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.head(descriptor).await.map_err(|f| self.error(format!("look for {}", descriptor.digest), f))
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        self.upload_blob(blob, source).await
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        let named = tag.map_or_else(|| manifest.digest().to_string(), Tag::to_string);
        self.put_manifest(manifest, tag).await.map_err(|f| self.error(format!("push manifest {named}"), f))
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        self.list_anew(subject, referrers)
            .await
            .map_err(|f| self.error(format!("list {} referrers of {}", referrers.len(), subject.digest), f))
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.listed(subject, artifact_type)
            .await
            .map_err(|f| self.error(format!("list the referrers of {subject}"), f))
    }

    async fn listing(&self, subject: &Digest) -> Result<Listing, StoreError> {
        let listing = self.list_unjudged(subject).await;
        listing.map_err(|f| self.error(format!("list the referrers of {subject}"), f))
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        self.list_tags(after).await.map_err(|f| self.error("list the tags", f))
    }
}

#[async_trait]
impl Manage for Registry {
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        self.remove(what).await.map_err(|f| self.error(format!("delete {}", name_of(what)), f))
    }

    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<bool, StoreError> {
        self.mount_blob(blob, from)
            .await
            .map_err(|f| self.error(format!("mount blob {} from {from}", blob.digest), f))
    }

    async fn mend_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
    ) -> Result<Vec<ListChange>, StoreError> {
        let mended = self.mend_list(subject, referrers, None).await;
        mended.map_err(|f| self.error(format!("mend the list of referrers of {}", subject.digest), f))
    }

    async fn unmended_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
        to_come: &HashSet<Digest>,
    ) -> Result<Vec<ListChange>, StoreError> {
        let open = self.mend_list(subject, referrers, Some(to_come)).await;
        open.map_err(|f| self.error(format!("judge the list of referrers of {}", subject.digest), f))
    }

    async fn first_tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.list_tags_from(None, true).await.map_err(|f| self.error("list the tags", f))
    }

    async fn replace(
        &self,
        tag: &Tag,
        before: Option<&Digest>,
        manifest: &Content,
    ) -> Result<Replaced, StoreError> {
        let replaced = self.replace_tag(tag, before, manifest).await;
        replaced.map_err(|f| self.error(format!("push manifest {tag}"), f))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let settled = self.settle().await;
        settled.map_err(|(subject, f)| self.error(format!("list the referrers of {subject}"), f))
    }
}

fn name_of(selector: &Selector) -> String {
    selector.to_string().trim_start_matches([':', '@']).to_owned()
}

/// Docker Hub's API is not at the host that its references name.
fn api_host(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The names under which credentials for a host are stored.
fn names_of(host: &str) -> Vec<String> {
    match api_host(host) {
        "registry-1.docker.io" => {
            ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
                .map(str::to_owned)
                .to_vec()
        }
        other => vec![other.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_another_api_host_and_many_names() {
        let hosts = Hosts::new(RegistryConfig::default());
        let at = |r: &str| hosts.repository(&r.parse().unwrap());
        let (one, two) = (at("docker.io/org/app"), at("index.docker.io/org/app"));
        assert!(Arc::ptr_eq(&one.host, &two.host) && Arc::ptr_eq(&one.memo, &two.memo));
        assert_eq!(one.place().to_string(), "docker.io/org/app");
        assert_eq!(names_of("docker.io")[0], "https://index.docker.io/v1/");
        assert_eq!(names_of("ex.com:5000"), ["ex.com:5000"]);
        assert!(!Arc::ptr_eq(&one.host, &at("docker.io.example/org/app").host));
    }
}
