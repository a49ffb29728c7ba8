//! Organisations: one root for all members, never beyond what is theirs to give.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::trust::signatures::tests::{Pair, by, end, line};
use crate::tuf::CollectionName;

const ORGANISATION: &str = "ex.com/org";

/// An organisation, its members' states, and a deployer who trusts its root alone.
struct World {
    organisation: Sim,
    /// What it lists: collection, scopes, root.
    listed: Vec<(CollectionName, Vec<&'static str>, bytes::Bytes)>,
    members: BTreeMap<String, Sim>,
    scope: &'static str,
    bundle: Descriptor,
    memories: BTreeMap<String, Vec<Remembered>>,
    /// Where it says that the members' states lie.
    places: Vec<crate::oci::Reference>,
    /// What the organisation serves instead of its state.
    instead: Option<StateAnswer>,
    /// Files that nobody serves.
    hidden: Vec<FileName>,
    /// Whose signature suffices, so that TUF need not vouch.
    signer: Option<Pair>,
}

fn named(name: &str) -> CollectionName {
    name.parse().unwrap()
}

impl World {
    /// Thirty members, each of which released the same bundle as v1 under its own keys.
    fn new() -> Self {
        let bundle = Descriptor::of(media_type::OCI_MANIFEST, b"bundle");
        let mut organisation = Sim::of(named(ORGANISATION));
        organisation.at_version(5, NOW);
        let mut world = Self {
            organisation,
            listed: vec![],
            members: BTreeMap::new(),
            scope: "mirror.example/org/*",
            bundle,
            memories: BTreeMap::new(),
            instead: None,
            hidden: vec![],
            places: vec![],
            signer: None,
        };
        (0..30).for_each(|i| world.join(&format!("{ORGANISATION}/app{i}"), vec![], 40 + i));
        world
    }

    fn join(&mut self, name: &str, scope: Vec<&'static str>, seed: u8) {
        let sim = member(name, seed, Some(&self.bundle));
        self.listed.push((named(name), scope, sim.roots[0].clone()));
        self.members.insert(name.to_owned(), sim);
    }

    fn organisation_files(&self) -> Files {
        let (organisation, mut files) = (named(ORGANISATION), BTreeMap::new());
        let mut top = serde_json::Map::new();
        for (name, scope, root) in &self.listed {
            let scope = scope.iter().map(|s| s.parse().unwrap()).collect();
            let custom = Member::new(name.clone(), scope, self.places.clone(), NOW).custom();
            let path = Member::path(&organisation, name);
            let hashes = json!({"sha256": Digest::sha256(root).hex()});
            top.insert(path.clone(), json!({"length": root.len(), "hashes": hashes, "custom": custom}));
            files.insert(path, root.clone());
        }
        let sim = Sim { top, ..Sim::of(organisation) };
        let sim = Sim {
            timestamp: self.organisation.timestamp.clone(),
            snapshot: self.organisation.snapshot.clone(),
            targets: self.organisation.targets.clone(),
            releases: self.organisation.releases.clone(),
            revocations: self.organisation.revocations.clone(),
            list: self.organisation.list.clone(),
            ..sim
        };
        let mut out = sim.files();
        files.into_iter().for_each(|(path, bytes)| out.put_target(path, bytes));
        out
    }

    fn anchor(&self) -> Anchor {
        let root = self.organisation.roots[0].clone();
        Anchor::tuf(self.scope.parse().unwrap(), named(ORGANISATION), root, vec![]).of_organisation()
    }

    fn remembered(&self, source: &Source) -> Vec<Remembered> {
        self.memories.get(&source.collection.to_string()).cloned().unwrap_or_default()
    }

    fn verify(&mut self, reference: &str) -> Report {
        let mut trust = TrustFile::default();
        trust.anchors.push(self.anchor());
        let subject: Subject = reference.parse().unwrap();
        let anchors: Vec<Anchor> = trust.covering(&subject).cloned().collect();
        let mut rule = Rule::of_tuf(subject, anchors, None);
        if let Some(pair) = &self.signer {
            let anchor = pair.anchor();
            rule.required.signatures = vec![line(1, std::slice::from_ref(&anchor))];
            (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
            rule.signers.push(anchor);
        }
        let question = Question {
            reference: reference.into(),
            rule,
            digest: None,
            rescinders: vec![],
            now: NOW,
            clock_override: false,
            notes: vec![],
            acknowledged: Default::default(),
            files: Default::default(),
            limits: Limits::default(),
        };
        let recall = |source: &Source| Ok::<_, std::convert::Infallible>(self.remembered(source));
        let mut verification = Verification::start(question, recall).unwrap();
        for _ in 0..20 {
            match verification.step() {
                Step::Need(wants) => {
                    let answers = wants.into_iter().map(|want| self.answer(want, &verification)).collect();
                    verification.feed(answers);
                }
                Step::Save { source, remembered } => {
                    let source = verification.source(source).unwrap().clone();
                    let chains = self.memories.entry(source.collection.to_string()).or_default();
                    let shared = |r: &Remembered| {
                        let roots = |f: &Files| -> Vec<_> {
                            f.metadata()
                                .iter()
                                .filter(|(n, _)| *n.role() == RoleName::root())
                                .map(|(_, b)| b.clone())
                                .collect()
                        };
                        roots(&r.files).iter().any(|b| roots(&remembered.files).contains(b))
                    };
                    chains.retain(|r| !shared(r));
                    chains.push(remembered);
                    verification.saved();
                }
                Step::Done(report) => return *report,
            }
        }
        panic!("the verification does not end");
    }

    fn answer(&self, want: Want, verification: &Verification) -> Answer {
        match want {
            Want::Cnab { .. } | Want::Attestations { .. } => panic!("neither here"),
            Want::Bundle => Answer::Bundle(BundleAnswer::Found {
                bundle: self.bundle.clone(),
                parts: vec![],
                unreadable: None,
                cnab: None,
            }),
            Want::State { source } => {
                let name = verification.source(source).unwrap().collection.to_string();
                Answer::State(match self.members.get(&name) {
                    Some(sim) => {
                        let mut files = sim.files();
                        files.retain(|name| !self.hidden.contains(name));
                        StateAnswer::Found(files)
                    }
                    None if name == ORGANISATION => {
                        self.instead.clone().unwrap_or_else(|| StateAnswer::Found(self.organisation_files()))
                    }
                    None => StateAnswer::Absent,
                })
            }
            Want::Memory { source } => Answer::Memory(self.remembered(verification.source(source).unwrap())),
            Want::Signatures { digest, .. } => {
                let signed = self.signer.iter().map(|pair| pair.sign(&digest)).collect();
                Answer::Signatures(end(signed))
            }
            Want::Seals { .. } => Answer::Seals(SealsAnswer::Read { seals: vec![], more: false }),
        }
    }

    fn says(&mut self, reference: &str) -> String {
        let report = self.verify(reference);
        match report.verdict() {
            Verdict::Trusted => "trusted".into(),
            Verdict::NotTrusted => format!("no: {}", report.because().unwrap().code),
            Verdict::NotChecked => "not checked".into(),
            Verdict::Undecided => format!("undecided: {}", report.because().unwrap().code),
        }
    }
}

/// A collection with keys of its own, that released `bundle` as v1.
pub(super) fn member(name: &str, seed: u8, bundle: Option<&Descriptor>) -> Sim {
    let mut sim = Sim::of(named(name));
    sim.root_keys = vec![SimKey::new(seed)];
    sim.root_threshold = 1;
    (sim.targets_key, sim.releases_key) = (SimKey::new(seed + 70), SimKey::new(seed + 140));
    sim.roots.clear();
    sim.roots.push(sim.next_root());
    sim.at_version(5, NOW);
    if let Some(bundle) = bundle {
        let mut other = Sim::new();
        list(&mut other, bundle, "v1");
        let renamed = |path: &str| path.replacen(&Sim::name().to_string(), name, 1);
        sim.entries = other.entries.into_iter().map(|(path, t)| (renamed(&path), t)).collect();
    }
    sim
}

#[test]
fn thirty_collections_behind_one_anchor() {
    let mut world = World::new();
    for i in 0..30 {
        let report = world.verify(&format!("mirror.example/org/app{i}:v1"));
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
        assert_eq!(report.anchors[0].collection, named(&format!("{ORGANISATION}/app{i}")));
        assert_eq!(report.anchors[0].sources[0].collection, named(ORGANISATION));
    }
    assert_eq!(world.memories.len(), 31);
    assert_eq!(world.says("mirror.example/org/app30:v1"), "no: organisation.none");
    assert_eq!(world.says("mirror.example/organisation/app1:v1"), "no: anchor.none");
    // One member's release is not another's.
    world.members.get_mut("ex.com/org/app3").unwrap().entries.clear();
    world.members.get_mut("ex.com/org/app3").unwrap().at_version(6, NOW);
    assert_eq!(world.says("mirror.example/org/app3:v1"), "no: bundle.tag.unlisted");
}

#[test]
fn an_organisation_that_oversteps_is_refused_by_name() {
    for scope in ["*", "ex.com", "ex.com/*", "ex.com/org/*", "other.example/org/*", "ex.com/organisation/x"] {
        let mut world = World::new();
        world.join("ex.com/org/wide", vec!["ex.com/org/wide", scope], 100);
        assert_eq!(world.says("mirror.example/org/wide:v1"), "no: organisation.overstep", "{scope}");
        // The others are not taken in by it, nor hurt.
        let report = world.verify("mirror.example/org/app1:v1");
        assert_eq!(report.verdict(), Verdict::Trusted, "{scope}");
        assert_eq!(report.anchors[0].collection, named("ex.com/org/app1"));
    }
    // A member called by a name outside may speak inside, where the organisation says so; and nowhere else.
    let mut world = World::new();
    world.join("partner.example/tool", vec!["ex.com/org/tool"], 100);
    assert_eq!(world.says("mirror.example/org/tool:v1"), "trusted");
    assert_eq!(world.says("partner.example/tool:v1"), "no: anchor.none");
}

#[test]
fn a_member_speaks_for_single_names_and_two_for_one_name_are_refused() {
    let mut world = World::new();
    // A collection's entries do not say which repository they are about: under a prefix its bundles would pass for each other.
    world.join("ex.com/org/team", vec!["ex.com/org/team/*"], 100);
    assert_eq!(world.says("mirror.example/org/team/web:v1"), "no: organisation.overstep");
    world.join("ex.com/org/team/own", vec![], 101);
    world.organisation.at_version(6, NOW);
    let report = world.verify("mirror.example/org/team/own:v1");
    let whose = (report.verdict(), report.anchors[0].collection.to_string());
    assert_eq!(whose, (Verdict::Trusted, "ex.com/org/team/own".into()));
    world.join("ex.com/org/rival", vec!["ex.com/org/team/own"], 102);
    world.organisation.at_version(7, NOW);
    assert_eq!(world.says("mirror.example/org/team/own:v1"), "no: organisation.ambiguous");
}

#[test]
fn a_member_whose_places_are_many_or_local_is_not_looked_for() {
    let places =
        |texts: &[&str]| -> Vec<crate::oci::Reference> { texts.iter().map(|t| t.parse().unwrap()).collect() };
    let nine: Vec<String> = (0..9).map(|i| format!("r{i}.example/x")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    for (at, code) in [
        (places(&["a.example/x", "b.example/x"]), "trusted"),
        (places(&["oci:/etc"]), "undecided: organisation.entry"),
        (places(&["a.example/x:v1"]), "undecided: organisation.entry"),
        (places(&nine), "undecided: organisation.entry"),
    ] {
        let mut world = World::new();
        world.places = at;
        assert_eq!(world.says("mirror.example/org/app1:v1"), code, "{:?}", world.places);
    }
}

#[test]
fn a_member_whose_root_rotates_is_followed_and_not_rolled_back() {
    let mut world = World::new();
    let name = "ex.com/org/app7";
    assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
    let before = world.members.get_mut(name).unwrap();
    let old = before.files();
    before.rotate(|sim| sim.root_keys = vec![SimKey::new(200)]);
    before.at_version(6, NOW);
    // The organisation still lists the first root.
    assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
    // And now the second, which is of the same chain: what is remembered stays the floor.
    let second = world.members[name].roots[1].clone();
    world.listed.iter_mut().filter(|l| l.0 == named(name)).for_each(|l| l.2 = second.clone());
    world.organisation.at_version(6, NOW);
    assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
    assert_eq!(world.memories[name].len(), 1);
    let report = {
        let honest = std::mem::replace(world.members.get_mut(name).unwrap(), member(name, 47, None));
        let stolen = world.members.get_mut(name).unwrap();
        stolen.at_version(5, NOW);
        let report = world.verify("mirror.example/org/app7:v1");
        world.members.insert(name.into(), honest);
        report
    };
    assert_eq!(report.verdict(), Verdict::NotTrusted, "{report:#?}");
    drop(old);
    // A new root of a new chain, as after a stolen root threshold: the organisation says so, and the old chain is out.
    let fresh = member(name, 110, Some(&world.bundle));
    world.listed.iter_mut().filter(|l| l.0 == named(name)).for_each(|l| l.2 = fresh.roots[0].clone());
    world.organisation.at_version(7, NOW);
    assert_eq!(world.says("mirror.example/org/app7:v1").split_once(':').unwrap().0, "no");
    world.members.insert(name.into(), fresh);
    assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
}

#[test]
fn a_listed_root_that_was_not_seen_yet_brings_no_rollback() {
    type Change = fn(&mut Sim);
    let root_keys: Change = |sim| sim.root_keys = vec![SimKey::new(200), SimKey::new(201)];
    let online_key: Change = |sim| sim.online_key = SimKey::new(202);
    let name = "ex.com/org/app7";
    for (rotations, hidden, expected) in [
        (vec![root_keys], None, "no: tuf.timestamp.rollback"),
        (vec![root_keys, root_keys], None, "no: tuf.timestamp.rollback"),
        (vec![root_keys, root_keys, root_keys], None, "no: tuf.timestamp.rollback"),
        // Whoever keeps back the roots between makes no other chain of it while the online keys are the same.
        (vec![root_keys, root_keys], Some(2), "no: tuf.timestamp.rollback"),
        (vec![root_keys, online_key], None, "trusted"),
    ] {
        let mut world = World::new();
        let member = world.members.get_mut(name).unwrap();
        member.at_version(9, NOW);
        assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
        let member = world.members.get_mut(name).unwrap();
        for rotate in &rotations {
            member.rotate(rotate);
        }
        member.at_version(8, NOW);
        let last = member.roots.last().unwrap().clone();
        world.listed.iter_mut().filter(|l| l.0 == named(name)).for_each(|l| l.2 = last.clone());
        world.organisation.at_version(6, NOW);
        world.hidden.extend(hidden.map(|version| file(&RoleName::root(), version)));
        let what = format!("{} rotations, {hidden:?}", rotations.len());
        assert_eq!(world.says("mirror.example/org/app7:v1"), expected, "{what}");
        if hidden.is_none() {
            assert_eq!(world.memories[name].len(), 1, "{what}");
        }
        world.members.get_mut(name).unwrap().at_version(10, NOW);
        assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted", "{what}");
    }
}

#[test]
fn a_listed_root_beside_the_remembered_one_is_named() {
    let name = "ex.com/org/app7";
    let mut world = World::new();
    let mut other = member(name, 47, Some(&world.bundle));
    world.members.get_mut(name).unwrap().rotate(|sim| sim.root_keys = vec![SimKey::new(200)]);
    assert_eq!(world.says("mirror.example/org/app7:v1"), "trusted");
    // Signed by the keys that were rotated out, and the organisation's word all the same.
    other.rotate(|sim| sim.root_keys = vec![SimKey::new(201)]);
    let listed = other.roots[1].clone();
    world.members.insert(name.into(), other);
    world.listed.iter_mut().filter(|l| l.0 == named(name)).for_each(|l| l.2 = listed.clone());
    world.organisation.at_version(6, NOW);
    let report = world.verify("mirror.example/org/app7:v1");
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
    let said = report.anchors[0].checks.iter().find(|c| c.code == Code::MemoryInvalid);
    assert_eq!(said.map(|c| &c.outcome), Some(&Outcome::Note), "{report:#?}");
}

#[test]
fn a_member_that_was_removed_is_out_and_stays_out() {
    let mut world = World::new();
    assert_eq!(world.says("mirror.example/org/app9:v1"), "trusted");
    let before = StateAnswer::Found(world.organisation_files());
    world.listed.retain(|l| l.0 != named("ex.com/org/app9"));
    world.organisation.at_version(6, NOW);
    assert_eq!(world.says("mirror.example/org/app9:v1"), "no: organisation.none");
    world.instead = Some(before);
    assert_eq!(world.says("mirror.example/org/app9:v1"), "no: tuf.timestamp.rollback");
}

#[test]
fn an_organisation_that_cannot_be_looked_at_undecides() {
    let mut world = World::new();
    world.instead = Some(StateAnswer::Unreadable("503".into()));
    assert_eq!(world.says("mirror.example/org/app1:v1"), "undecided: state.unreadable");
    world.instead = Some(StateAnswer::Absent);
    assert_eq!(world.says("mirror.example/org/app1:v1"), "no: state.absent");
    // A root that is listed and not there, or changed.
    let path = Member::path(&named(ORGANISATION), &named("ex.com/org/app1"));
    let mut files = world.organisation_files();
    files.put_target(path, b"{}".to_vec().into());
    world.instead = Some(StateAnswer::Found(files));
    assert_eq!(world.says("mirror.example/org/app1:v1"), "no: organisation.root");
}

/// The organisation's own list has none of its members' tombstones.
#[test]
fn where_tuf_is_waived_a_members_state_that_is_withheld_leaves_the_answer_open() {
    let mut world = World::new();
    world.signer = Some(Pair::new());
    assert_eq!(world.says("mirror.example/org/app1:v1"), "trusted");
    let mut world = World::new();
    world.signer = Some(Pair::new());
    world.members.remove("ex.com/org/app1");
    assert_eq!(world.says("mirror.example/org/app1:v1"), "undecided: revocation.open");
    // Nobody speaks for it, and so nobody takes it back.
    assert_eq!(world.says("mirror.example/org/app99:v1"), "trusted");
}

#[test]
fn an_organisation_vouches_for_no_bundle_itself() {
    // It lists the bundle under its own name, and itself as a member.
    let mut world = World::new();
    world.listed.push((named(ORGANISATION), vec!["ex.com/org/self"], world.organisation.roots[0].clone()));
    let report = world.verify("mirror.example/org/self:v1");
    assert_eq!(report.verdict(), Verdict::NotTrusted, "{report:#?}");
}

#[test]
fn an_anchor_for_the_repository_itself_goes_before_the_organisation() {
    let world = World::new();
    let own: Anchor = Anchor::tuf(
        "mirror.example/org/app1".parse().unwrap(),
        named("ex.com/org/app1"),
        world.members["ex.com/org/app1"].roots[0].clone(),
        vec![],
    );
    let mut longer = world.anchor();
    longer.scope = "mirror.example/org/team/*".parse().unwrap();
    let mut trust =
        TrustFile { anchors: vec![world.anchor(), own.clone(), longer.clone()], ..TrustFile::default() };
    assert!(TrustFile::parse(&trust.to_bytes()).is_ok());
    let covering = |reference: &str| -> Vec<Scope> {
        trust.covering(&reference.parse().unwrap()).map(|a| a.scope.clone()).collect()
    };
    assert_eq!(covering("mirror.example/org/app1:v1"), std::slice::from_ref(&own.scope));
    assert_eq!(covering("mirror.example/org/app2:v1"), [world.anchor().scope]);
    assert_eq!(covering("mirror.example/org/team/x:v1"), [longer.scope.clone()]);
    trust.anchors[0].organisation = false;
    assert!(matches!(TrustFile::parse(&trust.to_bytes()), Err(TrustError::AnchorScope(_))));
}
