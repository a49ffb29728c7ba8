//! `blobs/<digest>` and `blobs/uploads/`.

use bytes::Bytes;

use super::call::Call;
use super::reply::Reply;
use super::state::{Upload, digest_matches, is_digest};

/// GET and HEAD, with `Range`.
pub fn get(call: &Call<'_>, repo: &str, digest: &str) -> Reply {
    if !is_digest(digest) {
        return Reply::error(400, "DIGEST_INVALID", "invalid digest");
    }
    let Some(blob) = call.state.blob(repo, digest, call.quirks.blobs_global) else {
        return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    if call.quirks.redirect_blobs && call.method == "GET" {
        let path = format!("{}/store/{repo}/{digest}?signature=a%2Fb%2Bc", call.second);
        return Reply::new(307).with("location", path);
    }
    content(call, digest, blob)
}

/// The bytes of a blob, whole or in part.
pub fn content(call: &Call<'_>, digest: &str, blob: &Bytes) -> Reply {
    let reply = Reply::new(200)
        .with("content-type", "application/octet-stream")
        .with("docker-content-digest", digest);
    let range = call.header("range").filter(|_| !call.quirks.range_ignored);
    match range.map(|r| span(r, blob.len())) {
        None => reply.with("accept-ranges", "bytes").body(blob.clone()),
        Some(None) => Reply::new(416).with("content-range", format!("bytes */{}", blob.len())),
        Some(Some((from, to))) => {
            let mut reply = reply.with("content-range", format!("bytes {from}-{}/{}", to - 1, blob.len()));
            reply.status = 206;
            reply.body(blob.slice(from..to))
        }
    }
}

/// DELETE.
pub fn delete(call: &mut Call<'_>, repo: &str, digest: &str) -> Reply {
    if call.quirks.deletion_disabled {
        return Reply::error(405, "UNSUPPORTED", "the operation is unsupported");
    }
    match call.state.repos.get_mut(repo).and_then(|r| r.blobs.remove(digest)) {
        Some(_) => Reply::new(202),
        None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    }
}

/// POST: mount, single POST, or a new session.
pub fn start(call: &mut Call<'_>, repo: &str) -> Reply {
    if call.quirks.length_required && call.header("content-length").is_none() {
        return Reply::new(411);
    }
    if let Some(digest) = call.query("mount").map(str::to_owned) {
        if let Some(status) = call.quirks.mount_status {
            return Reply::error(status, "UNSUPPORTED", "no mounts here");
        }
        let source = match call.query("from") {
            Some(from) => call.state.blob(from, &digest, false),
            None => call.state.blob(repo, &digest, call.quirks.mount_anonymous),
        };
        let source = source.cloned();
        if let Some(blob) = source.filter(|_| !call.quirks.no_mount) {
            call.state.repo(repo).blobs.insert(digest.clone(), blob);
            return created(repo, &digest);
        }
    } else if let Some(digest) = call.query("digest").filter(|_| !call.quirks.no_single_post) {
        let digest = digest.to_owned();
        return store(call, repo, &digest, call.body.clone());
    }
    call.state.repo(repo);
    let id = hex::encode(random());
    call.state.uploads.insert(id.clone(), Upload { repo: repo.into(), ..Upload::default() });
    let reply = session(call, &id, 202);
    match call.quirks.chunk_min {
        Some(min) => reply.with("oci-chunk-min-length", min.to_string()),
        None => reply,
    }
}

/// PATCH: the next chunk, or a stream without `Content-Range`.
pub fn chunk(call: &mut Call<'_>, repo: &str, id: &str) -> Reply {
    if call.quirks.no_chunks {
        return Reply::error(405, "UNSUPPORTED", "no chunked uploads here");
    }
    if let Err(refusal) = turn(call, repo, id) {
        return refusal;
    }
    if call.quirks.chunk_max.is_some_and(|max| call.body.len() > max) {
        return Reply::error(413, "SIZE_INVALID", "the chunk is too large");
    }
    if !in_order(call, id) {
        return session(call, id, 416);
    }
    let min = call.quirks.chunk_min.unwrap_or(0);
    let kept = call.body.slice(..call.body.len().min(call.quirks.chunk_keeps.unwrap_or(usize::MAX)));
    let short = (kept.len() as u64) < min && call.header("content-range").is_some();
    if let Some(upload) = call.state.uploads.get_mut(id) {
        upload.closed_to_chunks = short;
        upload.data.extend_from_slice(&kept);
        upload.turn += 1;
    }
    session(call, id, 202)
}

/// Keeps what arrived of a PATCH whose connection broke; the session goes on from there.
pub fn keep(call: &mut Call<'_>, repo: &str, id: &str) {
    if turn(call, repo, id).is_ok() && in_order_start(call, id) {
        let part = call.body.clone();
        if let Some(upload) = call.state.uploads.get_mut(id) {
            upload.data.extend_from_slice(&part);
        }
    }
}

/// PUT: the rest of the blob and its digest.
pub fn finish(call: &mut Call<'_>, repo: &str, id: &str) -> Reply {
    if call.quirks.length_required && call.header("content-length").is_none() {
        return Reply::new(411);
    }
    if let Err(refusal) = turn(call, repo, id) {
        return refusal;
    }
    if call.quirks.put_max.is_some_and(|max| call.body.len() > max) {
        return Reply::error(413, "SIZE_INVALID", "the blob is too large");
    }
    let Some(digest) = call.query("digest").map(str::to_owned) else {
        return Reply::error(400, "DIGEST_INVALID", "no digest");
    };
    if call.header("content-range").is_some() && !in_order(call, id) {
        return session(call, id, 416);
    }
    let Some(upload) = call.state.uploads.remove(id) else { return Reply::not_found() };
    let data = if upload.data.is_empty() {
        call.body.clone()
    } else {
        let mut data = upload.data;
        data.extend_from_slice(&call.body);
        data.into()
    };
    store(call, repo, &digest, data)
}

/// GET: how far the session is.
pub fn status(call: &Call<'_>, repo: &str, id: &str) -> Reply {
    match call.state.uploads.get(id) {
        Some(upload) if upload.repo == repo => session(call, id, 204),
        _ => Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    }
}

/// DELETE of a session.
pub fn cancel(call: &mut Call<'_>, repo: &str, id: &str) -> Reply {
    match call.state.uploads.get(id) {
        Some(upload) if upload.repo == repo => {
            call.state.uploads.remove(id);
            Reply::new(204)
        }
        _ => Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    }
}

fn store(call: &mut Call<'_>, repo: &str, digest: &str, data: Bytes) -> Reply {
    match digest_matches(digest, &data) {
        Some(true) => {}
        Some(false) if call.quirks.wrong_digest_accepted => {}
        _ => return Reply::error(400, "DIGEST_INVALID", "the digest is not that of the content"),
    }
    if call.quirks.no_empty && data.is_empty() {
        return Reply::error(400, "SIZE_INVALID", "an empty blob");
    }
    call.state.repo(repo).blobs.insert(digest.into(), data);
    created(repo, digest)
}

fn created(repo: &str, digest: &str) -> Reply {
    Reply::new(201)
        .with("location", format!("/v2/{repo}/blobs/{digest}"))
        .with("docker-content-digest", digest)
}

/// Location and range of a session. The location changes at each turn, and its parameter must be kept.
fn session(call: &Call<'_>, id: &str, status: u16) -> Reply {
    let Some(upload) = call.state.uploads.get(id) else { return Reply::not_found() };
    let path = format!("/v2/{}/blobs/uploads/{id}?_state=t%2B{}", upload.repo, upload.turn);
    let reply = Reply::new(status)
        .with("location", call.address(call.quirks.upload_location, &path))
        .with("docker-upload-uuid", id);
    match upload.data.len() {
        // docker-registry's form for nothing at all; the specification has none.
        0 => reply.with("range", "0-0"),
        n => reply.with("range", format!("0-{}", n - 1)),
    }
}

/// Refuses a session that does not exist, and a location that is not the latest.
fn turn(call: &Call<'_>, repo: &str, id: &str) -> Result<(), Reply> {
    let upload = call.state.uploads.get(id).filter(|u| u.repo == repo);
    let upload =
        upload.ok_or_else(|| Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"))?;
    if call.query("_state") == Some(&format!("t+{}", upload.turn)) {
        Ok(())
    } else {
        Err(Reply::error(400, "BLOB_UPLOAD_INVALID", "not the latest location"))
    }
}

/// Whether the chunk starts where the session stands, has the length it says, and may still come.
fn in_order(call: &Call<'_>, id: &str) -> bool {
    let Some(range) = call.header("content-range") else { return true };
    let ends =
        range.split_once('-').and_then(|(a, b)| Some((a.parse::<usize>().ok()?, b.parse::<usize>().ok()?)));
    let length = ends.map(|(a, b)| (b + 1).saturating_sub(a));
    let last = call.method == "PUT";
    let open = call.state.uploads.get(id).is_some_and(|u| last || !u.closed_to_chunks);
    open && length == Some(call.body.len()) && in_order_start(call, id)
}

fn in_order_start(call: &Call<'_>, id: &str) -> bool {
    let Some(range) = call.header("content-range") else { return true };
    let start = range.split_once('-').and_then(|(a, _)| a.parse().ok());
    call.state.uploads.get(id).is_some_and(|u| start == Some(u.data.len()))
}

/// The half-open span that a `Range` header asks for; none when it cannot be satisfied.
fn span(range: &str, size: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.checked_add(1)?.min(size)),
    };
    (from < to).then_some((from, to))
}

/// Sixteen bytes that nobody can guess.
pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        unreachable!("the system has no randomness");
    }
    bytes
}
