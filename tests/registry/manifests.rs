//! `manifests/<reference>`: GET, HEAD, PUT, DELETE.

use serde_json::{Value, json};

use super::call::Call;
use super::faults::glob;
use super::quirks::Quirks;
use super::referrers::{entry, fallback_tag};
use super::reply::Reply;
use super::state::{
    IMAGE_TYPES, INDEX_TYPES, Manifest, Repo, State, digest_matches, is_digest, is_tag, sha256,
};

/// GET and HEAD.
pub fn get(call: &mut Call<'_>, repo: &str, reference: &str) -> Reply {
    let by_tag = !reference.contains(':');
    if !by_tag && !is_digest(reference) {
        return Reply::error(400, "DIGEST_INVALID", "invalid digest");
    }
    if by_tag && !is_tag(reference) {
        return Reply::error(400, "TAG_INVALID", "invalid tag");
    }
    let digest = if by_tag { read_tag(call, repo, reference) } else { Some(reference.into()) };
    let found = digest.as_ref().and_then(|d| call.state.manifest(repo, d));
    let accepted = |m: &Manifest| !call.quirks.accept_required || accepts(call, &m.media_type);
    let reply = match found {
        Some((digest, manifest)) if accepted(manifest) => {
            let mut reply = Reply::new(200)
                .with("content-type", &manifest.media_type)
                .with("docker-content-digest", &digest)
                .body(manifest.bytes.clone());
            if call.quirks.etags {
                reply = reply.with("etag", format!("\"{digest}\""));
            }
            reply
        }
        _ if call.quirks.missing_is_forbidden => Reply::error(403, "DENIED", "not found, or not for you"),
        _ if !call.state.repos.contains_key(repo) => {
            Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry")
        }
        _ => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    };
    if by_tag {
        call.script.was_read(call.state, repo, reference);
    }
    reply
}

/// PUT.
pub fn put(call: &mut Call<'_>, repo: &str, reference: &str) -> Reply {
    let body = call.body.clone();
    if call.quirks.manifest_limit.is_some_and(|limit| body.len() > limit) {
        let (status, code) =
            if call.quirks.limit_is_invalid { (400, "MANIFEST_INVALID") } else { (413, "SIZE_INVALID") };
        return Reply::error(status, code, "the manifest is too large");
    }
    let by_tag = !reference.contains(':');
    let digest = if by_tag {
        if !is_tag(reference) {
            return Reply::error(400, "TAG_INVALID", "invalid tag");
        }
        sha256(&body)
    } else {
        match digest_matches(reference, &body) {
            Some(true) if !call.quirks.no_sha512 || reference.starts_with("sha256:") => {}
            Some(false) if call.quirks.wrong_digest_accepted => {}
            _ => return Reply::error(400, "DIGEST_INVALID", "the digest is not that of the content"),
        }
        reference.into()
    };
    let media_type = call.header("content-type").unwrap_or_default().to_owned();
    if let Err(refusal) = check(call.state, call.quirks, repo, &media_type, &body) {
        return refusal;
    }
    let previous = call.state.repos.get(repo).and_then(|r| r.tags.get(reference)).cloned();
    if by_tag && let Err(refusal) = may_move(call, reference, previous.as_deref(), &digest) {
        return refusal;
    }

    let mut manifest = Manifest::new(&media_type, body);
    manifest.hidden_for = call.quirks.referrers_lag;
    let subject = manifest.subject.clone();
    let stored = call.state.repo(repo);
    if call.quirks.subject_not_indexed && subject.is_some() {
        stored.unlisted.insert(digest.clone());
    }
    stored.put_manifest(&digest, manifest);
    if let Some(subject) = subject.as_deref().filter(|_| call.quirks.writes_fallback_tag) {
        write_fallback(stored, subject);
    }
    if by_tag {
        if call.quirks.stale_reads > 0 {
            stored.stale.insert(reference.into(), (previous.clone(), call.quirks.stale_reads));
        }
        stored.tags.insert(reference.into(), digest.clone());
        call.script.written(call.state, repo, reference, previous);
    }

    let mut reply = Reply::new(201).with("docker-content-digest", &digest);
    if !call.quirks.no_location {
        reply = reply.with("location", format!("/v2/{repo}/manifests/{digest}"));
    }
    let indexed = !call.quirks.no_oci_subject && !call.quirks.no_referrers_api;
    let announced = subject.filter(|_| indexed || call.quirks.subject_claimed);
    announced.into_iter().fold(reply, |reply, subject| reply.with("oci-subject", subject))
}

/// DELETE.
pub fn delete(call: &mut Call<'_>, repo: &str, reference: &str) -> Reply {
    if call.quirks.deletion_disabled {
        return Reply::error(405, "UNSUPPORTED", "the operation is unsupported");
    }
    let by_tag = !reference.contains(':');
    if by_tag && call.quirks.tag_deletion_unsupported {
        return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let Some(stored) = call.state.repos.get_mut(repo) else {
        return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let gone =
        if by_tag { stored.tags.remove(reference).is_some() } else { stored.remove_manifest(reference) };
    if gone { Reply::new(202) } else { Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown") }
}

/// What a read of the tag sees.
fn read_tag(call: &mut Call<'_>, repo: &str, tag: &str) -> Option<String> {
    if let Some(pinned) = call.script.pinned(repo, tag) {
        return pinned;
    }
    let stored = call.state.repos.get_mut(repo)?;
    if let Some((old, reads)) = stored.stale.get_mut(tag).filter(|(_, reads)| *reads > 0) {
        *reads -= 1;
        return old.clone();
    }
    stored.tags.get(tag).cloned().or_else(|| {
        let alias = tag.strip_prefix("sha256-").filter(|_| call.quirks.gitlab_alias)?;
        Some(format!("sha256:{alias}"))
    })
}

fn accepts(call: &Call<'_>, media_type: &str) -> bool {
    let words = call.headers.get_all("accept").iter().filter_map(|v| v.to_str().ok());
    words
        .flat_map(|line| line.split(','))
        .map(|word| word.split(';').next().unwrap_or_default().trim())
        .any(|word| word == media_type || word == "*/*")
}

fn may_move(call: &Call<'_>, tag: &str, previous: Option<&str>, digest: &str) -> Result<(), Reply> {
    let changes = previous.is_some_and(|p| p != digest);
    if changes && call.quirks.immutable_tags.as_ref().is_some_and(|pattern| glob(pattern, tag)) {
        let why = format!("the tag {tag} exists and cannot be overwritten");
        return Err(Reply::error(400, "TAG_INVALID", why));
    }
    if call.quirks.etags {
        let is = |etag: &str| previous.is_some_and(|p| etag == "*" || etag == format!("\"{p}\""));
        let lost = call.header("if-match").is_some_and(|e| !is(e));
        if lost || call.header("if-none-match").is_some_and(is) {
            return Err(Reply::error(412, "DENIED", "the tag is not what the condition says"));
        }
    }
    Ok(())
}

/// Whether a manifest is well-formed and names only what is there.
fn check(state: &State, quirks: &Quirks, repo: &str, media_type: &str, body: &[u8]) -> Result<(), Reply> {
    let invalid = |why: &str| Reply::error(400, "MANIFEST_INVALID", why);
    let doc: Value = serde_json::from_slice(body).map_err(|_| invalid("no JSON"))?;
    let image = IMAGE_TYPES.contains(&media_type);
    if !image && !INDEX_TYPES.contains(&media_type) {
        return Err(invalid("the content type is not that of a manifest"));
    }
    if doc.get("mediaType").is_some_and(|m| m != media_type) {
        return Err(invalid("mediaType and content type differ"));
    }
    if doc["schemaVersion"] != 2 || (doc.get("layers").is_some() && doc.get("manifests").is_some()) {
        return Err(invalid("no schema version 2, or both manifest and index"));
    }
    if let Some(subject) = doc.get("subject")
        && !subject["digest"].as_str().is_some_and(is_digest)
    {
        return Err(invalid("the subject is no descriptor"));
    }
    let list = |name: &str| doc[name].as_array().into_iter().flatten();
    if image {
        if quirks.no_empty && list("layers").next().is_none() {
            return Err(invalid("no layers"));
        }
        list("layers").chain([&doc["config"]]).try_for_each(|d| check_blob(state, quirks, repo, d))
    } else {
        list("manifests").try_for_each(|d| check_child(state, quirks, repo, d))
    }
}

fn check_blob(state: &State, quirks: &Quirks, repo: &str, descriptor: &Value) -> Result<(), Reply> {
    let digest = descriptor["digest"].as_str().filter(|d| is_digest(d));
    let digest = digest.ok_or_else(|| Reply::error(400, "MANIFEST_INVALID", "a digest is malformed"))?;
    let foreign = descriptor["urls"].as_array().is_some_and(|urls| !urls.is_empty());
    match state.blob(repo, digest, quirks.blobs_global) {
        Some(blob) if descriptor["size"] != blob.len() && !quirks.wrong_digest_accepted => {
            Err(Reply::error(400, "MANIFEST_INVALID", format!("{digest} has another size")))
        }
        None if !quirks.sparse_ok && !foreign => Err(unknown(digest)),
        _ => Ok(()),
    }
}

fn check_child(state: &State, quirks: &Quirks, repo: &str, descriptor: &Value) -> Result<(), Reply> {
    let digest = descriptor["digest"].as_str().filter(|d| is_digest(d));
    let digest = digest.ok_or_else(|| Reply::error(400, "MANIFEST_INVALID", "a digest is malformed"))?;
    let there = state.repos.get(repo).is_some_and(|r| r.manifests.contains_key(digest));
    if there || quirks.sparse_ok { Ok(()) } else { Err(unknown(digest)) }
}

fn unknown(digest: &str) -> Reply {
    Reply::error(400, "MANIFEST_BLOB_UNKNOWN", format!("{digest} is unknown"))
}

/// Rewrites the tag `sha256-<hex>` from what the repository knows, as Google's registry does.
fn write_fallback(repo: &mut Repo, subject: &str) {
    let listed = repo.referrers(subject);
    let plain = Quirks::default();
    let entries: Vec<Value> =
        listed.iter().filter_map(|d| repo.manifests.get(d).map(|m| entry(&plain, d, m))).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": entries}).to_string();
    let digest = sha256(index.as_bytes());
    repo.put_manifest(&digest, Manifest::new(INDEX_TYPES[0], index.into()));
    repo.tags.insert(fallback_tag(subject), digest);
}
