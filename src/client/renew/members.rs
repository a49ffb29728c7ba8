//! `renew --organisation`: every member of an organisation whose keys are here. One that fails does not stop the others.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};

use super::{Cosign, Renewed, Request, renew};
use crate::client::anchors::root_facts;
use crate::client::commit::{AS_BEFORE, WorkError};
use crate::client::memory::Memory;
use crate::client::organisation::{Listed, members, places};
use crate::client::places::Places;
use crate::client::signing::KeyRing;
use crate::client::state::{self, StateError};
use crate::client::whole::{Whole, walk_on};
use crate::oci::{Digest, Reference, RegistryRef};
use crate::store::Manage;
use crate::time::Clock;
use crate::trust::{Anchor, Scope, TrustFile};
use crate::tuf::{CollectionName, Fault, Files, Limits, RoleKeys, RoleName, TufError};

/// Members that are renewed side by side.
const CONCURRENCY: usize = 4;

/// Whose members, and with what.
pub struct Members<'a> {
    /// The organisation.
    pub organisation: &'a CollectionName,
    /// Where its state lies.
    pub at: &'a Reference,
    /// Its state, verified.
    pub whole: &'a Whole,
    /// Opens the places of its members.
    pub places: &'a dyn Places,
    /// Members that are anchored here by themselves are renewed under that root.
    pub trust: &'a TrustFile,
    /// The folder of memories.
    pub memory: &'a Path,
    /// Hang a fresh seal on every release.
    pub reseal: bool,
    /// Sign although nothing is remembered.
    pub without_memory: bool,
    /// The keys at hand.
    pub keys: &'a dyn KeyRing,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What became of a member.
#[derive(Debug, Clone)]
pub struct MemberRenewed {
    /// The member's name, as its entry says it.
    pub member: String,
    /// The renewal; `None` where no key of it is here.
    pub end: Option<Result<Renewed, WorkError>>,
}

/// Where a member's state lies, and what lies there.
struct Found {
    store: Arc<dyn Manage>,
    files: Option<Files>,
}

/// Renew the members, each by itself; in order of their names. Entries that cannot be read follow.
pub async fn renew_members(all: &Members<'_>) -> Vec<MemberRenewed> {
    let (mut listed, unread) = members(all.organisation, all.whole);
    listed.retain(|l| l.member.name != *all.organisation);
    let jobs: Vec<BoxFuture<'_, MemberRenewed>> = listed
        .into_iter()
        .map(|listed| {
            async move {
                let end = all.one(&listed).await.transpose();
                MemberRenewed { member: listed.member.name.to_string(), end }
            }
            .boxed()
        })
        .collect();
    let mut out: Vec<MemberRenewed> = stream::iter(jobs).buffered(CONCURRENCY).collect().await;
    out.extend(unread.into_iter().map(|(member, e)| MemberRenewed { member, end: Some(Err(e.into())) }));
    out
}

impl Members<'_> {
    async fn one(&self, listed: &Listed) -> Result<Option<Renewed>, WorkError> {
        let name = &listed.member.name;
        let anchors: Vec<&Anchor> =
            self.trust.all_anchors().filter(|a| !a.organisation && a.collection == *name).collect();
        let root = match anchors.first() {
            Some(anchor) => anchor.root.bytes().clone(),
            None => listed_root(listed)?,
        };
        let memory = Memory::in_dir(self.memory, name);
        let found = self.find(listed, &anchors).await?;
        let known = memory.load(&root)?.map(|m| m.files);
        if !self.has_a_key(name, &root, known.as_ref(), found.files.as_ref())? {
            return Ok(None);
        }
        let memories = [memory];
        let request = Request {
            collection: name.clone(),
            anchor: root,
            store: &*found.store,
            roles: BTreeSet::new(),
            lives: AS_BEFORE,
            reseal: self.reseal,
            memories: &memories,
            without_memory: self.without_memory,
            cosign: Cosign::Here,
            keys: self.keys,
            clock: self.clock,
        };
        renew(request).await.map(Some)
    }

    /// The first place that has a state; where none has, the first one.
    async fn find(&self, listed: &Listed, anchors: &[&Anchor]) -> Result<Found, WorkError> {
        let name = &listed.member.name;
        let mut first = None;
        for place in self.places_of(listed, anchors) {
            let store = self.places.open(&place).await?;
            match state::fetch_state(&*store, name).await {
                Ok(Some(read)) => return Ok(Found { store, files: Some(read.files) }),
                Ok(None) => {}
                Err(StateError::Store(e)) if e.is_not_found() => {}
                // Something lies there that is none: renewing may put it right.
                Err(StateError::Invalid { .. }) => return Ok(Found { store, files: None }),
                Err(e) => return Err(e.into()),
            }
            first.get_or_insert(store);
        }
        let place = || self.at.clone();
        let store = first.ok_or_else(|| WorkError::Absent { collection: name.clone(), place: place() })?;
        Ok(Found { store, files: None })
    }

    fn places_of(&self, listed: &Listed, anchors: &[&Anchor]) -> Vec<Reference> {
        let mut out = listed.member.state_at.clone();
        out.extend(anchors.iter().flat_map(|a| a.state_at.iter().cloned()));
        out.extend(places(self.organisation, self.at, &listed.member));
        out.extend(anchors.iter().filter_map(|a| match &a.scope {
            Scope::Repository(repository) => {
                Some(Reference::Registry(RegistryRef { repository: repository.clone(), selector: None }))
            }
            _ => None,
        }));
        // From an OCI layout no connection is opened.
        out.retain(|place| !self.at.is_local() || place.is_local());
        let mut seen: Vec<Reference> = Vec::new();
        out.retain(|place| {
            let new = !seen.contains(place);
            seen.push(place.clone());
            new
        });
        out
    }

    /// Whether a key is here that a renewal would sign with: of the timestamp, the snapshot or a delegated role.
    fn has_a_key(
        &self,
        name: &CollectionName,
        root: &Bytes,
        known: Option<&Files>,
        live: Option<&Files>,
    ) -> Result<bool, WorkError> {
        let limits = Limits::default();
        let offered: Vec<&Files> = live.into_iter().collect();
        let chain = walk_on(root, name, known, &offered, &limits)?;
        let holds = |keys: &RoleKeys| keys.keys.values().flatten().any(|key| self.keys.holds(key));
        let role = chain.last().role();
        if holds(role.timestamp_keys()) || holds(role.snapshot_keys()) {
            return Ok(true);
        }
        let now = self.clock.now();
        let delegated =
            |whole: &Whole| whole.roles().iter().any(|(role, at)| !role.is_top_level() && holds(&at.keys));
        let mut unread = None;
        for files in offered.iter().chain(&known) {
            match Whole::judge(&chain, files, name, now, &limits) {
                Ok(whole) => return Ok(delegated(&whole)),
                Err(e) => unread = unread.or(Some(e)),
            }
        }
        // Whose keys a state names that does not verify, nobody knows.
        unread.map_or(Ok(false), |e| Err(e.into()))
    }
}

/// The root that the organisation lists: there, and the very file.
fn listed_root(listed: &Listed) -> Result<Bytes, TufError> {
    let name = &listed.member.name;
    let bytes =
        listed.bytes.as_ref().filter(|bytes| Digest::sha256(bytes) == listed.root).ok_or_else(|| {
            let why = format!("the root that is listed for {name} is not there");
            TufError::new(&RoleName::targets(), Fault::Format(why))
        })?;
    root_facts(bytes, Some(name))?;
    Ok(bytes.clone())
}
