//! All help texts against `testdata/help.txt`. `BULLA_BLESS=1 cargo test --test cli` writes it anew.

use std::path::Path;

use crate::run::Bulla;

#[test]
fn help_is_what_was_agreed() {
    let mut whole = String::new();
    each(&bulla::cli::command(), &mut Vec::new(), &mut whole);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/help.txt");
    if std::env::var_os("BULLA_BLESS").is_some() {
        std::fs::write(&file, &whole).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap();
    for (line, (is, was)) in whole.lines().zip(agreed.lines()).enumerate() {
        assert_eq!(is, was, "line {} of testdata/help.txt; BULLA_BLESS=1 writes it anew", line + 1);
    }
    assert_eq!(whole.len(), agreed.len(), "BULLA_BLESS=1 writes testdata/help.txt anew");
}

fn each(command: &clap::Command, words: &mut Vec<String>, whole: &mut String) {
    let mut args = words.clone();
    args.push("--help".into());
    let ran = Bulla::bare().args(&args);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "bulla {args:?}");
    whole.push_str(&format!("$ bulla {}\n{}\n", args.join(" "), ran.out));
    for sub in command.get_subcommands() {
        words.push(sub.get_name().to_owned());
        each(sub, words, whole);
        words.pop();
    }
}

/// The style of help texts: one line, imperative, no period at the end.
#[test]
fn every_command_and_argument_has_one_plain_line() {
    fn check(command: &clap::Command) {
        let name = command.get_name();
        let about = command.get_about().unwrap_or_else(|| panic!("{name} says nothing")).to_string();
        assert!(!about.ends_with('.') && about.lines().count() == 1, "{name}: {about:?}");
        assert!(about.starts_with(char::is_uppercase), "{name}: {about:?}");
        for argument in command.get_arguments().filter(|a| !matches!(a.get_id().as_str(), "help" | "version"))
        {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.ends_with('.'), "{name} {}: {help:?}", argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&bulla::cli::command());
}

/// Each command has its page, and each page its command or is announced in the table only.
#[test]
fn every_command_has_a_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands");
    let table = std::fs::read_to_string(docs.join("README.md")).unwrap();
    for command in bulla::cli::command().get_subcommands() {
        let name = command.get_name();
        let row = format!("[`{name}`]({name}.md)");
        assert!(table.contains(&row), "docs/commands/README.md lacks {row}");
        let page = std::fs::read_to_string(docs.join(format!("{name}.md"))).expect(name);
        for argument in
            command.get_arguments().chain(command.get_subcommands().flat_map(clap::Command::get_arguments))
        {
            let Some(long) = argument.get_long().filter(|l| !matches!(*l, "help" | "version")) else {
                continue;
            };
            let flag = format!("--{long}");
            assert!(page.contains(&flag) || table.contains(&flag), "{name}.md does not mention {flag}");
        }
    }
}

#[test]
fn version_completions_and_manual_pages() {
    assert_eq!(Bulla::bare().run("--version").ok(), format!("bulla {}\n", env!("CARGO_PKG_VERSION")));
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Bulla::at(home.path()).args(["completion", shell]).ok();
        assert!(script.contains("generate") && script.contains("bulla"), "{shell}");
    }
    let dir = home.path().join("man");
    let wrote = Bulla::at(home.path()).args(["man", dir.to_str().unwrap()]).ok();
    for page in ["bulla.1", "bulla-key.1", "bulla-key-generate.1"] {
        assert!(wrote.contains(page), "{wrote}");
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.starts_with(".ie") && text.contains(".SH NAME"), "{page}: {text}");
    }
}

/// Every code that the command line says stands in its pages.
#[test]
fn every_error_and_note_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |dir: &str, ending: &str| -> String {
        let files = std::fs::read_dir(root.join(dir)).unwrap().map(|e| e.unwrap().path());
        let files = files.filter(|p| p.extension().is_some_and(|e| e == ending));
        files.map(|p| std::fs::read_to_string(p).unwrap()).collect()
    };
    let docs = read("docs/commands", "md") + &read("docs", "md");
    let source = read("src/cli", "rs") + &read("src/keys", "rs");
    let subjects = [
        "anchor", "blob", "clock", "config", "copy", "export", "file", "import", "init", "inspect", "key",
        "layout", "login", "manifest", "proposal",
    ];
    let more =
        ["memory", "publish", "ref", "registry", "renew", "revocation", "state", "status", "tree", "trust"];
    let mut found = 0;
    for literal in source.split('"') {
        let Some((subject, rest)) = literal.split_once('.') else { continue };
        let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if plain && rest != "json" && (subjects.contains(&subject) || more.contains(&subject)) {
            assert!(docs.contains(&format!("`{literal}`")), "{literal} is not in docs/commands");
            found += 1;
        }
    }
    assert!(found > 40, "{found} codes");
}
