//! The first root of a collection whose root keys lie on several machines: three homes, and only a directory between them.

use std::path::Path;

use serde_json::Value;

use crate::run::Bulla;

const NAME: &str = "example.com/team/app";
const NOW: &str = "2026-05-01T12:00:00Z";

struct Founders(tempfile::TempDir);

impl Founders {
    fn new() -> Self {
        let founders = Self(tempfile::tempdir().unwrap());
        for who in ["alice", "bob", "carol"] {
            founders.run(who, &format!("key generate {who}")).ok();
        }
        founders
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn state(&self) -> String {
        format!("oci:{}", self.path("origin"))
    }

    fn run(&self, who: &str, line: &str) -> crate::run::Ran {
        self.run_at(who, NOW, line)
    }

    fn run_at(&self, who: &str, now: &str, line: &str) -> crate::run::Ran {
        Bulla::at(Path::new(&self.path(who))).var("BULLA_PASSWORD", "hall").now(now).run(line)
    }

    fn json(&self, who: &str, line: &str) -> Value {
        self.run(who, &format!("--format json {line}")).json()
    }

    fn public(&self, who: &str) -> String {
        format!("{}/keys/{who}.pub", self.path(who))
    }

    /// The command by which `who` begins: own key, the others' public halves, two of three.
    fn init_line(&self, who: &str, to: &str) -> String {
        let others: Vec<String> =
            ["alice", "bob", "carol"]
                .iter()
                .map(|k| {
                    if *k == who {
                        format!("--root-key {k}")
                    } else {
                        format!("--root-key {}", self.public(k))
                    }
                })
                .collect();
        let (state, others) = (self.state(), others.join(" "));
        let root = self.path(&format!("{who}.root.json"));
        format!("init {NAME} --at {state} {others} --root-threshold 2 --root-file {root} --output {to}")
    }

    /// The digest that root signs, as alice reads it out.
    fn signs(&self, at: &str) -> String {
        let shown = self.json("alice", &format!("tuf approve {at} --show"));
        let files = shown["result"]["difference"]["files"].as_array().unwrap();
        files.iter().find(|f| f["role"] == "root").unwrap()["signs"].as_str().unwrap().to_owned()
    }

    /// The command by which somebody approves who has compared that digest.
    fn approve_line(&self, at: &str) -> String {
        format!("tuf approve {at} --yes --signs {}", self.signs(at))
    }

    fn commit_line(&self, who: &str, copies: &str) -> String {
        format!(
            "tuf commit {copies} --at {} --root-file {}",
            self.state(),
            self.path(&format!("{who}.root.json"))
        )
    }

    /// Whether a state lies at the place.
    fn is_published(&self) -> bool {
        let index = std::fs::read_to_string(self.path("origin/index.json"));
        index.is_ok_and(|text| text.contains("\"bulla.666cabacd450fef9\""))
    }
}

fn code(document: &Value) -> (u64, &str) {
    (document["exitCode"].as_u64().unwrap(), document["error"]["code"].as_str().unwrap_or("none"))
}

#[test]
fn the_first_root_of_two_of_three_over_three_homes_and_a_directory() {
    let f = Founders::new();
    let stick = format!("oci:{}", f.path("stick"));
    let begun = f.json("alice", &f.init_line("alice", &stick));
    assert_eq!(
        (code(&begun), begun["result"]["status"].as_str()),
        ((0, "none"), Some("proposed")),
        "{begun:#}"
    );
    let root = begun["result"]["signers"].as_array().unwrap().iter().find(|s| s["role"] == "root").unwrap();
    assert_eq!((root["signed"].as_array().unwrap().len(), &root["enough"]), (1, &false.into()));
    assert!(!f.is_published() && !Path::new(&f.path("alice.root.json")).exists());
    assert!(!Path::new(&f.path("alice/trust.json")).exists(), "nothing is anchored before there is anything");
    // With one signature missing nothing is published.
    let early = f.json("alice", &f.commit_line("alice", &stick));
    assert_eq!(code(&early), (1, "proposal.incomplete"), "{early:#}");
    assert!(!f.is_published() && !Path::new(&f.path("alice.root.json")).exists());
    // Bob has no anchor, and is told what to compare; the place of the state is out of his reach.
    let approve = f.approve_line(&stick);
    std::fs::rename(f.path("origin"), f.path("far")).unwrap();
    let shown = f.run("bob", &format!("tuf approve {stick} --show")).ok();
    for word in ["nobody can check it for you", NAME, "root new 1", "root: 2 of 3 keys must sign"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let approved = f.json("bob", &approve);
    assert_eq!(approved["result"]["signed"][0]["role"], "root", "{approved:#}");
    assert_eq!(approved["result"]["base"]["first"], true);
    std::fs::rename(f.path("far"), f.path("origin")).unwrap();
    let done = f.json("alice", &f.commit_line("alice", &stick));
    assert_eq!((code(&done), &done["result"]["status"]), ((0, "none"), &"created".into()), "{done:#}");
    assert_eq!(done["result"]["root"]["threshold"], 2);
    assert!(f.is_published());
    // What lies on the stick is used up only where the state lies; run again, it changes nothing.
    let digest = done["result"]["state"]["digest"].clone();
    let again = f.json("alice", &f.commit_line("alice", &stick));
    assert_eq!((code(&again), &again["result"]["state"]["digest"]), ((0, "none"), &digest), "{again:#}");
    // The collection lives: alice renews, bob trusts the root by its fingerprint, and two of three change it.
    f.run_at("alice", "2026-05-03T12:00:00Z", &format!("renew {}", f.state())).ok();
    let root = done["result"]["root"]["fingerprint"].as_str().unwrap();
    let file = f.path("alice.root.json");
    let compared = f.run("bob", &format!("trust fingerprint {file}")).ok();
    assert!(compared.contains(root), "{compared}");
    f.run("bob", &format!("trust add {NAME} --root {file}")).ok();
    let late = f.json("bob", &format!("tuf approve {stick} --show"));
    assert_eq!(code(&late), (1, "proposal.stale"), "there is a root now: {late:#}");
}

#[test]
fn a_first_root_is_signed_unasked_only_by_the_digest_that_was_compared() {
    let f = Founders::new();
    let (first, swapped) = (f.path("first.json"), f.path("swapped.json"));
    f.run("alice", &f.init_line("alice", &first)).ok();
    let (signs, before) = (f.signs(&first), std::fs::read(&first).unwrap());
    let bare = f.json("bob", &format!("tuf approve {first} --yes"));
    assert_eq!(code(&bare), (1, "proposal.unchecked"), "{bare:#}");
    // Whoever had the stick in hand put another root there.
    let mut doc: Value = serde_json::from_slice(&before).unwrap();
    doc["drafts"]["root"]["signed"]["roles"]["root"]["threshold"] = 1.into();
    std::fs::write(&swapped, doc.to_string()).unwrap();
    let other = f.json("bob", &format!("tuf approve {swapped} --yes --signs {signs}"));
    assert_eq!(code(&other), (1, "proposal.unchecked"), "{other:#}");
    // Nor is the digest of another draft enough, nor a fingerprint, which a first root has only when all have signed.
    let shown = f.json("bob", &format!("tuf approve {first} --show"));
    let targets = &shown["result"]["difference"]["files"][1];
    let line = format!("tuf approve {first} --yes --signs {}", targets["signs"].as_str().unwrap());
    assert_eq!(
        (&targets["role"], code(&f.json("bob", &line))),
        (&"targets".into(), (1, "proposal.unchecked"))
    );
    let line = format!("tuf approve {first} --yes --signs {signs} --root-fingerprint {signs}");
    assert_eq!(f.json("bob", &line)["exitCode"], 2);
    // A key of targets signs what root does not pin: that is named as well.
    let mut doc: Value = serde_json::from_slice(&before).unwrap();
    doc["drafts"]["targets"]["signatures"] = serde_json::json!([]);
    std::fs::write(&swapped, doc.to_string()).unwrap();
    let key = f.path("alice/keys/app-targets.pem");
    let line = format!("tuf approve {swapped} --yes --signs {signs} --with {key}");
    let unnamed = f.json("bob", &line);
    assert_eq!(code(&unnamed), (1, "proposal.unchecked"), "{unnamed:#}");
    assert_eq!(std::fs::read(&first).unwrap(), before, "nothing was signed");
    let done = f.json("bob", &format!("tuf approve {first} --yes --signs {signs}"));
    assert_eq!(
        (code(&done), &done["result"]["signed"][0]["role"]),
        ((0, "none"), &"root".into()),
        "{done:#}"
    );
}

#[test]
fn a_first_root_that_shares_its_keys_with_the_nightly_job_is_refused() {
    let f = Founders::new();
    let first = f.path("first.json");
    f.run("alice", &f.init_line("alice", &first)).ok();
    let text = std::fs::read(&first).unwrap();
    for above in ["root", "targets"] {
        let mut doc: Value = serde_json::from_slice(&text).unwrap();
        let roles = &mut doc["drafts"]["root"]["signed"]["roles"];
        roles["timestamp"]["keyids"] = roles[above]["keyids"].clone();
        std::fs::write(&first, doc.to_string()).unwrap();
        let shown = f.json("bob", &format!("tuf approve {first} --show"));
        assert_eq!(code(&shown), (1, "proposal.invalid"), "{above}: {shown:#}");
        let commit = f.json("alice", &f.commit_line("alice", &first));
        assert_eq!(code(&commit), (1, "proposal.invalid"), "{above}: {commit:#}");
    }
}

#[test]
fn a_commit_of_a_first_root_that_broke_off_before_the_push_is_run_again() {
    let f = Founders::new();
    let first = f.path("first.json");
    f.run("alice", &f.init_line("alice", &first)).ok();
    f.run("bob", &f.approve_line(&first)).ok();
    f.run("alice", &f.commit_line("alice", &first)).ok();
    // Only the root file was written.
    for made in ["origin", "alice/memory"] {
        std::fs::remove_dir_all(f.path(made)).unwrap();
    }
    std::fs::remove_file(f.path("alice/trust.json")).unwrap();
    let again = f.json("alice", &f.commit_line("alice", &first));
    assert_eq!(code(&again), (0, "none"), "{again:#}");
    assert!(f.is_published());
    // Another root's file is nobody's to overwrite.
    std::fs::write(f.path("bob.root.json"), "another").unwrap();
    std::fs::remove_dir_all(f.path("origin")).unwrap();
    let other = f.json("bob", &f.commit_line("bob", &first));
    assert_ne!(other["exitCode"], 0, "{other:#}");
    assert_eq!(std::fs::read(f.path("bob.root.json")).unwrap(), b"another");
}

#[test]
fn a_collection_that_expired_or_went_back_is_not_taken_for_made() {
    let f = Founders::new();
    let first = f.path("first.json");
    f.run("alice", &f.init_line("alice", &first)).ok();
    f.run("bob", &f.approve_line(&first)).ok();
    f.run("alice", &f.commit_line("alice", &first)).ok();
    let again = f.json("alice", &f.commit_line("alice", &first));
    assert_eq!(code(&again), (0, "none"), "{again:#}");
    let line = format!("--format json {}", f.commit_line("alice", &first));
    let expired = f.run_at("alice", "2026-06-01T12:00:00Z", &line).json();
    assert_eq!(code(&expired), (1, "init.exists"), "{expired:#}");
    assert!(expired["error"]["reason"].as_str().unwrap().contains("timestamp expired"), "{expired:#}");
    // Somebody puts back what lay there before a renewal.
    let index = std::fs::read(f.path("origin/index.json")).unwrap();
    f.run_at("alice", "2026-05-05T12:00:00Z", &format!("renew {}", f.state())).ok();
    std::fs::write(f.path("origin/index.json"), index).unwrap();
    let older = f.run_at("alice", "2026-05-05T12:01:00Z", &line).json();
    assert_eq!(code(&older), (1, "init.exists"), "{older:#}");
    assert!(older["error"]["reason"].as_str().unwrap().contains("older than"), "{older:#}");
}

#[test]
fn a_first_root_of_a_collection_that_is_remembered_is_refused() {
    let f = Founders::new();
    let (one, two) = (f.path("one.json"), f.path("two.json"));
    f.run("alice", &f.init_line("alice", &one)).ok();
    f.run("bob", &f.init_line("bob", &two)).ok();
    f.run("bob", &f.approve_line(&one)).ok();
    f.run("alice", &f.commit_line("alice", &one)).ok();
    // Carol knows the collection, and has no anchor of its own for it.
    std::fs::create_dir_all(f.path("carol/memory")).unwrap();
    for entry in std::fs::read_dir(f.path("alice/memory")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), Path::new(&f.path("carol/memory")).join(entry.file_name())).unwrap();
    }
    let second = f.json("carol", &format!("tuf approve {two} --show"));
    assert_eq!(code(&second), (1, "proposal.stale"), "{second:#}");
}

#[test]
fn a_first_root_that_no_key_here_signed_is_not_published_unasked() {
    let f = Founders::new();
    let (mine, all) = (f.path("first.json"), f.path("all.json"));
    f.run("alice", &f.init_line("alice", &mine)).ok();
    f.run("bob", &format!("{} --output {all}", f.approve_line(&mine))).ok();
    // Alice's online key is moved to a machine that has no root key.
    let ci = f.path("ci/keys");
    std::fs::create_dir_all(&ci).unwrap();
    for end in ["pem", "pub"] {
        let name = format!("app-online.{end}");
        std::fs::rename(f.path(&format!("alice/keys/{name}")), format!("{ci}/{name}")).unwrap();
    }
    let without = f.json("alice", &f.commit_line("alice", &all));
    assert_eq!(code(&without), (3, "key.missing"), "{without:#}");
    let unasked = f.json("ci", &f.commit_line("ci", &all));
    assert_eq!(code(&unasked), (3, "proposal.unasked"), "{unasked:#}");
    assert!(!f.is_published());
    let late =
        f.run_at("ci", "2026-11-01T12:00:00Z", &format!("--format json {} --yes", f.commit_line("ci", &all)));
    assert_eq!(code(&late.json()), (1, "proposal.stale"));
    assert!(!f.is_published());
    let line = format!("{} --yes --expires timestamp=1d --expires snapshot=2d", f.commit_line("ci", &all));
    let done = f.json("ci", &line);
    assert_eq!(code(&done), (0, "none"), "{done:#}");
    assert_eq!(done["result"]["deadlines"][0]["expires"], "2026-05-02T12:00:00Z", "{done:#}");
    assert_eq!(done["result"]["deadlines"][1]["expires"], "2026-05-03T12:00:00Z");
}

#[test]
fn of_two_first_roots_the_second_is_refused() {
    let f = Founders::new();
    let (one, two) = (f.path("one.json"), f.path("two.json"));
    f.run("alice", &f.init_line("alice", &one)).ok();
    f.run("bob", &f.init_line("bob", &two)).ok();
    // Their copies do not mix.
    let both = f.json("alice", &f.commit_line("alice", &format!("{one} {two}")));
    assert_eq!(code(&both), (2, "proposal.several"));
    for file in [&one, &two] {
        f.run("carol", &f.approve_line(file)).ok();
    }
    f.run("alice", &f.commit_line("alice", &one)).ok();
    let before = std::fs::read(f.path("origin/index.json")).unwrap();
    let second = f.json("bob", &f.commit_line("bob", &two));
    assert_eq!(code(&second), (1, "init.exists"), "{second:#}");
    assert_eq!(std::fs::read(f.path("origin/index.json")).unwrap(), before);
    assert!(!Path::new(&f.path("bob.root.json")).exists() && !Path::new(&f.path("bob/trust.json")).exists());
    // Nor is another one begun there.
    let third = f.json("carol", &f.init_line("carol", &f.path("three.json")));
    assert_eq!(code(&third), (1, "init.exists"), "{third:#}");
    assert!(!Path::new(&f.path("three.json")).exists());
}

#[test]
fn enough_root_keys_here_make_the_collection_at_once() {
    let f = Founders::new();
    f.run("alice", "key generate spare").ok();
    let line = format!(
        "init {NAME} --at {} --root-key alice --root-key spare --root-key {} --root-threshold 2 --root-file {}",
        f.state(),
        f.public("bob"),
        f.path("r.json")
    );
    let made = f.json("alice", &line);
    assert_eq!((code(&made), &made["result"]["status"]), ((0, "none"), &"created".into()), "{made:#}");
    assert!(f.is_published());
    // An online key of which the private half is elsewhere: the state cannot be made here.
    let f = Founders::new();
    let line = format!(
        "init {NAME} --at {} --root-key alice --online-key {} --root-file {} --output {}",
        f.state(),
        f.public("carol"),
        f.path("r.json"),
        f.path("p.json")
    );
    let proposed = f.json("alice", &line);
    assert_eq!((code(&proposed), &proposed["result"]["status"]), ((0, "none"), &"proposed".into()));
    let line =
        format!("tuf commit {} --at {} --root-file {} --yes", f.path("p.json"), f.state(), f.path("r.json"));
    assert_eq!(code(&f.json("carol", &line)), (0, "none"));
    assert!(f.is_published());
}

#[test]
fn a_first_root_that_was_tampered_with_leads_nowhere() {
    let f = Founders::new();
    let first = f.path("first.json");
    f.run("alice", &f.init_line("alice", &first)).ok();
    f.run("bob", &f.approve_line(&first)).ok();
    let text = std::fs::read_to_string(&first).unwrap();
    let mut doc: Value = serde_json::from_str(&text).unwrap();
    // A changed draft loses its signatures; the revocation list that comes along is pinned by the role's file.
    doc["drafts"]["root"]["signed"]["expires"] = "2036-01-01T00:00:00Z".into();
    std::fs::write(&first, doc.to_string()).unwrap();
    assert_eq!(code(&f.json("alice", &f.commit_line("alice", &first))), (1, "proposal.incomplete"));
    let mut doc: Value = serde_json::from_str(&text).unwrap();
    let files = doc["files"].as_object_mut().unwrap();
    files.values_mut().for_each(|v| *v = "e30=".into());
    std::fs::write(&first, doc.to_string()).unwrap();
    assert_eq!(code(&f.json("alice", &f.commit_line("alice", &first))), (1, "proposal.invalid"));
    assert!(!f.is_published() && !Path::new(&f.path("alice.root.json")).exists());
}

/// What a person types on the page, and who; `@/` is the folder that stands for the stick, `@digest` what root signs.
const CEREMONY: &[(&str, &str)] = &[
    (
        "alice",
        "init example.com/team/app --at oci:@/origin --root-key alice --root-key @/bob.pub --root-key @/carol.pub --root-threshold 2 --root-file @/1.root.json --output @/first.json",
    ),
    ("alice", "tuf commit @/first.json --at oci:@/origin --root-file @/1.root.json"),
    ("bob", "tuf approve @/first.json --yes --signs @digest"),
    ("alice", "tuf commit @/first.json --at oci:@/origin --root-file @/1.root.json"),
    ("bob", "trust fingerprint @/1.root.json"),
    ("bob", "trust add example.com/team/app --root @/1.root.json"),
];

/// The page shows this very ceremony; written anew with `BULLA_BLESS=1`. Keys are random, so hex digits are not compared.
#[test]
fn the_page_shows_what_a_first_root_looks_like() {
    let f = Founders::new();
    for who in ["bob", "carol"] {
        std::fs::copy(f.public(who), f.path(&format!("{who}.pub"))).unwrap();
    }
    let folder = f.path("");
    let mut transcript = String::new();
    for (who, line) in CEREMONY {
        let line = &match line.contains("@digest") {
            true => line.replace("@digest", &f.signs(&f.path("first.json"))),
            false => (*line).to_owned(),
        };
        let ran = f.run(who, &line.replace("@/", &folder));
        let said = format!("{}{}", ran.out, ran.err);
        transcript += &format!("{who}$ bulla {}\n{}", line.replace("@/", ""), said.replace(&folder, ""));
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/root-ceremony.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let section = text.find("\n## The first root\n").expect("the page has the section");
    let start = section + text[section..].find("```\n").unwrap() + 4;
    let end = start + text[start..].find("```\n").unwrap();
    if std::env::var_os("BULLA_BLESS").is_some() {
        std::fs::write(&page, format!("{}{transcript}{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(without_hex(&text[start..end]), without_hex(&transcript), "BULLA_BLESS=1 writes the page");
    }
}

/// The text without the digits of keys, signatures and hashes.
fn without_hex(text: &str) -> String {
    let hex = |word: &str| word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if hex(word) { piece.replacen(word, "#", 1) } else { piece.to_owned() }
        })
        .collect()
}
