//! Random histories of concurrent writers.

use super::*;

/// One step of a random history: who signs, which part of the pool is seen, what is changed.
#[derive(Debug, Clone)]
struct Move {
    live: usize,
    seen: u32,
    change: u8,
    name: u8,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = (any::<usize>(), any::<u32>(), 0_u8..12, 0_u8..3).prop_map(|(live, seen, change, name)| Move {
        live,
        seen,
        change,
        name,
    });
    prop::collection::vec(one, 1..12)
}

/// A change of one role's delegation, with what its signer knew of those before.
struct Grant {
    role: String,
    key: Option<String>,
    past: BTreeSet<usize>,
}

/// To whom a file delegates: role and key.
fn given(content: &Content) -> BTreeMap<String, String> {
    match content.entry(DELEGATIONS) {
        Some(_) => delegates(content).into_iter().collect(),
        None => BTreeMap::new(),
    }
}

/// The delegation to one role, changed.
fn altered(content: &Content, name: u8, key: Option<&str>) -> Change {
    let mut roles = given(content);
    let name = format!("r{name}");
    match key {
        Some(key) => drop(roles.insert(name, key.to_owned())),
        None => drop(roles.remove(&name)),
    }
    let rows: Vec<(&str, &str, String)> =
        roles.iter().map(|(name, key)| (name.as_str(), key.as_str(), format!("{name}-*"))).collect();
    delegating(&rows.iter().map(|(name, key, tags)| (*name, *key, tags.as_str())).collect::<Vec<_>>())
}

/// An intent, with what its signer knew; only the checker sees it.
struct Op {
    path: String,
    value: Option<String>,
    /// What was in the files that it stands on, and in those of which only entries and withdrawals are in.
    past: BTreeSet<usize>,
    /// What was in the files that it stands on.
    line: BTreeSet<usize>,
}

#[derive(Default)]
struct History {
    files: Vec<RoleFile>,
    ops: Vec<Op>,
    grants: Vec<Grant>,
    known: BTreeMap<String, BTreeSet<usize>>,
    known_grants: BTreeMap<String, BTreeSet<usize>>,
}

impl History {
    /// With `rivals`, people change one delegation without knowing of each other.
    fn play(moves: &[Move], rivals: bool) -> Self {
        let mut h = Self::default();
        h.files.push(first());
        for (i, m) in moves.iter().enumerate() {
            let live = &h.files[m.live % h.files.len()];
            let seen = h.files.iter().enumerate().filter(|(n, _)| m.seen >> n & 1 == 1);
            let seen: Vec<_> = seen.map(|(_, f)| f.clone()).collect();
            let folded = fold(live, None, &seen, true);
            let view = &folded.view;
            let (mut past, mut past_grants) = (BTreeSet::new(), BTreeSet::new());
            for hash in view.family.keys().chain(view.beside.keys()) {
                past.extend(h.known.get(hash).into_iter().flatten().copied());
                past_grants.extend(h.known_grants.get(hash).into_iter().flatten().copied());
            }
            let line = past.clone();
            // Entries and withdrawals of these are in, and nothing of their delegations.
            for hash in &folded.conflicts {
                past.extend(h.known.get(hash).into_iter().flatten().copied());
            }
            let n = m.name.to_string();
            let key = format!("k{}", i % 7);
            let change = match m.change {
                0..=2 => Some(release(&n)),
                3..=4 => Some(withdraw(&n, &format!("w{i}"))),
                5..=6 => Some(tag("t", &format!("{i}"))),
                7..=8 => Some(altered(view.content(), m.name, Some(&key))),
                9..=10 => Some(altered(view.content(), m.name, None)),
                _ => None,
            };
            let role = format!("r{}", m.name);
            let is_grant = matches!(change, Some(Change::Delegate(_)));
            let unknown =
                h.grants.iter().enumerate().any(|(g, x)| x.role == role && !past_grants.contains(&g));
            let of = |content: &Content| given(content).get(&role).cloned();
            let key = matches!(m.change, 7..=8).then_some(key);
            let change = change
                .filter(|c| is_needed(view, c))
                .filter(|_| !is_grant || (of(view.content()) != key && (rivals || !unknown)));
            let file = next_file(view, change.as_slice());
            match change {
                Some(Change::Set { path, value }) => {
                    let value = value["hashes"]["sha256"].as_str().map(str::to_owned);
                    let before = past.clone();
                    past.insert(h.ops.len());
                    h.ops.push(Op { path, value, past: before, line });
                }
                Some(Change::Withdraw { path, .. }) => {
                    let before = past.clone();
                    past.insert(h.ops.len());
                    h.ops.push(Op { path, value: None, past: before, line });
                }
                Some(Change::Delegate(_)) => {
                    let before = past_grants.clone();
                    past_grants.insert(h.grants.len());
                    h.grants.push(Grant { role, key, past: before });
                }
                None => {}
            }
            h.known.insert(file.hash().to_owned(), past);
            h.known_grants.insert(file.hash().to_owned(), past_grants);
            h.files.push(file);
        }
        h
    }

    /// To whom is delegated in the end, where everybody knew the change before his own.
    fn given(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for grant in &self.grants {
            match &grant.key {
                Some(key) => drop(out.insert(grant.role.clone(), key.clone())),
                None => drop(out.remove(&grant.role)),
            }
        }
        out
    }

    /// Whether two changed one delegation without knowing of each other.
    fn has_rivals(&self) -> bool {
        let rival = |(i, one): (usize, &Grant)| {
            let later = self.grants.iter().skip(i + 1);
            later.into_iter().any(|other| other.role == one.role && !other.past.contains(&i))
        };
        self.grants.iter().enumerate().any(rival)
    }

    /// Whether two signers set the path without knowing of each other.
    fn is_contested(&self, path: &str) -> bool {
        let ops: Vec<_> = self.ops.iter().enumerate().filter(|(_, op)| op.path == path).collect();
        ops.iter().any(|(i, _)| ops.iter().any(|(j, later)| i < j && !later.past.contains(i)))
    }

    /// The properties of the model, against the truth.
    fn check(&self, end: &Content) -> Result<(), TestCaseError> {
        let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, op) in self.ops.iter().enumerate() {
            by_path.entry(&op.path).or_default().push(i);
        }
        for (path, ops) in by_path {
            let entry = end.entry(path);
            let (added, removed): (Vec<usize>, Vec<usize>) =
                ops.into_iter().partition(|i| self.ops[*i].value.is_some());
            let knew = |a: usize, r: usize| self.ops[a].past.contains(&r);
            if entry.is_none() {
                let lost = added.iter().any(|a| removed.iter().all(|r| knew(*a, *r)));
                prop_assert!(!lost, "entry lost: {path}");
                continue;
            }
            let back = removed.iter().any(|r| added.iter().all(|a| !knew(*a, *r)));
            prop_assert!(!back, "withdrawn entry is back: {path}");
            let value = entry.and_then(Entry::sha256);
            // Of two values of a tag only who descends from a file with the one is known to have replaced it.
            let replaced = |a: usize, w: usize| self.ops[a].line.contains(&w);
            let older = added
                .iter()
                .filter(|a| self.ops[**a].value.as_deref() == value)
                .all(|w| added.iter().any(|a| self.ops[*a].value.as_deref() != value && replaced(*a, *w)));
            prop_assert!(!older, "older value of a tag is back: {path}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_replays_do_nothing(moves in moves(), live in any::<usize>()) {
        let h = History::play(&moves, false);
        let live = &h.files[live % h.files.len()];
        let end = in_rounds(live, &h.files)?;
        h.check(end.content())?;
        prop_assert_eq!(given(end.content()), h.given());
        // Every old file put back, in whatever role: already in, and the fold changes nothing.
        for file in &h.files {
            prop_assert_eq!(verdict(&end, file), Verdict::AlreadyIn);
        }
        let again = fold(&end, Some(&end), &h.files, true);
        prop_assert_eq!(again.view.file(), Some(end.hash()));
        prop_assert!(again.merged.is_empty());
        // Signed again unchanged: a fast-forward of the same content.
        let renewed = next_file(&View::of(&end), &[]);
        prop_assert!(renewed.content().same(end.content()));
        prop_assert_eq!(verdict(&end, &renewed), Verdict::FastForward);
    }

    #[test]
    fn the_join_does_not_depend_on_which_file_is_live(moves in moves(), a in any::<usize>(), b in any::<usize>()) {
        let h = History::play(&moves, false);
        let (a, b) = (&h.files[a % h.files.len()], &h.files[b % h.files.len()]);
        let (x, y) = (fold(a, None, &h.files, true), fold(b, None, &h.files, true));
        let paths = |f: &Folded| f.view.content().entries().keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(paths(&x), paths(&y));
        prop_assert_eq!(given(x.view.content()), given(y.view.content()));
        prop_assert!(x.conflicts.is_empty() && y.conflicts.is_empty());
        // Roles that never speak for one path may stand in any order.
        for (path, entry) in x.view.content().entries().iter().filter(|(path, _)| *path != DELEGATIONS) {
            let other = y.view.content().entry(path).unwrap();
            prop_assert!(h.is_contested(path) || entry.names_same(other.value()), "{}", path);
        }
        // Two who settle one pool differently agree at once.
        let (x, y) = (in_rounds(a, &h.files)?, in_rounds(b, &h.files)?);
        let z = settled(&x, std::slice::from_ref(&y));
        prop_assert_eq!(verdict(&z, &x), Verdict::AlreadyIn);
        prop_assert_eq!(verdict(&z, &y), Verdict::AlreadyIn);
    }

    /// Branches joined one after the other, each join signed, in any order and again: as if all had been there at once.
    #[test]
    fn joins_in_any_order_come_to_the_same(moves in moves(), order in prop::collection::vec(any::<usize>(), 1..24)) {
        let h = History::play(&moves, false);
        let all = in_rounds(&h.files[0], &h.files)?;
        let mut one = h.files[order[0] % h.files.len()].clone();
        let turns = order.iter().map(|n| n % h.files.len()).chain(0..h.files.len());
        for n in turns {
            one = settled(&one, std::slice::from_ref(&h.files[n]));
            prop_assert_eq!(verdict(&one, &h.files[n]), Verdict::AlreadyIn);
        }
        h.check(one.content())?;
        prop_assert_eq!(given(one.content()), h.given());
        let paths = |f: &RoleFile| f.content().entries().keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(paths(&one), paths(&all));
        let both = settled(&all, std::slice::from_ref(&one));
        for file in h.files.iter().chain([&one, &all]) {
            prop_assert_eq!(verdict(&both, file), Verdict::AlreadyIn);
        }
    }

    /// Two who change one delegation without knowing of each other: one of the changes stays, the other is named for as long as it is
    /// there, and no entry is lost or comes back for it.
    #[test]
    fn what_nobody_can_join_takes_nothing_else_along(moves in moves(), live in any::<usize>()) {
        let h = History::play(&moves, true);
        let mut live = h.files[live % h.files.len()].clone();
        let mut folded = fold(&live, None, &h.files, true);
        for _ in 0..4 {
            live = settled(&live, &h.files);
            folded = fold(&live, None, &h.files, true);
            if folded.view.file() == Some(live.hash()) {
                break;
            }
        }
        prop_assert_eq!(folded.view.file(), Some(live.hash()), "it is signed again and again");
        h.check(live.content())?;
        prop_assert!(h.has_rivals() || folded.conflicts.is_empty());
        for file in &h.files {
            let verdict = folded.verdicts[file.hash()];
            prop_assert!(verdict == Verdict::AlreadyIn || folded.conflicts.contains(file.hash()));
        }
        if folded.conflicts.is_empty() && !h.has_rivals() {
            prop_assert_eq!(given(live.content()), h.given());
        }
        // Whoever is delegated to, was granted that by somebody.
        for (role, key) in given(live.content()) {
            prop_assert!(h.grants.iter().any(|g| g.role == role && g.key.as_ref() == Some(&key)));
        }
    }

    #[test]
    fn a_merge_is_idempotent(moves in moves(), a in any::<usize>(), b in any::<usize>()) {
        let h = History::play(&moves, false);
        let (a, b) = (&h.files[a % h.files.len()], &h.files[b % h.files.len()]);
        let m = merge((a.content(), a.version()), (b.content(), b.version()), 0).content;
        let version = a.version().max(b.version());
        for one in [a, b] {
            let again = merge((&m, version), (one.content(), one.version()), 0);
            prop_assert!(again.content.same(&m));
        }
        let own = merge((a.content(), a.version()), (a.content(), a.version()), a.version().get());
        prop_assert!(own.content.same(a.content()) && own.losers.is_empty());
    }
}
