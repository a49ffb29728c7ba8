//! Patterns of rules: Python's `fnmatch`, case-sensitive, over the whole name (PyPI `in-toto`). Not the dialect of TUF paths.
//!
//! `*` and `?` cross `/` and match dot files; `[!x]` negates and `[^x]` does not; `]` first in a class is a character; `[` without
//! `]`, and the backslash, are characters; an empty range (`[z-a]`) matches nothing.

use std::fmt;

/// A pattern, ready to match.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Star,
    Any,
    Char(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Every text is a pattern.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), tokens: tokens(text) }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one name that matches, where the pattern has nothing else in it.
    pub fn literal(&self) -> Option<&str> {
        let plain = self.tokens.iter().all(|token| matches!(token, Token::Char(_)));
        plain.then_some(self.text.as_str())
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.matches_counted(name, &mut 0)
    }

    /// The same; what it took is added to `steps`.
    pub(super) fn matches_counted(&self, name: &str, steps: &mut u64) -> bool {
        let tokens = &self.tokens;
        let (mut at, mut rest) = (0, name);
        // After the last star: the token behind it, and what it has not swallowed yet. Only the last star can need more, so the
        // time is at most the product of both lengths.
        let mut star: Option<(usize, &str)> = None;
        loop {
            *steps += 1;
            let head = rest.chars().next();
            match (tokens.get(at), head) {
                (Some(Token::Star), _) => {
                    at += 1;
                    star = Some((at, rest));
                }
                (None, None) => return true,
                (Some(token), Some(c)) if token.takes(c) => {
                    at += 1;
                    rest = &rest[c.len_utf8()..];
                }
                _ => {
                    let Some((behind, left)) = star else { return false };
                    let mut chars = left.chars();
                    if chars.next().is_none() {
                        return false;
                    }
                    (at, rest) = (behind, chars.as_str());
                    star = Some((behind, rest));
                }
            }
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::Char(own) => *own == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (Vec::new(), 0);
    // Without a `]` further on, no later `[` begins a class either.
    let last_close = chars.iter().rposition(|c| *c == ']');
    while let Some(c) = chars.get(at) {
        at += 1;
        match c {
            '*' => {
                if out.last() != Some(&Token::Star) {
                    out.push(Token::Star);
                }
            }
            '?' => out.push(Token::Any),
            '[' => match last_close.filter(|last| *last >= at).and_then(|_| end_of_class(&chars, at)) {
                Some(end) => {
                    out.push(class(&chars[at..end]));
                    at = end + 1;
                }
                None => out.push(Token::Char('[')),
            },
            c => out.push(Token::Char(*c)),
        }
    }
    out
}

/// Where the class ends that begins at `start`: at a `]` that is not its first character.
fn end_of_class(chars: &[char], start: usize) -> Option<usize> {
    let mut from = start;
    if chars.get(from) == Some(&'!') {
        from += 1;
    }
    if chars.get(from) == Some(&']') {
        from += 1;
    }
    chars.get(from..)?.iter().position(|c| *c == ']').map(|n| from + n)
}

/// What stands between the brackets, cut at hyphens as `fnmatch.translate` cuts: a hyphen that is first or last is a character, and
/// so is one right behind a range. A range whose ends are out of order is dropped together with both.
fn class(inner: &[char]) -> Token {
    let negated = inner.first() == Some(&'!');
    let inner = if negated { &inner[1..] } else { inner };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        let low = inner[at];
        match inner.get(at + 1..at + 3) {
            Some(['-', high]) => {
                if low <= *high {
                    ranges.push((low, *high));
                }
                at += 3;
            }
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
    Token::Class { negated, ranges }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
