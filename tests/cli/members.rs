//! `bulla init --organisation` and `bulla tuf member`: whose roots an organisation lists.

use std::path::Path;

use serde_json::Value;

use crate::run::{Bulla, Ran};

const ORG: &str = "example.com/org";
const NOW: &str = "2026-05-01T12:00:00Z";

/// An organisation, its collections, and people with homes of their own.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let line = format!(
            "init --organisation {ORG} --at {} --root-file {}",
            desk.org(),
            desk.path("org.root.json")
        );
        let said = desk.run("owner", &line).ok();
        assert!(said.contains(&format!("bulla trust add '{ORG}/*' --organisation {ORG} --root")), "{said}");
        assert!(said.contains("bulla tuf member add oci:") && said.contains("/org --organisation"), "{said}");
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn org(&self) -> String {
        format!("oci:{}", self.path("org"))
    }

    fn run(&self, who: &str, line: &str) -> Ran {
        Bulla::at(Path::new(&self.path(who))).var("BULLA_PASSWORD", "desk").now(NOW).run(line)
    }

    fn json(&self, who: &str, line: &str) -> Value {
        self.run(who, &format!("--format json {line}")).json()
    }

    /// A collection of somebody else, in the organisation's layout; its root file.
    fn collection(&self, who: &str, name: &str) -> String {
        let file = self.path(&format!("{who}.root.json"));
        self.run(who, &format!("init {name} --at {} --root-file {file}", self.org())).ok();
        file
    }

    fn add(&self, rest: &str) -> Value {
        self.json("owner", &format!("tuf member add {} {rest}", self.org()))
    }

    fn members(&self) -> Vec<Value> {
        let said = self.json("owner", &format!("tuf member list {}", self.org()));
        said["result"]["members"].as_array().unwrap().clone()
    }
}

fn code(said: &Value) -> (u64, &str) {
    (said["exitCode"].as_u64().unwrap(), said["error"]["code"].as_str().unwrap_or("none"))
}

#[test]
fn a_new_organisation_is_anchored_for_itself_and_for_its_members() {
    let desk = Desk::new();
    let anchors = desk.json("owner", "trust list")["result"]["anchors"].clone();
    let seen: Vec<(&str, bool)> = anchors
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["scope"].as_str().unwrap(), a["organisation"].as_bool().unwrap()))
        .collect();
    assert_eq!(seen, [(ORG, false), ("example.com/org/*", true)]);
}

#[test]
fn making_a_collection_below_an_organisation_says_that_it_no_longer_speaks_for_it() {
    let desk = Desk::new();
    let (state, root) = (format!("oci:{}", desk.path("app")), desk.path("app.root.json"));
    let made = desk.json("owner", &format!("init {ORG}/app --at {state} --root-file {root}"));
    assert_eq!(code(&made), (0, "none"), "{made:#}");
    let notes = made["notes"].as_array().unwrap();
    assert!(notes.iter().any(|n| n["code"] == "trust.widened"), "{made:#}");
}

#[test]
fn members_come_are_kept_up_to_date_and_go() {
    let desk = Desk::new();
    let (a, b) = (format!("{ORG}/a"), format!("{ORG}/b"));
    let (root_a, root_b) = (desk.collection("anna", &a), desk.collection("berta", &b));
    assert_eq!(code(&desk.add(&a)), (2, "usage"), "a new member needs a root");

    let added = desk.add(&format!("{a} --root {root_a}"));
    assert_eq!(code(&added), (0, "none"), "{added:#}");
    assert_eq!(
        (&added["result"]["status"], &added["result"]["change"]),
        (&"committed".into(), &"entered".into())
    );
    assert_eq!(added["result"]["scope"], serde_json::json!([a]));
    let again = desk.add(&format!("{a} --root {root_a}"));
    assert_eq!(again["result"]["status"], "current", "{again:#}");

    // By its fingerprint, fetched from where its state lies.
    let said = desk.json("berta", &format!("trust fingerprint {root_b}"));
    let fingerprint = said["result"]["fingerprint"].as_str().unwrap().to_owned();
    // One name a member: its entries do not say in which of two repositories a bundle lies.
    let both = desk.add(&format!("{b} --root {fingerprint} --scope {b} --scope {ORG}/team/b"));
    assert_eq!(code(&both), (2, "usage"), "{both:#}");
    let other = format!("{b} --root {fingerprint} --scope {ORG}/team/b");
    assert_eq!(desk.add(&other)["result"]["status"], "committed");
    let wrong = desk.add(&format!("{a} --root {fingerprint}"));
    assert_eq!(code(&wrong), (1, "trust.fingerprint"), "{wrong:#}");
    let local = desk.add(&format!("{a} --root {root_a} --state-at {}", desk.org()));
    assert_eq!(code(&local), (2, "usage"), "{local:#}");
    let foreign = desk.add(&format!("{a} --root {root_b}"));
    assert_eq!(code(&foreign), (1, "trust.collection"), "{foreign:#}");

    // Nobody gives what he has not, and nobody gets what another one has.
    for scope in ["*", "example.com", "example.com/*", "example.com/org/*", ORG, "other.example/x"] {
        let wide = desk.add(&format!("{a} --root {root_a} --scope {scope}"));
        assert_eq!(code(&wide), (1, "member.overstep"), "{scope}: {wide:#}");
    }
    let taken = desk.add(&format!("{a} --root {root_a} --scope {ORG}/team/b"));
    assert_eq!(code(&taken), (1, "member.taken"), "{taken:#}");

    // A new root of the member: the entry follows it, and keeps scope and place.
    desk.run("berta", "key generate next").ok();
    desk.run(
        "berta",
        &format!(
            "tuf propose {0} --as {b} --add-key root={1}/keys/next.pub --description more --output {2}",
            desk.org(),
            desk.path("berta"),
            desk.path("p.json")
        ),
    )
    .ok();
    desk.run("berta", &format!("tuf approve {} --yes", desk.path("p.json"))).ok();
    desk.run("berta", &format!("tuf commit {} --at {}", desk.path("p.json"), desk.org())).ok();
    // Who remembers nothing of it cannot tell its newest root from one by keys that were taken out.
    let unknown = desk.add(&b);
    assert_eq!(code(&unknown), (3, "memory.missing"), "{unknown:#}");
    let memory =
        |who: &str| format!("{who}/memory/{}.json", &bulla::oci::Digest::sha256(b.as_bytes()).hex()[..32]);
    std::fs::copy(desk.path(&memory("berta")), desk.path(&memory("owner"))).unwrap();
    let fresh = desk.add(&b);
    assert_eq!(fresh["result"]["status"], "committed", "{fresh:#}");
    let listed = desk.members();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[1]["member"], &listed[1]["rootVersion"]), (&b.as_str().into(), &2.into()));
    assert_eq!(listed[1]["scope"], serde_json::json!([format!("{ORG}/team/b")]));
    let current = desk.add(&b);
    assert_eq!(current["result"]["status"], "current", "{current:#}");

    // A root from before, and one of another chain, which needs its fingerprint besides.
    let older = desk.add(&format!("{b} --root {root_b}"));
    assert_eq!(code(&older), (1, "member.older"), "{older:#}");
    let own = |root: &str| {
        desk.json("owner", &format!("trust fingerprint {root}"))["result"]["fingerprint"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let line = format!("init {a} --at oci:{} --root-file {}", desk.path("anew"), desk.path("anew.json"));
    desk.run("carla", &line).ok();
    let anew = desk.path("anew.json");
    let apart = desk.add(&format!("{a} --root {anew}"));
    assert_eq!(code(&apart), (1, "member.chain"), "{apart:#}");
    let wrong = desk.add(&format!("{a} --root {anew} --fingerprint {fingerprint}"));
    assert_eq!(code(&wrong), (1, "trust.fingerprint"), "{wrong:#}");
    let meant = desk.add(&format!("{a} --root {anew} --fingerprint {}", own(&anew)));
    assert_eq!(meant["result"]["status"], "committed", "{meant:#}");

    let nobody = desk.json("owner", &format!("tuf member remove {} {ORG}/c", desk.org()));
    assert_eq!(code(&nobody), (2, "member.absent"));
    let gone = desk.json("owner", &format!("tuf member remove {} {a}", desk.org()));
    assert_eq!((code(&gone), &gone["result"]["change"]), ((0, "none"), &"removed".into()), "{gone:#}");
    assert_eq!(desk.members().len(), 1);
}

#[test]
fn two_must_agree_on_a_new_member() {
    let desk = Desk::new();
    let a = format!("{ORG}/a");
    let root = desk.collection("anna", &a);
    desk.run("bob", "key generate bob").ok();
    desk.run("bob", &format!("trust add {ORG} --root {}", desk.path("org.root.json"))).ok();
    let p = desk.path("two.json");
    let bob = desk.path("bob/keys/bob.pub");
    desk.run(
        "owner",
        &format!(
            "tuf propose {} --add-key targets={bob} --threshold targets=2 --description two --output {p}",
            desk.org()
        ),
    )
    .ok();
    for who in ["owner", "bob"] {
        desk.run(who, &format!("tuf approve {p} --yes")).ok();
    }
    desk.run("owner", &format!("tuf commit {p} --at {}", desk.org())).ok();

    let stick = format!("oci:{}", desk.path("stick"));
    let said = desk.add(&format!("{a} --root {root} --output {stick}"));
    assert_eq!((code(&said), &said["result"]["status"]), ((0, "none"), &"proposed".into()), "{said:#}");
    assert!(desk.members().is_empty(), "one alone enters nobody");
    let shown = desk.run("bob", &format!("tuf approve {stick} --yes")).ok();
    assert!(shown.contains(&format!("{ORG}/members/{a}/root.json")), "{shown}");
    desk.run("owner", &format!("tuf commit {stick} --at {}", desk.org())).ok();
    assert_eq!(desk.members().len(), 1);
}

/// The organisation, two members whose keys its owner has, and one of somebody else.
fn staffed() -> Desk {
    let desk = Desk::new();
    for app in ["a", "b"] {
        let file = desk.collection("owner", &format!("{ORG}/{app}"));
        std::fs::rename(&file, desk.path(&format!("{app}.json"))).unwrap();
    }
    std::fs::rename(desk.collection("anna", &format!("{ORG}/c")), desk.path("c.json")).unwrap();
    for app in ["a", "b", "c"] {
        let line = format!(
            "tuf member add {} {ORG}/{app} --as {ORG} --root {}",
            desk.org(),
            desk.path(&format!("{app}.json"))
        );
        desk.run("owner", &line).ok();
    }
    desk
}

impl Desk {
    fn renew(&self, now: &str) -> Ran {
        let line = format!("renew {} --as {ORG} --organisation --format json", self.org());
        Bulla::at(Path::new(&self.path("owner"))).var("BULLA_PASSWORD", "desk").now(now).run(&line)
    }

    fn memory(&self, name: &str) -> String {
        let hash = bulla::oci::Digest::sha256(name.as_bytes()).hex()[..32].to_owned();
        self.path(&format!("owner/memory/{hash}.json"))
    }
}

fn ends(said: &Value) -> Vec<(String, String)> {
    let all = said["result"]["members"].as_array().unwrap().iter();
    let text = |v: &Value| v.as_str().unwrap_or("none").to_owned();
    all.map(|m| (text(&m["status"]), text(&m["error"]["code"]))).collect()
}

#[test]
fn each_member_whose_keys_are_here_is_renewed_and_one_that_fails_stops_nobody() {
    let desk = staffed();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // A day later all timestamps are due; of b nothing is remembered any more.
    std::fs::rename(desk.memory(&format!("{ORG}/b")), desk.path("kept")).unwrap();
    let ran = desk.renew("2026-05-03T12:00:00Z");
    let said = ran.json();
    assert_eq!((ran.exit, &said["error"]["code"]), (3, &"renew.members".into()), "{said:#}");
    assert_eq!(
        (&said["result"]["status"], &said["result"]["organisation"]["status"]),
        (&"failed".into(), &"renewed".into())
    );
    assert_eq!(
        ends(&said),
        [pair("renewed", "none"), pair("failed", "memory.missing"), pair("skipped", "none")]
    );
    assert!(said["error"]["reason"].as_str().unwrap().contains(&format!("{ORG}/b")), "{said:#}");

    std::fs::rename(desk.path("kept"), desk.memory(&format!("{ORG}/b"))).unwrap();
    let ran = desk.renew("2026-05-03T12:00:00Z");
    let said = ran.json();
    assert_eq!((ran.exit, &said["result"]["status"]), (0, &"renewed".into()), "{said:#}");
    assert_eq!(ends(&said), [pair("current", "none"), pair("renewed", "none"), pair("skipped", "none")]);
    let text = desk.run("owner", &format!("renew {} --as {ORG} --organisation", desk.org())).ok();
    assert!(text.starts_with("current   example.com/org   nothing due\n"), "{text}");
    assert!(text.contains("skipped   example.com/org/c   no key of it is here"), "{text}");

    // A role past half its life whose key is elsewhere: exit 1, and the others are renewed.
    std::fs::rename(desk.path("owner/keys/b-releases.pem"), desk.path("away")).unwrap();
    let ran = desk.renew("2026-06-25T12:00:00Z");
    let said = ran.json();
    assert_eq!(ends(&said)[1], pair("overdue", "renew.overdue"), "{said:#}");
    assert_eq!((ran.exit, &ends(&said)[0].0), (1, &"renewed".to_owned()), "{said:#}");
    for wrong in ["--role targets", "--lock x.json"] {
        let line = format!("renew {} --organisation {wrong}", desk.org());
        assert_eq!(desk.run("owner", &line).exit, 2, "{wrong}");
    }
}

#[test]
fn an_organisation_whose_state_is_gone_has_no_members_to_renew() {
    let desk = staffed();
    std::fs::remove_file(desk.memory(ORG)).unwrap();
    let said = desk.renew(NOW).json();
    assert_eq!(code(&said), (3, "memory.missing"), "{said:#}");
    assert!(said["result"].is_null());
}
