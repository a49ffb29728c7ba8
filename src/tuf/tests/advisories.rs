//! Published advisories against other TUF clients, as regression vectors. Each is named after its identifier.

use serde_json::json;

use super::*;

/// The fault with which the sim's state is refused.
fn refused(sim: &Sim) -> Option<Fault> {
    sim.judge(&sim.files(), None, NOW).err().map(|e| e.fault)
}

/// A sim whose releases role has two keys, of which two must sign, with its file as `sign` makes it.
fn two_of_two_releases(sign: impl Fn(bytes::Bytes) -> bytes::Bytes + 'static) -> Sim {
    let mut sim = Sim::new();
    let mut delegations = sim.delegations();
    let by = signers(&[&sim.releases_key, &SimKey::new(60)], 2);
    for d in &mut delegations {
        *d = delegation(d.name.clone(), &by, d.paths.clone(), d.terminating);
    }
    sim.delegated = Some(delegations);
    sim.edits.insert(RoleName::releases(), Box::new(sign));
    sim
}

fn search(sim: &Sim, path: &str) -> Result<bool, Fault> {
    let files = sim.files();
    let trusted = sim.judge(&files, None, NOW).map_err(|e| e.fault)?;
    trusted.find(path, &files).map(|f| f.target.is_some()).map_err(|e| e.fault)
}

const RELEASE: &str = "ex.com/org/app:v1";

/// tough: one signature given twice met a threshold of two.
#[test]
fn cve_2020_15093_duplicate_signatures_of_a_top_level_role() {
    let mut sim = Sim::new();
    let keys = [sim.online_key.again(), SimKey::new(60)];
    let ids: Vec<_> = keys.iter().map(|k| k.public().key_id()).collect();
    let roots: Vec<_> = sim.root_keys.iter().collect();
    let two = |r: &mut serde_json::Value| {
        r["keys"][ids[1].as_str()] = keys[1].public().to_tuf();
        r["roles"]["timestamp"] = json!({"keyids": ids, "threshold": 2});
    };
    sim.roots[0] = resigned(&sim.roots[0], two, &roots);
    assert!(matches!(refused(&sim), Some(Fault::Threshold { have: 1, need: 2, .. })));
    sim.edits.insert(RoleName::timestamp(), Box::new(|f| with_signatures(&f, |s| s.push(s[0].clone()))));
    assert!(matches!(refused(&sim), Some(Fault::DuplicateSignature(_))));
    // The same signature under the other key's id.
    let other = ids[1].clone();
    sim.edits.insert(
        RoleName::timestamp(),
        Box::new(move |f| with_signatures(&f, |s| s.push(json!({"keyid": other, "sig": s[0]["sig"]})))),
    );
    assert!(matches!(refused(&sim), Some(Fault::Threshold { have: 1, need: 2, .. })));
}

/// tough: the same in delegated roles.
#[test]
fn cve_2026_6966_duplicate_signatures_of_a_delegated_role() {
    let sim = two_of_two_releases(|f| f);
    assert!(matches!(search(&sim, RELEASE), Err(Fault::Threshold { have: 1, need: 2, .. })));
    let sim = two_of_two_releases(|f| with_signatures(&f, |s| s.push(s[0].clone())));
    assert!(matches!(search(&sim, RELEASE), Err(Fault::DuplicateSignature(_))));
    let second = SimKey::new(60).public().key_id();
    let sim = two_of_two_releases(move |f| {
        with_signatures(&f, |s| s.push(json!({"keyid": second, "sig": s[0]["sig"]})))
    });
    assert!(matches!(search(&sim, RELEASE), Err(Fault::Threshold { have: 1, need: 2, .. })));
    let sim = two_of_two_releases(|f| resigned(&f, |_| (), &[&SimKey::new(4), &SimKey::new(60)]));
    assert_eq!(search(&sim, RELEASE), Ok(false));
}

/// tough: hash, length and expiry of a delegated role were not checked.
#[test]
fn cve_2026_6967_delegated_roles_are_pinned_and_expire() {
    let sim = Sim::new();
    let (name, key) = (file(&RoleName::releases(), 1), sim.releases_key.again());
    let look = |change: &dyn Fn(&bytes::Bytes) -> bytes::Bytes| {
        let mut files = sim.files();
        let changed = change(files.get(&name).unwrap());
        files.put(name.clone(), changed);
        let trusted = sim.judge(&files, None, NOW).unwrap();
        trusted.find(RELEASE, &files).map(|_| ()).map_err(|e| e.fault)
    };
    assert_eq!(look(&|f| f.clone()), Ok(()));
    // Validly signed, of the same version and length, but not what the snapshot pins.
    let other =
        |f: &bytes::Bytes| resigned(f, |s| s["x-bulla"]["at"] = json!("2000-01-01T00:00:00Z"), &[&key]);
    assert_eq!(other(sim.files().get(&name).unwrap()).len(), sim.files().get(&name).unwrap().len());
    assert_eq!(look(&other), Err(Fault::Hash { what: "sha256" }));
    assert!(matches!(look(&|f| [f, &b" "[..]].concat().into()), Err(Fault::Size { .. })));
    assert_eq!(look(&|f| f.slice(..f.len() - 1)), Err(Fault::Hash { what: "length" }));
    let mut sim = Sim::new();
    sim.releases = heading(1, NOW, 0);
    assert!(matches!(search(&sim, RELEASE), Err(Fault::Expired { .. })));
}

/// tough: names of roles and targets led to files outside the folder that they belong in.
#[test]
fn cve_2021_41149_41150_2026_6968_names_stay_in_their_folder() {
    for name in ["../../x", "..", "/etc/cron.d/x", "a/../../b", "..\\x", "\u{2024}\u{2024}/x"] {
        let role: RoleName = name.parse().unwrap();
        let target = local_name(name);
        for file in [file(&role, 1).to_string(), FileName::unversioned(role).to_string(), target] {
            let path = std::path::Path::new(&file);
            assert_eq!(path.components().count(), 1, "{file}");
            assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))), "{file}");
        }
    }
}

/// tough: a root of any later version was taken for the next one.
#[test]
fn cve_2025_2885_roots_follow_one_another() {
    let mut sim = Sim::new();
    sim.rotate(|_| ());
    sim.rotate(|s| s.online_key = SimKey::new(15));
    let skipping = sim.roots.remove(2);
    sim.roots[1] = skipping;
    assert_eq!(sim.walk(&sim.files()).unwrap().last().version(), Version::ONE);
}

/// tough: the search went on behind a terminating delegation.
#[test]
fn cve_2025_2886_terminating_ends_the_search() {
    let mut sim = Sim::new();
    let mut delegations = sim.delegations();
    let everything = delegation(
        RoleName::revocations(),
        &signers(&[&sim.releases_key], 1),
        Paths::Patterns(vec![PathPattern::parse("*/*/*").unwrap()]),
        true,
    );
    delegations[0] = everything;
    sim.entries.insert(RELEASE.into(), json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}}));
    assert_eq!(search(&sim, RELEASE), Ok(true));
    sim.delegated = Some(delegations.clone());
    assert_eq!(search(&sim, RELEASE), Ok(false));
    delegations[0].terminating = false;
    sim.delegated = Some(delegations);
    assert_eq!(search(&sim, RELEASE), Ok(true));
}

/// tough: the versions that a snapshot lists could fall, and a refused timestamp was cached.
#[test]
fn cve_2025_2887_2888_what_is_refused_is_neither_kept_nor_a_floor() {
    let mut sim = Sim::new();
    sim.at_version(5, NOW);
    let seen = sim.judge(&sim.files(), None, NOW).unwrap();
    let floor = Floor::of(&seen, seen.root().role(), seen.root().role());
    (sim.timestamp, sim.snapshot) = (heading(6, NOW, DAY), heading(6, NOW, DAY));
    sim.releases = heading(4, NOW, DAY);
    let files = sim.files();
    assert!(matches!(fault(sim.judge(&files, floor.clone(), NOW)).1, Fault::Rollback { .. }));
    sim.timestamp = heading(4, NOW, DAY);
    let files = sim.files();
    let root = sim.walk(&files).unwrap().last().clone();
    let limits = Limits::default();
    let mut refresh = Refresh::start(root, Some(COLLECTION), floor, Expiry::Enforce, NOW, &limits).unwrap();
    assert!(refresh.feed(files.get(&FileName::timestamp()).cloned()).is_err());
    assert!(matches!(refresh.step(), Step::Need { file, .. } if file == FileName::timestamp()));
}

/// go-tuf: a role with a threshold of 0 was met by nobody.
#[test]
fn ghsa_fphv_w9fq_2525_a_threshold_of_zero_is_an_error() {
    let sim = Sim::new();
    let roots: Vec<_> = sim.root_keys.iter().collect();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let root = resigned(&sim.roots[0], |r| r["roles"][role]["threshold"] = json!(0), &roots);
        assert!(matches!(
            RootWalk::start(&root, None, &Limits::default()).unwrap_err().fault,
            Fault::Format(_)
        ));
    }
    let mut sim = Sim::new();
    let key = sim.targets_key.again();
    sim.edits.insert(
        RoleName::targets(),
        Box::new(move |f| {
            let nobody = |t: &mut serde_json::Value| {
                t["delegations"]["roles"][1]["threshold"] = json!(0);
                t["delegations"]["roles"][1]["keyids"] = json!([]);
            };
            resigned(&f, nobody, &[&key])
        }),
    );
    assert!(matches!(refused(&sim), Some(Fault::Format(_))));
}
