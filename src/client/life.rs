//! How long the files of a state live: when each is due, ageing, expired.

use super::commit::{half_life, signed_at, timestamp_due};
use super::whole::Whole;
use crate::time::UnixTime;
use crate::tuf::{Metadata, RoleKeys, RoleName, Version};

/// The times of one role's file.
pub(super) struct Life<'a> {
    /// The role.
    pub(super) role: RoleName,
    /// The keys that sign it.
    pub(super) keys: &'a RoleKeys,
    /// Version of the file.
    pub(super) version: Version,
    /// When it was signed.
    pub(super) signed: UnixTime,
    /// When it expires.
    pub(super) expires: UnixTime,
    /// From when on `renew` signs it again.
    pub(super) renew_from: UnixTime,
    /// From when on less than a third of its life remains.
    pub(super) ages_from: UnixTime,
}

/// Every role of a state that has a file.
pub(super) fn lives(whole: &Whole) -> Vec<Life<'_>> {
    let trusted = whole.trusted();
    let mut out = Vec::new();
    out.extend(Life::of(whole, RoleName::root(), trusted.root()));
    let timestamp = Life::of(whole, RoleName::timestamp(), trusted.timestamp());
    out.extend(timestamp.map(|life| Life { renew_from: timestamp_due(whole), ..life }));
    out.extend(Life::of(whole, RoleName::snapshot(), trusted.snapshot()));
    out.extend(whole.roles().iter().filter_map(|(role, at)| Life::of(whole, role.clone(), &at.file)));
    out
}

impl<'a> Life<'a> {
    fn of<R>(whole: &'a Whole, role: RoleName, file: &Metadata<R>) -> Option<Self> {
        let (signed, expires) = (signed_at(file), file.expires());
        Some(Self {
            keys: whole.keys(&role)?,
            role,
            version: file.version(),
            signed,
            expires,
            renew_from: half_life(signed, expires),
            ages_from: file.ages_from().unwrap_or(expires),
        })
    }
}
