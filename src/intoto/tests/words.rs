use proptest::prelude::*;

use crate::intoto::{ArtifactName, Glob, LinkPath, Rule, RuleError, Stem, StepName};

fn rule(text: &str) -> Result<Rule, RuleError> {
    Rule::from_words(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

/// 38, 66.
#[test]
fn r1_rules_are_read_in_any_case_and_written_in_capitals() {
    for text in [
        "CREATE a*",
        "DELETE a",
        "MODIFY ?",
        "ALLOW *",
        "DISALLOW *",
        "REQUIRE a*",
        "MATCH * WITH MATERIALS FROM tag",
        "MATCH * IN a WITH PRODUCTS FROM tag",
        "MATCH * WITH PRODUCTS IN b FROM tag",
        "MATCH * IN a/ WITH MATERIALS IN b FROM tag",
        "MATCH IN IN IN WITH MATERIALS IN WITH FROM FROM",
    ] {
        assert_eq!(rule(text).unwrap().to_string(), text);
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(rule(text).unwrap().to_words(), words);
    }
    assert_eq!(
        rule("match * in a with products from T").unwrap().to_string(),
        "MATCH * IN a WITH PRODUCTS FROM T"
    );
    for bad in [
        "",
        "ALLOW",
        "ALLOW a b",
        "REQUIRE",
        "PERMIT *",
        "MATCH *",
        "MATCH * FROM tag",
        "MATCH * WITH PRODUCT FROM tag",
        "MATCH * WITH PRODUCTS FROM",
        "MATCH * WITH PRODUCTS FROM a b",
        "MATCH * IN WITH PRODUCTS FROM a",
        "MATCH * WITH PRODUCTS IN a IN b FROM c",
        "MATCH * IN a\\b WITH PRODUCTS FROM c",
    ] {
        assert!(rule(bad).is_err(), "{bad}");
    }
    assert!(Rule::from_words(&[]).is_err());
    assert!(rule(&format!("ALLOW {}", "a".repeat(4097))).is_err());
}

/// 40, 63: answers of Python's `fnmatch.fnmatchcase`.
#[test]
fn g1_the_glob_dialect_is_fnmatch() {
    for (pattern, name, is) in [
        ("*", "", true),
        ("*", ".a/b", true),
        ("?", "/", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("**", "a/b", true),
        ("*.c", "src/x.c", true),
        ("[!x]", "y", true),
        ("[!x]", "x", false),
        ("[^x]", "^", true),
        ("[^x]", "y", false),
        ("[]]", "]", true),
        ("[!]]", "]", false),
        ("[", "[", true),
        ("[a", "[a", true),
        ("[!]", "[!]", true),
        ("[]", "[]", true),
        ("\\*", "\\x", true),
        ("\\*", "*", false),
        ("[a-c]", "b", true),
        ("[a-c-e]", "-", true),
        ("[a-c-e]", "d", false),
        ("[z-a]", "z", false),
        ("[z-a]", "", false),
        ("[!z-a]", "q", true),
        ("[xz-ay]", "x", true),
        ("[xz-ay]", "z", false),
        ("[-a]", "-", true),
        ("[a-]", "-", true),
        ("[--a]", "A", true),
        ("[a!]", "!", true),
        ("[\\]", "\\", true),
        ("A", "a", false),
        ("é?", "é漢", true),
        ("a\n*", "a\nb", true),
    ] {
        assert_eq!(Glob::new(pattern).matches(name), is, "{pattern} {name}");
    }
}

#[test]
fn n1_artifact_names_are_normalised() {
    for good in [
        "a",
        "a/b",
        ".a",
        "..a",
        "a..",
        "a b",
        "é",
        "a:b",
        "oci:example.com/a/b",
        "https://example.com/x",
        "git+ssh://h/p",
        "a\nb",
    ] {
        assert_eq!(good.parse::<ArtifactName>().unwrap().as_str(), good);
    }
    for bad in [
        "", ".", "..", "./a", "a/.", "a/../b", "a//b", "/a", "a/", "a\\b", "a\0", "://a", "h://", "1h://a",
        "h:///a", "h://a//b",
    ] {
        assert!(bad.parse::<ArtifactName>().is_err(), "{bad}");
    }
}

#[test]
fn n2_links_lie_where_their_names_say() {
    let path: LinkPath = "outer.00112233/in.ner.44556677.link".parse().unwrap();
    assert_eq!(path.flat(), "outer.00112233~in.ner.44556677.link");
    assert_eq!(path.flat().parse::<LinkPath>().unwrap(), path);
    assert_eq!(path.to_string(), "outer.00112233/in.ner.44556677.link");
    assert_eq!(
        (path.stem().step().as_str(), path.stem().keyid(), path.folders().len()),
        ("in.ner", "44556677", 1)
    );
    for bad in [
        "a.link",
        "a.0011223.link",
        "a.00112233",
        "../a.00112233.link",
        "/a.00112233.link",
        "a.0011223x.link",
        ".a.00112233.link",
        "x/a.00112233.link",
        "",
    ] {
        assert!(bad.parse::<LinkPath>().is_err(), "{bad}");
    }
    assert!(format!("{}a.00112233.link", "a.00112233/".repeat(17)).parse::<LinkPath>().is_err());
    assert!(Stem::new("a".parse().unwrap(), "éééééé").is_err());
}

proptest! {
    #[test]
    fn a_pattern_without_classes_is_what_a_slow_matcher_says(pattern in "[ab*?]{0,8}", name in "[ab/]{0,8}") {
        fn slow(p: &[u8], n: &[u8]) -> bool {
            match (p.first(), n.first()) {
                (None, None) => true,
                (Some(b'*'), _) => slow(&p[1..], n) || (!n.is_empty() && slow(p, &n[1..])),
                (Some(b'?'), Some(_)) => slow(&p[1..], &n[1..]),
                (Some(c), Some(d)) if c == d => slow(&p[1..], &n[1..]),
                _ => false,
            }
        }
        prop_assert_eq!(Glob::new(&pattern).matches(&name), slow(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn no_text_makes_names_rules_and_globs_panic(text in "\\PC{0,30}", name in "[\\PC\n]{0,30}") {
        prop_assert!(Glob::new("*").matches(&name));
        let _ = (Glob::new(&text).matches(&name), rule(&text), text.parse::<ArtifactName>(), text.parse::<StepName>());
        if let Ok(path) = text.parse::<LinkPath>() {
            prop_assert_eq!(path.to_string().parse::<LinkPath>().unwrap(), path);
        }
    }

    #[test]
    fn a_rule_comes_back(words in proptest::collection::vec("(?i:match|in|with|from|products|materials|allow|[a-z*]{1,3})", 1..11)) {
        if let Ok(rule) = Rule::from_words(&words) {
            prop_assert_eq!(Rule::from_words(&rule.to_words()).unwrap(), rule);
        }
    }
}
