//! What runs came to, as numbers.

use std::fmt;

/// What one run, or several, came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::interleavings) struct Tally {
    pub(in super::super) runs: u64,
    pub(in crate::interleavings) calls: u64,
    pub(in crate::interleavings) crashes: u64,
    pub(in crate::interleavings) released: u64,
    pub(in crate::interleavings) submitted: u64,
    pub(in crate::interleavings) states: u64,
    pub(in crate::interleavings) falls: u64,
    pub(in crate::interleavings) lost: u64,
    pub(in crate::interleavings) withdrawn: u64,
    pub(in crate::interleavings) merged: u64,
    pub(in crate::interleavings) forks: u64,
    pub(in crate::interleavings) readings: u64,
    pub(in crate::interleavings) kept_memory: u64,
    pub(in crate::interleavings) broken: Vec<String>,
}

impl Tally {
    pub(in crate::interleavings) fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.calls += other.calls;
        self.crashes += other.crashes;
        self.released += other.released;
        self.submitted += other.submitted;
        self.states += other.states;
        self.falls += other.falls;
        self.lost += other.lost;
        self.withdrawn += other.withdrawn;
        self.merged += other.merged;
        self.forks += other.forks;
        self.readings += other.readings;
        self.kept_memory += other.kept_memory;
        self.broken.extend(other.broken.iter().cloned());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} calls, {} crashes, {} said released, {} submissions, {} states, {} fell, {} lost by the registry, \
             {} withdrawn, {} merged, {} forks reported, {} readings of which {} kept to what was remembered, {} promises broken",
            self.runs,
            self.calls,
            self.crashes,
            self.released,
            self.submitted,
            self.states,
            self.falls,
            self.lost,
            self.withdrawn,
            self.merged,
            self.forks,
            self.readings,
            self.kept_memory,
            self.broken.len()
        )
    }
}
