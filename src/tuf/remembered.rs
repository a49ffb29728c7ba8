//! What an installation remembers of one chain of roots.

use super::{FileName, Files, Limits, RoleName, RootChain, Target, Targets, Trusted, Unverified, Version};

/// Roots, and the newest state that was verified: a floor, and a candidate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The files.
    pub files: Files,
    /// The root version under which the state was verified; none while only roots are known.
    pub verified_under: Option<Version>,
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

/// What the role files list. Their bytes were pinned, which is enough to say that a file belongs to this state.
fn listed_targets(files: &Files) -> Vec<(String, Target)> {
    let role = RoleName::targets();
    let delegated = |n: &FileName| *n.role() == role || !n.role().is_top_level();
    let roles = files.metadata().iter().filter(|(name, _)| delegated(name));
    let parsed = roles.filter_map(|(_, b)| Unverified::<Targets>::parse(&role, b, &Limits::default()).ok());
    parsed.flat_map(|file| file.claimed().targets().clone()).collect()
}
