//! Checks of the test registry itself: a judge must be judged.

mod access;
mod faults;
mod peer;
mod push;
mod read;
mod record;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::registry::{Config, Quirks, Registry, sha256};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry and a plain HTTP client that follows no redirects.
struct Bench {
    registry: Registry,
    http: reqwest::Client,
}

/// An answer, read as far as it went.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// Whether the body came to its announced end.
    whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and the code of the error document.
    fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }

    /// The digests of an index.
    fn digests(&self) -> Vec<String> {
        let entries = self.json()["manifests"].as_array().unwrap().clone();
        entries.iter().map(|e| e["digest"].as_str().unwrap().to_owned()).collect()
    }

    /// The address in `Link`.
    fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        assert!(link.ends_with(">; rel=\"next\""), "{link}");
        Some(link[1..].split('>').next().unwrap().to_owned())
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        Self { registry: Registry::start(config).await, http: client() }
    }

    fn quirks(&self, list: &str) {
        let mut quirks = Quirks::default();
        quirks.apply(list).unwrap();
        self.registry.quirks(|q| *q = quirks);
    }

    /// Sends a request; none when the connection broke before an answer.
    async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.registry.url()) };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut data = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => data.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Some(Answer { status, headers, body: data.into(), whole })
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let body = Bytes::copy_from_slice(body);
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    async fn put(&self, path: &str, media_type: &str, body: &[u8]) -> Answer {
        self.send("PUT", path, &[("content-type", media_type)], body).await
    }

    /// Puts a small image into the store and returns digest and bytes of its manifest.
    fn image(&self, repo: &str, tag: Option<&str>, word: &str) -> (String, Vec<u8>) {
        let manifest = self.manifest(repo, word, None);
        (self.registry.put_manifest(repo, tag, IMAGE, manifest.clone()), manifest)
    }

    /// The bytes of an image manifest, or of a referrer, whose blobs are in the store.
    fn manifest(&self, repo: &str, word: &str, subject: Option<&str>) -> Vec<u8> {
        let config = self.registry.put_blob(repo, "{}");
        let layer = self.registry.put_blob(repo, word.to_owned());
        let mut doc = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"mediaType": "application/vnd.test.config", "digest": config, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": layer, "size": word.len()}],
        });
        if let Some(subject) = subject {
            doc["artifactType"] =
                format!("application/vnd.test.{}+json", word.split('-').next().unwrap()).into();
            doc["annotations"] = json!({"word": word});
            doc["subject"] = json!({"mediaType": IMAGE, "digest": subject, "size": 7});
        }
        serde_json::to_vec(&doc).unwrap()
    }

    /// Pushes a referrer over HTTP and returns its digest and the answer.
    async fn refer(&self, repo: &str, subject: &str, word: &str) -> (String, Answer) {
        let bytes = self.manifest(repo, word, Some(subject));
        let digest = sha256(&bytes);
        let answer = self.put(&format!("/v2/{repo}/manifests/{digest}"), IMAGE, &bytes).await;
        (digest, answer)
    }
}

fn client() -> reqwest::Client {
    // No system roots: the container of a test run may have none.
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
