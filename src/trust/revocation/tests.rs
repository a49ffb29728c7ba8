use serde_json::{Value, json};

use super::join::{MAX_ENTRIES, MAX_RECOVERED};
use super::*;
use crate::oci::sorted_json;
use crate::sig::KeyId;

#[test]
fn a_submitted_list_leaves_room() {
    let list = |from: usize, to: usize| -> Vec<u8> {
        let entry = |n| json!({"id": format!("{n}"), "kind": "advisory", "at": "2027-01-15T08:00:00Z"});
        let entries: Vec<Value> = (from..to).map(entry).collect();
        json!({"schemaVersion": 1, "entries": entries}).to_string().into_bytes()
    };
    let check = |new: &[u8], known: &[u8]| check_submitted(new, &[known]).is_ok();
    assert!(check(&list(0, 0), &list(0, 0)) && check(&list(0, 10_000), &list(0, 0)));
    assert!(!check(&list(0, 10_001), &list(0, 0)) && !check(&list(0, 20_000), &list(0, 5)));
    assert!(check(&list(0, 13_000), &list(0, 12_000)) && !check(&list(0, 13_001), &list(0, 12_000)));
    assert!(check(&list(0, 19_000), &list(0, 18_500)) && !check(&list(0, 19_001), &list(0, 18_500)));
    // What it lacks is no reason, and neither is what is published.
    assert!(check(&list(0, 5), &list(0, 19_500)) && check(&list(0, 5), b"{}"));
    assert!(!check(b"{\"schemaVersion\":2,\"entries\":[]}", &list(0, 0)) && !check(b"junk", &list(0, 0)));
    // An id of another entry: what is undone by it would count for neither.
    let other = json!({"id": "1", "kind": "tombstone", "subject": Digest::sha256(b"x"), "at": "2027-01-15T08:00:00Z"});
    let taken = json!({"schemaVersion": 1, "entries": [other]}).to_string();
    assert!(check_submitted(taken.as_bytes(), &[&list(0, 5)[..]]).unwrap_err().contains("the id 1"));
    assert!(check(taken.as_bytes(), &list(2, 5)) && check(taken.as_bytes(), taken.as_bytes()));
    // The two alone are small enough.
    assert!(!check(&list(9_000, 18_000), &list(0, 9_000)));
}

#[test]
fn unknown_kinds_and_versions_are_not_read_as_nothing() {
    for bad in [
        r#"{"schemaVersion":2,"entries":[]}"#,
        r#"{"entries":[]}"#,
        r#"{"schemaVersion":1}"#,
        r#"{"schemaVersion":1,"entries":[{"id":"a","kind":"curse","at":"2026-01-01T00:00:00Z"}]}"#,
        "[]",
    ] {
        assert!(RevocationList::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// A full list, asked for every part of a large index, costs no more than a few reads of it.
#[test]
fn many_bundles_are_looked_up_in_a_full_list() {
    let digests: Vec<Digest> = (0..MAX_ENTRIES).map(|n| Digest::sha256(n.to_string().as_bytes())).collect();
    let entry = |(n, d): (usize, &Digest)| json!({"id": format!("{n}"), "kind": "tombstone", "subject": d, "at": "2026-01-01T00:00:00Z"});
    let entries: Vec<Value> = digests.iter().enumerate().map(entry).collect();
    let list = json!({"schemaVersion": 1, "entries": entries}).to_string();
    let begun = std::time::Instant::now();
    let list = RevocationList::parse(list.as_bytes()).unwrap();
    assert!(digests.iter().all(|d| list.revokes(d).is_some_and(|e| e.digest.as_ref() == Some(d))));
    assert!(list.advisories(&digests).is_empty());
    // One walk over the list for each of them takes minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn an_undone_entry_does_not_count() {
    let digest = Digest::sha256(b"x");
    let entry = format!(
        r#"{{"id":"a","kind":"bundle","subject":"{digest}","at":"2026-01-01T00:00:00Z","reason":"r"}}"#
    );
    let list = |more: &str| {
        RevocationList::parse(format!(r#"{{"schemaVersion":1,"entries":[{entry}{more}]}}"#).as_bytes())
            .unwrap()
    };
    assert_eq!(list("").revokes(&digest).unwrap().reason.as_deref(), Some("r"));
    assert_eq!(list("").revokes(&Digest::sha256(b"y")), None);
    assert_eq!(
        list(r#",{"id":"b","kind":"unrevoke","undoes":"a","at":"2026-01-02T00:00:00Z"}"#).revokes(&digest),
        None
    );
}

/// A thief enters a good bundle under the id of an honest tombstone, so that undoing the one would undo the other.
#[test]
fn of_entries_with_one_id_only_the_one_that_is_named_is_undone() {
    let (bad, good) = (Digest::sha256(b"bad"), Digest::sha256(b"good"));
    let entry = |digest: &Digest, at: &str| json!({"id": "a", "kind": "tombstone", "subject": digest, "at": at, "reason": "r"});
    let undo = |subject: Option<&Digest>| {
        let mut e = json!({"id": "b", "kind": "unrevoke", "undoes": "a", "at": "2026-01-03T00:00:00Z"});
        subject.into_iter().for_each(|d| e["subject"] = json!(d));
        e
    };
    let list = |entries: &[Value]| {
        let doc = json!({"schemaVersion": 1, "entries": entries});
        RevocationList::parse(doc.to_string().as_bytes()).unwrap()
    };
    let (honest, thiefs) = (entry(&bad, "2026-01-01T00:00:00Z"), entry(&good, "2026-01-02T00:00:00Z"));
    let plain = list(&[honest.clone(), thiefs.clone(), undo(None)]);
    assert!(plain.revokes(&bad).is_some() && plain.revokes(&good).is_some());
    let named = list(&[honest.clone(), thiefs, undo(Some(&good))]);
    assert!(named.revokes(&bad).is_some() && named.revokes(&good).is_none());
    assert!(list(&[honest.clone(), undo(None)]).revokes(&bad).is_none());
    assert!(list(&[honest, undo(Some(&good))]).revokes(&bad).is_some());
}

#[test]
fn a_join_holds_every_entry_and_says_when_there_is_no_news() {
    let by: KeyId = "ab".repeat(32).try_into().unwrap();
    let at: UnixTime = "2026-01-01T00:00:00Z".parse().unwrap();
    let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let entry = |what: &Revoke| what.to_json(&by, at, "r");
    let list =
        |entries: &[Value]| serde_json::to_vec(&json!({"schemaVersion": 1, "entries": entries})).unwrap();
    let (one, two) = (entry(&Revoke::Tombstone(a.clone())), entry(&Revoke::Advisory(Some(b.clone()))));
    let (x, y) = (list(std::slice::from_ref(&one)), list(std::slice::from_ref(&two)));
    let joined = join_revocations(&[&x, &y], &[]).unwrap().unwrap();
    assert_eq!(Some(&joined), join_revocations(&[&y, &x], &[]).unwrap().as_ref());
    assert_eq!(join_revocations(&[&joined, &x, &y], std::slice::from_ref(&one)).unwrap(), None);
    let read = RevocationList::parse(&joined).unwrap();
    assert!(read.revokes(&a).is_some() && read.revokes(&b).is_none());
    assert_eq!(
        (read.advisories(std::slice::from_ref(&a)).len(), read.advisories(std::slice::from_ref(&b)).len()),
        (0, 1)
    );
    let undo = entry(&Revoke::Undo(one["id"].as_str().unwrap().to_owned(), None));
    let undone = join_revocations(&[&joined], &[undo]).unwrap().unwrap();
    assert!(RevocationList::parse(&undone).unwrap().revokes(&a).is_none());
    let all = list(&[entry(&Revoke::Advisory(None))]);
    assert_eq!(RevocationList::parse(&all).unwrap().advisories(&[a]).len(), 1);
    assert!(join_revocations(&[br#"{"schemaVersion":2,"entries":[]}"#], &[]).is_err());
}

fn of(entries: &[Value]) -> Vec<u8> {
    sorted_json(&json!({"schemaVersion": 1, "entries": entries}))
}

#[test]
fn a_recovery_takes_over_what_takes_back_and_no_undoing() {
    let subject = Digest::sha256(b"bad");
    let at = "2026-01-01T00:00:00Z";
    let entry = |id: &str, kind: &str| json!({"id": id, "kind": kind, "subject": subject, "at": at});
    let undo = json!({"id": "u", "kind": "unrevoke", "undoes": "a", "at": at});
    let good = of(&[entry("a", "tombstone")]);
    let thiefs = of(&[entry("a", "tombstone"), undo.clone()]);
    assert_eq!(recovered_revocations(Some(&good), &[&thiefs, &good, b"{}"], &BTreeSet::new()), Ok(None));
    let since = of(&[entry("b", "advisory"), undo]);
    let list = recovered_revocations(Some(&good), &[&since], &BTreeSet::new()).unwrap().unwrap();
    let list = RevocationList::parse(&list).unwrap();
    assert!(list.revokes(&subject).is_some() && list.advisories(&[subject]).len() == 1);
    // Without a good list one alone is taken over, too.
    assert!(recovered_revocations(None, &[&good], &BTreeSet::new()).unwrap().is_some());
    // One that cannot be read is no empty one: what it takes back would count again.
    for bad in
        [&b"{}"[..], b"", br#"{"schemaVersion":2,"entries":[]}"#, br#"{"schemaVersion":1,"entries":7}"#]
    {
        assert!(recovered_revocations(Some(bad), &[&good], &BTreeSet::new()).is_err());
    }
}

#[test]
fn a_full_list_stops_no_recovery_and_leaves_room() {
    let at = "2026-01-01T00:00:00Z";
    let junk = |n: usize| json!({"id": format!("j{n}"), "kind": "advisory", "at": "2030-01-01T00:00:00Z"});
    let tombstone = |what: &Digest| json!({"id": what.hex(), "kind": "tombstone", "subject": what, "at": at});
    let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
    let good = of(&[tombstone(&old)]);
    let mut full: Vec<Value> = (0..MAX_ENTRIES).map(junk).collect();
    full.push(tombstone(&new));
    let full = of(&full);
    assert!(join_revocations(&[&good, &full], &[]).is_err());
    let list = recovered_revocations(Some(&good), &[&full], &BTreeSet::new()).unwrap().unwrap();
    assert!(!is_nearly_full(&list));
    let list = RevocationList::parse(&list).unwrap();
    assert!(list.revokes(&old).is_some() && list.revokes(&new).is_some());
    // Few entries may be long, too.
    let long = json!({"id": "l", "kind": "advisory", "at": at, "reason": "x".repeat(MAX_RECOVERED)});
    assert_eq!(recovered_revocations(Some(&good), &[&of(&[long])], &BTreeSet::new()), Ok(None));
}

fn material(kind: MaterialKind, subject: &Digest, since: Option<&str>) -> Material {
    Material { kind, subject: subject.clone(), since: since.map(|at| at.parse().unwrap()) }
}

fn written(what: &Revoke) -> Value {
    let by: KeyId = "ab".repeat(32).try_into().unwrap();
    what.to_json(&by, "2026-02-01T00:00:00Z".parse().unwrap(), "stolen")
}

#[test]
fn what_is_written_of_signatures_keys_and_certificates_is_read_again() {
    for kind in [MaterialKind::Signature, MaterialKind::Key, MaterialKind::Certificate] {
        let subject = Digest::sha256(kind.as_str().as_bytes());
        let entry = written(&Revoke::Material(material(kind, &subject, None)));
        let list = RevocationList::parse_of_signatures(&of(std::slice::from_ref(&entry))).unwrap();
        let (found, by) = list.takes_back(std::slice::from_ref(&subject), None).unwrap();
        assert_eq!((found, by.kind, by.since), (&subject, kind.into(), None));
        assert_eq!(by.said(), format!("at 2026-02-01T00:00:00Z by {}: stolen", "ab".repeat(32)));
        // No bundle is taken back by it, and nothing else.
        assert_eq!(list.revokes(&subject), None);
        assert_eq!(list.takes_back(&[Digest::sha256(b"another")], None), None);
        assert_eq!(list.keys().contains_key(&subject), kind == MaterialKind::Key);
        // Undone by its id, with what it is about or without.
        let id = entry["id"].as_str().unwrap().to_owned();
        for about in [None, Some(subject.clone())] {
            let undo = written(&Revoke::Undo(id.clone(), about));
            let list = RevocationList::parse(&of(&[entry.clone(), undo])).unwrap();
            assert_eq!(list.takes_back(std::slice::from_ref(&subject), None), None);
            assert!(list.keys().is_empty());
        }
        let undo = written(&Revoke::Undo(id, Some(Digest::sha256(b"another"))));
        let list = RevocationList::parse(&of(&[entry, undo])).unwrap();
        assert!(list.takes_back(&[subject], None).is_some());
    }
}

/// `since` spares what is proven to be older, of keys and certificates, and nothing else.
#[test]
fn only_a_proven_time_before_it_is_spared() {
    let subject = Digest::sha256(b"x");
    let since = "2026-01-10T00:00:00Z";
    let at = |text: &str| Some(text.parse::<UnixTime>().unwrap());
    for (kind, spared) in
        [(MaterialKind::Signature, false), (MaterialKind::Key, true), (MaterialKind::Certificate, true)]
    {
        let entry = written(&Revoke::Material(material(kind, &subject, Some(since))));
        let list = RevocationList::parse(&of(&[entry])).unwrap();
        let taken =
            |proven: Option<UnixTime>| list.takes_back(std::slice::from_ref(&subject), proven).is_some();
        assert!(taken(None), "what nobody proves is refused");
        assert!(taken(at(since)) && taken(at("2026-01-11T00:00:00Z")));
        assert_eq!(taken(at("2026-01-09T23:59:59Z")), !spared, "{kind:?}");
    }
    // An earlier entry without bound is not loosened by one with it.
    let all = [None, Some(since)]
        .map(|since| written(&Revoke::Material(material(MaterialKind::Key, &subject, since))));
    let list = RevocationList::parse(&of(&all)).unwrap();
    assert!(list.takes_back(&[subject], at("2026-01-01T00:00:00Z")).is_some());
}

#[test]
fn an_entry_covers_what_it_takes_back_as_far() {
    let subject = Digest::sha256(b"x");
    let read = |since: Option<&str>| {
        let entry = written(&Revoke::Material(material(MaterialKind::Key, &subject, since)));
        RevocationList::parse(&of(&[entry])).unwrap().entries()[0].clone()
    };
    let (early, late) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
    for (own, other, covers) in [
        (None, None, true),
        (None, late, true),
        (early, late, true),
        (late, late, true),
        (late, early, false),
        (early, None, false),
    ] {
        assert_eq!(
            read(own).covers(&material(MaterialKind::Key, &subject, other)),
            covers,
            "{own:?} {other:?}"
        );
    }
    assert!(!read(None).covers(&material(MaterialKind::Certificate, &subject, None)));
    assert!(!read(None).covers(&material(MaterialKind::Key, &Digest::sha256(b"y"), None)));
}

#[test]
fn what_an_entry_is_about_must_be_said() {
    let entry = |kind: &str, subject: Value| {
        of(&[json!({"id": "a", "kind": kind, "subject": subject, "at": "2026-01-01T00:00:00Z"})])
    };
    for kind in ["signature", "certificate"] {
        let list = entry(kind, json!("the old one"));
        assert!(RevocationList::parse(&list).is_ok(), "no bundle is meant by it");
        assert!(RevocationList::parse_of_signatures(&list).is_err());
    }
    // It could be a key of TUF.
    assert!(RevocationList::parse(&entry("key", json!("the old one"))).is_err());
    let mut odd =
        json!({"id": "a", "kind": "key", "subject": Digest::sha256(b"x"), "at": "2026-01-01T00:00:00Z"});
    odd["since"] = json!("last week");
    assert!(RevocationList::parse(&of(&[odd])).is_err());
}

/// A thief of the list's key takes back the honest keys, which anybody can read in the root: the recovered state would stand on nothing.
#[test]
fn a_recovery_takes_over_no_entry_against_its_own_keys() {
    let (own, other) = (Digest::sha256(b"own"), Digest::sha256(b"other"));
    let entry =
        |subject: &Digest, kind: MaterialKind| written(&Revoke::Material(material(kind, subject, None)));
    let thiefs = of(&[
        entry(&own, MaterialKind::Key),
        entry(&other, MaterialKind::Key),
        entry(&own, MaterialKind::Certificate),
    ]);
    let used = BTreeSet::from([own.clone()]);
    let list = recovered_revocations(Some(&of(&[])), &[&thiefs], &used).unwrap().unwrap();
    let list = RevocationList::parse(&list).unwrap();
    assert_eq!(list.keys().into_keys().collect::<Vec<_>>(), [&other]);
    assert_eq!(list.entries().len(), 2);
}
