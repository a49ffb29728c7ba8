//! Scopes: what an anchor or a statement speaks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::{Reference, ReferenceError, RegistryRef, Repository, Selector, Tag};

/// What a statement covers, from wide to narrow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `*`: everything.
    Any,
    /// `registry.example.com`: a registry.
    Registry(String),
    /// `registry.example.com/org/*`: everything below; whole path parts only.
    Prefix(String),
    /// `registry.example.com/org/app`: a repository.
    Repository(Repository),
    /// `registry.example.com/org/app:v1`: a tag.
    Tag(Repository, Tag),
}

/// What is judged: a repository (the real one, or the one given with `--as`) and the tag asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The repository.
    pub repository: Repository,
    /// The tag asked for, if any.
    pub tag: Option<Tag>,
}

/// A string that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A digest has no place in a scope.
    #[error("\"{0}\" is no scope: *, registry, registry/org/*, registry/org/app or registry/org/app:tag")]
    Form(String),
    /// The repository part is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Scope {
    /// Whether `subject` is covered, however its registry is spelt: whoever writes a reference must not choose, by a port that is
    /// there unwritten, what holds for it.
    pub fn covers(&self, subject: &Subject) -> bool {
        let is = |repository: &Repository| {
            subject.repository.name() == repository.name() && subject.repository.is_on(repository.host())
        };
        match self {
            Self::Any => true,
            Self::Registry(host) => subject.repository.is_on(host),
            Self::Prefix(prefix) => subject.repository.below(prefix).is_some(),
            Self::Repository(repository) => is(repository),
            Self::Tag(repository, tag) => subject.tag.as_ref() == Some(tag) && is(repository),
        }
    }

    /// Whether all that `other`, a repository or a prefix, covers lies below this prefix.
    pub(super) fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(_), Self::Repository(repository)) => {
                self.covers(&Subject { repository: repository.clone(), tag: None })
            }
            (Self::Prefix(prefix), Self::Prefix(_)) => {
                let below = other.example();
                below.is_some_and(|s| s.repository.below(prefix).is_some_and(|rest| rest.contains('/')))
            }
            _ => false,
        }
    }

    /// What both cover: scopes are nested or apart.
    pub(super) fn within(&self, other: &Self) -> Option<Self> {
        let narrower = if self.specificity() >= other.specificity() { self } else { other };
        self.meets(other).then(|| narrower.clone())
    }

    /// Whether both cover the same, however the registry is spelt.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repository(one), Self::Repository(two)) => one.spelt_alike() == two.spelt_alike(),
            (Self::Tag(one, a), Self::Tag(two, b)) => a == b && one.spelt_alike() == two.spelt_alike(),
            (Self::Registry(_), Self::Registry(_)) | (Self::Prefix(_), Self::Prefix(_)) => {
                self.specificity() == other.specificity() && self.meets(other)
            }
            _ => self == other,
        }
    }

    /// A subject that it covers, and that as few other scopes cover as can be.
    pub(super) fn example(&self) -> Option<Subject> {
        let name = match self {
            Self::Any => "any.invalid/any".to_owned(),
            Self::Registry(host) => format!("{host}/any"),
            Self::Prefix(prefix) => format!("{prefix}/any"),
            Self::Repository(repository) => {
                return Some(Subject { repository: repository.clone(), tag: None });
            }
            Self::Tag(repository, tag) => {
                return Some(Subject { repository: repository.clone(), tag: Some(tag.clone()) });
            }
        };
        // The name of a prefix can be so long that none fits below it.
        name.parse().ok()
    }

    /// Whether something is covered by both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let covers = |one: &Self, other: &Self| other.example().is_some_and(|s| one.covers(&s));
        covers(self, other) || covers(other, self)
    }

    /// Order of narrowness: of several scopes that cover a subject, the greatest is the most specific.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Registry(_) => (1, 0),
            Self::Prefix(prefix) => (2, prefix.split_once('/').map_or(0, |(_, parts)| parts.len())),
            Self::Repository(_) => (3, 0),
            Self::Tag(..) => (4, 0),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(s: &str) -> Result<Self, ScopeError> {
        if s == "*" {
            return Ok(Self::Any);
        }
        if let Some(prefix) = s.strip_suffix("/*") {
            // A prefix has the form of a repository or of a bare host; a name is appended to check either.
            let probe: Repository = format!("{prefix}/x").parse()?;
            let probe = probe.to_string();
            return Ok(Self::Prefix(probe[..probe.len() - "/x".len()].to_owned()));
        }
        if !s.contains('/') {
            let probe: Repository = format!("{s}/x").parse()?;
            return Ok(Self::Registry(probe.host().to_owned()));
        }
        let r: RegistryRef = s.parse()?;
        match r.selector {
            None => Ok(Self::Repository(r.repository)),
            Some(Selector::Tag(tag)) => Ok(Self::Tag(r.repository, tag)),
            Some(_) => Err(ScopeError::Form(s.to_owned())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Registry(host) => f.write_str(host),
            Self::Prefix(prefix) => write!(f, "{prefix}/*"),
            Self::Repository(repository) => repository.fmt(f),
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(s: String) -> Result<Self, ScopeError> {
        s.parse()
    }
}

impl From<Scope> for String {
    fn from(s: Scope) -> Self {
        s.to_string()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        self.tag.iter().try_for_each(|t| write!(f, ":{t}"))
    }
}

impl FromStr for Subject {
    type Err = ScopeError;

    /// `NAME[:TAG]`, as `--as` takes it.
    fn from_str(s: &str) -> Result<Self, ScopeError> {
        match s.parse::<Reference>()? {
            Reference::Registry(RegistryRef { repository, selector: None }) => {
                Ok(Self { repository, tag: None })
            }
            Reference::Registry(RegistryRef { repository, selector: Some(Selector::Tag(tag)) }) => {
                Ok(Self { repository, tag: Some(tag) })
            }
            _ => Err(ScopeError::Form(s.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_path_parts_and_narrowest_wins() {
        let s = |s: &str| s.parse::<Scope>().unwrap();
        let app: Subject = "ex.com/org/app:v1".parse().unwrap();
        for (scope, covers) in [
            ("*", true),
            ("ex.com", true),
            ("ex.com/org/*", true),
            ("ex.com/*", true),
            ("ex.com/org/app", true),
            ("ex.com/org/app:v1", true),
            ("ex.com/org/app:v2", false),
            ("ex.com/or/*", false),
            ("ex.com/org/app/*", false),
            ("ex.com:443", true),
            ("ex.com:80/org/*", true),
            ("ex.com:0443/org/app:v1", true),
            ("ex.com:5000", false),
            ("ex.com:444/org/app", false),
            ("ex.com/org/ap", false),
        ] {
            assert_eq!(s(scope).covers(&app), covers, "{scope}");
            assert_eq!(s(scope).to_string(), scope);
        }
        assert!(s("ex.com:00443/*").specificity() < s("ex.com/o/*").specificity());
        assert!(s("ex.com:443/org/*").is_same(&s("ex.com/org/*")) && s("ex.com:80").is_same(&s("ex.com")));
        assert!(!s("ex.com/org/*").is_same(&s("ex.com/o/*")) && !s("ex.com/*").is_same(&s("ex.com")));
        assert!(
            s("ex.com:443/org/*").holds(&s("ex.com/org/a/*"))
                && !s("ex.com/org/*").holds(&s("ex.com:443/org/*"))
        );
        let order = ["*", "ex.com", "ex.com/*", "ex.com/org/*", "ex.com/org/app", "ex.com/org/app:v1"];
        assert!(order.windows(2).all(|w| s(w[0]).specificity() < s(w[1]).specificity()));
        for bad in ["", "ex", "ex.com/org/*/x", "ex.com/**", "*/app", "ex.com/a@sha256:00", "ex.com/a:v*"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
