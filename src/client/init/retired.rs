//! Keys that a collection which begins anew must not take with it. Whoever has them may sign again for what they signed before; and
//! where the same keys sign timestamp and snapshot, installations that met the old chain at a later root take both for one line of
//! versions and refuse the new one for ever (docs/adr/0016, 8).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{InitError, Plan};
use crate::client::known::Known;
use crate::client::memory::Memory;
use crate::client::state::{self, StateError};
use crate::client::whole::{Whole, walk_on};
use crate::sig::PublicKey;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::tuf::{CollectionName, Files, Limits, Recall, RoleKeys, RoleName, RootChain};

/// Keys, each with a role that it signed.
pub type Retired = BTreeMap<PublicKey, RoleName>;

/// Every key that roots of the chain of `root` name, as far as they are remembered or lie at the place, and every key of a role below.
///
/// # Errors
/// The place or the memory cannot be read.
pub async fn retired(
    store: &dyn Manage,
    collection: &CollectionName,
    root: &Bytes,
    memories: &[Memory],
    now: UnixTime,
) -> Result<Retired, InitError> {
    let live = match state::fetch_state(&Known::new(store), collection).await {
        Ok(read) => read.map(|read| read.files),
        // Junk names no keys.
        Err(StateError::Invalid { .. }) => None,
        Err(StateError::Store(e)) if e.is_not_found() => None,
        Err(e) => return Err(e.into()),
    };
    let offered: Vec<&Files> = live.iter().collect();
    let remembered = Memory::load_all(memories, root, &offered)?;
    let known = remembered.as_ref().map(|r| &r.files);
    let limits = Limits::default();
    let mut out = Retired::new();
    // Two next roots, as a thief can sign them: what stands before them is known all the same.
    let chain = match walk_on(root, collection, known, &offered, &limits) {
        Ok(chain) => chain,
        Err(_) => walk_on(root, collection, known, &[], &limits)?,
    };
    of_roots(&chain, &mut out);
    for files in known.into_iter().chain(live.iter()) {
        let Ok(whole) = Whole::judge(&chain, files, collection, now, &limits) else { continue };
        for (role, at) in whole.roles() {
            put(role, &at.keys, &mut out);
            at.file.role().delegations().iter().for_each(|d| put(&d.name, &d.keys, &mut out));
        }
    }
    // What is remembered was verified, whole or not.
    let recalled = Recall::of(remembered.as_ref(), collection, now, &limits).state()?;
    for d in recalled.iter().flat_map(|state| state.trusted().targets().role().delegations()) {
        put(&d.name, &d.keys, &mut out);
    }
    Ok(out)
}

fn of_roots(chain: &RootChain, out: &mut Retired) {
    for root in chain.roots() {
        for role in [RoleName::root(), RoleName::targets(), RoleName::snapshot(), RoleName::timestamp()] {
            root.role().keys(&role).into_iter().for_each(|keys| put(&role, keys, out));
        }
    }
}

fn put(role: &RoleName, keys: &RoleKeys, out: &mut Retired) {
    for key in keys.keys.values().flatten() {
        out.entry(key.clone()).or_insert_with(|| role.clone());
    }
}

impl Plan {
    /// That none of its keys is among those that are given up.
    ///
    /// # Errors
    /// [`InitError::Retired`].
    pub fn check_anew(&self, retired: &Retired) -> Result<(), InitError> {
        let ours = [&self.targets_key, &self.releases_key, &self.online_key];
        for key in self.root_keys.iter().chain(ours) {
            if let Some(role) = retired.get(key) {
                return Err(InitError::Retired { key: key.key_id(), role: role.clone() });
            }
        }
        Ok(())
    }
}
