//! Copies that are refused, and what a source names but does not have.

use bulla::oci::{Descriptor, Packer, media_type};
use bulla::store::copy::{CopyError, CopyRequest, Side, SkipReason};
use bulla::store::layout::OciDir;
use bulla::store::{Failure, Manage, Store};
use serde_json::json;

use super::bundles::{blob, by_digest, image, index, manifest, referrer, rich, scratch, tag};
use super::copies::{is_whole, memory, request, run};
use super::faulty::{Faults, Faulty};

#[tokio::test]
async fn a_source_that_fails_anywhere_is_named_and_nothing_is_tagged() {
    let from = memory("from");
    let all = rich(&from, "source").await;
    let request = CopyRequest { concurrency: 1, ..request("v1", &[&all.state_tag]) };
    let counting = Faulty::new(&from);
    run(&counting, &memory("counting"), &request).await.unwrap();
    for n in 0..counting.log().len() {
        let faulty = Faulty::with(&from, Faults { fail_at: Some(n), ..Faults::default() });
        let to = memory("to");
        let e = run(&faulty, &to, &request).await.unwrap_err();
        assert_eq!(e.side(), Side::Source, "call {n}: {e}");
        assert!(e.to_string().starts_with("source: from.example/app: "), "{e}");
        assert_eq!(to.tags(None).await.unwrap(), vec![], "call {n}");
    }
}

#[tokio::test]
async fn tampered_content_at_the_source_is_refused() {
    let dir = scratch();
    let from = OciDir::create(dir.path()).await.unwrap();
    let all = rich(&from, "tampered").await;
    let layer = bulla::oci::successors(&all.children[0]).unwrap().blobs[1].clone();
    let victims = [layer.digest.clone(), all.children[1].digest().clone(), all.on_referrer.digest().clone()];
    for victim in victims {
        let at = dir.path().join("blobs/sha256").join(victim.hex());
        let good = std::fs::read(&at).unwrap();
        let mut bad = good.clone();
        bad[10] ^= 1;
        for bad in [&bad[..], &good[..good.len() - 1]] {
            std::fs::write(&at, bad).unwrap();
            let to_dir = scratch();
            let (to, on_disk) = (memory("to"), OciDir::create(to_dir.path()).await.unwrap());
            let ends: [&dyn Manage; 2] = [&to, &on_disk];
            for end in ends {
                let source = OciDir::open(dir.path()).await.unwrap();
                let e = run(&source, end, &request("v1", &[&all.state_tag])).await.unwrap_err();
                let CopyError::Store { side: Side::Source, error } = e else { panic!("{e}") };
                assert!(matches!(error.failure, Failure::Content(_)), "{error}");
                assert_eq!(end.tags(None).await.unwrap(), vec![]);
                assert_eq!(end.resolve(&by_digest(&all.root)).await.unwrap(), None);
            }
            assert!(!to_dir.path().join("blobs/sha256").join(victim.hex()).exists());
        }
        std::fs::write(&at, good).unwrap();
    }
    let source = OciDir::open(dir.path()).await.unwrap();
    run(&source, &memory("to"), &request("v1", &[&all.state_tag])).await.unwrap();
}

#[tokio::test]
async fn what_the_source_names_but_does_not_have_is_reported() {
    let (from, to) = (memory("from"), memory("to"));
    let config = blob(&from, "application/vnd.oci.image.config.v1+json", "{}").await;
    let mut elsewhere =
        Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"windows");
    elsewhere.urls = Some(vec!["https://example.com/layer".into()]);
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [elsewhere],
    });
    let bundle = manifest(&from, media_type::OCI_MANIFEST, &doc).await;
    let other = image(&from, "other").await;
    let misplaced = referrer(&from, &other, "a/b", "x").await;
    let gone = Descriptor::of(media_type::OCI_MANIFEST, b"collected as garbage");
    let claims = [misplaced.descriptor(), other.descriptor(), &gone];
    let claims = claims.map(|d| (bundle.digest().clone(), d.clone())).to_vec();
    let source = Faulty::with(&from, Faults { claims, ..Faults::default() });
    let report = run(&source, &to, &CopyRequest::new(by_digest(&bundle))).await.unwrap();
    let subject = bundle.digest().clone();
    let mut expected = vec![
        (elsewhere.digest.clone(), SkipReason::Elsewhere),
        (gone.digest.clone(), SkipReason::ReferrerGone { subject: subject.clone() }),
        (misplaced.digest().clone(), SkipReason::NotAReferrer { subject: subject.clone() }),
        (other.digest().clone(), SkipReason::NotAReferrer { subject }),
    ];
    expected.sort();
    let skipped: Vec<_> = report.skipped.into_iter().map(|s| (s.digest, s.reason)).collect();
    assert_eq!(skipped, expected);
    assert_eq!(to.counts(), (1, 1), "nothing that only claims to hang on it");
    // If the source has the layer, it comes along.
    from.push_blob(&elsewhere, &bulla::store::BytesSource("windows".into())).await.unwrap();
    let report = run(&from, &to, &CopyRequest::new(by_digest(&bundle))).await.unwrap();
    assert_eq!((report.blobs_moved, report.skipped.len()), (1, 0));
}

#[tokio::test]
async fn a_child_that_is_listed_as_a_referrer_is_still_none() {
    // GitLab answers the referrers tag with the index itself: its children then look like referrers.
    let (from, to) = (memory("from"), memory("to"));
    let all = rich(&from, "alias").await;
    let claims = all.children.iter().map(|c| (all.root.digest().clone(), c.descriptor().clone())).collect();
    let source = Faulty::with(&from, Faults { claims, ..Faults::default() });
    let report = run(&source, &to, &request("v1", &[&all.state_tag])).await.unwrap();
    assert_eq!(report.referrers.values().sum::<usize>(), 3);
    is_whole(&to, &all).await;
}

#[tokio::test]
async fn what_is_absent_is_named() {
    let (from, to) = (memory("from"), memory("to"));
    let e = run(&from, &to, &request("v9", &[])).await.unwrap_err();
    assert_eq!(e.to_string(), "source: from.example/app: :v9 is not there");
    // A child that a sparse layout does not have.
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    let all = rich(&layout, "sparse").await;
    std::fs::remove_file(dir.path().join("blobs/sha256").join(all.children[0].digest().hex())).unwrap();
    let e = run(&layout, &to, &request("v1", &[])).await.unwrap_err();
    assert!(
        matches!(&e, CopyError::Absent { what, .. } if what.contains(all.children[0].digest().hex())),
        "{e}"
    );
}

#[tokio::test]
async fn two_sizes_of_one_blob_are_a_contradiction() {
    let dir = scratch();
    let from = OciDir::create(dir.path()).await.unwrap();
    let layer = blob(&from, "a/b", "layer").await;
    let mut lie = layer.clone();
    lie.size = 7;
    let one = Packer::new("x/y").layer(layer).build();
    let two = Packer::new("x/y").layer(lie).build();
    blob(&from, media_type::OCI_EMPTY, "{}").await;
    from.push_manifest(&one, None).await.unwrap();
    from.push_manifest(&two, None).await.unwrap();
    let both = index(&from, &[&one, &two]).await;
    from.flush().await.unwrap();
    let e = run(&from, &memory("to"), &CopyRequest::new(by_digest(&both))).await.unwrap_err();
    assert!(matches!(e, CopyError::Contradiction { sizes: [5, 7], .. }), "{e}");
}

#[tokio::test]
async fn sizes_that_cannot_be_are_refused_before_anything_moves() {
    let dir = scratch();
    let from = OciDir::create(dir.path()).await.unwrap();
    let huge = |text: &str| Descriptor { size: u64::MAX, ..Descriptor::of("a/b", text.as_bytes()) };
    let lie = Packer::new("x/y").layer(huge("one")).layer(huge("two")).build();
    from.push_manifest(&lie, Some(&tag("v1"))).await.unwrap();
    let e = run(&from, &memory("to"), &request("v1", &[])).await.unwrap_err();
    assert!(matches!(e, CopyError::TooLarge { .. }), "{e}");
}

#[tokio::test]
async fn nesting_without_end_is_refused() {
    let from = memory("from");
    let mut top = image(&from, "deep").await;
    for _ in 0..70 {
        top = index(&from, &[&top]).await;
    }
    let e = run(&from, &memory("to"), &CopyRequest::new(by_digest(&top))).await.unwrap_err();
    assert!(matches!(&e, CopyError::TooLarge { limit, .. } if limit == "64 levels"), "{e}");
}
