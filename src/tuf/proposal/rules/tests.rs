use proptest::prelude::*;
use serde_json::json;

use crate::tuf::grant::{Grant, GrantError, Terms, Vetting};
use crate::tuf::proposal::tests::{base, patterns};
use crate::tuf::proposal::{About, Base, Edit, EditError, Place, Proposal, RoleAt};
use crate::tuf::sim::{COLLECTION, DAY, NOW, Sim, SimKey, SimRole, heading, signers};
use crate::tuf::{Agreement, CollectionName, PathPattern, Paths, RoleName, delegation};

const DEV: &str = "targets/releases/dev";

fn role(name: &str) -> RoleName {
    name.parse().unwrap()
}

fn name() -> CollectionName {
    Sim::name()
}

fn about() -> About {
    About { description: String::new(), by: String::new(), at: NOW.plus(DAY) }
}

fn wanted(name_: &str, seed: u8, scope: &str) -> Grant {
    Grant {
        role: role(name_),
        signers: signers(&[&SimKey::new(seed)], 1),
        paths: name().scope(scope).unwrap(),
        terminating: false,
        terms: Terms { at: NOW, lifetime: 90 * 86_400, delegates: false, vetting: None },
    }
}

fn granted(grant: Grant) -> Edit {
    let (by, _) = grant.role.as_str().rsplit_once('/').unwrap();
    Edit::grant(role(by), grant)
}

/// Releases delegates to dev (with the right to pass it on, or without) and to rc; beside it stands security.
fn world(delegates: bool) -> Base {
    let mut sim = Sim::new();
    let terms = Terms { at: NOW, lifetime: 90 * 86_400, delegates, vetting: None };
    let one = |name: &str, seed: u8, scope: &str| {
        let mut d = delegation(
            role(name),
            &signers(&[&SimKey::new(seed)], 1),
            Paths::Patterns(name_scope(scope)),
            false,
        );
        d.terms = Some(terms.clone());
        d
    };
    let more = |name: &str, key: SimKey, delegations| SimRole {
        name: role(name),
        key,
        heading: heading(1, NOW, 90 * DAY),
        entries: Default::default(),
        delegations,
    };
    let mut top = sim.delegations();
    top.push(one("targets/security", 21, COLLECTION));
    sim.delegated = Some(top);
    let under = vec![one(DEV, 22, "dev-*"), one("targets/releases/rc", 23, "rc-*")];
    sim.more = vec![
        more("targets/security", SimKey::new(21), vec![]),
        more("targets/releases", sim.releases_key.again(), under),
        more(DEV, SimKey::new(22), vec![]),
    ];
    base(&sim).listing([role("targets/releases/old")])
}

fn name_scope(scope: &str) -> Vec<PathPattern> {
    name().scope(scope).unwrap()
}

fn refused(base: &Base, edits: &[Edit]) -> GrantError {
    match Proposal::new(base, edits, about()) {
        Err(EditError::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

fn taken(base: &Base, edits: &[Edit]) -> Proposal {
    Proposal::new(base, edits, about()).unwrap()
}

#[test]
fn siblings_speak_for_different_things() {
    let base = world(false);
    let x = "targets/releases/x";
    taken(&base, &[granted(wanted(x, 31, "x-*")), granted(wanted("targets/releases/y", 32, "y-*"))]);
    for scope in ["*-1", "dev-1", "*", COLLECTION] {
        let fault = refused(&base, &[granted(wanted(x, 31, scope))]);
        assert!(matches!(fault, GrantError::Overlap { .. }), "{scope}: {fault}");
    }
    let both = [granted(wanted(x, 31, "x-*")), granted(wanted("targets/releases/y", 32, "*-1"))];
    assert!(matches!(refused(&base, &both), GrantError::Overlap { .. }));
    let foreign = Grant { paths: vec![PathPattern::parse("other.com/x:*").unwrap()], ..wanted(x, 31, "y") };
    assert!(matches!(refused(&base, &[granted(foreign)]), GrantError::NotOurs { .. }));
    assert!(matches!(refused(&base, &[granted(wanted(x, 4, "y"))]), GrantError::OwnKey { .. }));
    let nothing = Grant { paths: vec![], ..wanted(x, 31, "y") };
    assert_eq!(refused(&base, &[granted(nothing)]), GrantError::Nothing);
    let moved = Edit::grant(RoleName::releases(), wanted("targets/x", 31, "y"));
    assert!(matches!(refused(&base, &[moved]), GrantError::Misplaced { .. }));
    let spent = "targets/releases/old";
    assert_eq!(refused(&base, &[granted(wanted(spent, 31, "y"))]), GrantError::Taken(role(spent)));
    // Neither a wider scope nor another order nor a key goes around it.
    let by = RoleName::releases;
    let wider = |scope: &str| Edit::Scope {
        by: by(),
        role: role(DEV),
        paths: Some(Paths::Patterns(name_scope(scope))),
        terminating: None,
    };
    assert!(matches!(refused(&base, &[wider("*")]), GrantError::Overlap { .. }));
    taken(&base, &[wider("d-*")]);
    let own = Edit::AddKey { role: role(DEV), key: SimKey::new(4).public() };
    assert!(matches!(refused(&base, &[own]), GrantError::OwnKey { .. }));
    let theirs = Edit::AddKey { role: by(), key: SimKey::new(22).public() };
    assert!(matches!(refused(&base, &[theirs]), GrantError::OwnKey { .. }));
    let prefixes = Edit::Delegate {
        by: by(),
        role: role(x),
        signers: signers(&[&SimKey::new(31)], 1),
        paths: Paths::HashPrefixes(vec!["ab".into()]),
        terminating: false,
        place: Place::Last,
        note: None,
    };
    assert!(matches!(refused(&base, &[prefixes]), GrantError::NotOurs { .. }));
}

#[test]
fn what_is_taken_back_takes_its_keys_along_and_nothing_else() {
    let base = world(false);
    let back = |by: &str, name: &str| Edit::Undelegate { by: role(by), role: role(name) };
    let p = taken(&base, &[back("targets/releases", DEV)]);
    let all = &p.drafts()[&RoleName::releases()].signed()["delegations"];
    assert_eq!((all["roles"].as_array().unwrap().len(), all["keys"].as_object().unwrap().len()), (1, 1));
    for needed in [RoleName::releases(), RoleName::revocations()] {
        assert_eq!(refused(&base, &[back("targets", needed.as_str())]), GrantError::Needed(needed));
    }
    // Taken back and granted again in one go it is another scope of the same role.
    taken(&base, &[back("targets/releases", DEV), granted(wanted(DEV, 31, "dev-*"))]);
}

#[test]
fn beside_releases_only_what_no_search_reaches() {
    let base = world(false);
    let quality = |paths: &[&str]| {
        let Paths::Patterns(paths) = patterns(paths) else { panic!() };
        granted(Grant { paths, ..wanted("targets/quality", 31, "x") })
    };
    let all = [format!("{COLLECTION}:*"), format!("{COLLECTION}@sha256:*")];
    let edit = quality(&[all[0].as_str(), all[1].as_str()]);
    let p = taken(&base, std::slice::from_ref(&edit));
    let roles = &p.drafts()[&RoleName::targets()].signed()["delegations"]["roles"];
    assert_eq!(roles[3]["name"], "targets/quality");
    let layout = format!("{COLLECTION}/in-toto-metadata/root.layout");
    assert!(matches!(refused(&base, &[quality(&[&layout])]), GrantError::Reached(_)));
    let wide = format!("{COLLECTION}/*");
    assert!(matches!(refused(&base, &[quality(&[&wide])]), GrantError::Overlap { .. }));
    // Put before releases it would be read.
    let Edit::Delegate { by, role: name, signers, paths, terminating, note, .. } = edit else { panic!() };
    let first = Edit::Delegate { by, role: name, signers, paths, terminating, note, place: Place::First };
    assert!(matches!(refused(&base, &[first]), GrantError::Reached(_)));
    let order = ["targets/security", "targets/revocations", "targets/releases"].map(role).to_vec();
    assert!(matches!(
        refused(&base, &[Edit::Order { by: RoleName::targets(), roles: order }]),
        GrantError::Reached(_)
    ));
    let open = Edit::Scope {
        by: RoleName::targets(),
        role: RoleName::releases(),
        paths: None,
        terminating: Some(false),
    };
    assert!(matches!(refused(&base, &[open]), GrantError::Reached(_)));
}

#[test]
fn a_delegate_passes_on_what_he_may_and_no_more() {
    let sub = |scope| granted(wanted("targets/releases/dev/x", 31, scope));
    let may_not = refused(&world(false), &[sub("dev-x-*")]);
    assert_eq!(may_not, GrantError::MayNot(role(DEV)));
    let base = world(true);
    let p = taken(&base, &[sub("dev-x-*")]);
    assert_eq!(p.drafts().keys().map(RoleName::as_str).collect::<Vec<_>>(), [DEV]);
    assert!(matches!(refused(&base, &[sub("rc-x")]), GrantError::NotOurs { .. }));
    // Who narrows the scope of one narrows what he passed on.
    let narrow = Edit::Scope {
        by: RoleName::releases(),
        role: role(DEV),
        paths: Some(Paths::Patterns(name_scope("dev-a-*"))),
        terminating: None,
    };
    assert!(matches!(refused(&base, &[sub("dev-x-*"), narrow]), GrantError::NotOurs { .. }));
}

#[test]
fn a_delegation_keeps_its_terms() {
    let vetting = Vetting {
        identity: "Anna".into(),
        request: "ab".into(),
        vetted_by: "Berta".into(),
        note: "passport, 2026-05-01".into(),
    };
    let base = world(false);
    let mut g = wanted("targets/releases/x", 31, "x-*");
    g.terms.vetting = Some(vetting);
    let p = taken(&base, &[granted(g.clone())]);
    let read = p.drafts()[&RoleName::releases()].targets().unwrap();
    assert_eq!(read.delegation(&g.role).unwrap().terms.as_ref(), Some(&g.terms));
    if let Some(v) = &mut g.terms.vetting {
        v.note = "a\u{1b}[2J".into();
    }
    assert!(matches!(refused(&base, &[granted(g)]), GrantError::Text(..)));
}

#[test]
fn who_must_agree_must_be_there() {
    let base = world(false);
    let demand = |names: &[&str]| {
        let roles: Vec<RoleName> = names.iter().map(|n| role(n)).collect();
        Edit::Demand(Some(Agreement::new(u32::try_from(roles.len()).unwrap(), roles).unwrap()))
    };
    let both = demand(&["targets/releases", "targets/security"]);
    taken(&base, std::slice::from_ref(&both));
    assert_eq!(refused(&base, &[demand(&["targets/none"])]), GrantError::Demanded(role("targets/none")));
    let gone = Edit::Undelegate { by: RoleName::targets(), role: role("targets/security") };
    assert_eq!(refused(&base, &[both, gone]), GrantError::Demanded(role("targets/security")));
}

#[test]
fn what_stands_against_the_rules_already_is_in_nobodys_way() {
    let good = world(false);
    // Two that overlap, signed past this program.
    let mut releases = good.role(&RoleName::releases()).unwrap().signed().clone();
    releases["delegations"]["roles"][0]["paths"] = json!([format!("{COLLECTION}:*")]);
    let key = Sim::new().releases_key;
    let bytes = crate::tuf::sim::signed(&crate::tuf::Draft::from_signed(releases), &[&key]);
    let by = RoleName::releases();
    let file = crate::tuf::Unverified::parse(&by, &bytes, &crate::tuf::Limits::default()).unwrap();
    let file = std::sync::Arc::new(file.verify(&by, &[]).unwrap());
    let mut roles = good.roles().clone();
    let at = RoleAt { file, ..roles[&by].clone() };
    roles.insert(by.clone(), at);
    let base = Base::new(name(), good.root().unwrap().clone(), roles);
    taken(&base, &[Edit::Resign { role: by.clone(), life: None }]);
    taken(
        &base,
        &[Edit::Threshold { role: role(DEV), threshold: 1 }, Edit::Resign { role: by.clone(), life: None }],
    );
    assert!(matches!(
        refused(&base, &[granted(wanted("targets/releases/x", 31, "x-*"))]),
        GrantError::Overlap { .. }
    ));
    taken(&base, &[Edit::Undelegate { by, role: role(DEV) }]);
}

/// What is published, with another file of releases, signed past this program.
fn with_releases(good: &Base, change: impl FnOnce(&mut serde_json::Value)) -> Base {
    let mut releases = good.role(&RoleName::releases()).unwrap().signed().clone();
    change(&mut releases);
    let bytes =
        crate::tuf::sim::signed(&crate::tuf::Draft::from_signed(releases), &[&Sim::new().releases_key]);
    let by = RoleName::releases();
    let file = crate::tuf::Unverified::parse(&by, &bytes, &crate::tuf::Limits::default()).unwrap();
    let mut roles = good.roles().clone();
    let at = RoleAt { file: std::sync::Arc::new(file.verify(&by, &[]).unwrap()), ..roles[&by].clone() };
    roles.insert(by, at);
    Base::new(name(), good.root().unwrap().clone(), roles)
}

#[test]
fn above_the_most_delegations_the_other_rules_hold_on() {
    let base = with_releases(&world(false), |releases| {
        let like = releases["delegations"]["roles"][1].clone();
        for n in 0..crate::tuf::grant::MAX_DELEGATIONS {
            let mut more = like.clone();
            more["name"] = json!(format!("targets/releases/m{n}"));
            more["paths"] = json!([format!("{COLLECTION}:m{n}-*")]);
            releases["delegations"]["roles"].as_array_mut().unwrap().push(more);
        }
    });
    taken(&base, &[granted(wanted("targets/releases/x", 31, "x-*"))]);
    assert!(matches!(
        refused(&base, &[granted(wanted("targets/releases/x", 31, "dev-1"))]),
        GrantError::Overlap { .. }
    ));
    let mut own = wanted("targets/releases/x", 31, "x-*");
    own.signers = signers(&[&Sim::new().releases_key], 1);
    assert!(matches!(refused(&base, &[granted(own)]), GrantError::OwnKey { .. }));
}

#[test]
fn one_delegation_against_a_rule_makes_no_room_for_another() {
    let base = with_releases(&world(false), |releases| {
        let key = Sim::new().releases_key.public();
        releases["delegations"]["keys"][key.key_id().as_str()] = key.to_tuf();
        releases["delegations"]["roles"][0]["keyids"] = json!([key.key_id()]);
    });
    let mut own = wanted("targets/releases/x", 31, "x-*");
    own.signers = signers(&[&Sim::new().releases_key], 1);
    assert!(matches!(refused(&base, &[granted(own)]), GrantError::OwnKey { .. }));
}

#[test]
fn a_root_key_becomes_no_key_of_releases() {
    let (base, sim) = (world(false), Sim::new());
    let key = sim.root_keys[0].public();
    for role_name in [RoleName::releases(), RoleName::revocations()] {
        let add = Edit::AddKey { role: role_name.clone(), key: key.clone() };
        let e = Proposal::new(&base, &[add], about()).unwrap_err();
        assert!(matches!(&e, EditError::SharedKey { other, .. } if *other == role_name), "{e}");
    }
    // The other way round: a key of releases becomes one of the root.
    let add = Edit::AddKey { role: RoleName::root(), key: sim.releases_key.public() };
    assert!(matches!(Proposal::new(&base, &[add], about()), Err(EditError::SharedKey { .. })));
}

#[test]
fn a_role_that_is_taken_out_delegates_nothing_in_the_same_proposal() {
    let base = world(true);
    let spent = Edit::Delegate {
        by: role(DEV),
        role: role("targets/releases/old"),
        signers: crate::tuf::Signers { keys: vec![SimKey::new(31).public()], threshold: 1 },
        paths: Paths::Patterns(vec![PathPattern::parse(&format!("{COLLECTION}:dev-1")).unwrap()]),
        terminating: false,
        place: Place::Last,
        note: None,
    };
    let gone = Edit::Undelegate { by: RoleName::releases(), role: role(DEV) };
    assert_eq!(refused(&base, &[spent, gone]), GrantError::Orphan(role(DEV)));
}

fn any_scope() -> impl Strategy<Value = Vec<PathPattern>> {
    let one = prop_oneof![
        "[ab*?]{1,3}".prop_map(|s| format!("{COLLECTION}:{s}")),
        Just(format!("{COLLECTION}@sha256:*")),
        Just(format!("{COLLECTION}/revocations.json")),
        Just("other.com/x:*".to_owned()),
    ];
    proptest::collection::vec(one.prop_map(|s| PathPattern::parse(&s).unwrap()), 0..3)
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let by = || prop_oneof![Just("targets"), Just("targets/releases"), Just(DEV)].prop_map(role);
    let names = [
        "targets/security",
        "targets/a",
        "targets/releases",
        DEV,
        "targets/releases/rc",
        "targets/releases/a",
        "targets/releases/old",
        "targets/releases/dev/a",
    ];
    let to = move || proptest::sample::select(names.to_vec()).prop_map(role);
    let key = || (1u8..40).prop_map(|seed| SimKey::new(seed).public());
    let place = prop_oneof![Just(Place::Last), Just(Place::First), Just(Place::Before(RoleName::releases()))];
    prop_oneof![
        (by(), to(), key(), any_scope(), any::<bool>(), place, any::<bool>()).prop_map(
            |(by, role, key, paths, terminating, place, delegates)| {
                let terms = Terms { at: NOW, lifetime: 86_400, delegates, vetting: None };
                let signers = crate::tuf::Signers { keys: vec![key], threshold: 1 };
                let paths = Paths::Patterns(paths);
                Edit::Delegate { by, role, signers, paths, terminating, place, note: Some(json!(terms)) }
            }
        ),
        (by(), to()).prop_map(|(by, role)| Edit::Undelegate { by, role }),
        (by(), to(), proptest::option::of(any_scope()), proptest::option::of(any::<bool>())).prop_map(
            |(by, role, paths, terminating)| Edit::Scope {
                by,
                role,
                paths: paths.map(Paths::Patterns),
                terminating
            }
        ),
        (to(), key()).prop_map(|(role, key)| Edit::AddKey { role, key }),
        Just(Edit::Order {
            by: RoleName::targets(),
            roles: ["targets/security", "targets/releases", "targets/revocations"].map(role).to_vec()
        }),
    ]
}

/// Whatever edits come to, in whatever order: either they are refused, or no path has two speakers among siblings, nobody
/// gives what is not his, no spent name comes back, and no search reaches what stands beside releases.
#[test]
fn no_edits_go_around_the_rules() {
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let accepted = std::cell::Cell::new(0);
    let cases = (proptest::collection::vec(any_edit(), 1..5), any::<bool>());
    let run = runner.run(&cases, |(edits, delegates)| {
        let base = world(delegates);
        let Ok(p) = Proposal::new(&base, &edits, about()) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        prop_assert_eq!(p.check_rules(&base), Ok(()));
        let content = |role: &RoleName| {
            let drafted = p.drafts().get(role).and_then(|d| d.targets());
            drafted.or_else(|| base.role(role).map(|f| f.role())).cloned()
        };
        // Texts that decide patterns of three letters.
        let tags = [
            "a", "b", "aa", "ab", "ba", "bb", "aaa", "aab", "aba", "abb", "baa", "bbb", "dev-1", "rc-1", "c",
        ];
        let mut paths: Vec<String> = tags.iter().map(|t| format!("{COLLECTION}:{t}")).collect();
        paths.push(format!("{COLLECTION}@sha256:{}", "0".repeat(64)));
        paths.push(format!("{COLLECTION}/revocations.json"));
        for by in [RoleName::releases(), role(DEV)] {
            let mine: Vec<_> = match content(&RoleName::targets()).unwrap().delegation(&by) {
                Some(d) => vec![d.paths.clone()],
                None => content(&RoleName::releases())
                    .unwrap()
                    .delegation(&by)
                    .map(|d| d.paths.clone())
                    .into_iter()
                    .collect(),
            };
            let Some(content) = content(&by) else { continue };
            for path in &paths {
                let speakers = content.delegations().iter().filter(|d| d.paths.cover(path)).count();
                prop_assert!(speakers <= 1, "{} {}: {:?}", by, path, edits);
                prop_assert!(
                    speakers == 0 || mine.is_empty() || mine[0].cover(path),
                    "{} {}: {:?}",
                    by,
                    path,
                    edits
                );
            }
            prop_assert!(content.delegation(&role("targets/releases/old")).is_none());
        }
        let top = content(&RoleName::targets()).unwrap();
        for name in [RoleName::releases(), RoleName::revocations()] {
            prop_assert!(top.delegation(&name).is_some());
        }
        for path in &paths {
            // Who is reached by a search that names nobody.
            let mut reached = Vec::new();
            for d in top.delegations().iter().filter(|d| d.paths.cover(path)) {
                reached.push(d.name.clone());
                if d.terminating {
                    break;
                }
            }
            let usual = |r: &RoleName| *r == RoleName::releases() || *r == RoleName::revocations();
            prop_assert!(reached.iter().all(usual), "{}: {:?} {:?}", path, reached, edits);
        }
        Ok(())
    });
    run.unwrap();
    assert!(accepted.get() > 30, "only {} of them say anything", accepted.get());
}
