//! `tags/list`.

use serde_json::json;

use super::call::Call;
use super::reply::Reply;

/// GET with `n` and `last`.
pub fn list(call: &Call<'_>, repo: &str) -> Reply {
    let quirks = call.quirks;
    let Some(stored) = call.state.repos.get(repo) else {
        return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let answer = |tags: &[&String]| Reply::json(200, &json!({"name": repo, "tags": tags}));
    if quirks.tags_null {
        return Reply::json(200, &json!({"name": repo, "tags": null}));
    }
    let mut tags: Vec<&String> = stored.tags.keys().collect();
    if quirks.tags_unsorted {
        // The reverse of each tag's text: stable, and never the order of the tags.
        tags.sort_by_key(|t| std::cmp::Reverse(t.bytes().rev().collect::<Vec<u8>>()));
        return answer(&tags);
    }
    let n = match call.query("n").map(str::parse::<usize>) {
        None => None,
        Some(Ok(n)) if quirks.tags_n_limit.is_none_or(|limit| n <= limit) => Some(n),
        Some(_) => return Reply::error(400, "PAGINATION_NUMBER_INVALID", "invalid n"),
    };
    if let Some(last) = call.query("last") {
        tags.retain(|t| t.as_str() > last);
    }
    let size = n.unwrap_or(usize::MAX).min(quirks.tags_page.unwrap_or(usize::MAX));
    let page = &tags[..size.min(tags.len())];
    let reply = answer(page);
    match page.last().filter(|_| page.len() < tags.len()) {
        Some(last) => {
            let path = format!("/v2/{repo}/tags/list?n={size}&last={last}");
            reply.with("link", format!("<{}>; rel=\"next\"", call.address(quirks.link, &path)))
        }
        None => reply,
    }
}
