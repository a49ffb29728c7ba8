//! Patterns of files that are not recorded: the form of `.gitignore` (gitignore(5), "Pattern format"), as the reference takes
//! them.

/// Left out unless other patterns are given: links themselves, what git keeps, byte code, backups.
const DEFAULT: &[&str] = &["*.link*", ".git", "*.pyc", "*~"];
/// Longest pattern, and most of them.
const MAX_PATTERN: usize = 1024;
const MAX_PATTERNS: usize = 1000;

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} {why}")]
pub struct PatternError {
    /// As it was given; at most 80 characters.
    pattern: String,
    why: &'static str,
}

/// What is left out. The last pattern that fits a path decides; a folder that is left out takes all below it along.
#[derive(Debug, Clone, Default)]
pub struct Exclude(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    /// `!`: what fits is recorded after all.
    again: bool,
    /// A slash at its end: folders only.
    folders: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// `**` between slashes: any number of folders.
    Any,
    /// Within one name.
    Name(Vec<Unit>),
}

#[derive(Debug, Clone)]
enum Unit {
    Char(char),
    One,
    Many,
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Exclude {
    /// These patterns, or those of the reference where none is given.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        if patterns.is_empty() {
            return Self::of(DEFAULT.iter().copied());
        }
        Self::of(patterns.iter().map(AsRef::as_ref))
    }

    fn of<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut all = Vec::new();
        for pattern in patterns {
            if all.len() == MAX_PATTERNS {
                return Err(refused(pattern, "is one more than are taken"));
            }
            all.extend(Pattern::parse(pattern)?);
        }
        Ok(Self(all))
    }

    /// Whether the file or folder at `path` is left out: relative, `/` between names.
    pub fn covers(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let fits = |pattern: &&Pattern| pattern.fits(&names);
        self.0.iter().rev().find(fits).is_some_and(|pattern| !pattern.again)
    }
}

fn refused(pattern: &str, why: &'static str) -> PatternError {
    PatternError { pattern: pattern.chars().take(80).collect(), why }
}

impl Pattern {
    /// `None` for an empty line and a comment.
    fn parse(text: &str) -> Result<Option<Self>, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(refused(text, "is too long"));
        }
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let (again, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (folders, rest) = match rest.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let anchored = rest.contains('/');
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(refused(text, "names nothing"));
        }
        let mut parts = Vec::new();
        if !anchored {
            parts.push(Part::Any);
        }
        for name in rest.split('/') {
            match name {
                "**" if matches!(parts.last(), Some(Part::Any)) => {}
                "**" => parts.push(Part::Any),
                "" => return Err(refused(text, "has two slashes side by side")),
                name => parts.push(Part::Name(units(name).map_err(|why| refused(text, why))?)),
            }
        }
        // `a/**` is all that is in a, and not a itself.
        if matches!(parts.last(), Some(Part::Any)) {
            parts.push(Part::Name(vec![Unit::Many]));
        }
        Ok(Some(Self { again, folders, parts }))
    }

    /// Whether the path, or a folder that it lies in, fits.
    fn fits(&self, names: &[&str]) -> bool {
        let whole = names.len() - usize::from(self.folders && !names.is_empty());
        (1..=whole).any(|n| parts_fit(&self.parts, &names[..n]))
    }
}

fn units(name: &str) -> Result<Vec<Unit>, &'static str> {
    let mut units = Vec::new();
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if matches!(units.last(), Some(Unit::Many)) => {}
            '*' => units.push(Unit::Many),
            '?' => units.push(Unit::One),
            '\\' => units.push(Unit::Char(rest.next().ok_or("ends with a backslash")?)),
            '[' => units.push(class(&mut rest)?),
            c => units.push(Unit::Char(c)),
        }
    }
    Ok(units)
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Unit, &'static str> {
    const OPEN: &str = "has a [ without its ]";
    let not = rest.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match rest.next().ok_or(OPEN)? {
            ']' if !ranges.is_empty() => return Ok(Unit::Class { not, ranges }),
            '\\' => rest.next().ok_or(OPEN)?,
            c => c,
        };
        // A dash before the end stands for itself.
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                rest.next();
                rest.next();
                to
            }
            _ => from,
        };
        if to < from {
            return Err("has a range that runs backwards");
        }
        ranges.push((from, to));
    }
}

/// A table instead of recursion: `**/**/…` costs no more than its length times the path's.
fn parts_fit(parts: &[Part], names: &[&str]) -> bool {
    sequence_fits(
        parts,
        names,
        |part| matches!(part, Part::Any),
        |part, name| match part {
            Part::Any => true,
            Part::Name(units) => {
                let chars: Vec<char> = name.chars().collect();
                units_fit(units, &chars)
            }
        },
    )
}

fn units_fit(units: &[Unit], chars: &[char]) -> bool {
    sequence_fits(
        units,
        chars,
        |unit| matches!(unit, Unit::Many),
        |unit, c| match unit {
            Unit::Char(is) => is == c,
            Unit::One | Unit::Many => true,
            Unit::Class { not, ranges } => ranges.iter().any(|(from, to)| (from..=to).contains(&c)) != *not,
        },
    )
}

/// Whether a sequence fits a pattern in which some elements stand for any number of items.
fn sequence_fits<P, T>(
    pattern: &[P],
    items: &[T],
    many: impl Fn(&P) -> bool,
    one: impl Fn(&P, &T) -> bool,
) -> bool {
    // reached[j]: the pattern so far fits the first j items.
    let mut reached = vec![false; items.len() + 1];
    reached[0] = true;
    for element in pattern {
        if many(element) {
            let first = reached.iter().position(|r| *r).unwrap_or(items.len() + 1);
            reached.iter_mut().skip(first).for_each(|r| *r = true);
        } else {
            for j in (1..=items.len()).rev() {
                reached[j] = reached[j - 1] && one(element, &items[j - 1]);
            }
            reached[0] = false;
        }
    }
    reached[items.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(patterns: &[&str], path: &str) -> bool {
        Exclude::new(patterns).unwrap().covers(path)
    }

    /// Answers of pathspec's `GitIgnoreSpec`, which the reference uses.
    #[test]
    fn as_the_reference() {
        for (patterns, path, is) in [
            (&["*.link*"][..], "a/b.link", true),
            (&["*.link*"], "a.link-unfinished", true),
            (&["*.link*"], "a.lin", false),
            (&[".git"], ".git/config", true),
            (&[".git"], "sub/.git/x", true),
            (&[".git"], ".gitignore", false),
            (&["a/b"], "a/b/c", true),
            (&["a/b"], "x/a/b", false),
            (&["/b"], "a/b", false),
            (&["/b"], "b", true),
            (&["b/"], "b", false),
            (&["b/"], "b/c", true),
            (&["b/"], "x/b/c", true),
            (&["a/*"], "a/b/c", true),
            (&["a/*"], "a", false),
            (&["a/**"], "a/b/c", true),
            (&["a/**"], "a", false),
            (&["**/x"], "a/b/x", true),
            (&["**/x"], "x", true),
            (&["a/**/x"], "a/x", true),
            (&["a/**/x"], "a/b/c/x", true),
            (&["a/**/x"], "a/b/cx", false),
            (&["*.o", "!keep.o"], "d/keep.o", false),
            (&["*.o", "!keep.o"], "d/other.o", true),
            (&["!keep.o", "*.o"], "keep.o", true),
            (&["[a-c]?.t"], "bz.t", true),
            (&["[!a-c]?.t"], "bz.t", false),
            (&["\\*"], "*", true),
            (&["\\*"], "a", false),
            (&["# comment"], "# comment", false),
            (&["foo*bar"], "foo/bar", false),
        ] {
            assert_eq!(covers(patterns, path), is, "{patterns:?} {path}");
        }
        let default: &[&str] = &[];
        for (path, is) in [("a~", true), ("x/y.pyc", true), ("main.c", false), ("build.link.txt", true)] {
            assert_eq!(covers(default, path), is, "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in ["/", "!/", "a//b", "[a", "x\\", "[b-a]"] {
            assert!(Exclude::new(&[bad]).is_err(), "{bad}");
        }
        assert!(Exclude::new(&["x".repeat(1025)]).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_takes_long_or_panics(pattern in "[*?a/\\[\\]!^.\\\\-]{0,40}", path in "[a/.]{0,60}") {
            if let Ok(exclude) = Exclude::new(&[pattern]) {
                let _ = exclude.covers(&path);
            }
        }
    }
}
