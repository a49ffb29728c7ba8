//! One request as the endpoints see it, and the dispatch to them.

use bytes::Bytes;
use hyper::HeaderMap;
use percent_encoding::percent_decode_str;

use super::quirks::{Address, Quirks};
use super::reply::Reply;
use super::script::Script;
use super::state::{State, is_name};
use super::{blobs, manifests, referrers, tags};

/// A request with everything an endpoint may touch.
pub struct Call<'a> {
    pub state: &'a mut State,
    pub script: &'a mut Script,
    pub quirks: &'a Quirks,
    /// `http://127.0.0.1:5000` of the registry.
    pub base: &'a str,
    /// The same of the second listener.
    pub second: &'a str,
    pub method: &'a str,
    pub query: Vec<(String, String)>,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

impl Call<'_> {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// A path in the form that the quirk asks for.
    pub fn address(&self, form: Address, path: &str) -> String {
        match form {
            Address::Relative => path.into(),
            Address::Absolute => format!("{}{path}", self.base),
            Address::Foreign => format!("{}{path}", self.second),
        }
    }
}

/// An endpoint below `/v2/`, with the repository it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Ping,
    /// `<name>/manifests/<reference>`
    Manifest(String, String),
    /// `<name>/blobs/<digest>`
    Blob(String, String),
    /// `<name>/blobs/uploads/`
    NewUpload(String),
    /// `<name>/blobs/uploads/<id>`
    Upload(String, String),
    /// `<name>/referrers/<digest>`
    Referrers(String, String),
    /// `<name>/tags/list`
    Tags(String),
    /// Anything else.
    Unknown,
}

impl Route {
    /// Reads a path (without its query).
    pub fn parse(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/v2") else { return Self::Unknown };
        let rest = percent_decode_str(rest).decode_utf8_lossy();
        if matches!(&*rest, "" | "/") {
            return Self::Ping;
        }
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        let name = |words: usize| parts[..parts.len() - words].join("/");
        match parts.as_slice() {
            [.., _, "tags", "list"] => Self::Tags(name(2)),
            [.., _, "blobs", "uploads"] => Self::NewUpload(name(2)),
            [.., _, "blobs", "uploads", ""] => Self::NewUpload(name(3)),
            [.., _, "blobs", "uploads", id] => Self::Upload(name(3), (*id).into()),
            [.., _, "blobs", digest] => Self::Blob(name(2), (*digest).into()),
            [.., _, "manifests", reference] => Self::Manifest(name(2), (*reference).into()),
            [.., _, "referrers", digest] => Self::Referrers(name(2), (*digest).into()),
            _ => Self::Unknown,
        }
    }

    /// The repository.
    pub fn repo(&self) -> Option<&str> {
        match self {
            Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::NewUpload(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _)
            | Self::Tags(name) => Some(name),
            Self::Ping | Self::Unknown => None,
        }
    }

    /// Answers a request.
    pub fn answer(&self, call: &mut Call<'_>) -> Reply {
        if self.repo().is_some_and(|name| !is_name(name)) {
            return Reply::error(400, "NAME_INVALID", "invalid repository name");
        }
        if call.quirks.read_only && !matches!(call.method, "GET" | "HEAD") {
            return Reply::error(405, "UNSUPPORTED", "this registry is a mirror");
        }
        let reading = matches!(call.method, "GET" | "HEAD");
        match (self, call.method) {
            (Self::Ping, _) if reading => Reply::json(200, &serde_json::json!({}))
                .with("docker-distribution-api-version", "registry/2.0"),
            (Self::Manifest(repo, reference), "PUT") => manifests::put(call, repo, reference),
            (Self::Manifest(repo, reference), "DELETE") => manifests::delete(call, repo, reference),
            (Self::Manifest(repo, reference), _) if reading => manifests::get(call, repo, reference),
            (Self::Blob(repo, digest), "DELETE") => blobs::delete(call, repo, digest),
            (Self::Blob(repo, digest), _) if reading => blobs::get(call, repo, digest),
            (Self::NewUpload(repo), "POST") => blobs::start(call, repo),
            (Self::Upload(repo, id), "PATCH") => blobs::chunk(call, repo, id),
            (Self::Upload(repo, id), "PUT") => blobs::finish(call, repo, id),
            (Self::Upload(repo, id), "DELETE") => blobs::cancel(call, repo, id),
            (Self::Upload(repo, id), _) if reading => blobs::status(call, repo, id),
            (Self::Referrers(repo, digest), _) if reading => referrers::list(call, repo, digest),
            (Self::Tags(repo), _) if reading => tags::list(call, repo),
            (Self::Unknown, _) => Reply::not_found(),
            _ => Reply::error(405, "UNSUPPORTED", "this method is not known here"),
        }
    }
}

/// The parameters of a query or form; `+` is a blank, as servers read it.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pair = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (decode(name), decode(value))
    };
    query.split('&').filter(|w| !w.is_empty()).map(pair).collect()
}
