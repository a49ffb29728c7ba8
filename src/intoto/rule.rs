//! Artifact rules, in the form that layouts carry them: lists of words.

use std::fmt;

use serde_json::Value;

use super::error::cut;
use super::read::words;
use super::{Glob, IntotoError, MAX_NAME, MAX_RULES, RuleError};

/// One rule of a list. The list works as a firewall does: each rule takes names out of a queue, and what is left at its end is
/// allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Takes products that are no materials.
    Create(Glob),
    /// Takes materials that are no products.
    Delete(Glob),
    /// Takes names that are both, with different hashes.
    Modify(Glob),
    /// Takes what matches.
    Allow(Glob),
    /// Fails when anything matches that is still in the queue.
    Disallow(Glob),
    /// Fails when this very name is not in the queue any more; takes nothing.
    Require(String),
    /// Takes what another step has with the same hashes.
    Match(Match),
}

/// `MATCH <pattern> [IN <source>] WITH MATERIALS|PRODUCTS [IN <destination>] FROM <step>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// What the names match, without the prefix.
    pub pattern: Glob,
    /// Only names below this folder; never a pattern.
    pub source: Option<String>,
    /// Of the other step.
    pub with: Side,
    /// Below this folder there.
    pub destination: Option<String>,
    /// The other step or inspection, which need not exist.
    pub from: String,
}

/// Materials or products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// What a step used.
    Materials,
    /// What it made.
    Products,
}

impl Side {
    /// `materials` or `products`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Materials => "materials",
            Self::Products => "products",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Rule {
    /// From the words of a rule; keywords in any case.
    ///
    /// # Errors
    /// Another keyword, a wrong number of words, or a text that is no pattern.
    pub fn from_words(words: &[String]) -> Result<Self, RuleError> {
        let whole = || cut(&words.join(" "));
        let [keyword, rest @ ..] = words else { return Err(RuleError::Keyword(whole())) };
        if words.iter().any(|word| word.len() > MAX_NAME) {
            return Err(RuleError::Text(whole()));
        }
        let keyword = keyword.to_ascii_uppercase();
        let glob = |make: fn(Glob) -> Self| match rest {
            [pattern] => Ok(make(Glob::new(pattern))),
            _ => Err(RuleError::Form(whole())),
        };
        match keyword.as_str() {
            "CREATE" => glob(Self::Create),
            "DELETE" => glob(Self::Delete),
            "MODIFY" => glob(Self::Modify),
            "ALLOW" => glob(Self::Allow),
            "DISALLOW" => glob(Self::Disallow),
            "REQUIRE" => match rest {
                [name] => Ok(Self::Require(name.clone())),
                _ => Err(RuleError::Form(whole())),
            },
            "MATCH" => Match::from_words(rest).ok_or_else(|| RuleError::Form(whole()))?.checked(whole),
            _ => Err(RuleError::Keyword(whole())),
        }
    }

    /// The words of the rule, keywords in capitals.
    pub fn to_words(&self) -> Vec<String> {
        let two = |keyword: &str, text: &str| vec![keyword.to_owned(), text.to_owned()];
        match self {
            Self::Create(p) => two("CREATE", p.as_str()),
            Self::Delete(p) => two("DELETE", p.as_str()),
            Self::Modify(p) => two("MODIFY", p.as_str()),
            Self::Allow(p) => two("ALLOW", p.as_str()),
            Self::Disallow(p) => two("DISALLOW", p.as_str()),
            Self::Require(name) => two("REQUIRE", name),
            Self::Match(m) => {
                let mut words = two("MATCH", m.pattern.as_str());
                words.extend(m.source.iter().flat_map(|prefix| two("IN", prefix)));
                words.extend(two("WITH", &m.with.as_str().to_ascii_uppercase()));
                words.extend(m.destination.iter().flat_map(|prefix| two("IN", prefix)));
                words.extend(two("FROM", &m.from));
                words
            }
        }
    }
}

impl Match {
    fn from_words(words: &[String]) -> Option<Self> {
        let is = |word: &String, keyword: &str| word.eq_ignore_ascii_case(keyword);
        let prefix = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
        let (pattern, rest) = words.split_first()?;
        let (source, rest) = match rest {
            [word, source, rest @ ..] if is(word, "IN") => (prefix(source), rest),
            _ => (None, rest),
        };
        let [word, side, rest @ ..] = rest else { return None };
        let with = match side.to_ascii_uppercase().as_str() {
            "MATERIALS" if is(word, "WITH") => Side::Materials,
            "PRODUCTS" if is(word, "WITH") => Side::Products,
            _ => return None,
        };
        let (destination, rest) = match rest {
            [word, destination, rest @ ..] if is(word, "IN") => (prefix(destination), rest),
            _ => (None, rest),
        };
        let [word, from] = rest else { return None };
        is(word, "FROM").then(|| Self {
            pattern: Glob::new(pattern),
            source,
            with,
            destination,
            from: from.clone(),
        })
    }

    /// The reference turns a backslash in a prefix into a slash: there would be two ways to write one rule.
    fn checked(self, whole: impl Fn() -> String) -> Result<Rule, RuleError> {
        let prefixes = self.source.iter().chain(&self.destination);
        if prefixes.into_iter().any(|p| p.contains(['\\', '\0'])) {
            return Err(RuleError::Text(whole()));
        }
        Ok(Rule::Match(self))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_words().join(" "))
    }
}

/// A list of rules.
pub(super) fn read(list: &[Value], at: &str) -> Result<Vec<Rule>, IntotoError> {
    super::read::within("rules in one list", list.len(), MAX_RULES)?;
    let rules = list.iter().enumerate().map(|(i, value)| {
        let at = || format!("{at}[{i}]");
        let words =
            words(value).ok_or_else(|| IntotoError::Field { at: at(), why: "a list of texts is wanted" })?;
        Rule::from_words(&words).map_err(|error| IntotoError::Rule { at: at(), error })
    });
    rules.collect()
}

pub(super) fn to_value(rules: &[Rule]) -> Value {
    rules.iter().map(|rule| Value::from(rule.to_words())).collect()
}
