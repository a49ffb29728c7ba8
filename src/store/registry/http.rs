//! Requests to one host: scheme, proof, redirects, retries, and answers read under a cap.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};

use super::RegistryConfig;
use super::answer::{Small, failure_of, read_capped, read_error};
use super::auth::{Auth, Scopes};
use super::gate::{Gate, Turn};
use super::mounts::Offered;
use super::pace::{Lane, Pace, Permit};
use super::retry::{is_transient, retry_after};
use super::tls::{Clients, Pool, authority, is_loopback};
use super::trouble::{Once, Trouble, judge, trouble};
use super::upload::{Learnt, Progress};
use super::warnings::Warnings;
use crate::store::Failure;

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// A request: where, what, and what may go along.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    target: Target,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// Sent without proof wherever it goes: a server other than the registry chose the address.
    bare: bool,
    until: Option<Instant>,
}

#[derive(Clone)]
enum Target {
    /// Path and query below `/v2/` of the host.
    Path(String),
    /// What the registry named: an upload location, a next page.
    Url(Url),
}

impl Call {
    /// A request to a URL that a server named.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            target: Target::Url(url),
            headers: HeaderMap::new(),
            body: None,
            bare: false,
            until: None,
        }
    }

    /// A request to a path below `/v2/`.
    pub(super) fn path(method: Method, path: String) -> Self {
        Self {
            method,
            target: Target::Path(path),
            headers: HeaderMap::new(),
            body: None,
            bare: false,
            until: None,
        }
    }

    /// With a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Not to be sent after this moment, also not once more.
    pub(super) fn until(mut self, until: Option<Instant>) -> Self {
        self.until = until;
        self
    }

    /// With a body.
    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }

    /// Without proof, if so.
    pub(super) fn bare(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
    }

    #[cfg(test)]
    pub(super) fn url_for_tests(&self) -> Url {
        match &self.target {
            Target::Url(url) => url.clone(),
            Target::Path(path) => panic!("{path}"),
        }
    }
}

/// One registry host, shared by all its repositories.
pub(super) struct Host {
    config: Arc<RegistryConfig>,
    clients: Arc<Clients>,
    /// Host and port of its API.
    authority: String,
    https: OnceLock<bool>,
    gate: Gate,
    pace: Pace,
    auth: Auth,
    warnings: Arc<Warnings>,
    /// What uploads found out about it.
    pub(super) learnt: Learnt,
    /// Upload sessions that it offered in place of a mount.
    pub(super) offered: Offered,
}

impl Host {
    /// A host that was not asked anything yet.
    pub(super) fn new(
        config: Arc<RegistryConfig>,
        clients: Arc<Clients>,
        authority: String,
        names: Vec<String>,
        warnings: Arc<Warnings>,
    ) -> Self {
        let https = OnceLock::new();
        if config.plain_http || !is_loopback(&authority) {
            let _ = https.set(!config.plain_http);
        }
        Self {
            auth: Auth::new(config.clone(), clients.clone(), names),
            pace: Pace::new(config.concurrency),
            config,
            clients,
            authority,
            https,
            gate: Gate::default(),
            warnings,
            learnt: Learnt::default(),
            offered: Offered::default(),
        }
    }

    /// The configuration.
    pub(super) fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// Whether `url` is on this host, under its scheme or a safer one.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        let Ok(own) = self.base(self.https.get().copied().unwrap_or(true)) else { return false };
        let both_default = url.port().is_none() && own.port().is_none();
        let same_port = both_default || url.port_or_known_default() == own.port_or_known_default();
        url.host_str() == own.host_str() && same_port && !(own.scheme() == "https" && url.scheme() != "https")
    }

    /// Send a request whose answer is small: repeated as the policy says, read whole, at most `cap` bytes.
    /// Every HTTP status is an answer.
    pub(super) async fn small(&self, call: &Call, scopes: &Scopes, cap: u64) -> Result<Small, Failure> {
        let mut turn = self.gate.turn().await?;
        let mut tries = self.config.retry.start();
        let answer = loop {
            let once = judge(self.small_try(call, scopes, cap, &mut turn).await);
            if let Some(end) = once.end_or_wait(&mut tries).await {
                break end;
            }
        };
        turn.end(&answer);
        self.noted(answer?, scopes).await
    }

    /// [`Host::small`], not repeated.
    pub(super) async fn small_once(&self, call: &Call, scopes: &Scopes, cap: u64) -> Result<Small, Failure> {
        let mut turn = self.gate.turn().await?;
        let answer = self.small_try(call, scopes, cap, &mut turn).await.map_err(Trouble::failure);
        turn.end(&answer);
        self.noted(answer?, scopes).await
    }

    async fn small_try(
        &self,
        call: &Call,
        scopes: &Scopes,
        cap: u64,
        turn: &mut Turn<'_>,
    ) -> Result<Small, Trouble> {
        let _permit = self.pace.permit(Lane::Requests).await;
        if call.until.is_some_and(|until| Instant::now() >= until) {
            return Err(Failure::Interrupted("it was too late to send it".into()).into());
        }
        let epoch = self.pace.epoch();
        let whole = async {
            let response = self.proven(call, scopes, Pool::Small, turn).await?;
            read_small(&self.config, response, call, cap).await
        };
        let sent = tokio::time::timeout(self.config.timeouts.request, whole).await;
        let answer = sent.unwrap_or_else(|_| Err(Trouble::Broken("no answer in time".into())))?;
        self.pace.told(epoch, answer.status, &answer.headers);
        Ok(answer)
    }

    async fn noted(&self, mut answer: Small, scopes: &Scopes) -> Result<Small, Failure> {
        answer.note = if answer.status == 401 { self.auth.note(scopes).await } else { "" };
        Ok(answer)
    }

    /// Ask for the API itself (distribution-spec "Determining Support"): whether who asks was asked for, and accepted.
    pub(super) async fn greet(&self) -> Result<bool, Failure> {
        let call = Call::path(Method::GET, String::new());
        let answer = self.small(&call, &Scopes::nothing(), super::answer::MAX_ERROR_BYTES).await?;
        match answer.status {
            StatusCode::OK => Ok(self.auth.was_asked()),
            StatusCode::NOT_FOUND => Err(Failure::Protocol("there is no registry (404 at /v2/)".into())),
            s if s.is_success() => Err(Failure::Protocol(format!("status {s} at /v2/"))),
            _ => Err(answer.failure()),
        }
    }

    /// Send a request whose answer may be large: repeated until its head is there. Success statuses come back as
    /// they are, others as the error they mean.
    pub(super) async fn open(&self, call: &Call, scopes: &Scopes) -> Result<Response, Failure> {
        let mut turn = self.gate.turn().await?;
        let mut tries = self.config.retry.start();
        let answer = loop {
            // The permit is held until the head is there only: a body may wait for an upload that waits for a permit.
            let once = {
                let _permit = self.pace.permit(Lane::Requests).await;
                let epoch = self.pace.epoch();
                let answer = self.proven(call, scopes, Pool::Bulk, &mut turn).await;
                answer.iter().for_each(|r| self.pace.told(epoch, r.status(), r.headers()));
                match answer {
                    Ok(response) if response.status().is_success() => Once::Done(response),
                    Ok(response) => {
                        let (status, asked) = (response.status(), retry_after(response.headers()));
                        let failure = Err(failure_of(status, read_error(&self.config, response).await));
                        if is_transient(status) { Once::Again(failure, asked) } else { Once::Last(failure) }
                    }
                    Err(t) => t.once(),
                }
            };
            if let Some(end) = once.end_or_wait(&mut tries).await {
                break end;
            }
        };
        turn.end(&answer);
        answer
    }

    /// Send a body to an upload location, with proof unless `call` is bare or the location is on another host. Not
    /// repeated: the caller opens the source anew. `watch` moves when bytes do; the request ends when it stands still.
    pub(super) async fn upload(
        &self,
        call: &Call,
        body: Body,
        scopes: &Scopes,
        watch: &Progress,
    ) -> Result<Small, Failure> {
        let url = match &call.target {
            Target::Url(url) => url,
            Target::Path(path) => return Err(Failure::Protocol(format!("{path} is no address"))),
        };
        let own = self.is_own(url);
        let client = self.client(url, Pool::Bulk, own).await?;
        let mut request =
            client.request(call.method.clone(), url.clone()).headers(call.headers.clone()).body(body);
        if own
            && !call.bare
            && let Some(proof) = self.auth.header(scopes, url).await?
        {
            request = request.header(AUTHORIZATION, proof);
        }
        let epoch = self.pace.epoch();
        let sent = watch.guard(self.config.timeouts.idle, request.send()).await;
        let response = match sent {
            Some(sent) => sent.map_err(|e| trouble(&e).failure())?,
            None => return Err(Failure::Interrupted("no byte moved for too long".into())),
        };
        self.pace.told(epoch, response.status(), response.headers());
        if own {
            self.warnings.note(&self.authority, response.headers());
        }
        let whole = read_small(&self.config, response, call, super::answer::MAX_ERROR_BYTES);
        let read = tokio::time::timeout(self.config.timeouts.request, whole).await;
        let answer = read.unwrap_or_else(|_| Err(Trouble::Broken("no whole answer in time".into())));
        self.noted(answer.map_err(Trouble::failure)?, scopes).await
    }

    /// A place in the line of uploads to this host.
    pub(super) async fn upload_permit(&self) -> Permit<'_> {
        self.pace.permit(Lane::Uploads).await
    }

    /// Forget a proof that an upload was refused with, and get a new one.
    pub(super) async fn reprove(&self, answer: &Small, scopes: &Scopes) -> Result<bool, Failure> {
        let refused = self.auth.header(scopes, &answer.url).await?;
        Ok(self.auth.challenged(&answer.headers, scopes, &answer.url, refused.as_ref()).await?.is_some())
    }

    /// One try with the proof at hand, and one more with a fresh one after a 401.
    async fn proven(
        &self,
        call: &Call,
        scopes: &Scopes,
        pool: Pool,
        turn: &mut Turn<'_>,
    ) -> Result<Response, Trouble> {
        let base = self.base(self.https.get().copied().unwrap_or(true))?;
        let proof = self.auth.header(scopes, &base).await?;
        let response = self.routed(call, pool, proof.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            turn.open();
            return Ok(response);
        }
        let base = self.base(self.https.get().copied().unwrap_or(true))?;
        let fresh = self.auth.challenged(response.headers(), scopes, &base, proof.as_ref()).await?;
        turn.open();
        match fresh {
            Some(fresh) => self.routed(call, pool, Some(&fresh)).await,
            None => Ok(response),
        }
    }

    /// Send under the host's scheme; a loopback host is tried with https, then with http, and the answer remembered.
    async fn routed(
        &self,
        call: &Call,
        pool: Pool,
        proof: Option<&HeaderValue>,
    ) -> Result<Response, Trouble> {
        let path = match &call.target {
            Target::Url(url) => return self.follow(call, url.clone(), pool, proof).await,
            Target::Path(path) => path,
        };
        if let Some(https) = self.https.get() {
            return self.follow(call, self.address(*https, path)?, pool, proof).await;
        }
        let secure = match self.follow(call, self.address(true, path)?, pool, proof).await {
            Err(Trouble::Connect { text, certificate: false }) => text,
            other => {
                let _ = other.is_ok().then(|| self.https.set(true));
                return other;
            }
        };
        match self.follow(call, self.address(false, path)?, pool, proof).await {
            Err(Trouble::Connect { text, certificate }) if text != secure => {
                Err(Trouble::Connect { text: format!("by https: {secure}; by http: {text}"), certificate })
            }
            other => {
                let _ = other.is_ok().then(|| self.https.set(false));
                other
            }
        }
    }

    /// Send and follow redirects. The proof goes to this host only, and never again once a redirect has left it.
    async fn follow(
        &self,
        call: &Call,
        url: Url,
        pool: Pool,
        proof: Option<&HeaderValue>,
    ) -> Result<Response, Trouble> {
        let (mut url, mut left) = (url, false);
        for _ in 0..=MAX_REDIRECTS {
            let own = self.is_own_as(&url);
            left |= !own || call.bare;
            let client = self.client(&url, pool, own).await?;
            let mut request = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
            if let Some(proof) = proof.filter(|_| !left) {
                request = request.header(AUTHORIZATION, proof);
            }
            if let Some(body) = &call.body {
                request = request.body(body.clone());
            }
            let sent = tokio::time::timeout(self.config.timeouts.idle, request.send()).await;
            let response =
                sent.map_err(|_| Trouble::Broken("no answer in time".into()))?.map_err(|e| trouble(&e))?;
            if own {
                self.warnings.note(&self.authority, response.headers());
            }
            if !is_redirect(call, response.status()) {
                return Ok(response);
            }
            url = redirect_target(&response)?;
        }
        Err(Failure::Protocol(format!("more than {MAX_REDIRECTS} redirects")).into())
    }

    /// The client for `url`, where the registry has led if it is not this host's `own`.
    async fn client(&self, url: &Url, pool: Pool, own: bool) -> Result<Client, Failure> {
        match own {
            true => self.clients.get(url, pool, true),
            false => self.clients.led(&self.authority, url, pool).await,
        }
    }

    /// [`Host::is_own`] while the scheme is still being tried.
    fn is_own_as(&self, url: &Url) -> bool {
        match self.https.get() {
            Some(_) => self.is_own(url),
            None => authority(url) == self.authority,
        }
    }

    fn base(&self, https: bool) -> Result<Url, Failure> {
        self.address(https, "")
    }

    fn address(&self, https: bool, path: &str) -> Result<Url, Failure> {
        let scheme = if https { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}/v2/{path}", self.authority))
            .map_err(|e| Failure::Setup(format!("{} is no address: {e}", self.authority)))
    }
}

/// A request to a server that is no registry host: a token endpoint. Repeated, but neither redirected nor proven.
pub(super) async fn small_at(
    client: &Client,
    config: &RegistryConfig,
    call: &Call,
    cap: u64,
) -> Result<Small, Failure> {
    let url = match &call.target {
        Target::Url(url) => url,
        Target::Path(path) => return Err(Failure::Protocol(format!("{path} is no address"))),
    };
    let mut tries = config.retry.start();
    loop {
        let mut request = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let whole = async {
            let response = request.send().await.map_err(|e| trouble(&e))?;
            read_small(config, response, call, cap).await
        };
        let sent = tokio::time::timeout(config.timeouts.request, whole).await;
        let once = judge(sent.unwrap_or_else(|_| Err(Trouble::Broken("no answer in time".into()))));
        if let Some(end) = once.end_or_wait(&mut tries).await {
            return end;
        }
    }
}

async fn read_small(
    config: &RegistryConfig,
    response: Response,
    call: &Call,
    cap: u64,
) -> Result<Small, Trouble> {
    let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
    let body = match (call.method == Method::HEAD, status.is_success()) {
        (true, _) => Bytes::new(),
        (false, true) => read_capped(config, response, cap).await.map_err(|f| match f {
            Failure::Interrupted(text) => Trouble::Broken(text),
            other => Trouble::Final(other),
        })?,
        (false, false) => read_error(config, response).await,
    };
    Ok(Small { status, headers, url, body, note: "" })
}

fn is_redirect(call: &Call, status: StatusCode) -> bool {
    let reading = call.method == Method::GET || call.method == Method::HEAD;
    matches!(status.as_u16(), 307 | 308) || (reading && matches!(status.as_u16(), 301..=303))
}

fn redirect_target(response: &Response) -> Result<Url, Failure> {
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let location = location.ok_or_else(|| Failure::Protocol("a redirect without a Location".into()))?;
    resolve(response.url(), location)
}

/// `location` as seen from `from`: http(s) only, and never from https to http.
pub(super) fn resolve(from: &Url, location: &str) -> Result<Url, Failure> {
    let url = from.join(location).map_err(|_| Failure::Protocol("a Location that is no address".into()))?;
    match (from.scheme(), url.scheme()) {
        _ if !url.has_host() => Err(Failure::Protocol("a Location without a host".into())),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(Failure::Protocol("a Location with a user name".into()))
        }
        ("https", "http") => Err(Failure::Protocol(format!(
            "sent on from https to http, to {}; not followed",
            authority(&url)
        ))),
        (_, "http" | "https") => Ok(url),
        (_, other) => Err(Failure::Protocol(format!("sent on to the scheme {other}; not followed"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn locations_are_resolved_and_never_downgraded() {
        let from = Url::parse("https://r.example:5000/v2/a/blobs/uploads/").unwrap();
        let ok = |l: &str| resolve(&from, l).map(|u| u.to_string());
        assert_eq!(ok("/v2/a/x?s=1").as_deref(), Ok("https://r.example:5000/v2/a/x?s=1"));
        assert_eq!(ok("u1").as_deref(), Ok("https://r.example:5000/v2/a/blobs/uploads/u1"));
        assert_eq!(ok("https://cdn.example/x").as_deref(), Ok("https://cdn.example/x"));
        for bad in ["http://r.example:5000/x", "ftp://x/", "file:///etc/passwd", "https://u:p@x/", "https://"]
        {
            assert!(matches!(resolve(&from, bad), Err(Failure::Protocol(_))), "{bad}");
        }
        let plain = Url::parse("http://r.example/").unwrap();
        assert!(resolve(&plain, "https://r.example/x").is_ok());
    }

    #[tokio::test]
    async fn an_upload_does_not_wait_for_ever_for_an_answer_that_trickles() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut to, _) = listener.accept().await.unwrap();
            let _ = to.read(&mut [0; 4096]).await;
            let _ = to.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 60000\r\n\r\n").await;
            while to.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut config = RegistryConfig { plain_http: true, ..RegistryConfig::default() };
        config.timeouts.request = Duration::from_millis(300);
        let config = Arc::new(config);
        let clients = Arc::new(Clients::new(config.clone()));
        let host = Host::new(config, clients, authority.clone(), vec![], Arc::default());
        let call = Call::new(Method::PUT, Url::parse(&format!("http://{authority}/v2/a/u")).unwrap());
        let (body, scopes, watch) = (Body::from("x"), Scopes::nothing(), Progress::of(1));
        let sent = host.upload(&call, body, &scopes, &watch);
        let e = tokio::time::timeout(Duration::from_secs(30), sent).await.unwrap().err().unwrap();
        assert!(matches!(&e, Failure::Interrupted(t) if t.contains("no whole answer")), "{e}");
        server.abort();
    }

    #[test]
    fn own_host_is_host_port_and_scheme() {
        let config = Arc::new(RegistryConfig::default());
        let clients = Arc::new(Clients::new(config.clone()));
        let own = |authority: &str, url: &str| {
            let host = Host::new(config.clone(), clients.clone(), authority.into(), vec![], Arc::default());
            host.is_own(&Url::parse(url).unwrap())
        };
        assert!(own("r.example", "https://r.example/x") && own("r.example", "https://r.example:443/x"));
        assert!(own("r.example:5000", "https://R.example:5000/x"));
        for other in
            ["http://r.example/", "https://r.example:444/", "https://x.r.example/", "https://r.example.x/"]
        {
            assert!(!own("r.example", other), "{other}");
        }
    }
}
