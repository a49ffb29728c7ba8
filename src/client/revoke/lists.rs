//! The revocation lists that were signed under a root, live and remembered.

use bytes::Bytes;

use super::list_of;
use crate::client::commit::recalled::Past;
use crate::client::known::Known;
use crate::client::memory::Memory;
use crate::client::state::{self, StateError};
use crate::client::whole::Whole;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::tuf::{CollectionName, Fault, Files, Limits, Listing};

/// The revocation lists of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// What was verified here.
    pub remembered: Vec<Bytes>,
    /// What lies there: whoever stole keys may have signed it.
    pub live: Vec<Bytes>,
}

/// The revocation lists that were signed under a root: of the live state, and of what is remembered.
///
/// # Errors
/// The place, the memory or a list cannot be read; or a state lies there that does not verify, and none is remembered that says
/// what was revoked.
pub async fn list_under(
    store: &dyn Manage,
    collection: &CollectionName,
    root: &Bytes,
    memories: &[Memory],
    now: UnixTime,
) -> Result<Lists, String> {
    let read = match state::fetch_state(&Known::new(store), collection).await {
        Ok(read) => Ok(read.map(|read| read.files)),
        Err(StateError::Store(e)) => return Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let offered: Vec<&Files> = read.iter().flatten().collect();
    let past = Past::load(memories, root, collection, &offered).map_err(|e| e.to_string())?;
    let judge = |files: &Files| {
        let whole = past
            .chain(&[files])
            .and_then(|chain| Whole::judge(&chain, files, collection, now, &Limits::default()));
        whole.map_err(|e| e.to_string())
    };
    let live = read.and_then(|files| files.as_ref().map(judge).transpose());
    let states = past.states(now).map_err(|e| format!("the remembered state: {e}"))?;
    let mut lists = Lists::default();
    // Whatever else the memory lacks, whatever keys were rotated since, and also where roots on the way to it are kept back.
    let mut remembered = false;
    for state in states {
        remembered |= match state.revocations(collection) {
            Listing::Undelegated => true,
            Listing::List(list) => {
                lists.remembered.push(list);
                true
            }
            Listing::Missing(e) => {
                let floor = |live: &Whole| state.floor(live.trusted().root().role());
                let newer = |live: &Whole| floor(live).is_none_or(|f| f.fallen(live.trusted()).is_none());
                let unlisted = matches!(e.fault, Fault::NotListed(_));
                if !unlisted && !live.iter().flatten().any(newer) {
                    return Err(format!("the remembered state: {e}"));
                }
                unlisted
            }
        };
    }
    match live {
        Ok(Some(live)) => {
            if list_of(&live, collection).map_err(|e| e.to_string())?.is_some() {
                lists.live.extend(live.files().target(&collection.revocations_path()).cloned());
            }
        }
        Ok(None) => {}
        Err(_) if remembered => {}
        Err(e) => return Err(e),
    }
    Ok(lists)
}
