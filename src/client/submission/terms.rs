//! What a delegate may not do though its key is right (docs/adr/0010): one bad file must not make the state of all others
//! unusable, since a state is verified as a whole before it is put.

use crate::time::UnixTime;
use crate::tuf::proposal::{Seat, sound};
use crate::tuf::{CollectionName, Limits, Metadata, RoleName, Targets, bundles};

/// Largest file of a role below `targets/releases`, bytes: many of them must fit into a state.
const MAX_DELEGATE_FILE: u64 = 1024 * 1024;
/// Seconds by which the clocks of who signs and who admits may differ.
const CLOCKS: i64 = 600;

/// Largest file of a role.
pub(super) fn most_bytes(role: &RoleName) -> u64 {
    if is_delegate(role) { MAX_DELEGATE_FILE } else { Limits::default().targets_bytes }
}

/// That a file is no larger than its role's may be, and keeps the terms on which the role was delegated.
pub(in crate::client) fn admits(
    collection: &CollectionName,
    role: &RoleName,
    seat: &Seat,
    file: &Metadata<Targets>,
    now: UnixTime,
) -> Result<(), String> {
    if file.bytes().len() as u64 > most_bytes(role) {
        return Err(format!("a role file of {} bytes", file.bytes().len()));
    }
    check(collection, role, seat, file, now)
}

/// That a file keeps the terms on which its role was delegated, and lists what can be read.
fn check(
    collection: &CollectionName,
    role: &RoleName,
    seat: &Seat,
    file: &Metadata<Targets>,
    now: UnixTime,
) -> Result<(), String> {
    let Some(terms) = &seat.terms else { return Ok(()) };
    bundles(collection, file.role().targets()).map_err(|fault| fault.to_string())?;
    let most = now.plus(CLOCKS).plus(i64::try_from(terms.lifetime).unwrap_or(i64::MAX));
    if file.expires() > most {
        let days = terms.lifetime / 86_400;
        return Err(format!("it expires at {}, later than {days} days from now", file.expires()));
    }
    sound(role, seat, file.role()).map_err(|e| e.to_string())
}

/// Whether a role is one of those below releases.
pub(in crate::client) fn is_delegate(role: &RoleName) -> bool {
    role.as_str().strip_prefix(RoleName::releases().as_str()).is_some_and(|rest| rest.starts_with('/'))
}
