//! The list of `--from-file`: a reference a line.

use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lines::{self, Parsed, lines};
use crate::oci::{Reference, ReferenceError};

/// Read a list; `-` is standard input.
pub(super) fn read(path: &Path, cx: &mut Context<'_, '_>) -> Result<Vec<Reference>, CliError> {
    lines::read(path, cx, parse, "one reference a line", ("reference", "references"))
}

/// A reference goes to the end of the line, for the name of a directory may have blanks.
fn parse(text: &str) -> Parsed<Reference> {
    lines(text).map(|(n, line)| line.parse().map_err(|e: ReferenceError| (n, e.to_string()))).collect()
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
