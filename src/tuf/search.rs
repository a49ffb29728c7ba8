//! The search for a target along delegations (TUF specification 5.6.7), as a step machine: pre-order and depth-first; each role
//! once; only delegations that cover the path are followed, and each file only when its turn comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Delegation, Fault, FileName, Files, Found, Metadata, RoleName, Step, Target, Targets, Trusted, TufError,
};

/// One search. Drive it as [`super::Refresh`].
#[derive(Debug)]
pub struct Search<'a> {
    trusted: &'a Trusted,
    path: String,
    kept: &'a Files,
    /// Delegations still to be followed, the next one last.
    ahead: Vec<Delegation>,
    visited: BTreeSet<RoleName>,
    loaded: BTreeMap<RoleName, Arc<Metadata<Targets>>>,
    wanted: Option<Delegation>,
    unsaved: Option<(FileName, Bytes)>,
    target: Option<(RoleName, Target)>,
}

impl<'a> Search<'a> {
    /// Start at top-level targets. `kept` are role files of earlier searches under their unversioned names: one is used again
    /// where the snapshot still pins it and the delegation at hand still accepts it.
    ///
    /// # Errors
    /// More delegated roles on the way than bulla follows.
    pub fn start(trusted: &'a Trusted, path: &str, kept: &'a Files) -> Result<Self, TufError> {
        let mut search = Self::new(trusted, path, kept);
        search.visited.insert(trusted.top().clone());
        search.enter(trusted.top().clone(), trusted.targets().clone());
        search.advance()?;
        Ok(search)
    }

    /// Start at a delegated role: nothing beside it is looked at, whatever stands before it in order.
    ///
    /// # Errors
    /// As [`Search::start`].
    pub(super) fn start_at(
        trusted: &'a Trusted,
        path: &str,
        kept: &'a Files,
        role: &Delegation,
    ) -> Result<Self, TufError> {
        let mut search = Self::new(trusted, path, kept);
        search.ahead.push(role.clone());
        search.advance()?;
        Ok(search)
    }

    fn new(trusted: &'a Trusted, path: &str, kept: &'a Files) -> Self {
        Self {
            trusted,
            path: path.to_owned(),
            kept,
            ahead: Vec::new(),
            visited: BTreeSet::new(),
            loaded: BTreeMap::new(),
            wanted: None,
            unsaved: None,
            target: None,
        }
    }

    /// What is wanted now.
    pub fn step(&self) -> Step<Found> {
        if let Some((name, bytes)) = &self.unsaved {
            return Step::Save(name.clone(), bytes.clone());
        }
        let wanted = self.wanted.as_ref().and_then(|d| self.trusted.wanted(&d.name));
        match wanted {
            Some((file, max_len)) => Step::Need { file, max_len },
            None => Step::Done(Found { target: self.target.clone(), loaded: self.loaded.clone() }),
        }
    }

    /// Answer to [`Step::Save`]: it is persisted.
    pub fn saved(&mut self) {
        self.unsaved = None;
    }

    /// Answer to [`Step::Need`]: the file, or that it is not there.
    ///
    /// # Errors
    /// The role fails, which ends the search: what stands behind it must not speak in its stead. Or there are more roles on the
    /// way than bulla follows.
    pub fn feed(&mut self, bytes: Option<Bytes>) -> Result<(), TufError> {
        let Step::Need { file, .. } = self.step() else { return Ok(()) };
        let Some(delegation) = self.wanted.take() else { return Ok(()) };
        let missing = || TufError::new(&delegation.name, Fault::Missing(file.clone()));
        let bytes = bytes.ok_or_else(missing)?;
        let role = self.trusted.accept(&delegation, &bytes)?;
        self.unsaved = Some((file, bytes));
        self.enter(delegation.name, role);
        self.advance()
    }

    /// Look into a loaded role: the target, or the delegations to follow next.
    fn enter(&mut self, name: RoleName, role: Arc<Metadata<Targets>>) {
        if let Some(target) = role.role().targets().get(&self.path) {
            self.target = Some((name.clone(), target.clone()));
            self.ahead.clear();
        } else {
            let mut children = Vec::new();
            for delegation in role.role().delegations().iter().filter(|d| d.paths.cover(&self.path)) {
                children.push(delegation.clone());
                if delegation.terminating {
                    self.ahead.clear();
                    break;
                }
            }
            self.ahead.extend(children.into_iter().rev());
        }
        self.loaded.insert(name, role);
    }

    /// Go on to the next role that must be fetched.
    fn advance(&mut self) -> Result<(), TufError> {
        while let Some(delegation) = self.ahead.pop() {
            let name = delegation.name.clone();
            if self.visited.contains(&name) {
                continue;
            }
            let limit = self.trusted.limits().delegations;
            if self.visited.len() > limit {
                let fault = Fault::Cap { what: "delegated roles on the way", limit };
                return Err(TufError::new(&name, fault));
            }
            self.visited.insert(name.clone());
            if self.trusted.pin(&name).is_none() {
                continue;
            }
            let kept = self.kept.get(&FileName::unversioned(name.clone()));
            match kept.and_then(|bytes| self.trusted.accept(&delegation, bytes).ok()) {
                Some(role) => self.enter(name, role),
                None => {
                    self.wanted = Some(delegation);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
