//! Who asks: challenges, tokens, credentials, and where they must not go.

use std::time::Duration;

use bulla::oci::{Descriptor, Selector};
use bulla::store::registry::{CredentialSources, Hosts, Login, RegistryConfig};
use bulla::store::{BytesSource, Failure, Manage, Store};
use futures::future::join_all;
use zeroize::Zeroizing;

use crate::registry::{
    Action, Auth, Config, Fault, Listener, Mode, Quirks, Registry as Server, Scheme, User,
};
use crate::servers::{artifact, config, place, repository, repository_with};

/// A configuration with a login.
pub(crate) fn login(user: &str, secret: &str) -> RegistryConfig {
    let secret = Zeroizing::new(secret.to_owned());
    RegistryConfig { login: Some(Login { host: None, user: user.into(), secret }), ..config() }
}

async fn server(auth: Auth, quirks: Quirks) -> Server {
    let server = Server::start(Config { auth, quirks, ..Config::default() }).await;
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    server
}
fn v1() -> Selector {
    Selector::Tag("v1".parse().unwrap())
}

#[tokio::test]
async fn basic_is_sent_only_when_asked_for() {
    let server = server(Auth::basic("alice", "s3cret"), Quirks::default()).await;
    let repo = repository_with(&server, "a", login("alice", "s3cret"));
    assert!(repo.resolve(&v1()).await.unwrap().is_some());
    assert!(repo.resolve(&v1()).await.unwrap().is_some());
    let proofs: Vec<_> = server.requests().iter().map(|r| r.authorization.clone()).collect();
    assert_eq!(proofs, [None, Some("basic".into()), Some("basic".into())]);

    let e = repository_with(&server, "a", login("alice", "wr0ng")).resolve(&v1()).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Unauthorized(t) if !t.contains("no credentials")), "{e}");
    let e = repository(&server, "a").resolve(&v1()).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Unauthorized(t) if t.contains("no credentials")), "{e}");
    assert!(!format!("{:?}", login("alice", "s3cret")).contains("s3cret"));
}

#[tokio::test]
async fn one_challenge_and_one_token_for_many() {
    for quirks in [
        Quirks::default(),
        Quirks { access_token_only: true, ..Quirks::default() },
        Quirks { no_expires_in: true, ..Quirks::default() },
        Quirks { realm_foreign: true, ..Quirks::default() },
        Quirks { challenge_without_scope: true, ..Quirks::default() },
    ] {
        let server = server(Auth::bearer("alice", "s3cret"), quirks.clone()).await;
        let repo = repository_with(&server, "a", login("alice", "s3cret"));
        let all = join_all((0..16).map(|_| async { repo.resolve(&v1()).await })).await;
        assert!(all.iter().all(|r| r.as_ref().is_ok_and(Option::is_some)), "{quirks:?}");
        assert_eq!(server.tokens_issued(), 1, "{}", server.log());
        assert_eq!(server.requests().len(), 1 + 1 + 16, "{}", server.log());
    }
}

#[tokio::test]
async fn a_cold_pair_of_requests_takes_three_round_trips() {
    let server =
        server(Auth::bearer("alice", "s3cret"), Quirks { latency_ms: 30, ..Quirks::default() }).await;
    let repo = repository_with(&server, "a", login("alice", "s3cret"));
    let state = Selector::Tag("bulla.0123456789abcdef".parse().unwrap());
    let selector = v1();
    let (bundle, state) = tokio::join!(repo.resolve(&selector), repo.resolve(&state));
    assert!(bundle.unwrap().is_some() && state.unwrap().is_none());
    assert_eq!((server.requests().len(), server.round_trips()), (4, 3), "{}", server.log());
    server.clear();
    let _ = tokio::join!(repo.resolve(&selector), repo.resolve(&selector));
    assert_eq!((server.requests().len(), server.round_trips()), (2, 1), "{}", server.log());
}

#[tokio::test]
async fn tokens_are_renewed_when_they_end_or_are_refused() {
    let auth = Auth { ttl: Duration::from_secs(1), ..Auth::bearer("alice", "s3cret") };
    let server = server(auth, Quirks::default()).await;
    let repo = repository_with(&server, "a", login("alice", "s3cret"));
    assert!(repo.resolve(&v1()).await.is_ok());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.clear();
    assert!(repo.resolve(&v1()).await.is_ok());
    // Expired: a new one is fetched without asking with the old one first.
    assert_eq!(server.requests().iter().filter(|r| r.status == Some(401)).count(), 0, "{}", server.log());
    assert_eq!(server.tokens_issued(), 2);

    server.auth(|a| a.ttl = Duration::from_secs(300));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(repo.resolve(&v1()).await.is_ok());
    server.revoke_tokens();
    let all = join_all((0..8).map(|_| async { repo.resolve(&v1()).await })).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.tokens_issued(), 4, "one token for all who were refused: {}", server.log());
}

#[tokio::test]
async fn writing_asks_for_more_and_reading_uses_it_too() {
    for quirks in [Quirks::default(), Quirks { challenge_pull_only: true, ..Quirks::default() }] {
        let server = server(Auth::bearer("alice", "s3cret"), quirks).await;
        let repo = repository_with(&server, "a", login("alice", "s3cret"));
        let blob = Descriptor::of("x/y", b"content");
        repo.push_blob(&blob, &BytesSource("content".into())).await.unwrap();
        assert_eq!(repo.exists(&blob).await, Ok(true));
        assert_eq!(server.tokens_issued(), 1, "{}", server.log());
        let scopes = server.requests().iter().find(|r| r.path.contains("scope=")).unwrap().path.clone();
        assert!(scopes.contains("repository%3Aa%3Apull%2Cpush"), "{scopes}");
        assert_eq!(repo.delete(&Selector::Tag("v1".parse().unwrap())).await, Ok(true));
    }
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories_in_one_token() {
    let server = server(Auth::bearer("alice", "s3cret"), Quirks::default()).await;
    server.put_blob("from", "content");
    let repo = repository_with(&server, "a", login("alice", "s3cret"));
    let blob = Descriptor::of("x/y", b"content");
    let from = format!("{}/from", server.host()).parse().unwrap();
    assert_eq!(repo.mount(&blob, &from).await, Ok(true));
    assert_eq!(server.tokens_issued(), 1);
    assert_eq!(repo.exists(&blob).await, Ok(true));
    assert_eq!(server.tokens_issued(), 1);
}

#[tokio::test]
async fn anonymous_readers_may_read_and_not_write() {
    for scheme in [Scheme::Bearer, Scheme::Basic] {
        let auth = Auth { scheme, anonymous_pull: true, ..Auth::bearer("alice", "s3cret") };
        let server = server(auth, Quirks::default()).await;
        let repo = repository(&server, "a");
        assert!(repo.resolve(&v1()).await.unwrap().is_some());
        let e = repo.push_manifest(&artifact("a/b", "two"), None).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Unauthorized(_) | Failure::Denied(_)), "{e}");
    }
}

#[tokio::test]
async fn a_reader_is_told_that_it_may_not_write() {
    for scope_is_forbidden in [false, true] {
        let auth = Auth { users: vec![User::new("bob", "pw").reader()], ..Auth::bearer("x", "y") };
        let server = server(auth, Quirks { scope_is_forbidden, ..Quirks::default() }).await;
        let repo = repository_with(&server, "a", login("bob", "pw"));
        assert!(repo.resolve(&v1()).await.unwrap().is_some());
        let e = repo.push_manifest(&artifact("a/b", "two"), None).await.unwrap_err();
        assert!(matches!(e.failure, Failure::Unauthorized(_) | Failure::Denied(_)), "{e}");
        assert!(repo.resolve(&v1()).await.unwrap().is_some(), "reading still works");
        assert!(server.requests().len() < 12, "{}", server.log());
    }
}

#[tokio::test]
async fn stored_credentials_and_identity_tokens_are_used() {
    let server = server(Auth::bearer("alice", "s3cret"), Quirks::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let with = |entry: String| {
        std::fs::write(&file, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, server.host())).unwrap();
        let credentials = CredentialSources { files: vec![file.clone()], ..CredentialSources::none() };
        repository_with(&server, "a", RegistryConfig { credentials, ..config() })
    };
    // alice:s3cret
    assert!(with(r#"{"auth":"YWxpY2U6czNjcmV0"}"#.into()).resolve(&v1()).await.is_ok());
    let token = server.refresh_token("alice");
    server.clear();
    let repo =
        with(format!(r#"{{"auth":"eA==","identitytoken":"{token}"}}"#).replace(r#""auth":"eA==","#, ""));
    assert!(repo.resolve(&v1()).await.is_ok(), "{}", server.log());
    assert_eq!(server.count("POST", "*token*"), 1, "{}", server.log());
    let e = with(r#"{"identitytoken":"stale-token-text"}"#.into()).resolve(&v1()).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Unauthorized(_)), "{e}");
    assert!(!e.to_string().contains("stale-token-text"), "{e}");
}

#[tokio::test]
async fn a_token_endpoint_without_get_is_asked_by_post() {
    for status in [404, 405, 501] {
        let server = server(Auth::bearer("alice", "s3cret"), Quirks::default()).await;
        server.fault(Fault::on("GET", "/token*").status(status));
        let repo = repository_with(&server, "a", login("alice", "s3cret"));
        assert!(repo.resolve(&v1()).await.is_ok(), "{}", server.log());
        server.revoke_tokens();
        assert!(repo.resolve(&v1()).await.is_ok(), "{}", server.log());
        assert_eq!((server.count("GET", "/token*"), server.count("POST", "/token*")), (1, 2), "{status}");
        assert!(server.requests().iter().all(|r| !r.path.contains("s3cret")), "{}", server.log());
        let wrong = repository_with(&server, "a", login("alice", "wr0ng"));
        let e = wrong.resolve(&v1()).await.unwrap_err();
        assert!(matches!(&e.failure, Failure::Unauthorized(_)), "{e}");
        assert!(!e.to_string().contains("wr0ng"), "{e}");
    }
    // A refusal of GET is one of the credentials, not of the method.
    let server = server(Auth::bearer("alice", "s3cret"), Quirks::default()).await;
    let wrong = repository_with(&server, "a", login("alice", "wr0ng"));
    assert!(wrong.resolve(&v1()).await.is_err());
    assert_eq!(server.count("POST", "/token*"), 0);
    // Nobody's request is not repeated with an empty form.
    server.fault(Fault::on("GET", "/token*").status(405));
    assert!(repository(&server, "a").resolve(&v1()).await.is_err());
    assert_eq!(server.count("POST", "/token*"), 0);
}

#[tokio::test]
async fn keys_with_port_and_path_select_the_login() {
    let users = vec![
        User { repos: "org/one".into(), ..User::new("one", "pw1") },
        User { repos: "*".into(), ..User::new("all", "pw2") },
    ];
    let server =
        Server::start(Config { auth: Auth { users, ..Auth::bearer("x", "y") }, ..Config::default() }).await;
    for name in ["org/one", "org/two"] {
        place(&server, name, Some("v1"), &artifact("a/b", "one"));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    let host = server.host();
    // one:pw1, all:pw2
    let text = format!(
        r#"{{"auths":{{"{host}":{{"auth":"YWxsOnB3Mg=="}},"{host}/org/one":{{"auth":"b25lOnB3MQ=="}}}}}}"#
    );
    std::fs::write(&file, text).unwrap();
    let credentials = CredentialSources { files: vec![file], ..CredentialSources::none() };
    let hosts = Hosts::new(RegistryConfig { credentials, ..config() });
    for name in ["org/one", "org/two"] {
        let repo = hosts.repository(&format!("{host}/{name}").parse().unwrap());
        assert!(repo.resolve(&v1()).await.unwrap().is_some(), "{}", server.log());
    }
    let scopes = server.requests().iter().filter(|r| r.path.contains("scope=")).count();
    assert_eq!(scopes, 2, "one token for each");
}

#[tokio::test]
async fn credentials_do_not_go_to_a_token_server_without_tls() {
    let server =
        Server::start(Config { tls: Mode::On, auth: Auth::bearer("alice", "s3cret"), ..Config::default() })
            .await;
    let plain = Server::start(Config::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &server.pems().unwrap().ca).unwrap();
    let name = "www-authenticate".to_owned();
    let value = Some(format!(r#"Bearer realm="{}/token",service="x""#, plain.url()));
    server.fault(Fault::on("GET", "*").action(Action::Header { name, value }));
    let config = RegistryConfig { ca_files: vec![ca], ..login("alice", "s3cret") };
    let e = repository_with(&server, "a", config).resolve(&v1()).await.unwrap_err();
    assert!(matches!(&e.failure, Failure::Unauthorized(t) if t.contains("not https")), "{e}");
    assert_eq!(plain.requests().len(), 0);
}

#[tokio::test]
async fn a_login_for_one_host_is_not_shown_to_another() {
    let server = server(Auth::basic("alice", "s3cret"), Quirks::default()).await;
    let mut config = login("alice", "s3cret");
    config.login.as_mut().unwrap().host = Some("registry.example.com".into());
    assert!(repository_with(&server, "a", config.clone()).resolve(&v1()).await.is_err());
    assert!(server.requests().iter().all(|r| r.authorization.is_none()));
    config.login.as_mut().unwrap().host = Some(server.host());
    assert!(repository_with(&server, "a", config).resolve(&v1()).await.is_ok());
}

#[tokio::test]
async fn repositories_of_one_host_share_challenge_and_limits() {
    let server = server(Auth::bearer("alice", "s3cret"), Quirks::default()).await;
    place(&server, "b", Some("v1"), &artifact("a/b", "one"));
    let hosts = Hosts::new(login("alice", "s3cret"));
    let repo = |name: &str| hosts.repository(&format!("{}/{name}", server.host()).parse().unwrap());
    assert!(repo("a").resolve(&v1()).await.is_ok());
    assert!(repo("b").resolve(&v1()).await.is_ok());
    // 401, token, a; token for b, b: the second repository costs no challenge.
    assert_eq!(server.requests().len(), 5, "{}", server.log());
    assert!(server.requests().iter().all(|r| r.listener == Listener::Main));
}

#[tokio::test]
async fn nothing_goes_from_https_to_http() {
    let auth = Auth::basic("alice", "s3cret");
    let server = Server::start(Config { tls: Mode::On, auth, ..Config::default() }).await;
    let plain = Server::start(Config::default()).await;
    place(&plain, "a", Some("v1"), &artifact("a/b", "one"));
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &server.pems().unwrap().ca).unwrap();
    let repo =
        repository_with(&server, "a", RegistryConfig { ca_files: vec![ca], ..login("alice", "s3cret") });
    let refused = |f: &Failure| matches!(f, Failure::Protocol(t) if t.contains("from https to http"));

    let elsewhere = format!("{}/v2/a/manifests/v1", plain.url());
    server.fault(Fault::on("GET", "*").action(Action::Redirect(elsewhere)));
    let e = repo.resolve(&v1()).await.unwrap_err();
    assert!(refused(&e.failure), "{e}");

    server.behave();
    server.quirks(|q| q.no_single_post = true);
    let (name, value) = ("location".to_owned(), Some(format!("{}/v2/a/blobs/uploads/1", plain.url())));
    server.fault(Fault::on("POST", "*").action(Action::Header { name, value }));
    let blob = Descriptor::of("x/y", b"content");
    let e = repo.push_blob(&blob, &BytesSource("content".into())).await.unwrap_err();
    assert!(refused(&e.failure), "{e}");
    assert_eq!(plain.requests().len(), 0);
}
