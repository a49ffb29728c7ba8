//! Members of an organisation: entries of its top-level targets (docs/formats.md "Organisations").

use bytes::Bytes;

use super::anchors::{AnchorError, root_facts};
use super::memory::{Memory, MemoryError};
use super::places::Places;
use super::state::{self, StateError};
use super::whole::{Whole, walk_on};
use crate::oci::{Digest, Reference, RegistryRef, Repository};
use crate::time::UnixTime;
use crate::trust::Member;
use crate::tuf::proposal::Edit;
use crate::tuf::{CollectionName, Fault, FileName, Files, Limits, RoleName, TufError};

/// Why a member cannot be entered or taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Names that are not the organisation's to give.
    #[error("{}: not one name below {organisation}", .scopes.join(", "))]
    Oversteps {
        /// The organisation.
        organisation: CollectionName,
        /// The scopes.
        scopes: Vec<String>,
    },
    /// Places that nobody would ask on an organisation's word.
    #[error("{0}")]
    Places(String),
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
    if let Some(why) = member.bad_places() {
        return Err(MemberError::Places(why));
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

/// How a root stands to the one that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It follows from the listed one, each signed by the one before; or is that one.
    Follows,
    /// The listed one follows from it: its keys may have been taken out since.
    Older,
    /// Nothing that is known leads from one to the other.
    Apart,
}

/// Why the newest root of a member cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// A place cannot be asked, or no state lies there.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// What is remembered cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Nothing is remembered of it: keys that were taken out of its root could pass for its newest ones.
    #[error("nothing is remembered of {0} here")]
    Unremembered(CollectionName),
    /// Under its newest root no state verifies.
    #[error("under the newest root that is offered no state of {member} verifies: {why}")]
    Unsound {
        /// The member.
        member: CollectionName,
        /// The first reason.
        why: String,
    },
}

impl From<TufError> for RootError {
    fn from(e: TufError) -> Self {
        Self::Anchor(e.into())
    }
}

/// The roots and states of a member, for whoever lists it.
pub struct Roots<'a> {
    /// The member.
    pub member: &'a CollectionName,
    /// Opens places.
    pub places: &'a dyn Places,
    /// Where its state may lie.
    pub at: &'a [Reference],
    /// What is remembered of it.
    pub memory: &'a Memory,
    /// The time.
    pub now: UnixTime,
}

impl Roots<'_> {
    /// The last root that follows from `listed` over what is remembered and what every place offers, where the state of one of
    /// them verifies under it and is not expired.
    ///
    /// # Errors
    /// See [`RootError`]. Two roots of one version are one: nobody but the member can say which one is right.
    pub async fn newest(&self, listed: &Bytes) -> Result<Bytes, RootError> {
        let known = self.memory.load(listed)?.filter(|m| m.verified_under.is_some());
        let known = known.ok_or_else(|| RootError::Unremembered(self.member.clone()))?.files;
        let offered = self.offered().await?;
        let refs: Vec<&Files> = offered.iter().collect();
        let limits = Limits::default();
        let chain = walk_on(listed, self.member, Some(&known), &refs, &limits)?;
        let mut why = None;
        let sound = refs.iter().any(|files| {
            let judged =
                Whole::judge(&chain, files, self.member, self.now, &limits).map_err(|e| e.to_string());
            let judged = judged.and_then(|whole| expired(&whole, self.now).map_or(Ok(()), Err));
            judged.map_err(|e| why.get_or_insert(e)).is_ok()
        });
        if !sound {
            let why = why.unwrap_or_else(|| "there is none".into());
            return Err(RootError::Unsound { member: self.member.clone(), why });
        }
        let last = chain.last();
        let mut all = std::iter::once(&known).chain(refs).filter_map(|files| files.root(last.version()));
        Ok(all.find(|bytes| Digest::sha256(bytes) == last.digest()).unwrap_or(listed).clone())
    }

    /// How `given` stands to `listed`, by what is remembered, and with `look` by what every place offers.
    ///
    /// # Errors
    /// See [`RootError`].
    pub async fn relation(&self, listed: &Bytes, given: &Bytes, look: bool) -> Result<Relation, RootError> {
        let known = self.memory.load(listed)?.map(|m| m.files);
        let offered = if look { self.offered().await? } else { Vec::new() };
        let leads = |from: &Bytes, to: &Bytes| -> Result<bool, RootError> {
            let version = root_facts(to, Some(self.member))?.version;
            let mut end = Files::new();
            end.put(FileName::versioned(RoleName::root(), version), to.clone());
            let refs: Vec<&Files> = std::iter::once(&end).chain(&known).chain(&offered).collect();
            let chain = walk_on(from, self.member, None, &refs, &Limits::default())?;
            Ok(chain.get(version).is_some_and(|root| root.digest() == Digest::sha256(to)))
        };
        Ok(match (leads(listed, given)?, leads(given, listed)?) {
            (true, _) => Relation::Follows,
            (false, true) => Relation::Older,
            (false, false) => Relation::Apart,
        })
    }

    /// The states at every place that has one.
    async fn offered(&self) -> Result<Vec<Files>, RootError> {
        let mut out = Vec::new();
        for place in self.at {
            let store = self.places.open(place).await.map_err(AnchorError::from)?;
            match state::fetch_state(&*store, self.member).await {
                Ok(found) => out.extend(found.map(|read| read.files)),
                Err(StateError::Store(e)) if e.is_not_found() => {}
                Err(e) => return Err(AnchorError::from(e).into()),
            }
        }
        if out.is_empty() {
            let places = self.at.iter().map(ToString::to_string).collect();
            return Err(AnchorError::NoState { collection: self.member.clone(), places }.into());
        }
        Ok(out)
    }
}

/// What of a state is expired that a thief of old keys could not have renewed.
fn expired(whole: &Whole, now: UnixTime) -> Option<String> {
    let trusted = whole.trusted();
    let times = [
        (RoleName::root(), trusted.root().expires()),
        (RoleName::timestamp(), trusted.timestamp().expires()),
    ];
    times.into_iter().find(|(_, at)| *at <= now).map(|(role, at)| format!("{role} expired {at}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::ceremony::Desk;
    use crate::client::fixture::{Home, World, name};
    use crate::store::memory::MemoryStore;
    use crate::tuf::proposal::{About, EditError};
    use crate::tuf::sim::{NOW, Sim, SimKey};

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

    struct Two([Arc<MemoryStore>; 2]);

    #[async_trait::async_trait]
    impl Places for Two {
        async fn open(
            &self,
            reference: &Reference,
        ) -> Result<Arc<dyn crate::store::Manage>, crate::store::StoreError> {
            let i = usize::from(!reference.to_string().starts_with("a."));
            Ok(self.0[i].clone())
        }

        async fn create(
            &self,
            reference: &Reference,
        ) -> Result<Arc<dyn crate::store::Manage>, crate::store::StoreError> {
            self.open(reference).await
        }
    }

    async fn serve(store: &MemoryStore, sim: &Sim) {
        let packed = state::pack(state::Kind::State, &sim.files(), None);
        let known = crate::client::known::Known::new(store);
        known.push(&packed, Some(&Sim::name().state_tag())).await.unwrap();
    }

    fn rotated(seed: u8, version: u64) -> Sim {
        let mut sim = Sim::new();
        sim.rotate(|sim| {
            (sim.root_keys, sim.root_threshold) = (vec![SimKey::new(seed)], 1);
            sim.online_key = SimKey::new(seed + 50);
        });
        sim.at_version(version, NOW);
        sim
    }

    fn remember(memory: &Memory, sim: &Sim) {
        let (files, limits) = (sim.files(), Limits::default());
        let chain = walk_on(&sim.roots[0], &Sim::name(), None, &[&files], &limits).unwrap();
        let whole = Whole::judge(&chain, &files, &Sim::name(), NOW, &limits).unwrap();
        let remembered = crate::tuf::Remembered::of(&chain, whole.trusted(), &files, None);
        memory.save(&sim.roots[0], &remembered).unwrap();
    }

    /// The listed root's key is stolen, and was taken out of the member's root meanwhile.
    #[tokio::test]
    async fn keys_that_were_taken_out_do_not_become_the_newest_root() {
        let store = |at: &str| Arc::new(MemoryStore::new(at.parse().unwrap()));
        let stores = Two([store("a.example/x"), store("b.example/x")]);
        let (honest, thief) = (rotated(90, 6), rotated(91, 9));
        let listed = honest.roots[0].clone();
        assert_eq!(listed, thief.roots[0], "one key signed both second roots");
        let home = tempfile::tempdir().unwrap();
        let memory = Memory::in_dir(home.path(), &Sim::name());
        let one: Vec<Reference> = vec!["a.example/x".parse().unwrap()];
        let both: Vec<Reference> = vec!["a.example/x".parse().unwrap(), "b.example/x".parse().unwrap()];
        let name = Sim::name();
        let roots = |at| Roots { member: &name, places: &stores, at, memory: &memory, now: NOW };
        serve(&stores.0[0], &thief).await;
        serve(&stores.0[1], &honest).await;
        // Nothing remembered: nobody can tell.
        let unknown = roots(&one).newest(&listed).await.unwrap_err();
        assert!(matches!(unknown, RootError::Unremembered(_)), "{unknown}");
        // Remembered from before the rotation: both are seen, and that is a fork.
        let mut before = Sim::new();
        before.at_version(5, NOW);
        remember(&memory, &before);
        let fork = roots(&both).newest(&listed).await.unwrap_err();
        assert!(matches!(fork, RootError::Anchor(AnchorError::Root(_))), "{fork}");
        // Remembered since: the thief's place offers nothing that counts.
        remember(&memory, &honest);
        let unsound = roots(&one).newest(&listed).await.unwrap_err();
        assert!(matches!(unsound, RootError::Unsound { .. }), "{unsound}");
        assert_eq!(roots(&both).newest(&listed).await, Ok(honest.roots[1].clone()));
        // An old root of the chain, the thief's, and another chain's.
        let relation =
            async |listed: &Bytes, given: &Bytes| roots(&both).relation(listed, given, false).await.unwrap();
        assert_eq!(relation(&honest.roots[0], &honest.roots[1]).await, Relation::Follows);
        assert_eq!(relation(&honest.roots[1], &honest.roots[0]).await, Relation::Older);
        assert_eq!(relation(&honest.roots[1], &thief.roots[1]).await, Relation::Apart);
        let late = Roots { now: NOW.plus(8 * 86_400), ..roots(&both) };
        assert!(
            matches!(late.newest(&listed).await, Err(RootError::Unsound { .. })),
            "an expired state says nothing"
        );
    }
}
