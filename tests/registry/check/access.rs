//! Authentication and TLS.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::registry::{Auth, Config, Mode, Scheme, User};
use super::{Answer, Bench};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn bench(auth: Auth) -> Bench {
    let bench = Bench::with(Config { auth, ..Config::default() }).await;
    bench.image("a/b", Some("v1"), "one");
    bench.image("c/d", Some("v1"), "one");
    bench
}

async fn as_user(bench: &Bench, method: &str, path: &str, header: &str) -> Answer {
    bench.send(method, path, &[("authorization", header)], b"").await
}

/// A token for some scopes; an empty header is nobody.
async fn token(bench: &Bench, query: &str, header: &str) -> Answer {
    let headers = [("authorization", header)];
    let headers = if header.is_empty() { &[][..] } else { &headers };
    bench.send("GET", &format!("/token?service=test{query}"), headers, b"").await
}

fn bearer(answer: &Answer) -> String {
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn basic_lets_users_in_by_their_rights() {
    let mut auth = Auth::basic("alice", "pw");
    auth.users.push(User::new("bob", "pw").reader());
    let bench = bench(auth).await;
    let path = "/v2/a/b/manifests/v1";
    let none = bench.get(path).await;
    assert_eq!(none.refusal(), (401, "UNAUTHORIZED".into()));
    assert_eq!(none.header("www-authenticate"), Some("Basic realm=\"test\""));
    assert_eq!(as_user(&bench, "GET", path, &basic("alice", "no")).await.status, 401);
    assert_eq!(as_user(&bench, "GET", path, &basic("bob", "pw")).await.status, 200);
    let denied = as_user(&bench, "POST", "/v2/a/b/blobs/uploads/", &basic("bob", "pw")).await;
    assert_eq!(denied.refusal(), (403, "DENIED".into()));
    assert_eq!(as_user(&bench, "DELETE", path, &basic("bob", "pw")).await.status, 403);
    assert_eq!(as_user(&bench, "DELETE", path, &basic("alice", "pw")).await.status, 202);
    bench.registry.auth(|a| a.anonymous_pull = true);
    assert_eq!(bench.get("/v2/c/d/manifests/v1").await.status, 200);
    assert_eq!(bench.send("POST", "/v2/a/b/blobs/uploads/", &[], b"").await.status, 401);
    let seen: Vec<_> = bench.registry.requests().into_iter().map(|r| r.authorization).collect();
    assert_eq!(seen[0], None);
    assert_eq!(seen[1].as_deref(), Some("basic"));
}

#[tokio::test]
async fn bearer_checks_scopes_and_expiry() {
    let bench = bench(Auth { ttl: Duration::from_secs(300), ..Auth::bearer("alice", "pw") }).await;
    let path = "/v2/a/b/manifests/v1";
    let none = bench.get(path).await;
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"test\",scope=\"repository:a/b:pull\"",
        bench.registry.url()
    );
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some(&*challenge)));
    assert_eq!(token(&bench, "&scope=repository:a/b:pull", "").await.status, 401);
    assert_eq!(token(&bench, "", &basic("alice", "no")).await.status, 401);
    let pull = token(&bench, "&scope=repository:a/b:pull", &basic("alice", "pw")).await;
    assert_eq!(pull.json()["expires_in"], 300);
    let pull = bearer(&pull);
    assert_eq!(as_user(&bench, "GET", path, &pull).await.status, 200);
    assert_eq!(as_user(&bench, "GET", "/v2/c/d/manifests/v1", &pull).await.status, 401);
    let push = as_user(&bench, "POST", "/v2/a/b/blobs/uploads/", &pull).await;
    let challenge = push.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"repository:a/b:pull,push\""), "{challenge}");
    assert!(challenge.ends_with("error=\"insufficient_scope\""), "{challenge}");
    assert_eq!(bench.registry.tokens_issued(), 1);
    bench.registry.revoke_tokens();
    assert_eq!(as_user(&bench, "GET", path, &pull).await.status, 401);

    bench.registry.auth(|a| a.ttl = Duration::ZERO);
    let expired = bearer(&token(&bench, "&scope=repository:a/b:pull", &basic("alice", "pw")).await);
    assert_eq!(as_user(&bench, "GET", path, &expired).await.status, 401);
}

#[tokio::test]
async fn a_mount_needs_both_repositories_in_one_token() {
    let bench = bench(Auth::bearer("alice", "pw")).await;
    let digest = bench.registry.put_blob("c/d", "shared");
    let mount = format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d");
    let half = bearer(&token(&bench, "&scope=repository:a/b:pull,push", &basic("alice", "pw")).await);
    let refused = as_user(&bench, "POST", &mount, &half).await;
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"repository:a/b:pull,push repository:c/d:pull\""), "{challenge}");
    let both = "&scope=repository:a/b:pull,push&scope=repository:c/d:pull";
    let both = bearer(&token(&bench, both, &basic("alice", "pw")).await);
    assert_eq!(as_user(&bench, "POST", &mount, &both).await.status, 201);
}

#[tokio::test]
async fn anonymous_tokens_forms_and_refresh_tokens() {
    let auth = Auth { anonymous_pull: true, ..Auth::bearer("alice", "pw") };
    let bench = bench(auth).await;
    let anyone = bearer(&token(&bench, "&scope=repository:a/b:pull,push", "").await);
    assert_eq!(as_user(&bench, "GET", "/v2/a/b/manifests/v1", &anyone).await.status, 200);
    assert_eq!(as_user(&bench, "POST", "/v2/a/b/blobs/uploads/", &anyone).await.status, 401);

    let form = async |body: String| {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        bench.send("POST", "/token", &kind, body.as_bytes()).await
    };
    let scope = "service=test&scope=repository:a/b:pull,push%20repository:c/d:pull";
    let answer = form(format!(
        "grant_type=password&username=alice&password=pw&access_type=offline&offline_token=true&{scope}"
    ))
    .await;
    assert_eq!(as_user(&bench, "POST", "/v2/a/b/blobs/uploads/", &bearer(&answer)).await.status, 202);
    assert_eq!(as_user(&bench, "GET", "/v2/c/d/manifests/v1", &bearer(&answer)).await.status, 200);
    let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let again = form(format!("grant_type=refresh_token&refresh_token={refresh}&{scope}")).await;
    assert_eq!(as_user(&bench, "POST", "/v2/a/b/blobs/uploads/", &bearer(&again)).await.status, 202);
    let wrong = form(format!("grant_type=refresh_token&refresh_token=no&{scope}")).await;
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn challenges_and_tokens_have_quirks() {
    let bench = bench(Auth::bearer("alice", "pw")).await;
    let challenge = async |list: &str| {
        bench.quirks(list);
        let answer = bench.send("POST", "/v2/a/b/blobs/uploads/", &[], b"").await;
        answer.header("www-authenticate").unwrap().to_owned()
    };
    assert!(challenge("").await.contains("a/b:pull,push"));
    assert!(challenge("challenge-pull-only").await.ends_with("scope=\"repository:a/b:pull\""));
    assert!(!challenge("challenge-without-scope").await.contains("scope"));
    let realm = challenge("realm-foreign").await;
    let second = format!("http://{}/token", bench.registry.second_host());
    assert!(realm.contains(&second), "{realm}");
    let answer = as_user(&bench, "GET", &second, &basic("alice", "pw")).await;
    assert_eq!(answer.status, 200);

    bench.quirks("access-token-only,no-expires-in,scope-is-forbidden");
    let answer = token(&bench, "", &basic("alice", "pw")).await.json();
    assert!(answer.get("token").is_none() && answer.get("expires_in").is_none());
    let header = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(as_user(&bench, "GET", "/v2/", &header).await.status, 200);
    let denied = as_user(&bench, "GET", "/v2/a/b/manifests/v1", &header).await;
    assert_eq!(denied.refusal(), (403, "DENIED".into()));
    assert_eq!(bench.registry.auth_scheme(), Scheme::Bearer);
}

#[tokio::test]
async fn tls_speaks_http2_and_can_demand_a_certificate() {
    for (mode, version) in [
        (Mode::On, reqwest::Version::HTTP_2),
        (Mode::Http1, reqwest::Version::HTTP_11),
        (Mode::Mutual, reqwest::Version::HTTP_2),
    ] {
        let bench = Bench::with(Config { tls: mode, ..Config::default() }).await;
        let pems = bench.registry.pems().unwrap().clone();
        let ca = reqwest::Certificate::from_pem(pems.ca.as_bytes()).unwrap();
        let builder = || reqwest::Client::builder().no_proxy().tls_certs_only([ca.clone()]);
        let identity = format!("{}{}", pems.client_cert, pems.client_key);
        let identity = reqwest::Identity::from_pem(identity.as_bytes()).unwrap();
        let url = format!("{}/v2/", bench.registry.url());
        assert!(url.starts_with("https://"));
        let known = builder().identity(identity).build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((known.status().as_u16(), known.version()), (200, version), "{mode:?}");
        let unknown = builder().build().unwrap().get(&url).send().await;
        assert_eq!(unknown.is_ok(), mode != Mode::Mutual, "{mode:?}");
        assert!(bench.http.get(&url).send().await.is_err(), "nobody trusts the authority by itself");
    }
}
