//! Sources that must agree: roles, registries and collections, roles by keys of one's own, and what a collection demands itself.

mod read;

use serde_json::json;

use super::*;
use crate::oci::Reference;
use crate::tuf::sim::{SimRole, resigned, signers};
use crate::tuf::{AGREEMENT, CollectionName, Delegation, PathPattern, Paths, delegation};

const RELEASES: &str = "targets/releases";
const SECURITY: &str = "targets/security";

fn key(seed: u8) -> SimKey {
    SimKey::new(seed)
}

/// What bundles are named by.
fn bundle_paths() -> Paths {
    let patterns = Sim::name().release_patterns();
    Paths::Patterns(patterns.iter().map(|p| PathPattern::parse(p).unwrap()).collect())
}

fn delegated_to(role: &str, by: &SimKey, terminating: bool) -> Delegation {
    delegation(role.parse().unwrap(), &signers(&[by], 1), bundle_paths(), terminating)
}

/// A further role of top-level targets, after the usual two; it lists what `listed` says under v1.
fn add_role(sim: &mut Sim, role: &str, seed: u8, listed: &[&Descriptor]) {
    let mut delegations = sim.delegations();
    delegations.push(delegated_to(role, &key(seed), true));
    sim.delegated = Some(delegations);
    sim.more.push(SimRole {
        name: role.parse().unwrap(),
        key: key(seed),
        heading: heading(5, NOW, 90 * DAY),
        entries: entries_of(listed),
        delegations: vec![],
    });
}

fn entries_of(listed: &[&Descriptor]) -> serde_json::Map<String, serde_json::Value> {
    let mut other = Sim::new();
    listed.iter().for_each(|bundle| list(&mut other, bundle, "v1"));
    other.entries
}

/// What top-level targets demands of every bundle.
fn demand(sim: &mut Sim, min: u32, roles: &[&str]) {
    let (signer, demanded) = (sim.targets_key.again(), json!({"min": min, "roles": roles}));
    let edit = move |file| resigned(&file, |part| part[AGREEMENT] = demanded.clone(), &[&signer]);
    sim.edits.insert(RoleName::targets(), Box::new(edit));
}

/// A deployer with one anchor of several sources, each with what is served to it.
struct Panel {
    d: Deployer,
    specs: Vec<SourceSpec>,
    min: Option<u32>,
    states: Vec<StateAnswer>,
    memories: Vec<Option<Remembered>>,
}

impl Panel {
    /// Every source sees the honest state.
    fn new(d: Deployer, specs: Vec<SourceSpec>, min: u32) -> Self {
        let states = specs.iter().map(|_| StateAnswer::Found(d.sim.files())).collect();
        let memories = specs.iter().map(|_| None).collect();
        Self { d, specs, min: Some(min), states, memories }
    }

    fn verify(&mut self) -> Report {
        // Also what is refused when it is read must not count for more than it is.
        let mut anchor = self.d.anchor();
        (anchor.sources, anchor.min) = (self.specs.clone(), self.min);
        let question = Question {
            reference: "mirror.example/app:v1".into(),
            rule: Rule::of_tuf(
                "mirror.example/app:v1".parse().unwrap(),
                vec![anchor],
                self.d.statement.clone(),
            ),
            digest: None,
            rescinders: vec![],
            acknowledged: self.d.acknowledged.clone(),
            now: self.d.now,
            clock_override: false,
            notes: vec![],
            files: Default::default(),
            limits: Limits::default(),
        };
        let mut memories = self.memories.iter().map(|m| m.iter().cloned().collect());
        let recall = |_: &Source| Ok::<_, std::convert::Infallible>(memories.next().unwrap());
        let mut verification = Verification::start(question, recall).unwrap();
        for _ in 0..40 {
            match verification.step() {
                Step::Need(wants) => {
                    let answer = |want: Want| match want {
                        Want::State { source } => Answer::State(self.states[source].clone()),
                        other => self.d.answer(other, false),
                    };
                    verification.feed(wants.into_iter().map(answer).collect());
                }
                Step::Save { source, remembered } => {
                    self.memories[source] = Some(remembered);
                    verification.saved();
                }
                Step::Done(report) => return *report,
            }
        }
        panic!("the verification does not end");
    }

    fn says(&mut self) -> String {
        let report = self.verify();
        match report.verdict() {
            Verdict::Trusted => "trusted".into(),
            Verdict::NotTrusted => format!("no: {}", report.because().unwrap().code),
            Verdict::NotChecked => "not checked".into(),
            Verdict::Undecided => format!("undecided: {}", report.because().unwrap().code),
        }
    }
}

fn role(name: &str) -> SourceSpec {
    SourceSpec { role: Some(name.parse().unwrap()), ..SourceSpec::default() }
}

fn at(place: &str) -> SourceSpec {
    SourceSpec { at: Some(place.parse::<Reference>().unwrap()), ..SourceSpec::default() }
}

fn by_keys(name: &str, seeds: &[u8], threshold: u32) -> SourceSpec {
    let keys = OwnKeys::new(threshold, seeds.iter().map(|s| key(*s).public())).unwrap();
    SourceSpec { keys: Some(keys), ..role(name) }
}

/// Dev and security, as roles of one collection; security lists what `security` says.
fn dev_and_security(security: impl Fn(&Deployer) -> Vec<Descriptor>) -> Panel {
    let mut d = Deployer::at_five();
    let listed = security(&d);
    add_role(&mut d.sim, SECURITY, 21, &listed.iter().collect::<Vec<_>>());
    Panel::new(d, vec![role(RELEASES), role(SECURITY)], 2)
}

#[test]
fn dev_and_security_must_agree() {
    let mut both = dev_and_security(|d| vec![d.bundle.clone()]);
    let report = both.verify();
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
    let by: Vec<_> = report.anchors[0].sources.iter().map(|s| s.by.as_ref().unwrap().to_string()).collect();
    assert_eq!(by, [RELEASES, SECURITY]);
    assert!(report.anchors[0].sources.iter().all(|s| has_code(s, Code::TufTimestamp)));
    // Security lists nothing, or another digest under the tag.
    assert_eq!(dev_and_security(|_| vec![]).says(), "no: agreement.short");
    let another = |_: &Deployer| vec![Descriptor::of(media_type::OCI_MANIFEST, b"another")];
    assert_eq!(dev_and_security(another).says(), "no: agreement.short");
}

fn has_code(report: &AnchorReport, code: Code) -> bool {
    report.checks.iter().any(|c| c.code == code && c.outcome == Outcome::Pass)
}

#[test]
fn a_role_behind_the_terminating_ones_has_no_say_unless_it_is_named() {
    let mut d = Deployer::at_five();
    let other = Descriptor::of(media_type::OCI_MANIFEST, b"security only");
    add_role(&mut d.sim, SECURITY, 21, &[&other]);
    d.serve();
    d.trusted();
    // It lists what releases does not: whoever goes the usual way does not hear of it.
    d.bundle = other.clone();
    d.tag = None;
    d.digest = Some(other.digest.clone());
    assert_eq!(d.refused(), "bundle.digest.unlisted");
}

#[test]
fn a_named_role_speaks_only_for_what_its_delegations_allow() {
    let mut d = Deployer::at_five();
    let bundle = d.bundle.clone();
    add_role(&mut d.sim, SECURITY, 21, &[&bundle]);
    let mut delegations = d.sim.delegations();
    delegations.last_mut().unwrap().paths =
        Paths::Patterns(vec![PathPattern::parse("ex.com/org/app:other-*").unwrap()]);
    d.sim.delegated = Some(delegations);
    assert_eq!(Panel::new(d, vec![role(SECURITY)], 1).says(), "no: agreement.short");
    // Nobody delegates to it, although its file is pinned.
    let mut d = Deployer::at_five();
    let bundle = d.bundle.clone();
    add_role(&mut d.sim, SECURITY, 21, &[&bundle]);
    d.sim.delegated = None;
    assert_eq!(Panel::new(d, vec![role(SECURITY)], 1).says(), "no: agreement.short");
    // Signed by others than the delegation says.
    let mut d = Deployer::at_five();
    let bundle = d.bundle.clone();
    add_role(&mut d.sim, SECURITY, 21, &[&bundle]);
    d.sim.more[0].key = key(99);
    let mut panel = Panel::new(d, vec![role(SECURITY)], 1);
    let report = panel.verify();
    assert!(
        report.anchors[0].sources[0].checks.iter().any(|c| c.code == Code::TufDelegationThreshold),
        "{report:#?}"
    );
}

#[test]
fn a_role_below_a_delegate_is_found_by_its_name() {
    let mut d = Deployer::at_five();
    let bundle = d.bundle.clone();
    add_role(&mut d.sim, "targets/teams", 21, &[]);
    d.sim.more[0].delegations = vec![delegated_to("targets/teams/qa", &key(22), false)];
    d.sim.more.push(SimRole {
        name: "targets/teams/qa".parse().unwrap(),
        key: key(22),
        heading: heading(5, NOW, 90 * DAY),
        entries: entries_of(&[&bundle]),
        delegations: vec![],
    });
    let mut panel = Panel::new(d, vec![role("targets/teams/qa"), role(RELEASES)], 2);
    assert_eq!(panel.says(), "trusted");
    // Asked as its delegator it is the same voice.
    panel.specs = vec![role("targets/teams/qa"), role("targets/teams")];
    assert_eq!(panel.says(), "no: agreement.short");
}

#[test]
fn one_role_asked_in_two_ways_is_one_voice() {
    let d = Deployer::at_five();
    let mut panel = Panel::new(d, vec![SourceSpec::default(), role(RELEASES)], 2);
    let report = panel.verify();
    assert_eq!(report.verdict(), Verdict::NotTrusted, "{report:#?}");
    assert!(report.because().unwrap().detail.contains("counts once"), "{report:#?}");
    assert!(report.anchors[0].sources.iter().all(|s| s.verdict() == Verdict::Trusted));
}

/// Three registries with copies of one state.
fn registries() -> Panel {
    let specs = ["a.example/app", "b.example/app", "c.example/app"].map(at).to_vec();
    Panel::new(Deployer::at_five(), specs, 2)
}

#[test]
fn two_of_three_registries_with_one_lying() {
    assert_eq!(registries().says(), "trusted");
    let mut old = Deployer::new();
    old.sim.entries.clear();
    let lies = [
        StateAnswer::Found(old.sim.files()),
        StateAnswer::Absent,
        StateAnswer::Invalid("junk".into()),
        StateAnswer::Unreadable("403".into()),
    ];
    for liar in 0..3 {
        for lie in &lies {
            let mut panel = registries();
            panel.states[liar] = lie.clone();
            assert_eq!(panel.says(), "trusted", "{liar} {lie:?}");
            // Remembered meanwhile: it makes no difference to the others.
            assert_eq!(panel.says(), "trusted", "again {liar} {lie:?}");
        }
    }
    // The liar wants another bundle trusted, which the online key's thief could have signed: two do not list it.
    let mut panel = registries();
    let evil = Descriptor::of(media_type::OCI_MANIFEST, b"evil");
    let mut thief = Deployer::at_five();
    list(&mut thief.sim, &evil, "v1");
    panel.states[1] = StateAnswer::Found(thief.sim.files());
    panel.d.bundle = evil;
    assert_eq!(panel.says(), "no: agreement.short");
}

#[test]
fn who_could_not_be_looked_at_does_not_agree() {
    let unreadable = || StateAnswer::Unreadable("503".into());
    let old = || {
        let mut d = Deployer::new();
        d.sim.entries.clear();
        StateAnswer::Found(d.sim.files())
    };
    let outcome = |states: Vec<StateAnswer>| {
        let mut panel = registries();
        panel.states = states;
        panel.says()
    };
    let good = || StateAnswer::Found(Deployer::at_five().sim.files());
    assert_eq!(outcome(vec![good(), unreadable(), good()]), "trusted");
    assert_eq!(outcome(vec![good(), unreadable(), unreadable()]), "undecided: agreement.open");
    assert_eq!(outcome(vec![good(), unreadable(), old()]), "undecided: agreement.open");
    // It could not change the verdict any more.
    assert_eq!(outcome(vec![old(), unreadable(), old()]), "no: agreement.short");
}

#[test]
fn nothing_stands_in_for_a_place_that_was_named() {
    let mut panel = registries();
    panel.d.seals = vec![Ok(panel.d.sim.files())];
    assert_eq!(panel.says(), "trusted");
    panel.states = vec![StateAnswer::Absent, StateAnswer::Absent, panel.states[0].clone()];
    assert_eq!(panel.says(), "no: agreement.short");
}

#[test]
fn two_collections_must_agree() {
    let d = Deployer::at_five();
    let name: CollectionName = "vendor.example/app".parse().unwrap();
    let mut vendor = super::organisations::member("vendor.example/app", 31, Some(&d.bundle));
    let root = Some(vendor.roots[0].clone().into());
    let other = SourceSpec { collection: Some(name), root, ..SourceSpec::default() };
    let mut panel = Panel::new(d, vec![SourceSpec::default(), other], 2);
    panel.states[1] = StateAnswer::Found(vendor.files());
    assert_eq!(panel.says(), "trusted");
    vendor.at_version(6, NOW);
    vendor.entries.clear();
    panel.states[1] = StateAnswer::Found(vendor.files());
    assert_eq!(panel.says(), "no: agreement.short");
    // One collection's state in the other's place.
    panel.states[1] = panel.states[0].clone();
    assert_eq!(panel.says(), "no: agreement.short");
}

#[test]
fn a_revocation_by_any_source_refuses() {
    let mut panel = registries();
    let entry = json!({
        "id": "r", "kind": "bundle", "subject": panel.d.bundle.digest.to_string(), "at": NOW.to_string()
    });
    let mut revoked = Deployer::at_five();
    revoked.sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [entry]})).unwrap();
    panel.states[2] = StateAnswer::Found(revoked.sim.files());
    assert_eq!(panel.says(), "no: revocation.bundle");
}

/// A collection whose security role the deployer knows the key of.
fn tap_13() -> Panel {
    let mut d = Deployer::at_five();
    let bundle = d.bundle.clone();
    add_role(&mut d.sim, SECURITY, 21, &[&bundle]);
    Panel::new(d, vec![by_keys(SECURITY, &[21], 1)], 1)
}

#[test]
fn a_hostile_top_level_targets_has_no_say_over_keys_of_ones_own() {
    assert_eq!(tap_13().says(), "trusted");
    type Change = fn(&mut Sim);
    let hostile: [(&str, Change); 6] = [
        ("delegates security to itself", |sim| {
            let mut delegations = sim.delegations();
            delegations.last_mut().unwrap().keys = delegated_to(SECURITY, &key(66), true).keys;
            sim.delegated = Some(delegations);
        }),
        ("delegates nothing", |sim| sim.delegated = Some(vec![])),
        ("revokes the bundle", |sim| {
            let digest = Descriptor::of(media_type::OCI_MANIFEST, b"bundle").digest.to_string();
            let entry = json!({"id": "r", "kind": "bundle", "subject": digest, "at": NOW.to_string()});
            sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [entry]})).unwrap();
        }),
        ("demands what nobody can meet", |sim| demand(sim, 1, &["targets/nobody"])),
        ("lets itself expire", |sim| sim.targets = heading(5, NOW.plus(-2 * DAY), DAY)),
        ("is no metadata at all", |sim| {
            sim.edits.insert(RoleName::targets(), Box::new(|_| bytes::Bytes::from_static(b"{}")));
        }),
    ];
    for (what, attack) in hostile {
        let mut panel = tap_13();
        attack(&mut panel.d.sim);
        panel.states = vec![StateAnswer::Found(panel.d.sim.files())];
        assert_eq!(panel.says(), "trusted", "{what}");
        assert_eq!(panel.says(), "trusted", "again: {what}");
    }
    // Nor can it have trusted what security does not list.
    let mut panel = tap_13();
    let evil = Descriptor::of(media_type::OCI_MANIFEST, b"evil");
    panel.d.sim.top = entries_of(&[&evil]);
    list(&mut panel.d.sim, &evil, "v1");
    panel.d.bundle = evil;
    panel.states = vec![StateAnswer::Found(panel.d.sim.files())];
    assert_eq!(panel.says(), "no: agreement.short");
}

#[test]
fn a_remembered_revocation_outlives_states_that_came_without_it() {
    let entry = |id: &str, what: &Descriptor| {
        let subject = what.digest.to_string();
        json!({"id": id, "kind": "bundle", "subject": subject, "at": NOW.to_string()})
    };
    type Change = fn(&mut Files);
    let stripped: [(&str, Change); 2] = [
        ("the role's file", |files| files.retain(|name| *name.role() != RoleName::revocations())),
        ("the list", Files::drop_targets),
    ];
    for (what, strip) in stripped {
        let mut panel = tap_13();
        let bundle = panel.d.bundle.clone();
        let listed = entry("r", &bundle);
        panel.d.sim.list = serde_json::to_vec(&json!({"schemaVersion": 1, "entries": [listed]})).unwrap();
        let (specs, min) = (vec![SourceSpec::default(), by_keys(SECURITY, &[21], 1)], 1);
        let mut panel = Panel::new(panel.d, specs, min);
        assert_eq!(panel.says(), "no: revocation.bundle");
        assert!(panel.memories[0].is_some());
        // The next state revokes one more, and is served without what says so.
        let more = entry("s", &Descriptor::of(media_type::OCI_MANIFEST, b"another"));
        let both = json!({"schemaVersion": 1, "entries": [listed, more]});
        panel.d.sim.list = serde_json::to_vec(&both).unwrap();
        panel.d.sim.at_version(6, NOW);
        let mut files = panel.d.sim.files();
        strip(&mut files);
        panel.states = vec![StateAnswer::Found(files); 2];
        for _ in 0..3 {
            // The sources are of one chain: there is one memory of it, the newest that any of them saved.
            let at = |m: &Remembered| {
                let timestamp = m.files.get(&FileName::timestamp()).unwrap();
                serde_json::from_slice::<serde_json::Value>(timestamp).unwrap()["signed"]["version"].as_u64()
            };
            let newest = panel.memories.iter().flatten().max_by_key(|m| at(m)).cloned();
            panel.memories.fill(newest);
            let report = panel.verify();
            assert_eq!(report.verdict(), Verdict::NotTrusted, "{what}: {report:#?}");
            assert_eq!(report.because().unwrap().code, Code::RevocationBundle, "{what}");
        }
        // What lacks nothing is remembered.
        panel.states = vec![StateAnswer::Found(panel.d.sim.files()); 2];
        panel.verify();
        assert!(
            panel.memories.iter().all(|m| m
                .as_ref()
                .unwrap()
                .files
                .target(&Sim::name().revocations_path())
                .is_some())
        );
    }
}

#[test]
fn one_place_is_one_voice_however_it_is_asked() {
    // The bundle lies at a.example/app, and so does the state that the source without a place reads.
    let mut panel = Panel::new(Deployer::at_five(), vec![SourceSpec::default(), at("a.example/app")], 2);
    assert_eq!(panel.says(), "no: agreement.short");
    panel.specs = vec![at("a.example/app:v1"), at("a.example/app")];
    assert_eq!(panel.says(), "no: agreement.short");
    // Ports that are there without being written, and numbers that are addresses.
    for (one, other) in [
        ("a.example/app", "a.example:443/app"),
        ("a.example:80/app", "A.example/app"),
        ("[::1]:5000/app", "[0:0:0:0:0:0:0:1]:5000/app"),
        ("127.0.0.1:5000/app", "127.1:5000/app"),
    ] {
        let mut panel = Panel::new(Deployer::at_five(), vec![at(one), at(other)], 2);
        assert_eq!(panel.says(), "no: agreement.short", "{one} {other}");
    }
    // Two roots of one chain; a place can hold the newer one back from the first.
    let mut d = Deployer::at_five();
    let old = d.sim.files();
    d.sim.rotate(|_| ());
    let newer = SourceSpec { root: Some(d.sim.roots[1].clone().into()), ..at("a.example/app") };
    let mut panel = Panel::new(d, vec![at("a.example/app"), newer], 2);
    panel.states[0] = StateAnswer::Found(old);
    let report = panel.verify();
    assert_eq!(report.because().unwrap().code, Code::AgreementShort, "{report:#?}");
    assert!(report.anchors[0].sources.iter().all(|s| s.verdict() == Verdict::Trusted), "{report:#?}");
    // Two places are two voices; one without a place adds none to them.
    let specs = vec![at("a.example/app"), at("b.example/app"), SourceSpec::default()];
    assert_eq!(Panel::new(Deployer::at_five(), specs.clone(), 2).says(), "trusted");
    assert_eq!(Panel::new(Deployer::at_five(), specs, 3).says(), "no: agreement.short");
}

#[test]
fn the_snapshot_protects_a_role_by_keys_of_ones_own() {
    // Another file of the role, well signed, in the place of the one that is pinned.
    let mut panel = tap_13();
    let mut other = tap_13();
    other.d.sim.more[0].entries.clear();
    let (mut files, swapped) = (panel.d.sim.files(), other.d.sim.files());
    let name = file(&SECURITY.parse().unwrap(), 5);
    files.put(name.clone(), swapped.get(&name).unwrap().clone());
    panel.states = vec![StateAnswer::Found(files)];
    assert_eq!(panel.says(), "no: agreement.short");
    let code = |panel: &mut Panel| {
        let report = panel.verify();
        let source = &report.anchors[0].sources[0];
        source.checks.iter().find(|c| c.is_fail()).unwrap().code.as_str()
    };
    assert_eq!(code(&mut panel), "tuf.delegation.hash");
    // Rollback below what was seen.
    let mut panel = tap_13();
    assert_eq!(panel.says(), "trusted");
    let mut old = tap_13();
    old.d.sim.at_version(4, NOW);
    panel.states = vec![StateAnswer::Found(old.d.sim.files())];
    assert_eq!(code(&mut panel), "tuf.timestamp.rollback");
    // Expired, not listed by the snapshot, or by other keys.
    let mut panel = tap_13();
    panel.d.sim.more[0].heading = heading(5, NOW.plus(-2 * DAY), DAY);
    panel.states = vec![StateAnswer::Found(panel.d.sim.files())];
    assert_eq!(code(&mut panel), "tuf.targets.expired");
    let mut panel = tap_13();
    panel.d.sim.unlisted.insert(SECURITY.parse().unwrap());
    panel.states = vec![StateAnswer::Found(panel.d.sim.files())];
    assert_eq!(code(&mut panel), "tuf.delegation.missing");
    let mut panel = tap_13();
    panel.specs = vec![by_keys(SECURITY, &[21, 22], 2)];
    assert_eq!(code(&mut panel), "tuf.delegation.threshold");
}

#[test]
fn what_the_owner_demands_holds_for_who_has_only_the_root() {
    let deployer = |listed: bool, min: u32| {
        let mut d = Deployer::at_five();
        let bundle = d.bundle.clone();
        add_role(&mut d.sim, SECURITY, 21, &[&bundle][..usize::from(listed)]);
        demand(&mut d.sim, min, &[RELEASES, SECURITY]);
        d.serve();
        d
    };
    let report = deployer(true, 2).trusted();
    assert!(has(&report, Code::AgreementOwner, &Outcome::Pass));
    assert_eq!(report.anchors[0].sources.len(), 2);
    assert_eq!(deployer(false, 2).refused(), "agreement.owner.short");
    deployer(false, 1).trusted();
    // Not understood is not nothing.
    let mut d = deployer(true, 2);
    demand(&mut d.sim, 3, &[RELEASES, SECURITY]);
    d.serve();
    assert_eq!(d.outcome(), "undecided: agreement.owner.unreadable");
}

#[test]
fn an_anchor_adds_to_what_the_owner_demands_and_lowers_nothing() {
    let panel = |specs: Vec<SourceSpec>, min: u32| {
        let mut d = Deployer::at_five();
        let bundle = d.bundle.clone();
        add_role(&mut d.sim, SECURITY, 21, &[]);
        add_role(&mut d.sim, "targets/legal", 22, &[&bundle]);
        demand(&mut d.sim, 2, &[RELEASES, SECURITY]);
        Panel::new(d, specs, min)
    };
    // Whatever the anchor asks, security is missing.
    assert_eq!(panel(vec![role(RELEASES)], 1).says(), "no: agreement.short");
    assert_eq!(panel(vec![SourceSpec::default(), role("targets/legal")], 1).says(), "no: agreement.short");
    assert_eq!(panel(vec![role(RELEASES), role("targets/legal")], 2).says(), "no: agreement.short");
    // And where the owner's roles agree, the anchor's must as well.
    let more = |legal: bool| {
        let mut d = Deployer::at_five();
        let bundle = d.bundle.clone();
        add_role(&mut d.sim, SECURITY, 21, &[&bundle]);
        add_role(&mut d.sim, "targets/legal", 22, &[&bundle][..usize::from(legal)]);
        demand(&mut d.sim, 2, &[RELEASES, SECURITY]);
        Panel::new(d, vec![role(RELEASES), role("targets/legal")], 2)
    };
    assert_eq!(more(true).says(), "trusted");
    assert_eq!(more(false).says(), "no: agreement.short");
}
