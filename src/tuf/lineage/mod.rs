//! Versions of one targets role that were signed beside each other, and how they become one again.
//!
//! A registry has no compare-and-swap, so two signers may sign on one parent. Joining is a pure function of the two
//! files (docs/adr/0003): no common ancestor is fetched. Names are those of that page.

mod content;
mod genesis;
mod origin;
mod sign;

#[cfg(test)]
mod tests;

pub use content::{Content, DELEGATIONS, Entry, Loser, Merged, merge};
pub use genesis::{genesis, is_genesis};
pub use origin::{Gap, Origin, Origins, SignedFile, origins};
pub use sign::{Change, is_needed, next};

use std::collections::BTreeMap;

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
        })
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

    /// Whether both say something that is one value, never merged with another: what they demand, to whom they delegate.
    fn contradicts(&self, file: &RoleFile, common: u64) -> bool {
        let rivals = || {
            let m = merge((&self.content, self.version), (&file.content, file.version), common);
            m.losers.iter().any(|l| l.path == DELEGATIONS)
        };
        (self.demand().is_some() && self.lacks_demand_of(file)) || rivals()
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
    let plain = |verdict, common| Standing { verdict, common, losers: Vec::new() };
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
    if base.file.as_ref().is_some_and(|hash| file.ancestors.contains_key(hash)) {
        return plain(Verdict::FastForward, common);
    }
    let (ours, theirs) = ((&base.content, base.version), (&file.content, file.version));
    if file.version <= base.version && !base.lacks_demand_of(file) {
        let m = merge(ours, theirs, common);
        if m.content.same(&base.content) && !loses_what_is_one_value(&m.losers) {
            return Standing { verdict: Verdict::AlreadyIn, common, losers: m.losers };
        }
    }
    if file.version >= base.version && (base.demand().is_none() || base.demand() == file.demand()) {
        let m = merge(theirs, ours, common);
        if m.content.same(&file.content) && !loses_what_is_one_value(&m.losers) {
            return Standing { verdict: Verdict::FastForward, common, losers: m.losers };
        }
    }
    plain(Verdict::Fork, common)
}

/// Whether one of the values that do not stay is more than another bundle for a tag: to whom the role delegates, or a file of
/// the whole collection. Nobody's is passed over as if it were in.
fn loses_what_is_one_value(losers: &[Loser]) -> bool {
    losers.iter().any(|l| l.path == DELEGATIONS || l.lost["custom"]["bulla"]["claim"].is_null())
}

/// Whether taking `file` in would change to whom the role of `base` delegates, or cannot be done because both have changed it.
pub fn redelegates(base: &View, file: &RoleFile) -> bool {
    let (ours, theirs) = (base.content.entry(DELEGATIONS), file.content.entry(DELEGATIONS));
    if ours.map(Entry::value) == theirs.map(Entry::value) {
        return false;
    }
    let standing = classify(base, file);
    match standing.verdict {
        Verdict::FastForward => true,
        Verdict::Fork => {
            let m = merge((&base.content, base.version), (&file.content, file.version), standing.common);
            let kept = m.content.entry(DELEGATIONS).map(Entry::value);
            kept != ours.map(Entry::value) || m.losers.iter().any(|l| l.path == DELEGATIONS)
        }
        Verdict::AlreadyIn | Verdict::Stale | Verdict::Ahead => false,
    }
}

/// Whether both have changed to whom the role delegates, each without the other.
pub fn delegates_beside(base: &View, file: &RoleFile) -> bool {
    let standing = classify(base, file);
    let ours = (&base.content, base.version);
    let m = merge(ours, (&file.content, file.version), standing.common);
    standing.verdict == Verdict::Fork && m.losers.iter().any(|l| l.path == DELEGATIONS)
}

/// Whether `file` says what the file of `base` says, but for its version and lineage.
pub fn says_the_same(base: &View, file: &RoleFile) -> bool {
    let rest = |rest: &Map<String, Value>| {
        let mut rest = rest.clone();
        rest.remove("version");
        rest
    };
    rest(&base.rest) == rest(&file.rest)
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
            Verdict::Fork if may_merge && !view.contradicts(file, standing.common) => {
                let ours = (&view.content, view.version);
                let m = merge(ours, (&file.content, file.version), standing.common);
                losers.extend(m.losers);
                merged.push(file.hash.clone());
                view.join(file, m.content);
            }
            _ => {}
        }
    }
    let mut verdicts = BTreeMap::new();
    for file in others.values() {
        let standing = classify(&view, file);
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
    Folded { view, verdicts, merged, losers }
}

/// The version of the next timestamp and snapshot: above all `known`, and at least the signing time in Unix seconds, so that a
/// slow writer cannot fall below what was served.
pub fn next_online_version(known: impl IntoIterator<Item = Version>, now: UnixTime) -> Version {
    let above = known.into_iter().max().map_or(Version::ONE, Version::next);
    let now = u64::try_from(now.secs()).ok().and_then(Version::new).unwrap_or(Version::ONE);
    above.max(now)
}
