//! Tokens: the requests for one, and the answers (distribution "Token Authentication Specification", "OAuth2 Token
//! Authentication").

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::Small;
use super::http::Call;
use super::tls::authority;
use crate::store::Failure;

/// A token, as it is shown, and how long.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    until: Instant,
}

impl Token {
    /// Whether it may still be shown.
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// User and password as an `Authorization`.
pub(super) fn basic_header(user: &str, secret: &str) -> Result<HeaderValue, Failure> {
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

/// The request for a token by GET.
pub(super) fn ask(realm: &Url, service: Option<&str>, scopes: &[String], basic: Option<HeaderValue>) -> Call {
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

/// The OAuth2 request for an identity token (`grant_type=refresh_token`).
pub(super) fn refresh(
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    token: &str,
) -> Result<Call, Failure> {
    form(realm, service, scopes, &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

/// The OAuth2 request for user and password (`grant_type=password`).
pub(super) fn password(
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    user: &str,
    secret: &str,
) -> Result<Call, Failure> {
    let fields = [("grant_type", "password"), ("username", user), ("password", secret)];
    form(realm, service, scopes, &fields)
}

fn form(
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    more: &[(&str, &str)],
) -> Result<Call, Failure> {
    let mut form = Url::parse("form:").map_err(|e| Failure::Protocol(e.to_string()))?;
    form.query_pairs_mut()
        .append_pair("service", service.unwrap_or_default())
        .append_pair("client_id", "bulla")
        .append_pair("scope", &scopes.join(" "))
        .extend_pairs(more);
    let mut call = Call::new(Method::POST, realm.clone());
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    call.body = Some(Bytes::from(form.query().unwrap_or_default().to_owned()));
    Ok(call)
}

/// The token in an answer.
pub(super) fn read_token(answer: &Small) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Raw {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
        issued_at: Option<String>,
    }
    // The parser's words could quote the token: they are left out.
    let raw: Raw = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::Protocol(format!("{} answered no token document", authority(&answer.url))))?;
    let text =
        [raw.token, raw.access_token].into_iter().flatten().map(Zeroizing::new).find(|t| !t.is_empty());
    let text =
        text.ok_or_else(|| Failure::Protocol(format!("{} answered no token", authority(&answer.url))))?;
    let life = raw.expires_in.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(60.0).min(86_400.0);
    // Counted from when it was issued, by the server's own clock: some hand one token out several times.
    let age = raw.issued_at.and_then(|at| age(&at, answer.header("date")?)).unwrap_or(0.0);
    let life = (life - age).max(1.0);
    // Renewed a little early: the registry checks the token later than we do.
    let life = Duration::from_secs_f64(life - (life / 5.0).min(30.0));
    Ok(Token {
        header: sensitive(&Zeroizing::new(format!("Bearer {}", *text)))?,
        until: Instant::now() + life,
    })
}

/// Seconds from an RFC 3339 time to the `Date` of an answer, if they make sense.
fn age(issued_at: &str, date: &str) -> Option<f64> {
    let issued: jiff::Timestamp = issued_at.parse().ok()?;
    let now = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let seconds = now.as_second().checked_sub(issued.as_second())?;
    (0..=86_400).contains(&seconds).then_some(seconds as f64)
}

/// A failure, with the name of the server where it happened.
pub(super) fn at_token_server(failure: Failure, realm: &Url) -> Failure {
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
    fn token_requests_keep_the_query_and_escape() {
        let realm = Url::parse("https://a.example/t?x=1").unwrap();
        let call = ask(&realm, Some("r&r"), &["repository:a:pull".into(), "repository:b:pull".into()], None);
        assert_eq!(
            call.url_for_tests().query(),
            Some("x=1&service=r%26r&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull")
        );
        let call = refresh(&realm, Some("r"), &["s 1".into()], "t&k").unwrap();
        let body = "service=r&client_id=bulla&scope=s+1&grant_type=refresh_token&refresh_token=t%26k";
        assert_eq!(call.body, Some(Bytes::from(body)));
        let call = password(&realm, None, &["s".into()], "me", "p w").unwrap();
        let body = "service=&client_id=bulla&scope=s&grant_type=password&username=me&password=p+w";
        assert_eq!(call.body, Some(Bytes::from(body)));
        assert!(!format!("{:?}", basic_header("u", "hunter2").unwrap()).contains("aHVudGVyMg"));
    }

    #[test]
    fn a_token_lives_from_when_it_was_issued() {
        let now = "Sun, 06 Nov 1994 08:50:00 GMT";
        let left = |document: &str, date: &str| {
            let answer = Small {
                status: reqwest::StatusCode::OK,
                headers: [(reqwest::header::DATE, date.parse().unwrap())].into_iter().collect(),
                url: Url::parse("https://a.example/t").unwrap(),
                body: Bytes::from(document.to_owned()),
                note: "",
            };
            read_token(&answer)
                .map(|t| t.until.saturating_duration_since(Instant::now()).as_secs_f64().round())
        };
        assert_eq!(left(r#"{"token":"t","expires_in":300}"#, now), Ok(270.0));
        assert_eq!(left(r#"{"token":"t"}"#, now), Ok(48.0), "a minute where no life is named");
        let issued = |at: &str| format!(r#"{{"access_token":"t","expires_in":300,"issued_at":"{at}"}}"#);
        assert_eq!(left(&issued("1994-11-06T08:48:00Z"), now), Ok(150.0), "two minutes old");
        assert_eq!(left(&issued("1994-11-06T08:40:00Z"), now), Ok(1.0), "over by its own word");
        for odd in ["1994-11-06T09:48:00Z", "1980-11-06T08:48:00Z", "soon"] {
            assert_eq!(left(&issued(odd), now), Ok(270.0), "{odd}");
        }
        assert!(left(r#"{"token":""}"#, now).is_err() && left("s3cret", now).is_err());
    }
}
