//! Why bytes are no in-toto document.

use super::{MAX_DOCUMENT, MAX_NAME};
use crate::sig::KeyError;
use crate::sig::dsse::DsseError;
use crate::sig::json::JsonError;

/// Bytes that are not read as a layout or link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntotoError {
    /// Larger than [`MAX_DOCUMENT`].
    #[error("{0} bytes; at most {MAX_DOCUMENT} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not a DSSE envelope, or one of another payload type.
    #[error(transparent)]
    Dsse(#[from] DsseError),
    /// Neither a classic nor a DSSE envelope.
    #[error("no in-toto envelope: {0}")]
    Envelope(&'static str),
    /// Two signatures under one key id: readers differ in which of them counts.
    #[error("two signatures under the key id {0}")]
    RepeatedSignature(String),
    /// `_type` is of no document that is read here.
    #[error("_type {0:?} is neither a layout nor a link")]
    Type(String),
    /// A layout where a link is wanted, or the other way round.
    #[error("this is a {found}, not a {wanted}")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A statement about something else than a link.
    #[error("a statement of predicate type {0:?} is no link")]
    Predicate(String),
    /// A member is missing or has another form.
    #[error("{at}: {why}")]
    Field {
        /// Where it stands.
        at: String,
        /// What it should be.
        why: &'static str,
    },
    /// A member that this version does not know: it could be a condition that would go unchecked.
    #[error(
        "{at}: this field is not known here, so what it asks for cannot be checked (of the drafts ITE-7, ITE-10 and ITE-11 only empty certificate fields are read)"
    )]
    Unknown {
        /// Where it stands.
        at: String,
    },
    /// Too many of something.
    #[error("{count} {what}; at most {most} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// As found.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// The name of a step or inspection.
    #[error("{at}: {error}")]
    Name {
        /// Where it stands.
        at: String,
        /// Why.
        error: NameError,
    },
    /// Two steps or inspections of one name, or two subjects.
    #[error("the name {0:?} stands twice")]
    Repeated(String),
    /// An artifact name that is not normalised.
    #[error("{at}: the artifact name {name:?} {why}")]
    Artifact {
        /// Where it stands.
        at: String,
        /// As found; at most 100 characters.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A rule.
    #[error("{at}: {error}")]
    Rule {
        /// Where it stands.
        at: String,
        /// Why.
        error: RuleError,
    },
    /// A malformed key.
    #[error("key {id}: {error}")]
    Key {
        /// Its id in the layout.
        id: String,
        /// Why.
        error: KeyError,
    },
    /// A layout without steps demands nothing.
    #[error("a layout without steps demands nothing, and is refused")]
    Empty,
}

/// Why a text is no name of a step, or of a file with a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Names become file names.
    #[error(
        "{0:?} cannot name a step or inspection: 1 to 128 letters, digits, \".\", \"_\" and \"-\", not beginning with \".\""
    )]
    Step(String),
    /// Not `<step>.<keyid8>.link`, with `<step>.<keyid8>` folders before it.
    #[error("{0:?} does not name a link: <step>.<first 8 hex digits of the key id>.link")]
    Link(String),
}

/// Why words are no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Another first word, or none.
    #[error("{0:?} is no rule: MATCH, CREATE, DELETE, MODIFY, ALLOW, DISALLOW and REQUIRE are")]
    Keyword(String),
    /// A wrong number of words, or a word of MATCH at another place.
    #[error(
        "{0:?} is not written as this rule is: KEYWORD <pattern>, or MATCH <pattern> [IN <prefix>] WITH MATERIALS|PRODUCTS [IN <prefix>] FROM <step>"
    )]
    Form(String),
    /// A backslash or NUL in a prefix, or a text longer than [`MAX_NAME`].
    #[error("{0:?} is no pattern or prefix: at most {MAX_NAME} bytes, and no backslash or NUL in a prefix")]
    Text(String),
}

/// At most 100 characters of foreign text.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}
