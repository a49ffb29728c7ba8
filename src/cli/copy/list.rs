//! The list of `--from-file`: a line a bundle.

use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lines::{self, Parsed, lines};
use crate::client::copy::Onto;
use crate::oci::Reference;

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
    lines::read(path, cx, parse, "SOURCE [DESTINATION]", ("source", "bundles"))
}

/// Words are separated by blanks; by tabs alone in a line that has one, so that a directory's name may have blanks.
fn parse(text: &str) -> Parsed<Line> {
    let mut out = Vec::new();
    for (number, line) in lines(text) {
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
