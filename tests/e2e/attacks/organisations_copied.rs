//! Organisations go along with the bundles of their members: onto sticks and to other mirrors, whatever lies at their places.

use std::path::Path;

use bulla::client::copy::{Copied, Copier, Job, Outcome, Settings};
use bulla::client::state::{self, Kind};
use bulla::client::stores::Stores;
use bulla::oci::Reference;
use bulla::store::copy::{Filter, Unobserved};
use bulla::trust::{Anchor, TrustFile, Verdict};
use bulla::tuf::Files;

use super::organisations::{Fleet, MEMBERS, ORGANISATION, app, collection, named};
use super::scene::image;
use super::sim::NOW;
use crate::registry::{Config, Fault, Registry};
use crate::servers::{config, place};

fn settings<'a>(stores: &'a Stores, trust: &'a TrustFile, memory: &'a Path, dry_run: bool) -> Settings<'a> {
    Settings {
        places: stores,
        trust,
        memory,
        now: NOW,
        clock_override: false,
        named: None,
        verify: false,
        dry_run,
        repair: false,
        filter: Filter::all(),
        concurrency: 4,
        observer: &Unobserved,
    }
}

impl Fleet {
    /// Copy as one command does: `jobs` one after the other, then what waits for the last of them.
    async fn copy(&self, trust: &TrustFile, jobs: &[(Reference, String)], dry_run: bool) -> Vec<Copied> {
        let (stores, memory) = (Stores::new(config()), self.home.path().join("copies"));
        let mut copier = Copier::new(settings(&stores, trust, &memory, dry_run));
        let jobs: Vec<Job> =
            jobs.iter().map(|(from, to)| Job::one(from, &to.parse().unwrap()).unwrap()).collect();
        copier.expect(&jobs);
        let mut all = Vec::new();
        for job in &jobs {
            match copier.copy(job).await.unwrap() {
                Outcome::Copied(copied) => all.push((job, *copied)),
                Outcome::Refused(report) => panic!("{report:#?}"),
            }
        }
        for settled in copier.settle(true).await {
            let of =
                |(job, _): &&mut (&Job, Copied)| (&settled.from, &settled.to) == (&job.from(), &job.to());
            let (_, copied) = all.iter_mut().find(of).unwrap();
            settled.add_to(copied).unwrap();
        }
        all.into_iter().map(|(_, copied)| copied).collect()
    }

    /// One member's bundle.
    async fn copy_app(&self, trust: &TrustFile, i: usize, to: &str, dry_run: bool) -> Copied {
        self.copy(trust, &[(self.reference(&app(i)), to.to_owned())], dry_run).await.remove(0)
    }

    /// An anchor of the organisation that names one more place.
    fn at_mirror_and(&self, place: &str) -> TrustFile {
        let mut trust = self.at_mirror();
        trust.anchors[0].state_at.push(format!("{}/{place}", self.mirror.host()).parse().unwrap());
        trust
    }
}

/// Everything on one stick, by who trusts the organisation alone; then without any network.
#[tokio::test]
async fn copies_bring_the_organisation_along() {
    let fleet = Fleet::new().await;
    let trust = fleet.at_mirror();
    let stick = fleet.home.path().join("stick");
    let copy = async |i: usize, to: &str, dry_run: bool| {
        let copied = fleet.copy_app(&trust, i, to, dry_run).await;
        assert!(copied.no_organisation.is_empty());
        copied
    };
    let onto = |i: usize| format!("oci:{}:app{i}", stick.display());
    let planned = copy(0, &onto(0), true).await;
    let tag = named(ORGANISATION).state_tag();
    assert!(planned.report.tags.iter().any(|t| t.tag == tag), "{:?}", planned.report.tags);
    assert!(!stick.exists());
    for i in 0..MEMBERS {
        copy(i, &onto(i), false).await;
    }
    let all: Vec<_> = (0..MEMBERS)
        .map(|i| (onto(i).parse().unwrap(), Some(format!("{}:v1", app(i)).parse().unwrap())))
        .collect();
    fleet.mirror.clear();
    let reports = fleet.verify_all(&fleet.trust(&format!("{ORGANISATION}/*")), &all).await;
    for report in &reports {
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
    }
    assert_eq!(fleet.mirror.requests(), []);

    // To another mirror: the organisation's state goes where its readers look first.
    let far = Registry::start(Config::default()).await;
    let copied = copy(1, &format!("{}/copies/app1", far.host()), false).await;
    assert!(copied.report.tags.iter().any(|t| t.tag == tag));
    assert_eq!(far.count("PUT", &format!("/v2/copies/manifests/{tag}")), 1, "{}", far.log());
    assert_eq!(far.count("PUT", &format!("/v2/copies/app1/manifests/{tag}")), 0);
    let there: Reference = format!("{}/copies/app1:v1", far.host()).parse().unwrap();
    let trust_there = fleet.trust(&format!("{}/copies/*", far.host()));
    let report = &fleet.verify_all(&trust_there, &[(there, None)]).await[0];
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
    // Where that may not be written, beside the bundle.
    let other = Registry::start(Config::default()).await;
    for method in ["POST", "PUT"] {
        other.fault(Fault::on(method, "/v2/copies/blobs/*").status(403));
        other.fault(Fault::on(method, "/v2/copies/manifests/*").status(403));
    }
    copy(1, &format!("{}/copies/app1", other.host()), false).await;
    assert_eq!(other.count("PUT", &format!("/v2/copies/app1/manifests/{tag}")), 1, "{}", other.log());
    let there: Reference = format!("{}/copies/app1:v1", other.host()).parse().unwrap();
    let report =
        &fleet.verify_all(&fleet.trust(&format!("{}/copies/*", other.host())), &[(there, None)]).await[0];
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
}

/// Whoever may push where the organisation's state lies does not choose what mirrors get.
#[tokio::test]
async fn the_newest_state_that_verifies_goes_along() {
    let mut fleet = Fleet::new().await;
    let tag = named(ORGANISATION).state_tag();
    let older = fleet.organisation_files();
    fleet.organisation.at_version(6, NOW);
    let newer = fleet.organisation_files();
    let mut forged = fleet.organisation_files();
    forged.retain(|name| *name != bulla::tuf::FileName::timestamp());
    let arrives = async |fleet: &Fleet, first: Option<&Files>, second: Option<&Files>, served: &Files| {
        for (repository, files) in [("org", first), ("backup/org", second)] {
            match files {
                Some(files) => fleet.serve(repository, &named(ORGANISATION), files),
                None => place(&fleet.mirror, repository, Some(tag.as_str()), &image("junk")),
            }
        }
        let far = Registry::start(Config::default()).await;
        let to = format!("{}/copies/app1", far.host());
        let copied = fleet.copy_app(&fleet.at_mirror_and("backup/org"), 1, &to, false).await;
        assert!(copied.no_organisation.is_empty(), "{:?}", copied.no_organisation);
        let there = copied.report.tags.iter().find(|t| t.tag == tag).unwrap();
        assert_eq!(there.digest, *state::pack(Kind::State, served, None).manifest.digest());
    };
    arrives(&fleet, Some(&newer), Some(&older), &newer).await;
    arrives(&fleet, Some(&older), Some(&newer), &newer).await;
    arrives(&fleet, Some(&forged), Some(&older), &older).await;
    arrives(&fleet, None, Some(&older), &older).await;
    arrives(&fleet, Some(&older), None, &older).await;

    // Junk alone: nothing is set at the far end, and it is said what lay there.
    place(&fleet.mirror, "org", Some(tag.as_str()), &image("junk"));
    place(&fleet.mirror, "backup/org", Some(tag.as_str()), &image("junk"));
    let far = Registry::start(Config::default()).await;
    let to = format!("{}/copies/app1", far.host());
    let copied = fleet.copy_app(&fleet.at_mirror_and("backup/org"), 1, &to, false).await;
    assert_eq!(copied.no_organisation.len(), 1);
    assert_eq!(far.count("PUT", &format!("*/manifests/{tag}")), 0, "{}", far.log());
    // A place that cannot be asked is not one where nothing lies.
    fleet.mirror.fault(Fault::on("GET", &format!("/v2/org/manifests/{tag}")).status(403));
    let far = Registry::start(Config::default()).await;
    let job = Job::one(&fleet.reference(&app(1)), &format!("{}/copies/app1", far.host()).parse().unwrap());
    let (stores, memory) = (Stores::new(config()), fleet.home.path().join("copies"));
    let trust = fleet.at_mirror();
    let mut copier = Copier::new(settings(&stores, &trust, &memory, false));
    let Outcome::Copied(mut copied) = copier.copy(&job.unwrap()).await.unwrap() else { panic!() };
    let settled = copier.settle(true).await;
    assert!(settled.into_iter().any(|s| s.add_to(&mut copied).is_err()));
}

/// Where tags are immutable a state lies at a tag of its version.
#[tokio::test]
async fn a_state_at_a_tag_of_its_version_goes_along() {
    let mut fleet = Fleet::new().await;
    let packed = state::pack(Kind::State, &fleet.organisation_files(), None);
    for blob in &packed.blobs {
        fleet.mirror.put_blob("fixed/org", blob.bytes().clone());
    }
    let tag = format!("{}.5", named(ORGANISATION).state_tag());
    place(&fleet.mirror, "fixed/org", Some(&tag), &packed.manifest);
    let junk = named(ORGANISATION).state_tag();
    place(&fleet.mirror, "org", Some(junk.as_str()), &image("junk"));
    let stick = format!("oci:{}:app1", fleet.home.path().join("stick").display());
    let copied = fleet.copy_app(&fleet.at_mirror_and("fixed/org"), 1, &stick, false).await;
    assert!(copied.no_organisation.is_empty());
    assert!(copied.report.tags.iter().any(|t| t.tag.as_str() == tag), "{:?}", copied.report.tags);
}

/// Several states wait between the same two places: none takes another one's place.
#[tokio::test]
async fn states_that_wait_between_two_places_all_come() {
    let fleet = Fleet::new().await;
    // A second organisation of the same prefix, whose state lies where the first one's does.
    let second = collection("ex.com/other", 100, &image("other"));
    fleet.serve("org", &named("ex.com/other"), &second.files());
    let mut trust = fleet.at_mirror();
    let scope = trust.anchors[0].scope.clone();
    let anchor = Anchor::tuf(scope, named("ex.com/other"), second.roots[0].clone(), vec![]);
    trust.anchors.push(anchor.of_organisation());
    let far = Registry::start(Config::default()).await;
    let copied = fleet.copy_app(&trust, 1, &format!("{}/copies/app1", far.host()), false).await;
    for name in [ORGANISATION, "ex.com/other"] {
        let tag = named(name).state_tag();
        assert!(copied.report.tags.iter().any(|t| t.tag == tag), "{name}: {:?}", copied.report.tags);
        assert_eq!(far.count("PUT", &format!("/v2/copies/manifests/{tag}")), 1, "{name}: {}", far.log());
    }

    // Bundles of a collection in the organisation's own repository, around a member's.
    let tools = collection("ex.com/tools", 110, &image("tool"));
    fleet.mirror.put_blob("org", bytes::Bytes::from("tool"));
    for tag in ["v1", "v2"] {
        place(&fleet.mirror, "org", Some(tag), &image("tool"));
    }
    fleet.serve("org", &named("ex.com/tools"), &tools.files());
    let far = Registry::start(Config::default()).await;
    let at = |tag: &str| -> Reference { format!("{}/org:{tag}", fleet.mirror.host()).parse().unwrap() };
    let to = |rest: &str| format!("{}/copies{rest}", far.host());
    let jobs = [(at("v1"), to(":v1")), (fleet.reference(&app(1)), to("/app1:v1")), (at("v2"), to(":v2"))];
    fleet.copy(&fleet.at_mirror(), &jobs, false).await;
    for name in [ORGANISATION, "ex.com/tools"] {
        let tag = named(name).state_tag();
        assert_eq!(far.count("PUT", &format!("/v2/copies/manifests/{tag}")), 1, "{name}: {}", far.log());
    }
}
