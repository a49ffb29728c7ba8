//! Proof of who asks: Basic, and Bearer tokens (distribution "Token Authentication Specification", "OAuth2 Token
//! Authentication"). Nothing is sent before a challenge; one token request serves all who wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::RegistryConfig;
use super::answer::Small;
use super::challenge::{Challenge, choose};
use super::credentials::Credential;
use super::http::{self, Call};
use super::tls::{Clients, Pool, authority};
use crate::store::Failure;

/// Largest answer of a token endpoint, in bytes.
const MAX_TOKEN_BYTES: u64 = 256 * 1024;

/// What may be done with one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Access {
    /// `pull`
    Read,
    /// `pull,push`
    Write,
    /// `delete,pull,push`
    Delete,
}

/// The repositories a request touches, and how; the first is the one asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scopes(Vec<(String, Access)>);

impl Scopes {
    /// One repository.
    pub(super) fn one(name: &str, access: Access) -> Self {
        Self(vec![(name.to_owned(), access)])
    }

    /// Write to `name`, read from `from`, in one token (distribution-spec "Mounting a blob").
    pub(super) fn mount(name: &str, from: &str) -> Self {
        Self(vec![(name.to_owned(), Access::Write), (from.to_owned(), Access::Read)])
    }

    fn name(&self) -> &str {
        self.0.first().map_or("", |(name, _)| name)
    }

    /// Whether a token for `self` is good for `asked`.
    fn covers(&self, asked: &Self) -> bool {
        asked.0.iter().all(|(name, access)| self.0.iter().any(|(n, a)| n == name && a >= access))
    }

    fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(name, access)| {
            let actions = match access {
                Access::Read => "pull",
                Access::Write => "pull,push",
                Access::Delete => "delete,pull,push",
            };
            format!("repository:{name}:{actions}")
        })
    }
}

/// The proofs for one host.
pub(super) struct Auth {
    config: Arc<RegistryConfig>,
    clients: Arc<Clients>,
    /// The names of the host, as credential files may spell it.
    hosts: Vec<String>,
    challenge: Mutex<Option<Challenge>>,
    credentials: tokio::sync::Mutex<HashMap<String, Option<Credential>>>,
    tokens: Mutex<HashMap<Scopes, Slot>>,
}

/// Held while a token is fetched, so that the others wait for it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

impl Token {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

impl Auth {
    /// No challenge seen yet.
    pub(super) fn new(config: Arc<RegistryConfig>, clients: Arc<Clients>, hosts: Vec<String>) -> Self {
        Self {
            config,
            clients,
            hosts,
            challenge: Mutex::default(),
            credentials: tokio::sync::Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The `Authorization` for a request, if the host has asked for one before.
    pub(super) async fn header(
        &self,
        scopes: &Scopes,
        registry: &Url,
    ) -> Result<Option<HeaderValue>, Failure> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(scopes).await,
            Some(c @ Challenge::Bearer { .. }) => match self.wider(scopes) {
                Some(token) => Ok(Some(token.header)),
                None => self.token(scopes, &c, registry, None).await.map(Some),
            },
        }
    }

    /// The `Authorization` to try once more after a 401 on `refused`; `None` when there is nothing better.
    pub(super) async fn challenged(
        &self,
        headers: &HeaderMap,
        scopes: &Scopes,
        registry: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Some(challenge) = choose(headers) else { return Ok(None) };
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge.clone());
        match challenge {
            Challenge::Basic => Ok(self.basic(scopes).await?.filter(|h| Some(h) != refused)),
            Challenge::Bearer { .. } => self.token(scopes, &challenge, registry, refused).await.map(Some),
        }
    }

    /// What to tell a user whose request was refused.
    pub(super) async fn note(&self, scopes: &Scopes) -> &'static str {
        match self.credentials.lock().await.get(scopes.name()) {
            Some(None) => "; no credentials are known for this registry",
            _ => "",
        }
    }

    async fn credential(&self, scopes: &Scopes) -> Result<Option<Credential>, Failure> {
        let name = scopes.name();
        let mut known = self.credentials.lock().await;
        if let Some(found) = known.get(name) {
            return Ok(found.clone());
        }
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let login =
            self.config.login.as_ref().filter(|l| l.host.as_ref().is_none_or(|h| self.hosts.contains(h)));
        let found = match login {
            Some(l) => Some(Credential::Password { user: l.user.clone(), secret: l.secret.clone() }),
            None => self.config.credentials.lookup(&hosts, name).await?,
        };
        known.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    async fn basic(&self, scopes: &Scopes) -> Result<Option<HeaderValue>, Failure> {
        match self.credential(scopes).await? {
            Some(Credential::Password { user, secret }) => basic_header(&user, &secret).map(Some),
            Some(Credential::Identity(_)) => Err(Failure::Unauthorized(
                "the stored credential is an identity token, but the registry asks for user and password"
                    .into(),
            )),
            None => Ok(None),
        }
    }

    fn slot(&self, scopes: &Scopes) -> Slot {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).entry(scopes.clone()).or_default().clone()
    }

    /// A fresh token that covers `scopes`, if nobody is fetching it right now.
    fn wider(&self, scopes: &Scopes) -> Option<Token> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = tokens.iter().filter(|(have, _)| have.covers(scopes));
        fitting.filter_map(|(_, slot)| slot.try_lock().ok()?.clone()).find(Token::is_fresh)
    }

    /// The cached token unless it is the refused one, else a new one; one request however many ask.
    async fn token(
        &self,
        scopes: &Scopes,
        challenge: &Challenge,
        registry: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Failure> {
        if let Some(refused) = refused {
            self.forget(refused);
        }
        let slot = self.slot(scopes);
        let mut held = slot.lock().await;
        if let Some(token) = held.as_ref().filter(|t| t.is_fresh() && Some(&t.header) != refused) {
            return Ok(token.header.clone());
        }
        let fresh = self.fetch(scopes, challenge, registry).await?;
        let header = fresh.header.clone();
        *held = Some(fresh);
        Ok(header)
    }

    fn forget(&self, refused: &HeaderValue) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in tokens.values() {
            if let Ok(mut held) = slot.try_lock()
                && held.as_ref().is_some_and(|t| t.header == refused)
            {
                *held = None;
            }
        }
    }

    async fn fetch(&self, scopes: &Scopes, challenge: &Challenge, registry: &Url) -> Result<Token, Failure> {
        let Challenge::Bearer { realm, service, scopes: named } = challenge else {
            return Err(Failure::Protocol("no token endpoint".into()));
        };
        let credential = self.credential(scopes).await?;
        if credential.is_some() && registry.scheme() == "https" && realm.scheme() == "http" {
            let text =
                format!("its token server {} is not https: no credentials are sent there", authority(realm));
            return Err(Failure::Unauthorized(text));
        }
        // What the registry names for the same repository is asked for too: some know more actions than three.
        let own = format!("repository:{}:", scopes.name());
        let mut wanted: Vec<String> = scopes.texts().collect();
        let more = named.iter().filter(|n| n.starts_with(&own) && n.len() < 512).take(2);
        let more: Vec<String> = more.filter(|n| !covered(&wanted, n)).cloned().collect();
        wanted.extend(more);
        let call = match credential {
            Some(Credential::Identity(token)) => refresh(realm, service.as_deref(), &wanted, &token)?,
            Some(Credential::Password { user, secret }) => {
                ask(realm, service.as_deref(), &wanted, Some(basic_header(&user, &secret)?))
            }
            None => ask(realm, service.as_deref(), &wanted, None),
        };
        let client = match authority(realm) == authority(registry) {
            true => self.clients.get(realm, Pool::Small, true)?,
            false => self.clients.led(&authority(registry), realm, Pool::Small).await?,
        };
        let answer = http::small_at(&client, &self.config, &call, MAX_TOKEN_BYTES).await;
        let answer = answer.map_err(|f| at_token_server(f, realm))?;
        if !answer.status.is_success() {
            return Err(at_token_server(answer.failure(), realm));
        }
        read_token(&answer)
    }
}

/// Whether the actions of `named` are all in one of `wanted`.
fn covered(wanted: &[String], named: &str) -> bool {
    let split = |s: &str| s.rsplit_once(':').map(|(n, a)| (n.to_owned(), a.to_owned()));
    let Some((name, actions)) = split(named) else { return true };
    wanted.iter().filter_map(|w| split(w)).any(|(n, have)| {
        let have: Vec<&str> = have.split(',').collect();
        n == name && actions.split(',').all(|a| have.contains(&a))
    })
}

fn basic_header(user: &str, secret: &str) -> Result<HeaderValue, Failure> {
    let pair = Zeroizing::new(format!("{user}:{secret}"));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    sensitive(&text)
}

fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Failure::Protocol("a token holds characters that no header can carry".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn ask(realm: &Url, service: Option<&str>, scopes: &[String], basic: Option<HeaderValue>) -> Call {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(service.map(|s| ("service", s)));
        query.extend_pairs(scopes.iter().map(|s| ("scope", s)));
    }
    let mut call = Call::new(Method::GET, url);
    call.headers.extend(basic.map(|b| (AUTHORIZATION, b)));
    call
}

fn refresh(realm: &Url, service: Option<&str>, scopes: &[String], token: &str) -> Result<Call, Failure> {
    let mut form = Url::parse("form:").map_err(|e| Failure::Protocol(e.to_string()))?;
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("client_id", "bulla")
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", token);
    let mut call = Call::new(Method::POST, realm.clone());
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    call.body = Some(Bytes::from(form.query().unwrap_or_default().to_owned()));
    Ok(call)
}

fn read_token(answer: &Small) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Raw {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
    }
    // The parser's words could quote the token: they are left out.
    let raw: Raw = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::Protocol(format!("{} answered no token document", authority(&answer.url))))?;
    let text =
        [raw.token, raw.access_token].into_iter().flatten().map(Zeroizing::new).find(|t| !t.is_empty());
    let text =
        text.ok_or_else(|| Failure::Protocol(format!("{} answered no token", authority(&answer.url))))?;
    let life = raw.expires_in.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(60.0).min(86_400.0);
    // Renewed a little early: the registry checks the token later than we do.
    let life = Duration::from_secs_f64(life - (life / 5.0).min(30.0));
    Ok(Token {
        header: sensitive(&Zeroizing::new(format!("Bearer {}", *text)))?,
        until: Instant::now() + life,
    })
}

fn at_token_server(failure: Failure, realm: &Url) -> Failure {
    let server = authority(realm);
    match failure {
        Failure::Unauthorized(t) => Failure::Unauthorized(format!("token server {server}: {t}")),
        Failure::Denied(t) => Failure::Denied(format!("token server {server}: {t}")),
        Failure::TooManyRequests(t) => Failure::TooManyRequests(format!("token server {server}: {t}")),
        Failure::Server { status, text } => {
            Failure::Server { status, text: format!("token server {server}: {text}") }
        }
        Failure::NotFound => Failure::Protocol(format!("token server {server} answers 404")),
        Failure::Refused { status, text } => {
            Failure::Refused { status, text: format!("token server {server}: {text}") }
        }
        Failure::Unreachable(t) => Failure::Unreachable(format!("token server {server}: {t}")),
        Failure::Interrupted(t) => Failure::Interrupted(format!("token server {server}: {t}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_token_covers_a_narrower_request() {
        let read = Scopes::one("a", Access::Read);
        let write = Scopes::one("a", Access::Write);
        assert!(
            write.covers(&read) && !read.covers(&write) && !Scopes::one("b", Access::Write).covers(&read)
        );
        assert!(Scopes::mount("a", "b").covers(&Scopes::one("b", Access::Read)));
        assert!(!Scopes::mount("a", "b").covers(&Scopes::one("b", Access::Write)));
        let texts: Vec<String> = Scopes::mount("a", "b").texts().collect();
        assert_eq!(texts, ["repository:a:pull,push", "repository:b:pull"]);
    }

    #[test]
    fn named_scopes_are_added_only_when_they_say_more() {
        let wanted = vec!["repository:a:5000/b:pull,push".to_owned()];
        assert!(covered(&wanted, "repository:a:5000/b:push"));
        assert!(!covered(&wanted, "repository:a:5000/b:pull,metadata_read"));
    }

    #[test]
    fn token_requests_keep_the_query_and_escape() {
        let realm = Url::parse("https://a.example/t?x=1").unwrap();
        let call = ask(&realm, Some("r&r"), &["repository:a:pull".into(), "repository:b:pull".into()], None);
        assert_eq!(
            call.url_for_tests().query(),
            Some("x=1&service=r%26r&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull")
        );
        let call = refresh(&realm, Some("r"), &["s 1".into()], "t&k").unwrap();
        let body = "grant_type=refresh_token&service=r&client_id=bulla&scope=s+1&refresh_token=t%26k";
        assert_eq!(call.body, Some(Bytes::from(body)));
        assert!(!format!("{:?}", basic_header("u", "hunter2").unwrap()).contains("aHVudGVyMg"));
    }
}
