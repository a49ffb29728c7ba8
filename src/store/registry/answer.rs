//! Answers of a registry: read under a cap, and what their errors mean.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode, Url};
use serde_json::value::RawValue;

use super::RegistryConfig;
use crate::store::Failure;

/// Most of an error document that is read, in bytes.
pub(super) const MAX_ERROR_BYTES: u64 = 64 * 1024;

/// Longest text of a registry that an error carries, in characters.
const MAX_TEXT: usize = 200;

/// An answer that was read whole.
pub(super) struct Small {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) body: Bytes,
    /// What to add to a refusal.
    pub(super) note: &'static str,
}

impl Small {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type, without parameters (distribution-spec "Pulling manifests").
    pub(super) fn media_type(&self) -> Option<&str> {
        let full = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let bare = full.split(';').next().unwrap_or(full).trim();
        (!bare.is_empty()).then_some(bare)
    }

    /// Whether the error document names this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        errors(&self.body).iter().any(|(c, _)| c == code)
    }

    /// Whether the body is an error document of a registry (distribution-spec "Error Codes").
    pub(super) fn has_errors(&self) -> bool {
        !errors(&self.body).is_empty()
    }

    /// What a status that is no success means.
    pub(super) fn failure(&self) -> Failure {
        match failure_of(self.status, self.body.clone()) {
            Failure::Unauthorized(text) => Failure::Unauthorized(format!("{text}{}", self.note)),
            other => other,
        }
    }
}

/// What a status and an error document mean (distribution-spec "Error Codes").
pub(super) fn failure_of(status: StatusCode, body: impl AsRef<[u8]>) -> Failure {
    let told = errors(body.as_ref());
    let text = if told.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").to_owned()
    } else {
        let lines = told.iter().map(|(code, message)| match (code.as_str(), message.as_str()) {
            (c, "") => match words_of(c) {
                Some(words) => format!("{c}: {words}"),
                None => c.to_owned(),
            },
            ("", m) => m.to_owned(),
            (c, m) => format!("{c}: {m}"),
        });
        clean(&lines.collect::<Vec<_>>().join("; "))
    };
    let number = status.as_u16();
    match number {
        401 => Failure::Unauthorized(text),
        403 => Failure::Denied(text),
        404 => Failure::NotFound,
        429 => Failure::TooManyRequests(text),
        500..=599 => Failure::Server { status: number, text },
        400..=499 => Failure::Refused { status: number, text },
        _ => Failure::Protocol(format!("status {number}")),
    }
}

/// What a code means, for registries that say no more (distribution-spec "Error Codes").
fn words_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "BLOB_UNKNOWN" => "the registry does not have the blob",
        "BLOB_UPLOAD_INVALID" => "the upload is not valid",
        "BLOB_UPLOAD_UNKNOWN" => "the registry does not know the upload",
        "DIGEST_INVALID" => {
            "the digest is not that of the content, or of a kind that the registry does not know"
        }
        "MANIFEST_BLOB_UNKNOWN" => "the manifest names a blob or manifest that the registry does not have",
        "MANIFEST_INVALID" => "the registry does not take the manifest",
        "MANIFEST_UNKNOWN" => "the registry does not have the manifest",
        "NAME_INVALID" => "the registry does not take the repository name",
        "NAME_UNKNOWN" => "the registry does not have the repository",
        "SIZE_INVALID" => "the length is not that of the content, or more than the registry takes",
        "UNAUTHORIZED" => "the registry wants to know who asks",
        "DENIED" => "access is not allowed",
        "UNSUPPORTED" => "the registry does not do that",
        "TOOMANYREQUESTS" => "too many requests",
        _ => return None,
    })
}

/// Text of a server for people: no control or direction characters, at most 200 characters.
pub(super) fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        c if c.is_whitespace() => Some(' '),
        c if c.is_control() => None,
        c => Some(c),
    };
    let mut kept: String = text.chars().filter_map(shown).take(MAX_TEXT + 1).collect();
    if kept.chars().count() > MAX_TEXT {
        kept = kept.chars().take(MAX_TEXT - 1).collect();
        kept.push('…');
    }
    kept
}

/// Codes and messages of `{"errors":[{"code","message"}]}`; token servers also answer `{"details"}` or `{"error"}`.
/// Other members, such as `detail`, may be of any kind and depth: they are passed over, not read.
fn errors(body: &[u8]) -> Vec<(String, String)> {
    let body = String::from_utf8_lossy(body);
    let Some(document) = members(&body) else { return Vec::new() };
    let list = document.get("errors").and_then(|e| serde_json::from_str::<Vec<&RawValue>>(e.get()).ok());
    if let Some(list) = list {
        let entries = list.into_iter().take(4).filter_map(|e| members(e.get()));
        let each = entries.map(|e| (text(&e, "code"), text(&e, "message")));
        return each.filter(|(c, m)| !c.is_empty() || !m.is_empty()).collect();
    }
    let message = ["details", "error_description", "message"].map(|key| text(&document, key));
    let message = message.into_iter().find(|m| !m.is_empty()).unwrap_or_default();
    let code = text(&document, "error");
    if code.is_empty() && message.is_empty() { Vec::new() } else { vec![(code, message)] }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}

/// A member that is text; anything else says nothing.
fn text(members: &Members<'_>, key: &str) -> String {
    members.get(key).and_then(|m| serde_json::from_str(m.get()).ok()).unwrap_or_default()
}

/// The start of an error document: an error about an error helps nobody.
pub(super) async fn read_error(config: &RegistryConfig, mut response: Response) -> Bytes {
    let mut out = Vec::new();
    let read = async {
        while let Ok(Some(piece)) = response.chunk().await {
            let room = MAX_ERROR_BYTES as usize - out.len();
            out.extend_from_slice(&piece[..piece.len().min(room)]);
            if out.len() as u64 >= MAX_ERROR_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(config.timeouts.idle.min(std::time::Duration::from_secs(10)), read).await;
    out.into()
}

/// A whole body of at most `cap` bytes.
pub(super) async fn read_capped(
    config: &RegistryConfig,
    mut response: Response,
    cap: u64,
) -> Result<Bytes, Failure> {
    let too_large = || Failure::TooLarge { what: "the answer".into(), limit: format!("{cap} bytes") };
    if response.content_length().is_some_and(|n| n > cap) {
        return Err(too_large());
    }
    let mut out = Vec::new();
    loop {
        let piece = tokio::time::timeout(config.timeouts.idle, response.chunk())
            .await
            .map_err(|_| Failure::Interrupted("no byte came for too long".into()))?
            .map_err(|e| Failure::Interrupted(super::trouble::causes(&e)))?;
        let Some(piece) = piece else { return Ok(out.into()) };
        if (out.len() + piece.len()) as u64 > cap {
            return Err(too_large());
        }
        out.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str) -> Failure {
        failure_of(StatusCode::from_u16(status).unwrap(), body)
    }

    #[test]
    fn codes_and_messages_are_kept_capped_and_cleaned() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\n access\u202e","detail":{"x":1}},{"code":"X"}]}"#;
        assert_eq!(failure(403, body), Failure::Denied("DENIED: no[31m  access; X".into()));
        let long = format!(r#"{{"errors":[{{"code":"DENIED","message":"{}"}}]}}"#, "x".repeat(5000));
        assert!(matches!(failure(403, &long), Failure::Denied(t) if t.chars().count() == 200));
    }

    #[test]
    fn details_of_any_kind_and_unknown_codes_do_not_hide_the_words() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for detail in ["null", "1", "-1.5e300", "\"x\"", "[1,[2]]", r#"{"a":{"b":[null]}}"#, &deep] {
            let entry =
                format!(r#"{{"detail":{detail},"code":"NEW_CODE","message":"words","more":{detail}}}"#);
            let body =
                format!(r#"{{"errors":[{entry},7,null,{{"code":3,"message":"only"}}],"more":{detail}}}"#);
            let want = Failure::Refused { status: 400, text: "NEW_CODE: words; only".into() };
            assert_eq!(failure(400, &body), want, "{}", &detail[..detail.len().min(20)]);
        }
        let latin = [&br#"{"errors":[{"code":"DENIED","message":"no "#[..], b"\xe9", br#""}]}"#].concat();
        assert_eq!(failure_of(StatusCode::FORBIDDEN, latin), Failure::Denied("DENIED: no \u{fffd}".into()));
    }

    #[test]
    fn other_bodies_give_the_status_words() {
        for body in
            ["", "<html>", "[]", "{}", r#"{"errors":{}}"#, r#"{"errors":[{}]}"#, r#"{"errors":[null]}"#]
        {
            assert_eq!(failure(403, body), Failure::Denied("Forbidden".into()), "{body}");
        }
        assert_eq!(failure(404, "<html>"), Failure::NotFound);
        assert_eq!(failure(503, ""), Failure::Server { status: 503, text: "Service Unavailable".into() });
        assert_eq!(failure(413, ""), Failure::Refused { status: 413, text: "Payload Too Large".into() });
        assert_eq!(
            failure(401, r#"{"details":"wrong password"}"#),
            Failure::Unauthorized("wrong password".into())
        );
    }
}
