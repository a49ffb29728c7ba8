//! The walk over root versions (TUF specification 5.3), as a step machine: it says what it needs and what to save.

use bytes::Bytes;

use super::{Fault, FileName, Limits, Metadata, RoleName, Root, TufError, Unverified, Version};

/// What the walk wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootStep {
    /// Every distinct file that any source offers for this root version, each at most `max_len` bytes; none ends the walk.
    Need {
        /// The version.
        version: Version,
        /// Longest file, bytes.
        max_len: u64,
    },
    /// Persist this accepted root before going on.
    Save(FileName, Bytes),
    /// The walk is over.
    Done,
}

/// The walk: from a trusted root, version by version, each signed by a threshold of the one before and of itself.
#[derive(Debug)]
pub struct RootWalk {
    collection: Option<String>,
    limits: Limits,
    chain: Vec<Metadata<Root>>,
    saving: bool,
    done: bool,
    skipped: Vec<TufError>,
}

/// Consecutive roots, each verified by the one before; the first is what was trusted beforehand.
#[derive(Debug, Clone)]
pub struct RootChain {
    roots: Vec<Metadata<Root>>,
    skipped: Vec<TufError>,
}

impl RootWalk {
    /// Start from a root that is trusted beforehand. Its expiry does not matter; it must be signed by its own threshold.
    /// With a `collection`, every root must name it in `x-bulla` and have consistent snapshots, or it is refused before anything
    /// is saved.
    ///
    /// # Errors
    /// The trusted root itself is malformed, unsigned, or another collection's.
    pub fn start(trusted: &Bytes, collection: Option<&str>, limits: &Limits) -> Result<Self, TufError> {
        let role = RoleName::root();
        let root = Unverified::<Root>::parse(&role, trusted, limits)?;
        let own = root.claimed().root_keys().clone();
        let root = root.verify(&role, &[&own])?;
        of_collection(&root, collection)?;
        Ok(Self {
            collection: collection.map(str::to_owned),
            limits: limits.clone(),
            chain: vec![root],
            saving: false,
            done: false,
            skipped: Vec::new(),
        })
    }

    /// What is wanted now.
    pub fn step(&self) -> RootStep {
        let last = &self.chain[self.chain.len() - 1];
        if self.done {
            RootStep::Done
        } else if self.saving {
            RootStep::Save(FileName::versioned(RoleName::root(), last.version()), last.bytes().clone())
        } else {
            RootStep::Need { version: last.version().next(), max_len: self.limits.root_bytes }
        }
    }

    /// Answer to [`RootStep::Save`]: it is persisted.
    pub fn saved(&mut self) {
        self.saving = false;
    }

    /// Answer to [`RootStep::Need`]. A file that does not verify is skipped and noted.
    ///
    /// # Errors
    /// Two different files verify, or there are more versions than bulla follows.
    pub fn feed(&mut self, offered: Vec<Bytes>) -> Result<(), TufError> {
        let role = RoleName::root();
        let last = &self.chain[self.chain.len() - 1];
        let mut next: Option<Metadata<Root>> = None;
        for bytes in offered {
            match self.accept(last, &bytes) {
                Ok(root) => match &next {
                    None => next = Some(root),
                    // White space and further signatures make other bytes of one root.
                    Some(other) if other.signed() == root.signed() => {}
                    Some(_) => return Err(TufError::new(&role, Fault::RootFork(root.version()))),
                },
                Err(e) if !self.skipped.contains(&e) => self.skipped.push(e),
                Err(_) => {}
            }
        }
        match next {
            None => self.done = true,
            Some(_) if self.chain.len() > self.limits.root_rotations => {
                let fault = Fault::Cap { what: "root rotations", limit: self.limits.root_rotations };
                return Err(TufError::new(&role, fault));
            }
            Some(root) => {
                self.chain.push(root);
                self.saving = true;
            }
        }
        Ok(())
    }

    /// The chain so far: complete once the step is [`RootStep::Done`].
    pub fn finish(self) -> RootChain {
        RootChain { roots: self.chain, skipped: self.skipped }
    }

    fn accept(&self, last: &Metadata<Root>, bytes: &Bytes) -> Result<Metadata<Root>, TufError> {
        let role = RoleName::root();
        let got = bytes.len() as u64;
        if got > self.limits.root_bytes {
            return Err(TufError::new(&role, Fault::Size { limit: self.limits.root_bytes, got }));
        }
        let root = Unverified::<Root>::parse(&role, bytes, &self.limits)?;
        let own = root.claimed().root_keys().clone();
        let root = root.verify(&role, &[last.role().root_keys(), &own])?;
        let expected = last.version().next();
        if root.version() != expected {
            return Err(TufError::new(&role, Fault::Version { expected, got: root.version() }));
        }
        of_collection(&root, self.collection.as_deref())?;
        Ok(root)
    }

    /// The last accepted root and the one before it.
    pub(super) fn last_two(&self) -> (&Metadata<Root>, &Metadata<Root>) {
        let n = self.chain.len();
        (&self.chain[n - 1], &self.chain[n.saturating_sub(2)])
    }

    /// Why offered files were skipped so far.
    pub(super) fn skipped(&self) -> &[TufError] {
        &self.skipped
    }
}

/// What bulla asks of the root of a collection beyond the specification: a state holds versioned names only.
fn of_collection(root: &Metadata<Root>, collection: Option<&str>) -> Result<(), TufError> {
    let Some(collection) = collection else { return Ok(()) };
    let role = RoleName::root();
    root.check_collection(&role, collection)?;
    if root.role().consistent_snapshot() {
        return Ok(());
    }
    Err(TufError::new(&role, Fault::Format("a collection's root must have \"consistent_snapshot\"".into())))
}

impl RootChain {
    /// The final root.
    pub fn last(&self) -> &Metadata<Root> {
        &self.roots[self.roots.len() - 1]
    }

    /// The roots up to a version, and always the first.
    pub fn until(&self, version: Version) -> Self {
        let kept = self.roots.iter().take_while(|root| root.version() <= version).count().max(1);
        Self { roots: self.roots[..kept].to_vec(), skipped: self.skipped.clone() }
    }

    /// The root of a version, if it is in the chain.
    pub fn get(&self, version: Version) -> Option<&Metadata<Root>> {
        self.roots.iter().find(|r| r.version() == version)
    }

    /// All roots, oldest first.
    pub fn roots(&self) -> &[Metadata<Root>] {
        &self.roots
    }

    /// Why offered files were skipped.
    pub fn skipped(&self) -> &[TufError] {
        &self.skipped
    }

    /// The chain with one root more.
    ///
    /// # Errors
    /// It is not the next one, or not signed by a threshold of the last one and of itself.
    pub fn extended(
        &self,
        root: &Bytes,
        collection: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, TufError> {
        let walk = RootWalk {
            collection: collection.map(str::to_owned),
            limits: limits.clone(),
            chain: vec![self.last().clone()],
            saving: false,
            done: false,
            skipped: Vec::new(),
        };
        let next = walk.accept(self.last(), root)?;
        if self.roots.len() > limits.root_rotations {
            let fault = Fault::Cap { what: "root rotations", limit: limits.root_rotations };
            return Err(TufError::new(&RoleName::root(), fault));
        }
        let mut roots = self.roots.clone();
        roots.push(next);
        Ok(Self { roots, skipped: self.skipped.clone() })
    }
}
