//! Exit codes, and errors in both forms.

use crate::run::Bulla;

/// Command line, exit code, code of the error in JSON, a word of the text.
const CASES: &[(&str, u8, &str, &str)] = &[
    ("", 2, "usage", "Usage: bulla"),
    ("nonsense", 2, "usage", "unrecognized subcommand 'nonsense'"),
    ("key", 2, "usage", "Usage: bulla key"),
    ("key generate", 2, "usage", "<NAME>"),
    ("key generate a/b", 2, "usage", "is not a key name"),
    ("key generate .hidden", 2, "usage", "is not a key name"),
    ("key generate k --type rsa", 2, "usage", "ecdsa-p256"),
    ("key generate k --dangerously-unencrypted --password-stdin", 2, "usage", "cannot be used with"),
    ("key generate k", 3, "key.password", "BULLA_PASSWORD"),
    ("key generate k --password-stdin", 3, "key.password", "empty password"),
    ("key show gone", 3, "key.absent", "bulla key generate"),
    ("key show awskms:///alias/x", 3, "key.plugin", "sigstore-kms-awskms"),
    ("key import ./gone.pem", 3, "key.absent", "does not exist"),
    ("key import a b c", 2, "usage", "unexpected argument 'c'"),
    ("completion tcsh", 2, "usage", "possible values"),
    ("man /dev/null/x", 3, "file.unwritable", "/dev/null/x"),
];

#[test]
fn each_failure_has_its_exit_code_in_text_and_in_json() {
    let home = tempfile::tempdir().unwrap();
    for (line, exit, code, word) in CASES {
        let text = Bulla::at(home.path()).run(line);
        assert_eq!((text.exit, text.out.as_str()), (*exit, ""), "bulla {line}: {text:#?}");
        assert!(text.err.contains(word), "bulla {line}: {text:#?}");

        let ran = Bulla::at(home.path()).run(&format!("{line} --format json"));
        let json = ran.json();
        assert_eq!((ran.exit, json["error"]["code"].as_str()), (*exit, Some(*code)), "bulla {line}");
        assert!(
            json["error"]["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains('\n')),
            "{line}"
        );
        assert_eq!((json["result"].is_null(), ran.err.as_str()), (true, ""), "bulla {line}");
    }
}

#[test]
fn an_error_says_what_why_and_what_next() {
    let home = tempfile::tempdir().unwrap();
    let ran = Bulla::at(home.path()).run("key generate k");
    assert_eq!(
        ran.err,
        "error: no password of k\n  \
           reason: none was given, and there is no terminal to ask at\n  \
           next: pass --password-stdin or set BULLA_PASSWORD\n"
    );
    let json = Bulla::at(home.path()).run("key generate k --format json").json();
    assert_eq!(json["command"], "key generate");
    assert_eq!(json["error"]["reason"], "none was given, and there is no terminal to ask at");
    assert_eq!(json["error"]["next"], "pass --password-stdin or set BULLA_PASSWORD");
    assert_eq!(Bulla::bare().run("key generate --format=json").json()["command"], "key");
}

#[test]
fn the_places_of_an_installation() {
    let dir = tempfile::tempdir().unwrap();
    let path = |p: &str| dir.path().join(p).to_str().unwrap().to_owned();
    let make = |bulla: Bulla, args: &str| {
        bulla.run(&format!("key generate k --dangerously-unencrypted {args}")).ok()
    };

    assert!(
        make(Bulla::bare().var("HOME", &path("h")), "").contains(&path("h/.local/share/bulla/keys/k.pem"))
    );
    let xdg = |v: &str| Bulla::bare().var("HOME", &path("h2")).var("XDG_DATA_HOME", v);
    assert!(make(xdg(&path("x")), "").contains(&path("x/bulla/keys/k.pem")));
    assert!(make(xdg("relative"), "").contains(&path("h2/.local/share/bulla/keys/k.pem")));
    let both = |b: &str| Bulla::bare().var("HOME", &path("h3")).var("BULLA_HOME", &path(b));
    assert!(make(both("b"), "").contains(&path("b/keys/k.pem")));
    assert!(make(both("b2"), &format!("--home {}", path("f"))).contains(&path("f/keys/k.pem")));

    let none = Bulla::bare().run("key list --format json");
    assert_eq!((none.exit, none.json()["error"]["code"].as_str()), (3, Some("config.home")));
}

#[test]
fn a_moved_clock_is_always_said() {
    let home = tempfile::tempdir().unwrap();
    let at = |now: &str| Bulla::at(home.path()).var("BULLA_DANGEROUS_NOW", now);
    let ran = at("2030-01-01T00:00:00Z").run("key list");
    assert_eq!(ran.exit, 0);
    assert!(ran.err.contains("2030-01-01T00:00:00Z") && ran.err.contains("clock.override"), "{ran:?}");
    let json = at("2030-01-01T00:00:00Z").run("key list --format json").json();
    assert_eq!(json["notes"][0]["code"], "clock.override");
    assert_eq!(at("yesterday").run("key list").exit, 2);
    assert_eq!(
        Bulla::at(home.path()).run("key list --format json").json()["notes"].as_array().unwrap().len(),
        0
    );
}

/// A reader that went away is no error and changes no answer; a full disk is an error.
#[test]
fn broken_pipes_and_full_disks() {
    use std::io::{Error, ErrorKind, Write};
    struct Gone(ErrorKind);
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(Error::from(self.0))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(Error::from(self.0))
        }
    }
    let home = tempfile::tempdir().unwrap();
    let bundle = bulla::oci::Content::new(bulla::oci::media_type::OCI_INDEX, &br#"{"manifests":[]}"#[..]);
    let layout = home.path().join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    std::fs::write(layout.join("blobs/sha256").join(bundle.digest().hex()), bundle.bytes()).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [bundle.descriptor()]}).to_string();
    std::fs::write(layout.join("index.json"), index).unwrap();
    let untrusted = format!("verify oci:{}@{} --as ex.com/a", layout.display(), bundle.digest());
    for (line, pipe, disk) in [
        ("completion bash", 0, 3),
        ("--help", 0, 3),
        (untrusted.as_str(), 1, 3),
        (&format!("{untrusted} --format json"), 1, 3),
        ("tree oci:/nowhere:v1", 3, 3),
        ("verify --bogus", 2, 3),
        ("verify --bogus --format json", 2, 3),
    ] {
        for (kind, exit) in [(ErrorKind::BrokenPipe, pipe), (ErrorKind::StorageFull, disk)] {
            let mut env = bulla::cli::Env {
                vars: [("BULLA_HOME".into(), home.path().display().to_string())].into(),
                stdin: &mut &[][..],
                stdout: &mut Gone(kind),
                stderr: &mut Gone(kind),
                stderr_is_terminal: false,
                prompt: std::sync::Arc::new(bulla::keys::NoPrompt),
                clock: std::sync::Arc::new(bulla::time::SystemClock),
            };
            let args = std::iter::once("bulla").chain(line.split(' ')).map(Into::into);
            assert_eq!(bulla::cli::run(args, &mut env), exit, "{line}: {kind}");
        }
    }
}
