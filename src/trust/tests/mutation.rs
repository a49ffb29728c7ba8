//! No change of bytes by somebody without keys leads to trust in anything else.

use proptest::prelude::*;

use super::*;

/// Every file of a state, by an index.
fn file_count(files: &Files) -> usize {
    files.metadata().len() + files.targets().len()
}

/// The files with one byte of one of them changed.
fn mutated(files: &Files, which: usize, at: usize, with: u8) -> Files {
    let mut out = files.clone();
    let change = |bytes: &bytes::Bytes| {
        let mut bytes = bytes.to_vec();
        let i = at % bytes.len();
        bytes[i] ^= with;
        bytes::Bytes::from(bytes)
    };
    match files.metadata().iter().nth(which) {
        Some((name, bytes)) => out.put(name.clone(), change(bytes)),
        None => {
            let (path, bytes) = files.targets().iter().nth(which - files.metadata().len()).unwrap();
            out.put_target(path.clone(), change(bytes));
        }
    }
    out
}

proptest! {
    // A quarter of what PROPTEST_CASES says: each case verifies four times.
    #![proptest_config({
        let default = ProptestConfig::default();
        ProptestConfig { cases: default.cases / 4, ..default }
    })]

    #[test]
    fn one_byte_leads_nowhere(which in 0..8usize, at: usize, with in 1..=255u8, remembers: bool) {
        let mut d = Deployer::at_five();
        d.sim.rotate(|_| ());
        d.serve();
        let good = d.sim.files();
        let which = which % file_count(&good);
        let bad = Descriptor::of(media_type::OCI_MANIFEST, b"bad");
        let good_bundle = d.bundle.clone();
        if remembers {
            d.trusted();
        }
        let before = d.memory.clone();
        d.state = StateAnswer::Found(mutated(&good, which, at, with));
        let report = d.verify();
        // Trust in the good bundle can survive (hexadecimal digits of a signature have two cases), as of the same moment.
        if report.verdict() == Verdict::Trusted {
            prop_assert_eq!(report.anchors[0].as_of, Some(NOW));
            prop_assert_eq!(&report.anchors[0].collection, &Sim::name());
        }
        let floor = d.memory.as_ref().or(before.as_ref());
        prop_assert!(floor.is_none_or(|m| m.verified_under.is_none_or(|v| v.get() <= 2)));
        d.bundle = bad.clone();
        prop_assert_ne!(d.verify().verdict(), Verdict::Trusted);
        (d.digest, d.tag) = (Some(bad.digest), None);
        prop_assert_ne!(d.verify().verdict(), Verdict::Trusted);
        // And whatever was remembered meanwhile, the honest state still serves.
        (d.state, d.bundle, d.digest, d.tag) = (StateAnswer::Found(good), good_bundle, None, Some("v1"));
        prop_assert_eq!(d.verify().verdict(), Verdict::Trusted);
    }

    #[test]
    fn junk_beside_a_good_state_is_not_remembered(junk in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut d = Deployer::at_five();
        let junk = bytes::Bytes::from(junk);
        d.serve_with(|files| {
            files.put_target("junk".into(), junk.clone());
            files.put(file(&RoleName::timestamp(), 9), junk.clone());
            files.put(file(&RoleName::releases(), 4), junk.clone());
            files.put(file(&"targets/other".parse().unwrap(), 5), junk.clone());
        });
        d.trusted();
        prop_assert_eq!(d.memory.unwrap().files, d.sim.files());
    }
}
