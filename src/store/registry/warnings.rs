//! `Warning: 299 - "text"` of registries (distribution-spec "Warnings"): for people, once each, never acted on.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{HeaderMap, WARNING};

use super::answer::clean;

/// Most warnings that are kept in a run.
const MAX_WARNINGS: usize = 32;

/// Longest header that is read, in bytes: the specification's own limit.
const MAX_HEADER: usize = 4096;

/// What a registry wants people to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The registry host.
    pub host: String,
    /// Its words, without control characters and capped.
    pub text: String,
}

/// The warnings of all hosts of a run.
#[derive(Default)]
pub(super) struct Warnings(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    seen: HashSet<Warning>,
    new: Vec<Warning>,
}

impl Warnings {
    /// Keep what the headers of an answer of `host` say.
    pub(super) fn note(&self, host: &str, headers: &HeaderMap) {
        let values = headers.get_all(WARNING).iter().filter_map(|v| v.to_str().ok());
        for text in values.filter(|v| v.len() <= MAX_HEADER).filter_map(text_of) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let warning = Warning { host: host.to_owned(), text };
            if kept.seen.len() < MAX_WARNINGS && kept.seen.insert(warning.clone()) {
                kept.new.push(warning);
            }
        }
    }

    /// Those that were not taken before.
    pub(super) fn take(&self) -> Vec<Warning> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).new)
    }
}

/// The text of `299 - "text"`; other codes and forms are not the specification's.
fn text_of(value: &str) -> Option<String> {
    let quoted = value.strip_prefix("299 - \"")?;
    let (mut text, mut escaped) = (String::new(), false);
    for c in quoted.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => break,
            _ => {
                text.push(c);
                escaped = false;
            }
        }
    }
    let text = clean(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|v| (WARNING, reqwest::header::HeaderValue::from_bytes(v).unwrap())).collect()
    }

    #[test]
    fn each_text_is_kept_once_and_cleaned() {
        let warnings = Warnings::default();
        let all = headers(&[
            b"299 - \"Your quota\tis \\\"low\\\"\"",
            b"199 - \"other code\"",
            b"299 agent \"other agent\"",
            b"299 - unquoted",
            b"299 - \"\"",
            b"299 - \"not text \xff\"",
        ]);
        warnings.note("r.example", &all);
        warnings.note("r.example", &all);
        let want = Warning { host: "r.example".into(), text: "Your quota is \"low\"".into() };
        assert_eq!(warnings.take(), [want]);
        warnings.note("r.example", &all);
        assert_eq!(warnings.take(), []);
        warnings.note("s.example", &all);
        assert_eq!(warnings.take().len(), 1);
    }

    #[test]
    fn number_and_length_are_capped() {
        let warnings = Warnings::default();
        for i in 0..100 {
            warnings.note("r.example", &headers(&[format!("299 - \"{i} {}\"", "x".repeat(900)).as_bytes()]));
        }
        warnings.note("r.example", &headers(&[format!("299 - \"{}\"", "x".repeat(5000)).as_bytes()]));
        let kept = warnings.take();
        assert_eq!(kept.len(), MAX_WARNINGS);
        assert!(kept.iter().all(|w| w.text.chars().count() <= 200));
    }
}
