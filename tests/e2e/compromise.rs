//! The two security analyses of CNAB-301 as tests: for every combination of keys in the hands of somebody who also controls the
//! registry, what he can have trusted, how long he can keep a deployer from what is new, and what it takes to be rid of him.

use bulla::oci::{Descriptor, Digest, media_type};
use bulla::trust::{Anchor, Report, Scope, StateAnswer, Verdict};
use bulla::tuf::{CollectionName, FileName, Files, Remembered};
use bytes::Bytes;
use serde_json::json;

use super::judged::judge;
use super::states::vectors::{
    self, BUNDLE, COLLECTION, LIST, ONLINE, RELEASES, SNAPSHOT, TARGETS, entry, honest, release_path,
    tag_path,
};
use super::states::world::{Changes, DAY, NOW, World, id, public, role, time};

/// The bundle that nobody released.
const EVIL: &[u8] = b"evil";
/// The attacker's own key, which no role names.
const OWN: usize = 10;

/// Keys in the wrong hands, by role; `root` is a threshold of them.
#[derive(Debug, Clone, Copy)]
struct Stolen {
    timestamp: bool,
    snapshot: bool,
    targets: bool,
    releases: bool,
    root: bool,
}

impl Stolen {
    /// Every combination.
    fn all() -> impl Iterator<Item = Self> {
        (0..32).map(|n| Self {
            timestamp: n & 1 != 0,
            snapshot: n & 2 != 0,
            targets: n & 4 != 0,
            releases: n & 8 != 0,
            root: n & 16 != 0,
        })
    }

    /// The key with which he signs for a role: that of the role, or his own.
    fn key(held: bool, key: usize) -> usize {
        if held { key } else { OWN }
    }
}

/// Lifetimes as `init` gives them, so that each role has its own.
fn fresh(at: i64) -> World {
    let mut world = honest();
    world.roots.truncate(1);
    let lives = [("targets", 365), ("targets/releases", 90), ("targets/revocations", 90)];
    for (name, days) in lives {
        world.roles.get_mut(name).unwrap().signed["expires"] = json!(time(at + days * DAY));
    }
    world.roots[0].signed["expires"] = json!(time(at + 365 * DAY + 1));
    world.snapshot.signed["expires"] = json!(time(at + 30 * DAY));
    world.timestamp.signed["expires"] = json!(time(at + 7 * DAY));
    world
}

fn files(world: &World) -> Files {
    let mut files = Files::new();
    for (file, bytes) in world.serve(&Changes::default()) {
        if let Ok(file) = file.parse::<FileName>() {
            files.put(file, bytes.into());
        }
    }
    let [.., list] = vectors::paths();
    files.put_target(list, Bytes::from_static(LIST));
    files
}

fn anchor(world: &World) -> Anchor {
    let name: CollectionName = COLLECTION.parse().unwrap();
    let root = world.serve(&Changes::default())["1.root.json"].clone();
    Anchor::tuf(Scope::Repository(name.as_repository().clone()), name, root.into(), vec![])
}

fn look(
    state: &World,
    bundle: &[u8],
    by_digest: bool,
    memory: Option<&Remembered>,
    now: i64,
) -> (Report, Option<Remembered>) {
    let bundle = Descriptor::of(media_type::OCI_MANIFEST, bundle);
    let live = StateAnswer::Found(files(state));
    judge(&anchor(&fresh(NOW)), &live, &Err("none".to_owned()), &bundle, by_digest, memory, now)
}

fn said(report: &Report) -> String {
    match report.verdict() {
        Verdict::Trusted => "trusted".to_owned(),
        _ => report.because().unwrap().code.to_string(),
    }
}

/// Sign everything again that he can, at a higher version and for a hundred years; `evil` also lists the bundle that nobody
/// released.
fn forged(stolen: Stolen, evil: bool, at: i64) -> World {
    let mut world = fresh(NOW);
    let long = json!(time(at + 36_500 * DAY));
    let next = |part: &mut super::states::world::Part, by: usize| {
        part.signed["version"] = json!(6);
        part.signed["expires"] = long.clone();
        part.by = vec![by];
    };
    let (mut timestamp, mut snapshot) = (stolen.timestamp, stolen.snapshot);
    let mut targets = stolen.targets;
    if stolen.root {
        // A new root that names his key for everything.
        let mut root = world.roots[0].clone();
        root.signed["version"] = json!(2);
        root.signed["expires"] = long.clone();
        root.signed["keys"][id(OWN)] = public(OWN).to_tuf();
        for name in ["timestamp", "snapshot", "targets"] {
            root.signed["roles"][name] = role(&[OWN], 1);
        }
        world.roots.push(root);
        (timestamp, snapshot, targets) = (true, true, true);
    }
    let key = |held: bool, key: usize| if stolen.root { OWN } else { Stolen::key(held, key) };
    if targets {
        let top = world.roles.get_mut("targets").unwrap();
        next(top, key(true, TARGETS));
        // He delegates to himself.
        top.signed["delegations"]["keys"][id(OWN)] = public(OWN).to_tuf();
        for delegation in top.signed["delegations"]["roles"].as_array_mut().unwrap() {
            delegation["keyids"] = json!([id(OWN)]);
        }
    }
    let releases = stolen.releases || targets;
    if releases || evil {
        for name in ["targets/releases", "targets/revocations"] {
            let by = if targets { OWN } else { Stolen::key(stolen.releases, RELEASES) };
            next(world.roles.get_mut(name).unwrap(), by);
        }
    }
    if evil {
        let listed = world.roles.get_mut("targets/releases").unwrap();
        let by_digest = format!("{COLLECTION}@{}", Digest::sha256(EVIL));
        listed.signed["targets"] = json!({tag_path(): entry("tag", EVIL), by_digest: entry("release", EVIL)});
    }
    // He signs again what he can, and must sign what he changed.
    if snapshot || evil || releases {
        next(&mut world.snapshot, key(snapshot, SNAPSHOT));
    }
    if timestamp || evil || snapshot || releases {
        next(&mut world.timestamp, key(timestamp, ONLINE));
    }
    world
}

/// Without the keys of timestamp and snapshot, and one of root, targets or releases, nothing can be released.
#[test]
fn what_it_takes_to_release_something() {
    let mut released = 0;
    for stolen in Stolen::all() {
        let Stolen { timestamp, snapshot, targets, releases, root } = stolen;
        let expected = match () {
            () if root || (timestamp && snapshot && (targets || releases)) => "trusted",
            () if !timestamp => "tuf.timestamp.threshold",
            () if !snapshot => "tuf.snapshot.threshold",
            () => "tuf.delegation.threshold",
        };
        for by_digest in [false, true] {
            let attack = forged(stolen, true, NOW);
            assert_eq!(said(&look(&attack, EVIL, by_digest, None, NOW).0), expected, "{stolen:?}");
            // One who remembers the honest state goes on with it, and is asked for a bundle that it does not know.
            let (_, memory) = look(&fresh(NOW), BUNDLE, false, None, NOW);
            let known = if by_digest { "bundle.digest.unlisted" } else { "bundle.tag.moved" };
            let expected = if expected == "trusted" { expected } else { known };
            let (report, after) = look(&attack, EVIL, by_digest, memory.as_ref(), NOW);
            assert_eq!(said(&report), expected, "{stolen:?}, remembered");
            if expected != "trusted" {
                assert_eq!(after, memory, "{stolen:?}: nothing of it is remembered");
            }
        }
        released += u64::from(expected == "trusted");
    }
    assert_eq!(released, 16 + 3, "of 32");
}

/// A deployer is kept from what is new until the first role expires that the attacker cannot sign again.
#[test]
fn how_long_a_freeze_lasts() {
    for stolen in Stolen::all().filter(|s| !s.root) {
        let Stolen { timestamp, snapshot, targets, releases, .. } = stolen;
        // What cannot be signed again because something above it would have to be is as good as not stolen.
        let (days, code) = match (timestamp, snapshot, targets, releases) {
            (false, ..) => (7, "tuf.timestamp.expired"),
            (true, false, ..) => (30, "tuf.snapshot.expired"),
            (true, true, false, false) => (90, "tuf.delegation.expired"),
            (true, true, false, true) => (365, "tuf.targets.expired"),
            (true, true, true, _) => (365, "tuf.root.expired"),
        };
        let usable = Stolen {
            snapshot: timestamp && snapshot,
            targets: timestamp && snapshot && targets,
            releases: timestamp && snapshot && releases,
            ..stolen
        };
        let attack = forged(usable, false, NOW);
        let end = NOW + days * DAY + i64::from(code == "tuf.root.expired");
        for memory in [None, look(&fresh(NOW), BUNDLE, false, None, NOW).1] {
            let before = look(&attack, BUNDLE, false, memory.as_ref(), end - 1).0;
            assert_eq!(said(&before), "trusted", "{stolen:?}");
            let after = look(&attack, BUNDLE, false, memory.as_ref(), end).0;
            assert_eq!(said(&after), code, "{stolen:?}");
        }
    }
    // Whoever holds a threshold of root keys signs everything again, for ever.
    let all = Stolen { timestamp: true, snapshot: true, targets: true, releases: true, root: true };
    let attack = forged(all, false, NOW);
    assert_eq!(said(&look(&attack, BUNDLE, false, None, NOW + 5_000 * DAY).0), "trusted");
}

/// What was seen once does not come back, whatever is stolen short of root: versions below the memory are refused. Without a memory
/// the online keys can serve any old role file that has not expired.
#[test]
fn what_online_keys_can_roll_back() {
    let (_, memory) = look(&fresh(NOW), BUNDLE, false, None, NOW);
    let mut old = fresh(NOW);
    let releases = old.roles.get_mut("targets/releases").unwrap();
    releases.signed["version"] = json!(4);
    releases.signed["targets"] = json!({tag_path(): entry("tag", EVIL)});
    old.snapshot.signed["version"] = json!(6);
    old.timestamp.signed["version"] = json!(6);
    assert_eq!(said(&look(&old, EVIL, false, memory.as_ref(), NOW).0), "tuf.snapshot.rollback");
    assert_eq!(said(&look(&old, EVIL, false, None, NOW).0), "trusted", "an old release, by its own key");
    assert_eq!(said(&look(&old, EVIL, false, None, NOW + 90 * DAY).0), "tuf.timestamp.expired");
}

/// Each stolen key is replaced by the role above it; from then on what it signs is refused, also at a first look.
#[test]
fn what_recovery_takes() {
    let rotate = |world: &mut World, name: &str| {
        let mut root = world.roots[0].clone();
        root.signed["version"] = json!(2);
        root.signed["keys"][id(9)] = public(9).to_tuf();
        root.signed["roles"][name] = role(&[9], 1);
        world.roots.push(root);
    };
    for (name, code) in [
        ("timestamp", "tuf.timestamp.threshold"),
        ("snapshot", "tuf.snapshot.threshold"),
        ("targets", "tuf.targets.threshold"),
    ] {
        // The attacker holds all keys below root, and serves the new root, which he cannot keep back for ever.
        let thief = Stolen { timestamp: true, snapshot: true, targets: true, releases: true, root: false };
        let mut attack = forged(thief, true, NOW);
        assert_eq!(said(&look(&attack, EVIL, false, None, NOW).0), "trusted");
        rotate(&mut attack, name);
        assert_eq!(said(&look(&attack, EVIL, false, None, NOW).0), code);
        // Who has seen the new root once is safe although the old one is served again.
        let mut honest = fresh(NOW);
        rotate(&mut honest, name);
        match name {
            "timestamp" => honest.timestamp.by = vec![9],
            "snapshot" => honest.snapshot.by = vec![9],
            _ => honest.roles.get_mut("targets").unwrap().by = vec![9],
        }
        let (report, memory) = look(&honest, BUNDLE, false, None, NOW);
        assert_eq!(said(&report), "trusted");
        attack.roots.pop();
        assert_eq!(said(&look(&attack, EVIL, false, memory.as_ref(), NOW).0), "bundle.tag.moved");
    }
    // The key of releases is replaced by top-level targets, below the root.
    let mut honest = fresh(NOW);
    let top = honest.roles.get_mut("targets").unwrap();
    top.signed["delegations"]["keys"][id(9)] = public(9).to_tuf();
    for delegation in top.signed["delegations"]["roles"].as_array_mut().unwrap() {
        delegation["keyids"] = json!([id(9)]);
    }
    top.signed["version"] = json!(6);
    for name in ["targets/releases", "targets/revocations"] {
        honest.roles.get_mut(name).unwrap().by = vec![9];
    }
    (honest.snapshot.signed["version"], honest.timestamp.signed["version"]) = (json!(6), json!(6));
    let (report, memory) = look(&honest, BUNDLE, false, None, NOW);
    assert_eq!(said(&report), "trusted");
    let mut attack = honest.clone();
    attack.roles.get_mut("targets/releases").unwrap().by = vec![RELEASES];
    assert_eq!(said(&look(&attack, BUNDLE, false, None, NOW).0), "tuf.delegation.threshold");
    let online = Stolen { timestamp: true, snapshot: true, targets: false, releases: true, root: false };
    let before = forged(online, true, NOW);
    assert_eq!(said(&look(&before, EVIL, false, memory.as_ref(), NOW).0), "tuf.snapshot.rollback");
    assert!(memory.is_some() && release_path().contains("sha256"));
}

/// Fewer root keys than the threshold change nothing.
#[test]
fn a_root_key_below_the_threshold_is_worth_nothing() {
    let thief = Stolen { timestamp: true, snapshot: true, targets: true, releases: true, root: true };
    let mut attack = forged(thief, true, NOW);
    attack.roots[1].by = vec![0, OWN];
    assert_eq!(said(&look(&attack, EVIL, false, None, NOW).0), "tuf.root.threshold");
    let (_, memory) = look(&fresh(NOW), BUNDLE, false, None, NOW);
    assert_eq!(said(&look(&attack, EVIL, false, memory.as_ref(), NOW).0), "bundle.tag.moved");
}
