//! What is remembered counts whatever is rotated, stripped or withheld since.

use super::revocations::revoking;
use super::*;

/// Remembers that the bundle is revoked.
fn warned() -> Deployer {
    let mut d = Deployer::at_five();
    let digest = d.bundle.digest.clone();
    d.sim.list = revoking(&digest);
    d.serve();
    assert_eq!(d.outcome(), "no: revocation.bundle");
    d
}

#[test]
fn a_known_revocation_outlives_every_rotation() {
    type Rotation = fn(&mut Sim);
    let rotations: [(&str, Rotation); 4] = [
        ("root", |sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]),
        ("online", |sim| sim.online_key = SimKey::new(15)),
        ("targets", |sim| sim.targets_key = SimKey::new(13)),
        ("releases", |sim| {
            sim.releases_key = SimKey::new(14);
            sim.root_keys = vec![SimKey::new(11), SimKey::new(12)];
        }),
    ];
    type Change = fn(&mut Files);
    let served: [(&str, Change); 3] = [
        ("roots only", |files| {
            files.retain(|name| *name.role() == RoleName::root());
            files.drop_targets();
        }),
        ("no list", Files::drop_targets),
        ("no role file", |files| files.retain(|name| *name.role() != RoleName::revocations())),
    ];
    for (keys, rotate) in rotations {
        for (what, strip) in served {
            let mut d = warned();
            d.sim.rotate(rotate);
            d.sim.at_version(6, NOW);
            d.serve_with(strip);
            for look in 0..3 {
                assert_eq!(d.outcome(), "no: revocation.bundle", "{keys}, {what}, {look}");
            }
            d.state = StateAnswer::Absent;
            assert_eq!(d.outcome(), "no: revocation.bundle", "{keys}, {what}, then withheld");
        }
    }
}

#[test]
fn a_known_revocation_needs_no_other_file_of_the_memory() {
    let mut d = warned();
    d.memory.as_mut().unwrap().files.retain(|name| *name.role() != RoleName::releases());
    d.state = StateAnswer::Absent;
    assert_eq!(d.outcome(), "no: revocation.bundle");
}

#[test]
fn a_fork_is_seen_although_the_memory_lacks_a_file() {
    let mut d = Deployer::at_five();
    d.trusted();
    d.memory.as_mut().unwrap().files.retain(|name| *name.role() != RoleName::releases());
    // Another timestamp of the same version, over releases that do not know the remembered ones.
    d.sim.timestamp = heading(5, NOW.plus(1), 7 * DAY);
    d.sim.releases = heading(6, NOW, 90 * DAY);
    d.sim.snapshot = heading(6, NOW, 30 * DAY);
    d.serve();
    assert_eq!(d.outcome(), "no: tuf.fork");
    let parent = {
        let mut sim = Deployer::at_five().sim;
        sim.timestamp = heading(5, NOW, 7 * DAY);
        sim.files()
    };
    let hash = Digest::sha256(parent.get(&file(&RoleName::releases(), 5)).unwrap()).hex().to_owned();
    d.sim.releases.extra.ancestors = vec![crate::tuf::Ancestor(Version::new(5).unwrap(), hash)];
    d.serve();
    assert_eq!(d.outcome(), "trusted by state");
}

#[test]
fn a_list_that_is_known_is_not_given_up_under_other_online_keys() {
    let mut d = warned();
    d.sim.rotate(|sim| sim.online_key = SimKey::new(15));
    d.sim.at_version(6, NOW);
    d.serve_with(Files::drop_targets);
    d.verify();
    assert!(d.memory.unwrap().files.target(&Sim::name().revocations_path()).is_some());
}
