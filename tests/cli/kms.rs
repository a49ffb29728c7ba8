//! Keys in a KMS, by the plugin `sigstore-kms-fake` (tests/kms), from `init` on.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

/// The folder of the plugin, which cargo builds with the tests, but not when one binary of them is asked for.
pub(crate) fn plugins() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
        if !folder.join("sigstore-kms-fake").exists() {
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--example", "sigstore-kms-fake"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(built.unwrap().success());
        }
        assert!(folder.join("sigstore-kms-fake").exists(), "{}", folder.display());
        folder
    })
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn bulla(&self) -> Bulla {
        Bulla::at(&self.0.path().join("home"))
            .var("BULLA_PASSWORD", "p")
            .var("PATH", plugins().to_str().unwrap())
            .var("FAKE_TOKEN", "s.very-secret-token")
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn init(&self, online: &str) -> Ran {
        let (at, root) = (self.path("layout"), self.path("1.root.json"));
        self.bulla()
            .run(&format!("init {NAME} --at oci:{at} --root-file {root} --online-key {online} --format json"))
    }

    fn renew(&self, more: &str) -> Ran {
        let at = self.path("layout");
        self.bulla().now("2026-05-03T12:00:00Z").run(&format!("renew oci:{at} {more} --format json"))
    }
}

fn error(ran: &Ran) -> (u8, String, String) {
    let document = ran.json();
    let text = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
    (ran.exit, text("code"), text("reason"))
}

#[test]
fn the_online_key_is_in_a_kms_from_the_first_day() {
    let desk = Desk::new();
    let made = desk.init("fake://seed/7").json();
    assert_eq!(made["exitCode"], 0, "{made:#}");
    let online =
        made["result"]["keys"].as_array().unwrap().iter().find(|k| k["role"] == "timestamp").unwrap();
    assert_eq!((&online["name"], &online["generated"]), (&"fake://seed/7".into(), &false.into()));
    let next = made["result"]["next"].to_string();
    assert!(next.contains("--online-key fake://seed/7"), "{next}");

    let at = desk.path("layout");
    let status = desk.bulla().run(&format!("status oci:{at} --format json")).json();
    let timestamp = |s: &serde_json::Value| {
        s["result"]["roles"].as_array().unwrap().iter().find(|r| r["role"] == "timestamp").unwrap().clone()
    };
    assert_eq!(timestamp(&status)["canRenew"], false, "nobody said where the key is");
    assert_eq!(error(&desk.renew("")).1, "key.missing");
    let renewed = desk.renew("--online-key fake://seed/7").json();
    assert_eq!(renewed["result"]["status"], "renewed", "{renewed:#}");

    // A name for it, and nobody need say it any more.
    let kept = desk.bulla().run("key import fake://seed/7 online --format json").json();
    assert_eq!(kept["result"]["keys"][0]["kms"], "fake://seed/7");
    assert_eq!(kept["result"]["keys"][0]["keyId"], online["keyId"]);
    assert!(desk.bulla().run("key list").ok().contains("fake://seed/7"));
    let status = desk.bulla().run(&format!("status oci:{at} --format json")).json();
    let role = timestamp(&status);
    assert_eq!((&role["canRenew"], &role["keys"][0]["name"]), (&true.into(), &"online".into()));
    let renewed =
        desk.bulla().now("2026-05-06T12:00:00Z").run(&format!("renew oci:{at} --format json")).json();
    assert_eq!(renewed["result"]["status"], "renewed", "{renewed:#}");
    let shown = desk.bulla().run("key show fake://seed/7").ok();
    assert!(
        shown.contains(online["keyId"].as_str().unwrap()) && shown.contains("BEGIN PUBLIC KEY"),
        "{shown}"
    );
    let again = desk.bulla().run("key import fake://seed/8 online --format json");
    assert_eq!(error(&again).1, "key.exists");
    assert_eq!(desk.bulla().run("key import fake://seed/8").exit, 2);
}

#[test]
fn another_key_and_a_wrong_signature_sign_nothing() {
    let desk = Desk::new();
    desk.init("fake://seed/7");
    let state = || std::fs::read(desk.path("layout/index.json")).unwrap();
    let before = state();
    // The key of another role is not the online key, whatever the plugin does with it.
    assert_eq!(error(&desk.renew("--online-key fake://seed/8")).1, "key.missing");
    let wrong = desk.renew("--online-key fake://wrong-key/7");
    assert_eq!((wrong.exit, error(&wrong).1.as_str()), (3, "key.signature"));
    let leaks = desk.renew("--online-key fake://leaks/7");
    let (exit, code, reason) = error(&leaks);
    assert_eq!((exit, code.as_str()), (3, "key.kms"));
    assert!(reason.contains("denied for [FAKE_TOKEN]"), "{reason}");
    assert!(!format!("{leaks:?}").contains("very-secret"), "{leaks:?}");
    let refused = desk.bulla().run("key show fake://none/x --format json");
    assert!(error(&refused).2.contains("it says: no key none/x"), "{refused:?}");
    let absent = desk.bulla().run("key show nowhere://x --format json");
    assert_eq!((absent.exit, error(&absent).1.as_str()), (3, "key.plugin"));
    for typed in ["Fake://x", "fake://", "pkcs11://x"] {
        assert_eq!(desk.bulla().args(["key", "show", typed]).exit, 2, "{typed}");
    }
    assert_eq!(state(), before);
}

#[test]
fn a_kms_that_names_another_key_than_was_kept_is_refused() {
    let desk = Desk::new();
    let file = desk.path("seed");
    std::fs::write(&file, "7").unwrap();
    let key = format!("fake://other{file}");
    desk.bulla().run(&format!("key import {key} online")).ok();
    desk.init("online");
    assert_eq!(desk.renew("").exit, 0);
    std::fs::write(&file, "9").unwrap();
    let changed = desk
        .bulla()
        .now("2026-05-06T12:00:00Z")
        .run(&format!("renew oci:{} --format json", desk.path("layout")));
    let (exit, code, reason) = error(&changed);
    assert_eq!((exit, code.as_str()), (3, "key.plugin"));
    assert!(reason.contains("was kept under that name"), "{reason}");
    std::fs::write(desk.path("home/keys/online.kms"), "no key\n").unwrap();
    let damaged = desk.bulla().run("key show online --format json");
    assert_eq!((damaged.exit, error(&damaged).1.as_str()), (3, "key.unreadable"));
}
