//! Bytes from anywhere: parsers say no, and never panic.

use proptest::prelude::*;

use super::*;
use crate::sig::{canonical, json};

/// Text that looks like JSON more often than not.
fn jsonish() -> impl Strategy<Value = String> {
    let atoms = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        "\"[a-z_\\\\u0-9]{0,8}\"",
        "-?[0-9]{1,20}(\\.[0-9])?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(atoms, 0..40).prop_map(|v| v.concat())
}

/// Every file of a good state, with some bytes changed or cut off.
fn damaged() -> impl Strategy<Value = bytes::Bytes> {
    let files = Sim::new().files();
    let all: Vec<_> = files.metadata().values().cloned().collect();
    (
        proptest::sample::select(all),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(file, changes, cut)| {
            let mut bytes = file.to_vec();
            for (at, with) in changes {
                let i = at.index(bytes.len());
                bytes[i] = with;
            }
            if cut.index(4) == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes.into()
        })
}

fn every_parser(bytes: &bytes::Bytes) {
    let limits = Limits::default();
    let role = RoleName::root();
    let _ = Unverified::<Root>::parse(&role, bytes, &limits).map(|f| f.verify(&role, &[]));
    let _ = Unverified::<Timestamp>::parse(&role, bytes, &limits);
    let _ = Unverified::<Snapshot>::parse(&role, bytes, &limits);
    let targets = Unverified::<Targets>::parse(&role, bytes, &limits);
    if let Ok(targets) = targets.and_then(|f| f.verify(&role, &[])) {
        for (path, target) in targets.role().targets() {
            let _ = (Bundle::read(target), Sim::name().entry(path));
        }
    }
    let _ = RootWalk::start(bytes, None, &limits);
}

proptest! {
    #[test]
    fn json_never_panics_and_is_stable(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = json::parse(&bytes) {
            // What was read is written so that it reads the same.
            let again = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(json::parse(&again).unwrap(), value);
        }
    }

    #[test]
    fn json_reads_no_more_than_serde_json_and_canonical_form_is_stable(text in jsonish()) {
        if let Ok(value) = json::parse(text.as_bytes()) {
            let plain: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&plain, &value);
            prop_assert_eq!(canonical::canonical(&plain), canonical::canonical(&value));
        }
    }

    #[test]
    fn metadata_never_panics(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(bytes::Bytes::from),
        jsonish().prop_map(bytes::Bytes::from),
        damaged(),
    ]) {
        every_parser(&bytes);
    }

    #[test]
    fn file_names_read_back_or_are_refused(text in prop_oneof![any::<String>(), "[0-9]{0,3}\\.[a-z%/.2Ff]{0,12}(\\.json)?"]) {
        if let Ok(name) = text.parse::<FileName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(role) = text.parse::<RoleName>() {
            let name = FileName::versioned(role, Version::ONE);
            prop_assert_eq!(name.to_string().parse::<FileName>().unwrap(), name);
        }
    }

    #[test]
    fn patterns_agree_with_a_plain_reading(pattern in "[ab*?/]{1,8}", path in "[ab/]{0,8}") {
        fn plain(p: &[u8], t: &[u8]) -> bool {
            match (p.first(), t.first()) {
                (None, None) => true,
                (Some(b'*'), _) if plain(&p[1..], t) => true,
                (Some(b'*'), Some(c)) => *c != b'/' && plain(p, &t[1..]),
                (Some(b'?'), Some(c)) => *c != b'/' && plain(&p[1..], &t[1..]),
                (Some(a), Some(b)) => a == b && plain(&p[1..], &t[1..]),
                _ => false,
            }
        }
        let got = PathPattern::parse(&pattern).unwrap().matches(&path);
        prop_assert_eq!(got, plain(pattern.as_bytes(), path.as_bytes()));
    }
}
