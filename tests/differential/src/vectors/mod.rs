//! States of a collection with one failure each, named after the rule that it breaks (docs/tuf-rules.md), and the one answer that
//! they must get, whatever carries them. Where a client has more or fewer rules, the vector says so and why.

mod delegated;
mod envelope;
mod owned;
mod top_level;

use std::collections::BTreeMap;

use bulla::oci::{Digest, media_type};
use serde_json::{Value, json};

use super::world::{Changes, DAY, NOW, Part, Served, World, id, keys_object, public, role, time};

/// The collection's name.
pub const COLLECTION: &str = "ex.com/org/app";
/// The bundle that `v1` names.
pub const BUNDLE: &[u8] = br#"{"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.empty.v1+json","size":2},"layers":[],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}"#;
/// The list of revocations of a vector that has no other.
pub const LIST: &[u8] = br#"{"schemaVersion":1,"entries":[]}"#;

pub const TRUSTED: &str = "trusted";
pub const ONLINE: usize = 2;
pub const SNAPSHOT: usize = 3;
pub const TARGETS: usize = 4;
pub const RELEASES: usize = 5;
/// A key that no role names.
const STRANGER: usize = 11;
/// The roles of a collection, as changes name them, with the stem of their codes.
const ROLES: [(&str, &str); 5] = [
    ("2.root.json", "tuf.root"),
    ("timestamp", "tuf.timestamp"),
    ("snapshot", "tuf.snapshot"),
    ("targets", "tuf.targets"),
    ("targets/releases", "tuf.delegation"),
];

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// A plain TUF client, file by file.
    Plain,
    /// The same, of a collection.
    Update,
    /// `verify`: whole sets of files, with memory, revocations and the bundle's entry.
    Verify,
}

/// Why a judge answers otherwise: each is a test of that name in `tests/e2e/states.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// Other people's repositories do not name a collection.
    FilesNameTheirCollection,
    /// In other people's repositories a key that is named and not listed, or malformed, cannot sign, no more.
    KeysOfACollectionAreInOrder,
    /// A state holds versioned names only.
    StatesHoldVersionedNames,
    /// Who asks for one file after the other is told "not there", and believes it.
    AStateShowsThatARootIsMissing,
    /// A state that fails leaves in force what is remembered.
    WhatIsRememberedStaysInForce,
    /// What the list of revocations says is no matter of TUF.
    RevocationsAreRead,
    /// `verify` names manifests by SHA-256 alone.
    ManifestsAreNamedBySha256,
}

/// One state, perhaps after an honest one that was accepted.
pub struct Vector {
    /// The rule, as in docs/tuf-rules.md; `bulla` for those of a collection.
    pub rule: &'static str,
    pub name: String,
    /// The root that is trusted beforehand.
    pub root: Vec<u8>,
    /// What was served, and accepted, when.
    pub before: Option<(Served, i64)>,
    /// What is served now.
    pub served: Served,
    /// The list of revocations that is served.
    pub list: Option<Vec<u8>>,
    pub now: i64,
    /// `trusted`, `no: CODE` or `undecided: CODE`.
    pub expected: String,
    pub differs: Vec<(Judge, String, Because)>,
}

impl Vector {
    /// What this judge must answer, and why it is another answer than the others'.
    pub fn expected_of(&self, judge: Judge) -> (&str, Option<Because>) {
        match self.differs.iter().find(|(j, ..)| *j == judge) {
            Some((_, answer, because)) => (answer, Some(*because)),
            None => (&self.expected, None),
        }
    }
}

/// A vector in the making.
pub struct Case {
    pub world: World,
    pub changes: Changes,
    list: Option<Vec<u8>>,
    now: i64,
    before: Option<(Served, i64)>,
    differs: Vec<(Judge, String, Because)>,
}

impl Case {
    /// Change what is signed, as if its owner had.
    fn signed(&mut self, file: &str, change: impl Fn(&mut Value) + 'static) {
        self.changes.signed.entry(file.to_owned()).or_default().push(Box::new(change));
    }

    /// Change what stands around it, or signed content after it was signed.
    fn envelope(&mut self, file: &str, change: impl Fn(&mut Value) + 'static) {
        self.changes.envelope.entry(file.to_owned()).or_default().push(Box::new(change));
    }

    /// Change the bytes after they were pinned.
    fn bytes(&mut self, file: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>> + 'static) {
        self.changes.bytes.entry(file.to_owned()).or_default().push(Box::new(change));
    }

    /// The file is not there.
    fn missing(&mut self, file: &str) {
        self.bytes(file, |_| None);
    }

    /// The state as it stands was served before, and accepted at `at`; from now on one of version 6.
    fn after_an_honest_state(&mut self, at: i64) {
        self.before = Some((self.world.serve(&Changes::default()), at));
        self.at_version(6);
    }

    fn at_version(&mut self, version: u64) {
        for part in self.parts() {
            part.signed["version"] = json!(version);
        }
    }

    /// Every file below the root.
    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        let world = &mut self.world;
        world.roles.values_mut().chain([&mut world.snapshot, &mut world.timestamp])
    }

    fn part(&mut self, role: &str) -> &mut Part {
        match role {
            "snapshot" => &mut self.world.snapshot,
            "timestamp" => &mut self.world.timestamp,
            "2.root.json" => &mut self.world.roots[1],
            _ => self.world.roles.get_mut(role).unwrap(),
        }
    }

    /// The next root: a changed copy of the last one, signed by its keys and those in `more`.
    fn next_root(&mut self, more: &[usize], change: impl FnOnce(&mut Value)) {
        let mut root = self.world.roots.last().unwrap().clone();
        root.signed["version"] = json!(self.world.roots.len() + 1);
        change(&mut root.signed);
        root.by.extend(more);
        self.world.roots.push(root);
    }

    /// The pin of a file says this version, whatever the file says.
    fn pin_version(&mut self, file: &str, version: u64) {
        let (by, name) = match file {
            "snapshot" => ("timestamp", "snapshot.json".to_owned()),
            role => ("snapshot", format!("{role}.json")),
        };
        self.signed(by, move |v| v["meta"][&name]["version"] = json!(version));
    }

    /// This judge has another rule.
    fn but(&mut self, judge: Judge, answer: &str, because: Because) {
        self.differs.push((judge, answer.to_owned(), because));
    }

    /// `releases` with its delegation and file gives way to a tree of delegations.
    fn without_releases(&mut self) {
        self.world.roles.remove("targets/releases");
        let roles = &mut self.part("targets").signed["delegations"]["roles"];
        roles.as_array_mut().unwrap().retain(|r| r["name"] != "targets/releases");
    }

    /// `by` delegates to `name`; the role is made, empty, where it is not there.
    fn delegate(&mut self, by: &str, name: &str, key: usize, paths: &[&str], terminating: bool) {
        let mut entry = role(&[key], 1);
        entry["name"] = json!(name);
        entry["terminating"] = json!(terminating);
        entry["paths"] = json!(paths);
        let delegator = &mut self.part(by).signed;
        if delegator.get("delegations").is_none() {
            delegator["delegations"] = json!({"keys": {}, "roles": []});
        }
        delegator["delegations"]["keys"][id(key)] = public(key).to_tuf();
        delegator["delegations"]["roles"].as_array_mut().unwrap().push(entry);
        let file = Part { signed: targets(json!({})), by: vec![key] };
        self.world.roles.entry(name.to_owned()).or_insert(file);
    }

    /// The role lists the bundle.
    fn list_in(&mut self, role: &str) {
        let entries = self.part(role).signed["targets"].as_object_mut().unwrap();
        entries.insert(tag_path(), entry("tag", BUNDLE));
    }
}

/// All vectors.
pub fn all() -> Vec<Vector> {
    let mut all = Vectors(Vec::new());
    all.add("bulla", "an honest state", TRUSTED, |_| ());
    all.add("bulla", "an honest state after an honest one", TRUSTED, |c| c.after_an_honest_state(NOW - 100));
    envelope::add(&mut all);
    top_level::add(&mut all);
    delegated::add(&mut all);
    owned::add(&mut all);
    all.0
}

/// Vectors being collected.
struct Vectors(Vec<Vector>);

impl Vectors {
    fn add(
        &mut self,
        rule: &'static str,
        name: impl Into<String>,
        expected: impl Into<String>,
        build: impl FnOnce(&mut Case),
    ) {
        let mut case = Case {
            world: honest(),
            changes: Changes::default(),
            list: Some(LIST.to_vec()),
            now: NOW,
            before: None,
            differs: Vec::new(),
        };
        build(&mut case);
        let served = case.world.serve(&case.changes);
        self.0.push(Vector {
            rule,
            name: name.into(),
            root: served["1.root.json"].clone(),
            before: case.before,
            served,
            list: case.list,
            now: case.now,
            expected: expected.into(),
            differs: case.differs,
        });
    }

    /// The same failure in the file of each role; `expected` is made of the stem of its codes.
    fn each(
        &mut self,
        rule: &'static str,
        name: &str,
        expected: impl Fn(&str) -> String,
        build: impl Fn(&mut Case, &'static str),
    ) {
        for (file, stem) in ROLES {
            self.add(rule, format!("{name}, {file}"), expected(stem), |c| build(c, file));
        }
    }
}

fn no(code: &str) -> String {
    format!("no: {code}")
}

pub fn tag_path() -> String {
    format!("{COLLECTION}:v1")
}

pub fn release_path() -> String {
    format!("{COLLECTION}@{}", Digest::sha256(BUNDLE))
}

fn list_path() -> String {
    format!("{COLLECTION}/revocations.json")
}

/// What is asked for: the tag, the digest, the revocations.
pub fn paths() -> [String; 3] {
    [tag_path(), release_path(), list_path()]
}

fn head(kind: &str) -> Value {
    json!({
        "_type": kind, "spec_version": "1.0.34", "version": 5, "expires": time(NOW + DAY),
        "x-bulla": {"collection": COLLECTION, "at": time(NOW - 1000)},
    })
}

fn targets(entries: Value) -> Value {
    let mut signed = head("targets");
    signed["targets"] = entries;
    signed
}

pub fn entry(claim: &str, bundle: &[u8]) -> Value {
    let about = json!({"claim": claim, "at": time(NOW - 1000), "by": id(RELEASES), "mediaType": media_type::OCI_MANIFEST});
    json!({
        "length": bundle.len(), "hashes": {"sha256": Digest::sha256(bundle).hex()}, "custom": {"bulla": about},
    })
}

fn list_entry(list: &[u8]) -> Value {
    json!({"length": list.len(), "hashes": {"sha256": Digest::sha256(list).hex()}})
}

/// A collection as `init` and `publish` leave it: two roots, version 5 of everything else, one bundle at `v1`.
pub fn honest() -> World {
    let mut root = head("root");
    root["version"] = json!(1);
    root["consistent_snapshot"] = json!(true);
    root["keys"] = keys_object([0, 1, ONLINE, SNAPSHOT, TARGETS]);
    root["roles"] = json!({
        "root": role(&[0, 1], 2), "timestamp": role(&[ONLINE], 1), "snapshot": role(&[SNAPSHOT], 1),
        "targets": role(&[TARGETS], 1),
    });
    let mut second = root.clone();
    second["version"] = json!(2);
    let delegation = |name: &str, paths: &[String]| {
        let mut delegation = role(&[RELEASES], 1);
        delegation["name"] = json!(name);
        delegation["terminating"] = json!(true);
        delegation["paths"] = json!(paths);
        delegation
    };
    let mut top = targets(json!({}));
    let patterns = [format!("{COLLECTION}:*"), format!("{COLLECTION}@sha256:*")];
    top["delegations"] = json!({"keys": keys_object([RELEASES]), "roles": [
        delegation("targets/revocations", &[list_path()]), delegation("targets/releases", &patterns),
    ]});
    let releases =
        targets(json!({tag_path(): entry("tag", BUNDLE), release_path(): entry("release", BUNDLE)}));
    let revocations = targets(json!({list_path(): list_entry(LIST)}));
    let part = |signed: Value, by: usize| Part { signed, by: vec![by] };
    World {
        roots: vec![Part { signed: root, by: vec![0, 1] }, Part { signed: second, by: vec![0, 1] }],
        roles: BTreeMap::from([
            ("targets".to_owned(), part(top, TARGETS)),
            ("targets/releases".to_owned(), part(releases, RELEASES)),
            ("targets/revocations".to_owned(), part(revocations, RELEASES)),
        ]),
        snapshot: part(head("snapshot"), SNAPSHOT),
        timestamp: part(head("timestamp"), ONLINE),
        unlisted: Vec::new(),
        pinned: true,
    }
}
