//! Members of JSON objects, each present and of its type.

use serde_json::{Map, Value};

use super::{IntotoError, MAX_ARTIFACTS};

/// Most objects and lists in one document: an artifact is one, in an attestation two.
const MAX_CONTAINERS: usize = 2 * MAX_ARTIFACTS + 10_000;
/// Most commas.
const MAX_MEMBERS: usize = 1_000_000;

/// Whether bytes hold no more values than a document needs. In memory each takes many times its text, and this is asked before
/// anybody's signature is.
pub(super) fn bounded(bytes: &[u8]) -> Result<(), IntotoError> {
    let (mut inside, mut escaped, mut containers, mut members) = (false, false, 0, 0);
    for byte in bytes {
        match byte {
            b'"' if !escaped => inside = !inside,
            b'{' | b'[' if !inside => containers += 1,
            b',' if !inside => members += 1,
            _ => {}
        }
        escaped = inside && *byte == b'\\' && !escaped;
    }
    within("objects and lists in a document", containers, MAX_CONTAINERS)?;
    within("members in a document", members, MAX_MEMBERS)
}

/// An object and where it stands.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, at: impl Into<String>) -> Result<Self, IntotoError> {
        let at = at.into();
        match value.as_object() {
            Some(map) => Ok(Self { map, at }),
            None => Err(IntotoError::Field { at, why: "an object is wanted" }),
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    pub(super) fn fault(&self, name: &str, why: &'static str) -> IntotoError {
        IntotoError::Field { at: self.at(name), why }
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, IntotoError> {
        self.map.get(name).and_then(Value::as_str).ok_or_else(|| self.fault(name, "a text is wanted"))
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], IntotoError> {
        let list = self.map.get(name).and_then(Value::as_array);
        list.map(Vec::as_slice).ok_or_else(|| self.fault(name, "a list is wanted"))
    }

    pub(super) fn object(&self, name: &str) -> Result<&'a Map<String, Value>, IntotoError> {
        self.map.get(name).and_then(Value::as_object).ok_or_else(|| self.fault(name, "an object is wanted"))
    }

    /// A list of texts; missing is empty.
    pub(super) fn words(&self, name: &str) -> Result<Vec<String>, IntotoError> {
        match self.map.get(name) {
            None => Ok(Vec::new()),
            Some(value) => words(value).ok_or_else(|| self.fault(name, "a list of texts is wanted")),
        }
    }

    /// An object; missing is empty.
    pub(super) fn optional_object(&self, name: &str) -> Result<Map<String, Value>, IntotoError> {
        match self.map.get(name) {
            None => Ok(Map::new()),
            Some(_) => self.object(name).cloned(),
        }
    }

    pub(super) fn is_type(&self, kind: &str) -> Result<(), IntotoError> {
        match self.text("_type")? {
            found if found == kind => Ok(()),
            _ => Err(self.fault("_type", "another type stands here than its place asks for")),
        }
    }

    /// Refuses members that are not `known`. Of ITE-7's, which only say whose links count beside those of `pubkeys`, empty ones
    /// are read: other implementations write them always.
    pub(super) fn only(&self, known: &[&str], empty: &[&str]) -> Result<(), IntotoError> {
        for (name, value) in self.map {
            let nothing = match value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            let name_is = |of: &[&str]| of.contains(&name.as_str());
            if !name_is(known) && (!nothing || !name_is(empty)) {
                return Err(IntotoError::Unknown { at: self.at(&super::error::cut(name)) });
            }
        }
        Ok(())
    }
}

pub(super) fn words(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
}

pub(super) fn within(what: &'static str, count: usize, most: usize) -> Result<(), IntotoError> {
    if count <= most { Ok(()) } else { Err(IntotoError::TooMany { what, count, most }) }
}
