//! An answer before it goes on the wire.

use bytes::Bytes;
use serde_json::{Value, json};

/// Status, headers and the whole body.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    /// An empty answer.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// A JSON document.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status).with("content-type", "application/json").body(value.to_string())
    }

    /// An error document of the specification with one entry.
    pub fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let entry = json!({"code": code, "message": message.into(), "detail": null});
        Self::json(status, &json!({ "errors": [entry] }))
    }

    /// The 404 of a server that does not know the path at all.
    pub fn not_found() -> Self {
        Self::new(404).with("content-type", "text/plain; charset=utf-8").body("404 page not found\n")
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets a header, or takes it away.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|v| (name.to_owned(), v)));
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}
