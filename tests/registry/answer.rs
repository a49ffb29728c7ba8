//! What becomes of a reply: faults falsify it, and it takes hyper's form.

use bytes::Bytes;
use hyper::{Response, header};

use super::faults::{Action, Hit};
use super::quirks::Quirks;
use super::reply::Reply;
use super::wire::{Cut, Outgoing, Watch, Watched, endless, full, truncated, unsized_body};

/// The reply that a fault gives instead of the endpoint's.
pub fn scripted(hits: &[Hit]) -> Option<(Reply, &Hit)> {
    hits.iter().find_map(|hit| {
        let reply = match &hit.action {
            Action::Status { status, code, retry_after } => {
                let reply = Reply::error(*status, code, "a scripted fault");
                retry_after.iter().fold(reply, |reply, value| reply.with("retry-after", value))
            }
            Action::Answer { status, content_type, body } => {
                Reply::new(*status).with("content-type", content_type).body(body.clone())
            }
            Action::Redirect(to) => Reply::new(307).with("location", to),
            _ => return None,
        };
        Some((reply, hit))
    })
}

/// Puts the reply on the wire, with what quirks and faults do to it.
pub fn respond(
    quirks: &Quirks,
    hits: &[Hit],
    cut: &Cut,
    head: bool,
    mut reply: Reply,
    watch: Watch,
) -> Response<Watched> {
    if quirks.no_content_digest {
        reply.set("docker-content-digest", None);
    }
    if let Some(text) = &quirks.warning {
        reply.set("warning", Some(format!("299 - \"{text}\"")));
    }
    let mut length = Some(reply.body.len());
    let mut make: fn(Bytes) -> Outgoing = full;
    if quirks.no_content_length {
        length = None;
        make = unsized_body;
    }
    for hit in hits {
        match &hit.action {
            Action::Truncate(n) if *n < reply.body.len() => {
                reply.body.truncate(*n);
                make = truncated;
            }
            Action::Shorten(n) => {
                reply.body.truncate(*n);
                length = Some(reply.body.len());
            }
            Action::Reset(n) => cut.after(*n),
            Action::WrongBytes => reply.body = flipped(&reply.body),
            Action::Endless => {
                length = None;
                make = endless;
            }
            Action::Header { name, value } => reply.set(name, value.clone()),
            _ => {}
        }
    }
    plain(reply, length, |body| Watched::new(if head { full(Bytes::new()) } else { make(body) }, watch))
}

/// Status, headers and body in hyper's form.
pub fn plain(reply: Reply, length: Option<usize>, body: impl FnOnce(Bytes) -> Watched) -> Response<Watched> {
    let mut response = Response::new(body(reply.body));
    *response.status_mut() = reply.status.try_into().unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let length = length.filter(|_| reply.status != 204).map(|n| ("content-length".into(), n.to_string()));
    for (name, value) in reply.headers.into_iter().chain(length) {
        let name = header::HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, header::HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The body with one bit flipped in its middle.
fn flipped(body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}
