//! Organisations at a mirror: one anchor for all members, and what an organisation, a member or a mirror cannot get out of it.

use std::collections::BTreeMap;

use bulla::client::state::{self, Kind};
use bulla::client::stores::Stores;
use bulla::client::verify::{Looked, Verifier};
use bulla::oci::{Content, Digest, Reference};
use bulla::trust::{Anchor, Member, Report, Subject, TrustFile, Verdict};
use bulla::tuf::{CollectionName, Files};
use serde_json::json;

use super::scene::{image, list};
use super::sim::{NOW, Sim, SimKey};
use crate::registry::{Config, Registry};
use crate::servers::{config, place};

pub(super) const ORGANISATION: &str = "ex.com/org";
pub(super) const MEMBERS: usize = 30;

/// A mirror with an organisation and its members below `org`, and a deployer who has one anchor.
pub(super) struct Fleet {
    pub(super) mirror: Registry,
    pub(super) organisation: Sim,
    /// Name, scopes, root: what the organisation lists.
    listed: BTreeMap<String, (Vec<String>, bytes::Bytes)>,
    members: BTreeMap<String, Sim>,
    pub(super) home: tempfile::TempDir,
}

pub(super) fn named(name: &str) -> CollectionName {
    name.parse().unwrap()
}

/// The `i`th member's name.
pub(super) fn app(i: usize) -> String {
    format!("{ORGANISATION}/app{i}")
}

/// A collection with keys of its own that released `bundle` as v1.
pub(super) fn collection(name: &str, seed: u8, bundle: &Content) -> Sim {
    let mut sim = Sim::of(named(name));
    sim.root_keys = vec![SimKey::new(seed)];
    sim.root_threshold = 1;
    (sim.targets_key, sim.releases_key) = (SimKey::new(seed + 70), SimKey::new(seed + 140));
    sim.roots.clear();
    sim.roots.push(sim.next_root());
    sim.at_version(5, NOW);
    let mut other = Sim::new();
    list(&mut other, bundle, "v1");
    let renamed = |path: &str| path.replacen(&Sim::name().to_string(), name, 1);
    sim.entries = other.entries.into_iter().map(|(path, t)| (renamed(&path), t)).collect();
    sim
}

impl Fleet {
    pub(super) async fn new() -> Self {
        let mut organisation = Sim::of(named(ORGANISATION));
        organisation.at_version(5, NOW);
        let mut fleet = Self {
            mirror: Registry::start(Config::default()).await,
            organisation,
            listed: BTreeMap::new(),
            members: BTreeMap::new(),
            home: tempfile::tempdir().unwrap(),
        };
        for i in 0..MEMBERS {
            let bundle = fleet.release(&app(i));
            let sim = collection(&app(i), 40 + i as u8, &bundle);
            fleet.listed.insert(app(i), (vec![], sim.roots[0].clone()));
            fleet.serve(&repo(&app(i)), &named(&app(i)), &sim.files());
            fleet.members.insert(app(i), sim);
        }
        fleet.serve_organisation();
        fleet
    }

    /// A bundle of its own in a member's repository, as v1.
    pub(super) fn release(&self, name: &str) -> Content {
        let bundle = image(name);
        self.mirror.put_blob(&repo(name), bytes::Bytes::from(name.to_owned()));
        place(&self.mirror, &repo(name), Some("v1"), &bundle);
        bundle
    }

    pub(super) fn serve(&self, repository: &str, name: &CollectionName, files: &Files) {
        let packed = state::pack(Kind::State, files, None);
        for blob in &packed.blobs {
            self.mirror.put_blob(repository, blob.bytes().clone());
        }
        place(&self.mirror, repository, Some(name.state_tag().as_str()), &packed.manifest);
    }

    /// What the organisation signs now.
    pub(super) fn organisation_files(&mut self) -> Files {
        let organisation = named(ORGANISATION);
        self.organisation.top.clear();
        for (name, (scope, root)) in &self.listed {
            let scope = scope.iter().map(|s| s.parse().unwrap()).collect();
            let custom = Member::new(named(name), scope, vec![], NOW).custom();
            let hashes = json!({"sha256": Digest::sha256(root).hex()});
            let entry = json!({"length": root.len(), "hashes": hashes, "custom": custom});
            self.organisation.top.insert(Member::path(&organisation, &named(name)), entry);
        }
        let mut files = self.organisation.files();
        for (name, (_, root)) in &self.listed {
            files.put_target(Member::path(&organisation, &named(name)), root.clone());
        }
        files
    }

    fn serve_organisation(&mut self) -> Files {
        let files = self.organisation_files();
        self.serve("org", &named(ORGANISATION), &files);
        files
    }

    pub(super) fn trust(&self, scope: &str) -> TrustFile {
        let root = self.organisation.roots[0].clone();
        let anchor = Anchor::tuf(scope.parse().unwrap(), named(ORGANISATION), root, vec![]);
        let mut trust = TrustFile::default();
        trust.anchors.push(anchor.of_organisation());
        trust
    }

    pub(super) fn at_mirror(&self) -> TrustFile {
        self.trust(&format!("{}/org/*", self.mirror.host()))
    }

    pub(super) fn reference(&self, name: &str) -> Reference {
        format!("{}/{}:v1", self.mirror.host(), repo(name)).parse().unwrap()
    }

    /// Verify as one command does, all of them.
    pub(super) async fn verify_all(
        &self,
        trust: &TrustFile,
        all: &[(Reference, Option<Subject>)],
    ) -> Vec<Report> {
        let (stores, looked) = (Stores::new(config()), Looked::default());
        let memory = self.home.path().join("memory");
        let verifier = Verifier {
            places: &stores,
            trust,
            memory: &memory,
            now: NOW,
            clock_override: false,
            looked: &looked,
        };
        let mut reports = Vec::new();
        for (reference, subject) in all {
            reports.push(verifier.verify(reference, subject.as_ref()).await.unwrap());
        }
        reports
    }

    async fn says(&self, name: &str) -> String {
        let reports = self.verify_all(&self.at_mirror(), &[(self.reference(name), None)]).await;
        let because = || reports[0].because().unwrap().code.as_str();
        match reports[0].verdict() {
            Verdict::Trusted => "trusted".into(),
            Verdict::NotTrusted => format!("no: {}", because()),
            Verdict::NotChecked => "not checked".into(),
            Verdict::Undecided => format!("undecided: {}", because()),
        }
    }
}

/// Where a member lies at the mirror.
pub(super) fn repo(name: &str) -> String {
    name.replacen("ex.com/", "", 1)
}

#[tokio::test]
async fn thirty_collections_behind_one_anchor_at_a_mirror() {
    let fleet = Fleet::new().await;
    let all: Vec<_> = (0..MEMBERS).map(|i| (fleet.reference(&app(i)), None)).collect();
    fleet.mirror.clear();
    let reports = fleet.verify_all(&fleet.at_mirror(), &all).await;
    for (i, report) in reports.iter().enumerate() {
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
        assert_eq!(report.anchors[0].collection, named(&app(i)));
        assert_eq!(report.anchors[0].sources[0].collection, named(ORGANISATION));
    }
    // The organisation's state once; of each member the bundle and the state.
    let tag = named(ORGANISATION).state_tag();
    assert_eq!(fleet.mirror.count("GET", &format!("*/manifests/{tag}")), 1, "{}", fleet.mirror.log());
    assert_eq!(fleet.mirror.count("*", "*/manifests/*"), 2 * MEMBERS + 1, "{}", fleet.mirror.log());
    assert_eq!(fleet.mirror.requests().len(), 2 * MEMBERS + 1, "{}", fleet.mirror.log());
    // Who is no member, and what lies beside the prefix.
    assert_eq!(fleet.says(&app(MEMBERS)).await, "undecided: ref.absent");
    fleet.release(&app(MEMBERS));
    assert_eq!(fleet.says(&app(MEMBERS)).await, "no: organisation.none");
    assert_eq!(fleet.says("ex.com/organisation/app1").await, "no: anchor.none");
}

#[tokio::test]
async fn a_member_rotates_its_root_and_nobody_asks_the_organisation() {
    let mut fleet = Fleet::new().await;
    assert_eq!(fleet.says(&app(7)).await, "trusted");
    let member = fleet.members.get_mut(&app(7)).unwrap();
    member.rotate(|sim| sim.root_keys = vec![SimKey::new(200)]);
    member.at_version(6, NOW);
    let files = member.files();
    fleet.serve(&repo(&app(7)), &named(&app(7)), &files);
    assert_eq!(fleet.says(&app(7)).await, "trusted");
}

#[tokio::test]
async fn an_organisation_and_its_members_do_not_overstep() {
    let mut fleet = Fleet::new().await;
    assert_eq!(fleet.says(&app(1)).await, "trusted");
    // A member's bundle under another member's name, and with it the member's state.
    place(&fleet.mirror, &repo(&app(1)), Some("v1"), &image(&app(2)));
    assert_eq!(fleet.says(&app(1)).await, "no: bundle.tag.moved");
    let other = fleet.members[&app(2)].files();
    fleet.serve(&repo(&app(1)), &named(&app(1)), &other);
    // That is no state of the member's, so what is remembered of it speaks.
    assert_eq!(fleet.says(&app(1)).await, "no: bundle.tag.moved");

    // The organisation gives what is not its own, or more than a name: by one word or by two.
    let more = ["ex.com/*", "ex.com/org/*", "other.example/app", "ex.com", "ex.com/org/team/web"];
    for (i, scope) in more.iter().enumerate() {
        let name = app(3 + i);
        fleet.listed.get_mut(&name).unwrap().0 = vec![name.clone(), (*scope).to_owned()];
        fleet.organisation.at_version(6 + i as u64, NOW);
        fleet.serve_organisation();
        assert_eq!(fleet.says(&name).await, "no: organisation.overstep", "{scope}");
        assert_eq!(fleet.says(&app(20)).await, "trusted", "{scope}");
    }

    // A root that is another collection's, and one of other keys under the member's name.
    let foreign = fleet.members[&app(9)].roots[0].clone();
    fleet.listed.get_mut(&app(8)).unwrap().1 = foreign;
    let thief = collection(&app(10), 110, &image("evil")).roots[0].clone();
    fleet.listed.get_mut(&app(10)).unwrap().1 = thief;
    fleet.organisation.at_version(20, NOW);
    fleet.serve_organisation();
    assert_eq!(fleet.says(&app(8)).await, "no: organisation.root");
    let said = fleet.says(&app(10)).await;
    assert!(said.starts_with("no: "), "{said}");
    // Nobody else is hurt.
    assert_eq!(fleet.says(&app(20)).await, "trusted");
}

#[tokio::test]
async fn a_member_that_was_taken_out_stays_out_wherever_the_old_list_is_shown() {
    let mut fleet = Fleet::new().await;
    let before = fleet.organisation_files();
    assert_eq!(fleet.says(&app(9)).await, "trusted");
    fleet.listed.remove(&app(9));
    fleet.organisation.at_version(6, NOW);
    fleet.serve_organisation();
    // Whoever may push into one member's repository does not choose which list is seen there.
    fleet.serve(&repo(&app(9)), &named(ORGANISATION), &before);
    assert_eq!(fleet.says(&app(9)).await, "no: organisation.none");
    // And the mirror as a whole cannot go back.
    fleet.serve("org", &named(ORGANISATION), &before);
    assert_eq!(fleet.says(&app(9)).await, "no: tuf.timestamp.rollback");
    // Where it lies is not the same as that it is not there.
    let path = format!("/v2/org/manifests/{}", named(ORGANISATION).state_tag());
    fleet.mirror.fault(crate::registry::Fault::on("GET", &path).status(403));
    assert_eq!(fleet.says(&app(1)).await, "undecided: state.unreadable");
}
