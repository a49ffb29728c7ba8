//! The bundle against the collection: other digests, tags, names, types; withdrawn entries.

use serde_json::json;

use super::*;
use crate::tuf::sim::resigned;

#[test]
fn another_digest_than_asked_for() {
    // The place answers a request by digest with another bundle, itself a release.
    let outcomes = both(|d| {
        let asked = d.bundle.digest.clone();
        let other = Descriptor::of(media_type::OCI_MANIFEST, b"other");
        list(&mut d.sim, &other, "v2");
        d.sim.at_version(6, NOW);
        d.serve();
        (d.digest, d.bundle, d.tag) = (Some(asked), other, None);
    });
    assert_eq!(outcomes, ["undecided: bundle.digest"; 2]);
}

#[test]
fn tampered() {
    let by_tag = |d: &mut Deployer| d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"tampered");
    assert_eq!(both(by_tag), ["no: bundle.tag.moved"; 2]);
    let by_digest = |d: &mut Deployer| {
        by_tag(d);
        (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
    };
    assert_eq!(both(by_digest), ["no: bundle.digest.unlisted"; 2]);
    let wrong = |d: &mut Deployer| d.resolved = Some(BundleAnswer::WrongContent("other bytes".into()));
    assert_eq!(both(wrong), ["undecided: bundle.digest"; 2]);
}

#[test]
fn tag_moved_to_an_older_release() {
    let outcomes = both(|d| {
        let newer = Descriptor::of(media_type::OCI_MANIFEST, b"newer");
        list(&mut d.sim, &newer, "v1");
        d.sim.at_version(6, NOW);
        d.serve();
    });
    assert_eq!(outcomes, ["no: bundle.tag.moved"; 2]);
}

/// v1 moved from the old bundle, which the tag still names, to a new one; `secs` ago.
fn moved(d: &mut Deployer, secs: i64) {
    let newer = Descriptor::of(media_type::OCI_MANIFEST, b"newer");
    list(&mut d.sim, &newer, "v1");
    let path = Sim::name().tag_path(&"v1".parse().unwrap());
    let entry = d.sim.entries.get_mut(&path).unwrap();
    entry["custom"]["bulla"]["previous"] = json!(d.bundle.digest.to_string());
    d.sim.at_version(6, NOW);
    d.serve();
    d.now = NOW.plus(secs);
}

#[test]
fn tag_moving_for_ten_minutes() {
    for secs in [0, 599, 600] {
        let mut d = Deployer::at_five();
        moved(&mut d, secs);
        let report = d.trusted();
        assert!(has(&report, Code::BundleTagMoving, &Outcome::Note), "{report:#?}");
    }
    assert_eq!(both(|d| moved(d, 601)), ["no: bundle.tag.moved"; 2]);
    // By digest and tag, or by digest alone, the old release stays one.
    let by_digest = |d: &mut Deployer| {
        moved(d, 601);
        d.digest = Some(d.bundle.digest.clone());
    };
    assert_eq!(both(by_digest), ["trusted by state"; 2]);
    let current = |d: &mut Deployer| {
        by_digest(d);
        d.statement = Some(Statement {
            scope: "mirror.example/app".parse().unwrap(),
            max_staleness: None,
            require_current_tag: true,
            reason: None,
            ..Statement::of("*".parse().unwrap())
        });
    };
    assert_eq!(both(current), ["no: bundle.tag.outdated"; 2]);
}

#[test]
fn tag_moving_is_no_way_around_type_length_and_withdrawal() {
    let swapped = |d: &mut Deployer| {
        moved(d, 1);
        d.bundle.media_type = media_type::DOCKER_MANIFEST.into();
    };
    assert_eq!(both(swapped), ["no: bundle.media-type"; 2]);
    let longer = |d: &mut Deployer| {
        moved(d, 1);
        d.bundle.size += 1;
    };
    assert_eq!(both(longer), ["no: bundle.length"; 2]);
    let withdrawn = |d: &mut Deployer| {
        moved(d, 1);
        d.sim.entries.remove(&Sim::name().release_path(&d.bundle.digest));
        d.serve();
    };
    assert_eq!(both(withdrawn), ["no: bundle.tag.moved"; 2]);
}

#[test]
fn entry_gone() {
    let gone = |d: &mut Deployer| {
        d.sim.entries.clear();
        d.sim.at_version(6, NOW);
        d.serve();
    };
    assert_eq!(both(gone), ["no: bundle.tag.unlisted"; 2]);
    let by_digest = |d: &mut Deployer| {
        gone(d);
        (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
    };
    assert_eq!(both(by_digest), ["no: bundle.digest.unlisted"; 2]);
}

#[test]
fn served_under_another_type() {
    for other in [media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, "application/json"] {
        for by_digest in [false, true] {
            let outcomes = both(|d| {
                d.bundle.media_type = other.into();
                if by_digest {
                    (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
                }
            });
            assert_eq!(outcomes, ["no: bundle.media-type"; 2], "{other}");
        }
    }
    let ambiguous = |d: &mut Deployer| {
        let unreadable = Some("reads as a manifest and as an index".to_owned());
        d.resolved =
            Some(BundleAnswer::Found { bundle: d.bundle.clone(), parts: vec![], unreadable, cnab: None });
    };
    assert_eq!(both(ambiguous), ["no: bundle.ambiguous"; 2]);
}

#[test]
fn entries_that_contradict_their_path() {
    let other = Digest::sha256(b"other");
    let [first, _] = both(|d| {
        let path = Sim::name().release_path(&d.bundle.digest);
        d.sim.entries.get_mut(&path).unwrap()["hashes"] = json!({"sha256": other.hex()});
        (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
        d.serve();
    });
    assert_eq!(first, "no: bundle.entry");
    let [first, _] = both(|d| {
        let path = Sim::name().release_path(&d.bundle.digest);
        d.sim.entries.get_mut(&path).unwrap()["custom"] = json!({});
        (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
        d.serve();
    });
    assert_eq!(first, "no: bundle.entry");
}

#[test]
fn an_entry_that_claims_nothing_is_no_release() {
    // What is left of a part when its index was withdrawn.
    let outcomes = both(|d| {
        let path = Sim::name().release_path(&d.bundle.digest);
        let about = &mut d.sim.entries.get_mut(&path).unwrap()["custom"]["bulla"];
        about.as_object_mut().unwrap().remove("claim");
        (d.digest, d.tag) = (Some(d.bundle.digest.clone()), None);
        d.sim.at_version(6, NOW);
        d.serve();
    });
    assert_eq!(outcomes, ["no: bundle.digest.unlisted"; 2]);
}

#[test]
fn another_product_under_the_asked_name() {
    // The organisation's other collection: its own root, its own bundle, all of it sound.
    let outcomes = both(|d| {
        let mut other = Sim::new();
        for h in [&mut other.timestamp, &mut other.snapshot, &mut other.targets] {
            h.extra.collection = "ex.com/org/other".into();
        }
        (other.releases.extra.collection, other.revocations.extra.collection) =
            ("ex.com/org/other".into(), "ex.com/org/other".into());
        d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"other product");
        list(&mut other, &d.bundle, "v1");
        d.state = StateAnswer::Found(other.files());
    });
    assert_eq!(outcomes, ["no: tuf.collection", "no: bundle.tag.moved"]);
    // With the honest state in place the name is simply not listed, or names something else.
    let outcomes = both(|d| {
        d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"other product");
        d.tag = Some("v7");
    });
    assert_eq!(outcomes, ["no: bundle.tag.unlisted"; 2]);
}

#[test]
fn a_role_of_another_collection_under_shared_keys() {
    for role in HEADINGS {
        let outcomes = both(|d| {
            d.sim.at_version(6, NOW);
            role(&mut d.sim).extra.collection = "ex.com/org/other".into();
            d.serve();
        });
        assert_eq!(outcomes, ["no: tuf.collection", "trusted by memory"]);
    }
    // A file of a stock TUF repository does not say whose it is.
    let key = Sim::new().online_key;
    let [first, _] = both(|d| {
        let key = key.again();
        let strip = move |f| resigned(&f, |t| drop(t.as_object_mut().unwrap().remove("x-bulla")), &[&key]);
        d.sim.edits.insert(RoleName::timestamp(), Box::new(strip));
        d.serve();
    });
    assert_eq!(first, "no: tuf.collection");
}

#[test]
fn provenance_that_is_demanded_is_not_skipped() {
    let layout = format!("{}/in-toto-metadata/root.layout", Sim::name());
    let target = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    let demanded = |d: &mut Deployer| {
        d.sim.top.insert(layout.clone(), target.clone());
        d.sim.at_version(6, NOW);
        d.serve();
    };
    assert_eq!(both(demanded), ["undecided: provenance.unsupported"; 2]);
    let retired = |d: &mut Deployer| {
        demanded(d);
        d.sim.top.get_mut(&layout).unwrap()["custom"] = json!({"bulla": {"retired": true}});
        d.serve();
    };
    assert_eq!(both(retired), ["trusted by state"; 2]);
}

#[test]
fn what_cannot_be_looked_at_is_undecided() {
    let answers = [
        (BundleAnswer::Absent, "undecided: ref.absent"),
        (BundleAnswer::Failed("429".into()), "undecided: bundle.resolve"),
        (BundleAnswer::WrongContent("x".into()), "undecided: bundle.digest"),
    ];
    for (answer, code) in answers {
        assert_eq!(both(|d| d.resolved = Some(answer.clone())), [code; 2]);
    }
    assert_eq!(both(|d| d.state = StateAnswer::Unreadable("503".into())), ["undecided: state.unreadable"; 2]);
}
