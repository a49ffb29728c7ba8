//! Parameters of layouts: `{NAME}` in rules, expected commands and what inspections run.

use std::collections::BTreeMap;

use crate::intoto::{Inspection, Layout, Rule, RuleError, Step};

/// Values by name, as the verifier gives them.
pub type Parameters = BTreeMap<String, String>;

/// Why a layout with parameters makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// A name of other characters.
    #[error("{0:?} is no name of a parameter: letters, digits, \"_\" and \"-\"")]
    Name(String),
    /// Nothing: a rule with an empty prefix would take names of every folder.
    #[error("the parameter {0:?} is empty")]
    Empty(String),
    /// It stands in the layout, and has no value.
    #[error("the layout asks for the parameter {0:?}, which has no value")]
    Missing(String),
    /// A rule that is none any more.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// The layout with every `{NAME}` replaced once; values are not looked at again. Values are patterns where they stand in patterns.
///
/// # Errors
/// A parameter without value, or a rule that is none with it.
pub fn substitute(layout: &Layout, parameters: &Parameters) -> Result<Layout, ParameterError> {
    if let Some(name) = parameters.keys().find(|name| !is_name(name)) {
        return Err(ParameterError::Name(name.chars().take(100).collect()));
    }
    if let Some((name, _)) = parameters.iter().find(|(_, value)| value.is_empty()) {
        return Err(ParameterError::Empty(name.clone()));
    }
    let words = |words: &[String]| -> Result<Vec<String>, ParameterError> {
        words.iter().map(|word| replaced(word, parameters)).collect()
    };
    let rules = |rules: &[Rule]| -> Result<Vec<Rule>, ParameterError> {
        rules.iter().map(|rule| Ok(Rule::from_words(&words(&rule.to_words())?)?)).collect()
    };
    let step = |step: &Step| -> Result<Step, ParameterError> {
        Ok(Step {
            expected_command: words(&step.expected_command)?,
            expected_materials: rules(&step.expected_materials)?,
            expected_products: rules(&step.expected_products)?,
            ..step.clone()
        })
    };
    let inspection = |inspection: &Inspection| -> Result<Inspection, ParameterError> {
        Ok(Inspection {
            run: words(&inspection.run)?,
            expected_materials: rules(&inspection.expected_materials)?,
            expected_products: rules(&inspection.expected_products)?,
            ..inspection.clone()
        })
    };
    Ok(Layout {
        steps: layout.steps.iter().map(step).collect::<Result<_, _>>()?,
        inspections: layout.inspections.iter().map(inspection).collect::<Result<_, _>>()?,
        ..layout.clone()
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn replaced(word: &str, parameters: &Parameters) -> Result<String, ParameterError> {
    let (mut out, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, tail)) if is_name(name) => {
                let value = parameters.get(name).ok_or_else(|| ParameterError::Missing(name.to_owned()))?;
                out.push_str(value);
                rest = tail;
            }
            // A brace that begins no name is a brace.
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}
