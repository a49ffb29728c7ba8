//! After a copy: whether the states that came along confirm the tags at the destination.

use std::collections::BTreeMap;

use super::Arrived;
use super::guard::{Moved, NewerState};
use super::unconfirmed::{self, Confirmation};
use crate::oci::{Selector, Tag};

/// What the states that a copy brought say of the tags at the destination.
pub(super) async fn confirm(
    guard: &NewerState<'_>,
    mut moved: BTreeMap<Tag, Moved>,
    new: &[Tag],
    arrived: &Arrived,
) -> Confirmation {
    let mut out = Confirmation::default();
    // At a new repository there is nothing that could be unconfirmed, but what was just copied.
    let others = !new.is_empty()
        && match guard.destination.tags(None).await {
            Ok(tags) => tags.iter().any(|t| unconfirmed::is_plain(t) && !arrived.tags.contains(t)),
            Err(e) if e.is_not_found() => false,
            Err(e) => {
                out.unknown.push(e.to_string());
                false
            }
        };
    for tag in new.iter().filter(|_| others) {
        match guard.source.resolve(&Selector::Tag(tag.clone())).await {
            Ok(Some(manifest)) => match guard.judge_new(tag, &manifest).await {
                Ok(judged) => moved.extend(judged.map(|judged| (tag.clone(), judged))),
                Err(why) => out.unknown.push(format!("the state at {tag}: {why}")),
            },
            Ok(None) => out.unknown.push(format!("the state at {tag} is gone from the source")),
            Err(e) => out.unknown.push(e.to_string()),
        }
    }
    for state in moved.values() {
        let found = unconfirmed::look(guard.destination, state, &arrived.own).await;
        out.unconfirmed.extend(found.unconfirmed);
        out.unknown.extend(found.unknown);
    }
    out.unknown.dedup();
    out
}
