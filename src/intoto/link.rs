//! Links: what somebody says was used and made in a step.

use serde_json::{Map, Value, json};

use super::read::Fields;
use super::{Artifacts, IntotoError, NameError, StepName, artifact};

/// A link. Unknown members are ignored: they are signed, and no rule asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The step or inspection that it is about.
    pub name: StepName,
    /// What was run.
    pub command: Vec<String>,
    /// What was there before.
    pub materials: Artifacts,
    /// What was there after.
    pub products: Artifacts,
    /// `stdout`, `stderr`, `return-value` and whatever else was noted.
    pub byproducts: Map<String, Value>,
    /// Where it was run.
    pub environment: Map<String, Value>,
}

impl Link {
    /// About a step, with nothing recorded.
    pub fn new(name: StepName) -> Self {
        Self {
            name,
            command: Vec::new(),
            materials: Artifacts::new(),
            products: Artifacts::new(),
            byproducts: Map::new(),
            environment: Map::new(),
        }
    }

    /// `byproducts.return-value`.
    pub fn return_value(&self) -> Option<i64> {
        self.byproducts.get("return-value").and_then(Value::as_i64)
    }

    /// From the untyped value. `name`, `materials` and `products` must be there: the reference takes what is missing for empty,
    /// and an empty list passes every `DISALLOW`.
    ///
    /// # Errors
    /// A member that is missing or malformed, or an artifact name that is not normalised.
    pub fn from_value(value: &Value) -> Result<Self, IntotoError> {
        let fields = Fields::of(value, "")?;
        fields.is_type("link")?;
        Ok(Self {
            name: name(fields.text("name")?, "name")?,
            command: fields.words("command")?,
            materials: artifact::read(fields.value("materials").unwrap_or(&Value::Null), "materials")?,
            products: artifact::read(fields.value("products").unwrap_or(&Value::Null), "products")?,
            byproducts: fields.optional_object("byproducts")?,
            environment: fields.optional_object("environment")?,
        })
    }

    /// The untyped value, as it is signed.
    pub fn to_value(&self) -> Value {
        json!({
            "_type": "link",
            "name": self.name.as_str(),
            "command": self.command,
            "materials": artifact::to_value(&self.materials),
            "products": artifact::to_value(&self.products),
            "byproducts": self.byproducts,
            "environment": self.environment,
        })
    }
}

pub(super) fn name(text: &str, at: &str) -> Result<StepName, IntotoError> {
    text.parse().map_err(|error: NameError| IntotoError::Name { at: at.to_owned(), error })
}
