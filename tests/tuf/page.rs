//! docs/tuf-rules.md against the tests: each row names tests that exist, each test that is named after a rule has a row.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn each_rule_has_a_test_and_each_test_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/tuf-rules.md")).unwrap();
    let mut tests = BTreeSet::new();
    for (dir, module) in [("src/tuf/tests", "tuf::tests"), ("tests/tuf", "tuf")] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let file = path.file_stem().unwrap().to_str().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2).filter(|pair| pair[0] == "#[test]") {
                let name = pair[1].strip_prefix("fn ").and_then(|l| l.split_once('(')).unwrap().0;
                tests.insert(format!("{module}::{file}::{name}"));
            }
        }
    }
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| Rule ") && !l.starts_with("| Advisory "))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut named = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let own: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        assert!(!own.is_empty(), "no test: {row:?}");
        for test in own {
            assert!(tests.contains(test), "there is no test {test}");
            let id = row[0].to_lowercase();
            let begins = test.rsplit("::").next().unwrap().split('_').any(|part| id == part);
            assert!(begins || row[0].contains('-'), "{test} is not named after {}", row[0]);
            named.insert(test.to_owned());
        }
    }
    let rules: Vec<&str> = rows.iter().map(|row| row[0]).filter(|id| !id.contains('-')).collect();
    let wanted = [('E', 13), ('R', 10), ('T', 9), ('S', 9), ('G', 10), ('D', 5)];
    let wanted: Vec<String> =
        wanted.iter().flat_map(|(c, n)| (1..=*n).map(move |i| format!("{c}{i}"))).collect();
    assert_eq!(rules, wanted);
    let after_a_rule = |test: &&String| {
        let first = test.rsplit("::").next().unwrap().split('_').next().unwrap();
        first == "cve" || first == "ghsa" || rules.iter().any(|r| r.to_lowercase() == first)
    };
    let without: Vec<_> = tests.iter().filter(after_a_rule).filter(|t| !named.contains(*t)).collect();
    assert!(without.is_empty(), "no row for {without:?}");
}
