//! Types of predicates, and what may be asked of their members.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sig::statement::COSIGN_SIGN;

/// Most members of one predicate that are asked about, and most values of which one must be there.
const MAX_FIELDS: usize = 64;
const MAX_VALUES: usize = 256;
/// Longest type and pointer.
const MAX_TEXT: usize = 1024;

/// The short names of types, as cosign has them.
const SHORT: [(&str, &str); 9] = [
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("link", "https://in-toto.io/Link/v1"),
];

/// The type of a predicate: a URI, compared as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PredicateType(String);

/// A text is no type of a predicate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredicateTypeError {
    /// Neither a short name nor a URI.
    #[error(
        "\"{0}\" is neither a URI nor one of slsaprovenance, slsaprovenance1, spdx, cyclonedx, vuln, openvex, link"
    )]
    Unknown(String),
    /// The type of a signature.
    #[error("{COSIGN_SIGN} is that of a signature: bulla sign makes one")]
    Signature,
}

/// What must hold of one member of a predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawField", into = "RawField")]
pub struct Field {
    /// Where it stands (RFC 6901), from the predicate on.
    pub pointer: String,
    /// It must be one of these.
    pub one_of: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawField {
    pointer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    equals: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    one_of: Option<Vec<Value>>,
}

/// What is asked of a member is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Neither empty nor beginning with a slash, or a bad escape.
    #[error("\"{0}\" is no JSON pointer (RFC 6901)")]
    Pointer(String),
    /// Not exactly one of the two.
    #[error("\"{0}\": say either \"equals\" or \"oneOf\"")]
    Asked(String),
    /// An empty or a long list.
    #[error("\"{0}\": \"oneOf\" has 1 to {MAX_VALUES} values")]
    Values(String),
}

impl Field {
    /// Whether it holds of a predicate. A member that is not there equals nothing.
    pub fn holds(&self, predicate: &Value) -> bool {
        predicate.pointer(&self.pointer).is_some_and(|found| self.one_of.contains(found))
    }
}

/// Whether so many fields may be asked about.
pub(super) fn few(fields: &[Field]) -> bool {
    fields.len() <= MAX_FIELDS
}

impl TryFrom<RawField> for Field {
    type Error = FieldError;

    fn try_from(raw: RawField) -> Result<Self, FieldError> {
        let pointer: String = raw.pointer.chars().take(200).collect();
        let escapes = raw.pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let begins = raw.pointer.is_empty() || raw.pointer.starts_with('/');
        if !begins || !escapes || raw.pointer.len() > MAX_TEXT {
            return Err(FieldError::Pointer(pointer));
        }
        let one_of = match (raw.equals, raw.one_of) {
            (Some(value), None) => vec![value],
            (None, Some(values)) => values,
            _ => return Err(FieldError::Asked(pointer)),
        };
        if one_of.is_empty() || one_of.len() > MAX_VALUES {
            return Err(FieldError::Values(pointer));
        }
        Ok(Self { pointer: raw.pointer, one_of })
    }
}

impl From<Field> for RawField {
    fn from(field: Field) -> Self {
        let Field { pointer, mut one_of } = field;
        match one_of.len() {
            // A member that is null reads as one that is left out.
            1 if !one_of[0].is_null() => Self { pointer, equals: one_of.pop(), one_of: None },
            _ => Self { pointer, equals: None, one_of: Some(one_of) },
        }
    }
}

impl PredicateType {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, PredicateTypeError> {
        if let Some((_, uri)) = SHORT.iter().find(|(short, _)| *short == text) {
            return Ok(Self((*uri).to_owned()));
        }
        if text == COSIGN_SIGN {
            return Err(PredicateTypeError::Signature);
        }
        let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.as_bytes(), rest));
        let is_scheme = |s: &[u8]| {
            s.first().is_some_and(u8::is_ascii_alphabetic)
                && s.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        };
        let legal = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        match scheme {
            Some((s, rest)) if is_scheme(s) && !rest.is_empty() && legal && text.len() <= MAX_TEXT => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(PredicateTypeError::Unknown(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for PredicateType {
    type Error = PredicateTypeError;

    fn try_from(text: String) -> Result<Self, PredicateTypeError> {
        text.parse()
    }
}

impl From<PredicateType> for String {
    fn from(t: PredicateType) -> Self {
        t.0
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(value: Value) -> Result<Field, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn types_are_uris_or_short_names() {
        let read = |text: &str| text.parse::<PredicateType>().map(|t| t.to_string());
        assert_eq!(read("slsaprovenance1").unwrap(), "https://slsa.dev/provenance/v1");
        assert_eq!(read("urn:x").unwrap(), "urn:x");
        for bad in ["", "slsa", "https:", "1x:y", "a b:c", "https://x/\"", "https://x\n", COSIGN_SIGN] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn members_are_compared_by_pointer() {
        let predicate = json!({"builder": {"id": "ci", "a/b": 1}, "list": [{"x": true}], "none": null});
        for (asked, holds) in [
            (json!({"pointer": "/builder/id", "equals": "ci"}), true),
            (json!({"pointer": "/builder/id", "oneOf": ["cd", "ci"]}), true),
            (json!({"pointer": "/builder/id", "oneOf": ["cd"]}), false),
            (json!({"pointer": "/builder/a~1b", "equals": 1}), true),
            (json!({"pointer": "/builder/a~1b", "equals": "1"}), false),
            (json!({"pointer": "/list/0/x", "equals": true}), true),
            (json!({"pointer": "/list/1/x", "equals": true}), false),
            (json!({"pointer": "/gone", "oneOf": [null]}), false),
            (json!({"pointer": "/none", "oneOf": [null]}), true),
            (json!({"pointer": "", "equals": predicate.clone()}), true),
        ] {
            let field = field(asked.clone()).unwrap();
            assert_eq!(field.holds(&predicate), holds, "{asked}");
            assert_eq!(super::tests::field(serde_json::to_value(&field).unwrap()).unwrap(), field);
        }
        for bad in [
            json!({"pointer": "builder", "equals": 1}),
            json!({"pointer": "/a~2", "equals": 1}),
            json!({"pointer": "/a~", "equals": 1}),
            json!({"pointer": "/a"}),
            json!({"pointer": "/a", "equals": 1, "oneOf": [1]}),
            json!({"pointer": "/a", "oneOf": []}),
            json!({"pointer": "/a", "matches": "x"}),
        ] {
            assert!(field(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text: String) {
            if let Ok(read) = text.parse::<PredicateType>() {
                prop_assert_eq!(read.as_str().parse::<PredicateType>(), Ok(read.clone()));
            }
        }
    }
}
