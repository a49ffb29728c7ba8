//! Ceremonies over several homes: proposals travel through an OCI layout or as files, and no home but one sees the state.

use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use crate::run::Bulla;

const NAME: &str = "example.com/team/app";
const NOW: &str = "2026-05-01T12:00:00Z";

struct Hall(tempfile::TempDir);

impl Hall {
    /// Alice has made the collection; Bob and Carol have keys, and her root.
    fn new() -> Self {
        let hall = Self(tempfile::tempdir().unwrap());
        let root = hall.path("1.root.json");
        let line = format!("init {NAME} --at {} --root-file {root}", hall.state());
        hall.run("alice", &line).ok();
        for who in ["bob", "carol"] {
            hall.run(who, &format!("key generate {who}")).ok();
            hall.run(who, &format!("trust add {NAME} --root {root}")).ok();
        }
        hall
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn state(&self) -> String {
        format!("oci:{}", self.path("origin"))
    }

    fn bulla(&self, who: &str) -> Bulla {
        Bulla::at(Path::new(&self.path(who))).var("BULLA_PASSWORD", "hall").now(NOW)
    }

    fn run(&self, who: &str, line: &str) -> crate::run::Ran {
        self.bulla(who).run(line)
    }

    fn json(&self, who: &str, line: &str) -> Value {
        self.run(who, &format!("--format json {line}")).json()
    }

    fn public(&self, who: &str, key: &str) -> String {
        format!("{}/keys/{key}.pub", self.path(who))
    }

    /// Of three keys two must sign the root, as a proposal at `to`.
    fn propose(&self, to: &str) {
        let (bob, carol) = (self.public("bob", "bob"), self.public("carol", "carol"));
        let args = format!("--add-key root={bob} --add-key root={carol} --threshold root=2");
        let line = format!("tuf propose {} {args} --description growing --output {to}", self.state());
        self.run("alice", &line).ok();
    }

    /// The ceremony done.
    fn two_of_three() -> Self {
        let hall = Self::new();
        let stick = format!("oci:{}", hall.path("stick"));
        hall.propose(&stick);
        hall.run("bob", &format!("tuf approve {stick} --yes")).ok();
        hall.run("alice", &format!("tuf approve {stick} --yes")).ok();
        hall.run("alice", &format!("tuf commit {stick} --at {}", hall.state())).ok();
        hall
    }

    fn commit(&self, copies: &[&str]) -> Value {
        self.json("alice", &format!("tuf commit {} --at {}", copies.join(" "), self.state()))
    }

    fn propose_resign(&self, days: u32, to: &str) -> String {
        let file = self.path(to);
        let line = format!(
            "tuf propose {} --expires root={days}d --description yearly --output {file}",
            self.state()
        );
        self.run("alice", &line).ok();
        file
    }
}

#[test]
fn a_root_of_two_of_three_over_three_homes_and_a_stick() {
    let hall = Hall::new();
    let stick = format!("oci:{}", hall.path("stick"));
    hall.propose(&stick);
    let early = hall.commit(&[&stick]);
    assert_eq!((&early["exitCode"], &early["error"]["code"]), (&1.into(), &"proposal.incomplete".into()));
    // Nobody to ask: nothing is signed.
    let unasked = hall.json("bob", &format!("tuf approve {stick}"));
    assert_eq!(unasked["error"]["code"], "proposal.unasked");
    // The state is out of reach of those who approve.
    std::fs::rename(hall.path("origin"), hall.path("far")).unwrap();
    let bob = hall.json("bob", &format!("tuf approve {stick} --yes"));
    assert_eq!(bob["result"]["signed"].as_array().unwrap().len(), 1);
    assert_eq!(bob["result"]["base"]["checkedUnderRoot"], 1);
    let text = hall.run("alice", &format!("tuf approve {stick} --yes")).ok();
    assert!(text.contains("root: 2 of 3 keys must sign, it was 1"), "{text}");
    std::fs::rename(hall.path("far"), hall.path("origin")).unwrap();
    let done = hall.commit(&[&stick]);
    assert_eq!((&done["exitCode"], &done["result"]["status"]), (&0.into(), &"committed".into()));
    let again = hall.commit(&[&stick]);
    assert_eq!(again["exitCode"], 0, "{again:#}");
    // One machine alone can no longer sign the root, and is told how it goes.
    let alone = hall.json("alice", &format!("renew {} --role root", hall.state()));
    assert!(alone["error"]["next"].as_str().unwrap().contains("bulla tuf propose"), "{alone:#}");
}

#[test]
fn words_do_not_hide_what_changes() {
    let hall = Hall::two_of_three();
    let file = hall.path("lie.json");
    let line =
        format!("tuf propose {} --threshold root=1 --description nothing --output {file}", hall.state());
    hall.run("alice", &line).ok();
    let shown = hall.run("carol", &format!("tuf approve {file} --show")).ok();
    assert!(shown.contains("root: 1 of 3 keys must sign, it was 2"), "{shown}");
    assert!(shown.contains("nobody has checked these words"), "{shown}");
    // Nor is a key of the root given to the nightly job by hand.
    let mut doc: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let roles = &mut doc["drafts"]["root"]["signed"]["roles"];
    roles["timestamp"]["keyids"] = roles["root"]["keyids"].clone();
    let shared = hall.path("shared.json");
    std::fs::write(&shared, doc.to_string()).unwrap();
    let refused = hall.json("carol", &format!("tuf approve {shared} --show"));
    assert_eq!(refused["error"]["code"], "proposal.invalid", "{refused:#}");
    // Who has no anchor is told that nothing was checked.
    hall.run("eve", "key generate eve").ok();
    let blind = hall.run("eve", &format!("tuf approve {file} --show")).ok();
    assert!(blind.contains("NOT CHECKED"), "{blind}");
    let unchecked = hall.json("eve", &format!("tuf approve {file} --yes"));
    assert_eq!(
        (&unchecked["exitCode"], &unchecked["error"]["code"]),
        (&1.into(), &"proposal.unchecked".into())
    );
    // Nor by a fingerprint that is another's; by the right one it is.
    let wrong =
        hall.json("eve", &format!("tuf approve {file} --show --root-fingerprint sha256:{}", "0".repeat(64)));
    assert_eq!(wrong["error"]["code"], "proposal.base");
    let root = std::fs::read(hall.path("1.root.json")).unwrap();
    let right = bulla::oci::Digest::sha256(&root);
    let shown = hall.run("eve", &format!("tuf approve {file} --show --root-fingerprint {right}")).ok();
    assert!(shown.contains("verified from the root with the fingerprint given (root 2)"), "{shown}");
}

#[test]
fn copies_are_merged_and_a_bad_signature_is_left_out() {
    let hall = Hall::two_of_three();
    let (a, b) = (hall.propose_resign(700, "a.json"), hall.path("b.json"));
    std::fs::copy(&a, &b).unwrap();
    hall.run("alice", &format!("tuf approve {a} --yes")).ok();
    hall.run("bob", &format!("tuf approve {b} --yes")).ok();
    // Alice's signature in Bob's copy, damaged.
    let mut doc: Value = serde_json::from_slice(&std::fs::read(&a).unwrap()).unwrap();
    let signature = &mut doc["drafts"]["root"]["signatures"][0]["sig"];
    let flipped = if signature.as_str().unwrap().starts_with('0') { "1" } else { "0" };
    *signature = format!("{flipped}{}", &signature.as_str().unwrap()[1..]).into();
    let bad = hall.path("bad.json");
    std::fs::write(&bad, doc.to_string()).unwrap();
    let refused = hall.commit(&[&bad, &b]);
    assert_eq!(refused["error"]["code"], "proposal.incomplete");
    assert_eq!(refused["notes"][0]["code"], "proposal.signature", "{refused:#}");
    let done = hall.commit(&[&bad, &b, &a]);
    assert_eq!(done["exitCode"], 0, "{done:#}");
    // A copy of which a draft was changed is another proposal.
    doc["drafts"]["root"]["signed"]["expires"] = "2036-01-01T00:00:00Z".into();
    std::fs::write(&bad, doc.to_string()).unwrap();
    assert_eq!(hall.commit(&[&a, &bad])["error"]["code"], "proposal.several");
}

#[test]
fn of_two_proposals_on_one_base_the_second_is_stale() {
    let hall = Hall::two_of_three();
    let (one, two) = (hall.propose_resign(700, "one.json"), hall.propose_resign(800, "two.json"));
    for file in [&one, &two] {
        hall.run("alice", &format!("tuf approve {file} --yes")).ok();
        hall.run("bob", &format!("tuf approve {file} --yes")).ok();
    }
    assert_eq!(hall.commit(&[&one])["exitCode"], 0);
    let stale = hall.commit(&[&two]);
    assert_eq!((&stale["exitCode"], &stale["error"]["code"]), (&1.into(), &"proposal.stale".into()));
    // Nor is it signed where the newer state is remembered.
    assert_eq!(hall.json("alice", &format!("tuf approve {two} --show"))["error"]["code"], "proposal.stale");
    assert_eq!(hall.commit(&[&one])["exitCode"], 0, "what is in changes nothing");
}

#[test]
fn a_proposal_for_another_collection_or_of_nonsense_is_refused() {
    let hall = Hall::two_of_three();
    let file = hall.propose_resign(700, "a.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = hall.path("other.json");
    std::fs::write(&other, text.replace(NAME, "example.com/team/other")).unwrap();
    let refused = hall.commit(&[&other]);
    assert_eq!((&refused["exitCode"], &refused["error"]["code"]), (&1.into(), &"proposal.collection".into()));
    for (nonsense, code) in [("{}", "proposal.invalid"), ("", "proposal.invalid")] {
        std::fs::write(&other, nonsense).unwrap();
        assert_eq!(hall.json("bob", &format!("tuf approve {other} --show"))["error"]["code"], code);
    }
    let unchanged = hall.json("alice", &format!("tuf propose {} --description nothing", hall.state()));
    assert_eq!(unchanged["exitCode"], 2);
}

#[test]
fn a_next_root_is_no_first_one_because_it_says_so() {
    let hall = Hall::two_of_three();
    let file = hall.propose_resign(700, "a.json");
    // The base is left out, so that nothing would look removed.
    let mut doc: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    doc["base"] = serde_json::json!({});
    doc.as_object_mut().unwrap().remove("published");
    std::fs::write(&file, doc.to_string()).unwrap();
    for who in ["bob", "alice"] {
        let refused = hall.json(who, &format!("tuf approve {file} --yes"));
        assert_eq!(refused["exitCode"], 1, "{refused:#}");
        assert_eq!(refused["error"]["code"], "proposal.invalid", "{refused:#}");
    }
    hall.run("eve", "key generate eve").ok();
    assert_eq!(hall.json("eve", &format!("tuf approve {file} --show"))["error"]["code"], "proposal.invalid");
    assert_eq!(
        std::fs::read_dir(hall.path("."))
            .unwrap()
            .filter(|e| { e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".bulla-proposal") })
            .count(),
        0
    );
}

#[test]
fn one_hostile_copy_stops_nobody() {
    let hall = Hall::two_of_three();
    let stick = format!("oci:{}", hall.path("stick2"));
    let line =
        format!("tuf propose {} --expires root=700d --description yearly --output {stick}", hall.state());
    let proposed = hall.json("alice", &line);
    let id = proposed["result"]["id"].as_str().unwrap().to_owned();
    let tag = proposed["result"]["at"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    // The same drafts without what they stand on, and another proposal beside it.
    let (good, bare) = (hall.path("good.json"), hall.path("bare.json"));
    hall.run("alice", &format!("tuf approve {stick}:{tag} --yes --output {good}")).ok();
    let mut doc: Value = serde_json::from_slice(&std::fs::read(&good).unwrap()).unwrap();
    doc.as_object_mut().unwrap().remove("published");
    std::fs::write(&bare, doc.to_string()).unwrap();
    for n in 0..4 {
        // Whichever sorts first.
        doc["description"] = format!("{n}").into();
        std::fs::write(&bare, doc.to_string()).unwrap();
        let done = hall.json("bob", &format!("tuf approve {good} --show"));
        assert_eq!(done["exitCode"], 0, "{done:#}");
        let both = hall.commit(&[&bare, &good]);
        assert_eq!(both["error"]["code"], "proposal.incomplete", "{both:#}");
    }
    let other =
        format!("tuf propose {} --expires root=800d --description other --output {stick}", hall.state());
    hall.run("alice", &other).ok();
    let several = hall.json("bob", &format!("tuf approve {stick} --yes"));
    assert_eq!(several["error"]["code"], "proposal.several");
    // All copies of one, by the tag without its last part.
    let whole = tag.rsplit_once('.').unwrap().0.to_owned();
    assert!(whole.ends_with(&id));
    for who in ["bob", "alice"] {
        let signed = hall.json(who, &format!("tuf approve {stick}:{whole} --yes"));
        assert_eq!(signed["exitCode"], 0, "{signed:#}");
    }
    let done = hall.commit(&[&format!("{stick}:{whole}")]);
    assert_eq!(done["exitCode"], 0, "{done:#}");
}

#[test]
fn under_a_later_anchor_it_may_not_be_older_than_what_is_remembered() {
    let hall = Hall::new();
    let later = "2026-05-03T12:00:00Z";
    let run = |line: String| hall.bulla("alice").now(later).run(&line).ok();
    let read = |path: &str| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let old = read(&hall.propose_resign(700, "old.json"));
    run(format!("renew {}", hall.state()));
    // Dora remembers that, under root 1; what she trusts is root 3, which follows from it by root 2.
    let memory = hall.path("dora/memory");
    std::fs::create_dir_all(&memory).unwrap();
    for entry in std::fs::read_dir(hall.path("alice/memory")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), Path::new(&memory).join(entry.file_name())).unwrap();
    }
    for _ in 2..=3 {
        run(format!("renew {} --role root", hall.state()));
    }
    let new = hall.path("new.json");
    run(format!("tuf propose {} --expires root=700d --description yearly --output {new}", hall.state()));
    let mut doc = read(&new);
    let root = doc["published"]["metadata"]["3.root.json"].as_str().unwrap();
    let root = base64::engine::general_purpose::STANDARD.decode(root).unwrap();
    std::fs::write(hall.path("3.root.json"), root).unwrap();
    let dora = |line: String| hall.bulla("dora").now(later).run(&format!("--format json {line}")).json();
    assert_eq!(dora(format!("trust add {NAME} --root {}", hall.path("3.root.json")))["exitCode"], 0);
    let fresh = dora(format!("tuf approve {new} --show"));
    assert_eq!(
        (&fresh["exitCode"], &fresh["result"]["base"]["remembered"]),
        (&0.into(), &true.into()),
        "{fresh:#}"
    );
    // The roots stay; the rest is what was published before Dora looked.
    let metadata = doc["published"]["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| name.ends_with(".root.json"));
    for (name, file) in old["published"]["metadata"].as_object().unwrap() {
        metadata.entry(name).or_insert(file.clone());
    }
    std::fs::write(&new, doc.to_string()).unwrap();
    let stale = dora(format!("tuf approve {new} --show"));
    assert_eq!(
        (&stale["exitCode"], &stale["error"]["code"]),
        (&1.into(), &"proposal.stale".into()),
        "{stale:#}"
    );
}

/// A list that lacks a tombstone, or undoes it, has another hash like any other: its signers read the entries.
#[test]
fn who_signs_a_revocation_list_reads_the_entries_that_come_and_go() {
    let hall = Hall::new();
    let list = |name: &str, entries: &str| {
        let at = hall.path(name);
        std::fs::write(&at, format!("{{\"schemaVersion\":1,\"entries\":[{entries}]}}")).unwrap();
        at
    };
    let digest = format!("sha256:{}", "ab".repeat(32));
    let entry = format!(
        "{{\"id\":\"a3f09c\",\"kind\":\"tombstone\",\"subject\":\"{digest}\",\"at\":\"2026-04-01T00:00:00Z\",\"by\":\"bob\",\"reason\":\"CVE-2026-1\"}}"
    );
    let propose = |list: &str, to: &str| {
        let file = hall.path(to);
        let (state, path) = (hall.state(), format!("{NAME}/revocations.json"));
        let line = format!(
            "tuf propose {state} --file targets/revocations={path}={list} --description more --output {file}"
        );
        hall.run("alice", &line).ok();
        file
    };
    let file = propose(&list("with.json", &entry), "enter.json");
    let shown = hall.run("bob", &format!("tuf approve {file} --show")).ok();
    let line = shown.lines().find(|l| l.contains("revocation comes")).unwrap_or_else(|| panic!("{shown}"));
    for part in [&digest, "tombstone", "CVE-2026-1", "by bob", "2026-04-01T00:00:00Z"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    hall.run("alice", &format!("tuf approve {file} --yes")).ok();
    assert_eq!(hall.commit(&[&file])["result"]["status"], "committed");
    let file = propose(&list("without.json", ""), "drop.json");
    let shown = hall.run("bob", &format!("tuf approve {file} --show")).ok();
    assert!(shown.contains(&format!("revocation goes: a3f09c tombstone of {digest}")), "{shown}");
    let shown = hall.json("bob", &format!("tuf approve {file} --show"));
    let contents = &shown["result"]["difference"]["contents"][0];
    assert_eq!(contents["path"], format!("{NAME}/revocations.json"));
    assert_eq!(contents["items"][0]["kind"], "revocation-removed");
    assert_eq!(contents["items"][0]["old"]["reason"], "CVE-2026-1");
    // Without the published list nobody could tell what goes.
    let mut blind: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    blind["published"]["targets"] = serde_json::json!({});
    let blinded = hall.path("blind.json");
    std::fs::write(&blinded, serde_json::to_vec(&blind).unwrap()).unwrap();
    let refused = hall.json("alice", &format!("tuf approve {blinded} --yes"));
    assert_eq!(refused["error"]["code"], "proposal.invalid", "{refused:#}");
    // However many sign it, no list loses an entry.
    hall.run("alice", &format!("tuf approve {file} --yes")).ok();
    assert_eq!(hall.commit(&[&file])["exitCode"], 1);
}
