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
    let one = (any::<usize>(), any::<u32>(), 0_u8..8, 0_u8..3).prop_map(|(live, seen, change, name)| Move {
        live,
        seen,
        change,
        name,
    });
    prop::collection::vec(one, 1..10)
}

/// An intent, with what its signer knew; only the checker sees it.
struct Op {
    path: String,
    value: Option<String>,
    past: BTreeSet<usize>,
}

#[derive(Default)]
struct History {
    files: Vec<RoleFile>,
    ops: Vec<Op>,
    known: BTreeMap<String, BTreeSet<usize>>,
}

impl History {
    fn play(moves: &[Move]) -> Self {
        let mut h = Self::default();
        h.files.push(first());
        for (i, m) in moves.iter().enumerate() {
            let live = &h.files[m.live % h.files.len()];
            let seen = h.files.iter().enumerate().filter(|(n, _)| m.seen >> n & 1 == 1);
            let seen: Vec<_> = seen.map(|(_, f)| f.clone()).collect();
            let view = fold(live, None, &seen, true).view;
            let mut past = BTreeSet::new();
            for hash in view.family.keys().chain(view.beside.keys()) {
                past.extend(h.known.get(hash).into_iter().flatten().copied());
            }
            let n = m.name.to_string();
            let change = match m.change {
                0..=2 => Some(release(&n)),
                3..=4 => Some(withdraw(&n, &format!("w{i}"))),
                5..=6 => Some(tag("t", &format!("{i}"))),
                _ => None,
            };
            let change = change.filter(|c| is_needed(&view, c));
            let file = next_file(&view, change.as_slice());
            if let Some(change) = change {
                let op = match change {
                    Change::Set { path, value } => {
                        (path, value["hashes"]["sha256"].as_str().map(str::to_owned))
                    }
                    Change::Withdraw { path, .. } => (path, None),
                    Change::Delegate(_) => unreachable!(),
                };
                let before = past.clone();
                past.insert(h.ops.len());
                h.ops.push(Op { path: op.0, value: op.1, past: before });
            }
            h.known.insert(file.hash().to_owned(), past);
            h.files.push(file);
        }
        h
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
            let older = added
                .iter()
                .filter(|a| self.ops[**a].value.as_deref() == value)
                .all(|w| added.iter().any(|a| self.ops[*a].value.as_deref() != value && knew(*a, *w)));
            prop_assert!(!older, "older value of a tag is back: {path}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_replays_do_nothing(moves in moves(), live in any::<usize>()) {
        let h = History::play(&moves);
        let live = &h.files[live % h.files.len()];
        let end = in_rounds(live, &h.files)?;
        h.check(end.content())?;
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
        let h = History::play(&moves);
        let (a, b) = (&h.files[a % h.files.len()], &h.files[b % h.files.len()]);
        let (x, y) = (fold(a, None, &h.files, true), fold(b, None, &h.files, true));
        let paths = |f: &Folded| f.view.content().entries().keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(paths(&x), paths(&y));
        for (path, entry) in x.view.content().entries() {
            let other = y.view.content().entry(path).unwrap();
            prop_assert!(h.is_contested(path) || entry.names_same(other.value()), "{}", path);
        }
        // Two who settle one pool differently agree at once.
        let (x, y) = (in_rounds(a, &h.files)?, in_rounds(b, &h.files)?);
        let z = settled(&x, std::slice::from_ref(&y));
        prop_assert_eq!(verdict(&z, &x), Verdict::AlreadyIn);
        prop_assert_eq!(verdict(&z, &y), Verdict::AlreadyIn);
    }

    #[test]
    fn a_merge_is_idempotent(moves in moves(), a in any::<usize>(), b in any::<usize>()) {
        let h = History::play(&moves);
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
