//! Lists in pages (RFC 8288 `Link`, distribution-spec "Listing Tags" and "Listing Referrers").

use std::collections::HashSet;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};

use super::answer::Small;
use super::http::{self, Call, Host};
use crate::store::Failure;

/// The pages already seen of one list.
pub(super) struct Pages {
    seen: HashSet<String>,
    most: usize,
}

impl Pages {
    /// At most `most` pages.
    pub(super) fn new(most: usize) -> Self {
        Self { seen: HashSet::new(), most }
    }

    /// The request for the page after `page`, if it names one. Another host, a loop or too many pages are errors:
    /// a list that ends early would hide entries.
    pub(super) fn next(&mut self, page: &Small, host: &Host) -> Result<Option<Call>, Failure> {
        self.seen.insert(page.url.to_string());
        let Some(target) = next_link(&page.headers) else { return Ok(None) };
        let url: Url = http::resolve(&page.url, &target)?;
        if !host.is_own(&url) {
            let text =
                format!("the next page of the list is at another host, {}", super::tls::authority(&url));
            return Err(Failure::Protocol(text));
        }
        if self.seen.contains(url.as_str()) {
            return Err(Failure::Protocol("the pages of the list form a loop".into()));
        }
        if self.seen.len() >= self.most {
            return Err(Failure::TooLarge { what: "the list".into(), limit: format!("{} pages", self.most) });
        }
        Ok(Some(Call::new(Method::GET, url)))
    }
}

/// The target of the link with `rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(links).find(|(_, next)| *next).map(|(target, _)| target)
}

/// Targets, and whether each is the next page.
fn links(value: &str) -> Vec<(String, bool)> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, r)| r.split_once('>')) {
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after[..end].split([';', ',']).any(|param| {
            let (key, value) = param.split_once('=').unwrap_or((param, ""));
            key.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split_ascii_whitespace()
                    .any(|r| r.eq_ignore_ascii_case("next"))
        });
        out.push((target.to_owned(), is_next));
        rest = &after[end..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_link() {
        let next = |values: &[&str]| next_link(&values.iter().map(|v| (LINK, v.parse().unwrap())).collect());
        assert_eq!(
            next(&[r#"</v2/a/tags/list?last=x&n=1>; rel="next""#]).as_deref(),
            Some("/v2/a/tags/list?last=x&n=1")
        );
        assert_eq!(next(&[r#"<a>; rel=prev, <b>;title="x";rel="last next""#]).as_deref(), Some("b"));
        assert_eq!(next(&["<a>;rel=first", "<c>; REL=Next"]).as_deref(), Some("c"));
        for none in ["", "<a>", "a; rel=next", r#"<a>; rel="nextone""#, "<a"] {
            assert_eq!(next(&[none]), None, "{none}");
        }
    }
}
