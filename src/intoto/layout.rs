//! Layouts: who does which step, and what it may use and make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::read::{Fields, within};
use super::{
    IntotoError, Key, ListedKey, MAX_INSPECTIONS, MAX_KEYS, MAX_STEPS, NameError, Rule, StepName, rule,
};
use crate::sig::KeyId;
use crate::time::UnixTime;

/// A layout. Fields that this version does not know are refused: one could be a condition, which would go unchecked.
#[derive(Debug, Clone)]
pub struct Layout {
    /// From this second on it counts no more.
    pub expires: UnixTime,
    /// For people.
    pub readme: String,
    /// The keys of functionaries by id.
    pub keys: BTreeMap<KeyId, ListedKey>,
    /// At least one, in their order.
    pub steps: Vec<Step>,
    /// Commands for the verifier.
    pub inspections: Vec<Inspection>,
}

/// A step of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique over steps and inspections.
    pub name: StepName,
    /// How many distinct keys must have signed, at least 1.
    pub threshold: u32,
    /// Ids of the keys that may.
    pub pubkeys: Vec<KeyId>,
    /// A hint: another command is a note.
    pub expected_command: Vec<String>,
    /// Rules over materials.
    pub expected_materials: Vec<Rule>,
    /// Rules over products.
    pub expected_products: Vec<Rule>,
}

/// Something that the verifier runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Unique over steps and inspections.
    pub name: StepName,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Rules over what was there before.
    pub expected_materials: Vec<Rule>,
    /// Rules over what was there after.
    pub expected_products: Vec<Rule>,
}

impl Layout {
    /// Add a key under its own id, which comes back for [`Step::pubkeys`].
    pub fn add_key(&mut self, key: Key) -> KeyId {
        let id = key.id();
        self.keys.insert(id.clone(), ListedKey::Usable(key.named(id.as_str())));
        id
    }

    /// Whether it is expired at `now`: from the second of expiry on.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires <= now
    }

    /// The keys that may sign a step and can, each once by material, under the id that `pubkeys` names first.
    pub fn functionaries(&self, step: &Step) -> Vec<(&KeyId, &Key)> {
        let mut seen = BTreeSet::new();
        let listed = step.pubkeys.iter().filter_map(|id| self.keys.get_key_value(id));
        let usable = listed.filter_map(|(id, key)| key.usable().map(|key| (id, key)));
        usable.filter(|(_, key)| seen.insert(key.spki())).collect()
    }

    /// The untyped value, as it is signed.
    pub fn to_value(&self) -> Value {
        let keys: Map<String, Value> =
            self.keys.iter().map(|(id, key)| (id.to_string(), key.to_value(id))).collect();
        json!({
            "_type": "layout",
            "expires": self.expires.to_string(),
            "readme": self.readme,
            "keys": keys,
            "steps": self.steps.iter().map(Step::to_value).collect::<Vec<_>>(),
            "inspect": self.inspections.iter().map(Inspection::to_value).collect::<Vec<_>>(),
        })
    }

    /// From the untyped value.
    ///
    /// # Errors
    /// A member that is missing, malformed or unknown; no steps; a name that stands twice or could lead out of a folder.
    pub fn from_value(value: &Value) -> Result<Self, IntotoError> {
        let fields = Fields::of(value, "")?;
        fields.is_type("layout")?;
        fields.only(
            &["_type", "expires", "readme", "keys", "steps", "inspect"],
            &["rootcas", "intermediatecas"],
        )?;
        let expires = fields.text("expires")?;
        let expires = expires
            .parse()
            .map_err(|_| fields.fault("expires", "a time of the form YYYY-MM-DDTHH:MM:SSZ is wanted"))?;
        let readme = match fields.value("readme") {
            None => String::new(),
            Some(_) => fields.text("readme")?.to_owned(),
        };
        let keys = fields.object("keys")?;
        within("keys", keys.len(), MAX_KEYS)?;
        let keys = keys.iter().map(|(id, value)| {
            let id = key_id(id).ok_or_else(|| fields.fault("keys", ID))?;
            let key = ListedKey::from_value(&id, value)
                .map_err(|error| IntotoError::Key { id: id.to_string(), error })?;
            Ok((id, key))
        });
        let keys = keys.collect::<Result<_, IntotoError>>()?;

        let (steps, inspections) = (fields.list("steps")?, fields.list("inspect")?);
        within("steps", steps.len(), MAX_STEPS)?;
        within("inspections", inspections.len(), MAX_INSPECTIONS)?;
        if steps.is_empty() {
            return Err(IntotoError::Empty);
        }
        let steps = steps.iter().enumerate();
        let steps: Vec<Step> =
            steps.map(|(i, v)| Step::read(v, format!("steps[{i}]"))).collect::<Result<_, _>>()?;
        let inspections = inspections.iter().enumerate();
        let inspections: Vec<Inspection> = inspections
            .map(|(i, v)| Inspection::read(v, format!("inspect[{i}]")))
            .collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        let all = steps.iter().map(|s| &s.name).chain(inspections.iter().map(|i| &i.name));
        for name in all {
            // Some file systems take two cases of a letter for one.
            if !names.insert(name.as_str().to_ascii_lowercase()) {
                return Err(IntotoError::Repeated(name.to_string()));
            }
        }
        Ok(Self { expires, readme, keys, steps, inspections })
    }
}

/// What is said of an id that is none.
const ID: &str = "a key id is at least 8 hex digits, and at most 256";

/// The first eight digits become a file's name.
fn key_id(text: &str) -> Option<KeyId> {
    let legal = text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if legal { KeyId::try_from(text.to_owned()).ok() } else { None }
}

impl Step {
    fn read(value: &Value, at: String) -> Result<Self, IntotoError> {
        let fields = Fields::of(value, at)?;
        fields.is_type("step")?;
        fields.only(
            &[
                "_type",
                "name",
                "threshold",
                "pubkeys",
                "expected_command",
                "expected_materials",
                "expected_products",
            ],
            &["cert_constraints"],
        )?;
        let threshold = fields.value("threshold").and_then(Value::as_u64);
        let threshold = threshold.and_then(|t| u32::try_from(t).ok()).filter(|t| *t >= 1);
        let threshold = threshold.ok_or_else(|| fields.fault("threshold", "a number from 1 on is wanted"))?;
        let pubkeys = fields.list("pubkeys")?;
        within("keys of one step", pubkeys.len(), MAX_KEYS)?;
        let pubkeys =
            pubkeys.iter().map(|id| id.as_str().and_then(key_id).ok_or_else(|| fields.fault("pubkeys", ID)));
        Ok(Self {
            name: name(&fields)?,
            threshold,
            pubkeys: pubkeys.collect::<Result<_, _>>()?,
            expected_command: fields.words("expected_command")?,
            expected_materials: rules(&fields, "expected_materials")?,
            expected_products: rules(&fields, "expected_products")?,
        })
    }

    fn to_value(&self) -> Value {
        json!({
            "_type": "step",
            "name": self.name.as_str(),
            "threshold": self.threshold,
            "pubkeys": self.pubkeys.iter().map(KeyId::as_str).collect::<Vec<_>>(),
            "expected_command": self.expected_command,
            "expected_materials": rule::to_value(&self.expected_materials),
            "expected_products": rule::to_value(&self.expected_products),
        })
    }
}

impl Inspection {
    fn read(value: &Value, at: String) -> Result<Self, IntotoError> {
        let fields = Fields::of(value, at)?;
        fields.is_type("inspection")?;
        fields.only(&["_type", "name", "run", "expected_materials", "expected_products"], &[])?;
        let run = fields.words("run")?;
        if run.first().is_none_or(String::is_empty) {
            return Err(fields.fault("run", "a program to run is wanted"));
        }
        Ok(Self {
            name: name(&fields)?,
            run,
            expected_materials: rules(&fields, "expected_materials")?,
            expected_products: rules(&fields, "expected_products")?,
        })
    }

    fn to_value(&self) -> Value {
        json!({
            "_type": "inspection",
            "name": self.name.as_str(),
            "run": self.run,
            "expected_materials": rule::to_value(&self.expected_materials),
            "expected_products": rule::to_value(&self.expected_products),
        })
    }
}

fn name(fields: &Fields<'_>) -> Result<StepName, IntotoError> {
    let name = fields.text("name")?;
    name.parse().map_err(|error: NameError| IntotoError::Name { at: fields.at("name"), error })
}

fn rules(fields: &Fields<'_>, side: &str) -> Result<Vec<Rule>, IntotoError> {
    rule::read(fields.list(side)?, &fields.at(side))
}
