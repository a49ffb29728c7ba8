//! Tags at the destination that a newer state, which a copy brought, does not confirm: whoever verifies there by tag is
//! refused, where the tag moved to another release ten minutes after that.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};

use super::guard::Moved;
use super::plan::{is_derived, is_list};
use crate::client::whole::Whole;
use crate::oci::{Digest, Selector, Tag};
use crate::store::Store;
use crate::tuf::{Bundle, CollectionName};

/// Most tags of a destination that are looked at for one state.
const MAX_LOOKED_AT: usize = 256;
/// Tags looked at side by side.
const CONCURRENCY: usize = 8;

/// A tag of the destination that a state no longer confirms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The tag.
    pub tag: Tag,
    /// The collection whose state it is.
    pub collection: CollectionName,
    /// What the tag names there; `None` when that was not asked, since the state does not list the tag.
    pub names: Option<Digest>,
    /// What it must name by the new state; `None` when the state does not list the tag any more.
    pub listed: Option<Digest>,
}

/// What a look at the tags of the destination gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirmation {
    /// Tags that are no longer confirmed, by name.
    pub unconfirmed: Vec<Unconfirmed>,
    /// Why more could not be looked at, if so.
    pub unknown: Vec<String>,
}

impl Confirmation {
    /// And what another state of the same copy says.
    pub(super) fn add(&mut self, other: Self) {
        self.unconfirmed.extend(other.unconfirmed);
        self.unknown.extend(other.unknown);
        self.unknown.dedup();
    }
}

/// Look at the tags of `destination` that the state in `moved` speaks of. `set` are those that the copy set itself.
pub(super) async fn look(
    destination: &dyn Store,
    moved: &Moved,
    set: &BTreeMap<Tag, Digest>,
) -> Confirmation {
    let mut found = Confirmation::default();
    let tags: BTreeSet<Tag> = match destination.tags(None).await {
        Ok(tags) => tags.into_iter().chain(set.keys().cloned()).collect(),
        Err(e) if e.is_not_found() => return found,
        Err(e) => {
            found.unknown.push(e.to_string());
            return found;
        }
    };
    let Moved { collection, new, old } = moved;
    let spoken =
        |tag: &Tag| names(new, collection, tag) || old.as_ref().is_some_and(|o| names(o, collection, tag));
    let mut spoken: Vec<Tag> = tags.into_iter().filter(|tag| is_plain(tag) && spoken(tag)).collect();
    if let Some(more) = spoken.len().checked_sub(MAX_LOOKED_AT).filter(|more| *more > 0) {
        found.unknown.push(format!("{more} more tags were not looked at: the limit is {MAX_LOOKED_AT}"));
        spoken.truncate(MAX_LOOKED_AT);
    }
    let mut open = Vec::new();
    for tag in spoken {
        match listed(new, collection, &tag) {
            Some(digest) => open.push((tag, digest)),
            None => {
                let collection = collection.clone();
                found.unconfirmed.push(Unconfirmed { tag, collection, names: None, listed: None });
            }
        }
    }
    let looking = stream::iter(open).map(|(tag, digest)| async move {
        let names = match set.get(&tag) {
            Some(known) => Ok(Some(known.clone())),
            None => {
                let there = destination.resolve(&Selector::Tag(tag.clone())).await;
                there.map(|content| content.map(|c| c.digest().clone()))
            }
        };
        (tag, digest, names)
    });
    let looked: Vec<_> = looking.buffered(CONCURRENCY).collect().await;
    for (tag, digest, names) in looked {
        match names {
            Ok(Some(names)) if names != digest => {
                let (collection, listed) = (collection.clone(), Some(digest));
                found.unconfirmed.push(Unconfirmed { tag, collection, names: Some(names), listed });
            }
            // As it must be; or gone since the tags were listed.
            Ok(_) => {}
            Err(e) => found.unknown.push(e.to_string()),
        }
    }
    found.unconfirmed.sort_by(|a, b| a.tag.cmp(&b.tag));
    found
}

/// Of these tags those that name at `destination` something else than the state in `moved` says. What cannot be read
/// counts as well; a tag that is not there, or that the state does not list, contradicts nothing that a copy could mend.
pub(super) async fn contradicted(destination: &dyn Store, moved: &Moved, tags: &BTreeSet<Tag>) -> Vec<Tag> {
    let spoken = tags.iter().filter(|tag| is_plain(tag) && names(&moved.new, &moved.collection, tag));
    let spoken: Vec<(Tag, Digest)> =
        spoken.filter_map(|tag| Some((tag.clone(), listed(&moved.new, &moved.collection, tag)?))).collect();
    let looking = stream::iter(spoken).map(|(tag, digest)| async move {
        let there = destination.resolve(&Selector::Tag(tag.clone())).await;
        let agrees = matches!(&there, Ok(None)) || matches!(&there, Ok(Some(c)) if *c.digest() == digest);
        (!agrees).then_some(tag)
    });
    let looked: Vec<Option<Tag>> = looking.buffered(CONCURRENCY).collect().await;
    looked.into_iter().flatten().collect()
}

/// Whether a state may speak of the tag at all: neither a state's own, nor a list of referrers, nor cosign's.
pub(super) fn is_plain(tag: &Tag) -> bool {
    !(tag.as_str().starts_with("bulla.") || is_list(tag) || is_derived(tag))
}

/// Whether any role of a state names the tag: a cheap look before [`listed`].
fn names(state: &Whole, collection: &CollectionName, tag: &Tag) -> bool {
    let path = collection.tag_path(tag);
    state.roles().values().any(|role| role.file.role().targets().contains_key(&path))
}

/// The digest that a tag must have by a state.
fn listed(state: &Whole, collection: &CollectionName, tag: &Tag) -> Option<Digest> {
    let found = state.trusted().find(&collection.tag_path(tag), state.files()).ok()?;
    let (_, target) = found.target?;
    Bundle::read(&target).ok().map(|bundle| bundle.digest)
}
