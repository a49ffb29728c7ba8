//! Results, notes and errors as text or as one JSON document.

mod human;
mod json;

pub(super) use human::{age, clean, columns, size, span, text};
pub(super) use json::json;

use std::io::Write;

use super::error::{CliError, Exit};

/// What a command came to. It exists also when the answer is no.
pub(super) trait Outcome {
    /// The exit code.
    fn exit(&self) -> Exit {
        self.error().map_or(Exit::Done, |e| e.exit)
    }

    /// What went wrong although there is a result to show.
    fn error(&self) -> Option<&CliError> {
        None
    }

    /// Whether its JSON document is one line: the last of many.
    fn is_line(&self) -> bool {
        false
    }

    /// For people, on standard output.
    ///
    /// # Errors
    /// Those of `out`.
    fn text(&self, out: &mut dyn Write) -> std::io::Result<()>;

    /// The member `result` of the JSON document.
    fn json(&self) -> serde_json::Value;
}

/// Something worth knowing that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// All that one run of a command says.
pub(super) struct Document<'a> {
    pub(super) command: &'a str,
    pub(super) result: &'a Result<Box<dyn Outcome>, CliError>,
    pub(super) notes: &'a [Note],
}

impl Document<'_> {
    /// What went wrong, with or without a result.
    pub(super) fn error(&self) -> Option<&CliError> {
        match self.result {
            Ok(outcome) => outcome.error(),
            Err(e) => Some(e),
        }
    }

    /// The exit code that belongs to it.
    pub(super) fn exit(&self) -> Exit {
        match self.result {
            Ok(outcome) => outcome.exit(),
            Err(e) => e.exit,
        }
    }
}
