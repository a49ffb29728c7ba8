//! Proof of who asks: Basic, and Bearer tokens (distribution "Token Authentication Specification", "OAuth2 Token
//! Authentication"). Nothing is sent before a challenge; one token request serves all who wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use super::RegistryConfig;
use super::challenge::{Challenge, choose};
use super::credentials::Credential;
use super::http::{self, Call};
use super::tls::{Clients, Pool, authority};
use super::token::{self, Token, at_token_server, basic_header, read_token};
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

    /// No repository: only who asks.
    pub(super) fn nothing() -> Self {
        Self(Vec::new())
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
    /// The token endpoint takes no GET.
    only_forms: AtomicBool,
}

/// Held while a token is fetched, so that the others wait for it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

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
            only_forms: AtomicBool::new(false),
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

    /// Whether the registry has asked who asks.
    pub(super) fn was_asked(&self) -> bool {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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
            Some(l) => Some(Credential::of(l.user.clone(), l.secret.clone())),
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
        let (service, mut other) = (service.as_deref(), None);
        let call = match credential {
            Some(Credential::Identity(token)) => token::refresh(realm, service, &wanted, &token)?,
            Some(Credential::Password { user, secret }) => {
                let form = token::password(realm, service, &wanted, &user, &secret)?;
                if self.only_forms.load(Ordering::Relaxed) {
                    form
                } else {
                    other = Some(form);
                    token::ask(realm, service, &wanted, Some(basic_header(&user, &secret)?))
                }
            }
            None => token::ask(realm, service, &wanted, None),
        };
        let client = match authority(realm) == authority(registry) {
            true => self.clients.get(realm, Pool::Small, true)?,
            false => self.clients.led(&authority(registry), realm, Pool::Small).await?,
        };
        let send = async |call: &Call| {
            let answer = http::small_at(&client, &self.config, call, MAX_TOKEN_BYTES).await;
            answer.map_err(|f| at_token_server(f, realm))
        };
        let mut answer = send(&call).await?;
        // An endpoint that knows OAuth2 alone.
        if let (404 | 405 | 501, Some(form)) = (answer.status.as_u16(), other) {
            answer = send(&form).await?;
            self.only_forms.fetch_or(answer.status.is_success(), Ordering::Relaxed);
        }
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
}
