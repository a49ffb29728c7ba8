//! HTTP clients, built when a host is first asked: a machine without CA certificates can still verify OCI layouts.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::{Certificate, Client, Identity, Url};
use zeroize::Zeroizing;

use super::{RegistryConfig, reach};
use crate::store::Failure;

/// Largest certificate or key file that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most other hosts that one registry may name in a run: each costs a client, with its connections.
const MAX_LED: usize = 64;

/// Which client a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Pool {
    /// Manifests, lists, tokens: HTTP/2 where the server offers it by ALPN.
    Small,
    /// Blobs: HTTP/1.1, one connection a blob, free of HTTP/2's shared flow-control windows.
    Bulk,
}

/// The clients of all hosts.
pub(super) struct Clients {
    config: Arc<RegistryConfig>,
    built: Mutex<HashMap<Key, Client>>,
    /// Whether a registry lies inside a private network.
    inside: Mutex<HashMap<String, bool>>,
    /// The other hosts that each registry has named.
    led: Mutex<HashMap<String, HashSet<String>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    authority: String,
    tls: bool,
    pool: Pool,
    /// Whether this host was named by the user, and so may see the client certificate.
    own: bool,
    /// Whether its name may resolve to public addresses only.
    public: bool,
}

impl Clients {
    /// Clients under this configuration, none built yet.
    pub(super) fn new(config: Arc<RegistryConfig>) -> Self {
        Self { config, built: Mutex::default(), inside: Mutex::default(), led: Mutex::default() }
    }

    /// The client for `url`. The user's client certificate is shown only to a host that is the user's `own` choice.
    pub(super) fn get(&self, url: &Url, pool: Pool, own: bool) -> Result<Client, Failure> {
        self.kept(
            Key { authority: authority(url), tls: url.scheme() == "https", pool, own, public: false },
            url,
        )
    }

    /// The client for a `url` on another host that the `registry` named: one outside does not lead inside, and none leads
    /// to more than [`MAX_LED`].
    pub(super) async fn led(&self, registry: &str, url: &Url, pool: Pool) -> Result<Client, Failure> {
        let public = !self.is_inside(registry).await;
        if public && reach::is_inside(url) {
            return Err(reach::refused(registry, url));
        }
        self.count(registry, authority(url))?;
        self.kept(
            Key { authority: authority(url), tls: url.scheme() == "https", pool, own: false, public },
            url,
        )
    }

    fn count(&self, registry: &str, other: String) -> Result<(), Failure> {
        let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        let others = led.entry(registry.to_owned()).or_default();
        if others.len() >= MAX_LED && !others.contains(&other) {
            return Err(Failure::Protocol(format!(
                "{registry} sends this client on to more than {MAX_LED} other hosts; {other} is not followed"
            )));
        }
        others.insert(other);
        Ok(())
    }

    async fn is_inside(&self, registry: &str) -> bool {
        let known = || self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inside) = known().get(registry) {
            return *inside;
        }
        let inside = reach::registry_is_inside(registry).await;
        *known().entry(registry.to_owned()).or_insert(inside)
    }

    fn kept(&self, key: Key, url: &Url) -> Result<Client, Failure> {
        let lock = || self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lock().get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key, url)?;
        Ok(lock().entry(key).or_insert(client).clone())
    }

    fn build(&self, key: &Key, url: &Url) -> Result<Client, Failure> {
        let base = || {
            let mut b = Client::builder()
                .tls_backend_rustls()
                .user_agent(&self.config.user_agent)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(self.config.timeouts.connect)
                .pool_idle_timeout(std::time::Duration::from_secs(30));
            if key.pool == Pool::Bulk {
                b = b.http1_only();
            }
            if key.public {
                let target = url.host_str().unwrap_or_default().to_owned();
                b = b.dns_resolver(Arc::new(reach::PublicOnly { target }));
            }
            // A proxy cannot reach this machine's own loopback.
            if is_loopback(url.host_str().unwrap_or_default()) { b.no_proxy() } else { b }
        };
        let failed =
            |e: reqwest::Error| Failure::Setup(format!("no HTTP client: {}", super::trouble::causes(&e)));
        if !key.tls {
            return base().tls_certs_only([]).build().map_err(failed);
        }
        let files = self.files(key)?;
        let with_identity = |b: reqwest::ClientBuilder| match &files.identity {
            Some(identity) => b.identity(identity.clone()),
            None => b,
        };
        let merged = with_identity(base().tls_certs_merge(files.roots.iter().cloned())).build();
        match merged {
            // No CA certificates on this machine: the given ones alone. A loopback host may yet turn out to speak http.
            Err(_) if !files.roots.is_empty() || is_loopback(&key.authority) => {
                with_identity(base().tls_certs_only(files.roots.iter().cloned())).build().map_err(failed)
            }
            Err(e) => Err(Failure::Setup(format!(
                "TLS cannot be set up, perhaps because this machine has no CA certificates (--ca-file FILE gives some): {}",
                super::trouble::causes(&e)
            ))),
            Ok(client) => Ok(client),
        }
    }

    /// CA files and client certificate: what the user gave, and `certs.d/HOST[:PORT]/{*.crt, *.cert + *.key}`
    /// (docker "Verify repository client with certificates", containers-certs.d(5)).
    fn files(&self, key: &Key) -> Result<Files, Failure> {
        let mut roots = Vec::new();
        for file in &self.config.ca_files {
            roots.extend(roots_of(file)?);
        }
        let mut identity = match &self.config.client_cert {
            Some(c) if key.own => Some(identity_of(&c.cert, &c.key)?),
            _ => None,
        };
        // The host of a redirect is the server's choice: it must not walk out of the directory.
        let dirs = self.config.certs_dirs.iter().filter(|_| !key.authority.starts_with('.'));
        for dir in dirs {
            for file in listed(&dir.join(&key.authority))? {
                match file.extension().and_then(|e| e.to_str()) {
                    Some("crt") => roots.extend(roots_of(&file)?),
                    Some("cert") if identity.is_none() => {
                        identity = Some(identity_of(&file, &file.with_extension("key"))?);
                    }
                    _ => {}
                }
            }
        }
        Ok(Files { roots, identity })
    }
}

struct Files {
    roots: Vec<Certificate>,
    identity: Option<Identity>,
}

/// Host with the port, if one stands in the URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a host (with or without port) is this machine: 127.0.0.0/8, `::1`, `localhost`.
pub(super) fn is_loopback(authority: &str) -> bool {
    if let Some((v6, _)) = authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok_and(|a| a.is_loopback());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|a| a.is_loopback())
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Failure::Setup(format!("{}: {e}", dir.display()))),
    };
    let mut files = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Failure::Setup(format!("{}: {e}", dir.display())))?;
    files.sort();
    Ok(files)
}

fn roots_of(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let bad = || Failure::Setup(format!("{} holds no PEM certificate", file.display()));
    let roots = Certificate::from_pem_bundle(&read(file)?).map_err(|_| bad())?;
    if roots.is_empty() { Err(bad()) } else { Ok(roots) }
}

fn identity_of(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    let mut pem = read(cert)?;
    pem.push(b'\n');
    pem.extend_from_slice(&read(key)?);
    Identity::from_pem(&pem).map_err(|_| {
        Failure::Setup(format!("{} and {} are no PEM certificate and key", cert.display(), key.display()))
    })
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read as _;
    let failed = |e: std::io::Error| Failure::Setup(format!("{}: {e}", file.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(file).map_err(failed)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised() {
        for own in ["localhost", "LOCALHOST:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]", "[::1]:5000"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["localhost.example.com", "127.example.com", "10.0.0.1", "[::2]:5000", "1127.0.0.1"] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_registry_leads_to_so_many_other_hosts_and_no_more() {
        let clients = Clients::new(Arc::new(RegistryConfig::default()));
        let led = async |registry: &str, port: usize| {
            let url = Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
            clients.led(registry, &url, Pool::Bulk).await.map(drop)
        };
        for port in 1000..1000 + MAX_LED {
            led("127.0.0.1:1", port).await.unwrap();
        }
        let e = led("127.0.0.1:1", 999).await.unwrap_err();
        assert!(matches!(&e, Failure::Protocol(t) if t.contains("more than 64 other hosts")), "{e}");
        // The known ones go on, and so do other registries.
        led("127.0.0.1:1", 1000).await.unwrap();
        led("127.0.0.1:2", 999).await.unwrap();
    }

    #[test]
    fn unreadable_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        for file in [dir.path().join("absent.pem"), empty] {
            let config = RegistryConfig { ca_files: vec![file.clone()], ..RegistryConfig::default() };
            let url = Url::parse("https://ex.com/").unwrap();
            let e = Clients::new(Arc::new(config)).get(&url, Pool::Small, true).unwrap_err();
            assert!(matches!(&e, Failure::Setup(t) if t.contains(&file.display().to_string())), "{e}");
        }
    }
}
