//! As which role a publisher signs: the one whose key is at hand and that may speak for what is to be published.

use std::collections::BTreeMap;

use super::Signs;
use crate::client::commit::Refusal;
use crate::client::signing::{KeyRing, can_sign, first_key};
use crate::client::whole::{RoleAt, Whole};
use crate::oci::Digest;
use crate::tuf::{Bundle, CollectionName, EntryName, Paths, RoleName, TufError, bundles};

/// The role that signs. `tags` are the paths of all tags, `untagged` that of a digest without any.
///
/// Releases come first, then the roles below it, then those beside it; what was asked for is never replaced.
pub(super) fn choose(
    seats: &BTreeMap<RoleName, RoleAt>,
    keys: &dyn KeyRing,
    asked: Option<&RoleName>,
    tags: &[String],
    untagged: Option<&str>,
) -> Result<Signs, Refusal> {
    let signs = |(role, at): (&RoleName, &RoleAt)| Signs { role: role.clone(), paths: at.paths.clone() };
    if let Some(role) = asked {
        let at = seats.get(role).filter(|_| lists_bundles(role));
        let at = at.ok_or_else(|| Refusal::NoRole(role.clone()))?;
        return fits((role, at), tags, untagged).map(|()| signs((role, at)));
    }
    let releases = RoleName::releases();
    let ours = |(role, at): &(&RoleName, &RoleAt)| lists_bundles(role) && first_key(keys, &at.keys).is_some();
    let mut held: Vec<(&RoleName, &RoleAt)> = seats.iter().filter(ours).collect();
    // Whoever can sign alone goes first; of a role that needs others, too, the commit says who is missing.
    held.sort_by_key(|(role, at)| (!can_sign(keys, &at.keys), **role != releases, !is_searched(role)));
    if held.is_empty() {
        return Ok(Signs { role: releases, paths: None });
    }
    let mut refusal = None;
    for (role, at) in &held {
        match fits((role, at), tags, untagged) {
            Ok(()) => return Ok(signs((role, at))),
            Err(e) => refusal = refusal.or(Some(e)),
        }
    }
    let scopes = held.iter().map(|(role, at)| ((*role).clone(), scope(at))).collect();
    match refusal {
        Some(Refusal::OutOfScope { path, .. }) => Err(Refusal::OutOfScope { path, roles: scopes }),
        Some(other) => Err(other),
        None => Ok(Signs { role: releases, paths: None }),
    }
}

/// That the role may speak for every tag, and for the digest where there is none.
fn fits((role, at): (&RoleName, &RoleAt), tags: &[String], untagged: Option<&str>) -> Result<(), Refusal> {
    let covers = |path: &str| at.paths.as_ref().is_none_or(|p| p.cover(path));
    if let Some(path) = tags.iter().find(|path| !covers(path)) {
        return Err(Refusal::OutOfScope { path: path.clone(), roles: vec![(role.clone(), scope(at))] });
    }
    match untagged {
        Some(path) if !covers(path) => Err(Refusal::TagsOnly(role.clone())),
        _ => Ok(()),
    }
}

/// That readers will see the entry: no role before it lists the path with another digest.
pub(super) fn check_seen(
    known: &[&Whole],
    role: &RoleName,
    path: &str,
    digest: &Digest,
) -> Result<(), Refusal> {
    if !is_searched(role) {
        return Ok(());
    }
    for whole in known {
        let Some(by) = whole.speaker(path).filter(|by| role.as_str().starts_with(&format!("{by}/"))) else {
            continue;
        };
        let listed =
            whole.role(by).and_then(|file| file.role().targets().get(path)?.sha256().map(str::to_owned));
        if listed.as_deref() != Some(digest.hex()) {
            return Err(Refusal::Hidden { path: path.to_owned(), by: by.clone(), role: role.clone() });
        }
    }
    Ok(())
}

/// The bundle entries of one role.
pub(super) fn listed(
    whole: &Whole,
    collection: &CollectionName,
    role: &RoleName,
) -> Result<BTreeMap<EntryName, Bundle>, TufError> {
    let Some(file) = whole.role(role) else { return Ok(BTreeMap::new()) };
    bundles(collection, file.role().targets()).map_err(|fault| TufError::new(role, fault))
}

/// Whether a search for a bundle looks into the role: releases, and what lies below it.
pub(super) fn is_searched(role: &RoleName) -> bool {
    let rest = role.as_str().strip_prefix(RoleName::releases().as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Top-level targets lists layouts, and revocations its list; neither lists a bundle.
fn lists_bundles(role: &RoleName) -> bool {
    !role.is_top_level() && *role != RoleName::revocations()
}

fn scope(at: &RoleAt) -> String {
    match &at.paths {
        None => "everything".to_owned(),
        Some(Paths::Patterns(patterns)) => {
            patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        Some(Paths::HashPrefixes(_)) => "paths by their hash".to_owned(),
    }
}
