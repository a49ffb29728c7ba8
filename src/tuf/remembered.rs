//! What an installation remembers of one chain of roots.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::recall::{Listing, Recall, Recalled};
use super::{
    CollectionName, Fault, FileName, Files, Limits, RoleName, Root, RootChain, RootStep, RootWalk, Target,
    Targets, Trusted, TufError, Unverified, Version, same_online_keys,
};
use crate::time::UnixTime;

/// Roots, and the newest state that was verified: a floor, and a candidate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The files.
    pub files: Files,
    /// The root version under which the state was verified; none while only roots are known.
    pub verified_under: Option<Version>,
}

/// Chains of one name, seen from a trusted root.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The chain to which the root belongs: every one that it is in, or that a walk joins to it, taken together.
    pub own: Option<Remembered>,
    /// The others, in their order.
    pub others: Vec<Remembered>,
    /// Those of the others that a walk joins to the root, too, and that have another root of some version: that version, and its
    /// place among the others.
    pub rivals: Vec<(Version, usize)>,
    /// Why one of them cannot be taken together with the others: it, or one of those, is damaged, and then that is what `own` is.
    pub damage: Option<TufError>,
}

impl Told {
    /// Tell apart the chains of one name. What belongs to `root` by what is remembered goes before what does so over roots that
    /// others offer, so that the order in which chains were saved says nothing.
    pub fn apart(
        chains: impl IntoIterator<Item = Remembered>,
        root: &Bytes,
        offered: &[&Files],
        collection: &CollectionName,
        limits: &Limits,
        understood: impl Fn(&[u8]) -> bool,
    ) -> Self {
        let (mut first, mut then, mut out) = (Vec::new(), Vec::new(), Self::default());
        for chain in chains {
            let by_itself = chain.leading_to(root, &[], collection, limits);
            match by_itself.map(Ok).or_else(|| chain.leading_to(root, offered, collection, limits).map(Err)) {
                Some(Ok(leading)) => first.push((leading, chain)),
                Some(Err(leading)) => then.push((leading, chain)),
                None => out.others.push(chain),
            }
        }
        for (leading, chain) in first.into_iter().chain(then) {
            out.own = Some(match out.own.take() {
                None => leading,
                Some(own) => match own.joined(&leading, collection, limits, &understood) {
                    Ok(joined) => joined,
                    Err(TufError { fault: Fault::RootFork(version), .. }) => {
                        out.rivals.push((version, out.others.len()));
                        out.others.push(chain);
                        own
                    }
                    Err(e) => {
                        out.damage = Some(e);
                        let recall = Recall::of(Some(&own), collection, UnixTime::from_secs(0), limits);
                        if recall.is_damaged() { own } else { leading }
                    }
                },
            });
        }
        out
    }
}

impl Remembered {
    /// What to remember of a state that was verified: the roots as they were accepted, now and `before`, and exactly the files
    /// that the state pins, out of `files` or of what was remembered `before`.
    pub fn of(chain: &RootChain, trusted: &Trusted, files: &Files, before: Option<&Self>) -> Self {
        let mut kept = Files::new();
        for root in chain.roots() {
            kept.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
        }
        kept.add_missing(&Self::pinned(trusted, files));
        for before in before.iter().map(|b| &b.files) {
            let mut roots = before.clone();
            roots.retain(|name| {
                *name.role() == RoleName::root() && name.version() <= Some(trusted.root().version())
            });
            roots.drop_targets();
            kept.add_missing(&roots);
            kept.add_missing(&Self::pinned(trusted, before));
        }
        Self { files: kept, verified_under: Some(trusted.root().version()) }
    }

    /// One memory out of two of one chain: every root, the state that nothing falls by, and of its files what either has. A list of
    /// revocations that is `understood` is not given up for a state that came without its own. `self` was remembered first: it
    /// stays where the two contradict each other.
    ///
    /// # Errors
    /// Two different roots of one version, or a state that does not hold under its own root.
    pub fn joined(
        &self,
        new: &Self,
        collection: &CollectionName,
        limits: &Limits,
        understood: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, TufError> {
        let (mut roots, more) = (self.roots(), new.roots());
        for (name, bytes) in more.metadata() {
            match roots.get(name) {
                Some(settled) if !is_same_root(settled, bytes, limits) => {
                    let version = name.version().unwrap_or(Version::ONE);
                    return Err(TufError::new(&RoleName::root(), Fault::RootFork(version)));
                }
                Some(_) => {}
                None => roots.put(name.clone(), bytes.clone()),
            }
        }
        let mut kept = self.state_joined(new, &roots, collection, limits, understood)?;
        kept.files.retain(|name| *name.role() != RoleName::root());
        kept.files.add_missing(&roots);
        Ok(kept)
    }

    fn state_joined(
        &self,
        new: &Self,
        roots: &Files,
        collection: &CollectionName,
        limits: &Limits,
        understood: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, TufError> {
        let timestamp = FileName::timestamp();
        let same = self.files.get(&timestamp) == new.files.get(&timestamp);
        match (self.verified_under, new.verified_under) {
            (_, None) => return Ok(self.clone()),
            (None, Some(_)) => return Ok(new.clone()),
            (a, b) if same && a == b && new.is_within(self) => return Ok(self.clone()),
            _ => {}
        }
        // Expiry is judged nowhere here, so the time does not matter.
        let judged = |memory: &Self| {
            let mut all = memory.clone();
            all.files.add_missing(roots);
            Recall::of(Some(&all), collection, UnixTime::from_secs(0), limits).state()
        };
        let (Some(old), Some(newer)) = (judged(self)?, judged(new)?) else { return Ok(self.clone()) };
        let under =
            |state: &Recalled| (state.trusted().root().version(), state.trusted().root().role().clone());
        let ((old_under, a), (new_under, b)) = (under(&old), under(&newer));
        let floors_hold = same_online_keys(&a, &b);
        let replaces = match floors_hold {
            // The floors of the one under the older root fell.
            false => new_under > old_under,
            true => !newer.is_below(&old) && (!same || new_under >= old_under),
        };
        let (first, other) = if replaces { (newer, old) } else { (old, newer) };
        let first = first.with(&other);
        let list = |state: &Recalled| state.revocations(collection).readable(&understood).is_some();
        let given_up = || floors_hold || first.revocations(collection) != Listing::Undelegated;
        let kept = match replaces && list(&other) && !list(&first) && given_up() {
            true => other.with(&first),
            false => first,
        };
        Ok(Self { files: kept.files().clone(), verified_under: Some(kept.trusted().root().version()) })
    }

    /// The roots alone.
    fn roots(&self) -> Files {
        let mut roots = self.files.clone();
        roots.retain(|name| *name.role() == RoleName::root());
        roots.drop_targets();
        roots
    }

    /// Whether `other` has every file of this one.
    fn is_within(&self, other: &Self) -> bool {
        let root = |name: &&FileName| *name.role() != RoleName::root();
        let mut names = self.files.metadata().keys().filter(root);
        names.all(|name| self.files.get(name) == other.files.get(name))
            && self.files.targets().iter().all(|(path, bytes)| other.files.target(path) == Some(bytes))
    }

    /// Whether `root` is of this chain: it is remembered, or a walk leads from the one to the other, over what `offered` has of the
    /// roots between. Every step of it is signed, so nobody can make two chains one.
    pub fn is_of_chain(
        &self,
        root: &Bytes,
        offered: &[&Files],
        collection: &CollectionName,
        limits: &Limits,
    ) -> bool {
        self.leading_to(root, offered, collection, limits).is_some()
    }

    /// The chain with the roots by which `root` is of it; none when it is not.
    pub fn leading_to(
        &self,
        root: &Bytes,
        offered: &[&Files],
        collection: &CollectionName,
        limits: &Limits,
    ) -> Option<Self> {
        let version = Unverified::<Root>::parse(&RoleName::root(), root, limits).ok()?.claimed_version();
        let roots = self.roots();
        if let Some(held) = roots.root(version) {
            return is_same_root(held, root, limits).then(|| self.clone());
        }
        let known = || roots.metadata().iter().filter_map(|(name, bytes)| Some((name.version()?, bytes)));
        let before = known().filter(|(v, _)| *v < version).max();
        let after = known().filter(|(v, _)| *v > version).min();
        let lead = |from: &Bytes, to: Version, end: &Bytes| {
            led(from, to, end, offered, &collection.to_string(), limits)
        };
        let between = match (before, after) {
            (Some((_, before)), _) => lead(before, version, root)?,
            (None, Some((version, after))) => lead(root, version, after)?,
            (None, None) => return None,
        };
        let mut chain = self.clone();
        chain.files.add_missing(&between);
        Some(chain)
    }

    /// Whether `root`, to which no walk leads, may be of this chain all the same: roots between the two are not at hand.
    pub fn may_lead_to(&self, root: &Bytes, limits: &Limits) -> bool {
        let Ok(read) = Unverified::<Root>::parse(&RoleName::root(), root, limits) else { return false };
        let version = read.claimed_version();
        let roots = self.roots();
        let held = || roots.metadata().keys().filter_map(FileName::version);
        held().max().is_some_and(|last| last.next() < version)
            || held().min().is_some_and(|first| version.next() < first)
    }

    /// Whether `root` follows from a remembered one, and another root was remembered in its place: keys that were rotated out made
    /// it, or it was remembered from a thief.
    pub fn contradicts(&self, root: &Bytes, collection: &CollectionName, limits: &Limits) -> bool {
        let Ok(read) = Unverified::<Root>::parse(&RoleName::root(), root, limits) else { return false };
        let version = read.claimed_version();
        let roots = self.roots();
        let other = roots.root(version).is_some_and(|held| !is_same_root(held, root, limits));
        let before = Version::new(version.get().saturating_sub(1)).and_then(|v| roots.root(v).cloned());
        let follows =
            |before: Bytes| led(&before, version, root, &[], &collection.to_string(), limits).is_some();
        other && before.is_some_and(follows)
    }

    /// Exactly the files that a state pins. Whatever else lay beside them, or under a pinned name with other bytes, is left
    /// behind; so are the roots, which no state pins.
    pub fn pinned(trusted: &Trusted, files: &Files) -> Files {
        let (timestamp, snapshot) = (trusted.timestamp().bytes(), trusted.snapshot().bytes());
        let mut kept = Files::new();
        for (name, bytes) in files.metadata() {
            let wanted = match name.role().as_str() {
                "root" => false,
                "timestamp" => *name == FileName::timestamp() && bytes == timestamp,
                "snapshot" => name.version() == Some(trusted.snapshot().version()) && bytes == snapshot,
                _ => trusted
                    .pin(name.role())
                    .is_some_and(|pin| name.version() == Some(pin.version) && pin.check(bytes).is_ok()),
            };
            if wanted {
                kept.put(name.clone(), bytes.clone());
            }
        }
        let listed = listed_targets(&kept);
        for (path, bytes) in files.targets() {
            if listed.iter().any(|(p, target)| p == path && target.check(bytes).is_ok()) {
                kept.put_target(path.clone(), bytes.clone());
            }
        }
        kept
    }
}

/// The roots of a walk from one root over those that are offered, when it ends with `end`, of version `to`.
fn led(
    from: &Bytes,
    to: Version,
    end: &Bytes,
    offered: &[&Files],
    collection: &str,
    limits: &Limits,
) -> Option<Files> {
    let mut walk = RootWalk::start(from, Some(collection), limits).ok()?;
    loop {
        match walk.step() {
            RootStep::Need { version, .. } if version > to => {
                let chain = walk.finish();
                let mut roots = Files::new();
                for root in chain.roots() {
                    roots.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
                }
                return (chain.last().bytes() == end).then_some(roots);
            }
            RootStep::Need { version, .. } => {
                let all: BTreeSet<&Bytes> = match version == to {
                    true => BTreeSet::from([end]),
                    false => offered.iter().filter_map(|files| files.root(version)).collect(),
                };
                walk.feed(all.into_iter().cloned().collect()).ok()?;
            }
            RootStep::Save(..) => walk.saved(),
            RootStep::Done => return None,
        }
    }
}

/// White space and further signatures make other bytes of one root.
fn is_same_root(a: &Bytes, b: &Bytes, limits: &Limits) -> bool {
    let read = |bytes| Unverified::<Root>::parse(&RoleName::root(), bytes, limits).ok();
    a == b || matches!((read(a), read(b)), (Some(a), Some(b)) if a.claims_same(&b))
}

/// What the role files list. Their bytes were pinned, which is enough to say that a file belongs to this state.
fn listed_targets(files: &Files) -> Vec<(String, Target)> {
    let role = RoleName::targets();
    let delegated = |n: &FileName| *n.role() == role || !n.role().is_top_level();
    let roles = files.metadata().iter().filter(|(name, _)| delegated(name));
    let parsed = roles.filter_map(|(_, b)| Unverified::<Targets>::parse(&role, b, &Limits::default()).ok());
    parsed.flat_map(|file| file.claimed().targets().clone()).collect()
}
