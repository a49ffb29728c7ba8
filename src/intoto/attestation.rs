//! Links as attestations: a statement of version 1 whose predicate is a link v0.3 (in-toto attestation framework,
//! `spec/predicates/link.md`), which says the same as a link.

use serde_json::{Map, Value, json};

use super::artifact::{self, named};
use super::error::cut;
use super::link::name;
use super::read::{Fields, within};
use super::{Artifacts, Hashes, IntotoError, Link, MAX_ARTIFACTS};

/// The predicate type of link attestations.
pub const LINK_PREDICATE: &str = "https://in-toto.io/attestation/link/v0.3";
/// `_type` of a statement.
pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The link that a statement says.
pub(super) fn read(value: &Value) -> Result<Link, IntotoError> {
    let fields = Fields::of(value, "")?;
    let predicate_type = fields.text("predicateType")?;
    if predicate_type != LINK_PREDICATE {
        return Err(IntotoError::Predicate(cut(predicate_type)));
    }
    let predicate = Fields::of(fields.value("predicate").unwrap_or(&Value::Null), "predicate")?;
    Ok(Link {
        name: name(predicate.text("name")?, "predicate.name")?,
        command: predicate.words("command")?,
        materials: descriptors(predicate.list("materials")?, "predicate.materials")?,
        products: descriptors(fields.list("subject")?, "subject")?,
        byproducts: predicate.optional_object("byproducts")?,
        environment: predicate.optional_object("environment")?,
    })
}

/// A link as the payload of an attestation.
pub(super) fn to_value(link: &Link) -> Value {
    let list = |artifacts: &Artifacts| -> Vec<Value> {
        artifacts.iter().map(|(n, h)| json!({"name": n.as_str(), "digest": h.to_value()})).collect()
    };
    json!({
        "_type": STATEMENT,
        "subject": list(&link.products),
        "predicateType": LINK_PREDICATE,
        "predicate": {
            "name": link.name.as_str(),
            "command": link.command,
            "materials": list(&link.materials),
            "byproducts": link.byproducts,
            "environment": link.environment,
        },
    })
}

/// Resource descriptors with unique names. A material may have a `uri` for a name.
fn descriptors(list: &[Value], at: &str) -> Result<Artifacts, IntotoError> {
    within("artifacts in one list", list.len(), MAX_ARTIFACTS)?;
    let mut artifacts = Map::new();
    for value in list {
        let fields = Fields::of(value, at)?;
        let text = match fields.value("name") {
            Some(_) => fields.text("name")?,
            None => fields.text("uri")?,
        };
        let hashes = Hashes::read(fields.value("digest").unwrap_or(&Value::Null), at)?;
        named(text, at)?;
        if artifacts.insert(text.to_owned(), hashes.to_value()).is_some() {
            return Err(IntotoError::Repeated(cut(text)));
        }
    }
    artifact::read(&Value::Object(artifacts), at)
}
