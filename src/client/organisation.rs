//! Members of an organisation: entries of its top-level targets (docs/formats.md "Organisations").

use bytes::Bytes;

use super::anchors::{AnchorError, root_facts};
use super::places::Places;
use super::state::{self, StateError};
use super::whole::{Whole, walk};
use crate::oci::{Digest, Reference, RegistryRef, Repository};
use crate::trust::Member;
use crate::tuf::proposal::Edit;
use crate::tuf::{CollectionName, Fault, Limits, RoleName, TufError};

/// Why a member cannot be entered or taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Names that are not the organisation's to give.
    #[error("{} is not below {organisation}", .scopes.join(", "))]
    Oversteps {
        /// The organisation.
        organisation: CollectionName,
        /// The scopes.
        scopes: Vec<String>,
    },
    /// Another member has one of the names already.
    #[error("{other} speaks for {scope} already")]
    Taken {
        /// That member.
        other: CollectionName,
        /// The scope.
        scope: String,
    },
    /// There is no such member.
    #[error("{name} is no member of {organisation}")]
    Absent {
        /// The organisation.
        organisation: CollectionName,
        /// Who was named.
        name: CollectionName,
    },
    /// The root does not verify by itself, or is another collection's; or an entry cannot be read.
    #[error(transparent)]
    Root(#[from] TufError),
}

/// A member as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The member.
    pub member: Member,
    /// Fingerprint of the root that is listed.
    pub root: Digest,
    /// The root file, where the state carries it.
    pub bytes: Option<Bytes>,
}

/// The members that a state lists, in order of their names; and the entries that cannot be read, by name, with the reason.
pub fn members(organisation: &CollectionName, whole: &Whole) -> (Vec<Listed>, Vec<(String, TufError)>) {
    let (mut out, mut unread) = (Vec::new(), Vec::new());
    for (path, target, member) in Member::all(organisation, whole.trusted().targets().role()) {
        let hex = target.sha256().unwrap_or_default();
        let root =
            format!("sha256:{hex}").parse().map_err(|_| Fault::Format(format!("{path} has no sha256")));
        let bytes = whole.files().target(path).cloned();
        match member.and_then(|member| Ok((member, root?))) {
            Ok((member, root)) => out.push(Listed { member, root, bytes }),
            Err(fault) => {
                let name = path.strip_prefix(&format!("{organisation}/members/")).unwrap_or(path);
                let name = name.strip_suffix("/root.json").unwrap_or(name);
                unread.push((name.to_owned(), TufError::new(&RoleName::targets(), fault)));
            }
        }
    }
    (out, unread)
}

/// The change that enters a member, or gives one another root, scope or place.
///
/// # Errors
/// It would overstep, take another member's name, or its root is none.
pub fn enter(
    organisation: &CollectionName,
    member: &Member,
    root: &Bytes,
    whole: &Whole,
) -> Result<Edit, MemberError> {
    root_facts(root, Some(&member.name))?;
    let scopes: Vec<String> = member.oversteps(organisation).iter().map(ToString::to_string).collect();
    if !scopes.is_empty() {
        return Err(MemberError::Oversteps { organisation: organisation.clone(), scopes });
    }
    for other in members(organisation, whole).0.into_iter().filter(|l| l.member.name != member.name) {
        if let Some(scope) = member.scope.iter().find(|s| other.member.scope.contains(s)) {
            return Err(MemberError::Taken { other: other.member.name, scope: scope.to_string() });
        }
    }
    let path = Member::path(organisation, &member.name);
    let custom = Some(member.custom());
    Ok(Edit::File { role: RoleName::targets(), path, bytes: root.clone(), custom })
}

/// The change that takes a member out.
///
/// # Errors
/// There is no such member.
pub fn take_out(
    organisation: &CollectionName,
    name: &CollectionName,
    whole: &Whole,
) -> Result<Edit, MemberError> {
    let path = Member::path(organisation, name);
    if !whole.trusted().targets().role().targets().contains_key(&path) {
        return Err(MemberError::Absent { organisation: organisation.clone(), name: name.clone() });
    }
    Ok(Edit::RemoveTarget { role: RoleName::targets(), path })
}

/// Where a member's state may lie, for whoever renews it or reads its roots: at the places that its entry names, and where its
/// name puts it below the organisation's own place.
pub fn places(organisation: &CollectionName, at: &Reference, member: &Member) -> Vec<Reference> {
    let mut out = member.state_at.clone();
    let below = |name: &CollectionName| {
        let name = name.to_string();
        let rest = name.strip_prefix(&organisation.to_string())?;
        rest.starts_with('/').then(|| rest.to_owned())
    };
    match at {
        Reference::Layout(_) | Reference::Archive(_) => out.push(at.at(None)),
        Reference::Registry(r) => {
            let rest = below(&member.name);
            let named = rest.and_then(|rest| format!("{}{rest}", r.repository).parse::<Repository>().ok());
            out.extend(
                named.map(|repository| Reference::Registry(RegistryRef { repository, selector: None })),
            );
        }
    }
    let mut seen = Vec::new();
    out.retain(|place| {
        !seen.contains(place) && {
            seen.push(place.clone());
            true
        }
    });
    out
}

/// The last root that follows from `listed`, each signed by the one before, of those that the member's state offers; `None` where
/// no state lies at any of `at`.
///
/// # Errors
/// A place that cannot be asked, or two roots of one version.
pub async fn newest_root(
    places: &dyn Places,
    at: &[Reference],
    member: &CollectionName,
    listed: &Bytes,
) -> Result<Option<Bytes>, AnchorError> {
    for place in at {
        let store = places.open(place).await?;
        let found = match state::fetch_state(&*store, member).await {
            Err(StateError::Store(e)) if e.is_not_found() => continue,
            other => other?,
        };
        let Some(found) = found else { continue };
        let chain = walk(listed, member, &[&found.files], &Limits::default())?;
        let last = chain.last();
        let offered = found.files.root(last.version()).filter(|bytes| Digest::sha256(bytes) == last.digest());
        return Ok(Some(offered.unwrap_or(listed).clone()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::ceremony::Desk;
    use crate::client::fixture::{Home, World, name};
    use crate::store::memory::MemoryStore;
    use crate::tuf::proposal::{About, EditError};
    use crate::tuf::sim::{NOW, Sim};

    fn member(name: &str, scope: &[&str]) -> Member {
        Member::new(name.parse().unwrap(), scope.iter().map(|s| s.parse().unwrap()).collect(), vec![], NOW)
    }

    async fn commit(world: &World, edit: Edit) {
        let home = world.home(&[Home::TARGETS, Home::RELEASES, Home::ONLINE]);
        let (organisation, memories) = (name(), [home.memory()]);
        let desk = Desk {
            collection: &organisation,
            anchor: &world.root,
            store: &*world.store,
            memories: &memories,
            without_memory: false,
            keys: &home.keys,
            clock: &world.clock,
        };
        let about = About { description: "test".into(), by: "tester".into(), at: NOW };
        let done = desk.at_once(|_| Ok::<_, EditError>(vec![edit.clone()]), &about).await.unwrap();
        assert!(done.worked.is_some());
    }

    #[tokio::test]
    async fn members_are_entered_listed_and_taken_out() {
        let world = World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await;
        let organisation = name();
        let below = |name: &str| format!("{organisation}/{name}");
        let root = |name: &str| Sim::of(name.parse().unwrap()).roots[0].clone();
        let (a, b) = (below("a"), below("b"));
        for name in [&a, &b] {
            let edit = enter(&organisation, &member(name, &[]), &root(name), &world.live().await).unwrap();
            commit(&world, edit).await;
        }
        let live = world.live().await;
        let (listed, unread) = members(&organisation, &live);
        assert!(unread.is_empty());
        assert_eq!(
            listed.iter().map(|l| l.member.name.to_string()).collect::<Vec<_>>(),
            [a.clone(), b.clone()]
        );
        assert_eq!(listed[0].bytes.as_ref(), Some(&root(&a)));
        assert!(live.has_own_targets(&organisation).unwrap());

        let refused = |m: Member, bytes: Bytes| enter(&organisation, &m, &bytes, &live).unwrap_err();
        let wide = refused(member(&a, &["other.example/x"]), root(&a));
        assert!(matches!(wide, MemberError::Oversteps { .. }), "{wide:?}");
        let taken = refused(member(&below("c"), &[&a]), root(&below("c")));
        assert!(matches!(taken, MemberError::Taken { .. }), "{taken:?}");
        assert!(matches!(refused(member(&a, &[]), root(&b)), MemberError::Root(_)));
        let nobody = take_out(&organisation, &below("c").parse().unwrap(), &live).unwrap_err();
        assert!(matches!(nobody, MemberError::Absent { .. }), "{nobody:?}");

        commit(&world, take_out(&organisation, &a.parse().unwrap(), &live).unwrap()).await;
        let (left, _) = members(&organisation, &world.live().await);
        assert_eq!(left.iter().map(|l| l.member.name.to_string()).collect::<Vec<_>>(), [b]);
    }
}
