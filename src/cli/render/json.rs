//! The one JSON document of a command.

use std::io::{self, Write};

use serde_json::{Value, json as value};

use super::Document;

/// Version of the document's members; grows when one changes its meaning or goes away.
const SCHEMA_VERSION: u32 = 1;

/// The whole document, on success and on failure alike.
pub(in crate::cli) fn json(document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    let result = document.result.as_ref().map_or(Value::Null, |outcome| outcome.json());
    let error = document
        .error()
        .map(|e| value!({"code": e.code, "message": e.message, "reason": e.reason, "next": e.next}));
    let notes: Vec<Value> =
        document.notes.iter().map(|n| value!({"code": n.code, "message": n.message})).collect();
    let whole = value!({
        "schemaVersion": SCHEMA_VERSION,
        "command": document.command,
        "exitCode": document.exit() as u8,
        "result": result,
        "notes": notes,
        "error": error,
    });
    match document.result {
        Ok(outcome) if outcome.is_line() => writeln!(out, "{whole}"),
        _ => writeln!(out, "{whole:#}"),
    }
}
