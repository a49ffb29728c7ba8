//! Which certificates of a CA count: by attributes of the subject, or by SPIFFE ID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sig::x509::{Certificate, DistinguishedName};

/// Longest pattern, bytes.
const MAX_PATTERN: usize = 1024;
const SPIFFE: &str = "spiffe://";

/// Which certificates of a CA count. Either attributes of the subject as RFC 4514 writes them, `C=US,ST=WA,O=Wabbit Networks`, in any
/// order, of which every one must be the subject's; or a SPIFFE ID, `spiffe://example.org/ci`, or a trust domain, `spiffe://example.org`,
/// for all IDs in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectPattern(Pattern);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Pattern {
    /// Type and value, sorted; no type twice.
    Attributes(Vec<(String, String)>),
    Spiffe(String),
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
    /// Whether a signer's certificate is one that counts.
    pub fn matches(&self, leaf: &Certificate) -> bool {
        match &self.0 {
            Pattern::Attributes(attributes) => {
                // A name in which one type stands twice, or two attributes in one place, has more than one reading.
                let Some(has) = leaf.subject().single_attributes() else { return false };
                attributes.iter().all(|(kind, value)| has.iter().any(|(k, v)| k == kind && v == value))
            }
            Pattern::Spiffe(id) => {
                // X.509-SVID 2: exactly one URI.
                let [uri] = leaf.uris() else { return false };
                let below = || uri.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('/'));
                uri == id || (is_trust_domain(id) && below())
            }
        }
    }

    /// Type and value of each attribute of a subject, sorted; of a SPIFFE ID none.
    pub fn attributes(&self) -> &[(String, String)] {
        match &self.0 {
            Pattern::Attributes(attributes) => attributes,
            Pattern::Spiffe(_) => &[],
        }
    }

    /// Whether every certificate that `other` allows is allowed by this.
    pub fn holds(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Pattern::Attributes(these), Pattern::Attributes(those)) => {
                these.iter().all(|a| those.contains(a))
            }
            (Pattern::Spiffe(this), Pattern::Spiffe(that)) => {
                let below = that.strip_prefix(this.as_str()).is_some_and(|rest| rest.starts_with('/'));
                this == that || (is_trust_domain(this) && below)
            }
            _ => false,
        }
    }
}

/// Of two IDs that are well-formed, the one without a path.
fn is_trust_domain(id: &str) -> bool {
    !id.trim_start_matches(SPIFFE).contains('/')
}

/// SPIFFE-ID 2: a trust domain of lower-case letters, digits, dots, dashes and underscores; path parts of those and capitals.
fn is_spiffe_id(id: &str) -> bool {
    let Some(rest) = id.strip_prefix(SPIFFE) else { return false };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let part = |p: &str| !p.is_empty() && p != "." && p != ".." && p.bytes().all(in_path);
    !domain.is_empty()
        && domain.len() <= 255
        && domain.bytes().all(in_domain)
        && path.is_none_or(|p| p.split('/').all(part))
}

impl FromStr for SubjectPattern {
    type Err = SubjectPatternError;

    fn from_str(text: &str) -> Result<Self, SubjectPatternError> {
        let bad = |why| SubjectPatternError { text: text.chars().take(100).collect(), why };
        if text.len() > MAX_PATTERN {
            return Err(bad("it is too long"));
        }
        if text.starts_with(SPIFFE) {
            let id = Pattern::Spiffe(text.to_owned());
            return if is_spiffe_id(text) { Ok(Self(id)) } else { Err(bad("it is no SPIFFE ID")) };
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
        Ok(Self(Pattern::Attributes(attributes)))
    }
}

/// Type and value of each part; values without their escapes and the spaces around them. A value of `None`: no `=`, or a form that
/// has more than one reading (`+`, `#`, a quotation).
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
        if let Pattern::Spiffe(id) = &self.0 {
            return f.write_str(id);
        }
        for (i, (kind, value)) in self.attributes().iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    #[test]
    fn what_rfc_4514_writes_is_read() {
        for (text, is) in [
            ("C=US, ST=WA,O=wabbit-networks.io", "C=US,O=wabbit-networks.io,ST=WA"),
            ("o = Acme\\, Inc. ; S=x", "O=Acme\\, Inc.,ST=x"),
            ("CN=\\ a\\ ", "CN=\\ a\\ "),
            ("CN=a\\C3\\A4", "CN=aä"),
            ("1.2.3.4=x", "1.2.3.4=x"),
            ("spiffe://example.org/ns/ci", "spiffe://example.org/ns/ci"),
        ] {
            assert_eq!(pattern(text).to_string(), is, "{text}");
            assert_eq!(pattern(is), pattern(text));
        }
        for bad in [
            "",
            "C",
            "C=",
            "=x",
            "C=a,C=b",
            "C=a+O=b",
            "C=#1234",
            "O=\"x\"",
            "C=a,",
            "C=a\\",
            "C=a\\zz",
            "ä=x",
            "S=a,ST=b",
            "spiffe://",
            "spiffe://A.org",
            "spiffe://a/",
            "spiffe://a/../b",
            "spiffe://a//b",
            "CN=\\FF",
        ] {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_attribute_must_be_there() {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/x509/good-three.pem");
        let leaf = &Certificate::from_pem(&std::fs::read_to_string(pem).unwrap()).unwrap()[0];
        let whole = leaf.subject().to_string();
        assert!(pattern(&whole).matches(leaf), "{whole}");
        for (kind, value) in leaf.subject().single_attributes().unwrap() {
            let part = format!("{kind}={}", DistinguishedName::escaped(value));
            assert!(pattern(&part).matches(leaf) && pattern(&part).holds(&pattern(&whole)), "{part}");
            assert!(!pattern(&format!("{part}x")).matches(leaf));
        }
        assert!(!pattern(&format!("{whole},UID=x")).matches(leaf));
        assert!(!pattern("spiffe://example.org").matches(leaf), "it has no URI");
    }

    #[test]
    fn a_trust_domain_holds_its_ids_and_no_other() {
        let domain = pattern("spiffe://example.org");
        assert!(domain.holds(&pattern("spiffe://example.org/ci")) && domain.holds(&domain));
        for other in ["spiffe://example.org.evil.net/ci", "spiffe://example.orga", "O=x"] {
            assert!(!domain.holds(&pattern(other)), "{other}");
        }
        assert!(!pattern("spiffe://example.org/ci").holds(&pattern("spiffe://example.org/ci/x")));
    }

    proptest! {
        #[test]
        fn a_pattern_comes_back(text in "([A-Z]{1,3}=[ -~ä]{1,8},?){0,4}", junk in ".{0,40}") {
            for text in [text, junk] {
                if let Ok(read) = text.parse::<SubjectPattern>() {
                    prop_assert_eq!(read.to_string().parse::<SubjectPattern>(), Ok(read));
                }
            }
        }
    }
}
