//! Versions of one targets role that were signed beside each other, and how they become one again.
//!
//! A registry has no compare-and-swap, so two signers may sign on one parent. Joining is a pure function of the two
//! files (docs/adr/0003): no common ancestor is fetched. Names are those of that page.

mod content;
mod delegations;
mod genesis;
mod origin;
mod sign;

#[cfg(test)]
mod tests;

pub use content::{Content, DELEGATIONS, Entry, Loser, Merged, merge};
pub use genesis::{genesis, is_genesis};
pub use origin::{Gap, Origin, Origins, SignedFile, origins};
pub use sign::{Change, is_needed, next};

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{AGREEMENT, Fault, Metadata, Targets, Version};
use crate::time::UnixTime;

/// Ancestors and withdrawals are kept while their version is above own version - 64.
pub const WINDOW: u64 = 64;

/// Most ancestors that a file may name.
pub const MAX_ANCESTORS: usize = 1_024;

/// One verified file of a targets role, as its lineage sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFile {
    hash: String,
    version: Version,
    content: Content,
    ancestors: BTreeMap<String, Version>,
    rest: Map<String, Value>,
    held: bool,
}

/// What a signer has joined so far: a role file, or a join that no file carries yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    file: Option<String>,
    version: Version,
    content: Content,
    family: BTreeMap<String, Version>,
    beside: BTreeMap<String, Version>,
    rest: Map<String, Value>,
}

/// How a file stands to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing of it is missing.
    AlreadyIn,
    /// It holds everything that the view holds.
    FastForward,
    /// Both hold something that the other has not.
    Fork,
    /// No file in common within the window: never merged, so replays do nothing.
    Stale,
    /// The same, and it is so much newer that the live state must be old.
    Ahead,
}

/// A verdict, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The verdict.
    pub verdict: Verdict,
    /// Version of the newest common ancestor; 0 for none.
    pub common: u64,
    /// Values that do not stay although the file (or, fast-forward, the view) set them after that ancestor.
    pub losers: Vec<Loser>,
    /// Whether the two can never be one: both changed one delegation, or demand different things.
    pub conflict: bool,
}

/// What a fold came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The join.
    pub view: View,
    /// Each file that took part, by hash, as it stands to the join.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Hashes of the forks that were merged.
    pub merged: Vec<String>,
    /// Hashes of the forks that nobody can merge.
    pub conflicts: BTreeSet<String>,
    /// Values that did not stay where two stood for one path.
    pub losers: Vec<Loser>,
}

impl RoleFile {
    /// The lineage of a file whose signatures were checked.
    ///
    /// # Errors
    /// A malformed `set` or `over` in a target's `custom.bulla`; ancestors, `set` or `known` of impossible versions.
    pub fn of(file: &Metadata<Targets>) -> Result<Self, Fault> {
        let mut rest = file.signed().as_object().cloned().unwrap_or_default();
        let content = Content::take(&mut rest, file.extra())?;
        let ancestors = file.extra().map(|x| x.ancestors.as_slice()).unwrap_or_default();
        let (version, floor) = (file.version(), file.version().get().saturating_sub(WINDOW));
        let past = |v: Version| v < version && v.get() > floor;
        if ancestors.len() > MAX_ANCESTORS || !ancestors.iter().all(|a| past(a.0)) {
            return Err(Fault::Format(format!("ancestors that version {version} cannot have")));
        }
        if content.newest() > version.get() {
            return Err(Fault::Format(format!("a value or withdrawal of a version after {version}")));
        }
        Ok(Self {
            hash: file.digest().hex().to_owned(),
            version: file.version(),
            content,
            ancestors: ancestors.iter().map(|a| (a.1.clone(), a.0)).collect(),
            rest,
            held: false,
        })
    }

    /// The same file, of which only entries and withdrawals take part in a fold: what it says of delegations waits, and it does not
    /// count as in.
    #[must_use]
    pub fn held(&self) -> Self {
        Self { held: true, ..self.clone() }
    }

    /// SHA-256 of the file, lower-case hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Entries and withdrawals.
    pub fn content(&self) -> &Content {
        &self.content
    }

    fn demand(&self) -> Option<&Value> {
        self.rest.get(AGREEMENT)
    }
}

impl View {
    /// The view of one file.
    pub fn of(file: &RoleFile) -> Self {
        let mut family = file.ancestors.clone();
        family.insert(file.hash.clone(), file.version);
        Self {
            file: Some(file.hash.clone()),
            version: file.version,
            content: file.content.clone(),
            family,
            beside: BTreeMap::new(),
            rest: file.rest.clone(),
        }
    }

    /// The hash of the file that this view is; `None` for a join that nobody has signed.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The greatest version that was joined.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Entries and withdrawals.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Whether a file whose hash begins with `prefix` is this one, an ancestor, or known to be in.
    pub fn knows(&self, prefix: &str) -> bool {
        [&self.family, &self.beside].into_iter().any(|files| {
            files.range(prefix.to_owned()..).next().is_some_and(|(hash, _)| hash.starts_with(prefix))
        })
    }

    /// Whether the file with this hash is this one or an ancestor.
    pub fn holds(&self, hash: &str) -> bool {
        self.family.contains_key(hash)
    }

    /// Whether a file of `version` is outside the window: it is stale whatever it holds.
    pub fn is_past(&self, version: Version) -> bool {
        version.get() <= self.version.get().saturating_sub(WINDOW)
    }

    /// The member `x-bulla-agreement`: what must agree before the collection vouches for a bundle.
    fn demand(&self) -> Option<&Value> {
        self.rest.get(AGREEMENT)
    }

    /// Whether `file` demands something of its own that this does not.
    fn lacks_demand_of(&self, file: &RoleFile) -> bool {
        file.demand().is_some() && file.demand() != self.demand()
    }

    /// Whether both demand something, and not the same: one value, never merged with another.
    fn contradicts(&self, file: &RoleFile) -> bool {
        self.demand().is_some() && self.lacks_demand_of(file)
    }

    fn forward(&mut self, file: &RoleFile) {
        *self = Self { beside: std::mem::take(&mut self.beside), ..Self::of(file) };
    }

    fn join(&mut self, file: &RoleFile, content: Content) {
        // Beside each other, demanding beats not demanding: only a descendant takes a demand away.
        if let Some(demand) = file.demand().filter(|_| self.demand().is_none()) {
            self.rest.insert(AGREEMENT.to_owned(), demand.clone());
        }
        self.content = content;
        self.file = None;
        self.family.extend(file.ancestors.iter().map(|(h, v)| (h.clone(), *v)));
        self.family.insert(file.hash.clone(), file.version);
        self.version = self.version.max(file.version);
    }
}

/// How `file`, verified before, stands to `base`.
pub fn classify(base: &View, file: &RoleFile) -> Standing {
    let plain = |verdict, common| Standing { verdict, common, losers: Vec::new(), conflict: false };
    if base.family.contains_key(&file.hash) {
        return plain(Verdict::AlreadyIn, file.version.get());
    }
    if base.is_past(file.version) {
        return plain(Verdict::Stale, 0);
    }
    let common = file.ancestors.iter().filter(|(hash, _)| base.family.contains_key(*hash));
    let common = common.map(|(_, version)| version.get()).max().unwrap_or(0);
    if common == 0 {
        let ahead = file.version.get() >= base.version.get() + WINDOW;
        return plain(if ahead { Verdict::Ahead } else { Verdict::Stale }, 0);
    }
    if file.held {
        return Standing { conflict: true, ..plain(Verdict::Fork, common) };
    }
    if base.file.as_ref().is_some_and(|hash| file.ancestors.contains_key(hash)) {
        return plain(Verdict::FastForward, common);
    }
    let (ours, theirs) = ((&base.content, base.version), (&file.content, file.version));
    let m = merge(ours, theirs, common);
    if file.version <= base.version
        && !base.lacks_demand_of(file)
        && m.is_quiet()
        && m.content.same(&base.content)
    {
        return Standing { verdict: Verdict::AlreadyIn, common, losers: m.losers, conflict: false };
    }
    let conflict = m.conflict || base.contradicts(file);
    if file.version >= base.version && (base.demand().is_none() || base.demand() == file.demand()) {
        let m = merge(theirs, ours, common);
        if m.is_quiet() && m.content.same(&file.content) {
            return Standing { verdict: Verdict::FastForward, common, losers: m.losers, conflict: false };
        }
    }
    Standing { verdict: Verdict::Fork, common, losers: Vec::new(), conflict }
}

/// Whether `file`, when it is in, changes to whom `base` delegates, or could never be joined with it. What was changed beside
/// it since their common ancestor is no change of its own.
pub fn delegates_anew(base: &View, file: &RoleFile) -> bool {
    let delegations = |content: &Content| content.entry(DELEGATIONS).map(|e| e.value().clone());
    let own = delegations(&base.content);
    let standing = classify(base, file);
    match standing.verdict {
        Verdict::AlreadyIn => false,
        Verdict::Fork if standing.conflict => delegations(&file.content) != own,
        Verdict::Fork => {
            let ours = (&base.content, base.version);
            delegations(&merge(ours, (&file.content, file.version), standing.common).content) != own
        }
        Verdict::FastForward | Verdict::Stale | Verdict::Ahead => delegations(&file.content) != own,
    }
}

/// Join the live file, the remembered one and the submissions of one role. Without the role's key (`may_merge` false) forks
/// stay beside the view.
pub fn fold(
    live: &RoleFile,
    remembered: Option<&RoleFile>,
    submissions: &[RoleFile],
    may_merge: bool,
) -> Folded {
    let start = remembered.filter(|r| r.version > live.version).unwrap_or(live);
    let mut view = View::of(start);
    let others: BTreeMap<(Version, &str), &RoleFile> = std::iter::once(live)
        .chain(remembered)
        .chain(submissions)
        .map(|f| ((f.version, f.hash.as_str()), f))
        .collect();
    let (mut merged, mut losers) = (Vec::new(), Vec::new());
    for file in others.values() {
        let standing = classify(&view, file);
        match standing.verdict {
            Verdict::FastForward => {
                losers.extend(standing.losers);
                view.forward(file);
            }
            Verdict::Fork if may_merge && !standing.conflict => {
                let ours = (&view.content, view.version);
                let m = merge(ours, (&file.content, file.version), standing.common);
                losers.extend(m.losers);
                merged.push(file.hash.clone());
                view.join(file, m.content);
            }
            // What is said of delegations waits for its signer; entries and withdrawals do not wait with it. The file is no
            // ancestor of what is signed: it is not in.
            Verdict::Fork if may_merge && !view.contradicts(file) => {
                let ours = (&view.content, view.version);
                let m = merge(ours, (&file.content, file.version), standing.common);
                let content = m.content.delegating_as(&view.content);
                if !content.same(&view.content) {
                    losers.extend(m.losers.into_iter().filter(|l| l.path != DELEGATIONS));
                    view.content = content;
                    view.file = None;
                    view.version = view.version.max(file.version);
                }
            }
            _ => {}
        }
    }
    let (mut verdicts, mut conflicts) = (BTreeMap::new(), BTreeSet::new());
    for file in others.values() {
        let standing = classify(&view, file);
        if standing.conflict {
            conflicts.insert(file.hash.clone());
        }
        if standing.verdict == Verdict::AlreadyIn && !view.family.contains_key(&file.hash) {
            losers.extend(standing.losers);
            let ours = (&view.content, view.version);
            let joined = merge(ours, (&file.content, file.version), standing.common).content;
            view.content.relearn(&joined);
            view.beside.insert(file.hash.clone(), file.version);
        }
        verdicts.insert(file.hash.clone(), standing.verdict);
    }
    losers.sort_by(|a, b| a.path.cmp(&b.path));
    losers.dedup();
    Folded { view, verdicts, merged, conflicts, losers }
}

/// The version of the next timestamp and snapshot: above all `known`, and at least the signing time in Unix seconds, so that a
/// slow writer cannot fall below what was served.
pub fn next_online_version(known: impl IntoIterator<Item = Version>, now: UnixTime) -> Version {
    let above = known.into_iter().max().map_or(Version::ONE, Version::next);
    let now = u64::try_from(now.secs()).ok().and_then(Version::new).unwrap_or(Version::ONE);
    above.max(now)
}
