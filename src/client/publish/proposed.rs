//! A publication that keys on several machines must sign: its next role file, left as a proposal.

use std::collections::BTreeMap;

use serde_json::json;

use super::{PublishError, Request};
use crate::client::ceremony::{self, CeremonyError, travel};
use crate::client::commit::{Committer, Partly, WorkError};
use crate::oci::{Reference, Selector, Tag};
use crate::sig::KeyId;
use crate::tuf::proposal::{self, Base, Needed, Proposal};
use crate::tuf::{Ancestor, CollectionName, Draft, RoleName};

/// What is signed so far of a publication that more keys must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The collection.
    pub collection: CollectionName,
    /// The role.
    pub role: RoleName,
    /// Where the proposal lies.
    pub at: Reference,
    /// Its id.
    pub id: String,
    /// How many more must sign, and any of which keys.
    pub lacking: (usize, Vec<KeyId>),
}

/// Whether a draft goes on from the published file of its role: otherwise somebody else's release was committed since it was made,
/// which it would take out, and nobody could put it in.
fn follows(draft: &Draft, role: &RoleName, base: &Base) -> bool {
    let Some(Ancestor(version, hash)) = base.file(role) else { return true };
    let ancestors = draft.signed()["x-bulla"]["ancestors"].as_array();
    let named = json!([version, hash]);
    ancestors.is_some_and(|all| all.contains(&named))
        && draft.signed()["version"].as_u64() > Some(version.get())
}

/// Leave the next file of a role beside the state, for the holders of its other keys; none when what is published moved on since
/// it was drafted.
pub(in crate::client) async fn propose(
    request: &Request<'_>,
    committer: &Committer<'_>,
    partly: &Partly,
) -> Result<Option<Proposed>, PublishError> {
    let whole = committer.published().await?;
    let base = whole.base(&request.collection);
    if !follows(&partly.draft, &partly.role, &base) {
        return Ok(None);
    }
    let names: Vec<String> = request
        .bundles
        .iter()
        .flat_map(|b| [b.selector.to_string()].into_iter().chain(b.tags.iter().map(Tag::to_string)))
        .collect();
    let mut description = format!("publish {}", names.join(" "));
    description.truncate(1_024);
    let about = proposal::About { description, by: String::new(), at: request.clock.now() };
    let drafts = BTreeMap::from([(partly.role.clone(), partly.draft.clone())]);
    let made = Proposal::of(&base, drafts, BTreeMap::new(), about).map_err(CeremonyError::from);
    let mut proposal = made?.carrying(whole.files().clone());
    ceremony::sign(&mut proposal, &base, request.keys, None).await?;
    let needed = proposal.signers(&base).map_err(WorkError::from)?;
    let missing = needed.iter().flat_map(|n| n.count.missing.clone()).collect();
    let lacking = (needed.iter().map(Needed::lacking).max().unwrap_or(0), missing);
    let tag = travel::push(request.state, &proposal).await?;
    Ok(Some(Proposed {
        collection: request.collection.clone(),
        role: partly.role.clone(),
        at: request.state.place().at(Some(Selector::Tag(tag))),
        id: proposal.id(),
        lacking,
    }))
}
