//! Layouts from a short description in TOML (docs/commands/in-toto.md "Descriptions").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use crate::intoto::{Inspection, Key, Layout, MAX_DOCUMENT, Rule, Step, StepName};
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::Duration;

/// Largest description, in bytes.
pub const MAX_DESCRIPTION: u64 = 1 << 20;

/// A description, read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    expires: String,
    #[serde(default)]
    readme: String,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    #[serde(default)]
    step: Vec<StepText>,
    #[serde(default)]
    inspection: Vec<InspectionText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    name: String,
    by: Vec<String>,
    #[serde(default = "one")]
    threshold: u32,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    materials: Vec<RuleText>,
    #[serde(default)]
    products: Vec<RuleText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct InspectionText {
    name: String,
    run: Vec<String>,
    #[serde(default)]
    materials: Vec<RuleText>,
    #[serde(default)]
    products: Vec<RuleText>,
}

/// A rule as one line, split at spaces, or word by word.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a rule is one line or a list of words")]
enum RuleText {
    Line(String),
    Words(Vec<String>),
}

fn one() -> u32 {
    1
}

/// Why a description makes no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// Not TOML, or a member that is missing, unknown or of another type.
    #[error("{0}")]
    Form(String),
    /// No time, or one that is past.
    #[error(
        "expires = {0:?} is no span as in \"365d\" and no time as in \"2027-05-01T12:00:00Z\" that is still to come"
    )]
    Expires(String),
    /// Nothing to verify.
    #[error("there is no [[step]]")]
    Empty,
    /// In a step or inspection.
    #[error("{at}: {why}")]
    In {
        /// Which.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// A key that cannot be read.
    #[error("the key {name}: {why}")]
    Key {
        /// Its name in the description.
        name: String,
        /// Why.
        why: String,
    },
}

/// What a layout lets through that its author may not have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// A list of rules without `DISALLOW *`: what no rule takes is allowed.
    Open {
        /// Step or inspection.
        at: String,
        /// `materials` or `products`.
        side: &'static str,
    },
    /// A closed list that a link with nothing in it meets, too.
    Empty {
        /// Step or inspection.
        at: String,
        /// `materials` or `products`.
        side: &'static str,
    },
    /// One key for several steps.
    OneHand {
        /// Its name in the description.
        key: String,
        /// Which.
        steps: Vec<String>,
    },
    /// A key that no step names.
    Unused(String),
    /// An inspection: bulla runs it only where the policy allows it by name.
    Runs(String),
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { at, side } => {
                write!(f, "{at} takes any further {side}: its rules do not end with DISALLOW *")
            }
            Self::Empty { at, side } => {
                write!(f, "{at} may list no {side} at all, and pass: no rule REQUIREs one")
            }
            Self::OneHand { key, steps } => {
                write!(f, "the key {key} may do each of {}", steps.join(", "))
            }
            Self::Unused(name) => write!(f, "no step names the key {name}"),
            Self::Runs(name) => {
                write!(
                    f,
                    "{name} is a command on the verifier's machine: bulla runs it only where that is allowed"
                )
            }
        }
    }
}

impl Description {
    /// Read a description.
    ///
    /// # Errors
    /// Not TOML, or a member that is missing, unknown or of another type: with its line.
    pub fn parse(text: &str) -> Result<Self, DescriptionError> {
        toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|at| text.get(..at.start));
            let line = before.map(|before| format!("line {}: ", 1 + before.matches('\n').count()));
            DescriptionError::Form(format!("{}{}", line.unwrap_or_default(), e.message()))
        })
    }

    /// The layout as of `now`; `key` finds what stands behind the values of `[keys]`.
    ///
    /// # Errors
    /// A name, rule or key that is none; a threshold that cannot be reached; a rule about a step that is not there.
    pub fn layout(
        &self,
        now: UnixTime,
        key: &mut dyn FnMut(&str) -> Result<Key, String>,
    ) -> Result<(Layout, Vec<Concern>), DescriptionError> {
        let mut concerns = Vec::new();
        let expires =
            expiry(&self.expires, now).ok_or_else(|| DescriptionError::Expires(self.expires.clone()))?;
        let mut layout = Layout {
            expires,
            readme: self.readme.clone(),
            keys: BTreeMap::new(),
            steps: Vec::new(),
            inspections: Vec::new(),
        };
        if self.step.is_empty() {
            return Err(DescriptionError::Empty);
        }
        let mut ids: BTreeMap<&str, KeyId> = BTreeMap::new();
        for (name, value) in &self.keys {
            let key = key(value).map_err(|why| DescriptionError::Key { name: name.clone(), why })?;
            ids.insert(name, layout.add_key(key));
            if !self.step.iter().any(|step| step.by.contains(name)) {
                concerns.push(Concern::Unused(name.clone()));
            }
        }
        for (id, key) in ids.iter().map(|(name, id)| (id, name)).collect::<BTreeMap<_, _>>() {
            let may = |step: &&StepText| step.by.iter().any(|by| ids.get(by.as_str()) == Some(id));
            let steps: Vec<String> = self.step.iter().filter(may).map(|step| step.name.clone()).collect();
            if steps.len() > 1 {
                concerns.push(Concern::OneHand { key: (*key).to_owned(), steps });
            }
        }
        let mut names = BTreeSet::new();
        for step in &self.step {
            let at = format!("step {}", step.name);
            names.insert(step.name.as_str());
            layout.steps.push(step.read(&at, &ids, &mut concerns)?);
        }
        for inspection in &self.inspection {
            let at = format!("inspection {}", inspection.name);
            names.insert(inspection.name.as_str());
            layout.inspections.push(inspection.read(&at, &mut concerns)?);
            concerns.push(Concern::Runs(at));
        }
        if names.len() < layout.steps.len() + layout.inspections.len() {
            return Err(DescriptionError::Form("two steps or inspections have one name".into()));
        }
        for step in &layout.steps {
            for rule in step.expected_materials.iter().chain(&step.expected_products) {
                refers(rule, &format!("step {}", step.name), &names)?;
            }
        }
        for inspection in &layout.inspections {
            for rule in inspection.expected_materials.iter().chain(&inspection.expected_products) {
                refers(rule, &format!("inspection {}", inspection.name), &names)?;
            }
        }
        // Whatever the verifier refuses is refused here.
        let value = layout.to_value();
        Layout::from_value(&value).map_err(|e| DescriptionError::Form(e.to_string()))?;
        if value.to_string().len() > MAX_DOCUMENT / 2 {
            return Err(DescriptionError::Form("the layout is larger than verifiers read".into()));
        }
        Ok((layout, concerns))
    }
}

fn expiry(text: &str, now: UnixTime) -> Option<UnixTime> {
    let at = match text.parse::<Duration>() {
        Ok(span) => UnixTime::from_secs(now.secs().checked_add(span.secs())?),
        Err(_) => text.parse().ok()?,
    };
    (at > now).then_some(at)
}

fn refers(rule: &Rule, at: &str, names: &BTreeSet<&str>) -> Result<(), DescriptionError> {
    match rule {
        Rule::Match(m) if !names.contains(m.from.as_str()) => Err(DescriptionError::In {
            at: at.to_owned(),
            why: format!("{rule} is about a step that is not there, and would match nothing"),
        }),
        _ => Ok(()),
    }
}

fn rules(
    texts: &[RuleText],
    at: &str,
    side: &'static str,
    concerns: &mut Vec<Concern>,
) -> Result<Vec<Rule>, DescriptionError> {
    let words = |text: &RuleText| match text {
        RuleText::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
        RuleText::Words(words) => words.clone(),
    };
    let rules = texts.iter().map(|text| Rule::from_words(&words(text)));
    let rules: Vec<Rule> = rules
        .collect::<Result<_, _>>()
        .map_err(|e| DescriptionError::In { at: at.to_owned(), why: format!("{side}: {e}") })?;
    if !rules.iter().any(|rule| matches!(rule, Rule::Disallow(glob) if glob.as_str() == "*")) {
        concerns.push(Concern::Open { at: at.to_owned(), side });
    } else if rules.len() > 1 && !rules.iter().any(|rule| matches!(rule, Rule::Require(_))) {
        concerns.push(Concern::Empty { at: at.to_owned(), side });
    }
    Ok(rules)
}

fn name(text: &str, at: &str) -> Result<StepName, DescriptionError> {
    text.parse()
        .map_err(|e: crate::intoto::NameError| DescriptionError::In { at: at.to_owned(), why: e.to_string() })
}

impl StepText {
    fn read(
        &self,
        at: &str,
        ids: &BTreeMap<&str, KeyId>,
        concerns: &mut Vec<Concern>,
    ) -> Result<Step, DescriptionError> {
        let refused = |why: String| DescriptionError::In { at: at.to_owned(), why };
        let mut pubkeys: Vec<KeyId> = Vec::new();
        for by in &self.by {
            let id =
                ids.get(by.as_str()).ok_or_else(|| refused(format!("{by:?} is no name under [keys]")))?;
            // One key under two names is one voice.
            if !pubkeys.contains(id) {
                pubkeys.push(id.clone());
            }
        }
        if self.threshold == 0 || self.threshold as usize > pubkeys.len() {
            return Err(refused(format!(
                "threshold = {} cannot be: {} different keys may sign",
                self.threshold,
                pubkeys.len()
            )));
        }
        Ok(Step {
            name: name(&self.name, at)?,
            threshold: self.threshold,
            pubkeys,
            expected_command: self.command.clone(),
            expected_materials: rules(&self.materials, at, "materials", concerns)?,
            expected_products: rules(&self.products, at, "products", concerns)?,
        })
    }
}

impl InspectionText {
    fn read(&self, at: &str, concerns: &mut Vec<Concern>) -> Result<Inspection, DescriptionError> {
        Ok(Inspection {
            name: name(&self.name, at)?,
            run: self.run.clone(),
            expected_materials: rules(&self.materials, at, "materials", concerns)?,
            expected_products: rules(&self.products, at, "products", concerns)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{MemorySigner, Signer as _};

    const NOW: &str = "2026-05-01T12:00:00Z";
    const GOOD: &str = r#"
expires = "30d"
[keys]
one = "1"
two = "2"
[[step]]
name = "build"
by = ["one", "two"]
threshold = 2
materials = ["ALLOW src/*", "DISALLOW *"]
products = [["CREATE", "a b"], "DISALLOW *"]
[[step]]
name = "package"
by = ["two"]
materials = ["MATCH * IN out WITH PRODUCTS FROM build", "DISALLOW *"]
products = ["CREATE oci:*"]
"#;

    fn key(seed: &str) -> Result<Key, String> {
        let seed: u8 = seed.parse().map_err(|_| "no seed".to_owned())?;
        Ok(MemorySigner::from_seed(&[seed; 32]).unwrap().public_key().clone().into())
    }

    fn made(text: &str) -> Result<(Layout, Vec<Concern>), DescriptionError> {
        Description::parse(text)?.layout(NOW.parse().unwrap(), &mut key)
    }

    #[test]
    fn a_layout_out_of_a_few_lines() {
        let (layout, concerns) = made(GOOD).unwrap();
        assert_eq!(layout.expires.to_string(), "2026-05-31T12:00:00Z");
        assert_eq!((layout.keys.len(), layout.steps.len()), (2, 2));
        assert_eq!((layout.steps[0].threshold, layout.steps[0].pubkeys.len()), (2, 2));
        assert_eq!(layout.steps[0].expected_products[0].to_words(), ["CREATE", "a b"]);
        let empty = |at: &str, side| Concern::Empty { at: at.into(), side };
        assert_eq!(
            concerns,
            [
                Concern::OneHand { key: "two".into(), steps: vec!["build".into(), "package".into()] },
                empty("step build", "materials"),
                empty("step build", "products"),
                empty("step package", "materials"),
                Concern::Open { at: "step package".into(), side: "products" },
            ]
        );
    }

    #[test]
    fn what_makes_no_layout() {
        for (from, to, why) in [
            ("30d", "soon", "expires"),
            ("30d", "2020-01-01T00:00:00Z", "still to come"),
            ("two = \"2\"", "two = \"1\"", "1 different keys"),
            ("two = \"2\"", "two = \"x\"", "no seed"),
            ("threshold = 2", "threshold = 3", "threshold = 3"),
            ("threshold = 2", "threshold = 0", "threshold = 0"),
            ("threshold = 2", "treshold = 2", "line 9: unknown field `treshold`"),
            ("\"ALLOW src/*\"", "1", "a rule is one line or a list of words"),
            ("FROM build", "FROM biuld", "not there"),
            ("ALLOW src/*", "PERMIT src/*", "PERMIT"),
            ("ALLOW src/*", "ALLOW a b", "ALLOW a b"),
            ("name = \"package\"", "name = \"build\"", "one name"),
            ("name = \"package\"", "name = \"../x\"", "../x"),
            ("by = [\"two\"]", "by = [\"three\"]", "three"),
            ("by = [\"two\"]", "by = []", "0 different keys"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let said = made(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(said.contains(why), "{to}: {said}");
        }
        assert_eq!(made("expires = \"1d\"").unwrap_err(), DescriptionError::Empty);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(text in "(expires|keys|step|\\[\\[step\\]\\]|name|by|=|\"|\\[|\\]|\n|a|1|,){0,60}") {
            let _ = made(&text);
        }
    }
}
