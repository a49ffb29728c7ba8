//! Text for people.

use std::io::{self, Write};

use super::Document;
use crate::cli::context::Env;
use crate::time::UnixTime;
use crate::tuf::is_unseen;

/// The result to standard output; notes and the error to standard error.
pub(in crate::cli) fn text(document: &Document<'_>, env: &mut Env<'_>) -> io::Result<()> {
    if let Ok(outcome) = document.result {
        outcome.text(env.stdout)?;
    }
    for note in document.notes {
        writeln!(env.stderr, "note: {} ({})", clean(&note.message), note.code)?;
    }
    if let Some(e) = document.error() {
        writeln!(env.stderr, "error: {}", clean(&e.message))?;
        if let Some(reason) = &e.reason {
            writeln!(env.stderr, "  reason: {}", clean(reason))?;
        }
        if let Some(next) = &e.next {
            writeln!(env.stderr, "  next: {}", clean(next))?;
        }
    }
    Ok(())
}

/// Rows of cells, two spaces between columns, nothing after the last.
pub(in crate::cli) fn columns(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{:width$}  ", clean(cell)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `text` without characters that control a terminal, hide or turn the direction of writing: registries and files do not get
/// to show something else than they say.
pub(in crate::cli) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { '\u{fffd}' } else { c }).collect()
}

/// A number of bytes with a unit of thousands: `402 B`, `3.1 kB`, `2.6 MB`.
pub(in crate::cli) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    for unit in ["kB", "MB", "GB", "TB"] {
        value /= 1000.0;
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} PB", value / 1000.0)
}

/// How long before `now` an RFC 3339 time was: `2 days`. `None` when it is none, or in the future.
pub(in crate::cli) fn age(then: &str, now: UnixTime) -> Option<String> {
    let then: jiff::Timestamp = then.parse().ok()?;
    now.secs().checked_sub(then.as_second()).filter(|s| *s >= 0).map(span)
}

/// A number of seconds in its largest unit: `2 days`.
pub(in crate::cli) fn span(secs: i64) -> String {
    let (n, unit) = match secs {
        ..60 => (secs, "second"),
        60..3600 => (secs / 60, "minute"),
        3600..86_400 => (secs / 3600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_do_not_pass() {
        let rows = [
            vec!["a".into(), "long cell".into(), "x".into()],
            vec!["bbb".into(), "\u{1b}[2J\u{202e}".into()],
        ];
        let mut out = Vec::new();
        columns(&mut out, &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a    long cell  x\nbbb  \u{fffd}[2J\u{fffd}\n");
    }

    #[test]
    fn sizes_and_ages() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (5_300_000, "5.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let now = "2026-05-03T12:00:00Z".parse().unwrap();
        for (then, is) in [
            ("2026-05-01T12:00:00Z", Some("2 days")),
            ("2026-05-03T10:59:00Z", Some("1 hour")),
            ("2026-05-03T11:59:30.5+00:00", Some("30 seconds")),
            ("2027-01-01T00:00:00Z", None),
            ("lately", None),
        ] {
            assert_eq!(age(then, now).as_deref(), is, "{then}");
        }
    }
}
