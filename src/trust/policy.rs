//! Policy statements: what is allowed or demanded for a scope, each waiver with a reason.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::level::Origin;
use super::predicate::{Field, PredicateType};
use super::{AnchorId, Scope};

/// A span of time in whole seconds, written `30d`, `12h`, `10m` or `5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(i64);

/// A string that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no span of time: a number of days, hours, minutes or seconds, as in 30d, 12h, 10m, 5s")]
pub struct DurationError(String);

/// What holds for a scope; only the most specific statement that covers a reference counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// What it covers.
    pub scope: Scope,
    /// How long after their expiry timestamp and snapshot still pass, visibly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness: Option<Duration>,
    /// Whether a reference with tag and digest fails when the tag has moved on.
    #[serde(default)]
    pub require_current_tag: bool,
    /// What is needed; left out: what the anchors in scope stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// Which checks of signatures stand; all, where it is left out.
    #[serde(default, skip_serializing_if = "Checked::is_default")]
    pub checks: Checked,
    /// Why something is waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The file that it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<String>,
    /// Which file of anchors and statements it is in.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a statement needs of a bundle. A member that is left out is taken from the next wider statement that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Require {
    /// Whether a TUF anchor must vouch for it; left out everywhere: where one is in scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuf: Option<bool>,
    /// How many signers; left out everywhere: one, where TUF is not needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<AskedSignatures>,
    /// What must be said about it, and by whom; left out everywhere: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestations: Option<Vec<RequireAttestation>>,
}

/// An attestation that a statement needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequireAttestation {
    /// The type of its predicate.
    #[serde(rename = "type")]
    pub predicate_type: PredicateType,
    /// How many different signers must say it, each in one attestation that fits wholly.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub threshold: NonZeroU32,
    /// Ids of the anchors that count; left out: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<AnchorId>,
    /// What must hold of its predicate; all of it, of one attestation.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn is_one(n: &NonZeroU32) -> bool {
    *n == NonZeroU32::MIN
}

/// How many signers a statement needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AskedSignatures {
    /// So many.
    Some(RequireSignatures),
    /// `false`: none, since `"tuf": true` stands beside it.
    None(False),
}

/// `false` and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct False;

impl TryFrom<bool> for False {
    type Error = &'static str;

    fn try_from(is: bool) -> Result<Self, Self::Error> {
        if is { Err("a number of signatures, or false") } else { Ok(Self) }
    }
}

impl From<False> for bool {
    fn from(_: False) -> Self {
        false
    }
}

/// So many signers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequireSignatures {
    /// How many different ones.
    pub threshold: NonZeroU32,
    /// Ids of the anchors that count; left out: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<AnchorId>,
}

/// Which checks of signatures a statement turns off (`false`) or insists on (`true`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checked {
    /// Whether signatures are checked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<bool>,
    /// Whether those fail that have expired by their own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<bool>,
    /// Whether those fail whose certificates are not valid now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expiry: Option<bool>,
    /// Whether withdrawn ones fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescinded: Option<bool>,
}

impl Checked {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Statement {
    /// One that says nothing yet.
    pub fn of(scope: Scope) -> Self {
        Self {
            scope,
            max_staleness: None,
            require_current_tag: false,
            require: None,
            checks: Checked::default(),
            reason: None,
            imported_from: None,
            origin: Origin::default(),
        }
    }

    /// What it waives: each needs a reason.
    pub fn waivers(&self) -> Vec<&'static str> {
        let off = |check: Option<bool>| check == Some(false);
        [
            (self.max_staleness.is_some(), "maxStaleness"),
            (off(self.require.as_ref().and_then(|r| r.tuf)), "\"tuf\": false"),
            (off(self.checks.signature), "\"signature\": false"),
            (off(self.checks.expiry), "\"expiry\": false"),
            (off(self.checks.certificate_expiry), "\"certificateExpiry\": false"),
            (off(self.checks.rescinded), "\"rescinded\": false"),
        ]
        .into_iter()
        .filter_map(|(waives, what)| waives.then_some(what))
        .collect()
    }

    /// The one that counts for a subject.
    pub fn choose<'a>(statements: &'a [Self], subject: &super::Subject) -> Option<&'a Self> {
        statements.iter().filter(|s| s.scope.covers(subject)).max_by_key(|s| s.scope.specificity())
    }
}

impl Duration {
    /// From days.
    pub const fn days(n: i64) -> Self {
        Self(n * 86_400)
    }

    /// In seconds.
    pub const fn secs(self) -> i64 {
        self.0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(s: &str) -> Result<Self, DurationError> {
        let bad = || DurationError(s.chars().take(40).collect());
        let unit = match s.chars().next_back() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(bad()),
        };
        let digits = &s[..s.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let n: i64 = digits.parse().map_err(|_| bad())?;
        // A hundred years is more than any lifetime; past it a sum of times could overflow.
        n.checked_mul(unit).filter(|n| (1..=36_500 * 86_400).contains(n)).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
            if self.0 % unit == 0 {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}s", self.0)
    }
}

impl TryFrom<String> for Duration {
    type Error = DurationError;

    fn try_from(s: String) -> Result<Self, DurationError> {
        s.parse()
    }
}

impl From<Duration> for String {
    fn from(d: Duration) -> Self {
        d.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for s in ["30d", "12h", "10m", "5s", "36500d"] {
            assert_eq!(s.parse::<Duration>().unwrap().to_string(), s);
        }
        for bad in ["", "d", "30", "-1d", "0d", "1.5d", "36501d", "99999999999999999999d", "1w", "+1d", "1é"]
        {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
