//! docs/registry-rules.md against the tests: each row names tests that exist, each test of the registry client has a row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Test functions by their full path as `cargo test` prints it, and whether each is ignored.
type Tests = BTreeMap<String, bool>;

/// One row of a table: the line, the cells.
struct Row {
    line: usize,
    cells: Vec<String>,
}

#[test]
fn each_registry_rule_has_a_test_and_each_test_of_the_client_a_rule() {
    let text = std::fs::read_to_string(super::root().join("docs/registry-rules.md")).expect("the page");
    let mut tests = Tests::new();
    for crate_root in ["src/lib.rs", "tests/e2e/main.rs", "tests/cli/main.rs", "tests/registry/main.rs"] {
        collect(Path::new(crate_root), "", &mut tests);
    }
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    let rows = rows(&text);
    assert!(rows.len() > 50, "only {} rows were found", rows.len());
    let wrong = [faults(&rows, &tests), without_row(&rows, &tests)].concat();
    assert!(wrong.is_empty(), "docs/registry-rules.md:\n  {}", wrong.join("\n  "));
}

/// Rows that say nothing, name no test, or one that is not there or never runs.
fn faults(rows: &[Row], tests: &Tests) -> Vec<String> {
    let mut out = Vec::new();
    for row in rows {
        let at = |why: &str| format!("line {}: {why}", row.line);
        if row.cells.len() != 4 || row.cells.iter().any(String::is_empty) {
            out.push(at("a row is `| Rule or quirk | Source | What bulla does | Test |`, no cell empty"));
            continue;
        }
        let named = named(&row.cells[3]);
        let absent = named.iter().filter(|n| !tests.contains_key(*n));
        out.extend(absent.map(|n| at(&format!("there is no test {n}"))));
        if named.iter().all(|n| tests.get(n) != Some(&false)) {
            out.push(at("no test that runs is named"));
        }
    }
    out
}

/// Tests of the modules `transport*` that no row names. Those against a real registry are runs of all rules at once.
fn without_row(rows: &[Row], tests: &Tests) -> Vec<String> {
    let of_rules = |name: &&String| name.starts_with("transport") && !name.starts_with("transport_real::");
    let in_a_row =
        |name: &String| rows.iter().any(|r| r.cells.get(3).is_some_and(|c| named(c).contains(name)));
    let missing = tests.keys().filter(of_rules).filter(|n| !in_a_row(n));
    missing.map(|n| format!("{n} stands in no row")).collect()
}

/// What stands in backticks.
fn named(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of all tables, without headers.
fn rows(text: &str) -> Vec<Row> {
    let mut out = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let Some(inner) = line.trim().strip_prefix('|').and_then(|l| l.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> =
            inner.replace("\\|", "\u{1}").split('|').map(|c| c.trim().to_owned()).collect();
        if cells.iter().all(|c| c.chars().all(|c| c == '-')) {
            inside = true;
        } else if inside {
            out.push(Row { line: number + 1, cells });
        }
    }
    out
}

/// The tests of a crate, file by file.
fn collect(file: &Path, module: &str, out: &mut Tests) {
    let text = std::fs::read_to_string(super::root().join(file)).expect("a file that a module declares");
    let parsed = syn::parse_file(&text).expect("source that compiles");
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let beside = matches!(stem, "lib" | "main" | "mod");
    let parent = file.parent().unwrap_or_else(|| Path::new(""));
    let dir = if beside { parent.to_owned() } else { parent.join(stem) };
    items(&parsed.items, (parent, &dir), module, out);
}

fn items(items_in: &[syn::Item], (parent, dir): (&Path, &Path), module: &str, out: &mut Tests) {
    let within = |name: &str| if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
    for item in items_in {
        match item {
            syn::Item::Fn(f) if f.attrs.iter().any(|a| ends(a.path(), "test")) => {
                let ignored = f.attrs.iter().any(|a| ends(a.path(), "ignore"));
                out.insert(within(&f.sig.ident.to_string()), ignored);
            }
            syn::Item::Macro(m) if ends(&m.mac.path, "proptest") => {
                let words = m.mac.tokens.to_string();
                let words: Vec<&str> = words.split_whitespace().collect();
                let names = words.windows(2).filter(|w| w[0] == "fn").map(|w| w[1]);
                out.extend(names.map(|n| (within(n.split('(').next().unwrap_or(n)), false)));
            }
            syn::Item::Mod(m) => {
                let name = m.ident.to_string();
                match &m.content {
                    Some((_, inner)) => items(inner, (dir, &dir.join(&name)), &within(&name), out),
                    None => collect(&file_of(m, parent, dir), &within(&name), out),
                }
            }
            _ => {}
        }
    }
}

fn ends(path: &syn::Path, word: &str) -> bool {
    path.segments.last().is_some_and(|s| s.ident == word)
}

fn file_of(module: &syn::ItemMod, parent: &Path, dir: &Path) -> PathBuf {
    let given = module.attrs.iter().find(|a| a.path().is_ident("path")).and_then(|a| match &a.meta {
        syn::Meta::NameValue(syn::MetaNameValue { value: syn::Expr::Lit(l), .. }) => match &l.lit {
            syn::Lit::Str(s) => Some(parent.join(s.value())),
            _ => None,
        },
        _ => None,
    });
    let name = module.ident.to_string();
    let flat = dir.join(format!("{name}.rs"));
    given.unwrap_or_else(|| {
        if super::root().join(&flat).is_file() { flat } else { dir.join(name).join("mod.rs") }
    })
}

#[test]
fn rows_and_tests_without_each_other_are_caught() {
    let page = "# Page\n\n| Rule or quirk | Source | What bulla does | Test |\n|---|---|---|---|\n\
        | a | b | c | `transport::known` |\n| a | b | c | `transport::unknown` |\n| a | b | c | none |\n\
        | a | b | c | `transport::slow` |\n| a |  | c | `transport::known` |\n| a \\| a | b | c | `transport::known`, `x::y` |\n\ntext | no row |\n";
    let tests: Tests = [
        ("transport::known", false),
        ("transport::slow", true),
        ("x::y", false),
        ("transport_b::forgotten", false),
        ("transport_real::all", false),
    ]
    .map(|(n, ignored)| (n.to_owned(), ignored))
    .into();
    let rows = rows(page);
    let found = faults(&rows, &tests);
    let lines: Vec<&str> = found.iter().map(|f| f.split(':').next().unwrap_or_default()).collect();
    assert_eq!(lines, ["line 6", "line 6", "line 7", "line 8", "line 9"], "{found:?}");
    assert_eq!(without_row(&rows, &tests), ["transport_b::forgotten stands in no row"]);
}
