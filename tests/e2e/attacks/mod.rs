//! Each attack of docs/threats.md through the OCI transport: a registry that serves what the attacker likes, and the real
//! verifier over HTTP. For a first-time verifier, and for one that remembers the honest state.

// What sim.rs finds in its parent there.
use bulla::tuf::*;

#[allow(dead_code, reason = "the unit tests use all of it")]
#[path = "../../../src/tuf/sim.rs"]
pub(crate) mod sim;

mod agreement;
mod bundle;
mod layout;
mod metadata;
mod organisations;
mod organisations_copied;
mod requests;
mod scene;
mod seals;
mod withheld;

/// Every row of the page of threats names tests and codes, and they exist.
#[test]
fn the_page_of_threats_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/threats.md")).unwrap();
    let rows = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Attack "));
    let known = documented(&root.join("docs"));
    let (mut seen, mut codes) = (0, 0);
    for row in rows {
        let (rest, _) = row.trim_end_matches('|').rsplit_once('|').unwrap();
        for code in rest.split('`').skip(1).step_by(2) {
            // `….threshold`: that of any role.
            let (stem, any) = code.strip_prefix('…').map_or((code, false), |stem| (stem, true));
            if !stem.contains('.') || !stem.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-')
            {
                continue;
            }
            let is = |known: &String| if any { known.ends_with(stem) } else { known == stem };
            assert!(known.iter().any(is), "{code} is documented nowhere: {row}");
            codes += 1;
        }
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap();
            let path = module.replace("::", "/");
            // Tests beside their code stand in its file.
            let beside = path.strip_suffix("/tests").unwrap_or(&path);
            let files = [("tests/e2e", &*path), ("src", &*path), ("tests", &*path), ("src", beside)];
            let files = files.map(|(at, path)| format!("{at}/{path}.rs"));
            let text = files.iter().find_map(|f| std::fs::read_to_string(root.join(f)).ok());
            let text = text.unwrap_or_else(|| panic!("no module of {test}"));
            assert!(text.contains(&format!("fn {name}(")), "{test}");
            seen += 1;
        }
    }
    assert!(seen > 30 && codes > 50, "{seen} {codes}");
}

/// The codes of docs/codes.md and of the pages of commands: what stands there between backticks.
fn documented(docs: &std::path::Path) -> std::collections::BTreeSet<String> {
    let commands = std::fs::read_dir(docs.join("commands")).unwrap().map(|page| page.unwrap().path());
    let pages = commands.chain([docs.join("codes.md")]).map(|page| std::fs::read_to_string(page).unwrap());
    pages.flat_map(|page| page.split('`').map(str::to_owned).collect::<Vec<_>>()).collect()
}
