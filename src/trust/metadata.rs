//! Checks of the top-level metadata of what was chosen: expiry, and keys that count once.

use super::candidate::{Candidate, Court};
use super::code::Code;
use super::policy::Statement;
use super::report::{Check, Outcome};
use crate::time::UnixTime;
use crate::tuf::{Fault, Metadata, RoleName, RootChain, Version};

/// One check a top-level role: expiry, which is all that is left to judge of a candidate.
pub(super) fn checks(chosen: &Candidate, court: &Court<'_>, statement: Option<&Statement>) -> Vec<Check> {
    let t = &chosen.trusted;
    let at_top = match court.top {
        Some(top) => format!("{}, in the place of top-level targets, ", top.role),
        None => String::new(),
    };
    let rows = [
        Row::of(t.root(), [Code::TufRoot, Code::TufRootExpired, Code::TufRootAgeing], false),
        Row::of(
            t.timestamp(),
            [Code::TufTimestamp, Code::TufTimestampExpired, Code::TufTimestampAgeing],
            true,
        ),
        Row::of(t.snapshot(), [Code::TufSnapshot, Code::TufSnapshotExpired, Code::TufSnapshotAgeing], true),
        Row::of(t.targets(), [Code::TufTargets, Code::TufTargetsExpired, Code::TufTargetsAgeing], false),
    ];
    let first_expiry = t.timestamp().expires().min(t.snapshot().expires());
    let staleness = statement.and_then(|s| Some((s.max_staleness?, s.reason.clone()?)));
    let mut out = Vec::new();
    for Row { codes: [pass, expired, ageing], version, expires, ages_from, waivable } in rows {
        if expires > court.now {
            let role = if pass == Code::TufTargets { at_top.as_str() } else { "" };
            let check = Check::pass(pass, format!("{role}version {version}, expires {expires}"));
            out.push(check.with("version", version.get()).with("expires", expires.to_string()));
            out.extend(ages_from.filter(|from| *from <= court.now).map(|_| ages(ageing, expires)));
            continue;
        }
        let fault = Fault::Expired { at: expires, now: court.now };
        let check = match &staleness {
            Some((allowed, reason)) if waivable && court.now <= first_expiry.plus(allowed.secs()) => {
                Check::new(expired, Outcome::Waived(reason.clone()), fault.to_string())
                    .with("maxStaleness", allowed.to_string())
            }
            _ => Check::fail(expired, fault.to_string()),
        };
        out.push(
            check
                .with("version", version.get())
                .with("expired", expires.to_string())
                .with("now", court.now.to_string()),
        );
    }
    out
}

/// What is judged of one top-level file.
struct Row {
    /// It is in force, it is expired, it will be soon.
    codes: [Code; 3],
    version: Version,
    expires: UnixTime,
    ages_from: Option<UnixTime>,
    waivable: bool,
}

impl Row {
    fn of<R>(file: &Metadata<R>, codes: [Code; 3], waivable: bool) -> Self {
        let (version, expires) = (file.version(), file.expires());
        Self { codes, version, expires, ages_from: file.ages_from(), waivable }
    }
}

/// Less than a third of a life remains: whoever renews it should have done so.
pub(super) fn ages(code: Code, expires: UnixTime) -> Check {
    let detail = format!("expires {expires}: less than a third of its life remains");
    Check::note(code, detail).with("expires", expires.to_string())
}

/// Which roles of the final root name one key under several ids.
pub(super) fn repeated_keys(chain: &RootChain) -> Vec<Check> {
    let root = chain.last().role();
    let roles = [RoleName::root(), RoleName::timestamp(), RoleName::snapshot(), RoleName::targets()];
    let repeated = roles.iter().filter_map(|role| {
        let ids: Vec<_> = root.keys(role)?.repeated().into_iter().map(|id| id.short().to_owned()).collect();
        (!ids.is_empty()).then(|| (role, ids.join(", ")))
    });
    let note = |(role, ids): (&RoleName, String)| {
        let detail = format!("{role}: {ids} repeats a key of the role; it counts once");
        Check::note(Code::TufKeyDuplicate, detail).with("role", role.to_string())
    };
    repeated.map(note).collect()
}
