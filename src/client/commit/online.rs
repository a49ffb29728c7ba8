//! How long snapshot and timestamp are valid.

use std::collections::BTreeMap;

use super::round::lifetime;
use crate::client::init::Lifetimes;
use crate::trust::Duration;
use crate::tuf::{RoleName, Root, Trusted, same_online_keys};

/// The shortest life that is taken over from keys that were replaced, seconds.
const SHORTEST: i64 = 86_400;

/// The lives of the next snapshot and timestamp, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnlineLives {
    pub(super) snapshot: i64,
    pub(super) timestamp: i64,
}

impl OnlineLives {
    /// As was asked for, otherwise as long as the files before. Of keys that were replaced no life is taken over that is longer than
    /// what a collection begins with, or shorter than a day: whoever stole them may have chosen it.
    pub(super) fn of(asked: &BTreeMap<RoleName, Duration>, base: &Trusted, root: &Root) -> Self {
        let defaults = Lifetimes::default();
        let same = same_online_keys(base.root().role(), root);
        let life = |role: RoleName, before: i64, default: Duration| match asked.get(&role) {
            Some(life) => life.secs(),
            None if same => before,
            None => before.clamp(SHORTEST, default.secs()),
        };
        Self {
            snapshot: life(RoleName::snapshot(), lifetime(base.snapshot()), defaults.snapshot),
            timestamp: life(RoleName::timestamp(), lifetime(base.timestamp()), defaults.timestamp),
        }
    }
}
