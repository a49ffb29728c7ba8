//! Which of too many are looked at. Whoever may push can put any number of things at tags of their choosing: in any order that they
//! can foresee, theirs would be the ones that are read, each time.

use std::hash::{BuildHasher as _, Hash, RandomState};

/// At most `most` of `all`, drawn by lot where there are more, in their order; and how many are left out.
pub(super) fn drawn<T: Hash>(mut all: Vec<T>, most: usize) -> (Vec<T>, usize) {
    let left = all.len().saturating_sub(most);
    if left > 0 {
        let lots = RandomState::new();
        let mut by_lot: Vec<(u64, usize)> =
            all.iter().enumerate().map(|(at, item)| (lots.hash_one(item), at)).collect();
        by_lot.sort_unstable();
        let mut kept = vec![false; all.len()];
        by_lot.iter().take(most).for_each(|(_, at)| kept[*at] = true);
        let mut kept = kept.into_iter();
        all.retain(|_| kept.next().unwrap_or_default());
    }
    (all, left)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_left_out_each_time() {
        assert_eq!(drawn(vec![1, 2, 3], 3), (vec![1, 2, 3], 0));
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let (drawn, left) = drawn((0..100).collect::<Vec<u32>>(), 10);
            assert!(drawn.len() == 10 && left == 90 && drawn.is_sorted());
            seen.extend(drawn);
        }
        // One of them is never drawn in 400 turns with a chance of 0.9^400.
        assert_eq!(seen.len(), 100);
    }
}
