use super::*;

fn named(name: &str, paths: &[&str]) -> Value {
    let paths: Vec<String> = paths.iter().map(|p| format!("ex.com/app:{p}")).collect();
    json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": false, "paths": paths})
}

fn of(roles: &[Value]) -> Value {
    let key = crate::tuf::sim::SimKey::new(3).public().to_tuf();
    json!({"keys": {"k": key}, "roles": roles})
}

fn value(roles: &[&str]) -> Value {
    of(&roles.iter().map(|name| named(name, &[&format!("{name}-*")])).collect::<Vec<_>>())
}

/// Rows of a role, the id of a change and the version at which it was learned of.
fn log(rows: &[(&str, &str, u64)]) -> Log {
    let mut out = Log::new();
    for (name, id, known) in rows {
        let known = Version::new(*known).unwrap();
        out.entry((*name).to_owned()).or_default().insert((*id).to_owned(), known);
    }
    out
}

type Line = (Entry, Log);

fn line(value: Value, set: u64, rows: &[(&str, &str, u64)]) -> Line {
    (Entry::new(value, set, BTreeSet::new()), log(rows))
}

fn joined(ours: &Line, theirs: &Line, common: u64, learned: u64) -> Option<Line> {
    fn side((entry, log): &Line) -> Side<'_> {
        Side { entry: Some(entry), log }
    }
    let learned = Version::new(learned).unwrap();
    join(side(ours), side(theirs), common, learned).map(|(entry, log)| (entry.unwrap(), log))
}

fn names(line: &Line) -> Vec<&str> {
    let roles = line.0.value()["roles"].as_array().unwrap();
    roles.iter().map(|r| r["name"].as_str().unwrap()).collect()
}

/// Found by the interleavings (grants): a join learns of a grant, and whoever then took it back on the line that had it looked like
/// somebody who had changed it beside the join.
#[test]
fn who_takes_back_what_a_join_has_learned_of_contradicts_nobody() {
    let granted = line(value(&["a"]), 2, &[("a", "grant", 2)]);
    let before = line(value(&[]), 1, &[]);
    // Beside it, somebody published on what was there before, and joined the grant.
    let learned = joined(&before, &granted, 1, 4).unwrap();
    assert_eq!((names(&learned), &learned.1), (vec!["a"], &log(&[("a", "grant", 4)])));
    let back = line(value(&[]), 3, &[("a", "grant", 2), ("a", "back", 3)]);
    for (ours, theirs) in [(&learned, &back), (&back, &learned)] {
        let both = joined(ours, theirs, 2, 5).unwrap();
        assert_eq!((names(&both), both.1["a"].len()), (vec![], 2));
    }
    // Who did not know of the grant has changed it beside, in whatever version.
    let other = line(of(&[named("a", &["b-*"])]), 9, &[("a", "other", 9)]);
    assert_eq!(joined(&learned, &other, 1, 10), None);
    assert_eq!(joined(&other, &back, 1, 10), None);
}

/// Found by the interleavings (grants, seed 1020): two joins of the same delegations were joined, and that counted as a change of
/// each role; beside somebody who took one back the releases of that line were lost as a conflict.
#[test]
fn what_both_sides_say_alike_is_no_change_of_the_join() {
    let both = [("a", "a1", 7), ("b", "b1", 7)];
    let (x, y) =
        (line(value(&["a", "b"]), 7, &both), line(value(&["a", "b"]), 6, &[("a", "a1", 6), ("b", "b1", 6)]));
    let same = joined(&x, &y, 5, 8).unwrap();
    assert_eq!((same.0.set(), &same.1), (7, &log(&both)));
    let gone = line(value(&["a"]), 8, &[("a", "a1", 7), ("b", "b1", 7), ("b", "b2", 8)]);
    for (ours, theirs) in [(&gone, &same), (&same, &gone)] {
        assert_eq!(names(&joined(ours, theirs, 7, 9).unwrap()), ["a"]);
    }
}

#[test]
fn what_was_forgotten_past_the_window_was_known_to_the_common_ancestor() {
    let old = line(value(&["a", "b"]), 90, &[("a", "a1", 40), ("b", "b1", 90)]);
    let forgot = line(value(&["a", "c"]), 90, &[("c", "c1", 90)]);
    let both = joined(&old, &forgot, 80, 91).unwrap();
    assert_eq!(names(&both), ["a", "b", "c"]);
    assert_eq!(both.1["a"]["a1"].get(), 40);
}

#[test]
fn a_role_that_is_asked_first_is_asked_first_in_the_join() {
    let (wide, urgent) = (|| named("wide", &["*"]), || named("urgent", &["fix-1"]));
    let first = line(of(&[urgent(), wide()]), 2, &[("urgent", "u", 2)]);
    let beside = line(of(&[wide(), named("z", &["z-*"])]), 2, &[("z", "z", 2)]);
    for (ours, theirs) in [(&first, &beside), (&beside, &first)] {
        assert_eq!(names(&joined(ours, theirs, 1, 3).unwrap()), ["urgent", "wide", "z"]);
    }
}

#[test]
fn an_order_is_kept_where_it_tells_something() {
    let (x, y) = (|| named("x", &["v*"]), || named("y", &["v1*"]));
    let other = || named("z", &["z-*"]);
    let turned = line(of(&[y(), x()]), 2, &[(ORDER, "o", 2)]);
    let grown = line(of(&[x(), y(), other()]), 2, &[("z", "z", 2)]);
    for (ours, theirs) in [(&turned, &grown), (&grown, &turned)] {
        assert_eq!(names(&joined(ours, theirs, 1, 3).unwrap()), ["y", "x", "z"]);
    }
    // Before which one a new role stands is kept as well.
    let before = line(of(&[named("w", &["v1.2"]), x(), y()]), 2, &[("w", "w", 2)]);
    for (ours, theirs) in [(&before, &grown), (&grown, &before)] {
        assert_eq!(names(&joined(ours, theirs, 1, 3).unwrap()), ["w", "x", "y", "z"]);
    }
    // It stood first of two that somebody turned meanwhile.
    assert_eq!(joined(&before, &turned, 1, 3), None);
    // Two orders, neither known to the other.
    let again = line(of(&[y(), x(), other()]), 3, &[(ORDER, "o2", 3), ("z", "z", 2)]);
    let third = line(of(&[x(), y()]), 3, &[(ORDER, "o3", 3)]);
    assert_eq!(joined(&again, &third, 1, 4), None);
    // Changed by a tool that says nothing of it.
    let silent = line(of(&[y(), x()]), 1, &[]);
    assert_eq!(joined(&silent, &line(of(&[x(), y()]), 1, &[]), 1, 4), None);
}

#[test]
fn a_change_names_what_it_changes() {
    let version = Version::new(7).unwrap();
    let base = ["ab".to_owned()];
    let of_change = |old: &Value, new: &Value| {
        let found = changes(Some(old), new, base.iter(), version);
        found.into_iter().map(|(name, id)| (name, id.len())).collect::<Vec<_>>()
    };
    let named_so = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), 16)).collect::<Vec<_>>();
    assert_eq!(of_change(&value(&["a"]), &value(&["a"])), vec![]);
    assert_eq!(of_change(&value(&["a", "b"]), &value(&["b", "c"])), named_so(&["a", "c"]));
    assert_eq!(of_change(&value(&["a", "b"]), &value(&["b", "a"])), named_so(&[ORDER]));
    let mut more = value(&["a"]);
    more["x-note"] = json!(1);
    assert_eq!(of_change(&value(&["a"]), &more), named_so(&[ORDER]));
    assert_eq!(of_change(&value(&["a"]), &json!({"roles": 7})), named_so(&[ORDER]));
    let ids = |version: u64, base: &str| {
        let found = changes(None, &value(&["a"]), [base.to_owned()].iter(), Version::new(version).unwrap());
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(2, "ab"), ids(2, "ab"));
    assert!(ids(2, "ab") != ids(3, "ab") && ids(2, "ab") != ids(2, "cd"));
}
