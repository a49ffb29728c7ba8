use proptest::prelude::*;
use serde_json::json;

use super::difference::items;
use super::*;
use crate::tuf::grant::GrantError;
use crate::tuf::sim::{COLLECTION, DAY, NOW, Sim, SimKey, resigned, signers};
use crate::tuf::{Expiry, PathPattern, Paths, Trusted};

/// The roles of a sim's state, verified.
pub(super) fn base(sim: &Sim) -> Base {
    let files = sim.files();
    let chain = sim.walk(&files).unwrap();
    let limits = Limits::default();
    let trusted =
        Trusted::judge(chain.last(), &files, Some(COLLECTION), None, Expiry::Collect, NOW, &limits).unwrap();
    let keys = chain.last().role().targets_keys().clone();
    let top = RoleAt { keys, paths: None, by: None, terms: None, file: trusted.targets().clone() };
    let mut open = vec![(RoleName::targets(), top.file.clone())];
    let mut roles = BTreeMap::from([(RoleName::targets(), top)]);
    while let Some((by, at)) = open.pop() {
        for d in at.role().delegations() {
            let Some(file) = trusted.load(d, &files).unwrap() else { continue };
            let (keys, paths, terms) = (d.keys.clone(), Some(d.paths.clone()), d.terms.clone());
            open.push((d.name.clone(), file.clone()));
            roles.insert(d.name.clone(), RoleAt { keys, paths, by: Some(by.clone()), terms, file });
        }
    }
    Base::new(Sim::name(), chain.last().clone(), roles)
}

fn about() -> About {
    About { description: "a new key".into(), by: "alice".into(), at: NOW.plus(DAY) }
}

fn propose(base: &Base, edits: &[Edit]) -> Proposal {
    Proposal::new(base, edits, about()).unwrap()
}

fn sign(p: &mut Proposal, role: &RoleName, keys: &[&SimKey]) {
    for key in keys {
        let message = p.message(role).unwrap();
        p.sign(role, key.public().key_id(), key.sign(&message));
    }
}

fn kinds(p: &Proposal, base: &Base, role: &RoleName) -> Vec<ItemKind> {
    let difference = p.difference(base);
    let file = difference.files.iter().find(|f| f.role == *role).unwrap();
    file.items.iter().map(|i| i.kind).filter(|k| !k.is_routine()).collect()
}

pub(super) fn patterns(paths: &[&str]) -> Paths {
    Paths::Patterns(paths.iter().map(|p| PathPattern::parse(p).unwrap()).collect())
}

fn add(role: RoleName, key: &SimKey) -> Edit {
    Edit::AddKey { role, key: key.public() }
}

fn remove(role: RoleName, key: &SimKey) -> Edit {
    Edit::RemoveKey { role, key: key.public().key_id() }
}

#[test]
fn a_root_needs_old_and_new_keys() {
    let sim = Sim::new();
    let (base, root, third) = (base(&sim), RoleName::root(), SimKey::new(11));
    let mut p = propose(&base, &[add(root.clone(), &third), remove(root.clone(), &sim.root_keys[1])]);
    assert_eq!(p.drafts().keys().collect::<Vec<_>>(), [&root]);
    let changed = [ItemKind::Expires, ItemKind::KeyAdded, ItemKind::KeyRemoved];
    assert_eq!(kinds(&p, &base, &root), changed);
    let lacking = |p: &Proposal| -> Vec<(SignedBy, usize)> {
        p.signers(&base)
            .unwrap()
            .into_iter()
            .map(|n| {
                let l = n.lacking();
                (n.by, l)
            })
            .collect()
    };
    assert_eq!(lacking(&p), [(SignedBy::PublishedRoot, 2), (SignedBy::ProposedRoot, 2)]);
    sign(&mut p, &root, &[&sim.root_keys[0], &third]);
    assert_eq!(lacking(&p), [(SignedBy::PublishedRoot, 1), (SignedBy::ProposedRoot, 0)]);
    assert!(matches!(p.complete(&base), Err(Incomplete::Missing(_))));
    sign(&mut p, &root, &[&sim.root_keys[1]]);
    let group = p.complete(&base).unwrap();
    let chain = sim.walk(&sim.files()).unwrap();
    let next = chain.extended(group.root.as_ref().unwrap(), Some(COLLECTION), &Limits::default()).unwrap();
    let installed = install(&base, next.last(), &group).unwrap();
    assert!(installed.unsigned.is_empty() && installed.vacant.is_empty());
    assert_eq!(installed.roles.len(), 3);
}

#[test]
fn rotating_a_delegated_key_drafts_the_role_again() {
    let sim = Sim::new();
    let (base, releases, new) = (base(&sim), RoleName::releases(), SimKey::new(12));
    let edits = [add(releases.clone(), &new), remove(releases.clone(), &sim.releases_key)];
    let mut p = propose(&base, &edits);
    assert_eq!(p.drafts().keys().collect::<Vec<_>>(), [&RoleName::targets(), &releases]);
    assert_eq!(
        kinds(&p, &base, &RoleName::targets()),
        [ItemKind::Expires, ItemKind::KeyAdded, ItemKind::KeyRemoved]
    );
    sign(&mut p, &RoleName::targets(), &[&sim.targets_key]);
    let old_key = p.clone();
    sign(&mut p, &releases, &[&new]);
    let group = p.complete(&base).unwrap();
    let root = base.root().unwrap();
    let installed = install(&base, root, &group).unwrap();
    assert!(installed.unsigned.is_empty());
    assert_eq!(installed.roles[&releases].keys.keys.keys().collect::<Vec<_>>(), [&new.public().key_id()]);
    // Without the role's own new file the published one no longer verifies.
    let mut alone = group.clone();
    alone.roles.remove(&releases);
    assert_eq!(
        install(&base, root, &alone).unwrap().unsigned.into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&releases)
    );
    // Signed by the key that goes: nobody asked for it.
    let mut wrong = old_key;
    sign(&mut wrong, &releases, &[&sim.releases_key]);
    assert!(wrong.complete(&base).is_err());
    let merged = merge(&[p, wrong], &base).unwrap();
    assert_eq!(merged.bad.iter().map(|b| (b.copy, b.known)).collect::<Vec<_>>(), [(1, false)]);
    assert!(merged.proposal.complete(&base).is_ok());
}

#[test]
fn copies_are_merged_by_valid_signatures_only() {
    let sim = Sim::new();
    let (base, root) = (base(&sim), RoleName::root());
    let p = propose(&base, &[Edit::Resign { role: root.clone(), life: Some(730 * DAY) }]);
    let (mut a, mut b, mut bad) = (p.clone(), p.clone(), p.clone());
    sign(&mut a, &root, &[&sim.root_keys[0]]);
    sign(&mut b, &root, &[&sim.root_keys[1]]);
    bad.sign(&root, sim.root_keys[0].public().key_id(), vec![1; 64]);
    for copies in [vec![a.clone(), b.clone()], vec![bad.clone(), b.clone(), a.clone()]] {
        let merged = merge(&copies, &base).unwrap();
        assert!(merged.proposal.complete(&base).is_ok());
        assert_eq!(merged.bad.len(), copies.len() - 2);
    }
    let other = propose(&base, &[Edit::Resign { role: root.clone(), life: Some(3650 * DAY) }]);
    let error = merge(&[a, other], &base).unwrap_err();
    assert_eq!(error.to_string(), "copy 2 is of another proposal: root: expires differs");
    assert_eq!(merge(&[], &base).unwrap_err(), MergeError::None);
}

#[test]
fn edits_that_cannot_be_are_refused() {
    let sim = Sim::new();
    let (base, root, targets, releases) =
        (base(&sim), RoleName::root(), RoleName::targets(), RoleName::releases());
    let refused = |edits: &[Edit]| Proposal::new(&base, edits, about()).unwrap_err();
    let threshold = |role: &RoleName, threshold| Edit::Threshold { role: role.clone(), threshold };
    for (role, n) in [(&root, 3), (&root, 0), (&releases, 2), (&releases, 0)] {
        let e = refused(&[threshold(role, n)]);
        assert!(matches!(e, EditError::Threshold { .. } | EditError::Tuf(_)), "{e}");
    }
    assert!(matches!(refused(&[remove(root.clone(), &SimKey::new(50))]), EditError::NoKey { .. }));
    assert!(matches!(refused(&[add(root.clone(), &sim.root_keys[0])]), EditError::KeyThere { .. }));
    assert!(matches!(refused(&[add(root.clone(), &sim.online_key)]), EditError::SharedKey { .. }));
    assert!(matches!(
        refused(&[add(releases.clone(), &sim.targets_key)]),
        EditError::Rule(GrantError::OwnKey { .. })
    ));
    assert!(matches!(
        refused(&[add("targets/none".parse().unwrap(), &SimKey::new(50))]),
        EditError::NoRole(_)
    ));
    let online = Edit::Resign { role: RoleName::timestamp(), life: None };
    assert!(matches!(refused(&[online]), EditError::Online(_)));
    assert!(matches!(refused(&[]), EditError::NothingChanges));
    let path = "ex.com/other".to_owned();
    let value = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    let e = refused(&[Edit::SetTarget { role: releases.clone(), path: path.clone(), value }]);
    assert!(e.to_string().contains("may not speak"), "{e}");
    assert!(matches!(refused(&[Edit::RemoveTarget { role: releases, path }]), EditError::NoTarget { .. }));
    assert!(matches!(
        refused(&[Edit::Undelegate { by: targets.clone(), role: root }]),
        EditError::Delegation { .. }
    ));
    // A key more for the online roles is a matter of the root alone.
    let p = propose(&base, &[add(RoleName::timestamp(), &SimKey::new(51))]);
    assert_eq!(p.drafts().len(), 1);
}

#[test]
fn delegations_are_named_with_scope_and_order() {
    let sim = Sim::new();
    let (base, targets, dev) = (base(&sim), RoleName::targets(), "targets/dev".parse::<RoleName>().unwrap());
    let key = SimKey::new(20);
    let delegate = Edit::Delegate {
        by: targets.clone(),
        role: dev.clone(),
        signers: signers(&[&key], 1),
        paths: patterns(&["ex.com/org/app:dev-*"]),
        terminating: false,
        place: Place::Last,
        note: Some(json!({"vettedBy": "bob"})),
    };
    let p = propose(&base, std::slice::from_ref(&delegate));
    let kinds_of = kinds(&p, &base, &targets);
    assert!(kinds_of.contains(&ItemKind::DelegationAdded) && kinds_of.contains(&ItemKind::Order));
    assert!(kinds_of.contains(&ItemKind::KeyAdded) && !kinds_of.contains(&ItemKind::Other), "{kinds_of:?}");
    let text = p.difference(&base).to_string();
    assert!(text.contains("ex.com/org/app:dev-*") && text.contains("bob"), "{text}");
    assert!(text.contains(key.public().key_id().as_str()), "{text}");
    // No file yet: the role is vacant, and its keys need not sign.
    assert_eq!(p.signers(&base).unwrap().len(), 1);
    let mut signed = p.clone();
    sign(&mut signed, &targets, &[&sim.targets_key]);
    let installed = install(&base, base.root().unwrap(), &signed.complete(&base).unwrap()).unwrap();
    assert!(installed.vacant.contains_key(&dev));
    let started = propose(&base, &[delegate, Edit::Start { role: dev.clone() }]);
    assert_eq!(started.signers(&base).unwrap().len(), 2);
    // What every first file descends from, so that of two made at once none is lost.
    let start = crate::tuf::lineage::genesis(COLLECTION, &dev).unwrap();
    let first = &started.drafts()[&dev];
    assert_eq!(first.version().get(), 2);
    assert_eq!(first.signed()["x-bulla"]["ancestors"], json!([[1, start.digest().hex()]]));
    // A role that nothing leads to.
    let mut lost = started.clone();
    lost.drafts.remove(&targets);
    assert!(lost.signers(&base).is_err());
}

#[test]
fn what_is_not_known_survives_an_edit() {
    let mut sim = Sim::new();
    let add_members = |file: bytes::Bytes, key: &SimKey| {
        crate::tuf::sim::resigned(
            &file,
            |signed| {
                signed["x-other"] = json!({"kept": 1});
                signed["x-bulla"]["unknown"] = json!("kept too");
            },
            &[key],
        )
    };
    let key = sim.targets_key.again();
    sim.edits.insert(RoleName::targets(), Box::new(move |file| add_members(file, &key)));
    let base = base(&sim);
    let p = propose(&base, &[add(RoleName::releases(), &SimKey::new(30))]);
    let signed = p.drafts()[&RoleName::targets()].signed();
    assert_eq!((&signed["x-other"]["kept"], &signed["x-bulla"]["unknown"]), (&json!(1), &json!("kept too")));
    assert_eq!(kinds(&p, &base, &RoleName::targets()), [ItemKind::Expires, ItemKind::KeyAdded]);
}

#[test]
fn what_a_collection_demands_is_proposed_and_shown() {
    use crate::tuf::{AGREEMENT, Agreement};
    let mut sim = Sim::new();
    let here = base(&sim);
    let roles = vec![RoleName::releases(), RoleName::revocations()];
    let demand = Agreement::new(2, roles).unwrap();
    let p = propose(&here, &[Edit::Demand(Some(demand.clone()))]);
    let targets = RoleName::targets();
    assert_eq!(p.drafts()[&targets].signed()[AGREEMENT], demand.to_json());
    assert!(kinds(&p, &here, &targets).contains(&ItemKind::Agreement));
    let text = p.difference(&here).to_string();
    assert!(text.contains("2 of targets/releases, targets/revocations must list a bundle alike"), "{text}");
    // The next edit of the role keeps it; asked for again it changes nothing; taken away it is gone.
    let stands = demand.to_json();
    let signer = sim.targets_key.again();
    let edit = move |file| resigned(&file, |part| part[AGREEMENT] = stands.clone(), &[&signer]);
    sim.edits.insert(RoleName::targets(), Box::new(edit));
    let here = base(&sim);
    let drafted = |edits: &[Edit]| propose(&here, edits).drafts()[&targets].signed().clone();
    assert_eq!(drafted(&[Edit::Resign { role: targets.clone(), life: None }])[AGREEMENT], demand.to_json());
    assert!(drafted(&[Edit::Demand(None)]).get(AGREEMENT).is_none());
    let gone = propose(&here, &[Edit::Demand(None)]).difference(&here).to_string();
    assert!(gone.contains("no agreement is demanded any more"), "{gone}");
    let again = Proposal::new(&here, &[Edit::Demand(Some(demand))], about());
    assert!(matches!(again, Err(EditError::NothingChanges)));
}

#[test]
fn the_base_must_be_what_is_published() {
    let mut sim = Sim::new();
    let old = base(&sim);
    let p = propose(&old, &[add(RoleName::releases(), &SimKey::new(30))]);
    assert_eq!(p.check_base(&old), Ok(()));
    sim.targets = crate::tuf::sim::heading(2, NOW, DAY);
    let stale = p.check_base(&base(&sim)).unwrap_err();
    assert_eq!(stale.role, RoleName::targets());
    assert!(stale.to_string().contains("stands on version 1"), "{stale}");
}

#[test]
fn it_is_read_back_and_read_strictly() {
    let sim = Sim::new();
    let base = base(&sim);
    let list = br#"{"schemaVersion":1,"entries":[]} "#;
    let file = Edit::File {
        role: RoleName::revocations(),
        path: Sim::name().revocations_path(),
        bytes: Bytes::from_static(list),
        custom: None,
    };
    let mut p = propose(&base, &[file]).carrying(sim.files());
    sign(&mut p, &RoleName::revocations(), &[&sim.releases_key]);
    let bytes = p.to_bytes();
    let back = Proposal::parse(&bytes).unwrap();
    assert_eq!(back.to_bytes(), bytes);
    assert_eq!(back.published(), &sim.files());
    assert!(back.complete(&base).is_ok());
    assert_eq!(back.difference(&base).along[0].listed_by, [RoleName::revocations()]);
    let text = String::from_utf8(bytes).unwrap();
    for bad in [
        text.replace("\"schemaVersion\":1}", "\"schemaVersion\":2}"),
        text.replace("\"by\":", "\"unknown\":1,\"by\":"),
        text.replace("\"by\":", "\"by\":\"twice\",\"by\":"),
        text.replace("\"_type\":\"targets\"", "\"_type\":\"root\""),
        text.replace("\"drafts\":{\"targets/revocations\"", "\"drafts\":{\"timestamp\""),
        text.replace(
            &format!("\"collection\":\"{COLLECTION}\",\"description\""),
            "\"collection\":\"ex.com/other\",\"description\"",
        ),
    ] {
        assert!(bad != text, "nothing was replaced");
        assert!(Proposal::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn ten_thousand_keys_are_too_many() {
    let sim = Sim::new();
    let base = base(&sim);
    let mut p = propose(&base, &[Edit::Resign { role: RoleName::root(), life: None }]);
    let mut signed = p.drafts()[&RoleName::root()].signed().clone();
    for i in 0..10_000u32 {
        let id = format!("{i:064x}");
        signed["keys"][&id] = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": id}});
        signed["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!(id));
    }
    let draft = Draft::from_signed(signed);
    assert!(Drafted::new(&RoleName::root(), draft.clone()).is_err());
    // Nor may it be signed by ten thousand.
    for i in 0..300 {
        p.sign(&RoleName::root(), format!("k{i}").try_into().unwrap(), vec![0; 64]);
    }
    assert!(Proposal::parse(&p.to_bytes()).unwrap_err().to_string().contains("signatures"));
    // A delegator holds more, and its size is bounded too.
    let mut p = propose(&base, &[add(RoleName::releases(), &SimKey::new(30))]);
    let mut signed = p.drafts()[&RoleName::targets()].signed().clone();
    for i in 0..10_000u32 {
        let id = format!("{i:064x}");
        signed["delegations"]["keys"][&id] =
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": id}});
        signed["delegations"]["roles"][1]["keyids"].as_array_mut().unwrap().push(json!(id));
    }
    let at = std::time::Instant::now();
    p.drafts
        .insert(RoleName::targets(), Drafted::new(&RoleName::targets(), Draft::from_signed(signed)).unwrap());
    let p = Proposal::parse(&p.to_bytes()).unwrap();
    assert!(p.signers(&base).is_ok());
    assert!(p.difference(&base).files[0].items.len() > 10_000);
    assert!(at.elapsed().as_secs() < 20, "{:?}", at.elapsed());
}

#[test]
fn no_draft_writes_on_the_screen_of_who_signs_it() {
    let sim = Sim::new();
    let base = base(&sim);
    let evil = "\u{1b}[2J\u{1b}[Hroot 2 -> 3\n  the same, signed again\u{202e}";
    let old = base.role(&RoleName::targets()).unwrap().signed().clone();
    let mut new = old.clone();
    new["delegations"]["keys"]["x"] =
        json!({"keytype": evil, "scheme": evil.repeat(500), "keyval": {"public": evil}});
    new["delegations"]["roles"][0]["keyids"].as_array_mut().unwrap().push(json!("x"));
    new["delegations"]["roles"][0]["name"] = json!(format!("targets/{evil}"));
    new["delegations"]["roles"][1]["paths"] = json!([evil]);
    new["delegations"]["roles"][1][evil] = json!(evil);
    new["targets"][evil] = json!({"length": evil, "hashes": {"sha256": evil}, "custom": {evil: evil}});
    new[evil] = json!(evil);
    new["x-bulla-agreement"] = json!({"min": 1, "roles": [format!("targets/{evil}")]});
    for items in [items(Some(&old), &new), items(None, &new)] {
        assert!(items.len() > 4);
        for item in items {
            assert!(!item.text.chars().any(crate::tuf::is_unseen), "{:?}", item.text);
            assert!(item.text.chars().count() < 5_000, "{}", item.text.len());
        }
    }
}

#[test]
fn a_draft_that_lies_about_its_descent_is_no_routine() {
    let mut sim = Sim::new();
    let path = format!("{COLLECTION}:v1");
    sim.entries.insert(
        path.clone(),
        json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}, "custom": {"bulla": {"claim": "tag"}}}),
    );
    let base = base(&sim);
    let role = RoleName::releases();
    let other = |p: &Proposal| -> Vec<String> {
        let difference = p.difference(&base);
        let items = difference.files[0].items.iter().filter(|i| i.kind == ItemKind::Other);
        items.map(|i| i.text.clone()).collect()
    };
    let honest = propose(&base, &[Edit::Resign { role: role.clone(), life: None }]);
    assert_eq!(other(&honest), Vec::<String>::new());
    let removed = propose(&base, &[Edit::RemoveTarget { role: role.clone(), path: path.clone() }]);
    assert_eq!(other(&removed), Vec::<String>::new());
    let with = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut signed = honest.drafts()[&role].signed().clone();
        edit(&mut signed);
        let mut p = honest.clone();
        p.drafts.insert(role.clone(), Drafted::new(&role, Draft::from_signed(signed)).unwrap());
        other(&p)
    };
    let named =
        with(&|s| s["x-bulla"]["ancestors"].as_array_mut().unwrap().push(json!([1, "ab".repeat(32)])));
    assert!(named.len() == 1 && named[0].contains("other ancestors"), "{named:?}");
    let hidden = with(&|s| s["x-bulla"]["withdrawn"] = json!({path.clone(): {"0123456789abcdef": 2}}));
    assert!(hidden.len() == 1 && hidden[0].contains("without taking the entry out"), "{hidden:?}");
    let early = with(&|s| s["x-bulla"]["at"] = json!("1970-01-01T00:00:00Z"));
    assert!(early.len() == 1 && early[0].contains("made before"), "{early:?}");
}

#[test]
fn the_number_of_a_change_of_delegations_and_the_first_file_of_a_role_are_judged_too() {
    let base = base(&Sim::new());
    let dev: RoleName = "targets/releases/dev".parse().unwrap();
    let new = SimKey::new(33);
    let edits = [add(RoleName::releases(), &new)];
    let honest = propose(&base, &edits);
    let strange = |p: &Proposal, role: &RoleName| -> Vec<String> {
        let difference = p.difference(&base);
        let items = difference.files.iter().find(|f| f.role == *role).unwrap().items.iter();
        let items = items.filter(|i| {
            i.kind == ItemKind::Other && i.subject != "x-bulla.collection" && i.subject.starts_with("x-bulla")
        });
        items.map(|i| i.text.clone()).collect()
    };
    let with = |honest: &Proposal, role: &RoleName, edit: &dyn Fn(&mut serde_json::Value)| {
        let mut signed = honest.drafts()[role].signed().clone();
        edit(&mut signed);
        let mut p = honest.clone();
        p.drafts.insert(role.clone(), Drafted::new(role, Draft::from_signed(signed)).unwrap());
        strange(&p, role)
    };
    let targets = RoleName::targets();
    assert_eq!(strange(&honest, &targets), Vec::<String>::new());
    // With the old number the change would be known to the ancestor, and nobody's loss in a join.
    let old = with(&honest, &targets, &|s| s["x-bulla"]["delegationsSet"] = json!(1));
    assert!(old.len() == 1 && old[0].contains("set the delegations"), "{old:?}");
    let quiet = with(&honest, &targets, &|s| s["x-bulla"]["delegated"] = json!({}));
    assert!(quiet.len() == 1 && quiet[0].contains("their delegation changed"), "{quiet:?}");
    let skipped = with(&honest, &targets, &|s| {
        s["version"] = json!(40);
        s["x-bulla"]["delegationsSet"] = json!(40);
    });
    // An id names the version, too.
    assert!(skipped.len() == 2 && skipped[0].contains("the next is 2"), "{skipped:?}");
    assert!(skipped[1].contains("their delegation changed"), "{skipped:?}");

    let paths = patterns(&["ex.com/org/app:dev-*"]);
    let delegate = Edit::Delegate {
        by: RoleName::releases(),
        role: dev.clone(),
        signers: signers(&[&SimKey::new(34)], 1),
        paths,
        terminating: false,
        place: Place::Last,
        note: None,
    };
    let first = propose(&base, &[delegate, Edit::Start { role: dev.clone() }]);
    assert_eq!(strange(&first, &dev), Vec::<String>::new());
    let named = with(&first, &dev, &|s| {
        s["x-bulla"]["ancestors"].as_array_mut().unwrap().push(json!([1, "ab".repeat(32)]));
    });
    assert!(named.len() == 1 && named[0].contains("other ancestors"), "{named:?}");
    let gone = with(&first, &dev, &|s| {
        s["x-bulla"]["withdrawn"] = json!({"ex.com/org/app:dev-1": {"0123456789abcdef": 2}})
    });
    assert!(gone.iter().any(|t| t.contains("withdraws")), "{gone:?}");
    let alone = with(&first, &dev, &|s| drop(s["x-bulla"].as_object_mut().unwrap().remove("ancestors")));
    assert!(alone.len() == 1 && alone[0].contains("other ancestors"), "{alone:?}");
}

/// A member somewhere in a value, changed in one of several ways; its place.
fn mutate(value: &mut serde_json::Value, pick: &mut impl FnMut(usize) -> usize) -> Vec<String> {
    let mut at = Vec::new();
    let mut here = value;
    while here.as_object().is_some_and(|map| !map.is_empty()) {
        let map = here.as_object_mut().unwrap();
        let i = pick(map.len() + 2);
        if i == map.len() {
            map.insert("x-new".into(), json!({"a": 1}));
            at.push("x-new".into());
            return at;
        }
        let name = map.keys().nth(i.min(map.len() - 1)).unwrap().clone();
        at.push(name.clone());
        if pick(4) == 0 {
            map.remove(&name);
            return at;
        }
        here = map.get_mut(&name).unwrap();
    }
    *here = match here.take() {
        serde_json::Value::Array(mut list) if !list.is_empty() => {
            let i = pick(list.len());
            match pick(4) {
                0 => drop(list.remove(i)),
                1 => list.push(json!("more")),
                2 if list.len() > 1 && list[0] != list[1] => list.swap(0, 1),
                _ => list[i] = json!({"other": i}),
            }
            list.into()
        }
        serde_json::Value::String(s) => json!(format!("{s}x")),
        serde_json::Value::Number(n) => json!(n.as_i64().unwrap_or(0) + 1),
        serde_json::Value::Bool(b) => json!(!b),
        _ => json!("else"),
    };
    at
}

proptest! {
    #[test]
    fn nothing_changes_in_silence(picks in proptest::collection::vec(any::<u32>(), 24), which in 0usize..3) {
        let sim = Sim::new();
        let base = base(&sim);
        let mut sim_releases = base.role(&RoleName::releases()).unwrap().signed().clone();
        sim_releases["targets"]["ex.com/org/app:v1"] =
            json!({"length": 3, "hashes": {"sha256": "00".repeat(32)}, "custom": {"bulla": {"claim": "tag"}}});
        let old = match which {
            0 => base.root().unwrap().signed().clone(),
            1 => base.role(&RoleName::targets()).unwrap().signed().clone(),
            _ => sim_releases,
        };
        let mut new = old.clone();
        let mut picks = picks.into_iter();
        let at = mutate(&mut new, &mut |n| picks.next().unwrap_or(0) as usize % n.max(1));
        prop_assert_ne!(&old, &new);
        let items = items(Some(&old), &new);
        prop_assert!(!items.is_empty(), "{at:?}");
        let near = |i: &Item| i.at.iter().any(|place| {
            // A delegation stands under its name, and a list is one place.
            let n = place.len().min(at.len());
            place[..n] == at[..n] || (at.starts_with(&["delegations".into(), "roles".into()]) && place.starts_with(&at[..2]))
        });
        let named = items.iter().any(near) || at == ["delegations", "roles"];
        prop_assert!(named, "{at:?} {items:?}");
        prop_assert!(items.iter().all(|i| !i.text.is_empty()));
        // And everything is said of a file that is new.
        prop_assert!(!super::difference::items(None, &new).is_empty());
    }

    #[test]
    fn damaged_proposals_are_no_reason_to_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let sim = Sim::new();
        let base = base(&sim);
        let edits = [add(RoleName::releases(), &SimKey::new(30)), add(RoleName::root(), &SimKey::new(31))];
        let mut bytes = propose(&base, &edits).carrying(sim.files()).to_bytes();
        for (at, with) in changes {
            let i = at.index(bytes.len());
            bytes[i] = with;
        }
        if cut.index(4) == 0 {
            let n = cut.index(bytes.len());
            bytes.truncate(n);
        }
        if let Ok(p) = Proposal::parse(&bytes) {
            let _ = (p.signers(&base), p.check_base(&base), p.difference(&base).to_string());
            let _ = merge(&[p.clone(), p], &base).map(|m| m.proposal.to_bytes());
        }
    }
}
