//! Which certificates of a CA count: all the attributes that are listed, each equal to the subject's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sig::x509::DistinguishedName;

/// Longest pattern, bytes.
const MAX_PATTERN: usize = 1024;

/// Attributes of a subject, as RFC 4514 writes them: `C=US,ST=WA,O=Wabbit Networks`. Their order means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectPattern {
    /// Type and value, sorted; no type twice.
    attributes: Vec<(String, String)>,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no subject: {why}")]
pub struct SubjectPatternError {
    /// As given, cut.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

impl SubjectPattern {
    /// Whether a subject has every attribute, once and with exactly that value.
    pub fn matches(&self, subject: &DistinguishedName) -> bool {
        // A name in which one type stands twice, or two attributes in one place, has more than one reading.
        let Some(has) = subject.single_attributes() else { return false };
        self.attributes.iter().all(|(kind, value)| has.iter().any(|(k, v)| k == kind && v == value))
    }

    /// Type and value of each attribute, sorted.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// Whether every certificate that `other` allows is allowed by this.
    pub fn holds(&self, other: &Self) -> bool {
        self.attributes.iter().all(|a| other.attributes.contains(a))
    }
}

impl FromStr for SubjectPattern {
    type Err = SubjectPatternError;

    fn from_str(text: &str) -> Result<Self, SubjectPatternError> {
        let bad = |why| SubjectPatternError { text: text.chars().take(100).collect(), why };
        if text.len() > MAX_PATTERN {
            return Err(bad("it is too long"));
        }
        let mut attributes: Vec<(String, String)> = Vec::new();
        for part in split(text).ok_or_else(|| bad("a backslash escapes nothing in it"))? {
            let (kind, value) = part;
            let kind = kind.trim().to_ascii_uppercase();
            let kind = if kind == "S" { "ST".to_owned() } else { kind };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            if kind.is_empty() || !kind.bytes().all(plain) {
                return Err(bad("it is not TYPE=VALUE,TYPE=VALUE"));
            }
            let value = value.ok_or_else(|| bad("it is not TYPE=VALUE,TYPE=VALUE"))?;
            if value.is_empty() {
                return Err(bad("an attribute has no value"));
            }
            if attributes.iter().any(|(k, _)| *k == kind) {
                return Err(bad("one type stands in it twice"));
            }
            attributes.push((kind, value));
        }
        if attributes.is_empty() {
            return Err(bad("it is empty"));
        }
        attributes.sort();
        Ok(Self { attributes })
    }
}

/// Type and value of each part; values without their escapes and the spaces around them. A value of `None`: no `=`, or a form that
/// has more than one reading (`+`, `#`, a quotation).
#[allow(clippy::type_complexity, reason = "one use")]
fn split(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let (mut kind, mut value, mut equals, mut odd) = (String::new(), Vec::new(), false, false);
        let mut ended = true;
        while let Some(c) = chars.next() {
            match c {
                ',' | ';' => {
                    ended = false;
                    break;
                }
                '=' if !equals => equals = true,
                _ if !equals => kind.push(c),
                '\\' => {
                    let next = chars.next()?;
                    match next.to_digit(16) {
                        Some(high) => {
                            let low = chars.next()?.to_digit(16)?;
                            value.push((Byte::Raw((high * 16 + low) as u8), true));
                        }
                        None if " \"#+,;<=>\\".contains(next) => value.push((Byte::Char(next), true)),
                        None => return None,
                    }
                }
                '+' | '"' | '<' | '>' => odd = true,
                '#' if value.is_empty() => odd = true,
                ' ' if value.is_empty() => {}
                c => value.push((Byte::Char(c), false)),
            }
        }
        while matches!(value.last(), Some((Byte::Char(' '), false))) {
            value.pop();
        }
        let mut bytes = Vec::new();
        for (byte, _) in value {
            match byte {
                Byte::Raw(b) => bytes.push(b),
                Byte::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        let value = String::from_utf8(bytes).ok()?;
        out.push((kind, (equals && !odd).then_some(value)));
        if ended {
            return Some(out);
        }
    }
}

enum Byte {
    Raw(u8),
    Char(char),
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (kind, value)) in self.attributes.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{kind}={}", DistinguishedName::escaped(value))?;
        }
        Ok(())
    }
}

impl TryFrom<String> for SubjectPattern {
    type Error = SubjectPatternError;

    fn try_from(text: String) -> Result<Self, SubjectPatternError> {
        text.parse()
    }
}

impl From<SubjectPattern> for String {
    fn from(pattern: SubjectPattern) -> Self {
        pattern.to_string()
    }
}
