//! Targets, delegations, and target files.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

/// Roles with their delegations and targets, all signed by the releases key unless said otherwise.
struct Tree {
    sim: Sim,
    roles: BTreeMap<String, bytes::Bytes>,
    unlisted: Vec<&'static str>,
}

fn target(length: u64) -> Value {
    json!({"length": length, "hashes": {"sha256": "00".repeat(32)}})
}

fn targets(paths: &[&str]) -> Map<String, Value> {
    paths.iter().map(|p| ((*p).to_owned(), target(1))).collect()
}

/// A delegation to `name` by `key` for `patterns`.
fn to(name: &str, key: &SimKey, patterns: &[&str], terminating: bool) -> Delegation {
    let paths = Paths::Patterns(patterns.iter().map(|p| PathPattern::parse(p).unwrap()).collect());
    delegation(name.parse().unwrap(), &signers(&[key], 1), paths, terminating)
}

impl Tree {
    fn new(top: &[Delegation]) -> Self {
        let sim = Sim::new();
        let file = signed(&Draft::targets(&heading(1, NOW, DAY), Map::new(), top), &[&sim.targets_key]);
        Self { sim, roles: [("targets".to_owned(), file)].into(), unlisted: vec![] }
    }

    /// With a delegated role, signed by `key`.
    fn role(mut self, name: &str, key: &SimKey, listed: &[&str], delegations: &[Delegation]) -> Self {
        let draft = Draft::targets(&heading(1, NOW, DAY), targets(listed), delegations);
        self.roles.insert(name.to_owned(), signed(&draft, &[key]));
        self
    }

    fn files(&self) -> Files {
        let mut files = Files::new();
        let mut pins = BTreeMap::new();
        files.put(file(&RoleName::root(), 1), self.sim.roots[0].clone());
        for (name, bytes) in &self.roles {
            let role: RoleName = name.parse().unwrap();
            if !self.unlisted.contains(&name.as_str()) {
                pins.insert(role.clone(), FilePin::of(Version::ONE, bytes));
            }
            files.put(file(&role, 1), bytes.clone());
        }
        let snapshot = signed(&Draft::snapshot(&heading(1, NOW, DAY), &pins), &[&self.sim.online_key]);
        let pin = FilePin::of(Version::ONE, &snapshot);
        files.put(file(&RoleName::snapshot(), 1), snapshot);
        let timestamp = signed(&Draft::timestamp(&heading(1, NOW, DAY), &pin), &[&self.sim.online_key]);
        files.put(FileName::timestamp(), timestamp);
        files
    }

    fn find_in(&self, files: &Files, path: &str) -> Result<Found, Fault> {
        let trusted = self.sim.judge(files, None, NOW).map_err(|e| e.fault)?;
        trusted.find(path, files).map_err(|e| e.fault)
    }

    /// Who lists `path`.
    fn find(&self, path: &str) -> Result<Option<String>, Fault> {
        self.find_in(&self.files(), path).map(|f| f.target.map(|(role, _)| role.to_string()))
    }

    /// Which delegated roles are loaded on the way to `path`.
    fn loads(&self, path: &str) -> Vec<String> {
        let found = self.find_in(&self.files(), path).unwrap();
        found.loaded.keys().filter(|r| !r.is_top_level()).map(ToString::to_string).collect()
    }
}

fn by(role: &str) -> Result<Option<String>, Fault> {
    Ok(Some(role.to_owned()))
}

const NOBODY: Result<Option<String>, Fault> = Ok(None);

#[test]
fn g1_every_targets_file_is_checked_in_its_place() {
    let k = SimKey::new(40);
    let tree = || Tree::new(&[to("a", &k, &["x"], false)]).role("a", &k, &["x"], &[]);
    assert_eq!(tree().find("x"), by("a"));
    // Signed by another key than the delegator says.
    let other = Tree::new(&[to("a", &k, &["x"], false)]).role("a", &SimKey::new(41), &["x"], &[]);
    assert!(matches!(other.find("x"), Err(Fault::Threshold { .. })));
    // Another file than the snapshot pins, under the same name and version, by the right key.
    let swapped = tree();
    let mut files = swapped.files();
    let again = tree().role("a", &k, &["z"], &[]);
    files.put(file(&"a".parse().unwrap(), 1), again.roles["a"].clone());
    assert!(matches!(swapped.find_in(&files, "x"), Err(Fault::Hash { .. })));
    // Version and expiry.
    let draft = |h: &Heading| signed(&Draft::targets(h, targets(&["x"]), &[]), &[&k]);
    let mut tree = tree();
    tree.roles.insert("a".into(), draft(&heading(2, NOW, DAY)));
    assert!(matches!(tree.find("x"), Err(Fault::Version { .. })));
    tree.roles.insert("a".into(), draft(&heading(1, NOW, 0)));
    assert!(matches!(tree.find("x"), Err(Fault::Expired { .. })));
}

#[test]
fn g2_order_is_priority_and_the_search_goes_deep_first() {
    let k = SimKey::new(40);
    let tree = Tree::new(&[to("a", &k, &["*"], false), to("b", &k, &["*"], false)])
        .role("a", &k, &[], &[to("a1", &k, &["*"], false)])
        .role("a1", &k, &["x"], &[])
        .role("b", &k, &["x", "y"], &[]);
    assert_eq!((tree.find("x"), tree.find("y"), tree.find("z")), (by("a1"), by("b"), NOBODY));
    // Terminating: after this role and its descendants nothing more is looked at.
    let tree = Tree::new(&[to("a", &k, &["x"], true), to("b", &k, &["*"], false)])
        .role("a", &k, &[], &[to("a1", &k, &["*"], false)])
        .role("a1", &k, &[], &[])
        .role("b", &k, &["x", "y"], &[]);
    assert_eq!((tree.find("x"), tree.find("y")), (NOBODY, by("b")));
}

#[test]
fn g2_each_role_once_and_not_too_many() {
    let k = SimKey::new(40);
    let tree = Tree::new(&[to("a", &k, &["*"], false)])
        .role("a", &k, &[], &[to("b", &k, &["*"], false)])
        .role("b", &k, &[], &[to("a", &k, &["*"], false), to("b", &k, &["*"], false)]);
    assert_eq!(tree.find("x"), NOBODY);
    let chain = |n: usize| {
        let name = |i: usize| format!("r{i}");
        let mut tree = Tree::new(&[to(&name(1), &k, &["*"], false)]);
        for i in 1..=n {
            let next = (i < n).then(|| to(&name(i + 1), &k, &["*"], false));
            let listed: &[&str] = if i == n { &["x"] } else { &[] };
            tree = tree.role(&name(i), &k, listed, next.as_slice());
        }
        tree
    };
    assert_eq!(chain(32).find("x"), by("r32"));
    assert!(matches!(chain(33).find("x"), Err(Fault::Cap { limit: 32, .. })));
}

#[test]
fn g3_only_roles_on_a_matching_way_are_loaded() {
    let k = SimKey::new(40);
    let tree = Tree::new(&[to("a", &k, &["a/*"], false), to("b", &k, &["b/*"], false)])
        .role("a", &k, &["a/x"], &[to("a1", &k, &["a/*"], false)])
        .role("b", &SimKey::new(41), &["b/x"], &[]);
    // Neither the broken sibling nor what stands behind the one that lists the path.
    assert_eq!((tree.find("a/x"), tree.loads("a/x")), (by("a"), vec!["a".to_owned()]));
    assert_eq!(tree.loads("c"), Vec::<String>::new());
}

#[test]
fn g4_a_role_is_verified_against_the_delegator_it_is_reached_through() {
    let (k, real) = (SimKey::new(40), SimKey::new(42));
    // a may speak for everything and names its own key for "shared"; b is the one who really runs it.
    let tree = Tree::new(&[to("a", &k, &["a/*"], false), to("b", &k, &["b/*"], false)])
        .role("a", &k, &[], &[to("shared", &k, &["*/*"], false)])
        .role("b", &k, &[], &[to("shared", &real, &["*/*"], false)])
        .role("shared", &real, &["a/x", "b/x"], &[]);
    let files = tree.files();
    let trusted = tree.sim.judge(&files, None, NOW).unwrap();
    assert_eq!(trusted.find("b/x", &files).unwrap().target.unwrap().0.as_str(), "shared");
    assert!(matches!(trusted.find("a/x", &files).unwrap_err().fault, Fault::Threshold { .. }));
}

#[test]
fn g4_a_kept_role_is_verified_again_through_the_delegation_at_hand() {
    let (k, real) = (SimKey::new(40), SimKey::new(42));
    let tree = Tree::new(&[to("a", &k, &["a/*"], false), to("b", &k, &["b/*"], false)])
        .role("a", &k, &[], &[to("shared", &k, &["*/*"], false)])
        .role("b", &k, &[], &[to("shared", &real, &["*/*"], false)])
        .role("shared", &real, &["a/x", "b/x"], &[]);
    let files = tree.files();
    let trusted = tree.sim.judge(&files, None, NOW).unwrap();
    let mut kept = Files::new();
    assert_eq!(search(&trusted, "b/x", &files, &mut kept), (vec!["b".into(), "shared".into()], Ok(true)));
    // Both are kept now, and asked for no more; through a, whose keys did not sign it, the kept file does not count.
    assert_eq!(search(&trusted, "b/x", &files, &mut kept), (vec![], Ok(true)));
    let (asked, got) = search(&trusted, "a/x", &files, &mut kept);
    assert_eq!(asked, ["a", "shared"]);
    assert!(matches!(got, Err(Fault::Threshold { .. })));
}

/// A search that keeps what it accepts: the roles asked for, and whether the path was found.
fn search(
    trusted: &Trusted,
    path: &str,
    files: &Files,
    kept: &mut Files,
) -> (Vec<String>, Result<bool, Fault>) {
    let before = kept.clone();
    let mut search = Search::start(trusted, path, &before).unwrap();
    let mut asked = Vec::new();
    loop {
        match search.step() {
            Step::Need { file, max_len } => {
                asked.push(file.role().to_string());
                let bytes = files.get(&file).cloned();
                assert!(bytes.as_ref().is_none_or(|b| b.len() as u64 <= max_len));
                if let Err(e) = search.feed(bytes) {
                    return (asked, Err(e.fault));
                }
            }
            Step::Save(name, bytes) => {
                kept.put(FileName::unversioned(name.role().clone()), bytes);
                search.saved();
            }
            Step::Forget(name) => unreachable!("{name}"),
            Step::Done(found) => return (asked, Ok(found.target.is_some())),
        }
    }
}

#[test]
fn g3_files_are_asked_for_one_by_one_in_the_order_of_the_search() {
    let k = SimKey::new(40);
    let all =
        |names: &[&str]| -> Vec<Delegation> { names.iter().map(|n| to(n, &k, &["*"], false)).collect() };
    let tree = Tree::new(&all(&["a", "b", "c"]))
        .role("a", &k, &[], &all(&["a1", "a2"]))
        .role("a1", &k, &[], &[])
        .role("a2", &k, &[], &all(&["a", "b"]))
        .role("b", &k, &["x"], &all(&["b1"]))
        .role("b1", &k, &["x"], &[])
        .role("c", &k, &["x"], &[]);
    let files = tree.files();
    let trusted = tree.sim.judge(&files, None, NOW).unwrap();
    let ask = |path| search(&trusted, path, &files, &mut Files::new());
    assert_eq!(ask("x"), (["a", "a1", "a2", "b"].map(String::from).to_vec(), Ok(true)));
    assert_eq!(ask("y"), (["a", "a1", "a2", "b", "b1", "c"].map(String::from).to_vec(), Ok(false)));
    assert_eq!(ask("x/y"), (vec![], Ok(false)));
}

#[test]
fn g5_a_role_that_the_snapshot_does_not_list_is_passed_over() {
    let k = SimKey::new(40);
    let mut tree = Tree::new(&[to("a", &k, &["*"], false), to("b", &k, &["*"], false)])
        .role("a", &k, &["x"], &[])
        .role("b", &k, &["x"], &[]);
    tree.unlisted.push("a");
    assert_eq!(tree.find("x"), by("b"));
    tree.unlisted.push("b");
    assert_eq!(tree.find("x"), NOBODY);
}

/// The fault of a state whose top-level targets has this `delegations`.
fn delegations(change: impl Fn(&mut Value)) -> Option<Fault> {
    let sim = Sim::new();
    let mut tree = Tree::new(&sim.delegations());
    let top = resigned(&tree.roles["targets"], |t| change(&mut t["delegations"]), &[&sim.targets_key]);
    tree.roles.insert("targets".into(), top);
    tree.sim.judge(&tree.files(), None, NOW).err().map(|e| e.fault)
}

#[test]
fn g1_e11_a_delegation_names_only_keys_that_it_lists() {
    let got = delegations(|d| d["roles"][0]["keyids"].as_array_mut().unwrap().push(json!("nowhere")));
    assert!(matches!(got, Some(Fault::Format(_))));
}

#[test]
fn g6_g7_names_of_delegated_roles() {
    assert_eq!(delegations(|_| ()), None);
    for name in ["root", "timestamp", "snapshot", "targets", "", "a\u{0}b", "a\nb", &"x".repeat(129)] {
        let got = delegations(|d| d["roles"][0]["name"] = json!(name));
        assert!(matches!(got, Some(Fault::Format(_))), "{name}: {got:?}");
    }
    let got = delegations(|d| d["roles"][1]["name"] = d["roles"][0]["name"].clone());
    assert!(matches!(got, Some(Fault::Format(_))));
}

#[test]
fn g8_patterns_and_hash_prefixes() {
    for bad in ["[a-z]", "a]", "", "a\\b"] {
        let got = delegations(|d| d["roles"][0]["paths"] = json!([bad]));
        assert!(matches!(got, Some(Fault::Format(_))), "{bad}");
    }
    let both = delegations(|d| d["roles"][0]["path_hash_prefixes"] = json!(["00"]));
    assert!(matches!(both, Some(Fault::Format(_))));
    let neither = delegations(|d| drop(d["roles"][0].as_object_mut().unwrap().remove("paths")));
    assert!(matches!(neither, Some(Fault::Format(_))));
    for bad in ["0G", "AB", &"0".repeat(65)] {
        let got = delegations(|d| {
            d["roles"][0].as_object_mut().unwrap().remove("paths");
            d["roles"][0]["path_hash_prefixes"] = json!([bad]);
        });
        assert!(matches!(got, Some(Fault::Format(_))), "{bad}");
    }
    let hash = crate::oci::Digest::sha256(b"some/path");
    for (prefix, covers) in [(&hash.hex()[..2], true), (&hash.hex()[..64], true), ("", true), ("zz", false)] {
        assert_eq!(Paths::HashPrefixes(vec![prefix.into()]).cover("some/path"), covers, "{prefix}");
    }
}

#[test]
fn g9_every_role_on_the_way_must_allow_the_path() {
    let k = SimKey::new(40);
    // b says more than a may: those entries are unreachable, and brick nothing.
    let tree = Tree::new(&[to("a", &k, &["in/*"], false)])
        .role("a", &k, &["in/1", "out/1"], &[to("b", &k, &["*/*"], false)])
        .role("b", &k, &["in/2", "out/2"], &[]);
    assert_eq!((tree.find("in/1"), tree.find("in/2")), (by("a"), by("b")));
    assert_eq!((tree.find("out/1"), tree.find("out/2")), (NOBODY, NOBODY));
}

#[test]
fn g10_role_names_never_leave_their_place() {
    for name in ["../x", "/x", "a?b", "a#b", "..", ".", "a/../../b", "targets/releases", "c:\\x", "é"] {
        let role: RoleName = name.parse().unwrap();
        let file = file(&role, 1).to_string();
        assert!(!file.contains(['/', '\\', '?', '#', ':']) && file.starts_with("1."), "{file}");
        assert!(file.is_ascii() && file.parse::<FileName>().unwrap().role() == &role, "{file}");
    }
    // Such a role is as good as any other.
    let k = SimKey::new(40);
    let tree = Tree::new(&[to("../../x", &k, &["*"], false)]).role("../../x", &k, &["t"], &[]);
    assert_eq!(tree.find("t"), by("../../x"));
}

#[test]
fn d1_no_entry_is_no_target() {
    assert_eq!(Tree::new(&[]).find("x"), NOBODY);
}

#[test]
fn d2_length_and_all_hashes_of_a_target_file() {
    let (sha256, sha512) = (crate::oci::Digest::sha256(b"file"), "0".repeat(128));
    let read = |value: Value| {
        let mut tree = Tree::new(&[]);
        let listed = [("x".to_owned(), value)].into_iter().collect();
        let draft = Draft::targets(&heading(1, NOW, DAY), listed, &[]);
        tree.roles.insert("targets".into(), signed(&draft, &[&tree.sim.targets_key]));
        tree.find_in(&tree.files(), "x").map(|f| f.target.unwrap().1)
    };
    let good = read(json!({"length": 4, "hashes": {"sha256": sha256.hex(), "blake3": "?"}})).unwrap();
    assert_eq!(good.check(b"file"), Ok(()));
    assert_eq!(good.check(b"fild"), Err(Fault::Hash { what: "sha256" }));
    for other in [&b"fil"[..], b"file "] {
        assert_eq!(good.check(other), Err(Fault::Hash { what: "length" }));
    }
    let both = read(json!({"length": 4, "hashes": {"sha256": sha256.hex(), "sha512": sha512}})).unwrap();
    assert_eq!(both.check(b"file"), Err(Fault::Hash { what: "sha512" }));
    for hashes in [json!({}), json!({"blake3": "00"}), json!({"sha256": "00"}), json!({"sha256": sha512})] {
        assert!(matches!(read(json!({"length": 4, "hashes": hashes})), Err(Fault::Format(_))), "{hashes}");
    }
    for length in [json!(-1), json!("4"), json!(null)] {
        let got = read(json!({"length": length, "hashes": {"sha256": sha256.hex()}}));
        assert!(matches!(got, Err(Fault::Format(_))), "{length}");
    }
}

#[test]
fn d3_the_hash_stands_before_the_file_name() {
    let hash = |d: &str, n: usize| d.repeat(n);
    let both: BTreeMap<Hash, String> =
        [(Hash::Sha256, hash("a", 64)), (Hash::Sha512, hash("b", 128))].into_iter().collect();
    let target = |hashes| Target { length: 1, hashes, custom: Value::Null };
    let (two, long) = (target(both.clone()), target([(Hash::Sha512, hash("b", 128))].into()));
    assert_eq!(two.served_as("dir/sub/file", true), Ok(format!("dir/sub/{}.file", hash("a", 64))));
    assert_eq!(two.served_as("dir/sub/file", false), Ok("dir/sub/file".to_owned()));
    assert_eq!(long.served_as("file", true), Ok(format!("{}.file", hash("b", 128))));
    assert_eq!(two.served_as("a b/c?d#e%2F", false), Ok("a%20b/c%3Fd%23e%252F".to_owned()));
    // A URL resolves these to another place.
    for path in ["", "/x", "x/", "a//b", "..", "../x", "a/../../x", "a/./b", "a/.."] {
        assert!(matches!(two.served_as(path, true), Err(Fault::Format(_))), "{path}");
        assert!(matches!(two.served_as(path, false), Err(Fault::Format(_))), "{path}");
    }
}

#[test]
fn d5_a_target_never_leaves_its_folder() {
    let long = "x".repeat(300);
    let paths = [
        "a",
        "a/b",
        "a%2Fb",
        "../x",
        "/etc/passwd",
        "..",
        ".",
        ".hidden",
        "",
        "c:\\x",
        "a\u{0}b",
        "é",
        &long,
    ];
    let names: std::collections::BTreeSet<String> = paths.iter().map(|p| local_name(p)).collect();
    assert_eq!(names.len(), paths.len(), "one to one: {names:?}");
    for name in &names {
        assert!(
            !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.') && !name.is_empty(),
            "{name}"
        );
        assert!(name.len() <= 200 && name.is_ascii(), "{name}");
    }
    assert_eq!(local_name("in-toto-metadata/x.link"), "in-toto-metadata%2Fx.link");
}

#[test]
fn d5_target_paths_are_keys_and_never_file_names() {
    let tree = Tree::new(&[]);
    let path = "../../etc/passwd";
    let mut files = tree.files();
    files.put_target(path.into(), b"x".to_vec().into());
    assert_eq!(files.target(path).map(|b| &b[..]), Some(&b"x"[..]));
    assert_eq!(tree.find(path), NOBODY);
    // Unlisted, it is not remembered either.
    let trusted = tree.sim.judge(&files, None, NOW).unwrap();
    assert!(Remembered::pinned(&trusted, &files).targets().is_empty());
}
