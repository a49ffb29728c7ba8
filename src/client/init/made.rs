//! A collection that was created, and what its owner does next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::client::whole::Whole;
use crate::oci::{Digest, Reference, Repository, Selector};
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::{Anchor, Scope};
use crate::tuf::{CollectionName, RoleName};

/// A collection that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub collection: CollectionName,
    /// Where the state lies, with its tag.
    pub state: Reference,
    /// Digest of the state's manifest.
    pub digest: Digest,
    /// The root file.
    pub root: Bytes,
    /// Where it was written for handing out.
    pub root_file: PathBuf,
    /// Number of distinct root keys, and how many must sign.
    pub root_keys: (usize, u32),
    /// Which key signs which role.
    pub keys: Vec<(RoleName, KeyId)>,
    /// What this installation should trust: one anchor for each repository.
    pub anchors: Vec<Anchor>,
    /// When each role expires, the first one first.
    pub deadlines: Vec<(UnixTime, RoleName)>,
    /// What to do now, in this order.
    pub next: Vec<NextStep>,
}

/// What the owner of a new collection does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Give deployers the root, or its fingerprint by a way of its own.
    HandOut {
        /// The root file.
        file: PathBuf,
        /// Its fingerprint.
        fingerprint: Digest,
        /// The scope that a deployer trusts it for.
        scope: Scope,
    },
    /// Keep these keys off this machine until then.
    MoveKeys {
        /// Their ids.
        keys: Vec<KeyId>,
        /// When they are needed again.
        before: UnixTime,
    },
    /// Run `renew` once a day.
    Schedule {
        /// Where.
        at: Reference,
        /// With this key only.
        key: KeyId,
    },
    /// The first role to expire.
    Deadline {
        /// Which.
        role: RoleName,
        /// When.
        expires: UnixTime,
    },
    /// Exclude `bulla.*` and `sha256-*` from retention rules.
    Retention,
}

impl Created {
    /// What was created: `whole`, at `place`.
    pub(super) fn of(
        collection: &CollectionName,
        whole: &Whole,
        place: &Reference,
        digest: Digest,
        root: Bytes,
        root_file: &Path,
    ) -> Self {
        let anchors = anchors(collection, place, &root);
        let trusted = whole.trusted();
        let mut deadlines: Vec<_> = trusted.expiries().into_iter().map(|(role, at)| (at, role)).collect();
        let delegated = whole.roles().iter().filter(|(role, _)| !role.is_top_level());
        deadlines.extend(delegated.map(|(role, at)| (at.file.expires(), role.clone())));
        deadlines.sort();
        let ids = |role: &RoleName| -> Vec<KeyId> {
            whole.keys(role).map(|k| k.keys.keys().cloned().collect()).unwrap_or_default()
        };
        let roles = [
            RoleName::root(),
            RoleName::targets(),
            RoleName::releases(),
            RoleName::revocations(),
            RoleName::snapshot(),
            RoleName::timestamp(),
        ];
        let keys: Vec<(RoleName, KeyId)> =
            roles.iter().flat_map(|role| ids(role).into_iter().map(|id| (role.clone(), id))).collect();
        let daily: Vec<KeyId> = [ids(&RoleName::releases()), ids(&RoleName::timestamp())].concat();
        // One key for several roles stays where it is used daily.
        let offline: BTreeSet<KeyId> = [ids(&RoleName::root()), ids(&RoleName::targets())]
            .concat()
            .into_iter()
            .filter(|id| !daily.contains(id))
            .collect();
        let hand_out = NextStep::HandOut {
            file: root_file.to_owned(),
            fingerprint: Digest::sha256(&root),
            scope: anchors.last().map_or_else(|| scope_of(collection.as_repository()), |a| a.scope.clone()),
        };
        let needed = trusted.root().expires().min(trusted.targets().expires());
        let mut next = vec![hand_out];
        if !offline.is_empty() {
            next.push(NextStep::MoveKeys { keys: offline.into_iter().collect(), before: needed });
        }
        let online = ids(&RoleName::timestamp()).into_iter().next();
        next.extend(online.map(|key| NextStep::Schedule { at: place.clone(), key }));
        let first = deadlines.first();
        next.extend(first.map(|(at, role)| NextStep::Deadline { role: role.clone(), expires: *at }));
        next.push(NextStep::Retention);
        let of = trusted.root().role().root_keys();
        Self {
            collection: collection.clone(),
            state: place.at(Some(Selector::Tag(collection.state_tag()))),
            digest,
            root,
            root_file: root_file.to_owned(),
            root_keys: (of.keys.len(), of.threshold),
            keys,
            anchors,
            deadlines,
            next,
        }
    }
}

/// One anchor for the name, and one for the place where that is a repository of another name.
fn anchors(collection: &CollectionName, place: &Reference, root: &Bytes) -> Vec<Anchor> {
    let name = collection.as_repository();
    let anchor = |repository: &Repository, state_at: Vec<Reference>| {
        Anchor::tuf(scope_of(repository), collection.clone(), root.clone(), state_at)
    };
    match place {
        Reference::Registry(r) if r.repository != *name => {
            vec![anchor(name, vec![place.clone()]), anchor(&r.repository, Vec::new())]
        }
        _ => vec![anchor(name, Vec::new())],
    }
}

fn scope_of(repository: &Repository) -> Scope {
    Scope::Repository(repository.clone())
}
