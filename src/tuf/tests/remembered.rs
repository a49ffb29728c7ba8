//! Two memories of one chain become one.

use proptest::prelude::*;

use crate::tuf::sim::{NOW, Sim, SimKey};
use crate::tuf::{FileName, Limits, Listing, Recall, Remembered, RoleName, Version};

/// What is remembered of a state at this version: under root 2 other root keys, under root 3 other online keys too.
fn state(version: u64, roots: u64, listed: bool, whole: bool) -> Remembered {
    let mut sim = Sim::new();
    if roots > 1 {
        sim.rotate(|sim| sim.root_keys = vec![SimKey::new(11), SimKey::new(12)]);
    }
    if roots > 2 {
        sim.rotate(|sim| sim.online_key = SimKey::new(15));
    }
    sim.at_version(version, NOW);
    let mut files = sim.files();
    if !listed {
        files.drop_targets();
    }
    files.retain(|name| whole || *name.role() != RoleName::releases());
    Remembered { files, verified_under: Version::new(roots) }
}

/// Version of the timestamp, of the root, and whether the list is there.
fn facts(memory: &Remembered) -> (Version, Version, bool) {
    let state = Recall::of(Some(memory), &Sim::name(), NOW, &Limits::default()).state().unwrap().unwrap();
    let trusted = state.trusted();
    let listed = matches!(state.revocations(&Sim::name()), Listing::List(_));
    (trusted.timestamp().version(), trusted.root().version(), listed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_falls_by_a_join(
        steps in prop::collection::vec((1u64..7, 1u64..=3, any::<bool>(), any::<bool>()), 1..6),
    ) {
        let mut all: Option<Remembered> = None;
        for (version, roots, listed, whole) in steps {
            let new = state(version, roots, listed, whole);
            let Some(old) = all.take() else {
                all = Some(new);
                continue;
            };
            let joined = old.joined(&new, &Sim::name(), &Limits::default(), |_| true).unwrap();
            let ((t, under, had), (now, now_under, has)) = (facts(&old), facts(&joined));
            let floors_fell = under < Version::new(3).unwrap() && now_under == Version::new(3).unwrap();
            prop_assert!(now >= t || floors_fell, "{t} {now}");
            prop_assert!(has || !had);
            prop_assert!(joined.files.newest_root() >= old.files.newest_root().max(new.files.newest_root()));
            let again = joined.joined(&new, &Sim::name(), &Limits::default(), |_| true).unwrap();
            prop_assert_eq!(&again, &joined);
            all = Some(joined);
        }
    }
}

#[test]
fn a_damaged_state_is_not_none() {
    let good = state(5, 1, true, true);
    for role in [RoleName::timestamp(), RoleName::snapshot(), RoleName::targets(), RoleName::root()] {
        let mut damaged = good.clone();
        damaged.files.retain(|name| *name.role() != role);
        let recall = Recall::of(Some(&damaged), &Sim::name(), NOW, &Limits::default());
        assert!(recall.is_damaged(), "{role}");
        assert!(recall.state().is_err());
        let joined = damaged.joined(&state(6, 1, true, true), &Sim::name(), &Limits::default(), |_| true);
        // The root is the same in both.
        assert_eq!(joined.is_err(), role != RoleName::root(), "{role}");
    }
    let mut junk = good.clone();
    junk.files.put(FileName::timestamp(), b"{}".to_vec().into());
    assert!(Recall::of(Some(&junk), &Sim::name(), NOW, &Limits::default()).is_damaged());
    let roots = Remembered { files: good.files, verified_under: None };
    assert!(matches!(Recall::of(Some(&roots), &Sim::name(), NOW, &Limits::default()), Recall::Nothing));
    assert!(matches!(Recall::of(None, &Sim::name(), NOW, &Limits::default()), Recall::Nothing));
}
