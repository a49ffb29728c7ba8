//! `status`, and what `renew --loop` refuses before it begins.

use serde_json::Value;

use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.bulla()
            .run(&format!("init {NAME} --at {} --root-file {}", desk.at(), desk.path("1.root.json")))
            .ok();
        desk
    }

    fn bulla(&self) -> Bulla {
        Bulla::at(&self.0.path().join("home")).var("BULLA_PASSWORD", "p")
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn at(&self) -> String {
        format!("oci:{}", self.path("layout"))
    }

    fn status(&self, now: &str, more: &str) -> Ran {
        // No password: nothing is opened.
        Bulla::at(&self.0.path().join("home")).now(now).run(&format!("status {} {more}", self.at()))
    }
}

fn code(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn who_must_act_and_when() {
    let desk = Desk::new();
    let text = desk.status("2026-05-01T13:00:00Z", "").ok();
    for word in [
        "current   example.com/team/app   as of 2026-05-01T12:00:00Z",
        "verified; nothing newer is known here",
        "fresh     timestamp",
        "expires 2026-05-08T12:00:00Z  in 6 days",
        "app-online (here)",
        "app-root (here)",
    ] {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    let json = desk.status("2026-05-02T13:00:00Z", "--format json").json();
    let result = &json["result"];
    assert_eq!(
        (&result["status"], &result["standing"], &result["within"]),
        (&"current".into(), &"newest".into(), &"7d".into())
    );
    let roles: Vec<(&str, &str)> = result["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["role"].as_str().unwrap(), r["condition"].as_str().unwrap()))
        .collect();
    assert_eq!(roles[..2], [("timestamp", "due"), ("snapshot", "fresh")]);
    assert_eq!(result["waiting"], Value::Array(vec![]));

    let soon = desk.status("2026-05-06T13:00:00Z", "--format json");
    assert_eq!((soon.exit, code(&soon).as_str()), (1, "status.expiring"));
    assert_eq!(soon.json()["result"]["status"], "expiring");
    assert_eq!(desk.status("2026-05-06T13:00:00Z", "--within 1d").exit, 0);
    let late = desk.status("2026-05-09T13:00:00Z", "--format json");
    assert_eq!((late.exit, code(&late).as_str()), (1, "status.expired"));
    assert!(
        late.json()["error"]["reason"].as_str().unwrap().contains("timestamp expired 2026-05-08T12:00:00Z")
    );
}

#[test]
fn what_cannot_be_looked_at() {
    let desk = Desk::new();
    let nobody = Bulla::at(&desk.0.path().join("other")).run(&format!("status {} --format json", desk.at()));
    assert_eq!((nobody.exit, code(&nobody).as_str()), (2, "anchor.none"));
    let tag = desk.bulla().run(&format!("status {}:v1 --format json", desk.at()));
    assert_eq!((tag.exit, code(&tag).as_str()), (2, "usage"));
    let stranger = desk.path("stranger");
    let stranger = || Bulla::at(stranger.as_ref());
    stranger().run(&format!("trust add {NAME} --root {}", desk.path("1.root.json"))).ok();
    let seen = stranger().run(&format!("status {} --format json", desk.at())).json();
    assert_eq!(seen["result"]["standing"], "unremembered");
    // A state that is not there, with and without a memory of it.
    std::fs::rename(desk.path("layout"), desk.path("away")).unwrap();
    desk.bulla()
        .run(&format!("init example.com/team/other --at {} --root-file {}", desk.at(), desk.path("2.json")))
        .ok();
    let line = format!("status {} --as {NAME} --format json", desk.at());
    let gone = desk.bulla().run(&line);
    assert_eq!((gone.exit, code(&gone).as_str()), (1, "state.absent"));
    assert_eq!(gone.json()["result"]["status"], "absent");
    let nothing = stranger().run(&line);
    assert_eq!((nothing.exit, code(&nothing).as_str()), (1, "state.absent"));
    std::fs::remove_dir_all(desk.path("layout")).unwrap();
    let no_place = desk.bulla().run(&line);
    assert_eq!(no_place.exit, 3, "{no_place:?}");
}

#[test]
fn a_loop_is_refused_before_it_begins() {
    let desk = Desk::new();
    for more in ["--loop --role targets", "--every 1h"] {
        assert_eq!(desk.bulla().run(&format!("renew {} {more}", desk.at())).exit, 2, "{more}");
    }
    let still = desk.bulla().var("BULLA_DANGEROUS_NOW", "2026-05-01T12:00:00Z");
    let still = still.run(&format!("renew {} --loop --format json", desk.at()));
    assert_eq!((still.exit, code(&still).as_str()), (2, "usage"));
}

/// A file that cannot be read is not a key that is not here.
#[test]
fn a_key_that_cannot_be_read_is_not_called_absent() {
    let desk = Desk::new();
    let file = desk.path("home/keys/app-online.pem");
    std::fs::write(&file, "not a key").unwrap();
    let json = desk.status("2026-05-01T13:00:00Z", "--format json").json();
    let timestamp =
        json["result"]["roles"].as_array().unwrap().iter().find(|r| r["role"] == "timestamp").unwrap();
    assert_eq!(
        (&timestamp["canRenew"], &timestamp["keys"][0]["here"]),
        (&Value::Null, &Value::Null),
        "{json:#}"
    );
    let notes = json["notes"].as_array().unwrap();
    assert!(
        notes
            .iter()
            .any(|n| n["code"] == "key.unreadable" && n["message"].as_str().unwrap().contains("app-online"))
    );
    let text = desk.status("2026-05-01T13:00:00Z", "").ok();
    assert!(text.contains("(unknown)") && text.contains("app-root (here)"), "{text}");
    // Who signs is told as well, before it is called missing.
    let renew =
        desk.bulla().now("2026-05-03T12:00:00Z").run(&format!("renew {} --format json", desk.at())).json();
    assert!(renew["notes"].as_array().unwrap().iter().any(|n| n["code"] == "key.unreadable"), "{renew:#}");
    std::fs::remove_file(&file).unwrap();
    let gone = desk.status("2026-05-01T13:00:00Z", "--format json").json();
    let timestamp =
        gone["result"]["roles"].as_array().unwrap().iter().find(|r| r["role"] == "timestamp").unwrap();
    assert_eq!(timestamp["canRenew"], false, "{gone:#}");
}
