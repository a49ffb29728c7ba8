//! What was scripted by a test: faults, pinned tags, lost updates, a hook.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::faults::{Fault, Hit, Nth, glob};
use super::record::Request;
use super::state::State;

/// Called after each request with the store as it stands before the answer goes out.
pub type Hook = Arc<dyn Fn(&Request, &mut State) + Send + Sync>;

/// A tag that names an older (or foreign) manifest for some of its reads.
#[derive(Clone, Debug)]
pub struct Pin {
    repo: String,
    tag: String,
    digest: Option<String>,
    nth: Nth,
    seen: u64,
}

impl Pin {
    /// Reads of the tag see this digest, or 404 without one. Writes are not affected.
    pub fn new(repo: &str, tag: &str, digest: Option<&str>, nth: Nth) -> Self {
        Self { repo: repo.into(), tag: tag.into(), digest: digest.map(Into::into), nth, seen: 0 }
    }
}

/// A write that succeeds and is later overwritten with the value before it, as a slower writer would.
#[derive(Clone, Debug)]
pub struct LostUpdate {
    repo: String,
    tag: String,
    nth: Nth,
    after_reads: u64,
    seen: u64,
}

impl LostUpdate {
    /// For PUTs of tags by globs over repository and tag. With `after_reads` 0 the old value is
    /// there again at once; with 1 it comes back after the writer has read its own value.
    pub fn new(repo: &str, tag: &str, nth: Nth, after_reads: u64) -> Self {
        Self { repo: repo.into(), tag: tag.into(), nth, after_reads, seen: 0 }
    }
}

/// `REPO-GLOB TAG-GLOB NTH READS`, such as `example/app v1 >=2 1`.
impl FromStr for LostUpdate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [repo, tag, nth, reads] = words[..] else {
            return Err(format!("{text}: REPO TAG NTH READS"));
        };
        let reads = reads.parse().map_err(|_| format!("{reads}: needs a number"))?;
        Ok(Self::new(repo, tag, nth.parse()?, reads))
    }
}

/// An overwrite that waits for reads.
#[derive(Clone, Debug)]
struct Pending {
    repo: String,
    tag: String,
    previous: Option<String>,
    reads_left: u64,
}

/// Everything scripted.
#[derive(Default)]
pub struct Script {
    pub faults: Vec<Fault>,
    pub pins: Vec<Pin>,
    pub lost: Vec<LostUpdate>,
    pub hook: Option<Hook>,
    pending: Vec<Pending>,
    overwrites: u64,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("faults", &self.faults)
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

impl Script {
    /// What happens to this request, in the order in which it was scripted.
    pub fn hits(&mut self, method: &str, path: &str) -> Vec<Hit> {
        self.faults.iter_mut().filter_map(|fault| fault.hit(method, path)).collect()
    }

    /// The digest that a read of the tag sees instead of the real one.
    pub fn pinned(&mut self, repo: &str, tag: &str) -> Option<Option<String>> {
        let hit = |pin: &mut Pin| {
            if pin.repo != repo || pin.tag != tag {
                return None;
            }
            pin.seen += 1;
            pin.nth.hits(pin.seen).then(|| pin.digest.clone())
        };
        self.pins.iter_mut().find_map(hit)
    }

    /// A tag was written over `previous`: overwrites it at once, or notes that it will be.
    pub fn written(&mut self, state: &mut State, repo: &str, tag: &str, previous: Option<String>) {
        let hit = |lost: &mut LostUpdate| {
            if !glob(&lost.repo, repo) || !glob(&lost.tag, tag) {
                return None;
            }
            lost.seen += 1;
            lost.nth.hits(lost.seen).then_some(lost.after_reads)
        };
        let Some(reads_left) = self.lost.iter_mut().find_map(hit) else { return };
        if reads_left == 0 {
            self.overwrites += 1;
            state.set_tag(repo, tag, previous.as_deref());
        } else {
            self.pending.push(Pending { repo: repo.into(), tag: tag.into(), previous, reads_left });
        }
    }

    /// A tag was read: carries out the overwrites that waited for it.
    pub fn was_read(&mut self, state: &mut State, repo: &str, tag: &str) {
        let overwrites = &mut self.overwrites;
        self.pending.retain_mut(|p| {
            if p.repo != repo || p.tag != tag {
                return true;
            }
            p.reads_left -= 1;
            if p.reads_left == 0 {
                *overwrites += 1;
                state.set_tag(repo, tag, p.previous.as_deref());
            }
            p.reads_left > 0
        });
    }

    /// How many writes were overwritten so far.
    pub fn overwrites(&self) -> u64 {
        self.overwrites
    }
}
