//! Lists of `--from-file`: a file or standard input, an entry a line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::context::Context;
use super::error::CliError;

/// Largest list that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// Most entries in a list.
const MAX_LINES: usize = 10_000;

/// Entries, or the number of the line that is none, and why.
pub(super) type Parsed<T> = Result<Vec<T>, (usize, String)>;

/// Read a list; `-` is standard input. `form` says what a line looks like, `one` and `many` what it names.
pub(super) fn read<T>(
    path: &Path,
    cx: &mut Context<'_, '_>,
    parse: impl Fn(&str) -> Parsed<T>,
    form: &str,
    (one, many): (&str, &str),
) -> Result<Vec<T>, CliError> {
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
    let entries = parse(&text).map_err(|(number, reason)| {
        bad(format!("line {number}: {reason}")).next(format!("write {form}, and # before a comment"))
    })?;
    match entries.len() {
        0 => Err(bad(format!("it names no {one}"))),
        n if n > MAX_LINES => Err(bad(format!("it names more than {MAX_LINES} {many}")).next("split it")),
        _ => Ok(entries),
    }
}

/// The lines that say something, each with its number from 1. A comment begins with a `#` at the start of the line or after a
/// blank.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    lines.map(|(at, line)| (at + 1, without_comment(line).trim())).filter(|(_, line)| !line.is_empty())
}

fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    let hash =
        line.char_indices().find(|(_, c)| std::mem::replace(&mut before, *c).is_whitespace() && *c == '#');
    hash.map_or(line, |(at, _)| &line[..at])
}
