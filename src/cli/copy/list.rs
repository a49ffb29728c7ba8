//! The list of `--from-file`: a line a bundle.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::client::copy::Onto;
use crate::oci::Reference;

/// Largest list that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// Most bundles in a list.
const MAX_LINES: usize = 10_000;

/// A line that names a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number in the file, from 1.
    pub(super) number: usize,
    pub(super) source: Reference,
    pub(super) destination: Option<Onto>,
}

/// Read a list; `-` is standard input.
pub(super) fn read(path: &Path, cx: &mut Context<'_, '_>) -> Result<Vec<Line>, CliError> {
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
    let lines = parse(&text).map_err(|(number, reason)| {
        bad(format!("line {number}: {reason}")).next("write SOURCE [DESTINATION], and # before a comment")
    })?;
    match lines.len() {
        0 => Err(bad("it names no source".into())),
        n if n > MAX_LINES => Err(bad(format!("it names more than {MAX_LINES} bundles")).next("split it")),
        _ => Ok(lines),
    }
}

/// Words are separated by blanks; by tabs alone in a line that has one, so that a directory's name may have blanks.
fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut out = Vec::new();
    for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let number = at + 1;
        let line = without_comment(line).trim();
        let words: Vec<&str> = match line.contains('\t') {
            true => line.split('\t').map(str::trim).filter(|w| !w.is_empty()).collect(),
            false => line.split_whitespace().collect(),
        };
        let source =
            |word: &str| word.parse().map_err(|e: crate::oci::ReferenceError| (number, e.to_string()));
        let (source, destination) = match words[..] {
            [] => continue,
            [one] => (source(one)?, None),
            [one, other] => (source(one)?, Some(other.parse::<Onto>().map_err(|e| (number, e.to_string()))?)),
            [..] => return Err((number, format!("{} words, and two are expected", words.len()))),
        };
        out.push(Line { number, source, destination });
    }
    Ok(out)
}

/// A comment begins with a `#` at the start of the line or after a blank.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    let hash =
        line.char_indices().find(|(_, c)| std::mem::replace(&mut before, *c).is_whitespace() && *c == '#');
    hash.map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_blanks() {
        let text = "\u{feff}# all\n\na.ex/x:v1\r\n  a.ex/y:v1   b.ex/z  # there\n\toci:/My Stick:v1\tb.ex/m/ # c\n# a\tb\n";
        let lines = parse(text).unwrap();
        let words =
            |l: &Line| (l.number, l.source.to_string(), l.destination.as_ref().map(ToString::to_string));
        assert_eq!(
            lines.iter().map(words).collect::<Vec<_>>(),
            [
                (3, "a.ex/x:v1".to_owned(), None),
                (4, "a.ex/y:v1".to_owned(), Some("b.ex/z".to_owned())),
                (5, "oci:/My Stick:v1".to_owned(), Some("b.ex/m/".to_owned())),
            ]
        );
        for (text, number) in [("a.ex/x:v1\nalpine", 2), ("\n\na.ex/x b.ex/y c.ex/z", 3), ("a.ex/x:v1 b", 1)]
        {
            assert_eq!(parse(text).unwrap_err().0, number, "{text}");
        }
    }
}
