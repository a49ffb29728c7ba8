//! What two patterns have in common: whether some path matches both, and whether one covers the other.

use super::{PathPattern, Paths};

impl PathPattern {
    /// Whether any path matches both patterns. Exact: segments are independent of each other.
    pub fn overlaps(&self, other: &Self) -> bool {
        each_segment(self, other, segments_meet)
    }

    /// Whether every path that matches `self` matches `other`. "No" may be wrong where stars and question marks stand side by
    /// side (`?*` and `*?` match the same); "yes" never is.
    pub fn within(&self, other: &Self) -> bool {
        each_segment(self, other, segment_within)
    }
}

impl Paths {
    /// Whether some path may be covered by `self` and by `pattern`. Of a hash prefix that cannot be told from a pattern: yes.
    pub fn may_overlap(&self, pattern: &PathPattern) -> Option<String> {
        match self {
            Self::Patterns(ours) => ours.iter().find(|p| p.overlaps(pattern)).map(ToString::to_string),
            Self::HashPrefixes(ours) => ours.first().map(|prefix| format!("hash prefix {prefix}")),
        }
    }

    /// Whether one of the patterns covers all that `pattern` does. Of a hash prefix that cannot be told: no.
    pub fn include(&self, pattern: &PathPattern) -> bool {
        match self {
            Self::Patterns(ours) => ours.iter().any(|p| pattern.within(p)),
            Self::HashPrefixes(_) => false,
        }
    }
}

fn each_segment(a: &PathPattern, b: &PathPattern, holds: fn(&[char], &[char]) -> bool) -> bool {
    let (mut ours, mut theirs) = (a.as_str().split('/'), b.as_str().split('/'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => {
                let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
                if !holds(&a, &b) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Whether a text matches both, row by row: `next[j]` says it of `a[i + 1..]` and `b[j..]`.
fn segments_meet(a: &[char], b: &[char]) -> bool {
    let mut next = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            let (ours, theirs) = (a.get(i), b.get(j));
            // A star takes nothing, or whatever the other side offers next.
            row[j] = match (ours, theirs) {
                (None, None) => true,
                (Some('*'), None) => next[j],
                (None, Some('*')) => row[j + 1],
                (Some('*'), Some(_)) | (Some(_), Some('*')) => next[j] || row[j + 1],
                (Some(x), Some(y)) => (x == y || *x == '?' || *y == '?') && next[j + 1],
                _ => false,
            };
        }
        next = row;
    }
    next[0]
}

/// Whether `b` matches `a` read as a text in which a star can only be taken by a star, and a question mark by either.
fn segment_within(a: &[char], b: &[char]) -> bool {
    let mut next = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            let one = |fits: bool| fits && next.get(j + 1).copied().unwrap_or(false);
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (None, Some('*')) => row[j + 1],
                (Some(_), Some('*')) => next[j] || row[j + 1],
                (Some('*'), _) | (None, _) | (_, None) => false,
                (Some('?'), Some(y)) => one(*y == '?'),
                (Some(x), Some(y)) => one(x == y || *y == '?'),
            };
        }
        next = row;
    }
    next[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn p(s: &str) -> PathPattern {
        PathPattern::parse(s).unwrap()
    }

    #[test]
    fn what_siblings_share() {
        for (a, b, is) in [
            ("c:dev-*", "c:v*", false),
            ("c:dev-*", "c:*-rc", true),
            ("c:*", "c@sha256:*", false),
            ("c:a*b", "c:*a*b*", true),
            ("c:a?", "c:ab?", false),
            ("c:a??", "c:ab*", true),
            ("a/*/c", "a/b/*", true),
            ("a/*", "a/b/c", false),
            ("*", "*", true),
            ("a*", "*b", true),
            ("ab", "a*b", true),
            ("a", "a?*", false),
        ] {
            assert_eq!((p(a).overlaps(&p(b)), p(b).overlaps(&p(a))), (is, is), "{a} {b}");
        }
        for (a, b, is) in [
            ("c:dev-*", "c:*", true),
            ("c:dev-1", "c:dev-?", true),
            ("c:*", "c:dev-*", false),
            ("c:d?v", "c:d*", true),
            ("c:d*v", "c:d?v", false),
            ("c:dev-*", "c@*", false),
            ("a/b", "a/*", true),
            ("a/b/c", "a/*", false),
            ("*", "?*", false),
        ] {
            assert_eq!(p(a).within(&p(b)), is, "{a} in {b}");
        }
    }

    /// All texts over a small alphabet, up to the length that decides patterns of this length.
    fn texts() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..6 {
            let to = all.len();
            for i in from..to {
                for c in ['a', 'b', '/'] {
                    all.push(format!("{}{c}", all[i]));
                }
            }
            from = to;
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_trying_every_path(a in "[ab?*/]{1,4}", b in "[ab?*/]{1,4}") {
            let (a, b) = (p(&a), p(&b));
            // Two patterns of four meet, if at all, in a path of six: every letter of both, and a star takes nothing else.
            let texts = texts();
            let met = texts.iter().any(|t| a.matches(t) && b.matches(t));
            prop_assert_eq!(a.overlaps(&b), met, "{} and {}", a, b);
            let broken = texts.iter().find(|t| a.matches(t) && !b.matches(t));
            prop_assert!(!a.within(&b) || broken.is_none(), "{} in {}: {:?}", a, b, broken);
            prop_assert!(a.within(&a) && a.overlaps(&a));
        }

        #[test]
        fn what_lies_within_overlaps(a in "[ab?*]{1,8}", b in "[ab?*]{1,8}") {
            let (a, b) = (p(&a), p(&b));
            prop_assert!(!a.within(&b) || a.overlaps(&b));
            prop_assert!(a.within(&p("*")) && a.overlaps(&p("*")));
        }
    }
}
