//! Who may do what: none, Basic, or Bearer with the registry's own token endpoint.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::call::{Call, Route, pairs};
use super::faults::glob;
use super::quirks::Quirks;
use super::reply::Reply;

/// How a request proves who sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all.
    #[default]
    None,
    /// User and password with each request.
    Basic,
    /// A token from the token endpoint.
    Bearer,
}

/// A user and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
    /// May push.
    pub push: bool,
    /// May delete.
    pub delete: bool,
    /// The repositories, as a glob.
    pub repos: String,
}

impl User {
    /// A user that may do everything.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: name.into(), password: password.into(), push: true, delete: true, repos: "*".into() }
    }

    /// The same, allowed to pull only.
    pub fn reader(self) -> Self {
        Self { push: false, delete: false, ..self }
    }
}

/// The rules of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub scheme: Scheme,
    pub users: Vec<User>,
    /// Whether everybody may pull.
    pub anonymous_pull: bool,
    /// How long a token lives.
    pub ttl: Duration,
}

impl Default for Auth {
    fn default() -> Self {
        Self { scheme: Scheme::None, users: Vec::new(), anonymous_pull: false, ttl: Duration::from_secs(300) }
    }
}

impl Auth {
    /// One user, by Basic.
    pub fn basic(user: &str, password: &str) -> Self {
        Self { scheme: Scheme::Basic, users: vec![User::new(user, password)], ..Self::default() }
    }

    /// One user, by Bearer.
    pub fn bearer(user: &str, password: &str) -> Self {
        Self { scheme: Scheme::Bearer, ..Self::basic(user, password) }
    }
}

/// What a token allows.
#[derive(Clone, Debug)]
struct Grant {
    expires: Instant,
    scopes: Vec<(String, String)>,
}

/// The tokens that were given out.
#[derive(Debug, Default)]
pub struct Tokens {
    grants: HashMap<String, Grant>,
    /// Refresh tokens and their users.
    refresh: HashMap<String, String>,
    issued: u64,
}

impl Tokens {
    /// Forgets all tokens: the next use of one is 401.
    pub fn revoke(&mut self) {
        self.grants.clear();
    }

    /// How many were given out.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// A refresh (identity) token for a user.
    pub fn refresh_token(&mut self, user: &str) -> String {
        let token = format!("refresh-{}", hex::encode(super::blobs::random()));
        self.refresh.insert(token.clone(), user.into());
        token
    }
}

/// `(repository, action)` that a request needs.
fn needs(route: &Route, call: &Call<'_>) -> Vec<(String, &'static str)> {
    let Some(repo) = route.repo() else { return Vec::new() };
    let deletes = matches!(route, Route::Manifest(..) | Route::Blob(..));
    let mut needs = match call.method {
        "GET" | "HEAD" => vec![(repo.to_owned(), "pull")],
        "DELETE" if deletes => vec![(repo.to_owned(), "delete")],
        _ => vec![(repo.to_owned(), "pull"), (repo.to_owned(), "push")],
    };
    if matches!(route, Route::NewUpload(_)) && call.query("mount").is_some() {
        needs.extend(call.query("from").map(|from| (from.to_owned(), "pull")));
    }
    needs
}

/// Lets a request pass, or refuses it.
pub fn check(auth: &Auth, tokens: &Tokens, route: &Route, call: &Call<'_>) -> Result<(), Reply> {
    let header = call.header("authorization").unwrap_or_default();
    let needs = needs(route, call);
    let open = auth.anonymous_pull && !needs.is_empty() && needs.iter().all(|(_, action)| *action == "pull");
    match auth.scheme {
        Scheme::None => Ok(()),
        Scheme::Basic if header.is_empty() && open => Ok(()),
        Scheme::Basic => {
            let Some(user) = basic(auth, header) else {
                return Err(unauthorized("Basic realm=\"test\"".into()));
            };
            if needs.iter().all(|(repo, action)| may(user, repo, action)) {
                Ok(())
            } else {
                Err(Reply::error(403, "DENIED", "requested access to the resource is denied"))
            }
        }
        Scheme::Bearer => {
            let token = header.strip_prefix("Bearer ").unwrap_or_default();
            let grant = tokens.grants.get(token).filter(|g| g.expires > Instant::now());
            let Some(grant) = grant else { return Err(unauthorized(challenge(call, &needs, ""))) };
            let held = |(repo, action): &(String, &str)| {
                grant.scopes.iter().any(|(name, granted)| name == repo && granted == action)
            };
            if needs.iter().all(held) {
                Ok(())
            } else if call.quirks.scope_is_forbidden {
                Err(Reply::error(403, "DENIED", "requested access to the resource is denied"))
            } else {
                Err(unauthorized(challenge(call, &needs, ",error=\"insufficient_scope\"")))
            }
        }
    }
}

/// The token endpoint: GET with `scope` parameters and Basic, or POST with a form (OAuth2).
pub fn token(auth: &Auth, tokens: &mut Tokens, quirks: &Quirks, call: &Call<'_>) -> Reply {
    let form =
        if call.method == "POST" { pairs(&String::from_utf8_lossy(&call.body)) } else { call.query.clone() };
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let header = call.header("authorization").unwrap_or_default();
    let user = match field("grant_type") {
        Some("password") => {
            find(auth, field("username").unwrap_or_default(), field("password").unwrap_or_default())
        }
        Some("refresh_token") => tokens
            .refresh
            .get(field("refresh_token").unwrap_or_default())
            .and_then(|name| auth.users.iter().find(|u| u.name == *name)),
        _ => basic(auth, header),
    };
    let anonymous = user.is_none() && header.is_empty() && field("grant_type").is_none();
    if user.is_none() && !(anonymous && auth.anonymous_pull) {
        return unauthorized("Basic realm=\"test\"".into());
    }

    let words = form.iter().filter(|(n, _)| n == "scope").flat_map(|(_, v)| v.split(' '));
    let mut scopes = Vec::new();
    for word in words {
        let Some((name, actions)) = word.strip_prefix("repository:").and_then(|w| w.rsplit_once(':')) else {
            continue;
        };
        let granted = actions.split(',').filter(|a| match user {
            Some(user) => may(user, name, a),
            None => *a == "pull",
        });
        scopes.extend(granted.map(|a| (name.to_owned(), a.to_owned())));
    }
    tokens.issued += 1;
    let token = format!("token-{}", hex::encode(super::blobs::random()));
    tokens.grants.insert(token.clone(), Grant { expires: Instant::now() + auth.ttl, scopes });

    let key = if quirks.access_token_only { "access_token" } else { "token" };
    let mut answer = json!({ key: token, "issued_at": jiff::Timestamp::now().to_string() });
    if !quirks.no_expires_in {
        answer["expires_in"] = auth.ttl.as_secs().into();
    }
    if let Some(user) = user.filter(|_| field("offline_token") == Some("true")) {
        answer["refresh_token"] = tokens.refresh_token(&user.name).into();
    }
    Reply::json(200, &answer)
}

fn unauthorized(challenge: String) -> Reply {
    Reply::error(401, "UNAUTHORIZED", "authentication required").with("www-authenticate", challenge)
}

fn challenge(call: &Call<'_>, needs: &[(String, &str)], error: &str) -> String {
    let host = if call.quirks.realm_foreign { call.second } else { call.base };
    let mut scopes: Vec<(String, Vec<&str>)> = Vec::new();
    for (repo, action) in needs {
        if call.quirks.challenge_pull_only && *action != "pull" {
            continue;
        }
        match scopes.iter_mut().find(|(name, _)| name == repo) {
            Some((_, actions)) => actions.push(action),
            None => scopes.push((repo.clone(), vec![action])),
        }
    }
    let words: Vec<String> =
        scopes.iter().map(|(repo, actions)| format!("repository:{repo}:{}", actions.join(","))).collect();
    let scope = if words.is_empty() || call.quirks.challenge_without_scope {
        String::new()
    } else {
        format!(",scope=\"{}\"", words.join(" "))
    };
    format!("Bearer realm=\"{host}/token\",service=\"test\"{scope}{error}")
}

fn basic<'a>(auth: &'a Auth, header: &str) -> Option<&'a User> {
    let raw = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(raw).ok()?;
    let (name, password) = text.split_once(':')?;
    find(auth, name, password)
}

fn find<'a>(auth: &'a Auth, name: &str, password: &str) -> Option<&'a User> {
    auth.users.iter().find(|u| u.name == name && u.password == password)
}

fn may(user: &User, repo: &str, action: &str) -> bool {
    let allowed = match action {
        "pull" => true,
        "push" => user.push,
        "delete" => user.delete,
        _ => false,
    };
    allowed && glob(&user.repos, repo)
}
