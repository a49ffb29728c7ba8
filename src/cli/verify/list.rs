//! The list of `--from-file`: a reference a line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::oci::Reference;

/// Largest list that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// Most references in a list.
const MAX_LINES: usize = 10_000;

/// Read a list; `-` is standard input.
pub(super) fn read(path: &Path, cx: &mut Context<'_, '_>) -> Result<Vec<Reference>, CliError> {
    let mut bytes = Vec::new();
    let failed = |e: std::io::Error| CliError::io("read", path, e);
    match path.to_str() {
        Some("-") => cx.stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?,
        _ => File::open(path).and_then(|f| f.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?,
    };
    let bad =
        |reason: String| CliError::usage(format!("cannot use the list {}", path.display())).reason(reason);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(bad(format!("it is larger than {MAX_BYTES} bytes")).next("split it"));
    }
    let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8".into()))?;
    let references = parse(&text).map_err(|(number, reason)| {
        bad(format!("line {number}: {reason}")).next("write one reference a line, and # before a comment")
    })?;
    match references.len() {
        0 => Err(bad("it names no reference".into())),
        n if n > MAX_LINES => Err(bad(format!("it names more than {MAX_LINES} references")).next("split it")),
        _ => Ok(references),
    }
}

/// A comment begins with a `#` at the start of the line or after a blank; a reference goes to the end of the line, for the name of
/// a directory may have blanks.
fn parse(text: &str) -> Result<Vec<Reference>, (usize, String)> {
    let mut out = Vec::new();
    for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let mut before = ' ';
        let hash = line
            .char_indices()
            .find(|(_, c)| std::mem::replace(&mut before, *c).is_whitespace() && *c == '#');
        let line = hash.map_or(line, |(at, _)| &line[..at]).trim();
        if !line.is_empty() {
            out.push(line.parse().map_err(|e: crate::oci::ReferenceError| (at + 1, e.to_string()))?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_blanks() {
        let text = "\u{feff}# all\n\na.ex/x:v1\r\n  a.ex/y:v1  # there\noci:/My Stick:v1\t# c\n";
        let read: Vec<String> = parse(text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(read, ["a.ex/x:v1", "a.ex/y:v1", "oci:/My Stick:v1"]);
        assert_eq!(parse("a.ex/x:v1\nalpine").unwrap_err().0, 2);
        assert_eq!(parse("").unwrap(), []);
    }
}
