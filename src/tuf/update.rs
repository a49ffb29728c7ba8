//! The whole update of a client that keeps what it accepted and follows one repository (TUF specification 5.3 to 5.6): roots,
//! then timestamp, snapshot and targets, as one step machine.

use bytes::Bytes;

use super::refresh::same_online_keys;
use super::{
    Expiry, FileName, Files, Limits, Refresh, RoleName, RootStep, RootWalk, Step, Trusted, TufError,
};
use crate::time::UnixTime;

/// One update. Drive it as [`Refresh`]: `Need` is answered with "not there" only when the repository says so; any other failure
/// to fetch ends the update.
#[derive(Debug)]
pub struct Update {
    collection: Option<String>,
    kept: Files,
    now: UnixTime,
    limits: Limits,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// On the way over the roots, with the kept files that the root in hand puts out of force.
    Roots {
        walk: RootWalk,
        forget: Vec<FileName>,
    },
    Below(Box<Refresh>),
}

impl Update {
    /// Start from the trusted `root`, with whatever earlier updates from this repository left under unversioned names. `now` is
    /// the one time of the whole update.
    ///
    /// # Errors
    /// The trusted root is malformed, not signed by its own threshold, or another collection's.
    pub fn start(
        root: &Bytes,
        kept: Files,
        collection: Option<&str>,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let walk = RootWalk::start(root, collection, limits)?;
        let stage = Stage::Roots { walk, forget: Vec::new() };
        Ok(Self { collection: collection.map(str::to_owned), kept, now, limits: limits.clone(), stage })
    }

    /// What is wanted now. Accepted files are to be kept under their unversioned names.
    pub fn step(&self) -> Step<Box<Trusted>> {
        match &self.stage {
            Stage::Below(refresh) => refresh.step(),
            Stage::Roots { walk, forget } => match (forget.first(), walk.step()) {
                (Some(name), _) => Step::Forget(name.clone()),
                (None, RootStep::Save(name, bytes)) => Step::Save(name, bytes),
                (None, RootStep::Need { version, max_len }) => {
                    Step::Need { file: FileName::versioned(RoleName::root(), version), max_len }
                }
                // The last root is expired: there is nothing behind it.
                (None, RootStep::Done) => Step::Need { file: FileName::timestamp(), max_len: 0 },
            },
        }
    }

    /// Answer to [`Step::Save`] and [`Step::Forget`]: it is done, and will be after a crash.
    pub fn saved(&mut self) {
        match &mut self.stage {
            Stage::Below(refresh) => refresh.saved(),
            Stage::Roots { forget, .. } if !forget.is_empty() => drop(forget.remove(0)),
            Stage::Roots { walk, .. } => walk.saved(),
        }
    }

    /// Answer to [`Step::Need`]: the file, or that it is not there.
    ///
    /// # Errors
    /// The first check that the file fails, an offered root included. What was saved before stays accepted.
    pub fn feed(&mut self, bytes: Option<Bytes>) -> Result<(), TufError> {
        let (walk, forget) = match &mut self.stage {
            Stage::Below(refresh) => return refresh.feed(bytes),
            Stage::Roots { walk, forget } => (walk, forget),
        };
        if walk.step() != RootStep::Done {
            walk.feed(bytes.into_iter().collect())?;
        }
        if let Some(refused) = walk.skipped().first() {
            return Err(refused.clone());
        }
        let (new, old) = walk.last_two();
        match walk.step() {
            RootStep::Done => {
                let (root, collection) = (new.clone(), self.collection.as_deref());
                let refresh =
                    Refresh::resume(root, collection, &self.kept, Expiry::Enforce, self.now, &self.limits)?;
                self.stage = Stage::Below(Box::new(refresh));
            }
            // Before the new root is saved: a crash in between must not bring the old floors back.
            RootStep::Save(..) if !same_online_keys(new.role(), old.role()) => {
                let names = [FileName::timestamp(), FileName::unversioned(RoleName::snapshot())];
                forget.extend(names.into_iter().filter(|name| self.kept.remove(name).is_some()));
            }
            RootStep::Save(..) | RootStep::Need { .. } => {}
        }
        Ok(())
    }
}
