//! The rules, one test each.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulla::time::UnixTime;
use bulla::tuf::{Fault, FileName, Files, Limits, RoleName, Trusted, Version, local_name};
use serde_json::json;

use crate::client::{Client, Failure, Folder, Tree};
use crate::simulated::sim::{COLLECTION, DAY, NOW, Sim, SimKey, heading, resigned};
use crate::site::{Answer, Site};

/// A repository, served, and the folders of a client of it.
struct World {
    site: Site,
    home: tempfile::TempDir,
}

impl World {
    fn new(sim: &Sim) -> Self {
        let world = Self { site: Site::start(), home: tempfile::tempdir().unwrap() };
        let root = world.home.path().join("root-1");
        std::fs::write(&root, &sim.roots[0]).unwrap();
        Folder::new(&world.metadata()).init(&root).unwrap();
        world.serve(&sim.files());
        world
    }

    fn metadata(&self) -> PathBuf {
        self.home.path().join("metadata")
    }

    fn targets(&self) -> PathBuf {
        self.home.path().join("targets")
    }

    fn serve(&self, files: &Files) {
        for (name, bytes) in files.metadata() {
            self.answer(&name.to_string(), Answer::File(bytes.to_vec()));
        }
    }

    fn answer(&self, file: &str, answer: Answer) {
        self.site.put(&format!("/m/{file}"), answer);
    }

    fn client(&self, now: UnixTime) -> Client<Tree> {
        let metadata = Tree::new(&format!("{}/m", self.site.address)).unwrap();
        Client { folder: Folder::new(&self.metadata()), metadata, collection: None, now }
    }

    /// One process: an update at `now`.
    fn refresh_at(&self, now: UnixTime) -> Result<Trusted, Failure> {
        block_on(self.client(now).refresh())
    }

    fn refresh(&self) -> Result<Trusted, Failure> {
        self.refresh_at(NOW)
    }

    fn download(&self, path: &str) -> Result<PathBuf, Failure> {
        let client = self.client(NOW);
        let trusted = block_on(client.refresh())?;
        self.site.requests();
        let tree = Tree::new(&format!("{}/t/", self.site.address)).unwrap();
        block_on(client.download(&trusted, path, &tree, &self.targets()))
    }

    /// File names asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let requests = self.site.requests();
        requests.iter().map(|r| r.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn kept(&self, role: &RoleName) -> Option<Vec<u8>> {
        std::fs::read(self.metadata().join(FileName::unversioned(role.clone()).to_string())).ok()
    }
}

fn block_on<T>(f: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

fn fault(r: Result<impl Sized, Failure>) -> Fault {
    match r.map(|_| ()) {
        Err(Failure::Refused(e)) => e.fault,
        other => panic!("{other:?}"),
    }
}

fn files_in(dir: &std::path::Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeSet::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// A sim that lists `path` with `content` in its releases role, which may speak for everything below three levels too.
fn with_target(path: &str, content: &[u8]) -> Sim {
    let mut sim = Sim::new();
    let target =
        json!({"length": content.len(), "hashes": {"sha256": crate::oci::Digest::sha256(content).hex()}});
    sim.top.insert(path.into(), target);
    sim
}

fn hash(content: &[u8]) -> String {
    crate::oci::Digest::sha256(content).hex().to_owned()
}

#[test]
fn the_suite_s_first_case_exact_requests_and_files() {
    let sim = Sim::new();
    let world = World::new(&sim);
    world.refresh().unwrap();
    assert_eq!(world.asked(), ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    let names = ["root.json", "snapshot.json", "targets.json", "timestamp.json"].map(String::from);
    assert_eq!(files_in(&world.metadata()), names.into());
    assert_eq!(
        world.kept(&RoleName::timestamp()).as_deref(),
        sim.files().get(&FileName::timestamp()).map(|b| &b[..])
    );
    world.refresh().unwrap();
    assert_eq!(world.asked(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn r2_a_first_root_that_does_not_verify_is_not_trusted() {
    let sim = Sim::new();
    let world = World::new(&sim);
    let (bad, dir) = (world.home.path().join("bad"), world.home.path().join("other"));
    let unsigned = crate::simulated::sim::with_signatures(&sim.roots[0], Vec::clear);
    std::fs::write(&bad, &unsigned).unwrap();
    assert!(matches!(fault(Folder::new(&dir).init(&bad)), Fault::Threshold { .. }));
    assert!(!dir.exists());
    // Nor when it lies in the folder all the same: nothing is asked for.
    std::fs::write(world.metadata().join("root.json"), &unsigned).unwrap();
    assert!(matches!(fault(world.refresh()), Fault::Threshold { .. }));
    assert!(world.asked().is_empty());
}

#[test]
fn r3_only_404_ends_the_loop_over_roots() {
    let sim = Sim::new();
    for answer in [
        Answer::Status(403),
        Answer::Status(410),
        Answer::Status(429),
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(301),
        Answer::Status(204),
        Answer::Half(sim.roots[0].to_vec()),
    ] {
        let world = World::new(&sim);
        world.answer("2.root.json", answer.clone());
        assert!(matches!(world.refresh(), Err(Failure::Fetch { .. })), "{answer:?}");
        assert_eq!(world.asked(), ["2.root.json"], "{answer:?}");
        world.answer("2.root.json", Answer::Status(404));
        world.refresh().unwrap();
    }
    // Nobody answers at all.
    let world = World::new(&sim);
    let client = Client { metadata: Tree::new("http://127.0.0.1:1/").unwrap(), ..world.client(NOW) };
    assert!(matches!(block_on(client.refresh()), Err(Failure::Fetch { .. })));
}

#[test]
fn r3_t1_s1_g1_d2_no_more_is_read_than_the_file_may_be_long() {
    let sim = with_target("a", b"abc");
    for file in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let world = World::new(&sim);
        world.answer(file, Answer::Endless);
        assert!(matches!(fault(world.refresh()), Fault::Size { .. }), "{file}");
        assert_eq!(world.asked().last().unwrap(), file);
    }
    let world = World::new(&sim);
    world.site.put(&format!("/t/{}.a", hash(b"abc")), Answer::Endless);
    assert!(matches!(fault(world.download("a")), Fault::Hash { what: "length" }));
    assert!(files_in(&world.targets()).is_empty());
}

#[test]
fn r7_each_root_stays_when_the_next_is_refused() {
    let mut sim = Sim::new();
    sim.rotate(|s| s.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    let second = sim.roots[1].clone();
    let world = World::new(&sim);
    world.answer("3.root.json", Answer::File(sim.roots[0].to_vec()));
    assert!(matches!(fault(world.refresh()), Fault::Threshold { .. }));
    assert_eq!(world.kept(&RoleName::root()).as_deref(), Some(&second[..]));
    assert_eq!(world.kept(&RoleName::timestamp()), None);
    world.answer("3.root.json", Answer::Status(404));
    world.refresh().unwrap();
}

#[test]
fn r9_fallen_floors_stay_fallen_in_the_next_process() {
    let mut before = Sim::new();
    before.at_version(1 << 40, NOW);
    let world = World::new(&before);
    world.refresh().unwrap();
    // The snapshot role gets a second key: the old files still verify.
    let mut sim = Sim::new();
    sim.at_version(2, NOW);
    let second = SimKey::new(50).public();
    let change = |r: &mut serde_json::Value| {
        r["version"] = json!(2);
        r["keys"][second.key_id().as_str()] = second.to_tuf();
        r["roles"]["snapshot"]["keyids"].as_array_mut().unwrap().push(json!(second.key_id()));
    };
    let root = resigned(&sim.roots[0], change, &sim.root_keys.iter().collect::<Vec<_>>());
    sim.roots.push(root);
    world.serve(&sim.files());
    world.answer("timestamp.json", Answer::Status(500));
    assert!(matches!(world.refresh(), Err(Failure::Fetch { .. })));
    assert!(world.kept(&RoleName::snapshot()).is_some(), "it stays to be looked at");
    let json: Vec<_> = files_in(&world.metadata()).into_iter().filter(|n| n.ends_with(".json")).collect();
    assert_eq!(json, ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
    world.serve(&sim.files());
    let trusted = world.refresh().unwrap();
    assert_eq!(trusted.snapshot().version(), Version::new(2).unwrap());
    // The new files are floors at once.
    let mut old = Sim::new();
    old.roots.clone_from(&sim.roots);
    world.serve(&old.files());
    assert!(matches!(fault(world.refresh()), Fault::Rollback { .. }));
}

#[test]
fn r10_unversioned_names_without_consistent_snapshots() {
    let mut sim = with_target("dir/a", b"abc");
    let keys: Vec<_> = sim.root_keys.iter().map(SimKey::again).collect();
    let by: Vec<_> = keys.iter().collect();
    sim.roots[0] = resigned(&sim.roots[0], |r| r["consistent_snapshot"] = json!(false), &by);
    let world = World::new(&sim);
    for (name, bytes) in sim.files().metadata() {
        let name = FileName::unversioned(name.role().clone()).to_string();
        world.answer(&name, Answer::File(bytes.to_vec()));
    }
    world.refresh().unwrap();
    assert_eq!(world.asked(), ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]);
    world.site.put("/t/dir/a", Answer::File(b"abc".to_vec()));
    world.download("dir/a").unwrap();
    assert_eq!(world.site.requests(), ["/t/dir/a"]);
}

#[test]
fn t5_the_kept_timestamp_stays_on_an_equal_version() {
    let mut sim = Sim::new();
    let world = World::new(&sim);
    world.refresh().unwrap();
    world.asked();
    let kept = world.kept(&RoleName::timestamp());
    sim.snapshot = heading(100, NOW, DAY);
    world.serve(&sim.files());
    world.refresh().unwrap();
    assert_eq!(world.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(world.kept(&RoleName::timestamp()), kept);
}

#[test]
fn t9_a_missing_or_unreachable_timestamp_fails() {
    let world = World::new(&Sim::new());
    world.refresh().unwrap();
    world.answer("timestamp.json", Answer::Status(404));
    assert!(matches!(fault(world.refresh()), Fault::Missing(_)));
    world.answer("timestamp.json", Answer::Status(502));
    assert!(matches!(world.refresh(), Err(Failure::Fetch { .. })));
}

#[test]
fn s9_the_new_timestamp_stays_when_the_snapshot_is_missing() {
    let mut sim = Sim::new();
    let world = World::new(&sim);
    world.refresh().unwrap();
    sim.at_version(2, NOW);
    world.serve(&sim.files());
    world.answer("2.snapshot.json", Answer::Status(404));
    assert!(matches!(fault(world.refresh()), Fault::Missing(_)));
    let new = sim.files().get(&FileName::timestamp()).map(|b| b.to_vec());
    assert_eq!(world.kept(&RoleName::timestamp()), new);
    // A rollback behind it is refused from now on.
    world.serve(&Sim::new().files());
    assert!(matches!(fault(world.refresh()), Fault::Rollback { .. }));
}

#[test]
fn g3_g10_delegated_roles_are_asked_for_when_their_turn_comes_with_encoded_names() {
    let sim = Sim::new();
    let world = World::new(&sim);
    assert!(matches!(world.download("ex.com/org/app:v1"), Err(Failure::NoTarget(_))));
    assert_eq!(world.site.requests(), ["/m/1.targets%2Freleases.json"]);
    assert!(files_in(&world.metadata()).contains("targets%2Freleases.json"));
    // Kept now, in another process too.
    assert!(matches!(world.download("ex.com/org/app:v1"), Err(Failure::NoTarget(_))));
    assert_eq!(world.site.requests(), Vec::<String>::new());
    // The other role has not been asked for at all.
    assert!(!files_in(&world.metadata()).contains("targets%2Frevocations.json"));
}

#[test]
fn d1_d2_target_files_are_checked_before_they_are_there() {
    let world = World::new(&with_target("a", b"abc"));
    let at = format!("/t/{}.a", hash(b"abc"));
    assert!(matches!(world.download("b"), Err(Failure::NoTarget(_))));
    assert!(matches!(world.download("a"), Err(Failure::NoTarget(_))), "404");
    for (content, what) in [(&b"ab"[..], "length"), (b"abd", "sha256")] {
        world.site.put(&at, Answer::File(content.to_vec()));
        assert_eq!(fault(world.download("a")), Fault::Hash { what });
    }
    world.site.put(&at, Answer::File(b"abcd".to_vec()));
    assert!(matches!(fault(world.download("a")), Fault::Hash { what: "length" }));
    assert!(files_in(&world.targets()).is_empty());
    world.site.put(&at, Answer::File(b"abc".to_vec()));
    assert_eq!(std::fs::read(world.download("a").unwrap()).unwrap(), b"abc");
}

#[test]
fn d3_the_hash_stands_before_the_file_name() {
    let world = World::new(&with_target("dir/sub dir/a", b"abc"));
    let at = format!("/t/dir/sub%20dir/{}.a", hash(b"abc"));
    world.site.put(&at, Answer::File(b"abc".to_vec()));
    let local = world.download("dir/sub dir/a").unwrap();
    assert_eq!(world.site.requests(), [at]);
    assert_eq!(local.file_name().unwrap().to_str(), Some("dir%2Fsub%20dir%2Fa"));
}

#[test]
fn d4_a_local_copy_that_matches_is_not_fetched_again() {
    let world = World::new(&with_target("a", b"abc"));
    let at = format!("/t/{}.a", hash(b"abc"));
    world.site.put(&at, Answer::File(b"abc".to_vec()));
    let local = world.download("a").unwrap();
    assert_eq!(world.site.requests(), [at.as_str()]);
    world.site.put(&at, Answer::Status(404));
    world.download("a").unwrap();
    assert_eq!(world.site.requests(), Vec::<String>::new());
    // One that does not match is.
    world.site.put(&at, Answer::File(b"abc".to_vec()));
    for other in [&b"abd"[..], b"abcd", b""] {
        std::fs::write(&local, other).unwrap();
        world.download("a").unwrap();
        assert_eq!(
            (world.site.requests(), std::fs::read(&local).unwrap()),
            (vec![at.clone()], b"abc".to_vec())
        );
    }
}

#[test]
fn d5_no_target_leaves_its_folder() {
    for path in ["../../escape", "/escape", "..", "a/../../escape", ".hidden", "a/./b"] {
        let world = World::new(&with_target(path, b"abc"));
        let served = world.home.path().join("escape");
        match world.download(path) {
            Ok(local) => assert_eq!(local, world.targets().join(local_name(path))),
            Err(Failure::NoTarget(_)) => assert_eq!(path, ".hidden", "only this has an address"),
            Err(Failure::Refused(e)) => assert!(matches!(e.fault, Fault::Format(_)), "{path}: {e}"),
            Err(e) => panic!("{path}: {e}"),
        }
        assert!(!served.exists() && !std::path::Path::new("/escape").exists());
        let names = ["metadata", "root-1"].map(String::from);
        assert!(files_in(world.home.path()).is_subset(&names.into()), "{path}");
    }
}

/// bulla's own collections stay with the strict reading: the same state, judged with and without its name.
#[test]
fn the_plain_client_follows_what_a_collection_refuses() {
    let mut sim = Sim::new();
    sim.timestamp.extra.collection = "ex.com/org/other".into();
    let world = World::new(&sim);
    world.refresh().unwrap();
    let chain = sim.walk(&sim.files()).unwrap();
    let strict = Trusted::judge(
        chain.last(),
        &sim.files(),
        Some(COLLECTION),
        None,
        bulla::tuf::Expiry::Enforce,
        NOW,
        &Limits::default(),
    );
    assert!(matches!(strict.unwrap_err().fault, Fault::Collection { .. }));
}
