//! `referrers/<digest>`.

use serde_json::{Value, json};

use super::call::Call;
use super::quirks::{Pages, Quirks};
use super::reply::Reply;
use super::state::{INDEX_TYPES, Manifest, is_digest};

/// GET: an index of the manifests whose subject this is.
pub fn list(call: &mut Call<'_>, repo: &str, subject: &str) -> Reply {
    let quirks = call.quirks;
    if quirks.no_referrers_api {
        return Reply::not_found();
    }
    if quirks.referrers_html {
        return Reply::new(200)
            .with("content-type", "text/html; charset=utf-8")
            .body("<!doctype html><title>Sign in</title>");
    }
    if !is_digest(subject) {
        return Reply::error(400, "DIGEST_INVALID", "invalid digest");
    }
    if quirks.referrers_name_unknown && !call.state.repos.contains_key(repo) {
        return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    }
    let mut entries = entries(call, repo, subject);
    let wanted = call.query("artifactType").map(str::to_owned);
    if let Some(wanted) = wanted.as_ref().filter(|_| !quirks.filter_ignored && !quirks.filter_claimed) {
        entries.retain(|e| e["artifactType"] == **wanted);
    }

    let from = call.query("from").and_then(|n| n.parse().ok()).unwrap_or(0_usize);
    if from > 0 && quirks.referrers_pages == Pages::Broken {
        return Reply::error(500, "UNKNOWN", "the page cannot be made");
    }
    let size = quirks.referrers_page.unwrap_or(usize::MAX);
    let end = from.saturating_add(size).min(entries.len());
    let page = entries.get(from.min(end)..end).unwrap_or_default();
    let next = match quirks.referrers_pages {
        Pages::Loop => Some(from),
        Pages::Endless => Some(from.saturating_add(size.min(1000))),
        Pages::Honest | Pages::Broken => (end < entries.len()).then_some(end),
    };

    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": page});
    let mut reply = Reply::json(200, &index);
    reply.set("content-type", Some(INDEX_TYPES[0].into()));
    if wanted.is_some() && (!quirks.filter_ignored || quirks.filter_claimed) {
        reply = reply.with("oci-filters-applied", "artifactType");
    }
    if let Some(next) = next {
        let filter = call.query("artifactType").map(|t| format!("&artifactType={}", encode(t)));
        let path = format!("/v2/{repo}/referrers/{subject}?from={next}{}", filter.unwrap_or_default());
        reply = reply.with("link", format!("<{}>; rel=\"next\"", call.address(quirks.link, &path)));
    }
    reply
}

/// The descriptor of a referrer as the API lists it.
pub fn entry(quirks: &Quirks, digest: &str, manifest: &Manifest) -> Value {
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": digest,
        "size": manifest.bytes.len(),
    });
    let own = manifest.artifact_type.clone().filter(|_| !quirks.entries_with_config_type);
    let artifact_type = own.or_else(|| manifest.config_type.clone());
    if let Some(artifact_type) = artifact_type.filter(|_| !quirks.entries_without_type) {
        entry["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) = manifest.annotations.clone().filter(|_| !quirks.entries_without_annotations) {
        entry["annotations"] = annotations;
    }
    entry
}

/// The tag under which the tag schema lists the referrers of a digest.
pub fn fallback_tag(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
    format!("{:.32}-{:.64}", algorithm, hex)
}

fn entries(call: &mut Call<'_>, repo: &str, subject: &str) -> Vec<Value> {
    let quirks = call.quirks;
    let Some(stored) = call.state.repos.get_mut(repo) else { return Vec::new() };
    let mut entries = Vec::new();
    for digest in stored.referrers(subject) {
        let Some(manifest) = stored.manifests.get_mut(&digest) else { continue };
        if manifest.hidden_for > 0 {
            manifest.hidden_for -= 1;
            continue;
        }
        entries.push(entry(quirks, &digest, manifest));
    }
    if quirks.fold_fallback_tag {
        let folded = stored.tags.get(&fallback_tag(subject)).and_then(|d| stored.manifests.get(d));
        let doc: Value = folded.and_then(|m| serde_json::from_slice(&m.bytes).ok()).unwrap_or_default();
        let listed = doc["manifests"].as_array().cloned().unwrap_or_default();
        let new: Vec<Value> =
            listed.into_iter().filter(|e| !entries.iter().any(|k| k["digest"] == e["digest"])).collect();
        entries.extend(new);
    }
    entries
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
