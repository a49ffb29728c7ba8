//! Sources as they are read.

use super::*;

#[test]
fn sources_that_cannot_agree_are_refused_when_they_are_read() {
    let anchor = Deployer::new().anchor();
    let refused = |specs: Vec<SourceSpec>, min| anchor.clone().with_sources(specs, min).unwrap_err();
    assert!(matches!(refused(vec![role(SECURITY)], Some(2)), TrustError::Min { min: 2, sources: 1, .. }));
    assert!(matches!(refused(vec![role(SECURITY)], Some(0)), TrustError::Min { .. }));
    assert!(matches!(refused(vec![], Some(1)), TrustError::Min { .. }));
    let spelt = refused(vec![at("a.example/app"), at("a.example:443/app")], None);
    assert!(matches!(spelt, TrustError::SameSource { first: 1, second: 2, .. }), "{spelt}");
    for specs in
        [vec![SourceSpec::default(), at("a.example/app")], vec![at("a.example/app"), SourceSpec::default()]]
    {
        let mixed = refused(specs, None);
        assert!(matches!(mixed, TrustError::MixedPlaces { .. }), "{mixed}");
    }
    // Another role is another voice, with a place or without.
    let apart = anchor.clone().with_sources(
        vec![
            SourceSpec { role: Some(SECURITY.parse().unwrap()), ..at("a.example/app") },
            SourceSpec::default(),
        ],
        None,
    );
    assert!(apart.is_ok(), "{apart:?}");
    let twice = vec![role(SECURITY), SourceSpec::default(), role(SECURITY)];
    assert!(matches!(refused(twice, None), TrustError::SameSource { first: 1, second: 3, .. }));
    assert!(matches!(refused(vec![role("snapshot")], None), TrustError::SourceRole { .. }));
    let other = SourceSpec { collection: Some("ex.com/other".parse().unwrap()), ..SourceSpec::default() };
    assert!(matches!(refused(vec![other], None), TrustError::SourceRoot { source_number: 1, .. }));
    let many = (0..=MAX_SOURCES).map(|i| role(&format!("targets/{i}"))).collect();
    assert!(matches!(refused(many, None), TrustError::ManySources(_)));
}

#[test]
fn an_anchor_with_sources_is_read_back_and_an_old_one_is_unchanged() {
    let plain = Deployer::new().anchor();
    let specs = vec![by_keys(SECURITY, &[21, 22], 2), at("b.example/app"), at("c.example/app")];
    let anchor = plain.clone().with_sources(specs, Some(2)).unwrap();
    assert_ne!(anchor.id, plain.id);
    let mut trust = TrustFile { anchors: vec![plain.clone(), anchor], ..TrustFile::default() };
    assert_eq!(TrustFile::parse(&trust.to_bytes()), Ok(trust.clone()));
    let text = String::from_utf8(trust.to_bytes()).unwrap();
    for (from, to) in
        [("\"threshold\": 2", "\"threshold\": 3"), ("\"role\"", "\"rolle\""), ("\"min\": 2", "\"min\": 4")]
    {
        assert!(text.contains(from));
        assert!(TrustFile::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
    }
    trust.anchors = vec![plain];
    let text = String::from_utf8(trust.to_bytes()).unwrap();
    assert!(!text.contains("sources") && !text.contains("\"min\""));
}
