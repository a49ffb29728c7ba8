//! Delegations: who may speak for which target paths (TUF specification 4.5, `delegations`).

mod overlap;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::grant::Terms;
use super::metadata::{field, typed};
use super::root::{RawRole, role_keys};
use super::{Fault, RoleKeys, RoleName};
use crate::oci::Digest;
use crate::sig::KeyId;

/// One delegated role, in the delegator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The role.
    pub name: RoleName,
    /// Its keys and threshold.
    pub keys: RoleKeys,
    /// What it may speak for.
    pub paths: Paths,
    /// Whether the search ends here when the path matches.
    pub terminating: bool,
    /// `x-bulla`: on which terms it was granted.
    pub terms: Option<Terms>,
}

/// Longest path pattern and longest target path, bytes: matching takes the product of both.
pub(super) const MAX_PATH: usize = 1_024;

/// What a delegation covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// Glob patterns.
    Patterns(Vec<PathPattern>),
    /// Prefixes of the SHA-256 of the target path, lower-case hex.
    HashPrefixes(Vec<String>),
}

/// A PATHPATTERN: per `/` segment `*` and `?`, which never cross a `/`; case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern(String);

impl Paths {
    /// Whether `path` is covered.
    pub fn cover(&self, path: &str) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|p| p.matches(path)),
            Self::HashPrefixes(prefixes) => {
                let hash = Digest::sha256(path.as_bytes());
                prefixes.iter().any(|p| hash.hex().starts_with(p.as_str()))
            }
        }
    }
}

impl PathPattern {
    /// Read a pattern.
    ///
    /// # Errors
    /// Bracket expressions: implementations differ on them, so they are refused. More than 1,024 bytes.
    pub fn parse(pattern: &str) -> Result<Self, Fault> {
        if pattern.len() > MAX_PATH {
            return Err(Fault::Cap { what: "bytes of a path pattern", limit: MAX_PATH });
        }
        if pattern.is_empty() || pattern.contains(['[', ']', '\\']) {
            return Err(Fault::Format(format!("malformed path pattern \"{pattern}\"")));
        }
        Ok(Self(pattern.to_owned()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let (mut patterns, mut parts) = (self.0.split('/'), path.split('/'));
        loop {
            match (patterns.next(), parts.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part)) if segment_matches(pattern, part) => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Glob within one segment, in linear space and at worst quadratic time.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[derive(Deserialize)]
struct RawDelegation {
    name: RoleName,
    #[serde(flatten)]
    role: RawRole,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
    terminating: bool,
    #[serde(rename = "x-bulla")]
    terms: Option<Value>,
}

/// Read `delegations` of a targets file.
pub(super) fn read_delegations(
    delegations: &Value,
    faulty: &mut Option<Fault>,
) -> Result<Vec<Delegation>, Fault> {
    let keys: BTreeMap<KeyId, Value> = field(delegations, "keys")?;
    let raw: Vec<RawDelegation> = field(delegations, "roles")?;
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for r in raw {
        if r.name.is_top_level() {
            return Err(Fault::Format(format!("delegation to the top-level role \"{}\"", r.name)));
        }
        if !seen.insert(r.name.clone()) {
            return Err(Fault::Format(format!("two delegations to \"{}\"", r.name)));
        }
        let paths = match (r.paths, r.path_hash_prefixes) {
            (Some(paths), None) => {
                Paths::Patterns(paths.iter().map(|p| PathPattern::parse(p)).collect::<Result<_, _>>()?)
            }
            (None, Some(prefixes)) => {
                let legal = |p: &String| {
                    p.len() <= 64 && p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                };
                if !prefixes.iter().all(legal) {
                    return Err(Fault::Format(format!(
                        "delegation to \"{}\": a malformed hash prefix",
                        r.name
                    )));
                }
                Paths::HashPrefixes(prefixes)
            }
            _ => {
                let why = "needs exactly one of paths and path_hash_prefixes";
                return Err(Fault::Format(format!("delegation to \"{}\" {why}", r.name)));
            }
        };
        let keys = role_keys(&keys, r.role, faulty)?;
        // Notes of other making are nobody's terms; a malformed lifetime must not silently be none.
        let terms = r.terms.as_ref().filter(|x| x.get("lifetime").is_some()).map(typed).transpose()?;
        out.push(Delegation { name: r.name, keys, paths, terminating: r.terminating, terms });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        let m = |p: &str, t: &str| PathPattern::parse(p).unwrap().matches(t);
        assert!(m("ex.com/a/b:*", "ex.com/a/b:v1"));
        assert!(!m("ex.com/a/b:*", "ex.com/a/b@sha256:00"));
        assert!(!m("ex.com/a/b:*", "ex.com/a/b:v1/x"));
        assert!(!m("ex.com/*", "ex.com/a/b"));
        assert!(m("a/*/*.link", "a/x/y.link"));
        assert!(m("*", "x") && !m("*", "x/y") && m("a*c*e", "abcde") && !m("a*c*e", "abcd") && m("?b", "ab"));
        assert!(m("**", "") && !m("A", "a"));
        assert!(PathPattern::parse("[a]").is_err());
        assert!(
            PathPattern::parse(&"*a".repeat(512)).is_ok() && PathPattern::parse(&"*a".repeat(513)).is_err()
        );
    }
}
