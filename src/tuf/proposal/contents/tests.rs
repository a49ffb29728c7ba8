use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tuf::Draft;
use crate::tuf::proposal::About;
use crate::tuf::proposal::tests::base;
use crate::tuf::sim::{DAY, NOW, Sim};

fn list(entries: &[Value]) -> Bytes {
    json!({"schemaVersion": 1, "entries": entries}).to_string().into()
}

fn entry(kind: &str, about: &[u8], reason: &str) -> Value {
    let mut entry = json!({
        "kind": kind, "subject": Digest::sha256(about), "at": "2027-01-15T08:00:00Z", "by": "ab12", "reason": reason,
    });
    entry["id"] = json!(&Digest::sha256(&sorted_json(&entry)).hex()[..16]);
    entry
}

/// What is published, with `old` as its list, and the proposal of `new`.
fn proposed(old: Option<&Bytes>, new: Option<&Bytes>, carries: bool) -> (Base, Proposal) {
    let mut sim = Sim::new();
    let path = Sim::name().revocations_path();
    let of =
        |bytes: &Bytes| json!({"length": bytes.len(), "hashes": {"sha256": Digest::sha256(bytes).hex()}});
    let bad = Digest::sha256(b"bad");
    sim.entries.insert(
        format!("{}:v1", Sim::name()),
        json!({"length": 1, "hashes": {"sha256": bad.hex()}, "custom": {"bulla": {"claim": "tag"}}}),
    );
    if let Some(old) = old {
        sim.list = old.to_vec();
    }
    let (base, role) = (base(&sim), RoleName::revocations());
    let mut signed = base.role(&role).unwrap().signed().clone();
    let base = match old {
        Some(_) => base,
        None => {
            let mut roles = base.roles().clone();
            roles.remove(&role);
            Base::new(Sim::name(), base.root().unwrap().clone(), roles)
        }
    };
    let held = old.filter(|_| carries).map(|old| (path.clone(), old.clone()));
    let base = base.holding(held);
    signed["version"] = json!(99);
    signed["targets"].as_object_mut().unwrap().remove(&path);
    if let Some(new) = new {
        signed["targets"][&path] = of(new);
    }
    let about = About { description: String::new(), by: String::new(), at: NOW.plus(DAY) };
    let drafts = BTreeMap::from([(role, Draft::from_signed(signed))]);
    let files = new.map(|new| (path, new.clone())).into_iter().collect();
    let proposal = Proposal::of(&base, drafts, files, about).unwrap();
    (base, proposal)
}

fn contents(old: Option<&Bytes>, new: Option<&Bytes>) -> Contents {
    let (base, proposal) = proposed(old, new, true);
    let mut all = proposal.difference(&base).contents;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Signatures, keys and certificates are read out as bundles are, with the time that they are bounded by.
#[test]
fn a_signer_reads_of_signatures_keys_and_certificates() {
    let all = ["signature", "key", "certificate"].map(|kind| {
        let mut entry = entry(kind, kind.as_bytes(), "stolen");
        if kind != "signature" {
            entry["since"] = json!("2027-01-01T00:00:00Z");
            entry.as_object_mut().unwrap().remove("id");
            entry["id"] = json!(&Digest::sha256(&sorted_json(&entry)).hex()[..16]);
        }
        entry
    });
    let come = contents(Some(&list(&[])), Some(&list(&all)));
    let gone = contents(Some(&list(&all)), Some(&list(&all[..1])));
    for (items, number, word) in [(&come.items, 3, "comes"), (&gone.items, 2, "goes")] {
        assert_eq!(items.len(), number);
        for item in items {
            let entry = all.iter().find(|e| e["id"].as_str() == Some(item.subject.as_str())).unwrap();
            let (kind, about) = (entry["kind"].as_str().unwrap(), entry["subject"].as_str().unwrap());
            assert!(item.text.starts_with(&format!("revocation {word}: ")), "{}", item.text);
            for part in [kind, about, "stolen", "by ab12"] {
                assert!(item.text.contains(part), "{part}: {}", item.text);
            }
            assert_eq!(
                item.text.contains("since: 2027-01-01T00:00:00Z"),
                kind != "signature",
                "{}",
                item.text
            );
            assert!(!item.text.contains("its id is not the hash"), "{}", item.text);
        }
    }
}

#[test]
fn a_signer_reads_what_goes_and_what_comes_and_not_a_hash() {
    let (bad, warned, other) = (
        entry("tombstone", b"bad", "CVE-2027-1"),
        entry("advisory", b"x", "old"),
        entry("tombstone", b"y", "leak"),
    );
    let mut undo = json!({"kind": "unrevoke", "undoes": bad["id"], "at": "2027-01-16T08:00:00Z", "by": "cd", "reason": "\u{1b}[2J"});
    undo["id"] = json!("ffffffffffffffff");
    let all = contents(
        Some(&list(&[bad.clone(), warned.clone()])),
        Some(&list(&[warned.clone(), other.clone(), undo.clone()])),
    );
    let kinds: Vec<ItemKind> = all.items.iter().map(|i| i.kind).collect();
    assert_eq!(kinds, [ItemKind::RevocationRemoved, ItemKind::RevocationUndone, ItemKind::RevocationAdded]);
    let text = all.to_string();
    let digest = Digest::sha256(b"bad").to_string();
    for part in
        ["revocation goes: ", &digest, "released as v1", "CVE-2027-1", "by ab12", "2027-01-15T08:00:00Z"]
    {
        assert!(text.lines().nth(1).unwrap().contains(part), "{part}: {text}");
    }
    for part in
        ["undoes another", bad["id"].as_str().unwrap(), "its id is not the hash of the rest", "\\u{1b}[2J"]
    {
        assert!(text.lines().nth(2).unwrap().contains(part), "{part}: {text}");
    }
    assert!(text.lines().nth(3).unwrap().contains("leak"), "{text}");
    assert_eq!(all.items[0].old.as_ref(), Some(&bad));
    let json = all.to_json();
    assert_eq!(json["items"][0]["kind"], "revocation-removed");
    // The whole list goes, or comes.
    let whole = list(&[bad.clone(), warned]);
    assert_eq!(
        contents(Some(&whole), None).items.iter().filter(|i| i.kind == ItemKind::RevocationRemoved).count(),
        2
    );
    assert_eq!(
        contents(None, Some(&whole)).items.iter().filter(|i| i.kind == ItemKind::RevocationAdded).count(),
        2
    );
    assert!(
        contents(Some(&Bytes::from_static(b"junk")), Some(&whole)).items[0]
            .text
            .contains("cannot be read, and goes")
    );
}

#[test]
fn many_entries_of_one_sort_bury_none_of_another() {
    let bad = entry("tombstone", b"bad", "CVE-2027-1");
    let junk: Vec<Value> = (0..500).map(|n| entry("advisory", &[n as u8], &format!("{n}"))).collect();
    let text = contents(Some(&list(&[bad])), Some(&list(&junk))).to_string();
    assert!(text.contains("CVE-2027-1") && text.contains("and 400 more of these"), "{text}");
}

#[test]
fn what_did_not_come_along_is_said_to_be_unseen() {
    let (old, new) = (list(&[entry("tombstone", b"bad", "r")]), list(&[]));
    let (base, proposal) = proposed(Some(&old), Some(&new), false);
    let all = proposal.difference(&base).contents;
    assert!(all[0].unseen.as_ref().unwrap().contains("did not come along"), "{all:?}");
    let (base, mut proposal) = proposed(Some(&old), Some(&new), true);
    proposal.files = BTreeMap::new();
    assert!(proposal.difference(&base).contents[0].unseen.is_some());
    // A decoy is not what the draft lists; a list that can be read by nobody is what it lists.
    let (base, proposal) = proposed(Some(&old), Some(&Bytes::from_static(b"[]")), true);
    assert!(proposal.difference(&base).contents[0].unseen.as_ref().unwrap().contains("cannot be read"));
}

#[test]
fn a_decoy_that_no_draft_lists_is_not_shown_as_the_new_list() {
    let warned = entry("advisory", b"x", "old");
    let old = list(&[entry("tombstone", b"bad", "r")]);
    let undo = json!({"kind": "unrevoke", "undoes": "aa", "at": "2027-01-16T08:00:00Z", "by": "cd", "reason": "r", "id": "ffffffffffffffff"});
    let evil = list(&[entry("tombstone", b"bad", "r"), undo]);
    let harmless = list(&[entry("tombstone", b"bad", "r"), warned]);
    let (base, mut proposal) = proposed(Some(&old), Some(&evil), true);
    proposal.files = BTreeMap::from([(Sim::name().revocations_path(), harmless)]);
    let all = proposal.difference(&base);
    assert!(all.contents[0].unseen.is_some(), "{:?}", all.contents);
    // Listed by another draft, it is that one's, and the list that counts stays unseen.
    let mut targets = base.role(&RoleName::targets()).unwrap().signed().clone();
    targets["version"] = json!(99);
    let decoy = proposal.files.values().next().unwrap().clone();
    targets["targets"][Sim::name().revocations_path()] =
        json!({"length": decoy.len(), "hashes": {"sha256": Digest::sha256(&decoy).hex()}});
    let mut drafts: BTreeMap<_, _> = proposal
        .drafts()
        .iter()
        .map(|(role, d)| (role.clone(), Draft::from_signed(d.signed().clone())))
        .collect();
    drafts.insert(RoleName::targets(), Draft::from_signed(targets));
    let about = About { description: String::new(), by: String::new(), at: NOW.plus(DAY) };
    let two = Proposal::of(&base, drafts, proposal.files.clone(), about).unwrap().difference(&base).contents;
    let of = |role: RoleName| two.iter().find(|c| c.role == role).unwrap();
    assert!(
        of(RoleName::revocations()).unseen.is_some() && of(RoleName::targets()).unseen.is_none(),
        "{two:?}"
    );
}

#[test]
fn what_another_role_lists_still_does_not_stand_in_for_the_list_that_is_drafted() {
    let old = list(&[entry("tombstone", b"bad", "r")]);
    let (base, mut proposal) = proposed(Some(&old), Some(&list(&[])), true);
    // A role that stays as it is lists the old list, too; the new one is kept back.
    let mut roles = base.roles().clone();
    let listing = roles[&RoleName::revocations()].clone();
    roles.insert("targets/dev".parse().unwrap(), listing);
    let held = base.held().clone();
    let base = Base::new(Sim::name(), base.root().unwrap().clone(), roles).holding(held);
    proposal.files = BTreeMap::new();
    assert!(proposal.difference(&base).contents[0].unseen.is_some());
}

#[test]
fn other_files_are_told_by_members_or_lines() {
    let told = |old: &str, new: &str| {
        let mut out =
            Contents { path: "p".into(), role: RoleName::targets(), items: Vec::new(), unseen: None };
        of_any_kind(Some(old.as_bytes()), Some(new.as_bytes()), &mut out);
        out
    };
    let layout =
        told(r#"{"steps":[{"name":"a"}],"expires":"x"}"#, r#"{"steps":[{"name":"b"}],"expires":"x"}"#);
    assert!(layout.items.len() == 1 && layout.items[0].text.contains("member steps"), "{layout:?}");
    let key = told("-----BEGIN\nold\n", "-----BEGIN\nnew\n");
    assert_eq!(
        key.items.iter().map(|i| i.kind).collect::<Vec<_>>(),
        [ItemKind::LineRemoved, ItemKind::LineAdded]
    );
    let mut out = Contents { path: "p".into(), role: RoleName::targets(), items: Vec::new(), unseen: None };
    of_any_kind(None, Some(&[0xff, 0xfe]), &mut out);
    assert!(out.unseen.is_some());
}

proptest! {
    /// Whatever the two lists are, each entry that only one of them has is told once.
    #[test]
    fn no_entry_comes_or_goes_in_silence(
        old in proptest::collection::btree_set(0u8..12, 0..8),
        new in proptest::collection::btree_set(0u8..12, 0..8),
        turned in any::<bool>(),
    ) {
        let of = |set: &BTreeSet<u8>| -> Vec<Value> {
            set.iter().map(|n| entry(["tombstone", "advisory", "unrevoke"][usize::from(n % 3)], &[*n], "r")).collect()
        };
        let (a, mut b) = (of(&old), of(&new));
        if turned {
            b.reverse();
        }
        let mut out = Contents { path: "p".into(), role: RoleName::targets(), items: Vec::new(), unseen: None };
        entries(Some(&list(&a)), Some(&list(&b)), &BTreeMap::new(), &mut out);
        prop_assert!(out.unseen.is_none());
        let gone: Vec<&Value> = out.items.iter().filter_map(|i| i.old.as_ref()).collect();
        let come: Vec<&Value> = out.items.iter().filter_map(|i| i.new.as_ref()).collect();
        prop_assert_eq!(gone.len(), old.difference(&new).count());
        prop_assert_eq!(come.len(), new.difference(&old).count());
        prop_assert!(gone.iter().all(|e| !b.contains(e)) && come.iter().all(|e| !a.contains(e)));
    }

    #[test]
    fn damaged_lists_are_no_reason_to_panic(old in proptest::collection::vec(any::<u8>(), 0..60), new in "\\PC{0,60}") {
        let mut out = Contents { path: "p".into(), role: RoleName::targets(), items: Vec::new(), unseen: None };
        entries(Some(&old), Some(new.as_bytes()), &BTreeMap::new(), &mut out);
        of_any_kind(Some(new.as_bytes()), Some(&old), &mut out);
        let _ = (out.to_string(), out.to_json());
    }
}
